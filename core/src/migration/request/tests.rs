use alloc::format;
use alloc::string::{String, ToString};

use super::*;

const ME: NodeId = NodeId::from_bytes([b'a'; 40]);
const OTHER: NodeId = NodeId::from_bytes([b'b'; 40]);
const THIRD: NodeId = NodeId::from_bytes([b'c'; 40]);

/// Slots 0-99 are mine, 100 nobody's, 101-199 belong to `OTHER`, the rest to `THIRD`.
fn owner(slot: Slot) -> Option<NodeId> {
    match slot.number() {
        0..=99 => Some(ME),
        100 => None,
        101..=199 => Some(OTHER),
        _ => Some(THIRD),
    }
}

fn ground() -> Ground<'static> {
    Ground {
        me: ME,
        is_primary: true,
        importing_by_hand: false,
        migrating_by_hand: false,
        owner_of: &owner,
        knows: &|id| [ME, OTHER, THIRD].contains(id),
        is_moving: &|slot| [90, 92, 150].contains(&slot.number()),
    }
}

/// `A`, `B`, `C` stand for the three known nodes, `F` for an unknown one, `J` for a job name.
fn words(text: &str) -> Vec<String> {
    let id = |c: &str| c.repeat(40);
    text.split(' ')
        .filter(|w| !w.is_empty())
        .map(|w| match w {
            "A" => id("a"),
            "B" => id("b"),
            "C" => id("c"),
            "F" => id("f"),
            "J" => id("7"),
            w => w.to_string(),
        })
        .collect()
}

fn migrate(text: &str, ground: &Ground<'_>) -> Result<Vec<String>, String> {
    let words = words(text);
    let words: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
    let moves = check_migrateslots(&words, ground).map_err(|refused| refused.to_string())?;
    Ok(moves.iter().map(|m| format!("{} to {}", m.ranges, &m.target.as_str()[..1])).collect())
}

fn establish(text: &str, ground: &Ground<'_>) -> Result<String, String> {
    let words = words(text);
    let words: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
    let offer = check_establish(&words, ground).map_err(|refused| refused.to_string())?;
    Ok(format!("{} from {} as {}", offer.ranges, &offer.source.as_str()[..1], &offer.name.as_str()[..1]))
}

#[test]
fn migrateslots_makes_one_move_per_group() {
    for (text, moves) in [
        ("SLOTSRANGE 0 3 NODE B", &["0-3 to b"][..]),
        ("slotsrange 5 5 0 3 node C", &["5-5 0-3 to c"]),
        ("SLOTSRANGE 0 3 NODE B SLOTSRANGE 5 9 NODE C", &["0-3 to b", "5-9 to c"]),
        ("SLOTSRANGE\0 7 7 NODE\0 B", &["7-7 to b"]),
    ] {
        let moves: Vec<String> = moves.iter().map(ToString::to_string).collect();
        assert_eq!(migrate(text, &ground()), Ok(moves), "{text}");
    }
}

#[test]
fn migrateslots_tells_the_first_thing_wrong() {
    let f = "f".repeat(40);
    let upper = "B".repeat(40);
    for (text, error) in [
        ("SLOTS 0 3 NODE B", "syntax error"),
        ("SLOTSRANGE", "No slot ranges specified"),
        ("SLOTSRANGE NODE B", "No slot ranges specified"),
        ("SLOTSRANGE 16384 1 NODE B", "Invalid or out of range slot"),
        ("SLOTSRANGE 1 blah NODE B", "Invalid or out of range slot"),
        ("SLOTSRANGE 1 NODE B", "Invalid or out of range slot"),
        ("SLOTSRANGE 1", "No end slot for final slot range"),
        ("SLOTSRANGE 1 0 NODE B", "Start slot number 1 is greater than end slot number 0."),
        ("SLOTSRANGE 98 101 NODE B", "Slot 100 has no node served."),
        ("SLOTSRANGE 0 3 101 101 NODE B", "Requested slots span multiple shards"),
        ("SLOTSRANGE 199 200 NODE B", "Requested slots span multiple shards"),
        ("SLOTSRANGE 0 5 3 6 NODE B", "Slot range 3-6 overlaps with previous range 0-5."),
        ("SLOTSRANGE 101 102 NODE B", "Slots are not served by this node."),
        ("SLOTSRANGE 88 99 NODE B", "I am already migrating slot 90."),
        ("SLOTSRANGE 92 92 90 90 NODE B", "I am already migrating slot 92."),
        ("SLOTSRANGE 0 3 NODE B SLOTSRANGE 3 4 NODE C", "Slot ranges in migrations overlap"),
        ("SLOTSRANGE 0 3", "syntax error"),
        ("SLOTSRANGE 0 3 NODE", "syntax error"),
        ("SLOTSRANGE 0 3 NODES B", "syntax error"),
        ("SLOTSRANGE 0 3 NODE blah", "Invalid node name: blah"),
        ("SLOTSRANGE 0 3 NODE F", &format!("Unknown node name: {f}")),
        (&format!("SLOTSRANGE 0 3 NODE {upper}"), &format!("Unknown node name: {upper}")),
        ("SLOTSRANGE 0 3 NODE A", "Target node can not be this node."),
        ("SLOTSRANGE 0 3 NODE B extra", "syntax error"),
        // Two things wrong: the one that comes first in the order of the checks is told.
        ("SLOTSRANGE 101 102 NODE blah", "Slots are not served by this node."),
        ("SLOTSRANGE 99 101 1 0 NODE B", "Slot 100 has no node served."),
        ("SLOTSRANGE 90 90 NODE A", "I am already migrating slot 90."),
        ("SLOTSRANGE 0 3 NODE A SLOTSRANGE 0 3 NODE B", "Target node can not be this node."),
    ] {
        assert_eq!(migrate(text, &ground()), Err(format!("ERR {error}")), "{text}");
    }
}

#[test]
fn an_echoed_word_stays_on_one_line() {
    let refused = check_target(b"a\r\nb\0c", &ground()).expect_err("too short");
    assert_eq!(refused.to_string(), "ERR Invalid node name: a  b");
}

#[test]
fn the_state_of_the_node_is_looked_at_before_the_words() {
    let cases = [
        (Ground { is_primary: false, ..ground() }, "Slot migration can only be used on primary nodes."),
        (Ground { importing_by_hand: true, ..ground() }, "Slots are being manually imported"),
        (Ground { migrating_by_hand: true, ..ground() }, "Slots are being manually migrated"),
        (
            Ground { importing_by_hand: true, migrating_by_hand: true, ..ground() },
            "Slots are being manually imported",
        ),
    ];
    for (ground, error) in cases {
        assert_eq!(migrate("nonsense", &ground), Err(format!("ERR {error}")));
        assert_eq!(establish("nonsense", &ground), Err(format!("ERR {error}")));
    }
}

#[test]
fn establish_is_agreed_to_in_any_order_of_its_parts() {
    for text in [
        "SOURCE B NAME J SLOTSRANGE 101 103 110 110",
        "slotsrange 101 103 110 110 source B name J",
        "NAME J SLOTSRANGE 101 103 110 110 SOURCE B",
    ] {
        assert_eq!(establish(text, &ground()), Ok("101-103 110-110 from b as 7".into()), "{text}");
    }
}

#[test]
fn establish_tells_the_first_thing_wrong() {
    for (text, error) in [
        ("", "syntax error"),
        ("SOURCE B NAME J", "syntax error"),
        ("SOURCE B SLOTSRANGE 101 101", "syntax error"),
        ("NAME J SLOTSRANGE 101 101", "syntax error"),
        ("SOURCE B SOURCE B NAME J SLOTSRANGE 101 101", "syntax error"),
        ("SOURCE B NAME J NAME J SLOTSRANGE 101 101", "syntax error"),
        ("SOURCE B NAME J SLOTSRANGE 101 101 SLOTSRANGE 102 102", "syntax error"),
        ("SOURCE B NAME J SLOTSRANGE 101 101 EXTRA", "syntax error"),
        ("SOURCE short NAME J SLOTSRANGE 101 101", "syntax error"),
        ("SOURCE B NAME short SLOTSRANGE 101 101", "syntax error"),
        ("SOURCE B SLOTSRANGE 101 101 NAME", "syntax error"),
        ("SOURCE F NAME J SLOTSRANGE 101 101", "Target node does not know the source node"),
        ("SOURCE A NAME J SLOTSRANGE 0 0", "Source node is target node itself"),
        ("SOURCE B NAME J SLOTSRANGE", "No slot ranges specified"),
        ("SOURCE B NAME J SLOTSRANGE 101", "No end slot for final slot range"),
        ("SOURCE B NAME J SLOTSRANGE 199 200", "Requested slots span multiple shards"),
        ("SOURCE B NAME J SLOTSRANGE 100 100", "Slot 100 has no node served."),
        (
            "SOURCE B NAME J SLOTSRANGE 101 105 103 103",
            "Slot range 103-103 overlaps with previous range 101-105.",
        ),
        (
            "SOURCE B NAME J SLOTSRANGE 149 151",
            "Slot is already being imported on the target by a different migration",
        ),
        ("SOURCE C NAME J SLOTSRANGE 101 101", "Target node does not agree about current slot ownership"),
        // Each part is looked at where it stands.
        ("SOURCE F NAME short", "Target node does not know the source node"),
        ("NAME short SOURCE F", "syntax error"),
    ] {
        assert_eq!(establish(text, &ground()), Err(format!("ERR {error}")), "{text}");
    }
}

#[test]
fn the_remaining_refusals_have_their_texts() {
    assert_eq!(
        Refused::NotMigrating(Control::SnapshotEof).to_string(),
        "ERR CLUSTER SYNCSLOTS SNAPSHOT-EOF should only be used by slot migration clients"
    );
    assert_eq!(Refused::NoSuchJob.to_string(), "ERR No such slot migration job");
    assert_eq!(Refused::NothingToCancel.to_string(), "ERR No migrations ongoing");
}
