//! The text that is scraped: one family of samples after another.

use std::fmt;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;

use super::Distribution;

/// A label: its name and value. Values are escaped where they are written.
pub type Label<'a> = (&'static str, &'a str);

/// Where families are written. Each must be written once.
pub struct Sheet<'a>(DescriptorEncoder<'a>);

impl<'a> Sheet<'a> {
    /// A sheet on which nothing is written yet.
    pub fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self(encoder)
    }

    /// What only grows. `name` ends in `_total`.
    pub fn counter<'l, const N: usize, V: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = ([Label<'l>; N], V)>,
    ) -> fmt::Result {
        // The suffix belongs to the sample, not to the family.
        let family = name.trim_end_matches("_total");
        let write = |mut sample: MetricEncoder, value: V| {
            sample.encode_counter::<NoLabelSet, V, f64>(&value, None)
        };
        self.family(family, help, MetricType::Counter, samples, write)
    }

    /// What is so at the moment.
    pub fn gauge<'l, const N: usize, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = ([Label<'l>; N], V)>,
    ) -> fmt::Result {
        let write = |mut sample: MetricEncoder, value: V| sample.encode_gauge(&value);
        self.family(name, help, MetricType::Gauge, samples, write)
    }

    /// How often durations came, by size.
    pub fn histogram<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = ([Label<'l>; N], Distribution)>,
    ) -> fmt::Result {
        let write = |mut sample: MetricEncoder, value: Distribution| {
            let Distribution { buckets, sum } = &value;
            sample.encode_histogram::<NoLabelSet>(*sum, value.count(), buckets, None)
        };
        self.family(name, help, MetricType::Histogram, samples, write)
    }

    fn family<'l, const N: usize, V>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        samples: impl IntoIterator<Item = ([Label<'l>; N], V)>,
        write: impl Fn(MetricEncoder, V) -> fmt::Result,
    ) -> fmt::Result {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            // Readers may take a description for that of whatever comes next.
            return Ok(());
        }
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in samples {
            if N == 0 {
                // Without the braces of an empty set.
                return write(family, value);
            }
            write(family.encode_family(&labels)?, value)?;
        }
        Ok(())
    }
}
