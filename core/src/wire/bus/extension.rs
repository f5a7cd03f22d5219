//! Records behind the gossip of a PING, PONG or MEET.

use alloc::vec::Vec;

use super::{Ignored, array, u16_at, u32_at, u64_at};
use crate::ids::{ID_LEN, NodeId, ShardId};

/// Bytes before the content of a record: length, type, zero.
const RECORD_HEAD: usize = 8;

/// One extension record. Texts are bytes up to their first NUL; whether they are acceptable is for the reader to say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extension<'a> {
    /// The name clients may be sent to.
    Hostname(&'a [u8]),
    /// The name for people.
    Nodename(&'a [u8]),
    /// A node that was removed by CLUSTER FORGET.
    Forgotten {
        /// The node.
        node: NodeId,
        /// For how many more seconds it must not be learned again.
        ttl_s: u64,
    },
    /// The shard of the sender.
    Shard(ShardId),
    /// The address that IPv4 clients are told.
    ClientIpv4(&'a [u8]),
    /// The address that IPv6 clients are told.
    ClientIpv6(&'a [u8]),
    /// The port that TCP clients are told.
    ClientPort(u16),
    /// The port that TLS clients are told.
    ClientTlsPort(u16),
    /// The availability zone.
    Zone(&'a [u8]),
    /// A record of a type, or with a content, that we do not know.
    Unknown {
        /// Its type.
        kind: u16,
        /// Its content with padding.
        content: &'a [u8],
    },
}

impl<'a> Extension<'a> {
    /// Reads one record and says how long it is.
    pub(super) fn decode(bytes: &'a [u8]) -> Result<(Self, usize), Ignored> {
        if bytes.len() < RECORD_HEAD {
            return Err(Ignored::ExtensionLength(bytes.len() as u32));
        }
        let (stated, kind) = (u32_at(bytes, 0), u16_at(bytes, 4));
        let len = stated as usize;
        if len < RECORD_HEAD || !len.is_multiple_of(8) || len > bytes.len() {
            return Err(Ignored::ExtensionLength(stated));
        }
        let content = &bytes[RECORD_HEAD..len];
        let unknown = Self::Unknown { kind, content };
        let extension = match (kind, content.len()) {
            (0, _) => Self::Hostname(text(content)),
            (1, _) => Self::Nodename(text(content)),
            (2, 48..) => match NodeId::parse(&content[..ID_LEN]) {
                Some(node) => Self::Forgotten { node, ttl_s: u64_at(content, ID_LEN) },
                None => unknown,
            },
            (3, 40..) => match ShardId::parse(&content[..ID_LEN]) {
                Some(shard) => Self::Shard(shard),
                None => unknown,
            },
            (4, _) => Self::ClientIpv4(text(content)),
            (5, _) => Self::ClientIpv6(text(content)),
            (6, 2..) => Self::ClientPort(u16::from_be_bytes(array(content, 0))),
            (7, 2..) => Self::ClientTlsPort(u16::from_be_bytes(array(content, 0))),
            (8, _) => Self::Zone(text(content)),
            _ => unknown,
        };
        Ok((extension, len))
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; RECORD_HEAD]);
        let kind: u16 = match self {
            Self::Hostname(text) => push_text(out, 0, text),
            Self::Nodename(text) => push_text(out, 1, text),
            Self::Forgotten { node, ttl_s } => {
                out.extend_from_slice(node.as_bytes());
                push(out, 2, &ttl_s.to_be_bytes())
            }
            Self::Shard(shard) => push(out, 3, shard.as_bytes()),
            Self::ClientIpv4(text) => push_text(out, 4, text),
            Self::ClientIpv6(text) => push_text(out, 5, text),
            Self::ClientPort(port) => push(out, 6, &port.to_be_bytes()),
            Self::ClientTlsPort(port) => push(out, 7, &port.to_be_bytes()),
            Self::Zone(text) => push_text(out, 8, text),
            Self::Unknown { kind, content } => push(out, *kind, content),
        };
        let len = (out.len() - start).next_multiple_of(8);
        out.resize(start + len, 0);
        out[start..start + 4].copy_from_slice(&(len as u32).to_be_bytes());
        out[start + 4..start + 6].copy_from_slice(&kind.to_be_bytes());
    }
}

fn push(out: &mut Vec<u8>, kind: u16, content: &[u8]) -> u16 {
    out.extend_from_slice(content);
    kind
}

fn push_text(out: &mut Vec<u8>, kind: u16, text: &[u8]) -> u16 {
    out.extend_from_slice(text);
    out.push(0);
    kind
}

fn text(content: &[u8]) -> &[u8] {
    let end = content.iter().position(|&b| b == 0).unwrap_or(content.len());
    &content[..end]
}
