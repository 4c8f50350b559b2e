//! `anubis compile-plugin`: what the proxy runs to compile a plugin. Not for people.

use clap::Args;

use super::{Exit, say};
use crate::plugin::child;

/// Compile standard input to standard output, with few means
#[derive(Debug, Args)]
pub struct CompilePlugin {
    /// Most CPU time, in seconds
    seconds: u64,
}

impl CompilePlugin {
    pub(super) fn execute(&self) -> Exit {
        match child::serve(self.seconds) {
            Ok(()) => Exit::Well,
            Err(error) => {
                say(format_args!("{error:#}"));
                Exit::Plugin
            }
        }
    }
}
