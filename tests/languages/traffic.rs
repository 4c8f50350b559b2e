//! Real requests through what was built.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;

use libtest_mimic::Failed;

use anubis_tests::proxy::{Folder, program};
use anubis_tests::{Backend, Config, Load, Metered, Proxy};

use crate::projects::{Component, DEADLINE, Workshop};

/// What the proxy logs when a new generation is in force.
const RELOADED: &str = "reloaded";

/// Requests that each component serves.
const REQUESTS: usize = 500;

/// Backends of a pool that no interpreter could look through for each request.
const MANY: usize = 10_000;

/// It is asked for every request: nothing fails, and no answer is the fallback's.
pub fn serves(workshop: &Workshop, component: &Component) -> Result<(), Failed> {
    compiled(workshop, component)?;
    runtime().block_on(async {
        let backends = backends();
        let proxy = Proxy::start(config(workshop, component, &backends)).await;
        let report = Load::of(REQUESTS, proxy.address(), 8).await;
        report.assert_none_failed();
        ended_without_a_fault(&proxy).await
    })
}

/// From each to the next while requests flow, and nobody notices.
pub fn swaps(workshop: &Workshop, components: &[Arc<Component>]) -> Result<(), Failed> {
    let Some((first, others)) = components.split_first() else {
        return Err("nothing was built".into());
    };
    for component in components {
        compiled(workshop, component)?;
    }
    runtime().block_on(async {
        let backends = backends();
        let proxy = Proxy::start(config(workshop, first, &backends)).await;
        let load = Load::start(proxy.address(), 8);
        load.more(100).await;
        for component in others {
            proxy.configure(config(workshop, component, &backends));
            proxy.log(RELOADED).await;
            load.more(100).await;
        }
        load.stop().await.assert_none_failed();
        ended_without_a_fault(&proxy).await
    })
}

/// A planner's plans for 10,000 backends are made within the deadline that is the
/// default, and every request is routed from one.
pub fn steers(workshop: &Workshop, component: &Component) -> Result<(), Failed> {
    compiled(workshop, component)?;
    runtime().block_on(async {
        let backends = backends();
        let mut config = config(workshop, component, &[]).to_string();
        for (number, backend) in (0..MANY).zip(backends.iter().cycle()) {
            config.push_str(&format!(
                "[[pools.web.backends]]\nname = \"{number}\"\naddress = \"{backend}\"\n"
            ));
        }
        let proxy = Metered::start(config).await;
        let report = Load::of(REQUESTS, proxy.address(), 8).await;
        report.assert_none_failed();
        let scrape = proxy.text();
        let plans = total(&scrape, "anubis_strategy_plans_total");
        let fallbacks = total(&scrape, "anubis_strategy_fallbacks_total");
        eprintln!("{}: {plans} plans for {MANY} backends", component.name);
        if plans < 1.0 || fallbacks > 0.0 {
            return Err(format!("{plans} plans, {fallbacks} fallbacks").into());
        }
        ended_without_a_fault(proxy.proxy()).await
    })
}

/// All samples of a metric together.
fn total(scrape: &str, metric: &str) -> f64 {
    let lines = scrape.lines().filter(|line| line.starts_with(metric));
    let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    values.sum()
}

/// Has it compiled, and kept for whoever needs it next: an unoptimised compiler takes
/// longer for Python's runtime than a test waits for anything.
fn compiled(workshop: &Workshop, component: &Component) -> Result<(), Failed> {
    let nobody = "[[pools.web.backends]]\naddress = \"127.0.0.1:1\"\n";
    let folder = Folder::with(format!("{}{nobody}", config(workshop, component, &[])));
    let mut proxy = Command::new(program())
        .arg("run")
        .arg(folder.path("anubis.toml"))
        .stderr(Stdio::piped())
        .spawn()?;
    let log = proxy.stderr.take().expect("it is caught");
    let mut told = String::new();
    // Ends by itself at the latest when its compiler has had its time.
    let listens = BufReader::new(log)
        .lines()
        .map_while(Result::ok)
        .any(|line| {
            told += &format!("{line}\n");
            line.contains("listening")
        });
    proxy.kill()?;
    proxy.wait()?;
    match listens {
        true => Ok(()),
        false => Err(told.into()),
    }
}

fn config(workshop: &Workshop, component: &Component, backends: &[Backend]) -> Config {
    let settings = format!(
        "compile-time = \"300s\"\ncache-dir = {:?}",
        workshop.cache().display().to_string()
    );
    let strategy = format!(
        "deadline = \"{DEADLINE}\"\nstrategy = {:?}\nconfig = {:?}",
        component.file.display().to_string(),
        component.config
    );
    let config = Config::default().global(&settings).pool(&strategy);
    backends
        .iter()
        .fold(config, |config, backend| config.backend(backend, ""))
}

fn backends() -> [Backend; 3] {
    ["a", "b", "c"].map(|name| Backend::named(name).start())
}

/// The log has no fault of a plugin: each would have been hidden by the fallback.
async fn ended_without_a_fault(proxy: &Proxy) -> Result<(), Failed> {
    proxy.terminate();
    proxy.exit().await;
    let log = proxy.process().stderr();
    match log.lines().find(|line| line.contains("fault")) {
        None => Ok(()),
        Some(line) => Err(line.to_owned().into()),
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime can be built")
}
