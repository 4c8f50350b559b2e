//! Active health checks: every backend of a pool that asks for it is checked,
//! once and not once per worker, on a thread of its own; and so is its agent.
//!
//! Parts that know little of each other: `course.rs` makes a state of a row of
//! results, `agent.rs` advice of a line, `schedule.rs` the times between them, `probe/` asks one question,
//! `rounds.rs` sees to it that everybody is asked. What is found out belongs to the backend ([`Record`]) and goes
//! with it from generation to generation; whether a backend gets requests is
//! not decided here, only written into its standing.

mod agent;
mod course;
mod probe;
mod pulse;
mod record;
mod rounds;
mod schedule;
mod subject;
mod verdict;

pub use agent::Record as AgentRecord;
pub use record::{Finding, Record, Report};

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::sync::{oneshot, watch};
use tokio::task::LocalSet;

use crate::generation::Generation;
use crate::pool::{Advice, Member};
use pulse::{BEAT, Pulse};
use rounds::Rounds;

/// Look-ups of backends' names at once; each may take longer than its check.
const NAME_LOOKUPS: usize = 64;

/// Goes on from what a backend's agent has told another process.
pub fn inherit_advice(member: &Member, advice: Advice) {
    member.standing.set_advice(advice);
}

/// Goes on from what another process has found out of a backend, before anybody
/// asks it.
pub fn inherit(member: &Member, finding: Finding) {
    member.standing.set_healthy(finding.healthy);
    member.health.inherit(finding);
}

/// The running checks.
pub struct Checks {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Checks {
    /// Checks the backends of whatever generation is in force, until
    /// [`Checks::stop`]; `started` is when the process did.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn start(
        started: Instant,
        generations: watch::Receiver<Arc<Generation>>,
    ) -> io::Result<Checks> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            // For names that have to be looked up.
            .max_blocking_threads(NAME_LOOKUPS)
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("health".to_owned())
            .spawn(move || {
                LocalSet::new().block_on(&runtime, follow(started, generations, stopped));
            })?;
        Ok(Checks { stop, thread })
    }

    /// Gives up the checks under way, and returns when the thread is gone.
    pub fn stop(self) {
        // Without a receiver the thread is over already.
        let _ = self.stop.send(());
        if self.thread.join().is_err() {
            tracing::error!("the health checks ended abnormally");
        }
    }
}

async fn follow(
    started: Instant,
    mut generations: watch::Receiver<Arc<Generation>>,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut rounds = Rounds::new(started, Pulse::new(Instant::now()), fastrand::Rng::new());
    loop {
        let generation = Arc::clone(&generations.borrow_and_update());
        rounds.follow(&generation);
        // Not kept: a replaced generation is to be dropped soon.
        drop(generation);
        loop {
            tokio::select! {
                changed = generations.changed() => match changed {
                    Ok(()) => break,
                    // Nobody can change anything any more.
                    Err(_) => return drop(stopped.await),
                },
                _ = &mut stopped => return,
                () = tokio::time::sleep(BEAT), if rounds.any() => rounds.beat(),
            }
        }
    }
}
