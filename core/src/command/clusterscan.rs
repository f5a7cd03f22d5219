//! CLUSTERSCAN: a walk over the keys of a whole cluster, node after node.
//!
//! A cursor is `<node>-{<tag>}-<position>`. The text between the dashes is a key of the slot where the walk goes on,
//! so clients route the cursor like a key. The position says how far the walk is in that slot, and only the node that
//! gave it understands it: on another node (or after a restart) the slot is begun anew.

use alloc::format;
use alloc::string::String;

use super::context::Cx;
use super::refused::{Outcome, Refused};
use super::scan::{self, Found, Options};
use crate::cluster::View;
use crate::ids::{ShardIndex, Shards};
use crate::slots::{SLOTS, Slot};
use crate::wire::resp::Argv;

const CURSOR: Refused<'static> = Refused::Text("ERR Invalid cursor");
const OTHER_SLOT: Refused<'static> = Refused::Text("ERR Cursor slot mismatch with SLOT argument");

/// CLUSTERSCAN cursor [MATCH pattern] [COUNT n] [TYPE type] [SLOT slot]
pub(crate) fn clusterscan<'a>(
    cx: &mut Cx<'_>,
    argv: Argv<'a>,
    view: &View,
    node: &[u8; 6],
    here: (Shards, ShardIndex),
) -> Outcome<'a> {
    let options = Options::read_cluster(argv)?;
    let cursor = Cursor::parse(argv.get(1))?;
    let named = options.pattern.and_then(|pattern| scan::only_slot(cx, pattern));
    let mut found = Found::default();
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
            _ if !view.is_mine(slot) => format!("0-{{{}}}-0", slot.tag()),
            _ => {
                let from = cursor.position(node);
                let bound = options.slot.or(named);
                walk(cx, view, node, here, (slot, from), bound, &options, &mut found)
            }
        },
    };
    cx.reply.array(2);
    cx.reply.bulk(next.as_bytes());
    found.reply(cx);
    Ok(())
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

/// Walks this node's slots from a place on, up to the first that is another's or another shard's, or only one slot. The next cursor.
fn walk(
    cx: &Cx<'_>,
    view: &View,
    node: &[u8; 6],
    (shards, index): (Shards, ShardIndex),
    from: (Slot, u32),
    bound: Option<Slot>,
    options: &Options<'_>,
    found: &mut Found,
) -> String {
    let node = String::from_utf8_lossy(node);
    let (mut slot, mut position) = from;
    let mut left = options.count();
    loop {
        let next = if cx.store.is_hidden(slot) {
            None
        } else {
            found.visit(cx, options, |store, visit| {
                store.scan_slot(cx.db, slot, position, left, &mut |entry| {
                    left = left.saturating_sub(1);
                    visit(entry);
                })
            })
        };
        if let Some(next) = next {
            return format!("{node}-{{{}}}-{next}", slot.tag());
        }
        let after = Slot::new(slot.number() + 1).filter(|_| bound.is_none() && slot.index() + 1 < SLOTS);
        let Some(after) = after else { return end() };
        if !view.is_mine(after) {
            return format!("0-{{{}}}-0", after.tag());
        }
        if left == 0 || shards.of(after) != index {
            return format!("{node}-{{{}}}-0", after.tag());
        }
        (slot, position) = (after, 0);
    }
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
