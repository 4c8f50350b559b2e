//! Whether a backend takes a connection.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{BODY, Target, connect, let_end};
use crate::health::verdict::Unfit;

/// Passed when a connection is made.
pub async fn check(target: &Target<'_>) -> Result<(), Unfit> {
    let mut stream = connect(target).await?;
    let_end(async move {
        // Some servers speak first; what they say is of no interest.
        let _ = stream.shutdown().await;
        let _ = tokio::io::copy(&mut stream.take(BODY as u64), &mut tokio::io::sink()).await;
    });
    Ok(())
}
