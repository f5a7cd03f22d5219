//! Faults, as the plan allows them.

use whimbrel_core::slots::Slot;

use super::journal::{line, mark};
use super::net::{Class, Phase};
use super::resp::Reply;
use super::{Event, World};

/// Between two faults, in microseconds: at least, and how much more at most.
const REST: (u64, u64) = (60_000, 300_000);
/// The longest partition. A hold lasts for ten seconds at least; with the news of a take-over this late it still
/// comes in time, so that the expired grant (R3) is not reached.
const LONGEST_CUT: u64 = 3_000_000;
/// The longest partition where the expired grant may be reached (and is then recognized).
const LONGEST_LONG_CUT: u64 = 14_000_000;
/// So many crashes are enough for one run: each costs some seconds.
const MOST_CRASHES: u32 = 4;
/// The longest standstill of a process.
const LONGEST_FREEZE: u64 = 700_000;

impl World {
    /// Something goes wrong, once the cluster is formed and until the operator is done.
    pub fn mischief(&mut self) {
        if self.quiet_since.is_some() {
            return;
        }
        let us = REST.0 + self.rng.below(REST.1);
        self.after(us, Event::Mischief);
        if !self.shared.formed.get() {
            return;
        }
        let faults = self.plan.faults;
        let p = self.rng.index(self.processes.len());
        match self.rng.below(5) {
            0 if faults.migration_cuts => self.cut_migration(),
            1 if faults.resets => self.reset_something(),
            2 if faults.partitions => self.partition(p, None),
            3 if faults.freezes => self.freeze(p),
            4 if faults.crashes && self.rng.one_in(3) => self.crash_somebody(p),
            _ => {}
        }
    }

    /// Something goes wrong at one end of a migration.
    pub fn strike(&mut self, p: usize, life: u32) {
        if self.quiet_since.is_some() || self.processes[p].life != life {
            return;
        }
        let faults = self.plan.faults;
        match self.rng.below(5) {
            0 if faults.migration_cuts => {
                let links = self.open_conns(|class| class == Class::Migration);
                let mine = |c: &usize| self.conns[*c].hosts.contains(&Some(p));
                if let Some(c) = links.into_iter().find(mine) {
                    self.break_migration(c);
                }
            }
            1 if faults.freezes => self.freeze(p),
            2 if faults.crashes => self.crash_somebody(p),
            3 if faults.partitions => {
                let ids: Vec<_> =
                    self.processes[p].seen.values().flat_map(|s| [s.job.source, s.job.target]).collect();
                let other = (0..self.processes.len()).find(|q| *q != p && ids.contains(&self.node_id(*q)));
                self.partition(p, other);
            }
            4 if faults.resets => self.reset_something(),
            _ => {}
        }
    }

    /// Connections of a class of which neither end has closed.
    fn open_conns(&self, hit: impl Fn(Class) -> bool) -> Vec<usize> {
        let open =
            |c: &usize| self.conns[*c].phase == Phase::Open && !self.conns[*c].ends.iter().any(|e| e.closed);
        (0..self.conns.len()).filter(|c| hit(self.conns[*c].class)).filter(open).collect()
    }

    fn cut_migration(&mut self) {
        let links = self.open_conns(|class| class == Class::Migration);
        if !links.is_empty() {
            let c = links[self.rng.index(links.len())];
            self.break_migration(c);
        }
    }

    fn break_migration(&mut self, c: usize) {
        line(|| format!("the migration link between {:?} breaks", self.conns[c].pair()));
        mark("a migration link broke");
        self.reset(c, 200_000);
    }

    fn reset_something(&mut self) {
        let bus = self.rng.one_in(3);
        let class = if bus { Class::Bus } else { Class::Client };
        let links = self.open_conns(|c| c == class);
        if !links.is_empty() {
            let c = links[self.rng.index(links.len())];
            line(|| format!("a {class:?} connection of {:?} is reset", self.conns[c].hosts));
            mark(if bus { "a bus link was reset" } else { "a client connection was reset" });
            self.reset(c, 50_000);
        }
    }

    /// Process `a` and another do not hear each other, or one of them does not, for a while.
    fn partition(&mut self, a: usize, b: Option<usize>) {
        let n = self.processes.len();
        let random = (a + 1 + self.rng.index(n - 1)) % n;
        let b = b.unwrap_or(random);
        let (a, b) = if self.rng.one_in(2) { (a, b) } else { (b, a) };
        let long = self.plan.faults.long_partitions && self.rng.one_in(2);
        let longest = if long { LONGEST_LONG_CUT } else { LONGEST_CUT };
        let until = self.now + 50_000 + self.rng.below(longest);
        let both = self.rng.one_in(2);
        let classes: &[Class] =
            if !long && self.rng.one_in(2) { &[Class::Bus] } else { &[Class::Bus, Class::Migration] };
        line(|| {
            let way = if both { "and back" } else { "only" };
            format!("{classes:?} from {a} to {b} {way} is cut until {:.3}", until as f64 / 1e6)
        });
        mark(if both { "two nodes were cut off from each other" } else { "one node did not hear another" });
        for class in classes {
            self.cuts.cut(a, b, *class, until);
            if both {
                self.cuts.cut(b, a, *class, until);
            }
            if until - self.now > 1_500_000 && self.rng.one_in(if long { 5 } else { 2 }) {
                // Retransmissions are given up: both ends hear of it while the cut lasts.
                let pair = |c: &usize| matches!(self.conns[*c].pair(), Some(p) if p == (a, b) || p == (b, a));
                let links: Vec<usize> = self.open_conns(|c| c == *class).into_iter().filter(pair).collect();
                for c in links {
                    self.reset(c, until - self.now);
                }
            }
        }
    }

    fn freeze(&mut self, p: usize) {
        let until = self.now + 5_000 + self.rng.below(LONGEST_FREEZE);
        self.processes[p].frozen_until = until;
        line(|| format!("process {p} stands still until {:.3}", until as f64 / 1e6));
        mark("a process stood still");
    }

    /// Deletes all keys of a slot, or of all slots, at this instant. What clients have under way may come before or
    /// after it. Not while a slot of the process is let go (R18: the target may own it already).
    pub fn flush_keys(&mut self, p: usize, slot: Option<u16>) {
        if self.processes[p].seen.values().any(|seen| seen.granted || seen.is_taking_over()) {
            return;
        }
        let number = slot.unwrap_or(0).to_string();
        let reply = match slot {
            Some(_) => self.ask_one(p, &[b"CLUSTER", b"FLUSHSLOT", number.as_bytes()]),
            None => self.ask_one(p, &[b"FLUSHALL"]),
        };
        line(|| format!("process {p} flushes {slot:?}: {reply:?}"));
        // Also while the cluster is down: nobody reads it then, but it is gone.
        let view = self.processes[p].view.clone();
        let mine = |s: u16| Slot::new(s).is_some_and(|s| view.as_ref().is_some_and(|view| view.is_mine(s)));
        let owned = |s: u16| slot.is_none_or(|only| only == s) && mine(s);
        match reply {
            Some(Reply::Simple(_)) => {
                mark(if slot.is_some() { "a slot was flushed" } else { "a node was flushed" });
                self.shared.history.borrow_mut().wipe(owned, self.now);
            }
            // Held, or the cluster is down.
            None | Some(Reply::Error(_)) => {}
            Some(other) => panic!("FLUSH: {other:?}"),
        }
    }

    /// Process `p` crashes, unless another one is down, or crashes were many.
    fn crash_somebody(&mut self, p: usize) {
        let down = self.processes.iter().any(|p| !p.is_up());
        if down || self.processes.iter().map(|p| p.life).sum::<u32>() >= MOST_CRASHES {
            return;
        }
        let silently = self.rng.one_in(2);
        self.crash(p, silently);
    }
}
