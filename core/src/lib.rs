//! The pure machines of Whimbrel, a Valkey-compatible cluster node.
//!
//! Nothing in this crate touches a socket, file, thread, clock or the random numbers of the operating system: time
//! is an argument, randomness a seed, and what a machine wants from the world it says as [`action::Action`]s.

#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod action;
pub mod cluster;
pub mod command;
pub mod config;
pub mod ids;
pub mod input;
pub mod link;
pub mod mail;
pub mod migration;
pub mod node;
pub mod rng;
pub mod shard;
pub mod slots;
pub mod store;
pub mod time;
pub mod wire;

/// The version of Valkey whose behaviour and protocols this node has, as it tells clients.
pub const VALKEY_VERSION: &str = "9.1.0";
