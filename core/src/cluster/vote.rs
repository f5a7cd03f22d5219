//! Votes for replicas of other shards that want to replace their failed primary.

use super::Cluster;
use super::node_table::{NodeIx, Role};
use crate::slots::SlotSet;
use crate::wire::bus::{Body, Header, MessageFlags};

/// Why a vote is refused; the requester is not told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum NoVote {
    NotAVoter,
    JustStarted,
    OldEpoch,
    VotedInThisEpoch,
    NoReplica,
    PrimaryIsUp,
    /// A slot it claims has an owner with a higher epoch.
    OutdatedSlots(NodeIx),
}

impl Cluster {
    /// A replica asks for a vote. The vote is saved durably before it is sent, and there is one per epoch.
    pub(super) fn asked_for_vote(&mut self, requester: NodeIx, header: &Header<'_>) {
        let id = self.nodes[requester].id;
        match self.judge_request(requester, header) {
            Ok(()) => {
                self.epochs.last_vote = self.epochs.current;
                self.todo.save_durably();
                tracing::info!(to = %id, epoch = self.epochs.current, "vote given");
                self.send(requester, &Body::AuthAck);
            }
            Err(why) => {
                tracing::info!(to = %id, epoch = header.current_epoch, ?why, "vote refused");
                if let NoVote::OutdatedSlots(owner) = why {
                    self.send_update(requester, owner);
                }
            }
        }
    }

    fn judge_request(&self, requester: NodeIx, header: &Header<'_>) -> Result<(), NoVote> {
        if !self.is_voter(NodeIx::MYSELF) {
            return Err(NoVote::NotAVoter);
        }
        if self.standing.is_starting(self.now.mono) {
            return Err(NoVote::JustStarted);
        }
        if header.current_epoch < self.epochs.current {
            return Err(NoVote::OldEpoch);
        }
        if self.epochs.last_vote == self.epochs.current {
            return Err(NoVote::VotedInThisEpoch);
        }
        let Role::Replica { of: Some(primary) } = self.nodes[requester].role else {
            return Err(NoVote::NoReplica);
        };
        if !self.nodes[primary].failed() && !header.message_flags.has(MessageFlags::FORCE_ACK) {
            return Err(NoVote::PrimaryIsUp);
        }
        let claimed = SlotSet::from_bitmap(header.slots.0);
        let newer = claimed.iter().find_map(|slot| self.newer_owner(slot, requester, header.config_epoch));
        newer.map_or(Ok(()), |owner| Err(NoVote::OutdatedSlots(owner)))
    }
}
