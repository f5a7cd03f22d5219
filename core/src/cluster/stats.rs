//! How much was said on the bus.

use crate::wire::bus::Kind;

/// Counts since start, of messages and bytes; ignored messages included.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Messages sent, by the number of their kind.
    pub sent: [u64; Kind::COUNT],
    /// Messages received, by the number of their kind.
    pub received: [u64; Kind::COUNT],
    /// Bytes sent.
    pub bytes_sent: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Of these, bytes of pub/sub messages sent.
    pub pubsub_bytes_sent: u64,
    /// Of these, bytes of pub/sub messages received.
    pub pubsub_bytes_received: u64,
    /// Of these, bytes of module messages sent.
    pub module_bytes_sent: u64,
    /// Of these, bytes of module messages received.
    pub module_bytes_received: u64,
}

impl Stats {
    pub(super) fn sent(&mut self, kind: Kind, len: usize) {
        let len = len as u64;
        self.sent[kind as usize] += 1;
        self.bytes_sent += len;
        match kind {
            Kind::Publish | Kind::PublishShard => self.pubsub_bytes_sent += len,
            Kind::Module => self.module_bytes_sent += len,
            _ => {}
        }
    }

    pub(super) fn received(&mut self, kind: Kind, len: usize) {
        let len = len as u64;
        self.received[kind as usize] += 1;
        self.bytes_received += len;
        match kind {
            Kind::Publish | Kind::PublishShard => self.pubsub_bytes_received += len,
            Kind::Module => self.module_bytes_received += len,
            _ => {}
        }
    }
}
