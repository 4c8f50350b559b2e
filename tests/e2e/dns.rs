//! Backends by name: every address of a name is a backend, for as long as a name
//! server says so, and for longer if it says nothing.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use anubis_tests::client::get;
use anubis_tests::dns::{Data, Reply};
use anubis_tests::proxy::Folder;
use anubis_tests::{Admin, Answer, Backend, Client, Gate, Load, Metered, NameServer, Proxy};
use serde_json::{Value, json};

const FAILING: &str = "name not resolved";
const FOLLOWED: &str = "backends follow their names";

/// Two backends with one port: at 127.0.0.1 and at 127.0.0.2.
fn twins(one: &str, other: &str) -> (Backend, Backend) {
    let first = Backend::named(one).start();
    let other = Backend::named(other).at(beside(&first, "127.0.0.2"));
    let other = other.start();
    (first, other)
}

/// The same port at another address.
fn beside(backend: &Backend, ip: &str) -> SocketAddr {
    SocketAddr::new(ip.parse().expect("an address"), backend.address().port())
}

/// A pool `web` of these backends, as TOML tables, with quick lookups.
fn config(server: &NameServer, pool: &str, backends: &[&str]) -> String {
    quick(server, "", pool, backends)
}

/// The same with more lines for `[dns]`.
fn quick(server: &NameServer, dns: &str, pool: &str, backends: &[&str]) -> String {
    format!(
        "workers = 2\n[dns]\nservers = [\"{}\"]\nmin-ttl = \"20ms\"\nmax-ttl = \"50ms\"\n{dns}\n\
         [admin]\naddress = \"127.0.0.1:0\"\n\
         [[listeners]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\n\
         [pools.web]\n{pool}\nbackends = [{}]\n",
        server.address(),
        backends.join(", ")
    )
}

/// The backend `app` at a port of `app.test`.
fn app(backend: &Backend) -> String {
    let port = backend.address().port();
    format!("{{ name = \"app\", address = \"app.test:{port}\" }}")
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

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(ToString::to_string).collect()
}

/// The pool's backends, as the admin API shows them.
async fn backends(admin: &Admin) -> Vec<Value> {
    let told = admin.get("/v1/pools/web/backends").await;
    let list = told.json["backends"].as_array().expect("a list");
    list.clone()
}

/// Their names.
async fn names(admin: &Admin) -> Vec<String> {
    let text = |one: Value| one["name"].as_str().expect("a name").to_owned();
    backends(admin).await.into_iter().map(text).collect()
}

/// Waits until these are the pool's backends.
async fn until_they_are(admin: &Admin, wanted: &[String]) {
    anubis_tests::within("the pool's backends", async {
        while names(admin).await != wanted {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// Waits until the pool has so many backends.
async fn until_there_are(admin: &Admin, count: usize) {
    anubis_tests::within("the pool's backends", async {
        while backends(admin).await.len() != count {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

async fn generation(admin: &Admin) -> u64 {
    let told = admin.get("/v1/version").await;
    told.json["generation"].as_u64().expect("a number")
}

#[tokio::test]
async fn every_address_of_a_name_is_a_backend() {
    let (a, _b) = twins("a", "b");
    let server = NameServer::start();
    server.set("app.test", Reply::addresses(&["127.0.0.2", "127.0.0.1"], 1));
    let pool = "host-header = \"backend\"";
    let proxy = Proxy::start(config(&server, pool, &[&app(&a)])).await;
    let port = a.address().port();

    // From the first request on: the start has waited for the answer.
    assert_eq!(who(&proxy, 4).await, set(&["a", "b"]));
    let host = a.request().await.head.one("host").map(str::to_owned);
    assert_eq!(host, Some(format!("app.test:{port}")), "as it is written");

    let admin = Admin::of(&proxy).await;
    let list = backends(&admin).await;
    let shown: Vec<_> = list
        .iter()
        .map(|one| {
            (
                one["name"].clone(),
                one["address"].clone(),
                one["resolved"].clone(),
            )
        })
        .collect();
    let expected = ["127.0.0.1", "127.0.0.2"].map(|ip| {
        (
            json!(format!("app@{ip}:{port}")),
            json!(format!("app.test:{port}")),
            json!(format!("{ip}:{port}")),
        )
    });
    assert_eq!(shown, expected);
}

#[tokio::test]
async fn b21_addresses_come_and_go_under_load_and_no_request_fails() {
    let (a, b) = twins("a", "b");
    let c = Backend::named("c").at(beside(&a, "127.0.0.3")).start();
    let server = NameServer::start();
    server.set("app.test", Reply::addresses(&["127.0.0.1"], 0));
    let proxy = Proxy::start(config(&server, "", &[&app(&a)])).await;
    let admin = Admin::of(&proxy).await;

    let load = Load::start(proxy.address(), 8);
    load.more(100).await;
    for ips in [
        &["127.0.0.1", "127.0.0.2"][..],
        &["127.0.0.1", "127.0.0.2", "127.0.0.3"],
        &["127.0.0.2", "127.0.0.3"],
        &["127.0.0.3"],
        &["127.0.0.1", "127.0.0.3"],
    ] {
        server.set("app.test", Reply::addresses(ips, 0));
        until_there_are(&admin, ips.len()).await;
        load.more(200).await;
    }
    let report = load.stop().await;
    report.assert_none_failed();
    for backend in [&a, &b, &c] {
        assert!(report.of(backend.name()) > 0, "{}", backend.name());
    }
}

#[tokio::test]
async fn b21_a_removed_address_finishes_what_it_has() {
    let gate = Gate::new();
    let slow = Backend::named("a")
        .answer(Answer::text("a").when(&gate))
        .start();
    let b = Backend::named("b").at(beside(&slow, "127.0.0.2")).start();
    let server = NameServer::start();
    server.set("app.test", Reply::addresses(&["127.0.0.1"], 0));
    let proxy = Proxy::start(config(&server, "", &[&app(&slow)])).await;
    let admin = Admin::of(&proxy).await;
    let mut client = Client::connect(proxy.address()).await;
    client.send_get("/").await;
    slow.request().await;

    server.set("app.test", Reply::addresses(&["127.0.0.2"], 0));
    let port = slow.address().port();
    until_they_are(&admin, &[format!("app@127.0.0.2:{port}")]).await;
    assert_eq!(who(&proxy, 3).await, set(&["b"]));
    gate.open();
    assert_eq!(client.response().await.text(), "a");
    assert_eq!(slow.seen().requests, 1);
    drop(b);
}

#[tokio::test]
async fn b21_failed_and_empty_answers_leave_the_last_good_one_in_force() {
    let (a, b) = twins("a", "b");
    let server = NameServer::start();
    let good = Reply::addresses(&["127.0.0.1", "127.0.0.2"], 0);
    server.set("app.test", good.clone());
    let dns = "timeout = \"50ms\"";
    let config = quick(&server, dns, "", &[&app(&a)]);
    let proxy = Metered::of(Proxy::start(config).await).await;
    let name = [("kind", "host"), ("name", "app.test")];

    for (reply, error) in [
        (Reply::ServFail, "the name server answers"),
        (Reply::NoSuchName, "there is no such name"),
        (Reply::Empty, "the name has no address"),
        (
            Reply::addresses(&["0.0.0.0", "224.0.0.1"], 0),
            "the name has no address",
        ),
        (Reply::Silence, "no answer in time"),
        (Reply::Garbage, ""),
    ] {
        server.set("app.test", reply.clone());
        let line = proxy.proxy().log(FAILING).await;
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["backends"], "web/app");
        assert_eq!(line["name"], "app.test");
        assert_eq!(line["addresses"], 2);
        let told = line["error"].as_str().expect("a reason");
        assert!(told.contains(error), "{reply:?}: {told}");
        proxy.until("anubis_dns_failing", &name, 1).await;
        assert_eq!(proxy.scrape().value("anubis_dns_addresses", &name), 2.0);
        server.asked_again("app.test", 2).await;
        assert_eq!(who(proxy.proxy(), 4).await, set(&["a", "b"]), "{reply:?}");
        server.set("app.test", good.clone());
        proxy.proxy().log("name resolved").await;
        proxy.until("anubis_dns_failing", &name, 0).await;
    }
    let generation = proxy.scrape().value("anubis_generation", &[]);
    assert_eq!(generation, 1.0, "nothing has changed");
    drop(b);
}

#[tokio::test]
async fn a_failure_is_told_once_and_asked_again_ever_later() {
    let backend = Backend::named("a").start();
    let server = NameServer::start();
    server.set("app.test", Reply::addresses(&["127.0.0.1"], 0));
    let dns = "max-ttl = \"3s\"";
    let config = quick(&server, dns, "", &[&app(&backend)]).replace("max-ttl = \"50ms\"\n", "");
    let proxy = Metered::of(Proxy::start(config).await).await;
    let lookups = [("kind", "host"), ("name", "app.test"), ("result", "denied")];

    server.set("app.test", Reply::NoSuchName);
    proxy.proxy().log(FAILING).await;
    let asked = server.asked("app.test");
    server.asked_again("app.test", 4).await;
    proxy.until("anubis_dns_lookups_total", &lookups, 5).await;
    assert_eq!(server.asked("app.test"), asked + 4, "doubled each time");
    let told = proxy.process().stderr();
    assert_eq!(told.matches(FAILING).count(), 1, "{told}");
}

#[tokio::test]
async fn an_order_that_changes_is_no_change() {
    let (a, b) = twins("a", "b");
    let server = NameServer::start();
    server.set("app.test", Reply::addresses(&["127.0.0.1", "127.0.0.2"], 0));
    let proxy = Proxy::start(config(&server, "", &[&app(&a)])).await;
    let admin = Admin::of(&proxy).await;
    for ips in [["127.0.0.2", "127.0.0.1"], ["127.0.0.1", "127.0.0.2"]] {
        server.set("app.test", Reply::addresses(&ips, 0));
        server.asked_again("app.test", 3).await;
    }
    assert_eq!(generation(&admin).await, 1);
    proxy.hang_up();
    proxy.log("nothing to reload").await;
    assert_eq!(generation(&admin).await, 1);
    drop(b);
}

#[tokio::test]
async fn ids_and_counts_stay_with_an_address_that_stays() {
    let (a, b) = twins("a", "b");
    let server = NameServer::start();
    server.set("app.test", Reply::addresses(&["127.0.0.1"], 0));
    let proxy = Proxy::start(config(&server, "", &[&app(&a)])).await;
    let admin = Admin::of(&proxy).await;
    who(&proxy, 5).await;
    let before = backends(&admin).await.remove(0);
    assert_eq!(before["attempts"]["ok"], 5, "{before}");

    server.set("app.test", Reply::addresses(&["127.0.0.2", "127.0.0.1"], 0));
    until_there_are(&admin, 2).await;
    let after = backends(&admin).await;
    assert_eq!(after[0]["id"], before["id"]);
    assert_eq!(after[0]["attempts"], before["attempts"]);
    assert_ne!(after[1]["id"], before["id"]);
    assert_eq!(a.seen().closed, 0, "its connections too");

    let mut edited = config(&server, "tries = 2", &[&app(&a)]);
    edited += "\n";
    proxy.replace("anubis.toml", edited);
    proxy.log("reloaded").await;
    let reloaded = backends(&admin).await;
    assert_eq!(reloaded[0]["id"], before["id"]);
    assert_eq!(reloaded[1]["id"], after[1]["id"]);
    drop(b);
}

#[tokio::test]
async fn a_name_that_does_not_exist_yet_is_no_reason_not_to_start() {
    let (a, b) = twins("a", "b");
    let server = NameServer::start();
    let also = format!("{{ name = \"b\", address = \"{b}\" }}");
    let proxy = Proxy::start(config(&server, "tries = 2", &[&app(&a), &also])).await;
    let admin = Admin::of(&proxy).await;
    assert_eq!(names(&admin).await, ["app", "b"], "it stands for itself");
    assert_eq!(who(&proxy, 4).await, set(&["b"]));

    server.set("app.test", Reply::addresses(&["127.0.0.1"], 0));
    let port = a.address().port();
    let expected = [format!("app@127.0.0.1:{port}"), "b".to_owned()];
    until_they_are(&admin, &expected).await;
    assert_eq!(who(&proxy, 4).await, set(&["a", "b"]));
}

#[tokio::test]
async fn a_server_that_says_nothing_delays_the_start_a_little_and_no_more() {
    let backend = Backend::named("a").start();
    let server = NameServer::start();
    server.set("app.test", Reply::Silence);
    let also = format!("{{ name = \"a\", address = \"{backend}\" }}");
    let dns = "timeout = \"200ms\"";
    let proxy = Proxy::start(quick(&server, dns, "tries = 2", &[&app(&backend), &also])).await;
    assert_eq!(who(&proxy, 2).await, set(&["a"]));
    assert!(server.asked("app.test") >= 2, "attempts are made");
}

#[tokio::test]
async fn an_answer_holds_at_least_the_least_time_and_at_most_the_longest() {
    let backend = Backend::named("a").start();
    let server = NameServer::start();
    let (short, long) = ("short.test", "long.test");
    server.set(short, Reply::addresses(&["127.0.0.1"], 0));
    server.set(long, Reply::addresses(&["127.0.0.1"], 600));
    let port = backend.address().port();
    let entry = |name: &str| format!("{{ address = \"{name}:{port}\" }}");
    let text = config(&server, "", &[&entry(short), &entry(long)]);
    let text = text.replace(
        "min-ttl = \"20ms\"\nmax-ttl = \"50ms\"",
        "min-ttl = \"1h\"\nmax-ttl = \"2h\"",
    );
    let proxy = Proxy::start(&text).await;
    who(&proxy, 4).await;
    assert_eq!((server.asked(short), server.asked(long)), (1, 1));

    // With other bounds both are asked at once, and the long one again and again.
    let text = text.replace(
        "min-ttl = \"1h\"\nmax-ttl = \"2h\"",
        "max-ttl = \"50ms\"\nmin-ttl = \"10ms\"",
    );
    proxy.replace("anubis.toml", text);
    server.asked_again(long, 3).await;
    server.asked_again(short, 3).await;
}

#[tokio::test]
async fn a_name_is_looked_for_in_the_domains_of_the_search_list() {
    let backend = Backend::named("a").start();
    let server = NameServer::start();
    server.set("web.svc.test", Reply::addresses(&["127.0.0.1"], 60));
    let dns = "search = [\"ns.test\", \"svc.test\"]";
    let port = backend.address().port();
    let entry = format!("{{ name = \"app\", address = \"web:{port}\" }}");
    let proxy = Proxy::start(quick(&server, dns, "", &[&entry])).await;
    assert_eq!(who(&proxy, 2).await, set(&["a"]));
    assert_eq!(server.asked("web.ns.test"), server.asked("web.svc.test"));
    assert_eq!(server.asked("web"), 0, "it was found before");
    drop(backend);
}

/// As container engines have it: a name without a dot, and no search list.
#[tokio::test]
async fn a_name_without_a_dot_is_asked_for_as_it_is() {
    let (a, b) = twins("a", "b");
    let server = NameServer::start();
    server.set("my_app", Reply::addresses(&["127.0.0.1", "127.0.0.2"], 600));
    let port = a.address().port();
    let entry = format!("{{ address = \"My_App:{port}\" }}");
    let proxy = Proxy::start(config(&server, "", &[&entry])).await;
    assert_eq!(who(&proxy, 4).await, set(&["a", "b"]));
    drop(b);
}

#[tokio::test]
async fn an_answer_that_is_too_long_comes_over_tcp_and_an_alias_is_followed() {
    let (a, b) = twins("a", "b");
    let server = NameServer::start();
    let ips = ["127.0.0.1", "127.0.0.2"].map(|ip| Data::Ip(ip.parse().expect("an address")));
    server.set("app.test", Reply::Truncated(ips.into(), 60));
    server.set(
        "alias.test",
        Reply::Records(vec![Data::Alias("app.test".into())], 60),
    );
    let port = a.address().port();
    let entry = format!("{{ name = \"app\", address = \"alias.test:{port}\" }}");
    let proxy = Proxy::start(config(&server, "", &[&entry])).await;
    assert_eq!(who(&proxy, 4).await, set(&["a", "b"]));
    drop(b);
}

#[tokio::test]
async fn b21_of_a_hostile_answer_only_what_was_asked_for_is_used_and_not_without_end() {
    let backend = Backend::named("a").start();
    let server = NameServer::start();
    let ip = |text: &str| text.parse().expect("an address");
    let mut data = vec![Data::Ip(ip("127.0.0.1")), Data::Ip(ip("0.0.0.0"))];
    data.push(Data::Foreign("bank.test".into(), ip("127.0.0.6")));
    server.set("app.test", Reply::Records(data, 60));
    let many = (0..1_000).map(|n| Data::Ip([10, 0, (n / 250) as u8, (n % 250) as u8].into()));
    // Too much for a datagram.
    server.set("many.test", Reply::Truncated(many.collect(), 60));
    let many = "{ name = \"many\", address = \"many.test\", state = \"drain\" }";
    let proxy = Proxy::start(config(&server, "", &[&app(&backend), many])).await;
    let admin = Admin::of(&proxy).await;
    assert_eq!(names(&admin).await.len(), 1 + 256);
    assert_eq!(who(&proxy, 3).await, set(&["a"]));
    assert!(proxy.process().logged("too many addresses"));
}

#[tokio::test]
async fn a_machine_with_addresses_of_both_families_is_one_backend_unless_both_are_wanted() {
    let backend = Backend::named("a").start();
    let server = NameServer::start();
    server.set("app.test", Reply::addresses(&["127.0.0.1", "::1"], 60));
    server.set("six.test", Reply::addresses(&["::1"], 60));
    let port = backend.address().port();
    let six = format!("{{ name = \"six\", address = \"six.test:{port}\" }}");
    let text = config(&server, "", &[&app(&backend), &six]);
    let proxy = Proxy::start(&text).await;
    let admin = Admin::of(&proxy).await;
    let (v4, v6) = (format!("app@127.0.0.1:{port}"), format!("app@[::1]:{port}"));
    let six = format!("six@[::1]:{port}");
    assert_eq!(names(&admin).await, [v4.clone(), six.clone()]);

    proxy.replace(
        "anubis.toml",
        text.replace("[dns]\n", "[dns]\nfamily = \"both\"\n"),
    );
    until_there_are(&admin, 3).await;
    assert_eq!(names(&admin).await, [v4, v6, six]);
}

#[tokio::test]
async fn at_connect_the_system_is_asked_and_no_name_server() {
    let backend = Backend::named("a").start();
    let server = NameServer::start();
    let port = backend.address().port();
    let entry = format!("{{ name = \"app\", address = \"localhost:{port}\" }}");
    let proxy = Proxy::start(config(&server, "resolve = \"at-connect\"", &[&entry])).await;
    let admin = Admin::of(&proxy).await;
    assert_eq!(who(&proxy, 2).await, set(&["a"]));
    assert_eq!(names(&admin).await, ["app"]);

    // This machine is not asked for either.
    proxy.replace("anubis.toml", config(&server, "", &[&entry]));
    proxy.log("reloaded").await;
    assert_eq!(who(&proxy, 2).await, set(&["a"]));
    assert_eq!(names(&admin).await, ["app"]);
    assert_eq!(server.queries(), []);
}

#[tokio::test]
async fn records_of_a_service_bring_ports_weights_and_priorities() {
    let [a, b, c] = ["a", "b", "c"].map(|name| Backend::named(name).start());
    let server = NameServer::start();
    let (service, port) = ("_http._tcp.app.test", |one: &Backend| one.address().port());
    server.set("one.test", Reply::addresses(&["127.0.0.1"], 0));
    server.set(
        service,
        Reply::services(
            &[
                (10, 3, port(&a), "one.test"),
                (10, 1, port(&b), "one.test"),
                (20, 0, port(&c), "one.test"),
            ],
            0,
        ),
    );
    let entry = format!("{{ name = \"app\", srv = \"{service}\" }}");
    let pool = "host-header = \"backend\"";
    let proxy = Proxy::start(config(&server, pool, &[&entry])).await;
    let admin = Admin::of(&proxy).await;
    let report = Load::of(80, proxy.address(), 1).await;
    report.assert_none_failed();
    assert_eq!(report.of("c"), 0, "a backup");
    assert!(
        (report.share("a") - 0.75).abs() < 0.06,
        "{}",
        report.share("a")
    );
    let host = a.request().await.head.one("host").map(str::to_owned);
    assert_eq!(host, Some(format!("one.test:{}", port(&a))));
    let shown = |list: &[Value]| -> BTreeSet<(u64, u64, u64)> {
        let number = |one: &Value, key: &str| one[key].as_u64().expect("a number");
        let port = |one: &Value| {
            let address = one["resolved"].as_str().expect("an address");
            address
                .rsplit(':')
                .next()
                .and_then(|port| port.parse().ok())
                .expect("a port")
        };
        let row = |one| (port(one), number(one, "weight"), number(one, "priority"));
        list.iter().map(row).collect()
    };
    let before = backends(&admin).await;
    let row = |one: &Backend, weight, priority| (u64::from(port(one)), weight, priority);
    let expected = BTreeSet::from([row(&a, 3, 10), row(&b, 1, 10), row(&c, 1, 20)]);
    assert_eq!(shown(&before), expected);

    // Other weights: the same backends.
    server.set(
        service,
        Reply::services(
            &[(0, 7, port(&a), "one.test"), (0, 7, port(&c), "one.test")],
            0,
        ),
    );
    until_there_are(&admin, 2).await;
    let after = backends(&admin).await;
    let expected = BTreeSet::from([row(&a, 7, 0), row(&c, 7, 0)]);
    assert_eq!(shown(&after), expected);
    let id = |list: &[Value], backend: &Backend| {
        let resolved = json!(backend.address().to_string());
        let found = list.iter().find(|one| one["resolved"] == resolved);
        found.expect("it is there")["id"].clone()
    };
    assert_eq!(id(&before, &a), id(&after, &a));
    assert_eq!(who(&proxy, 4).await, set(&["a", "c"]));
}

#[tokio::test]
async fn a_target_that_cannot_be_looked_up_keeps_its_addresses() {
    let (a, b) = twins("a", "b");
    let server = NameServer::start();
    let (service, port) = ("_http._tcp.app.test", a.address().port());
    server.set("one.test", Reply::addresses(&["127.0.0.1"], 0));
    server.set("two.test", Reply::addresses(&["127.0.0.2"], 0));
    let both = [(0, 1, port, "one.test"), (0, 1, port, "two.test")];
    server.set(service, Reply::services(&both, 0));
    let entry = format!("{{ name = \"app\", srv = \"{service}\" }}");
    let proxy = Proxy::start(config(&server, "", &[&entry])).await;
    let admin = Admin::of(&proxy).await;
    assert_eq!(who(&proxy, 4).await, set(&["a", "b"]));

    server.set("two.test", Reply::ServFail);
    server.asked_again("two.test", 4).await;
    assert_eq!(names(&admin).await.len(), 2);
    server.set(service, Reply::NoSuchName);
    proxy.log(FAILING).await;
    assert_eq!(who(&proxy, 4).await, set(&["a", "b"]));
    server.set(service, Reply::services(&both[..1], 0));
    until_there_are(&admin, 1).await;
    assert_eq!(who(&proxy, 2).await, set(&["a"]));
    drop(b);
}

#[tokio::test]
async fn a_service_without_an_answer_takes_no_requests_until_there_is_one() {
    let backend = Backend::named("a").start();
    let server = NameServer::start();
    let service = "_http._tcp.app.test";
    let entry = format!("{{ srv = \"{service}\" }}");
    let proxy = Proxy::start(config(&server, "", &[&entry])).await;
    let admin = Admin::of(&proxy).await;
    assert_eq!(get(proxy.address(), "/").await.status(), 503);
    server.set("one.test", Reply::addresses(&["127.0.0.1"], 0));
    let port = backend.address().port();
    server.set(service, Reply::services(&[(0, 0, port, "one.test")], 0));
    until_they_are(&admin, &[format!("{service}@127.0.0.1:{port}")]).await;
    assert_eq!(who(&proxy, 2).await, set(&["a"]));
}

#[tokio::test]
async fn what_is_set_at_run_time_stands_for_an_address_or_for_a_whole_name() {
    let (a, b) = twins("a", "b");
    let server = NameServer::start();
    server.set("app.test", Reply::addresses(&["127.0.0.1", "127.0.0.2"], 0));
    let text = config(&server, "", &[&app(&a)]);
    let folder = Folder::with(text.replace("[admin]\n", "[admin]\nstate-file = \"state.json\"\n"));
    let proxy = folder.start().await;
    let admin = Admin::of(&proxy).await;
    let port = a.address().port();
    let first = format!("/v1/pools/web/backends/app@127.0.0.1:{port}");

    let told = admin
        .send("PATCH", &first, json!({ "state": "drain" }))
        .await;
    assert_eq!(told.status(), 200);
    assert_eq!(told.json["state"], "drain");
    assert_eq!(who(&proxy, 3).await, set(&["b"]));
    // A change of the answer leaves it alone.
    server.set(
        "app.test",
        Reply::addresses(&["127.0.0.1", "127.0.0.2", "127.0.0.9"], 0),
    );
    until_there_are(&admin, 3).await;
    assert_eq!(admin.get(&first).await.json["state"], "drain");

    // All of a name, and what comes later.
    let told = admin
        .send(
            "PATCH",
            "/v1/pools/web/backends/app",
            json!({ "capacity": 9 }),
        )
        .await;
    assert_eq!(told.status(), 204);
    server.set("app.test", Reply::addresses(&["127.0.0.1", "127.0.0.2"], 0));
    until_there_are(&admin, 2).await;
    for backend in backends(&admin).await {
        assert_eq!(backend["capacity"], 9, "{backend}");
    }
    let told = admin
        .send("PUT", &first, json!({ "address": "127.0.0.9:80" }))
        .await;
    assert_eq!(told.status(), 409, "{}", told.detail());
    drop(b);
}

#[tokio::test]
async fn names_are_added_drained_and_removed_at_run_time() {
    let (a, b) = twins("a", "b");
    let c = Backend::named("c").start();
    let server = NameServer::start();
    server.set("app.test", Reply::addresses(&["127.0.0.1", "127.0.0.2"], 0));
    let entry = format!("{{ name = \"c\", address = \"{c}\" }}");
    let proxy = Proxy::start(config(&server, "", &[&entry])).await;
    let admin = Admin::of(&proxy).await;
    let at = "/v1/pools/web/backends/app";
    let port = a.address().port();
    let wanted = json!({ "address": format!("app.test:{port}"), "weight": 3 });
    assert_eq!(admin.send("PUT", at, wanted).await.status(), 204);
    let both = ["127.0.0.1", "127.0.0.2"].map(|ip| format!("app@{ip}:{port}"));
    let all = ["c".to_owned(), both[0].clone(), both[1].clone()];
    assert_eq!(names(&admin).await, all, "it has waited for the answer");
    assert_eq!(backends(&admin).await[1]["weight"], 3);
    assert_eq!(who(&proxy, 9).await, set(&["a", "b", "c"]));

    let url = admin.url();
    let drain = ["ctl", "--admin", &url, "drain", "web", "app"];
    let ended = anubis_tests::proxy::run(drain).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("every address"), "{}", ended.stdout);
    assert_eq!(who(&proxy, 3).await, set(&["c"]));

    assert_eq!(admin.delete("/v1/pools/web/backends/c").await.status(), 204);
    assert_eq!(names(&admin).await, both);
    let told = admin.delete(at).await;
    assert_eq!(told.status(), 409, "the only one: {}", told.detail());
    let first = format!("{at}@127.0.0.1:{port}");
    assert_eq!(admin.delete(&first).await.status(), 204);
    assert_eq!(names(&admin).await, both[1..]);
    drop(b);
}

#[tokio::test]
async fn every_address_is_checked_by_itself() {
    let (a, b) = twins("a", "b");
    let server = NameServer::start();
    server.set("app.test", Reply::addresses(&["127.0.0.1", "127.0.0.2"], 0));
    let check = "health-check = { path = \"/healthz\", interval = \"30ms\", fall = 1 }";
    let proxy = Proxy::start(config(&server, check, &[&app(&a)])).await;
    let port = a.address().port();
    for backend in [&a, &b] {
        let request = backend.request().await;
        assert_eq!(request.target, "/healthz");
        let host = request.head.one("host").map(str::to_owned);
        assert_eq!(host, Some(format!("app.test:{port}")));
    }
    b.stop().await;
    let line = proxy.log("backend is unhealthy").await;
    assert_eq!(line["backend"], format!("app@127.0.0.2:{port}"));
    assert_eq!(who(&proxy, 4).await, set(&["a"]));
}

#[tokio::test]
async fn a_drained_address_is_drained_after_a_restart_with_no_name_server_too() {
    let (a, b) = twins("a", "b");
    let server = NameServer::start();
    let good = Reply::addresses(&["127.0.0.1", "127.0.0.2"], 0);
    server.set("app.test", good.clone());
    let text = config(&server, "", &[&app(&a)]);
    let folder = Folder::with(text.replace("[admin]\n", "[admin]\nstate-file = \"state.json\"\n"));
    let proxy = folder.start().await;
    let admin = Admin::of(&proxy).await;
    let port = a.address().port();
    let first = format!("/v1/pools/web/backends/app@127.0.0.1:{port}");
    admin
        .send("PATCH", &first, json!({ "state": "drain" }))
        .await;
    proxy.terminate();
    proxy.exit().await;

    server.set("app.test", Reply::ServFail);
    let again = anubis_tests::proxy::Running::start(anubis_tests::proxy::command([
        "run",
        proxy.path("anubis.toml").to_str().expect("a path"),
    ]));
    let admin = Admin::of_process(&again).await;
    assert_eq!(names(&admin).await, ["app"]);
    server.set("app.test", good);
    until_there_are(&admin, 2).await;
    assert_eq!(admin.get(&first).await.json["state"], "drain");

    // The name no longer leads there: that is the last word.
    server.set("app.test", Reply::addresses(&["127.0.0.2"], 0));
    until_there_are(&admin, 1).await;
    server.set("app.test", Reply::addresses(&["127.0.0.1", "127.0.0.2"], 0));
    until_there_are(&admin, 2).await;
    assert_eq!(admin.get(&first).await.json["state"], "active");
    drop(b);
}

#[tokio::test]
async fn a_whole_pool_drains_with_the_addresses_that_come_later() {
    let (a, b) = twins("a", "b");
    let server = NameServer::start();
    server.set("app.test", Reply::addresses(&["127.0.0.1"], 0));
    let proxy = Proxy::start(config(&server, "", &[&app(&a)])).await;
    let admin = Admin::of(&proxy).await;
    let all = "/v1/pools/web/backends";
    admin.send("PATCH", all, json!({ "state": "drain" })).await;
    server.set("app.test", Reply::addresses(&["127.0.0.1", "127.0.0.2"], 0));
    until_there_are(&admin, 2).await;
    for backend in backends(&admin).await {
        assert_eq!(backend["state"], "drain", "{backend}");
    }
    admin.send("PATCH", all, json!({ "state": "active" })).await;
    assert_eq!(who(&proxy, 4).await, set(&["a", "b"]));
    drop(b);
}

#[tokio::test]
async fn a_reload_that_is_refused_leaves_the_names_alone() {
    let backend = Backend::named("a").start();
    let server = NameServer::start();
    server.set("app.test", Reply::addresses(&["127.0.0.1"], 60));
    let text = config(&server, "", &[&app(&backend)]);
    let proxy = Proxy::start(&text).await;
    let admin = Admin::of(&proxy).await;
    let port = backend.address().port();
    let taken = Backend::named("taken").start();
    let wrong = text.replace("app.test", "other.test");
    let wrong = format!("{wrong}\n[[listeners]]\naddress = \"{taken}\"\n");
    proxy.replace("anubis.toml", wrong);
    proxy.log("reload refused").await;
    // Nothing is known of the name any less, though nobody answers now.
    server.set("app.test", Reply::Silence);
    proxy.replace("anubis.toml", format!("{text}\n# as before\n"));
    proxy.hang_up();
    proxy.log("nothing to reload").await;
    assert_eq!(names(&admin).await, [format!("app@127.0.0.1:{port}")]);
    assert_eq!(generation(&admin).await, 1);
}

#[tokio::test]
async fn a_plugin_that_became_unreadable_does_not_keep_addresses_from_changing() {
    let (a, _b) = twins("a", "b");
    let server = NameServer::start();
    server.set("app.test", Reply::addresses(&["127.0.0.1"], 0));
    let pool = "strategy = \"./mine.wasm\"";
    let component = anubis_tests::guests::always(0);
    let folder = Folder::with(config(&server, pool, &[&app(&a)])).file("mine.wasm", component);
    let proxy = folder.start().await;
    proxy.replace("mine.wasm", b"no component");
    proxy.log("reload refused").await;
    server.set("app.test", Reply::addresses(&["127.0.0.2"], 0));
    proxy.log(FOLLOWED).await;
    assert_eq!(who(&proxy, 2).await, set(&["b"]));
}
