//! RESP, the protocol of clients: commands in, replies out.
//!
//! [`Reader`] turns the bytes of a link into [`Argv`]s without copying what arrived whole, [`Reply`] writes replies
//! of both protocol versions into an [`Outbox`](crate::link::Outbox), [`Value`] reads replies for whoever plays the
//! client.

mod argv;
mod inline;
mod limits;
pub mod number;
mod parse;
pub(crate) mod plain;
mod quote;
mod reader;
mod reply;
mod value;

pub use argv::{Argv, ArgvBuf, Span};
pub(crate) use inline::words;
pub use limits::{Limits, Wrong};
pub use quote::quote;
pub use reader::Reader;
pub use reply::{Proto, Reply};
pub use value::{BadReply, Value, encode_command, send_command};
