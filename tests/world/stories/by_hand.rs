//! Slots that an operator moves by hand, with or against a migration (R16).

use whimbrel_core::migration::log::Stage;
use whimbrel_core::migration::{export, import};
use whimbrel_core::slots::{Slot, SlotRange, SlotRanges};

use super::{
    SECOND, World, assert_reached, at_once, begin, ends, finish, key, last, migrate, migrate_from, owners,
    pass, reach, says, send, settled, slot,
};
use crate::world::journal;
use crate::world::net::Class;
use crate::world::plan::Plan;

fn id(world: &World, p: usize) -> String {
    world.shared.node_ids.borrow()[p].clone()
}

/// Gives a command that is answered when the node's disk has it.
fn order(world: &mut World, p: usize, words: &[&str]) -> String {
    let answers = send(world, p, &[words]);
    world.run_until(SECOND / 2, |_| answers.borrow().is_some());
    last(&answers)
}

fn set_slot(world: &mut World, p: usize, words: &[&str]) -> String {
    order(world, p, &[&["CLUSTER", "SETSLOT", "100"], words].concat())
}

/// R16 (a): the source is told first that the slot is the target's, and the target dies before it is told. Nobody
/// serves the slot, until the operator says it again.
#[test]
fn story_hole_r16_the_source_is_told_first() {
    let mut world = begin(Plan::calm(3));
    let target = id(&world, 1);
    assert_eq!(set_slot(&mut world, 0, &["NODE", &target]), "+OK");
    world.crash(1, false);
    world.restarted(1);
    pass(&mut world, 10 * SECOND);
    let hole = (0..3).all(|p| !world.processes[p].owns(slot()));
    assert!(hole, "R16 (a) is closed: say so in docs/invariants.md: {:?}", owners(&world));
    assert_eq!(set_slot(&mut world, 1, &["NODE", &target]), "+OK");
    settled(&mut world, 1, 20 * SECOND);
}

/// A node that imports the slot by hand, whose source gives it to a third node by a migration. `late` says whether
/// it hears of that only from the source, which no longer announces the slot. The slot's owner in the end, and what
/// it has.
fn leaves_for_a_third_node(late: bool) -> (usize, String) {
    let mut world = begin(Plan::calm(4));
    assert_eq!(says(&mut world, 0, &["SET", &key("k"), "kept"]), "+OK");
    let source = id(&world, 0);
    assert_eq!(set_slot(&mut world, 1, &["IMPORTING", &source]), "+OK");
    if late {
        world.taint("R16 a slot imported by hand moves to a third node", &only_slot());
        let until = world.now + SECOND;
        world.cuts.cut(2, 1, Class::Bus, until);
    }
    migrate_from(&mut world, 0, 2);
    reach(&mut world, 0, Stage::Export(export::State::FailoverPaused));
    finish(&mut world);
    let there = |w: &World| {
        let of = owners(w);
        of.iter().all(|owner| *owner == of[0]) && of[0].is_some_and(|p| w.processes[p].serves(slot()))
    };
    pass(&mut world, 2 * SECOND);
    assert!(world.run_until(20 * SECOND, there), "{:?}\n{}", owners(&world), journal::last_lines());
    let owner = owners(&world)[0].expect("somebody");
    (owner, says(&mut world, owner, &["GET", &key("k")]))
}

/// R16 (b): the claim of the third node comes first, and the import by hand is over.
#[test]
fn story_r16_the_slot_leaves_for_a_third_node() {
    assert_eq!(leaves_for_a_third_node(false), (2, "'kept'".into()));
}

/// R16 (b): the claim comes late. The node that imports takes the slot for itself, as stock nodes do, with the higher
/// epoch: both serve it for a moment, and what was there is lost.
#[test]
fn story_hole_r16_the_claim_of_the_third_node_is_late() {
    assert_eq!(leaves_for_a_third_node(true), (1, "nil".into()), "closed: say so in docs/invariants.md");
}

fn only_slot() -> SlotRanges {
    [SlotRange::one(slot())].into_iter().collect()
}

/// R16 (c): two tools tell different nodes that the slot is theirs. Both serve it for a moment; the higher epoch wins,
/// and all agree.
#[test]
fn story_hole_r16_two_tools_move_the_same_slot() {
    let mut world = begin(Plan { lateness: 1, ..Plan::calm(3) });
    world.taint("R16 two tools move the same slot by hand", &only_slot());
    let (b, c, a) = (id(&world, 1), id(&world, 2), id(&world, 0));
    for (p, target) in [(1, &b), (2, &c)] {
        assert_eq!(set_slot(&mut world, p, &["IMPORTING", &a]), "+OK");
        assert_eq!(set_slot(&mut world, p, &["NODE", target]), "+OK");
    }
    let both = |w: &World| w.processes[1].serves(slot()) && w.processes[2].serves(slot());
    assert!(both(&world), "R16 (c) is closed: say so in docs/invariants.md");
    let agree = |w: &World| {
        let of = owners(w);
        of[0] != Some(0) && of.iter().all(|owner| *owner == of[0])
    };
    assert!(world.run_until(20 * SECOND, agree), "{:?}", owners(&world));
}

/// A slot that moves cannot be given away by hand, at neither end.
#[test]
fn story_r16_a_moving_slot_is_not_given_away_by_hand() {
    let mut world = begin(Plan { migration_rate: 50, ..Plan::calm(3) });
    let value = "x".repeat(50_000);
    assert_eq!(says(&mut world, 0, &["SET", &key("k"), &value]), "+OK");
    migrate(&mut world);
    reach(&mut world, 1, Stage::Import(import::State::ReceivingSnapshot));
    let third = id(&world, 2);
    for asked in 0..2 {
        for words in [&["NODE", &third][..], &["STABLE"], &["MIGRATING", &third]] {
            let told = set_slot(&mut world, asked, words);
            assert!(told.starts_with("-ERR"), "{told}");
        }
    }
    finish(&mut world);
    settled(&mut world, 1, 20 * SECOND);
}

/// DELSLOTS at the source while it holds the slot's writes for a granted target: the slot is the target's, and what was
/// there arrives. The source's copy stays, out of reach, until the slot comes back: it was nobody's when the target
/// claimed it, so there is no permission to delete it.
#[test]
fn story_hole_the_slot_is_deleted_while_it_is_let_go() {
    let mut world = begin(Plan::calm(3));
    assert_eq!(says(&mut world, 0, &["SET", &key("k"), "kept"]), "+OK");
    migrate(&mut world);
    reach(&mut world, 0, Stage::Export(export::State::FailoverGranted));
    assert_eq!(order(&mut world, 0, &["CLUSTER", "DELSLOTS", "100"]), "+OK");
    finish(&mut world);
    settled(&mut world, 1, 20 * SECOND);
    assert_eq!(says(&mut world, 1, &["GET", &key("k")]), "'kept'");
    assert_eq!(says(&mut world, 0, &["CLUSTER", "COUNTKEYSINSLOT", "100"]), ":1", "closed: say so");
    assert_eq!(says(&mut world, 1, &["SET", &key("k"), "new"]), "+OK");
    assert_eq!(says(&mut world, 1, &["SET", &key("l"), "new"]), "+OK");
    assert_eq!(says(&mut world, 1, &["DEL", &key("k")]), ":1");
    migrate_from(&mut world, 1, 0);
    reach(&mut world, 1, Stage::Export(export::State::FailoverPaused));
    finish(&mut world);
    settled(&mut world, 0, 20 * SECOND);
    assert_eq!(says(&mut world, 0, &["MGET", &key("k"), &key("l")]), "[nil, 'new']");
}

/// DELSLOTS at the target while it saves its claim: the take-over has succeeded, and the operator has taken the slot out
/// of its new owner's table. Nobody else can tell it that the slot is its own: it stops serving until it is given back.
#[test]
fn story_hole_the_slot_is_deleted_while_it_is_taken_over() {
    let mut world = begin(Plan { disk: (100_000, 1), ..Plan::calm(3) });
    assert_eq!(says(&mut world, 0, &["SET", &key("k"), "kept"]), "+OK");
    migrate(&mut world);
    reach(&mut world, 1, Stage::Import(import::State::FailoverGranted));
    world.shared.deleted.borrow_mut().push((1, 100, world.now));
    let deleted = send(&mut world, 1, &[&["CLUSTER", "DELSLOTS", "100"]]);
    finish(&mut world);
    assert_eq!(ends(&world), ("success".into(), "success".into()));
    assert_reached("DELSLOTS at a target that is taking the slot over");
    pass(&mut world, 5 * SECOND);
    assert_eq!(last(&deleted), "+OK");
    let hole = owners(&world) == [Some(1), None, Some(1)];
    assert!(hole, "the hole is closed: say so in docs/invariants.md: {:?}", owners(&world));
    assert!(says(&mut world, 1, &["GET", &key("k")]).starts_with("-CLUSTERDOWN"));
    assert_eq!(order(&mut world, 1, &["CLUSTER", "ADDSLOTS", "100"]), "+OK");
    settled(&mut world, 1, 10 * SECOND);
    assert_eq!(says(&mut world, 1, &["GET", &key("k")]), "'kept'");
}

/// The source dies with the grant, comes back with the slot, and hears that it is gone. What it said before that, and what
/// waits for its disk for another reason, still claims the slot. If the operator has taken the slot from the table of its owner
/// meanwhile, the owner believes the source, and the source the owner: nobody serves the slot, and ADDSLOTS is refused,
/// until the operator says whose it is.
#[test]
fn story_hole_the_slot_is_deleted_while_an_old_claim_is_on_its_way() {
    let mut world = begin(Plan::calm(3));
    assert_eq!(says(&mut world, 0, &["SET", &key("k"), "kept"]), "+OK");
    migrate(&mut world);
    reach(&mut world, 1, Stage::Import(import::State::FailoverGranted));
    world.crash(0, false);
    let taken = |w: &World| owners(w)[1..] == [Some(1); 2];
    assert!(world.run_until(SECOND / 5, taken), "{:?}", owners(&world));
    world.plan.disk = (SECOND, 1);
    world.restarted(0);
    at_once(&mut world, 0, &["CLUSTER", "DELSLOTS", "101"]);
    assert!(world.run_until(SECOND / 2, |w| owners(w)[0] == Some(1)), "{:?}", owners(&world));
    world.plan.disk = (500, 1);
    world.shared.edited.borrow_mut().push((1, 100));
    assert_eq!(order(&mut world, 1, &["CLUSTER", "DELSLOTS", "100"]), "+OK");
    pass(&mut world, 5 * SECOND);
    assert_eq!(order(&mut world, 0, &["CLUSTER", "ADDSLOTS", "101"]), "+OK");
    pass(&mut world, 5 * SECOND);
    let hole = owners(&world)[..2] == [Some(1), Some(0)];
    assert!(hole, "the hole is closed: say so in docs/invariants.md: {:?}", owners(&world));
    assert_eq!(order(&mut world, 1, &["CLUSTER", "ADDSLOTS", "100"]), "-ERR Slot 100 is already busy");
    world.repair();
    assert_reached("DELSLOTS at an owner that then believed an older claim");
    settled(&mut world, 1, 20 * SECOND);
    assert_eq!(says(&mut world, 1, &["GET", &key("k")]), "'kept'");
}

/// Hundreds of slots are given back at a node whose disk is slow: it is not silent for so long that others take it for dead.
#[test]
fn story_many_slots_are_given_back_in_one_order() {
    let mut world = begin(Plan::calm(3));
    assert_eq!(order(&mut world, 0, &["CLUSTER", "DELSLOTSRANGE", "0", "700"]), "+OK");
    let range = SlotRange { first: Slot::new(0).expect("a slot"), last: Slot::new(700).expect("a slot") };
    world.taint("R15 a restart with an older nodes.conf", &[range].into_iter().collect());
    world.plan.disk = (200_000, 1);
    world.repair();
    let alive = |w: &World| {
        w.processes[1..].iter().all(|p| p.owns(Slot::new(6000 + 6000 * (p.index as u16 - 1)).unwrap()))
    };
    settled(&mut world, 0, 10 * SECOND);
    assert!(alive(&world));
    assert!(!world.run_until(10 * SECOND, |w| !alive(w)), "a node was taken for dead");
}

/// The source forgets its target in the middle of a migration: the job ends, the slot stays, and they meet again.
#[test]
fn story_the_source_forgets_its_target() {
    let mut world = begin(Plan { migration_rate: 50, ..Plan::calm(3) });
    let value = "x".repeat(50_000);
    assert_eq!(says(&mut world, 0, &["SET", &key("k"), &value]), "+OK");
    migrate(&mut world);
    reach(&mut world, 0, Stage::Export(export::State::Snapshotting));
    let target = id(&world, 1);
    assert_eq!(order(&mut world, 0, &["CLUSTER", "FORGET", &target]), "+OK");
    finish(&mut world);
    let there = |w: &World| {
        let of = owners(w);
        of.iter().all(|owner| *owner == of[0]) && of[0].is_some_and(|p| w.processes[p].serves(slot()))
    };
    assert!(world.run_until(30 * SECOND, there), "{:?}\n{}", owners(&world), journal::last_lines());
    let owner = owners(&world)[0].expect("somebody");
    assert_eq!(says(&mut world, owner, &["STRLEN", &key("k")]), ":50000");
}
