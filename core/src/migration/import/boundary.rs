//! What happens to an import, and what it wants done.

use alloc::boxed::Box;

use bytes::Bytes;

use super::State;
use crate::migration::failure::Failure;
use crate::migration::job::{Outcome, Settlement};
use crate::wire::resp::Argv;

/// What happened to an import, besides the source's bytes, which [`read`](super::Import::read) takes. A finished
/// import ignores everything.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// The link ended.
    Closed,
    /// On a lane the snapshot has come. To be told once of each.
    LaneArrived,
    /// On a lane everything has come and is applied, and the source holds its writes. To be told once of each; what breaks
    /// a lane before that is told with `Stopped`.
    LanePaused,
    /// The claim asked for with [`Action::AssignSlots`] is durable here: the slots are ours, whatever else happened.
    TakenOver,
    /// The claim was withdrawn before it began, as asked for with [`Action::Withdraw`].
    Withdrawn,
    /// The cluster bus told who owns the slots now.
    Settled(Settlement),
    /// Something outside ended the job: a flush, a full resynchronization, a file that replaces the keyspace.
    Stopped(Failure),
    /// The keys asked for with [`Action::DropSlots`] are gone.
    Cleaned,
    /// This node became a replica: the import is its new primary's to clean up.
    Demoted,
    /// This node became a primary while it followed an import, by a failover or because it restarted as one.
    Promoted(Failure),
    /// The primary told how the import ended that we follow (CLUSTER SYNCSLOTS FINISH).
    Finished {
        /// Why it failed; nothing if the slots are the primary's now.
        failure: Option<Box<str>>,
    },
    /// The time of `poll_timeout` has come.
    Ticked,
}

/// What an import wants done, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Queue these bytes on the link.
    Send(Bytes),
    /// Everything is applied and the source holds its writes: claim the slots, make the claim durable, then tell
    /// everybody; answered by `TakenOver`.
    AssignSlots,
    /// The job failed after `AssignSlots`: do not claim the slots if that has not begun. Answered by `Withdrawn`, or
    /// by `TakenOver` if it is too late.
    Withdraw,
    /// Delete the keys of those slots of the job that are not ours; answered by `Cleaned`.
    DropSlots,
    /// The slots are no longer hidden from SCAN, DBSIZE and the like.
    Unhide,
    /// End the link. Nothing about the link may be told afterwards.
    Close,
    /// The job is in this state now.
    Entered(State),
    /// The job is over; nothing follows.
    Ended {
        /// How.
        outcome: Outcome,
    },
}

/// What [`read`](super::Import::read) found in the source's bytes.
#[derive(Debug)]
pub enum Read<'a> {
    /// A command to apply to the slots, irrespective of who owns them and without a reply. Its outcome goes to
    /// [`applied`](super::Import::applied).
    Apply {
        /// The database it is for.
        db: u32,
        /// The command.
        argv: Argv<'a>,
    },
    /// Something between the machines; there may be more, read again.
    Heard,
    /// All bytes are used.
    Starved,
}

/// Why a command of the stream could not be applied. Every such command fails the job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rejected {
    /// Out of memory (`maxmemory`).
    Oom,
    /// Any other error reply.
    Error,
}
