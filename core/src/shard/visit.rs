//! Sessions that go where the keys of their commands are: to the shard of the slot, and back.
//!
//! A shard that meets a command about a slot of a sibling sends the session there, with all that the client has sent
//! behind that command. There it is served as any client is, until a command comes that is not for that shard; then it
//! goes home with what it was answered. A session is in one place at a time, so the commands of one client run one after
//! another, wherever their keys are, and whoever sees what the second one wrote can see what the first one did. At home a
//! stand-in remains, for all that is about the client and its link. No more than one letter per session is under way.

use alloc::boxed::Box;
use alloc::vec::Vec;

use hashbrown::HashMap;

use crate::action::{Action, Actions, Ending};
use crate::ids::{LinkId, ShardIndex};
use crate::link::Outbox;
use crate::shard::errand::Errand;
use crate::shard::route::Way;
use crate::shard::sequencer::Seen;
use crate::shard::session::{Session, Waiting};
use crate::shard::{Link, Shard};
use crate::time::Now;

/// A session away from home.
#[derive(Debug)]
pub(crate) struct Visit {
    pub(crate) session: Session,
    unread: Unread<'static>,
    /// How far the feeds of shards were where it was.
    seen: Seen,
    /// How its link is to end, once it is home.
    ending: Option<Ending>,
}

/// What a client sent and nobody has looked at.
#[derive(Debug)]
pub(crate) enum Unread<'a> {
    /// In the driver's memory.
    Lent(&'a [u8]),
    /// From a position on.
    Own(Vec<u8>, usize),
}

impl Unread<'_> {
    pub(crate) const NOTHING: Self = Self::Lent(&[]);

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Lent(bytes) => bytes,
            Self::Own(bytes, at) => &bytes[*at..],
        }
    }

    /// The last `len` bytes of it, to be taken along.
    pub(super) fn last(self, len: usize) -> Unread<'static> {
        match self {
            _ if len == 0 => Unread::Lent(&[]),
            Self::Lent(bytes) => Unread::Own(bytes[bytes.len() - len..].to_vec(), 0),
            Self::Own(bytes, _) => {
                let at = bytes.len() - len;
                Unread::Own(bytes, at)
            }
        }
    }
}

/// Sessions that visit a shard, by the names of their links.
pub(crate) type Guests = HashMap<LinkId, Box<Visit>, foldhash::fast::FixedState>;

/// The session of a client that is served here, at home or visiting.
#[inline]
pub(crate) fn session_of<'s>(
    links: &'s mut HashMap<LinkId, Link, foldhash::fast::FixedState>,
    guests: &'s mut Guests,
    link: LinkId,
) -> Option<&'s mut Session> {
    match links.get_mut(&link) {
        Some(Link::Client(session)) => Some(session),
        Some(_) => None,
        None => guests.get_mut(&link).map(|visit| &mut visit.session),
    }
}

impl Shard {
    /// Whether a client's session is at home here.
    pub(crate) fn is_home_of(&self, link: LinkId) -> bool {
        link.shard() == self.env.index
    }

    /// The next command of a client is for a sibling, or for its own shard: its session goes there with the last `rest`
    /// bytes of what is unread.
    pub(crate) fn travel(
        &mut self,
        link: LinkId,
        way: Way,
        unread: Unread<'_>,
        rest: usize,
        out: &mut Actions,
    ) {
        let there = match way {
            Way::Move(there) => return self.settle(link, there, unread, rest, out),
            Way::Visit(there) => there,
        };
        let unread = unread.last(rest);
        let seen = self.data.exports.seen(self.env.index);
        if let Some(mut visit) = self.guests.remove(&link) {
            (visit.unread, visit.seen) = (unread, seen);
            out.pass(link.shard(), Errand::Return(visit));
            return;
        }
        let own = self.links_at_home();
        if let Some(Link::Client(session)) = self.links.get_mut(&link) {
            let client = &mut session.client;
            // Who moves where more clients are makes the other threads idle.
            if client.habit.leaves(there, client.commands)
                && client.may_move()
                && self.shares.links_of(there) <= own
            {
                let rest = unread.bytes().len();
                return self.settle(link, there, unread, rest, out);
            }
            let stand_in = session.client.stand_in(there);
            let session = Session {
                reader: core::mem::take(&mut session.reader),
                outbox: Outbox::default(),
                client: core::mem::replace(&mut session.client, stand_in),
            };
            out.pass(there, Errand::Visit(Box::new(Visit { session, unread, seen, ending: None })));
        }
    }

    /// A visitor has nothing more to do here.
    pub(crate) fn send_home(&mut self, link: LinkId, ending: Option<Ending>, out: &mut Actions) {
        if let Some(mut visit) = self.guests.remove(&link) {
            (visit.seen, visit.ending) = (self.data.exports.seen(self.env.index), ending);
            out.pass(link.shard(), Errand::Return(visit));
        }
    }

    /// What a client was answered so far goes on its way, here and at home.
    pub(crate) fn send_replies(&mut self, link: LinkId, out: &mut Actions) {
        let Some(session) = session_of(&mut self.links, &mut self.guests, link) else { return };
        if link.shard() != self.env.index {
            let outbox = core::mem::take(&mut session.outbox);
            out.pass(link.shard(), Errand::Replies { link, outbox });
        } else if !session.outbox.is_empty() {
            out.push(Action::Flush { link });
        }
    }

    /// Serves a session of a sibling.
    pub(super) fn host(&mut self, now: Now, mut visit: Box<Visit>, out: &mut Actions) {
        let link = visit.session.client.link;
        // Limits of clients are looked after at home.
        visit.session.client.alarm = usize::MAX;
        let unread = core::mem::replace(&mut visit.unread, Unread::NOTHING);
        self.data.exports.comes_after(self.env.index, &visit.seen);
        self.guests.insert(link, visit);
        self.upkeep.served(now);
        self.serve_all(now, link, unread, out);
    }

    /// A session is home again.
    pub(super) fn welcome(&mut self, now: Now, visit: Visit, out: &mut Actions) {
        let Visit { session: mut back, mut unread, seen, ending } = visit;
        self.data.exports.comes_after(self.env.index, &seen);
        let link = back.client.link;
        let Some(Link::Client(session)) = self.links.get_mut(&link) else {
            self.discard(back);
            return;
        };
        session.outbox.append(&mut back.outbox);
        self.rooms.take_back(&mut back.outbox);
        let arrived = core::mem::take(&mut session.reader).take_unread();
        let stand_in = core::mem::replace(&mut session.client, back.client);
        session.client.take_over(stand_in);
        if let Some(user) = self.env.config.users.get(session.client.user.name()) {
            session.client.be(user.clone());
        }
        session.reader = back.reader;
        session.client.habit.returns(session.client.commands);
        match &mut unread {
            Unread::Own(bytes, _) => bytes.extend(arrived.unwrap_or_default()),
            Unread::Lent(_) => {
                arrived.inspect(|arrived| session.reader.keep(arrived));
                if let Some(bytes) = session.reader.take_unread() {
                    unread = Unread::Own(bytes, 0);
                }
            }
        }
        match ending {
            Some(ending) => self.finish(now, link, ending, out),
            None => self.go_on(now, link, unread, out),
        }
    }

    /// Drops a session whose link is gone.
    pub(super) fn discard(&mut self, mut session: Session) {
        session.client.transaction.discard(self.data.effects.watched());
        self.forget_watcher(&mut session.client);
    }

    /// Tells siblings which of their keys nobody watches any more.
    pub(crate) fn release_watched(&mut self, out: &mut Actions) {
        for (shard, keys) in self.data.effects.watched().take_released() {
            out.pass(shard, Errand::Unwatch(keys));
        }
    }
}

impl Waiting {
    /// Where the session is, if it is not here.
    pub(crate) fn away(self) -> Option<ShardIndex> {
        match self {
            Self::Away(shard) => Some(shard),
            _ => None,
        }
    }

    /// Whether only a stand-in is here any more.
    pub(crate) fn is_moving(self) -> bool {
        matches!(self, Self::Moving)
    }
}
