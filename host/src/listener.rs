//! Sockets that accept: one per worker and address, so that no worker waits
//! for another, and connections dealt out evenly over the workers.
//!
//! The kernel spreads new connections over the sockets of a port by a hash,
//! which leaves some workers with many and others with none when there are
//! few connections. So a worker that accepts one while it has more than
//! another hands it over: once per connection, never per request.

mod crowd;

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crowd::{Clients, Counted, Crowd, OfClient};

use crate::config::ListenerSettings;
use crate::connection;
use crate::generation::Listening;
use crate::telemetry::metrics::{Ended, Ledger, ListenerCounts, Own};
use crate::worker::Worker;

/// Connections the kernel may hold for us before they are accepted.
const BACKLOG: i32 = 4096;
/// How long somebody who has begun to connect may take until it is done, when the
/// socket is about to close.
const HANDSHAKE: Duration = Duration::from_millis(20);
/// More connections than any worker has.
const GONE: usize = usize::MAX / 2;
/// First and longest pause after an accept that failed for want of resources.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// A want that has lasted so long may last longer: who waits is told.
const LASTING: Duration = Duration::from_millis(160);

/// An address that is listened on.
pub struct Bound {
    /// As configured, perhaps with port 0.
    pub requested: SocketAddr,
    /// As it is.
    pub address: SocketAddr,
    pub counts: Ledger<ListenerCounts>,
    /// Its open connections, and those of each client.
    crowd: Arc<Crowd>,
    clients: Arc<Clients>,
    workers: usize,
    /// Somebody else has the sockets too, and keeps them after this process: a
    /// service manager.
    pub is_kept: bool,
    /// At least one for each worker, unless they were inherited. Kept beside the
    /// worker's own handle, to be passed on, until the worker is done with it:
    /// then it is closed. The lock is for the moments of taking and closing.
    sockets: Vec<Mutex<Option<StdListener>>>,
}

impl Bound {
    /// Listens on `address` with one socket for each of `workers`.
    ///
    /// # Errors
    ///
    /// When the address is in use, not ours, or not permitted.
    pub fn new(address: SocketAddr, workers: usize) -> io::Result<Bound> {
        if address.port() != 0 {
            // Sockets that share a port would also share it with another
            // process of this user: see first that nobody has it.
            socket(address, false)?;
        }
        let first = socket(address, true)?;
        let real = first.local_addr()?;
        let mut sockets = vec![first];
        for _ in 1..workers {
            sockets.push(socket(real, true)?);
        }
        Ok(Bound::of(address, real, workers, sockets, false))
    }

    /// Goes on with sockets that another process listened with, whatever their
    /// number: what has connected to one of them waits there. With `is_kept`, somebody
    /// keeps them after this process.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn adopt(
        address: SocketAddr,
        workers: usize,
        mut sockets: Vec<StdListener>,
        is_kept: bool,
    ) -> io::Result<Bound> {
        let first = sockets.first().ok_or(io::ErrorKind::NotFound)?;
        let real = first.local_addr()?;
        for socket in &sockets {
            socket.set_nonblocking(true)?;
        }
        while sockets.len() < workers {
            match socket(real, true) {
                Ok(more) => sockets.push(more),
                // They do not share their port. Workers without one are dealt theirs.
                Err(_) => break,
            }
        }
        Ok(Bound::of(address, real, workers, sockets, is_kept))
    }

    fn of(
        requested: SocketAddr,
        address: SocketAddr,
        workers: usize,
        sockets: Vec<StdListener>,
        is_kept: bool,
    ) -> Bound {
        let sockets = sockets.into_iter().map(|socket| Mutex::new(Some(socket)));
        Bound {
            requested,
            address,
            counts: Ledger::default(),
            crowd: Arc::default(),
            clients: Arc::default(),
            workers,
            is_kept,
            sockets: sockets.collect(),
        }
    }

    /// Further handles to the sockets that are not closed yet.
    ///
    /// # Errors
    ///
    /// When the system has no descriptors left.
    pub fn handles(&self) -> io::Result<Vec<StdListener>> {
        let open = self.sockets.iter().filter_map(|socket| {
            let socket = lock(socket);
            socket.as_ref().map(StdListener::try_clone)
        });
        open.collect()
    }

    /// A worker's share of the sockets.
    fn take(self: &Arc<Self>, worker: usize) -> io::Result<Vec<Taken>> {
        let share = (worker..self.sockets.len()).step_by(self.workers);
        share.map(|index| Taken::of(self, index)).collect()
    }
}

/// A socket of a worker; dropping it closes the socket.
struct Taken {
    socket: TcpListener,
    bound: Arc<Bound>,
    index: usize,
}

impl Taken {
    fn of(bound: &Arc<Bound>, index: usize) -> io::Result<Taken> {
        let socket = lock(&bound.sockets[index]);
        let socket = socket.as_ref().ok_or(io::ErrorKind::NotFound)?;
        Ok(Taken {
            socket: TcpListener::from_std(socket.try_clone()?)?,
            bound: Arc::clone(bound),
            index,
        })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        *lock(&self.bound.sockets[self.index]) = None;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn socket(address: SocketAddr, shared: bool) -> io::Result<StdListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// How many connections each worker has, and the way to each.
pub struct Spread {
    workers: Vec<Desk>,
    /// Open connections of all listeners.
    crowd: Arc<Crowd>,
}

#[repr(align(128))]
struct Desk {
    open: AtomicUsize,
    handed: mpsc::UnboundedSender<Handed>,
}

/// A connection on its way to another worker.
pub struct Handed {
    pub stream: StdStream,
    pub peer: SocketAddr,
    pub listener: Listening,
    pub place: Place,
}

/// A connection's place in every count: of its worker, of all, of its listener
/// and of its client.
pub struct Place {
    spread: Arc<Spread>,
    worker: usize,
    _counted: [Counted; 2],
    _of_client: Option<OfClient>,
}

impl Spread {
    /// For workers that receive through the other ends of `handed`.
    pub fn new(handed: Vec<mpsc::UnboundedSender<Handed>>) -> Spread {
        let desk = |handed| Desk {
            open: AtomicUsize::new(0),
            handed,
        };
        Spread {
            workers: handed.into_iter().map(desk).collect(),
            crowd: Arc::default(),
        }
    }

    /// The worker with the fewest connections; `own` if none has fewer.
    fn least_busy(&self, own: usize) -> usize {
        let open = |index: usize| self.workers[index].open.load(Relaxed);
        (0..self.workers.len())
            .min_by_key(|&index| (open(index), index != own))
            .unwrap_or(own)
    }

    /// A place at this worker for a connection to `bound`.
    fn place(self: &Arc<Self>, worker: usize, bound: &Bound, of_client: Option<OfClient>) -> Place {
        self.workers[worker].open.fetch_add(1, Relaxed);
        Place {
            spread: Arc::clone(self),
            worker,
            _counted: [self.crowd.enter(), bound.crowd.enter()],
            _of_client: of_client,
        }
    }

    /// No more connections for this worker: it is about to end.
    pub fn leave(&self, worker: usize) {
        self.workers[worker].open.fetch_add(GONE, Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.spread.workers[self.worker].open.fetch_sub(1, Relaxed);
    }
}

/// The accepting tasks of one worker.
#[derive(Default)]
pub struct Acceptors {
    /// One for each socket. Dropping the sender ends the task, which closes the
    /// socket for good.
    running: Vec<(Arc<Bound>, JoinHandle<()>, oneshot::Sender<Replaced>)>,
}

/// Another process goes on with the socket.
struct Replaced;

impl Acceptors {
    /// Accepts on the listeners of the worker's generation, and on no other.
    pub fn follow(&mut self, worker: &Rc<Worker>) {
        let generation = worker.generation();
        let listeners = generation.listeners();
        self.running
            .retain(|(bound, ..)| listeners.iter().any(|one| Arc::ptr_eq(&one.bound, bound)));
        worker.spread.crowd.look_again();
        for Listening { bound, settings } in listeners {
            bound.crowd.look_again();
            if self
                .running
                .iter()
                .any(|(running, ..)| Arc::ptr_eq(running, bound))
            {
                continue;
            }
            let sockets = bound.take(worker.index).unwrap_or_else(|error| {
                let (listener, worker) = (bound.address, worker.index);
                tracing::error!(%listener, worker, %error, "cannot accept");
                Vec::new()
            });
            for socket in sockets {
                let (stop, stopped) = oneshot::channel();
                let door = Door {
                    worker: Rc::clone(worker),
                    counts: bound.counts.open(),
                    bound: Arc::clone(bound),
                    settings: RefCell::new(Arc::clone(settings)),
                    reserve: RefCell::new(reserve()),
                };
                let acceptor = tokio::task::spawn_local(door.accept_until(socket, stopped));
                self.running.push((Arc::clone(bound), acceptor, stop));
            }
        }
    }

    /// Accepts no more than what has already connected. With `replaced`, another
    /// process goes on with the same sockets.
    pub async fn stop(&mut self, replaced: bool) {
        let mut tasks = Vec::new();
        for (_, task, stop) in self.running.drain(..) {
            if replaced {
                // Nobody there: it has ended already.
                let _ = stop.send(Replaced);
            }
            tasks.push(task);
        }
        for task in tasks {
            // A task that panicked has closed its socket as well.
            let _ = task.await;
        }
    }
}

/// One listener on one worker.
struct Door {
    worker: Rc<Worker>,
    counts: Own<ListenerCounts>,
    bound: Arc<Bound>,
    /// As of the last generation that had this listener.
    settings: RefCell<Arc<ListenerSettings>>,
    /// A descriptor to accept one more with, when there are no others.
    reserve: RefCell<Option<File>>,
}

impl Door {
    async fn accept_until(self, taken: Taken, stopped: oneshot::Receiver<Replaced>) {
        let replaced = tokio::select! {
            stopped = stopped => stopped.is_ok(),
            never = self.accept_all(&taken.socket) => never,
        };
        let others_use_it = replaced || self.bound.is_kept;
        if !others_use_it && turn_away(&taken.socket).is_ok() {
            let begun = timeout(HANDSHAKE, self.accept_all(&taken.socket));
            // Whoever had begun to connect has done so.
            let _ = begun.await;
        }
        self.accept_backlog(&taken.socket).await;
    }

    async fn accept_all(&self, socket: &TcpListener) -> ! {
        let mut pause = BACK_OFF.0;
        loop {
            self.room().await;
            match socket.accept().await {
                Ok((stream, peer)) => {
                    pause = BACK_OFF.0;
                    self.deal(stream, peer);
                }
                Err(error) if concerns_one_connection(&error) => {}
                Err(error) => {
                    self.counts.accept_failures.add(1);
                    if pause == BACK_OFF.0 {
                        tracing::warn!(listener = %self.bound.address, %error, "accepting is held up");
                    }
                    if pause >= LASTING {
                        self.send_away(socket).await;
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(BACK_OFF.1);
                }
            }
        }
    }

    /// Who has connected before the socket closes is served here, not reset.
    async fn accept_backlog(&self, socket: &TcpListener) {
        for _ in 0..BACKLOG {
            match timeout(Duration::ZERO, socket.accept()).await {
                Ok(Ok((stream, peer))) => self.serve(stream, peer, self.worker.index),
                _ => return,
            }
        }
    }

    /// Waits until there may be one more connection. Meanwhile they wait in the
    /// kernel, which is what they would do here.
    async fn room(&self) {
        let spread = &self.worker.spread;
        let in_all = || self.worker.generation().max_connections();
        let here = || match self.settings.borrow().max_connections {
            0 => usize::MAX,
            most => most,
        };
        if spread.crowd.has_room(in_all()) && self.bound.crowd.has_room(here()) {
            return;
        }
        self.counts.held.add(1);
        tracing::debug!(listener = %self.bound.address, "as many connections as there may be");
        loop {
            spread.crowd.room(in_all).await;
            self.bound.crowd.room(here).await;
            if spread.crowd.has_room(in_all()) {
                return;
            }
        }
    }

    /// Closes who waits to be accepted, with the last descriptor that there is:
    /// they can go elsewhere instead of waiting for what does not come.
    async fn send_away(&self, socket: &TcpListener) {
        self.reserve.borrow_mut().take();
        for _ in 0..BACKLOG {
            match timeout(Duration::ZERO, socket.accept()).await {
                Ok(Ok(_closed)) => self.counts.ended(Ended::NoResources),
                _ => break,
            }
        }
        *self.reserve.borrow_mut() = reserve();
    }

    /// Serves the connection here, or hands it to a worker that has fewer.
    fn deal(&self, stream: TcpStream, peer: SocketAddr) {
        let worker = &self.worker;
        self.serve(stream, peer, worker.spread.least_busy(worker.index));
    }

    /// Serves the connection on this worker, unless its client has too many.
    fn serve(&self, stream: TcpStream, peer: SocketAddr, at: usize) {
        let worker = &self.worker;
        let listener = self.listener();
        let most = listener.settings.max_connections_of(peer.ip());
        let of_client = most.map(|most| self.bound.clients.enter(peer.ip(), most));
        if matches!(of_client, Some(None)) {
            return self.counts.ended(Ended::ClientLimit);
        }
        let place = worker.spread.place(at, &self.bound, of_client.flatten());
        if place.worker == worker.index {
            return connection::spawn(worker, stream, peer, listener, place);
        }
        let stream = match stream.into_std() {
            Ok(stream) => stream,
            Err(error) => return tracing::warn!(%peer, %error, "connection lost between workers"),
        };
        let target = &worker.spread.workers[place.worker].handed;
        let handed = Handed {
            stream,
            peer,
            listener,
            place,
        };
        if let Err(mpsc::error::SendError(handed)) = target.send(handed) {
            // That worker has ended.
            connection::spawn_handed(worker, handed);
        }
    }

    fn listener(&self) -> Listening {
        let generation = self.worker.generation();
        let bound = |one: &&Listening| Arc::ptr_eq(&one.bound, &self.bound);
        if let Some(current) = generation.listeners().iter().find(bound) {
            *self.settings.borrow_mut() = Arc::clone(&current.settings);
        }
        Listening {
            bound: Arc::clone(&self.bound),
            settings: Arc::clone(&self.settings.borrow()),
        }
    }
}

/// From now on nobody begins to connect to this socket: what asks to is not heard,
/// as if it were lost on the way, and finds the socket closed when it asks again.
/// Else somebody could connect between the last look at the queue and its end.
fn turn_away(socket: &TcpListener) -> io::Result<()> {
    // In the language of classic BPF, where the packet begins with its TCP header:
    // drop it if of SYN and ACK it has SYN alone.
    const FLAGS: u32 = 13;
    const SYN_AND_ACK: u32 = 0x12;
    const SYN: u32 = 0x02;
    let program = [
        SockFilter::new(0x30, 0, 0, FLAGS),
        SockFilter::new(0x54, 0, 0, SYN_AND_ACK),
        SockFilter::new(0x15, 0, 1, SYN),
        SockFilter::new(0x06, 0, 0, 0),
        SockFilter::new(0x06, 0, 0, u32::MAX),
    ];
    SockRef::from(socket).attach_filter(&program)
}

/// Any file will do.
fn reserve() -> Option<File> {
    File::open("/dev/null").ok()
}

/// The client was gone before it was accepted.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}
