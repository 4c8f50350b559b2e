//! How often memory is allocated for a request on a kept connection, and how much a
//! connection that rests holds: counts, where measured times and sizes would hide a
//! little more or less. Alone in its program, because the allocator that counts is
//! everybody's; clients and backend allocate nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anubis::config;
use anubis::server::{Inheritance, Server, Source};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
/// Bytes that are allocated now.
static HELD: AtomicU64 = AtomicU64::new(0);
/// One test at a time.
static COUNTED: Mutex<()> = Mutex::new(());

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is passed on as it is to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        HELD.fetch_add(layout.size() as u64, Relaxed);
        // SAFETY: as our caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size() as u64, Relaxed);
        // SAFETY: as our caller promises; it is from `System`, as all are.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        HELD.fetch_add(size as u64, Relaxed);
        HELD.fetch_sub(layout.size() as u64, Relaxed);
        // SAFETY: as our caller promises; it is from `System`, as all are.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

const REQUEST: &[u8] =
    b"GET /path?query HTTP/1.1\r\nHost: example.org\r\nUser-Agent: test/1\r\nAccept: */*\r\n\r\n";
const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\nServer: test\r\nDate: Fri, 27 Nov 2026 20:00:00 GMT\r\n\
    Content-Type: text/plain\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\nok\n";

/// Answers every request of one connection after the other.
fn backend() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut piece = [0; 4096];
            let mut length = 0;
            while let Ok(read @ 1..) = stream.read(&mut piece[length..]) {
                length += read;
                if piece[..length].ends_with(b"\r\n\r\n") {
                    length = 0;
                    stream.write_all(RESPONSE).expect("the proxy reads");
                }
            }
        }
    });
    address
}

fn exchange(client: &mut TcpStream) {
    client.write_all(REQUEST).expect("the proxy reads");
    let mut piece = [0; 4096];
    let mut length = 0;
    while !piece[..length].ends_with(b"\r\n\r\nok\n") {
        let read = client
            .read(&mut piece[length..])
            .expect("the proxy answers");
        assert!(read > 0, "{}", String::from_utf8_lossy(&piece[..length]));
        length += read;
    }
}

fn start(strategy: &str) -> Server {
    let text = format!(
        "workers = 1\n[[listeners]]\naddress = '127.0.0.1:0'\n[pools.p]\n\
         strategy = '{strategy}'\nbackends = [{{ address = '{}' }}]\n",
        backend()
    );
    let settings = config::parse(&text, Path::new("test.toml")).expect("right");
    let server = Server::start(settings, Source::CommandLine, Inheritance::default());
    let server = server.map_err(|error| error.to_string());
    server.expect("it starts")
}

/// Allocations for each of many requests after the first few.
fn per_request(strategy: &str) -> f64 {
    const REQUESTS: u32 = 2_000;
    let server = start(strategy);
    let mut client = TcpStream::connect(server.addresses()[0]).expect("it listens");
    for _ in 0..200 {
        exchange(&mut client);
    }
    let before = ALLOCATIONS.load(Relaxed);
    for _ in 0..REQUESTS {
        exchange(&mut client);
    }
    let allocations = ALLOCATIONS.load(Relaxed) - before;
    allocations as f64 / f64::from(REQUESTS)
}

/// It holds the answer's body, which hyper moves about.
#[test]
fn a_request_costs_one_allocation_and_its_strategy_none() {
    let _alone = COUNTED.lock().unwrap_or_else(PoisonError::into_inner);
    let with_fallback = per_request("fallback");
    let with_component = per_request("least-time");
    println!("fallback {with_fallback:.2}, least-time {with_component:.2}");
    assert!(with_component <= 1.5, "{with_component} for each request");
    assert!(
        with_component - with_fallback < 0.5,
        "{with_component} with a component, {with_fallback} without"
    );
}

/// Whether or not it has had an answer: its socket, its alarm, and who it is.
#[test]
fn a_connection_that_rests_holds_little() {
    const CONNECTIONS: usize = 500;
    const EACH: u64 = 2 << 10;
    let _alone = COUNTED.lock().unwrap_or_else(PoisonError::into_inner);
    let server = start("least-time");
    let connect = || TcpStream::connect(server.addresses()[0]).expect("it listens");
    exchange(&mut connect());
    let before = HELD.load(Relaxed);
    let _silent: Vec<TcpStream> = (0..CONNECTIONS).map(|_| connect()).collect();
    let mut answered: Vec<TcpStream> = (0..CONNECTIONS).map(|_| connect()).collect();
    answered.iter_mut().for_each(exchange);
    let begun = Instant::now();
    loop {
        let held = HELD.load(Relaxed).saturating_sub(before) / (2 * CONNECTIONS as u64);
        if held <= EACH {
            assert!(held > EACH / 8, "{held} bytes each: are they there?");
            return;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "{held} bytes each"
        );
        thread::sleep(Duration::from_millis(50));
    }
}
