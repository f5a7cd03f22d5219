//! What an export keeps in each of its states.

use super::State;
use super::answer::Line;
use crate::time::Mono;

/// What only the present state needs.
#[derive(Debug)]
pub(super) enum Phase {
    Connecting,
    SendingAuthCommand,
    ReadingAuthResponse(Line),
    SendingEstablishCommand,
    ReadingEstablishResponse(Line),
    WaitingToSnapshot,
    Snapshotting,
    Replicating,
    WaitingToPause { asked: Option<Hold> },
    FailoverPaused(Hold),
    FailoverGranted(Hold),
    Finished(State),
}

/// A hold on writes, from the moment we asked for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold {
    pub(super) since: Mono,
    pub(super) until: Mono,
}

impl Phase {
    pub(super) fn state(&self) -> State {
        match self {
            Self::Connecting => State::Connecting,
            Self::SendingAuthCommand => State::SendingAuthCommand,
            Self::ReadingAuthResponse(_) => State::ReadingAuthResponse,
            Self::SendingEstablishCommand => State::SendingEstablishCommand,
            Self::ReadingEstablishResponse(_) => State::ReadingEstablishResponse,
            Self::WaitingToSnapshot => State::WaitingToSnapshot,
            Self::Snapshotting => State::Snapshotting,
            Self::Replicating => State::Replicating,
            Self::WaitingToPause { .. } => State::WaitingToPause,
            Self::FailoverPaused(_) => State::FailoverPaused,
            Self::FailoverGranted(_) => State::FailoverGranted,
            Self::Finished(state) => *state,
        }
    }

    /// Whether the snapshot has begun, and the job not ended.
    pub(super) fn streams(&self) -> bool {
        matches!(
            self,
            Self::Snapshotting
                | Self::Replicating
                | Self::WaitingToPause { .. }
                | Self::FailoverPaused(_)
                | Self::FailoverGranted(_)
        )
    }

    /// The hold that was asked for and not lifted.
    pub(super) fn hold(&self) -> Option<Hold> {
        match self {
            Self::WaitingToPause { asked } => *asked,
            Self::FailoverPaused(hold) | Self::FailoverGranted(hold) => Some(*hold),
            _ => None,
        }
    }

    /// Whether the target is told that we are alive. During the snapshot its bytes say so.
    pub(super) fn sends_acks(&self) -> bool {
        matches!(
            self,
            Self::WaitingToSnapshot
                | Self::Replicating
                | Self::WaitingToPause { .. }
                | Self::FailoverPaused(_)
        )
    }
}
