//! Schedules with a name: what the seeds found once, and the holes of the stock hand-over, each reached on purpose so
//! that it is certain to be recognized.

use whimbrel_core::migration::log::Stage;
use whimbrel_core::migration::{export, import};
use whimbrel_core::slots::Slot;

use super::World;
use super::journal;
use super::net::Class;
use super::plan::Plan;
use super::process::Which;

const SECOND: u64 = 1_000_000;

fn begin(plan: Plan) -> World {
    journal::begin(false);
    World::formed(plan)
}

/// The slot that moves.
fn slot() -> Slot {
    Slot::new(100).expect("a slot")
}

/// Asks process 0 to move slot 100 to process 1.
fn migrate(world: &mut World) {
    let target = world.shared.node_ids.borrow()[1].clone();
    world.tell(0, &["CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", "100", "100", "NODE", &target]);
}

/// Runs until the job of process `p` is in `stage`.
fn reach(world: &mut World, p: usize, stage: Stage) {
    let there = |w: &World| w.processes[p].seen.values().any(|seen| seen.stage == stage);
    assert!(world.run_until(SECOND, there), "{stage} is not reached:\n{}", journal::last_lines());
}

/// Runs until no process has a job, and checks that every row of every log is final.
fn finish(world: &mut World) {
    let over = |w: &World| w.processes.iter().all(|p| p.is_up() && p.seen.is_empty());
    assert!(world.run_until(30 * SECOND, over), "a job does not end:\n{}", journal::last_lines());
    for process in &world.processes {
        for row in process.jobs.iter() {
            assert!(row.stage.is_finished(), "LIV-JOB: {} at {}", row.stage, process.index);
        }
    }
}

/// The stages that the two ends of the only job report.
fn ends(world: &World) -> (String, String) {
    let of = |p: usize| {
        world.processes[p].jobs.iter().next().map_or_else(String::new, |row| row.stage.to_string())
    };
    (of(0), of(1))
}

fn assert_reached(what: &str) {
    assert!(journal::marks().contains_key(what), "not reached: {what}\n{}", journal::last_lines());
}

#[test]
fn story_a_migration_without_any_trouble() {
    let mut world = begin(Plan::calm(3));
    migrate(&mut world);
    reach(&mut world, 0, Stage::Export(export::State::FailoverGranted));
    finish(&mut world);
    assert_eq!(ends(&world), ("success".into(), "success".into()));
    assert!(!journal::marks().contains_key("a known hole was reached"));
}

/// The source cancels while the target still waits for its disk before it begins the import. The row of the import
/// stayed in `waiting-for-ack` for ever.
#[test]
fn story_the_source_leaves_while_the_target_decides() {
    let mut world = begin(Plan { disk: (100_000, 1), ..Plan::calm(3) });
    world.tell(1, &["CLUSTER", "BUMPEPOCH"]);
    let saving = |w: &World| !w.processes[1].disk.queue.is_empty();
    assert!(world.run_until(SECOND, saving));
    migrate(&mut world);
    reach(&mut world, 0, Stage::Export(export::State::ReadingEstablishResponse));
    let now = world.now;
    assert!(!world.run_until(5_000, |_| false) && world.now > now);
    world.tell(0, &["CLUSTER", "CANCELSLOTMIGRATIONS"]);
    world.run_until(SECOND, |_| false);
    finish(&mut world);
    assert_eq!(ends(&world), ("cancelled".into(), "failed".into()));
}

/// The migration link breaks between the source's grant and the target's hearing of it: the source holds on until its
/// pause is over, the slots stay, nothing is lost.
#[test]
fn story_the_grant_is_lost_with_its_link() {
    let mut world = begin(Plan::calm(3));
    migrate(&mut world);
    reach(&mut world, 0, Stage::Export(export::State::FailoverGranted));
    let link = (0..world.conns.len()).rfind(|c| world.conns[*c].class == Class::Migration).expect("a link");
    world.reset(link, 1);
    finish(&mut world);
    assert_eq!(ends(&world), ("failed".into(), "failed".into()));
    let slot = slot();
    assert!(world.processes[0].serves(slot) && !world.processes[1].owns(slot));
}

/// R3: the news of the take-over does not reach the source while it holds writes.
#[test]
fn story_hole_r3_the_grant_expires() {
    let mut world = begin(Plan::calm(3));
    migrate(&mut world);
    reach(&mut world, 0, Stage::Export(export::State::FailoverGranted));
    let until = world.now + 20 * SECOND;
    for from in 1..3 {
        world.cuts.cut(from, 0, Class::Bus, until);
    }
    let slot = slot();
    reach(&mut world, 1, Stage::Import(import::State::FailoverGranted));
    let holes = |_: &World| journal::marks().contains_key("a known hole was reached");
    let both = |w: &World| w.processes[1].owns(slot) && w.processes[0].holds(slot);
    assert!(world.run_until(SECOND, both), "the target serves while the source holds");
    assert!(world.run_until(15 * SECOND, holes));
    assert_reached("R3 the grant ended before the news of the take-over");
    world.cuts.heal();
    let lost = |w: &World| w.processes[0].view.as_ref().is_some_and(|view| !view.is_mine(slot));
    assert!(world.run_until(20 * SECOND, lost), "the source never hears that it lost the slot");
    assert!(world.run_until(10 * SECOND, |w| w.processes[1].serves(slot)), "the slot is not served");
}

/// R3 by the operator's hand: the source is told to cancel after it has granted, serves again, and loses what it then
/// accepts.
#[test]
fn story_hole_r3_cancelled_after_the_grant() {
    let mut world = begin(Plan::calm(3));
    migrate(&mut world);
    reach(&mut world, 0, Stage::Export(export::State::FailoverPaused));
    world.tell(0, &["CLUSTER", "CANCELSLOTMIGRATIONS"]);
    // Connecting takes the operator as long as asking for the slots takes the target, so the grant is first.
    finish(&mut world);
    assert_reached("R3 the grant ended before the news of the take-over");
    assert_eq!(ends(&world), ("cancelled".into(), "success".into()));
}

/// R6: the source's own epoch is above the target's claim, and what it announced before it granted is still under way:
/// nothing of that may take the slots back from a target that has them already, as the source deletes them.
#[test]
fn story_r6_an_epoch_rises_at_the_source() {
    let mut world = begin(Plan::calm(3));
    let until = world.now + SECOND / 10;
    for to in 1..3 {
        world.cuts.cut(0, to, Class::Bus, until);
    }
    world.tell(0, &["CLUSTER", "BUMPEPOCH"]);
    world.run_until(10_000, |_| false);
    migrate(&mut world);
    reach(&mut world, 0, Stage::Export(export::State::FailoverGranted));
    finish(&mut world);
    assert_reached("an epoch of the source rose while it let go (R6)");
    assert_eq!(ends(&world), ("success".into(), "success".into()));
    world.run_until(5 * SECOND, |_| false);
    for process in &world.processes {
        let view = process.view.as_ref().expect("it is up");
        assert_eq!(
            view.owner_index(slot()).map(|at| view.rows[at].id),
            Some(world.node_id(1)),
            "{}",
            process.index
        );
    }
}

/// R10: the target dies when it has taken over and before anybody has heard of it.
#[test]
fn story_hole_r10_the_target_dies_with_its_claim() {
    let mut world = begin(Plan::calm(3));
    migrate(&mut world);
    reach(&mut world, 1, Stage::Import(import::State::FailoverGranted));
    let durable = |w: &World| w.processes[1].disk.queue.is_empty();
    assert!(world.run_until(SECOND, durable));
    world.crash(1, false);
    assert_reached("R2/R10 a crash between the grant and the news of the take-over");
    finish(&mut world);
}

/// A target that stops reading is given up after `repl-timeout`; when it goes on, it cleans up.
#[test]
fn story_a_target_that_stands_still_is_given_up() {
    let mut world = begin(Plan::calm(3));
    migrate(&mut world);
    reach(&mut world, 1, Stage::Import(import::State::WaitingForAck));
    world.processes[1].frozen_until = world.now + 9 * SECOND;
    finish(&mut world);
    assert_eq!(ends(&world), ("failed".into(), "failed".into()));
    assert!(world.processes[0].links.keys().all(|(which, link)| *which == Which::Node || !link.is_dialed()));
}
