//! Why a command of the operator is refused.

use alloc::string::String;
use core::fmt;

use crate::slots::Slot;

/// Why a command was refused. Its text is the error reply with its code, without `-` and line end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refused {
    /// Too few or too many arguments; the lower-case subcommand.
    Arity(String),
    /// More arguments than the subcommand makes sense of, or a subcommand nobody knows; the word as typed.
    SubcommandOrArity(String),
    /// Words in no order that means something.
    Syntax,
    /// An argument is no integer.
    NotAnInteger,
    /// MEET: the port.
    BadPort(String),
    /// MEET: the port.
    PortOutOfRange,
    /// MEET: the bus port.
    BadBusPort(String),
    /// MEET: the bus port.
    BusPortOutOfRange,
    /// MEET: the address is no IP literal; address and port as typed.
    BadAddress(String, i64),
    /// MEET: there are too many handshakes, or nodes, already.
    TooManyNodes,
    /// Nobody has this id.
    UnknownNode(String),
    /// FORGET: of this node itself.
    ForgetMyself,
    /// Not a slot.
    BadSlot,
    /// ADDSLOTS: it has an owner.
    SlotBusy(Slot),
    /// DELSLOTS: it has none.
    SlotUnassigned(Slot),
    /// A slot is named twice.
    SlotTwice(Slot),
    /// A range whose end is before its start.
    RangeReversed(Slot, Slot),
    /// SETSLOT: an atomic migration brings the slot.
    ImportInProgress,
    /// SETSLOT: an atomic migration takes the slot away.
    ExportInProgress,
    /// SETSLOT MIGRATING.
    NotTheOwner(Slot),
    /// SETSLOT IMPORTING.
    AlreadyTheOwner(Slot),
    /// SETSLOT MIGRATING or IMPORTING: nobody has this id.
    DontKnowNode(String),
    /// SETSLOT MIGRATING or IMPORTING.
    TargetIsMyself,
    /// SETSLOT.
    TargetIsReplica,
    /// SETSLOT NODE: keys of the slot are here.
    StillHoldingKeys(Slot),
    /// SETSLOT: no such action.
    SetSlotWords,
    /// SETSLOT TIMEOUT.
    MissingTimeout,
    /// SETSLOT TIMEOUT.
    BadTimeout,
    /// SETSLOT TIMEOUT.
    NegativeTimeout,
    /// SET-CONFIG-EPOCH: a negative number.
    BadEpoch(i64),
    /// SET-CONFIG-EPOCH: other nodes are known.
    EpochKnowsOthers,
    /// SET-CONFIG-EPOCH: it is set already.
    EpochNotZero,
    /// RESET: there are keys.
    ResetWithKeys,
    /// FLUSHSLOTS: there are keys.
    FlushWithKeys,
    /// REPLICATE: of this node itself.
    ReplicateMyself,
    /// REPLICATE: of a replica.
    ReplicateReplica,
    /// REPLICATE: this node has slots or keys.
    ReplicateNotEmpty,
    /// REPLICATE: everything is in order but this program.
    ReplicationMissing,
    /// REPLICAS: of a replica.
    NotAPrimary,
    /// FAILOVER: this node is a primary.
    FailoverOfPrimary,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ERR ")?;
        f.write_str(match self {
            Self::Arity(sub) => return write!(f, "wrong number of arguments for 'cluster|{sub}' command"),
            Self::SubcommandOrArity(sub) => {
                return write!(
                    f,
                    "unknown subcommand or wrong number of arguments for '{sub}'. Try CLUSTER HELP."
                );
            }
            Self::Syntax => "syntax error",
            Self::NotAnInteger => "value is not an integer or out of range",
            Self::BadPort(port) => return write!(f, "Invalid base port specified: {port}"),
            Self::PortOutOfRange => "Port number is out of range",
            Self::BadBusPort(port) => return write!(f, "Invalid bus port specified: {port}"),
            Self::BusPortOutOfRange => "Cluster bus port number is out of range",
            Self::BadAddress(ip, port) => return write!(f, "Invalid node address specified: {ip}:{port}"),
            Self::TooManyNodes => "Too many nodes or handshakes",
            Self::UnknownNode(id) => return write!(f, "Unknown node {id}"),
            Self::ForgetMyself => "I tried hard but I can't forget myself...",
            Self::BadSlot => "Invalid or out of range slot",
            Self::SlotBusy(slot) => return write!(f, "Slot {slot} is already busy"),
            Self::SlotUnassigned(slot) => return write!(f, "Slot {slot} is already unassigned"),
            Self::SlotTwice(slot) => return write!(f, "Slot {slot} specified multiple times"),
            Self::RangeReversed(start, end) => {
                return write!(f, "start slot number {start} is greater than end slot number {end}");
            }
            Self::ImportInProgress => "Slot import in progress.",
            Self::ExportInProgress => "Slot export in progress.",
            Self::NotTheOwner(slot) => return write!(f, "I'm not the owner of hash slot {slot}"),
            Self::AlreadyTheOwner(slot) => return write!(f, "I'm already the owner of hash slot {slot}"),
            Self::DontKnowNode(id) => return write!(f, "I don't know about node {id}"),
            Self::TargetIsMyself => "Target node is myself",
            Self::TargetIsReplica => "Target node is not a master",
            Self::StillHoldingKeys(slot) => {
                return write!(
                    f,
                    "Can't assign hashslot {slot} to a different node while I still hold keys for this hash slot."
                );
            }
            Self::SetSlotWords => "Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP",
            Self::MissingTimeout => "Missing timeout value",
            Self::BadTimeout => "timeout is not an integer or out of range",
            Self::NegativeTimeout => "timeout is negative",
            Self::BadEpoch(epoch) => return write!(f, "Invalid config epoch specified: {epoch}"),
            Self::EpochKnowsOthers => {
                "The user can assign a config epoch only when the node does not know any other node."
            }
            Self::EpochNotZero => "Node config epoch is already non-zero",
            Self::ResetWithKeys => "CLUSTER RESET can't be called with master nodes containing keys",
            Self::FlushWithKeys => "DB must be empty to perform CLUSTER FLUSHSLOTS.",
            Self::ReplicateMyself => "Can't replicate myself",
            Self::ReplicateReplica => "I can only replicate a master, not a replica.",
            Self::ReplicateNotEmpty => "To set a master the node must be empty and without assigned slots.",
            Self::ReplicationMissing => "Replication is not available yet: this node can only be a primary",
            Self::NotAPrimary => "The specified node is not a master",
            Self::FailoverOfPrimary => "You should send CLUSTER FAILOVER to a replica",
        })
    }
}

impl core::error::Error for Refused {}
