//! Links that go from one thread of a process to another, and connections that are lost on the way.

use whimbrel_core::ids::{LinkId, ShardIndex};
use whimbrel_core::input::Input;

use super::journal::{self, mark};
use super::net::{Class, Owner, Phase};
use super::process::Which;
use super::{Event, World};

/// Of so many links of clients that move one is lost on the way, where connections are lost at all …
const LOST_CLIENTS: u64 = 40;
/// … and of so many of migrations, which move once.
const LOST_STREAMS: u64 = 10;
/// The other end hears of it within that, in microseconds.
const HEARD_WITHIN: u64 = 50_000;

impl World {
    /// A machine gives a connection away; whether there is one. It may have ended, and the machine is told so next.
    pub fn give_away(&mut self, p: usize, which: Which, link: LinkId) -> bool {
        let process = &mut self.processes[p];
        let Some((c, end)) = process.links.remove(&(which, link)) else {
            mark("a link was gone that was to move");
            return false;
        };
        let e = &mut self.conns[c].ends[end];
        process.moving.insert(link, (c, end, e.paused));
        // Nobody hears of it meanwhile.
        (e.owner, e.paused) = (None, true);
        journal::mix(&[6, c as u64, end as u64]);
        self.may_be_lost(c, end);
        true
    }

    /// Breaks a connection now and then whose link is on its way: who takes it in finds out.
    fn may_be_lost(&mut self, c: usize, end: usize) {
        let faults = self.plan.faults;
        let (may, one_in) = match self.conns[c].class {
            Class::Client => (faults.resets, LOST_CLIENTS),
            Class::Migration => (faults.migration_cuts, LOST_STREAMS),
            Class::Bus => (false, 1),
        };
        if !may || !self.may_fail() || self.conns[c].phase != Phase::Open || !self.rng.one_in(one_in) {
            return;
        }
        journal::line(|| {
            let (class, hosts) = (self.conns[c].class, self.conns[c].hosts);
            format!("a {class:?} connection of {hosts:?} is lost while its link moves")
        });
        let conn = &mut self.conns[c];
        (conn.phase, conn.ends[end].closed) = (Phase::Dead, true);
        let us = 1 + self.rng.below(HEARD_WITHIN);
        self.after(us, Event::Gone { conn: c, end: 1 - end });
    }

    /// Whether the link of a connection goes from one thread to another.
    pub fn is_on_its_way(&self, c: usize) -> bool {
        let hosts = self.conns[c].hosts.iter().flatten();
        hosts.into_iter().any(|q| self.processes[*q].moving.values().any(|(conn, ..)| *conn == c))
    }

    /// A machine takes in a connection that another thread has given away.
    pub fn adopt(&mut self, p: usize, which: Which, from: LinkId) {
        let process = &mut self.processes[p];
        let Some((c, end, paused)) = process.moving.remove(&from) else {
            panic!("there is no {from} to take")
        };
        let is_lost = self.conns[c].ends[end].closed;
        if is_lost {
            mark(match self.conns[c].class {
                Class::Migration => "a migration link was lost while it moved to another shard",
                _ => "a connection was lost while its link moved",
            });
            // It may be found out before it has a new name, or after.
            if self.rng.one_in(2) {
                return self.step(p, which, Input::Closed { link: from });
            }
        }
        let process = &mut self.processes[p];
        process.next_accepted += 1;
        let link = LinkId::accepted(process.next_accepted).of(ShardIndex(which.thread() as u16));
        if is_lost {
            process.late.push_back((which, link));
            return self.step(p, which, Input::Moved { link, from });
        }
        process.links.insert((which, link), (c, end));
        let e = &mut self.conns[c].ends[end];
        e.owner = Some(Owner::Machine { process: p, life: process.life, which, link });
        e.paused = paused;
        if !paused {
            self.after(1, Event::Arrived { conn: c, from: 1 - end });
        }
        mark("a link moved to another shard");
        self.step(p, which, Input::Moved { link, from });
    }
}
