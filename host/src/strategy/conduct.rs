//! How a plugin behaves, over all workers: trusted, or in quarantine until
//! shadow calls have shown that it works again.
//!
//! The rules are a pure state machine, [`Record`]: time and randomness are
//! arguments. Picks read one byte of it.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::shadow::{Shadow, Shadows};

/// So many faults within [`WINDOW`] and the plugin is no longer asked.
const FAULTS: usize = 5;
const WINDOW: Duration = Duration::from_secs(10);
/// First and longest quarantine; each is twice the one before.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);
/// A plugin that served this long after a quarantine is trusted as before it.
/// Until then a single fault brings it back.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);

/// What a plugin is allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Standing {
    /// Its answers count.
    Trusted = 0,
    /// It is not asked.
    Quarantined = 1,
    /// Its quarantine is over once it answers copies of real requests well;
    /// those answers do not count.
    Probed = 2,
}

impl Standing {
    /// For people and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trusted => "trusted",
            Self::Quarantined => "quarantined",
            Self::Probed => "probed",
        }
    }
}

/// The conduct of one strategy, shared by the workers and the control thread.
#[derive(Debug, Default)]
pub(super) struct Conduct {
    /// A copy of the record's, for picks.
    standing: AtomicU8,
    /// Locked by faults and probes, never by a pick of a trusted plugin.
    record: Mutex<Record>,
    shadows: Shadows,
}

impl Conduct {
    /// Its answers count.
    #[inline]
    pub(super) fn is_trusted(&self) -> bool {
        self.standing.load(Ordering::Relaxed) == Standing::Trusted as u8
    }

    pub(super) fn standing(&self) -> Standing {
        self.record().standing
    }

    /// How often it was put into quarantine.
    pub(super) fn quarantines(&self) -> u64 {
        self.record().quarantines
    }

    /// A call failed. The quarantine that this begins, if it does.
    pub(super) fn fault(&self, gravity: Gravity, now_us: u64, random: u64) -> Option<Duration> {
        self.change(|record| record.fault(gravity, now_us, random))
    }

    /// The quarantine's time is over: from now on shadow calls are collected.
    pub(super) fn begin_probe(&self, now_us: u64) -> bool {
        let begins = self.change(|record| record.begin_probe(now_us));
        if begins {
            self.shadows.collect(now_us);
        }
        begins
    }

    /// How the probe went; the quarantine that follows a bad one.
    pub(super) fn probed(&self, well: bool, now_us: u64, random: u64) -> Option<Duration> {
        self.change(|record| record.probed(well, now_us, random))
    }

    pub(super) fn shadows(&self) -> &Shadows {
        &self.shadows
    }

    /// Copies a call for the probe, if one is wanted.
    #[inline]
    pub(super) fn offer(&self, shadow: impl FnOnce() -> Shadow) {
        self.shadows.offer(shadow);
    }

    fn change<T>(&self, change: impl FnOnce(&mut Record) -> T) -> T {
        let mut record = self.record();
        let result = change(&mut record);
        self.standing
            .store(record.standing as u8, Ordering::Relaxed);
        result
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much one fault says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gravity {
    /// May happen once.
    Single,
    /// Has gone on for a while when it is noticed.
    Lasting,
}

#[derive(Debug)]
struct Record {
    standing: Standing,
    /// The last faults' times, oldest first.
    faults: Vec<u64>,
    /// Quarantines that are not forgiven.
    level: u32,
    until_us: u64,
    released_us: u64,
    quarantines: u64,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            standing: Standing::Trusted,
            faults: Vec::with_capacity(FAULTS),
            level: 0,
            until_us: 0,
            released_us: 0,
            quarantines: 0,
        }
    }
}

impl Record {
    fn fault(&mut self, gravity: Gravity, now_us: u64, random: u64) -> Option<Duration> {
        if self.standing != Standing::Trusted {
            // A call that was under way on another worker.
            return None;
        }
        if since(self.released_us, now_us) >= FORGIVEN_AFTER {
            self.level = 0;
        }
        self.faults.retain(|&at| since(at, now_us) < WINDOW);
        self.faults.push(now_us);
        let enough = self.faults.len() >= FAULTS || self.level > 0;
        (enough || gravity == Gravity::Lasting).then(|| self.quarantine(now_us, random))
    }

    fn quarantine(&mut self, now_us: u64, random: u64) -> Duration {
        let time = SHORTEST
            .saturating_mul(2_u32.saturating_pow(self.level))
            .min(LONGEST);
        let time = jittered(time, random);
        self.standing = Standing::Quarantined;
        self.level = self.level.saturating_add(1);
        self.quarantines += 1;
        self.until_us = now_us.saturating_add(micros(time));
        self.faults.clear();
        time
    }

    fn begin_probe(&mut self, now_us: u64) -> bool {
        let due = self.standing == Standing::Quarantined && now_us >= self.until_us;
        if due {
            self.standing = Standing::Probed;
        }
        due
    }

    fn probed(&mut self, well: bool, now_us: u64, random: u64) -> Option<Duration> {
        if !well {
            return Some(self.quarantine(now_us, random));
        }
        self.standing = Standing::Trusted;
        self.released_us = now_us;
        None
    }
}

/// Between half and all of `time`, so that proxies that were started together
/// do not probe together.
fn jittered(time: Duration, random: u64) -> Duration {
    let half = time / 2;
    half + half.mul_f64((random >> 11) as f64 / (1_u64 << 53) as f64)
}

fn since(earlier_us: u64, now_us: u64) -> Duration {
    Duration::from_micros(now_us.saturating_sub(earlier_us))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn single(record: &mut Record, now_us: u64) -> Option<Duration> {
        record.fault(Gravity::Single, now_us, u64::MAX)
    }

    #[test]
    fn a_few_faults_are_forgiven_and_many_are_not() {
        let mut record = Record::default();
        for at in 0..4 {
            assert_eq!(single(&mut record, at * SECOND), None);
        }
        assert!(single(&mut record, 4 * SECOND).is_some());
        assert_eq!(record.standing, Standing::Quarantined);
        assert_eq!(single(&mut record, 4 * SECOND), None, "it is there already");
        assert_eq!(record.quarantines, 1);
    }

    #[test]
    fn faults_far_apart_do_not_add_up() {
        let mut record = Record::default();
        for at in 0..100 {
            assert_eq!(single(&mut record, at * 3 * SECOND), None, "{at}");
        }
    }

    #[test]
    fn what_has_gone_on_for_a_while_is_enough_by_itself() {
        let mut record = Record::default();
        assert!(record.fault(Gravity::Lasting, 0, 0).is_some());
    }

    #[test]
    fn quarantines_double_up_to_five_minutes() {
        let mut record = Record::default();
        let mut now = 0;
        let mut times = Vec::new();
        let first = record.fault(Gravity::Lasting, now, u64::MAX);
        times.extend(first.map(|time| time.as_secs_f64().round() as u64));
        for _ in 0..10 {
            assert!(!record.begin_probe(record.until_us - 1));
            now = record.until_us;
            assert!(record.begin_probe(now));
            let next = record.probed(false, now, u64::MAX).expect("it went badly");
            times.push(next.as_secs_f64().round() as u64);
        }
        assert_eq!(times, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    }

    #[test]
    fn after_a_release_one_fault_is_enough_until_it_is_forgiven() {
        let mut record = Record::default();
        record.fault(Gravity::Lasting, 0, 0);
        assert!(record.begin_probe(10 * SECOND));
        assert_eq!(record.probed(true, 10 * SECOND, 0), None);
        assert_eq!(record.standing, Standing::Trusted);
        let again = single(&mut record, 11 * SECOND).expect("it is on probation");
        assert!(again > SHORTEST / 2 * 2, "{again:?}");
        assert!(record.begin_probe(20 * SECOND));
        record.probed(true, 20 * SECOND, 0);
        assert_eq!(single(&mut record, 81 * SECOND), None, "good conduct");
    }

    #[test]
    fn quarantines_differ_between_proxies() {
        let time = |random| jittered(Duration::from_secs(4), random);
        assert_eq!(time(0), Duration::from_secs(2));
        assert!(time(u64::MAX / 2) > Duration::from_millis(2_900));
        assert!(time(u64::MAX) <= Duration::from_secs(4));
    }
}
