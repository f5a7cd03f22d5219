//! A server from its configuration to its end.

use std::io;
use std::thread;

use mio::Events;
use whimbrel_core::config::Config;
use whimbrel_runtime::listen::words;
use whimbrel_runtime::program::Driver;
use whimbrel_runtime::start::{Prepare, Prepared, Running, StartError, Stop};
use whimbrel_runtime::turn::{EVENTS, Turn};

use crate::disk::Disk;

/// What this driver is to those who use it.
pub(crate) const DRIVER: Driver = Driver {
    name: "whimbrel-mio",
    allocator: if cfg!(feature = "mimalloc") { "mimalloc" } else { "system" },
    multiplexing_api: if cfg!(target_os = "linux") { "epoll" } else { "kqueue" },
    max_shards: 1,
};

/// A server that listens and does not serve yet.
pub struct Server {
    turn: Turn<Disk>,
    stop: Stop,
}

impl Server {
    /// Takes the files and ports that the configuration names. Paths in it are relative to its `dir`, `config_file` is absolute.
    ///
    /// # Errors
    /// When a port, the Unix socket or nodes.conf cannot be had, or nodes.conf is not what a node wrote.
    pub fn bind(config: Config) -> Result<Self, StartError> {
        Self::new(config, false)
    }

    /// The same for the program, whose signals are the server's.
    pub(crate) fn new(config: Config, signals: bool) -> Result<Self, StartError> {
        let Prepared { config, mut threads, stop } = Prepared::new(config, &DRIVER, signals)?;
        let Prepare { parts, places, waker } = threads.remove(0);
        let disk =
            Disk::start(places, waker).map_err(|e| StartError::because("Starting the disk thread", &e))?;
        let mut turn = Turn::new(parts, disk, &config)
            .map_err(|e| StartError::because("Creating the event loop", &e))?;
        turn.settle_in();
        while turn.is_saving() {
            if let Some(ended) = turn.disk.wait() {
                turn.take_result(&ended);
            }
        }
        tracing::info!("Server initialized");
        Ok(Self { turn, stop })
    }

    /// Serves on this thread until the end; the exit status of a process that does nothing else.
    pub fn run(mut self) -> i32 {
        turn_on(&mut self.turn).unwrap_or_else(|e| {
            tracing::error!("The event loop failed: {}", words(&e));
            1
        })
    }

    /// Serves on a thread of its own.
    ///
    /// # Errors
    /// When the operating system has no thread to give.
    pub fn start(self) -> Result<Running, StartError> {
        let stop = self.stop.clone();
        let thread = thread::Builder::new()
            .name("whimbrel".into())
            .spawn(|| self.run())
            .map_err(|e| StartError::because("Starting a thread", &e))?;
        Ok(Running::new(thread, stop))
    }
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
fn run(Prepare { parts, places, waker }: Prepare, config: &Config) -> i32 {
    let disk = Disk::start(places, waker).expect("a thread");
    turn_on(&mut Turn::new(parts, disk, config).expect("a loop")).expect("events")
}

#[cfg(test)]
#[path = "../../runtime/tests/turn/mod.rs"]
mod tests;
