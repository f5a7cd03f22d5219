//! Whimbrel's core bound to a portable event loop: one thread with the node and one shard, one thread for the disk.
//!
//! [`program`] is the whole server as a program. To run nodes inside another process, [`Server::start`] them:
//!
//! ```no_run
//! use whimbrel_core::config::Config;
//! use whimbrel_mio::Server;
//!
//! let mut config = Config::default();
//! config.port = 7000;
//! let server = Server::bind(config)?.start()?;
//! // … talk to port 7000 …
//! server.stop();
//! assert_eq!(server.join(), 0);
//! # Ok::<(), whimbrel_mio::StartError>(())
//! ```

mod clock;
mod descriptors;
mod disk;
mod links;
mod listen;
mod logging;
mod machine;
mod meter;
mod program;
mod server;
mod turn;
mod vitals;

pub use program::program;
pub use server::{Running, Server, StartError};
