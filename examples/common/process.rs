//! Server processes: started in a folder of their own, gone when the show is, however it ends.
//!
//! The show runs itself a second time for every node. That second process serves (or watches over a foreign server)
//! until its standard input ends, which happens when the show ends: by itself, by Ctrl-C, by a panic or by `kill -9`.

use std::env;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio, exit};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::client::Connection;
use super::words::refuse;
use super::{Trouble, cores};

/// How long a server may take to answer its first PING, on a busy machine.
const START: Duration = Duration::from_secs(20);

/// The first argument of a process that is a node, or the guard of a foreign one.
const NODE: &str = "--node";
const GUARD: &str = "--guard";

/// What a node of ours waits with: which of the drivers it runs on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Runtime {
    /// `whimbrel-mio`
    Mio,
    /// `whimbrel-glommio`, on Linux only
    Glommio,
}

impl Runtime {
    /// By the word for it; ends the process when there is none such.
    pub fn named(word: Option<&str>) -> Self {
        match word {
            None | Some("mio") => Self::Mio,
            Some("glommio") if cfg!(target_os = "linux") => Self::Glommio,
            Some(other) => refuse(&format!("--runtime is mio or, on Linux, glommio, not {other}")),
        }
    }

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mio => "mio",
            Self::Glommio => "glommio",
        }
    }

    fn serve(self, arguments: impl IntoIterator<Item = String>) -> i32 {
        match self {
            #[cfg(target_os = "linux")]
            Self::Glommio => whimbrel_glommio::program(arguments),
            _ => whimbrel_mio::program(arguments),
        }
    }
}

/// Which server a node is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Program {
    /// Whimbrel, out of this very program, on this driver, with so many shards.
    Whimbrel(Runtime, u16),
    /// Another one that understands Valkey's arguments.
    Foreign(PathBuf),
}

/// A running server, killed when dropped.
pub struct Process {
    child: Child,
    folder: PathBuf,
    /// Where it serves clients.
    pub port: u16,
}

/// To be called first in `main`: does not return in a process that [`Process::start`] has started.
///
/// Its arguments are `--node <folder> <cores or -> <driver> <arguments of the server>…`, or `--guard <folder> <cores or ->
/// <program> <arguments of the program>…`.
pub fn serve_if_started_as_node() {
    let mut arguments = env::args().skip(1);
    let role = arguments.next().unwrap_or_default();
    if role != NODE && role != GUARD {
        return;
    }
    let folder = PathBuf::from(arguments.next().unwrap_or_default());
    let cores = arguments.next().unwrap_or_default();
    let cores: Vec<usize> = cores.split(',').filter_map(|core| core.parse().ok()).collect();
    if !cores.is_empty() {
        cores::pin(&cores);
    }
    if role == NODE {
        thread::spawn(move || {
            await_parent_end();
            let _ = fs::remove_dir_all(folder);
            exit(0);
        });
        exit(Runtime::named(arguments.next().as_deref()).serve(arguments));
    }
    let program = arguments.next().unwrap_or_default();
    let mut server = match Command::new(&program).args(arguments).stdin(Stdio::null()).spawn() {
        Ok(server) => server,
        Err(e) => {
            eprintln!("{program}: {e}");
            exit(1);
        }
    };
    await_parent_end();
    let _ = server.kill();
    let _ = server.wait();
    let _ = fs::remove_dir_all(folder);
    exit(0);
}

fn await_parent_end() {
    let _ = io::copy(&mut io::stdin(), &mut io::sink());
}

impl Process {
    /// Starts a cluster node at a free port, on these cores if any are given, and waits until it answers.
    pub fn start(program: &Program, cores: &[usize]) -> Result<Self, Trouble> {
        let port = free_port()?;
        let folder = env::temp_dir().join(format!("whimbrel-show-{}-{port}", std::process::id()));
        fs::create_dir_all(&folder).map_err(|e| {
            format!(
                "cannot make the folder {} ({e}); set TMPDIR to a folder that can be written",
                folder.display()
            )
        })?;
        let log = File::create(folder.join("log")).map_err(|e| format!("{}: {e}", folder.display()))?;
        let errors = log.try_clone().map_err(|e| format!("{}: {e}", folder.display()))?;
        let own = env::current_exe().map_err(|e| format!("cannot find this program's own file: {e}"))?;
        let mut command = Command::new(own);
        command.arg(if let Program::Whimbrel(..) = program { NODE } else { GUARD }).arg(&folder);
        let cores: Vec<String> = cores.iter().map(usize::to_string).collect();
        command.arg(if cores.is_empty() { "-".to_owned() } else { cores.join(",") });
        match program {
            Program::Whimbrel(runtime, _) => command.arg(runtime.name()),
            Program::Foreign(path) => command.arg(path),
        };
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir"]).arg(&folder);
        command.args(["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"]);
        command.args(["--save", "", "--appendonly", "no", "--io-threads", "1"]);
        command.args(["--enable-debug-command", "local"]);
        if let Program::Whimbrel(_, shards @ 2..) = program {
            command.args(["--shards", &shards.to_string()]);
        }
        // A group of its own: Ctrl-C is for the show, which ends its nodes in order.
        command.stdin(Stdio::piped()).stdout(log).stderr(errors).process_group(0);
        let child = command.spawn().map_err(|e| format!("cannot start a node: {e}"))?;
        let mut process = Self { child, folder, port };
        process.await_ping()?;
        Ok(process)
    }

    /// A new connection to it.
    pub fn connect(&self) -> Result<Connection, Trouble> {
        Connection::open(self.port).map_err(|e| self.trouble(&format!("no connection: {e}")))
    }

    /// What went wrong with this node, and the end of what it logged.
    pub fn trouble(&self, what: &str) -> Trouble {
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let tail = log.lines().rev().take(12).collect::<Vec<_>>();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        format!("node at port {}: {what}\nThe end of its log:\n  {}", self.port, tail.join("\n  "))
    }

    /// The operating system's number of the process (of the guard, for a foreign server).
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn await_ping(&mut self) -> Result<(), Trouble> {
        let end = Instant::now() + START;
        loop {
            let pong = Connection::open(self.port).and_then(|mut connection| connection.ask(&["PING"]));
            if pong.is_ok_and(|pong| pong.as_bytes() == Some(b"PONG")) {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(self.trouble(&format!("ended at once ({status})")));
            }
            if Instant::now() > end {
                return Err(self.trouble(&format!("does not answer after {} s", START.as_secs())));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The end of its input tells a guard to kill its server, and a node to go; a node that hangs is killed.
        drop(self.child.stdin.take());
        let end = Instant::now() + Duration::from_secs(2);
        while Instant::now() < end && matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(2));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A port that is free on loopback, and so is the one 10000 above it (the cluster bus).
fn free_port() -> Result<u16, Trouble> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Below the ports that the kernel gives to outgoing connections, and different from process to process.
    let start = (std::process::id() % 1000) as u16 * 12;
    let free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    (0..12_000)
        .map(|_| 10_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000)
        .find(|&port| free(port) && free(port + 10_000))
        .ok_or_else(|| {
            "no two free ports N and N + 10000 between 10000 and 22000; stop some servers".to_owned()
        })
}

/// Where `.ci/peers` installs Valkey, if it has.
pub fn installed_peer() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".peers/bin/valkey-server");
    path.exists().then_some(path)
}
