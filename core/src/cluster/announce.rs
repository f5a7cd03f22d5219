//! What this node says: headers, gossip, pings and pongs, broadcasts.

use alloc::vec::Vec;

use bytes::Bytes;

use super::Cluster;
use super::boundary::Action;
use super::links::Side;
use super::node_table::{Node, NodeIx};
use crate::ids::LinkId;
use crate::slots::SlotSet;
use crate::time::Mono;
use crate::wire::bus::{
    Bitmap, Body, Cast, Extension, Gossip, Header, IpText, Kind, Message, MessageFlags, NodeFlags, Talk,
};

/// At least so many other nodes are spoken of in a ping, when there are so many.
const LEAST_GOSSIP: usize = 3;

/// What this node can do, in its flags.
pub(super) const OWN_CAPABILITIES: NodeFlags =
    NodeFlags(NodeFlags::EXTENSIONS.0 | NodeFlags::LIGHT_PUBSUB.0 | NodeFlags::LIGHT_MODULE.0);

impl Cluster {
    fn header<'a>(&self, kind: Kind, slots: &'a SlotSet) -> Header<'a> {
        let me = self.nodes.myself();
        let (port, other_port) = me.address.ports(self.config.tls_cluster);
        let talk = matches!(kind, Kind::Ping | Kind::Pong | Kind::Meet);
        Header {
            port,
            current_epoch: self.epochs.current,
            config_epoch: me.config_epoch,
            offset: me.offset,
            sender: me.id,
            slots: Bitmap(slots.as_bitmap()),
            replica_of: None,
            // The address found out from sockets is not told: others see it on their own sockets.
            my_ip: IpText::new(self.config.announce_ip.as_bytes()).unwrap_or_default(),
            other_port,
            bus_port: me.address.bus_port,
            flags: me.flags() | NodeFlags::MYSELF,
            state: self.standing.state,
            message_flags: MessageFlags::EXT_DATA.when(talk),
        }
    }

    fn message(&self, body: &Body<'_>) -> Bytes {
        let mut slots = self.slots.slots_of(NodeIx::MYSELF).cloned().unwrap_or_default();
        self.withhold(&mut slots);
        let header = self.header(body.kind(), &slots);
        Message::Full { header, body: body.clone() }.encode().into()
    }

    fn send_on(&mut self, link: LinkId, kind: Kind, bytes: Bytes) {
        if let Some(open) = self.links.get_mut(link) {
            open.outbox += bytes.len();
            self.stats.sent(kind, bytes.len());
            self.queue.push(Action::Send { link, bytes });
        }
    }

    /// Sends to a node over the link this node opened; without one the message is lost, as the protocol has it.
    pub(super) fn send(&mut self, to: NodeIx, body: &Body<'_>) {
        if let Some(link) = self.nodes[to].outbound.up() {
            let bytes = self.message(body);
            self.send_on(link, body.kind(), bytes);
        }
    }

    /// Sends the same to all members.
    pub(super) fn broadcast(&mut self, body: &Body<'_>) {
        let bytes = self.message(body);
        for to in self.nodes.others() {
            let node = &self.nodes[to];
            if let Some(link) = node.outbound.up().filter(|_| !node.in_handshake()) {
                self.send_on(link, body.kind(), bytes.clone());
            }
        }
    }

    /// Tells all members this node's slots and epoch at once instead of with the next ping.
    pub(super) fn broadcast_pong(&mut self) {
        for to in self.nodes.others() {
            let node = &self.nodes[to];
            if let Some(link) = node.outbound.up().filter(|_| !node.in_handshake()) {
                self.send_talk(link, Kind::Pong);
            }
        }
    }

    pub(super) fn send_ping(&mut self, to: NodeIx) {
        if let Some(link) = self.nodes[to].outbound.up() {
            self.nodes[to].ping_sent = Some(self.now.mono);
            self.send_talk(link, Kind::Ping);
        }
    }

    pub(super) fn send_meet(&mut self, to: NodeIx) {
        if let Some(link) = self.nodes[to].outbound.up() {
            self.nodes[to].meet_sent = Some(self.now.mono);
            self.send_talk(link, Kind::Meet);
        }
    }

    /// Answers what came on `link`.
    pub(super) fn send_pong(&mut self, link: LinkId) {
        self.send_talk(link, Kind::Pong);
    }

    fn send_talk(&mut self, link: LinkId, kind: Kind) {
        let Some(open) = self.links.get(link) else { return };
        let to = open.node;
        let extended =
            open.extensions || to.is_some_and(|ix| self.nodes[ix].capabilities.has(NodeFlags::EXTENSIONS));
        let gossip = self.choose_gossip(to);
        let bytes = {
            let extensions = if extended { self.extensions() } else { Vec::new() };
            let talk = Talk { gossip, spoiled: false, extensions };
            self.message(&match kind {
                Kind::Meet => Body::Meet(talk),
                Kind::Pong => Body::Pong(talk),
                _ => Body::Ping(talk),
            })
        };
        self.send_on(link, kind, bytes);
    }

    /// Records about this node in the order of Valkey: the shard comes last and always.
    fn extensions(&self) -> Vec<Extension<'_>> {
        let me = self.nodes.myself();
        let told = &me.announced;
        let texts = [
            (told.hostname.as_bytes(), Extension::Hostname as fn(_) -> _),
            (told.nodename.as_bytes(), Extension::Nodename),
            (told.client_ipv4.as_bytes(), Extension::ClientIpv4),
            (told.client_ipv6.as_bytes(), Extension::ClientIpv6),
        ];
        let ports = [
            (told.client_port, Extension::ClientPort as fn(_) -> _),
            (told.client_tls_port, Extension::ClientTlsPort),
        ];
        let mut out = Vec::new();
        out.extend(texts.into_iter().filter(|(text, _)| !text.is_empty()).map(|(text, record)| record(text)));
        out.extend(ports.into_iter().filter(|&(port, _)| port != 0).map(|(port, record)| record(port)));
        if !told.zone.is_empty() {
            out.push(Extension::Zone(told.zone.as_bytes()));
        }
        for (&node, &until) in &self.blacklist {
            // Rounded down: rounded up, two nodes that tell each other would never end.
            let ttl_s = until.since(self.now.mono).0 / 1_000_000;
            if ttl_s > 0 {
                out.push(Extension::Forgotten { node, ttl_s });
            }
        }
        out.push(Extension::Shard(me.shard));
        out
    }

    /// Speaks of some nodes at random, and of all that are suspected.
    fn choose_gossip(&mut self, to: Option<NodeIx>) -> Vec<Gossip> {
        let known = self.nodes.len();
        let share = known * usize::from(self.config.gossip_perc) / 100;
        let wanted = share.max(LEAST_GOSSIP).min(known.saturating_sub(2));
        let eligible = |&(ix, node): &(NodeIx, &Node)| {
            let useless = node.outbound.up().is_none() && self.slots.count(ix) == 0;
            ix != NodeIx::MYSELF
                && Some(ix) != to
                && !node.suspected()
                && !node.in_handshake()
                && !node.noaddr
                && !useless
        };
        let mut pool: Vec<NodeIx> = self.nodes.iter().filter(eligible).map(|(ix, _)| ix).collect();
        let mut chosen = Vec::new();
        while chosen.len() < wanted && !pool.is_empty() {
            let pick = self.rng.index(pool.len());
            chosen.push(pool.swap_remove(pick));
        }
        let suspects = self
            .nodes
            .iter()
            .filter(|(ix, node)| node.suspected() && !node.in_handshake() && !node.noaddr && Some(*ix) != to);
        chosen.extend(suspects.map(|(ix, _)| ix).take(self.suspected));
        chosen.into_iter().map(|ix| self.gossip_about(ix)).collect()
    }

    fn gossip_about(&self, ix: NodeIx) -> Gossip {
        let node = &self.nodes[ix];
        let (port, other_port) = node.address.ports(self.config.tls_cluster);
        let seconds = |at: Option<Mono>| at.map_or(0, |at| (self.wall_ms(at) / 1000) as u32);
        Gossip {
            node: node.id,
            ping_sent_s: seconds(node.ping_sent),
            pong_received_s: seconds(node.pong_received),
            ip: node.address.ip,
            port,
            bus_port: node.address.bus_port,
            flags: node.flags(),
            other_port,
        }
    }

    /// A pub/sub or module message to one node, in the short form if the node and the link are ready for it.
    pub(super) fn cast(&mut self, cast: &Cast<'_>, to: impl Fn(&Node) -> bool) {
        let kind = cast.kind();
        let able = match kind {
            Kind::Module => NodeFlags::LIGHT_MODULE,
            _ => NodeFlags::LIGHT_PUBSUB,
        };
        let (mut light, mut full) = (None, None);
        for ix in self.nodes.others() {
            let node = &self.nodes[ix];
            let Some(link) = node.outbound.up().filter(|_| !node.in_handshake() && to(node)) else {
                continue;
            };
            let ready = self.links.get(link).is_some_and(|l| l.side == Side::Outbound && l.ponged);
            let bytes = if node.capabilities.has(able) && ready {
                light.get_or_insert_with(|| Bytes::from(Message::Light(*cast).encode())).clone()
            } else {
                full.get_or_insert_with(|| self.message(&Body::Cast(*cast))).clone()
            };
            self.send_on(link, kind, bytes);
        }
    }
}
