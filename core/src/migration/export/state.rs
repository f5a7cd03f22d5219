//! The states of an export, their names and their order.

use core::fmt;

use crate::migration::edges::Edges;

/// Where an export is. `Display` is the name in CLUSTER GETSLOTMIGRATIONS.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum State {
    /// The link is being opened.
    Connecting,
    /// The link is open and AUTH on its way out.
    SendingAuthCommand,
    /// The answer to AUTH is awaited.
    ReadingAuthResponse,
    /// ESTABLISH is on its way out.
    SendingEstablishCommand,
    /// The answer to ESTABLISH is awaited.
    ReadingEstablishResponse,
    /// The link must run empty before the snapshot.
    WaitingToSnapshot,
    /// The snapshot is being written, and with it the writes to what it has passed.
    Snapshotting,
    /// The snapshot is written; the target has to read it and ask for the pause.
    Replicating,
    /// The target asked for the pause; what waits to be sent must get short, and the hold come into force.
    WaitingToPause,
    /// Writes are held; the target has to ask to take over.
    FailoverPaused,
    /// The target may take over; the news that it did is awaited, with writes held.
    FailoverGranted,
    /// The target owns the slots.
    Success,
    /// Given up.
    Failed,
    /// Given up because the operator said so.
    Cancelled,
}

use State::{
    Cancelled, Connecting, Failed, FailoverGranted, FailoverPaused, ReadingAuthResponse,
    ReadingEstablishResponse, Replicating, SendingAuthCommand, SendingEstablishCommand, Snapshotting,
    Success, WaitingToPause, WaitingToSnapshot,
};

/// Every legal transition of an export. Ownership may settle in the target's favour in any state (somebody can
/// assign slots by hand), so every state that lasts can end in each of the three ways; only a grant is not taken back
/// because the operator says so.
pub const EDGES: Edges<State> = Edges(&[
    (Connecting, &[SendingAuthCommand, SendingEstablishCommand, Success, Failed, Cancelled]),
    (SendingAuthCommand, &[ReadingAuthResponse]),
    (ReadingAuthResponse, &[SendingEstablishCommand, Success, Failed, Cancelled]),
    (SendingEstablishCommand, &[ReadingEstablishResponse]),
    (ReadingEstablishResponse, &[WaitingToSnapshot, Success, Failed, Cancelled]),
    (WaitingToSnapshot, &[Snapshotting, Success, Failed, Cancelled]),
    (Snapshotting, &[Replicating, Success, Failed, Cancelled]),
    (Replicating, &[WaitingToPause, Success, Failed, Cancelled]),
    (WaitingToPause, &[FailoverPaused, Success, Failed, Cancelled]),
    (FailoverPaused, &[FailoverGranted, Success, Failed, Cancelled]),
    (FailoverGranted, &[Success, Failed]),
    (Success, &[]),
    (Failed, &[]),
    (Cancelled, &[]),
]);

impl State {
    /// Whether nothing follows: the job is only a row of the log.
    #[must_use]
    pub const fn is_finished(self) -> bool {
        matches!(self, Success | Failed | Cancelled)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Connecting => "connecting",
            SendingAuthCommand => "sending-auth-command",
            ReadingAuthResponse => "reading-auth-response",
            SendingEstablishCommand => "sending-establish-command",
            ReadingEstablishResponse => "reading-establish-response",
            WaitingToSnapshot => "waiting-to-snapshot",
            Snapshotting => "snapshotting",
            Replicating => "replicating",
            WaitingToPause => "waiting-to-pause",
            FailoverPaused => "failover-paused",
            FailoverGranted => "failover-granted",
            Success => "success",
            Failed => "failed",
            Cancelled => "cancelled",
        })
    }
}
