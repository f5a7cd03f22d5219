//! What others say about other nodes, and about themselves in extension records.

use alloc::string::String;

use super::Cluster;
use super::node_table::{Address, CAPABILITIES, Health, Node, NodeIx, Role, Stage};
use crate::ids::ShardId;
use crate::time::{Mono, Span};
use crate::wire::bus::{Extension, Gossip, NodeFlags, Talk};

/// A pong that a peer heard so far in our future is an error of its clock.
const FUTURE: Span = Span::ms(500);

impl Cluster {
    /// Takes in the gossip of `sender`: failure reports, pongs heard elsewhere, nodes not known yet.
    pub(super) fn hear_gossip(&mut self, sender: NodeIx, gossip: &[Gossip]) {
        for entry in gossip {
            match self.nodes.find(entry.node) {
                Some(NodeIx::MYSELF) => {}
                Some(about) => self.hear_about(sender, about, entry),
                None => self.hear_of_new(entry),
            }
        }
    }

    fn hear_about(&mut self, sender: NodeIx, about: NodeIx, entry: &Gossip) {
        let failing = entry.flags.has(NodeFlags::PFAIL | NodeFlags::FAIL);
        if failing {
            if self.is_voter(sender) && sender != about {
                self.add_report(about, sender);
                self.fail_if_agreed(about);
            }
            return;
        }
        self.remove_report(about, sender);
        let (node, heard) = (&self.nodes[about], self.mono_of_s(entry.pong_received_s));
        let quiet = node.ping_sent.is_none() && node.reports.is_empty();
        let calm = node.health == Health::Up && !node.noaddr && !node.meet;
        if quiet && calm && heard > node.pong_received && heard <= Some(self.now.mono + FUTURE) {
            self.nodes[about].pong_received = heard;
        }
        let node = &self.nodes[about];
        if node.health != Health::Up && !entry.flags.has(NodeFlags::NOADDR) {
            let address = self.gossip_address(entry);
            if !address.ip.is_empty() {
                self.move_node(about, address);
            }
        }
    }

    fn gossip_address(&self, entry: &Gossip) -> Address {
        Address::told(entry.ip, self.config.tls_cluster, entry.port, entry.other_port, entry.bus_port)
    }

    /// A member knows a node that this node does not.
    pub(super) fn hear_of_new(&mut self, entry: &Gossip) {
        let unusable = entry.flags.has(NodeFlags::NOADDR | NodeFlags::HANDSHAKE) || entry.ip.is_empty();
        if unusable || self.is_blacklisted(entry.node) {
            return;
        }
        let now = self.now.mono;
        let mut node = Node::new(entry.node, ShardId::random(&mut self.rng), Stage::Member, now);
        node.address = self.gossip_address(entry);
        node.role = if entry.flags.has(NodeFlags::PRIMARY) {
            Role::Primary
        } else if entry.flags.has(NodeFlags::REPLICA) {
            Role::Replica { of: None }
        } else {
            Role::Unknown
        };
        node.health = if entry.flags.has(NodeFlags::FAIL) {
            Health::Failed { since: now }
        } else if entry.flags.has(NodeFlags::PFAIL) {
            Health::Suspected
        } else {
            Health::Up
        };
        node.nofailover = entry.flags.has(NodeFlags::NOFAILOVER);
        node.migrate_to = entry.flags.has(NodeFlags::MIGRATE_TO);
        node.capabilities = entry.flags.masked(CAPABILITIES);
        if self.nodes.insert(node).is_none() {
            tracing::warn!(node = %entry.node, "the node table is full");
            return;
        }
        tracing::info!(node = %entry.node, ip = %entry.ip, "learned of a node");
        self.todo.save();
        self.todo.state = true;
        self.changed();
    }

    /// When a wall-clock second of a peer was on our monotonic clock; `None` for "never".
    fn mono_of_s(&self, seconds: u32) -> Option<Mono> {
        let (then, now) = (u64::from(seconds) * 1_000_000, self.now.wall.0);
        let mono = self.now.mono.0;
        let at = if then <= now { mono.saturating_sub(now - then) } else { mono.saturating_add(then - now) };
        (seconds != 0).then_some(Mono(at))
    }

    /// Takes in what the sender says about itself beyond its header: what it does not say, it has no more.
    pub(super) fn hear_extensions(&mut self, sender: NodeIx, talk: &Talk<'_>) {
        let mut told = super::config::Announced::default();
        let mut shard = None;
        for extension in &talk.extensions {
            match *extension {
                Extension::Hostname(text) => told.hostname = acceptable(text),
                Extension::Nodename(text) => told.nodename = acceptable(text),
                Extension::ClientIpv4(text) => told.client_ipv4 = acceptable(text),
                Extension::ClientIpv6(text) => told.client_ipv6 = acceptable(text),
                Extension::ClientPort(port) => told.client_port = port,
                Extension::ClientTlsPort(port) => told.client_tls_port = port,
                Extension::Zone(text) => told.zone = acceptable(text),
                Extension::Shard(id) => shard = Some(id),
                Extension::Forgotten { .. } => {}
                Extension::Unknown { kind, .. } => tracing::debug!(kind, "unknown extension"),
            }
        }
        let node = &mut self.nodes[sender];
        if node.announced != told {
            node.announced = told;
            self.todo.save();
            self.changed();
        }
        if let Some(shard) = shard {
            self.hear_shard(sender, shard);
        }
        for extension in &talk.extensions {
            if let Extension::Forgotten { node, ttl_s } = *extension {
                self.told_to_forget(sender, node, ttl_s);
            }
        }
    }

    /// A replica has the shard of its primary, whatever it says.
    fn hear_shard(&mut self, sender: NodeIx, shard: ShardId) {
        let node = &mut self.nodes[sender];
        let follows = matches!(node.role, Role::Replica { of: Some(_) });
        if node.shard == shard || follows {
            return;
        }
        node.shard = shard;
        for (_, replica) in self.nodes.iter_mut() {
            if replica.role == (Role::Replica { of: Some(sender) }) {
                replica.shard = shard;
            }
        }
        self.todo.save_durably();
        self.changed();
    }
}

/// A text that nodes.conf can carry; anything else counts as not told.
fn acceptable(text: &[u8]) -> String {
    match core::str::from_utf8(text) {
        Ok(text) if super::conf::is_aux_text(text) => text.into(),
        _ => String::new(),
    }
}
