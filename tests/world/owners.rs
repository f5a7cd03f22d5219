//! INV-OWN: who believes to own a slot, and who carries out its writes.

use whimbrel_core::slots::{Slot, SlotRanges};

use super::World;
use super::journal::{mark, violated};
use super::plan::tag;
use super::process::Process;
use super::resp::Reply;
use super::watch::shared;

impl World {
    /// Finds the slots that two processes believe to be theirs.
    pub fn compare_owners(&mut self) {
        self.watch.contested.clear();
        let own: Vec<SlotRanges> = self.processes.iter().map(Process::own_slots).collect();
        for a in 0..self.processes.len() {
            for b in a + 1..self.processes.len() {
                let [x, y] = [a, b].map(|p| &self.processes[p]);
                if !x.is_up() || !y.is_up() {
                    continue;
                }
                let both = shared(&own[a], &own[b]);
                self.watch.contested.extend(both.into_iter().map(|range| (a, b, range)));
            }
        }
        if !self.watch.contested.is_empty() {
            mark("two nodes believed to own a slot, at most one served it");
        }
    }

    /// INV-OWN: at most one process serves writes of a slot at an instant. All slots are compared whenever any view
    /// changes, and those in dispute after every turn; probes then ask what the processes really do.
    pub fn check_owners(&mut self) {
        let stamps = self.processes.iter().map(|p| (p.life, p.stamp)).collect();
        let changed = std::mem::replace(&mut self.watch.stamps, stamps) != self.watch.stamps;
        for (a, b, range) in self.watch.contested.clone() {
            let both = |w: &Self, slot| w.processes[a].serves(slot) && w.processes[b].serves(slot);
            // Shards that have not heard of the end of a hold go on with it: only they know.
            let known = [a, b].iter().all(|p| self.processes[*p].config.shards == 1);
            let all = range.iter().filter(|_| changed);
            let slot = { all }.find(|slot| both(self, *slot) && !self.is_tainted(*slot));
            if let Some(slot) = slot.filter(|slot| known || self.both_write(a, b, *slot)) {
                violated("INV-OWN", format!("processes {a} and {b} both serve writes of slot {slot}"));
            }
            self.probe(a, b, range.first);
        }
    }

    /// A write that changes nothing is offered to both: at most one may carry it out.
    fn probe(&mut self, a: usize, b: usize, slot: Slot) {
        // Shards may tell each other of a client that comes, and what they tell would lead to the next probe.
        let rest = if self.plan.shards > 1 { 5_000 } else { 1 };
        if self.now < self.watch.looked_at + rest {
            return;
        }
        self.watch.looked_at = self.now;
        if self.both_write(a, b, slot) && !self.is_tainted(slot) {
            violated("INV-OWN", format!("processes {a} and {b} both carried out a write of slot {slot}"));
        }
        mark("both claimants of a slot were probed");
    }

    /// Whether both carry out a write at this instant.
    fn both_write(&mut self, a: usize, b: usize, slot: Slot) -> bool {
        let key = format!("{{{}}}nothing", tag(slot.number()));
        let took = |reply: Option<Reply>| matches!(reply, Some(Reply::Int(_)));
        let first = took(self.ask_about(a, slot, &[b"DEL", key.as_bytes()]));
        let second = took(self.ask_about(b, slot, &[b"DEL", key.as_bytes()]));
        first && second
    }
}
