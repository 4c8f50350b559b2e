//! A scriptable backend on a loopback port of its own, on a thread of its own.
//!
//! It records every request as it arrived and counts what happens to its
//! connections; tests wait for those counts instead of sleeping.

mod connection;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::answer::Answer;
use crate::within;
pub use connection::Request;

type Script = Box<dyn Fn(&Request) -> Answer + Send + Sync>;

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Connections accepted.
    pub opened: usize,
    /// Connections over, whoever ended them.
    pub closed: usize,
    /// Request heads received.
    pub heads: usize,
    /// Requests recorded: with their body, unless the answer is an early one.
    pub requests: usize,
    /// Answers taken to their last step.
    pub answered: usize,
    /// Requests that the peer gave up: it closed before the answer was over.
    pub aborted: usize,
    /// Writes that the peer let wait for half a second.
    pub stalled: usize,
    /// Bytes of pattern written.
    pub sent: u64,
}

impl Seen {
    /// Connections open now.
    pub fn open(&self) -> usize {
        self.opened - self.closed
    }
}

struct Shared {
    script: Script,
    keep_alive_requests: usize,
    log: Mutex<Vec<Request>>,
    seen: watch::Sender<Seen>,
}

impl Shared {
    fn count(&self, change: impl FnOnce(&mut Seen)) {
        self.seen.send_modify(change);
    }

    fn record(&self, request: Request) {
        self.log.lock().expect("no holder panics").push(request);
        self.count(|seen| seen.requests += 1);
    }
}

/// How a backend will behave.
pub struct Builder {
    name: String,
    script: Script,
    delay: Option<Duration>,
    keep_alive_requests: usize,
    at: Option<SocketAddr>,
}

impl Builder {
    /// The same answer to every request.
    pub fn answer(self, answer: Answer) -> Self {
        self.script(move |_| answer.clone())
    }

    /// An answer that depends on the request.
    pub fn script(mut self, script: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        self.script = Box::new(script);
        self
    }

    /// Waits before every answer.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    /// Closes each connection, unannounced, after so many answers.
    pub fn keep_alive_requests(mut self, requests: usize) -> Self {
        self.keep_alive_requests = requests;
        self
    }

    /// Listens at this address (port 0: a free one), not at one of 127.0.0.1 that is free.
    pub fn at(mut self, address: SocketAddr) -> Self {
        self.at = Some(address);
        self
    }

    /// Listens.
    pub fn start(self) -> Backend {
        let Self {
            name,
            script,
            delay,
            keep_alive_requests,
            at,
        } = self;
        let script: Script = match delay {
            Some(delay) => Box::new(move |request| script(request).after(delay)),
            None => script,
        };
        let shared = Arc::new(Shared {
            script,
            keep_alive_requests,
            log: Mutex::default(),
            seen: watch::Sender::new(Seen::default()),
        });
        Backend::spawn(name, at, shared)
    }
}

/// A running backend; dropping it ends its thread, listener and connections.
pub struct Backend {
    name: String,
    address: SocketAddr,
    shared: Arc<Shared>,
    orders: Option<mpsc::UnboundedSender<Order>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Order {
    Listen(bool, oneshot::Sender<()>),
    HangUp(oneshot::Sender<()>),
    Fill(oneshot::Sender<()>),
}

impl Backend {
    /// A backend that answers every request with its name.
    pub fn named(name: &str) -> Builder {
        let owned = name.to_owned();
        let script = move |request: &Request| match request.method.as_str() {
            "HEAD" => Answer::head("200 OK", &[("Content-Length", &owned.len().to_string())]),
            _ => Answer::text(&owned),
        };
        Builder {
            name: name.to_owned(),
            script: Box::new(script),
            delay: None,
            keep_alive_requests: usize::MAX,
            at: None,
        }
    }

    /// One that refuses every connection: the port is held, nothing listens.
    pub async fn refusing(name: &str) -> Self {
        let backend = Self::named(name).start();
        backend.stop().await;
        backend
    }

    /// One that takes no connection and refuses none: its queue is full, so the
    /// kernel drops whoever wants to join it.
    pub async fn blackhole(name: &str) -> Self {
        let backend = Self::named(name).start();
        backend.order(Order::Fill).await;
        backend
    }

    /// Its name, which is also its default answer.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `127.0.0.1:PORT`
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has happened so far.
    pub fn seen(&self) -> Seen {
        *self.shared.seen.borrow()
    }

    /// Waits until `condition` holds of what has happened.
    pub async fn until(&self, what: &str, condition: impl FnMut(&Seen) -> bool) -> Seen {
        let mut seen = self.shared.seen.subscribe();
        let what = format!("{what} at backend {}", self.name);
        *within(&what, seen.wait_for(condition))
            .await
            .expect("the sender lives in this backend")
    }

    /// Waits for `count` requests in all, and returns every one so far.
    pub async fn requests(&self, count: usize) -> Vec<Request> {
        self.until("requests", |seen| seen.requests >= count).await;
        self.log()
    }

    /// Waits for the first request.
    pub async fn request(&self) -> Request {
        self.requests(1).await.swap_remove(0)
    }

    /// Every request so far.
    pub fn log(&self) -> Vec<Request> {
        self.shared.log.lock().expect("no holder panics").clone()
    }

    /// Stops listening and resets every connection; the port stays held, so
    /// connecting to it is refused.
    pub async fn stop(&self) {
        self.order(|done| Order::Listen(false, done)).await;
    }

    /// Listens again, at the same address.
    pub async fn restart(&self) {
        self.order(|done| Order::Listen(true, done)).await;
    }

    /// Ends every connection and goes on listening.
    pub async fn hang_up(&self) {
        self.order(Order::HangUp).await;
    }

    async fn order(&self, order: impl FnOnce(oneshot::Sender<()>) -> Order) {
        let (done, wait) = oneshot::channel();
        let orders = self.orders.as_ref().expect("taken only by drop");
        orders
            .send(order(done))
            .expect("the backend's thread runs until drop");
        within("the backend to obey", wait)
            .await
            .expect("the backend's thread runs until drop");
    }

    fn spawn(name: String, at: Option<SocketAddr>, shared: Arc<Shared>) -> Self {
        let (orders, inbox) = mpsc::unbounded_channel();
        // Between choosing and asking, another may have got the number.
        let port = match at {
            Some(address) => Port::at(address).ok(),
            None => (0..10).find_map(|_| Port::new().ok()),
        };
        let port = port.expect("loopback has free ports");
        let (address, theirs) = (port.address, shared.clone());
        let thread = std::thread::Builder::new()
            .name(format!("backend {name}"))
            .spawn(move || run(port, theirs, inbox))
            .expect("a thread can be made");
        Self {
            name,
            address,
            shared,
            orders: Some(orders),
            thread: Some(thread),
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.orders.take();
        if let Some(thread) = self.thread.take() {
            // A panic there has already been printed.
            let _ = thread.join();
        }
    }
}

impl std::fmt::Display for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.address.fmt(f)
    }
}

fn run(port: Port, shared: Arc<Shared>, orders: mpsc::UnboundedReceiver<Order>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made")
        .block_on(serve(port, shared, orders));
}

async fn serve(mut port: Port, shared: Arc<Shared>, mut orders: mpsc::UnboundedReceiver<Order>) {
    port.open();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                None => return,
                Some(Order::Listen(true, done)) => {
                    port.open();
                    let _ = done.send(());
                }
                Some(Order::Listen(false, done)) => {
                    connections.shutdown().await;
                    port.close();
                    let _ = done.send(());
                }
                Some(Order::Fill(done)) => {
                    port.fill().await;
                    let _ = done.send(());
                }
                Some(Order::HangUp(done)) => {
                    connections.shutdown().await;
                    let _ = done.send(());
                }
            },
            stream = port.accept() => {
                connections.spawn(connection::serve(stream, shared.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// A port that is ours from beginning to end: while nothing listens there, the
/// socket stays bound, so that no other process can be given the number.
struct Port {
    socket: Socket,
    address: SocketAddr,
    listener: Option<TcpListener>,
    /// Connections that nobody will accept.
    waiting: Vec<TcpStream>,
}

impl Port {
    fn new() -> io::Result<Self> {
        // The kernel takes back a number that it chose itself as soon as a
        // socket stops listening; one that was asked for by number stays.
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        Self::at(address)
    }

    fn at(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        // Another number where none was asked for.
        let address = socket.local_addr()?.as_socket().unwrap_or(address);
        // From here on a connection is taken, whenever the thread gets to it.
        socket.listen(1024)?;
        Ok(Self {
            socket,
            address,
            listener: None,
            waiting: Vec::new(),
        })
    }

    fn open(&mut self) {
        let listener = self
            .socket
            .listen(1024)
            .and_then(|()| self.socket.try_clone());
        let listener = listener.and_then(|socket| TcpListener::from_std(socket.into()));
        self.listener = Some(listener.expect("the port is ours"));
    }

    fn close(&mut self) {
        self.listener = None;
        // On Linux this ends listening and keeps the port.
        self.socket.shutdown(Shutdown::Read).expect("it listens");
    }

    async fn fill(&mut self) {
        self.close();
        self.socket.listen(0).expect("the port is ours");
        let connect = || timeout(Duration::from_millis(100), TcpStream::connect(self.address));
        while let Ok(Ok(stream)) = connect().await {
            self.waiting.push(stream);
        }
    }

    async fn accept(&self) -> TcpStream {
        let Some(listener) = &self.listener else {
            return std::future::pending().await;
        };
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                return stream;
            }
        }
    }
}
