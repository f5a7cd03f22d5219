//! The legal transitions of a machine, as a table: what every transition asserts against, and what the diagram in
//! `docs/state-machines.md` is drawn from.

use alloc::string::String;
use core::fmt::{Display, Write};

/// From each state, the states it may be left to. A state without successors is terminal.
#[derive(Debug)]
pub struct Edges<S: 'static>(pub &'static [(S, &'static [S])]);

impl<S: Copy + PartialEq + Display> Edges<S> {
    /// The states that may follow `state`.
    #[must_use]
    pub fn from(&self, state: S) -> &'static [S] {
        self.0.iter().find(|(from, _)| *from == state).map_or(&[], |(_, to)| to)
    }

    /// # Panics
    /// When the table has no such transition: a bug of the machine.
    pub fn check(&self, from: S, to: S) {
        assert!(self.from(from).contains(&to), "no transition from {from} to {to}");
    }

    /// The table as a Mermaid state diagram, beginning in `first`.
    #[must_use]
    pub fn diagram(&self, first: S) -> String {
        let id = |state: S| alloc::format!("{state}").replace('-', "_");
        let mut text = alloc::format!("stateDiagram-v2\n    [*] --> {}\n", id(first));
        for (from, successors) in self.0 {
            // Writing to a String does not fail.
            let _ = writeln!(text, "    {} : {from}", id(*from));
            for to in *successors {
                let _ = writeln!(text, "    {} --> {}", id(*from), id(*to));
            }
            if successors.is_empty() {
                let _ = writeln!(text, "    {} --> [*]", id(*from));
            }
        }
        text
    }
}
