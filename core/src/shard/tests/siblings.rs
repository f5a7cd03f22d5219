//! Several shards of one process: whatever their number, clients are told the same.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec;

use super::*;
use crate::action::{Letter, To};
use crate::mail::{Fact, Mail};
use crate::migration::job::Outcome;
use crate::node::Node;
use crate::slots::Slot;

mod every;
mod lanes;
mod moving;
mod named;
mod settling;
mod whereabouts;

/// A process that owns all slots, and its rings: each keeps its order, which of them is emptied next is left to chance.
pub(super) struct Process {
    pub(super) node: Node,
    pub(super) shards: Vec<Shard>,
    rings: BTreeMap<(Whose, Whose), VecDeque<Sent>>,
    /// Links on which what there is to say shall go.
    due: BTreeSet<LinkId>,
    /// Sockets that were moved, by the names that their links had first.
    moved: BTreeMap<LinkId, Socket>,
    /// Links that were asked for, and those that were closed at once.
    dialed: Vec<LinkId>,
    ended: Vec<LinkId>,
    /// How jobs ended.
    outcomes: Vec<Outcome>,
    rng: Rng,
    pub(super) now: Now,
    pub(super) letters: u64,
}

/// What goes from one machine to another.
enum Sent {
    Mail(Mail),
    /// The socket of a link that had this name.
    Link(LinkId),
}

/// A socket that was moved.
#[derive(Default)]
struct Socket {
    /// What its link is called now …
    link: Option<LinkId>,
    /// … or was called, while it is under way.
    on_its_way: Option<LinkId>,
    /// What came meanwhile.
    kept: Vec<u8>,
    /// Its peer hung up meanwhile.
    ended: bool,
    /// It cannot be taken in.
    lost: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Whose {
    Node,
    Shard(usize),
}

impl Process {
    pub(super) fn new(shards: u16, seed: u64) -> Self {
        Self::with(shards, seed, "")
    }

    /// The same with more settings, as lines.
    pub(super) fn with(shards: u16, seed: u64, settings: &str) -> Self {
        let now = Now { mono: Mono(0), wall: Wall(1_800_000_000_000_000) };
        let text = format!("cluster-enabled yes\nshards {shards}\nenable-debug-command yes\n{settings}");
        let config = Config::load(&text, &mut |_| Err("no files".into())).expect("a configuration");
        let config = Arc::new(config);
        let node = Node::new(config.clone(), None, None, 1, now).expect("a new node");
        let shard = |n| Shard::nth(ShardIndex(n), config.clone(), node.view(), 2, now);
        let shards = (0..shards).map(shard).collect();
        let rings = BTreeMap::new();
        let (due, moved) = (BTreeSet::new(), BTreeMap::new());
        let (dialed, ended, outcomes) = (Vec::new(), Vec::new(), Vec::new());
        let rng = Rng::new(seed);
        let mut process =
            Self { node, shards, rings, due, moved, dialed, ended, outcomes, rng, now, letters: 0 };
        let admin = process.connect(0, 1_000);
        assert_eq!(process.ask(admin, "CLUSTER ADDSLOTSRANGE 0 16383\r\n"), "+OK\r\n");
        for _ in 0..60 {
            process.pass(Span::ms(100));
        }
        process
    }

    pub(super) fn step(&mut self, who: Whose, input: Input<'_>) {
        let mut out = Actions::default();
        match who {
            Whose::Node => self.node.handle(self.now, input, &mut out),
            Whose::Shard(n) => self.shards[n].handle(self.now, input, &mut out),
        };
        self.carry_out(who, out);
    }

    fn carry_out(&mut self, who: Whose, out: Actions) {
        for Letter { to, mail } in out.mail {
            if let Mail::Fact(Fact::Ended { outcome, .. }) = &mail {
                self.outcomes.push(outcome.clone());
            }
            let to = match to {
                To::Node => Whose::Node,
                To::Shard(shard) => Whose::Shard(shard.0.into()),
            };
            self.rings.entry((who, to)).or_default().push_back(Sent::Mail(mail));
        }
        for action in out.list {
            match action {
                Action::Persist { ticket, .. } => self.step(who, Input::Done { ticket, result: Ok(()) }),
                Action::Close { link, ending: Ending::Flushed } => self.step(who, Input::Closed { link }),
                Action::Close { link, .. } => self.ended.push(link),
                Action::Connect { link, .. } => self.dialed.push(link),
                Action::Flush { link } => drop(self.due.insert(link)),
                Action::Move { link, to } => {
                    let socket = self.socket_of(link);
                    (socket.link, socket.on_its_way) = (None, Some(link));
                    let ring = self.rings.entry((who, Whose::Shard(to.0.into()))).or_default();
                    ring.push_back(Sent::Link(link));
                }
                _ => {}
            }
        }
    }

    /// Delivers one letter of any ring; whether there was one.
    pub(super) fn deliver(&mut self) -> bool {
        self.deliver_some(|_| true)
    }

    /// A shard takes in all that was sent to it, as it does before it hears what came on a link.
    pub(super) fn take_in(&mut self, shard: ShardIndex) {
        while self.deliver_some(|to| to == Whose::Shard(shard.0.into())) {}
    }

    fn deliver_some(&mut self, is_for: impl Fn(Whose) -> bool) -> bool {
        let full: Vec<_> = self
            .rings
            .iter()
            .filter(|((_, to), ring)| !ring.is_empty() && is_for(*to))
            .map(|(at, _)| *at)
            .collect();
        if full.is_empty() {
            return false;
        }
        let at = full[self.rng.below(full.len() as u64) as usize];
        let sent = self.rings.get_mut(&at).and_then(VecDeque::pop_front).expect("a letter");
        self.letters += 1;
        match (sent, at.1) {
            (Sent::Mail(mail), to) => self.step(to, Input::Mailed(mail)),
            (Sent::Link(from), Whose::Shard(to)) => self.arrive(from, to),
            (Sent::Link(_), Whose::Node) => panic!("a client of the node"),
        }
        true
    }

    /// The socket whose link has this name now, or had it until it was moved.
    fn socket_of(&mut self, link: LinkId) -> &mut Socket {
        let first = self.moved.iter().find(|(_, socket)| socket.link == Some(link)).map(|(first, _)| *first);
        self.moved.entry(first.unwrap_or(link)).or_default()
    }

    /// A socket has come to another shard.
    fn arrive(&mut self, from: LinkId, to: usize) {
        let link = LinkId::accepted(1_000_000 + self.letters).of(ShardIndex(to as u16));
        let (first, socket) =
            self.moved.iter_mut().find(|(_, socket)| socket.on_its_way == Some(from)).expect("a socket");
        let first = *first;
        let Socket { kept, ended, lost, .. } =
            core::mem::replace(socket, Socket { link: Some(link), ..Socket::default() });
        if lost {
            return self.step(Whose::Shard(to), Input::Closed { link: from });
        }
        self.step(Whose::Shard(to), Input::Moved { link, from });
        if !kept.is_empty() {
            self.feed(first, &kept);
        }
        if ended {
            self.hang_up(first);
        }
    }

    /// What the link of a client is called now; none while it is under way.
    pub(super) fn link_of(&self, client: LinkId) -> Option<LinkId> {
        self.moved.get(&client).map_or(Some(client), |socket| socket.link)
    }

    /// A client's socket cannot be taken in where it is on its way to, or is gone.
    pub(super) fn lose(&mut self, client: LinkId) {
        match self.link_of(client) {
            Some(_) => self.hang_up(client),
            None => self.moved.entry(client).or_default().lost = true,
        }
    }

    /// A client is gone.
    pub(super) fn hang_up(&mut self, client: LinkId) {
        match self.link_of(client) {
            Some(link) => self.step(Whose::Shard(link.shard().0.into()), Input::Closed { link }),
            None => self.moved.entry(client).or_default().ended = true,
        }
    }

    pub(super) fn settle(&mut self) {
        while self.deliver() {}
        let sum = |count: fn(&Shard) -> usize| self.shards.iter().map(count).sum::<usize>();
        assert_eq!(sum(Shard::let_in), sum(Shard::links_at_home), "each is counted once");
    }

    pub(super) fn connect(&mut self, shard: u16, n: u64) -> LinkId {
        let link = LinkId::accepted(n).of(ShardIndex(shard));
        self.step(Whose::Shard(shard.into()), Input::Opened { link, origin: Origin::Unix });
        link
    }

    pub(super) fn feed(&mut self, client: LinkId, bytes: &[u8]) {
        match self.link_of(client) {
            Some(link) => self.step(Whose::Shard(link.shard().0.into()), Input::Filled { link, bytes }),
            None => self.moved.entry(client).or_default().kept.extend_from_slice(bytes),
        }
    }

    /// What the client on this link has got: what was to be sent.
    pub(super) fn said(&mut self, client: LinkId) -> String {
        String::from_utf8(self.take(client)).expect("text")
    }

    /// The same in bytes.
    fn take(&mut self, client: LinkId) -> Vec<u8> {
        let Some(link) = self.link_of(client) else { return Vec::new() };
        if !self.due.remove(&link) {
            return Vec::new();
        }
        let Some(outbox) = self.shards[usize::from(link.shard().0)].outbox(link) else {
            return Vec::new();
        };
        let bytes: Vec<u8> = outbox.chunks().flatten().copied().collect();
        outbox.advance(bytes.len());
        bytes
    }

    /// The number of a client that has just come.
    fn id_of(&self, link: LinkId) -> u64 {
        match self.shards[usize::from(link.shard().0)].links.get(&link) {
            Some(Link::Client(session)) => session.client.id.0,
            other => panic!("no client: {other:?}"),
        }
    }

    /// A moment passes, and one shard is told.
    fn tick(&mut self, rng: &mut Rng) {
        (self.now.mono, self.now.wall.0) = (self.now.mono + Span(300), self.now.wall.0 + 300);
        let shard = rng.index(self.shards.len());
        self.step(Whose::Shard(shard), Input::Ticked);
    }

    pub(super) fn ask(&mut self, link: LinkId, bytes: &str) -> String {
        self.feed(link, bytes.as_bytes());
        self.settle();
        self.said(link)
    }

    pub(super) fn pass(&mut self, span: Span) {
        (self.now.mono, self.now.wall.0) = (self.now.mono + span, self.now.wall.0 + span.0);
        self.step(Whose::Node, Input::Ticked);
        for n in 0..self.shards.len() {
            self.step(Whose::Shard(n), Input::Ticked);
        }
        self.settle();
    }
}

/// A pipeline of random commands over many slots.
fn script(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut open = false;
    for _ in 0..60 {
        let key = format!("k{}", rng.below(12));
        let tagged = format!("{{{key}}}other");
        let words: Vec<&str> = match rng.below(30) {
            0 => vec!["GET", &key],
            1 => vec!["INCR", &key],
            2 => vec!["APPEND", &key, "7"],
            3 => vec!["DEL", &key, &tagged],
            4 => vec!["MSET", &key, "1", &tagged, "2"],
            5 => vec!["MGET", &key, "elsewhere"],
            6 => vec!["PING"],
            7 => vec!["CLUSTER", "COUNTKEYSINSLOT", "12706"],
            8 if !open => vec!["WATCH", &key],
            8 => vec!["EXEC"],
            9 if !open => vec!["MULTI"],
            9 => vec!["DISCARD"],
            10 => vec!["EXEC"],
            11 => vec!["CLIENT", "SETNAME", &key],
            12 => vec!["CLIENT", "GETNAME"],
            13 => vec!["NOPE", &key],
            14 => vec!["ECHO", &key],
            15 => vec!["DBSIZE"],
            16 => vec!["KEYS", &key],
            17 if rng.below(3) == 0 => vec!["FLUSHALL"],
            18 => vec!["SCAN", "0", "MATCH", &key],
            19 => vec!["CLIENT", "KILL", "ID", "987654"],
            20 => vec!["CLIENT", "UNBLOCK", "987654"],
            21 => vec!["CLIENT", "LIST", "ID", "987654"],
            22 => vec!["SLOWLOG", "LEN"],
            23 => vec!["CONFIG", "RESETSTAT"],
            24 => vec!["FLUSHDB", "NEVER"],
            25 => vec!["WAIT", "0", "0"],
            26 => vec!["CLIENT", "UNPAUSE"],
            27 => vec!["DEBUG", "OBJECT", &key],
            28 => vec!["CLUSTER", "COUNT-FAILURE-REPORTS", "nobody"],
            _ => vec!["SET", &key, "5"],
        };
        match words[0] {
            "MULTI" => open = true,
            "EXEC" | "DISCARD" => open = false,
            _ => {}
        }
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        crate::wire::resp::encode_command(&mut bytes, &words);
    }
    bytes
}

#[test]
fn what_was_answered_goes_out_when_the_next_command_waits_elsewhere() {
    let mut process = Process::new(2, 5);
    let there = process.shards.iter().position(|shard| shard.env.here()(Slot::of(b"a"))).expect("an owner");
    let client = process.connect(1 - there as u16, 1);
    let holds = &mut process.shards[there].data.holds;
    let hold = holds.begin(Scope::All, Class::Writes, Reason::Migration, None);
    assert_eq!(process.ask(client, "PING\r\nSET a 1\r\nPING\r\n"), "+PONG\r\n");
    let shard = &mut process.shards[there];
    shard.woken |= shard.data.holds.end(hold);
    process.pass(Span::ms(1));
    assert_eq!(process.said(client), "+OK\r\n+PONG\r\n");
}

#[test]
fn a_client_is_told_the_same_by_any_number_of_shards() {
    let mut travelled = false;
    for seed in 0..60 {
        let script = script(&mut Rng::new(seed));
        let told = |shards: u16| {
            let mut process = Process::new(shards, seed);
            let client = process.connect((seed % u64::from(shards)) as u16, 1);
            let mut rng = Rng::new(seed);
            let (mut rest, mut said) = (&script[..], String::new());
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(1 + rng.below(rest.len() as u64) as usize);
                process.feed(client, piece);
                for _ in 0..rng.below(4) {
                    process.deliver();
                }
                said += &process.said(client);
                rest = after;
            }
            process.settle();
            assert!(process.shards.iter().all(|shard| shard.guests.is_empty()), "seed {seed}");
            (said + &process.said(client), process.letters)
        };
        let (alone, few) = told(1);
        for shards in [2, 3, 8] {
            let (said, letters) = told(shards);
            assert_eq!(said, alone, "seed {seed}, {shards} shards");
            travelled |= letters > few + 20;
        }
    }
    assert!(travelled, "no session went anywhere");
}

#[test]
fn a_session_that_waits_in_another_shard_has_its_answers_at_home() {
    let mut process = Process::new(2, 1);
    let (a, b) = (Slot::of(b"a").number() % 2, Slot::of(b"b").number() % 2);
    assert_ne!(a, b, "the keys are on different shards");
    let client = process.connect(a, 1);
    let other = process.connect(b, 2);
    let hold =
        process.shards[usize::from(b)].data.holds.begin(Scope::All, Class::Writes, Reason::Client, None);
    assert_eq!(process.ask(client, "SET a 1\r\nGET b\r\nSET b 1\r\nGET a\r\n"), "+OK\r\n$-1\r\n");
    assert_eq!(process.ask(other, "GET b\r\n"), "$-1\r\n");
    let shard = &mut process.shards[usize::from(b)];
    shard.woken |= shard.data.holds.end(hold);
    process.pass(Span::ms(1));
    assert_eq!(process.said(client), "+OK\r\n$1\r\n1\r\n");
}

#[test]
fn a_client_that_leaves_while_its_session_is_away_leaves_nothing_behind() {
    for seed in 0..200 {
        let mut process = Process::new(4, seed);
        let client = process.connect((seed % 4) as u16, 1);
        process.feed(client, b"WATCH a\r\nWATCH b\r\nWATCH c\r\nWATCH d\r\nMULTI\r\nSET a 1\r\n");
        for _ in 0..seed % 14 {
            process.deliver();
        }
        process.step(Whose::Shard(client.shard().0.into()), Input::Closed { link: client });
        process.settle();
        process.pass(Span::ms(1));
        for shard in &process.shards {
            assert!(shard.guests.is_empty(), "seed {seed}");
            assert_eq!(shard.data.effects.watched_keys(), 0, "seed {seed}");
        }
    }
}

#[test]
fn a_transaction_sees_that_a_watched_key_changed_on_any_shard() {
    for key in ["a", "b", "c", "d", "e"] {
        // Slots of single letters differ by multiples of three.
        let mut process = Process::new(4, 5);
        let client = process.connect(0, 1);
        let other = process.connect(1, 2);
        let watched = process.ask(client, "WATCH a\r\nWATCH b\r\nWATCH c\r\nWATCH d\r\n");
        assert_eq!(watched, "+OK\r\n".repeat(4));
        assert_eq!(process.ask(other, &format!("SET {key} 2\r\n")), "+OK\r\n");
        let said = process.ask(client, "MULTI\r\nSET {q} 1\r\nGET {q}\r\nEXEC\r\n");
        let end = if key == "e" { "*2\r\n+OK\r\n$1\r\n1\r\n" } else { "*-1\r\n" };
        assert_eq!(said, format!("+OK\r\n+QUEUED\r\n+QUEUED\r\n{end}"), "{key} changed");
        assert!(process.shards.iter().all(|shard| shard.data.effects.watched_keys() == 0));
    }
}
