//! What happens to an export, and what it wants done.

use alloc::boxed::Box;

use bytes::Bytes;

use super::State;
use crate::migration::failure::Failure;
use crate::migration::job::{Outcome, Settlement};
use crate::time::Mono;

/// What AUTH is told before anything else: `primaryuser` and `primaryauth`.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user, if it is not the default one.
    pub user: Option<Box<[u8]>>,
    /// The password.
    pub password: Box<[u8]>,
}

/// The password stays out of logs and panics.
impl core::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

/// What happened to an export. A finished export ignores everything.
#[derive(Debug)]
pub enum Input<'a> {
    /// The link asked for with [`Action::Connect`] is open.
    Connected,
    /// There is no link.
    ConnectFailed {
        /// What the operating system said, or `target node not found`.
        reason: &'a str,
    },
    /// The target sent bytes.
    Filled {
        /// The bytes, lent.
        bytes: &'a [u8],
    },
    /// The link ended: the target closed it, it broke, or its output limit was overrun.
    Closed,
    /// How many bytes the link has not sent yet. To be told whenever the number changed, before anything else that
    /// came later.
    Pending {
        /// All unsent bytes: snapshot, stream and messages.
        bytes: u64,
    },
    /// How many bytes lanes have not sent. To be told like `Pending`, if the target agreed to lanes.
    LanesPending {
        /// The sum.
        bytes: u64,
    },
    /// The snapshot asked for with [`Action::ForkSnapshot`] is complete and in the link's queue as a whole.
    SnapshotWritten,
    /// The hold asked for with [`Action::Pause`] is in force, and every earlier write to the slots is in the link's
    /// queue.
    WritesHeld,
    /// A test forbids (or allows again) the pause: DEBUG SLOTMIGRATION PREVENT-PAUSE.
    PausePrevented(bool),
    /// The cluster bus told who owns the slots now.
    Settled(Settlement),
    /// Something outside ended the job: a flush, a demotion, a snapshot that broke off. Too late after the grant.
    Stopped(Failure),
    /// CLUSTER CANCELSLOTMIGRATIONS. Too late after the grant.
    Cancelled,
    /// The time of `poll_timeout` has come.
    Ticked,
}

/// What an export wants done, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Open a link to the target's data port; answered by `Connected` or `ConnectFailed`.
    Connect,
    /// Queue these bytes on the link, behind everything queued before.
    Send(Bytes),
    /// Write every key of the slots to the link as it is at one instant, and from now on the writes to them too,
    /// each behind the state it changes; answered by `SnapshotWritten`. Before each command ask
    /// [`select`](super::Export::select).
    ForkSnapshot,
    /// Hold writes to the slots, at the latest until the given time; answered by `WritesHeld`.
    Pause {
        /// When the hold ends by itself.
        until: Mono,
    },
    /// The hold ends by itself only then.
    ExtendPause {
        /// The new end, not before the old one.
        until: Mono,
    },
    /// Lift the hold.
    Resume,
    /// From now on, and until `Ended`, believe the target when it claims the slots, whatever its epoch.
    Granted,
    /// The target owns the slots: delete their keys here. Only a proven change of owner leads here, never a timeout.
    DropSlots,
    /// End the link, or the attempt to open it, at once: unsent bytes are lost, and must be. Nothing about the link may
    /// be told afterwards.
    Close,
    /// The job is in this state now.
    Entered(State),
    /// The job is over; nothing follows.
    Ended {
        /// How.
        outcome: Outcome,
    },
}
