//! The members of a pool in one generation: fixed facts and stable identities.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::levels::Level;
use super::live::{Columns, LiveCell};
use super::{Row, Standing};
use crate::config::{BackendSettings, BackendState, HealthStart, PoolSettings, Target};
use crate::health;
use crate::strategy;
use crate::telemetry::metrics::{BackendCounts, Ledger};

/// One backend of one generation.
pub struct Member {
    /// Stable: the same name and address keep it across reloads; never used
    /// again for another backend of the pool.
    pub id: u32,
    pub settings: BackendSettings,
    /// `settings.address` as text: how requests name it.
    pub address: Arc<str>,
    /// Where its connections go: the IP address that its name was told to lead
    /// to, otherwise its address.
    pub target: Arc<str>,
    /// Its live cell, which it keeps across reloads as it keeps its id.
    pub cell: LiveCell,
    /// Whether it may be asked, which it keeps likewise.
    pub standing: Arc<Standing>,
    /// What its health checks found out, which it keeps likewise.
    pub health: Arc<health::Record>,
    /// What its agent said, which it keeps likewise.
    pub agent: Arc<health::AgentRecord>,
    /// What was counted of it, which it keeps likewise.
    pub counts: Arc<Ledger<BackendCounts>>,
}

/// Who is in the pool. Immutable; a reload makes a new one.
pub struct Membership {
    /// In the order written.
    pub list: Vec<Member>,
    /// Moves on when members, weights or anything else of a row's fixed part change.
    pub generation: u32,
    own_zone: Option<String>,
    /// Zone names by interned number less one; numbers never change their name.
    zones: Vec<String>,
    next_id: u32,
    columns: Columns,
    index_of: FxHashMap<u32, usize>,
}

impl Membership {
    /// The members that `settings` name. Backends that `previous` has too, by
    /// name and address, keep id and live cell.
    pub fn new(settings: &PoolSettings, previous: Option<&Membership>) -> Membership {
        let mut membership = Membership {
            list: Vec::with_capacity(settings.backends.len()),
            generation: previous.map_or(0, |old| old.generation),
            own_zone: settings.zone.clone(),
            zones: previous.map(|old| old.zones.clone()).unwrap_or_default(),
            next_id: previous.map_or(1, |old| old.next_id),
            columns: previous.map(|old| old.columns.clone()).unwrap_or_default(),
            index_of: FxHashMap::default(),
        };
        let kept = previous.map(Membership::by_identity).unwrap_or_default();
        let checks = settings.health_check.as_ref();
        let start = checks.map_or(HealthStart::Healthy, |checks| checks.start);
        for backend in &settings.backends {
            let member = match kept.get(&identity(backend)) {
                Some(old) => old.with_settings(backend.clone()),
                None => membership.admit(backend.clone(), start, previous.is_some()),
            };
            membership.intern_zone(backend.zone.as_deref());
            membership.index_of.insert(member.id, membership.list.len());
            membership.list.push(member);
        }
        membership.intern_zone(settings.zone.as_deref());
        if previous.is_none_or(|old| !old.same_as(&membership)) {
            membership.generation += 1;
        }
        membership
    }

    /// The fixed part of each member's row, in order.
    pub fn rows(&self) -> Vec<Row> {
        self.list
            .iter()
            .map(|member| {
                let own = self.own_zone.is_some() && member.settings.zone == self.own_zone;
                Row {
                    id: member.id,
                    weight: member.settings.weight.get().into(),
                    capacity: member.settings.capacity,
                    priority: member.settings.priority,
                    zone: self.zone_number(member.settings.zone.as_deref()),
                    state: if own { Row::OWN_ZONE } else { 0 },
                    ..Row::default()
                }
            })
            .collect()
    }

    /// The members that take requests by their priority, first choice first, as
    /// their standings are now; all together where priorities do not matter.
    pub fn levels(&self, by_priority: bool) -> Vec<MemberLevel> {
        let mut levels = BTreeMap::<u32, MemberLevel>::new();
        if !by_priority {
            levels.insert(0, MemberLevel::default());
        }
        for (index, member) in self.list.iter().enumerate() {
            let priority = if by_priority {
                member.settings.priority
            } else {
                0
            };
            let level = levels.entry(priority).or_default();
            if member.admits() {
                level.active.push(index as u32);
                if member.standing.is_eligible() {
                    level.eligible.push(index as u32);
                }
            }
        }
        levels.into_values().collect()
    }

    /// Where the member with this id stands.
    pub fn index_of(&self, id: u32) -> Option<usize> {
        self.index_of.get(&id).copied()
    }

    /// The member with this id.
    pub fn get(&self, id: u32) -> Option<&Member> {
        self.index_of(id).map(|index| &self.list[index])
    }

    /// Nothing that a strategy can see differs.
    fn same_as(&self, other: &Membership) -> bool {
        self.list.len() == other.list.len()
            && self.own_zone == other.own_zone
            && self
                .list
                .iter()
                .zip(&other.list)
                .all(|(a, b)| a.id == b.id && a.settings == b.settings)
    }

    fn by_identity(&self) -> FxHashMap<Identity<'_>, &Member> {
        self.list
            .iter()
            .map(|member| (identity(&member.settings), member))
            .collect()
    }

    fn admit(&mut self, settings: BackendSettings, start: HealthStart, joins: bool) -> Member {
        let id = self.next_id;
        self.next_id += 1;
        let standing = match joins {
            true => Standing::of_newcomer(),
            false => Standing::default(),
        };
        // Before anybody can ask it.
        standing.begin(start == HealthStart::Healthy);
        Member {
            id,
            address: settings.address.as_str().into(),
            target: match settings.target {
                Target::Resolved(address) => address.to_string().into(),
                Target::Written | Target::Service => settings.address.as_str().into(),
            },
            settings,
            cell: self.columns.allocate(),
            standing: Arc::new(standing),
            health: Arc::new(health::Record::new(start)),
            agent: Arc::default(),
            counts: Arc::default(),
        }
    }

    fn intern_zone(&mut self, zone: Option<&str>) {
        if let Some(zone) = zone
            && !self.zones.iter().any(|known| known == zone)
        {
            self.zones.push(zone.to_owned());
        }
    }

    fn zone_number(&self, zone: Option<&str>) -> u32 {
        zone.and_then(|zone| self.zones.iter().position(|known| known == zone))
            .map_or(0, |index| index as u32 + 1)
    }
}

/// The members of one priority, as indices, in order.
#[derive(Debug, Default)]
pub struct MemberLevel {
    /// Those that operators and agents let take requests.
    pub active: Vec<u32>,
    /// Those of them that nothing speaks against.
    pub eligible: Vec<u32>,
}

impl MemberLevel {
    /// How many there are.
    pub fn count(&self) -> Level {
        Level {
            active: self.active.len(),
            eligible: self.eligible.len(),
        }
    }

    /// The active ones that something speaks against.
    pub fn doubtful(&self) -> Vec<u32> {
        let doubtful = self
            .active
            .iter()
            .filter(|one| !self.eligible.contains(one));
        doubtful.copied().collect()
    }
}

/// What makes two entries the same backend.
type Identity<'a> = (&'a str, &'a str, Target);

fn identity(backend: &BackendSettings) -> Identity<'_> {
    (&backend.name, backend.address.as_str(), backend.target)
}

impl Member {
    /// It takes requests, and nothing speaks against asking it.
    pub fn is_eligible(&self) -> bool {
        self.admits() && self.standing.is_eligible()
    }

    /// Its operator lets it take new requests, and so does its agent.
    pub fn admits(&self) -> bool {
        self.settings.state == BackendState::Active && self.standing.advice().admits()
    }

    /// It takes no requests whatever, not even those of its sessions.
    pub fn is_in_maintenance(&self) -> bool {
        self.settings.state == BackendState::Maintenance || self.standing.advice().maintenance
    }

    fn with_settings(&self, settings: BackendSettings) -> Member {
        let is_active = |settings: &BackendSettings| settings.state == BackendState::Active;
        if is_active(&settings) && !is_active(&self.settings) {
            self.standing.returns();
        }
        Member {
            id: self.id,
            settings,
            address: Arc::clone(&self.address),
            target: Arc::clone(&self.target),
            cell: self.cell.clone(),
            standing: Arc::clone(&self.standing),
            health: Arc::clone(&self.health),
            agent: Arc::clone(&self.agent),
            counts: Arc::clone(&self.counts),
        }
    }
}

impl strategy::Members for Membership {
    fn name(&self, id: u32) -> Option<&str> {
        self.get(id).map(|member| member.settings.name.as_str())
    }

    fn address(&self, id: u32) -> Option<&str> {
        self.get(id).map(|member| &*member.target)
    }

    fn zone(&self, id: u32) -> Option<&str> {
        self.get(id)
            .and_then(|member| member.settings.zone.as_deref())
    }

    fn label(&self, id: u32, key: &str) -> Option<&str> {
        self.get(id)
            .and_then(|member| member.settings.labels.get(key))
            .map(String::as_str)
    }
}
