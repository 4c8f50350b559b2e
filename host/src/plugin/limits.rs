//! What one store may hold: memory, tables, instances; and how often one call may
//! come back to the host.

use wasmtime::ResourceLimiter;

/// Core instances of one component; Python's have about 20.
const INSTANCES: usize = 128;
const TABLES: usize = 64;
const MEMORIES: usize = 16;
/// Elements of all tables together, a pointer each.
const TABLE_ELEMENTS: usize = 1 << 20;

/// Most handles in the resource tables of one store.
pub(super) const HANDLES: usize = 10_000;

/// Most calls of imports within one call of the guest. Looking up four texts of
/// 10,000 members is well below; at some 70 ns each this many take 7 ms.
const IMPORT_CALLS: u32 = 100_000;

/// A call of an import that is over the limit.
#[derive(Debug, thiserror::Error)]
#[error("called imports more than {IMPORT_CALLS} times in one call")]
pub(super) struct TooManyImportCalls;

/// Counts the memory of a whole store: wasmtime's own limit is per memory, and
/// a component may have several.
#[derive(Debug)]
pub(super) struct Limits {
    memory_limit: usize,
    memory: usize,
    high_water: usize,
    table_elements: usize,
    refused: bool,
    import_calls: u32,
}

impl Limits {
    /// `memory_limit` in bytes, over all memories.
    pub(super) fn new(memory_limit: usize) -> Self {
        Self {
            memory_limit,
            memory: 0,
            high_water: 0,
            table_elements: 0,
            refused: false,
            import_calls: 0,
        }
    }

    /// A call of the guest begins.
    #[inline]
    pub(super) fn begin_call(&mut self) {
        self.import_calls = 0;
    }

    /// The guest calls an import.
    ///
    /// # Errors
    /// When it has done so too often since the call began.
    #[inline]
    pub(super) fn admit_import(&mut self) -> Result<(), TooManyImportCalls> {
        self.import_calls += 1;
        if self.import_calls > IMPORT_CALLS {
            return Err(TooManyImportCalls);
        }
        Ok(())
    }

    /// Most bytes of linear memory held so far.
    pub(super) fn high_water(&self) -> usize {
        self.high_water
    }

    /// A growth was refused since the store was made. The guest sees -1 from
    /// `memory.grow` and most then trap.
    pub(super) fn refused(&self) -> bool {
        self.refused
    }
}

impl ResourceLimiter for Limits {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let total = self.memory.saturating_sub(current).saturating_add(desired);
        if total > self.memory_limit {
            self.refused = true;
            return Ok(false);
        }
        self.memory = total;
        self.high_water = self.high_water.max(total);
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let total = self
            .table_elements
            .saturating_sub(current)
            .saturating_add(desired);
        if total > TABLE_ELEMENTS {
            self.refused = true;
            return Ok(false);
        }
        self.table_elements = total;
        Ok(true)
    }

    fn instances(&self) -> usize {
        INSTANCES
    }

    fn tables(&self) -> usize {
        TABLES
    }

    fn memories(&self) -> usize {
        MEMORIES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_summed_over_all_memories() {
        let mut limits = Limits::new(100);
        assert!(limits.memory_growing(0, 60, None).unwrap());
        assert!(!limits.memory_growing(0, 60, None).unwrap());
        assert!(limits.refused());
        assert!(limits.memory_growing(0, 40, None).unwrap());
        assert!(!limits.memory_growing(60, 61, None).unwrap());
        assert_eq!(limits.high_water(), 100);
    }

    #[test]
    fn a_growth_beyond_the_guests_own_maximum_is_not_our_refusal() {
        let mut limits = Limits::new(100);
        assert!(!limits.memory_growing(0, 60, Some(50)).unwrap());
        assert!(!limits.refused());
        assert_eq!(limits.high_water(), 0);
    }

    #[test]
    fn import_calls_are_limited_for_each_call() {
        let mut limits = Limits::new(0);
        for _ in 0..2 {
            limits.begin_call();
            let admitted = (0..=IMPORT_CALLS).filter(|_| limits.admit_import().is_ok());
            assert_eq!(admitted.count(), IMPORT_CALLS as usize);
        }
    }

    #[test]
    fn tables_are_limited_together() {
        let mut limits = Limits::new(0);
        assert!(limits.table_growing(0, TABLE_ELEMENTS, None).unwrap());
        assert!(!limits.table_growing(0, 1, None).unwrap());
    }
}
