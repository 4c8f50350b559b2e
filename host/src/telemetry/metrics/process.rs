//! What the system says of this process, under the names that all Prometheus
//! clients use. Where there is no `/proc` most of it is left out.

use std::fmt;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::sheet::Sheet;

/// Writes it; the process began at `start`.
pub fn write(sheet: &mut Sheet, start: SystemTime) -> fmt::Result {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    sheet.counter(
        "process_cpu_seconds_total",
        "CPU time used, of user and system.",
        [([], cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9)],
    )?;
    sheet.gauge(
        "process_start_time_seconds",
        "When the process started, since the Unix epoch.",
        [(
            [],
            start
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs_f64(),
        )],
    )?;
    sheet.gauge(
        "process_resident_memory_bytes",
        "Memory in RAM.",
        kibibytes(&status, "VmRSS").map(|bytes| ([], bytes)),
    )?;
    sheet.gauge(
        "process_virtual_memory_bytes",
        "Address space; every plugin instance reserves 4 GiB or more of it and uses little.",
        kibibytes(&status, "VmSize").map(|bytes| ([], bytes)),
    )?;
    sheet.gauge(
        "process_open_fds",
        "Descriptors open.",
        descriptors().map(|count| ([], count)),
    )?;
    sheet.gauge(
        "process_max_fds",
        "Descriptors that may be open.",
        getrlimit(Resource::Nofile).current.map(|count| ([], count)),
    )?;
    sheet.gauge(
        "process_threads",
        "Threads.",
        number(&status, "Threads").map(|count| ([], count)),
    )
}

/// The descriptors of this process, but for the one that they are read with.
fn descriptors() -> Option<u64> {
    let open = fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    Some(open.saturating_sub(1))
}

/// A line of `/proc/self/status` that is in kibibytes (which it calls kB), in bytes.
fn kibibytes(status: &str, key: &str) -> Option<u64> {
    Some(number(status, key)? * 1024)
}

fn number(status: &str, key: &str) -> Option<u64> {
    let value = |line: &str| line.strip_prefix(key)?.strip_prefix(':').map(str::to_owned);
    let value = status.lines().find_map(value)?;
    value.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_their_whole_key() {
        let status = "VmSizeX:\t1 kB\nVmSize:\t    2048 kB\nThreads:\t7\nName:\tanubis\n";
        assert_eq!(kibibytes(status, "VmSize"), Some(2048 * 1024));
        assert_eq!(number(status, "Threads"), Some(7));
        assert_eq!(number(status, "Name"), None);
        assert_eq!(number(status, "VmRSS"), None);
    }
}
