//! Coarse timeouts for one worker: no timer is armed or cancelled per request.
//!
//! Every connection registers one [`Alarm`] for its whole life and moves its
//! deadline about by writing a number. One sweeper per worker sleeps until the
//! earliest deadline it knew of when it last looked, wakes whoever is due, and
//! looks again. Deadlines mostly move later, which costs nothing; one that
//! moves before the sweeper's next look wakes the sweeper.
//!
//! Time in which the whole worker stood still (SIGSTOP, a machine that slept) counts
//! for nobody: whoever was waited for may have been in time. [`beat`] tells it apart
//! from time in which nothing happened.
//!
//! Resolution is [`RESOLUTION`]: a timeout never fires early and at most that
//! much late on a worker that is not overloaded.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;
use slab::Slab;
use tokio::sync::Notify;

/// Deadlines this close together ring together.
pub const RESOLUTION: Duration = Duration::from_millis(5);

/// A worker beats every 100 ms. One that has not for so long stood still.
const STANDSTILL: Duration = Duration::from_secs(1);

thread_local! {
    static TIMERS: Rc<Timers> = Rc::default();
}

#[derive(Default)]
struct Timers {
    alarms: RefCell<Slab<Entry>>,
    /// When the sweeper looks next; `None` = when told to.
    next_look: std::cell::Cell<Option<Instant>>,
    earlier: Notify,
    /// When this thread was last known to turn; `None`: it does not say.
    turned: std::cell::Cell<Option<Instant>>,
    /// When it turned again after it had stood still.
    resumed: std::cell::Cell<Option<Instant>>,
}

struct Entry {
    deadline: Option<Instant>,
    waker: Option<Waker>,
}

/// One deadline, of the thread that made it. Off until set.
///
/// Holds a number rather than a pointer, so that it may sit in types which
/// must be `Send`; used on another thread it would mean nothing there.
pub struct Alarm {
    key: usize,
}

impl Alarm {
    /// An alarm that is off.
    pub fn new() -> Alarm {
        let key = with(|timers| {
            timers.alarms.borrow_mut().insert(Entry {
                deadline: None,
                waker: None,
            })
        });
        Alarm { key }
    }

    /// Rings `after` from now, unless it is set again or turned off before.
    pub fn set(&self, after: Duration) {
        self.set_at(Instant::now(), after);
    }

    /// [`Alarm::set`], `now` being the time: reading the clock costs as much as the rest.
    pub fn set_at(&self, now: Instant, after: Duration) {
        // Beyond any uptime: the same as off, and no overflow.
        let Some(deadline) = now.checked_add(after) else {
            return self.off();
        };
        with(|timers| {
            if let Some(entry) = timers.alarms.borrow_mut().get_mut(self.key) {
                entry.deadline = Some(deadline);
            }
            if timers.next_look.get().is_none_or(|look| deadline < look) {
                timers.next_look.set(Some(deadline));
                timers.earlier.notify_one();
            }
        });
    }

    /// Does not ring until it is set again.
    pub fn off(&self) {
        with(|timers| {
            if let Some(entry) = timers.alarms.borrow_mut().get_mut(self.key) {
                entry.deadline = None;
            }
        });
    }

    /// Whether the deadline has passed; if not, the task is woken when it does.
    pub fn poll_ring(&self, cx: &mut Context<'_>) -> Poll<()> {
        with(|timers| {
            let mut alarms = timers.alarms.borrow_mut();
            let Some(entry) = alarms.get_mut(self.key) else {
                return Poll::Pending;
            };
            // The sweeper leaves a due alarm without a waker: only then is the clock read.
            match &entry.waker {
                Some(waker) if waker.will_wake(cx.waker()) => Poll::Pending,
                _ if entry
                    .deadline
                    .is_some_and(|deadline| deadline <= Instant::now()) =>
                {
                    Poll::Ready(())
                }
                _ => {
                    entry.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
    }

    /// Ends when the deadline has passed.
    pub async fn rings(&self) {
        poll_fn(|cx| self.poll_ring(cx)).await;
    }

    /// What `work` gives, or `None` if that takes longer than `limit`.
    /// The alarm is off afterwards.
    pub fn within<F: Future>(&self, limit: Duration, work: F) -> Within<'_, F> {
        Within {
            alarm: Some(self),
            limit: Some((None, limit)),
            work,
        }
    }

    /// [`Alarm::within`] a limit that is counted from `now`, as in [`Alarm::set_at`].
    pub fn within_from<F: Future>(&self, now: Instant, limit: Duration, work: F) -> Within<'_, F> {
        Within {
            alarm: Some(self),
            limit: Some((Some(now), limit)),
            work,
        }
    }
}

pin_project! {
    /// Work that may take only so long. Not an `async fn`: that would have room for its
    /// work twice, for the argument and for where it stays, and so at every level.
    pub struct Within<'a, F> {
        // `None`: it may take any time.
        alarm: Option<&'a Alarm>,
        // Until it begins: from when on, if not from then.
        limit: Option<(Option<Instant>, Duration)>,
        #[pin]
        work: F,
    }
}

impl<F: Future> Within<'_, F> {
    /// Work that may take any time.
    pub fn forever(work: F) -> Self {
        Within {
            alarm: None,
            limit: None,
            work,
        }
    }
}

impl<F: Future> Future for Within<'_, F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some(alarm) = this.alarm else {
            return this.work.poll(cx).map(Some);
        };
        if let Some((now, limit)) = this.limit.take() {
            alarm.set_at(now.unwrap_or_else(Instant::now), limit);
        }
        let result = match this.work.poll(cx) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => {
                ready!(alarm.poll_ring(cx));
                None
            }
        };
        alarm.off();
        Poll::Ready(result)
    }
}

impl Default for Alarm {
    fn default() -> Alarm {
        Alarm::new()
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        with(|timers| timers.alarms.borrow_mut().try_remove(self.key));
    }
}

/// Wakes what is due on this thread, for as long as it is polled.
pub async fn sweep() {
    let timers = TIMERS.with(Rc::clone);
    loop {
        match timers.next_look.get() {
            None => timers.earlier.notified().await,
            Some(look) => {
                tokio::select! {
                    () = tokio::time::sleep_until((look + RESOLUTION).into()) => timers.look(),
                    () = timers.earlier.notified() => {}
                }
            }
        }
    }
}

/// Notes that this thread turns; to be called about ten times a second.
pub fn beat() {
    let now = Instant::now();
    with(|timers| {
        timers.make_up(now);
        timers.turned.set(Some(now));
    });
}

/// Wakes every task that waits for an alarm of this thread, due or not.
pub fn wake_all() {
    let wakers: Vec<Waker> = with(|timers| {
        timers
            .alarms
            .borrow_mut()
            .iter_mut()
            .filter_map(|(_, entry)| entry.waker.take())
            .collect()
    });
    wakers.into_iter().for_each(Waker::wake);
}

/// Until when this thread last stood still, if it ever has.
pub fn stood_still() -> Option<Instant> {
    with(|timers| {
        // Whoever asks may be earlier than the sweeper.
        timers.make_up(Instant::now());
        timers.resumed.get()
    })
}

impl Timers {
    /// Puts off what is not due yet by as long as this thread stood still.
    fn make_up(&self, now: Instant) {
        let Some(turned) = self.turned.get() else {
            return;
        };
        let stood = now.saturating_duration_since(turned);
        if stood <= STANDSTILL {
            return;
        }
        self.turned.set(Some(now));
        self.resumed.set(Some(now));
        for (_, entry) in self.alarms.borrow_mut().iter_mut() {
            let due = entry.deadline.filter(|deadline| *deadline > turned);
            if let Some(later) = due.and_then(|deadline| deadline.checked_add(stood)) {
                entry.deadline = Some(later);
            }
        }
    }

    fn look(&self) {
        let now = Instant::now();
        self.make_up(now);
        let mut due = Vec::new();
        let mut next: Option<Instant> = None;
        for (_, entry) in self.alarms.borrow_mut().iter_mut() {
            match entry.deadline {
                Some(deadline) if deadline <= now => due.extend(entry.waker.take()),
                Some(deadline) => next = Some(next.map_or(deadline, |at| at.min(deadline))),
                None => {}
            }
        }
        self.next_look.set(next);
        due.into_iter().for_each(Waker::wake);
    }
}

fn with<T>(run: impl FnOnce(&Timers) -> T) -> T {
    TIMERS.with(|timers| run(timers))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A worker's thread: current-thread runtime with the sweeper running.
    fn on_worker<T>(test: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            tokio::select! {
                value = test => value,
                () = sweep() => unreachable!("the sweeper does not end"),
            }
        })
    }

    #[test]
    fn rings_after_the_limit_and_not_before() {
        let started = Instant::now();
        let result =
            on_worker(Alarm::new().within(Duration::from_millis(30), std::future::pending::<()>()));
        assert!(result.is_none());
        assert!(started.elapsed() >= Duration::from_millis(30));
    }

    #[test]
    fn work_that_ends_in_time_gives_its_value_and_turns_the_alarm_off() {
        on_worker(async {
            let alarm = Alarm::new();
            assert_eq!(
                alarm.within(Duration::from_secs(60), async { 7 }).await,
                Some(7)
            );
            let other = Alarm::new();
            let rang = other.within(Duration::from_millis(20), alarm.rings()).await;
            assert!(rang.is_none(), "an alarm that is off rang");
        });
    }

    #[test]
    fn an_earlier_deadline_overtakes_a_later_one() {
        on_worker(async {
            let (late, early) = (Alarm::new(), Alarm::new());
            late.set(Duration::from_secs(3600));
            let started = Instant::now();
            early.set(Duration::from_millis(20));
            early.rings().await;
            assert!(started.elapsed() < Duration::from_secs(60));
        });
    }

    #[test]
    fn time_in_which_the_thread_stood_still_does_not_count() {
        on_worker(async {
            let waiting = Alarm::new();
            beat();
            waiting.set(Duration::from_millis(700));
            let started = Instant::now();
            let standing = async {
                std::thread::sleep(STANDSTILL + Duration::from_millis(500));
                // The sweeper has its turn.
                tokio::time::sleep(Duration::from_millis(100)).await;
            };
            tokio::select! {
                // Waits before the thread stands still, as tasks do.
                biased;
                () = waiting.rings() => panic!("it counted"),
                () = standing => {}
            }
            waiting.rings().await;
            let rang = started.elapsed();
            assert!(rang >= STANDSTILL + Duration::from_millis(1200), "{rang:?}");
        });
    }

    #[test]
    fn without_a_beat_nobody_knows_of_a_standstill() {
        on_worker(async {
            let alarm = Alarm::new();
            let started = Instant::now();
            alarm.set(Duration::from_millis(50));
            std::thread::sleep(STANDSTILL + Duration::from_millis(100));
            alarm.rings().await;
            assert!(started.elapsed() < 2 * STANDSTILL);
        });
    }

    #[test]
    fn a_deadline_that_moved_later_rings_later() {
        on_worker(async {
            let alarm = Alarm::new();
            let started = Instant::now();
            alarm.set(Duration::from_millis(10));
            alarm.set(Duration::from_millis(60));
            alarm.rings().await;
            assert!(started.elapsed() >= Duration::from_millis(60));
        });
    }
}
