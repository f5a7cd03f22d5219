//! How nodes get to know each other: MEET, the exchange of real names, changed addresses.

use core::net::IpAddr;

use super::Cluster;
use super::node_table::{Address, Node, NodeIx, Role, Stage};
use super::receive::Sender;
use crate::ids::{LinkId, NodeId, ShardId};
use crate::wire::bus::{Body, Header, IpText, Kind, NodeFlags, Talk};

/// How many nodes may be in handshake at once: anybody can send MEET.
const MAX_HANDSHAKES: usize = 1024;

impl Cluster {
    /// Begins to introduce this node to whoever listens at an address. The node gets a random name until it tells
    /// its own. Nothing happens when that is under way already.
    pub(super) fn begin_handshake(&mut self, address: Address, meet: bool) -> Option<NodeIx> {
        let mut under_way = 0;
        for (ix, node) in self.nodes.iter().filter(|(_, node)| node.in_handshake()) {
            under_way += 1;
            let (a, b) = (&node.address, &address);
            if a.ip == b.ip && (a.port, a.tls_port, a.bus_port) == (b.port, b.tls_port, b.bus_port) {
                return Some(ix);
            }
        }
        if under_way >= MAX_HANDSHAKES {
            tracing::warn!("too many handshakes: one more is refused");
            return None;
        }
        let (id, shard) = (NodeId::random(&mut self.rng), ShardId::random(&mut self.rng));
        let mut node = Node::new(id, shard, Stage::Handshake, self.now.mono);
        node.address = address;
        node.meet = meet;
        let ix = self.nodes.insert(node)?;
        self.changed();
        Some(ix)
    }

    /// Deletes nodes that did not tell their name in time.
    pub(super) fn expire_handshakes(&mut self) {
        let (now, patience) = (self.now.mono, self.config.handshake_timeout());
        for ix in self.nodes.others() {
            let node = &self.nodes[ix];
            if node.in_handshake() && now.since(node.created) > patience {
                tracing::debug!(ip = %node.address.ip, port = node.address.port, "handshake given up");
                self.remove_node(ix);
            }
        }
    }

    /// Somebody sent a MEET: a stranger is taken in, with the nodes it knows; for a member it means that it misses a
    /// link of ours.
    pub(super) fn met(&mut self, link: LinkId, sender: Sender, header: &Header<'_>, talk: &Talk<'_>) {
        match sender {
            Sender::Stranger if self.links.is_inbound(link) => {
                let owner = self.links.node(link);
                let node = owner.or_else(|| self.begin_handshake(self.sender_address(link, header)?, false));
                let Some(node) = node else { return };
                if owner.is_none() {
                    self.bind_inbound(link, node);
                }
                if self.links.get(link).is_some_and(|l| l.extensions) {
                    self.nodes[node].capabilities |= NodeFlags::EXTENSIONS;
                }
                for entry in &talk.gossip {
                    if self.nodes.find(entry.node).is_none() {
                        self.hear_of_new(entry);
                    }
                }
            }
            Sender::Known(known) => {
                let node = &self.nodes[known];
                let aged = self.now.mono.since(node.created) > self.config.handshake_timeout();
                if aged && node.outbound.up().is_some() && self.links.is_inbound(link) {
                    // Opened anew it begins with a PING, by which the peer can tell whose link it is.
                    self.close_outbound(known);
                }
            }
            Sender::Stranger | Sender::Myself | Sender::Other => {}
        }
    }

    /// The node behind a placeholder tells its name. False when the placeholder is gone with the link.
    pub(super) fn complete_handshake(
        &mut self,
        placeholder: NodeIx,
        link: LinkId,
        sender: Sender,
        header: &Header<'_>,
    ) -> bool {
        match sender {
            Sender::Stranger => {
                self.nodes.rename(placeholder, header.sender);
                let node = &mut self.nodes[placeholder];
                node.stage = Stage::Member;
                node.role = if header.claims_primary() { Role::Primary } else { Role::Replica { of: None } };
                tracing::info!(node = %node.id, ip = %node.address.ip, "handshake completed");
                self.todo.save();
                self.todo.state = true;
                self.changed();
                true
            }
            Sender::Known(known) => {
                self.update_address(known, link, header);
                self.remove_node(placeholder);
                false
            }
            Sender::Myself | Sender::Other => {
                self.remove_node(placeholder);
                false
            }
        }
    }

    /// Whoever answers at the node's address is not the node: it was reset or replaced. Where the node is, and
    /// whether it still exists, is not known.
    pub(super) fn answered_by_other(&mut self, ix: NodeIx, other: NodeId) {
        let node = &mut self.nodes[ix];
        tracing::warn!(node = %node.id, %other, ip = %node.address.ip, "another node answers at its address");
        node.noaddr = true;
        node.address = Address::default();
        let (id, failed) = (node.id, node.failed());
        if !failed {
            self.set_failed(ix);
            self.broadcast(&Body::Fail(id));
        }
        self.close_outbound(ix);
        self.todo.save();
        self.todo.state = true;
        self.changed();
    }

    /// The address that the sender of a message announces, its socket filling in for the IP.
    fn sender_address(&self, link: LinkId, header: &Header<'_>) -> Option<Address> {
        let socket = self.links.get(link)?.peer;
        let ip = if header.my_ip.is_empty() { IpText::from_ip(socket) } else { header.my_ip };
        let tls = self.config.tls_cluster;
        Some(Address::told(ip, tls, header.port, header.other_port, header.bus_port))
    }

    /// A message of the node came on a link that is not ours to it: if it speaks from elsewhere than we think, it
    /// has moved.
    pub(super) fn update_address(&mut self, ix: NodeIx, link: LinkId, header: &Header<'_>) {
        if self.nodes[ix].outbound.any() == Some(link) {
            return;
        }
        let Some(address) = self.sender_address(link, header) else { return };
        self.move_node(ix, address);
    }

    /// The node is at `address` now.
    pub(super) fn move_node(&mut self, ix: NodeIx, address: Address) {
        let node = &mut self.nodes[ix];
        if node.address == address {
            return;
        }
        tracing::info!(node = %node.id, ip = %address.ip, port = address.port, "address changed");
        node.address = address;
        node.noaddr = false;
        self.close_outbound(ix);
        self.todo.save();
        self.changed();
    }

    /// Unless it is configured, a node learns its address from the sockets at which others reach it.
    pub(super) fn discover_own_ip(&mut self, link: LinkId, kind: Kind) {
        let unknown = self.nodes.myself().address.ip.is_empty();
        if !self.config.announce_ip.is_empty() || !(kind == Kind::Meet || unknown) {
            return;
        }
        let local: Option<IpAddr> =
            self.links.get(link).filter(|_| self.links.is_inbound(link)).and_then(|l| l.local);
        let Some(ip) = local.map(IpText::from_ip) else { return };
        let me = self.nodes.myself_mut();
        if me.address.ip != ip {
            tracing::info!(%ip, "own address found out");
            me.address.ip = ip;
            self.todo.save();
            self.changed();
        }
    }
}
