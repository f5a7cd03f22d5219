//! Names of things: nodes, shards, jobs, links, clients and tickets.
//!
//! Node ids, shard ids and job names are 40 bytes on every wire of Valkey; the rest are numbers of ours.

use core::fmt;

use crate::slots::Slot;

/// Length in bytes of node ids, shard ids and job names.
pub const ID_LEN: usize = 40;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; ID_LEN]);

        impl $name {
            /// Takes the 40 bytes as they are.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; ID_LEN]) -> Self {
                Self(bytes)
            }

            /// Reads an id from text that must be exactly 40 of `a-z0-9`.
            #[must_use]
            pub fn parse(text: &[u8]) -> Option<Self> {
                let bytes: [u8; ID_LEN] = text.try_into().ok()?;
                bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()).then_some(Self(bytes))
            }

            /// A random id of 40 lower-case hex digits.
            pub fn random(rng: &mut crate::rng::Rng) -> Self {
                let mut bytes = [0; ID_LEN];
                rng.hex(&mut bytes);
                Self(bytes)
            }

            /// The 40 bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; ID_LEN] {
                &self.0
            }

            /// The id as text; bytes that are not UTF-8 (possible in a job name of a peer) show as `?`.
            #[must_use]
            pub fn as_str(&self) -> &str {
                core::str::from_utf8(&self.0).unwrap_or("????????????????????????????????????????")
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

text_id!(
    /// The name of a node, unique for ever: 40 of `a-z0-9`, drawn at first start and kept in nodes.conf.
    NodeId
);
text_id!(
    /// The name of a shard (a primary and its replicas).
    ShardId
);
text_id!(
    /// The name of one slot migration; any 40 bytes, by custom lower-case hex drawn by the source.
    JobName
);

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number_id!(
    /// The id a client sees in `CLIENT ID`: `n * shards + shard`.
    ClientId
);
number_id!(
    /// A request to make something durable. Tickets of one machine grow, and are done in order.
    Ticket
);
number_id!(
    /// One reason why commands wait.
    HoldId
);

/// Which shard of a process: one machine of the data plane, on a core of its own. (The shards of a *cluster* have
/// names: [`ShardId`].)
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ShardIndex(pub u16);

/// How many shards a process has, and with that: which of them a slot is on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shards(u16);

impl Shards {
    /// A process with one shard, where everything is.
    pub const ONE: Self = Self(1);

    /// A process with `count` shards; at least one.
    #[must_use]
    pub fn new(count: u16) -> Self {
        Self(count.max(1))
    }

    /// How many there are.
    #[must_use]
    pub const fn count(self) -> u16 {
        self.0
    }

    /// The shard of a slot. Neighbours are on different shards: a node's slots are ranges.
    #[inline]
    #[must_use]
    pub const fn of(self, slot: Slot) -> ShardIndex {
        if self.0 == 1 { ShardIndex(0) } else { ShardIndex(slot.number() % self.0) }
    }

    /// All of them.
    pub fn iter(self) -> impl Iterator<Item = ShardIndex> + Clone {
        (0..self.0).map(ShardIndex)
    }
}

/// One byte stream between a machine and the world.
///
/// Links that the driver accepted and links that a machine asked for are drawn from two number
/// ranges, so that neither side has to ask the other for a free number. A number is never reused. Links of different
/// shards have different names, because what they are about passes between shards.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkId(u64);

const DIALED: u64 = 1 << 63;
/// Where the index of the shard begins.
const SHARD: u32 = 48;
const NUMBER: u64 = (1 << SHARD) - 1;

impl LinkId {
    /// The `n`-th link that a driver accepted for this machine.
    #[must_use]
    pub const fn accepted(n: u64) -> Self {
        Self(n & NUMBER)
    }

    /// The `n`-th link that this machine asked for.
    #[must_use]
    pub const fn dialed(n: u64) -> Self {
        Self(n & NUMBER | DIALED)
    }

    /// The same of this shard, which is the first unless it is said.
    #[must_use]
    pub const fn of(self, shard: ShardIndex) -> Self {
        Self(self.0 & (DIALED | NUMBER) | (shard.0 as u64) << SHARD)
    }

    /// The shard whose link it is; meaningless for links of the cluster bus.
    #[must_use]
    pub const fn shard(self) -> ShardIndex {
        ShardIndex(((self.0 & !DIALED) >> SHARD) as u16)
    }

    /// The `n` it was drawn with, so that a driver finds its socket without a search.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0 & NUMBER
    }

    /// Whether the machine asked for this link.
    #[must_use]
    pub const fn is_dialed(self) -> bool {
        self.0 & DIALED != 0
    }
}

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = if self.is_dialed() { "d" } else { "a" };
        match self.shard() {
            ShardIndex(0) => write!(f, "{letter}{}", self.number()),
            ShardIndex(shard) => write!(f, "{letter}{shard}.{}", self.number()),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn ids_accept_forty_lower_case_letters_and_digits_only() {
        assert!(NodeId::parse(&[b'a'; 40]).is_some());
        assert!(NodeId::parse(&[b'z'; 40]).is_some());
        assert!(NodeId::parse(&[b'A'; 40]).is_none());
        assert!(NodeId::parse(&[b'a'; 39]).is_none());
        assert!(NodeId::parse(&[b'a'; 41]).is_none());
    }

    #[test]
    fn a_link_knows_its_shard() {
        let link = LinkId::dialed(5).of(ShardIndex(3));
        assert_eq!((link.shard(), link.number(), link.is_dialed()), (ShardIndex(3), 5, true));
        assert_ne!(LinkId::accepted(5), LinkId::accepted(5).of(ShardIndex(1)));
        assert_eq!(link.to_string(), "d3.5");
    }

    #[test]
    fn neighbouring_slots_are_on_different_shards() {
        let shard = |shards, slot| Shards::new(shards).of(Slot::new(slot).expect("a slot")).0;
        assert_eq!([shard(4, 0), shard(4, 1), shard(4, 16_383)], [0, 1, 3]);
        assert_eq!([shard(1, 5), shard(0, 5)], [0, 0]);
        assert_eq!(Shards::new(3).iter().map(|s| s.0).collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn the_two_ranges_of_links_do_not_meet() {
        assert_ne!(LinkId::accepted(7), LinkId::dialed(7));
        assert!(LinkId::dialed(0).is_dialed());
    }
}
