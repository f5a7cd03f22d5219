//! The two answers that the target gives in lines: to AUTH and to ESTABLISH.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

/// Longest answer that is waited for, in bytes: Valkey's limit.
pub(in crate::migration) const ANSWER_LIMIT: usize = 16 * 1024;

/// A line on its way in.
#[derive(Debug, Default)]
pub(in crate::migration) struct Line(Vec<u8>);

/// What the line says.
#[derive(Debug)]
pub(in crate::migration) enum Answer {
    /// It has not ended.
    Unfinished,
    /// It has not ended within the limit.
    TooLong,
    /// It begins with `-`; here it is, CR LF included.
    Refused(Box<str>),
    /// It is any other line.
    Agreed,
}

impl Line {
    /// Whether nothing of it has come.
    pub(in crate::migration) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Moves bytes of the line from `bytes` to here; what is behind its CR LF stays.
    pub(in crate::migration) fn take(&mut self, bytes: &mut &[u8], limit: usize) -> Answer {
        while let [byte, rest @ ..] = *bytes {
            *bytes = rest;
            self.0.push(*byte);
            if self.0.ends_with(b"\r\n") {
                return match self.0.first() {
                    Some(b'-') => Answer::Refused(String::from_utf8_lossy(&self.0).into()),
                    _ => Answer::Agreed,
                };
            }
            if self.0.len() >= limit {
                return Answer::TooLong;
            }
        }
        Answer::Unfinished
    }
}
