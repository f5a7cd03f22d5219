//! Limits of the process, where it has several shards: each tells its siblings how many clients it has and how much memory
//! is in use, ten times a second if that has changed, and at once when its clients have come or gone by more than its share
//! of the free places: what all of them have not told never exceeds what is free.
//!
//! A client counts in the shard that let it in, wherever its link is now: one that moves does not count twice while siblings
//! are told, nor not at all. Its number says which shard that was, which is told when it is gone.

use alloc::sync::Arc;
use alloc::vec::Vec;

use hashbrown::HashMap;

use crate::action::Actions;
use crate::ids::{ClientId, LinkId, ShardIndex, Shards};
use crate::shard::errand::Errand;
use crate::shard::{Link, Shard};

/// What a shard takes, of which it tells all that it knows of others as well: who hears that a client has come to one
/// hears that it has left another.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Taken {
    /// How often the shard has told.
    times: u64,
    /// Links that are there.
    links: usize,
    /// Links that it let in.
    let_in: usize,
    /// Bytes that count against `maxmemory-clients`.
    of_clients: u64,
    /// Bytes that count against `maxmemory`.
    memory: u64,
}

/// What each sibling said last.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    told: Vec<Taken>,
    /// What this one said.
    own: Taken,
    /// Links here that siblings let in, and which of them.
    strangers: HashMap<LinkId, ShardIndex, foldhash::fast::FixedState>,
    /// Clients that were let in here and moved away.
    away: usize,
}

impl Shares {
    /// Notes what a sibling knew, of which some may be known here, or more.
    pub(crate) fn learn(&mut self, index: ShardIndex, known: &[Taken]) {
        self.told.resize(known.len(), Taken::default());
        let all = self.told.iter_mut().zip(known).enumerate();
        for (_, (told, taken)) in all.filter(|(shard, _)| *shard != usize::from(index.0)) {
            if told.times < taken.times {
                *told = *taken;
            }
        }
    }

    /// The links of a sibling.
    pub(crate) fn links_of(&self, shard: ShardIndex) -> usize {
        self.told.get(usize::from(shard.0)).map_or(0, |taken| taken.links)
    }

    /// A client has gone to a sibling, which has not told of it.
    pub(crate) fn note_moved(&mut self, shard: ShardIndex) {
        let at = usize::from(shard.0);
        self.told.resize(self.told.len().max(at + 1), Taken::default());
        self.told[at].links += 1;
    }

    /// All that siblings let in.
    pub(crate) fn let_in(&self) -> usize {
        self.told.iter().map(|taken| taken.let_in).sum()
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
    /// Links that are here, and not only stood in for.
    pub(crate) fn links_at_home(&self) -> usize {
        self.links.len() - self.stand_ins.len()
    }

    /// Links that were let in here, or made, wherever they are.
    pub(crate) fn let_in(&self) -> usize {
        self.links_at_home() - self.shares.strangers.len() + self.shares.away
    }

    /// The shard that let a client in.
    fn let_in_by(&self, client: ClientId) -> ShardIndex {
        ShardIndex((client.0 % u64::from(self.env.shards.count())) as u16)
    }

    /// A client moves away.
    pub(super) fn goes_away(&mut self, link: LinkId, client: ClientId) {
        if self.let_in_by(client) == self.env.index {
            self.shares.away += 1;
        } else {
            self.shares.strangers.remove(&link);
        }
    }

    /// A client has moved here.
    pub(super) fn has_come(&mut self, link: LinkId, client: ClientId) {
        let by = self.let_in_by(client);
        if by == self.env.index {
            self.shares.away -= 1;
        } else {
            self.shares.strangers.insert(link, by);
        }
    }

    /// A client that was to move here has not come.
    pub(super) fn has_not_come(&mut self, client: ClientId, out: &mut Actions) {
        self.vacate(self.let_in_by(client), out);
    }

    /// A link is gone from here, and not to a sibling.
    pub(crate) fn unlink(&mut self, link: LinkId, out: &mut Actions) -> Option<Link> {
        if let Some(by) = self.shares.strangers.remove(&link) {
            self.vacate(by, out);
        }
        self.links.remove(&link)
    }

    /// Somebody that a shard let in, and who moved, is gone.
    fn vacate(&mut self, by: ShardIndex, out: &mut Actions) {
        if by == self.env.index {
            self.vacated(out);
        } else {
            out.pass(by, Errand::Vacated);
        }
    }

    /// A client that was let in here is gone from where it was.
    pub(super) fn vacated(&mut self, out: &mut Actions) {
        self.shares.away -= 1;
        self.share_clients(out);
    }

    /// Tells siblings what is taken here, if it has changed, and finds out how much may be.
    pub(crate) fn share_limits(&mut self, out: &mut Actions) {
        if self.env.shards != Shards::ONE {
            if self.taken() != self.shares.own {
                self.tell_siblings(out);
            }
            self.share_memory();
        }
    }

    /// A client has come or gone, or a sibling has told of its own.
    pub(crate) fn share_clients(&mut self, out: &mut Actions) {
        if self.env.shards == Shards::ONE {
            return;
        }
        let own = self.let_in();
        let untold = own.abs_diff(self.shares.own.let_in) * usize::from(self.env.shards.count());
        let free = (self.env.config.maxclients as usize).saturating_sub(own + self.shares.let_in());
        if untold > free {
            self.tell_siblings(out);
        }
    }

    fn taken(&self) -> Taken {
        Taken {
            times: self.shares.own.times,
            links: self.links_at_home(),
            let_in: self.let_in(),
            of_clients: self.data.footprint.clients,
            memory: self.data.counted_memory(),
        }
    }

    /// Tells siblings what is taken here, and by others as far as is known.
    pub(super) fn tell_siblings(&mut self, out: &mut Actions) {
        let taken = self.taken();
        self.shares.own = Taken { times: taken.times + 1, ..taken };
        let own = |shard: ShardIndex| (shard == self.env.index).then_some(self.shares.own);
        let told = |shard: ShardIndex| self.shares.told.get(usize::from(shard.0)).copied();
        let known = self.env.shards.iter().map(|shard| own(shard).or(told(shard)).unwrap_or_default());
        let known: Arc<[Taken]> = known.collect();
        for sibling in self.siblings() {
            out.pass(sibling, Errand::Taken(known.clone()));
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
