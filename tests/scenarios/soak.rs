//! A node in bad company: clients that come and go, that ask and do not read, that are never heard of again, that vanish,
//! and ten thousand that say nothing; meanwhile others count. Afterwards nothing is left of them, and nobody has miscounted.
//!
//! One round of it takes seconds. `WHIMBREL_SECONDS=n` goes on for so long, and prints what a round leaves.

use std::env;
use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
use socket2::{SockFilter, SockRef};
use whimbrel_runtime::descriptors;

use crate::cluster::{self, eventually, program};
use crate::peer::{Client, Reply, Server, encode};

/// Clients that say nothing, at once.
const IDLE: u32 = 10_000;
/// Descriptors of ours besides.
const OURS: u32 = 1_000;
/// Clients of a storm, and storms of a round.
const STORM: usize = 200;
const STORMS: usize = 5;
/// Clients that ask for much and read little.
const SLOW: usize = 10;
/// Clients that are never heard of again.
const SILENT: usize = 100;
/// Who says nothing for so long is closed; nobody who counts does, however busy the machine.
const IDLE_SECONDS: &str = "3";
/// Clients that vanish at once.
const VANISHED: usize = 20;
/// Clients that count, and commands they send at once.
const COUNTERS: usize = 4;
const BATCH: usize = 25;
/// Keys of each of them, in as many slots.
const KEYS: usize = 8;
/// A client that counts may wait so long for a batch, on a busy machine.
const WAIT: Duration = Duration::from_secs(10);
/// Descriptors that come and go: of a file that is written, of a wait.
const PASSING: usize = 3;
/// Memory that may be more after a round than after the first one, in KiB.
const SLACK_KB: u64 = 6 * 1024;

/// What a process has of the system.
#[derive(Clone, Copy, Debug)]
struct Share {
    descriptors: usize,
    resident_kb: u64,
}

impl Share {
    fn of(pid: u32) -> Self {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).expect("a live process").count();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a live process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        let resident_kb = line.trim().trim_end_matches(" kB").parse().expect("a number");
        Self { descriptors, resident_kb }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} descriptors, {} KiB", self.descriptors, self.resident_kb)
    }
}

/// Clients that count, each with keys of its own, one by one, in pipelines and in transactions.
struct Counters {
    threads: Vec<JoinHandle<Vec<u64>>>,
    stop: Arc<AtomicBool>,
    longest_us: Arc<AtomicU64>,
}

impl Counters {
    /// Begins to count, with keys of this name. Who `lasts` counts until the server is gone.
    fn start(port: u16, group: &str, lasts: bool) -> Self {
        let (stop, longest_us) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let threads = (0..COUNTERS).map(|who| {
            let (stop, longest_us) = (stop.clone(), longest_us.clone());
            let name = format!("{group}:{who}");
            thread::spawn(move || {
                let mut counter = Counter::new(port, name);
                while !stop.load(Ordering::Relaxed) {
                    let start = Instant::now();
                    let whole = counter.batch(who % 2 == 1);
                    if !whole {
                        assert!(lasts, "the server is gone");
                        break;
                    }
                    longest_us.fetch_max(start.elapsed().as_micros() as u64, Ordering::Relaxed);
                }
                counter.counts
            })
        });
        Self { threads: threads.collect(), stop, longest_us }
    }

    /// Ends; the counts of all keys, and the longest that a batch took.
    fn stop(self) -> (Vec<Vec<u64>>, Duration) {
        self.stop.store(true, Ordering::Relaxed);
        let counts = self.threads.into_iter().map(|thread| thread.join().expect("a client that counts"));
        (counts.collect(), Duration::from_micros(self.longest_us.load(Ordering::Relaxed)))
    }
}

/// The name of a key of a client that counts.
fn name(who: &str, key: usize) -> String {
    format!("count:{who}:{key}")
}

/// One client that counts.
struct Counter {
    client: Client,
    who: String,
    counts: Vec<u64>,
}

impl Counter {
    fn new(port: u16, who: String) -> Self {
        Self { client: Client::connect(port).expect("a connection"), who, counts: vec![0; KEYS] }
    }

    /// Counts on, all keys in turn, and looks at every reply; `false` when the server left before the last.
    fn batch(&mut self, in_transactions: bool) -> bool {
        let mut bytes = Vec::new();
        let keys: Vec<usize> = (0..BATCH).map(|n| n % KEYS).collect();
        for key in &keys {
            let command = encode(&["INCR", &name(&self.who, *key)]);
            match in_transactions {
                true => bytes.extend([encode(&["MULTI"]), command, encode(&["EXEC"])].concat()),
                false => bytes.extend(command),
            }
        }
        // When that fails, what was answered before can still be read.
        let _ = self.client.send(&bytes);
        for key in keys {
            if in_transactions {
                for expected in ["OK", "QUEUED"] {
                    match self.client.read() {
                        Ok(reply) => assert!(reply.is(expected), "{reply:?}"),
                        Err(_) => return false,
                    }
                }
            }
            let next = self.counts[key] as i64 + 1;
            match self.client.read() {
                Ok(Reply::Array(list)) if in_transactions => assert_eq!(list, [Reply::Integer(next)]),
                Ok(reply) => assert_eq!(reply, Reply::Integer(next)),
                Err(_) => return false,
            }
            self.counts[key] += 1;
        }
        true
    }
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    stream.set_read_timeout(Some(cluster::PATIENCE)).expect("a timeout");
    stream.set_write_timeout(Some(cluster::PATIENCE)).expect("a timeout");
    stream
}

/// Who connects and leaves, in every way there is.
fn storm(port: u16) {
    let manners: [&[u8]; 5] =
        [b"", b"*2\r\n$3\r\nGE", b"PING\r\n", b"MULTI\r\nSET storm x\r\n", b"SET storm x\r\nGET big\r\n"];
    for _ in 0..STORMS {
        let mut all: Vec<TcpStream> = (0..STORM).map(|_| connect(port)).collect();
        for (n, stream) in all.iter_mut().enumerate() {
            stream.write_all(manners[n % manners.len()]).expect("to be heard");
            if n % 3 == 0 {
                let _ = stream.shutdown(Shutdown::Write);
            }
        }
    }
}

/// Who asks for much, reads a little of it, and leaves with the rest unread; who never reads is thrown out.
fn slow_readers(port: u16) {
    let mut all: Vec<TcpStream> = (0..SLOW).map(|_| connect(port)).collect();
    for stream in &mut all {
        stream.write_all(&encode(&["GET", "big"]).repeat(100)).expect("to be heard");
    }
    let mut some = [0; 1024];
    for _ in 0..50 {
        // The first never reads.
        for stream in &mut all[1..] {
            stream.read_exact(&mut some).expect("what it asked for");
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Who is never heard of again: with a question half asked, or without having taken the answers.
fn silent(server: &Server) {
    let mut all: Vec<TcpStream> = (0..SILENT).map(|_| connect(server.port())).collect();
    for (n, stream) in all.iter_mut().enumerate() {
        let words = [&b"*2\r\n$3\r\nGET\r\n$4\r\nha"[..], b"PING\r\n", b""][n % 3];
        stream.write_all(words).expect("to be heard");
    }
    let mut deaf: Vec<TcpStream> = (0..3).map(|_| connect(server.port())).collect();
    for stream in &mut deaf {
        stream.write_all(&encode(&["GET", "big"]).repeat(200)).expect("to be heard");
    }
    let set = |name: &str, value: &str| assert!(server.ask(&["CONFIG", "SET", name, value]).is("OK"));
    set("timeout", IDLE_SECONDS);
    set("client-output-buffer-limit", "normal 0 1mb 1");
    for stream in all.iter_mut().chain(&mut deaf) {
        let mut end = Vec::new();
        // Closed, or reset where something was unread.
        let _ = stream.read_to_end(&mut end);
        assert!(end.len() < 200 * BIG, "it got everything");
    }
    set("timeout", "0");
    set("client-output-buffer-limit", "normal 0 0 0");
}

/// Who is gone without a word, as when a cable is pulled: its kernel answers nothing that the server's sends. Who has nothing
/// to be sent is found out by `tcp-keepalive`; of who has, nothing is known but that he is idle.
#[cfg(target_os = "linux")]
fn vanished(server: &Server) {
    let drop_all = [SockFilter::new(RETURN, 0, 0, 0)];
    let vanish = |name: &str, before: &[u8], question: &[u8]| -> Vec<TcpStream> {
        let name = [&encode(&["CLIENT", "SETNAME", name]), before].concat();
        let one = || {
            let mut stream = connect(server.port());
            stream.write_all(&name).expect("to be heard");
            stream.read_exact(&mut [0; 5]).expect("an answer");
            SockRef::from(&stream).attach_filter(&drop_all).expect("a filter");
            stream.write_all(question).expect("to be sent");
            stream
        };
        (0..VANISHED).map(|_| one()).collect()
    };
    let left = |name: &str, how: &str| {
        let name = format!(" name={name} ");
        eventually(how, || {
            let list = server.ask(&["CLIENT", "LIST"]);
            match list.text().matches(&name).count() {
                0 => Ok(()),
                left => Err(left),
            }
        });
    };
    let set = |name: &str, value: &str| assert!(server.ask(&["CONFIG", "SET", name, value]).is("OK"));
    set("tcp-keepalive", "1");
    let mut stays = connect(server.port());
    let quiet = [vanish("quiet", b"*2\r\n$3\r\nGET\r\n$4\r\nha", b""), vanish("quiet", b"", b"")];
    left("quiet", "who vanished is noticed");
    stays.write_all(b"PING\r\n").expect("to be heard");
    stays.read_exact(&mut [0; 7]).expect("who is there stays");
    let asking = vanish("asking", b"", &encode(&["GET", "big"]).repeat(20));
    set("timeout", IDLE_SECONDS);
    left("asking", "who vanished with answers under way is idle");
    set("timeout", "0");
    set("tcp-keepalive", "300");
    // They were there all the time.
    drop((quiet, asking));
}

/// In the language of filters: take so many bytes of a packet.
#[cfg(target_os = "linux")]
const RETURN: u16 = 6;

/// Bytes of the value that is asked for.
const BIG: usize = 100_000;

/// Who says hello and then nothing; what one of them takes of the server's memory, in bytes.
fn idle(server: &Server, pid: u32, clients: usize) -> u64 {
    let before = Share::of(pid);
    let mut all: Vec<TcpStream> = (0..clients).map(|_| connect(server.port())).collect();
    for stream in &mut all {
        stream.write_all(b"PING\r\n").expect("to be heard");
    }
    for stream in &mut all {
        let mut reply = [0; 7];
        stream.read_exact(&mut reply).expect("an answer");
        assert_eq!(&reply, b"+PONG\r\n");
    }
    let with = Share::of(pid);
    // Some who left earlier may have been counted before.
    assert!(with.descriptors >= clients, "{with}");
    with.resident_kb.saturating_sub(before.resident_kb) * 1024 / clients as u64
}

/// Waits until no more than so many descriptors are open, and those that come and go.
fn await_quiet(pid: u32, quiet: usize) -> Share {
    eventually("all have left", || {
        let now = Share::of(pid);
        if now.descriptors <= quiet + PASSING { Ok(now) } else { Err(now) }
    })
}

/// A round of all of them, from a process with so many descriptors, and what it has when they are gone.
fn round(server: &Server, pid: u32, quiet: usize, number: usize, clients: usize) -> (Share, String) {
    let counters = Counters::start(server.port(), &number.to_string(), false);
    storm(server.port());
    slow_readers(server.port());
    silent(server);
    #[cfg(target_os = "linux")]
    vanished(server);
    let (counts, longest) = counters.stop();
    assert!(longest < WAIT, "a batch took {longest:?}");
    await_quiet(pid, quiet);
    let bytes = idle(server, pid, clients);
    for (who, counts) in counts.iter().enumerate() {
        for (key, count) in counts.iter().enumerate() {
            let read = server.ask(&["GET", &name(&format!("{number}:{who}"), key)]);
            assert!(read.is(&count.to_string()), "{read:?} instead of {count}");
        }
    }
    assert!(server.ask(&["FLUSHALL", "SYNC"]).is("OK"));
    assert!(server.ask(&["SET", "big", &"x".repeat(BIG)]).is("OK"));
    let after = await_quiet(pid, quiet);
    let counted: u64 = counts.iter().flatten().sum();
    (
        after,
        format!("{bytes} bytes per idle client, {counted} counted, longest batch {longest:?}; then {after}"),
    )
}

#[test]
fn bad_company_leaves_nothing_behind() {
    let end = env::var("WHIMBREL_SECONDS").ok().map(|text| text.parse().expect("a number of seconds"));
    let end = end.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let room = match descriptors::reserve(IDLE + OURS, 1) {
        Ok(()) => IDLE,
        Err(fewer) => fewer.saturating_sub(OURS),
    };
    let maxclients = (room + OURS).to_string();
    let arguments = ["--bind", "127.0.0.1", "--cluster-enabled", "yes", "--maxclients", &maxclients];
    let mut server = Server::start(&program(), &arguments);
    let pid = server.child().id();
    assert!(server.ask(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).is("OK"));
    eventually("it serves", || match server.ask(&["SET", "big", &"x".repeat(BIG)]) {
        Reply::Simple(_) => Ok(()),
        other => Err(other),
    });
    let quiet = Share::of(pid).descriptors;
    let mut number = 0;
    let mut next = || {
        number += 1;
        let (after, told) = round(&server, pid, quiet, number, room as usize);
        if end.is_some() {
            println!("round {number}: {told}");
        }
        after
    };
    // What the first leaves is what was never needed before.
    let first = next();
    while end.is_some_and(|end| Instant::now() < end) {
        next();
    }
    eventually("memory is as before", || {
        let now = Share::of(pid);
        // Memory is given back while there is something to do.
        assert!(server.ask(&["PING"]).is("PONG"));
        if now.resident_kb <= first.resident_kb + SLACK_KB { Ok(()) } else { Err((first, now)) }
    });
    ends_in_order(&mut server);
}

/// The end in the middle of all that: what was executed and answered is heard of, and nothing else; the port is free.
fn ends_in_order(server: &mut Server) {
    let port = server.port();
    let monitor = connect(port);
    (&monitor).write_all(b"MONITOR\r\n").expect("to be heard");
    let mut watcher = BufReader::new(monitor);
    let mut line = String::new();
    watcher.read_line(&mut line).expect("an answer");
    assert_eq!(line, "+OK\r\n");
    let watching = thread::spawn(move || {
        let mut seen = vec![vec![0; KEYS]; COUNTERS];
        let mut line = String::new();
        while watcher.read_line(&mut line).is_ok_and(|len| len > 0) && line.ends_with('\n') {
            if let Some((_, rest)) = line.split_once("\"INCR\" \"count:end:") {
                let (who, key) = rest.trim_end().trim_end_matches('"').split_once(':').expect("a name");
                seen[who.parse::<usize>().expect("who")][key.parse::<usize>().expect("which")] += 1;
            }
            line.clear();
        }
        seen
    });
    let counters = Counters::start(port, "end", true);
    thread::sleep(Duration::from_millis(500));
    server.signal("TERM");
    assert_eq!(server.child().wait().expect("its end").code(), Some(0), "{}", server.log());
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "somebody listens");
    let (counts, _) = counters.stop();
    let seen: Vec<Vec<u64>> = watching.join().expect("who watches");
    assert!(counts.iter().flatten().all(|count| *count > 0), "{counts:?}");
    for (who, (counts, seen)) in counts.iter().zip(&seen).enumerate() {
        for (key, (count, seen)) in counts.iter().zip(seen).enumerate() {
            assert!(
                count >= seen,
                "client {who} heard of {count} of at least {seen} times that key {key} was counted"
            );
        }
    }
    server.restart();
    assert!(server.ask(&["PING"]).is("PONG"));
}
