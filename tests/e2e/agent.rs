//! Agents beside the backends: what they say is done, and nothing worse happens.

use std::time::Duration;

use anubis_tests::client::{get, raw};
use anubis_tests::proxy::Folder;
use anubis_tests::{Admin, Agent, Backend, Client, Config, Load, Metered, Proxy, guests, within};
use serde_json::Value;

const ANSWERS_NOT: &str = "agent does not answer";
const ADMIN: &str = "workers = 1\nadmin.address = \"127.0.0.1:0\"";

/// `a` has this agent; `b` is on another host, where none listens.
fn backends() -> [Backend; 2] {
    let elsewhere = "127.0.0.2:0".parse().expect("an address");
    [
        Backend::named("a").start(),
        Backend::named("b").at(elsewhere).start(),
    ]
}

fn asking(agent: &Agent, lines: &str) -> String {
    let port = agent.port();
    format!("agent-check = {{ port = {port}, interval = \"20ms\"{lines} }}")
}

async fn balanced(agent: &Agent, pool: &str) -> (Proxy, [Backend; 2]) {
    let backends = backends();
    let config = Config::balanced(&backends).global(ADMIN);
    let proxy = Proxy::start(config.pool(&asking(agent, "")).pool(pool)).await;
    (proxy, backends)
}

/// What is shown of a backend once it is as wanted.
async fn until(admin: &Admin, backend: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let path = format!("/v1/pools/web/backends/{backend}");
    within(&format!("{backend} to be as wanted"), async {
        loop {
            let shown = admin.get(&path).await.json;
            if wanted(&shown) {
                return shown;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

/// Waits until the agent's word is done.
async fn said(admin: &Admin, line: &str) -> Value {
    until(admin, "a", |shown| shown["agent"]["said"] == *line).await
}

async fn answers(proxy: &Proxy, requests: usize) -> String {
    let mut names = String::new();
    for _ in 0..requests {
        names += &get(proxy.address(), "/").await.text();
    }
    names
}

#[tokio::test]
async fn down_and_up_are_verdicts() {
    let agent = Agent::saying("up\n");
    let (proxy, _backends) = balanced(&agent, "").await;
    let admin = Admin::of(&proxy).await;
    said(&admin, "up").await;
    assert!(answers(&proxy, 4).await.contains('a'));
    for word in ["down # the disk is full", "stopped", "fail"] {
        agent.says(format!("{word}\r\n"));
        let line = proxy.log("agent: backend is down").await;
        assert_eq!(
            (&line["level"], &line["says"]),
            (&"WARN".into(), &word.into())
        );
        let shown = said(&admin, word).await;
        assert_eq!(
            (&shown["agent"]["down"], &shown["eligible"]),
            (&true.into(), &false.into())
        );
        assert_eq!(answers(&proxy, 4).await, "bbbb");
        agent.says("up\n");
        proxy.log("agent: backend takes requests").await;
        assert!(answers(&proxy, 4).await.contains('a'));
    }
}

#[tokio::test]
async fn only_ready_ends_what_drain_and_maint_began() {
    let agent = Agent::saying("ready\n");
    let (proxy, _backends) = balanced(&agent, "").await;
    let admin = Admin::of(&proxy).await;
    for (word, shown_as) in [("drain", "drain"), ("maint", "maint")] {
        agent.says(format!("{word}\n"));
        proxy.log("agent: backend takes no new requests").await;
        assert_eq!(answers(&proxy, 4).await, "bbbb");
        agent.says("up 100%\n");
        let shown = said(&admin, "up 100%").await;
        assert_eq!(shown["agent"]["administration"], shown_as);
        assert_eq!(answers(&proxy, 4).await, "bbbb", "{word}");
        agent.says("ready\n");
        proxy.log("agent: backend takes requests").await;
        assert!(answers(&proxy, 4).await.contains('a'));
    }
}

#[tokio::test]
async fn who_drains_keeps_its_sessions_and_who_is_maintained_does_not() {
    let agent = Agent::saying("ready\n");
    let (proxy, _backends) = balanced(&agent, "sticky = { header = \"X-Session\" }").await;
    let admin = Admin::of(&proxy).await;
    let session = loop {
        let response = get(proxy.address(), "/").await;
        if response.text() == "a" {
            break response.head.one("x-session").expect("a token").to_owned();
        }
    };
    let request = format!("GET / HTTP/1.1\r\nHost: h\r\nX-Session: {session}\r\n\r\n");
    agent.says("drain\n");
    said(&admin, "drain").await;
    assert_eq!(answers(&proxy, 3).await, "bbb");
    assert_eq!(raw(proxy.address(), &request).await.text(), "a");
    agent.says("maint\n");
    said(&admin, "maint").await;
    assert_eq!(raw(proxy.address(), &request).await.text(), "b");
}

#[tokio::test]
async fn a_percentage_is_a_share_of_the_weight() {
    let agent = Agent::saying("50%\n");
    let (proxy, _backends) = balanced(&agent, "").await;
    let admin = Admin::of(&proxy).await;
    let shown = said(&admin, "50%").await;
    assert_eq!(shown["agent"]["weight_percent"], 50);
    assert_eq!(shown["weight"], 1, "what is configured stays");
    let share = |names: &str| names.matches('a').count();
    assert_eq!(share(&answers(&proxy, 30).await), 10, "50 beside 100");
    agent.says("200%\n");
    said(&admin, "200%").await;
    assert_eq!(share(&answers(&proxy, 30).await), 20);
    agent.says("0%\n");
    let shown = said(&admin, "0%").await;
    assert_eq!(shown["eligible"], false);
    assert_eq!(share(&answers(&proxy, 6).await), 0);
    agent.says("100%\n");
    said(&admin, "100%").await;
    assert_eq!(share(&answers(&proxy, 6).await), 3);
}

#[tokio::test]
async fn the_load_that_agents_tell_decides_who_is_picked() {
    let agent = Agent::saying("up load:90%\n");
    let backends = backends();
    let config = Config::strategy("./mine.wasm")
        .global(ADMIN)
        .pool(&asking(&agent, ", expiry = \"150ms\""))
        .backend(&backends[0], "")
        .backend(&backends[1], "");
    let proxy = Folder::with(config)
        .file("mine.wasm", guests::wasm("least-utilized"))
        .start()
        .await;
    let admin = Admin::of(&proxy).await;
    let shown = said(&admin, "up load:90%").await;
    assert_eq!(shown["utilization"], 0.9);
    // Nothing is known of b, which the strategy takes for no load.
    assert_eq!(answers(&proxy, 3).await, "bbb");
    agent.says("75%\n");
    assert_eq!(said(&admin, "75%").await["utilization"], 0.25);
    // No word of it any more, and after a while it does not count.
    agent.says("up\n");
    until(&admin, "a", |shown| shown["utilization"].is_null()).await;
    assert_eq!(
        answers(&proxy, 3).await,
        "aaa",
        "the first of those without a load"
    );
}

#[tokio::test]
async fn an_agent_that_does_not_answer_changes_nothing_and_is_told_of_once() {
    let agent = Agent::saying("drain load:0.5\n");
    let (proxy, _backends) = balanced(&agent, "").await;
    let admin = Admin::of(&proxy).await;
    // Perhaps before the proxy said that it listens: that line is not waited for.
    let shown = until(&admin, "b", |shown| !shown["agent"]["error"].is_null()).await;
    assert_eq!(shown["agent"]["error"], "connection refused");
    assert_eq!(shown["eligible"], true);
    assert!(shown["agent"]["said"].is_null() && shown["utilization"].is_null());
    said(&admin, "drain load:0.5").await;
    for nonsense in [
        &b""[..],
        b"\n",
        b"hello\n",
        b"\xff\xfe\x00\n",
        &[b'x'; 5000],
        b"99999999999%\n",
    ] {
        agent.says(nonsense);
        let line = loop {
            let line = proxy.log(ANSWERS_NOT).await;
            if line["backend"] == "a" {
                break line;
            }
        };
        assert_eq!(line["level"], "WARN", "{line}");
        agent.asked(3).await;
        let shown = until(&admin, "a", |shown| !shown["agent"]["error"].is_null()).await;
        assert_eq!(shown["agent"]["administration"], "drain", "{nonsense:?}");
        assert_eq!(answers(&proxy, 2).await, "bb");
        agent.says("drain load:0.5\n");
        proxy.log("agent answers again").await;
    }
    let told = proxy.process().stderr().matches(ANSWERS_NOT).count();
    assert_eq!(told, 1 + 6, "b once, and a once for each");
}

#[tokio::test]
async fn a_silent_agent_is_given_up_in_time() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let backend = Backend::named("a").start();
    let pool = format!("agent-check = {{ port = {port}, timeout = \"30ms\" }}");
    let proxy = Proxy::start(Config::balanced([&backend]).pool(&pool)).await;
    // Perhaps told before the proxy said that it listens.
    within("the check to be given up", async {
        while !proxy.process().logged(ANSWERS_NOT) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let log = proxy.process().stderr();
    assert!(log.contains("no answer within 30ms"), "{log}");
    assert_eq!(get(proxy.address(), "/").await.text(), "a");
}

#[tokio::test]
async fn an_agent_is_told_what_it_is_to_be_told() {
    let agent = Agent::hearing(4, "75%\n");
    let backend = Backend::named("a").start();
    let pool = asking(&agent, ", send = \"web\\n\"");
    let config = Config::balanced([&backend]).pool(&pool).global(ADMIN);
    let proxy = Proxy::start(config).await;
    said(&Admin::of(&proxy).await, "75%").await;
    assert_eq!(agent.told(), b"web\n");
}

#[tokio::test]
async fn what_agents_said_outlives_a_reload_and_a_successor_but_not_the_table() {
    let agent = Agent::saying("ready\n");
    let backends = backends();
    let config = |agent: &str| {
        let config = Config::balanced(&backends).pool(agent);
        config.global(ADMIN).to_string()
    };
    let proxy = Proxy::start(config(&asking(&agent, ""))).await;
    agent.says("drain\n");
    proxy.log("agent: backend takes no new requests").await;
    // From here on it says nothing, so nobody could know but from before.
    agent.says("\n");
    proxy.log(ANSWERS_NOT).await;
    proxy.configure(config(&asking(&agent, ", timeout = \"3s\"")));
    proxy.log(crate::RELOADED).await;
    assert_eq!(answers(&proxy, 4).await, "bbbb");
    proxy.process().upgrade().await;
    assert_eq!(answers(&proxy, 4).await, "bbbb");
    proxy.configure(config(""));
    proxy.log(crate::RELOADED).await;
    let mut client = Client::connect(proxy.address()).await;
    within("the advice to be forgotten", async {
        while client.get("/").await.text() != "a" {}
    })
    .await;
}

#[tokio::test]
async fn an_agent_that_changes_its_mind_all_the_time_fails_nothing() {
    let agent = Agent::saying("up\n");
    let (proxy, _backends) = balanced(&agent, "").await;
    let load = Load::start(proxy.address(), 4);
    for line in [
        "50%",
        "drain",
        "ready",
        "down",
        "up",
        "maint",
        "ready 10%",
        "0%",
        "100%",
    ] {
        agent.says(format!("{line}\n"));
        agent.asked(2).await;
        load.more(50).await;
    }
    load.stop().await.assert_none_failed();
}

#[tokio::test]
async fn checks_of_agents_are_counted() {
    let agent = Agent::saying("ready\n");
    let backend = Backend::named("a").start();
    let proxy = Metered::start(Config::balanced([&backend]).pool(&asking(&agent, ""))).await;
    agent.says("drain\n");
    proxy
        .proxy()
        .log("agent: backend takes no new requests")
        .await;
    let labels = [("pool", "web"), ("backend", "a")];
    let weight = "anubis_backend_agent_weight_ratio";
    assert_eq!(proxy.scrape().value(weight, &labels), 0.0);
    let passed = [labels[0], labels[1], ("result", "passed")];
    let checks = "anubis_backend_agent_checks_total";
    assert!(proxy.scrape().value(checks, &passed) >= 1.0);
    agent.says("ready 25%\n");
    proxy.until(weight, &labels, 0.25).await;
    agent.says("?\n");
    let damaged = [labels[0], labels[1], ("result", "protocol")];
    within("a check that means nothing", async {
        while proxy.scrape().value(checks, &damaged) == 0.0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
