//! The old process' side: what it hands over.

use std::fs::File;
use std::io::{self, PipeReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::process::Child;
use std::time::UNIX_EPOCH;

use rustix::fs::{MemfdFlags, SeekFrom, memfd_create, seek};
use rustix::io::{FdFlags, fcntl_setfd};

use super::Program;
use super::letter::{Admin, AdminSocket, Agent, Health, Letter, Listener, VARIABLE, VERSION};
use crate::generation::Generation;
use crate::pool::{Member, Pool, sessions_secret};

/// Handles to all that a successor inherits, which are closed with it.
pub struct Offer {
    letter: Letter,
    handles: Vec<OwnedFd>,
    ready: PipeReader,
}

/// Handles to the sockets of the admin API.
#[derive(Default)]
pub struct AdminHandles {
    /// As configured, perhaps with port 0.
    pub tcp: Option<(SocketAddr, TcpListener)>,
    pub unix: Option<(PathBuf, OwnedFd)>,
}

impl AdminHandles {
    /// Further handles to the same.
    ///
    /// # Errors
    ///
    /// When the system has no descriptors left.
    pub fn try_clone(&self) -> io::Result<AdminHandles> {
        let tcp = self.tcp.as_ref();
        let tcp = tcp.map(|(address, it)| Ok::<_, io::Error>((*address, it.try_clone()?)));
        let unix = self.unix.as_ref();
        let unix = unix.map(|(path, it)| Ok::<_, io::Error>((path.clone(), it.try_clone()?)));
        Ok(AdminHandles {
            tcp: tcp.transpose()?,
            unix: unix.transpose()?,
        })
    }
}

impl Offer {
    /// Everything of `generation` and the admin API.
    ///
    /// # Errors
    ///
    /// When the system has no descriptors left.
    pub fn new(generation: &Generation, admin: AdminHandles) -> io::Result<Offer> {
        let (ready, say_ready) = io::pipe()?;
        let mut handles = Handles::default();
        let listeners = generation.listeners.iter().map(|listening| {
            let sockets = listening.bound.handles()?;
            Ok(Listener {
                name: listening.settings.name.clone(),
                requested: listening.bound.requested,
                is_kept: listening.bound.is_kept,
                sockets: sockets.into_iter().map(|it| handles.keep(it)).collect(),
            })
        });
        let listeners = listeners.collect::<io::Result<Vec<_>>>()?;
        let letter = Letter {
            version: VERSION,
            parent: rustix::process::getpid().as_raw_pid(),
            ready: handles.keep(say_ready),
            listeners,
            admin: admin.tcp.map(|(requested, socket)| Admin {
                requested,
                socket: handles.keep(socket),
            }),
            admin_socket: admin.unix.map(|(path, socket)| AdminSocket {
                path,
                socket: handles.keep(socket),
            }),
            health: health(generation),
            agents: agents(generation),
            session_secret: sessions_secret()?,
        };
        Ok(Offer {
            letter,
            handles: handles.0,
            ready,
        })
    }

    /// Starts `program` with all of it; gives the process and where it says that
    /// it is ready. Nobody else in this process may start another at the same
    /// time, or that one would inherit as well.
    ///
    /// # Errors
    ///
    /// When the program cannot be started.
    pub fn give(self, program: &Program) -> io::Result<(Child, PipeReader)> {
        let mut letter = File::from(memfd_create("inheritance", MemfdFlags::CLOEXEC)?);
        serde_json::to_writer(&letter, &self.letter)?;
        letter.flush()?;
        seek(&letter, SeekFrom::Start(0))?;
        let mut command = program.command();
        command.env(VARIABLE, letter.as_raw_fd().to_string());
        inherit(&letter)?;
        self.handles.iter().try_for_each(inherit)?;
        Ok((command.spawn()?, self.ready))
    }
}

/// What the health checks have found out of the backends of `generation`.
fn health(generation: &Generation) -> Vec<Health> {
    let pools = generation.pools.iter().map(|served| &*served.pool);
    let checked = pools.filter(|pool| pool.settings.health_check.is_some());
    let found = |pool: &Pool, member: &Member| {
        let finding = member.health.finding()?;
        Some(Health {
            pool: pool.settings.name.clone(),
            backend: member.settings.name.clone(),
            address: member.settings.address.to_string(),
            healthy: finding.healthy,
            since: finding
                .since
                .and_then(|since| since.duration_since(UNIX_EPOCH).ok()),
            error: finding.error,
        })
    };
    checked
        .flat_map(|pool| {
            pool.members
                .list
                .iter()
                .filter_map(move |one| found(pool, one))
        })
        .collect()
}

/// What the agents of the backends of `generation` have said.
fn agents(generation: &Generation) -> Vec<Agent> {
    let pools = generation.pools.iter().map(|served| &*served.pool);
    let asked = pools.filter(|pool| pool.settings.agent_check.is_some());
    let agent = |pool: &Pool, member: &Member| {
        let advice = member.standing.advice();
        Agent {
            pool: pool.settings.name.clone(),
            backend: member.settings.name.clone(),
            address: member.settings.address.to_string(),
            down: advice.down,
            drain: advice.drain,
            maintenance: advice.maintenance,
            percent: advice.percent,
        }
    };
    asked
        .flat_map(|pool| pool.members.list.iter().map(move |one| agent(pool, one)))
        .collect()
}

#[derive(Default)]
struct Handles(Vec<OwnedFd>);

impl Handles {
    fn keep(&mut self, handle: impl Into<OwnedFd>) -> RawFd {
        let handle = handle.into();
        let number = handle.as_raw_fd();
        self.0.push(handle);
        number
    }
}

/// Not closed where another program is started.
fn inherit(handle: impl AsFd) -> io::Result<()> {
    Ok(fcntl_setfd(handle, FdFlags::empty())?)
}
