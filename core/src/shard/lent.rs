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
/// Commands behind one another are copied until there are so many bytes of them: less is not worth a piece of its own in a
/// send.
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
    /// The last ones that went into the stream, one behind another.
    run: Range<usize>,
}

impl Lent {
    pub(crate) fn new(bytes: Arc<[u8]>) -> Self {
        Self { bytes, run: 0..0 }
    }

    /// Appends a command to a stream, copied or not.
    #[inline]
    pub(crate) fn append(&mut self, command: &[u8], outbox: &mut Outbox) {
        // Its place is told by its address: as long as we have the memory, nothing else lies there.
        let from = (command.as_ptr() as usize).wrapping_sub(self.bytes.as_ptr() as usize);
        let to = from.wrapping_add(command.len());
        if from != self.run.end {
            self.run.start = from;
        }
        self.run.end = to;
        if to.wrapping_sub(self.run.start) >= RUN && from < self.bytes.len() {
            outbox.lend(&self.bytes, from..to);
        } else {
            outbox.write(command);
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
                        outbox.write(b"other");
                        model.extend_from_slice(b"other");
                    } else if !rng.one_in(9) {
                        lent.append(&bytes[at..to], &mut outbox);
                        model.extend_from_slice(&bytes[at..to]);
                    }
                    if rng.one_in(9) {
                        let n = rng.index(outbox.len() / 4 + 1);
                        model.drain(..n);
                        outbox.advance(n);
                    }
                    at = to;
                }
                buffers.give_back(bytes);
                assert_eq!(outbox.len(), model.len(), "seed {seed}");
            }
            assert!(sent(&outbox) == model, "seed {seed}");
        }
    }

    #[test]
    fn one_run_is_one_piece_and_what_lies_elsewhere_is_copied() {
        let mut outbox = Outbox::default();
        let mut bytes: Arc<[u8]> = vec![b'x'; BUFFER].into();
        let mut lent = Lent::new(bytes.clone());
        for at in (0..BUFFER).step_by(512) {
            lent.append(&bytes[at..at + 512], &mut outbox);
        }
        let sizes: Vec<usize> = outbox.chunks().map(<[u8]>::len).collect();
        assert_eq!(sizes, [RUN - 512, BUFFER - RUN + 512]);
        outbox.advance(BUFFER);
        lent.append(&[b'y'; 2 * BUFFER], &mut outbox);
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
