//! What befalls a process as a whole: stopped and continued, killed, its logs
//! stuck, a worker that does not come back (rows X5, X7, X8, X11).

use std::fs::File;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use anubis_tests::client::get;
use anubis_tests::metrics::{Scrape, text_at};
use anubis_tests::proxy::{self, Folder, Running};
use anubis_tests::{
    Admin, Answer, Backend, Client, Config, Gate, Load, Metered, Proxy, guests, within,
};
use rustix::process::Signal;
use serde_json::json;

use crate::RELOADED;

/// Longer than the workers' clock takes for a standstill, and than the timeouts of
/// whoever waits meanwhile.
const STOPPED: Duration = Duration::from_secs(3);

#[tokio::test]
async fn x5_who_has_connected_before_the_end_is_served() {
    let backend = Backend::named("a").start();
    let proxy = Proxy::start(Config::balanced([&backend])).await;
    // Nobody accepts: they are in the sockets' queues.
    proxy.process().signal(Signal::STOP);
    let mut clients = Vec::new();
    for _ in 0..50 {
        let mut client = Client::connect(proxy.address()).await;
        client.send_get("/").await;
        clients.push(client);
    }
    proxy.terminate();
    proxy.process().signal(Signal::CONT);
    for client in &mut clients {
        assert_eq!(client.response().await.text(), "a");
    }
    assert_eq!(proxy.exit().await, Some(0));
}

/// The filter that turns newcomers away looks at bytes: they are elsewhere in a packet
/// of IPv6, and none of a connection's own may be lost.
#[tokio::test]
async fn x5_an_end_over_ipv6_cuts_no_answer() {
    if TcpListener::bind("[::1]:0").is_err() {
        return println!("this machine has no IPv6");
    }
    let backend = Backend::named("a")
        .answer(Answer::pattern(200_000).after(Duration::from_millis(50)))
        .start();
    let text = Config::balanced([&backend])
        .to_string()
        .replace("127.0.0.1:0", "[::1]:0");
    let proxy = Proxy::start(text).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = Client::connect(proxy.address()).await;
        client.send_get("/").await;
        clients.push(client);
    }
    backend.requests(10).await;
    proxy.terminate();
    for client in &mut clients {
        let (head, body) = within("an answer", client.pattern()).await.expect("whole");
        assert_eq!((head.status(), body), (200, Ok(200_000)));
    }
    assert_eq!(proxy.exit().await, Some(0));
}

#[tokio::test]
async fn x5_a_tunnel_has_the_grace_time_and_no_more() {
    let backend = Backend::named("a")
        .answer(Answer::tunnel("websocket"))
        .start();
    let proxy = Proxy::start(Config::balanced([&backend]).global("shutdown-grace = \"2s\"")).await;
    let mut client = Client::connect(proxy.address()).await;
    let upgrade = "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    client.send(upgrade).await;
    assert_eq!(client.head().await.status(), 101);
    proxy.terminate();
    proxy.log("shutting down").await;
    within("the listener to close", async {
        while Client::try_connect(proxy.address()).await.is_ok() {}
    })
    .await;
    client.send("still here").await;
    let echo = within("the echo", client.reader.some()).await;
    assert_eq!(&echo.expect("it is open")[..], b"still here");
    within("the end of the grace time", client.reader.closed()).await;
    assert_eq!(proxy.exit().await, Some(0));
}

#[tokio::test]
async fn a_backend_that_drains_keeps_its_tunnels_and_streams() {
    let gate = Gate::new();
    let stream = Answer::head("200 OK", &[("Content-Length", "10")])
        .write("first")
        .then_when(&gate)
        .write("later");
    let [a, b] = ["a", "b"].map(|name| {
        let stream = stream.clone();
        Backend::named(name)
            .script(move |request| match request.target.as_str() {
                "/tunnel" => Answer::tunnel("websocket"),
                "/stream" => stream.clone(),
                _ => Answer::text(name),
            })
            .start()
    });
    let config = |state: &str| {
        let config = Config::strategy("first-fit").backend(&a, &format!("state = {state:?}"));
        config.backend(&b, "")
    };
    let proxy = Proxy::start(config("active")).await;
    let mut tunnel = Client::connect(proxy.address()).await;
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    tunnel
        .send(format!("GET /tunnel HTTP/1.1\r\nHost: h\r\n{upgrade}\r\n"))
        .await;
    assert_eq!(tunnel.head().await.status(), 101);
    let mut streaming = Client::connect(proxy.address()).await;
    streaming.send_get("/stream").await;
    streaming.head().await;
    for state in ["drain", "maintenance"] {
        proxy.configure(config(state));
        proxy.log(RELOADED).await;
        assert_eq!(get(proxy.address(), "/").await.text(), "b");
        tunnel.send(state).await;
        let echo = within("the echo", tunnel.reader.some()).await;
        assert_eq!(&echo.expect("it is open")[..], state.as_bytes());
    }
    gate.open();
    let mut body = Vec::new();
    let framing = anubis_tests::wire::Framing::Length(10);
    let rest = streaming
        .reader
        .body(framing, |piece| body.extend_from_slice(piece));
    within("the rest", rest).await.expect("it is whole");
    assert_eq!(body, b"firstlater");
    assert!(a.seen().aborted == 0);
}

#[tokio::test]
async fn x7_after_a_kill_the_next_one_starts_on_the_same_names() {
    let [a, b] = ["a", "b"].map(|name| Backend::named(name).start());
    // A port that is free, and the next one's too.
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("it is bound");
    drop(socket);
    let text = Config::balanced([&a, &b])
        .to_string()
        .replace("127.0.0.1:0", &address.to_string())
        + "[admin]\naddress = \"127.0.0.1:0\"\nsocket = \"admin.sock\"\nstate-file = \"state\"\n";
    let folder = Folder::with(text);
    for round in 0..3 {
        let running = folder.running();
        running.address().await;
        let admin = Admin::of_process(&running).await;
        assert!(std::os::unix::net::UnixStream::connect(folder.path("admin.sock")).is_ok());
        if round == 0 {
            let path = "/v1/pools/web/backends/a";
            let told = admin.send("PATCH", path, json!({ "state": "drain" })).await;
            assert_eq!(told.status(), 200, "{}", told.detail());
        }
        // Connections of clients and of backends are open when it dies.
        let load = Load::start(address, 2);
        load.more(20).await;
        assert_eq!(
            get(address, "/").await.text(),
            "b",
            "what was changed is known"
        );
        running.signal(Signal::KILL);
        assert_eq!(running.ended().await, None);
        drop(load);
    }
}

#[tokio::test]
async fn x8_who_waits_while_the_process_stands_still_has_not_waited() {
    let gate = Gate::new();
    let slow = Answer::text("late").when(&gate);
    let backend = Backend::named("a")
        .script(move |request| match request.target.as_str() {
            "/slow" => slow.clone(),
            _ => Answer::text("a"),
        })
        .start();
    // Without another, nobody would ever be ejected.
    let spare = Backend::named("spare").start();
    let config = Config::balanced([&backend])
        .backend(&spare, "priority = 1")
        .listener("header-timeout = \"2s\"\nkeep-alive = \"2s\"")
        .pool("response-timeout = \"2s\"");
    let proxy = Metered::start(config).await;
    // More than it takes to eject a backend, if they all failed.
    let mut waiting = Vec::new();
    for _ in 0..8 {
        let mut client = Client::connect(proxy.address()).await;
        client.send_get("/slow").await;
        waiting.push(client);
    }
    let mut half = Client::connect(proxy.address()).await;
    half.send("GET / HTTP/1.1\r\nHo").await;
    let mut idle = Client::connect(proxy.address()).await;
    assert_eq!(idle.get("/").await.text(), "a");
    backend.requests(9).await;

    proxy.process().signal(Signal::STOP);
    tokio::time::sleep(STOPPED).await;
    proxy.process().signal(Signal::CONT);
    half.send("st: h\r\n\r\n").await;
    assert_eq!(half.response().await.text(), "a");
    assert_eq!(idle.get("/").await.text(), "a");
    gate.open();
    for client in &mut waiting {
        assert_eq!(client.response().await.text(), "late");
    }
    assert!(!proxy.process().logged("backend ejected"));
    let timeouts = [("pool", "web"), ("backend", "a"), ("result", "timeout")];
    let scrape = proxy.scrape();
    assert_eq!(
        scrape.value("anubis_backend_attempts_total", &timeouts),
        0.0
    );
    for worker in 0..scrape.value("anubis_workers", &[]) as usize {
        let worker = worker.to_string();
        let stuck = scrape.value("anubis_worker_stuck_total", &[("worker", &worker)]);
        assert_eq!(stuck, 0.0, "nobody is blamed");
    }
}

/// The configuration's path in the words of a shell.
fn run(folder: &Folder) -> String {
    format!(
        "exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec {} run {}",
        proxy::program().display(),
        folder.path("anubis.toml").display()
    )
}

/// A proxy that cannot tell where it listens: its log goes to `stderr`.
fn with_logs(
    config: Config,
    stdout: Stdio,
    stderr: Stdio,
) -> (Running, std::net::SocketAddr, Folder) {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("it is bound");
    let text = config
        .to_string()
        .replace("127.0.0.1:0", &address.to_string());
    let folder = Folder::with(text);
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", &run(&folder)])
        .stdin(Stdio::from(OwnedFd::from(socket)))
        .stdout(stdout)
        .stderr(stderr);
    (Running::start(command), address, folder)
}

fn full() -> Stdio {
    let full = File::options().write(true).open("/dev/full");
    full.expect("the kernel has it").into()
}

#[tokio::test]
async fn x8_full_disks_under_the_logs_hold_nobody_up() {
    let backend = Backend::named("a").start();
    let dead = Backend::refusing("dead").await;
    let config =
        Config::balanced([&backend, &dead]).global("log.access = \"json\"\nlog.level = \"debug\"");
    let (running, address, _folder) = with_logs(config, full(), full());
    let report = Load::of(500, address, 4).await;
    report.assert_none_failed();
    running.signal(Signal::TERM);
    assert_eq!(running.ended().await, Some(0));
}

#[tokio::test]
async fn x8_a_log_that_nobody_reads_drops_lines_and_says_so() {
    let backend = Backend::named("a").start();
    let (unread, stdout) = std::io::pipe().expect("a pipe");
    let config = Config::balanced([&backend])
        .global("workers = 2\nlog.access = \"json\"\nadmin.address = \"127.0.0.2:0\"");
    let (running, address, _folder) = with_logs(config, stdout.into(), Stdio::piped());
    // More than the pipe and the buffers hold.
    let path = format!("/{}", "x".repeat(6000));
    let load = Load::at(address, &path, 4);
    load.more(1200).await;
    let report = load.stop().await;
    report.assert_none_failed();
    let admin = Admin::of_process(&running).await.address();
    let scrape = Scrape::of(&text_at(admin));
    let dropped = scrape.value("anubis_log_lines_dropped_total", &[("stream", "access")]);
    assert!(dropped > 0.0);
    running.signal(Signal::TERM);
    assert_eq!(
        running.ended().await,
        Some(0),
        "nor does the end wait for it"
    );
    drop(unread);
}

#[tokio::test]
async fn x11_a_worker_that_does_not_come_back_is_told_of() {
    let backend = Backend::named("a").start();
    // The plugin may loop for so long that its worker does nothing else.
    let config = Config::strategy("./mine.wasm")
        .global("workers = 1")
        .pool("deadline = \"2500ms\"\nbudget = \"1s\"")
        .backend(&backend, "");
    let admin = "[admin]\naddress = \"127.0.0.1:0\"\n";
    let proxy = Folder::with(config.to_string() + admin)
        .file(
            "mine.wasm",
            guests::live("(loop $forever (br $forever)) unreachable"),
        )
        .start()
        .await;
    let proxy = Metered::of(proxy).await;
    let mut client = Client::connect(proxy.address()).await;
    client.send_get("/").await;
    let stuck = proxy.process().log("worker is stuck").await;
    assert_eq!(stuck["worker"], 0, "{stuck}");
    let back = proxy.process().log("worker goes on").await;
    assert!(back["after_ms"].as_u64() > Some(1000), "{back}");
    assert_eq!(client.response().await.text(), "a", "by the fallback");
    let scrape = proxy.scrape();
    assert_eq!(
        scrape.value("anubis_worker_stuck_total", &[("worker", "0")]),
        1.0
    );
    let age = scrape.value("anubis_worker_heartbeat_age_seconds", &[("worker", "0")]);
    assert!(age < 1.0, "{age}");
}

#[tokio::test]
async fn x11_a_stuck_worker_does_not_keep_the_process_from_ending() {
    let backend = Backend::named("a").start();
    let config = Config::strategy("./mine.wasm")
        .global("workers = 2\nshutdown-grace = \"100ms\"")
        .pool("deadline = \"1h\"\nbudget = \"1s\"")
        .backend(&backend, "");
    let proxy = Folder::with(config)
        .file(
            "mine.wasm",
            guests::live("(loop $forever (br $forever)) unreachable"),
        )
        .start()
        .await;
    let mut client = Client::connect(proxy.address()).await;
    client.send_get("/").await;
    proxy.log("worker is stuck").await;
    proxy.terminate();
    proxy.log("worker does not end").await;
    assert_eq!(proxy.exit().await, Some(0));
}
