//! Commands that are read into memory that the stream of a migration sends from.

use super::*;
use crate::rng::Rng;

impl Bench {
    /// What a driver does with bytes that came: reads them into whatever memory there is. How much went into the shard's own.
    fn read(&mut self, n: u64, mut bytes: &[u8]) -> usize {
        let mut lent = 0;
        while !bytes.is_empty() {
            let len = match self.shard.inbox(link(n)) {
                Some(inbox) => {
                    let len = inbox.len().min(bytes.len());
                    inbox[..len].copy_from_slice(&bytes[..len]);
                    self.shard.handle(self.now, Input::InboxFilled { link: link(n), len }, &mut self.out);
                    lent += len;
                    len
                }
                None => {
                    let len = bytes.len().min(64 * 1024);
                    let input = Input::Filled { link: link(n), bytes: &bytes[..len] };
                    self.shard.handle(self.now, input, &mut self.out);
                    len
                }
            };
            bytes = &bytes[len..];
        }
        lent
    }

    /// The first bytes of the stream, as many as the target takes.
    fn taken_of_stream(&mut self, most: usize) -> Vec<u8> {
        let target = LinkId::dialed(1);
        let outbox = self.shard.outbox(target).expect("a stream");
        let mut bytes: Vec<u8> = outbox.chunks().flatten().copied().collect();
        bytes.truncate(most);
        outbox.advance(bytes.len());
        self.shard.handle(self.now, Input::Drained { link: target }, &mut self.out);
        bytes
    }
}

/// What a client may say, most of it about the slot that moves.
fn commands(rng: &mut Rng, bytes: &mut String) {
    for _ in 0..rng.index(300) {
        let (key, len) = (rng.index(50), if rng.one_in(40) { rng.index(9000) } else { rng.index(700) });
        let value = "v".repeat(len);
        *bytes += &match rng.index(30) {
            0 => format!("GET {{x}}{key}\r\n"),
            1 => format!("*3\r\n$3\r\nSET\r\n$1\r\n{}\r\n${len}\r\n{value}\r\n", key % 10),
            2 => String::from("*2\r\n$4\r\nINCR\r\n$4\r\n{x}n\r\n"),
            3 => format!("*5\r\n$3\r\nSET\r\n$4\r\n{{x}}e\r\n${len}\r\n{value}\r\n$2\r\nEX\r\n$3\r\n100\r\n"),
            4 => format!("MULTI\r\nSET {{x}}{key} t\r\nDEL {{x}}n\r\nEXEC\r\n"),
            5 => format!("DEL {{x}}{key} {{x}}n\r\n"),
            _ => {
                let key = format!("{{x}}{key}");
                format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${len}\r\n{value}\r\n", key.len())
            }
        };
    }
}

#[test]
fn a_stream_does_not_depend_on_where_commands_were_read() {
    let mut lent = 0;
    for seed in 0..12 {
        let mut rng = Rng::new(seed);
        let mut benches = [Bench::in_cluster(None), Bench::in_cluster(None)];
        for bench in &mut benches {
            bench.start_export();
            bench.stream();
        }
        let (mut said, mut streams) = ([String::new(), String::new()], [Vec::new(), Vec::new()]);
        let mut unread = String::new();
        for _ in 0..40 {
            commands(&mut rng, &mut unread);
            let rest = unread.split_off(unread.len() - rng.index(unread.len().min(200) + 1));
            let most = if rng.one_in(3) { usize::MAX } else { rng.index(200_000) };
            for (n, bench) in benches.iter_mut().enumerate() {
                let copied = |piece: &[u8]| {
                    let input = Input::Filled { link: link(1), bytes: piece };
                    bench.shard.handle(bench.now, input, &mut bench.out);
                };
                match n {
                    0 => lent += bench.read(1, unread.as_bytes()),
                    _ => unread.as_bytes().chunks(64 * 1024).for_each(copied),
                }
                bench.pass(Span::ms(20));
                said[n] += &bench.said(1);
                streams[n].extend(bench.taken_of_stream(most));
            }
            assert_eq!(said[0], said[1], "seed {seed}");
            unread = rest;
        }
        for (bench, stream) in benches.iter_mut().zip(&mut streams) {
            stream.extend(bench.taken_of_stream(usize::MAX));
        }
        assert!(streams[0].len() > 100_000, "seed {seed}: {} bytes", streams[0].len());
        assert!(streams[0] == streams[1], "seed {seed}");
        assert!(benches[0].shard.inbox(link(2)).is_none(), "seed {seed}: memory for who has said nothing");
    }
    assert!(lent > 1024 * 1024, "only {lent} bytes were read into memory of the shard");
}

#[test]
fn the_memory_goes_with_the_job() {
    let mut bench = Bench::in_cluster(None);
    let job = bench.start_export();
    bench.stream();
    let set = format!("*3\r\n$3\r\nSET\r\n$4\r\n{{x}}k\r\n$512\r\n{}\r\n", "v".repeat(512)).repeat(100);
    let lent: Vec<usize> = (0..4).map(|_| bench.read(1, set.as_bytes())).collect();
    assert_eq!(lent, [0, set.len(), set.len(), set.len()]);
    assert!(bench.shard.inbox(link(1)).is_some());
    bench.order(Order::StopExport { job: job.name, failure: None });
    assert!(bench.shard.inbox(link(1)).is_none(), "nobody sends from it any more");
    assert_eq!(bench.read(1, set.as_bytes()), 0);
}
