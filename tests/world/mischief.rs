//! Faults, as the plan allows them.

use super::journal::{line, mark};
use super::net::{Class, OUTSIDE, Phase};
use super::resp::Reply;
use super::{Event, World};

/// Between two faults, in microseconds: at least, and how much more at most.
const REST: (u64, u64) = (60_000, 300_000);
/// Of so many reads into memory that is lent one is followed by a fault of the stream, where there are faults.
const STRIKES: u64 = 6;
/// The longest partition. A hold lasts for ten seconds in most runs; with the news of a take-over this late it still
/// comes in time, so that the expired grant (R3) is not reached.
const LONGEST_CUT: u64 = 3_000_000;
/// The longest partition where the expired grant may be reached (and is then recognized).
const LONGEST_LONG_CUT: u64 = 14_000_000;
/// So many crashes are enough for one run: each costs some seconds.
const MOST_CRASHES: u32 = 4;
/// The longest standstill of a process, and the longest where it may outlast a pause.
const LONGEST_FREEZE: u64 = 700_000;
const LONGEST_LONG_FREEZE: u64 = 13_000_000;
/// How long an end of a connection does not know that the other is gone.
const LONGEST_SILENCE: u64 = 15_000_000;
/// How long an end does not read: longer than `repl-timeout`.
const LONGEST_STALL: u64 = 8_000_000;
/// The most that a lag adds to every delay, and how long it lasts.
const MOST_LAG: u64 = 400_000;
const LONGEST_LAG: u64 = 4_000_000;

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
        match self.rng.below(10) {
            0 if faults.migration_cuts => self.cut_migration(),
            1 if faults.resets => self.reset_something(),
            2 if faults.partitions => self.partition(p, None),
            3 if faults.freezes => self.freeze(p),
            4 if faults.crashes && self.rng.one_in(3) => self.crash_somebody(p),
            5 if faults.half_open => self.half_open(None),
            6 if faults.stalls => self.stall(None),
            7 if faults.lags => self.lag(p),
            8 if faults.client_cuts => self.cut_clients(p),
            9 if faults.jumps => self.jump(p),
            _ => {}
        }
    }

    /// Whether faults are in order now: the cluster is formed, and the operator is not done.
    pub fn may_fail(&self) -> bool {
        self.quiet_since.is_none() && self.shared.formed.get()
    }

    /// Something goes wrong at one end of a migration.
    pub fn strike(&mut self, p: usize, life: u32) {
        if self.quiet_since.is_some() || self.processes[p].life != life {
            return;
        }
        let faults = self.plan.faults;
        let links = self.open_conns(|class| class == Class::Migration);
        let link = links.into_iter().rfind(|c| self.conns[*c].hosts.contains(&Some(p)));
        match self.rng.below(8) {
            0 if faults.migration_cuts => {
                if let Some(c) = link {
                    self.break_migration(c);
                }
            }
            5 if faults.half_open => self.half_open(link),
            6 if faults.stalls => self.stall(link),
            7 if faults.lags => self.lag(p),
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

    /// Something goes wrong now and then with a stream that is sent from memory that a source has just read into.
    pub fn strike_stream(&mut self, p: usize) {
        let faults = self.plan.faults;
        if !faults.any() || !self.may_fail() || !self.rng.one_in(STRIKES) {
            return;
        }
        let links = self.open_conns(|class| class == Class::Migration);
        let link = links.into_iter().find(|c| self.conns[*c].hosts[0] == Some(p) && self.sends_lent(*c));
        let Some(c) = link else { return };
        match self.rng.below(3) {
            0 if faults.migration_cuts => self.break_migration(c),
            1 if faults.stalls => self.stall(Some(c)),
            2 if faults.freezes => self.conns[c].hosts[1].into_iter().for_each(|q| self.freeze(q)),
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
        if self.sends_lent(c) {
            mark("a migration link broke with memory that is lent in its stream");
        }
        if !self.conns[c].tapped[1].is_empty() {
            mark("a lane broke");
        }
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
        let classes: &[Class] = match self.rng.below(3) {
            0 if !long => &[Class::Bus],
            1 => &[Class::Migration],
            _ => &[Class::Bus, Class::Migration],
        };
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

    /// A connection dies in silence: one end hears that it is gone and the other does not, or what one end sends is
    /// lost while it goes on hearing the other. In the end both hear of it.
    fn half_open(&mut self, link: Option<usize>) {
        let Some(c) = link.or_else(|| self.any_conn()) else { return };
        let end = self.rng.index(2);
        let silence = 300_000 + self.rng.below(LONGEST_SILENCE);
        let conn = &mut self.conns[c];
        let half = conn.class != Class::Client && self.rng.one_in(2);
        line(|| {
            let what = if half { "half a" } else { "a" };
            format!("{what} {:?} connection of {:?} dies in silence", conn.class, conn.hosts)
        });
        if half {
            mark("what one end of a connection sent was lost in silence");
            conn.pipes[end].lost = true;
            conn.pipes[end].flying.clear();
        } else {
            mark("one end of a connection did not hear that the other was gone");
            for pipe in &mut conn.pipes {
                pipe.lost = true;
                pipe.flying.clear();
            }
            self.after(1, Event::Gone { conn: c, end });
        }
        self.after(silence, Event::GivenUp { conn: c });
    }

    fn any_conn(&mut self) -> Option<usize> {
        let class = [Class::Bus, Class::Migration, Class::Client][self.rng.index(3)];
        let links = self.open_conns(|c| c == class);
        (!links.is_empty()).then(|| links[self.rng.index(links.len())])
    }

    /// An end of a connection does not read for a while.
    fn stall(&mut self, link: Option<usize>) {
        let Some(c) = link.or_else(|| self.any_conn()) else { return };
        let end = self.rng.index(2);
        let until = self.now + 20_000 + self.rng.below(LONGEST_STALL);
        let conn = &mut self.conns[c];
        conn.ends[end].stalled_until = until;
        line(|| {
            let (class, hosts) = (conn.class, conn.hosts);
            format!("end {end} of a {class:?} connection of {hosts:?} stalls until {:.3}", until as f64 / 1e6)
        });
        mark("a reader stopped");
        if self.sends_lent(c) {
            mark("a reader stopped with memory that is lent on its way");
        }
    }

    /// Everything of one kind that a process sends or gets takes longer for a while.
    fn lag(&mut self, p: usize) {
        let class = [Class::Bus, Class::Migration, Class::Client][self.rng.index(3)];
        let (until, us) = (self.now + self.rng.below(LONGEST_LAG), self.rng.below(MOST_LAG));
        let out = self.rng.one_in(2);
        line(|| {
            let way = if out { "from" } else { "to" };
            format!("{class:?} {way} {p} takes {us} us more until {:.3}", until as f64 / 1e6)
        });
        mark("one kind of connection was slow on one way");
        for q in (0..self.processes.len()).map(Some).chain([OUTSIDE]) {
            let way = if out { (Some(p), q, class) } else { (q, Some(p), class) };
            self.cuts.slow_down(way, until, us);
        }
    }

    /// Clients do not reach a process, or do not hear it.
    fn cut_clients(&mut self, p: usize) {
        let until = self.now + 50_000 + self.rng.below(LONGEST_CUT);
        let deaf = self.rng.one_in(2);
        let (from, to) = if deaf { (OUTSIDE, Some(p)) } else { (Some(p), OUTSIDE) };
        line(|| format!("clients are cut off from {p} (it hears them: {}) for a while", !deaf));
        mark("clients were cut off from a node");
        self.cuts.cut_way((from, to, Class::Client), until);
    }

    /// The wall clock of a process jumps.
    fn jump(&mut self, p: usize) {
        let ahead = self.rng.below(self.plan.skew.max(1));
        let old = std::mem::replace(&mut self.processes[p].ahead, ahead);
        line(|| format!("the wall clock of process {p} jumps by {} us", ahead as i64 - old as i64));
        mark(if ahead < old { "a wall clock jumped back" } else { "a wall clock jumped ahead" });
    }

    fn freeze(&mut self, p: usize) {
        let long = self.plan.faults.long_freezes && self.rng.one_in(4);
        let longest = if long { LONGEST_LONG_FREEZE } else { LONGEST_FREEZE };
        let until = (self.now + 5_000 + self.rng.below(longest)).max(self.processes[p].frozen_until);
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
        let mine = self.has_keys_of(p);
        let owned = |s: u16| slot.is_none_or(|only| only == s) && mine.contains(&s);
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
