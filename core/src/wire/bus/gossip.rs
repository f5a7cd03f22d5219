//! What a node says about other nodes.

use alloc::vec::Vec;

use super::{Ignored, IpText, NodeFlags, array, u16_at, u32_at};
use crate::ids::NodeId;

/// Bytes of one gossip entry.
pub const GOSSIP_LEN: usize = 104;

/// One entry of the gossip section of a PING, PONG or MEET.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gossip {
    /// Whom it is about.
    pub node: NodeId,
    /// When the sender sent it a ping that is still unanswered, unix seconds; 0: none is.
    pub ping_sent_s: u32,
    /// When the sender last heard a pong of it, unix seconds.
    pub pong_received_s: u32,
    /// Its address.
    pub ip: IpText,
    /// Its client port: TLS if the cluster bus is, else TCP.
    pub port: u16,
    /// Its bus port.
    pub bus_port: u16,
    /// How the sender sees it.
    pub flags: NodeFlags,
    /// Its other client port, 0 if none.
    pub other_port: u16,
}

impl Gossip {
    /// Reads an entry of exactly [`GOSSIP_LEN`] bytes.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Ignored> {
        Ok(Self {
            node: NodeId::parse(&bytes[..40]).ok_or(Ignored::NodeId)?,
            ping_sent_s: u32_at(bytes, 40),
            pong_received_s: u32_at(bytes, 44),
            ip: IpText::from_field(&array::<46>(bytes, 48)).ok_or(Ignored::Address)?,
            port: u16_at(bytes, 94),
            bus_port: u16_at(bytes, 96),
            flags: NodeFlags(u16_at(bytes, 98)),
            other_port: u16_at(bytes, 100),
        })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.node.as_bytes());
        out.extend_from_slice(&self.ping_sent_s.to_be_bytes());
        out.extend_from_slice(&self.pong_received_s.to_be_bytes());
        out.extend_from_slice(self.ip.as_field());
        for number in [self.port, self.bus_port, self.flags.0, self.other_port, 0] {
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
}
