//! Whimbrel's core bound to glommio: one io_uring executor per shard, the node beside the first. Linux only.
//!
//! [`program`] is the whole server as a program. To run nodes inside another process, [`bind`] and start them:
//!
//! ```no_run
//! use whimbrel_core::config::Config;
//!
//! let mut config = Config::default();
//! config.port = 7000;
//! let server = whimbrel_glommio::bind(config)?.start()?;
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

use whimbrel_core::config::Config;
pub use whimbrel_runtime::failure::StartError;
pub use whimbrel_runtime::start::{Running, Server};

use server::DRIVER;

/// Takes the files and ports that the configuration names. Paths in it are relative to its `dir`, `config_file` is absolute.
///
/// # Errors
/// When a port, the Unix socket, nodes.conf or the ACL file cannot be had, one of the files cannot be believed, `shards` is
/// more than one outside of cluster mode, or the machine has no io_uring for us.
pub fn bind(config: Config) -> Result<Server, StartError> {
    Server::bind(config, &DRIVER, false)
}

/// Runs the server as a program with these arguments (without its name); the exit status.
///
/// Arguments are those of valkey-server: `[file] [--name value …]… [-]`, `--version`, `--help`.
pub fn program(arguments: impl IntoIterator<Item = String>) -> i32 {
    whimbrel_runtime::program::run(&DRIVER, arguments)
}
