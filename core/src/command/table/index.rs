//! From a name to its command: an open-addressed table laid out by the compiler.

use super::{Command, GROUPS};

/// More than three times as many places as commands, so that a search ends at once.
const PLACES: usize = 256;
/// Longer than any name.
const LONGEST: usize = 32;
/// An empty place.
const NONE: (u8, u8) = (u8::MAX, u8::MAX);

/// Group and index of the command whose name belongs to a place.
static INDEX: [(u8, u8); PLACES] = build();

/// The command of that name, in any case; not a subcommand.
///
/// ```
/// use whimbrel_core::command::table::{Id, find};
/// assert_eq!(find(b"GeT").map(|c| c.id), Some(Id::Get));
/// assert!(find(b"gets").is_none());
/// ```
#[inline]
#[must_use]
pub fn find(name: &[u8]) -> Option<&'static Command> {
    if name.len() > LONGEST {
        return None;
    }
    let mut at = place(name);
    loop {
        let (group, index) = INDEX[at];
        if (group, index) == NONE {
            return None;
        }
        let command = &GROUPS[group as usize][index as usize];
        if command.name.as_bytes().eq_ignore_ascii_case(name) {
            return Some(command);
        }
        at = (at + 1) % PLACES;
    }
}

/// The place a name is looked for first; ASCII case does not matter.
const fn place(name: &[u8]) -> usize {
    let mut hash = name.len() as u32;
    let mut i = 0;
    while i < name.len() {
        hash = (hash ^ (name[i] | 0x20) as u32).wrapping_mul(0x0100_0193);
        i += 1;
    }
    (hash ^ (hash >> 15)) as usize % PLACES
}

const fn build() -> [(u8, u8); PLACES] {
    let mut index = [NONE; PLACES];
    let mut group = 0;
    while group < GROUPS.len() {
        let mut i = 0;
        while i < GROUPS[group].len() {
            let name = GROUPS[group][i].name.as_bytes();
            assert!(name.len() <= LONGEST, "LONGEST is too short");
            let mut at = place(name);
            while index[at].0 != NONE.0 {
                at = (at + 1) % PLACES;
            }
            index[at] = (group as u8, i as u8);
            i += 1;
        }
        group += 1;
    }
    index
}
