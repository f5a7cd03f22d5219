use crate::migration::script::{self, SenderEnd};
use crate::rng::Rng;

fn run(script: &str) {
    script::run::<SenderEnd>(script);
}

#[test]
fn a_lane_says_whose_it_is_and_streams_when_that_is_agreed_to() {
    run(r#"
        new         => enter connecting, connect
        connected   => send [CLUSTER SYNCSLOTS LANE NAME j*40 SHARD 1], enter reading-lane-response
        < "+OK\r\n" => enter streaming, open
        # Bytes of the stream are a sign of life, as an ACK is where there are none.
        pending 10  =>
        wait 1      =>
        pending 0   =>
        wait 1      => send ACK
        wait 1      =>
        pending 0   =>
        wait 1      => send ACK
        < ACK [CLUSTER SYNCSLOTS CAPA x] =>
        wait 59.5   =>
        < ACK       =>
        closed      => enter lost, failed: Connection lost to target. Check CLUSTER GETSLOTMIGRATIONS on the target node for more information.
        wait 100    =>
        closed      =>
    "#);
}

#[test]
fn a_password_comes_first() {
    run(r#"
        begin-auth me => enter connecting, connect, enter connecting, connect
        connected     => send [AUTH me pw], enter reading-auth-response
        < "+OK\r\n"   => send [CLUSTER SYNCSLOTS LANE NAME j*40 SHARD 1], enter reading-lane-response
        < "+OK\r\n" ACK => enter streaming, open
    "#);
    run(r#"
        begin-auth    => enter connecting, connect, enter connecting, connect
        connected     => send [AUTH pw], enter reading-auth-response
        < "-WRONGPASS no\r\n" => enter lost, close, failed: Failed to AUTH to target node: -WRONGPASS no
    "#);
    run(r#"
        begin-auth    => enter connecting, connect, enter connecting, connect
        connected     => send [AUTH pw], enter reading-auth-response
        closed        => enter lost, failed: Target node did not respond to AUTH command
    "#);
}

#[test]
fn what_breaks_a_lane_is_told_once() {
    run(r#"
        new => enter connecting, connect
        connect-failed Connection refused => enter lost, failed: Unable to connect to target node: Connection refused
        ticked =>
    "#);
    run(r#"
        new => enter connecting, connect
        connected => send [CLUSTER SYNCSLOTS LANE NAME j*40 SHARD 1], enter reading-lane-response
        < "-ERR no\r\n" => enter lost, close, failed: Received error during handshake to target: -ERR no\r\n
        < ACK =>
    "#);
    for (word, failure) in [
        ("REQUEST-PAUSE", "Unexpected state machine transition"),
        ("[CLUSTER SYNCSLOTS NONSENSE]", "Unknown SYNCSLOTS subcommand used"),
        ("[GET k]", "Failed to process command during slot migration. Check logs for more information"),
        (
            "\"PING\\r\\n\"",
            "Failed to process command during slot migration. Check logs for more information",
        ),
    ] {
        let mut stand = script::lead_to::<SenderEnd>(&["connected", "< \"+OK\\r\\n\""]);
        stand.step(&alloc::format!("< {word}"));
        assert_eq!(stand.said, ["enter lost", "close", &alloc::format!("failed: {failure}")], "{word}");
        assert_eq!(stand.end.0.poll_timeout(), None);
    }
}

#[test]
fn silence_breaks_a_lane_in_every_state() {
    let ways: [&[&str]; 4] =
        [&[], &["begin-auth", "connected"], &["connected"], &["connected", "< \"+OK\\r\\n\"", "pending 5"]];
    for way in ways {
        let mut stand = script::lead_to::<SenderEnd>(way);
        stand.step("wait 59.9");
        assert!(stand.said.iter().all(|said| said == "send ACK"), "{way:?}: {:?}", stand.said);
        stand.said.clear();
        stand.step("wait 0.1");
        let end = ["enter lost", "close", "failed: Timed out after too long with no interaction"];
        assert_eq!(stand.said, end, "{way:?}");
    }
}

/// Whatever happens in whatever order: only legal transitions, nothing behind the end, no deadline in the past.
#[test]
fn anything_at_any_time() {
    for seed in 0..400 {
        let mut rng = Rng::new(seed);
        let mut stand = script::lead_to::<SenderEnd>(&[]);
        for _ in 0..30 {
            let word = [
                "connected",
                "connect-failed x",
                "closed",
                "pending 0",
                "pending 7",
                "< \"+OK\\r\\n\"",
                "< ACK",
                "wait 0.7",
                "wait 20",
                "< \"-\"",
            ][rng.index(10)];
            let (name, rest) = word.split_once(' ').unwrap_or((word, ""));
            if script::End::accepts(&stand.end, name, rest) {
                stand.step(word);
            }
        }
        if let Some(at) = stand.said.iter().position(|said| said.starts_with("failed")) {
            assert_eq!(at + 1, stand.said.len(), "seed {seed}: {:?}", stand.said);
        }
        assert!(stand.end.0.poll_timeout().is_none_or(|at| at > stand.now.mono), "seed {seed}");
    }
}
