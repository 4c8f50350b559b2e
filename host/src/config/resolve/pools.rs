//! What `[pools.NAME]` mean.

use std::collections::{BTreeMap, HashSet};
use std::num::{NonZeroU16, NonZeroUsize};
use std::path::Path;

use toml::Spanned;

use super::agent::agent;
use super::health::health;
use super::load::load_report;
use super::outliers::outliers;
use super::rate::rate;
use super::{bits32, count, percent, set, size, sticky, time};
use crate::config::defaults::STRATEGY;
use crate::config::file;
use crate::config::json::plugin_text;
use crate::config::read::Report;
use crate::config::values::{Size, Text, Whole};
use crate::config::words::DnsName;
use crate::config::{
    BackendSettings, BackendState, HashKey, OnFault, PoolSettings, Priorities, Resolve,
    StrategySettings, StrategySource, Target,
};

/// Every pool, in the order written.
pub fn pools(
    written: BTreeMap<Spanned<String>, file::Pool>,
    folder: &Path,
    report: &mut Report<'_>,
) -> Vec<PoolSettings> {
    let mut written: Vec<_> = written.into_iter().collect();
    written.sort_by_key(|(name, _)| name.span().start);
    written
        .into_iter()
        .map(|(name, mut pool)| {
            let entries = std::mem::take(&mut pool.backends);
            if entries.is_empty() {
                report.missing(
                    &name.span(),
                    "backends",
                    "a pool needs at least one backend",
                );
            }
            if let Some(timeout) = &pool.queue_timeout
                && pool.queue_size.as_ref().is_none_or(|size| size.0 == 0)
            {
                let what = "nobody waits: `queue-size` is 0";
                report.warning(&timeout.span(), what);
            }
            let backends = backends(entries, report);
            let strategy = strategy(&mut pool, folder, report);
            let sticky = pool.sticky.take();
            let sticky = sticky.and_then(|written| sticky::sticky(written, folder, report));
            let rate_limit = pool.rate_limit.take();
            let rate_limit = rate_limit.and_then(|written| rate(written, report));
            let health_check = pool.health_check.take();
            let health_check = health_check.map(|written| health(written, report));
            let agent_check = pool.agent_check.take();
            let load = pool.load_report.take();
            PoolSettings {
                rate_limit,
                health_check,
                agent_check: agent_check.and_then(|written| agent(written, report)),
                load_report: load.map(|written| load_report(written, report)),
                sticky,
                ..pool_settings(name.into_inner(), backends, strategy, pool)
            }
        })
        .collect()
}

fn pool_settings(
    name: String,
    backends: Vec<BackendSettings>,
    strategy: StrategySettings,
    written: file::Pool,
) -> PoolSettings {
    let mut pool = PoolSettings::new(name, backends);
    pool.hash_key = match written.hash_key {
        Some(key) => key.0,
        None => HashKey::default_for(&strategy.source),
    };
    pool.priorities = match written.priorities {
        Some(file::Priorities::Proxy) => Priorities::Proxy,
        Some(file::Priorities::Strategy) => Priorities::Strategy,
        None => Priorities::default_for(&strategy.source),
    };
    set(
        &mut pool.panic_threshold,
        written.panic_threshold.map(percent),
    );
    set(&mut pool.slow_start, written.slow_start.map(time));
    set(&mut pool.outliers, written.outlier_detection.map(outliers));
    pool.strategy = strategy;
    pool.zone = written.zone;
    set(
        &mut pool.host_header,
        written.host_header.map(|host| host.0),
    );
    set(
        &mut pool.tries,
        written.tries.map(count).and_then(NonZeroUsize::new),
    );
    pool.retry.on = written.retry_on.into_iter().collect();
    set(&mut pool.retry.budget, written.retry_budget.map(percent));
    set(&mut pool.retry.backoff, written.retry_backoff.map(time));
    set(
        &mut pool.retry.total_timeout,
        written.total_timeout.map(time),
    );
    set(
        &mut pool.retry.replay_buffer,
        written.replay_buffer.map(size),
    );
    set(&mut pool.retry.hedge_after, written.hedge_after.map(time));
    set(&mut pool.connect_timeout, written.connect_timeout.map(time));
    set(
        &mut pool.response_timeout,
        written.response_timeout.map(time),
    );
    set(&mut pool.idle_timeout, written.idle_timeout.map(time));
    set(&mut pool.keep_alive, written.keep_alive.map(time));
    set(
        &mut pool.keep_alive_connections,
        written.keep_alive_connections.map(count),
    );
    set(&mut pool.tunnel_timeout, written.tunnel_timeout.map(time));
    set(&mut pool.max_requests, written.max_requests.map(bits32));
    set(&mut pool.queue_size, written.queue_size.map(count));
    set(
        &mut pool.queue_timeout,
        written.queue_timeout.map(|limit| time(limit.into_inner())),
    );
    set(&mut pool.retry_after, written.retry_after.map(time));
    set(
        &mut pool.resolve,
        written.resolve.map(|resolve| match resolve {
            file::Resolve::All => Resolve::All,
            file::Resolve::AtConnect => Resolve::AtConnect,
        }),
    );
    pool
}

fn strategy(written: &mut file::Pool, folder: &Path, report: &mut Report<'_>) -> StrategySettings {
    let mut source = StrategySource::Shipped(STRATEGY.to_owned());
    if let Some(text) = written.strategy.take() {
        let span = text.span();
        source = text.into_inner().0;
        if let StrategySource::File(path) = &mut source {
            // `a/./b` as `a/b`: it is what the log will name.
            *path = folder.join(&path).components().collect();
            if let Some(what) = unreadable(path) {
                report.mistake(&span, what);
            }
        }
    }
    let mut strategy = StrategySettings::new(source);
    if let Some(value) = written.config.take() {
        let span = value.span();
        match plugin_text(value.into_inner()) {
            Ok(text) => strategy.config = text,
            Err(what) => report.mistake(&span, what),
        }
    }
    set(&mut strategy.deadline, written.deadline.take().map(time));
    set(&mut strategy.budget, written.budget.take().map(time));
    set(&mut strategy.probation, written.probation.take().map(time));
    set(
        &mut strategy.memory,
        written.memory.take().map(|size| size.0.0),
    );
    strategy.recycle_memory = match written.recycle_memory.take() {
        Some(size) => recycle_memory(size, strategy.memory, report),
        None => StrategySettings::recycle_memory_for(strategy.memory),
    };
    let recycle_calls = written.recycle_calls.take();
    set(
        &mut strategy.recycle_calls,
        recycle_calls.map(|Whole(calls)| calls),
    );
    set(
        &mut strategy.plan_interval,
        written.plan_interval.take().map(time),
    );
    strategy.on_fault = match written.on_fault {
        Some(file::OnFault::Reject) => OnFault::Reject,
        Some(file::OnFault::LastGood) => OnFault::LastGood,
        Some(file::OnFault::Fallback) | None => OnFault::Fallback,
    };
    strategy
}

fn recycle_memory(written: Spanned<Text<Size>>, memory: usize, report: &mut Report<'_>) -> usize {
    let span = written.span();
    let bytes = written.into_inner().0.0;
    if bytes > memory {
        let what = format!("is more than `memory`, which is {memory} bytes");
        report.mistake(&span, what);
    }
    bytes
}

/// Why the plugin at `path` cannot be read, if it cannot.
pub fn unreadable(path: &Path) -> Option<String> {
    match std::fs::metadata(path) {
        Ok(file) if file.is_file() => None,
        Ok(_) => Some(format!("{} is not a file", path.display())),
        Err(error) => Some(format!("cannot read {}: {error}", path.display())),
    }
}

fn backends(written: Vec<Spanned<file::Backend>>, report: &mut Report<'_>) -> Vec<BackendSettings> {
    let mut names = HashSet::new();
    let mut backends = Vec::new();
    for entry in written {
        let span = entry.span();
        let entry = entry.into_inner();
        let name_at = entry.name.as_ref().map_or(span.clone(), Spanned::span);
        let Some(backend) = backend(entry, report) else {
            let what = "a backend needs an `address` or an `srv`";
            report.missing_either(&span, "address", "srv", what);
            continue;
        };
        if !names.insert(backend.name.clone()) {
            let what = format!("another backend of this pool is called `{}`", backend.name);
            report.mistake(&name_at, what);
        }
        backends.push(backend);
    }
    backends
}

fn backend(mut entry: file::Backend, report: &mut Report<'_>) -> Option<BackendSettings> {
    let mut backend = match entry.srv.take() {
        Some(srv) => service(&srv, &entry, report)?,
        None => BackendSettings::new(entry.address?.0),
    };
    set(&mut backend.name, entry.name.map(Spanned::into_inner));
    let weight = entry.weight.and_then(|weight| u16::try_from(weight.0).ok());
    set(&mut backend.weight, weight.and_then(NonZeroU16::new));
    set(&mut backend.capacity, entry.capacity.map(bits32));
    set(&mut backend.priority, entry.priority.map(bits32));
    backend.zone = entry.zone;
    backend.labels = entry.labels;
    set(&mut backend.state, entry.state.map(state));
    Some(backend)
}

/// The backend that stands for SRV records.
fn service(
    srv: &Spanned<Text<DnsName>>,
    entry: &file::Backend,
    report: &mut Report<'_>,
) -> Option<BackendSettings> {
    let beside = [
        ("address", entry.address.is_some()),
        ("weight", entry.weight.is_some()),
        ("priority", entry.priority.is_some()),
    ];
    for (key, _) in beside.into_iter().filter(|(_, written)| *written) {
        let what = format!("SRV records have their own: `{key}` does not go with `srv`");
        report.mistake(&srv.span(), what);
    }
    let Text(DnsName(name)) = srv.get_ref();
    let mut backend = BackendSettings::new(name.parse().ok()?);
    backend.target = Target::Service;
    Some(backend)
}

fn state(written: file::BackendState) -> BackendState {
    match written {
        file::BackendState::Active => BackendState::Active,
        file::BackendState::Drain => BackendState::Drain,
        file::BackendState::Maintenance => BackendState::Maintenance,
    }
}
