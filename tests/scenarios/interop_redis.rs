//! Redis 7.0 as a member of a Whimbrel cluster: it knows neither light messages nor extensions nor atomic migrations.

use crate::cluster::cli::Cli;
use crate::cluster::load::{Load, Model};
use crate::cluster::{Cluster, Kind, Node, eventually, same, tag};
use crate::peer::Reply;

/// Warnings that a Redis prints among its own kind, too.
const NORMAL: [&str; 8] = [
    "overcommit",
    "Cluster state changed",
    "The TCP backlog setting",
    "Marking node",
    "marked the node as failing",
    "FAIL message received",
    "Clear FAIL state",
    "Server initialized",
];

fn no_complaints(cluster: &Cluster) {
    for node in cluster.nodes.iter().filter(|node| node.kind == Kind::Redis) {
        let log = node.server.log();
        let doubts = ["nknown", "nvalid", "rotocol", "orrupt", "ASSERT", "extension"];
        let complains = |line: &&str| {
            doubts.iter().any(|word| line.contains(word))
                && !NORMAL.iter().any(|normal| line.contains(normal))
        };
        let complaints: Vec<_> = log.lines().filter(complains).collect();
        assert!(complaints.is_empty(), "{}: {complaints:#?}", node.address());
    }
}

/// Two Whimbrel nodes and a Redis with a third of the slots each; `None` means: skip the test.
fn mixed(more: &[&str]) -> Option<Cluster> {
    Cluster::form(&[Kind::Whimbrel, Kind::Redis, Kind::Whimbrel], 3, more)
}

#[test]
fn redis_is_met_from_either_side_and_serves_its_slots() {
    let Some(mut cluster) = mixed(&[]) else { return };
    // The cluster was formed by later nodes meeting earlier ones; now the other way round, and gossip does the rest.
    for (kind, at) in [(Kind::Redis, 0), (Kind::Whimbrel, 1)] {
        let new = Node::start(kind, &[]).expect("others of its kind run");
        cluster.nodes[at].ok(&format!("CLUSTER MEET 127.0.0.1 {}", new.port()));
        cluster.nodes.push(new);
        cluster.await_agreement();
    }
    for slot in [0, 5461, 9000, 16383] {
        let key = format!("{{{}}}", tag(slot));
        let owner = cluster.owner(slot);
        let moved = Reply::Error(format!("MOVED {slot} {}", cluster.nodes[owner].address()));
        for (at, node) in cluster.nodes.iter().enumerate() {
            let reply = node.ask(&["SET", &key, "v"]);
            if at == owner { assert!(reply.is("OK"), "{reply:?}") } else { assert_eq!(reply, moved) }
        }
    }
    let load = Load::start(&cluster, 2, &[1, 2, 6000, 7000, 12000], &[0]);
    load.await_writes(500);
    let mut model = load.stop();
    for slot in [0, 5461, 9000, 16383] {
        model.insert(0, &format!("{{{}}}", tag(slot)), "v", false);
    }
    model.compare(&cluster);
    cluster.restart(0..3);
    no_complaints(&cluster);
}

#[test]
fn each_kind_notices_when_the_other_hangs_and_when_it_comes_back() {
    let Some(cluster) = mixed(&["--cluster-node-timeout", "1500"]) else { return };
    for stopped in [0, 1] {
        let id = cluster.nodes[stopped].id();
        cluster.nodes[stopped].server.signal("STOP");
        cluster.await_failed(stopped, &id);
        cluster.nodes[stopped].server.signal("CONT");
        cluster.await_agreement();
    }
    no_complaints(&cluster);
}

#[test]
fn an_atomic_migration_to_redis_fails_and_harms_nothing() {
    let Some(cluster) = mixed(&[]) else { return };
    let [whimbrel, redis] = [&cluster.nodes[0], &cluster.nodes[1]];
    let load = Load::start(&cluster, 2, &[0, 1, 2], &[0]);
    whimbrel.migrate("0 1", redis);
    let job = whimbrel.await_outcome("failed");
    let message = job.get("message");
    assert!(
        message.starts_with("Received error during handshake to target: -ERR unknown subcommand"),
        "{message}"
    );
    load.await_writes(300);
    assert_eq!(whimbrel.info("paused_reason"), "none");
    let model = load.stop();
    cluster.await_owner(0, [0, 1]);
    model.compare(&cluster);
    // Redis has no such command either.
    let reply = redis.run(&format!("CLUSTER MIGRATESLOTS SLOTSRANGE 6000 6000 NODE {}", whimbrel.id()));
    assert!(reply.is_error(), "{reply:?}");
    no_complaints(&cluster);
}

#[test]
fn redis_cli_checks_the_cluster_and_moves_empty_slots_both_ways() {
    let Some(cli) = Cli::find_redis() else { return };
    let cluster = mixed(&[]).expect("redis-cli is there");
    for node in &cluster.nodes {
        cli.check(node);
    }
    let ids: Vec<String> = cluster.nodes.iter().map(Node::id).collect();
    for (from, to, first) in [(0, 1, 0), (1, 2, 0)] {
        cli.reshard(&cluster.nodes[0], &ids[from], &ids[to], 10, "");
        cluster.await_owner(to, first..first + 10);
        cli.check(&cluster.nodes[2]);
    }
    Model::default().compare(&cluster);
    no_complaints(&cluster);
}

#[test]
fn a_redis_that_leaves_is_forgotten() {
    let Some(mut cluster) = Cluster::form(&[Kind::Whimbrel, Kind::Whimbrel, Kind::Redis], 2, &[]) else {
        return;
    };
    let redis = cluster.nodes.pop().expect("three nodes");
    let id = redis.id();
    cluster.forget(&id);
    redis.ok("CLUSTER RESET HARD");
    eventually("it is alone", || same(redis.info("cluster_known_nodes"), "1".to_owned()));
    cluster.await_agreement();
    assert_ne!(redis.id(), id);
    // And it may come again under its new name.
    redis.ok(&format!("CLUSTER MEET 127.0.0.1 {}", cluster.nodes[1].port()));
    cluster.nodes.push(redis);
    cluster.await_agreement();
}
