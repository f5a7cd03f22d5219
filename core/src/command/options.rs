//! The options that SET, GETEX and MSETEX share: conditions and expiry.

use super::refused::{NOT_AN_INTEGER, Refused, SYNTAX};
use crate::time::Now;
use crate::wire::resp::Argv;
use crate::wire::resp::number::integer;

/// Whether `arg` is the option `word`, in any case. As in Valkey, an argument ends at its first zero byte here:
/// some clients send one.
#[must_use]
pub fn is(arg: &[u8], word: &[u8]) -> bool {
    let (head, tail) = arg.split_at(arg.len().min(word.len()));
    head.eq_ignore_ascii_case(word) && tail.first().is_none_or(|&b| b == 0)
}

/// The command whose options are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// SET: NX, XX, IFEQ, GET, KEEPTTL and expiry.
    Set,
    /// GETEX: PERSIST and expiry.
    GetEx,
    /// MSETEX: NX, XX, KEEPTTL and expiry.
    MSetEx,
}

impl Command {
    fn name(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::GetEx => "getex",
            Self::MSetEx => "msetex",
        }
    }
}

/// When to write.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Condition<'a> {
    /// Always.
    #[default]
    Always,
    /// NX: only when the key is missing.
    Missing,
    /// XX: only when the key is there.
    Present,
    /// IFEQ: only when the key has this value.
    Equal(&'a [u8]),
}

/// The four ways to give an expiry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Clock {
    /// EX: seconds from now.
    Ex,
    /// PX: milliseconds from now.
    Px,
    /// EXAT: seconds since the Unix epoch.
    ExAt,
    /// PXAT: milliseconds since the Unix epoch.
    PxAt,
}

impl Clock {
    /// The option of this name.
    #[must_use]
    pub fn of(word: &[u8]) -> Option<Self> {
        let words: [(&[u8], Self); 4] =
            [(b"EX", Self::Ex), (b"PX", Self::Px), (b"EXAT", Self::ExAt), (b"PXAT", Self::PxAt)];
        words.into_iter().find(|(name, _)| is(word, name)).map(|(_, clock)| clock)
    }

    /// Whether it is a point in time, which may lie in the past.
    #[must_use]
    pub fn is_absolute(self) -> bool {
        matches!(self, Self::ExAt | Self::PxAt)
    }
}

/// What becomes of the key's expiry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Ttl<'a> {
    /// No option: SET and MSETEX drop it, GETEX leaves it.
    #[default]
    Unsaid,
    /// KEEPTTL.
    Keep,
    /// PERSIST.
    Persist,
    /// A new one.
    New(Clock, &'a [u8]),
}

/// Options as given.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options<'a> {
    /// When to write.
    pub condition: Condition<'a>,
    /// What becomes of the expiry.
    pub ttl: Ttl<'a>,
    /// GET: reply the value from before.
    pub get: bool,
}

impl<'a> Options<'a> {
    /// Reads all arguments of `argv` from index `from` on.
    ///
    /// # Errors
    /// `ERR syntax error` for words that are no options of the command or do not go together. An option may be
    /// repeated, the last one counts; only IFEQ may not.
    pub fn read(command: Command, argv: Argv<'a>, from: usize) -> Result<Self, Refused<'a>> {
        use Condition::{Always, Equal, Missing, Present};
        let mut options = Self::default();
        let mut args = argv.after(from).iter();
        while let Some(word) = args.next() {
            let set = command == Command::Set;
            let writes = command != Command::GetEx;
            let (condition, ttl) = (options.condition, options.ttl);
            if writes && is(word, b"NX") && matches!(condition, Always | Missing) {
                options.condition = Missing;
            } else if writes && is(word, b"XX") && matches!(condition, Always | Present) {
                options.condition = Present;
            } else if set && is(word, b"IFEQ") && condition == Always {
                options.condition = Equal(args.next().ok_or(SYNTAX)?);
            } else if set && is(word, b"GET") {
                options.get = true;
            } else if writes && is(word, b"KEEPTTL") && matches!(ttl, Ttl::Unsaid | Ttl::Keep) {
                options.ttl = Ttl::Keep;
            } else if !writes && is(word, b"PERSIST") && matches!(ttl, Ttl::Unsaid | Ttl::Persist) {
                options.ttl = Ttl::Persist;
            } else if let Some(clock) = Clock::of(word) {
                match ttl {
                    Ttl::Unsaid => {}
                    Ttl::New(before, _) if before == clock => {}
                    _ => return Err(SYNTAX),
                }
                options.ttl = Ttl::New(clock, args.next().ok_or(SYNTAX)?);
            } else {
                return Err(SYNTAX);
            }
        }
        Ok(options)
    }

    /// The new expiry in milliseconds since the Unix epoch, if one was given.
    ///
    /// # Errors
    /// When it is no integer, or none that the command can set.
    pub fn deadline_ms(&self, command: Command, now: Now) -> Result<Option<u64>, Refused<'a>> {
        match self.ttl {
            Ttl::New(clock, text) => deadline_ms(clock, text, now, command.name()).map(Some),
            _ => Ok(None),
        }
    }

    /// Whether the new expiry, if any, was given as a point in time.
    #[must_use]
    pub fn is_absolute(&self) -> bool {
        matches!(self.ttl, Ttl::New(clock, _) if clock.is_absolute())
    }
}

/// The time that `text` gives by `clock`, in milliseconds since the Unix epoch; `name` is the command's.
///
/// # Errors
/// When it is no integer, not above zero, or beyond 64 bits.
pub fn deadline_ms<'a>(clock: Clock, text: &[u8], now: Now, name: &'static str) -> Result<u64, Refused<'a>> {
    let given = integer(text).ok_or(NOT_AN_INTEGER)?;
    let scale = if matches!(clock, Clock::Ex | Clock::ExAt) { 1000 } else { 1 };
    let base = if clock.is_absolute() { 0 } else { now.wall_ms() as i64 };
    let deadline = given.checked_mul(scale).and_then(|ms| ms.checked_add(base));
    match deadline {
        Some(ms) if given > 0 => Ok(ms as u64),
        _ => Err(Refused::ExpireTime(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_end_at_a_zero_byte() {
        assert!(is(b"nx", b"NX") && is(b"NX\0", b"NX") && is(b"Nx\0more", b"NX"));
        assert!(!is(b"n", b"NX") && !is(b"nxx", b"NX") && !is(b"", b"NX") && !is(b"n\0x", b"NX"));
        assert!(is(b"", b"") && is(b"\0", b""));
    }
}
