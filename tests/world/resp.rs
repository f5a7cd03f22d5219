//! The replies of nodes, read the plain way.

use std::fmt;
use std::io::Write;

/// A reply of RESP2.
#[derive(Clone, PartialEq, Eq)]
pub enum Reply {
    Simple(String),
    Error(String),
    Int(i64),
    Bulk(Option<Vec<u8>>),
    Array(Option<Vec<Reply>>),
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Simple(text) => write!(f, "+{text}"),
            Self::Error(text) => write!(f, "-{text}"),
            Self::Int(n) => write!(f, ":{n}"),
            Self::Bulk(None) | Self::Array(None) => f.write_str("nil"),
            Self::Bulk(Some(bytes)) if bytes.len() > 60 => write!(f, "<{} bytes>", bytes.len()),
            Self::Bulk(Some(bytes)) => write!(f, "'{}'", String::from_utf8_lossy(bytes)),
            Self::Array(Some(list)) if list.len() > 12 => write!(f, "<{} replies>", list.len()),
            Self::Array(Some(list)) => f.debug_list().entries(list).finish(),
        }
    }
}

impl Reply {
    /// The text of an error.
    pub fn error(&self) -> Option<&str> {
        match self {
            Self::Error(text) => Some(text),
            _ => None,
        }
    }

    /// The replies in an array; none when it is something else.
    pub fn items(&self) -> &[Reply] {
        match self {
            Self::Array(Some(list)) => list,
            _ => &[],
        }
    }

    /// The number of an integer reply.
    pub fn int(&self) -> Option<i64> {
        match self {
            Self::Int(n) => Some(*n),
            _ => None,
        }
    }

    /// The bytes of a bulk reply.
    pub fn bulk(&self) -> Option<&[u8]> {
        match self {
            Self::Bulk(Some(bytes)) => Some(bytes),
            _ => None,
        }
    }

    /// A text reply, lossy.
    pub fn text(&self) -> String {
        match self {
            Self::Simple(text) | Self::Error(text) => text.clone(),
            Self::Bulk(Some(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            other => format!("{other:?}"),
        }
    }
}

/// Reads one reply from the front of `bytes`; how many bytes it took.
pub fn parse(bytes: &[u8]) -> Option<(Reply, usize)> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let (kind, rest) = bytes[..end].split_first()?;
    let text = || String::from_utf8_lossy(rest).into_owned();
    let parsed = || str::from_utf8(rest).ok().and_then(|text| text.parse::<i64>().ok());
    let number = || parsed().unwrap_or_else(|| panic!("a number in a reply: {:?}", text()));
    let mut at = end + 2;
    let reply = match kind {
        b'+' => Reply::Simple(text()),
        b'-' => Reply::Error(text()),
        b':' => Reply::Int(number()),
        b'$' => match usize::try_from(number()) {
            Err(_) => Reply::Bulk(None),
            Ok(len) => {
                let value = bytes.get(at..at + len)?;
                bytes.get(at + len..at + len + 2)?;
                at += len + 2;
                Reply::Bulk(Some(value.to_vec()))
            }
        },
        b'*' => match usize::try_from(number()) {
            Err(_) => Reply::Array(None),
            Ok(count) => {
                let mut list = Vec::with_capacity(count);
                for _ in 0..count {
                    let (reply, used) = parse(&bytes[at..])?;
                    list.push(reply);
                    at += used;
                }
                Reply::Array(Some(list))
            }
        },
        other => panic!("a reply begins with {:?}", char::from(*other)),
    };
    Some((reply, at))
}

/// A command as clients send it.
pub fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(words.iter().map(|word| word.len() + 12).sum::<usize>() + 12);
    let write = |out: &mut Vec<u8>, kind, number| write!(out, "{kind}{number}\r\n").expect("memory");
    write(&mut out, '*', words.len());
    for word in words {
        write(&mut out, '$', word.len());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// The first word of such a command.
pub fn name(command: &[u8]) -> &[u8] {
    command.split(|byte| *byte == b'\n').nth(2).and_then(|word| word.strip_suffix(b"\r")).unwrap_or_default()
}
