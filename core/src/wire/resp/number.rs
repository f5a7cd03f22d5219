//! Numbers as RESP writes them.

use core::fmt::Write as _;

use nom::branch::alt;
use nom::bytes::complete::{tag, take_while};
use nom::character::complete::{char, one_of};
use nom::combinator::{all_consuming, opt, recognize};
use nom::{IResult, Parser};

/// Room for every `i64` and its sign.
pub const INTEGER_LEN: usize = 20;

/// The number that `text` writes in canonical decimal: no plus sign, no leading zero, no `-0`, no blank, within `i64`.
///
/// ```
/// use whimbrel_core::wire::resp::number::integer;
/// assert_eq!(integer(b"-12"), Some(-12));
/// assert_eq!(integer(b"012"), None);
/// ```
#[must_use]
pub fn integer(text: &[u8]) -> Option<i64> {
    fn canonical(text: &[u8]) -> IResult<&[u8], &[u8]> {
        let digits = |input| take_while(|b: u8| b.is_ascii_digit()).parse(input);
        let number = (opt(char('-')), one_of("123456789"), digits);
        all_consuming(alt((tag("0"), recognize(number)))).parse(text)
    }
    let (_, text) = canonical(text).ok()?;
    core::str::from_utf8(text).ok()?.parse().ok()
}

/// Writes `n` in decimal into `room`; the text.
#[inline]
pub fn decimal(n: i64, room: &mut [u8; INTEGER_LEN]) -> &[u8] {
    let mut left = n.unsigned_abs();
    let mut at = room.len();
    loop {
        at -= 1;
        room[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    if n < 0 {
        at -= 1;
        room[at] = b'-';
    }
    &room[at..]
}

/// A short text built on the stack.
#[derive(Clone, Copy, Debug)]
pub struct Text {
    bytes: [u8; 40],
    len: usize,
}

impl Text {
    /// What was written.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }
}

impl core::fmt::Write for Text {
    fn write_str(&mut self, s: &str) -> core::fmt::Result {
        self.push(s.as_bytes());
        Ok(())
    }
}

/// Integers up to this magnitude are exact in an `f64` and printed as such.
const EXACT: f64 = (1u64 << 52) as f64;

/// The shortest decimal that reads back as `d`, in Valkey's shape: `inf`, `-inf`, `nan`, integers up to 2^52 plainly,
/// others with an exponent where that is shorter (`1e+20`, `1.5e-9`).
#[must_use]
pub fn double(d: f64) -> Text {
    let mut text = Text { bytes: [0; 40], len: 0 };
    if d.is_nan() {
        text.push(b"nan");
    } else if d.is_infinite() {
        text.push(if d < 0.0 { b"-inf" } else { b"inf" });
    } else if d == 0.0 {
        text.push(if d.is_sign_negative() { b"-0" } else { b"0" });
    } else if d.abs() <= EXACT && (d as i64) as f64 == d {
        text.push(decimal(d as i64, &mut [0; INTEGER_LEN]));
    } else {
        shortest(d, &mut text);
    }
    text
}

fn shortest(d: f64, text: &mut Text) {
    // `d.ddde-x` has the shortest digits; only where to put the point is decided here.
    let mut scientific = Text { bytes: [0; 40], len: 0 };
    let _ = write!(scientific, "{:e}", d.abs());
    let (mut digits, mut count, mut exponent) = ([0; 20], 0, 0i32);
    let mut parts = scientific.as_bytes().split(|&b| b == b'e');
    for &b in parts.next().unwrap_or_default().iter().filter(|b| b.is_ascii_digit()) {
        digits[count] = b;
        count += 1;
    }
    if let Some(n) = parts.next().and_then(integer) {
        exponent = n as i32;
    }
    let digits = &digits[..count];
    if d < 0.0 {
        text.push(b"-");
    }
    // Power of ten of the last digit.
    let last = exponent - (count as i32 - 1);
    if last >= 0 && exponent < count as i32 + 7 {
        text.push(digits);
        (0..last).for_each(|_| text.push(b"0"));
    } else if last < 0 && (last > -7 || exponent.abs() < 4) {
        if exponent < 0 {
            text.push(b"0.");
            (0..-exponent - 1).for_each(|_| text.push(b"0"));
            text.push(digits);
        } else {
            let (whole, part) = digits.split_at(exponent as usize + 1);
            text.push(whole);
            text.push(b".");
            text.push(part);
        }
    } else {
        text.push(&digits[..1]);
        if count > 1 {
            text.push(b".");
            text.push(&digits[1..]);
        }
        text.push(if exponent < 0 { b"e-" } else { b"e+" });
        text.push(decimal(i64::from(exponent.abs()), &mut [0; INTEGER_LEN]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use alloc::string::{String, ToString};

    #[test]
    fn integers_are_canonical() {
        let rows: [(&[u8], Option<i64>); 18] = [
            (b"0", Some(0)),
            (b"7", Some(7)),
            (b"-1", Some(-1)),
            (b"9223372036854775807", Some(i64::MAX)),
            (b"-9223372036854775808", Some(i64::MIN)),
            (b"9223372036854775808", None),
            (b"-9223372036854775809", None),
            (b"99999999999999999999999", None),
            (b"", None),
            (b"-", None),
            (b"-0", None),
            (b"00", None),
            (b"01", None),
            (b"+1", None),
            (b" 1", None),
            (b"1 ", None),
            (b"1.0", None),
            (b"1\0", None),
        ];
        for (text, expected) in rows {
            assert_eq!(integer(text), expected, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn integers_are_written_as_they_are_read() {
        let mut rng = Rng::new(1);
        for i in 0..20_000 {
            let n = match i {
                0 => i64::MIN,
                1 => i64::MAX,
                2 => 0,
                _ => (rng.bits() >> rng.index(64)) as i64,
            };
            let mut room = [0; INTEGER_LEN];
            assert_eq!(decimal(n, &mut room), n.to_string().as_bytes());
            assert_eq!(integer(n.to_string().as_bytes()), Some(n));
        }
    }

    fn text(d: f64) -> String {
        String::from_utf8_lossy(double(d).as_bytes()).into_owned()
    }

    #[test]
    fn doubles_in_the_shape_of_valkey() {
        let rows = [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-3.0, "-3"),
            (0.1, "0.1"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1.5, "1.5"),
            (-123.456, "-123.456"),
            (0.001, "0.001"),
            (0.000_001, "0.000001"),
            (0.000_000_1, "1e-7"),
            (1.5e-9, "1.5e-9"),
            (1.234_567_89e-5, "1.23456789e-5"),
            (3.0e10, "30000000000"),
            (4_503_599_627_370_496.0, "4503599627370496"),
            (1e17, "1e+17"),
            (1e20, "1e+20"),
            (1.2345e30, "1.2345e+30"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
            (5e-324, "5e-324"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ];
        for (d, expected) in rows {
            assert_eq!(text(d), expected);
        }
    }

    #[test]
    fn doubles_read_back_as_what_they_were() {
        for seed in 0..20_000 {
            let d = f64::from_bits(Rng::new(seed).bits());
            let text = text(d);
            assert!(text.len() <= 25, "{text}");
            assert!(
                d.is_nan() || text.parse::<f64>().map(f64::to_bits) == Ok(d.to_bits()),
                "{text} of seed {seed}"
            );
        }
    }
}
