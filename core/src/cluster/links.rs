//! Streams to and from other nodes: which node each belongs to, how it is opened, and when it ends.

use alloc::collections::BTreeMap;
use core::net::{IpAddr, SocketAddr};

use super::Cluster;
use super::boundary::Action;
use super::node_table::{NodeIx, Outbound};
use crate::ids::LinkId;
use crate::time::Mono;
use crate::wire::bus::{Broken, Framer, MAX_FRAME, MAX_STRANGER_FRAME};

/// How many accepted links may be open without belonging to a node. Anybody can connect to the bus port; a link of
/// a node that joins is anonymous for one message.
const MAX_STRANGERS: usize = 1024;

/// Who opened the link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    /// This node: everything it originates goes here.
    Outbound,
    /// The peer: only answers go here.
    Inbound,
}

/// One stream.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) side: Side,
    /// Whom it belongs to; an accepted link belongs to nobody until its peer says who it is.
    pub(super) node: Option<NodeIx>,
    pub(super) peer: IpAddr,
    pub(super) local: Option<IpAddr>,
    pub(super) created: Mono,
    /// The peer has shown on this link that it understands extensions.
    pub(super) extensions: bool,
    /// A pong came on this link.
    pub(super) ponged: bool,
    framer: Framer,
    /// Bytes the owner still has to send.
    pub(super) outbox: usize,
}

/// All streams.
#[derive(Debug, Default)]
pub(super) struct Links {
    table: BTreeMap<LinkId, Link>,
    dialed: u64,
    strangers: usize,
    /// How many were closed because the peer did not read.
    pub(super) over_limit: u64,
}

impl Links {
    pub(super) fn get(&self, link: LinkId) -> Option<&Link> {
        self.table.get(&link)
    }

    pub(super) fn get_mut(&mut self, link: LinkId) -> Option<&mut Link> {
        self.table.get_mut(&link)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        self.table.iter().map(|(&id, link)| (id, link))
    }

    /// The node a link belongs to.
    pub(super) fn node(&self, link: LinkId) -> Option<NodeIx> {
        self.table.get(&link)?.node
    }

    pub(super) fn is_inbound(&self, link: LinkId) -> bool {
        self.table.get(&link).is_some_and(|l| l.side == Side::Inbound)
    }

    fn insert(&mut self, link: LinkId, side: Side, node: Option<NodeIx>, peer: IpAddr, created: Mono) {
        self.strangers += usize::from(node.is_none());
        let new = Link {
            side,
            node,
            peer: peer.to_canonical(),
            local: None,
            created,
            extensions: false,
            ponged: false,
            framer: Framer::default(),
            outbox: 0,
        };
        self.table.insert(link, new);
    }

    fn remove(&mut self, link: LinkId) -> Option<Link> {
        let gone = self.table.remove(&link)?;
        self.strangers -= usize::from(gone.node.is_none());
        Some(gone)
    }
}

impl Cluster {
    /// A peer connected to the bus port.
    pub(super) fn link_opened(&mut self, link: LinkId, peer: SocketAddr, local: SocketAddr) {
        if self.links.strangers >= MAX_STRANGERS {
            tracing::warn!(%peer, "too many anonymous links on the bus port");
            self.queue.push(Action::Close { link });
            return;
        }
        self.links.insert(link, Side::Inbound, None, peer.ip(), self.now.mono);
        if let Some(new) = self.links.get_mut(link) {
            new.local = Some(local.ip().to_canonical());
        }
    }

    /// Opens a link to a node. A node whose address is no IP literal cannot be reached; it will be suspected like
    /// one that does not answer.
    pub(super) fn connect(&mut self, to: NodeIx) {
        let node = &mut self.nodes[to];
        node.connect_tried = Some(self.now.mono);
        let (Some(ip), port) = (node.address.ip.ip(), node.address.bus_port) else {
            node.ping_sent.get_or_insert(self.now.mono);
            return;
        };
        self.links.dialed += 1;
        let link = LinkId::dialed(self.links.dialed);
        node.outbound = Outbound::Connecting(link);
        self.links.insert(link, Side::Outbound, Some(to), ip, self.now.mono);
        self.queue.push(Action::Connect { link, to: SocketAddr::new(ip, port) });
    }

    /// A link to a node is up: the first message is a MEET where one is owed, else a PING.
    pub(super) fn link_connected(&mut self, link: LinkId, local: SocketAddr) {
        let now = self.now.mono;
        let Some(new) = self.links.get_mut(link) else { return };
        new.local = Some(local.ip().to_canonical());
        new.created = now;
        let Some(to) = new.node else { return };
        let node = &mut self.nodes[to];
        node.outbound = Outbound::Up(link);
        let (meet, ping_sent) = (node.meet, node.ping_sent);
        if meet {
            self.send_meet(to);
        } else {
            self.send_ping(to);
        }
        // Reconnecting must not make an unanswered ping look younger.
        if ping_sent.is_some() {
            self.nodes[to].ping_sent = ping_sent;
        }
        self.changed();
    }

    /// The link could not be made. Without an unanswered ping the failure would not be noticed, so one is assumed.
    pub(super) fn link_failed(&mut self, link: LinkId, reason: &str) {
        if let Some(to) = self.links.node(link) {
            let node = &mut self.nodes[to];
            node.ping_sent.get_or_insert(self.now.mono);
            tracing::debug!(node = %node.id, reason, "no connection on the bus");
        }
        self.link_gone(link);
    }

    /// The link no longer exists.
    pub(super) fn link_gone(&mut self, link: LinkId) {
        let Some(gone) = self.links.remove(link) else { return };
        let Some(node) = gone.node.filter(|&ix| self.nodes.get(ix).is_some()) else { return };
        let node = &mut self.nodes[node];
        if node.outbound.any() == Some(link) {
            let was_up = node.outbound.up().is_some();
            node.outbound = Outbound::Missing;
            if was_up {
                self.changed();
            }
        } else if node.inbound == Some(link) {
            node.inbound = None;
            node.inbound_missing = self.now.mono;
        }
    }

    /// Closes a link.
    pub(super) fn close(&mut self, link: LinkId) {
        if self.links.get(link).is_some() {
            self.link_gone(link);
            self.queue.push(Action::Close { link });
        }
    }

    /// Closes the link that this node opened to another, so that it is opened anew.
    pub(super) fn close_outbound(&mut self, node: NodeIx) {
        if let Some(link) = self.nodes[node].outbound.any() {
            self.close(link);
        }
    }

    /// An accepted link belongs to `node` from now on. The newest one wins: an older one is a leftover.
    pub(super) fn bind_inbound(&mut self, link: LinkId, node: NodeIx) {
        if let Some(older) = self.nodes[node].inbound.filter(|&older| older != link) {
            self.close(older);
        }
        let Some(bound) = self.links.get_mut(link) else { return };
        if bound.node.replace(node).is_none() {
            self.links.strangers -= 1;
        }
        self.nodes[node].inbound = Some(link);
    }

    /// Bytes arrived: every whole message is received, in order, until the link ends.
    pub(super) fn link_filled(&mut self, link: LinkId, mut bytes: &[u8]) {
        let Some(entry) = self.links.get_mut(link) else { return };
        let mut framer = core::mem::take(&mut entry.framer);
        loop {
            // A stranger may become a member, and the link may end, with any message.
            let Some(entry) = self.links.get(link) else { return };
            let member = entry.node.is_some_and(|ix| !self.nodes[ix].in_handshake());
            let limit = if member { MAX_FRAME } else { MAX_STRANGER_FRAME };
            match framer.next(&mut bytes, limit) {
                Ok(None) => break,
                Ok(Some(Ok(frame))) => {
                    if let Err(broken) = self.receive(link, frame) {
                        return self.break_link(link, broken);
                    }
                }
                Ok(Some(Err(ignored))) => tracing::warn!(%link, %ignored, "message skipped"),
                Err(broken) => return self.break_link(link, broken),
            }
        }
        if let Some(entry) = self.links.get_mut(link) {
            entry.framer = framer;
        }
    }

    fn break_link(&mut self, link: LinkId, broken: Broken) {
        tracing::warn!(%link, %broken, "bus link closed");
        self.close(link);
    }

    /// Closes the links of a node whose unsent bytes exceed `cluster-link-sendbuf-limit`.
    pub(super) fn close_clogged(&mut self, node: NodeIx) {
        let limit = self.config.link_sendbuf_limit;
        if limit == 0 {
            return;
        }
        let row = &self.nodes[node];
        for link in [row.outbound.any(), row.inbound].into_iter().flatten() {
            if self.links.get(link).is_some_and(|l| l.outbox > limit) {
                tracing::warn!(%link, limit, "bus link closed: its send buffer is over the limit");
                self.links.over_limit += 1;
                self.close(link);
            }
        }
    }
}
