//! Faults, as the plan allows them.

use super::journal::{line, mark};
use super::net::{Class, Phase};
use super::resp::Reply;
use super::{Event, World};

/// Between two faults, in microseconds: at least, and how much more at most.
const REST: (u64, u64) = (60_000, 600_000);
/// The longest partition. A hold lasts for ten seconds at least; with the news of a take-over this late it still
/// comes in time, so that the expired grant (R3) is not reached.
const LONGEST_CUT: u64 = 3_000_000;
/// The longest partition where the expired grant may be reached (and is then recognized).
const LONGEST_LONG_CUT: u64 = 14_000_000;
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
        let kinds = [
            (faults.migration_cuts, Self::cut_migration as fn(&mut Self)),
            (faults.resets, Self::reset_something),
            (faults.partitions, Self::partition),
            (faults.freezes, Self::freeze),
            (faults.crashes, Self::crash_somebody),
        ];
        let enabled: Vec<_> = kinds.iter().filter(|(on, _)| *on).map(|(_, fault)| *fault).collect();
        if !enabled.is_empty() {
            let fault = enabled[self.rng.index(enabled.len())];
            fault(self);
        }
    }

    fn open_conns(&self, hit: impl Fn(Class) -> bool) -> Vec<usize> {
        let open =
            |c: &usize| self.conns[*c].phase == Phase::Open && !self.conns[*c].ends.iter().any(|e| e.closed);
        (0..self.conns.len()).filter(|c| hit(self.conns[*c].class)).filter(open).collect()
    }

    fn cut_migration(&mut self) {
        let links = self.open_conns(|class| class == Class::Migration);
        if !links.is_empty() && self.rng.one_in(3) {
            let c = links[self.rng.index(links.len())];
            line(|| format!("the migration link between {:?} breaks", self.conns[c].pair()));
            mark("a migration link broke");
            self.reset(c, 200_000);
        }
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

    fn partition(&mut self) {
        let n = self.processes.len();
        let a = self.rng.index(n);
        let b = (a + 1 + self.rng.index(n - 1)) % n;
        if !self.rng.one_in(3) {
            return;
        }
        let long = self.plan.faults.long_partitions && self.rng.one_in(2);
        let longest = if long { LONGEST_LONG_CUT } else { LONGEST_CUT };
        let until = self.now + 50_000 + self.rng.below(longest);
        let both = self.rng.one_in(2);
        let classes: &[Class] =
            if self.rng.one_in(2) { &[Class::Bus] } else { &[Class::Bus, Class::Migration] };
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
            let long = until - self.now > 1_500_000;
            if long && self.rng.one_in(2) {
                // Retransmissions are given up: both ends hear of it while the cut lasts.
                let pair = |c: &usize| matches!(self.conns[*c].pair(), Some(p) if p == (a, b) || p == (b, a));
                let links: Vec<usize> = self.open_conns(|c| c == *class).into_iter().filter(pair).collect();
                for c in links {
                    self.reset(c, until - self.now);
                }
            }
        }
    }

    fn freeze(&mut self) {
        if !self.rng.one_in(2) {
            return;
        }
        let p = self.rng.index(self.processes.len());
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
        let owned = |s: u16| {
            slot.is_none_or(|only| only == s)
                && whimbrel_core::slots::Slot::new(s).is_some_and(|s| self.processes[p].owns(s))
        };
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

    fn crash_somebody(&mut self) {
        let down = self.processes.iter().filter(|p| !p.is_up()).count();
        if down > 0 || !self.rng.one_in(4) {
            return;
        }
        let p = self.rng.index(self.processes.len());
        let silently = self.rng.one_in(2);
        self.crash(p, silently);
    }
}
