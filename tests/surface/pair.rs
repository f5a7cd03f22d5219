//! Two servers that get the same steps.

use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::allow;
use super::ends::{Ends, is_step, sets_old};
use super::value::{Value, shown};
use crate::peer::{Server, encode};

/// Connections a sequence uses.
pub const CONNECTIONS: usize = 3;

/// A word of a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Word {
    /// These bytes.
    Plain(Vec<u8>),
    /// So many milliseconds, after which a key ends while the sequence runs.
    Soon(u64),
    /// The wall clock in milliseconds, so many later.
    AtMs(i64),
    /// The wall clock in seconds, so many later.
    AtSecs(i64),
}

impl Word {
    /// The number it stands for, unless it is a point in time.
    pub fn number(&self) -> Option<u64> {
        match self {
            Self::Plain(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
            Self::Soon(ms) => Some(*ms),
            Self::AtMs(_) | Self::AtSecs(_) => None,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let wall_ms = || SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_millis() as i64;
        match self {
            Self::Plain(bytes) => bytes.clone(),
            Self::Soon(ms) => ms.to_string().into_bytes(),
            Self::AtMs(later) => (wall_ms() + later).to_string().into_bytes(),
            Self::AtSecs(later) => (wall_ms() / 1000 + later).to_string().into_bytes(),
        }
    }
}

/// What is done to both servers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// A command on a connection.
    Ask(usize, Vec<Word>),
    /// A walk by cursor until it is back at the start; the cursor is the word at this index.
    Walk(usize, usize, Vec<Word>),
    /// Bytes on a connection that is closed after its replies.
    Raw(usize, Vec<u8>),
    /// Time passes.
    Sleep(Duration),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |words: &[Word]| {
            let word = |w: &Word| match w {
                Word::Plain(bytes) if bytes.is_empty() || bytes.contains(&b' ') => {
                    format!("\"{}\"", shown(bytes))
                }
                Word::Plain(bytes) => shown(bytes),
                Word::Soon(ms) => format!("{ms}"),
                Word::AtMs(later) => format!("<now ms + {later}>"),
                Word::AtSecs(later) => format!("<now s + {later}>"),
            };
            words.iter().map(word).collect::<Vec<_>>().join(" ")
        };
        match self {
            Self::Ask(at, words) => write!(f, "{at}> {}", line(words)),
            Self::Walk(at, _, words) => write!(f, "{at}> {} (to the end)", line(words)),
            Self::Raw(at, bytes) => write!(f, "{at}> bytes \"{}\", then QUIT", shown(bytes)),
            Self::Sleep(time) => write!(f, "   sleep {time:?}"),
        }
    }
}

/// A step that was answered differently.
pub struct Difference {
    /// Its place in the sequence.
    pub at: usize,
    /// What the program under test said.
    pub ours: String,
    /// What Valkey said.
    pub theirs: String,
}

/// How a sequence ended.
pub enum End {
    /// All replies were the same.
    Same,
    /// A reply was not.
    Different(Difference),
    /// A command came too close to the end of a key to say.
    Unsure,
}

struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    fn open(server: &Server) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", server.port())).expect("a server that listens");
        stream.set_nodelay(true).expect("a socket option");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket option");
        let mut connection = Self { stream: BufReader::new(stream) };
        // Who has an answer is known to the server: CLIENT KILL reaches it.
        connection.send(b"PING\r\n");
        assert!(connection.read().is_ok_and(|reply| reply.is("PONG")), "a server that answers");
        connection
    }

    fn send(&mut self, bytes: &[u8]) {
        // A server that closed the connection shows when it is read.
        let _ = self.stream.get_mut().write_all(bytes);
    }

    fn read(&mut self) -> Result<Value, String> {
        Value::read(&mut self.stream).map_err(|e| match e.kind() {
            // How the end shows is a matter of the moment.
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                io::Error::from(io::ErrorKind::UnexpectedEof).to_string()
            }
            _ => e.to_string(),
        })
    }

    fn read_to_the_end(&mut self) -> Result<Vec<Value>, String> {
        let mut values = Vec::new();
        loop {
            match self.stream.fill_buf() {
                Ok([]) => return Ok(values),
                Ok(_) => values.push(self.read()?),
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(values),
                Err(e) => return Err(e.to_string()),
            }
        }
    }
}

/// The two servers.
pub struct Pair {
    /// The program under test, then Valkey.
    servers: [Server; 2],
    /// Commands that make both the same again.
    reset: Vec<Vec<String>>,
    /// They are nodes of a cluster.
    cluster: bool,
}

/// A sequence under way.
struct Run<'a> {
    servers: &'a [Server; 2],
    connections: Vec<[Connection; 2]>,
    /// Commands queued between MULTI and EXEC, by connection.
    queued: Vec<Vec<Vec<Word>>>,
    /// MULTI came, by connection.
    open: [bool; CONNECTIONS],
    cluster: bool,
    /// Errors are not counted alike: replies were kept back, or what is not built was asked for.
    muted: bool,
    ends: Ends,
}

type Outcome = Result<(), (String, String)>;

impl Pair {
    /// `reset` is run on both before every sequence.
    pub fn new(ours: Server, theirs: Server, reset: &[&str], cluster: bool) -> Self {
        let words = |line: &&str| line.split(' ').map(str::to_owned).collect();
        Self { servers: [ours, theirs], reset: reset.iter().map(words).collect(), cluster }
    }

    /// Runs a sequence from an empty keyspace.
    pub fn run(&self, steps: &[Step]) -> End {
        for server in &self.servers {
            let mut client = server.client();
            for words in &self.reset {
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                let reply = client.ask(&words);
                assert!(reply.is("OK"), "{words:?}: {reply:?}");
            }
        }
        let open = || [Connection::open(&self.servers[0]), Connection::open(&self.servers[1])];
        let mut run = Run {
            servers: &self.servers,
            connections: (0..CONNECTIONS).map(|_| open()).collect(),
            queued: vec![Vec::new(); CONNECTIONS],
            open: [false; CONNECTIONS],
            cluster: self.cluster,
            muted: false,
            ends: Ends::default(),
        };
        for (at, step) in steps.iter().enumerate() {
            let begun = run.ends.wait();
            let known = run.ends.len();
            let outcome = run.take(step);
            if !matches!(step, Step::Sleep(_)) && run.ends.were_close(begun, known) {
                return End::Unsure;
            }
            if let Err((ours, theirs)) = outcome {
                return End::Different(Difference { at, ours, theirs });
            }
        }
        match run.compare_remains() {
            Ok(()) => End::Same,
            Err((ours, theirs)) => End::Different(Difference { at: steps.len(), ours, theirs }),
        }
    }
}

fn differ(ours: impl ToString, theirs: impl ToString) -> Outcome {
    Err((ours.to_string(), theirs.to_string()))
}

impl Run<'_> {
    /// Deletes the keys whose time is over, on both sides.
    fn sweep(&mut self) {
        if !self.ends.may_be_over() {
            return;
        }
        for server in self.servers {
            let mut client = server.client();
            for db in 0..if self.cluster { 4 } else { 16 } {
                client.ask(&["SELECT", &db.to_string()]);
                let mut cursor = "0".to_owned();
                loop {
                    let reply = client.ask(&["SCAN", &cursor, "COUNT", "10000"]);
                    cursor = reply.list()[0].text().to_owned();
                    if cursor == "0" {
                        break;
                    }
                }
            }
        }
        self.ends.swept();
    }

    fn take(&mut self, step: &Step) -> Outcome {
        match step {
            Step::Sleep(time) => {
                thread::sleep(*time);
                Ok(())
            }
            Step::Ask(at, words) if self.cluster && self.open[*at] && allow::has_no_place(words) => Ok(()),
            Step::Ask(at, words) | Step::Walk(at, _, words)
                if self.open[*at] && is_step(words) && self.queued[*at].iter().any(|q| sets_old(q)) =>
            {
                Ok(())
            }
            Step::Ask(at, words) => {
                let runs_step = match name(words).as_str() {
                    "exec" => self.queued[*at].iter().any(|words| is_step(words)),
                    _ => !self.open[*at] && is_step(words),
                };
                if runs_step {
                    self.sweep();
                }
                self.ask(*at, words)
            }
            Step::Walk(at, cursor, words) => self.walk(*at, *cursor, words),
            Step::Raw(at, bytes) => self.raw(*at, bytes),
        }
    }

    /// Sends the same to both and reads a reply of each.
    fn exchange(&mut self, at: usize, words: &[Word]) -> [Result<Value, String>; 2] {
        let bytes: Vec<Vec<u8>> = words.iter().map(Word::bytes).collect();
        let bytes = encode(&bytes);
        let [ours, theirs] = &mut self.connections[at];
        ours.send(&bytes);
        theirs.send(&bytes);
        [ours.read(), theirs.read()]
    }

    fn ask(&mut self, at: usize, words: &[Word]) -> Outcome {
        let begun = Instant::now();
        let replies = self.exchange(at, words);
        let [Ok(mut ours), Ok(mut theirs)] = replies else {
            let shown = replies.map(|r| r.map_or_else(|e| format!("no reply: {e}"), |v| v.to_string()));
            if shown[0] == shown[1] {
                self.reopen(at);
                return Ok(());
            }
            return differ(&shown[0], &shown[1]);
        };
        let name = name(words);
        match name.as_str() {
            // Our error is one.
            "debug reload" => self.muted = true,
            "multi" => self.open[at] = true,
            "exec" | "discard" | "reset" => self.open[at] = false,
            _ => {}
        }
        if !theirs.is("QUEUED") {
            self.ends.note(begun, words);
        }
        if theirs.is("QUEUED") {
            self.queued[at].push(words.to_vec());
        } else if name == "exec" {
            let queued = std::mem::take(&mut self.queued[at]);
            for words in &queued {
                self.ends.note(begun, words);
            }
            if let (Some(o), Some(t)) = (ours.list(), theirs.list()) {
                for ((words, o), t) in queued.iter().zip(o).zip(t) {
                    allow::fit(words, o, t);
                }
            }
        } else if matches!(name.as_str(), "discard" | "reset") {
            self.queued[at].clear();
        }
        if !theirs.is("QUEUED") && name != "exec" {
            allow::fit(words, &mut ours, &mut theirs);
        }
        if name == "quit" {
            self.reopen(at);
        }
        if ours == theirs { Ok(()) } else { differ(ours, theirs) }
    }

    fn walk(&mut self, at: usize, cursor: usize, words: &[Word]) -> Outcome {
        let mut found: [Vec<Value>; 2] = [Vec::new(), Vec::new()];
        let mut last = [Value::Null(b'$'), Value::Null(b'$')];
        let mut broken = [None, None];
        for (side, connection) in self.connections[at].iter_mut().enumerate() {
            let mut bytes: Vec<Vec<u8>> = words.iter().map(Word::bytes).collect();
            for _ in 0..100_000 {
                connection.send(&encode(&bytes));
                let mut reply = match connection.read() {
                    Ok(reply) => reply,
                    Err(error) => {
                        broken[side] = Some(error);
                        break;
                    }
                };
                let next = match reply.list().map(Vec::as_mut_slice) {
                    Some([next, Value::List(_, keys)]) => {
                        found[side].append(keys);
                        next.clone()
                    }
                    _ => {
                        last[side] = reply;
                        break;
                    }
                };
                bytes[cursor] = next.text().unwrap_or_default().to_vec();
                last[side] = next;
                if last[side] == Value::Bulk(b'$', b"0".to_vec()) {
                    break;
                }
            }
        }
        if broken != [None, None] {
            // CLIENT KILL may have closed it.
            let [ours, theirs] = broken.map(|error| format!("no reply: {error:?}"));
            self.reopen(at);
            return if ours == theirs { Ok(()) } else { differ(ours, theirs) };
        }
        if last[1].is("QUEUED") {
            // The cursor of a walk that is not walked says nothing.
            self.queued[at].push(words.to_vec());
        }
        let [mut ours, mut theirs] = found;
        for list in [&mut ours, &mut theirs] {
            list.sort();
            list.dedup();
        }
        if (&ours, &last[0]) == (&theirs, &last[1]) {
            return Ok(());
        }
        let [a, b] = last;
        differ(
            Value::List(b'*', vec![a, Value::List(b'*', ours)]),
            Value::List(b'*', vec![b, Value::List(b'*', theirs)]),
        )
    }

    fn raw(&mut self, at: usize, bytes: &[u8]) -> Outcome {
        if !self.queued[at].is_empty() {
            // An EXEC among the bytes would answer commands that may be answered differently.
            return Ok(());
        }
        // Bytes of a client that is gone before a pause (CLIENT PAUSE) ends are not carried out.
        self.servers.iter().for_each(|server| drop(server.ask(&["DEL", "nothing that is there"])));
        let mut all = Vec::new();
        for connection in &mut self.connections[at] {
            connection.send(bytes);
            connection.send(if bytes.ends_with(b"\n") { b"QUIT\r\n" } else { b"\r\nQUIT\r\n" });
            let _ = connection.stream.get_mut().shutdown(Shutdown::Write);
        }
        for connection in &mut self.connections[at] {
            all.push(connection.read_to_the_end());
        }
        self.reopen(at);
        if let [Ok(ours), Ok(theirs)] = all.as_mut_slice() {
            allow::fit_all(ours, theirs);
        }
        let all: Vec<_> = all.into_iter().map(|r| r.map(|v| Value::List(b'*', v))).collect();
        // Errors that nobody is told of are not counted here.
        self.muted |= bytes.windows(12).any(|w| w == b"CLIENT REPLY");
        if all[0] == all[1] {
            return Ok(());
        }
        let mut shown =
            all.into_iter().map(|r| r.map_or_else(|e| format!("no reply: {e}"), |v| v.to_string()));
        differ(shown.next().unwrap_or_default(), shown.next().unwrap_or_default())
    }

    fn reopen(&mut self, at: usize) {
        self.queued[at].clear();
        self.open[at] = false;
        self.connections[at] = [Connection::open(&self.servers[0]), Connection::open(&self.servers[1])];
    }

    /// What a sequence leaves behind: keys, values, and what was counted.
    fn compare_remains(&mut self) -> Outcome {
        self.ends.wait();
        let counted = ["keyspace_hits", "keyspace_misses", "expired_keys", "total_error_replies"];
        let [ours, theirs] = [0, 1].map(|side| {
            let mut client = self.servers[side].client();
            let info = client.ask(&["INFO", "everything"]);
            let lines = info.text().lines();
            let of_interest = |line: &&str| {
                let counts = if self.muted { &counted[..3] } else { &counted };
                counts.iter().any(|name| line.split(':').next() == Some(name)) || line.starts_with("db")
            };
            let lines: Vec<&str> = lines.filter(of_interest).collect();
            let keep = |line: &&str| line.split(",avg_ttl").next().unwrap_or_default().to_owned();
            let mut lines: Vec<String> = lines.iter().map(keep).collect();
            lines.sort();
            lines.push(format!("digest {}", client.ask(&["DEBUG", "DIGEST"])));
            lines.join("\n")
        });
        if ours == theirs { Ok(()) } else { differ(ours, theirs) }
    }
}

/// The command's name in lower case, with that of its subcommand where the two are one.
pub fn name(words: &[Word]) -> String {
    let word = |at: usize| match words.get(at) {
        Some(Word::Plain(bytes)) => String::from_utf8_lossy(bytes).to_ascii_lowercase(),
        _ => String::new(),
    };
    let first = word(0);
    match first.as_str() {
        "client" | "cluster" | "command" | "config" | "object" | "debug" | "info" | "latency" | "memory"
        | "slowlog" | "commandlog" => format!("{first} {}", word(1)).trim_end().to_owned(),
        _ => first,
    }
}
