//! Which backends the pool has, as far as they were ever listed, and how many
//! of them are listed now, by priority and zone.
//!
//! The contract lists only the backends that may be asked. One that was never
//! listed since the plugin was loaded is not known here, and not missed.

use anubis_strategy::Backend;

/// The pool's backends by priority.
#[derive(Debug, Default)]
pub struct Pool {
    generation: Option<u32>,
    /// The last list's backends.
    listed: Vec<u32>,
    /// Ascending by id.
    members: Vec<Member>,
    levels: Vec<Level>,
}

#[derive(Debug, Clone, Copy)]
struct Member {
    id: u32,
    priority: u32,
    in_own_zone: bool,
}

/// The backends of one priority.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// The lower, the earlier.
    pub priority: u32,
    /// Those in the proxy's zone.
    pub own_zone: Count,
    /// The others.
    pub other_zones: Count,
}

/// How many there are, and how many of them are listed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    pub all: u64,
    pub listed: u64,
}

impl Level {
    /// Both zones' together.
    pub fn all(&self) -> Count {
        Count {
            all: self.own_zone.all + self.other_zones.all,
            listed: self.own_zone.listed + self.other_zones.listed,
        }
    }
}

impl Count {
    /// The part of all requests that they can take, in thousandths, when they
    /// are made for `overprovisioning` thousandths of them.
    pub fn capacity(&self, overprovisioning: u64) -> u64 {
        (self.listed * overprovisioning / self.all.max(1)).min(1000)
    }
}

impl Pool {
    /// The levels of the last list, ascending by priority.
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// Takes note of a list. A backend that is not in it is forgotten where it
    /// is not a member of the pool any more, which only a new generation can
    /// bring about.
    pub fn see(&mut self, generation: u32, backends: &[Backend], is_member: impl Fn(u32) -> bool) {
        let ids = backends.iter().map(|backend| backend.id);
        let is_new_generation = self.generation != Some(generation);
        if !is_new_generation && ids.clone().eq(self.listed.iter().copied()) {
            return;
        }
        self.listed = ids.collect();
        self.generation = Some(generation);
        if is_new_generation {
            self.members.retain(|member| is_member(member.id));
        }
        let of = |backend: &Backend| Member {
            id: backend.id,
            priority: backend.priority,
            in_own_zone: backend.in_own_zone(),
        };
        // The sort is stable: of two with one id the listed one comes first and stays.
        self.members = backends
            .iter()
            .map(of)
            .chain(self.members.iter().copied())
            .collect();
        self.members.sort_by_key(|member| member.id);
        self.members.dedup_by_key(|member| member.id);
        self.count();
    }

    fn count(&mut self) {
        let mut listed = self.listed.clone();
        listed.sort_unstable();
        self.levels.clear();
        let mut by_priority: Vec<&Member> = self.members.iter().collect();
        by_priority.sort_by_key(|member| member.priority);
        for member in by_priority {
            if self
                .levels
                .last()
                .is_none_or(|level| level.priority != member.priority)
            {
                self.levels.push(Level {
                    priority: member.priority,
                    ..Level::default()
                });
            }
            let Some(level) = self.levels.last_mut() else {
                continue;
            };
            let zone = if member.in_own_zone {
                &mut level.own_zone
            } else {
                &mut level.other_zones
            };
            zone.all += 1;
            zone.listed += u64::from(listed.binary_search(&member.id).is_ok());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(id: u32, priority: u32, state: u32) -> Backend {
        Backend {
            id,
            priority,
            state,
            weight: 1,
            ..Backend::default()
        }
    }

    fn count(all: u64, listed: u64) -> Count {
        Count { all, listed }
    }

    #[test]
    fn counts_by_priority_and_zone() {
        let mut pool = Pool::default();
        let all = [
            backend(4, 7, 0),
            backend(2, 0, 2),
            backend(3, 0, 0),
            backend(9, 0, 2),
        ];
        pool.see(1, &all, |_| true);
        let first = Level {
            priority: 0,
            own_zone: count(2, 2),
            other_zones: count(1, 1),
        };
        let second = Level {
            priority: 7,
            own_zone: count(0, 0),
            other_zones: count(1, 1),
        };
        assert_eq!(pool.levels(), [first, second]);

        pool.see(2, &all[1..3], |_| true);
        let first = Level {
            own_zone: count(2, 1),
            ..first
        };
        let second = Level {
            other_zones: count(1, 0),
            ..second
        };
        assert_eq!(pool.levels(), [first, second]);
    }

    #[test]
    fn who_left_the_pool_is_forgotten_and_who_moved_counts_where_it_is() {
        let mut pool = Pool::default();
        pool.see(
            1,
            &[backend(1, 0, 0), backend(2, 0, 0), backend(3, 0, 0)],
            |_| true,
        );
        pool.see(2, &[backend(1, 1, 0)], |id| id != 2);
        let levels = [0, 1].map(|priority| Level {
            priority,
            ..Level::default()
        });
        let first = Level {
            other_zones: count(1, 0),
            ..levels[0]
        };
        let second = Level {
            other_zones: count(1, 1),
            ..levels[1]
        };
        assert_eq!(pool.levels(), [first, second]);
    }

    #[test]
    fn capacity_is_the_listed_share_times_the_overprovisioning() {
        let capacities = [(7, 7), (7, 5), (7, 4), (4, 0), (0, 0)]
            .map(|(all, listed)| count(all, listed).capacity(1400));
        assert_eq!(capacities, [1000, 1000, 800, 0, 0]);
    }
}
