//! What `[pools.NAME.rate-limit]` means.

use toml::Spanned;

use crate::config::file;
use crate::config::read::Report;
use crate::config::{HashKey, RateSettings};

/// How fast each client may send; nothing where that is a mistake.
pub fn rate(written: Spanned<file::RateLimit>, report: &mut Report<'_>) -> Option<RateSettings> {
    let span = written.span();
    let written = written.into_inner();
    let Some(rate) = written.rate else {
        report.missing(&span, "rate", "a rate limit needs a rate");
        return None;
    };
    let at = rate.span();
    let rate = rate.into_inner().0;
    if rate <= 0.0 {
        report.mistake(
            &at,
            "nobody could send anything; leave the table out for no limit",
        );
        return None;
    }
    let a_second = rate.ceil() as u64;
    Some(RateSettings {
        rate,
        burst: written.burst.map_or(a_second, |burst| burst.0).max(1),
        key: written.key.map_or(HashKey::ClientAddress, |key| key.0),
    })
}
