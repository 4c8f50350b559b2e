//! The pool as one pick sees it.

use std::sync::Arc;

use super::live::LiveCell;
use super::{Membership, Row};
use crate::strategy::Candidates;

/// Latency and failures of backends without new samples are decayed anew this
/// often: 2^14 us is 0.16 % of the averages' time constant.
const DECAY_SHIFT: u32 = 14;

/// One worker's picture of a pool, brought up to date for every pick in place.
pub struct Snapshot {
    members: Arc<Membership>,
    /// Which of the members each row is about: those who take requests.
    active: Vec<u32>,
    /// Their cells side by side: a scan does not touch the members.
    cells: Vec<LiveCell>,
    /// All active members, in order.
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
    pub fn new(members: Arc<Membership>) -> Snapshot {
        let active = members.active();
        let all = members.rows();
        let rows: Vec<Row> = active.iter().map(|&index| all[index as usize]).collect();
        Snapshot {
            sampled_at: vec![0; rows.len()],
            decay_tick: u64::MAX,
            some: Vec::new(),
            index: Vec::new(),
            uncapped: rows.iter().all(|row| row.capacity == 0),
            filtered: false,
            cells: active
                .iter()
                .map(|&index| members.list[index as usize].cell.clone())
                .collect(),
            active,
            members,
            rows,
        }
    }

    /// Who the rows are about.
    pub fn members(&self) -> &Arc<Membership> {
        &self.members
    }

    /// Reads load, latency and failures as they are at `now_us`, and leaves
    /// out who is full or in `tried` (indices into the members).
    pub fn refresh(&mut self, now_us: u64, tried: &[usize]) {
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

    /// The row of every member that takes requests, full ones too.
    pub fn all(&self) -> &[Row] {
        &self.rows
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

    #[test]
    fn all_rows_are_used_in_place_while_everyone_is_eligible() {
        let members = members(r#"{ address = "127.0.0.1:1" }, { address = "127.0.0.1:2" }"#);
        let mut snapshot = Snapshot::new(Arc::clone(&members));
        let _held = InFlight::begin(&members.list[1].cell);
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
        let mut snapshot = Snapshot::new(Arc::clone(&members));
        let held = InFlight::begin(&members.list[0].cell);
        snapshot.refresh(1, &[1]);
        assert_eq!(snapshot.rows().len(), 1);
        assert_eq!(snapshot.member_of(0), 2);
        drop(held);
        snapshot.refresh(2, &[1]);
        assert_eq!(snapshot.rows().len(), 2);
    }

    #[test]
    fn who_drains_is_not_offered_and_tried_means_members() {
        let members = members(
            r#"{ address = "127.0.0.1:1", state = "drain" }, { address = "127.0.0.1:2" }, { address = "127.0.0.1:3" }, { address = "127.0.0.1:4", state = "maintenance" }"#,
        );
        let mut snapshot = Snapshot::new(members);
        snapshot.refresh(1, &[]);
        assert_eq!(snapshot.rows().len(), 2);
        assert_eq!((snapshot.member_of(0), snapshot.member_of(1)), (1, 2));
        snapshot.refresh(2, &[1]);
        assert_eq!(snapshot.rows().len(), 1);
        assert_eq!(snapshot.member_of(0), 2);
    }

    #[test]
    fn a_new_sample_shows_at_the_next_pick() {
        let members = members(r#"{ address = "127.0.0.1:1" }"#);
        let mut snapshot = Snapshot::new(Arc::clone(&members));
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
