//! Invariants that are looked at while the cluster runs, with the states of all processes in view.

use std::collections::BTreeMap;
use std::sync::Arc;

use whimbrel_core::cluster::View;
use whimbrel_core::ids::{JobName, NodeId};
use whimbrel_core::mail::{Fact, Mail, Order};
use whimbrel_core::migration::export;
use whimbrel_core::migration::job::{Job, Outcome};
use whimbrel_core::migration::log::Stage;
use whimbrel_core::slots::{Slot, SlotRange, SlotRanges, SlotSet};

use super::journal::{detail, is_verbose, line, mark, violated};
use super::plan::{DATABASES, tag};
use super::process::{Seen, Which};
use super::resp::{Reply, command};
use super::tap::Saved;
use super::tasks::Export;
use super::{Event, World};

/// Between two looks at what is hidden, in microseconds.
const HIDE_EVERY: u64 = 15_000;

/// Contents of a nodes.conf that a message under way may still tell of.
const REMEMBERED: usize = 16;

/// What an onlooker remembers.
pub struct Watch {
    /// What each shard routed by when owners were compared last: its life, the version of its view, its state.
    compared: Vec<(u32, u64, bool)>,
    /// Slots that two processes believe to be theirs.
    pub contested: Vec<(usize, usize, SlotRange)>,
    /// The lives and stamps of all processes when they were compared last.
    pub stamps: Vec<(u32, u64)>,
    /// What was durable lately, the newest last.
    durable: Vec<Vec<Saved>>,
    /// The newest content that each process wanted to save.
    wanted: Vec<Saved>,
    pub looked_at: u64,
    /// When what is held was looked at last.
    pub held_at: u64,
    /// Who took a slot over last, and with which epoch.
    decided: BTreeMap<Slot, (NodeId, u64)>,
    /// Which slots came to which process by a migration, and when.
    came: Vec<(usize, u64, SlotRanges)>,
    /// Jobs that a known hole reached, and which.
    pub holes: BTreeMap<JobName, &'static str>,
    /// The slots of those jobs.
    tainted: SlotSet,
    /// Slots that their owner may have forgotten with its nodes.conf.
    pub forgotten: SlotSet,
}

impl Watch {
    pub fn new(processes: usize) -> Self {
        Self {
            compared: vec![(0, u64::MAX, false); processes],
            contested: Vec::new(),
            stamps: Vec::new(),
            durable: vec![vec![Saved::default()]; processes],
            wanted: vec![Saved::default(); processes],
            looked_at: 0,
            held_at: 0,
            decided: BTreeMap::new(),
            came: Vec::new(),
            holes: BTreeMap::new(),
            tainted: SlotSet::new(),
            forgotten: SlotSet::new(),
        }
    }

    /// What was durable lately, the newest first.
    pub fn durable(&self, p: usize) -> impl Iterator<Item = &Saved> {
        self.durable[p].iter().rev()
    }
}

/// Slots that two lists of ranges share.
pub fn shared(a: &SlotRanges, b: &SlotRanges) -> Vec<SlotRange> {
    let both = a.0.iter().flat_map(|x| b.0.iter().map(move |y| (x, y)));
    both.filter(|(x, y)| x.overlaps(y))
        .map(|(x, y)| SlotRange { first: x.first.max(y.first), last: x.last.min(y.last) })
        .collect()
}

impl World {
    /// Mail is delivered within a process: what it tells an onlooker.
    pub fn overhear(&mut self, p: usize, to: Which, mail: &Mail) {
        match mail {
            Mail::Fact(Fact::Entered { job, stage }) => self.job_entered(p, *job, *stage),
            Mail::Fact(Fact::Ended { job, outcome, .. }) => self.job_ended(p, *job, outcome),
            Mail::Order(Order::Drop(confirmed)) => {
                line(|| format!("process {p} drops the keys of slots {}", confirmed.slots()));
                let gone = |slot: u16| Slot::new(slot).is_some_and(|slot| confirmed.slots().contains(slot));
                self.shared.left_copies.borrow_mut().retain(|(q, slot)| *q != p || !gone(*slot));
            }
            Mail::Order(Order::CleanUp { .. }) => mark("a failed import was cleaned up"),
            Mail::Order(Order::Publish(view)) if is_verbose() && to == Which::Shard(0) => {
                self.tell_view(p, view);
            }
            _ => {}
        }
        self.processes[p].overhear(to, mail);
    }

    /// What a new view of a process changes about the slots in use and the epochs.
    fn tell_view(&self, p: usize, new: &View) {
        let Some(old) = self.processes[p].view.as_ref().filter(|_| self.shared.formed.get()) else { return };
        let number = |id| (0..self.processes.len()).find(|p| self.node_id(*p) == id);
        let owner = |view: &View, slot| view.owner(slot).and_then(|row| number(row.id));
        let slots = self.plan.slots.iter().filter_map(|s| Slot::new(*s));
        for slot in slots.filter(|slot| owner(old, *slot) != owner(new, *slot)) {
            detail(|| {
                format!("process {p}: slot {slot} is of {:?} (was {:?})", owner(new, slot), owner(old, slot))
            });
        }
        for row in &new.rows {
            let before = old.find(row.id).map(|row| row.config_epoch);
            if before != Some(row.config_epoch) {
                detail(|| {
                    format!(
                        "process {p}: epoch of {:?} is {} (was {before:?})",
                        number(row.id),
                        row.config_epoch
                    )
                });
            }
        }
    }

    fn job_entered(&mut self, p: usize, name: JobName, stage: Stage) {
        line(|| format!("process {p}: job {} enters {stage}", &name.as_str()[..6]));
        if self.plan.faults.any() && self.quiet_since.is_none() && self.rng.one_in(6) {
            let us = self.rng.below(4 * (self.plan.delay.0 + self.plan.delay.1));
            let life = self.processes[p].life;
            self.after(us, Event::Struck { process: p, life });
        }
        let Some(seen) = self.processes[p].seen.get(&name) else { return };
        let slots = seen.job.ranges.clone();
        let mut exports = self.shared.exports.borrow_mut();
        let Some(export) = exports.iter_mut().find(|e| e.process == p && e.job == name) else {
            if matches!(stage, Stage::Export(_)) {
                let (asked, paused, granted, until) = (None, None, None, u64::MAX);
                exports.push(Export {
                    asked,
                    process: p,
                    job: name,
                    slots,
                    since: self.now,
                    written: false,
                    paused,
                    granted,
                    until,
                });
            }
            return;
        };
        match stage {
            Stage::Export(export::State::Replicating) => export.written = true,
            Stage::Export(export::State::WaitingToPause) => export.asked = Some(self.now),
            Stage::Export(export::State::FailoverPaused) => export.paused = Some(self.now),
            Stage::Export(export::State::FailoverGranted) => export.granted = Some(self.now),
            _ => {}
        }
    }

    /// INV-LOG, at the end of each job: what it reports is what the slots' owners show.
    fn job_ended(&mut self, p: usize, name: JobName, outcome: &Outcome) {
        line(|| format!("process {p}: job {} ended: {outcome:?}", &name.as_str()[..6]));
        for export in self.shared.exports.borrow_mut().iter_mut().filter(|e| e.process == p && e.job == name)
        {
            export.until = self.now;
        }
        let Some(Seen { job, stage, granted, lent }) = self.processes[p].seen.get(&name).cloned() else {
            return;
        };
        let Some(machines) = &self.processes[p].machines else { return };
        let view = machines.node.view();
        let mine = job.ranges.slots().filter(|slot| view.is_mine(*slot)).count();
        let all = job.ranges.slots().count();
        let is_export = matches!(stage, Stage::Export(_));
        if is_export && lent {
            self.processes[p].lent.clear();
            mark(match outcome {
                Outcome::Success => "a job succeeded whose stream was sent from memory that is lent",
                Outcome::Cancelled => "a job was cancelled whose stream was sent from memory that is lent",
                Outcome::Failed(_) => "a job failed whose stream was sent from memory that is lent",
            });
        }
        match outcome {
            Outcome::Success => {
                if !is_export {
                    self.look_for_deletion(p, &view, name, &job.ranges);
                }
                // Whose slots a hole of an earlier job has reached may change by themselves (seed 3007554).
                let is_wrong = |slot: Slot| view.is_mine(slot) == is_export && !self.is_tainted(slot);
                if job.ranges.slots().any(is_wrong) && !self.watch.holes.contains_key(&name) {
                    violated(
                        "INV-LOG",
                        format!("process {p} reports success and owns {mine} of {all} slots"),
                    );
                }
                if !is_export {
                    self.watch.came.push((p, self.now, job.ranges.clone()));
                }
                mark(if is_export {
                    "migration succeeded at the source"
                } else {
                    "migration succeeded at the target"
                });
            }
            Outcome::Cancelled => mark("migration cancelled"),
            Outcome::Failed(failure) => {
                mark("migration failed");
                match failure.to_string() {
                    text if text.contains("onnection lost") => mark("migration failed by a lost connection"),
                    text if text.contains("Timed out") => mark("migration failed by a timeout"),
                    _ => {}
                }
                let early = is_export
                    && failure.to_string().contains("does not agree")
                    && self.came_lately(p, name, &job.ranges);
                if early {
                    mark("slots were to move on before the next target knew whose they were");
                }
                if !self.plan.may_fail_jobs() && !early {
                    violated("INV-LOG", format!("a job failed in a run without faults: {failure}"));
                }
            }
        }
        if is_export && granted && *outcome != Outcome::Success {
            // The hold ends although the target may own the slots or yet take them: R3, however it came about.
            self.reached("R3 the grant ended before the news of the take-over", &job.ranges, name);
        }
    }

    /// An operator took slots from the table of their new owner after it had taken them over and before that was
    /// durable: the job succeeded, and who has the slots now is the operator's doing.
    fn look_for_deletion(&mut self, p: usize, view: &View, job: JobName, ranges: &SlotRanges) {
        let missing: SlotSet = ranges.slots().filter(|slot| !view.is_mine(*slot)).collect();
        let since = self.shared.exports.borrow().iter().find(|e| e.job == job).map_or(0, |e| e.since);
        let deleted = |slot: Slot| {
            let all = self.shared.deleted.borrow();
            all.iter().any(|(q, number, at)| *q == p && *number == slot.number() && *at >= since)
        };
        if !missing.is_empty() && missing.iter().all(deleted) {
            self.reached("DELSLOTS at a target that is taking the slot over", &missing.to_ranges(), job);
        }
    }

    /// Whether some of these slots came to a process so short a time before it was asked to pass them on that the next
    /// target may not have heard of it, or not believed it yet: it may know the source before with the same epoch, and
    /// hear of neither again for as long as a node may go without being pinged, twice.
    fn came_lately(&self, p: usize, job: JobName, ranges: &SlotRanges) -> bool {
        let known_after = 2 * self.plan.node_timeout_ms * 1_000;
        let exports = self.shared.exports.borrow();
        let asked = exports.iter().find(|e| e.process == p && e.job == job).map_or(self.now, |e| e.since);
        let came = self.watch.came.iter().filter(|(to, at, _)| *to == p && *at + known_after >= asked);
        came.into_iter().any(|(_, _, slots)| !shared(slots, ranges).is_empty())
    }

    /// A known hole of the stock hand-over was reached by a job, which may meet another one later, of more of its slots (seed
    /// 1007946).
    fn reached(&mut self, hole: &'static str, ranges: &SlotRanges, name: JobName) {
        if self.watch.holes.insert(name, hole) != Some(hole) {
            line(|| format!("job {} meets a hole", &name.as_str()[..6]));
            self.taint(hole, ranges);
        }
    }

    /// A known hole was reached: these slots are not judged any more.
    pub fn taint(&mut self, hole: &'static str, ranges: &SlotRanges) {
        line(|| format!("known hole: {hole} (slots {ranges})"));
        mark(hole);
        mark("a known hole was reached");
        for slot in ranges.slots() {
            self.watch.tainted.insert(slot);
        }
        let mut history = self.shared.history.borrow_mut();
        for slot in self.plan.slots.iter().filter(|s| Slot::new(**s).is_some_and(|s| ranges.contains(s))) {
            history.taint(*slot, hole);
        }
    }

    /// Whether a known hole has reached a slot.
    pub fn is_tainted(&self, slot: Slot) -> bool {
        self.watch.tainted.contains(slot)
    }

    /// After every turn of a process.
    pub fn after_turn(&mut self, p: usize) {
        let process = &self.processes[p];
        let Some(view) = &process.view else { return };
        let ok = view.state == whimbrel_core::wire::bus::State::Ok;
        let print = (process.life, process.version(), process.is_up() && ok);
        let letting_go = process.seen.values().any(|seen| seen.granted || seen.is_taking_over());
        let hiding = process.seen.values().any(Seen::is_hidden);
        let holding = process.seen.values().any(Seen::is_paused);
        if self.watch.compared[p] != print {
            self.watch.compared[p] = print;
            self.note_served(p);
            self.compare_owners();
            self.check_served(p);
        }
        if letting_go {
            self.look_for_bumps();
        }
        if holding {
            self.check_holding(p);
        }
        if !self.watch.contested.is_empty() {
            self.check_owners();
        }
        if self.now >= self.watch.looked_at + HIDE_EVERY && hiding {
            self.watch.looked_at = self.now;
            self.check_hidden(p);
        }
    }

    /// INV-PERSIST: what a process serves is its own on its disk.
    fn check_served(&self, p: usize) {
        let process = &self.processes[p];
        let Some(saved) = self.watch.durable(p).next() else { return };
        // What a shard has not heard to be lost yet the disk knows already.
        let lost = |slot: &Slot| process.view.as_ref().is_some_and(|view| !view.is_mine(*slot));
        let slots = process.own_slots();
        let could_be_forgotten = |slot: &Slot| !saved.slots.contains(*slot) && !lost(slot);
        if let Some(slot) = slots.slots().find(could_be_forgotten).filter(|_| process.is_up()) {
            violated("INV-PERSIST", format!("process {p} serves slot {slot}, which its disk could forget"));
        }
    }

    /// What an onlooker has to know when a mailed message may make a process take slots over: the job, and what the
    /// process knew before.
    pub fn before_take_over(&self, p: usize, mail: &Mail) -> Option<(Arc<Job>, Arc<View>)> {
        let Mail::Fact(Fact::TakeOver { job }) = mail else { return None };
        let (process, job) = (&self.processes[p], self.processes[p].seen.get(job)?);
        Some((job.job.clone(), process.machines.as_ref()?.node.view()))
    }

    /// INV-DEC, as far as it applies: who takes slots over does so with an epoch above all that it has heard of, and
    /// therefore above that of the take-over before, unless it has not heard of that one yet.
    pub fn check_decided(&mut self, p: usize, job: &Job, before: &View) {
        let (id, claim) = (job.target, &self.watch.wanted[p]);
        if !job.ranges.slots().all(|slot| claim.slots.contains(slot)) {
            return; // it did not take them
        }
        let epoch = claim.config_epoch;
        if let Some(other) = before.rows.iter().find(|row| !row.myself && row.config_epoch >= epoch) {
            let (of, other) = (other.config_epoch, other.id);
            violated(
                "INV-DEC",
                format!("{id} took slots over with epoch {epoch} and knew that {other} has {of}"),
            );
        }
        let slots: Vec<Slot> = self.plan.slots.iter().filter_map(|s| Slot::new(*s)).collect();
        for slot in slots.into_iter().filter(|slot| job.ranges.contains(*slot)) {
            let last = self.watch.decided.insert(slot, (id, epoch));
            let Some((other, old)) = last.filter(|(other, old)| *other != id && *old >= epoch) else {
                continue;
            };
            mark("a take-over whose target had not heard of the one before");
            if !self.plan.faults.any() && !self.is_tainted(slot) {
                violated(
                    "INV-DEC",
                    format!("{id} took slot {slot} with epoch {epoch} after {other} with {old}"),
                );
            }
        }
    }

    /// The schedule of R6: the source's own epoch is not below the target's claim while the source lets go, so that
    /// others may refuse the claim, and an older message of the source could take the slots back. It costs nothing
    /// here; that it comes about is worth a mark.
    fn look_for_bumps(&self) {
        for process in &self.processes {
            let Some(machines) = &process.machines else { continue };
            let mine = machines.node.view().myself().config_epoch;
            for seen in process.seen.values().filter(|seen| seen.granted) {
                let mut views =
                    self.processes.iter().filter_map(|q| q.machines.as_ref()).map(|m| m.node.view());
                let claim = views.find(|view| view.myself().id == seen.job.target);
                let taken = |view: &Arc<View>| seen.job.ranges.slots().any(|slot| view.is_mine(slot));
                if claim.is_some_and(|view| taken(&view) && view.myself().config_epoch <= mine) {
                    mark("an epoch of the source rose while it let go (R6)");
                }
            }
        }
    }

    /// INV-HIDE: what is being imported is in nothing a client can ask for, but the counts of its slots.
    fn check_hidden(&mut self, p: usize) {
        if !self.hurry(p) {
            return;
        }
        let hidden: Vec<Slot> = self
            .plan
            .slots
            .iter()
            .filter_map(|s| Slot::new(*s))
            .filter(|s| self.processes[p].hides(*s))
            .collect();
        for db in 0..DATABASES {
            let mut commands = vec![
                command(&[b"SELECT", db.to_string().as_bytes()]),
                command(&[b"KEYS", b"*"]),
                command(&[b"SCAN", b"0", b"COUNT", b"1000"]),
                command(&[b"RANDOMKEY"]),
            ];
            for slot in &self.plan.slots {
                commands.push(command(&[b"CLUSTER", b"COUNTKEYSINSLOT", slot.to_string().as_bytes()]));
            }
            // After the walks: they may find keys expired.
            commands.push(command(&[b"DBSIZE"]));
            commands.push(command(&[b"INFO", b"keyspace"]));
            for slot in &hidden {
                let number = slot.number().to_string();
                let cursor = format!("0-{{{}}}-0", tag(slot.number()));
                let words: [&[u8]; 6] =
                    [b"CLUSTERSCAN", cursor.as_bytes(), b"SLOT", number.as_bytes(), b"COUNT", b"1000"];
                commands.push(command(&words));
            }
            let Some(mut replies) = self.ask(p, &commands) else { return };
            let walks = replies.split_off(replies.len() - hidden.len());
            let told = replies.pop().map(|r| r.text()).unwrap_or_default();
            let total = replies.pop().and_then(|r| r.int());
            let of_db = format!("db{db}:keys=");
            let keys =
                told.lines().find_map(|line| line.strip_prefix(&of_db)?.split(',').next()?.parse().ok());
            if keys.unwrap_or(0) != total.unwrap_or(0) {
                violated("INV-HIDE", format!("process {p}: INFO tells {keys:?} keys, DBSIZE {total:?}"));
            }
            let names = |reply: &Reply| reply.items().get(1).cloned().unwrap_or(Reply::Bulk(None));
            let scans: Vec<Reply> = walks.iter().chain([&replies[2]]).map(names).collect();
            let random = std::slice::from_ref(&replies[3]);
            let scanned = scans.iter().flat_map(Reply::items);
            for key in replies[1].items().iter().chain(scanned).chain(random).filter_map(Reply::bulk) {
                if hidden.contains(&Slot::of(key)) {
                    let key = String::from_utf8_lossy(key);
                    violated("INV-HIDE", format!("process {p} shows key {key}, which it is importing"));
                }
            }
            let mut visible = 0;
            for (slot, count) in self.plan.slots.iter().zip(&replies[4..]) {
                let count = count.int().unwrap_or_else(|| panic!("a count: {count:?}"));
                let is_hidden = hidden.iter().any(|s| s.number() == *slot);
                visible += if is_hidden { 0 } else { count };
                if is_hidden && count > 0 {
                    mark("keys of an import were there and not to be seen");
                }
            }
            if total != Some(visible) {
                violated(
                    "INV-HIDE",
                    format!("process {p}: DBSIZE {total:?} in db {db} instead of {visible}"),
                );
            }
        }
    }

    /// A process wants to save: INV-EPOCH, nothing it promised is taken back.
    pub fn check_saved(&mut self, p: usize, bytes: &[u8]) {
        let new = Saved::parse(bytes);
        let old = &self.watch.wanted[p];
        let epochs = |s: &Saved| [s.current_epoch, s.last_vote_epoch, s.config_epoch];
        if epochs(&new).iter().zip(epochs(old)).any(|(new, old)| *new < old) {
            violated(
                "INV-EPOCH",
                format!("process {p} saves epochs {:?} after {:?}", epochs(&new), epochs(old)),
            );
        }
        if let Some((_, slot)) = self.shared.deleting.get().filter(|(q, _)| *q == p)
            && Slot::new(slot).is_some_and(|slot| old.slots.contains(slot) && !new.slots.contains(slot))
        {
            self.shared.edited.borrow_mut().push((p, slot));
        }
        self.watch.wanted[p] = new;
    }

    /// A write of nodes.conf is done.
    pub fn note_durable(&mut self, p: usize) {
        if let Some(bytes) = &self.processes[p].disk.durable {
            let saved = Saved::parse(bytes);
            let durable = &mut self.watch.durable[p];
            if durable.last() != Some(&saved) {
                durable.push(saved);
                let excess = durable.len().saturating_sub(REMEMBERED);
                durable.drain(..excess);
            }
        }
    }

    /// Somebody puts an older nodes.conf in the place of what a dead process's disk kept. What the process then wrongly
    /// believes or does not know to be its own is not judged, and its epochs may be lower than they were.
    pub fn roll_back(&mut self, p: usize) {
        let known = self.watch.wanted[p].slots.clone();
        if !self.processes[p].disk.roll_back(&mut self.rng) {
            return;
        }
        let older = self.processes[p].disk.durable.as_deref().map(Saved::parse).unwrap_or_default();
        for slot in known.iter().filter(|slot| !older.slots.contains(*slot)) {
            self.watch.forgotten.insert(slot);
        }
        let differ = Slot::all().filter(|s| known.contains(*s) != older.slots.contains(*s));
        let differ = differ.collect::<SlotSet>().to_ranges();
        line(|| format!("process {p} will find an older nodes.conf; slots that differ: {differ}"));
        mark("a process came back with an older nodes.conf");
        if !differ.0.is_empty() {
            self.taint("R15 a restart with an older nodes.conf", &differ);
        }
        self.watch.durable[p] = vec![older];
    }

    /// A process comes back with what its disk kept: INV-EPOCH.
    pub fn check_restored(&mut self, p: usize) {
        let Some(bytes) = &self.processes[p].disk.durable else { return };
        let found = Saved::parse(bytes);
        // What it lost and had not saved yet it believes to own, until somebody tells it.
        let lost = found.slots.iter().filter(|s| !self.watch.wanted[p].slots.contains(*s));
        let lost = lost.collect::<SlotSet>().to_ranges();
        if !lost.0.is_empty() && self.plan.faults.may_keep_news_away() {
            self.taint("R15 a restart with slots that were lost and not saved", &lost);
        }
        let old = self.watch.durable[p].last().expect("there is always one");
        if found.current_epoch < old.current_epoch || found.config_epoch < old.config_epoch {
            violated("INV-EPOCH", format!("process {p} comes back with {found:?} after {old:?} was durable"));
        }
        self.watch.wanted[p] = found.clone();
        self.watch.durable[p] = vec![found];
    }

    /// A process dies: what it had is gone, and jobs that were being handed over are in the hands of known holes.
    pub fn note_crash(&mut self, p: usize) {
        let mut caught = Vec::new();
        for (q, process) in self.processes.iter().enumerate() {
            let me = self.processes[p].view.as_ref().map(|view| view.myself().id);
            for seen in process.seen.values() {
                let involved = q == p || Some(seen.job.target) == me || Some(seen.job.source) == me;
                if involved && (seen.granted || seen.is_taking_over()) {
                    caught.push(seen.job.clone());
                }
            }
        }
        for job in caught {
            self.reached(
                "R2/R10 a crash between the grant and the news of the take-over",
                &job.ranges,
                job.name,
            );
        }
        if !self.processes[p].seen.is_empty() {
            mark("a process crashed during a migration");
        }
        let had = self.has_keys_of(p);
        self.shared.history.borrow_mut().wipe(|slot| had.contains(&slot), self.now);
        for export in self.shared.exports.borrow_mut().iter_mut().filter(|e| e.process == p) {
            export.until = export.until.min(self.now);
        }
    }
}
