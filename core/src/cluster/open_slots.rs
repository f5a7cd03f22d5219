//! Slots that are being moved by hand: the marks of CLUSTER SETSLOT MIGRATING and IMPORTING.

use alloc::collections::BTreeMap;

use super::node_table::NodeIx;
use crate::slots::Slot;

/// The open slots of this node.
#[derive(Debug, Default)]
pub(super) struct OpenSlots {
    migrating: BTreeMap<Slot, NodeIx>,
    importing: BTreeMap<Slot, NodeIx>,
}

impl OpenSlots {
    pub(super) fn migrating_to(&self, slot: Slot) -> Option<NodeIx> {
        self.migrating.get(&slot).copied()
    }

    pub(super) fn importing_from(&self, slot: Slot) -> Option<NodeIx> {
        self.importing.get(&slot).copied()
    }

    pub(super) fn set_migrating(&mut self, slot: Slot, to: Option<NodeIx>) -> bool {
        set(&mut self.migrating, slot, to)
    }

    pub(super) fn set_importing(&mut self, slot: Slot, from: Option<NodeIx>) -> bool {
        set(&mut self.importing, slot, from)
    }

    /// Removes both marks of a slot; whether there was one.
    pub(super) fn close(&mut self, slot: Slot) -> bool {
        self.migrating.remove(&slot).is_some() | self.importing.remove(&slot).is_some()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Removes all marks that name `node`.
    pub(super) fn forget(&mut self, node: NodeIx) {
        self.migrating.retain(|_, &mut to| to != node);
        self.importing.retain(|_, &mut from| from != node);
    }

    /// Makes marks that name `old` name `new`.
    pub(super) fn rename(&mut self, old: NodeIx, new: NodeIx) {
        for node in self.migrating.values_mut().chain(self.importing.values_mut()) {
            if *node == old {
                *node = new;
            }
        }
    }

    pub(super) fn migrating(&self) -> impl Iterator<Item = (Slot, NodeIx)> {
        self.migrating.iter().map(|(&slot, &node)| (slot, node))
    }

    pub(super) fn importing(&self) -> impl Iterator<Item = (Slot, NodeIx)> {
        self.importing.iter().map(|(&slot, &node)| (slot, node))
    }
}

fn set(marks: &mut BTreeMap<Slot, NodeIx>, slot: Slot, node: Option<NodeIx>) -> bool {
    let old = match node {
        Some(node) => marks.insert(slot, node),
        None => marks.remove(&slot),
    };
    old != node
}
