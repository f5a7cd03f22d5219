//! Numbers as commands read them; canonical integers are RESP's own ([`integer`]).

use crate::wire::resp::number::integer;

/// Reads a SCAN cursor: what [`integer`] accepts from 0 on, and beyond that what C's `strtoull` makes of it. So leading
/// white space, a sign after it, and leading zeros are fine, and everything up to 2^64 - 1.
#[must_use]
pub fn cursor(text: &[u8]) -> Option<u64> {
    // C strings end at their first zero byte.
    let text = text.split(|&b| b == 0).next()?;
    if let Some(number) = integer(text) {
        return u64::try_from(number).ok();
    }
    let start = text.iter().position(|b| !b.is_ascii_whitespace() && *b != 0x0b)?;
    let (negative, digits) = match &text[start..] {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let magnitude = if digits.is_empty() { None } else { unsigned(digits) }?;
    Some(if negative { magnitude.wrapping_neg() } else { magnitude })
}

fn unsigned(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0u64, |sum, digit| {
        let digit = digit.checked_sub(b'0').filter(|d| *d < 10)?;
        sum.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_as_lax_as_strtoull() {
        for (text, number) in [
            ("0", Some(0)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("007", Some(7)),
            (" \t\n\u{b}\u{c}\r7", Some(7)),
            ("+7", Some(7)),
            ("-7", None),
            (" -7", Some(u64::MAX - 6)),
            ("-07", Some(u64::MAX - 6)),
            ("-0", Some(0)),
            ("7\0x", Some(7)),
            ("", None),
            (" ", None),
            ("+", None),
            ("7 ", None),
            ("7x", None),
            ("--7", None),
        ] {
            assert_eq!(cursor(text.as_bytes()), number, "{text:?}");
        }
    }
}
