//! One try at one backend: counted in flight while it lasts, reported exactly
//! once when it ends, however it ends.

use std::rc::Rc;
use std::time::Instant;

use http::StatusCode;

use super::body::Upload;
use crate::pool::Sample;
use crate::strategy::{Failure, Outcome};
use crate::telemetry::metrics::Attempted;
use crate::worker::{Claim, Lease, Picked, Slot, Worker};

/// A running attempt. Dropping it without a word means that the client left.
pub struct Attempt {
    worker: Rc<Worker>,
    picked: Picked,
    lease: Lease,
    number: u32,
    /// What the client still sends, it spends its own time on.
    upload: Upload,
    latency_us: Option<u64>,
    status: Option<StatusCode>,
    answered_at: Option<Instant>,
    end: End,
}

/// How an attempt ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// Not yet; at drop: the client did not wait.
    Open,
    Complete,
    /// Another attempt of the request was answered sooner.
    Cancelled,
    Failed(Failure),
    /// Something went wrong that says nothing of the backend.
    Blameless,
}

impl Attempt {
    /// Begins the attempt at the backend that was claimed for it.
    pub fn begin(worker: &Rc<Worker>, claim: Claim, number: u32) -> Attempt {
        let Claim { picked, lease } = claim;
        Attempt {
            worker: Rc::clone(worker),
            picked,
            lease,
            number,
            upload: Upload::default(),
            latency_us: None,
            status: None,
            answered_at: None,
            end: End::Open,
        }
    }

    /// It is the request's last, and keeps its place in the pool until it ends.
    pub fn holds(&mut self, slot: Option<Slot>) {
        self.lease.holds(slot);
    }

    /// Where to.
    pub fn picked(&self) -> &Picked {
        &self.picked
    }

    /// Whose attempt it is.
    pub fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    /// The time on its worker's clock, in microseconds.
    pub fn now_us(&self) -> u64 {
        self.worker.now_us()
    }

    /// The request is being sent, with a body that is this far.
    pub fn sends(&mut self, upload: Upload) {
        self.upload = upload;
    }

    /// How far the request's body is.
    pub fn upload(&self) -> &Upload {
        &self.upload
    }

    /// The response head is there. From here on the latency counts.
    pub fn answered(&mut self, status: StatusCode) {
        let now = Instant::now();
        let now_us = self.worker.us_at(now);
        let latency_us = self.waited_us(now_us);
        self.answered_at = Some(now);
        self.status = Some(status);
        self.latency_us = Some(latency_us);
        let failed = status.is_server_error();
        if !is_of_gateway(status) {
            // The head is enough: a stream or a tunnel may take hours.
            self.lease.ends_trial(Some(true), now_us);
        }
        self.lease.record(
            Sample {
                latency_us: Some(latency_us),
                failed,
            },
            now_us,
        );
    }

    /// All of the response was passed on.
    pub fn complete(&mut self) {
        self.end = End::Complete;
    }

    /// Another attempt of the request is answered: this one is of no use, unless
    /// it failed before.
    pub fn cancelled(&mut self) {
        if self.end == End::Open {
            self.end = End::Cancelled;
        }
    }

    /// The backend did not do its part; `None`: something else did not.
    pub fn failed(&mut self, failure: Option<Failure>) {
        self.end = failure.map_or(End::Blameless, End::Failed);
    }

    /// When its response head came; `None` if that was long ago.
    pub fn answered_at(&self) -> Option<Instant> {
        self.answered_at
    }

    /// Its answer is kept until another attempt has ended.
    pub fn waits_for_another(&mut self) {
        self.answered_at = None;
    }

    /// How long ago the attempt began, and when its response head came, in
    /// microseconds.
    pub fn latency_us(&self) -> Option<u64> {
        self.latency_us
    }

    /// How long the backend has had to answer: not while the client was sending.
    fn waited_us(&self, now_us: u64) -> u64 {
        let sent_at = self.upload.completed_at().map(|at| self.worker.us_at(at));
        now_us.saturating_sub(sent_at.unwrap_or(self.picked.at_us))
    }

    /// The backend's share in the averages, where the response head has not
    /// said it already.
    fn sample(&self, now_us: u64) -> Option<Sample> {
        let elapsed = Some(self.waited_us(now_us));
        match (self.end, self.latency_us) {
            // A refusal comes fast: its time would make a dead backend look quick.
            (End::Failed(Failure::Connect), _) => Some(Sample {
                latency_us: None,
                failed: true,
            }),
            (End::Failed(_), None) => Some(Sample {
                latency_us: elapsed,
                failed: true,
            }),
            (End::Failed(_), Some(_)) => Some(Sample {
                latency_us: None,
                failed: true,
            }),
            // The client did not wait: it took at least this long.
            (End::Open | End::Cancelled, None) if self.upload.is_complete() => Some(Sample {
                latency_us: elapsed,
                failed: false,
            }),
            _ => None,
        }
    }

    fn result(&self) -> Attempted {
        let is_error = |status: StatusCode| status.is_server_error();
        match self.end {
            End::Complete if self.status.is_some_and(is_error) => Attempted::ServerError,
            End::Complete => Attempted::Ok,
            End::Failed(failure) => failure.into(),
            End::Open => Attempted::ClientLeft,
            End::Cancelled => Attempted::Cancelled,
            End::Blameless => Attempted::Other,
        }
    }

    /// Whether the backend did its part; `None`: nobody can tell.
    fn verdict(&self) -> Option<bool> {
        match self.end {
            End::Complete => self.status.map(|status| !is_of_gateway(status)),
            // We were not there: neither to read its answer, nor to be in time ourselves.
            End::Failed(_) if self.worker.stood_still_since(self.picked.at_us) => None,
            End::Failed(_) => Some(false),
            End::Open | End::Cancelled | End::Blameless => None,
        }
    }

    /// Tells outlier detection.
    fn judge(&mut self) {
        let verdict = self.verdict();
        if self.picked.trial && self.lease.ends_trial(verdict, self.worker.now_us()) {
            return;
        }
        let (pool, member) = (self.lease.pool(), self.picked.member);
        match verdict {
            Some(true) => self.lease.note_good(),
            Some(false) => pool.went_wrong(member, self.worker.now_us()),
            None => {}
        }
    }

    fn outcome(&self, now_us: u64) -> Outcome {
        let latency_us = self.latency_us.unwrap_or(self.waited_us(now_us));
        Outcome {
            tag: self.picked.tag,
            id: self.picked.id,
            latency_us: u32::try_from(latency_us).unwrap_or(u32::MAX),
            status: self.status.map_or(0, |status| status.as_u16().into()),
            failure: match self.end {
                End::Failed(failure) => failure,
                // Nobody waited for it, which is all that a strategy can be told.
                End::Open | End::Cancelled => Failure::ClientLeft,
                End::Complete | End::Blameless => Failure::None,
            },
            attempt: self.number,
        }
    }
}

/// Such a status says that a backend, or what is behind it, is not there.
pub fn is_of_gateway(status: StatusCode) -> bool {
    matches!(status.as_u16(), 502..=504)
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let pool = self.lease.pool();
        let counts = pool.backend_counts(self.picked.member);
        counts.attempted(self.result());
        pool.counts.received.add(self.upload.bytes());
        self.judge();
        let pool = self.lease.pool();
        let wants_outcome = pool.wants_outcomes();
        if self.end == End::Complete && !wants_outcome {
            return;
        }
        let now_us = self.worker.now_us();
        if let Some(sample) = self.sample(now_us) {
            self.lease.record(sample, now_us);
        }
        if wants_outcome && self.end != End::Blameless {
            pool.observe(self.outcome(now_us));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Instant;

    use tokio::task::{LocalSet, spawn_local, yield_now};

    use super::*;
    use crate::listener::Spread;
    use crate::plugin::Engine;
    use crate::proxy::retry::has_tries;
    use crate::proxy::visit::Visit;
    use crate::reload::Publisher;
    use crate::strategy::Inbound;
    use crate::upgrade::Inheritance;
    use crate::watchdog::Heartbeats;
    use crate::worker::Choice;

    const SETTINGS: &str = "workers = 1\n[[listeners]]\naddress = '127.0.0.1:0'\n\
        [pools.p]\nstrategy = 'fallback'\nbackends = [{ address = '127.0.0.1:1', capacity = 1 }]\n";

    const TWO: &str = "workers = 1\n[[listeners]]\naddress = '127.0.0.1:0'\n\
        [pools.p]\nstrategy = 'fallback'\nbackends = [{ address = '127.0.0.1:1' }, { address = '127.0.0.1:2' }]\n";

    /// A worker without a thread of its own.
    fn worker() -> Rc<Worker> {
        worker_with(SETTINGS)
    }

    fn worker_with(settings: &str) -> Rc<Worker> {
        let settings = crate::config::parse(settings, Path::new("test.toml")).expect("right");
        let (engine, started) = (Engine::new().expect("an engine"), Instant::now());
        let publisher = Publisher::start(engine, settings, &Inheritance::default(), started);
        let first = publisher.expect("a free port").current();
        let spread = Arc::new(Spread::new(Vec::new()));
        Worker::new(
            0,
            started,
            first,
            spread,
            None,
            Arc::new(Heartbeats::new(started, 1)),
        )
    }

    #[test]
    fn a_trial_is_over_however_its_request_ends() {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        LocalSet::new().block_on(&runtime.expect("a runtime"), async {
            let worker = worker_with(TWO);
            let pool = Rc::clone(worker.generation().route("", "/").expect("the only pool"));
            for _ in 0..5 {
                pool.went_wrong(0, 0);
            }
            let mut now_us = 30_000_000;
            assert!(pool.claim_trial(now_us - 1, true).is_none(), "not yet");
            let claim = pool.claim_trial(now_us, true).expect("its time is over");
            assert!(pool.claim_trial(now_us, true).is_none(), "one at a time");
            drop(claim);
            now_us += 1_000_000;
            let claim = pool
                .claim_trial(now_us, true)
                .expect("the first said nothing");
            // The client leaves.
            drop(Attempt::begin(&worker, claim, 0));
            now_us += 1_000_000;
            let claim = pool.claim_trial(now_us, true).expect("nor did the second");
            let mut attempt = Attempt::begin(&worker, claim, 0);
            attempt.answered(StatusCode::OK);
            let choice = pool.claim_member(pool.id_of(0), now_us);
            assert!(matches!(choice, Choice::Backend(_)), "it is back");
            drop(attempt);
            now_us += 1_000_000;
            assert!(pool.claim_trial(now_us, true).is_none());
        });
    }

    /// Two requests fail at the same backend; the first has it ejected. The second is
    /// not done because only one backend is left: it has not tried that one.
    #[test]
    fn whom_others_had_ejected_takes_nobodys_try() {
        let worker = worker_with(TWO);
        let pool = Rc::clone(worker.generation().route("", "/").expect("the only pool"));
        for _ in 0..5 {
            pool.went_wrong(0, 0);
        }
        assert!(has_tries(&pool, 1, &[0], 0));
        assert!(!has_tries(&pool, 1, &[1], 0), "the other is ejected");
        assert!(!has_tries(&pool, 2, &[0, 1], 0));
    }

    #[test]
    fn x9_a_task_that_panics_takes_nothing_with_it() {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        LocalSet::new().block_on(&runtime.expect("a runtime"), async {
            let worker = worker();
            let pool = Rc::clone(worker.generation().route("", "/").expect("the only pool"));
            for _ in 0..3 {
                let (here, there) = (Rc::clone(&worker), Rc::clone(&pool));
                let dies = spawn_local(async move {
                    let _open = here.open();
                    let _visit = Visit::begin(&here, &there, 0);
                    let head = &mut Inbound::default();
                    let Choice::Backend(claim) = there.claim(&here, 0, head, 0, &[]) else {
                        unreachable!("the one before has left");
                    };
                    let _attempt = Attempt::begin(&here, claim, 0);
                    yield_now().await;
                    panic!("as a mistake of ours would");
                });
                let lives = spawn_local(async {
                    yield_now().await;
                    yield_now().await;
                });
                yield_now().await;
                assert_eq!(pool.cell(0).in_flight(), 1);
                assert_eq!(pool.counts.in_flight(), 1);
                assert!(dies.await.is_err_and(|error| error.is_panic()));
                lives.await.expect("the others go on");
                assert_eq!(pool.cell(0).in_flight(), 0);
                assert_eq!(pool.counts.in_flight(), 0);
                worker.emptied().await;
            }
        });
    }
}
