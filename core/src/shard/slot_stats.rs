//! CLUSTER SLOT-STATS: how much the slots of this node are used.
//!
//! Keys always; CPU time and bytes where `cluster-slot-stats-enabled` had them counted.

use alloc::format;
use alloc::vec::Vec;
use core::cmp::Reverse;

use hashbrown::HashMap;

use crate::cluster::View;
use crate::command::options::is;
use crate::command::refused::lines;
use crate::shard::data::Data;
use crate::shard::debug::wrong_use;
use crate::shard::env::Env;
use crate::shard::gather::Part;
use crate::shard::usage::Usage;
use crate::slots::{SLOTS, Slot};
use crate::wire::resp::number::integer;
use crate::wire::resp::{Argv, Reply};

pub(crate) const NO_SLOT: &str = "ERR Invalid or out of range slot";
const NO_METRIC: &str = "ERR Unrecognized sort metric for ORDERBY.";
const LIMIT: &str = "ERR Limit has to lie in between 1 and 16384 (maximum number of slots).";
const TWICE: &str = "ERR Multiple filters of the same type are disallowed.";

/// CLUSTER SLOT-STATS SLOTSRANGE first last | ORDERBY metric [LIMIT n] [ASC | DESC]
pub(crate) fn run(argv: Argv<'_>, view: &View, data: &Figures<'_>, reply: &mut Reply<'_>) {
    if argv.len() == 5 && is(argv.get(2), b"slotsrange") {
        let (Some(first), Some(last)) = (slot(argv.get(3)), slot(argv.get(4))) else {
            return reply.error(NO_SLOT);
        };
        if first > last {
            return reply
                .error(&format!("ERR Start slot number {first} is greater than end slot number {last}"));
        }
        let slots = Slot::all().filter(|slot| (first..=last).contains(slot) && view.is_mine(*slot));
        return rows(slots.collect(), data, reply);
    }
    if argv.len() >= 4 && is(argv.get(2), b"orderby") {
        return match Order::read(argv, data.all) {
            Ok(order) => rows(order.apply(view, data), data, reply),
            Err(error) => reply.error(error),
        };
    }
    reply.error(&wrong_use(argv, "CLUSTER"));
}

/// Keys and use of a slot.
pub(crate) type Row = (u64, Usage);

/// The figures of all slots: those of this shard's slots, and what siblings said about theirs.
pub(crate) struct Figures<'a> {
    data: &'a Data,
    others: HashMap<Slot, Row, foldhash::fast::FixedState>,
    /// Whether more than keys is shown.
    all: bool,
}

impl<'a> Figures<'a> {
    pub(crate) fn of_all(data: &'a Data, others: &[Part]) -> Self {
        let rows = others.iter().flat_map(|part| match part {
            Part::Slots(rows) => rows.as_slice(),
            _ => &[],
        });
        Self { data, others: rows.copied().collect(), all: data.usage.is_on() }
    }

    fn of(&self, slot: Slot) -> Row {
        match self.others.get(&slot) {
            Some(row) => *row,
            None => of_shard(slot, self.data),
        }
    }
}

fn of_shard(slot: Slot, data: &Data) -> Row {
    (data.store.slot_len_all(slot), data.usage.of(slot))
}

/// The figures of the slots that are on this shard, as far as there is something to say.
pub(crate) fn own(data: &Data, env: &Env) -> Vec<(Slot, Row)> {
    let slots = Slot::all().filter(|slot| env.shards.of(*slot) == env.index && env.view.is_mine(*slot));
    slots.map(|slot| (slot, of_shard(slot, data))).filter(|(_, row)| *row != Row::default()).collect()
}

/// A slot given as a number.
pub(crate) fn slot(word: &[u8]) -> Option<Slot> {
    u16::try_from(integer(word)?).ok().and_then(Slot::new)
}

/// What is shown of a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Metric {
    KeyCount,
    CpuUsec,
    BytesIn,
    BytesOut,
}

impl Metric {
    const ALL: [Self; 4] = [Self::KeyCount, Self::CpuUsec, Self::BytesIn, Self::BytesOut];

    fn name(self) -> &'static str {
        match self {
            Self::KeyCount => "key-count",
            Self::CpuUsec => "cpu-usec",
            Self::BytesIn => "network-bytes-in",
            Self::BytesOut => "network-bytes-out",
        }
    }

    /// Those that are shown.
    fn shown(all: bool) -> &'static [Self] {
        if all { &Self::ALL } else { &Self::ALL[..1] }
    }

    fn of(self, slot: Slot, data: &Figures<'_>) -> u64 {
        let (keys, usage) = data.of(slot);
        match self {
            Self::KeyCount => keys,
            Self::CpuUsec => usage.cpu_nanos / 1000,
            Self::BytesIn => usage.bytes_in,
            Self::BytesOut => usage.bytes_out,
        }
    }
}

struct Order {
    by: Metric,
    limit: usize,
    ascending: bool,
}

impl Order {
    fn read(argv: Argv<'_>, all: bool) -> Result<Self, &'static str> {
        let by = Metric::shown(all).iter().find(|metric| is(argv.get(3), metric.name().as_bytes()));
        let by = *by.ok_or(NO_METRIC)?;
        let (mut limit, mut ascending) = (None, None);
        let mut words = argv.after(4).iter();
        while let Some(word) = words.next() {
            let twice = if is(word, b"limit") {
                let Some(most) = words.next() else { return Err(lines::SYNTAX) };
                let most = integer(most).and_then(|n| usize::try_from(n).ok());
                let most = most.filter(|n| (1..=SLOTS).contains(n)).ok_or(LIMIT)?;
                limit.replace(most).is_some()
            } else if is(word, b"asc") || is(word, b"desc") {
                ascending.replace(is(word, b"asc")).is_some()
            } else {
                return Err(lines::SYNTAX);
            };
            if twice {
                return Err(TWICE);
            }
        }
        Ok(Self { by, limit: limit.unwrap_or(SLOTS), ascending: ascending.unwrap_or(false) })
    }

    fn apply(&self, view: &View, data: &Figures<'_>) -> Vec<Slot> {
        let slots = Slot::all().filter(|slot| view.is_mine(*slot));
        let mut found: Vec<(Slot, u64)> = slots.map(|slot| (slot, self.by.of(slot, data))).collect();
        if self.ascending {
            found.sort_by_key(|(slot, n)| (*n, *slot));
        } else {
            found.sort_by_key(|(slot, n)| (Reverse(*n), *slot));
        }
        found.into_iter().take(self.limit).map(|(slot, _)| slot).collect()
    }
}

fn rows(slots: Vec<Slot>, data: &Figures<'_>, reply: &mut Reply<'_>) {
    let metrics = Metric::shown(data.all);
    reply.array(slots.len());
    for slot in slots {
        reply.array(2);
        reply.int(i64::from(slot.number()));
        reply.map(metrics.len());
        for metric in metrics {
            reply.bulk(metric.name().as_bytes());
            reply.int(metric.of(slot, data) as i64);
        }
    }
}
