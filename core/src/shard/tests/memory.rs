//! Limits of memory: which keys go, who is refused, which clients are closed.

use super::*;
use crate::migration::job::Timing;
use crate::shard::eviction::Room;
use crate::slots::Slot;

const OOM: &str = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";

impl Bench {
    fn configure(&mut self, settings: &[(&str, &str)]) {
        let mut config = (*self.shard.env.config).clone();
        let pairs: Vec<_> = settings.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
        config.set(&pairs, true).expect("settings of the test");
        let order = Order::Configure(Arc::new(config), Timing::default());
        self.shard.handle(self.now, Input::Mailed(order.into()), &mut self.out);
    }

    /// Sets `maxmemory` so that `more` bytes are free, or are missing if it is negative.
    fn limit(&mut self, more: i64, settings: &[(&str, &str)]) {
        let used = self.shard.data.counted_memory();
        let limit = format!("{}", used.saturating_add_signed(more).max(1));
        let mut all = alloc::vec![("maxmemory", limit.as_str())];
        all.extend_from_slice(settings);
        self.configure(&all);
    }

    fn keys(&self) -> u64 {
        self.shard.data.store.len(0)
    }

    fn has(&self, key: &str) -> bool {
        let store = &self.shard.data.store;
        store.get(&store.at(0, key.as_bytes())).is_some()
    }

    fn info(&mut self, field: &str) -> u64 {
        let text = self.feed(1, "INFO\r\n");
        self.shard.handle(self.now, Input::Drained { link: link(1) }, &mut self.out);
        let line = text.lines().find_map(|l| l.strip_prefix(field)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {field}")).parse().expect("a number")
    }

    /// Turns until nothing is left to do.
    fn settle(&mut self) {
        while self.shard.data.eviction.is_running() {
            self.pass(Span::ms(1));
        }
    }
}

/// 400 keys: every other one expires, those with greater numbers later; numbers from 200 on were used again 10 s later,
/// and often.
fn filled(settings: &[(&str, &str)]) -> Bench {
    let mut bench = Bench::new(settings);
    bench.connect(1);
    for n in 0..400 {
        let expiry = if n % 2 == 0 { format!(" EX {}", 1000 + n) } else { String::new() };
        bench.feed(1, &format!("SET key{n} {}{expiry}\r\n", "v".repeat(40)));
    }
    bench.pass(Span::secs(10));
    for _ in 0..5 {
        for n in 200..400 {
            bench.feed(1, &format!("GET key{n}\r\n"));
        }
    }
    bench
}

#[test]
fn each_policy_evicts_from_its_set_and_the_right_end_of_it() {
    for (policy, volatile, ordered) in [
        ("allkeys-lru", false, true),
        ("allkeys-lfu", false, true),
        ("allkeys-random", false, false),
        ("volatile-lru", true, true),
        ("volatile-lfu", true, true),
        ("volatile-random", true, false),
        ("volatile-ttl", true, true),
    ] {
        let mut bench = filled(&[("maxmemory-policy", policy), ("lfu-log-factor", "0")]);
        bench.limit(-4_500, &[]);
        bench.settle();
        let evicted: Vec<u32> = (0..400).filter(|n| !bench.has(&format!("key{n}"))).collect();
        assert!(evicted.len() > 30, "{policy}: {}", evicted.len());
        assert_eq!(bench.info("evicted_keys"), evicted.len() as u64, "{policy}");
        assert!(bench.info("used_memory") <= bench.info("maxmemory") + 4096, "{policy}");
        assert!(!volatile || evicted.iter().all(|n| n % 2 == 0), "{policy}: {evicted:?}");
        let wrong = evicted.iter().filter(|&&n| n >= 200).count();
        assert!(!ordered || wrong * 20 <= evicted.len(), "{policy}: {wrong} of {}", evicted.len());
        assert!(ordered || wrong > 5, "{policy}: {wrong}");
        // As much room as was made is there for as many keys.
        for n in 0..300 {
            assert_eq!(bench.feed(1, &format!("SET new{n} 1 EX 9999\r\n")), "+OK\r\n", "{policy}");
        }
        assert!(bench.info("used_memory") <= bench.info("maxmemory") + 4096, "{policy}");
    }
}

#[test]
fn what_needs_memory_is_refused_when_nothing_can_go() {
    for (policy, all_volatile) in [("noeviction", true), ("volatile-lru", false), ("volatile-ttl", false)] {
        let mut bench = Bench::new(&[("maxmemory-policy", policy)]);
        bench.connect(1);
        bench.connect(2);
        let expiry = if all_volatile { "EX 1000" } else { "" };
        bench.feed(1, &format!("SET key value {expiry}\r\n"));
        bench.feed(1, "MULTI\r\nSET a 1\r\n");
        bench.limit(-1, &[]);
        for (line, reply) in [
            ("SET other value", OOM),
            ("APPEND key x", OOM),
            ("GET key", "$5\r\nvalue\r\n"),
            ("STRLEN key", ":5\r\n"),
            ("PING", "+PONG\r\n"),
            ("MULTI", "+OK\r\n"),
            ("GET key", "+QUEUED\r\n"),
            ("EXEC", "*1\r\n$5\r\nvalue\r\n"),
            ("MULTI", "+OK\r\n"),
            ("SET other value", OOM),
            ("EXEC", "-EXECABORT Transaction discarded because of previous errors.\r\n"),
        ] {
            assert_eq!(bench.feed(2, &format!("{line}\r\n")), reply, "{policy}: {line}");
        }
        let aborted = format!("-EXECABORT Transaction discarded because of: {}", &OOM[1..]);
        assert_eq!(bench.feed(1, "EXEC\r\n"), aborted, "{policy}");
        bench.pass(Span::ms(700));
        assert_eq!(bench.info("current_eviction_exceeded_time"), 700, "{policy}");
        bench.pass(Span::ms(300));
        bench.limit(100_000, &[]);
        assert_eq!(bench.feed(2, "SET key 1\r\n"), "+OK\r\n", "{policy}");
        assert_eq!(bench.info("current_eviction_exceeded_time"), 0, "{policy}");
        assert_eq!(bench.info("total_eviction_exceeded_time"), 1000, "{policy}");
        assert_eq!(bench.info("evicted_keys"), 0, "{policy}");
        assert!(bench.feed(1, "INFO\r\n").contains("errorstat_OOM:count="), "{policy}");
        bench.feed(1, "CONFIG RESETSTAT\r\n");
        assert_eq!(bench.info("total_eviction_exceeded_time"), 0, "{policy}");
    }
}

#[test]
fn keys_of_slots_that_are_imported_are_never_evicted() {
    for policy in ["allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-random", "volatile-ttl"] {
        for seed in 0..5 {
            let mut rng = Rng::new(seed);
            let mut bench = Bench::in_cluster(None);
            bench.configure(&[("maxmemory-policy", policy)]);
            for n in 0..200 {
                let tag = ["x", "y", "z"][rng.index(3)];
                bench.feed(1, &format!("SET {{{tag}}}{n} value EX 1000\r\n"));
            }
            // Candidates are remembered from before the slot was hidden.
            bench.limit(-1_000, &[]);
            bench.settle();
            let hidden = Slot::of(b"{x}");
            let before = bench.shard.data.store.slot_len_all(hidden);
            bench.shard.data.store.hide(hidden);
            bench.limit(-1_000_000_000, &[]);
            bench.settle();
            assert_eq!(bench.keys(), 0, "{policy} {seed}: all others go");
            assert_eq!(bench.shard.data.store.slot_len_all(hidden), before, "{policy} {seed}");
            assert_eq!(bench.feed(1, "SET {y}a 1\r\n"), OOM, "{policy} {seed}: there is nothing left");
        }
    }
}

#[test]
fn nothing_is_evicted_from_slots_whose_writes_are_held() {
    for policy in ["allkeys-lru", "allkeys-random"] {
        let mut bench = Bench::in_cluster(None);
        bench.configure(&[("maxmemory-policy", policy)]);
        for n in 0..100 {
            bench.feed(1, &format!("SET {{x}}{n} value\r\nSET {{y}}{n} value\r\n"));
        }
        bench.feed(1, "CLIENT PAUSE 100 WRITE\r\n");
        bench.limit(-1_000_000_000, &[]);
        bench.settle();
        assert_eq!(bench.keys(), 200, "{policy}: all are paused");
        bench.feed(1, "CLIENT UNPAUSE\r\n");
        let slots = [Slot::of(b"{x}")].into_iter().collect();
        let holds = &mut bench.shard.data.holds;
        let hold = holds.begin(Scope::Slots(Arc::new(slots)), Class::Writes, Reason::Migration, None);
        bench.pass(Span::ms(100));
        bench.settle();
        assert_eq!(bench.shard.data.store.slot_len_all(Slot::of(b"{x}")), 100, "{policy}");
        assert!(bench.keys() < 120, "{policy}: most of the others go");
        assert_eq!(bench.feed(1, "SET {y}a 1\r\n"), "+OK\r\n", "{policy}: as in Valkey while it is paused");
        bench.shard.data.holds.end(hold);
        bench.pass(Span::ms(100));
        bench.settle();
        assert_eq!(bench.keys(), 0, "{policy}");
    }
}

#[test]
fn evictions_are_told_to_the_target_of_a_migration() {
    for (lazy, word) in [("yes", "UNLINK"), ("no", "DEL")] {
        let mut bench = Bench::in_cluster(None);
        bench.configure(&[("maxmemory-policy", "allkeys-lru"), ("lazyfree-lazy-eviction", lazy)]);
        bench.feed(1, "SET {x}k 1\r\n");
        bench.start_export();
        assert!(bench.stream().contains("SET {x}k 1"));
        bench.limit(-1_000_000_000, &[]);
        bench.settle();
        assert_eq!(bench.sent(), format!("SELECT 0\n{word} {{x}}k\n"));
    }
}

#[test]
fn an_import_without_room_fails_and_says_why() {
    let mut bench = Bench::in_cluster(Some(Slot::of(b"{x}")));
    bench.start_import();
    bench.limit(-1, &[]);
    bench.feed(2, "*3\r\n$3\r\nSET\r\n$4\r\n{x}k\r\n$1\r\n1\r\n");
    let ended = |m: &Mail| match m {
        Mail::Fact(Fact::Ended { outcome, .. }) => Some(format!("{outcome:?}")),
        _ => None,
    };
    bench.pass(Span::ms(1));
    let entered = bench.out.mail.iter().any(|m| matches!(&m.mail, Mail::Fact(Fact::CleanUp { .. })));
    let outcomes: Vec<_> = bench.out.mail.iter().filter_map(|letter| ended(&letter.mail)).collect();
    assert!(entered || outcomes.iter().any(|o| o.contains("OutOfMemory")), "{outcomes:?}");
}

#[test]
fn a_turn_evicts_only_so_much_and_the_next_ones_the_rest() {
    for (tenacity, least, most) in [("0", 16, 17), ("10", 250, 300), ("100", 700, 900)] {
        let mut bench =
            Bench::new(&[("maxmemory-policy", "allkeys-lru"), ("maxmemory-eviction-tenacity", tenacity)]);
        bench.connect(1);
        for n in 0..5000 {
            bench.feed(1, &format!("SET key{n} value\r\n"));
        }
        bench.limit(0, &[]);
        bench.settle();
        bench.limit(-100_000, &[]);
        let now = bench.now;
        assert_eq!(bench.shard.data.make_room(now, 0), Room::Soon);
        let first = 5000 - bench.keys();
        assert!((least..=most).contains(&first), "{tenacity}: {first}");
        bench.feed(1, &"GET nope\r\n".repeat(100));
        assert!(5000 - bench.keys() <= first + 20, "{tenacity}: only for their replies");
        assert_eq!(bench.feed(1, "SET one 1\r\n"), "+OK\r\n");
        bench.settle();
        let used = bench.shard.data.counted_memory();
        assert!(used <= bench.shard.env.config.maxmemory, "{tenacity}: {used}");
    }
}

#[test]
fn keys_go_in_the_order_in_which_they_were_put_under_steady_load() {
    let mut bench = Bench::new(&[("maxmemory-policy", "allkeys-lru"), ("maxmemory-samples", "10")]);
    bench.connect(1);
    bench.limit(200_000, &[]);
    let mut put = 0;
    for _ in 0..60 {
        let batch: String = (put..put + 200).map(|n| format!("SET key{n} {}\r\n", "v".repeat(30))).collect();
        assert_eq!(bench.feed(1, &batch).matches("+OK").count(), 200);
        put += 200;
        bench.pass(Span::secs(1));
        let used = bench.shard.data.counted_memory();
        assert!(used <= bench.shard.env.config.maxmemory + 4096, "a pipeline stays below: {used}");
    }
    let there = bench.keys();
    let recent = (put - there..put).filter(|n| bench.has(&format!("key{n}"))).count() as u64;
    assert!(recent * 100 > there * 85, "{recent} of {there}");
}

#[test]
fn the_largest_clients_go_first_and_those_that_ask_for_it_are_spared() {
    let mut bench = Bench::new(&[("maxmemory-clients", "2200kb")]);
    for n in 1..=6 {
        bench.connect(n);
    }
    bench.feed(5, "CLIENT NO-EVICT ON\r\n");
    // An unfinished command each, for which twice the memory is made.
    for (n, len) in [(2, 250), (3, 200), (4, 300), (5, 310)] {
        let head = format!("*2\r\n$4\r\nECHO\r\n$600000\r\n{}", "x".repeat(len * 1000));
        bench.feed(n, &head);
    }
    let closed = |bench: &Bench| -> Vec<u64> {
        let close = |n: &u64| Action::Close { link: link(*n), ending: Ending::Abrupt };
        (1..=6).filter(|n| bench.out.list.contains(&close(n))).collect()
    };
    assert!(closed(&bench).is_empty());
    bench.feed(6, &format!("*2\r\n$4\r\nECHO\r\n$600000\r\n{}", "x".repeat(150_000)));
    assert_eq!(closed(&bench), [4]);
    assert_eq!(bench.info("evicted_clients"), 1);
    bench.configure(&[("maxmemory-clients", "10%"), ("maxmemory", "12mb")]);
    assert_eq!(closed(&bench), [2, 3, 4], "at once");
    bench.configure(&[("maxmemory-clients", "1")]);
    assert_eq!(closed(&bench), [1, 2, 3, 4, 6], "128 KB at least, and all that may be closed do not suffice");
    assert_eq!(bench.shard.data.footprint.clients, {
        let sessions = bench.shard.links.values().map(|l| match l {
            Link::Client(session) => session.client.share.total,
            _ => 0,
        });
        sessions.sum::<u64>()
    });
}

#[test]
fn who_does_not_read_is_closed_in_the_middle_of_a_pipeline() {
    let mut bench = Bench::new(&[("client-output-buffer-limit", "normal 1mb 100kb 3")]);
    for n in 1..=3 {
        bench.connect(n);
    }
    bench.feed(1, &format!("SET big {}\r\n", "x".repeat(60_000)));
    let close = Action::Close { link: link(2), ending: Ending::Abrupt };
    let gets = "GET big\r\n".repeat(1000);
    bench.shard.handle(bench.now, Input::Filled { link: link(2), bytes: gets.as_bytes() }, &mut bench.out);
    assert!(bench.out.list.contains(&close));
    assert!(bench.shard.data.totals.commands < 30, "the rest is not run");
}

#[test]
fn soft_limits_have_their_time_and_transactions_are_not_cut() {
    let mut bench = Bench::new(&[("client-output-buffer-limit", "normal 1mb 100kb 3")]);
    for n in 1..=3 {
        bench.connect(n);
    }
    bench.feed(1, &format!("SET big {}\r\n", "x".repeat(60_000)));
    let ask = |bench: &mut Bench, n: u64, bytes: &str| {
        let input = Input::Filled { link: link(n), bytes: bytes.as_bytes() };
        bench.shard.handle(bench.now, input, &mut bench.out);
    };
    let closed =
        |bench: &Bench, n| bench.out.list.contains(&Action::Close { link: link(n), ending: Ending::Abrupt });
    ask(&mut bench, 2, &"GET big\r\n".repeat(3));
    for _ in 0..30 {
        bench.pass(Span::ms(100));
    }
    assert!(!closed(&bench, 2));
    bench.pass(Span::ms(100));
    bench.pass(Span::ms(100));
    assert!(closed(&bench, 2));
    let exec = format!("MULTI\r\n{}INCR done\r\nEXEC\r\nINCR after\r\n", "GET big\r\n".repeat(30));
    ask(&mut bench, 3, &exec);
    assert!(closed(&bench, 3));
    assert_eq!(bench.feed(1, "GET done\r\nGET after\r\n"), "$1\r\n1\r\n$-1\r\n");
    assert_eq!(bench.info("client_output_buffer_limit_disconnections"), 2);
}

#[test]
fn a_transaction_counts_against_the_query_buffer() {
    let mut bench = Bench::new(&[("client-query-buffer-limit", "1mb")]);
    bench.connect(1);
    bench.connect(2);
    bench.feed(2, "MULTI\r\n");
    let set = format!("SET key {}\r\n", "x".repeat(30_000));
    for _ in 0..40 {
        bench.feed(2, &set);
    }
    assert!(bench.out.list.contains(&Action::Close { link: link(2), ending: Ending::Abrupt }));
    assert_eq!(bench.info("client_query_buffer_limit_disconnections"), 1);
}

#[test]
fn what_clients_take_is_told_of_each() {
    let mut bench = Bench::new(&[]);
    bench.connect(1);
    bench.connect(2);
    let field = |bench: &mut Bench, name: &str| -> u64 {
        let list = bench.feed(1, "CLIENT LIST ID 2\r\n");
        let word = list.split_whitespace().find_map(|w| w.strip_prefix(name)?.strip_prefix('='));
        word.unwrap_or_else(|| panic!("{name} in {list}")).parse().expect("a number")
    };
    let idle = field(&mut bench, "tot-mem");
    assert_eq!((field(&mut bench, "qbuf"), field(&mut bench, "omem"), field(&mut bench, "oll")), (0, 0, 0));
    bench.feed(2, &format!("*2\r\n$4\r\nECHO\r\n$5000\r\n{}", "x".repeat(3000)));
    assert_eq!(field(&mut bench, "qbuf"), 3000 + 21);
    assert!(field(&mut bench, "tot-mem") >= idle + 3000);
    bench.feed(2, &format!("{}\r\nMULTI\r\nSET a {}\r\n", "x".repeat(2000), "y".repeat(7000)));
    assert!((7000..9000).contains(&field(&mut bench, "multi-mem")));
    bench.feed(2, "EXEC\r\n");
    assert_eq!(field(&mut bench, "multi-mem"), 0);
    bench.shard.handle(
        bench.now,
        Input::Filled { link: link(2), bytes: format!("ECHO {}\r\n", "z".repeat(9000)).as_bytes() },
        &mut bench.out,
    );
    assert_eq!(field(&mut bench, "obl"), 9000 + 9);
    bench.feed(1, &format!("SETRANGE big 199999 {}\r\n", "x"));
    bench.shard.handle(bench.now, Input::Filled { link: link(2), bytes: b"GET big\r\n" }, &mut bench.out);
    assert!((200_000..300_000).contains(&field(&mut bench, "omem")));
    assert!(field(&mut bench, "oll") >= 1);
    bench.pass(Span::ms(100));
    assert!(bench.info("client_recent_max_output_buffer") >= 200_000);
    bench.said(2);
    bench.shard.handle(bench.now, Input::Drained { link: link(2) }, &mut bench.out);
    assert_eq!((field(&mut bench, "omem"), field(&mut bench, "obl")), (0, 0));
    assert_eq!(field(&mut bench, "tot-mem"), idle);
}
