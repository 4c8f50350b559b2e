//! Who gets the requests.

use std::collections::BTreeMap;
use std::time::Duration;

use anubis_tests::client::{self, raw};
use anubis_tests::{Answer, Backend, Client, Config, Gate, Load, Proxy};

use crate::RELOADED;

fn abc() -> [Backend; 3] {
    ["a", "b", "c"].map(|name| Backend::named(name).start())
}

fn weighted(strategy: &str, backends: &[Backend], weights: &[u16]) -> Config {
    let each = backends.iter().zip(weights);
    each.fold(Config::strategy(strategy), |config, (backend, weight)| {
        config.backend(backend, &format!("weight = {weight}"))
    })
}

fn equal(strategy: &str, backends: &[Backend]) -> Config {
    weighted(strategy, backends, &vec![1; backends.len()])
}

/// So many GETs, one after the other, each on a connection of its own.
async fn one_by_one(proxy: &Proxy, requests: usize) -> String {
    let mut answers = String::new();
    for _ in 0..requests {
        answers += &client::get(proxy.address(), "/").await.text();
    }
    answers
}

#[tokio::test]
async fn smooth_round_robin_is_exact() {
    let backends = abc();
    let proxy =
        Proxy::start(weighted("round-robin", &backends, &[5, 1, 1]).global("workers = 1")).await;
    let mut client = Client::connect(proxy.address()).await;
    let mut answers = String::new();
    for _ in 0..21 {
        answers += &client.get("/").await.text();
    }
    assert_eq!(answers, "aabacaaaabacaaaabacaa");
}

#[tokio::test]
async fn smooth_round_robin_is_exact_over_two_workers() {
    let backends = abc();
    let proxy =
        Proxy::start(weighted("round-robin", &backends, &[5, 1, 1]).global("workers = 2")).await;
    assert_eq!(one_by_one(&proxy, 28).await, "aabacaa".repeat(4));
}

#[tokio::test]
async fn round_robin_follows_the_weights_under_load() {
    let backends = abc();
    let proxy = Proxy::start(weighted("round-robin", &backends, &[3, 2, 1])).await;
    let report = Load::of(1200, proxy.address(), 8).await;
    report.assert_none_failed();
    for (name, share) in [("a", 3.0 / 6.0), ("b", 2.0 / 6.0), ("c", 1.0 / 6.0)] {
        assert!(
            (report.share(name) - share).abs() < 0.01,
            "{name}: {:?}",
            report.by_backend
        );
    }
}

#[tokio::test]
async fn the_fallback_uses_every_backend() {
    let backends = abc();
    let proxy = Proxy::start(equal("fallback", &backends)).await;
    let report = Load::of(600, proxy.address(), 8).await;
    report.assert_none_failed();
    for name in ["a", "b", "c"] {
        assert!(report.share(name) > 0.05, "{:?}", report.by_backend);
    }
}

#[tokio::test]
async fn random_follows_the_weights() {
    let backends = abc();
    let proxy = Proxy::start(weighted("random", &backends, &[3, 2, 1])).await;
    let report = Load::of(3000, proxy.address(), 8).await;
    report.assert_none_failed();
    for (name, share) in [("a", 3.0 / 6.0), ("b", 2.0 / 6.0), ("c", 1.0 / 6.0)] {
        // Five standard deviations of 3,000 draws.
        assert!(
            (report.share(name) - share).abs() < 0.05,
            "{name}: {:?}",
            report.by_backend
        );
    }
}

#[tokio::test]
async fn two_choices_uses_equals_equally() {
    let backends = abc();
    let proxy = Proxy::start(equal("two-choices", &backends)).await;
    // One at a time: nothing in flight tells one backend from another.
    let report = Load::of(1200, proxy.address(), 1).await;
    report.assert_none_failed();
    for name in ["a", "b", "c"] {
        // Six standard deviations of 1,200 draws.
        assert!(
            (report.share(name) - 1.0 / 3.0).abs() < 0.08,
            "{:?}",
            report.by_backend
        );
    }
}

#[tokio::test]
async fn least_connections_sends_the_next_request_where_fewest_run() {
    let gate = Gate::new();
    let backends = ["a", "b", "c"].map(|name| {
        let held = Answer::text(name).when(&gate);
        Backend::named(name).answer(held).start()
    });
    let proxy =
        Proxy::start(weighted("least-connections", &backends, &[2, 1, 1]).global("workers = 2"))
            .await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        let [a, b, c] = backends.each_ref().map(|backend| backend.seen().requests);
        let mut client = Client::connect(proxy.address()).await;
        client.send_get("/").await;
        clients.push(client);
        // The next is picked only once this one is in flight somewhere.
        tokio::select! {
            _ = backends[0].requests(a + 1) => {}
            _ = backends[1].requests(b + 1) => {}
            _ = backends[2].requests(c + 1) => {}
        }
    }
    let counts = backends.each_ref().map(|backend| backend.seen().requests);
    gate.open();
    assert_eq!(counts, [4, 2, 2]);
}

/// One slow and two fast backends: the slow one gets little, but some.
async fn avoids_the_slow(strategy: &str) {
    let backends = [("a", 5), ("b", 5), ("c", 100)].map(|(name, millis)| {
        Backend::named(name)
            .delay(Duration::from_millis(millis))
            .start()
    });
    let proxy = Proxy::start(equal(strategy, &backends)).await;
    let report = Load::of(1000, proxy.address(), 8).await;
    report.assert_none_failed();
    assert!(
        report.share("c") < 0.15,
        "{strategy}: {:?}",
        report.by_backend
    );
    assert!(report.of("c") > 0, "{strategy}: {:?}", report.by_backend);
    for name in ["a", "b"] {
        assert!(
            report.share(name) > 0.1,
            "{strategy}: {:?}",
            report.by_backend
        );
    }
}

#[tokio::test]
async fn least_connections_avoids_the_slow() {
    avoids_the_slow("least-connections").await;
}

#[tokio::test]
async fn least_time_avoids_the_slow() {
    avoids_the_slow("least-time").await;
}

#[tokio::test]
async fn peak_ewma_avoids_the_slow() {
    avoids_the_slow("peak-ewma").await;
}

#[tokio::test]
async fn least_time_starves_no_equal_backend() {
    // Another proxy gave the second of two equals 5 of 1,500 requests, since
    // its first answer had been slow and it was never asked again. A pause of
    // this machine, many times the 5 ms, may cost a share, but not all of it.
    let delayed = |name| Backend::named(name).delay(Duration::from_millis(5)).start();
    let backends = ["a", "b"].map(delayed);
    let proxy = Proxy::start(equal("least-time", &backends)).await;
    let report = Load::of(1500, proxy.address(), 16).await;
    report.assert_none_failed();
    for name in ["a", "b"] {
        assert!(report.share(name) > 0.1, "{:?}", report.by_backend);
    }
}

#[tokio::test]
async fn first_fit_fills_the_first_to_its_capacity() {
    let gate = Gate::new();
    let backends = ["a", "b"].map(|name| {
        Backend::named(name)
            .answer(Answer::text(name).when(&gate))
            .start()
    });
    let [a, b] = &backends;
    let config = Config::strategy("first-fit")
        .backend(a, "capacity = 2")
        .backend(b, "capacity = 2");
    let proxy = Proxy::start(config).await;
    let mut clients = Vec::new();
    for (a_has, b_has) in [(1, 0), (2, 0), (2, 1), (2, 2)] {
        let mut client = Client::connect(proxy.address()).await;
        client.send_get("/").await;
        clients.push(client);
        a.requests(a_has).await;
        b.requests(b_has).await;
    }
    assert_eq!((a.seen().requests, b.seen().requests), (2, 2));
    gate.open();
    for client in &mut clients {
        assert_eq!(client.response().await.status(), 200);
    }
    assert_eq!(
        client::get(proxy.address(), "/").await.text(),
        "a",
        "there is room at the first again"
    );
}

#[tokio::test]
async fn backups_wait_for_the_first_choice_to_fail() {
    for strategy in ["priority-zone", "fallback"] {
        let [first, backup] = ["first", "backup"].map(|name| Backend::named(name).start());
        let config = Config::strategy(strategy)
            .backend(&first, "priority = 0")
            .backend(&backup, "priority = 1");
        let proxy = Proxy::start(config).await;
        assert_eq!(
            one_by_one(&proxy, 10).await,
            "first".repeat(10),
            "{strategy}"
        );
        first.stop().await;
        assert_eq!(
            one_by_one(&proxy, 10).await,
            "backup".repeat(10),
            "{strategy}"
        );
    }
}

#[tokio::test]
async fn the_own_zone_comes_first() {
    let [far, near] = ["far", "near"].map(|name| Backend::named(name).start());
    let config = Config::strategy("priority-zone")
        .pool("zone = \"eu-1\"")
        .backend(&far, "zone = \"us-1\"")
        .backend(&near, "zone = \"eu-1\"");
    let proxy = Proxy::start(config).await;
    assert_eq!(one_by_one(&proxy, 10).await, "near".repeat(10));
}

const STICKY: [&str; 2] = ["consistent-hash", "maglev"];

/// Which backend each of a hundred users gets, on connections of their own.
async fn users(proxy: &Proxy) -> BTreeMap<usize, String> {
    let mut answers = BTreeMap::new();
    for user in 0..100 {
        let request = format!("GET / HTTP/1.1\r\nHost: h\r\nX-User: {user}\r\n\r\n");
        answers.insert(user, raw(proxy.address(), &request).await.text());
    }
    answers
}

#[tokio::test]
async fn a_key_stays_with_its_backend() {
    for strategy in STICKY {
        let backends = abc();
        let config = equal(strategy, &backends)
            .pool("hash-key = \"header:x-user\"")
            .global("workers = 2");
        let proxy = Proxy::start(config).await;
        let before = users(&proxy).await;
        assert_eq!(before, users(&proxy).await, "{strategy}");
        for name in ["a", "b", "c"] {
            let count = before.values().filter(|answer| *answer == name).count();
            assert!(count >= 10, "{strategy}: {name} has {count} of 100 users");
        }
    }
}

#[tokio::test]
async fn only_the_keys_of_a_lost_backend_move() {
    for strategy in STICKY {
        let backends = abc();
        let config =
            |backends: &[Backend]| equal(strategy, backends).pool("hash-key = \"header:x-user\"");
        let proxy = Proxy::start(config(&backends)).await;
        let before = users(&proxy).await;
        proxy.configure(config(&backends[..2]));
        proxy.log(RELOADED).await;
        let after = users(&proxy).await;
        let moved = |(user, answer): &(&usize, &String)| *answer != "c" && after[user] != **answer;
        let moved = before.iter().filter(moved).count();
        // Maglev may move a few of the others.
        assert!(
            moved <= if strategy == "maglev" { 10 } else { 0 },
            "{strategy}: {moved} moved without need"
        );
    }
}

#[tokio::test]
async fn every_kind_of_key_is_sticky() {
    let backends = abc();
    let requests = [
        (
            "header:x-user",
            "GET / HTTP/1.1\r\nHost: h\r\nX-User: KEY\r\n\r\n",
        ),
        (
            "cookie:session",
            "GET / HTTP/1.1\r\nHost: h\r\nCookie: other=1; session=KEY; more=2\r\n\r\n",
        ),
        ("path", "GET /KEY?ignored=1 HTTP/1.1\r\nHost: h\r\n\r\n"),
        (
            "query:user",
            "GET /?x=1&user=KEY HTTP/1.1\r\nHost: h\r\n\r\n",
        ),
    ];
    for (key, request) in requests {
        let config = equal("consistent-hash", &backends).pool(&format!("hash-key = \"{key}\""));
        let proxy = Proxy::start(config).await;
        let mut used = BTreeMap::<String, usize>::new();
        for user in [
            "ann", "ben", "cleo", "dan", "eve", "finn", "gus", "hal", "ida", "jo", "kim", "lee",
        ] {
            let request = request.replace("KEY", user);
            let first = raw(proxy.address(), &request).await.text();
            for _ in 0..4 {
                assert_eq!(
                    raw(proxy.address(), &request).await.text(),
                    first,
                    "{key} {user}"
                );
            }
            *used.entry(first).or_default() += 1;
        }
        assert!(used.len() > 1, "{key}: all users went to {used:?}");
    }
}

#[tokio::test]
async fn a_client_address_is_sticky() {
    let backends = abc();
    let proxy =
        Proxy::start(equal("consistent-hash", &backends).pool("hash-key = \"client-address\""))
            .await;
    let answers = one_by_one(&proxy, 20).await;
    assert_eq!(answers, answers[..1].repeat(20));
}
