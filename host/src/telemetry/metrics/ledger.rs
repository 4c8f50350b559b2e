//! The counts of one thing (a pool, a backend, a listener, a strategy): a block
//! for each thread that counts, summed when somebody asks.
//!
//! A ledger belongs to the thing itself and goes with it from generation to
//! generation, as its live columns do: a reload loses no count, and the counts
//! of what is gone go with it.

use std::marker::PhantomData;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use super::{Distribution, Histogram, Scale};

/// All threads' blocks `T` of one thing. Those of threads that are gone stay:
/// nothing counted is lost. The lock is taken when a thread opens its block and
/// when sums are wanted, never to count.
#[derive(Debug)]
pub struct Ledger<T>(Mutex<Vec<Arc<Block<T>>>>);

/// Two threads' blocks never share a cache line.
#[derive(Debug)]
#[repr(align(64))]
struct Block<T> {
    writer: ThreadId,
    counts: T,
}

/// A thread's own block: only here can be counted, and it cannot leave its thread.
#[derive(Debug)]
pub struct Own<T> {
    block: Arc<Block<T>>,
    not_send: PhantomData<Rc<()>>,
}

impl<T: Default> Ledger<T> {
    /// This thread's block; the same one again if it has one.
    pub fn open(&self) -> Own<T> {
        let writer = thread::current().id();
        let mut blocks = self.lock();
        let block = match blocks.iter().find(|block| block.writer == writer) {
            Some(block) => Arc::clone(block),
            None => {
                let counts = T::default();
                let block = Arc::new(Block { writer, counts });
                blocks.push(Arc::clone(&block));
                block
            }
        };
        Own {
            block,
            not_send: PhantomData,
        }
    }
}

impl<T> Ledger<T> {
    /// What `count` reads, added up over all threads.
    pub fn sum(&self, count: impl Fn(&T) -> u64) -> u64 {
        let blocks = self.lock();
        blocks.iter().map(|block| count(&block.counts)).sum()
    }

    /// The histograms of all threads, added up.
    pub fn distribution<S: Scale<N>, const N: usize>(
        &self,
        histogram: impl Fn(&T) -> &Histogram<S, N>,
    ) -> Distribution {
        let mut sum = Distribution::empty::<S, N>();
        self.each(|counts| sum.add(histogram(counts)));
        sum
    }

    /// Shows `look` every thread's block.
    pub fn each(&self, mut look: impl FnMut(&T)) {
        self.lock().iter().for_each(|block| look(&block.counts));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Block<T>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Default for Ledger<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Deref for Own<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.block.counts
    }
}

impl<T> Clone for Own<T> {
    fn clone(&self) -> Self {
        Self {
            block: Arc::clone(&self.block),
            not_send: PhantomData,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Counter;
    use super::*;

    #[test]
    fn a_thread_gets_its_block_again_and_others_their_own() {
        let ledger = Ledger::<Counter>::default();
        ledger.open().add(1);
        ledger.open().add(2);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| ledger.open().add(10));
            }
        });
        assert_eq!(ledger.lock().len(), 4);
        assert_eq!(
            ledger.sum(Counter::get),
            33,
            "also of threads that are gone"
        );
        let mut most = 0;
        ledger.each(|counter| most = most.max(counter.get()));
        assert_eq!(most, 10);
    }

    #[test]
    fn blocks_have_cache_lines_of_their_own() {
        assert_eq!(align_of::<Block<Counter>>(), 64);
        assert_eq!(size_of::<Block<Counter>>(), 64);
    }
}
