//! What the benchmarks have in common: each figure is the median of rounds that take
//! turns over all subjects, in CPU time of the thread, which other processes disturb
//! least. Compare figures of one run only.

use std::time::Duration;

const ROUNDS: usize = 15;
const ROUND: Duration = Duration::from_millis(20);

/// Nanoseconds of CPU that each subject takes, in their order.
pub fn medians<T>(subjects: &mut [T], mut once: impl FnMut(&mut T)) -> Vec<f64> {
    let mut samples = vec![Vec::new(); subjects.len()];
    // The first is to warm up.
    for round in 0..=ROUNDS {
        for (subject, samples) in subjects.iter_mut().zip(&mut samples) {
            let mean = mean(|| once(subject));
            if round > 0 {
                samples.push(mean);
            }
        }
    }
    let median = |samples: &mut Vec<f64>| {
        samples.sort_by(f64::total_cmp);
        samples[samples.len() / 2]
    };
    samples.iter_mut().map(median).collect()
}

/// Mean nanoseconds over one round.
fn mean(mut once: impl FnMut()) -> f64 {
    let begin = cpu_time();
    let mut count = 0_u32;
    loop {
        for _ in 0..64 {
            once();
        }
        count += 64;
        let elapsed = cpu_time() - begin;
        if elapsed >= ROUND {
            return elapsed.as_nanos() as f64 / f64::from(count);
        }
    }
}

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
