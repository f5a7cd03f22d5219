//! CLUSTER GETSLOTMIGRATIONS: the published job log, with the live figures of the jobs whose links the shards have.

use alloc::vec::Vec;

use crate::ids::JobName;
use crate::shard::Shard;
use crate::shard::gather::Part;
use crate::time::Wall;
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
        remaining: Some(e.remaining()),
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
