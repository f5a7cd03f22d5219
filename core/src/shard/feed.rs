//! What one shard has for a slot migration: its snapshot cursor, the writes to its slots, and the holds on them.
//!
//! A job of a process has a feed in every shard that has slots of it. The one of the shard with the link writes into the
//! link's outbox; the others send theirs there, see [`branch`](super::branch).

use alloc::sync::Arc;

use bytes::Bytes;

use crate::command::effects::{Effects, Record};
use crate::ids::HoldId;
use crate::link::Outbox;
use crate::migration::job::Job;
use crate::shard::encode;
use crate::shard::exporting::Surroundings;
use crate::shard::hold::{Class, Reason, Scope};
use crate::shard::lent::Run;
use crate::shard::pressure::{Passed, Pressure};
use crate::shard::sequencer::{After, Batch};
use crate::slots::{Slot, SlotSet};
use crate::store::{At, Cursor, StepEnd, Store};
use crate::time::{Mono, Now, Span};
use crate::wire::resp::Argv;

/// The cursor moves on while less than this is unsent. One idle budget: a larger queue is only lag.
const ROOM: usize = 256 * 1024;
/// No slice of the snapshot is longer, however much was written meanwhile: the rest comes in the turns after.
const SLICE: usize = 256 * 1024;
/// Writes go on in packets of at least this …
const PACKET: usize = 128 * 1024;
/// … or when the first of them has waited so long. One by one they would cost as much as the commands that made them,
/// and a timer that runs out before the next write comes is a wake-up more.
const GATHER: Span = Span::ms(2);
/// Writes to the moving slots are slowed while more than this is unsent …
const PRESSURE_ABOVE: usize = 1024 * 1024;
/// … until it is less than this again.
const PRESSURE_BELOW: usize = 128 * 1024;
/// While the job waits to pause, it waits for everything unsent to go: a writer as fast as the link would keep some
/// of it there for ever.
const PRESSURE_ABOVE_AT_END: usize = 0;

/// Names the database of the next command, if that has to be said: see [`Export::select`].
///
/// [`Export::select`]: crate::migration::export::Export::select
pub(crate) type Select<'a> = &'a mut dyn FnMut(u32) -> Option<Bytes>;

/// One shard's part of an export job.
pub(crate) struct Feed {
    pub(crate) outbox: Outbox,
    /// Live writes that have to be brought in order with those of other shards, if the job has slots there.
    live: Option<Batch>,
    /// The slots of the job; those of other shards have no keys here.
    slots: Arc<SlotSet>,
    cursor: Option<Cursor>,
    /// Writes to the slots go into the stream.
    followed: bool,
    pause: Option<HoldId>,
    /// The hold is not in force yet: a transaction that began before it has writes to make.
    awaits_transaction: bool,
    pressure: Pressure,
    /// The job waits for everything unsent to go.
    at_end: bool,
    /// Bytes of live writes appended that the cursor has not kept pace with.
    appended: usize,
    /// Bytes of live writes appended so far.
    written: u64,
    /// A message of the job waits to be sent: nothing is gathered before it.
    urgent: bool,
    /// When what was gathered goes.
    gathered_until: Option<Mono>,
}

impl Feed {
    /// For a job; `alone` if no other shard has slots of it.
    pub(crate) fn new(job: &Job, alone: bool, now: Now) -> Self {
        Self {
            outbox: Outbox::default(),
            live: (!alone).then(Batch::default),
            slots: Arc::new(job.ranges.to_set()),
            cursor: None,
            followed: false,
            pause: None,
            awaits_transaction: false,
            pressure: Pressure::new(now.mono),
            at_end: false,
            appended: 0,
            written: 0,
            urgent: false,
            gathered_until: None,
        }
    }

    /// Whether live writes go into the link's outbox, whichever keys they are about.
    pub(crate) fn is_at_link(&self) -> bool {
        self.live.is_none() && self.cursor.is_none()
    }

    /// No other shard puts anything into the same stream.
    pub(crate) fn be_alone(&mut self) {
        self.live = None;
    }

    /// Begins the snapshot: from now on the slots are followed.
    pub(crate) fn fork(&mut self, job: &Job, store: &Store) {
        self.cursor = Some(Cursor::new(store, job.ranges.clone()));
        self.followed = true;
    }

    /// Nothing is sent any more.
    pub(crate) fn cut(&mut self) {
        self.followed = false;
        self.cursor = None;
        self.gathered_until = None;
        self.outbox.clear();
        self.live.iter_mut().for_each(|live| *live = Batch::default());
    }

    /// Whether writes to `slot` go into the stream.
    #[inline]
    pub(crate) fn follows(&self, slot: Slot) -> bool {
        self.followed && self.slots.contains(slot)
    }

    /// The slots whose writes go into the stream.
    pub(crate) fn followed_slots(&self) -> impl Iterator<Item = Slot> + '_ {
        self.slots.iter().filter(|_| self.followed)
    }

    /// A message of the job: it goes at once.
    pub(crate) fn send(&mut self, bytes: Bytes) {
        self.outbox.push(bytes);
        self.urgent = true;
    }

    /// Emits a key that lies ahead of the cursor, because a command that is about to run needs it at the target.
    pub(crate) fn emit_ahead(&mut self, store: &Store, at: &At<'_>, select: Select<'_>) {
        let Self { cursor: Some(cursor), outbox, .. } = self else { return };
        if cursor.passed(at) {
            return;
        }
        if let Some(entry) = store.get(at) {
            select(at.db).into_iter().for_each(|words| outbox.push(words));
            encode::entry(outbox, entry);
        }
        cursor.emitted_early(at);
    }

    /// Appends a write that was made here, unless the cursor will meet its key.
    #[inline]
    pub(crate) fn append(
        &mut self,
        at: &At<'_>,
        record: &Record,
        effects: &Effects,
        argv: Argv<'_>,
        select: impl FnMut(u32) -> Option<Bytes>,
    ) {
        if !self.has_passed(at) {
            return;
        }
        let appended = self.write(record.db, select, |outbox| match &record.rewritten {
            Some(form) => outbox.write(&effects.bytes()[form.clone()]),
            None => encode::command(outbox, argv),
        });
        self.appended += appended;
        self.written += appended as u64;
    }

    /// Appends writes as they came, behind what names their database if that has to be said: for a feed that is
    /// [at the link](Self::is_at_link).
    pub(crate) fn append_run(&mut self, select: Option<Bytes>, run: &Run<'_>) {
        debug_assert!(self.is_at_link(), "a feed with an order or a cursor of its own");
        let before = self.outbox.len();
        if let Some(words) = select {
            self.outbox.push(words);
        }
        run.append_to(&mut self.outbox);
        self.written += (self.outbox.len() - before) as u64;
    }

    /// Appends the deletion of a key, unless the cursor will not find it.
    pub(crate) fn append_unlink(&mut self, at: &At<'_>, select: Select<'_>) {
        if self.has_passed(at) {
            self.write(at.db, select, |outbox| encode::words(outbox, &[b"UNLINK", at.key]));
        }
    }

    /// Appends a live write; how many bytes it takes.
    #[inline]
    fn write(
        &mut self,
        db: u32,
        mut select: impl FnMut(u32) -> Option<Bytes>,
        f: impl FnOnce(&mut Outbox),
    ) -> usize {
        match &mut self.live {
            Some(live) => {
                let before = live.len();
                live.append(db, f);
                live.len() - before
            }
            None => {
                let before = self.outbox.len();
                if let Some(words) = select(db) {
                    self.outbox.push(words);
                }
                f(&mut self.outbox);
                self.outbox.len() - before
            }
        }
    }

    /// What is written from now on, behind `position` of this shard, comes after something in another one.
    pub(crate) fn mark(&mut self, position: u64, after: After) {
        if self.followed {
            self.live.iter_mut().for_each(|live| live.mark(position, after));
        }
    }

    /// The live writes that have to be brought in order with those of other shards.
    pub(crate) fn take_live(&mut self) -> Option<Batch> {
        self.live.as_mut().map(Batch::take)
    }

    /// Bytes that wait here.
    pub(crate) fn waiting(&self) -> usize {
        self.outbox.len() + self.live.as_ref().map_or(0, Batch::len)
    }

    /// Whether the target has, or will be sent, what is at `at` now: a change of it has to follow in the stream.
    #[inline]
    fn has_passed(&self, at: &At<'_>) -> bool {
        self.cursor.as_ref().is_none_or(|cursor| cursor.passed(at))
    }

    /// Whether the cursor could go on at once, where so much is unsent.
    pub(crate) fn can_walk(&self, lag: usize) -> bool {
        // Where writes outrun the link the cursor gets as much of it as they do: it always arrives.
        let room = if self.appended > 0 { PRESSURE_ABOVE } else { ROOM };
        self.cursor.is_some() && lag < room
    }

    /// Whether there is no cursor on its way.
    pub(crate) fn has_arrived(&self) -> bool {
        self.cursor.is_none()
    }

    /// Moves the cursor on by about `budget` bytes, or as many as were written meanwhile; true when it arrived.
    pub(crate) fn walk(&mut self, store: &Store, budget: usize, select: Select<'_>) -> bool {
        let budget = budget.max(self.appended.min(SLICE));
        self.appended = self.appended.saturating_sub(budget);
        let Self { cursor: Some(cursor), outbox, .. } = self else { return false };
        let end = cursor.step(store, budget as u64, &mut |db, entry| {
            select(db).into_iter().for_each(|words| outbox.push(words));
            encode::entry(outbox, entry);
        });
        if end == StepEnd::Done {
            self.cursor = None;
        }
        end == StepEnd::Done
    }

    /// Holds writes to the slots until `until`, or until they are let go; whether that is in force at once.
    pub(crate) fn hold_writes(&mut self, until: Option<Mono>, s: &mut Surroundings<'_>) -> bool {
        let scope = Scope::Slots(self.slots.clone());
        self.pause = Some(s.holds.begin(scope, Class::Writes, Reason::Migration, until));
        self.awaits_transaction = s.holds.is_transaction_waiting();
        !self.awaits_transaction
    }

    /// Moves the end of the hold.
    pub(crate) fn extend_hold(&mut self, until: Mono, s: &mut Surroundings<'_>) {
        if let Some(id) = self.pause {
            s.holds.extend(id, until);
        }
    }

    /// The transaction that began before the hold has ended, if there was one: whether the hold is in force by that.
    pub(crate) fn transaction_ended(&mut self) -> bool {
        core::mem::take(&mut self.awaits_transaction)
    }

    /// Whether writes are held, and no earlier transaction has any to make.
    pub(crate) fn is_held(&self) -> bool {
        self.pause.is_some() && !self.awaits_transaction
    }

    /// Writes go on.
    pub(crate) fn release_writes(&mut self, s: &mut Surroundings<'_>) {
        if let Some(id) = self.pause.take() {
            *s.woken |= s.holds.end(id);
        }
    }

    /// Whether the job waits from now on for everything unsent to go.
    pub(crate) fn set_at_end(&mut self, at_end: bool) {
        self.at_end = at_end;
    }

    /// Begins to slow writers when they outrun the link and the link moves.
    pub(crate) fn press(&mut self, lag: usize, passed: Passed, s: &mut Surroundings<'_>) {
        let above = if self.at_end { PRESSURE_ABOVE_AT_END } else { PRESSURE_ABOVE };
        if self.followed
            && self.pause.is_none()
            && self.pressure.is_free(s.now.mono, lag > above)
            && let Some(until) = self.pressure.begin(s.now.mono, passed)
        {
            let scope = Scope::Slots(self.slots.clone());
            let id = s.holds.begin(scope, Class::Writes, Reason::Backpressure, Some(until));
            self.pressure.begun(id, until, passed);
        }
    }

    /// The link took bytes: writers that were slowed may go on when the lag is small.
    pub(crate) fn drained(&mut self, lag: usize, s: &mut Surroundings<'_>) {
        self.pressure.drained(s.now.mono, lag == 0);
        let below = if self.at_end { 1 } else { PRESSURE_BELOW };
        if lag < below
            && let Some(id) = self.pressure.relieve()
        {
            *s.woken |= s.holds.end(id);
        }
    }

    /// Whether what waits is to go on now; live writes may gather a while where the job lets them.
    pub(crate) fn is_due(&mut self, now: Mono, may_gather: bool) -> bool {
        if self.waiting() == 0 {
            // The driver sent it with something else.
            (self.urgent, self.gathered_until) = (false, None);
            return false;
        }
        let may_wait = may_gather && !self.urgent && self.waiting() < PACKET;
        if may_wait && *self.gathered_until.get_or_insert(now + GATHER) > now {
            return false;
        }
        (self.urgent, self.gathered_until) = (false, None);
        true
    }

    /// When what was gathered goes.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        self.gathered_until
    }

    /// Bytes of live writes appended so far.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// The job is over: whatever it held goes on.
    pub(crate) fn let_go(self, s: &mut Surroundings<'_>) {
        for hold in [self.pause, self.pressure.hold()].into_iter().flatten() {
            *s.woken |= s.holds.end(hold);
        }
    }
}
