//! The command line: what it takes, prints and returns.

use std::net::TcpListener;

use anubis_tests::client::get;
use anubis_tests::proxy::{Folder, Running, command, run};
use anubis_tests::{Backend, Config, guests};

#[tokio::test]
async fn check_is_content_with_a_right_file() {
    let backend = Backend::named("a").start();
    let ended = Folder::with(Config::balanced([&backend])).check().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[tokio::test]
async fn check_names_every_mistake() {
    let config = "workers = 0\n\
                  [[listeners]]\n\
                  adress = \"127.0.0.1:0\"\n\
                  [pools.web]\n\
                  strategy = \"least-tme\"\n\
                  conect-timeout = \"2s\"\n\
                  response-timeout = \"soon\"\n\
                  [[pools.web.backends]]\n\
                  address = \"127.0.0.1:1\"\n\
                  wieght = 3\n";
    let ended = Folder::with(config).check().await;
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert!(said.contains("anubis.toml"), "{said}");
    for (line, key, nearest) in [
        (1, "workers", ""),
        (3, "adress", "address"),
        (5, "least-tme", "least-time"),
        (6, "conect-timeout", "connect-timeout"),
        (7, "response-timeout", "soon"),
        (10, "wieght", "weight"),
    ] {
        let named = |text: &str| {
            text.contains(key) && text.contains(nearest) && text.contains(&line.to_string())
        };
        assert!(
            named(&said),
            "line {line}, {key}, {nearest} are not all in:\n{said}"
        );
    }
}

#[tokio::test]
async fn a_wrong_file_ends_run_with_2() {
    let ended = Folder::with("nonsense = 1\n").run().await;
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("nonsense"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_missing_file_ends_with_2_and_is_named() {
    for arguments in [
        ["run", "/nowhere/anubis.toml"],
        ["check", "/nowhere/anubis.toml"],
    ] {
        let ended = run(arguments).await;
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(
            ended.stderr.contains("/nowhere/anubis.toml"),
            "{}",
            ended.stderr
        );
    }
}

#[tokio::test]
async fn a_wrong_command_line_ends_with_2() {
    for arguments in [
        &["fly"][..],
        &["run", "--fly"],
        &["run", "--listen", "127.0.0.1:0"],
        &[],
    ] {
        let ended = run(arguments.iter().copied()).await;
        assert_eq!(ended.code, Some(2), "{arguments:?}: {}", ended.stderr);
    }
}

#[tokio::test]
async fn no_listener_is_named() {
    let config = "[pools.web]\n[[pools.web.backends]]\naddress = \"127.0.0.1:1\"\n";
    let ended = Folder::with(config).run().await;
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("listener"), "{}", ended.stderr);
}

#[tokio::test]
async fn an_address_in_use_ends_with_4_and_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let backend = Backend::named("a").start();
    let config = Config::balanced([&backend])
        .to_string()
        .replace("127.0.0.1:0", &address);
    let ended = Folder::with(config).run().await;
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert!(ended.stderr.contains(&address), "{}", ended.stderr);
}

#[tokio::test]
async fn help_can_be_learned_from() {
    let ended = run(["--help"]).await;
    assert_eq!(ended.code, Some(0));
    for part in ["run", "check", "demo"] {
        assert!(
            ended.stdout.contains(part),
            "{part} is not in {}",
            ended.stdout
        );
    }
    let ended = run(["run", "--help"]).await;
    assert_eq!(ended.code, Some(0));
    for part in [
        "--listen",
        "--backend",
        "--strategy",
        "--workers",
        "anubis.toml",
        "127.0.0.1:8080",
    ] {
        assert!(
            ended.stdout.contains(part),
            "{part} is not in {}",
            ended.stdout
        );
    }
}

#[tokio::test]
async fn a_plugin_is_inspected_for_people_and_for_tools() {
    let ended = run(["plugin", "inspect", "least-time"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for part in ["configured", "anubis:lb/strategy@0.1.0", "nothing: it only"] {
        assert!(ended.stdout.contains(part), "{part}: {}", ended.stdout);
    }
    let folder = Folder::with("").file("mine.wasm", guests::wasm("reads-header"));
    let path = folder.path("mine.wasm");
    let ended = run(["plugin", "inspect", &path.to_string_lossy()]).await;
    for part in ["shape     simple: asked", "inbound: may read the head"] {
        assert!(ended.stdout.contains(part), "{part}: {}", ended.stdout);
    }
    let ended = run(["plugin", "inspect", "--json", &path.to_string_lossy()]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let told: serde_json::Value = serde_json::from_str(&ended.stdout).expect("it is JSON");
    assert_eq!(told["shape"], "simple");
    assert_eq!(told["imports"], serde_json::json!(["inbound"]));
    assert_eq!(told["names"], true);
    assert_eq!(told["sha256"].as_str().map(str::len), Some(64));
    assert_eq!(told["refused"], serde_json::Value::Null);
}

#[tokio::test]
async fn a_plugin_that_would_be_refused_is_inspected_with_the_reason() {
    let folder = Folder::with("").file("mine.wasm", guests::wasm("wasi-import"));
    // Where it was built, the files tell what it is written in.
    let folder = folder.file("strategy.zig", "");
    let path = folder.path("mine.wasm");
    let ended = run(["plugin", "inspect", &path.to_string_lossy()]).await;
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    for part in [
        "wasi:cli/environment",
        "instead   `anubis plugin build`",
        "wasm32-freestanding",
    ] {
        assert!(ended.stdout.contains(part), "{part}: {}", ended.stdout);
    }
    let ended = run(["plugin", "inspect", "./missing.wasm"]).await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("missing.wasm"), "{}", ended.stderr);
}

#[tokio::test]
async fn what_a_plugin_costs_is_told_beside_least_time() {
    let ended = run(["plugin", "bench", "round-robin", "--backends", "3,50"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for part in [
        "round-robin",
        "least-time",
        "compile",
        "memory",
        "pick, 50 backends",
    ] {
        assert!(ended.stdout.contains(part), "{part}: {}", ended.stdout);
    }
    let folder = Folder::with("").file("mine.wasm", guests::wasm("planner-last"));
    let path = folder.path("mine.wasm");
    let path = path.to_string_lossy();
    let ended = run(["plugin", "bench", &path, "--backends", "7", "--json"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let told: serde_json::Value = serde_json::from_str(&ended.stdout).expect("it is JSON");
    let calls = &told["figures"]["calls"][0];
    assert_eq!(calls["backends"], 7);
    for figure in ["p50-ns", "p99-ns", "look-up-ns"] {
        assert!(calls[figure].as_f64() > Some(0.0), "{figure}: {told}");
    }
    assert_eq!(
        told["least-time"]["calls"][0]["look-up-ns"],
        serde_json::Value::Null
    );
}

#[tokio::test]
async fn a_plugin_that_fails_is_not_measured() {
    let folder = Folder::with("").file("mine.wasm", guests::wasm("trap"));
    let path = folder.path("mine.wasm");
    let ended = run(["plugin", "bench", &path.to_string_lossy()]).await;
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(ended.stderr.contains("with 3 backends"), "{}", ended.stderr);
    assert_eq!(ended.stdout, "");
    let ended = run(["plugin", "bench", "least-time", "--backends", "0"]).await;
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
}

#[tokio::test]
async fn a_plugin_is_tested_property_by_property() {
    let ended = run(["plugin", "test", "first-fit", "--calls", "1000"]).await;
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    for part in [
        "lacks   proportional",
        "it fills one backend before it asks the next",
        "passed  in-range",
        "0 failed",
        "seed 1",
    ] {
        assert!(ended.stdout.contains(part), "{part}: {}", ended.stdout);
    }
    let ended = run([
        "plugin", "test", "ip-hash", "--calls", "1000", "--seed", "9", "--json",
    ])
    .await;
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    let told: serde_json::Value = serde_json::from_str(&ended.stdout).expect("it is JSON");
    assert_eq!(told["passed"], true);
    assert_eq!(told["seed"], 9);
    let outcome = |name: &str| {
        let properties = told["properties"].as_array().expect("a list");
        let property = properties.iter().find(|one| one["name"] == name);
        property.expect(name)["outcome"].clone()
    };
    assert_eq!(outcome("minimal-disruption"), "passed");
    assert_eq!(outcome("configure"), "not-applicable");
}

#[tokio::test]
async fn a_plugin_without_a_property_ends_its_test_with_6_unless_it_says_so() {
    let folder = Folder::with("").file("mine.wasm", guests::wasm("always-last"));
    let (plugin, report) = (folder.path("mine.wasm"), folder.path("report.xml"));
    let (plugin, report) = (plugin.to_string_lossy(), report.to_string_lossy());
    let test = [
        "plugin", "test", &plugin, "--calls", "1000", "--junit", &report,
    ];
    let ended = run(test).await;
    assert_eq!(ended.code, Some(6), "{}{}", ended.stdout, ended.stderr);
    for part in ["FAILED  ties-shared", "given:", "answer:", "3 failed"] {
        assert!(ended.stdout.contains(part), "{part}: {}", ended.stdout);
    }
    let junit = std::fs::read_to_string(&*report).expect("there is a report");
    assert!(junit.contains("failures=\"3\""), "{junit}");
    let reason = "it takes the last";
    let folder = folder.file(
        "plugin.toml",
        format!(
            "name = \"mine\"\n[test.lacks]\nties-shared = \"{reason}\"\n\
             proportional = \"{reason}\"\nno-starvation = \"{reason}\"\n"
        ),
    );
    let ended = run(test).await;
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains(reason), "{}", ended.stdout);
    let _folder = folder.file(
        "plugin.toml",
        "name = \"mine\"\n[test.lacks]\nin-range = \"x\"\n",
    );
    let ended = run(test).await;
    assert_eq!(ended.code, Some(2), "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stderr.contains("in-range"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_plugin_that_would_be_refused_is_not_tested() {
    let folder = Folder::with("").file("mine.wasm", guests::wasm("wasi-import"));
    let path = folder.path("mine.wasm");
    let ended = run(["plugin", "test", &path.to_string_lossy()]).await;
    assert_eq!(ended.code, Some(3), "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("wasi:cli"), "{}", ended.stdout);
    let ended = run([
        "plugin",
        "test",
        "least-time",
        "--config",
        "nonsense",
        "--json",
    ])
    .await;
    assert_eq!(ended.code, Some(3), "{}{}", ended.stdout, ended.stderr);
    let told: serde_json::Value = serde_json::from_str(&ended.stdout).expect("it is JSON");
    assert_eq!(told["passed"], false);
    assert!(
        told["refused"]
            .as_str()
            .is_some_and(|why| why.contains("configure"))
    );
}

#[tokio::test]
async fn the_version_is_told() {
    let ended = run(["--version"]).await;
    assert_eq!(ended.code, Some(0));
    assert!(
        ended.stdout.contains(env!("CARGO_PKG_VERSION")),
        "{}",
        ended.stdout
    );
}

#[tokio::test]
async fn the_quick_form_needs_no_file() {
    let backends = ["a", "b"].map(|name| Backend::named(name).start());
    let [a, b] = backends
        .each_ref()
        .map(|backend| format!("http://{backend}"));
    let running = Running::start(command([
        "run",
        "--listen",
        "127.0.0.1:0",
        "--backend",
        &a,
        "--backend",
        &b,
        "--strategy",
        "round-robin",
        "--workers",
        "1",
    ]));
    let address = running.address().await;
    let mut answers = String::new();
    for _ in 0..4 {
        answers += &get(address, "/").await.text();
    }
    assert_eq!(answers, "abab");
}

#[tokio::test]
async fn the_quick_form_watches_its_plugin() {
    let backends = ["a", "b"].map(|name| Backend::named(name).start());
    let [a, b] = backends
        .each_ref()
        .map(|backend| format!("http://{backend}"));
    let folder = Folder::with("").file("mine.wasm", guests::always(0));
    let plugin = folder.path("mine.wasm");
    let running = Running::start(command([
        "run",
        "--listen",
        "127.0.0.1:0",
        "--backend",
        &a,
        "--backend",
        &b,
        "--strategy",
        &plugin.to_string_lossy(),
    ]));
    let address = running.address().await;
    assert_eq!(get(address, "/").await.text(), "a");
    let folder = folder.file("mine.wasm", guests::always(1));
    running.log(crate::RELOADED).await;
    assert_eq!(get(address, "/").await.text(), "b");
    drop(folder);
}

#[tokio::test]
async fn the_demo_balances_and_ends_by_itself() {
    let running = Running::start(command(["demo", "--seconds", "3"]));
    let text = running.printed("http://127.0.0.1:").await;
    let (_, rest) = text.split_once("http://").expect("it was waited for");
    let address = rest
        .split(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':'))
        .next()
        .unwrap_or_default();
    let response = get(address.parse().expect("an address"), "/").await;
    assert_eq!(response.status(), 200);
    assert!(
        running.printed("curl").await.contains("least-time")
            || running.stdout().contains("strategy")
    );
    assert_eq!(running.ended().await, Some(0), "{}", running.stderr());
}

#[tokio::test]
async fn the_examples_are_right() {
    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut found = 0;
    for folder in std::fs::read_dir(examples).into_iter().flatten().flatten() {
        let file = folder.path().join("anubis.toml");
        if file.exists() {
            let ended = run(["check", &*file.to_string_lossy()]).await;
            assert_eq!(ended.code, Some(0), "{}: {}", file.display(), ended.stderr);
            found += 1;
        }
    }
    assert!(found > 0, "there are no examples");
}
