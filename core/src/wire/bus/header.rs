//! The header of all messages but the light ones: what the sender says about itself.

use alloc::vec::Vec;
use core::fmt;

use super::{
    Ignored, IpText, Kind, MessageFlags, NodeFlags, SIGNATURE, VERSION, array, u16_at, u32_at, u64_at,
};
use crate::ids::{ID_LEN, NodeId};
use crate::slots::{BITMAP_LEN, SlotSet};

/// Bytes of a normal header.
pub const NORMAL_LEN: usize = 2256;
/// Bytes of a light header.
pub const LIGHT_LEN: usize = 16;

/// The slots of a node, one bit each, lent from a message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Bitmap<'a>(pub &'a [u8; BITMAP_LEN]);

impl fmt::Debug for Bitmap<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SlotSet::from_bitmap(self.0).fmt(f)
    }
}

const NOBODY: [u8; ID_LEN] = [0; ID_LEN];

/// How a node sees the cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum State {
    /// It serves.
    Ok,
    /// Slots without a server, or a minority side.
    #[default]
    Fail,
}

/// What the sender of a message says about itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header<'a> {
    /// Its client port: TLS if the cluster bus is, else TCP.
    pub port: u16,
    /// The highest epoch it knows of.
    pub current_epoch: u64,
    /// The epoch of its slots; a replica says its primary's.
    pub config_epoch: u64,
    /// Its replication offset.
    pub offset: u64,
    /// Its name.
    pub sender: NodeId,
    /// Its slots, one bit each; a replica says its primary's.
    pub slots: Bitmap<'a>,
    /// Its primary, when it is a replica.
    pub replica_of: Option<NodeId>,
    /// Its announced address; empty: take the address of the socket.
    pub my_ip: IpText,
    /// Its other client port, 0 if none.
    pub other_port: u16,
    /// Its announced bus port.
    pub bus_port: u16,
    /// What it is and can do.
    pub flags: NodeFlags,
    /// How it sees the cluster.
    pub state: State,
    /// What this message asks for.
    pub message_flags: MessageFlags,
}

impl<'a> Header<'a> {
    /// Reads the header of a frame of at least [`NORMAL_LEN`] bytes.
    pub(super) fn decode(bytes: &'a [u8]) -> Result<Self, Ignored> {
        let replica_of = match array::<ID_LEN>(bytes, 2128) {
            NOBODY => None,
            id => Some(NodeId::parse(&id).ok_or(Ignored::NodeId)?),
        };
        let slots = bytes[80..80 + BITMAP_LEN]
            .first_chunk()
            .ok_or(Ignored::Length { expected: NORMAL_LEN as u64, actual: bytes.len() as u64 })?;
        Ok(Self {
            port: u16_at(bytes, 10),
            current_epoch: u64_at(bytes, 16),
            config_epoch: u64_at(bytes, 24),
            offset: u64_at(bytes, 32),
            sender: NodeId::parse(&bytes[40..80]).ok_or(Ignored::NodeId)?,
            slots: Bitmap(slots),
            replica_of,
            my_ip: IpText::from_field(&bytes[2168..2214]).ok_or(Ignored::Address)?,
            other_port: u16_at(bytes, 2246),
            bus_port: u16_at(bytes, 2248),
            flags: NodeFlags(u16_at(bytes, 2250)),
            state: if bytes[2252] == 0 { State::Ok } else { State::Fail },
            message_flags: MessageFlags(bytes[2253]),
        })
    }

    /// Whether the sender says that it is a primary.
    #[must_use]
    pub fn claims_primary(&self) -> bool {
        self.replica_of.is_none()
    }

    /// Appends the header; the length is written by [`finish`] when it is known.
    pub(super) fn encode(&self, kind: Kind, count: u16, extensions: u16, out: &mut Vec<u8>) {
        begin(kind as u16, self.port, count, out);
        for number in [self.current_epoch, self.config_epoch, self.offset] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(self.sender.as_bytes());
        out.extend_from_slice(self.slots.0);
        out.extend_from_slice(self.replica_of.map_or(NOBODY, |id| *id.as_bytes()).as_slice());
        out.extend_from_slice(self.my_ip.as_field());
        out.extend_from_slice(&extensions.to_be_bytes());
        out.extend_from_slice(&[0; 30]);
        for number in [self.other_port, self.bus_port, self.flags.0] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.push(match self.state {
            State::Ok => 0,
            State::Fail => 1,
        });
        out.extend_from_slice(&[self.message_flags.0, 0, 0]);
    }
}

/// Appends the 16 bytes that both headers begin with.
pub(super) fn begin(kind: u16, port: u16, count: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(&SIGNATURE);
    out.extend_from_slice(&[0; 4]);
    for number in [VERSION, port, kind, count] {
        out.extend_from_slice(&number.to_be_bytes());
    }
}

/// Writes the length of the message that begins at `start`.
pub(super) fn finish(start: usize, out: &mut [u8]) {
    let total = (out.len() - start) as u32;
    out[start + 4..start + 8].copy_from_slice(&total.to_be_bytes());
}

/// The length a message states.
pub(super) fn total(bytes: &[u8]) -> u32 {
    u32_at(bytes, 4)
}

/// Number of gossip entries a message states.
pub(super) fn count(bytes: &[u8]) -> u16 {
    u16_at(bytes, 14)
}

/// Number of extension records a message states.
pub(super) fn extensions(bytes: &[u8]) -> u16 {
    u16_at(bytes, 2214)
}
