//! A disk that takes its time, and forgets in a power cut what was not made durable.

use std::collections::VecDeque;

use whimbrel_core::action::File;
use whimbrel_core::ids::Ticket;
use whimbrel_core::rng::Rng;

use super::process::Which;

/// A request to write a file as a whole.
#[derive(Clone, Debug)]
pub struct Write {
    pub which: Which,
    pub ticket: Ticket,
    pub file: File,
    pub bytes: Vec<u8>,
    pub fsync: bool,
}

/// So many contents of nodes.conf can be put back.
const OLDER: usize = 12;

/// The disk of one process: nodes.conf, and the writes under way.
#[derive(Debug, Default)]
pub struct Disk {
    /// What survives a power cut for certain.
    pub durable: Option<Vec<u8>>,
    /// What was written after it and may survive.
    written: Option<Vec<u8>>,
    /// What was durable before, the newest last.
    older: VecDeque<Vec<u8>>,
    pub queue: VecDeque<Write>,
}

impl Disk {
    /// The first write is done.
    pub fn complete(&mut self) -> Option<Write> {
        let write = self.queue.pop_front()?;
        if write.file == File::NodesConf {
            if write.fsync {
                if let Some(old) = self.durable.replace(write.bytes.clone()) {
                    self.older.push_back(old);
                    if self.older.len() > OLDER {
                        self.older.pop_front();
                    }
                }
                self.written = None;
            } else {
                self.written = Some(write.bytes.clone());
            }
        }
        Some(write)
    }

    /// What it kept so far is not put back: the node knew no cluster then.
    pub fn forget_older(&mut self) {
        self.older.clear();
    }

    /// Somebody puts an older nodes.conf back, as from a copy of the volume; whether there was one.
    pub fn roll_back(&mut self, rng: &mut Rng) -> bool {
        if self.older.is_empty() {
            return false;
        }
        let at = rng.index(self.older.len());
        self.durable = self.older.get(at).cloned();
        self.older.truncate(at);
        true
    }

    /// The process is gone: what the next life finds.
    pub fn crash(&mut self, rng: &mut Rng) {
        if let Some(under_way) = self.queue.pop_front()
            && under_way.file == File::NodesConf
            && rng.one_in(2)
        {
            self.written = Some(under_way.bytes);
        }
        self.queue.clear();
        if let Some(written) = self.written.take()
            && rng.one_in(2)
        {
            self.durable = Some(written);
        }
    }
}
