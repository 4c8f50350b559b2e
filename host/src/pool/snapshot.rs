//! The pool as one pick sees it.

use std::sync::Arc;

use super::live::LiveCell;
use super::{Eligibility, Membership, Row};
use crate::strategy::Candidates;

/// Latency and failures of backends without new samples are decayed anew this
/// often: 2^14 us is 0.16 % of the averages' time constant.
const DECAY_SHIFT: u32 = 14;

/// One worker's picture of a pool, brought up to date for every pick in place.
pub struct Snapshot {
    members: Arc<Membership>,
    eligibility: Arc<Eligibility>,
    /// [`Eligibility::version`] that the rows are of.
    version: u64,
    /// The fixed part of each member's row.
    fixed: Vec<Row>,
    /// Which of the members each row is about: those who may be asked.
    active: Vec<u32>,
    /// Their cells side by side: a scan does not touch the members.
    cells: Vec<LiveCell>,
    /// All members who may be asked, in order.
    rows: Vec<Row>,
    /// `Live::sampled_at` that a row's latency and failures come from.
    sampled_at: Vec<u64>,
    decay_tick: u64,
    /// The eligible and untried ones, where that is not all.
    some: Vec<Row>,
    /// Index into `rows` of each row of `some`.
    index: Vec<u32>,
    /// Nobody has a capacity, so nobody is ever full.
    uncapped: bool,
    /// The last [`Snapshot::refresh`] left the answer in `some`.
    filtered: bool,
}

impl Snapshot {
    /// A picture of `members`; [`Snapshot::refresh`] fills in their load.
    pub fn new(members: Arc<Membership>, eligibility: Arc<Eligibility>) -> Snapshot {
        let mut snapshot = Snapshot {
            version: eligibility.version(),
            eligibility,
            fixed: members.rows(),
            members,
            active: Vec::new(),
            cells: Vec::new(),
            rows: Vec::new(),
            sampled_at: Vec::new(),
            decay_tick: u64::MAX,
            some: Vec::new(),
            index: Vec::new(),
            uncapped: true,
            filtered: false,
        };
        snapshot.rebuild();
        snapshot
    }

    /// Takes up what changed in the members' standings. [`Snapshot::refresh`]
    /// does so too.
    #[inline]
    pub fn keep_up(&mut self) {
        let version = self.eligibility.version();
        if version != self.version {
            // Before the standings are read: what changes from now on is another version.
            self.version = version;
            self.rebuild();
        }
    }

    /// Changes when membership, weights or eligibility change, and never back.
    pub fn generation(&self) -> u32 {
        // Both only grow, so no sum comes twice.
        self.members.generation.wrapping_add(self.version as u32)
    }

    #[cold]
    fn rebuild(&mut self) {
        self.active = self.members.eligible();
        let each = || self.active.iter().map(|&index| index as usize);
        self.rows = each().map(|index| self.fixed[index]).collect();
        let cell = |index: usize| self.members.list[index].cell.clone();
        self.cells = each().map(cell).collect();
        self.uncapped = self.rows.iter().all(|row| row.capacity == 0);
        self.sampled_at = vec![0; self.rows.len()];
        // All rows are new: each is read, whatever its last sample.
        self.decay_tick = u64::MAX;
    }

    /// Who the rows are about.
    pub fn members(&self) -> &Arc<Membership> {
        &self.members
    }

    /// Reads load, latency and failures as they are at `now_us`, and leaves
    /// out who is full or in `tried` (indices into the members).
    pub fn refresh(&mut self, now_us: u64, tried: &[usize]) {
        self.keep_up();
        let tick = now_us >> DECAY_SHIFT;
        let decay = tick != std::mem::replace(&mut self.decay_tick, tick);
        let mut any_full = false;
        for ((row, seen), live) in self
            .rows
            .iter_mut()
            .zip(&mut self.sampled_at)
            .zip(&self.cells)
        {
            row.in_flight = live.in_flight();
            any_full |= row.is_full();
            let sampled_at = live.sampled_at();
            if decay || sampled_at != *seen {
                *seen = sampled_at;
                row.latency_us = live.latency_us(now_us);
                row.failures = live.failures(now_us);
            }
        }
        self.filtered = any_full || !tried.is_empty();
        if self.filtered {
            self.filter(tried);
        }
    }

    /// The eligible and untried backends, as of the last refresh. May be empty.
    pub fn rows(&self) -> &[Row] {
        if self.filtered {
            &self.some
        } else {
            &self.rows
        }
    }

    /// The row of every member that may be asked, full ones too.
    pub fn all(&self) -> &[Row] {
        &self.rows
    }

    /// Nobody who may be asked is left but those in `tried`, whatever their load.
    pub fn is_exhausted(&self, tried: &[usize]) -> bool {
        let mut active = self.active.iter();
        active.all(|&member| tried.contains(&(member as usize)))
    }

    /// Which member the row at `index` of [`Snapshot::rows`] is about.
    pub fn member_of(&self, index: usize) -> usize {
        let row = if self.filtered {
            self.index[index] as usize
        } else {
            index
        };
        self.active(row)
    }

    /// Which member the row at `index` of [`Snapshot::all`] is about.
    pub fn active(&self, index: usize) -> usize {
        self.active[index] as usize
    }

    /// Every member in [`Snapshot::all`] is eligible whatever its load: those who need only a few
    /// rows may look at them as [`Candidates`], without a refresh.
    pub fn is_uncapped(&self) -> bool {
        self.uncapped
    }

    fn filter(&mut self, tried: &[usize]) {
        self.some.clear();
        self.index.clear();
        for (index, row) in self.rows.iter().enumerate() {
            if !row.is_full() && !tried.contains(&self.active(index)) {
                self.some.push(*row);
                self.index.push(index as u32);
            }
        }
    }
}

/// All active members, with their load read at the moment somebody looks. Latency and
/// failures are those of the last refresh.
impl Candidates for Snapshot {
    fn len(&self) -> usize {
        self.rows.len()
    }

    #[inline]
    fn row(&self, index: usize) -> Row {
        Row {
            in_flight: self.in_flight(index),
            ..self.rows[index]
        }
    }

    #[inline]
    fn id(&self, index: usize) -> u32 {
        self.rows[index].id
    }

    #[inline]
    fn in_flight(&self, index: usize) -> u32 {
        self.cells[index].in_flight()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::{InFlight, Sample};

    fn members(toml_backends: &str) -> Arc<Membership> {
        let text = format!(
            "[[listeners]]\naddress = \"127.0.0.1:0\"\n[pools.p]\nstrategy = \"fallback\"\nbackends = [{toml_backends}]\n"
        );
        let settings =
            crate::config::parse(&text, std::path::Path::new("test.toml")).expect("test settings");
        Arc::new(Membership::new(&settings.pools[0], None))
    }

    fn snapshot_of(members: &Arc<Membership>) -> Snapshot {
        Snapshot::new(Arc::clone(members), Arc::default())
    }

    #[test]
    fn all_rows_are_used_in_place_while_everyone_is_eligible() {
        let members = members(r#"{ address = "127.0.0.1:1" }, { address = "127.0.0.1:2" }"#);
        let mut snapshot = snapshot_of(&members);
        let _held = InFlight::reserve(&members.list[1].cell, 0);
        snapshot.refresh(1, &[]);
        assert_eq!(
            snapshot
                .rows()
                .iter()
                .map(|row| row.in_flight)
                .collect::<Vec<_>>(),
            [0, 1]
        );
        assert_eq!(snapshot.member_of(1), 1);
    }

    #[test]
    fn full_and_tried_backends_are_left_out() {
        let members = members(
            r#"{ address = "127.0.0.1:1", capacity = 1 }, { address = "127.0.0.1:2" }, { address = "127.0.0.1:3" }"#,
        );
        let mut snapshot = snapshot_of(&members);
        let held = InFlight::reserve(&members.list[0].cell, 1);
        snapshot.refresh(1, &[1]);
        assert_eq!(snapshot.rows().len(), 1);
        assert_eq!(snapshot.member_of(0), 2);
        assert!(!snapshot.is_exhausted(&[1, 2]), "full is not tried");
        assert!(snapshot.is_exhausted(&[2, 0, 1]));
        drop(held);
        snapshot.refresh(2, &[1]);
        assert_eq!(snapshot.rows().len(), 2);
    }

    #[test]
    fn who_drains_is_not_offered_and_tried_means_members() {
        let members = members(
            r#"{ address = "127.0.0.1:1", state = "drain" }, { address = "127.0.0.1:2" }, { address = "127.0.0.1:3" }, { address = "127.0.0.1:4", state = "maintenance" }"#,
        );
        let mut snapshot = snapshot_of(&members);
        snapshot.refresh(1, &[]);
        assert_eq!(snapshot.rows().len(), 2);
        assert_eq!((snapshot.member_of(0), snapshot.member_of(1)), (1, 2));
        snapshot.refresh(2, &[1]);
        assert_eq!(snapshot.rows().len(), 1);
        assert_eq!(snapshot.member_of(0), 2);
    }

    #[test]
    fn a_change_of_standing_shows_at_the_next_pick() {
        let members = members(r#"{ address = "127.0.0.1:1" }, { address = "127.0.0.1:2" }"#);
        let eligibility = Arc::new(Eligibility::default());
        let mut snapshot = Snapshot::new(Arc::clone(&members), Arc::clone(&eligibility));
        let before = snapshot.generation();
        assert!(members.list[0].standing.set_healthy(false));
        eligibility.changed();
        snapshot.refresh(1, &[]);
        assert_eq!(snapshot.rows().len(), 1);
        assert_eq!(snapshot.member_of(0), 1);
        assert!(snapshot.generation() > before);
        members.list[1].standing.set_ejected(true);
        eligibility.changed();
        snapshot.refresh(2, &[]);
        assert_eq!(snapshot.rows().len(), 2, "anybody is better than nobody");
    }

    #[test]
    fn a_new_sample_shows_at_the_next_pick() {
        let members = members(r#"{ address = "127.0.0.1:1" }"#);
        let mut snapshot = snapshot_of(&members);
        snapshot.refresh(1_000_000, &[]);
        assert_eq!(snapshot.rows()[0].latency_us, 0);
        members.list[0].cell.record(
            Sample {
                latency_us: Some(700),
                failed: false,
            },
            1_000_001,
        );
        snapshot.refresh(1_000_002, &[]);
        assert_eq!(snapshot.rows()[0].latency_us, 699);
    }
}
