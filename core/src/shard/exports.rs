//! The source's side of slot migrations in a shard: the snapshot cursor, the writes that follow it in the same
//! stream, and the holds that make the stream end.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::action::{Action, Actions, Ending, Purpose};
use crate::command::effects::Effects;
use crate::config::Config;
use crate::ids::{HoldId, JobName, LinkId};
use crate::link::Outbox;
use crate::mail::Fact;
use crate::migration::export::{self, Credentials, Export};
use crate::migration::job::{Job, Timing};
use crate::migration::log::Stage;
use crate::shard::encode;
use crate::shard::hold::{Class, Holds, Reason, Scope};
use crate::shard::rates::Pauses;
use crate::slots::{Slot, SlotSet};
use crate::store::{At, Cursor, StepEnd, Store};
use crate::time::{Mono, Now, Span, Wall};
use crate::wire::resp::Argv;

/// Bytes of snapshot encoded in one turn while clients are being served: about 20 µs of their time.
pub(crate) const BUSY_BUDGET: usize = 16 * 1024;
/// Bytes of snapshot encoded in one turn when nobody else wants the shard.
pub(crate) const IDLE_BUDGET: usize = 256 * 1024;
/// The cursor moves on while less than this is unsent. One idle budget: a larger queue is only lag.
const ROOM: usize = 256 * 1024;
/// Writes to the moving slots are slowed while more than this is unsent …
const PRESSURE_ABOVE: usize = 1024 * 1024;
/// … until it is less than this again.
const PRESSURE_BELOW: usize = 128 * 1024;
/// While the job waits to pause, everything unsent delays it: the bar is lower.
const PRESSURE_ABOVE_AT_END: usize = 32 * 1024;
/// The longest that back-pressure holds one write.
const PRESSURE_LIMIT: Span = Span::ms(10);
/// A link that took nothing for this long is not making progress: holding writes would not help.
const STALLED_AFTER: Span = Span::ms(50);

/// One export job with its link.
pub(crate) struct Exporting {
    pub(crate) export: Export,
    pub(crate) job: Arc<Job>,
    pub(crate) link: LinkId,
    pub(crate) outbox: Outbox,
    to: Option<SocketAddr>,
    slots: Arc<SlotSet>,
    cursor: Option<Cursor>,
    /// Writes to the slots go into the stream.
    followed: bool,
    pause: Option<HoldId>,
    /// Back-pressure in force, and when it ends by itself.
    pressure: Option<(HoldId, Mono)>,
    /// When the link last took bytes.
    progress_at: Mono,
    over_soft_since: Option<Mono>,
    connected: bool,
}

/// All export jobs of the shard.
#[derive(Default)]
pub(crate) struct Exports {
    list: Vec<Exporting>,
    /// Slots whose writes some job follows.
    followed: SlotSet,
    following: bool,
    /// Scratch of the machines' actions.
    actions: Vec<export::Action>,
    /// Bytes sent to targets since start.
    pub(crate) bytes_out: u64,
}

/// What the parts of an export step need of the shard.
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

impl Exports {
    /// Starts a job.
    pub(crate) fn start(
        &mut self,
        job: Arc<Job>,
        link: LinkId,
        to: Option<SocketAddr>,
        credentials: Option<Credentials>,
        timing: Timing,
        s: &mut Surroundings<'_>,
    ) {
        let slots = Arc::new(job.ranges.to_set());
        self.list.push(Exporting {
            export: Export::new(job.clone(), credentials, timing, s.now, &mut self.actions),
            job,
            link,
            outbox: Outbox::default(),
            to,
            slots,
            cursor: None,
            followed: false,
            pause: None,
            pressure: None,
            progress_at: s.now.mono,
            over_soft_since: None,
            connected: false,
        });
        self.carry_out(self.list.len() - 1, s);
    }

    /// Whether any job follows writes to `slot`.
    #[inline]
    pub(crate) fn follow(&self, slot: Slot) -> bool {
        self.following && self.followed.contains(slot)
    }

    /// The jobs.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Exporting> {
        self.list.iter()
    }

    /// The outbox of an export link.
    pub(crate) fn outbox(&mut self, link: LinkId) -> Option<&mut Outbox> {
        self.list.iter_mut().find(|e| e.link == link).map(|e| &mut e.outbox)
    }

    /// Gives the machine of the job on `link` an input.
    pub(crate) fn tell_link(&mut self, link: LinkId, input: export::Input<'_>, s: &mut Surroundings<'_>) {
        if let Some(index) = self.list.iter().position(|e| e.link == link) {
            self.tell(index, input, s);
        }
    }

    /// Gives the machine of a job an input.
    pub(crate) fn tell_job(&mut self, job: JobName, input: export::Input<'_>, s: &mut Surroundings<'_>) {
        if let Some(index) = self.list.iter().position(|e| e.job.name == job) {
            self.tell(index, input, s);
        }
    }

    /// The link is up.
    pub(crate) fn connected(&mut self, link: LinkId, s: &mut Surroundings<'_>) {
        if let Some(exporting) = self.list.iter_mut().find(|e| e.link == link) {
            exporting.connected = true;
        }
        self.tell_link(link, export::Input::Connected, s);
    }

    /// The link is gone.
    pub(crate) fn closed(&mut self, link: LinkId, s: &mut Surroundings<'_>) {
        if let Some(index) = self.list.iter().position(|e| e.link == link) {
            self.list[index].unlink();
            self.refollow();
            self.tell(index, export::Input::Closed, s);
        }
    }

    /// The driver wrote to the socket: there is less lag.
    pub(crate) fn drained(&mut self, link: LinkId, s: &mut Surroundings<'_>) {
        let Some(index) = self.list.iter().position(|e| e.link == link) else { return };
        self.list[index].progress_at = s.now.mono;
        self.relieve(index, s);
        self.tell_pending(index, s);
    }

    /// A command that writes several places is about to run: whatever of them lies ahead of a cursor is emitted
    /// first, so that the command means the same at the target.
    pub(crate) fn emit_ahead(&mut self, store: &Store, at: &At<'_>) {
        for exporting in self.list.iter_mut().filter(|e| e.followed && e.slots.contains(at.slot)) {
            let Some(cursor) = &mut exporting.cursor else { continue };
            if cursor.passed(at) {
                continue;
            }
            if let Some(entry) = store.get(at) {
                select(&mut exporting.export, &mut exporting.outbox, at.db);
                encode::entry(&mut exporting.outbox, entry);
            }
            cursor.emitted_early(at);
        }
    }

    /// Appends what a command changed to the streams that have passed its keys.
    pub(crate) fn append(&mut self, effects: &Effects, argv: Argv<'_>) {
        for record in effects.records() {
            let at = At {
                db: record.db,
                slot: record.slot,
                hash: record.hash,
                key: &effects.bytes()[record.key.clone()],
            };
            for exporting in self.list.iter_mut().filter(|e| e.followed && e.slots.contains(record.slot)) {
                if exporting.cursor.as_ref().is_some_and(|cursor| !cursor.passed(&at)) {
                    continue; // the cursor will meet the new value
                }
                select(&mut exporting.export, &mut exporting.outbox, record.db);
                match &record.rewritten {
                    Some(form) => exporting.outbox.write(&effects.bytes()[form.clone()]),
                    None => encode::command(&mut exporting.outbox, argv),
                }
            }
        }
    }

    /// All keys of a slot are about to be deleted by one command: the target hears of each.
    pub(crate) fn append_unlink(&mut self, at: &At<'_>) {
        for exporting in self.list.iter_mut().filter(|e| e.followed && e.slots.contains(at.slot)) {
            if exporting.cursor.as_ref().is_none_or(|cursor| cursor.passed(at)) {
                select(&mut exporting.export, &mut exporting.outbox, at.db);
                encode::words(&mut exporting.outbox, &[b"UNLINK", at.key]);
            }
        }
    }

    /// Moves every cursor on by at most `budget` bytes, and slows writers that outrun their link.
    pub(crate) fn advance(&mut self, budget: usize, s: &mut Surroundings<'_>) {
        for index in (0..self.list.len()).rev() {
            let exporting = &mut self.list[index];
            if exporting.cursor.is_some() && exporting.outbox.len() < ROOM {
                match exporting.walk(s.store, budget) {
                    StepEnd::More => {}
                    StepEnd::Done => {
                        exporting.cursor = None;
                        self.tell(index, export::Input::SnapshotWritten, s);
                    }
                }
            }
            if index < self.list.len() {
                self.press(index, s);
            }
        }
    }

    /// Announces what the streams have to send; at the end of every step.
    pub(crate) fn flush(&self, out: &mut Actions) {
        for exporting in &self.list {
            if exporting.connected && !exporting.outbox.is_empty() {
                out.push(Action::Flush { link: exporting.link });
            }
        }
    }

    /// Whether a cursor could go on at once.
    pub(crate) fn has_work(&self) -> bool {
        self.list.iter().any(|e| e.cursor.is_some() && e.outbox.len() < ROOM)
    }

    /// Runs the timers of all jobs.
    pub(crate) fn tick(&mut self, s: &mut Surroundings<'_>) {
        for index in (0..self.list.len()).rev() {
            self.tell(index, export::Input::Ticked, s);
            if index < self.list.len() && self.over_limit(index, s) {
                let link = self.list[index].link;
                s.out.push(Action::Close { link, ending: Ending::Abrupt });
                self.closed(link, s);
            }
        }
    }

    /// Other timeouts from now on (CONFIG SET).
    pub(crate) fn set_timing(&mut self, timing: Timing) {
        self.list.iter_mut().for_each(|e| e.export.set_timing(timing));
    }

    /// When `tick` has something to do.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        self.list.iter().filter_map(|e| e.export.poll_timeout()).min()
    }

    /// Tells a machine what happened; before that, how much of its stream is unsent, as it asks for.
    fn tell(&mut self, index: usize, input: export::Input<'_>, s: &mut Surroundings<'_>) {
        let name = self.list[index].job.name;
        self.tell_pending(index, s);
        let at = |list: &[Exporting]| list.iter().position(|e| e.job.name == name);
        if let Some(index) = at(&self.list) {
            self.list[index].export.handle(s.now, input, &mut self.actions);
            self.carry_out(index, s);
        }
        if let Some(index) = at(&self.list) {
            self.tell_pending(index, s);
        }
    }

    fn tell_pending(&mut self, index: usize, s: &mut Surroundings<'_>) {
        let exporting = &mut self.list[index];
        let bytes = exporting.outbox.len() as u64;
        if exporting.connected {
            exporting.export.handle(s.now, export::Input::Pending { bytes }, &mut self.actions);
            self.carry_out(index, s);
        }
    }

    fn carry_out(&mut self, index: usize, s: &mut Surroundings<'_>) {
        let mut actions = core::mem::take(&mut self.actions);
        let mut held = false;
        let mut ended = false;
        for action in actions.drain(..) {
            let exporting = &mut self.list[index];
            let name = exporting.job.name;
            match action {
                export::Action::Connect => match exporting.to {
                    Some(to) => {
                        s.out.push(Action::Connect { link: exporting.link, to, purpose: Purpose::Migration });
                    }
                    None => held = false, // answered below
                },
                export::Action::Send(bytes) => exporting.outbox.push(bytes),
                export::Action::ForkSnapshot => {
                    exporting.cursor = Some(Cursor::new(s.store, exporting.job.ranges.clone()));
                    exporting.followed = true;
                    self.refollow();
                }
                export::Action::Pause { until } => {
                    exporting.hold_writes(until, s.holds);
                    held = true;
                }
                export::Action::ExtendPause { until } => {
                    if let Some(id) = exporting.pause {
                        s.holds.extend(id, until);
                    }
                }
                export::Action::Resume => {
                    if let Some(id) = exporting.pause.take() {
                        *s.woken |= s.holds.end(id);
                    }
                }
                // Keys of lost slots go when the node confirms the loss.
                export::Action::DropSlots => {}
                export::Action::Granted => s.out.post(Fact::Granted { job: name }),
                export::Action::Close => {
                    s.out.push(Action::Close { link: exporting.link, ending: Ending::Abrupt });
                    exporting.unlink();
                    self.refollow();
                }
                export::Action::Entered(state) => {
                    s.out.post(Fact::Entered { job: name, stage: Stage::Export(state) });
                }
                export::Action::Ended { outcome } => {
                    let pause = exporting.export.paused_for();
                    if let Some(pause) = pause {
                        s.pauses.ended(pause);
                    }
                    s.out.post(Fact::Ended { job: name, outcome, pause });
                    ended = true;
                }
            }
        }
        self.actions = actions;
        if ended {
            self.remove(index, s);
        } else if held {
            // One thread runs commands and this: whatever was written before is in the stream already.
            self.tell(index, export::Input::WritesHeld, s);
        } else if self.list[index].to.is_none() {
            self.tell(index, export::Input::ConnectFailed { reason: "target node not found" }, s);
        }
    }

    fn remove(&mut self, index: usize, s: &mut Surroundings<'_>) {
        let exporting = self.list.swap_remove(index);
        self.bytes_out += exporting.outbox.end() - exporting.outbox.len() as u64;
        for hold in [exporting.pause, exporting.pressure.map(|(id, _)| id)].into_iter().flatten() {
            *s.woken |= s.holds.end(hold);
        }
        self.refollow();
    }

    fn refollow(&mut self) {
        self.followed = self.list.iter().filter(|e| e.followed).flat_map(|e| e.slots.iter()).collect();
        self.following = self.list.iter().any(|e| e.followed);
    }

    /// Begins to slow writers when they outrun the link and the link moves.
    fn press(&mut self, index: usize, s: &mut Surroundings<'_>) {
        let exporting = &mut self.list[index];
        exporting.pressure = exporting.pressure.filter(|&(_, until)| until > s.now.mono);
        let above = if exporting.export.wants_lag_shrunk() { PRESSURE_ABOVE_AT_END } else { PRESSURE_ABOVE };
        let moving = s.now.mono.since(exporting.progress_at) < STALLED_AFTER;
        if exporting.followed
            && exporting.pressure.is_none()
            && exporting.pause.is_none()
            && moving
            && exporting.outbox.len() > above
        {
            let scope = Scope::Slots(exporting.slots.clone());
            let until = s.now.mono + PRESSURE_LIMIT;
            let id = s.holds.begin(scope, Class::Writes, Reason::Backpressure, Some(until));
            exporting.pressure = Some((id, until));
        }
    }

    /// Stops slowing writers when the lag is small, or when they have waited long enough.
    fn relieve(&mut self, index: usize, s: &mut Surroundings<'_>) {
        let exporting = &mut self.list[index];
        let below = if exporting.export.wants_lag_shrunk() { 1 } else { PRESSURE_BELOW };
        if exporting.outbox.len() < below
            && let Some((id, _)) = exporting.pressure.take()
        {
            *s.woken |= s.holds.end(id);
        }
    }

    fn over_limit(&mut self, index: usize, s: &Surroundings<'_>) -> bool {
        let limit = s.config.client_output_buffer_limit.replica;
        let exporting = &mut self.list[index];
        crate::shard::limits::over(
            exporting.outbox.len() as u64,
            &limit,
            s.config.repl_backlog_size,
            &mut exporting.over_soft_since,
            s.now.mono,
        )
    }
}

impl Exporting {
    /// Holds writes to the slots of the job for its hand-over.
    fn hold_writes(&mut self, until: Mono, holds: &mut Holds) {
        let scope = Scope::Slots(self.slots.clone());
        self.pause = Some(holds.begin(scope, Class::Writes, Reason::Migration, Some(until)));
        tracing::info!(
            "Pausing writes (remaining_repl_size is {}) to allow slot migration {} to finalize failover.",
            self.outbox.len(),
            describe(&self.job)
        );
    }

    /// Nothing is sent any more.
    fn unlink(&mut self) {
        self.connected = false;
        self.followed = false;
        self.cursor = None;
        self.outbox.clear();
    }

    fn walk(&mut self, store: &Store, budget: usize) -> StepEnd {
        let Self { cursor: Some(cursor), outbox, export, .. } = self else { return StepEnd::Done };
        cursor.step(store, budget as u64, &mut |db, entry| {
            select(export, outbox, db);
            encode::entry(outbox, entry);
        })
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
    format!(
        "{{name: {}, operation: export, target_node_id: {}, slots: {}}}",
        job.name, job.target, job.ranges
    )
}

/// Tells the target which database the next command is for, unless it is in it.
fn select(export: &mut Export, outbox: &mut Outbox, db: u32) {
    if let Some(words) = export.select(db) {
        outbox.push(words);
    }
}
