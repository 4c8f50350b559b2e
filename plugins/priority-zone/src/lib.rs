//! The first priority takes all while enough of it is there; what it cannot
//! take spills over to the next. Within a priority the same holds for the
//! proxy's own zone and the others. Within that the least loaded one is taken.
//!
//! How much a level can take is the listed share of the backends it has, times
//! `overprovisioning` (1.4: with 5 of 7 there it still takes all). Backends are
//! left out of the list when they are ill, full, or already tried.

mod pool;

use anubis_strategy::load::{self, Load};
use anubis_strategy::options::Options;
use anubis_strategy::{Backend, Configure, Random, Refusal, Request, Strategy, members};

use pool::Pool;

/// The strategy; it keeps its options and which backends the pool has.
#[derive(Debug)]
pub struct PriorityZone {
    /// In thousandths.
    overprovisioning: u64,
    /// Whether the own zone comes first.
    own_zone: bool,
    pool: Pool,
}

impl Default for PriorityZone {
    fn default() -> Self {
        Self {
            overprovisioning: 1400,
            own_zone: true,
            pool: Pool::default(),
        }
    }
}

impl Configure for PriorityZone {
    fn configure(&mut self, text: &str) -> Result<(), String> {
        let mut options = Options::parse(text)?;
        if let Some(factor) = options.thousandths("overprovisioning", 1000..=100_000)? {
            self.overprovisioning = factor;
        }
        if let Some(own_zone) = options.boolean("own-zone")? {
            self.own_zone = own_zone;
        }
        options.finish()
    }
}

impl Strategy for PriorityZone {
    fn pick(&mut self, request: &Request, backends: &[Backend]) -> Result<usize, Refusal> {
        self.pool.see(request.generation, backends, |id| {
            members::name(id).is_some()
        });
        let mut random = Random::of(request);
        let levels = self.pool.levels();
        let capacities = levels
            .iter()
            .map(|level| level.all().capacity(self.overprovisioning));
        let level = levels
            .get(spill(capacities, &mut random))
            .ok_or(Refusal::Fallback)?;
        let zones = [level.own_zone, level.other_zones];
        let zone = spill(
            zones.map(|zone| zone.capacity(self.overprovisioning)),
            &mut random,
        );
        let is_candidate = |backend: &Backend| {
            let is_in_zone = backend.in_own_zone() == (zone == 0);
            backend.priority == level.priority && (is_in_zone || !self.own_zone)
        };
        let load = |backend: &Backend| is_candidate(backend).then_some(Load::of(backend));
        load::least_by(backends, request.sequence, load).ok_or(Refusal::Fallback)
    }
}

/// Which of several the request goes to, where each takes its capacity (in
/// thousandths of all requests) of what those before it left; where all
/// together cannot take everything, each by its part of what they can.
fn spill(capacities: impl IntoIterator<Item = u64> + Clone, random: &mut Random) -> usize {
    let can_take: u64 = capacities.clone().into_iter().sum();
    let mut point = random.below(can_take.min(1000));
    let mut last = 0;
    for (number, capacity) in capacities.into_iter().enumerate() {
        if point < capacity {
            return number;
        }
        point -= capacity;
        if capacity > 0 {
            last = number;
        }
    }
    last
}

anubis_strategy::export!(PriorityZone, configured);

#[cfg(test)]
mod tests;
