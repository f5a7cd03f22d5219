//! Several machines on a simulated network with simulated disks, in virtual time.
//!
//! The network checks what no machine may do: put an epoch or a vote on the wire that its disk does not hold.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::string::String;
use std::vec::Vec;

use bytes::Bytes;

use super::rig::{config, now_at, ranges};
use crate::cluster::admin::{AdminReply, KeyCounts, run};
use crate::cluster::{Action, Cluster, ClusterConfig, Health, Input, Refused, View};
use crate::ids::{LinkId, NodeId, Ticket};
use crate::rng::Rng;
use crate::time::{Mono, Now};
use crate::wire::bus::{Body, Message, State, decode};

/// How long bytes and connections take, and a disk, in microseconds.
const WIRE_US: u64 = 700;
const DISK_US: u64 = 3000;

/// What the disk of a host holds.
#[derive(Default, Clone)]
struct Disk {
    content: Vec<u8>,
    current_epoch: u64,
    last_vote: u64,
    config_epoch: u64,
}

impl Disk {
    fn write(&mut self, bytes: &[u8]) {
        let text = std::str::from_utf8(bytes).unwrap();
        let me = text.lines().find(|line| line.contains("myself")).expect("a line about itself");
        self.config_epoch = me.split(' ').nth(6).unwrap().parse().unwrap();
        let vars: Vec<&str> = text.lines().last().unwrap().split(' ').collect();
        let (current, vote) = (vars[2].parse().unwrap(), vars[4].parse().unwrap());
        self.content = bytes.to_vec();
        (self.current_epoch, self.last_vote) = (current, vote);
    }
}

/// One process.
struct Host {
    cluster: Option<Cluster>,
    disk: Disk,
    /// Saves that the disk has not done, in order, with whether sends wait for them.
    saves: VecDeque<(Ticket, Bytes, bool)>,
    /// Sends that wait for a save.
    held: VecDeque<(Ticket, LinkId, Bytes)>,
    /// Where each link leads: the other host and its name for it.
    ends: BTreeMap<LinkId, (usize, LinkId)>,
    accepted: u64,
    config: ClusterConfig,
    seed: u64,
    pub_lost: usize,
}

enum Event {
    Tick(usize),
    Saved(usize, Ticket),
    Connect { from: usize, link: LinkId, to: SocketAddr },
    Connected(usize, LinkId),
    Bytes { to: usize, link: LinkId, bytes: Bytes },
    Closed(usize, LinkId),
}

/// The world.
pub(super) struct Net {
    hosts: Vec<Host>,
    us: u64,
    events: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    /// Pairs of hosts between which nothing passes.
    cuts: BTreeSet<(usize, usize)>,
    rng: Rng,
    /// A digest of everything that was delivered.
    pub(super) trace: u64,
    pub(super) delivered: u64,
}

impl Net {
    /// `n` fresh nodes.
    pub(super) fn new(n: usize, seed: u64) -> Self {
        let rng = Rng::new(seed);
        let mut net = Self {
            hosts: Vec::new(),
            us: 0,
            events: BTreeMap::new(),
            sequence: 0,
            cuts: BTreeSet::new(),
            rng,
            trace: 0,
            delivered: 0,
        };
        for i in 0..n {
            let config = ClusterConfig { port: 7000 + i as u16, ..config() };
            let seed = net.rng.bits();
            net.hosts.push(Host {
                cluster: None,
                disk: Disk::default(),
                saves: VecDeque::new(),
                held: VecDeque::new(),
                ends: BTreeMap::new(),
                accepted: 0,
                config,
                seed,
                pub_lost: 0,
            });
            net.start(i);
        }
        net
    }

    /// `n` primaries that share the slots and have met the first.
    pub(super) fn formed(n: usize, seed: u64) -> Self {
        let mut net = Self::new(n, seed);
        for i in 0..n {
            let share = |i: usize| (i * 16384 / n) as u16;
            let slots = ranges(&[(share(i), (share(i + 1) - 1).min(16383))]);
            net.act(i, |cluster, now, out| cluster.add_slots(now, &slots, out).unwrap());
            if i > 0 {
                net.meet(i, 0);
            }
        }
        net.run_until(30_000, "formed", |net| net.is_whole((0..n).collect()));
        net
    }

    fn now(&self) -> Now {
        let Now { mono, wall } = now_at(0);
        Now { mono: Mono(mono.0 + self.us), wall: crate::time::Wall(wall.0 + self.us) }
    }

    pub(super) fn ms(&self) -> u64 {
        self.us / 1000
    }

    fn address(i: usize) -> SocketAddr {
        std::format!("10.0.0.{}:{}", i + 1, 17000 + i).parse().unwrap()
    }

    fn at(&mut self, after_us: u64, event: Event) {
        self.sequence += 1;
        self.events.insert((self.us + after_us, self.sequence), event);
    }

    pub(super) fn start(&mut self, i: usize) {
        let host = &mut self.hosts[i];
        host.seed = host.seed.wrapping_add(1);
        let saved = Some(host.disk.content.as_slice()).filter(|content| !content.is_empty());
        let now = Now { mono: Mono(self.us), wall: now_at(0).wall };
        host.cluster = Some(Cluster::new(host.config.clone(), host.seed, now, saved).unwrap());
        self.at(0, Event::Tick(i));
    }

    /// The process is gone at once; what its disk was not done with is lost.
    pub(super) fn crash(&mut self, i: usize) {
        let host = &mut self.hosts[i];
        host.cluster = None;
        host.saves.clear();
        host.held.clear();
        for (other, link) in std::mem::take(&mut host.ends).into_values() {
            self.at(WIRE_US, Event::Closed(other, link));
        }
    }

    /// Nothing passes between two hosts any more, and nobody is told.
    pub(super) fn cut(&mut self, a: usize, b: usize) {
        self.cuts.extend([(a, b), (b, a)]);
    }

    pub(super) fn heal(&mut self) {
        self.cuts.clear();
    }

    pub(super) fn meet(&mut self, i: usize, other: usize) {
        let to = Self::address(other);
        let ip = std::format!("{}", to.ip());
        self.act(i, |cluster, now, out| {
            cluster.meet(now, ip.as_bytes(), 7000 + other as u16, to.port(), out).unwrap();
        });
    }

    /// An operator's command, in words.
    pub(super) fn command(&mut self, i: usize, words: &str) -> Result<AdminReply, Refused> {
        let argv: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
        self.act(i, |cluster, now, out| run(cluster, now, &argv, KeyCounts::default(), out))
    }

    pub(super) fn act<R>(
        &mut self,
        i: usize,
        act: impl FnOnce(&mut Cluster, Now, &mut Vec<Action>) -> R,
    ) -> R {
        let (now, mut out) = (self.now(), Vec::new());
        let result = act(self.hosts[i].cluster.as_mut().expect("a running node"), now, &mut out);
        self.carry_out(i, out);
        result
    }

    fn input(&mut self, i: usize, input: Input<'_>) {
        let (now, mut out) = (self.now(), Vec::new());
        if let Some(cluster) = &mut self.hosts[i].cluster {
            cluster.handle(now, input, &mut out);
            self.carry_out(i, out);
        }
    }

    fn carry_out(&mut self, i: usize, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Connect { link, to } => self.at(WIRE_US, Event::Connect { from: i, link, to }),
                Action::Send { link, bytes } => {
                    let waits = self.hosts[i].saves.iter().rev().find(|(.., fsync)| *fsync);
                    match waits.map(|(ticket, ..)| *ticket) {
                        Some(ticket) => self.hosts[i].held.push_back((ticket, link, bytes)),
                        None => self.put_on_wire(i, link, bytes),
                    }
                }
                Action::Close { link } => {
                    self.hosts[i].held.retain(|(_, held, _)| *held != link);
                    if let Some((other, end)) = self.hosts[i].ends.remove(&link) {
                        self.at(WIRE_US, Event::Closed(other, end));
                    }
                }
                Action::Save { ticket, bytes, fsync } => {
                    self.hosts[i].saves.push_back((ticket, bytes, fsync));
                    self.at(DISK_US, Event::Saved(i, ticket));
                }
                Action::Lost { slots, .. } => self.hosts[i].pub_lost += slots.slots().count(),
                Action::Published { .. } | Action::Gained { .. } | Action::TopologyChanged => {}
            }
        }
    }

    fn put_on_wire(&mut self, i: usize, link: LinkId, bytes: Bytes) {
        let Some(&(to, end)) = self.hosts[i].ends.get(&link) else { return };
        if let Ok(Message::Full { header, body }) = decode(&bytes) {
            let disk = &self.hosts[i].disk;
            assert!(
                header.config_epoch <= disk.config_epoch,
                "host {i}: an epoch that its disk does not hold"
            );
            assert!(
                header.current_epoch <= disk.current_epoch,
                "host {i}: an epoch that its disk does not hold"
            );
            if body == Body::AuthAck {
                assert_eq!(
                    header.current_epoch, disk.last_vote,
                    "host {i}: a vote that its disk does not hold"
                );
            }
        }
        if !self.cuts.contains(&(i, to)) {
            self.at(WIRE_US, Event::Bytes { to, link: end, bytes });
        }
    }

    fn deliver(&mut self, event: Event) {
        match event {
            Event::Tick(i) => {
                self.input(i, Input::Ticked);
                if let Some(cluster) = &self.hosts[i].cluster {
                    let next = cluster.poll_timeout().0.max(self.us + 1000);
                    self.at(next - self.us, Event::Tick(i));
                }
            }
            Event::Saved(i, ticket) => self.saved(i, ticket),
            Event::Connect { from, link, to } => self.connect(from, link, to),
            Event::Connected(i, link) => {
                self.input(i, Input::Connected { link, local: Self::address(i) });
            }
            Event::Bytes { to, link, bytes } => {
                if self.hosts[to].ends.contains_key(&link) {
                    self.delivered += 1;
                    for byte in bytes.iter() {
                        self.trace = (self.trace ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
                    }
                    self.trace ^= self.us;
                    // Streams have no regard for messages.
                    let (first, second) = bytes.split_at(self.rng.index(bytes.len() + 1));
                    self.input(to, Input::Filled { link, bytes: first });
                    self.input(to, Input::Filled { link, bytes: second });
                }
            }
            Event::Closed(i, link) => {
                if self.hosts[i].ends.remove(&link).is_some() {
                    self.input(i, Input::Closed { link });
                }
            }
        }
    }

    fn saved(&mut self, i: usize, ticket: Ticket) {
        let host = &mut self.hosts[i];
        // A crash forgets saves; a ticket of a former life is nobody's.
        if host.saves.front().is_none_or(|(first, ..)| *first != ticket) {
            return;
        }
        let Some((_, bytes, _)) = host.saves.pop_front() else { return };
        host.disk.write(&bytes);
        self.input(i, Input::Saved { ticket });
        while let Some((waits, ..)) = self.hosts[i].held.front()
            && *waits <= ticket
            && let Some((_, link, bytes)) = self.hosts[i].held.pop_front()
        {
            self.put_on_wire(i, link, bytes);
        }
    }

    fn connect(&mut self, from: usize, link: LinkId, to: SocketAddr) {
        let Some(other) = (0..self.hosts.len()).find(|&i| Self::address(i) == to) else {
            return self.input(from, Input::ConnectFailed { link, reason: "No route to host" });
        };
        if self.cuts.contains(&(from, other)) {
            // A connection into a black hole: nobody ever says that it failed.
            return;
        }
        if self.hosts[other].cluster.is_none() {
            return self.input(from, Input::ConnectFailed { link, reason: "Connection refused" });
        }
        let host = &mut self.hosts[other];
        host.accepted += 1;
        let end = LinkId::accepted(host.accepted);
        host.ends.insert(end, (from, link));
        self.hosts[from].ends.insert(link, (other, end));
        let peer = SocketAddr::new(Self::address(from).ip(), 50_000);
        self.input(other, Input::Opened { link: end, peer, local: to });
        self.at(WIRE_US, Event::Connected(from, link));
    }

    pub(super) fn run(&mut self, ms: u64) {
        let end = self.us + ms * 1000;
        while let Some(entry) = self.events.first_entry() {
            if entry.key().0 > end {
                break;
            }
            let ((at, _), event) = entry.remove_entry();
            self.us = self.us.max(at);
            self.deliver(event);
        }
        self.us = end;
    }

    /// Runs until `done`, at most `ms`; the milliseconds it took.
    pub(super) fn run_until(&mut self, ms: u64, what: &str, done: impl Fn(&Self) -> bool) -> u64 {
        for waited in (0..ms).step_by(50) {
            if done(self) {
                return waited;
            }
            self.run(50);
        }
        let nodes: Vec<String> = (0..self.hosts.len())
            .filter(|&i| self.hosts[i].cluster.is_some())
            .map(|i| crate::cluster::render::nodes(&self.view(i), Default::default()))
            .collect();
        panic!("not {what} after {ms} ms:\n{}", nodes.join("\n"));
    }

    pub(super) fn view(&self, i: usize) -> std::sync::Arc<View> {
        self.hosts[i].cluster.as_ref().expect("a running node").view()
    }

    pub(super) fn id(&self, i: usize) -> NodeId {
        self.view(i).myself().id
    }

    pub(super) fn lost(&self, i: usize) -> usize {
        self.hosts[i].pub_lost
    }

    /// How `i` sees the node named `id`.
    pub(super) fn health(&self, i: usize, id: NodeId) -> Health {
        self.view(i).find(id).expect("a known node").health
    }

    /// Whether these hosts know exactly each other, agree about slots and epochs, and serve.
    pub(super) fn is_whole(&self, hosts: Vec<usize>) -> bool {
        let summary = |i: usize| {
            let view = self.view(i);
            let mut rows: Vec<_> =
                view.rows.iter().map(|row| (row.id, row.slots.clone(), row.config_epoch)).collect();
            rows.sort_by_key(|row| row.0);
            (rows, view.current_epoch)
        };
        let first = summary(hosts[0]);
        let mut epochs: Vec<u64> = first.0.iter().map(|row| row.2).collect();
        epochs.sort_unstable();
        epochs.dedup();
        let calm = |i: usize| {
            let view = self.view(i);
            view.state == State::Ok
                && view.rows.iter().all(|row| row.health == Health::Up && !row.handshake && row.connected)
        };
        first.0.len() == hosts.len()
            && epochs.len() == hosts.len()
            && hosts.iter().all(|&i| calm(i) && summary(i) == first)
    }
}
