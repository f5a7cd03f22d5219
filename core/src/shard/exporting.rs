//! One slot migration away from this shard: its snapshot cursor, its stream, and the holds that make the stream end.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::net::SocketAddr;

use crate::action::{Action, Actions, Ending, Purpose};
use crate::command::effects::{Effects, Record};
use crate::config::Config;
use crate::ids::{HoldId, LinkId};
use crate::link::Outbox;
use crate::mail::Fact;
use crate::migration::export::{self, Export};
use crate::migration::job::Job;
use crate::migration::log::Stage;
use crate::shard::hold::{Class, Holds, Reason, Scope};
use crate::shard::pressure::{Passed, Pressure};
use crate::shard::rates::Pauses;
use crate::shard::session::Client;
use crate::shard::{encode, limits};
use crate::slots::{Slot, SlotSet};
use crate::store::{At, Cursor, StepEnd, Store};
use crate::time::{Mono, Now, Span, Wall};
use crate::wire::resp::Argv;

/// The cursor moves on while less than this is unsent. One idle budget: a larger queue is only lag.
const ROOM: usize = 256 * 1024;
/// Writes go to the target in packets of at least this …
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

/// One export job with its link.
pub(crate) struct Exporting {
    pub(crate) export: Export,
    pub(crate) job: Arc<Job>,
    pub(crate) link: LinkId,
    pub(crate) outbox: Outbox,
    /// The link as CLIENT LIST shows it.
    pub(crate) client: Client,
    to: Option<SocketAddr>,
    slots: Arc<SlotSet>,
    cursor: Option<Cursor>,
    /// Writes to the slots go into the stream.
    followed: bool,
    pause: Option<HoldId>,
    /// The hold is not in force yet: a transaction that began before it has writes to make.
    awaits_transaction: bool,
    pressure: Pressure,
    over_soft_since: Option<Mono>,
    connected: bool,
    /// Bytes of live writes appended since the cursor moved last.
    appended: usize,
    /// Bytes of live writes appended so far.
    written: u64,
    /// A message of the job waits to be sent: nothing is gathered before it.
    urgent: bool,
    /// When what was gathered goes.
    gathered_until: Option<Mono>,
}

/// What an export step needs of the shard.
pub(crate) struct Surroundings<'a> {
    pub(crate) now: Now,
    pub(crate) config: &'a Config,
    pub(crate) store: &'a Store,
    pub(crate) holds: &'a mut Holds,
    /// A hold ended: waiting clients have to be woken.
    pub(crate) woken: &'a mut bool,
    pub(crate) pauses: &'a mut Pauses,
    pub(crate) out: &'a mut Actions,
}

/// What has to follow an action of the machine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Then {
    /// Nothing.
    Nothing,
    /// There is no address to connect to: the machine has to be told.
    NoAddress,
    /// The writes are held: the machine has to be told.
    Held,
    /// The job is over.
    Ended,
}

impl Exporting {
    /// A job whose machine has just been made.
    pub(crate) fn new(export: Export, client: Client, to: Option<SocketAddr>, now: Now) -> Self {
        let job = export.job().clone();
        let slots = Arc::new(job.ranges.to_set());
        Self {
            export,
            job,
            link: client.link,
            outbox: Outbox::default(),
            client,
            to,
            slots,
            cursor: None,
            followed: false,
            pause: None,
            awaits_transaction: false,
            pressure: Pressure::new(now.mono),
            over_soft_since: None,
            connected: false,
            appended: 0,
            written: 0,
            urgent: false,
            gathered_until: None,
        }
    }

    /// Carries out what the machine wants.
    pub(crate) fn act(&mut self, action: export::Action, s: &mut Surroundings<'_>) -> Then {
        let job = self.job.name;
        match action {
            export::Action::Connect => match self.to {
                Some(to) => s.out.push(Action::Connect { link: self.link, to, purpose: Purpose::Migration }),
                None => return Then::NoAddress,
            },
            export::Action::Send(bytes) => {
                self.outbox.push(bytes);
                self.urgent = true;
            }
            export::Action::ForkSnapshot => {
                self.cursor = Some(Cursor::new(s.store, self.job.ranges.clone()));
                self.followed = true;
            }
            export::Action::Pause { until } => {
                self.hold_writes(until, s);
                self.awaits_transaction = s.holds.is_transaction_waiting();
                return if self.awaits_transaction { Then::Nothing } else { Then::Held };
            }
            export::Action::ExtendPause { until } => {
                if let Some(id) = self.pause {
                    s.holds.extend(id, until);
                }
            }
            export::Action::Resume => {
                if let Some(id) = self.pause.take() {
                    *s.woken |= s.holds.end(id);
                }
            }
            // Keys of lost slots go when the node confirms the loss.
            export::Action::DropSlots => {}
            export::Action::Granted => s.out.report(Fact::Granted { job }),
            export::Action::Close => {
                s.out.push(Action::Close { link: self.link, ending: Ending::Abrupt });
                self.unlink();
            }
            export::Action::Entered(state) => {
                s.out.report(Fact::Entered { job, stage: Stage::Export(state) });
            }
            export::Action::Ended { outcome } => {
                let pause = self.export.paused_for();
                if let Some(pause) = pause {
                    s.pauses.ended(pause);
                }
                s.out.report(Fact::Ended { job, outcome, pause });
                return Then::Ended;
            }
        }
        Then::Nothing
    }

    fn hold_writes(&mut self, until: Mono, s: &mut Surroundings<'_>) {
        let scope = Scope::Slots(self.slots.clone());
        self.pause = Some(s.holds.begin(scope, Class::Writes, Reason::Migration, Some(until)));
        tracing::info!(
            "Pausing writes (remaining_repl_size is {}) to allow slot migration {} to finalize failover.",
            self.outbox.len(),
            describe(&self.job)
        );
    }

    /// Whether the hold waited for a transaction, which has ended now.
    pub(crate) fn is_held_at_last(&mut self) -> bool {
        core::mem::take(&mut self.awaits_transaction)
    }

    /// The link is up.
    pub(crate) fn connected(&mut self) {
        self.connected = true;
    }

    /// Nothing is sent any more.
    pub(crate) fn unlink(&mut self) {
        self.connected = false;
        self.followed = false;
        self.cursor = None;
        self.gathered_until = None;
        self.outbox.clear();
    }

    /// Whether there is a link to the target.
    pub(crate) fn is_connected(&self) -> bool {
        self.connected
    }

    /// Whether writes to `slot` go into the stream.
    pub(crate) fn follows(&self, slot: Slot) -> bool {
        self.followed && self.slots.contains(slot)
    }

    /// The slots whose writes go into the stream.
    pub(crate) fn followed_slots(&self) -> impl Iterator<Item = Slot> + '_ {
        self.slots.iter().filter(|_| self.followed)
    }

    /// Emits a key that lies ahead of the cursor, because a command that is about to run needs it at the target.
    pub(crate) fn emit_ahead(&mut self, store: &Store, at: &At<'_>) {
        let Self { cursor: Some(cursor), outbox, export, .. } = self else { return };
        if cursor.passed(at) {
            return;
        }
        if let Some(entry) = store.get(at) {
            select(export, outbox, at.db);
            encode::entry(outbox, entry);
        }
        cursor.emitted_early(at);
    }

    /// Whether the target has, or will be sent, what is at `at` now: a change of it has to follow in the stream.
    pub(crate) fn has_passed(&self, at: &At<'_>) -> bool {
        self.cursor.as_ref().is_none_or(|cursor| cursor.passed(at))
    }

    /// Appends a write that was made here.
    pub(crate) fn append(&mut self, record: &Record, effects: &Effects, argv: Argv<'_>) {
        let before = self.outbox.len();
        select(&mut self.export, &mut self.outbox, record.db);
        match &record.rewritten {
            Some(form) => self.outbox.write(&effects.bytes()[form.clone()]),
            None => encode::command(&mut self.outbox, argv),
        }
        let appended = self.outbox.len() - before;
        self.appended += appended;
        self.written += appended as u64;
    }

    /// Appends the deletion of a key.
    pub(crate) fn append_unlink(&mut self, at: &At<'_>) {
        select(&mut self.export, &mut self.outbox, at.db);
        encode::words(&mut self.outbox, &[b"UNLINK", at.key]);
    }

    /// Whether the cursor could go on at once.
    pub(crate) fn can_walk(&self) -> bool {
        self.cursor.is_some() && self.outbox.len() < self.room()
    }

    /// Where writes outrun the link the cursor gets as much of it as they do: it always arrives.
    fn room(&self) -> usize {
        if self.appended > 0 { PRESSURE_ABOVE } else { ROOM }
    }

    /// Moves the cursor on by about `budget` bytes; true when it arrived.
    pub(crate) fn walk(&mut self, store: &Store, budget: usize) -> bool {
        let budget = budget.max(core::mem::take(&mut self.appended));
        let Self { cursor: Some(cursor), outbox, export, .. } = self else { return false };
        let end = cursor.step(store, budget as u64, &mut |db, entry| {
            select(export, outbox, db);
            encode::entry(outbox, entry);
        });
        if end == StepEnd::Done {
            self.cursor = None;
        }
        end == StepEnd::Done
    }

    /// Begins to slow writers when they outrun the link and the link moves.
    pub(crate) fn press(&mut self, s: &mut Surroundings<'_>) {
        let above = if self.export.wants_lag_shrunk() { PRESSURE_ABOVE_AT_END } else { PRESSURE_ABOVE };
        let lag = self.outbox.len();
        if self.followed
            && self.pause.is_none()
            && self.pressure.is_free(s.now.mono, lag > above)
            && let Some(until) = self.pressure.begin(s.now.mono, self.passed())
        {
            let scope = Scope::Slots(self.slots.clone());
            let id = s.holds.begin(scope, Class::Writes, Reason::Backpressure, Some(until));
            self.pressure.begun(id, until, self.passed());
        }
    }

    /// Whether what waits is to be sent now.
    pub(crate) fn is_due(&mut self, now: Mono) -> bool {
        if self.outbox.is_empty() {
            // The driver sent it with something else.
            (self.urgent, self.gathered_until) = (false, None);
            return false;
        }
        let may_wait = self.export.may_gather() && !self.urgent && self.outbox.len() < PACKET;
        if may_wait && *self.gathered_until.get_or_insert(now + GATHER) > now {
            return false;
        }
        (self.urgent, self.gathered_until) = (false, None);
        true
    }

    /// When the job has something to do.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        [self.export.poll_timeout(), self.gathered_until].into_iter().flatten().min()
    }

    fn passed(&self) -> Passed {
        Passed { written: self.written, sent: self.outbox.end() - self.remaining() }
    }

    /// The link took bytes: writers that were slowed may go on when the lag is small.
    pub(crate) fn drained(&mut self, s: &mut Surroundings<'_>) {
        let lag = self.outbox.len();
        self.pressure.drained(s.now.mono, lag == 0);
        let below = if self.export.wants_lag_shrunk() { 1 } else { PRESSURE_BELOW };
        if lag < below
            && let Some(id) = self.pressure.relieve()
        {
            *s.woken |= s.holds.end(id);
        }
    }

    /// The job is over: whatever it held goes on.
    pub(crate) fn let_go(self, s: &mut Surroundings<'_>) {
        for hold in [self.pause, self.pressure.hold()].into_iter().flatten() {
            *s.woken |= s.holds.end(hold);
        }
    }

    /// Whether more waits than `client-output-buffer-limit replica` allows.
    pub(crate) fn is_over_limit(&mut self, s: &Surroundings<'_>) -> bool {
        let limit = s.config.client_output_buffer_limit.replica;
        let pending = self.outbox.len() as u64;
        limits::over(pending, &limit, s.config.repl_backlog_size, &mut self.over_soft_since, s.now.mono)
    }

    /// When the target last said that it lives.
    pub(crate) fn last_ack(&self) -> Wall {
        self.export.last_ack()
    }

    /// Bytes of the stream that the socket has not taken.
    pub(crate) fn remaining(&self) -> u64 {
        self.outbox.len() as u64
    }
}

/// A job in the words of Valkey's log.
fn describe(job: &Job) -> String {
    let Job { name, target, ranges, .. } = job;
    format!("{{name: {name}, operation: export, target_node_id: {target}, slots: {ranges}}}")
}

/// Tells the target which database the next command is for, unless it is in it.
fn select(export: &mut Export, outbox: &mut Outbox, db: u32) {
    if let Some(words) = export.select(db) {
        outbox.push(words);
    }
}
