//! One machine and peers that say what a test wants.

use std::string::String;
use std::vec::Vec;

use crate::cluster::{Action, Cluster, ClusterConfig, Input, Row, takeover};
use crate::ids::{JobName, LinkId, NodeId, ShardId};
use crate::slots::{SlotRange, SlotRanges, SlotSet};
use crate::time::{Mono, Now, Wall};
use crate::wire::bus::{
    Bitmap, Body, Extension, Gossip, Header, IpText, Kind, Message, MessageFlags, NodeFlags, State, Talk,
    decode, kind_of,
};

/// The node timeout of all machines here.
pub(super) const TIMEOUT_MS: u64 = 2000;

pub(super) fn now_at(ms: u64) -> Now {
    Now { mono: Mono(ms * 1000), wall: Wall((1_700_000_000_000 + ms) * 1000) }
}

pub(super) fn config() -> ClusterConfig {
    ClusterConfig { node_timeout_ms: TIMEOUT_MS, port: 7000, ..ClusterConfig::default() }
}

pub(super) fn id(letter: u8) -> NodeId {
    NodeId::from_bytes([letter; 40])
}

pub(super) fn shard(letter: u8) -> ShardId {
    ShardId::from_bytes([letter; 40])
}

pub(super) fn ranges(list: &[(u16, u16)]) -> SlotRanges {
    list.iter().map(|&(first, last)| SlotRange::new(first, last).unwrap()).collect()
}

pub(super) fn set(list: &[(u16, u16)]) -> SlotSet {
    ranges(list).to_set()
}

/// Another node, played by the test.
#[derive(Clone)]
pub(super) struct Peer {
    pub(super) id: NodeId,
    pub(super) shard: ShardId,
    pub(super) current_epoch: u64,
    pub(super) epoch: u64,
    pub(super) slots: SlotSet,
    pub(super) replica_of: Option<NodeId>,
    pub(super) flags: NodeFlags,
    pub(super) message_flags: MessageFlags,
    pub(super) my_ip: &'static str,
    pub(super) port: u16,
    pub(super) offset: u64,
    /// The link it opened to the machine.
    pub(super) inbound: Option<LinkId>,
}

impl Peer {
    /// A primary named by one letter.
    pub(super) fn new(letter: u8) -> Self {
        Self {
            id: id(letter),
            shard: shard(letter),
            current_epoch: 0,
            epoch: 0,
            slots: SlotSet::new(),
            replica_of: None,
            flags: NodeFlags::LIGHT_PUBSUB | NodeFlags::LIGHT_MODULE,
            message_flags: MessageFlags::EXT_DATA,
            my_ip: "",
            port: 8000 + u16::from(letter),
            offset: 0,
            inbound: None,
        }
    }

    pub(super) fn owning(letter: u8, epoch: u64, slots: &[(u16, u16)]) -> Self {
        Self { epoch, current_epoch: epoch, slots: set(slots), ..Self::new(letter) }
    }

    pub(super) fn replica(letter: u8, of: &Self) -> Self {
        let mut replica = Self::new(letter);
        (replica.replica_of, replica.shard) = (Some(of.id), of.shard);
        (replica.epoch, replica.slots) = (of.epoch, of.slots.clone());
        replica
    }

    pub(super) fn bytes(&self, body: Body<'_>) -> Vec<u8> {
        let role = if self.replica_of.is_some() { NodeFlags::REPLICA } else { NodeFlags::PRIMARY };
        let header = Header {
            port: self.port,
            current_epoch: self.current_epoch.max(self.epoch),
            config_epoch: self.epoch,
            offset: self.offset,
            sender: self.id,
            slots: Bitmap(self.slots.as_bitmap()),
            replica_of: self.replica_of,
            my_ip: IpText::new(self.my_ip.as_bytes()).unwrap(),
            other_port: 0,
            bus_port: self.port + 10_000,
            flags: self.flags | role | NodeFlags::MYSELF,
            state: State::Ok,
            message_flags: self.message_flags,
        };
        Message::Full { header, body }.encode()
    }

    pub(super) fn talk<'a>(&self, gossip: &[Gossip]) -> Talk<'a> {
        let mut extensions = Vec::new();
        if self.message_flags.has(MessageFlags::EXT_DATA) {
            extensions.push(Extension::Shard(self.shard));
        }
        Talk { gossip: gossip.to_vec(), spoiled: false, extensions }
    }

    pub(super) fn gossip(&self, flags: NodeFlags) -> Gossip {
        Gossip {
            node: self.id,
            ping_sent_s: 0,
            pong_received_s: 0,
            ip: IpText::new(b"10.0.0.9").unwrap(),
            port: self.port,
            bus_port: self.port + 10_000,
            flags,
            other_port: 0,
        }
    }

    fn ip(&self) -> String {
        std::format!("10.0.0.{}", self.port % 100)
    }
}

/// One machine under test.
pub(super) struct Rig {
    pub(super) cluster: Cluster,
    pub(super) ms: u64,
    pub(super) out: Vec<Action>,
    accepted: u64,
}

impl Rig {
    /// A fresh machine past its start delay.
    pub(super) fn new() -> Self {
        Self::with(config(), None)
    }

    pub(super) fn with(config: ClusterConfig, saved: Option<&[u8]>) -> Self {
        let cluster = Cluster::new(config, 1, now_at(0), saved).unwrap();
        let mut rig = Self { cluster, ms: 0, out: Vec::new(), accepted: 0 };
        rig.wait(2100);
        rig.out.clear();
        rig
    }

    /// A machine that owns slots at an epoch.
    pub(super) fn owning(epoch: u64, slots: &[(u16, u16)]) -> Self {
        let mut rig = Self::new();
        let (now, out) = (rig.now(), &mut rig.out);
        if epoch > 0 {
            rig.cluster.set_config_epoch(now, epoch as i64, out).unwrap();
        }
        rig.cluster.add_slots(now, &ranges(slots), out).unwrap();
        rig.out.clear();
        rig
    }

    pub(super) fn now(&self) -> Now {
        now_at(self.ms)
    }

    pub(super) fn input(&mut self, input: Input<'_>) {
        let before = self.out.len();
        self.cluster.handle(now_at(self.ms), input, &mut self.out);
        self.saved(before);
    }

    /// The disk of this rig is instant.
    fn saved(&mut self, before: usize) {
        let saved = |action: &Action| match action {
            Action::Save { ticket, .. } => Some(*ticket),
            _ => None,
        };
        if let Some(ticket) = self.out[before..].iter().rev().find_map(saved) {
            self.cluster.handle(now_at(self.ms), Input::Saved { ticket }, &mut self.out);
        }
    }

    /// An export to `target` begins; all are of job `j`.
    pub(super) fn leave(&mut self, target: NodeId, slots: &[(u16, u16)]) {
        let (now, slots) = (self.now(), ranges(slots));
        let jobs = core::iter::once((JobName::from_bytes([b'j'; 40]), target, &slots));
        takeover::leave(&mut self.cluster, now, jobs, &mut self.out);
        self.saved(0);
    }

    /// A job is over.
    pub(super) fn ungrant(&mut self, job: JobName) {
        takeover::ungrant(&mut self.cluster, now_at(self.ms), job, &mut self.out);
    }

    /// Lets time pass, in ticks.
    pub(super) fn wait(&mut self, ms: u64) {
        for _ in 0..ms / 100 {
            self.ms += 100;
            self.input(Input::Ticked);
        }
    }

    pub(super) fn me(&self) -> NodeId {
        self.cluster.view().myself().id
    }

    /// Opens a link from `peer` to the machine.
    pub(super) fn open(&mut self, peer: &mut Peer) -> LinkId {
        self.accepted += 1;
        let link = LinkId::accepted(self.accepted);
        let from = std::format!("{}:40000", peer.ip()).parse().unwrap();
        self.input(Input::Opened { link, peer: from, local: "10.0.0.1:17000".parse().unwrap() });
        peer.inbound = Some(link);
        link
    }

    /// The last link that the machine opened, and where to.
    pub(super) fn dialed(&self) -> Option<(LinkId, std::net::SocketAddr)> {
        self.out.iter().rev().find_map(|action| match action {
            Action::Connect { link, to } => Some((*link, *to)),
            _ => None,
        })
    }

    /// The last link that the machine opened to `peer` since the list of actions was emptied.
    pub(super) fn dialed_to(&self, peer: &Peer) -> Option<LinkId> {
        self.out.iter().rev().find_map(|action| match action {
            Action::Connect { link, to } if to.port() == peer.port + 10_000 => Some(*link),
            _ => None,
        })
    }

    /// The machine's link to `peer` is up and answered, as is the peer's to the machine: they know each other.
    pub(super) fn join(&mut self, peer: &mut Peer) -> LinkId {
        let (now, port) = (self.now(), peer.port);
        let ip = peer.ip();
        self.cluster.meet(now, ip.as_bytes(), port, port + 10_000, &mut self.out).unwrap();
        self.wait(100);
        let (link, to) = self.dialed().expect("a connection");
        assert_eq!(to.port(), port + 10_000);
        self.input(Input::Connected { link, local: "10.0.0.1:50000".parse().unwrap() });
        let pong = peer.bytes(Body::Pong(peer.talk(&[])));
        self.input(Input::Filled { link, bytes: &pong });
        self.open(peer);
        self.ping(peer, &[]);
        self.out.clear();
        link
    }

    /// `peer` says something on the link it opened.
    pub(super) fn say(&mut self, peer: &Peer, body: Body<'_>) {
        let bytes = peer.bytes(body);
        let link = peer.inbound.expect("the peer has a link");
        self.input(Input::Filled { link, bytes: &bytes });
    }

    pub(super) fn ping(&mut self, peer: &Peer, gossip: &[Gossip]) {
        self.say(peer, Body::Ping(peer.talk(gossip)));
    }

    pub(super) fn pong_on(&mut self, link: LinkId, peer: &Peer) {
        let bytes = peer.bytes(Body::Pong(peer.talk(&[])));
        self.input(Input::Filled { link, bytes: &bytes });
    }

    /// Empties the list of actions; the kinds of the messages sent, with their links.
    pub(super) fn sent(&mut self) -> Vec<(LinkId, Kind)> {
        let sent = |action: Action| match action {
            Action::Send { link, bytes } => Some((link, kind_of(&bytes).unwrap())),
            _ => None,
        };
        self.out.drain(..).filter_map(sent).collect()
    }

    /// The messages sent of one kind, undecoded.
    pub(super) fn sent_of(&mut self, kind: Kind) -> Vec<Vec<u8>> {
        let sent = |action: Action| match action {
            Action::Send { bytes, .. } if kind_of(&bytes) == Some(kind) => Some(bytes.to_vec()),
            _ => None,
        };
        self.out.drain(..).filter_map(sent).collect()
    }

    pub(super) fn row(&self, id: NodeId) -> Row {
        self.cluster.view().find(id).cloned().expect("the node is known")
    }

    pub(super) fn knows(&self, id: NodeId) -> bool {
        self.cluster.view().find(id).is_some()
    }

    pub(super) fn slots_of(&self, id: NodeId) -> SlotRanges {
        self.row(id).slots
    }

    /// Time passes while `peers` keep pinging and answering, so that none of them is suspected.
    pub(super) fn wait_with(&mut self, ms: u64, peers: &[(&Peer, LinkId)]) {
        for _ in 0..ms / 500 {
            for &(peer, link) in peers {
                self.ping(peer, &[]);
                self.pong_on(link, peer);
            }
            self.wait(500);
        }
    }
}

/// Checks that `bytes` is a message and gives its body to `look`.
pub(super) fn body<R>(bytes: &[u8], look: impl FnOnce(&Header<'_>, &Body<'_>) -> R) -> R {
    match decode(bytes).unwrap() {
        Message::Full { header, body } => look(&header, &body),
        Message::Light(_) => panic!("a light message"),
    }
}
