//! The end of a connection whose client may still be sending.
//!
//! Closing a socket that has unread bytes, or gets some afterwards, resets it,
//! and a reset takes from the client whatever it has not read yet: the answer
//! that says why (RFC 9112 section 9.6). So our side ends first, and what still
//! comes is read and dropped for a while.

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long, and how much: time for an answer to arrive and be read, and no
/// more bytes than a client may well have sent before it looks.
const LONGEST: Duration = Duration::from_secs(1);
const MOST: usize = 1 << 20;

/// Ends our side and hears the client out, within [`LONGEST`] and [`MOST`].
pub async fn hear_out(mut stream: TcpStream) {
    let heard = async {
        stream.shutdown().await?;
        let mut left = MOST;
        while left > 0 {
            stream.readable().await?;
            match drop_some(&stream) {
                Ok(0) => break,
                Ok(dropped) => left = left.saturating_sub(dropped),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        io::Result::Ok(())
    };
    // However it ended: nobody is left to be told.
    let _ = timeout(LONGEST, heard).await;
}

/// Not async: the buffer is on the stack, and not in every connection.
fn drop_some(stream: &TcpStream) -> io::Result<usize> {
    stream.try_read(&mut [0; 16 * 1024])
}

/// There is something that was not read.
pub fn has_unread(stream: &TcpStream) -> bool {
    stream.try_read(&mut [0]).is_ok_and(|read| read > 0)
}
