//! Who got what: counted as it happens, told once a second.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::files::DemoFile;
use crate::config;

/// What was counted since the last line.
#[derive(Debug)]
pub struct Tally {
    backends: Vec<(&'static str, RefCell<Share>)>,
    failed: Cell<u64>,
}

#[derive(Debug, Default)]
struct Share {
    requests: u64,
    /// As a client of the proxy sees them; only of the demo's own traffic.
    latencies: Vec<Duration>,
}

impl Tally {
    pub fn new(names: impl Iterator<Item = &'static str>) -> Self {
        Self {
            backends: names.map(|name| (name, RefCell::default())).collect(),
            failed: Cell::new(0),
        }
    }

    /// A request arrived at a backend.
    pub fn got(&self, name: &str) {
        self.share(name, |share| share.requests += 1);
    }

    /// A client waited so long for that backend's answer.
    pub fn took(&self, name: &str, latency: Duration) {
        self.share(name, |share| share.latencies.push(latency));
    }

    /// A client got no answer, or not the one it asked for.
    pub fn failed(&self) {
        self.failed.set(self.failed.get() + 1);
    }

    fn share(&self, name: &str, count: impl FnOnce(&mut Share)) {
        if let Some((_, share)) = self.backends.iter().find(|(known, _)| *known == name) {
            count(&mut share.borrow_mut());
        }
    }

    /// What was counted since the last call, as one line.
    fn take_line(&self) -> String {
        let mut line = String::new();
        for (name, share) in &self.backends {
            let mut share = share.take();
            let _ = write!(line, "{name} {:>4}", share.requests);
            let _ = match median(&mut share.latencies) {
                Some(latency) => write!(line, " {:>5.1} ms", latency.as_secs_f64() * 1e3),
                None => write!(line, "     - ms"),
            };
            line.push_str("   ");
        }
        let _ = write!(line, "failed {}", self.failed.take());
        line
    }
}

fn median(latencies: &mut [Duration]) -> Option<Duration> {
    latencies.sort_unstable();
    latencies.get(latencies.len() / 2).copied()
}

/// One line a second on standard output, with the strategy that the file names.
pub async fn tell(tally: &Tally, file: &DemoFile) -> io::Result<()> {
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    seconds.tick().await;
    let mut strategy = String::new();
    for second in 1_u64.. {
        seconds.tick().await;
        // A file with a mistake is not in force: the name before it still is.
        if let Some(pool) = config::load(file.path())
            .ok()
            .and_then(|mut now| now.pools.pop())
        {
            strategy = pool.strategy.source.to_string();
        }
        writeln!(
            io::stdout(),
            "{second:>3} s  {strategy:<18} {}",
            tally.take_line()
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_who_got_what_and_begins_anew() {
        let tally = Tally::new(["a", "b"].into_iter());
        for millis in [1, 9, 3] {
            tally.got("a");
            tally.took("a", Duration::from_millis(millis));
        }
        tally.got("unknown");
        tally.failed();
        assert_eq!(
            tally.take_line(),
            "a    3   3.0 ms   b    0     - ms   failed 1"
        );
        assert_eq!(
            tally.take_line(),
            "a    0     - ms   b    0     - ms   failed 0"
        );
    }
}
