//! A hash of who each backend is, for strategies that map keys to backends.

use crate::random::mix;
use crate::{Backend, members};

/// For each backend of a list a hash of its name, so that all instances, all
/// proxies with the same backends, and a restarted one agree; of its id where
/// it has no name. No two backends of a list have the same.
///
/// Names are asked for once for each backend, and nothing is computed while the
/// list stays the same.
#[derive(Debug, Default)]
pub struct Identities {
    ids: Vec<u32>,
    hashes: Vec<u64>,
    /// Every backend ever seen, by id, with the hash of its name.
    known: Vec<(u32, u64)>,
}

impl Identities {
    /// The hashes of these backends, in their order.
    pub fn of(&mut self, backends: &[Backend]) -> &[u64] {
        self.of_named(backends, members::name)
    }

    /// [`of`](Self::of), with the names from elsewhere.
    pub fn of_named(
        &mut self,
        backends: &[Backend],
        name: impl Fn(u32) -> Option<String>,
    ) -> &[u64] {
        let is_same = self.ids.len() == backends.len()
            && self
                .ids
                .iter()
                .zip(backends)
                .all(|(id, backend)| *id == backend.id);
        if !is_same {
            self.learn(backends, name);
            self.ids = backends.iter().map(|backend| backend.id).collect();
            self.hashes = self.ids.iter().map(|id| self.known(*id)).collect();
            self.separate();
        }
        &self.hashes
    }

    fn learn(&mut self, backends: &[Backend], name: impl Fn(u32) -> Option<String>) {
        let of_name = |id: u32| match name(id) {
            Some(name) => name.bytes().fold(mix(name.len() as u64), |hash, byte| {
                mix(hash ^ u64::from(byte))
            }),
            None => mix(u64::from(id)),
        };
        let is_new = |backend: &&Backend| self.place(backend.id).is_err();
        let new: Vec<_> = backends
            .iter()
            .filter(is_new)
            .map(|backend| (backend.id, of_name(backend.id)))
            .collect();
        self.known.extend(new);
        self.known.sort_unstable();
        self.known.dedup();
    }

    fn known(&self, id: u32) -> u64 {
        self.place(id)
            .map_or_else(|_| mix(u64::from(id)), |place| self.known[place].1)
    }

    fn place(&self, id: u32) -> Result<usize, usize> {
        self.known.binary_search_by_key(&id, |(known, _)| *known)
    }

    /// Backends of one name are told apart by their ids.
    fn separate(&mut self) {
        let mut order: Vec<usize> = (0..self.ids.len()).collect();
        order.sort_unstable_by_key(|&index| (self.hashes[index], self.ids[index]));
        let mut last = None;
        for index in order {
            let hash = self.hashes[index];
            if last == Some(hash) {
                self.hashes[index] = mix(hash ^ mix(u64::from(self.ids[index])));
            }
            last = Some(hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn pool(ids: &[u32]) -> Vec<Backend> {
        ids.iter()
            .map(|&id| Backend {
                id,
                weight: 1,
                ..Backend::default()
            })
            .collect()
    }

    #[test]
    fn go_by_name_and_not_by_id_or_place() {
        let name = |names: &'static [&'static str]| {
            move |id: u32| names.get(id as usize).map(|name| name.to_string())
        };
        let mut before = Identities::default();
        let before = before
            .of_named(&pool(&[0, 1, 2]), name(&["a", "b", "c"]))
            .to_vec();
        let mut after = Identities::default();
        let after = after.of_named(&pool(&[1, 0]), name(&["c", "a"])).to_vec();
        assert_eq!(after, [before[0], before[2]]);
    }

    #[test]
    fn two_of_one_name_differ() {
        let mut identities = Identities::default();
        let hashes = identities.of_named(&pool(&[4, 7]), |_| Some("same".to_string()));
        assert_ne!(hashes[0], hashes[1]);
    }

    #[test]
    fn names_are_asked_for_once() {
        let (mut identities, asked) = (Identities::default(), Cell::new(0));
        let name = |id: u32| {
            asked.set(asked.get() + 1);
            Some(id.to_string())
        };
        for ids in [&[1, 2, 3][..], &[1, 3], &[3, 2, 1], &[1, 2, 3, 4]] {
            identities.of_named(&pool(ids), name);
        }
        assert_eq!(asked.get(), 4);
    }
}
