//! The resumable grammar of commands: what is read is never read again.

use alloc::vec::Vec;

use nom::Parser;
use nom::bytes::streaming::take_till;
use nom::character::streaming::crlf;
use nom::sequence::terminated;
use smallvec::SmallVec;

use super::argv::Span;
use super::inline;
use super::limits::{Limits, Wrong};
use super::number;

/// Arguments at least this long do not count against the query buffer (Valkey's PROTO_MBULK_BIG_ARG).
pub(super) const BIG: usize = 32 * 1024;
/// Fewer digits than this cannot overflow, so the fast path adds them up unchecked.
const PLAIN_DIGITS: usize = 10;

/// What of a command is awaited; positions are bytes from the command's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Its first byte.
    Start,
    /// The newline of an inline command; none before `scanned`.
    Inline { scanned: usize },
    /// The end of a line with a number; no CR before `scanned`.
    Header { header: Header, scanned: usize },
    /// An argument of `len` bytes and the CRLF behind it.
    Payload { len: usize },
}

/// The two lines that hold a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Header {
    /// `*count`
    Count,
    /// `$length`
    Length,
}

impl Header {
    fn marker(self) -> u8 {
        match self {
            Self::Count => b'*',
            Self::Length => b'$',
        }
    }

    fn too_big(self) -> Wrong {
        match self {
            Self::Count => Wrong::TooBigMbulkCount,
            Self::Length => Wrong::TooBigBulkCount,
        }
    }

    fn malformed(self) -> Wrong {
        match self {
            Self::Count => Wrong::MultibulkLength,
            Self::Length => Wrong::BulkLength,
        }
    }
}

/// A command was complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Bytes from the command's start to its end.
    pub(super) used: usize,
    /// It was an inline command: its spans point into the decoded words.
    pub(super) inline: bool,
}

/// A command on its way in.
#[derive(Debug)]
pub(super) struct Parse {
    state: State,
    /// Where the line or payload that is awaited begins.
    at: usize,
    /// Arguments that are not complete.
    left: usize,
    /// Bytes of arguments that are at least [`BIG`].
    big: usize,
    /// The arguments that are complete.
    pub(super) spans: SmallVec<[Span; 8]>,
    /// Bytes looked at, to prove that none is looked at often.
    #[cfg(test)]
    pub(super) inspected: u64,
}

impl Default for Parse {
    fn default() -> Self {
        Self {
            state: State::Start,
            at: 0,
            left: 0,
            big: 0,
            spans: SmallVec::new(),
            #[cfg(test)]
            inspected: 0,
        }
    }
}

impl Parse {
    /// Whether the next byte is the first of a command.
    pub(super) fn is_at_start(&self) -> bool {
        self.state == State::Start
    }

    /// Goes on with the command whose bytes so far are `buf`, the ones of the last call included.
    ///
    /// `None`: all of `buf` belongs to the command and more is awaited. A found command without arguments is to be
    /// skipped. The words of an inline command are decoded into `words`.
    pub(super) fn advance(
        &mut self,
        buf: &[u8],
        limits: &Limits,
        words: &mut Vec<u8>,
    ) -> Result<Option<Found>, Wrong> {
        loop {
            match self.state {
                State::Start => {
                    let Some(&first) = buf.first() else { return Ok(None) };
                    self.spans.clear();
                    self.at = 0;
                    self.big = 0;
                    self.state = match first {
                        b'*' => State::Header { header: Header::Count, scanned: 0 },
                        _ if limits.arrays_only => return Err(Wrong::Inline),
                        _ => State::Inline { scanned: 0 },
                    };
                }
                State::Inline { scanned } => return self.inline(buf, scanned, limits, words),
                State::Header { header, scanned } => {
                    let Some(n) = self.header(buf, header, scanned, limits)? else { return Ok(None) };
                    match header {
                        Header::Count => {
                            self.left = limits.count(n)?;
                            if self.left == 0 {
                                return Ok(Some(self.found(false)));
                            }
                            self.await_length();
                        }
                        Header::Length => self.await_payload(limits.bulk(n)?)?,
                    }
                }
                State::Payload { len } => {
                    let end = self.at + len;
                    let Some(behind) = buf.get(end..end + 2) else { return Ok(None) };
                    if behind != b"\r\n" {
                        return Err(Wrong::Crlf);
                    }
                    self.inspect(2);
                    self.spans.push(Span { start: self.at as u32, end: end as u32 });
                    self.at = end + 2;
                    self.left -= 1;
                    if self.left == 0 {
                        return Ok(Some(self.found(false)));
                    }
                    self.await_length();
                }
            }
        }
    }

    #[inline]
    fn await_length(&mut self) {
        self.state = State::Header { header: Header::Length, scanned: self.at };
    }

    fn await_payload(&mut self, len: usize) -> Result<(), Wrong> {
        if self.at + len + 2 > u32::MAX as usize {
            return Err(Wrong::QueryBufferLimit);
        }
        if len >= BIG {
            self.big += len;
        }
        self.state = State::Payload { len };
        Ok(())
    }

    /// How many bytes of `input` belong to this command for sure, of whose bytes `have` are there.
    pub(super) fn wants(&mut self, have: usize, input: &[u8]) -> usize {
        match self.state {
            State::Payload { .. } => self.missing(have).min(input.len()),
            State::Start => 0,
            State::Inline { .. } | State::Header { .. } => {
                let line = input.iter().position(|&b| b == b'\n').map_or(input.len(), |at| at + 1);
                self.inspect(line);
                line
            }
        }
    }

    /// Bytes that the awaited argument and its CRLF lack when `have` bytes of the command are there; 0 while a line
    /// is awaited.
    pub(super) fn missing(&self, have: usize) -> usize {
        match self.state {
            State::Payload { len } => (self.at + len + 2).saturating_sub(have),
            _ => 0,
        }
    }

    /// How many of the `have` bytes count against the query buffer limit.
    pub(super) fn small(&self, have: usize) -> usize {
        have.saturating_sub(self.big)
    }

    fn inline(
        &mut self,
        buf: &[u8],
        scanned: usize,
        limits: &Limits,
        words: &mut Vec<u8>,
    ) -> Result<Option<Found>, Wrong> {
        let window = &buf[..buf.len().min(limits.inline + 1)];
        let Some(found) = window[scanned..].iter().position(|&b| b == b'\n') else {
            self.inspect(window.len() - scanned);
            if buf.len() > limits.inline {
                return Err(Wrong::TooBigInline);
            }
            self.state = State::Inline { scanned: buf.len() };
            return Ok(None);
        };
        let end = scanned + found;
        self.inspect(found + 1 + end);
        inline::split(&buf[..end], words, &mut self.spans)?;
        self.at = end + 1;
        Ok(Some(self.found(true)))
    }

    /// The number of the awaited line, which then lies behind us; `None` while its end is not there.
    fn header(
        &mut self,
        buf: &[u8],
        header: Header,
        scanned: usize,
        limits: &Limits,
    ) -> Result<Option<i64>, Wrong> {
        if scanned == self.at
            && let Some((n, used)) = plain(&buf[self.at..], header.marker())
        {
            self.inspect(used);
            self.at += used;
            return Ok(Some(n));
        }
        let window = &buf[scanned..buf.len().min(self.at + limits.inline + 2)];
        let mut line = terminated(take_till(|b| b == b'\r'), crlf::<_, nom::error::Error<&[u8]>>);
        match line.parse(window) {
            Ok((_, text)) if scanned + text.len() <= self.at + limits.inline => {
                self.inspect(text.len() + 2);
                let line = &buf[self.at..scanned + text.len()];
                if line.first() != Some(&header.marker()) {
                    return Err(Wrong::ExpectedBulk(line.first().copied().unwrap_or(b'\r')));
                }
                let n = number::integer(&line[1..]).ok_or(header.malformed())?;
                self.at += line.len() + 2;
                Ok(Some(n))
            }
            Ok(_) => Err(header.too_big()),
            Err(nom::Err::Incomplete(_)) => {
                self.inspect(window.len());
                // A CR at the end is to be seen again, together with what follows it.
                let scanned = scanned + window.len() - usize::from(window.last() == Some(&b'\r'));
                if scanned - self.at > limits.inline {
                    return Err(header.too_big());
                }
                self.state = State::Header { header, scanned };
                Ok(None)
            }
            Err(_) => Err(Wrong::Crlf),
        }
    }

    fn found(&mut self, inline: bool) -> Found {
        self.state = State::Start;
        Found { used: self.at, inline }
    }

    /// Counts bytes looked at, in tests only.
    #[inline]
    fn inspect(&mut self, _bytes: usize) {
        #[cfg(test)]
        {
            self.inspected += _bytes as u64;
        }
    }
}

/// Reads a line that is there completely and as every client writes it; with the bytes it takes.
#[inline]
fn plain(buf: &[u8], marker: u8) -> Option<(i64, usize)> {
    let digits = buf.strip_prefix(&[marker])?;
    let mut n = 0;
    for (i, &b) in digits.iter().take(PLAIN_DIGITS).enumerate() {
        match b {
            b'0'..=b'9' => n = n * 10 + i64::from(b - b'0'),
            b'\r' if i > 0 && digits.get(i + 1) == Some(&b'\n') && (digits[0] != b'0' || i == 1) => {
                return Some((n, i + 3));
            }
            _ => return None,
        }
    }
    None
}
