//! Which processor core a process runs on.

/// How many cores this process may use.
pub fn available() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Pins the calling thread, and what it starts from now on, to these cores; whether that worked.
#[cfg(target_os = "linux")]
pub fn pin(cores: &[usize]) -> bool {
    let mut set = nix::sched::CpuSet::new();
    cores.iter().all(|core| set.set(*core).is_ok())
        && nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set).is_ok()
}

/// Pins the calling thread to cores; only Linux lets us.
#[cfg(not(target_os = "linux"))]
pub fn pin(_cores: &[usize]) -> bool {
    false
}
