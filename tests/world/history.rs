//! What clients wrote and read, and whether one server at a time can explain it.
//!
//! Every key is a small model that is judged as replies come: a register with unique values and one writer, a list
//! that many append unique tokens to, a counter that many increment. A write whose connection broke may have
//! happened or not until something read decides it. The world tells of keys that are gone with a process
//! ([`History::wipe`]) and of slots that a known hole of the hand-over has reached ([`History::taint`]).

use std::collections::BTreeMap;

use super::journal::{mark, violated};
use super::plan::{DATABASES, Plan, tag};

/// Bytes of a token of a list.
pub const TOKEN: usize = 8;

/// Values of some kilobytes in the large slot.
const LARGE: usize = 120;

/// Keys of each slot for those who say much at once.
const BATCHED: usize = 8;

/// What a key is used as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// SET and GET of unique values by one writer.
    Register,
    /// The same with values of some kilobytes.
    Bulk,
    /// The same, many at once: see [`batches`](super::batches).
    Batched,
    /// The same with a time to live.
    Expiring,
    /// Two keys that are always written together.
    Pair,
    /// APPEND of unique tokens by many.
    List,
    /// INCR by many.
    Counter,
}

/// A key and what is known of it.
#[derive(Clone)]
pub struct Key {
    pub kind: Kind,
    pub slot: u16,
    pub db: u32,
    pub name: Vec<u8>,
    /// The other key of a pair.
    pub second: Vec<u8>,
    /// The client that writes it; `None`: all do.
    pub writer: Option<usize>,
    /// Grows when everything written so far is gone, or may be.
    generation: u32,
    /// Flushes under way that may delete it at any time: nothing is certain meanwhile.
    vague: u32,
    register: Vec<Write>,
    list: List,
    counter: Counter,
}

/// A write to a register.
#[derive(Clone, Debug)]
struct Write {
    op: u64,
    value: Option<u64>,
    invoke: u64,
    /// From then on it is certain that it happened.
    visible: Option<u64>,
    /// From then on it has happened or never will.
    done: Option<u64>,
    /// Its acknowledgement does not make it certain: it may have been answered by a life that is over.
    shaky: bool,
    /// When the value expires, at the earliest and at the latest.
    expiry: Option<(u64, u64)>,
}

#[derive(Clone, Default)]
struct List {
    order: Vec<Option<u64>>,
    places: BTreeMap<u64, usize>,
    floors: Floors,
}

#[derive(Clone, Default)]
struct Counter {
    seen: BTreeMap<i64, u64>,
    floors: Floors,
    invoked: i64,
}

/// How much was certain, from when on.
#[derive(Clone, Default)]
struct Floors(Vec<(u64, i64)>);

impl Floors {
    fn raise(&mut self, now: u64, level: i64) {
        if self.0.last().is_none_or(|&(_, last)| last < level) {
            self.0.push((now, level));
        }
    }

    fn at(&self, time: u64) -> i64 {
        let known = self.0.partition_point(|&(since, _)| since <= time);
        self.0[..known].last().map_or(0, |&(_, level)| level)
    }
}

/// A write that has begun.
#[derive(Clone, Debug)]
pub struct Op {
    pub id: u64,
    pub key: usize,
    pub invoke: u64,
    pub what: What,
    generation: u32,
}

/// What a write does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// Sets the register to the number of the operation, for so many microseconds if at all limited.
    Set {
        ttl: Option<u64>,
    },
    Delete,
    Append,
    Increment,
}

/// How a write ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Acknowledged, with this number.
    Done(i64),
    /// It certainly was not executed.
    Never,
    /// Its connection is gone.
    Unknown,
}

/// What became of a flush.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Happened {
    Never,
    Perhaps,
    Surely,
}

/// What a read saw.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seen {
    /// The number of the operation that wrote the register.
    Value(Option<u64>),
    Tokens(Vec<u64>),
    Number(i64),
}

/// All keys of a run.
pub struct History {
    pub keys: Vec<Key>,
    next: u64,
    /// How exactly expiry is timed: a millisecond, and what clocks differ.
    grain: u64,
    tainted: BTreeMap<u16, &'static str>,
    /// Operations of tokens: when they were invoked, and whether they certainly were not executed.
    tokens: BTreeMap<u64, (usize, u64, bool)>,
    pub writes: u64,
    pub reads: u64,
}

impl History {
    pub fn new(plan: &Plan) -> Self {
        let mut keys = Vec::new();
        for (at, &slot) in plan.slots.iter().enumerate() {
            let mut add = |kind, letter: &str, writer: bool| {
                let name = |letter: &str| format!("{{{}}}{letter}", tag(slot)).into_bytes();
                keys.push(Key {
                    kind,
                    slot,
                    db: (keys.len() + at) as u32 % DATABASES,
                    name: name(letter),
                    second: name(&format!("{letter}-second")),
                    writer: match kind {
                        Kind::Batched => Some(plan.clients - 1 - keys.len() % plan.batchers),
                        _ => writer.then_some(keys.len() % plan.clients),
                    },
                    generation: 0,
                    vague: 0,
                    register: vec![Write::nothing(0)],
                    list: List::default(),
                    counter: Counter::default(),
                });
            };
            add(Kind::Register, "r", true);
            add(Kind::List, "l", false);
            add(Kind::Counter, "c", false);
            if plan.expiry {
                add(Kind::Expiring, "e", true);
            }
            if plan.transactions {
                add(Kind::Pair, "p", true);
            }
            if plan.bulk {
                for letter in ["b0", "b1", "b2", "b3", "b4", "b5"] {
                    add(Kind::Bulk, letter, true);
                }
            }
            for number in 0..if plan.batchers > 0 { BATCHED } else { 0 } {
                add(Kind::Batched, &format!("batched{number}"), true);
            }
            for number in 0..if plan.large == Some(slot) { LARGE } else { 0 } {
                add(Kind::Bulk, &format!("large{number}"), true);
            }
        }
        let grain = 1_000 + plan.skew;
        Self { keys, next: 1, grain, tainted: BTreeMap::new(), tokens: BTreeMap::new(), writes: 0, reads: 0 }
    }

    /// A write is about to be sent.
    pub fn begin(&mut self, key: usize, what: What, now: u64) -> Op {
        let id = self.next;
        self.next += 1;
        let k = &mut self.keys[key];
        match what {
            What::Set { .. } | What::Delete => {
                let value = (what != What::Delete).then_some(id);
                k.register.push(Write { op: id, value, invoke: now, ..Write::nothing(now) });
                let last = k.register.len() - 1;
                (k.register[last].visible, k.register[last].done) = (None, None);
            }
            What::Append => {
                self.tokens.insert(id, (key, now, false));
            }
            What::Increment => k.counter.invoked += 1,
        }
        Op { id, key, invoke: now, what, generation: k.generation }
    }

    /// A write ended.
    pub fn end(&mut self, op: &Op, end: End, now: u64) {
        self.writes += u64::from(matches!(end, End::Done(_)));
        let key = &self.keys[op.key];
        let tainted = self.is_tainted(key.slot) || key.vague > 0;
        let key = &mut self.keys[op.key];
        match op.what {
            What::Set { ttl } => {
                let expiry = ttl.map(|ttl| (op.invoke + ttl, now + ttl));
                key.end_register(op, end, expiry, now);
            }
            What::Delete => key.end_register(op, end, None, now),
            What::Append => match end {
                End::Never => {
                    self.tokens.entry(op.id).and_modify(|t| t.2 = true);
                }
                End::Done(len) if op.generation == key.generation && !tainted => key.appended(op, len, now),
                _ => {}
            },
            What::Increment => match end {
                End::Done(n) if op.generation == key.generation && !tainted => key.incremented(op, n, now),
                _ => {}
            },
        }
    }

    /// The generation of a key, to hand to [`History::read`].
    pub fn generation(&self, key: usize) -> u32 {
        self.keys[key].generation
    }

    /// A read that began at `invoke` has ended. `Err` says why no single server explains it.
    pub fn read(
        &mut self,
        key: usize,
        generation: u32,
        invoke: u64,
        now: u64,
        seen: &Seen,
    ) -> Result<(), String> {
        self.reads += 1;
        let k = &mut self.keys[key];
        if self.tainted.contains_key(&k.slot) || generation != k.generation || k.vague > 0 {
            return Ok(());
        }
        match seen {
            Seen::Value(value) => k.read_register(invoke, now, *value, self.grain),
            Seen::Number(n) => k.read_counter(invoke, now, *n),
            Seen::Tokens(tokens) => {
                for token in tokens {
                    match self.tokens.get(token) {
                        Some(&(owner, _, false)) if owner == key => {}
                        other => return Err(format!("token {token} was never appended there: {other:?}")),
                    }
                }
                k.read_list(invoke, now, tokens, &self.tokens)
            }
        }
    }

    /// What [`History::read`] would say; nothing is learned from it.
    pub fn would_read(
        &mut self,
        key: usize,
        generation: u32,
        invoke: u64,
        now: u64,
        seen: &Seen,
    ) -> Result<(), String> {
        let kept = self.keys[key].clone();
        let verdict = self.read(key, generation, invoke, now, seen);
        self.keys[key] = kept;
        verdict
    }

    /// Everything in these slots is gone at this moment.
    pub fn wipe(&mut self, mut hit: impl FnMut(u16) -> bool, now: u64) {
        mark("keys were lost or flushed");
        for key in self.keys.iter_mut().filter(|k| hit(k.slot)) {
            key.wipe(now);
        }
    }

    /// A flush of these slots is about to be sent.
    pub fn begin_flush(&mut self, slots: &[u16]) {
        for key in self.keys.iter_mut().filter(|k| slots.contains(&k.slot)) {
            key.vague += 1;
            key.generation += 1;
        }
    }

    /// A flush of these slots that was sent at `begun` is over: where it is certain that it happened, everything is
    /// gone that was there when it was sent.
    pub fn end_flush(&mut self, slots: &[u16], begun: u64, now: u64, happened: impl Fn(u16) -> Happened) {
        for key in self.keys.iter_mut().filter(|k| slots.contains(&k.slot)) {
            key.vague -= 1;
            match happened(key.slot) {
                Happened::Never => {}
                Happened::Perhaps => key.perhaps_wiped(now),
                Happened::Surely => key.wiped_since(begun, now),
            }
        }
    }

    /// The keys that are there from now on until their generation changes: written, and never deleted or expiring.
    pub fn lasting(&self, now: u64) -> Vec<(usize, u32)> {
        let all = self.keys.iter().enumerate();
        all.filter(|(_, k)| k.is_lasting(now) && !self.is_tainted(k.slot))
            .map(|(at, k)| (at, k.generation))
            .collect()
    }

    /// A known hole has reached a slot: its history is not judged any more.
    pub fn taint(&mut self, slot: u16, hole: &'static str) {
        self.tainted.entry(slot).or_insert(hole);
    }

    /// Whether a known hole has reached a slot.
    pub fn is_tainted(&self, slot: u16) -> bool {
        self.tainted.contains_key(&slot)
    }
}

impl Write {
    /// The state before any write, and after a wipe.
    fn nothing(now: u64) -> Self {
        Self {
            op: 0,
            value: None,
            invoke: now,
            visible: Some(now),
            done: Some(now),
            shaky: false,
            expiry: None,
        }
    }
}

impl Key {
    fn end_register(&mut self, op: &Op, end: End, expiry: Option<(u64, u64)>, now: u64) {
        if end == End::Never {
            self.register.retain(|w| w.op != op.id);
            return;
        }
        let Some(write) = self.register.iter_mut().rfind(|w| w.op == op.id) else { return };
        write.done = Some(now);
        write.expiry = expiry;
        if end != End::Unknown && !write.shaky {
            write.visible = Some(write.visible.map_or(now, |at| at.min(now)));
        }
    }

    /// `grain` is how exactly expiry is timed.
    fn read_register(&mut self, invoke: u64, now: u64, value: Option<u64>, grain: u64) -> Result<(), String> {
        let mut possible = Vec::new();
        let mut found = None;
        for (at, write) in self.register.iter().enumerate().rev() {
            possible.push(write.value);
            let expires = match (self.kind, write.done, write.expiry) {
                (_, _, Some(expiry)) => Some(expiry),
                // Not acknowledged yet: it may have been executed at any time since.
                (Kind::Expiring, None, None) => Some((write.invoke, u64::MAX)),
                _ => None,
            };
            let gone = expires.is_some_and(|(first, _)| now + grain >= first);
            let there = expires.is_none_or(|(_, last)| invoke <= last.saturating_add(grain));
            if (value == write.value && (value.is_none() || there)) || (value.is_none() && gone) {
                // Nothing is not a value that is written once: which deletion was seen is known if only one is possible.
                let is_certain = value == write.value && found.is_none();
                found = Some((at, is_certain));
                if !is_certain || value.is_some() {
                    break;
                }
            }
            if write.visible.is_some_and(|at| at <= invoke) {
                break;
            }
        }
        let Some((at, exactly)) = found else {
            return Err(format!("{value:?} was read where only {possible:?} are possible"));
        };
        if exactly {
            let write = &mut self.register[at];
            write.visible = Some(write.visible.map_or(now, |v| v.min(now)));
            // What had to have happened before this read, if ever, and is not seen, never did.
            let mut index = 0;
            self.register.retain(|w| {
                index += 1;
                index - 1 <= at || w.visible.is_some() || w.done.is_none_or(|done| done > invoke)
            });
        }
        Ok(())
    }

    fn appended(&mut self, op: &Op, len: i64, now: u64) {
        let name = self.text();
        if len % TOKEN as i64 != 0 || len <= 0 {
            violated("INV-LIN", format!("{name}: an append was answered with length {len}"));
        }
        let place = len as usize / TOKEN - 1;
        let before = self.list.floors.at(op.invoke);
        if (place as i64) < before {
            violated(
                "INV-ACK0",
                format!("{name}: token {} came to place {place}, but {before} were there before it", op.id),
            );
        }
        if let Err(why) = self.place(op.id, place) {
            violated("INV-LIN", format!("{name}: {why}"));
        }
        self.list.floors.raise(now, place as i64 + 1);
    }

    fn place(&mut self, token: u64, place: usize) -> Result<(), String> {
        let order = &mut self.list.order;
        if order.len() <= place {
            order.resize(place + 1, None);
        }
        match order[place] {
            Some(other) if other != token => {
                return Err(format!("tokens {other} and {token} were both at place {place}"));
            }
            _ => order[place] = Some(token),
        }
        match self.list.places.insert(token, place) {
            Some(other) if other != place => Err(format!("token {token} is at places {other} and {place}")),
            _ => Ok(()),
        }
    }

    fn read_list(
        &mut self,
        invoke: u64,
        now: u64,
        tokens: &[u64],
        known: &BTreeMap<u64, (usize, u64, bool)>,
    ) -> Result<(), String> {
        let floor = self.list.floors.at(invoke);
        if (tokens.len() as i64) < floor {
            return Err(format!("{} tokens were read where {floor} were there before", tokens.len()));
        }
        for (place, &token) in tokens.iter().enumerate() {
            if (place as i64) < self.list.floors.at(known[&token].1) {
                return Err(format!("token {token} at place {place} is older than its neighbours"));
            }
            self.place(token, place)?;
        }
        self.list.floors.raise(now, tokens.len() as i64);
        Ok(())
    }

    fn incremented(&mut self, op: &Op, n: i64, now: u64) {
        let before = self.counter.floors.at(op.invoke);
        if n <= before {
            violated("INV-ACK0", format!("{}: counted {n} after {before} was certain", self.text()));
        }
        if let Some(other) = self.counter.seen.insert(n, op.id) {
            violated(
                "INV-LIN",
                format!("{}: operations {other} and {} both counted {n}", self.text(), op.id),
            );
        }
        if n > self.counter.invoked {
            violated("INV-LIN", format!("{}: {n} after {} increments", self.text(), self.counter.invoked));
        }
        self.counter.floors.raise(now, n);
    }

    fn read_counter(&mut self, invoke: u64, now: u64, n: i64) -> Result<(), String> {
        let before = self.counter.floors.at(invoke);
        if n < before || n > self.counter.invoked {
            return Err(format!("{n} was read, outside of {before}..={}", self.counter.invoked));
        }
        self.counter.floors.raise(now, n);
        Ok(())
    }

    fn wipe(&mut self, now: u64) {
        self.wiped_since(u64::MAX, now);
    }

    /// Everything that was done before `since` is gone; what was done later may be.
    fn wiped_since(&mut self, since: u64, now: u64) {
        self.forget_floors();
        let pending = |w: &&Write| w.done.is_none_or(|done| done >= since);
        let pending: Vec<Write> = self.register.iter().filter(pending).cloned().collect();
        self.register = vec![Write::nothing(now)];
        for write in pending {
            self.register.push(Write { visible: None, shaky: true, ..write });
        }
    }

    /// Everything may be gone, or nothing.
    fn perhaps_wiped(&mut self, now: u64) {
        self.forget_floors();
        // What is under way may be carried out after it, or was before it.
        let (ended, pending): (Vec<Write>, Vec<Write>) =
            self.register.drain(..).partition(|w| w.done.is_some());
        self.register = ended;
        self.register.push(Write { visible: None, ..Write::nothing(now) });
        self.register.extend(pending.into_iter().map(|w| Write { visible: None, shaky: true, ..w }));
    }

    fn forget_floors(&mut self) {
        self.generation += 1;
        self.list = List::default();
        self.counter = Counter { invoked: self.counter.invoked, ..Counter::default() };
    }

    /// Whether it is certainly there, and no operation takes it away.
    fn is_lasting(&self, now: u64) -> bool {
        if self.vague > 0 {
            return false;
        }
        match self.kind {
            Kind::List => self.list.floors.at(now) > 0,
            Kind::Counter => self.counter.floors.at(now) > 0,
            Kind::Bulk | Kind::Pair => {
                let newest = self.register.iter().rev().take_while(|w| w.value.is_some());
                newest.into_iter().any(|w| w.visible.is_some())
            }
            Kind::Register | Kind::Batched | Kind::Expiring => false,
        }
    }

    /// Its name for people.
    pub fn text(&self) -> String {
        format!("key {} (slot {}, db {})", String::from_utf8_lossy(&self.name), self.slot, self.db)
    }
}
