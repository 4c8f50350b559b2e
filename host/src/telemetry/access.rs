//! The access log, on standard output: one line a request, written when its
//! response has ended.
//!
//! `common` is the Combined Log Format (the Common Log Format followed by
//! referer and user agent) with our own fields after it as `name=value`:
//!
//! ```text
//! 192.0.2.1 - - [22/Nov/2026:21:00:00 +0000] "GET /a?b HTTP/1.1" 200 512 "-" "curl/8.5" host="www.example.com" pool="web" backend="a" strategy="least-time" attempts=1 duration_us=2345 queue_us=0 upstream_us=2100 fallback=false
//! ```
//!
//! `json` has the same fields as one object; what is not known is `null`.
//! Nothing a client sends can end a line or a quoted text before its time.

use std::io::{self, Write};
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{Method, StatusCode, Version};

use super::lines::Lines;
use crate::config;

/// A handle to the access log; clones share one buffer.
#[derive(Debug, Clone)]
pub struct AccessLog {
    format: Format,
    lines: Lines,
}

#[derive(Debug, Clone, Copy)]
enum Format {
    Common,
    Json,
}

/// What is told of one request.
#[derive(Debug, Clone)]
pub struct Entry {
    /// When its head had arrived.
    pub time: SystemTime,
    /// The connection's peer.
    pub client: Option<IpAddr>,
    pub method: Method,
    /// Path and query as they came.
    pub target: String,
    pub version: Version,
    pub host: Option<String>,
    pub user_agent: Option<String>,
    pub referer: Option<String>,
    /// What the client was answered.
    pub status: StatusCode,
    /// Of the response body, as far as it went to the client.
    pub bytes: u64,
    /// None when no route matched.
    pub pool: Option<String>,
    /// The last one that was tried.
    pub backend: Option<String>,
    pub strategy: Option<String>,
    /// Backends tried.
    pub attempts: u32,
    /// From the request's head to the end of the response.
    pub duration: Duration,
    /// Of which it waited in the queue.
    pub queued: Duration,
    /// From the last attempt's beginning to its response head.
    pub upstream_latency: Option<Duration>,
    /// The native fallback picked in the strategy's place.
    pub fallback: bool,
}

impl Default for Entry {
    fn default() -> Self {
        Self {
            time: UNIX_EPOCH,
            client: None,
            method: Method::GET,
            target: String::new(),
            version: Version::HTTP_11,
            host: None,
            user_agent: None,
            referer: None,
            status: StatusCode::OK,
            bytes: 0,
            pool: None,
            backend: None,
            strategy: None,
            attempts: 0,
            duration: Duration::ZERO,
            queued: Duration::ZERO,
            upstream_latency: None,
            fallback: false,
        }
    }
}

impl AccessLog {
    /// The log that the settings ask for; none when it is off, or when the
    /// system gives no thread for it (which the process log tells).
    pub fn open(wanted: config::AccessLog) -> Option<Self> {
        let format = match wanted {
            config::AccessLog::Off => return None,
            config::AccessLog::Common => Format::Common,
            config::AccessLog::Json => Format::Json,
        };
        match Lines::to("access", io::stdout()) {
            Ok(lines) => Some(Self { format, lines }),
            Err(error) => {
                tracing::error!(%error, "no access log");
                None
            }
        }
    }

    /// The same log for another worker, so that workers do not meet at one lock.
    #[must_use]
    pub fn for_worker(&self) -> Self {
        Self {
            format: self.format,
            lines: self.lines.apart(),
        }
    }

    /// Writes one line; never waits.
    pub fn write(&self, entry: Entry) {
        let mut line = Vec::with_capacity(512);
        match self.format {
            Format::Common => common(&entry, &mut line),
            Format::Json => json(&entry, &mut line),
        }
        line.push(b'\n');
        self.lines.push(&line);
    }
}

/// Adds formatted text; memory takes every write.
macro_rules! add {
    ($line:expr, $($format:tt)*) => {{ let _ = write!($line, $($format)*); }};
}

fn common(entry: &Entry, line: &mut Vec<u8>) {
    match entry.client {
        Some(client) => add!(line, "{client}"),
        None => line.push(b'-'),
    }
    add!(line, " - - [{}] \"", CommonTime(entry.time));
    quoted(entry.method.as_str(), line);
    line.push(b' ');
    quoted(&entry.target, line);
    let status = entry.status.as_u16();
    add!(line, " {:?}\" {status} {}", entry.version, entry.bytes);
    for text in [&entry.referer, &entry.user_agent] {
        line.extend_from_slice(b" \"");
        quoted(text.as_deref().unwrap_or("-"), line);
        line.push(b'"');
    }
    for (name, text) in [
        ("host", &entry.host),
        ("pool", &entry.pool),
        ("backend", &entry.backend),
        ("strategy", &entry.strategy),
    ] {
        add!(line, " {name}=\"");
        quoted(text.as_deref().unwrap_or("-"), line);
        line.push(b'"');
    }
    let (duration, queued) = (entry.duration.as_micros(), entry.queued.as_micros());
    let attempts = entry.attempts;
    add!(
        line,
        " attempts={attempts} duration_us={duration} queue_us={queued}"
    );
    match entry.upstream_latency {
        Some(latency) => add!(line, " upstream_us={}", latency.as_micros()),
        None => add!(line, " upstream_us=-"),
    }
    add!(line, " fallback={}", entry.fallback);
}

/// As nginx escapes: quotes, backslashes and all that is not printable ASCII
/// become `\xHH`.
fn quoted(text: &str, line: &mut Vec<u8>) {
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => add!(line, "\\x{byte:02X}"),
            b' '..=b'~' => line.push(byte),
            _ => add!(line, "\\x{byte:02X}"),
        }
    }
}

fn json(entry: &Entry, line: &mut Vec<u8>) {
    let time = humantime::format_rfc3339_millis(entry.time);
    add!(line, "{{\"time\":\"{time}\"");
    let client = entry.client.map(|client| client.to_string());
    text_field("client", client.as_deref(), line);
    text_field("method", Some(entry.method.as_str()), line);
    text_field("target", Some(&entry.target), line);
    add!(line, ",\"version\":\"{:?}\"", entry.version);
    text_field("host", entry.host.as_deref(), line);
    text_field("user_agent", entry.user_agent.as_deref(), line);
    text_field("referer", entry.referer.as_deref(), line);
    let status = entry.status.as_u16();
    add!(line, ",\"status\":{status},\"bytes\":{}", entry.bytes);
    text_field("pool", entry.pool.as_deref(), line);
    text_field("backend", entry.backend.as_deref(), line);
    text_field("strategy", entry.strategy.as_deref(), line);
    let (duration, queued) = (entry.duration.as_micros(), entry.queued.as_micros());
    let attempts = entry.attempts;
    add!(
        line,
        ",\"attempts\":{attempts},\"duration_us\":{duration},\"queue_us\":{queued}"
    );
    match entry.upstream_latency {
        Some(latency) => add!(line, ",\"upstream_us\":{}", latency.as_micros()),
        None => add!(line, ",\"upstream_us\":null"),
    }
    add!(line, ",\"fallback\":{}}}", entry.fallback);
}

fn text_field(name: &str, text: Option<&str>, line: &mut Vec<u8>) {
    add!(line, ",\"{name}\":");
    let Some(text) = text else {
        line.extend_from_slice(b"null");
        return;
    };
    line.push(b'"');
    for c in text.chars() {
        match c {
            '"' | '\\' => add!(line, "\\{c}"),
            // Also those above ASCII, which a terminal would obey, and the
            // separators that some readers take for line ends.
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                add!(line, "\\u{:04x}", u32::from(c));
            }
            c => add!(line, "{c}"),
        }
    }
    line.push(b'"');
}

/// `22/Nov/2026:21:00:00 +0000`, always UTC.
struct CommonTime(SystemTime);

impl std::fmt::Display for CommonTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const MONTHS: [&str; 12] = [
            "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
        ];
        let seconds = self
            .0
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let (year, month, day) = date(seconds / 86_400);
        let month = MONTHS[month];
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        write!(
            f,
            "{day:02}/{month}/{year}:{hour:02}:{minute:02}:{second:02} +0000"
        )
    }
}

/// Year, month (from 0) and day (from 1) of the day that begins `days` days
/// after 1970-01-01.
fn date(mut days: u64) -> (u64, usize, u64) {
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::super::lines::tests::Pipe;
    use super::*;

    fn entry() -> Entry {
        Entry {
            time: UNIX_EPOCH + Duration::from_millis(1_795_381_200_123),
            client: Some("192.0.2.1".parse().expect("address")),
            target: "/a?b".into(),
            host: Some("www.example.com".into()),
            user_agent: Some("curl/8.5".into()),
            bytes: 512,
            pool: Some("web".into()),
            backend: Some("a".into()),
            strategy: Some("least-time".into()),
            attempts: 1,
            duration: Duration::from_micros(2345),
            queued: Duration::from_micros(99),
            upstream_latency: Some(Duration::from_micros(2100)),
            ..Entry::default()
        }
    }

    fn line(format: fn(&Entry, &mut Vec<u8>), entry: &Entry) -> String {
        let mut line = Vec::new();
        format(entry, &mut line);
        String::from_utf8(line).expect("text")
    }

    #[test]
    fn the_common_format_is_as_documented() {
        assert_eq!(
            line(common, &entry()),
            "192.0.2.1 - - [22/Nov/2026:21:00:00 +0000] \"GET /a?b HTTP/1.1\" 200 512 \"-\" \
             \"curl/8.5\" host=\"www.example.com\" pool=\"web\" backend=\"a\" \
             strategy=\"least-time\" attempts=1 duration_us=2345 queue_us=99 upstream_us=2100 fallback=false"
        );
    }

    #[test]
    fn the_json_format_is_one_object() {
        let object: serde_json::Value = serde_json::from_str(&line(json, &entry())).expect("JSON");
        assert_eq!(
            object,
            serde_json::json!({
                "time": "2026-11-22T21:00:00.123Z", "client": "192.0.2.1", "method": "GET",
                "target": "/a?b", "version": "HTTP/1.1", "host": "www.example.com",
                "user_agent": "curl/8.5", "referer": null, "status": 200, "bytes": 512,
                "pool": "web", "backend": "a", "strategy": "least-time", "attempts": 1,
                "duration_us": 2345, "queue_us": 99, "upstream_us": 2100, "fallback": false,
            })
        );
    }

    #[test]
    fn nothing_a_client_sends_ends_a_line_or_a_text() {
        let evil = "x\" 200 0\r\n\u{1b}[2J\u{85}\u{2028}\\\u{7f}ä";
        let entry = Entry {
            user_agent: Some(evil.into()),
            target: evil.into(),
            host: Some(evil.into()),
            ..entry()
        };
        let text = line(common, &entry);
        assert!(
            text.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
            "{text:?}"
        );
        assert_eq!(text.matches('"').count(), 14, "only our own quotes: {text}");

        let text = line(json, &entry);
        assert!(
            !text.contains(|c: char| c.is_control() || c == '\u{2028}'),
            "{text:?}"
        );
        let object: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(object["user_agent"], evil);
    }

    #[test]
    fn dates_know_leap_years() {
        for (days, expected) in [
            (0, (1970, 0, 1)),
            (58, (1970, 1, 28)),
            (11_016, (2000, 1, 29)),
            (11_017, (2000, 2, 1)),
            (47_540, (2100, 1, 28)),
            (47_541, (2100, 2, 1)),
            (20_453, (2025, 11, 31)),
        ] {
            assert_eq!(date(days), expected, "{days}");
        }
    }

    #[test]
    fn entries_arrive_one_a_line() {
        let (pipe, read) = Pipe::free();
        let lines = Lines::to("test", pipe).expect("thread");
        let log = AccessLog {
            format: Format::Json,
            lines,
        };
        log.write(entry());
        log.for_worker().write(entry());
        drop(log);
        let all = read.iter().collect::<Vec<_>>().concat();
        assert_eq!(String::from_utf8(all).expect("text").lines().count(), 2);
    }
}
