//! Races of the hand-over itself, between nodes that crash, are cut off or come late.

use whimbrel_core::migration::log::Stage;
use whimbrel_core::migration::{export, import};
use whimbrel_core::slots::Slot;
use whimbrel_core::wire::bus::State;

use super::{
    SECOND, World, assert_reached, at_once, begin, ends, finish, key, last, migrate, migrate_from, owners,
    pass, reach, says, send, settled, silence, slot,
};
use crate::world::journal;
use crate::world::net::Class;
use crate::world::plan::Plan;

/// R2: the source dies when it has granted and before it hears of the take-over. The target has everything, and the
/// source believes it as soon as it is back.
#[test]
fn story_r2_the_source_dies_after_its_grant() {
    let mut world = begin(Plan::calm(3));
    at_once(&mut world, 0, &["SET", &key("k"), "before"]);
    migrate(&mut world);
    reach(&mut world, 1, Stage::Import(import::State::FailoverGranted));
    world.crash(0, false);
    assert_reached("R2/R10 a crash between the grant and the news of the take-over");
    finish(&mut world);
    settled(&mut world, 1, 10 * SECOND);
    assert_eq!(says(&mut world, 1, &["GET", &key("k")]), "'before'");
}

/// R2 after the news: the source has obeyed the take-over, and dies twice before its disk knows of it. What it believes in
/// between is not what it has: the second death takes none of the target's keys.
#[test]
fn story_r2_the_source_dies_twice_before_its_disk_knows() {
    let mut world = begin(Plan::calm(3));
    assert_eq!(says(&mut world, 0, &["SET", &key("k"), "kept"]), "+OK");
    migrate(&mut world);
    reach(&mut world, 1, Stage::Import(import::State::FailoverGranted));
    assert!(world.run_until(SECOND, |w| owners(w) == [Some(1); 3]), "{:?}", owners(&world));
    assert!(!world.processes[0].disk.queue.is_empty(), "it is being saved");
    world.processes[0].disk.queue.clear();
    world.crash(0, false);
    assert!(!journal::marks().contains_key("a known hole was reached"));
    world.restarted(0);
    assert_eq!(owners(&world), [Some(0), Some(1), Some(1)], "it believes what it saved");
    assert!(!world.has_keys_of(0).contains(&100) && world.has_keys_of(1).contains(&100));
    assert!(!world.has_keys_of(0).contains(&101), "what it has not served since is empty");
    let generation = |w: &World| {
        let history = w.shared.history.borrow();
        let at = history.keys.iter().position(|k| k.slot == 100).expect("a key of the slot");
        history.generation(at)
    };
    let before = generation(&world);
    // Not even with an epoch as high as the target's, which nobody has heard of.
    at_once(&mut world, 0, &["CLUSTER", "BUMPEPOCH"]);
    world.crash(0, false);
    assert_eq!(generation(&world), before, "what the target has is judged on");
    settled(&mut world, 1, 20 * SECOND);
    assert_eq!(says(&mut world, 1, &["GET", &key("k")]), "'kept'");
}

/// R2 after the news, and an epoch that rises: the source has obeyed the take-over, its target has heard it without the slot
/// and counts the matter as settled, and the source dies before its disk knows. When it is back it hears somebody else
/// first, of whom it has taken a slot, with an epoch above its own, and has to raise its own above that. It must not claim
/// with it what it had granted. First met by seed 123301.
#[test]
fn story_r2_the_source_is_back_and_raises_its_epoch_before_it_hears_of_its_loss() {
    let mut world = begin(Plan { node_timeout_ms: 4_000, ..Plan::calm(3) });
    assert_eq!(says(&mut world, 0, &["SET", &key("k"), "kept"]), "+OK");
    // It takes a slot from 2, and does not hear that 2 knows.
    silence(&mut world, 2, 0, 6 * SECOND);
    let me = world.shared.node_ids.borrow()[0].clone();
    world.tell(2, &["CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", "12000", "12000", "NODE", &me]);
    let other = Slot::new(12_000).expect("a slot");
    assert!(world.run_until(SECOND, |w| w.processes[0].serves(other) && !w.processes[2].owns(other)));
    finish(&mut world);
    // It gives one to 1, and does not hear of that until it was heard without it.
    migrate(&mut world);
    reach(&mut world, 0, Stage::Export(export::State::FailoverGranted));
    silence(&mut world, 1, 0, 5 * SECOND / 2);
    assert!(world.run_until(SECOND, |w| w.processes[1].serves(slot())));
    pass(&mut world, 2 * SECOND);
    for p in [2, 1, 2] {
        world.tell(p, &["CLUSTER", "BUMPEPOCH"]);
        pass(&mut world, 50_000);
    }
    assert_eq!(says(&mut world, 1, &["SET", &key("k"), "newer"]), "+OK");
    assert!(world.run_until(SECOND, |w| !w.processes[0].owns(slot())), "{:?}", owners(&world));
    assert!(!world.processes[0].disk.queue.is_empty(), "it is being saved");
    world.processes[0].disk.queue.clear();
    world.crash(0, false);
    world.cuts.heal();
    silence(&mut world, 1, 0, SECOND);
    world.restarted(0);
    assert_eq!(owners(&world)[0], Some(0), "it believes what it saved");
    let epoch = |w: &World, p: usize| w.processes[p].view.as_ref().map_or(0, |v| v.myself().config_epoch);
    assert!(
        world.run_until(SECOND, |w| epoch(w, 0) > epoch(w, 1)),
        "{} {}",
        epoch(&world, 0),
        epoch(&world, 1)
    );
    settled(&mut world, 1, 20 * SECOND);
    assert_eq!(says(&mut world, 1, &["GET", &key("k")]), "'newer'");
    // What it is sure of it claims again.
    assert!(world.run_until(10 * SECOND, |w| w.processes[0].serves(other)));
}

/// R5: the source deletes its copy on the first claim it hears, whoever else knows of it. The target dies then, and
/// only its disk knows that the slot is its own: it is served again, by it, and nobody disagrees. (That its keys are
/// gone is what a crash costs without replicas and files.)
#[test]
fn story_r5_only_the_source_knows_and_the_target_dies() {
    let mut world = begin(Plan::calm(3));
    silence(&mut world, 1, 2, 3 * SECOND);
    migrate(&mut world);
    reach(&mut world, 0, Stage::Export(export::State::FailoverGranted));
    finish(&mut world);
    assert_eq!(owners(&world), [Some(1), Some(1), Some(0)]);
    world.crash(1, true);
    world.restarted(1);
    settled(&mut world, 1, 20 * SECOND);
}

/// R7: a node that is cut off serves on until it notices, for less than twice the node timeout and a second. Nobody
/// replaces it (there are no replicas), so nothing is lost; it serves again when it hears the others.
#[test]
fn story_r7_a_node_in_the_minority_stops() {
    let mut world = begin(Plan::calm(3));
    for other in 1..3 {
        silence(&mut world, 0, other, 15 * SECOND);
        silence(&mut world, other, 0, 15 * SECOND);
    }
    let bound = (2 * world.plan.node_timeout_ms + 1_000) * 1_000;
    let stopped = |w: &World| w.processes[0].view.as_ref().is_some_and(|view| view.state != State::Ok);
    assert!(world.run_until(bound, stopped), "it serves after {bound} us");
    assert!(!world.processes[0].serves(slot()));
    settled(&mut world, 0, 30 * SECOND);
}

/// R8: writes are held at the source, reads are not; the target serves before the source hears of it, and a read at
/// the source is old.
#[test]
fn story_hole_r8_the_source_reads_what_is_old() {
    let mut world = begin(Plan::calm(3));
    at_once(&mut world, 0, &["SET", &key("k"), "old"]);
    migrate(&mut world);
    reach(&mut world, 0, Stage::Export(export::State::FailoverGranted));
    silence(&mut world, 1, 0, SECOND);
    silence(&mut world, 2, 0, SECOND);
    assert!(world.run_until(SECOND / 2, |w| w.processes[1].serves(slot())));
    assert_eq!(says(&mut world, 1, &["SET", &key("k"), "new"]), "+OK");
    assert_eq!(says(&mut world, 0, &["SET", &key("k"), "lost"]), "held");
    let hole = says(&mut world, 0, &["GET", &key("k")]);
    assert_eq!(hole, "'old'", "R8 is closed: say so in docs/invariants.md");
    finish(&mut world);
    assert_eq!(ends(&world), ("success".into(), "success".into()));
    assert!(says(&mut world, 0, &["GET", &key("k")]).contains("MOVED 100"));
}

/// R14: two targets raise their epochs to the same number, because neither hears the other. Each keeps what it took
/// over, and the numbers part as soon as they meet.
#[test]
fn story_r14_two_epochs_collide() {
    let mut world = begin(Plan::calm(4));
    for (a, b) in [(1, 2), (2, 1)] {
        silence(&mut world, a, b, SECOND);
    }
    let (one, two) = {
        let ids = world.shared.node_ids.borrow();
        (ids[1].clone(), ids[2].clone())
    };
    let words =
        ["CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", "100", "100", "NODE", &one, "SLOTSRANGE", "101", "101"];
    world.tell(0, &[&words[..], &["NODE", &two]].concat());
    let epoch = |w: &World, p: usize| w.processes[p].view.as_ref().map_or(0, |v| v.myself().config_epoch);
    let collide = |w: &World| epoch(w, 1) == epoch(w, 2);
    assert!(world.run_until(SECOND, collide), "the epochs do not collide");
    finish(&mut world);
    assert!(world.run_until(20 * SECOND, |w| epoch(w, 1) != epoch(w, 2)), "the epochs do not part");
    settled(&mut world, 1, 10 * SECOND);
    let other = Slot::new(101).expect("a slot");
    assert!(world.processes[2].serves(other) && !world.processes[1].owns(other));
}

/// R14: source and target share an epoch, and the source, which has to give way, has not heard of it. The target's
/// claim has a higher one, or nobody else would believe it.
#[test]
fn story_r14_the_target_shares_the_epoch_of_its_source() {
    let mut world = begin(Plan::calm(3));
    let ids = world.shared.node_ids.borrow().clone();
    // The source has the smaller name.
    let (source, target) = if ids[0] < ids[1] { (0, 1) } else { (1, 0) };
    let moves = Slot::new([100, 6000][source]).expect("a slot");
    for (from, to) in [(source, target), (target, source), (2, source)] {
        silence(&mut world, from, to, 300_000);
    }
    for p in [source, target] {
        world.tell(p, &["CLUSTER", "BUMPEPOCH"]);
    }
    let epoch = |w: &World, p: usize| w.processes[p].view.as_ref().map_or(0, |v| v.myself().config_epoch);
    let collide = |w: &World| epoch(w, source) == 4 && epoch(w, target) == 4;
    assert!(world.run_until(SECOND / 10, collide), "no collision");
    // Now the target hears the source, and the source still nobody.
    world.cuts.heal();
    silence(&mut world, target, source, 3 * SECOND / 2);
    silence(&mut world, 2, source, 3 * SECOND / 2);
    let id = world.node_id(source);
    let heard = |w: &World| {
        let view = w.processes[target].view.as_ref();
        view.and_then(|v| v.find(id)).map(|row| row.config_epoch) == Some(4)
    };
    assert!(world.run_until(SECOND, heard), "the target does not hear the source");
    let number = moves.to_string();
    let words = ["CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", &number, &number, "NODE", &ids[target]];
    world.tell(source, &words);
    assert!(world.run_until(SECOND, |w| w.processes[target].owns(moves)), "{}", journal::last_lines());
    assert!(epoch(&world, target) > epoch(&world, source), "both have {}", epoch(&world, source));
    finish(&mut world);
    let agree = |w: &World| {
        let owner = w.node_id(target);
        let views = w.processes.iter().filter_map(|p| p.view.as_ref());
        views.filter_map(|view| view.owner(moves)).all(|row| row.id == owner)
            && w.processes[target].serves(moves)
    };
    assert!(world.run_until(20 * SECOND, agree), "{}", journal::last_lines());
}

/// Has process 0 give slot 100 to 1, die, and come back with the nodes.conf of before. `cut` says whether those who
/// know of the move are kept from telling it.
fn old_conf(cut: bool) -> World {
    let mut world = begin(Plan { node_timeout_ms: 4_000, ..Plan::calm(3) });
    if cut {
        silence(&mut world, 1, 2, 20 * SECOND);
    }
    // Something has to be saved before, or there is no older file.
    world.tell(0, &["CLUSTER", "BUMPEPOCH"]);
    pass(&mut world, 100_000);
    migrate(&mut world);
    reach(&mut world, 0, Stage::Export(export::State::FailoverGranted));
    finish(&mut world);
    if cut {
        silence(&mut world, 1, 0, 20 * SECOND);
    }
    world.crash(0, false);
    world.roll_back(0);
    world.restarted(0);
    assert_reached("R15 a restart with an older nodes.conf");
    world
}

/// R15: a node comes back with an old nodes.conf. It waits before it serves, and hears meanwhile that the slot is gone.
#[test]
fn story_r15_an_old_nodes_conf_is_corrected_in_time() {
    let mut world = old_conf(false);
    let wrong = |w: &World| w.processes[0].serves(slot());
    assert!(!world.run_until(6 * SECOND, wrong), "it serves a slot that it gave away");
    settled(&mut world, 1, 10 * SECOND);
}

/// R15: the same while nobody it hears knows better: it serves together with the true owner, and its clients lose
/// what they write.
#[test]
fn story_hole_r15_nobody_corrects_an_old_nodes_conf() {
    let mut world = old_conf(true);
    let both = |w: &World| w.processes[0].serves(slot()) && w.processes[1].serves(slot());
    assert!(
        world.run_until(6 * SECOND, both),
        "R15 is closed: say so in docs/invariants.md\n{}",
        journal::last_lines()
    );
    assert_eq!(says(&mut world, 0, &["SET", &key("k"), "lost"]), "+OK");
    world.cuts.heal();
    settled(&mut world, 1, 20 * SECOND);
    assert_eq!(says(&mut world, 1, &["GET", &key("k")]), "nil");
}

/// R15: the old nodes.conf is of the moment between DELSLOTS and ADDSLOTS. Only the node itself does not know that the
/// slot is its own, so nobody can tell it: it does not serve until the slot is given back.
#[test]
fn story_hole_r15_an_old_nodes_conf_from_between_delslots_and_addslots() {
    let mut world = begin(Plan::calm(3));
    world.tell(0, &["CLUSTER", "DELSLOTS", "100"]);
    pass(&mut world, SECOND / 10);
    let between = world.processes[0].disk.durable.clone();
    world.tell(0, &["CLUSTER", "ADDSLOTS", "100"]);
    settled(&mut world, 0, SECOND);
    world.crash(0, false);
    world.processes[0].disk.durable = between;
    world.restarted(0);
    pass(&mut world, 10 * SECOND);
    let hole = owners(&world) == [None, Some(0), Some(0)];
    assert!(hole, "the hole is closed: say so in docs/invariants.md: {:?}", owners(&world));
    assert!(!world.processes[0].serves(Slot::new(101).expect("a slot")), "it covers not all slots");
    world.tell(0, &["CLUSTER", "ADDSLOTS", "100"]);
    settled(&mut world, 0, 10 * SECOND);
}

/// R15 at the target: it comes back with a nodes.conf from before it took the slot over. It believes that the slot is the
/// source's, all others that it is its own: nobody serves it, until the operator says to its owner that it is.
#[test]
fn story_hole_r15_the_target_forgets_what_it_took() {
    let mut world = begin(Plan { node_timeout_ms: 4_000, ..Plan::calm(3) });
    world.tell(1, &["CLUSTER", "BUMPEPOCH"]);
    pass(&mut world, 100_000);
    migrate(&mut world);
    reach(&mut world, 0, Stage::Export(export::State::FailoverGranted));
    finish(&mut world);
    settled(&mut world, 1, 10 * SECOND);
    world.crash(1, false);
    world.roll_back(1);
    world.restarted(1);
    pass(&mut world, 15 * SECOND);
    assert_eq!(owners(&world), [Some(1), Some(0), Some(1)], "R15 is closed: say so in docs/invariants.md");
    world.repair();
    assert_reached("a slot that its owner forgot was given back by hand");
    settled(&mut world, 1, 10 * SECOND);
    assert_eq!(says(&mut world, 1, &["SET", &key("k"), "new"]), "+OK");
}

/// R17: a slot that moves cannot be asked to move again, at neither end.
#[test]
fn story_r17_a_second_migration_is_refused() {
    let mut world = begin(Plan::calm(3));
    migrate(&mut world);
    reach(&mut world, 0, Stage::Export(export::State::FailoverPaused));
    let id = world.shared.node_ids.borrow()[2].clone();
    let words = ["CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", "100", "100", "NODE", &id];
    for p in 0..2 {
        let told = says(&mut world, p, &words);
        assert!(told.starts_with("-ERR"), "{told}");
    }
    finish(&mut world);
    settled(&mut world, 1, 10 * SECOND);
}

/// R17: the target is asked to pass the slot on while its disk is still at the take-over. It was granted, and its
/// export was settled by a view that did not show the gain: a success that moved nothing.
#[test]
fn story_r17_a_gain_that_is_not_durable_is_not_given_away() {
    let mut world = begin(Plan { disk: (300_000, 1), ..Plan::calm(3) });
    migrate(&mut world);
    reach(&mut world, 1, Stage::Import(import::State::FailoverGranted));
    let id = world.shared.node_ids.borrow()[0].clone();
    let words = ["CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", "100", "100", "NODE", &id];
    let answers = send(&mut world, 1, &[&words]);
    finish(&mut world);
    settled(&mut world, 1, 10 * SECOND);
    assert!(last(&answers).starts_with("-ERR"), "{}", last(&answers));
    assert_eq!(ends(&world), ("success".into(), "success".into()));
    assert_eq!(world.processes[1].jobs.iter().count(), 1);
}

/// R17: the target passes the slot on before the source has heard of the first take-over: the source hears of the
/// second owner only. What was there arrives at the end of the chain.
#[test]
fn story_r17_the_target_passes_the_slot_on() {
    let mut world = begin(Plan::calm(4));
    at_once(&mut world, 0, &["SET", &key("k"), "kept"]);
    migrate(&mut world);
    reach(&mut world, 0, Stage::Export(export::State::FailoverGranted));
    silence(&mut world, 1, 0, SECOND);
    silence(&mut world, 3, 0, SECOND);
    silence(&mut world, 2, 0, SECOND);
    assert!(world.run_until(SECOND / 2, |w| w.processes[1].serves(slot())));
    migrate_from(&mut world, 1, 2);
    assert!(world.run_until(SECOND, |w| w.processes[2].serves(slot())), "{}", journal::last_lines());
    assert_eq!(says(&mut world, 2, &["APPEND", &key("k"), "!"]), ":5");
    world.cuts.heal();
    silence(&mut world, 1, 0, SECOND);
    finish(&mut world);
    settled(&mut world, 2, 20 * SECOND);
    assert_eq!(says(&mut world, 2, &["GET", &key("k")]), "'kept!'");
    let count = says(&mut world, 0, &["CLUSTER", "COUNTKEYSINSLOT", "100"]);
    assert_eq!(count, ":0", "the first source keeps keys");
}

/// R17: the target has granted the slot to the next one, or back, when it hears what its source said before the first
/// grant. It has let go of the slot, but not for that: nobody else has what is in it.
fn passed_on(to: usize) {
    let mut world = begin(Plan { node_timeout_ms: 8_000, ..Plan::calm(3) });
    at_once(&mut world, 0, &["SET", &key("k"), "kept"]);
    let until = world.now + 20 * SECOND;
    world.cuts.slow_down((Some(0), Some(1), Class::Bus), until, 5 * SECOND / 2);
    pass(&mut world, 3 * SECOND);
    migrate(&mut world);
    assert!(world.run_until(SECOND, |w| w.processes[1].serves(slot())));
    let heard = |w: &World| owners(w) == [Some(1); 3];
    assert!(world.run_until(SECOND / 2, heard), "{:?}", owners(&world));
    migrate_from(&mut world, 1, to);
    reach(&mut world, 1, Stage::Export(export::State::FailoverGranted));
    // The grant is lost: only the node that made it has what is in the slot.
    let link = (0..world.conns.len()).rfind(|c| world.conns[*c].class == Class::Migration).expect("a link");
    world.reset(link, 1);
    finish(&mut world);
    settled(&mut world, 1, 10 * SECOND);
    assert_eq!(says(&mut world, 1, &["GET", &key("k")]), "'kept'");
}

#[test]
fn story_r17_an_old_word_does_not_take_a_slot_that_is_passed_on() {
    passed_on(2);
}

#[test]
fn story_r17_an_old_word_does_not_take_a_slot_that_goes_back() {
    passed_on(0);
}

/// R17: the slot goes back while the first source has not heard that it gave it away.
#[test]
fn story_r17_the_target_gives_the_slot_back() {
    let mut world = begin(Plan::calm(3));
    at_once(&mut world, 0, &["SET", &key("k"), "kept"]);
    migrate(&mut world);
    reach(&mut world, 0, Stage::Export(export::State::FailoverGranted));
    assert!(world.run_until(SECOND / 2, |w| w.processes[1].serves(slot())));
    migrate_from(&mut world, 1, 0);
    finish(&mut world);
    let there = |w: &World| {
        let of = owners(w);
        of.iter().all(|owner| *owner == of[0]) && of[0].is_some_and(|p| w.processes[p].serves(slot()))
    };
    assert!(world.run_until(20 * SECOND, there), "{:?}\n{}", owners(&world), journal::last_lines());
    let owner = owners(&world)[0].expect("somebody");
    assert_eq!(says(&mut world, owner, &["GET", &key("k")]), "'kept'");
}

/// Two targets take slots over in the same moment, with the same epoch. The one that gives way passes its slot back at
/// once: it has announced its new epoch by then, as stock nodes do, so that the first source comes above it.
#[test]
fn story_a_collision_of_two_take_overs_is_announced_at_once() {
    let mut world = begin(Plan::calm(3));
    // The source has the highest epoch, and everybody knows it.
    world.tell(0, &["CLUSTER", "BUMPEPOCH"]);
    pass(&mut world, SECOND / 2);
    let ids = world.shared.node_ids.borrow().clone();
    let (yielding, other) = if ids[1] < ids[2] { (1, 2) } else { (2, 1) };
    let words = ["SLOTSRANGE", "100", "100", "NODE", &ids[yielding], "SLOTSRANGE", "101", "101", "NODE"];
    world.tell(0, &[&["CLUSTER", "MIGRATESLOTS"], &words[..], &[&ids[other]]].concat());
    let epoch = |w: &World, p: usize| w.processes[p].view.as_ref().map_or(0, |v| v.myself().config_epoch);
    let second = Slot::new(101).expect("a slot");
    let moved = |w: &World| w.processes[yielding].owns(slot()) && w.processes[other].owns(second);
    assert!(world.run_until(SECOND, moved), "{}", journal::last_lines());
    let gave_way = |w: &World| (epoch(w, yielding), epoch(w, other)) == (6, 5);
    assert!(world.run_until(10_000, gave_way), "no collision: {}", epoch(&world, yielding));
    assert!(world.run_until(10_000, |w| !w.processes[0].owns(slot())));
    migrate_from(&mut world, yielding, 0);
    assert!(world.run_until(SECOND / 10, |w| w.processes[0].owns(slot())), "{}", journal::last_lines());
    assert!(epoch(&world, 0) > epoch(&world, yielding), "both have {}", epoch(&world, 0));
    finish(&mut world);
    settled(&mut world, 0, 10 * SECOND);
}

/// R20: while the target is dead and the source holds the slot's writes to the end, all other slots are served.
#[test]
fn story_r20_other_slots_go_on() {
    let mut world = begin(Plan { node_timeout_ms: 8_000, ..Plan::calm(3) });
    migrate(&mut world);
    reach(&mut world, 0, Stage::Export(export::State::FailoverGranted));
    world.processes[1].frozen_until = world.now + 5 * SECOND;
    let end = world.now + 4 * SECOND;
    let other = format!("{{{}}}k", crate::world::plan::tag(101));
    while world.now < end {
        assert_eq!(says(&mut world, 0, &["SET", &key("k"), "1"]), "held");
        assert_eq!(says(&mut world, 0, &["SET", &other, "1"]), "+OK");
        pass(&mut world, 100_000);
    }
    finish(&mut world);
}

/// R6: a node gives slots back to whom it took them from, and dies before it hears that they are taken. What it wrote
/// down when it took them, to defend them, must not make the two outbid each other for ever when it is back.
#[test]
fn story_r6_a_node_that_gave_slots_back_restarts() {
    let mut world = begin(Plan::calm(3));
    silence(&mut world, 0, 1, SECOND);
    migrate(&mut world);
    reach(&mut world, 0, Stage::Export(export::State::FailoverGranted));
    finish(&mut world);
    migrate_from(&mut world, 1, 0);
    reach(&mut world, 1, Stage::Export(export::State::FailoverGranted));
    silence(&mut world, 2, 1, SECOND);
    assert!(world.run_until(SECOND / 2, |w| w.processes[0].serves(slot())));
    world.crash(1, true);
    world.restarted(1);
    settled(&mut world, 0, 20 * SECOND);
    let epochs = |w: &World| -> Vec<u64> {
        let views = w.processes.iter().filter_map(|p| p.view.as_ref());
        views.map(|view| view.current_epoch).collect()
    };
    let before = epochs(&world);
    pass(&mut world, 5 * SECOND);
    assert_eq!(epochs(&world), before, "they outbid each other");
    assert_eq!(owners(&world), [Some(0); 3]);
}

/// Slots that just came are to move on, to a node that has not heard of it: it refuses, nothing is lost, and it agrees as
/// soon as it has heard.
#[test]
fn story_r17_the_next_target_has_not_heard_of_the_last_migration() {
    let mut world = begin(Plan::calm(3));
    at_once(&mut world, 0, &["SET", &key("k"), "kept"]);
    silence(&mut world, 1, 2, SECOND / 2);
    migrate(&mut world);
    reach(&mut world, 0, Stage::Export(export::State::FailoverGranted));
    finish(&mut world);
    assert_eq!(owners(&world), [Some(1), Some(1), Some(0)]);
    migrate_from(&mut world, 1, 2);
    let refused = |_: &World| {
        journal::marks().contains_key("slots were to move on before the next target knew whose they were")
    };
    assert!(world.run_until(SECOND / 4, refused), "{}", journal::last_lines());
    settled(&mut world, 1, 10 * SECOND);
    migrate_from(&mut world, 1, 2);
    reach(&mut world, 2, Stage::Import(import::State::FailoverGranted));
    finish(&mut world);
    settled(&mut world, 2, 10 * SECOND);
    assert_eq!(says(&mut world, 2, &["GET", &key("k")]), "'kept'");
}
