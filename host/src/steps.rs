//! Single steps of the request path, each by itself: what `benches/steps.rs` measures.
//! Not part of the program.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use crate::config;
use crate::connection::framing::{Framing, Limits};
use crate::pool::{Pool, Sample};
use crate::proxy::Forwarding;
use crate::proxy::headers::{self, Found};
use crate::telemetry::metrics::BackendCounts;
use crate::timer::Alarm;
use crate::transport::{self, Connection, HeadReader, RequestHead, Reuse, Upstream};

const REQUEST: &[u8] = b"GET /path?query HTTP/1.1\r\nHost: example.org\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: text/html,application/xhtml+xml\r\nAccept-Encoding: gzip, deflate, br\r\n\
    Cookie: session=0123456789abcdef\r\nConnection: keep-alive\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\n\
    Date: Fri, 27 Nov 2026 20:00:00 GMT\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\
    Connection: keep-alive\r\n\r\nok\n";
/// What the proxy adds to a request of a client.
const ADDED: &[u8] = b"x-forwarded-for: 127.0.0.1\r\nx-forwarded-proto: http\r\n\
    x-forwarded-host: example.org\r\nforwarded: for=127.0.0.1;host=example.org;proto=http\r\n\
    via: 1.1 anubis\r\n";
const POOLS: [usize; 4] = [3, 10, 100, 1_000];

/// One step, ready to be taken as often as wanted.
pub struct Step {
    pub name: String,
    take: Box<dyn FnMut()>,
}

impl Step {
    fn new(name: impl Into<String>, take: impl FnMut() + 'static) -> Step {
        Step {
            name: name.into(),
            take: Box::new(take),
        }
    }

    /// Takes it once.
    pub fn take(&mut self) {
        (self.take)();
    }
}

/// All of them.
///
/// # Errors
/// Where no loopback connection can be made.
pub fn all() -> Result<Vec<Step>> {
    let mut steps = vec![
        Step::new("clock, read", || {
            black_box(Instant::now());
        }),
        alarm(),
        checked(),
        cloned(),
        forwarded(),
        passed_on(),
        written(),
        read(),
        checkout().context("a connection on loopback")?,
    ];
    steps.extend(POOLS.map(snapshot));
    Ok(steps)
}

fn alarm() -> Step {
    let (alarm, now) = (Alarm::new(), Instant::now());
    Step::new("alarm, set and turned off", move || {
        alarm.set_at(black_box(now), Duration::from_secs(60));
        alarm.off();
    })
}

fn checked() -> Step {
    let mut framing = Framing::new(Limits {
        line: 8 << 10,
        head: 64 << 10,
        body: u64::MAX,
    });
    Step::new("request's bytes, checked", move || {
        let passed = framing.feed(black_box(REQUEST));
        assert_eq!(passed, Ok(REQUEST.len()));
        framing.go_on();
    })
}

fn cloned() -> Step {
    let map = fields(REQUEST);
    Step::new("request's headers, cloned", move || {
        black_box(map.clone());
    })
}

fn forwarded() -> Step {
    let map = fields(REQUEST);
    let forwarding = Forwarding::new(IpAddr::V4(Ipv4Addr::LOCALHOST), false);
    Step::new("request's headers, cloned and forwarded", move || {
        let mut map = map.clone();
        let found = Found::among(&map);
        headers::strip_hop_by_hop(&mut map);
        headers::strip_claims(&mut map, false);
        black_box(forwarding.apply(&mut map, &found));
        black_box(map);
    })
}

fn passed_on() -> Step {
    let map = fields(ANSWER);
    Step::new("answer's headers, cloned and passed on", move || {
        let mut map = map.clone();
        headers::strip_hop_by_hop(&mut map);
        headers::add_via(&mut map);
        black_box(map);
    })
}

fn written() -> Step {
    let (map, target) = (fields(REQUEST), Uri::from_static("/path?query"));
    let mut out = Vec::new();
    Step::new("request's head, written", move || {
        out.clear();
        let head = RequestHead {
            method: &Method::GET,
            target: &target,
            headers: &map,
            host: None,
            added: ADDED,
        };
        head.write(&mut out, false);
        black_box(&out);
    })
}

fn read() -> Step {
    let mut buffer = BytesMut::new();
    Step::new("answer's head, read", move || {
        buffer.clear();
        buffer.extend_from_slice(black_box(ANSWER));
        let head = HeadReader::default().take(&mut buffer, &Method::GET);
        black_box(head).ok();
    })
}

/// A kept connection is taken and given back.
fn checkout() -> Result<Step> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let stream = TcpStream::connect(listener.local_addr()?)?;
    stream.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let stream = {
        let _inside = runtime.enter();
        tokio::net::TcpStream::from_std(stream)?
    };
    let limits = transport::Limits {
        connect_timeout: Duration::from_secs(1),
        response_timeout: Duration::from_secs(1),
        keep_alive: Duration::from_secs(60),
        keep_alive_connections: 8,
    };
    let (upstream, alarm) = (Upstream::new("127.0.0.1:1".into()), Alarm::new());
    let counts = BackendCounts::default();
    upstream.keep(Connection::new(stream), 8, 0);
    Ok(Step::new(
        "kept connection, taken and given back",
        move || {
            // Neither ends before the last step.
            let _both = (&runtime, &listener);
            let taken = pin!(upstream.connection(&limits, &alarm, Reuse::Allowed, 0, &counts));
            let taken = taken.poll(&mut Context::from_waker(Waker::noop()));
            let Poll::Ready(Ok(connection)) = taken else {
                unreachable!("one is kept");
            };
            upstream.keep(connection, 8, 0);
        },
    ))
}

/// A pick's picture of the pool, after one backend has got another sample.
fn snapshot(backends: usize) -> Step {
    let list: String = (0..backends)
        .map(|n| format!("{{ address = '127.0.{}.{}:80' }},", n / 200, n % 200 + 1))
        .collect();
    let text = format!(
        "[[listeners]]\naddress = '127.0.0.1:0'\n[pools.p]\nstrategy = 'fallback'\n\
         backends = [{list}]\n"
    );
    let settings = config::parse(&text, Path::new("steps.toml")).expect("right");
    let pool = Pool::new(settings.pools[0].clone(), None);
    let mut snapshot = pool.snapshot(0);
    let (mut turn, mut now_us) = (0, 0);
    Step::new(format!("snapshot, {backends} backends"), move || {
        turn = (turn + 1) % backends;
        now_us += 20;
        let sample = Sample {
            latency_us: Some(1_000),
            failed: false,
        };
        pool.members.list[turn].cell.record(sample, now_us);
        snapshot.refresh(now_us, &[], now_us);
        black_box(snapshot.rows());
    })
}

fn fields(head: &[u8]) -> HeaderMap {
    let mut map = HeaderMap::new();
    let lines = head.split(|byte| *byte == b'\n').skip(1);
    for line in lines.filter_map(|line| line.strip_suffix(b"\r")) {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (Some(name), Some(value)) = (parts.next(), parts.next()) else {
            break;
        };
        let name = HeaderName::from_bytes(name).expect("a name");
        map.append(
            name,
            HeaderValue::from_bytes(value.trim_ascii()).expect("a value"),
        );
    }
    map
}
