//! Figures of the process that only the operating system knows.

use std::fs;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use whimbrel_core::config::Config;
use whimbrel_core::input::{Process, Vitals};

/// Asks the operating system; the turns of the event loop are the caller's.
pub(crate) fn observe() -> Vitals {
    let mut vitals = Vitals {
        rss: rss(),
        resident: anonymous(),
        total_system_memory: total_memory(),
        ..Vitals::default()
    };
    if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
        let micros =
            |time: nix::sys::time::TimeVal| u64::try_from(time.num_microseconds()).unwrap_or_default();
        vitals.cpu_sys_us = micros(usage.system_time());
        vitals.cpu_user_us = micros(usage.user_time());
        if vitals.rss == 0 {
            // The most it ever was is the best that systems without /proc say; kilobytes, but bytes on Apple's.
            let unit = if cfg!(target_vendor = "apple") { 1 } else { 1024 };
            vitals.rss = u64::try_from(usage.max_rss()).unwrap_or_default() * unit;
        }
    }
    vitals
}

/// What the process is.
pub(crate) fn process(config: &Config, multiplexing_api: &str, allocator: &str) -> Process {
    let text = |s: &std::ffi::OsStr| s.to_string_lossy().into_owned();
    let os = nix::sys::utsname::uname().map(|names| {
        format!("{} {} {}", text(names.sysname()), text(names.release()), text(names.machine()))
    });
    Process {
        pid: std::process::id(),
        executable: std::env::current_exe().map(|path| path.display().to_string()).unwrap_or_default(),
        config_file: config.config_file.clone(),
        os: os.unwrap_or_default(),
        multiplexing_api: multiplexing_api.into(),
        allocator: allocator.into(),
    }
}

/// Bytes in memory, from /proc: the second number is pages.
fn rss() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
    pages.map_or(0, |pages| pages * page_size())
}

/// Bytes in memory that are no file's, from /proc.
fn anonymous() -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn page_size() -> u64 {
    // The size of the kernel's pages is in the auxiliary vector of every process, as AT_PAGESZ.
    const AT_PAGESZ: u64 = 6;
    let words = fs::read("/proc/self/auxv").unwrap_or_default();
    let words: Vec<u64> =
        words.chunks_exact(8).map(|w| u64::from_ne_bytes(w.try_into().unwrap_or_default())).collect();
    words.chunks_exact(2).find(|pair| pair[0] == AT_PAGESZ).map_or(4096, |pair| pair[1])
}

fn total_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}
