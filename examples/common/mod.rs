//! What the shows share: real nodes as processes, a cluster made of them, and clients that talk to it.

#![allow(dead_code)] // every show includes it and uses its own part

pub mod client;
pub mod cluster;
pub mod cores;
pub mod disk;
pub mod figures;
pub mod process;
pub mod words;

/// What went wrong and what to do next, for the person in front of the terminal.
pub type Trouble = String;

/// Prints why a show ended early, and ends with status 1. Nodes end with their parent.
pub fn give_up(trouble: &str) -> ! {
    eprintln!("\nThe show ended early: {trouble}");
    std::process::exit(1);
}
