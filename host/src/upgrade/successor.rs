//! The process that is to go on in this one's place, until it is ready.

use std::env;
use std::ffi::OsString;
use std::io::{self, PipeReader};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::time::timeout;

/// What this process was started as: what there is now under that name is what an
/// upgrade starts.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// Of this process; to be asked before anything changes its folder.
    ///
    /// # Errors
    ///
    /// When the system does not know.
    pub fn own() -> io::Result<Program> {
        let mut arguments = env::args_os();
        let called = arguments.next().map(PathBuf::from).unwrap_or_default();
        let path = match called.components().count() {
            0 => env::current_exe()?,
            // Found by PATH, then and now.
            1 if !is_path(&called) => called,
            // Not where a link leads to, which may lead elsewhere by then.
            _ => env::current_dir()?.join(called),
        };
        Ok(Program {
            path,
            arguments: arguments.collect(),
        })
    }

    /// For the log.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.args(&self.arguments);
        command
    }
}

fn is_path(called: &Path) -> bool {
    called.as_os_str().as_encoded_bytes().contains(&b'/')
}

/// Why this process goes on.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    #[error("it ended before it was ready: {0}")]
    Ended(ExitStatus),
    #[error("it was not ready after {}", humantime::format_duration(*.0))]
    Late(Duration),
    #[error("it cannot be waited for: {0}")]
    Lost(io::Error),
}

/// A process that is starting. Dropping it ends it.
pub struct Successor {
    /// `None` once it is on its own.
    child: Option<Child>,
    ready: Option<PipeReader>,
}

impl Successor {
    /// A process that says through `ready` when it serves.
    pub fn new(child: Child, ready: PipeReader) -> Successor {
        Successor {
            child: Some(child),
            ready: Some(ready),
        }
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Waits until it serves; from then on it is on its own.
    ///
    /// # Errors
    ///
    /// When it ends, or that takes longer than `patience`: then it was killed.
    pub async fn serves(mut self, patience: Duration) -> Result<(), Failed> {
        let said = match self.ready.take() {
            Some(ready) => timeout(patience, hear(ready)).await,
            None => Ok(Ok(false)),
        };
        match said {
            Ok(Ok(true)) => {
                self.child = None;
                Ok(())
            }
            // The pipe is closed: it has ended, or is about to.
            Ok(Ok(false)) => Err(self.end().map_or_else(Failed::Lost, Failed::Ended)),
            Ok(Err(error)) => Err(Failed::Lost(error)),
            Err(_) => Err(Failed::Late(patience)),
        }
    }

    /// Ends it, which it may have done by itself.
    fn end(&mut self) -> io::Result<ExitStatus> {
        let Some(mut child) = self.child.take() else {
            return Err(io::ErrorKind::NotFound.into());
        };
        // A process closes its files before it can be waited for.
        for _ in 0..50 {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        child.kill()?;
        child.wait()
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Killed, it does not let us wait.
            let _ = child.kill().and_then(|()| child.wait());
        }
    }
}

/// Whether it says that it is ready before it closes the pipe.
async fn hear(ready: PipeReader) -> io::Result<bool> {
    let ready = OwnedFd::from(ready);
    rustix::io::ioctl_fionbio(&ready, true)?;
    let mut said = Vec::new();
    let mut pipe = Receiver::from_owned_fd(ready)?;
    while !said.contains(&b'\n') {
        if pipe.read_buf(&mut said).await? == 0 {
            return Ok(false);
        }
    }
    Ok(said == b"ready\n")
}
