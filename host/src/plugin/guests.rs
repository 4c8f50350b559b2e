//! For tests: the guests of `tests/guests`, and something to run them with.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::pool::Row;
use crate::strategy::{Members, MembersHandle};

use super::{Engine, InstanceSettings, Label, SharedSlots};

/// The component that `tests/guests/NAME.wat` describes.
pub(crate) fn wasm(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/guests")
        .join(name)
        .with_extension("wat");
    wat::parse_file(&path).unwrap_or_else(|error| panic!("guest {name}: {error}"))
}

/// One engine for all tests.
pub(crate) fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::new().unwrap())
}

/// Settings with a short deadline and little memory.
pub(crate) fn settings() -> InstanceSettings {
    InstanceSettings {
        label: Label {
            pool: "web".into(),
            plugin: "guest".into(),
        },
        config: "".into(),
        deadline: Duration::from_millis(10),
        memory: 8 << 20,
        shared: Arc::new(SharedSlots::default()),
    }
}

/// Members that are named after their ids; those with an odd id are canaries.
pub(crate) fn members() -> MembersHandle {
    Arc::new(Numbered)
}

struct Numbered;

impl Members for Numbered {
    fn name(&self, _id: u32) -> Option<&str> {
        Some("numbered")
    }

    fn address(&self, _id: u32) -> Option<&str> {
        None
    }

    fn zone(&self, _id: u32) -> Option<&str> {
        None
    }

    fn label(&self, id: u32, key: &str) -> Option<&str> {
        (id % 2 == 1 && key == "version").then_some("canary")
    }
}

/// Members whose every text makes the host panic.
pub(crate) fn panicking_members() -> MembersHandle {
    Arc::new(Panicking)
}

struct Panicking;

impl Members for Panicking {
    fn name(&self, _id: u32) -> Option<&str> {
        panic!("name")
    }

    fn address(&self, _id: u32) -> Option<&str> {
        panic!("address")
    }

    fn zone(&self, _id: u32) -> Option<&str> {
        panic!("zone")
    }

    fn label(&self, _id: u32, _key: &str) -> Option<&str> {
        panic!("a test of what happens when the host panics")
    }
}

/// Backends with ids from 1, all equal.
pub(crate) fn rows(count: u32) -> Vec<Row> {
    let row = |id| Row {
        id,
        weight: 1,
        ..Row::default()
    };
    (1..=count).map(row).collect()
}
