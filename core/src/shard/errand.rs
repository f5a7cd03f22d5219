//! What shards of one process send each other, and where each errand is run.
//!
//! A session has one letter under way at a time; batches of a migration are bounded by what their link has sent
//! ([`branch`](super::branch)) or what is not applied yet ([`imports`](super::imports)). So nobody here has to ask whether
//! there is room: what finds none in a ring of the driver waits with its sender, and that is bounded by all this.

use alloc::boxed::Box;
use alloc::sync::Arc;

use bytes::Bytes;

use crate::action::{Action, Actions, Letter, To};
use crate::cluster::takeover::Confirmed;
use crate::command::effects::Keys;
use crate::ids::{ClientId, JobName, LinkId, ShardIndex};
use crate::link::Outbox;
use crate::mail::{Mail, Pass};
use crate::migration::failure::Failure;
use crate::migration::import;
use crate::migration::job::{Job, Timing};
use crate::migration::lane::Lanes;
use crate::shard::branch::Fed;
use crate::shard::freeze::Freeze;
use crate::shard::gather::{Part, Question};
use crate::shard::imports::Applied;
use crate::shard::sending::{Opening, Unsent};
use crate::shard::settle::Settling;
use crate::shard::shares::Taken;
use crate::shard::sheaf::Sheaf;
use crate::shard::tracking::{Gone, Notice, Tracks};
use crate::shard::visit::Visit;
use crate::shard::whereabouts::Settled;
use crate::shard::{Link, Shard};
use crate::time::Now;

/// What shards send each other.
#[derive(Debug)]
pub(crate) enum Errand {
    /// A session whose next command is for the shard that gets this.
    Visit(Box<Visit>),
    /// A session comes home.
    Return(Box<Visit>),
    /// What a session that is away was answered there so far: its next command has to wait.
    Replies { link: LinkId, outbox: Outbox },
    /// The node's answer to a session that is visiting.
    Answer { link: LinkId, reply: Bytes },
    /// The link of a session that is visiting is gone.
    Left { link: LinkId },
    /// A session whose home is the shard that gets this, from now on; its socket, which had this name, is behind it.
    Settle { from: LinkId, settling: Box<Settling> },
    /// A client that moved is at home where it moved to, or gone.
    Settled(Settled),
    /// A client that has moved is to be closed …
    Expel(ClientId),
    /// … or is looked for, to hear for the one on this link.
    Seek { client: ClientId, asker: LinkId },
    /// A job of `home` has its snapshot made and its writes followed.
    Follow { home: ShardIndex, job: Arc<Job>, opening: Option<Box<Opening>> },
    /// It is over, and its slots stay here.
    Unfollow { job: JobName },
    /// It has the writes to its slots held until it is over.
    Hold { job: JobName },
    /// How far it is: whether it waits for everything unsent to go, and whether writes may gather.
    Course { job: JobName, at_end: bool, may_gather: bool },
    /// So much is unsent of the lane of `by`.
    Unsent { by: ShardIndex, job: JobName, unsent: Unsent },
    /// Its link has sent so many bytes that came from here.
    Sent { job: JobName, bytes: u64 },
    /// What a shard has for the stream of a job …
    Fed { job: JobName, fed: Box<Fed> },
    /// … which waits to know how far the shard is.
    Reach { job: JobName },
    /// The whole snapshot of `by` is in the stream.
    Arrived { by: ShardIndex, job: JobName },
    /// The writes of `by` are held, and all earlier ones are in the stream.
    Held { by: ShardIndex, job: JobName },
    /// An import of `home` begins; what is left of its slots goes.
    Graft { home: ShardIndex, job: Arc<Job>, left: Option<Confirmed>, lanes: Option<(Lanes, Timing)> },
    /// Commands of its stream.
    Apply { job: JobName, db: u32, sheaf: Sheaf },
    /// What became of them.
    Applied(Applied),
    /// What a lane of it has brought that ends elsewhere.
    Landed { job: JobName, input: import::Input },
    /// It has failed: its keys go, where that is confirmed …
    Uproot { job: JobName, confirmed: Option<Confirmed> },
    /// … and are gone.
    Uprooted { job: JobName },
    /// A job has to end for what a shard did with its keys.
    Stop { job: JobName, failure: Failure },
    /// A command over all shards wants this one's part.
    Ask(Arc<Question>),
    /// Such a part, for the client on this link.
    Part { link: LinkId, part: Part },
    /// All shards stop for one client, or go on.
    Freeze(Freeze),
    /// What each shard takes of the limits of the process, as far as a sibling knows.
    Taken(Arc<[Taken]>),
    /// A client that this shard let in, and that moved away, is gone.
    Vacated,
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

impl Shard {
    /// Does what a sibling asks for.
    pub(crate) fn run_errand(&mut self, now: Now, errand: Errand, out: &mut Actions) {
        match errand {
            Errand::Visit(visit) => self.host(now, visit, out),
            Errand::Return(visit) => self.welcome(now, *visit, out),
            Errand::Replies { link, mut outbox } => {
                if let Some(Link::Client(session)) = self.links.get_mut(&link) {
                    session.outbox.append(&mut outbox);
                    if !session.outbox.is_empty() {
                        out.push(Action::Flush { link });
                    }
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
            Errand::Settle { from, settling } => drop(self.settlers.insert(from, settling)),
            Errand::Settled(settled) => self.hear_settled(settled, out),
            Errand::Expel(id) => self.expel(now, id, out),
            Errand::Seek { client, asker } => self.seek_for(now, Some(client), asker, out),
            Errand::Graft { home, job, left, lanes } => self.start_graft(home, job, left.as_ref(), lanes),
            Errand::Apply { job, db, sheaf } => self.apply_sheaf(now, job, db, sheaf, out),
            Errand::Applied(applied) => self.part_applied(now, applied, out),
            Errand::Landed { job, input } => drop(self.tell_import(now, job, input, out)),
            Errand::Uproot { job, confirmed } => self.uproot(now, job, confirmed.as_ref(), out),
            Errand::Uprooted { job } => self.part_cleaned(now, job, out),
            // To an import that is taking over, what a sibling did comes behind.
            Errand::Stop { job, .. } if self.is_taking_over(job) => {}
            Errand::Stop { job, failure } => self.stop_job(now, job, &failure, out),
            Errand::Follow { home, job, opening } => {
                let lane = opening.map(|opening| {
                    let client = self.exporting_client(now, Some(opening.to));
                    (*opening, client)
                });
                self.with_exports(now, out, |exports, s| exports.follow_for(home, job, lane, s));
            }
            Errand::Unfollow { .. }
            | Errand::Hold { .. }
            | Errand::Course { .. }
            | Errand::Unsent { .. }
            | Errand::Sent { .. }
            | Errand::Fed { .. }
            | Errand::Reach { .. }
            | Errand::Arrived { .. }
            | Errand::Held { .. } => self.with_exports(now, out, |exports, s| exports.run_errand(errand, s)),
            Errand::Ask(question) => self.asked_by_sibling(now, &question, out),
            Errand::Part { link, part } => self.take_part(now, link, part, out),
            Errand::Freeze(word) => self.hear_of_freeze(now, word, out),
            Errand::Taken(known) => {
                self.shares.learn(self.env.index, &known);
                self.share_clients(out);
            }
            Errand::Vacated => self.vacated(out),
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
}

impl Actions {
    /// Appends what a shard has for a sibling.
    pub(crate) fn pass(&mut self, shard: ShardIndex, errand: Errand) {
        self.mail.push(Letter { to: To::Shard(shard), mail: Mail::Pass(Pass(errand)) });
    }
}
