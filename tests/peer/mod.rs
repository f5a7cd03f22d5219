//! Real servers to test against: `.ci/peers` installs them, this starts and asks them.
//!
//! A test whose peer is not installed says so on stderr and passes, so that a fresh clone can be tested offline;
//! with `WHIMBREL_PEERS=required` (as in `.ci/run`) it fails instead.

#![allow(dead_code, unreachable_pub)] // every test file includes it and uses its own part

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long a server may take to answer its first PING, on a busy machine.
const START: Duration = Duration::from_secs(20);

/// How long a reply may take, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// The path of an installed tool, `valkey-server` for example; `None` means: skip the test.
///
/// # Panics
/// When the tool is missing and `WHIMBREL_PEERS=required`.
pub fn tool(name: &str) -> Option<PathBuf> {
    // CARGO_MANIFEST_DIR is the root for its own tests and one folder below for those of a member.
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path =
        here.ancestors().take(2).map(|folder| folder.join(".peers/bin").join(name)).find(|p| p.exists());
    if path.is_none() {
        let text = format!("{name} is not installed (.ci/peers installs it)");
        assert!(env::var_os("WHIMBREL_PEERS").is_none_or(|v| v != "required"), "{text}");
        // Not eprintln!, which the test harness swallows.
        let _ = writeln!(io::stderr(), "SKIPPED: {text}");
    }
    path
}

/// The program under test: that of the package that is tested, unless `WHIMBREL_PROGRAM` names another build.
pub fn program() -> PathBuf {
    let built = option_env!("CARGO_BIN_EXE_whimbrel-mio").or(option_env!("CARGO_BIN_EXE_whimbrel-glommio"));
    let named = env::var_os("WHIMBREL_PROGRAM").map(PathBuf::from);
    named.or(built.map(PathBuf::from)).expect("a package with a program names this test")
}

/// How many shards the program has in cluster mode: `WHIMBREL_SHARDS`, or two in the tests named so, or what is the default.
pub fn shards() -> Option<OsString> {
    let named = (env!("CARGO_CRATE_NAME") == "two_shards").then(|| "2".into());
    env::var_os("WHIMBREL_SHARDS").or(named)
}

/// A port that is free on loopback, and so is the one 10000 above it (the cluster bus).
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Below the range that the kernel hands out to outgoing connections, and different from process to process.
    let start = (std::process::id() % 1000) as u16 * 12;
    for _ in 0..12_000 {
        let port = 10_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        let free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if free(port) && free(port + 10_000) {
            return port;
        }
    }
    panic!("no free port")
}

/// An empty folder of its own, removed when dropped.
pub struct Folder(PathBuf);

impl Folder {
    /// Makes it in the system's folder for temporary files.
    pub fn new() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let name = format!("whimbrel-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a folder for temporary files");
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A server process, killed when dropped.
pub struct Server {
    child: Child,
    program: PathBuf,
    arguments: Vec<OsString>,
    folder: Folder,
    port: u16,
}

impl Server {
    /// Starts `program --port <free> --dir <own folder> <arguments>` and waits until it answers PING.
    pub fn start<A: AsRef<OsStr>>(program: &Path, arguments: &[A]) -> Self {
        Self::start_at(program, free_port(), arguments)
    }

    /// Like [`start`](Self::start), on a given port.
    pub fn start_at<A: AsRef<OsStr>>(program: &Path, port: u16, arguments: &[A]) -> Self {
        let folder = Folder::new();
        let mut all: Vec<OsString> = vec!["--port".into(), port.to_string().into()];
        all.extend(["--dir".into(), folder.path().into()]);
        all.extend(arguments.iter().map(|a| a.as_ref().to_owned()));
        Self::start_in(program, folder, port, all)
    }

    /// Starts `program <arguments>`, which will serve at `port`, and waits until it answers PING.
    pub fn start_in(program: &Path, folder: Folder, port: u16, mut arguments: Vec<OsString>) -> Self {
        let divides = arguments.windows(2).any(|pair| pair[0] == "--cluster-enabled" && pair[1] == "yes");
        if let Some(shards) = shards().filter(|_| divides && program == self::program()) {
            arguments.extend(["--shards".into(), shards]);
        }
        let child = spawn(program, &arguments, &folder);
        let mut server = Self { child, program: program.to_owned(), arguments, folder, port };
        server.await_ping();
        server
    }

    /// Kills the process and starts it again, with the same arguments in the same folder.
    pub fn restart(&mut self) {
        self.kill();
        self.child = spawn(&self.program, &self.arguments, &self.folder);
        self.await_ping();
    }

    /// Kills the process, as a failing machine would.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal by its name: `STOP`, `CONT`, `TERM` …
    pub fn signal(&self, name: &str) {
        let line = format!("kill -{name} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &line]).status().expect("a shell");
        assert!(status.success(), "{line}");
    }

    /// Starts an installed peer; `None` means: skip the test.
    pub fn start_peer(name: &str, arguments: &[&str]) -> Option<Self> {
        Some(Self::start(&tool(name)?, arguments))
    }

    /// The port it serves clients at.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its working folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it has printed so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// A new connection to it.
    pub fn client(&self) -> Client {
        Client::connect(self.port).unwrap_or_else(|e| panic!("port {}: {e}\n{}", self.port, self.log()))
    }

    /// One command on a connection of its own.
    pub fn ask(&self, words: &[&str]) -> Reply {
        self.client().ask(words)
    }

    /// The process, to signal or wait for.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    fn await_ping(&mut self) {
        let end = Instant::now() + START;
        loop {
            if let Ok(mut client) = Client::connect(self.port)
                && client.try_ask(&["PING"]).is_ok_and(|r| r.is("PONG") || r.text().starts_with("NOAUTH"))
            {
                return;
            }
            let ended = self.child.try_wait().expect("a process to ask about");
            if ended.is_some() || Instant::now() > end {
                panic!("server at port {} did not start ({ended:?}):\n{}", self.port, self.log());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn spawn(program: &Path, arguments: &[OsString], folder: &Folder) -> Child {
    let log = OpenOptions::new().append(true).create(true).open(folder.path().join("log"));
    let log = log.expect("a log file");
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(log.try_clone().expect("a second handle of the log"))
        .stdout(log)
        .spawn()
        .unwrap_or_else(|e| panic!("{}: {e}", program.display()))
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            let log = self.log();
            let tail = log.lines().rev().take(30).collect::<Vec<_>>();
            eprintln!("--- end of the log of the server at port {}:", self.port);
            tail.into_iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}

/// A reply in RESP2 or RESP3, as far as tests look at it.
#[derive(Clone, PartialEq, Debug)]
pub enum Reply {
    /// `+text`
    Simple(String),
    /// `-text`
    Error(String),
    /// `:number`
    Integer(i64),
    /// `$n`: bytes, shown as text; a null is [`Reply::Null`].
    Bulk(String),
    /// `*n`, `~n`, `>n`, and `%n` with keys and values in turn.
    Array(Vec<Reply>),
    /// `$-1`, `*-1` or `_`
    Null,
    /// Any other type of RESP3: the whole line.
    Other(String),
}

impl Reply {
    /// Whether it is this simple or bulk string.
    pub fn is(&self, expected: &str) -> bool {
        matches!(self, Self::Simple(text) | Self::Bulk(text) if text == expected)
    }

    /// Whether it is an error.
    pub fn is_error(&self) -> bool {
        matches!(self, Self::Error(_))
    }

    /// The text of a simple or bulk string, or of an error.
    pub fn text(&self) -> &str {
        match self {
            Self::Simple(text) | Self::Error(text) | Self::Bulk(text) | Self::Other(text) => text,
            other => panic!("not a text: {other:?}"),
        }
    }

    /// The number of an integer reply.
    pub fn number(&self) -> i64 {
        match self {
            Self::Integer(n) => *n,
            other => panic!("not a number: {other:?}"),
        }
    }

    /// The elements of an array.
    pub fn list(&self) -> &[Reply] {
        match self {
            Self::Array(list) => list,
            other => panic!("not an array: {other:?}"),
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Array(list) => list.iter().try_for_each(|reply| write!(f, "{reply} ")),
            Self::Integer(n) => write!(f, "{n}"),
            Self::Null => f.write_str("(nil)"),
            other => f.write_str(other.text()),
        }
    }
}

/// A blocking client of one connection; replies have to come within twenty seconds.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects to a port on loopback.
    pub fn connect(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Sends one command and reads its reply.
    pub fn ask(&mut self, words: &[&str]) -> Reply {
        self.try_ask(words).unwrap_or_else(|e| panic!("{words:.100?}: {e}"))
    }

    /// Like [`ask`](Self::ask), for servers that may be gone.
    pub fn try_ask(&mut self, words: &[&str]) -> io::Result<Reply> {
        self.send(&encode(words))?;
        self.read()
    }

    /// Sends raw bytes.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Reads one reply if its first byte comes within this time.
    ///
    /// # Panics
    /// When the reply begins in time and then breaks off.
    pub fn read_within(&mut self, time: Duration) -> Option<Reply> {
        self.stream.get_ref().set_read_timeout(Some(time)).expect("a timeout");
        let began = self.stream.fill_buf().is_ok_and(|bytes| !bytes.is_empty());
        self.stream.get_ref().set_read_timeout(Some(PATIENCE)).expect("a timeout");
        began.then(|| self.read().expect("the rest of a reply"))
    }

    /// Reads one reply.
    pub fn read(&mut self) -> io::Result<Reply> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end_matches("\r\n");
        let (kind, rest) = line.split_at_checked(1).ok_or(io::ErrorKind::InvalidData)?;
        let number = || rest.parse::<i64>().map_err(|_| io::Error::from(io::ErrorKind::InvalidData));
        Ok(match kind {
            "+" => Reply::Simple(rest.into()),
            "-" => Reply::Error(rest.into()),
            ":" => Reply::Integer(number()?),
            "$" | "=" if number()? >= 0 => {
                let mut bytes = vec![0; number()? as usize + 2];
                self.stream.read_exact(&mut bytes)?;
                bytes.truncate(bytes.len() - 2);
                Reply::Bulk(String::from_utf8_lossy(&bytes).into_owned())
            }
            "*" | "~" | ">" | "%" if number()? >= 0 => {
                let n = if kind == "%" { number()? * 2 } else { number()? };
                Reply::Array((0..n).map(|_| self.read()).collect::<io::Result<_>>()?)
            }
            "$" | "*" | "_" => Reply::Null,
            _ => Reply::Other(line.into()),
        })
    }
}

/// A command as RESP.
pub fn encode<W: AsRef<[u8]>>(words: &[W]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.as_ref().len()).as_bytes());
        out.extend_from_slice(word.as_ref());
        out.extend_from_slice(b"\r\n");
    }
    out
}
