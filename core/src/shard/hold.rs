//! The one mechanism that makes commands wait: migration pauses, back-pressure, CLIENT PAUSE, transactions that wait
//! for the node and what stops all shards are all holds of a set; what INFO says about pauses is derived from it.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use smallvec::SmallVec;

use crate::ids::{HoldId, LinkId};
use crate::slots::{Slot, SlotSet};
use crate::time::Mono;

/// Which commands a hold is about, by their keys.
#[derive(Clone, Debug)]
pub(crate) enum Scope {
    /// Keys of these slots, and writes without keys.
    Slots(Arc<SlotSet>),
    /// Everything.
    All,
}

/// Which commands a hold is about, by what they do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Class {
    /// Commands that may write or be replicated.
    Writes,
    /// All commands.
    All,
}

/// Why commands wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reason {
    /// The hand-over of a slot migration.
    Migration,
    /// Writes to moving slots outrun the link.
    Backpressure,
    /// CLIENT PAUSE.
    Client,
    /// What this client does must not be interrupted: its EXEC waits for the node, or all shards have stopped for its
    /// command.
    Exec(LinkId),
}

/// What operators are told of the holds: the strictest, and of those the longest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Paused {
    class: Class,
    until: Option<Mono>,
    migration: bool,
}

impl Paused {
    /// `paused_reason`, `paused_actions` and `paused_timeout_milliseconds` of INFO, in Valkey's words.
    pub(crate) fn words(self, now: Mono) -> (&'static str, &'static str, u64) {
        let reason = if self.migration { "slot_migration_in_progress" } else { "client_pause" };
        let actions = match self.class {
            Class::Writes => "write",
            Class::All => "all",
        };
        (reason, actions, self.until.map_or(0, |until| until.since(now).as_ms()))
    }
}

/// One reason to wait.
#[derive(Clone, Debug)]
pub(crate) struct Hold {
    pub(crate) id: HoldId,
    pub(crate) scope: Scope,
    pub(crate) class: Class,
    pub(crate) reason: Reason,
    /// When it ends by itself; of a migration's, when its job looks at it again.
    pub(crate) until: Option<Mono>,
}

/// What a command is to the holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// The slot of its keys, if it has keys.
    pub(crate) slot: Option<Slot>,
    /// Whether it may write or be replicated.
    pub(crate) writes: bool,
    /// Who gives it.
    pub(crate) link: LinkId,
    /// The hold that it waits for, or waited for last: for another back-pressure it waits no second time.
    pub(crate) waited: Option<HoldId>,
}

impl Hold {
    /// Whether it ends by time alone. A migration's does not: its job ends it or goes on with it, and if it were gone
    /// when the job comes to that, writes would be accepted that the target may never see.
    fn ends_by_time(&self) -> bool {
        self.reason != Reason::Migration
    }

    fn stops(&self, kind: &Kind) -> bool {
        if self.class == Class::Writes && !kind.writes {
            return false;
        }
        match self.reason {
            Reason::Exec(owner) if owner == kind.link => return false,
            Reason::Backpressure if kind.waited.is_some_and(|hold| hold != self.id) => return false,
            _ => {}
        }
        match (&self.scope, kind.slot) {
            (Scope::All, _) => true,
            (Scope::Slots(slots), Some(slot)) => slots.contains(slot),
            // A write without keys may touch any slot.
            (Scope::Slots(_), None) => kind.writes,
        }
    }
}

/// All holds in force and the clients that wait for them.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    list: SmallVec<[Hold; 4]>,
    waiting: VecDeque<LinkId>,
    next: u64,
}

impl Holds {
    /// Begins a hold.
    pub(crate) fn begin(
        &mut self,
        scope: Scope,
        class: Class,
        reason: Reason,
        until: Option<Mono>,
    ) -> HoldId {
        self.next += 1;
        let id = HoldId(self.next);
        self.list.push(Hold { id, scope, class, reason, until });
        id
    }

    /// Moves the end of a hold.
    pub(crate) fn extend(&mut self, id: HoldId, until: Mono) {
        if let Some(hold) = self.list.iter_mut().find(|h| h.id == id) {
            hold.until = Some(until);
        }
    }

    /// Ends a hold; true when it was in force.
    pub(crate) fn end(&mut self, id: HoldId) -> bool {
        let before = self.list.len();
        self.list.retain(|h| h.id != id);
        self.list.len() != before
    }

    /// Ends all holds with this reason; true when there was one.
    pub(crate) fn end_reason(&mut self, reason: Reason) -> bool {
        let before = self.list.len();
        self.list.retain(|h| h.reason != reason);
        self.list.len() != before
    }

    /// Ends the holds whose time is over; true when there was one.
    pub(crate) fn end_due(&mut self, now: Mono) -> bool {
        let before = self.list.len();
        self.list.retain(|h| !h.ends_by_time() || h.until.is_none_or(|until| until > now));
        self.list.len() != before
    }

    /// The pause that CLIENT PAUSE began: what waits, and until when.
    pub(crate) fn of_client(&self) -> Option<(Class, Mono)> {
        let hold = self.list.iter().find(|h| h.reason == Reason::Client)?;
        Some((hold.class, hold.until.unwrap_or_default()))
    }

    /// The hold that a command has to wait for, if there is one.
    #[inline]
    pub(crate) fn stop(&self, kind: &Kind) -> Option<HoldId> {
        self.list.iter().find(|hold| hold.stops(kind)).map(|hold| hold.id)
    }

    /// Whether a write without keys has to wait although its client has all shards stopped. Back-pressure is no reason:
    /// such a write is short, and all would be stopped for it again and again.
    pub(crate) fn stop_frozen(&self, link: LinkId) -> bool {
        let write = Kind { slot: None, writes: true, link, waited: None };
        self.list.iter().any(|hold| hold.reason != Reason::Backpressure && hold.stops(&write))
    }

    /// Whether writes to `slot` (or to any slot) wait, so that the shard must not write there by itself either
    /// (expiry).
    pub(crate) fn writes_held(&self, slot: Option<Slot>) -> bool {
        self.list.iter().any(|hold| match &hold.scope {
            Scope::All => !matches!(hold.reason, Reason::Exec(_)),
            Scope::Slots(slots) => {
                hold.reason == Reason::Migration && slot.is_none_or(|slot| slots.contains(slot))
            }
        })
    }

    /// Whether no key may be evicted anywhere: clients are paused, or in the middle of an EXEC.
    pub(crate) fn stops_evictions(&self) -> bool {
        self.list.iter().any(|hold| matches!(hold.scope, Scope::All))
    }

    /// Whether a client is in the middle of an EXEC, or of what stops all shards: it will go on whatever holds began
    /// meanwhile.
    pub(crate) fn is_transaction_waiting(&self) -> bool {
        self.list.iter().any(|hold| matches!(hold.reason, Reason::Exec(_)))
    }

    /// A client waits; it is woken when a hold ends.
    pub(crate) fn wait(&mut self, link: LinkId) {
        self.waiting.push_back(link);
    }

    /// The clients to wake, in the order they began to wait.
    pub(crate) fn wake(&mut self) -> Vec<LinkId> {
        self.waiting.drain(..).collect()
    }

    /// A client is gone.
    pub(crate) fn forget(&mut self, link: LinkId) {
        self.waiting.retain(|&l| l != link);
    }

    /// When the next hold ends by itself.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        self.list.iter().filter(|h| h.ends_by_time()).filter_map(|h| h.until).min()
    }

    /// The strictest hold that operators are told of.
    pub(crate) fn paused(&self) -> Option<Paused> {
        let told = |h: &&Hold| matches!(h.reason, Reason::Migration | Reason::Client);
        let paused =
            |h: &Hold| Paused { class: h.class, until: h.until, migration: h.reason == Reason::Migration };
        self.list.iter().filter(told).map(paused).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slots::SlotSet;

    fn kind(slot: Option<u16>, writes: bool) -> Kind {
        Kind { slot: slot.and_then(Slot::new), writes, link: LinkId::accepted(1), waited: None }
    }

    fn reason(holds: &Holds) -> &'static str {
        holds.paused().expect("it is paused").words(Mono(0)).0
    }

    fn holds_on(slot: u16, reason: Reason) -> (Holds, HoldId) {
        let mut holds = Holds::default();
        let slots: SlotSet = Slot::new(slot).into_iter().collect();
        let id = holds.begin(Scope::Slots(Arc::new(slots)), Class::Writes, reason, Some(Mono(10)));
        (holds, id)
    }

    #[test]
    fn a_hold_on_slots_stops_writes_there_and_writes_without_keys_only() {
        let (holds, id) = holds_on(5, Reason::Migration);
        assert_eq!(holds.stop(&kind(Some(5), true)), Some(id));
        assert_eq!(holds.stop(&kind(Some(5), false)), None);
        assert_eq!(holds.stop(&kind(Some(6), true)), None);
        assert_eq!(holds.stop(&kind(None, true)), Some(id));
        assert_eq!(holds.stop(&kind(None, false)), None);
        assert!(holds.writes_held(Slot::new(5)));
        assert!(holds.writes_held(None));
        assert!(!holds.writes_held(Slot::new(6)));
    }

    #[test]
    fn back_pressure_stops_a_command_once_and_as_long_as_it_lasts() {
        let (mut holds, id) = holds_on(5, Reason::Backpressure);
        let write = kind(Some(5), true);
        assert_eq!(holds.stop(&write), Some(id));
        let woken = Kind { waited: Some(id), ..write };
        assert_eq!(holds.stop(&woken), Some(id), "another hold's end wakes it too");
        holds.end(id);
        let next = holds.begin(Scope::All, Class::Writes, Reason::Backpressure, None);
        assert_eq!((holds.stop(&woken), holds.stop(&write)), (None, Some(next)));
    }

    #[test]
    fn back_pressure_does_not_stop_who_has_stopped_all_shards() {
        let link = LinkId::accepted(1);
        let frozen = |reason| holds_on(5, reason).0.stop_frozen(link);
        assert!(frozen(Reason::Migration) && !frozen(Reason::Backpressure) && !frozen(Reason::Exec(link)));
    }

    #[test]
    fn an_exec_that_waits_stops_everyone_but_itself() {
        let mut holds = Holds::default();
        holds.begin(Scope::All, Class::All, Reason::Exec(LinkId::accepted(1)), None);
        assert_eq!(holds.stop(&kind(Some(1), true)), None);
        assert!(holds.stop(&Kind { link: LinkId::accepted(2), ..kind(None, false) }).is_some());
    }

    #[test]
    fn holds_end_by_time_by_name_and_by_reason() {
        let (mut holds, id) = holds_on(5, Reason::Client);
        assert_eq!(reason(&holds), "client_pause");
        holds.extend(id, Mono(30));
        assert_eq!(holds.deadline(), Some(Mono(30)));
        assert!(!holds.end_due(Mono(10)));
        assert!(holds.end_due(Mono(30)));
        assert!(!holds.end(id));
        assert_eq!(holds.paused(), None);
    }

    #[test]
    fn a_migration_ends_its_hold_itself() {
        let (mut holds, id) = holds_on(5, Reason::Migration);
        assert_eq!(reason(&holds), "slot_migration_in_progress");
        assert_eq!(holds.deadline(), None);
        assert!(!holds.end_due(Mono(30)));
        holds.extend(id, Mono(40));
        assert_eq!(holds.stop(&kind(Some(5), true)), Some(id));
        assert!(holds.end(id));
    }
}
