//! Limits of the process, where it has several shards: each tells its siblings how many clients it has and how much memory
//! is in use, ten times a second if that has changed, and at once when its clients have come or gone by more than its share
//! of the free places: what all of them have not told never exceeds what is free.

use crate::action::Actions;
use crate::ids::{ShardIndex, Shards};
use crate::shard::Shard;
use crate::shard::errand::Errand;

/// What a shard takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Taken {
    clients: usize,
    /// Bytes that count against `maxmemory-clients`.
    of_clients: u64,
    /// Bytes that count against `maxmemory`.
    memory: u64,
}

/// What each sibling said last.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    told: alloc::vec::Vec<Taken>,
    /// What this one said.
    own: Taken,
}

impl Shares {
    /// Notes what a sibling said.
    pub(crate) fn note(&mut self, shard: ShardIndex, taken: Taken) {
        let at = usize::from(shard.0);
        if self.told.len() <= at {
            self.told.resize(at + 1, Taken::default());
        }
        self.told[at] = taken;
    }

    /// The clients of a sibling.
    pub(crate) fn clients_of(&self, shard: ShardIndex) -> usize {
        self.told.get(usize::from(shard.0)).map_or(0, |taken| taken.clients)
    }

    /// A client has gone to a sibling, which has not told of it.
    pub(crate) fn note_moved(&mut self, shard: ShardIndex) {
        let mut taken = self.told.get(usize::from(shard.0)).copied().unwrap_or_default();
        taken.clients += 1;
        self.note(shard, taken);
    }

    /// All clients of siblings.
    pub(crate) fn clients(&self) -> usize {
        self.told.iter().map(|taken| taken.clients).sum()
    }

    fn of_clients(&self) -> u64 {
        self.told.iter().map(|taken| taken.of_clients).sum()
    }

    fn memory(&self) -> u64 {
        self.told.iter().map(|taken| taken.memory).sum()
    }
}

/// How much of a limit a shard may take that takes `own` of `all`: of what is too much, it gives up its share; of what is
/// free, each of them may take the same.
fn share(limit: u64, own: u64, all: u64, shards: Shards) -> u64 {
    let part = if all > limit {
        (u128::from(limit) * u128::from(own) / u128::from(all.max(1))) as u64
    } else {
        own + (limit - all) / u64::from(shards.count())
    };
    // Zero would be no limit.
    part.max(1)
}

impl Shard {
    /// Tells siblings what is taken here, if it has changed, and finds out how much may be.
    pub(crate) fn share_limits(&mut self, out: &mut Actions) {
        if self.env.shards != Shards::ONE {
            self.tell_siblings(out);
            self.share_memory();
        }
    }

    /// A client has come or gone, or a sibling has told of its own.
    pub(crate) fn share_clients(&mut self, out: &mut Actions) {
        if self.env.shards == Shards::ONE {
            return;
        }
        let own = self.links.len();
        let untold = own.abs_diff(self.shares.own.clients) * usize::from(self.env.shards.count());
        let free = (self.env.config.maxclients as usize).saturating_sub(own + self.shares.clients());
        if untold > free {
            self.tell_siblings(out);
        }
    }

    fn tell_siblings(&mut self, out: &mut Actions) {
        let of_clients = self.data.footprint.clients;
        let taken = Taken { clients: self.links.len(), of_clients, memory: self.data.counted_memory() };
        if taken == self.shares.own {
            return;
        }
        self.shares.own = taken;
        for sibling in self.siblings() {
            out.pass(sibling, Errand::Taken(self.env.index, taken));
        }
    }

    /// How much the clients here may take of what all clients may.
    pub(crate) fn share_of_clients(&self, limit: u64) -> u64 {
        let own = self.data.footprint.clients;
        share(limit, own, own + self.shares.of_clients(), self.env.shards)
    }

    /// Finds out how much memory may be taken here.
    pub(crate) fn share_memory(&mut self) {
        let limit = self.env.config.maxmemory;
        if self.env.shards != Shards::ONE && limit > 0 {
            let own = self.data.counted_memory();
            let all = own + self.shares.memory();
            self.data.eviction.set_limit(share(limit, own, all, self.env.shards));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_share_a_limit() {
        let two = Shards::new(2);
        for (limit, own, all, part) in [
            (100, 0, 0, 50),
            (100, 60, 80, 70),
            (100, 150, 200, 75),
            (100, 0, 200, 1),
            (1, 7, 9, 1),
            (100, 100, 100, 100),
        ] {
            assert_eq!(share(limit, own, all, two), part, "{own} of {all}");
        }
    }
}
