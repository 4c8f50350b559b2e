//! Copies of real calls, for a plugin in quarantine to be tried on: its
//! answers count for nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::plugin::{Fault, Instance, SharedSlots};
use crate::pool::Row;

use super::conduct::Standing;
use super::prepare::Strategy;
use super::seat::{checked, checked_plan};
use super::{Inbound, MembersHandle, PickRequest};

/// Calls of one probe.
const CALLS: usize = 64;
/// A quiet pool's probe makes do with fewer calls after this time.
const PATIENCE_US: u64 = 1_000_000;

/// One real call, copied.
#[derive(Debug, Clone)]
pub(super) struct Shadow {
    pub(super) rows: Vec<Row>,
    pub(super) request: PickRequest,
    pub(super) inbound: Inbound,
}

/// Where workers leave copies for the control thread.
#[derive(Debug, Default)]
pub(super) struct Shadows {
    wanted: AtomicBool,
    collection: Mutex<Collection>,
}

#[derive(Debug, Default)]
struct Collection {
    calls: Vec<Shadow>,
    since_us: u64,
}

impl Shadows {
    pub(super) fn collect(&self, now_us: u64) {
        let mut collection = self.lock();
        collection.calls.clear();
        collection.since_us = now_us;
        self.wanted.store(true, Ordering::Relaxed);
    }

    /// Takes a copy if one is wanted and nobody else leaves one just now.
    pub(super) fn offer(&self, shadow: impl FnOnce() -> Shadow) {
        if !self.wanted.load(Ordering::Relaxed) {
            return;
        }
        let Ok(mut collection) = self.collection.try_lock() else {
            return;
        };
        if collection.calls.len() < CALLS {
            collection.calls.push(shadow());
        } else {
            self.wanted.store(false, Ordering::Relaxed);
        }
    }

    /// What was collected, once that is enough to try a plugin on.
    fn take(&self, now_us: u64) -> Option<Vec<Shadow>> {
        let mut collection = self.lock();
        let waited = now_us.saturating_sub(collection.since_us) >= PATIENCE_US;
        let enough = collection.calls.len() >= CALLS || waited && !collection.calls.is_empty();
        if !enough {
            return None;
        }
        self.wanted.store(false, Ordering::Relaxed);
        Some(std::mem::take(&mut collection.calls))
    }

    fn lock(&self) -> MutexGuard<'_, Collection> {
        self.collection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became of a quarantine at one look.
#[derive(Debug, PartialEq)]
pub enum Probe {
    /// Nothing: it is trusted, its time is not over, or there were no requests.
    None,
    /// It answered all copies well and is trusted again.
    Passed,
    /// It faulted and stays in quarantine for this long.
    Failed(Fault, Duration),
}

impl Strategy {
    /// Moves a quarantine on: once its time is over, calls are copied, and a
    /// throw-away instance is tried on them. For a control thread, a few times
    /// a second. The counters of `shared` are not touched.
    pub fn probe(&self, members: &MembersHandle, now_us: u64, random: u64) -> Probe {
        let conduct = self.conduct();
        if conduct.is_trusted() || conduct.begin_probe(now_us) {
            return Probe::None;
        }
        if conduct.standing() != Standing::Probed {
            return Probe::None;
        }
        let Some(calls) = conduct.shadows().take(now_us) else {
            return Probe::None;
        };
        let tried = self.try_on(&calls, members);
        match (conduct.probed(tried.is_ok(), now_us, random), tried) {
            (Some(time), Err(fault)) => Probe::Failed(fault, time),
            _ => Probe::Passed,
        }
    }

    fn try_on(&self, calls: &[Shadow], members: &MembersHandle) -> Result<(), Fault> {
        let Some(plugin) = self.plugin() else {
            return Ok(());
        };
        let settings = self.instance_settings(Arc::new(SharedSlots::default()));
        let mut instance = Instance::start(plugin, &settings, members.clone())?;
        for call in calls {
            if plugin.is_planner() {
                checked_plan(instance.plan(&call.rows)?, &call.rows)?;
            } else {
                let mut inbound = call.inbound.clone();
                let (answer, tag) = instance.pick(&call.rows, &call.request, &mut inbound)?;
                checked(answer, tag, call.rows.len())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shadow() -> Shadow {
        Shadow {
            rows: Vec::new(),
            request: PickRequest::default(),
            inbound: Inbound::default(),
        }
    }

    #[test]
    fn nothing_is_copied_until_it_is_wanted() {
        let shadows = Shadows::default();
        shadows.offer(|| panic!("nobody asked"));
        shadows.collect(0);
        for _ in 0..CALLS {
            assert!(shadows.take(1).is_none());
            shadows.offer(shadow);
        }
        assert_eq!(shadows.take(1).map(|calls| calls.len()), Some(CALLS));
        shadows.offer(|| panic!("there were enough"));
    }

    #[test]
    fn a_quiet_pool_is_not_waited_for_longer_than_needed() {
        let shadows = Shadows::default();
        shadows.collect(5);
        assert!(shadows.take(5 + PATIENCE_US).is_none(), "there is nothing");
        shadows.offer(shadow);
        assert!(shadows.take(5).is_none());
        assert_eq!(
            shadows.take(5 + PATIENCE_US).map(|calls| calls.len()),
            Some(1)
        );
    }
}
