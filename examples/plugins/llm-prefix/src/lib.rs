//! For servers of language models: a conversation stays where its prefix is in the cache,
//! as long as that backend has no much longer queue than the others.
//!
//! A conversation is what has one key, by the pool's `hash-key`. Where it has been lately
//! is remembered, up to three backends each: their caches are warm for it. The latest one
//! that has room is asked, as it knows the longest prefix. A backend has room if it has
//! no more than `bound` times the mean load, or fewer than `idle` requests.
//!
//! If none of them has, or nothing is remembered, the conversation goes to the first one
//! with room in its own order of the backends (rendezvous hashing), which is warm from
//! then on. That order is the same for all workers and proxies: without a word between
//! them they mostly agree.
//!
//! A backend's load is the requests that it has: those in flight from this proxy, which
//! are known at once, or those that it reports as `utilization`, whichever are more. A
//! report counts requests of other proxies as well, but may be a little old.

use anubis_strategy::options::Options;
use anubis_strategy::rendezvous::Rendezvous;
use anubis_strategy::{Backend, Configure, Refusal, Request, Strategy};

use room::{Limits, Room};
use warmth::Warmth;

mod room;
mod warmth;

#[derive(Debug)]
struct LlmPrefix {
    rendezvous: Rendezvous,
    warmth: Warmth,
    limits: Limits,
}

impl Default for LlmPrefix {
    fn default() -> Self {
        Self {
            rendezvous: Rendezvous::default(),
            warmth: Warmth::of(100_000, 300_000_000),
            limits: Limits {
                full: 20,
                bound: 1.5,
                idle: 2,
            },
        }
    }
}

impl Configure for LlmPrefix {
    fn configure(&mut self, text: &str) -> Result<(), String> {
        let mut options = Options::parse(text)?;
        if let Some(full) = options.integer("full", 1..=1_000_000)? {
            self.limits.full = full as u32;
        }
        if let Some(bound) = options.thousandths("bound", 1_001..=1_000_000)? {
            self.limits.bound = bound as f64 / 1000.0;
        }
        if let Some(idle) = options.integer("idle", 0..=1_000_000)? {
            self.limits.idle = idle as u32;
        }
        let remember = options.integer("remember", 2..=200_000)?;
        let warm = options.microseconds("warm", 1_000_000..=86_400_000_000)?;
        self.warmth = Warmth::of(
            remember.unwrap_or(100_000) as usize,
            warm.unwrap_or(300_000_000),
        );
        options.finish()
    }
}

impl Strategy for LlmPrefix {
    fn pick(&mut self, request: &Request, backends: &[Backend]) -> Result<usize, Refusal> {
        let Request { key, now_us, .. } = *request;
        let room = Room::of(backends, self.limits);
        let has_room = |backend: &Backend| room.is_at(backend);
        let with_room = |id: u32| {
            let mut all = backends.iter();
            all.position(|backend| backend.id == id && has_room(backend))
        };
        let warm = self.warmth.of_key(key, now_us).find_map(with_room);
        let picked = warm
            .or_else(|| self.rendezvous.prefer(key, backends, has_room))
            // Somebody always has room, unless the numbers are none.
            .or_else(|| self.rendezvous.prefer(key, backends, |_| true))
            .ok_or(Refusal::Fallback)?;
        self.warmth.add(key, backends[picked].id, now_us);
        Ok(picked)
    }
}

anubis_strategy::export!(LlmPrefix, configured);

#[cfg(test)]
mod tests;
