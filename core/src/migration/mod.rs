//! Atomic slot migration: the machines at the two ends of one migration, and the requests and job rows around them.
//!
//! [`Export`](export::Export) runs where the slots are, [`Import`](import::Import) where they go. They know bytes,
//! time and slots, and never a keyspace: somebody with a store of another kind embeds them as they are.

pub mod edges;
pub mod export;
pub mod failure;
pub mod import;
pub mod job;
pub mod lane;
pub mod log;
pub mod request;
pub(crate) mod stream;

use crate::wire::resp::Limits;

/// The bytes of a migration link come from a node, and are arrays only. Valkey leaves a job with a line of words on
/// its link hanging until `repl-timeout`; here it fails at once.
pub(crate) const LIMITS: Limits = Limits { arrays_only: true, ..Limits::UNLIMITED };

#[cfg(test)]
mod dialogues;
#[cfg(test)]
mod matrix;
#[cfg(test)]
mod script;
