//! Load that runs until it is stopped, checks every response, and counts.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::client::{Client, Response};
use crate::within;

/// A response that takes longer is a failure.
const SLOW: Duration = Duration::from_secs(10);

/// What the load saw.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Answered with 200.
    pub answered: usize,
    /// Answers by body, which is the backend's name.
    pub by_backend: BTreeMap<String, usize>,
    /// Everything that was not a whole 200, in words; the first hundred.
    pub failures: Vec<String>,
    /// How many there were.
    pub failed: usize,
    /// The longest that a response took.
    pub slowest: Duration,
    /// What each answered one took, in the order of their ends.
    pub took: Vec<Duration>,
}

impl Report {
    /// How many answers this backend gave.
    pub fn of(&self, backend: &str) -> usize {
        self.by_backend.get(backend).copied().unwrap_or(0)
    }

    /// This backend's share of the answers, 0 to 1.
    pub fn share(&self, backend: &str) -> f64 {
        self.of(backend) as f64 / self.answered.max(1) as f64
    }

    /// So many of a hundred were answered within this time.
    pub fn percentile(&self, percent: f64) -> Duration {
        let mut took = self.took.clone();
        took.sort_unstable();
        let rank = (took.len() as f64 * percent / 100.0).ceil() as usize;
        took.get(rank.saturating_sub(1))
            .copied()
            .unwrap_or_default()
    }

    /// # Panics
    /// Unless every request was answered with a whole 200.
    #[track_caller]
    pub fn assert_none_failed(&self) {
        assert_eq!(
            self.failed,
            0,
            "of {} requests: {:#?}",
            self.answered + self.failed,
            self.failures
        );
        assert!(self.answered > 0, "there was no load");
    }

    fn count(&mut self, result: Result<Response, String>, took: Duration) {
        self.slowest = self.slowest.max(took);
        match result {
            Ok(response) if response.status() == 200 => {
                self.answered += 1;
                self.took.push(took);
                *self.by_backend.entry(response.text()).or_default() += 1;
            }
            Ok(response) => self.fail(format!("{}{}", response.head, response.text())),
            Err(error) => self.fail(error),
        }
    }

    fn fail(&mut self, failure: String) {
        self.failed += 1;
        if self.failures.len() < 100 {
            self.failures.push(failure);
        }
    }
}

/// Running load, on a thread of its own.
pub struct Load {
    stop: watch::Sender<bool>,
    done: watch::Receiver<usize>,
    report: Arc<Mutex<Report>>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Starts `connections` keep-alive connections, each with one request after
    /// the other. A connection that the proxy closes unannounced is a failure.
    pub fn start(address: SocketAddr, connections: usize) -> Self {
        Self::at(address, "/load", connections)
    }

    /// The same for this path.
    pub fn at(address: SocketAddr, path: &str, connections: usize) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (count, done) = watch::channel(0);
        let report = Arc::<Mutex<Report>>::default();
        let work = Work {
            address,
            request: format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").into(),
            stopped,
            count: Arc::new(count),
            report: report.clone(),
        };
        let thread = std::thread::spawn(move || run(work, connections));
        Self {
            stop,
            done,
            report,
            thread: Some(thread),
        }
    }

    /// So many requests over so many connections, and what came of them.
    pub async fn of(requests: usize, address: SocketAddr, connections: usize) -> Report {
        let load = Self::start(address, connections);
        load.more(requests).await;
        load.stop().await
    }

    /// Waits for so many further requests to be over.
    pub async fn more(&self, requests: usize) {
        let mut done = self.done.clone();
        let goal = *done.borrow() + requests;
        within(
            &format!("{requests} more requests"),
            done.wait_for(|count| *count >= goal),
        )
        .await
        .expect("load runs until it is stopped");
    }

    /// What came of the requests since the last report, or since the start.
    pub fn report(&self) -> Report {
        std::mem::take(&mut *self.report.lock().expect("no holder panics"))
    }

    /// Lets every request under way finish and ends.
    pub async fn stop(self) -> Report {
        self.stop.send_replace(true);
        let mut done = self.done.clone();
        // The counter goes when its last connection ends.
        let _ = within("the load to end", async {
            while done.changed().await.is_ok() {}
        })
        .await;
        self.report()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // A panic there has already been printed.
            let _ = thread.join();
        }
    }
}

#[derive(Clone)]
struct Work {
    address: SocketAddr,
    request: Arc<str>,
    stopped: watch::Receiver<bool>,
    count: Arc<watch::Sender<usize>>,
    report: Arc<Mutex<Report>>,
}

fn run(work: Work, connections: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime
        .expect("a runtime can be made")
        .block_on(async move {
            let mut tasks = JoinSet::new();
            for _ in 0..connections {
                tasks.spawn(work.clone().connection());
            }
            drop(work);
            while tasks.join_next().await.is_some() {}
        });
}

impl Work {
    async fn connection(self) {
        let mut client = None;
        while !*self.stopped.borrow() {
            let start = tokio::time::Instant::now();
            let result = match timeout(SLOW, self.request(&mut client)).await {
                Ok(result) => result.map_err(|error| error.to_string()),
                Err(_) => Err("no response within 10 s".to_owned()),
            };
            if result.as_ref().map_or(true, |response| {
                response.head.all("connection").contains(&"close")
            }) {
                client = None;
            }
            self.report
                .lock()
                .expect("no holder panics")
                .count(result, start.elapsed());
            self.count.send_modify(|count| *count += 1);
        }
    }

    async fn request(&self, kept: &mut Option<Client>) -> io::Result<Response> {
        let client = match kept {
            Some(client) => client,
            None => kept.insert(Client::try_connect(self.address).await?),
        };
        client.writer.write_all(self.request.as_bytes()).await?;
        client.try_response().await
    }
}
