//! A migration of slots that are on several shards.

use super::*;
use crate::ids::{JobName, NodeId};
use crate::migration::failure::Failure;
use crate::migration::job::{Job, Settlement, Timing};
use crate::slots::SlotRange;

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
    match rng.below(6) {
        0 => format!("DEL {key}\r\n"),
        1 => format!("APPEND {key} x\r\n"),
        2 => format!("MSET {key} 1 {}0 2\r\n", &key[..3]),
        3 => format!("MULTI\r\nSET {key} 8\r\nAPPEND {}1 y\r\nEXEC\r\n", &key[..3]),
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
        let shards = [2, 3, 8][rng.below(3) as usize];
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
            assert!(!shard.data.exports.follow(None) && !shard.data.holds.writes_held(None), "seed {seed}");
        }
    }
}
