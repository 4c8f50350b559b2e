//! `anubis ctl`: a running proxy, seen and changed through its admin API.

mod actions;
mod client;
mod frame;
mod table;
mod terminal;
mod text;
mod top;

use std::env;
use std::path::PathBuf;

use clap::Args;

use super::{Exit, say};
use actions::Action;
use client::Client;

/// See and change a running proxy through its admin API
///
/// The proxy needs `[admin]` in its configuration. Changes are in force as soon
/// as the command returns, while traffic flows; with a `state-file` they outlive
/// a restart.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct Ctl {
    /// Where the admin API is: http://HOST:PORT or unix:PATH
    /// [default: $ANUBIS_ADMIN, else http://127.0.0.1:9090]
    #[arg(long, global = true, value_name = "URL|unix:PATH")]
    admin: Option<String>,

    /// The file that holds the token [default: $ANUBIS_ADMIN_TOKEN_FILE, else none]
    #[arg(long, global = true, value_name = "PATH")]
    token_file: Option<PathBuf>,

    /// Print the answer as it came, in JSON
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    action: Action,
}

const AFTER_HELP: &str = "\
Examples:
  anubis ctl pools
  anubis ctl swap web ./mine.wasm
  anubis ctl swap web least-time --config '{\"default-latency\": \"5ms\"}'
  anubis ctl rollback web
  anubis ctl drain web app-1
  anubis ctl drain web
  anubis ctl --admin unix:/run/anubis/admin.sock top

Exit codes:
  0 done   1 refused, or the proxy was not reached   2 the command line is wrong";

/// Where the admin API is when nothing says so.
const HERE: &str = "http://127.0.0.1:9090";

impl Ctl {
    pub(super) fn execute(self) -> Exit {
        match self.run() {
            Ok(()) => Exit::Well,
            Err(error) => {
                say(format_args!("ctl: {error:#}"));
                Exit::Failed
            }
        }
    }

    fn run(self) -> anyhow::Result<()> {
        let admin = self.admin.or_else(|| env::var("ANUBIS_ADMIN").ok());
        let token_file = self
            .token_file
            .or_else(|| env::var_os("ANUBIS_ADMIN_TOKEN_FILE").map(PathBuf::from));
        let client = Client::new(admin.as_deref().unwrap_or(HERE), token_file.as_deref())?;
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(self.action.execute(&client, self.json))
    }
}
