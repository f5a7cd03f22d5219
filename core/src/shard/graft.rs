//! An import whose link a sibling has brings slots of this shard: its commands come from there, and are applied here.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::action::Actions;
use crate::cluster::takeover::Confirmed;
use crate::config::Config;
use crate::ids::{JobName, ShardIndex};
use crate::link::Outbox;
use crate::migration::LIMITS;
use crate::migration::import::Rejected;
use crate::migration::job::Job;
use crate::shard::Shard;
use crate::shard::data::Data;
use crate::shard::errand::Errand;
use crate::shard::imports::Applied;
use crate::shard::upcoming::Upcoming;
use crate::shard::write::{Write, place};
use crate::slots::SlotSet;
use crate::time::Now;
use crate::wire::resp::{Reader, encode_command};

/// A batch for a sibling is passed on when it is so long, and at the end of what came.
const BATCH: usize = 64 * 1024;

/// Commands of an import on their way to the shard that has their slots.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) shard: ShardIndex,
    db: u32,
    bytes: Vec<u8>,
    commands: usize,
}

impl Batch {
    pub(crate) fn new(shard: ShardIndex) -> Self {
        Self { shard, db: 0, bytes: Vec::new(), commands: 0 }
    }

    /// Adds a command; how many bytes that were.
    pub(super) fn push(&mut self, write: &Write<'_>, job: JobName, out: &mut Actions) -> usize {
        if write.db != self.db {
            self.pass_on(job, out);
            self.db = write.db;
        }
        if self.bytes.is_empty() {
            // In one piece, instead of growing to the same size: a sibling frees it, so it is never here to be used again.
            self.bytes.reserve(BATCH);
        }
        let before = self.bytes.len();
        match write.argv.wire() {
            Some(bytes) => self.bytes.extend_from_slice(bytes),
            None => encode_command(&mut self.bytes, &write.argv.iter().collect::<Vec<_>>()),
        }
        self.commands += 1;
        let added = self.bytes.len() - before;
        if self.bytes.len() >= BATCH {
            self.pass_on(job, out);
        }
        added
    }

    /// Sends what there is.
    pub(crate) fn pass_on(&mut self, job: JobName, out: &mut Actions) {
        if self.commands > 0 {
            let (bytes, commands) = (core::mem::take(&mut self.bytes), core::mem::take(&mut self.commands));
            out.pass(self.shard, Errand::Apply { job, db: self.db, bytes, commands });
        }
    }
}

/// This shard's part of an import whose link another shard has: its slots are hidden.
#[derive(Debug)]
pub(crate) struct Graft {
    job: Arc<Job>,
    home: ShardIndex,
    pub(crate) slots: SlotSet,
    /// Replies of applied commands, looked at for errors and forgotten.
    replies: Outbox,
}

impl Graft {
    /// Applies commands until one fails; why it did.
    fn apply(
        &mut self,
        now: Now,
        db: u32,
        bytes: &[u8],
        data: &mut Data,
        config: &Config,
    ) -> Option<Rejected> {
        let mut upcoming = Upcoming::new(bytes);
        loop {
            if upcoming.is_empty() {
                upcoming.look(&LIMITS, db, &data.store, |_| true, place);
            }
            let mut reader = Reader::default();
            let write = match upcoming.take() {
                Some(call) => {
                    let argv = upcoming.argv(&call);
                    Some(Write { db, command: call.command, argv, place: call.place })
                }
                None => match reader.next(&LIMITS, upcoming.input()) {
                    Ok(None) => return None,
                    Ok(Some(argv)) => Write::found(db, argv),
                    Err(_) => None,
                },
            };
            let Some(write) = write else { return Some(Rejected::Error) };
            if let Err(rejected) = write.apply(now, &self.slots, &mut self.replies, data, config) {
                return Some(rejected);
            }
        }
    }
}

impl Shard {
    /// An import of `home` begins: what is `left` of its slots goes, and they are hidden.
    pub(crate) fn start_graft(&mut self, home: ShardIndex, job: Arc<Job>, left: Option<&Confirmed>) {
        if let Some(left) = left {
            self.drop_slots(left);
        }
        let slots = job.ranges.to_set();
        slots.iter().for_each(|slot| self.data.store.hide(slot));
        self.grafts.push(Graft { job, home, slots, replies: Outbox::default() });
    }

    /// Applies commands of an import, and says so.
    pub(crate) fn apply_batch(
        &mut self,
        now: Now,
        job: JobName,
        (db, bytes, commands): (u32, Vec<u8>, usize),
        out: &mut Actions,
    ) {
        let Some(graft) = self.grafts.iter_mut().find(|graft| graft.job.name == job) else { return };
        let failed = graft.apply(now, db, &bytes, &mut self.data, &self.env.config);
        out.pass(graft.home, Errand::Applied(Applied { job, commands, bytes: bytes.len(), failed }));
    }

    /// An import has failed: its keys go.
    pub(crate) fn uproot(&mut self, job: JobName, confirmed: Option<&Confirmed>, out: &mut Actions) {
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
