//! Connections of the admin API: so many at once, each for so long.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::socket::Accept;

/// For a request head, and between two requests.
const HEAD: Duration = Duration::from_secs(10);
/// After which a connection is asked to end, whatever it does: nobody keeps a
/// slot for ever by not reading.
const LIFETIME: Duration = Duration::from_secs(600);
/// After a failure to accept, as when there are no descriptors left.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Everybody who is being served, whichever way they came in.
pub struct Hall {
    slots: Arc<Semaphore>,
    most: u32,
    closing: watch::Sender<bool>,
}

impl Hall {
    /// Room for `most` connections.
    pub fn new(most: u32) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(most as usize)),
            most,
            closing: watch::Sender::new(false),
        }
    }

    /// Lets in who comes to `socket`, from now on until the hall closes.
    pub fn open<A: Accept>(&self, socket: A, app: Router) {
        let (slots, closing) = (Arc::clone(&self.slots), self.closing.subscribe());
        tokio::spawn(async move {
            match socket.listen() {
                Ok(listener) => accept::<A>(&listener, &app, &slots, closing).await,
                Err(error) => tracing::error!(%error, "admin API cannot be served"),
            }
        });
    }

    /// Lets nobody in any more, and lets those inside finish within `grace`.
    pub async fn close(self, grace: Duration) {
        self.closing.send_replace(true);
        // Who is too slow is cut off when the runtime ends.
        let _ = timeout(grace, self.slots.acquire_many(self.most)).await;
    }
}

async fn accept<A: Accept>(
    listener: &A::Listener,
    app: &Router,
    slots: &Arc<Semaphore>,
    mut closing: watch::Receiver<bool>,
) {
    loop {
        let next = async {
            let slot = Arc::clone(slots)
                .acquire_owned()
                .await
                .expect("nobody closes the semaphore");
            (A::accept(listener).await, slot)
        };
        tokio::select! {
            (accepted, slot) = next => match accepted {
                Ok(stream) => {
                    tokio::spawn(serve(stream, app.clone(), slot, closing.clone()));
                }
                Err(error) => {
                    tracing::debug!(%error, "admin API cannot accept");
                    sleep(BACK_OFF).await;
                }
            },
            _ = closing.changed() => return,
        }
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    app: Router,
    _slot: OwnedSemaphorePermit,
    mut closing: watch::Receiver<bool>,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // How a client's connection ended is of no interest.
        _ = connection.as_mut() => return,
        _ = closing.changed() => {}
        () = sleep(LIFETIME) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(HEAD, connection).await;
}
