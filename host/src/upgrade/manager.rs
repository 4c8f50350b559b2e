//! What a service manager is told (`sd_notify(3)`): nothing, unless it asks.

use std::env;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

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
    /// All is well: for [`Vigil`].
    Well,
}

/// How often the manager wants to hear that all is well (`sd_watchdog_enabled(3)`);
/// it ends who does not say so in time.
pub struct Vigil {
    every: Option<Duration>,
    said: Instant,
}

impl Vigil {
    /// As the environment says. `replaces`: the manager asked the process before, in
    /// whose place this one is.
    pub fn wanted(replaces: bool) -> Vigil {
        let number = |name| env::var(name).ok()?.parse::<u64>().ok();
        let asked = number("WATCHDOG_PID")
            .is_none_or(|asked| replaces || asked == u64::from(std::process::id()));
        let us = number("WATCHDOG_USEC").filter(|us| asked && *us != 0);
        Vigil {
            // Twice in its time, as the manual has it.
            every: us.map(|us| Duration::from_micros(us / 2)),
            said: Instant::now(),
        }
    }

    /// All is well at `now`; tells the manager where it is time to.
    pub fn all_is_well(&mut self, now: Instant) {
        if let Some(every) = self.every
            && now.saturating_duration_since(self.said) >= every
        {
            self.said = now;
            tell(Told::Well);
        }
    }

    /// How often that has to be asked.
    pub fn every(&self) -> Option<Duration> {
        self.every
    }
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
            Told::Well => "WATCHDOG=1".to_owned(),
            Told::Replaced(process) => format!("MAINPID={process}"),
        }
    }
}
