use super::*;
use crate::migration::script::{self, End, ReceiverEnd};
use crate::rng::Rng;

fn run(script: &str) {
    script::run::<ReceiverEnd>(script);
}

const FAILED: &str =
    "failed: Failed to process command during slot migration. Check logs for more information";

#[test]
fn a_lane_brings_a_snapshot_and_a_stream_and_says_when_each_is_there() {
    run(r#"
        new                 => enter receiving-snapshot, send "+OK\r\n"
        < [SELECT 3] [SET {06S}k v] ACK => apply 3 [SET {06S}k v]
        < SNAPSHOT-EOF      => enter receiving-stream, arrived
        # As on the first link, the database is the first one again.
        < [SET {06S}k w]    => apply 0 [SET {06S}k w]
        < PAUSED            => enter paused, paused
        < ACK               =>
        over                => enter ended, close
        < [SET {06S}k x]    =>
        closed              =>
    "#);
}

#[test]
fn the_end_of_the_stream_counts_when_all_before_it_is_applied() {
    run(r#"
        apply-late => enter receiving-snapshot, send "+OK\r\n"
        < [SET {06S}k v] SNAPSHOT-EOF [SET {06S}k w] PAUSED => apply 0 [SET {06S}k v], enter receiving-stream, arrived
            , apply 0 [SET {06S}k w]
        applied =>
        applied => enter paused, paused
    "#);
}

#[test]
fn what_breaks_a_lane_fails_the_job_until_all_of_it_is_there() {
    let lost = "failed: Connection lost to source. Check CLUSTER GETSLOTMIGRATIONS on the source node for more information.";
    for way in [&[][..], &["< SNAPSHOT-EOF"], &["apply-late", "< SNAPSHOT-EOF [SET k v] PAUSED"]] {
        let mut stand = script::lead_to::<ReceiverEnd>(way);
        stand.step("closed");
        assert_eq!(stand.said, ["enter ended", lost], "{way:?}");
        let mut stand = script::lead_to::<ReceiverEnd>(way);
        stand.step("wait 59.9");
        assert!(stand.said.iter().all(|said| said == "send ACK"), "{way:?}: {:?}", stand.said);
        stand.said.clear();
        stand.step("wait 0.1");
        assert_eq!(
            stand.said,
            ["enter ended", "close", "failed: Timed out after too long with no interaction"],
            "{way:?}"
        );
    }
    let mut stand = script::lead_to::<ReceiverEnd>(&["< SNAPSHOT-EOF PAUSED"]);
    stand.step("wait 100");
    assert!(stand.said.iter().all(|said| said == "send ACK"));
    stand.said.clear();
    stand.step("closed");
    assert_eq!(stand.said, ["enter ended"]);
}

#[test]
fn what_does_not_belong_there_fails_the_job() {
    let unexpected = "failed: Unexpected state machine transition";
    for (way, word, failure) in [
        (&[][..], "PAUSED", unexpected),
        (&[], "REQUEST-PAUSE", unexpected),
        (&[], "FAILOVER-GRANTED", unexpected),
        (&["< SNAPSHOT-EOF"], "SNAPSHOT-EOF", unexpected),
        (&["< SNAPSHOT-EOF PAUSED"], "[SET k v]", unexpected),
        (&["< SNAPSHOT-EOF PAUSED"], "[SELECT 1]", unexpected),
        (&["< SNAPSHOT-EOF PAUSED"], "PAUSED", unexpected),
        (&[], "[CLUSTER SYNCSLOTS NONSENSE]", "failed: Unknown SYNCSLOTS subcommand used"),
        (&[], "[CLUSTER SYNCSLOTS LANE NAME j*40 SHARD 1]", FAILED),
        (&[], "[CLUSTER SYNCSLOTS ESTABLISH]", FAILED),
        (&[], "[SELECT 16]", FAILED),
        (&[], "\"PING\\r\\n\"", FAILED),
    ] {
        let mut stand = script::lead_to::<ReceiverEnd>(way);
        stand.step(&alloc::format!("< {word}"));
        assert_eq!(stand.said, ["enter ended", "close", failure], "{word} behind {way:?}");
    }
    run(r#"
        reject-next oom => enter receiving-snapshot, send "+OK\r\n"
        < [SET k v] => apply 0 [SET k v], enter ended, close, failed: Ran out of memory (OOM) during slot import
    "#);
    let mut stand = script::lead_to::<ReceiverEnd>(&["reject-next"]);
    stand.step("< [SET k v] [SET k w]");
    assert_eq!(stand.said, ["apply 0 [SET k v]", "enter ended", "close", FAILED]);
}

#[test]
fn a_session_may_have_read_more_than_its_answer() {
    let mut reader = Reader::default();
    let ack = Control::Ack.bytes();
    reader.keep(&[&Control::SnapshotEof.bytes()[..], &ack[..9]].concat());
    let mut out = Vec::new();
    let now = script::START;
    let mut receiver = Receiver::new(reader, Timing::default(), 16, now, &mut out);
    assert!(!receiver.stream.takes_commands(), "what was kept comes first");
    let mut rest = &ack[9..];
    while !matches!(receiver.read(now, &mut rest, &mut out), Read::Starved) {}
    assert_eq!(out[2..], [Action::Entered(ReceivingStream), Action::Arrived]);
    assert!(receiver.stream.takes_commands());
}

/// Whatever happens in whatever order: each end is told once, nothing behind the end, no deadline in the past.
#[test]
fn anything_at_any_time() {
    for seed in 0..400 {
        let mut rng = Rng::new(seed);
        let mut stand = script::lead_to::<ReceiverEnd>(&[]);
        for _ in 0..20 {
            let word = [
                "< SNAPSHOT-EOF",
                "< PAUSED",
                "< ACK",
                "< [SET k v]",
                "< [SELECT 2]",
                "closed",
                "over",
                "wait 0.7",
                "wait 20",
                "apply-late",
            ][rng.index(10)];
            if word != "closed" || stand.end.receiver.is_reading() {
                stand.step(word);
            }
            for _ in 0..stand.end.receiver.stream.rules.unapplied {
                if rng.one_in(3) {
                    stand.step("applied");
                }
            }
        }
        let told = |word: &str| stand.said.iter().filter(|said| *said == word).count();
        assert!(told("arrived") <= 1 && told("paused") <= told("arrived"), "seed {seed}: {:?}", stand.said);
        if let Some(at) = stand.said.iter().position(|said| said == "enter ended") {
            assert!(stand.said[at + 1..].iter().all(|said| said == "close" || said.starts_with("failed")));
        }
        assert!(stand.end.deadline().is_none_or(|at| at > stand.now.mono), "seed {seed}");
    }
}
