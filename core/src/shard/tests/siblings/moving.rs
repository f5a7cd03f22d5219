//! A migration of slots that are on several shards.

use super::settling::send_away;
use super::*;
use crate::cluster;
use crate::cluster::takeover::{self, Confirmed};
use crate::ids::{JobName, NodeId};
use crate::migration::failure::Failure;
use crate::migration::import;
use crate::migration::job::{Job, Settlement, Timing};
use crate::slots::{SlotRange, SlotRanges};

const KEYS: [&str; 6] = ["{a}", "{b}", "{c}", "{d}", "{e}", "{f}"];

/// The target of an export: what the stream makes of an empty keyspace.
struct Target {
    link: LinkId,
    bench: Bench,
    said: String,
    paused: bool,
}

impl Target {
    /// Takes what is on the link and applies it; the lines of the migration itself.
    fn read(&mut self, process: &mut Process) -> String {
        self.said += &process.said(self.link);
        process.step(Whose::Shard(self.link.shard().0.into()), Input::Drained { link: self.link });
        let mut lines = String::new();
        let mut reader = crate::wire::resp::Reader::default();
        let text = core::mem::take(&mut self.said);
        let mut rest = text.as_bytes();
        let limits = crate::wire::resp::Limits::UNLIMITED;
        while let Ok(Some(argv)) = reader.next(&limits, &mut rest) {
            let words: Vec<&[u8]> = argv.iter().collect();
            if argv.name().eq_ignore_ascii_case(b"cluster") {
                lines += core::str::from_utf8(words.last().expect("a word")).expect("text");
                lines.push(' ');
                self.paused |= lines.ends_with("PAUSED ");
            } else {
                assert!(!self.paused, "{words:?} comes behind PAUSED");
                let mut bytes = Vec::new();
                crate::wire::resp::encode_command(&mut bytes, &words);
                let reply = self.bench.feed(1, core::str::from_utf8(&bytes).expect("text"));
                assert!(!reply.starts_with('-'), "{words:?}: {reply}");
            }
        }
        assert_eq!(reader.pending(), 0, "batches end with commands");
        lines
    }

    fn says(&self, process: &mut Process, text: &str) {
        process.feed(self.link, text.as_bytes());
    }
}

fn job() -> Arc<Job> {
    let mut rng = Rng::new(4);
    let ranges: SlotRanges = KEYS.iter().map(|key| SlotRange::one(Slot::of(key.as_bytes()))).collect();
    let (source, target) = (NodeId::random(&mut rng), NodeId::random(&mut rng));
    Arc::new(Job { name: JobName::random(&mut rng), source, target, ranges })
}

fn export(process: &mut Process, job: &Arc<Job>, home: u16) -> Target {
    let (to, timing) = (SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7001), Timing::default());
    let order = Order::StartExport { job: job.clone(), to: Some(to), credentials: None, timing };
    process.step(Whose::Shard(home.into()), Input::Mailed(order.into()));
    let link = LinkId::dialed(1).of(ShardIndex(home));
    process.step(Whose::Shard(home.into()), Input::Connected { link, local: to });
    let mut bench = Bench::new(&[]);
    bench.connect(1);
    Target { link, bench, said: String::new(), paused: false }
}

fn write(rng: &mut Rng) -> String {
    let key = format!("{}{}", KEYS[rng.below(6) as usize], rng.below(5));
    match rng.below(7) {
        0 => format!("DEL {key}\r\n"),
        1 => format!("APPEND {key} x\r\n"),
        2 => format!("MSET {key} 1 {}0 2\r\n", &key[..3]),
        3 => format!("MULTI\r\nSET {key} 8\r\nAPPEND {}1 y\r\nEXEC\r\n", &key[..3]),
        // It stops all shards, and writes again when they have been asked.
        4 => format!("MULTI\r\nSET {key} 9\r\nDBSIZE\r\nAPPEND {key} z\r\nEXEC\r\n"),
        _ => format!("SET {key} {}\r\n", rng.below(1000)),
    }
}

/// What every key of the job is at the source and at the target.
fn compare(process: &mut Process, client: LinkId, target: &mut Target, seed: u64) {
    for key in KEYS {
        for n in 0..5 {
            let get = format!("GET {key}{n}\r\n");
            assert_eq!(target.bench.feed(1, &get), process.ask(client, &get), "seed {seed}, {key}{n}");
        }
    }
}

#[test]
fn the_stream_of_all_shards_ends_with_what_the_source_has() {
    for seed in 0..120 {
        let mut rng = Rng::new(seed);
        let shards = [2, 4, 8][rng.below(3) as usize];
        let mut process = Process::new(shards, seed);
        let home = rng.below(shards.into()) as u16;
        let clients: Vec<_> = (0..4).map(|n| process.connect(n % shards, 10 + u64::from(n))).collect();
        for _ in 0..30 {
            let text = write(&mut rng);
            process.ask(clients[0], &text);
        }
        let job = job();
        let mut target = export(&mut process, &job, home);
        assert!(
            target
                .read(&mut process)
                .contains(&format!("{}", KEYS.map(|k| Slot::of(k.as_bytes()).number())[5]))
        );
        target.says(&mut process, "+OK\r\n");
        let mut heard = String::new();
        for _ in 0..400 {
            match rng.below(5) {
                0 => heard += &target.read(&mut process),
                1 => {
                    let n = rng.below(u64::from(shards)) as usize;
                    process.now.mono = process.now.mono + Span(300);
                    process.step(Whose::Shard(n), Input::Ticked);
                }
                2 => {
                    let (client, text) = (clients[rng.below(4) as usize], write(&mut rng));
                    process.feed(client, text.as_bytes());
                }
                _ => {
                    process.deliver();
                }
            }
            if heard.contains("SNAPSHOT-EOF") && !heard.contains("asked") && rng.below(20) == 0 {
                target
                    .says(&mut process, "*3\r\n$7\r\nCLUSTER\r\n$9\r\nSYNCSLOTS\r\n$13\r\nREQUEST-PAUSE\r\n");
                heard += "asked ";
            }
        }
        if !heard.contains("asked") {
            while !heard.contains("SNAPSHOT-EOF") {
                process.pass(Span::ms(1));
                heard += &target.read(&mut process);
            }
            target.says(&mut process, "*3\r\n$7\r\nCLUSTER\r\n$9\r\nSYNCSLOTS\r\n$13\r\nREQUEST-PAUSE\r\n");
        }
        for _ in 0..100 {
            process.pass(Span::ms(1));
            heard += &target.read(&mut process);
        }
        assert!(heard.ends_with("PAUSED ") || heard.contains("PAUSED ACK"), "seed {seed}: {heard}");
        clients.iter().for_each(|client| drop(process.said(*client)));
        for shard in 0..shards {
            let any = process.connect(shard, 150);
            let info = process.ask(any, "INFO clients\r\n");
            assert!(
                info.contains("paused_reason:slot_migration_in_progress"),
                "seed {seed}, {shard}: {info}"
            );
        }
        // Writes wait, in every shard; reads do not.
        let reader = process.connect(0, 99);
        compare(&mut process, reader, &mut target, seed);
        let writer = process.connect(1, 98);
        for key in KEYS {
            let writer = process.connect(1, 200 + u64::from(key.as_bytes()[1]));
            assert_eq!(process.ask(writer, &format!("SET {key}0 late\r\n")), "", "seed {seed}");
        }
        assert_eq!(process.ask(writer, "SET {x} free\r\n"), "+OK\r\n");
        if seed % 2 == 0 {
            let order = Order::StopExport { job: job.name, failure: Some(Failure::DataFlushed) };
            process.step(Whose::Shard(home.into()), Input::Mailed(order.into()));
            process.settle();
            let writer = LinkId::accepted(200 + u64::from(b'a')).of(ShardIndex(1));
            assert_eq!(process.said(writer), "+OK\r\n", "seed {seed}");
        } else {
            for shard in 0..usize::from(shards) {
                let settled = Order::Settled { job: job.name, settlement: Settlement::OwnedByTarget };
                process.step(Whose::Shard(shard), Input::Mailed(settled.into()));
            }
            process.settle();
        }
        for shard in &process.shards {
            assert!(
                shard.data.exports.iter().next().is_none() && shard.data.exports.branches().next().is_none()
            );
            assert!(
                !shard.data.exports.follow(None).is_any() && !shard.data.holds.writes_held(None),
                "seed {seed}"
            );
        }
    }
}

/// Counts in six keys on several shards, one after the other, behind a tag of its own.
fn count(client: usize, n: u64) -> String {
    format!("SET {}:{client} {n}\r\n", KEYS[(n % 6) as usize])
}

#[test]
fn of_a_clients_writes_on_several_shards_the_target_never_has_only_the_later_one() {
    let (mut seen, mut moves) = (0, 0);
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let shards = [2, 3, 8][rng.below(3) as usize];
        let mut process = Process::new(shards, seed);
        let clients: Vec<_> =
            (0..3).map(|n| process.connect(rng.below(shards.into()) as u16, 10 + n)).collect();
        let job = job();
        let mut target = export(&mut process, &job, rng.below(shards.into()) as u16);
        target.read(&mut process);
        target.says(&mut process, "+OK\r\n");
        let mut heard = String::new();
        while !heard.contains("SNAPSHOT-EOF") {
            process.pass(Span::ms(1));
            heard += &target.read(&mut process);
        }
        let mut counts = [0; 3];
        for _ in 0..600 {
            match rng.below(6) {
                0 => {
                    process.now.mono = process.now.mono + Span(500);
                    let n = rng.below(shards.into()) as usize;
                    process.step(Whose::Shard(n), Input::Ticked);
                }
                1 => {
                    let n = rng.below(3) as usize;
                    let texts: String =
                        (counts[n]..).take(1 + rng.below(3) as usize).map(|i| count(n, i)).collect();
                    counts[n] += texts.lines().count() as u64;
                    process.feed(clients[n], texts.as_bytes());
                }
                2 => drop(target.read(&mut process)),
                // To where its next key is, so that only the move brings with it what was written before.
                3 if seed % 2 == 0 => {
                    let n = rng.index(3);
                    let next = Slot::of(KEYS[(counts[n] % 6) as usize].as_bytes()).number() % shards;
                    let home = process.link_of(clients[n]).map_or(next, |link| link.shard().0);
                    let by = (next + shards - home) % shards;
                    moves += u32::from(by > 0 && send_away(&mut process, clients[n], by));
                }
                _ => drop(process.deliver()),
            }
            for client in 0..3 {
                let get = |key| format!("GET {key}:{client}\r\n");
                let last = |reply: String| reply.lines().nth(1).and_then(|line| line.parse::<u64>().ok());
                let values = KEYS.map(|key| last(target.bench.feed(1, &get(key))));
                let Some(latest) = values.iter().flatten().max().copied() else { continue };
                for n in latest.saturating_sub(5)..=latest {
                    assert_eq!(
                        values[(n % 6) as usize],
                        Some(n),
                        "INV-CAUSAL, seed {seed}: {latest} is there, {values:?}"
                    );
                }
                seen = latest.max(seen);
            }
        }
    }
    assert!(seen > 20 && moves > 30, "the clients got somewhere: {seen}, {moves}");
}

/// The words of a migration's stream.
fn stream(words: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    crate::wire::resp::encode_command(&mut bytes, &words);
    bytes
}

/// A target in the middle of a stream, and what a single keyspace makes of the same.
fn import(process: &mut Process, job: &Arc<Job>, home: u16, left: Option<Confirmed>) -> (LinkId, Bench) {
    let link = process.connect(home, 50);
    let order = Order::StartImport { link, job: job.clone(), timing: Timing::default(), left };
    process.step(Whose::Shard(home.into()), Input::Mailed(order.into()));
    process.feed(link, &stream(&["CLUSTER", "SYNCSLOTS", "ACK"]));
    let mut model = Bench::new(&[]);
    model.connect(1);
    (link, model)
}

#[test]
fn an_import_asks_for_the_grant_when_every_shard_has_applied_what_came() {
    for seed in 0..100 {
        let mut rng = Rng::new(seed);
        let shards = [2, 4, 8][rng.below(3) as usize];
        let mut process = Process::new(shards, seed);
        let job = job();
        let (link, mut model) = import(&mut process, &job, rng.below(shards.into()) as u16, None);
        for _ in 0..200 {
            let key = format!("{}{}", KEYS[rng.below(6) as usize], rng.below(5));
            let value = format!("{}", rng.below(100));
            let words: Vec<&str> = match rng.below(4) {
                0 => vec!["UNLINK", &key],
                1 => vec!["APPEND", &key, &value],
                _ => vec!["SET", &key, &value],
            };
            process.feed(link, &stream(&words));
            model.feed(1, core::str::from_utf8(&stream(&words)).expect("text"));
            for _ in 0..rng.below(3) {
                process.deliver();
            }
        }
        process.feed(link, &stream(&["CLUSTER", "SYNCSLOTS", "SNAPSHOT-EOF"]));
        for key in KEYS {
            process.feed(link, &stream(&["APPEND", key, "!"]));
            model.feed(1, &format!("APPEND {key} !\r\n"));
        }
        process.feed(link, &stream(&["CLUSTER", "SYNCSLOTS", "PAUSED"]));
        let asked = |process: &mut Process| process.said(link).contains("REQUEST-FAILOVER");
        assert!(!asked(&mut process), "seed {seed}: a sibling has not heard of the last write");
        process.settle();
        assert!(asked(&mut process), "seed {seed}");
        let hidden = |process: &Process| -> usize {
            let store = |shard: &Shard| job.ranges.slots().filter(|s| shard.data.store.is_hidden(*s)).count();
            process.shards.iter().map(store).max().unwrap_or(0)
        };
        assert_eq!(hidden(&process), 6);
        process.feed(link, &stream(&["CLUSTER", "SYNCSLOTS", "FAILOVER-GRANTED"]));
        process.settle();
        for shard in 0..usize::from(shards) {
            process.step(Whose::Shard(shard), Input::Mailed(Order::TakenOver { job: job.name }.into()));
        }
        assert_eq!(hidden(&process), 0);
        let reader = process.connect(0, 99);
        for key in KEYS {
            for n in ["", "0", "1", "2", "3", "4"] {
                let get = format!("GET {key}{n}\r\n");
                assert_eq!(process.ask(reader, &get), model.feed(1, &get), "seed {seed}, {key}{n}");
            }
        }
        assert!(
            process.shards.iter().all(|shard| shard.grafts.is_empty() && shard.importing().next().is_none())
        );
    }
}

#[test]
fn an_import_that_fails_in_one_shard_leaves_nothing_in_any() {
    for seed in 0..40 {
        let mut process = Process::new(4, seed);
        let job = job();
        let confirmed = || {
            let mut now = process.now;
            let cluster = super::super::moving::alone(&mut now, None);
            takeover::confirm_failed_import(&cluster, &job.ranges)
        };
        assert!(confirmed().is_none(), "who owns the slots keeps the keys");
        let nobody = cluster::Cluster::new(cluster::ClusterConfig::default(), 1, process.now, None);
        let confirmed = takeover::confirm_failed_import(&nobody.expect("a node"), &job.ranges);
        let before = process.connect(0, 98);
        for key in KEYS {
            process.ask(before, &format!("SET {key}old v\r\n"));
        }
        let (link, _) = import(&mut process, &job, (seed % 4) as u16, confirmed.clone());
        for key in KEYS {
            process.feed(link, &stream(&["SET", &format!("{key}new"), "v"]));
        }
        process.feed(link, &stream(&["INCR", &format!("{}new", KEYS[(seed % 6) as usize])]));
        process.settle();
        for shard in 0..4 {
            let is_part = job.ranges.slots().any(|slot| usize::from(slot.number()) % 4 == shard);
            let grafts = usize::from(is_part && shard as u64 != seed % 4);
            assert_eq!(process.shards[shard].grafts.len(), grafts, "seed {seed}");
        }
        let order = Order::CleanUp { job: job.name, confirmed };
        process.step(Whose::Shard(link.shard().0.into()), Input::Mailed(order.into()));
        process.settle();
        for shard in &process.shards {
            assert!(shard.grafts.is_empty() && shard.importing().next().is_none(), "seed {seed}");
            assert!(job.ranges.slots().all(|slot| shard.data.store.slot_len_all(slot) == 0), "seed {seed}");
            assert!(job.ranges.slots().all(|slot| !shard.data.store.is_hidden(slot)), "seed {seed}");
        }
    }
}

/// An import whose only keys are at siblings is flushed as with one shard: it fails, unless it is taking over.
#[test]
fn a_flush_ends_an_import_whose_keys_are_at_siblings() {
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let shards = [2, 3, 4][rng.below(3) as usize];
        let mut process = Process::new(shards, seed);
        let job = job();
        let home = rng.below(shards.into()) as u16;
        let elsewhere = |key: &&&str| Slot::of(key.as_bytes()).number() % shards != home;
        let Some(key) = KEYS.iter().filter(elsewhere).nth(rng.index(3)) else { continue };
        let client = process.connect(rng.below(shards.into()) as u16, 99);
        process.ask(client, "SET {y}own 1\r\n");
        let (link, _) = import(&mut process, &job, home, None);
        process.feed(link, &stream(&["SET", key, "v"]));
        process.feed(link, &stream(&["CLUSTER", "SYNCSLOTS", "SNAPSHOT-EOF"]));
        process.feed(link, &stream(&["CLUSTER", "SYNCSLOTS", "PAUSED"]));
        process.settle();
        let granted = rng.one_in(2);
        if granted {
            process.feed(link, &stream(&["CLUSTER", "SYNCSLOTS", "FAILOVER-GRANTED"]));
        }
        let slot = Slot::of(key.as_bytes());
        let (flush, empty) = [
            ("FLUSHALL".into(), true),
            ("FLUSHDB ASYNC".into(), true),
            (format!("CLUSTER FLUSHSLOT {slot}"), false),
        ][rng.index(3)]
        .clone();
        assert_eq!(process.ask(client, &format!("{flush}\r\n")), "+OK\r\n", "seed {seed}");
        let state = process.shards[usize::from(home)].importing().next().map(|i| i.import.state());
        let expected = if granted { import::State::FailoverGranted } else { import::State::CleaningUp };
        assert_eq!(state, Some(expected), "seed {seed}: {flush}");
        if granted {
            for shard in 0..usize::from(shards) {
                process.step(Whose::Shard(shard), Input::Mailed(Order::TakenOver { job: job.name }.into()));
            }
        }
        let left = u32::from(granted) + u32::from(!empty);
        assert_eq!(process.ask(client, "DBSIZE\r\n"), format!(":{left}\r\n"), "seed {seed}: {flush}");
    }
}
