//! What happens to the cluster machine and what it wants done.

use core::net::SocketAddr;

use bytes::Bytes;

use super::ownership::Reason;
use super::takeover::Confirmed;
use crate::ids::{LinkId, NodeId, Ticket};
use crate::slots::SlotRanges;

/// One thing that happened. Bytes and texts are lent for the step only.
#[derive(Debug)]
pub enum Input<'a> {
    /// A peer connected to the bus port.
    Opened {
        /// The link, from [`LinkId::accepted`].
        link: LinkId,
        /// The peer's end.
        peer: SocketAddr,
        /// Our end.
        local: SocketAddr,
    },
    /// A link asked for with [`Action::Connect`] is up.
    Connected {
        /// The link.
        link: LinkId,
        /// Our end.
        local: SocketAddr,
    },
    /// A link asked for could not be made; it no longer exists.
    ConnectFailed {
        /// The link.
        link: LinkId,
        /// What the operating system said.
        reason: &'a str,
    },
    /// Bytes arrived on a link.
    Filled {
        /// The link.
        link: LinkId,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// The peer closed the link, or it broke; it no longer exists.
    Closed {
        /// The link.
        link: LinkId,
    },
    /// The content of an [`Action::Save`] is in the file, and durable if that was asked for.
    Saved {
        /// Which one.
        ticket: Ticket,
    },
    /// The deadline of [`Cluster::poll_timeout`](super::Cluster::poll_timeout) has come.
    Ticked,
}

/// One thing the owner shall do, in the order given.
///
/// Every `Send` behind a `Save` with `fsync` must not reach the wire before that save is durable: votes and epochs
/// are on disk before anybody hears of them. Within a step the machine puts the `Save` first.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    /// Open a TCP connection; answered by `Connected` or `ConnectFailed`.
    Connect {
        /// Its name, from [`LinkId::dialed`].
        link: LinkId,
        /// Where to.
        to: SocketAddr,
    },
    /// Append to the outbox of the link.
    Send {
        /// The link.
        link: LinkId,
        /// One message.
        bytes: Bytes,
    },
    /// Close at once. The machine has forgotten the link.
    Close {
        /// The link.
        link: LinkId,
    },
    /// Replace the content of nodes.conf; answered by `Saved`.
    Save {
        /// Names the request; tickets grow.
        ticket: Ticket,
        /// The whole content.
        bytes: Bytes,
        /// Whether it must survive a power cut before anything behind it is sent.
        fsync: bool,
    },
    /// A member published a message: deliver it to subscribers here.
    Published {
        /// Whether the channel is a sharded one.
        sharded: bool,
        /// The channel.
        channel: Bytes,
        /// The message.
        message: Bytes,
    },
    /// Slots that were this node's before the step and are not after it.
    Lost {
        /// The slots, ascending.
        slots: SlotRanges,
        /// Whose they are now; `None`: nobody's.
        to: Option<NodeId>,
        /// Why.
        reason: Reason,
        /// The permission to delete what this node holds of them, where the change gives it.
        confirmed: Option<Confirmed>,
    },
    /// Slots that are this node's after the step and were not before it.
    Gained {
        /// The slots, ascending.
        slots: SlotRanges,
        /// Why.
        reason: Reason,
    },
    /// Something that routing or the answers of CLUSTER SLOTS and SHARDS depend on changed: take a new view.
    TopologyChanged,
}
