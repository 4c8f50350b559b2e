//! What a service manager is told (`sd_notify(3)`): nothing, unless it asks.

use std::env;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use rustix::time::{ClockId, clock_gettime};

/// Names the socket of the manager.
const VARIABLE: &str = "NOTIFY_SOCKET";

/// News of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It serves.
    Ready,
    /// It reads its configuration again; [`Told::Ready`] follows.
    Reloading,
    /// It is about to end.
    Stopping,
    /// The process of this number goes on in its place.
    Replaced(u32),
}

/// Tells the manager, where there is one. It is never waited for.
pub fn tell(told: Told) {
    let Some(name) = env::var_os(VARIABLE).filter(|name| !name.is_empty()) else {
        return;
    };
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(&name),
    };
    let sent = address.and_then(|address| {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.send_to_addr(told.text().as_bytes(), &address)
    });
    if let Err(error) = sent {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}

impl Told {
    fn text(self) -> String {
        match self {
            Told::Ready => "READY=1".to_owned(),
            Told::Reloading => {
                let now = clock_gettime(ClockId::Monotonic);
                let us = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
                format!("RELOADING=1\nMONOTONIC_USEC={us}")
            }
            Told::Stopping => "STOPPING=1".to_owned(),
            Told::Replaced(process) => format!("MAINPID={process}"),
        }
    }
}
