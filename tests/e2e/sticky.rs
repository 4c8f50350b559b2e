//! Sessions that stay with their backend, by a token that the proxy gives.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use anubis_tests::client::raw;
use anubis_tests::proxy::Folder;
use anubis_tests::{
    Admin, Answer, Backend, Client, Config, Gate, Load, Metered, Proxy, guests, within,
};

use crate::RELOADED;

const STICKY: &str = "sticky = { cookie = \"sid\" }";
const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn abc() -> [Backend; 3] {
    ["a", "b", "c"].map(|name| Backend::named(name).start())
}

/// A client that keeps cookies.
struct Browser {
    client: Client,
    cookie: Option<String>,
    /// `Set-Cookie` of the last response, whole.
    set: Option<String>,
}

impl Browser {
    async fn at(proxy: &Proxy) -> Self {
        Self {
            client: Client::connect(proxy.address()).await,
            cookie: None,
            set: None,
        }
    }

    /// Who answers, or the status where that is not 200.
    async fn visit(&mut self) -> String {
        self.visit_at("/").await
    }

    async fn visit_at(&mut self, target: &str) -> String {
        let cookie = self
            .cookie
            .as_ref()
            .map(|cookie| format!("Cookie: {cookie}\r\n"));
        let cookie = cookie.unwrap_or_default();
        let request = format!("GET {target} HTTP/1.1\r\nHost: h\r\n{cookie}\r\n");
        self.client.send(request).await;
        let response = self.client.response().await;
        self.set = response.head.one("set-cookie").map(str::to_owned);
        if let Some(set) = &self.set {
            self.cookie = set.split(';').next().map(str::to_owned);
        }
        match response.status() {
            200 => response.text(),
            status => status.to_string(),
        }
    }

    fn token(&self) -> String {
        let cookie = self.cookie.as_deref().unwrap_or_default();
        cookie.trim_start_matches("sid=").to_owned()
    }
}

/// Who answers a request with these lines in its head, and what it set.
async fn with(proxy: &Proxy, lines: &str) -> (String, Option<String>) {
    let request = format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
    let response = raw(proxy.address(), &request).await;
    let set = response.head.one("set-cookie").map(str::to_owned);
    (response.text(), set)
}

/// The backend of this name in the pool has this state.
fn in_state(backends: &[Backend], name: &str, state: &str) -> Config {
    let config = Config::strategy("round-robin").pool(STICKY);
    backends.iter().fold(config, |config, backend| {
        let lines = match backend.name() == name {
            true => format!("state = {state:?}"),
            false => String::new(),
        };
        config.backend(backend, &lines)
    })
}

#[tokio::test]
async fn a_client_stays_with_its_backend_and_is_told_once() {
    let backends = abc();
    let proxy = Proxy::start(Config::balanced(&backends).pool(STICKY)).await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        let mut browser = Browser::at(&proxy).await;
        let first = browser.visit().await;
        let set = browser.set.clone().expect("a cookie");
        assert!(set.starts_with("sid="), "{set}");
        assert!(set.ends_with("; Path=/; HttpOnly; SameSite=Lax"), "{set}");
        for _ in 0..4 {
            assert_eq!(browser.visit().await, first);
            assert_eq!(browser.set, None);
        }
        seen.push(first);
    }
    seen.sort();
    assert_eq!(seen, ["a", "b", "c"], "new clients are the strategy's");
}

#[tokio::test]
async fn the_cookie_has_the_attributes_of_the_configuration() {
    let backends = abc();
    let table = "sticky = { cookie = \"sid\", path = \"/shop\", domain = \"example.com\", \
                 secure = true, http-only = false, same-site = \"strict\", ttl = \"1h\" }";
    let proxy = Proxy::start(Config::balanced(&backends).pool(table)).await;
    let mut browser = Browser::at(&proxy).await;
    browser.visit().await;
    let set = browser.set.expect("a cookie");
    let attributes = "; Path=/shop; Domain=example.com; Max-Age=3600; Secure; SameSite=Strict";
    assert!(set.ends_with(attributes), "{set}");
}

#[tokio::test]
async fn backends_neither_see_nor_set_the_token() {
    let forging = Answer::head(
        "200 OK",
        &[
            ("Set-Cookie", "sid=forged; Path=/"),
            ("Set-Cookie", "other=1"),
            ("Content-Length", "1"),
        ],
    );
    let backend = Backend::named("a").answer(forging.write("a")).start();
    let proxy = Proxy::start(Config::balanced([&backend]).pool(STICKY)).await;
    let mut client = Client::connect(proxy.address()).await;
    client
        .send("GET / HTTP/1.1\r\nHost: h\r\nCookie: x=1; sid=mine; y=2\r\n\r\n")
        .await;
    let response = client.response().await;
    let set = response.head.all("set-cookie");
    assert_eq!((set.len(), set[0]), (2, "other=1"), "{}", response.head);
    let token = set[1].split(';').next().expect("a pair").to_owned();
    assert!(
        token.starts_with("sid=") && token != "sid=forged",
        "{token}"
    );

    client
        .send(format!(
            "GET / HTTP/1.1\r\nHost: h\r\nCookie: {token}\r\n\r\n"
        ))
        .await;
    assert_eq!(client.response().await.head.all("set-cookie"), ["other=1"]);
    let requests = backend.requests(2).await;
    assert_eq!(requests[0].head.one("cookie"), Some("x=1; y=2"));
    assert!(!requests[1].head.has("cookie"), "{}", requests[1].head);
}

#[tokio::test]
async fn a_forged_or_damaged_token_is_as_none_and_is_counted() {
    let backends = abc();
    let proxy = Metered::start(Config::balanced(&backends).pool(STICKY)).await;
    let good = {
        let response = raw(proxy.address(), "GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        let set = response.head.one("set-cookie").expect("a cookie");
        set.split(';').next().expect("a pair")[4..].to_owned()
    };
    let mut flipped = good.clone().into_bytes();
    flipped[0] = if flipped[0] == b'0' { b'1' } else { b'0' };
    let flipped = String::from_utf8(flipped).expect("text");
    let bad = [
        String::new(),
        "a".to_owned(),
        flipped,
        good[1..].to_owned(),
        format!("{good}0"),
        good.to_uppercase(),
        format!("\"{good}\""),
        "0".repeat(good.len()),
        "../../etc/passwd".to_owned(),
        "\u{e9}".repeat(good.len() / 2),
    ];
    // Digits alone are their own upper case.
    let bad: Vec<String> = bad.into_iter().filter(|token| *token != good).collect();
    for token in &bad {
        let request = format!("GET / HTTP/1.1\r\nHost: h\r\nCookie: sid={token}\r\n\r\n");
        let response = raw(proxy.address(), &request).await;
        assert_eq!(response.status(), 200, "{token}");
        assert!(response.head.has("set-cookie"), "{token}");
    }
    let request = format!("GET / HTTP/1.1\r\nHost: h\r\nCookie: sid={good}\r\n\r\n");
    assert!(!raw(proxy.address(), &request).await.head.has("set-cookie"));
    let scrape = proxy.scrape();
    for (token, count) in [
        ("none", 1),
        ("valid", 1),
        ("invalid", bad.len()),
        ("expired", 0),
    ] {
        let labels = [("pool", "web"), ("token", token)];
        let counted = scrape.value("anubis_pool_session_tokens_total", &labels);
        assert_eq!(counted, count as f64, "{token}");
    }
}

#[tokio::test]
async fn of_two_cookies_of_the_name_the_good_one_counts() {
    let backends = abc();
    let proxy = Proxy::start(Config::balanced(&backends).pool(STICKY)).await;
    let mut browser = Browser::at(&proxy).await;
    let mine = browser.visit().await;
    let token = browser.token();
    for lines in [
        format!("Cookie: sid=planted; sid={token}\r\n"),
        format!("Cookie: sid={token}; sid=planted\r\n"),
        format!("Cookie: sid=planted\r\nCookie: a=1; sid={token}\r\n"),
    ] {
        for _ in 0..3 {
            assert_eq!(with(&proxy, &lines).await, (mine.clone(), None), "{lines}");
        }
    }
}

#[tokio::test]
async fn a_header_may_carry_the_token() {
    let forging = Answer::head(
        "200 OK",
        &[("X-Backend", "forged"), ("Content-Length", "0")],
    );
    let a = Backend::named("a").answer(forging).start();
    let b = Backend::named("b").start();
    let table = "sticky = { header = \"X-Backend\" }";
    let proxy = Proxy::start(Config::balanced([&a, &b]).pool(table)).await;
    let mut tokens = Vec::new();
    for _ in 0..2 {
        let response = raw(proxy.address(), "GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        let token = response.head.one("x-backend").expect("a token").to_owned();
        assert_ne!(token, "forged");
        tokens.push((token, response.text()));
    }
    for (token, backend) in &tokens {
        for _ in 0..2 {
            let request = format!("GET / HTTP/1.1\r\nHost: h\r\nX-Backend: {token}\r\n\r\n");
            let response = raw(proxy.address(), &request).await;
            assert_eq!(&response.text(), backend);
            assert!(!response.head.has("x-backend"), "{}", response.head);
        }
    }
    for request in a.log().iter().chain(&b.log()) {
        assert!(!request.head.has("x-backend"), "{}", request.head);
    }
}

#[tokio::test]
async fn a_session_survives_reloads_swaps_and_weights() {
    let backends = abc();
    let proxy = Proxy::start(Config::balanced(&backends).pool(STICKY)).await;
    let mut browser = Browser::at(&proxy).await;
    let mine = browser.visit().await;
    // Another weight, another order, another strategy, another member more.
    let more = Backend::named("d").start();
    let reordered = backends.iter().rev().fold(
        Config::strategy("first-fit")
            .pool(STICKY)
            .backend(&more, "weight = 100"),
        |config, backend| config.backend(backend, "weight = 2"),
    );
    for config in [
        Config::balanced(&backends).pool(STICKY).pool("tries = 2"),
        reordered,
        Config::balanced(&backends).pool(STICKY),
    ] {
        proxy.configure(config);
        proxy.log(RELOADED).await;
        for _ in 0..3 {
            assert_eq!(browser.visit().await, mine);
            assert_eq!(browser.set, None);
        }
    }
}

#[tokio::test]
async fn the_strategy_is_not_asked_for_a_session() {
    let backends = abc();
    let config = backends.iter().fold(
        Config::strategy("./mine.wasm").pool(STICKY),
        |config, backend| config.backend(backend, ""),
    );
    let proxy = Folder::with(config)
        .file("mine.wasm", guests::always(0))
        .start()
        .await;
    let mut browser = Browser::at(&proxy).await;
    assert_eq!(browser.visit().await, "a");
    proxy.write("mine.wasm", guests::always(1));
    proxy.log(RELOADED).await;
    assert_eq!(browser.visit().await, "a");
    assert_eq!(
        with(&proxy, "").await.0,
        "b",
        "who has none is the strategy's"
    );
}

#[tokio::test]
async fn a_draining_backend_keeps_its_sessions_and_gets_no_new_ones() {
    let backends = abc();
    let proxy = Proxy::start(Config::balanced(&backends).pool(STICKY)).await;
    let mut browser = Browser::at(&proxy).await;
    let mine = browser.visit().await;
    proxy.configure(in_state(&backends, &mine, "drain"));
    proxy.log(RELOADED).await;
    for _ in 0..6 {
        assert_eq!(browser.visit().await, mine);
        assert_eq!(browser.set, None);
        assert_ne!(with(&proxy, "").await.0, mine);
    }
}

#[tokio::test]
async fn sessions_leave_a_backend_in_maintenance_once() {
    let backends = abc();
    let proxy = Metered::start(Config::balanced(&backends).pool(STICKY)).await;
    let first = raw(proxy.address(), "GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let cookie = |set: &str| set.split(';').next().expect("a pair").to_owned();
    let mut token = cookie(first.head.one("set-cookie").expect("a cookie"));
    let mine = first.text();
    proxy.configure(in_state(&backends, &mine, "maintenance"));
    proxy.until("anubis_generation", &[], 2).await;
    let mut then = None;
    for visit in 0..5 {
        let request = format!("GET / HTTP/1.1\r\nHost: h\r\nCookie: {token}\r\n\r\n");
        let response = raw(proxy.address(), &request).await;
        assert_ne!(response.text(), mine);
        assert_eq!(then.get_or_insert(response.text()), &response.text());
        match response.head.one("set-cookie") {
            Some(set) => token = cookie(set),
            None => assert!(visit > 0, "the move is told"),
        }
        assert_eq!(response.head.has("set-cookie"), visit == 0);
    }
    let moved = proxy
        .scrape()
        .value("anubis_pool_sessions_moved_total", &[("pool", "web")]);
    assert_eq!(moved, 1.0);
}

#[tokio::test]
async fn sessions_leave_an_unhealthy_backend_but_not_in_a_panic() {
    let ill = Arc::new(Mutex::new(BTreeSet::new()));
    let backends = ["a", "b", "c"].map(|name| {
        let ill = Arc::clone(&ill);
        let script = move |request: &anubis_tests::backend::Request| {
            let is_ill = ill.lock().expect("no holder panics").contains(name);
            match request.target.as_str() {
                "/healthz" if is_ill => Answer::status("500 Internal Server Error", "ill"),
                _ => Answer::text(name),
            }
        };
        Backend::named(name).script(script).start()
    });
    let checks = "[pools.web.health-check]\npath = \"/healthz\"\ninterval = \"30ms\"\n";
    let config = Config::balanced(&backends).pool(STICKY);
    let proxy = Proxy::start(format!("{config}\n{checks}")).await;
    let mut browser = Browser::at(&proxy).await;
    let first = browser.visit().await;
    ill.lock().expect("no holder panics").insert(first.clone());
    proxy.log("backend is unhealthy").await;
    let second = within("the session to move", async {
        loop {
            let now = browser.visit().await;
            if now != first {
                return now;
            }
        }
    })
    .await;
    assert_eq!(browser.visit().await, second);
    // With all of them ill nobody is spared, and so sessions stay.
    let third = ["a", "b", "c"]
        .into_iter()
        .find(|name| **name != first && **name != second);
    let third = third.expect("there are three").to_owned();
    for name in [second.clone(), third] {
        ill.lock().expect("no holder panics").insert(name);
        proxy.log("backend is unhealthy").await;
    }
    // On each worker's own time.
    for _ in 0..20 {
        browser.visit().await;
    }
    let settled = browser.visit().await;
    for _ in 0..10 {
        assert_eq!(browser.visit().await, settled);
        assert_eq!(browser.set, None);
    }
}

#[tokio::test]
async fn a_session_of_a_backend_that_is_gone_moves() {
    let backends = abc();
    let proxy = Proxy::start(Config::balanced(&backends).pool(STICKY)).await;
    let mut browser = Browser::at(&proxy).await;
    let mine = browser.visit().await;
    let others = backends.iter().filter(|backend| backend.name() != mine);
    proxy.configure(Config::balanced(others).pool(STICKY));
    proxy.log(RELOADED).await;
    let then = browser.visit().await;
    assert_ne!(then, mine);
    assert!(browser.set.is_some());
    assert_eq!(browser.visit().await, then);
}

#[tokio::test]
async fn a_backend_that_refuses_loses_the_session() {
    let backends = abc();
    let proxy = Proxy::start(Config::balanced(&backends).pool(STICKY)).await;
    let mut browser = Browser::at(&proxy).await;
    let mine = browser.visit().await;
    let down = backends
        .iter()
        .find(|backend| backend.name() == mine)
        .expect("one of them");
    down.stop().await;
    let then = browser.visit().await;
    assert_ne!(then, mine, "another one, in the same request");
    assert!(browser.set.is_some());
    down.restart().await;
    assert_eq!(browser.visit().await, then, "it stays where it went");
}

#[tokio::test]
async fn a_lost_session_may_be_rejected_instead() {
    let backends = abc();
    let rejecting = "sticky = { cookie = \"sid\", on-lost = \"reject\" }";
    let proxy = Metered::start(Config::balanced(&backends).pool(rejecting)).await;
    let first = raw(proxy.address(), "GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let set = first.head.one("set-cookie").expect("a cookie").to_owned();
    let token = set.split(';').next().expect("a pair");
    let request = format!("GET / HTTP/1.1\r\nHost: h\r\nCookie: {token}\r\n\r\n");
    let mine = backends
        .iter()
        .find(|backend| backend.name() == first.text())
        .expect("one of them");
    mine.stop().await;
    let refused = raw(proxy.address(), &request).await;
    assert_eq!(refused.status(), 503, "{}", refused.head);
    assert!(refused.head.has("retry-after"));
    assert!(!refused.head.has("set-cookie"));
    mine.restart().await;
    assert_eq!(raw(proxy.address(), &request).await.text(), mine.name());

    let others = backends
        .iter()
        .filter(|backend| backend.name() != mine.name());
    proxy.configure(Config::balanced(others).pool(rejecting));
    proxy.until("anubis_generation", &[], 2).await;
    assert_eq!(raw(proxy.address(), &request).await.status(), 503);
    let reason = [("pool", "web"), ("reason", "session")];
    assert_eq!(
        proxy.scrape().value("anubis_pool_refusals_total", &reason),
        1.0
    );
}

#[tokio::test]
async fn a_session_of_a_full_backend_moves() {
    let gate = Gate::new();
    let hold = gate.clone();
    let script = move |name: &'static str| {
        let hold = hold.clone();
        Backend::named(name)
            .script(move |request| match request.target.as_str() {
                "/hold" => Answer::text(name).when(&hold),
                _ => Answer::text(name),
            })
            .start()
    };
    let backends = ["a", "b"].map(script);
    let config = backends.iter().fold(
        Config::strategy("round-robin").pool(STICKY),
        |config, backend| config.backend(backend, "capacity = 1"),
    );
    let proxy = Proxy::start(config).await;
    let mut browser = Browser::at(&proxy).await;
    let mine = browser.visit().await;
    let mut holding = Client::connect(proxy.address()).await;
    let cookie = browser.cookie.clone().expect("a cookie");
    holding
        .send(format!(
            "GET /hold HTTP/1.1\r\nHost: h\r\nCookie: {cookie}\r\n\r\n"
        ))
        .await;
    let full = backends
        .iter()
        .find(|backend| backend.name() == mine)
        .expect("one of them");
    full.requests(2).await;
    let then = browser.visit().await;
    assert_ne!(then, mine);
    assert!(browser.set.is_some());
    gate.open();
    assert_eq!(holding.response().await.text(), mine);
    assert_eq!(browser.visit().await, then);
}

#[tokio::test]
async fn proxies_with_one_secret_believe_each_other_and_so_does_a_restarted_one() {
    let backends = abc();
    let config =
        Config::balanced(&backends).pool("sticky = { cookie = \"sid\", secret-file = \"secret\" }");
    let start = async |secret: &str| {
        let folder = Folder::with(&config).file("secret", secret);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(folder.path("secret"), mode).expect("it is ours");
        folder.start().await
    };
    let first = start(SECRET).await;
    let mut browser = Browser::at(&first).await;
    let mine = browser.visit().await;
    let lines = format!("Cookie: {}\r\n", browser.cookie.clone().expect("a cookie"));
    let second = start(&format!("{SECRET}\n")).await;
    for _ in 0..3 {
        assert_eq!(with(&second, &lines).await, (mine.clone(), None));
    }
    let stranger = start(&SECRET.to_uppercase()).await;
    assert!(with(&stranger, &lines).await.1.is_some());
    let own = Proxy::start(Config::balanced(&backends).pool(STICKY)).await;
    assert!(with(&own, &lines).await.1.is_some());
}

#[tokio::test]
async fn a_secret_is_replaced_and_sessions_stay() {
    let backends = abc();
    let config =
        Config::balanced(&backends).pool("sticky = { cookie = \"sid\", secret-file = \"secret\" }");
    let folder = Folder::with(&config).file("secret", SECRET);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(folder.path("secret"), mode).expect("it is ours");
    let proxy = folder.start().await;
    let mut browser = Browser::at(&proxy).await;
    let mine = browser.visit().await;
    let new = SECRET.to_uppercase();
    proxy.write("secret", format!("{new}\n{SECRET}\n"));
    proxy.hang_up();
    proxy.log(RELOADED).await;
    assert_eq!(browser.visit().await, mine);
    assert_eq!(browser.set, None);
    let mut later = Browser::at(&proxy).await;
    let theirs = later.visit().await;
    proxy.write("secret", &new);
    proxy.hang_up();
    proxy.log(RELOADED).await;
    assert_eq!(later.visit().await, theirs);
    assert_eq!(later.set, None);
    browser.visit().await;
    assert!(
        browser.set.is_some(),
        "the old one is not believed any more"
    );
}

#[tokio::test]
async fn a_session_ends_after_its_ttl() {
    let backends = abc();
    let config = Config::balanced(&backends).pool("sticky = { cookie = \"sid\", ttl = \"1s\" }");
    let proxy = Proxy::start(config).await;
    let mut browser = Browser::at(&proxy).await;
    browser.visit().await;
    // Whatever the clock's second: after two of them it is over.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    browser.visit().await;
    assert!(browser.set.is_some(), "a new one begins");
}

#[tokio::test]
async fn a_tunnel_is_a_session_too() {
    let backends = ["a", "b"].map(|name| {
        Backend::named(name)
            .answer(Answer::tunnel("websocket"))
            .start()
    });
    let proxy = Proxy::start(Config::balanced(&backends).pool(STICKY)).await;
    let upgrade = "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
    let mut first = Client::connect(proxy.address()).await;
    first.send(format!("{upgrade}\r\n")).await;
    let head = first.head().await;
    assert_eq!(head.status(), 101, "{head}");
    let set = head.one("set-cookie").expect("a cookie").to_owned();
    let cookie = set.split(';').next().expect("a pair");
    for _ in 0..3 {
        let mut again = Client::connect(proxy.address()).await;
        again
            .send(format!("{upgrade}Cookie: {cookie}\r\n\r\n"))
            .await;
        assert_eq!(again.head().await.status(), 101);
    }
    let mut requests = backends.each_ref().map(|backend| backend.seen().heads);
    requests.sort_unstable();
    assert_eq!(requests, [0, 4]);
}

#[tokio::test]
async fn sessions_hold_under_load_while_an_operator_drains() {
    let backends = abc();
    let config = Config::balanced(&backends).pool(STICKY);
    let proxy = Folder::with(format!("{config}\n[admin]\naddress = \"127.0.0.1:0\"\n"))
        .start()
        .await;
    let admin = Admin::of(&proxy).await;
    let load = Load::start(proxy.address(), 4);
    let mut browser = Browser::at(&proxy).await;
    let mine = browser.visit().await;
    for round in 0..6 {
        let state = ["drain", "active"][round % 2];
        let path = format!("/v1/pools/web/backends/{mine}");
        let told = admin
            .send("PATCH", &path, serde_json::json!({ "state": state }))
            .await;
        assert_eq!(told.status(), 200, "{}", told.detail());
        load.more(20).await;
        for _ in 0..5 {
            assert_eq!(browser.visit().await, mine);
        }
    }
    load.stop().await.assert_none_failed();
}
