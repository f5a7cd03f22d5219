use alloc::format;
use alloc::string::String;

use super::*;
use crate::migration::script::{self, ImportEnd, lead_to};
use crate::rng::Rng;
use crate::time::Span;
use crate::wire::syncslots::Control;

fn run(script: &str) {
    script::run::<ImportEnd>(script);
}

/// Situations and the lines that lead there.
const SITUATIONS: [(&str, &[&str]); 7] = [
    ("waiting-for-ack", &[]),
    ("receiving-snapshot", &["< ACK"]),
    ("waiting-for-paused", &["< ACK SNAPSHOT-EOF"]),
    ("failover-requested", &["< ACK SNAPSHOT-EOF PAUSED"]),
    ("failover-granted", &["< ACK SNAPSHOT-EOF PAUSED FAILOVER-GRANTED"]),
    ("cleaning-up", &["< ACK", "closed"]),
    ("occurring-on-primary", &["follow"]),
];

const LOST: &str =
    "Connection lost to source. Check CLUSTER GETSLOTMIGRATIONS on the source node for more information.";
const FAILED: &str = "Failed to process command during slot migration. Check logs for more information";

#[test]
fn a_migration_that_succeeds() {
    run(r#"
        new                 => enter waiting-for-ack, send "+OK\r\n"
        < ACK               => enter receiving-snapshot
        < [SELECT 0] [SET {06S}k v] [select 3] [RPUSH {06S}l a b] => apply 0 [SET {06S}k v], apply 3 [RPUSH {06S}l a b]
        < SNAPSHOT-EOF      => enter waiting-for-paused, send REQUEST-PAUSE
        # The stream begins in database 0, whatever the snapshot ended in.
        < [SET {06S}k live] => apply 0 [SET {06S}k live]
        < [SELECT 5] [DEL {06S}l] => apply 5 [DEL {06S}l]
        < PAUSED            => enter failover-requested, send REQUEST-FAILOVER
        < FAILOVER-GRANTED  => enter failover-granted, assign-slots
        taken-over          => enter success, unhide, close, ended success
        ticked              =>
        flushed             =>
        < ACK [GET k]       =>
    "#);
}

#[test]
fn a_whole_migration_may_arrive_at_once() {
    run(r#"
        new => enter waiting-for-ack, send "+OK\r\n"
        < ACK [SET k v] SNAPSHOT-EOF [SET k w] PAUSED FAILOVER-GRANTED => enter receiving-snapshot, apply 0 [SET k v]
            , enter waiting-for-paused, send REQUEST-PAUSE, apply 0 [SET k w]
            , enter failover-requested, send REQUEST-FAILOVER, enter failover-granted, assign-slots
    "#);
}

#[test]
fn nothing_is_sent_before_the_first_ack() {
    run(r#"
        new     => enter waiting-for-ack, send "+OK\r\n"
        wait 30 =>
        < [SET k v] => apply 0 [SET k v]
        wait 30 =>
        < ACK   => enter receiving-snapshot
        wait 1  => send ACK
    "#);
}

#[test]
fn signs_of_life_go_out_once_a_second() {
    run(r#"
        new => enter waiting-for-ack, send "+OK\r\n"
        < ACK => enter receiving-snapshot
        wait 0.999999 =>
        wait 0.000001 => send ACK
        < SNAPSHOT-EOF => enter waiting-for-paused, send REQUEST-PAUSE
        wait 2 => send ACK, send ACK
        < PAUSED => enter failover-requested, send REQUEST-FAILOVER
        wait 1 => send ACK
        < FAILOVER-GRANTED => enter failover-granted, assign-slots
        wait 1 => send ACK
        taken-over => enter success, unhide, close, ended success
        wait 5 =>
    "#);
}

#[test]
fn any_byte_is_a_sign_of_life() {
    for (state, inputs) in SITUATIONS.into_iter().take(5) {
        let mut stand = lead_to::<ImportEnd>(inputs);
        stand.step("wait 59.999999");
        stand.step("< \"*\"");
        stand.step("wait 59.999999");
        assert!(stand.said.iter().all(|said| said == "send ACK"), "{state}: {:?}", stand.said);
        stand.said.clear();
        stand.step("wait 0.000001");
        if state == "failover-granted" {
            assert!(stand.said.iter().all(|said| said == "send ACK"), "the source has nothing more to say");
            continue;
        }
        assert_eq!(stand.said.last().map(String::as_str), Some("drop-slots"), "{state}");
        stand.said.clear();
        stand.step("cleaned");
        let end = "ended failed: Timed out after too long with no interaction";
        assert_eq!(stand.said, ["enter failed", "unhide", end]);
    }
    // Not the bytes themselves but the memory they were read into may be ours.
    let mut stand = lead_to::<ImportEnd>(&["< ACK"]);
    stand.step(&format!("< \"*2\\r\\n$3\\r\\nSET\\r\\n$100000\\r\\n{}\"", "x".repeat(1000)));
    stand.step("wait 50");
    stand.end.import.inbox().expect("room for a large argument")[..3].copy_from_slice(b"abc");
    stand.end.import.inbox_filled(stand.now, 3);
    stand.step("wait 50");
    assert_eq!(stand.end.import.state(), State::ReceivingSnapshot);
}

/// What a failure leads to in each situation.
fn failing(state: &str, closed: bool, message: &str) -> Vec<String> {
    let close = if closed { "" } else { ", close" };
    let text = match state {
        "failover-granted" => "withdraw".into(),
        "cleaning-up" | "success" => String::new(),
        "occurring-on-primary" => format!("enter failed, unhide, ended failed: {message}"),
        _ => format!("enter cleaning-up{close}, drop-slots"),
    };
    text.split(", ").filter(|a| !a.is_empty()).map(String::from).collect()
}

#[test]
fn what_can_end_a_job_ends_it_everywhere() {
    for (state, inputs) in SITUATIONS {
        let open = !["cleaning-up", "occurring-on-primary"].contains(&state);
        for (input, message) in [
            ("flushed", "Data was flushed"),
            ("closed", LOST),
            ("settled other", "Slots are no longer owned by source node"),
            ("settled target", "Slots are no longer owned by source node"),
        ] {
            let claimed = input == "settled target" && state == "failover-granted";
            if claimed || (input != "flushed" && !open) {
                continue;
            }
            let mut stand = lead_to::<ImportEnd>(inputs);
            assert_eq!(format!("{}", stand.end.import.state()), state);
            stand.step(input);
            assert_eq!(stand.said, failing(state, input == "closed", message), "{input} in {state}");
            if open && state != "failover-granted" {
                assert!(!stand.end.import.is_reading());
                assert_eq!(stand.end.import.poll_timeout(), None);
                stand.said.clear();
                stand.step("cleaned");
                assert_eq!(stand.said, ["enter failed", "unhide", &format!("ended failed: {message}")]);
            }
        }
    }
}

#[test]
fn a_message_out_of_order_ends_the_job() {
    for (state, inputs) in SITUATIONS.into_iter().take(5) {
        for control in Control::ALL {
            let fits = match control {
                Control::Ack => true,
                Control::SnapshotEof => state == "receiving-snapshot",
                Control::Paused => state == "waiting-for-paused",
                Control::FailoverGranted => state == "failover-requested",
                Control::RequestPause | Control::RequestFailover => false,
            };
            let mut stand = lead_to::<ImportEnd>(inputs);
            stand.step(&format!("< {}", control.as_str()));
            if !fits {
                assert_eq!(stand.said, failing(state, false, ""), "{control:?} in {state}");
                finish(&mut stand);
                let end = "ended failed: Unexpected state machine transition";
                assert_eq!(stand.said.last().map(String::as_str), Some(end));
            } else if control == Control::Ack {
                assert!(stand.end.import.is_reading());
                assert_eq!(stand.end.import.last_ack(), stand.now.wall);
            }
        }
    }
}

/// Answers to whatever a failed import asked for.
fn finish(stand: &mut script::Stand<ImportEnd>) {
    if stand.end.import.state() == State::FailoverGranted {
        stand.step("withdrawn");
    }
    stand.step("cleaned");
}

#[test]
fn bytes_that_are_no_stream_end_the_job() {
    for (state, inputs) in SITUATIONS.into_iter().take(5) {
        for (bytes, end) in [
            ("[CLUSTER SYNCSLOTS NONSENSE]", "Unknown SYNCSLOTS subcommand used"),
            ("[CLUSTER SYNCSLOTS]", FAILED),
            ("[CLUSTER SYNCSLOTS FINISH STATE SUCCESS NAME j*40]", FAILED),
            ("[CLUSTER SYNCSLOTS ESTABLISH]", FAILED),
            ("[SELECT 16]", FAILED),
            ("[SELECT -1]", FAILED),
            ("[SELECT x]", FAILED),
            ("[SELECT]", FAILED),
            ("[SELECT 1 2]", FAILED),
            // A line of words is refused at its first byte, so that the job does not hang until it times out.
            ("\"S\"", FAILED),
            ("\"+OK\\r\\n\"", FAILED),
            ("\"*1\\r\\n!\\r\\n\"", FAILED),
            ("\"*0\\r\\nPING\\r\\n\"", FAILED),
        ] {
            let mut stand = lead_to::<ImportEnd>(inputs);
            stand.step(&format!("< {bytes} [SET never applied]"));
            assert_eq!(stand.said, failing(state, false, end), "{bytes} in {state}");
            finish(&mut stand);
            let last = stand.said.last().and_then(|last| last.strip_prefix("ended failed: "));
            assert_eq!(last, Some(end), "{bytes} in {state}");
        }
        let mut stand = lead_to::<ImportEnd>(inputs);
        stand.step("< [CLUSTER SYNCSLOTS CAPA ctx1] \"*0\\r\\n\"");
        assert!(stand.said.is_empty() && stand.end.import.is_reading(), "{state}");
    }
}

#[test]
fn no_command_may_follow_the_end_of_the_writes() {
    // Behind the grant the slots may be ours already, with newer values than what this command would write.
    let lanes: &[_] = &["with-lanes 2", "lane-arrived", "< ACK SNAPSHOT-EOF PAUSED"];
    let unapplied: &[_] = &["apply-late", "< ACK SNAPSHOT-EOF [SET k v] PAUSED"];
    for (state, inputs) in
        [SITUATIONS[3], SITUATIONS[4], ("waiting-for-paused", lanes), ("waiting-for-paused", unapplied)]
    {
        for command in ["[SET k old]", "[SELECT 0]"] {
            let mut stand = lead_to::<ImportEnd>(inputs);
            assert_eq!(format!("{}", stand.end.import.state()), state);
            stand.step("< ACK [CLUSTER SYNCSLOTS CAPA ctx1]");
            assert!(stand.said.is_empty(), "{state}: {:?}", stand.said);
            assert!(!stand.end.import.stream.takes_commands(), "{state}");
            stand.step(&format!("< {command} FAILOVER-GRANTED"));
            assert_eq!(stand.said, failing(state, false, ""), "{command} in {state}, {inputs:?}");
            finish(&mut stand);
            let end = "ended failed: Unexpected state machine transition";
            assert_eq!(stand.said.last().map(String::as_str), Some(end));
        }
    }
}

#[test]
fn a_command_that_fails_ends_the_job() {
    for (reject, message) in [("oom", "Ran out of memory (OOM) during slot import"), ("error", FAILED)] {
        run(&format!(
            r#"new => enter waiting-for-ack, send "+OK\r\n"
               < ACK => enter receiving-snapshot
               < [SET k v] => apply 0 [SET k v]
               reject-next {reject} =>
               < [SET k w] [SET k x] SNAPSHOT-EOF => apply 0 [SET k w], enter cleaning-up, close, drop-slots
               cleaned => enter failed, unhide, ended failed: {message}"#
        ));
    }
}

#[test]
fn the_hand_over_waits_for_what_is_still_being_applied() {
    run(r#"
        new => enter waiting-for-ack, send "+OK\r\n"
        apply-late =>
        < ACK [SET a 1] SNAPSHOT-EOF => enter receiving-snapshot, apply 0 [SET a 1]
            , enter waiting-for-paused, send REQUEST-PAUSE
        < [SET b 2] PAUSED => apply 0 [SET b 2]
        applied =>
        applied => enter failover-requested, send REQUEST-FAILOVER
        < FAILOVER-GRANTED => enter failover-granted, assign-slots
    "#);
    // A second PAUSED does not become right by the first one's waiting.
    run(r#"
        new => enter waiting-for-ack, send "+OK\r\n"
        apply-late =>
        < ACK SNAPSHOT-EOF [SET b 2] PAUSED => enter receiving-snapshot
            , enter waiting-for-paused, send REQUEST-PAUSE, apply 0 [SET b 2]
        < PAUSED => enter cleaning-up, close, drop-slots
        applied =>
        cleaned => enter failed, unhide, ended failed: Unexpected state machine transition
    "#);
}

#[test]
fn once_the_claim_is_asked_for_its_answer_decides() {
    let asked = r#"
        new => enter waiting-for-ack, send "+OK\r\n"
        < ACK SNAPSHOT-EOF PAUSED FAILOVER-GRANTED => enter receiving-snapshot
            , enter waiting-for-paused, send REQUEST-PAUSE, enter failover-requested, send REQUEST-FAILOVER
            , enter failover-granted, assign-slots
    "#;
    // Our own claim shows in the view before it is durable.
    run(&format!("{asked}\nsettled target =>\ntaken-over => enter success, unhide, close, ended success"));
    // Too late to take it back: the slots are ours, and the job succeeded.
    run(&format!("{asked}\nclosed => withdraw\ntaken-over => enter success, unhide, ended success"));
    run(&format!(
        "{asked}\nflushed => withdraw\n< ACK =>\ntaken-over => enter success, unhide, close, ended success"
    ));
    // In time; the first reason is the one that is told.
    run(&format!(
        "{asked}\nsettled other => withdraw\nclosed =>\nwait 100 =>
         withdrawn => enter cleaning-up, drop-slots
         cleaned => enter failed, unhide, ended failed: Slots are no longer owned by source node"
    ));
    run(&format!(
        "{asked}\nclosed => withdraw
         withdrawn => enter cleaning-up, drop-slots
         cleaned => enter failed, unhide, ended failed: {LOST}"
    ));
    // However long the answer takes: the source, which waits for it, has nothing more to say.
    run(&format!("{asked}\njump 100 => send ACK\ntaken-over => enter success, unhide, close, ended success"));
}

#[test]
fn a_replica_leaves_the_import_to_its_primary() {
    for (state, inputs) in SITUATIONS {
        let mut stand = lead_to::<ImportEnd>(inputs);
        stand.step("demoted");
        let expected: &[&str] = match state {
            "occurring-on-primary" => &[],
            "cleaning-up" => &["enter occurring-on-primary"],
            _ => &["enter occurring-on-primary", "close"],
        };
        assert_eq!(stand.said, expected, "{state}");
        assert_eq!(stand.end.import.poll_timeout(), None);
    }
    // A cleaning that was under way may end afterwards.
    run(r#"
        new => enter waiting-for-ack, send "+OK\r\n"
        flushed => enter cleaning-up, close, drop-slots
        demoted => enter occurring-on-primary
        cleaned =>
        finished Data was flushed => enter failed, unhide, ended failed: Data was flushed
    "#);
}

#[test]
fn a_followed_import_ends_as_the_primary_says() {
    let follow = "new => enter waiting-for-ack, send \"+OK\\r\\n\"\nfollow => enter occurring-on-primary\n";
    run(&format!("{follow}wait 1000 =>\nsettled other =>\nfinished => enter success, unhide, ended success"));
    run(&format!("{follow}finished some text => enter failed, unhide, ended failed: some text"));
    run(&format!("{follow}resynced => enter failed, unhide, ended failed: Full resynchronization occurred"));
    for (input, message) in
        [("promoted", "A failover occurred during slot import"), ("restarted", "Process restarted")]
    {
        run(&format!(
            "{follow}{input} => enter cleaning-up, drop-slots
             finished too late =>
             cleaned => enter failed, unhide, ended failed: {message}"
        ));
    }
    // These are news for followers only.
    run("new => enter waiting-for-ack, send \"+OK\\r\\n\"\npromoted =>\nfinished =>\nsettled source =>");
}

#[test]
fn the_reader_of_the_session_goes_on() {
    let mut import = lead_to::<ImportEnd>(&[]).end.import;
    let (mut reader, mut out) = (Reader::default(), Vec::new());
    reader.keep(&script::encode("ACK [SET k v]"));
    import.adopt(reader);
    assert!(matches!(import.read(script::START, &mut &b""[..], &mut out), Read::Heard));
    assert!(matches!(import.read(script::START, &mut &b""[..], &mut out), Read::Apply { db: 0, .. }));
    import.keep(&script::encode("SNAPSHOT-EOF"));
    assert!(matches!(import.read(script::START, &mut &b""[..], &mut out), Read::Heard));
    assert_eq!(import.state(), State::WaitingForPaused);
}

#[test]
fn a_shorter_limit_counts_at_once() {
    let mut stand = lead_to::<ImportEnd>(SITUATIONS[1].1);
    stand.end.import.set_timing(Timing { repl_timeout: Span::secs(2), ..Timing::default() });
    stand.step("wait 2");
    assert_eq!(stand.end.import.state(), State::CleaningUp);
}

#[test]
#[should_panic(expected = "TakenOver in state receiving-snapshot")]
fn what_cannot_happen_is_a_bug_of_the_caller() {
    lead_to::<ImportEnd>(SITUATIONS[1].1).step("taken-over");
}

#[test]
#[should_panic(expected = "an outcome without a command")]
fn an_outcome_belongs_to_a_command() {
    lead_to::<ImportEnd>(SITUATIONS[1].1).step("applied");
}

#[test]
fn random_bytes_never_panic_nor_claim_slots() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let mut stand = lead_to::<ImportEnd>(SITUATIONS[rng.index(3)].1);
        for _ in 0..20 {
            let mut bytes: Vec<u8> = Vec::new();
            for _ in 0..rng.index(6) {
                match rng.below(5) {
                    0 => bytes.extend_from_slice(&Control::Ack.bytes()),
                    1 => bytes.extend_from_slice(&script::encode("[SET k v] [SELECT 7]")),
                    2 => bytes.extend_from_slice(b"*3\r\n$7\r\nCLUSTER\r\n"),
                    3 => bytes.extend((0..rng.index(9)).map(|_| b"*$0123456789\r\n-+"[rng.index(16)])),
                    _ => bytes.extend((0..rng.index(9)).map(|_| rng.bits() as u8)),
                }
            }
            script::End::feed(&mut stand.end, stand.now, &bytes, &mut stand.said);
        }
        assert!(!stand.said.iter().any(|said| said == "assign-slots"), "seed {seed}: {:?}", stand.said);
    }
}

#[test]
fn the_pause_and_the_take_over_wait_for_all_lanes() {
    run(r#"
        with-lanes 4    => enter waiting-for-ack, send "+OK\r\n", enter waiting-for-ack
                        , send [CLUSTER SYNCSLOTS CAPA lanes 4], send "+OK\r\n"
        # A lane may be faster than the first word on this link.
        lane-arrived    =>
        < ACK           => enter receiving-snapshot
        lane-arrived    =>
        < SNAPSHOT-EOF [SET k v] => apply 0 [SET k v]
        lane-arrived    => enter waiting-for-paused, send REQUEST-PAUSE
        lane-paused     =>
        lane-paused     =>
        < PAUSED        =>
        lane-paused     => enter failover-requested, send REQUEST-FAILOVER
        < FAILOVER-GRANTED => enter failover-granted, assign-slots
    "#);
    run(r#"
        with-lanes 2    => enter waiting-for-ack, send "+OK\r\n", enter waiting-for-ack
                        , send [CLUSTER SYNCSLOTS CAPA lanes 2], send "+OK\r\n"
        lane-arrived    =>
        < ACK SNAPSHOT-EOF => enter receiving-snapshot, enter waiting-for-paused, send REQUEST-PAUSE
        lane-paused     =>
        # What the source says on this link has its order all the same.
        < SNAPSHOT-EOF  => enter cleaning-up, close, drop-slots
    "#);
}

#[test]
fn a_failed_import_may_still_hear_of_lanes() {
    run(r#"
        with-lanes 2    => enter waiting-for-ack, send "+OK\r\n", enter waiting-for-ack
                        , send [CLUSTER SYNCSLOTS CAPA lanes 2], send "+OK\r\n"
        < ACK SNAPSHOT-EOF => enter receiving-snapshot
        flushed         => enter cleaning-up, close, drop-slots
        lane-arrived    =>
        lane-paused     =>
        cleaned         => enter failed, unhide, ended failed: Data was flushed
    "#);
}
