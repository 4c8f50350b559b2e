//! Everything at once while the proxy is changed under it (rows X3, X4, X6): kept
//! connections, new ones, uploads and a tunnel; not one request may fail.
//!
//! `ANUBIS_ROUNDS=1000` for a long run.

use std::net::SocketAddr;

use anubis_tests::client::send_pattern;
use anubis_tests::proxy::gone;
use anubis_tests::{Answer, Backend, Client, Config, Load, Proxy, guests, within};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::RELOADED;

/// Length of an upload, in bytes: more than any buffer between the two ends.
const UPLOAD: u64 = 300_000;

fn rounds(usual: usize) -> usize {
    let rounds = std::env::var("ANUBIS_ROUNDS").ok();
    rounds.and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn backends() -> [Backend; 3] {
    ["a", "b", "c"].map(|name| {
        Backend::named(name)
            .script(move |request| match request.target.as_str() {
                "/echo" => Answer::echo(),
                "/tunnel" => Answer::tunnel("websocket"),
                _ => Answer::text(name),
            })
            .start()
    })
}

/// With a second listener that closes after each answer.
fn two_listeners(config: Config) -> String {
    let one = "[[listeners]]\nname = \"brief\"\naddress = \"127.0.0.1:0\"\nkeep-alive = \"0s\"\n";
    format!("{one}{config}")
}

/// Traffic of all kinds.
struct Traffic {
    kept: Load,
    brief: Load,
    uploads: JoinHandle<usize>,
    stop: watch::Sender<bool>,
}

impl Traffic {
    /// Through a proxy with [`two_listeners`].
    async fn through(proxy: &Proxy) -> Self {
        let kept = proxy.process().address().await;
        let (stop, stopped) = watch::channel(false);
        Self {
            kept: Load::start(kept, 4),
            brief: Load::start(proxy.address(), 2),
            uploads: tokio::spawn(uploads(kept, stopped)),
            stop,
        }
    }

    async fn goes_on(&self) {
        self.kept.more(20).await;
        self.brief.more(10).await;
    }

    /// What it came to.
    async fn ends(self) -> String {
        self.stop.send_replace(true);
        let uploads = within("the last upload", self.uploads).await;
        let uploads = uploads.expect("every upload came back whole");
        assert!(uploads > 0);
        let (kept, brief) = (self.kept.stop().await, self.brief.stop().await);
        kept.assert_none_failed();
        brief.assert_none_failed();
        let requests = kept.answered + brief.answered;
        format!("{requests} requests, {uploads} uploads")
    }
}

/// One upload after the other, each on a connection of its own and echoed.
async fn uploads(address: SocketAddr, stopped: watch::Receiver<bool>) -> usize {
    let mut count = 0;
    while !*stopped.borrow() {
        let client = Client::connect(address).await;
        let Client {
            mut reader,
            mut writer,
            ..
        } = client;
        let sent = async {
            let head =
                format!("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: {UPLOAD}\r\n\r\n");
            tokio::io::AsyncWriteExt::write_all(&mut writer, head.as_bytes()).await?;
            send_pattern(&mut writer, UPLOAD).await
        };
        let received = async {
            let head = reader.head().await?.expect("an answer");
            assert_eq!(head.status(), 200, "{head}");
            let mut check = anubis_tests::pattern::Check::default();
            let framing = head.framing().expect("it is framed");
            reader.body(framing, |piece| check.add(piece)).await?;
            assert_eq!(check.result(), Ok(UPLOAD));
            Ok::<_, std::io::Error>(())
        };
        let (sent, received) = within("an upload", async { tokio::join!(sent, received) }).await;
        sent.expect("it is taken");
        received.expect("it comes back");
        count += 1;
    }
    count
}

/// A tunnel that is open all the while.
struct Tunnel(Client);

impl Tunnel {
    async fn through(address: SocketAddr) -> Self {
        let mut client = Client::connect(address).await;
        let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
        let request = format!("GET /tunnel HTTP/1.1\r\nHost: h\r\n{upgrade}\r\n");
        client.send(request).await;
        assert_eq!(client.head().await.status(), 101);
        Self(client)
    }

    async fn echoes(&mut self, text: &str) {
        self.0.send(text).await;
        let mut back = Vec::new();
        while back.len() < text.len() {
            let piece = within("the echo", self.0.reader.some()).await;
            let piece = piece.expect("the tunnel is open");
            assert!(!piece.is_empty(), "the tunnel was closed");
            back.extend_from_slice(&piece);
        }
        assert_eq!(back, text.as_bytes());
    }
}

#[tokio::test]
async fn x3_reloads_fail_nothing() {
    let backends = backends();
    let config = |round: usize| {
        let some = &backends[..1 + round % 3];
        two_listeners(Config::balanced(some).pool(&format!("tries = {}", 1 + round % 2)))
    };
    let proxy = Proxy::start(config(5)).await;
    let traffic = Traffic::through(&proxy).await;
    let mut tunnel = Tunnel::through(proxy.address()).await;
    let rounds = rounds(20);
    for round in 0..rounds {
        traffic.goes_on().await;
        proxy.replace("anubis.toml", config(round));
        proxy.log(RELOADED).await;
        tunnel.echoes("still here").await;
    }
    println!("{rounds} reloads, {}", traffic.ends().await);
}

#[tokio::test]
async fn x4_swaps_fail_nothing() {
    let backends = backends();
    let config = backends
        .iter()
        .fold(Config::strategy("./mine.wasm"), |config, backend| {
            config.backend(backend, "")
        });
    let proxy = anubis_tests::proxy::Folder::with(two_listeners(config))
        .file("mine.wasm", guests::always(2))
        .start()
        .await;
    let traffic = Traffic::through(&proxy).await;
    let mut tunnel = Tunnel::through(proxy.address()).await;
    let rounds = rounds(20);
    for round in 0..rounds {
        traffic.goes_on().await;
        let plugin = format!("(i32.rem_u (i32.const {round}) (i32.const 3))");
        proxy.replace("mine.wasm", guests::strategy(&plugin));
        proxy.log(RELOADED).await;
        tunnel.echoes("still here").await;
    }
    println!("{rounds} swaps, {}", traffic.ends().await);
}

#[tokio::test]
async fn x6_upgrades_fail_nothing() {
    let backends = backends();
    let proxy = Proxy::start(two_listeners(Config::balanced(&backends))).await;
    let traffic = Traffic::through(&proxy).await;
    let rounds = rounds(5);
    for _ in 0..rounds {
        traffic.goes_on().await;
        // It goes on in the old process, as long as that has to end it.
        let mut tunnel = Tunnel::through(proxy.address()).await;
        proxy.process().signal(rustix::process::Signal::USR2);
        let old = proxy.process().replaced().await;
        tunnel.echoes("still here").await;
        drop(tunnel);
        gone(old).await;
    }
    println!("{rounds} upgrades, {}", traffic.ends().await);
}
