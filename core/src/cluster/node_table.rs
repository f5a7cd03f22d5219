//! The nodes this node knows, itself included.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::num::NonZeroU16;

use super::config::Announced;
use crate::ids::{LinkId, NodeId, ShardId};
use crate::time::{Mono, Span};
use crate::wire::bus::{IpText, NodeFlags};

/// How many nodes are kept at most, strangers in handshake included. A cluster cannot have more primaries than
/// slots, and practice ends near a thousand nodes.
pub(super) const MAX_NODES: usize = 16_384;

/// A row of the table. Rows of removed nodes are used again, so whoever keeps one must be told of removals.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct NodeIx(NonZeroU16);

impl NodeIx {
    /// The row of this node itself.
    pub(super) const MYSELF: Self = Self(NonZeroU16::MIN);

    fn of(index: usize) -> Self {
        Self(NonZeroU16::MIN.saturating_add(index as u16))
    }

    pub(super) fn index(self) -> usize {
        usize::from(self.0.get()) - 1
    }
}

/// What a node is in its shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    /// It has not said yet.
    Unknown,
    Primary,
    Replica {
        /// Its primary, when that is known here.
        of: Option<NodeIx>,
    },
}

/// How a node is seen from here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Health {
    Up,
    /// This node cannot reach it.
    Suspected,
    /// A majority cannot reach it.
    Failed {
        since: Mono,
    },
}

/// Whether the node's real name is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Its id is a placeholder.
    Handshake,
    Member,
}

/// The link that this node opens to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outbound {
    Missing,
    Connecting(LinkId),
    Up(LinkId),
}

impl Outbound {
    /// The link over which messages can be sent.
    pub(super) fn up(self) -> Option<LinkId> {
        match self {
            Self::Up(link) => Some(link),
            Self::Missing | Self::Connecting(_) => None,
        }
    }

    /// The link in whatever state.
    pub(super) fn any(self) -> Option<LinkId> {
        match self {
            Self::Up(link) | Self::Connecting(link) => Some(link),
            Self::Missing => None,
        }
    }
}

/// Where a node is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Address {
    pub(super) ip: IpText,
    /// For TCP clients.
    pub(super) port: u16,
    /// For TLS clients.
    pub(super) tls_port: u16,
    pub(super) bus_port: u16,
}

impl Address {
    /// From the two ports of a message, of which the first is the one of the bus's own kind.
    pub(super) fn told(ip: IpText, tls_cluster: bool, port: u16, other_port: u16, bus_port: u16) -> Self {
        let (port, tls_port) = if tls_cluster { (other_port, port) } else { (port, other_port) };
        Self { ip, port, tls_port, bus_port }
    }

    /// The two ports as a message tells them.
    pub(super) fn ports(&self, tls_cluster: bool) -> (u16, u16) {
        if tls_cluster { (self.tls_port, self.port) } else { (self.port, self.tls_port) }
    }
}

/// Another primary says that it cannot reach the node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Report {
    pub(super) from: NodeIx,
    pub(super) at: Mono,
}

/// A known node.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) shard: ShardId,
    pub(super) created: Mono,
    pub(super) stage: Stage,
    pub(super) role: Role,
    pub(super) health: Health,
    /// The next connection begins with a MEET.
    pub(super) meet: bool,
    pub(super) noaddr: bool,
    pub(super) nofailover: bool,
    pub(super) migrate_to: bool,
    /// Bits 10 to 13 of its flags.
    pub(super) capabilities: NodeFlags,
    pub(super) address: Address,
    pub(super) announced: Announced,
    /// Of a primary; meaningless on a replica, see [`NodeTable::epoch`].
    pub(super) config_epoch: u64,
    pub(super) offset: u64,
    /// When the ping was sent that is still unanswered.
    pub(super) ping_sent: Option<Mono>,
    pub(super) pong_received: Option<Mono>,
    /// When anything came from it.
    pub(super) heard: Option<Mono>,
    pub(super) reports: Vec<Report>,
    pub(super) outbound: Outbound,
    pub(super) inbound: Option<LinkId>,
    /// Since when it has no inbound link.
    pub(super) inbound_missing: Mono,
    pub(super) connect_tried: Option<Mono>,
    pub(super) meet_sent: Option<Mono>,
}

/// The flag bits that say what a node can do.
pub(super) const CAPABILITIES: NodeFlags = NodeFlags(
    NodeFlags::EXTENSIONS.0
        | NodeFlags::LIGHT_PUBSUB.0
        | NodeFlags::LIGHT_MODULE.0
        | NodeFlags::MY_PRIMARY_FAILED.0,
);

impl Node {
    pub(super) fn new(id: NodeId, shard: ShardId, stage: Stage, now: Mono) -> Self {
        Self {
            id,
            shard,
            created: now,
            stage,
            role: Role::Unknown,
            health: Health::Up,
            meet: false,
            noaddr: false,
            nofailover: false,
            migrate_to: false,
            capabilities: NodeFlags::default(),
            address: Address::default(),
            announced: Announced::default(),
            config_epoch: 0,
            offset: 0,
            ping_sent: None,
            pong_received: None,
            heard: None,
            reports: Vec::new(),
            outbound: Outbound::Missing,
            inbound: None,
            inbound_missing: now,
            connect_tried: None,
            meet_sent: None,
        }
    }

    pub(super) fn in_handshake(&self) -> bool {
        self.stage == Stage::Handshake
    }

    pub(super) fn is_primary(&self) -> bool {
        self.role == Role::Primary
    }

    pub(super) fn is_replica(&self) -> bool {
        matches!(self.role, Role::Replica { .. })
    }

    pub(super) fn failed(&self) -> bool {
        matches!(self.health, Health::Failed { .. })
    }

    pub(super) fn suspected(&self) -> bool {
        self.health == Health::Suspected
    }

    /// Its flags as header and gossip tell them, without the one for the sender itself.
    pub(super) fn flags(&self) -> NodeFlags {
        let role = match self.role {
            Role::Unknown => NodeFlags::default(),
            Role::Primary => NodeFlags::PRIMARY,
            Role::Replica { .. } => NodeFlags::REPLICA,
        };
        role | NodeFlags::PFAIL.when(self.suspected())
            | NodeFlags::FAIL.when(self.failed())
            | NodeFlags::HANDSHAKE.when(self.in_handshake())
            | NodeFlags::NOADDR.when(self.noaddr)
            | NodeFlags::MEET.when(self.meet)
            | NodeFlags::MIGRATE_TO.when(self.migrate_to)
            | NodeFlags::NOFAILOVER.when(self.nofailover)
            | self.capabilities
    }

    /// Drops reports that are older than `age`.
    pub(super) fn expire_reports(&mut self, now: Mono, age: Span) {
        self.reports.retain(|report| now.since(report.at) <= age);
    }
}

/// All known nodes. Iteration is in row order, so a run is a function of its inputs.
#[derive(Debug)]
pub(super) struct NodeTable {
    rows: Vec<Option<Node>>,
    names: BTreeMap<NodeId, NodeIx>,
}

impl NodeTable {
    /// A table of `myself` alone.
    pub(super) fn new(myself: Node) -> Self {
        let mut table = Self { rows: Vec::new(), names: BTreeMap::new() };
        table.insert(myself);
        table
    }

    /// Adds a node whose name is new; `None` when the table is full.
    pub(super) fn insert(&mut self, node: Node) -> Option<NodeIx> {
        let free = self.rows.iter().position(Option::is_none).unwrap_or(self.rows.len());
        if free >= MAX_NODES {
            return None;
        }
        let ix = NodeIx::of(free);
        let old = self.names.insert(node.id, ix);
        assert!(old.is_none(), "node {} is in the table already", node.id);
        if free == self.rows.len() {
            self.rows.push(None);
        }
        self.rows[free] = Some(node);
        Some(ix)
    }

    pub(super) fn remove(&mut self, ix: NodeIx) -> Option<Node> {
        assert_ne!(ix, NodeIx::MYSELF, "a node cannot remove itself");
        let node = self.rows.get_mut(ix.index())?.take()?;
        self.names.remove(&node.id);
        Some(node)
    }

    pub(super) fn rename(&mut self, ix: NodeIx, id: NodeId) {
        let node = &mut self[ix];
        let old = core::mem::replace(&mut node.id, id);
        self.names.remove(&old);
        self.names.insert(id, ix);
    }

    pub(super) fn find(&self, id: NodeId) -> Option<NodeIx> {
        self.names.get(&id).copied()
    }

    /// The node named by text that a client gave.
    pub(super) fn find_text(&self, text: &[u8]) -> Option<NodeIx> {
        self.find(NodeId::parse(text)?)
    }

    pub(super) fn myself(&self) -> &Node {
        &self[NodeIx::MYSELF]
    }

    pub(super) fn myself_mut(&mut self) -> &mut Node {
        &mut self[NodeIx::MYSELF]
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (NodeIx, &Node)> {
        self.rows.iter().enumerate().filter_map(|(i, row)| Some((NodeIx::of(i), row.as_ref()?)))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (NodeIx, &mut Node)> {
        self.rows.iter_mut().enumerate().filter_map(|(i, row)| Some((NodeIx::of(i), row.as_mut()?)))
    }

    /// All rows but this node's own; the list may be walked while the table changes.
    pub(super) fn others(&self) -> Vec<NodeIx> {
        self.iter().map(|(ix, _)| ix).filter(|&ix| ix != NodeIx::MYSELF).collect()
    }

    pub(super) fn get(&self, ix: NodeIx) -> Option<&Node> {
        self.rows.get(ix.index())?.as_ref()
    }

    /// The epoch of the slots of the node's shard, as far as known: its own, or its primary's for a replica.
    pub(super) fn epoch(&self, ix: NodeIx) -> u64 {
        match self[ix].role {
            Role::Replica { of: Some(primary) } => self[primary].config_epoch,
            _ => self[ix].config_epoch,
        }
    }

    /// The highest epoch of any node.
    pub(super) fn highest_epoch(&self) -> u64 {
        self.iter().map(|(ix, _)| self.epoch(ix)).max().unwrap_or(0)
    }
}

impl core::ops::Index<NodeIx> for NodeTable {
    type Output = Node;

    fn index(&self, ix: NodeIx) -> &Node {
        self.get(ix).expect("rows of removed nodes are forgotten everywhere")
    }
}

impl core::ops::IndexMut<NodeIx> for NodeTable {
    fn index_mut(&mut self, ix: NodeIx) -> &mut Node {
        let row = self.rows.get_mut(ix.index()).and_then(Option::as_mut);
        row.expect("rows of removed nodes are forgotten everywhere")
    }
}
