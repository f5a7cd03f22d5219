//! A job of a sibling: this shard's feed goes to the shard that has the link, and the link's state comes from there; or it
//! goes over a link of its own, a lane.

use alloc::boxed::Box;
use alloc::sync::Arc;

use crate::action::Action;
use crate::command::effects::{Effects, Record};
use crate::ids::ShardIndex;
use crate::link::Outbox;
use crate::migration::failure::Failure;
use crate::migration::job::Job;
use crate::migration::lane::sender;
use crate::shard::errand::Errand;
use crate::shard::exporting::Surroundings;
use crate::shard::feed::Feed;
use crate::shard::pressure::Passed;
use crate::shard::sending::{Opening, Sending};
use crate::shard::sequencer::Batch;
use crate::shard::session::Client;
use crate::store::At;
use crate::time::Mono;
use crate::wire::resp::Argv;
use crate::wire::syncslots::{self, Control};

/// What a shard has for the stream of a job that another one has the link of.
#[derive(Debug)]
pub(crate) struct Fed {
    pub(crate) by: ShardIndex,
    /// Keys of the snapshot …
    pub(crate) snapshot: Outbox,
    /// … the last of them in this database.
    pub(crate) db: Option<u32>,
    /// Writes since, of keys that are in it.
    pub(crate) live: Batch,
    /// How far the feeds of the shard are: it has nothing more for the stream before that.
    pub(crate) position: u64,
}

/// This shard's part of a job whose first link another shard has.
pub(crate) struct Branch {
    pub(crate) job: Arc<Job>,
    pub(crate) feed: Feed,
    home: ShardIndex,
    /// The database that the bytes in the feed end in; each batch names its own.
    selected: Option<u32>,
    /// Bytes passed on that the link has not sent.
    under_way: u64,
    /// Bytes that the link of the home has sent.
    sent: u64,
    at_end: bool,
    may_gather: bool,
    /// A link of its own, if the target agreed to lanes: nothing of the stream passes the home then.
    pub(crate) lane: Option<Sending>,
}

impl Branch {
    /// Begins to follow the job's slots.
    pub(crate) fn start(
        job: Arc<Job>,
        home: ShardIndex,
        lane: Option<(Opening, Client)>,
        s: &mut Surroundings<'_>,
    ) -> Self {
        let mut feed = Feed::new(&job, lane.is_some(), s.now);
        feed.fork(&job, s.store);
        let lane = lane.map(|(way, client)| Sending::start(job.name, home, way, client, &mut feed, s));
        Self { job, feed, home, selected: None, under_way: 0, sent: 0, at_end: false, may_gather: true, lane }
    }

    /// The shard that has the first link.
    pub(crate) fn home(&self) -> ShardIndex {
        self.home
    }

    /// Calls `f` with the feed and what names databases in it.
    pub(crate) fn with_feed<T>(&mut self, f: impl FnOnce(&mut Feed, super::feed::Select<'_>) -> T) -> T {
        let Self { feed, selected, .. } = self;
        let select = &mut |db| (selected.replace(db) != Some(db)).then(|| syncslots::select(db));
        f(feed, select)
    }

    /// Appends a write that was made here.
    pub(crate) fn append(&mut self, at: &At<'_>, record: &Record, effects: &Effects, argv: Argv<'_>) {
        self.with_feed(|feed, select| feed.append(at, record, effects, argv, select));
    }

    /// Whether the cursor could go on at once.
    pub(crate) fn can_walk(&self) -> bool {
        self.feed.can_walk(self.lag())
    }

    /// Moves the cursor on by about `budget` bytes. Here and below, `position` is how far the feeds of this shard are.
    pub(crate) fn walk(&mut self, budget: usize, position: u64, s: &mut Surroundings<'_>) {
        let store = s.store;
        if !self.with_feed(|feed, select| feed.walk(store, budget, select)) {
            return;
        }
        if self.lane.is_some() {
            self.feed.send(Control::SnapshotEof.bytes());
            // As on the first link.
            self.selected = None;
        } else {
            self.pass_on(position, s);
            s.out.pass(self.home, Errand::Arrived { by: s.index, job: self.job.name });
        }
    }

    /// Holds writes to the slots until the home lets them go.
    pub(crate) fn hold_writes(&mut self, position: u64, s: &mut Surroundings<'_>) {
        if self.lane.is_some() && !self.feed.has_arrived() {
            // The home knows of its own snapshot only; a target that asked for this has not got all of ours.
            let failure = Failure::UnexpectedTransition;
            s.out.pass(self.home, Errand::Stop { job: self.job.name, failure });
            return;
        }
        // No end of its own: the home has the clock of the hand-over, and it may be too late to end the hold when the
        // time is over.
        if self.feed.hold_writes(None, s) {
            self.held(position, s);
        }
    }

    /// Writes are held: everything that was written before is in the stream of the lane, or the home has it.
    pub(crate) fn held(&mut self, position: u64, s: &mut Surroundings<'_>) {
        match &self.lane {
            Some(lane) if lane.is_lost() => {}
            Some(_) => self.feed.send(Control::Paused.bytes()),
            None => self.pass_on(position, s),
        }
        s.out.pass(self.home, Errand::Held { by: s.index, job: self.job.name });
    }

    /// How far the job is: whether it waits for everything unsent to go, and whether writes may gather.
    pub(crate) fn set_course(&mut self, at_end: bool, may_gather: bool) {
        self.feed.set_at_end(at_end);
        self.at_end = at_end;
        self.may_gather = may_gather;
    }

    /// The link of the home sent bytes of this shard.
    pub(crate) fn sent(&mut self, bytes: u64, s: &mut Surroundings<'_>) {
        self.under_way -= bytes;
        self.sent += bytes;
        let lag = self.lag();
        self.feed.drained(lag, s);
    }

    /// The lane's link sent bytes.
    pub(crate) fn drained(&mut self, s: &mut Surroundings<'_>) {
        let lag = self.lag();
        let Some(lane) = self.lane.as_mut().filter(|lane| lane.is_open()) else { return };
        self.feed.drained(lag, s);
        lane.report(lag as u64, self.at_end, true, s);
    }

    /// Something happened on the lane's link.
    pub(crate) fn tell(&mut self, input: sender::Input<'_>, s: &mut Surroundings<'_>) {
        if let Some(lane) = &mut self.lane {
            lane.tell(input, &mut self.feed, s);
        }
    }

    /// Slows writers that outrun the link, and passes on what is due.
    pub(crate) fn flush(&mut self, position: u64, s: &mut Surroundings<'_>) {
        let sent = if self.lane.is_some() { self.feed.outbox.sent() } else { self.sent };
        let passed = Passed { written: self.feed.written(), sent };
        let lag = self.lag();
        self.feed.press(lag, passed, s);
        match &mut self.lane {
            None if self.feed.is_due(s.now.mono, self.may_gather) => self.pass_on(position, s),
            None => {}
            Some(lane) => {
                lane.report(lag as u64, self.at_end, false, s);
                if lane.is_open() && self.feed.is_due(s.now.mono, self.may_gather) {
                    s.out.push(Action::Flush { link: lane.link });
                }
            }
        }
    }

    /// Runs the timers of the lane's link.
    pub(crate) fn tick(&mut self, s: &mut Surroundings<'_>) {
        if let Some(lane) = &mut self.lane
            && !lane.police(&mut self.feed, s)
        {
            lane.tell(sender::Input::Ticked, &mut self.feed, s);
        }
    }

    /// When something gathered goes, or the link has something to do.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        [self.feed.deadline(), self.lane.as_ref().and_then(Sending::deadline)].into_iter().flatten().min()
    }

    /// The job is over: first its lane is closed, then whatever it held goes on.
    pub(crate) fn let_go(self, s: &mut Surroundings<'_>) {
        self.lane.iter().for_each(|lane| lane.end(s));
        self.feed.let_go(s);
    }

    /// The lane, if it has a link.
    pub(crate) fn lane_of(&self) -> Option<&Sending> {
        self.lane.as_ref().filter(|lane| !lane.is_lost())
    }

    /// Bytes that were sent to the target over a lane, which may be gone; what the home sends it counts itself.
    pub(crate) fn bytes_out(&self) -> u64 {
        self.lane.as_ref().map_or(0, |lane| lane.greeted() + self.feed.outbox.sent())
    }

    fn lag(&self) -> usize {
        self.feed.waiting() + self.under_way as usize
    }

    /// Sends the home what waits here, and how far this is.
    pub(crate) fn pass_on(&mut self, position: u64, s: &mut Surroundings<'_>) {
        self.under_way += self.feed.waiting() as u64;
        let snapshot = core::mem::take(&mut self.feed.outbox);
        let live = self.feed.take_live().unwrap_or_default();
        let fed = Fed { by: s.index, snapshot, db: self.selected.take(), live, position };
        s.out.pass(self.home, Errand::Fed { job: self.job.name, fed: Box::new(fed) });
    }
}
