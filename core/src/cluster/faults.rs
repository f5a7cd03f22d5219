//! What tests make go wrong on the bus: DEBUG DROP-CLUSTER-PACKET-FILTER and the like.

use alloc::vec::Vec;

use super::Cluster;
use super::boundary::Action;
use crate::ids::NodeId;
use crate::time::Now;
use crate::wire::bus::Kind;

/// One thing that shall go wrong, or no longer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Messages of the kind with this number are dropped when they arrive; -2: all, any other number: none.
    Drop(i64),
    /// Whether the link of a dropped message is closed.
    CloseOnDrop(bool),
    /// Whether nodes that need not be pinged are not.
    NoRandomPings(bool),
    /// Whether missing links are not opened.
    NoReconnection(bool),
    /// The links of a node are closed.
    Kill {
        /// Whose.
        node: NodeId,
        /// The one that this node opened.
        to: bool,
        /// The one that the other opened.
        from: bool,
    },
}

/// The number of [`Fault::Drop`] that means every message.
const ALL: i64 = -2;

/// What goes wrong now.
#[derive(Debug)]
pub(super) struct Faults {
    drop: i64,
    pub(super) close_on_drop: bool,
    pub(super) no_random_pings: bool,
    pub(super) no_reconnection: bool,
}

impl Default for Faults {
    fn default() -> Self {
        Self { drop: -1, close_on_drop: false, no_random_pings: false, no_reconnection: false }
    }
}

impl Faults {
    /// Whether a message is dropped; of one without a known kind nothing is made anyway.
    pub(super) fn drops(&self, kind: Option<Kind>) -> bool {
        self.drop == ALL || kind.is_some_and(|kind| kind as i64 == self.drop)
    }
}

impl Cluster {
    /// Makes something go wrong, for a test.
    pub fn disturb(&mut self, now: Now, fault: Fault, out: &mut Vec<Action>) {
        self.begin(now);
        tracing::warn!(?fault, "the bus is disturbed for a test");
        match fault {
            Fault::Drop(kind) => self.faults.drop = kind,
            Fault::CloseOnDrop(on) => self.faults.close_on_drop = on,
            Fault::NoRandomPings(on) => self.faults.no_random_pings = on,
            Fault::NoReconnection(on) => self.faults.no_reconnection = on,
            Fault::Kill { node, to, from } => {
                if let Some(ix) = self.nodes.find(node) {
                    if to {
                        self.close_outbound(ix);
                    }
                    if let Some(link) = self.nodes[ix].inbound.filter(|_| from) {
                        self.close(link);
                    }
                }
            }
        }
        self.settle(out);
    }
}
