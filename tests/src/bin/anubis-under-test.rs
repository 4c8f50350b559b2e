//! The proxy, built by this package so that its tests know where it is.

use std::process::ExitCode;

/// As in the real binary: memory figures are measured too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    anubis::cli::main()
}
