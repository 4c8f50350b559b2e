//! A scriptable name server, over UDP and TCP, on a thread of its own.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{oneshot, watch};

use crate::within;

/// What is known of a name.
#[derive(Clone, Debug)]
pub enum Reply {
    /// These records, with the TTL in seconds; other types have none.
    Records(Vec<Data>, u32),
    /// The name exists and has nothing.
    Empty,
    /// NXDOMAIN, as for every name that was never set.
    NoSuchName,
    /// SERVFAIL
    ServFail,
    /// No answer at all.
    Silence,
    /// Bytes that are no DNS message.
    Garbage,
    /// These records, but over UDP only that they do not fit.
    Truncated(Vec<Data>, u32),
}

/// One record.
#[derive(Clone, Debug)]
pub enum Data {
    /// A or AAAA
    Ip(IpAddr),
    /// Priority, weight, port, target.
    Srv(u16, u16, u16, String),
    /// What the name is an alias of.
    Alias(String),
    /// The address of another name than the one asked for.
    Foreign(String, IpAddr),
}

impl Reply {
    /// These addresses for `ttl` seconds.
    pub fn addresses(ips: &[&str], ttl: u32) -> Self {
        let data = |ip: &&str| Data::Ip(ip.parse().expect("an IP address"));
        Self::Records(ips.iter().map(data).collect(), ttl)
    }

    /// One SRV record for each `(priority, weight, port, target)`.
    pub fn services(records: &[(u16, u16, u16, &str)], ttl: u32) -> Self {
        let data = |&(priority, weight, port, target): &(u16, u16, u16, &str)| {
            Data::Srv(priority, weight, port, target.to_owned())
        };
        Self::Records(records.iter().map(data).collect(), ttl)
    }
}

#[derive(Default)]
struct Zone {
    names: Mutex<HashMap<String, Reply>>,
    queries: watch::Sender<Vec<(String, RecordType)>>,
}

/// A running name server; dropping it ends it.
pub struct NameServer {
    address: SocketAddr,
    zone: Arc<Zone>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl NameServer {
    /// Listens on a loopback port; knows no names.
    pub fn start() -> Self {
        let (tcp, udp) = sockets();
        let address = udp.local_addr().expect("it is bound");
        let zone = Arc::new(Zone::default());
        let (stop, stopped) = oneshot::channel();
        let theirs = Arc::clone(&zone);
        let thread = std::thread::Builder::new()
            .name("name server".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime can be made");
                runtime.block_on(async {
                    let udp = UdpSocket::from_std(udp).expect("it does not block");
                    let tcp = TcpListener::from_std(tcp).expect("it does not block");
                    tokio::select! {
                        () = serve_udp(udp, &theirs) => {}
                        () = serve_tcp(tcp, &theirs) => {}
                        _ = stopped => {}
                    }
                });
            })
            .expect("a thread can be made");
        Self {
            address,
            zone,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// `127.0.0.1:PORT`
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What is said of `name` from now on.
    pub fn set(&self, name: &str, reply: Reply) {
        self.names().insert(name.to_owned(), reply);
    }

    /// How often `name` was asked for, whatever the record type.
    pub fn asked(&self, name: &str) -> usize {
        let queries = self.zone.queries.borrow();
        queries.iter().filter(|(asked, _)| asked == name).count()
    }

    /// Everything that was asked for, in order.
    pub fn queries(&self) -> Vec<(String, RecordType)> {
        self.zone.queries.borrow().clone()
    }

    /// Waits until `name` was asked for so many more times.
    pub async fn asked_again(&self, name: &str, times: usize) {
        let wanted = self.asked(name) + times;
        let mut queries = self.zone.queries.subscribe();
        let enough = |queries: &Vec<(String, RecordType)>| {
            queries.iter().filter(|(asked, _)| asked == name).count() >= wanted
        };
        let asked = within("queries", queries.wait_for(enough)).await;
        drop(asked.expect("the sender lives in this server"));
    }

    fn names(&self) -> std::sync::MutexGuard<'_, HashMap<String, Reply>> {
        self.zone.names.lock().expect("no holder panics")
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // A panic there has already been printed.
            let _ = thread.join();
        }
    }
}

/// Both on one port.
fn sockets() -> (std::net::TcpListener, std::net::UdpSocket) {
    let pair = || -> std::io::Result<_> {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0")?;
        let udp = std::net::UdpSocket::bind(tcp.local_addr()?)?;
        tcp.set_nonblocking(true)?;
        udp.set_nonblocking(true)?;
        Ok((tcp, udp))
    };
    // Of one kind the number may be taken.
    let pair = (0..20).find_map(|_| pair().ok());
    pair.expect("loopback has free ports")
}

async fn serve_udp(socket: UdpSocket, zone: &Zone) {
    let mut buffer = [0; 4096];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        if let Some(answer) = answer(&buffer[..length], zone, true) {
            // Whoever asked may be gone.
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, zone: &Zone) {
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            // One after the other will do.
            let _ = serve_stream(stream, zone).await;
        }
    }
}

async fn serve_stream(mut stream: TcpStream, zone: &Zone) -> std::io::Result<()> {
    let length = usize::from(stream.read_u16().await?);
    let mut query = vec![0; length];
    stream.read_exact(&mut query).await?;
    if let Some(answer) = answer(&query, zone, false) {
        let length = u16::try_from(answer.len()).expect("answers are short");
        stream.write_all(&length.to_be_bytes()).await?;
        stream.write_all(&answer).await?;
    }
    Ok(())
}

fn answer(query: &[u8], zone: &Zone, over_udp: bool) -> Option<Vec<u8>> {
    let query = Message::from_vec(query).ok()?;
    let question = query.queries.first()?.clone();
    let name = question.name().to_ascii().to_lowercase();
    let name = name.trim_end_matches('.').to_owned();
    let reply = zone
        .names
        .lock()
        .expect("no holder panics")
        .get(&name)
        .cloned();
    let asked = (name, question.query_type());
    zone.queries.send_modify(|queries| queries.push(asked));
    let mut response = Message::response(query.metadata.id, query.metadata.op_code);
    response.metadata.recursion_desired = query.metadata.recursion_desired;
    response.metadata.recursion_available = true;
    response.add_query(question.clone());
    match reply.unwrap_or(Reply::NoSuchName) {
        Reply::Silence => return None,
        Reply::Garbage => return Some(b"\x00garbage".to_vec()),
        Reply::NoSuchName => response.metadata.response_code = ResponseCode::NXDomain,
        Reply::ServFail => response.metadata.response_code = ResponseCode::ServFail,
        Reply::Empty => {}
        Reply::Truncated(..) if over_udp => response.metadata.truncation = true,
        Reply::Records(data, ttl) | Reply::Truncated(data, ttl) => {
            let record = |data: Data| match data {
                Data::Foreign(owner, ip) => {
                    Record::from_rdata(whole(&owner), ttl, rdata(Data::Ip(ip)))
                }
                data => Record::from_rdata(question.name().clone(), ttl, rdata(data)),
            };
            let records = data.into_iter().map(record).filter(|record| {
                let kind = record.record_type();
                kind == question.query_type() || kind == RecordType::CNAME
            });
            response.add_answers(records);
        }
    }
    Some(response.to_vec().expect("a small message"))
}

fn whole(text: &str) -> Name {
    let mut name = Name::from_ascii(text).expect("a name");
    name.set_fqdn(true);
    name
}

fn rdata(data: Data) -> RData {
    match data {
        Data::Ip(IpAddr::V4(ip)) | Data::Foreign(_, IpAddr::V4(ip)) => RData::A(A(ip)),
        Data::Ip(IpAddr::V6(ip)) | Data::Foreign(_, IpAddr::V6(ip)) => RData::AAAA(AAAA(ip)),
        Data::Srv(priority, weight, port, target) => {
            RData::SRV(SRV::new(priority, weight, port, whole(&target)))
        }
        Data::Alias(target) => RData::CNAME(CNAME(whole(&target))),
    }
}
