//! One slot migration away from this process, in the shard that has its link: the machine of the source's end, what this
//! shard has for the stream, and what its siblings said about theirs.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::action::{Action, Actions, Ending, Purpose};
use crate::command::effects::{Effects, Record};
use crate::config::Config;
use crate::ids::{LinkId, ShardIndex, Shards};
use crate::mail::Fact;
use crate::migration::export::{self, Credentials, Export};
use crate::migration::job::{Job, Outcome, Timing};
use crate::migration::log::Stage;
use crate::shard::branch::Fed;
use crate::shard::errand::Errand;
use crate::shard::feed::{Feed, Select};
use crate::shard::hold::Holds;
use crate::shard::lent::Lent;
use crate::shard::limits;
use crate::shard::pressure::Passed;
use crate::shard::rates::Pauses;
use crate::shard::sending::{Opening, Unsent};
use crate::shard::sequencer::{Sequencer, Stretch};
use crate::shard::session::Client;
use crate::store::{At, Store};
use crate::time::{Mono, Now, Wall};
use crate::wire::resp::Argv;

/// One export job with its link.
pub(crate) struct Exporting {
    pub(crate) export: Export,
    pub(crate) job: Arc<Job>,
    pub(crate) link: LinkId,
    pub(crate) feed: Feed,
    /// The shards with other slots of the job.
    parts: Vec<Part>,
    /// The order of what they and this one write.
    sequencer: Sequencer,
    /// The link as CLIENT LIST shows it.
    pub(crate) client: Client,
    to: Option<SocketAddr>,
    /// What further links need.
    credentials: Option<Credentials>,
    timing: Timing,
    over_soft_since: Option<Mono>,
    connected: bool,
    /// The machine waits to hear that the writes are held.
    awaits_hold: bool,
    /// What the parts were told last of how far the job is.
    course: (bool, bool),
}

/// A sibling that has slots of the job.
struct Part {
    shard: ShardIndex,
    /// Its snapshot is in the stream.
    arrived: bool,
    /// Its writes are held, and all earlier ones are in the stream.
    held: bool,
    /// Where in the outbox its batches end, and how long they are; in order.
    unsent: VecDeque<(u64, u64)>,
    /// What its lane has not sent, as far as it has told.
    lane: Unsent,
}

/// What an export step needs of the shard.
pub(crate) struct Surroundings<'a> {
    pub(crate) now: Now,
    /// Which shard this is …
    pub(crate) index: ShardIndex,
    /// … of how many.
    pub(crate) shards: Shards,
    pub(crate) config: &'a Config,
    pub(crate) store: &'a Store,
    pub(crate) holds: &'a mut Holds,
    /// A hold ended: waiting clients have to be woken.
    pub(crate) woken: &'a mut bool,
    pub(crate) pauses: &'a mut Pauses,
    pub(crate) out: &'a mut Actions,
}

/// What has to follow an action of the machine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Then {
    /// Nothing.
    Nothing,
    /// There is no address to connect to: the machine has to be told.
    NoAddress,
    /// The machine has to be told when the writes are held.
    Held,
    /// The job is over.
    Ended,
}

impl Exporting {
    /// A job whose machine has just been made; `parts` are the siblings that have slots of it.
    pub(crate) fn new(
        export: Export,
        client: Client,
        to: Option<SocketAddr>,
        (credentials, timing): (Option<Credentials>, Timing),
        parts: impl IntoIterator<Item = ShardIndex>,
        now: Now,
    ) -> Self {
        let job = export.job().clone();
        let lane = Unsent { bytes: 0, at_end: false };
        let part = |shard| Part { shard, arrived: false, held: false, unsent: VecDeque::new(), lane };
        let parts: Vec<_> = parts.into_iter().map(part).collect();
        let home = client.link.shard();
        Self {
            export,
            feed: Feed::new(&job, parts.is_empty(), now),
            job,
            link: client.link,
            sequencer: Sequencer::new(parts.iter().map(|part| part.shard).chain([home])),
            parts,
            client,
            to,
            credentials,
            timing,
            over_soft_since: None,
            connected: false,
            awaits_hold: false,
            course: (false, true),
        }
    }

    /// Carries out what the machine wants.
    pub(crate) fn act(&mut self, action: export::Action, s: &mut Surroundings<'_>) -> Then {
        let job = self.job.name;
        match action {
            export::Action::Connect => match self.to {
                Some(to) => s.out.push(Action::Connect { link: self.link, to, purpose: Purpose::Migration }),
                None => return Then::NoAddress,
            },
            export::Action::Send(bytes) => self.feed.send(bytes),
            export::Action::ForkSnapshot => {
                let lanes = self.export.lanes();
                if lanes.is_some() {
                    self.feed.be_alone();
                }
                self.feed.fork(&self.job, s.store);
                let (home, timing) = (s.index, self.timing);
                let opening = self.to.filter(|_| lanes.is_some());
                let opening = opening.map(|to| Opening { to, credentials: self.credentials.clone(), timing });
                self.tell_parts(s, |job| Errand::Follow {
                    home,
                    job: job.clone(),
                    opening: opening.clone().map(Box::new),
                });
            }
            export::Action::Pause { until } => {
                self.feed.hold_writes(Some(until), s);
                self.awaits_hold = true;
                self.say_paused();
                self.tell_parts(s, |job| Errand::Hold { job: job.name });
                return Then::Held;
            }
            export::Action::ExtendPause { until } => self.feed.extend_hold(until, s),
            export::Action::Resume => self.feed.release_writes(s),
            // Keys of lost slots go when the node confirms the loss.
            export::Action::DropSlots => {}
            export::Action::Granted => s.out.report(Fact::Granted { job }),
            export::Action::Close => {
                s.out.push(Action::Close { link: self.link, ending: Ending::Abrupt });
                self.unlink();
            }
            export::Action::Entered(state) => {
                s.out.report(Fact::Entered { job, stage: Stage::Export(state) });
            }
            export::Action::Ended { outcome } => {
                let pause = self.export.paused_for();
                if let Some(pause) = pause {
                    s.pauses.ended(s.now.mono, pause);
                }
                // After a success the node tells them, behind the view that shows it: not before that may writes go on.
                if outcome != Outcome::Success {
                    self.tell_parts(s, |job| Errand::Unfollow { job: job.name });
                }
                s.out.report(Fact::Ended { job, outcome, pause });
                return Then::Ended;
            }
        }
        Then::Nothing
    }

    fn say_paused(&self) {
        tracing::info!(
            "Pausing writes (remaining_repl_size is {}) to allow slot migration {} to finalize failover.",
            self.remaining(),
            describe(&self.job)
        );
    }

    /// Whether the machine has to be told now that the writes are held everywhere, and what was written before is in
    /// the stream.
    pub(crate) fn take_held(&mut self) -> bool {
        let held = self.feed.is_held() && self.parts.iter().all(|part| part.held);
        held && self.sequencer.is_empty() && core::mem::take(&mut self.awaits_hold)
    }

    /// Whether all of the snapshot is in the stream, which with lanes is that of this shard.
    pub(crate) fn has_arrived(&self) -> bool {
        let has_lanes = self.export.lanes().is_some();
        self.feed.has_arrived() && (has_lanes || self.parts.iter().all(|part| part.arrived))
    }

    /// A lane has so much to send.
    pub(crate) fn part_unsent(&mut self, by: ShardIndex, unsent: Unsent) {
        self.parts.iter_mut().filter(|part| part.shard == by).for_each(|part| part.lane = unsent);
    }

    /// Bytes that lanes have not sent, as far as it is known.
    pub(crate) fn unsent_by_lanes(&self) -> u64 {
        self.parts.iter().map(|part| part.lane.bytes).sum()
    }

    /// What the machine has to know of that, if there are lanes: not nothing, before all have said that it is nothing.
    pub(crate) fn lanes_pending(&self) -> Option<u64> {
        self.export.lanes()?;
        let unsure = self.parts.iter().filter(|part| !part.lane.at_end).count() as u64;
        Some(self.unsent_by_lanes() + unsure)
    }

    /// Other timeouts from now on.
    pub(crate) fn set_timing(&mut self, timing: Timing) {
        self.timing = timing;
        self.export.set_timing(timing);
    }

    /// The link is up.
    pub(crate) fn connected(&mut self) {
        self.connected = true;
    }

    /// Nothing is sent any more.
    pub(crate) fn unlink(&mut self) {
        self.connected = false;
        self.feed.cut();
        self.sequencer.clear();
        self.parts.iter_mut().for_each(|part| part.unsent.clear());
    }

    /// Whether there is a link to the target.
    pub(crate) fn is_connected(&self) -> bool {
        self.connected
    }

    /// Calls `f` with the feed and what names databases in it.
    #[inline]
    pub(crate) fn with_feed<T>(&mut self, f: impl FnOnce(&mut Feed, Select<'_>) -> T) -> T {
        let Self { feed, export, .. } = self;
        f(feed, &mut |db| export.select(db))
    }

    /// Appends a write that was made here.
    #[inline]
    pub(crate) fn append(&mut self, at: &At<'_>, record: &Record, effects: &Effects, argv: Argv<'_>) {
        let Self { feed, export, .. } = self;
        feed.append(at, record, effects, argv, |db| export.select(db));
    }

    /// Appends writes as they came, one behind another in memory that the stream can send from.
    pub(crate) fn append_run(&mut self, lent: &mut Lent) {
        if let Some(run) = lent.take() {
            let words = self.export.select(run.db);
            self.feed.append_run(words, &run);
        }
    }

    /// Whether the cursor could go on at once.
    pub(crate) fn can_walk(&self) -> bool {
        self.feed.can_walk(self.remaining() as usize)
    }

    /// Moves the cursor on by about `budget` bytes; true when all of the snapshot has been written by that.
    pub(crate) fn walk(&mut self, store: &Store, budget: usize) -> bool {
        self.with_feed(|feed, select| feed.walk(store, budget, select)) && self.has_arrived()
    }

    /// A sibling has something for the stream.
    pub(crate) fn fed(&mut self, fed: Fed) {
        let Fed { by, mut snapshot, db, live, position } = fed;
        if !self.connected {
            return;
        }
        // Nothing can be made of a part of the snapshot, so it has no order.
        let len = snapshot.len();
        self.feed.outbox.append(&mut snapshot);
        note_unsent(&mut self.parts, by, &self.feed, len);
        db.into_iter().for_each(|db| drop(self.export.select(db)));
        self.sequencer.add(by, live, position);
    }

    /// Brings live writes in order and lets those into the stream whose turn it is; `position` is how far the feeds of
    /// this shard are.
    pub(crate) fn merge(&mut self, position: u64, s: &mut Surroundings<'_>) {
        let Some(live) = self.feed.take_live().filter(|_| self.connected) else { return };
        self.sequencer.add(s.index, live, position);
        let Self { sequencer, feed, export, parts, .. } = self;
        sequencer.merge(|stretch| {
            let Stretch { shard, from, to, .. } = stretch;
            from.and_then(|db| export.select(db)).into_iter().for_each(|words| feed.outbox.push(words));
            let len = stretch.move_to(&mut feed.outbox);
            to.into_iter().for_each(|db| drop(export.select(db)));
            note_unsent(parts, shard, feed, len);
        });
        for shard in sequencer.ask() {
            s.out.pass(shard, Errand::Reach { job: self.job.name });
        }
    }

    /// The snapshot of a sibling is in the stream.
    pub(crate) fn part_arrived(&mut self, by: ShardIndex) {
        self.parts.iter_mut().filter(|part| part.shard == by).for_each(|part| part.arrived = true);
    }

    /// The writes of a sibling are held.
    pub(crate) fn part_held(&mut self, by: ShardIndex) {
        self.parts.iter_mut().filter(|part| part.shard == by).for_each(|part| part.held = true);
    }

    fn tell_parts(&self, s: &mut Surroundings<'_>, errand: impl Fn(&Arc<Job>) -> Errand) {
        self.parts.iter().for_each(|part| s.out.pass(part.shard, errand(&self.job)));
    }

    /// Begins to slow writers when they outrun the link and the link moves; siblings do so themselves.
    pub(crate) fn press(&mut self, s: &mut Surroundings<'_>) {
        let course = (self.export.wants_lag_shrunk(), self.export.may_gather());
        self.feed.set_at_end(course.0);
        if core::mem::replace(&mut self.course, course) != course {
            let (at_end, may_gather) = course;
            self.tell_parts(s, |job| Errand::Course { job: job.name, at_end, may_gather });
        }
        self.feed.press(self.remaining() as usize, self.passed(), s);
    }

    /// Whether what waits is to be sent now.
    pub(crate) fn is_due(&mut self, now: Mono) -> bool {
        self.feed.is_due(now, self.export.may_gather())
    }

    /// When the job has something to do.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        [self.export.poll_timeout(), self.feed.deadline()].into_iter().flatten().min()
    }

    fn passed(&self) -> Passed {
        Passed { written: self.feed.written(), sent: self.sent() }
    }

    /// The link took bytes: writers that were slowed may go on when the lag is small.
    pub(crate) fn drained(&mut self, s: &mut Surroundings<'_>) {
        self.feed.drained(self.remaining() as usize, s);
        let sent = self.sent();
        for part in &mut self.parts {
            let mut bytes = 0;
            while let Some((_, len)) = part.unsent.pop_front_if(|(end, _)| *end <= sent) {
                bytes += len;
            }
            if bytes > 0 {
                s.out.pass(part.shard, Errand::Sent { job: self.job.name, bytes });
            }
        }
    }

    /// The job is over: whatever it held goes on.
    pub(crate) fn let_go(self, s: &mut Surroundings<'_>) {
        self.feed.let_go(s);
    }

    /// Whether more waits than `client-output-buffer-limit replica` allows.
    pub(crate) fn is_over_limit(&mut self, s: &Surroundings<'_>) -> bool {
        let limit = s.config.client_output_buffer_limit.replica;
        limits::over(
            self.remaining(),
            &limit,
            s.config.repl_backlog_size,
            &mut self.over_soft_since,
            s.now.mono,
        )
    }

    /// When the target last said that it lives.
    pub(crate) fn last_ack(&self) -> Wall {
        self.export.last_ack()
    }

    /// Bytes of the stream that the socket has not taken.
    pub(crate) fn remaining(&self) -> u64 {
        (self.feed.waiting() + self.sequencer.len()) as u64
    }

    /// Bytes that it has taken.
    pub(crate) fn sent(&self) -> u64 {
        self.feed.outbox.sent()
    }
}

/// The last `len` bytes of a stream came from a shard.
fn note_unsent(parts: &mut [Part], by: ShardIndex, feed: &Feed, len: usize) {
    let part = parts.iter_mut().find(|part| part.shard == by && len > 0);
    part.into_iter().for_each(|part| part.unsent.push_back((feed.outbox.end(), len as u64)));
}

/// A job in the words of Valkey's log.
fn describe(job: &Job) -> String {
    let Job { name, target, ranges, .. } = job;
    format!("{{name: {name}, operation: export, target_node_id: {target}, slots: {ranges}}}")
}
