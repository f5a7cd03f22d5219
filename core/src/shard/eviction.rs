//! Room where `maxmemory` is reached: keys are evicted by the policy in force, a few at a time, before commands and in
//! turns of their own, so that no turn gets long.
//!
//! What counts against the limit is what the shard asked for, without the streams to targets of migrations (evictions
//! make them longer) and without what is being freed already. Keys of hidden slots and of slots whose writes are held
//! are never evicted; while all clients are held nothing is.

use alloc::vec::Vec;

use smallvec::SmallVec;

use crate::command::table::{Command, Id, flags};
use crate::config::{Config, Policy};
use crate::rng::Rng;
use crate::shard::data::Data;
use crate::shard::hold::Holds;
use crate::shard::latency::EVICTION_CYCLE;
use crate::shard::session::Client;
use crate::shard::transaction::Transaction;
use crate::slots::Slot;
use crate::store::{Drawn, Pool, Store};
use crate::time::{Mono, Now, Span};
use crate::wire::resp::ArgvBuf;

/// The error of commands that need memory when there is none.
pub(crate) const OUT_OF_MEMORY: &str = "OOM command not allowed when used memory > 'maxmemory'.";

/// Candidates remembered from one choice to the next, as many as in Valkey.
const CANDIDATES: usize = 16;
/// Draws after which a search is given up: all that it met is held.
const DRAWS: usize = 16;
/// Work is counted in units of about 0.1 µs. To remove one key takes so many, …
const KEY_COST: u32 = 8;
/// … and so many more for each key that is compared with it.
const SAMPLE_COST: u32 = 2;
/// Keys of flushed or lost slots that are freed before another look at what is in use; each is a unit of work.
const FREED_AT_ONCE: usize = 64;
/// Bytes freed in one unit of work.
const BYTES_PER_UNIT: u64 = 2048;
/// The most work of one turn: about 1.5 ms, whatever the tenacity.
const MOST_PER_TURN: u32 = 15_000;
/// Keys that fit into a batch of which Valkey looks at the clock.
const LEAST_KEYS: u32 = 16;
/// Commands may evict, beyond the work of their turn, as much as they add: a key for each so many bytes, the size of a
/// small one …
const BYTES_PER_KEY: u64 = 32;
/// … but not more keys than these at a time.
const MOST_FOR_GROWTH: u64 = 512;

/// Whether there is room for commands that need memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Room {
    /// There is, or nothing may be evicted at present.
    Enough,
    /// There will be: evictions go on in later turns.
    Soon,
    /// There is none, and nothing to evict.
    None,
}

/// The state of evictions.
pub(crate) struct Eviction {
    limit: u64,
    policy: Policy,
    samples: usize,
    per_turn: u32,
    word: &'static [u8],
    candidates: Candidates,
    /// Where random policies evicted last.
    db: u32,
    /// The turn whose work is counted, and what is left of it.
    turn: Mono,
    left: u32,
    /// What was in use when it was looked at last.
    seen: u64,
    /// Bytes added since that no key was evicted for.
    grown: u64,
    running: bool,
    exceeded_since: Option<Mono>,
    exceeded: Span,
    evicted: u64,
    freed: u64,
}

/// A key to evict.
#[derive(Clone, Debug)]
struct Candidate {
    /// The more, the better.
    score: u64,
    db: u32,
    slot: Slot,
    key: SmallVec<[u8; 40]>,
}

/// The best candidates so far, the best of them last. Some may be gone meanwhile.
#[derive(Default)]
struct Candidates(Vec<Candidate>);

/// What a search found.
enum Found {
    Key(Candidate),
    /// Keys, but none that may be evicted now.
    Held,
    Nothing,
}

impl Eviction {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            limit: config.maxmemory,
            policy: config.maxmemory_policy,
            samples: config.maxmemory_samples as usize,
            per_turn: per_turn(config),
            word: word(config),
            candidates: Candidates::default(),
            db: 0,
            turn: Mono(0),
            left: 0,
            seen: 0,
            grown: 0,
            running: false,
            exceeded_since: None,
            exceeded: Span::ZERO,
            evicted: 0,
            freed: 0,
        }
    }

    /// Other settings from now on.
    pub(crate) fn configure(&mut self, config: &Config) {
        if self.policy != config.maxmemory_policy {
            self.candidates = Candidates::default();
        }
        self.policy = config.maxmemory_policy;
        self.samples = config.maxmemory_samples as usize;
        self.per_turn = per_turn(config);
        self.word = word(config);
        self.limit = config.maxmemory;
        // There may be much to evict at once, or nothing any more.
        self.running = self.limit > 0;
    }

    /// Whether there is a limit.
    #[inline]
    pub(crate) fn is_limited(&self) -> bool {
        self.limit > 0
    }

    /// Whether evictions go on without being asked for.
    pub(crate) fn is_running(&self) -> bool {
        self.running
    }

    /// Keys evicted.
    pub(crate) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Keys of flushed or lost slots that were freed to make room.
    pub(crate) fn freed(&self) -> u64 {
        self.freed
    }

    /// How long the limit has been exceeded now, and how long it ever was.
    pub(crate) fn exceeded(&self, now: Mono) -> (Span, Span) {
        let current = self.exceeded_since.map_or(Span::ZERO, |since| now.since(since));
        (current, Span(self.exceeded.0 + current.0))
    }

    /// This shard may take so much of what the process may.
    pub(crate) fn set_limit(&mut self, bytes: u64) {
        self.limit = bytes;
    }

    /// CONFIG RESETSTAT.
    pub(crate) fn forget_counts(&mut self) {
        self.evicted = 0;
        self.exceeded = Span::ZERO;
        self.exceeded_since = None;
    }

    /// Notes whether the limit is exceeded.
    fn settle(&mut self, now: Mono, used: u64, room: Room) -> Room {
        self.seen = used;
        self.running = room == Room::Soon;
        if room != Room::Enough {
            self.exceeded_since.get_or_insert(now);
        } else if let Some(since) = self.exceeded_since.take() {
            self.exceeded.0 += now.since(since).0;
        }
        room
    }

    /// What one eviction costs beside the bytes it frees.
    fn cost(&self) -> u32 {
        KEY_COST + SAMPLE_COST * self.samples as u32
    }

    /// The work that may be done now: for what was added since the last time, and what is left of the turn.
    fn begin(&mut self, now: Mono, used: u64) -> (u32, u32) {
        if self.turn != now {
            self.turn = now;
            self.left = self.per_turn.max(LEAST_KEYS * self.cost()).min(MOST_PER_TURN);
        }
        let most = MOST_FOR_GROWTH * BYTES_PER_KEY;
        self.grown = (self.grown + used.saturating_sub(self.seen)).min(most);
        ((self.grown / BYTES_PER_KEY) as u32 * self.cost(), self.left)
    }

    /// Takes note of work that was done.
    fn worked(&mut self, for_growth: u32, of_turn: u32) {
        let bytes = u64::from(for_growth.div_ceil(self.cost())) * BYTES_PER_KEY;
        self.grown = self.grown.saturating_sub(bytes);
        self.left -= of_turn;
    }

    /// Looks for the key to evict next.
    fn find(&mut self, store: &mut Store, holds: &Holds, rng: &mut Rng) -> Found {
        let pool = if self.policy.is_volatile() { Pool::Volatile } else { Pool::All };
        if matches!(self.policy, Policy::AllkeysRandom | Policy::VolatileRandom) {
            return self.find_any(pool, store, holds, rng);
        }
        for _ in 0..DRAWS {
            if !self.gather(pool, store, holds, rng) {
                return Found::Nothing;
            }
            while let Some(candidate) = self.candidates.0.pop() {
                if candidate.is_there(store, pool) && !holds.writes_held(Some(candidate.slot)) {
                    return Found::Key(candidate);
                }
            }
        }
        Found::Held
    }

    /// Draws keys of every database into the list of candidates. False when there is no key at all.
    fn gather(&mut self, pool: Pool, store: &mut Store, holds: &Holds, rng: &mut Rng) -> bool {
        let mut any = false;
        for db in 0..store.databases() {
            let there = store.pooled(db, pool);
            any |= there > 0;
            let mut seen = 0;
            while there > 0 && seen < self.samples {
                let Self { candidates, policy, samples, .. } = self;
                seen += store.sample(db, pool, *samples, rng, &mut |drawn| {
                    if !holds.writes_held(Some(drawn.slot)) {
                        candidates.offer(score(*policy, drawn), db, drawn);
                    }
                });
                // Few keys lie far apart: more draws would cost more than they are worth.
                if there < 10 * self.samples as u64 {
                    break;
                }
            }
        }
        any
    }

    /// A key drawn at random, from one database after the other.
    fn find_any(&mut self, pool: Pool, store: &mut Store, holds: &Holds, rng: &mut Rng) -> Found {
        let mut found = Found::Nothing;
        for _ in 0..store.databases() {
            self.db = (self.db + 1) % store.databases();
            if store.pooled(self.db, pool) == 0 {
                continue;
            }
            for _ in 0..DRAWS {
                let mut drawn = None;
                let db = self.db;
                store.sample(db, pool, 1, rng, &mut |key| drawn = Some(Candidate::new(0, db, key)));
                if let Some(candidate) = drawn.filter(|c| !holds.writes_held(Some(c.slot))) {
                    return Found::Key(candidate);
                }
            }
            found = Found::Held;
        }
        found
    }
}

impl Candidate {
    fn new(score: u64, db: u32, drawn: &Drawn<'_>) -> Self {
        Self { score, db, slot: drawn.slot, key: drawn.entry.key().into() }
    }

    /// Whether the key still is where it was drawn.
    fn is_there(&self, store: &Store, pool: Pool) -> bool {
        let entry = store.get(&store.at_in(self.db, self.slot, &self.key));
        !store.is_hidden(self.slot) && entry.is_some_and(|e| pool == Pool::All || e.expiry_ms().is_some())
    }
}

impl Candidates {
    /// Takes a key in if it is better than the worst, or if there is a place left.
    fn offer(&mut self, score: u64, db: u32, drawn: &Drawn<'_>) {
        let place = self.0.partition_point(|c| c.score < score);
        if self.0.len() < CANDIDATES {
            self.0.insert(place, Candidate::new(score, db, drawn));
        } else if place > 0 {
            self.0[0] = Candidate::new(score, db, drawn);
            self.0[..place].rotate_left(1);
        }
    }
}

/// How good a candidate a key is under a policy.
fn score(policy: Policy, drawn: &Drawn<'_>) -> u64 {
    match policy {
        Policy::VolatileTtl => u64::MAX - drawn.entry.expiry_ms().unwrap_or(u64::MAX),
        _ => u64::from(drawn.idleness),
    }
}

/// Work of one turn: as long as Valkey evicts without a break, which grows by 15 % a step above 10.
fn per_turn(config: &Config) -> u32 {
    let tenacity = config.maxmemory_eviction_tenacity;
    if tenacity <= 10 {
        return 500 * tenacity;
    }
    (10..tenacity.min(100)).fold(5_000, |work, _| (work + work * 15 / 100).min(MOST_PER_TURN))
}

/// How an eviction is told to those who follow the slot.
fn word(config: &Config) -> &'static [u8] {
    if config.lazyfree_lazy_eviction { b"UNLINK" } else { b"DEL" }
}

impl Data {
    /// Bytes in use that count against `maxmemory`.
    pub(crate) fn counted_memory(&self) -> u64 {
        self.store.allocated().used() + self.footprint.counted()
    }

    /// Evicts keys if more than `maxmemory` is in use. `unsent` is what the client at work has been answered in this
    /// turn. Not to be called without a limit.
    pub(crate) fn make_room(&mut self, now: Now, unsent: u64) -> Room {
        let used = self.counted_memory() + unsent;
        if used <= self.eviction.limit {
            return self.eviction.settle(now.mono, used, Room::Enough);
        }
        if self.holds.stops_evictions() {
            self.eviction.running = false;
            return Room::Enough;
        }
        self.scrutiny.laps.start();
        let room = self.evict(now, used);
        let nanos = self.scrutiny.laps.lap();
        self.scrutiny.latency.took(now, EVICTION_CYCLE, nanos);
        let used = self.counted_memory() + unsent;
        self.eviction.settle(now.mono, used, room)
    }

    fn evict(&mut self, now: Now, used: u64) -> Room {
        let (for_growth, of_turn) = self.eviction.begin(now.mono, used);
        let mut left = used - self.eviction.limit;
        let mut work = for_growth + of_turn;
        let room = loop {
            if work == 0 {
                break Room::Soon;
            }
            if self.store.has_detached() {
                // What is gone already goes first.
                let before = self.store.allocated().used();
                self.eviction.freed += self.store.free(FREED_AT_ONCE);
                let freed = before.saturating_sub(self.store.allocated().used());
                work = work.saturating_sub(FREED_AT_ONCE as u32);
                if freed >= left {
                    break Room::Enough;
                }
                left -= freed;
                continue;
            }
            if self.eviction.policy == Policy::Noeviction {
                break Room::None;
            }
            let Self { eviction, store, holds, rng, .. } = self;
            let candidate = match eviction.find(store, holds, rng) {
                Found::Key(candidate) => candidate,
                Found::Held => break Room::Enough,
                Found::Nothing => break Room::None,
            };
            let freed = self.remove_evicted(&candidate);
            let bytes = u32::try_from(freed / BYTES_PER_UNIT).unwrap_or(u32::MAX);
            work = work.saturating_sub(self.eviction.cost().saturating_add(bytes));
            if freed >= left {
                break Room::Enough;
            }
            left -= freed;
        };
        let done = for_growth + of_turn - work;
        self.eviction.worked(done.min(for_growth), done.saturating_sub(for_growth));
        room
    }

    /// Removes a key and tells everybody who follows its slot. Answers the bytes freed.
    fn remove_evicted(&mut self, candidate: &Candidate) -> u64 {
        let Self { store, effects, exports, eviction, .. } = self;
        let before = store.allocated().used();
        effects.begin(candidate.db, exports.follow(Some(candidate.slot)));
        let at = store.at_in(candidate.db, candidate.slot, &candidate.key);
        store.remove(&at);
        effects.deleted_by_us(&at, eviction.word);
        exports.append(effects, ArgvBuf::default().argv());
        eviction.evicted += 1;
        before.saturating_sub(store.allocated().used())
    }
}

/// Whether a command may need memory; for EXEC, whether one of those it runs may.
pub(crate) fn needs_memory(command: &Command, client: &Client) -> bool {
    if let (Id::Exec, Transaction::Open { queue, .. }) = (command.id, &client.transaction) {
        return queue.iter().any(|queued| queued.command.is(flags::DENYOOM));
    }
    command.is(flags::DENYOOM)
}
