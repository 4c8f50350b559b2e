//! Capacity, the pool's limit, and the queue of those who find no room.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use anubis_tests::client::{Response, get};
use anubis_tests::{
    Admin, Answer, Backend, Client, Config, Gate, Load, Metered, Proxy, guests, within,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinSet;

const WEB: (&str, &str) = ("pool", "web");

/// A pool whose requests may wait, on two workers.
fn queueing() -> Config {
    Config::strategy("round-robin")
        .global("workers = 2")
        .pool("queue-size = 100\nqueue-timeout = \"1m\"")
}

/// A backend that answers to nobody before the gate is open, and then with the
/// request's target.
fn gated(name: &str, gate: &Gate) -> Backend {
    let gate = gate.clone();
    Backend::named(name)
        .script(move |request| Answer::text(&request.target).when(&gate))
        .start()
}

/// A backend whose requests are let go one by one, in the order of their arrival.
fn one_by_one<const N: usize>(name: &str) -> (Backend, [Gate; N]) {
    let gates: [Gate; N] = std::array::from_fn(|_| Gate::new());
    let (inside, arrived) = (gates.clone(), AtomicUsize::new(0));
    let backend = Backend::named(name)
        .script(move |request| {
            let gate = &inside[arrived.fetch_add(1, SeqCst)];
            Answer::text(&request.target).when(gate)
        })
        .start();
    (backend, gates)
}

async fn queued(proxy: &Metered, count: u32) {
    proxy
        .until("anubis_pool_requests_queued", &[WEB], count)
        .await;
}

async fn refused(proxy: &Metered, reason: &str, count: u32) {
    let labels = [WEB, ("reason", reason)];
    proxy
        .until("anubis_pool_refusals_total", &labels, count)
        .await;
}

/// Sends a request that is going to wait, and waits until it does.
async fn waits(proxy: &Metered, target: &str, number: u32) -> Client {
    let mut client = Client::connect(proxy.address()).await;
    client.send_get(target).await;
    queued(proxy, number).await;
    client
}

/// Sends a request that `backend` gets as its `number`th.
async fn holds(proxy: &Metered, backend: &Backend, target: &str, number: usize) -> Client {
    let mut client = Client::connect(proxy.address()).await;
    client.send_get(target).await;
    backend.requests(number).await;
    client
}

/// A plugin's file, for as long as the folder lives.
fn plugin(guest: Vec<u8>) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let path = folder.path().join("mine.wasm");
    std::fs::write(&path, guest).expect("the temporary folder is writable");
    (folder, path)
}

fn with_plugin(path: &std::path::Path) -> Config {
    Config::strategy(&path.to_string_lossy()).global("workers = 2")
}

fn retry_after(response: &Response) -> Option<&str> {
    response.head.one("retry-after")
}

#[tokio::test]
async fn capacity_is_never_exceeded_and_everybody_is_served() {
    const CLIENTS: usize = 12;
    let (backend, gates) = one_by_one::<CLIENTS>("a");
    let config = queueing().backend(&backend, "capacity = 3");
    let proxy = Metered::start(config).await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = Client::connect(proxy.address()).await;
        client.send_get("/").await;
        clients.push(client);
    }
    queued(&proxy, (CLIENTS - 3) as u32).await;
    for (opened, gate) in gates.iter().enumerate() {
        let expected = (opened + 3).min(CLIENTS);
        backend.requests(expected).await;
        assert_eq!(backend.seen().heads, expected);
        gate.open();
    }
    for mut client in clients {
        assert_eq!(client.response().await.status(), 200);
    }
    queued(&proxy, 0).await;
    let scrape = proxy.scrape();
    let waited = scrape.value("anubis_pool_queue_duration_seconds", &[WEB]);
    assert_eq!(waited, (CLIENTS - 3) as f64);
}

#[tokio::test]
async fn capacity_holds_under_load_over_workers() {
    let backends =
        ["a", "b"].map(|name| Backend::named(name).delay(Duration::from_millis(1)).start());
    let config = backends.iter().fold(queueing(), |config, backend| {
        config.backend(backend, "capacity = 2")
    });
    let proxy = Metered::start(config).await;
    let load = Load::start(proxy.address(), 16);
    let over = |seen: &anubis_tests::backend::Seen| seen.heads - seen.answered > 2;
    tokio::select! {
        _ = backends[0].until("too many requests", over) => panic!("too many at a"),
        _ = backends[1].until("too many requests", over) => panic!("too many at b"),
        () = load.more(1_500) => {}
    }
    load.stop().await.assert_none_failed();
    queued(&proxy, 0).await;
    for name in ["a", "b"] {
        let labels = [WEB, ("backend", name)];
        proxy
            .until("anubis_backend_attempts_in_flight", &labels, 0)
            .await;
    }
}

#[tokio::test]
async fn who_came_first_is_served_first() {
    let gate = Gate::new();
    let backend = gated("a", &gate);
    let proxy = Metered::start(queueing().backend(&backend, "capacity = 1")).await;
    let mut clients = vec![holds(&proxy, &backend, "/0", 1).await];
    for number in 1..8 {
        clients.push(waits(&proxy, &format!("/{number}"), number).await);
    }
    gate.open();
    for (number, mut client) in clients.into_iter().enumerate() {
        assert_eq!(client.response().await.text(), format!("/{number}"));
    }
    let log = backend.log();
    let order: Vec<&str> = log.iter().map(|request| &*request.target).collect();
    assert_eq!(order, ["/0", "/1", "/2", "/3", "/4", "/5", "/6", "/7"]);
}

#[tokio::test]
async fn newcomers_do_not_overtake() {
    const CLIENTS: usize = 6;
    const EACH: usize = 300;
    let backend = Backend::named("a").start();
    let proxy = Metered::start(queueing().backend(&backend, "capacity = 1")).await;
    let address = proxy.address();
    // Whoever has just been served comes again at once, and finds the room that
    // it has left itself: but the others came before.
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(async move {
            let mut client = Client::connect(address).await;
            for _ in 0..EACH {
                let response = client.get(&format!("/{number}")).await;
                assert_eq!(response.status(), 200);
            }
        });
    }
    within("all to be served", clients.join_all()).await;
    let log = backend.log();
    let again = log.windows(2).filter(|two| two[0].target == two[1].target);
    // The last one is alone at the end, and this test may be stopped for a moment.
    let again = again.count();
    assert!(again < 4, "{again} times");
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let gate = Gate::new();
    let backend = gated("a", &gate);
    let config = Config::strategy("round-robin")
        .pool("queue-size = 1\nqueue-timeout = \"1m\"\nretry-after = \"7s\"")
        .backend(&backend, "capacity = 1");
    let proxy = Metered::start(config).await;
    let mut first = holds(&proxy, &backend, "/first", 1).await;
    let mut second = waits(&proxy, "/second", 1).await;
    let response = get(proxy.address(), "/third").await;
    assert_eq!(response.status(), 503);
    assert_eq!(retry_after(&response), Some("7"));
    refused(&proxy, "queue-full", 1).await;
    gate.open();
    assert_eq!(first.response().await.text(), "/first");
    assert_eq!(second.response().await.text(), "/second");
}

#[tokio::test]
async fn who_waited_too_long_is_refused() {
    let gate = Gate::new();
    let backend = gated("a", &gate);
    let config = Config::strategy("round-robin")
        .pool("queue-size = 5\nqueue-timeout = \"200ms\"")
        .backend(&backend, "capacity = 1");
    let proxy = Metered::start(config).await;
    let mut first = holds(&proxy, &backend, "/first", 1).await;
    let started = Instant::now();
    let response = get(proxy.address(), "/late").await;
    assert!(started.elapsed() >= Duration::from_millis(200));
    assert_eq!(response.status(), 503);
    assert_eq!(retry_after(&response), Some("1"));
    refused(&proxy, "queue-timeout", 1).await;
    queued(&proxy, 0).await;
    gate.open();
    assert_eq!(first.response().await.text(), "/first");
    assert_eq!(get(proxy.address(), "/now").await.text(), "/now");
    assert_eq!(backend.log().len(), 2, "who was refused was never sent");
}

#[tokio::test]
async fn without_a_queue_nobody_waits() {
    let gate = Gate::new();
    let backend = gated("a", &gate);
    let config = Config::strategy("round-robin")
        .pool("retry-after = \"0s\"")
        .backend(&backend, "capacity = 1");
    let proxy = Metered::start(config).await;
    let _first = holds(&proxy, &backend, "/first", 1).await;
    let response = get(proxy.address(), "/second").await;
    assert_eq!(response.status(), 503);
    assert_eq!(retry_after(&response), None, "{}", response.head);
    refused(&proxy, "full", 1).await;
}

#[tokio::test]
async fn a_client_that_leaves_loses_its_place() {
    let gate = Gate::new();
    let backend = gated("a", &gate);
    let proxy = Metered::start(queueing().backend(&backend, "capacity = 1")).await;
    let mut first = holds(&proxy, &backend, "/first", 1).await;
    let leaves = waits(&proxy, "/leaves", 1).await;
    let mut stays = waits(&proxy, "/stays", 2).await;
    drop(leaves);
    queued(&proxy, 1).await;
    proxy
        .until("anubis_pool_requests_abandoned_total", &[WEB], 1)
        .await;
    gate.open();
    assert_eq!(first.response().await.text(), "/first");
    assert_eq!(stays.response().await.text(), "/stays");
    let log = backend.log();
    assert!(log.iter().all(|request| request.target != "/leaves"));
}

#[tokio::test]
async fn c1_clients_that_leave_a_queue_leave_nothing_behind() {
    let backend = Backend::named("a").delay(Duration::from_millis(2)).start();
    let proxy = Metered::start(queueing().backend(&backend, "capacity = 1")).await;
    let load = Load::start(proxy.address(), 4);
    for _ in 0..150 {
        let mut client = Client::connect(proxy.address()).await;
        client.send_get("/leaves").await;
        tokio::task::yield_now().await;
        drop(client);
    }
    load.more(50).await;
    load.stop().await.assert_none_failed();
    queued(&proxy, 0).await;
    proxy
        .until("anubis_pool_requests_in_flight", &[WEB], 0)
        .await;
    let a = [WEB, ("backend", "a")];
    proxy
        .until("anubis_backend_attempts_in_flight", &a, 0)
        .await;
    assert_eq!(get(proxy.address(), "/").await.text(), "a");
}

#[tokio::test]
async fn a_reload_that_adds_room_is_for_those_who_wait() {
    let gate = Gate::new();
    let a = gated("a", &gate);
    let b = Backend::named("b").start();
    let proxy = Metered::start(queueing().backend(&a, "capacity = 1")).await;
    let mut first = holds(&proxy, &a, "/first", 1).await;
    // More room at the backend that there is.
    let mut second = waits(&proxy, "/second", 1).await;
    proxy.configure(queueing().backend(&a, "capacity = 2"));
    a.requests(2).await;
    // A new backend.
    let mut third = waits(&proxy, "/third", 1).await;
    let mut fourth = waits(&proxy, "/fourth", 2).await;
    proxy.configure(
        queueing()
            .backend(&a, "capacity = 2")
            .backend(&b, "capacity = 1"),
    );
    assert_eq!(third.response().await.text(), "b");
    assert_eq!(fourth.response().await.text(), "b");
    gate.open();
    assert_eq!(first.response().await.text(), "/first");
    assert_eq!(second.response().await.text(), "/second");
}

#[tokio::test]
async fn reloads_that_change_the_room_lose_nobody() {
    let backends =
        ["a", "b"].map(|name| Backend::named(name).delay(Duration::from_millis(1)).start());
    let config = |capacity: u32, limit: u32| {
        let config = queueing().pool(&format!("max-requests = {limit}"));
        backends.iter().fold(config, |config, backend| {
            config.backend(backend, &format!("capacity = {capacity}"))
        })
    };
    let proxy = Metered::start(config(1, 0)).await;
    let load = Load::start(proxy.address(), 12);
    for round in 1..=16 {
        load.more(20).await;
        // Without a limit, with one above the capacities, and with one below.
        proxy.configure(config(1 + round % 3, round % 4));
        proxy
            .until("anubis_generation", &[], f64::from(round + 1))
            .await;
    }
    load.more(100).await;
    load.stop().await.assert_none_failed();
    queued(&proxy, 0).await;
    for name in ["a", "b"] {
        let labels = [WEB, ("backend", name)];
        proxy
            .until("anubis_backend_attempts_in_flight", &labels, 0)
            .await;
    }
}

#[tokio::test]
async fn b19_a_pool_without_backends_queues_a_bounded_number() {
    let backend = Backend::named("a").start();
    let down = |state: &str| {
        Config::strategy("round-robin")
            .global("workers = 2")
            .pool("queue-size = 2\nqueue-timeout = \"1m\"")
            .backend(&backend, &format!("state = {state:?}"))
    };
    let proxy = Metered::start(down("maintenance")).await;
    let first = waits(&proxy, "/", 1).await;
    let second = waits(&proxy, "/", 2).await;
    let response = get(proxy.address(), "/").await;
    assert_eq!(response.status(), 503);
    assert!(retry_after(&response).is_some(), "{}", response.head);
    assert_eq!(backend.seen().opened, 0);
    proxy.configure(down("active"));
    for mut client in [first, second] {
        assert_eq!(client.response().await.text(), "a");
    }
}

#[tokio::test]
async fn a_backend_that_is_healthy_again_is_for_those_who_wait() {
    let gate = Gate::new();
    let well = Arc::new(AtomicBool::new(false));
    let (hold, switch) = (gate.clone(), Arc::clone(&well));
    let busy = Backend::named("busy")
        .script(move |request| match request.target.as_str() {
            "/healthz" => Answer::text(""),
            _ => Answer::text("busy").when(&hold),
        })
        .start();
    let ill = Backend::named("ill")
        .script(move |request| match request.target.as_str() {
            "/healthz" if !switch.load(SeqCst) => Answer::status("500 Internal Server Error", ""),
            _ => Answer::text("ill"),
        })
        .start();
    let config = queueing().backend(&busy, "capacity = 1").backend(&ill, "");
    let checks = "path = \"/healthz\"\ninterval = \"50ms\"\nstart = \"unhealthy\"";
    let config = format!("{config}\n[pools.web.health-check]\n{checks}\n");
    let proxy = Metered::start(config).await;
    let backend = [WEB, ("backend", "busy")];
    proxy.until("anubis_backend_healthy", &backend, 1).await;
    let mut first = Client::connect(proxy.address()).await;
    first.send_get("/first").await;
    proxy
        .until("anubis_backend_attempts_in_flight", &backend, 1)
        .await;
    let mut second = waits(&proxy, "/second", 1).await;
    well.store(true, SeqCst);
    assert_eq!(second.response().await.text(), "ill");
    gate.open();
    assert_eq!(first.response().await.text(), "busy");
}

#[tokio::test]
async fn b19_who_comes_while_all_are_ill_waits_for_the_first_that_is_well() {
    let well = Arc::new(AtomicBool::new(false));
    let backends = ["a", "b"].map(|name| {
        let switch = Arc::clone(&well);
        Backend::named(name)
            .script(move |request| match request.target.as_str() {
                "/healthz" if !switch.load(SeqCst) => {
                    Answer::status("500 Internal Server Error", "")
                }
                _ => Answer::text("well"),
            })
            .start()
    });
    let config = backends
        .iter()
        .fold(queueing().pool("panic-threshold = 0"), |config, backend| {
            config.backend(backend, "")
        });
    let checks = "path = \"/healthz\"\ninterval = \"50ms\"\nstart = \"unhealthy\"";
    let proxy = Metered::start(format!("{config}\n[pools.web.health-check]\n{checks}\n")).await;
    let mut clients = Vec::new();
    for number in 1..=5 {
        clients.push(waits(&proxy, "/", number).await);
    }
    let asked = |backend: &Backend| backend.log().iter().any(|request| request.target == "/");
    assert!(!backends.iter().any(asked), "only checks are sent");
    well.store(true, SeqCst);
    for mut client in clients {
        assert_eq!(client.response().await.text(), "well");
    }
}

#[tokio::test]
async fn a_session_that_must_not_move_waits_for_its_backend() {
    let gate = Gate::new();
    let backends = ["a", "b"].map(|name| {
        let hold = gate.clone();
        Backend::named(name)
            .script(move |request| match request.target.as_str() {
                "/hold" => Answer::text(name).when(&hold),
                _ => Answer::text(name),
            })
            .start()
    });
    let sticky = "sticky = { cookie = \"sid\", on-lost = \"reject\" }";
    let config = backends.iter().fold(queueing(), |config, backend| {
        config.backend(backend, "capacity = 1")
    });
    let proxy = Metered::start(config.pool(sticky)).await;
    let first = get(proxy.address(), "/").await;
    let mine = first.text();
    let set = first.head.one("set-cookie").expect("a cookie");
    let cookie = set.split(';').next().expect("a pair");
    let request = |target| format!("GET {target} HTTP/1.1\r\nHost: h\r\nCookie: {cookie}\r\n\r\n");
    let mut holding = Client::connect(proxy.address()).await;
    holding.send(request("/hold")).await;
    proxy
        .until(
            "anubis_backend_attempts_in_flight",
            &[WEB, ("backend", &mine)],
            1,
        )
        .await;
    let mut waiting = Client::connect(proxy.address()).await;
    waiting.send(request("/")).await;
    queued(&proxy, 1).await;
    // It is in nobody's way.
    assert_ne!(get(proxy.address(), "/").await.text(), mine);
    gate.open();
    assert_eq!(holding.response().await.text(), mine);
    assert_eq!(waiting.response().await.text(), mine);
}

#[tokio::test]
async fn who_waits_for_the_strategy_is_in_nobodys_way() {
    // By the path's hash, one half is answered by the other backend; then that
    // half is held back.
    let odd = "(i32.and (i32.wrap_i64 (local.get $key)) (i32.const 1))";
    let (_folder, path) = plugin(guests::live(odd));
    let backends = ["even", "odd"].map(|name| Backend::named(name).start());
    let config = |path: &std::path::Path| {
        with_plugin(path)
            .pool("hash-key = \"path\"\nqueue-size = 5\nqueue-timeout = \"1m\"")
            .backend(&backends[0], "")
            .backend(&backends[1], "")
    };
    let proxy = Metered::start(config(&path)).await;
    let mut paths = [None, None];
    for number in 0.. {
        let target = format!("/{number}");
        let is_odd = get(proxy.address(), &target).await.text() == "odd";
        paths[usize::from(is_odd)] = Some(target);
        if paths.iter().all(Option::is_some) {
            break;
        }
    }
    let [even, odd_path] = paths.map(|path| path.expect("both were found"));

    let body = format!(
        "(if (result i32) {odd} (then {}) (else (i32.const 0)))",
        guests::WAIT
    );
    let (_other, path) = plugin(guests::live(&body));
    proxy.configure(config(&path));
    proxy.until("anubis_generation", &[], 2).await;
    let mut held = Client::connect(proxy.address()).await;
    // A worker may still have the strategy before.
    loop {
        held.send_get(&odd_path).await;
        tokio::select! {
            response = held.response() => assert_eq!(response.text(), "odd"),
            () = queued(&proxy, 1) => break,
        }
    }
    for _ in 0..20 {
        assert_eq!(get(proxy.address(), &even).await.text(), "even");
    }
    assert_eq!(
        proxy.scrape().value("anubis_pool_requests_queued", &[WEB]),
        1.0
    );
    // Another strategy is for those who wait too.
    let (_third, path) = plugin(guests::live("(i32.const 1)"));
    proxy.configure(config(&path));
    assert_eq!(held.response().await.text(), "odd");
}

#[tokio::test]
async fn who_waits_when_the_proxy_stops_is_served_within_the_grace_time() {
    let gate = Gate::new();
    let backend = gated("a", &gate);
    let proxy = Metered::start(queueing().backend(&backend, "capacity = 1")).await;
    let mut first = holds(&proxy, &backend, "/first", 1).await;
    let mut second = waits(&proxy, "/second", 1).await;
    proxy.proxy().terminate();
    within("the listener to be closed", async {
        while Client::try_connect(proxy.address()).await.is_ok() {}
    })
    .await;
    gate.open();
    assert_eq!(first.response().await.text(), "/first");
    assert_eq!(second.response().await.text(), "/second");
    assert_eq!(proxy.proxy().exit().await, Some(0));
}

#[tokio::test]
async fn the_grace_time_ends_waiting_too() {
    let backend = Backend::named("a").answer(Answer::silence()).start();
    let config = queueing()
        .global("shutdown-grace = \"300ms\"")
        .backend(&backend, "capacity = 1");
    let proxy = Metered::start(config).await;
    let _first = holds(&proxy, &backend, "/first", 1).await;
    let mut second = waits(&proxy, "/second", 1).await;
    proxy.proxy().terminate();
    within("the connection to be cut", second.reader.closed()).await;
    assert!(proxy.proxy().exit().await.is_some());
}

#[tokio::test]
async fn a_retry_waits_for_a_backend_that_it_has_not_tried() {
    let gate = Gate::new();
    let busy = gated("busy", &gate);
    let dead = Backend::refusing("dead").await;
    let config = Config::strategy("first-fit")
        .pool("queue-size = 5\nqueue-timeout = \"1m\"")
        .backend(&busy, "capacity = 1")
        .backend(&dead, "capacity = 100");
    let proxy = Metered::start(config).await;
    let mut first = holds(&proxy, &busy, "/first", 1).await;
    let mut second = waits(&proxy, "/second", 1).await;
    gate.open();
    assert_eq!(first.response().await.text(), "/first");
    assert_eq!(second.response().await.text(), "/second");
}

#[tokio::test]
async fn a_pool_has_no_more_requests_than_its_limit() {
    const CLIENTS: usize = 8;
    let (backend, gates) = one_by_one::<CLIENTS>("a");
    let config = queueing().pool("max-requests = 2").backend(&backend, "");
    let proxy = Metered::start(config).await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = Client::connect(proxy.address()).await;
        client.send_get("/").await;
        clients.push(client);
    }
    queued(&proxy, (CLIENTS - 2) as u32).await;
    for (opened, gate) in gates.iter().enumerate() {
        let expected = (opened + 2).min(CLIENTS);
        backend.requests(expected).await;
        assert_eq!(backend.seen().heads, expected);
        gate.open();
    }
    for mut client in clients {
        assert_eq!(client.response().await.status(), 200);
    }
}

#[tokio::test]
async fn a_limit_without_a_queue_refuses() {
    let gate = Gate::new();
    let backend = gated("a", &gate);
    let config = Config::balanced([&backend]).pool("max-requests = 1");
    let proxy = Metered::start(config).await;
    let mut first = holds(&proxy, &backend, "/first", 1).await;
    let response = get(proxy.address(), "/second").await;
    assert_eq!(response.status(), 503);
    assert_eq!(retry_after(&response), Some("1"));
    refused(&proxy, "limit", 1).await;
    gate.open();
    assert_eq!(first.response().await.text(), "/first");
    within("the place to be free again", async {
        while get(proxy.address(), "/again").await.status() == 503 {}
    })
    .await;
}

#[tokio::test]
async fn a_limit_counts_a_tunnel_until_it_ends() {
    let backend = Backend::named("a")
        .script(|request| match request.target.as_str() {
            "/tunnel" => Answer::tunnel("echo"),
            _ => Answer::text("a"),
        })
        .start();
    let config = queueing().pool("max-requests = 1").backend(&backend, "");
    let proxy = Metered::start(config).await;
    let mut tunnel = Client::connect(proxy.address()).await;
    let upgrade = "GET /tunnel HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    tunnel.send(upgrade).await;
    assert_eq!(tunnel.head().await.status(), 101);
    let mut second = waits(&proxy, "/second", 1).await;
    drop(tunnel);
    assert_eq!(second.response().await.text(), "a");
}

#[tokio::test]
async fn a_strategys_wait_lasts_until_an_attempt_ends() {
    // As if the backend had a capacity of one, which only the strategy knows of.
    let in_flight = "(i32.load offset=20 (local.get $backends))";
    let body = format!(
        "(if (result i32) {in_flight} (then {}) (else (i32.const 0)))",
        guests::WAIT
    );
    let (_folder, path) = plugin(guests::live(&body));
    let gate = Gate::new();
    let backend = gated("a", &gate);
    let config = with_plugin(&path)
        .pool("queue-size = 5\nqueue-timeout = \"1m\"")
        .backend(&backend, "");
    let proxy = Metered::start(config).await;
    let mut first = holds(&proxy, &backend, "/first", 1).await;
    let mut second = waits(&proxy, "/second", 1).await;
    assert_eq!(backend.seen().heads, 1);
    gate.open();
    assert_eq!(first.response().await.text(), "/first");
    assert_eq!(second.response().await.text(), "/second");
    let scrape = proxy.scrape();
    assert!(scrape.value("anubis_pool_strategy_waits_total", &[WEB]) >= 1.0);
}

#[tokio::test]
async fn a_strategy_that_changes_its_mind_is_asked_again() {
    // It takes to the request when it has been asked often enough: nothing else
    // happens in this pool.
    let body = format!(
        "(if (result i32) (i64.lt_u (local.get $sequence) (i64.const 5)) (then {}) (else (i32.const 0)))",
        guests::WAIT
    );
    let (_folder, path) = plugin(guests::live(&body));
    let backend = Backend::named("a").start();
    let config = with_plugin(&path)
        .pool("queue-size = 5\nqueue-timeout = \"1m\"")
        .backend(&backend, "");
    let proxy = Metered::start(config).await;
    assert_eq!(get(proxy.address(), "/").await.text(), "a");
}

#[tokio::test]
async fn a_strategys_wait_is_503_without_a_queue_and_when_it_lasts_too_long() {
    let (_folder, path) = plugin(guests::live(guests::WAIT));
    let backend = Backend::named("a").start();
    for (queue, reason) in [
        ("", "wait"),
        ("queue-size = 5\nqueue-timeout = \"250ms\"", "queue-timeout"),
    ] {
        let proxy = Metered::start(with_plugin(&path).pool(queue).backend(&backend, "")).await;
        let response = get(proxy.address(), "/").await;
        assert_eq!(response.status(), 503);
        assert_eq!(retry_after(&response), Some("1"));
        refused(&proxy, reason, 1).await;
    }
    assert_eq!(backend.seen().heads, 0);
}

#[tokio::test]
async fn a_strategy_that_rejects_is_obeyed_with_its_status() {
    let backend = Backend::named("a").start();
    for (status, told) in [(429, Some("3")), (503, Some("3")), (418, None)] {
        let (_folder, path) = plugin(guests::live(&guests::reject(status)));
        let config = with_plugin(&path)
            .pool("queue-size = 5\nretry-after = \"2500ms\"")
            .backend(&backend, "");
        let proxy = Metered::start(config).await;
        let response = get(proxy.address(), "/").await;
        assert_eq!(response.status(), status);
        assert_eq!(retry_after(&response), told, "{}", response.head);
        refused(&proxy, "reject", 1).await;
    }
    assert_eq!(backend.seen().heads, 0);
}

#[tokio::test]
async fn the_access_log_tells_how_long_a_request_waited() {
    let gate = Gate::new();
    let backend = gated("a", &gate);
    let config = queueing()
        .global("[log]\naccess = \"json\"")
        .backend(&backend, "capacity = 1");
    let proxy = Metered::start(config).await;
    let mut first = holds(&proxy, &backend, "/first", 1).await;
    let mut second = waits(&proxy, "/second", 1).await;
    gate.open();
    assert_eq!(first.response().await.text(), "/first");
    assert_eq!(second.response().await.text(), "/second");
    for (target, has_waited) in [("/first", false), ("/second", true)] {
        let text = proxy.proxy().process().printed(target).await;
        let line = text.lines().find(|line| line.contains(target));
        let line: Value = serde_json::from_str(line.expect("it was found")).expect("it is JSON");
        let queue_us = line["queue_us"].as_u64().expect("a number");
        assert_eq!(queue_us > 0, has_waited, "{line}");
        assert!(queue_us <= line["duration_us"].as_u64().expect("a number"));
    }
}

#[tokio::test]
async fn the_admin_api_shows_the_queue_and_its_limits() {
    let gate = Gate::new();
    let backend = gated("a", &gate);
    let config = queueing()
        .global("[admin]\naddress = \"127.0.0.1:0\"")
        .pool("max-requests = 1")
        .backend(&backend, "");
    let proxy = Proxy::start(config).await;
    let admin = Admin::of(&proxy).await;
    let mut first = Client::connect(proxy.address()).await;
    first.send_get("/first").await;
    backend.request().await;
    let mut second = Client::connect(proxy.address()).await;
    second.send_get("/second").await;
    let expected = serde_json::json!({
        "max_requests": 1, "requests": 1, "queue_size": 100, "queued": 1,
        "queue_timeout_us": 60_000_000,
    });
    within("the second to wait", async {
        while admin.get("/v1/pools/web").await.json["admission"] != expected {}
    })
    .await;
    let pools = admin.get("/v1/pools").await;
    assert_eq!(pools.json["pools"][0]["queued"], 1);
}
