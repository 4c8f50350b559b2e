//! What is done for instances that do not serve, away from the threads that use
//! them: starting those that will, and freeing stores and compiled code. Both
//! take a while, and a worker has requests to serve.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Sender, channel};
use std::thread;

type Errand = Box<dyn FnOnce() + Send>;

/// A thread that does what it is given, in order; ends with the last clone.
#[derive(Clone)]
pub(super) struct Backstage(Sender<Errand>);

impl Backstage {
    pub(super) fn start() -> io::Result<Self> {
        let (sender, receiver) = channel::<Errand>();
        thread::Builder::new()
            .name("anubis-backstage".into())
            .spawn(move || {
                for errand in receiver {
                    // Whoever waits for it sees that nothing came.
                    let _ = catch_unwind(AssertUnwindSafe(errand));
                }
            })?;
        Ok(Self(sender))
    }

    /// Drops `garbage` there.
    pub(super) fn dispose(&self, garbage: impl Send + 'static) {
        self.run(move || drop(garbage));
    }

    /// Runs `errand` there; without its thread (the process is ending) it is
    /// dropped here.
    pub(super) fn run(&self, errand: impl FnOnce() + Send + 'static) {
        drop(self.0.send(Box::new(errand)));
    }
}
