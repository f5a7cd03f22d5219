//! A migration between two processes with several shards each, over several links.

use alloc::string::ToString;

use super::*;
use crate::ids::{JobName, NodeId};
use crate::mail::Pass;
use crate::migration::failure::Failure;
use crate::migration::job::{Job, Settlement, Timing};
use crate::migration::lane::Lanes;
use crate::migration::{export, import};
use crate::shard::errand::Errand;
use crate::slots::{SlotRange, SlotRanges};

mod one;

const KEYS: [&str; 8] = ["{a}", "{b}", "{1}", "{2}", "{Z}", "{.}", "{~}", "{h}"];
const TARGET: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7001);

fn job(rng: &mut Rng) -> Arc<Job> {
    let ranges: SlotRanges = KEYS.iter().map(|key| SlotRange::one(Slot::of(key.as_bytes()))).collect();
    let (source, target) = (NodeId::random(rng), NodeId::random(rng));
    Arc::new(Job { name: JobName::random(rng), source, target, ranges })
}

/// A link between the two, and what is on its way.
struct Pipe {
    near: LinkId,
    /// At the target, once it is accepted.
    far: Option<LinkId>,
    /// What it is called there.
    id: u64,
    to_target: VecDeque<u8>,
    to_source: VecDeque<u8>,
    is_cut: bool,
}

/// Two processes, one job from one to the other, and the links of it.
struct Pair {
    source: Process,
    target: Process,
    job: Arc<Job>,
    pipes: Vec<Pipe>,
    /// Links that were closed before they were made.
    given_up: BTreeSet<LinkId>,
    /// How the source began.
    greeting: String,
    clients: Vec<LinkId>,
    next: u64,
    /// Bytes that the links have taken from the source.
    sent: u64,
    rng: Rng,
    seed: u64,
}

impl Pair {
    fn new(seed: u64, (from, to): (u16, u16)) -> Self {
        let mut rng = Rng::new(seed);
        let (mut source, target) = (Process::new(from, seed), Process::new(to, seed + 1));
        let job = job(&mut rng);
        let clients = (0..3).map(|n| source.connect(rng.below(from.into()) as u16, 10 + n)).collect();
        let mut pair = Self {
            source,
            target,
            job,
            pipes: Vec::new(),
            given_up: BTreeSet::new(),
            greeting: String::new(),
            clients,
            next: 50,
            sent: 0,
            rng,
            seed,
        };
        for _ in 0..40 {
            pair.write();
        }
        pair.source.settle();
        pair
    }

    fn start(&mut self) {
        let first = self.job.ranges.slots().next().expect("a slot");
        let home = self.source.shards[0].env.shards.of(first);
        let timing = Timing::default();
        let order = Order::StartExport { job: self.job.clone(), to: Some(TARGET), credentials: None, timing };
        self.source.step(Whose::Shard(home.0.into()), Input::Mailed(order.into()));
    }

    fn write(&mut self) {
        let rng = &mut self.rng;
        let key = format!("{}{}", KEYS[rng.below(8) as usize], rng.below(4));
        let text = match rng.below(7) {
            0 => format!("DEL {key}\r\n"),
            1 => format!("APPEND {key} x\r\n"),
            2 => format!("MSET {key} 1 {}0 2\r\n", &key[..3]),
            3 => format!("SELECT {}\r\nSET {key} in\r\nSELECT 0\r\n", rng.below(3)),
            4 => format!("MULTI\r\nSET {key} 9\r\nDBSIZE\r\nAPPEND {key} z\r\nEXEC\r\n"),
            _ => format!("SET {key} {}\r\n", rng.below(1000)),
        };
        let client = self.clients[rng.index(self.clients.len())];
        self.source.feed(client, text.as_bytes());
    }

    /// Lets one thing happen that is on its way.
    fn step(&mut self) {
        for link in core::mem::take(&mut self.source.dialed) {
            if self.given_up.contains(&link) {
                continue;
            }
            let pipe = Pipe {
                near: link,
                far: None,
                id: 0,
                to_target: VecDeque::new(),
                to_source: VecDeque::new(),
                is_cut: false,
            };
            self.pipes.push(pipe);
            let shard = usize::from(link.shard().0);
            self.source.step(Whose::Shard(shard), Input::Connected { link, local: TARGET });
        }
        match self.rng.below(7) {
            0 => drop(self.source.deliver()),
            1 => drop(self.target.deliver()),
            2 => {
                self.source.tick(&mut self.rng);
                self.target.tick(&mut self.rng);
            }
            _ if self.pipes.is_empty() => {}
            n => {
                let index = self.rng.index(self.pipes.len());
                self.take_up(index);
                if n % 2 == 0 { self.bring_to_target(index) } else { self.bring_to_source(index) }
            }
        }
        self.notice_ends();
        assert_eq!(self.bytes_out(), self.sent, "seed {}: what INFO says was sent", self.seed);
    }

    /// Bytes that shards of the source have sent, as INFO has it.
    fn bytes_out(&self) -> u64 {
        self.source.shards.iter().map(|shard| shard.data.exports.bytes_out()).sum()
    }

    /// What either end has to say is on its way.
    fn take_up(&mut self, index: usize) {
        let pipe = &mut self.pipes[index];
        if pipe.is_cut {
            return;
        }
        let bytes = self.source.take(pipe.near);
        if !bytes.is_empty() {
            self.sent += bytes.len() as u64;
            pipe.to_target.extend(bytes);
            let shard = usize::from(pipe.near.shard().0);
            self.source.step(Whose::Shard(shard), Input::Drained { link: pipe.near });
        }
        if let Some(far) = pipe.far {
            pipe.to_source.extend(self.target.take(far));
        }
    }

    fn bring_to_target(&mut self, index: usize) {
        let pipe = &mut self.pipes[index];
        if pipe.is_cut || pipe.to_target.is_empty() {
            return;
        }
        if let Some(far) = pipe.far {
            let some = 1 + self.rng.index(pipe.to_target.len().min(4000));
            let bytes: Vec<u8> = pipe.to_target.drain(..some).collect();
            // What was posted before the answer is there before the shard hears what was said after it; but the link may go
            // on to another shard, where it is faster than that.
            self.target.link_of(far).into_iter().for_each(|link| self.target.take_in(link.shard()));
            self.target.feed(far, &bytes);
            return;
        }
        let greeting: Vec<u8> = pipe.to_target.iter().copied().collect();
        let text = String::from_utf8(greeting.clone()).expect("text");
        let shards = self.target.shards[0].env.shards;
        let offered = Some(self.source.shards[0].env.shards);
        self.next += 1;
        if text.contains("ESTABLISH") {
            let end = text.rfind("\r\n").expect("an end") + 2;
            self.greeting = text.clone();
            let far = self.target.connect(self.rng.below(shards.count().into()) as u16, self.next);
            pipe.id = self.target.id_of(far);
            self.target.feed(far, &greeting);
            // The nodes of the test do not know each other: theirs refuses what the shards have done for it already.
            self.target.settle();
            assert!(self.target.said(far).contains("-ERR Target node does not know the source node"));
            let link = self.target.link_of(far).expect("a link");
            let agreed = Lanes::agreed(&self.job.ranges, offered, shards);
            assert!(agreed.is_none_or(|(_, first)| first == link.shard()), "seed {}", self.seed);
            let (job, timing) = (self.job.clone(), Timing::default());
            let order = Order::StartImport { link, job, timing, left: None };
            self.target.step(Whose::Shard(link.shard().0.into()), Input::Mailed(order.into()));
            pipe.to_target.drain(..end);
            pipe.far = Some(far);
        } else if text.contains("LANE") {
            let far = self.target.connect(self.rng.below(shards.count().into()) as u16, self.next);
            (pipe.far, pipe.id) = (Some(far), self.target.id_of(far));
        }
    }

    fn bring_to_source(&mut self, index: usize) {
        let pipe = &mut self.pipes[index];
        if pipe.is_cut || pipe.to_source.is_empty() {
            return;
        }
        let some = 1 + self.rng.index(pipe.to_source.len());
        let bytes: Vec<u8> = pipe.to_source.drain(..some).collect();
        self.source.feed(pipe.near, &bytes);
    }

    /// Whoever closed a link, the other end is told in the end.
    fn notice_ends(&mut self) {
        for link in core::mem::take(&mut self.source.ended) {
            match self.pipes.iter().position(|pipe| pipe.near == link) {
                Some(index) => self.end(index, false, true),
                None => drop(self.given_up.insert(link)),
            }
        }
        for link in core::mem::take(&mut self.target.ended) {
            let is_it = |pipe: &Pipe| pipe.far.is_some_and(|far| self.target.link_of(far) == Some(link));
            if let Some(index) = self.pipes.iter().position(is_it) {
                self.end(index, true, false);
            }
        }
    }

    fn end(&mut self, index: usize, tells_source: bool, tells_target: bool) {
        let Pipe { near, far, is_cut, .. } = &mut self.pipes[index];
        if core::mem::replace(is_cut, true) {
            return;
        }
        let (near, far) = (*near, *far);
        if tells_source {
            self.source.step(Whose::Shard(near.shard().0.into()), Input::Closed { link: near });
        }
        if let Some(far) = far.filter(|_| tells_target) {
            self.target.hang_up(far);
        }
    }

    fn import(&self) -> Option<import::State> {
        self.target.shards.iter().find_map(|shard| shard.importing().next().map(|i| i.import.state()))
    }

    fn export(&self) -> Option<export::State> {
        self.source.shards.iter().find_map(|shard| shard.data.exports.iter().next().map(|e| e.export.state()))
    }

    /// Steps until something is so.
    fn until(&mut self, what: &str, f: impl Fn(&Self) -> bool) {
        for _ in 0..60_000 {
            if f(self) {
                return;
            }
            self.step();
        }
        let ends = (&self.source.outcomes, &self.target.outcomes);
        panic!("seed {}: never {what}: {:?} {:?}, {ends:?}", self.seed, self.export(), self.import());
    }

    /// The target's node and the source's do what they do when the slots were granted.
    fn take_over(&mut self) {
        let job = self.job.name;
        for shard in 0..self.target.shards.len() {
            self.target.step(Whose::Shard(shard), Input::Mailed(Order::TakenOver { job }.into()));
        }
        for shard in 0..self.source.shards.len() {
            let settled = Order::Settled { job, settlement: Settlement::OwnedByTarget };
            self.source.step(Whose::Shard(shard), Input::Mailed(settled.into()));
        }
        self.notice_ends();
    }

    /// The target's node lets a failed import clean up: the slots are nobody's for it.
    fn clean_up(&mut self) {
        let job = self.job.name;
        let Some(home) = self.target.shards.iter().position(|shard| shard.importing().next().is_some())
        else {
            return;
        };
        let nobody = crate::cluster::Cluster::new(Default::default(), 1, self.target.now, None);
        let confirmed =
            crate::cluster::takeover::confirm_failed_import(&nobody.expect("a node"), &self.job.ranges);
        let order = Order::CleanUp { job, confirmed };
        self.target.step(Whose::Shard(home), Input::Mailed(order.into()));
        self.target.settle();
        self.notice_ends();
    }

    /// Nothing is left of the job at either end but keys.
    fn assert_nothing_is_left(&mut self) {
        self.source.settle();
        self.target.settle();
        self.notice_ends();
        let seed = self.seed;
        assert_eq!(self.bytes_out(), self.sent, "seed {seed}: what INFO says was sent");
        for shard in &self.source.shards {
            let exports = &shard.data.exports;
            assert!(exports.iter().next().is_none() && exports.branches().next().is_none(), "seed {seed}");
            assert!(!exports.follow(None).is_any() && !shard.data.holds.writes_held(None), "seed {seed}");
            assert!(!shard.links.values().any(|link| matches!(link, Link::Export)), "seed {seed}");
        }
        for shard in &self.target.shards {
            assert!(shard.importing().next().is_none() && shard.grafts.is_empty(), "seed {seed}");
            assert!(shard.landings.is_empty(), "seed {seed}");
            let is_link = |link: &Link| matches!(link, Link::Import(_) | Link::Lane);
            assert!(!shard.links.values().any(is_link), "seed {seed}");
            assert_eq!(shard.data.footprint.imports, 0, "seed {seed}");
            assert!(self.job.ranges.slots().all(|slot| !shard.data.store.is_hidden(slot)), "seed {seed}");
        }
        assert!(self.pipes.iter().all(|pipe| pipe.is_cut), "seed {seed}: a link stays");
    }

    fn compare(&mut self) {
        for db in 0..3 {
            let (here, there) = (self.source.connect(0, 900 + db), self.target.connect(0, 900 + db));
            for key in KEYS {
                for n in 0..4 {
                    let get = format!("SELECT {db}\r\nGET {key}{n}\r\n");
                    let (had, has) = (self.source.ask(here, &get), self.target.ask(there, &get));
                    assert_eq!(has, had, "seed {}: {key}{n} in {db}", self.seed);
                }
            }
        }
    }
}

const SIZES: [(u16, u16); 6] = [(2, 2), (2, 1), (3, 3), (4, 2), (8, 4), (8, 8)];

#[test]
fn every_shard_has_its_own_link_and_the_target_ends_with_what_the_source_has() {
    for seed in 0..60 {
        let sizes = SIZES[seed as usize % SIZES.len()];
        let mut pair = Pair::new(seed, sizes);
        pair.start();
        for _ in 0..pair.rng.below(1500) {
            if pair.rng.one_in(4) {
                pair.write();
            }
            pair.step();
        }
        pair.until("granted", |pair| pair.import() == Some(import::State::FailoverGranted));
        let lanes = Lanes::of(&pair.job.ranges, Shards::new(sizes.0)).expect("several shards");
        assert_eq!(pair.pipes.len(), 1 + lanes.all(&pair.job.ranges).len(), "seed {seed}");
        // Not one command went from shard to shard.
        assert!(pair.target.shards.iter().all(|shard| shard.importing().all(|i| i.has_no_parts())));
        pair.source.settle();
        pair.compare();
        pair.take_over();
        pair.assert_nothing_is_left();
    }
}

#[test]
fn a_link_that_breaks_fails_the_job_at_both_ends_unless_all_of_it_is_there() {
    let mut ways = BTreeSet::new();
    for seed in 0..240 {
        let mut pair = Pair::new(seed, SIZES[seed as usize % SIZES.len()]);
        pair.start();
        pair.until("dialed", |pair| !pair.pipes.is_empty());
        for _ in 0..pair.rng.below(3000) {
            if pair.rng.one_in(8) {
                pair.write();
            }
            pair.step();
        }
        let open: Vec<usize> = (0..pair.pipes.len()).filter(|index| !pair.pipes[*index].is_cut).collect();
        let granted = pair.export() == Some(export::State::FailoverGranted);
        let cut = open[pair.rng.index(open.len())];
        match pair.rng.below(5) {
            0 => {
                // Either end may hear of it first, and the other one later.
                pair.end(cut, true, true);
            }
            1 => {
                let near = pair.pipes[cut].near;
                let id = pair.source.shards[usize::from(near.shard().0)]
                    .data
                    .exports
                    .clients()
                    .find(|client| client.link == near)
                    .map(|client| client.id)
                    .expect("a link");
                let admin = pair.source.connect(0, 800);
                assert_eq!(pair.source.ask(admin, &format!("CLIENT KILL ID {id}\r\n")), ":1\r\n");
            }
            2 if pair.pipes[cut].far.is_some() => {
                // It may be on its way to another shard, or just have come.
                let id = pair.pipes[cut].id;
                let admin = pair.target.connect(0, 800);
                let reply = pair.target.ask(admin, &format!("CLIENT KILL ID {id}\r\n"));
                assert!(reply == ":1\r\n", "seed {seed}: {reply}");
            }
            3 => {
                let order = Order::StopExport { job: pair.job.name, failure: None };
                let home = pair.source.shards.iter().position(|s| s.data.exports.iter().next().is_some());
                pair.source.step(Whose::Shard(home.expect("a job")), Input::Mailed(order.into()));
            }
            _ => {
                let admin = pair.target.connect(0, 800);
                assert_eq!(pair.target.ask(admin, "FLUSHALL\r\n"), "+OK\r\n");
                let is_hit = pair.import() == Some(import::State::CleaningUp);
                if !is_hit {
                    continue;
                }
            }
        }
        pair.notice_ends();
        if granted {
            ways.insert("granted");
            // What the source granted it does not take back, whatever becomes of links.
            for _ in 0..3000 {
                pair.step();
            }
            assert_eq!(pair.export(), Some(export::State::FailoverGranted), "seed {seed}");
            continue;
        }
        pair.until("failed at the source", |pair| pair.export().is_none());
        pair.until("failed at the target", |pair| {
            pair.pipes[0].far.is_none() || matches!(pair.import(), Some(import::State::CleaningUp) | None)
        });
        ways.insert(if pair.pipes.len() > 1 { "lanes" } else { "before" });
        for _ in 0..500 {
            pair.step();
        }
        pair.clean_up();
        for shard in &pair.target.shards {
            let stays = |slot| shard.data.store.slot_len_all(slot) > 0;
            assert!(!pair.job.ranges.slots().any(stays), "seed {seed}: keys of a failed import");
        }
        pair.assert_nothing_is_left();
    }
    assert_eq!(ways.len(), 3, "{ways:?}");
}

#[test]
fn a_target_that_asks_for_the_pause_before_a_lane_brought_its_snapshot_fails_the_job() {
    let mut pair = Pair::new(5, (2, 2));
    pair.start();
    let walking = |pair: &Pair| {
        let walks = |shard: &Shard| shard.data.exports.branches().any(|b| !b.feed.has_arrived());
        pair.source.shards.iter().position(walks)
    };
    pair.until("a snapshot on its way", |pair| walking(pair).is_some());
    let (shard, job) = (walking(&pair).expect("a branch"), pair.job.name);
    let hold = Mail::Pass(Pass(Errand::Hold { job }));
    pair.source.step(Whose::Shard(shard), Input::Mailed(hold));
    pair.until("failed at the source", |pair| pair.export().is_none());
    assert_eq!(pair.source.outcomes, [Outcome::Failed(Failure::UnexpectedTransition)]);
    let is_held = |shard: &Shard| shard.data.holds.writes_held(None);
    pair.source.settle();
    assert!(!pair.source.shards.iter().any(is_held));
}

#[test]
fn a_lane_is_taken_once_and_only_where_and_while_its_job_is() {
    let mut pair = Pair::new(3, (4, 2));
    pair.start();
    pair.until("established", |pair| pair.pipes.len() > 2);
    let lane = |job: &str, shard: &str| {
        format!(
            "*7\r\n$7\r\nCLUSTER\r\n$9\r\nSYNCSLOTS\r\n$4\r\nLANE\r\n$4\r\nNAME\r\n$40\r\n{job}\r\n$5\r\nSHARD\r\n${}\r\n{shard}\r\n",
            shard.len()
        )
    };
    let job = pair.job.name.to_string();
    let lanes = Lanes::of(&pair.job.ranges, Shards::new(4)).expect("several shards");
    let main = lanes.main(&pair.job.ranges).expect("a first slot");
    let one = *lanes.all(&pair.job.ranges).iter().next().expect("a lane");
    let here = lanes.end(one, Shards::new(2)).0;
    let client = pair.target.connect(here, 700);
    for (words, why) in [
        (lane(&"0".repeat(40), "1"), "-ERR No such slot migration job\r\n"),
        (lane(&job, &main.0.to_string()), "-ERR No such lane of the slot migration job\r\n"),
        (lane(&job, "4"), "-ERR No such lane of the slot migration job\r\n"),
        (lane(&job, "-1"), "-ERR syntax error\r\n"),
        ("CLUSTER SYNCSLOTS LANE\r\n".into(), "-ERR syntax error\r\n"),
        ("CLUSTER SYNCSLOTS LANE NAME x SHARD 1\r\n".into(), "-ERR syntax error\r\n"),
        (
            format!("MULTI\r\n{}EXEC\r\n", lane(&job, &one.0.to_string())),
            "+OK\r\n+QUEUED\r\n*1\r\n-ERR No such lane of the slot migration job\r\n",
        ),
    ] {
        assert_eq!(pair.target.ask(client, &words), why, "{words}");
    }
    pair.until("all lanes there", |pair| {
        let landed: usize = pair.target.shards.iter().map(|shard| shard.landings.iter().count()).sum();
        landed == lanes.all(&pair.job.ranges).len()
    });
    let late = lane(&job, &one.0.to_string());
    assert_eq!(pair.target.ask(client, &late), "-ERR No such lane of the slot migration job\r\n");
    // CLIENT LIST shows them, at either end.
    let list = pair.target.ask(client, "CLIENT LIST\r\n");
    assert_eq!(list.matches("flags=i").count(), pair.pipes.len(), "{list}");
    let admin = pair.source.connect(0, 700);
    let list = pair.source.ask(admin, "CLIENT LIST\r\n");
    assert_eq!(list.matches("flags=E").count(), pair.pipes.len(), "{list}");
    pair.until("granted", |pair| pair.import() == Some(import::State::FailoverGranted));
    assert_eq!(pair.target.ask(client, &late), "-ERR No such lane of the slot migration job\r\n");
    pair.take_over();
    pair.assert_nothing_is_left();
    assert_eq!(pair.target.ask(client, &late), "-ERR No such slot migration job\r\n");
}

#[test]
fn who_did_not_offer_lanes_gets_none_and_who_does_not_fit_is_not_agreed_to() {
    for (sizes, offered) in [((3, 2), true), ((1, 2), false), ((2, 8), true)] {
        let mut pair = Pair::new(9, sizes);
        pair.start();
        pair.until("granted", |pair| pair.import() == Some(import::State::FailoverGranted));
        let greeting = &pair.greeting;
        assert_eq!(greeting.contains("$4\r\nCAPA\r\n$5\r\nlanes\r\n"), offered, "{sizes:?}: {greeting}");
        assert!(greeting.ends_with("\r\n") && greeting.matches("ESTABLISH").count() == 1);
        assert_eq!(pair.pipes.len(), 1, "{sizes:?}");
        pair.compare();
        pair.take_over();
        pair.assert_nothing_is_left();
    }
}
