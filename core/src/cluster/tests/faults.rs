//! What DEBUG makes go wrong on the bus goes wrong, and no longer when it is taken back.

use super::rig::{Peer, Rig, config};
use crate::cluster::{Action, ClusterConfig, Fault};
use crate::wire::bus::{Body, Kind};

fn disturb(rig: &mut Rig, fault: Fault) {
    let now = rig.now();
    rig.cluster.disturb(now, fault, &mut rig.out);
}

#[test]
fn messages_of_a_kind_are_dropped() {
    let mut rig = Rig::new();
    let mut peer = Peer::new(b'p');
    rig.join(&mut peer);
    for (filter, pings) in [(0, 0), (1, 1), (-2, 0), (-1, 1)] {
        disturb(&mut rig, Fault::Drop(filter));
        rig.sent();
        rig.ping(&peer, &[]);
        let pongs = rig.sent().into_iter().filter(|(_, kind)| *kind == Kind::Pong).count();
        assert_eq!(pongs, pings, "filter {filter}");
    }
}

#[test]
fn a_link_is_closed_with_what_is_dropped() {
    let mut rig = Rig::new();
    let mut peer = Peer::new(b'p');
    rig.join(&mut peer);
    disturb(&mut rig, Fault::CloseOnDrop(true));
    rig.ping(&peer, &[]);
    assert!(!rig.out.iter().any(|action| matches!(action, Action::Close { .. })), "nothing is dropped yet");
    disturb(&mut rig, Fault::Drop(3));
    rig.say(&peer, Body::Fail(peer.id));
    let inbound = peer.inbound.unwrap();
    assert!(rig.out.contains(&Action::Close { link: inbound }));
}

#[test]
fn links_are_killed_by_direction_and_not_opened_again() {
    let mut rig = Rig::new();
    let mut peer = Peer::new(b'p');
    let outbound = rig.join(&mut peer);
    let inbound = peer.inbound.unwrap();
    disturb(&mut rig, Fault::NoReconnection(true));
    disturb(&mut rig, Fault::Kill { node: peer.id, to: true, from: false });
    assert!(rig.out.contains(&Action::Close { link: outbound }));
    assert!(!rig.out.contains(&Action::Close { link: inbound }));
    rig.out.clear();
    disturb(&mut rig, Fault::Kill { node: peer.id, to: true, from: true });
    assert!(rig.out.contains(&Action::Close { link: inbound }));
    rig.out.clear();
    rig.wait(1000);
    assert_eq!(rig.dialed_to(&peer), None);
    disturb(&mut rig, Fault::NoReconnection(false));
    rig.wait(1000);
    assert!(rig.dialed_to(&peer).is_some());
}

#[test]
fn nobody_is_pinged_by_lot() {
    // Nodes are pinged by need as well, after half of their timeout.
    let mut rig = Rig::with(ClusterConfig { node_timeout_ms: 60_000, ..config() }, None);
    let mut peer = Peer::new(b'p');
    let link = rig.join(&mut peer);
    disturb(&mut rig, Fault::NoRandomPings(true));
    rig.pong_on(link, &peer);
    rig.sent();
    rig.wait(3000);
    assert!(rig.sent().iter().all(|(_, kind)| *kind != Kind::Ping));
    disturb(&mut rig, Fault::NoRandomPings(false));
    rig.wait(3000);
    assert!(rig.sent().iter().any(|(_, kind)| *kind == Kind::Ping));
}
