//! What is known of one backend's health. It belongs to the backend and goes
//! with it from generation to generation, so a reload forgets nothing.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::course::{Course, Thresholds, Turn};
use super::verdict::Fault;
use crate::config::HealthStart;
use crate::telemetry::metrics::{Checked, Counter};

/// One backend's results. Written by the health thread, read by whoever asks.
#[derive(Debug)]
pub struct Record {
    /// Locked for a moment after a check and when somebody looks; never by a worker.
    status: Mutex<Status>,
    checks: [Counter; Checked::COUNT],
}

#[derive(Debug)]
struct Status {
    course: Course,
    last: Option<Last>,
    error: Option<String>,
}

/// What another process has to know to go on from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// It is held for healthy, because of a result.
    pub healthy: bool,
    /// Since when; none where that never changed.
    pub since: Option<SystemTime>,
    /// What was wrong at the last check that failed.
    pub error: Option<String>,
}

/// The last check that came to a result.
#[derive(Debug, Clone, Copy)]
struct Last {
    at: SystemTime,
    took: Duration,
}

/// What is known at a moment.
#[derive(Debug, Clone)]
pub struct Report {
    /// It is held for healthy.
    pub healthy: bool,
    /// Since when; none where that never changed.
    pub since: Option<SystemTime>,
    /// When the last check that came to a result ended; none before the first.
    pub checked: Option<SystemTime>,
    /// How long it took.
    pub took: Option<Duration>,
    /// What was wrong at the last check that failed.
    pub error: Option<String>,
}

impl Record {
    /// Of a backend that was not checked yet.
    pub fn new(start: HealthStart) -> Record {
        Record {
            status: Mutex::new(Status::new(start)),
            checks: Default::default(),
        }
    }

    /// Takes in a result, and says whether it changes what the backend is held for.
    pub fn take(
        &self,
        result: Result<(), &Fault>,
        took: Duration,
        limits: Thresholds,
        now: SystemTime,
    ) -> Option<Turn> {
        self.count(match result {
            Ok(()) => Checked::Passed,
            Err(fault) => fault.label(),
        });
        let mut status = self.lock();
        status.last = Some(Last { at: now, took });
        if let Err(fault) = result {
            status.error = Some(fault.to_string());
        }
        status.course.take(result.is_ok(), limits, now)
    }

    /// Counts a check. Only the health thread may.
    pub fn count(&self, result: Checked) {
        self.checks[result as usize].add(1);
    }

    /// Checks that came to this.
    pub fn checks(&self, result: Checked) -> u64 {
        self.checks[result as usize].get()
    }

    /// Forgets what was found out: the backend is not checked any more. True
    /// if it was held for unhealthy.
    pub fn forget(&self) -> bool {
        let forgotten = Status::new(HealthStart::Healthy);
        let before = std::mem::replace(&mut *self.lock(), forgotten);
        !before.course.is_healthy()
    }

    /// What was found out; nothing before the first result.
    pub fn finding(&self) -> Option<Finding> {
        let status = self.lock();
        status.course.is_proven().then(|| Finding {
            healthy: status.course.is_healthy(),
            since: status.course.since(),
            error: status.error.clone(),
        })
    }

    /// Goes on from what another process has found out.
    pub fn inherit(&self, finding: Finding) {
        *self.lock() = Status {
            course: Course::inherited(finding.healthy, finding.since),
            last: None,
            error: finding.error,
        };
    }

    /// The backend is held for healthy.
    pub fn is_healthy(&self) -> bool {
        self.lock().course.is_healthy()
    }

    /// Healthy, and the last result says so too.
    pub fn is_settled(&self) -> bool {
        self.lock().course.is_settled()
    }

    /// What is known now.
    pub fn report(&self) -> Report {
        let status = self.lock();
        Report {
            healthy: status.course.is_healthy(),
            since: status.course.since(),
            checked: status.last.map(|last| last.at),
            took: status.last.map(|last| last.took),
            error: status.error.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Status {
    fn new(start: HealthStart) -> Status {
        Status {
            course: Course::new(start),
            last: None,
            error: None,
        }
    }
}
