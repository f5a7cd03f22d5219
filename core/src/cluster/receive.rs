//! The order in which a message is acted on. It matters where messages race: who speaks, what they can do, epochs,
//! the answer, and only then what they say about slots and other nodes.

use bytes::Bytes;

use super::Cluster;
use super::boundary::Action;
use super::node_table::{CAPABILITIES, NodeIx};
use crate::ids::{LinkId, NodeId};
use crate::wire::bus::{
    Body, Broken, Cast, Header, Kind, Message, MessageFlags, NodeFlags, Talk, decode, kind_of,
};

/// Who sent a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sender {
    /// This node: it reached its own bus port.
    Myself,
    /// A member.
    Known(NodeIx),
    /// Not the node that this link was opened to.
    Other,
    /// Nobody this node knows.
    Stranger,
}

impl Sender {
    pub(super) fn known(self) -> Option<NodeIx> {
        match self {
            Self::Known(ix) => Some(ix),
            Self::Myself | Self::Other | Self::Stranger => None,
        }
    }
}

impl Cluster {
    /// Acts on one frame.
    pub(super) fn receive(&mut self, link: LinkId, frame: &[u8]) -> Result<(), Broken> {
        let kind = kind_of(frame);
        if let Some(kind) = kind {
            self.stats.received(kind, frame.len());
        }
        if self.faults.drops(kind) {
            tracing::warn!(%link, ?kind, "message dropped for a test");
            if self.faults.close_on_drop {
                self.close(link);
            }
            return Ok(());
        }
        match decode(frame) {
            Ok(Message::Full { header, body }) => self.receive_full(link, &header, &body),
            Ok(Message::Light(cast)) => self.receive_light(link, &cast),
            Err(ignored) => {
                tracing::debug!(%link, %ignored, "message ignored");
                Ok(())
            }
        }
    }

    /// A light message says nothing about its sender, so the link must have an owner.
    fn receive_light(&mut self, link: LinkId, cast: &Cast<'_>) -> Result<(), Broken> {
        let node = self.links.node(link).filter(|&ix| !self.nodes[ix].in_handshake());
        let sender = node.ok_or(Broken::LightFromStranger)?;
        self.nodes[sender].heard = Some(self.now.mono);
        self.receive_cast(cast);
        Ok(())
    }

    fn receive_cast(&mut self, cast: &Cast<'_>) {
        let (sharded, channel, message) = match *cast {
            Cast::Publish { channel, message } => (false, channel, message),
            Cast::PublishShard { channel, message } => (true, channel, message),
            Cast::Module { kind, .. } => {
                tracing::debug!(kind, "module message ignored");
                return;
            }
        };
        let (channel, message) = (Bytes::copy_from_slice(channel), Bytes::copy_from_slice(message));
        self.queue.push(Action::Published { sharded, channel, message });
    }

    fn receive_full(&mut self, link: LinkId, header: &Header<'_>, body: &Body<'_>) -> Result<(), Broken> {
        let sender = self.resolve_sender(link, header.sender)?;
        if header.message_flags.has(MessageFlags::EXT_DATA)
            && let Some(open) = self.links.get_mut(link)
        {
            open.extensions = true;
        }
        if let Some(known) = sender.known() {
            self.note_sender(known, header);
        }
        match body {
            Body::Ping(talk) => self.receive_talk(link, sender, header, Kind::Ping, talk),
            Body::Pong(talk) => self.receive_talk(link, sender, header, Kind::Pong, talk),
            Body::Meet(talk) => self.receive_talk(link, sender, header, Kind::Meet, talk),
            Body::Fail(..) | Body::Cast(..) | Body::AuthRequest | Body::Update { .. } => {
                let Some(known) = sender.known() else { return Ok(()) };
                self.receive_word(known, header, body);
            }
            // This node never asks for votes, and never is asked to pause while it has no replicas of its own.
            Body::AuthAck | Body::MfStart => {}
        }
        Ok(())
    }

    fn receive_word(&mut self, sender: NodeIx, header: &Header<'_>, body: &Body<'_>) {
        match body {
            Body::Fail(subject) => {
                if let Some(subject) = self.nodes.find(*subject) {
                    self.told_failed(subject, sender);
                }
            }
            Body::Update { node, config_epoch, slots } => {
                if let Some(subject) = self.nodes.find(*node) {
                    self.told_update(subject, *config_epoch, slots.0);
                }
            }
            Body::AuthRequest => self.asked_for_vote(sender, header),
            Body::Cast(cast) => self.receive_cast(cast),
            _ => {}
        }
    }

    /// Finds out who speaks. A link that belongs to a member speaks for that member only.
    fn resolve_sender(&mut self, link: LinkId, id: NodeId) -> Result<Sender, Broken> {
        let owner = self.links.node(link);
        if let Some(owner) = owner.filter(|&ix| !self.nodes[ix].in_handshake()) {
            return match (self.nodes[owner].id == id, self.links.is_inbound(link)) {
                (true, _) => Ok(Sender::Known(owner)),
                (false, true) => Err(Broken::SenderChanged),
                (false, false) => Ok(Sender::Other),
            };
        }
        match self.nodes.find(id) {
            Some(NodeIx::MYSELF) => Ok(Sender::Myself),
            Some(known) => {
                if owner.is_none() {
                    self.bind_inbound(link, known);
                }
                Ok(Sender::Known(known))
            }
            None => Ok(Sender::Stranger),
        }
    }

    /// What every full message of a member says.
    fn note_sender(&mut self, sender: NodeIx, header: &Header<'_>) {
        let node = &mut self.nodes[sender];
        node.heard = Some(self.now.mono);
        let extensions = node.capabilities.masked(NodeFlags::EXTENSIONS)
            | NodeFlags::EXTENSIONS.when(header.message_flags.has(MessageFlags::EXT_DATA));
        node.capabilities = header.flags.masked(CAPABILITIES).without(NodeFlags::EXTENSIONS) | extensions;
        node.offset = header.offset;
        if header.claims_primary() && header.config_epoch > node.config_epoch {
            node.config_epoch = header.config_epoch;
            self.withdraw_unclaimed(sender, header.slots.0);
            self.todo.save_durably();
            self.changed();
        }
        self.saw_epoch(header.current_epoch.max(header.config_epoch));
    }

    fn receive_talk(
        &mut self,
        link: LinkId,
        sender: Sender,
        header: &Header<'_>,
        kind: Kind,
        talk: &Talk<'_>,
    ) {
        if kind != Kind::Pong {
            self.discover_own_ip(link, kind);
            if kind == Kind::Meet {
                self.met(link, sender, header, talk);
            }
            self.send_pong(link);
        }
        if let Some(known) = sender.known() {
            self.nodes[known].meet = false;
        }
        if !self.links.is_inbound(link) && !self.check_outbound(link, sender, header, kind) {
            return;
        }
        let Some(sender) = sender.known() else { return };
        if kind == Kind::Ping && self.links.is_inbound(link) {
            self.update_address(sender, link, header);
        }
        let nofailover = header.flags.has(NodeFlags::NOFAILOVER);
        if self.nodes[sender].nofailover != nofailover {
            self.nodes[sender].nofailover = nofailover;
            self.todo.save();
        }
        if self.hear_role(sender, header) {
            self.hear_slots(sender, header);
            self.hear_gossip(sender, &talk.gossip);
            self.hear_extensions(sender, talk);
        }
    }

    /// What comes back on a link of this node: the real name of a node in handshake, a stranger at a known address,
    /// or the answer to a ping. False when there is nothing more to do with the message.
    fn check_outbound(&mut self, link: LinkId, sender: Sender, header: &Header<'_>, kind: Kind) -> bool {
        let Some(owner) = self.links.node(link) else { return false };
        if self.nodes[owner].in_handshake() {
            if !self.complete_handshake(owner, link, sender, header) {
                return false;
            }
        } else if sender == Sender::Other {
            self.answered_by_other(owner, header.sender);
            return false;
        }
        if kind == Kind::Pong {
            if let Some(open) = self.links.get_mut(link) {
                open.ponged = true;
            }
            self.answered(owner);
        }
        true
    }
}
