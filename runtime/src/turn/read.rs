//! What comes in: connections, and bytes of links.

use std::io;

use whimbrel_core::ids::LinkId;
use whimbrel_core::input::Input;
use whimbrel_core::time::Mono;

use super::{Turn, Unheard};
use crate::failure::words;
use crate::files::Disk;
use crate::links::{Conn, Phase, SCRATCH, Stream};
use crate::listen::unmapped;
use crate::machine::Which;

/// Reads from one link before the others have their turn, into the memory of a large value: that costs little.
const READS: usize = 4;

/// A link whose bytes took longer than this, in microseconds of CPU time, is given half as many the next time …
const LONG_US: u64 = 500;
/// … and one that had as many as it was given, as many more as would take so long; twice as many at most.
const AIM_US: u64 = 400;
/// Fewer are never given, and not worth a look at the clock.
const LEAST: usize = 4 * 1024;

impl<D: Disk> Turn<D> {
    /// Takes in who knocked.
    pub(super) fn accept(&mut self) {
        if self.listeners.deadline().is_none() {
            return;
        }
        let mut arrived = Vec::new();
        self.listeners.accept(&mut arrived);
        for (which, stream, origin) in arrived {
            if which == Which::Shard {
                stream.keep_alive(self.keepalive);
            }
            match self.links.accept(which, stream) {
                Ok(link) => self.step(which, Input::Opened { link, origin }),
                Err(e) => tracing::warn!("Error accepting a client connection: {}", words(&e)),
            }
        }
    }

    /// Finishes what `Action::Connect` began.
    pub(super) fn connected(&mut self, slot: usize) {
        let Some(conn) = self.links.get(slot) else { return };
        let (which, link) = (conn.which, conn.link);
        let Stream::Tcp(stream) = &conn.stream else { return };
        let outcome = match stream.take_error() {
            Ok(Some(e)) | Err(e) => Err(e),
            Ok(None) => match stream.peer_addr() {
                Ok(_) => stream.local_addr(),
                // A spurious event: it is still being connected.
                Err(e) if e.kind() == io::ErrorKind::NotConnected => return,
                Err(e) => Err(e),
            },
        };
        match outcome {
            Ok(local) => {
                conn.phase = Phase::Open;
                self.step(which, Input::Connected { link, local: unmapped(local) });
                // What it said meanwhile was not announced as such.
                self.read(slot);
            }
            Err(e) => {
                self.links.remove(slot);
                self.step(which, Input::ConnectFailed { link, reason: &words(&e) });
            }
        }
    }

    /// Reads on where the last turn left off.
    pub(super) fn read_unread(&mut self) {
        if self.mesh.is_blocked() {
            return;
        }
        for slot in std::mem::take(&mut self.links.unread) {
            if let Some(conn) = self.links.get(slot) {
                conn.unread = false;
                self.read(slot);
                self.send_large(slot);
            }
        }
    }

    /// Reads a link until the kernel has no more, or the others must have their turn.
    pub(super) fn read(&mut self, slot: usize) {
        for _ in 0..READS {
            if self.mesh.is_blocked() {
                break;
            }
            let Some(conn) = self.links.get(slot) else { return };
            if conn.paused || conn.phase != Phase::Open {
                return;
            }
            let (which, link, ending, share) = (conn.which, conn.link, conn.ending, conn.share);
            let (result, room) = match self.machines.get(which).inbox(link).filter(|inbox| !inbox.is_empty())
            {
                Some(inbox) => {
                    // A large value has all the room it wants: that costs little. Commands have their share.
                    let room = if inbox.len() > SCRATCH { inbox.len() } else { inbox.len().min(share) };
                    let result = conn.stream.read(&mut inbox[..room]);
                    // Its client waits for nothing, so no mail moves this link to another thread.
                    if let Ok(len @ 1..) = result
                        && self.is_heard(slot, link)
                    {
                        self.pass_on(slot, which, len, Input::InboxFilled { link, len });
                    }
                    (result, room)
                }
                None => {
                    let mut scratch = std::mem::take(&mut self.scratch);
                    let result = conn.stream.read(&mut scratch[..share]);
                    if let Ok(len @ 1..) = result
                        && self.is_heard_of(slot, link, &mut scratch, len)
                    {
                        self.pass_on(slot, which, len, Input::Filled { link, bytes: &scratch[..len] });
                    }
                    self.scratch = scratch;
                    (result, share)
                }
            };
            if matches!(result, Ok(len) if len == share) && !ending {
                // A full buffer is a thousand small commands: the others have waited long enough.
                break;
            }
            match result {
                Ok(0) => {
                    self.hang_up(slot, which, link);
                    return;
                }
                // The end of the stream, already announced, is next: not before the replies are out.
                Ok(_) if ending => break,
                // Less than there was room for: more will be announced.
                Ok(len) if len < room => return,
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    tracing::debug!("Reading from link {link}: {}", words(&e));
                    self.links.remove(slot);
                    self.step(which, Input::Closed { link });
                    return;
                }
            }
        }
        self.links.mark_unread(slot);
    }

    /// Tells a machine of `len` bytes that came on a link.
    fn pass_on(&mut self, slot: usize, which: Which, len: usize, input: Input<'_>) {
        let begun = (LEAST..=SCRATCH).contains(&len).then(|| self.clock.mono());
        self.step(which, input);
        if let Some(begun) = begun {
            self.deal(slot, len, begun);
        }
    }

    /// The peer has closed its side.
    fn hang_up(&mut self, slot: usize, which: Which, link: LinkId) {
        if !self.is_heard(slot, link) {
            return;
        }
        if self.machines.get(which).put_off_end(link) {
            self.links.get(slot).into_iter().for_each(|conn| conn.paused = true);
            return;
        }
        self.links.remove(slot);
        self.step(which, Input::Closed { link });
    }

    /// Takes in what other threads said before the bytes came that were just read: they may be the answer to it. Whether
    /// the link is still there to hear them.
    fn is_heard(&mut self, slot: usize, link: LinkId) -> bool {
        if !self.mesh.has_news() {
            return true;
        }
        self.take_mail();
        self.links.get(slot).is_some_and(|conn| conn.link == link && conn.phase == Phase::Open)
    }

    /// The same when the first `len` of these bytes are to be heard: if the link goes to another thread meanwhile, they do,
    /// too.
    fn is_heard_of(&mut self, slot: usize, link: LinkId, bytes: &mut Vec<u8>, len: usize) -> bool {
        if !self.mesh.has_news() {
            return true;
        }
        self.unheard.push(Unheard { link, bytes: std::mem::take(bytes), len });
        let is_heard = self.is_heard(slot, link);
        self.unheard.pop().into_iter().for_each(|unheard| *bytes = unheard.bytes);
        is_heard
    }

    /// Takes in a link that another thread had, and what was read of it there.
    pub(super) fn adopt(&mut self, from: LinkId, mut conn: Conn) {
        let bytes = std::mem::take(&mut conn.unheard);
        let link = match self.links.adopt(conn) {
            Ok(link) => link,
            Err(e) => {
                tracing::warn!("Error taking over a client connection: {}", words(&e));
                return self.step(Which::Shard, Input::Closed { link: from });
            }
        };
        let len = bytes.len();
        self.unheard.push(Unheard { link, bytes, len });
        self.step(Which::Shard, Input::Moved { link, from });
        if let Some(Unheard { bytes, len: 1.., .. }) = self.unheard.pop()
            && self.links.find(Which::Shard, link).is_some()
        {
            self.step(Which::Shard, Input::Filled { link, bytes: &bytes });
        }
    }

    /// Decides how much of a link is read next time: what `len` bytes cost depends on what is in them and in memory,
    /// and nobody else is served meanwhile.
    fn deal(&mut self, slot: usize, len: usize, begun: Mono) {
        let now = self.clock.mono();
        let took = now.since(begun).0;
        // Whoever took the core away meanwhile does so with fewer bytes, too; and commands that come in halves cost more.
        let is_long = took > LONG_US && self.meter.spent(now).0 > LONG_US;
        if let Some(conn) = self.links.get(slot) {
            if is_long {
                conn.share = (len / 2).max(LEAST);
            } else if took < AIM_US && len == conn.share {
                let aim = len * AIM_US as usize / took.max(1) as usize;
                conn.share = aim.min(2 * len).min(SCRATCH);
            }
        }
    }
}
