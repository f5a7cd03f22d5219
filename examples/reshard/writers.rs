//! Clients that write all the time, each waiting for the reply before it writes again, and remember every reply.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use whimbrel_core::rng::Rng;
use whimbrel_core::wire::resp::Value;

use crate::common::Trouble;
use crate::common::client::Router;
use crate::common::figures::us;
use crate::keys::Keys;

/// Which keys a writer writes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Keys in slots that will move.
    Moving,
    /// Keys in slots that stay where they are.
    Staying,
}

/// One acknowledged write; times in microseconds.
#[derive(Clone, Copy)]
pub struct Ack {
    /// When the reply was there, from the start of the writers.
    pub at_us: u32,
    /// How long after the request.
    pub took_us: u32,
}

/// What a writer remembers.
pub struct Record {
    /// Which keys it wrote to.
    pub place: Place,
    /// All acknowledged writes in order.
    pub acks: Vec<Ack>,
    /// Its keys, and how often each was written.
    pub versions: Vec<(u32, u32)>,
    /// Redirects it followed.
    pub redirects: u64,
}

/// What can be seen of the writers while they run.
#[derive(Default)]
pub struct Live {
    /// Acknowledged writes so far.
    pub writes: AtomicU64,
    /// The longest time between two acknowledged writes of one writer since somebody set this to 0, in microseconds.
    pub longest_us: AtomicU32,
    stop: AtomicBool,
}

/// All writers.
pub struct Writers {
    /// When they began.
    pub begun: Instant,
    /// What can be seen of them.
    pub live: Arc<Live>,
    threads: Vec<JoinHandle<Result<Record, Trouble>>>,
}

impl Writers {
    /// Starts one writer per list of keys.
    pub fn start(keys: Keys, entry: u16, lists: Vec<(Place, Vec<u32>)>) -> Self {
        let live = Arc::new(Live::default());
        let begun = Instant::now();
        let start = |(seed, (place, numbers)): (usize, (Place, Vec<u32>))| {
            let writer = Writer {
                keys,
                begun,
                router: Router::new(entry),
                rng: Rng::new(seed as u64),
                live: live.clone(),
                record: Record {
                    place,
                    acks: Vec::with_capacity(1 << 20),
                    versions: numbers.into_iter().map(|number| (number, 0)).collect(),
                    redirects: 0,
                },
            };
            thread::spawn(move || writer.run())
        };
        let threads = lists.into_iter().enumerate().map(start).collect();
        Self { begun, live, threads }
    }

    /// Microseconds since the start.
    pub fn now_us(&self) -> u32 {
        us(self.begun.elapsed())
    }

    /// Fails when a writer has.
    pub fn check(&mut self) -> Result<(), Trouble> {
        match self.threads.iter().position(JoinHandle::is_finished) {
            Some(at) => match self.threads.swap_remove(at).join() {
                Ok(Err(trouble)) => Err(trouble),
                _ => Err("a writer ended by itself".to_owned()),
            },
            None => Ok(()),
        }
    }

    /// Ends all; what they remember.
    pub fn stop(self) -> Result<Vec<Record>, Trouble> {
        self.live.stop.store(true, Ordering::Relaxed);
        let join = |thread: JoinHandle<_>| thread.join().map_err(|_| "a writer panicked".to_owned())?;
        self.threads.into_iter().map(join).collect()
    }
}

struct Writer {
    keys: Keys,
    begun: Instant,
    router: Router,
    rng: Rng,
    live: Arc<Live>,
    record: Record,
}

impl Writer {
    fn run(mut self) -> Result<Record, Trouble> {
        let mut last_us = us(self.begun.elapsed());
        while !self.live.stop.load(Ordering::Relaxed) {
            let at = self.rng.index(self.record.versions.len());
            let (number, version) = self.record.versions[at];
            let (name, value) = (Keys::name(number), self.keys.value(number, version + 1));
            let asked_us = us(self.begun.elapsed());
            let reply = self.router.ask(Keys::slot(number), &[&b"SET"[..], &name, &value]);
            match reply {
                Ok(Value::Simple(_)) => {}
                Ok(other) => return Err(format!("SET key:{number} was answered {other:?}")),
                Err(e) => return Err(format!("SET key:{number} was not answered: {e}; did a node end?")),
            }
            let at_us = us(self.begun.elapsed());
            self.record.versions[at].1 = version + 1;
            self.record.acks.push(Ack { at_us, took_us: at_us - asked_us });
            self.live.writes.fetch_add(1, Ordering::Relaxed);
            self.live.longest_us.fetch_max(at_us - last_us, Ordering::Relaxed);
            last_us = at_us;
        }
        self.record.redirects = self.router.redirects;
        Ok(self.record)
    }
}
