//! The pure machines of Whimbrel, a Valkey-compatible cluster node.
//!
//! Nothing in this crate touches a socket, file, thread, clock or the random numbers of the operating system: time
//! is an argument, randomness a seed, and what a machine wants from the world it says as [`action::Action`]s.
//!
//! Two kinds of machines carry a process: [`shard::Shard`]s, one or one per core, have the keys and the clients, a
//! [`node::Node`] has the cluster, the migrations and the configuration. A driver feeds them [`input::Input`]s, carries out
//! their actions, takes what they send each other from one to the other, and what is to be sent from their outboxes. A
//! whole server without a socket:
//!
//! ```
//! use std::sync::Arc;
//! use whimbrel_core::action::Actions;
//! use whimbrel_core::config::Config;
//! use whimbrel_core::ids::LinkId;
//! use whimbrel_core::input::{Input, Origin};
//! use whimbrel_core::node::Node;
//! use whimbrel_core::shard::Shard;
//! use whimbrel_core::time::{Mono, Now, Wall};
//!
//! let now = Now { mono: Mono(0), wall: Wall(1_700_000_000_000_000) };
//! let config = Arc::new(Config::default());
//! let node = Node::new(config.clone(), None, None, 1, now)?;
//! let mut shard = Shard::new(config, node.view(), 2, now);
//! let mut out = Actions::default();
//!
//! let link = LinkId::accepted(1);
//! shard.handle(now, Input::Opened { link, origin: Origin::Unix }, &mut out);
//! shard.handle(now, Input::Filled { link, bytes: b"SET bird whimbrel\r\nGET bird\r\n" }, &mut out);
//!
//! let outbox = shard.outbox(link).expect("the link is open");
//! let sent: Vec<u8> = outbox.chunks().flatten().copied().collect();
//! assert_eq!(sent, b"+OK\r\n$8\r\nwhimbrel\r\n");
//! # Ok::<(), whimbrel_core::cluster::Corrupt>(())
//! ```
//!
//! Who wants only the migration protocol for a store of their own takes [`migration::export::Export`] and
//! [`migration::import::Import`], which know bytes, time and slots and no keys.

#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod acl;
pub mod action;
pub mod cluster;
pub mod command;
pub mod config;
mod crc16;
pub mod ids;
pub mod input;
pub mod link;
pub mod mail;
pub mod migration;
pub mod node;
pub mod rng;
pub mod shard;
pub mod slots;
pub mod stopwatch;
pub mod store;
pub mod time;
pub mod wire;

/// The version of Valkey whose behaviour and protocols this node has, as it tells clients.
pub const VALKEY_VERSION: &str = "9.1.0";
