//! Commands out of a link's bytes.

use alloc::vec::Vec;

use smallvec::SmallVec;

use super::argv::{Argv, Span};
use super::limits::{Limits, Wrong};
use super::parse::{BIG, Parse};

/// How much of a large argument is asked for at a time: what an announced length makes us allocate before it is true.
const STEP: usize = 256 * 1024;
/// The least memory made beyond what arrived of an unfinished command.
const AHEAD: usize = 512;

/// Takes the commands of one link out of its bytes.
///
/// A command that lies whole in the input is lent from there. An unfinished one is moved to the reader's own tail and
/// completed there, however small the pieces, without reading anything twice. The reader owns no memory while nothing
/// is unfinished or kept.
///
/// ```
/// use whimbrel_core::wire::resp::{Limits, Reader};
/// let (mut reader, limits) = (Reader::default(), Limits::default());
/// let mut input = &b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\nPING\r\n*1\r\n$4\r\nQU"[..];
/// let get = reader.next(&limits, &mut input)?.expect("a whole command");
/// assert_eq!(get.iter().collect::<Vec<_>>(), [&b"GET"[..], b"k"]);
/// assert_eq!(reader.next(&limits, &mut input)?.map(|c| c.name()), Some(&b"PING"[..]));
/// assert!(reader.next(&limits, &mut input)?.is_none());
/// let mut input = &b"IT\r\n"[..];
/// assert_eq!(reader.next(&limits, &mut input)?.map(|c| c.name()), Some(&b"QUIT"[..]));
/// # Ok::<(), whimbrel_core::wire::resp::Wrong>(())
/// ```
#[derive(Debug, Default)]
pub struct Reader {
    parse: Parse,
    tail: Tail,
    /// The words of the last inline command, unquoted.
    words: Vec<u8>,
    inline: bool,
    wrong: Option<Wrong>,
}

/// Where a complete command lies.
enum Place<'a> {
    Tail { start: usize, end: usize },
    Input(&'a [u8]),
    Words,
}

impl Reader {
    /// The next complete command of what was kept and then of `input`, which is advanced behind it.
    ///
    /// `None`: everything is used and more is awaited. Commands without arguments are skipped.
    ///
    /// # Errors
    /// What the client did wrong; the link is lost, every later call fails in the same way.
    #[inline]
    pub fn next<'a, 'i: 'a>(
        &'a mut self,
        limits: &Limits,
        input: &mut &'i [u8],
    ) -> Result<Option<Argv<'a>>, Wrong> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        let place = match self.find(limits, input) {
            Ok(Some(place)) => place,
            Ok(None) => return Ok(None),
            Err(wrong) => {
                *self = Self { wrong: Some(wrong), ..Self::default() };
                return Err(wrong);
            }
        };
        let argv = match place {
            Place::Tail { start, end } => Argv::new(&self.tail.bytes[start..end], &self.parse.spans),
            Place::Input(bytes) => Argv::new(bytes, &self.parse.spans),
            Place::Words => Argv::new(&self.words, &self.parse.spans),
        };
        if is_cross_protocol(argv.name()) {
            self.wrong = Some(Wrong::CrossProtocol);
            return Err(Wrong::CrossProtocol);
        }
        Ok(Some(argv))
    }

    fn find<'a>(&mut self, limits: &Limits, input: &mut &'a [u8]) -> Result<Option<Place<'a>>, Wrong> {
        while !self.tail.is_empty() {
            let start = self.tail.start;
            let Some(found) = self.parse.advance(self.tail.unread(), limits, &mut self.words)? else {
                if !self.complete_from(input) {
                    return self.check_size(limits).map(|()| None);
                }
                continue;
            };
            self.tail.start += found.used;
            self.inline = found.inline;
            if !self.parse.spans.is_empty() {
                let place =
                    if found.inline { Place::Words } else { Place::Tail { start, end: start + found.used } };
                return Ok(Some(place));
            }
        }
        self.tail.release();
        while !input.is_empty() {
            let whole = *input;
            let Some(found) = self.parse.advance(whole, limits, &mut self.words)? else {
                *input = &[];
                self.tail.append(whole, self.parse.missing(whole.len()));
                return self.check_size(limits).map(|()| None);
            };
            *input = &whole[found.used..];
            self.inline = found.inline;
            if !self.parse.spans.is_empty() {
                return Ok(Some(if found.inline { Place::Words } else { Place::Input(whole) }));
            }
        }
        self.release();
        Ok(None)
    }

    /// Moves what surely belongs to the unfinished command from `input` to the tail; whether there was something.
    fn complete_from(&mut self, input: &mut &[u8]) -> bool {
        let have = self.tail.unread().len();
        let n = self.parse.wants(have, input);
        let (taken, rest) = input.split_at(n);
        *input = rest;
        self.tail.append(taken, self.parse.missing(have).saturating_sub(n));
        n > 0
    }

    fn check_size(&self, limits: &Limits) -> Result<(), Wrong> {
        match self.parse.small(self.pending()) > limits.max_query {
            true => Err(Wrong::QueryBufferLimit),
            false => Ok(()),
        }
    }

    /// Whether nothing is unfinished or kept: the next command begins where the next input does.
    #[inline]
    #[must_use]
    pub fn is_clear(&self) -> bool {
        self.tail.is_empty() && self.wrong.is_none()
    }

    /// Bytes that were taken from the link and are no command yet.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.tail.unread().len()
    }

    /// Bytes of memory asked for.
    #[must_use]
    pub fn memory(&self) -> usize {
        let spans =
            if self.parse.spans.spilled() { self.parse.spans.capacity() * size_of::<Span>() } else { 0 };
        self.tail.bytes.capacity() + self.words.capacity() + spans
    }

    /// While a large argument is incomplete: its own memory, to read from the socket into. What was read is told with
    /// [`inbox_filled`](Self::inbox_filled), and [`next`](Self::next) is then called with no input.
    pub fn inbox(&mut self) -> Option<&mut [u8]> {
        if !self.has_inbox() {
            return None;
        }
        let missing = self.parse.missing(self.pending());
        Some(self.tail.room(missing.min(STEP), missing))
    }

    /// Whether there is an [`inbox`](Self::inbox) now.
    #[must_use]
    pub fn has_inbox(&self) -> bool {
        !self.tail.is_empty() && self.parse.missing(self.pending()) >= BIG && self.wrong.is_none()
    }

    /// The first `n` bytes of [`inbox`](Self::inbox) are now what followed on the link.
    ///
    /// # Panics
    /// When the inbox was shorter: a bug of the driver.
    pub fn inbox_filled(&mut self, n: usize) {
        assert!(self.tail.filled + n <= self.tail.bytes.len(), "an inbox filled beyond its end");
        self.tail.filled += n;
    }

    /// Keeps input that the session cannot look at now; [`next`](Self::next) goes on with it before any new input.
    pub fn keep(&mut self, rest: &[u8]) {
        if self.wrong.is_none() {
            self.tail.append(rest, 0);
        }
    }

    /// Takes out what was kept and not looked at, for whoever can look at it as a whole. `None` in the middle of a command,
    /// and when there is nothing.
    pub fn take_unread(&mut self) -> Option<Vec<u8>> {
        if self.tail.is_empty() || !self.parse.is_at_start() || self.wrong.is_some() {
            return None;
        }
        let Tail { mut bytes, start, filled, .. } = core::mem::take(&mut self.tail);
        bytes.truncate(filled);
        bytes.drain(..start);
        Some(bytes)
    }

    /// Whether the last command came as a line of words instead of an array.
    #[must_use]
    pub fn last_was_inline(&self) -> bool {
        self.inline
    }

    fn release(&mut self) {
        self.words = Vec::new();
        if self.parse.spans.spilled() {
            self.parse.spans = SmallVec::new();
        }
    }
}

fn is_cross_protocol(name: &[u8]) -> bool {
    match name.len() {
        4 => name.eq_ignore_ascii_case(b"post"),
        5 => name.eq_ignore_ascii_case(b"host:"),
        _ => false,
    }
}

/// Bytes of which the first `start` are used and those from `filled` on are room.
#[derive(Debug, Default)]
struct Tail {
    bytes: Vec<u8>,
    start: usize,
    filled: usize,
    /// Bytes moved within memory, to prove that it is not often.
    #[cfg(test)]
    moved: u64,
}

impl Tail {
    fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.filled]
    }

    fn is_empty(&self) -> bool {
        self.start == self.filled
    }

    /// Gives back the memory, all of it being used.
    fn release(&mut self) {
        self.bytes = Vec::new();
        self.start = 0;
        self.filled = 0;
    }

    /// Appends `more`, which surely is followed by `expected` bytes.
    fn append(&mut self, more: &[u8], expected: usize) {
        if more.is_empty() {
            return;
        }
        self.bytes.truncate(self.filled);
        self.grow(more.len(), self.filled + more.len(), expected);
        self.bytes.extend_from_slice(more);
        self.filled = self.bytes.len();
    }

    /// Room for `n` bytes behind the filled ones, of `expected` that will follow.
    fn room(&mut self, n: usize, expected: usize) -> &mut [u8] {
        if self.bytes.len() < self.filled + n {
            let more = self.filled + n - self.bytes.len();
            // What was only announced is not doubled.
            self.grow(more, self.filled, expected - n);
            self.bytes.resize(self.filled + n, 0);
        }
        &mut self.bytes[self.filled..self.filled + n]
    }

    /// Makes capacity for `more` bytes, and as much again as `arrived`, but not more than what is known to come.
    fn grow(&mut self, more: usize, arrived: usize, expected: usize) {
        if self.start > self.filled - self.start {
            // Less is moved than was used, so this costs nothing on average.
            self.count_moved();
            self.bytes.drain(..self.start);
            self.filled -= self.start;
            self.start = 0;
        }
        let needed = self.bytes.len() + more;
        if needed > self.bytes.capacity() {
            self.count_moved();
            let ahead = arrived.max(AHEAD);
            self.bytes.reserve_exact(more + if expected == 0 { ahead } else { ahead.min(expected) });
        }
    }

    /// The unread bytes are moved; counted in tests only.
    fn count_moved(&mut self) {
        #[cfg(test)]
        {
            self.moved += (self.filled - self.start) as u64;
        }
    }
}

#[cfg(test)]
mod tests;
