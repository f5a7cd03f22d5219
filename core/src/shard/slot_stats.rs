//! CLUSTER SLOT-STATS: how much the slots of this node are used.
//!
//! Only keys are counted. The other measures need `cluster-slot-stats-enabled`, which is not built.

use alloc::format;
use alloc::vec::Vec;
use core::cmp::Reverse;

use crate::cluster::View;
use crate::command::options::is;
use crate::shard::debug::wrong_use;
use crate::slots::{SLOTS, Slot};
use crate::store::Store;
use crate::wire::resp::number::integer;
use crate::wire::resp::{Argv, Reply};

const SYNTAX: &str = "ERR syntax error";
const NO_SLOT: &str = "ERR Invalid or out of range slot";
const NO_METRIC: &str = "ERR Unrecognized sort metric for ORDERBY.";
const LIMIT: &str = "ERR Limit has to lie in between 1 and 16384 (maximum number of slots).";
const TWICE: &str = "ERR Multiple filters of the same type are disallowed.";

/// CLUSTER SLOT-STATS SLOTSRANGE first last | ORDERBY metric [LIMIT n] [ASC | DESC]
pub(crate) fn run(argv: Argv<'_>, view: &View, store: &Store, reply: &mut Reply<'_>) {
    if argv.len() == 5 && is(argv.get(2), b"slotsrange") {
        let (Some(first), Some(last)) = (slot(argv.get(3)), slot(argv.get(4))) else {
            return reply.error(NO_SLOT);
        };
        if first > last {
            return reply
                .error(&format!("ERR Start slot number {first} is greater than end slot number {last}"));
        }
        let slots = Slot::all().filter(|slot| (first..=last).contains(slot) && view.is_mine(*slot));
        return rows(slots.map(|slot| (slot, store.slot_len_all(slot))).collect(), reply);
    }
    if argv.len() >= 4 && is(argv.get(2), b"orderby") {
        return match Order::read(argv) {
            Ok(order) => rows(order.apply(view, store), reply),
            Err(error) => reply.error(error),
        };
    }
    reply.error(&wrong_use(argv, "CLUSTER"));
}

/// A slot given as a number.
pub(crate) fn slot(word: &[u8]) -> Option<Slot> {
    u16::try_from(integer(word)?).ok().and_then(Slot::new)
}

struct Order {
    limit: usize,
    ascending: bool,
}

impl Order {
    fn read(argv: Argv<'_>) -> Result<Self, &'static str> {
        if !is(argv.get(3), b"key-count") {
            return Err(NO_METRIC);
        }
        let (mut limit, mut ascending) = (None, None);
        let mut words = argv.after(4).iter();
        while let Some(word) = words.next() {
            let twice = if is(word, b"limit") {
                let Some(most) = words.next() else { return Err(SYNTAX) };
                let most = integer(most).and_then(|n| usize::try_from(n).ok());
                let most = most.filter(|n| (1..=SLOTS).contains(n)).ok_or(LIMIT)?;
                limit.replace(most).is_some()
            } else if is(word, b"asc") || is(word, b"desc") {
                ascending.replace(is(word, b"asc")).is_some()
            } else {
                return Err(SYNTAX);
            };
            if twice {
                return Err(TWICE);
            }
        }
        Ok(Self { limit: limit.unwrap_or(SLOTS), ascending: ascending.unwrap_or(false) })
    }

    fn apply(&self, view: &View, store: &Store) -> Vec<(Slot, u64)> {
        let slots = Slot::all().filter(|slot| view.is_mine(*slot));
        let mut found: Vec<_> = slots.map(|slot| (slot, store.slot_len_all(slot))).collect();
        if self.ascending {
            found.sort_by_key(|(slot, keys)| (*keys, *slot));
        } else {
            found.sort_by_key(|(slot, keys)| (Reverse(*keys), *slot));
        }
        found.truncate(self.limit);
        found
    }
}

fn rows(found: Vec<(Slot, u64)>, reply: &mut Reply<'_>) {
    reply.array(found.len());
    for (slot, keys) in found {
        reply.array(2);
        reply.int(i64::from(slot.number()));
        reply.map(1);
        reply.bulk(b"key-count");
        reply.int(keys as i64);
    }
}
