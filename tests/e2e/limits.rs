//! What clients may take: connections, heads, descriptors.

use std::io;
use std::time::Duration;

use anubis_tests::client::{Client, raw};
use anubis_tests::{Backend, Config, Metered, within};
use rustix::process::{Resource, Rlimit, prlimit};

const LISTENER: (&str, &str) = ("listener", "public");

/// Sends a request on an open connection; its status.
async fn asked(client: &mut Client) -> u16 {
    client.get("/").await.status()
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_until_one_ends() {
    let backend = Backend::named("a").start();
    for config in [
        Config::balanced([&backend]).listener("max-connections = 2"),
        Config::balanced([&backend]).global("max-connections = 2"),
    ] {
        let proxy = Metered::start(config.global("workers = 1")).await;
        let mut first = Client::connect(proxy.address()).await;
        let mut second = Client::connect(proxy.address()).await;
        assert_eq!(
            (asked(&mut first).await, asked(&mut second).await),
            (200, 200)
        );
        let mut third = Client::connect(proxy.address()).await;
        third.send_get("/").await;
        proxy
            .until("anubis_listener_accepts_held_total", &[LISTENER], 1)
            .await;
        proxy
            .until("anubis_listener_connections_open", &[LISTENER], 2)
            .await;
        assert_eq!(
            asked(&mut first).await,
            200,
            "those that are there are served"
        );
        drop(first);
        assert_eq!(third.response().await.status(), 200);
    }
}

#[tokio::test]
async fn a_client_has_no_more_connections_than_it_may() {
    let backend = Backend::named("a").start();
    let config = Config::balanced([&backend]).global("workers = 2");
    let proxy = Metered::start(config.listener("max-connections-per-client = 2")).await;
    let mut first = Client::connect(proxy.address()).await;
    let mut second = Client::connect(proxy.address()).await;
    assert_eq!(
        (asked(&mut first).await, asked(&mut second).await),
        (200, 200)
    );
    let mut third = Client::connect(proxy.address()).await;
    let ended = within("the third to be closed", third.try_response()).await;
    assert!(ended.is_err(), "{:?}", ended.map(|answer| answer.text()));
    let reason = ("reason", "client-limit");
    let ended = "anubis_listener_connections_ended_total";
    proxy.until(ended, &[LISTENER, reason], 1).await;
    drop(first);
    within("room for another", async {
        loop {
            let mut another = Client::connect(proxy.address()).await;
            // It may be closed before it has got this.
            let _ = another.try_send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
            if another.try_response().await.is_ok() {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn c11_what_is_too_large_is_refused_with_its_own_status() {
    let backend = Backend::named("a").start();
    let limits = "max-request-line = \"1KiB\"\nmax-header-size = \"4KiB\"\nmax-headers = 20";
    let config = Config::balanced([&backend]).listener(limits);
    let proxy = Metered::start(config).await;
    let long = "x".repeat(1100);
    let field = format!("F: {}\r\n", "y".repeat(400));
    for (status, request) in [
        (
            200,
            format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", &long[..900]),
        ),
        (414, format!("GET /{long} HTTP/1.1\r\nHost: h\r\n\r\n")),
        (414, format!("GET /{}", long.repeat(100))),
        (
            200,
            format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", field.repeat(9)),
        ),
        (
            431,
            format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", field.repeat(11)),
        ),
        (
            431,
            format!("GET / HTTP/1.1\r\nHost: h\r\n{}", field.repeat(1000)),
        ),
        (
            431,
            format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "F: y\r\n".repeat(20)),
        ),
        (
            200,
            format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "F: y\r\n".repeat(19)),
        ),
    ] {
        let answer = raw(proxy.address(), &request).await;
        assert_eq!(answer.status(), status, "{:.60}", request);
    }
    assert_eq!(backend.log().len(), 3, "nothing of the others reached it");
}

#[tokio::test]
async fn who_sends_too_fast_is_told_when_to_come_again() {
    let backend = Backend::named("a").start();
    let config = |lines: &str| {
        let config = Config::balanced([&backend]).global("workers = 2");
        format!("{config}\n[pools.web.rate-limit]\nkey = \"header:X-Key\"\n{lines}\n")
    };
    let proxy = Metered::start(config("rate = 0.01\nburst = 3")).await;
    let ask = async |key: &str| {
        let fields = format!("Host: h\r\nX-Key: {key}\r\nConnection: close\r\n");
        raw(proxy.address(), &format!("GET / HTTP/1.1\r\n{fields}\r\n")).await
    };
    for _ in 0..3 {
        assert_eq!(ask("one").await.status(), 200);
    }
    let refused = ask("one").await;
    assert_eq!(refused.status(), 429);
    let seconds = refused.head.one("retry-after").map(str::parse::<u64>);
    assert!(matches!(seconds, Some(Ok(90..=100))), "{seconds:?}");
    assert_eq!(ask("two").await.status(), 200, "another key");
    proxy.configure(config("rate = 0.01\nburst = 4"));
    proxy.process().log(crate::RELOADED).await;
    assert_eq!(ask("one").await.status(), 200, "one more than before");
    assert_eq!(
        ask("one").await.status(),
        429,
        "what was used is remembered"
    );
    assert_eq!(backend.log().len(), 5);
    let reason = ("reason", "rate");
    proxy
        .until("anubis_pool_refusals_total", &[("pool", "web"), reason], 2)
        .await;
}

/// Descriptors run out for good: who waits is told, those that are served go on,
/// and everything is well again when there are some.
#[tokio::test]
async fn x1_without_descriptors_nobody_hangs_and_it_passes() {
    let backend = Backend::named("a").start();
    let proxy = Metered::start(Config::balanced([&backend]).global("workers = 2")).await;
    let mut served = Client::connect(proxy.address()).await;
    assert_eq!(asked(&mut served).await, 200);
    let before = no_more_descriptors(&proxy);
    let mut waits = Client::connect(proxy.address()).await;
    let ended = within("who waits to be told", waits.try_response()).await;
    assert!(ended.is_err(), "{:?}", ended.map(|answer| answer.text()));
    assert_eq!(asked(&mut served).await, 200, "who is there is served");
    let before_pause = cpu_ticks(&proxy);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let used = cpu_ticks(&proxy) - before_pause;
    assert!(used < 25, "it turns in circles: {used} of 50 ticks");
    limit_descriptors(&proxy, before);
    within("new connections to be served", async {
        while get_again(&proxy).await.is_err() {}
    })
    .await;
}

/// As with ports that ran out: the machine lacks a socket, not the backend.
#[tokio::test]
async fn x2_without_a_socket_for_it_no_backend_is_blamed() {
    let backend = Backend::named("a").start();
    let config = Config::balanced([&backend]).pool("keep-alive-connections = 0");
    let proxy = Metered::start(config.global("workers = 1")).await;
    let mut client = Client::connect(proxy.address()).await;
    assert_eq!(asked(&mut client).await, 200);
    backend
        .until("its connection to be closed", |seen| seen.open() == 0)
        .await;
    let before = no_more_descriptors(&proxy);
    for _ in 0..10 {
        assert_eq!(asked(&mut client).await, 503);
    }
    limit_descriptors(&proxy, before);
    assert_eq!(asked(&mut client).await, 200);
    let labels = [("pool", "web"), ("backend", "a"), ("result", "other")];
    proxy
        .until("anubis_backend_attempts_total", &labels, 10)
        .await;
    let labels = [("pool", "web"), ("backend", "a")];
    proxy
        .until("anubis_backend_failure_ratio", &labels, 0)
        .await;
}

/// Sets how many the proxy may have; how many it might before.
fn limit_descriptors(proxy: &Metered, limits: Rlimit) -> Rlimit {
    let process = Some(proxy.process().pid());
    prlimit(process, Resource::Nofile, limits).expect("a limit is set")
}

/// Takes away all descriptors that are not in use; what the limits were.
fn no_more_descriptors(proxy: &Metered) -> Rlimit {
    let used = proxy.process().proc_names("fd");
    let lowest_free = (0..).find(|number: &u64| !used.contains(&number.to_string()));
    let limits = Rlimit {
        current: lowest_free,
        maximum: Some(20_000),
    };
    limit_descriptors(proxy, limits)
}

async fn get_again(proxy: &Metered) -> io::Result<()> {
    let mut client = Client::try_connect(proxy.address()).await?;
    client.try_send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await?;
    client.try_response().await.map(drop)
}

/// CPU time of the proxy, in hundredths of a second.
fn cpu_ticks(proxy: &Metered) -> u64 {
    let stat = proxy.process().proc_file("stat");
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks.filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}
