//! Who is checked, and when: one task a backend, which outlives every reload
//! that leaves the backend and its checks as they are.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustc_hash::FxHashMap;
use tokio::sync::Semaphore;
use tokio::task::{self, AbortHandle};
use tokio::time::sleep_until;

use super::course::{Thresholds, Turn};
use super::probe::{self, Target};
use super::pulse::Pulse;
use super::record::Record;
use super::verdict::Unfit;
use crate::config::{BackendState, HealthSettings};
use crate::generation::Generation;
use crate::pool::{Eligibility, Member, Pool, Standing};
use crate::telemetry::metrics::Checked;

/// Checks under way at once, each with a socket: more have to wait. With all
/// of them silent for a second, that is as many checks a second.
const AT_ONCE: usize = 256;
/// How far the time between two checks strays, as a share of itself.
const JITTER: f64 = 0.1;

/// All backends that are checked.
pub struct Rounds {
    shared: Rc<Shared>,
    /// By pool and backend: two pools that check one address do not meet here.
    running: FxHashMap<(String, u32), Round>,
}

/// What the rounds have in common.
struct Shared {
    pulse: Pulse,
    random: RefCell<fastrand::Rng>,
    permits: Semaphore,
}

/// One backend's checks, which end when this is dropped.
struct Round {
    subject: Rc<Subject>,
    task: AbortHandle,
}

/// A backend, and how it is checked.
struct Subject {
    pool: String,
    backend: String,
    /// As its requests name it.
    authority: Arc<str>,
    /// Where the checks go.
    address: String,
    settings: Rc<HealthSettings>,
    record: Arc<Record>,
    standing: Arc<Standing>,
    eligibility: Arc<Eligibility>,
}

impl Rounds {
    /// Nobody is checked yet. The times between checks are drawn from `random`.
    pub fn new(pulse: Pulse, random: fastrand::Rng) -> Rounds {
        Rounds {
            shared: Rc::new(Shared {
                pulse,
                random: RefCell::new(random),
                permits: Semaphore::new(AT_ONCE),
            }),
            running: FxHashMap::default(),
        }
    }

    /// Somebody is checked.
    pub fn any(&self) -> bool {
        !self.running.is_empty()
    }

    /// The process runs.
    pub fn beat(&self) {
        self.shared.pulse.beat(Instant::now());
    }

    /// From here on checks whom `generation` wants checked. What is under way
    /// goes on where neither backend nor settings have changed.
    pub fn follow(&mut self, generation: &Generation) {
        let mut before = std::mem::take(&mut self.running);
        for served in &generation.pools {
            let pool = &*served.pool;
            match &pool.settings.health_check {
                Some(settings) => self.check(pool, &Rc::new(settings.clone()), &mut before),
                None => forget(pool),
            }
        }
    }

    fn check(
        &mut self,
        pool: &Pool,
        settings: &Rc<HealthSettings>,
        before: &mut FxHashMap<(String, u32), Round>,
    ) {
        for member in &pool.members.list {
            if member.settings.state == BackendState::Maintenance {
                continue;
            }
            let subject = Subject::new(pool, member, settings);
            let key = (subject.pool.clone(), member.id);
            let round = match before.remove(&key) {
                Some(round) if round.subject.is(&subject) => round,
                _ => Round::begin(subject, &self.shared),
            };
            self.running.insert(key, round);
        }
    }
}

/// A pool without checks holds all its backends for healthy.
fn forget(pool: &Pool) {
    let mut changed = false;
    for member in &pool.members.list {
        if member.health.forget() {
            changed |= member.standing.set_healthy(true);
        }
    }
    if changed {
        pool.eligibility.changed();
    }
}

impl Round {
    fn begin(subject: Subject, shared: &Rc<Shared>) -> Round {
        let subject = Rc::new(subject);
        let run = run(Rc::clone(&subject), Rc::clone(shared));
        Round {
            task: task::spawn_local(run).abort_handle(),
            subject,
        }
    }
}

impl Drop for Round {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Checks a backend again and again.
async fn run(subject: Rc<Subject>, shared: Rc<Shared>) {
    let settings = &*subject.settings;
    // Not all at once, and soon: nothing is known yet, or not what is asked now.
    let mut due = Instant::now() + shared.spread(settings.interval_down);
    let mut first = true;
    loop {
        sleep_until(due.into()).await;
        if Pulse::missed(due, Instant::now()) {
            // All were due while nothing ran; they need not all begin now.
            due = Instant::now() + shared.spread(settings.interval_down);
            continue;
        }
        let permit = shared.permits.acquire().await;
        let began = Instant::now();
        let mark = shared.pulse.mark(began);
        let target = Target {
            address: &subject.address,
            authority: &subject.authority,
        };
        let result = probe::check(&target, settings).await;
        drop(permit);
        let now = Instant::now();
        match shared.pulse.missed_since(mark, now) {
            true => subject.disbelieve("this process was stopped meanwhile"),
            false => subject.take(result, now - began),
        }
        let pause = shared.pause(settings, subject.record.is_settled(), first);
        first = false;
        // A check that took longer than that is followed by the next at once.
        due = (began + pause).max(now);
    }
}

impl Shared {
    /// Any time up to `whole`.
    fn spread(&self, whole: Duration) -> Duration {
        whole.mul_f64(self.random.borrow_mut().f64())
    }

    /// From the start of a check to that of the next.
    fn pause(&self, settings: &HealthSettings, settled: bool, first: bool) -> Duration {
        let draw = self.random.borrow_mut().f64();
        match (settled, first) {
            (false, _) => vary(settings.interval_down, draw),
            // First checks come close together; from here on they are spread
            // over the whole interval.
            (true, true) => settings
                .interval
                .mul_f64(draw)
                .max(settings.interval.min(settings.interval_down)),
            (true, false) => vary(settings.interval, draw),
        }
    }
}

/// `time`, a little shorter or longer as `draw`, 0 to 1, has it.
fn vary(time: Duration, draw: f64) -> Duration {
    time.mul_f64(1.0 - JITTER + 2.0 * JITTER * draw)
}

impl Subject {
    fn new(pool: &Pool, member: &Member, settings: &Rc<HealthSettings>) -> Subject {
        let authority = Arc::clone(&member.address);
        Subject {
            pool: pool.settings.name.clone(),
            backend: member.settings.name.clone(),
            address: match settings.port {
                Some(port) => format!("{}:{port}", host(&authority)),
                None => authority.to_string(),
            },
            authority,
            settings: Rc::clone(settings),
            record: Arc::clone(&member.health),
            standing: Arc::clone(&member.standing),
            eligibility: Arc::clone(&pool.eligibility),
        }
    }

    /// `other` is the same backend, checked in the same way.
    fn is(&self, other: &Subject) -> bool {
        Arc::ptr_eq(&self.record, &other.record)
            && self.address == other.address
            && self.authority == other.authority
            && self.settings == other.settings
    }

    fn take(&self, result: Result<(), Unfit>, took: Duration) {
        let result = match result {
            Ok(()) => Ok(()),
            Err(Unfit::Fault(fault)) => Err(fault),
            Err(Unfit::Local(error)) => {
                return self.disbelieve(&format!("no socket to be had: {error}"));
            }
        };
        let limits = Thresholds {
            rise: self.settings.rise,
            fall: self.settings.fall,
        };
        let since = self.record.report().since;
        let now = SystemTime::now();
        let turn = self
            .record
            .take(result.as_ref().copied(), took, limits, now);
        // Before it is told: who reads of it can rely on it.
        if turn.is_some() && self.standing.set_healthy(self.record.is_healthy()) {
            self.eligibility.changed();
        }
        let (pool, backend) = (&self.pool, &self.backend);
        match (turn, result) {
            (Some(Turn::ToUnhealthy), Err(fault)) => {
                tracing::warn!(pool, backend, error = %fault, "backend is unhealthy");
            }
            (Some(_), _) => {
                let lasted = since.and_then(|since| now.duration_since(since).ok());
                let after_s = lasted.unwrap_or_default().as_secs();
                tracing::info!(pool, backend, after_s, "backend is healthy");
            }
            (None, Err(fault)) => {
                tracing::debug!(pool, backend, error = %fault, "health check failed");
            }
            (None, Ok(())) => {}
        }
    }

    /// The check says nothing of the backend.
    fn disbelieve(&self, why: &str) {
        let (pool, backend) = (&self.pool, &self.backend);
        tracing::debug!(pool, backend, why, "health check discarded");
        self.record.count(Checked::Discarded);
    }
}

/// The host of `host:port`, with the brackets of an IPv6 address.
fn host(authority: &str) -> &str {
    authority
        .rsplit_once(':')
        .map_or(authority, |(host, _)| host)
}
