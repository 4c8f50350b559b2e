//! Frees stores and compiled code away from the threads that used them:
//! unmapping memory takes a while, and a worker has requests to serve.

use std::io;
use std::sync::mpsc::{Sender, channel};
use std::thread;

/// A thread that drops what it is given; ends with the last clone.
#[derive(Clone)]
pub(super) struct Disposal(Sender<Box<dyn Send>>);

impl Disposal {
    pub(super) fn start() -> io::Result<Self> {
        let (sender, receiver) = channel::<Box<dyn Send>>();
        thread::Builder::new()
            .name("anubis-disposal".into())
            .spawn(move || {
                for garbage in receiver {
                    drop(garbage);
                }
            })?;
        Ok(Self(sender))
    }

    pub(super) fn dispose(&self, garbage: impl Send + 'static) {
        // Without its thread (the process is ending) it is dropped here.
        drop(self.0.send(Box::new(garbage)));
    }
}
