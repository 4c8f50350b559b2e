//! The seam between the request path and whatever decides: `pick` and `observe`.
//!
//! A [`Strategy`] is prepared once, on a control thread, and shared; each
//! worker has its own [`Picker`] of it. A plugin that faults is answered for by
//! the native fallback and replaced; no call here blocks on another thread.
//!
//! Nothing here knows WIT types or sockets, and only the log names the time.

mod conduct;
mod fallback;
mod inbound;
mod meter;
mod picker;
mod plan;
mod prepare;
mod recycling;
mod rehearse;
mod seat;
mod shadow;
mod stats;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use http::StatusCode;

use crate::pool::Row;

pub use conduct::Standing;
pub(crate) use fallback::pick as fallback;
pub use inbound::{Added, Inbound};
pub use picker::Picker;
pub(crate) use plan::Plan;
pub use plan::Routing;
pub use prepare::{Strategy, read};
pub use recycling::Recycled;
pub use rehearse::{HandOver, Rehearsal};
pub(crate) use seat::{Answered, checked, checked_plan};
pub use shadow::Probe;
pub use stats::Stats;

/// What every pick knows about its request, by value (the contract's `request`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PickRequest {
    /// Hash of the pool's affinity key, or random bits. Below 2^53.
    pub key: u64,
    /// 53 uniform random bits, new for every pick.
    pub random: u64,
    /// The pool's picks over all workers: 0, 1, 2 ...
    pub sequence: u64,
    /// Monotonic microseconds since the proxy started. Below 2^53.
    pub now_us: u64,
    /// Changes when membership, weights or eligibility change.
    pub generation: u32,
    /// 0 for the first try.
    pub attempt: u32,
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pick {
    /// Index into the rows that were given; always in range.
    Backend(usize),
    /// Nothing suitable now.
    Wait,
    /// Refuse the request with this status, 400 to 599.
    Reject(StatusCode),
}

/// A pick and what goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    pub pick: Pick,
    /// What the plugin gave to `inbound.tag`; comes back in [`Outcome::tag`].
    pub tag: u64,
    /// Another than the plugin decided, because it could not or would not: the
    /// fallback, or the last good strategy.
    pub fallback: bool,
}

/// What became of one attempt (the contract's `outcome`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    pub tag: u64,
    /// `Row::id`.
    pub id: u32,
    pub latency_us: u32,
    /// HTTP status; 0 = no response.
    pub status: u32,
    pub failure: Failure,
    pub attempt: u32,
}

/// Why an attempt failed, numbered as in the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Failure {
    None = 0,
    Connect = 1,
    Timeout = 2,
    Reset = 3,
    Protocol = 4,
    ClientLeft = 5,
}

/// What does not change while a backend is in its pool, by id (`members`).
pub trait Members: Send + Sync {
    fn name(&self, id: u32) -> Option<&str>;
    fn address(&self, id: u32) -> Option<&str>;
    fn zone(&self, id: u32) -> Option<&str>;
    fn label(&self, id: u32, key: &str) -> Option<&str>;
}

/// Shared handle to a pool's members.
pub type MembersHandle = Arc<dyn Members>;

/// The backends of one pick, for look-ups that need only a few of them. The
/// index is the one that [`Pick::Backend`] answers with.
pub trait Candidates {
    /// How many there are.
    fn len(&self) -> usize;

    /// One of them; `index` is below [`Candidates::len`].
    fn row(&self, index: usize) -> Row;

    /// [`Row::id`] of one of them.
    fn id(&self, index: usize) -> u32 {
        self.row(index).id
    }

    /// [`Row::in_flight`] of one of them.
    fn in_flight(&self, index: usize) -> u32 {
        self.row(index).in_flight
    }

    /// There are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Candidates for [Row] {
    fn len(&self) -> usize {
        self.len()
    }

    #[inline]
    fn row(&self, index: usize) -> Row {
        self[index]
    }

    #[inline]
    fn id(&self, index: usize) -> u32 {
        self[index].id
    }

    #[inline]
    fn in_flight(&self, index: usize) -> u32 {
        self[index].in_flight
    }
}

/// Spreads a request's 53 random bits over 64, differently for every `stream`
/// (the finalizer of SplitMix64).
#[inline]
pub(crate) fn spread(random: u64, stream: u64) -> u64 {
    let mut z = random.wrapping_add(stream.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Maps 64 uniform bits to `0..bound`.
#[inline]
fn below(bits: u64, bound: u64) -> u64 {
    // The high half of a product with `bound` is below `bound`.
    ((u128::from(bits) * u128::from(bound)) >> 64) as u64
}
