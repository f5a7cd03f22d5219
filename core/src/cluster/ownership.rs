//! Who owns which slot. Nothing outside this file changes an owner, and every change names its reason.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::OnceCell;

use super::Cluster;
use super::boundary::Action;
use super::node_table::NodeIx;
use super::takeover::Confirmed;
use crate::ids::{JobName, NodeId};
use crate::slots::{SLOTS, Slot, SlotRange, SlotRanges, SlotSet};

/// Why slots changed their owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// Read from nodes.conf.
    Loaded,
    /// Its new owner announced it in a ping, pong or meet.
    Claim {
        /// The epoch of the claim.
        epoch: u64,
    },
    /// A third node told of the claim of the new owner.
    Update {
        /// The epoch of the claim.
        epoch: u64,
    },
    /// The owner became a replica of the new owner, or of a stranger.
    RoleChanged,
    /// CLUSTER ADDSLOTS or ADDSLOTSRANGE.
    AddSlots,
    /// CLUSTER DELSLOTS or DELSLOTSRANGE.
    DelSlots,
    /// CLUSTER FLUSHSLOTS.
    FlushSlots,
    /// CLUSTER SETSLOT NODE.
    SetSlotNode,
    /// An atomic slot migration to this node was granted.
    TakeOver {
        /// The migration.
        job: JobName,
    },
    /// A slot that was being imported by hand, and that its source stopped announcing.
    SourceLetGo,
    /// Its owner was removed from the cluster.
    NodeForgotten,
    /// CLUSTER RESET.
    Reset,
}

impl Reason {
    /// Whether the change proves that another node serves the slots now.
    fn is_accepted_claim(self) -> bool {
        matches!(self, Self::Claim { .. } | Self::Update { .. })
    }
}

/// The slots of one node.
#[derive(Debug, Default)]
struct Held {
    set: SlotSet,
    len: usize,
}

/// One call of [`Cluster::assign`] that touched slots of this node.
#[derive(Debug)]
struct Change {
    slots: SlotSet,
    to: Option<NodeId>,
    reason: Reason,
}

/// The slot table.
#[derive(Debug)]
pub(super) struct Ownership {
    owner: Box<[Option<NodeIx>]>,
    held: BTreeMap<NodeIx, Held>,
    /// Slots whose owner no longer announces them: anybody may claim them.
    unannounced: SlotSet,
    /// Slots that were this node's until another one's claim was accepted.
    lost: SlotSet,
    /// What was this node's when changes were last told.
    told: SlotSet,
    changes: Vec<Change>,
    assigned: usize,
    /// Runs of slots with one owner, ascending, as far as they are known since the last change.
    runs: OnceCell<Vec<(SlotRange, NodeIx)>>,
}

impl Ownership {
    pub(super) fn new() -> Self {
        Self {
            owner: vec![None; SLOTS].into_boxed_slice(),
            held: BTreeMap::new(),
            unannounced: SlotSet::new(),
            lost: SlotSet::new(),
            told: SlotSet::new(),
            changes: Vec::new(),
            assigned: 0,
            runs: OnceCell::new(),
        }
    }

    pub(super) fn owner(&self, slot: Slot) -> Option<NodeIx> {
        self.owner[slot.index()]
    }

    /// Runs of slots with one owner, ascending. They are few, and change much less often than they are asked for.
    pub(super) fn runs(&self) -> &[(SlotRange, NodeIx)] {
        self.runs.get_or_init(|| {
            let (mut runs, mut first) = (Vec::new(), 0);
            for run in self.owner.chunk_by(|a, b| a == b) {
                let end = first + run.len();
                let range = SlotRange::new(first as u16, end as u16 - 1);
                runs.extend(range.zip(run[0]));
                first = end;
            }
            runs
        })
    }

    pub(super) fn is_mine(&self, slot: Slot) -> bool {
        self.owner(slot) == Some(NodeIx::MYSELF)
    }

    /// The slots of a node, if it has any.
    pub(super) fn slots_of(&self, node: NodeIx) -> Option<&SlotSet> {
        self.held.get(&node).map(|held| &held.set)
    }

    /// How many slots a node has.
    pub(super) fn count(&self, node: NodeIx) -> usize {
        self.held.get(&node).map_or(0, |held| held.len)
    }

    /// How many slots have an owner.
    pub(super) fn assigned(&self) -> usize {
        self.assigned
    }

    /// Nodes that own slots, with how many.
    pub(super) fn owners(&self) -> impl Iterator<Item = (NodeIx, usize)> {
        self.held.iter().map(|(&node, held)| (node, held.len))
    }

    /// Whether anybody may claim the slot whatever the epochs.
    pub(super) fn is_unclaimed(&self, slot: Slot) -> bool {
        self.owner(slot).is_none() || self.unannounced.contains(slot)
    }

    /// The owner of the slot announces it, or no longer does. This changes how firmly it is held, not by whom.
    pub(super) fn mark_announced(&mut self, slot: Slot, announced: bool) {
        if announced {
            self.unannounced.remove(slot);
        } else if self.owner(slot).is_some() {
            self.unannounced.insert(slot);
        }
    }

    /// Slots whose owners no longer announce them.
    pub(super) fn unannounced(&self) -> &SlotSet {
        &self.unannounced
    }

    /// Whether `node` owns slots that it does not announce.
    pub(super) fn has_unannounced(&self, node: NodeIx) -> bool {
        self.unannounced.iter().any(|slot| self.owner(slot) == Some(node))
    }

    /// The slots that `node` owns and announces.
    pub(super) fn announced_by(&self, node: NodeIx) -> SlotSet {
        let mut set = self.slots_of(node).cloned().unwrap_or_default();
        if !self.unannounced.is_empty() {
            for slot in self.unannounced.iter() {
                set.remove(slot);
            }
        }
        set
    }

    /// Whether the slot was this node's until another node's claim was accepted, and is still that other's.
    pub(super) fn lost_to_a_claim(&self, slot: Slot) -> bool {
        self.lost.contains(slot)
    }

    fn set_owner(&mut self, slot: Slot, to: Option<NodeIx>) {
        self.runs.take();
        if let Some(old) = core::mem::replace(&mut self.owner[slot.index()], to) {
            self.assigned -= 1;
            if let Some(held) = self.held.get_mut(&old) {
                held.set.remove(slot);
                held.len -= 1;
                if held.len == 0 {
                    self.held.remove(&old);
                }
            }
        }
        if let Some(new) = to {
            self.assigned += 1;
            let held = self.held.entry(new).or_default();
            held.set.insert(slot);
            held.len += 1;
        }
        self.unannounced.remove(slot);
    }
}

impl Cluster {
    /// Gives `slots` to `to`, or to nobody. The one place where owners change.
    ///
    /// What follows from it for the keys is told at the end of the step by [`Action::Lost`] and [`Action::Gained`].
    /// The change is saved durably before anything of this step is sent.
    pub(super) fn assign(&mut self, slots: &SlotSet, to: Option<NodeIx>, reason: Reason) {
        let changed: SlotSet = slots.iter().filter(|&slot| self.slots.owner(slot) != to).collect();
        for slot in slots.iter() {
            self.slots.mark_announced(slot, true);
        }
        self.partings.forget(slots);
        if changed.is_empty() {
            return;
        }
        let name = to.map(|ix| self.nodes[ix].id);
        let first = to.is_some_and(|ix| self.slots.count(ix) == 0);
        let mut of_mine = to == Some(NodeIx::MYSELF);
        for slot in changed.iter() {
            let was_mine = self.slots.is_mine(slot);
            of_mine |= was_mine;
            self.slots.set_owner(slot, to);
            let confirmed = was_mine && to.is_some() && reason.is_accepted_claim();
            let stays =
                !was_mine && to.is_some_and(|ix| ix != NodeIx::MYSELF) && self.slots.lost.contains(slot);
            if confirmed || stays {
                self.slots.lost.insert(slot);
            } else {
                self.slots.lost.remove(slot);
            }
        }
        let ranges = changed.to_ranges();
        match name {
            Some(owner) => tracing::info!(slots = %ranges, %owner, ?reason, "slots assigned"),
            None => tracing::info!(slots = %ranges, ?reason, "slots unassigned"),
        }
        if of_mine {
            self.slots.changes.push(Change { slots: changed, to: name, reason });
        }
        if let Some(owner) = to.filter(|_| first) {
            self.first_slot_of(owner);
        }
        self.todo.save_durably();
        self.todo.state = true;
        self.changed();
    }

    /// Takes all slots of `node` away.
    pub(super) fn unassign_all(&mut self, node: NodeIx, reason: Reason) {
        if let Some(slots) = self.slots.slots_of(node).cloned() {
            self.assign(&slots, None, reason);
        }
    }

    /// A primary with its first slot may receive spare replicas, when there are replicas elsewhere.
    fn first_slot_of(&mut self, owner: NodeIx) {
        if self.nodes.iter().any(|(_, node)| node.is_replica()) {
            self.nodes[owner].migrate_to = true;
        }
    }

    /// What the step changed about this node's own slots.
    pub(super) fn tell_ownership(&mut self, out: &mut Vec<Action>) {
        if self.slots.changes.is_empty() {
            return;
        }
        let changes = core::mem::take(&mut self.slots.changes);
        let now = self.slots.slots_of(NodeIx::MYSELF).cloned().unwrap_or_default();
        let before = core::mem::replace(&mut self.slots.told, now.clone());
        let me = self.nodes.myself().id;
        // The last change of a slot says why it is where it is.
        let mut open: SlotSet = Slot::all().filter(|&s| before.contains(s) != now.contains(s)).collect();
        let mut told = Vec::new();
        for change in changes.iter().rev() {
            let part: SlotSet = change.slots.iter().filter(|&slot| open.remove(slot)).collect();
            if part.is_empty() {
                continue;
            }
            let (slots, reason) = (part.to_ranges(), change.reason);
            if change.to == Some(me) {
                told.push(Action::Gained { slots, reason });
            } else {
                let confirmed = Confirmed::of_lost(&self.slots, &slots);
                told.push(Action::Lost { slots, to: change.to, reason, confirmed });
            }
        }
        out.extend(told.into_iter().rev());
        if now.is_empty() && !before.is_empty() {
            tracing::warn!("the last slot is gone: this node stays in the cluster as an empty primary");
        }
    }

    /// Forgets that changes are untold, for what is read from a file.
    pub(super) fn take_ownership_as_told(&mut self) {
        self.slots.changes.clear();
        self.slots.told = self.slots.slots_of(NodeIx::MYSELF).cloned().unwrap_or_default();
    }
}

/// The set of one slot.
pub(super) fn only(slot: Slot) -> SlotSet {
    core::iter::once(slot).collect()
}

/// Ranges of the slots of `slots` that satisfy `keep`.
pub(super) fn ranges_where(slots: &SlotRanges, keep: impl Fn(Slot) -> bool) -> SlotRanges {
    let set: SlotSet = slots.0.iter().flat_map(SlotRange::iter).filter(|&slot| keep(slot)).collect();
    set.to_ranges()
}
