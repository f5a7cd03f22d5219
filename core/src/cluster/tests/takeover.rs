//! The take-over room: claims without a vote, grants, and what they are defended against.

use std::vec::Vec;

use super::rig::{Peer, Rig, body, ranges, set};
use super::slots::lost;
use crate::cluster::{Action, Reason, takeover};
use crate::ids::{JobName, NodeId};
use crate::slots::SlotSet;
use crate::wire::bus::{Bitmap, Body, Kind};

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

/// A source does not announce what it has granted, and has not yet saved that it lost it: after a crash it claims that
/// again, with the same epoch, and a collision would be won by either.
#[test]
fn who_takes_slots_over_does_not_share_the_epoch_of_their_source() {
    // The smaller name gives way in a collision, so try either.
    for name in [b'0', b'z'] {
        let job = JobName::from_bytes([b'j'; 40]);
        let mut rig = Rig::owning(3, &[(0, 9)]);
        let mut source = Peer::owning(name, 1, &[(20, 29)]);
        rig.join(&mut source);
        let (now, before) = (rig.now(), source.slots.clone());
        takeover::take_over(&mut rig.cluster, now, job, &ranges(&[(20, 29)]), &mut rig.out);
        (source.epoch, source.current_epoch, source.slots) = (3, 3, set(&[]));
        rig.ping(&source, &[]);
        assert_eq!(rig.cluster.view().myself().config_epoch, 4);
        source.slots = before;
        rig.ping(&source, &[]);
        (source.epoch, source.current_epoch) = (4, 4);
        rig.ping(&source, &[]);
        assert_eq!(rig.slots_of(rig.me()), ranges(&[(0, 9), (20, 29)]));
    }
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
