//! A proxy whose metrics are scraped, and the scrape read by a parser that
//! nobody here wrote.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use openmetrics_parser::{
    MetricFamily, MetricsExposition, OpenMetricsType, OpenMetricsValue, Sample, openmetrics,
};

use crate::admin::Admin;
use crate::proxy::Running;
use crate::{PATIENCE, Proxy, within};

/// How long until a count is looked at again.
const AGAIN: Duration = Duration::from_millis(2);

/// A proxy with an admin API.
pub struct Metered {
    proxy: Proxy,
    admin: SocketAddr,
}

impl Metered {
    /// Starts a proxy with this configuration.
    pub async fn start(config: impl ToString) -> Self {
        Self::of(Proxy::start(administered(config)).await).await
    }

    /// A proxy whose configuration has an `[admin]` address.
    pub async fn of(proxy: Proxy) -> Self {
        let admin = Admin::of(&proxy).await.address();
        Self { proxy, admin }
    }

    /// Its admin API.
    pub fn admin(&self) -> Admin {
        Admin::at(self.admin)
    }

    /// The process.
    pub fn process(&self) -> &Running {
        self.proxy.process()
    }

    /// The proxy itself.
    pub fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// Where its first listener listens.
    pub fn address(&self) -> SocketAddr {
        self.proxy.address()
    }

    /// Renames another configuration over the old one; the proxy notices it, once.
    pub fn configure(&self, config: impl ToString) {
        self.proxy.replace("anubis.toml", administered(config));
    }

    /// What is scraped, as text.
    pub fn text(&self) -> String {
        text_at(self.admin)
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
}

/// What is scraped from the admin API at `admin`, as text.
pub fn text_at(admin: SocketAddr) -> String {
    let mut socket = TcpStream::connect(admin).expect("the admin API is open");
    socket
        .set_read_timeout(Some(PATIENCE))
        .expect("a timeout can be set");
    let request = format!(
        "GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        admin
    );
    socket.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("it answers");
    let (head, text) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(
        head.contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{head}"
    );
    text.to_owned()
}

/// The configuration with an admin API.
fn administered(config: impl ToString) -> String {
    format!(
        "{}\n[admin]\naddress = \"127.0.0.1:0\"\n",
        config.to_string()
    )
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

    /// The sum of a histogram's values.
    ///
    /// # Panics
    /// When there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let family = self.0.families.get(name);
        let found = family.and_then(|family| family.iter_samples().find(|it| has(it, labels)));
        match found.map(|sample| &sample.value) {
            Some(OpenMetricsValue::Histogram(histogram)) => histogram.sum.expect("a sum").as_f64(),
            other => panic!("{name} {labels:?} is {other:?}"),
        }
    }

    /// [`Scrape::get`] of a sample that must be there.
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
