//! The end of a run: everything comes to rest, and then everything is compared.

use std::collections::BTreeMap;
use std::sync::Arc;

use whimbrel_core::cluster::View;
use whimbrel_core::migration::log::{JobRow, Stage};
use whimbrel_core::migration::{export, import};
use whimbrel_core::slots::{SLOTS, Slot, SlotSet};
use whimbrel_core::wire::bus::State;

use super::history::Seen;
use super::journal::{line, mark, violated};
use super::plan::{DATABASES, tag};
use super::process::Process;
use super::resp::{Reply, command};
use super::tasks::{Export, Order};
use super::workload::{read_command, understand};
use super::{Event, World};

/// How often the end is looked for, in microseconds.
const LOOK: u64 = 100_000;
/// How long clients go on after migrations and faults have ended and every process serves.
const AFTERMATH: u64 = 700_000;
/// When everything has to be at rest after migrations and faults: longer than a hold (10 s), a silence (6 s) and a new
/// start together.
const REST: u64 = 40_000_000;
/// When the operator puts right by hand what will not come to rest by itself.
const REPAIR: u64 = 15_000_000;
/// How long clients take to end at most, where no process refuses them.
const FAREWELL: u64 = 10_000_000;
/// How long a run may take at all.
const LONGEST: u64 = 300_000_000;

/// When the hold of a job may have begun, if that may be before its state tells so. A transaction that waits for the node
/// goes on in a pause that began meanwhile: the pause counts from its beginning, and the state changes when the transaction
/// is over. So the transaction has to be under way when the state changes (or the job ends), and the hold did not begin before
/// both the transaction and the job's wish to pause. An end of an order that is estimated, because no
/// answer came, may be too early, so a transaction that was under way when the wish came counts too.
pub fn may_hold_since(export: &Export, orders: &[Order]) -> Option<u64> {
    let asked = export.asked?;
    let began = export.paused.unwrap_or(export.until);
    let waits = |(p, since, until): &&Order| {
        *p == export.process && *since <= began && (*until >= began || (*since <= asked && asked <= *until))
    };
    orders.iter().filter(waits).map(|(_, since, _)| asked.max(*since)).min()
}

impl World {
    /// Looks whether it is time for the next part of the run.
    pub fn looked(&mut self) {
        self.after(LOOK, Event::Looked);
        if self.now > LONGEST {
            violated("LIV-JOB", "the run does not end");
        }
        if self.quiet_since.is_none() && self.shared.quiet.get() {
            self.quiet_since = Some(self.now);
            self.heal();
            line(|| "no more faults".into());
        }
        let Some(since) = self.quiet_since else { return };
        if self.now >= since + REPAIR && self.now < since + REPAIR + LOOK {
            self.repair();
        }
        let serve = |p: &Process| p.view.as_ref().is_some_and(|view| view.state == State::Ok);
        match self.processes.iter().all(serve) {
            true => self.serving_since = self.serving_since.or(Some(self.now)),
            false => self.serving_since = None,
        }
        let late = self.now > since + REST;
        if self.serving_since.is_some_and(|at| self.now >= at + AFTERMATH) || late {
            self.shared.stopping.set(true);
        }
        if !self.shared.stopping.get() {
            return;
        }
        let (done, over) = (self.workers_are_done(), self.now > since + REST + FAREWELL);
        if !done && !over {
            return;
        }
        match self.unrest() {
            Some((invariant, what)) if late => violated(invariant, what),
            Some(_) => {}
            None if !done => violated("LIV-OWN", "a client does not get an answer"),
            None => {
                self.judge();
                self.end();
            }
        }
    }

    /// All faults end.
    fn heal(&mut self) {
        self.cuts.heal();
        for c in 0..self.conns.len() {
            self.conns[c].ends.iter_mut().for_each(|end| end.stalled_until = 0);
            if self.conns[c].pipes.iter().any(|pipe| pipe.lost) {
                self.after(1, Event::GivenUp { conn: c });
            }
        }
        for p in 0..self.processes.len() {
            self.restarted(p);
        }
    }

    /// Puts right by hand what known holes leave for ever: a slot whose owner does not know that it is its own, while all
    /// others believe that it is, or believe something else. That is so when an operator took the slot from its table, or
    /// when it came back with a table that is older. The operator says to it that the slot is its own. ADDSLOTS may have
    /// failed before: the owner had believed an older claim meanwhile, of who had the slot before.
    pub fn repair(&mut self) {
        let views: Vec<_> = self.processes.iter().filter_map(|q| q.view.clone()).collect();
        let edited = self.shared.edited.borrow().clone();
        let mut heirs: BTreeMap<usize, SlotSet> = BTreeMap::new();
        for slot in Slot::all() {
            let was_edited = edited.iter().any(|(_, number)| *number == slot.number());
            if !(self.is_tainted(slot) || was_edited) || views.iter().any(|view| view.is_mine(slot)) {
                continue;
            }
            let believes =
                |view: &Arc<View>, p: usize| view.owner(slot).is_some_and(|row| row.id == self.node_id(p));
            let votes = |p: &usize| views.iter().filter(|view| believes(view, *p)).count();
            let chosen = (0..views.len()).max_by_key(votes).expect("there are processes");
            // From whose table it was taken has the keys, whatever the others believe.
            let displaced = edited.iter().rfind(|(_, number)| *number == slot.number()).map(|(p, _)| *p);
            let heir = displaced.unwrap_or(chosen);
            let forgot = views[heir].owner(slot).is_none() || self.watch.forgotten.contains(slot);
            if !forgot && displaced.is_none() {
                continue;
            }
            if displaced.is_some() {
                mark("DELSLOTS at an owner that then believed an older claim");
            }
            mark("a slot that its owner forgot was given back by hand");
            heirs.entry(heir).or_default().insert(slot);
        }
        for (heir, slots) in heirs {
            self.give(heir, &slots);
        }
    }

    /// Tells a process that slots are its own, in as few commands as can be: each is saved before the process says anything
    /// more to others, and hundreds would make it silent for longer than a node may be.
    fn give(&mut self, heir: usize, slots: &SlotSet) {
        line(|| format!("operator: slots {}, which nobody serves, are {heir}'s", slots.to_ranges()));
        let view = self.processes[heir].view.clone().expect("it is up");
        let anothers: SlotSet = slots.iter().filter(|slot| view.owner(*slot).is_some()).collect();
        for (order, slots) in [("DELSLOTSRANGE", &anothers), ("ADDSLOTSRANGE", slots)] {
            let ranges = slots.to_ranges().0;
            let ends = ranges.iter().flat_map(|range| [range.first, range.last]);
            let numbers: Vec<String> = ends.map(|slot| slot.number().to_string()).collect();
            let numbers = numbers.iter().map(String::as_bytes);
            let words: Vec<&[u8]> = [&b"CLUSTER"[..], order.as_bytes()].into_iter().chain(numbers).collect();
            if words.len() > 2 {
                self.ask_one(heir, &words);
            }
        }
    }

    /// What has not come to rest yet.
    fn unrest(&mut self) -> Option<(&'static str, String)> {
        let views: Vec<_> = self.processes.iter().map(|p| p.view.clone().expect("all are up")).collect();
        for (p, view) in views.iter().enumerate() {
            if view.state != State::Ok {
                return Some(("LIV-OWN", format!("process {p} does not serve: {:?}", view.why)));
            }
            if let Some(seen) = self.processes[p].seen.values().next() {
                return Some(("LIV-JOB", format!("process {p} has a job in {}", seen.stage)));
            }
        }
        for slot in Slot::all().filter(|slot| !self.is_tainted(*slot)) {
            let owner = views[0].owner(slot).map(|row| row.id);
            let servers = views.iter().filter(|view| view.is_mine(slot)).count();
            if servers != 1 {
                return Some(("LIV-OWN", format!("slot {slot} has {servers} servers")));
            }
            if let Some(p) = views.iter().position(|view| view.owner(slot).map(|row| row.id) != owner) {
                return Some(("LIV-CONV", format!("processes 0 and {p} disagree on slot {slot}")));
            }
        }
        for p in 0..self.processes.len() {
            if let Some(what) = self.left_behind(p) {
                return Some(("LIV-CLEAN", what));
            }
        }
        None
    }

    /// LIV-CLEAN: no key lies at a process that does not own its slot, and writes are not held.
    fn left_behind(&mut self, p: usize) -> Option<String> {
        let slots = self.plan.slots.clone();
        for db in 0..DATABASES {
            let mut commands = vec![command(&[b"SELECT", db.to_string().as_bytes()])];
            for slot in &slots {
                commands.push(command(&[b"CLUSTER", b"COUNTKEYSINSLOT", slot.to_string().as_bytes()]));
            }
            let Some(replies) = self.ask(p, &commands) else {
                return Some(format!("process {p} does not answer"));
            };
            let view = self.processes[p].view.clone()?;
            for (slot, count) in slots.iter().zip(&replies[1..]) {
                let mine = Slot::new(*slot).is_some_and(|s| view.is_mine(s));
                let is_left = self.shared.left_copies.borrow().contains(&(p, *slot));
                if !mine && *count != Reply::Int(0) && !is_left {
                    return Some(format!(
                        "process {p} has {count:?} keys of slot {slot}, which is not its own"
                    ));
                }
                let nothing = format!("{{{}}}nothing", tag(*slot));
                if mine && self.ask_one(p, &[b"DEL", nothing.as_bytes()]) != Some(Reply::Int(0)) {
                    return Some(format!("process {p} does not write slot {slot}, which is its own"));
                }
            }
        }
        None
    }

    /// Judges the run as a whole.
    fn judge(&mut self) {
        self.judge_jobs();
        self.judge_holds();
        self.judge_pauses();
        self.judge_keys();
        let history = self.shared.history.borrow();
        line(|| format!("judged {} writes and {} reads", history.writes, history.reads));
        if history.writes < 5 {
            violated("LIV-OWN", format!("only {} writes were acknowledged", history.writes));
        }
    }

    /// INV-LOG: both ends of each job tell the same.
    fn judge_jobs(&self) {
        let mut ends: BTreeMap<_, Vec<(usize, Stage)>> = BTreeMap::new();
        for process in &self.processes {
            // Where a hole was reached, owners may change by themselves for as long as the run lasts.
            let judged = |row: &&JobRow| !row.job.ranges.slots().any(|slot| self.is_tainted(slot));
            for row in process.jobs.iter().filter(judged) {
                ends.entry(row.job.name).or_default().push((process.index, row.stage));
            }
        }
        for (name, ends) in ends {
            let is_success = |stage: &Stage| {
                matches!(stage, Stage::Export(export::State::Success) | Stage::Import(import::State::Success))
            };
            if let Some((p, stage)) = ends.iter().find(|(_, stage)| !stage.is_finished()) {
                violated("LIV-JOB", format!("job {name} is in {stage} at process {p}"));
            }
            let successes = ends.iter().filter(|(_, stage)| is_success(stage)).count();
            if successes != 0 && successes != ends.len() {
                violated("INV-LOG", format!("the ends of job {name} tell different things: {ends:?}"));
            }
        }
    }

    /// INV-PAUSE: the length of a pause that a log reports is how long the hold lasted.
    fn judge_pauses(&self) {
        let orders = self.shared.orders.borrow();
        for export in self.shared.exports.borrow().iter() {
            let p = export.process;
            let Some(row) = self.processes[p].jobs.iter().find(|row| row.job.name == export.job) else {
                continue; // its process crashed
            };
            // Its own clock may run faster or slower.
            let slack = |us: u64| self.processes[p].stretched(us) - us;
            let least = export.paused.map(|since| export.until - since);
            // Each shard begins to hold when it is asked, and the job says so when all have.
            let asked = export.asked.filter(|_| self.plan.shards > 1);
            let since = asked.or_else(|| may_hold_since(export, &orders)).or(export.paused);
            let most = since.map(|since| export.until - since);
            let fits = match (row.pause.map(|span| span.0), least, most) {
                (Some(told), least, Some(most)) => {
                    least.is_none_or(|least| told + slack(least) >= least) && told <= most + slack(most)
                }
                (told, least, _) => told.is_none() && least.is_none(),
            };
            if least.is_none() && row.pause.is_some() {
                mark("a job ended while its pause waited for a transaction");
            }
            if !fits {
                let (name, told) = (export.job, row.pause);
                violated(
                    "INV-PAUSE",
                    format!("job {name}: {told:?} was reported for a pause of {least:?} to {most:?} us"),
                );
            }
        }
    }

    /// INV-PAUSE: a write was held only while a hand-over of its slot held writes, or everything waited by order of a
    /// client; besides, back-pressure of a job may hold it once, for 200 ms.
    fn judge_holds(&self) {
        /// The limit of back-pressure, in microseconds, and what a turn may add.
        const PRESSURE: u64 = 200_000 + 1_000;
        let (exports, orders) = (self.shared.exports.borrow(), self.shared.orders.borrow());
        let grace = self.plan.grace();
        for held in self.shared.held.borrow().iter().filter(|held| held.until > held.since + grace) {
            let slot = Slot::new(held.slot).expect("a slot");
            let meets = |since: u64, until: u64| since <= held.until && until + grace >= held.since;
            let jobs: Vec<_> = exports
                .iter()
                .filter(|e| e.process == held.process && e.slots.contains(slot) && meets(e.since, e.until))
                .collect();
            let ordered = orders.iter().filter(|o| o.0 == held.process && meets(o.1, o.2));
            let mut reasons: Vec<(u64, u64)> = ordered.map(|o| (o.1, o.2)).collect();
            let may_stand_still = self.plan.shards > 1 && self.plan.faults.freezes;
            if jobs.is_empty() && reasons.is_empty() && !may_stand_still {
                violated("INV-PAUSE", format!("a write waited in a slot that did not move: {held:?}"));
            }
            reasons
                .extend(jobs.iter().filter_map(|e| Some((e.paused?, e.until))).filter(|r| meets(r.0, r.1)));
            mark(match (reasons.is_empty(), jobs.is_empty()) {
                (true, _) => "back-pressure held a write",
                (_, true) => "a write waited by order of a client",
                (_, false) => "a write waited for a pause",
            });
            // What no reason explains is back-pressure.
            reasons.sort_unstable();
            let (mut at, mut rest) = (held.since, 0);
            for (since, until) in reasons {
                rest += since.min(held.until).saturating_sub(at);
                at = at.max(until);
            }
            rest += held.until.saturating_sub(at);
            let most =
                self.processes[held.process].stretched(PRESSURE) * jobs.len().max(1) as u64 + 2 * grace;
            if rest > most && !self.plan.faults.freezes {
                violated("INV-PAUSE", format!("a write was held {rest} us without a reason: {held:?}"));
            }
        }
    }

    /// INV-ACK0: every key is read once more at its owner, as if by a last client.
    fn judge_keys(&mut self) {
        let keys: Vec<_> = {
            let history = self.shared.history.borrow();
            let all = history.keys.iter().enumerate();
            all.map(|(at, k)| (at, k.kind, k.slot, k.db, k.name.clone(), k.second.clone())).collect()
        };
        for (key, kind, slot, db, name, second) in keys {
            if self.shared.history.borrow().is_tainted(slot) {
                mark("a key was not judged because of a known hole");
                continue;
            }
            let owner = (0..self.processes.len())
                .find(|p| Slot::new(slot).is_some_and(|slot| self.processes[*p].serves(slot)))
                .unwrap_or_else(|| violated("LIV-OWN", format!("slot {slot} of {SLOTS} is not served")));
            let commands =
                [command(&[b"SELECT", db.to_string().as_bytes()]), read_command(kind, &name, &second)];
            let Some(replies) = self.ask(owner, &commands) else {
                violated("LIV-OWN", format!("process {owner} does not answer for slot {slot}"));
            };
            if let Some(error) = replies[1].error() {
                violated("LIV-OWN", format!("process {owner} refuses a key of slot {slot}: {error}"));
            }
            let seen: Seen = understand(kind, &replies[1]);
            let mut history = self.shared.history.borrow_mut();
            let generation = history.generation(key);
            let (text, now) = (history.keys[key].text(), self.now);
            if let Err(why) = history.read(key, generation, now, now, &seen) {
                violated("INV-ACK0", format!("{text}, at its owner {owner} in the end: {why}"));
            }
        }
    }
}
