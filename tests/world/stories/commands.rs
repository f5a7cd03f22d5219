//! Commands that meet a hand-over: FLUSHALL, transactions, expiry, killed clients (R18, R19).

use whimbrel_core::ids::JobName;
use whimbrel_core::migration::export;
use whimbrel_core::migration::log::Stage;
use whimbrel_core::slots::SlotRanges;

use super::{
    SECOND, World, at_once, begin, ends, finish, key, last, migrate, pass, reach, says, send, settled, slot,
};
use crate::world::net::Class;
use crate::world::plan::Plan;
use crate::world::tasks::{Export, Order};
use crate::world::verdict::may_hold_since;

/// A world whose slot 100 has a key, and is held by its source, whose target stands still.
fn held() -> World {
    let mut world = begin(Plan::calm(3));
    assert_eq!(says(&mut world, 0, &["SET", &key("k"), "kept"]), "+OK");
    migrate(&mut world);
    reach(&mut world, 0, Stage::Export(export::State::FailoverPaused));
    world.processes[1].frozen_until = world.now + SECOND / 2;
    world
}

/// R18: FLUSHALL at the source waits for the end of the pause, and then deletes what is there: not the slot that moved.
#[test]
fn story_r18_a_flush_waits_for_the_pause_and_spares_what_moved() {
    let mut world = held();
    let flushed = send(&mut world, 0, &[&["FLUSHALL"]]);
    pass(&mut world, 100_000);
    assert_eq!(last(&flushed), "none", "it waits");
    finish(&mut world);
    settled(&mut world, 1, 10 * SECOND);
    pass(&mut world, 100_000);
    assert_eq!(last(&flushed), "+OK");
    assert_eq!(says(&mut world, 1, &["GET", &key("k")]), "'kept'");
    assert_eq!(says(&mut world, 0, &["DBSIZE"]), ":0");
}

/// R18: FLUSHALL at the source before the pause ends the migration, and nothing comes back.
#[test]
fn story_r18_a_flush_at_the_source_ends_the_migration() {
    let mut world = begin(Plan { migration_rate: 50, bulk: true, ..Plan::calm(3) });
    let value = "x".repeat(50_000);
    assert_eq!(says(&mut world, 0, &["SET", &key("k"), &value]), "+OK");
    migrate(&mut world);
    reach(&mut world, 0, Stage::Export(export::State::Snapshotting));
    pass(&mut world, 20_000);
    assert_eq!(says(&mut world, 0, &["FLUSHALL"]), "+OK");
    finish(&mut world);
    assert_eq!(ends(&world), ("failed".into(), "failed".into()));
    pass(&mut world, SECOND);
    settled(&mut world, 0, 10 * SECOND);
    assert_eq!(says(&mut world, 0, &["DBSIZE"]), ":0");
    assert_eq!(says(&mut world, 1, &["CLUSTER", "COUNTKEYSINSLOT", "100"]), ":0");
}

/// R18: FLUSHALL at the target takes what was imported, so the import fails, and the source keeps everything.
#[test]
fn story_r18_a_flush_at_the_target_ends_the_import() {
    let mut world = begin(Plan { migration_rate: 50, ..Plan::calm(3) });
    let value = "x".repeat(50_000);
    assert_eq!(says(&mut world, 0, &["SET", &key("a"), "kept"]), "+OK");
    assert_eq!(says(&mut world, 0, &["SET", &key("k"), &value]), "+OK");
    migrate(&mut world);
    let came = |w: &mut World| says(w, 1, &["CLUSTER", "COUNTKEYSINSLOT", "100"]) != ":0";
    while !came(&mut world) {
        pass(&mut world, 1_000);
    }
    assert_eq!(says(&mut world, 1, &["FLUSHALL"]), "+OK");
    finish(&mut world);
    let owner = match ends(&world).1.as_str() {
        "failed" => 0,
        // A shard spares what it applies for an import of a sibling.
        "success" if world.plan.shards > 1 => 1,
        other => panic!("{other}"),
    };
    settled(&mut world, owner, 10 * SECOND);
    assert_eq!(says(&mut world, owner, &["GET", &key("a")]), "'kept'");
}

/// R18: a transaction that is executed while its slot is held waits as a whole, and is refused as a whole when the slot
/// is gone.
#[test]
fn story_r18_a_transaction_waits_and_goes_as_one() {
    let mut world = held();
    let (k, other) = (key("k"), key("other"));
    let commands: [&[&str]; 4] = [&["MULTI"], &["SET", &k, "half"], &["SET", &other, "half"], &["EXEC"]];
    let answers = send(&mut world, 0, &commands);
    pass(&mut world, 100_000);
    assert_eq!(last(&answers), "none", "it waits");
    finish(&mut world);
    settled(&mut world, 1, 10 * SECOND);
    pass(&mut world, 100_000);
    assert!(last(&answers).contains("MOVED 100"), "{}", last(&answers));
    assert_eq!(says(&mut world, 1, &["MGET", &k, &other]), "['kept', nil]");
}

/// R18: a transaction that was queued before the slot left is refused when it is executed after it.
#[test]
fn story_r18_a_transaction_queued_before_and_executed_after() {
    let mut world = begin(Plan::calm(3));
    let k = key("k");
    let ctx = world.ctx();
    let answers = super::Answers::default();
    let kept = answers.clone();
    let words =
        |words: &[&str]| crate::world::resp::command(&words.iter().map(|w| w.as_bytes()).collect::<Vec<_>>());
    let (queue, exec) = ([words(&["MULTI"]), words(&["SET", &k, "late"])].concat(), words(&["EXEC"]));
    world.spawn(async move {
        let Some(conn) = ctx.connect(0).await else { return };
        ctx.call(conn, queue, 2).await;
        ctx.sleep(2 * SECOND).await;
        *kept.borrow_mut() = ctx.call(conn, exec, 1).await.map(|a| a.replies);
    });
    pass(&mut world, 100_000);
    migrate(&mut world);
    pass(&mut world, 3 * SECOND);
    assert!(last(&answers).contains("MOVED 100"), "{}", last(&answers));
    assert_eq!(says(&mut world, 1, &["GET", &k]), "nil");
}

/// R18: FLUSHALL within a transaction, while a slot is held: the transaction waits as one.
#[test]
fn story_r18_a_transaction_that_flushes_waits() {
    let mut world = held();
    let commands: [&[&str]; 4] = [&["MULTI"], &["FLUSHALL"], &["CLUSTER", "MYID"], &["EXEC"]];
    let answers = send(&mut world, 0, &commands);
    pass(&mut world, 100_000);
    assert_eq!(last(&answers), "none", "it waits");
    finish(&mut world);
    settled(&mut world, 1, 10 * SECOND);
    pass(&mut world, 100_000);
    assert!(last(&answers).starts_with("[+OK"), "{}", last(&answers));
    assert_eq!(says(&mut world, 1, &["GET", &key("k")]), "'kept'");
}

/// R19: a key whose time is over while its slot is held is not served, not deleted by the source in the pause, and
/// does not come back at the target.
#[test]
fn story_r19_a_key_expires_in_the_pause() {
    let mut world = begin(Plan::calm(3));
    assert_eq!(says(&mut world, 0, &["SET", &key("k"), "short", "PX", "300"]), "+OK");
    migrate(&mut world);
    reach(&mut world, 0, Stage::Export(export::State::FailoverPaused));
    world.processes[1].frozen_until = world.now + SECOND;
    pass(&mut world, 600_000);
    assert_eq!(says(&mut world, 0, &["GET", &key("k")]), "nil");
    assert_eq!(says(&mut world, 0, &["CLUSTER", "COUNTKEYSINSLOT", "100"]), ":1", "deleted in the pause");
    finish(&mut world);
    settled(&mut world, 1, 10 * SECOND);
    assert_eq!(says(&mut world, 1, &["GET", &key("k")]), "nil");
    let gone = |w: &mut World| says(w, 1, &["CLUSTER", "COUNTKEYSINSLOT", "100"]) == ":0";
    pass(&mut world, SECOND);
    assert!(gone(&mut world), "the target keeps it");
}

/// R19: the same when the migration fails: the source deletes it after the pause.
#[test]
fn story_r19_a_key_expires_in_a_pause_that_fails() {
    let mut world = begin(Plan::calm(3));
    assert_eq!(says(&mut world, 0, &["SET", &key("k"), "short", "PX", "300"]), "+OK");
    migrate(&mut world);
    reach(&mut world, 0, Stage::Export(export::State::FailoverPaused));
    world.processes[1].frozen_until = world.now + SECOND;
    pass(&mut world, 500_000);
    world.tell(0, &["CLUSTER", "CANCELSLOTMIGRATIONS"]);
    finish(&mut world);
    settled(&mut world, 0, 10 * SECOND);
    pass(&mut world, SECOND);
    assert_eq!(says(&mut world, 0, &["CLUSTER", "COUNTKEYSINSLOT", "100"]), ":0");
}

/// A transaction waits for the node's disk when its slot's job asks for the pause: others wait from then on, and the log
/// says how long although the job ends before the pause is complete.
#[test]
fn story_a_job_ends_while_its_pause_waits_for_a_transaction() {
    let mut world = begin(Plan { migration_rate: 50, ..Plan::calm(3) });
    let (k, value) = (key("k"), "x".repeat(30_000));
    assert_eq!(says(&mut world, 0, &["SET", &k, &value]), "+OK");
    migrate(&mut world);
    reach(&mut world, 0, Stage::Export(export::State::Snapshotting));
    world.plan.disk = (5 * SECOND, 1);
    let commands: [&[&str]; 4] = [&["MULTI"], &["CLUSTER", "SAVECONFIG"], &["SET", &k, "late"], &["EXEC"]];
    let answers = send(&mut world, 0, &commands);
    reach(&mut world, 0, Stage::Export(export::State::WaitingToPause));
    let paused = world.now;
    pass(&mut world, 200_000);
    assert_eq!(last(&answers), "none", "it waits");
    let link = (0..world.conns.len()).rfind(|c| world.conns[*c].class == Class::Migration).expect("a link");
    world.reset(link, 1);
    finish(&mut world);
    let most = world.now - paused;
    assert_eq!(ends(&world).0, "failed");
    let told = world.processes[0].jobs.iter().next().and_then(|row| row.pause);
    assert!(told.is_some_and(|span| (200_000..=most).contains(&span.0)), "{told:?} in {most}");
    pass(&mut world, 6 * SECOND);
    assert_eq!(last(&answers), "[+OK, +OK]");
}

/// How early a hold may have begun, in milliseconds: the job wished to pause at 100, paused at 300 and ended at 500.
#[test]
fn a_pause_counts_from_its_wish_or_from_the_transaction_that_delayed_it() {
    let export = |paused| Export {
        process: 1,
        job: JobName::from_bytes([b'j'; 40]),
        slots: SlotRanges::default(),
        written: true,
        since: 0,
        asked: Some(100),
        paused,
        granted: None,
        until: 500,
    };
    let table: [(&[Order], Option<u64>); 9] = [
        (&[], None),
        (&[(1, 50, 300)], Some(100)),
        // It began after the wish, and the pause, which waited for buffers until then, while it was under way.
        (&[(1, 120, 301)], Some(120)),
        (&[(1, 120, 301), (1, 110, 400)], Some(110)),
        (&[(1, 120, 299)], None),
        (&[(1, 301, 400)], None),
        (&[(1, 10, 90)], None),
        (&[(2, 50, 400)], None),
        // Its end is an estimate.
        (&[(1, 50, 150)], Some(100)),
    ];
    for (orders, since) in table {
        assert_eq!(may_hold_since(&export(Some(300)), orders), since, "{orders:?}");
    }
    assert_eq!(may_hold_since(&export(None), &[(1, 120, 600)]), Some(120), "the job ended first");
    assert_eq!(may_hold_since(&Export { asked: None, ..export(None) }, &[(1, 0, 600)]), None);
}

/// A client that is killed while its write waits: the write is never carried out, at neither end.
#[test]
fn story_a_killed_client_takes_its_held_write_along() {
    let mut world = held();
    let answers = send(&mut world, 0, &[&["APPEND", &key("k"), "!"]]);
    pass(&mut world, 100_000);
    assert_eq!(last(&answers), "none", "it waits");
    assert!(at_once(&mut world, 0, &["CLIENT", "KILL", "TYPE", "normal"]).is_some());
    finish(&mut world);
    settled(&mut world, 1, 10 * SECOND);
    assert!(!world.processes[0].owns(slot()));
    assert_eq!(last(&answers), "none");
    assert_eq!(says(&mut world, 1, &["GET", &key("k")]), "'kept'");
}
