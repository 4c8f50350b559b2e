//! What the proxy tells of itself.

pub mod access;
