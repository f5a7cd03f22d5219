//! A server from its configuration to its end.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use glommio::timer::sleep;
use mio::Events;
use whimbrel_core::config::Config;
use whimbrel_runtime::files::Disk as _;
use whimbrel_runtime::listen::words;
use whimbrel_runtime::program::Driver;
use whimbrel_runtime::start::{Prepare, Prepared, Running, StartError, Stop};
use whimbrel_runtime::turn::{EVENTS, Turn};

use crate::disk::Disk;
use crate::executor::{check, make};
use crate::ring::Ring;

/// What this driver is to those who use it.
pub(crate) const DRIVER: Driver = Driver {
    name: "whimbrel-glommio",
    allocator: if cfg!(feature = "mimalloc") { "mimalloc" } else { "system" },
    multiplexing_api: "io_uring",
    max_shards: 64,
};

/// The shortest wait that is one.
const MOMENT: Duration = Duration::from_micros(2);
/// Time between two looks at what is being saved before anything else is done.
const SAVING: Duration = Duration::from_micros(100);

/// A server that listens and does not serve yet.
pub struct Server {
    threads: Vec<Thread>,
    stop: Stop,
}

/// A thread with an executor, which waits until it shall serve.
struct Thread {
    thread: JoinHandle<i32>,
    go: Sender<()>,
}

impl Server {
    /// Takes the files and ports that the configuration names. Paths in it are relative to its `dir`, `config_file` is absolute.
    ///
    /// # Errors
    /// When a port, the Unix socket or nodes.conf cannot be had, nodes.conf is not what a node wrote, or the machine
    /// has no io_uring for us.
    pub fn bind(config: Config) -> Result<Self, StartError> {
        Self::new(config, false)
    }

    /// The same for the program, whose signals are the server's.
    pub(crate) fn new(config: Config, signals: bool) -> Result<Self, StartError> {
        check()?;
        let Prepared { config, threads, stop } = Prepared::new(config, &DRIVER, signals)?;
        let count = threads.len();
        let threads = threads.into_iter().enumerate();
        let threads = threads.map(|(index, prepare)| Thread::start(prepare, index, count, config.clone()));
        let threads = threads.collect::<Result<_, _>>()?;
        tracing::info!("Server initialized");
        Ok(Self { threads, stop })
    }

    /// Serves until the end; the exit status of a process that does nothing else.
    ///
    /// # Panics
    /// When one of the server's threads has panicked.
    pub fn run(self) -> i32 {
        for Thread { go, .. } in &self.threads {
            let _ = go.send(());
        }
        let codes = self.threads.into_iter().map(|Thread { thread, .. }| thread.join());
        let codes: Vec<_> = codes.map(|code| code.expect("a thread of a server")).collect();
        codes.first().copied().unwrap_or(1)
    }

    /// Serves on threads of its own.
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

impl Thread {
    /// Starts the `index`-th of `count` threads; it is ready when this returns.
    fn start(prepare: Prepare, index: usize, count: usize, config: Arc<Config>) -> Result<Self, StartError> {
        let (go, gone) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let thread = thread::Builder::new()
            .name(format!("shard-{index}"))
            .spawn(move || {
                let executor = match make(index, count) {
                    Ok(executor) => executor,
                    Err(e) => {
                        let _ = tell.send(Err(e));
                        return 1;
                    }
                };
                executor.run(live(prepare, &config, &tell, &gone))
            })
            .map_err(|e| StartError::because("Starting a thread", &e))?;
        told.recv().unwrap_or_else(|_| Err(StartError("A thread ended before it began".into())))?;
        Ok(Self { thread, go })
    }
}

/// The life of an executor: made ready, told of, serving from `go` on; the exit status.
async fn live(
    Prepare { parts, places, waker }: Prepare,
    config: &Config,
    tell: &Sender<Result<(), StartError>>,
    go: &Receiver<()>,
) -> i32 {
    let mut turn = match Turn::new(parts, Disk::start(places, waker), config) {
        Ok(turn) => turn,
        Err(e) => {
            let _ = tell.send(Err(StartError::because("Creating the event loop", &e)));
            return 1;
        }
    };
    turn.settle_in();
    while turn.is_saving() {
        match turn.disk.result() {
            Some(ended) => turn.take_result(&ended),
            None => sleep(SAVING).await,
        }
    }
    let _ = tell.send(Ok(()));
    // Nothing else has to be done on this thread meanwhile.
    let mut code = 0;
    if go.recv().is_ok() {
        code = turn_on(&mut turn).await.unwrap_or_else(|e| {
            tracing::error!("The event loop failed: {}", words(&e));
            1
        });
    }
    turn.disk.finish().await;
    code
}

/// Turns until a machine asks for the end; the exit status.
async fn turn_on(turn: &mut Turn<Disk>) -> io::Result<i32> {
    let mut events = Events::with_capacity(EVENTS);
    let mut ring = Ring::new(turn.poll.registry().try_clone()?);
    let mut exit = turn.begin();
    loop {
        if let Some(code) = exit {
            return Ok(code);
        }
        // While sockets have something to say, the ring need not be asked.
        look(turn, &mut events)?;
        if events.is_empty() && !turn.patience().is_zero() && turn.fall_asleep() {
            ring.wait(turn.patience()).await;
            look(turn, &mut events)?;
        } else if turn.is_saving() {
            // The disk gets on only when the executor asks its ring, which it does when all tasks wait.
            sleep(MOMENT).await;
        }
        exit = turn.take(&events);
    }
}

/// Asks what has happened, without waiting.
fn look(turn: &mut Turn<Disk>, events: &mut Events) -> io::Result<()> {
    match turn.poll.poll(events, Some(Duration::ZERO)) {
        Err(e) if e.kind() != io::ErrorKind::Interrupted => Err(e),
        _ => Ok(()),
    }
}

/// Runs a loop over machines that a test has made, to its end.
#[cfg(test)]
fn run(prepare: Prepare, config: &Config) -> i32 {
    let (tell, _told) = mpsc::channel();
    let (go, gone) = mpsc::channel();
    go.send(()).expect("somebody listens");
    make(0, 1).expect("an executor").run(live(prepare, config, &tell, &gone))
}

#[cfg(test)]
mod several;

#[cfg(test)]
#[path = "../../runtime/tests/turn/mod.rs"]
mod tests;
