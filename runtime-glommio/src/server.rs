//! How a server runs here: a thread with an executor for each shard, which waits in epoll, or in its ring while files are written.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use glommio::timer::sleep;
use mio::Events;
use whimbrel_core::config::Config;
use whimbrel_runtime::files::Disk as _;

use whimbrel_runtime::failure::StartError;
use whimbrel_runtime::start::{Driver, Prepare, Prepared, Serve};
use whimbrel_runtime::turn::{EVENTS, Turn, status};

use crate::disk::Disk;
use crate::executor::{check, make};
use crate::ring::Ring;

/// What this driver is to those who use it.
pub(crate) const DRIVER: Driver = Driver {
    name: "whimbrel-glommio",
    allocator: if cfg!(feature = "mimalloc") { "mimalloc" } else { "system" },
    multiplexing_api: "epoll",
    max_shards: 64,
    check,
    settle_in,
};

/// The shortest wait that is one.
const MOMENT: Duration = Duration::from_micros(2);
/// Time between two looks at what is being saved before anything else is done.
const SAVING: Duration = Duration::from_micros(100);

/// A thread with an executor, which waits until it shall serve.
struct Thread {
    thread: JoinHandle<i32>,
    go: Sender<()>,
}

/// Makes the loops, which begin to serve when what this gives is called.
fn settle_in(Prepared { config, threads, .. }: Prepared) -> Result<Serve, StartError> {
    let count = threads.len();
    let threads = threads.into_iter().enumerate();
    let threads = threads.map(|(index, prepare)| Thread::start(prepare, index, count, config.clone()));
    let threads = threads.collect::<Result<Vec<_>, _>>()?;
    Ok(Box::new(|| {
        for Thread { go, .. } in &threads {
            let _ = go.send(());
        }
        let codes = threads.into_iter().map(|Thread { thread, .. }| thread.join());
        let codes: Vec<_> = codes.map(|code| code.expect("a thread of a server")).collect();
        codes.first().copied().unwrap_or(1)
    }))
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
            let _ = tell.send(Err(e));
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
        code = status(turn_on(&mut turn).await);
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
        let mut patience = turn.patience();
        if patience.is_zero() || !turn.fall_asleep() {
            patience = Duration::ZERO;
        }
        if !turn.is_saving() {
            // Nobody else wants this thread.
            look(turn, &mut events, patience)?;
        } else {
            look(turn, &mut events, Duration::ZERO)?;
            // The disk gets on only when the executor asks its ring, which it does when all tasks wait.
            if events.is_empty() && !patience.is_zero() {
                ring.wait(patience).await;
                look(turn, &mut events, Duration::ZERO)?;
            } else {
                sleep(MOMENT).await;
            }
        }
        exit = turn.take(&events);
    }
}

/// Asks what has happened, or waits for it.
fn look(turn: &mut Turn<Disk>, events: &mut Events, patience: Duration) -> io::Result<()> {
    match turn.poll.poll(events, Some(patience)) {
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
mod moving;
#[cfg(test)]
mod several;

#[cfg(test)]
#[path = "../../runtime/tests/turn/mod.rs"]
mod tests;
