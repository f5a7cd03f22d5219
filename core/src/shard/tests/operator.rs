//! What operators see of commands: durations, logs, counts.

use super::*;
use crate::stopwatch::Stopwatch;

/// A shard whose commands all take 2.5 ms.
fn bench(settings: &[(&str, &str)]) -> Bench {
    let mut bench = Bench::new(settings);
    bench.shard.lend(Stopwatch::Fixed(2_500_000));
    bench.connect(1);
    bench
}

fn field(text: &str, name: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
    String::from(line.unwrap_or("missing"))
}

#[test]
fn a_command_takes_from_the_end_of_the_one_before_to_its_own() {
    let mut bench = bench(&[("slowlog-log-slower-than", "2500")]);
    bench.feed(1, "SET k v\r\nGET k\r\nNOSUCH\r\nGET k x\r\nINFO everything\r\n");
    bench.feed(1, "MULTI\r\nGET k\r\nINCR k\r\nEXEC\r\n");
    let info = bench.feed(1, "INFO commandstats latencystats stats\r\n");
    for (name, value) in [
        ("cmdstat_set", "calls=1,usec=2500,usec_per_call=2500.00,rejected_calls=0,failed_calls=0"),
        ("cmdstat_get", "calls=2,usec=5000,usec_per_call=2500.00,rejected_calls=1,failed_calls=0"),
        ("cmdstat_incr", "calls=1,usec=2500,usec_per_call=2500.00,rejected_calls=0,failed_calls=1"),
        ("cmdstat_exec", "calls=1,usec=5000,usec_per_call=5000.00,rejected_calls=0,failed_calls=0"),
        ("cmdstat_info", "calls=1,usec=2500,usec_per_call=2500.00,rejected_calls=0,failed_calls=0"),
        ("latency_percentiles_usec_get", "p50=2506.751,p99=2506.751,p99.9=2506.751"),
        ("latency_percentiles_usec_exec", "p50=5013.503,p99=5013.503,p99.9=5013.503"),
        ("eventloop_duration_cmd_sum", "15000"),
        ("total_commands_processed", "7"),
    ] {
        assert_eq!(field(&info, name), value, "{name}");
    }
    // EXEC is not logged, what it runs is.
    assert_eq!(bench.feed(1, "SLOWLOG LEN\r\n"), ":7\r\n");
    assert!(
        bench
            .feed(1, "SLOWLOG GET 1\r\n")
            .contains("*2\r\n$7\r\nSLOWLOG\r\n$3\r\nLEN\r\n$14\r\n127.0.0.1:7000\r\n")
    );
}

#[test]
fn a_command_for_the_node_lasts_until_the_answer() {
    let mut bench = bench(&[("slowlog-log-slower-than", "0")]);
    bench.feed(1, "CONFIG SET requirepass secret\r\n");
    let order = Order::Answer { link: link(1), reply: "-ERR no\r\n".into() };
    bench.shard.handle(bench.now, Input::Mailed(order.into()), &mut bench.out);
    let said = bench.feed(1, "SLOWLOG GET\r\n");
    assert!(
        said.contains(
            ":2500\r\n*4\r\n$6\r\nCONFIG\r\n$3\r\nSET\r\n$11\r\nrequirepass\r\n$10\r\n(redacted)\r\n"
        ),
        "{said}"
    );
    let info = bench.feed(1, "INFO commandstats\r\n");
    let counted = "calls=1,usec=2500,usec_per_call=2500.00,rejected_calls=0,failed_calls=1";
    assert_eq!(field(&info, "cmdstat_config|set"), counted);
}

#[test]
fn large_commands_and_large_replies_are_logged() {
    let mut bench =
        bench(&[("commandlog-request-larger-than", "100"), ("commandlog-reply-larger-than", "100")]);
    let value = "v".repeat(100);
    bench.feed(1, &format!("SET k {value}\r\n"));
    bench.feed(1, "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
    let entry = |n: usize, words: &str| {
        format!("*1\r\n*6\r\n:0\r\n:1700000000\r\n:{n}\r\n{words}$14\r\n127.0.0.1:7000\r\n$0\r\n\r\n")
    };
    let set = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100\r\n{value}\r\n");
    let reply = format!("$100\r\n{value}\r\n").len();
    assert_eq!(
        bench.feed(1, "COMMANDLOG GET -1 large-reply\r\n"),
        entry(reply, "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n")
    );
    assert_eq!(bench.feed(1, "COMMANDLOG GET -1 large-request\r\n"), entry(set.len(), &set));
}

#[test]
fn long_commands_are_latency_events() {
    let mut bench = bench(&[("latency-monitor-threshold", "2")]);
    bench.feed(1, "GET k\r\nKEYS *\r\nMULTI\r\nGET k\r\nEXEC\r\n");
    assert_eq!(bench.feed(1, "LATENCY HISTORY fast-command\r\n"), "*1\r\n*2\r\n:1700000000\r\n:2\r\n");
    let event = |name: &str, max, sum, n| {
        format!("*6\r\n${}\r\n{name}\r\n:1700000000\r\n:{max}\r\n:{max}\r\n:{sum}\r\n:{n}\r\n", name.len())
    };
    let expected = format!("*2\r\n{}{}", event("fast-command", 2, 6, 3), event("command", 2, 6, 3));
    assert_eq!(bench.feed(1, "LATENCY LATEST\r\n"), expected);
}

#[test]
fn a_reset_forgets_counts_and_keeps_logs() {
    let mut bench = bench(&[("slowlog-log-slower-than", "0"), ("latency-monitor-threshold", "1")]);
    bench.feed(1, "GET k\r\nCONFIG RESETSTAT\r\n");
    let info = bench.feed(1, "INFO commandstats latencystats\r\n");
    assert_eq!(field(&info, "cmdstat_get"), "missing");
    assert_eq!(field(&info, "latency_percentiles_usec_get"), "missing");
    assert_eq!(bench.feed(1, "SLOWLOG LEN\r\n"), ":3\r\n");
    assert!(bench.feed(1, "LATENCY LATEST\r\n").starts_with("*2\r\n"));
}
