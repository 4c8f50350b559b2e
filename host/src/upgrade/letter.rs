//! What a process writes to its successor.

use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::path::PathBuf;

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

/// Names the descriptor of the letter.
pub const VARIABLE: &str = "ANUBIS_INHERITANCE";
