//! How much memory links take: kept up to date turn by turn, so that sums cost nothing.

use core::mem::size_of;

use crate::ids::LinkId;
use crate::shard::session::{Client, Session};
use crate::shard::{Link, Shard};

/// What a shard takes before the first client and key.
pub(crate) const STARTUP: u64 = size_of::<Shard>() as u64;

/// Memory of the links of a shard.
#[derive(Debug, Default)]
pub(crate) struct Footprint {
    /// All clients.
    pub(crate) clients: u64,
    /// All links from sources of slot migrations.
    pub(crate) imports: u64,
}

/// What a client took when it was looked at last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Share {
    /// All of it.
    pub(crate) total: u64,
    /// Of it, what it was sent and is not read yet.
    pub(crate) unread: usize,
    /// Room behind that.
    pub(crate) spare: usize,
    /// Words of commands that wait to be run.
    pub(crate) words: usize,
    /// Replies that were not sent.
    pub(crate) unsent: usize,
}

impl Footprint {
    /// What counts against `maxmemory` beside the keys.
    pub(crate) fn counted(&self) -> u64 {
        STARTUP + self.clients + self.imports
    }

    /// Looks at what a client takes.
    pub(crate) fn reckon(&mut self, session: &mut Session) {
        let share = session.share();
        let before = core::mem::replace(&mut session.client.share, share);
        self.clients = self.clients + share.total - before.total;
    }

    /// The link of an import is gone.
    pub(crate) fn leave(&mut self, client: &mut Client) {
        self.imports -= core::mem::take(&mut client.share).total;
    }
}

impl Session {
    /// What the client takes now.
    fn share(&self) -> Share {
        let client = &self.client;
        let words = if client.backlog.is_empty() {
            0
        } else {
            client.backlog.iter().map(|queued| queued.words.memory()).sum()
        };
        let unread = self.reader.pending();
        let spare = self.reader.memory().saturating_sub(unread);
        let buffers = unread + spare + words + self.outbox.memory() + client.transaction.bytes();
        Share { total: (size_of::<Self>() + buffers) as u64, unread, spare, words, unsent: self.outbox.len() }
    }
}

impl Shard {
    /// Looks at what a link takes after it was at work.
    pub(crate) fn reckon(&mut self, link: LinkId) {
        let footprint = &mut self.data.footprint;
        match self.links.get_mut(&link) {
            Some(Link::Client(session)) => footprint.reckon(session),
            Some(Link::Import(importing)) => {
                let share = Share { total: importing.memory(), ..Share::default() };
                let before = core::mem::replace(&mut importing.client.share, share);
                footprint.imports = footprint.imports + share.total - before.total;
            }
            Some(Link::Lane) => self.reckon_lane(link),
            _ => {}
        }
    }
}
