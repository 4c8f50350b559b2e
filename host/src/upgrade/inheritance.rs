//! The new process' side: what it takes over.

#![allow(
    unsafe_code,
    reason = "descriptors that come from another process have no owner here until they get one"
)]

use std::env;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result, ensure};
use rustc_hash::FxHashMap;
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use rustix::process::{getpid, getppid};
use socket2::SockRef;

use super::letter::{Agent, Health, Letter, VARIABLE, VERSION};
use crate::generation::Generation;
use crate::health::{self, Finding};
use crate::listener::Bound;
use crate::pool::{Advice, inherit_sessions_secret};

/// The first descriptor that a service manager passes (`sd_listen_fds(3)`).
const FIRST_PASSED: RawFd = 3;
/// More sockets than anybody passes.
const MOST_PASSED: RawFd = 1024;

/// What this process was given when it was started: sockets that listen already.
/// What nobody adopts is closed with it.
#[derive(Default)]
pub struct Inheritance {
    listeners: Vec<Inherited>,
    admin: Option<(SocketAddr, TcpListener)>,
    admin_socket: Option<(PathBuf, OwnedFd)>,
    /// What the process before knows of the backends' health.
    health: Vec<Health>,
    /// What it was told by their agents.
    agents: Vec<Agent>,
    /// Where the process before waits to hear that this one is ready.
    ready: Option<File>,
}

/// The sockets of one address.
struct Inherited {
    /// `None` where they come from a service manager, which knows no names.
    name: Option<String>,
    /// As configured, perhaps with port 0.
    requested: SocketAddr,
    /// Whoever passed them keeps them.
    is_kept: bool,
    sockets: Vec<TcpListener>,
}

impl Inheritance {
    /// What the environment says that this process inherits; to be asked once,
    /// before it opens anything itself.
    ///
    /// # Errors
    ///
    /// When there is an inheritance that cannot be understood.
    pub fn claim() -> Result<Inheritance> {
        match letter()? {
            Some(letter) => Inheritance::left(letter).context("what the process before left"),
            None => Inheritance::passed().context("the sockets of LISTEN_FDS"),
        }
    }

    fn left(letter: Letter) -> Result<Inheritance> {
        ensure!(
            letter.version == VERSION,
            "it wrote version {} of the letter, and this program reads {VERSION}",
            letter.version
        );
        inherit_sessions_secret(&letter.session_secret).context("the secret of sessions")?;
        let listeners = letter.listeners.into_iter().map(|listener| {
            let sockets = listener.sockets.into_iter().map(own);
            Ok(Inherited {
                name: Some(listener.name),
                requested: listener.requested,
                is_kept: listener.is_kept,
                sockets: sockets
                    .map(|it| it.map(TcpListener::from))
                    .collect::<Result<_>>()?,
            })
        });
        Ok(Inheritance {
            listeners: listeners.collect::<Result<_>>()?,
            admin: match letter.admin {
                Some(admin) => Some((admin.requested, own(admin.socket)?.into())),
                None => None,
            },
            admin_socket: match letter.admin_socket {
                Some(admin) => Some((admin.path, own(admin.socket)?)),
                None => None,
            },
            health: letter.health,
            agents: letter.agents,
            ready: Some(own(letter.ready)?.into()),
        })
    }

    /// From a service manager: systemd's socket activation.
    fn passed() -> Result<Inheritance> {
        let number = |name| env::var(name).ok()?.parse::<i32>().ok();
        let ours = number("LISTEN_PID") == Some(getpid().as_raw_pid());
        let count = number("LISTEN_FDS").filter(|_| ours).unwrap_or(0);
        ensure!((0..=MOST_PASSED).contains(&count), "{count} sockets");
        let mut inheritance = Inheritance::default();
        for number in FIRST_PASSED..FIRST_PASSED + count {
            let socket = own(number)?;
            let listens = SockRef::from(&socket).is_listener();
            ensure!(
                listens.unwrap_or(false),
                "descriptor {number} does not listen"
            );
            let socket = TcpListener::from(socket);
            let requested = socket.local_addr().context("not a TCP socket")?;
            inheritance.add(requested, socket);
        }
        Ok(inheritance)
    }

    fn add(&mut self, requested: SocketAddr, socket: TcpListener) {
        let mut known = self.listeners.iter_mut();
        match known.find(|known| known.requested == requested) {
            Some(known) => known.sockets.push(socket),
            None => self.listeners.push(Inherited {
                name: None,
                requested,
                is_kept: true,
                sockets: vec![socket],
            }),
        }
    }

    /// Another process is to be replaced by this one.
    pub fn replaces(&self) -> bool {
        self.ready.is_some()
    }

    /// Goes on with the sockets of a listener, if there are any: those of this
    /// address, and where the system chose the port, of this name.
    ///
    /// # Errors
    ///
    /// When the system has no descriptors left.
    pub fn listener(
        &self,
        address: SocketAddr,
        name: &str,
        workers: usize,
    ) -> std::io::Result<Option<Bound>> {
        let is_it = |one: &&Inherited| {
            let called = one.name.as_deref() == Some(name);
            one.requested == address && (address.port() != 0 || called)
        };
        let Some(found) = self.listeners.iter().find(is_it) else {
            return Ok(None);
        };
        let sockets = found.sockets.iter().map(TcpListener::try_clone);
        let sockets = sockets.collect::<std::io::Result<_>>()?;
        Bound::adopt(address, workers, sockets, found.is_kept).map(Some)
    }

    /// The socket of the admin API's address.
    ///
    /// # Errors
    ///
    /// When the system has no descriptors left.
    pub fn admin(&self, address: SocketAddr) -> std::io::Result<Option<TcpListener>> {
        let found = self.admin.as_ref().filter(|(known, _)| *known == address);
        found.map(|(_, socket)| socket.try_clone()).transpose()
    }

    /// The Unix socket of the admin API.
    ///
    /// # Errors
    ///
    /// When the system has no descriptors left.
    pub fn admin_socket(&self, path: &Path) -> std::io::Result<Option<OwnedFd>> {
        let found = self
            .admin_socket
            .as_ref()
            .filter(|(known, _)| known == path);
        found.map(|(_, socket)| socket.try_clone()).transpose()
    }

    /// Tells the backends of `generation` what the process before knows of their
    /// health: to be done before anybody asks them.
    pub fn tell_health(&self, generation: &Generation) {
        let known: FxHashMap<_, _> = self
            .health
            .iter()
            .map(|one| ((&*one.pool, &*one.backend, &*one.address), one))
            .collect();
        let pools = generation.pools.iter().map(|served| &*served.pool);
        for pool in pools.filter(|pool| pool.settings.health_check.is_some()) {
            for member in &pool.members.list {
                let settings = &member.settings;
                let identity = (
                    &*pool.settings.name,
                    &*settings.name,
                    settings.address.as_str(),
                );
                if let Some(one) = known.get(&identity) {
                    let finding = Finding {
                        healthy: one.healthy,
                        since: one.since.and_then(|since| UNIX_EPOCH.checked_add(since)),
                        error: one.error.clone(),
                    };
                    health::inherit(member, finding);
                }
            }
        }
    }

    /// The same of what their agents have said.
    pub fn tell_advice(&self, generation: &Generation) {
        let known: FxHashMap<_, _> = self
            .agents
            .iter()
            .map(|one| ((&*one.pool, &*one.backend, &*one.address), one))
            .collect();
        let pools = generation.pools.iter().map(|served| &*served.pool);
        for pool in pools.filter(|pool| pool.settings.agent_check.is_some()) {
            for member in &pool.members.list {
                let settings = &member.settings;
                let (pool, address) = (&*pool.settings.name, settings.address.as_str());
                if let Some(one) = known.get(&(pool, &*settings.name, address)) {
                    let advice = Advice {
                        down: one.down,
                        drain: one.drain,
                        maintenance: one.maintenance,
                        percent: one.percent.min(Advice::MOST_PERCENT),
                    };
                    health::inherit_advice(member, advice);
                }
            }
        }
    }

    /// This process serves: the one before may end. `socket` is where the admin
    /// API is reached now; a name that it is no longer reached by is removed.
    pub fn ready(self, socket: Option<&Path>) {
        let Some(mut ready) = self.ready else {
            return;
        };
        if let Some((path, _)) = &self.admin_socket
            && socket != Some(path)
        {
            // Left over, it does no harm: the next to bind it removes it.
            let _ = std::fs::remove_file(path);
        }
        // Whoever is not there to hear it has ended.
        let _ = ready.write_all(b"ready\n");
    }
}

/// The letter that the environment names, if it is for this process.
fn letter() -> Result<Option<Letter>> {
    let number = env::var(VARIABLE).ok();
    let Some(number) = number.and_then(|number| number.parse::<RawFd>().ok()) else {
        return Ok(None);
    };
    let mut text = Vec::new();
    let letter = own(number).with_context(|| format!("{VARIABLE}: descriptor {number}"))?;
    File::from(letter)
        .read_to_end(&mut text)
        .with_context(|| format!("{VARIABLE}: descriptor {number}"))?;
    let letter: Letter = serde_json::from_slice(&text).context(VARIABLE)?;
    // One that a shell between us has read means nothing to its other children.
    let ours = getppid().is_some_and(|parent| parent.as_raw_pid() == letter.parent);
    Ok(Some(letter).filter(|_| ours))
}

/// Makes an inherited descriptor this process' own, and nobody else's: it is
/// closed where another program is started.
fn own(number: RawFd) -> Result<OwnedFd> {
    ensure!(number > 2, "descriptor {number} is a standard stream");
    // SAFETY: only used to ask whether there is such a descriptor.
    let known = fcntl_getfd(unsafe { BorrowedFd::borrow_raw(number) });
    known.with_context(|| format!("there is no descriptor {number}"))?;
    // SAFETY: it is open; this runs before the process opens files of its own, so
    // that it came from outside, and each number is claimed once.
    let owned = unsafe { OwnedFd::from_raw_fd(number) };
    fcntl_setfd(&owned, FdFlags::CLOEXEC)?;
    Ok(owned)
}
