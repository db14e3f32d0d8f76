//! The process as the system sees it, under the names that all clients of Prometheus use.

use super::page::{Family, Page};

/// What the system does not tell is left out.
#[cfg(target_os = "linux")]
pub(super) fn write(page: &mut Page) {
    use procfs::process::{LimitValue, Process};

    let Ok(process) = Process::myself() else { return };
    let ticks = procfs::ticks_per_second().max(1);
    if let Ok(stat) = process.stat() {
        let seconds = ratio(stat.utime.saturating_add(stat.stime), ticks);
        let mut cpu = Family::counter("process_cpu_seconds_total", "Time spent on the processor.");
        cpu.add(&[], seconds);
        page.push(cpu);
        one(
            page,
            "process_resident_memory_bytes",
            "Memory that is not swapped out.",
            stat.rss.saturating_mul(procfs::page_size()),
        );
        one(page, "process_virtual_memory_bytes", "Address space in use.", stat.vsize);
        if let Ok(boot_secs) = procfs::boot_time_secs() {
            let mut start =
                Family::gauge("process_start_time_seconds", "Start, in seconds since 1970.");
            start.add(&[], ratio(stat.starttime, ticks) + ratio(boot_secs, 1));
            page.push(start);
        }
    }
    if let Ok(count) = process.fd_count() {
        one(page, "process_open_fds", "Open files, connections included.", count as u64);
    }
    let limit = process.limits().map(|limits| limits.max_open_files.soft_limit);
    if let Ok(LimitValue::Value(limit)) = limit {
        one(page, "process_max_fds", "How many files may be open.", limit);
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn write(_page: &mut Page) {}

#[cfg(target_os = "linux")]
fn one(page: &mut Page, name: &str, help: &str, value: u64) {
    let mut family = Family::gauge(name, help);
    family.count(&[], value);
    page.push(family);
}

#[cfg(target_os = "linux")]
#[expect(clippy::cast_precision_loss, reason = "seconds to the hundredth fit into 64-bit floats")]
fn ratio(count: u64, of: u64) -> f64 {
    count as f64 / of as f64
}
