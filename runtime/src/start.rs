//! What a server is made of, from its configuration.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use mio::{Poll, Waker};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;
use whimbrel_core::action::Actions;
use whimbrel_core::config::Config;
use whimbrel_core::input::Input;
use whimbrel_core::node::Node;
use whimbrel_core::shard::Shard;
use whimbrel_core::stopwatch::Stopwatch;

use crate::clock::{self, Clock};
use crate::files::{Locked, Places};
use crate::listen::{Listeners, words};
use crate::machine::Machines;
use crate::program::Driver;
use crate::turn::{FIRST, Parts, WAKER};
use crate::vitals;

/// Why a server cannot start, in one line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StartError(pub String);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

impl StartError {
    /// The operating system refused.
    #[must_use]
    pub fn because(what: &str, error: &io::Error) -> Self {
        Self(format!("{what}: {}", words(error)))
    }
}

/// How to ask a server for its end.
#[derive(Clone, Debug)]
pub struct Stop {
    asked: Arc<AtomicBool>,
    waker: Arc<Waker>,
}

impl Stop {
    /// Asks the server to save what it must and end.
    pub fn ask(&self) {
        self.asked.store(true, Ordering::Release);
        let _ = self.waker.wake();
    }
}

/// A server that runs on a thread of its own.
#[derive(Debug)]
pub struct Running {
    thread: JoinHandle<i32>,
    stop: Stop,
}

impl Running {
    /// It runs on this thread and hears of `stop`.
    #[must_use]
    pub fn new(thread: JoinHandle<i32>, stop: Stop) -> Self {
        Self { thread, stop }
    }

    /// Asks the server to save what it must and end.
    pub fn stop(&self) {
        self.stop.ask();
    }

    /// Waits for the end; the exit status.
    ///
    /// # Panics
    /// When the server's thread has panicked.
    #[must_use]
    pub fn join(self) -> i32 {
        self.thread.join().expect("the thread of a server")
    }
}

/// Everything that a server needs to have before it can turn: files and ports are taken, machines are made.
pub struct Prepared {
    /// What it shall do.
    pub config: Config,
    /// What its loop turns.
    pub parts: Parts,
    /// Its files.
    pub places: Places,
    /// Wakes its loop.
    pub waker: Arc<Waker>,
    /// Asks it for the end.
    pub stop: Stop,
}

impl Prepared {
    /// Takes the files and ports that the configuration names. Paths in it are relative to its `dir`, `config_file` is
    /// absolute. With `signals` those of the process are the server's.
    ///
    /// # Errors
    /// When a port, the Unix socket or nodes.conf cannot be had, or nodes.conf is not what a node wrote.
    pub fn new(config: Config, driver: &Driver, signals: bool) -> Result<Self, StartError> {
        let config = with_users(config)?;
        let clock = Clock::start();
        let poll = Poll::new().map_err(|e| StartError::because("Creating the event loop", &e))?;
        let (nodes_conf, content) = match config.cluster_enabled {
            true => {
                let path = Path::new(&config.dir).join(&config.cluster_config_file);
                let (locked, content) = Locked::take(&path).map_err(StartError)?;
                (Some(locked), Some(content).filter(|content| !content.is_empty()))
            }
            false => (None, None),
        };
        let machines = machines(&config, driver, content.as_deref(), &clock)?;
        let listeners = Listeners::open(&config, poll.registry(), FIRST).map_err(StartError)?;
        let waker =
            Waker::new(poll.registry(), WAKER).map_err(|e| StartError::because("Creating a waker", &e))?;
        let waker = Arc::new(waker);
        let places = Places::new(&config, nodes_conf);
        let signals = match signals {
            true => Some(
                Signals::new([SIGTERM, SIGINT]).map_err(|e| StartError::because("Catching signals", &e))?,
            ),
            false => None,
        };
        let stop = Stop { asked: Arc::new(AtomicBool::new(false)), waker: waker.clone() };
        let parts = Parts { poll, machines, listeners, signals, stop: stop.asked.clone(), clock };
        Ok(Self { config, parts, places, waker, stop })
    }
}

/// The machines of a process with this configuration.
fn machines(
    config: &Config,
    driver: &Driver,
    nodes_conf: Option<&[u8]>,
    clock: &Clock,
) -> Result<Machines, StartError> {
    let now = clock.now();
    let shared = Arc::new(config.clone());
    let config_text = match config.config_file.as_str() {
        "" => None,
        path => Some(fs::read_to_string(path).map_err(|e| StartError::because(path, &e))?),
    };
    let node = Node::new(shared.clone(), config_text, nodes_conf, seed()?, now).map_err(|corrupt| {
        StartError(format!(
            "Unrecoverable error: corrupted cluster config file {}: {corrupt}",
            config.cluster_config_file
        ))
    })?;
    let mut shard = Shard::new(shared, node.view(), seed()?, now);
    shard.lend(Stopwatch::Lent(clock::nanos));
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(no_random)?;
    shard.set_secret(secret);
    shard.handle(now, Input::Introduced(vitals::process(config, driver)), &mut Actions::default());
    Ok(Machines { node: Box::new(node), shard: Box::new(shard) })
}

/// The configuration with the users of its ACL file, if it names one.
fn with_users(mut config: Config) -> Result<Config, StartError> {
    if config.aclfile.is_empty() {
        return Ok(config);
    }
    let path = Path::new(&config.dir).join(&config.aclfile);
    let loaded = match fs::read_to_string(&path) {
        Ok(text) => config.users.load(&config.aclfile, &text).map_err(|invalid| invalid.to_string()),
        Err(e) => Err(format!("Error loading ACLs, opening file '{}': {}", config.aclfile, words(&e))),
    };
    let users = loaded
        .map_err(|why| StartError(format!("Aborting Whimbrel startup because of ACL errors: {why}")))?;
    *config.users_mut() = users;
    Ok(config)
}

/// A number nobody can foresee: the whole future of a machine follows from it.
fn seed() -> Result<u64, StartError> {
    getrandom::u64().map_err(no_random)
}

fn no_random(e: getrandom::Error) -> StartError {
    StartError(format!("No random numbers from the operating system: {e}"))
}
