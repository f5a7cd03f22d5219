//! CLUSTER GETSLOTMIGRATIONS: the published job log, with the live figures of the jobs that run here.

use crate::shard::Shard;
use crate::wire::resp::Reply;

/// Writes the reply.
pub(crate) fn render(shard: &Shard, reply: &mut Reply<'_>) {
    let log = &shard.env.jobs;
    reply.array(log.iter().len());
    for row in log.iter() {
        let mut row = row.clone();
        if let Some(exporting) = shard.data.exports.iter().find(|e| e.job.name == row.job.name) {
            row.last_ack = exporting.last_ack();
            row.remaining_repl_size = exporting.remaining();
        }
        if let Some(importing) = shard.importing().find(|i| i.job.name == row.job.name) {
            row.last_ack = importing.import.last_ack();
        }
        row.reply(reply);
    }
}
