//! Slots that an export of this node may have granted, remembered over a crash.
//!
//! Who obeys a take-over and dies before that is on its disk comes back and believes that the slots are its own. That
//! does no harm as long as it claims them with an old epoch: the target has seen to it that its own is higher, and
//! whoever knows better says so. But this node may raise its epoch before anybody says so, for another slot or over a
//! collision, and would take the slots from a target that believes the matter settled. So what an export is about to let
//! go is durable before it begins, which makes no pause longer; after a restart such slots are claimed with the old
//! epoch or not at all, and anybody's claim of them is measured by that epoch, until all primaries were heard.

use alloc::vec::Vec;

use super::Cluster;
use super::node_table::NodeIx;
use crate::ids::{JobName, NodeId};
use crate::slots::{Slot, SlotRanges, SlotSet};
use crate::wire::bus::Header;

/// Slots that were to move.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Parting {
    pub(super) target: NodeId,
    pub(super) slots: SlotSet,
    /// This node's epoch when the export began. Whoever has been granted the slots and has heard this node without them
    /// has a higher one.
    pub(super) epoch: u64,
    /// The target's claim has this epoch at least, see the grant's.
    pub(super) least_epoch: u64,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Partings {
    running: Vec<(JobName, Parting)>,
    /// Of exports that ran when this node died, with who was heard since and does not claim the slots, and the highest
    /// epoch that it knew of then.
    unsettled: Vec<(Parting, Vec<(NodeId, u64)>)>,
}

impl Partings {
    /// An export begins.
    pub(super) fn add(&mut self, job: JobName, parting: Parting) {
        self.running.push((job, parting));
    }

    /// An export is over.
    pub(super) fn end(&mut self, job: JobName) -> Option<Parting> {
        let at = self.running.iter().position(|(name, _)| *name == job)?;
        Some(self.running.remove(at).1)
    }

    /// As they were saved.
    pub(super) fn restore(saved: Vec<Parting>) -> Self {
        Self { running: Vec::new(), unsettled: saved.into_iter().map(|p| (p, Vec::new())).collect() }
    }

    /// What a restart has to know of them.
    pub(super) fn to_save(&self) -> impl Iterator<Item = &Parting> {
        self.unsettled.iter().map(|(p, _)| p).chain(self.running.iter().map(|(_, p)| p))
    }

    /// Takes the slots that this node does not announce with `epoch` out of a set.
    pub(super) fn remove_from(&self, set: &mut SlotSet, epoch: u64) {
        for (parting, _) in self.unsettled.iter().filter(|(parting, _)| parting.epoch < epoch) {
            for slot in parting.slots.iter() {
                set.remove(slot);
            }
        }
    }

    /// The slots have another owner, or an operator says whose they are.
    pub(super) fn forget(&mut self, slots: &SlotSet) {
        for (parting, _) in &mut self.unsettled {
            for slot in slots.iter() {
                parting.slots.remove(slot);
            }
        }
        self.unsettled.retain(|(parting, _)| !parting.slots.is_empty());
    }

    /// Whether the slot, which is this node's, may be the claimer's since before this node restarted.
    pub(super) fn has_let_go_to(
        &self,
        claimer: NodeId,
        is_heir_of: impl Fn(NodeId) -> bool,
        epoch: u64,
        slot: Slot,
    ) -> bool {
        let mut about = self.unsettled.iter().map(|(parting, _)| parting).filter(|p| p.slots.contains(slot));
        about.any(|p| {
            epoch > p.epoch || epoch >= p.least_epoch && (claimer == p.target || is_heir_of(p.target))
        })
    }
}

impl Cluster {
    /// `sender` said itself which slots it has, and was believed where it had to be. What no primary claims that this node
    /// knows is this node's.
    ///
    /// They are not all heard at once: who had the slots may have passed them on to one that was heard before it had them. So
    /// only who knew of this node's epoch counts: should it take them over later, its epoch will be above that.
    pub(super) fn settle_partings(&mut self, sender: NodeIx, header: &Header<'_>) {
        if self.partings.unsettled.is_empty() {
            return;
        }
        let (id, claimed) = (self.nodes[sender].id, SlotSet::from_bitmap(header.slots.0));
        let knows = header.current_epoch.max(header.config_epoch);
        let mine = self.nodes.myself().config_epoch;
        let mut partings = core::mem::take(&mut self.partings.unsettled);
        let before = partings.len();
        partings.retain_mut(|(parting, heard)| {
            if !parting.slots.iter().any(|slot| claimed.contains(slot)) {
                heard.retain(|(other, _)| *other != id);
                heard.push((id, knows));
            }
            let counts = |node: NodeId| heard.iter().any(|&(id, knows)| id == node && knows >= mine);
            self.nodes.iter().any(|(ix, node)| {
                let asked = ix != NodeIx::MYSELF && node.is_primary() && !node.in_handshake();
                asked && (!node.failed() || node.id == parting.target) && !counts(node.id)
            })
        });
        if partings.len() != before {
            tracing::info!("slots that an export may have granted are this node's");
            self.todo.save();
            self.todo.announce = true;
        }
        self.partings.unsettled = partings;
    }

    /// Takes the slots out of a set that this node owns and does not claim at present.
    pub(super) fn withhold(&self, set: &mut SlotSet) {
        let epoch = self.nodes.myself().config_epoch;
        self.grants.remove_from(set, epoch);
        self.partings.remove_from(set, epoch);
    }

    /// The parting for an export to `target`.
    pub(super) fn parting(&self, target: NodeId, slots: &SlotRanges) -> Parting {
        let least_epoch = self.takings.first_claimed(target, slots);
        Parting { target, slots: slots.to_set(), epoch: self.nodes.myself().config_epoch, least_epoch }
    }
}
