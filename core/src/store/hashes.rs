//! The seeded hash of keys, and the position that is a part of it.

use core::hash::Hasher;

use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;

/// Bits of a position.
pub(super) const POSITION_BITS: u32 = 32;
/// Where a position starts in a hash. hashbrown takes the low bits for the bucket and the top seven for the tag.
pub(super) const POSITION_SHIFT: u32 = 24;

/// The place of a key within its slot, the same whatever the size of the table.
pub(super) fn position(hash: u64) -> u32 {
    (hash >> POSITION_SHIFT) as u32
}

/// The seeded hash of keys.
pub(super) struct Hashes {
    seed: u64,
    shared: SharedSeed,
    /// Makes hashes collide, to reach what only then happens.
    #[cfg(test)]
    pub(super) mask: u64,
}

impl Hashes {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            shared: SharedSeed::from_u64(seed),
            #[cfg(test)]
            mask: u64::MAX,
        }
    }

    #[inline]
    pub(super) fn of(&self, key: &[u8]) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.seed, &self.shared);
        hasher.write(key);
        #[cfg(test)]
        return hasher.finish() & self.mask;
        #[cfg(not(test))]
        hasher.finish()
    }
}
