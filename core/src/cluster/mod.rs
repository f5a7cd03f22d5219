//! The cluster machine: membership, failure detection, slot ownership and epochs of one node, spoken over the bus.
//!
//! It is a function of its inputs: the owner feeds it bytes and time, and carries out its [`Action`]s. It knows
//! nothing of keys. This node is a primary always; other nodes' replicas are known, shown and voted for.
//!
//! ```
//! use whimbrel_core::cluster::{Cluster, ClusterConfig, Input};
//! use whimbrel_core::time::{Mono, Now, Wall};
//! let now = Now { mono: Mono(0), wall: Wall(1_700_000_000_000_000) };
//! let mut cluster = Cluster::new(ClusterConfig::default(), 7, now, None)?;
//! let mut out = Vec::new();
//! cluster.handle(now, Input::Ticked, &mut out);
//! assert_eq!(cluster.view().rows.len(), 1);
//! # Ok::<(), whimbrel_core::cluster::Corrupt>(())
//! ```

pub mod admin;
mod announce;
mod boundary;
mod claims;
mod conf;
mod config;
mod epochs;
mod failure;
mod faults;
mod handshake;
mod hear;
mod links;
mod members;
mod node_table;
mod open_slots;
mod operator;
mod ownership;
mod partings;
mod periodic;
mod receive;
mod refused;
pub mod render;
mod standing;
mod stats;
pub mod takeover;
mod view;
mod vote;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

pub use boundary::{Action, Input};
pub use conf::Corrupt;
pub use config::{Announced, BUS_PORT_OFFSET, ClusterConfig, EndpointType};
pub use epochs::Bump;
pub use faults::Fault;
pub use operator::SetSlot;
pub use ownership::Reason;
pub use refused::Refused;
pub use standing::Why;
pub use stats::Stats;
pub use takeover::Confirmed;
pub use view::{Health, LinkRow, Row, View, ViewRole};

use crate::ids::{LinkId, NodeId, ShardId, Ticket};
use crate::rng::Rng;
use crate::time::{Mono, Now};
use crate::wire::bus::{Cast, IpText};
use node_table::{Node, NodeTable, Role, Stage};

/// The machine. See the [module](self).
#[derive(Debug)]
pub struct Cluster {
    config: ClusterConfig,
    rng: Rng,
    now: Now,
    nodes: NodeTable,
    slots: ownership::Ownership,
    open: open_slots::OpenSlots,
    grants: takeover::Grants,
    /// Slots taken over whose source may still claim them.
    takings: takeover::Takings,
    partings: partings::Partings,
    links: links::Links,
    epochs: epochs::Epochs,
    /// Until when a node must not be learned by gossip.
    blacklist: BTreeMap<NodeId, Mono>,
    standing: standing::Standing,
    stats: Stats,
    /// What DEBUG made go wrong.
    faults: faults::Faults,
    next_tick: Mono,
    ticks: u64,
    /// Nodes suspected at the last tick.
    suspected: usize,
    version: u64,
    told_version: u64,
    tickets: u64,
    /// A save that nothing waits for is under way.
    saving: Option<Ticket>,
    todo: Todo,
    /// Actions of this step. A save comes before all of them.
    queue: Vec<Action>,
}

/// What a step owes before it ends.
#[derive(Debug, Default)]
struct Todo {
    save: bool,
    fsync: bool,
    /// Decide anew whether the cluster serves.
    state: bool,
    /// Tell all members about this node.
    announce: bool,
}

impl Todo {
    /// nodes.conf changed in a way that may be learned again after a power cut.
    fn save(&mut self) {
        self.save = true;
    }

    /// nodes.conf changed in a way that others will rely on.
    fn save_durably(&mut self) {
        self.save = true;
        self.fsync = true;
    }
}

impl Cluster {
    /// A node with the identity and knowledge in `saved`, the content of nodes.conf; a new one without.
    ///
    /// # Errors
    /// [`Corrupt`] says in which line and why the file cannot be believed.
    pub fn new(config: ClusterConfig, seed: u64, now: Now, saved: Option<&[u8]>) -> Result<Self, Corrupt> {
        let mut rng = Rng::new(seed);
        let saved = saved.filter(|bytes| !bytes.is_empty()).map(conf::parse).transpose()?;
        let (id, shard) = (NodeId::random(&mut rng), ShardId::random(&mut rng));
        let mut myself = Node::new(id, shard, Stage::Member, now.mono);
        myself.role = Role::Primary;
        let mut cluster = Self {
            config,
            rng,
            now,
            nodes: NodeTable::new(myself),
            slots: ownership::Ownership::new(),
            open: open_slots::OpenSlots::default(),
            grants: takeover::Grants::default(),
            takings: takeover::Takings::default(),
            partings: partings::Partings::default(),
            links: links::Links::default(),
            epochs: epochs::Epochs::default(),
            blacklist: BTreeMap::new(),
            standing: standing::Standing::new(now.mono),
            stats: Stats::default(),
            faults: faults::Faults::default(),
            next_tick: now.mono,
            ticks: 0,
            suspected: 0,
            version: 0,
            told_version: 0,
            tickets: 0,
            saving: None,
            todo: Todo::default(),
            queue: Vec::new(),
        };
        match saved {
            Some(saved) => cluster.restore(saved),
            None => cluster.todo.save_durably(),
        }
        cluster.introduce_myself();
        cluster.todo.state = true;
        Ok(cluster)
    }

    /// Takes other settings.
    pub fn configure(&mut self, config: ClusterConfig) {
        self.config = config;
        self.introduce_myself();
        self.todo.state = true;
        // Some settings show in every redirection.
        self.changed();
    }

    /// Something happened. Actions are appended to `out`.
    pub fn handle(&mut self, now: Now, input: Input<'_>, out: &mut Vec<Action>) {
        self.begin(now);
        match input {
            Input::Opened { link, peer, local } => self.link_opened(link, peer, local),
            Input::Connected { link, local } => self.link_connected(link, local),
            Input::ConnectFailed { link, reason } => self.link_failed(link, reason),
            Input::Filled { link, bytes } => self.link_filled(link, bytes),
            Input::Closed { link } => self.link_gone(link),
            Input::Saved { ticket } => self.saving = self.saving.filter(|&under_way| under_way > ticket),
            Input::Ticked => self.tick(),
        }
        self.settle(out);
    }

    /// When to call [`handle`](Self::handle) with [`Input::Ticked`].
    #[must_use]
    pub fn poll_timeout(&self) -> Mono {
        self.next_tick
    }

    /// The owner tells how many bytes of a link are not sent yet.
    pub fn note_outbox(&mut self, link: LinkId, bytes: usize) {
        if let Some(link) = self.links.get_mut(link) {
            link.outbox = bytes;
        }
    }

    /// Publishes a message to the other nodes: to all of them, or to those of this shard for a sharded channel.
    pub fn publish(
        &mut self,
        now: Now,
        sharded: bool,
        channel: &[u8],
        message: &[u8],
        out: &mut Vec<Action>,
    ) {
        self.begin(now);
        let shard = self.nodes.myself().shard;
        match sharded {
            true => self.cast(&Cast::PublishShard { channel, message }, |node| node.shard == shard),
            false => self.cast(&Cast::Publish { channel, message }, |_| true),
        }
        self.settle(out);
    }

    /// Every step begins with the time.
    fn begin(&mut self, now: Now) {
        self.now = now;
    }

    /// Every step ends with what it owes: the state, the save before everything that depends on it, the news.
    fn settle(&mut self, out: &mut Vec<Action>) {
        if self.todo.state {
            self.update_state();
        }
        if core::mem::take(&mut self.todo.announce) {
            self.broadcast_pong();
        }
        self.save(out);
        out.append(&mut self.queue);
        self.tell_ownership(out);
        if self.version != self.told_version {
            self.told_version = self.version;
            out.push(Action::TopologyChanged);
        }
    }

    /// Saves if it is due. A save that must be durable is emitted at once; others wait for one under way.
    fn save(&mut self, out: &mut Vec<Action>) {
        let Todo { save, fsync, .. } = self.todo;
        if !save || !fsync && self.saving.is_some() {
            return;
        }
        (self.todo.save, self.todo.fsync) = (false, false);
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.saving = Some(ticket);
        let bytes = conf::write(&self.view(), &self.takings, &self.partings, self.slots.unannounced()).into();
        out.push(Action::Save { ticket, bytes, fsync });
    }

    /// Something that the view's readers depend on changed.
    fn changed(&mut self) {
        self.version += 1;
    }

    /// Writes the settings into this node's own row.
    fn introduce_myself(&mut self) {
        let config = &self.config;
        let me = self.nodes.myself_mut();
        let before = (me.address, me.announced.clone(), me.nofailover);
        if !config.announce_ip.is_empty() {
            me.address.ip = IpText::new(config.announce_ip.as_bytes()).unwrap_or_default();
        }
        me.address.port = config.told_port();
        me.address.tls_port = config.told_tls_port();
        me.address.bus_port = config.told_bus_port();
        me.announced = config.announced.clone();
        me.nofailover = config.no_failover;
        me.capabilities = announce::OWN_CAPABILITIES;
        if (me.address, me.announced.clone(), me.nofailover) != before {
            self.todo.save();
            self.changed();
        }
    }

    /// The wall-clock millisecond of a moment, by the clocks of this step.
    fn wall_ms(&self, at: Mono) -> u64 {
        let (now, mono) = (self.now.wall.0, self.now.mono);
        let us = if at <= mono { now.saturating_sub(mono.since(at).0) } else { now + at.since(mono).0 };
        us / 1000
    }
}

#[cfg(test)]
mod tests;
