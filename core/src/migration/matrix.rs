//! Every state of both machines against everything that can happen, printed to `docs/state-machines.md` so that a
//! review sees every cell. After a change of a machine: `UPDATE_DOCS=1 cargo test -p whimbrel-core matrix`, and read
//! the difference.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::{Display, Write};
use std::{env, fs};

use super::edges::Edges;
use super::lane::{receiver, sender};
use super::script::{End, ExportEnd, ImportEnd, ReceiverEnd, SenderEnd, lead_to};
use super::{export, import};

/// A state as a script comes to it; some states are shown more than once.
type Situation = (&'static str, &'static [&'static str]);
/// Something that happens, in words and as a line of a script.
type Event = (&'static str, &'static str);

const EXPORT_SITUATIONS: &[Situation] = &[
    ("connecting", &[]),
    ("reading-auth-response", &["begin-auth", "connected"]),
    ("reading-establish-response", &["connected"]),
    ("reading-establish-response, lanes offered", &["offer-lanes 2", "connected"]),
    ("waiting-to-snapshot", &["connected", OK]),
    ("snapshotting", &["connected", OK, "pending 0"]),
    ("replicating", &["connected", OK, "pending 0", "written"]),
    ("waiting-to-pause, too much unsent", &["connected", OK, "pending 0", "written", ASK_PAUSE]),
    (
        "waiting-to-pause, too much unsent on lanes",
        &[
            "offer-lanes 2",
            "connected",
            CAPA,
            OK,
            "pending 0",
            "written",
            "lanes-pending 1",
            ASK_PAUSE,
            "pending 0",
        ],
    ),
    ("waiting-to-pause, hold asked for", &["connected", OK, "pending 0", "written", ASK_PAUSE, "pending 0"]),
    (
        "failover-paused",
        &["connected", OK, "pending 0", "written", ASK_PAUSE, "pending 0", "held", "pending 0"],
    ),
    (
        "failover-granted",
        &["connected", OK, "pending 0", "written", ASK_PAUSE, "pending 0", "held", ASK_FAILOVER],
    ),
    (
        "failover-granted, link closed",
        &["connected", OK, "pending 0", "written", ASK_PAUSE, "pending 0", "held", ASK_FAILOVER, "closed"],
    ),
    ("success", &["settled target"]),
    ("failed", &["flushed"]),
    ("cancelled", &["cancelled"]),
];
const CAPA: &str = "< [CLUSTER SYNCSLOTS CAPA lanes 2]";
const OK: &str = "< \"+OK\\r\\n\"";
const ASK_PAUSE: &str = "< REQUEST-PAUSE";
const ASK_FAILOVER: &str = "< REQUEST-FAILOVER";

const EXPORT_EVENTS: &[Event] = &[
    ("connected", "connected"),
    ("no connection", "connect-failed Connection refused"),
    ("answer `+OK`", OK),
    ("answer `-ERR no`", "< \"-ERR no\\r\\n\""),
    ("`ACK`", "< ACK"),
    ("`REQUEST-PAUSE`", ASK_PAUSE),
    ("`REQUEST-FAILOVER`", ASK_FAILOVER),
    ("`SNAPSHOT-EOF`, `PAUSED` or `FAILOVER-GRANTED`", "< SNAPSHOT-EOF"),
    ("`CAPA x`", "< [CLUSTER SYNCSLOTS CAPA x]"),
    ("`CAPA lanes 2` and `+OK`", "< [CLUSTER SYNCSLOTS CAPA lanes 2] \"+OK\\r\\n\""),
    ("unknown sub-command", "< [CLUSTER SYNCSLOTS NONSENSE]"),
    ("any other command", "< [GET k]"),
    ("bytes that are no command", "< \"PING\\r\\n\""),
    ("link closed", "closed"),
    ("everything sent", "pending 0"),
    ("100 bytes unsent", "pending 100"),
    ("everything sent on lanes", "lanes-pending 0"),
    ("100 bytes unsent on lanes", "lanes-pending 100"),
    ("snapshot written", "written"),
    ("writes held", "held"),
    ("pause prevented for a test", "prevented"),
    ("pause allowed again", "allowed"),
    ("bus: target owns the slots", "settled target"),
    ("bus: we own the slots", "settled source"),
    ("bus: neither owns them all", "settled other"),
    ("flushed, demoted, ...", "flushed"),
    ("cancelled", "cancelled"),
    ("1 s passed", "jump 1"),
    ("10 s passed", "jump 10"),
    ("60 s passed", "jump 60"),
];

const IMPORT_SITUATIONS: &[Situation] = &[
    ("waiting-for-ack", &[]),
    ("receiving-snapshot", &["< ACK"]),
    ("receiving-snapshot, ended but not on a lane", &["with-lanes 2", "< ACK SNAPSHOT-EOF"]),
    ("waiting-for-paused", &["< ACK SNAPSHOT-EOF"]),
    (
        "waiting-for-paused, paused but not on a lane",
        &["with-lanes 2", "lane-arrived", "< ACK SNAPSHOT-EOF PAUSED"],
    ),
    (
        "waiting-for-paused, paused but commands unapplied",
        &["apply-late", "< ACK SNAPSHOT-EOF [SET k v] PAUSED"],
    ),
    ("failover-requested", &["< ACK SNAPSHOT-EOF PAUSED"]),
    ("failover-granted", &["< ACK SNAPSHOT-EOF PAUSED FAILOVER-GRANTED"]),
    ("failover-granted, withdrawing the claim", &["< ACK SNAPSHOT-EOF PAUSED FAILOVER-GRANTED", "flushed"]),
    ("cleaning-up", &["closed"]),
    ("occurring-on-primary", &["follow"]),
    ("success", &["< ACK SNAPSHOT-EOF PAUSED FAILOVER-GRANTED", "taken-over"]),
    ("failed", &["closed", "cleaned"]),
];

const IMPORT_EVENTS: &[Event] = &[
    ("`ACK`", "< ACK"),
    ("`SNAPSHOT-EOF`", "< SNAPSHOT-EOF"),
    ("`PAUSED`", "< PAUSED"),
    ("`FAILOVER-GRANTED`", "< FAILOVER-GRANTED"),
    ("`REQUEST-PAUSE` or `REQUEST-FAILOVER`", ASK_PAUSE),
    ("`CAPA`", "< [CLUSTER SYNCSLOTS CAPA x]"),
    ("unknown sub-command", "< [CLUSTER SYNCSLOTS NONSENSE]"),
    ("`FINISH` or `ESTABLISH` on the link", "< [CLUSTER SYNCSLOTS FINISH]"),
    ("command for a key", "< [SET k v]"),
    ("`SELECT` of a database", "< [SELECT 3]"),
    ("`SELECT` of none", "< [SELECT 16]"),
    ("bytes that are no command", "< \"PING\\r\\n\""),
    ("link closed", "closed"),
    ("a lane brought its snapshot", "lane-arrived"),
    ("all of a lane is applied", "lane-paused"),
    ("claim is durable", "taken-over"),
    ("claim withdrawn", "withdrawn"),
    ("keys are gone", "cleaned"),
    ("bus: we own the slots", "settled target"),
    ("bus: source owns the slots", "settled source"),
    ("bus: neither owns them all", "settled other"),
    ("flushed, resynchronized, ...", "flushed"),
    ("became a replica", "demoted"),
    ("became a primary", "promoted"),
    ("primary: `FINISH STATE SUCCESS`", "finished"),
    ("primary: `FINISH STATE FAILED`", "finished because"),
    ("1 s passed", "jump 1"),
    ("60 s passed", "jump 60"),
];

const SENDER_SITUATIONS: &[Situation] = &[
    ("connecting", &[]),
    ("reading-auth-response", &["begin-auth", "connected"]),
    ("reading-lane-response", &["connected"]),
    ("streaming", &["connected", OK]),
    ("streaming, bytes unsent", &["connected", OK, "pending 100"]),
    ("lost", &["connected", OK, "closed"]),
];

const SENDER_EVENTS: &[Event] = &[
    ("connected", "connected"),
    ("no connection", "connect-failed Connection refused"),
    ("answer `+OK`", OK),
    ("answer `-ERR no`", "< \"-ERR no\\r\\n\""),
    ("`ACK`", "< ACK"),
    ("any other message", ASK_PAUSE),
    ("`CAPA`", "< [CLUSTER SYNCSLOTS CAPA x]"),
    ("unknown sub-command", "< [CLUSTER SYNCSLOTS NONSENSE]"),
    ("any other command", "< [GET k]"),
    ("link closed", "closed"),
    ("everything sent", "pending 0"),
    ("1 s passed", "jump 1"),
    ("60 s passed", "jump 60"),
];

const RECEIVER_SITUATIONS: &[Situation] = &[
    ("receiving-snapshot", &[]),
    ("receiving-stream", &["< SNAPSHOT-EOF"]),
    ("receiving-stream, paused but commands unapplied", &["apply-late", "< SNAPSHOT-EOF [SET k v] PAUSED"]),
    ("paused", &["< SNAPSHOT-EOF PAUSED"]),
    ("ended", &["over"]),
];

const RECEIVER_EVENTS: &[Event] = &[
    ("`ACK`", "< ACK"),
    ("`SNAPSHOT-EOF`", "< SNAPSHOT-EOF"),
    ("`PAUSED`", "< PAUSED"),
    ("any other message", "< FAILOVER-GRANTED"),
    ("`CAPA`", "< [CLUSTER SYNCSLOTS CAPA x]"),
    ("unknown sub-command", "< [CLUSTER SYNCSLOTS NONSENSE]"),
    ("`LANE`, `FINISH` or `ESTABLISH`", "< [CLUSTER SYNCSLOTS LANE NAME j*40 SHARD 1]"),
    ("command for a key", "< [SET k v]"),
    ("`SELECT` of none", "< [SELECT 16]"),
    ("bytes that are no command", "< \"PING\\r\\n\""),
    ("link closed", "closed"),
    ("job over or cleaned up", "over"),
    ("1 s passed", "jump 1"),
    ("60 s passed", "jump 60"),
];

fn matrix<E: End>(text: &mut String, situations: &[Situation], events: &[Event]) {
    for (name, inputs) in situations {
        let (mut ignored, mut never) = (Vec::new(), Vec::new());
        let mut rows: Vec<(Vec<&str>, String)> = Vec::new();
        for (event, line) in events {
            let mut stand = lead_to::<E>(inputs);
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            if !stand.end.accepts(word, rest) {
                never.push(*event);
                continue;
            }
            stand.step(line);
            if stand.said.is_empty() {
                ignored.push(*event);
            } else {
                let said = stand.said.join(" · ");
                match rows.iter_mut().find(|(_, same)| *same == said) {
                    Some((events, _)) => events.push(event),
                    None => rows.push((alloc::vec![*event], said)),
                }
            }
        }
        writeln!(text, "### {name}").expect("room");
        if !rows.is_empty() {
            text.push_str("\n| what happens | what it does |\n|---|---|\n");
        }
        for (events, said) in rows {
            writeln!(text, "| {} | {said} |", events.join("; ")).expect("room");
        }
        for (what, list) in [("Answered by nothing", ignored), ("Cannot happen (an assertion)", never)] {
            if !list.is_empty() {
                let list = if list.len() == events.len() { "everything".into() } else { list.join("; ") };
                write!(text, "\n{what}: {list}.\n").expect("room");
            }
        }
        text.push('\n');
    }
}

fn diagram<S: Copy + PartialEq + Display>(text: &mut String, edges: &Edges<S>, first: S) {
    write!(text, "```mermaid\n{}```\n\n", edges.diagram(first)).expect("room");
}

fn document() -> String {
    let mut text = String::from(
        "# The two machines of a slot migration\n\n\
         Printed by a test (`core/src/migration/matrix.rs`) out of the machines themselves; do not edit. What the\n\
         states mean is in `core/src/migration/export/state.rs` and `core/src/migration/import/state.rs`, the dialogue\n\
         they hold in [protocol.md](protocol.md). `enter` is a change of state, `send` a message to the other end; times count\n\
         from the first second of the job. Limits are the defaults: silence 60 s, pause 10 s, a sign of life each\n\
         second, no unsent byte at the pause.\n\n\
         ## Export: the source's end\n\n",
    );
    diagram(&mut text, &export::EDGES, export::State::Connecting);
    text.push_str(
        "The two `sending-` states are passed through in one step. Ownership that settles with the target ends the\n\
         job with success in any state, because somebody may assign slots by hand.\n\n",
    );
    matrix::<ExportEnd>(&mut text, EXPORT_SITUATIONS, EXPORT_EVENTS);
    text.push_str("## Import: the target's end\n\n");
    diagram(&mut text, &import::EDGES, import::State::WaitingForAck);
    text.push_str("A followed import (on a replica, after a restart) begins in `occurring-on-primary`.\n\n");
    matrix::<ImportEnd>(&mut text, IMPORT_SITUATIONS, IMPORT_EVENTS);
    text.push_str("## Lane: the source's end of a further link\n\n");
    diagram(&mut text, &sender::EDGES, sender::State::Connecting);
    matrix::<SenderEnd>(&mut text, SENDER_SITUATIONS, SENDER_EVENTS);
    text.push_str("## Lane: the target's end\n\n");
    diagram(&mut text, &receiver::EDGES, receiver::State::ReceivingSnapshot);
    matrix::<ReceiverEnd>(&mut text, RECEIVER_SITUATIONS, RECEIVER_EVENTS);
    text.trim_end().to_string() + "\n"
}

#[test]
fn the_printed_state_machines_are_the_real_ones() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/state-machines.md");
    let document = document();
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(path, &document).expect("the docs can be written");
    }
    let committed = fs::read_to_string(path).unwrap_or_default();
    if let Some((i, (new, old))) =
        document.lines().zip(committed.lines()).enumerate().find(|(_, (a, b))| a != b)
    {
        panic!(
            "docs/state-machines.md is stale in line {}:\n  is:     {old}\n  should: {new}\n(UPDATE_DOCS=1)",
            i + 1
        );
    }
    assert_eq!(document.len(), committed.len(), "docs/state-machines.md is stale (UPDATE_DOCS=1)");
}

/// Each transition of the tables is one that the machines make, and each state is shown.
#[test]
fn every_legal_transition_happens() {
    fn made<E: End>(situations: &[Situation], events: &[Event]) -> Vec<(String, String)> {
        let mut made = Vec::new();
        for (_, inputs) in situations {
            for (_, line) in events {
                let mut stand = lead_to::<E>(&[]);
                E::begin(&mut stand.said);
                for input in *inputs {
                    stand.step(input);
                }
                let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
                if stand.end.accepts(word, rest) {
                    stand.step(line);
                }
                let mut state = String::new();
                for entered in stand.said.iter().filter_map(|said| said.strip_prefix("enter ")) {
                    made.push((core::mem::replace(&mut state, entered.to_string()), entered.to_string()));
                }
            }
        }
        made
    }
    fn check<S: Copy + PartialEq + Display>(edges: &Edges<S>, made: &[(String, String)]) {
        for (from, successors) in edges.0 {
            for to in *successors {
                let edge = (from.to_string(), to.to_string());
                assert!(made.contains(&edge), "{} -> {} never happens", edge.0, edge.1);
            }
        }
    }
    check(&export::EDGES, &made::<ExportEnd>(EXPORT_SITUATIONS, EXPORT_EVENTS));
    check(&import::EDGES, &made::<ImportEnd>(IMPORT_SITUATIONS, IMPORT_EVENTS));
    check(&sender::EDGES, &made::<SenderEnd>(SENDER_SITUATIONS, SENDER_EVENTS));
    check(&receiver::EDGES, &made::<ReceiverEnd>(RECEIVER_SITUATIONS, RECEIVER_EVENTS));
}

#[test]
#[should_panic(expected = "no transition from connecting to replicating")]
fn an_illegal_transition_is_an_assertion() {
    export::EDGES.check(export::State::Connecting, export::State::Replicating);
}
