//! Why a command was refused: the client's mistakes, in Valkey's words.

use alloc::format;
use alloc::string::String;

use crate::wire::resp::{Reply, quote};

/// What a command answers besides what it has written to the reply itself. On an error it has written nothing.
pub type Outcome<'a> = Result<(), Refused<'a>>;

/// An error reply. Bytes in it are words of the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused<'a> {
    /// The whole line, code first.
    Text(&'static str),
    /// The command of this name cannot have that many arguments.
    Arity(&'static str),
    /// An expiry that the command of this name cannot set: zero, negative or too great.
    ExpireTime(&'static str),
    /// EXPIRE and its kind do not know this option.
    UnsupportedOption(&'a [u8]),
    /// SCAN does not know this type of value.
    UnknownType(&'a [u8]),
}

/// `ERR syntax error`
pub const SYNTAX: Refused<'static> = Refused::Text(lines::SYNTAX);
/// The key holds a value of a type that the command does not work with.
pub const WRONG_TYPE: Refused<'static> =
    Refused::Text("WRONGTYPE Operation against a key holding the wrong kind of value");
/// An argument or a value that should be a 64-bit integer is none.
pub const NOT_AN_INTEGER: Refused<'static> = Refused::Text(lines::NOT_AN_INTEGER);
/// An argument or a value that should be a floating point number is none.
pub const NOT_A_FLOAT: Refused<'static> = Refused::Text("ERR value is not a valid float");
/// An argument that should be a 32-bit integer is a greater one.
pub const NOT_32_BITS: Refused<'static> =
    Refused::Text("ERR value is out of range, value must between -2147483648 and 2147483647");
/// There is no database of that number.
pub const DB_INDEX: Refused<'static> = Refused::Text(lines::DB_INDEX);
/// A string would become longer than arguments may be.
pub const TOO_LONG: Refused<'static> =
    Refused::Text("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
/// The key that a command starts from is missing.
pub const NO_SUCH_KEY: Refused<'static> = Refused::Text("ERR no such key");
/// Source and destination are one key.
pub const SAME_KEY: Refused<'static> = Refused::Text("ERR source and destination objects are the same");

/// Lines that commands answer whose refusals are no [`Refused`]: those about a connection, a shard, or the node.
pub(crate) mod lines {
    pub(crate) const SYNTAX: &str = "ERR syntax error";
    pub(crate) const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";
    pub(crate) const DB_INDEX: &str = "ERR DB index is out of range";
    /// The error of every cluster command outside cluster mode.
    pub(crate) const NO_CLUSTER: &str = "ERR This instance has cluster support disabled";
}

/// The error for a command that exists in Valkey and is not built here.
#[must_use]
pub(crate) fn not_built(what: &str) -> String {
    format!("ERR {what} is not available in Whimbrel yet")
}

impl Refused<'_> {
    /// Writes the error reply.
    pub fn reply(self, reply: &mut Reply<'_>) {
        match self {
            Self::Text(line) => reply.error(line),
            Self::Arity(name) => {
                reply.error_args(format_args!("ERR wrong number of arguments for '{name}' command"));
            }
            Self::ExpireTime(name) => {
                reply.error_args(format_args!("ERR invalid expire time in '{name}' command"));
            }
            Self::UnsupportedOption(word) => {
                reply.error_args(format_args!("ERR Unsupported option {}", quote(word)));
            }
            Self::UnknownType(word) => {
                reply.error_args(format_args!("ERR unknown type name '{}'", quote(word)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::link::Outbox;
    use crate::wire::resp::Proto;

    #[test]
    fn words_of_the_client_stay_on_their_line() {
        let mut out = Outbox::default();
        Refused::UnknownType(b"a\r\nb\xff\0c").reply(&mut Reply::new(&mut out, Proto::Resp2));
        let sent: Vec<u8> = out.chunks().flatten().copied().collect();
        assert_eq!(sent, b"-ERR unknown type name 'a  b\xff'\r\n");
    }
}
