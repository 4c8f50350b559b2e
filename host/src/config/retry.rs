//! When a request is tried again: the retry keys of `[pools.NAME]`.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::StatusCode;
use serde::de::{Deserialize, Deserializer, Error, Visitor};

use super::values::FromText;
use super::words::StatusRange;

/// How a pool's requests are tried again. What may always be is not said here:
/// an attempt of which nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetrySettings {
    /// Besides a connection that broke before the answer. Default: nothing.
    pub on: RetryOn,
    /// Most retries of requests that a backend may have seen, and hedges, in
    /// percent of the requests of the last ten seconds. Default 20.
    pub budget: u8,
    /// The longest pause before the second retry; it doubles with each further
    /// one, up to ten times. Default 25 ms; 0 = none.
    pub backoff: Duration,
    /// From the first choice of a backend to the response head, over all
    /// attempts. Default 0 = as long as they take.
    pub total_timeout: Duration,
    /// Bodies of up to so many bytes are read before a backend is chosen.
    /// Default 0 = none.
    pub replay_buffer: usize,
    /// Without a response head after this time, another backend is asked as
    /// well. Default 0 = never.
    pub hedge_after: Duration,
}

impl Default for RetrySettings {
    /// Budget and backoff are Envoy's.
    fn default() -> Self {
        Self {
            on: RetryOn::default(),
            budget: 20,
            backoff: Duration::from_millis(25),
            total_timeout: Duration::ZERO,
            replay_buffer: 0,
            hedge_after: Duration::ZERO,
        }
    }
}

/// What a safe request is tried again after.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RetryOn {
    /// No answer within the response timeout.
    pub timeout: bool,
    /// An answer with one of these.
    pub statuses: Vec<RangeInclusive<u16>>,
}

impl RetryOn {
    /// An answer with this status.
    pub fn has(&self, status: StatusCode) -> bool {
        let status = status.as_u16();
        self.statuses.iter().any(|range| range.contains(&status))
    }
}

impl FromIterator<RetryCase> for RetryOn {
    fn from_iter<I: IntoIterator<Item = RetryCase>>(cases: I) -> Self {
        let mut on = Self::default();
        for case in cases {
            match case {
                RetryCase::Timeout => on.timeout = true,
                RetryCase::Statuses(range) => on.statuses.push(range),
            }
        }
        on
    }
}

/// One of `retry-on`: `"timeout"`, a status (`503` or `"503"`), a class
/// (`"5xx"`) or a range (`"502-504"`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetryCase {
    Timeout,
    Statuses(RangeInclusive<u16>),
}

impl FromText for RetryCase {
    const EXPECTED: &'static str =
        "\"timeout\", or a status from 400 to 599, or several such as \"502-504\" or \"5xx\"";

    fn from_text(text: &str) -> Result<Self, String> {
        if text == "timeout" {
            return Ok(Self::Timeout);
        }
        match StatusRange::from_text(text) {
            Ok(StatusRange(range)) if *range.start() >= 400 => Ok(Self::Statuses(range)),
            _ => Err(format!("`{text}`: expected {}", Self::EXPECTED)),
        }
    }
}

impl<'de> Deserialize<'de> for RetryCase {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CaseVisitor;

        impl Visitor<'_> for CaseVisitor {
            type Value = RetryCase;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(RetryCase::EXPECTED)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<RetryCase, E> {
                RetryCase::from_text(text).map_err(E::custom)
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<RetryCase, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<RetryCase, E> {
                self.visit_str(&number.to_string())
            }
        }

        deserializer.deserialize_any(CaseVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(texts: &[&str]) -> RetryOn {
        let case = |text: &&str| RetryCase::from_text(text).expect("right");
        texts.iter().map(case).collect()
    }

    #[test]
    fn statuses_are_single_classes_or_ranges() {
        let on = on(&["502", "504-505", "4xx"]);
        let has = |status| on.has(StatusCode::from_u16(status).expect("a status"));
        assert!([400, 499, 502, 504, 505].into_iter().all(has));
        assert!(![200, 399, 500, 503, 506].into_iter().any(has));
        assert!(!on.timeout);
    }

    #[test]
    fn a_timeout_is_a_case_of_its_own() {
        assert!(on(&["timeout"]).timeout);
        assert!(on(&["timeout"]).statuses.is_empty());
    }

    #[test]
    fn what_is_no_failure_is_refused() {
        for text in ["200", "2xx", "399-500", "600", "connect", "", "Timeout"] {
            assert!(RetryCase::from_text(text).is_err(), "{text}");
        }
    }
}
