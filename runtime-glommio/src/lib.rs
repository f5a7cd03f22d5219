//! Whimbrel's core bound to glommio: one io_uring executor per shard, the node beside the first. Linux only.
//!
//! [`program`] is the whole server as a program. To run nodes inside another process, [`Server::start`] them:
//!
//! ```no_run
//! use whimbrel_core::config::Config;
//! use whimbrel_glommio::Server;
//!
//! let mut config = Config::default();
//! config.port = 7000;
//! let server = Server::bind(config)?.start()?;
//! // … talk to port 7000 …
//! server.stop();
//! assert_eq!(server.join(), 0);
//! # Ok::<(), whimbrel_glommio::StartError>(())
//! ```
#![cfg(target_os = "linux")]

mod disk;
mod executor;
mod ring;
mod server;

pub use server::Server;
pub use whimbrel_runtime::start::{Running, StartError};

/// Runs the server as a program with these arguments (without its name); the exit status.
///
/// Arguments are those of valkey-server: `[file] [--name value …]… [-]`, `--version`, `--help`.
pub fn program(arguments: impl IntoIterator<Item = String>) -> i32 {
    let bind = |config| Server::new(config, true).map(|server| || server.run());
    whimbrel_runtime::program::run(&server::DRIVER, arguments, bind)
}
