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
}

impl<'a> Argv<'a> {
    /// The command whose arguments are the `spans` of `buf`.
    #[inline]
    #[must_use]
    pub fn new(buf: &'a [u8], spans: &'a [Span]) -> Self {
        Self { buf, spans }
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
        Self { buf: self.buf, spans: self.spans.get(n..).unwrap_or_default() }
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

    /// Bytes of all arguments together.
    #[must_use]
    pub fn bytes(self) -> usize {
        self.spans.iter().map(|s| (s.end - s.start) as usize).sum()
    }
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
