//! Whose is the slot: every kind of claim to a slot in every state it may be in, printed to `docs/ownership.md` and
//! compared with the rules, said again in another way.

use std::format;
use std::string::{String, ToString};
use std::vec::Vec;
use std::{env, fs};

use super::rig::{Peer, Rig, ranges, set};
use crate::cluster::{Action, SetSlot, takeover};
use crate::ids::{JobName, NodeId};
use crate::slots::{Slot, SlotSet};
use crate::wire::bus::{Bitmap, Body, Kind};

/// The slot in question.
const SLOT: u16 = 20;
/// This node's epoch, another owner's, and the claimer's before it says anything.
const MINE: u64 = 5;
const OTHERS: u64 = 4;
const CLAIMERS: u64 = 2;

/// What the slot is to this node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Situation {
    Nobodys,
    Mine,
    MineGranted,
    MineGrantedElsewhere,
    MineTaken,
    MineReturned,
    MineMigrating,
    Others,
    OthersUnannounced,
    OthersImporting,
    Claimers,
    ClaimersImporting,
}

use Situation::{
    Claimers, ClaimersImporting, Mine, MineGranted, MineGrantedElsewhere, MineMigrating, MineReturned,
    MineTaken, Nobodys, Others, OthersImporting, OthersUnannounced,
};

const SITUATIONS: [(Situation, &str); 12] = [
    (Nobodys, "nobody's"),
    (Mine, "mine"),
    (MineGranted, "mine, granted to the claimer"),
    (MineGrantedElsewhere, "mine, granted to another"),
    (MineTaken, "mine, taken over from the claimer"),
    (MineReturned, "mine, taken over from the claimer, then granted to it"),
    (MineMigrating, "mine, migrating by hand to the claimer"),
    (Others, "another's"),
    (OthersUnannounced, "another's, which no longer announces it"),
    (OthersImporting, "another's, importing by hand from it"),
    (Claimers, "the claimer's"),
    (ClaimersImporting, "the claimer's, importing by hand from it"),
];

/// Who says what with which epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Event {
    /// The claimer announces the slot.
    Claims(u64),
    /// The claimer says what it has, without the slot.
    Without(u64),
    /// A third node says that the claimer has the slot.
    Told(u64),
}

const EVENTS: [(Event, &str); 7] = [
    (Event::Claims(1), "claims with 1"),
    (Event::Claims(OTHERS), "claims with 4"),
    (Event::Claims(MINE), "claims with 5"),
    (Event::Claims(9), "claims with 9"),
    (Event::Without(9), "has 9, not the slot"),
    (Event::Told(1), "told of, with 1"),
    (Event::Told(9), "told of, with 9"),
];

/// What is the case afterwards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct After {
    owner: Owner,
    /// This node's epoch.
    epoch: u64,
    /// The keys may be deleted.
    confirmed: bool,
    /// The claimer is told of a newer owner.
    corrected: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Owner {
    Nobody,
    Me,
    Other,
    Claimer,
}

/// The rules, said once more.
fn oracle(situation: Situation, event: Event) -> After {
    let (owner, owners_epoch) = match situation {
        Nobodys => (Owner::Nobody, 0),
        Mine | MineGranted | MineGrantedElsewhere | MineTaken | MineReturned | MineMigrating => {
            (Owner::Me, MINE)
        }
        Others | OthersUnannounced | OthersImporting => (Owner::Other, OTHERS),
        Claimers | ClaimersImporting => (Owner::Claimer, CLAIMERS),
    };
    let before = After { owner, epoch: MINE, confirmed: false, corrected: false };
    let (epoch, first_hand) = match event {
        Event::Told(epoch) if epoch <= CLAIMERS => return before,
        Event::Told(epoch) => (epoch, false),
        Event::Claims(epoch) | Event::Without(epoch) => (epoch, true),
    };
    let mut after = before;
    // R6: what was granted to us is defended, whatever of it is still under way. That the claimer's epoch has risen is
    // heard before which slots it has.
    if situation == MineTaken && epoch >= MINE {
        // The next one after its own the claimer may be taking itself (O5).
        after.epoch = epoch + 1 + u64::from(epoch == MINE);
    }
    let firmness = if owner == Owner::Me { after.epoch } else { owners_epoch };
    // O5: two primaries with one epoch, of which this one has the smaller name. It is resolved when all is decided.
    if first_hand && epoch == MINE {
        after.epoch = after.epoch.max(MINE + 1);
    }
    if matches!(event, Event::Without(_)) {
        // O4: whom we fetch a slot from by hand no longer has it.
        if situation == ClaimersImporting {
            after.owner = Owner::Me;
            after.epoch = epoch + 1;
        }
        return after;
    }
    let free = matches!(situation, Nobodys | OthersUnannounced | MineGranted | Claimers | ClaimersImporting);
    // Who has it back has heard of this node's claim before, so that an older claim is not the one that was granted.
    let returned = situation == MineReturned && epoch >= MINE;
    if free || returned || firmness < epoch {
        // O1, O3: the higher epoch wins, and who loses deletes.
        after.owner = Owner::Claimer;
        after.confirmed = owner == Owner::Me;
    } else {
        // O2: who claims with a lower epoch is told.
        after.corrected = first_hand && firmness > epoch;
    }
    after
}

/// The same by the machine.
fn machine(situation: Situation, event: Event) -> After {
    let slot = Slot::new(SLOT).expect("a slot");
    let mine = matches!(situation, Mine | MineGranted | MineGrantedElsewhere | MineMigrating);
    let mut rig =
        if mine { Rig::owning(MINE, &[(0, 9), (SLOT, SLOT)]) } else { Rig::owning(MINE, &[(0, 9)]) };
    let others = matches!(situation, Others | OthersUnannounced | OthersImporting);
    let claimers = matches!(situation, MineTaken | MineReturned | Claimers | ClaimersImporting);
    let with = |base: (u16, u16), has: bool| if has { set(&[base, (SLOT, SLOT)]) } else { set(&[base]) };
    let mut claimer = Peer::owning(b'z', CLAIMERS, &[(30, 39)]);
    let mut other = Peer::owning(b'y', OTHERS, &[(40, 49)]);
    let mut third = Peer::owning(b'x', 3, &[(50, 59)]);
    (claimer.slots, other.slots) = (with((30, 39), claimers), with((40, 49), others));
    for peer in [&mut claimer, &mut other, &mut third] {
        rig.join(peer);
    }
    let (now, job, only) = (rig.now(), JobName::from_bytes([b'j'; 40]), ranges(&[(SLOT, SLOT)]));
    let by_hand =
        |rig: &mut Rig, action| rig.cluster.set_slot(now, slot, action, 0, &mut rig.out).expect("allowed");
    match situation {
        MineGranted => takeover::grant(&mut rig.cluster, job, claimer.id, &only),
        MineGrantedElsewhere => takeover::grant(&mut rig.cluster, job, other.id, &only),
        MineTaken => takeover::take_over(&mut rig.cluster, now, job, &only, &mut rig.out),
        MineReturned => {
            takeover::take_over(&mut rig.cluster, now, job, &only, &mut rig.out);
            rig.leave(claimer.id, &[(SLOT, SLOT)]);
            takeover::grant(&mut rig.cluster, job, claimer.id, &only);
        }
        MineMigrating => by_hand(&mut rig, SetSlot::Migrating(claimer.id.as_bytes())),
        OthersUnannounced => {
            other.slots = with((40, 49), false);
            rig.ping(&other, &[]);
        }
        OthersImporting => by_hand(&mut rig, SetSlot::Importing(other.id.as_bytes())),
        ClaimersImporting => by_hand(&mut rig, SetSlot::Importing(claimer.id.as_bytes())),
        Nobodys | Mine | Others | Claimers => {}
    }
    rig.out.clear();
    match event {
        Event::Claims(epoch) | Event::Without(epoch) => {
            claimer.slots = with((30, 39), matches!(event, Event::Claims(_)));
            (claimer.epoch, claimer.current_epoch) = (epoch, epoch);
            rig.ping(&claimer, &[]);
        }
        Event::Told(config_epoch) => {
            let slots: SlotSet = with((30, 39), true);
            let body = Body::Update { node: claimer.id, config_epoch, slots: Bitmap(slots.as_bitmap()) };
            rig.say(&third, body);
        }
    }
    let confirmed = rig.out.iter().any(|action| matches!(action, Action::Lost { confirmed: Some(_), .. }));
    let view = rig.cluster.view();
    let name = |owner: Option<NodeId>| match owner {
        None => Owner::Nobody,
        Some(id) if id == view.myself().id => Owner::Me,
        Some(id) if id == other.id => Owner::Other,
        Some(id) => {
            assert_eq!(id, claimer.id);
            Owner::Claimer
        }
    };
    After {
        owner: name(view.owner(slot).map(|row| row.id)),
        epoch: view.myself().config_epoch,
        confirmed,
        corrected: !rig.sent_of(Kind::Update).is_empty(),
    }
}

#[test]
fn every_claim_to_a_slot_in_any_state_is_decided_by_the_rules() {
    for (situation, _) in SITUATIONS {
        for (event, _) in EVENTS {
            assert_eq!(machine(situation, event), oracle(situation, event), "{situation:?}, {event:?}");
        }
    }
}

fn cell(situation: Situation, event: Event) -> String {
    let after = machine(situation, event);
    let mut text = match after.owner {
        Owner::Nobody => "nobody's",
        Owner::Me => "mine",
        Owner::Other => "another's",
        Owner::Claimer => "the claimer's",
    }
    .to_string();
    if after.confirmed {
        text += ", keys go";
    }
    if after.corrected {
        text += ", corrected";
    }
    if after.epoch != MINE {
        text += &format!(", my epoch {}", after.epoch);
    }
    text
}

fn document() -> String {
    let mut text = String::from(
        "# Whose is the slot\n\n\
         Printed by a test (`core/src/cluster/tests/ownership.rs`) out of the cluster machine itself; do not edit. Each row is\n\
         what a slot is to this node, each column what it hears of another primary, the claimer: from itself, or told by\n\
         a third node. This node has epoch 5, another owner 4, the claimer 2 until it says otherwise, and this node the\n\
         smaller name. *Keys go*: this node may delete its copy. *Corrected*: the claimer is told of the owner with the higher\n\
         epoch.\n\n",
    );
    let columns: Vec<&str> = EVENTS.iter().map(|(_, name)| *name).collect();
    text += &format!("| the slot is | {} |\n|---|{}\n", columns.join(" | "), "---|".repeat(columns.len()));
    for (situation, name) in SITUATIONS {
        let cells: Vec<String> = EVENTS.iter().map(|(event, _)| cell(situation, *event)).collect();
        text += &format!("| {name} | {} |\n", cells.join(" | "));
    }
    text
}

#[test]
fn the_printed_rules_are_the_real_ones() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/ownership.md");
    let document = document();
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(path, &document).expect("the docs can be written");
    }
    let committed = fs::read_to_string(path).unwrap_or_default();
    assert!(document == committed, "docs/ownership.md is stale (UPDATE_DOCS=1); should be:\n{document}");
}
