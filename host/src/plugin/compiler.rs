//! Who compiles, and what need not be compiled again.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use wasmtime::Engine;
use wasmtime::component::Component;

use super::cache::{Cache, Name};
use super::child;
use super::code::Code;
use super::shipped;
use super::translate::{recognise, translate};

/// How an engine compiles. The default: here, and always anew.
#[derive(Default)]
pub struct CompilerSettings {
    /// CPU time of the process in which strangers' plugins are compiled; `None`
    /// compiles them in this one. That process is this program again, so only a
    /// program whose `main` is [`crate::cli::main`] may ask for it.
    pub child: Option<Duration>,
    /// Where compiled plugins are kept.
    pub cache: Option<Cache>,
}

pub(super) struct Compiler {
    settings: CompilerSettings,
    /// Held while compiling: one at a time, because traffic flows meanwhile.
    turn: Mutex<()>,
}

impl Compiler {
    pub(super) fn new(settings: CompilerSettings) -> Self {
        Self {
            settings,
            turn: Mutex::default(),
        }
    }

    /// The component in `bytes`, compiled.
    ///
    /// # Errors
    /// Says in words what is wrong with the bytes.
    pub(super) fn compile(&self, engine: &Engine, bytes: &[u8]) -> Result<Component> {
        recognise(bytes)?;
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(cache) = &self.settings.cache else {
            return self.translate(engine, bytes)?.load(engine);
        };
        let name = Name::of(engine, bytes);
        if let Some(component) = cache.get(&name).and_then(|code| code.load(engine).ok()) {
            return Ok(component);
        }
        let code = self.translate(engine, bytes)?;
        cache.put(&name, &code);
        code.load(engine)
    }

    fn translate(&self, engine: &Engine, bytes: &[u8]) -> Result<Code> {
        match self.settings.child {
            Some(time) if !shipped::holds(bytes) => child::compile(bytes, time),
            _ => translate(engine, bytes),
        }
    }
}
