//! A shard without a cluster, driven by bytes.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

mod debugging;
mod executing;
mod lending;
mod memory;
mod moving;
mod operator;
mod pressing;
mod siblings;
mod stopping;
mod together;
mod usage;
mod watching;

use super::*;
use crate::action::{Action, Ending};
use crate::input::Origin;
use crate::mail::{Fact, Order};
use crate::shard::hold::{Class, Reason, Scope};
use crate::time::{Span, Wall};

struct Bench {
    shard: Shard,
    now: Now,
    out: Actions,
}

fn link(n: u64) -> LinkId {
    LinkId::accepted(n)
}

impl Bench {
    fn new(settings: &[(&str, &str)]) -> Self {
        let mut config = Config::default();
        let pairs: Vec<_> = settings.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
        if !pairs.is_empty() {
            config.set(&pairs, true).expect("settings of the test");
        }
        Self::of(config)
    }

    fn of(config: Config) -> Self {
        let now = Now { mono: Mono(1_000_000), wall: Wall(1_700_000_000_000_000) };
        Self { shard: Shard::new(Arc::new(config), View::alone(now), 7, now), now, out: Actions::default() }
    }

    fn connect(&mut self, n: u64) {
        let end = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7000);
        let origin = Origin::Tcp { peer: end, local: end };
        self.shard.handle(self.now, Input::Opened { link: link(n), origin }, &mut self.out);
    }

    fn feed(&mut self, n: u64, bytes: &str) -> String {
        self.shard.handle(self.now, Input::Filled { link: link(n), bytes: bytes.as_bytes() }, &mut self.out);
        self.said(n)
    }

    fn said(&mut self, n: u64) -> String {
        let Some(outbox) = self.shard.outbox(link(n)) else { return String::new() };
        let bytes: Vec<u8> = outbox.chunks().flatten().copied().collect();
        outbox.advance(bytes.len());
        String::from_utf8(bytes).expect("text")
    }

    fn pass(&mut self, span: Span) {
        self.now.mono = self.now.mono + span;
        self.now.wall.0 += span.0;
        self.shard.handle(self.now, Input::Ticked, &mut self.out);
    }
}

#[test]
fn pipelined_commands_are_answered_in_order() {
    let mut bench = Bench::new(&[]);
    bench.connect(1);
    let said = bench.feed(1, "PING\r\nSET k v\r\nGET k\r\nNOPE\r\n*1\r\n$4\r\nPI");
    let unknown = "-ERR unknown command 'NOPE', with args beginning with: \r\n";
    assert_eq!(said, format!("+PONG\r\n+OK\r\n$1\r\nv\r\n{unknown}"));
    assert_eq!(bench.feed(1, "NG\r\n"), "+PONG\r\n");
}

#[test]
fn who_asks_or_takes_its_answers_is_not_idle() {
    let mut bench = Bench::new(&[("timeout", "2")]);
    (1..=3).for_each(|n| bench.connect(n));
    for _ in 0..10 {
        bench.pass(Span::ms(1500));
        bench.feed(1, "PING\r\n");
        bench.shard.handle(bench.now, Input::Drained { link: link(2) }, &mut bench.out);
        bench.pass(Span::ms(200));
    }
    let closed = |n: u64| bench.out.list.contains(&Action::Close { link: link(n), ending: Ending::Abrupt });
    assert_eq!([1, 2, 3].map(closed), [false, false, true]);
}

#[test]
fn keys_past_their_time_are_deleted_in_slices_until_none_is_left() {
    let mut bench = Bench::new(&[]);
    bench.connect(1);
    for n in 0..5000 {
        assert_eq!(bench.feed(1, &format!("SET {n} v PX 50\r\n")), "+OK\r\n");
    }
    assert_eq!(bench.feed(1, "SET stays v\r\n"), "+OK\r\n");
    // One round comes, and everything else is announced work.
    bench.now.mono = bench.now.mono + Span::ms(100);
    bench.now.wall.0 += 100_000;
    let mut left = 5001;
    for slice in 0.. {
        let progress = bench.shard.handle(bench.now, Input::Ticked, &mut bench.out);
        let keys = bench.shard.data.store.len(0);
        assert!(left - keys <= 512 + 56, "{} keys in slice {slice}", left - keys);
        left = keys;
        if progress == Progress::Idle {
            break;
        }
    }
    assert_eq!(left, 1);
}

/// Commands that arrive together are looked at together; nobody may see a difference.
#[test]
fn a_pipeline_means_the_same_however_it_is_cut() {
    let script = "PING|AUTH wrong|AUTH secret|SET k v|GET k|get|NOPE x|MGET k k|CLIENT PAUSE 100 WRITE|GET k|SET k w|\
        MULTI|INCR n|GET|EXEC|MULTI|INCR n|GET k|EXEC|SELECT 3|SET k 3|GET k|SELECT 0|GET k|CLIENT REPLY SKIP|GET k|\
        CONFIG GET port|DEL a b c d e f g h i j k|RESET|PING|AUTH secret|RESET|DEL a b c d e f g h i j k|PING";
    let mut bytes = Vec::new();
    for line in script.split('|') {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        crate::wire::resp::encode_command(&mut bytes, &words);
    }
    let said = |pieces: &mut dyn FnMut(&mut Bench)| {
        let mut bench = Bench::new(&[("requirepass", "secret")]);
        bench.connect(1);
        pieces(&mut bench);
        bench.pass(Span::ms(101));
        bench.said(1)
    };
    let feed = |bench: &mut Bench, bytes: &[u8]| {
        bench.shard.handle(bench.now, Input::Filled { link: link(1), bytes }, &mut bench.out);
    };
    let whole = said(&mut |bench| feed(bench, &bytes));
    assert!(
        whole.ends_with("+RESET\r\n-ERR Protocol error: unauthenticated multibulk length\r\n"),
        "{whole}"
    );
    assert_eq!(said(&mut |bench| bytes.chunks(1).for_each(|byte| feed(bench, byte))), whole);
    for seed in 0..50 {
        let mut rng = Rng::new(seed);
        let cut = said(&mut |bench| {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (piece, more) = rest.split_at(1 + rng.index(rest.len()));
                feed(bench, piece);
                rest = more;
            }
        });
        assert_eq!(cut, whole, "seed {seed}");
    }
}

#[test]
fn a_transaction_runs_whole_or_not_at_all() {
    let mut bench = Bench::new(&[]);
    bench.connect(1);
    bench.connect(2);
    assert_eq!(
        bench.feed(1, "MULTI\r\nSET a 1\r\nINCR a\r\nDBSIZE\r\nCLIENT UNPAUSE\r\nEXEC\r\nPING\r\n"),
        "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*4\r\n+OK\r\n:2\r\n:1\r\n+OK\r\n+PONG\r\n"
    );
    let aborted = "-EXECABORT Transaction discarded because of previous errors.";
    assert_eq!(bench.feed(1, "MULTI\r\nNOPE\r\nEXEC\r\n").lines().last(), Some(aborted));
    assert_eq!(bench.feed(1, "WATCH a\r\n"), "+OK\r\n");
    bench.feed(2, "SET a 9\r\n");
    assert_eq!(bench.feed(1, "MULTI\r\nGET a\r\nEXEC\r\nGET a\r\n"), "+OK\r\n+QUEUED\r\n*-1\r\n$1\r\n9\r\n");
    assert_eq!(
        bench.feed(1, "EXEC\r\nDISCARD\r\n"),
        "-ERR EXEC without MULTI\r\n-ERR DISCARD without MULTI\r\n"
    );
}

#[test]
fn many_transactions_in_one_read_do_not_nest() {
    let mut bench = Bench::new(&[]);
    bench.connect(1);
    let said = bench.feed(1, &"MULTI\r\nINCR n\r\nEXEC\r\n".repeat(20_000));
    assert!(said.ends_with("*1\r\n:20000\r\n"));
}

#[test]
fn held_writes_wait_in_order_and_reads_pass() {
    let mut bench = Bench::new(&[]);
    bench.connect(1);
    bench.connect(2);
    assert_eq!(bench.feed(1, "CLIENT PAUSE 100 WRITE\r\n"), "+OK\r\n");
    assert_eq!(bench.feed(2, "GET k\r\nSET k 1\r\nINCR k\r\nGET k\r\n"), "$-1\r\n");
    assert_eq!(bench.feed(2, "PING\r\n"), "");
    assert_eq!(bench.feed(1, "GET k\r\n"), "$-1\r\n");
    bench.pass(Span::ms(50));
    assert_eq!(bench.said(2), "");
    bench.pass(Span::ms(51));
    assert_eq!(bench.said(2), "+OK\r\n:2\r\n$1\r\n2\r\n+PONG\r\n");
}

#[test]
fn a_client_that_asks_the_node_goes_on_after_the_answer() {
    let mut bench = Bench::new(&[]);
    bench.connect(1);
    bench.connect(2);
    let said = bench.feed(1, "MULTI\r\nSET a 1\r\nCONFIG SET maxclients 5\r\nGET a\r\nEXEC\r\nPING\r\n");
    assert_eq!(said.lines().last(), Some("+OK"));
    assert_eq!(bench.feed(2, "GET a\r\n"), "", "nothing runs in the middle of an EXEC");
    let asked = |m: &Mail| matches!(m, Mail::Fact(Fact::Asked(a)) if a.link == link(1));
    assert!(bench.out.mail.iter().any(|letter| asked(&letter.mail)));
    let order = Order::Answer { link: link(1), reply: "+DONE\r\n".into() };
    bench.shard.handle(bench.now, Input::Mailed(order.into()), &mut bench.out);
    assert_eq!(bench.said(1), "+DONE\r\n$1\r\n1\r\n+PONG\r\n");
    assert_eq!(bench.said(2), "$1\r\n1\r\n");
}

#[test]
fn an_exec_whose_last_command_runs_elsewhere_ends_with_it() {
    for last in ["CONFIG SET maxclients 5", "CONFIG RESETSTAT"] {
        let mut bench = Bench::new(&[]);
        bench.connect(1);
        bench.connect(2);
        bench.feed(1, &format!("MULTI\r\n{last}\r\nEXEC\r\n"));
        let order = Order::Answer { link: link(1), reply: "+DONE\r\n".into() };
        bench.shard.handle(bench.now, Input::Mailed(order.clone().into()), &mut bench.out);
        bench.feed(1, "CONFIG SET maxclients 6\r\n");
        assert_eq!(bench.feed(2, "GET a\r\n"), "$-1\r\n", "{last}: a command outside of EXEC holds nobody");
        bench.shard.handle(bench.now, Input::Mailed(order.into()), &mut bench.out);
        assert_eq!(bench.feed(2, "GET a\r\n"), "$-1\r\n", "{last}");
        assert!(bench.shard.exec_hold.is_none());
    }
}

#[test]
fn bytes_that_are_no_command_end_the_link_with_the_reason() {
    let mut bench = Bench::new(&[]);
    bench.connect(1);
    assert_eq!(bench.feed(1, "*1\r\n$04\r\n"), "-ERR Protocol error: invalid bulk length\r\n");
    assert!(bench.out.list.contains(&Action::Close { link: link(1), ending: Ending::Flushed }));
    assert_eq!(bench.feed(1, "PING\r\n"), "", "nothing is heard after that");
}

#[test]
fn clients_beyond_the_limit_are_told_so() {
    let mut bench = Bench::new(&[("maxclients", "1")]);
    bench.connect(1);
    bench.connect(2);
    assert_eq!(bench.said(2), "-ERR max number of clients reached\r\n");
    assert!(bench.out.list.contains(&Action::Close { link: link(2), ending: Ending::Flushed }));
}

#[test]
fn clients_from_outside_are_let_in_where_the_default_user_has_a_password() {
    let outside = SocketAddr::new(IpAddr::from([192, 0, 2, 7]), 7000);
    for (password, greeting) in [("", "-DENIED "), (">secret", "-NOAUTH ")] {
        let mut config = Config::default();
        config.users_mut().set(b"default", &[password.as_bytes()]).expect("a rule");
        let mut bench = Bench::of(config);
        let origin = Origin::Tcp { peer: outside, local: outside };
        bench.shard.handle(bench.now, Input::Opened { link: link(1), origin }, &mut bench.out);
        let said = bench.feed(1, "PING\r\n");
        assert!(said.starts_with(greeting), "{said}");
    }
}

#[test]
fn passwords_are_asked_for() {
    let mut bench = Bench::new(&[("requirepass", "secret")]);
    bench.connect(1);
    assert_eq!(bench.feed(1, "GET a\r\n"), "-NOAUTH Authentication required.\r\n");
    assert!(bench.feed(1, "AUTH wrong\r\n").starts_with("-WRONGPASS"));
    assert_eq!(bench.feed(1, "AUTH default secret\r\nGET a\r\n"), "+OK\r\n$-1\r\n");
    bench.connect(2);
    assert!(bench.feed(2, "HELLO 3\r\n").starts_with("-NOAUTH HELLO must be called"));
    let hello = bench.feed(2, "HELLO 3 AUTH default secret\r\n");
    assert!(hello.starts_with("%7\r\n$6\r\nserver\r\n$6\r\nvalkey\r\n"), "{hello}");
}

#[test]
fn silence_is_kept_when_asked_for() {
    let mut bench = Bench::new(&[]);
    bench.connect(1);
    let said = bench.feed(1, "CLIENT REPLY OFF\r\nPING\r\nDBSIZE\r\nCLIENT REPLY ON\r\nPING\r\n");
    assert_eq!(said, "+OK\r\n+PONG\r\n");
    assert_eq!(bench.feed(1, "CLIENT REPLY SKIP\r\nPING\r\nECHO x\r\n"), "$1\r\nx\r\n");
}

#[test]
fn a_client_may_kill_others_and_itself() {
    let mut bench = Bench::new(&[]);
    bench.connect(1);
    bench.connect(2);
    assert_eq!(bench.feed(1, "CLIENT KILL ID 2\r\n"), ":1\r\n");
    assert!(bench.out.list.contains(&Action::Close { link: link(2), ending: Ending::Abrupt }));
    assert_eq!(bench.feed(1, "CLIENT KILL ID 1 SKIPME no\r\nPING\r\n"), ":1\r\n");
    assert!(bench.out.list.contains(&Action::Close { link: link(1), ending: Ending::Flushed }));
}

#[test]
fn expired_keys_go_by_themselves() {
    let mut bench = Bench::new(&[]);
    bench.connect(1);
    for n in 0..100 {
        assert_eq!(bench.feed(1, &format!("SET key{n} v PX 50\r\n")), "+OK\r\n");
    }
    assert_eq!(bench.feed(1, "DBSIZE\r\n"), ":100\r\n");
    bench.pass(Span::ms(60));
    bench.pass(Span::ms(100));
    assert_eq!(bench.feed(1, "DBSIZE\r\n"), ":0\r\n");
}

#[test]
fn a_waiting_client_is_not_read_without_end() {
    let mut bench = Bench::new(&[]);
    bench.connect(1);
    bench.connect(2);
    bench.feed(1, "CLIENT PAUSE 1000 WRITE\r\n");
    bench.feed(2, "SET k v\r\n");
    bench.feed(2, &"PING\r\n".repeat(200_000));
    assert!(bench.out.list.contains(&Action::PauseReading { link: link(2) }));
    bench.feed(1, "CLIENT UNPAUSE\r\n");
    assert!(bench.out.list.contains(&Action::ResumeReading { link: link(2) }));
    assert_eq!(bench.said(2).matches("+PONG").count(), 200_000);
}
