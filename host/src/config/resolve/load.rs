//! What `[pools.NAME.load-report]` means.

use toml::Spanned;

use super::{set, time};
use crate::config::file;
use crate::config::read::Report;
use crate::config::{LoadReportSettings, ReportFormat};

/// What a pool's backends tell of their load.
pub fn load_report(written: file::LoadReport, report: &mut Report<'_>) -> LoadReportSettings {
    let mut load = LoadReportSettings::default();
    if let Some(metrics) = written.metrics {
        let span = metrics.span();
        let metrics = metrics.into_inner().into_iter();
        load.metrics = metrics.map(|metric| metric.0).collect();
        if load.metrics.is_empty() {
            report.empty(&span, "without a metric no report says anything");
        }
    }
    if let Some(full_at) = written.full_at {
        let span = Spanned::span(&full_at);
        load.full_at = full_at.into_inner().0;
        if load.full_at == 0.0 {
            report.mistake(&span, "is 0: every load would be a full one");
        }
    }
    set(&mut load.expiry, written.expiry.map(time));
    load.ask = written.ask.map(|ask| match ask {
        file::ReportFormat::Text => ReportFormat::Text,
        file::ReportFormat::Json => ReportFormat::Json,
    });
    set(&mut load.forward, written.forward);
    load
}
