//! What backends tell of their load in the heads of their answers: Open Request
//! Cost Aggregation, ORCA (<https://github.com/cncf/xds/blob/main/proposals>, gRFC
//! A51), in its three formats and under the three names that they go by.
//!
//! A backend is trusted to say how it feels and nothing else: whatever it sends,
//! the result is a load between nothing and full, or none.

mod binary;
mod json;
mod text;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::{LoadReportSettings, Metric, ReportFormat};
use crate::telemetry::metrics::LoadReport;
use crate::worker::LocalPool;

/// In any format, which the value's first word tells; as text without one.
const ANY: HeaderName = HeaderName::from_static("endpoint-load-metrics");
const BINARY: HeaderName = HeaderName::from_static("endpoint-load-metrics-bin");
const JSON: HeaderName = HeaderName::from_static("endpoint-load-metrics-json");
/// In a request: the answer is to have a report. Inference servers send none
/// unless they are asked.
const ASK: HeaderName = HeaderName::from_static("endpoint-load-metrics-format");

/// Longest value that is looked at, in bytes.
const LONGEST: usize = 4096;

/// Nothing can be learned from a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Unusable;

/// Has the answer to a request with these headers tell the backend's load, where
/// the pool wants that.
#[inline]
pub fn ask(pool: &LocalPool, headers: &mut HeaderMap) {
    let settings = pool.settings().load_report.as_ref();
    if let Some(format) = settings.and_then(|settings| settings.ask) {
        headers.insert(ASK, format.into());
    }
}

/// Notes what the head of an answer says of the load of `member`, where the pool
/// wants to know it, and takes it out unless clients may see it.
#[inline]
pub fn note(
    pool: &LocalPool,
    member: usize,
    headers: &mut HeaderMap,
    now_us: impl FnOnce() -> u64,
) {
    if let Some(settings) = &pool.settings().load_report {
        note_wanted(pool, settings, member, headers, now_us());
    }
}

fn note_wanted(
    pool: &LocalPool,
    settings: &LoadReportSettings,
    member: usize,
    headers: &mut HeaderMap,
    now_us: u64,
) {
    let counts = pool.backend_counts(member);
    match read(headers, settings) {
        None => {}
        Some(Ok(load)) => {
            let expiry_us = u64::try_from(settings.expiry.as_micros()).unwrap_or(u64::MAX);
            let cell = pool.cell(member);
            cell.reports(load, now_us.saturating_add(expiry_us));
            counts.load_report(LoadReport::Taken);
        }
        Some(Err(Unusable)) => counts.load_report(LoadReport::Unusable),
    }
    if !settings.forward {
        for name in [ANY, BINARY, JSON] {
            headers.remove(name);
        }
    }
}

/// The load, 0 to 1, in the report that these headers hold, if they hold one. Two
/// reports contradict each other, or come from two programs: neither counts.
fn read(headers: &HeaderMap, settings: &LoadReportSettings) -> Option<Result<f64, Unusable>> {
    let mut fields = [ANY, JSON, BINARY].into_iter().flat_map(|name| {
        headers
            .get_all(&name)
            .iter()
            .map(move |one| (name.clone(), one))
    });
    let (name, value) = fields.next()?;
    if fields.next().is_some() {
        return Some(Err(Unusable));
    }
    Some(load(&name, value, settings))
}

fn load(
    name: &HeaderName,
    value: &HeaderValue,
    settings: &LoadReportSettings,
) -> Result<f64, Unusable> {
    if value.len() > LONGEST {
        return Err(Unusable);
    }
    let value = value.to_str().map_err(|_| Unusable)?.trim();
    let report = if *name == JSON {
        Report::Json(json::Report::parse(value)?)
    } else if *name == BINARY {
        Report::Binary(binary::decode(value)?)
    } else {
        match value.split_once(' ') {
            Some((format, rest)) if format.eq_ignore_ascii_case("TEXT") => Report::Text(rest),
            Some((format, rest)) if format.eq_ignore_ascii_case("JSON") => {
                Report::Json(json::Report::parse(rest)?)
            }
            Some((format, rest)) if format.eq_ignore_ascii_case("BIN") => {
                Report::Binary(binary::decode(rest)?)
            }
            _ => Report::Text(value),
        }
    };
    let value = first_of(&settings.metrics, |metric| report.value(metric))?;
    Ok((value / settings.full_at).min(1.0))
}

/// A report in the format that it came in.
enum Report<'h> {
    Text(&'h str),
    Json(json::Report),
    Binary(Vec<u8>),
}

impl Report<'_> {
    fn value(&self, metric: &Metric) -> Result<Option<f64>, Unusable> {
        match self {
            Self::Text(pairs) => text::value(pairs, metric),
            Self::Json(report) => Ok(report.value(metric)),
            Self::Binary(message) => binary::value(message, metric),
        }
    }
}

/// The first that is more than 0. In a protocol buffer what is 0 was perhaps never
/// set, so it is the load only where no other is. What is no amount is not there.
fn first_of(
    metrics: &[Metric],
    value: impl Fn(&Metric) -> Result<Option<f64>, Unusable>,
) -> Result<f64, Unusable> {
    let mut zero = Err(Unusable);
    for metric in metrics {
        match value(metric)?.filter(|value| value.is_finite() && *value >= 0.0) {
            Some(value) if value > 0.0 => return Ok(value),
            Some(_) => zero = Ok(0.0),
            None => {}
        }
    }
    zero
}

impl From<ReportFormat> for HeaderValue {
    fn from(format: ReportFormat) -> HeaderValue {
        HeaderValue::from_static(match format {
            ReportFormat::Text => "text",
            ReportFormat::Json => "json",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn settings(metrics: &[Metric]) -> LoadReportSettings {
        let mut settings = LoadReportSettings::default();
        if !metrics.is_empty() {
            settings.metrics = metrics.to_vec();
        }
        settings
    }

    fn named(name: &str) -> Metric {
        Metric::Named(name.to_owned())
    }

    fn headers(fields: &[(HeaderName, &str)]) -> HeaderMap {
        let field = |(name, value): &(HeaderName, &str)| {
            (name.clone(), HeaderValue::from_str(value).expect("a value"))
        };
        fields.iter().map(field).collect()
    }

    fn read_one(name: HeaderName, value: &str, metrics: &[Metric]) -> Option<f64> {
        read(&headers(&[(name, value)]), &settings(metrics))?.ok()
    }

    /// The example of the specification: 0.1 of the processor, foo 0.1, bar 0.2.
    const EXAMPLE: &str = "CZqZmZmZmbk/MQAAAAAAAABAQg4KA2ZvbxGamZmZmZm5P0IOCgNiYXIRmpmZmZmZyT8=";

    #[test]
    fn the_formats_say_the_same() {
        let json = r#"{"cpu_utilization": 0.1, "named_metrics": {"foo": 0.1, "bar": 0.2}}"#;
        let camel = r#"{"cpuUtilization": 0.1, "namedMetrics": {"foo": 0.1, "bar": 0.2}}"#;
        let text = "cpu_utilization=0.1, named_metrics.foo=0.1, named_metrics.bar=0.2";
        let envoys = "cpu_utilization:0.1,named_metrics.foo:0.1,named_metrics.bar:0.2";
        let prefixed = |format: &str, value: &str| format!("{format} {value}");
        for (name, value) in [
            (ANY, prefixed("TEXT", text)),
            (ANY, prefixed("text", text)),
            (ANY, text.to_owned()),
            (ANY, envoys.to_owned()),
            (ANY, prefixed("JSON", json)),
            (ANY, prefixed("BIN", EXAMPLE)),
            (JSON, json.to_owned()),
            (JSON, camel.to_owned()),
            (BINARY, EXAMPLE.to_owned()),
            (BINARY, EXAMPLE.trim_end_matches('=').to_owned()),
        ] {
            let read = |metrics: &[Metric]| read_one(name.clone(), &value, metrics);
            assert_eq!(read(&[]), Some(0.1), "{name}: {value}");
            assert_eq!(read(&[named("bar")]), Some(0.2), "{name}: {value}");
            assert_eq!(read(&[named("baz"), named("foo")]), Some(0.1), "{value}");
            assert_eq!(read(&[named("baz"), Metric::Memory]), None, "{value}");
        }
    }

    #[test]
    fn the_application_knows_better_than_its_processor() {
        let both = "cpu_utilization=0.9, application_utilization=0.3";
        assert_eq!(read_one(ANY, both, &[]), Some(0.3));
        // What a protocol buffer that was not filled in says.
        let unset = "cpu_utilization=0.9, application_utilization=0";
        assert_eq!(read_one(ANY, unset, &[]), Some(0.9));
        assert_eq!(read_one(ANY, "cpu_utilization=0", &[]), Some(0.0));
    }

    #[test]
    fn a_load_is_never_more_than_full_and_full_is_what_is_configured() {
        assert_eq!(read_one(ANY, "cpu_utilization=1.7", &[]), Some(1.0));
        let waiting = headers(&[(ANY, "TEXT named_metrics.waiting=5")]);
        let mut settings = settings(&[named("waiting")]);
        settings.full_at = 20.0;
        assert_eq!(read(&waiting, &settings), Some(Ok(0.25)));
    }

    #[test]
    fn what_is_no_amount_is_no_load() {
        for value in [
            "",
            " ",
            "TEXT",
            "JSON",
            "BIN",
            "JSON {",
            "JSON []",
            "JSON 1",
            "BIN ====",
            "BIN AA",
            "cpu_utilization",
            "cpu_utilization=",
            "cpu_utilization=x",
            "cpu_utilization=-0.1",
            "cpu_utilization=NaN",
            "cpu_utilization=inf",
            "cpu_utilization=1e999",
            "cpu_utilization=0.1, cpu_utilization=0.1",
            "=0.5",
            ",,,",
            "eps=3",
            r#"JSON {"cpu_utilization": "NaN"}"#,
            r#"JSON {"cpu_utilization": null}"#,
            r#"JSON {"cpu_utilization": -1}"#,
            r#"JSON {"cpu_utilization": {"x": 1}}"#,
        ] {
            assert_eq!(read_one(ANY, value, &[]), None, "{value:?}");
        }
    }

    #[test]
    fn two_reports_are_none_and_so_is_one_that_is_too_long() {
        let fields = [(ANY, "cpu_utilization=0.1"), (BINARY, EXAMPLE)];
        assert_eq!(read(&headers(&fields), &settings(&[])), Some(Err(Unusable)));
        let twice = [(ANY, "cpu_utilization=0.1"), (ANY, "cpu_utilization=0.1")];
        assert_eq!(read(&headers(&twice), &settings(&[])), Some(Err(Unusable)));
        let long = format!("cpu_utilization=0.1,{}", "x".repeat(LONGEST));
        assert_eq!(read_one(ANY, &long, &[]), None);
        assert_eq!(read(&HeaderMap::new(), &settings(&[])), None);
    }

    #[test]
    fn bytes_that_are_no_text_are_no_report() {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_bytes(b"cpu_utilization=0.\xff").expect("a value");
        headers.insert(ANY, value);
        assert_eq!(read(&headers, &settings(&[])), Some(Err(Unusable)));
    }

    fn all_metrics() -> [Metric; 5] {
        let disk = Metric::Utilization("disk".to_owned());
        [
            Metric::Application,
            Metric::Cpu,
            Metric::Memory,
            disk,
            named("q"),
        ]
    }

    /// Whatever comes, the load is none or between nothing and full.
    fn check(name: HeaderName, value: &[u8]) -> Result<(), TestCaseError> {
        let Ok(value) = HeaderValue::from_bytes(value) else {
            return Ok(());
        };
        let mut headers = HeaderMap::new();
        headers.insert(name, value);
        if let Some(Ok(load)) = read(&headers, &settings(&all_metrics())) {
            prop_assert!((0.0..=1.0).contains(&load), "{load}");
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn any_bytes_are_borne(value in proptest::collection::vec(any::<u8>(), 0..200)) {
            for name in [ANY, JSON, BINARY] {
                check(name, &value)?;
            }
        }

        #[test]
        fn anything_like_a_report_is_borne(
            format in "(TEXT |JSON |BIN |)",
            pairs in "((cpu_utilization|mem_utilization|named_metrics\\.q|\\{|\"|:|=|,|\\}|-|[0-9.eE]|NaN| ){0,6},?){0,8}",
        ) {
            check(ANY, format!("{format}{pairs}").as_bytes())?;
        }

        #[test]
        fn any_message_is_borne(message in proptest::collection::vec(any::<u8>(), 0..100)) {
            for metric in all_metrics() {
                let _ = binary::value(&message, &metric);
            }
        }
    }
}
