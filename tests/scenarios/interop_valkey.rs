//! Whimbrel and Valkey 9.1 in one cluster: membership, gossip, failure detection, and slots moved both ways under load.
//!
//! Valkey's own log is read at the end: it names what it did not like about what it was sent.

use std::time::Duration;

use crate::cluster::cli::{ATOMIC, Cli};
use crate::cluster::jobs::Job;
use crate::cluster::load::{Load, Model};
use crate::cluster::toll::Toll;
use crate::cluster::{Cluster, Kind, Node, eventually, same, tag};
use crate::peer::{Reply, encode};

const MIXED: [Kind; 4] = [Kind::Valkey, Kind::Whimbrel, Kind::Valkey, Kind::Whimbrel];

/// Two nodes of each kind, in turn, each with a quarter of the slots; `None` means: skip the test.
fn mixed(more: &[&str]) -> Option<Cluster> {
    Cluster::form(&MIXED, 4, more)
}

/// Warnings that a Valkey prints among its own kind, too.
const NORMAL: [&str; 13] = [
    "Memory overcommit must be enabled",
    "Cluster is currently down",
    "Cluster state changed",
    "The TCP backlog setting",
    "is now in FAIL state",
    "Marking node",
    "Reconfiguring myself",
    "Failover auth",
    "marked the node as failing",
    "Writing diagnostic info",
    "Slot migration",
    "You requested maxclients",
    "Background SLOT MIGRATION transfer",
];

/// INV-MIXED: no Valkey node has warned of anything that it would not say to a Valkey.
fn no_complaints(cluster: &Cluster) {
    for node in cluster.nodes.iter().filter(|node| node.kind == Kind::Valkey) {
        let log = node.server.log();
        let warns = |line: &&str| line.contains(" # ") && !NORMAL.iter().any(|normal| line.contains(normal));
        let doubts = |line: &&str| {
            ["unknown", "nvalid", "rotocol", "orrupt", "ASSERT"].iter().any(|w| line.contains(w))
        };
        let complaints: Vec<_> = log.lines().filter(|line| warns(line) || doubts(line)).collect();
        assert!(complaints.is_empty(), "{}: {complaints:#?}", node.address());
    }
}

fn fill(node: &Node, db: u32, slot: u16, count: usize) -> Vec<(String, String)> {
    let mut client = node.client(db);
    let tag = tag(slot);
    let written: Vec<_> =
        (0..count).map(|n| (format!("{{{tag}}}fill{n}"), format!("value {n}").repeat(20))).collect();
    let bytes: Vec<u8> = written.iter().flat_map(|(key, value)| encode(&["SET", key, value])).collect();
    client.send(&bytes).expect("a node that reads");
    written.iter().for_each(|_| assert!(client.read().expect("a reply").is("OK")));
    written
}

#[test]
fn valkey_cli_makes_one_cluster_of_both_and_all_tell_the_same() {
    let Some(cli) = Cli::find() else { return };
    let nodes: Option<Vec<Node>> = MIXED.iter().map(|kind| Node::start(*kind, &[])).collect();
    let cluster = Cluster { nodes: nodes.expect("valkey-cli is there") };
    cli.create(&cluster.nodes);
    cluster.await_agreement();
    for node in &cluster.nodes {
        cli.check(node);
    }
    // The same rows, whoever is asked.
    let rows = |node: &Node| {
        let mut lines = node.nodes();
        lines.sort_by(|a, b| a.id.cmp(&b.id));
        lines.into_iter().map(|l| (l.id, l.address, l.flags, l.epoch, l.slots)).collect::<Vec<_>>()
    };
    eventually("CLUSTER NODES agree", || {
        cluster.nodes[1..].iter().try_for_each(|node| same(rows(node), rows(&cluster.nodes[0])))
    });
    for node in &cluster.nodes[1..] {
        assert_eq!(node.run("CLUSTER SLOTS"), cluster.nodes[0].run("CLUSTER SLOTS"));
        for name in ["cluster_known_nodes", "cluster_size", "cluster_current_epoch", "cluster_slots_ok"] {
            assert_eq!(node.info(name), cluster.nodes[0].info(name), "{name}");
        }
        for slot in [0, 5000, 9000, 16383] {
            let key = format!("{{{}}}", tag(slot));
            let owner = cluster.owner(slot);
            let moved = format!("MOVED {slot} {}", cluster.nodes[owner].address());
            for node in cluster.nodes.iter().filter(|n| n.port() != cluster.nodes[owner].port()) {
                assert_eq!(node.ask(&["GET", &key]), Reply::Error(moved.clone()));
            }
        }
    }
    no_complaints(&cluster);
}

#[test]
fn slots_move_both_ways_under_load_and_no_write_is_lost() {
    let Some(cluster) = mixed(&[]) else { return };
    let [v, w, v2, w2] = [&cluster.nodes[0], &cluster.nodes[1], &cluster.nodes[2], &cluster.nodes[3]];
    let slots = [0, 1, 100, 4000, 4095, 4096, 4500, 8191, 8192, 8500, 12287, 12288, 13000, 16383];
    let load = Load::start(&cluster, 3, &slots, &[0, 3, 15]);
    // From ours to one Valkey, and from there to the other.
    let passed_on = fill(w, 0, 4097, 500);
    let succeed = |sources: &[&Node]| {
        for source in sources {
            let jobs = source.await_jobs_over();
            assert!(jobs.iter().all(|job| job.state() == "success"), "{:?} {jobs:#?}", source.kind);
        }
    };
    // No node gives and takes at the same time: Valkey loses data then, when its epoch rises between grant and claim.
    v.migrate("0 99 4000 4095", w);
    w2.migrate("12288 12288", v2);
    succeed(&[v, w2]);
    w.migrate("4096 4100 8191 8191", v);
    v2.migrate("8192 8300", w2);
    succeed(&[w, v2]);
    load.await_writes(500);
    // Back, and two jobs at once between one pair.
    w.ok(&format!(
        "CLUSTER MIGRATESLOTS SLOTSRANGE 0 49 NODE {} SLOTSRANGE 50 99 4095 4095 NODE {}",
        v.id(),
        v2.id()
    ));
    succeed(&[w]);
    // Between the two Valkeys, with ours beside them, and where nobody writes: 9.1 mixes up databases that it follows
    // writes in, and its own target does not know better.
    v.migrate("4097 4100", v2);
    succeed(&[v]);
    v.ok(&format!(
        "CLUSTER MIGRATESLOTS SLOTSRANGE 100 100 NODE {} SLOTSRANGE 4096 4096 NODE {}",
        w.id(),
        w2.id()
    ));
    succeed(&[v]);
    load.await_writes(500);
    let mut model = load.stop();
    passed_on.iter().for_each(|(key, value)| model.insert(0, key, value, false));
    assert!(model.redirections > 0, "nobody was redirected");
    cluster.await_owner(0, [0, 49, 8191]);
    cluster.await_owner(1, [100, 4000, 4500]);
    cluster.await_owner(2, [50, 99, 4095, 4097, 8500, 12288]);
    cluster.await_owner(3, [4096, 8192, 16383]);
    model.compare(&cluster);
    no_complaints(&cluster);
}

#[test]
fn big_values_and_live_transactions_arrive_whole() {
    let Some(cluster) = mixed(&[]) else { return };
    for (from, to, slot) in [(0, 1, 10), (1, 0, 5000)] {
        let (source, target) = (&cluster.nodes[from], &cluster.nodes[to]);
        let mut model = Model::default();
        let (big, counter) = (format!("{{{}}}big", tag(slot)), format!("{{{}}}n", tag(slot)));
        let value = "0123456789".repeat(800_000);
        assert!(source.ask(&["SET", &big, &value]).is("OK"));
        source.migrate(&format!("{slot} {slot}"), target);
        let mut client = source.client(0);
        let mut last = 0;
        while !source.jobs()[0].is_over() {
            for words in [&["MULTI"][..], &["INCR", &counter], &["INCR", &counter]] {
                client.ask(words);
            }
            match client.ask(&["EXEC"]) {
                Reply::Array(replies) => last = replies[1].number(),
                // Redirected as a whole, or one of its commands was.
                reply => {
                    let redirected = ["EXECABORT", "MOVED"].iter().any(|e| reply.text().starts_with(e));
                    assert!(redirected, "{reply:?}");
                }
            }
        }
        source.await_outcome("success");
        cluster.await_owner(to, [slot]);
        model.insert(0, &big, &value, false);
        if last > 0 {
            model.insert(0, &counter, &last.to_string(), false);
        }
        model.compare(&cluster);
        assert!(target.ask(&["DEL", &big, &counter]).number() > 0);
    }
    no_complaints(&cluster);
}

#[test]
fn a_job_cancelled_midway_by_either_source_leaves_everything_there() {
    let Some(cluster) = Cluster::form(&[Kind::Valkey, Kind::Whimbrel], 2, &[]) else { return };
    for (from, to, slot) in [(0, 1, 10), (1, 0, 9000)] {
        let (source, target) = (&cluster.nodes[from], &cluster.nodes[to]);
        let toll = Toll::build(&cluster, to);
        let written = fill(source, 0, slot, 5000);
        toll.to_target().allow(50_000);
        source.migrate(&format!("{slot} {slot}"), target);
        target.await_job("keys arrive", |job| job.state() == "receiving-snapshot");
        source.ok("CLUSTER CANCELSLOTMIGRATIONS");
        source.await_outcome("cancelled");
        toll.open();
        let job = target.await_outcome("failed");
        assert_eq!(
            job.get("message"),
            "Connection lost to source. Check CLUSTER GETSLOTMIGRATIONS on the source node for more information."
        );
        cluster.await_owner(from, [slot]);
        let mut model = Model::default();
        written.iter().for_each(|(key, value)| model.insert(0, key, value, false));
        model.compare(&cluster);
        target.ok("CONFIG SET cluster-announce-port 0");
        assert!(source.ask(&["CLUSTER", "FLUSHSLOT", &slot.to_string()]).is("OK"));
    }
    no_complaints(&cluster);
}

#[test]
fn a_value_of_another_type_fails_the_job_and_stays_where_it_was() {
    let Some(cluster) = Cluster::form(&[Kind::Valkey, Kind::Whimbrel], 2, &[]) else { return };
    let [valkey, whimbrel] = [&cluster.nodes[0], &cluster.nodes[1]];
    let written = fill(valkey, 0, 10, 100);
    let list = format!("{{{}}}list", tag(10));
    assert_eq!(valkey.ask(&["RPUSH", &list, "a", "b"]).number(), 2);
    valkey.migrate("9 11", whimbrel);
    let exported = valkey.await_outcome("failed");
    assert!(exported.get("message").starts_with("Connection lost to target."), "{exported:?}");
    let imported = whimbrel.await_outcome("failed");
    assert_eq!(
        imported.get("message"),
        "Failed to process command during slot migration. Check logs for more information"
    );
    cluster.await_owner(0, [9, 10, 11]);
    assert_eq!(valkey.ask(&["LRANGE", &list, "0", "-1"]).list().len(), 2);
    assert_eq!(valkey.dbsize(0), 101);
    for (key, value) in &written {
        assert!(valkey.ask(&["GET", key]).is(value));
    }
    eventually("nothing is left at the target", || {
        same(whimbrel.run("CLUSTER COUNTKEYSINSLOT 10"), Reply::Integer(0))
    });
    // Without the list the slots move.
    valkey.ask(&["DEL", &list]);
    valkey.migrate("9 11", whimbrel);
    valkey.await_outcome("success");
    let mut model = Model::default();
    written.iter().for_each(|(key, value)| model.insert(0, key, value, false));
    cluster.await_owner(1, [9, 10, 11]);
    model.compare(&cluster);
}

#[test]
fn valkey_cli_reshards_and_rebalances_between_the_two() {
    let Some(cli) = Cli::find() else { return };
    let cluster = mixed(&[]).expect("valkey-cli is there");
    let load = Load::start(&cluster, 2, &[0, 10, 4096, 4100, 8192, 12288], &[0, 3]);
    let entry = &cluster.nodes[3];
    let ids: Vec<String> = cluster.nodes.iter().map(Node::id).collect();
    cli.reshard(entry, &ids[0], &ids[1], 100, ATOMIC);
    cli.reshard(entry, &ids[3], &ids[2], 50, ATOMIC);
    cluster.await_agreement();
    cli.cluster(&format!("rebalance {} --cluster-threshold 1 {ATOMIC}", entry.address()));
    let model = load.stop();
    cluster.await_agreement();
    for (id, slots) in cluster.agreement().expect("agreement") {
        assert!((4090..=4102).contains(&slots.len()), "{id}: {} slots", slots.len());
    }
    model.compare(&cluster);
    cli.check(&cluster.nodes[0]);
    no_complaints(&cluster);
}

#[test]
fn a_node_that_hangs_is_called_failing_by_the_others_and_comes_back() {
    let Some(cluster) = mixed(&["--cluster-node-timeout", "1500"]) else { return };
    for stopped in [1, 0] {
        let id = cluster.nodes[stopped].id();
        cluster.nodes[stopped].server.signal("STOP");
        cluster.await_failed(stopped, &id);
        for node in cluster.others(stopped) {
            let key = format!("{{{}}}", tag(if stopped == 0 { 16383 } else { 0 }));
            let reply = node.ask(&["GET", &key]);
            assert_eq!(reply, Reply::Error("CLUSTERDOWN The cluster is down".into()), "{:?}", node.kind);
        }
        cluster.nodes[stopped].server.signal("CONT");
        cluster.await_agreement();
    }
    no_complaints(&cluster);
}

#[test]
fn nodes_are_met_from_either_side_forgotten_everywhere_and_restarted() {
    let Some(mut cluster) = Cluster::form(&[Kind::Valkey, Kind::Whimbrel, Kind::Valkey], 3, &[]) else {
        return;
    };
    for (kind, at) in [(Kind::Whimbrel, 0), (Kind::Valkey, 1), (Kind::Whimbrel, 1)] {
        let new = Node::start(kind, &[]).expect("others of its kind run");
        // One side asks; all others hear of it by gossip.
        cluster.nodes[at].ok(&format!("CLUSTER MEET 127.0.0.1 {}", new.port()));
        cluster.nodes.push(new);
        cluster.await_agreement();
    }
    for node in cluster.nodes.split_off(3) {
        let id = node.id();
        cluster.forget(&id);
        let gone = |other: &Node| other.line_about(&id).is_none();
        eventually("it is forgotten", || {
            if cluster.nodes.iter().all(gone) { Ok(()) } else { Err("not by all") }
        });
        drop(node);
    }
    // Gossip of those that had not forgotten yet must not bring them back: a few rounds of it.
    let pings =
        |node: &Node| node.info("cluster_stats_messages_ping_sent").parse::<u64>().unwrap_or_default();
    let before: Vec<u64> = cluster.nodes.iter().map(pings).collect();
    eventually("some rounds of gossip", || {
        let rounds = |(node, before): (&Node, &u64)| pings(node) > before + 4;
        if cluster.nodes.iter().zip(&before).all(rounds) { Ok(()) } else { Err("too few") }
    });
    cluster.await_agreement();
    cluster.restart(0..3);
    no_complaints(&cluster);
}

#[test]
fn names_and_ports_that_a_node_announces_reach_the_other_kind() {
    let Some(cluster) = Cluster::form(&[Kind::Valkey, Kind::Whimbrel], 2, &[]) else { return };
    for (from, to) in [(0, 1), (1, 0)] {
        let id = cluster.nodes[from].id();
        let seen = |check: &dyn Fn(&str) -> bool| {
            eventually("the announcement arrives", || {
                let address = cluster.nodes[to].line_about(&id).expect("its line").address;
                if check(&address) { Ok(()) } else { Err(address) }
            });
        };
        cluster.nodes[from].ok("CONFIG SET cluster-announce-hostname some.host");
        seen(&|address| address.contains(",some.host"));
        cluster.nodes[to].ok("CONFIG SET cluster-preferred-endpoint-type hostname");
        let key = format!("{{{}}}", tag(if from == 0 { 0 } else { 16383 }));
        let moved = cluster.nodes[to].ask(&["GET", &key]);
        let port = cluster.nodes[from].port();
        assert!(
            moved.text().starts_with("MOVED ") && moved.text().ends_with(&format!("some.host:{port}")),
            "{moved:?}"
        );
        cluster.nodes[from].ok("CONFIG SET cluster-announce-port 7777");
        seen(&|address| address.starts_with("127.0.0.1:7777@"));
        let back = ["CONFIG", "SET", "cluster-announce-port", "0", "cluster-announce-hostname", ""];
        assert!(cluster.nodes[from].ask(&back).is("OK"));
        cluster.nodes[to].ok("CONFIG SET cluster-preferred-endpoint-type ip");
    }
    no_complaints(&cluster);
}

#[test]
fn empty_slots_change_hands_one_by_one_as_older_tools_do_it() {
    let Some(cli) = Cli::find() else { return };
    let cluster = Cluster::form(&[Kind::Valkey, Kind::Whimbrel], 2, &[]).expect("valkey-cli is there");
    let ids: Vec<String> = cluster.nodes.iter().map(Node::id).collect();
    for (from, to) in [(0, 1), (1, 0)] {
        cli.reshard(&cluster.nodes[0], &ids[from], &ids[to], 20, "");
        cluster.await_agreement();
        cli.check(&cluster.nodes[1]);
    }
    no_complaints(&cluster);
}

#[test]
fn a_whimbrel_source_waits_for_a_valkey_that_hangs_only_as_long_as_it_may() {
    let Some(cluster) = Cluster::form(&[Kind::Whimbrel, Kind::Valkey], 1, &[]) else { return };
    let [whimbrel, valkey] = [&cluster.nodes[0], &cluster.nodes[1]];
    let written = fill(whimbrel, 0, 10, 100);
    whimbrel.ok("CONFIG SET repl-timeout 2");
    let id = valkey.id();
    valkey.server.signal("STOP");
    whimbrel.ok(&format!("CLUSTER MIGRATESLOTS SLOTSRANGE 10 10 NODE {id}"));
    let mut client = whimbrel.client(0);
    assert!(client.ask(&["SET", &written[0].0, &written[0].1]).is("OK"), "writes go on");
    let job = whimbrel.await_job("the job is over", Job::is_over);
    assert_eq!((job.state(), job.get("message")), ("failed", "Timed out after too long with no interaction"));
    valkey.server.signal("CONT");
    eventually("Valkey has seen the end", || {
        if valkey.jobs().iter().all(Job::is_over) { Ok(()) } else { Err(valkey.jobs()) }
    });
    cluster.await_owner(0, [10]);
    let mut model = Model::default();
    written.iter().for_each(|(key, value)| model.insert(0, key, value, false));
    model.compare(&cluster);
    assert!(client.read_within(Duration::from_millis(1)).is_none());
}
