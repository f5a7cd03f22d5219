//! Several links for one migration: every shard of the source sends what it has over a link of its own, to the shard of
//! the target that has the slots there.
//!
//! The link that said ESTABLISH carries the dialogue of the job and what the shard has that opened it; the others are
//! *lanes*, each with a [`Sender`] at the source and a [`Receiver`] at the target. They carry snapshot and stream, both
//! ended by the word that ends them on the first link. No lane waits for another: their slots are disjoint, nobody sees
//! any of them before the target takes all of them over, and for that it needs the end of each.

pub mod receiver;
pub mod sender;

use alloc::collections::BTreeSet;

pub use self::receiver::Receiver;
pub use self::sender::Sender;
use crate::ids::{ShardIndex, Shards};
use crate::slots::{Slot, SlotRanges, SlotSet};

/// Which slots of a job go which way: one way for each shard of the source that has some.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lanes {
    source: Shards,
}

impl Lanes {
    /// Those of a job, if its slots are on several of a source's shards.
    #[must_use]
    pub fn of(ranges: &SlotRanges, source: Shards) -> Option<Self> {
        let lanes = Self { source };
        let mut shards = ranges.slots().map(|slot| lanes.of_slot(slot));
        let first = shards.next()?;
        shards.any(|shard| shard != first).then_some(lanes)
    }

    /// Those that a target with so many shards agrees to, and where the first link of the job ends then.
    #[must_use]
    pub fn agreed(
        ranges: &SlotRanges,
        offered: Option<Shards>,
        target: Shards,
    ) -> Option<(Self, ShardIndex)> {
        let lanes = Self::of(ranges, offered?).filter(|lanes| lanes.fit(target))?;
        Some((lanes, lanes.end(lanes.main(ranges)?, target)))
    }

    /// The shards of the source.
    #[must_use]
    pub fn source(self) -> Shards {
        self.source
    }

    /// Whether all slots of a lane are on one shard of a target with so many.
    #[must_use]
    pub fn fit(self, target: Shards) -> bool {
        self.source.count().is_multiple_of(target.count())
    }

    /// The shard of a target that has the slots of a lane.
    #[must_use]
    pub fn end(self, lane: ShardIndex, target: Shards) -> ShardIndex {
        ShardIndex(lane.0 % target.count())
    }

    /// The lane of a slot: the shard of the source that has it.
    #[must_use]
    pub fn of_slot(self, slot: Slot) -> ShardIndex {
        self.source.of(slot)
    }

    /// The way of the link that says ESTABLISH, which is no lane: that of the job's first slot.
    #[must_use]
    pub fn main(self, ranges: &SlotRanges) -> Option<ShardIndex> {
        ranges.slots().next().map(|slot| self.of_slot(slot))
    }

    /// All lanes of a job.
    #[must_use]
    pub fn all(self, ranges: &SlotRanges) -> BTreeSet<ShardIndex> {
        let main = self.main(ranges);
        ranges.slots().map(|slot| self.of_slot(slot)).filter(|lane| Some(*lane) != main).collect()
    }

    /// The slots of a job that go one way.
    #[must_use]
    pub fn slots(self, ranges: &SlotRanges, lane: ShardIndex) -> SlotSet {
        ranges.slots().filter(|slot| self.of_slot(*slot) == lane).collect()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;
    use crate::slots::SlotRange;

    fn ranges(pairs: &[(u16, u16)]) -> SlotRanges {
        pairs.iter().map(|(a, b)| SlotRange::new(*a, *b).expect("slots")).collect()
    }

    #[test]
    fn every_slot_of_a_job_goes_one_way_and_ends_where_it_is_at_home() {
        for (source, target) in [(2, 1), (2, 2), (8, 2), (8, 4), (6, 3), (3, 3)] {
            let (source, target) = (Shards::new(source), Shards::new(target));
            let job = ranges(&[(101, 130), (7, 9), (16_000, 16_000)]);
            let lanes = Lanes::of(&job, source).expect("several shards");
            assert!(lanes.fit(target));
            let main = lanes.main(&job).expect("a first slot");
            assert_eq!(main, source.of(Slot::new(101).expect("a slot")));
            let mut all = lanes.all(&job);
            assert!(all.insert(main), "the first link is no lane");
            let mut met = 0;
            for lane in all {
                for slot in lanes.slots(&job, lane).iter() {
                    assert_eq!((source.of(slot), target.of(slot)), (lane, lanes.end(lane, target)));
                    met += 1;
                }
            }
            assert_eq!(met, job.slots().count());
        }
    }

    #[test]
    fn there_are_lanes_only_where_several_shards_have_slots_and_each_ends_in_one() {
        assert_eq!(Lanes::of(&ranges(&[(0, 5)]), Shards::ONE), None);
        assert_eq!(Lanes::of(&ranges(&[(4, 4), (8, 8)]), Shards::new(4)), None);
        let lanes = Lanes::of(&ranges(&[(4, 5)]), Shards::new(4)).expect("two shards");
        let fit: Vec<bool> = [1, 2, 3, 4, 8].iter().map(|n| lanes.fit(Shards::new(*n))).collect();
        assert_eq!(fit, vec![true, true, false, true, false]);
        let agreed = |offered, target| {
            let agreed = Lanes::agreed(&ranges(&[(5, 8)]), Some(Shards::new(offered)), Shards::new(target));
            agreed.map(|(_, first)| first.0)
        };
        assert_eq!([agreed(4, 4), agreed(4, 2), agreed(4, 3), agreed(1, 1)], [Some(1), Some(1), None, None]);
        assert_eq!(Lanes::agreed(&ranges(&[(5, 8)]), None, Shards::new(2)), None);
    }
}
