//! What a process writes to its successor.

use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What this version writes and understands.
pub const VERSION: u32 = 1;

/// The letter. It lies in a file in memory whose descriptor the environment
/// variable [`VARIABLE`] names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Letter {
    pub version: u32,
    /// Who wrote it: it is for nobody but its child.
    pub parent: i32,
    /// Where to say that the successor is ready.
    pub ready: RawFd,
    pub listeners: Vec<Listener>,
    pub admin: Option<Admin>,
    pub admin_socket: Option<AdminSocket>,
    /// What the health checks have found out.
    #[serde(default)]
    pub health: Vec<Health>,
    /// What backends' agents have said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<Agent>,
    /// What signs the tokens of sessions, in hexadecimal digits.
    pub session_secret: String,
}

/// The sockets of an address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    pub name: String,
    /// As configured, perhaps with port 0.
    pub requested: SocketAddr,
    /// A service manager has them too.
    pub is_kept: bool,
    pub sockets: Vec<RawFd>,
}

/// The address of the admin API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    pub requested: SocketAddr,
    pub socket: RawFd,
}

/// Its Unix socket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminSocket {
    pub path: PathBuf,
    pub socket: RawFd,
}

/// What is known of a backend's health.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    pub pool: String,
    pub backend: String,
    pub address: String,
    pub healthy: bool,
    /// Since the Unix epoch; none where that never changed.
    pub since: Option<Duration>,
    /// What was wrong at the last check that failed.
    pub error: Option<String>,
}

/// What a backend's agent wants done with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    pub pool: String,
    pub backend: String,
    pub address: String,
    pub down: bool,
    pub drain: bool,
    pub maintenance: bool,
    pub percent: u32,
}

/// Names the descriptor of the letter.
pub const VARIABLE: &str = "ANUBIS_INHERITANCE";
