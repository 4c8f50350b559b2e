//! [`File`] to [`Settings`]: defaults filled in, names resolved, and the
//! mistakes that only show when entries are seen together.

use std::collections::{BTreeMap, HashSet};
use std::num::{NonZeroU16, NonZeroUsize};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use tracing::level_filters::LevelFilter;

use super::defaults::STRATEGY;
use super::document::append_key;
use super::file::{self, File};
use super::json::plugin_text;
use super::mistakes::suggestion;
use super::read::Report;
use super::values::{Text, Time, Whole};
use super::{
    AccessLog, BackendSettings, HashKey, HostPattern, ListenerSettings, LogFormat, LogSettings,
    OnFault, PoolSettings, RouteSettings, Settings, StrategySettings, StrategySource,
};

type Pools = BTreeMap<Spanned<String>, file::Pool>;

/// What `file` means; plugins are looked for relative to `folder`. Nothing
/// when the report holds a mistake.
pub fn resolve(file: File, folder: &Path, report: &mut Report<'_>) -> Option<Settings> {
    let names = PoolNames::of(&file.pools, report);
    let listeners = listeners(file.listeners, report);
    let pools = pools(file.pools, folder, report);
    let routes = routes(file.routes, &names, report);
    if !report.mistakes.is_empty() {
        return None;
    }
    let mut listeners = listeners.into_iter();
    let mut pools = pools.into_iter();
    let mut settings = Settings::new(listeners.next()?, pools.next()?);
    settings.listeners.extend(listeners);
    settings.pools.extend(pools);
    settings.routes = routes;
    settings.log = log(&file.log);
    if let Some(workers) = file.workers.map(count) {
        settings.workers = NonZeroUsize::new(workers)?;
    }
    set(&mut settings.shutdown_grace, file.shutdown_grace.map(time));
    settings.warnings.append(&mut report.warnings);
    Some(settings)
}

fn log(written: &file::Log) -> LogSettings {
    let default = LogSettings::default();
    LogSettings {
        level: written.level.map_or(default.level, |level| match level {
            file::LogLevel::Error => LevelFilter::ERROR,
            file::LogLevel::Warn => LevelFilter::WARN,
            file::LogLevel::Info => LevelFilter::INFO,
            file::LogLevel::Debug => LevelFilter::DEBUG,
            file::LogLevel::Trace => LevelFilter::TRACE,
        }),
        format: written
            .format
            .map_or(default.format, |format| match format {
                file::LogFormat::Auto => LogFormat::Auto,
                file::LogFormat::Human => LogFormat::Human,
                file::LogFormat::Json => LogFormat::Json,
            }),
        access: written
            .access
            .map_or(default.access, |access| match access {
                file::AccessLog::Off => AccessLog::Off,
                file::AccessLog::Common => AccessLog::Common,
                file::AccessLog::Json => AccessLog::Json,
            }),
    }
}

fn listeners(
    written: Vec<Spanned<file::Listener>>,
    report: &mut Report<'_>,
) -> Vec<ListenerSettings> {
    if written.is_empty() {
        report.missing_at_top("listeners", "at least one [[listeners]] is needed");
    }
    let mut names = HashSet::new();
    let mut addresses = HashSet::new();
    let mut listeners = Vec::new();
    for entry in written {
        let span = entry.span();
        let mut entry = entry.into_inner();
        let Some(address) = entry.address.take() else {
            report.missing(&span, "address", "a listener needs an address");
            continue;
        };
        let at = address.span();
        let name_at = entry.name.as_ref().map_or(at.clone(), Spanned::span);
        let listener = listener(entry, address.into_inner().0);
        if listener.address.port() != 0 && !addresses.insert(listener.address) {
            report.mistake(&at, "another listener has this address");
        } else if !names.insert(listener.name.clone()) {
            report.mistake(&name_at, "another listener has this name");
        }
        listeners.push(listener);
    }
    listeners
}

fn listener(entry: file::Listener, address: std::net::SocketAddr) -> ListenerSettings {
    let mut listener = ListenerSettings::new(address);
    set(&mut listener.name, entry.name.map(Spanned::into_inner));
    set(&mut listener.header_timeout, entry.header_timeout.map(time));
    set(&mut listener.keep_alive, entry.keep_alive.map(time));
    set(&mut listener.idle_timeout, entry.idle_timeout.map(time));
    listener.trusted_proxies = entry.trusted_proxies.into_iter().map(|net| net.0).collect();
    listener
}

/// The pools of the file in the order written, and those that were written but
/// could not be read (routes to them are no further mistake).
struct PoolNames {
    known: Vec<(String, Range<usize>)>,
}

impl PoolNames {
    fn of(pools: &Pools, report: &mut Report<'_>) -> Self {
        let mut known: Vec<_> = pools
            .keys()
            .map(|name| (name.get_ref().clone(), name.span()))
            .collect();
        known.sort_by_key(|(_, span)| span.start);
        if known.is_empty() {
            report.missing_at_top("pools", "at least one [pools.NAME] is needed");
        }
        Self { known }
    }

    fn index(&self, name: &str) -> Option<usize> {
        self.known.iter().position(|(known, _)| known == name)
    }
}

fn routes(
    written: Vec<Spanned<file::Route>>,
    pools: &PoolNames,
    report: &mut Report<'_>,
) -> Vec<RouteSettings> {
    if written.is_empty() && !report.blamed("routes") {
        return match pools.known.as_slice() {
            [] => Vec::new(),
            [_] => vec![RouteSettings::everything_to(0)],
            _ => {
                report.missing_at_top("routes", "with more than one pool, [[routes]] are needed");
                Vec::new()
            }
        };
    }
    let mut seen = HashSet::new();
    let mut routes = Vec::new();
    for entry in written {
        let span = entry.span();
        let Some(route) = route(entry, pools, report) else {
            continue;
        };
        let host = match &route.host {
            HostPattern::Any => String::new(),
            HostPattern::Below(name) => format!("*.{name}"),
            HostPattern::Exact(name) => name.clone(),
        };
        if !seen.insert((host, route.path.clone())) {
            report.mistake(&span, "another route has this host and path");
        }
        routes.push(route);
    }
    warn_of_unreachable(pools, &routes, report);
    routes
}

fn route(
    entry: Spanned<file::Route>,
    pools: &PoolNames,
    report: &mut Report<'_>,
) -> Option<RouteSettings> {
    let span = entry.span();
    let entry = entry.into_inner();
    let Some(pool) = entry.pool else {
        report.missing(&span, "pool", "a route needs a pool to lead to");
        return None;
    };
    let Some(index) = pools.index(pool.get_ref()) else {
        unknown_pool(&pool, pools, report);
        return None;
    };
    let mut route = RouteSettings::everything_to(index);
    set(&mut route.host, entry.host.map(|host| host.0));
    set(&mut route.path, entry.path.map(|path| path.0.0));
    Some(route)
}

fn unknown_pool(pool: &Spanned<String>, pools: &PoolNames, report: &mut Report<'_>) {
    let name = pool.get_ref();
    let mut path = "pools".to_owned();
    append_key(&mut path, name);
    if report.blamed(&path) {
        return;
    }
    let known = pools.known.iter().map(|(name, _)| name.as_str());
    let hint = suggestion(name, known);
    report.mistake(&pool.span(), format!("there is no pool `{name}`{hint}"));
}

fn warn_of_unreachable(pools: &PoolNames, routes: &[RouteSettings], report: &mut Report<'_>) {
    for (index, (_, span)) in pools.known.iter().enumerate() {
        if !routes.iter().any(|route| route.pool == index) {
            report.warning(span, "no route leads to this pool");
        }
    }
}

fn pools(written: Pools, folder: &Path, report: &mut Report<'_>) -> Vec<PoolSettings> {
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
            let backends = backends(entries, report);
            let strategy = strategy(&mut pool, folder, report);
            self::pool(name.into_inner(), backends, strategy, pool)
        })
        .collect()
}

fn pool(
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
    set(
        &mut strategy.memory,
        written.memory.take().map(|size| size.0.0),
    );
    set(
        &mut strategy.plan_interval,
        written.plan_interval.take().map(time),
    );
    strategy.on_fault = match written.on_fault {
        Some(file::OnFault::Reject) => OnFault::Reject,
        Some(file::OnFault::Fallback) | None => OnFault::Fallback,
    };
    strategy
}

/// Why the plugin at `path` cannot be read, if it cannot.
pub(super) fn unreadable(path: &PathBuf) -> Option<String> {
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
        let Some(backend) = backend(entry) else {
            report.missing(&span, "address", "a backend needs an address");
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

fn backend(entry: file::Backend) -> Option<BackendSettings> {
    let mut backend = BackendSettings::new(entry.address?.0);
    set(&mut backend.name, entry.name.map(Spanned::into_inner));
    let weight = entry.weight.and_then(|weight| u16::try_from(weight.0).ok());
    set(&mut backend.weight, weight.and_then(NonZeroU16::new));
    set(&mut backend.capacity, entry.capacity.map(bits32));
    set(&mut backend.priority, entry.priority.map(bits32));
    backend.zone = entry.zone;
    backend.labels = entry.labels;
    Some(backend)
}

/// What is written replaces the default.
fn set<T>(value: &mut T, written: Option<T>) {
    if let Some(written) = written {
        *value = written;
    }
}

fn time<const MIN_MS: u64>(written: Text<Time<MIN_MS>>) -> Duration {
    written.0.0
}

fn count<const MIN: u64, const MAX: u64>(written: Whole<MIN, MAX>) -> usize {
    usize::try_from(written.0).unwrap_or(usize::MAX)
}

fn bits32(written: Whole<0, 4_294_967_295>) -> u32 {
    u32::try_from(written.0).unwrap_or(u32::MAX)
}
