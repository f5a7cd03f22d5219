//! MULTI, EXEC, DISCARD and WATCH.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::command::effects::Watched;
use crate::command::table::{Command, Id};
use crate::link::Outbox;
use crate::shard::data::Data;
use crate::shard::serve::reply;
use crate::shard::session::{Client, Queued};
use crate::store::Store;
use crate::time::Now;
use crate::wire::resp::number::integer;
use crate::wire::resp::{Argv, ArgvBuf};

/// A key that a client watches, and how it was when it began.
#[derive(Debug)]
pub(crate) struct WatchedKey {
    db: u32,
    key: Box<[u8]>,
    version: u64,
    /// Its time was over already.
    expired: bool,
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
        match self {
            Self::Watching(keys) | Self::Open { watched: keys, .. } => {
                keys.iter().any(|w| !watches.unchanged(w.db, &w.key, w.version))
            }
            _ => false,
        }
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
        *self = Self::Open { watched, queue: Vec::new(), bytes: 0, refused: false };
    }

    /// A command between MULTI and EXEC.
    pub(crate) fn queue(&mut self, command: &'static Command, words: ArgvBuf) {
        if let Self::Open { queue, bytes, .. } = self {
            *bytes += size_of::<Queued>() + words.memory();
            queue.push(Queued { command, words });
        }
    }

    /// A command was refused: if a transaction is open, EXEC will refuse it whole.
    pub(crate) fn refuse(&mut self) {
        if let Self::Open { refused, .. } = self {
            *refused = true;
        }
    }

    /// WATCH of one key.
    pub(crate) fn watch(&mut self, db: u32, key: &[u8], expired: bool, watches: &mut Watched) {
        if matches!(self, Self::None) {
            *self = Self::Watching(Vec::new());
        }
        if let Self::Watching(keys) = self
            && !keys.iter().any(|w| w.db == db && *w.key == *key)
        {
            let version = watches.watch(db, key);
            keys.push(WatchedKey { db, key: key.into(), version, expired });
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
        let Self::Open { mut watched, queue, refused, .. } = core::mem::take(self) else {
            return Exec::Refused;
        };
        let changed = watched.iter().any(|w| {
            let expired = |w: &WatchedKey| {
                let entry = store.get(&store.at(w.db, &w.key));
                entry.is_some_and(|e| e.is_expired(now.wall_ms()))
            };
            !watches.unchanged(w.db, &w.key, w.version) || (!w.expired && expired(w))
        });
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
    for watched in keys.drain(..) {
        watches.unwatch(watched.db, &watched.key);
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
            reply(client, outbox).error("ERR DISCARD without MULTI");
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
    reply(client, outbox).ok();
}

fn watch(now: Now, argv: Argv<'_>, client: &mut Client, outbox: &mut Outbox, data: &mut Data) {
    client.had_transaction = true;
    for key in argv.iter().skip(1) {
        let at = data.store.at(client.db, key);
        let expired = data.store.get(&at).is_some_and(|e| e.is_expired(now.wall_ms()));
        client.transaction.watch(client.db, key, expired, data.effects.watched());
    }
    reply(client, outbox).ok();
}
