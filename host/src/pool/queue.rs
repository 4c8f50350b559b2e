//! The queue of a pool: requests that no backend has room for, in the order in
//! which they came, over all workers.
//!
//! Room is not handed over. Who frees some tells the first in line of it, who
//! looks for itself; so what one cannot use (the strategy wants it to wait, it
//! has tried that backend) another is told of. And nobody sleeps beside free
//! room:
//!
//! - Who waits takes its place, then looks once more, then sleeps. Who frees
//!   room frees it, then looks whether anybody waits. One of the two sees the
//!   other.
//! - A word that comes to somebody who is just looking makes it look again.
//! - Whoever leaves with a word that it did not use up, because its client has
//!   left or its time is over, passes it on.
//! - Where there may be room for more than one, who has found some tells the
//!   next to look.
//! - What nobody tells, such as a strategy that changes its mind, is found by
//!   asking everybody ten times a second ([`Queue::keep_house`]).
//!
//! There is a lock, which only those take who wait or who free room while
//! somebody does.

mod line;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::sync::atomic::{
    AtomicU64, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
    fence,
};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

pub use line::Held;

use line::{Line, Word};

/// Room that is not for the one that was told of it is offered to so many more
/// whose wishes are as special. Without an end, one attempt that ends would have
/// the strategy asked for everybody that it holds.
const OFFERS: u32 = 8;

/// Everybody is asked about this often: whichever worker keeps house first does
/// it for all. A little below the 100 ms of their housekeeping, so that one
/// worker alone does it every time.
const SWEEP_EVERY_US: u64 = 80_000;

/// Who waits for a backend of one pool.
#[derive(Default)]
#[repr(align(128))]
pub struct Queue {
    /// How many are in line; read when room is freed.
    waiting: AtomicUsize,
    /// How many of them no newcomer may overtake; read by every newcomer.
    ahead: AtomicUsize,
    swept_at_us: AtomicU64,
    line: Mutex<Line>,
}

impl Queue {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// Nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Somebody waits whom a newcomer must not overtake: it has to [`Queue::join`].
    /// Those that only their own wishes hold are in nobody's way.
    #[inline]
    pub fn has_precedence(&self) -> bool {
        self.ahead.load(Relaxed) != 0
    }

    /// A place at the end; `None` if there are `size` already. See to it that
    /// [`Place::turn`] is awaited and what it allows is tried.
    pub fn join(self: &Arc<Self>, size: usize) -> Option<Place> {
        let ticket = self.change(|line| (line.join(size), None))?;
        // What is looked at from now on is at least as new as what somebody saw
        // who did not see this place.
        fence(SeqCst);
        Some(Place {
            queue: Arc::clone(self),
            ticket,
            has_room: false,
        })
    }

    /// There is room for one more. The room must have been freed by an operation
    /// with `SeqCst` order.
    #[inline]
    pub fn freed(&self) {
        if self.waiting.load(SeqCst) != 0 {
            self.tell(Word {
                offers: OFFERS,
                firm: true,
                more: false,
            });
        }
    }

    /// Anything may have changed: everybody is asked, one after the other.
    pub fn changed(&self) {
        fence(SeqCst);
        if self.waiting.load(SeqCst) != 0 {
            self.tell(Word {
                offers: u32::MAX,
                firm: false,
                more: true,
            });
        }
    }

    /// Asks everybody, if nobody has done so lately. To be called ten times a
    /// second, by however many.
    pub fn keep_house(&self, now_us: u64) {
        if self.is_empty() {
            return;
        }
        let swept_at_us = self.swept_at_us.load(Relaxed);
        let due = now_us.saturating_sub(swept_at_us) >= SWEEP_EVERY_US;
        let first = || {
            self.swept_at_us
                .compare_exchange(swept_at_us, now_us, Relaxed, Relaxed)
                .is_ok()
        };
        if due && first() {
            self.changed();
        }
    }

    fn tell(&self, word: Word) {
        self.change(|line| ((), line.tell(word)));
    }

    /// Changes the line, and wakes whoever was told of room by it.
    fn change<T>(&self, change: impl FnOnce(&mut Line) -> (T, Option<Waker>)) -> T {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let (result, told) = change(&mut line);
        self.waiting.store(line.len(), SeqCst);
        self.ahead.store(line.ahead(), SeqCst);
        drop(line);
        if let Some(waker) = told {
            waker.wake();
        }
        result
    }
}

/// A place in line, given up when it is dropped: whatever it was told of and has
/// not used is for others then.
pub struct Place {
    queue: Arc<Queue>,
    ticket: u64,
    /// It found what it waited for.
    has_room: bool,
}

impl Place {
    /// Ends when it is this one's turn to look for room, which must follow.
    pub async fn turn(&mut self) {
        poll_fn(|cx| self.poll_turn(cx)).await;
    }

    /// [`Place::turn`], polled.
    pub fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let waker = cx.waker();
        let is_turn = |line: &mut Line| (line.is_turn(self.ticket, waker), None);
        match self.queue.change(is_turn) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// It looked, and there was nothing that it may have: the place is kept.
    pub fn stay(&mut self, held: Held) {
        let stay = |line: &mut Line| ((), line.stay(self.ticket, held));
        self.queue.change(stay);
    }

    /// It looked, and took the room that there was.
    pub fn enter(mut self) {
        self.has_room = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let leave = |line: &mut Line| ((), line.leave(self.ticket, self.has_room));
        self.queue.change(leave);
    }
}
