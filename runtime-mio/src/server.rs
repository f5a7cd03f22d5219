//! How a server runs here: one thread, which waits in epoll or kqueue.

use std::io;

use mio::Events;

use whimbrel_runtime::failure::StartError;
use whimbrel_runtime::start::{Driver, Prepare, Prepared, Serve};
use whimbrel_runtime::turn::{EVENTS, Turn, status};

use crate::disk::Disk;

/// What this driver is to those who use it.
pub(crate) const DRIVER: Driver = Driver {
    name: "whimbrel-mio",
    allocator: if cfg!(feature = "mimalloc") { "mimalloc" } else { "system" },
    multiplexing_api: if cfg!(target_os = "linux") { "epoll" } else { "kqueue" },
    max_shards: 1,
    check: || Ok(()),
    settle_in,
};

/// Makes the loop, which begins to serve when what this gives is called.
fn settle_in(Prepared { config, mut threads, .. }: Prepared) -> Result<Serve, StartError> {
    let Prepare { parts, places, waker } = threads.remove(0);
    let disk = Disk::start(places, waker).map_err(|e| StartError::because("Starting the disk thread", &e))?;
    let mut turn = Turn::new(parts, disk, &config)?;
    turn.settle_in();
    while turn.is_saving() {
        if let Some(ended) = turn.disk.wait() {
            turn.take_result(&ended);
        }
    }
    Ok(Box::new(move || status(turn_on(&mut turn))))
}

/// Turns until a machine asks for the end; the exit status.
fn turn_on(turn: &mut Turn<Disk>) -> io::Result<i32> {
    let mut events = Events::with_capacity(EVENTS);
    let mut exit = turn.begin();
    loop {
        if let Some(code) = exit {
            return Ok(code);
        }
        match turn.poll.poll(&mut events, Some(turn.patience())) {
            Ok(()) => exit = turn.take(&events),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Runs a loop over machines that a test has made, to its end.
#[cfg(test)]
fn run(Prepare { parts, places, waker }: Prepare, config: &whimbrel_core::config::Config) -> i32 {
    let disk = Disk::start(places, waker).expect("a thread");
    turn_on(&mut Turn::new(parts, disk, config).expect("a loop")).expect("events")
}

#[cfg(test)]
#[path = "../../runtime/tests/turn/mod.rs"]
mod tests;
