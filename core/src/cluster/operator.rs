//! What the operator may ask of the machine. The words of the commands are read in [`admin`](super::admin).

use alloc::string::String;
use alloc::vec::Vec;

use super::boundary::Action;
use super::node_table::{Address, NodeIx};
use super::ownership::{Reason, only};
use super::refused::Refused;
use super::{Bump, Cluster};
use crate::ids::NodeId;
use crate::slots::{Slot, SlotRanges, SlotSet};
use crate::time::Now;
use crate::wire::bus::IpText;
use crate::wire::resp::quote;

/// What CLUSTER SETSLOT does to a slot; ids are text as given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SetSlot<'a> {
    /// Keys of the slot are being moved to that node.
    Migrating(&'a [u8]),
    /// Keys of the slot are being fetched from that node.
    Importing(&'a [u8]),
    /// Neither, whatever was going on.
    Stable,
    /// The slot belongs to that node.
    Node(&'a [u8]),
}

/// An argument in an error text.
pub(super) fn shown(arg: &[u8]) -> String {
    quote(arg)
}

impl Cluster {
    /// CLUSTER MEET: introduces this node to the one at an address. Returns before anything has happened.
    ///
    /// # Errors
    /// [`Refused::BadAddress`] when `ip` is no IP literal; [`Refused::TooManyNodes`].
    pub fn meet(
        &mut self,
        now: Now,
        ip: &[u8],
        port: u16,
        bus_port: u16,
        out: &mut Vec<Action>,
    ) -> Result<(), Refused> {
        self.begin(now);
        let parsed = IpText::new(ip).and_then(|text| text.ip());
        let ip = parsed.ok_or_else(|| Refused::BadAddress(shown(ip), i64::from(port)))?;
        let address = Address::told(IpText::from_ip(ip), self.config.tls_cluster, port, 0, bus_port);
        let begun = self.begin_handshake(address, true);
        self.settle(out);
        begun.map(|_| ()).ok_or(Refused::TooManyNodes)
    }

    /// CLUSTER FORGET: removes a node, and keeps gossip from bringing it back for `cluster-blacklist-ttl`.
    ///
    /// # Errors
    /// [`Refused::UnknownNode`] unless it was forgotten lately; [`Refused::ForgetMyself`].
    pub fn forget(&mut self, now: Now, id: &[u8], out: &mut Vec<Action>) -> Result<(), Refused> {
        self.begin(now);
        let Some(ix) = self.nodes.find_text(id) else {
            let lately = NodeId::parse(id).is_some_and(|id| self.is_blacklisted(id));
            return if lately { Ok(()) } else { Err(Refused::UnknownNode(shown(id))) };
        };
        if ix == NodeIx::MYSELF {
            return Err(Refused::ForgetMyself);
        }
        self.blacklist(self.nodes[ix].id, self.config.blacklist_ttl_s);
        self.remove_node(ix);
        self.settle(out);
        Ok(())
    }

    /// CLUSTER ADDSLOTS: takes slots that nobody owns. All or nothing.
    ///
    /// # Errors
    /// [`Refused::SlotBusy`], [`Refused::SlotTwice`].
    pub fn add_slots(&mut self, now: Now, slots: &SlotRanges, out: &mut Vec<Action>) -> Result<(), Refused> {
        let owned = |slot| self.slots.owner(slot).is_some().then_some(Refused::SlotBusy(slot));
        let set = distinct(slots, owned)?;
        self.reassign(now, &set, Some(NodeIx::MYSELF), Reason::AddSlots, out);
        Ok(())
    }

    /// CLUSTER DELSLOTS: takes slots from whoever owns them, in this node's table only. All or nothing.
    ///
    /// # Errors
    /// [`Refused::SlotUnassigned`], [`Refused::SlotTwice`].
    pub fn del_slots(&mut self, now: Now, slots: &SlotRanges, out: &mut Vec<Action>) -> Result<(), Refused> {
        let free = |slot| self.slots.owner(slot).is_none().then_some(Refused::SlotUnassigned(slot));
        let set = distinct(slots, free)?;
        self.reassign(now, &set, None, Reason::DelSlots, out);
        Ok(())
    }

    fn reassign(
        &mut self,
        now: Now,
        slots: &SlotSet,
        to: Option<NodeIx>,
        reason: Reason,
        out: &mut Vec<Action>,
    ) {
        self.begin(now);
        for slot in slots.iter() {
            self.open.set_importing(slot, None);
        }
        self.assign(slots, to, reason);
        self.settle(out);
    }

    /// CLUSTER SETSLOT, the steps of moving a slot by hand. `keys_in_slot` is how many keys of the slot are here.
    ///
    /// # Errors
    /// In the order of Valkey: who owns the slot, whether the node is known, whether it is the right one.
    pub fn set_slot(
        &mut self,
        now: Now,
        slot: Slot,
        action: SetSlot<'_>,
        keys_in_slot: u64,
        out: &mut Vec<Action>,
    ) -> Result<(), Refused> {
        self.begin(now);
        let other = self.check_set_slot(slot, action, keys_in_slot)?;
        match (action, other) {
            (SetSlot::Migrating(_), target) => {
                self.open.set_migrating(slot, target);
            }
            (SetSlot::Importing(_), source) => {
                self.open.set_importing(slot, source);
            }
            (SetSlot::Node(_), Some(owner)) => self.set_slot_node(slot, owner, keys_in_slot),
            (SetSlot::Stable | SetSlot::Node(_), _) => {
                self.open.close(slot);
            }
        }
        tracing::info!(%slot, ?action, "slot state set by the operator");
        self.todo.save_durably();
        self.todo.state = true;
        self.changed();
        self.settle(out);
        Ok(())
    }

    fn other_primary(&self, id: &[u8]) -> Result<NodeIx, Refused> {
        match self.nodes.find_text(id) {
            None => Err(Refused::DontKnowNode(shown(id))),
            Some(NodeIx::MYSELF) => Err(Refused::TargetIsMyself),
            Some(ix) if self.nodes[ix].is_replica() => Err(Refused::TargetIsReplica),
            Some(ix) => Ok(ix),
        }
    }

    /// The checks of [`set_slot`](Self::set_slot); the node that the action names.
    pub(super) fn check_set_slot(
        &self,
        slot: Slot,
        action: SetSlot<'_>,
        keys_in_slot: u64,
    ) -> Result<Option<NodeIx>, Refused> {
        let mine = self.slots.is_mine(slot);
        match action {
            SetSlot::Migrating(_) if !mine => Err(Refused::NotTheOwner(slot)),
            SetSlot::Importing(_) if mine => Err(Refused::AlreadyTheOwner(slot)),
            SetSlot::Migrating(id) | SetSlot::Importing(id) => self.other_primary(id).map(Some),
            SetSlot::Stable => Ok(None),
            SetSlot::Node(id) => match self.nodes.find_text(id) {
                None => Err(Refused::UnknownNode(shown(id))),
                Some(owner) if self.nodes[owner].is_replica() => Err(Refused::TargetIsReplica),
                Some(owner) if owner != NodeIx::MYSELF && mine && keys_in_slot > 0 => {
                    Err(Refused::StillHoldingKeys(slot))
                }
                owner => Ok(owner),
            },
        }
    }

    fn set_slot_node(&mut self, slot: Slot, owner: NodeIx, keys_in_slot: u64) {
        if keys_in_slot == 0 {
            self.open.set_migrating(slot, None);
        }
        self.assign(&only(slot), Some(owner), Reason::SetSlotNode);
        if owner == NodeIx::MYSELF && self.open.set_importing(slot, None) {
            // The claim must win over the source's, which still has the slot in its own table perhaps.
            self.bump_without_consensus();
            self.todo.announce = true;
        }
    }

    /// CLUSTER BUMPEPOCH.
    pub fn bump_epoch(&mut self, now: Now, out: &mut Vec<Action>) -> Bump {
        self.begin(now);
        let bump = self.bump_without_consensus();
        self.todo.announce = matches!(bump, Bump::Bumped(_));
        self.settle(out);
        bump
    }

    /// CLUSTER SET-CONFIG-EPOCH: the first epoch of a node that is alone yet.
    ///
    /// # Errors
    /// [`Refused::BadEpoch`], [`Refused::EpochKnowsOthers`], [`Refused::EpochNotZero`].
    pub fn set_config_epoch(&mut self, now: Now, epoch: i64, out: &mut Vec<Action>) -> Result<(), Refused> {
        self.begin(now);
        let epoch = u64::try_from(epoch).map_err(|_| Refused::BadEpoch(epoch))?;
        if self.nodes.len() > 1 {
            return Err(Refused::EpochKnowsOthers);
        }
        if self.nodes.myself().config_epoch != 0 {
            return Err(Refused::EpochNotZero);
        }
        self.nodes.myself_mut().config_epoch = epoch;
        self.epochs.current = self.epochs.current.max(epoch);
        self.todo.save_durably();
        self.todo.state = true;
        self.changed();
        self.settle(out);
        Ok(())
    }

    /// CLUSTER RESET: leaves the cluster; `hard` also gives up name and epochs. `keys` is how many keys are here.
    ///
    /// # Errors
    /// [`Refused::ResetWithKeys`].
    pub fn reset(&mut self, now: Now, hard: bool, keys: u64, out: &mut Vec<Action>) -> Result<(), Refused> {
        if keys > 0 {
            return Err(Refused::ResetWithKeys);
        }
        self.begin(now);
        self.leave(hard);
        self.settle(out);
        Ok(())
    }

    /// CLUSTER SAVECONFIG: saves durably. Answer `+OK` when the save that this emits is done.
    pub fn save_config(&mut self, now: Now, out: &mut Vec<Action>) {
        self.begin(now);
        self.todo.save_durably();
        self.settle(out);
    }

    /// CLUSTER FLUSHSLOTS: gives up all slots. `keys` is how many keys are here.
    ///
    /// # Errors
    /// [`Refused::FlushWithKeys`].
    pub fn flush_slots(&mut self, now: Now, keys: u64, out: &mut Vec<Action>) -> Result<(), Refused> {
        if keys > 0 {
            return Err(Refused::FlushWithKeys);
        }
        self.begin(now);
        self.unassign_all(NodeIx::MYSELF, Reason::FlushSlots);
        self.settle(out);
        Ok(())
    }

    /// CLUSTER REPLICATE: checks what Valkey checks, and then says that this node can only be a primary.
    /// `keys` is how many keys are here.
    ///
    /// # Errors
    /// Always.
    pub fn replicate(&self, primary: &[u8], keys: u64) -> Result<(), Refused> {
        let Some(ix) = self.nodes.find_text(primary) else {
            return Err(Refused::UnknownNode(shown(primary)));
        };
        if ix == NodeIx::MYSELF {
            return Err(Refused::ReplicateMyself);
        }
        if self.nodes[ix].is_replica() {
            return Err(Refused::ReplicateReplica);
        }
        if keys > 0 || self.slots.count(NodeIx::MYSELF) > 0 {
            return Err(Refused::ReplicateNotEmpty);
        }
        Err(Refused::ReplicationMissing)
    }

    /// CLUSTER COUNT-FAILURE-REPORTS: how many other primaries cannot reach a node.
    ///
    /// # Errors
    /// [`Refused::UnknownNode`].
    pub fn count_failure_reports(&mut self, now: Now, id: &[u8]) -> Result<usize, Refused> {
        self.begin(now);
        let ix = self.nodes.find_text(id).ok_or_else(|| Refused::UnknownNode(shown(id)))?;
        Ok(self.count_reports(ix))
    }
}

/// The set of `slots`, unless one appears twice or `wrong` has something against it. What is wrong is told in the
/// order of the list.
fn distinct(slots: &SlotRanges, wrong: impl Fn(Slot) -> Option<Refused>) -> Result<SlotSet, Refused> {
    let mut set = SlotSet::new();
    for slot in slots.slots() {
        if let Some(refused) = wrong(slot) {
            return Err(refused);
        }
        if !set.insert(slot) {
            return Err(Refused::SlotTwice(slot));
        }
    }
    Ok(set)
}
