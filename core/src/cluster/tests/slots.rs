//! Claims of slots, corrections, collisions of epochs, roles, the take-over room.

use std::vec::Vec;

use super::rig::{Peer, Rig, body, id, ranges, set, shard};
use crate::cluster::{Action, Bump, Reason, SetSlot, ViewRole, takeover};
use crate::ids::{JobName, NodeId};
use crate::slots::{Slot, SlotRanges, SlotSet};
use crate::wire::bus::{Bitmap, Body, Kind};

fn slot(number: u16) -> Slot {
    Slot::new(number).unwrap()
}

fn owner(rig: &Rig, number: u16) -> Option<NodeId> {
    rig.cluster.view().owner(slot(number)).map(|row| row.id)
}

fn lost(rig: &Rig) -> Vec<(SlotRanges, Option<NodeId>, Reason, bool)> {
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

#[test]
fn taking_over_raises_the_epoch_saves_and_announces() {
    let mut rig = Rig::owning(2, &[(0, 9)]);
    let mut source = Peer::owning(b's', 4, &[(20, 29)]);
    let link = rig.join(&mut source);
    let (now, job) = (rig.now(), JobName::from_bytes([b'j'; 40]));
    takeover::take_over(&mut rig.cluster, now, job, &ranges(&[(20, 22), (25, 25)]), &mut rig.out);
    assert_eq!(rig.cluster.view().myself().config_epoch, 5);
    assert_eq!(rig.slots_of(rig.me()), ranges(&[(0, 9), (20, 22), (25, 25)]));
    let Action::Save { fsync: true, .. } = rig.out[0] else { panic!("{:?}", rig.out[0]) };
    let Action::Send { link: to, bytes } = &rig.out[1] else { panic!("{:?}", rig.out[1]) };
    assert_eq!(*to, link);
    body(bytes, |header, body| {
        assert!(matches!(body, Body::Pong(_)));
        assert_eq!((header.config_epoch, header.current_epoch), (5, 5));
        assert_eq!(header.slots.0, set(&[(0, 9), (20, 22), (25, 25)]).as_bitmap());
    });
    let slots = ranges(&[(20, 22), (25, 25)]);
    assert_eq!(rig.out[2], Action::Gained { slots, reason: Reason::TakeOver { job } });
    // With the highest epoch there is nothing to raise.
    takeover::take_over(&mut rig.cluster, now, job, &ranges(&[(26, 26)]), &mut rig.out);
    assert_eq!(rig.cluster.view().myself().config_epoch, 5);
}

/// The same node after a power cut.
fn restarted(rig: &Rig) -> Rig {
    let saves = rig.out.iter().filter_map(|action| match action {
        Action::Save { bytes, fsync: true, .. } => Some(bytes.to_vec()),
        _ => None,
    });
    Rig::with(super::rig::config(), Some(&saves.last().unwrap()))
}

fn durable_saves(rig: &Rig) -> usize {
    rig.out.iter().filter(|action| matches!(action, Action::Save { fsync: true, .. })).count()
}

#[test]
fn a_target_that_restarts_still_outbids_what_its_source_said_before_it_granted() {
    let job = JobName::from_bytes([b'j'; 40]);
    let mut rig = Rig::owning(3, &[(0, 9)]);
    let mut source = Peer::owning(b's', 1, &[(20, 29)]);
    let mut third = Peer::owning(b't', 2, &[(30, 39)]);
    rig.join(&mut source);
    rig.join(&mut third);
    let now = rig.now();
    takeover::take_over(&mut rig.cluster, now, job, &ranges(&[(20, 22)]), &mut rig.out);
    let mut rig = restarted(&rig);
    rig.open(&mut third);
    // The third node heard the source with a higher epoch before it granted, and not since.
    (source.epoch, third.current_epoch) = (7, 7);
    let slots = source.slots.as_bitmap();
    rig.say(&third, Body::Update { node: source.id, config_epoch: 7, slots: Bitmap(slots) });
    assert_eq!(rig.slots_of(rig.me()), ranges(&[(0, 9), (20, 22)]));
    assert_eq!(rig.cluster.view().myself().config_epoch, 8);
}

#[test]
fn slots_that_went_back_to_their_source_are_not_defended_any_more() {
    let (job, back) = (JobName::from_bytes([b'j'; 40]), JobName::from_bytes([b'k'; 40]));
    let mut rig = Rig::owning(3, &[(0, 9)]);
    let mut source = Peer::owning(b's', 1, &[(20, 29)]);
    rig.join(&mut source);
    let now = rig.now();
    takeover::take_over(&mut rig.cluster, now, job, &ranges(&[(20, 22)]), &mut rig.out);
    takeover::grant(&mut rig.cluster, back, source.id, &ranges(&[(20, 22)]));
    (source.epoch, source.current_epoch) = (4, 4);
    rig.ping(&source, &[]);
    takeover::ungrant(&mut rig.cluster, back);
    (source.epoch, source.current_epoch) = (5, 5);
    rig.ping(&source, &[]);
    assert_eq!(rig.slots_of(rig.me()), ranges(&[(0, 9)]));
    assert_eq!(rig.cluster.view().myself().config_epoch, 3);
}

#[test]
fn a_restart_does_not_defend_what_returns_to_its_source_or_was_settled() {
    let (job, back) = (JobName::from_bytes([b'j'; 40]), JobName::from_bytes([b'k'; 40]));
    let taken = |slots: &[(u16, u16)]| {
        let mut rig = Rig::owning(3, &[(0, 9)]);
        let mut source = Peer::owning(b's', 1, &[(20, 29)]);
        rig.join(&mut source);
        let now = rig.now();
        takeover::take_over(&mut rig.cluster, now, job, &ranges(slots), &mut rig.out);
        (rig, source)
    };
    let obeys = |mut rig: Rig, source: &mut Peer, kept: &[(u16, u16)]| {
        rig.open(source);
        (source.epoch, source.current_epoch) = (8, 8);
        source.slots = set(&[(20, 29)]);
        rig.ping(source, &[]);
        assert_eq!(rig.slots_of(rig.me()), ranges(kept));
    };
    // The source was heard without them. That is not made durable at once: the hand-over would wait for it.
    let (mut rig, mut source) = taken(&[(20, 22)]);
    source.slots = set(&[(23, 29)]);
    rig.ping(&source, &[]);
    let (now, saves) = (rig.now(), durable_saves(&rig));
    takeover::leave(&mut rig.cluster, now, NodeId::from_bytes([b'x'; 40]), &ranges(&[(5, 6)]), &mut rig.out);
    assert_eq!(durable_saves(&rig), saves + 1);
    takeover::leave(&mut rig.cluster, now, NodeId::from_bytes([b'x'; 40]), &ranges(&[(5, 6)]), &mut rig.out);
    assert_eq!(durable_saves(&rig), saves + 1, "there is nothing to forget any more");
    obeys(restarted(&rig), &mut source, &[(0, 9)]);

    // They are about to move back, and are defended until they are granted.
    let (mut rig, mut source) = taken(&[(20, 22)]);
    let now = rig.now();
    takeover::leave(&mut rig.cluster, now, source.id, &ranges(&[(20, 21)]), &mut rig.out);
    obeys(restarted(&rig), &mut source, &[(0, 9), (20, 22)]);
    let (mut rig, mut source) = taken(&[(20, 22)]);
    let now = rig.now();
    takeover::leave(&mut rig.cluster, now, source.id, &ranges(&[(20, 22)]), &mut rig.out);
    let before = restarted(&rig);
    (source.epoch, source.current_epoch) = (5, 5);
    rig.ping(&source, &[]);
    assert_eq!(rig.slots_of(rig.me()), ranges(&[(0, 9), (20, 22)]));
    obeys(before, &mut source, &[(0, 9)]);
    takeover::grant(&mut rig.cluster, back, source.id, &ranges(&[(20, 22)]));
    takeover::ungrant(&mut rig.cluster, back);
    obeys(rig, &mut source, &[(0, 9)]);

    // To another node: a claim of their source is none of its.
    let (mut rig, mut source) = taken(&[(20, 22)]);
    let now = rig.now();
    takeover::leave(
        &mut rig.cluster,
        now,
        NodeId::from_bytes([b'x'; 40]),
        &ranges(&[(20, 22)]),
        &mut rig.out,
    );
    obeys(restarted(&rig), &mut source, &[(0, 9)]);
    takeover::grant(&mut rig.cluster, back, NodeId::from_bytes([b'x'; 40]), &ranges(&[(20, 22)]));
    takeover::ungrant(&mut rig.cluster, back);
    obeys(rig, &mut source, &[(0, 9), (20, 22)]);
}

#[test]
fn what_a_source_said_before_it_granted_does_not_take_the_slots_back() {
    let job = JobName::from_bytes([b'j'; 40]);
    let taken = || {
        let mut rig = Rig::owning(3, &[(0, 9)]);
        let mut source = Peer::owning(b's', 1, &[(20, 29)]);
        rig.join(&mut source);
        let now = rig.now();
        takeover::take_over(&mut rig.cluster, now, job, &ranges(&[(20, 22)]), &mut rig.out);
        assert_eq!(rig.cluster.view().myself().config_epoch, 3, "the highest already");
        rig.out.clear();
        // The source has raised its epoch before it granted, which was not known here.
        (source.epoch, source.current_epoch) = (7, 7);
        (rig, source)
    };
    let kept = |rig: &Rig| {
        assert_eq!(rig.slots_of(rig.me()), ranges(&[(0, 9), (20, 22)]));
        assert_eq!(rig.cluster.view().myself().config_epoch, 8);
    };
    // Its own word, twice; then it is heard without the slots.
    let (mut rig, mut source) = taken();
    for _ in 0..2 {
        rig.ping(&source, &[]);
        kept(&rig);
    }
    assert!(!rig.sent_of(Kind::Pong).is_empty(), "announced");
    source.slots = set(&[(23, 29)]);
    rig.ping(&source, &[]);
    // From now on a claim of its own is a new one.
    source.slots = set(&[(20, 29)]);
    (source.epoch, source.current_epoch) = (9, 9);
    rig.ping(&source, &[]);
    assert_eq!(rig.slots_of(rig.me()), ranges(&[(0, 9)]));

    // The later word, without the slots, overtakes the earlier one.
    let (mut rig, mut source) = taken();
    source.slots = set(&[(23, 29)]);
    rig.ping(&source, &[]);
    kept(&rig);
    source.slots = set(&[(20, 29)]);
    rig.ping(&source, &[]);
    kept(&rig);

    // A third node passes it on.
    let (mut rig, source) = taken();
    let mut third = Peer::owning(b'z', 2, &[(40, 49)]);
    rig.join(&mut third);
    let update = Body::Update { node: source.id, config_epoch: 7, slots: Bitmap(source.slots.as_bitmap()) };
    rig.say(&third, update);
    kept(&rig);
}

#[test]
fn a_granted_slot_goes_to_any_claim_of_its_target_and_no_other_slot_does() {
    let mut rig = Rig::owning(9, &[(0, 9)]);
    let mut target = Peer::owning(b't', 2, &[(20, 29)]);
    rig.join(&mut target);
    let job = JobName::from_bytes([b'j'; 40]);
    takeover::grant(&mut rig.cluster, job, target.id, &ranges(&[(3, 4)]));
    target.slots = set(&[(2, 4), (20, 29)]);
    rig.out.clear();
    rig.ping(&target, &[]);
    assert_eq!(rig.slots_of(rig.me()), ranges(&[(0, 2), (5, 9)]));
    assert_eq!(lost(&rig), [(ranges(&[(3, 4)]), Some(target.id), Reason::Claim { epoch: 2 }, true)]);
    let now = rig.now();
    rig.cluster.del_slots(now, &ranges(&[(3, 4)]), &mut rig.out).unwrap();
    rig.cluster.add_slots(now, &ranges(&[(3, 4)]), &mut rig.out).unwrap();
    takeover::ungrant(&mut rig.cluster, job);
    rig.ping(&target, &[]);
    assert_eq!(rig.slots_of(rig.me()), ranges(&[(0, 9)]));
}

/// Stock nodes believe it, and delete what the next target does not have yet.
#[test]
fn what_a_source_said_before_it_granted_does_not_take_slots_that_are_passed_on() {
    let (job, on) = (JobName::from_bytes([b'j'; 40]), JobName::from_bytes([b'k'; 40]));
    let mut rig = Rig::owning(1, &[(0, 9)]);
    let mut source = Peer::owning(b's', 2, &[(20, 29)]);
    // It took them with epoch 4, the target knows of 3 only.
    let mut next = Peer::owning(b't', 3, &[(30, 39)]);
    rig.join(&mut source);
    rig.join(&mut next);
    let now = rig.now();
    takeover::take_over(&mut rig.cluster, now, job, &ranges(&[(20, 22)]), &mut rig.out);
    takeover::grant(&mut rig.cluster, on, next.id, &ranges(&[(20, 22)]));
    rig.out.clear();
    rig.ping(&source, &[]);
    assert_eq!((rig.slots_of(rig.me()), lost(&rig)), (ranges(&[(0, 9), (20, 22)]), Vec::new()));
    // Nor does the later word, without the slots, make room for the earlier one, which comes behind it.
    let earlier = source.clone();
    source.slots = set(&[(23, 29)]);
    rig.ping(&source, &[]);
    rig.ping(&earlier, &[]);
    assert_eq!((rig.slots_of(rig.me()), lost(&rig)), (ranges(&[(0, 9), (20, 22)]), Vec::new()));
    // The target is believed, whatever its epoch, and whoever has replaced it.
    let mut heir = Peer::replica(b'h', &next);
    rig.join(&mut heir);
    (heir.replica_of, heir.slots) = (None, set(&[(20, 20)]));
    rig.ping(&heir, &[]);
    assert_eq!(lost(&rig), [(ranges(&[(20, 20)]), Some(heir.id), Reason::Claim { epoch: 3 }, true)]);
    rig.out.clear();
    next.slots = set(&[(20, 22), (30, 39)]);
    rig.ping(&next, &[]);
    assert_eq!(lost(&rig), [(ranges(&[(21, 22)]), Some(next.id), Reason::Claim { epoch: 3 }, true)]);
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
fn a_granted_slot_is_not_announced_even_when_the_epoch_rises() {
    let mut rig = Rig::owning(2, &[(0, 9)]);
    let mut target = Peer::owning(b't', 3, &[(20, 29)]);
    rig.join(&mut target);
    let (now, job, import) = (rig.now(), JobName::from_bytes([b'j'; 40]), JobName::from_bytes([b'i'; 40]));
    takeover::grant(&mut rig.cluster, job, target.id, &ranges(&[(3, 4)]));
    rig.out.clear();
    takeover::take_over(&mut rig.cluster, now, import, &ranges(&[(20, 20)]), &mut rig.out);
    let announced = |bytes: &[u8]| {
        let mut found = None;
        body(bytes, |header, _| found = Some(SlotSet::from_bitmap(header.slots.0).to_ranges()));
        found.expect("a header")
    };
    assert_eq!(announced(&rig.sent_of(Kind::Pong)[0]), ranges(&[(0, 2), (5, 9), (20, 20)]));
    assert_eq!(rig.slots_of(rig.me()), ranges(&[(0, 9), (20, 20)]), "they are still served from here");
    // Nor when an outdated claim to another slot is corrected.
    target.slots = set(&[(2, 2), (20, 29)]);
    rig.out.clear();
    rig.ping(&target, &[]);
    let updates = rig.sent_of(Kind::Update);
    body(&updates[0], |_, body| {
        let Body::Update { slots, .. } = body else { panic!("{body:?}") };
        assert_eq!(SlotSet::from_bitmap(slots.0).to_ranges(), ranges(&[(0, 2), (5, 9), (20, 20)]));
    });
    // The job failed: they are claimed again.
    takeover::ungrant(&mut rig.cluster, job);
    rig.out.clear();
    rig.ping(&target, &[]);
    assert_eq!(announced(&rig.sent_of(Kind::Pong)[0]), ranges(&[(0, 9), (20, 20)]));
}

#[test]
fn a_failed_import_may_delete_what_is_not_ours() {
    let rig = Rig::owning(1, &[(0, 9)]);
    let confirmed = takeover::confirm_failed_import(&rig.cluster, &ranges(&[(8, 12)])).unwrap();
    assert_eq!(confirmed.slots(), &ranges(&[(10, 12)]));
    assert!(takeover::confirm_failed_import(&rig.cluster, &ranges(&[(8, 9)])).is_none());
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
