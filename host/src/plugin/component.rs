//! Bytes to a validated, compiled plugin.
//!
//! What is refused is refused here, before any of its code has run: what is no
//! component of the contract, and what wants to import anything else.

use std::sync::Arc;

use anyhow::{Result, anyhow, bail, ensure};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Lift, Lower};
use wasmtime::component::{ComponentNamedList, Linker};

use crate::pool::Row;

use super::binary::Binary;
use super::bindings::{
    GuestOutcome, GuestRouting, IMPORTS, PACKAGE, PickResult, Request, interface,
};
use super::engine::Engine;
use super::imports::escape;
use super::instance::Guest;
use super::translate::WITHOUT_WASI;

/// Most of an exported name that is told, in bytes.
const MAX_NAME: usize = 256;

/// A validated and compiled plugin, ready to be instantiated.
pub struct Plugin {
    engine: Engine,
    /// `None` only while it is being dropped.
    component: Option<InstancePre<Guest>>,
    exports: Exports,
    imports: Vec<String>,
    imports_inbound: bool,
}

/// What the plugin exports of the contract.
pub(super) struct Exports {
    pub(super) decider: Decider,
    pub(super) configure: Option<ComponentExportIndex>,
    pub(super) observe: Option<ComponentExportIndex>,
    pub(super) state: Option<StateExports>,
}

pub(super) enum Decider {
    Strategy(ComponentExportIndex),
    Planner(ComponentExportIndex),
}

pub(super) struct StateExports {
    pub(super) save: ComponentExportIndex,
    pub(super) restore: ComponentExportIndex,
}

impl Plugin {
    /// Validates and compiles `bytes`: a component, or a core module that
    /// carries its component type (what `cargo build` leaves). Takes
    /// milliseconds to seconds: never call it on a worker.
    ///
    /// # Errors
    /// Says in words what is wrong with the bytes; the caller names the file.
    pub fn compile(engine: &Engine, bytes: &[u8]) -> Result<Self> {
        let component = engine.compiler().compile(engine.wasmtime(), bytes)?;
        let imports = checked_imports(engine, &component)?;
        let component = link(engine.linker(), &component)?;
        let exports = Exports::probe(&component)?;
        let imports_inbound = imports.iter().any(|import| import == "inbound");
        Ok(Self {
            engine: engine.clone(),
            component: Some(component),
            exports,
            imports,
            imports_inbound,
        })
    }

    /// [`Plugin::compile`], unless these bytes are compiled already: then the
    /// same plugin again, however many pools use it.
    ///
    /// # Errors
    /// As [`Plugin::compile`].
    pub fn compile_once(engine: &Engine, binary: &Binary) -> Result<Arc<Self>> {
        if let Some(plugin) = engine.compiled(binary.digest()) {
            return Ok(plugin);
        }
        let plugin = Arc::new(Self::compile(engine, binary.bytes())?);
        engine.remember(binary.digest(), &plugin);
        Ok(plugin)
    }

    /// Interfaces of the contract that the plugin imports, `types` aside: what
    /// it may do besides computing.
    pub fn imports(&self) -> &[String] {
        &self.imports
    }

    /// Everything that it exports, by full name.
    pub fn exported(&self) -> Vec<String> {
        exported(self.component())
    }

    /// The shape of the contract whose exports it has.
    pub fn shape(&self) -> &'static str {
        let Exports {
            decider,
            configure,
            observe,
            state,
        } = &self.exports;
        match decider {
            Decider::Planner(_) => "planned",
            Decider::Strategy(_) if observe.is_some() || state.is_some() => "learning",
            Decider::Strategy(_) if configure.is_some() => "configured",
            Decider::Strategy(_) => "simple",
        }
    }

    /// It makes plans (`planner`) instead of being asked for every request.
    pub fn is_planner(&self) -> bool {
        matches!(self.exports.decider, Decider::Planner(_))
    }

    /// It has a `configure`.
    pub fn takes_configuration(&self) -> bool {
        self.exports.configure.is_some()
    }

    /// It wants to hear outcomes.
    pub fn wants_feedback(&self) -> bool {
        self.exports.observe.is_some()
    }

    /// It hands its state over when it is replaced.
    pub fn has_state(&self) -> bool {
        self.exports.state.is_some()
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(super) fn component(&self) -> &InstancePre<Guest> {
        self.component
            .as_ref()
            .expect("taken only when the plugin is dropped")
    }

    pub(super) fn exports(&self) -> &Exports {
        &self.exports
    }

    pub(super) fn imports_inbound(&self) -> bool {
        self.imports_inbound
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        self.engine.backstage().dispose(self.component.take());
    }
}

/// Short names of the imported interfaces, all of them allowed.
fn checked_imports(engine: &Engine, component: &Component) -> Result<Vec<String>> {
    let mut imports = Vec::new();
    for (name, _) in component.component_type().imports(engine.wasmtime()) {
        let short = allowed_import(name)?;
        if short != "types" {
            imports.push(short.to_owned());
        }
    }
    imports.sort_unstable();
    imports.dedup();
    Ok(imports)
}

fn allowed_import(name: &str) -> Result<&str> {
    ensure!(
        !name.starts_with("wasi:"),
        "it imports {name}; {WITHOUT_WASI}"
    );
    let (path, version) = name.split_once('@').unwrap_or((name, ""));
    let interface = path
        .strip_prefix(PACKAGE)
        .and_then(|rest| rest.strip_prefix('/'));
    let Some(interface) = interface.filter(|name| IMPORTS.contains(name)) else {
        bail!(
            "it imports {name}, which does not exist here: a plugin may import only {}",
            IMPORTS.map(|name| format!("{PACKAGE}/{name}")).join(", ")
        );
    };
    ensure!(
        version.starts_with("0.1."),
        "it imports {name}, but this proxy offers {PACKAGE} 0.1"
    );
    Ok(interface)
}

fn link(linker: &Linker<Guest>, component: &Component) -> Result<InstancePre<Guest>> {
    linker
        .instantiate_pre(component)
        .map_err(|error| anyhow!("an import has another type than the contract says: {error:#}"))
}

impl Exports {
    fn probe(component: &InstancePre<Guest>) -> Result<Self> {
        let find = Probe(component);
        let strategy = find.func::<(Request, &[Row]), (PickResult,)>("strategy", "pick")?;
        let planner = find.func::<(&[Row],), (GuestRouting,)>("planner", "plan")?;
        let decider = match (strategy, planner) {
            (Some(pick), None) => Decider::Strategy(pick),
            (None, Some(plan)) => Decider::Planner(plan),
            (Some(_), Some(_)) => bail!(
                "it exports both {PACKAGE}/strategy and {PACKAGE}/planner: a plugin is one or the other"
            ),
            (None, None) => bail!(
                "it exports neither {PACKAGE}/strategy@0.1 nor {PACKAGE}/planner@0.1; it exports {}",
                listed(&exported(component))
            ),
        };
        let save = find.func::<(), (Vec<u8>,)>("state", "save")?;
        let restore = find.func::<(&[u8],), (Result<(), String>,)>("state", "restore")?;
        Ok(Self {
            decider,
            configure: find.func::<(&str,), (Result<(), String>,)>("config", "configure")?,
            observe: find.func::<(&[GuestOutcome],), ()>("feedback", "observe")?,
            state: save
                .zip(restore)
                .map(|(save, restore)| StateExports { save, restore }),
        })
    }
}

struct Probe<'a>(&'a InstancePre<Guest>);

impl Probe<'_> {
    /// `None` when the interface is not exported; an error when it is, but not
    /// as the contract says.
    fn func<Params, Return>(
        &self,
        interface_name: &str,
        name: &str,
    ) -> Result<Option<ComponentExportIndex>>
    where
        Params: ComponentNamedList + Lower,
        Return: ComponentNamedList + Lift,
    {
        let component = self.0.component();
        let interface = interface(interface_name);
        let Some(instance) = component.get_export_index(None, &*interface) else {
            return Ok(None);
        };
        let Some((item, index)) = component.get_export(Some(&instance), name) else {
            bail!("its export {interface} has no `{name}`");
        };
        let ComponentItem::ComponentFunc(func) = item else {
            bail!("`{name}` of its export {interface} is not a function");
        };
        func.typecheck::<Params, Return>(&self.0.instance_type())
            .map_err(|error| {
                anyhow!("`{name}` of its export {interface} has another type: {error:#}")
            })?;
        Ok(Some(index))
    }
}

/// Full names of what a component exports.
fn exported(component: &InstancePre<Guest>) -> Vec<String> {
    let component = component.component();
    let ty = component.component_type();
    ty.exports(component.engine())
        .map(|(name, _)| escape(name, MAX_NAME))
        .collect()
}

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    names.join(", ")
}
