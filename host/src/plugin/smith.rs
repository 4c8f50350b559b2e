//! Components that nobody wrote: random ones, random code in a component of the
//! contract, and real ones with some bytes changed. Whatever they are, the host
//! goes on.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arbitrary::Unstructured;
use fastrand::Rng;
use wasm_encoder::Encode as _;
use wasm_smith::{Component, Config, Module};

use crate::strategy::{Inbound, PickRequest};

use super::guests::{engine, members, rows, settings, wasm};
use super::{FaultKind, Instance, Plugin, shipped};

/// How many are tried, a third of each kind; more when this variable says so.
const VARIABLE: &str = "ANUBIS_RANDOM_COMPONENTS";
const DEFAULT: u64 = 300;
/// None takes longer, from its bytes to its last pick. A thousandth is usual.
const HANG: Duration = Duration::from_secs(20);

const CORE_MODULE: u8 = 1;

#[test]
fn random_components_do_no_harm() {
    let count = std::env::var(VARIABLE).map_or(DEFAULT, |count| count.parse().unwrap());
    let template = Template::of(wasm("import-loop"));
    let mut fates = BTreeMap::new();
    for number in 0..count {
        let mut random = Rng::with_seed(number);
        let (kind, bytes) = match number % 3 {
            0 => ("random", random_component(&mut random)),
            1 => (
                "random code",
                template.with(&random_code(&mut random, &template)),
            ),
            _ => ("damaged", damaged_component(&mut random)),
        };
        let begin = Instant::now();
        let fate = fate(&bytes);
        assert!(begin.elapsed() < HANG, "{kind} number {number}");
        *fates.entry((kind, fate)).or_insert(0) += 1;
    }
    println!("{fates:#?}");
    // What is made to fit has to get past the door, or nothing was tried.
    assert!(
        !fates.contains_key(&("random code", "refused")),
        "{fates:?}"
    );
}

fn random_component(random: &mut Rng) -> Vec<u8> {
    let entropy = entropy(random);
    let config = Config {
        max_instructions: 1_000,
        ..Config::default()
    };
    let component = Component::new(config, &mut Unstructured::new(&entropy));
    component
        .expect("it makes something of anything")
        .to_bytes()
}

/// A module that imports and exports what the template's does.
fn random_code(random: &mut Rng, template: &Template) -> Vec<u8> {
    let entropy = entropy(random);
    let config = Config {
        module_shape: Some(template.code().to_vec()),
        max_instructions: 1_000,
        // What this engine does not have.
        exceptions_enabled: false,
        gc_enabled: false,
        memory64_enabled: false,
        // With it come types of the garbage collector, whatever is said of that.
        reference_types_enabled: false,
        relaxed_simd_enabled: false,
        threads_enabled: false,
        ..Config::default()
    };
    let module = Module::new(config, &mut Unstructured::new(&entropy));
    module.expect("it makes something of anything").to_bytes()
}

fn damaged_component(random: &mut Rng) -> Vec<u8> {
    let names: Vec<_> = shipped::names().collect();
    let name = random.choice(&names).expect("some are shipped");
    let mut bytes = shipped::bytes(name).expect("it is shipped").to_vec();
    for _ in 0..random.u32(1..=8) {
        let at = random.usize(8..bytes.len());
        bytes[at] = random.u8(..);
    }
    bytes
}

fn entropy(random: &mut Rng) -> Vec<u8> {
    let length = random.usize(0..8 << 10);
    std::iter::repeat_with(|| random.u8(..))
        .take(length)
        .collect()
}

/// A component whose last core module is to be replaced.
struct Template {
    bytes: Vec<u8>,
    /// The module's section, from its id on, and what is in it.
    section: Range<usize>,
    module: Range<usize>,
}

impl Template {
    fn of(bytes: Vec<u8>) -> Self {
        let (section, module) = sections(&bytes)
            .filter(|(section, _)| bytes[section.start] == CORE_MODULE)
            .last()
            .expect("it has a core module");
        Self {
            bytes,
            section,
            module,
        }
    }

    fn code(&self) -> &[u8] {
        &self.bytes[self.module.clone()]
    }

    fn with(&self, module: &[u8]) -> Vec<u8> {
        let mut bytes = self.bytes[..self.section.start].to_vec();
        bytes.push(CORE_MODULE);
        module.encode(&mut bytes);
        bytes.extend_from_slice(&self.bytes[self.section.end..]);
        bytes
    }
}

/// Every section of a component, from its id on, and its content.
fn sections(bytes: &[u8]) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
    let mut next = 8;
    std::iter::from_fn(move || {
        let start = next;
        let mut reader = wasmparser::BinaryReader::new(bytes.get(start + 1..)?, 0);
        let size = reader.read_var_u32().ok()? as usize;
        let content = start + 1 + reader.original_position();
        next = content + size;
        Some((start..next, content..next))
    })
}

/// What becomes of a plugin that is loaded, started and asked a few times.
fn fate(bytes: &[u8]) -> &'static str {
    let Ok(plugin) = Plugin::compile(engine(), bytes) else {
        return "refused";
    };
    let mut instance = match Instance::start(&Arc::new(plugin), &settings(), members()) {
        Ok(instance) => instance,
        Err(fault) => return fault_of(fault.kind),
    };
    for backends in [3, 1, 100] {
        let request = PickRequest {
            random: u64::from(backends),
            ..PickRequest::default()
        };
        let answer = instance.pick(&rows(backends), &request, &mut Inbound::default());
        if let Err(fault) = answer {
            return fault_of(fault.kind);
        }
    }
    "answers"
}

fn fault_of(kind: FaultKind) -> &'static str {
    assert_ne!(kind, FaultKind::Panic);
    kind.as_str()
}
