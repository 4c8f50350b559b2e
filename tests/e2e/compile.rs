//! How plugins become code: bombs, the process that compiles, the cache.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anubis_tests::client::get;
use anubis_tests::proxy::{Folder, command};
use anubis_tests::{Backend, Config, Load, guests, within};

use crate::{REFUSED, RELOADED};

fn config(backend: &Backend) -> Config {
    Config::strategy("./mine.wasm").backend(backend, "")
}

#[tokio::test]
async fn bombs_under_load_fail_nothing_and_are_refused() {
    let backend = Backend::named("a").start();
    let config = config(&backend).global("compile-time = \"1s\"");
    let proxy = Folder::with(config)
        .file("mine.wasm", guests::always(0))
        .start()
        .await;
    let load = Load::start(proxy.address(), 4);
    for (bomb, why) in [
        (guests::slow_to_compile(), "compiling it"),
        (guests::deeply_nested_types(), "levels of component types"),
        (guests::code_in_one_function(2 << 20), "in one function"),
    ] {
        proxy.replace("mine.wasm", bomb);
        let refusal = proxy.log(REFUSED).await.to_string();
        assert!(
            refusal.contains(why) && refusal.contains("mine.wasm"),
            "{refusal}"
        );
        load.more(100).await;
    }
    proxy.replace("mine.wasm", guests::always(1));
    proxy.log(RELOADED).await;
    let report = load.stop().await;
    report.assert_none_failed();
    assert!(
        report.slowest < Duration::from_secs(1),
        "{:?}",
        report.slowest
    );
}

#[tokio::test]
async fn a_plugin_of_any_size_is_not_read() {
    let backend = Backend::named("a").start();
    let folder = Folder::with(config(&backend)).file("mine.wasm", b"\0asm");
    let file = std::fs::File::options()
        .write(true)
        .open(folder.path("mine.wasm"))
        .expect("it is there");
    file.set_len(500 << 20).expect("holes cost nothing");
    let ended = folder.run().await;
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("larger than 64 MiB"),
        "{}",
        ended.stderr
    );
}

/// The process that compiles, as the proxy starts it.
#[tokio::test]
async fn the_compiler_answers_with_code_or_a_sentence() {
    let folder = Folder::with("")
        .file("good", guests::always(0))
        .file("bad", "(component)");
    let compile = |name: &str| {
        let plugin = std::fs::File::open(folder.path(name)).expect("it is there");
        let output = command(["compile-plugin", "60"])
            .stdin(Stdio::from(plugin))
            .output();
        output.expect("it can be started")
    };
    let good = compile("good");
    assert!(
        good.status.success() && good.stdout.len() > 1000,
        "{good:?}"
    );
    let bad = compile("bad");
    assert_eq!(bad.status.code(), Some(3));
    assert!(bad.stdout.is_empty());
    assert!(String::from_utf8_lossy(&bad.stderr).contains("text is not accepted"));
}

/// What it may use, before it has read a byte of the plugin.
#[tokio::test]
async fn the_compiler_limits_itself_before_it_reads() {
    let mut child = command(["compile-plugin", "7"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("it can be started");
    let path = format!("/proc/{}/limits", child.id());
    let limit = |limits: &str, name: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name));
        let soft = line.and_then(|rest| rest.split_whitespace().next());
        soft.map(str::to_owned)
    };
    let limits = within("the limits", async {
        loop {
            let limits = std::fs::read_to_string(&path).expect("it waits for the plugin");
            // Set after the others here, and never so small before.
            if limit(&limits, "Max open files").as_deref() == Some("16") {
                return limits;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    for (name, most) in [
        ("Max address space", "2147483648"),
        ("Max file size", "268435456"),
        ("Max cpu time", "7"),
    ] {
        assert_eq!(limit(&limits, name).as_deref(), Some(most), "{name}");
    }
    drop(child.stdin.take());
    let code = child.wait().expect("it is our child").code();
    assert_eq!(code, Some(3), "nothing is no plugin");
}

/// The entries of a cache, without its key.
fn entries(cache: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(cache).expect("it is there").flatten();
    let paths = files.map(|file| file.path());
    paths.filter(|path| !path.ends_with("key")).collect()
}

#[tokio::test]
async fn what_was_compiled_is_kept_and_believed_only_whole() {
    let backend = Backend::named("a").start();
    let config = config(&backend).global("cache-dir = \"cache\"");
    let folder = Folder::with(config).file("mine.wasm", guests::always(0));
    let cache = folder.path("cache");
    let serves = async || {
        let running = folder.running();
        assert_eq!(get(running.address().await, "/").await.text(), "a");
        running
    };
    drop(serves().await);
    let [entry] = &entries(&cache)[..] else {
        panic!("{:?}", entries(&cache));
    };
    let whole = std::fs::read(entry).expect("it is there");

    let again = serves().await;
    assert!(!again.logged("damaged"), "{}", again.stderr());
    drop(again);
    assert_eq!(std::fs::read(entry).expect("it is there"), whole);

    for at in [0, 40, whole.len() / 2, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        std::fs::write(entry, damaged).expect("it is there");
        assert!(serves().await.logged("damaged"), "byte {at}");
        let mended = std::fs::read(entry).expect("it is there");
        assert!(mended.len() == whole.len() && mended[at] == whole[at]);
    }
}

#[tokio::test]
async fn a_cache_that_others_may_write_to_is_refused() {
    let backend = Backend::named("a").start();
    let config = config(&backend).global("cache-dir = \"cache\"");
    let folder = Folder::with(config).file("mine.wasm", guests::always(0));
    std::fs::create_dir(folder.path("cache")).expect("the folder is writable");
    std::fs::set_permissions(folder.path("cache"), std::fs::Permissions::from_mode(0o777))
        .expect("it is ours");
    let ended = folder.run().await;
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    for part in ["cache-dir", "others may write to it"] {
        assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
    }
}
