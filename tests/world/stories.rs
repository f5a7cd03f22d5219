//! Schedules with a name: what the seeds found once, and the holes of the stock hand-over, each reached on purpose so
//! that it is certain to be recognized.

//!
//! Names say the race: `story_r6_…` is a race that costs nothing here, `story_hole_r3_…` one that does, with what it
//! costs asserted. Races that need replicas (R1, R4, R9, R11 to R13, R21, R22) have no story yet.

mod by_hand;
mod commands;
mod races;
mod returns;

use std::cell::RefCell;
use std::rc::Rc;

use whimbrel_core::migration::log::Stage;
use whimbrel_core::migration::{export, import};
use whimbrel_core::slots::Slot;

use super::World;
use super::journal;
use super::net::Class;
use super::plan::{Plan, tag};
use super::process::{Process, Which};
use super::resp::{Reply, command};

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
    migrate_from(world, 0, 1);
}

/// Asks a process to move slot 100 to another.
fn migrate_from(world: &mut World, from: usize, to: usize) {
    let target = world.shared.node_ids.borrow()[to].clone();
    world.tell(from, &["CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", "100", "100", "NODE", &target]);
}

/// A key of slot 100.
fn key(letter: &str) -> String {
    format!("{{{}}}{letter}", tag(100))
}

/// What a process answers at this instant.
fn at_once(world: &mut World, p: usize, words: &[&str]) -> Option<Reply> {
    world.ask_one(p, &words.iter().map(|w| w.as_bytes()).collect::<Vec<_>>())
}

/// The same in words; `held` when there is no answer yet.
fn says(world: &mut World, p: usize, words: &[&str]) -> String {
    at_once(world, p, words).map_or_else(|| "held".into(), |reply| format!("{reply:?}"))
}

/// Replies as they come; more than one when the commands were a pipeline.
type Answers = Rc<RefCell<Option<Vec<Reply>>>>;

/// Sends commands over the network, on a connection of their own.
fn send(world: &mut World, p: usize, commands: &[&[&str]]) -> Answers {
    let answers = Answers::default();
    let bytes = |words: &&[&str]| command(&words.iter().map(|w| w.as_bytes()).collect::<Vec<_>>());
    let (ctx, kept, count) = (world.ctx(), answers.clone(), commands.len());
    let bytes: Vec<u8> = commands.iter().flat_map(bytes).collect();
    world.spawn(async move {
        let Some(conn) = ctx.connect(p).await else { return };
        *kept.borrow_mut() = ctx.call(conn, bytes, count).await.map(|a| a.replies);
    });
    answers
}

/// The last answer, in words.
fn last(answers: &Answers) -> String {
    answers.borrow().as_ref().and_then(|a| a.last().cloned()).map_or("none".into(), |r| format!("{r:?}"))
}

/// Runs for so long.
fn pass(world: &mut World, us: u64) {
    world.run_until(us, |_| false);
}

/// Cuts what a process sends to another on the bus.
fn silence(world: &mut World, from: usize, to: usize, us: u64) {
    let until = world.now + us;
    world.cuts.cut(from, to, Class::Bus, until);
}

/// The epoch of a process's own slots.
fn epoch(world: &World, p: usize) -> u64 {
    world.processes[p].view.as_ref().map_or(0, |view| view.myself().config_epoch)
}

/// Who owns slot 100, as each process sees it.
fn owners(world: &World) -> Vec<Option<usize>> {
    let at = |id| (0..world.processes.len()).find(|p| world.node_id(*p) == id);
    let views = world.processes.iter().map(|p| p.view.as_ref());
    views.map(|view| view?.owner(slot()).and_then(|row| at(row.id))).collect()
}

/// Runs until all processes believe that this one owns slot 100, and it serves it.
fn settled(world: &mut World, owner: usize, us: u64) {
    let there = |w: &World| owners(w).iter().all(|o| *o == Some(owner)) && w.processes[owner].serves(slot());
    assert!(world.run_until(us, there), "{:?}\n{}", owners(world), journal::last_lines());
}

/// Runs until the job of process `p` is in `stage`.
fn reach(world: &mut World, p: usize, stage: Stage) {
    let there = |w: &World| w.processes[p].seen.values().any(|seen| seen.stage == stage);
    assert!(world.run_until(SECOND, there), "{stage} is not reached:\n{}", journal::last_lines());
}

/// Whether no process has a job, and every log says so.
fn over(world: &World) -> bool {
    let ended = |p: &Process| p.seen.is_empty() && p.jobs.iter().all(|row| row.stage.is_finished());
    world.processes.iter().all(|p| p.is_up() && ended(p))
}

/// Runs until no process has a job, and every row of every log is final.
fn finish(world: &mut World) {
    assert!(world.run_until(30 * SECOND, over), "LIV-JOB: a job does not end:\n{}", journal::last_lines());
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
    world.plan.disk = (500, 1);
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

/// R3 by the operator's hand, and by a slow disk: neither an operator who cancels after the grant nor a target that
/// needs longer than the hold to save its claim makes the source serve again.
#[test]
fn story_a_cancel_after_the_grant_comes_too_late() {
    let mut world = begin(Plan::calm(3));
    migrate(&mut world);
    reach(&mut world, 0, Stage::Export(export::State::FailoverPaused));
    world.tell(0, &["CLUSTER", "CANCELSLOTMIGRATIONS"]);
    // Connecting takes the operator as long as asking for the slots takes the target, so the grant is first.
    finish(&mut world);
    assert_eq!(ends(&world), ("success".into(), "success".into()));
    assert!(!journal::marks().contains_key("a known hole was reached"));
}

#[test]
fn story_the_target_saves_its_claim_longer_than_the_hold() {
    let mut world = begin(Plan { node_timeout_ms: 30_000, ..Plan::calm(3) });
    migrate(&mut world);
    reach(&mut world, 0, Stage::Export(export::State::FailoverPaused));
    // The hold may last 10 s, and the source's patience with a target that lives 6 s more.
    world.plan.disk = (14 * SECOND, 1);
    let write = send(&mut world, 0, &[&["SET", &key("k"), "late"]]);
    pass(&mut world, 13 * SECOND);
    assert_eq!(last(&write), "none", "it waits");
    assert_eq!(says(&mut world, 0, &["SET", &key("k"), "later"]), "held");
    finish(&mut world);
    pass(&mut world, SECOND);
    assert!(last(&write).contains("MOVED 100"), "{}", last(&write));
    assert_eq!(ends(&world), ("success".into(), "success".into()));
    assert!(!journal::marks().contains_key("a known hole was reached"));
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

/// R6 over a restart: the target dies after its take-over was obeyed. When it is back, a third node, which heard the
/// source with a higher epoch before the grant and not since, tells it that the slots are the source's. If it
/// believed that, nobody would own them.
#[test]
fn story_r6_the_target_restarts() {
    let mut world = begin(Plan::calm(3));
    let until = world.now + 3 * SECOND / 2;
    world.cuts.cut(0, 1, Class::Bus, until);
    world.cuts.cut(2, 1, Class::Bus, until);
    for p in [0, 2, 0] {
        world.tell(p, &["CLUSTER", "BUMPEPOCH"]);
        world.run_until(20_000, |_| false);
    }
    world.run_until(SECOND / 2, |_| false);
    // What the third node knows of the source ends here.
    world.cuts.cut(0, 2, Class::Bus, world.now + 4 * SECOND);
    world.cuts.cut(0, 1, Class::Bus, world.now + 4 * SECOND);
    migrate(&mut world);
    let obeyed = |w: &World| over(w) && !w.processes[0].owns(slot());
    reach(&mut world, 0, Stage::Export(export::State::FailoverGranted));
    assert!(world.run_until(SECOND, obeyed), "{}", journal::last_lines());
    assert_eq!(ends(&world), ("success".into(), "success".into()));
    world.crash(1, false);
    assert!(world.run_until(5 * SECOND, |w| w.processes[1].is_up()));
    world.run_until(10 * SECOND, |_| false);
    for process in &world.processes {
        let view = process.view.as_ref().expect("it is up");
        let owner = view.owner(slot()).map(|row| row.id);
        assert_eq!(owner, Some(world.node_id(1)), "as {} sees it", process.index);
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
