//! How connections are made, carry bytes, and end.

use std::net::SocketAddr;

use whimbrel_core::action::Purpose;
use whimbrel_core::ids::LinkId;
use whimbrel_core::input::{Input, Origin};

use super::journal;
use super::net::{Class, Conn, Owner, Phase};
use super::process::{BUS_PORT, PORT, Process, Which};
use super::resp::{Reply, parse};
use super::tasks::{Answer, ConnId, Outcome};
use super::{Event, World};

/// How long a caller tries, in microseconds, and how long between tries.
const CALL_PATIENCE: u64 = 3_000_000;
const CALL_AGAIN: u64 = 200_000;
/// Bytes that travel together at most …
const SEGMENT: usize = 16 * 1024;
/// … and those of clients that say much at once.
const LARGE_SEGMENT: usize = 64 * 1024;

/// A connection of a task.
pub struct Caller {
    pub conn: usize,
    pub process: usize,
    gone: bool,
    /// Bytes that the window had no room for.
    unsent: Vec<u8>,
    received: Vec<u8>,
    replies: Vec<Reply>,
    /// Who waits for so many replies, or (with none) for the connection.
    waiting: Option<(u64, usize)>,
}

impl World {
    fn delay(&mut self) -> u64 {
        let (least, more) = self.plan.delay;
        least + self.rng.below(more)
    }

    fn dial(&mut self, class: Class, hosts: [Option<usize>; 2], owner: Owner) -> usize {
        let window = if class == Class::Migration { self.plan.migration_window } else { self.plan.window };
        let mut conn = Conn::new(class, hosts, owner, window);
        conn.give_up = self.now + CALL_PATIENCE;
        self.conns.push(conn);
        let us = self.delay();
        let number = self.conns.len() - 1;
        self.after(us, Event::Called { conn: number });
        number
    }

    /// A machine opens a connection.
    pub fn call_from_machine(
        &mut self,
        p: usize,
        which: Which,
        link: LinkId,
        to: SocketAddr,
        purpose: Purpose,
    ) {
        let class = match purpose {
            Purpose::Bus => Class::Bus,
            Purpose::Migration => Class::Migration,
        };
        let known = Process::at(to).filter(|&q| q < self.processes.len());
        let expected = if class == Class::Bus { BUS_PORT } else { PORT };
        let owner = Owner::Machine { process: p, life: self.processes[p].life, which, link };
        let conn = self.dial(class, [Some(p), known.filter(|_| to.port() == expected)], owner);
        self.processes[p].links.insert((which, link), (conn, 0));
    }

    /// A task opens a connection.
    pub fn call_from_task(&mut self, process: usize, token: u64) {
        let id = ConnId(self.callers.len());
        let conn = self.dial(Class::Client, [None, Some(process)], Owner::Task(id));
        self.callers.push(Caller {
            conn,
            process,
            gone: false,
            unsent: Vec::new(),
            received: Vec::new(),
            replies: Vec::new(),
            waiting: Some((token, 0)),
        });
    }

    /// The call reaches the host.
    pub fn called(&mut self, c: usize) {
        let conn = &self.conns[c];
        if conn.phase == Phase::Dead {
            return;
        }
        let class = conn.class;
        let Some(q) = conn.hosts[1] else {
            return self.at(self.now, Event::CallFailed { conn: c, reason: "Connection refused" });
        };
        let [from, to] = conn.hosts;
        let open = |from, to| self.cuts.open_at(from, to, class, self.now);
        if open(from, to).max(open(to, from)) > self.now {
            let late = self.now > conn.give_up;
            return match late {
                true => self.at(self.now, Event::CallFailed { conn: c, reason: "Connection timed out" }),
                false => self.after(CALL_AGAIN, Event::Called { conn: c }),
            };
        }
        let us = self.delay();
        let shard = self.any_shard(q);
        let process = &mut self.processes[q];
        if process.frozen_until > self.now {
            let at = process.frozen_until;
            return self.at(at, Event::Called { conn: c });
        }
        if !process.is_up() {
            return self.after(us, Event::CallFailed { conn: c, reason: "Connection refused" });
        }
        let which = if class == Class::Bus { Which::Node } else { Which::Shard(shard.0) };
        process.next_accepted += 1;
        let link = LinkId::accepted(process.next_accepted);
        let link = if class == Class::Bus { link } else { link.of(shard) };
        process.links.insert((which, link), (c, 1));
        let owner = Owner::Machine { process: q, life: process.life, which, link };
        let conn = &mut self.conns[c];
        conn.ends[1].owner = Some(owner);
        conn.phase = Phase::Open;
        conn.pipes[1].last = self.now + us;
        let from = conn.hosts[0].map_or([10, 0, 1, 1].into(), Process::ip);
        let peer = SocketAddr::new(from, 30_000 + (c % 30_000) as u16);
        let port = if which == Which::Node { BUS_PORT } else { PORT };
        let origin = Origin::Tcp { peer, local: SocketAddr::new(Process::ip(q), port) };
        self.after(us, Event::CallAnswered { conn: c });
        journal::mix(&[3, c as u64, q as u64]);
        self.turn(q, which, Input::Opened { link, origin });
    }

    /// The caller learns that the connection is made.
    pub fn call_answered(&mut self, c: usize) {
        let end = &self.conns[c].ends[0];
        if end.closed {
            return;
        }
        match end.owner {
            Some(Owner::Machine { process, life, which, link }) => {
                let p = &self.processes[process];
                if p.life != life {
                    return;
                }
                if p.frozen_until > self.now {
                    let at = p.frozen_until;
                    return self.at(at, Event::CallAnswered { conn: c });
                }
                // Its machine may have given up meanwhile.
                if !self.look(process, which.thread()) || self.conns[c].ends[0].closed {
                    return;
                }
                let local = SocketAddr::new(Process::ip(process), 30_000 + (c % 30_000) as u16);
                self.turn(process, which, Input::Connected { link, local });
            }
            Some(Owner::Task(id)) => {
                if let Some((token, _)) = self.callers[id.0].waiting.take() {
                    self.fulfil(token, Outcome::Connected(id));
                }
            }
            None => {}
        }
    }

    /// The caller learns that there will be no connection.
    pub fn call_failed(&mut self, c: usize, reason: &'static str) {
        let conn = &mut self.conns[c];
        if conn.phase != Phase::Connecting {
            return;
        }
        conn.phase = Phase::Dead;
        conn.ends[0].closed = true;
        match conn.ends[0].owner {
            Some(Owner::Machine { process, life, which, link }) if self.processes[process].life == life => {
                self.processes[process].links.remove(&(which, link));
                self.turn(process, which, Input::ConnectFailed { link, reason });
            }
            Some(Owner::Task(id)) => self.caller_gone(id),
            _ => {}
        }
    }

    /// Sends what the outbox of a link has and the window takes; how many bytes.
    pub fn flush(&mut self, p: usize, which: Which, link: LinkId) -> usize {
        let Some(&(c, end)) = self.processes[p].links.get(&(which, link)) else { return 0 };
        if self.conns[c].phase == Phase::Connecting {
            return 0;
        }
        if self.sends_lent(c) {
            journal::mark("a stream was sent from memory that is lent");
        }
        let mut sent = 0;
        loop {
            let room = self.room_of(c, end);
            let Some(machines) = &mut self.processes[p].machines else { return sent };
            let Some(outbox) = machines.outbox(which, link) else { break };
            let len = outbox.sendable().min(room).min(SEGMENT);
            if len == 0 {
                self.conns[c].pipes[end].blocked = outbox.sendable() > 0;
                break;
            }
            let mut bytes = Vec::with_capacity(len);
            for chunk in outbox.chunks() {
                bytes.extend_from_slice(&chunk[..chunk.len().min(len - bytes.len())]);
                if bytes.len() == len {
                    break;
                }
            }
            outbox.advance(len);
            sent += len;
            self.tap(p, which, c, end, &bytes);
            self.put(c, end, bytes);
        }
        let left = self.processes[p]
            .machines
            .as_mut()
            .and_then(|m| m.outbox(which, link))
            .is_some_and(|outbox| !outbox.is_empty());
        if self.processes[p].closing.contains(&(which, link)) && !left {
            self.processes[p].closing.remove(&(which, link));
            self.close_from_machine(p, which, link);
            // As drivers do: the machine may forget what it kept for the sending.
            self.processes[p].late.push_back((which, link));
        }
        sent
    }

    fn room_of(&self, c: usize, end: usize) -> usize {
        let pipe = &self.conns[c].pipes[end];
        if self.conns[c].phase == Phase::Dead { usize::MAX } else { pipe.window.saturating_sub(pipe.used) }
    }

    /// Puts bytes on their way.
    fn put(&mut self, c: usize, end: usize, bytes: Vec<u8>) {
        let conn = &mut self.conns[c];
        if conn.phase == Phase::Dead {
            return;
        }
        if end == 1 {
            conn.answered = self.now;
        }
        journal::mix(&[4, c as u64, end as u64, self.now]);
        journal::mix_bytes(&bytes);
        conn.pipes[end].used += bytes.len();
        if conn.pipes[end].lost {
            return;
        }
        let lag = self.cuts.lag(conn.hosts[end], conn.hosts[1 - end], conn.class, self.now);
        let mut rest = bytes;
        while !rest.is_empty() {
            let most =
                if self.plan.fragments && rest.len() < 4096 { 1 + self.rng.index(700) } else { rest.len() };
            let tail = rest.split_off(most.min(rest.len()));
            let piece = std::mem::replace(&mut rest, tail);
            let delay = self.delay() + lag;
            let rate =
                if self.conns[c].class == Class::Migration { self.plan.migration_rate } else { 200_000 };
            let pipe = &mut self.conns[c].pipes[end];
            pipe.busy = pipe.busy.max(self.now) + piece.len() as u64 * 1000 / rate;
            pipe.last = pipe.last.max(pipe.busy + delay);
            let at = pipe.last;
            pipe.flying.push_back((at, piece));
            self.at(at, Event::Arrived { conn: c, from: end });
        }
    }

    /// Bytes reach the other end.
    pub fn arrived(&mut self, c: usize, from: usize) {
        let to = 1 - from;
        let conn = &self.conns[c];
        if conn.phase == Phase::Dead || conn.ends[to].closed {
            return;
        }
        let open = self.cuts.open_at(conn.hosts[from], conn.hosts[to], conn.class, self.now);
        let open = open.max(conn.ends[to].stalled_until);
        if open > self.now {
            let us = self.delay();
            return self.at(open + us, Event::Arrived { conn: c, from });
        }
        if let Some(at) = conn.hosts[to].map(|q| self.processes[q].frozen_until).filter(|&at| at > self.now) {
            return self.at(at, Event::Arrived { conn: c, from });
        }
        let due = |conn: &Conn, now| conn.pipes[from].flying.front().is_some_and(|&(at, _)| at <= now);
        while due(&self.conns[c], self.now) {
            let Some((_, bytes)) = self.conns[c].pipes[from].flying.pop_front() else { return };
            self.conns[c].ends[to].unread.push_back(bytes);
        }
        self.read(c, to);
    }

    /// The owner of an end reads what arrived, unless it does not want to.
    fn read(&mut self, c: usize, end: usize) {
        loop {
            let e = &mut self.conns[c].ends[end];
            if e.paused || e.closed {
                return;
            }
            let Some(bytes) = e.unread.pop_front() else { return };
            let bytes = if bytes.len() > SEGMENT { self.read_much(c, end, bytes) } else { bytes };
            let owner = self.conns[c].ends[end].owner;
            let len = bytes.len();
            let conn = &mut self.conns[c];
            conn.pipes[1 - end].used -= len;
            if end == 1 {
                conn.delivered = self.now;
            }
            if conn.pipes[1 - end].blocked {
                conn.pipes[1 - end].blocked = false;
                let us = self.delay();
                self.after(us, Event::Room { conn: c, end: 1 - end });
            }
            match owner {
                Some(Owner::Machine { process, which, link, .. }) => {
                    let left = self.feed(c, process, which, link, &bytes);
                    let e = &mut self.conns[c].ends[end];
                    if left > 0 && !e.closed {
                        // Its link was moved: who has it now reads the rest.
                        e.unread.push_front(bytes[len - left..].to_vec());
                        self.conns[c].pipes[1 - end].used += left;
                    }
                }
                Some(Owner::Task(id)) => self.caller_received(id, &bytes),
                None => {}
            }
        }
    }

    /// A sender learns that its window has room.
    pub fn room(&mut self, c: usize, end: usize) {
        if self.conns[c].ends[end].closed {
            return;
        }
        match self.conns[c].ends[end].owner {
            Some(Owner::Machine { process, life, which, link }) => {
                let p = &mut self.processes[process];
                if p.life == life && p.is_up() {
                    if p.frozen_until > self.now {
                        let at = p.frozen_until;
                        return self.at(at, Event::Room { conn: c, end });
                    }
                    p.dirty.insert((which, link));
                    self.settle(process, which.thread());
                }
            }
            Some(Owner::Task(id)) => self.caller_sends(id),
            None => {}
        }
    }

    /// A machine stops or starts to read.
    pub fn pause_reading(&mut self, p: usize, which: Which, link: LinkId, paused: bool) {
        let Some(&(c, end)) = self.processes[p].links.get(&(which, link)) else { return };
        self.conns[c].ends[end].paused = paused;
        if !paused && !self.conns[c].ends[end].unread.is_empty() {
            // Not within this step: as if the socket were found readable again.
            self.after(1, Event::Arrived { conn: c, from: 1 - end });
        }
    }

    /// A machine ends a connection.
    pub fn close_from_machine(&mut self, p: usize, which: Which, link: LinkId) {
        self.processes[p].closing.remove(&(which, link));
        if let Some((c, end)) = self.processes[p].links.remove(&(which, link)) {
            self.hang_up(c, end);
        }
    }

    /// An end is closed by its owner: the other hears of it after everything that was sent.
    fn hang_up(&mut self, c: usize, end: usize) {
        let conn = &mut self.conns[c];
        conn.ends[end].closed = true;
        conn.ends[end].unread.clear();
        if conn.phase == Phase::Connecting {
            conn.phase = Phase::Dead;
            return;
        }
        conn.pipes[1 - end].flying.clear();
        if conn.pipes[end].lost {
            return; // the other end hears of it when the connection is given up
        }
        let at = conn.pipes[end].last.max(self.now) + 1;
        self.at(at, Event::Gone { conn: c, end: 1 - end });
    }

    /// The owner of an end has died.
    pub fn abandon(&mut self, c: usize, end: usize, silently: bool) {
        let us = if silently { 200_000 + self.rng.below(3_000_000) } else { self.delay() };
        let conn = &mut self.conns[c];
        conn.ends[end].closed = true;
        if conn.phase == Phase::Connecting {
            conn.phase = Phase::Dead;
            return;
        }
        if silently {
            conn.pipes[end].flying.clear();
        }
        let at = conn.pipes[end].last.max(self.now + us);
        self.at(at, Event::Gone { conn: c, end: 1 - end });
    }

    /// Breaks a connection: bytes under way are lost, and both ends hear of it, each in its time.
    pub fn reset(&mut self, c: usize, within: u64) {
        let conn = &mut self.conns[c];
        if conn.phase != Phase::Open {
            return;
        }
        conn.phase = Phase::Dead;
        for end in 0..2 {
            let us = 1 + self.rng.below(within);
            self.after(us, Event::Gone { conn: c, end });
        }
    }

    /// An end learns that its connection is gone.
    pub fn gone(&mut self, c: usize, end: usize) {
        let conn = &self.conns[c];
        if conn.ends[end].closed {
            return;
        }
        if conn.phase == Phase::Open {
            // The end of the stream travels behind what was sent, and is read after what arrived.
            let open = self.cuts.open_at(conn.hosts[1 - end], conn.hosts[end], conn.class, self.now);
            let open = open.max(conn.ends[end].stalled_until);
            let behind = !conn.pipes[1 - end].flying.is_empty();
            if open > self.now || behind || conn.ends[end].paused {
                let us = if open > self.now { open - self.now } else { 20_000 };
                return self.after(us, Event::Gone { conn: c, end });
            }
        }
        match conn.ends[end].owner {
            Some(Owner::Machine { process, life, which, link }) => {
                let p = &mut self.processes[process];
                if p.life != life {
                    return;
                }
                if p.frozen_until > self.now {
                    let at = p.frozen_until;
                    return self.at(at, Event::Gone { conn: c, end });
                }
                p.links.remove(&(which, link));
                p.closing.remove(&(which, link));
                self.conns[c].ends[end].closed = true;
                journal::mix(&[5, c as u64, end as u64]);
                self.turn(process, which, Input::Closed { link });
            }
            Some(Owner::Task(id)) => {
                // A client hears of the end after the server: what the server did not do by then it never will.
                let server = &conn.ends[1];
                let alive = |o| {
                    matches!(o, Some(Owner::Machine { process, life, .. })
                    if self.processes[process].life == life)
                };
                if self.is_on_its_way(c) || (!server.closed && alive(server.owner)) {
                    return self.after(10_000, Event::Gone { conn: c, end });
                }
                self.conns[c].ends[end].closed = true;
                self.caller_gone(id);
            }
            None => self.conns[c].ends[end].closed = true,
        }
    }

    fn caller_gone(&mut self, id: ConnId) {
        let caller = &mut self.callers[id.0];
        caller.gone = true;
        if let Some((token, _)) = caller.waiting.take() {
            self.fulfil(token, Outcome::Gone);
        }
    }

    /// A task sends.
    pub fn send_from_task(&mut self, id: ConnId, bytes: Vec<u8>, replies: usize, token: u64) {
        let caller = &mut self.callers[id.0];
        assert!(caller.waiting.is_none(), "a task waits for one answer at a time");
        if caller.gone {
            return self.fulfil(token, Outcome::Gone);
        }
        caller.waiting = Some((token, replies));
        caller.unsent.extend_from_slice(&bytes);
        self.caller_sends(id);
    }

    fn caller_sends(&mut self, id: ConnId) {
        let c = self.callers[id.0].conn;
        let most = if self.plan.batchers > 0 { LARGE_SEGMENT } else { SEGMENT };
        let len = self.room_of(c, 0).min(self.callers[id.0].unsent.len()).min(most);
        let rest = self.callers[id.0].unsent.split_off(len);
        let now = std::mem::replace(&mut self.callers[id.0].unsent, rest);
        if !now.is_empty() {
            self.put(c, 0, now);
        }
        let more = !self.callers[id.0].unsent.is_empty();
        if more && self.room_of(c, 0) > 0 {
            return self.caller_sends(id);
        }
        self.conns[c].pipes[0].blocked = more;
    }

    fn caller_received(&mut self, id: ConnId, bytes: &[u8]) {
        let caller = &mut self.callers[id.0];
        caller.received.extend_from_slice(bytes);
        while let Some((reply, used)) = parse(&caller.received) {
            caller.received.drain(..used);
            caller.replies.push(reply);
        }
        let Some((token, wanted)) = caller.waiting else {
            assert!(caller.replies.is_empty(), "a reply that nobody asked for: {:?}", caller.replies);
            return;
        };
        if caller.replies.len() < wanted {
            return;
        }
        assert_eq!(caller.replies.len(), wanted, "more replies than commands");
        caller.waiting = None;
        let conn = &self.conns[caller.conn];
        let answer = Answer {
            replies: std::mem::take(&mut caller.replies),
            process: caller.process,
            delivered: conn.delivered,
            answered: conn.answered,
        };
        self.fulfil(token, Outcome::Answered(answer));
    }
}
