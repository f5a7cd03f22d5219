//! What the source of a migration holds is asked of its shard, and not only of what its job says.

use whimbrel_core::slots::Slot;

use super::World;
use super::journal::{mark, violated};
use super::plan::tag;
use super::process::Seen;
use super::resp::Reply;

/// Between two looks, in microseconds.
const EVERY: u64 = 10_000;

impl World {
    /// INV-OWN: from its pause on a source carries out no write of the slots that it lets go, for as long as the job says
    /// so. A write that changes nothing is offered to it.
    pub fn check_holding(&mut self, p: usize) {
        if self.now < self.watch.held_at + EVERY {
            return;
        }
        self.watch.held_at = self.now;
        let process = &self.processes[p];
        let paused = process.seen.values().filter(|seen| seen.is_paused());
        let slots: Vec<Slot> = paused.filter_map(|Seen { job, .. }| job.ranges.slots().next()).collect();
        for slot in slots {
            let key = format!("{{{}}}nothing", tag(slot.number()));
            let reply = self.ask_about(p, slot, &[b"DEL", key.as_bytes()]);
            // The end of the job may have been on its way to the shard, which takes in its letters first (seed 400930).
            if matches!(reply, Some(Reply::Int(_))) && self.processes[p].holds(slot) {
                violated(
                    "INV-OWN",
                    format!("process {p} carries out a write of slot {slot}, which it holds"),
                );
            }
        }
        mark("a source that holds writes was probed");
    }
}
