//! Writers that keep a pace, or write as fast as they can, and follow their slots when these move.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use whimbrel_core::rng::Rng;
use whimbrel_core::wire::resp::encode_command;

use crate::common::Trouble;
use crate::common::figures::us;
use crate::keys::Keys;

/// How many there are.
pub const WRITERS: usize = 2;
/// SETs that each has under way.
pub const PIPELINE: usize = 100;
/// Batches that each has made before.
const BATCHES: usize = 300;
const PATIENCE: Duration = Duration::from_secs(30);

/// What the writers have done so far.
#[derive(Default)]
struct Score {
    stop: AtomicBool,
    acked: AtomicU64,
    longest_us: AtomicU32,
}

/// Writers at work.
pub struct Writers {
    score: Arc<Score>,
    threads: Vec<JoinHandle<Result<(), Trouble>>>,
}

impl Writers {
    /// Lets them write to random keys, first at the first of two ports. With a pace they begin so many SETs per
    /// second together, and catch up when they had to wait.
    pub fn start(keys: &Keys, ports: [u16; 2], pace: Option<u32>) -> Self {
        let score = Arc::new(Score::default());
        let interval =
            pace.map(|pace| Duration::from_secs_f64((WRITERS * PIPELINE) as f64 / f64::from(pace)));
        let threads = (0..WRITERS).map(|number| {
            let (keys, score) = (keys.clone(), score.clone());
            thread::spawn(move || {
                write(&keys, ports, interval, number as u64, &score).map_err(|e| format!("a writer: {e}"))
            })
        });
        let threads = threads.collect();
        Self { score, threads }
    }

    /// SETs acknowledged so far.
    pub fn acked(&self) -> u64 {
        self.score.acked.load(Ordering::Relaxed)
    }

    /// The longest that a batch took since the last call, in milliseconds.
    pub fn longest_ms(&self) -> f64 {
        f64::from(self.score.longest_us.swap(0, Ordering::Relaxed)) / 1000.0
    }

    /// Ends them.
    pub fn stop(self) -> Result<(), Trouble> {
        self.score.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().map_err(|_| "a writer panicked".to_owned())??;
        }
        Ok(())
    }
}

fn write(
    keys: &Keys,
    ports: [u16; 2],
    interval: Option<Duration>,
    number: u64,
    score: &Score,
) -> io::Result<()> {
    let batches = batches(keys, &mut Rng::new(number + 1));
    let mut links = [Link::open(ports[0])?, Link::open(ports[1])?];
    let (mut owner, begun) = (0, Instant::now());
    for n in 0_u32.. {
        if let Some(interval) = interval {
            let due = interval * n + interval * number as u32 / WRITERS as u32;
            thread::sleep(due.saturating_sub(begun.elapsed()));
        }
        if score.stop.load(Ordering::Relaxed) {
            break;
        }
        let batch = &batches[n as usize % BATCHES];
        let sent = Instant::now();
        // A batch of which a part was refused is sent again as a whole: SETs may be repeated.
        while !links[owner].exchange(batch)? {
            owner = 1 - owner;
            if sent.elapsed() > PATIENCE {
                return Err(io::Error::other("redirected without end"));
            }
        }
        score.acked.fetch_add(PIPELINE as u64, Ordering::Relaxed);
        score.longest_us.fetch_max(us(sent.elapsed()), Ordering::Relaxed);
    }
    Ok(())
}

fn batches(keys: &Keys, rng: &mut Rng) -> Vec<Vec<u8>> {
    let value = keys.value();
    let batch = || {
        let mut batch = Vec::with_capacity(PIPELINE * (keys.size + 64));
        for _ in 0..PIPELINE {
            encode_command(&mut batch, &[b"SET", &keys.key(rng.index(keys.count)).1, &value]);
        }
        batch
    };
    std::iter::repeat_with(batch).take(BATCHES).collect()
}

/// A connection whose replies are only looked through.
struct Link {
    stream: TcpStream,
    replies: Vec<u8>,
}

impl Link {
    fn open(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, replies: Vec::new() })
    }

    /// Sends a batch and waits for all replies. False when one said that the other node has the slot, or will.
    fn exchange(&mut self, batch: &[u8]) -> io::Result<bool> {
        self.stream.write_all(batch)?;
        self.replies.clear();
        let mut part = [0; 16 * 1024];
        let mut lines = 0;
        while lines < PIPELINE {
            let n = self.stream.read(&mut part)?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            lines += part[..n].iter().filter(|&&byte| byte == b'\n').count();
            self.replies.extend_from_slice(&part[..n]);
        }
        let refused = self.replies.split(|&byte| byte == b'\n').find(|line| line.first() == Some(&b'-'));
        match refused {
            None => Ok(true),
            Some(line) if line.starts_with(b"-MOVED") => Ok(false),
            Some(line) => Err(io::Error::other(String::from_utf8_lossy(line).into_owned())),
        }
    }
}
