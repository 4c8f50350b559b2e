//! Where conversations have been lately, in bounded memory.

use std::collections::HashMap;

/// Backends that are remembered for each.
const EACH: usize = 3;

/// By key, the ids of the backends whose caches are warm for it.
///
/// There are two maps: when the young one is full it becomes the old one, whose keys are
/// forgotten unless they were used meanwhile. That keeps the most recently used half of
/// what is remembered, and costs the same for each request.
#[derive(Debug)]
pub struct Warmth {
    young: HashMap<u64, Places>,
    old: HashMap<u64, Places>,
    /// Most keys in each of the two.
    half: usize,
    /// How long a place stays warm unused, in seconds.
    stays: u32,
}

/// The last few, the latest first.
#[derive(Debug, Clone, Copy, Default)]
struct Places([Option<Place>; EACH]);

#[derive(Debug, Clone, Copy)]
struct Place {
    id: u32,
    /// In seconds of the proxy's clock: there may be many of these.
    used: u32,
}

impl Warmth {
    /// For at most so many keys, at least 2; a place is warm for so many microseconds
    /// after it was used.
    pub fn of(keys: usize, stays_us: u64) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            half: (keys / 2).max(1),
            stays: seconds(stays_us),
        }
    }

    /// The ids of the backends that are warm for this key now, the latest first.
    pub fn of_key(&self, key: u64, now_us: u64) -> impl Iterator<Item = u32> {
        let places = self.young.get(&key).or_else(|| self.old.get(&key));
        let places = places.into_iter().flat_map(|places| places.0).flatten();
        let (now, stays) = (seconds(now_us), self.stays);
        let warm = places.filter(move |place| now.saturating_sub(place.used) <= stays);
        warm.map(|place| place.id)
    }

    /// The key's request goes to this backend.
    pub fn add(&mut self, key: u64, id: u32, now_us: u64) {
        let used = seconds(now_us);
        let before = self.young.get(&key).or_else(|| self.old.get(&key));
        let places = before.copied().unwrap_or_default();
        let others = places.0.into_iter().flatten().filter(|one| one.id != id);
        let mut all = std::iter::once(Place { id, used }).chain(others);
        let places = Places(std::array::from_fn(|_| all.next()));
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            // What was allocated is used again.
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(key, places);
    }
}

fn seconds(us: u64) -> u32 {
    u32::try_from(us / 1_000_000).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn warm(warmth: &Warmth, key: u64, second: u64) -> Vec<u32> {
        warmth.of_key(key, second * SECOND).collect()
    }

    #[test]
    fn the_last_three_places_are_warm_and_only_for_a_while() {
        let mut warmth = Warmth::of(100, 10 * SECOND);
        for (second, id) in [(0, 1), (1, 2), (2, 3), (3, 2), (4, 4)] {
            warmth.add(7, id, second * SECOND);
        }
        assert_eq!(warm(&warmth, 7, 5), [4, 2, 3]);
        assert_eq!(warm(&warmth, 7, 13), [4, 2]);
        assert!(warm(&warmth, 7, 15).is_empty());
        assert!(warm(&warmth, 8, 5).is_empty());
    }

    #[test]
    fn no_more_keys_than_allowed_are_remembered_and_who_comes_often_is() {
        let mut warmth = Warmth::of(1_000, u64::MAX);
        for key in 0..100_000 {
            warmth.add(key, 1, key);
            if key.is_multiple_of(100) {
                warmth.add(u64::MAX, 9, key);
            }
            assert!(warmth.young.len() + warmth.old.len() <= 1_000);
        }
        assert_eq!(warm(&warmth, u64::MAX, 0), [9]);
        assert_eq!(warm(&warmth, 99_999, 0), [1]);
        assert!(warm(&warmth, 5, 0).is_empty());
    }
}
