//! The show: a cluster under load grows by a node, and nobody who writes to it notices.
//!
//! `cargo run --release --example reshard` starts three real nodes on this machine. Two of them share all slots; the
//! third joins and takes a third of each while clients go on writing. At the end every acknowledged write is read back.

#![allow(unreachable_pub)] // a program: nothing is reached from outside

#[path = "../common/mod.rs"]
mod common;
mod display;
mod keys;
mod story;
mod writers;

use std::path::PathBuf;
use std::process::exit;

use common::process::{Program, Runtime, serve_if_started_as_node};
use common::words::Words;

const USAGE: &str = "\
Three real nodes, clients that write all the time, and a migration of slots under their feet.

Usage: cargo run --release --example reshard -- [--keys N] [--size BYTES] [--nodes N] [--runtime NAME]
       [--server PROGRAM]

  --keys N          keys in the cluster (default 5,000,000: about 1 GB of memory)
  --size BYTES      bytes of each value (default 100)
  --nodes N         nodes at the end, 3 to 16 (default 3). All but one of them share the slots at first; the last one
                    joins empty and takes 1/N of the slots of each other, so that in the end all have the same
  --runtime NAME    what our nodes run on: mio (default), or glommio, which is Linux with io_uring
  --server PROGRAM  another server to watch in the same show, /usr/bin/valkey-server for example

The nodes listen on loopback only, keep nothing on disk but a folder for temporary files, and end with the show.
Status 0: every acknowledged write was read back. Status 1: some were not, or the show could not go on.
";

/// Nodes serve from this program; theirs is the allocator of our programs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    serve_if_started_as_node();
    let words = Words::read(USAGE, &["keys", "size", "nodes", "runtime", "server"], &[]);
    let program = match words.value("server") {
        Some(path) => Program::Foreign(PathBuf::from(path)),
        None => Program::Whimbrel(Runtime::named(words.value("runtime")), 1),
    };
    let plan = story::Plan {
        program,
        keys: keys::Keys {
            count: words.number("keys", 5_000_000, 1000..=100_000_000) as u32,
            size: words.number("size", 100, 1..=1_000_000),
        },
        nodes: words.number("nodes", 3, 3..=16),
    };
    match story::play(&plan) {
        Ok(story::Verdict::NothingLost) => {}
        Ok(story::Verdict::Lost) => exit(1),
        Err(trouble) => common::give_up(&trouble),
    }
}
