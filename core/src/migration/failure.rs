//! Why a job ended without success.

use alloc::boxed::Box;
use core::fmt;

/// The reason of a failed job. Its text is the `message` of CLUSTER GETSLOTMIGRATIONS, word for word Valkey's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// Source: no connection. Carries what the operating system said, or `target node not found`.
    ConnectFailed(Box<str>),
    /// Source: AUTH could not be sent.
    AuthNotSent(Box<str>),
    /// Source: the link ended instead of an answer to AUTH.
    AuthNotAnswered,
    /// Source: AUTH was refused. Carries the error line, without its end.
    AuthRefused(Box<str>),
    /// Source: ESTABLISH was refused. Carries the error line **with** its CR LF.
    HandshakeRefused(Box<str>),
    /// Source: the answer to ESTABLISH did not end within 16 KiB.
    AnswerTooLong,
    /// Source: the snapshot could not begin.
    SnapshotNotStarted,
    /// Source: the snapshot broke off.
    SnapshotBroken,
    /// Source: the link ended.
    ConnectionLostToTarget,
    /// Source: the target did not ask to take over while writes were held.
    PauseEndedBeforeRequest,
    /// Source: the target asked to take over, but writes were no longer held.
    UnpausedBeforeFailover,
    /// Source: the target was let take over and was not heard of while writes were held.
    UnpausedAfterGrant,
    /// Source: somebody else owns a slot of the job.
    SlotsNotMine,
    /// Target: the link ended.
    ConnectionLostToSource,
    /// Target: a command of the stream was refused for lack of memory.
    OutOfMemory,
    /// Target: the source does not own the slots any more.
    SlotsNotOwnedBySource,
    /// Target: this node was promoted while it followed an import.
    FailoverOccurred,
    /// Target's replica: a full resynchronization replaced the keyspace.
    FullResync,
    /// Target: a snapshot file replaces the keyspace.
    RdbLoading,
    /// Target: the process ended during the import.
    ProcessRestarted,
    /// Either: no sign of life from the peer for `repl-timeout`.
    TimedOut,
    /// Either: FLUSHDB or FLUSHALL.
    DataFlushed,
    /// Either: a message of the peer that fits no state we could be in.
    UnexpectedTransition,
    /// Either: a sub-command of SYNCSLOTS that does not exist.
    UnknownSubcommand,
    /// Either: a command that gave an error, or bytes that are no command.
    CommandFailed,
    /// A replica: the text that its primary sent with FINISH.
    ToldByPrimary(Box<str>),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ConnectFailed(reason) => return write!(f, "Unable to connect to target node: {reason}"),
            Self::AuthNotSent(reason) => {
                return write!(f, "Failed to send AUTH command to target node: {reason}");
            }
            Self::AuthNotAnswered => "Target node did not respond to AUTH command",
            Self::AuthRefused(line) => return write!(f, "Failed to AUTH to target node: {line}"),
            Self::HandshakeRefused(line) => {
                return write!(f, "Received error during handshake to target: {line}");
            }
            Self::AnswerTooLong => "Response to establish job is larger than buffer limit",
            Self::SnapshotNotStarted => "Failed to start snapshot",
            Self::SnapshotBroken => "Failed to perform snapshot",
            Self::ConnectionLostToTarget => {
                "Connection lost to target. Check CLUSTER GETSLOTMIGRATIONS on the target node for more information."
            }
            Self::PauseEndedBeforeRequest => "Timed out before streaming completed",
            Self::UnpausedBeforeFailover => "Unpaused before failover completed",
            Self::UnpausedAfterGrant => {
                "Unpaused before migration completed (migration may have succeeded with lost writes)"
            }
            Self::SlotsNotMine => "Slots are no longer owned by myself",
            Self::ConnectionLostToSource => {
                "Connection lost to source. Check CLUSTER GETSLOTMIGRATIONS on the source node for more information."
            }
            Self::OutOfMemory => "Ran out of memory (OOM) during slot import",
            Self::SlotsNotOwnedBySource => "Slots are no longer owned by source node",
            Self::FailoverOccurred => "A failover occurred during slot import",
            Self::FullResync => "Full resynchronization occurred",
            Self::RdbLoading => "A new RDB is being loaded",
            Self::ProcessRestarted => "Process restarted",
            Self::TimedOut => "Timed out after too long with no interaction",
            Self::DataFlushed => "Data was flushed",
            Self::UnexpectedTransition => "Unexpected state machine transition",
            Self::UnknownSubcommand => "Unknown SYNCSLOTS subcommand used",
            Self::CommandFailed => {
                "Failed to process command during slot migration. Check logs for more information"
            }
            Self::ToldByPrimary(text) => text,
        })
    }
}
