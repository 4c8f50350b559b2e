//! Times that a strategy learns by itself, from outcomes.

use std::collections::BTreeMap;

use crate::Backend;

/// For each backend the time that its requests take, as the proxy estimates
/// [`Backend::latency_us`]: a longer time counts at once, shorter ones bring the
/// estimate down little by little, and while there are none it decays to nothing, so
/// that the slow are asked again.
///
/// For strategies that count another time than the proxy does, such as that of one kind
/// of request only, or a failure as a long time. What the proxy measures over all
/// workers is in the list already.
///
/// ```
/// use anubis_strategy::{Backend, latency::PeakEwma};
///
/// let [a, b] = [1, 2].map(|id| Backend { id, weight: 1, ..Backend::default() });
/// let mut times = PeakEwma::with_half_life(10_000_000);
/// times.clock(500);                   // in each pick: request.now_us
/// times.record(a.id, 40_000);         // in observe: outcome.id, outcome.latency_us
/// times.clock(10_000_500);
/// assert_eq!(times.of(&a), Some(20_000));
/// assert_eq!(times.of(&b), None);
/// ```
///
/// The 10,000 backends that were heard of last are remembered, or somewhat fewer.
#[derive(Debug, Clone)]
pub struct PeakEwma {
    half_life_us: f64,
    /// Microseconds on a clock of its own, which goes on where a successor's begins.
    now_us: u64,
    /// The proxy's clock when it was last told.
    told_us: Option<u64>,
    /// By the backend's id.
    estimates: BTreeMap<u32, Estimate>,
}

#[derive(Debug, Clone, Copy)]
struct Estimate {
    latency_us: u32,
    at_us: u64,
}

/// So many backends are remembered.
const MOST: usize = 10_000;
/// Bytes of an estimate that is handed over: id, microseconds, age in microseconds.
const SAVED: usize = 16;

impl PeakEwma {
    /// Nothing is known yet. After so many microseconds (at least 1) without a request
    /// an estimate is half of what it was.
    pub fn with_half_life(half_life_us: u64) -> Self {
        Self {
            half_life_us: half_life_us.max(1) as f64,
            now_us: 0,
            told_us: None,
            estimates: BTreeMap::new(),
        }
    }

    /// Tells the time, [`Request::now_us`](crate::Request::now_us): outcomes carry none.
    /// A clock that goes back, as that of another process may, stands still.
    pub fn clock(&mut self, now_us: u64) {
        let before = self.told_us.replace(now_us).unwrap_or(now_us);
        self.now_us = self.now_us.saturating_add(now_us.saturating_sub(before));
    }

    /// A request took so long at this backend.
    pub fn record(&mut self, id: u32, latency_us: u32) {
        let latency_us = match self.estimates.get(&id) {
            Some(estimate) => self.after(estimate, latency_us),
            None => latency_us,
        };
        if self.estimates.len() >= MOST && !self.estimates.contains_key(&id) {
            self.forget_half();
        }
        let at_us = self.now_us;
        self.estimates.insert(id, Estimate { latency_us, at_us });
    }

    /// What this backend's requests take, in microseconds, at least 1; `None` where
    /// nothing is known of it.
    pub fn of(&self, backend: &Backend) -> Option<u32> {
        let estimate = self.estimates.get(&backend.id)?;
        let decayed = f64::from(estimate.latency_us) * self.kept(estimate);
        Some((decayed as u32).max(1))
    }

    /// All that is known, for [`Learn::save`](crate::Learn::save).
    pub fn save(&self) -> Vec<u8> {
        let mut saved = Vec::with_capacity(SAVED * self.estimates.len());
        for (id, estimate) in &self.estimates {
            saved.extend(id.to_le_bytes());
            saved.extend(estimate.latency_us.to_le_bytes());
            saved.extend((self.now_us - estimate.at_us).to_le_bytes());
        }
        saved
    }

    /// Takes what [`save`](Self::save) gave, instead of what is known.
    ///
    /// # Errors
    ///
    /// Where these bytes are something else; then nothing changes.
    pub fn restore(&mut self, saved: &[u8]) -> Result<(), String> {
        let (records, rest) = saved.as_chunks::<SAVED>();
        if !rest.is_empty() || records.len() > MOST {
            return Err("these are no estimates of times".into());
        }
        let records = records.iter().map(read);
        let oldest = records.clone().map(|(.., age_us)| age_us).max();
        self.now_us = oldest.unwrap_or(0);
        self.estimates = records
            .map(|(id, latency_us, age_us)| {
                let at_us = self.now_us - age_us;
                (id, Estimate { latency_us, at_us })
            })
            .collect();
        Ok(())
    }

    /// The estimate after one more request.
    fn after(&self, estimate: &Estimate, latency_us: u32) -> u32 {
        let (old, new) = (f64::from(estimate.latency_us), f64::from(latency_us));
        let kept = self.kept(estimate);
        match new > old {
            true => latency_us,
            false => (old * kept + new * (1.0 - kept)).round() as u32,
        }
    }

    /// How much of it is left, 0 to 1.
    fn kept(&self, estimate: &Estimate) -> f64 {
        let age_us = self.now_us - estimate.at_us;
        (-(age_us as f64) / self.half_life_us).exp2()
    }

    /// Those not heard of for longest go; at once, so that it is seldom done.
    fn forget_half(&mut self) {
        let mut times: Vec<u64> = self.estimates.values().map(|one| one.at_us).collect();
        let middle = times.len() / 2;
        let (_, &mut median, _) = times.select_nth_unstable(middle);
        let mut left = self.estimates.len() - middle;
        self.estimates.retain(|_, one| {
            let stays = one.at_us >= median && left > 0;
            left -= usize::from(stays);
            stays
        });
    }
}

fn read(record: &[u8; SAVED]) -> (u32, u32, u64) {
    let [a, b, c, d, e, f, g, h, age @ ..] = *record;
    let id = u32::from_le_bytes([a, b, c, d]);
    let latency_us = u32::from_le_bytes([e, f, g, h]);
    (id, latency_us, u64::from_le_bytes(age))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn backend(id: u32) -> Backend {
        Backend {
            id,
            ..Backend::default()
        }
    }

    fn times() -> PeakEwma {
        PeakEwma::with_half_life(10 * SECOND)
    }

    #[test]
    fn a_peak_counts_at_once_and_shorter_times_little_by_little() {
        let mut times = times();
        times.clock(7);
        times.record(1, 10_000);
        times.record(1, 90_000);
        assert_eq!(times.of(&backend(1)), Some(90_000));
        times.clock(7 + 10 * SECOND);
        times.record(1, 10_000);
        assert_eq!(times.of(&backend(1)), Some(50_000));
    }

    #[test]
    fn who_is_not_asked_looks_quicker_and_quicker_but_stays_known() {
        let mut times = times();
        times.clock(0);
        times.record(1, 80_000);
        times.clock(30 * SECOND);
        assert_eq!(times.of(&backend(1)), Some(10_000));
        times.clock(u64::MAX);
        assert_eq!(times.of(&backend(1)), Some(1));
        assert_eq!(times.of(&backend(2)), None);
    }

    #[test]
    fn a_successor_knows_the_same_and_goes_on_whatever_its_clock_says() {
        let mut old = times();
        old.clock(1_000 * SECOND);
        old.record(1, 80_000);
        old.clock(1_010 * SECOND);
        old.record(2, 5_000);
        let mut new = times();
        new.restore(&old.save()).unwrap();
        assert_eq!(new.save(), old.save());
        new.clock(3);
        assert_eq!(new.of(&backend(1)), Some(40_000));
        new.clock(3 + 10 * SECOND);
        assert_eq!(new.of(&backend(1)), Some(20_000));
        assert_eq!(new.of(&backend(2)), Some(2_500));
    }

    #[test]
    fn other_bytes_change_nothing() {
        let mut times = times();
        times.record(1, 80_000);
        assert!(times.restore(b"nonsense").is_err());
        assert!(times.restore(&vec![0; SAVED * (MOST + 1)]).is_err());
        assert_eq!(times.of(&backend(1)), Some(80_000));
        times.restore(&[0xff; 3 * SAVED]).unwrap();
        times.clock(u64::MAX);
        times.clock(0);
        times.record(u32::MAX, u32::MAX);
        assert_eq!(times.of(&backend(u32::MAX)), Some(u32::MAX));
    }

    #[test]
    fn strangers_take_no_more_room_than_there_is_and_the_last_are_remembered() {
        let mut times = times();
        for id in 0..3 * MOST as u32 {
            times.clock(u64::from(id));
            times.record(id, id + 1);
            assert!(times.estimates.len() <= MOST);
        }
        let last = 3 * MOST as u32 - 1;
        assert_eq!(times.of(&backend(last)), Some(last + 1));
        assert_eq!(times.of(&backend(0)), None);
        // Also when all were heard of at once.
        let mut times = self::times();
        (0..3 * MOST as u32).for_each(|id| times.record(id, 1));
        assert!((1..=MOST).contains(&times.estimates.len()));
    }
}
