//! Figures for people, not assertions: what a hostile plugin in one pool costs
//! another pool's clients, how soon an upload is in force, and what clients see
//! while backends die, and what crowds of clients weigh.
//!
//!     cargo test --release -p anubis-tests --test e2e figures -- --ignored --nocapture

use std::time::{Duration, Instant};

use anubis_tests::admin::Admin;
use anubis_tests::client::get;
use anubis_tests::load::Report;
use anubis_tests::{Answer, Backend, Client, Config, Load, Proxy, guests};

/// How long each case is measured.
const TIME: Duration = Duration::from_secs(5);

fn config(good: &Backend, bad: &Backend) -> String {
    format!(
        "[admin]\naddress = \"127.0.0.1:0\"\n\
         [[listeners]]\naddress = \"127.0.0.1:0\"\n\
         [[routes]]\npath = \"/good\"\npool = \"good\"\n\
         [[routes]]\npath = \"/bad\"\npool = \"bad\"\n\
         [pools.good]\nstrategy = \"least-time\"\nbackends = [{{ address = \"{good}\" }}]\n\
         [pools.bad]\nprobation = \"0s\"\nbackends = [{{ address = \"{bad}\" }}]\n"
    )
}

fn tell(case: &str, report: &Report) {
    report.assert_none_failed();
    println!(
        "{case:<34} {:>7} requests, p50 {:>9.3?}, p99 {:>9.3?}, slowest {:>9.3?}",
        report.answered,
        report.percentile(50.0),
        report.percentile(99.0),
        report.slowest
    );
}

#[tokio::test]
#[ignore = "measures for half a minute and asserts little"]
async fn what_a_hostile_plugin_costs_its_neighbours() {
    let (good, bad) = (
        Backend::named("good").start(),
        Backend::named("bad").start(),
    );
    let proxy = Proxy::start(config(&good, &bad)).await;
    let admin = Admin::of(&proxy).await;
    let target = "/v1/pools/bad/strategy?name=guest";
    let deep = guests::live("(loop $forever (br $forever)) unreachable");
    for (case, plugin) in [
        ("a good one beside it", guests::always(0)),
        ("traps at every request", guests::live("unreachable")),
        ("loops at every request", deep),
        ("some 200 us a request", guests::wasm("slow")),
        ("good again", guests::always(0)),
    ] {
        let told = admin.upload(target, &plugin).await;
        assert_eq!(told.status(), 200, "{case}: {}", told.detail());
        let _bad = Load::at(proxy.address(), "/bad", 4);
        let load = Load::at(proxy.address(), "/good", 4);
        tokio::time::sleep(TIME).await;
        tell(case, &load.stop().await);
    }
    let _bad = Load::at(proxy.address(), "/bad", 4);
    let load = Load::at(proxy.address(), "/good", 4);
    let begin = Instant::now();
    let mut refused = 0;
    while begin.elapsed() < TIME {
        let body = format!("(i32.const {refused}) ").repeat(20_000) + &"drop ".repeat(20_000);
        let bomb = guests::live(&format!("{body} unreachable"));
        refused += u32::from(admin.upload(target, &bomb).await.status() != 0);
    }
    tell(
        &format!("{refused} large uploads compiled"),
        &load.stop().await,
    );
}

#[tokio::test]
#[ignore = "measures"]
async fn how_soon_an_upload_is_in_force() {
    let (good, bad) = (
        Backend::named("good").start(),
        Backend::named("bad").start(),
    );
    let other = Backend::named("other").start();
    let both = format!("{bad}\" }}, {{ address = \"{other}");
    let text = config(&good, &bad).replace(&bad.to_string(), &both);
    let proxy = Proxy::start(text).await;
    let admin = Admin::of(&proxy).await;
    let mut took = Vec::new();
    for round in 0..40u32 {
        let (index, name) = [(0, "bad"), (1, "other")][round as usize % 2];
        // Other bytes every time: nothing is compiled already.
        let plugin = guests::strategy(&format!("(drop (i32.const {round})) (i32.const {index})"));
        let begin = Instant::now();
        let told = admin
            .upload("/v1/pools/bad/strategy?name=guest", &plugin)
            .await;
        assert_eq!(told.status(), 200, "{}", told.detail());
        while get(proxy.address(), "/bad").await.text() != name {}
        took.push(begin.elapsed());
    }
    took.sort_unstable();
    println!(
        "from PUT to the first pick: median {:.3?}, longest {:.3?}",
        took[20], took[39]
    );
}

#[tokio::test]
#[ignore = "measures for half a minute and asserts little"]
async fn what_a_thousand_checked_backends_cost() {
    const BACKENDS: usize = 1_000;
    let (fine, silent) = (
        Backend::named("fine").start(),
        Backend::named("silent").answer(Answer::silence()).start(),
    );
    for (case, ill, kind) in [
        ("all well, http", 0, "http"),
        ("all well, tcp", 0, "tcp"),
        ("a tenth of them silent", BACKENDS / 10, "http"),
        ("half of them silent", BACKENDS / 2, "http"),
    ] {
        let address = |number| match number < ill {
            true => &silent,
            false => &fine,
        };
        let backends: Vec<_> = (0..BACKENDS)
            .map(|number| {
                format!(
                    "{{ name = \"{number}\", address = \"{}\" }}",
                    address(number)
                )
            })
            .collect();
        let config = format!(
            "workers = 1\n[[listeners]]\naddress = \"127.0.0.1:0\"\n[pools.web]\nbackends = [{}]\n\
             [pools.web.health-check]\ntype = \"{kind}\"\n",
            backends.join(", ")
        );
        let proxy = Proxy::start(config).await;
        // Beyond the first checks, which come closer together.
        tokio::time::sleep(TIME).await;
        let cpu = || cpu_seconds(&proxy, "health");
        let (seen, before) = (fine.seen(), cpu());
        tokio::time::sleep(TIME).await;
        let checks = (fine.seen().opened - seen.opened) as f64 / TIME.as_secs_f64();
        let share = (cpu() - before) / TIME.as_secs_f64() * 100.0;
        let open = proxy.process().proc_entries("fd");
        println!(
            "{case:<34} {checks:>5.0} checks/s of the well, {share:>5.1} % of a core, {open:>4} descriptors"
        );
    }
}

/// CPU time of a thread of the proxy, by name.
fn cpu_seconds(proxy: &Proxy, thread: &str) -> f64 {
    let tasks = format!("/proc/{}/task", proxy.process().pid().as_raw_nonzero());
    let tasks = std::fs::read_dir(tasks).expect("the process runs");
    let stats =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok());
    let stat = stats
        .into_iter()
        .find(|stat| stat.contains(&format!("({thread})")))
        .expect("it has this thread");
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    // utime and stime, in hundredths of a second.
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum::<f64>()
        / 100.0
}
/// Every five seconds another of three backends is killed (listener gone, connections
/// reset) and comes back half way to the next.
#[tokio::test]
#[ignore = "measures for two minutes"]
async fn what_killing_one_backend_of_three_costs() {
    const CONNECTIONS: usize = 32;
    const ROUNDS: usize = 24;
    const HALF: Duration = Duration::from_millis(2500);
    let backends = ["one", "two", "three"].map(|name| {
        let backend = Backend::named(name);
        backend.delay(Duration::from_millis(1)).start()
    });
    let proxy = Proxy::start(Config::balanced(&backends)).await;
    let load = Load::start(proxy.address(), CONNECTIONS);
    tokio::time::sleep(HALF).await;
    let undisturbed = load.report();
    for round in 0..ROUNDS {
        let victim = &backends[round % backends.len()];
        victim.stop().await;
        tokio::time::sleep(HALF).await;
        victim.restart().await;
        tokio::time::sleep(HALF).await;
    }
    let disturbed = load.stop().await;
    for (case, report) in [
        ("all three up", undisturbed),
        ("one of three killed", disturbed),
    ] {
        println!(
            "{case:<20} {:>8} answered, {} failed, p50 {:.3?}, p99 {:.3?}, slowest {:.3?}",
            report.answered,
            report.failed,
            report.percentile(50.0),
            report.percentile(99.0),
            report.slowest
        );
        for failure in report.failures.iter().take(5) {
            println!("    {failure}");
        }
    }
}

/// Connections of a crowd: the open files that a test may have allow no more.
const CROWD: u64 = 9_500;

/// One listener with room for the crowd, and one backend.
fn roomy(backend: &Backend) -> Config {
    Config::balanced([backend]).global("max-connections = 15000")
}

#[tokio::test]
#[ignore = "measures"]
async fn what_idle_connections_weigh() {
    let backend = Backend::named("a").start();
    let config = roomy(&backend).listener("keep-alive = \"10m\"\nheader-timeout = \"10m\"");
    let proxy = Proxy::start(config).await;
    get(proxy.address(), "/").await;
    let before = proxy.resident();
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        crowd.push(Client::connect(proxy.address()).await);
    }
    get(proxy.address(), "/").await;
    let silent = proxy.resident();
    for client in &mut crowd {
        assert_eq!(client.get("/").await.status(), 200);
    }
    let answered = proxy.resident();
    println!(
        "{CROWD} connections: {} B each before a request, {} B each after one",
        silent.saturating_sub(before) / CROWD,
        answered.saturating_sub(before) / CROWD
    );
}

/// A byte a second from each, on heads that never end; meanwhile others ask.
#[tokio::test]
#[ignore = "measures for half a minute and asserts little"]
async fn how_many_slow_heads_are_borne() {
    let backend = Backend::named("a").start();
    let proxy = Proxy::start(roomy(&backend).listener("header-timeout = \"20s\"")).await;
    get(proxy.address(), "/").await;
    let before = proxy.resident();
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        let mut client = Client::connect(proxy.address()).await;
        client.send("GET / HTTP/1.1\r\nX: ").await;
        crowd.push(client);
    }
    let alone = Instant::now();
    let load = Load::start(proxy.address(), 4);
    let mut refused = 0;
    while alone.elapsed() < Duration::from_secs(8) {
        for client in &mut crowd {
            refused += u64::from(client.try_send("x").await.is_err());
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let weight = proxy.resident().saturating_sub(before) / CROWD;
    tell("beside slow heads", &load.stop().await);
    println!("{CROWD} slow heads, {refused} writes refused, {weight} B each");
    for client in &mut crowd {
        let head = client.reader.head().await;
        let status = head.ok().flatten().map_or(0, |head| head.status());
        assert_eq!(status, 408);
    }
    println!(
        "each was told 408 {:?} after the last had come",
        alone.elapsed()
    );
}
