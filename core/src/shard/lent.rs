//! Memory that commands of clients are read into and that the stream of a migration sends from: where nearly everything a
//! client says goes on to the target as it came, copying it into the outbox would cost as much as all else about that.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec;
use core::ops::Range;

use crate::link::Outbox;

/// Size of a piece of memory: what a driver reads at a time at most.
pub(crate) const BUFFER: usize = 64 * 1024;
/// So many pieces are there at most: as much as is unsent before writers are slowed. While all of them wait to be sent,
/// commands are read and copied as always.
const BUFFERS: usize = 16;
/// Commands behind one another are copied if there are fewer bytes of them: less is not worth a piece of its own in a send.
const RUN: usize = 4 * 1024;
/// Less in a read is not worth anything of this.
const LEAST: usize = 16 * 1024;

/// The memory that is there.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    /// The one that is read into.
    reading: Option<Arc<[u8]>>,
    /// Those that were, the oldest first; the stream may still send from them.
    read: VecDeque<Arc<[u8]>>,
}

impl Buffers {
    /// A piece of memory to read into; nothing while all of them wait to be sent.
    pub(crate) fn lend(&mut self) -> Option<&mut [u8]> {
        if self.reading.is_none() {
            self.reading = match self.read.pop_front_if(|oldest| Arc::get_mut(oldest).is_some()) {
                None if self.read.len() < BUFFERS => Some(vec![0; BUFFER].into()),
                free => free,
            };
        }
        self.reading.as_mut().and_then(Arc::get_mut)
    }

    /// The piece that was read into; to be [given back](Self::give_back).
    pub(crate) fn take(&mut self) -> Option<Arc<[u8]>> {
        self.reading.take()
    }

    /// Everything in it was looked at.
    pub(crate) fn give_back(&mut self, buffer: Arc<[u8]>) {
        self.read.push_back(buffer);
    }

    /// Nobody reads into it any more.
    pub(crate) fn free(&mut self) {
        if self.reading.is_some() || !self.read.is_empty() {
            *self = Self::default();
        }
    }
}

/// Whether a client who said `read` bytes at once, of which `followed` went into the stream as they came, is worth memory
/// that the stream can send from.
pub(crate) fn is_worth_it(read: usize, followed: usize) -> bool {
    read >= LEAST && followed >= read / 2
}

/// Commands that are being run, in memory that the stream can send from.
#[derive(Debug)]
pub(crate) struct Lent {
    bytes: Arc<[u8]>,
    /// The last ones that are for the stream, one behind another: they go into it together.
    run: Range<usize>,
    /// Their database.
    db: u32,
}

/// Commands one behind another in memory that is lent.
#[derive(Debug)]
pub(crate) struct Run<'m> {
    memory: &'m Arc<[u8]>,
    part: Range<usize>,
    /// The database of all of them.
    pub(crate) db: u32,
}

impl Lent {
    pub(crate) fn new(bytes: Arc<[u8]>) -> Self {
        Self { bytes, run: 0..0, db: 0 }
    }

    /// Where a command lies in the memory. Its address tells: as long as we have the memory, nothing else lies there.
    #[inline]
    fn place(&self, command: &[u8]) -> usize {
        (command.as_ptr() as usize).wrapping_sub(self.bytes.as_ptr() as usize)
    }

    /// Adds a command to the run, if it lies behind it.
    #[inline]
    pub(crate) fn extend(&mut self, db: u32, command: &[u8]) -> bool {
        let goes_on = self.place(command) == self.run.end && self.db == db;
        if goes_on {
            self.run.end += command.len();
        }
        goes_on
    }

    /// Begins a run with a command, if it lies in the memory. The one before was [taken](Self::take).
    pub(crate) fn begin(&mut self, db: u32, command: &[u8]) -> bool {
        let from = self.place(command);
        let is_here = from < self.bytes.len();
        if is_here {
            (self.run, self.db) = (from..from + command.len(), db);
        }
        is_here
    }

    /// The run; what comes next begins another.
    pub(crate) fn take(&mut self) -> Option<Run<'_>> {
        let part = core::mem::replace(&mut self.run, 0..0);
        (!part.is_empty()).then_some(Run { memory: &self.bytes, part, db: self.db })
    }
}

impl Run<'_> {
    /// Appends them to a stream, copied or not.
    pub(crate) fn append_to(&self, outbox: &mut Outbox) {
        if self.part.len() >= RUN {
            outbox.lend(self.memory, self.part.clone());
        } else {
            outbox.write(&self.memory[self.part.clone()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use alloc::vec::Vec;

    fn sent(outbox: &Outbox) -> Vec<u8> {
        outbox.chunks().flatten().copied().collect()
    }

    fn append(lent: &mut Lent, command: &[u8], outbox: &mut Outbox) {
        if !lent.extend(0, command) {
            lent.take().iter().for_each(|run| run.append_to(outbox));
            if !lent.begin(0, command) {
                outbox.write(command);
            }
        }
    }

    #[test]
    fn what_is_lent_is_what_was_read_however_it_is_cut() {
        for seed in 0..300 {
            let mut rng = Rng::new(seed);
            let (mut buffers, mut outbox, mut model) = (Buffers::default(), Outbox::default(), Vec::new());
            for _ in 0..40 {
                let Some(room) = buffers.lend() else {
                    assert!(
                        outbox.len() > BUFFER,
                        "seed {seed}: the oldest is sent, and nobody may read into it"
                    );
                    let n = rng.index(outbox.len() + 1);
                    model.drain(..n);
                    outbox.advance(n);
                    continue;
                };
                assert_eq!(room.len(), BUFFER);
                room.iter_mut().for_each(|byte| *byte = rng.index(256) as u8);
                let bytes = buffers.take().unwrap();
                let mut lent = Lent::new(bytes.clone());
                let mut at = 0;
                while at < BUFFER {
                    let to = (at + if rng.one_in(20) { 9000 } else { rng.index(600) }).min(BUFFER);
                    if rng.one_in(9) {
                        lent.take().iter().for_each(|run| run.append_to(&mut outbox));
                        outbox.write(b"other");
                        model.extend_from_slice(b"other");
                    } else if !rng.one_in(9) {
                        append(&mut lent, &bytes[at..to], &mut outbox);
                        model.extend_from_slice(&bytes[at..to]);
                    }
                    if rng.one_in(9) {
                        let n = rng.index(outbox.len() / 4 + 1);
                        model.drain(..n);
                        outbox.advance(n);
                    }
                    at = to;
                }
                lent.take().iter().for_each(|run| run.append_to(&mut outbox));
                drop(lent);
                buffers.give_back(bytes);
                assert_eq!(outbox.len(), model.len(), "seed {seed}");
            }
            assert!(sent(&outbox) == model, "seed {seed}");
        }
    }

    #[test]
    fn one_run_of_one_database_is_one_piece_and_what_is_short_or_lies_elsewhere_is_copied() {
        let mut outbox = Outbox::default();
        let mut bytes: Arc<[u8]> = vec![b'x'; BUFFER].into();
        let mut lent = Lent::new(bytes.clone());
        for at in (0..BUFFER).step_by(512) {
            append(&mut lent, &bytes[at..at + 512], &mut outbox);
        }
        assert!(outbox.is_empty() && !lent.extend(0, &bytes[..512]), "behind the last one only");
        append(&mut lent, &bytes[..RUN - 1], &mut outbox);
        assert!(!lent.extend(1, &bytes[RUN - 1..RUN]), "it has to be said whose database it is");
        let sizes: Vec<usize> = outbox.chunks().map(<[u8]>::len).collect();
        assert_eq!(sizes, [BUFFER]);
        outbox.advance(BUFFER);
        append(&mut lent, &[b'y'; 2 * BUFFER], &mut outbox);
        assert_eq!(outbox.len(), RUN - 1 + 2 * BUFFER);
        drop(lent);
        assert!(Arc::get_mut(&mut bytes).is_some(), "what is sent, and what was copied, is not held");
    }

    #[test]
    fn there_are_no_more_than_a_few() {
        let mut buffers = Buffers::default();
        let taken: Vec<Arc<[u8]>> = core::iter::from_fn(|| {
            buffers.lend()?;
            let bytes = buffers.take()?;
            buffers.give_back(bytes.clone());
            Some(bytes)
        })
        .collect();
        assert_eq!(taken.len(), BUFFERS);
        let first = taken[0].as_ptr();
        drop(taken);
        assert_eq!(
            buffers.lend().map(|room| room.as_ptr()),
            Some(first),
            "the oldest is the first to be free"
        );
        buffers.free();
        assert!(buffers.reading.is_none() && buffers.read.is_empty());
    }
}
