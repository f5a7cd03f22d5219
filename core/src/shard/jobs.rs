//! The slot migrations of a shard, of either side: their names, their end, and their live figures, which CLUSTER
//! GETSLOTMIGRATIONS shows with the published job log.

use alloc::vec::Vec;

use crate::action::Actions;
use crate::ids::JobName;
use crate::migration::export;
use crate::migration::failure::Failure;
use crate::shard::Shard;
use crate::shard::branch::Branch;
use crate::shard::errand::Errand;
use crate::shard::gather::Part;
use crate::shard::imports::stopped;
use crate::slots::SlotRanges;
use crate::time::{Now, Wall};
use crate::wire::resp::Reply;

/// What only the shard with the link of a job knows of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Live {
    job: JobName,
    last_ack: Wall,
    /// Bytes that an export has not sent.
    remaining: Option<u64>,
}

/// Those of one shard.
pub(crate) fn live(shard: &Shard) -> Vec<Live> {
    let exports = shard.data.exports.iter().map(|e| Live {
        job: e.job.name,
        last_ack: e.last_ack(),
        remaining: Some(e.remaining() + e.unsent_by_lanes()),
    });
    let imports =
        shard.importing().map(|i| Live { job: i.job.name, last_ack: i.import.last_ack(), remaining: None });
    exports.chain(imports).collect()
}

/// Writes the reply; `others` are the parts of siblings.
pub(crate) fn render(shard: &Shard, others: &[Part], reply: &mut Reply<'_>) {
    let log = &shard.env.jobs;
    let mut all = live(shard);
    for part in others {
        if let Part::Jobs(live) = part {
            all.extend_from_slice(live);
        }
    }
    reply.array(log.iter().len());
    for row in log.iter() {
        let mut row = row.clone();
        for live in all.iter().filter(|live| live.job == row.job.name) {
            row.last_ack = live.last_ack;
            row.remaining_repl_size = live.remaining.unwrap_or(row.remaining_repl_size);
        }
        row.reply(reply);
    }
}

impl Shard {
    /// All unfinished jobs of the shard.
    pub(crate) fn job_names(&self) -> Vec<(JobName, SlotRanges)> {
        let exports = self.data.exports.iter().map(|e| &e.job);
        let exports = exports.chain(self.data.exports.branches().map(|b| &b.job));
        let imports = self.importing().map(|i| &i.job);
        exports.chain(imports).map(|job| (job.name, job.ranges.clone())).collect()
    }

    /// Ends a job of either side from within a shard.
    pub(crate) fn stop_job(&mut self, now: Now, name: JobName, failure: &Failure, out: &mut Actions) {
        let branch = self.data.exports.branches().find(|b| b.job.name == name);
        if let Some(home) = branch.map(Branch::home) {
            out.pass(home, Errand::Stop { job: name, failure: failure.clone() });
        }
        self.with_exports(now, out, |exports, s| {
            exports.tell_job(name, export::Input::Stopped(failure.clone()), s);
        });
        self.tell_import(now, name, stopped(failure), out);
    }
}
