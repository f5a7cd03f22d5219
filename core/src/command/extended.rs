//! The 80-bit floats in which INCRBYFLOAT and HINCRBYFLOAT count: parsed, added and printed in integers, so that
//! every machine gives the digits that Valkey gives on x86.
//!
//! A finite number is `mantissa × 2^exponent` with a mantissa of 64 bits. Parsing and adding round to the nearest,
//! ties to even; printing shows the exact value rounded to 17 decimals.

use alloc::vec::Vec;

/// Numbers are printed with this many decimals before trailing zeros are cut.
const DECIMALS: u32 = 17;
/// Texts of this length and more are no numbers: Valkey's buffer for them ends here.
const TEXT_LIMIT: usize = 5 * 1024;
/// The exponent of the smallest step: below it, mantissas lose bits (subnormal numbers).
const MIN_EXPONENT: i32 = -16445;
/// The exponent of the greatest finite numbers.
const MAX_EXPONENT: i32 = 16383 - 63;
/// Decimal exponents are cut here while they are read; either end is far outside of what a float can hold.
const EXPONENT_CUT: i64 = 1 << 30;

/// A finite float of 80 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Extended {
    negative: bool,
    /// The highest bit is set unless the number is zero or `exponent` is [`MIN_EXPONENT`].
    mantissa: u64,
    exponent: i32,
}

/// What a text says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parsed {
    /// A finite number.
    Finite(Extended),
    /// `inf` or `infinity`, with or without a sign: a number to read, none to count with.
    Infinite,
}

/// Reads a number as C's `strtold` does: decimal or hexadecimal (`0x1.8p3`), with optional sign, point and exponent;
/// nothing may stand before or behind it. What is too great for a float, or too small to be more than zero, is
/// refused, as is `nan`.
#[must_use]
pub fn parse(text: &[u8]) -> Option<Parsed> {
    if text.len() >= TEXT_LIMIT {
        return None;
    }
    let (negative, body) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if body.eq_ignore_ascii_case(b"inf") || body.eq_ignore_ascii_case(b"infinity") {
        return Some(Parsed::Infinite);
    }
    let number = match body {
        [b'0', b'x' | b'X', rest @ ..] => hexadecimal(rest)?,
        _ => decimal(body)?,
    };
    Some(Parsed::Finite(Extended { negative, ..number }))
}

impl Extended {
    /// The sum, or `None` when it is too great.
    #[must_use]
    pub fn plus(self, other: Self) -> Option<Self> {
        let (high, low) = if (self.exponent, self.mantissa) >= (other.exponent, other.mantissa) {
            (self, other)
        } else {
            (other, self)
        };
        if low.mantissa == 0 {
            // -0 + 0 is 0.
            let negative = high.negative && (high.mantissa != 0 || low.negative);
            return Some(Self { negative, ..high });
        }
        if high.mantissa == 0 {
            return Some(low);
        }
        // One bit above the mantissa for the carry, 63 below for what rounding looks at. More than one of those is
        // only lost when the exponents differ so much that the sum cannot lose more than one of its upper bits.
        let a = u128::from(high.mantissa) << 63;
        let b = u128::from(low.mantissa) << 63;
        let distance = (high.exponent - low.exponent) as u32;
        let b = if distance < 128 { b >> distance | u128::from(b & ((1 << distance) - 1) != 0) } else { 1 };
        let (negative, sum) = if high.negative == low.negative {
            (high.negative, a + b)
        } else if a >= b {
            (high.negative && a != b, a - b)
        } else {
            (low.negative, b - a)
        };
        rounded(sum, high.exponent - 63, false).map(|number| Self { negative, ..number })
    }

    /// Prints the number with up to 17 decimals, without exponent and without zeros at the end.
    #[must_use]
    pub fn print(self) -> Vec<u8> {
        let mut digits = if self.exponent >= 0 {
            let mut big = Big::from(self.mantissa);
            big.shift_left(self.exponent as u32);
            big.decimal()
        } else {
            // 64 + 57 bits: the whole fraction, decimals and all, fits.
            let scaled = u128::from(self.mantissa) * 10u128.pow(DECIMALS);
            print_scaled(round_shift(scaled, self.exponent.unsigned_abs()))
        };
        if self.negative && digits != b"0" {
            digits.insert(0, b'-');
        }
        digits
    }
}

impl From<i64> for Extended {
    fn from(number: i64) -> Self {
        let magnitude = number.unsigned_abs();
        if magnitude == 0 {
            return Self::default();
        }
        let shift = magnitude.leading_zeros();
        Self { negative: number < 0, mantissa: magnitude << shift, exponent: -(shift as i32) }
    }
}

/// `value × 2^exponent`, rounded; `None` when it is too great. `sticky` says that more bits follow below those of
/// `value`, which then has at least 66.
fn rounded(value: u128, exponent: i32, sticky: bool) -> Option<Extended> {
    if value == 0 {
        return Some(Extended::default());
    }
    let bits = 128 - value.leading_zeros() as i32;
    let mut target = (exponent + bits - 64).max(MIN_EXPONENT);
    let mut mantissa = if target <= exponent {
        value << (exponent - target)
    } else {
        round_shift(value | u128::from(sticky), (target - exponent).unsigned_abs())
    };
    if mantissa >> 64 != 0 {
        mantissa >>= 1;
        target += 1;
    }
    (target <= MAX_EXPONENT).then_some(Extended {
        negative: false,
        mantissa: mantissa as u64,
        exponent: target,
    })
}

/// `value / 2^shift` to the nearest, ties to even.
fn round_shift(value: u128, shift: u32) -> u128 {
    match shift {
        0 => value,
        1..128 => {
            let (whole, rest, half) = (value >> shift, value & ((1 << shift) - 1), 1 << (shift - 1));
            whole + u128::from(rest > half || (rest == half && whole & 1 == 1))
        }
        _ => u128::from(shift == 128 && value > 1 << 127),
    }
}

/// `scaled / 10^DECIMALS` without zeros at the end.
fn print_scaled(scaled: u128) -> Vec<u8> {
    let unit = 10u128.pow(DECIMALS);
    let mut text = alloc::format!("{}.{:017}", scaled / unit, scaled % unit).into_bytes();
    while text.last() == Some(&b'0') {
        text.pop();
    }
    if text.last() == Some(&b'.') {
        text.pop();
    }
    text
}

/// The digits of a number with or without a point, the places behind it, and what follows them.
fn digits(text: &[u8], radix: u32) -> Option<(Vec<u8>, i64, &[u8])> {
    let mut digits = Vec::new();
    let (mut places, mut point, mut any) = (0, false, false);
    let mut at = 0;
    while at < text.len() {
        match (text[at] as char).to_digit(radix) {
            Some(digit) => {
                any = true;
                places += i64::from(point);
                if digit != 0 || !digits.is_empty() {
                    digits.push(digit as u8);
                }
            }
            None if text[at] == b'.' && !point => point = true,
            None => break,
        }
        at += 1;
    }
    any.then_some((digits, places, &text[at..]))
}

/// The value of an exponent behind its letter, if the whole rest is one.
fn exponent(rest: &[u8], letter: u8) -> Option<i64> {
    let Some((first, rest)) = rest.split_first() else { return Some(0) };
    if !first.eq_ignore_ascii_case(&letter) {
        return None;
    }
    let (negative, digits) = match rest {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        _ => (false, rest),
    };
    if digits.is_empty() {
        return None;
    }
    let value = digits.iter().try_fold(0i64, |sum, digit| {
        let digit = (*digit as char).to_digit(10)?;
        Some((sum * 10 + i64::from(digit)).min(EXPONENT_CUT))
    })?;
    Some(if negative { -value } else { value })
}

fn hexadecimal(text: &[u8]) -> Option<Extended> {
    let (digits, places, rest) = digits(text, 16)?;
    let power = exponent(rest, b'p')? - 4 * places;
    let (kept, lost) = digits.split_at(digits.len().min(30));
    let value = kept.iter().fold(0u128, |sum, &digit| sum << 4 | u128::from(digit));
    let power = power + 4 * lost.len() as i64;
    finite(value, power, lost.iter().any(|&digit| digit != 0))
}

fn decimal(text: &[u8]) -> Option<Extended> {
    let (digits, places, rest) = digits(text, 10)?;
    let power = exponent(rest, b'e')? - places;
    let magnitude = digits.len() as i64 + power;
    if digits.is_empty() {
        return Some(Extended::default());
    }
    if !(-5000..=5000).contains(&magnitude) {
        return None; // far beyond 1.2e4932, or far below 3.6e-4951
    }
    let mut numerator = Big::from_digits(&digits);
    if power >= 0 {
        numerator.times_power_of_ten(power as u32);
        let (value, dropped, sticky) = numerator.leading();
        return finite(value, i64::from(dropped), sticky);
    }
    let mut denominator = Big::from(1);
    denominator.times_power_of_ten(power.unsigned_abs() as u32);
    // Enough bits for a quotient of 66 or 67: the mantissa, and more for the rounding.
    let shift = 66 + denominator.bits() as i32 - numerator.bits() as i32;
    if shift >= 0 {
        numerator.shift_left(shift.unsigned_abs());
    } else {
        denominator.shift_left(shift.unsigned_abs());
    }
    let (value, sticky) = numerator.quotient(&denominator);
    finite(value, i64::from(-shift), sticky)
}

/// A parsed number that was not zero in its text must be neither zero nor infinite as a float.
fn finite(value: u128, power: i64, sticky: bool) -> Option<Extended> {
    if value == 0 {
        return Some(Extended::default());
    }
    let power = i32::try_from(power).ok().filter(|power| power.unsigned_abs() < 1 << 20)?;
    rounded(value, power, sticky).filter(|number| number.mantissa != 0)
}

/// A natural number of any size, least significant word first, no zero words at the end.
#[derive(Clone, Debug)]
struct Big(Vec<u32>);

impl From<u64> for Big {
    fn from(number: u64) -> Self {
        let mut big = Self(alloc::vec![number as u32, (number >> 32) as u32]);
        big.trim();
        big
    }
}

impl Big {
    fn from_digits(digits: &[u8]) -> Self {
        let mut big = Self(Vec::new());
        for chunk in digits.chunks(9) {
            let value = chunk.iter().fold(0, |sum, &digit| sum * 10 + u32::from(digit));
            big.times_plus(10u32.pow(chunk.len() as u32), value);
        }
        big
    }

    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    fn bits(&self) -> u32 {
        self.0.last().map_or(0, |top| self.0.len() as u32 * 32 - top.leading_zeros())
    }

    fn times_plus(&mut self, factor: u32, mut carry: u32) {
        for word in &mut self.0 {
            let product = u64::from(*word) * u64::from(factor) + u64::from(carry);
            (*word, carry) = (product as u32, (product >> 32) as u32);
        }
        if carry != 0 {
            self.0.push(carry);
        }
    }

    fn times_power_of_ten(&mut self, mut power: u32) {
        while power > 0 {
            let step = power.min(9);
            self.times_plus(10u32.pow(step), 0);
            power -= step;
        }
    }

    fn shift_left(&mut self, bits: u32) {
        if self.0.is_empty() {
            return;
        }
        self.times_plus(1 << (bits % 32), 0);
        self.0.splice(0..0, core::iter::repeat_n(0, bits as usize / 32));
    }

    /// Its highest 96 to 128 bits, how many bits are below them, and whether one of those is set.
    fn leading(&self) -> (u128, u32, bool) {
        let (low, high) = self.0.split_at(self.0.len().saturating_sub(4));
        let value = high.iter().rev().fold(0u128, |sum, &word| sum << 32 | u128::from(word));
        (value, low.len() as u32 * 32, low.iter().any(|&word| word != 0))
    }

    /// The quotient, which must fit in 68 bits, and whether there is a remainder. One bit at a time.
    fn quotient(mut self, by: &Self) -> (u128, bool) {
        let mut divisor = by.clone();
        divisor.shift_left(67);
        let mut quotient = 0u128;
        for _ in 0..68 {
            quotient <<= 1;
            if self.at_least(&divisor) {
                self.subtract(&divisor);
                quotient |= 1;
            }
            divisor.halve();
        }
        (quotient, !self.0.is_empty())
    }

    fn at_least(&self, other: &Self) -> bool {
        let order = self.0.len().cmp(&other.0.len());
        order.then_with(|| self.0.iter().rev().cmp(other.0.iter().rev())).is_ge()
    }

    /// Needs `self` to be at least `other`.
    fn subtract(&mut self, other: &Self) {
        let mut borrow = 0;
        for (i, word) in self.0.iter_mut().enumerate() {
            let less = i64::from(other.0.get(i).copied().unwrap_or(0)) + borrow;
            let rest = i64::from(*word) - less;
            (*word, borrow) = (rest as u32, i64::from(rest < 0));
        }
        self.trim();
    }

    fn halve(&mut self) {
        let mut carry = 0;
        for word in self.0.iter_mut().rev() {
            (*word, carry) = (*word >> 1 | carry << 31, *word & 1);
        }
        self.trim();
    }

    fn decimal(mut self) -> Vec<u8> {
        let mut groups = Vec::new();
        while !self.0.is_empty() {
            let mut rest = 0u64;
            for word in self.0.iter_mut().rev() {
                let value = rest << 32 | u64::from(*word);
                (*word, rest) = ((value / 1_000_000_000) as u32, value % 1_000_000_000);
            }
            self.trim();
            groups.push(rest);
        }
        let mut text = alloc::format!("{}", groups.pop().unwrap_or(0));
        for group in groups.iter().rev() {
            text.push_str(&alloc::format!("{group:09}"));
        }
        text.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::String;

    use super::*;
    use crate::rng::Rng;

    fn shown(text: &str) -> Option<String> {
        match parse(text.as_bytes())? {
            Parsed::Finite(number) => Some(String::from_utf8(number.print()).unwrap()),
            Parsed::Infinite => Some("infinite".into()),
        }
    }

    #[test]
    fn what_is_a_number() {
        for (text, number) in [
            ("0", Some("0")),
            ("-0", Some("0")),
            ("+.5", Some("0.5")),
            ("5.", Some("5")),
            ("-1.50", Some("-1.5")),
            ("1e3", Some("1000")),
            ("1E-3", Some("0.001")),
            ("0x1.8P1", Some("3")),
            ("0x.8p1", Some("1")),
            ("INF", Some("infinite")),
            ("-Infinity", Some("infinite")),
            ("0.1", Some("0.1")),
            ("3.0e-18", Some("0")),
            ("-3.0e-18", Some("0")),
            ("0e99999999999", Some("0")),
            ("18446744073709551615", Some("18446744073709551615")),
            ("18446744073709551617", Some("18446744073709551616")),
            ("nan", None),
            ("", None),
            (".", None),
            ("+", None),
            ("1 ", None),
            (" 1", None),
            ("1\0", None),
            ("1e", None),
            ("1e+", None),
            ("0x", None),
            ("0x.", None),
            ("0x1p", None),
            ("infinit", None),
            ("--1", None),
            ("1e5000", None),
            ("1e-5000", None),
            ("1.19e4932", None),
            ("1e-4951", None),
        ] {
            assert_eq!(shown(text).as_deref(), number, "{text:?}");
        }
        let long = "1".repeat(TEXT_LIMIT);
        assert_eq!(shown(&long), None);
        assert!(shown(&long[..4932]).is_some());
    }

    /// Recorded from C on x86-64: two texts and their sum as `%.17Lf` without zeros at the end.
    #[test]
    fn sums_are_those_of_the_x87() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/extended/sums.txt");
        let rows = std::fs::read_to_string(path).unwrap();
        assert_eq!(rows.lines().count(), 1500);
        for row in rows.lines() {
            let fields: Vec<&str> = row.split('\t').collect();
            let [a, b, expected] = fields[..] else { panic!("three fields: {row}") };
            let sum = match (parse(a.as_bytes()), parse(b.as_bytes())) {
                (Some(Parsed::Finite(a)), Some(Parsed::Finite(b))) => {
                    a.plus(b).map_or("too great".into(), |sum| String::from_utf8(sum.print()).unwrap())
                }
                (Some(_), Some(_)) => "too great".into(),
                _ => "no number".into(),
            };
            assert_eq!(sum, expected, "{a} + {b}");
        }
    }

    #[test]
    fn integers_of_64_bits_are_exact() {
        for seed in 0..2000 {
            let number = Rng::new(seed).bits() as i64 >> (seed % 64);
            let text = alloc::format!("{number}");
            assert_eq!(shown(&text).as_deref(), Some(text.as_str()));
            assert_eq!(parse(text.as_bytes()), Some(Parsed::Finite(number.into())), "{text}");
            let opposite = Extended { negative: !Extended::from(number).negative, ..number.into() };
            assert_eq!(Extended::from(number).plus(opposite).unwrap().print(), b"0");
        }
    }
}
