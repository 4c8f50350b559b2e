//! One running copy of a plugin: a store, its limits, and typed calls.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{ComponentExportIndex, Func};
use wasmtime::{AsContextMut, Store, StoreContextMut};

use crate::pool::Row;
use crate::strategy::{Inbound, MembersHandle, Outcome, PickRequest, Routing};

use super::bindings::{self, GuestOutcome, GuestRouting};
use super::component::{Decider, Exports, Plugin};
use super::deadline::Deadline;
use super::fault::{Fault, FaultKind};
use super::imports::{LogGate, SharedSlots, escape};
use super::limits::{HANDLES, Limits};
use super::lowering::PickFunc;

/// Most bytes a guest may hand to the host in one call.
const HOSTCALL_FUEL: usize = 2 * 1024 * 1024;
/// The same for `save`, whose answer is the plugin's whole state.
const SAVE_FUEL: usize = 16 * 1024 * 1024;
/// CPU time for starting (instantiate, `configure`) and for handing state over.
const SETUP: Duration = Duration::from_millis(100);

/// Deadlines that a planner's answer may take: it is not asked for every request, and
/// an interpreter alone needs more than one to read thousands of backends.
const PLAN: u32 = 10;

/// Who an instance is, in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The pool it decides for.
    pub pool: Arc<str>,
    /// The strategy's name.
    pub plugin: Arc<str>,
}

/// What an instance is started with.
#[derive(Clone)]
pub struct InstanceSettings {
    /// For its log lines.
    pub label: Label,
    /// Text for `configure`.
    pub config: Arc<str>,
    /// CPU time of one call; of a plan, ten times that.
    pub deadline: Duration,
    /// Most linear memory, in bytes.
    pub memory: usize,
    /// The counters of `shared`.
    pub shared: Arc<SharedSlots>,
}

/// What `pick` answered, unchecked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// An index, perhaps out of range.
    Index(u32),
    /// No opinion.
    Fallback,
    /// Nothing suitable now.
    Wait,
    /// This status, perhaps no HTTP error.
    Reject(u16),
}

/// The data of a store: everything that imports and limits work on.
pub(super) struct Guest {
    pub(super) limits: Limits,
    deadline: Deadline,
    pub(super) log: LogGate,
    pub(super) members: MembersHandle,
    pub(super) shared: Arc<SharedSlots>,
    /// The request head of the current pick, for plugins that import it.
    pub(super) inbound: Inbound,
    /// A pick is going on.
    pub(super) picking: bool,
    pub(super) tag: u64,
}

/// A running copy of a plugin. After any [`Fault`] it must be dropped: wasmtime
/// makes no promises about a store in which a call failed. Dropping it is quick
/// anywhere, the memory is freed on another thread.
pub struct Instance {
    plugin: Arc<Plugin>,
    /// `None` only while it is being dropped.
    store: Option<Store<Guest>>,
    exports: Functions,
    imports_inbound: bool,
    deadline: Duration,
    setup: Duration,
}

/// The instance's exports, looked up once.
struct Functions {
    decider: DeciderFunc,
    observe: Option<Func>,
    save: Option<Func>,
    restore: Option<Func>,
}

enum DeciderFunc {
    Pick(PickFunc),
    Plan(Func),
}

impl Instance {
    /// Instantiates and configures. All limits hold from the first instruction.
    ///
    /// # Errors
    /// When its start traps or exceeds a limit, or `configure` says no.
    pub fn start(
        plugin: &Arc<Plugin>,
        settings: &InstanceSettings,
        members: MembersHandle,
    ) -> Result<Self, Fault> {
        let setup = settings.deadline.max(SETUP);
        let mut store = new_store(plugin, settings, members);
        let started = start(&mut store, setup, plugin, &settings.config);
        match started {
            Ok(exports) => Ok(Self {
                plugin: plugin.clone(),
                store: Some(store),
                exports,
                imports_inbound: plugin.imports_inbound(),
                deadline: settings.deadline,
                setup,
            }),
            Err(fault) => {
                plugin.engine().backstage().dispose(store);
                Err(fault)
            }
        }
    }

    /// Asks for one of `rows`; the answer and what it gave to `inbound.tag`.
    ///
    /// # Errors
    /// Any fault; `inbound` is whole again in every case.
    #[inline]
    pub fn pick(
        &mut self,
        rows: &[Row],
        request: &PickRequest,
        inbound: &mut Inbound,
    ) -> Result<(Answer, u64), Fault> {
        let store = self.store.as_mut().expect(STORE);
        let DeciderFunc::Pick(func) = &self.exports.decider else {
            return Err(Fault::new(FaultKind::Lift, "a planner was asked to pick"));
        };
        let call = |store: StoreContextMut<'_, Guest>| func.call(store, request.into(), rows);
        if !self.imports_inbound {
            return Ok((bindings::answer(guarded(store, self.deadline, call)?), 0));
        }
        let guest = store.data_mut();
        mem::swap(&mut guest.inbound, inbound);
        (guest.picking, guest.tag) = (true, 0);
        let result = guarded(store, self.deadline, call);
        let guest = store.data_mut();
        guest.picking = false;
        mem::swap(&mut guest.inbound, inbound);
        Ok((bindings::answer(result?), guest.tag))
    }

    /// Asks a planner for a plan over `rows`, unchecked.
    ///
    /// # Errors
    /// Any fault.
    pub fn plan(&mut self, rows: &[Row]) -> Result<Routing, Fault> {
        let DeciderFunc::Plan(func) = self.exports.decider else {
            return Err(Fault::new(FaultKind::Lift, "a strategy was asked to plan"));
        };
        let (routing,) = self.call(self.deadline.saturating_mul(PLAN), |mut store| {
            func.typed::<(&[Row],), (GuestRouting,)>(&store)?
                .call(&mut store, (rows,))
        })?;
        Ok(routing.into())
    }

    /// Hands outcomes over; nothing when the plugin does not want them.
    ///
    /// # Errors
    /// Any fault.
    pub fn observe(&mut self, outcomes: &[Outcome]) -> Result<(), Fault> {
        let Some(func) = self.exports.observe else {
            return Ok(());
        };
        let outcomes: Vec<GuestOutcome> = outcomes.iter().map(GuestOutcome::from).collect();
        self.call(self.deadline, |mut store| {
            func.typed::<(&[GuestOutcome],), ()>(&store)?
                .call(&mut store, (&outcomes,))
        })
    }

    /// The plugin's state for its successor; `None` when it keeps none.
    ///
    /// # Errors
    /// Any fault, also a state of more than 16 MiB.
    pub fn save(&mut self) -> Result<Option<Vec<u8>>, Fault> {
        let Some(func) = self.exports.save else {
            return Ok(None);
        };
        let (saved,) = self.call(self.setup, |mut store| {
            store.set_hostcall_fuel(SAVE_FUEL);
            let saved = func.typed::<(), (Vec<u8>,)>(&store)?.call(&mut store, ())?;
            store.set_hostcall_fuel(HOSTCALL_FUEL);
            Ok(saved)
        })?;
        Ok(Some(saved))
    }

    /// Gives it a predecessor's state. `Ok(Err(why))` when the plugin does not
    /// take it, or keeps no state; it then is as good as before.
    ///
    /// # Errors
    /// Any fault.
    pub fn restore(&mut self, saved: &[u8]) -> Result<Result<(), String>, Fault> {
        let Some(func) = self.exports.restore else {
            return Ok(Err("it keeps no state".to_owned()));
        };
        let (result,) = self.call(self.setup, |mut store| {
            func.typed::<(&[u8],), (Result<(), String>,)>(&store)?
                .call(&mut store, (saved,))
        })?;
        Ok(result.map_err(|why| escape(&why, 512)))
    }

    /// Whose names, addresses and labels it sees from now on.
    pub fn set_members(&mut self, members: MembersHandle) {
        self.store.as_mut().expect(STORE).data_mut().members = members;
    }

    /// Most linear memory it has held, in bytes.
    pub fn memory_high_water(&self) -> usize {
        self.store.as_ref().expect(STORE).data().limits.high_water()
    }

    fn call<R>(
        &mut self,
        budget: Duration,
        call: impl FnOnce(StoreContextMut<'_, Guest>) -> wasmtime::Result<R>,
    ) -> Result<R, Fault> {
        guarded(self.store.as_mut().expect(STORE), budget, call)
    }
}

const STORE: &str = "the store is taken only when the instance is dropped";

impl Drop for Instance {
    fn drop(&mut self) {
        self.plugin.engine().backstage().dispose(self.store.take());
    }
}

fn new_store(plugin: &Plugin, settings: &InstanceSettings, members: MembersHandle) -> Store<Guest> {
    let engine = plugin.engine();
    let guest = Guest {
        limits: Limits::new(settings.memory),
        deadline: Deadline::new(engine.ticker().clone()),
        log: LogGate::new(settings.label.clone()),
        members,
        shared: settings.shared.clone(),
        inbound: Inbound::default(),
        picking: false,
        tag: 0,
    };
    let mut store = Store::new(engine.wasmtime(), guest);
    store.limiter(|guest| &mut guest.limits);
    store.epoch_deadline_callback(|mut store| Ok(store.data_mut().deadline.look()));
    store.set_hostcall_fuel(HOSTCALL_FUEL);
    store.set_max_component_handles(HANDLES);
    store
}

fn start(
    store: &mut Store<Guest>,
    setup: Duration,
    plugin: &Plugin,
    config: &str,
) -> Result<Functions, Fault> {
    let instance = guarded(store, setup, |store| plugin.component().instantiate(store))?;
    let functions = guarded(store, setup, |mut store| {
        Functions::find(&mut store, &instance, plugin.exports())
    })?;
    let Some(configure) = &plugin.exports().configure else {
        return Ok(functions);
    };
    let (configured,) = guarded(store, setup, |mut store| {
        instance
            .get_typed_func::<(&str,), (Result<(), String>,)>(&mut store, configure)?
            .call(&mut store, (config,))
    })?;
    match configured {
        Ok(()) => Ok(functions),
        Err(why) => Err(Fault::new(FaultKind::Configure, escape(&why, 512))),
    }
}

impl Functions {
    fn find(
        store: &mut StoreContextMut<'_, Guest>,
        instance: &wasmtime::component::Instance,
        exports: &Exports,
    ) -> wasmtime::Result<Self> {
        let decider = match &exports.decider {
            Decider::Strategy(pick) => DeciderFunc::Pick(PickFunc::find(store, instance, pick)?),
            Decider::Planner(plan) => DeciderFunc::Plan(func(store, instance, plan)?),
        };
        let mut optional = |export: Option<&ComponentExportIndex>| {
            export
                .map(|export| func(store, instance, export))
                .transpose()
        };
        let state = exports.state.as_ref();
        Ok(Self {
            decider,
            observe: optional(exports.observe.as_ref())?,
            save: optional(state.map(|state| &state.save))?,
            restore: optional(state.map(|state| &state.restore))?,
        })
    }
}

fn func(
    store: &mut StoreContextMut<'_, Guest>,
    instance: &wasmtime::component::Instance,
    export: &ComponentExportIndex,
) -> wasmtime::Result<Func> {
    instance
        .get_func(store, export)
        .ok_or_else(|| wasmtime::format_err!("an export has vanished"))
}

/// Every call into a guest goes through here: deadline armed, panics caught,
/// errors classified.
#[inline]
fn guarded<R>(
    store: &mut Store<Guest>,
    budget: Duration,
    call: impl FnOnce(StoreContextMut<'_, Guest>) -> wasmtime::Result<R>,
) -> Result<R, Fault> {
    let guest = store.data_mut();
    guest.limits.begin_call();
    let ticks = guest.deadline.arm(budget);
    store.set_epoch_deadline(ticks);
    // The store is dropped after any error, so nothing half-changed is seen.
    match catch_unwind(AssertUnwindSafe(|| call(store.as_context_mut()))) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Fault::from_call(&error, store.data().limits.refused())),
        Err(_panic) => Err(Fault::new(
            FaultKind::Panic,
            "the host's side of the call panicked",
        )),
    }
}
