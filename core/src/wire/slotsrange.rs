//! The list `start end [start end ...]` behind the word SLOTSRANGE, as MIGRATESLOTS and ESTABLISH carry it.

use core::fmt;

use smallvec::SmallVec;

use crate::slots::{Slot, SlotRange, SlotRanges};
use crate::wire::resp::number::integer;

/// What is wrong with a list of slot ranges or the words around it, before anybody asks who owns the slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Malformed {
    /// A word is missing, unknown or given twice.
    Syntax,
    /// The list has no range.
    NoRanges,
    /// A number that names no slot.
    BadSlot,
    /// The list ends behind the start of a range.
    NoEnd,
    /// A range that ends before it starts.
    Backwards(Slot, Slot),
    /// A range that shares slots with an earlier one of the same list.
    Overlap {
        /// The later range.
        new: SlotRange,
        /// The earlier one.
        earlier: SlotRange,
    },
}

/// The error text without its code.
impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax => f.write_str("syntax error"),
            Self::NoRanges => f.write_str("No slot ranges specified"),
            Self::BadSlot => f.write_str("Invalid or out of range slot"),
            Self::NoEnd => f.write_str("No end slot for final slot range"),
            Self::Backwards(start, end) => {
                write!(f, "Start slot number {start} is greater than end slot number {end}.")
            }
            Self::Overlap { new, earlier } => {
                write!(f, "Slot range {new} overlaps with previous range {earlier}.")
            }
        }
    }
}

/// Whether `word` is `keyword` in any case. Only the part of the word before its first NUL counts: valkey-cli 9.1
/// sends `SLOTSRANGE` with a NUL behind it.
#[must_use]
pub fn is_keyword(word: &[u8], keyword: &str) -> bool {
    let end = word.iter().position(|&b| b == 0).unwrap_or(word.len());
    word[..end].eq_ignore_ascii_case(keyword.as_bytes())
}

/// Reads ranges from the front of `words` until the list ends: at the end of the words, or at the first word that
/// stands where a start should and is no integer. What follows stays in `words`.
///
/// `check` sees every range that is well-formed by itself, before it is compared with the earlier ones: the place
/// where the owners of its slots are looked at.
///
/// # Errors
/// The first thing wrong, be it with the list or by the word of `check`.
pub fn read_ranges<E: From<Malformed>>(
    words: &mut &[&[u8]],
    mut check: impl FnMut(SlotRange) -> Result<(), E>,
) -> Result<SlotRanges, E> {
    let mut ranges: SmallVec<[SlotRange; 4]> = SmallVec::new();
    while let [start, rest @ ..] = *words {
        let Some(start) = integer(start) else { break };
        let start = slot(start)?;
        let [end, rest @ ..] = rest else { return Err(Malformed::NoEnd.into()) };
        let end = slot(integer(end).ok_or(Malformed::BadSlot)?)?;
        let new = SlotRange { first: start, last: end };
        if start > end {
            return Err(Malformed::Backwards(start, end).into());
        }
        check(new)?;
        if let Some(&earlier) = ranges.iter().find(|earlier| earlier.overlaps(&new)) {
            return Err(Malformed::Overlap { new, earlier }.into());
        }
        ranges.push(new);
        *words = rest;
    }
    if ranges.is_empty() {
        return Err(Malformed::NoRanges.into());
    }
    Ok(SlotRanges(ranges))
}

fn slot(number: i64) -> Result<Slot, Malformed> {
    u16::try_from(number).ok().and_then(Slot::new).ok_or(Malformed::BadSlot)
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;

    use super::*;

    fn read(text: &str) -> Result<(String, String), String> {
        let words: Vec<&[u8]> = text.split(' ').filter(|w| !w.is_empty()).map(str::as_bytes).collect();
        let mut left = words.as_slice();
        let ranges = read_ranges::<Malformed>(&mut left, |_| Ok(())).map_err(|e| e.to_string())?;
        let left: Vec<_> = left.iter().map(|w| String::from_utf8_lossy(w)).collect();
        Ok((ranges.to_string(), left.join(" ")))
    }

    #[test]
    fn a_list_ends_at_the_first_word_that_is_no_integer() {
        for (text, ranges, left) in [
            ("0 3", "0-3", ""),
            ("0 3 5 5 NODE x", "0-3 5-5", "NODE x"),
            ("16383 16383 007 9", "16383-16383", "007 9"),
            ("1 2 +3 4", "1-2", "+3 4"),
            ("1 2 99999999999999999999 4", "1-2", "99999999999999999999 4"),
        ] {
            assert_eq!(read(text), Ok((ranges.into(), left.into())), "{text}");
        }
    }

    #[test]
    fn the_first_thing_wrong_is_told() {
        for (text, error) in [
            ("", "No slot ranges specified"),
            ("NODE x", "No slot ranges specified"),
            ("x 1", "No slot ranges specified"),
            ("16384 1", "Invalid or out of range slot"),
            ("-1 1", "Invalid or out of range slot"),
            ("0 16384", "Invalid or out of range slot"),
            ("0 x", "Invalid or out of range slot"),
            ("0", "No end slot for final slot range"),
            ("0 1 2", "No end slot for final slot range"),
            ("16384", "Invalid or out of range slot"),
            ("1 0", "Start slot number 1 is greater than end slot number 0."),
            ("0 5 3 6", "Slot range 3-6 overlaps with previous range 0-5."),
            ("0 5 10 12 12 13", "Slot range 12-13 overlaps with previous range 10-12."),
        ] {
            assert_eq!(read(text), Err(error.into()), "{text}");
        }
    }

    #[test]
    fn a_keyword_counts_up_to_its_first_nul() {
        assert!(is_keyword(b"SLOTSRANGE\0", "SLOTSRANGE"));
        assert!(is_keyword(b"slotsRange\0\0x", "SLOTSRANGE"));
        assert!(!is_keyword(b"SLOTSRANGES", "SLOTSRANGE"));
        assert!(!is_keyword(b"", "NODE"));
    }
}
