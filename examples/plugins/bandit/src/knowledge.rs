//! What is known of all backends.

use std::collections::BTreeMap;

use anubis_strategy::{Backend, Random};

use crate::arm::Arm;

/// So many backends are remembered.
const MOST: usize = 10_000;
/// Bytes of a backend that is handed over.
const SAVED: usize = 4 + Arm::SAVED;
/// A cost in microseconds, where nothing is known of anybody.
const GUESS: f64 = 1_000.0;
const SECOND: u64 = 1_000_000;

#[derive(Debug)]
pub struct Knowledge {
    /// Part of it that is left after a second.
    kept: f64,
    /// By the backend's id.
    arms: BTreeMap<u32, Arm>,
    /// Up to when it was forgotten, on the proxy's clock; `None` before the first pick:
    /// what a predecessor handed over is as old as it was then.
    forgot_us: Option<u64>,
}

impl Knowledge {
    pub fn with_half_life(half_life_us: u64) -> Self {
        Self {
            kept: (-(SECOND as f64) / half_life_us.max(1) as f64).exp2(),
            arms: BTreeMap::new(),
            forgot_us: None,
        }
    }

    /// Tells the time, which makes knowledge older.
    pub fn clock(&mut self, now_us: u64) {
        // Another process's clock may have been ahead.
        let since = self.forgot_us.filter(|since| *since <= now_us);
        let since = *self.forgot_us.insert(since.unwrap_or(now_us));
        let seconds = (now_us - since) / SECOND;
        if seconds > 0 {
            let kept = self.kept.powf(seconds as f64);
            self.arms.values_mut().for_each(|arm| arm.forget(kept));
            self.forgot_us = Some(since + seconds * SECOND);
        }
    }

    pub fn learn(&mut self, id: u32, cost_us: u32) {
        if self.arms.len() >= MOST && !self.arms.contains_key(&id) {
            self.forget_half();
        }
        let cost = f64::from(cost_us);
        let arm = self.arms.entry(id).or_insert_with(|| Arm::guessed(cost));
        arm.learn(cost);
    }

    /// Those go of whom the least is known; many at once, so that it is seldom done.
    fn forget_half(&mut self) {
        let mut weights: Vec<f64> = self.arms.values().map(Arm::weight).collect();
        let middle = weights.len() / 2;
        let (_, &mut median, _) = weights.select_nth_unstable_by(middle, f64::total_cmp);
        let mut left = self.arms.len() - middle;
        self.arms.retain(|_, arm| {
            let stays = arm.weight() >= median && left > 0;
            left -= usize::from(stays);
            stays
        });
    }

    /// What a request costs there; `None` where nothing is known of it.
    pub fn mean(&self, backend: &Backend) -> Option<f64> {
        Some(self.arms.get(&backend.id)?.mean().max(1.0))
    }

    /// What a request costs at the best of these that anything is known of.
    pub fn least(&self, backends: &[Backend]) -> f64 {
        let means = backends.iter().filter_map(|backend| self.mean(backend));
        means.min_by(f64::total_cmp).unwrap_or(GUESS)
    }

    /// What a request may cost there; around `guess` where nothing is known of it.
    pub fn drawn(&self, backend: &Backend, guess: f64, random: &mut Random) -> f64 {
        let arm = self.arms.get(&backend.id).copied();
        arm.unwrap_or_else(|| Arm::guessed(guess)).drawn(random)
    }

    pub fn save(&self) -> Vec<u8> {
        let arms = self.arms.iter();
        arms.flat_map(|(id, arm)| id.to_le_bytes().into_iter().chain(arm.save()))
            .collect()
    }

    /// Takes what was saved, or changes nothing.
    pub fn restore(&mut self, saved: &[u8]) -> Result<(), String> {
        let (records, rest) = saved.as_chunks::<SAVED>();
        let arms = records.iter().map(|record| {
            let [a, b, c, d, arm @ ..] = *record;
            Some((u32::from_le_bytes([a, b, c, d]), Arm::restore(arm)?))
        });
        let arms = arms.collect::<Option<BTreeMap<_, _>>>();
        self.arms = arms
            .filter(|arms| rest.is_empty() && arms.len() <= MOST)
            .ok_or("this is not what a bandit has learned")?;
        Ok(())
    }
}
