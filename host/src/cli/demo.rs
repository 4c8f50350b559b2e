//! `anubis demo`: backends, proxy and traffic in one process, to look at.

mod backends;
mod files;
mod load;
mod summary;

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::{Exit, say};
use crate::config::{self, LogSettings, StrategySource};
use crate::server::{End, Inheritance, Server, Source, StartError};
use crate::telemetry;
use backends::Hello;
use files::DemoFile;
use summary::Tally;

/// See it work: three backends, the proxy and some traffic in one process
///
/// Starts three hello-world backends that take 2, 10 and 40 milliseconds, the
/// proxy in front of them on loopback (port 8080 if it is free), and eight
/// clients. Once a second a line tells who got how many requests and how long
/// half of them took at most. The configuration is a file whose path is printed:
/// write another strategy into it and see the balance change, with no request
/// failing.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct Demo {
    /// The strategy to begin with
    #[arg(long, value_name = "NAME|PATH", default_value = "least-time")]
    strategy: StrategySource,

    /// No traffic but yours
    #[arg(long)]
    no_load: bool,

    /// End after this many seconds [default: at Ctrl-C]
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
}

const AFTER_HELP: &str = "\
Example:
  anubis demo --strategy round-robin
  then, in another terminal, write strategy = \"least-time\" into the file it names";

/// The port that the proxy takes if it is free.
const PORT: u16 = 8080;

impl Demo {
    pub(super) fn execute(self) -> Exit {
        match self.run() {
            Ok(()) => Exit::Well,
            Err(error) => {
                say(format_args!("demo: {error:#}"));
                match error.downcast_ref::<StartError>() {
                    Some(error) => Exit::from(error),
                    None => Exit::Failed,
                }
            }
        }
    }

    fn run(&self) -> anyhow::Result<()> {
        let backends = backends::start().context("starting the backends")?;
        let (file, server) = self.start_proxy(&backends)?;
        let Some(&address) = server.addresses().first() else {
            anyhow::bail!("the proxy has no address");
        };
        greet(address, &self.strategy, &file)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let watched =
            tokio::task::LocalSet::new().block_on(&runtime, self.watch(address, backends, &file));
        drop(runtime);
        server.stop(End::Told);
        watched
    }

    /// On the usual port, or on one that the system gives.
    fn start_proxy(&self, backends: &[Hello]) -> anyhow::Result<(DemoFile, Server)> {
        telemetry::log::start(&LogSettings::default())?;
        match self.start_proxy_on(PORT, backends) {
            Err(error) if matches!(error.downcast_ref(), Some(StartError::Bind(_))) => {
                self.start_proxy_on(0, backends)
            }
            started => started,
        }
    }

    fn start_proxy_on(&self, port: u16, backends: &[Hello]) -> anyhow::Result<(DemoFile, Server)> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let file = DemoFile::write(address, &self.strategy, backends)
            .context("writing the configuration")?;
        let settings = config::load(file.path()).map_err(StartError::Configuration)?;
        let server = Server::start(
            settings,
            Source::File(file.path().to_owned()),
            Inheritance::default(),
        )?;
        Ok((file, server))
    }

    /// Traffic and its summary until Ctrl-C or for the seconds that were asked for.
    async fn watch(
        &self,
        proxy: SocketAddr,
        backends: Vec<Hello>,
        file: &DemoFile,
    ) -> anyhow::Result<()> {
        let tally = Rc::new(Tally::new(backends.iter().map(|backend| backend.name)));
        for backend in backends {
            backend.serve(Rc::clone(&tally))?;
        }
        if !self.no_load {
            load::start(proxy, &tally);
        }
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let seconds = self.seconds.map(Duration::from_secs);
        tokio::select! {
            told = summary::tell(&tally, file) => told.context("telling the summary"),
            () = tokio::time::sleep(seconds.unwrap_or(Duration::MAX)) => Ok(()),
            _ = interrupt.recv() => Ok(()),
            _ = terminate.recv() => Ok(()),
        }
    }
}

fn greet(proxy: SocketAddr, strategy: &StrategySource, file: &DemoFile) -> io::Result<()> {
    let names: Vec<&str> = config::shipped_strategies().collect();
    writeln!(
        io::stdout(),
        "\nproxy     http://{proxy}/   strategy {strategy}\n\
         backends  {}\n\
         try       curl http://{proxy}/\n\
         edit      {}\n          \
         another strategy is in force as soon as the file is saved:\n          \
         {}\n\
         end       Ctrl-C\n",
        backends::described(),
        file.path().display(),
        names.join(", "),
    )
}
