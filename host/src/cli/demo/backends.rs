//! Three hello-world servers that differ in how long they take.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use super::summary::Tally;

/// Names, and how long each takes for an answer.
const HELLOS: [(&str, Duration); 3] = [
    ("fast", Duration::from_millis(2)),
    ("medium", Duration::from_millis(10)),
    ("slow", Duration::from_millis(40)),
];

/// One of the servers, bound and not yet serving.
#[derive(Debug)]
pub struct Hello {
    pub name: &'static str,
    pub address: SocketAddr,
    delay: Duration,
    socket: StdListener,
}

/// Binds all three on ports that the system chooses.
pub fn start() -> io::Result<Vec<Hello>> {
    let bind = |&(name, delay): &(&'static str, Duration)| {
        let socket = StdListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        Ok(Hello {
            name,
            address,
            delay,
            socket,
        })
    };
    HELLOS.iter().map(bind).collect()
}

/// `fast (2ms), ...`
pub fn described() -> String {
    let described = HELLOS.map(|(name, delay)| format!("{name} ({delay:?})"));
    described.join(", ")
}

impl Hello {
    /// Serves in tasks of this thread, for as long as its runtime lives.
    pub fn serve(self, tally: Rc<Tally>) -> io::Result<()> {
        let listener = TcpListener::from_std(self.socket)?;
        let (name, delay) = (self.name, self.delay);
        tokio::task::spawn_local(async move {
            // The only reason to fail is a lack of descriptors; the demo then
            // goes on with the connections it has.
            while let Ok((stream, _)) = listener.accept().await {
                tokio::task::spawn_local(answer(stream, name, delay, Rc::clone(&tally)));
            }
        });
        Ok(())
    }
}

/// Says hello on one connection until the proxy closes it.
async fn answer(stream: TcpStream, name: &'static str, delay: Duration, tally: Rc<Tally>) {
    let hello = service_fn(move |_: Request<Incoming>| {
        tally.got(name);
        async move {
            tokio::time::sleep(delay).await;
            let text = Bytes::from(format!("Hello from {name}\n"));
            Ok::<_, Infallible>(Response::new(Full::new(text)))
        }
    });
    // A proxy that goes away is no news.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), hello)
        .await;
}
