//! What a server is made of, from its configuration.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use mio::{Poll, Waker};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;
use whimbrel_core::action::Actions;
use whimbrel_core::config::Config;
use whimbrel_core::ids::Shards;
use whimbrel_core::input::Input;
use whimbrel_core::node::Node;
use whimbrel_core::shard::Shard;
use whimbrel_core::stopwatch::Stopwatch;

use crate::clock::{self, Clock};
use crate::failure::{StartError, words};
use crate::files::{Locked, Places};
use crate::listen::Listeners;
use crate::machine::{Machine, Machines};
use crate::mesh::Mesh;
use crate::turn::{FIRST, Parts, WAKER};
use crate::vitals;

/// Serves until the end; the exit status of a process that does nothing else.
pub type Serve = Box<dyn FnOnce() -> i32 + Send>;

/// What a driver is to those who use it.
#[derive(Clone, Copy, Debug)]
pub struct Driver {
    /// The name of its program.
    pub name: &'static str,
    /// The allocator that it was built with.
    pub allocator: &'static str,
    /// What it waits with.
    pub multiplexing_api: &'static str,
    /// How many shards it can have.
    pub max_shards: u16,
    /// Says why it cannot run on this machine, if that is so.
    pub check: fn() -> Result<(), StartError>,
    /// Makes loops of what is prepared, up to the point where they begin to serve.
    pub settle_in: fn(Prepared) -> Result<Serve, StartError>,
}

/// A server that listens and does not serve yet.
pub struct Server {
    serve: Serve,
    stop: Stop,
}

impl Server {
    /// Takes the files and ports that the configuration names. Paths in it are relative to its `dir`, `config_file` is
    /// absolute. With `signals` those of the process are the server's.
    ///
    /// # Errors
    /// When a port, the Unix socket, nodes.conf or the ACL file cannot be had, one of the files cannot be believed, or the
    /// driver cannot run here, or not with as many shards.
    pub fn bind(config: Config, driver: &Driver, signals: bool) -> Result<Self, StartError> {
        (driver.check)()?;
        let prepared = Prepared::new(config, driver, signals)?;
        let stop = prepared.stop.clone();
        let serve = (driver.settle_in)(prepared)?;
        tracing::info!("Server initialized");
        Ok(Self { serve, stop })
    }

    /// Serves on this thread until the end; the exit status of a process that does nothing else.
    #[must_use]
    pub fn run(self) -> i32 {
        (self.serve)()
    }

    /// Serves on a thread of its own.
    ///
    /// # Errors
    /// When the operating system has no thread to give.
    pub fn start(self) -> Result<Running, StartError> {
        let Self { serve, stop } = self;
        let thread = thread::Builder::new().name("whimbrel".into()).spawn(serve);
        Ok(Running { thread: thread.map_err(|e| StartError::because("Starting a thread", &e))?, stop })
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
    pub config: Arc<Config>,
    /// What its threads turn, one for each shard. The node is with the first.
    pub threads: Vec<Prepare>,
    /// Asks it for the end.
    pub stop: Stop,
}

/// What one thread of a server needs.
pub struct Prepare {
    /// What its loop turns.
    pub parts: Parts,
    /// Its files: those of the process are the first thread's.
    pub places: Places,
    /// Wakes its loop.
    pub waker: Arc<Waker>,
}

impl Prepared {
    /// Takes the files and ports that the configuration names. Paths in it are relative to its `dir`, `config_file` is
    /// absolute. With `signals` those of the process are the server's.
    ///
    /// # Errors
    /// When a port, the Unix socket, nodes.conf or the ACL file cannot be had, one of the files cannot be believed, or the
    /// driver cannot have as many shards.
    pub fn new(config: Config, driver: &Driver, signals: bool) -> Result<Self, StartError> {
        let config = Arc::new(with_users(config)?);
        check_shards(&config, driver)?;
        let clock = Clock::start();
        let (nodes_conf, content) = match config.cluster_enabled {
            true => {
                let path = Path::new(&config.dir).join(&config.cluster_config_file);
                let (locked, content) = Locked::take(&path).map_err(StartError)?;
                (Some(locked), Some(content).filter(|content| !content.is_empty()))
            }
            false => (None, None),
        };
        let machines = machines(&config, driver, content.as_deref(), &clock)?;
        let polls = machines.iter().map(|_| {
            let poll = Poll::new()?;
            let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
            Ok((poll, waker))
        });
        let polls = polls.collect::<io::Result<Vec<_>>>();
        let polls = polls.map_err(|e| StartError::because("Creating the event loop", &e))?;
        let mut listeners = Listeners::open(&config, polls[0].0.registry(), FIRST).map_err(StartError)?;
        let mut for_others = listeners.for_others().map(|(_, sockets)| sockets);
        let mut caught = None;
        if signals {
            let ours = Signals::new([SIGTERM, SIGINT]);
            caught = Some(ours.map_err(|e| StartError::because("Catching signals", &e))?);
        }
        let stop = Stop { asked: Arc::new(AtomicBool::new(false)), waker: polls[0].1.clone() };
        let meshes = Mesh::of(polls.iter().map(|(_, waker)| waker.clone()).collect());
        let mut first = Some((Places::new(&config, nodes_conf), listeners, stop.asked.clone()));
        let mut threads = Vec::with_capacity(machines.len());
        for (((poll, waker), machines), mesh) in polls.into_iter().zip(machines).zip(meshes) {
            let (places, listeners, stop) = first.take().unwrap_or_else(|| {
                let mut listeners = Listeners::none(FIRST);
                listeners.take_over(for_others.next().unwrap_or_default(), poll.registry());
                (Places::default(), listeners, Arc::default())
            });
            let signals = caught.take();
            let parts = Parts { poll, machines, mesh, listeners, signals, stop, clock };
            threads.push(Prepare { parts, places, waker });
        }
        Ok(Self { config, threads, stop })
    }
}

fn check_shards(config: &Config, driver: &Driver) -> Result<(), StartError> {
    let (shards, Driver { name, max_shards, .. }) = (config.shards, driver);
    if shards > *max_shards {
        return Err(StartError(format!(
            "'shards' is {shards}, and {name} has at most {max_shards}: set fewer, or start whimbrel-glommio."
        )));
    }
    if shards > 1 && !config.cluster_enabled {
        return Err(StartError(format!(
            "'shards' is {shards}: slots are divided among shards, so set 'cluster-enabled yes' too, or 'shards 1'."
        )));
    }
    Ok(())
}

/// The machines of a process with this configuration, by thread.
fn machines(
    config: &Arc<Config>,
    driver: &Driver,
    nodes_conf: Option<&[u8]>,
    clock: &Clock,
) -> Result<Vec<Machines>, StartError> {
    let now = clock.now();
    let config_text = match config.config_file.as_str() {
        "" => None,
        path => Some(fs::read_to_string(path).map_err(|e| StartError::because(path, &e))?),
    };
    let node = Node::new(config.clone(), config_text, nodes_conf, seed()?, now).map_err(|corrupt| {
        let path = Path::new(&config.dir).join(&config.cluster_config_file);
        StartError(format!(
            "Unrecoverable error: {corrupt}. Put a good copy in place of {}, or move it away to begin as a new node.",
            path.display()
        ))
    })?;
    let view = node.view();
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(no_random)?;
    let mut node: Option<Box<dyn Machine>> = Some(Box::new(node));
    let mut machines = Vec::new();
    // The same for all: what a client sees of it (run_id, cursors of CLUSTERSCAN) is the process's.
    let seed = seed()?;
    for index in Shards::new(config.shards).iter() {
        let process = vitals::process(config, driver.multiplexing_api, driver.allocator);
        let mut shard = Shard::nth(index, config.clone(), view.clone(), seed, now);
        shard.lend(Stopwatch::Lent(clock::nanos));
        shard.set_secret(secret);
        shard.handle(now, Input::Introduced(process), &mut Actions::default());
        machines.push(Machines { node: node.take(), shard: Box::new(shard) });
    }
    Ok(machines)
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
