//! `cpu_utilization=0.3, named_metrics.queue=4`; Envoy has a colon there.

use super::Unusable;
use crate::config::Metric;

/// The value of `metric` among `pairs`, if it is a number.
///
/// # Errors
/// When it is there twice: nobody knows which of the two is meant.
pub fn value(pairs: &str, metric: &Metric) -> Result<Option<f64>, Unusable> {
    let wanted = metric.full_name();
    let mut found = pairs
        .split(',')
        .filter_map(|pair| pair.trim().strip_prefix(&*wanted))
        .filter_map(|rest| rest.trim_start().strip_prefix(['=', ':']));
    let value = found.next();
    match found.next() {
        Some(_) => Err(Unusable),
        None => Ok(value.and_then(|number| number.trim().parse().ok())),
    }
}
