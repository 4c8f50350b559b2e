//! A connection's protocol state, driven by whoever waits for it.
//!
//! hyper's client connection is two halves that talk over channels: a handle that
//! sends a request and gets the response, and a future that moves the bytes. As two
//! tasks they wake each other several times a request. Here both are polled in the
//! task of the request, and what one half does to wake the other is only noted: the
//! other is polled next anyway.

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// The future that moves one connection's bytes; done when the connection is.
type Motion = Pin<Box<dyn Future<Output = hyper::Result<()>>>>;

/// Whoever drives a connection: the request that uses it, or a task of its own.
pub struct Driver {
    /// `None`: it has ended, or has a task of its own.
    motion: Option<Motion>,
    relay: Arc<Relay>,
    /// The relay's, made once.
    waker: Waker,
}

impl Driver {
    /// Drives `motion` whenever it is polled.
    pub fn new(motion: impl Future<Output = hyper::Result<()>> + 'static) -> Self {
        let relay = Arc::new(Relay::default());
        Self {
            motion: Some(Box::pin(motion)),
            waker: Waker::from(Arc::clone(&relay)),
            relay,
        }
    }

    /// Polls `other`, the half that waits for the connection, and moves bytes for as
    /// long as that gets it further. The task is woken when either can go on.
    #[inline]
    pub fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut other: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.relay.wakes(cx.waker());
        let mut relayed = Context::from_waker(&self.waker);
        loop {
            self.relay.hold();
            let mut result = other(&mut relayed);
            if result.is_pending() && advance(&mut self.motion, &mut relayed) {
                result = other(&mut relayed);
            }
            let again = self.relay.release();
            if result.is_ready() || !again {
                return result;
            }
        }
    }

    /// Ends when `work`, which waits for the connection, does.
    pub async fn drive<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        std::future::poll_fn(|cx| self.poll(cx, |cx| work.as_mut().poll(cx))).await
    }

    /// Lets an idle connection notice what has come meanwhile, such as its end.
    /// Nobody is woken for it.
    pub fn notice(&mut self) {
        let mut nobody = Context::from_waker(Waker::noop());
        let _ = self.poll(&mut nobody, |_| Poll::<()>::Pending);
    }

    /// Gives the connection a task of its own: for one that must get on while its
    /// request waits for something else.
    pub fn detach(&mut self) {
        if let Some(motion) = self.motion.take() {
            tokio::task::spawn_local(async move {
                // Whoever sent a request hears of the error; an idle connection has nobody to tell.
                let _ = motion.await;
            });
        }
    }
}

/// Moves bytes; false when there is nobody here to do it. Who has ended is dropped,
/// so that the other half hears of it.
fn advance(motion: &mut Option<Motion>, cx: &mut Context<'_>) -> bool {
    let Some(moving) = motion else {
        return false;
    };
    if moving.as_mut().poll(cx).is_ready() {
        *motion = None;
    }
    true
}

/// Passes wake-ups on to the task that drives, unless it is at it.
#[derive(Default)]
struct Relay {
    /// The task is at it: being woken means going round once more.
    held: AtomicBool,
    woken: AtomicBool,
    task: Mutex<Option<Waker>>,
}

// Everything happens on one thread; atomics and the mutex are there because a waker may
// be sent to another. So they need no order, and nobody ever waits for the lock.
impl Relay {
    fn wakes(&self, task: &Waker) {
        let mut known = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *known {
            Some(known) => known.clone_from(task),
            None => *known = Some(task.clone()),
        }
    }

    fn hold(&self) {
        self.woken.store(false, Relaxed);
        self.held.store(true, Relaxed);
    }

    /// Whether somebody was woken meanwhile.
    fn release(&self) -> bool {
        self.held.store(false, Relaxed);
        self.woken.load(Relaxed)
    }
}

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.held.load(Relaxed) {
            self.woken.store(true, Relaxed);
            return;
        }
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = &*task {
            task.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;
    use std::sync::atomic::AtomicUsize;

    /// Counts how often a task would have been scheduled.
    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    /// Two halves that pass a number to and fro, each waking the other, until it is
    /// `last`: as a request and its connection do.
    #[derive(Default)]
    struct Halves {
        number: usize,
        motion: Option<Waker>,
        other: Option<Waker>,
    }

    fn motion(halves: &Rc<RefCell<Halves>>) -> impl Future<Output = hyper::Result<()>> + use<> {
        let halves = Rc::clone(halves);
        std::future::poll_fn(move |cx| {
            let mut halves = halves.borrow_mut();
            halves.motion = Some(cx.waker().clone());
            if !halves.number.is_multiple_of(2) {
                halves.number += 1;
                halves.other.take().inspect(Waker::wake_by_ref);
            }
            Poll::Pending
        })
    }

    fn other(halves: &RefCell<Halves>, last: usize, cx: &mut Context<'_>) -> Poll<usize> {
        let mut halves = halves.borrow_mut();
        if halves.number >= last {
            return Poll::Ready(halves.number);
        }
        halves.other = Some(cx.waker().clone());
        if halves.number.is_multiple_of(2) {
            halves.number += 1;
            halves.motion.take().inspect(Waker::wake_by_ref);
        }
        Poll::Pending
    }

    #[test]
    fn both_halves_get_on_in_one_poll_and_the_task_is_not_woken_for_it() {
        let halves = Rc::new(RefCell::new(Halves::default()));
        let mut driver = Driver::new(motion(&halves));
        let task = Arc::new(Task::default());
        let waker = Waker::from(Arc::clone(&task));
        let mut cx = Context::from_waker(&waker);
        let result = driver.poll(&mut cx, |cx| other(&halves, 100, cx));
        assert_eq!(result, Poll::Ready(100));
        assert_eq!(task.0.load(Relaxed), 0);
    }

    #[test]
    fn whoever_polled_last_is_woken_by_what_happens_later() {
        let halves = Rc::new(RefCell::new(Halves::default()));
        let mut driver = Driver::new(motion(&halves));
        let [first, second] = [(); 2].map(|()| Arc::new(Task::default()));
        for task in [&first, &second] {
            let waker = Waker::from(Arc::clone(task));
            let mut cx = Context::from_waker(&waker);
            assert!(driver.poll(&mut cx, |_| Poll::<()>::Pending).is_pending());
        }
        halves.borrow().motion.as_ref().unwrap().wake_by_ref();
        assert_eq!([&first, &second].map(|task| task.0.load(Relaxed)), [0, 1]);
        driver.notice();
        halves.borrow().motion.as_ref().unwrap().wake_by_ref();
        assert_eq!(second.0.load(Relaxed), 1, "nobody waits for an idle one");
    }

    #[test]
    fn a_connection_that_has_ended_is_dropped_and_the_other_half_hears_of_it() {
        let alive = Rc::new(());
        let seen = Rc::clone(&alive);
        let mut driver = Driver::new(async move {
            drop(alive);
            Ok(())
        });
        let mut cx = Context::from_waker(Waker::noop());
        let heard = driver.poll(&mut cx, |_| match Rc::strong_count(&seen) {
            1 => Poll::Ready(()),
            _ => Poll::Pending,
        });
        assert!(heard.is_ready());
        driver.notice();
    }

    #[tokio::test]
    async fn a_detached_one_gets_on_by_itself() {
        let local = tokio::task::LocalSet::new();
        let (tell, told) = tokio::sync::oneshot::channel();
        let mut driver = Driver::new(async move {
            let _ = tell.send(());
            Ok(())
        });
        local
            .run_until(async {
                driver.detach();
                driver.drive(told).await.unwrap();
            })
            .await;
    }
}
