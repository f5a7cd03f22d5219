//! Three nodes in memory under virtual time: they form a cluster, take writes, and move slots while a client goes on
//! writing. No socket, no thread, no clock: the same run every time.
//!
//! This is also the smallest honest driver of the two machines of a process: see [`Process::settle`].

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use whimbrel_core::action::{Action, Actions, To};
use whimbrel_core::config::Config;
use whimbrel_core::ids::LinkId;
use whimbrel_core::input::{Input, Origin};
use whimbrel_core::node::Node;
use whimbrel_core::shard::Shard;
use whimbrel_core::time::{Mono, Now, Wall};

/// Virtual microseconds per turn of the world: bytes, disks and background work take one turn each.
const TURN: u64 = 500;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Which {
    Node,
    Shard,
}

impl Which {
    fn of(to: To) -> Self {
        if to == To::Node { Self::Node } else { Self::Shard }
    }
}

/// One process: the control plane, the data plane, and what they want done.
struct Process {
    node: Node,
    shard: Shard,
    wants: Vec<(Which, Action)>,
    accepted: u64,
}

impl Process {
    /// Gives a machine an input; then mail goes back and forth until there is none. Only after that may bytes leave.
    fn settle(&mut self, now: Now, mut which: Which, mut input: Input<'_>) {
        let (mut actions, mut mail) = (Actions::default(), VecDeque::new());
        loop {
            match which {
                Which::Node => self.node.handle(now, input, &mut actions),
                Which::Shard => self.shard.handle(now, input, &mut actions),
            };
            self.wants.extend(actions.list.drain(..).map(|action| (which, action)));
            mail.extend(actions.mail.drain(..).map(|letter| (Which::of(letter.to), letter.mail)));
            let Some((to, next)) = mail.pop_front() else { return };
            (which, input) = (to, Input::Mailed(next));
        }
    }

    fn accept(&mut self, now: Now, which: Which, origin: Origin) -> LinkId {
        self.accepted += 1;
        let link = LinkId::accepted(self.accepted);
        self.settle(now, which, Input::Opened { link, origin });
        link
    }

    /// Takes what is to be sent on a link.
    fn take(&mut self, which: Which, link: LinkId) -> Vec<u8> {
        let outbox = match which {
            Which::Node => self.node.outbox(link),
            Which::Shard => self.shard.outbox(link),
        };
        outbox.map_or(Vec::new(), |outbox| {
            let bytes: Vec<u8> = outbox.chunks().flatten().copied().collect();
            outbox.advance(bytes.len());
            bytes
        })
    }
}

/// An end of a connection: process, machine, link.
type End = (usize, Which, LinkId);

struct World {
    now: Now,
    processes: Vec<Process>,
    peers: BTreeMap<End, End>,
}

impl World {
    fn new(count: usize) -> Self {
        let now = Now { mono: Mono(0), wall: Wall(1_800_000_000_000_000) };
        let process = |p| {
            let ip = address(p).ip();
            let text = format!("cluster-enabled yes\nprotected-mode no\ncluster-announce-ip {ip}\n");
            let config = Config::load(&text, &mut |_| Err("no files".into())).expect("a configuration");
            let config = std::sync::Arc::new(config);
            let node = Node::new(config.clone(), None, None, p as u64, now).expect("a new node");
            let shard = Shard::new(config, node.view(), p as u64, now);
            Process { node, shard, wants: Vec::new(), accepted: 0 }
        };
        Self { now, processes: (0..count).map(process).collect(), peers: BTreeMap::new() }
    }

    /// Time goes on, and everything that is due happens.
    fn turn(&mut self) {
        (self.now.mono.0, self.now.wall.0) = (self.now.mono.0 + TURN, self.now.wall.0 + TURN);
        for p in 0..self.processes.len() {
            self.processes[p].settle(self.now, Which::Node, Input::Ticked);
            self.processes[p].settle(self.now, Which::Shard, Input::Ticked);
            for (which, action) in std::mem::take(&mut self.processes[p].wants) {
                self.carry_out(p, which, action);
            }
        }
        for from in self.peers.keys().copied().collect::<Vec<_>>() {
            self.carry_bytes(from);
        }
    }

    fn carry_out(&mut self, p: usize, which: Which, action: Action) {
        match action {
            Action::Connect { link, to, .. } => {
                let q = (0..3).find(|q| address(*q).ip() == to.ip()).expect("an address of ours");
                let theirs = if to == address(q) { Which::Shard } else { Which::Node };
                let origin = Origin::Tcp { peer: address(p), local: address(q) };
                let other = self.processes[q].accept(self.now, theirs, origin);
                self.peers.insert((p, which, link), (q, theirs, other));
                self.peers.insert((q, theirs, other), (p, which, link));
                self.processes[p].settle(self.now, which, Input::Connected { link, local: address(p) });
            }
            Action::Close { link, .. } => {
                self.carry_bytes((p, which, link));
                if let Some((q, theirs, other)) = self.peers.remove(&(p, which, link)) {
                    self.peers.remove(&(q, theirs, other));
                    self.processes[q].settle(self.now, theirs, Input::Closed { link: other });
                }
            }
            // The disk is as fast as everything here, and nobody restarts.
            Action::Persist { ticket, .. } => {
                self.processes[p].settle(self.now, which, Input::Done { ticket, result: Ok(()) });
            }
            // Bytes are carried once per turn anyway, and buffers have no end.
            _ => {}
        }
    }

    fn carry_bytes(&mut self, (p, which, link): End) {
        let bytes = self.processes[p].take(which, link);
        let Some(&(q, theirs, other)) = self.peers.get(&(p, which, link)) else { return };
        if !bytes.is_empty() {
            self.processes[p].settle(self.now, which, Input::Drained { link });
            self.processes[q].settle(self.now, theirs, Input::Filled { link: other, bytes: &bytes });
        }
    }

    /// A client that stays connected for one command: the answer, as soon as it is there.
    fn ask(&mut self, p: usize, line: &str) -> String {
        let origin = Origin::Tcp { peer: address(9), local: address(p) };
        let link = self.processes[p].accept(self.now, Which::Shard, origin);
        let bytes = format!("{line}\r\n");
        self.processes[p].settle(self.now, Which::Shard, Input::Filled { link, bytes: bytes.as_bytes() });
        loop {
            let answer = self.processes[p].take(Which::Shard, link);
            if !answer.is_empty() {
                self.processes[p].settle(self.now, Which::Shard, Input::Closed { link });
                return String::from_utf8_lossy(&answer).trim_end().to_owned();
            }
            self.turn();
        }
    }
}

fn address(p: usize) -> SocketAddr {
    SocketAddr::new([10, 0, 0, p as u8 + 1].into(), 6379)
}

fn main() {
    let mut world = World::new(3);
    for (p, slots) in ["0 5460", "5461 10922", "10923 16383"].into_iter().enumerate() {
        println!("node {p} takes {slots}: {}", world.ask(p, &format!("CLUSTER ADDSLOTSRANGE {slots}")));
        world.ask(p, &format!("CLUSTER SET-CONFIG-EPOCH {}", p + 1));
    }
    let mut meet = |p| world.ask(0, &format!("CLUSTER MEET {} 6379", address(p).ip()));
    assert_eq!((meet(1), meet(2)), ("+OK".into(), "+OK".into()));
    while !(0..3).all(|p| world.ask(p, "CLUSTER INFO").contains("cluster_state:ok")) {
        (0..100).for_each(|_| world.turn());
    }
    println!("the cluster is formed after {} ms of virtual time", world.now.mono.0 / 1000);
    // The slot of {tag} is 8338: node 1 has its keys.
    (0..1000).for_each(|n| assert_eq!(world.ask(1, &format!("SET {{tag}}{n} {n}")), "+OK"));
    let target = world.ask(2, "CLUSTER MYID").lines().last().expect("an id").to_owned();
    let answer = world.ask(1, &format!("CLUSTER MIGRATESLOTS SLOTSRANGE 8000 8999 NODE {target}"));
    println!("moving slots 8000-8999 from node 1 to node 2: {answer}");
    let mut written = 0;
    let moved = loop {
        world.turn();
        match world.ask(1, "INCR {tag}counter") {
            answer if answer.starts_with("-MOVED") => break answer,
            answer => written = answer[1..].parse().expect("a number"),
        }
    };
    println!("after {written} writes: {moved}");
    assert_eq!(world.ask(2, "INCR {tag}counter"), format!(":{}", written + 1), "no write is lost");
    (0..2000).for_each(|_| world.turn());
    let mut count = |p| world.ask(p, "CLUSTER COUNTKEYSINSLOT 8338");
    println!("keys of slot 8338 at node 1 {} and at node 2 {}", count(1), count(2));
}
