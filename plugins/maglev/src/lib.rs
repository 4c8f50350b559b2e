//! One key, one backend, by Maglev's look-up table: the evenest shares of the
//! hashing strategies, at one look-up a pick; when a backend comes or goes, a
//! few more keys move than its own.
//!
//! The table holds every backend that was listed since the pool last changed
//! (its generation): one that is left out of a list because it is full or was
//! already tried does not change the table, its keys only go elsewhere for that
//! pick.

mod table;

use anubis_strategy::identity::Identities;
use anubis_strategy::{Backend, Refusal, Request, Strategy};

use table::{Member, Table};

/// The strategy; it keeps the table, which is computed from the backends' names
/// and weights alone.
#[derive(Debug, Default)]
pub struct Maglev {
    identities: Identities,
    generation: Option<u32>,
    /// Identity and weight of the last list, in its order.
    list: Vec<Member>,
    table: Table,
    /// Where each of the table's members is in the last list.
    places: Vec<Option<u32>>,
}

impl Strategy for Maglev {
    fn pick(&mut self, request: &Request, backends: &[Backend]) -> Result<usize, Refusal> {
        self.see(request.generation, backends);
        let members = self.table.members_of(request.key);
        let listed = members.filter_map(|member| self.places[member]).next();
        listed.map(|place| place as usize).ok_or(Refusal::Fallback)
    }
}

impl Maglev {
    /// Brings the table up to date with a list.
    fn see(&mut self, generation: u32, backends: &[Backend]) {
        let identities = self.identities.of(backends);
        let members = backends
            .iter()
            .zip(identities)
            .map(|(backend, &identity)| Member {
                identity,
                weight: steady_weight(backend),
            });
        let is_new_generation = self.generation != Some(generation);
        if !is_new_generation && members.clone().eq(self.list.iter().copied()) {
            return;
        }
        self.list = members.collect();
        self.generation = Some(generation);
        let mut wanted = self.list.clone();
        if !is_new_generation {
            wanted.extend(self.table.members().iter().filter(|member| {
                self.list
                    .iter()
                    .all(|listed| listed.identity != member.identity)
            }));
        }
        self.table.hold(wanted);
        self.find_places();
    }

    fn find_places(&mut self) {
        self.places = vec![None; self.table.members().len()];
        for (place, listed) in self.list.iter().enumerate() {
            if let Some(member) = self.table.position(listed.identity) {
                self.places[member] = Some(place as u32);
            }
        }
    }
}

/// The weight, but for a backend in slow start, where it grows all the time,
/// only its two leading bits: so the table is built some ten times on the way
/// and not for every request.
fn steady_weight(backend: &Backend) -> u32 {
    let weight = backend.weight.max(1);
    if !backend.in_slow_start() {
        return weight;
    }
    let dropped = weight.ilog2().saturating_sub(1);
    weight >> dropped << dropped
}

anubis_strategy::export!(Maglev);

#[cfg(test)]
mod tests;
