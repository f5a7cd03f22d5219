//! Executors: where they run, how much memory they lock, and what to say where there can be none.

use std::io;

use glommio::{LocalExecutor, LocalExecutorBuilder, Placement};
use io_uring::{IoUring, Probe, opcode};
use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::Pid;
use whimbrel_runtime::failure::StartError;
use whimbrel_runtime::failure::words;

/// Memory that each of an executor's three rings locks for its files, in bytes: the least that glommio takes. Sixteen
/// executors lock 3 MiB, where a process may usually lock 8.
const IO_MEMORY: usize = 64 * 1024;

/// What glommio wants to be allowed to lock, in bytes, whoever we are.
const LOCKED: u64 = 512 * 1024;

/// An executor for this thread, the `index`-th of `count`.
///
/// One alone runs where the scheduler puts it. Several have a core each, of those that the process may use.
pub(crate) fn make(index: usize, count: usize) -> Result<LocalExecutor, StartError> {
    let cores = allowed_cores();
    let placement = match cores.get(index % cores.len().max(1)) {
        Some(core) if count > 1 => Placement::Fixed(*core),
        _ => Placement::Unbound,
    };
    let builder = LocalExecutorBuilder::new(placement).name("whimbrel").io_memory(IO_MEMORY);
    builder.make().map_err(|e| missing(&format!("an executor, which could not be made ({e})")))
}

/// Says why there can be no executor on this machine, if that is so.
pub(crate) fn check() -> Result<(), StartError> {
    let allowed = getrlimit(Resource::RLIMIT_MEMLOCK).map_or(u64::MAX, |(soft, _)| soft);
    if allowed < LOCKED {
        let (wants, has) = (LOCKED / 1024, allowed / 1024);
        return Err(missing(&format!("to lock {wants} KiB of memory and may lock {has} (ulimit -l)")));
    }
    let ring = IoUring::new(2).map_err(|e| missing(&refusal(&e)))?;
    let mut probe = Probe::new();
    let asked = ring.submitter().register_probe(&mut probe);
    asked.map_err(|e| missing(&refusal(&e)))?;
    let needed = [opcode::PollAdd::CODE, opcode::Timeout::CODE, opcode::OpenAt::CODE, opcode::Fsync::CODE];
    if needed.iter().all(|code| probe.is_supported(*code)) {
        return Ok(());
    }
    Err(missing("a kernel from 5.8 on, and this one is older"))
}

fn refusal(error: &io::Error) -> String {
    format!("io_uring, which the kernel refused ({})", words(error))
}

fn missing(what: &str) -> StartError {
    StartError(format!("whimbrel-glommio needs {what}. whimbrel-mio runs anywhere."))
}

/// The cores that this process may use.
fn allowed_cores() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(Pid::from_raw(0)) else { return Vec::new() };
    (0..CpuSet::count()).filter(|core| set.is_set(*core).unwrap_or(false)).collect()
}
