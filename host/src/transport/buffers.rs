//! The memory that an exchange needs, which is used again: by whichever is next, so that
//! it is still in the processor's cache and a connection that is only kept has none.

use std::cell::RefCell;
use std::io;
use std::ops::{Deref, DerefMut};
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};

/// What is read at once: little at first, more while a body fills it.
const LEAST: usize = 8 * 1024;
const MOST: usize = 64 * 1024;

/// Most that a thread keeps.
const KEPT: usize = 64;

thread_local! {
    #[expect(clippy::vec_box, reason = "what is kept is the boxes")]
    static SPARE: RefCell<Vec<Box<Memory>>> = const { RefCell::new(Vec::new()) };
}

/// The buffers of one exchange. Dropped, they are there for another.
#[derive(Debug)]
pub struct Buffers(Option<Box<Memory>>);

/// What they are.
#[derive(Debug, Default)]
pub struct Memory {
    /// What has come and was not taken.
    pub incoming: BytesMut,
    /// For the head of the request.
    pub outgoing: Vec<u8>,
    /// How much is read at once: the least for as long as little came.
    size: usize,
}

impl Buffers {
    /// Some that are empty.
    pub fn take() -> Buffers {
        let spare = SPARE.with_borrow_mut(Vec::pop);
        let mut memory = spare.unwrap_or_default();
        memory.size = LEAST;
        Buffers(Some(memory))
    }
}

impl Deref for Buffers {
    type Target = Memory;

    fn deref(&self) -> &Memory {
        self.0.as_ref().expect("it is there until the drop")
    }
}

impl DerefMut for Buffers {
    fn deref_mut(&mut self) -> &mut Memory {
        self.0.as_mut().expect("it is there until the drop")
    }
}

impl Memory {
    /// Reads once; 0: nothing more comes.
    pub fn poll_more(
        &mut self,
        io: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.incoming.reserve(self.size);
        let room = self.incoming.capacity() - self.incoming.len();
        let read = ready!(pin!(io.read_buf(&mut self.incoming)).poll(cx))?;
        if read == room || self.incoming.len() > LEAST {
            self.size = (self.size * 2).min(MOST);
        }
        Poll::Ready(Ok(read))
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        let Some(mut memory) = self.0.take() else {
            return;
        };
        // What a large message took is not kept.
        if memory.size > LEAST || memory.outgoing.capacity() > LEAST {
            return;
        }
        memory.incoming.clear();
        memory.outgoing.clear();
        // At the thread's end there may be nobody any more to keep them.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < KEPT {
                spare.push(memory);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One read from a peer that has sent all of this.
    fn read(buffers: &mut Buffers, mut sent: &[u8]) -> usize {
        let mut context = Context::from_waker(std::task::Waker::noop());
        match buffers.poll_more(&mut sent, &mut context) {
            Poll::Ready(Ok(read)) => read,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_was_read_is_gone_when_they_are_used_again() {
        let mut buffers = Buffers::take();
        read(&mut buffers, b"secret");
        buffers.outgoing.extend_from_slice(b"secret");
        let room = buffers.incoming.capacity();
        drop(buffers);
        let again = Buffers::take();
        assert!(again.incoming.is_empty() && again.outgoing.is_empty());
        assert!(again.incoming.capacity() >= room, "the same memory");
    }

    #[test]
    fn more_is_read_at_once_while_a_body_fills_it() {
        let mut buffers = Buffers::take();
        let body = vec![0; 10 * MOST];
        let mut most = 0;
        for _ in 0..8 {
            most = most.max(read(&mut buffers, &body));
            buffers.incoming.clear();
        }
        assert!((MOST..4 * MOST).contains(&most), "{most}");
        drop(buffers);
        assert_eq!(Buffers::take().incoming.capacity(), 0, "not kept");
    }

    #[test]
    fn only_so_many_are_kept() {
        let all: Vec<Buffers> = (0..2 * KEPT).map(|_| Buffers::take()).collect();
        drop(all);
        assert_eq!(SPARE.with_borrow(Vec::len), KEPT);
    }
}
