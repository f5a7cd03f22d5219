use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::bench::{Bench, with_relative_times};
use crate::store::Layout;
use crate::wire::resp::Proto;

/// One command of a recorded dialogue.
#[derive(Default)]
struct Turn<'r> {
    line: &'r str,
    resp2: &'r str,
    resp3: &'r str,
    fed: Vec<&'r str>,
}

fn turns(recording: &str) -> Vec<Turn<'_>> {
    let mut turns: Vec<Turn<'_>> = Vec::new();
    for row in recording.lines() {
        let (marker, text) = row.split_once(' ').expect("a marker and a text");
        if marker == ">" {
            turns.push(Turn { line: text, ..Turn::default() });
            continue;
        }
        let turn = turns.last_mut().expect("a command first");
        match marker {
            "=" => (turn.resp2, turn.resp3) = (text, text),
            "2" => turn.resp2 = text,
            "3" => turn.resp3 = text,
            "~" => turn.fed.push(text),
            _ => panic!("{row}"),
        }
    }
    turns
}

/// Replays what Valkey 9.1 was asked, in both protocol versions, and compares each reply and each propagated command.
fn replay(name: &str, layout: Layout) {
    let path = format!("{}/../tests/fixtures/commands/{name}.rec", env!("CARGO_MANIFEST_DIR"));
    let recording = std::fs::read_to_string(&path).expect("a recording");
    let turns = turns(&recording);
    assert!(turns.len() > 30, "{name} is short");
    let mut wrong = Vec::new();
    for proto in [Proto::Resp2, Proto::Resp3] {
        let mut bench = fresh(proto, layout);
        for turn in &turns {
            if turn.line == "reset" {
                let now = bench.now;
                bench = fresh(proto, layout);
                bench.now = now;
            } else if let Some(ms) = turn.line.strip_prefix("sleep ") {
                bench.sleep_ms(ms.parse().expect("milliseconds"));
            } else {
                let now_ms = bench.now.wall_ms();
                let reply = with_relative_times(&bench.run(&absolute_times(turn.line, now_ms)), now_ms);
                let expected = if proto == Proto::Resp2 { turn.resp2 } else { turn.resp3 };
                let fed: Vec<String> =
                    bench.fed().iter().map(|line| with_relative_times(line, now_ms)).collect();
                if reply != expected || fed != turn.fed {
                    wrong.push(format!(
                        "{}\n  got {reply} {fed:?}\n  not {expected} {:?}",
                        turn.line, turn.fed
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {name}:\n{}", wrong.len(), wrong.join("\n"));
}

fn fresh(proto: Proto, layout: Layout) -> Bench {
    let mut bench = Bench::new(proto, layout);
    bench.config.proto_max_bulk_len = 1 << 20;
    bench
}

fn absolute_times(line: &str, now_ms: u64) -> String {
    let mut parts = line.split("{now+");
    let mut absolute = String::from(parts.next().unwrap_or_default());
    for part in parts {
        let (away, rest) = part.split_once('}').expect("a closing brace");
        let away: u64 = away.parse().expect("milliseconds");
        absolute.push_str(&format!("{}{rest}", now_ms + away));
    }
    absolute
}

#[test]
fn strings_as_recorded_from_valkey() {
    replay("strings", Layout::Standalone);
}

#[test]
fn keys_as_recorded_from_valkey() {
    replay("keys", Layout::Standalone);
}

#[test]
fn clusters_as_recorded_from_valkey() {
    replay("cluster", Layout::Cluster);
}
