//! Where the keys of a slot are that count.

use whimbrel_core::slots::Slot;
use whimbrel_core::wire::bus::State;

use super::World;
use super::process::Seen;

impl World {
    /// A process has a new view: what it serves by it has keys from now on.
    pub fn note_served(&mut self, p: usize) {
        let process = &mut self.processes[p];
        let Some(view) = &process.view else { return };
        if process.unserved.is_empty() {
            return;
        }
        let serves = process.is_up() && view.state == State::Ok;
        process.unserved = process.unserved.iter().filter(|slot| !serves && view.is_mine(*slot)).collect();
    }

    /// The slots in use whose keys a process has: its own, and what was taken from its table by hand. Not a slot that it
    /// only believes to be its own, because it lost it and came back before its disk knew: it has not served it since, and
    /// the keys are with its owner, which nothing that happens to this process touches. A process that serves such a slot is
    /// wrong as long as the owner has it with a higher epoch.
    pub fn has_keys_of(&self, p: usize) -> Vec<u16> {
        let Some(view) = &self.processes[p].view else { return Vec::new() };
        let epoch = view.myself().config_epoch;
        let edited = self.shared.edited.borrow();
        let has = |number: &&u16| {
            let Some(slot) = Slot::new(**number) else { return false };
            match view.is_mine(slot) {
                true if self.processes[p].unserved.contains(slot) => false,
                true => self.owner_but(p, slot).is_none_or(|theirs| theirs <= epoch),
                false => edited.contains(&(p, **number)) && self.owner_but(p, slot).is_none(),
            }
        };
        self.plan.slots.iter().filter(has).copied().collect()
    }

    /// The highest epoch with which another process that is up owns a slot, whether it serves now or not. Not a source
    /// that has granted the slot to this one: it may have a newer epoch for other slots, and not believe the news because it
    /// has forgotten the node (seed 1677, where all seeds had batches).
    fn owner_but(&self, p: usize, slot: Slot) -> Option<u64> {
        let me = self.processes[p].view.as_ref().map(|view| view.myself().id);
        let given =
            |seen: &Seen| seen.granted && Some(seen.job.target) == me && seen.job.ranges.contains(slot);
        let others = self.processes.iter().filter(|q| q.index != p && q.is_up());
        let others = others.filter(|q| !q.seen.values().any(given));
        let views = others.filter_map(|q| q.view.as_ref()).filter(|view| view.is_mine(slot));
        views.map(|view| view.myself().config_epoch).max()
    }
}
