//! An instance that is started before it is needed, on another thread.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use crate::strategy::MembersHandle;

use super::component::Plugin;
use super::fault::{Fault, FaultKind};
use super::instance::{Instance, InstanceSettings};

/// An [`Instance`] that is being started. Dropped before it is taken, it is freed
/// there as well.
pub struct Successor(Receiver<Result<Instance, Fault>>);

impl Successor {
    /// Has an instance started, as [`Instance::start`] does, by the thread that
    /// does what workers have no time for.
    pub fn begin(
        plugin: &Arc<Plugin>,
        settings: &InstanceSettings,
        members: MembersHandle,
    ) -> Self {
        let (sender, receiver) = sync_channel(1);
        let (started, settings) = (plugin.clone(), settings.clone());
        plugin.engine().backstage().run(move || {
            // Nobody may be there any more: then it is dropped here.
            let _ = sender.send(Instance::start(&started, &settings, members));
        });
        Self(receiver)
    }

    /// The instance, or why there is none; nothing while it is being started.
    /// Never waits.
    pub fn take(&self) -> Option<Result<Instance, Fault>> {
        match self.0.try_recv() {
            Ok(started) => Some(started),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(Fault::new(
                FaultKind::Panic,
                "the host panicked while it started an instance",
            ))),
        }
    }
}
