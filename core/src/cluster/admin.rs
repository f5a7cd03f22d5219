//! The words of the CLUSTER subcommands that change the machine, or ask what the view does not tell.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::boundary::Action;
use super::config::BUS_PORT_OFFSET;
use super::operator::{SetSlot, shown};
use super::refused::Refused;
use super::render::{self, Asker};
use super::{Bump, Cluster};
use crate::slots::{Slot, SlotRange, SlotRanges};
use crate::time::Now;
use crate::wire::resp::Reply;
use crate::wire::resp::number::integer;

/// What the shards know and a command may depend on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KeyCounts {
    /// Keys on this node.
    pub total: u64,
    /// Keys in the slot that the command names.
    pub in_slot: u64,
    /// An atomic migration is bringing that slot.
    pub importing: bool,
    /// An atomic migration is taking that slot away.
    pub exporting: bool,
}

/// The answer to a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AdminReply {
    /// `+OK`
    Ok,
    /// A status.
    Simple(String),
    /// A number.
    Int(i64),
    /// An array of texts.
    Lines(Vec<String>),
}

impl AdminReply {
    /// Writes the answer.
    pub fn write(&self, reply: &mut Reply<'_>) {
        match self {
            Self::Ok => reply.ok(),
            Self::Simple(text) => reply.simple(text),
            Self::Int(number) => reply.int(*number),
            Self::Lines(lines) => {
                reply.array(lines.len());
                for line in lines {
                    reply.bulk(line.as_bytes());
                }
            }
        }
    }
}

/// Runs a CLUSTER subcommand; `argv` begins with `CLUSTER`. The subcommands are ADDSLOTS, ADDSLOTSRANGE, BUMPEPOCH,
/// COUNT-FAILURE-REPORTS, DELSLOTS, DELSLOTSRANGE, FAILOVER, FLUSHSLOTS, FORGET, MEET, REPLICAS, REPLICATE, RESET,
/// SAVECONFIG, SET-CONFIG-EPOCH, SETSLOT and SLAVES.
///
/// The answer may be sent when the save among the actions, if there is one, is done.
///
/// # Errors
/// The text of [`Refused`] is the error reply.
pub fn run(
    cluster: &mut Cluster,
    now: Now,
    argv: &[&[u8]],
    keys: KeyCounts,
    out: &mut Vec<Action>,
) -> Result<AdminReply, Refused> {
    let Some((&name, args)) = argv.get(1..).and_then(<[_]>::split_first) else {
        return Err(Refused::SubcommandOrArity(String::new()));
    };
    let sub = shown(name).to_ascii_lowercase();
    let (least, most) = arity(&sub).ok_or_else(|| Refused::SubcommandOrArity(shown(name)))?;
    if args.len() < least || (least == most && args.len() > most) {
        return Err(Refused::Arity(sub));
    }
    if args.len() > most {
        return Err(Refused::SubcommandOrArity(shown(name)));
    }
    let done = match sub.as_str() {
        "meet" => meet(cluster, now, args, out),
        "forget" => cluster.forget(now, args[0], out),
        "addslots" => cluster.add_slots(now, &slot_list(args)?, out),
        "delslots" => cluster.del_slots(now, &slot_list(args)?, out),
        "addslotsrange" => cluster.add_slots(now, &slot_ranges(&sub, args)?, out),
        "delslotsrange" => cluster.del_slots(now, &slot_ranges(&sub, args)?, out),
        "setslot" => set_slot(cluster, now, args, keys, out),
        "bumpepoch" => {
            return Ok(AdminReply::Simple(match cluster.bump_epoch(now, out) {
                Bump::Bumped(epoch) => format!("BUMPED {epoch}"),
                Bump::Still(epoch) => format!("STILL {epoch}"),
            }));
        }
        "set-config-epoch" => {
            let epoch = integer(args[0]).ok_or(Refused::NotAnInteger)?;
            cluster.set_config_epoch(now, epoch, out)
        }
        "reset" => reset(cluster, now, args, keys.total, out),
        "saveconfig" => {
            cluster.save_config(now, out);
            Ok(())
        }
        "flushslots" => cluster.flush_slots(now, keys.total, out),
        "replicate" => replicate(cluster, name, args, keys.total),
        "failover" => failover(args),
        "count-failure-reports" => {
            return Ok(AdminReply::Int(cluster.count_failure_reports(now, args[0])? as i64));
        }
        _ => return replicas(cluster, args[0]),
    };
    done.map(|()| AdminReply::Ok)
}

/// Fewest and most arguments behind the subcommand.
fn arity(sub: &str) -> Option<(usize, usize)> {
    Some(match sub {
        "addslots" | "delslots" => (1, usize::MAX),
        "addslotsrange" | "delslotsrange" | "setslot" => (2, usize::MAX),
        "meet" => (2, 3),
        "replicate" => (1, 2),
        "reset" => (0, 1),
        "failover" => (0, usize::MAX),
        "bumpepoch" | "saveconfig" | "flushslots" => (0, 0),
        "forget" | "set-config-epoch" | "count-failure-reports" | "replicas" | "slaves" => (1, 1),
        _ => return None,
    })
}

fn slot(arg: &[u8]) -> Result<Slot, Refused> {
    let number = integer(arg).and_then(|number| u16::try_from(number).ok());
    number.and_then(Slot::new).ok_or(Refused::BadSlot)
}

fn slot_list(args: &[&[u8]]) -> Result<SlotRanges, Refused> {
    args.iter().map(|arg| slot(arg).map(SlotRange::one)).collect()
}

fn slot_ranges(sub: &str, args: &[&[u8]]) -> Result<SlotRanges, Refused> {
    if !args.len().is_multiple_of(2) {
        return Err(Refused::Arity(sub.into()));
    }
    let range = |pair: &[&[u8]]| {
        let (first, last) = (slot(pair[0])?, slot(pair[1])?);
        SlotRange::new(first.number(), last.number()).ok_or(Refused::RangeReversed(first, last))
    };
    args.chunks_exact(2).map(range).collect()
}

fn meet(cluster: &mut Cluster, now: Now, args: &[&[u8]], out: &mut Vec<Action>) -> Result<(), Refused> {
    let port = integer(args[1]).ok_or_else(|| Refused::BadPort(shown(args[1])))?;
    let is_port = |number: i64| u16::try_from(number).ok().filter(|&port| port != 0);
    let told = is_port(port).ok_or(Refused::PortOutOfRange)?;
    let bus_port = match args.get(2) {
        Some(arg) => integer(arg).ok_or_else(|| Refused::BadBusPort(shown(arg)))?,
        None => port + i64::from(BUS_PORT_OFFSET),
    };
    let bus_port = is_port(bus_port).ok_or(Refused::BusPortOutOfRange)?;
    cluster.meet(now, args[0], told, bus_port, out)
}

fn set_slot(
    cluster: &mut Cluster,
    now: Now,
    args: &[&[u8]],
    keys: KeyCounts,
    out: &mut Vec<Action>,
) -> Result<(), Refused> {
    if keys.importing {
        return Err(Refused::ImportInProgress);
    }
    if keys.exporting {
        return Err(Refused::ExportInProgress);
    }
    let slot = slot(args[0])?;
    let word = args[1].to_ascii_lowercase();
    let (action, rest) = match (word.as_slice(), &args[2..]) {
        (b"migrating", [id, rest @ ..]) => (SetSlot::Migrating(id), rest),
        (b"importing", [id, rest @ ..]) => (SetSlot::Importing(id), rest),
        (b"node", [id, rest @ ..]) => (SetSlot::Node(id), rest),
        (b"stable", rest) => (SetSlot::Stable, rest),
        _ => return Err(Refused::SetSlotWords),
    };
    // Nothing waits for replicas here, so the timeout is only read. Valkey looks at it last.
    let timeout = read_timeout(rest);
    if timeout.is_err() {
        cluster.check_set_slot(slot, action, keys.in_slot)?;
    }
    timeout?;
    cluster.set_slot(now, slot, action, keys.in_slot, out)
}

/// What follows the action of SETSLOT. Valkey passes over words that mean nothing there.
fn read_timeout(rest: &[&[u8]]) -> Result<(), Refused> {
    for (at, _) in rest.iter().enumerate().filter(|(_, word)| word.eq_ignore_ascii_case(b"timeout")) {
        match rest.get(at + 1).map(|ms| integer(ms)) {
            None => return Err(Refused::MissingTimeout),
            Some(None) => return Err(Refused::BadTimeout),
            Some(Some(..0)) => return Err(Refused::NegativeTimeout),
            Some(Some(_)) => {}
        }
    }
    Ok(())
}

fn reset(
    cluster: &mut Cluster,
    now: Now,
    args: &[&[u8]],
    keys: u64,
    out: &mut Vec<Action>,
) -> Result<(), Refused> {
    let hard = match args {
        [] => false,
        [word] if word.eq_ignore_ascii_case(b"soft") => false,
        [word] if word.eq_ignore_ascii_case(b"hard") => true,
        _ => return Err(Refused::Syntax),
    };
    cluster.reset(now, hard, keys, out)
}

fn replicate(cluster: &Cluster, name: &[u8], args: &[&[u8]], keys: u64) -> Result<(), Refused> {
    match args {
        [no, one] if no.eq_ignore_ascii_case(b"no") && one.eq_ignore_ascii_case(b"one") => Ok(()),
        [primary] => cluster.replicate(primary, keys),
        _ => Err(Refused::SubcommandOrArity(shown(name))),
    }
}

/// A primary cannot fail over to itself, but the words are checked first.
fn failover(args: &[&[u8]]) -> Result<(), Refused> {
    let known = |word: &[u8]| word.eq_ignore_ascii_case(b"force") || word.eq_ignore_ascii_case(b"takeover");
    match args {
        [] => Err(Refused::FailoverOfPrimary),
        [word] if known(word) => Err(Refused::FailoverOfPrimary),
        _ => Err(Refused::Syntax),
    }
}

fn replicas(cluster: &Cluster, id: &[u8]) -> Result<AdminReply, Refused> {
    render::replicas(&cluster.view(), id, Asker::default()).map(AdminReply::Lines)
}
