//! Affinity that survives a changed pool: weighted rendezvous hashing.

use crate::Backend;
use crate::identity::Identities;
use crate::random::mix;

/// Maps keys to backends in proportion to their weights. A backend that leaves
/// moves only its own keys; one that comes takes only what it keeps.
///
/// For each key every backend has a score, `-ln(h) / weight` with `h` from a
/// hash of both, and the lowest wins. There is no table: what is left out of
/// the list for one pick (full, already tried) disturbs nothing.
///
/// ```
/// use anubis_strategy::{Backend, rendezvous::Rendezvous};
///
/// let all = [0, 1, 2].map(|id| Backend { id, weight: 1, ..Backend::default() });
/// let mut rendezvous = Rendezvous::default();
/// let index = rendezvous.prefer(99, &all, |_| true);
/// assert_eq!(rendezvous.prefer(99, &all, |_| true), index);
/// ```
#[derive(Debug, Default)]
pub struct Rendezvous {
    identities: Identities,
}

impl Rendezvous {
    /// The index of the backend that the key belongs to, of those that `admit`
    /// holds for; `None` where there is none.
    pub fn prefer(
        &mut self,
        key: u64,
        backends: &[Backend],
        admit: impl Fn(&Backend) -> bool,
    ) -> Option<usize> {
        let identities = self.identities.of(backends);
        let (mut best, mut lowest) = (None, f64::INFINITY);
        for (index, (backend, identity)) in backends.iter().zip(identities).enumerate() {
            let h = unit(mix(key ^ identity));
            let weight = f64::from(backend.weight.max(1));
            // 1 - h <= -ln(h), so most need no logarithm.
            if (1.0 - h) / weight >= lowest || !admit(backend) {
                continue;
            }
            let score = -h.ln() / weight;
            if score < lowest {
                (best, lowest) = (Some(index), score);
            }
        }
        best
    }
}

/// 53 of the bits as a number above 0 and up to 1.
fn unit(bits: u64) -> f64 {
    ((bits >> 11) + 1) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pool;
    use proptest::prelude::*;

    fn owner(rendezvous: &mut Rendezvous, key: u64, backends: &[Backend]) -> u32 {
        let index = rendezvous.prefer(mix(key), backends, |_| true);
        backends[index.expect("the list is not empty")].id
    }

    #[test]
    fn shares_go_by_weight() {
        let (backends, mut rendezvous) = (pool(&[5, 1, 4]), Rendezvous::default());
        let mut seen = [0u32; 3];
        for key in 0..20_000 {
            seen[owner(&mut rendezvous, key, &backends) as usize] += 1;
        }
        for (count, expected) in seen.iter().zip([10_000, 2_000, 8_000]) {
            assert!(count.abs_diff(expected) < 300, "{seen:?}");
        }
    }

    #[test]
    fn nobody_admitted_is_none() {
        assert_eq!(
            Rendezvous::default().prefer(1, &pool(&[1, 1]), |_| false),
            None
        );
        assert_eq!(Rendezvous::default().prefer(1, &[], |_| true), None);
    }

    proptest! {
        #[test]
        fn who_leaves_moves_only_its_own_keys(
            weights in prop::collection::vec(1u32..=65535, 2..12),
            leaves: prop::sample::Index,
            rotate: prop::sample::Index,
        ) {
            let (all, mut rendezvous) = (pool(&weights), Rendezvous::default());
            let leaves = leaves.index(all.len());
            let mut fewer = all.clone();
            fewer.remove(leaves);
            let turn = rotate.index(fewer.len());
            fewer.rotate_left(turn);
            for key in 0..200 {
                let before = owner(&mut rendezvous, key, &all);
                if before != leaves as u32 {
                    prop_assert_eq!(owner(&mut rendezvous, key, &fewer), before);
                }
            }
        }

        #[test]
        fn a_higher_weight_takes_keys_and_gives_none(
            weights in prop::collection::vec(1u32..1000, 2..8),
        ) {
            let (before, mut rendezvous) = (pool(&weights), Rendezvous::default());
            let mut after = before.clone();
            after[0].weight *= 2;
            for key in 0..200 {
                let new = owner(&mut rendezvous, key, &after);
                prop_assert!(new == 0 || new == owner(&mut rendezvous, key, &before));
            }
        }
    }
}
