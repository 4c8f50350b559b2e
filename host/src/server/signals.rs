//! What the process is told from outside.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that are followed.
pub struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    user2: Signal,
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// SIGHUP
    Reload,
    /// SIGUSR2
    Upgrade,
    /// SIGTERM, SIGINT
    End,
}

impl Signals {
    /// From now on no signal is missed, and none ends the process.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn listen() -> std::io::Result<Signals> {
        Ok(Signals {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    /// The next one.
    pub async fn next(&mut self) -> Wanted {
        tokio::select! {
            _ = self.hangup.recv() => Wanted::Reload,
            _ = self.user2.recv() => Wanted::Upgrade,
            _ = self.terminate.recv() => Wanted::End,
            _ = self.interrupt.recv() => Wanted::End,
        }
    }

    /// The next one that wants the process to end.
    pub async fn end(&mut self) {
        while self.next().await != Wanted::End {}
    }
}
