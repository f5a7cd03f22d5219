//! nodes.conf: what is written, what is read, what is refused.

use std::string::{String, ToString};
use std::vec::Vec;

use super::rig::{Peer, Rig, config, id, now_at, ranges, shard};
use crate::cluster::{Action, Announced, Cluster, ClusterConfig, Health, SetSlot, ViewRole, conf};
use crate::ids::NodeId;
use crate::slots::Slot;
use crate::wire::bus::{Extension, Talk};

fn load(text: &str) -> Cluster {
    Cluster::new(config(), 3, now_at(5000), Some(text.as_bytes())).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

fn text(cluster: &Cluster) -> String {
    conf::write(&cluster.view(), &cluster.takings, &cluster.partings, cluster.slots.unannounced())
}

/// `{a}` stands for forty times `a`.
fn ids(text: &str) -> String {
    let mut out = text.to_string();
    for letter in 'a'..='z' {
        let name: String = core::iter::repeat_n(letter, 40).collect();
        out = out.replace(&std::format!("{{{letter}}}"), &name);
    }
    out
}

#[test]
fn a_fresh_node_saves_itself_first_thing() {
    let mut cluster = Cluster::new(config(), 3, now_at(0), None).unwrap();
    let mut out = Vec::new();
    cluster.handle(now_at(0), crate::cluster::Input::Ticked, &mut out);
    let Action::Save { fsync: true, bytes, .. } = &out[0] else { panic!("{out:?}") };
    let view = cluster.view();
    let (id, shard) = (view.myself().id, view.myself().shard);
    let expected = std::format!(
        "{id} :7000@17000,,tls-port=0,shard-id={shard} myself,master - 0 0 0 connected\n\
         vars currentEpoch 0 lastVoteEpoch 0\n"
    );
    assert_eq!(std::str::from_utf8(bytes).unwrap(), expected);
    let other = Cluster::new(config(), 4, now_at(0), Some(b"")).unwrap();
    assert_ne!(other.view().myself().id, id, "an empty file is none, and another seed another node");
}

#[test]
fn the_lines_of_valkey_are_read() {
    let cluster = load(&ids(
        "{b} 127.0.0.1:21054@31054,,tls-port=0,shard-id={s} slave {a} 0 1795257950043 2 connected\n\
         {a} 127.0.0.1:21051@31051,,tls-port=0,shard-id={s} master - 0 1795257950042 2 connected 0-5000 5002\n\
         \n\
         {m} 127.0.0.1:7000@17000,host.example,availability-zone=zone-1,client-tls-port=7,client-tcp-port=6,\
         client-ipv6=::1,client-ipv4=1.2.3.4,tls-port=0,nodename=nick,shard-id={t} myself,primary - 5 0 9 \
         connected 6000-6001 [93->-{a}] [77-<-{a}]\n\
         {n} :0@0,,tls-port=0,shard-id={u} master,noaddr - 1 1 4 disconnected\n\
         {f} ::1:5@6,,tls-port=8,shard-id={v} master,fail?,nofailover - 1 1 4 disconnected\n\
         {h} 127.0.0.9:1@2,,tls-port=0,shard-id={w} handshake - 0 0 0 disconnected\n\
         vars currentEpoch 3 lastVoteEpoch 1 somethingNew 7\n",
    ));
    let view = cluster.view();
    let row = |letter| view.find(id(letter)).unwrap();
    assert_eq!(view.rows.len(), 5, "a handshake is not continued");
    assert_eq!(row(b'b').role, ViewRole::Replica(Some(id(b'a'))));
    assert_eq!((row(b'a').slots.clone(), row(b'a').slot_count), (ranges(&[(0, 5000), (5002, 5002)]), 5002));
    assert_eq!((row(b'a').shard, row(b'b').shard), (shard(b's'), shard(b's')));
    assert_eq!(row(b'a').pong_received_ms, now_at(5000).wall_ms(), "times are taken as now");
    let me = view.myself();
    assert_eq!((me.id, me.shard, me.config_epoch, me.slot_count), (id(b'm'), shard(b't'), 9, 2));
    assert_eq!(view.migrating, [(Slot::new(93).unwrap(), id(b'a'))]);
    assert_eq!(view.importing, [(Slot::new(77).unwrap(), id(b'a'))]);
    assert!(row(b'n').noaddr && row(b'n').health == Health::Failed);
    let f = row(b'f');
    assert_eq!((f.health, f.nofailover, f.ip.as_str(), f.tls_port), (Health::Suspected, true, "::1", 8));
    assert_eq!((view.current_epoch, view.last_vote_epoch), (9, 1), "no epoch of a node is above the current");
}

#[test]
fn the_lines_of_redis_and_older_are_read() {
    let cluster = load(&ids("{a} 127.0.0.1:7001@17001,host master - 0 0 2 connected 0-10\n\
         {b} 127.0.0.1:7002 slave {a} 0 0 2 connected\n\
         {c} 127.0.0.1:7003@17003 slave {x} 0 0 2 connected\n\
         {m} 127.0.0.1:7000@17000 myself,master - 0 0 1 connected\n\
         vars currentEpoch 6 lastVoteEpoch 0\n\n\n\n"));
    let view = cluster.view();
    let row = |letter| view.find(id(letter)).unwrap();
    assert_eq!(row(b'a').announced.hostname, "host");
    assert_eq!(row(b'b').bus_port, 17002);
    assert_eq!(row(b'b').shard, row(b'a').shard, "a replica is in its primary's shard");
    assert_eq!(row(b'c').role, ViewRole::Replica(None));
    assert_eq!(view.myself().shard.as_bytes().len(), 40);
}

const TWO_PRIMARIES: &str = "{a} 127.0.0.1:7001@17001,,tls-port=0,shard-id={a} master - 0 0 2 connected 0-10\n\
    {m} 127.0.0.1:7000@17000,,tls-port=0,shard-id={m} myself,master - 0 0 3 connected 20-22 25\n";

#[test]
fn slots_taken_over_are_remembered_until_their_source_is_heard_without_them() {
    let lines = ids(TWO_PRIMARIES);
    let vars = ids("vars currentEpoch 3 lastVoteEpoch 0 takenOver {a},20-22,25-25\n");
    let saved = text(&load(&(lines.clone() + &vars)));
    assert!(saved.ends_with(&vars), "{saved}");
    let forgotten = ids("vars currentEpoch 3 lastVoteEpoch 0 takenOver {x},20-22\n");
    let saved = text(&load(&(lines.clone() + &forgotten)));
    assert!(saved.ends_with("vars currentEpoch 3 lastVoteEpoch 0\n"), "of a node that is no member: {saved}");
    for wrong in ["takenOver {a},20-", "takenOver {a},20-99999", "takenOver a"] {
        let text = ids(&(lines.clone() + "vars " + wrong + "\n"));
        assert!(Cluster::new(config(), 3, now_at(5000), Some(text.as_bytes())).is_err(), "{wrong}");
    }
}

#[test]
fn slots_that_may_have_been_granted_are_remembered_while_they_are_this_nodes() {
    let lines = ids(TWO_PRIMARIES);
    let vars = ids("vars currentEpoch 3 lastVoteEpoch 0 mayBeGranted {a},3,1,20-22,25-25\n");
    let saved = text(&load(&(lines.clone() + &vars)));
    assert!(saved.ends_with(&vars), "{saved}");
    for nothing in ["{x},3,1,20-22", "{a},3,1,9-10", "{a},3,1"] {
        let vars = ids(&std::format!("vars currentEpoch 3 lastVoteEpoch 0 mayBeGranted {nothing}\n"));
        let saved = text(&load(&(lines.clone() + &vars)));
        assert!(saved.ends_with("vars currentEpoch 3 lastVoteEpoch 0\n"), "{nothing}: {saved}");
    }
    for wrong in ["{a},3,20-22", "{a}", "{a},3,1,20-"] {
        let text = ids(&(lines.clone() + "vars mayBeGranted " + wrong + "\n"));
        assert!(Cluster::new(config(), 3, now_at(5000), Some(text.as_bytes())).is_err(), "{wrong}");
    }
}

#[test]
fn slots_that_their_owner_no_longer_announces_are_remembered() {
    let lines = ids(TWO_PRIMARIES);
    let none = "vars currentEpoch 3 lastVoteEpoch 0\n";
    for (told, kept) in [("3-5,7-7", "3-5,7-7"), ("7,9-30", "7-7,9-10"), ("20-22", ""), ("11", "")] {
        let saved = text(&load(&(lines.clone() + none.trim_end() + " unannounced " + told + "\n")));
        let expected = if kept.is_empty() {
            none.into()
        } else {
            none.trim_end().to_string() + " unannounced " + kept + "\n"
        };
        assert!(saved.ends_with(&expected), "{told}: {saved}");
    }
    for wrong in ["", "3-", "3,,4", "99999"] {
        let text = ids(&(lines.clone() + "vars unannounced " + wrong + "\n"));
        assert!(Cluster::new(config(), 3, now_at(5000), Some(text.as_bytes())).is_err(), "{wrong}");
    }
}

/// Found by the fuzzer: until it has read its file, a node has a name drawn by lot.
#[test]
fn a_line_may_have_the_name_that_was_drawn_for_this_node() {
    let drawn = Cluster::new(config(), 3, now_at(5000), None).unwrap().view().myself().id;
    let cluster = load(&ids(&std::format!(
        "{drawn} 127.0.0.1:7001@17001 master - 0 0 2 connected 0-10\n\
         {{m}} 127.0.0.1:7000@17000 myself,master - 0 0 1 connected\nvars currentEpoch 2 lastVoteEpoch 0\n"
    )));
    let view = cluster.view();
    assert_eq!((view.rows.len(), view.myself().id), (2, id(b'm')));
    assert_eq!(view.find(drawn).unwrap().slots, ranges(&[(0, 10)]));
}

#[test]
fn what_is_written_is_read_back() {
    let announced = Announced {
        hostname: "me.example".into(),
        nodename: "nick".into(),
        client_ipv4: "203.0.113.7".into(),
        client_ipv6: "2001:db8::7".into(),
        client_port: 6,
        client_tls_port: 7,
        zone: "zone-1".into(),
    };
    for tls_cluster in [false, true] {
        let config = ClusterConfig { announced: announced.clone(), tls_port: 7443, tls_cluster, ..config() };
        let mut rig = Rig::with(config.clone(), None);
        let now = rig.now();
        rig.cluster.set_config_epoch(now, 4, &mut rig.out).unwrap();
        rig.cluster.add_slots(now, &ranges(&[(0, 100), (102, 102), (16383, 16383)]), &mut rig.out).unwrap();
        let mut primary = Peer::owning(b'p', 6, &[(200, 299)]);
        rig.join(&mut primary);
        let mut replica = Peer::replica(b'r', &primary);
        rig.join(&mut replica);
        let extensions = Vec::from([Extension::Hostname(b"p.example"), Extension::Shard(primary.shard)]);
        let talk = Talk { extensions, ..Talk::default() };
        rig.say(&primary, crate::wire::bus::Body::Ping(talk));
        let source = primary.id;
        let slot = |number| Slot::new(number).unwrap();
        let marks = [
            (250, SetSlot::Importing(source.as_bytes())),
            (5, SetSlot::Migrating(source.as_bytes())),
            (9, SetSlot::Migrating(source.as_bytes())),
        ];
        for (number, mark) in marks {
            rig.cluster.set_slot(now, slot(number), mark, 1, &mut rig.out).unwrap();
        }
        let saved = text(&rig.cluster);
        let front = if tls_cluster { ":7443@17443,me.example" } else { ":7000@17000,me.example" };
        assert!(saved.contains(front), "{saved}");
        let other = if tls_cluster { "tcp-port=7000,nodename=nick" } else { "tls-port=7443,nodename=nick" };
        assert!(saved.contains(other), "{saved}");
        assert!(
            saved
                .contains(&std::format!(" 0-100 102 16383 [5->-{source}] [9->-{source}] [250-<-{source}]\n"))
        );
        let again = Cluster::new(config, 9, rig.now(), Some(saved.as_bytes())).unwrap();
        let (mut before, after) = ((*rig.cluster.view()).clone(), again.view());
        // Links do not outlive the process, offsets are not saved, and times are taken as now.
        for (row, read) in before.rows.iter_mut().zip(&after.rows) {
            row.connected = read.connected;
            (row.ping_sent_ms, row.pong_received_ms) = (read.ping_sent_ms, read.pong_received_ms);
        }
        assert_eq!(before.rows, after.rows);
        assert_eq!((&before.migrating, &before.importing), (&after.migrating, &after.importing));
        assert_eq!(
            (before.current_epoch, before.last_vote_epoch),
            (after.current_epoch, after.last_vote_epoch)
        );
    }
}

#[test]
fn a_file_that_cannot_be_believed_is_refused_with_its_line() {
    let me = "{m} 1.1.1.1:1@2,,tls-port=0,shard-id={s} myself,master - 0 0 1 connected";
    let cases: [(&str, usize, &str); 26] = [
        ("", 0, "no line about this node itself"),
        ("{a} 1.1.1.1:1@2 master - 0 0 1 connected", 0, "no line about this node itself"),
        ("ME\n{a} 1.1.1.1:1@2 myself,master - 0 0 1 connected", 2, "a second line about this node itself"),
        ("{m} 1.1.1.1:1@2 myself,slave {m} 0 0 1 connected", 1, "this node was a replica"),
        ("ME\n{a} 1.1.1.1:1@2 master - 0 0 1", 2, "7 columns instead of at least 8"),
        ("ME\n\n{m} 1.1.1.1:1@2 master - 0 0 1 connected", 3, "appears twice"),
        ("ME\nabc 1.1.1.1:1@2 master - 0 0 1 connected", 2, "'abc' is no node id"),
        ("ME\n{a} 1.1.1.1:1@2 slave abc 0 0 1 connected", 2, "'abc' is no node id"),
        ("ME\n{a} 1.1.1.1 master - 0 0 1 connected", 2, "no port in '1.1.1.1'"),
        ("ME\n{a} 1.1.1.1:99999@2 master - 0 0 1 connected", 2, "'99999' is no number"),
        ("ME\n{a} 1.1.1.1:1@x master - 0 0 1 connected", 2, "'x' is no number"),
        ("ME\n{a} 1.1.1.1:60000 master - 0 0 1 connected", 2, "no bus port"),
        ("ME\n{a} 1.1.1.1:1@2,,color=red master - 0 0 1 connected", 2, "unknown field 'color'"),
        ("ME\n{a} 1.1.1.1:1@2,,color master - 0 0 1 connected", 2, "'color' is no named field"),
        ("ME\n{a} 1.1.1.1:1@2,ho$t master - 0 0 1 connected", 2, "'ho$t' has a character"),
        ("ME\n{a} 1.1.1.1:1@2,,shard-id=12 master - 0 0 1 connected", 2, "'12' is no shard id"),
        ("ME\n{a} 1.1.1.1:1@2,,tls-port=-1 master - 0 0 1 connected", 2, "'-1' is no number"),
        ("ME\n{a} 1.1.1.1:1@2 master,tired - 0 0 1 connected", 2, "unknown flag 'tired'"),
        ("ME\n{a} 1.1.1.1:1@2 master - x 0 1 connected", 2, "'x' is no number"),
        ("ME\n{a} 1.1.1.1:1@2 master - 0 0 -1 connected", 2, "'-1' is no number"),
        ("ME\n{a} 1.1.1.1:1@2 master - 0 0 1 connected 16384", 2, "'16384' is no slot"),
        ("ME\n{a} 1.1.1.1:1@2 master - 0 0 1 connected 7-6", 2, "'7-6' is no slot"),
        ("{m} 1.1.1.1:1@2 myself,master - 0 0 1 connected [7->-abc]", 1, "'abc' is no node id"),
        ("{m} 1.1.1.1:1@2 myself,master - 0 0 1 connected [7-{a}]", 1, "is no slot, range or open slot"),
        ("ME\nvars currentEpoch", 2, "variable 'currentEpoch' without a value"),
        ("ME\nvars currentEpoch x", 2, "'x' is no number"),
    ];
    for (lines, line, why) in cases {
        let text = ids(&lines.replace("ME", me)) + "\n";
        let error = Cluster::new(config(), 1, now_at(0), Some(text.as_bytes())).expect_err(lines);
        assert_eq!(error.line, line, "{lines}: {error}");
        assert!(error.to_string().contains(why), "{lines}: {error}");
    }
    let error = Cluster::new(config(), 1, now_at(0), Some(b"\xff\n")).unwrap_err();
    assert_eq!(error.to_string(), "corrupted cluster config file: not UTF-8 text");
}

#[test]
fn a_file_cut_anywhere_never_panics() {
    let mut rig = Rig::owning(4, &[(0, 100), (102, 102)]);
    let mut primary = Peer::owning(b'p', 6, &[(200, 299)]);
    rig.join(&mut primary);
    let saved = text(&rig.cluster);
    let mut read = 0;
    for cut in 0..saved.len() {
        let part = &saved.as_bytes()[..cut];
        read += usize::from(Cluster::new(config(), 1, now_at(0), Some(part)).is_ok());
        let mut bytes = saved.clone().into_bytes();
        bytes[cut] = b'~';
        let _ = Cluster::new(config(), 1, now_at(0), Some(&bytes));
    }
    assert!(read > 0, "whole lines are readable");
}

#[test]
fn names_that_are_not_in_the_file_are_not_invented() {
    let text = ids("{m} 1.1.1.1:1@2 myself,master - 0 0 1 connected 5 [5->-{z}]\n");
    let cluster = load(&text);
    assert!(cluster.view().migrating.is_empty());
    assert!(cluster.view().find(NodeId::from_bytes([b'z'; 40])).is_none());
}
