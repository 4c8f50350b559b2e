//! The pool as one pick sees it.

use std::sync::Arc;

use super::levels::{self, Level};
use super::live::LiveCell;
use super::members::MemberLevel;
use super::{Eligibility, Membership, Row, advice, growth};
use crate::config::{PoolSettings, Priorities};
use crate::strategy::Candidates;

/// Latency and failures of backends without new samples are decayed anew, and
/// reports of load looked at, this often: 2^14 us is 0.16 % of the averages' time constant.
const DECAY_SHIFT: u32 = 14;

/// What a pool's settings say of who may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Fewer eligible ones than this, in percent: all are asked.
    panic_threshold: u8,
    /// Priorities are the proxy's matter and not the strategy's.
    by_priority: bool,
    /// How long a backend that came back takes to its full weight; 0 = no time.
    slow_start_us: u64,
}

impl From<&PoolSettings> for Rules {
    fn from(pool: &PoolSettings) -> Rules {
        Rules {
            panic_threshold: pool.panic_threshold,
            by_priority: pool.priorities == Priorities::Proxy,
            slow_start_us: u64::try_from(pool.slow_start.as_micros()).unwrap_or(u64::MAX),
        }
    }
}

/// One worker's picture of a pool, brought up to date for every pick in place.
pub struct Snapshot {
    members: Arc<Membership>,
    eligibility: Arc<Eligibility>,
    rules: Rules,
    /// [`Eligibility::version`] that the lanes are of.
    version: u64,
    /// The fixed part of each member's row.
    fixed: Vec<Row>,
    /// First choice first; at least one. More than one only where there are
    /// priorities.
    lanes: Vec<Lane>,
    /// The one that the last [`Snapshot::refresh`] was about.
    lane: usize,
    /// Its eligible and untried ones, where that is not all.
    some: Vec<Row>,
    /// Index into the lane's rows of each row of `some`.
    index: Vec<u32>,
    /// The last [`Snapshot::refresh`] left the answer in `some`.
    filtered: bool,
}

/// The members that a request is offered together: those of one priority.
struct Lane {
    /// Requests whose draw, 0 to 99, is below this and not below that of the
    /// lane before are its own.
    up_to: u32,
    /// Which of the members each row is about: those who may be asked.
    active: Vec<u32>,
    /// Their cells side by side: a scan does not touch the members.
    cells: Vec<LiveCell>,
    /// One for each, in order.
    rows: Vec<Row>,
    /// `Live::sampled_at` that a row's latency and failures come from.
    sampled_at: Vec<u64>,
    decay_tick: u64,
    /// Nobody has a capacity, so nobody is ever full.
    uncapped: bool,
    /// In a panic: those that something speaks against. They are asked once,
    /// for want of better ones, and never as the second choice of a request.
    doubtful: Vec<u32>,
}

impl Snapshot {
    /// A picture of `members`; [`Snapshot::refresh`] fills in their load.
    pub fn new(
        members: Arc<Membership>,
        eligibility: Arc<Eligibility>,
        rules: Rules,
        now_us: u64,
    ) -> Snapshot {
        let mut snapshot = Snapshot {
            version: eligibility.version(),
            eligibility,
            rules,
            fixed: members.rows(),
            members,
            lanes: Vec::new(),
            lane: 0,
            some: Vec::new(),
            index: Vec::new(),
            filtered: false,
        };
        snapshot.rebuild(now_us);
        snapshot
    }

    /// Takes up what changed in the members' standings. [`Snapshot::refresh`]
    /// does so too.
    #[inline]
    pub fn keep_up(&mut self, now_us: u64) {
        let version = self.eligibility.version();
        if version != self.version {
            // Before the standings are read: what changes from now on is another version.
            self.version = version;
            self.rebuild(now_us);
        }
    }

    /// Changes when membership, weights or eligibility change, and never back.
    pub fn generation(&self) -> u32 {
        // Both only grow, so no sum comes twice.
        self.members.generation.wrapping_add(self.version as u32)
    }

    #[cold]
    fn rebuild(&mut self, now_us: u64) {
        let rows = self.grown_rows(now_us);
        let levels = self.members.levels(self.rules.by_priority);
        let counts: Vec<Level> = levels.iter().map(|level| level.count()).collect();
        let shares = levels::shares(&counts, self.rules.panic_threshold);
        self.eligibility
            .panics(shares.iter().any(|share| share.panics));
        let mut up_to = 0;
        self.lanes.clear();
        for (level, share) in levels.into_iter().zip(shares) {
            up_to += share.percent;
            let lane = Lane::new(level, share.panics, up_to, &self.members, &rows);
            self.lanes.push(lane);
        }
        self.lane = 0;
        self.filtered = false;
    }

    /// The fixed part of each row with the weight that it has now: what its agent
    /// leaves of it, as far as it has grown.
    fn grown_rows(&self, now_us: u64) -> Vec<Row> {
        let mut rows = self.fixed.clone();
        let percents: Vec<u32> = self.percents().collect();
        advice::apply(&mut rows, &percents);
        let window = self.rules.slow_start_us;
        let members = self.members.list.iter();
        let steps: Vec<Option<u64>> = members
            .map(|member| {
                let since = member.standing.returned_us(now_us)?;
                let step = growth::step(now_us.saturating_sub(since), window)?;
                self.eligibility
                    .step_at(growth::next_us(since, step, window));
                Some(step)
            })
            .collect();
        growth::apply(&mut rows, &steps);
        rows
    }

    /// How much of its weight each member's agent leaves it.
    fn percents(&self) -> impl Iterator<Item = u32> {
        let members = self.members.list.iter();
        members.map(|member| member.standing.advice().percent)
    }

    /// Who the rows are about.
    pub fn members(&self) -> &Arc<Membership> {
        &self.members
    }

    /// Reads load, reports, latency and failures as they are at `now_us` of those whom
    /// this request (`random` bits of its own) is offered, and leaves out who is
    /// full or in `tried` (indices into the members). Where nobody is left of
    /// one priority, those of the next are offered.
    pub fn refresh(&mut self, now_us: u64, tried: &[usize], random: u64) {
        self.keep_up(now_us);
        let drawn = self.draw(random);
        self.read(drawn, now_us, tried);
        if self.rows().is_empty() {
            self.read_another(drawn, now_us, tried);
        }
    }

    /// All rows of all lanes as they are at `now_us`, full ones too.
    pub fn everyone(&mut self, now_us: u64) -> Vec<Row> {
        self.keep_up(now_us);
        let mut rows = Vec::new();
        for lane in &mut self.lanes {
            lane.read(now_us);
            rows.extend_from_slice(&lane.rows);
        }
        rows
    }

    /// The eligible and untried backends, as of the last refresh. May be empty.
    pub fn rows(&self) -> &[Row] {
        if self.filtered {
            &self.some
        } else {
            &self.lane().rows
        }
    }

    /// Nobody who may be asked is left but those in `tried`, whatever their load.
    pub fn is_exhausted(&self, tried: &[usize]) -> bool {
        self.lanes.iter().all(|lane| {
            let mut members = lane.active.iter();
            members.all(|&member| !lane.offers(member, tried))
        })
    }

    /// This member may be asked.
    pub fn has(&self, member: usize) -> bool {
        let member = member as u32;
        self.lanes.iter().any(|lane| lane.active.contains(&member))
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

    /// Which member the candidate at `index` is.
    pub fn active(&self, index: usize) -> usize {
        self.lane().active[index] as usize
    }

    /// Everybody may be looked at as [`Candidates`] without a refresh: there are
    /// no priorities, and nobody is ever full.
    pub fn is_simple(&self) -> bool {
        self.lanes.len() == 1 && self.lanes[0].uncapped
    }

    fn lane(&self) -> &Lane {
        &self.lanes[self.lane]
    }

    #[inline]
    fn draw(&self, random: u64) -> usize {
        if self.lanes.len() == 1 {
            return 0;
        }
        // Other bits than those that strategies draw from.
        let draw = (random.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % 100;
        let own = |lane: &Lane| draw < u64::from(lane.up_to);
        self.lanes.iter().position(own).unwrap_or(0)
    }

    #[inline]
    fn read(&mut self, lane: usize, now_us: u64, tried: &[usize]) {
        self.lane = lane;
        let any_full = self.lanes[lane].read(now_us);
        self.filtered = any_full || !tried.is_empty();
        if self.filtered {
            self.filter(tried);
        }
    }

    #[cold]
    fn read_another(&mut self, drawn: usize, now_us: u64, tried: &[usize]) {
        for lane in (0..self.lanes.len()).filter(|&lane| lane != drawn) {
            self.read(lane, now_us, tried);
            if !self.rows().is_empty() {
                return;
            }
        }
    }

    fn filter(&mut self, tried: &[usize]) {
        self.some.clear();
        self.index.clear();
        let lane = &self.lanes[self.lane];
        for (index, (row, &member)) in lane.rows.iter().zip(&lane.active).enumerate() {
            if !row.is_full() && lane.offers(member, tried) {
                self.some.push(*row);
                self.index.push(index as u32);
            }
        }
    }
}

impl Lane {
    fn new(
        level: MemberLevel,
        panics: bool,
        up_to: u32,
        members: &Membership,
        rows: &[Row],
    ) -> Lane {
        let doubtful = match panics {
            true => level.doubtful(),
            false => Vec::new(),
        };
        let active = match panics {
            true => level.active,
            false => level.eligible,
        };
        let each = || active.iter().map(|&index| index as usize);
        let rows: Vec<Row> = each().map(|index| rows[index]).collect();
        Lane {
            up_to,
            cells: each()
                .map(|index| members.list[index].cell.clone())
                .collect(),
            uncapped: rows.iter().all(|row| row.capacity == 0),
            sampled_at: vec![0; rows.len()],
            // All rows are new: each is read, whatever its last sample.
            decay_tick: u64::MAX,
            rows,
            active,
            doubtful,
        }
    }

    /// Brings the rows up to date; true when somebody is full.
    #[inline]
    fn read(&mut self, now_us: u64) -> bool {
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
                row.utilization = live.utilization(now_us);
            }
        }
        any_full
    }

    /// `member`, one of the active ones, may be asked after those in `tried`.
    fn offers(&self, member: u32, tried: &[usize]) -> bool {
        tried.is_empty()
            || (!tried.contains(&(member as usize)) && !self.doubtful.contains(&member))
    }
}

/// Whom the last refresh was about, with their load read at the moment somebody looks. Latency and
/// failures are those of the last refresh.
impl Candidates for Snapshot {
    fn len(&self) -> usize {
        self.lane().rows.len()
    }

    #[inline]
    fn row(&self, index: usize) -> Row {
        Row {
            in_flight: self.in_flight(index),
            ..self.lane().rows[index]
        }
    }

    #[inline]
    fn id(&self, index: usize) -> u32 {
        self.lane().rows[index].id
    }

    #[inline]
    fn in_flight(&self, index: usize) -> u32 {
        self.lane().cells[index].in_flight()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::{InFlight, Sample};

    const RULES: Rules = Rules {
        panic_threshold: 50,
        by_priority: true,
        slow_start_us: 0,
    };

    fn members(toml_backends: &str) -> Arc<Membership> {
        let text = format!(
            "[[listeners]]\naddress = \"127.0.0.1:0\"\n[pools.p]\nstrategy = \"fallback\"\nbackends = [{toml_backends}]\n"
        );
        let settings =
            crate::config::parse(&text, std::path::Path::new("test.toml")).expect("test settings");
        Arc::new(Membership::new(&settings.pools[0], None))
    }

    fn snapshot_of(members: &Arc<Membership>) -> Snapshot {
        Snapshot::new(Arc::clone(members), Arc::default(), RULES, 0)
    }

    #[test]
    fn all_rows_are_used_in_place_while_everyone_is_eligible() {
        let members = members(r#"{ address = "127.0.0.1:1" }, { address = "127.0.0.1:2" }"#);
        let mut snapshot = snapshot_of(&members);
        let _held = InFlight::reserve(members.list[1].cell.clone(), 0);
        snapshot.refresh(1, &[], 0);
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
        let held = InFlight::reserve(members.list[0].cell.clone(), 1);
        snapshot.refresh(1, &[1], 0);
        assert_eq!(snapshot.rows().len(), 1);
        assert_eq!(snapshot.member_of(0), 2);
        assert!(!snapshot.is_exhausted(&[1, 2]), "full is not tried");
        assert!(snapshot.is_exhausted(&[2, 0, 1]));
        drop(held);
        snapshot.refresh(2, &[1], 0);
        assert_eq!(snapshot.rows().len(), 2);
    }

    #[test]
    fn who_drains_is_not_offered_and_tried_means_members() {
        let members = members(
            r#"{ address = "127.0.0.1:1", state = "drain" }, { address = "127.0.0.1:2" }, { address = "127.0.0.1:3" }, { address = "127.0.0.1:4", state = "maintenance" }"#,
        );
        let mut snapshot = snapshot_of(&members);
        snapshot.refresh(1, &[], 0);
        assert_eq!(snapshot.rows().len(), 2);
        assert_eq!((snapshot.member_of(0), snapshot.member_of(1)), (1, 2));
        snapshot.refresh(2, &[1], 0);
        assert_eq!(snapshot.rows().len(), 1);
        assert_eq!(snapshot.member_of(0), 2);
    }

    #[test]
    fn a_change_of_standing_shows_at_the_next_pick() {
        let members = members(r#"{ address = "127.0.0.1:1" }, { address = "127.0.0.1:2" }"#);
        let eligibility = Arc::new(Eligibility::default());
        let mut snapshot = Snapshot::new(Arc::clone(&members), Arc::clone(&eligibility), RULES, 0);
        let before = snapshot.generation();
        assert!(members.list[0].standing.set_healthy(false));
        eligibility.changed();
        snapshot.refresh(1, &[], 0);
        assert_eq!(snapshot.rows().len(), 1);
        assert_eq!(snapshot.member_of(0), 1);
        assert!(snapshot.generation() > before);
        members.list[1].standing.set_ejected(true);
        eligibility.changed();
        snapshot.refresh(2, &[], 0);
        assert_eq!(snapshot.rows().len(), 2, "anybody is better than nobody");
    }

    #[test]
    fn a_new_sample_shows_at_the_next_pick() {
        let members = members(r#"{ address = "127.0.0.1:1" }"#);
        let mut snapshot = snapshot_of(&members);
        snapshot.refresh(1_000_000, &[], 0);
        assert_eq!(snapshot.rows()[0].latency_us, 0);
        members.list[0].cell.record(
            Sample {
                latency_us: Some(700),
                failed: false,
            },
            1_000_001,
        );
        snapshot.refresh(1_000_002, &[], 0);
        assert_eq!(snapshot.rows()[0].latency_us, 699);
    }
}
