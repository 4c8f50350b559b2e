//! A worker: one thread with its own connections, plugin instances and idle
//! upstream connections. Nothing here is shared with another worker but what
//! `pool` keeps in its live columns and the list of who has how many
//! connections.

mod local;

pub use local::{Adopted, AtLimit, Choice, Claim, Lease, LocalPool, Picked, Slot};

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use crate::connection;
use crate::generation::Generation;
use crate::listener::{self, Handed, Spread};
use crate::server::Farewell;
use crate::telemetry::access::AccessLog;
use crate::timer;
use crate::transport::Upstreams;
use crate::watchdog::Heartbeats;

/// How often outcomes are handed to plugins, plans renewed, and idle upstream
/// connections looked through.
const HOUSEKEEPING: Duration = Duration::from_millis(100);

/// What a worker is given when it starts.
pub struct Seat {
    /// 0, 1 ...
    pub index: usize,
    /// When the process started: the zero of every clock that strategies see.
    pub started: Instant,
    pub generations: watch::Receiver<Arc<Generation>>,
    /// Set once, to how the process ends.
    pub shutdown: watch::Receiver<Option<Farewell>>,
    /// Connections that other workers accepted for this one.
    pub handed: mpsc::UnboundedReceiver<Handed>,
    pub spread: Arc<Spread>,
    pub access: Option<AccessLog>,
    /// Where the worker notes that it turns.
    pub heartbeats: Arc<Heartbeats>,
}

/// One worker's state, shared by its tasks.
pub struct Worker {
    pub index: usize,
    started: Instant,
    random: RefCell<fastrand::Rng>,
    adopted: RefCell<Rc<Adopted>>,
    upstreams: Upstreams,
    pub spread: Arc<Spread>,
    pub access: Option<AccessLog>,
    heartbeats: Arc<Heartbeats>,
    drain_stage: Cell<Drain>,
    /// Connections and tunnels.
    opened: Cell<usize>,
    /// The worker's main task, once it waits for `opened` to become 0.
    emptied: RefCell<Option<Waker>>,
}

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drain {
    No,
    Answering,
    Closing,
}

/// A connection or tunnel that a drain waits for.
pub struct Open(Rc<Worker>);

impl Worker {
    /// A worker without connections that serves `first`.
    pub fn new(
        index: usize,
        started: Instant,
        first: Arc<Generation>,
        spread: Arc<Spread>,
        access: Option<AccessLog>,
        heartbeats: Arc<Heartbeats>,
    ) -> Rc<Worker> {
        let upstreams = Upstreams::default();
        let now_us = started.elapsed().as_micros() as u64;
        let first = Adopted::new(first, None, &upstreams, now_us);
        Rc::new(Worker {
            index,
            started,
            random: RefCell::default(),
            adopted: RefCell::new(Rc::new(first)),
            upstreams,
            spread,
            access,
            heartbeats,
            drain_stage: Cell::new(Drain::No),
            opened: Cell::new(0),
            emptied: RefCell::default(),
        })
    }

    /// The generation for a request that begins now.
    pub fn generation(&self) -> Rc<Adopted> {
        Rc::clone(&self.adopted.borrow())
    }

    /// Microseconds since the process started.
    pub fn now_us(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    /// [`Worker::now_us`] as it was at that instant.
    pub fn us_at(&self, instant: Instant) -> u64 {
        instant.saturating_duration_since(self.started).as_micros() as u64
    }

    /// The instant at which [`Worker::now_us`] was that.
    pub fn instant_at(&self, us: u64) -> Instant {
        self.started + Duration::from_micros(us)
    }

    /// 53 random bits.
    pub fn random(&self) -> u64 {
        self.random.borrow_mut().u64(..) >> 11
    }

    /// Every answer is the last one of its connection.
    pub fn is_draining(&self) -> bool {
        self.drain_stage.get() != Drain::No
    }

    /// Connections that wait for a request are to be closed.
    pub fn closes_idle(&self) -> bool {
        self.drain_stage.get() == Drain::Closing
    }

    /// Counts a connection or tunnel as open until the guard is dropped.
    pub fn open(self: &Rc<Self>) -> Open {
        self.opened.set(self.opened.get() + 1);
        Open(Rc::clone(self))
    }

    /// Switches to `generation`; requests that began before stay with theirs.
    fn adopt(&self, generation: Arc<Generation>) {
        let previous = self.generation();
        let now_us = self.now_us();
        let adopted = Adopted::new(generation, Some(&previous), &self.upstreams, now_us);
        adopted.keep_house(now_us);
        let adopted = Rc::new(adopted);
        *self.adopted.borrow_mut() = Rc::clone(&adopted);
        adopted.wake_queues();
        drop(previous);
        self.upstreams.forget_unused();
    }

    /// This thread stood still at some time after `at_us`, because the process
    /// was stopped or starved: what seems slow or lost since may be well.
    pub fn stood_still_since(&self, at_us: u64) -> bool {
        timer::stood_still().is_some_and(|until| at_us < self.us_at(until))
    }

    async fn keep_house(&self) {
        let mut ticks = tokio::time::interval(HOUSEKEEPING);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            timer::beat();
            let now_us = self.now_us();
            self.heartbeats.beat(self.index, now_us);
            self.generation().keep_house(now_us);
        }
    }

    /// Lets connections end: a request that comes is answered with
    /// `Connection: close`, and who is still idle after a while is closed.
    /// So a client that sends just now is not cut off.
    async fn drain(&self, Farewell { grace, idle, .. }: Farewell) {
        let over = tokio::time::Instant::now() + grace;
        self.drain_stage.set(Drain::Answering);
        if tokio::time::timeout(idle, self.emptied()).await.is_ok() {
            return;
        }
        self.drain_stage.set(Drain::Closing);
        timer::wake_all();
        if tokio::time::timeout_at(over, self.emptied()).await.is_err() {
            tracing::warn!(
                worker = self.index,
                connections = self.opened.get(),
                "grace time over, closing connections"
            );
        }
    }

    /// Ends once nothing is open.
    pub async fn emptied(&self) {
        poll_fn(|cx| {
            if self.opened.get() == 0 {
                return Poll::Ready(());
            }
            *self.emptied.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Open {
    /// Who waits for it.
    pub fn worker(&self) -> &Rc<Worker> {
        &self.0
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let open = self.0.opened.get() - 1;
        self.0.opened.set(open);
        if open == 0
            && let Some(waker) = self.0.emptied.borrow_mut().take()
        {
            waker.wake();
        }
    }
}

/// Runs a worker on this thread until shutdown is over. Calls `ready` when the
/// system has given what it needs.
///
/// # Errors
///
/// When the system refuses what a runtime needs (epoll, descriptors).
pub fn run(seat: Seat, ready: impl FnOnce()) -> std::io::Result<()> {
    // Not a `LocalSet` on a runtime: each task would be queued twice.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())?;
    ready();
    runtime.block_on(serve(seat));
    // A name that is still being looked up holds nobody up.
    runtime.shutdown_background();
    Ok(())
}

async fn serve(seat: Seat) {
    let Seat {
        index,
        started,
        mut generations,
        mut shutdown,
        mut handed,
        spread,
        access,
        heartbeats,
    } = seat;
    let first = Arc::clone(&generations.borrow_and_update());
    let worker = Worker::new(index, started, first, spread, access, heartbeats);
    worker.generation().keep_house(worker.now_us());
    tokio::task::spawn_local(timer::sweep());
    let housekeeper = Rc::clone(&worker);
    tokio::task::spawn_local(async move { housekeeper.keep_house().await });
    let mut acceptors = listener::Acceptors::default();
    acceptors.follow(&worker);
    let farewell = loop {
        tokio::select! {
            // Should the publisher be gone, what is in force stays in force.
            Ok(()) = generations.changed() => {
                worker.adopt(Arc::clone(&generations.borrow_and_update()));
                acceptors.follow(&worker);
            }
            Some(handed) = handed.recv() => connection::spawn_handed(&worker, handed),
            farewell = shutdown.wait_for(Option::is_some) => {
                // Should the server be gone, nobody waits.
                let now = Farewell::default();
                break farewell.ok().and_then(|farewell| *farewell).unwrap_or(now)
            }
        }
    };
    worker.spread.leave(index);
    acceptors.stop(farewell.replaced).await;
    let late = async {
        while let Some(handed) = handed.recv().await {
            connection::spawn_handed(&worker, handed);
        }
        std::future::pending().await
    };
    tokio::select! {
        biased;
        () = late => {}
        () = worker.drain(farewell) => {}
    }
    // Whoever would still hand over keeps it; what was on its way is served.
    handed.close();
    let mut rest = false;
    while let Some(handed) = handed.recv().await {
        connection::spawn_handed(&worker, handed);
        rest = true;
    }
    if rest {
        worker.drain(farewell).await;
    }
}
