//! What goes out: the bytes of outboxes, each link once per turn.

use std::io::{self, IoSlice};
use std::time::{Duration, Instant};

use mio::Events;
use smallvec::SmallVec;
use whimbrel_core::ids::LinkId;
use whimbrel_core::input::Input;
use whimbrel_core::link::Outbox;

use super::{EVENTS, Late, Turn};
use crate::failure::words;
use crate::files::Disk;
use crate::links::{Phase, Stream};
use crate::machine::Which;

/// Bytes sent on one link before the others have their turn.
const SEND: usize = 1024 * 1024;
/// Slices of one vectored send.
const SLICES: usize = 64;
/// How long the end of the process waits for peers to take what they are owed.
const FAREWELL: Duration = Duration::from_secs(1);
/// Time between two looks whether they have.
const NAP: Duration = Duration::from_millis(1);

/// Replies of this size do not wait for the end of the turn: the next link's will lie in the same memory, which is
/// still in the cache then.
const LARGE: usize = 32 * 1024;

impl<D: Disk> Turn<D> {
    /// Sends what a link has to say already, if that is much.
    pub(super) fn send_large(&mut self, slot: usize) {
        let Some(conn) = self.links.get(slot).filter(|conn| conn.dirty) else { return };
        let (which, link) = (conn.which, conn.link);
        if self.machines.get(which).outbox(link).is_some_and(|outbox| outbox.sendable() >= LARGE) {
            // Mail goes before what was appended after it.
            self.settle();
            if !self.mesh.is_blocked() {
                self.send_dirty(slot);
            }
        }
    }

    /// Sends what is to be sent, each link once.
    pub(super) fn flush(&mut self) {
        if self.mesh.is_blocked() {
            return;
        }
        let mut dirty = std::mem::take(&mut self.links.dirty);
        for slot in dirty.drain(..) {
            match self.mesh.is_blocked() {
                // It stays one of those with bytes to send.
                true => self.links.dirty.push(slot),
                false => self.send_dirty(slot),
            }
        }
        // What became dirty meanwhile has its turn in the next one.
        if self.links.dirty.is_empty() {
            self.links.dirty = dirty;
        }
    }

    fn send_dirty(&mut self, slot: usize) {
        let Some(conn) = self.links.get(slot) else { return };
        if std::mem::take(&mut conn.dirty) && !conn.full && conn.phase != Phase::Connecting {
            self.send(slot);
            // A machine that heard of it may have posted mail, which goes before what it appended elsewhere.
            self.settle();
        }
    }

    fn send(&mut self, slot: usize) {
        let Some(conn) = self.links.get(slot) else { return };
        let (which, link, closing) = (conn.which, conn.link, conn.phase == Phase::Closing);
        let mut sent = 0;
        let mut broken = false;
        let mut left = false;
        if let Some(outbox) = self.machines.get(which).outbox(link) {
            match send_some(&mut conn.stream, outbox, &mut sent) {
                Ok(Sent::All) => left = !outbox.is_empty(),
                Ok(Sent::Enough) => {
                    left = true;
                    self.links.mark_dirty(slot);
                }
                Ok(Sent::Full) => {
                    left = true;
                    self.links.mark_full(slot);
                }
                Err(e) => {
                    tracing::debug!("Writing to link {link}: {}", words(&e));
                    broken = true;
                }
            }
        }
        if broken || (closing && !left) {
            self.end(slot, which, link);
        } else if sent > 0 {
            self.step(which, Input::Drained { link });
        }
    }

    /// Closes a link whose outbox is of no more use; the machine may forget it.
    fn end(&mut self, slot: usize, which: Which, link: LinkId) {
        if let Some(conn) = self.links.get(slot) {
            // Unread bytes would make the kernel reset the connection, and the peer lose what was just sent.
            let _ = conn.stream.read(&mut self.scratch);
        }
        self.links.remove(slot);
        self.late.push_back((which, Late::Closed { link }));
    }

    /// Lets other threads send what they were asked for, and peers take what they are owed, before the process ends; if
    /// they do so soon. What was executed is answered then.
    pub(super) fn say_farewell(&mut self) {
        let end = Instant::now() + FAREWELL;
        let mut events = Events::with_capacity(EVENTS);
        loop {
            self.take_mail();
            self.settle();
            let mut waiting = !self.mesh.is_still();
            for slot in self.links.occupied().collect::<Vec<_>>() {
                let Some(conn) = self.links.get(slot) else { continue };
                if conn.phase == Phase::Connecting || self.mesh.is_blocked() {
                    continue;
                }
                let (which, link) = (conn.which, conn.link);
                let Some(outbox) = self.machines.get(which).outbox(link) else { continue };
                let mut sent = 0;
                match send_some(&mut conn.stream, outbox, &mut sent) {
                    Ok(Sent::All) => {}
                    Ok(Sent::Enough) => waiting = true,
                    Ok(Sent::Full) => {
                        waiting = true;
                        self.links.mark_full(slot);
                    }
                    Err(_) => self.links.remove(slot),
                }
            }
            let left = end.saturating_duration_since(Instant::now());
            if !waiting || left.is_zero() {
                return;
            }
            let nap = if self.mesh.fall_asleep() { left.min(NAP) } else { Duration::ZERO };
            let _ = self.poll.poll(&mut events, Some(nap));
            self.mesh.wake();
        }
    }
}

/// How far a send went.
enum Sent {
    /// Everything that may be sent now is.
    All,
    /// A share; the others shall have theirs.
    Enough,
    /// The kernel takes no more.
    Full,
}

/// Sends from an outbox, counting the bytes in `sent`.
fn send_some(stream: &mut Stream, outbox: &mut Outbox, sent: &mut usize) -> io::Result<Sent> {
    loop {
        let slices: SmallVec<[IoSlice<'_>; SLICES]> =
            outbox.chunks().take(SLICES).map(IoSlice::new).collect();
        if slices.is_empty() {
            return Ok(Sent::All);
        }
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        let last = slices.len() < SLICES;
        match stream.send(&slices) {
            Ok(n) => {
                drop(slices);
                outbox.advance(n);
                *sent += n;
                if last && n == offered {
                    return Ok(Sent::All);
                }
                // Short is not full: one call takes two gigabytes at most. The next one tells.
                if n == offered && *sent >= SEND {
                    return Ok(Sent::Enough);
                }
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Sent::Full),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}
