//! The states of an import, their names and their order.

use core::fmt;

use crate::migration::edges::Edges;

/// Where an import is. `Display` is the name in CLUSTER GETSLOTMIGRATIONS.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum State {
    /// ESTABLISH was agreed to; the source's first sign of life is awaited.
    WaitingForAck,
    /// The snapshot comes in.
    ReceivingSnapshot,
    /// The stream of writes comes in; the source has to hold them.
    WaitingForPaused,
    /// Everything is applied; the source has to let us take over.
    FailoverRequested,
    /// We may take over; the claim has to become durable.
    FailoverGranted,
    /// Given up; the keys that came in are being deleted.
    CleaningUp,
    /// The import is our primary's; we follow it.
    OccurringOnPrimary,
    /// The slots are ours.
    Success,
    /// Given up, and nothing is left of it.
    Failed,
}

use State::{
    CleaningUp, Failed, FailoverGranted, FailoverRequested, OccurringOnPrimary, ReceivingSnapshot, Success,
    WaitingForAck, WaitingForPaused,
};

/// Every legal transition of an import.
pub const EDGES: Edges<State> = Edges(&[
    (WaitingForAck, &[ReceivingSnapshot, CleaningUp, OccurringOnPrimary]),
    (ReceivingSnapshot, &[WaitingForPaused, CleaningUp, OccurringOnPrimary]),
    (WaitingForPaused, &[FailoverRequested, CleaningUp, OccurringOnPrimary]),
    (FailoverRequested, &[FailoverGranted, CleaningUp, OccurringOnPrimary]),
    (FailoverGranted, &[Success, CleaningUp, OccurringOnPrimary]),
    (CleaningUp, &[Failed, OccurringOnPrimary]),
    (OccurringOnPrimary, &[Success, Failed, CleaningUp]),
    (Success, &[]),
    (Failed, &[]),
]);

impl State {
    /// Whether nothing follows: the job is only a row of the log.
    #[must_use]
    pub const fn is_finished(self) -> bool {
        matches!(self, Success | Failed)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            WaitingForAck => "waiting-for-ack",
            ReceivingSnapshot => "receiving-snapshot",
            WaitingForPaused => "waiting-for-paused",
            FailoverRequested => "failover-requested",
            FailoverGranted => "failover-granted",
            CleaningUp => "cleaning-up",
            OccurringOnPrimary => "occurring-on-primary",
            Success => "success",
            Failed => "failed",
        })
    }
}
