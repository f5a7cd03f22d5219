//! The words of the operator's commands, and their exact errors.

use std::string::{String, ToString};
use std::vec::Vec;

use super::rig::{Peer, Rig, config, id, ranges};
use crate::cluster::admin::{AdminReply, KeyCounts, run};
use crate::cluster::render::{self, Asker, Family};
use crate::cluster::{Action, Announced, ClusterConfig, EndpointType};
use crate::link::Outbox;
use crate::slots::Slot;
use crate::wire::resp::{Proto, Reply};

fn ask_with(rig: &mut Rig, words: &str, keys: KeyCounts) -> String {
    let argv: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
    let now = rig.now();
    match run(&mut rig.cluster, now, &argv, keys, &mut rig.out) {
        Ok(reply) => {
            let mut outbox = Outbox::default();
            reply.write(&mut Reply::new(&mut outbox, Proto::Resp2));
            let bytes: Vec<u8> = outbox.chunks().flatten().copied().collect();
            String::from_utf8(bytes).unwrap()
        }
        Err(refused) => std::format!("-{refused}"),
    }
}

fn ask(rig: &mut Rig, words: &str) -> String {
    ask_with(rig, words, KeyCounts::default())
}

/// A machine with slots 0-99, a primary `p` with 100-199 and its replica `r`.
fn three() -> Rig {
    let mut rig = Rig::owning(3, &[(0, 99)]);
    let mut primary = Peer::owning(b'p', 2, &[(100, 199)]);
    rig.join(&mut primary);
    let mut replica = Peer::replica(b'r', &primary);
    rig.join(&mut replica);
    rig
}

fn check(rig: &mut Rig, cases: &[(&str, &str)]) {
    let (p, r, me) = (id(b'p').to_string(), id(b'r').to_string(), rig.me().to_string());
    for (words, expected) in cases {
        let fill = |text: &str| text.replace("{p}", &p).replace("{r}", &r).replace("{me}", &me);
        assert_eq!(ask(rig, &fill(words)), fill(expected), "{words}");
    }
}

#[test]
fn errors_are_valkeys() {
    let mut rig = three();
    check(
        &mut rig,
        &[
            ("CLUSTER bumpepoch x", "-ERR wrong number of arguments for 'cluster|bumpepoch' command"),
            ("CLUSTER MEET 1.2.3.4", "-ERR wrong number of arguments for 'cluster|meet' command"),
            (
                "CLUSTER MEET 1.2.3.4 1 2 3",
                "-ERR unknown subcommand or wrong number of arguments for 'MEET'. Try CLUSTER HELP.",
            ),
            ("CLUSTER MEET 1.2.3.4 abc", "-ERR Invalid base port specified: abc"),
            ("CLUSTER MEET 1.2.3.4 0", "-ERR Port number is out of range"),
            ("CLUSTER MEET 1.2.3.4 65536", "-ERR Port number is out of range"),
            ("CLUSTER MEET 1.2.3.4 7000 xyz", "-ERR Invalid bus port specified: xyz"),
            ("CLUSTER MEET 1.2.3.4 7000 70000", "-ERR Cluster bus port number is out of range"),
            ("CLUSTER MEET 1.2.3.4 60000", "-ERR Cluster bus port number is out of range"),
            ("CLUSTER MEET localhost 21001", "-ERR Invalid node address specified: localhost:21001"),
            ("CLUSTER FORGET abc", "-ERR Unknown node abc"),
            ("CLUSTER FORGET {me}", "-ERR I tried hard but I can't forget myself..."),
            ("CLUSTER ADDSLOTS", "-ERR wrong number of arguments for 'cluster|addslots' command"),
            ("CLUSTER ADDSLOTS 300 abc", "-ERR Invalid or out of range slot"),
            ("CLUSTER ADDSLOTS 300 16384", "-ERR Invalid or out of range slot"),
            ("CLUSTER ADDSLOTS 300 -1", "-ERR Invalid or out of range slot"),
            ("CLUSTER ADDSLOTS 300 5", "-ERR Slot 5 is already busy"),
            ("CLUSTER ADDSLOTS 300 301 300", "-ERR Slot 300 specified multiple times"),
            ("CLUSTER DELSLOTS 5 300", "-ERR Slot 300 is already unassigned"),
            ("CLUSTER DELSLOTS 5 5", "-ERR Slot 5 specified multiple times"),
            (
                "CLUSTER ADDSLOTSRANGE 300 301 302",
                "-ERR wrong number of arguments for 'cluster|addslotsrange' command",
            ),
            (
                "CLUSTER ADDSLOTSRANGE 305 303",
                "-ERR start slot number 305 is greater than end slot number 303",
            ),
            ("CLUSTER ADDSLOTSRANGE 300 305 303 310", "-ERR Slot 303 specified multiple times"),
            ("CLUSTER DELSLOTSRANGE 95 105 200 201", "-ERR Slot 200 is already unassigned"),
            ("CLUSTER SETSLOT 5", "-ERR wrong number of arguments for 'cluster|setslot' command"),
            ("CLUSTER SETSLOT x STABLE", "-ERR Invalid or out of range slot"),
            ("CLUSTER SETSLOT 150 MIGRATING {p}", "-ERR I'm not the owner of hash slot 150"),
            ("CLUSTER SETSLOT 5 IMPORTING {p}", "-ERR I'm already the owner of hash slot 5"),
            ("CLUSTER SETSLOT 5 MIGRATING abc", "-ERR I don't know about node abc"),
            ("CLUSTER SETSLOT 5 MIGRATING {me}", "-ERR Target node is myself"),
            ("CLUSTER SETSLOT 5 MIGRATING {r}", "-ERR Target node is not a master"),
            ("CLUSTER SETSLOT 5 NODE abc", "-ERR Unknown node abc"),
            ("CLUSTER SETSLOT 5 NODE {r}", "-ERR Target node is not a master"),
            (
                "CLUSTER SETSLOT 5 FOO {p}",
                "-ERR Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP",
            ),
            (
                "CLUSTER SETSLOT 5 NODE",
                "-ERR Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP",
            ),
            ("CLUSTER SETSLOT 5 STABLE TIMEOUT", "-ERR Missing timeout value"),
            ("CLUSTER SETSLOT 5 STABLE TIMEOUT x", "-ERR timeout is not an integer or out of range"),
            ("CLUSTER SETSLOT 5 STABLE TIMEOUT -1", "-ERR timeout is negative"),
            ("CLUSTER SETSLOT 5 NODE abc TIMEOUT x", "-ERR Unknown node abc"),
            ("CLUSTER SET-CONFIG-EPOCH x", "-ERR value is not an integer or out of range"),
            ("CLUSTER SET-CONFIG-EPOCH -1", "-ERR Invalid config epoch specified: -1"),
            (
                "CLUSTER SET-CONFIG-EPOCH 9",
                "-ERR The user can assign a config epoch only when the node does not know any other node.",
            ),
            (
                "CLUSTER RESET SOFT x",
                "-ERR unknown subcommand or wrong number of arguments for 'RESET'. Try CLUSTER HELP.",
            ),
            ("CLUSTER RESET FOO", "-ERR syntax error"),
            ("CLUSTER REPLICATE abc", "-ERR Unknown node abc"),
            ("CLUSTER REPLICATE {me}", "-ERR Can't replicate myself"),
            ("CLUSTER REPLICATE {r}", "-ERR I can only replicate a master, not a replica."),
            (
                "CLUSTER REPLICATE {p}",
                "-ERR To set a master the node must be empty and without assigned slots.",
            ),
            (
                "CLUSTER REPLICATE NO TWO",
                "-ERR unknown subcommand or wrong number of arguments for 'REPLICATE'. Try CLUSTER HELP.",
            ),
            ("CLUSTER REPLICATE NO ONE", "+OK\r\n"),
            ("CLUSTER FAILOVER", "-ERR You should send CLUSTER FAILOVER to a replica"),
            ("CLUSTER FAILOVER TAKEOVER", "-ERR You should send CLUSTER FAILOVER to a replica"),
            ("CLUSTER FAILOVER FOO", "-ERR syntax error"),
            ("CLUSTER FAILOVER FORCE REPLICAID {r}", "-ERR syntax error"),
            ("CLUSTER REPLICAS abc", "-ERR Unknown node abc"),
            ("CLUSTER REPLICAS {r}", "-ERR The specified node is not a master"),
            ("CLUSTER SLAVES {me}", "*0\r\n"),
            ("CLUSTER COUNT-FAILURE-REPORTS abc", "-ERR Unknown node abc"),
            ("CLUSTER COUNT-FAILURE-REPORTS {p}", ":0\r\n"),
        ],
    );
    assert_eq!(rig.slots_of(rig.me()), ranges(&[(0, 99)]), "all or nothing");
}

#[test]
fn what_the_keys_forbid() {
    let mut rig = three();
    let keys = KeyCounts { total: 1, in_slot: 1, ..KeyCounts::default() };
    let p = id(b'p');
    let cases = [
        (
            "CLUSTER RESET".into(),
            keys,
            "-ERR CLUSTER RESET can't be called with master nodes containing keys",
        ),
        ("CLUSTER FLUSHSLOTS".into(), keys, "-ERR DB must be empty to perform CLUSTER FLUSHSLOTS."),
        (
            std::format!("CLUSTER SETSLOT 5 NODE {p}"),
            keys,
            "-ERR Can't assign hashslot 5 to a different node while I still hold keys for this hash slot.",
        ),
        (
            "CLUSTER SETSLOT x STABLE".into(),
            KeyCounts { importing: true, ..keys },
            "-ERR Slot import in progress.",
        ),
        (
            "CLUSTER SETSLOT 5 STABLE".into(),
            KeyCounts { exporting: true, ..keys },
            "-ERR Slot export in progress.",
        ),
    ];
    for (words, keys, expected) in cases {
        assert_eq!(ask_with(&mut rig, &words, keys), expected, "{words}");
    }
    assert_eq!(ask(&mut rig, "CLUSTER FLUSHSLOTS"), "+OK\r\n");
    assert_eq!(
        ask_with(&mut rig, &std::format!("CLUSTER REPLICATE {p}"), keys),
        "-ERR To set a master the node must be empty and without assigned slots."
    );
    assert_eq!(
        ask(&mut rig, &std::format!("CLUSTER REPLICATE {p}")),
        "-ERR Replication is not available yet: this node can only be a primary"
    );
}

#[test]
fn a_slot_moved_by_hand() {
    let mut rig = three();
    let p = id(b'p');
    assert_eq!(ask(&mut rig, &std::format!("CLUSTER SETSLOT 150 importing {p}")), "+OK\r\n");
    assert_eq!(ask(&mut rig, &std::format!("CLUSTER SETSLOT 5 MIGRATING {p} TIMEOUT 10")), "+OK\r\n");
    let text = render::nodes(&rig.cluster.view(), Asker::default());
    let mine = text.lines().find(|line| line.contains("myself")).unwrap();
    assert!(mine.ends_with(&std::format!(" connected 0-99 [5->-{p}] [150-<-{p}]")), "{mine}");
    // The target takes it: the epoch rises, the mark goes, the others hear at once.
    let me = rig.me();
    rig.out.clear();
    assert_eq!(ask(&mut rig, &std::format!("CLUSTER SETSLOT 150 NODE {me}")), "+OK\r\n");
    assert_eq!(rig.cluster.view().myself().config_epoch, 3, "the highest already");
    assert!(rig.cluster.view().importing.is_empty());
    assert!(rig.out.iter().any(|action| matches!(action, Action::Send { .. })));
    // The source gives it away once its keys are gone.
    let keys = KeyCounts { in_slot: 0, ..KeyCounts::default() };
    assert_eq!(ask_with(&mut rig, &std::format!("CLUSTER SETSLOT 5 NODE {p}"), keys), "+OK\r\n");
    assert!(rig.cluster.view().migrating.is_empty());
    assert_eq!(rig.slots_of(me), ranges(&[(0, 4), (6, 99), (150, 150)]));
    // STABLE closes whatever is open.
    ask(&mut rig, &std::format!("CLUSTER SETSLOT 6 MIGRATING {p}"));
    assert_eq!(ask(&mut rig, "CLUSTER SETSLOT 6 stable"), "+OK\r\n");
    assert!(rig.cluster.view().migrating.is_empty());
}

#[test]
fn epochs_by_hand() {
    let mut rig = Rig::new();
    assert_eq!(ask(&mut rig, "CLUSTER SET-CONFIG-EPOCH 7"), "+OK\r\n");
    assert_eq!(ask(&mut rig, "CLUSTER SET-CONFIG-EPOCH 8"), "-ERR Node config epoch is already non-zero");
    assert_eq!(ask(&mut rig, "CLUSTER BUMPEPOCH"), "+STILL 7\r\n");
    let mut peer = Peer::owning(b'p', 9, &[(0, 9)]);
    rig.join(&mut peer);
    rig.out.clear();
    assert_eq!(ask(&mut rig, "CLUSTER BUMPEPOCH"), "+BUMPED 10\r\n");
    assert!(matches!(rig.out[0], Action::Save { fsync: true, .. }));
    assert!(matches!(rig.out[1], Action::Send { .. }), "and announced");
    rig.out.clear();
    assert_eq!(ask(&mut rig, "CLUSTER SAVECONFIG"), "+OK\r\n");
    assert!(matches!(rig.out[..], [Action::Save { fsync: true, .. }]));
}

#[test]
fn reset_soft_keeps_name_and_epochs_and_hard_does_not() {
    for (word, kept) in [("SOFT", true), ("HARD", false)] {
        let mut rig = three();
        let before = rig.cluster.view();
        let (old, shard) = (before.myself().id, before.myself().shard);
        assert_eq!(ask(&mut rig, &std::format!("CLUSTER RESET {word}")), "+OK\r\n");
        let view = rig.cluster.view();
        let me = view.myself();
        assert_eq!((view.rows.len(), me.slot_count, view.size), (1, 0, 0));
        assert!(Slot::all().all(|slot| view.owner(slot).is_none()));
        assert_ne!(me.shard, shard);
        assert_eq!(me.id == old, kept);
        assert_eq!((me.config_epoch, view.current_epoch), if kept { (3, 3) } else { (0, 0) });
        assert_eq!(rig.cluster.link_counts(), (0, 0));
        let closed = rig.out.iter().filter(|action| matches!(action, Action::Close { .. })).count();
        assert_eq!(closed, 4);
        let lost = rig.out.iter().any(|action| matches!(action, Action::Lost { confirmed: None, .. }));
        assert!(lost);
    }
}

#[test]
fn cluster_info() {
    let mut rig = three();
    rig.wait(100);
    let text = render::info(&rig.cluster.view());
    let expected = "cluster_state:fail\r\ncluster_slots_assigned:200\r\ncluster_slots_ok:200\r\n\
        cluster_slots_pfail:0\r\ncluster_slots_fail:0\r\ncluster_nodes_pfail:0\r\ncluster_nodes_fail:0\r\n\
        cluster_voting_nodes_pfail:0\r\ncluster_voting_nodes_fail:0\r\ncluster_known_nodes:3\r\ncluster_size:2\r\n\
        cluster_current_epoch:3\r\ncluster_my_epoch:3\r\ncluster_stats_messages_";
    assert!(text.starts_with(expected), "{text}");
    let keys: Vec<&str> = text.lines().filter_map(|line| line.split(':').next()).skip(13).collect();
    assert_eq!(
        keys,
        [
            "cluster_stats_messages_pong_sent",
            "cluster_stats_messages_meet_sent",
            "cluster_stats_messages_sent",
            "cluster_stats_messages_ping_received",
            "cluster_stats_messages_pong_received",
            "cluster_stats_messages_received",
            "cluster_stats_bytes_sent",
            "cluster_stats_bytes_received",
            "cluster_stats_pubsub_bytes_sent",
            "cluster_stats_pubsub_bytes_received",
            "cluster_stats_module_bytes_sent",
            "cluster_stats_module_bytes_received",
            "total_cluster_links_buffer_limit_exceeded",
        ]
    );
}

fn rendered(write: impl FnOnce(&mut Reply<'_>)) -> String {
    let mut outbox = Outbox::default();
    write(&mut Reply::new(&mut outbox, Proto::Resp2));
    let bytes: Vec<u8> = outbox.chunks().flatten().copied().collect();
    let text = String::from_utf8(bytes).unwrap();
    // Lengths of texts say nothing that the texts do not.
    text.split("\r\n").filter(|line| !line.starts_with('$') || *line == "$-1").collect::<Vec<_>>().join(" ")
}

/// A lone node with three runs of slots and everything announced.
fn announced(endpoint_type: EndpointType) -> Rig {
    let announced = Announced {
        hostname: "me.example".into(),
        client_ipv6: "2001:db8::7".into(),
        client_tls_port: 9,
        zone: "z1".into(),
        ..Announced::default()
    };
    let config = ClusterConfig { announced, announce_ip: "10.1.1.1".into(), endpoint_type, ..config() };
    let mut rig = Rig::with(config, None);
    let now = rig.now();
    rig.cluster.add_slots(now, &ranges(&[(0, 1), (5, 5)]), &mut rig.out).unwrap();
    rig
}

#[test]
fn cluster_slots_follows_the_endpoint_type_and_the_client() {
    let v4 = Asker { tls: false, family: Family::V4 };
    let v6_tls = Asker { tls: true, family: Family::V6 };
    let cases = [
        (EndpointType::Ip, v4, "*4 10.1.1.1 :7000 ME *4 hostname me.example availability-zone z1"),
        (EndpointType::Ip, v6_tls, "*4 2001:db8::7 :9 ME *4 hostname me.example availability-zone z1"),
        (EndpointType::Hostname, v4, "*4 me.example :7000 ME *4 ip 10.1.1.1 availability-zone z1"),
        (
            EndpointType::Unknown,
            v4,
            "*4 $-1 :7000 ME *6 ip 10.1.1.1 hostname me.example availability-zone z1",
        ),
    ];
    for (kind, asker, node) in cases {
        let rig = announced(kind);
        let node = node.replace("ME", rig.me().as_str());
        let text = rendered(|reply| render::slots(&rig.cluster.view(), asker, reply));
        assert_eq!(text, std::format!("*2 *3 :0 :1 {node} *3 :5 :5 {node} "));
    }
    let config = ClusterConfig { endpoint_type: EndpointType::Hostname, ..config() };
    let mut rig = Rig::with(config, None);
    let now = rig.now();
    rig.cluster.add_slots(now, &ranges(&[(0, 0)]), &mut rig.out).unwrap();
    let text = rendered(|reply| render::slots(&rig.cluster.view(), v4, reply));
    assert!(text.contains(" ? :7000 "), "{text}");
}

#[test]
fn cluster_slots_lists_replicas_that_have_data_and_live() {
    let mut rig = three();
    let text = rendered(|reply| render::slots(&rig.cluster.view(), Asker::default(), reply));
    assert!(!text.contains(id(b'r').as_str()), "no offset yet");
    let primary = Peer::owning(b'p', 2, &[(100, 199)]);
    let mut replica = Peer::replica(b'r', &primary);
    replica.offset = 7;
    rig.open(&mut replica);
    rig.ping(&replica, &[]);
    let text = rendered(|reply| render::slots(&rig.cluster.view(), Asker::default(), reply));
    assert!(text.starts_with("*2 *3 :0 :99 ") && text.contains(" *4 :100 :199 "), "{text}");
    assert!(text.contains(id(b'r').as_str()));
}

#[test]
fn cluster_shards_lists_members_primary_first() {
    let rig = three();
    let text = rendered(|reply| render::shards(&rig.cluster.view(), Asker::default(), reply));
    let (me, p, r) = (rig.row(rig.me()), rig.row(id(b'p')), rig.row(id(b'r')));
    let node = |row: &crate::cluster::Row, role, health| {
        std::format!(
            "*14 id {} port :{} ip {} endpoint {} role {role} replication-offset :0 health {health}",
            row.id,
            row.port,
            row.ip,
            row.ip
        )
    };
    let expected = std::format!(
        "*2 *6 slots *2 :0 :99 nodes *1 {} id {} *6 slots *2 :100 :199 nodes *2 {} {} id {} ",
        node(&me, "master", "online"),
        me.shard,
        node(&p, "master", "online"),
        node(&r, "replica", "loading"),
        p.shard,
    );
    // An empty address is an empty text.
    let tidy =
        |text: &str| text.replace("ip endpoint", "ip  endpoint").replace("endpoint role", "endpoint  role");
    assert_eq!(tidy(&text), tidy(&expected));
    let rig = announced(EndpointType::Unknown);
    let text = rendered(|reply| render::shards(&rig.cluster.view(), Asker::default(), reply));
    assert!(text.contains("port :7000 tls-port :9 ip 10.1.1.1 endpoint  hostname me.example"), "{text}");
    assert!(text.contains("health online availability-zone z1"), "{text}");
}

#[test]
fn cluster_nodes_replicas_and_links() {
    let rig = three();
    let view = rig.cluster.view();
    let text = render::nodes(&view, Asker::default());
    let (p, r, me) = (id(b'p'), id(b'r'), rig.me());
    let pong = rig.row(p).pong_received_ms;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], std::format!("{me} 10.0.0.1:7000@17000 myself,master - 0 0 3 connected 0-99"));
    assert_eq!(lines[1], std::format!("{p} 10.0.0.12:8112@18112 master - 0 {pong} 2 connected 100-199"));
    let pong = rig.row(r).pong_received_ms;
    let replica = std::format!("{r} 10.0.0.14:8114@18114 slave {p} 0 {pong} 2 connected");
    assert_eq!(lines[2], replica);
    assert_eq!(render::replicas(&view, p.as_bytes(), Asker::default()), Ok(Vec::from([replica])));
    let text = rendered(|reply| render::links(&view, reply));
    assert!(text.starts_with("*4 *12 direction "), "{text}");
    assert_eq!(text.matches("direction to").count(), 2);
    assert_eq!(text.matches(" events ").count(), 4);
    let reply = AdminReply::Simple("BUMPED 3".into());
    assert_eq!(rendered(|out| reply.write(out)), "+BUMPED 3 ");
}
