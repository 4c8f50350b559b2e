//! Everything below runs the real process over real sockets.
fn main() {}
