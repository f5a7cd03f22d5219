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

mod disk;
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
