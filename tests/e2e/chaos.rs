//! Everything at once: backends that die, stall, crawl and flap; strategies
//! swapped, configurations reloaded, backends drained; and clients who check every
//! byte of what they get.
//!
//!     ANUBIS_CHAOS_SECONDS=300 ANUBIS_CHAOS_SEED=1 \
//!         cargo test -p anubis-tests --test e2e chaos -- --nocapture
//!
//! Without a seed one is drawn and printed; the same seed makes the same plan.
//! What must hold throughout:
//!
//! - an answer is the one to its request, byte for byte;
//! - no request that changes something is done twice, and one that was answered
//!   with success was done;
//! - while a backend is well, and has been for a few seconds, every request that may
//!   be repeated is answered;
//! - in the end nothing is left: no attempt, no request is counted as under way.

mod clients;
mod plan;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anubis_tests::admin::Admin;
use anubis_tests::backend::Request;
use anubis_tests::{Answer, Backend, Config, Load, Metered, guests};
use serde_json::json;

use clients::{Clients, Report};
use plan::{Act, Mood, Plan};

const NAMES: [&str; plan::BACKENDS] = ["a", "b", "c", "d"];
/// Shipped strategies that the reloads choose from.
const STRATEGIES: [&str; 5] = [
    "round-robin",
    "least-connections",
    "least-time",
    "two-choices",
    "peak-ewma",
];

/// What the backends did, by request.
type Done = Arc<Mutex<HashMap<String, usize>>>;

/// A backend whose mood the plan decides.
struct Moody {
    backend: Backend,
    mood: Arc<AtomicU8>,
}

impl Moody {
    fn new(name: &'static str, done: &Done) -> Moody {
        let mood = Arc::new(AtomicU8::new(Mood::Well as u8));
        let (now, done) = (Arc::clone(&mood), Arc::clone(done));
        let script = move |request: &Request| {
            let Some(id) = request.target.strip_prefix("/work/") else {
                return Answer::text("fine");
            };
            *done
                .lock()
                .expect("no holder panics")
                .entry(id.to_owned())
                .or_default() += 1;
            let answer = match request.method.as_str() {
                "GET" => Answer::text(id),
                _ => Answer::echo(),
            };
            match now.load(Ordering::SeqCst) {
                slow if slow == Mood::Slow as u8 => answer.after(Duration::from_millis(60)),
                stalls if stalls == Mood::Stalled as u8 => Answer::silence(),
                _ => answer,
            }
        };
        Moody {
            backend: Backend::named(name).script(script).start(),
            mood,
        }
    }

    async fn turn(&self, mood: Mood) {
        let before = self.mood.swap(mood as u8, Ordering::SeqCst);
        match (before == Mood::Dead as u8, mood == Mood::Dead) {
            (false, true) => self.backend.stop().await,
            (true, false) => self.backend.restart().await,
            _ => {}
        }
    }
}

fn config(backends: &[Moody], round: u64) -> String {
    let strategy = STRATEGIES[round as usize % STRATEGIES.len()];
    let pool = format!(
        "tries = 4\nconnect-timeout = \"1s\"\nresponse-timeout = \"500ms\"\nretry-on = [\"timeout\"]\n\
         retry-budget = 100\n\
         keep-alive-connections = {}",
        8 + round % 5
    );
    let config = Config::strategy(strategy).global("workers = 2").pool(&pool);
    let config = backends
        .iter()
        .fold(config, |config, one| config.backend(&one.backend, ""));
    format!(
        "{config}\n[pools.web.health-check]\ninterval = \"200ms\"\ntimeout = \"200ms\"\n\
         [pools.web.outlier-detection]\nejection-time = \"300ms\"\n"
    )
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number")),
    )
}

#[tokio::test]
async fn whatever_happens_every_answer_is_right() {
    let seed = number("ANUBIS_CHAOS_SEED").unwrap_or_else(|| fastrand::u64(..));
    let time = Duration::from_secs(number("ANUBIS_CHAOS_SECONDS").unwrap_or(6));
    println!("ANUBIS_CHAOS_SEED={seed}");
    let done = Done::default();
    let backends = NAMES.map(|name| Moody::new(name, &done));
    let proxy = Metered::start(config(&backends, 0)).await;
    let admin = proxy.admin();
    let clients = Clients::start(proxy.address(), seed);
    let mut plan = Plan::new(seed);
    let (begin, mut acts) = (Instant::now(), 0);
    while begin.elapsed() < time {
        let (pause, act) = plan.next_act();
        tokio::time::sleep(pause).await;
        perform(act, &backends, &proxy, &admin, &clients).await;
        acts += 1;
    }
    for act in plan.make_peace() {
        perform(act, &backends, &proxy, &admin, &clients).await;
    }
    let report = clients.stop().await;
    println!("{acts} acts, {report}");
    assert!(!proxy.process().logged("panicked"), "a task died");
    report.assert_right();
    assert_done_once(&report, &done);
    let nothing_left = [
        ("anubis_pool_requests_in_flight", vec![("pool", "web")]),
        (
            "anubis_listener_connections_open",
            vec![("listener", "public")],
        ),
    ];
    for (gauge, labels) in nothing_left {
        proxy.until(gauge, &labels, 0).await;
    }
    for name in NAMES {
        let labels = [("pool", "web"), ("backend", name)];
        proxy
            .until("anubis_backend_attempts_in_flight", &labels, 0)
            .await;
    }
    // Whoever was ejected comes back by a request.
    let load = Load::start(proxy.address(), 2);
    for name in NAMES {
        let labels = [("pool", "web"), ("backend", name)];
        proxy.until("anubis_backend_eligible", &labels, 1).await;
    }
    load.stop().await;
}

/// No POST was done twice, and each that was answered with success was done.
fn assert_done_once(report: &Report, done: &Done) {
    let done = done.lock().expect("no holder panics");
    for id in &report.changes_sent {
        let times = done.get(id).copied().unwrap_or(0);
        assert!(times <= 1, "{id} was done {times} times");
    }
    for id in &report.changes_done {
        assert!(done.contains_key(id), "{id} was answered and not done");
    }
}

async fn perform(
    act: Act,
    backends: &[Moody; plan::BACKENDS],
    proxy: &Metered,
    admin: &Admin,
    clients: &Clients,
) {
    clients.note(format!("{act:?}"));
    match act {
        Act::Turn(which, mood) => backends[which].turn(mood).await,
        Act::HangUp(which) => backends[which].backend.hang_up().await,
        Act::Reload(round) => proxy.configure(config(backends, round)),
        Act::Swap(round) => {
            let choice = format!("(i32.rem_u (i32.const {round}) (local.get $count))");
            let plugin = match round % 4 {
                0 => guests::live("unreachable"),
                _ => guests::strategy(&choice),
            };
            let target = "/v1/pools/web/strategy?name=chaos";
            let told = admin.upload(target, &plugin).await;
            assert!(told.status() < 500, "{}", told.detail());
        }
        Act::State(which, state) => {
            let target = format!("/v1/pools/web/backends/{}", NAMES[which]);
            let told = admin
                .send("PATCH", &target, json!({ "state": state }))
                .await;
            assert!(told.status() < 500, "{}", told.detail());
        }
    }
}
