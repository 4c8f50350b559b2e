//! The admin API and `anubis ctl`, as operators and as those who should not be
//! let in.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anubis_tests::admin::{Admin, operations};
use anubis_tests::client::{Client, get};
use anubis_tests::proxy::{Ended, Folder, run};
use anubis_tests::{Answer, Backend, Config, Gate, Load, Proxy, guests};
use serde_json::json;

const TOKEN: &str = "correct-horse-battery-staple";

fn abc() -> [Backend; 3] {
    ["a", "b", "c"].map(|name| Backend::named(name).start())
}

fn config(strategy: &str, backends: &[Backend], admin: &str) -> Config {
    let config = Config::strategy(strategy).global(&format!("[admin]\n{admin}"));
    backends
        .iter()
        .fold(config, |config, backend| config.backend(backend, ""))
}

const ANYWHERE: &str = "address = \"127.0.0.1:0\"";

/// A proxy with these backends, and its admin API.
async fn administered(strategy: &str, backends: &[Backend]) -> (Proxy, Admin) {
    let proxy = Proxy::start(config(strategy, backends, ANYWHERE)).await;
    let admin = Admin::of(&proxy).await;
    (proxy, admin)
}

/// The same, with a token.
async fn guarded(backends: &[Backend]) -> (Proxy, Admin) {
    let lines = format!("{ANYWHERE}\ntoken-file = \"token\"");
    let folder = Folder::with(config("random", backends, &lines)).file("token", TOKEN);
    private(&folder.path("token"));
    let proxy = folder.start().await;
    let admin = Admin::of(&proxy).await;
    (proxy, admin)
}

fn private(path: &Path) {
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path, mode).expect("it is ours");
}

const STRATEGY: &str = "/v1/pools/web/strategy";
const A: &str = "/v1/pools/web/backends/a";

#[tokio::test]
async fn every_operation_answers_as_the_document_says() {
    let backends = abc();
    let (proxy, admin) = administered("round-robin", &backends).await;
    get(proxy.address(), "/").await;
    for path in [
        "/livez",
        "/readyz",
        "/metrics",
        "/openapi.json",
        "/v1/version",
        "/v1/pools",
        "/v1/pools/web",
        "/v1/pools/web/backends",
        A,
        STRATEGY,
        "/v1/pools/web/strategy/history",
    ] {
        assert_eq!(admin.get(path).await.status(), 200, "{path}");
    }
    let changed = admin.send("PATCH", A, json!({ "weight": 7 })).await;
    assert_eq!(changed.json["weight"], 7);
    let all = "/v1/pools/web/backends";
    let changed = admin.send("PATCH", all, json!({ "priority": 0 })).await;
    assert_eq!(changed.json["backends"].as_array().map(Vec::len), Some(3));
    let new = json!({ "address": backends[0].to_string(), "weight": 2, "labels": { "k": "v" } });
    let path = "/v1/pools/web/backends/a%20new%20one";
    assert_eq!(admin.send("PUT", path, new.clone()).await.status(), 201);
    assert_eq!(admin.send("PUT", path, new).await.status(), 200);
    assert_eq!(admin.get(path).await.json["name"], "a new one");
    assert_eq!(admin.delete(path).await.status(), 204);
    assert_eq!(admin.get(path).await.status(), 404);
    let swapped = admin.upload(STRATEGY, &guests::always(1)).await;
    assert_eq!(swapped.json["strategy"]["origin"], "swapped");
    assert_eq!(get(proxy.address(), "/").await.text(), "b");
    let back = admin
        .send("POST", "/v1/pools/web/strategy/rollback", json!({}))
        .await;
    assert_eq!(back.json["strategy"]["name"], "round-robin");
    assert_eq!(admin.delete(STRATEGY).await.status(), 200);
    let reloaded = admin.send("POST", "/v1/reload", json!({})).await;
    assert_eq!(reloaded.json["changed"], false);
    assert_eq!(admin.done(), operations());
}

#[tokio::test]
async fn the_document_lists_the_methods_of_every_path() {
    let backends = abc();
    let (_proxy, admin) = administered("random", &backends).await;
    let operations = operations();
    let paths = operations.iter().filter_map(|line| line.split(' ').nth(1));
    for path in paths {
        let told = admin.ask("OPTIONS", path, &[], b"").await;
        assert_eq!(told.status(), 405, "{path}");
        let allowed = told
            .response
            .head
            .one("allow")
            .unwrap_or_default()
            .to_owned();
        for method in ["GET", "PUT", "POST", "PATCH", "DELETE"] {
            assert_eq!(
                allowed.split(',').any(|allowed| allowed == method),
                operations.contains(&format!("{method} {path}")),
                "{method} {path}: {allowed}"
            );
        }
    }
    assert_eq!(admin.get("/nothing").await.status(), 404);
}

#[tokio::test]
async fn without_the_token_only_probes_are_answered() {
    let (_proxy, admin) = guarded(&abc()).await;
    for path in ["/livez", "/readyz"] {
        assert_eq!(admin.get(path).await.status(), 200, "{path}");
    }
    for path in [
        "/v1/pools",
        "/metrics",
        "/openapi.json",
        STRATEGY,
        "/nothing",
    ] {
        let told = admin.get(path).await;
        assert_eq!(told.status(), 401, "{path}");
        assert!(told.response.head.has("www-authenticate"));
    }
    assert_eq!(
        admin.upload(STRATEGY, &guests::always(1)).await.status(),
        401
    );
    let wrong = admin.with_token("correct-horse-battery-stapler");
    assert_eq!(wrong.get("/v1/pools").await.status(), 401);
    let right = wrong.with_token(TOKEN);
    assert_eq!(right.get("/v1/pools").await.status(), 200);
}

#[tokio::test]
async fn a_token_that_everybody_may_read_ends_the_start() {
    let lines = format!("{ANYWHERE}\ntoken-file = \"token\"");
    let folder = Folder::with(config("random", &abc(), &lines)).file("token", TOKEN);
    let path = folder.path("token");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("it is ours");
    let ended = folder.run().await;
    assert_eq!(ended.code, Some(2));
    assert!(
        ended.stderr.contains("admin.token-file"),
        "{}",
        ended.stderr
    );
    assert!(!ended.stderr.contains(TOKEN), "{}", ended.stderr);
}

#[tokio::test]
async fn web_pages_of_other_origins_are_refused() {
    let backends = abc();
    let (_proxy, admin) = administered("random", &backends).await;
    for (field, status) in [
        (("Origin", "http://evil.example"), 403),
        (("Origin", "null"), 403),
        (("Sec-Fetch-Site", "cross-site"), 403),
        (("Sec-Fetch-Site", "none"), 200),
        (("Host", "evil.example"), 421),
        (("Host", "localhost:1"), 200),
    ] {
        let told = admin.ask("GET", "/v1/pools", &[field], b"").await;
        assert_eq!(told.status(), status, "{field:?}");
    }
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    let told = admin.ask("POST", "/v1/reload", &[form], b"").await;
    assert_eq!(told.status(), 415);
}

#[tokio::test]
async fn the_traffics_listener_has_no_admin_api() {
    let backends = abc();
    let (proxy, _admin) = administered("first-fit", &backends).await;
    for path in ["/v1/pools", "/livez", "/metrics"] {
        assert_eq!(get(proxy.address(), path).await.text(), "a", "{path}");
    }
}

#[tokio::test]
async fn too_large_an_upload_is_refused_before_it_is_read() {
    let backends = abc();
    let lines = format!("{ANYWHERE}\nupload-limit = \"64KiB\"");
    let proxy = Proxy::start(config("random", &backends, &lines)).await;
    let admin = Admin::of(&proxy).await;
    let large = vec![0; (64 << 10) + 1];
    let told = admin.upload(STRATEGY, &large).await;
    assert_eq!(told.status(), 413);
    assert_eq!(told.response.head.one("connection"), Some("close"));

    // Whoever asks before sending is told at once.
    let mut client = Client::connect(admin.address()).await;
    let fields = [
        ("Content-Type", "application/wasm"),
        ("Expect", "100-continue"),
    ];
    client
        .send(admin.head("PUT", STRATEGY, &fields, large.len()))
        .await;
    let told = admin.believed("PUT", STRATEGY, client.response().await);
    assert_eq!(told.status(), 413);
    assert_eq!(client.rest().await, b"");

    // Whoever does not say how much it will be is stopped on the way.
    let mut client = Client::connect(admin.address()).await;
    let fields = [
        ("Content-Type", "application/wasm"),
        ("Transfer-Encoding", "chunked"),
    ];
    client.send(admin.head("PUT", STRATEGY, &fields, 0)).await;
    client.send(format!("{:x}\r\n", large.len())).await;
    client.send(&large).await;
    client.send("\r\n0\r\n\r\n").await;
    let told = admin.believed("PUT", STRATEGY, client.response().await);
    assert_eq!(told.status(), 413);

    assert_eq!(admin.get(STRATEGY).await.json["name"], "random");
}

#[tokio::test]
async fn nonsense_is_refused_and_changes_nothing() {
    let backends = abc();
    let (proxy, admin) = administered("random", &backends).await;
    let kind = |kind| [("Content-Type", kind)];
    for (target, fields, body, status) in [
        (STRATEGY, kind("application/wasm"), &b""[..], 422),
        (STRATEGY, kind("application/wasm"), b"\0asm", 422),
        (STRATEGY, kind("application/wasm"), &[0xff; 1000], 422),
        (STRATEGY, kind("application/json"), b"{", 400),
        (STRATEGY, kind("application/json"), b"\xff\xfe", 400),
        (STRATEGY, kind("application/json"), b"[]", 422),
        (
            STRATEGY,
            kind("application/json"),
            b"{\"name\":\"leest-time\"}",
            422,
        ),
        (
            STRATEGY,
            kind("application/json"),
            b"{\"name\":\"../../etc/passwd\"}",
            422,
        ),
        (
            STRATEGY,
            kind("application/json"),
            b"{\"name\":\"random\",\"config\":3}",
            422,
        ),
        (
            STRATEGY,
            kind("application/json"),
            b"{\"name\":\"random\",\"x\":1}",
            422,
        ),
        (STRATEGY, kind("text/plain"), b"random", 415),
        (A, kind("application/json"), b"{}", 422),
        (
            A,
            kind("application/json"),
            b"{\"address\":\"https://x\"}",
            422,
        ),
        (
            A,
            kind("application/json"),
            b"{\"address\":\"x:1\",\"weight\":0}",
            422,
        ),
        (
            A,
            kind("application/json"),
            b"{\"address\":\"x:1\",\"weight\":65536}",
            422,
        ),
        (A, kind("application/wasm"), b"\0asm", 415),
        (
            "/v1/pools/wbe/strategy",
            kind("application/json"),
            b"{\"name\":\"random\"}",
            404,
        ),
        (
            "/v1/pools/wbe/backends/a",
            kind("application/json"),
            b"{\"address\":\"x:1\"}",
            404,
        ),
    ] {
        let told = admin.ask("PUT", target, &fields, body).await;
        assert_eq!(
            told.status(),
            status,
            "{target} {body:?}: {}",
            told.detail()
        );
    }
    for (target, body, status) in [
        (A, json!({}), 422),
        (A, json!({ "state": "asleep" }), 422),
        (A, json!({ "weight": -1 }), 422),
        ("/v1/pools/web/backends/x", json!({ "weight": 2 }), 404),
    ] {
        let told = admin.send("PATCH", target, body).await;
        assert_eq!(told.status(), status, "{target}: {}", told.detail());
    }
    for target in [
        "/v1/pools/%ff",
        "/v1/pools/web/backends/%00",
        "/v1/pools/..%2f..%2fetc",
    ] {
        let status = admin.get(target).await.status();
        assert!(matches!(status, 400 | 404), "{target}: {status}");
    }
    let told = admin.get("/v1/pools/wbe").await;
    assert!(told.detail().contains("wbe"), "{}", told.detail());
    let version = admin.get("/v1/version").await;
    assert_eq!(version.json["generation"], 1, "nothing was published");
    assert_eq!(get(proxy.address(), "/").await.status(), 200);
}

#[tokio::test]
async fn a_plugin_that_is_refused_leaves_the_one_in_force_and_says_why() {
    let backends = abc();
    let (proxy, admin) = administered("first-fit", &backends).await;
    for (plugin, reason) in [
        (guests::strategy("unreachable"), "rehearsal"),
        (guests::wasm("wasi-import"), "wasi"),
        (guests::wasm("configure-loop"), "deadline"),
    ] {
        let told = admin.upload(STRATEGY, &plugin).await;
        assert_eq!(told.status(), 422);
        let detail = told.detail();
        assert!(
            detail.contains("pool web") && detail.contains(reason),
            "{detail}"
        );
        assert_eq!(get(proxy.address(), "/").await.text(), "a");
    }
}

#[tokio::test]
async fn a_change_that_expects_another_version_does_not_happen() {
    let backends = abc();
    let (proxy, admin) = administered("first-fit", &backends).await;
    let before = admin.get(STRATEGY).await;
    let tag = before
        .response
        .head
        .one("etag")
        .expect("a version")
        .to_owned();
    assert_eq!(
        tag,
        format!("\"{}\"", before.json["version"].as_str().expect("text"))
    );
    let kind = ("Content-Type", "application/wasm");
    let plugin = guests::always(1);
    let stale = format!("\"{}\"", "0".repeat(64));
    let told = admin
        .ask("PUT", STRATEGY, &[kind, ("If-Match", &stale)], &plugin)
        .await;
    assert_eq!(told.status(), 412);
    assert_eq!(get(proxy.address(), "/").await.text(), "a");
    let told = admin
        .ask("PUT", STRATEGY, &[kind, ("If-Match", &tag)], &plugin)
        .await;
    assert_eq!(told.status(), 200);
    assert_ne!(told.response.head.one("etag"), Some(&*tag));
    assert_eq!(get(proxy.address(), "/").await.text(), "b");
    // The same once more: whoever read before somebody else's change is told.
    let told = admin
        .ask("PUT", STRATEGY, &[kind, ("If-Match", &tag)], &plugin)
        .await;
    assert_eq!(told.status(), 412);
    let json = ("Content-Type", "application/json");
    let rollback = "/v1/pools/web/strategy/rollback";
    let told = admin
        .ask("POST", rollback, &[json, ("If-Match", &tag)], b"{}")
        .await;
    assert_eq!(told.status(), 412);
    let told = admin
        .ask("DELETE", STRATEGY, &[("If-Match", &tag)], b"")
        .await;
    assert_eq!(told.status(), 412);
}

#[tokio::test]
async fn the_same_bytes_under_another_name_are_no_swap() {
    let backends = abc();
    let (_proxy, admin) = administered("first-fit", &backends).await;
    let plugin = guests::always(1);
    let first = admin.upload(&format!("{STRATEGY}?name=one"), &plugin).await;
    let again = admin.upload(&format!("{STRATEGY}?name=two"), &plugin).await;
    assert_eq!(again.status(), 200, "{}", again.detail());
    for key in ["number", "name", "version"] {
        let of = |told: &anubis_tests::admin::Told| told.json["strategy"][key].clone();
        assert_eq!(of(&first), of(&again), "{key}");
    }
    let configured = format!("{STRATEGY}?name=two&config=text");
    let other = admin
        .upload(&configured, &guests::wasm("configure-refuses"))
        .await;
    assert_eq!(
        other.status(),
        422,
        "another configuration is another matter"
    );
}

#[tokio::test]
async fn an_answer_tells_what_became_of_the_state() {
    let backends = abc();
    let (_proxy, admin) = administered("first-fit", &backends).await;
    for (guest, state) in [
        ("counts", "none"),
        ("state-refuses", "refused: not mine"),
        ("state-noise", "taken"),
    ] {
        let told = admin.upload(STRATEGY, &guests::wasm(guest)).await;
        assert_eq!(
            told.json["strategy"]["rehearsal"]["state"], state,
            "{told:?}"
        );
    }
}

#[tokio::test]
async fn what_the_configuration_overtook_does_not_come_back() {
    let backends = abc();
    let folder = Folder::with("");
    let lines = format!("{ANYWHERE}\nstate-file = {:?}", folder.path("state.json"));
    let [a, b, _] = &backends;
    let with = |weight: &str| {
        Config::strategy("random")
            .global(&format!("[admin]\n{lines}"))
            .backend(a, weight)
            .backend(b, "")
            .to_string()
    };
    let weight = async |config: &str| {
        let proxy = Proxy::start(config).await;
        let admin = Admin::of(&proxy).await;
        let weight = admin.get(A).await.json["weight"].clone();
        (proxy, admin, weight)
    };
    let (proxy, admin, _) = weight(&with("weight = 1")).await;
    admin.send("PATCH", A, json!({ "weight": 9 })).await;
    proxy.terminate();
    proxy.exit().await;
    // Edited while nothing runs, and edited back: the last word is 1, not 9.
    for text in ["weight = 5", "weight = 1"] {
        let (proxy, _, now) = weight(&with(text)).await;
        assert_eq!(format!("weight = {now}"), text);
        proxy.terminate();
        proxy.exit().await;
    }
}

#[tokio::test]
async fn a_name_in_an_upload_is_only_a_name() {
    let backends = abc();
    let (proxy, admin) = administered("random", &backends).await;
    for name in ["..%2f..%2fetc%2fpasswd", "%1b%5b31m%0aforged", "%00", ""] {
        let target = format!("{STRATEGY}?name={name}");
        let told = admin.upload(&target, &guests::always(0)).await;
        assert_eq!(told.status(), 200, "{name}: {}", told.detail());
        let shown = told.json["strategy"]["name"]
            .as_str()
            .expect("text")
            .to_owned();
        assert!(!shown.contains(['/', '\u{1b}', '\n', '\0']), "{shown:?}");
        admin.delete(STRATEGY).await;
    }
    let left: Vec<_> = std::fs::read_dir(proxy.path(""))
        .expect("the proxy's folder")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(left, ["anubis.toml"]);
    let told = admin
        .upload(&format!("{STRATEGY}?nmae=x"), &guests::always(0))
        .await;
    assert_eq!(told.status(), 400);
}

#[tokio::test]
async fn the_history_tells_versions_imports_limits_and_rehearsals() {
    let backends = abc();
    let (proxy, admin) = administered("random", &backends).await;
    let told = admin
        .upload(&format!("{STRATEGY}?name=mine.wasm"), &guests::always(2))
        .await;
    let first = told.json["strategy"]["version"]
        .as_str()
        .expect("text")
        .to_owned();
    let config = json!({ "name": "least-time", "config": { "default-latency": "5ms" } });
    admin.send("PUT", STRATEGY, config).await;
    let versions = admin.get("/v1/pools/web/strategy/history").await.json["versions"].clone();
    let names = ["least-time", "mine.wasm", "random"];
    for (index, name) in names.into_iter().enumerate() {
        assert_eq!(versions[index]["name"], name, "{versions:#}");
        assert_eq!(versions[index]["number"], 3 - index);
    }
    assert_eq!(versions[0]["config"], "{\"default-latency\":\"5ms\"}");
    assert_eq!(versions[1]["imports"], json!([]), "{:#}", versions[1]);
    assert!(versions[1]["rehearsal"]["calls"].as_u64() > Some(0));
    assert_eq!(versions[1]["limits"]["deadline_us"], 10_000);
    let back = json!({ "version": &first[..8] });
    let told = admin
        .send("POST", "/v1/pools/web/strategy/rollback", back)
        .await;
    assert_eq!(told.json["strategy"]["version"], first);
    assert_eq!(told.json["strategy"]["origin"], "rolled-back");
    assert_eq!(get(proxy.address(), "/").await.text(), "c");
    let unknown = json!({ "version": "ffffffff" });
    let told = admin
        .send("POST", "/v1/pools/web/strategy/rollback", unknown)
        .await;
    assert_eq!(told.status(), 404);
}

#[tokio::test]
async fn a_drained_backend_finishes_and_gets_no_more() {
    let gate = Gate::new();
    let slow = Backend::named("a")
        .answer(Answer::text("a").when(&gate))
        .start();
    let backends = [slow, Backend::named("b").start()];
    let (proxy, admin) = administered("first-fit", &backends).await;
    let mut client = Client::connect(proxy.address()).await;
    client.send_get("/").await;
    backends[0].request().await;
    let told = admin.send("PATCH", A, json!({ "state": "drain" })).await;
    assert_eq!(
        (&told.json["state"], &told.json["in_flight"]),
        (&json!("drain"), &json!(1))
    );
    for _ in 0..5 {
        assert_eq!(get(proxy.address(), "/").await.text(), "b");
    }
    gate.open();
    assert_eq!(
        client.response().await.text(),
        "a",
        "what it had it finishes"
    );
    assert_eq!(admin.get("/readyz").await.status(), 200);
    let b = "/v1/pools/web/backends/b";
    admin
        .send("PATCH", b, json!({ "state": "maintenance" }))
        .await;
    let told = admin.get("/readyz").await;
    assert_eq!(told.status(), 503);
    assert!(told.detail().contains("pool web"), "{}", told.detail());
    assert_eq!(admin.get("/livez").await.status(), 200);
    admin.send("PATCH", A, json!({ "state": "active" })).await;
    assert_eq!(admin.get("/readyz").await.status(), 200);
    assert_eq!(get(proxy.address(), "/").await.text(), "a");
}

#[tokio::test]
async fn a_backends_attempts_are_counted() {
    let backends = abc();
    let (proxy, admin) = administered("first-fit", &backends).await;
    let mut client = Client::connect(proxy.address()).await;
    client.get("/").await;
    // Once the second is answered, the first has been counted.
    client.get("/").await;
    let told = admin.get(A).await;
    assert!(
        told.json["attempts"]["ok"].as_u64() >= Some(1),
        "{:#}",
        told.json
    );
}

#[tokio::test]
async fn backends_come_and_go_at_run_time() {
    let backends = abc();
    let (proxy, admin) = administered("first-fit", &backends[..1]).await;
    let c = "/v1/pools/web/backends/c";
    let new = json!({ "address": backends[2].to_string() });
    assert_eq!(admin.send("PUT", c, new).await.status(), 201);
    assert_eq!(admin.delete(A).await.status(), 204);
    assert_eq!(get(proxy.address(), "/").await.text(), "c");
    let told = admin.delete(c).await;
    assert_eq!(
        told.status(),
        409,
        "a pool is never empty: {}",
        told.detail()
    );
    assert_eq!(get(proxy.address(), "/").await.text(), "c");
}

#[tokio::test]
async fn changes_outlive_a_restart_where_there_is_a_state_file() {
    let backends = abc();
    let folder = Folder::with("");
    let state = folder.path("state.json");
    let lines = format!("{ANYWHERE}\nstate-file = {state:?}");
    let config = config("round-robin", &backends, &lines);
    let proxy = Proxy::start(&config).await;
    let admin = Admin::of(&proxy).await;
    let told = admin.upload(STRATEGY, &guests::always(1)).await;
    assert_eq!(told.status(), 200, "{}", told.detail());
    admin.send("PATCH", A, json!({ "weight": 9 })).await;
    proxy.terminate();
    assert_eq!(proxy.exit().await, Some(0));
    let again = Proxy::start(&config).await;
    let admin = Admin::of(&again).await;
    assert_eq!(admin.get(A).await.json["weight"], 9);
    assert_eq!(get(again.address(), "/").await.text(), "b");
}

#[tokio::test]
async fn two_administrators_at_once_fail_no_request_and_leave_one_order() {
    let backends = abc();
    let (proxy, admin) = administered("round-robin", &backends).await;
    let load = Load::start(proxy.address(), 4);
    let swaps = |index: u32| {
        let admin = &admin;
        async move {
            let mut numbers = Vec::new();
            for _ in 0..10 {
                let told = admin.upload(STRATEGY, &guests::always(index)).await;
                assert_eq!(told.status(), 200, "{}", told.detail());
                numbers.push(told.json["strategy"]["number"].as_u64().expect("a number"));
            }
            numbers
        }
    };
    let (left, right) = tokio::join!(swaps(1), swaps(2));
    for numbers in [&left, &right] {
        assert!(numbers.is_sorted(), "{numbers:?}");
    }
    load.more(50).await;
    load.stop().await.assert_none_failed();
    let history = admin.get("/v1/pools/web/strategy/history").await.json;
    let numbers: Vec<_> = history["versions"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|version| version["number"].as_u64())
        .collect();
    assert!(
        numbers.is_sorted_by(|newer, older| newer > older),
        "{numbers:?}"
    );
    let last = get(proxy.address(), "/").await.text();
    assert!(["b", "c"].contains(&&*last), "{last}");
}

#[tokio::test]
async fn it_is_not_ready_while_it_ends() {
    let gate = Gate::new();
    let slow = Backend::named("a")
        .answer(Answer::text("a").when(&gate))
        .start();
    let backends = [slow];
    let (proxy, admin) = administered("random", &backends).await;
    let mut client = Client::connect(proxy.address()).await;
    client.send_get("/").await;
    backends[0].request().await;
    proxy.terminate();
    proxy.log("shutting down").await;
    let told = admin.get("/readyz").await;
    assert_eq!(told.status(), 503);
    assert!(told.detail().contains("ending"), "{}", told.detail());
    gate.open();
    assert_eq!(client.response().await.text(), "a");
    assert_eq!(proxy.exit().await, Some(0));
}

async fn ctl(admin: &str, arguments: &[&str]) -> Ended {
    let all = ["ctl", "--admin", admin];
    run(all.iter().chain(arguments).copied()).await
}

#[tokio::test]
async fn ctl_does_all_of_it_over_the_unix_socket() {
    let backends = abc();
    let folder = Folder::with(config("round-robin", &backends, "socket = \"admin.sock\""));
    let folder = folder.file("mine.wasm", guests::always(1));
    let plugin = folder.path("mine.wasm").to_string_lossy().into_owned();
    let proxy = folder.start().await;
    proxy.log("admin API open").await;
    let socket = proxy.path("admin.sock");
    let mode = std::fs::metadata(&socket).expect("a socket").permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);

    let admin = format!("unix:{}", socket.display());
    let c = backends[2].to_string();
    for (arguments, said) in [
        (&["pools"][..], "round-robin"),
        (&["backends", "web"], "active"),
        (&["swap", "web", &plugin], "mine.wasm"),
        (&["history", "web"], "swapped"),
        (&["rollback", "web"], "round-robin"),
        (&["rollback", "web", "2"], "mine.wasm"),
        (&["forget", "web"], "round-robin"),
        (
            &[
                "swap",
                "web",
                "least-time",
                "--config",
                "{\"default-latency\":\"5ms\"}",
            ],
            "least-time",
        ),
        (&["drain", "web", "a"], "drain"),
        (&["maintain", "web", "a"], "maintenance"),
        (&["activate", "web", "a"], "active"),
        (&["weight", "web", "a", "9"], "weight 9"),
        (
            &["add", "web", &c, "--name", "new one", "--weight", "3"],
            "new one",
        ),
        (&["remove", "web", "new one"], "removed"),
        (&["reload"], "nothing to reload"),
        (&["top"], "REQUESTS/S"),
        (&["--json", "pools"], "{\"pools\":["),
    ] {
        let ended = ctl(&admin, arguments).await;
        assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.stderr);
        assert!(
            ended.stdout.contains(said),
            "{arguments:?}: {}",
            ended.stdout
        );
    }
    proxy.terminate();
    assert_eq!(proxy.exit().await, Some(0));
    assert!(!socket.exists(), "the socket goes with the process");
}

#[tokio::test]
async fn ctl_says_what_was_refused_and_ends_with_1() {
    let (_proxy, admin) = guarded(&abc()).await;
    let folder = Folder::with("")
        .file("token", TOKEN)
        .file("bad.wasm", b"\0asm");
    let token = folder.path("token").to_string_lossy().into_owned();
    let plugin = folder.path("bad.wasm").to_string_lossy().into_owned();
    let url = admin.url();
    for (arguments, said) in [
        (&["pools"][..], "a token is needed"),
        (&["--token-file", &token, "backends", "wbe"], "no pool wbe"),
        (
            &["--token-file", &token, "drain", "web", "x"],
            "no backend x",
        ),
        (
            &["--token-file", &token, "swap", "web", &plugin],
            "bad.wasm",
        ),
        (
            &["--token-file", &token, "swap", "web", "./none.wasm"],
            "none.wasm",
        ),
        (
            &["--token-file", "/nowhere/token", "pools"],
            "/nowhere/token",
        ),
    ] {
        let ended = ctl(&url, arguments).await;
        assert_eq!(ended.code, Some(1), "{arguments:?}: {}", ended.stdout);
        assert!(
            ended.stderr.contains(said),
            "{arguments:?}: {}",
            ended.stderr
        );
        assert!(!ended.stderr.contains(TOKEN), "{}", ended.stderr);
    }
    let ended = ctl(&url, &["--token-file", &token, "pools"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let ended = ctl(&url, &["fly"]).await;
    assert_eq!(ended.code, Some(2));
    let ended = ctl("ftp://x", &["pools"]).await;
    assert_eq!(ended.code, Some(1));
}

#[tokio::test]
async fn a_whole_pool_drains_and_comes_back() {
    let gate = Gate::new();
    let slow = Answer::text("slow").when(&gate);
    let script = |name: &'static str| {
        let slow = slow.clone();
        Backend::named(name)
            .script(move |request| match request.target.as_str() {
                "/slow" => slow.clone(),
                _ => Answer::text(name),
            })
            .start()
    };
    let backends = ["a", "b"].map(script);
    let (proxy, admin) = administered("round-robin", &backends).await;
    let mut running = Client::connect(proxy.address()).await;
    running.send_get("/slow").await;
    backends[0].request().await;
    let drained = ctl(&admin.url(), &["drain", "web"]).await;
    assert_eq!(drained.code, Some(0), "{}", drained.stderr);
    assert_eq!(
        drained.stdout.matches("drain").count(),
        2,
        "{}",
        drained.stdout
    );
    let refused = get(proxy.address(), "/").await;
    assert_eq!(refused.status(), 503);
    assert!(refused.head.has("retry-after"));
    assert_eq!(admin.get("/readyz").await.status(), 503);
    gate.open();
    assert_eq!(
        running.response().await.text(),
        "slow",
        "what runs ends well"
    );
    let back = ctl(&admin.url(), &["activate", "web"]).await;
    assert_eq!(back.code, Some(0), "{}", back.stderr);
    assert_eq!(get(proxy.address(), "/").await.status(), 200);
    let told = admin
        .send(
            "PATCH",
            "/v1/pools/none/backends",
            json!({ "state": "drain" }),
        )
        .await;
    assert_eq!(told.status(), 404, "{}", told.detail());
    let told = admin
        .send("PATCH", "/v1/pools/web/backends", json!({}))
        .await;
    assert!(matches!(told.status(), 400 | 422), "{}", told.detail());
}
