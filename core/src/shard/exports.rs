//! The source's side of slot migrations in a shard: all export jobs, and who of them follows which write.

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::action::{Action, Ending};
use crate::command::effects::{Effects, Followed};
use crate::ids::{JobName, LinkId, ShardIndex};
use crate::link::Outbox;
use crate::migration::export::{self, Credentials, Export};
use crate::migration::job::{Job, Timing};
use crate::migration::lane::{Lanes, sender};
use crate::shard::branch::Branch;
use crate::shard::errand::Errand;
use crate::shard::exporting::{Exporting, Surroundings, Then};
use crate::shard::feed::Feed;
use crate::shard::lent::Lent;
use crate::shard::sending::{Opening, Sending};
use crate::shard::sequencer::Seen;
use crate::shard::session::Client;
use crate::slots::{Slot, SlotSet};
use crate::store::{At, Store};
use crate::time::Mono;
use crate::wire::resp::Argv;

/// All export jobs of the shard.
#[derive(Default)]
pub(crate) struct Exports {
    list: Vec<Exporting>,
    /// Jobs of siblings that move slots of this shard.
    branches: Vec<Branch>,
    /// Records in the feeds of this shard, ever.
    position: u64,
    /// How far the feeds of siblings were when sessions left them for here.
    seen: Seen,
    /// Slots whose writes some job follows.
    followed: SlotSet,
    following: bool,
    /// Some cursor has not come to all keys.
    walking: bool,
    /// The commands that are being run lie in memory that a stream can send from.
    lent: Option<Lent>,
    /// Scratch of the machines' actions.
    actions: Vec<export::Action>,
    /// Links of jobs that ended, for the shard to forget.
    gone: Vec<LinkId>,
    /// Bytes sent to targets since start, by jobs that are over.
    sent: u64,
}

impl Exports {
    /// Starts a job.
    pub(crate) fn start(
        &mut self,
        job: Arc<Job>,
        client: Client,
        to: Option<SocketAddr>,
        credentials: Option<Credentials>,
        timing: Timing,
        s: &mut Surroundings<'_>,
    ) {
        self.settle();
        let home = client.link.shard();
        let parts: BTreeSet<_> =
            job.ranges.slots().map(|slot| s.shards.of(slot)).filter(|p| *p != home).collect();
        let lanes = Lanes::of(&job.ranges, s.shards);
        let mut export = Export::new(job, credentials.clone(), timing, s.now, &mut self.actions);
        export.offer(lanes);
        self.list.push(Exporting::new(export, client, to, (credentials, timing), parts, s.now));
        self.carry_out(self.list.len() - 1, s);
    }

    /// What the jobs that follow writes to `slot`, or to any slot, have to know of them.
    #[inline]
    pub(crate) fn follow(&self, slot: Option<Slot>) -> Followed {
        match self.following && slot.is_none_or(|slot| self.followed.contains(slot)) {
            false => Followed::Nothing,
            true if self.walking => Followed::Keys,
            true => Followed::Writes,
        }
    }

    /// The jobs.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Exporting> {
        self.list.iter()
    }

    /// All links to targets as CLIENT LIST shows them.
    pub(crate) fn clients(&self) -> impl Iterator<Item = &Client> {
        self.list.iter().map(|e| &e.client).chain(self.lanes().map(|(lane, _)| &lane.client))
    }

    /// Bytes sent to targets since start, by links that are gone and links that are there.
    pub(crate) fn bytes_out(&self) -> u64 {
        let first: u64 = self.list.iter().map(Exporting::sent).sum();
        let lanes: u64 = self.branches.iter().map(Branch::bytes_out).sum();
        self.sent + first + lanes
    }

    /// The outboxes of all jobs and lanes.
    pub(crate) fn outboxes(&mut self) -> impl Iterator<Item = &mut Outbox> {
        let branches = self.branches.iter_mut().map(|b| &mut b.feed.outbox);
        self.list.iter_mut().map(|e| &mut e.feed.outbox).chain(branches)
    }

    /// What they have to send.
    pub(crate) fn streams(&self) -> impl Iterator<Item = &Outbox> {
        self.feeds().map(|feed| &feed.outbox)
    }

    /// The outbox of an export link.
    pub(crate) fn outbox(&mut self, link: LinkId) -> Option<&mut Outbox> {
        match self.lane_on(link) {
            Some(index) => {
                let Branch { lane, feed, .. } = &mut self.branches[index];
                lane.as_mut().map(|lane| lane.outbox(feed))
            }
            None => self.list.iter_mut().find(|e| e.link == link).map(|e| &mut e.feed.outbox),
        }
    }

    /// The target has sent bytes.
    pub(crate) fn filled(&mut self, link: LinkId, bytes: &[u8], s: &mut Surroundings<'_>) {
        if let Some(index) = self.on_link(link) {
            self.tell(index, export::Input::Filled { bytes }, s);
        } else if let Some(index) = self.lane_on(link) {
            self.tell_lane(index, sender::Input::Filled { bytes }, s);
        }
    }

    /// There is no link.
    pub(crate) fn connect_failed(&mut self, link: LinkId, reason: &str, s: &mut Surroundings<'_>) {
        if let Some(index) = self.on_link(link) {
            self.tell(index, export::Input::ConnectFailed { reason }, s);
        } else if let Some(index) = self.lane_on(link) {
            self.tell_lane(index, sender::Input::ConnectFailed { reason }, s);
        }
    }

    /// Gives the machine of a job an input.
    pub(crate) fn tell_job(&mut self, job: JobName, input: export::Input<'_>, s: &mut Surroundings<'_>) {
        self.settle();
        if let Some(index) = self.named(job) {
            self.tell(index, input, s);
        }
    }

    /// The link is up.
    pub(crate) fn connected(&mut self, link: LinkId, s: &mut Surroundings<'_>) {
        if let Some(index) = self.on_link(link) {
            self.list[index].export.handle(s.now, export::Input::Connected, &mut self.actions);
            self.list[index].connected();
            self.carry_out(index, s);
        } else if let Some(index) = self.lane_on(link) {
            self.tell_lane(index, sender::Input::Connected, s);
        }
    }

    /// The link is gone.
    pub(crate) fn closed(&mut self, link: LinkId, s: &mut Surroundings<'_>) {
        self.settle();
        if let Some(index) = self.on_link(link) {
            // A link may be killed before it is up.
            let killed = export::Input::ConnectFailed { reason: "killed by CLIENT KILL" };
            let was_up = self.list[index].is_connected();
            self.list[index].unlink();
            self.tell(index, if was_up { export::Input::Closed } else { killed }, s);
        } else if let Some(index) = self.lane_on(link) {
            self.tell_lane(index, sender::Input::Closed, s);
        }
    }

    /// The transaction that waited for the node has made its last write: holds that waited for it are in force.
    pub(crate) fn transaction_ended(&mut self, s: &mut Surroundings<'_>) {
        for index in (0..self.list.len()).rev() {
            if self.list[index].feed.transaction_ended() {
                self.tell_held(index, s);
            }
        }
        for branch in &mut self.branches {
            if branch.feed.transaction_ended() {
                branch.held(self.position, s);
            }
        }
    }

    /// The links that are of no more use.
    pub(crate) fn take_gone(&mut self) -> impl Iterator<Item = LinkId> + '_ {
        self.gone.drain(..)
    }

    /// The driver wrote to the socket: there is less lag.
    pub(crate) fn drained(&mut self, link: LinkId, s: &mut Surroundings<'_>) {
        if let Some(index) = self.on_link(link) {
            self.list[index].drained(s);
            self.tell_pending(index, s);
        } else if let Some(index) = self.lane_on(link) {
            self.branches[index].drained(s);
        }
    }

    /// A command that needs several keys is about to run: whatever of them lies ahead of a cursor is emitted
    /// first, so that the command means the same at the target.
    pub(crate) fn emit_ahead(&mut self, store: &Store, at: &At<'_>) {
        self.settle();
        for exporting in self.list.iter_mut().filter(|e| e.feed.follows(at.slot)) {
            exporting.with_feed(|feed, select| feed.emit_ahead(store, at, select));
        }
        for branch in self.branches.iter_mut().filter(|b| b.feed.follows(at.slot)) {
            branch.with_feed(|feed, select| feed.emit_ahead(store, at, select));
        }
    }

    /// Appends what a command changed to the streams that have passed its keys; a cursor that has not will meet
    /// the new value.
    #[inline]
    pub(crate) fn append(&mut self, effects: &Effects, argv: Argv<'_>) {
        debug_assert!(self.walking || !self.is_walking(), "a cursor has to know keys");
        if !self.append_lent(effects, argv) {
            self.append_each(effects, argv);
        }
    }

    /// The usual case, a write as it came in memory that is lent: no other job or cursor is there to be asked. Whether it
    /// was that.
    #[inline]
    fn append_lent(&mut self, effects: &Effects, argv: Argv<'_>) -> bool {
        let ([record], Some(lent)) = (effects.records(), &mut self.lent) else { return false };
        if record.rewritten.is_some() || !self.followed.contains(record.slot) {
            return false;
        }
        let Some(command) = argv.wire() else { return false };
        if !lent.extend(record.db, command) {
            self.settle();
            if !self.lent.as_mut().is_some_and(|lent| lent.begin(record.db, command)) {
                return false;
            }
        }
        self.position += 1;
        true
    }

    /// What was run so far of commands in memory that is lent goes into the stream: before anything else does.
    fn settle(&mut self) {
        if let (Some(lent), [exporting]) = (&mut self.lent, &mut self.list[..]) {
            exporting.append_run(lent);
        }
    }

    #[inline(never)]
    fn append_each(&mut self, effects: &Effects, argv: Argv<'_>) {
        self.settle();
        for record in effects.records() {
            let key = &effects.bytes()[record.key.clone()];
            let at = At { db: record.db, slot: record.slot, hash: record.hash, key };
            for exporting in self.list.iter_mut().filter(|e| e.feed.follows(at.slot)) {
                exporting.append(&at, record, effects, argv);
            }
            for branch in self.branches.iter_mut().filter(|b| b.feed.follows(at.slot)) {
                branch.append(&at, record, effects, argv);
            }
            self.position += 1;
        }
    }

    /// Whether commands are to be read into memory that a stream can send from: there is one, and nothing else goes into it.
    pub(crate) fn is_one_stream(&self) -> bool {
        self.branches.is_empty() && matches!(&self.list[..], [one] if self.following && one.feed.is_at_link())
    }

    /// Bytes of live writes appended to that stream so far.
    pub(crate) fn streamed(&mut self) -> Option<u64> {
        self.settle();
        self.is_one_stream().then(|| self.list[0].feed.written())
    }

    /// The commands that are run next lie in `memory`, which nobody writes to as long as it is shared; or they do not any
    /// more.
    pub(crate) fn lend(&mut self, memory: Option<Arc<[u8]>>) {
        self.settle();
        self.lent = memory.filter(|_| self.is_one_stream()).map(Lent::new);
    }

    /// How far feeds are: what a session that leaves the shard `index`, this one, may have seen.
    pub(crate) fn seen(&mut self, index: ShardIndex) -> Seen {
        self.seen.note(index, self.position);
        self.seen.clone()
    }

    /// A session came to this shard, `index`, and has seen that much: what is written from now on comes after that.
    pub(crate) fn comes_after(&mut self, index: ShardIndex, seen: &Seen) {
        let Self { list, branches, position, .. } = self;
        self.seen.note(index, *position);
        self.seen.learn(seen, |after| {
            list.iter_mut().for_each(|e| e.feed.mark(*position, after));
            branches.iter_mut().for_each(|b| b.feed.mark(*position, after));
        });
    }

    /// A key is about to be deleted together with its slot: the target hears of it.
    pub(crate) fn append_unlink(&mut self, at: &At<'_>) {
        self.settle();
        for exporting in self.list.iter_mut().filter(|e| e.feed.follows(at.slot)) {
            exporting.with_feed(|feed, select| feed.append_unlink(at, select));
        }
        for branch in self.branches.iter_mut().filter(|b| b.feed.follows(at.slot)) {
            branch.with_feed(|feed, select| feed.append_unlink(at, select));
        }
    }

    /// Moves every cursor on by about `budget` bytes.
    pub(crate) fn advance(&mut self, budget: usize, s: &mut Surroundings<'_>) {
        for index in (0..self.list.len()).rev() {
            let exporting = &mut self.list[index];
            if exporting.can_walk() && exporting.walk(s.store, budget) {
                self.tell(index, export::Input::SnapshotWritten, s);
            }
        }
        for branch in self.branches.iter_mut().filter(|b| b.can_walk()) {
            branch.walk(budget, self.position, s);
        }
        self.walking = self.is_walking();
    }

    /// Slows writers that outrun their link and announces what the streams have to send; at the end of every step.
    pub(crate) fn flush(&mut self, s: &mut Surroundings<'_>) {
        for exporting in self.list.iter_mut().filter(|e| e.is_connected()) {
            exporting.merge(self.position, s);
            exporting.press(s);
            if exporting.is_due(s.now.mono) {
                s.out.push(Action::Flush { link: exporting.link });
            }
        }
        self.branches.iter_mut().for_each(|branch| branch.flush(self.position, s));
    }

    /// Whether a cursor could go on at once.
    pub(crate) fn has_work(&self) -> bool {
        self.list.iter().any(Exporting::can_walk) || self.branches.iter().any(Branch::can_walk)
    }

    /// Runs the timers of all jobs.
    pub(crate) fn tick(&mut self, s: &mut Surroundings<'_>) {
        for index in (0..self.list.len()).rev() {
            if self.list[index].is_over_limit(s) {
                let link = self.list[index].link;
                tracing::warn!("Slot export link closed for overcoming of output buffer limits.");
                s.out.push(Action::Close { link, ending: Ending::Abrupt });
                self.closed(link, s);
            } else {
                self.tell(index, export::Input::Ticked, s);
            }
        }
        for index in 0..self.branches.len() {
            self.with_lane(index, |branch| branch.tick(s));
        }
    }

    /// Other timeouts from now on (CONFIG SET).
    pub(crate) fn set_timing(&mut self, timing: Timing) {
        self.list.iter_mut().for_each(|e| e.set_timing(timing));
        self.branches.iter_mut().filter_map(|b| b.lane.as_mut()).for_each(|lane| lane.set_timing(timing));
    }

    /// When `tick` has something to do.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        let branches = self.branches.iter().filter_map(Branch::deadline);
        self.list.iter().filter_map(Exporting::deadline).chain(branches).min()
    }

    fn refollow(&mut self) {
        self.followed = self.feeds().flat_map(Feed::followed_slots).collect();
        self.following = !self.followed.is_empty();
        self.walking = self.is_walking();
    }

    fn is_walking(&self) -> bool {
        self.feeds().any(|feed| !feed.has_arrived())
    }

    fn feeds(&self) -> impl Iterator<Item = &Feed> {
        self.list.iter().map(|e| &e.feed).chain(self.branches.iter().map(|b| &b.feed))
    }

    /// Does what a sibling asks for.
    pub(crate) fn run_errand(&mut self, errand: Errand, s: &mut Surroundings<'_>) {
        match errand {
            Errand::Unfollow { job } => self.end_branch(job, s),
            Errand::Hold { job } => {
                let position = self.position;
                self.branch(job).into_iter().for_each(|b| b.hold_writes(position, s));
            }
            Errand::Reach { job } => {
                let position = self.position;
                self.branch(job).into_iter().for_each(|b| b.pass_on(position, s));
            }
            Errand::Course { job, at_end, may_gather } => {
                self.branch(job).into_iter().for_each(|b| b.set_course(at_end, may_gather));
            }
            Errand::Unsent { by, job, unsent } => {
                if let Some(index) = self.named(job) {
                    self.list[index].part_unsent(by, unsent);
                    self.tell_pending(index, s);
                }
            }
            Errand::Sent { job, bytes } => self.branch(job).into_iter().for_each(|b| b.sent(bytes, s)),
            Errand::Fed { job, fed } => {
                if let Some(index) = self.named(job) {
                    self.list[index].fed(*fed);
                    self.tell_held(index, s);
                }
                if let Some(index) = self.named(job) {
                    self.tell_pending(index, s);
                }
            }
            Errand::Arrived { by, job } => self.part_arrived(by, job, s),
            Errand::Held { by, job } => self.part_held(by, job, s),
            _ => {}
        }
    }

    /// A job of a sibling begins here, with a lane of its own if it has one.
    pub(crate) fn follow_for(
        &mut self,
        home: ShardIndex,
        job: Arc<Job>,
        lane: Option<(Opening, Client)>,
        s: &mut Surroundings<'_>,
    ) {
        self.branches.push(Branch::start(job, home, lane, s));
        self.refollow();
    }

    /// The job of a sibling is over: whatever it held goes on.
    pub(crate) fn end_branch(&mut self, job: JobName, s: &mut Surroundings<'_>) {
        if let Some(index) = self.branches.iter().position(|b| b.job.name == job) {
            let branch = self.branches.swap_remove(index);
            self.gone.extend(branch.lane.as_ref().map(|lane| lane.link));
            self.sent += branch.bytes_out();
            branch.let_go(s);
            self.refollow();
        }
    }

    /// Something happened on the link of a lane.
    fn tell_lane(&mut self, index: usize, input: sender::Input<'_>, s: &mut Surroundings<'_>) {
        self.with_lane(index, |branch| branch.tell(input, s));
    }

    /// Runs `f` on a branch whose lane may be lost by that: it has no link and follows nothing then.
    fn with_lane(&mut self, index: usize, f: impl FnOnce(&mut Branch)) {
        let branch = &mut self.branches[index];
        let Some(link) = branch.lane_of().map(|lane| lane.link) else { return };
        f(branch);
        if branch.lane_of().is_none() {
            self.gone.push(link);
            self.refollow();
        }
    }

    fn lane_on(&self, link: LinkId) -> Option<usize> {
        self.branches.iter().position(|b| b.lane.as_ref().is_some_and(|lane| lane.link == link))
    }

    /// The lanes of jobs of siblings.
    pub(crate) fn lanes(&self) -> impl Iterator<Item = (&Sending, &Branch)> {
        let linked = |b| Branch::lane_of(b).map(|lane| (lane, b));
        self.branches.iter().filter_map(linked)
    }

    fn branch(&mut self, job: JobName) -> Option<&mut Branch> {
        self.branches.iter_mut().find(|b| b.job.name == job)
    }

    /// Jobs of siblings.
    pub(crate) fn branches(&self) -> impl Iterator<Item = &Branch> {
        self.branches.iter()
    }

    /// The snapshot of a sibling is in the stream.
    fn part_arrived(&mut self, by: ShardIndex, job: JobName, s: &mut Surroundings<'_>) {
        let Some(index) = self.named(job) else { return };
        self.list[index].part_arrived(by);
        if self.list[index].is_connected() && self.list[index].has_arrived() {
            self.tell(index, export::Input::SnapshotWritten, s);
        }
    }

    /// The writes of a sibling are held.
    fn part_held(&mut self, by: ShardIndex, job: JobName, s: &mut Surroundings<'_>) {
        let Some(index) = self.named(job) else { return };
        self.list[index].part_held(by);
        self.tell_held(index, s);
    }

    /// Tells the machine that the writes are held, if they are at last.
    fn tell_held(&mut self, index: usize, s: &mut Surroundings<'_>) {
        self.list[index].merge(self.position, s);
        if self.list[index].take_held() {
            self.tell(index, export::Input::WritesHeld, s);
        }
    }

    fn on_link(&self, link: LinkId) -> Option<usize> {
        self.list.iter().position(|e| e.link == link)
    }

    fn named(&self, job: JobName) -> Option<usize> {
        self.list.iter().position(|e| e.job.name == job)
    }

    /// Tells a machine what happened; before and after that, how much of its stream is unsent, as it asks for.
    fn tell(&mut self, index: usize, input: export::Input<'_>, s: &mut Surroundings<'_>) {
        let job = self.list[index].job.name;
        self.tell_pending(index, s);
        if let Some(index) = self.named(job) {
            self.list[index].export.handle(s.now, input, &mut self.actions);
            self.carry_out(index, s);
        }
        if let Some(index) = self.named(job) {
            self.tell_pending(index, s);
        }
    }

    fn tell_pending(&mut self, index: usize, s: &mut Surroundings<'_>) {
        let exporting = &mut self.list[index];
        if exporting.is_connected() {
            let bytes = exporting.remaining();
            exporting.export.handle(s.now, export::Input::Pending { bytes }, &mut self.actions);
            if let Some(bytes) = exporting.lanes_pending() {
                exporting.export.handle(s.now, export::Input::LanesPending { bytes }, &mut self.actions);
            }
            self.carry_out(index, s);
        }
    }

    fn carry_out(&mut self, index: usize, s: &mut Surroundings<'_>) {
        let mut actions = core::mem::take(&mut self.actions);
        let mut then = Then::Nothing;
        let mut refollow = false;
        for action in actions.drain(..) {
            refollow |= matches!(action, export::Action::ForkSnapshot | export::Action::Close);
            then = then.max(self.list[index].act(action, s));
        }
        self.actions = actions;
        match then {
            Then::Nothing => {}
            Then::NoAddress => {
                self.tell(index, export::Input::ConnectFailed { reason: "target node not found" }, s);
            }
            // One thread runs commands and this: whatever was written before is in the feed already, unless a
            // transaction waits in the middle.
            Then::Held => self.tell_held(index, s),
            Then::Ended => {
                let exporting = self.list.swap_remove(index);
                self.sent += exporting.sent();
                self.gone.push(exporting.link);
                exporting.let_go(s);
            }
        }
        if refollow || then == Then::Ended {
            self.refollow();
        }
    }
}
