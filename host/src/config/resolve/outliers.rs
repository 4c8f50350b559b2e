//! What `[pools.NAME.outlier-detection]` means.

use super::{bits32, count, set, time};
use crate::config::OutlierSettings;
use crate::config::file;
use crate::config::values::{Factor, Whole};

/// Whom a pool leaves out for a while.
pub fn outliers(written: file::OutlierDetection) -> OutlierSettings {
    let mut outliers = OutlierSettings::default();
    let factor = |factor: Factor| factor.0;
    set(
        &mut outliers.consecutive_errors,
        written.consecutive_errors.map(bits32),
    );
    set(
        &mut outliers.success_rate_factor,
        written.success_rate_factor.map(factor),
    );
    set(&mut outliers.slow_factor, written.slow_factor.map(factor));
    set(&mut outliers.interval, written.interval.map(time));
    set(&mut outliers.min_backends, written.min_backends.map(count));
    let requests = written.min_requests.map(|Whole(requests)| requests);
    set(&mut outliers.min_requests, requests);
    set(&mut outliers.ejection_time, written.ejection_time.map(time));
    // The default must not be shorter than what was asked for.
    outliers.max_ejection_time = outliers.max_ejection_time.max(outliers.ejection_time);
    set(
        &mut outliers.max_ejection_time,
        written.max_ejection_time.map(time),
    );
    set(
        &mut outliers.max_ejected,
        written.max_ejected.map(super::percent),
    );
    outliers
}
