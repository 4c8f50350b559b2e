//! One engine for the process: the compiler's and the sandbox's settings.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use anyhow::{Result, anyhow};
use wasmtime::Config;
use wasmtime::component::Linker;

use super::backstage::Backstage;
use super::backtrace;
use super::binary::Digest;
use super::compiler::{Compiler, CompilerSettings};
use super::component::Plugin;
use super::deadline::Ticker;
use super::imports::{self, SharedSlots};
use super::instance::Guest;

/// Stack that guest code may use, in bytes. Workers must have at least twice
/// as much: overflowing the native stack would end the process, overflowing
/// this one is an ordinary trap.
pub(super) const WASM_STACK: usize = 512 * 1024;

/// Compiles plugins and runs their instances; cheap to clone.
///
/// Holds one thread that advances the epoch (deadlines) and one that starts
/// successors and frees what is no longer needed. Both end when the last clone, plugin and instance
/// are gone.
#[derive(Clone)]
pub struct Engine {
    parts: Arc<Parts>,
}

struct Parts {
    wasmtime: wasmtime::Engine,
    linker: Linker<Guest>,
    ticker: Arc<Ticker>,
    backstage: Backstage,
    compiler: Compiler,
    /// What is compiled now, by its version; an entry lives as long as something uses it.
    compiled: Mutex<HashMap<Digest, Weak<Plugin>>>,
    /// By owner; an entry lives as long as something uses it.
    shared: Mutex<HashMap<String, Weak<SharedSlots>>>,
}

impl Engine {
    /// An engine that compiles in this process and keeps nothing.
    ///
    /// # Errors
    /// As [`Engine::with`].
    pub fn new() -> Result<Self> {
        Self::with(CompilerSettings::default())
    }

    /// Starts the engine and its two threads.
    ///
    /// # Errors
    /// When this machine cannot run compiled code or a thread cannot start.
    pub fn with(compiler: CompilerSettings) -> Result<Self> {
        let wasmtime = wasmtime::Engine::new(&config())
            .map_err(|error| anyhow!("plugin engine: {error:#}"))?;
        // A dependency could switch the feature back on, and every call would
        // silently become 2.7 times dearer.
        assert!(
            !wasmtime.get_concurrency_support(),
            "component concurrency must stay off"
        );
        let linker =
            imports::linker(&wasmtime).map_err(|error| anyhow!("plugin imports: {error:#}"))?;
        let ticker = Arc::new(Ticker::start(wasmtime.weak())?);
        let backstage = Backstage::start()?;
        Ok(Self {
            parts: Arc::new(Parts {
                wasmtime,
                linker,
                ticker,
                backstage,
                compiler: Compiler::new(compiler),
                compiled: Mutex::default(),
                shared: Mutex::default(),
            }),
        })
    }

    /// The `shared` counters of `owner`'s plugins: the same ones for as long as
    /// anybody holds them, so that they outlive a swap.
    pub fn shared_slots(&self, owner: &str) -> Arc<SharedSlots> {
        let mut all = self
            .parts
            .shared
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, slots| slots.strong_count() > 0);
        if let Some(slots) = all.get(owner).and_then(Weak::upgrade) {
            return slots;
        }
        let slots = Arc::new(SharedSlots::default());
        all.insert(owner.to_owned(), Arc::downgrade(&slots));
        slots
    }

    /// The plugin that was compiled from these bytes, while anybody has it.
    pub(super) fn compiled(&self, digest: Digest) -> Option<Arc<Plugin>> {
        let compiled = self.parts.compiled.lock();
        let compiled = compiled.unwrap_or_else(PoisonError::into_inner);
        compiled.get(&digest).and_then(Weak::upgrade)
    }

    /// Remembers a plugin for as long as anybody has it.
    pub(super) fn remember(&self, digest: Digest, plugin: &Arc<Plugin>) {
        let compiled = self.parts.compiled.lock();
        let mut compiled = compiled.unwrap_or_else(PoisonError::into_inner);
        compiled.retain(|_, plugin| plugin.strong_count() > 0);
        compiled.insert(digest, Arc::downgrade(plugin));
    }

    pub(super) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.parts.wasmtime
    }

    pub(super) fn linker(&self) -> &Linker<Guest> {
        &self.parts.linker
    }

    pub(super) fn ticker(&self) -> &Arc<Ticker> {
        &self.parts.ticker
    }

    pub(super) fn backstage(&self) -> &Backstage {
        &self.parts.backstage
    }

    pub(super) fn compiler(&self) -> &Compiler {
        &self.parts.compiler
    }
}

/// What code is compiled for; a child that compiles has the same.
pub(super) fn config() -> Config {
    let mut config = Config::new();
    config
        .concurrency_support(false)
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK)
        .native_unwind_info(false)
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false)
        .shared_memory(false)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(backtrace::FRAMES));
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_off_stays_off() {
        let engine = Engine::new().unwrap();
        let config = engine.wasmtime();
        assert!(!config.get_concurrency_support());
        assert!(config.get_epoch_interruption());
        assert_eq!(config.get_native_unwind_info(), Some(false));
        assert_eq!(config.get_cranelift_nan_canonicalization(), Some(true));
        assert!(!config.get_shared_memory());
        assert!(!config.get_consume_fuel());
        assert_eq!(config.get_max_wasm_stack(), WASM_STACK);
    }
}
