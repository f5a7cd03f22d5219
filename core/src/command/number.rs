//! Numbers as commands accept and print them: strict on the way in, canonical on the way out.

/// Longest decimal form of a 64-bit integer: `-9223372036854775808`.
pub const DECIMAL_LEN: usize = 20;

/// Reads a signed 64-bit integer in canonical decimal form: no sign but `-`, no leading zeros, no spaces, no `-0`.
///
/// A string that this accepts is the one that [`decimal`] prints, so such strings may be kept as integers.
///
/// ```
/// use whimbrel_core::command::number::int;
/// assert_eq!(int(b"-12"), Some(-12));
/// assert_eq!(int(b"012"), None);
/// ```
#[must_use]
pub fn int(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let magnitude = match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() < DECIMAL_LEN => unsigned(digits)?,
        _ => return None,
    };
    if negative { 0i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}

/// Reads a SCAN cursor: what [`int`] accepts from 0 on, and beyond that what C's `strtoull` makes of it. So leading
/// white space, a sign after it, and leading zeros are fine, and everything up to 2^64 - 1.
#[must_use]
pub fn cursor(text: &[u8]) -> Option<u64> {
    // C strings end at their first zero byte.
    let text = text.split(|&b| b == 0).next()?;
    if let Some(number) = int(text) {
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

/// Prints `number` in decimal at the end of `buffer` and returns that part of it.
#[must_use]
pub fn decimal(number: i64, buffer: &mut [u8; DECIMAL_LEN]) -> &[u8] {
    let mut rest = number.unsigned_abs();
    let mut at = DECIMAL_LEN;
    loop {
        at -= 1;
        buffer[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        at -= 1;
        buffer[at] = b'-';
    }
    &buffer[at..]
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;
    use crate::rng::Rng;

    #[test]
    fn only_canonical_integers_are_integers() {
        for (text, number) in [
            ("0", Some(0)),
            ("7", Some(7)),
            ("-7", Some(-7)),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("-9223372036854775808", Some(i64::MIN)),
            ("-9223372036854775809", None),
            ("18446744073709551616", None),
            ("99999999999999999999", None),
            ("-99999999999999999999", None),
            ("", None),
            ("-", None),
            ("-0", None),
            ("00", None),
            ("01", None),
            ("+1", None),
            (" 1", None),
            ("1 ", None),
            ("1.0", None),
            ("1e3", None),
            ("0x10", None),
            ("1:", None),
            ("1/", None),
            ("1\0", None),
        ] {
            assert_eq!(int(text.as_bytes()), number, "{text:?}");
        }
    }

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

    #[test]
    fn decimals_print_as_the_standard_library_does_and_read_back() {
        let mut rng = Rng::new(3);
        let edges = [0, 1, -1, 9, 10, -10, i64::MAX, i64::MIN, i64::MIN + 1];
        let random = (0..2000).map(|_| (rng.bits() as i64) >> rng.below(64)).collect::<alloc::vec::Vec<_>>();
        for number in edges.into_iter().chain(random) {
            let mut buffer = [0; DECIMAL_LEN];
            let text = decimal(number, &mut buffer);
            assert_eq!(text, number.to_string().as_bytes());
            assert_eq!(int(text), Some(number));
        }
    }
}
