//! Whether a migration may start: the checks of CLUSTER MIGRATESLOTS on the source and of CLUSTER SYNCSLOTS
//! ESTABLISH on the target, and the exact errors, in the order in which Valkey finds them.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::ids::{ID_LEN, JobName, NodeId};
use crate::slots::{Slot, SlotRange, SlotRanges};
use crate::wire::resp::quote;
use crate::wire::slotsrange::{Malformed, is_keyword, read_ranges};
use crate::wire::syncslots::{Control, take_id};

/// Why a request was refused. The text is the error reply with its code, without `-` and line end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refused {
    /// The words are no request.
    Malformed(Malformed),
    /// This node is a replica.
    NotPrimary,
    /// CLUSTER SETSLOT opened a slot for import.
    ImportingByHand,
    /// CLUSTER SETSLOT opened a slot for export.
    MigratingByHand,
    /// Nobody owns the slot.
    Unowned(Slot),
    /// The slots of one list have several owners.
    SeveralOwners,
    /// MIGRATESLOTS: another node owns the slots.
    NotServedHere,
    /// MIGRATESLOTS: an unfinished export of ours has the slot.
    AlreadyExporting(Slot),
    /// MIGRATESLOTS: two groups of the command share slots.
    GroupsOverlap,
    /// MIGRATESLOTS: a node id that has not 40 bytes.
    BadNodeId(String),
    /// MIGRATESLOTS: nobody has this id.
    UnknownNode(String),
    /// MIGRATESLOTS: the target is this node.
    TargetIsMe,
    /// ESTABLISH: this node never heard of the source.
    UnknownSource,
    /// ESTABLISH: the source is this node.
    SourceIsMe,
    /// ESTABLISH: an unfinished import here has one of the slots.
    AlreadyImporting,
    /// ESTABLISH: the source does not own the slots in this node's view.
    SourceNotOwner,
    /// A message of a migration link from a client that is none.
    NotMigrating(Control),
    /// FINISH: no job of this name.
    NoSuchJob,
    /// LANE: the job has no lane of this shard that ends here, or has it already.
    NoSuchLane,
    /// CANCELSLOTMIGRATIONS: no unfinished export.
    NothingToCancel,
}

impl From<Malformed> for Refused {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ERR ")?;
        f.write_str(match self {
            Self::Malformed(malformed) => return malformed.fmt(f),
            Self::NotPrimary => "Slot migration can only be used on primary nodes.",
            Self::ImportingByHand => "Slots are being manually imported",
            Self::MigratingByHand => "Slots are being manually migrated",
            Self::Unowned(slot) => return write!(f, "Slot {slot} has no node served."),
            Self::SeveralOwners => "Requested slots span multiple shards",
            Self::NotServedHere => "Slots are not served by this node.",
            Self::AlreadyExporting(slot) => return write!(f, "I am already migrating slot {slot}."),
            Self::GroupsOverlap => "Slot ranges in migrations overlap",
            Self::BadNodeId(id) => return write!(f, "Invalid node name: {id}"),
            Self::UnknownNode(id) => return write!(f, "Unknown node name: {id}"),
            Self::TargetIsMe => "Target node can not be this node.",
            Self::UnknownSource => "Target node does not know the source node",
            Self::SourceIsMe => "Source node is target node itself",
            Self::AlreadyImporting => "Slot is already being imported on the target by a different migration",
            Self::SourceNotOwner => "Target node does not agree about current slot ownership",
            Self::NotMigrating(control) => {
                return write!(
                    f,
                    "CLUSTER SYNCSLOTS {} should only be used by slot migration clients",
                    control.as_str()
                );
            }
            Self::NoSuchJob => "No such slot migration job",
            Self::NoSuchLane => "No such lane of the slot migration job",
            Self::NothingToCancel => "No migrations ongoing",
        })
    }
}

/// What the checks ask about this node and its view of the cluster.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    /// This node.
    pub me: NodeId,
    /// Whether it is a primary.
    pub is_primary: bool,
    /// Whether CLUSTER SETSLOT ... IMPORTING is in force for any slot here.
    pub importing_by_hand: bool,
    /// Whether CLUSTER SETSLOT ... MIGRATING is in force for any slot here.
    pub migrating_by_hand: bool,
    /// Who owns a slot.
    pub owner_of: &'a dyn Fn(Slot) -> Option<NodeId>,
    /// Whether the cluster has a node of this name.
    pub knows: &'a dyn Fn(&NodeId) -> bool,
    /// Whether an unfinished job of the kind that is asked for (exports for MIGRATESLOTS, imports for ESTABLISH)
    /// has the slot.
    pub is_moving: &'a dyn Fn(Slot) -> bool,
}

impl Ground<'_> {
    fn may_start(&self) -> Result<(), Refused> {
        match self {
            Self { is_primary: false, .. } => Err(Refused::NotPrimary),
            Self { importing_by_hand: true, .. } => Err(Refused::ImportingByHand),
            Self { migrating_by_hand: true, .. } => Err(Refused::MigratingByHand),
            _ => Ok(()),
        }
    }

    /// Reads ranges whose slots must all have one owner, and tells who it is.
    fn read_owned(&self, words: &mut &[&[u8]]) -> Result<(SlotRanges, NodeId), Refused> {
        let mut owner = None;
        let ranges = read_ranges(words, |range: SlotRange| {
            for slot in range.iter() {
                let found = (self.owner_of)(slot).ok_or(Refused::Unowned(slot))?;
                if *owner.get_or_insert(found) != found {
                    return Err(Refused::SeveralOwners);
                }
            }
            Ok(())
        })?;
        let owner = owner.expect("a list is never empty, nor is a range");
        Ok((ranges, owner))
    }
}

/// One group of MIGRATESLOTS: one job to start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Move {
    /// What moves.
    pub ranges: SlotRanges,
    /// To whom.
    pub target: NodeId,
}

/// Checks the words behind `CLUSTER MIGRATESLOTS`:
/// `SLOTSRANGE start end [start end ...] NODE id` once or several times. All or nothing.
///
/// Replicas as targets are not refused here: they refuse for themselves when the link is established.
///
/// # Errors
/// The reply to the client.
pub fn check_migrateslots(mut words: &[&[u8]], ground: &Ground<'_>) -> Result<Vec<Move>, Refused> {
    ground.may_start()?;
    let mut moves: Vec<Move> = Vec::new();
    while let [word, rest @ ..] = words {
        if !is_keyword(word, "SLOTSRANGE") {
            return Err(Malformed::Syntax.into());
        }
        words = rest;
        let (ranges, owner) = ground.read_owned(&mut words)?;
        if owner != ground.me {
            return Err(Refused::NotServedHere);
        }
        if let Some(slot) = ranges.slots().find(|&slot| (ground.is_moving)(slot)) {
            return Err(Refused::AlreadyExporting(slot));
        }
        let meets = |other: &Move| other.ranges.0.iter().any(|r| ranges.0.iter().any(|s| r.overlaps(s)));
        if moves.iter().any(meets) {
            return Err(Refused::GroupsOverlap);
        }
        let [keyword, id, rest @ ..] = words else { return Err(Malformed::Syntax.into()) };
        if !is_keyword(keyword, "NODE") {
            return Err(Malformed::Syntax.into());
        }
        words = rest;
        moves.push(Move { ranges, target: check_target(id, ground)? });
    }
    Ok(moves)
}

fn check_target(id: &[u8], ground: &Ground<'_>) -> Result<NodeId, Refused> {
    let bytes: [u8; ID_LEN] = id.try_into().map_err(|_| Refused::BadNodeId(echo(id)))?;
    let target = NodeId::from_bytes(bytes);
    if !(ground.knows)(&target) {
        return Err(Refused::UnknownNode(echo(id)));
    }
    if target == ground.me {
        return Err(Refused::TargetIsMe);
    }
    Ok(target)
}

/// A client's word inside an error line, on one line.
fn echo(word: &[u8]) -> String {
    quote(word).replace(['\r', '\n'], " ")
}

/// What ESTABLISH asks for, when this node agrees to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Offer {
    /// Who sends the slots.
    pub source: NodeId,
    /// The name of the job.
    pub name: JobName,
    /// What moves.
    pub ranges: SlotRanges,
}

/// Checks the words behind `CLUSTER SYNCSLOTS ESTABLISH` from an ordinary client: `SOURCE id`, `NAME job` and
/// `SLOTSRANGE start end [start end ...]` in any order, each looked at where it stands.
///
/// What a replica gets from its primary is a fact, not a request: read it with
/// [`Establish`](crate::wire::syncslots::Establish) and do not check it.
///
/// # Errors
/// The reply to the client.
pub fn check_establish(mut words: &[&[u8]], ground: &Ground<'_>) -> Result<Offer, Refused> {
    ground.may_start()?;
    let (mut source, mut name, mut ranges) = (None, None, None);
    while let [word, rest @ ..] = words {
        words = rest;
        if is_keyword(word, "SOURCE") && source.is_none() {
            let id = NodeId::from_bytes(take_id(&mut words)?);
            if !(ground.knows)(&id) {
                return Err(Refused::UnknownSource);
            }
            if id == ground.me {
                return Err(Refused::SourceIsMe);
            }
            source = Some(id);
        } else if is_keyword(word, "NAME") && name.is_none() {
            name = Some(JobName::from_bytes(take_id(&mut words)?));
        } else if is_keyword(word, "SLOTSRANGE") && ranges.is_none() {
            let read = ground.read_owned(&mut words)?;
            if read.0.slots().any(|slot| (ground.is_moving)(slot)) {
                return Err(Refused::AlreadyImporting);
            }
            ranges = Some(read);
        } else {
            return Err(Malformed::Syntax.into());
        }
    }
    let (Some(source), Some(name), Some((ranges, owner))) = (source, name, ranges) else {
        return Err(Malformed::Syntax.into());
    };
    if owner != source {
        return Err(Refused::SourceNotOwner);
    }
    Ok(Offer { source, name, ranges })
}

#[cfg(test)]
mod tests;
