//! A server from its configuration to its end.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

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
use crate::disk::{Disk, Locked, Places};
use crate::listen::{Listeners, words};
use crate::machine::Machines;
use crate::turn::{FIRST, Parts, Turn, WAKER};
use crate::vitals;

/// Why a server cannot start, in one line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StartError(String);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

impl StartError {
    fn because(what: &str, error: &std::io::Error) -> Self {
        Self(format!("{what}: {}", words(error)))
    }
}

/// A server that listens and does not serve yet.
pub struct Server {
    turn: Turn,
    stop: Arc<AtomicBool>,
    waker: Arc<Waker>,
}

/// A server that runs on a thread of its own.
pub struct Running {
    thread: JoinHandle<i32>,
    stop: Arc<AtomicBool>,
    waker: Arc<Waker>,
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
        let config = with_users(config)?;
        let clock = Clock::new();
        let poll = Poll::new().map_err(|e| StartError::because("Creating the event loop", &e))?;
        let (nodes_conf, content) = match config.cluster_enabled {
            true => {
                let path = Path::new(&config.dir).join(&config.cluster_config_file);
                let (locked, content) = Locked::take(&path).map_err(StartError)?;
                (Some(locked), Some(content).filter(|content| !content.is_empty()))
            }
            false => (None, None),
        };
        let machines = machines(&config, content.as_deref(), &clock)?;
        let listeners = Listeners::open(&config, poll.registry(), FIRST).map_err(StartError)?;
        let waker =
            Waker::new(poll.registry(), WAKER).map_err(|e| StartError::because("Creating a waker", &e))?;
        let waker = Arc::new(waker);
        let places = Places {
            nodes_conf,
            config: (!config.config_file.is_empty()).then(|| PathBuf::from(&config.config_file)),
            users: (!config.aclfile.is_empty()).then(|| Path::new(&config.dir).join(&config.aclfile)),
        };
        let disk = Disk::start(places, waker.clone())
            .map_err(|e| StartError::because("Starting the disk thread", &e))?;
        let signals = match signals {
            true => Some(
                Signals::new([SIGTERM, SIGINT]).map_err(|e| StartError::because("Catching signals", &e))?,
            ),
            false => None,
        };
        let stop = Arc::new(AtomicBool::new(false));
        let parts = Parts { poll, machines, listeners, disk, signals, stop: stop.clone(), clock };
        let mut turn =
            Turn::new(parts, &config).map_err(|e| StartError::because("Creating the event loop", &e))?;
        turn.settle_in();
        tracing::info!("Server initialized");
        Ok(Self { turn, stop, waker })
    }

    /// Serves on this thread until the end; the exit status of a process that does nothing else.
    pub fn run(mut self) -> i32 {
        for kind in self.turn.listeners.kinds() {
            tracing::info!("Ready to accept connections {kind}");
        }
        self.turn.run().unwrap_or_else(|e| {
            tracing::error!("The event loop failed: {}", words(&e));
            1
        })
    }

    /// Serves on a thread of its own.
    ///
    /// # Errors
    /// When the operating system has no thread to give.
    pub fn start(self) -> Result<Running, StartError> {
        let (stop, waker) = (self.stop.clone(), self.waker.clone());
        let thread = thread::Builder::new()
            .name("whimbrel".into())
            .spawn(|| self.run())
            .map_err(|e| StartError::because("Starting a thread", &e))?;
        Ok(Running { thread, stop, waker })
    }
}

impl Running {
    /// Asks the server to save what it must and end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        let _ = self.waker.wake();
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

/// The machines of a process with this configuration.
fn machines(config: &Config, nodes_conf: Option<&[u8]>, clock: &Clock) -> Result<Machines, StartError> {
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
    shard.handle(now, Input::Introduced(vitals::process(config)), &mut Actions::default());
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
