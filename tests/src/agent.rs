//! An agent beside a backend: says a line to whoever connects.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use crate::within;

/// How long it waits for what it is told first.
const PATIENCE: Duration = Duration::from_secs(5);

/// An agent on a thread of its own, which ends with the test's process.
pub struct Agent {
    address: SocketAddr,
    line: Arc<Mutex<Vec<u8>>>,
    asked: watch::Receiver<usize>,
    told: Arc<Mutex<Vec<u8>>>,
}

impl Agent {
    /// Says this, byte for byte, and ends the connection.
    pub fn saying(line: impl Into<Vec<u8>>) -> Self {
        Self::hearing(0, line)
    }

    /// The same once it was told so many bytes.
    pub fn hearing(bytes: usize, line: impl Into<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (count, asked) = watch::channel(0);
        let agent = Self {
            address,
            line: Arc::new(Mutex::new(line.into())),
            asked,
            told: Arc::default(),
        };
        let (line, told) = (Arc::clone(&agent.line), Arc::clone(&agent.told));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut heard = vec![0; bytes];
                let _ = stream.set_read_timeout(Some(PATIENCE));
                if stream.read_exact(&mut heard).is_ok() {
                    *told.lock().expect("no holder panics") = heard;
                }
                let line = line.lock().expect("no holder panics").clone();
                // Whoever asked may be gone.
                let _ = stream.write_all(&line);
                count.send_modify(|count| *count += 1);
            }
        });
        agent
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// From now on says this.
    pub fn says(&self, line: impl Into<Vec<u8>>) {
        *self.line.lock().expect("no holder panics") = line.into();
    }

    /// What it was told last.
    pub fn told(&self) -> Vec<u8> {
        self.told.lock().expect("no holder panics").clone()
    }

    /// Waits until it was asked so many times more.
    pub async fn asked(&self, times: usize) {
        let mut asked = self.asked.clone();
        let goal = *asked.borrow() + times;
        let reached = asked.wait_for(|count| *count >= goal);
        within("the agent to be asked", reached)
            .await
            .expect("it runs until the end");
    }
}
