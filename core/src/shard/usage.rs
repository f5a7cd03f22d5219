//! How much each slot is used: what CLUSTER SLOT-STATS shows besides keys, where `cluster-slot-stats-enabled` asks for
//! it.

use alloc::boxed::Box;

use crate::cluster::View;
use crate::slots::{SLOTS, Slot};
use crate::wire::resp::Argv;

/// What the commands about a slot took.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) cpu_nanos: u64,
    /// Bytes of commands.
    pub(crate) bytes_in: u64,
    /// Bytes of replies.
    pub(crate) bytes_out: u64,
}

/// Bytes of the MULTI that an EXEC must have had.
const MULTI: u64 = b"*1\r\n$5\r\nmulti\r\n".len() as u64;

/// The use of all slots. Takes no memory until it is wanted.
#[derive(Debug, Default)]
pub(crate) struct SlotUsage {
    on: bool,
    rows: Box<[Usage]>,
    /// The command that was counted last as an array, and how much less it took if it was a line of words.
    counted: Option<(Slot, u64)>,
}

impl SlotUsage {
    /// Counts from now on, or no longer; what was counted stays.
    pub(crate) fn set_on(&mut self, on: bool) {
        self.on = on;
        if on && self.rows.is_empty() {
            self.rows = alloc::vec![Usage::default(); SLOTS].into();
        }
    }

    /// Whether CLUSTER SLOT-STATS shows more than keys.
    pub(crate) fn is_on(&self) -> bool {
        self.on
    }

    pub(crate) fn of(&self, slot: Slot) -> Usage {
        self.rows.get(slot.index()).copied().unwrap_or_default()
    }

    /// Begins anew (CONFIG RESETSTAT).
    pub(crate) fn reset(&mut self) {
        self.rows.fill(Usage::default());
    }

    /// Begins anew for slots that came or went.
    pub(crate) fn moved(&mut self, old: &View, new: &View) {
        for (slot, row) in Slot::all().zip(&mut self.rows) {
            if old.is_mine(slot) != new.is_mine(slot) {
                *row = Usage::default();
            }
        }
    }

    /// A command about a slot came, and is queued or runs.
    #[inline]
    pub(crate) fn came(&mut self, slot: Option<Slot>, argv: Argv<'_>, is_exec: bool) {
        if self.on
            && let Some(slot) = slot
        {
            let as_array = argv.wire_len() as u64;
            // Words, blanks between them, and the end of the line.
            let as_line = (argv.bytes() + argv.len() - 1 + 2) as u64;
            self.rows[slot.index()].bytes_in += as_array + if is_exec { MULTI } else { 0 };
            self.counted = Some((slot, as_array - as_line));
        }
    }

    /// A command has come, maybe one about a slot; as a line of words or as an array.
    #[inline]
    pub(crate) fn has_come(&mut self, is_line: bool) {
        // What is counted next is another command, of any client.
        if let Some((slot, less)) = self.counted.take()
            && is_line
        {
            self.rows[slot.index()].bytes_in -= less;
        }
    }

    /// A command about a slot ran. The time of those of a transaction is counted with their EXEC.
    #[inline]
    pub(crate) fn ran(&mut self, slot: Option<Slot>, cpu_nanos: u64, bytes_out: u64) {
        if self.on
            && let Some(slot) = slot
        {
            let row = &mut self.rows[slot.index()];
            row.cpu_nanos += cpu_nanos;
            row.bytes_out += bytes_out;
        }
    }
}
