//! What a process has used, as the kernel tells: CPU time and memory.

use std::fs;

use crate::common::Trouble;

/// CPU time of all its threads that live, in the kernel and outside, in nanoseconds.
pub fn cpu_ns(pid: u32) -> Result<u64, Trouble> {
    let folder = format!("/proc/{pid}/task");
    let trouble = |e: std::io::Error| format!("{folder}: {e}; CPU time is measured on Linux only");
    let mut sum = 0;
    for task in fs::read_dir(&folder).map_err(trouble)? {
        let path = task.map_err(trouble)?.path().join("schedstat");
        // A thread may have ended since it was listed.
        let text = fs::read_to_string(path).unwrap_or_default();
        sum += text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or_default();
    }
    Ok(sum)
}

/// Bytes in memory.
pub fn rss(pid: u32) -> Result<u64, Trouble> {
    let path = format!("/proc/{pid}/status");
    let text =
        fs::read_to_string(&path).map_err(|e| format!("{path}: {e}; memory is measured on Linux only"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.map(|kb| kb * 1024).ok_or_else(|| format!("{path} does not tell VmRSS"))
}
