//! Lines from many threads to one file that may be slow or stuck.
//!
//! Whoever writes a line copies it into a buffer and goes on; a thread of its
//! own carries the buffers to the file. When the file does not keep up and a
//! buffer is full, lines are dropped and counted: nobody reading a log may
//! hold up a request.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// Most bytes that wait in one buffer.
const BUFFER: usize = 1 << 20;

/// How long lines are gathered before they are written together. The first
/// after a silence is written at once.
const GATHER: Duration = Duration::from_millis(10);

/// How long [`finish`] waits for files that do not move.
const PATIENCE: Duration = Duration::from_secs(1);

/// Every stream of this process, for [`finish`].
static STREAMS: Mutex<Vec<Weak<Stream>>> = Mutex::new(Vec::new());

/// Waits until the lines pushed so far are written, or a second. To be called
/// before the process exits.
pub fn finish() {
    let streams = lock(&STREAMS).clone();
    let deadline = Instant::now() + PATIENCE;
    for stream in streams.iter().filter_map(Weak::upgrade) {
        while !stream.is_empty() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// How many lines of each stream were dropped, since the process started.
pub fn dropped() -> BTreeMap<&'static str, u64> {
    let mut dropped = BTreeMap::new();
    let streams = lock(&STREAMS).clone();
    for stream in streams.iter().filter_map(Weak::upgrade) {
        *dropped.entry(stream.name).or_default() += stream.dropped();
    }
    dropped
}

/// A handle to a stream of lines. Clones share one buffer; [`Lines::apart`]
/// gives another thread its own.
#[derive(Debug, Clone)]
pub struct Lines {
    buffer: Arc<Buffer>,
    stream: Arc<Handle>,
}

impl Lines {
    /// A stream to `file`; `name` is used where the log speaks of it.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn to(name: &'static str, file: impl Write + Send + 'static) -> io::Result<Self> {
        let stream = Arc::new(Stream {
            name,
            buffers: Mutex::default(),
            writing: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        });
        lock(&STREAMS).push(Arc::downgrade(&stream));
        let carried = Arc::clone(&stream);
        let carrier = thread::Builder::new()
            .name(format!("{name}-lines"))
            .spawn(move || carried.carry(file))?;
        let carrier = carrier.thread().clone();
        let handle = Handle { stream, carrier };
        Ok(handle.into_lines())
    }

    /// The same stream through a buffer of its own, so that threads that write
    /// much do not meet at one lock. Lines of different buffers may be written
    /// in another order than they were pushed.
    pub fn apart(&self) -> Self {
        Self {
            buffer: self.stream.new_buffer(),
            stream: Arc::clone(&self.stream),
        }
    }

    /// Adds `line`, which ends in a newline; drops it when the buffer is full.
    pub fn push(&self, line: &[u8]) {
        let mut waiting = lock(&self.buffer.waiting);
        if waiting.len() + line.len() > BUFFER {
            self.buffer.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let first = waiting.is_empty();
        waiting.extend_from_slice(line);
        drop(waiting);
        if first {
            self.stream.carrier.unpark();
        }
    }
}

/// One `write` is one line, which is how tracing-subscriber writes.
impl Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Ends the carrier with the last [`Lines`].
#[derive(Debug)]
struct Handle {
    stream: Arc<Stream>,
    carrier: Thread,
}

impl Handle {
    fn into_lines(self) -> Lines {
        Lines {
            buffer: self.new_buffer(),
            stream: Arc::new(self),
        }
    }

    fn new_buffer(&self) -> Arc<Buffer> {
        let buffer = Arc::<Buffer>::default();
        lock(&self.stream.buffers).push(Arc::clone(&buffer));
        buffer
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stream.closed.store(true, Ordering::Release);
        self.carrier.unpark();
    }
}

#[derive(Debug, Default)]
struct Buffer {
    waiting: Mutex<Vec<u8>>,
    dropped: AtomicU64,
}

/// What the threads that push and the one that carries share.
#[derive(Debug)]
struct Stream {
    name: &'static str,
    buffers: Mutex<Vec<Arc<Buffer>>>,
    /// Lines have left their buffer and are not yet in the file.
    writing: AtomicBool,
    /// There is no [`Lines`] any more.
    closed: AtomicBool,
}

impl Stream {
    fn is_empty(&self) -> bool {
        let buffers = lock(&self.buffers).clone();
        // In this order: a buffer that was seen empty has set `writing` before.
        buffers
            .iter()
            .all(|buffer| lock(&buffer.waiting).is_empty())
            && !self.writing.load(Ordering::Acquire)
    }

    /// Lines that did not fit, in all buffers.
    fn dropped(&self) -> u64 {
        let buffers = lock(&self.buffers);
        let dropped = |buffer: &Arc<Buffer>| buffer.dropped.load(Ordering::Relaxed);
        buffers.iter().map(dropped).sum()
    }

    /// The carrier's life.
    fn carry(&self, mut file: impl Write) {
        let mut taken = Vec::new();
        let mut broken = false;
        let mut told = 0;
        loop {
            let closed = self.closed.load(Ordering::Acquire);
            let moved = self.write_waiting(&mut taken, &mut file);
            let dropped = self.dropped();
            if dropped > told {
                tracing::warn!(stream = self.name, lines = dropped - told, "lines dropped");
                told = dropped;
            }
            if let Err(error) = &moved
                && !std::mem::replace(&mut broken, true)
            {
                tracing::error!(stream = self.name, %error, "cannot write lines");
            }
            match moved {
                Ok(false) if closed => return,
                Ok(false) => thread::park(),
                Ok(true) | Err(_) => thread::sleep(GATHER),
            }
        }
    }

    /// Whether there was anything to write.
    fn write_waiting(&self, taken: &mut Vec<u8>, file: &mut impl Write) -> io::Result<bool> {
        let mut moved = Ok(false);
        // Not in the `for` itself: the lock would be held while the file is slow.
        let buffers = lock(&self.buffers).clone();
        for buffer in buffers {
            self.writing.store(true, Ordering::Release);
            taken.clear();
            std::mem::swap(taken, &mut lock(&buffer.waiting));
            if !taken.is_empty() {
                let written = file.write_all(taken).and_then(|()| file.flush());
                moved = moved.and(written.map(|()| true));
            }
            self.writing.store(false, Ordering::Release);
        }
        moved
    }
}

/// No code panics while it holds one of these locks, and half a line in a log
/// would be no reason to stop.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// A file whose writes arrive at a receiver; each waits for a permit.
    pub(in crate::telemetry) struct Pipe {
        written: Sender<Vec<u8>>,
        permits: Option<Receiver<()>>,
    }

    impl Pipe {
        pub(in crate::telemetry) fn free() -> (Self, Receiver<Vec<u8>>) {
            let (written, read) = channel();
            let permits = None;
            (Self { written, permits }, read)
        }

        fn stuck() -> (Self, Receiver<Vec<u8>>, Sender<()>) {
            let (written, read) = channel();
            let (permit, permits) = channel();
            let permits = Some(permits);
            (Self { written, permits }, read, permit)
        }
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if let Some(permits) = &self.permits {
                permits.recv().map_err(io::Error::other)?;
            }
            let sent = self.written.send(bytes.to_vec());
            sent.map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_of_all_buffers_arrive_and_the_carrier_ends() {
        let (pipe, read) = Pipe::free();
        let lines = Lines::to("test", pipe).expect("thread");
        let other = lines.apart();
        lines.push(b"one\n");
        other.push(b"two\n");
        drop((lines, other));
        // Ends when the carrier drops the pipe.
        let mut all: Vec<Vec<u8>> = read.iter().collect();
        all.sort();
        assert_eq!(all.concat(), b"one\ntwo\n");
    }

    #[test]
    fn a_stuck_file_holds_nobody_up_and_costs_only_what_does_not_fit() {
        let (pipe, read, permit) = Pipe::stuck();
        let lines = Lines::to("test", pipe).expect("thread");
        let line = vec![b'x'; BUFFER / 2];
        for _ in 0..5 {
            lines.push(&line);
        }
        // The carrier may hold up to one buffer, another is full.
        assert!(lines.buffer.dropped.load(Ordering::Relaxed) >= 1);
        assert!(!lines.stream.stream.is_empty());
        drop(permit);
        drop(lines);
        assert_eq!(read.iter().count(), 0, "the broken file ends it");
    }
}
