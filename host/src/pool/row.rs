//! One backend as a strategy sees it.

use bytemuck::{Pod, Zeroable};

/// One backend at this moment: field by field the contract's `backend` record
/// (`wit/lb.wit`), in its order and layout, so that a list of rows is handed
/// to a plugin in one copy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Row {
    /// Stable identity; never used again for another backend of the pool.
    pub id: u32,
    /// Effective weight, 1 to 65535.
    pub weight: u32,
    /// Most requests at once; 0 = no limit.
    pub capacity: u32,
    /// 0 = first choice.
    pub priority: u32,
    /// Interned zone; 0 = none.
    pub zone: u32,
    /// Requests in flight, all workers.
    pub in_flight: u32,
    /// Peak-EWMA of the time to the response head in microseconds, decayed to
    /// now; 0 = no sample yet.
    pub latency_us: u32,
    /// EWMA of the failed share, in 1/10000.
    pub failures: u32,
    /// Load the backend reports of itself, in 1/10000; 0 = not reported.
    pub utilization: u32,
    /// Bits, see [`Row::SLOW_START`] and [`Row::OWN_ZONE`].
    pub state: u32,
}

impl Row {
    /// The backend's weight is still growing.
    pub const SLOW_START: u32 = 1;
    /// The backend is in the proxy's own zone.
    pub const OWN_ZONE: u32 = 2;

    /// As many requests in flight as its capacity allows.
    pub fn is_full(&self) -> bool {
        self.capacity != 0 && self.in_flight >= self.capacity
    }
}
