//! A job of a sibling: this shard's feed goes to the shard that has the link, and the link's state comes from there.

use alloc::boxed::Box;
use alloc::sync::Arc;

use crate::command::effects::{Effects, Record};
use crate::ids::ShardIndex;
use crate::link::Outbox;
use crate::migration::job::Job;
use crate::shard::errand::Errand;
use crate::shard::exporting::Surroundings;
use crate::shard::feed::Feed;
use crate::shard::pressure::Passed;
use crate::shard::sequencer::Batch;
use crate::store::At;
use crate::time::Mono;
use crate::wire::resp::Argv;
use crate::wire::syncslots;

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

/// This shard's part of a job whose link another shard has.
pub(crate) struct Branch {
    pub(crate) job: Arc<Job>,
    pub(crate) feed: Feed,
    home: ShardIndex,
    /// The database that the bytes in the feed end in; each batch names its own.
    selected: Option<u32>,
    /// Bytes passed on that the link has not sent.
    under_way: u64,
    /// Bytes that the link has sent.
    sent: u64,
    may_gather: bool,
}

impl Branch {
    /// Begins to follow the job's slots.
    pub(crate) fn start(job: Arc<Job>, home: ShardIndex, s: &Surroundings<'_>) -> Self {
        let mut feed = Feed::new(&job, false, s.now);
        feed.fork(&job, s.store);
        Self { job, feed, home, selected: None, under_way: 0, sent: 0, may_gather: true }
    }

    /// The shard that has the link.
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
        if self.with_feed(|feed, select| feed.walk(store, budget, select)) {
            self.pass_on(position, s);
            s.out.pass(self.home, Errand::Arrived { by: s.index, job: self.job.name });
        }
    }

    /// Holds writes to the slots until the home lets them go.
    pub(crate) fn hold_writes(&mut self, position: u64, s: &mut Surroundings<'_>) {
        // No end of its own: the home has the clock of the hand-over, and it may be too late to end the hold when the
        // time is over.
        if self.feed.hold_writes(None, s) {
            self.held(position, s);
        }
    }

    /// Writes are held: the home has everything that was written before.
    pub(crate) fn held(&mut self, position: u64, s: &mut Surroundings<'_>) {
        self.pass_on(position, s);
        s.out.pass(self.home, Errand::Held { by: s.index, job: self.job.name });
    }

    /// How far the job is: whether it waits for everything unsent to go, and whether writes may gather.
    pub(crate) fn set_course(&mut self, at_end: bool, may_gather: bool) {
        self.feed.set_at_end(at_end);
        self.may_gather = may_gather;
    }

    /// The link sent bytes of this shard.
    pub(crate) fn sent(&mut self, bytes: u64, s: &mut Surroundings<'_>) {
        self.under_way -= bytes;
        self.sent += bytes;
        let lag = self.lag();
        self.feed.drained(lag, s);
    }

    /// Slows writers that outrun the link, and passes on what is due.
    pub(crate) fn flush(&mut self, position: u64, s: &mut Surroundings<'_>) {
        let passed = Passed { written: self.feed.written(), sent: self.sent };
        self.feed.press(self.lag(), passed, s);
        if self.feed.is_due(s.now.mono, self.may_gather) {
            self.pass_on(position, s);
        }
    }

    /// When something gathered goes.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        self.feed.deadline()
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
