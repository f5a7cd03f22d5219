//! The published view: what everybody but the cluster machine itself may know of the cluster.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use super::Cluster;
use super::config::{Announced, EndpointType};
use super::links::Side;
use super::node_table::{Health as RowHealth, Node, NodeIx, Role};
use super::standing::Why;
use super::stats::Stats;
use crate::ids::{NodeId, ShardId};
use crate::slots::{SLOTS, Slot, SlotRange, SlotRanges, SlotSet};
use crate::time::{Mono, Now};
use crate::wire::bus::{IpText, State};

/// What a node is in its shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ViewRole {
    /// It has not said yet.
    Unknown,
    /// A primary.
    Primary,
    /// A replica of that node, if this node knows it.
    Replica(Option<NodeId>),
}

/// How a node is seen from here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Health {
    /// It answers.
    Up,
    /// This node cannot reach it (`fail?`).
    Suspected,
    /// A majority cannot reach it (`fail`).
    Failed,
}

/// One known node.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    /// Its name; a random one while `handshake`.
    pub id: NodeId,
    /// Its shard.
    pub shard: ShardId,
    /// Its address; empty when unknown.
    pub ip: IpText,
    /// Its port for TCP clients, 0 if none.
    pub port: u16,
    /// Its port for TLS clients, 0 if none.
    pub tls_port: u16,
    /// Its bus port.
    pub bus_port: u16,
    /// What else it tells about itself.
    pub announced: Announced,
    /// Its role.
    pub role: ViewRole,
    /// Whether this row is about this node itself.
    pub myself: bool,
    /// How it is seen from here.
    pub health: Health,
    /// Its real name is not known yet.
    pub handshake: bool,
    /// Its address is not known.
    pub noaddr: bool,
    /// It will not start elections.
    pub nofailover: bool,
    /// When the unanswered ping was sent, unix milliseconds; 0: none is.
    pub ping_sent_ms: u64,
    /// When the last pong came, unix milliseconds.
    pub pong_received_ms: u64,
    /// The epoch of its slots, or of its primary's.
    pub config_epoch: u64,
    /// Whether this node's link to it is up.
    pub connected: bool,
    /// Its replication offset.
    pub offset: u64,
    /// Its slots, ascending.
    pub slots: SlotRanges,
    /// How many slots that is.
    pub slot_count: usize,
}

/// One stream of the bus that belongs to a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkRow {
    /// Whether this node opened it.
    pub outgoing: bool,
    /// The other end.
    pub node: NodeId,
    /// Since when it exists, unix milliseconds.
    pub created_ms: u64,
    /// Bytes waiting to be sent.
    pub outbox: usize,
}

/// Index of "nobody" in the table of owners.
const NOBODY: u16 = u16::MAX;

/// The cluster as this node saw it at one moment.
#[derive(Clone, PartialEq, Debug)]
pub struct View {
    /// Grows with every change that routing depends on.
    pub version: u64,
    owners: Box<[u16]>,
    /// All known nodes; the first is this node.
    pub rows: Vec<Row>,
    /// Whether the cluster serves.
    pub state: State,
    /// Why not.
    pub why: Option<Why>,
    /// At least every epoch heard of.
    pub current_epoch: u64,
    /// The election in which this node voted last.
    pub last_vote_epoch: u64,
    /// How many primaries own slots.
    pub size: usize,
    /// Slots that this node moves away by hand, and to whom; ascending.
    pub migrating: Vec<(Slot, NodeId)>,
    /// Slots that this node fetches by hand, and from whom; ascending.
    pub importing: Vec<(Slot, NodeId)>,
    /// Links, in the order of their numbers.
    pub links: Vec<LinkRow>,
    /// What was said on the bus.
    pub stats: Stats,
    /// Links closed because of `cluster-link-sendbuf-limit`.
    pub links_over_limit: u64,
    /// `cluster-preferred-endpoint-type`.
    pub endpoint_type: EndpointType,
    /// `tls-cluster`.
    pub tls_cluster: bool,
}

impl View {
    /// This node.
    #[must_use]
    pub fn myself(&self) -> &Row {
        &self.rows[0]
    }

    /// The view of a node that is in no cluster: itself alone, no slot owned.
    #[must_use]
    pub fn alone(now: Now) -> Arc<Self> {
        let machine = Cluster::new(super::ClusterConfig::default(), 0, now, None);
        machine.expect("nothing saved cannot be corrupt").view()
    }

    /// The row of a slot's owner.
    #[must_use]
    pub fn owner_index(&self, slot: Slot) -> Option<usize> {
        match self.owners[slot.index()] {
            NOBODY => None,
            index => Some(usize::from(index)),
        }
    }

    /// The owner of a slot.
    #[must_use]
    pub fn owner(&self, slot: Slot) -> Option<&Row> {
        self.owner_index(slot).map(|index| &self.rows[index])
    }

    /// Whether this node owns the slot.
    #[must_use]
    #[inline]
    pub fn is_mine(&self, slot: Slot) -> bool {
        self.owners[slot.index()] == 0
    }

    /// Runs of slots with one owner, ascending.
    pub fn runs(&self) -> impl Iterator<Item = (SlotRange, &Row)> {
        runs(&self.owners).map(|(range, owner)| (range, &self.rows[owner]))
    }

    /// Whom this node moves the slot to by hand.
    #[must_use]
    pub fn migrating_to(&self, slot: Slot) -> Option<NodeId> {
        mark(&self.migrating, slot)
    }

    /// Whom this node fetches the slot from by hand.
    #[must_use]
    pub fn importing_from(&self, slot: Slot) -> Option<NodeId> {
        mark(&self.importing, slot)
    }

    /// The row of a node by name.
    #[must_use]
    pub fn find(&self, id: NodeId) -> Option<&Row> {
        self.rows.iter().find(|row| row.id == id)
    }

    /// The replicas of a primary.
    pub fn replicas(&self, of: NodeId) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.role == ViewRole::Replica(Some(of)))
    }
}

/// Runs of slots with one owner, ascending, with the row of the owner.
fn runs(owners: &[u16]) -> impl Iterator<Item = (SlotRange, usize)> {
    let mut first = 0;
    owners.chunk_by(|a, b| a == b).filter_map(move |run| {
        let (start, owner) = (first, run[0]);
        first += run.len() as u16;
        let range = SlotRange::new(start, first - 1)?;
        (owner != NOBODY).then_some((range, usize::from(owner)))
    })
}

fn mark(marks: &[(Slot, NodeId)], slot: Slot) -> Option<NodeId> {
    let at = marks.binary_search_by_key(&slot, |&(slot, _)| slot).ok()?;
    Some(marks[at].1)
}

impl Row {
    /// Whether it owns slots as a primary: its word counts.
    #[must_use]
    pub fn is_voter(&self) -> bool {
        self.role == ViewRole::Primary && self.slot_count > 0
    }

    /// Whether it is a replica.
    #[must_use]
    pub fn is_replica(&self) -> bool {
        matches!(self.role, ViewRole::Replica(_))
    }
}

impl Cluster {
    /// A number that changes whenever something changes that routing, CLUSTER SLOTS or CLUSTER SHARDS depend on.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// What this node sees now. Costs tens of microseconds; meant to be taken on change and a few times a second.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        let mut index = [NOBODY; 1].repeat(self.nodes.iter().last().map_or(1, |(ix, _)| ix.index() + 1));
        let mut rows = Vec::with_capacity(self.nodes.len());
        for (ix, node) in self.nodes.iter() {
            index[ix.index()] = rows.len() as u16;
            rows.push(self.row(ix, node));
        }
        let mut owners = vec![NOBODY; SLOTS].into_boxed_slice();
        for (range, ix) in self.slots.runs() {
            let owner = index[ix.index()];
            owners[range.first.index()..=range.last.index()].fill(owner);
            rows[usize::from(owner)].slots.0.push(*range);
        }
        let named = |(slot, ix): (Slot, NodeIx)| (slot, self.nodes[ix].id);
        Arc::new(View {
            version: self.version,
            owners,
            rows,
            state: self.standing.state,
            why: self.standing.why,
            current_epoch: self.epochs.current,
            last_vote_epoch: self.epochs.last_vote,
            size: self.size(),
            migrating: self.open.migrating().map(named).collect(),
            importing: self.open.importing().map(named).collect(),
            links: self.link_rows(),
            stats: self.stats.clone(),
            links_over_limit: self.links.over_limit,
            endpoint_type: self.config.endpoint_type,
            tls_cluster: self.config.tls_cluster,
        })
    }

    /// The same, but those of `slots` that are this node's have the owner they had in `before`.
    pub(crate) fn view_without(&self, slots: &SlotSet, before: &View) -> Arc<View> {
        let mut view = self.view();
        let shown = Arc::make_mut(&mut view);
        for slot in slots.iter().filter(|&slot| self.slots.is_mine(slot)) {
            let owner = before.owner(slot).and_then(|row| shown.rows.iter().position(|r| r.id == row.id));
            shown.owners[slot.index()] = owner.map_or(NOBODY, |index| index as u16);
        }
        for row in &mut shown.rows {
            (row.slots, row.slot_count) = (SlotRanges::default(), 0);
        }
        for (range, owner) in runs(&shown.owners) {
            shown.rows[owner].slots.0.push(range);
            shown.rows[owner].slot_count += range.iter().count();
        }
        view
    }

    fn row(&self, ix: NodeIx, node: &Node) -> Row {
        let at = |at: Option<Mono>| at.map_or(0, |at| self.wall_ms(at));
        Row {
            id: node.id,
            shard: node.shard,
            ip: node.address.ip,
            port: node.address.port,
            tls_port: node.address.tls_port,
            bus_port: node.address.bus_port,
            announced: node.announced.clone(),
            role: match node.role {
                Role::Unknown => ViewRole::Unknown,
                Role::Primary => ViewRole::Primary,
                Role::Replica { of } => ViewRole::Replica(of.map(|ix| self.nodes[ix].id)),
            },
            myself: ix == NodeIx::MYSELF,
            health: match node.health {
                RowHealth::Up => Health::Up,
                RowHealth::Suspected => Health::Suspected,
                RowHealth::Failed { .. } => Health::Failed,
            },
            handshake: node.in_handshake(),
            noaddr: node.noaddr,
            nofailover: node.nofailover,
            ping_sent_ms: at(node.ping_sent),
            pong_received_ms: at(node.pong_received),
            config_epoch: self.nodes.epoch(ix),
            connected: ix == NodeIx::MYSELF || node.outbound.up().is_some(),
            offset: node.offset,
            slots: SlotRanges::default(),
            slot_count: self.slots.count(ix),
        }
    }

    fn link_rows(&self) -> Vec<LinkRow> {
        let row = |link: &super::links::Link| {
            let node = &self.nodes[link.node?];
            Some(LinkRow {
                outgoing: link.side == Side::Outbound,
                node: node.id,
                created_ms: self.wall_ms(link.created),
                outbox: link.outbox,
            })
        };
        self.links.iter().filter_map(|(_, link)| row(link)).collect()
    }
}
