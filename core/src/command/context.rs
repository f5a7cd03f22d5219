//! What a data command works with: the keys of its database, its reply, and the record of what it changed.

use super::effects::Effects;
use super::refused::{Refused, WRONG_TYPE};
use crate::config::Config;
use crate::rng::Rng;
use crate::slots::Slot;
use crate::store::{At, Entry, Store, Touch, View};
use crate::time::Now;
use crate::wire::resp::Reply;

/// Who gave the command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Caller {
    /// A client: keys past their expiry are gone for it.
    Client,
    /// A client while writes are held: keys past their expiry read as missing, but stay.
    ClientWhileHeld,
    /// The stream of a slot migration: the source drives expiry, so every key is there until it says otherwise.
    Import,
}

/// Counters that data commands move; INFO shows them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KeyStats {
    /// Reads that found their key.
    pub hits: u64,
    /// Reads that did not.
    pub misses: u64,
    /// Keys deleted because their time was over.
    pub expired: u64,
}

impl KeyStats {
    pub(crate) fn count(&mut self, found: bool) {
        self.hits += u64::from(found);
        self.misses += u64::from(!found);
    }
}

/// The surroundings of one data command.
pub struct Cx<'a> {
    /// The time of the step.
    pub now: Now,
    /// The selected database.
    pub db: u32,
    /// The slot of the command's keys, found by routing; slot 0 outside cluster mode.
    pub slot: Slot,
    /// Who gave the command.
    pub caller: Caller,
    /// All keys of the shard.
    pub store: &'a mut Store,
    /// Where the reply goes.
    pub reply: Reply<'a>,
    /// What the command changed.
    pub effects: &'a mut Effects,
    /// Counters.
    pub stats: &'a mut KeyStats,
    /// The configuration in force.
    pub config: &'a Config,
    /// Randomness of the shard.
    pub rng: &'a mut Rng,
    /// Whether looking at keys leaves their access time alone (CLIENT NO-TOUCH).
    pub no_touch: bool,
}

impl<'a> Cx<'a> {
    /// Locates `key` in the selected database: hashed once, used for every look.
    #[must_use]
    pub fn at<'k>(&self, key: &'k [u8]) -> At<'k> {
        self.at_db(self.db, key)
    }

    /// Locates `key` in database `db`.
    #[must_use]
    pub fn at_db<'k>(&self, db: u32, key: &'k [u8]) -> At<'k> {
        self.store.at_in(db, self.slot, key)
    }

    /// The entry for a command that reads its value: counts a hit or miss, remembers the access.
    pub fn read(&mut self, at: &At<'_>) -> Option<&Entry> {
        self.read_to_reply(at).0
    }

    /// Like [`read`](Self::read), and the reply to write what the entry holds into.
    pub fn read_to_reply(&mut self, at: &At<'_>) -> (Option<&Entry>, &mut Reply<'a>) {
        let touch = self.touch();
        let found = if self.is_gone(at) { None } else { self.store.get(at) };
        self.stats.count(found.is_some());
        if let Some(entry) = found {
            entry.touch(touch);
        }
        (found, &mut self.reply)
    }

    /// What an access of this command leaves behind.
    #[must_use]
    #[inline]
    pub fn touch(&self) -> Touch {
        if self.no_touch { Touch::Keep } else { self.store.access().touch() }
    }

    /// The entry for a command that asks about a key (TTL, OBJECT, TYPE …): counts a hit or miss, and does not pass
    /// for an access.
    pub fn ask(&mut self, at: &At<'_>) -> Option<&Entry> {
        let found = if self.is_gone(at) { None } else { self.store.get(at) };
        self.stats.count(found.is_some());
        found
    }

    /// The entry for a command that may change it: neither hit nor miss, and an access whether it does or not.
    pub fn look(&mut self, at: &At<'_>) -> Option<&Entry> {
        let touch = self.touch();
        let found = self.peek(at)?;
        found.touch(touch);
        Some(found)
    }

    /// The entry for a command whose access is noted elsewhere, or is none. Neither hit nor miss.
    pub fn peek(&mut self, at: &At<'_>) -> Option<&Entry> {
        if self.is_gone(at) { None } else { self.store.get(at) }
    }

    /// Whether the key counts as missing because its time is over. A client's look deletes it on the way and
    /// tells everyone who follows the shard's writes.
    pub fn is_gone(&mut self, at: &At<'_>) -> bool {
        if self.caller == Caller::Import || self.store.expires(at.db) == 0 {
            return false;
        }
        if !self.store.get(at).is_some_and(|entry| entry.is_expired(self.now.wall_ms())) {
            return false;
        }
        if self.caller == Caller::Client {
            self.expire(at);
        }
        true
    }

    /// Deletes a key whose time is over.
    pub fn expire(&mut self, at: &At<'_>) {
        self.store.remove(at);
        self.stats.expired += 1;
        let word = self.expiry_word();
        self.effects.deleted_by_us(at, word);
    }

    /// Whether a key that the command would let expire at this time is to be deleted at once. Not when a migration
    /// says so: its source will tell.
    #[must_use]
    pub fn is_past(&self, deadline_ms: i64) -> bool {
        self.caller != Caller::Import && deadline_ms <= self.now.wall_ms() as i64
    }

    /// The command gave the key an expiry that is over: deletes it and propagates that in place of the command.
    pub fn delete_as_past(&mut self, at: &At<'_>) {
        self.store.remove(at);
        self.stats.expired += 1;
        self.changed(at);
        self.rewrite(&[self.expiry_word(), at.key]);
    }

    fn expiry_word(&self) -> &'static [u8] {
        if self.config.lazyfree_lazy_expire { b"UNLINK" } else { b"DEL" }
    }

    /// The command changed the key: WATCH sees it, and the command will be propagated as it was given unless
    /// [`rewrite`](Self::rewrite) says otherwise.
    pub fn changed(&mut self, at: &At<'_>) {
        self.effects.changed(at);
    }

    /// Propagates `argv` in place of the command as it was given. Call it after [`changed`](Self::changed).
    pub fn rewrite(&mut self, argv: &[&[u8]]) {
        self.effects.rewrite(argv);
    }

    /// Replies the string of a key, null when it is missing. Whether it was there.
    ///
    /// # Errors
    /// When it is no string.
    pub fn reply_string(&mut self, at: &At<'_>) -> Result<bool, Refused<'static>> {
        let (found, reply) = self.read_to_reply(at);
        let Some(entry) = found else {
            reply.null();
            return Ok(false);
        };
        string(entry)?;
        bulk(reply, entry);
        Ok(true)
    }
}

/// The bytes of a string entry.
///
/// # Errors
/// When it is of another type.
pub fn string(entry: &Entry) -> Result<&[u8], Refused<'static>> {
    entry.string().ok_or(WRONG_TYPE)
}

/// Replies a string entry; a long one is shared, not copied.
pub fn bulk(reply: &mut Reply<'_>, entry: &Entry) {
    match entry.view() {
        View::Inline(bytes) => reply.bulk(bytes),
        View::Shared(bytes) => reply.bulk_shared(bytes.clone()),
    }
}
