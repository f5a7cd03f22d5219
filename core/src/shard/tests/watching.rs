//! Clients that watch: CLIENT TRACKING, MONITOR; and clients that wait for replicas. The replies are those of a
//! Valkey 9.1 to the same lines.

use super::*;
use crate::slots::Slot;

fn invalid(key: &str) -> String {
    format!(">2\r\n$10\r\ninvalidate\r\n*1\r\n${}\r\n{key}\r\n", key.len())
}

const ALL_INVALID: &str = ">2\r\n$10\r\ninvalidate\r\n_\r\n";

/// Clients 1 and 2, the first of which speaks RESP3 and tracks.
fn tracking(options: &str) -> Bench {
    let mut bench = Bench::new(&[("latency-monitor-threshold", "1")]);
    bench.connect(1);
    bench.connect(2);
    bench.feed(1, "HELLO 3\r\n");
    assert_eq!(bench.feed(1, &format!("CLIENT TRACKING {options}\r\n")), "+OK\r\n");
    bench
}

#[test]
fn a_client_hears_of_its_own_changes_behind_the_reply() {
    let mut bench = tracking("on");
    for (line, reply) in [
        ("SET k 1", "+OK\r\n".into()),
        ("GET k", "$1\r\n1\r\n".into()),
        ("SET k 2", format!("+OK\r\n{}", invalid("k"))),
        ("GET k", "$1\r\n2\r\n".into()),
        ("MULTI", "+OK\r\n".into()),
        ("SET k 3", "+QUEUED\r\n".into()),
        ("GET k", "+QUEUED\r\n".into()),
        ("EXEC", format!("*2\r\n+OK\r\n$1\r\n3\r\n{}", invalid("k"))),
        ("SET k 4", format!("+OK\r\n{}", invalid("k"))),
    ] {
        assert_eq!(bench.feed(1, &format!("{line}\r\n")), reply, "{line}");
    }
    let said = bench.feed(1, "GET k\r\nSET k 5\r\nGET k\r\nSET k 6\r\nPING\r\n");
    let expected = format!("$1\r\n4\r\n+OK\r\n{}$1\r\n5\r\n+OK\r\n{}+PONG\r\n", invalid("k"), invalid("k"));
    assert_eq!(said, expected);
    assert_eq!(bench.feed(1, "FLUSHDB\r\nPING\r\n"), format!("+OK\r\n{ALL_INVALID}+PONG\r\n"));
}

#[test]
fn nothing_comes_between_the_replies_of_a_transaction() {
    let mut bench = tracking("on");
    let said = bench.feed(1, "GET k\r\nMULTI\r\nSET k 1\r\nCONFIG SET maxclients 5\r\nGET k\r\nEXEC\r\n");
    assert!(said.ends_with("*3\r\n+OK\r\n"), "{said}");
    bench.pass(Span::ms(1));
    assert_eq!(bench.said(1), "");
    let order = Order::Answer { link: link(1), reply: "+DONE\r\n".into() };
    bench.shard.handle(bench.now, Input::Mailed(order.into()), &mut bench.out);
    assert_eq!(bench.said(1), format!("+DONE\r\n$1\r\n1\r\n{}", invalid("k")));
}

#[test]
fn a_client_hears_of_the_changes_of_others() {
    let mut bench = tracking("on noloop");
    bench.feed(1, "MGET k a own\r\nSET own 1\r\n");
    assert_eq!(bench.feed(2, "SET k 7\r\nDEL a\r\nSET own 2\r\nSET a x\r\n"), "+OK\r\n:0\r\n+OK\r\n+OK\r\n");
    assert!(bench.out.list.contains(&Action::Flush { link: link(1) }));
    assert_eq!(bench.said(1), format!("{}{}", invalid("k"), invalid("a")));
    bench.feed(2, "FLUSHALL\r\n");
    assert_eq!(bench.said(1), ALL_INVALID);
    bench.feed(1, "SET e 1 PX 50\r\nGET e\r\n");
    bench.pass(Span::ms(200));
    assert_eq!(bench.said(1), invalid("e"), "a key that ends by itself");
    bench.feed(1, "GET k\r\nCLIENT TRACKING off\r\n");
    bench.feed(2, "SET k 8\r\n");
    assert_eq!(bench.said(1), "");
    let info = bench.feed(2, "INFO clients\r\n");
    assert!(info.contains("\r\ntracking_clients:0\r\n"), "{info}");
}

#[test]
fn prefixes_are_told_together() {
    let mut bench = tracking("on bcast prefix u: prefix v: noloop");
    bench.feed(2, "MSET u:1 a v:2 b u:0 c x d\r\n");
    let both = ">2\r\n$10\r\ninvalidate\r\n*2\r\n$3\r\nu:0\r\n$3\r\nu:1\r\n";
    assert_eq!(bench.said(1), format!("{both}{}", invalid("v:2")));
    assert_eq!(bench.feed(1, "MSET u:1 a u:5 v\r\n"), "+OK\r\n");
    assert!(bench.feed(1, "CLIENT INFO\r\n").contains(" flags=tB "));
}

#[test]
fn another_client_can_hear() {
    let mut bench = tracking("on");
    bench.connect(3);
    bench.feed(3, "HELLO 3\r\n");
    assert_eq!(
        bench.feed(2, "CLIENT TRACKING on redirect 3\r\nGET k\r\nSET k 9\r\n"),
        "+OK\r\n$-1\r\n+OK\r\n"
    );
    assert_eq!(bench.said(3), invalid("k"));
    assert_eq!(bench.feed(2, "CLIENT GETREDIR\r\n"), ":3\r\n");
    bench.feed(2, "HELLO 3\r\nGET k\r\n");
    bench.shard.handle(bench.now, Input::Closed { link: link(3) }, &mut bench.out);
    let broken = ">2\r\n$21\r\ntracking-redir-broken\r\n:3\r\n";
    assert_eq!(bench.feed(2, "SET k 10\r\n"), format!("+OK\r\n{broken}"));
    let info = bench.feed(2, "CLIENT INFO\r\n");
    assert!(info.contains(" flags=tR ") && info.contains(" redir=3 "), "{info}");
}

#[test]
fn the_exception_is_for_one_command() {
    for (mode, word, heard) in [("optin", "yes", "k2"), ("optout", "no", "k")] {
        let mut bench = tracking(&format!("on {mode}"));
        bench.feed(1, &format!("GET k\r\nCLIENT CACHING {word}\r\nGET k2\r\n"));
        bench.feed(2, "SET k 1\r\nSET k2 1\r\n");
        assert_eq!(bench.said(1), invalid(heard), "{mode}");
        // It holds for a whole transaction, and an error uses it up.
        bench.feed(1, &format!("CLIENT CACHING {word}\r\nNOSUCH\r\nGET k\r\n"));
        bench.feed(1, &format!("CLIENT CACHING {word}\r\nMULTI\r\nGET a\r\nGET b\r\nEXEC\r\nGET c\r\n"));
        bench.feed(2, "SET k 1\r\nMSET a 1 b 1 c 1\r\n");
        let expected =
            if mode == "optin" { [invalid("a"), invalid("b")] } else { [invalid("k"), invalid("c")] };
        assert_eq!(bench.said(1), expected.concat(), "{mode}");
    }
}

#[test]
fn a_monitor_sees_the_commands_of_all_clients() {
    let mut bench = Bench::new(&[]);
    (1..=3).for_each(|n| bench.connect(n));
    assert_eq!(bench.feed(3, "MONITOR\r\n"), "+OK\r\n");
    bench
        .feed(1, "MULTI\r\nSET a 1\r\nGET a\r\nEXEC\r\nNOSUCH\r\nGET\r\nAUTH x\r\nCONFIG GET maxclients\r\n");
    bench.feed(2, "SELECT 1\r\nGET x\r\n");
    let line = |db: u32, words: &str| format!("+1700000000.000000 [{db} 127.0.0.1:7000] {words}\r\n");
    let expected = [
        line(0, r#""MULTI""#),
        line(0, r#""SET" "a" "1""#),
        line(0, r#""GET" "a""#),
        line(0, r#""EXEC""#),
        line(0, r#""AUTH" "(redacted)""#),
        line(1, r#""SELECT" "1""#),
        line(1, r#""GET" "x""#),
    ];
    assert_eq!(bench.said(3), expected.concat());
    let refused = "-ERR Replica can't interact with the keyspace\r\n";
    assert_eq!(bench.feed(3, "GET a\r\n"), refused);
    assert_eq!(bench.feed(3, "PING\r\n"), format!("+PONG\r\n{}", line(0, r#""PING""#)));
    assert!(bench.feed(1, "CLIENT LIST FLAGS O\r\n").contains(" flags=O "));
    bench.said(3);
    assert_eq!(bench.feed(3, "RESET\r\nGET a\r\n"), "+RESET\r\n$1\r\n1\r\n");
    bench.feed(1, "PING\r\n");
    assert_eq!(bench.said(3), "");
}

#[test]
fn who_waits_for_replicas_waits_until_the_time_is_over() {
    let mut bench = Bench::new(&[]);
    (1..=3).for_each(|n| bench.connect(n));
    assert_eq!(bench.feed(1, "WAIT 1 50\r\nPING\r\n"), "");
    assert_eq!(bench.feed(2, "WAITAOF 0 1 0\r\n"), "");
    let info = bench.feed(3, "INFO clients\r\n");
    assert!(
        info.contains("\r\nblocked_clients:2\r\n") && info.contains("\r\nclients_in_timeout_table:1\r\n")
    );
    assert!(bench.feed(3, "CLIENT LIST ID 1\r\n").contains(" flags=b "));
    bench.pass(Span::ms(49));
    assert_eq!(bench.said(1), "");
    bench.pass(Span::ms(1));
    assert_eq!(bench.said(1), ":0\r\n+PONG\r\n");
    bench.pass(Span::secs(1_000_000));
    assert_eq!((bench.said(2), bench.feed(3, "CLIENT UNBLOCK 2\r\n")), ("".into(), ":1\r\n".into()));
    assert_eq!(bench.said(2), "*2\r\n:0\r\n:0\r\n");
    bench.feed(2, "WAIT 1 0\r\n");
    assert_eq!(bench.feed(3, "CLIENT UNBLOCK 2 error\r\nCLIENT UNBLOCK 2\r\n"), ":1\r\n:0\r\n");
    assert_eq!(bench.said(2), "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n");
    let inside = bench.feed(1, "MULTI\r\nWAIT 1 0\r\nWAITAOF 0 1 0\r\nEXEC\r\n");
    assert!(inside.ends_with("*2\r\n:0\r\n*2\r\n:0\r\n:0\r\n"), "{inside}");
    let info = bench.feed(3, "INFO commandstats\r\n");
    assert!(
        info.contains("cmdstat_wait:calls=3,usec=0,usec_per_call=0.00,rejected_calls=0,failed_calls=1\r\n")
    );
    bench.feed(2, "WAIT 1 100\r\n");
    bench.shard.handle(bench.now, Input::Closed { link: link(2) }, &mut bench.out);
    bench.pass(Span::secs(1));
    assert_eq!(bench.shard.waits.deadline(), None);
}

#[test]
fn what_cannot_be_waited_for() {
    let mut bench = Bench::new(&[]);
    bench.connect(1);
    for (line, reply) in [
        ("WAIT 0 0", ":0"),
        ("WAIT -1 0", ":0"),
        ("WAIT x 1", "-ERR value is not an integer or out of range"),
        ("WAIT 1 x", "-ERR timeout is not an integer or out of range"),
        ("WAIT 1 -5", "-ERR timeout is negative"),
        ("WAIT 1 9223372036854775807", "-ERR timeout is out of range"),
        ("WAITAOF 2 0 0", "-ERR value is out of range, value must between 0 and 1"),
        ("WAITAOF 0 -1 0", "-ERR value is out of range, must be positive"),
        ("WAITAOF 0 x 0", "-ERR value is out of range, must be positive"),
        ("WAITAOF 1 0 x", "-ERR timeout is not an integer or out of range"),
        ("WAITAOF 1 0 0", "-ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled."),
        ("CLIENT PAUSE 9223372036854775807", "-ERR timeout is out of range"),
        ("CLIENT IMPORT-SOURCE on", "-ERR Server is not in import mode"),
        ("CLIENT IMPORT-SOURCE off", "+OK"),
        ("LOLWUT VERSION x", "-ERR value is not an integer or out of range"),
    ] {
        assert_eq!(bench.feed(1, &format!("{line}\r\n")), format!("{reply}\r\n"), "{line}");
    }
    assert_eq!(bench.feed(1, "WAITAOF 0 0 0\r\n"), "*2\r\n:0\r\n:0\r\n");
}

#[test]
fn a_pause_becomes_neither_shorter_nor_milder() {
    let mut bench = Bench::new(&[]);
    bench.connect(1);
    bench.connect(2);
    bench.feed(1, "CLIENT PAUSE 1000 ALL\r\n");
    bench.pass(Span::ms(1));
    // Its own pause holds the client too, so the second comes from within a transaction.
    assert_eq!(bench.shard.data.holds.of_client().map(|(class, _)| class), Some(Class::All));
    assert_eq!(bench.feed(2, "GET k\r\n"), "");
    bench.pass(Span::ms(1000));
    assert_eq!(bench.said(2), "$-1\r\n");
    bench.feed(1, "CLIENT PAUSE 1000 WRITE\r\nCLIENT PAUSE 10 ALL\r\n");
    assert_eq!(bench.feed(2, "GET k\r\n"), "");
    bench.pass(Span::ms(999));
    assert_eq!(bench.said(2), "");
    bench.pass(Span::ms(1));
    assert_eq!(bench.said(2), "$-1\r\n");
}

#[test]
fn a_swap_of_databases_changes_what_is_in_one_of_them() {
    for (before, reply) in [("PING", "*0\r\n"), ("SET k 1", "*-1\r\n"), ("SELECT 1\r\nSET k 1", "*-1\r\n")] {
        let mut bench = Bench::new(&[]);
        bench.connect(1);
        bench.connect(2);
        bench.feed(2, &format!("{before}\r\n"));
        bench.feed(1, "WATCH k\r\nMULTI\r\n");
        assert_eq!(bench.feed(2, "SWAPDB 1 0\r\n"), "+OK\r\n");
        assert_eq!(bench.feed(1, "EXEC\r\n"), reply, "{before}");
    }
}

#[test]
fn a_flushed_slot_changes_the_keys_that_were_in_it_and_no_others() {
    for (before, reply, told) in
        [("PING", "*0\r\n", 0), ("SET k 1", "*-1\r\n", 1), ("SET {k}2 1", "*0\r\n", 0)]
    {
        let mut bench = Bench::in_cluster(None);
        (1..=3).for_each(|link| bench.connect(link));
        bench.feed(3, "HELLO 3\r\nCLIENT TRACKING on\r\nGET k\r\n");
        bench.feed(2, &format!("{before}\r\n"));
        bench.feed(3, "GET k\r\n");
        bench.feed(1, "WATCH k\r\nMULTI\r\n");
        let flush = format!("CLUSTER FLUSHSLOT {}\r\n", Slot::of(b"k").number());
        assert_eq!(bench.feed(2, &flush), "+OK\r\n");
        assert_eq!(bench.feed(1, "EXEC\r\n"), reply, "{before}");
        assert_eq!(bench.said(3).matches("invalidate").count(), told, "{before}");
    }
}

/// To whom a key is already gone, nothing changes when it is deleted at last.
#[test]
fn the_end_of_a_key_is_a_change_to_those_who_saw_it_alive() {
    let (alive, over) = ("WATCH k\r\n", "");
    for (during, seen, unseen) in [
        ("PING", false, true),
        ("GET k", false, true),
        ("FLUSHALL", false, true),
        ("FLUSHDB", false, true),
        ("SWAPDB 0 1", false, true),
        ("SWAPDB 0 1\r\nSWAPDB 0 1", false, true),
        ("SET k 2", false, false),
        ("GET k\r\nSET k 2\r\nDEL k", false, false),
        ("FLUSHALL\r\nSET k 2 PX 10", false, false),
        ("SELECT 1\r\nSET k 2\r\nSWAPDB 0 1", false, false),
    ] {
        for (before, runs) in [(alive, seen), (over, unseen)] {
            let mut bench = Bench::new(&[]);
            bench.shard.debugging.expires_by_itself = false;
            bench.connect(1);
            bench.connect(2);
            bench.feed(2, "SET k 1 PX 10\r\n");
            bench.feed(1, before);
            bench.pass(Span::ms(11));
            assert_eq!(bench.feed(2, "DBSIZE\r\n"), ":1\r\n");
            bench.feed(1, "WATCH k\r\nMULTI\r\n");
            bench.feed(2, &format!("{during}\r\n"));
            let reply = if runs { "*0\r\n" } else { "*-1\r\n" };
            assert_eq!(bench.feed(1, "EXEC\r\n"), reply, "{before:?} {during:?}");
        }
    }
}
