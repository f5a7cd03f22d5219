//! Whole messages.

use alloc::vec::Vec;

use super::{
    Bitmap, Extension, GOSSIP_LEN, Gossip, Header, Ignored, Kind, LIGHT, LIGHT_LEN, MessageFlags, NORMAL_LEN,
    VERSION, array, header, u16_at, u32_at, u64_at,
};
use crate::ids::NodeId;
use crate::slots::BITMAP_LEN;

/// A message of the bus.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message<'a> {
    /// With everything the sender says about itself.
    Full {
        /// The sender.
        header: Header<'a>,
        /// The rest.
        body: Body<'a>,
    },
    /// With the 16-byte header.
    Light(Cast<'a>),
}

/// What follows a normal header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body<'a> {
    /// Asks for a pong.
    Ping(Talk<'a>),
    /// Answers a ping or meet, or announces.
    Pong(Talk<'a>),
    /// Asks to be taken in.
    Meet(Talk<'a>),
    /// This node failed.
    Fail(NodeId),
    /// A payload that is passed through.
    Cast(Cast<'a>),
    /// Asks for a vote.
    AuthRequest,
    /// Gives a vote.
    AuthAck,
    /// Slots that the receiver believes are somebody else's.
    Update {
        /// The node it is about.
        node: NodeId,
        /// The epoch of its slots.
        config_epoch: u64,
        /// Its slots.
        slots: Bitmap<'a>,
    },
    /// Asks a primary to pause for a manual failover.
    MfStart,
}

/// A payload that the bus carries for others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cast<'a> {
    /// A pub/sub message.
    Publish {
        /// The channel.
        channel: &'a [u8],
        /// The message.
        message: &'a [u8],
    },
    /// A sharded pub/sub message.
    PublishShard {
        /// The channel.
        channel: &'a [u8],
        /// The message.
        message: &'a [u8],
    },
    /// A message between modules.
    Module {
        /// The module's id as its sender has it in memory: opaque.
        module: [u8; 8],
        /// The module's own type number.
        kind: u8,
        /// The content.
        payload: &'a [u8],
    },
}

/// Gossip and extensions.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Talk<'a> {
    /// What is said about other nodes; empty when spoiled.
    pub gossip: Vec<Gossip>,
    /// The gossip of this message holds an entry that cannot be right, so nothing of it is believed.
    pub spoiled: bool,
    /// Records about the sender and about forgotten nodes.
    pub extensions: Vec<Extension<'a>>,
}

impl Body<'_> {
    /// The kind of message.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Ping(_) => Kind::Ping,
            Self::Pong(_) => Kind::Pong,
            Self::Meet(_) => Kind::Meet,
            Self::Fail(_) => Kind::Fail,
            Self::Cast(cast) => cast.kind(),
            Self::AuthRequest => Kind::AuthRequest,
            Self::AuthAck => Kind::AuthAck,
            Self::Update { .. } => Kind::Update,
            Self::MfStart => Kind::MfStart,
        }
    }
}

impl<'a> Cast<'a> {
    /// The kind of message.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Publish { .. } => Kind::Publish,
            Self::PublishShard { .. } => Kind::PublishShard,
            Self::Module { .. } => Kind::Module,
        }
    }

    fn decode(kind: Kind, bytes: &'a [u8], head: usize) -> Result<Self, Ignored> {
        let body = &bytes[head..];
        let fixed = if kind == Kind::Module { 13 } else { 8 };
        expect(head + fixed, bytes.len(), body.len() >= fixed)?;
        if kind == Kind::Module {
            let len = u32_at(body, 8) as usize;
            expect(head + fixed + len, bytes.len(), body.len() == fixed + len)?;
            return Ok(Self::Module { module: array(body, 0), kind: body[12], payload: &body[fixed..] });
        }
        let (channel_len, message_len) = (u32_at(body, 0) as usize, u32_at(body, 4) as usize);
        let len = fixed.saturating_add(channel_len).saturating_add(message_len);
        expect(len.saturating_add(head), bytes.len(), body.len() == len)?;
        let (channel, message) = body[fixed..].split_at(channel_len);
        Ok(match kind {
            Kind::PublishShard => Self::PublishShard { channel, message },
            _ => Self::Publish { channel, message },
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Publish { channel, message } | Self::PublishShard { channel, message } => {
                out.extend_from_slice(&(channel.len() as u32).to_be_bytes());
                out.extend_from_slice(&(message.len() as u32).to_be_bytes());
                out.extend_from_slice(channel);
                out.extend_from_slice(message);
            }
            Self::Module { module, kind, payload } => {
                out.extend_from_slice(module);
                out.extend_from_slice(&(payload.len() as u32).to_be_bytes());
                out.push(*kind);
                out.extend_from_slice(payload);
            }
        }
    }
}

impl<'a> Talk<'a> {
    fn decode(bytes: &'a [u8]) -> Result<Self, Ignored> {
        let count = usize::from(header::count(bytes));
        let gossip_end = NORMAL_LEN + count * GOSSIP_LEN;
        expect(gossip_end, bytes.len(), bytes.len() >= gossip_end)?;
        let mut talk = Self::default();
        let mut rest = &bytes[gossip_end..];
        if MessageFlags(bytes[2253]).has(MessageFlags::EXT_DATA) {
            for _ in 0..header::extensions(bytes) {
                let (extension, len) = Extension::decode(rest)?;
                talk.extensions.push(extension);
                rest = &rest[len..];
            }
        }
        expect(bytes.len() - rest.len(), bytes.len(), rest.is_empty())?;
        match bytes[NORMAL_LEN..gossip_end].chunks_exact(GOSSIP_LEN).map(Gossip::decode).collect() {
            Ok(gossip) => talk.gossip = gossip,
            Err(_) => talk.spoiled = true,
        }
        Ok(talk)
    }
}

impl<'a> Message<'a> {
    /// The kind of message.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Full { body, .. } => body.kind(),
            Self::Light(cast) => cast.kind(),
        }
    }

    /// The bytes of the message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(match self {
            Self::Full { .. } => NORMAL_LEN + 512,
            Self::Light(_) => 64,
        });
        match self {
            Self::Full { header, body } => encode_full(header, body, &mut out),
            Self::Light(cast) => {
                header::begin(cast.kind() as u16 | LIGHT, 0, 0, &mut out);
                cast.encode(&mut out);
            }
        }
        header::finish(0, &mut out);
        out
    }
}

fn encode_full(header: &Header<'_>, body: &Body<'_>, out: &mut Vec<u8>) {
    let (count, extensions) = match body {
        Body::Ping(talk) | Body::Pong(talk) | Body::Meet(talk) => (talk.gossip.len(), talk.extensions.len()),
        _ => (0, 0),
    };
    header.encode(body.kind(), count as u16, extensions as u16, out);
    match body {
        Body::Ping(talk) | Body::Pong(talk) | Body::Meet(talk) => {
            for gossip in &talk.gossip {
                gossip.encode(out);
            }
            for extension in &talk.extensions {
                extension.encode(out);
            }
        }
        Body::Fail(node) => out.extend_from_slice(node.as_bytes()),
        Body::Cast(cast) => cast.encode(out),
        Body::Update { node, config_epoch, slots } => {
            out.extend_from_slice(&config_epoch.to_be_bytes());
            out.extend_from_slice(node.as_bytes());
            out.extend_from_slice(slots.0);
        }
        Body::AuthRequest | Body::AuthAck | Body::MfStart => {}
    }
}

/// The kind that a frame states, for statistics: also ignored messages are counted.
#[must_use]
pub fn kind_of(frame: &[u8]) -> Option<Kind> {
    (frame.len() >= LIGHT_LEN).then(|| Kind::from_number(u16_at(frame, 12) & !LIGHT)).flatten()
}

/// Gives a frame its meaning.
///
/// # Errors
/// Says why the message shall be ignored; the link is as good as before.
pub fn decode(frame: &[u8]) -> Result<Message<'_>, Ignored> {
    expect(LIGHT_LEN, frame.len(), frame.len() >= LIGHT_LEN)?;
    let (version, number) = (u16_at(frame, 8), u16_at(frame, 12));
    if version != VERSION {
        return Err(Ignored::Version(version));
    }
    let kind = Kind::from_number(number & !LIGHT).ok_or(Ignored::Type(number))?;
    let total = header::total(frame) as usize;
    expect(total, frame.len(), total == frame.len())?;
    if number & LIGHT != 0 {
        if !kind.may_be_light() {
            return Err(Ignored::NotLight(kind));
        }
        return Ok(Message::Light(Cast::decode(kind, frame, LIGHT_LEN)?));
    }
    expect(NORMAL_LEN, frame.len(), frame.len() >= NORMAL_LEN)?;
    let exactly = |expected: usize| expect(expected, frame.len(), frame.len() == expected);
    let body = match kind {
        Kind::Ping => Body::Ping(Talk::decode(frame)?),
        Kind::Pong => Body::Pong(Talk::decode(frame)?),
        Kind::Meet => Body::Meet(Talk::decode(frame)?),
        Kind::Fail => {
            exactly(NORMAL_LEN + 40)?;
            Body::Fail(NodeId::parse(&frame[NORMAL_LEN..]).ok_or(Ignored::NodeId)?)
        }
        Kind::Publish | Kind::PublishShard | Kind::Module => {
            Body::Cast(Cast::decode(kind, frame, NORMAL_LEN)?)
        }
        Kind::AuthRequest => exactly(NORMAL_LEN).map(|()| Body::AuthRequest)?,
        Kind::AuthAck => exactly(NORMAL_LEN).map(|()| Body::AuthAck)?,
        Kind::MfStart => exactly(NORMAL_LEN).map(|()| Body::MfStart)?,
        Kind::Update => {
            exactly(NORMAL_LEN + 48 + BITMAP_LEN)?;
            let payload = &frame[NORMAL_LEN..];
            let wrong = Ignored::Length { expected: 4352, actual: frame.len() as u64 };
            Body::Update {
                config_epoch: u64_at(payload, 0),
                node: NodeId::parse(&payload[8..48]).ok_or(Ignored::NodeId)?,
                slots: Bitmap(payload[48..].first_chunk().ok_or(wrong)?),
            }
        }
    };
    Ok(Message::Full { header: Header::decode(frame)?, body })
}

fn expect(expected: usize, actual: usize, right: bool) -> Result<(), Ignored> {
    if right { Ok(()) } else { Err(Ignored::Length { expected: expected as u64, actual: actual as u64 }) }
}
