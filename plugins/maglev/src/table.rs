//! The look-up table of "Maglev: A Fast and Reliable Software Network Load
//! Balancer" (NSDI 2016), section 3.4, with weights.

/// The table's length: the paper's, a prime.
pub const LENGTH: usize = 65_537;

/// A backend in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Hash of its name.
    pub identity: u64,
    /// At least 1.
    pub weight: u32,
}

/// Keys to members, the shares exact to one entry in 65,537.
#[derive(Debug, Default)]
pub struct Table {
    /// Ascending by identity, so that no other order matters.
    members: Vec<Member>,
    entries: Vec<u16>,
}

const FREE: u16 = u16::MAX;

impl Table {
    /// The members that the table was built for.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// A member's number.
    pub fn position(&self, identity: u64) -> Option<usize> {
        self.members
            .binary_search_by_key(&identity, |member| member.identity)
            .ok()
    }

    /// Builds the table for these, unless it is. At most 65,535 find a place.
    pub fn hold(&mut self, mut members: Vec<Member>) {
        members.sort_unstable_by_key(|member| member.identity);
        members.truncate(usize::from(FREE));
        if members != self.members {
            self.entries = entries(&members);
            self.members = members;
        }
    }

    /// The number of the member that the key belongs to, then those it falls to
    /// if that one is not there: each in proportion to its share at first, at
    /// last every one of them.
    pub fn members_of(&self, key: u64) -> impl Iterator<Item = usize> {
        const TRIES: u64 = 32;
        let entry = |at: u64| self.entries.get((at % LENGTH as u64) as usize);
        let tries = (1..TRIES).filter_map(move |tried| entry(scramble(key ^ scramble(tried))));
        let found = entry(key)
            .into_iter()
            .chain(tries)
            .map(|&member| usize::from(member));
        found.chain(0..self.members.len())
    }
}

/// Fills the table: the members take turns, in rounds in which each takes as
/// many as its weight allows, and each takes the first free entry of its own
/// permutation.
fn entries(members: &[Member]) -> Vec<u16> {
    if members.is_empty() {
        return Vec::new();
    }
    let quotas = quotas(members);
    let rounds = LENGTH.div_ceil(members.len()) as u64;
    let mut walks: Vec<Walk> = members.iter().map(Walk::of).collect();
    let mut due = vec![0u64; members.len()];
    let mut entries = vec![FREE; LENGTH];
    for _ in 0..rounds {
        for (number, walk) in walks.iter_mut().enumerate() {
            due[number] += quotas[number];
            while due[number] >= rounds {
                due[number] -= rounds;
                walk.take(&mut entries, number as u16);
            }
        }
    }
    entries
}

/// How many entries each gets: all of them together, in proportion to the
/// weights, the rounding in favour of the largest remainders; but at least one.
fn quotas(members: &[Member]) -> Vec<u64> {
    let total: u64 = members.iter().map(|member| u64::from(member.weight)).sum();
    let exact = |member: &Member| u64::from(member.weight) * LENGTH as u64;
    let mut quotas: Vec<u64> = members
        .iter()
        .map(|member| (exact(member) / total).max(1))
        .collect();
    let mut order: Vec<usize> = (0..members.len()).collect();
    let given: u64 = quotas.iter().sum();
    let length = LENGTH as u64;
    if given <= length {
        order.sort_by_key(|&number| std::cmp::Reverse(exact(&members[number]) % total));
        order
            .iter()
            .take((length - given) as usize)
            .for_each(|&number| quotas[number] += 1);
    } else {
        order.sort_by_key(|&number| std::cmp::Reverse(quotas[number]));
        let mut over = given - length;
        for number in order {
            let less = over.min(quotas[number] - 1);
            quotas[number] -= less;
            over -= less;
        }
    }
    quotas
}

/// One member's permutation of the entries.
struct Walk {
    next: usize,
    skip: usize,
}

impl Walk {
    fn of(member: &Member) -> Self {
        let length = LENGTH as u64;
        let next = member.identity % length;
        let skip = scramble(member.identity) % (length - 1) + 1;
        Self {
            next: next as usize,
            skip: skip as usize,
        }
    }

    fn take(&mut self, entries: &mut [u16], number: u16) {
        let free = loop {
            let entry = self.next;
            self.next += self.skip;
            if self.next >= LENGTH {
                self.next -= LENGTH;
            }
            if entries[entry] == FREE {
                break entry;
            }
        };
        entries[free] = number;
    }
}

fn scramble(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    let bits = (bits ^ (bits >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    bits ^ (bits >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(weights: &[u32]) -> Vec<Member> {
        let member = |(number, &weight)| Member {
            identity: scramble(number as u64 + 1),
            weight,
        };
        weights.iter().enumerate().map(member).collect()
    }

    fn table(members: Vec<Member>) -> Table {
        let mut table = Table::default();
        table.hold(members);
        table
    }

    /// Entries by member, in the order of the table's members.
    fn shares(table: &Table) -> Vec<u32> {
        let mut shares = vec![0; table.members.len()];
        table
            .entries
            .iter()
            .for_each(|&number| shares[usize::from(number)] += 1);
        shares
    }

    #[test]
    fn shares_are_exact_to_one_entry() {
        let table = table(members(&[1, 2, 3, 50, 7]));
        for (share, member) in shares(&table).into_iter().zip(table.members()) {
            let exact = member.weight as f64 * LENGTH as f64 / 63.0;
            assert!((f64::from(share) - exact).abs() <= 1.0, "{share} {exact}");
        }
    }

    #[test]
    fn even_the_lightest_of_very_many_has_an_entry() {
        let mut weights = vec![1; 5000];
        weights[17] = 65535;
        weights[18] = 65535;
        assert!(
            shares(&table(members(&weights)))
                .iter()
                .all(|&share| share > 0)
        );
    }

    #[test]
    fn the_order_does_not_matter() {
        let forwards = members(&[3, 1, 4, 1, 5]);
        let backwards = forwards.iter().rev().copied().collect();
        assert_eq!(table(forwards).entries, table(backwards).entries);
    }

    #[test]
    fn who_leaves_moves_little_more_than_its_own() {
        let all = members(&[1; 10]);
        let gone = all[4].identity;
        let before = table(all.clone());
        let after = table(
            all.into_iter()
                .filter(|member| member.identity != gone)
                .collect(),
        );
        let moved = (0..LENGTH).filter(|&entry| {
            let old = before.members[usize::from(before.entries[entry])];
            let new = after.members[usize::from(after.entries[entry])];
            old.identity != gone && old != new
        });
        let share = moved.count() as f64 / LENGTH as f64;
        assert!(share < 0.05, "{share}");
    }

    #[test]
    fn there_is_a_prime_number_of_entries() {
        assert!((2..256).all(|divisor| !LENGTH.is_multiple_of(divisor)));
    }

    #[test]
    fn an_empty_table_has_nobody_and_a_full_one_everybody() {
        assert_eq!(Table::default().members_of(7).next(), None);
        let table = table(members(&[1, 1, 65535]));
        for member in 0..3 {
            assert!(table.members_of(7).any(|found| found == member));
        }
    }
}
