//! A plan by weight and spare room: the proxy draws two by these weights for each
//! request and takes the less loaded one, with no call to the plugin.

use anubis_strategy::options::Options;
use anubis_strategy::{Backend, Configure, Planner, Routing};

#[derive(Default)]
struct Spare;

impl Configure for Spare {
    fn configure(&mut self, text: &str) -> Result<(), String> {
        Options::parse(text)?.finish()
    }
}

impl Planner for Spare {
    fn plan(&mut self, backends: &[Backend]) -> Routing {
        Routing::TwoChoices(backends.iter().map(weight).collect())
    }
}

/// The operator's weight, less what the backend says it is busy with; never 0, so that
/// nobody is left out.
fn weight(backend: &Backend) -> u32 {
    let spare = 10_000 - u64::from(backend.utilization.min(9_900));
    let weight = u64::from(backend.weight) * spare / 100;
    weight.clamp(1, u64::from(u32::MAX)) as u32
}

anubis_strategy::export!(Spare, planned);

#[cfg(test)]
mod tests;
