//! Settings from a few arguments, for `anubis run` without a file.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::num::NonZeroUsize;

use http::uri::Authority;

use super::mistakes::{Mistake, Mistakes};
use super::resolve::unreadable;
use super::values::FromText;
use super::{BackendSettings, ListenerSettings, PoolSettings, Settings, StrategySource, defaults};

/// Where the mistakes of [`Settings::quick`] are said to be.
const ORIGIN: &str = "command line";

impl Settings {
    /// One pool called `default` behind the addresses in `listen`; the rest is
    /// default. Texts are read as in a file; a plugin's path is relative to
    /// the current folder.
    ///
    /// # Errors
    ///
    /// Every mistake there is, with the option's name as its key.
    pub fn quick(
        listen: &[String],
        backends: &[String],
        strategy: Option<&str>,
        workers: Option<NonZeroUsize>,
    ) -> Result<Self, Mistakes> {
        let mut mistakes = Vec::new();
        let listeners = texts::<SocketAddr>("--listen", listen, &mut mistakes);
        let addresses = texts::<Authority>("--backend", backends, &mut mistakes);
        let strategy = strategy.unwrap_or(defaults::STRATEGY).to_owned();
        let source = texts::<StrategySource>("--strategy", &[strategy], &mut mistakes).pop();
        if let Some(StrategySource::File(path)) = &source {
            mistakes.extend(unreadable(path).map(|what| mistake("--strategy", what)));
        }
        if let Some(mistakes) = Mistakes::of(mistakes) {
            return Err(mistakes);
        }
        let mut pool = PoolSettings::new(
            "default",
            addresses.into_iter().map(BackendSettings::new).collect(),
        );
        if let Some(source) = source {
            pool = pool.with_strategy(source);
        }
        let mut listeners = listeners.into_iter().map(ListenerSettings::new);
        let Some(first) = listeners.next() else {
            return Err(Mistakes::whole(ORIGIN, "--listen is missing"));
        };
        let mut settings = Self::new(first, pool);
        settings.listeners.extend(listeners);
        settings.workers = workers.unwrap_or(settings.workers);
        Ok(settings)
    }
}

/// The meaning of an option that may be repeated, but not with equal values.
fn texts<T: FromText>(option: &str, texts: &[String], mistakes: &mut Vec<Mistake>) -> Vec<T> {
    if texts.is_empty() {
        mistakes.push(mistake(option, "is missing".to_owned()));
    }
    let mut seen = HashSet::new();
    let mut values = Vec::new();
    for text in texts {
        if !seen.insert(text) {
            mistakes.push(mistake(option, format!("`{text}` is given twice")));
            continue;
        }
        match T::from_text(text) {
            Ok(value) => values.push(value),
            Err(what) => mistakes.push(mistake(option, what)),
        }
    }
    values
}

fn mistake(option: &str, what: String) -> Mistake {
    Mistake {
        origin: ORIGIN.to_owned(),
        place: None,
        key: option.to_owned(),
        what,
    }
}
