//! How a pool's standings change and how the workers come to know.
//!
//! What a request reads is two numbers of one cache line; everything else is
//! behind a lock that is taken when a backend fails again and again, for a
//! trial, and every few seconds.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;

use super::growth;
use super::outlier::{self, Ejected, Outliers, Tally, Verdict};
use super::{Member, Pool, Queue};
use crate::telemetry::metrics::{Attempted, Ejection};

/// Shared by a pool's generations.
#[repr(align(64))]
pub struct Eligibility {
    version: AtomicU64,
    /// Microseconds; from then on an ejected backend waits for a trial.
    trial_us: AtomicU64,
    /// Microseconds; then weights grow by a step.
    step_us: AtomicU64,
    /// Microseconds; then the backends are compared.
    compare_us: AtomicU64,
    panics: AtomicBool,
    /// What the log says of that.
    panics_told: AtomicBool,
    watched: Mutex<Watched>,
    /// Who may be asked now is news for those who wait.
    queue: Arc<Queue>,
}

/// What is known of the members from one comparison to the next.
#[derive(Debug, Default)]
struct Watched {
    outliers: Outliers,
    /// Attempts and good ones by member, as of the last comparison.
    counted: FxHashMap<u32, (u64, u64)>,
}

impl Default for Eligibility {
    fn default() -> Self {
        Self {
            version: AtomicU64::new(0),
            trial_us: AtomicU64::new(u64::MAX),
            step_us: AtomicU64::new(u64::MAX),
            compare_us: AtomicU64::new(0),
            panics: AtomicBool::new(false),
            panics_told: AtomicBool::new(false),
            watched: Mutex::default(),
            queue: Arc::default(),
        }
    }
}

impl Eligibility {
    /// Of a pool whose requests wait in `queue`.
    pub fn waking(queue: &Arc<Queue>) -> Eligibility {
        Eligibility {
            queue: Arc::clone(queue),
            ..Eligibility::default()
        }
    }

    /// Some standing of the pool is another now.
    pub fn changed(&self) {
        self.version.fetch_add(1, Ordering::Release);
        self.queue.changed();
    }

    /// How many changes there were.
    #[inline]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Some ejected backend waits for a trial at `now_us`.
    #[inline]
    pub fn trial_due(&self, now_us: u64) -> bool {
        self.trial_us.load(Ordering::Relaxed) <= now_us
    }

    /// Weights grow at `us`, or before if somebody else's do.
    pub fn step_at(&self, us: u64) {
        self.step_us.fetch_min(us, Ordering::Relaxed);
    }

    /// Whether too few are well, so that the others are asked too.
    pub fn panics(&self, panics: bool) {
        self.panics.store(panics, Ordering::Relaxed);
    }

    /// As of the last look.
    pub fn is_in_panic(&self) -> bool {
        self.panics.load(Ordering::Relaxed)
    }

    /// How many backends are ejected, on trial or not.
    pub fn ejected(&self) -> usize {
        self.lock().outliers.ejected()
    }

    fn lock(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be called after each change of the outliers.
    fn set_trial(&self, outliers: &Outliers) {
        self.trial_us
            .store(outliers.next_trial_us(), Ordering::Relaxed);
    }
}

/// Outlier detection of one pool. Members are given as indices.
impl Pool {
    /// An attempt at `member` failed in a way that only a backend can.
    pub fn went_wrong(&self, member: usize, now_us: u64) {
        let limit = self.settings.outliers.consecutive_errors;
        let in_a_row = self.members.list[member].cell.note_bad();
        // Not only at the limit: there may have been too many ejected then.
        if limit != 0 && in_a_row.is_multiple_of(limit) {
            self.eject(&[self.members.list[member].id], Ejection::Errors, now_us);
        }
    }

    /// The ejected member that this request is to try. From then on it is the
    /// only one who may until [`Pool::tried`]. `repeatable`: that it fails would
    /// do no harm.
    #[cold]
    pub fn trial(&self, now_us: u64, repeatable: bool) -> Option<usize> {
        let mut watched = self.eligibility.lock();
        let id = watched.outliers.trial(now_us, repeatable)?;
        self.eligibility.set_trial(&watched.outliers);
        drop(watched);
        let member = self.members.index_of(id);
        let takes = |&index: &usize| {
            let member = &self.members.list[index];
            member.admits() && member.standing.is_healthy()
        };
        match member.filter(takes) {
            Some(member) => Some(member),
            // Its turn comes when it can be asked.
            None => {
                self.settle(id, None, now_us);
                None
            }
        }
    }

    /// The trial of `member` is over, and how it went, unless that says nothing.
    pub fn tried(&self, member: usize, good: Option<bool>, now_us: u64) {
        self.settle(self.members.list[member].id, good, now_us);
    }

    fn settle(&self, id: u32, good: Option<bool>, now_us: u64) {
        let settings = &self.settings.outliers;
        let mut watched = self.eligibility.lock();
        let mut verdict = watched.outliers.tried(id, good, settings, now_us);
        self.eligibility.set_trial(&watched.outliers);
        if good.is_none() {
            // Not at once again: what could not be asked now cannot in a moment.
            let later = now_us.saturating_add(RETRIAL_US);
            self.eligibility
                .trial_us
                .fetch_max(later, Ordering::Relaxed);
        }
        drop(watched);
        let Some(member) = self.members.get(id) else {
            verdict = Verdict::None;
            return debug_assert_eq!(verdict, Verdict::None);
        };
        let (pool, backend) = (&self.settings.name, &member.settings.name);
        match verdict {
            Verdict::None => {}
            Verdict::Returned => {
                member.cell.note_good();
                member.standing.set_ejected(false);
                self.eligibility.changed();
                tracing::info!(pool, backend, "ejected backend is back");
            }
            Verdict::Ejected(time) => {
                member.counts.open().ejected(Ejection::Trial);
                tracing::warn!(
                    pool,
                    backend,
                    seconds = time.as_secs(),
                    "ejected backend failed its trial"
                );
            }
        }
    }

    fn eject(&self, ids: &[u32], why: Ejection, now_us: u64) {
        let active = |member: &&Member| member.admits();
        let active = self.members.list.iter().filter(active).count();
        let mut watched = self.eligibility.lock();
        for &id in ids {
            let settings = &self.settings.outliers;
            let Some(member) = self.members.get(id) else {
                continue;
            };
            let Some(time) = watched.outliers.eject(id, active, settings, now_us) else {
                continue;
            };
            member.standing.set_ejected(true);
            member.counts.open().ejected(why);
            tracing::warn!(
                pool = self.settings.name,
                backend = member.settings.name,
                reason = why.as_str(),
                seconds = time.as_secs(),
                "backend ejected"
            );
        }
        self.eligibility.set_trial(&watched.outliers);
        drop(watched);
        self.eligibility.changed();
    }

    /// How it stands with `member`, one of this pool, if it is ejected.
    pub fn ejection(&self, member: &Member) -> Option<Ejected> {
        // Without the lock where there is nothing to see.
        let is_out = member.standing.is_ejected();
        is_out.then(|| self.eligibility.lock().outliers.ejection(member.id))?
    }

    /// How many percent of its weight `member` has at `now_us`; `None`: all of it.
    pub fn slow_start_percent(&self, member: &Member, now_us: u64) -> Option<u32> {
        let since = member.standing.returned_us(now_us)?;
        let window = u64::try_from(self.settings.slow_start.as_micros()).unwrap_or(u64::MAX);
        growth::percent(now_us.saturating_sub(since), window)
    }

    /// Says when a panic begins and when it is over.
    fn tell_of_panic(&self) {
        let (panics, told) = (
            self.eligibility.is_in_panic(),
            &self.eligibility.panics_told,
        );
        // Read before write: while nothing changes, the line stays shared.
        if told.load(Ordering::Relaxed) == panics || told.swap(panics, Ordering::Relaxed) == panics
        {
            return;
        }
        let members = self.members.list.iter();
        let eligible = members.filter(|member| member.is_eligible()).count();
        let pool = &self.settings.name;
        match panics {
            true => tracing::warn!(
                pool,
                eligible,
                "panic: too few backends are eligible, all are asked"
            ),
            false => tracing::info!(pool, eligible, "panic is over"),
        }
    }

    /// What is done now and then: weights grow, backends are compared. Called by
    /// every worker; one of them does it.
    pub fn look_after(&self, now_us: u64) {
        let eligibility = &*self.eligibility;
        self.tell_of_panic();
        if is_mine(&eligibility.step_us, now_us, u64::MAX) {
            eligibility.changed();
        }
        let interval = self.settings.outliers.interval.as_micros();
        let next = now_us.saturating_add(u64::try_from(interval).unwrap_or(u64::MAX));
        if is_mine(&eligibility.compare_us, now_us, next) {
            self.compare(now_us);
        }
    }

    fn compare(&self, now_us: u64) {
        let settings = &self.settings.outliers;
        let mut watched = self.eligibility.lock();
        watched.outliers.forgive();
        self.release_who_is_gone(&mut watched);
        if settings.success_rate_factor <= 0.0 && settings.slow_factor <= 0.0 {
            return;
        }
        let tallies = self.tallies(&mut watched, now_us);
        drop(watched);
        let worse = outlier::worse_than_the_others(&tallies, settings);
        if !worse.is_empty() {
            self.eject(&worse, Ejection::SuccessRate, now_us);
        }
        let slower = outlier::slower_than_the_others(&tallies, settings);
        if !slower.is_empty() {
            self.eject(&slower, Ejection::Slow, now_us);
        }
    }

    /// Members that left must not count as ejected for ever.
    fn release_who_is_gone(&self, watched: &mut Watched) {
        let stays = |id| self.members.get(id).is_some();
        watched.outliers.retain(stays);
        watched.counted.retain(|id, _| stays(*id));
        self.eligibility.set_trial(&watched.outliers);
    }

    /// What each eligible member did since the last comparison.
    fn tallies(&self, watched: &mut Watched, now_us: u64) -> Vec<Tally> {
        let mut tallies = Vec::with_capacity(self.members.list.len());
        for member in &self.members.list {
            let now = counted(member);
            let before = watched.counted.insert(member.id, now);
            let (Some(before), true) = (before, member.standing.is_eligible()) else {
                continue;
            };
            tallies.push(Tally {
                id: member.id,
                attempts: now.0.saturating_sub(before.0),
                good: now.1.saturating_sub(before.1),
                latency_us: member.cell.latency_us(now_us),
            });
        }
        tallies
    }
}

/// How long a trial that could not be is put off, in microseconds.
const RETRIAL_US: u64 = 100_000;

/// Attempts that say something of the backend, and the good ones of them.
fn counted(member: &Member) -> (u64, u64) {
    let good = member.counts.sum(|counts| counts.attempts(Attempted::Ok));
    let bad = member.counts.sum(|counts| {
        let bad = Attempted::ALL
            .iter()
            .filter(|result| result.is_of_backend());
        bad.map(|&result| counts.attempts(result)).sum()
    });
    (good + bad, good)
}

/// It is time, and nobody was quicker.
fn is_mine(due_us: &AtomicU64, now_us: u64, next_us: u64) -> bool {
    let relaxed = Ordering::Relaxed;
    let due = due_us.load(relaxed);
    due <= now_us
        && due_us
            .compare_exchange(due, next_us, relaxed, relaxed)
            .is_ok()
}
