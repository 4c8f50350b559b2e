//! Nanoseconds per pick: `cargo bench -p anubis --bench pick [NAME ...]`.
//!
//! For the fallback, every shipped strategy, a guest that does nothing (the
//! price of the call alone) and the four kinds of plan.

mod rounds;

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anubis::config::{OnFault, StrategySettings, StrategySource};
use anubis::plugin::{Engine, shipped};
use anubis::pool::Row;
use anubis::strategy::{Decision, Inbound, Members, PickRequest, Picker, Strategy};

const SIZES: [u32; 5] = [3, 10, 100, 1_000, 10_000];

fn main() -> anyhow::Result<()> {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(part));
    let engine = Engine::new()?;
    print!("{:<28}", "ns per pick, backends:");
    for size in SIZES {
        print!("{size:>10}");
    }
    println!();
    for (name, source) in subjects()? {
        if is_wanted(&name) {
            measure(&engine, &name, source)?;
        }
    }
    Ok(())
}

fn subjects() -> anyhow::Result<Vec<(String, StrategySource)>> {
    let mut subjects = vec![("fallback".to_owned(), StrategySource::Fallback)];
    for guest in ["always-first", "reads-header"] {
        subjects.push((format!("guest {guest}"), guest_file(guest)?));
    }
    for name in shipped::names() {
        subjects.push((name.to_owned(), StrategySource::Shipped(name.to_owned())));
    }
    for plan in ["weights", "two-choices", "table", "last"] {
        let name = format!("planner-{plan}");
        subjects.push((format!("plan {plan}"), guest_file(&name)?));
    }
    Ok(subjects)
}

/// A guest written as text, translated to a file.
fn guest_file(name: &str) -> anyhow::Result<StrategySource> {
    let text = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/guests")
        .join(name)
        .with_extension("wat");
    let file = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(name)
        .with_extension("wasm");
    std::fs::write(&file, wat::parse_file(text)?)?;
    Ok(StrategySource::File(file))
}

fn measure(engine: &Engine, name: &str, source: StrategySource) -> anyhow::Result<()> {
    let settings = StrategySettings {
        source,
        config: String::new(),
        deadline: Duration::from_millis(100),
        memory: 64 << 20,
        recycle_memory: 64 << 20,
        recycle_calls: 0,
        budget: Duration::from_secs(1),
        on_fault: OnFault::Fallback,
        probation: Duration::ZERO,
        plan_interval: Duration::from_secs(1),
    };
    let strategy = Strategy::prepare(engine, "bench", &settings)?;
    let mut subjects: Vec<Subject> = SIZES
        .map(|size| Subject::new(&strategy, size))
        .into_iter()
        .collect();
    print!("{name:<28}");
    let medians = rounds::medians(&mut subjects, |subject| {
        black_box(subject.pick());
    });
    for nanoseconds in medians {
        print!("{nanoseconds:>10.1}");
    }
    let stats = strategy.stats();
    println!(
        "{}",
        if stats.all_faults() > 0 {
            "  FAULTS"
        } else {
            ""
        }
    );
    Ok(())
}

/// One strategy with one pool.
struct Subject {
    picker: Picker,
    rows: Vec<Row>,
    request: PickRequest,
    inbound: Inbound,
    is_planner: bool,
}

impl Subject {
    fn new(strategy: &Arc<Strategy>, size: u32) -> Self {
        let rows = rows(size);
        let mut picker = Picker::new(strategy.clone(), None, Arc::new(Nameless), None, 0);
        picker.replan_if_due(&rows, 0, 1);
        let mut inbound = Inbound::default();
        for (name, value) in [("host", "a.example"), ("accept", "*/*"), ("x-backend", "1")] {
            inbound
                .headers
                .insert(name, value.parse().expect("a plain value"));
        }
        Self {
            picker,
            rows,
            request: PickRequest {
                generation: 1,
                ..PickRequest::default()
            },
            inbound,
            is_planner: strategy.is_planner(),
        }
    }

    fn pick(&mut self) -> Decision {
        let request = &mut self.request;
        request.sequence += 1;
        request.now_us += 50;
        request.random = mix(request.sequence) >> 11;
        request.key = mix(request.random) >> 11;
        if self.is_planner {
            return self.picker.look_up(&self.rows[..], request);
        }
        self.picker.pick(&self.rows, request, &mut self.inbound)
    }
}

fn rows(size: u32) -> Vec<Row> {
    let row = |id: u32| {
        let bits = mix(u64::from(id));
        Row {
            id,
            weight: 1 + id % 3,
            in_flight: (bits % 16) as u32,
            latency_us: 1_000 + (bits >> 8) as u32 % 20_000,
            ..Row::default()
        }
    };
    (1..=size).map(row).collect()
}

fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^ (z >> 31)
}

struct Nameless;

impl Members for Nameless {
    fn name(&self, _id: u32) -> Option<&str> {
        None
    }

    fn address(&self, _id: u32) -> Option<&str> {
        None
    }

    fn zone(&self, _id: u32) -> Option<&str> {
        None
    }

    fn label(&self, _id: u32, _key: &str) -> Option<&str> {
        None
    }
}
