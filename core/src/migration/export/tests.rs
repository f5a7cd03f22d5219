use alloc::format;
use alloc::string::String;

use super::*;
use crate::migration::script::{self, ExportEnd, lead_to};
use crate::rng::Rng;

/// The lines up to the snapshot.
const TO_SNAPSHOT: &str = r#"
    new             => enter connecting, connect
    connected       => enter sending-establish-command
                    , send [CLUSTER SYNCSLOTS ESTABLISH SOURCE s*40 NAME j*40 SLOTSRANGE 0 3 5 5]
                    , enter reading-establish-response
    < "+OK\r\n"     => enter waiting-to-snapshot, send ACK
    pending 0       => enter snapshotting, fork-snapshot
"#;
/// The lines from there up to the held writes.
const TO_PAUSE: &str = r#"
    written         => enter replicating, send SNAPSHOT-EOF
    pending 0       =>
    < REQUEST-PAUSE => enter waiting-to-pause, pause until 10.0
    held            => enter failover-paused, send PAUSED
    pending 0       =>
"#;
/// The lines from there up to the grant.
const TO_GRANT: &str = r#"
    < REQUEST-FAILOVER => granted, enter failover-granted, send FAILOVER-GRANTED
"#;

fn run(parts: &[&str]) {
    script::run::<ExportEnd>(&parts.concat());
}

#[test]
fn a_migration_that_succeeds() {
    run(&[
        TO_SNAPSHOT,
        TO_PAUSE,
        TO_GRANT,
        "settled source => 
         closed         =>
         settled target => enter success, resume, drop-slots, ended success
         ticked         =>
         flushed        =>",
    ]);
    // The news may come before the end of the link.
    run(&[
        TO_SNAPSHOT,
        TO_PAUSE,
        TO_GRANT,
        "settled target => enter success, close, resume, drop-slots, ended success",
    ]);
}

#[test]
fn messages_directly_behind_the_answer_are_not_lost() {
    run(&[r#"
        connected => enter connecting, connect, enter sending-establish-command
            , send [CLUSTER SYNCSLOTS ESTABLISH SOURCE s*40 NAME j*40 SLOTSRANGE 0 3 5 5]
            , enter reading-establish-response
        < "+OK\r\n" REQUEST-PAUSE => enter waiting-to-snapshot, send ACK, enter failed, close
            , ended failed: Unexpected state machine transition
    "#]);
}

#[test]
fn the_target_is_told_who_we_are_when_it_wants_to_know() {
    let rest = r#"
        < "+OK\r\n" => enter sending-establish-command
            , send [CLUSTER SYNCSLOTS ESTABLISH SOURCE s*40 NAME j*40 SLOTSRANGE 0 3 5 5]
            , enter reading-establish-response
        < "+OK\r\n" => enter waiting-to-snapshot, send ACK
    "#;
    for (begin, auth) in [("begin-auth", "[AUTH pw]"), ("begin-auth me", "[AUTH me pw]")] {
        let begin = format!(
            "new => enter connecting, connect
             {begin} => enter connecting, connect
             connected => enter sending-auth-command, send {auth}, enter reading-auth-response"
        );
        run(&[&begin, rest]);
    }
}

#[test]
fn a_refused_introduction_ends_the_job() {
    let auth = "begin-auth => enter connecting, connect, enter connecting, connect
        connected => enter sending-auth-command, send [AUTH pw], enter reading-auth-response\n";
    run(&[
        auth,
        r#"< "-WRONGPASS invalid username-password pair or user is disabled.\r\n" => enter failed, close
            , ended failed: Failed to AUTH to target node: -WRONGPASS invalid username-password pair or user is disabled."#,
    ]);
    run(&[
        auth,
        r#"< "-NOA" =>
           closed => enter failed, ended failed: Target node did not respond to AUTH command"#,
    ]);
    let establish = "connected => enter connecting, connect, enter sending-establish-command
        , send [CLUSTER SYNCSLOTS ESTABLISH SOURCE s*40 NAME j*40 SLOTSRANGE 0 3 5 5]
        , enter reading-establish-response\n";
    run(&[
        establish,
        r#"< "-ERR Slots are being manually imported\r\n" => enter failed, close
            , ended failed: Received error during handshake to target: -ERR Slots are being manually imported\r\n"#,
    ]);
    // Anything that is not refused is agreed to, and the bytes behind it are the first message.
    run(&[establish, r#"< ":1\r\n" ACK => enter waiting-to-snapshot, send ACK"#]);
    let long = |n: usize| format!("< \"{}\"", "x".repeat(n));
    run(&[establish, &long(16 * 1024 - 1), " =>"]);
    run(&[
        establish,
        &long(16 * 1024),
        " => enter failed, close, ended failed: Response to establish job is larger than buffer limit",
    ]);
    run(&[
        auth,
        &long(16 * 1024),
        " => enter failed, close, ended failed: Target node did not respond to AUTH command",
    ]);
}

#[test]
fn no_connection_no_job() {
    for reason in ["Connection refused", "target node not found"] {
        run(&[&format!(
            "connect-failed {reason} => enter connecting, connect, enter failed
             , ended failed: Unable to connect to target node: {reason}"
        )]);
    }
}

/// Situations and the lines that lead there, for what can happen anywhere.
const SITUATIONS: [(&str, &[&str]); 9] = [
    ("connecting", &[]),
    ("reading-auth-response", &["begin-auth", "connected"]),
    ("reading-establish-response", &["connected"]),
    ("waiting-to-snapshot", &["connected", "< \"+OK\\r\\n\""]),
    ("snapshotting", &["connected", "< \"+OK\\r\\n\"", "pending 0"]),
    ("replicating", &["connected", "< \"+OK\\r\\n\"", "pending 0", "written"]),
    ("waiting-to-pause", &["connected", "< \"+OK\\r\\n\"", "pending 0", "written", "< REQUEST-PAUSE"]),
    (
        "failover-paused",
        &["connected", "< \"+OK\\r\\n\"", "pending 0", "written", "pending 0", "< REQUEST-PAUSE", "held"],
    ),
    (
        "failover-granted",
        &[
            "connected",
            "< \"+OK\\r\\n\"",
            "pending 0",
            "written",
            "pending 0",
            "< REQUEST-PAUSE",
            "held",
            "< REQUEST-FAILOVER",
        ],
    ),
];

#[test]
fn what_can_end_a_job_ends_it_everywhere() {
    for (state, inputs) in SITUATIONS {
        for (input, end) in [
            ("flushed", "failed: Data was flushed"),
            ("settled other", "failed: Slots are no longer owned by myself"),
            ("stopped Failed to perform snapshot", "failed: Failed to perform snapshot"),
            ("cancelled", "cancelled"),
            ("settled target", "success"),
        ] {
            if state == "failover-granted" && !input.starts_with("settled") {
                continue;
            }
            let mut stand = lead_to::<ExportEnd>(inputs);
            assert_eq!(format!("{}", stand.end.0.state()), state);
            stand.step(input);
            let paused = state.starts_with("failover-");
            let mut expected = alloc::vec![format!("enter {}", end.split(':').next().expect("a word"))];
            expected.push("close".into());
            expected.extend(paused.then(|| String::from("resume")));
            expected.extend((end == "success").then(|| String::from("drop-slots")));
            expected.push(format!("ended {end}"));
            assert_eq!(stand.said, expected, "{input} in {state}");
            assert_eq!(stand.end.0.paused_for().is_some(), paused);
            assert_eq!(stand.end.0.poll_timeout(), None);
            assert!(!stand.end.0.is_streaming());
        }
    }
}

#[test]
fn a_lost_link_ends_the_job_until_the_grant() {
    for (state, inputs) in SITUATIONS.into_iter().skip(2) {
        let mut stand = lead_to::<ExportEnd>(inputs);
        stand.step("closed");
        if state == "failover-granted" {
            assert!(stand.said.is_empty());
            assert!(!stand.end.0.is_streaming());
        } else {
            let end = "ended failed: Connection lost to target. Check CLUSTER GETSLOTMIGRATIONS on the target node \
                       for more information.";
            assert_eq!(stand.said.last().map(String::as_str), Some(end), "{state}");
            assert!(!stand.said.contains(&"close".into()), "{state}");
        }
    }
}

#[test]
fn a_message_out_of_order_ends_the_job() {
    for (state, inputs) in SITUATIONS.into_iter().skip(3) {
        for control in Control::ALL {
            let fits = match control {
                Control::Ack => true,
                Control::RequestPause => state == "replicating",
                Control::RequestFailover => state == "failover-paused",
                _ => false,
            };
            let mut stand = lead_to::<ExportEnd>(inputs);
            stand.step(&format!("< {}", control.as_str()));
            let end = "ended failed: Unexpected state machine transition";
            assert_eq!(stand.said.last().is_some_and(|last| last == end), !fits, "{control:?} in {state}");
        }
        for (bytes, end) in [
            ("[CLUSTER SYNCSLOTS NONSENSE]", Some("Unknown SYNCSLOTS subcommand used")),
            ("[CLUSTER SYNCSLOTS CAPA ctx1]", None),
            ("[cluster syncslots ack x]", None),
            ("[CLUSTER SYNCSLOTS]", Some(FAILED)),
            ("[CLUSTER SYNCSLOTS FINISH STATE SUCCESS NAME j*40]", Some(FAILED)),
            ("[CLUSTER SYNCSLOTS ESTABLISH]", Some(FAILED)),
            ("[GET k]", Some(FAILED)),
            ("\"+OK\\r\\n\"", Some(FAILED)),
            ("\"P\"", Some(FAILED)),
            ("\"*1\\r\\n!\\r\\n\"", Some(FAILED)),
        ] {
            let mut stand = lead_to::<ExportEnd>(inputs);
            stand.step(&format!("< {bytes}"));
            let last = stand.said.last().and_then(|last| last.strip_prefix("ended failed: "));
            assert_eq!(last, end, "{bytes} in {state}");
        }
    }
}

const FAILED: &str = "Failed to process command during slot migration. Check logs for more information";

#[test]
fn silence_ends_the_job_after_a_minute() {
    for (state, inputs) in SITUATIONS.into_iter().take(7) {
        let mut stand = lead_to::<ExportEnd>(inputs);
        stand.step("wait 59.999999");
        assert_eq!(stand.said.iter().find(|said| said.starts_with("ended")), None, "{state}");
        stand.step("wait 0.000001");
        let end = "ended failed: Timed out after too long with no interaction";
        assert_eq!(stand.said.last().map(String::as_str), Some(end), "{state}");
    }
    let mut stand = lead_to::<ExportEnd>(SITUATIONS[5].1);
    for _ in 0..5 {
        stand.step("wait 59");
        stand.step("< ACK");
    }
    assert_eq!(stand.end.0.state(), State::Replicating);
    assert_eq!(stand.end.0.last_ack(), stand.now.wall);
}

#[test]
fn signs_of_life_go_out_once_a_second_when_nothing_else_does() {
    run(&[
        TO_SNAPSHOT,
        "wait 3 =>
         written => enter replicating, send SNAPSHOT-EOF
         wait 0.999999 =>
         pending 0 =>
         wait 0.000001 => send ACK
         wait 5 =>
         pending 0 =>
         wait 1 => send ACK
         pending 0 =>
         prevented =>
         < REQUEST-PAUSE => enter waiting-to-pause
         wait 1 => send ACK
         pending 0 =>
         allowed => pause until 21.0
         held => enter failover-paused, send PAUSED
         pending 0 =>
         wait 1 => send ACK
         < REQUEST-FAILOVER => granted, enter failover-granted, send FAILOVER-GRANTED
         pending 0 =>
         wait 3 =>",
    ]);
    run(&[r#"
        new => enter connecting, connect
        wait 3 =>
        connected => enter sending-establish-command
            , send [CLUSTER SYNCSLOTS ESTABLISH SOURCE s*40 NAME j*40 SLOTSRANGE 0 3 5 5]
            , enter reading-establish-response
        pending 0 =>
        wait 3 =>
        < "+OK\r\n" => enter waiting-to-snapshot, send ACK
        wait 3 =>
    "#]);
}

#[test]
fn the_pause_waits_for_a_short_rest() {
    run(&[
        TO_SNAPSHOT,
        "written => enter replicating, send SNAPSHOT-EOF
         pending 500 =>
         < REQUEST-PAUSE => enter waiting-to-pause
         pending 1 =>
         pending 0 => pause until 10.0
         pending 7 =>
         held => enter failover-paused, send PAUSED",
    ]);
    run(&[
        "limit 100 => enter connecting, connect\n",
        TO_SNAPSHOT.trim_start().split_once('\n').expect("a first line").1,
        "written => enter replicating, send SNAPSHOT-EOF
         pending 500 =>
         < REQUEST-PAUSE => enter waiting-to-pause
         pending 101 =>
         pending 100 => pause until 10.0",
    ]);
    run(&[
        "no-limit => enter connecting, connect\n",
        TO_SNAPSHOT.trim_start().split_once('\n').expect("a first line").1,
        "written => enter replicating, send SNAPSHOT-EOF
         pending 500 =>
         < REQUEST-PAUSE => enter waiting-to-pause, pause until 10.0",
    ]);
}

#[test]
fn writes_are_to_be_slowed_only_while_the_rest_is_too_long() {
    let mut stand = lead_to::<ExportEnd>(SITUATIONS[6].1);
    assert!(stand.end.0.wants_lag_shrunk());
    assert!(stand.end.0.pending() > 0);
    stand.step("prevented");
    assert!(!stand.end.0.wants_lag_shrunk());
    stand.step("allowed");
    stand.step("pending 0");
    assert!(!stand.end.0.wants_lag_shrunk());
}

#[test]
fn a_pause_that_ends_by_itself_ends_the_job() {
    run(&[
        TO_SNAPSHOT,
        TO_PAUSE,
        "jump 9.999999 => send ACK
         jump 0.000001 => enter failed, close, resume, ended failed: Timed out before streaming completed",
    ]);
    // The hold did not even come into force.
    let asked = "written => enter replicating, send SNAPSHOT-EOF
         pending 0 =>
         < REQUEST-PAUSE => enter waiting-to-pause, pause until 10.0\n";
    run(&[
        TO_SNAPSHOT,
        asked,
        "jump 10 => enter failed, close, resume, ended failed: Timed out before streaming completed",
    ]);
    let mut stand = lead_to::<ExportEnd>(&SITUATIONS[7].1[..6]);
    stand.pass(Span::secs(10));
    stand.step("held");
    assert_eq!(stand.said.last().expect("an end"), "ended failed: Timed out before streaming completed");
    // The target asks in the moment in which the hold is over, before the clock told us.
    let mut stand = lead_to::<ExportEnd>(SITUATIONS[7].1);
    stand.pass(Span::secs(10));
    stand.step("< REQUEST-FAILOVER");
    assert_eq!(
        stand.said,
        ["enter failed", "close", "resume", "ended failed: Unpaused before failover completed"]
    );
    assert_eq!(stand.end.0.paused_for(), Some(Span::secs(10)));
}

#[test]
fn the_grant_leaves_two_seconds_for_the_news() {
    run(&[
        TO_SNAPSHOT,
        TO_PAUSE,
        "jump 9.5 => send ACK
         < REQUEST-FAILOVER => extend-pause until 11.5, granted, enter failover-granted, send FAILOVER-GRANTED
         closed =>
         wait 1.999999 =>
         wait 0.000001 => enter failed, resume
         , ended failed: Unpaused before migration completed (migration may have succeeded with lost writes)",
    ]);
    // Silence alone does not end it.
    let mut stand = lead_to::<ExportEnd>(SITUATIONS[8].1);
    assert_eq!(stand.end.0.poll_timeout(), Some(script::START.mono + Span::secs(10)));
    stand.step("wait 9");
    stand.step("settled target");
    assert_eq!(stand.end.0.paused_for(), Some(Span::secs(9)));
}

#[test]
fn a_target_that_lives_and_has_not_decided_is_waited_for() {
    run(&[
        TO_SNAPSHOT,
        TO_PAUSE,
        "< REQUEST-FAILOVER => granted, enter failover-granted, send FAILOVER-GRANTED
         wait 9.5 =>
         < ACK =>
         wait 0.5 => extend-pause until 11.5
         wait 1 =>
         < ACK =>
         wait 0.5 => extend-pause until 13.0
         wait 1.499999 =>
         wait 0.000001 => enter failed, close, resume
         , ended failed: Unpaused before migration completed (migration may have succeeded with lost writes)",
    ]);
    // Not for ever: a pause and a timeout after the hold began.
    let mut stand = lead_to::<ExportEnd>(SITUATIONS[8].1);
    for second in 1..70 {
        stand.step("wait 1");
        stand.step("< ACK");
        assert_eq!(stand.end.0.state(), State::FailoverGranted, "after {second} s");
    }
    stand.step("wait 1");
    assert_eq!(stand.end.0.state(), State::Failed);
}

#[test]
fn after_the_grant_nobody_can_stop_it_but_the_bus_and_the_time() {
    for what in ["cancelled", "flushed"] {
        let mut stand = lead_to::<ExportEnd>(SITUATIONS[8].1);
        stand.said.clear();
        stand.step(what);
        assert!(stand.said.is_empty(), "{what}: {:?}", stand.said);
        stand.step("settled target");
        assert_eq!(stand.end.0.state(), State::Success);
    }
}

#[test]
fn a_hold_keeps_its_end_when_the_limits_change() {
    let mut stand = lead_to::<ExportEnd>(SITUATIONS[7].1);
    stand.end.0.set_timing(Timing {
        pause_limit: Span::ms(1),
        repl_timeout: Span::secs(2),
        ..Timing::default()
    });
    stand.step("wait 1.9");
    assert_eq!(stand.end.0.state(), State::FailoverPaused);
    stand.step("wait 0.1");
    assert_eq!(stand.end.0.state(), State::Failed);
}

#[test]
fn the_stream_names_its_database_again_behind_the_snapshot() {
    let mut export = lead_to::<ExportEnd>(SITUATIONS[4].1);
    let select = |end: &mut ExportEnd, db| end.0.select(db).map(|bytes| bytes.to_vec());
    let words = |n: u32| Some(syncslots::select(n).to_vec());
    assert!(export.end.0.is_streaming());
    assert_eq!(select(&mut export.end, 0), words(0));
    assert_eq!(select(&mut export.end, 0), None);
    assert_eq!(select(&mut export.end, 3), words(3));
    export.step("written");
    assert_eq!(select(&mut export.end, 3), words(3));
    assert_eq!(select(&mut export.end, 3), None);
    assert_eq!(select(&mut export.end, 0), words(0));
}

#[test]
fn what_waits_is_what_was_told_and_what_was_sent_since() {
    let mut stand = lead_to::<ExportEnd>(SITUATIONS[4].1);
    stand.step("pending 1000");
    stand.step("written");
    assert_eq!(stand.end.0.pending(), 1000 + 51);
    stand.step("closed");
    assert_eq!(stand.end.0.pending(), 0);
}

#[test]
#[should_panic(expected = "SnapshotWritten in state replicating")]
fn what_cannot_happen_is_a_bug_of_the_caller() {
    lead_to::<ExportEnd>(SITUATIONS[5].1).step("written");
}

#[test]
fn random_bytes_never_panic_nor_make_it_speak() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let mut stand = lead_to::<ExportEnd>(SITUATIONS[2 + rng.index(7)].1);
        for _ in 0..20 {
            let mut bytes: Vec<u8> = Vec::new();
            for _ in 0..rng.index(6) {
                match rng.below(4) {
                    0 => bytes.extend_from_slice(&Control::ALL[rng.index(6)].bytes()),
                    1 => bytes.extend_from_slice(b"*3\r\n$7\r\nCLUSTER\r\n"),
                    2 => bytes.extend((0..rng.index(9)).map(|_| b"*$0123456789\r\n-+"[rng.index(16)])),
                    _ => bytes.extend((0..rng.index(9)).map(|_| rng.bits() as u8)),
                }
            }
            if stand.end.0.state().is_finished() {
                break;
            }
            script::End::feed(&mut stand.end, stand.now, &bytes, &mut stand.said);
        }
        let ends = stand.said.iter().filter(|said| said.starts_with("ended")).count();
        assert!(ends <= 1, "seed {seed}: {:?}", stand.said);
    }
}

#[test]
fn a_target_may_agree_to_lanes() {
    let greeting = r#"
        offer-lanes 2  =>
        connected      => enter sending-establish-command, send [CLUSTER SYNCSLOTS CAPA lanes 2]
                       , send [CLUSTER SYNCSLOTS ESTABLISH SOURCE s*40 NAME j*40 SLOTSRANGE 0 3 5 5]
                       , enter reading-establish-response
    "#;
    let new = "new => enter connecting, connect\n";
    run(&[
        new,
        greeting,
        r#"
        < [CLUSTER SYNCSLOTS CAPA lanes 2] "+OK\r\n" => enter waiting-to-snapshot, send ACK
        pending 0       => enter snapshotting, fork-snapshot
        lanes-pending 1 =>
        written         => enter replicating, send SNAPSHOT-EOF
        pending 0       =>
        # On this link nothing waits: it says that it lives.
        wait 1          => send ACK
        pending 0       =>
        < REQUEST-PAUSE => enter waiting-to-pause
        pending 0       =>
        lanes-pending 7 =>
        lanes-pending 0 => pause until 11.0
        held            => enter failover-paused, send PAUSED
        stopped lane    => enter failed, close, resume, ended failed: lane
    "#,
    ]);
    // The answer counts, not what else is said in front of it.
    for (said, agreed) in [
        ("\"+OK\\r\\n\"", false),
        ("[CLUSTER SYNCSLOTS CAPA lanes 4] \"+OK\\r\\n\"", false),
        ("[CLUSTER SYNCSLOTS CAPA x lanes 2] \"+OK\\r\\n\"", true),
        ("[CLUSTER SYNCSLOTS CAPA y] [CLUSTER SYNCSLOTS CAPA lanes 2] \"+OK\\r\\n\"", true),
    ] {
        let stand = lead_to::<ExportEnd>(&["offer-lanes 2", "connected", &format!("< {said}")]);
        assert_eq!((stand.end.0.state(), stand.end.0.lanes().is_some()), (State::WaitingToSnapshot, agreed));
    }
    run(&[
        new,
        greeting,
        r#"
        < ACK => enter failed, close, ended failed: Unexpected state machine transition
    "#,
    ]);
    run(&[
        new,
        greeting,
        r#"
        < [CLUSTER SYNCSLOTS CAPA lanes 2] "-ERR no\r\n" => enter failed, close
            , ended failed: Received error during handshake to target: -ERR no\r\n
    "#,
    ]);
    // A job in one shard has none to offer.
    let mut stand = lead_to::<ExportEnd>(&["offer-lanes 1"]);
    stand.step("connected");
    assert!(stand.said.iter().all(|said| !said.contains("CAPA")), "{:?}", stand.said);
}

#[test]
fn what_breaks_a_lane_means_nothing_after_the_grant() {
    run(&[
        TO_SNAPSHOT,
        TO_PAUSE,
        TO_GRANT,
        "stopped lane =>
         settled target => enter success, close, resume, drop-slots, ended success",
    ]);
}
