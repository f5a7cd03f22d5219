//! Sessions that go where the keys of their commands are: to the shard of the slot, and back.
//!
//! A shard that meets a command about a slot of a sibling sends the session there, with all that the client has sent
//! behind that command. There it is served as any client is, until a command comes that is not for that shard; then it
//! goes home with what it was answered. A session is in one place at a time, so the commands of one client run one after
//! another, wherever their keys are, and whoever sees what the second one wrote can see what the first one did. At home a
//! stand-in remains, for all that is about the client and its link. No more than one letter per session is under way, so
//! the rings between shards need no other bound.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use hashbrown::HashMap;

use crate::action::{Action, Actions, Ending, Letter, To};
use crate::cluster::takeover::Confirmed;
use crate::command::effects::Keys;
use crate::ids::{JobName, LinkId, ShardIndex};
use crate::link::Outbox;
use crate::mail::{Mail, Pass};
use crate::migration::failure::Failure;
use crate::migration::job::Job;
use crate::shard::freeze::Freeze;
use crate::shard::gather::{Part, Question};
use crate::shard::imports::Applied;
use crate::shard::session::{Session, Waiting};
use crate::shard::shares::Taken;
use crate::shard::tracking::{Gone, Notice, Tracks};
use crate::shard::{Link, Shard};
use crate::time::Now;

/// A session away from home.
#[derive(Debug)]
pub(crate) struct Visit {
    pub(crate) session: Session,
    unread: Unread<'static>,
    /// How its link is to end, once it is home.
    ending: Option<Ending>,
}

/// What shards send each other.
#[derive(Debug)]
pub(crate) enum Errand {
    /// A session whose next command is for the shard that gets this.
    Visit(Box<Visit>),
    /// A session comes home.
    Return(Box<Visit>),
    /// What a session that is away was answered so far: its next command has to wait.
    Replies { link: LinkId, outbox: Outbox },
    /// The node's answer to a session that is visiting.
    Answer { link: LinkId, reply: Bytes },
    /// The link of a session that is visiting is gone.
    Left { link: LinkId },
    /// A job of `home` has its snapshot made and its writes followed.
    Follow { home: ShardIndex, job: Arc<Job> },
    /// It is over, and its slots stay here.
    Unfollow { job: JobName },
    /// It has the writes to its slots held until it is over.
    Hold { job: JobName },
    /// How far it is: whether it waits for everything unsent to go, and whether writes may gather.
    Course { job: JobName, at_end: bool, may_gather: bool },
    /// Its link has sent so many bytes that came from here.
    Sent { job: JobName, bytes: u64 },
    /// What shard `by` has for the stream of a job; it ends in database `db`.
    Fed { by: ShardIndex, job: JobName, outbox: Outbox, db: u32 },
    /// The whole snapshot of `by` is in the stream.
    Arrived { by: ShardIndex, job: JobName },
    /// The writes of `by` are held, and all earlier ones are in the stream.
    Held { by: ShardIndex, job: JobName },
    /// An import of `home` begins; what is left of its slots goes.
    Graft { home: ShardIndex, job: Arc<Job>, left: Option<Confirmed> },
    /// Commands of its stream.
    Apply { job: JobName, db: u32, bytes: Vec<u8>, commands: usize },
    /// What became of them.
    Applied(Applied),
    /// It has failed: its keys go, where that is confirmed …
    Uproot { job: JobName, confirmed: Option<Confirmed> },
    /// … and are gone.
    Uprooted { job: JobName },
    /// A job has to end.
    Stop { job: JobName, failure: Failure },
    /// A command over all shards wants this one's part.
    Ask(Arc<Question>),
    /// Such a part, for the client on this link.
    Part { link: LinkId, part: Part },
    /// All shards stop for one client, or go on.
    Freeze(Freeze),
    /// What a sibling takes of the limits of the process.
    Taken(ShardIndex, Taken),
    /// A client of a sibling, which monitored or tracked, does so no longer.
    Forget(LinkId),
    /// A client that tracks has to be told something.
    Notice(Notice),
    /// This client hears what changed for another.
    Push { link: LinkId, by: LinkId, what: Gone },
    /// The client that hears for this one is gone.
    Unheard(LinkId),
    /// Lines for a client that monitors.
    Shown { link: LinkId, lines: Bytes },
    /// Keys that nobody watches any more for a client of a sibling.
    Unwatch(Keys),
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
    fn last(self, len: usize) -> Unread<'static> {
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

    /// Does what a sibling asks for.
    pub(crate) fn run_errand(&mut self, now: Now, errand: Errand, out: &mut Actions) {
        match errand {
            Errand::Visit(visit) => self.host(now, visit, out),
            Errand::Return(visit) => self.welcome(now, *visit, out),
            Errand::Replies { link, mut outbox } => {
                if let Some(Link::Client(session)) = self.links.get_mut(&link) {
                    session.outbox.append(&mut outbox);
                    out.push(Action::Flush { link });
                    self.reckon(link);
                }
            }
            Errand::Answer { link, reply } => self.answered(now, link, reply, out),
            Errand::Left { link } => {
                if let Some(visit) = self.guests.remove(&link) {
                    self.holds_end_for(now, link, out);
                    self.discard(visit.session);
                }
            }
            Errand::Graft { home, job, left } => self.start_graft(home, job, left.as_ref()),
            Errand::Apply { job, db, bytes, commands } => {
                self.apply_batch(now, job, (db, bytes, commands), out);
            }
            Errand::Applied(applied) => self.part_applied(&applied, out),
            Errand::Uproot { job, confirmed } => self.uproot(job, confirmed.as_ref(), out),
            Errand::Uprooted { job } => self.part_cleaned(now, job, out),
            Errand::Stop { job, failure } => self.stop_job(now, job, &failure, out),
            Errand::Follow { .. }
            | Errand::Unfollow { .. }
            | Errand::Hold { .. }
            | Errand::Course { .. }
            | Errand::Sent { .. }
            | Errand::Fed { .. }
            | Errand::Arrived { .. }
            | Errand::Held { .. } => self.with_exports(now, out, |exports, s| exports.run_errand(errand, s)),
            Errand::Ask(question) => self.asked_by_sibling(now, &question, out),
            Errand::Part { link, part } => self.take_part(now, link, part, out),
            Errand::Freeze(word) => self.hear_of_freeze(now, word, out),
            Errand::Taken(shard, taken) => self.shares.note(shard, taken),
            Errand::Forget(link) => {
                self.data.scrutiny.forget_guest(link);
                self.note_guest(link, &Tracks::of(None));
            }
            Errand::Notice(notice) => self.data.scrutiny.tracking.postpone(notice),
            Errand::Push { link, by, what } => self.push_for(by, link, &what, out),
            Errand::Unheard(link) => self.listener_is_gone(link, out),
            Errand::Shown { link, lines } => self.shown(link, &lines, out),
            Errand::Unwatch(keys) => {
                keys.iter().for_each(|(db, key)| self.data.effects.watched().unwatch(*db, key));
            }
        }
    }

    /// The next command of a client is for a sibling, or for its own shard: its session goes there with the last `rest`
    /// bytes of what is unread.
    pub(crate) fn travel(
        &mut self,
        link: LinkId,
        there: ShardIndex,
        unread: Unread<'_>,
        rest: usize,
        out: &mut Actions,
    ) {
        let unread = unread.last(rest);
        if let Some(mut visit) = self.guests.remove(&link) {
            visit.unread = unread;
            out.pass(link.shard(), Errand::Return(visit));
        } else if let Some(Link::Client(session)) = self.links.get_mut(&link) {
            let stand_in = session.client.stand_in(there);
            let session = Session {
                reader: core::mem::take(&mut session.reader),
                outbox: Outbox::default(),
                client: core::mem::replace(&mut session.client, stand_in),
            };
            out.pass(there, Errand::Visit(Box::new(Visit { session, unread, ending: None })));
        }
    }

    /// A visitor has nothing more to do here.
    pub(crate) fn send_home(&mut self, link: LinkId, ending: Option<Ending>, out: &mut Actions) {
        if let Some(mut visit) = self.guests.remove(&link) {
            visit.ending = ending;
            out.pass(link.shard(), Errand::Return(visit));
        }
    }

    /// What a client was answered so far goes on its way.
    pub(crate) fn send_replies(&mut self, link: LinkId, out: &mut Actions) {
        let Some(session) = session_of(&mut self.links, &mut self.guests, link) else { return };
        if session.outbox.is_empty() {
            return;
        }
        if link.shard() == self.env.index {
            out.push(Action::Flush { link });
        } else {
            let outbox = core::mem::take(&mut session.outbox);
            out.pass(link.shard(), Errand::Replies { link, outbox });
        }
    }

    /// Serves a session of a sibling.
    fn host(&mut self, now: Now, mut visit: Box<Visit>, out: &mut Actions) {
        let link = visit.session.client.link;
        // Limits of clients are looked after at home.
        visit.session.client.alarm = usize::MAX;
        let unread = core::mem::replace(&mut visit.unread, Unread::NOTHING);
        self.guests.insert(link, visit);
        self.upkeep.served(now);
        self.serve_all(now, link, unread, out);
    }

    /// A session is home again.
    fn welcome(&mut self, now: Now, visit: Visit, out: &mut Actions) {
        let Visit { session: mut back, mut unread, ending } = visit;
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
    fn discard(&mut self, mut session: Session) {
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

impl Actions {
    /// Appends what a shard has for a sibling.
    pub(crate) fn pass(&mut self, shard: ShardIndex, errand: Errand) {
        self.mail.push(Letter { to: To::Shard(shard), mail: Mail::Pass(Pass(errand)) });
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
}
