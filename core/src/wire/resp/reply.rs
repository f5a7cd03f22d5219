//! Replies, written in the protocol version that the client chose.

use core::fmt;

use bytes::Bytes;

use super::number::{self, INTEGER_LEN};
use super::quote::unquote;
use crate::link::Outbox;

/// Shared values at least this long are queued as chunks of their own instead of being copied.
const SHARED: usize = 4 * 1024;

/// The version of the protocol a client speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proto {
    /// The one every connection begins with.
    #[default]
    Resp2,
    /// Chosen with HELLO 3: maps, sets, doubles, nulls and pushes have types of their own.
    Resp3,
}

impl Proto {
    /// 2 or 3.
    #[must_use]
    pub fn version(self) -> i64 {
        match self {
            Self::Resp2 => 2,
            Self::Resp3 => 3,
        }
    }
}

/// Writes replies to the [`Outbox`] of a link.
///
/// Whoever writes an array, map or set of `n` writes its elements next, as single replies. A muted reply discards
/// everything: CLIENT REPLY OFF, and links on which commands are not answered.
///
/// ```
/// use whimbrel_core::{link::Outbox, wire::resp::{Proto, Reply}};
/// let mut out = Outbox::default();
/// let mut reply = Reply::new(&mut out, Proto::Resp3);
/// reply.map(1);
/// reply.bulk(b"proto");
/// reply.int(3);
/// assert_eq!(out.chunks().flatten().copied().collect::<Vec<_>>(), b"%1\r\n$5\r\nproto\r\n:3\r\n");
/// ```
#[derive(Debug)]
pub struct Reply<'o> {
    out: &'o mut Outbox,
    proto: Proto,
    muted: bool,
}

impl<'o> Reply<'o> {
    /// Replies into `out`.
    #[inline]
    pub fn new(out: &'o mut Outbox, proto: Proto) -> Self {
        Self { out, proto, muted: false }
    }

    /// The same, discarding everything if `muted`.
    #[inline]
    #[must_use]
    pub fn mute(self, muted: bool) -> Self {
        Self { muted, ..self }
    }

    /// The version replies are written in.
    #[inline]
    #[must_use]
    pub fn proto(&self) -> Proto {
        self.proto
    }

    /// Whether replies are discarded.
    #[must_use]
    pub fn is_muted(&self) -> bool {
        self.muted
    }

    /// Where the replies go.
    #[must_use]
    pub fn outbox(&mut self) -> &mut Outbox {
        self.out
    }

    /// `+OK`
    #[inline]
    pub fn ok(&mut self) {
        self.raw(b"+OK\r\n");
    }

    /// A status such as `QUEUED`.
    pub fn simple(&mut self, text: &str) {
        self.raw(b"+");
        self.line(text);
    }

    /// An error: the whole line behind the `-`, its code first, such as `ERR syntax error`.
    pub fn error(&mut self, text: &str) {
        self.raw(b"-");
        self.line(text);
    }

    /// An error formatted in place: `reply.error_args(format_args!("MOVED {slot} {address}"))`.
    pub fn error_args(&mut self, text: fmt::Arguments<'_>) {
        self.raw(b"-");
        // Writing to an outbox does not fail; a Display that does fail ends the text early.
        let _ = fmt::write(&mut Line(self), text);
        self.raw(b"\r\n");
    }

    /// An integer.
    #[inline]
    pub fn int(&mut self, n: i64) {
        self.header(b':', n);
    }

    /// A string of bytes.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.header(b'$', bytes.len() as i64);
        self.raw(bytes);
        self.raw(b"\r\n");
    }

    /// A string of bytes that may be shared with whoever holds `bytes`: long ones are not copied.
    pub fn bulk_shared(&mut self, bytes: Bytes) {
        if bytes.len() < SHARED {
            return self.bulk(&bytes);
        }
        self.header(b'$', bytes.len() as i64);
        if !self.muted {
            self.out.push(bytes);
        }
        self.raw(b"\r\n");
    }

    /// The integer `n` as a string of bytes.
    pub fn bulk_int(&mut self, n: i64) {
        self.bulk(number::decimal(n, &mut [0; INTEGER_LEN]));
    }

    /// No value, where a string or an element would be.
    #[inline]
    pub fn null(&mut self) {
        self.raw(match self.proto {
            Proto::Resp2 => b"$-1\r\n",
            Proto::Resp3 => b"_\r\n",
        });
    }

    /// No value, where an array would be.
    pub fn null_array(&mut self) {
        self.raw(match self.proto {
            Proto::Resp2 => b"*-1\r\n",
            Proto::Resp3 => b"_\r\n",
        });
    }

    /// Opens an array of `n` elements.
    #[inline]
    pub fn array(&mut self, n: usize) {
        self.header(b'*', n as i64);
    }

    /// Opens a map of `n` pairs, each a key and a value; in RESP2 a flat array.
    pub fn map(&mut self, n: usize) {
        match self.proto {
            Proto::Resp2 => self.header(b'*', 2 * n as i64),
            Proto::Resp3 => self.header(b'%', n as i64),
        }
    }

    /// Opens a set of `n` elements; in RESP2 an array.
    pub fn set(&mut self, n: usize) {
        self.typed(b'~', n);
    }

    /// Opens a message of `n` elements that answers no command; in RESP2 an array.
    pub fn push(&mut self, n: usize) {
        self.typed(b'>', n);
    }

    /// Opens `n` pairs that describe the reply behind them. Nothing in RESP2, where the caller must leave them out.
    pub fn attribute(&mut self, n: usize) {
        debug_assert_eq!(self.proto, Proto::Resp3, "RESP2 has no attributes");
        self.header(b'|', n as i64);
    }

    /// A floating point number; in RESP2 a string.
    pub fn double(&mut self, d: f64) {
        let text = number::double(d);
        match self.proto {
            Proto::Resp2 => self.bulk(text.as_bytes()),
            Proto::Resp3 => {
                self.raw(b",");
                self.raw(text.as_bytes());
                self.raw(b"\r\n");
            }
        }
    }

    /// A truth value; in RESP2 1 or 0.
    pub fn boolean(&mut self, yes: bool) {
        match (self.proto, yes) {
            (Proto::Resp2, _) => self.int(i64::from(yes)),
            (Proto::Resp3, true) => self.raw(b"#t\r\n"),
            (Proto::Resp3, false) => self.raw(b"#f\r\n"),
        }
    }

    /// An integer of any size, in decimal digits; in RESP2 a string.
    pub fn big_number(&mut self, digits: &str) {
        match self.proto {
            Proto::Resp2 => self.bulk(digits.as_bytes()),
            Proto::Resp3 => {
                self.raw(b"(");
                self.line(digits);
            }
        }
    }

    /// A text to be shown as it is, in a format of three letters (`txt`, `mkd`); in RESP2 a string.
    pub fn verbatim(&mut self, format: &str, text: &str) {
        debug_assert_eq!(format.len(), 3, "the format of a verbatim text has three letters");
        match self.proto {
            Proto::Resp2 => self.bulk(text.as_bytes()),
            Proto::Resp3 => {
                self.header(b'=', text.len() as i64 + 4);
                self.raw(format.as_bytes());
                self.raw(b":");
                self.raw(text.as_bytes());
                self.raw(b"\r\n");
            }
        }
    }

    /// Bytes that are replies already: recorded earlier, or by another shard for the same version.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        if !self.muted {
            self.out.write(bytes);
        }
    }

    fn typed(&mut self, resp3: u8, n: usize) {
        let marker = if self.proto == Proto::Resp3 { resp3 } else { b'*' };
        self.header(marker, n as i64);
    }

    #[inline]
    fn header(&mut self, marker: u8, n: i64) {
        let mut line = [0; INTEGER_LEN + 3];
        let mut room = [0; INTEGER_LEN];
        let digits = number::decimal(n, &mut room);
        line[0] = marker;
        line[1..=digits.len()].copy_from_slice(digits);
        line[digits.len() + 1..digits.len() + 3].copy_from_slice(b"\r\n");
        self.raw(&line[..digits.len() + 3]);
    }

    /// Text that must stay on its line, and the end of the line.
    fn line(&mut self, text: &str) {
        self.one_line(text);
        self.raw(b"\r\n");
    }

    fn one_line(&mut self, text: &str) {
        unquote(text, |bytes| {
            let mut parts = bytes.split(|&b| b == b'\r' || b == b'\n');
            self.raw(parts.next().unwrap_or_default());
            for part in parts {
                self.raw(b" ");
                self.raw(part);
            }
        });
    }
}

struct Line<'a, 'o>(&'a mut Reply<'o>);

impl fmt::Write for Line<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.one_line(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn written(proto: Proto, muted: bool, write: impl Fn(&mut Reply<'_>)) -> Vec<u8> {
        let mut out = Outbox::default();
        write(&mut Reply::new(&mut out, proto).mute(muted));
        out.chunks().flatten().copied().collect()
    }

    type Row = (fn(&mut Reply<'_>), &'static [u8], &'static [u8]);

    const ROWS: [Row; 28] = [
        (|r| r.ok(), b"+OK\r\n", b"+OK\r\n"),
        (|r| r.simple("QUEUED"), b"+QUEUED\r\n", b"+QUEUED\r\n"),
        (|r| r.error("ERR a\r\nb\nc"), b"-ERR a  b c\r\n", b"-ERR a  b c\r\n"),
        (
            |r| r.error_args(format_args!("MOVED {} {}", 7, "h\n:1")),
            b"-MOVED 7 h :1\r\n",
            b"-MOVED 7 h :1\r\n",
        ),
        (|r| r.int(0), b":0\r\n", b":0\r\n"),
        (|r| r.int(i64::MIN), b":-9223372036854775808\r\n", b":-9223372036854775808\r\n"),
        (|r| r.int(i64::MAX), b":9223372036854775807\r\n", b":9223372036854775807\r\n"),
        (|r| r.bulk(b""), b"$0\r\n\r\n", b"$0\r\n\r\n"),
        (|r| r.bulk(b"a\r\nb"), b"$4\r\na\r\nb\r\n", b"$4\r\na\r\nb\r\n"),
        (|r| r.bulk_shared(Bytes::from_static(b"x")), b"$1\r\nx\r\n", b"$1\r\nx\r\n"),
        (|r| r.bulk_int(-10), b"$3\r\n-10\r\n", b"$3\r\n-10\r\n"),
        (|r| r.null(), b"$-1\r\n", b"_\r\n"),
        (|r| r.null_array(), b"*-1\r\n", b"_\r\n"),
        (|r| r.array(0), b"*0\r\n", b"*0\r\n"),
        (|r| r.map(0), b"*0\r\n", b"%0\r\n"),
        (|r| r.map(3), b"*6\r\n", b"%3\r\n"),
        (|r| r.set(12), b"*12\r\n", b"~12\r\n"),
        (|r| r.push(2), b"*2\r\n", b">2\r\n"),
        (|r| r.double(0.1), b"$3\r\n0.1\r\n", b",0.1\r\n"),
        (|r| r.double(f64::INFINITY), b"$3\r\ninf\r\n", b",inf\r\n"),
        (|r| r.double(f64::NEG_INFINITY), b"$4\r\n-inf\r\n", b",-inf\r\n"),
        (|r| r.double(f64::NAN), b"$3\r\nnan\r\n", b",nan\r\n"),
        (|r| r.double(3.0), b"$1\r\n3\r\n", b",3\r\n"),
        (|r| r.boolean(true), b":1\r\n", b"#t\r\n"),
        (|r| r.boolean(false), b":0\r\n", b"#f\r\n"),
        (|r| r.big_number("123"), b"$3\r\n123\r\n", b"(123\r\n"),
        (|r| r.verbatim("txt", "a\r\n"), b"$3\r\na\r\n\r\n", b"=7\r\ntxt:a\r\n\r\n"),
        (|r| r.raw(b":1\r\n"), b":1\r\n", b":1\r\n"),
    ];

    #[test]
    fn every_reply_in_both_versions() {
        for (i, (write, resp2, resp3)) in ROWS.iter().enumerate() {
            assert_eq!(
                written(Proto::Resp2, false, write).escape_ascii().collect::<Vec<_>>(),
                resp2.escape_ascii().collect::<Vec<_>>(),
                "row {i}"
            );
            assert_eq!(written(Proto::Resp3, false, write), *resp3, "row {i}");
        }
    }

    #[test]
    fn a_muted_reply_writes_nothing() {
        for (write, ..) in ROWS {
            assert_eq!(written(Proto::Resp3, true, write), b"");
        }
        let big = |r: &mut Reply<'_>| r.bulk_shared(Bytes::from(alloc::vec![7; SHARED]));
        assert_eq!(written(Proto::Resp2, true, big), b"");
        assert_eq!(written(Proto::Resp2, false, big).len(), SHARED + 9);
    }
}
