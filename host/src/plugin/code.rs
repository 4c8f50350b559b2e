//! Machine code, and the only way from bytes to something that runs.

#![allow(unsafe_code, reason = "loading machine code is trusting it")]

use anyhow::{Result, anyhow};
use wasmtime::Engine;
use wasmtime::component::Component;

/// Machine code that this program made of a component. Loading it runs whatever
/// it holds, so whoever makes one vouches for where the bytes come from.
pub(super) struct Code(Vec<u8>);

impl Code {
    /// `bytes` came from [`super::translate::translate`] and from nowhere else:
    /// here, through the pipe of a child that runs this very program, or from a
    /// cache entry whose authentication code was right.
    pub(super) fn ours(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// # Errors
    /// When it was made by another version or for another machine.
    pub(super) fn load(&self, engine: &Engine) -> Result<Component> {
        // SAFETY: the bytes are what our own compiler wrote, as `ours` demands,
        // and they lie in memory that nobody else can change.
        let component = unsafe { Component::deserialize(engine, &self.0) };
        component.map_err(|error| anyhow!("the compiled code does not load: {error:#}"))
    }
}
