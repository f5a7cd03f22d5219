//! Commands over all shards of a process: each sibling is asked for its part, and when all have answered the client's own
//! shard adds its part, which is the last, and replies.
//!
//! Meanwhile the client waits, so its replies keep their order; if it leaves, the parts that still come are not missed.
//! With one shard nobody is asked.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use hashbrown::HashMap;

use crate::acl;
use crate::action::{Actions, Ending};
use crate::command::clusterscan::Stretch;
use crate::command::table::{Command, Id};
use crate::ids::{ClientId, LinkId, ShardIndex, Shards};
use crate::link::Outbox;
use crate::shard::commandlog;
use crate::shard::debug::digest::Digest;
use crate::shard::env::Env;
use crate::shard::errand::Errand;
use crate::shard::freeze;
use crate::shard::home::{Home, home};
use crate::shard::info::sums::Sums;
use crate::shard::latency::Latency;
use crate::shard::listing;
use crate::shard::parts::part_of;
use crate::shard::run::is_lane;
use crate::shard::session::Waiting;
use crate::shard::slot_stats;
use crate::shard::tracking::{self, Tracks};
use crate::shard::visit::session_of;
use crate::shard::whereabouts::Sought;
use crate::shard::whole::{Caller, Request};
use crate::shard::{Link, Shard, jobs};
use crate::slots::Slot;
use crate::time::Now;
use crate::wire::resp::{Argv, ArgvBuf};

/// What a shard has to say to a command over all of them.
#[derive(Debug)]
pub(crate) enum Part {
    /// It has done what was asked.
    Done,
    /// So many.
    Count(u64),
    /// So many keys, as bulk strings.
    Keys(usize, Outbox),
    /// Keys of slots from a place on.
    Stretch(Option<Stretch>),
    /// A key drawn from so many.
    Draw(u64, Option<Box<[u8]>>),
    /// Lines of CLIENT LIST.
    Clients(Vec<listing::Row>),
    /// Clients that were closed.
    Killed(Vec<ClientId>),
    /// A client that was looked for, if it is there.
    Found(Option<LinkId>),
    /// What took long.
    Latency(Box<Latency>),
    /// What was refused lately.
    Refused(Vec<acl::Entry>),
    /// Live figures of jobs.
    Jobs(Vec<jobs::Live>),
    /// Fingerprints of its keys, by database, or of values of keys that were named.
    Digests(Vec<Option<Digest>>),
    /// Keys, and those with an expiry.
    Tables([u64; 2]),
    /// Keys and use of its slots.
    Slots(Vec<(Slot, slot_stats::Row)>),
    /// What it counted.
    Sums(Box<Sums<'static>>),
    /// Entries of a log of commands, the newest first.
    Logged(Vec<commandlog::Entry>),
}

/// What siblings are asked.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) link: LinkId,
    client: ClientId,
    db: u32,
    command: &'static Command,
    words: ArgvBuf,
    /// What the client tracks, which is asked to be noted.
    tracks: Option<Tracks>,
}

/// A command whose parts are being gathered.
#[derive(Debug)]
struct Gathering {
    /// Which question of this shard it is.
    number: u64,
    question: Arc<Question>,
    parts: Vec<Part>,
    /// How many parts there will be.
    wanted: usize,
}

/// Those of the clients that are at home here, by their links.
#[derive(Debug, Default)]
pub(crate) struct Gatherings {
    map: HashMap<LinkId, Gathering, foldhash::fast::FixedState>,
    asked: u64,
}

impl Gatherings {
    /// How many questions were asked so far.
    pub(crate) fn asked(&self) -> u64 {
        self.asked
    }

    /// The oldest that is not answered, by its number.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.map.values().map(|gathering| gathering.number).min()
    }

    /// Nobody waits for the answer any more; the command that it was to, if there was one.
    pub(crate) fn forget(&mut self, link: LinkId) -> Option<&'static Command> {
        self.map.remove(&link).map(|gathering| gathering.question.command)
    }
}

/// Whether a command of several shards has to run in this one, whose client gave it, in the way of the whole shard.
#[inline]
pub(crate) fn is_gathered(command: &Command, argv: Argv<'_>, env: &Env) -> bool {
    env.shards != Shards::ONE && part_of(command, argv).is_some()
}

impl Shard {
    /// Runs a command about the whole shard for a client: at once, or when siblings have said their part.
    pub(super) fn run_or_gather(
        &mut self,
        now: Now,
        link: LinkId,
        command: &'static Command,
        words: ArgvBuf,
        out: &mut Actions,
    ) -> Caller {
        if self.env.shards == Shards::ONE {
            return self.run_for(now, link, command, &words, &[], out);
        }
        let Some(session) = session_of(&mut self.links, &mut self.guests, link) else { return Caller::Stays };
        let (client, db) = (session.client.id, session.client.db);
        if freeze::is_due(command, &session.client, &self.env) {
            session.client.waiting = Waiting::Siblings;
            self.ask_to_freeze(now, link, command, words, out);
            return Caller::Waits;
        }
        if part_of(command, words.argv()).is_none() {
            let caller = self.run_for(now, link, command, &words, &[], out);
            if caller == Caller::Again
                && let Some(Link::Client(session)) = self.links.get_mut(&link)
            {
                session.client.waiting = Waiting::Siblings;
                self.ask_siblings(Question { link, client, db, command, words, tracks: None }, out);
            }
            return caller;
        }
        session.client.waiting = Waiting::Siblings;
        self.tell_forgotten(out);
        if command.id == Id::Debug {
            self.sleep_too(words.argv(), out);
        }
        let sought = tracking::listener(words.argv()).filter(|_| command.id == Id::ClientTracking);
        let is_moving = sought.is_some_and(|id| matches!(self.seek(id, link, out), Sought::Later));
        self.ask_siblings(Question { link, client, db, command, words, tracks: None }, out);
        if is_moving && let Some(gathering) = self.gatherings.map.get_mut(&link) {
            gathering.wanted += 1;
        }
        Caller::Waits
    }

    fn ask_siblings(&mut self, question: Question, out: &mut Actions) {
        let question = Arc::new(question);
        for sibling in self.siblings() {
            out.pass(sibling, Errand::Ask(question.clone()));
        }
        let wanted = usize::from(self.env.shards.count()) - 1;
        let gathering = Gathering { number: self.gatherings.asked, question, parts: Vec::new(), wanted };
        self.gatherings.asked += 1;
        self.gatherings.map.insert(gathering.question.link, gathering);
    }

    /// The other shards of the process.
    pub(crate) fn siblings(&self) -> impl Iterator<Item = ShardIndex> + use<> {
        let index = self.env.index;
        self.env.shards.iter().filter(move |shard| *shard != index)
    }

    /// Does this shard's part of a command of a sibling's client.
    pub(crate) fn asked_by_sibling(&mut self, now: Now, question: &Question, out: &mut Actions) {
        let Question { link, client, db, command, words, tracks } = question;
        if let Some(tracks) = tracks {
            self.note_guest(*link, tracks);
            out.pass(link.shard(), Errand::Part { link: *link, part: Part::Done });
            return;
        }
        if command.id == Id::ClientTracking {
            return self.seek_for(now, tracking::listener(words.argv()), *link, out);
        }
        let request = Request { link: *link, client: *client, db: *db, argv: words.argv(), parts: &[] };
        let part = self.part(now, command, &request, out);
        out.pass(link.shard(), Errand::Part { link: *link, part });
    }

    /// A sibling has done its part; after the last the client is answered.
    pub(crate) fn take_part(&mut self, now: Now, link: LinkId, part: Part, out: &mut Actions) {
        let Some(gathering) = self.gatherings.map.get_mut(&link) else { return };
        gathering.parts.push(part);
        if gathering.parts.len() < gathering.wanted {
            return;
        }
        let Some(Gathering { question, parts, .. }) = self.gatherings.map.remove(&link) else { return };
        if home(question.command) == Home::Node
            && !is_lane(question.command, question.words.argv(), &self.env)
        {
            let keys = parts.iter().map(Part::count).sum();
            self.ask_node(link, question.command, &question.words, keys, out);
            return;
        }
        match self.run_for(now, link, question.command, &question.words, &parts, out) {
            Caller::Killed => self.finish(now, link, Ending::Flushed, out),
            Caller::Waits | Caller::Left => {}
            Caller::Again => {
                let Some(Link::Client(session)) = self.links.get(&link) else { return };
                let tracks = Some(Tracks::of(session.client.tracker.as_deref()));
                let Question { client, db, command, .. } = *question;
                let words = question.words.clone();
                self.ask_siblings(Question { link, client, db, command, words, tracks }, out);
            }
            Caller::Stays => self.resume(now, link, out),
        }
    }
}

impl Part {
    /// The number it is, if it is one.
    pub(crate) fn count(&self) -> u64 {
        match self {
            Self::Count(count) => *count,
            _ => 0,
        }
    }
}

impl Request<'_> {
    /// What siblings counted, all together.
    pub(crate) fn counted_by_siblings(&self) -> u64 {
        self.parts.iter().map(Part::count).sum()
    }
}
