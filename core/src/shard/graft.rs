//! An import whose link a sibling has brings slots of this shard: its commands come from there, and are applied here.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::action::Actions;
use crate::cluster::takeover::Confirmed;
use crate::ids::{JobName, ShardIndex};
use crate::link::Outbox;
use crate::migration::job::{Job, Timing};
use crate::migration::lane::Lanes;
use crate::shard::Shard;
use crate::shard::errand::Errand;
use crate::shard::imports::Applied;
use crate::shard::sheaf::Sheaf;
use crate::shard::upcoming::Run;
use crate::shard::write::Write;
use crate::slots::SlotSet;
use crate::time::Now;

/// A batch for a sibling is passed on when it is so long, and at the end of what came.
const BATCH: usize = 64 * 1024;
/// Sheaves that are kept to be used again: as many as are under way when the link is read as fast as siblings apply.
const SPARES: usize = 8;

/// Commands of an import for one sibling.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) shard: ShardIndex,
    db: u32,
    sheaf: Sheaf,
    /// Empty ones, whose memory is known to the kernel already.
    spares: Vec<Sheaf>,
}

impl Batch {
    pub(crate) fn new(shard: ShardIndex) -> Self {
        Self { shard, db: 0, sheaf: Sheaf::default(), spares: Vec::new() }
    }

    /// Adds commands that lie behind one another; how many bytes that were.
    pub(super) fn add(&mut self, db: u32, run: &Run<'_>, job: JobName, out: &mut Actions) -> usize {
        self.make_room(db, run.bytes.len(), job, out);
        let before = self.sheaf.len();
        self.sheaf.add(run);
        self.sheaf.len() - before
    }

    /// Adds a command that was read alone; how many bytes that were.
    pub(super) fn add_one(&mut self, write: &Write<'_>, job: JobName, out: &mut Actions) -> usize {
        self.make_room(write.db, write.argv.bytes(), job, out);
        let before = self.sheaf.len();
        self.sheaf.add_one(write);
        self.sheaf.len() - before
    }

    fn make_room(&mut self, db: u32, bytes: usize, job: JobName, out: &mut Actions) {
        if db != self.db || self.sheaf.len() + bytes > BATCH {
            self.pass_on(job, out);
            self.db = db;
        }
        if self.sheaf.commands() == 0 {
            self.sheaf.reserve(BATCH);
        }
    }

    /// Sends what there is.
    pub(crate) fn pass_on(&mut self, job: JobName, out: &mut Actions) {
        if self.sheaf.commands() > 0 {
            let next = self.spares.pop().unwrap_or_default();
            let sheaf = core::mem::replace(&mut self.sheaf, next);
            out.pass(self.shard, Errand::Apply { job, db: self.db, sheaf });
        }
    }

    /// A sheaf that is applied comes back.
    pub(super) fn take_back(&mut self, mut sheaf: Sheaf) {
        if self.spares.len() < SPARES && sheaf.len() <= BATCH {
            sheaf.clear();
            self.spares.push(sheaf);
        }
    }
}

/// This shard's part of an import whose link another shard has: its slots are hidden.
#[derive(Debug)]
pub(crate) struct Graft {
    job: Arc<Job>,
    pub(crate) home: ShardIndex,
    pub(crate) slots: SlotSet,
    /// Replies of applied commands, looked at for errors and forgotten.
    replies: Outbox,
}

impl Graft {
    /// The job's.
    pub(crate) fn name(&self) -> JobName {
        self.job.name
    }
}

impl Shard {
    /// An import of `home` begins: what is `left` of its slots goes, and they are hidden.
    pub(crate) fn start_graft(
        &mut self,
        home: ShardIndex,
        job: Arc<Job>,
        left: Option<&Confirmed>,
        lanes: Option<(Lanes, Timing)>,
    ) {
        if let Some(left) = left {
            self.drop_slots(left);
        }
        let slots = job.ranges.to_set();
        slots.iter().for_each(|slot| self.data.store.hide(slot));
        if let Some((lanes, timing)) = lanes {
            self.landings.expect(job.clone(), lanes, home, timing);
        }
        self.grafts.push(Graft { job, home, slots, replies: Outbox::default() });
    }

    /// Applies commands of an import, and says so.
    pub(crate) fn apply_sheaf(&mut self, now: Now, job: JobName, db: u32, sheaf: Sheaf, out: &mut Actions) {
        let Some(graft) = self.grafts.iter_mut().find(|graft| graft.job.name == job) else { return };
        let Graft { slots, replies, home, .. } = graft;
        let failed = sheaf.apply(now, db, slots, replies, &mut self.data, &self.env.config);
        let shard = self.env.index;
        out.pass(*home, Errand::Applied(Applied { job, shard, sheaf, failed }));
    }

    /// An import has failed: its keys go.
    pub(crate) fn uproot(
        &mut self,
        now: Now,
        job: JobName,
        confirmed: Option<&Confirmed>,
        out: &mut Actions,
    ) {
        self.end_lanes(now, job, out);
        if let Some(graft) = self.end_graft(job) {
            if let Some(confirmed) = confirmed {
                self.drop_slots(confirmed);
            }
            out.pass(graft.home, Errand::Uprooted { job });
        }
    }

    /// An import is over, or its slots are ours: they are hidden no more.
    pub(crate) fn end_graft(&mut self, job: JobName) -> Option<Graft> {
        let at = self.grafts.iter().position(|graft| graft.job.name == job)?;
        let graft = self.grafts.swap_remove(at);
        graft.slots.iter().for_each(|slot| self.data.store.unhide(slot));
        Some(graft)
    }
}
