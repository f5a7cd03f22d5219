//! The logical clock of the cluster and the epochs of slot claims.

use super::Cluster;
use super::node_table::NodeIx;
use crate::ids::NodeId;

/// Outcome of CLUSTER BUMPEPOCH.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bump {
    /// This node's epoch was raised to the number.
    Bumped(u64),
    /// This node's epoch, the number, is the highest already.
    Still(u64),
}

/// What nodes.conf calls its `vars`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Epochs {
    /// At least every epoch this node has heard of.
    pub(super) current: u64,
    /// The election in which this node voted last.
    pub(super) last_vote: u64,
}

impl Cluster {
    /// Somebody knows of `epoch`.
    pub(super) fn saw_epoch(&mut self, epoch: u64) {
        if epoch > self.epochs.current {
            self.epochs.current = epoch;
            self.todo.save_durably();
        }
    }

    /// Takes the next epoch for this node's slots without asking anybody, unless it has the highest already.
    pub(super) fn bump_without_consensus(&mut self) -> Bump {
        let highest = self.nodes.highest_epoch().max(self.epochs.current);
        let mine = self.nodes.myself().config_epoch;
        if mine != 0 && mine == highest {
            return Bump::Still(mine);
        }
        let epoch = self.next_epoch();
        tracing::info!(epoch, "epoch raised without consensus");
        Bump::Bumped(epoch)
    }

    /// The same for slots that another node owns: an epoch that this node shares with another, because neither has
    /// heard of the other's yet or gives way, would not be above the owner's.
    pub(super) fn bump_above_all(&mut self) {
        let mine = self.nodes.myself().config_epoch;
        let is_shared = self.nodes.iter().any(|(ix, _)| ix != NodeIx::MYSELF && self.nodes.epoch(ix) == mine);
        if matches!(self.bump_without_consensus(), Bump::Still(_)) && is_shared {
            let epoch = self.next_epoch();
            tracing::info!(epoch, "epoch raised without consensus: another node has the one before");
        }
    }

    /// Two primaries have the same epoch: the one with the smaller name takes another, and says so at once. Whoever is
    /// to take slots over from it has to come above it.
    pub(super) fn resolve_collision(&mut self, sender_epoch: u64, sender: NodeId) {
        let me = self.nodes.myself();
        if sender_epoch != me.config_epoch || sender <= me.id {
            return;
        }
        let epoch = self.next_epoch();
        self.todo.announce = true;
        tracing::info!(epoch, with = %sender, "epoch collision: this node takes a new one");
    }

    /// Takes the next epoch for this node's slots, highest or not.
    pub(super) fn next_epoch(&mut self) -> u64 {
        self.epochs.current += 1;
        self.nodes.myself_mut().config_epoch = self.epochs.current;
        self.todo.save_durably();
        self.changed();
        self.epochs.current
    }
}
