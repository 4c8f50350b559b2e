//! The backend whose requests took the shortest time, by what this plugin itself has
//! seen of them; what it has learned is handed to its successor.

use std::collections::BTreeMap;

use anubis_strategy::load;
use anubis_strategy::options::Options;
use anubis_strategy::{Backend, Configure, Learn, Outcome, Refusal, Request, Strategy};

#[derive(Default)]
struct Learned {
    /// Microseconds, by the backend's id: an average that forgets.
    times: BTreeMap<u32, u32>,
    /// When they were last forgotten a little, in the proxy's microseconds.
    forgot_us: u64,
}

/// A failure counts as an answer that took so long, in microseconds.
const FAILURE: u32 = 1_000_000;
/// So many backends are remembered.
const MOST: usize = 10_000;

impl Configure for Learned {
    fn configure(&mut self, text: &str) -> Result<(), String> {
        Options::parse(text)?.finish()
    }
}

impl Strategy for Learned {
    fn pick(&mut self, request: &Request, backends: &[Backend]) -> Result<usize, Refusal> {
        self.forget(request.now_us);
        // Who is not known yet is as good as the best: it gets its chance.
        let time = |backend: &Backend| self.times.get(&backend.id).map_or(0, |time| *time);
        let cost = |backend: &Backend| {
            Some(u64::from(time(backend).max(1)) * (u64::from(backend.in_flight) + 1))
        };
        load::least_by(backends, request.sequence, cost).ok_or(Refusal::Fallback)
    }
}

impl Learned {
    /// Every second a part of each time, so that the slow are asked again.
    fn forget(&mut self, now_us: u64) {
        if now_us.saturating_sub(self.forgot_us) >= 1_000_000 {
            self.times
                .values_mut()
                .for_each(|time| *time -= time.div_ceil(8));
            self.forgot_us = now_us;
        }
    }
}

impl Learn for Learned {
    fn observe(&mut self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            let took = match outcome.is_success() {
                true => outcome.latency_us.min(FAILURE),
                false => FAILURE,
            };
            if self.times.len() < MOST || self.times.contains_key(&outcome.id) {
                let time = self.times.entry(outcome.id).or_insert(took);
                *time -= *time / 8;
                *time += took / 8;
            }
        }
    }

    fn save(&mut self) -> Vec<u8> {
        let pairs = self.times.iter();
        pairs
            .flat_map(|(id, time)| [id.to_le_bytes(), time.to_le_bytes()].concat())
            .collect()
    }

    fn restore(&mut self, saved: &[u8]) -> Result<(), String> {
        if !saved.len().is_multiple_of(8) || saved.len() / 8 > MOST {
            return Err("these are no pairs of backends and times".into());
        }
        let number = |bytes: &[u8]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let pairs = saved.chunks_exact(8);
        self.times = pairs
            .map(|pair| (number(pair), number(&pair[4..]).min(FAILURE)))
            .collect();
        Ok(())
    }
}

anubis_strategy::export!(Learned, learning);

#[cfg(test)]
mod tests;
