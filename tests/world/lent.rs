//! What arrives at a machine goes into whatever memory it has for that, as drivers do it; and what an onlooker knows of
//! memory that a shard lends to read commands into, from which the stream of a migration is sent.

use std::collections::BTreeSet;

use whimbrel_core::ids::LinkId;
use whimbrel_core::input::Input;

use super::World;
use super::journal::mark;
use super::net::{Class, Owner};
use super::process::Which;

/// Size of memory that a shard lends: what drivers read at a time at most.
const LENT: usize = 64 * 1024;
/// Less is not worth lending memory.
const WORTH_LENDING: usize = 16 * 1024;

/// Where memory lies that a process has lent in its present jobs.
pub type Places = BTreeSet<usize>;

impl World {
    /// The owner of an end reads all that arrived behind `bytes`, or as much as there happens to be room for.
    pub fn read_much(&mut self, c: usize, end: usize, mut bytes: Vec<u8>) -> Vec<u8> {
        if !matches!(self.conns[c].ends[end].owner, Some(Owner::Machine { .. })) {
            return bytes;
        }
        let room = if self.rng.one_in(3) { 1 + self.rng.index(LENT) } else { LENT };
        let unread = &mut self.conns[c].ends[end].unread;
        while bytes.len() < room
            && let Some(more) = unread.pop_front()
        {
            bytes.extend(more);
        }
        let rest = bytes.split_off(room.min(bytes.len()));
        if !rest.is_empty() {
            unread.push_front(rest);
        }
        bytes
    }

    /// Hands bytes to a machine, as far as it likes into its own memory. How many are left, because the link is gone.
    pub fn feed(&mut self, c: usize, p: usize, which: Which, link: LinkId, mut bytes: &[u8]) -> usize {
        while !bytes.is_empty() {
            let inbox = self.processes[p].machines.as_mut().and_then(|m| m.inbox(which, link));
            let inbox = inbox.filter(|inbox| !inbox.is_empty()).map(|inbox| {
                let len = inbox.len().min(bytes.len());
                inbox[..len].copy_from_slice(&bytes[..len]);
                (len, (inbox.len() == LENT).then_some(inbox.as_ptr() as usize))
            });
            self.note_reading(c, p, inbox.and_then(|(_, place)| place), bytes);
            // What other threads have sent comes before what was read; it may be the end of the link.
            if !self.look(p, which.thread()) || !self.processes[p].links.contains_key(&(which, link)) {
                return bytes.len();
            }
            let Some((len, place)) = inbox else {
                self.turn(p, which, Input::Filled { link, bytes });
                return 0;
            };
            bytes = &bytes[len..];
            self.turn(p, which, Input::InboxFilled { link, len });
            match place {
                Some(_) => self.strike_stream(p),
                None => mark("a large value was read in place"),
            }
        }
        0
    }

    /// A process reads from a connection, into memory that it lends or not.
    fn note_reading(&mut self, c: usize, p: usize, place: Option<usize>, bytes: &[u8]) {
        let Some(place) = place else {
            if bytes.len() >= WORTH_LENDING && std::mem::take(&mut self.conns[c].lent) {
                mark("who was read into memory that is lent is read as others are");
            }
            return;
        };
        mark("commands were read into memory that is lent");
        if bytes[0] != b'*' {
            mark("a command ended in memory that is lent and had begun before");
        }
        if self.processes[p].config.shards > 1 {
            mark("one of several shards lent memory");
        }
        self.conns[c].lent = true;
        let process = &mut self.processes[p];
        if !process.lent.insert(place) {
            mark("memory was lent again");
        }
        process.seen.values_mut().for_each(|seen| seen.lent = true);
    }

    /// Whether something that waits to be sent on a connection of a migration lies in memory that is lent.
    pub fn sends_lent(&mut self, c: usize) -> bool {
        let conn = &self.conns[c];
        let (Class::Migration, Some(Owner::Machine { process, life, which, link })) =
            (conn.class, conn.ends[0].owner)
        else {
            return false;
        };
        let p = &mut self.processes[process];
        let outbox = p.machines.as_mut().filter(|_| p.life == life).and_then(|m| m.outbox(which, link));
        let is_lent = |chunk: &[u8]| {
            let at = chunk.as_ptr() as usize;
            p.lent.range(..=at).next_back().is_some_and(|place| at < place + LENT)
        };
        !p.lent.is_empty() && outbox.is_some_and(|outbox| outbox.chunks().any(is_lent))
    }
}
