//! The source's side of slot migrations in a shard: all export jobs, and who of them follows which write.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::action::{Action, Ending};
use crate::command::effects::Effects;
use crate::ids::{JobName, LinkId};
use crate::link::Outbox;
use crate::migration::export::{self, Credentials, Export};
use crate::migration::job::{Job, Timing};
use crate::shard::exporting::{Exporting, Surroundings, Then};
use crate::shard::session::Client;
use crate::slots::{Slot, SlotSet};
use crate::store::{At, Store};
use crate::time::Mono;
use crate::wire::resp::Argv;

/// All export jobs of the shard.
#[derive(Default)]
pub(crate) struct Exports {
    list: Vec<Exporting>,
    /// Slots whose writes some job follows.
    followed: SlotSet,
    following: bool,
    /// Scratch of the machines' actions.
    actions: Vec<export::Action>,
    /// Links of jobs that ended, for the shard to forget.
    gone: Vec<LinkId>,
    /// Bytes sent to targets since start, by links that are gone.
    pub(crate) bytes_out: u64,
}

impl Exports {
    /// Starts a job.
    pub(crate) fn start(
        &mut self,
        job: Arc<Job>,
        client: Client,
        to: Option<SocketAddr>,
        credentials: Option<Credentials>,
        timing: Timing,
        s: &mut Surroundings<'_>,
    ) {
        let export = Export::new(job, credentials, timing, s.now, &mut self.actions);
        self.list.push(Exporting::new(export, client, to, s.now));
        self.carry_out(self.list.len() - 1, s);
    }

    /// Whether any job follows writes to `slot`, or to any slot.
    #[inline]
    pub(crate) fn follow(&self, slot: Option<Slot>) -> bool {
        self.following && slot.is_none_or(|slot| self.followed.contains(slot))
    }

    /// The jobs.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Exporting> {
        self.list.iter()
    }

    /// The outboxes of all jobs.
    pub(crate) fn outboxes(&mut self) -> impl Iterator<Item = &mut Outbox> {
        self.list.iter_mut().map(|e| &mut e.outbox)
    }

    /// The outbox of an export link.
    pub(crate) fn outbox(&mut self, link: LinkId) -> Option<&mut Outbox> {
        self.list.iter_mut().find(|e| e.link == link).map(|e| &mut e.outbox)
    }

    /// Gives the machine of the job on `link` an input.
    pub(crate) fn tell_link(&mut self, link: LinkId, input: export::Input<'_>, s: &mut Surroundings<'_>) {
        if let Some(index) = self.on_link(link) {
            self.tell(index, input, s);
        }
    }

    /// Gives the machine of a job an input.
    pub(crate) fn tell_job(&mut self, job: JobName, input: export::Input<'_>, s: &mut Surroundings<'_>) {
        if let Some(index) = self.named(job) {
            self.tell(index, input, s);
        }
    }

    /// The link is up.
    pub(crate) fn connected(&mut self, link: LinkId, s: &mut Surroundings<'_>) {
        if let Some(index) = self.on_link(link) {
            self.list[index].export.handle(s.now, export::Input::Connected, &mut self.actions);
            self.list[index].connected();
            self.carry_out(index, s);
        }
    }

    /// The link is gone.
    pub(crate) fn closed(&mut self, link: LinkId, s: &mut Surroundings<'_>) {
        if let Some(index) = self.on_link(link) {
            // A link may be killed before it is up.
            let killed = export::Input::ConnectFailed { reason: "killed by CLIENT KILL" };
            let was_up = self.list[index].is_connected();
            self.list[index].unlink();
            self.tell(index, if was_up { export::Input::Closed } else { killed }, s);
        }
    }

    /// The transaction that waited for the node has made its last write: holds that waited for it are in force.
    pub(crate) fn transaction_ended(&mut self, s: &mut Surroundings<'_>) {
        for index in (0..self.list.len()).rev() {
            if self.list[index].is_held_at_last() {
                self.tell(index, export::Input::WritesHeld, s);
            }
        }
    }

    /// The links that are of no more use.
    pub(crate) fn take_gone(&mut self) -> impl Iterator<Item = LinkId> + '_ {
        self.gone.drain(..)
    }

    /// The driver wrote to the socket: there is less lag.
    pub(crate) fn drained(&mut self, link: LinkId, s: &mut Surroundings<'_>) {
        if let Some(index) = self.on_link(link) {
            self.list[index].drained(s);
            self.tell_pending(index, s);
        }
    }

    /// A command that needs several keys is about to run: whatever of them lies ahead of a cursor is emitted
    /// first, so that the command means the same at the target.
    pub(crate) fn emit_ahead(&mut self, store: &Store, at: &At<'_>) {
        for exporting in self.list.iter_mut().filter(|e| e.follows(at.slot)) {
            exporting.emit_ahead(store, at);
        }
    }

    /// Appends what a command changed to the streams that have passed its keys; a cursor that has not will meet
    /// the new value.
    pub(crate) fn append(&mut self, effects: &Effects, argv: Argv<'_>) {
        for record in effects.records() {
            let key = &effects.bytes()[record.key.clone()];
            let at = At { db: record.db, slot: record.slot, hash: record.hash, key };
            for exporting in self.list.iter_mut().filter(|e| e.follows(at.slot)) {
                if exporting.has_passed(&at) {
                    exporting.append(record, effects, argv);
                }
            }
        }
    }

    /// A key is about to be deleted together with its slot: the target hears of it.
    pub(crate) fn append_unlink(&mut self, at: &At<'_>) {
        for exporting in self.list.iter_mut().filter(|e| e.follows(at.slot)) {
            if exporting.has_passed(at) {
                exporting.append_unlink(at);
            }
        }
    }

    /// Moves every cursor on by about `budget` bytes.
    pub(crate) fn advance(&mut self, budget: usize, s: &mut Surroundings<'_>) {
        for index in (0..self.list.len()).rev() {
            let exporting = &mut self.list[index];
            if exporting.can_walk() && exporting.walk(s.store, budget) {
                self.tell(index, export::Input::SnapshotWritten, s);
            }
        }
    }

    /// Slows writers that outrun their link and announces what the streams have to send; at the end of every step.
    pub(crate) fn flush(&mut self, s: &mut Surroundings<'_>) {
        for exporting in self.list.iter_mut().filter(|e| e.is_connected()) {
            exporting.press(s);
            if exporting.is_due(s.now.mono) {
                s.out.push(Action::Flush { link: exporting.link });
            }
        }
    }

    /// Whether a cursor could go on at once.
    pub(crate) fn has_work(&self) -> bool {
        self.list.iter().any(Exporting::can_walk)
    }

    /// Runs the timers of all jobs.
    pub(crate) fn tick(&mut self, s: &mut Surroundings<'_>) {
        for index in (0..self.list.len()).rev() {
            if self.list[index].is_over_limit(s) {
                let link = self.list[index].link;
                tracing::warn!("Slot export link closed for overcoming of output buffer limits.");
                s.out.push(Action::Close { link, ending: Ending::Abrupt });
                self.closed(link, s);
            } else {
                self.tell(index, export::Input::Ticked, s);
            }
        }
    }

    /// Other timeouts from now on (CONFIG SET).
    pub(crate) fn set_timing(&mut self, timing: Timing) {
        self.list.iter_mut().for_each(|e| e.export.set_timing(timing));
    }

    /// When `tick` has something to do.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        self.list.iter().filter_map(Exporting::deadline).min()
    }

    fn on_link(&self, link: LinkId) -> Option<usize> {
        self.list.iter().position(|e| e.link == link)
    }

    fn named(&self, job: JobName) -> Option<usize> {
        self.list.iter().position(|e| e.job.name == job)
    }

    /// Tells a machine what happened; before and after that, how much of its stream is unsent, as it asks for.
    fn tell(&mut self, index: usize, input: export::Input<'_>, s: &mut Surroundings<'_>) {
        let job = self.list[index].job.name;
        self.tell_pending(index, s);
        if let Some(index) = self.named(job) {
            self.list[index].export.handle(s.now, input, &mut self.actions);
            self.carry_out(index, s);
        }
        if let Some(index) = self.named(job) {
            self.tell_pending(index, s);
        }
    }

    fn tell_pending(&mut self, index: usize, s: &mut Surroundings<'_>) {
        let exporting = &mut self.list[index];
        if exporting.is_connected() {
            let bytes = exporting.remaining();
            exporting.export.handle(s.now, export::Input::Pending { bytes }, &mut self.actions);
            self.carry_out(index, s);
        }
    }

    fn carry_out(&mut self, index: usize, s: &mut Surroundings<'_>) {
        let mut actions = core::mem::take(&mut self.actions);
        let mut then = Then::Nothing;
        let mut refollow = false;
        for action in actions.drain(..) {
            refollow |= matches!(action, export::Action::ForkSnapshot | export::Action::Close);
            then = then.max(self.list[index].act(action, s));
        }
        self.actions = actions;
        match then {
            Then::Nothing => {}
            Then::NoAddress => {
                self.tell(index, export::Input::ConnectFailed { reason: "target node not found" }, s);
            }
            // One thread runs commands and this: whatever was written before is in the stream already, unless a
            // transaction waits in the middle. `act` knows.
            Then::Held => self.tell(index, export::Input::WritesHeld, s),
            Then::Ended => {
                let exporting = self.list.swap_remove(index);
                self.bytes_out += exporting.outbox.end() - exporting.remaining();
                self.gone.push(exporting.link);
                exporting.let_go(s);
            }
        }
        if refollow || then == Then::Ended {
            self.followed = self.list.iter().flat_map(Exporting::followed_slots).collect();
            self.following = !self.followed.is_empty();
        }
    }
}
