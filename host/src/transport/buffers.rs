//! The memory that an exchange needs, which is used again: by whichever is next, so that
//! it is still in the processor's cache and a connection that is only kept has none.

use std::cell::RefCell;
use std::io;
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
    static SPARE: RefCell<Vec<(BytesMut, Vec<u8>)>> = const { RefCell::new(Vec::new()) };
}

/// The buffers of one exchange. Dropped, they are there for another.
#[derive(Debug)]
pub struct Buffers {
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
        let (incoming, outgoing) = spare.unwrap_or_default();
        Buffers {
            incoming,
            outgoing,
            size: LEAST,
        }
    }

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
        // What a large message took is not kept.
        if self.size > LEAST || self.outgoing.capacity() > LEAST {
            return;
        }
        let mut buffers = (
            std::mem::take(&mut self.incoming),
            std::mem::take(&mut self.outgoing),
        );
        buffers.0.clear();
        buffers.1.clear();
        // At the thread's end there may be nobody any more to keep them.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < KEPT {
                spare.push(buffers);
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
