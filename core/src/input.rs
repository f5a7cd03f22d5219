//! What happens to a machine: the words are past tense.

use core::net::{IpAddr, SocketAddr};

use crate::ids::{LinkId, Ticket};
use crate::mail::Mail;
pub use crate::shard::info::Process;
use crate::time::Span;

/// Where an accepted link comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// A TCP client.
    Tcp {
        /// The other end.
        peer: SocketAddr,
        /// Our end.
        local: SocketAddr,
    },
    /// A client of the Unix socket.
    Unix,
}

impl Origin {
    /// The address of the peer, if it has one.
    #[must_use]
    pub fn peer_ip(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp { peer, .. } => Some(peer.ip()),
            Self::Unix => None,
        }
    }
}

/// One thing that happened. Bytes and texts are lent for the step only.
#[derive(Debug)]
pub enum Input<'a> {
    /// The driver accepted a link (a client on the data port, a peer on the bus port).
    Opened {
        /// The new link, from [`LinkId::accepted`].
        link: LinkId,
        /// Who it is.
        origin: Origin,
    },
    /// A link asked for with [`Action::Connect`](crate::action::Action::Connect) is up.
    Connected {
        /// The link.
        link: LinkId,
        /// Our end of it.
        local: SocketAddr,
    },
    /// A link asked for could not be made; it no longer exists.
    ConnectFailed {
        /// The link.
        link: LinkId,
        /// The words of the operating system, for example `Connection refused`.
        reason: &'a str,
    },
    /// Bytes arrived, in order; they are not kept by the driver.
    Filled {
        /// The link.
        link: LinkId,
        /// What was read, in the driver's scratch buffer.
        bytes: &'a [u8],
    },
    /// `len` bytes were read straight into the memory lent by `inbox()`.
    InboxFilled {
        /// The link.
        link: LinkId,
        /// How many bytes of the inbox are new.
        len: usize,
    },
    /// A link that was another shard's has come here, as that shard wanted with [`Action::Move`](crate::action::Action::Move).
    Moved {
        /// Its name here, from [`LinkId::accepted`].
        link: LinkId,
        /// Its name there.
        from: LinkId,
    },
    /// The driver wrote bytes of the link's outbox to the socket; there is room again.
    Drained {
        /// The link.
        link: LinkId,
    },
    /// The peer closed the link, or it broke. It no longer exists.
    Closed {
        /// The link.
        link: LinkId,
    },
    /// A request to make something durable has ended.
    Done {
        /// The request; all earlier ones are done too.
        ticket: Ticket,
        /// What the operating system said when it failed.
        result: Result<(), &'a str>,
    },
    /// A request to read a file has ended.
    Read {
        /// The request.
        ticket: Ticket,
        /// The content, or what the operating system said.
        result: Result<&'a str, &'a str>,
    },
    /// The deadline of `poll_timeout` has come, or background work was announced.
    Ticked,
    /// A message from another machine of the same process.
    Mailed(Mail),
    /// The operator asked the process to stop (SIGTERM, SIGINT).
    Terminated {
        /// The name of the signal, for the log.
        signal: &'a str,
    },
    /// What the process is, for INFO; told once at the start.
    Introduced(Process),
    /// Figures that only the driver can know, for INFO; sent about once a second.
    Observed(Vitals),
    /// A turn of the driver's event loop took long: for INFO, and for the size of slices in the next ones. Which turns
    /// are long is the driver's to say.
    Turned {
        /// By the wall.
        took: Span,
        /// CPU time of the thread that turns.
        cpu: Span,
    },
}

/// Figures about the process as the operating system and the allocator see it.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Vitals {
    /// Resident set size in bytes.
    pub rss: u64,
    /// Bytes the allocator holds for us, when it can tell.
    pub allocated: u64,
    /// Of the resident bytes those that are no file's, when the system can tell: what the allocator holds.
    pub resident: u64,
    /// Memory of the machine in bytes.
    pub total_system_memory: u64,
    /// CPU time of the process in the kernel, microseconds.
    pub cpu_sys_us: u64,
    /// CPU time of the process in user space, microseconds.
    pub cpu_user_us: u64,
    /// Turns of the event loop since start.
    pub turns: u64,
    /// Microseconds spent in those turns, waiting excluded.
    pub turns_us: u64,
}

/// Whether a machine has work left that needs no input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// Nothing to do before the deadline of `poll_timeout`.
    Idle,
    /// Call again with [`Input::Ticked`] as soon as other inputs are served.
    More,
}
