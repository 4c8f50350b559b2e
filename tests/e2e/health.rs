//! Health checks: who is asked what, how often, and what becomes of it.

mod grpc;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anubis_tests::backend::Request;
use anubis_tests::client::get;
use anubis_tests::proxy::Folder;
use anubis_tests::{Admin, Answer, Backend, Config, Gate, Load, Metered, Proxy};
use rustix::process::Signal;

const HEALTHY: &str = "backend is healthy";
const UNHEALTHY: &str = "backend is unhealthy";

/// Lines of a pool: checked at `/healthz`, often enough for a test.
fn checked(lines: &str) -> String {
    format!("[pools.web.health-check]\npath = \"/healthz\"\ninterval = \"30ms\"\n{lines}\n")
}

/// A pool `web` of these backends, checked so.
fn pool<'a>(backends: impl IntoIterator<Item = &'a Backend>, lines: &str) -> String {
    with(Config::balanced(backends), lines)
}

/// The configuration with checks. Tables come after the keys.
fn with(config: Config, lines: &str) -> String {
    format!("{config}\n{}", checked(lines))
}

/// A backend whose checks pass while the switch is on; to anything else it
/// answers with its name.
fn switched(name: &'static str) -> (Backend, Arc<AtomicBool>) {
    let well = Arc::new(AtomicBool::new(true));
    let switch = Arc::clone(&well);
    let backend = Backend::named(name).script(move |request| match request.target.as_str() {
        "/healthz" if switch.load(Ordering::SeqCst) => Answer::text("fine"),
        "/healthz" => Answer::status("500 Internal Server Error", "ill"),
        _ => Answer::text(name),
    });
    (backend.start(), well)
}

/// The checks among the requests of a backend.
fn checks(backend: &Backend) -> Vec<Request> {
    let of = |request: &Request| request.target.starts_with("/healthz");
    backend.log().into_iter().filter(of).collect()
}

/// The requests that are none.
fn others(backend: &Backend) -> usize {
    backend.log().len() - checks(backend).len()
}

/// Waits until `other` is asked some ten times without `backend` being asked.
async fn no_more_checks(backend: &Backend, other: &Backend) {
    anubis_tests::within("the checks to end", async {
        loop {
            let asked = backend.seen().opened;
            let more = other.seen().requests + 10;
            other.requests(more).await;
            if backend.seen().opened == asked {
                return;
            }
        }
    })
    .await;
}

/// Who answers so many requests.
async fn who(proxy: &Proxy, count: usize) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for _ in 0..count {
        let answer = get(proxy.address(), "/").await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        names.insert(answer.text());
    }
    names
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn an_unhealthy_backend_gets_no_requests_until_it_is_healthy_again() {
    let (a, well) = switched("a");
    let (b, _) = switched("b");
    let (c, _) = switched("c");
    let proxy = Proxy::start(pool([&a, &b, &c], "")).await;
    a.requests(2).await;
    assert_eq!(who(&proxy, 9).await, names(&["a", "b", "c"]));

    well.store(false, Ordering::SeqCst);
    let line = proxy.log(UNHEALTHY).await;
    assert_eq!(line["level"], "WARN");
    assert_eq!(line["pool"], "web");
    assert_eq!(line["backend"], "a");
    assert_eq!(line["error"], "status 500");
    assert_eq!(who(&proxy, 9).await, names(&["b", "c"]));

    well.store(true, Ordering::SeqCst);
    let line = proxy.log(HEALTHY).await;
    assert_eq!(
        (&line["pool"], &line["backend"]),
        (&"web".into(), &"a".into())
    );
    assert_eq!(who(&proxy, 9).await, names(&["a", "b", "c"]));
    assert_eq!(proxy.process().stderr().matches(UNHEALTHY).count(), 1);
}

#[tokio::test]
async fn a_check_says_who_asks_and_takes_its_connection_along() {
    let a = Backend::named("a").start();
    let lines = "headers = { X-Check = \"yes\", accept = \"text/plain\" }\nhost = \"status.internal\"\nmethod = \"HEAD\"";
    let _proxy = Proxy::start(pool([&a], lines)).await;
    let check = a.request().await;
    assert_eq!((&*check.method, &*check.target), ("HEAD", "/healthz"));
    let head = &check.head;
    let agent = head.one("user-agent").expect("a user agent");
    assert!(agent.starts_with("anubis-health-check/"), "{agent}");
    assert_eq!(head.one("host"), Some("status.internal"));
    assert_eq!(head.one("connection"), Some("close"));
    assert_eq!(head.one("x-check"), Some("yes"));
    assert_eq!(head.one("accept"), Some("text/plain"));
    a.until("every check's connection but the last to be over", |seen| {
        seen.requests >= 3 && seen.open() <= 1
    })
    .await;
    assert_eq!(a.seen().aborted, 0);
}

#[tokio::test]
async fn without_a_host_the_backends_address_is_named() {
    let a = Backend::named("a").start();
    let _proxy = Proxy::start(pool([&a], "")).await;
    let address = a.address().to_string();
    assert_eq!(a.request().await.head.one("host"), Some(&*address));
}

#[tokio::test]
async fn a_backend_may_be_given_by_name() {
    let a = Backend::named("a").start();
    let port = a.address().port();
    let config = pool([&a], "").replace("127.0.0.1:", "localhost:");
    // The listener's own is no name.
    let config = config.replace("localhost:0", "127.0.0.1:0");
    let proxy = Metered::start(config).await;
    let labels = [("pool", "web"), ("backend", "a"), ("result", "passed")];
    within_scrape(&proxy, "anubis_backend_health_checks_total", &labels).await;
    let host = format!("localhost:{port}");
    assert_eq!(a.request().await.head.one("host"), Some(&*host));
}

#[tokio::test]
async fn statuses_are_as_expected_or_not() {
    let moved = Backend::named("moved")
        .answer(Answer::head("302 Found", &[("Content-Length", "0")]))
        .start();
    let missing = Backend::named("missing")
        .answer(Answer::status("404 Not Found", ""))
        .start();
    let fine = Backend::named("fine").start();
    let proxy = Proxy::start(pool([&moved, &missing, &fine], "")).await;
    let line = proxy.log(UNHEALTHY).await;
    assert_eq!(
        (&line["backend"], &line["error"]),
        (&"missing".into(), &"status 404".into())
    );

    let expecting = "expect-status = [404, \"200\"]";
    proxy.configure(pool([&moved, &missing, &fine], expecting));
    // Neither order is promised.
    let mut told = BTreeSet::new();
    for _ in 0..2 {
        let line = proxy.log("backend is").await;
        told.insert((line["message"].to_string(), line["backend"].to_string()));
    }
    let expected = [(HEALTHY, "missing"), (UNHEALTHY, "moved")];
    let quoted = |(message, name)| (format!("{message:?}"), format!("{name:?}"));
    assert_eq!(told, expected.map(quoted).into());
}

#[tokio::test]
async fn a_body_has_to_contain_what_it_should() {
    // In two pieces, after a lot of nothing.
    let padding = "x".repeat(20_000);
    let gate = Gate::new();
    let length = (padding.len() + "status: fine".len()).to_string();
    let pieces = Answer::head("200 OK", &[("Content-Length", &length)])
        .write(format!("{padding}status: f"))
        .then_when(&gate)
        .write("ine");
    let pieces = Backend::named("pieces").answer(pieces).start();
    // Far beyond what is looked at.
    let late = format!("{}status: fine", "x".repeat(70_000));
    let late = Backend::named("late").answer(Answer::text(&late)).start();
    let wrong = Backend::named("wrong")
        .answer(Answer::text("status: ill"))
        .start();
    let lines = "expect-body = \"status: fine\"\ntimeout = \"20s\"";
    let proxy = Metered::start(pool([&pieces, &late, &wrong], lines)).await;
    gate.open();
    let passed = [("pool", "web"), ("backend", "pieces"), ("result", "passed")];
    let name = "anubis_backend_health_checks_total";
    within_scrape(&proxy, name, &passed).await;
    for backend in ["late", "wrong"] {
        let labels = [("pool", "web"), ("backend", backend)];
        proxy.until("anubis_backend_healthy", &labels, 0).await;
        let body = [labels[0], labels[1], ("result", "body")];
        assert!(proxy.scrape().value(name, &body) >= 3.0);
        let passed = [labels[0], labels[1], ("result", "passed")];
        assert_eq!(proxy.scrape().value(name, &passed), 0.0);
    }
}

/// Waits until a counter has counted something.
async fn within_scrape(proxy: &Metered, name: &str, labels: &[(&str, &str)]) {
    anubis_tests::within(name, async {
        while proxy.scrape().get(name, labels).unwrap_or_default() == 0.0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn another_port_is_asked_where_one_is_given() {
    let a = Backend::named("a").start();
    let b = Backend::named("b").start();
    let status = Backend::named("status").start();
    let lines = format!("port = {}", status.address().port());
    let proxy = Proxy::start(pool([&a, &b], &lines)).await;
    let seen = status.requests(6).await;
    let hosts: BTreeSet<_> = seen
        .iter()
        .map(|request| request.head.one("host"))
        .collect();
    let addresses = [&a, &b].map(|one| one.address().to_string());
    assert_eq!(hosts, addresses.iter().map(|one| Some(&**one)).collect());
    assert_eq!((a.seen().opened, b.seen().opened), (0, 0));
    assert_eq!(who(&proxy, 4).await, names(&["a", "b"]));
}

#[tokio::test]
async fn a_connection_is_enough_for_tcp() {
    let a = Backend::named("a").start();
    let b = Backend::named("b").start();
    let tcp = "[pools.web.health-check]\ntype = \"tcp\"\ninterval = \"30ms\"\n";
    let proxy = Proxy::start(format!("{}\n{tcp}", Config::balanced([&a, &b]))).await;
    a.until("connections that say nothing", |seen| {
        seen.opened >= 3 && seen.open() <= 1
    })
    .await;
    assert_eq!(a.seen().heads, 0);
    a.stop().await;
    let line = proxy.log(UNHEALTHY).await;
    assert_eq!(
        (&line["backend"], &line["error"]),
        (&"a".into(), &"connection refused".into())
    );
    a.restart().await;
    proxy.log(HEALTHY).await;
}

#[tokio::test]
async fn as_many_results_as_asked_for_change_it_and_no_fewer() {
    // What each check gets, in order: two failures are no fall, two passed
    // checks no rise.
    const ANSWERS: &str = "+--+---++-+++";
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let script = move |request: &Request| match request.target.as_str() {
        "/healthz" => match ANSWERS.as_bytes().get(count.fetch_add(1, Ordering::SeqCst)) {
            Some(b'+') => Answer::text("fine"),
            Some(_) => Answer::status("503 Service Unavailable", ""),
            None => Answer::silence(),
        },
        _ => Answer::text("a"),
    };
    let a = Backend::named("a").script(script).start();
    let lines = "rise = 3\nfall = 3\ntimeout = \"20s\"";
    let b = Backend::named("b").start();
    let proxy = Metered::start(pool([&a, &b], lines)).await;
    a.requests(ANSWERS.len() + 1).await;
    let labels = [("pool", "web"), ("backend", "a")];
    proxy.until("anubis_backend_healthy", &labels, 1).await;
    let log = proxy.proxy().process().stderr();
    assert_eq!(log.matches(UNHEALTHY).count(), 1, "{log}");
    assert_eq!(log.matches(HEALTHY).count(), 1, "{log}");
    let result = |result| [labels[0], labels[1], ("result", result)];
    let scrape = proxy.scrape();
    let name = "anubis_backend_health_checks_total";
    assert_eq!(scrape.value(name, &result("passed")), 7.0);
    assert_eq!(scrape.value(name, &result("status")), 6.0);
}

#[tokio::test]
async fn a_backend_that_is_down_is_asked_sooner() {
    let (a, well) = switched("a");
    let (b, _) = switched("b");
    well.store(false, Ordering::SeqCst);
    // Without it, falling and rising would take minutes.
    let lines = "interval-down = \"20ms\"";
    let config = pool([&a, &b], lines).replace("\"30ms\"", "\"60s\"");
    let proxy = Proxy::start(config).await;
    proxy.log(UNHEALTHY).await;
    well.store(true, Ordering::SeqCst);
    proxy.log(HEALTHY).await;
    // And once all is well there is no hurry.
    assert!(checks(&b).len() <= 2, "{}", checks(&b).len());
}

#[tokio::test]
async fn a_silent_backend_is_unhealthy_when_its_time_is_over() {
    let silent = Backend::named("silent")
        .script(|request| match request.target.as_str() {
            "/healthz" => Answer::silence(),
            _ => Answer::text("silent"),
        })
        .start();
    let b = Backend::named("b").start();
    let proxy = Proxy::start(pool([&silent, &b], "timeout = \"150ms\"")).await;
    let line = proxy.log(UNHEALTHY).await;
    assert_eq!(line["backend"], "silent");
    assert_eq!(line["error"], "no answer within 150ms");
    assert_eq!(who(&proxy, 6).await, names(&["b"]));
    silent
        .until("the checks to be given up", |seen| seen.aborted >= 3)
        .await;
}

#[tokio::test]
async fn what_is_no_answer_is_told_apart() {
    let garbage = Backend::named("garbage")
        .answer(Answer::raw("SSH-2.0-OpenSSH\r\n").then_close())
        .start();
    let closes = Backend::named("closes").answer(Answer::close()).start();
    let huge = Answer::raw(format!(
        "HTTP/1.1 200 OK\r\nX: {}\r\n\r\n",
        "x".repeat(100_000)
    ));
    let huge = Backend::named("huge").answer(huge).start();
    let blackhole = Backend::blackhole("blackhole").await;
    let backends = [&garbage, &closes, &huge, &blackhole];
    let proxy = Proxy::start(pool(backends, "timeout = \"3s\"\nfall = 1")).await;
    let mut errors = std::collections::BTreeMap::new();
    for _ in 0..4 {
        let line = proxy.log(UNHEALTHY).await;
        let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        errors.insert(text("backend"), text("error"));
    }
    assert!(
        errors["garbage"].starts_with("its answer is not HTTP: "),
        "{errors:?}"
    );
    assert!(
        errors["huge"].starts_with("its answer is not HTTP: "),
        "{errors:?}"
    );
    assert_eq!(errors["closes"], "closed before it answered");
    assert_eq!(errors["blackhole"], "no answer within 3s");
}

#[tokio::test]
async fn an_endless_body_is_not_read_for_ever() {
    let endless = Answer::head("200 OK", &[("Transfer-Encoding", "chunked")]);
    let endless = endless.write("5\r\nhello\r\n").then_silence();
    let a = Backend::named("a").answer(endless).start();
    let proxy = Metered::start(pool([&a], "interval-down = \"30ms\"")).await;
    // The head is the result; what follows is left soon after.
    a.until("checks that pass and end", |seen| {
        seen.requests >= 10 && seen.aborted >= 3
    })
    .await;
    let labels = [("pool", "web"), ("backend", "a")];
    assert_eq!(proxy.scrape().value("anubis_backend_healthy", &labels), 1.0);
}

#[tokio::test]
async fn every_backend_is_checked_once_and_not_once_a_worker() {
    let a = Backend::named("a").start();
    let b = Backend::named("b").start();
    let lines = "interval-down = \"200ms\"";
    let config = pool([&a, &b], lines).replace("\"30ms\"", "\"200ms\"");
    let began = Instant::now();
    let _proxy = Proxy::start(format!("workers = 4\n{config}")).await;
    a.requests(8).await;
    // The first may come at once, and each of the others up to a tenth early.
    let least = Duration::from_millis(180) * 6;
    assert!(began.elapsed() >= least, "{:?}", began.elapsed());
    b.requests(3).await;
}

#[tokio::test]
async fn a_reload_keeps_what_is_known() {
    let (a, well) = switched("a");
    let (b, _) = switched("b");
    let (c, _) = switched("c");
    well.store(false, Ordering::SeqCst);
    let config = |lines: &str| pool([&a, &b, &c], lines);
    let proxy = Proxy::start(config("")).await;
    proxy.log(UNHEALTHY).await;
    let before = others(&a);
    for lines in [
        // Something else of the pool, then the checks themselves.
        with(Config::balanced([&a, &b, &c]).pool("tries = 2"), ""),
        config("fall = 1"),
        config("interval-down = \"10s\""),
    ] {
        proxy.configure(lines);
        proxy.log(super::RELOADED).await;
        assert_eq!(who(&proxy, 12).await, names(&["b", "c"]));
    }
    assert_eq!(others(&a), before);
    assert_eq!(proxy.process().stderr().matches(UNHEALTHY).count(), 1);
}

/// X6: the successor knows what its predecessor found out.
#[tokio::test]
async fn x6_a_successor_keeps_what_is_known() {
    let (a, well) = switched("a");
    let (b, _) = switched("b");
    let (c, _) = switched("c");
    let lines = "start = \"unhealthy\"\nrise = 2\nfall = 1000";
    let proxy = Proxy::start(pool([&a, &b, &c], &lines.replace("1000", "1"))).await;
    for _ in 0..3 {
        proxy.log(HEALTHY).await;
    }
    well.store(false, Ordering::SeqCst);
    proxy.log(UNHEALTHY).await;
    // From its own checks it would not find out so soon.
    let slow = pool([&a, &b, &c], lines).replace("\"30ms\"", "\"60s\"");
    let slow = format!("{slow}interval-down = \"60s\"\n");
    proxy.configure(slow);
    proxy.log(super::RELOADED).await;
    let before = others(&a);
    proxy.process().upgrade().await;
    assert_eq!(who(&proxy, 12).await, names(&["b", "c"]));
    assert_eq!(others(&a), before);
}

#[tokio::test]
async fn a_reload_that_leaves_the_checks_alone_leaves_them_running() {
    let gate = Gate::new();
    let held = Answer::text("fine").when(&gate);
    let a = Backend::named("a").answer(held).start();
    let config = |tries: usize| {
        let config = Config::balanced([&a]).pool(&format!("tries = {tries}"));
        with(config, "timeout = \"20s\"")
    };
    let proxy = Metered::start(config(2)).await;
    a.request().await;
    proxy.configure(config(3));
    proxy.proxy().log(super::RELOADED).await;
    gate.open();
    let labels = [("pool", "web"), ("backend", "a"), ("result", "passed")];
    within_scrape(&proxy, "anubis_backend_health_checks_total", &labels).await;
    assert_eq!(a.seen().aborted, 0, "the check under way went on");
}

/// X3: what is checked follows many reloads, and nothing is left behind.
#[tokio::test]
async fn x3_many_reloads_leave_one_check_a_backend() {
    let backends = ["a", "b", "c"].map(|name| Backend::named(name).start());
    let [a, b, c] = &backends;
    let proxy = Metered::start(pool([a, b, c], "")).await;
    let load = Load::start(proxy.address(), 2);
    for round in 0..40 {
        // The checks change, a backend goes or comes, or nothing of both.
        let lines = format!("rise = {}", round % 3 + 1);
        proxy.configure(match round % 4 {
            0 => pool([a, b], &lines),
            _ => pool([a, b, c], &lines),
        });
        proxy.proxy().log(super::RELOADED).await;
    }
    load.stop().await.assert_none_failed();
    let scrape = proxy.scrape();
    for name in ["a", "b", "c"] {
        let labels = [("pool", "web"), ("backend", name)];
        assert_eq!(scrape.value("anubis_backend_healthy", &labels), 1.0);
    }
    // One check at a time: at most one connection of its own and some of the load.
    proxy.configure(pool([a, b], "interval-down = \"60s\"").replace("\"30ms\"", "\"60s\""));
    proxy.proxy().log(super::RELOADED).await;
    for backend in &backends {
        backend
            .until("the connections to end", |seen| seen.open() == 0)
            .await;
    }
}

#[tokio::test]
async fn without_the_table_all_are_healthy_again() {
    let (a, well) = switched("a");
    let (b, _) = switched("b");
    let (c, _) = switched("c");
    well.store(false, Ordering::SeqCst);
    let proxy = Proxy::start(pool([&a, &b, &c], "")).await;
    proxy.log(UNHEALTHY).await;
    proxy.configure(Config::balanced([&a, &b, &c]));
    proxy.log(super::RELOADED).await;
    anubis_tests::within("a to be asked again", async {
        while !who(&proxy, 3).await.contains("a") {}
    })
    .await;
    // All of that was put in force before `a` was asked again; a check may have
    // been under way.
    let asked = checks(&a).len();
    assert_eq!(who(&proxy, 60).await, names(&["a", "b", "c"]));
    assert!(checks(&a).len() <= asked + 1);
}

#[tokio::test]
async fn two_pools_check_one_address_each_for_itself() {
    let a = Backend::named("a")
        .script(|request| match request.target.as_str() {
            "/healthz?one" => Answer::text("fine"),
            "/healthz?two" => Answer::status("500 Internal Server Error", ""),
            _ => Answer::text("a"),
        })
        .start();
    let b = Backend::named("b").start();
    let c = Backend::named("c").start();
    let one = |name: &str| {
        format!(
            "[pools.{name}]\nstrategy = \"round-robin\"\n\
             backends = [{{ name = \"a\", address = \"{a}\" }}, {{ name = \"b\", address = \"{b}\" }}, {{ name = \"c\", address = \"{c}\" }}]\n\
             [pools.{name}.health-check]\npath = \"/healthz?{name}\"\ninterval = \"30ms\"\n"
        )
    };
    let config = format!(
        "routes = [{{ path = \"/one\", pool = \"one\" }}, {{ path = \"/two\", pool = \"two\" }}]\n\
         [[listeners]]\naddress = \"127.0.0.1:0\"\n{}{}",
        one("one"),
        one("two")
    );
    let proxy = Metered::start(config).await;
    let two = [("pool", "two"), ("backend", "a")];
    proxy.until("anubis_backend_healthy", &two, 0).await;
    let passed = |scrape: anubis_tests::metrics::Scrape| {
        let labels = [("pool", "one"), ("backend", "a"), ("result", "passed")];
        scrape.value("anubis_backend_health_checks_total", &labels)
    };
    let before = passed(proxy.scrape());
    anubis_tests::within("further checks of pool one", async {
        while passed(proxy.scrape()) < before + 3.0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    let one = [("pool", "one"), ("backend", "a")];
    assert_eq!(proxy.scrape().value("anubis_backend_healthy", &one), 1.0);
    let mut answers = BTreeSet::new();
    for _ in 0..9 {
        answers.insert(get(proxy.address(), "/one").await.text());
        assert_ne!(get(proxy.address(), "/two").await.text(), "a");
    }
    assert!(answers.contains("a"), "{answers:?}");
}

#[tokio::test]
async fn hundreds_of_silent_backends_do_not_keep_the_others_waiting() {
    let silent = Backend::named("silent").answer(Answer::silence()).start();
    let a = Backend::named("a").start();
    let many: Vec<_> = (0..300)
        .map(|number| format!("{{ name = \"{number}\", address = \"{silent}\" }}"))
        .collect();
    let config = format!(
        "routes = [{{ pool = \"web\" }}]\n{}\n[pools.ill]\nbackends = [{}]\n\
         [pools.ill.health-check]\nstart = \"unhealthy\"\ntimeout = \"60s\"\n",
        pool([&a], ""),
        many.join(", ")
    );
    let _proxy = Proxy::start(config).await;
    // As many as may be under way at once: the others wait for a minute.
    silent
        .until("silent checks", |seen| seen.open() >= 128)
        .await;
    let more = a.seen().requests + 20;
    a.requests(more).await;
    assert_eq!(silent.seen().opened, 128);
}

#[tokio::test]
async fn an_unhealthy_start_ends_with_the_first_passed_check() {
    let gate = Gate::new();
    let passed = gate.clone();
    let a = Backend::named("a")
        .script(move |request| match request.target.as_str() {
            "/healthz" => Answer::text("fine").when(&passed),
            _ => Answer::text("a"),
        })
        .start();
    let (b, _) = switched("b");
    let (c, _) = switched("c");
    let lines = "start = \"unhealthy\"\ntimeout = \"20s\"\nrise = 1000";
    let proxy = Proxy::start(pool([&b, &c], lines)).await;
    proxy.log(HEALTHY).await;
    proxy.log(HEALTHY).await;
    proxy.configure(pool([&a, &b, &c], lines));
    proxy.log(super::RELOADED).await;
    a.requests(1).await;
    assert_eq!(who(&proxy, 12).await, names(&["b", "c"]));
    gate.open();
    assert_eq!(proxy.log(HEALTHY).await["backend"], "a");
    assert_eq!(who(&proxy, 12).await, names(&["a", "b", "c"]));
}

#[tokio::test]
async fn who_is_in_maintenance_is_left_alone_and_who_drains_is_not() {
    let a = Backend::named("a").start();
    let b = Backend::named("b").start();
    let config = |state: &str| {
        let config = Config::balanced([&b]).backend(&a, &format!("state = \"{state}\""));
        with(config, "")
    };
    let proxy = Proxy::start(config("maintenance")).await;
    b.requests(5).await;
    assert_eq!(a.seen().opened, 0);
    proxy.configure(config("drain"));
    proxy.log(super::RELOADED).await;
    a.requests(3).await;
    proxy.configure(config("maintenance"));
    proxy.log(super::RELOADED).await;
    no_more_checks(&a, &b).await;
    assert_eq!(others(&a), 0);
}

#[tokio::test]
async fn who_leaves_the_pool_is_checked_no_more() {
    let a = Backend::named("a").start();
    let b = Backend::named("b").start();
    let proxy = Proxy::start(pool([&a, &b], "")).await;
    a.requests(2).await;
    proxy.configure(pool([&b], ""));
    proxy.log(super::RELOADED).await;
    no_more_checks(&a, &b).await;
}

/// X8: a process that was stopped does not take its backends for dead.
#[tokio::test]
async fn x8_a_process_that_was_stopped_blames_nobody() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let a = Backend::named("a")
        .script(move |_| match count.fetch_add(1, Ordering::SeqCst) {
            // The check that is under way when the process stops.
            3 => Answer::silence(),
            _ => Answer::text("a"),
        })
        .start();
    let b = Backend::named("b").start();
    // One failure would be enough.
    let lines = "fall = 1\ntimeout = \"3s\"";
    let proxy = Metered::start(pool([&a, &b], lines)).await;
    a.requests(4).await;
    proxy.proxy().process().signal(Signal::STOP);
    tokio::time::sleep(Duration::from_secs(10)).await;
    proxy.proxy().process().signal(Signal::CONT);
    let labels = [("pool", "web"), ("backend", "a"), ("result", "discarded")];
    let name = "anubis_backend_health_checks_total";
    within_scrape(&proxy, name, &labels).await;
    let more = a.seen().requests + 5;
    a.requests(more).await;
    assert!(!proxy.proxy().process().logged(UNHEALTHY));
    for backend in ["a", "b"] {
        let labels = [("pool", "web"), ("backend", backend)];
        assert_eq!(proxy.scrape().value("anubis_backend_healthy", &labels), 1.0);
    }
}

/// B20: a backend that is well and ill in turns stays what it is held for.
#[tokio::test]
async fn b20_a_flapping_backend_does_not_make_the_traffic_flap() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let flapping = Backend::named("flapping")
        .script(move |request| match request.target.as_str() {
            // Two failures, one passed check, and so on: a row of three never comes.
            "/healthz" => match count.fetch_add(1, Ordering::SeqCst) % 3 {
                2 => Answer::text("fine"),
                _ => Answer::status("500 Internal Server Error", ""),
            },
            _ => Answer::text("flapping"),
        })
        .start();
    let b = Backend::named("b").start();
    let config = |lines: &str| pool([&flapping, &b], lines);
    let proxy = Proxy::start(config("")).await;
    let load = Load::start(proxy.address(), 2);
    flapping
        .until("many checks", |_| asked.load(Ordering::SeqCst) >= 30)
        .await;
    assert!(!proxy.process().logged(UNHEALTHY));
    let report = load.stop().await;
    report.assert_none_failed();
    assert!(report.share("flapping") > 0.3, "{report:?}");

    // Once it has fallen, single passed checks do not bring it back.
    proxy.configure(config("fall = 2"));
    proxy.log(UNHEALTHY).await;
    let mark = asked.load(Ordering::SeqCst);
    flapping
        .until("many checks", |_| asked.load(Ordering::SeqCst) >= mark + 30)
        .await;
    assert!(!proxy.process().logged(HEALTHY));
}

#[tokio::test]
async fn the_admin_api_shows_what_is_known() {
    let (a, well) = switched("a");
    let (b, _) = switched("b");
    let config = format!(
        "{}\n[admin]\naddress = \"127.0.0.1:0\"\n",
        pool([&a, &b], "")
    );
    let proxy = Proxy::start(config).await;
    let admin = Admin::of(&proxy).await;
    a.requests(3).await;
    well.store(false, Ordering::SeqCst);
    proxy.log(UNHEALTHY).await;
    let told = admin.get("/v1/pools/web/backends/a").await.json;
    let health = &told["health"];
    assert_eq!(health["healthy"], false, "{told}");
    assert_eq!(health["last_error"], "status 500");
    assert!(health["since"].is_string() && health["checked"].is_string());
    assert!(health["took_us"].is_u64());
    let told = admin.get("/v1/pools/web/backends/b").await.json;
    assert_eq!(told["health"]["healthy"], true);
    assert!(told["health"]["since"].is_null() && told["health"]["last_error"].is_null());

    let url = admin.url();
    let ctl = ["ctl", "--admin", &url, "backends", "web"];
    let ended = anubis_tests::proxy::run(ctl).await;
    let line = |name: &str| {
        let mut lines = ended.stdout.lines();
        let line = lines.find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("{ended:?}")).to_owned()
    };
    assert!(line("BACKEND").ends_with("HEALTH"), "{ended:?}");
    assert!(line("a ").ends_with("unhealthy: status 500"), "{ended:?}");
    assert!(line("b ").ends_with("healthy"), "{ended:?}");
    let told = admin.get("/v1/pools").await.json;
    assert_eq!(told["pools"][0]["backends"]["unhealthy"], 1, "{told}");
    assert_eq!(told["pools"][0]["backends"]["active"], 2, "{told}");
}

#[tokio::test]
async fn a_pool_without_checks_has_no_health() {
    let a = Backend::named("a").start();
    let config = format!(
        "{}\n[admin]\naddress = \"127.0.0.1:0\"\n",
        Config::balanced([&a])
    );
    let proxy = Proxy::start(config).await;
    let admin = Admin::of(&proxy).await;
    let told = admin.get("/v1/pools/web/backends/a").await.json;
    assert!(told["health"].is_null(), "{told}");
    let text = admin.get("/metrics").await.response.text();
    assert!(!text.contains("_health"), "{text}");
}

#[tokio::test]
async fn nonsense_is_refused_before_anything_starts() {
    let a = Backend::named("a").start();
    for (lines, told) in [
        (
            "port = 0",
            "health-check.port: 0 is out of range: 1 to 65535",
        ),
        (
            "rise = 0",
            "health-check.rise: 0 is out of range: 1 to 1000",
        ),
        (
            "service = \"x\"",
            "health-check.service: only for `type = \"grpc\"`",
        ),
    ] {
        let ended = Folder::with(pool([&a], lines)).check().await;
        assert_eq!(ended.code, Some(2));
        assert!(ended.stderr.contains(told), "{}", ended.stderr);
    }
}
