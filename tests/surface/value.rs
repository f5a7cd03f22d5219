//! Replies as they are on the wire: equal values are equal bytes.

use std::fmt;
use std::io::{self, BufRead};

/// A reply in RESP2 or RESP3. The byte is its type on the wire.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Value {
    /// What fits a line: `+ - : _ # , (`
    Line(u8, Vec<u8>),
    /// What has a length: `$ = !`
    Bulk(u8, Vec<u8>),
    /// `$-1` and `*-1`
    Null(u8),
    /// What has elements: `* ~ >`, and `% |` with keys and values in turn.
    List(u8, Vec<Value>),
}

impl Value {
    /// Reads one reply. Lengths have to be canonical, so that nothing is lost by not keeping the bytes.
    pub fn read(from: &mut impl BufRead) -> io::Result<Self> {
        let wrong = |what: &[u8]| {
            let shown = String::from_utf8_lossy(what).into_owned();
            io::Error::new(io::ErrorKind::InvalidData, format!("no reply: {shown:?}"))
        };
        let mut line = Vec::new();
        if from.read_until(b'\n', &mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Some([kind, text @ ..]) = line.strip_suffix(b"\r\n") else { return Err(wrong(&line)) };
        let length = || {
            let number = std::str::from_utf8(text).ok().and_then(|t| t.parse::<i64>().ok());
            number.filter(|n| n.to_string().as_bytes() == text).ok_or_else(|| wrong(&line))
        };
        Ok(match kind {
            b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => Self::Line(*kind, text.to_vec()),
            b'$' | b'*' if text == b"-1" => Self::Null(*kind),
            b'$' | b'=' | b'!' => {
                let mut bytes = vec![0; length()? as usize + 2];
                from.read_exact(&mut bytes)?;
                let Some(content) = bytes.strip_suffix(b"\r\n") else { return Err(wrong(&bytes)) };
                Self::Bulk(*kind, content.to_vec())
            }
            b'*' | b'~' | b'>' | b'%' | b'|' => {
                let count = length()? * if matches!(kind, b'%' | b'|') { 2 } else { 1 };
                Self::List(*kind, (0..count).map(|_| Self::read(from)).collect::<io::Result<_>>()?)
            }
            _ => return Err(wrong(&line)),
        })
    }

    /// Whether it is the simple string `text`.
    pub fn is(&self, text: &str) -> bool {
        matches!(self, Self::Line(b'+', line) if line == text.as_bytes())
    }

    /// Whether it is an error.
    pub fn is_error(&self) -> bool {
        matches!(self, Self::Line(b'-', _))
    }

    /// The number of an integer.
    pub fn number(&self) -> Option<i64> {
        match self {
            Self::Line(b':', text) => std::str::from_utf8(text).ok()?.parse().ok(),
            _ => None,
        }
    }

    /// The elements of a list.
    pub fn list(&mut self) -> Option<&mut Vec<Self>> {
        match self {
            Self::List(_, list) => Some(list),
            _ => None,
        }
    }

    /// The bytes of a string.
    pub fn text(&self) -> Option<&[u8]> {
        match self {
            Self::Line(b'+', text) | Self::Bulk(b'$' | b'=', text) => Some(text),
            _ => None,
        }
    }
}

/// Bytes as they can be printed.
pub fn shown(bytes: &[u8]) -> String {
    let text: String = bytes.iter().flat_map(|b| std::ascii::escape_default(*b)).map(char::from).collect();
    if text.len() > 300 { format!("{}…({} bytes)", &text[..300], bytes.len()) } else { text }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(kind, text) => write!(f, "{}{}", char::from(*kind), shown(text)),
            Self::Bulk(kind, text) => write!(f, "{}\"{}\"", char::from(*kind), shown(text)),
            Self::Null(kind) => write!(f, "{}-1", char::from(*kind)),
            Self::List(kind, list) => {
                write!(f, "{}[", char::from(*kind))?;
                for (i, element) in list.iter().enumerate() {
                    write!(f, "{}{element}", if i == 0 { "" } else { ", " })?;
                }
                write!(f, "]")
            }
        }
    }
}
