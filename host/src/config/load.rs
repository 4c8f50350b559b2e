//! `[pools.NAME.load-report]`: what backends tell of their load with their answers.

use std::borrow::Cow;
use std::time::Duration;

use super::values::FromText;

/// One `[pools.NAME.load-report]` table.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadReportSettings {
    /// Which of what a report names is the load: the first that is more than 0.
    /// Never empty. Default: `application_utilization`, then `cpu_utilization`.
    pub metrics: Vec<Metric>,
    /// The value of a metric that means a full load, more than 0. Default 1.
    pub full_at: f64,
    /// How long a report counts, at least 10 ms. Default 10 s.
    pub expiry: Duration,
    /// In which format each request asks for a report. Default: none asks.
    pub ask: Option<ReportFormat>,
    /// Whether clients see the reports. Default: they do not.
    pub forward: bool,
}

/// What a request can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportFormat {
    Text,
    Json,
}

/// One of the metrics that a report may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Metric {
    Application,
    Cpu,
    Memory,
    /// `utilization.NAME`
    Utilization(String),
    /// `named_metrics.NAME`
    Named(String),
}

impl Default for LoadReportSettings {
    /// As gRPC's weighted round robin weighs its backends (gRFC A58).
    fn default() -> Self {
        Self {
            metrics: vec![Metric::Application, Metric::Cpu],
            full_at: 1.0,
            expiry: Duration::from_secs(10),
            ask: None,
            forward: false,
        }
    }
}

impl Metric {
    /// The map of the report that it is in, if it is in one, and its name there.
    pub fn field(&self) -> (Option<&'static str>, &str) {
        match self {
            Self::Application => (None, "application_utilization"),
            Self::Cpu => (None, "cpu_utilization"),
            Self::Memory => (None, "mem_utilization"),
            Self::Utilization(name) => (Some("utilization"), name),
            Self::Named(name) => (Some("named_metrics"), name),
        }
    }

    /// As it is written: `named_metrics.queue`.
    pub fn full_name(&self) -> Cow<'_, str> {
        match self.field() {
            (None, name) => Cow::Borrowed(name),
            (Some(map), name) => Cow::Owned(format!("{map}.{name}")),
        }
    }
}

impl FromText for Metric {
    const EXPECTED: &'static str = "a metric of a load report: \"application_utilization\", \
        \"cpu_utilization\", \"mem_utilization\", \"utilization.NAME\" or \"named_metrics.NAME\"";

    fn from_text(text: &str) -> Result<Self, String> {
        let named = |name: &str| Some(name.to_owned()).filter(|name| !name.is_empty());
        let metric = match text {
            "application_utilization" => Some(Self::Application),
            "cpu_utilization" => Some(Self::Cpu),
            "mem_utilization" => Some(Self::Memory),
            _ => match text.split_once('.') {
                Some(("utilization", name)) => named(name).map(Self::Utilization),
                Some(("named_metrics", name)) => named(name).map(Self::Named),
                _ => None,
            },
        };
        metric.ok_or_else(|| format!("`{text}`: expected {}", Self::EXPECTED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_written_as_it_is_named() {
        for name in [
            "application_utilization",
            "cpu_utilization",
            "mem_utilization",
            "utilization.disk",
            "named_metrics.a.b=c",
        ] {
            let metric = Metric::from_text(name).expect(name);
            assert_eq!(metric.full_name(), name);
        }
        for wrong in ["", "eps", "cpu", "named_metrics", "named_metrics.", "x.y"] {
            let why = Metric::from_text(wrong).expect_err(wrong);
            assert!(why.contains("cpu_utilization"), "{why}");
        }
    }
}
