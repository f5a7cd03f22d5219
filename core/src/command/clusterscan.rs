//! CLUSTERSCAN: a walk over the keys of a whole cluster, node after node.
//!
//! A cursor is `<node>-{<tag>}-<position>`. The text between the dashes is a key of the slot where the walk goes on,
//! so clients route the cursor like a key. The position says how far the walk is in that slot, and only the node that
//! gave it understands it: on another node (or after a restart) the slot is begun anew.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::context::Cx;
use super::refused::{Outcome, Refused};
use super::scan::{self, Found, Options};
use crate::cluster::View;
use crate::ids::{ShardIndex, Shards};
use crate::link::Outbox;
use crate::slots::{SLOTS, Slot};
use crate::wire::resp::{Argv, Reply};

const CURSOR: Refused<'static> = Refused::Text("ERR Invalid cursor");
const OTHER_SLOT: Refused<'static> = Refused::Text("ERR Cursor slot mismatch with SLOT argument");

/// Where a walk happens.
pub(crate) struct Ground<'a> {
    pub(crate) view: &'a View,
    pub(crate) node: &'a [u8; 6],
    pub(crate) shards: Shards,
    pub(crate) index: ShardIndex,
}

/// What one shard gives to a step of a walk: keys of its slots, which ascend, and where it stopped.
#[derive(Debug)]
pub(crate) struct Stretch {
    met: Vec<(Slot, usize, Outbox)>,
    stop: Stop,
}

/// Where a walk stops.
#[derive(Clone, Copy, Debug)]
enum Stop {
    /// In a slot, where it goes on from this position.
    At(Slot, u32),
    /// Before a slot of another node.
    Before(Slot),
    /// Nowhere: it met the last slot.
    Nowhere,
}

impl Stop {
    /// Earlier stops are less. What one shard takes for another node's is not walked, even if its owner did.
    fn order(self) -> (usize, bool) {
        match self {
            Self::Before(slot) => (slot.index(), false),
            Self::At(slot, _) => (slot.index(), true),
            Self::Nowhere => (SLOTS, true),
        }
    }

    /// Whether a walk that stops here has met keys of a slot.
    fn has_met(self, slot: Slot) -> bool {
        (slot.index(), true) <= self.order()
    }
}

/// CLUSTERSCAN cursor [MATCH pattern] [COUNT n] [TYPE type] [SLOT slot], as far as one shard is enough.
pub(crate) fn clusterscan<'a>(cx: &mut Cx<'_>, argv: Argv<'a>, ground: &Ground<'_>) -> Outcome<'a> {
    let options = Options::read_cluster(argv)?;
    let cursor = Cursor::parse(argv.get(1))?;
    let named = options.pattern.and_then(|pattern| scan::only_slot(cx, pattern));
    let next = match cursor {
        Cursor::Start => start(&options, named),
        Cursor::At { slot, .. } if options.slot.is_some_and(|wanted| wanted != slot) => {
            return Err(OTHER_SLOT);
        }
        Cursor::At { slot, .. } => match named {
            Some(named) if named != slot => {
                if options.slot.is_some() || named < slot {
                    end()
                } else {
                    start(&options, Some(named))
                }
            }
            _ => {
                let position = cursor.position(ground.node);
                let bound = options.slot.or(named);
                let stretch = walk(cx, ground, (slot, position), bound, &options);
                answer(&[&stretch], ground.node, &mut cx.reply);
                return Ok(());
            }
        },
    };
    cx.reply.array(2);
    cx.reply.bulk(next.as_bytes());
    cx.reply.array(0);
    Ok(())
}

/// Whether a call walks from slot to slot, so that all shards have a part in it.
pub(crate) fn is_wide(argv: Argv<'_>) -> bool {
    let Ok(options) = Options::read_cluster(argv) else { return false };
    let bound = options.slot.or_else(|| options.pattern.and_then(scan::slot_of));
    bound.is_none() && matches!(Cursor::parse(argv.get(1)), Ok(Cursor::At { .. }))
}

/// The part of this shard in such a walk.
pub(crate) fn part(cx: &mut Cx<'_>, argv: Argv<'_>, ground: &Ground<'_>) -> Option<Stretch> {
    let options = Options::read_cluster(argv).ok()?;
    let Ok(cursor @ Cursor::At { slot, .. }) = Cursor::parse(argv.get(1)) else { return None };
    Some(walk(cx, ground, (slot, cursor.position(ground.node)), None, &options))
}

/// Answers with what the shards gave, as far as the first of them came.
pub(crate) fn answer(parts: &[&Stretch], node: &[u8; 6], reply: &mut Reply<'_>) {
    let stop = parts.iter().map(|part| part.stop).min_by_key(|stop| stop.order()).unwrap_or(Stop::Nowhere);
    let next = match stop {
        Stop::At(slot, position) => {
            format!("{}-{{{}}}-{position}", String::from_utf8_lossy(node), slot.tag())
        }
        Stop::Before(slot) => format!("0-{{{}}}-0", slot.tag()),
        Stop::Nowhere => end(),
    };
    let met = || parts.iter().flat_map(|part| &part.met).filter(|(slot, ..)| stop.has_met(*slot));
    reply.array(2);
    reply.bulk(next.as_bytes());
    reply.array(met().map(|(_, count, _)| count).sum());
    met().for_each(|(.., keys)| keys.chunks().for_each(|chunk| reply.raw(chunk)));
}

fn end() -> String {
    "0".into()
}

/// The cursor that begins a walk.
fn start(options: &Options<'_>, named: Option<Slot>) -> String {
    match (named, options.slot) {
        (Some(named), Some(wanted)) if named != wanted => end(),
        (named, wanted) => format!("0-{{{}}}-0", named.or(wanted).unwrap_or_default().tag()),
    }
}

/// Walks the slots of this shard from a place on, up to the first that is another node's, or only one slot. Each shard
/// looks at its share of the wanted keys, so that a step costs no more than with one.
fn walk(
    cx: &mut Cx<'_>,
    ground: &Ground<'_>,
    (first, position): (Slot, u32),
    bound: Option<Slot>,
    options: &Options<'_>,
) -> Stretch {
    let shards = if bound.is_some() { 1 } else { usize::from(ground.shards.count()) };
    let mut left = options.count().div_ceil(shards);
    let last = bound.map_or(SLOTS - 1, Slot::index);
    let mut met = Vec::new();
    let mut stop = Stop::Nowhere;
    for slot in (first.index()..=last).filter_map(|index| Slot::new(index as u16)) {
        if !ground.view.is_mine(slot) {
            stop = Stop::Before(slot);
            break;
        }
        if (left > 0 && cx.store.is_bare(cx.db, slot)) || ground.shards.of(slot) != ground.index {
            continue;
        }
        if left == 0 {
            stop = Stop::At(slot, 0);
            break;
        }
        if cx.store.slot_len(cx.db, slot) == 0 || cx.store.is_hidden(slot) {
            continue;
        }
        let from = if slot == first { position } else { 0 };
        let mut found = Found::default();
        let next = found.visit(cx, options, |store, visit| {
            store.scan_slot(cx.db, slot, from, left, &mut |entry| {
                left = left.saturating_sub(1);
                visit(entry);
            })
        });
        let (count, keys) = found.end(cx);
        if count > 0 {
            met.push((slot, count, keys));
        }
        if let Some(next) = next {
            stop = Stop::At(slot, next);
            break;
        }
    }
    Stretch { met, stop }
}

enum Cursor<'a> {
    Start,
    At { node: &'a [u8], slot: Slot, position: u64 },
}

impl<'a> Cursor<'a> {
    fn parse(text: &'a [u8]) -> Result<Self, Refused<'static>> {
        if text == b"0" {
            return Ok(Self::Start);
        }
        let mut parts = text.split(|&b| b == b'-');
        let (Some(node), Some(tag), Some(position), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(CURSOR);
        };
        let position = super::number::cursor(position).ok_or(CURSOR)?;
        Ok(Self::At { node, slot: Slot::of(tag), position })
    }

    /// Where the walk goes on in its slot.
    fn position(&self, me: &[u8; 6]) -> u32 {
        match self {
            Self::At { node, position, .. } if *node == me => u32::try_from(*position).unwrap_or(0),
            _ => 0,
        }
    }
}
