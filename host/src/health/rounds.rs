//! Who is checked: one task a backend, which outlives every reload that leaves
//! the backend and its checks as they are.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use tokio::sync::Semaphore;
use tokio::task::{self, AbortHandle};
use tokio::time::sleep_until;

use super::pulse::Pulse;
use super::schedule;
use super::subject::{Inquiry, Subject};
use super::verdict::Unfit;
use crate::config::BackendState;
use crate::generation::Generation;
use crate::pool::{Advice, Pool};

/// Checks of healthy backends under way at once, each with a socket: more have
/// to wait.
const HEALTHY_AT_ONCE: usize = 256;
/// The same of unhealthy ones, which may take their whole timeout each: they
/// must not keep the others waiting.
const UNHEALTHY_AT_ONCE: usize = 128;

/// What is asked of whom: by pool, backend, and whether it is its agent.
type Running = FxHashMap<(String, u32, bool), Round>;

/// All backends that are checked.
pub struct Rounds {
    shared: Rc<Shared>,
    /// Two pools that check one address do not meet here.
    running: Running,
}

/// What the rounds have in common.
struct Shared {
    /// When the process did.
    started: Instant,
    pulse: Pulse,
    random: RefCell<fastrand::Rng>,
    healthy: Semaphore,
    unhealthy: Semaphore,
    /// The last check had no socket.
    starved: Cell<bool>,
}

/// One backend's checks, which end when this is dropped.
struct Round {
    subject: Rc<Subject>,
    task: AbortHandle,
}

impl Rounds {
    /// Nobody is checked yet. The times between checks are drawn from `random`.
    pub fn new(started: Instant, pulse: Pulse, random: fastrand::Rng) -> Rounds {
        Rounds {
            shared: Rc::new(Shared {
                started,
                pulse,
                random: RefCell::new(random),
                healthy: Semaphore::new(HEALTHY_AT_ONCE),
                unhealthy: Semaphore::new(UNHEALTHY_AT_ONCE),
                starved: Cell::new(false),
            }),
            running: FxHashMap::default(),
        }
    }

    /// Somebody is checked.
    pub fn any(&self) -> bool {
        !self.running.is_empty()
    }

    /// From here on checks whom `generation` wants checked. What is under way
    /// goes on where neither backend nor settings have changed.
    pub fn follow(&mut self, generation: &Generation) {
        let mut before = std::mem::take(&mut self.running);
        for served in &generation.pools {
            let pool = &*served.pool;
            match pool.settings.health_check.clone() {
                Some(settings) => self.check(pool, Inquiry::Health(settings.into()), &mut before),
                None => forget(pool),
            }
            match pool.settings.agent_check.clone() {
                Some(settings) => self.check(pool, Inquiry::Agent(settings), &mut before),
                None => forget_agents(pool),
            }
        }
    }

    /// The process runs, and so does whatever should.
    pub fn beat(&mut self) {
        self.shared.pulse.beat(Instant::now());
        for round in self.running.values_mut() {
            if round.task.is_finished() {
                // It panicked, which was told; nobody would ever ask again.
                *round = Round::begin(Rc::clone(&round.subject), &self.shared);
            }
        }
    }

    fn check(&mut self, pool: &Pool, inquiry: Inquiry, before: &mut Running) {
        let is_agent = matches!(inquiry, Inquiry::Agent(_));
        let inquiry = Rc::new(inquiry);
        for member in &pool.members.list {
            if member.settings.state == BackendState::Maintenance {
                continue;
            }
            let subject = Subject::new(pool, member, &inquiry);
            let key = (pool.settings.name.clone(), member.id, is_agent);
            let round = match before.remove(&key) {
                Some(round) if *round.subject == subject => round,
                _ => Round::begin(Rc::new(subject), &self.shared),
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

/// A pool without agents does as if none had ever said anything.
fn forget_agents(pool: &Pool) {
    let mut changed = false;
    for member in &pool.members.list {
        member.agent.forget();
        changed |= member.standing.set_advice(Advice::default());
    }
    if changed {
        pool.eligibility.changed();
    }
}

impl Round {
    fn begin(subject: Rc<Subject>, shared: &Rc<Shared>) -> Round {
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
    let pace = subject.pace();
    let mut due = Instant::now() + shared.draw(|random| schedule::first(pace, random));
    let mut first = true;
    loop {
        sleep_until(due.into()).await;
        if Pulse::missed(due, Instant::now()) {
            // All were due while nothing ran; they need not all begin now.
            due = Instant::now() + shared.draw(|random| schedule::first(pace, random));
            continue;
        }
        let began = check(&subject, &shared).await;
        let pause = shared.draw(|random| match subject.is_settled() {
            true if first => schedule::second(pace, random),
            settled => schedule::next(pace, settled, random),
        });
        first = false;
        // A check that took longer than that is followed by the next at once.
        due = (began + pause).max(Instant::now());
    }
}

/// Checks a backend once; when that began.
async fn check(subject: &Subject, shared: &Shared) -> Instant {
    let permits = match subject.is_healthy() {
        true => &shared.healthy,
        false => &shared.unhealthy,
    };
    let permit = permits.acquire().await;
    let began = Instant::now();
    let mark = shared.pulse.mark(began);
    let result = subject.ask().await;
    drop(permit);
    let now = Instant::now();
    if shared.pulse.missed_since(mark, now) {
        subject.discard("this process was stopped meanwhile");
        return began;
    }
    let result = match result {
        Ok(answer) => Ok(answer),
        Err(Unfit::Fault(fault)) => Err(fault),
        Err(Unfit::Local(error)) => {
            shared.note_sockets(Some(&error));
            subject.discard("no socket to be had");
            return began;
        }
    };
    shared.note_sockets(None);
    subject.take(result, now - began, shared.started);
    began
}

impl Shared {
    fn draw(&self, time: impl FnOnce(&mut fastrand::Rng) -> Duration) -> Duration {
        time(&mut self.random.borrow_mut())
    }

    /// Tells when this machine begins and ceases to be out of sockets.
    fn note_sockets(&self, error: Option<&io::Error>) {
        let before = self.starved.replace(error.is_some());
        match error {
            Some(error) if !before => {
                tracing::warn!(%error, "no socket for health checks: what is known stays");
            }
            None if before => tracing::info!("health checks have sockets again"),
            _ => {}
        }
    }
}
