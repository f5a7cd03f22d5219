//! MULTI, EXEC, DISCARD and WATCH.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::command::effects::{Seen, Watched};
use crate::command::table::{Command, Id};
use crate::ids::ShardIndex;
use crate::link::Outbox;
use crate::shard::data::Data;
use crate::shard::env::Env;
use crate::shard::route::{Place, place, slot_named};
use crate::shard::session::{Client, Queued};
use crate::slots::Slot;
use crate::store::Store;
use crate::time::Now;
use crate::wire::resp::number::integer;
use crate::wire::resp::{Argv, ArgvBuf};

/// A key that a client watches, and how it was when it began.
#[derive(Debug)]
pub(crate) struct WatchedKey {
    db: u32,
    key: Box<[u8]>,
    seen: Seen,
    /// The shard that it is on.
    shard: ShardIndex,
}

/// A client's transaction.
#[derive(Debug, Default)]
pub(crate) enum Transaction {
    /// None, and no key is watched.
    #[default]
    None,
    /// Keys are watched, MULTI has not come.
    Watching(Vec<WatchedKey>),
    /// MULTI came.
    Open {
        /// Keys watched before MULTI.
        watched: Vec<WatchedKey>,
        /// Commands to run at EXEC.
        queue: Vec<Queued>,
        /// Bytes of those.
        bytes: usize,
        /// A command was refused: EXEC will be too.
        refused: bool,
        /// A watched key of a sibling had changed when EXEC came by.
        overtaken: bool,
    },
    /// EXEC runs so many commands (they are in the client's backlog).
    Running(usize),
}

/// How an EXEC begins.
#[derive(Debug)]
pub(crate) enum Exec {
    /// Run these.
    Run(Vec<Queued>),
    /// A watched key changed.
    Changed,
    /// A command was refused while queueing.
    Refused,
}

impl Transaction {
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, Self::Open { .. })
    }

    pub(crate) fn is_running(&self) -> bool {
        matches!(self, Self::Running(_))
    }

    pub(crate) fn is_dirty(&self) -> bool {
        matches!(self, Self::Open { refused: true, .. })
    }

    /// Commands of the transaction.
    pub(crate) fn queued(&self) -> usize {
        match self {
            Self::Open { queue, .. } => queue.len(),
            Self::Running(commands) => *commands,
            _ => 0,
        }
    }

    /// Whether a key was changed since it is watched.
    pub(crate) fn is_overtaken(&self, watches: &Watched) -> bool {
        let changed = |w: &WatchedKey| w.shard == watches.shard() && !watches.unchanged(w.db, &w.key, w.seen);
        match self {
            Self::Watching(keys) => keys.iter().any(changed),
            Self::Open { watched, overtaken, .. } => *overtaken || watched.iter().any(changed),
            _ => false,
        }
    }

    /// The slot that the commands of an open transaction are about.
    pub(crate) fn slot(&self, env: &Env) -> Option<Slot> {
        let Self::Open { queue, .. } = self else { return None };
        let slot = |queued: &Queued| {
            let argv = queued.words.argv();
            match place(env, queued.command, argv) {
                Place::One(slot) => slot.or_else(|| slot_named(queued.command, argv)),
                Place::Several => None,
            }
        };
        queue.iter().find_map(slot)
    }

    /// EXEC has come by a shard on its way to `goal`, where the transaction will run: looks at the watched keys here. The
    /// next shard with watched keys that is not the goal.
    pub(crate) fn look_after_watched(
        &mut self,
        now: Now,
        goal: ShardIndex,
        store: &Store,
        watches: &mut Watched,
    ) -> Option<ShardIndex> {
        let Self::Open { watched, overtaken, .. } = self else { return None };
        let here = watches.shard();
        if here != goal {
            for w in watched.extract_if(.., |w| w.shard == here) {
                *overtaken |= w.is_overtaken(now, store, watches);
                watches.release(here, w.db, w.key);
            }
        }
        watched.iter().map(|w| w.shard).find(|shard| *shard != goal).filter(|_| !*overtaken)
    }

    /// Keys watched.
    pub(crate) fn watching(&self) -> usize {
        match self {
            Self::Watching(keys) | Self::Open { watched: keys, .. } => keys.len(),
            _ => 0,
        }
    }

    /// The database that its last SELECT changes to.
    pub(crate) fn db(&self) -> Option<u32> {
        let Self::Open { queue, .. } = self else { return None };
        let last = queue.iter().rfind(|queued| queued.command.id == Id::Select)?;
        integer(last.words.argv().get(1)).and_then(|db| u32::try_from(db).ok())
    }

    /// Bytes of the queued commands.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Open { bytes, .. } => *bytes,
            _ => 0,
        }
    }

    /// MULTI.
    pub(crate) fn open(&mut self) {
        let watched = match core::mem::take(self) {
            Self::Watching(keys) => keys,
            _ => Vec::new(),
        };
        *self = Self::Open { watched, queue: Vec::new(), bytes: 0, refused: false, overtaken: false };
    }

    /// A command between MULTI and EXEC.
    pub(crate) fn queue(&mut self, command: &'static Command, words: ArgvBuf) {
        if let Self::Open { queue, bytes, .. } = self {
            *bytes += size_of::<Queued>() + words.memory();
            queue.push(Queued { command, words, is_line: false });
        }
    }

    /// A command was refused: if a transaction is open, EXEC will refuse it whole.
    pub(crate) fn refuse(&mut self) {
        if let Self::Open { refused, .. } = self {
            *refused = true;
        }
    }

    /// WATCH of one key.
    pub(crate) fn watch(&mut self, db: u32, key: &[u8], is_there: bool, watches: &mut Watched) {
        if matches!(self, Self::None) {
            *self = Self::Watching(Vec::new());
        }
        if let Self::Watching(keys) = self
            && !keys.iter().any(|w| w.db == db && *w.key == *key)
        {
            let seen = watches.watch(db, key, is_there);
            keys.push(WatchedKey { db, key: key.into(), seen, shard: watches.shard() });
        }
    }

    /// UNWATCH.
    pub(crate) fn unwatch(&mut self, watches: &mut Watched) {
        match self {
            Self::Watching(keys) => {
                release(keys, watches);
                *self = Self::None;
            }
            Self::Open { watched, .. } => release(watched, watches),
            Self::None | Self::Running(_) => {}
        }
    }

    /// DISCARD, RESET, or the end of the client: nothing of the transaction remains.
    pub(crate) fn discard(&mut self, watches: &mut Watched) {
        self.unwatch(watches);
        *self = Self::None;
    }

    /// EXEC: the commands to run, or why not.
    pub(crate) fn exec(&mut self, now: Now, store: &Store, watches: &mut Watched) -> Exec {
        let Self::Open { mut watched, queue, refused, overtaken, .. } = core::mem::take(self) else {
            return Exec::Refused;
        };
        let changed = overtaken || watched.iter().any(|w| w.is_overtaken(now, store, watches));
        release(&mut watched, watches);
        if refused {
            Exec::Refused
        } else if changed {
            Exec::Changed
        } else {
            *self = Self::Running(queue.len());
            Exec::Run(queue)
        }
    }
}

fn release(keys: &mut Vec<WatchedKey>, watches: &mut Watched) {
    for WatchedKey { shard, db, key, .. } in keys.drain(..) {
        watches.release(shard, db, key);
    }
}

impl WatchedKey {
    /// The shard that it is on.
    pub(crate) fn shard(&self) -> ShardIndex {
        self.shard
    }

    /// Whether the key, which is on this shard, has changed since it is watched.
    fn is_overtaken(&self, now: Now, store: &Store, watches: &Watched) -> bool {
        let expired = || {
            let entry = store.get(&store.at(self.db, &self.key));
            entry.is_some_and(|e| e.is_expired(now.wall_ms()))
        };
        !watches.unchanged(self.db, &self.key, self.seen) || (self.seen.is_there() && expired())
    }
}

/// Runs MULTI, DISCARD, WATCH or UNWATCH.
pub(crate) fn run(
    now: Now,
    id: Id,
    argv: Argv<'_>,
    client: &mut Client,
    outbox: &mut Outbox,
    data: &mut Data,
) {
    let open = client.transaction.is_open();
    match id {
        Id::Multi => {
            client.had_transaction = true;
            client.transaction.open();
        }
        Id::Discard if !open => {
            client.reply(outbox).error("ERR DISCARD without MULTI");
            return;
        }
        Id::Discard => client.transaction.discard(data.effects.watched()),
        Id::Watch => {
            watch(now, argv, client, outbox, data);
            return;
        }
        _ => {
            if matches!(client.transaction, Transaction::Watching(_)) {
                client.transaction.unwatch(data.effects.watched());
            }
        }
    }
    client.reply(outbox).ok();
}

fn watch(now: Now, argv: Argv<'_>, client: &mut Client, outbox: &mut Outbox, data: &mut Data) {
    client.had_transaction = true;
    for key in argv.iter().skip(1) {
        let at = data.store.at(client.db, key);
        let is_there = data.store.get(&at).is_some_and(|e| !e.is_expired(now.wall_ms()));
        client.transaction.watch(client.db, key, is_there, data.effects.watched());
    }
    client.reply(outbox).ok();
}
