//! What is counted, read by a parser that nobody here wrote.

use std::time::Duration;

use anubis_tests::client::get;
use anubis_tests::metrics::Scrape;
use anubis_tests::{Answer, Backend, Client, Config, Gate, Metered, NameServer, guests};

const WEB: (&str, &str) = ("pool", "web");
const PUBLIC: (&str, &str) = ("listener", "public");

/// A pool's requests of one class of status.
fn code(code: &'static str) -> [(&'static str, &'static str); 2] {
    [WEB, ("code", code)]
}

/// A backend of the pool `web`.
fn backend(name: &str) -> [(&str, &str); 2] {
    [WEB, ("backend", name)]
}

/// What became of a backend's attempts.
fn attempts<'a>(name: &'a str, result: &'a str) -> [(&'a str, &'a str); 3] {
    [WEB, ("backend", name), ("result", result)]
}

#[tokio::test]
async fn requests_are_counted_by_class_at_listener_pool_and_backend() {
    let a = Backend::named("a")
        .script(|request| match request.target.as_str() {
            "/bad" => Answer::status("500 Internal Server Error", "oh"),
            "/none" => Answer::status("404 Not Found", "no"),
            _ => Answer::text("hello"),
        })
        .start();
    let proxy = Metered::start(Config::balanced([&a]).global("workers = 1")).await;
    let mut client = Client::connect(proxy.address()).await;
    for (target, status) in [("/", 200), ("/", 200), ("/bad", 500), ("/none", 404)] {
        assert_eq!(client.get(target).await.status(), status);
    }
    let post = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody";
    client.send(post).await;
    assert_eq!(client.response().await.status(), 200);

    proxy
        .until("anubis_pool_requests_total", &code("2xx"), 3)
        .await;
    let scrape = proxy.scrape();
    let listener = |code| [PUBLIC, ("code", code)];
    for (class, count) in [
        ("1xx", 0.0),
        ("2xx", 3.0),
        ("3xx", 0.0),
        ("4xx", 1.0),
        ("5xx", 1.0),
    ] {
        assert_eq!(
            scrape.value("anubis_pool_requests_total", &code(class)),
            count
        );
        assert_eq!(
            scrape.value("anubis_listener_requests_total", &listener(class)),
            count
        );
    }
    assert_eq!(
        scrape.value("anubis_pool_request_duration_seconds", &[WEB]),
        5.0
    );
    assert_eq!(scrape.value("anubis_pool_requests_in_flight", &[WEB]), 0.0);
    assert_eq!(scrape.value("anubis_pool_request_bytes_total", &[WEB]), 4.0);
    let sent = "hello".len() * 3 + "oh".len() + "no".len();
    assert_eq!(
        scrape.value("anubis_pool_response_bytes_total", &[WEB]),
        sent as f64
    );

    let (ok, bad) = (attempts("a", "ok"), attempts("a", "5xx"));
    assert_eq!(scrape.value("anubis_backend_attempts_total", &ok), 4.0);
    assert_eq!(scrape.value("anubis_backend_attempts_total", &bad), 1.0);
    let a = backend("a");
    assert_eq!(scrape.value("anubis_backend_connections_total", &a), 1.0);
    assert_eq!(
        scrape.value("anubis_backend_connections_reused_total", &a),
        4.0
    );
    assert_eq!(scrape.value("anubis_backend_attempts_in_flight", &a), 0.0);
    assert_eq!(scrape.value("anubis_backend_weight", &a), 1.0);
    assert!(scrape.value("anubis_backend_latency_seconds", &a) > 0.0);
    proxy.until("anubis_backend_connections_idle", &a, 1).await;

    assert_eq!(
        scrape.value("anubis_listener_connections_total", &[PUBLIC]),
        1.0
    );
    assert_eq!(
        scrape.value("anubis_listener_connections_open", &[PUBLIC]),
        1.0
    );
    drop(client);
    proxy
        .until("anubis_listener_connections_open", &[PUBLIC], 0)
        .await;
}

#[tokio::test]
async fn all_workers_are_summed() {
    let a = Backend::named("a").start();
    let proxy = Metered::start(Config::balanced([&a]).global("workers = 3")).await;
    // Connections are dealt out evenly, so every worker has some of these.
    let mut clients = Vec::new();
    for _ in 0..6 {
        clients.push(Client::connect(proxy.address()).await);
    }
    for client in &mut clients {
        assert_eq!(client.get("/").await.text(), "a");
    }
    proxy
        .until("anubis_pool_requests_total", &code("2xx"), 6)
        .await;
    proxy
        .until("anubis_backend_connections_idle", &backend("a"), 3)
        .await;
    let scrape = proxy.scrape();
    assert_eq!(
        scrape.value("anubis_listener_connections_open", &[PUBLIC]),
        6.0
    );
    assert_eq!(scrape.value("anubis_workers", &[]), 3.0);
    assert!(scrape.value("process_threads", &[]) > 3.0);
}

#[tokio::test]
async fn a_retry_is_counted_and_each_attempt_says_how_it_ended() {
    let dead = Backend::refusing("dead").await;
    let good = Backend::named("good").start();
    let config = Config::strategy("first-fit").backend(&dead, "capacity = 9");
    let proxy = Metered::start(config.backend(&good, "capacity = 9")).await;
    assert_eq!(get(proxy.address(), "/").await.text(), "good");
    let good = attempts("good", "ok");
    proxy.until("anubis_backend_attempts_total", &good, 1).await;
    let scrape = proxy.scrape();
    let dead = attempts("dead", "connect");
    assert_eq!(scrape.value("anubis_backend_attempts_total", &dead), 1.0);
    let retries = [WEB, ("reason", "connect")];
    assert_eq!(scrape.value("anubis_pool_retries_total", &retries), 1.0);
    assert_eq!(
        scrape.value("anubis_pool_requests_total", &code("2xx")),
        1.0
    );
    assert_eq!(
        scrape.value("anubis_pool_request_duration_seconds", &[WEB]),
        1.0
    );
}

#[tokio::test]
async fn a_request_lasts_until_its_answer_has_ended() {
    const PAUSE: Duration = Duration::from_millis(200);
    const LARGE: u64 = 64 << 20;
    let backend = Backend::named("a").script(|request| {
        if request.target == "/large" {
            return Answer::pattern(LARGE);
        }
        let late = Answer::head("200 OK", &[("Content-Length", "1")]);
        late.then_after(PAUSE).write("x")
    });
    let backend = backend.start();
    let proxy = Metered::start(Config::balanced([&backend])).await;
    let lasted = || {
        let scrape = proxy.scrape();
        scrape.sum("anubis_pool_request_duration_seconds", &[WEB])
    };
    assert_eq!(get(proxy.address(), "/late").await.text(), "x");
    let late = lasted();
    assert!(late >= PAUSE.as_secs_f64(), "{late} s");
    // It is the client that takes its time.
    let mut client = Client::connect(proxy.address()).await;
    client.send_get("/large").await;
    tokio::time::sleep(PAUSE).await;
    assert_eq!(client.response().await.body.len() as u64, LARGE);
    let large = lasted() - late;
    assert!(large >= PAUSE.as_secs_f64(), "{large} s");
}

#[tokio::test]
async fn a_request_lasts_as_long_as_something_better_was_waited_for() {
    let bad = Backend::named("bad")
        .answer(Answer::status("503 Not Now", "bad"))
        .start();
    let silent = Backend::named("silent").answer(Answer::silence()).start();
    let pool = "retry-on = [\"5xx\", \"timeout\"]\ntries = 2\nresponse-timeout = \"400ms\"";
    let config = Config::strategy("first-fit").pool(pool);
    let config = config
        .backend(&bad, "capacity = 9")
        .backend(&silent, "capacity = 9");
    let proxy = Metered::start(config).await;
    let answer = get(proxy.address(), "/").await;
    assert_eq!((answer.status(), answer.text()), (503, "bad".to_owned()));
    let scrape = proxy.scrape();
    let lasted = scrape.sum("anubis_pool_request_duration_seconds", &[WEB]);
    assert!(lasted >= 0.4, "{lasted} s");
}

#[tokio::test]
async fn a_refusal_says_why() {
    let dead = Backend::refusing("dead").await;
    let closing = Backend::named("closing").answer(Answer::close()).start();
    let silent = Backend::named("silent").answer(Answer::silence()).start();
    let garbage = Backend::named("garbage")
        .answer(Answer::raw("nonsense\r\n\r\n"))
        .start();
    let good = Backend::named("good").start();
    let quick = "response-timeout = \"100ms\"";
    let faulty = guests::live("(unreachable)");
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let plugin = folder.path().join("faulty.wasm");
    std::fs::write(&plugin, faulty).expect("the temporary folder is writable");
    let reject = Config::strategy(&plugin.to_string_lossy()).pool("on-fault = \"reject\"");
    for (reason, config, status) in [
        ("connect", Config::balanced([&dead]), 503),
        ("reset", Config::balanced([&closing]), 502),
        ("timeout", Config::balanced([&silent]).pool(quick), 504),
        ("protocol", Config::balanced([&garbage]), 502),
        ("reject", reject.backend(&good, ""), 503),
    ] {
        let proxy = Metered::start(config).await;
        assert_eq!(get(proxy.address(), "/").await.status(), status);
        let refused = [WEB, ("reason", reason)];
        proxy.until("anubis_pool_refusals_total", &refused, 1).await;
        proxy
            .until("anubis_pool_requests_total", &code("5xx"), 1)
            .await;
    }
}

#[tokio::test]
async fn a_full_pool_refuses_and_says_so() {
    let gate = Gate::new();
    let busy = Backend::named("busy")
        .answer(Answer::text("done").when(&gate))
        .start();
    let config = Config::strategy("round-robin").backend(&busy, "capacity = 1");
    let proxy = Metered::start(config.global("workers = 1")).await;
    let mut first = Client::connect(proxy.address()).await;
    first.send_get("/").await;
    busy.request().await;
    assert_eq!(get(proxy.address(), "/").await.status(), 503);
    let scrape = proxy.scrape();
    let refused = [WEB, ("reason", "full")];
    assert_eq!(scrape.value("anubis_pool_refusals_total", &refused), 1.0);
    assert_eq!(scrape.value("anubis_pool_requests_in_flight", &[WEB]), 1.0);
    assert_eq!(
        scrape.value("anubis_backend_attempts_in_flight", &backend("busy")),
        1.0
    );
    gate.open();
    assert_eq!(first.response().await.text(), "done");
    proxy
        .until("anubis_pool_requests_in_flight", &[WEB], 0)
        .await;
}

#[tokio::test]
async fn a_client_that_leaves_is_counted_and_nothing_stays_in_flight() {
    let silent = Backend::named("silent").answer(Answer::silence()).start();
    let proxy = Metered::start(Config::balanced([&silent])).await;
    let mut client = Client::connect(proxy.address()).await;
    client.send_get("/").await;
    silent.request().await;
    drop(client);
    proxy
        .until("anubis_pool_requests_abandoned_total", &[WEB], 1)
        .await;
    proxy
        .until("anubis_pool_requests_in_flight", &[WEB], 0)
        .await;
    let left = attempts("silent", "client-left");
    proxy.until("anubis_backend_attempts_total", &left, 1).await;
    proxy
        .until("anubis_backend_attempts_in_flight", &backend("silent"), 0)
        .await;
    proxy
        .until("anubis_listener_connections_open", &[PUBLIC], 0)
        .await;
}

#[tokio::test]
async fn a_tunnel_is_in_flight_until_it_ends() {
    let a = Backend::named("a").answer(Answer::tunnel("echo")).start();
    let proxy = Metered::start(Config::balanced([&a])).await;
    let mut client = Client::connect(proxy.address()).await;
    let upgrade = "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    client.send(upgrade).await;
    assert_eq!(client.head().await.status(), 101);
    let scrape = proxy.scrape();
    assert_eq!(scrape.value("anubis_pool_requests_in_flight", &[WEB]), 1.0);
    assert_eq!(
        scrape.value("anubis_listener_connections_open", &[PUBLIC]),
        1.0
    );
    drop(client);
    proxy
        .until("anubis_pool_requests_total", &code("1xx"), 1)
        .await;
    proxy
        .until("anubis_pool_requests_in_flight", &[WEB], 0)
        .await;
    proxy
        .until("anubis_listener_connections_open", &[PUBLIC], 0)
        .await;
}

#[tokio::test]
async fn connections_that_the_proxy_ends_say_why() {
    let a = Backend::named("a").start();
    let limits = "header-timeout = \"100ms\"\nkeep-alive = \"100ms\"\nidle-timeout = \"100ms\"";
    let proxy = Metered::start(Config::balanced([&a]).listener(limits)).await;
    let ended = |reason| [PUBLIC, ("reason", reason)];

    let mut idle = Client::connect(proxy.address()).await;
    assert_eq!(idle.get("/").await.status(), 200);
    idle.rest().await;
    proxy
        .until("anubis_listener_connections_ended_total", &ended("idle"), 1)
        .await;

    let mut slow = Client::connect(proxy.address()).await;
    slow.send("GET / HT").await;
    slow.rest().await;
    proxy
        .until(
            "anubis_listener_connections_ended_total",
            &ended("slow-head"),
            1,
        )
        .await;

    let mut malformed = Client::connect(proxy.address()).await;
    malformed.send("nonsense\r\n\r\n").await;
    malformed.rest().await;
    proxy
        .until(
            "anubis_listener_connections_ended_total",
            &ended("malformed"),
            1,
        )
        .await;
}

#[tokio::test]
async fn counts_survive_a_reload_and_go_with_what_they_count() {
    let (a, b) = (Backend::named("a").start(), Backend::named("b").start());
    let first = Config::balanced([&a, &b]).global("workers = 2");
    let other = format!("[[pools.other.backends]]\nname = \"a\"\naddress = \"{a}\"\n");
    let proxy = Metered::start(format!("{first}\n{other}\n[[routes]]\npool = \"web\"")).await;
    for _ in 0..4 {
        get(proxy.address(), "/").await;
    }
    proxy
        .until("anubis_pool_requests_total", &code("2xx"), 4)
        .await;
    let scrape = proxy.scrape();
    let kept = scrape.value("anubis_backend_attempts_total", &attempts("a", "ok"));
    let other = [("pool", "other"), ("reason", "reset")];
    assert_eq!(scrape.value("anubis_pool_retries_total", &other), 0.0);

    // Another strategy, one backend less, one pool less.
    let second = Config::strategy("least-time")
        .backend(&a, "")
        .global("workers = 2");
    proxy.configure(second);
    proxy.until("anubis_generation", &[], 2).await;
    get(proxy.address(), "/").await;
    proxy
        .until(
            "anubis_backend_attempts_total",
            &attempts("a", "ok"),
            kept + 1.0,
        )
        .await;
    let scrape = proxy.scrape();
    assert_eq!(
        scrape.value("anubis_pool_requests_total", &code("2xx")),
        5.0
    );
    assert_eq!(
        scrape.value("anubis_listener_connections_total", &[PUBLIC]),
        5.0
    );
    assert_eq!(scrape.get("anubis_backend_weight", &backend("b")), None);
    assert_eq!(scrape.get("anubis_pool_retries_total", &other), None);
    assert_eq!(
        scrape.value("anubis_reloads_total", &[("result", "published")]),
        1.0
    );

    proxy.configure("nonsense");
    let refused = [("result", "refused")];
    proxy.until("anubis_reloads_total", &refused, 1).await;
    assert_eq!(proxy.scrape().value("anubis_generation", &[]), 2.0);
}

#[tokio::test]
async fn names_are_escaped_and_known_again() {
    let name = "quote\" back\\slash\nline, {brace}";
    let a = Backend::named(name).start();
    let proxy = Metered::start(Config::balanced([&a])).await;
    assert_eq!(get(proxy.address(), "/").await.status(), 200);
    let ok = attempts(name, "ok");
    proxy.until("anubis_backend_attempts_total", &ok, 1).await;
}

#[tokio::test]
async fn a_strategy_counts_its_picks_and_its_faults() {
    let a = Backend::named("a").start();
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let plugin = folder.path().join("trap.wasm");
    let trap = guests::live("(unreachable)");
    std::fs::write(&plugin, trap).expect("the temporary folder is writable");
    let name = plugin.to_string_lossy();
    let proxy = Metered::start(
        Config::strategy(&name)
            .backend(&a, "")
            .global("workers = 1"),
    )
    .await;
    assert_eq!(get(proxy.address(), "/").await.text(), "a");
    let scrape = proxy.scrape();
    let family = scrape.families();
    let picks = family
        .iter()
        .find(|one| one.family_name == "anubis_strategy_picks");
    let picks = picks.expect("it is always there");
    let sample = picks.iter_samples().next().expect("there is one pool");
    let labels = sample.get_labelset().expect("it belongs to a family");
    let version = labels.get_label_value("version").expect("the label");
    assert_eq!(version.len(), 12, "{version}");
    let strategy = [WEB, ("strategy", &name), ("version", version)];
    assert_eq!(scrape.value("anubis_strategy_picks_total", &strategy), 1.0);
    assert_eq!(
        scrape.value("anubis_strategy_fallbacks_total", &strategy),
        1.0
    );
    let [pool, strategy, version] = strategy;
    let trap = [pool, strategy, version, ("kind", "trap")];
    assert_eq!(scrape.value("anubis_strategy_faults_total", &trap), 1.0);
}

#[tokio::test]
async fn a_quarantine_is_told_with_the_faults_that_led_to_it() {
    let a = Backend::named("a").start();
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let plugin = folder.path().join("trap.wasm");
    std::fs::write(&plugin, guests::live("unreachable")).expect("the folder is writable");
    let name = plugin.to_string_lossy();
    let proxy = Metered::start(Config::strategy(&name).backend(&a, "")).await;
    for _ in 0..20 {
        assert_eq!(get(proxy.address(), "/").await.text(), "a");
    }
    let scrape = proxy.scrape();
    let family = "anubis_strategy_quarantined";
    let families = scrape.families();
    let quarantined = families.iter().find(|one| one.family_name == family);
    let samples = quarantined.expect("it is always there").iter_samples();
    let labels = samples.last().expect("there is one pool").get_labelset();
    let labels = labels.expect("it belongs to a family");
    let version = labels.get_label_value("version").expect("the label");
    let strategy = [WEB, ("strategy", &*name), ("version", version)];
    assert_eq!(scrape.value(family, &strategy), 1.0);
    assert_eq!(
        scrape.value("anubis_strategy_quarantines_total", &strategy),
        1.0
    );
    assert_eq!(
        scrape.value("anubis_strategy_fallbacks_total", &strategy),
        20.0
    );
    let [pool, name, version] = strategy;
    let trap = [pool, name, version, ("kind", "trap")];
    assert_eq!(scrape.value("anubis_strategy_faults_total", &trap), 5.0);
    assert!(scrape.value("anubis_strategy_compile_seconds", &strategy) > 0.0);
    assert!(scrape.value("anubis_strategy_memory_bytes", &strategy) >= 0.0);
    let configured = [pool, ("origin", "configured")];
    assert_eq!(
        scrape.value("anubis_strategy_changes_total", &configured),
        1.0
    );
}

const REFERENCE: &str = include_str!("../../host/METRICS.md");

/// A row of the reference.
type Row = (String, String, String, String);

/// The tables of `host/METRICS.md`, sorted.
fn documented() -> Vec<Row> {
    let rows = REFERENCE
        .lines()
        .filter(|line| line.matches('|').count() == 5);
    let rows = rows.filter(|line| line.starts_with("| `"));
    let mut rows: Vec<Row> = rows
        .map(|row| {
            let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            let [name, kind, labels, meaning] = cells[..] else {
                panic!("not four cells: {row}");
            };
            let plain = |cell: &str| cell.replace('`', "");
            (plain(name), plain(kind), plain(labels), meaning.to_owned())
        })
        .collect();
    rows.sort();
    rows
}

/// The same of what a proxy tells.
fn told(scrape: &Scrape) -> Vec<Row> {
    let mut rows: Vec<Row> = scrape
        .families()
        .into_iter()
        .map(|family| {
            let kind = format!("{:?}", family.family_type).to_lowercase();
            let name = match &*kind {
                "counter" => format!("{}_total", family.family_name),
                _ => family.family_name.clone(),
            };
            let mut labels = family.get_label_names().to_vec();
            labels.sort();
            (name, kind, labels.join(", "), family.help.clone())
        })
        .collect();
    rows.sort();
    rows
}

#[tokio::test]
async fn every_metric_is_documented_and_every_documented_metric_exists() {
    // It tells of its load.
    let fields = [
        ("endpoint-load-metrics", "TEXT cpu_utilization=0.5"),
        ("Content-Length", "1"),
    ];
    let a = Backend::named("a")
        .answer(Answer::head("200 OK", &fields).write("a"))
        .start();
    // With both logs, so that both can have dropped lines.
    let names = NameServer::start();
    let address = names.address();
    let config = Config::balanced([&a])
        .global(&format!(
            "log.access = \"json\"\n[dns]\nservers = [\"{address}\"]"
        ))
        .pool("sticky = { cookie = \"b\" }\nload-report = {}\nagent-check = { port = 1 }")
        // One check soon, and no other for a long time.
        .pool("health-check = { interval = \"1h\", interval-down = \"10ms\" }");
    let named = "[[pools.web.backends]]\naddress = \"app.test\"\nstate = \"drain\"";
    let proxy = Metered::start(format!("{config}\n{named}")).await;
    assert_eq!(get(proxy.address(), "/").await.status(), 200);
    proxy
        .until("anubis_pool_requests_total", &code("2xx"), 1)
        .await;
    let passed = attempts("a", "passed");
    proxy
        .until("anubis_backend_health_checks_total", &passed, 1)
        .await;
    let scrape = proxy.scrape();
    let (told, documented) = (told(&scrape), documented());
    for row in &told {
        assert!(documented.contains(row), "not in the reference: {row:?}");
    }
    for row in &documented {
        assert!(told.contains(row), "not told by the proxy: {row:?}");
    }
    for family in scrape.families() {
        for sample in family.iter_samples() {
            let labels = sample.get_labelset().expect("it belongs to a family");
            for name in ["code", "reason", "result", "kind", "token"] {
                let value = labels.get_label_value(name).unwrap_or(name);
                let documented = REFERENCE.contains(&format!("`{value}`"));
                assert!(documented, "{}: {name}={value}", family.family_name);
            }
        }
    }
}
