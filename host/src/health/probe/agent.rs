//! Asking a backend's agent: a line of text over TCP.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{BODY, Target, connect, let_end};
use crate::config::AgentSettings;
use crate::health::verdict::{Fault, Unfit};

/// Longest line, in bytes.
const LINE: usize = 1024;

/// The agent's line, up to its first CR or LF, or to the end of the connection.
pub async fn ask(target: &Target<'_>, settings: &AgentSettings) -> Result<String, Unfit> {
    let mut stream = connect(target).await?;
    let line = exchange(&mut stream, &settings.send).await;
    let_end(async move {
        let _ = stream.shutdown().await;
        let _ = tokio::io::copy(&mut stream.take(BODY as u64), &mut tokio::io::sink()).await;
    });
    Ok(line?)
}

async fn exchange(stream: &mut TcpStream, send: &str) -> Result<String, Fault> {
    stream
        .write_all(send.as_bytes())
        .await
        .map_err(|_| Fault::Closed)?;
    let mut line = Vec::new();
    loop {
        let read = stream.read_buf(&mut line).await;
        let end = line.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        match (end, read) {
            (Some(end), _) => line.truncate(end),
            (None, _) if line.len() > LINE => {
                let what = format!("its agent's line is longer than {LINE} bytes");
                return Err(Fault::Protocol(what));
            }
            (None, Ok(0)) if !line.is_empty() => {}
            (None, Ok(0) | Err(_)) => return Err(Fault::Closed),
            (None, Ok(_)) => continue,
        }
        return Ok(String::from_utf8_lossy(&line).into_owned());
    }
}
