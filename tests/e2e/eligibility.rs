//! Who is asked: outliers and their trials, priorities, panic, slow start.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anubis_tests::client::get;
use anubis_tests::{Answer, Backend, Client, Config, Gate, Load, Metered, Proxy, within};

use crate::RELOADED;

const EJECTED: &str = "backend ejected";
const BACK: &str = "ejected backend is back";
const STILL_ILL: &str = "ejected backend failed its trial";

/// A backend that answers with its name, or with 503 while the switch is on.
fn fickle(name: &'static str) -> (Backend, Arc<AtomicBool>) {
    let ill = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&ill);
    let backend = Backend::named(name).script(move |_| match switch.load(Ordering::SeqCst) {
        true => Answer::status("503 Service Unavailable", "ill"),
        false => Answer::text(name),
    });
    (backend.start(), ill)
}

/// The configuration with these lines of outlier detection. Tables come last.
fn watched(config: Config, lines: &str) -> String {
    format!("{config}\n[pools.web.outlier-detection]\n{lines}\n")
}

/// How often each answer came, of `count` requests.
async fn answers(proxy: &Proxy, count: usize) -> BTreeMap<String, usize> {
    let mut answers = BTreeMap::new();
    for _ in 0..count {
        *answers
            .entry(get(proxy.address(), "/").await.text())
            .or_default() += 1;
    }
    answers
}

#[tokio::test]
async fn five_gateway_errors_in_a_row_eject_and_one_good_trial_brings_back() {
    let (good, _) = fickle("good");
    let (bad, ill) = fickle("bad");
    let config = Config::balanced([&good, &bad]).global("workers = 2");
    let proxy = Proxy::start(watched(config, "ejection-time = \"300ms\"")).await;
    ill.store(true, Ordering::SeqCst);
    let seen = answers(&proxy, 10).await;
    assert_eq!(seen["ill"], 5, "{seen:?}");
    let told = proxy.log(EJECTED).await;
    assert_eq!(told["backend"], "bad");
    assert_eq!(told["reason"], "errors");
    ill.store(false, Ordering::SeqCst);
    let asked = bad.seen().requests;
    let load = Load::start(proxy.address(), 8);
    proxy.log(BACK).await;
    load.more(200).await;
    load.stop().await.assert_none_failed();
    assert!(bad.seen().requests > asked + 20, "it gets its share again");
}

#[tokio::test]
async fn a_trial_is_one_request_and_a_failed_one_ejects_for_longer() {
    let (good, _) = fickle("good");
    let tries = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&tries);
    let bad = Backend::named("bad")
        .script(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            Answer::status("504 Gateway Timeout", "ill")
        })
        .start();
    let config = Config::balanced([&good, &bad]);
    let proxy = Proxy::start(watched(config, "ejection-time = \"200ms\"")).await;
    answers(&proxy, 10).await;
    proxy.log(EJECTED).await;
    let before = tries.load(Ordering::SeqCst);
    let load = Load::start(proxy.address(), 8);
    let told = proxy.log(STILL_ILL).await;
    assert_eq!(told["backend"], "bad");
    proxy.log(STILL_ILL).await;
    load.stop().await;
    let trials = tries.load(Ordering::SeqCst) - before;
    assert!(
        (2..=3).contains(&trials),
        "{trials} requests for two trials"
    );
}

#[tokio::test]
async fn the_last_backend_is_not_ejected_and_of_few_only_one() {
    let (only, ill) = fickle("only");
    ill.store(true, Ordering::SeqCst);
    let proxy = Proxy::start(Config::balanced([&only])).await;
    assert_eq!(answers(&proxy, 20).await["ill"], 20);
    assert!(!proxy.process().logged(EJECTED));

    let (one, ill) = fickle("one");
    let (other, other_ill) = fickle("other");
    let (third, _) = fickle("third");
    ill.store(true, Ordering::SeqCst);
    other_ill.store(true, Ordering::SeqCst);
    let proxy = Proxy::start(Config::balanced([&one, &other, &third])).await;
    let seen = answers(&proxy, 60).await;
    proxy.log(EJECTED).await;
    assert!(
        seen["ill"] >= 20,
        "one of the two goes on being asked: {seen:?}"
    );
    let asked = one.seen().requests.min(other.seen().requests);
    assert!((5..=6).contains(&asked), "the other does not: {asked}");
}

#[tokio::test]
async fn a_client_that_leaves_and_an_error_of_the_application_eject_nobody() {
    let (good, _) = fickle("good");
    let bad = Backend::named("bad")
        .answer(Answer::status("500 Internal Server Error", "bug"))
        .start();
    let proxy = Proxy::start(Config::balanced([&good, &bad])).await;
    assert_eq!(answers(&proxy, 40).await["bug"], 20);
    assert!(!proxy.process().logged(EJECTED));
}

#[tokio::test]
async fn who_fails_far_more_than_the_others_is_ejected() {
    let names = ["one", "two", "three", "four", "five"];
    let good = names.map(|name| Backend::named(name).start());
    // Never two errors in a row: only the share tells.
    let turn = AtomicUsize::new(0);
    let bad = Backend::named("bad")
        .script(move |_| match turn.fetch_add(1, Ordering::SeqCst) % 2 {
            0 => Answer::status("500 Internal Server Error", "bug"),
            _ => Answer::text("bad"),
        })
        .start();
    let config = Config::balanced(good.iter().chain([&bad]));
    let lines = "interval = \"500ms\"\nmin-requests = 20";
    let proxy = Proxy::start(watched(config, lines)).await;
    let load = Load::start(proxy.address(), 8);
    let told = proxy.log(EJECTED).await;
    assert_eq!(told["backend"], "bad");
    assert_eq!(told["reason"], "success-rate");
    load.report();
    load.more(200).await;
    load.stop().await;
}

#[tokio::test]
async fn who_is_far_slower_than_the_others_is_ejected_where_that_is_wanted() {
    let fast = ["one", "two"].map(|name| Backend::named(name).start());
    let slow = Backend::named("slow").delay(Duration::from_millis(150));
    let slow = slow.start();
    let config = Config::balanced(fast.iter().chain([&slow]));
    let lines = "slow-factor = 5\ninterval = \"500ms\"\nmin-requests = 5\nmin-backends = 3";
    let proxy = Proxy::start(watched(config, lines)).await;
    let load = Load::start(proxy.address(), 16);
    let told = proxy.log(EJECTED).await;
    assert_eq!(told["backend"], "slow");
    assert_eq!(told["reason"], "slow");
    load.stop().await.assert_none_failed();
}

#[tokio::test]
async fn an_ejection_survives_a_reload() {
    let (good, _) = fickle("good");
    let (bad, ill) = fickle("bad");
    ill.store(true, Ordering::SeqCst);
    let config = |lines: &str| watched(Config::balanced([&good, &bad]).pool(lines), "");
    let proxy = Proxy::start(config("")).await;
    answers(&proxy, 10).await;
    proxy.log(EJECTED).await;
    let asked = bad.seen().requests;
    proxy.configure(config("tries = 2"));
    proxy.log(RELOADED).await;
    let seen = answers(&proxy, 20).await;
    assert_eq!(seen["good"], 20);
    assert_eq!(bad.seen().requests, asked);
}

/// Three of the first choice and one of the second.
fn with_backup(first: &[Backend; 3], backup: &Backend, lines: &str) -> String {
    let config = Config::balanced(first).backend(backup, "priority = 1");
    format!("{config}\n[pools.web.health-check]\npath = \"/healthz\"\ninterval = \"30ms\"\n{lines}")
}

#[tokio::test]
async fn the_second_choice_takes_what_the_first_cannot() {
    let ill = Arc::new(AtomicUsize::new(0));
    let first = [0, 1, 2].map(|number| {
        let ill = Arc::clone(&ill);
        let script = move |_: &_| match number < ill.load(Ordering::SeqCst) {
            true => Answer::status("500 Internal Server Error", "ill"),
            false => Answer::text("first"),
        };
        Backend::named(["a", "b", "c"][number])
            .script(script)
            .start()
    });
    let backup = Backend::named("backup").start();
    let proxy = Proxy::start(with_backup(&first, &backup, "")).await;
    let shares = async |count| {
        let report = Load::of(count, proxy.address(), 4).await;
        report.assert_none_failed();
        report.share("backup")
    };
    assert_eq!(shares(200).await, 0.0);
    // Two of three are 67 %, which times 1.4 is 93 %.
    ill.store(1, Ordering::SeqCst);
    proxy.log("backend is unhealthy").await;
    let share = shares(3000).await;
    assert!((0.04..0.11).contains(&share), "7 % expected: {share}");
    ill.store(3, Ordering::SeqCst);
    proxy.log("backend is unhealthy").await;
    proxy.log("backend is unhealthy").await;
    assert_eq!(shares(200).await, 1.0);
}

#[tokio::test]
async fn too_few_eligible_ones_and_all_are_asked() {
    let (one, _) = fickle("one");
    let checked = |name: &'static str| {
        let script = move |request: &anubis_tests::backend::Request| match request.target.as_str() {
            "/healthz" => Answer::status("500 Internal Server Error", "ill"),
            _ => Answer::text(name),
        };
        Backend::named(name).script(script).start()
    };
    let (two, three) = (checked("two"), checked("three"));
    let config = |threshold| {
        let config = Config::balanced([&one, &two, &three]);
        let config = config.pool(&format!("panic-threshold = {threshold}"));
        format!("{config}\n[pools.web.health-check]\npath = \"/healthz\"\ninterval = \"30ms\"\n")
    };
    let proxy = Metered::start(config(50)).await;
    for _ in 0..2 {
        proxy.process().log("backend is unhealthy").await;
    }
    let seen = answers(proxy.proxy(), 30).await;
    assert_eq!(seen.len(), 3, "{seen:?}");
    proxy
        .until("anubis_pool_panic", &[("pool", "web")], 1)
        .await;
    let told = proxy
        .process()
        .log("panic: too few backends are eligible, all are asked")
        .await;
    assert_eq!(
        (&told["pool"], &told["eligible"]),
        (&"web".into(), &1.into())
    );
    proxy.configure(config(0));
    within("nobody but the well one is asked", async {
        while answers(proxy.proxy(), 6).await.len() > 1 {}
    })
    .await;
    proxy
        .until("anubis_pool_panic", &[("pool", "web")], 0)
        .await;
    proxy.process().log("panic is over").await;
}

#[tokio::test]
async fn b19_without_panic_nobody_is_asked_when_all_are_down() {
    let ill = Answer::status("500 Internal Server Error", "ill");
    let down = ["one", "two"].map(|name| Backend::named(name).answer(ill.clone()).start());
    let config = Config::balanced(&down).pool("panic-threshold = 0");
    let checks = "[pools.web.health-check]\npath = \"/healthz\"\ninterval = \"30ms\"\n";
    let proxy = Proxy::start(format!("{config}\n{checks}")).await;
    for _ in 0..2 {
        proxy.log("backend is unhealthy").await;
    }
    within("503", async {
        while get(proxy.address(), "/").await.status() != 503 {}
    })
    .await;
    let asked = || {
        let requests = down.iter().flat_map(Backend::log);
        requests.filter(|one| one.target == "/").count()
    };
    let before = asked();
    let report = Load::of(20, proxy.address(), 2).await;
    assert_eq!(report.of("ill"), 0);
    assert_eq!(asked(), before);
}

#[tokio::test]
async fn b1_who_refuses_connections_is_ejected() {
    let (good, _) = fickle("good");
    let bad = Backend::refusing("bad").await;
    let proxy = Proxy::start(Config::balanced([&good, &bad])).await;
    assert_eq!(answers(&proxy, 12).await["good"], 12);
    let told = proxy.log(EJECTED).await;
    assert_eq!(told["backend"], "bad");
}

/// Trials that end with these answers.
async fn nobody_pays_for(ill_answer: Answer) {
    let (good, _) = fickle("good");
    let bad = Backend::named("bad").answer(ill_answer).start();
    let lines = "tries = 1\nresponse-timeout = \"300ms\"";
    let config = Config::balanced([&good, &bad]).pool(lines);
    let proxy = Proxy::start(watched(config, "ejection-time = \"50ms\"")).await;
    answers(&proxy, 10).await;
    proxy.log(EJECTED).await;
    let asked = bad.seen().requests;
    let load = Load::start(proxy.address(), 4);
    for _ in 0..3 {
        proxy.log(STILL_ILL).await;
    }
    let report = load.stop().await;
    report.assert_none_failed();
    assert!(bad.seen().requests >= asked + 3);
}

#[tokio::test]
async fn nobody_pays_for_a_trial_that_ends_with_503() {
    nobody_pays_for(Answer::status("503 Service Unavailable", "ill")).await;
}

#[tokio::test]
async fn nobody_pays_for_a_trial_that_is_not_answered() {
    nobody_pays_for(Answer::silence()).await;
}

#[tokio::test]
async fn nobody_pays_for_a_trial_that_is_no_http() {
    nobody_pays_for(Answer::raw("nonsense\r\n\r\n").then_close()).await;
}

#[tokio::test]
async fn a_trial_is_over_with_the_head_of_a_long_answer() {
    let (good, _) = fickle("good");
    let gate = Gate::new();
    let stream = Answer::head("200 OK", &[("Content-Length", "4")]).then_when(&gate);
    let stream = stream.write("long");
    let ill = Arc::new(AtomicBool::new(true));
    let switch = Arc::clone(&ill);
    let bad = Backend::named("bad")
        .script(move |_| match switch.load(Ordering::SeqCst) {
            true => Answer::status("503 Service Unavailable", "ill"),
            false => stream.clone(),
        })
        .start();
    let config = Config::balanced([&good, &bad]);
    let proxy = Proxy::start(watched(config, "ejection-time = \"50ms\"")).await;
    answers(&proxy, 10).await;
    proxy.log(EJECTED).await;
    ill.store(false, Ordering::SeqCst);
    let mut waiting = Vec::new();
    within("the backend to be back", async {
        while !proxy.process().logged(BACK) {
            let mut client = Client::connect(proxy.address()).await;
            client.send_get("/").await;
            client.head().await;
            waiting.push(client);
        }
    })
    .await;
    gate.open();
}

#[tokio::test]
async fn who_joins_a_running_pool_starts_slowly() {
    let (old, _) = fickle("old");
    let (new, _) = fickle("new");
    let slow = "slow-start = \"60s\"";
    let proxy = Proxy::start(Config::balanced([&old]).pool(slow)).await;
    answers(&proxy, 2).await;
    proxy.configure(Config::balanced([&old, &new]).pool(slow));
    proxy.log(RELOADED).await;
    let report = Load::of(600, proxy.address(), 4).await;
    report.assert_none_failed();
    let share = report.share("new");
    assert!((0.04..0.2).contains(&share), "one of eleven: {share}");
}

#[tokio::test]
async fn the_admin_api_and_metrics_tell_why_a_backend_is_not_asked() {
    let (good, _) = fickle("good");
    let (bad, ill) = fickle("bad");
    ill.store(true, Ordering::SeqCst);
    let lines = "slow-start = \"60s\"";
    let config = Config::balanced([&good, &bad]).pool(lines);
    let proxy = Metered::start(config).await;
    let admin = proxy.admin();
    let labels = [("pool", "web"), ("backend", "bad")];
    proxy.until("anubis_backend_ejected", &labels, 0).await;
    answers(proxy.proxy(), 10).await;
    proxy.process().log(EJECTED).await;
    proxy.until("anubis_backend_ejected", &labels, 1).await;
    proxy.until("anubis_backend_eligible", &labels, 0).await;
    let told = admin.get("/v1/pools/web/backends/bad").await.json;
    assert_eq!(told["eligible"], false, "{told}");
    assert_eq!(told["ejected"]["ejections"], 1, "{told}");
    let left = told["ejected"]["trial_in_us"].as_u64();
    assert!((1..=30_000_000).contains(&left.unwrap_or(0)), "{told}");
    let told = admin.get("/v1/pools/web/backends/good").await.json;
    assert_eq!(told["eligible"], true, "{told}");
    assert!(told["ejected"].is_null() && told["slow_start_percent"].is_null());
    let told = admin.get("/v1/pools").await.json;
    let pool = &told["pools"][0];
    assert_eq!(pool["backends"]["ejected"], 1, "{told}");
    assert_eq!(pool["backends"]["eligible"], 1, "{told}");
    assert_eq!(pool["panic"], false, "{told}");

    let url = admin.url();
    let ended = anubis_tests::proxy::run(["ctl", "--admin", &url, "backends", "web"]).await;
    let mut lines = ended.stdout.lines();
    let line = lines.find(|line| line.starts_with("bad "));
    assert!(
        line.is_some_and(|line| line.contains("ejected ")),
        "{ended:?}"
    );
}

#[tokio::test]
async fn a_backend_that_came_back_starts_slowly_and_none_does_at_the_start() {
    let (good, _) = fickle("good");
    let (bad, ill) = fickle("bad");
    let config = Config::balanced([&good, &bad]).pool("slow-start = \"60s\"");
    let proxy = Proxy::start(watched(config, "ejection-time = \"50ms\"")).await;
    let report = Load::of(200, proxy.address(), 4).await;
    let share = report.share("bad");
    assert!((0.45..0.55).contains(&share), "from the start: {share}");
    ill.store(true, Ordering::SeqCst);
    answers(&proxy, 10).await;
    proxy.log(EJECTED).await;
    ill.store(false, Ordering::SeqCst);
    within("its trial", async {
        while !proxy.process().logged(BACK) {
            get(proxy.address(), "/").await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let report = Load::of(600, proxy.address(), 4).await;
    report.assert_none_failed();
    let share = report.share("bad");
    // A tenth of the other's weight.
    assert!((0.06..0.2).contains(&share), "one of eleven: {share}");
}
