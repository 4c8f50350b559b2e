//! A report as JSON, with its fields' names as in the protocol buffer, or in camel
//! case as protocol buffers write them by default.

use serde_json::{Map, Value};

use super::Unusable;
use crate::config::Metric;

/// A JSON object.
pub struct Report(Map<String, Value>);

impl Report {
    /// Reads one. How deeply it may be nested, serde_json limits.
    pub fn parse(text: &str) -> Result<Report, Unusable> {
        serde_json::from_str(text).map(Report).map_err(|_| Unusable)
    }

    /// The value of `metric`, if it is a number.
    pub fn value(&self, metric: &Metric) -> Option<f64> {
        match metric.field() {
            (None, name) => field(&self.0, name),
            // Names in a map are whatever the application gave it.
            (Some(map), name) => field(&self.0, map)?.get(name),
        }?
        .as_f64()
    }
}

fn field<'r>(report: &'r Map<String, Value>, name: &str) -> Option<&'r Value> {
    report.get(name).or_else(|| report.get(&camel_case(name)))
}

/// `cpuUtilization` from `cpu_utilization`.
fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |mut name, word| {
        let mut letters = word.chars();
        name.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        name + letters.as_str()
    })
}
