//! Component bytes to machine code. Everything that parses or compiles what a
//! stranger sent happens here, so that it can happen in another process.

use std::borrow::Cow;
use std::thread;

use anyhow::{Context, Result, anyhow, bail, ensure};
use wasmtime::Engine;

use super::code::Code;
use super::scan::scan;

/// Largest component taken, in bytes. Python's runtime has 17 MiB.
pub const MAX_COMPONENT_BYTES: u64 = 64 * 1024 * 1024;

/// A tenth of a busy worker's share: traffic goes first.
const NICENESS: i32 = 10;
/// For deeply nested code: the compiler recurses.
const STACK: usize = 16 * 1024 * 1024;

const MAGIC: &[u8] = b"\0asm";
const MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// Compiles a component, or a core module that carries its component type, on a
/// thread of its own that yields to everything else.
///
/// # Errors
/// Says in words what is wrong with the bytes.
pub(super) fn translate(engine: &Engine, bytes: &[u8]) -> Result<Code> {
    thread::scope(|scope| {
        let work = || {
            // Where it is not allowed, it just competes.
            let _ = rustix::process::nice(NICENESS);
            let component = as_component(bytes)?;
            engine
                .precompile_component(&component)
                .map(Code::ours)
                .map_err(|error| anyhow!("not a valid component: {error:#}"))
        };
        let thread = thread::Builder::new()
            .name("anubis-compile".into())
            .stack_size(STACK)
            .spawn_scoped(scope, work)
            .context("no thread to compile it on")?;
        thread
            .join()
            .unwrap_or_else(|_panic| Err(anyhow!("the compiler panicked")))
    })
}

/// The component in `bytes`, made from a core module if need be. It has passed
/// the scan.
pub(super) fn as_component(bytes: &[u8]) -> Result<Cow<'_, [u8]>> {
    recognise(bytes)?;
    if bytes.starts_with(MODULE) {
        scan(bytes).context("not a valid core module")?;
        let component = componentize(bytes)?;
        scan(&component).context("not a valid component")?;
        return Ok(Cow::Owned(component));
    }
    scan(bytes).context("not a valid component")?;
    Ok(Cow::Borrowed(bytes))
}

/// What can be told from size and first bytes, without parsing anything.
pub(super) fn recognise(bytes: &[u8]) -> Result<()> {
    ensure!(!bytes.is_empty(), "the file is empty");
    ensure!(
        bytes.len() as u64 <= MAX_COMPONENT_BYTES,
        "larger than {} MiB",
        MAX_COMPONENT_BYTES >> 20
    );
    ensure!(
        Engine::detect_precompiled(bytes).is_none(),
        "precompiled code is not accepted: give the component that it was compiled from"
    );
    if !bytes.starts_with(MAGIC) {
        ensure!(
            !looks_like_text(bytes),
            "WebAssembly text is not accepted: translate it first (`wasm-tools parse`)"
        );
        bail!("not WebAssembly: it does not begin with \\0asm");
    }
    Ok(())
}

fn looks_like_text(bytes: &[u8]) -> bool {
    let start = bytes.trim_ascii_start();
    start.starts_with(b"(") || start.starts_with(b";;")
}

fn componentize(module: &[u8]) -> Result<Vec<u8>> {
    let (typed, _) = wit_component::metadata::decode(module).context("not a valid core module")?;
    ensure!(
        typed.is_some(),
        "a core module without a component type: it was not built against the contract's \
         bindings (wit-bindgen), or the section was stripped"
    );
    wit_component::ComponentEncoder::default()
        .module(module)
        .and_then(|encoder| encoder.validate(false).encode())
        .map_err(|error| explain_encoding(&error))
}

fn explain_encoding(error: &anyhow::Error) -> anyhow::Error {
    let text = format!("{error:#}");
    if text.contains("wasi") {
        return anyhow!("the core module imports WASI ({text}); {WITHOUT_WASI}");
    }
    anyhow!("the core module cannot be made a component: {text}")
}

/// How to build a plugin that imports nothing of WASI.
pub(super) const WITHOUT_WASI: &str = "plugins run without WASI; build it without: in Rust for \
    wasm32-unknown-unknown, in Python with `componentize-py componentize --stub-wasi`, in \
    JavaScript with `--disable all` or `--backend-qjs-stub-wasi`, others with an adapter that \
    imports nothing";
