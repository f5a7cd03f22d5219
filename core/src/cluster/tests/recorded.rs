//! Packets that real servers sent, fed to the machine.

use std::fs;
use std::path::PathBuf;
use std::string::String;
use std::vec::Vec;

use super::rig::{Rig, config, now_at, ranges};
use crate::cluster::{Action, Cluster, Health, Input, ViewRole};
use crate::ids::{LinkId, NodeId};
use crate::rng::Rng;
use crate::slots::{Slot, SlotSet};
use crate::wire::bus::{Body, Kind, Message, decode};

fn packets() -> Vec<(String, Vec<u8>)> {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/bus"));
    let mut out = Vec::new();
    for server in ["redis", "valkey"] {
        for entry in fs::read_dir(root.join(server)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "bin") {
                let name = std::format!("{server}/{}", path.file_stem().unwrap().to_str().unwrap());
                out.push((name, fs::read(&path).unwrap()));
            }
        }
    }
    out.sort();
    out
}

fn packet(name: &str) -> Vec<u8> {
    packets().into_iter().find(|(n, _)| n == name).unwrap().1
}

fn sender(bytes: &[u8]) -> NodeId {
    match decode(bytes).unwrap() {
        Message::Full { header, .. } => header.sender,
        Message::Light(_) => panic!("a light message has no sender"),
    }
}

/// A machine whose nodes.conf knows these nodes as primaries.
fn knowing(nodes: &[NodeId]) -> Rig {
    let mut text = std::format!(
        "{} 127.0.0.1:7000@17000 myself,master - 0 0 1 connected 16000-16383\n",
        super::rig::id(b'm')
    );
    for (i, node) in nodes.iter().enumerate() {
        text += &std::format!("{node} 127.0.0.1:{0}@1{0} master - 0 0 0 connected\n", 1000 + i);
    }
    Rig::with(config(), Some(text.as_bytes()))
}

fn hear(rig: &mut Rig, bytes: &[u8]) -> LinkId {
    let link = LinkId::accepted(1000 + rig.ms);
    rig.ms += 1;
    let (peer, local) = ("127.0.0.1:40000".parse().unwrap(), "127.0.0.1:17000".parse().unwrap());
    rig.out.clear();
    rig.input(Input::Opened { link, peer, local });
    rig.input(Input::Filled { link, bytes });
    link
}

#[test]
fn the_first_meet_of_each_server_is_answered_and_begins_a_handshake() {
    for name in ["valkey/meet", "redis/meet_plain", "redis/meet_hostname"] {
        let bytes = packet(name);
        let Ok(Message::Full { header, .. }) = decode(&bytes) else { panic!("{name}") };
        let mut rig = Rig::new();
        let link = hear(&mut rig, &bytes);
        assert_eq!(rig.sent(), [(link, Kind::Pong)], "{name}");
        let view = rig.cluster.view();
        let row = view.rows.iter().find(|row| row.handshake).unwrap_or_else(|| panic!("{name}"));
        assert_eq!((row.ip.as_str(), row.port, row.bus_port), ("127.0.0.1", header.port, header.bus_port));
    }
}

#[test]
fn a_known_node_is_understood() {
    let bytes = packet("valkey/ping_all_extensions");
    let node = sender(&bytes);
    let mut rig = knowing(&[node]);
    let link = hear(&mut rig, &bytes);
    assert_eq!(rig.sent(), [(link, Kind::Pong)]);
    let row = rig.row(node);
    assert_eq!(row.announced.hostname, "node-a.example.com");
    assert_eq!(row.announced.nodename, "alpha");
    assert_eq!((row.announced.client_port, row.announced.client_tls_port), (16379, 16380));
    assert_eq!(row.announced.zone, "us-east-1a");
    assert_eq!(row.shard.as_str(), "c686ab53484b415d032bdd579afa42ba749c723c");
    assert_eq!((row.slots, row.port, row.offset), (ranges(&[(0, 5461)]), 21001, 28));
    assert_eq!(rig.cluster.view().current_epoch, 3);
    assert_eq!(rig.cluster.view().rows.len(), 4, "with the two nodes it gossips about");
    let replica = NodeId::parse(b"109b46751bad14a4a9d199678bd42ddd5617c947").unwrap();
    assert_eq!(rig.row(replica).role, ViewRole::Replica(None));
}

#[test]
fn a_replica_is_placed_under_its_primary() {
    for name in ["valkey/ping_from_replica", "redis/ping_from_replica"] {
        let bytes = packet(name);
        let Ok(Message::Full { header, .. }) = decode(&bytes) else { panic!("{name}") };
        let (node, primary) = (header.sender, header.replica_of.unwrap());
        let mut rig = knowing(&[node, primary]);
        hear(&mut rig, &bytes);
        assert_eq!(rig.row(node).role, ViewRole::Replica(Some(primary)), "{name}");
        assert_eq!(rig.row(node).shard, rig.row(primary).shard, "{name}");
        assert_eq!(rig.row(node).slot_count, 0, "{name}: its header is about its primary");
    }
}

#[test]
fn a_fail_is_believed() {
    for name in ["valkey/fail", "redis/fail"] {
        let bytes = packet(name);
        let node = sender(&bytes);
        let failed = NodeId::parse(&bytes[2256..]).unwrap();
        let mut rig = knowing(&[node, failed]);
        hear(&mut rig, &bytes);
        assert_eq!(rig.row(failed).health, Health::Failed, "{name}");
    }
}

#[test]
fn an_update_is_believed() {
    for name in ["valkey/update", "redis/update"] {
        let mut bytes = packet(name);
        // As if a third node had sent it: in the recordings nodes speak of themselves.
        bytes[24..32].fill(0);
        bytes[40..80].fill(b't');
        let Ok(Message::Full { header, body }) = decode(&bytes) else { panic!("{name}") };
        let Body::Update { node: subject, config_epoch, slots } = body else { panic!("{name}") };
        let mut rig = knowing(&[header.sender, subject]);
        hear(&mut rig, &bytes);
        assert_eq!(rig.row(subject).config_epoch, config_epoch, "{name}");
        assert_eq!(rig.row(subject).slots, SlotSet::from_bitmap(slots.0).to_ranges(), "{name}");
    }
}

#[test]
fn a_vote_is_given_to_the_recorded_replicas() {
    for (name, primary_failed, votes) in [
        ("valkey/auth_request_auto", false, 1),
        ("valkey/auth_request_auto_noforce", false, 0),
        ("valkey/auth_request_auto_noforce", true, 1),
        ("valkey/auth_request_manual", false, 1),
        ("redis/auth_request_auto", true, 1),
        ("redis/auth_request_auto", false, 0),
        ("redis/auth_request_manual", false, 1),
    ] {
        let bytes = packet(name);
        let Ok(Message::Full { header, .. }) = decode(&bytes) else { panic!("{name}") };
        let (node, primary) = (header.sender, header.replica_of.unwrap());
        let flags = if primary_failed { "master,fail" } else { "master" };
        let asked = SlotSet::from_bitmap(header.slots.0);
        let own = Slot::all().find(|&slot| !asked.contains(slot)).unwrap();
        let text = std::format!(
            "{} 127.0.0.1:7000@17000 myself,master - 0 0 1 connected {own}\n\
             {node} 127.0.0.1:1@2 slave {primary} 0 0 0 connected\n\
             {primary} 127.0.0.1:3@4 {flags} - 0 0 {epoch} connected\n",
            super::rig::id(b'm'),
            epoch = header.config_epoch,
        );
        let mut rig = Rig::with(config(), Some(text.as_bytes()));
        hear(&mut rig, &bytes);
        let given = usize::from(rig.cluster.view().last_vote_epoch == header.current_epoch);
        assert_eq!(given, votes, "{name}, primary failed: {primary_failed}");
    }
}

#[test]
fn a_forgotten_node_leaves() {
    let bytes = packet("valkey/ping_forgotten_node");
    let gone = NodeId::parse(b"109b46751bad14a4a9d199678bd42ddd5617c947").unwrap();
    let mut rig = knowing(&[sender(&bytes), gone]);
    hear(&mut rig, &bytes);
    assert!(!rig.knows(gone));
}

#[test]
fn messages_of_a_member_are_delivered_in_both_forms() {
    let ping = packet("valkey/ping_shardid_only");
    for (name, sharded) in [("publish_light", false), ("publishshard_light", true)] {
        let mut rig = knowing(&[sender(&ping)]);
        let link = hear(&mut rig, &ping);
        rig.input(Input::Filled { link, bytes: &packet(&std::format!("valkey/{name}")) });
        let published = |action: &Action| match action {
            Action::Published { sharded, message, .. } => Some((*sharded, message.clone())),
            _ => None,
        };
        let got: Vec<_> = rig.out.iter().filter_map(published).collect();
        assert_eq!(got.len(), 1);
        assert_eq!(got[0].0, sharded);
    }
    for name in ["valkey/publish_normal", "redis/publish", "valkey/publishshard_normal", "redis/publishshard"]
    {
        let bytes = packet(name);
        let mut rig = knowing(&[sender(&bytes)]);
        hear(&mut rig, &bytes);
        assert!(rig.out.iter().any(|action| matches!(action, Action::Published { .. })), "{name}");
    }
    for name in ["redis/module", "valkey/module_normal", "redis/mfstart", "valkey/mfstart", "valkey/auth_ack"]
    {
        let bytes = packet(name);
        let mut rig = knowing(&[sender(&bytes)]);
        hear(&mut rig, &bytes);
        assert!(!rig.out.iter().any(|action| matches!(action, Action::Send { .. })), "{name}");
        assert_eq!(rig.cluster.view().stats.received.iter().sum::<u64>(), 1, "{name}");
    }
}

#[test]
fn any_order_of_packets_and_damage_leaves_a_sane_machine() {
    let packets = packets();
    for seed in 0..150 {
        let mut rng = Rng::new(seed);
        let known: Vec<NodeId> = packets
            .iter()
            .filter_map(|(_, bytes)| match decode(bytes) {
                Ok(Message::Full { header, .. }) if rng.one_in(2) => Some(header.sender),
                _ => None,
            })
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect();
        let mut rig = knowing(&known);
        let mut open: Vec<LinkId> = Vec::new();
        for step in 0..60u64 {
            rig.ms += rng.below(300);
            rig.input(Input::Ticked);
            let link = match rng.index(4) {
                0 => {
                    let link = LinkId::accepted(5000 + step);
                    let (peer, local) = ("127.0.0.1:4".parse().unwrap(), "127.0.0.1:17000".parse().unwrap());
                    rig.input(Input::Opened { link, peer, local });
                    open.push(link);
                    link
                }
                1 => match rig.dialed() {
                    Some((link, to)) => {
                        rig.input(Input::Connected { link, local: to });
                        open.push(link);
                        link
                    }
                    None => continue,
                },
                _ if !open.is_empty() => open[rng.index(open.len())],
                _ => continue,
            };
            let mut bytes = packets[rng.index(packets.len())].1.clone();
            if rng.one_in(2) {
                let at = rng.index(bytes.len());
                bytes[at] = rng.bits() as u8;
            }
            for chunk in bytes.chunks(1 + rng.index(3000)) {
                rig.input(Input::Filled { link, bytes: chunk });
            }
            if rng.one_in(6) {
                rig.input(Input::Closed { link });
            }
            if step % 8 == 7 {
                sane(&rig.cluster, seed);
            }
        }
    }
}

/// What must hold whatever peers say.
fn sane(cluster: &Cluster, seed: u64) {
    let view = cluster.view();
    assert_eq!(view.rows.iter().filter(|row| row.myself).count(), 1, "seed {seed}");
    assert_eq!(view.myself().role, ViewRole::Primary, "seed {seed}");
    let highest = view.rows.iter().map(|row| row.config_epoch).max().unwrap();
    assert!(view.current_epoch >= highest, "seed {seed}");
    for link in &view.links {
        assert!(view.find(link.node).is_some(), "seed {seed}");
    }
    let (takings, partings, unannounced) = Default::default();
    let saved = crate::cluster::conf::write(&view, &takings, &partings, &unannounced);
    let again = Cluster::new(config(), 1, now_at(0), Some(saved.as_bytes()));
    let again = again.unwrap_or_else(|e| panic!("seed {seed}: {e}\n{saved}"));
    assert_eq!(again.view().myself().slots, view.myself().slots, "seed {seed}");
}
