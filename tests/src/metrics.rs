//! A proxy whose metrics can be read. It runs in this process, because what it
//! counted is asked of the library.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anubis::config;
use anubis::server::{Server, Source};
use openmetrics_parser::{
    MetricFamily, MetricsExposition, OpenMetricsType, OpenMetricsValue, Sample, openmetrics,
};
use tempfile::TempDir;

use crate::within;

/// How long until a count is looked at again.
const AGAIN: Duration = Duration::from_millis(2);

/// A proxy in this process; dropping it stops it.
pub struct Metered {
    folder: TempDir,
    server: Option<Server>,
}

impl Metered {
    /// Starts a proxy with this configuration.
    pub fn start(config: impl ToString) -> Self {
        let folder = tempfile::tempdir().expect("the temporary folder is writable");
        let mut proxy = Self {
            folder,
            server: None,
        };
        proxy.configure(config);
        let path = proxy.path();
        let settings = config::load(&path).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let started = Server::start(settings, Source::File(path));
        proxy.server = Some(started.unwrap_or_else(|error| panic!("{error}")));
        proxy
    }

    /// Where its first listener listens.
    pub fn address(&self) -> SocketAddr {
        self.server().addresses()[0]
    }

    /// Writes the configuration anew; the proxy notices it.
    pub fn configure(&self, config: impl ToString) {
        std::fs::write(self.path(), config.to_string()).expect("the folder is writable");
    }

    /// Has the configuration read again, as SIGHUP does.
    pub fn reload(&self) {
        self.server().reload();
    }

    /// What is scraped, as text.
    pub fn text(&self) -> String {
        self.server().metrics()
    }

    /// What is scraped, as another program understands it.
    pub fn scrape(&self) -> Scrape {
        Scrape::of(&self.text())
    }

    /// Waits until the sample has this value.
    pub async fn until(&self, name: &str, labels: &[(&str, &str)], value: impl Into<f64>) {
        let value = value.into();
        let what = format!("{name} {labels:?} to be {value}");
        let reached = async {
            while self.scrape().get(name, labels) != Some(value) {
                tokio::time::sleep(AGAIN).await;
            }
        };
        within(&what, reached).await;
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("anubis.toml")
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("taken only by drop")
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop();
        }
    }
}

/// A scrape that was read.
#[derive(Debug)]
pub struct Scrape(MetricsExposition<OpenMetricsType, OpenMetricsValue>);

/// One family of a scrape.
pub type Family = MetricFamily<OpenMetricsType, OpenMetricsValue>;

impl Scrape {
    /// Reads an OpenMetrics text.
    ///
    /// # Panics
    /// When it is none.
    pub fn of(text: &str) -> Self {
        let read = openmetrics::parse_openmetrics(text);
        Self(read.unwrap_or_else(|error| panic!("{error}\n{text}")))
    }

    /// The families, sorted by name.
    pub fn families(&self) -> Vec<&Family> {
        let mut families: Vec<_> = self.0.families.values().collect();
        families.sort_by(|a, b| a.family_name.cmp(&b.family_name));
        families
    }

    /// The value of the sample with exactly these labels, if there is one; of
    /// a histogram how many values it has.
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let family = self.0.families.get(name.trim_end_matches("_total"))?;
        let found = family.iter_samples().find(|sample| has(sample, labels))?;
        Some(match &found.value {
            OpenMetricsValue::Counter(counter) => counter.value.as_f64(),
            OpenMetricsValue::Gauge(value) => value.as_f64(),
            OpenMetricsValue::Histogram(histogram) => histogram.count? as f64,
            other => panic!("{name} is {other:?}"),
        })
    }

    /// The same of a sample that must be there.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.get(name, labels)
            .unwrap_or_else(|| panic!("no {name} {labels:?} in {self:?}"))
    }
}

fn has<V: openmetrics_parser::RenderableMetricValue + Clone>(
    sample: &Sample<V>,
    labels: &[(&str, &str)],
) -> bool {
    let set = sample.get_labelset().expect("it belongs to a family");
    set.iter().count() == labels.len()
        && labels
            .iter()
            .all(|(name, value)| set.get_label_value(name) == Some(value))
}
