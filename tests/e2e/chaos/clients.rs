//! Clients that know what every answer must be.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anubis_tests::{Client, within};
use tokio::sync::watch;
use tokio::task::JoinSet;

const CLIENTS: u64 = 12;
/// An answer that takes longer is none.
const SLOW: Duration = Duration::from_secs(15);

/// Clients at work.
pub struct Clients {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    shared: Arc<Shared>,
}

struct Shared {
    address: SocketAddr,
    begin: Instant,
    report: Mutex<Report>,
}

/// What they saw.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Answers by method and status; 0 = none.
    pub answers: BTreeMap<(&'static str, u16), usize>,
    /// POSTs that were sent, by id.
    pub changes_sent: Vec<String>,
    /// Those of them that were answered with 200.
    pub changes_done: Vec<String>,
    /// What must not be, in words.
    pub wrong: Vec<String>,
    /// What happened meanwhile.
    acts: Vec<String>,
}

impl Report {
    /// # Panics
    /// When anything was wrong.
    #[track_caller]
    pub fn assert_right(&self) {
        let acts = self.acts.join("\n");
        assert!(self.wrong.is_empty(), "{acts}\n{:#?}", self.wrong);
        assert!(!self.changes_done.is_empty(), "nothing was done");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("answers:")?;
        for ((method, status), count) in &self.answers {
            write!(f, " {method} {status}: {count},")?;
        }
        write!(f, " {} wrong", self.wrong.len())
    }
}

impl Clients {
    /// Begins to ask. What is asked is drawn from `seed`.
    pub fn start(address: SocketAddr, seed: u64) -> Clients {
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared {
            address,
            begin: Instant::now(),
            report: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        for number in 0..CLIENTS {
            let random = fastrand::Rng::with_seed(seed ^ (number + 1));
            let shared = Arc::clone(&shared);
            tasks.spawn(shared.work(number, random, stopped.clone()));
        }
        Clients {
            stop,
            tasks,
            shared,
        }
    }

    /// Notes what happens, for whoever has to find out why something went wrong.
    pub fn note(&self, act: String) {
        let at = self.shared.begin.elapsed();
        self.shared
            .tell(|report| report.acts.push(format!("{at:>9.3?} {act}")));
    }

    /// Lets everybody finish.
    pub async fn stop(mut self) -> Report {
        self.stop.send_replace(true);
        within("the clients to finish", async {
            while let Some(ended) = self.tasks.join_next().await {
                ended.expect("no client panics");
            }
        })
        .await;
        self.shared.report.lock().expect("no holder panics").clone()
    }
}

/// A request and what its answer has to be.
struct Work {
    method: &'static str,
    id: String,
    bytes: Vec<u8>,
    answer: Vec<u8>,
}

impl Work {
    fn new(client: u64, number: u64, random: &mut fastrand::Rng) -> Work {
        let method = ["GET", "GET", "GET", "PUT", "POST"][random.usize(..5)];
        let id = format!("{client}-{number}");
        let length = if method == "GET" {
            0
        } else {
            random.usize(1..20_000)
        };
        let body: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
        let mut bytes = format!("{method} /work/{id} HTTP/1.1\r\nHost: chaos\r\n");
        if method != "GET" {
            bytes += &format!("Content-Length: {length}\r\n");
        }
        let mut bytes = (bytes + "\r\n").into_bytes();
        bytes.extend_from_slice(&body);
        Work {
            method,
            answer: match method {
                "GET" => id.clone().into_bytes(),
                _ => body,
            },
            id,
            bytes,
        }
    }
}

impl Shared {
    async fn work(
        self: Arc<Self>,
        client: u64,
        mut random: fastrand::Rng,
        stopped: watch::Receiver<bool>,
    ) {
        let mut connection = None;
        for number in 0.. {
            if *stopped.borrow() {
                return;
            }
            let work = Work::new(client, number, &mut random);
            if work.method == "POST" {
                self.tell(|report| report.changes_sent.push(work.id.clone()));
            }
            let begin = self.begin.elapsed();
            let (status, body) = self.ask(&work, &mut connection).await;
            let end = self.begin.elapsed();
            let complaint = match status {
                200 if body != work.answer => Some("is not its answer"),
                200 => None,
                _ if work.method == "GET" => Some("had to be answered"),
                // The backend died over these: refused, or cut in the middle.
                0 | 502 | 503 | 504 => None,
                _ => Some("had to be answered, refused or cut"),
            };
            self.tell(|report| {
                *report.answers.entry((work.method, status)).or_default() += 1;
                if status == 200 && work.method == "POST" {
                    report.changes_done.push(work.id.clone());
                }
                if let Some(complaint) = complaint {
                    let Work { method, id, .. } = &work;
                    let text = String::from_utf8_lossy(&body[..body.len().min(80)]);
                    let line = format!(
                        "{method} {id}, {begin:.3?} to {end:.3?}: {status} {text:?} {complaint}"
                    );
                    report.wrong.push(line);
                }
            });
        }
    }

    /// The status and the body of the answer; 0 and why, if there is none.
    async fn ask(&self, work: &Work, connection: &mut Option<Client>) -> (u16, Vec<u8>) {
        let asked = tokio::time::timeout(SLOW, async {
            let client = match connection {
                Some(client) => client,
                None => connection.insert(Client::try_connect(self.address).await?),
            };
            client.try_send(&work.bytes).await?;
            client.try_response().await
        });
        match asked.await {
            Ok(Ok(response)) => {
                if response.head.all("connection").contains(&"close") {
                    *connection = None;
                }
                (response.status(), response.body)
            }
            Ok(Err(error)) => {
                *connection = None;
                (0, error.to_string().into_bytes())
            }
            Err(_) => {
                *connection = None;
                (0, format!("nothing within {SLOW:?}").into_bytes())
            }
        }
    }

    fn tell(&self, tell: impl FnOnce(&mut Report)) {
        tell(&mut self.report.lock().expect("no holder panics"));
    }
}
