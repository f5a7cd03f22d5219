//! TCP-like connections: ordered bytes with a delay that varies, a window, cuts, resets and slow readers.

use std::collections::{BTreeMap, VecDeque};

use whimbrel_core::ids::LinkId;

use super::process::Which;
use super::tasks::ConnId;

/// Who holds an end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// A machine of one life of a process.
    Machine { process: usize, life: u32, which: Which, link: LinkId },
    /// A task.
    Task(ConnId),
}

/// What a connection carries.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Class {
    Client,
    Bus,
    Migration,
}

/// One end of a connection.
#[derive(Debug)]
pub struct End {
    pub owner: Option<Owner>,
    /// Nothing is told to this end any more.
    pub closed: bool,
    /// Its owner does not read.
    pub paused: bool,
    /// Its host hands nothing on until then.
    pub stalled_until: u64,
    /// What arrived and is not read.
    pub unread: VecDeque<Vec<u8>>,
}

/// The way from one end to the other.
#[derive(Debug)]
pub struct Pipe {
    /// Bytes and when they arrive; the times never fall.
    pub flying: VecDeque<(u64, Vec<u8>)>,
    /// Bytes sent and not read by the other end.
    pub used: usize,
    /// Most of them.
    pub window: usize,
    /// When the last byte arrives that was sent so far.
    pub last: u64,
    /// Until when the sender's line is busy.
    pub busy: u64,
    /// The sender has more to send and waits for room.
    pub blocked: bool,
    /// What is sent arrives nowhere, and nobody says so.
    pub lost: bool,
}

/// Where a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    Connecting,
    Open,
    Dead,
}

/// A connection; end 0 opened it.
#[derive(Debug)]
pub struct Conn {
    pub class: Class,
    pub phase: Phase,
    pub ends: [End; 2],
    pub pipes: [Pipe; 2],
    /// The processes at its ends; `None` is outside.
    pub hosts: [Option<usize>; 2],
    /// The reading of bus messages that leave each end.
    pub tapped: [Vec<u8>; 2],
    /// When the last request reached end 1, and when end 1 sent last.
    pub delivered: u64,
    pub answered: u64,
    /// When the opener gives up to connect.
    pub give_up: u64,
    /// End 1 has read what came last into memory that it lends.
    pub lent: bool,
}

impl Conn {
    pub fn new(class: Class, hosts: [Option<usize>; 2], owner: Owner, window: usize) -> Self {
        let end =
            |owner| End { owner, closed: false, paused: false, stalled_until: 0, unread: VecDeque::new() };
        let pipe = || Pipe {
            flying: VecDeque::new(),
            used: 0,
            window,
            last: 0,
            busy: 0,
            blocked: false,
            lost: false,
        };
        Self {
            class,
            phase: Phase::Connecting,
            ends: [end(Some(owner)), end(None)],
            pipes: [pipe(), pipe()],
            hosts,
            tapped: [Vec::new(), Vec::new()],
            delivered: 0,
            answered: 0,
            give_up: 0,
            lent: false,
        }
    }

    /// The two processes, if both ends are processes.
    pub fn pair(&self) -> Option<(usize, usize)> {
        self.hosts[0].zip(self.hosts[1])
    }
}

/// Everybody who is no process: clients and the operator.
pub const OUTSIDE: Host = None;

/// Where an end of a connection is.
pub type Host = Option<usize>;

/// A way from one host to another for a class of connections.
type Way = (Host, Host, Class);

/// Which ways are cut or slow, and until when.
#[derive(Debug, Default)]
pub struct Cuts {
    cut: BTreeMap<Way, u64>,
    slow: BTreeMap<Way, (u64, u64)>,
}

impl Cuts {
    /// Cuts the way from one process to another for a class of connections.
    pub fn cut(&mut self, from: usize, to: usize, class: Class, until: u64) {
        self.cut_way((Some(from), Some(to), class), until);
    }

    /// Cuts a way.
    pub fn cut_way(&mut self, way: Way, until: u64) {
        let end = self.cut.entry(way).or_default();
        *end = (*end).max(until);
    }

    /// When the way is open: now, or when the cut ends.
    pub fn open_at(&self, from: Host, to: Host, class: Class, now: u64) -> u64 {
        self.cut.get(&(from, to, class)).copied().filter(|&until| until > now).unwrap_or(now)
    }

    /// Until then bytes take so many microseconds more on a way.
    pub fn slow_down(&mut self, way: Way, until: u64, us: u64) {
        self.slow.insert(way, (until, us));
    }

    /// How many microseconds more bytes take on a way.
    pub fn lag(&self, from: Host, to: Host, class: Class, now: u64) -> u64 {
        self.slow.get(&(from, to, class)).filter(|(until, _)| *until > now).map_or(0, |(_, us)| *us)
    }

    /// Ends all of it.
    pub fn heal(&mut self) {
        self.cut.clear();
        self.slow.clear();
    }
}
