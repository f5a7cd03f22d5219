//! The cluster bus: the binary messages that nodes exchange, version 1 of Redis 7.0 and Valkey 9.1.
//!
//! A stream is a row of messages without separators; [`Framer`] cuts it, [`decode`] gives a frame its meaning and
//! [`Message::encode`] turns meaning into bytes. All integers are big-endian. What is wrong with a peer's bytes is
//! told in two classes, because they have different consequences: [`Broken`] ends the link (the stream can no
//! longer be cut), [`Ignored`] costs only the one message.
//!
//! ```
//! use whimbrel_core::wire::bus::{Framer, MAX_FRAME};
//! let mut framer = Framer::default();
//! let mut input = &b"GET / HTTP/1.1\r\n"[..];
//! assert!(framer.next(&mut input, MAX_FRAME).is_err());
//! ```

mod extension;
mod flags;
mod frame;
mod gossip;
mod header;
mod message;
mod text;

pub use extension::Extension;
pub use flags::{MessageFlags, NodeFlags};
pub use frame::{Framer, MAX_FRAME, MAX_STRANGER_FRAME};
pub use gossip::{GOSSIP_LEN, Gossip};
pub use header::{Bitmap, Header, LIGHT_LEN, NORMAL_LEN, State};
pub use message::{Body, Cast, Message, Talk, decode, kind_of};
pub use text::IpText;

/// The four bytes every message begins with.
pub const SIGNATURE: [u8; 4] = *b"RCmb";
/// The only protocol version there is.
pub const VERSION: u16 = 1;
/// Bit of the type field that says "16-byte header": only for messages that need no sender state.
pub(crate) const LIGHT: u16 = 0x8000;

/// The kinds of message; the discriminant is the number on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// Are you there, and what I know.
    Ping = 0,
    /// The answer to a ping or meet, or an unasked-for announcement of the same content.
    Pong,
    /// A ping that also asks a stranger to take the sender into its cluster.
    Meet,
    /// A node is declared failed.
    Fail,
    /// A message of a pub/sub channel.
    Publish,
    /// A replica asks for a vote.
    AuthRequest,
    /// A vote.
    AuthAck,
    /// The slots and epoch of a node that the receiver seems to have missed.
    Update,
    /// A replica asks its primary to pause for a manual failover.
    MfStart,
    /// A message between modules.
    Module,
    /// A message of a sharded pub/sub channel.
    PublishShard,
}

impl Kind {
    /// How many kinds there are.
    pub const COUNT: usize = 11;

    /// All kinds in the order of their numbers.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Ping,
        Self::Pong,
        Self::Meet,
        Self::Fail,
        Self::Publish,
        Self::AuthRequest,
        Self::AuthAck,
        Self::Update,
        Self::MfStart,
        Self::Module,
        Self::PublishShard,
    ];

    /// The kind with this number (without the bit for light headers).
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// The word in `cluster_stats_messages_<word>_sent` of CLUSTER INFO.
    #[must_use]
    pub const fn stats_name(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Pong => "pong",
            Self::Meet => "meet",
            Self::Fail => "fail",
            Self::Publish => "publish",
            Self::AuthRequest => "auth-req",
            Self::AuthAck => "auth-ack",
            Self::Update => "update",
            Self::MfStart => "mfstart",
            Self::Module => "module",
            Self::PublishShard => "publishshard",
        }
    }

    /// Whether the kind may travel under a light header.
    #[must_use]
    pub const fn may_be_light(self) -> bool {
        matches!(self, Self::Publish | Self::PublishShard | Self::Module)
    }
}

/// Why a stream cannot be read on: the link is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    /// A message does not begin with [`SIGNATURE`].
    Signature,
    /// The length is below that of the header.
    TooShort {
        /// The length it states.
        total: u32,
    },
    /// The length is above our limit and the kind has no business to be that long.
    TooLong {
        /// The length it states.
        total: u32,
    },
    /// A light message from a peer that has not introduced itself.
    LightFromStranger,
    /// A peer that introduced itself as one node speaks as another.
    SenderChanged,
}

impl core::fmt::Display for Broken {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Signature => f.write_str("bad signature"),
            Self::TooShort { total } => write!(f, "length {total} is below the header's"),
            Self::TooLong { total } => write!(f, "length {total} is above the limit"),
            Self::LightFromStranger => f.write_str("light message from an unknown peer"),
            Self::SenderChanged => f.write_str("the sender's name changed on the link"),
        }
    }
}

/// Why one message is not acted on; the link stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ignored {
    /// Another protocol version.
    Version(u16),
    /// A type number nobody knows.
    Type(u16),
    /// A light header on a kind that must not have one.
    NotLight(Kind),
    /// The length is not the one that kind and counts ask for.
    Length {
        /// What kind and counts ask for, as far as they could be read.
        expected: u64,
        /// What there is.
        actual: u64,
    },
    /// An extension record whose length is below 8, no multiple of 8 or beyond the message.
    ExtensionLength(u32),
    /// A field that must be a node id is none.
    NodeId,
    /// A field that must be an IP address text holds something that no file of ours could carry.
    Address,
    /// A message too long to keep in memory; its bytes are skipped.
    TooLong(u32),
}

impl core::fmt::Display for Ignored {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Version(version) => write!(f, "unknown version {version}"),
            Self::Type(number) => write!(f, "unknown type {number}"),
            Self::NotLight(kind) => write!(f, "light header on {}", kind.stats_name()),
            Self::Length { expected, actual } => write!(f, "length {actual} instead of {expected}"),
            Self::ExtensionLength(len) => write!(f, "extension of length {len}"),
            Self::NodeId => f.write_str("invalid node id"),
            Self::Address => f.write_str("invalid address text"),
            Self::TooLong(total) => write!(f, "length {total} is more than is kept"),
        }
    }
}

/// Reads `N` bytes at `at`; the caller has checked the length.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(array(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(array(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(array(bytes, at))
}

#[cfg(test)]
mod tests;
