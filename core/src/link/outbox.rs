//! Bytes on their way out of a machine.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::{Deref, Range};

use bytes::Bytes;

use crate::ids::Ticket;

/// A run of own bytes at least this long is closed and queued as one chunk instead of growing further, so
/// that growth never copies more than this.
const CHUNK: usize = 64 * 1024;
/// Chunks that were sent and are kept to be filled again, at most.
const SPARE: usize = 8;

/// The queue of bytes that a link still has to send.
///
/// The core appends ([`write`](Self::write) copies, [`push`](Self::push) shares); the driver looks at
/// [`chunks`](Self::chunks), writes them to the socket in one vectored call and reports how many bytes went with
/// [`advance`](Self::advance). The length is protocol state: output limits and "may pause now" are decided on it.
///
/// ```
/// use whimbrel_core::link::Outbox;
/// let mut out = Outbox::default();
/// out.write(b"+OK\r\n");
/// out.push(bytes::Bytes::from_static(b"shared"));
/// let sent: Vec<u8> = out.chunks().flatten().copied().collect();
/// assert_eq!(sent, b"+OK\r\nshared");
/// out.advance(11);
/// assert!(out.is_empty());
/// ```
#[derive(Debug, Default)]
pub struct Outbox {
    room: Room,
    /// Bytes of the first chunk that are already sent.
    head_sent: usize,
    len: usize,
    /// Position in the stream of the first unsent byte.
    sent: u64,
    /// Bytes from a position on may not leave before a ticket is done; positions and tickets grow.
    holds: VecDeque<(u64, Ticket)>,
}

/// The memory of an outbox.
#[derive(Debug, Default)]
struct Room {
    queue: VecDeque<Chunk>,
    /// Own bytes after everything in `queue`.
    tail: Vec<u8>,
    /// Empty ones to go on in when the tail is closed.
    spare: Vec<Vec<u8>>,
}

/// A closed piece of the queue.
#[derive(Debug)]
enum Chunk {
    Own(Vec<u8>),
    Shared(Bytes),
    /// A part of memory that is shared.
    Lent(Arc<[u8]>, Range<usize>),
}

impl Room {
    fn is_none(&self) -> bool {
        self.tail.capacity() == 0 && self.queue.capacity() == 0
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(bytes) => bytes,
            Self::Lent(bytes, range) => &bytes[range.clone()],
        }
    }
}

impl Outbox {
    /// Appends a copy of `bytes`.
    #[inline]
    pub fn write(&mut self, bytes: &[u8]) {
        self.room.tail.extend_from_slice(bytes);
        self.len += bytes.len();
        if self.room.tail.len() >= CHUNK {
            self.close_tail();
        }
    }

    /// Appends what `f` writes behind the bytes that are there, which is about `len` bytes: one look at the sizes for
    /// many small pieces.
    #[inline]
    pub fn extend(&mut self, len: usize, f: impl FnOnce(&mut Vec<u8>)) {
        let before = self.room.tail.len();
        self.room.tail.reserve(len);
        f(&mut self.room.tail);
        self.len += self.room.tail.len() - before;
        if self.room.tail.len() >= CHUNK {
            self.close_tail();
        }
    }

    /// Appends a shared chunk without copying it.
    pub fn push(&mut self, chunk: Bytes) {
        if chunk.is_empty() {
            return;
        }
        self.close_tail();
        self.len += chunk.len();
        self.room.queue.push_back(Chunk::Shared(chunk));
    }

    /// Appends a part of shared memory without copying it.
    pub(crate) fn lend(&mut self, memory: &Arc<[u8]>, part: Range<usize>) {
        self.close_tail();
        self.len += part.len();
        self.room.queue.push_back(Chunk::Lent(memory.clone(), part));
    }

    /// Appends what another outbox has, of which nothing was sent and nothing is held back, and leaves that empty.
    pub fn append(&mut self, other: &mut Self) {
        debug_assert!(other.head_sent == 0 && other.holds.is_empty(), "an outbox of a link that sends");
        for chunk in other.room.queue.drain(..) {
            match chunk {
                Chunk::Own(bytes) if bytes.len() < CHUNK / 4 => self.write(&bytes),
                chunk => {
                    self.close_tail();
                    self.len += chunk.len();
                    self.room.queue.push_back(chunk);
                }
            }
        }
        self.write(&other.room.tail);
        other.room.tail.clear();
        (other.sent, other.len) = (other.end(), 0);
    }

    /// Appends the first `n` bytes that another outbox has, as [`append`](Self::append) does.
    pub(crate) fn append_first(&mut self, n: usize, other: &mut Self) {
        if n == other.len && other.head_sent == 0 {
            return self.append(other);
        }
        let mut left = n;
        for chunk in other.chunks() {
            let take = left.min(chunk.len());
            self.write(&chunk[..take]);
            left -= take;
        }
        other.advance(n);
    }

    /// Bytes appended and not sent.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes of memory that it holds, shared chunks counted whole.
    #[must_use]
    #[inline]
    pub fn memory(&self) -> usize {
        let (unsent, chunks) = self.queued();
        let spare: usize = self.room.spare.iter().map(Vec::capacity).sum();
        self.room.tail.capacity() + spare + unsent + chunks * size_of::<Chunk>()
    }

    /// Unsent bytes in chunks, and how many chunks those are; what remains lies in the buffer that still grows.
    #[must_use]
    #[inline]
    pub fn queued(&self) -> (usize, usize) {
        let Room { queue, tail, .. } = &self.room;
        let in_tail = if queue.is_empty() { tail.len() - self.head_sent } else { tail.len() };
        (self.len - in_tail, queue.len())
    }

    /// Size of the buffer that still grows.
    #[must_use]
    pub fn buffer(&self) -> usize {
        self.room.tail.capacity()
    }

    /// Whether everything is sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes sent, ever.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Position in the stream behind the last byte appended so far.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.sent + self.len as u64
    }

    /// The bytes appended by [`write`](Self::write) since the stream was at `position`, which [`end`](Self::end)
    /// said; nothing when there are too many to be in one piece, or when shared chunks are among them.
    #[must_use]
    #[inline]
    pub fn own_since(&self, position: u64) -> &[u8] {
        let len = self.end().saturating_sub(position) as usize;
        self.room.tail.len().checked_sub(len).map_or(&[], |start| &self.room.tail[start..])
    }

    /// What is appended from now on is not sent before `ticket` is done.
    pub fn hold(&mut self, ticket: Ticket) {
        if self.holds.back().is_none_or(|&(_, last)| last < ticket) {
            self.holds.push_back((self.end(), ticket));
        }
    }

    /// `ticket` and all tickets before it are durable.
    pub fn release(&mut self, ticket: Ticket) {
        while self.holds.front().is_some_and(|&(_, t)| t <= ticket) {
            self.holds.pop_front();
        }
    }

    /// Bytes that may be sent now.
    #[must_use]
    pub fn sendable(&self) -> usize {
        match self.holds.front() {
            Some(&(position, _)) => (position - self.sent) as usize,
            None => self.len,
        }
    }

    /// The bytes that may be sent now, in order, as slices to hand to one vectored write.
    pub fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        let mut left = self.sendable();
        let mut skip = self.head_sent;
        self.room
            .queue
            .iter()
            .map(|chunk| &**chunk)
            .chain(core::iter::once(self.room.tail.as_slice()))
            .map_while(move |chunk| {
                let chunk = &chunk[skip..];
                skip = 0;
                let take = chunk.len().min(left);
                left -= take;
                (take > 0 || left > 0).then_some(&chunk[..take])
            })
            .filter(|chunk| !chunk.is_empty())
    }

    /// `n` bytes of [`chunks`](Self::chunks) were sent.
    ///
    /// # Panics
    /// When `n` is more than [`sendable`](Self::sendable): a bug of the driver.
    pub fn advance(&mut self, n: usize) {
        assert!(n <= self.sendable(), "sent {n} bytes of {}", self.sendable());
        self.len -= n;
        self.sent += n as u64;
        let mut n = n + self.head_sent;
        while let Some(first) = self.room.queue.front() {
            if n < first.len() {
                break;
            }
            n -= first.len();
            if let Some(Chunk::Own(mut bytes)) = self.room.queue.pop_front()
                && bytes.capacity() <= 2 * CHUNK
                && self.room.spare.len() < SPARE
            {
                bytes.clear();
                self.room.spare.push(bytes);
            }
        }
        if self.room.queue.is_empty() && n == self.room.tail.len() {
            self.room.tail.clear();
            n = 0;
        }
        self.head_sent = n;
    }

    /// Gives back the memory of an outbox with nothing to send.
    pub fn shrink(&mut self) {
        if self.is_empty() {
            self.room = Room::default();
        }
    }

    /// Drops everything unsent: as if it had never been appended.
    pub fn clear(&mut self) {
        *self = Self { sent: self.sent, ..Self::default() };
    }

    fn close_tail(&mut self) {
        if self.room.tail.is_empty() {
            return;
        }
        if self.room.queue.is_empty() && self.head_sent > 0 {
            // The part of the tail that is gone must not stay in front of the chunk.
            self.room.tail.drain(..self.head_sent);
            self.head_sent = 0;
        }
        let mut next = self.room.spare.pop().unwrap_or_default();
        if self.room.tail.len() >= CHUNK {
            // A full chunk is seldom the last: the next one is made in one piece instead of growing to the same size.
            next.reserve(CHUNK + CHUNK / 8);
        }
        self.room.queue.push_back(Chunk::Own(core::mem::replace(&mut self.room.tail, next)));
    }
}

/// Memory that outboxes gave back, for others to use again: it is mapped already, and near.
///
/// A link has memory only while it has something to send, and what one link has sent is what the next one writes
/// to. What is not used again is given back to the allocator by and by, see [`age`](Self::age).
#[derive(Debug, Default)]
pub(crate) struct Rooms {
    free: Vec<Room>,
    /// The least that was free since the last [`age`](Self::age).
    unused: usize,
}

/// Most rooms that are kept: as many links as may well have something to send in one turn.
const ROOMS: usize = 64;
/// A room that once queued more chunks than this is not kept.
const CHUNKS: usize = 64;

impl Rooms {
    /// Gives memory to an outbox that has none.
    #[inline]
    pub(crate) fn lend(&mut self, outbox: &mut Outbox) {
        if outbox.room.is_none()
            && let Some(room) = self.free.pop()
        {
            self.unused = self.unused.min(self.free.len());
            outbox.room = room;
        }
    }

    /// Takes the memory of an outbox that has nothing to send, as is all well for a link that falls idle.
    #[inline]
    pub(crate) fn take_back(&mut self, outbox: &mut Outbox) {
        if outbox.is_empty() && !outbox.room.is_none() {
            let room = core::mem::take(&mut outbox.room);
            if self.free.len() < ROOMS && room.queue.capacity() <= CHUNKS {
                self.free.push(room);
            }
        }
    }

    /// Frees what was not needed since this was called last.
    pub(crate) fn age(&mut self) {
        self.free.drain(..self.unused);
        self.unused = self.free.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn own_bytes_can_be_looked_at_until_they_are_closed() {
        let mut out = Outbox::default();
        out.write(b"+OK\r\n");
        out.advance(2);
        let begun = out.end();
        assert_eq!(out.own_since(begun), b"");
        out.write(b"-ERR no\r\n");
        assert_eq!(out.own_since(begun), b"-ERR no\r\n");
        let begun = out.end();
        out.push(Bytes::from_static(b"$9999"));
        assert_eq!(out.own_since(begun), b"");
        let begun = out.end();
        out.write(&[b'x'; CHUNK]);
        assert_eq!(out.own_since(begun), b"");
    }

    fn unsent(out: &Outbox) -> Vec<u8> {
        out.chunks().flatten().copied().collect()
    }

    #[test]
    fn what_goes_in_comes_out_in_order_whatever_the_sizes() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let (mut out, mut model) = (Outbox::default(), Vec::new());
            let mut next = 0u8;
            for _ in 0..60 {
                let n = if rng.one_in(10) { 70_000 } else { rng.index(40) };
                let bytes: Vec<u8> = (0..n)
                    .map(|_| {
                        next = next.wrapping_add(1);
                        next
                    })
                    .collect();
                if rng.one_in(2) {
                    out.write(&bytes);
                } else {
                    out.push(Bytes::from(bytes.clone()));
                }
                model.extend_from_slice(&bytes);
                assert_eq!(unsent(&out), model, "seed {seed}");
                let n = rng.index(model.len() + 1);
                out.advance(n);
                model.drain(..n);
                assert_eq!(out.len(), model.len());
                assert_eq!(unsent(&out), model, "seed {seed}");
            }
        }
    }

    #[test]
    fn nothing_behind_a_hold_leaves_before_its_ticket() {
        let mut out = Outbox::default();
        out.write(b"before");
        out.hold(Ticket(1));
        out.write(b"one");
        out.hold(Ticket(2));
        out.write(b"two");
        assert_eq!(unsent(&out), b"before");
        out.advance(6);
        assert_eq!(unsent(&out), b"");
        out.release(Ticket(1));
        assert_eq!(unsent(&out), b"one");
        out.release(Ticket(2));
        assert_eq!(unsent(&out), b"onetwo");
    }

    #[test]
    #[should_panic(expected = "sent 2 bytes of 1")]
    fn a_driver_cannot_send_what_is_not_there() {
        let mut out = Outbox::default();
        out.write(b"x");
        out.advance(2);
    }

    #[test]
    fn memory_goes_round_and_what_is_not_needed_goes() {
        let mut rooms = Rooms::default();
        let mut outboxes = [Outbox::default(), Outbox::default(), Outbox::default()];
        for outbox in &mut outboxes {
            rooms.lend(outbox);
            outbox.write(&[1; 2 * CHUNK]);
            outbox.write(b"more");
            rooms.take_back(outbox);
            assert_eq!(unsent(outbox).len(), 2 * CHUNK + 4, "what has to be sent is not taken");
            outbox.advance(outbox.len());
            rooms.take_back(outbox);
            assert!(outbox.room.is_none());
        }
        assert_eq!(rooms.free.len(), 1, "each used what the one before it had used");
        outboxes.iter_mut().for_each(|outbox| outbox.write(b"x"));
        outboxes.iter_mut().for_each(|outbox| outbox.advance(1));
        outboxes.iter_mut().for_each(|outbox| rooms.take_back(outbox));
        assert_eq!(rooms.free.len(), 4);
        rooms.age();
        rooms.lend(&mut outboxes[0]);
        outboxes[0].write(b"y");
        outboxes[0].advance(1);
        rooms.take_back(&mut outboxes[0]);
        rooms.age();
        assert_eq!(rooms.free.len(), 1, "one of them was used");
        rooms.age();
        assert_eq!(rooms.free.len(), 0);
    }
}
