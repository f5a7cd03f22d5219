//! The life of a process: it starts, takes its turns, crashes and comes back.

use whimbrel_core::action::{Action, Ending};
use whimbrel_core::ids::{LinkId, ShardIndex, Shards};
use whimbrel_core::input::{Input, Origin, Progress};
use whimbrel_core::node::Node;
use whimbrel_core::shard::Shard;
use whimbrel_core::slots::Slot;

use super::disk::Write;
use super::journal;
use super::process::{Machines, PORT, Process, Which};
use super::resp::{Reply, command, parse};
use super::{Event, World};

/// Wake-ups at the same time after which a process is taken to spin.
const MOST_SPINS: u32 = 10_000;
/// Turns of background work take so many microseconds at least, and how much more at most.
const TURN: (u64, u64) = (5, 60);

impl World {
    /// Starts a process with what its disk has.
    pub fn boot(&mut self, p: usize) {
        self.processes[p].ahead = self.rng.below(self.plan.skew.max(1));
        let drift = self.plan.drift;
        self.processes[p].rate = self.rng.below(2 * drift + 1) as i64 - drift as i64;
        let now = self.clock(p);
        let (node_seed, shard_seed) = (self.rng.bits(), self.rng.bits());
        let process = &mut self.processes[p];
        let saved = process.disk.durable.clone();
        let node = Node::new(process.config.clone(), None, saved.as_deref(), node_seed, now)
            .unwrap_or_else(|why| panic!("process {p} cannot read its nodes.conf: {why}"));
        let view = node.view();
        let config = process.config.clone();
        let shard = |n| Shard::nth(n, config.clone(), view.clone(), shard_seed, now);
        let shards = Shards::new(config.shards).iter().map(shard).collect();
        process.unserved = view.myself().slots.slots().collect();
        process.views = vec![view.clone(); usize::from(process.config.shards)];
        process.view = Some(view);
        process.machines = Some(Machines { node, shards });
        process.wake_at = u64::MAX;
        self.settle(p, 0);
    }

    /// Gives a machine one input, and carries out everything that follows before anything else happens.
    pub fn turn(&mut self, p: usize, which: Which, input: Input<'_>) {
        if self.look(p, which.thread()) {
            self.step(p, which, input);
            self.settle(p, which.thread());
        }
    }

    /// Gives a machine one input, and has what it sends under way.
    pub fn step(&mut self, p: usize, which: Which, input: Input<'_>) {
        let now = self.clock(p);
        let process = &mut self.processes[p];
        let Some(machines) = &mut process.machines else { return };
        let mut actions = std::mem::take(&mut process.actions);
        let progress = machines.handle(which, now, input, &mut actions);
        match progress {
            Progress::More => process.more.insert(which),
            Progress::Idle => process.more.remove(&which),
        };
        let mut leaving = Vec::new();
        for action in actions.list.drain(..) {
            match action {
                Action::Move { link, to } => {
                    if self.give_away(p, which, link) {
                        leaving.push((link, Which::Shard(to.0)));
                    }
                }
                action => self.carry_out(p, which, action),
            }
        }
        for letter in actions.mail.drain(..) {
            self.post(p, which, letter);
        }
        for (link, to) in leaving {
            self.post_link(p, which, link, to);
        }
        self.processes[p].actions = actions;
    }

    /// Delivers the mail of a thread, then sends, until there is neither. What is sent was appended before all mail was
    /// delivered, or is in its ring.
    pub fn settle(&mut self, p: usize, thread: usize) {
        if self.carry_mail(p, thread) {
            self.after_turn(p);
        }
    }

    /// The same without a look at the invariants; false when the process ended.
    pub fn carry_mail(&mut self, p: usize, thread: usize) -> bool {
        loop {
            if self.deliver(p, thread) {
                continue;
            }
            if let Some((which, link)) = self.processes[p].late.pop_front() {
                self.step(p, which, Input::Closed { link });
            } else if let Some((which, link)) = self.processes[p].dirty.pop_first() {
                if self.flush(p, which, link) > 0 && self.processes[p].links.contains_key(&(which, link)) {
                    self.step(p, which, Input::Drained { link });
                }
            } else {
                break;
            }
        }
        if let Some((code, reason)) = self.processes[p].exit.take() {
            journal::line(|| format!("process {p} exits with {code}: {reason}"));
            self.crash(p, false);
            return false;
        }
        self.schedule_wake(p);
        true
    }

    fn schedule_wake(&mut self, p: usize) {
        let process = &self.processes[p];
        let Some(machines) = &process.machines else { return };
        let first = machines.all().filter_map(|which| machines.poll_timeout(which)).min();
        let mut at = first.map_or(u64::MAX, |at| process.world(at.0)).max(self.now);
        if !process.more.is_empty() {
            at = at.min(self.now + TURN.0 + self.rng.below(TURN.1));
        }
        if at < self.processes[p].wake_at {
            self.processes[p].wake_at = at;
            let life = self.processes[p].life;
            self.at(at, Event::Woken { process: p, life });
        }
    }

    /// A timer of the process is due, or it has background work.
    pub fn woken(&mut self, p: usize, life: u32) {
        let process = &mut self.processes[p];
        if process.life != life || process.machines.is_none() || process.wake_at != self.now {
            return;
        }
        process.wake_at = u64::MAX;
        if process.frozen_until > self.now {
            process.wake_at = process.frozen_until;
            let at = process.frozen_until;
            self.at(at, Event::Woken { process: p, life });
            return;
        }
        let mut ticked = false;
        for thread in 0..usize::from(process.config.shards) {
            let has_work = |which: &Which| self.processes[p].is_due(*which, self.now);
            if !Which::of_thread(thread).any(|which| has_work(&which)) {
                continue;
            }
            if !self.look(p, thread) {
                return;
            }
            for which in Which::of_thread(thread) {
                if self.processes[p].is_due(which, self.now) {
                    self.processes[p].more.remove(&which);
                    ticked = true;
                    journal::mix(&[1, p as u64, which.number(), self.now]);
                    self.step(p, which, Input::Ticked);
                }
            }
            if !self.carry_mail(p, thread) {
                return;
            }
        }
        self.settle(p, 0);
        let process = &mut self.processes[p];
        process.spins = if ticked && process.wake_at <= self.now { process.spins + 1 } else { 0 };
        if process.spins > MOST_SPINS {
            journal::violated("LIV-JOB", format!("process {p} asks to be woken again and again at once"));
        }
    }

    fn carry_out(&mut self, p: usize, which: Which, action: Action) {
        match action {
            Action::Connect { link, to, purpose } => self.call_from_machine(p, which, link, to, purpose),
            Action::Flush { link } => {
                self.processes[p].dirty.insert((which, link));
            }
            Action::Close { link, ending: Ending::Abrupt } => self.close_from_machine(p, which, link),
            Action::Close { link, ending: Ending::Flushed } => {
                self.processes[p].closing.insert((which, link));
                self.processes[p].dirty.insert((which, link));
            }
            Action::PauseReading { link } => self.pause_reading(p, which, link, true),
            Action::ResumeReading { link } => self.pause_reading(p, which, link, false),
            Action::Tune { .. } | Action::Move { .. } => {}
            Action::Persist { ticket, file, bytes, fsync } => {
                self.check_saved(p, &bytes);
                let idle = self.processes[p].disk.queue.is_empty();
                self.processes[p].disk.queue.push_back(Write {
                    which,
                    ticket,
                    file,
                    bytes: bytes.to_vec(),
                    fsync,
                });
                if idle {
                    self.start_write(p);
                }
            }
            Action::Read { .. } => panic!("nobody has an ACL file here"),
            Action::Sleep { .. } => panic!("nobody sends DEBUG SLEEP here"),
            Action::Listen { .. } => panic!("nobody changes where to listen here"),
            Action::Abort { reason } => panic!("nobody sends DEBUG PANIC here: {reason}"),
            Action::Exit { code, reason } => self.processes[p].exit = Some((code, reason)),
        }
    }

    fn start_write(&mut self, p: usize) {
        let (least, more) = self.plan.disk;
        let mut us = least + self.rng.below(more);
        if self.plan.faults.disk_stalls && self.may_fail() && self.rng.one_in(12) {
            us += 1_000_000 + self.rng.below(13_000_000);
            journal::line(|| format!("the disk of process {p} takes {us} us for a write"));
            journal::mark("a disk took as long as a pause");
        }
        let life = self.processes[p].life;
        self.after(us, Event::Written { process: p, life });
    }

    /// The disk has finished its first write.
    pub fn written(&mut self, p: usize, life: u32) {
        let process = &mut self.processes[p];
        if process.life != life {
            return;
        }
        if process.frozen_until > self.now {
            let at = process.frozen_until;
            self.at(at, Event::Written { process: p, life });
            return;
        }
        let fails = self.plan.faults.crashes && self.may_fail();
        let process = &mut self.processes[p];
        let Some(write) = process.disk.queue.front() else { return };
        if fails && write.fsync && self.rng.one_in(60) {
            journal::line(|| format!("the disk of process {p} fails"));
            journal::mark("a disk failed");
            let (which, ticket) = (write.which, write.ticket);
            process.disk.queue.pop_front();
            return self.turn(p, which, Input::Done { ticket, result: Err("No space left on device") });
        }
        let Some(write) = process.disk.complete() else { return };
        journal::mix(&[2, p as u64, write.ticket.0, u64::from(write.fsync)]);
        if !process.disk.queue.is_empty() {
            self.start_write(p);
        }
        if !self.shared.formed.get() {
            self.processes[p].disk.forget_older();
        }
        self.note_durable(p);
        self.turn(p, write.which, Input::Done { ticket: write.ticket, result: Ok(()) });
    }

    /// The process ends at this instant. Peers hear of it soon (`false`) or, as in a power cut, later.
    pub fn crash(&mut self, p: usize, silently: bool) {
        if !self.processes[p].is_up() {
            return;
        }
        journal::line(|| {
            format!("process {p} crashes{}", if silently { " like in a power cut" } else { "" })
        });
        journal::mark("a process crashed");
        self.note_crash(p);
        let process = &self.processes[p];
        let moving = process.moving.values().map(|&(conn, end, _)| (conn, end));
        let conns: Vec<(usize, usize)> = process.links.values().copied().chain(moving).collect();
        for (conn, end) in conns {
            self.abandon(conn, end, silently);
        }
        let process = &mut self.processes[p];
        process.machines = None;
        process.life += 1;
        process.disk.crash(&mut self.rng);
        let fresh = Process::new(p, process.config.clone());
        let (life, disk, frozen) = (process.life, std::mem::take(&mut process.disk), process.frozen_until);
        let next_accepted = process.next_accepted;
        *process = Process { life, disk, frozen_until: frozen, next_accepted, ..fresh };
        if self.plan.faults.old_conf && self.may_fail() && self.rng.one_in(2) {
            self.roll_back(p);
        }
        let us = 300_000 + self.rng.below(2_500_000);
        self.after(us, Event::Restarted { process: p });
    }

    /// The process comes back.
    pub fn restarted(&mut self, p: usize) {
        if !self.processes[p].is_up() {
            journal::line(|| format!("process {p} restarts"));
            journal::mark("a process came back");
            self.check_restored(p);
            self.boot(p);
        }
    }

    /// Asks a process several things at this instant, past the network, on one connection of its own. `None`: it is
    /// down, or an answer does not come at once. What is under way between its threads arrives before and meanwhile.
    pub fn ask(&mut self, p: usize, commands: &[Vec<u8>]) -> Option<Vec<Reply>> {
        if !self.hurry(p) {
            return None;
        }
        let shard = self.any_shard(p);
        self.ask_shard(p, shard, commands, true)
    }

    /// Asks a process about a key where that is, and has nothing hurry for it that its thread would not take in anyway.
    pub fn ask_about(&mut self, p: usize, slot: Slot, words: &[&[u8]]) -> Option<Reply> {
        let shard = Shards::new(self.processes[p].config.shards).of(slot);
        if !self.look(p, usize::from(shard.0)) {
            return None;
        }
        self.ask_shard(p, shard, &[command(words)], false)?.pop()
    }

    fn ask_shard(
        &mut self,
        p: usize,
        shard: ShardIndex,
        commands: &[Vec<u8>],
        hurry: bool,
    ) -> Option<Vec<Reply>> {
        let (link, which) = (LinkId::accepted(1 << 40).of(shard), Which::Shard(shard.0));
        let peer = std::net::SocketAddr::new([10, 0, 2, 1].into(), 1);
        let local = std::net::SocketAddr::new(Process::ip(p), PORT);
        self.step(p, which, Input::Opened { link, origin: Origin::Tcp { peer, local } });
        let request = commands.concat();
        self.step(p, which, Input::Filled { link, bytes: &request });
        self.carry_mail(p, usize::from(shard.0));
        if hurry {
            self.hurry(p);
        }
        let mut replies = Vec::new();
        if let Some(outbox) = self.processes[p].machines.as_mut().and_then(|m| m.outbox(which, link)) {
            let bytes: Vec<u8> = outbox.chunks().flatten().copied().collect();
            outbox.advance(bytes.len());
            let mut at = 0;
            while let Some((reply, used)) = parse(&bytes[at..]) {
                at += used;
                replies.push(reply);
            }
        }
        self.step(p, which, Input::Closed { link });
        self.carry_mail(p, usize::from(shard.0));
        if hurry {
            self.hurry(p);
        }
        (replies.len() == commands.len()).then_some(replies)
    }

    /// A shard for the next connection of a process.
    pub fn any_shard(&mut self, p: usize) -> ShardIndex {
        match self.processes[p].config.shards {
            1 => ShardIndex(0),
            shards => ShardIndex(self.rng.below(shards.into()) as u16),
        }
    }

    /// Asks a process one thing at this instant.
    pub fn ask_one(&mut self, p: usize, words: &[&[u8]]) -> Option<Reply> {
        self.ask(p, &[command(words)])?.pop()
    }
}
