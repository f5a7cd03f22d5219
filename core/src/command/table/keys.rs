//! Which arguments of a call are keys.

use alloc::vec::Vec;

use super::access::{ACCESS, NOT_KEY, OW, RW, UPDATE, VARIABLE_FLAGS};
use super::{Begin, Command, Find, Id, KeySpec};
use crate::wire::resp::Argv;
use crate::wire::resp::number::integer;

/// The indexes of the arguments that decide where a call is to run: its keys, and what is routed like keys.
///
/// None, if the arguments do not fit: the command itself will find that out and say so.
///
/// ```
/// use whimbrel_core::command::table::{find, keys_of};
/// use whimbrel_core::wire::resp::ArgvBuf;
/// let call = ArgvBuf::of(&[b"MSET", b"a", b"1", b"b", b"2"]);
/// let mset = find(b"mset").expect("a command");
/// assert_eq!(keys_of(mset, call.argv()).collect::<Vec<_>>(), [1, 3]);
/// ```
#[inline]
#[must_use]
pub fn keys_of<'a>(command: &'static Command, argv: Argv<'a>) -> Keys<'a> {
    let mut specs = command.keys;
    if let [_, _, ..] = specs
        && specs.iter().any(|spec| spec.indexes(argv).is_err())
    {
        specs = &[];
    }
    Keys { specs, argv, indexes: Indexes::NONE }
}

/// The keys of a call, see [`keys_of`].
#[derive(Clone, Debug)]
pub struct Keys<'a> {
    specs: &'static [KeySpec],
    argv: Argv<'a>,
    indexes: Indexes,
}

impl Iterator for Keys<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        loop {
            if let Some(index) = self.indexes.next() {
                return Some(index);
            }
            let (first, rest) = self.specs.split_first()?;
            self.specs = rest;
            self.indexes = first.indexes(self.argv).unwrap_or(Indexes::NONE);
        }
    }
}

/// The arguments do not fit what the command says of its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misfit;

/// The keys of a call and what would happen to each (a set of [`access`](super::access)).
///
/// # Errors
/// [`Misfit`], when the arguments cannot be a call of the command.
pub fn accesses(command: &Command, argv: Argv<'_>) -> Result<Vec<(usize, u16)>, Misfit> {
    let mut found = Vec::new();
    for spec in command.keys.iter().filter(|spec| spec.access & NOT_KEY == 0) {
        let access = if spec.access & VARIABLE_FLAGS != 0 { narrowed(command, argv) } else { spec.access };
        found.extend(spec.indexes(argv)?.map(|index| (index, access)));
    }
    Ok(found)
}

impl Command {
    /// Where its key is, if it always has exactly one.
    #[inline]
    #[must_use]
    pub fn sole_key(&self) -> Option<usize> {
        match self.keys {
            [KeySpec { begin: Begin::Index(at), find: Find::Range { last: 0, .. }, .. }] => {
                Some(*at as usize)
            }
            _ => None,
        }
    }

    /// Whether it may have keys at all. What is only routed like a key is none.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        self.keys.iter().any(|spec| spec.access & NOT_KEY == 0)
    }

    /// First, last and step, as old clients find keys: those of the plain ranges that lie side by side; zeros if
    /// there are none.
    #[must_use]
    pub fn range(&self) -> (i32, i32, i32) {
        let mut whole = (0, 0, 0);
        for spec in self.keys {
            let (Begin::Index(at), Find::Range { last, step, .. }) = (spec.begin, spec.find) else {
                continue;
            };
            let last = if last < 0 { last } else { at + last };
            whole = match whole {
                (0, ..) => (at, last, step),
                (first, before, 1) if before + 1 == at && step == 1 => (first, last, 1),
                unchanged => unchanged,
            };
        }
        whole
    }
}

/// What a call really does to its key, of commands for which that depends on the arguments.
fn narrowed(command: &Command, argv: Argv<'_>) -> u16 {
    // Valkey says so of IFEQ too, although that looks at the value.
    let reads = |arg: &[u8]| arg.eq_ignore_ascii_case(b"get");
    match command.id {
        Id::Set if !argv.after(3).iter().any(reads) => OW | UPDATE,
        _ => RW | ACCESS | UPDATE,
    }
}

/// Indexes from `next` to `last`, every `step`.
#[derive(Clone, Copy, Debug)]
struct Indexes {
    next: i64,
    last: i64,
    step: i64,
}

impl Indexes {
    const NONE: Self = Self { next: 1, last: 0, step: 1 };
}

impl Iterator for Indexes {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let index = self.next;
        self.next += self.step;
        (index <= self.last).then_some(index as usize)
    }
}

impl KeySpec {
    /// The keys this rule finds.
    fn indexes(&self, argv: Argv<'_>) -> Result<Indexes, Misfit> {
        let len = argv.len() as i64;
        let first = match self.begin {
            Begin::Index(at) => i64::from(at),
            Begin::Keyword(word, from) => match keyword(argv, word, from) {
                Some(at) => at as i64 + 1,
                None => return Ok(Indexes::NONE),
            },
        };
        let (first, last, step) = match self.find {
            Find::Range { last, step, limit } => {
                let last = match (last, limit) {
                    (0.., _) => first + i64::from(last),
                    (_, 0) => len + i64::from(last),
                    _ => first + (len - first) / i64::from(limit) + i64::from(last),
                };
                (first, last, i64::from(step))
            }
            Find::Counted { count_at, first: ahead, step } => {
                let count =
                    argv.opt((first + i64::from(count_at)) as usize).and_then(integer).ok_or(Misfit)?;
                let (first, step) = (first + i64::from(ahead), i64::from(step));
                (first, first.saturating_add((count - 1).saturating_mul(step)), step)
            }
        };
        if first < len && first <= last && last < len {
            Ok(Indexes { next: first, last, step })
        } else {
            Err(Misfit)
        }
    }
}

/// Where `word` is, looked for from index `from` on, or if that is negative from the end backwards.
fn keyword(argv: Argv<'_>, word: &str, from: i32) -> Option<usize> {
    let is_it = |&at: &usize| argv.get(at).eq_ignore_ascii_case(word.as_bytes());
    let len = argv.len();
    match usize::try_from(from) {
        Ok(from) => (from.max(1)..len).find(is_it),
        Err(_) => (1..(len + 1).saturating_sub(from.unsigned_abs() as usize)).rev().find(is_it),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::table::access::{RM, RO};
    use crate::command::table::{Group, all, find, flags};
    use crate::wire::resp::ArgvBuf;

    const fn with(keys: &'static [KeySpec]) -> Command {
        Command::new(Group::Generic, 0, Id::Container, "test", -1, flags::WRITE, "1.0.0").keys(keys)
    }

    const fn behind(word: &'static str, from: i32, last: i32, limit: i32) -> KeySpec {
        KeySpec {
            begin: Begin::Keyword(word, from),
            find: Find::Range { last, step: 1, limit },
            access: RO,
            note: "",
        }
    }

    static XREAD: Command = with(&[behind("STREAMS", 1, -1, 2)]);
    static MIGRATE: Command = with(&[KeySpec::one(3, RW), behind("KEYS", -2, -1, 0)]);
    static ZUNIONSTORE: Command = with(&[KeySpec::one(1, OW), KeySpec::counted(2, 1, RO)]);
    static BITOP: Command = with(&[KeySpec::one(2, OW), KeySpec::rest(3, 1, RO)]);
    static BLPOP: Command = with(&[KeySpec::range(1, -2, 1, RW)]);
    static SPUBLISH: Command = with(&[KeySpec::one(1, NOT_KEY)]);

    #[test]
    fn every_kind_of_rule() {
        let rows: [(&'static Command, &str, &[usize]); 17] = [
            (&XREAD, "xread count 2 streams a b 0 0", &[4, 5]),
            (&XREAD, "xread STREAMS a 0", &[2]),
            (&XREAD, "xread count 2", &[]),
            (&XREAD, "xread streams", &[]),
            (&MIGRATE, "migrate h p k 0 1000", &[3]),
            (&MIGRATE, "migrate h p k 0 1000 keys a b", &[3, 7, 8]),
            (&MIGRATE, "migrate h p keys 0 1000 keys keys", &[3, 7]),
            (&ZUNIONSTORE, "z dst 2 a b weights", &[1, 3, 4]),
            (&ZUNIONSTORE, "z dst 3 a b", &[]),
            (&ZUNIONSTORE, "z dst x a b", &[]),
            (&ZUNIONSTORE, "z dst -1 a b", &[]),
            (&ZUNIONSTORE, "z dst 0 a", &[]),
            (&BITOP, "bitop and d a b c", &[2, 3, 4, 5]),
            (&BLPOP, "blpop a b 0", &[1, 2]),
            (&BLPOP, "blpop 0", &[]),
            (&SPUBLISH, "spublish c m", &[1]),
            (&SPUBLISH, "spublish", &[]),
        ];
        for (command, call, expected) in rows {
            let call_buf = ArgvBuf::of(&call.split(' ').map(str::as_bytes).collect::<Vec<_>>());
            assert_eq!(keys_of(command, call_buf.argv()).collect::<Vec<_>>(), expected, "{call}");
            let real =
                accesses(command, call_buf.argv()).map(|keys| keys.iter().map(|k| k.0).collect::<Vec<_>>());
            if !core::ptr::eq(command, &raw const SPUBLISH) && !expected.is_empty() {
                assert_eq!(real.as_deref(), Ok(expected), "{call}");
            }
        }
    }

    #[test]
    fn what_is_only_routed_like_a_key_is_none() {
        let call = ArgvBuf::of(&[b"spublish", b"c", b"m"]);
        assert_eq!((SPUBLISH.has_keys(), accesses(&SPUBLISH, call.argv())), (false, Ok(Vec::new())));
        assert_eq!(BITOP.range(), (2, -1, 1));
        assert_eq!((XREAD.range(), ZUNIONSTORE.range(), MIGRATE.range()), ((0, 0, 0), (1, 1, 1), (3, 3, 1)));
    }

    #[test]
    fn keys_of_the_table() {
        let del = find(b"del").expect("a command");
        assert_eq!(del.keys[0].access & RM, RM);
        // Whatever the arguments, an index is one of them, and nothing loops.
        for command in all().flat_map(|c| core::iter::once(c).chain(c.subcommands)) {
            for len in 1..9 {
                for word in [&b"1"[..], b"2", b"9999999999", b"-1", b"x"] {
                    let call = ArgvBuf::of(&alloc::vec![word; len]);
                    assert!(
                        keys_of(command, call.argv()).all(|i| i > 0 && i < len),
                        "{} {len}",
                        command.name
                    );
                }
            }
        }
    }
}
