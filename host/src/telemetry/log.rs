//! The process log, on standard error: human lines on a terminal, JSON
//! elsewhere.
//!
//! A JSON line is flat: `timestamp`, `level`, `message` and the event's fields.
//! Other crates are heard up to `info`; a lower level is for our own lines.

use std::io::{IsTerminal, stderr};
use std::sync::OnceLock;

use anyhow::Context;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, reload};

use super::lines::Lines;
use crate::config::{LogFormat, LogSettings};

static LEVEL: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// From here on `tracing` events are written. Once a process.
///
/// # Errors
///
/// When the log was started before, or the system gives no thread for it.
pub fn start(settings: &LogSettings) -> anyhow::Result<()> {
    let lines = Lines::to("log", stderr()).context("starting the log")?;
    let terminal = stderr().is_terminal();
    let human = match settings.format {
        LogFormat::Auto => terminal,
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    let colours = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let (filter, handle) = reload::Layer::new(targets(settings.level));
    let registry = tracing_subscriber::registry().with(filter);
    let style = if human {
        Style::Human { colours }
    } else {
        Style::Json
    };
    style
        .subscriber(registry, lines)
        .try_init()
        .context("starting the log")?;
    // `try_init` succeeds once.
    let _ = LEVEL.set(handle);
    Ok(())
}

/// Changes the least severe level that is written, as a reload does. Nothing
/// happens before [`start`].
pub fn set_level(level: LevelFilter) {
    if let Some(handle) = LEVEL.get()
        && let Err(error) = handle.reload(targets(level))
    {
        tracing::error!(%error, "cannot change the log level");
    }
}

fn targets(level: LevelFilter) -> Targets {
    Targets::new()
        .with_default(level.min(LevelFilter::INFO))
        .with_target(env!("CARGO_CRATE_NAME"), level)
        // Forged answers would fill the log; what a lookup came to is told by us.
        .with_target("hickory_net", LevelFilter::ERROR)
        .with_target("hickory_resolver", LevelFilter::ERROR)
}

enum Style {
    Human { colours: bool },
    Json,
}

impl Style {
    fn subscriber<S, W>(self, registry: S, writer: W) -> Box<dyn Subscriber + Send + Sync>
    where
        S: Subscriber + for<'s> tracing_subscriber::registry::LookupSpan<'s> + Send + Sync,
        W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
    {
        let lines = fmt::layer().with_target(false).with_writer(writer);
        match self {
            Self::Human { colours } => Box::new(registry.with(lines.with_ansi(colours))),
            Self::Json => {
                let json = lines.json().flatten_event(true);
                let json = json.with_current_span(false).with_span_list(false);
                Box::new(registry.with(json))
            }
        }
    }
}

/// Each event is written with one `write`, hence as one line.
impl<'w> MakeWriter<'w> for Lines {
    type Writer = &'w Lines;

    fn make_writer(&'w self) -> &'w Lines {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::super::lines::tests::Pipe;
    use super::*;

    fn written(style: Style) -> String {
        let (pipe, read) = Pipe::free();
        let lines = Lines::to("test", pipe).expect("thread");
        let registry = tracing_subscriber::registry().with(targets(LevelFilter::INFO));
        tracing::subscriber::with_default(style.subscriber(registry, lines), || {
            tracing::info!(listener = "public", address = "127.0.0.1:1", "listening");
            tracing::debug!("not wanted");
        });
        let all: Vec<Vec<u8>> = read.iter().collect();
        String::from_utf8(all.concat()).expect("text")
    }

    #[test]
    fn a_json_line_is_flat() {
        let text = written(Style::Json);
        let mut line: serde_json::Value = serde_json::from_str(&text).expect("one JSON line");
        let time = line["timestamp"].take();
        humantime::parse_rfc3339(time.as_str().expect("text")).expect("a time");
        assert_eq!(
            line,
            serde_json::json!({
                "timestamp": null,
                "level": "INFO",
                "message": "listening",
                "listener": "public",
                "address": "127.0.0.1:1",
            })
        );
    }

    #[test]
    fn a_human_line_says_the_same() {
        let text = written(Style::Human { colours: false });
        assert!(
            text.ends_with("INFO listening listener=\"public\" address=\"127.0.0.1:1\"\n"),
            "{text:?}"
        );
        assert_eq!(text.lines().count(), 1);
    }
}
