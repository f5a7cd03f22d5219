//! Migrations whose link is slower than the writers of their slots.

use super::moving::REQUEST_PAUSE;
use super::*;

/// The link of a migration as its writers meet it.
struct Load {
    writers: u64,
    /// Bytes that the link takes in a millisecond …
    rate: usize,
    /// … in portions of so many: what a socket reports when it has room again.
    portion: usize,
}

/// What became of it.
#[derive(Debug)]
struct Course {
    /// When the pause began, if it did.
    paused_ms: Option<u64>,
    /// The longest that a writer waited for an answer before that.
    longest_ms: u64,
    writes: u64,
}

const VALUE: usize = 1000;

fn migrate_under(load: &Load, limit_ms: u64) -> Course {
    let mut bench = Bench::in_cluster(None);
    let first = 100;
    (0..load.writers).for_each(|w| bench.connect(first + w));
    let value = "v".repeat(VALUE);
    (0..2000).for_each(|n| drop(bench.feed(1, &format!("SET {{x}}old{n} {value}\r\n"))));
    bench.start_export();
    let local = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7000);
    bench.shard.handle(bench.now, Input::Connected { link: LinkId::dialed(1), local }, &mut bench.out);
    let mut waits: Vec<Option<u64>> = (0..load.writers).map(|_| None).collect();
    let mut course = Course { paused_ms: None, longest_ms: 0, writes: 0 };
    let (mut credit, mut agreed, mut tail) = (0, false, String::new());
    for ms in 0..limit_ms {
        credit = (credit + load.rate).min(load.portion.max(load.rate));
        let unsent = bench.shard.outbox(LinkId::dialed(1)).map_or(0, |outbox| outbox.len());
        if unsent > 0 && (credit >= load.portion || !agreed) {
            tail += &bench.taken(credit);
            credit = 0;
            if !agreed {
                bench.target("+OK\r\n");
                agreed = true;
            }
            if tail.contains("SNAPSHOT-EOF") {
                bench.target(REQUEST_PAUSE);
                tail.clear();
            }
            if tail.contains("\r\nPAUSED\r\n") {
                return Course { paused_ms: Some(ms), ..course };
            }
            tail = tail.split_off(tail.len().saturating_sub(40));
        }
        for (w, since) in waits.iter_mut().enumerate() {
            let w = first + w as u64;
            if since.is_none() || !bench.said(w).is_empty() {
                course.longest_ms = course.longest_ms.max(since.map_or(0, |since| ms - since));
                course.writes += 1;
                let command = format!("*3\r\n$3\r\nSET\r\n$6\r\n{{x}}new\r\n${VALUE}\r\n{value}\r\n");
                let input = Input::Filled { link: link(w), bytes: command.as_bytes() };
                bench.shard.handle(bench.now, input, &mut bench.out);
                *since = Some(ms);
            }
        }
        bench.out.list.clear();
        bench.out.mail.clear();
        bench.pass(Span::ms(1));
    }
    course
}

impl Bench {
    /// The socket takes so many bytes of the migration.
    fn taken(&mut self, most: usize) -> String {
        let Some(outbox) = self.shard.outbox(LinkId::dialed(1)) else { return String::new() };
        let mut bytes: Vec<u8> = outbox.chunks().flatten().copied().take(most).collect();
        bytes.truncate(most);
        outbox.advance(bytes.len());
        self.shard.handle(self.now, Input::Drained { link: LinkId::dialed(1) }, &mut self.out);
        String::from_utf8(bytes).expect("text")
    }
}

#[test]
fn many_writers_and_a_slow_link_come_to_an_end() {
    // With 10 ms for each write the writers make ten times what the link takes.
    let load = Load { writers: 200, rate: 2000, portion: 2000 };
    let course = migrate_under(&load, 20_000);
    assert!(course.paused_ms.is_some(), "{course:?}");
    assert!((50..=201).contains(&course.longest_ms), "{course:?}");
    assert!(course.writes > 1000, "they go on writing: {course:?}");
}

#[test]
fn a_link_that_reports_room_seldom_is_not_taken_for_dead() {
    let load = Load { writers: 50, rate: 1000, portion: 90_000 };
    let course = migrate_under(&load, 20_000);
    assert!(course.paused_ms.is_some() && course.longest_ms <= 201, "{course:?}");
}

#[test]
fn a_link_that_is_fast_enough_costs_no_writer_more_than_the_first_hold() {
    let load = Load { writers: 20, rate: 10_000, portion: 10_000 };
    let course = migrate_under(&load, 20_000);
    assert!(course.paused_ms.is_some() && course.longest_ms <= 21, "{course:?}");
}

#[test]
fn a_target_that_does_not_read_slows_nobody() {
    let load = Load { writers: 50, rate: 0, portion: 1 };
    let course = migrate_under(&load, 3_000);
    assert!(course.paused_ms.is_none() && course.longest_ms <= 1, "{course:?}");
}
