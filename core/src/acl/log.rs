//! ACL LOG: what was refused lately.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Reverse;

use super::denied::Denied;
use crate::time::Wall;

/// Refusals of the same thing within this time are one entry, in milliseconds.
const GROUPED_MS: u64 = 60_000;
/// How many of the newest entries are looked through for the same thing.
const COMPARED: usize = 10;

/// Why something was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// Wrong name or password.
    Auth,
    /// A command, key or database that is not allowed.
    Denied(Denied),
}

impl Reason {
    /// Its name in ACL LOG.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Denied(Denied::Command) => "command",
            Self::Denied(Denied::Key(_)) => "key",
            Self::Denied(Denied::Database(_)) => "database",
        }
    }
}

/// Where it was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Context {
    /// By itself.
    Toplevel,
    /// In a transaction.
    Multi,
}

impl Context {
    /// Its name in ACL LOG.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Toplevel => "toplevel",
            Self::Multi => "multi",
        }
    }
}

/// One refusal, or several of the same thing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// How often.
    pub count: u64,
    /// Why.
    pub reason: Reason,
    /// Where.
    pub context: Context,
    /// What: the command, the key, the database.
    pub object: Box<[u8]>,
    /// To whom.
    pub user: Box<[u8]>,
    /// The line of CLIENT LIST about the last who tried.
    pub client: String,
    /// Counts entries since the start of the process.
    pub id: u64,
    /// When it came first.
    pub created: Wall,
    /// When it came last.
    pub updated: Wall,
}

impl Entry {
    /// Entries of several logs as one, the newest first.
    #[must_use]
    pub fn grouped(mut entries: Vec<Self>) -> Vec<Self> {
        entries.sort_by_key(|entry| Reverse(entry.updated.0));
        let mut grouped: Vec<Self> = Vec::new();
        for entry in entries {
            match grouped.iter_mut().find(|newer| newer.is_like(&entry, newer.created.min(newer.updated))) {
                Some(newer) => {
                    newer.count += entry.count;
                    newer.created = newer.created.min(entry.created);
                    newer.id = newer.id.min(entry.id);
                }
                None => grouped.push(entry),
            }
        }
        grouped
    }

    /// Whether the same thing was refused at most a minute before.
    fn is_like(&self, older: &Self, since: Wall) -> bool {
        older.is_about(self.reason, self.context, &self.user, &self.object)
            && since.as_ms().saturating_sub(older.updated.as_ms()) <= GROUPED_MS
    }

    fn is_about(&self, reason: Reason, context: Context, user: &[u8], object: &[u8]) -> bool {
        self.reason.name() == reason.name()
            && self.context == context
            && *self.user == *user
            && *self.object == *object
    }
}

/// The newest refusals, the newest first.
#[derive(Debug, Default)]
pub struct Log {
    entries: VecDeque<Entry>,
    next_id: u64,
    /// Failed logins since the last CONFIG RESETSTAT.
    pub auth: u64,
    /// Commands refused since then.
    pub commands: u64,
    /// Keys refused since then.
    pub keys: u64,
    /// Databases refused since then.
    pub databases: u64,
}

impl Log {
    /// Counts a refusal and notes it, keeping `most` entries.
    pub fn add(
        &mut self,
        now: Wall,
        (reason, context): (Reason, Context),
        (user, object): (&[u8], &[u8]),
        client: impl FnOnce() -> String,
        most: u64,
    ) {
        match reason {
            Reason::Auth => self.auth += 1,
            Reason::Denied(Denied::Command) => self.commands += 1,
            Reason::Denied(Denied::Key(_)) => self.keys += 1,
            Reason::Denied(Denied::Database(_)) => self.databases += 1,
        }
        if most > 0 {
            let same = |old: &Entry| {
                old.is_about(reason, context, user, object)
                    && now.as_ms().abs_diff(old.updated.as_ms()) <= GROUPED_MS
            };
            let known = self.entries.iter().take(COMPARED).position(same);
            let entry = match known.and_then(|at| self.entries.remove(at)) {
                Some(old) => Entry { count: old.count + 1, client: client(), updated: now, ..old },
                None => {
                    self.next_id += 1;
                    Entry {
                        count: 1,
                        reason,
                        context,
                        object: object.into(),
                        user: user.into(),
                        client: client(),
                        id: self.next_id - 1,
                        created: now,
                        updated: now,
                    }
                }
            };
            self.entries.push_front(entry);
        }
        self.entries.truncate(usize::try_from(most).unwrap_or(usize::MAX));
    }

    /// The entries, the newest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.entries.iter()
    }

    /// ACL LOG RESET.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// CONFIG RESETSTAT: the counts begin again.
    pub fn reset_counts(&mut self) {
        (self.auth, self.commands, self.keys, self.databases) = (0, 0, 0, 0);
    }
}
