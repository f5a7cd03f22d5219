use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::*;
use crate::action::Actions;
use crate::cluster::View;
use crate::config::Config;
use crate::ids::LinkId;
use crate::input::{Input, Origin, Vitals};
use crate::time::{Mono, Span, Wall};
use crate::wire::resp::ArgvBuf;

/// INFO everything of a Valkey 9.1.2 that is no cluster node and has nothing to do.
const VALKEY: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/info/everything-standalone.txt"));

/// Fields that Valkey does not have.
const OURS: [&str; 10] = [
    "whimbrel_version",
    "slot_migration_exports",
    "slot_migration_imports",
    "instantaneous_slot_import_kbps",
    "instantaneous_slot_export_kbps",
    "slot_migration_last_pause_ms",
    "slot_migration_max_pause_ms",
    "eventloop_max_usec",
    "eventloop_max_cpu_usec",
    "eventloop_cpu_over_2ms",
];

/// Fields that a Valkey shows because of its script engine, and of the commands that asked for the recording.
fn depends_on_what_was_done(name: &str) -> bool {
    ["module", "engine_0", "cmdstat_", "errorstat_", "latency_percentiles_"]
        .iter()
        .any(|p| name.starts_with(p))
        && !name.starts_with("module_fork")
}

const START: Now = Now { mono: Mono(7_000_000), wall: Wall(1_795_263_692_000_000) };

fn at(ms: u64) -> Now {
    Now { mono: START.mono + Span::ms(ms), wall: Wall(START.wall.0 + 1000 * ms) }
}

fn shard() -> Shard {
    Shard::new(Arc::new(Config::default()), View::alone(START), 3, START)
}

fn info(shard: &Shard, now: Now, sections: &str) -> String {
    let mut words = ArgvBuf::of(&[b"INFO"]);
    sections.split_whitespace().for_each(|word| words.push(word.as_bytes()));
    render(now, shard, words.argv(), &[])
}

fn value(text: &str, name: &str) -> String {
    let found = text.lines().filter_map(|line| line.split_once(':')).find(|(n, _)| *n == name);
    found.unwrap_or_else(|| panic!("no {name} in {text}")).1.to_string()
}

/// Titles and field names in order.
fn names(text: &str) -> Vec<&str> {
    text.lines().map(|line| line.split_once(':').map_or(line, |(name, _)| name)).collect()
}

#[test]
fn sections_and_fields_are_those_of_valkey_in_its_order() {
    let ours = info(&shard(), START, "everything");
    let ours: Vec<&str> = names(&ours).into_iter().filter(|n| !OURS.contains(n)).collect();
    let valkey: Vec<&str> = names(VALKEY).into_iter().filter(|n| !depends_on_what_was_done(n)).collect();
    assert_eq!(ours, valkey);
}

#[test]
fn every_line_is_a_title_a_field_or_empty_and_ends_in_crlf() {
    let text = info(&shard(), START, "everything");
    assert!(text.ends_with("\r\n") && !text.ends_with("\r\n\r\n"));
    for line in text.split_terminator("\r\n") {
        assert!(!line.contains(['\r', '\n']), "{line:?}");
        assert!(line.is_empty() || line.starts_with("# ") || line.contains(':'), "{line:?}");
    }
    assert_eq!(info(&shard(), START, "nosuch"), "");
    assert_eq!(
        info(&shard(), START, "cluster keyspace"),
        "# Cluster\r\ncluster_enabled:0\r\n\r\n# Keyspace\r\n"
    );
}

/// Opens a client link and lets it give a command.
fn client(shard: &mut Shard, n: u64, now: Now, command: &[u8]) {
    let link = LinkId::accepted(n);
    let mut out = Actions::default();
    shard.handle(now, Input::Opened { link, origin: Origin::Unix }, &mut out);
    shard.handle(now, Input::Filled { link, bytes: command }, &mut out);
}

#[test]
fn clients_and_keys_are_counted() {
    let mut shard = shard();
    client(&mut shard, 1, at(10), b"SET k v PX 5000\r\nSET l v\r\nGET nosuch\r\nGET l\r\n");
    client(&mut shard, 2, at(20), b"WATCH k\r\n");
    let text = info(&shard, at(3500), "everything");
    for (name, expected) in [
        ("connected_clients", "2"),
        ("watching_clients", "1"),
        ("total_watched_keys", "1"),
        ("blocked_clients", "0"),
        ("total_connections_received", "2"),
        ("total_commands_processed", "5"),
        ("keyspace_hits", "1"),
        ("keyspace_misses", "1"),
        ("rdb_changes_since_last_save", "2"),
        ("uptime_in_seconds", "3"),
        ("server_time_usec", "1795263695500000"),
        ("rdb_last_save_time", "1795263692"),
        ("paused_reason", "none"),
        ("db0", "keys=2,expires=1,avg_ttl=0,keys_with_volatile_items=0"),
    ] {
        assert_eq!(value(&text, name), expected, "{name}");
    }
}

#[test]
fn clients_that_a_pause_holds_count_as_blocked() {
    let mut shard = shard();
    client(&mut shard, 1, at(0), b"CLIENT PAUSE 1000 WRITE\r\n");
    client(&mut shard, 2, at(0), b"SET k v\r\n");
    let text = info(&shard, at(400), "clients");
    assert_eq!(value(&text, "blocked_clients"), "1");
    assert_eq!(value(&text, "paused_reason"), "client_pause");
    assert_eq!(value(&text, "paused_actions"), "write");
    assert_eq!(value(&text, "paused_timeout_milliseconds"), "600");
}

#[test]
fn calls_and_errors_are_counted_by_name_and_code() {
    let mut shard = shard();
    client(
        &mut shard,
        1,
        at(0),
        b"SET k v\r\nINCR k\r\nINCR k\r\nBOGUS\r\nMULTI\r\nGET k\r\nEXEC\r\nEXEC\r\n",
    );
    client(&mut shard, 2, at(0), b"CLIENT KILL nobody\r\nCLIENT LIST TYPE pub\r\nPING\r\n");
    let text = info(&shard, at(1), "commandstats errorstats stats");
    let calls = |n, rejected, failed| {
        alloc::format!("calls={n},usec=0,usec_per_call=0.00,rejected_calls={rejected},failed_calls={failed}")
    };
    for (name, expected) in [
        ("cmdstat_set", calls(1, 0, 0)),
        ("cmdstat_incr", calls(2, 0, 2)),
        ("cmdstat_get", calls(1, 0, 0)),
        ("cmdstat_exec", calls(2, 0, 1)),
        ("cmdstat_client|kill", calls(1, 0, 1)),
        ("cmdstat_client|list", calls(1, 0, 1)),
        ("cmdstat_ping", calls(1, 0, 0)),
        ("errorstat_ERR", "count=6".into()),
        ("total_error_replies", "6".into()),
    ] {
        assert_eq!(value(&text, name), expected, "{name}");
    }
    client(&mut shard, 3, at(2), b"CONFIG RESETSTAT\r\n");
    let anew = alloc::format!(
        "# Commandstats\r\ncmdstat_config|resetstat:{}\r\n\r\n# Errorstats\r\n",
        calls(1, 0, 0)
    );
    assert_eq!(info(&shard, at(3), "commandstats errorstats"), anew, "the reset itself is counted after it");
}

/// As a Valkey 9.1.2 in cluster mode showed them.
#[test]
fn a_cluster_node_shows_cluster_info_between_its_neighbours() {
    let mut config = Config::default();
    config.cluster_enabled = true;
    let shard = Shard::new(Arc::new(config), View::alone(START), 3, START);
    let text = info(&shard, START, "cluster cluster_info scriptingengines server");
    assert_eq!(value(&text, "cluster_enabled"), "1");
    assert_eq!(value(&text, "server_mode"), "cluster");
    let lines = text.split("\r\n\r\n").find_map(|part| part.strip_prefix("# Cluster Info\r\n")).unwrap();
    let names: Vec<&str> = names(lines);
    assert_eq!(names.first(), Some(&"cluster_state"));
    assert_eq!(names.last(), Some(&"total_cluster_links_buffer_limit_exceeded"));
    assert_eq!(names.len(), 22);
    assert!(text.contains("exceeded:0\r\n\r\n# Scripting Engines\r\n"), "{text}");
}

#[test]
fn memory_adds_up() {
    let mut shard = shard();
    client(&mut shard, 1, at(0), b"SET k 0123456789\r\n");
    shard.sample(at(100));
    let before = info(&shard, at(100), "memory");
    let number = |text: &str, name: &str| -> u64 { value(text, name).parse().unwrap() };
    let used = number(&before, "used_memory");
    assert_eq!(used, number(&before, "used_memory_overhead") + number(&before, "used_memory_dataset"));
    assert!(number(&before, "used_memory_dataset") > 10);
    assert_eq!(value(&before, "used_memory_peak_perc"), "100.00%");
    shard.handle(at(100), Input::Closed { link: LinkId::accepted(1) }, &mut Actions::default());
    let after = info(&shard, at(100), "memory");
    assert!(number(&after, "used_memory") < used);
    assert_eq!(number(&after, "used_memory_peak"), used);
}

#[test]
fn figures_of_the_driver_are_shown() {
    let mut shard = shard();
    let vitals = Vitals { rss: 15_282_176, allocated: 3_295_464, cpu_sys_us: 1_254, ..Vitals::default() };
    shard.handle(at(1), Input::Observed(vitals), &mut Actions::default());
    let text = info(&shard, at(1), "memory cpu");
    assert_eq!(value(&text, "used_memory_rss_human"), "14.57M");
    assert_eq!(value(&text, "allocator_allocated"), "3295464");
    assert_eq!(value(&text, "used_cpu_sys"), "0.001254");
}

#[test]
fn long_turns_are_shown_until_statistics_are_reset() {
    let mut shard = shard();
    for (took, cpu) in [(900, 900), (30_000, 400), (2500, 2001), (2100, 2000)] {
        let turned = Input::Turned { took: Span(took), cpu: Span(cpu) };
        shard.handle(at(1), turned, &mut Actions::default());
    }
    let shown = |shard: &Shard| {
        let text = info(shard, at(1), "stats");
        ["eventloop_max_usec", "eventloop_max_cpu_usec", "eventloop_cpu_over_2ms"]
            .map(|name| value(&text, name))
    };
    assert_eq!(shown(&shard), ["30000", "2001", "1"]);
    client(&mut shard, 1, at(2), b"CONFIG RESETSTAT\r\n");
    assert_eq!(shown(&shard), ["0", "0", "0"]);
}

#[test]
fn rates_follow_the_commands_that_were_run() {
    let mut shard = shard();
    client(&mut shard, 1, at(0), b"PING\r\n");
    for n in 1..=16 {
        let bytes = b"PING\r\n".repeat(10);
        let link = LinkId::accepted(1);
        shard.handle(at(100 * n), Input::Filled { link, bytes: &bytes }, &mut Actions::default());
        shard.sample(at(100 * n));
    }
    assert_eq!(value(&info(&shard, at(1600), "stats"), "instantaneous_ops_per_sec"), "100");
}

#[test]
fn the_name_of_a_run_is_forty_hex_digits() {
    let text = info(&shard(), START, "server replication");
    let run = value(&text, "run_id");
    assert!(run.len() == 40 && run.bytes().all(|b| b.is_ascii_hexdigit()), "{run}");
    assert_eq!(value(&text, "master_replid"), run);
    assert_eq!(value(&text, "server_name"), "valkey");
    assert_eq!(value(&text, "redis_version"), "7.2.4");
}
