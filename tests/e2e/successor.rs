//! Another binary in the place of the running one (row X6), and what a service
//! manager is told and passes.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anubis_tests::client::{get, raw};
use anubis_tests::proxy::{self, Folder, Running, gone};
use anubis_tests::{
    Admin, Answer, Backend, Client, Config, Gate, Load, PATIENCE, Proxy, guests, within,
};
use rustix::process::Signal;
use serde_json::json;

use crate::RELOADED;

const FAILED: &str = "upgrade failed";
const BEGINS: &str = "upgrade begins";

/// Another program where the proxy's link leads to.
fn replace_program(proxy: &Proxy, script: &str) {
    proxy.replace("script", format!("#!/bin/sh\n{script}\n"));
    let script = proxy.path("script");
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).expect("it is ours");
    link(&proxy.path("anubis"), &script);
}

fn link(name: &Path, to: &Path) {
    std::fs::remove_file(name).expect("it is there");
    std::os::unix::fs::symlink(to, name).expect("the folder is writable");
}

/// As often as the environment says, ten times in an ordinary run.
fn rounds() -> usize {
    let times = std::env::var("ANUBIS_UPGRADES").ok();
    times.and_then(|times| times.parse().ok()).unwrap_or(10)
}

#[tokio::test]
async fn x6_upgrades_under_load_fail_nothing() {
    let backends = ["a", "b", "c"].map(|name| Backend::named(name).start());
    let proxy = Proxy::start(Config::balanced(&backends)).await;
    let load = Load::start(proxy.address(), 8);
    let mut processes = vec![proxy.process().pid()];
    for _ in 0..rounds() {
        load.more(50).await;
        proxy.process().upgrade().await;
        processes.push(proxy.process().pid());
    }
    load.more(50).await;
    let report = load.stop().await;
    report.assert_none_failed();
    println!("{} upgrades, {} requests", rounds(), report.answered);
    processes.dedup();
    assert_eq!(processes.len(), rounds() + 1, "each another process");
    proxy.terminate();
    assert_eq!(proxy.exit().await, Some(0), "also the first one");
}

/// New connections all the time: the queues of the listening sockets go over.
#[tokio::test]
async fn x6_new_connections_are_served_throughout() {
    let backend = Backend::named("a").start();
    let proxy = Proxy::start(Config::balanced([&backend]).listener("keep-alive = \"0s\"")).await;
    let load = Load::start(proxy.address(), 8);
    for _ in 0..3 {
        load.more(50).await;
        proxy.process().upgrade().await;
    }
    load.more(50).await;
    load.stop().await.assert_none_failed();
}

#[tokio::test]
async fn x6_what_is_in_flight_is_finished_by_the_old_process() {
    let gate = Gate::new();
    let slow = Answer::head("200 OK", &[("Content-Length", "10")])
        .write("first")
        .then_when(&gate)
        .write("later");
    let backend = Backend::named("a")
        .script(move |request| match request.target.as_str() {
            "/slow" => slow.clone(),
            _ => Answer::text("fast"),
        })
        .start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    let mut client = Client::connect(proxy.address()).await;
    client.send_get("/slow").await;
    client.head().await;
    proxy.process().signal(Signal::USR2);
    let old = proxy.process().replaced().await;
    for _ in 0..5 {
        assert_eq!(get(proxy.address(), "/").await.text(), "fast");
    }
    gate.open();
    let mut body = Vec::new();
    let framing = anubis_tests::wire::Framing::Length(10);
    let reading = client
        .reader
        .body(framing, |piece| body.extend_from_slice(piece));
    within("the rest", reading).await.expect("it is whole");
    assert_eq!(body, b"firstlater");
    drop(client);
    gone(old).await;
    assert_eq!(get(proxy.address(), "/").await.text(), "fast");
}

#[tokio::test]
async fn x6_a_successor_that_fails_changes_nothing() {
    let [a, b] = ["a", "b"].map(|name| Backend::named(name).start());
    let proxy = Folder::with(Config::balanced([&a])).start_by_link().await;
    let old = proxy.process().pid();
    let load = Load::start(proxy.address(), 4);
    replace_program(&proxy, "exit 7");
    proxy.process().signal(Signal::USR2);
    let why = proxy.log(FAILED).await.to_string();
    assert!(why.contains("exit status: 7"), "{why}");
    load.more(50).await;
    // Not even a file that can be started.
    link(&proxy.path("anubis"), &proxy.path("anubis.toml"));
    proxy.process().signal(Signal::USR2);
    let why = proxy.log(FAILED).await.to_string();
    assert!(why.contains("ermission denied"), "{why}");
    load.more(50).await;
    load.stop().await.assert_none_failed();
    // Changes go on.
    proxy.configure(Config::balanced([&b]));
    proxy.log(RELOADED).await;
    assert_eq!(get(proxy.address(), "/").await.text(), "b");
    // And so do upgrades.
    link(&proxy.path("anubis"), &proxy::program());
    proxy.process().upgrade().await;
    assert_ne!(proxy.process().pid(), old);
    assert_eq!(get(proxy.address(), "/").await.text(), "b");
}

#[tokio::test]
async fn x6_a_configuration_that_is_wrong_by_now_keeps_the_old_process() {
    let a = Backend::named("a").start();
    let proxy = Proxy::start(Config::balanced([&a])).await;
    proxy.configure(Config::balanced([&a]).pool("tires = 3"));
    proxy.log(crate::REFUSED).await;
    proxy.process().signal(Signal::USR2);
    let why = proxy.log(FAILED).await.to_string();
    assert!(why.contains("exit status: 2"), "{why}");
    assert!(proxy.process().logged("tires"), "its words are in the log");
    assert_eq!(get(proxy.address(), "/").await.text(), "a");
}

#[tokio::test]
async fn x6_a_successor_that_is_never_ready_is_killed_and_a_second_one_refused() {
    let a = Backend::named("a").start();
    let config = Config::balanced([&a]).global("upgrade-timeout = \"1500ms\"");
    let proxy = Folder::with(config).start_by_link().await;
    replace_program(&proxy, "exec sleep 1000");
    proxy.process().signal(Signal::USR2);
    let begins = proxy.log(BEGINS).await;
    proxy.process().signal(Signal::USR2);
    proxy.log("upgrade refused, one is under way").await;
    let why = proxy.log(FAILED).await.to_string();
    assert!(why.contains("not ready after 1s 500ms"), "{why}");
    let process = begins["process"].to_string();
    assert!(!Path::new("/proc").join(process).exists(), "it is gone");
    assert_eq!(get(proxy.address(), "/").await.text(), "a");
}

#[tokio::test]
async fn x6_sigterm_ends_both() {
    let a = Backend::named("a").start();
    let proxy = Folder::with(Config::balanced([&a])).start_by_link().await;
    replace_program(&proxy, "exec sleep 1000");
    proxy.process().signal(Signal::USR2);
    proxy.log(BEGINS).await;
    proxy.terminate();
    // Both have the log open until they end.
    assert_eq!(proxy.exit().await, Some(0));
}

#[tokio::test]
async fn x6_the_number_of_workers_may_change() {
    let a = Backend::named("a").start();
    let config = |workers: usize| Config::balanced([&a]).global(&format!("workers = {workers}"));
    let proxy = Proxy::start(config(3)).await;
    let load = Load::start(proxy.address(), 6);
    for workers in [1, 4, 2] {
        load.more(50).await;
        proxy.configure(config(workers));
        proxy.log("takes effect at the next start").await;
        proxy.process().upgrade().await;
        let tasks = proxy.process().proc_entries("task");
        assert!(tasks > workers, "{tasks}");
        // Every queue is served: the kernel chooses one by the client's port.
        for _ in 0..30 {
            assert_eq!(get(proxy.address(), "/").await.text(), "a");
        }
    }
    load.stop().await.assert_none_failed();
}

#[tokio::test]
async fn x6_listeners_may_come_and_go() {
    let a = Backend::named("a").start();
    let one = Config::balanced([&a]).to_string();
    let second =
        |name: &str| format!("[[listeners]]\nname = \"{name}\"\naddress = \"127.0.0.1:0\"\n{one}");
    let proxy = Proxy::start(second("second")).await;
    // The first line is of the second's, which stands first.
    let public = proxy.process().address().await;
    let gone = proxy.address();
    // Read by nobody but the successor: this one is stopped from reading it first.
    proxy.process().signal(Signal::STOP);
    proxy.configure(second("third"));
    proxy.process().signal(Signal::USR2);
    proxy.process().signal(Signal::CONT);
    let mut addresses = Vec::new();
    for _ in 0..2 {
        addresses.push(proxy.process().address().await);
    }
    within("the listener that is gone to close", async {
        while Client::try_connect(gone).await.is_ok() {}
    })
    .await;
    assert_eq!(get(public, "/").await.text(), "a");
    for address in addresses {
        assert_eq!(get(address, "/").await.text(), "a");
    }
}

#[tokio::test]
async fn x6_the_admin_api_its_socket_and_what_was_changed_go_over() {
    let backends = ["a", "b"].map(|name| Backend::named(name).start());
    let admin = "[admin]\naddress = \"127.0.0.1:0\"\nsocket = \"admin.sock\"\n\
                 state-file = \"state.json\"\n";
    let config = Config::balanced(&backends).to_string() + admin;
    let proxy = Folder::with(config).start_by_link().await;
    let api = Admin::of(&proxy).await;
    let path = "/v1/pools/web/backends/a";
    let told = api.send("PATCH", path, json!({ "state": "drain" })).await;
    assert_eq!(told.status(), 200, "{}", told.detail());
    for _ in 0..2 {
        proxy.process().upgrade().await;
        assert!(proxy.path("admin.sock").exists());
        assert!(std::os::unix::net::UnixStream::connect(proxy.path("admin.sock")).is_ok());
        assert_eq!(api.get("/readyz").await.status(), 200);
        for _ in 0..4 {
            assert_eq!(get(proxy.address(), "/").await.text(), "b");
        }
    }
    // What the successor could not know of is refused.
    replace_program(&proxy, "exec sleep 1000");
    proxy.process().signal(Signal::USR2);
    proxy.log(BEGINS).await;
    let told = api.send("PATCH", path, json!({ "state": "active" })).await;
    assert_eq!(told.status(), 409, "{}", told.detail());
    proxy.terminate();
    assert_eq!(proxy.exit().await, Some(0));
    assert!(
        !proxy.path("admin.sock").exists(),
        "the last one removes it"
    );
}

#[tokio::test]
async fn x6_an_admin_socket_that_is_not_wanted_any_more_is_removed() {
    let a = Backend::named("a").start();
    let config = Config::balanced([&a]).to_string();
    let with_admin = format!("{config}[admin]\nsocket = \"admin.sock\"\n");
    let proxy = Folder::with(with_admin).start().await;
    proxy.log("admin API open").await;
    proxy.configure(config);
    proxy.log("takes effect at the next start").await;
    assert!(proxy.path("admin.sock").exists());
    proxy.process().upgrade().await;
    assert!(!proxy.path("admin.sock").exists());
    assert_eq!(get(proxy.address(), "/").await.text(), "a");
}

#[tokio::test]
async fn x6_an_inheritance_that_is_none_is_said_to_be() {
    let a = Backend::named("a").start();
    let folder = Folder::with(Config::balanced([&a]));
    let configuration = folder.path("anubis.toml");
    for number in ["999", "2", "-1"] {
        let mut command = proxy::command(["run", &*configuration.to_string_lossy()]);
        command.env("ANUBIS_INHERITANCE", number);
        let running = Running::start(command);
        assert_eq!(running.ended().await, Some(1), "{number}");
        let words = running.stderr();
        assert!(words.contains("ANUBIS_INHERITANCE: descriptor"), "{words}");
    }
}

#[tokio::test]
async fn x6_sessions_go_over() {
    let backends = ["a", "b", "c"].map(|name| Backend::named(name).start());
    let config = Config::balanced(&backends).pool("sticky = { cookie = \"sid\" }");
    let proxy = Proxy::start(config).await;
    let first = raw(proxy.address(), "GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let set = first.head.one("set-cookie").expect("a cookie").to_owned();
    let token = set.split(';').next().expect("a pair");
    let request = format!("GET / HTTP/1.1\r\nHost: h\r\nCookie: {token}\r\n\r\n");
    for _ in 0..2 {
        proxy.process().upgrade().await;
        let again = raw(proxy.address(), &request).await;
        assert_eq!(again.text(), first.text());
        assert!(!again.head.has("set-cookie"), "{}", again.head);
    }
}

/// Where a service manager would listen.
struct Manager(UnixDatagram);

impl Manager {
    fn beside(folder: &Folder) -> Self {
        let socket = UnixDatagram::bind(folder.path("notify"));
        let socket = socket.expect("the folder is writable");
        socket
            .set_read_timeout(Some(PATIENCE))
            .expect("a timeout can be set");
        Self(socket)
    }

    fn start(&self, folder: &Folder, variables: &[(&str, &str)]) -> Running {
        let configuration = folder.path("anubis.toml");
        let mut command = proxy::command(["run", &*configuration.to_string_lossy()]);
        command.env("NOTIFY_SOCKET", folder.path("notify"));
        command.envs(variables.iter().copied());
        Running::start(command)
    }

    /// Waits until it is told something that begins so.
    fn hears(&self, beginning: &str) {
        let mut text = [0; 256];
        loop {
            let length = self.0.recv(&mut text).expect("the proxy tells");
            if text[..length].starts_with(beginning.as_bytes()) {
                return;
            }
        }
    }

    /// Forgets what it was told so far; true if that was something.
    fn heard(&self) -> bool {
        self.0.set_nonblocking(true).expect("it is a socket");
        let count = std::iter::repeat_with(|| self.0.recv(&mut [0; 256]));
        let heard = count.take_while(Result::is_ok).count();
        self.0.set_nonblocking(false).expect("it is a socket");
        heard > 0
    }
}

#[tokio::test]
async fn a_service_manager_is_told() {
    let a = Backend::named("a").start();
    let folder = Folder::with(Config::balanced([&a]));
    let manager = Manager::beside(&folder);
    let running = manager.start(&folder, &[]);
    manager.hears("READY=1");
    running.signal(Signal::HUP);
    manager.hears("RELOADING=1\nMONOTONIC_USEC=");
    running.upgrade().await;
    manager.hears(&format!("MAINPID={}", running.pid().as_raw_pid()));
    running.signal(Signal::TERM);
    manager.hears("STOPPING=1");
    assert_eq!(running.ended().await, Some(0));
}

#[tokio::test]
async fn a_service_manager_hears_that_all_is_well_until_it_is_not() {
    let a = Backend::named("a").start();
    let config = Config::strategy("./mine.wasm")
        .global("workers = 2\nshutdown-grace = \"100ms\"")
        .pool("deadline = \"1h\"\nbudget = \"1s\"")
        .backend(&a, "");
    let stuck = guests::live("(loop $forever (br $forever)) unreachable");
    let folder = Folder::with(config).file("mine.wasm", stuck);
    let manager = Manager::beside(&folder);
    let running = manager.start(&folder, &[("WATCHDOG_USEC", "100000")]);
    let address = running.address().await;
    for _ in 0..3 {
        manager.hears("WATCHDOG=1");
    }
    running.upgrade().await;
    manager.heard();
    for _ in 0..3 {
        manager.hears("WATCHDOG=1");
    }
    let mut client = Client::connect(address).await;
    client.send_get("/").await;
    running.log("worker is stuck").await;
    manager.heard();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!manager.heard(), "it says nothing any more");
}

#[tokio::test]
async fn sockets_of_a_service_manager_are_used() {
    let a = Backend::named("a").start();
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("it is bound");
    let kept = socket.try_clone().expect("a descriptor");
    let text = Config::balanced([&a])
        .global("workers = 3")
        .to_string()
        .replace("127.0.0.1:0", &address.to_string());
    let folder = Folder::with(text);
    // The shell's number becomes the proxy's.
    let script = format!(
        "exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec {} run {}",
        proxy::program().display(),
        folder.path("anubis.toml").display()
    );
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", &script])
        .stdin(Stdio::from(OwnedFd::from(socket)))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let running = Running::start(command);
    drop(running.log("listening").await);
    let load = Load::of(200, address, 6).await;
    load.assert_none_failed();
    running.upgrade().await;
    assert_eq!(get(address, "/").await.text(), "a");
    // Who connects after the end waits for the next one that the manager starts.
    running.signal(Signal::TERM);
    assert_eq!(running.ended().await, Some(0));
    let _client = Client::connect(address).await;
    kept.set_nonblocking(true).expect("it is a socket");
    assert!(kept.accept().is_ok());
}
