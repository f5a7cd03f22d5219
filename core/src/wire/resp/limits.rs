//! What a client may send, and what it did wrong.

use core::fmt;

/// Longest inline command, and longest line of a count or length (Valkey's PROTO_INLINE_MAX_SIZE).
const LINE: usize = 64 * 1024;
/// Arguments a client may send before it is authenticated.
const ANONYMOUS_ARGS: i64 = 10;
/// Longest argument a client may send before it is authenticated, in bytes.
const ANONYMOUS_BULK: i64 = 16 * 1024;

/// Bounds on what a link may send; asked anew for every command, since CONFIG SET and AUTH change them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest argument in bytes (`proto-max-bulk-len`).
    pub max_bulk: usize,
    /// Most arguments of a command.
    pub max_multibulk: usize,
    /// Longest inline command in bytes without its newline; also of the line of a count or length.
    pub inline: usize,
    /// Most bytes of one unfinished command that are kept (`client-query-buffer-limit`); arguments of 32 KiB and more
    /// do not count, Valkey keeps them elsewhere too.
    pub max_query: usize,
    /// Whether the client may send more than 10 arguments, or arguments of more than 16 KiB.
    pub authenticated: bool,
    /// Whether a line of words is no command here: a slot migration refuses one at its first byte.
    pub arrays_only: bool,
}

impl Limits {
    /// Bounds of a link whose other end is a node of the cluster: only what a [`Span`](super::Span) can address.
    pub const UNLIMITED: Self = Self {
        max_bulk: u32::MAX as usize,
        max_multibulk: i32::MAX as usize,
        inline: LINE,
        max_query: usize::MAX,
        authenticated: true,
        arrays_only: false,
    };

    /// The count of a command's arguments, checked; zero and less is no command.
    pub(super) fn count(&self, n: i64) -> Result<usize, Wrong> {
        if n > self.max_multibulk as i64 {
            return Err(Wrong::MultibulkLength);
        }
        if n > ANONYMOUS_ARGS && !self.authenticated {
            return Err(Wrong::UnauthenticatedMultibulkLength);
        }
        Ok(n.max(0) as usize)
    }

    /// The length of an argument, checked.
    pub(super) fn bulk(&self, n: i64) -> Result<usize, Wrong> {
        if n < 0 || n as u64 > self.max_bulk as u64 {
            return Err(Wrong::BulkLength);
        }
        if n > ANONYMOUS_BULK && !self.authenticated {
            return Err(Wrong::UnauthenticatedBulkLength);
        }
        Ok(n as usize)
    }
}

impl Default for Limits {
    /// Those of an authenticated client under Valkey's default configuration.
    fn default() -> Self {
        Self {
            max_bulk: 512 * 1024 * 1024,
            max_multibulk: i32::MAX as usize,
            inline: LINE,
            max_query: 1024 * 1024 * 1024,
            authenticated: true,
            arrays_only: false,
        }
    }
}

/// What is wrong with the bytes of a client. The link is to be closed, after a last reply if there
/// [is one](Self::has_reply). `Display` is the text behind `-ERR `.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// A line of words where [`Limits::arrays_only`] forbids it.
    Inline,
    /// No newline within [`Limits::inline`].
    TooBigInline,
    /// No end of the line of the count.
    TooBigMbulkCount,
    /// No end of the line of a length.
    TooBigBulkCount,
    /// The count is no canonical decimal, or too many.
    MultibulkLength,
    /// The length is no canonical decimal, negative or too large.
    BulkLength,
    /// This byte is where a `$` belongs.
    ExpectedBulk(u8),
    /// A CR without its LF, or an argument without CRLF behind it.
    Crlf,
    /// A quote of an inline command that does not end.
    UnbalancedQuotes,
    /// Too many arguments for a client that is not authenticated.
    UnauthenticatedMultibulkLength,
    /// Too long an argument for a client that is not authenticated.
    UnauthenticatedBulkLength,
    /// The first word is `POST` or `Host:`: a browser was tricked into talking to us. Closed without a reply.
    CrossProtocol,
    /// An unfinished command outgrew [`Limits::max_query`], or what a span can address. Closed without a reply.
    QueryBufferLimit,
}

impl Wrong {
    /// Whether the client is told before the link is closed.
    #[must_use]
    pub fn has_reply(self) -> bool {
        !matches!(self, Self::CrossProtocol | Self::QueryBufferLimit)
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Inline => "an inline command where none is accepted",
            Self::TooBigInline => "too big inline request",
            Self::TooBigMbulkCount => "too big mbulk count string",
            Self::TooBigBulkCount => "too big bulk count string",
            Self::MultibulkLength => "invalid multibulk length",
            Self::BulkLength => "invalid bulk length",
            Self::ExpectedBulk(got) => {
                return write!(f, "Protocol error: expected '$', got '{}'", char::from(*got));
            }
            Self::Crlf => "invalid CRLF in request",
            Self::UnbalancedQuotes => "unbalanced quotes in request",
            Self::UnauthenticatedMultibulkLength => "unauthenticated multibulk length",
            Self::UnauthenticatedBulkLength => "unauthenticated bulk length",
            Self::CrossProtocol => {
                return f.write_str("possible cross-protocol attack: a command named POST or Host:");
            }
            Self::QueryBufferLimit => return f.write_str("query buffer limit exceeded"),
        };
        write!(f, "Protocol error: {text}")
    }
}

impl core::error::Error for Wrong {}
