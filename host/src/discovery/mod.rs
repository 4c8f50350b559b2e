//! Backends by name: every address of a name is a backend, and stays one for as
//! long as the name servers say so.
//!
//! A thread of its own asks (`rounds.rs`, `ask.rs`) and puts up what it is told
//! (`board.rs`); what a failure leaves in force is decided in `course.rs`. The
//! control thread makes settings without names out of that (`expand.rs`), so
//! nothing behind it knows that there are names. Workers never ask.

mod ask;
mod board;
mod course;
mod expand;
mod failure;
mod question;
mod rounds;
mod share;
mod system;

pub use board::{Board, Tally};
pub use expand::expand;
pub use question::{Answers, Question};

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::config::{DnsSettings, Settings};
use question::{Wanted, wanted};
use rounds::Rounds;

/// Longest wait for names that were never asked for.
const PATIENCE: Duration = Duration::from_secs(3);

/// What is asked, and by whom.
pub struct Discovery {
    board: Arc<Board>,
    on_change: Option<Box<dyn Fn() + Send>>,
    /// To the thread, once there was something to ask.
    orders: Option<mpsc::UnboundedSender<Order>>,
    /// The last order, to give none twice.
    last: Order,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Order {
    wanted: Wanted,
    settings: DnsSettings,
}

impl Discovery {
    /// Asks nothing yet. What it will be told goes to `board`; `on_change` is
    /// called from its thread whenever somebody should look there.
    pub fn new(board: Arc<Board>, on_change: impl Fn() + Send + 'static) -> Discovery {
        Discovery {
            board,
            on_change: Some(Box::new(on_change)),
            orders: None,
            last: Order::default(),
        }
    }

    /// From here on asks for the names in `settings`, and for no others.
    pub fn follow(&mut self, settings: &Settings) {
        self.order(Order {
            wanted: wanted(settings),
            settings: settings.dns.clone(),
        });
    }

    /// Asks for the names in `settings` besides: they may become the ones in
    /// force. To be followed by [`Discovery::follow`].
    pub fn consider(&mut self, settings: &Settings) {
        let mut wanted = wanted(settings);
        for (question, asked_for) in &self.last.wanted {
            let known = || asked_for.clone();
            wanted.entry(question.clone()).or_insert_with(known);
        }
        self.order(Order {
            wanted,
            settings: settings.dns.clone(),
        });
    }

    fn order(&mut self, order: Order) {
        if order == self.last {
            return;
        }
        self.last = order.clone();
        if self.orders.is_none() {
            if order.wanted.is_empty() {
                return;
            }
            match self.start() {
                Ok(orders) => self.orders = Some(orders),
                Err(error) => {
                    tracing::error!(%error, "no thread for names, the system resolves them");
                    return;
                }
            }
        }
        if let Some(orders) = &self.orders {
            // Without the thread nothing is asked, and what is known stays.
            let _ = orders.send(order);
        }
    }

    /// Waits until everything that is followed has been asked for once, but not
    /// longer than that should take, nor longer than three seconds.
    pub fn wait(&self) {
        if self.orders.is_none() {
            return;
        }
        let Order { wanted, settings } = &self.last;
        let attempts = u32::try_from(settings.attempts.get()).unwrap_or(u32::MAX);
        let patience = settings.timeout.saturating_mul(attempts);
        // Beyond the last attempt's end, so that its result is seen.
        let patience = patience + settings.timeout / 4;
        self.board.wait(wanted.keys(), patience.min(PATIENCE));
    }

    /// The last good answers.
    pub fn answers(&self) -> Answers {
        self.board.read()
    }

    fn start(&mut self) -> io::Result<mpsc::UnboundedSender<Order>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (orders, mut received) = mpsc::unbounded_channel::<Order>();
        let board = Arc::clone(&self.board);
        let on_change = self.on_change.take();
        let on_change = move || on_change.iter().for_each(|tell| tell());
        std::thread::Builder::new()
            .name("names".to_owned())
            .spawn(move || {
                let mut rounds = Rounds::new(board, on_change);
                LocalSet::new().block_on(&runtime, async {
                    while let Some(order) = received.recv().await {
                        rounds.follow(order.wanted, order.settings);
                    }
                });
            })?;
        Ok(orders)
    }
}
