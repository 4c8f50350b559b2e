//! [`File`] to [`Settings`]: defaults filled in, names resolved, and the
//! mistakes that only show when entries are seen together.

mod admin;
mod agent;
mod dns;
mod health;
mod listeners;
mod load;
mod outliers;
mod pools;
mod rate;
mod routes;
mod sticky;

use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use tracing::level_filters::LevelFilter;

use super::file::{self, File};
use super::read::Report;
use super::values::{Size, Text, Time, Whole};
use super::{AccessLog, CacheFolder, LogFormat, LogSettings, Settings};
use admin::admin;
use dns::dns;
use listeners::listeners;
use pools::pools;
use routes::{PoolNames, routes};

pub use pools::unreadable;

/// What `file` means; plugins are looked for relative to `folder`. Nothing
/// when the report holds a mistake.
pub fn resolve(file: File, folder: &Path, report: &mut Report<'_>) -> Option<Settings> {
    let names = PoolNames::of(&file.pools, report);
    let listeners = listeners(file.listeners, report);
    let pools = pools(file.pools, folder, report);
    let routes = routes(file.routes, &names, report);
    let admin = admin(file.admin, &listeners, folder, report);
    let dns = dns(file.dns, report);
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
    settings.admin = admin;
    settings.dns = dns;
    if let Some(workers) = file.workers.map(count) {
        settings.workers = NonZeroUsize::new(workers)?;
    }
    let connections = file.max_connections.map(count);
    set(
        &mut settings.max_connections,
        connections.and_then(NonZeroUsize::new),
    );
    set(&mut settings.shutdown_grace, file.shutdown_grace.map(time));
    set(
        &mut settings.upgrade_timeout,
        file.upgrade_timeout.map(time),
    );
    set(&mut settings.compile.time, file.compile_time.map(time));
    set(
        &mut settings.compile.cache,
        file.cache_dir.map(|written| cache(&written, folder)),
    );
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

fn cache(written: &str, folder: &Path) -> CacheFolder {
    match written {
        "" => CacheFolder::Off,
        path => CacheFolder::At(folder.join(path)),
    }
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

fn size<const MIN: u64, const MAX: u64>(written: Text<Size<MIN, MAX>>) -> usize {
    written.0.0
}

fn count<const MIN: u64, const MAX: u64>(written: Whole<MIN, MAX>) -> usize {
    usize::try_from(written.0).unwrap_or(usize::MAX)
}

fn bits32<const MIN: u64, const MAX: u64>(written: Whole<MIN, MAX>) -> u32 {
    u32::try_from(written.0).unwrap_or(u32::MAX)
}

fn percent(written: Whole<0, 100>) -> u8 {
    u8::try_from(written.0).unwrap_or(100)
}
