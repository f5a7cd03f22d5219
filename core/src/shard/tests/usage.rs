//! What CLUSTER SLOT-STATS counts. The bytes are those that Valkey's own tests expect.

use super::*;
use crate::shard::tests::moving::alone;
use crate::shard::tests::siblings::Process;
use crate::slots::Slot;
use crate::stopwatch::Stopwatch;

const ON: &str = "cluster-slot-stats-enabled";

/// A node with all slots whose commands all take 3 us.
fn bench() -> Bench {
    let mut bench = Bench::in_cluster(None);
    bench.shard.lend(Stopwatch::Fixed(3_000));
    configure(&mut bench, "yes");
    bench
}

fn configure(bench: &mut Bench, on: &str) {
    let mut config = (*bench.shard.env.config).clone();
    config.set(&[(ON.as_bytes(), on.as_bytes())], true).expect("a setting");
    bench.order(Order::Configure(Arc::new(config), crate::migration::job::Timing::default()));
}

fn usage(bench: &Bench, key: &str) -> (u64, u64, u64) {
    let usage = bench.shard.data.usage.of(Slot::of(key.as_bytes()));
    (usage.cpu_nanos / 1000, usage.bytes_in, usage.bytes_out)
}

#[test]
fn commands_about_a_slot_are_counted_there() {
    let mut bench = bench();
    bench.feed(1, "*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nvalue\r\n");
    assert_eq!(usage(&bench, "key"), (3, 33, 5), "an array");
    bench.feed(1, "CONFIG RESETSTAT\r\n");
    bench.feed(1, "SET key value\r\n");
    assert_eq!(usage(&bench, "key"), (3, 15, 5), "a line of words");
    bench.feed(1, "CONFIG RESETSTAT\r\nINFO\r\nPING\r\nDBSIZE\r\n");
    assert_eq!(usage(&bench, "key"), (0, 0, 0), "commands about no slot");
    bench.feed(1, "GET {key}1\r\nGET key\r\n");
    assert_eq!(usage(&bench, "key"), (6, 21, 16));
}

#[test]
fn a_transaction_is_counted_with_its_exec() {
    let mut bench = bench();
    bench.feed(1, "*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nvalue\r\n");
    assert_eq!(usage(&bench, "key"), (0, 33, 0));
    assert_eq!(bench.feed(1, "*1\r\n$4\r\nEXEC\r\n"), "*1\r\n+OK\r\n");
    assert_eq!(usage(&bench, "key"), (3, 62, 9), "15 for MULTI, 33 and 14 in; each reply once");
    bench.feed(1, "CONFIG RESETSTAT\r\nMULTI\r\nPING\r\nEXEC\r\n");
    assert_eq!(usage(&bench, "key"), (0, 0, 0));
}

#[test]
fn slots_that_come_or_go_begin_anew() {
    let mut bench = bench();
    bench.feed(1, "SET key value\r\nSET other v\r\n");
    let view = alone(&mut bench.now, Some(Slot::of(b"key"))).view();
    bench.order(Order::Publish(view));
    assert_eq!((usage(&bench, "key"), usage(&bench, "other").0), ((0, 0, 0), 3));
}

#[test]
fn what_is_shown_follows_the_setting() {
    let mut bench = bench();
    let slot = Slot::of(b"key");
    bench.feed(1, "SET key value\r\n");
    let ask = format!("CLUSTER SLOT-STATS SLOTSRANGE {slot} {slot}\r\n");
    let all = format!(
        "*1\r\n*2\r\n:{slot}\r\n*8\r\n$9\r\nkey-count\r\n:1\r\n$8\r\ncpu-usec\r\n:3\r\n$16\r\nnetwork-bytes-in\r\n\
         :15\r\n$17\r\nnetwork-bytes-out\r\n:5\r\n"
    );
    assert_eq!(bench.feed(1, &ask), all);
    let by_bytes = "CLUSTER SLOT-STATS ORDERBY network-bytes-in LIMIT 1\r\n";
    assert_eq!(bench.feed(1, by_bytes), all);
    configure(&mut bench, "no");
    bench.feed(1, "SET key value\r\n");
    assert_eq!(bench.feed(1, &ask), format!("*1\r\n*2\r\n:{slot}\r\n*2\r\n$9\r\nkey-count\r\n:1\r\n"));
    assert_eq!(bench.feed(1, by_bytes), "-ERR Unrecognized sort metric for ORDERBY.\r\n");
    configure(&mut bench, "yes");
    assert_eq!(bench.feed(1, &ask), all, "nothing was counted meanwhile, and nothing forgotten");
}

#[test]
fn a_line_of_words_is_counted_as_one_in_whichever_shard_it_runs() {
    for (shard, key) in [(0, "a"), (1, "a"), (0, "b"), (1, "b")] {
        let mut process = Process::with(2, 1, "cluster-slot-stats-enabled yes\n");
        let slot = Slot::of(key.as_bytes());
        let count = |process: &Process| -> u64 {
            process.shards.iter().map(|shard| shard.data.usage.of(slot).bytes_in).sum()
        };
        let clients = [process.connect(0, 1), process.connect(1, 2)];
        process.ask(clients[shard], &format!("GET {key}\r\n"));
        assert_eq!(count(&process), 7, "{key} from shard {shard}");
        process.ask(clients[0], "CONFIG RESETSTAT\r\n");
        clients.iter().for_each(|client| drop(process.ask(*client, "PING\r\n")));
        assert_eq!(count(&process), 0, "{key} from shard {shard}: nothing since");
    }
}
