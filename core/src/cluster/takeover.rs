//! The take-over room: when slots change hands without a claim, and when copies of slots may be deleted.
//!
//! Today this is what stock Valkey does, with its holes: the importing node decides alone and raises its epoch; the
//! exporting node believes any claim for slots it has granted. A protocol that asks a majority will replace the
//! inside of this room, so nothing outside may depend on how it decides.

use alloc::vec::Vec;

use super::Cluster;
use super::boundary::Action;
use super::node_table::NodeIx;
use super::ownership::{Ownership, Reason, only, ranges_where};
use crate::ids::{JobName, NodeId};
use crate::slots::{BITMAP_LEN, Slot, SlotRanges, SlotSet};
use crate::time::Now;
use crate::wire::bus::Header;

/// The permission to delete this node's copy of slots. Only the take-over room makes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Confirmed {
    slots: SlotRanges,
}

impl Confirmed {
    /// The slots whose copy may be deleted.
    #[must_use]
    pub fn slots(&self) -> &SlotRanges {
        &self.slots
    }

    /// Those of `slots` that were this node's and are another node's by an accepted claim.
    pub(super) fn of_lost(owners: &Ownership, slots: &SlotRanges) -> Option<Self> {
        let slots = ranges_where(slots, |slot| owners.lost_to_a_claim(slot));
        (!slots.0.is_empty()).then_some(Self { slots })
    }
}

/// Slots that this node exports and has let go of: a claim of the target is accepted, as a rule whatever its epoch, and
/// this node makes none with a higher epoch than it had.
#[derive(Debug, Default)]
pub(super) struct Grants(Vec<Grant>);

#[derive(Debug)]
struct Grant {
    job: JobName,
    target: NodeId,
    slots: SlotRanges,
    /// This node's epoch then. With that it goes on to claim the slots: who had them before, and was down, would else hear
    /// of nobody who has them, and take them for its own (seed 2216211).
    epoch: u64,
    /// The target's claim has this epoch at least. If it has granted the slots to this node before, it has heard of this
    /// node's claim since; what it announced before that has a lower epoch, and must not be taken for its claim.
    least_epoch: u64,
}

impl Grants {
    pub(super) fn contains(&self, slot: Slot) -> bool {
        self.find(slot).is_some()
    }

    fn end(&mut self, job: JobName) {
        self.0.retain(|grant| grant.job != job);
    }

    fn find(&self, slot: Slot) -> Option<&Grant> {
        self.0.iter().find(|grant| grant.slots.contains(slot))
    }

    /// Takes the granted slots that this node does not announce with `epoch` out of a set.
    pub(super) fn remove_from(&self, set: &mut SlotSet, epoch: u64) {
        let granted = self.0.iter().filter(|grant| grant.epoch < epoch);
        for slot in granted.flat_map(|grant| grant.slots.slots()) {
            set.remove(slot);
        }
    }
}

/// Slots that this node took over, by the node that granted them, until that node is heard without them.
///
/// What a source announced before it granted may arrive after the slots were taken, by another connection and, if it
/// has raised its epoch meanwhile, with a higher epoch than this node's. It would win, after the source has obeyed the
/// take-over: both copies would be deleted. A third node may tell of it long after, so this survives a restart: it is
/// saved with the claim itself.
///
/// It must not survive longer than that. Who is back with an old taking of slots that their source has taken over again
/// would outbid it, and be outbid by it, for ever: each has slots of the other's. So the file forgets it before the
/// slots move on.
#[derive(Debug, Default)]
pub(super) struct Takings {
    /// From whom, which, and the first epoch with which this node claimed any of them; 0 when that is not known.
    list: Vec<(NodeId, SlotSet, u64)>,
    /// Slots of those that are about to move on: a restart does not defend them.
    leaving: SlotSet,
    /// Slots of those that move back to their source: they are defended until they are granted.
    returning: SlotSet,
}

impl Takings {
    fn add(&mut self, source: NodeId, slot: Slot, epoch: u64) {
        self.leaving.remove(slot);
        self.returning.remove(slot);
        match self.list.iter_mut().find(|(id, ..)| *id == source) {
            Some((_, slots, _)) => drop(slots.insert(slot)),
            None => self.list.push((source, SlotSet::from_iter([slot]), epoch)),
        }
    }

    /// These slots are about to move to `target`.
    fn leave(&mut self, target: NodeId, leaving: &SlotRanges) {
        for (source, slots, _) in &self.list {
            for slot in leaving.slots().filter(|slot| slots.contains(*slot)) {
                self.leaving.insert(slot);
                if *source == target {
                    self.returning.insert(slot);
                }
            }
        }
    }

    /// The first epoch with which this node claimed any of these slots that `target` granted to it, or 0.
    pub(super) fn first_claimed(&self, target: NodeId, slots: &SlotRanges) -> u64 {
        let from = self
            .list
            .iter()
            .filter(|(source, taken, _)| *source == target && slots.slots().any(|slot| taken.contains(slot)));
        from.map(|(.., epoch)| *epoch).min().unwrap_or(0)
    }

    /// These slots were granted. The first epoch with which this node claimed what returns to its source, or 0.
    fn granted(&mut self, granted: &SlotRanges) -> u64 {
        let mut first = 0;
        for slot in granted.slots().filter(|slot| self.returning.remove(*slot)) {
            for (_, slots, epoch) in &mut self.list {
                if slots.remove(slot) {
                    first = *epoch;
                }
            }
        }
        self.list.retain(|(_, slots, _)| !slots.is_empty());
        first
    }

    /// The source said itself which slots it has. Everything it said before has an epoch that is not higher. True
    /// when that settles something.
    fn settle(&mut self, source: NodeId, claimed: &[u8; BITMAP_LEN]) -> bool {
        let before = self.list.len();
        let claimed = SlotSet::from_bitmap(claimed);
        self.list.retain(|(id, slots, _)| *id != source || slots.iter().any(|slot| claimed.contains(slot)));
        self.list.len() != before
    }

    /// All of them, by source.
    fn iter(&self) -> impl Iterator<Item = (NodeId, &SlotSet)> {
        self.list.iter().map(|(id, slots, _)| (*id, slots))
    }

    /// What a restart has to know of them, by source.
    pub(super) fn to_save(&self) -> impl Iterator<Item = (NodeId, SlotRanges)> {
        let stays = |slots: &SlotSet| slots.iter().filter(|slot| !self.leaving.contains(*slot)).collect();
        self.iter()
            .map(move |(id, slots)| (id, SlotSet::to_ranges(&stays(slots))))
            .filter(|(_, slots)| !slots.0.is_empty())
    }

    /// As they were saved.
    pub(super) fn restore(saved: Vec<(NodeId, SlotSet)>) -> Self {
        let list = saved.into_iter().map(|(id, slots)| (id, slots, 0)).collect();
        Self { list, ..Self::default() }
    }
}

/// The target of a migration takes the slots: the source has granted it and holds their writes.
///
/// Raises this node's epoch unless it is the highest already, assigns the slots, saves durably, announces. As in
/// stock Valkey nobody is asked, and nobody has confirmed it when this returns.
pub fn take_over(cluster: &mut Cluster, now: Now, job: JobName, slots: &SlotRanges, out: &mut Vec<Action>) {
    cluster.begin(now);
    cluster.bump_above_all();
    let (set, epoch) = (slots.to_set(), cluster.nodes.myself().config_epoch);
    for slot in set.iter() {
        if let Some(source) = cluster.slots.owner(slot).filter(|&owner| owner != NodeIx::MYSELF) {
            cluster.takings.add(cluster.nodes[source].id, slot, epoch);
        }
    }
    cluster.assign(&set, Some(NodeIx::MYSELF), Reason::TakeOver { job });
    for slot in set.iter() {
        cluster.open.close(slot);
    }
    cluster.todo.announce = true;
    cluster.settle(out);
}

/// The source of a migration lets go: until [`ungrant`] a claim of the target, or of who has replaced it in its shard, is
/// accepted for these slots, because the target may not have the higher epoch. If this node's own
/// epoch rises meanwhile, because it takes other slots over, it announces them no longer: a claim of the granted ones with that
/// epoch would take them back from the target, after both sides have deleted their copy.
pub fn grant(cluster: &mut Cluster, job: JobName, target: NodeId, slots: &SlotRanges) {
    cluster.grants.end(job);
    let least_epoch = cluster.takings.granted(slots);
    let epoch = cluster.nodes.myself().config_epoch;
    cluster.grants.0.push(Grant { job, target, slots: slots.clone(), epoch, least_epoch });
}

/// Slots are about to move, each job's to its target. A restart must not know any more how they came here, and has to
/// know that they may be gone: nobody must take them before that is durable.
pub fn leave<'a>(
    cluster: &mut Cluster,
    now: Now,
    jobs: impl Iterator<Item = (JobName, NodeId, &'a SlotRanges)>,
    out: &mut Vec<Action>,
) {
    for (job, target, slots) in jobs {
        let parting = cluster.parting(target, slots);
        cluster.partings.add(job, parting);
        cluster.takings.leave(target, slots);
    }
    cluster.begin(now);
    cluster.todo.save_durably();
    cluster.settle(out);
}

/// The migration is over, whatever its outcome.
pub fn ungrant(cluster: &mut Cluster, now: Now, job: JobName, out: &mut Vec<Action>) {
    cluster.grants.end(job);
    let kept =
        cluster.partings.end(job).is_some_and(|p| p.slots.iter().any(|slot| cluster.slots.is_mine(slot)));
    if kept {
        cluster.begin(now);
        cluster.todo.save();
        cluster.settle(out);
    }
}

/// The permission to delete those of `slots` that were this node's until another node's claim was accepted.
#[must_use]
pub fn confirm_lost(cluster: &Cluster, slots: &SlotRanges) -> Option<Confirmed> {
    Confirmed::of_lost(&cluster.slots, slots)
}

/// The permission to delete what is in those of an import's `slots` that are not this node's: before it begins, and
/// when it failed.
#[must_use]
pub fn confirm_failed_import(cluster: &Cluster, slots: &SlotRanges) -> Option<Confirmed> {
    let slots = ranges_where(slots, |slot| !cluster.slots.is_mine(slot));
    (!slots.0.is_empty()).then_some(Confirmed { slots })
}

impl Cluster {
    /// Whether the slot, which is this node's, is granted to whom claims it with `epoch`.
    ///
    /// Stock nodes believe anybody then. But what the node that had the slot before this one announced may still be on
    /// its way, and who granted the slot and has not heard of the target's success may be the only one with its keys.
    pub(super) fn has_let_go_to(&self, claimer: NodeIx, epoch: u64, slot: Slot) -> bool {
        let node = &self.nodes[claimer];
        let is_heir_of =
            |target| self.nodes.find(target).is_some_and(|ix| self.nodes[ix].shard == node.shard);
        let Some(grant) = self.grants.find(slot) else {
            return self.partings.has_let_go_to(node.id, is_heir_of, epoch, slot);
        };
        (node.id == grant.target || is_heir_of(grant.target)) && epoch >= grant.least_epoch
    }

    /// Somebody says that `source` has claimed slots with `epoch`. If it has granted this node slots and is not known
    /// to have let go of them, this node's epoch has to be higher. An equal one will not do: the source may be silent about
    /// the slots and forget in a crash that it granted them; then it would claim them again, and could win by its name.
    /// Nor will the next one after an equal one: the source may be taking that itself, because it was told of this node's
    /// present one. So they would go on for ever, as fast as they hear each other (seed 2778579).
    pub(super) fn outbid(&mut self, source: NodeIx, epoch: u64) {
        let id = self.nodes[source].id;
        let mut taken =
            self.takings.iter().filter(|(from, _)| *from == id).flat_map(|(_, slots)| slots.iter());
        let keeps_any = taken.any(|slot| self.slots.is_mine(slot) && !self.grants.contains(slot));
        drop(taken);
        let mine = self.nodes.myself().config_epoch;
        if keeps_any && epoch >= mine {
            self.epochs.current += u64::from(epoch == mine);
            let mine = self.next_epoch();
            tracing::info!(mine, theirs = epoch, source = %id, "epoch raised above a source's");
            self.todo.announce = true;
        }
    }

    /// `source` said itself which slots it has. If it did not know of `mine`, this node's epoch, it may have said so before
    /// it had the slots: what it said when it had them is still to come then (seed 4007674).
    pub(super) fn settle_takings(&mut self, source: NodeIx, header: &Header<'_>, mine: u64) {
        let knows = header.current_epoch.max(header.config_epoch);
        if knows >= mine && self.takings.settle(self.nodes[source].id, header.slots.0) {
            self.todo.save();
        }
    }

    /// A slot imported by hand, whose source still is its recorded owner but no longer announces it, becomes this
    /// node's: otherwise a source that lost it in a failover would leave it without a server.
    pub(super) fn take_let_go(&mut self, slot: Slot) {
        self.open.close(slot);
        self.assign(&only(slot), Some(NodeIx::MYSELF), Reason::SourceLetGo);
        self.bump_above_all();
        self.todo.announce = true;
    }
}
