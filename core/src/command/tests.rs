use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::bench::{Bench, with_relative_times};
use super::{Caller, flush, glob};
use crate::slots::Slot;
use crate::store::{Counting, Layout};
use crate::wire::resp::{ArgvBuf, Proto, Value};

/// One command of a recorded dialogue.
#[derive(Default)]
struct Turn<'r> {
    line: &'r str,
    resp2: &'r str,
    resp3: &'r str,
    fed: Vec<&'r str>,
}

fn turns(recording: &str) -> Vec<Turn<'_>> {
    let mut turns: Vec<Turn<'_>> = Vec::new();
    for row in recording.lines() {
        let (marker, text) = row.split_once(' ').expect("a marker and a text");
        if marker == ">" {
            turns.push(Turn { line: text, ..Turn::default() });
            continue;
        }
        let turn = turns.last_mut().expect("a command first");
        match marker {
            "=" => (turn.resp2, turn.resp3) = (text, text),
            "2" => turn.resp2 = text,
            "3" => turn.resp3 = text,
            "~" => turn.fed.push(text),
            _ => panic!("{row}"),
        }
    }
    turns
}

/// Replays what Valkey 9.1 was asked, in both protocol versions, and compares each reply and each propagated command.
fn replay(name: &str, layout: Layout) {
    let path = format!("{}/../tests/fixtures/commands/{name}.rec", env!("CARGO_MANIFEST_DIR"));
    let recording = std::fs::read_to_string(&path).expect("a recording");
    let turns = turns(&recording);
    assert!(turns.len() > 30, "{name} is short");
    let mut wrong = Vec::new();
    for proto in [Proto::Resp2, Proto::Resp3] {
        let mut bench = fresh(proto, layout);
        for turn in &turns {
            if turn.line == "reset" {
                let now = bench.now;
                bench = fresh(proto, layout);
                bench.now = now;
            } else if let Some(ms) = turn.line.strip_prefix("sleep ") {
                bench.sleep_ms(ms.parse().expect("milliseconds"));
            } else if turn.line == "stats" {
                let (stats, changes) = (bench.stats, bench.effects.total());
                let counted = format!("{} {} {} {changes}", stats.hits, stats.misses, stats.expired);
                if counted != turn.resp2 {
                    wrong.push(format!("{}\n  got {counted}\n  not {}", turn.line, turn.resp2));
                }
            } else {
                let now_ms = bench.now.wall_ms();
                let reply = with_relative_times(&bench.run(&absolute_times(turn.line, now_ms)), now_ms);
                let expected = if proto == Proto::Resp2 { turn.resp2 } else { turn.resp3 };
                let fed: Vec<String> =
                    bench.fed().iter().map(|line| with_relative_times(line, now_ms)).collect();
                if reply != expected || fed != turn.fed {
                    wrong.push(format!(
                        "{}\n  got {reply} {fed:?}\n  not {expected} {:?}",
                        turn.line, turn.fed
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {name}:\n{}", wrong.len(), wrong.join("\n"));
}

fn fresh(proto: Proto, layout: Layout) -> Bench {
    let mut bench = Bench::new(proto, layout);
    bench.config.proto_max_bulk_len = 1 << 20;
    bench
}

fn absolute_times(line: &str, now_ms: u64) -> String {
    let mut parts = line.split("{now+");
    let mut absolute = String::from(parts.next().unwrap_or_default());
    for part in parts {
        let (away, rest) = part.split_once('}').expect("a closing brace");
        let away: u64 = away.parse().expect("milliseconds");
        absolute.push_str(&format!("{}{rest}", now_ms + away));
    }
    absolute
}

#[test]
fn strings_as_recorded_from_valkey() {
    replay("strings", Layout::Standalone);
}

#[test]
fn keys_as_recorded_from_valkey() {
    replay("keys", Layout::Standalone);
}

#[test]
fn clusters_as_recorded_from_valkey() {
    replay("cluster", Layout::Cluster);
}

/// Random commands on few keys, and what INFO counted meanwhile.
#[test]
fn anything_as_recorded_from_valkey() {
    replay("random", Layout::Standalone);
}

fn standalone() -> Bench {
    Bench::new(Proto::Resp2, Layout::Standalone)
}

fn cluster() -> Bench {
    Bench::new(Proto::Resp2, Layout::Cluster)
}

/// Runs lines and gives the replies in one line.
fn replies(bench: &mut Bench, lines: &[&str]) -> String {
    lines.iter().map(|line| bench.run(line).replace("\\r\\n", " ")).collect()
}

#[test]
fn an_option_is_not_taken_for_the_value_it_equals() {
    let mut bench = standalone();
    replies(&mut bench, &["SET k get"]);
    assert_eq!(bench.run("SET k v IFEQ get GET"), "$3\\r\\nget\\r\\n");
    assert_eq!(bench.fed(), ["SET k v IFEQ get"]);
    replies(&mut bench, &["SET k get"]);
    bench.run("SET k v get GET IFEQ get Get");
    assert_eq!(bench.fed(), ["SET k v IFEQ get"]);
}

#[test]
fn keys_past_their_time_are_deleted_in_the_words_that_the_configuration_says() {
    let mut bench = standalone();
    bench.config.lazyfree_lazy_expire = false;
    replies(&mut bench, &["SET a 1 PX 10", "SET b 1"]);
    bench.sleep_ms(11);
    bench.run("GET a");
    assert_eq!(bench.fed(), ["DEL a"]);
    bench.run("EXPIRE b -1");
    assert_eq!(bench.fed(), ["DEL b"]);
}

#[test]
fn a_key_is_over_only_after_the_millisecond_of_its_expiry() {
    let mut bench = standalone();
    replies(&mut bench, &["SET a 1 PX 10"]);
    bench.sleep_ms(10);
    assert_eq!(replies(&mut bench, &["GET a", "PTTL a"]), "$1 1 :0 ");
    bench.sleep_ms(1);
    assert_eq!(replies(&mut bench, &["GET a", "PTTL a"]), "$-1 :-2 ");
}

#[test]
fn while_writes_are_held_nothing_is_deleted() {
    let mut bench = standalone();
    replies(&mut bench, &["SET a 1 PX 10", "SET b 1 PX 10"]);
    bench.sleep_ms(11);
    bench.caller = Caller::ClientWhileHeld;
    let lines = ["GET a", "EXISTS a", "TTL a", "KEYS *", "SCAN 0", "DBSIZE"];
    assert_eq!(replies(&mut bench, &lines), "$-1 :0 :-2 *0 *2 $1 0 *0 :2 ");
    assert!(["$1 a ", "$1 b "].contains(&&*replies(&mut bench, &["RANDOMKEY"])));
    assert_eq!((bench.stats.expired, bench.fed().len()), (0, 0));
    bench.caller = Caller::Client;
    assert_eq!(replies(&mut bench, &["RANDOMKEY", "DBSIZE"]), "$-1 :0 ");
    assert_eq!(bench.stats.expired, 2);
}

#[test]
fn a_migration_decides_itself_when_keys_end() {
    let mut bench = standalone();
    bench.config.proto_max_bulk_len = 5;
    bench.caller = Caller::Import;
    replies(&mut bench, &["SET a 1 PXAT 1", "SET b 12345", "APPEND b 678", "PEXPIREAT b 1", "SET c 1"]);
    replies(&mut bench, &["PEXPIREAT c -7", "INCR a"]);
    let lines = ["GET a", "GET b", "PEXPIRETIME a", "PEXPIRETIME b", "PEXPIRETIME c", "DBSIZE"];
    assert_eq!(replies(&mut bench, &lines), "$1 2 $8 12345678 :1 :1 :0 :3 ");
    bench.caller = Caller::Client;
    assert_eq!(replies(&mut bench, &["GET a", "EXISTS b", "EXISTS c", "DBSIZE"]), "$-1 :0 :0 :0 ");
}

/// What WATCH sees of each command.
#[test]
fn only_what_changes_a_key_makes_its_version_grow() {
    for (setup, line, key, grows) in [
        ("SET k v", "GET k", "k", false),
        ("SET k v", "SET k v", "k", true),
        ("SET k v", "SET k w NX", "k", false),
        ("SET k v", "SET other w", "k", false),
        ("SET k v", "SET k w IFEQ x", "k", false),
        ("SET k v", "SET k w PXAT 1", "k", true),
        ("SET k v", "DEL k", "k", true),
        ("SET j v", "DEL k", "k", false),
        ("SET j v", "SET k v", "k", true),
        ("SET k v", "GETEX k", "k", false),
        ("SET k v", "GETEX k PERSIST", "k", false),
        ("SET k v", "GETEX k EX 10", "k", true),
        ("SET k v", "EXPIRE k 10 XX", "k", false),
        ("SET k v", "EXPIRE k 10", "k", true),
        ("SET k v", "PERSIST k", "k", false),
        ("SET k v EX 9", "PERSIST k", "k", true),
        ("SET k v", "APPEND k w", "k", true),
        ("SET k v", "SETRANGE k 0 x", "k", true),
        ("SET k v", "INCR k", "k", false),
        ("SET k 1", "INCR k", "k", true),
        ("SET k v", "RENAME k j", "k", true),
        ("SET k v", "RENAME k j", "j", true),
        ("SET k v", "RENAME k k", "k", false),
        ("SET k v", "COPY k j", "k", false),
        ("SET k v", "COPY k j", "j", true),
        ("SET k v", "MOVE k 1", "k", true),
        ("SET k v", "MSET j 1 k 2", "k", true),
        ("SET k v", "MSETNX j 1 k 2", "j", false),
        ("SET k v", "DELIFEQ k x", "k", false),
        ("SET k v", "TOUCH k", "k", false),
    ] {
        let mut bench = standalone();
        bench.run(setup);
        let is_there = bench.store.get(&bench.store.at(0, key.as_bytes())).is_some();
        let version = bench.effects.watched().watch(0, key.as_bytes(), is_there);
        bench.run(line);
        let unchanged = bench.effects.watched().unchanged(0, key.as_bytes(), version);
        assert_eq!(unchanged, !grows, "{line}");
    }
    let mut bench = standalone();
    bench.run("SET k v PX 10");
    let version = bench.effects.watched().watch(0, b"k", true);
    bench.sleep_ms(11);
    bench.run("EXISTS k");
    assert!(!bench.effects.watched().unchanged(0, b"k", version), "an expired key has changed");
}

#[test]
fn a_flush_changes_the_watched_keys_that_were_there() {
    let mut bench = standalone();
    replies(&mut bench, &["SET a 1", "SET b 1"]);
    bench.db = 1;
    bench.run("SET c 1");
    let keys: [(u32, &[u8]); 4] = [(0, b"a"), (0, b"missing"), (1, b"c"), (1, b"a")];
    let is_there = |at: (u32, &[u8])| [(0, &b"a"[..]), (1, b"c")].contains(&at);
    let versions = keys.map(|(db, key)| bench.effects.watched().watch(db, key, is_there((db, key))));
    let unchanged = |bench: &mut Bench| {
        let watched = bench.effects.watched();
        (0..4).map(|i| watched.unchanged(keys[i].0, keys[i].1, versions[i])).collect::<Vec<_>>()
    };
    flush::flush(&mut bench.store, &mut bench.effects, Some(0), &crate::slots::SlotSet::new());
    assert_eq!(unchanged(&mut bench), [false, true, true, true]);
    assert_eq!((bench.store.len(0), bench.store.len(1)), (0, 1));
    flush::flush(&mut bench.store, &mut bench.effects, None, &crate::slots::SlotSet::new());
    assert_eq!(unchanged(&mut bench), [false, true, false, true]);
    assert!(bench.store.is_empty());
}

#[test]
fn flushes_know_two_words() {
    let mut bench = standalone();
    let words: [(&[&[u8]], Option<bool>); 6] = [
        (&[b"FLUSHDB"], Some(true)),
        (&[b"FLUSHDB", b"sync"], Some(false)),
        (&[b"FLUSHALL", b"ASYNC"], Some(true)),
        (&[b"FLUSHALL", b"SOON"], None),
        (&[b"FLUSHALL", b"SYNC", b"SYNC"], None),
        (&[b"FLUSHALL", b""], None),
    ];
    for (argv, lazy) in words {
        assert_eq!(flush::is_lazy(&bench.config, ArgvBuf::of(argv).argv()).ok(), lazy, "{argv:?}");
    }
    bench.config.lazyfree_lazy_user_flush = false;
    assert_eq!(flush::is_lazy(&bench.config, ArgvBuf::of(&[b"FLUSHDB"]).argv()), Ok(false));
}

#[test]
fn idle_time_ends_with_an_access() {
    for (line, no_touch, idle) in [
        ("GET k", false, 0),
        ("GET k", true, 5),
        ("TOUCH k", true, 0),
        ("TTL k", false, 5),
        ("EXISTS k", false, 5),
        ("TYPE k", false, 5),
        ("OBJECT ENCODING k", false, 5),
        ("STRLEN k", false, 0),
        ("INCR k", false, 0),
        ("APPEND k 1", false, 0),
        ("EXPIRE k 100", false, 0),
        ("SET k 1", false, 0),
        ("SET k 1", true, 5),
        ("SET k 1 KEEPTTL", false, 0),
        ("SET k 1 NX", false, 0),
        ("SET k 1 IFEQ 2", false, 0),
        ("SETNX k 1", false, 0),
        ("SETRANGE k 0 x", true, 5),
        ("PERSIST k", false, 0),
        ("GETEX k", false, 0),
        ("LCS k j", false, 0),
        ("COPY k j", false, 0),
        ("DEL j", false, 5),
    ] {
        let mut bench = standalone();
        bench.no_touch = no_touch;
        bench.run("SET k 1");
        bench.sleep_ms(5000);
        bench.run(line);
        assert_eq!(bench.run("OBJECT IDLETIME k"), format!(":{idle}\\r\\n"), "{line}");
    }
    let mut bench = standalone();
    bench.run("SET k 1");
    bench.sleep_ms(5000);
    assert_eq!(replies(&mut bench, &["RENAME k j", "OBJECT IDLETIME j"]), "+OK :0 ");
}

#[test]
fn an_lfu_policy_counts_accesses_instead() {
    let mut bench = standalone();
    bench.run("SET k 1");
    let refused = "-ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when \
                   switching between policies at runtime LRU and LFU data will take some time to adjust.\\r\\n";
    assert_eq!(bench.run("OBJECT FREQ k"), refused);
    assert_eq!(bench.run("OBJECT FREQ nope"), "$-1\\r\\n");
    bench.config.set(&[(b"maxmemory-policy", b"allkeys-lfu")], true).unwrap();
    let counting = Counting { log_factor: 0, decay_minutes: 1 };
    bench.store.access_mut().set_counting(Some(counting));
    bench.run("SET new 1");
    for (line, count) in [
        ("OBJECT FREQ new", 5),
        ("GET new", 6),
        ("SET new 2", 7),
        ("SET new 2 XX", 8),
        ("SET new 2 KEEPTTL", 9),
        ("SET new 2 GET", 11),
        ("GETSET new 2", 13),
        ("INCR new", 14),
        ("APPEND new 0", 15),
        ("SETNX new 1", 16),
        ("MSET new 1", 17),
        ("SET new 1 EX 100", 18),
        ("SETEX new 100 1", 19),
        ("GETEX new PERSIST", 20),
        ("EXPIRE new 100", 21),
        ("TTL new", 21),
        ("MSETNX new 2 b 3", 22),
        ("MSETEX 1 new 1", 23),
        ("SET new 1 IFEQ 1", 24),
        ("SET new 1 IFEQ 2", 25),
        ("SET new 2 NX GET", 27),
        ("DELIFEQ new x", 28),
        ("SETRANGE new 0 1", 29),
        ("INCRBYFLOAT new 1", 30),
    ] {
        bench.run(line);
        assert_eq!(bench.run("OBJECT FREQ new"), format!(":{count}\\r\\n"), "{line}");
    }
    bench.run("SET old 1");
    bench.sleep_ms(3 * 60_000);
    assert_eq!(bench.run("OBJECT FREQ old"), ":2\\r\\n", "it was not used for three minutes");
    assert!(
        bench.run("OBJECT IDLETIME k").starts_with("-ERR An LFU maxmemory policy is selected, idle time not")
    );
}

/// All keys that SCAN finds, in the order it finds them.
fn scan(bench: &mut Bench, options: &str) -> Vec<Vec<u8>> {
    let (mut found, mut cursor) = (Vec::new(), String::from("0"));
    loop {
        let reply = bench.ask(&format!("SCAN {cursor} {options}"));
        let Value::Array(parts) = reply else { panic!("{reply:?}") };
        let [Value::Bulk(next), Value::Array(keys)] = &parts[..] else { panic!("{parts:?}") };
        found.extend(keys.iter().map(|key| key.as_bytes().expect("a key").to_vec()));
        cursor = String::from_utf8(next.clone()).expect("a number");
        if cursor == "0" {
            return found;
        }
    }
}

#[test]
fn scan_meets_every_key_once_and_no_hidden_one() {
    for layout in [Layout::Standalone, Layout::Cluster] {
        let mut bench = Bench::new(Proto::Resp2, layout);
        for i in 0..2000 {
            bench.run(&format!("SET {{{}}}{i} v", i % 40));
        }
        for count in [1, 10, 100, 100_000] {
            let mut keys = scan(&mut bench, &format!("COUNT {count}"));
            assert_eq!(keys.len(), 2000, "{layout:?} {count}");
            keys.sort();
            keys.dedup();
            assert_eq!(keys.len(), 2000, "{layout:?} {count}");
        }
        for pattern in ["{7}*", "*77", "{7}7", "{[7]}*", "nothing", "{none}*"] {
            let fits = |i: &u32| glob::matches(pattern.as_bytes(), format!("{{{}}}{i}", i % 40).as_bytes());
            let expected = (0..2000).filter(fits).count();
            for count in [1, 1000] {
                let keys = scan(&mut bench, &format!("MATCH {pattern} COUNT {count}"));
                assert_eq!(keys.len(), expected, "{layout:?} {pattern}");
            }
            let Value::Array(keys) = bench.ask(&format!("KEYS {pattern}")) else { panic!("{pattern}") };
            assert_eq!(keys.len(), expected, "{layout:?} {pattern}");
        }
    }
    let mut bench = cluster();
    replies(&mut bench, &["SET {a}1 v", "SET {b}1 v"]);
    bench.store.hide(Slot::of(b"a"));
    let lines = ["KEYS *", "KEYS {a}*", "SCAN 0 MATCH {a}* COUNT 9", "DBSIZE", "RANDOMKEY"];
    assert_eq!(replies(&mut bench, &lines), "*1 $4 {b}1 *0 *2 $1 0 *0 :1 $4 {b}1 ");
    assert_eq!(scan(&mut bench, ""), [b"{b}1"]);
    bench.store.hide(Slot::of(b"b"));
    assert_eq!(replies(&mut bench, &["RANDOMKEY", "KEYS *"]), "$-1 *0 ");
}

#[test]
fn a_cursor_of_another_slot_is_moved_or_at_the_end() {
    let mut bench = cluster();
    replies(&mut bench, &["SET {a}1 v", "SET {b}1 v"]);
    let slot = u64::from(Slot::of(b"a").number());
    let ask =
        |bench: &mut Bench, cursor: u64| replies(bench, &[&format!("SCAN {cursor} MATCH {{a}}* COUNT 100")]);
    let all = "*2 $1 0 *1 $4 {a}1 ";
    assert_eq!(ask(&mut bench, (slot - 1) << 32), all);
    assert_eq!(ask(&mut bench, slot << 32), all);
    assert_eq!(ask(&mut bench, (slot + 1) << 32), "*2 $1 0 *0 ");
    assert_eq!(ask(&mut bench, u64::MAX), "*2 $1 0 *0 ");
    assert_eq!(replies(&mut bench, &[&format!("SCAN {}", u64::MAX)]), "*2 $1 0 *0 ");
}

#[test]
fn walks_delete_what_is_over_on_the_way() {
    let mut bench = cluster();
    for i in 0..20 {
        bench.run(&format!("SET {i} v PX {}", if i < 10 { 10 } else { 99 }));
    }
    bench.sleep_ms(11);
    assert_eq!(replies(&mut bench, &["DBSIZE"]), ":20 ");
    bench.run("KEYS *");
    assert_eq!((bench.fed().len(), bench.store.len(0)), (0, 20));
    bench.run("SCAN 0 COUNT 1000 MATCH 1*");
    assert_eq!((bench.fed(), bench.store.len(0)), (["UNLINK 1"].map(String::from).to_vec(), 19));
    let record = &bench.effects.records()[0];
    assert_eq!(record.slot, Slot::of(b"1"), "where the key lies, not where a SCAN was routed to");
    assert_eq!(scan(&mut bench, "COUNT 3").len(), 10);
    assert_eq!((bench.store.len(0), bench.stats.expired), (10, 10));
    bench.sleep_ms(100);
    assert_eq!(replies(&mut bench, &["RANDOMKEY"]), "$-1 ");
    assert_eq!((bench.fed().len(), bench.store.len(0), bench.stats.expired), (10, 0, 20));
}

#[test]
fn random_keys_are_keys_and_all_come_up() {
    let mut bench = cluster();
    for i in 0..10 {
        bench.run(&format!("SET {i} v"));
    }
    let mut seen = [0; 10];
    for _ in 0..1000 {
        let key = bench.ask("RANDOMKEY");
        let digit = key.as_bytes().and_then(|key| key.first()).expect("a digit") - b'0';
        seen[usize::from(digit)] += 1;
    }
    assert!(seen.iter().all(|&n| n > 20), "{seen:?}");
}

#[test]
fn object_help_is_a_list_of_lines() {
    let Value::Array(lines) = standalone().ask("OBJECT HELP") else { panic!("no list") };
    assert!(lines.len() > 9 && lines.iter().all(|line| matches!(line, Value::Simple(_))));
}
