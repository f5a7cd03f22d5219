//! Leaving: FORGET, the list of nodes that must not come back by gossip, RESET.

use alloc::vec::Vec;

use super::Cluster;
use super::node_table::{NodeIx, Role};
use super::ownership::Reason;
use crate::ids::{NodeId, ShardId};
use crate::time::Span;
use crate::wire::bus::NodeFlags;

/// The longest time a peer can keep a node out, in seconds. Valkey takes any number from the wire.
const MAX_BLACKLIST_S: u64 = 7 * 24 * 3600;
/// How many forgotten nodes are remembered: each is told with every ping.
const MAX_BLACKLIST: usize = 1024;

impl Cluster {
    /// Removes a node and everything that names it.
    pub(super) fn remove_node(&mut self, ix: NodeIx) {
        self.unassign_all(ix, Reason::NodeForgotten);
        self.open.forget(ix);
        let (outbound, inbound) = (self.nodes[ix].outbound.any(), self.nodes[ix].inbound);
        for link in [outbound, inbound].into_iter().flatten() {
            self.close(link);
        }
        debug_assert!(self.links.iter().all(|(_, link)| link.node != Some(ix)), "a link without its node");
        for (_, node) in self.nodes.iter_mut() {
            node.reports.retain(|report| report.from != ix);
            if node.role == (Role::Replica { of: Some(ix) }) {
                node.role = Role::Replica { of: None };
            }
        }
        let Some(gone) = self.nodes.remove(ix) else { return };
        tracing::info!(node = %gone.id, stage = ?gone.stage, "node removed");
        if !gone.in_handshake() {
            self.todo.save();
        }
        self.todo.state = true;
        self.changed();
    }

    /// Keeps a node from being learned by gossip for some seconds.
    pub(super) fn blacklist(&mut self, node: NodeId, ttl_s: u64) {
        let now = self.now.mono;
        self.blacklist.retain(|_, until| *until > now);
        if self.blacklist.len() < MAX_BLACKLIST || self.blacklist.contains_key(&node) {
            self.blacklist.insert(node, now + Span::secs(ttl_s.min(MAX_BLACKLIST_S)));
        }
    }

    pub(super) fn is_blacklisted(&self, node: NodeId) -> bool {
        self.blacklist.get(&node).is_some_and(|&until| until > self.now.mono)
    }

    /// A member says that a node was removed by an operator.
    pub(super) fn told_to_forget(&mut self, sender: NodeIx, node: NodeId, ttl_s: u64) {
        let Some(ix) = self.nodes.find(node).filter(|&ix| ix != NodeIx::MYSELF && ix != sender) else {
            return;
        };
        tracing::info!(%node, by = %self.nodes[sender].id, ttl_s, "told to forget a node");
        self.blacklist(node, ttl_s);
        self.remove_node(ix);
    }

    /// Leaves the cluster: all slots and nodes are forgotten; with `hard` also epochs and the own name.
    pub(super) fn leave(&mut self, hard: bool) {
        let owners: Vec<NodeIx> = self.slots.owners().map(|(ix, _)| ix).collect();
        for ix in owners {
            self.unassign_all(ix, Reason::Reset);
        }
        self.open.clear();
        self.grants = super::takeover::Grants::default();
        self.partings = super::partings::Partings::default();
        for ix in self.nodes.others() {
            self.remove_node(ix);
        }
        self.blacklist.clear();
        let (shard, id) = (ShardId::random(&mut self.rng), NodeId::random(&mut self.rng));
        self.nodes.myself_mut().shard = shard;
        self.nodes.myself_mut().migrate_to = false;
        if hard {
            self.epochs = super::epochs::Epochs::default();
            self.nodes.myself_mut().config_epoch = 0;
            tracing::info!(old = %self.nodes.myself().id, new = %id, "node has a new name");
            self.nodes.rename(NodeIx::MYSELF, id);
        }
        self.todo.save_durably();
        self.todo.state = true;
        self.changed();
    }

    /// The periodic repair of one-sided membership: a member that has not opened a link to this node for long may
    /// not know it, and gets a MEET.
    pub(super) fn repair_membership(&mut self, ix: NodeIx) {
        let (now, patience) = (self.now.mono, self.config.handshake_timeout());
        let node = &self.nodes[ix];
        let normal = !node.in_handshake() && !node.meet && node.health == super::node_table::Health::Up;
        let one_sided = node.inbound.is_none() && now.since(node.inbound_missing) > patience;
        let due = node.meet_sent.is_none_or(|at| now.since(at) > patience);
        let able = node.capabilities.has(NodeFlags::LIGHT_MODULE);
        if normal && one_sided && due && able && node.outbound.up().is_some() {
            tracing::info!(node = %node.id, "no link from it: sending MEET again");
            self.nodes[ix].meet = true;
            self.send_meet(ix);
        }
    }

    /// How many links there are in each direction, for assertions.
    #[cfg(test)]
    pub(super) fn link_counts(&self) -> (usize, usize) {
        let count = |side| self.links.iter().filter(|(_, link)| link.side == side).count();
        (count(super::links::Side::Outbound), count(super::links::Side::Inbound))
    }
}
