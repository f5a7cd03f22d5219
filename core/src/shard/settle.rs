//! Sessions that change their home: a link moves, with its session, to another shard for good.
//!
//! The old home lets go of both in one step. The session goes by mail and the socket behind it; where they meet, the link
//! has another name from then on. A link moves between two commands only, and only if nobody else knows it by its name:
//! who monitors, tracks, hears for others, or is in the middle of something stays where it is.
//!
//! It moves for a command that has to be given there, and when its client has long talked about keys of one other shard
//! only: each visit costs two letters and, if nothing else goes on, two threads that have to be woken.
//!
//! In the old home a stand-in remains until every shard has heard of the new one, so that a client that is moving is listed,
//! killed and found as any other ([`whereabouts`](super::whereabouts)).

use alloc::boxed::Box;
use alloc::vec::Vec;

use hashbrown::HashMap;

use crate::action::{Action, Actions, Ending};
use crate::command::options::is;
use crate::command::table::{Command, Id};
use crate::ids::{ClientId, LinkId, ShardIndex};
use crate::shard::env::Env;
use crate::shard::errand::Errand;
use crate::shard::footprint::Share;
use crate::shard::receiving;
use crate::shard::sequencer::Seen;
use crate::shard::session::{Client, Session, Waiting};
use crate::shard::transaction::Transaction;
use crate::shard::visit::Unread;
use crate::shard::{Link, Shard};
use crate::time::Now;
use crate::wire::resp::Argv;
use crate::wire::resp::number::integer;

/// After so many visits to one other shard, with nothing else between them, a session has its home there.
const VISITS: u32 = 64;

/// Where a session goes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Habit {
    there: ShardIndex,
    /// How often it went there in a row.
    visits: u32,
    /// How many commands its client had given when it was back.
    commands: u64,
}

impl Habit {
    /// It goes to a shard, after so many commands. Whether it did so often, and nothing else.
    pub(crate) fn leaves(&mut self, there: ShardIndex, commands: u64) -> bool {
        let again = (self.there, self.commands) == (there, commands);
        self.visits = if again { self.visits.saturating_add(1) } else { 1 };
        self.there = there;
        self.visits > VISITS
    }

    /// It is back, after so many commands.
    pub(crate) fn returns(&mut self, commands: u64) {
        self.commands = commands;
    }
}

/// A session on its way to its new home, or there before its socket.
#[derive(Debug)]
pub(crate) struct Settling {
    session: Box<Session>,
    unread: Unread<'static>,
    /// How far the feeds of shards were in its old home.
    seen: Seen,
    /// How many configurations its old home had been given.
    configured: u64,
    /// Who looks for it, to have it hear for them.
    sought_by: Vec<LinkId>,
    /// It is to be closed when its socket comes.
    is_expelled: bool,
}

impl Settling {
    /// Whose session it is.
    pub(super) fn client(&self) -> ClientId {
        self.session.client.id
    }

    /// A client wants to be told of its link when that is here, where it stays then.
    pub(super) fn is_sought_by(&mut self, asker: LinkId) {
        self.sought_by.push(asker);
    }

    /// It is to be closed.
    pub(super) fn expel(&mut self) {
        self.is_expelled = true;
    }
}

/// How often a client has moved.
pub(crate) type Moves = u32;

/// Sessions whose sockets have not come, by the names of their links in their old homes.
pub(crate) type Settlers = HashMap<LinkId, Box<Settling>, foldhash::fast::FixedState>;

/// The shard where the link of who gives this command has to be at home for it, if that matters.
pub(crate) fn home_for(
    command: &'static Command,
    argv: Argv<'_>,
    client: &Client,
    env: &Env,
) -> Option<ShardIndex> {
    match command.id {
        Id::Debug => named_by_debug(argv, env),
        Id::ClusterSyncslots => receiving::home_of_stream(argv, client.lanes, env),
        _ => None,
    }
}

/// The shard that DEBUG MOVE-CLIENT names.
pub(crate) fn named_by_debug(argv: Argv<'_>, env: &Env) -> Option<ShardIndex> {
    if argv.len() != 3 || !is(argv.get(1), b"move-client") {
        return None;
    }
    let shard = integer(argv.get(2)).and_then(|n| u16::try_from(n).ok())?;
    (shard < env.shards.count()).then_some(ShardIndex(shard))
}

impl Client {
    /// Whether its link may go to another shard, the client being at home and between two commands.
    pub(crate) fn may_move(&self) -> bool {
        self.authenticated
            && matches!(self.transaction, Transaction::None)
            && !self.monitors
            && self.tracker.is_none()
            && !self.is_known_by_link
            && !(self.frozen || self.gone || self.leaving)
    }
}

impl Shard {
    /// The home of a client, which [may move](Client::may_move), is another shard from now on: its link goes there with the
    /// last `rest` bytes of what is unread.
    pub(crate) fn settle(
        &mut self,
        link: LinkId,
        there: ShardIndex,
        unread: Unread<'_>,
        rest: usize,
        out: &mut Actions,
    ) {
        let Some(Link::Client(session)) = self.links.get_mut(&link) else { return };
        let mut stand_in = session.client.stand_in(there);
        stand_in.waiting = Waiting::Moving;
        let mut session = Box::new(Session {
            reader: core::mem::take(&mut session.reader),
            outbox: core::mem::take(&mut session.outbox),
            client: core::mem::replace(&mut session.client, stand_in),
        });
        let client = &mut session.client;
        client.share = Share::default();
        client.habit = Habit::default();
        client.moves += 1;
        self.goes_away(link, client.id);
        self.stand_in_for(client.id, link, there, client.moves);
        self.shares.note_moved(there);
        self.reckon(link);
        // Before it counts there, it counts no longer here.
        self.tell_siblings(out);
        let (unread, seen) = (unread.last(rest), self.data.exports.seen(self.env.index));
        let (configured, sought_by) = (self.configured, Vec::new());
        let settling = Settling { session, unread, seen, configured, sought_by, is_expelled: false };
        out.pass(there, Errand::Settle { from: link, settling: Box::new(settling) });
        out.push(Action::Move { link, to: there });
    }

    /// The socket of a session that has come from another shard is here, and has this name.
    pub(super) fn moved(&mut self, now: Now, link: LinkId, from: LinkId, out: &mut Actions) {
        let Some(settling) = self.settlers.remove(&from) else {
            out.push(Action::Close { link, ending: Ending::Abrupt });
            return;
        };
        self.tell_settled(from, settling.client(), settling.session.client.moves, out);
        let Settling { mut session, unread, seen, configured, sought_by, is_expelled } = *settling;
        self.data.exports.comes_after(self.env.index, &seen);
        let user = self.env.config.users.get(session.client.user.name());
        // Its user was deleted meanwhile. Where it comes from, a user may be known already who is not yet known here.
        let is_deleted = user.is_none() && configured < self.configured;
        if is_expelled || is_deleted {
            out.push(Action::Close { link, ending: Ending::Abrupt });
            self.has_not_come(session.client.id, out);
            sought_by.iter().for_each(|asker| self.answer_seeker(now, *asker, None, out));
            return;
        }
        if let Some(user) = user {
            session.client.be(user.clone());
        }
        session.client.link = link;
        session.client.is_known_by_link |= !sought_by.is_empty();
        self.has_come(link, session.client.id);
        self.links.insert(link, Link::Client(session));
        self.share_clients(out);
        sought_by.iter().for_each(|asker| self.answer_seeker(now, *asker, Some(link), out));
        self.go_on(now, link, unread, out);
    }

    /// A link is gone: if it is one that was to come here, its session goes with it.
    pub(super) fn lost(&mut self, now: Now, from: LinkId, out: &mut Actions) {
        if let Some(settling) = self.settlers.remove(&from) {
            self.tell_settled(from, settling.client(), settling.session.client.moves, out);
            self.has_not_come(settling.client(), out);
            settling.sought_by.iter().for_each(|asker| self.answer_seeker(now, *asker, None, out));
        }
    }
}
