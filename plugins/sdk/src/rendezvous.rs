//! Affinity that survives a changed pool.
