//! `anubis ctl top`: pools and backends, live.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::client::{Client, encoded};
use super::frame::{Moment, frame};
use super::terminal::Terminal;
use crate::admin::model::{Pool, Pools, Version};

/// Between two looks.
const SECOND: Duration = Duration::from_secs(1);

/// Draws once a second until `q` or Ctrl-C; just once where nobody watches.
pub async fn watch(client: &Client) -> Result<()> {
    let before = look(client).await?;
    if std::io::stdout().is_terminal() {
        return draw(client, before).await;
    }
    sleep(SECOND).await;
    let now = look(client).await?;
    write!(std::io::stdout(), "{}", frame(&before, &now)).context("standard output")
}

async fn draw(client: &Client, mut before: Moment) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let terminal = Terminal::enter().context("terminal")?;
    let mut keys = Terminal::keys();
    let mut seconds = interval(SECOND);
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = seconds.tick() => {
                let shown = match look(client).await {
                    Ok(now) => {
                        let shown = frame(&before, &now);
                        before = now;
                        shown
                    }
                    // It may come back.
                    Err(error) => format!("{error:#}\n"),
                };
                terminal.show(&shown).context("terminal")?;
            }
            Some(key) = keys.recv() => if key == b'q' { return Ok(()) },
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
        }
    }
}

async fn look(client: &Client) -> Result<Moment> {
    let version: Version = client.get("/v1/version").await?;
    let list: Pools = client.get("/v1/pools").await?;
    let mut pools: Vec<Pool> = Vec::with_capacity(list.pools.len());
    for pool in list.pools {
        pools.push(
            client
                .get(&format!("/v1/pools/{}", encoded(&pool.name)))
                .await?,
        );
    }
    Ok(Moment {
        at: Instant::now(),
        place: client.to_string(),
        version,
        pools,
    })
}
