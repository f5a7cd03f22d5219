//! Claims of slots, corrections, collisions of epochs, roles.

use std::vec::Vec;

use super::rig::{Peer, Rig, body, id, ranges, set, shard};
use crate::cluster::{Action, Bump, Reason, SetSlot, ViewRole, takeover};
use crate::ids::NodeId;
use crate::slots::{Slot, SlotRanges};
use crate::wire::bus::{Bitmap, Body, Kind};

fn slot(number: u16) -> Slot {
    Slot::new(number).unwrap()
}

fn owner(rig: &Rig, number: u16) -> Option<NodeId> {
    rig.cluster.view().owner(slot(number)).map(|row| row.id)
}

pub(super) fn lost(rig: &Rig) -> Vec<(SlotRanges, Option<NodeId>, Reason, bool)> {
    let lost = |action: &Action| match action {
        Action::Lost { slots, to, reason, confirmed } => {
            let confirmed = confirmed.as_ref().map(|confirmed| assert_eq!(confirmed.slots(), slots));
            Some((slots.clone(), *to, *reason, confirmed.is_some()))
        }
        _ => None,
    };
    rig.out.iter().filter_map(lost).collect()
}

#[test]
fn a_claim_wins_with_the_higher_epoch_only() {
    // (my epoch, claim's epoch, it wins)
    for (mine, theirs, wins) in [(1, 2, true), (2, 2, false), (3, 2, false), (0, 1, true)] {
        let mut rig = Rig::owning(mine, &[(0, 99)]);
        // A larger name, so that a collision changes this node's epoch and not who has the slots.
        let mut peer = Peer::owning(b'z', theirs, &[(50, 149)]);
        rig.join(&mut peer);
        let expected = if wins { peer.id } else { rig.me() };
        assert_eq!(owner(&rig, 50), Some(expected), "{mine} against {theirs}");
        assert_eq!(owner(&rig, 49), Some(rig.me()));
        assert_eq!(owner(&rig, 149), Some(peer.id), "nobody had it");
    }
}

#[test]
fn what_is_lost_to_a_claim_is_told_with_the_permission_to_delete_it() {
    let mut rig = Rig::owning(1, &[(0, 99)]);
    let mut peer = Peer::new(b'p');
    rig.join(&mut peer);
    (peer.epoch, peer.slots) = (5, set(&[(10, 19), (40, 40), (200, 210)]));
    rig.ping(&peer, &[]);
    let slots = ranges(&[(10, 19), (40, 40)]);
    assert_eq!(lost(&rig), [(slots.clone(), Some(peer.id), Reason::Claim { epoch: 5 }, true)]);
    assert!(rig.out.contains(&Action::TopologyChanged));
    let save = rig.out.iter().position(|action| matches!(action, Action::Save { fsync: true, .. }));
    let gone = rig.out.iter().position(|action| matches!(action, Action::Lost { .. }));
    assert!(save.unwrap() < gone.unwrap(), "durable before anything follows from it");
    assert_eq!(takeover::confirm_lost(&rig.cluster, &ranges(&[(0, 300)])).unwrap().slots(), &slots);
    // A third node takes some of them on: the permission holds for all.
    let mut third = Peer::owning(b't', 6, &[(10, 14)]);
    rig.join(&mut third);
    assert_eq!(takeover::confirm_lost(&rig.cluster, &ranges(&[(0, 300)])).unwrap().slots(), &slots);
    // What nobody owns must not be deleted, nor what is back.
    let now = rig.now();
    rig.cluster.del_slots(now, &ranges(&[(15, 19)]), &mut rig.out).unwrap();
    rig.cluster.add_slots(now, &ranges(&[(15, 15)]), &mut rig.out).unwrap();
    let left = takeover::confirm_lost(&rig.cluster, &ranges(&[(0, 300)])).unwrap();
    assert_eq!(left.slots(), &ranges(&[(10, 14), (40, 40)]));
}

#[test]
fn slots_an_operator_takes_away_may_not_be_deleted() {
    let mut rig = Rig::owning(1, &[(0, 99)]);
    let now = rig.now();
    rig.cluster.del_slots(now, &ranges(&[(0, 9)]), &mut rig.out).unwrap();
    assert_eq!(lost(&rig), [(ranges(&[(0, 9)]), None, Reason::DelSlots, false)]);
    assert!(takeover::confirm_lost(&rig.cluster, &ranges(&[(0, 99)])).is_none());
    rig.out.clear();
    rig.cluster.add_slots(now, &ranges(&[(5, 5), (1, 2)]), &mut rig.out).unwrap();
    assert!(rig.out.contains(&Action::Gained { slots: ranges(&[(1, 2), (5, 5)]), reason: Reason::AddSlots }));
}

#[test]
fn the_last_slot_gone_leaves_an_empty_primary() {
    let mut rig = Rig::owning(1, &[(0, 9)]);
    let mut peer = Peer::owning(b'p', 7, &[(0, 9)]);
    rig.join(&mut peer);
    let view = rig.cluster.view();
    assert_eq!((view.myself().slot_count, view.myself().role), (0, ViewRole::Primary));
}

#[test]
fn a_slot_no_longer_announced_stays_but_anybody_may_claim_it() {
    let mut rig = Rig::owning(1, &[(0, 0)]);
    let mut peer = Peer::owning(b'p', 9, &[(10, 19)]);
    rig.join(&mut peer);
    peer.slots = set(&[(10, 14)]);
    rig.ping(&peer, &[]);
    assert_eq!(owner(&rig, 15), Some(peer.id));
    // It is left out of what is told about the peer.
    let mut third = Peer::owning(b't', 2, &[(12, 17)]);
    rig.join(&mut third);
    assert_eq!(owner(&rig, 12), Some(peer.id));
    assert_eq!(owner(&rig, 17), Some(third.id), "a lower epoch suffices");
    rig.ping(&third, &[]);
    let updates = rig.sent_of(Kind::Update);
    body(&updates[0], |_, body| {
        let slots = set(&[(10, 14)]);
        let expected = Body::Update { node: peer.id, config_epoch: 9, slots: Bitmap(slots.as_bitmap()) };
        assert_eq!(*body, expected);
    });
    // Announced again it is held firmly again.
    peer.slots = set(&[(10, 16), (18, 19)]);
    rig.ping(&peer, &[]);
    third.slots = set(&[(12, 19)]);
    rig.ping(&third, &[]);
    assert_eq!((owner(&rig, 15), owner(&rig, 18)), (Some(peer.id), Some(peer.id)));
}

/// Any message tells of a risen epoch, but only some make the table follow what the sender claims.
#[test]
fn nobody_is_corrected_by_an_epoch_that_was_raised_without_the_slot() {
    let mut rig = Rig::owning(1, &[(0, 0)]);
    let mut old = Peer::owning(b'o', 2, &[(10, 19)]);
    rig.join(&mut old);
    let mut subject = Peer::owning(b's', 1, &[(30, 39)]);
    rig.join(&mut subject);
    old.slots = set(&[(10, 14)]);
    old.epoch = 9;
    rig.say(&old, Body::Fail(id(b'x')));
    assert_eq!((rig.row(old.id).config_epoch, owner(&rig, 15)), (9, Some(old.id)));
    let mut new = Peer::owning(b'n', 4, &[(14, 19)]);
    rig.join(&mut new);
    rig.out.clear();
    rig.ping(&new, &[]);
    assert_eq!((owner(&rig, 14), owner(&rig, 15)), (Some(old.id), Some(new.id)));
    body(&rig.sent_of(Kind::Update)[0], |_, body| {
        let slots = set(&[(10, 14)]);
        let expected = Body::Update { node: old.id, config_epoch: 9, slots: Bitmap(slots.as_bitmap()) };
        assert_eq!(*body, expected);
    });
}

#[test]
fn an_outdated_claim_is_corrected_once_per_ping() {
    let mut rig = Rig::owning(5, &[(0, 9)]);
    let mut newer = Peer::owning(b'n', 9, &[(20, 29)]);
    let newer_link = rig.join(&mut newer);
    let mut stale = Peer::owning(b's', 2, &[(5, 5), (25, 25)]);
    let stale_link = rig.join(&mut stale);
    rig.out.clear();
    rig.ping(&stale, &[]);
    let sent = rig.sent();
    assert_eq!(sent.iter().filter(|&&s| s == (stale_link, Kind::Update)).count(), 1);
    assert!(!sent.contains(&(newer_link, Kind::Update)));
    rig.ping(&stale, &[]);
    let update = rig.sent_of(Kind::Update).remove(0);
    let me = rig.me();
    body(&update, |_, body| {
        let slots = set(&[(0, 9)]);
        assert_eq!(*body, Body::Update { node: me, config_epoch: 5, slots: Bitmap(slots.as_bitmap()) });
    });
    // A replica is not corrected for its primary's slots.
    let mut replica = Peer::replica(b'r', &stale);
    rig.join(&mut replica);
    rig.ping(&replica, &[]);
    assert_eq!(rig.sent_of(Kind::Update).len(), 0);
}

#[test]
fn an_update_is_believed_when_it_is_news() {
    let mut rig = Rig::owning(5, &[(0, 9)]);
    let mut teller = Peer::owning(b't', 1, &[(100, 100)]);
    rig.join(&mut teller);
    let mut subject = Peer::owning(b's', 4, &[(20, 29)]);
    rig.join(&mut subject);
    let mut replica = Peer::replica(b'r', &subject);
    rig.join(&mut replica);
    let slots = set(&[(5, 6), (20, 24)]);
    let update = |node, config_epoch| Body::Update { node, config_epoch, slots: Bitmap(slots.as_bitmap()) };
    let me = rig.me();
    for (node, epoch) in [(subject.id, 4), (subject.id, 3), (me, 99), (id(b'u'), 99), (replica.id, 4)] {
        rig.say(&teller, update(node, epoch));
    }
    assert_eq!(rig.slots_of(me), ranges(&[(0, 9)]));
    assert_eq!(rig.row(replica.id).role, ViewRole::Replica(Some(subject.id)));
    rig.out.clear();
    rig.say(&teller, update(subject.id, 6));
    assert_eq!(owner(&rig, 5), Some(subject.id));
    assert_eq!(rig.row(subject.id).config_epoch, 6);
    assert_eq!(lost(&rig), [(ranges(&[(5, 6)]), Some(subject.id), Reason::Update { epoch: 6 }, true)]);
    // A replica that won an election is a primary by the word of a third.
    rig.say(&teller, update(replica.id, 8));
    assert_eq!(rig.row(replica.id).role, ViewRole::Primary);
    assert_eq!(owner(&rig, 20), Some(replica.id));
    assert_eq!(rig.cluster.view().current_epoch, 8);
}

#[test]
fn two_primaries_with_one_epoch_part_and_the_smaller_name_moves() {
    let mut rig = Rig::owning(3, &[(0, 9)]);
    let me = rig.me();
    let mut larger = Peer::owning(b'z', 3, &[(20, 29)]);
    rig.join(&mut larger);
    assert!(me < larger.id);
    assert_eq!((rig.cluster.view().myself().config_epoch, rig.cluster.view().current_epoch), (4, 4));
    let mut smaller = Peer::owning(b'0', 4, &[(30, 39)]);
    rig.join(&mut smaller);
    assert!(smaller.id < me);
    assert_eq!(rig.cluster.view().myself().config_epoch, 4);
    let mut replica = Peer::replica(b'y', &larger);
    (replica.epoch, replica.current_epoch) = (4, 4);
    rig.join(&mut replica);
    assert_eq!(rig.cluster.view().myself().config_epoch, 4, "a replica's header is about its primary");
}

#[test]
fn epochs_are_learned_and_durable() {
    let mut rig = Rig::owning(1, &[(0, 9)]);
    let mut peer = Peer::owning(b'p', 2, &[(20, 29)]);
    rig.join(&mut peer);
    peer.current_epoch = 40;
    rig.ping(&peer, &[]);
    assert_eq!(rig.cluster.view().current_epoch, 40);
    let save = |action: &Action| {
        matches!(action, Action::Save { fsync: true, bytes, .. }
        if std::str::from_utf8(bytes).unwrap().contains("vars currentEpoch 40 lastVoteEpoch 0\n"))
    };
    let sends = rig.out.iter().position(|action| matches!(action, Action::Send { .. }));
    assert!(rig.out.iter().position(save).unwrap() < sends.unwrap());
    let (now, mut out) = (rig.now(), Vec::new());
    assert_eq!(rig.cluster.bump_epoch(now, &mut out), Bump::Bumped(41));
    assert_eq!(rig.cluster.bump_epoch(now, &mut out), Bump::Still(41));
}

#[test]
fn a_failover_inside_a_shard_moves_the_slots_to_its_winner() {
    let mut rig = Rig::owning(1, &[(0, 9)]);
    let mut old = Peer::owning(b'o', 2, &[(20, 29)]);
    rig.join(&mut old);
    let mut new = Peer::replica(b'n', &old);
    rig.join(&mut new);
    let (now, old_id) = (rig.now(), old.id);
    rig.cluster.set_slot(now, slot(25), SetSlot::Importing(old_id.as_bytes()), 0, &mut rig.out).unwrap();
    // The old primary is heard first: it follows the new one, which is a replica in this table still.
    let mut demoted = Peer::replica(b'o', &new);
    (demoted.shard, demoted.inbound, demoted.epoch) = (old.shard, old.inbound, 7);
    rig.ping(&demoted, &[]);
    assert_eq!(rig.row(old.id).role, ViewRole::Replica(Some(new.id)));
    assert_eq!(rig.row(new.id).role, ViewRole::Primary);
    assert_eq!((rig.slots_of(new.id), rig.row(new.id).config_epoch), (ranges(&[(20, 29)]), 7));
    assert_eq!(rig.cluster.view().importing_from(slot(25)), Some(new.id));
    // An old message of the time before is not believed.
    rig.ping(&old, &[]);
    let mut stale = Peer::replica(b'n', &old);
    (stale.inbound, stale.epoch) = (new.inbound, 2);
    rig.ping(&stale, &[]);
    assert_eq!(rig.row(new.id).role, ViewRole::Primary, "older than the epoch it has");
    assert_eq!(rig.slots_of(new.id), ranges(&[(20, 29)]));
}

#[test]
fn a_primary_that_joins_another_shard_leaves_its_slots_to_nobody() {
    for known in [true, false] {
        let mut rig = Rig::owning(1, &[(0, 9)]);
        let mut old = Peer::owning(b'o', 2, &[(20, 29)]);
        rig.join(&mut old);
        let mut other = Peer::owning(b'x', 3, &[(40, 49)]);
        if known {
            rig.join(&mut other);
        }
        let mut demoted = Peer::replica(b'o', &other);
        demoted.inbound = old.inbound;
        rig.ping(&demoted, &[]);
        assert_eq!(owner(&rig, 25), None);
        let of = known.then_some(other.id);
        assert_eq!(rig.row(old.id).role, ViewRole::Replica(of));
        if known {
            assert_eq!(rig.row(old.id).shard, other.shard);
        }
        // And back: a primary again.
        old.slots = set(&[]);
        rig.ping(&old, &[]);
        assert_eq!(rig.row(old.id).role, ViewRole::Primary);
    }
}

#[test]
fn marks_follow_a_slot_that_changes_hands() {
    let mut rig = Rig::owning(5, &[(0, 9)]);
    let mut source = Peer::owning(b's', 2, &[(20, 29)]);
    rig.join(&mut source);
    let mut heir = Peer::replica(b'h', &source);
    rig.join(&mut heir);
    let mut other = Peer::owning(b'o', 3, &[(40, 49)]);
    rig.join(&mut other);
    let (now, source_id) = (rig.now(), source.id);
    for number in [20, 21] {
        let importing = SetSlot::Importing(source_id.as_bytes());
        rig.cluster.set_slot(now, slot(number), importing, 0, &mut rig.out).unwrap();
    }
    rig.cluster.set_slot(now, slot(5), SetSlot::Migrating(source_id.as_bytes()), 0, &mut rig.out).unwrap();
    // The heir of the shard takes over: both moves go on with it.
    heir.replica_of = None;
    (heir.epoch, heir.slots) = (7, set(&[(20, 29)]));
    rig.ping(&heir, &[]);
    assert_eq!(rig.cluster.view().importing_from(slot(20)), Some(heir.id));
    assert_eq!(rig.cluster.view().migrating_to(slot(5)), Some(heir.id));
    // A stranger to the shard takes them: the moves are off.
    (other.epoch, other.slots) = (9, set(&[(5, 5), (20, 20), (40, 49)]));
    rig.ping(&other, &[]);
    assert_eq!(rig.cluster.view().importing_from(slot(20)), None);
    assert_eq!(rig.cluster.view().importing_from(slot(21)), Some(heir.id));
    assert_eq!(rig.cluster.view().migrating_to(slot(5)), None);
}

#[test]
fn an_imported_slot_that_its_source_lets_go_of_is_taken() {
    let mut rig = Rig::owning(1, &[(0, 9)]);
    let mut source = Peer::owning(b's', 2, &[(20, 29)]);
    rig.join(&mut source);
    let (now, source_id) = (rig.now(), source.id);
    rig.cluster.set_slot(now, slot(25), SetSlot::Importing(source_id.as_bytes()), 0, &mut rig.out).unwrap();
    rig.out.clear();
    source.slots = set(&[(20, 24), (26, 29)]);
    rig.ping(&source, &[]);
    assert_eq!(owner(&rig, 25), Some(rig.me()));
    assert_eq!(rig.cluster.view().myself().config_epoch, 3);
    assert!(rig.cluster.view().importing.is_empty());
    assert!(rig.out.contains(&Action::Gained { slots: ranges(&[(25, 25)]), reason: Reason::SourceLetGo }));
}

/// As stock nodes do: whoever is to come above the new epoch has to hear of it.
#[test]
fn a_collision_of_epochs_is_announced_at_once() {
    let mut rig = Rig::owning(4, &[(0, 9)]);
    let mut listener = Peer::owning(b'y', 2, &[(20, 29)]);
    let link = rig.join(&mut listener);
    let mut other = Peer::owning(b'z', 3, &[(30, 39)]);
    rig.join(&mut other);
    (other.epoch, other.current_epoch) = (4, 4);
    rig.out.clear();
    rig.ping(&other, &[]);
    let announced = rig.out.iter().any(|action| match action {
        Action::Send { link: to, bytes } if *to == link => {
            body(bytes, |header, body| header.config_epoch == 5 && matches!(body, Body::Pong(_)))
        }
        _ => false,
    });
    assert!(announced, "{:?}", rig.cluster.view().myself().config_epoch);
}

#[test]
fn a_slot_that_comes_and_goes_in_one_step_is_not_told() {
    let mut rig = Rig::owning(1, &[(0, 9)]);
    let (now, mut out) = (rig.now(), Vec::new());
    // Same node again by SETSLOT: nothing changes hands.
    let me = rig.me();
    rig.cluster.set_slot(now, slot(5), SetSlot::Node(me.as_bytes()), 3, &mut out).unwrap();
    assert!(!out.iter().any(|action| matches!(action, Action::Lost { .. } | Action::Gained { .. })));
    assert_eq!(rig.row(me).shard, rig.cluster.view().myself().shard);
    assert_ne!(rig.row(me).shard, shard(b'x'));
}
