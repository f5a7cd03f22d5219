//! Votes for replicas of other shards.

use super::rig::{Peer, Rig, body, config, set};
use crate::cluster::{Action, Input};
use crate::wire::bus::{Bitmap, Body, Kind, MessageFlags};

/// A voter, a failed primary and its replica that asks for votes at epoch 5.
fn election() -> (Rig, Peer, Peer) {
    election_before(Rig::owning(3, &[(0, 9)]))
}

/// The same before any node.
fn election_before(mut rig: Rig) -> (Rig, Peer, Peer) {
    let mut primary = Peer::owning(b'p', 2, &[(20, 29)]);
    rig.join(&mut primary);
    let mut replica = Peer::replica(b'r', &primary);
    rig.join(&mut replica);
    rig.say(&replica, Body::Fail(primary.id));
    replica.current_epoch = 5;
    rig.out.clear();
    (rig, primary, replica)
}

fn votes(rig: &mut Rig) -> usize {
    rig.sent_of(Kind::AuthAck).len()
}

#[test]
fn a_vote_is_durable_before_it_is_sent_and_given_once_per_epoch() {
    let (mut rig, _, mut replica) = election();
    rig.say(&replica, Body::AuthRequest);
    let Action::Save { fsync: true, bytes, .. } = &rig.out[0] else { panic!("{:?}", rig.out) };
    assert!(std::str::from_utf8(bytes).unwrap().ends_with("vars currentEpoch 5 lastVoteEpoch 5\n"));
    let Action::Send { bytes, .. } = &rig.out[1] else { panic!("{:?}", rig.out) };
    body(bytes, |header, body| {
        assert_eq!(*body, Body::AuthAck);
        assert_eq!(header.current_epoch, 5);
    });
    rig.out.clear();
    rig.say(&replica, Body::AuthRequest);
    assert_eq!(votes(&mut rig), 0, "one vote per epoch");
    replica.current_epoch = 6;
    rig.say(&replica, Body::AuthRequest);
    assert_eq!(votes(&mut rig), 1);
    assert_eq!(rig.cluster.view().last_vote_epoch, 6);
    replica.current_epoch = 5;
    rig.say(&replica, Body::AuthRequest);
    assert_eq!(votes(&mut rig), 0, "an old epoch");
}

#[test]
fn a_vote_survives_a_restart() {
    let (mut rig, _, mut replica) = election();
    rig.say(&replica, Body::AuthRequest);
    let Action::Save { bytes, .. } = &rig.out[0] else { panic!("{:?}", rig.out) };
    let mut again = Rig::with(config(), Some(bytes));
    replica.inbound = None;
    again.open(&mut replica);
    again.ping(&replica, &[]);
    again.out.clear();
    again.say(&replica, Body::AuthRequest);
    assert_eq!(votes(&mut again), 0);
    replica.current_epoch = 6;
    again.say(&replica, Body::AuthRequest);
    // The vote needs a link to go on; that it was given is durable.
    assert_eq!(again.cluster.view().last_vote_epoch, 6);
}

#[test]
fn nobody_votes_without_reason() {
    // A primary without slots.
    let (mut rig, mut primary, mut replica) = election_before(Rig::new());
    rig.say(&replica, Body::AuthRequest);
    assert_eq!(votes(&mut rig), 0, "no voter");
    // Its primary lives, unless the replica says that this does not matter.
    let mut rig = Rig::owning(3, &[(0, 9)]);
    rig.join(&mut primary);
    rig.join(&mut replica);
    rig.say(&replica, Body::AuthRequest);
    assert_eq!(votes(&mut rig), 0, "the primary is up");
    replica.message_flags = MessageFlags::FORCE_ACK;
    rig.say(&replica, Body::AuthRequest);
    assert_eq!(votes(&mut rig), 1);
    // A primary asks.
    let (mut rig, mut primary, _) = election();
    primary.current_epoch = 5;
    rig.say(&primary, Body::AuthRequest);
    assert_eq!(votes(&mut rig), 0, "no replica");
}

#[test]
fn a_node_that_just_started_does_not_vote() {
    let (mut rig, _, mut replica) = election();
    rig.say(&replica, Body::AuthRequest);
    let Action::Save { bytes, .. } = &rig.out[0] else { panic!("{:?}", rig.out) };
    let saved = bytes.clone();
    let now = super::rig::now_at(0);
    let mut cluster = crate::cluster::Cluster::new(config(), 1, now, Some(&saved)).unwrap();
    let link = crate::ids::LinkId::accepted(1);
    let (peer, local) = ("10.0.0.14:1".parse().unwrap(), "10.0.0.1:17000".parse().unwrap());
    replica.current_epoch = 6;
    let request = replica.bytes(Body::AuthRequest);
    let mut out = std::vec::Vec::new();
    cluster.handle(now, Input::Opened { link, peer, local }, &mut out);
    cluster.handle(now, Input::Filled { link, bytes: &request }, &mut out);
    assert_eq!((cluster.view().current_epoch, cluster.view().last_vote_epoch), (6, 5));
    let later = super::rig::now_at(2100);
    cluster.handle(later, Input::Filled { link, bytes: &request }, &mut out);
    assert_eq!(cluster.view().last_vote_epoch, 6);
}

#[test]
fn a_replica_with_outdated_slots_is_told_instead() {
    let (mut rig, _, mut replica) = election();
    let mut newer = Peer::owning(b'n', 4, &[(25, 25)]);
    rig.join(&mut newer);
    replica.slots = set(&[(20, 29)]);
    replica.epoch = 2;
    rig.say(&replica, Body::AuthRequest);
    let sent = rig.sent_of(Kind::Update);
    assert_eq!(sent.len(), 1);
    body(&sent[0], |_, body| {
        let slots = set(&[(25, 25)]);
        let expected = Body::Update { node: newer.id, config_epoch: 4, slots: Bitmap(slots.as_bitmap()) };
        assert_eq!(*body, expected);
    });
    assert_eq!(rig.cluster.view().last_vote_epoch, 0);
    // When the newer owner no longer announces the slot, it is no reason.
    newer.slots = set(&[]);
    rig.ping(&newer, &[]);
    rig.out.clear();
    rig.say(&replica, Body::AuthRequest);
    assert_eq!(votes(&mut rig), 1);
}
