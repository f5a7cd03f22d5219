//! The arguments of one command.

use alloc::vec::Vec;
use core::fmt;
use core::ops::Index;

/// Where one argument lies in the bytes of its command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Index of the first byte.
    pub start: u32,
    /// Index behind the last byte.
    pub end: u32,
}

/// One command: its name and arguments, lent from wherever their bytes arrived.
///
/// ```
/// use whimbrel_core::wire::resp::ArgvBuf;
/// let owned = ArgvBuf::of(&[b"SET", b"key", b"value"]);
/// let argv = owned.argv();
/// assert_eq!((argv.len(), argv.name(), argv.get(1)), (3, &b"SET"[..], &b"key"[..]));
/// ```
#[derive(Clone, Copy)]
pub struct Argv<'a> {
    buf: &'a [u8],
    spans: &'a [Span],
    /// Around the arguments lies the command as everybody writes it.
    plain: bool,
}

impl<'a> Argv<'a> {
    /// The command whose arguments are the `spans` of `buf`.
    #[inline]
    #[must_use]
    pub fn new(buf: &'a [u8], spans: &'a [Span]) -> Self {
        Self { buf, spans, plain: false }
    }

    /// The same, where the arguments were found in an array of strings, whole and without leading zeros, that still lies
    /// around them.
    #[inline]
    pub(crate) fn plain(buf: &'a [u8], spans: &'a [Span]) -> Self {
        Self { buf, spans, plain: true }
    }

    /// How many arguments, the name included.
    #[inline]
    #[must_use]
    pub fn len(self) -> usize {
        self.spans.len()
    }

    /// Whether there is no argument; a [`Reader`](super::Reader) never hands out such a command.
    #[inline]
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.spans.is_empty()
    }

    /// Argument `i`; the name is argument 0.
    ///
    /// # Panics
    /// When there are not that many.
    #[inline]
    #[must_use]
    pub fn get(self, i: usize) -> &'a [u8] {
        let Span { start, end } = self.spans[i];
        &self.buf[start as usize..end as usize]
    }

    /// Argument `i`, if there is one.
    #[inline]
    #[must_use]
    pub fn opt(self, i: usize) -> Option<&'a [u8]> {
        (i < self.spans.len()).then(|| self.get(i))
    }

    /// The first argument, which is the command's name.
    #[inline]
    #[must_use]
    pub fn first(self) -> Option<&'a [u8]> {
        self.opt(0)
    }

    /// The command's name as it was sent; empty if there is no argument at all.
    #[inline]
    #[must_use]
    pub fn name(self) -> &'a [u8] {
        self.first().unwrap_or_default()
    }

    /// The arguments in order, from the name on.
    #[inline]
    pub fn iter(self) -> impl ExactSizeIterator<Item = &'a [u8]> + DoubleEndedIterator + Clone {
        let buf = self.buf;
        self.spans.iter().map(move |s| &buf[s.start as usize..s.end as usize])
    }

    /// The arguments from index `n` on, as a command of their own (nothing when there are not that many).
    #[inline]
    #[must_use]
    pub fn after(self, n: usize) -> Self {
        Self::new(self.buf, self.spans.get(n..).unwrap_or_default())
    }

    /// Where the last argument ends in the bytes of the command: at least as many as all arguments have together.
    #[inline]
    #[must_use]
    pub fn extent(self) -> usize {
        self.spans.last().map_or(0, |span| span.end as usize)
    }

    /// Bytes that the command takes on the wire as an array of strings.
    #[must_use]
    pub fn wire_len(self) -> usize {
        let line = |n: usize| 3 + n.max(1).ilog10() as usize + 1;
        line(self.len()) + self.iter().map(|arg| line(arg.len()) + arg.len() + 2).sum::<usize>()
    }

    /// The command as an array of strings on the wire, if it came as one and its bytes still lie there: to be copied in
    /// one piece instead of being written anew.
    ///
    /// What lies between two arguments is the line of the second one's length if it has a line feed: whoever found the
    /// arguments has read that number, and here it only has to have no more digits than it needs.
    #[inline]
    #[must_use]
    pub fn wire(self) -> Option<&'a [u8]> {
        match (self.plain, self.spans) {
            (true, [first, ..]) => {
                let before = line_len(first.end - first.start) + line_len(self.spans.len() as u32);
                let wire = &self.buf[first.start as usize - before..self.extent() + 2];
                debug_assert_eq!(self.found_wire(), Some(wire), "a command that is not plain");
                Some(wire)
            }
            _ => self.found_wire(),
        }
    }

    /// The same, where it is not known how it came.
    #[inline(never)]
    fn found_wire(self) -> Option<&'a [u8]> {
        let (first, others) = self.spans.split_first()?;
        let mut at = first.end as usize;
        for span in others {
            let (start, end) = (span.start as usize, span.end as usize);
            let line = line_len(span.end - span.start);
            if start.wrapping_sub(at) != 2 + line || *self.buf.get(at..at + 3)? != *b"\r\n$" {
                return None;
            }
            at = end;
        }
        let end = at + 2;
        if *self.buf.get(at..end)? != *b"\r\n" {
            return None;
        }
        let start = front_before(self.buf, first.start as usize, self.len(), first.end - first.start)?;
        Some(&self.buf[start..end])
    }

    /// Bytes of all arguments together.
    #[must_use]
    pub fn bytes(self) -> usize {
        self.spans.iter().map(|s| (s.end - s.start) as usize).sum()
    }
}

/// What the line of a number takes: a marker, its digits, a line end.
#[inline]
fn line_len(n: u32) -> usize {
    match n {
        0..10 => 4,
        n => n.ilog10() as usize + 4,
    }
}

/// Where an array of `count` strings begins whose first one has `len` bytes and begins at `start`; nothing if something
/// else stands before that.
#[inline]
fn front_before(buf: &[u8], start: usize, count: usize, len: u32) -> Option<usize> {
    const LINES: u64 = u64::from_le_bytes(*b"*0\r\n$0\r\n");
    if count < 10
        && len < 10
        && let Some(front) = start.checked_sub(8)
    {
        let lines = u64::from_le_bytes(buf.get(front..start)?.try_into().ok()?);
        return (lines == LINES + ((count as u64) << 8) + (u64::from(len) << 40)).then_some(front);
    }
    let before = header_before(buf, start, b'$', len as usize)?;
    header_before(buf, before, b'*', count)
}

/// Where the line of `kind` and `n` begins that ends at index `end`; nothing if something else is there.
fn header_before(buf: &[u8], end: usize, kind: u8, n: usize) -> Option<usize> {
    let line = buf.get(..end)?.strip_suffix(b"\r\n")?;
    let (mut at, mut left) = (line.len(), n);
    loop {
        at = at.checked_sub(1)?;
        if line[at] != b'0' + (left % 10) as u8 {
            return None;
        }
        left /= 10;
        if left == 0 {
            break;
        }
    }
    at = at.checked_sub(1)?;
    (line[at] == kind).then_some(at)
}

impl Index<usize> for Argv<'_> {
    type Output = [u8];

    #[inline]
    fn index(&self, i: usize) -> &[u8] {
        self.get(i)
    }
}

impl fmt::Debug for Argv<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|arg| arg.escape_ascii())).finish()
    }
}

/// A command that owns its bytes: queued in a transaction, forwarded, or made by the node itself.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ArgvBuf {
    buf: Vec<u8>,
    spans: Vec<Span>,
}

impl ArgvBuf {
    /// A command of these arguments.
    #[must_use]
    pub fn of(args: &[&[u8]]) -> Self {
        let mut owned = Self {
            buf: Vec::with_capacity(args.iter().map(|a| a.len()).sum()),
            spans: Vec::with_capacity(args.len()),
        };
        args.iter().for_each(|arg| owned.push(arg));
        owned
    }

    /// Appends one argument.
    pub fn push(&mut self, arg: &[u8]) {
        let start = self.buf.len() as u32;
        self.buf.extend_from_slice(arg);
        self.spans.push(Span { start, end: self.buf.len() as u32 });
    }

    /// Removes all arguments and keeps the memory.
    pub fn clear(&mut self) {
        self.buf.clear();
        self.spans.clear();
    }

    /// The command, lent.
    #[must_use]
    pub fn argv(&self) -> Argv<'_> {
        Argv::new(&self.buf, &self.spans)
    }

    /// Bytes of memory asked for.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.buf.capacity() + self.spans.capacity() * size_of::<Span>()
    }
}

impl From<Argv<'_>> for ArgvBuf {
    fn from(argv: Argv<'_>) -> Self {
        let mut owned = Self { buf: Vec::with_capacity(argv.bytes()), spans: Vec::with_capacity(argv.len()) };
        argv.iter().for_each(|arg| owned.push(arg));
        owned
    }
}

impl fmt::Debug for ArgvBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.argv().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::wire::resp::{Limits, Reader, encode_command};

    /// What is lent of `input` when it comes in pieces of so many bytes, and the words of it.
    fn lent(input: &[u8], piece: usize) -> (Option<Vec<u8>>, ArgvBuf) {
        let mut reader = Reader::default();
        let last = input.chunks(piece).find_map(|mut piece| {
            let argv = reader.next(&Limits::default(), &mut piece).unwrap()?;
            Some((argv.wire().map(<[u8]>::to_vec), ArgvBuf::from(argv)))
        });
        last.unwrap()
    }

    #[test]
    fn a_command_that_came_as_an_array_is_lent_as_it_is_on_the_wire() {
        for seed in 0..500 {
            let mut rng = Rng::new(seed);
            let words: Vec<Vec<u8>> = (0..=rng.index(12))
                .map(|_| {
                    let len = if rng.one_in(5) { rng.index(2000) } else { rng.index(12) };
                    (0..len).map(|_| b"*$\r\n0123x"[rng.index(9)]).collect()
                })
                .collect();
            let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
            let mut wire = Vec::new();
            encode_command(&mut wire, &words);
            for piece in [1, 1 + rng.index(wire.len()), wire.len()] {
                assert_eq!(lent(&wire, piece).0.as_deref(), Some(&wire[..]), "seed {seed}");
            }
            let behind = [b"*1\r\n$4\r\nPING\r\n", &wire[..]].concat();
            let (mut reader, mut input) = (Reader::default(), &behind[..]);
            reader.next(&Limits::default(), &mut input).unwrap();
            let argv = reader.next(&Limits::default(), &mut input).unwrap().unwrap();
            assert_eq!(argv.wire(), Some(&wire[..]), "seed {seed}");
            for n in 1..=argv.len() {
                let mut rest = Vec::new();
                encode_command(&mut rest, &words[n..]);
                assert!(argv.after(n).wire().is_none_or(|wire| wire == rest), "seed {seed}, from word {n}");
            }
        }
    }

    #[test]
    fn of_other_commands_there_is_no_wire_to_lend() {
        for line in [&b"GET x\r\n"[..], b"GET\r\n", b"\"*1\\r\\n$3\\r\\nGET\\r\\n\"\r\n", b"SET \"*\" ''\r\n"]
        {
            let (wire, words) = lent(line, line.len());
            assert_eq!(wire, None, "{words:?}");
            assert_eq!(words.argv().wire(), None, "{words:?}");
        }
        assert_eq!(ArgvBuf::default().argv().wire(), None);
        assert_eq!(ArgvBuf::of(&[b"*1\r\n$1\r\nx\r\n"]).argv().after(0).wire(), None);
    }
}
