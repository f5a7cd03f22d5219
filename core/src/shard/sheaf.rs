//! Commands on their way from the shard that has the link of an import to the one that has their slots: as they came, with
//! what was seen of them, so that nobody has to read them twice.

use alloc::vec::Vec;

use crate::config::Config;
use crate::link::Outbox;
use crate::migration::import::Rejected;
use crate::shard::data::Data;
use crate::shard::upcoming::{Call, MOST, Run, fetch};
use crate::shard::write::Write;
use crate::slots::SlotSet;
use crate::time::Now;
use crate::wire::resp::Span;

/// Commands that were read, for one database.
#[derive(Debug, Default)]
pub(crate) struct Sheaf {
    bytes: Vec<u8>,
    calls: Vec<Call>,
    spans: Vec<Span>,
}

impl Sheaf {
    /// How many commands.
    pub(crate) fn commands(&self) -> usize {
        self.calls.len()
    }

    /// Bytes of commands.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Removes all commands and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.calls.clear();
        self.spans.clear();
    }

    /// Makes room for so many bytes in one piece, rather than growing to it.
    pub(crate) fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve(bytes);
    }

    /// Adds commands that lie behind one another.
    pub(super) fn add(&mut self, run: &Run<'_>) {
        // What is subtracted may be more than what is added; the sum is an index again.
        let by = (self.bytes.len() as u32).wrapping_sub(run.start as u32);
        let first = run.calls.first().map_or(0, |call| call.first);
        let calls_by = (self.spans.len() as u32).wrapping_sub(first);
        self.bytes.extend_from_slice(run.bytes);
        self.spans.extend(
            run.spans.iter().map(|s| Span { start: s.start.wrapping_add(by), end: s.end.wrapping_add(by) }),
        );
        self.calls.extend(run.calls.iter().map(|call| call.moved(calls_by)));
    }

    /// Adds a command that was read alone.
    pub(super) fn add_one(&mut self, write: &Write<'_>) {
        let first = self.spans.len() as u32;
        for word in write.argv.iter() {
            let start = self.bytes.len() as u32;
            self.bytes.extend_from_slice(word);
            self.spans.push(Span { start, end: self.bytes.len() as u32 });
        }
        self.calls.push(Call::found(write.command, write.place, first, self.spans.len() as u32));
    }

    /// Applies commands until one fails; why it did.
    pub(crate) fn apply(
        &self,
        now: Now,
        db: u32,
        slots: &SlotSet,
        replies: &mut Outbox,
        data: &mut Data,
        config: &Config,
    ) -> Option<Rejected> {
        let (bytes, spans) = (&self.bytes[..], &self.spans[..]);
        for calls in self.calls.chunks(MOST) {
            fetch(calls, bytes, spans, db, &data.store, |_| true);
            for call in calls {
                let write =
                    Write { db, command: call.command, argv: call.argv(bytes, spans), place: call.place };
                if let Err(rejected) = write.apply(now, slots, replies, data, config) {
                    return Some(rejected);
                }
            }
        }
        None
    }
}
