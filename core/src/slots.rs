//! Hash slots: which slot a key belongs to, and sets and ranges of slots.

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;

use memchr::memchr;
use smallvec::SmallVec;

use crate::crc16::checksum;

/// How many slots a cluster has.
pub const SLOTS: usize = 16384;

/// Bytes of a slot bitmap on the cluster bus.
pub const BITMAP_LEN: usize = SLOTS / 8;

/// One of the 16384 hash slots.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Slot(u16);

impl Slot {
    /// The slot with this number, if there is one.
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        if (number as usize) < SLOTS { Some(Self(number)) } else { None }
    }

    /// The slot of `key`: CRC16/XMODEM of the key or of its hash tag, modulo 16384.
    ///
    /// The hash tag is the text between the first `{` and the first `}` after it, if it is not empty.
    #[must_use]
    pub fn of(key: &[u8]) -> Self {
        Self(checksum(hash_tag(key).unwrap_or(key)) & (SLOTS as u16 - 1))
    }

    /// The number of the slot, 0..16384.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// The number as an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The first of the shortest texts of digits and letters that are keys of this slot: what a cursor of
    /// CLUSTERSCAN names the slot by. Three characters are enough for every slot.
    #[must_use]
    pub fn tag(self) -> String {
        let letters = || (b'0'..=b'9').chain(b'A'..=b'Z').chain(b'a'..=b'z');
        let text = |bytes: &[u8]| {
            (Self::of(bytes) == self).then(|| bytes.iter().copied().map(char::from).collect::<String>())
        };
        // The low byte of a checksum depends on the last byte and the high byte of the checksum before it only, and
        // no two last bytes give the same: there is one candidate for each beginning.
        let wanted = self.0 as u8;
        let last = (0..=u8::MAX).find(|&byte| checksum(&[byte]) as u8 == wanted).unwrap_or_default();
        let after = |start: &[u8]| {
            let byte = last ^ (checksum(start) >> 8) as u8;
            byte.is_ascii_alphanumeric().then_some(byte)
        };
        let one = || after(&[]).and_then(|a| text(&[a]));
        let two = || letters().find_map(|a| text(&[a, after(&[a])?]));
        let three = || letters().find_map(|a| letters().find_map(|b| text(&[a, b, after(&[a, b])?])));
        one().or_else(two).or_else(three).unwrap_or_default()
    }

    /// All slots in ascending order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..SLOTS as u16).map(Self)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The part of a key that decides its slot, when it carries a hash tag.
#[must_use]
pub fn hash_tag(key: &[u8]) -> Option<&[u8]> {
    let open = memchr(b'{', key)?;
    let rest = &key[open + 1..];
    let close = memchr(b'}', rest)?;
    (close > 0).then(|| &rest[..close])
}

/// Slots `first..=last`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SlotRange {
    /// The lowest slot.
    pub first: Slot,
    /// The highest slot; not below `first`.
    pub last: Slot,
}

impl SlotRange {
    /// The range of one slot.
    #[must_use]
    pub const fn one(slot: Slot) -> Self {
        Self { first: slot, last: slot }
    }

    /// `first..=last` when both are slots and in order.
    #[must_use]
    pub fn new(first: u16, last: u16) -> Option<Self> {
        let range = Self { first: Slot::new(first)?, last: Slot::new(last)? };
        (first <= last).then_some(range)
    }

    /// Whether `slot` lies in the range.
    #[must_use]
    pub fn contains(&self, slot: Slot) -> bool {
        self.first <= slot && slot <= self.last
    }

    /// Whether the two ranges share a slot.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// How many slots it has.
    #[must_use]
    pub fn count(&self) -> usize {
        usize::from(self.last.0 - self.first.0) + 1
    }

    /// Its slots in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = Slot> + use<> {
        (self.first.0..=self.last.0).map(Slot)
    }
}

/// Always `first-last`, also for one slot: the form of `slot_ranges` in CLUSTER GETSLOTMIGRATIONS.
impl fmt::Display for SlotRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// A list of slot ranges in the order somebody gave them.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct SlotRanges(pub SmallVec<[SlotRange; 4]>);

impl SlotRanges {
    /// Whether a range contains `slot`.
    #[must_use]
    pub fn contains(&self, slot: Slot) -> bool {
        self.0.iter().any(|r| r.contains(slot))
    }

    /// All slots, range by range in the given order, ascending within each.
    pub fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        self.0.iter().flat_map(SlotRange::iter)
    }

    /// The slots as a set.
    #[must_use]
    pub fn to_set(&self) -> SlotSet {
        let mut set = SlotSet::new();
        self.0.iter().for_each(|range| set.insert_range(*range));
        set
    }
}

impl FromIterator<SlotRange> for SlotRanges {
    fn from_iter<T: IntoIterator<Item = SlotRange>>(ranges: T) -> Self {
        Self(ranges.into_iter().collect())
    }
}

/// `0-3 5-5`: ranges in the given order, one space between.
impl fmt::Display for SlotRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, range) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            range.fmt(f)?;
        }
        Ok(())
    }
}

/// A set of slots, one bit each; the bytes are those of the bitmap on the cluster bus (slot `s` is bit
/// `s % 8` of byte `s / 8`).
#[derive(Clone, PartialEq, Eq)]
pub struct SlotSet(Box<[u8; BITMAP_LEN]>);

impl SlotSet {
    /// No slot.
    #[must_use]
    pub fn new() -> Self {
        Self(Box::new([0; BITMAP_LEN]))
    }

    /// All 16384 slots.
    #[must_use]
    pub fn full() -> Self {
        Self(Box::new([0xff; BITMAP_LEN]))
    }

    /// The set that a bus bitmap stands for.
    #[must_use]
    pub fn from_bitmap(bytes: &[u8; BITMAP_LEN]) -> Self {
        Self(Box::new(*bytes))
    }

    /// The set as a bus bitmap.
    #[must_use]
    pub fn as_bitmap(&self) -> &[u8; BITMAP_LEN] {
        &self.0
    }

    /// Whether `slot` is in the set.
    #[must_use]
    pub fn contains(&self, slot: Slot) -> bool {
        self.0[slot.index() / 8] & (1 << (slot.index() % 8)) != 0
    }

    /// Adds a slot; true when it was not there.
    pub fn insert(&mut self, slot: Slot) -> bool {
        let (byte, bit) = (slot.index() / 8, 1 << (slot.index() % 8));
        let new = self.0[byte] & bit == 0;
        self.0[byte] |= bit;
        new
    }

    /// Adds the slots of a range, eight at a time.
    pub fn insert_range(&mut self, range: SlotRange) {
        let (first, last) = (range.first.index(), range.last.index());
        let (head, tail) = (0xff << (first % 8), 0xff >> (7 - last % 8));
        if first / 8 == last / 8 {
            self.0[first / 8] |= head & tail;
        } else {
            self.0[first / 8] |= head;
            self.0[first / 8 + 1..last / 8].fill(0xff);
            self.0[last / 8] |= tail;
        }
    }

    /// Removes a slot; true when it was there.
    pub fn remove(&mut self, slot: Slot) -> bool {
        let (byte, bit) = (slot.index() / 8, 1 << (slot.index() % 8));
        let had = self.0[byte] & bit != 0;
        self.0[byte] &= !bit;
        had
    }

    /// How many slots are in the set.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(|b| b.count_ones() as usize).sum()
    }

    /// Whether no slot is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|&b| b == 0)
    }

    /// The slots in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = Slot> + '_ {
        self.0.iter().enumerate().filter(|(_, b)| **b != 0).flat_map(|(i, &b)| {
            (0..8).filter(move |bit| b & (1 << bit) != 0).map(move |bit| Slot((i * 8 + bit) as u16))
        })
    }

    /// The set as ascending maximal ranges.
    #[must_use]
    pub fn to_ranges(&self) -> SlotRanges {
        let mut ranges: SmallVec<[SlotRange; 4]> = SmallVec::new();
        for slot in self.iter() {
            match ranges.last_mut() {
                Some(last) if last.last.0 + 1 == slot.0 => last.last = slot,
                _ => ranges.push(SlotRange::one(slot)),
            }
        }
        SlotRanges(ranges)
    }
}

impl Default for SlotSet {
    fn default() -> Self {
        Self::new()
    }
}

impl FromIterator<Slot> for SlotSet {
    fn from_iter<T: IntoIterator<Item = Slot>>(slots: T) -> Self {
        let mut set = Self::new();
        for slot in slots {
            set.insert(slot);
        }
        set
    }
}

impl fmt::Debug for SlotSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{}}}", self.to_ranges())
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    #[test]
    fn every_slot_has_a_tag_and_the_first_is_the_one_that_valkey_uses() {
        for (slot, tag) in [(0, "06S"), (1, "Qi"), (2, "5L5"), (5, "460"), (15495, "a"), (1903, "4R4")] {
            assert_eq!(Slot(slot).tag(), tag);
        }
        for slot in Slot::all().step_by(31) {
            let tag = slot.tag();
            assert!((1..=3).contains(&tag.len()) && Slot::of(tag.as_bytes()) == slot, "{slot}: {tag}");
        }
    }

    use super::*;

    #[test]
    fn slots_of_known_keys() {
        for (key, slot) in [
            ("foo", 12182),
            ("foo{bar}baz", 5061),
            ("bar", 5061),
            ("", 0),
            ("0", 13907),
            ("{06S}k", 0),
            ("{Qi}", 1),
        ] {
            assert_eq!(Slot::of(key.as_bytes()).number(), slot, "{key}");
        }
    }

    #[test]
    fn only_a_closed_and_non_empty_tag_counts() {
        assert_eq!(hash_tag(b"a{b}c"), Some(&b"b"[..]));
        assert_eq!(hash_tag(b"a{}c"), None);
        assert_eq!(hash_tag(b"a{b"), None);
        assert_eq!(hash_tag(b"a}b{c}"), Some(&b"c"[..]));
        assert_eq!(hash_tag(b"{{a}}"), Some(&b"{a"[..]));
    }

    #[test]
    fn sets_and_ranges_agree() {
        let ranges: SlotRanges = [(5, 5), (0, 3), (4, 4), (16383, 16383)]
            .into_iter()
            .map(|(a, b)| SlotRange::new(a, b).unwrap())
            .collect();
        assert_eq!(ranges.to_string(), "5-5 0-3 4-4 16383-16383");
        let set = ranges.to_set();
        assert_eq!(set.len(), 7);
        assert_eq!(set.to_ranges().to_string(), "0-5 16383-16383");
        assert_eq!(SlotSet::from_bitmap(set.as_bitmap()), set);
        assert_eq!(SlotSet::full().to_ranges().to_string(), "0-16383");
    }

    #[test]
    fn a_range_is_all_its_slots() {
        for (first, last) in
            [(0, 0), (7, 7), (7, 8), (0, 7), (1, 6), (3, 20), (8, 15), (5, 16383), (16380, 16383)]
        {
            let range = SlotRange::new(first, last).unwrap();
            let mut set: SlotSet = Slot::new(9).into_iter().collect();
            set.insert_range(range);
            let all = Slot::all().filter(|slot| range.contains(*slot) || slot.number() == 9);
            assert_eq!(set, all.collect(), "{range}");
        }
    }

    #[test]
    fn ranges_outside_the_slots_do_not_exist() {
        assert!(SlotRange::new(0, 16384).is_none());
        assert!(SlotRange::new(2, 1).is_none());
        assert!(Slot::new(16384).is_none());
    }
}
