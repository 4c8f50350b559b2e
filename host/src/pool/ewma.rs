//! Exponentially weighted moving averages over irregular samples.

/// Time constant of latency and failures, in microseconds: 10 s, as Linkerd's
/// peak-EWMA has it. After one constant without samples 37 % is left.
const TAU_US: f64 = 10_000_000.0;

/// What is left of `value` after `elapsed_us` without a sample.
///
/// Decay on read is what brings a backend that looked slow or broken back
/// into consideration when nobody asks it any more.
pub fn decayed(value: f64, elapsed_us: u64) -> f64 {
    value * weight(elapsed_us)
}

/// `value` moved towards `sample` by as much as `elapsed_us` since the previous
/// sample allows.
pub fn averaged(value: f64, sample: f64, elapsed_us: u64) -> f64 {
    let old = weight(elapsed_us);
    value * old + sample * (1.0 - old)
}

/// [`averaged`], but a sample above the value is taken at once: latency rises
/// fast and falls slowly (tower's peak-EWMA).
pub fn peak(value: f64, sample: f64, elapsed_us: u64) -> f64 {
    if sample > value {
        sample
    } else {
        averaged(value, sample, elapsed_us)
    }
}

fn weight(elapsed_us: u64) -> f64 {
    (-(elapsed_us as f64) / TAU_US).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_counts_at_once_and_fades() {
        assert_eq!(peak(1_000.0, 9_000.0, 1), 9_000.0);
        let after_tau = peak(9_000.0, 1_000.0, 10_000_000);
        assert!(
            (after_tau - (9_000.0 * 0.3679 + 1_000.0 * 0.6321)).abs() < 1.0,
            "{after_tau}"
        );
    }

    #[test]
    fn without_samples_a_value_decays_towards_zero() {
        assert!((decayed(1_000.0, 10_000_000) - 367.9).abs() < 0.1);
        assert!(decayed(1_000.0, 200_000_000) < 0.001);
        assert_eq!(decayed(1_000.0, 0), 1_000.0);
    }

    #[test]
    fn many_samples_within_a_moment_still_move_the_average() {
        let mut value = 0.0;
        for _ in 0..10_000_000 / 100 {
            value = averaged(value, 1.0, 100);
        }
        assert!((value - 0.632).abs() < 0.001, "{value}");
    }
}
