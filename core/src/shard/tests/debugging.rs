//! DEBUG, as far as a real server cannot be asked for the same.

use super::*;
use crate::cluster::Fault;

fn bench() -> Bench {
    let mut config = Config::default();
    config.enable_debug_command = crate::config::Allowed::Yes;
    let mut bench = Bench::new(&[]);
    bench.shard = Shard::new(Arc::new(config), View::alone(bench.now), 7, bench.now);
    bench.connect(1);
    bench
}

#[test]
fn a_crash_is_an_action_and_no_reply() {
    for word in ["ASSERT", "PANIC", "SEGFAULT", "OOM"] {
        let mut bench = bench();
        assert_eq!(bench.feed(1, &format!("DEBUG {word}\r\n")), "", "{word}");
        let aborts = bench.out.list.iter().filter(|a| matches!(a, Action::Abort { .. })).count();
        assert_eq!(aborts, 1, "{word}");
    }
}

#[test]
fn faults_of_the_bus_go_to_the_node() {
    let mut bench = bench();
    let all = "DEBUG DROP-CLUSTER-PACKET-FILTER -2\r\nDEBUG CLOSE-CLUSTER-LINK-ON-PACKET-DROP 1\r\n\
               DEBUG DISABLE-CLUSTER-RANDOM-PING 1\r\nDEBUG DISABLE-CLUSTER-RECONNECTION 0\r\n";
    assert_eq!(bench.feed(1, all), "+OK\r\n".repeat(4));
    let faults: Vec<Fault> = bench
        .out
        .mail
        .iter()
        .filter_map(|letter| match letter.mail {
            Mail::Fact(Fact::Disturbed(fault)) => Some(fault),
            _ => None,
        })
        .collect();
    let expected =
        [Fault::Drop(-2), Fault::CloseOnDrop(true), Fault::NoRandomPings(true), Fault::NoReconnection(false)];
    assert_eq!(faults, expected);
}

#[test]
fn words_that_need_what_is_not_built_say_so() {
    let mut bench = bench();
    for word in
        ["RELOAD", "RELOAD NOSAVE", "LOADAOF", "RESTART", "CRASH-AND-RECOVER 10", "PAUSE-AFTER-FORK 1"]
    {
        let said = bench.feed(1, &format!("DEBUG {word}\r\n"));
        let name = word.split(' ').next().unwrap();
        assert_eq!(said, format!("-ERR 'DEBUG {name}' is not available in Whimbrel yet\r\n"));
    }
}

#[test]
fn a_paused_cron_expires_nothing() {
    let mut bench = bench();
    bench.feed(1, "SET k v PX 50\r\nDEBUG PAUSE-CRON 1\r\n");
    bench.pass(Span::ms(1000));
    assert_eq!(bench.feed(1, "DBSIZE\r\n"), ":1\r\n");
    bench.feed(1, "DEBUG PAUSE-CRON 0\r\n");
    bench.pass(Span::ms(1000));
    assert_eq!(bench.feed(1, "DBSIZE\r\n"), ":0\r\n");
}

#[test]
fn the_replication_id_changes_when_it_is_told_to() {
    let mut bench = bench();
    let id = |bench: &mut Bench| {
        let info = bench.feed(1, "INFO replication\r\n");
        let line = info.lines().find(|line| line.starts_with("master_replid:")).unwrap();
        String::from(line)
    };
    let first = id(&mut bench);
    assert_eq!(bench.feed(1, "DEBUG CHANGE-REPL-ID\r\n"), "+OK\r\n");
    let second = id(&mut bench);
    assert_ne!(first, second);
    assert_eq!(second.len(), "master_replid:".len() + 40);
}

#[test]
fn populated_keys_touch_watched_ones() {
    let mut bench = bench();
    bench.connect(2);
    bench.feed(1, "WATCH key:1\r\nMULTI\r\nPING\r\n");
    assert_eq!(bench.feed(2, "DEBUG POPULATE 3\r\nGET key:1\r\n"), "+OK\r\n$7\r\nvalue:1\r\n");
    assert_eq!(bench.feed(1, "EXEC\r\n"), "*-1\r\n");
    assert_eq!(
        bench.feed(2, "DEBUG POPULATE 4 key 3\r\nGET key:1\r\nGET key:3\r\n"),
        "+OK\r\n$7\r\nvalue:1\r\n$3\r\nval\r\n"
    );
}

#[test]
fn words_that_look_a_key_up_delete_it_when_its_time_is_over() {
    for (line, reply, left, ended) in [
        ("DEBUG QUICKLIST k", "-ERR no such key\r\n", ":0\r\n", 1),
        ("DEBUG LISTPACK k", "-ERR no such key\r\n", ":0\r\n", 1),
        ("DEBUG HTSTATS-KEY k", "-ERR no such key\r\n", ":0\r\n", 1),
        ("DEBUG DIGEST-VALUE other", "*1\r\n+0000000000000000000000000000000000000000\r\n", ":1\r\n", 0),
        ("DEBUG POPULATE 1 k", "+OK\r\n", ":2\r\n", 0),
        ("DEBUG POPULATE 1 old", "+OK\r\n", ":1\r\n", 1),
    ] {
        let mut bench = bench();
        let key = if line.ends_with("old") { "old:0" } else { "k" };
        bench.feed(1, &format!("DEBUG SET-ACTIVE-EXPIRE 0\r\nSET {key} 1 PX 10\r\n"));
        bench.pass(Span::ms(11));
        assert_eq!(bench.feed(1, &format!("{line}\r\n")), reply, "{line}");
        assert_eq!(bench.feed(1, "DBSIZE\r\n"), left, "{line}");
        assert_eq!(bench.shard.data.stats.expired, ended, "{line}");
    }
}

/// What comes before a reply makes two of one, which a search that counts replies cannot use.
#[test]
fn attributes_and_pushes_precede_their_replies_in_resp3() {
    let mut bench = bench();
    let real = "$39\r\nSome real reply following the attribute\r\n";
    assert_eq!(bench.feed(1, "DEBUG PROTOCOL attrib\r\n"), real);
    assert_eq!(bench.feed(1, "DEBUG PROTOCOL push\r\n"), "-ERR RESP2 is not supported by this command\r\n");
    bench.feed(1, "HELLO 3\r\n");
    let attribute = "|1\r\n$14\r\nkey-popularity\r\n*2\r\n$7\r\nkey:123\r\n:90\r\n";
    assert_eq!(bench.feed(1, "DEBUG PROTOCOL attrib\r\n"), format!("{attribute}{real}"));
    let push = ">2\r\n$16\r\nserver-cpu-usage\r\n:42\r\n$40\r\nSome real reply following the push reply\r\n";
    assert_eq!(bench.feed(1, "DEBUG PROTOCOL push\r\n"), push);
}

#[test]
fn names_that_populate_gives_end_where_valkeys_do() {
    let mut bench = Bench::in_cluster(None);
    let long = "p".repeat(200);
    let populate = |prefix: &str| {
        let mut bytes = Vec::new();
        let words: [&[u8]; 4] = [b"DEBUG", b"POPULATE", b"1", prefix.as_bytes()];
        crate::wire::resp::encode_command(&mut bytes, &words);
        String::from_utf8(bytes).expect("text")
    };
    assert_eq!(bench.feed(1, &populate("a\0b")), "+OK\r\n");
    assert_eq!(bench.feed(1, &populate(&long)), "+OK\r\n");
    assert_eq!(bench.feed(1, &format!("EXISTS a:0\r\nEXISTS {}\r\n", &long[..127])), ":1\r\n:1\r\n");
}
