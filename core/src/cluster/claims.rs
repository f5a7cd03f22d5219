//! What nodes say about their roles and slots, and whom to believe.

use super::Cluster;
use super::node_table::{NodeIx, Role};
use super::ownership::Reason;
use crate::slots::{BITMAP_LEN, Slot, SlotSet};
use crate::wire::bus::{Bitmap, Body, Header};

impl Cluster {
    /// The sender says whether it is a primary or whose replica it is. False when the message is older than what is
    /// known, so that nothing more of it may be believed.
    pub(super) fn hear_role(&mut self, sender: NodeIx, header: &Header<'_>) -> bool {
        let Some(primary_id) = header.replica_of else {
            if !self.nodes[sender].is_primary() {
                self.set_primary(sender);
            }
            return true;
        };
        let primary = self.nodes.find(primary_id).filter(|&ix| ix != sender);
        if self.nodes[sender].is_primary() && !self.hear_demotion(sender, primary, header.config_epoch) {
            return false;
        }
        let role = self.nodes[sender].role;
        if !self.nodes[sender].is_replica() {
            self.nodes[sender].role = Role::Replica { of: None };
            self.role_changed(sender);
        }
        let Some(primary) = primary.filter(|&ix| role != Role::Replica { of: Some(ix) }) else { return true };
        self.nodes[sender].role = Role::Replica { of: Some(primary) };
        self.nodes[sender].shard = self.nodes[primary].shard;
        self.nodes[primary].migrate_to = true;
        self.role_changed(sender);
        true
    }

    /// A primary became a replica. Within its shard that means a failover, whose winner gets the slots.
    fn hear_demotion(&mut self, sender: NodeIx, primary: Option<NodeIx>, epoch: u64) -> bool {
        let same_shard = primary.filter(|&ix| self.nodes[ix].shard == self.nodes[sender].shard);
        let Some(primary) = same_shard else {
            self.unassign_all(sender, Reason::RoleChanged);
            return true;
        };
        if self.nodes.epoch(sender) > epoch || self.nodes.epoch(primary) > epoch {
            tracing::debug!(sender = %self.nodes[sender].id, epoch, "stale message about a failover ignored");
            return false;
        }
        if self.nodes[primary].is_replica() {
            if let Some(slots) = self.slots.slots_of(sender).cloned() {
                self.assign(&slots, Some(primary), Reason::RoleChanged);
            }
            self.open.rename(sender, primary);
            self.set_primary(primary);
            self.nodes[primary].config_epoch = epoch;
            self.todo.save_durably();
        }
        true
    }

    fn set_primary(&mut self, ix: NodeIx) {
        if ix == NodeIx::MYSELF {
            return;
        }
        self.nodes[ix].role = Role::Primary;
        self.role_changed(ix);
    }

    fn role_changed(&mut self, ix: NodeIx) {
        tracing::info!(node = %self.nodes[ix].id, role = ?self.nodes[ix].role, "role changed");
        if self.nodes[ix].is_replica() {
            self.nodes[ix].migrate_to = false;
        }
        self.todo.save_durably();
        self.todo.state = true;
        self.changed();
    }

    /// A node has a higher epoch: it holds with it what it claims, and nothing else that the table says it owns. Its next
    /// ping would say so too, and the claim of the new owner may come, or this node die, before.
    pub(super) fn withdraw_unclaimed(&mut self, node: NodeIx, claimed: &[u8; BITMAP_LEN]) {
        let claimed = SlotSet::from_bitmap(claimed);
        for slot in self.slots.announced_by(node).iter().filter(|slot| !claimed.contains(*slot)) {
            self.slots.mark_announced(slot, false);
        }
    }

    /// The sender of a ping, pong or meet says which slots it has.
    pub(super) fn hear_slots(&mut self, sender: NodeIx, header: &Header<'_>) {
        if !header.claims_primary() {
            return;
        }
        let mine = self.nodes.myself().config_epoch;
        self.outbid(sender, header.config_epoch);
        self.settle_takings(sender, header, mine);
        let known = self.slots.slots_of(sender);
        let differs =
            known.map_or(header.slots.0.iter().any(|&b| b != 0), |set| set.as_bitmap() != header.slots.0);
        if differs || self.slots.has_unannounced(sender) {
            self.claim(
                sender,
                header.config_epoch,
                header.slots.0,
                Reason::Claim { epoch: header.config_epoch },
            );
            self.correct_claims(sender, header);
        }
        self.resolve_collision(header.config_epoch, self.nodes[sender].id);
        self.settle_partings(sender, header);
    }

    /// Applies the claim of `claimer` to exactly the slots of `bitmap`: a higher epoch wins, an equal one does not.
    fn claim(&mut self, claimer: NodeIx, epoch: u64, bitmap: &[u8; BITMAP_LEN], reason: Reason) {
        let claimed = SlotSet::from_bitmap(bitmap);
        let (mut won, mut let_go) = (SlotSet::new(), SlotSet::new());
        for slot in Slot::all() {
            let owner = self.slots.owner(slot);
            if !claimed.contains(slot) {
                if owner == Some(claimer) {
                    if self.open.importing_from(slot) == Some(claimer) {
                        let_go.insert(slot);
                    } else {
                        self.slots.mark_announced(slot, false);
                    }
                }
                self.retarget_migration(slot, claimer, epoch);
            } else if owner == Some(claimer) {
                self.slots.mark_announced(slot, true);
            } else if self.yields_to(slot, owner, claimer, epoch) {
                won.insert(slot);
                self.settle_open_slot(slot, claimer);
            }
        }
        if !won.is_empty() {
            self.assign(&won, Some(claimer), reason);
        }
        for slot in let_go.iter() {
            self.take_let_go(slot);
        }
    }

    fn yields_to(&self, slot: Slot, owner: Option<NodeIx>, claimer: NodeIx, epoch: u64) -> bool {
        self.slots.is_unclaimed(slot)
            || owner.is_some_and(|owner| self.nodes[owner].config_epoch < epoch)
            || (owner == Some(NodeIx::MYSELF) && self.has_let_go_to(claimer, epoch, slot))
    }

    /// A slot that this node moves by hand gets another owner.
    fn settle_open_slot(&mut self, slot: Slot, owner: NodeIx) {
        let shard = self.nodes[owner].shard;
        if let Some(source) = self.open.importing_from(slot) {
            let moved_within = self.nodes[source].shard == shard;
            self.open.set_importing(slot, moved_within.then_some(owner));
        }
        if self.open.migrating_to(slot).is_some() && self.nodes.myself().shard != shard {
            self.open.set_migrating(slot, None);
        }
    }

    /// A slot is being moved to a node that was replaced by `claimer` in a failover: the move goes on to that one.
    fn retarget_migration(&mut self, slot: Slot, claimer: NodeIx, epoch: u64) {
        let Some(target) = self.open.migrating_to(slot).filter(|&target| target != claimer) else { return };
        let old = &self.nodes[target];
        let outdated = old.config_epoch < epoch || old.is_replica();
        if old.shard == self.nodes[claimer].shard && outdated {
            self.open.set_migrating(slot, Some(claimer));
            self.todo.save();
            self.changed();
        }
    }

    /// Tells a sender about the first owner with a higher epoch whose slots it claims.
    fn correct_claims(&mut self, sender: NodeIx, header: &Header<'_>) {
        let claimed = SlotSet::from_bitmap(header.slots.0);
        let newer = claimed.iter().find_map(|slot| self.newer_owner(slot, sender, header.config_epoch));
        if let Some(owner) = newer {
            self.send_update(sender, owner);
        }
    }

    /// The owner of a slot, when it holds it more firmly than a claim of `claimer` at `epoch`.
    pub(super) fn newer_owner(&self, slot: Slot, claimer: NodeIx, epoch: u64) -> Option<NodeIx> {
        let owner = self.slots.owner(slot).filter(|&owner| owner != claimer)?;
        let newer = !self.slots.is_unclaimed(slot) && self.nodes[owner].config_epoch > epoch;
        newer.then_some(owner)
    }

    /// Tells `to` the slots and epoch of `about`.
    pub(super) fn send_update(&mut self, to: NodeIx, about: NodeIx) {
        let mut slots = self.slots.announced_by(about);
        if about == NodeIx::MYSELF {
            self.withhold(&mut slots);
        }
        let (node, config_epoch) = (self.nodes[about].id, self.nodes[about].config_epoch);
        tracing::info!(to = %self.nodes[to].id, about = %node, config_epoch, "correcting an outdated claim");
        self.send(to, &Body::Update { node, config_epoch, slots: Bitmap(slots.as_bitmap()) });
    }

    /// A third node says which slots `subject` has.
    pub(super) fn told_update(&mut self, subject: NodeIx, epoch: u64, bitmap: &[u8; BITMAP_LEN]) {
        if subject == NodeIx::MYSELF || self.nodes.epoch(subject) >= epoch {
            return;
        }
        if !self.nodes[subject].is_primary() {
            self.set_primary(subject);
        }
        self.nodes[subject].config_epoch = epoch;
        self.saw_epoch(epoch);
        self.outbid(subject, epoch);
        self.todo.save_durably();
        self.changed();
        self.claim(subject, epoch, bitmap, Reason::Update { epoch });
    }
}
