//! Races of nodes that come back from a crash, or never do, while others believe what they said before.

use whimbrel_core::migration::export;
use whimbrel_core::migration::log::Stage;

use super::{
    SECOND, World, begin, epoch, finish, key, migrate, migrate_from, owners, pass, reach, says, settled,
    silence, slot,
};
use crate::world::journal;
use crate::world::net::{Class, Conn};
use crate::world::plan::Plan;

/// Process 0 has obeyed that 1 took the slot over, and died before its disk knew. It had raised its epoch before, and so will not
/// claim the slot when it is back.
fn dead_with_a_raised_epoch(processes: usize) -> World {
    let mut world = begin(Plan { node_timeout_ms: 8_000, ..Plan::calm(processes) });
    assert_eq!(says(&mut world, 0, &["SET", &key("k"), "kept"]), "+OK");
    migrate(&mut world);
    reach(&mut world, 0, Stage::Export(export::State::FailoverGranted));
    silence(&mut world, 1, 0, 3 * SECOND);
    world.tell(0, &["CLUSTER", "BUMPEPOCH"]);
    let believed = |w: &World| owners(w)[1..].iter().all(|owner| *owner == Some(1));
    assert!(world.run_until(SECOND, believed), "{:?}", owners(&world));
    // The target hears it without the slot, and counts the matter as settled. Nor has it the highest epoch any more.
    pass(&mut world, SECOND);
    world.tell(2, &["CLUSTER", "BUMPEPOCH"]);
    pass(&mut world, 3 * SECOND / 2);
    assert!(epoch(&world, 1) > epoch(&world, 0) && epoch(&world, 2) > epoch(&world, 1));
    assert_eq!(heard_epoch(&world, 1, 2), epoch(&world, 2));
    world.cuts.heal();
    assert!(world.run_until(3 * SECOND, |w| !w.processes[0].owns(slot())), "{:?}", owners(&world));
    assert!(!world.processes[0].disk.queue.is_empty(), "it is being saved");
    world.processes[0].disk.queue.clear();
    world.crash(0, false);
    assert_eq!(says(&mut world, 1, &["SET", &key("k"), "newer"]), "+OK");
    world
}

/// R2 after the news, and the slot moves on while its first source comes back: that hears the next target before it has the slot,
/// and the one before when it has it no more. It must not take it for its own, and from its owner by a higher epoch.
#[test]
fn story_r2_the_source_is_back_and_hears_nobody_with_what_moves_on() {
    let mut world = dead_with_a_raised_epoch(4);
    for (from, to) in [(1, 0), (3, 1), (3, 2)] {
        silence(&mut world, from, to, 30 * SECOND);
    }
    // There is a higher epoch, and only process 0 will hear of it.
    world.tell(3, &["CLUSTER", "BUMPEPOCH"]);
    pass(&mut world, 20_000);
    world.restarted(0);
    assert_eq!(owners(&world)[0], Some(0), "it believes what it saved");
    let hears = |w: &World, p: usize| heard_epoch(w, 0, p) == epoch(w, p);
    assert!(world.run_until(SECOND / 2, |w| hears(w, 2) && hears(w, 3)), "{}", journal::last_lines());
    for (from, to) in [(0, 1), (0, 2), (0, 3)] {
        silence(&mut world, from, to, 30 * SECOND);
    }
    // The claim of 2 comes before 0 would serve: that begins two seconds after its restart.
    let until = world.now + 11 * SECOND / 10;
    world.cuts.cut(2, 0, Class::Bus, until);
    world.tell(0, &["CLUSTER", "BUMPEPOCH"]);
    migrate_from(&mut world, 1, 2);
    let moved = |w: &World| w.processes[2].serves(slot()) && !w.processes[1].owns(slot());
    assert!(world.run_until(SECOND / 2, moved), "{}", journal::last_lines());
    assert_eq!(says(&mut world, 2, &["SET", &key("k"), "newest"]), "+OK");
    assert!(epoch(&world, 0) > epoch(&world, 2), "{} {}", epoch(&world, 0), epoch(&world, 2));
    // Now it hears 1, and is heard.
    world.cuts.heal();
    world.cuts.cut(2, 0, Class::Bus, until);
    let rest = until - world.now;
    pass(&mut world, rest);
    settled(&mut world, 2, 20 * SECOND);
    assert_eq!(says(&mut world, 2, &["GET", &key("k")]), "'newest'");
}

/// R2 after the news, while the target passes the slot on: it has granted it, its epoch has risen since, and so nobody at
/// all names the slot. The first source counts it as its own, and takes it from the only one who has its keys.
#[test]
fn story_hole_r2_the_source_is_back_while_nobody_names_what_moves_on() {
    let mut world = dead_with_a_raised_epoch(3);
    migrate_from(&mut world, 1, 2);
    reach(&mut world, 1, Stage::Export(export::State::FailoverGranted));
    let link = (0..world.conns.len()).rfind(|c| world.conns[*c].class == Class::Migration).expect("a link");
    world.reset(link, 1);
    world.tell(1, &["CLUSTER", "BUMPEPOCH"]);
    assert!(world.run_until(SECOND / 10, |w| epoch(w, 1) > epoch(w, 2)), "{}", journal::last_lines());
    world.restarted(0);
    assert_eq!(owners(&world)[0], Some(0), "it believes what it saved");
    pass(&mut world, 3 * SECOND / 2);
    assert!(world.processes[1].owns(slot()) && world.processes[1].holds(slot()), "{}", journal::last_lines());
    world.tell(0, &["CLUSTER", "BUMPEPOCH"]);
    let taken = |w: &World| !w.processes[1].owns(slot());
    let hole = world.run_until(6 * SECOND, taken);
    assert!(hole, "the hole is closed: say so in docs/invariants.md: {:?}", owners(&world));
    settled(&mut world, 0, 20 * SECOND);
    assert_eq!(says(&mut world, 0, &["GET", &key("k")]), "nil");
}

/// Process 2 restarts when it has heard the raised epoch of the node that had the slot, and not yet whose it is now. It hears
/// the new owner first.
fn third_node_restarts(of_valkey: bool) -> World {
    let mut world = begin(Plan { node_timeout_ms: 8_000, ..Plan::calm(3) });
    silence(&mut world, 1, 2, 7 * SECOND);
    assert_eq!(says(&mut world, 0, &["SET", &key("k"), "kept"]), "+OK");
    migrate(&mut world);
    reach(&mut world, 0, Stage::Export(export::State::FailoverGranted));
    finish(&mut world);
    // The new owner has heard the old one without the slot: it does not outbid it any more.
    pass(&mut world, 5 * SECOND);
    assert_eq!(owners(&world), [Some(1), Some(1), Some(0)]);
    silence(&mut world, 0, 1, 8 * SECOND);
    world.tell(0, &["CLUSTER", "BUMPEPOCH"]);
    assert!(world.run_until(SECOND, |w| epoch(w, 0) > epoch(w, 1)), "the old owner has the higher epoch");
    let risen = epoch(&world, 0);
    assert!(world.run_until(SECOND, |w| heard_epoch(w, 2, 0) == risen), "process 2 does not hear process 0");
    pass(&mut world, 100_000);
    world.crash(2, false);
    silence(&mut world, 0, 2, 6 * SECOND);
    if of_valkey {
        let disk = &mut world.processes[2].disk;
        let saved = String::from_utf8(disk.durable.take().expect("a nodes.conf")).expect("it is a text");
        let (before, after) = saved.split_once(" unannounced ").expect("it says what is not announced");
        assert_eq!(after, "100-100\n");
        disk.durable = Some(format!("{before}\n").into_bytes());
    }
    world.restarted(2);
    assert!(heard_epoch(&world, 2, 0) == risen && owners(&world)[2] == Some(0), "{:?}", owners(&world));
    world
}

/// The epoch that process `p` knows of `other`.
fn heard_epoch(world: &World, p: usize, other: usize) -> u64 {
    let (id, view) = (world.node_id(other), world.processes[p].view.as_ref());
    view.and_then(|view| view.find(id)).map_or(0, |row| row.config_epoch)
}

/// The third node once told the new owner that the slot is the old one's: that one dropped the keys, and nobody served the slot
/// any more.
#[test]
fn story_a_restarted_node_takes_no_slot_from_its_new_owner() {
    let mut world = third_node_restarts(false);
    let lost = |w: &World| !w.processes[1].owns(slot());
    assert!(!world.run_until(5 * SECOND, lost), "{}", journal::last_lines());
    settled(&mut world, 1, 10 * SECOND);
    assert_eq!(says(&mut world, 1, &["GET", &key("k")]), "'kept'");
}

/// A third node of Valkey does so still: its nodes.conf does not say that the old owner no longer has the slot.
#[test]
fn story_hole_a_restarted_node_forgets_what_is_not_announced() {
    let mut world = third_node_restarts(true);
    let lost = |w: &World| !w.processes[1].owns(slot());
    let hole = world.run_until(5 * SECOND, lost);
    assert!(hole, "the hole is closed: say so in docs/invariants.md\n{}", journal::last_lines());
    pass(&mut world, 20 * SECOND);
    assert!(!world.processes.iter().any(|p| p.owns(slot())), "nobody's: {:?}", owners(&world));
    let owner = world.shared.node_ids.borrow()[1].clone();
    world.tell(1, &["CLUSTER", "SETSLOT", "100", "NODE", &owner]);
    settled(&mut world, 1, 10 * SECOND);
    assert_eq!(says(&mut world, 1, &["GET", &key("k")]), "nil");
}

/// A source raised its epoch, granted, and stands still for good. The target had not heard of that epoch when it took the slot
/// over; it hears of it when it has granted the slot to the next one, where it must not defend it. That comes to nothing. What the
/// source said to the target before it granted is lost, or comes at last.
fn source_that_is_gone(lost: bool) -> World {
    let mut world = begin(Plan { node_timeout_ms: 4_000, ..Plan::calm(4) });
    // The target has the highest epoch, and will not need another to take over.
    world.tell(1, &["CLUSTER", "BUMPEPOCH"]);
    let known = |w: &World| epoch(w, 1) > 4 && (0..4).all(|p| heard_epoch(w, p, 1) == epoch(w, 1));
    assert!(world.run_until(5 * SECOND, known), "{}", journal::last_lines());
    // 0 and 2 are not heard by 1 and 3.
    for (from, to) in [(0, 1), (2, 1), (0, 3), (2, 3)] {
        silence(&mut world, from, to, 20 * SECOND);
    }
    for p in [0, 2, 0] {
        world.tell(p, &["CLUSTER", "BUMPEPOCH"]);
        pass(&mut world, SECOND / 2);
    }
    assert_eq!(heard_epoch(&world, 2, 0), epoch(&world, 0));
    assert_eq!(says(&mut world, 0, &["SET", &key("k"), "kept"]), "+OK");
    silence(&mut world, 0, 2, 20 * SECOND);
    migrate(&mut world);
    reach(&mut world, 0, Stage::Export(export::State::FailoverGranted));
    finish(&mut world);
    let parted = |w: &World| owners(w) == [Some(1), Some(1), Some(0), Some(1)];
    assert!(world.run_until(SECOND, parted), "{:?}\n{}", owners(&world), journal::last_lines());
    let (old, new) = (epoch(&world, 0), epoch(&world, 1));
    assert!(new < old, "{new} {old}");
    migrate_from(&mut world, 1, 3);
    reach(&mut world, 1, Stage::Export(export::State::FailoverGranted));
    let link = (0..world.conns.len()).rfind(|c| world.conns[*c].class == Class::Migration).expect("a link");
    world.reset(link, 1);
    let of_both = |c: &Conn| c.class == Class::Bus && matches!(c.pair(), Some((0, 1) | (1, 0)));
    for c in (0..world.conns.len()).filter(|_| lost) {
        if of_both(&world.conns[c]) {
            world.reset(c, 1);
        }
    }
    world.cuts.heal();
    for (from, to) in [(0, 2), (2, 1), (0, 3), (2, 3)] {
        silence(&mut world, from, to, 20 * SECOND);
    }
    let heard = |w: &World| heard_epoch(w, 1, 0) == old;
    assert!(
        world.run_until(5 * SECOND, heard) && world.processes[1].holds(slot()),
        "{}",
        journal::last_lines()
    );
    world.processes[0].frozen_until = world.now + 1_000 * SECOND;
    finish(&mut world);
    world.cuts.heal();
    // Nor is anything of what it said still on its way.
    silence(&mut world, 0, 2, 1_000 * SECOND);
    silence(&mut world, 0, 3, 1_000 * SECOND);
    pass(&mut world, 30 * SECOND);
    world
}

/// Who knows the source with that epoch goes on to believe it.
#[test]
fn story_hole_a_source_that_is_gone_is_believed() {
    let mut world = source_that_is_gone(true);
    let hole = owners(&world) == [Some(1), Some(1), Some(0), Some(1)];
    assert!(hole, "the hole is closed: say so in docs/invariants.md: {:?}", owners(&world));
    let gone = world.shared.node_ids.borrow()[0].clone();
    world.tell(2, &["CLUSTER", "FORGET", &gone]);
    assert!(world.run_until(5 * SECOND, |w| owners(w) == [Some(1); 4]), "{:?}", owners(&world));
}

/// The target itself believes the source, whose old word comes by another connection than the newer one that settled whose the
/// slot is.
#[test]
fn story_hole_an_old_word_of_a_source_with_a_higher_epoch() {
    let world = source_that_is_gone(false);
    let hole = owners(&world)[..2] == [Some(1), Some(0)];
    assert!(hole, "the hole is closed: say so in docs/invariants.md: {:?}", owners(&world));
    assert!(!world.has_keys_of(1).contains(&100), "its copy was the only one");
}
