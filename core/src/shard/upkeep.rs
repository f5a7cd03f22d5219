//! What a shard does without being asked: timers, active expiry, freeing in slices, limits of clients.

use alloc::vec::Vec;

use crate::action::Actions;
use crate::migration::import;
use crate::shard::data::Data;
use crate::shard::latency::EXPIRE_CYCLE;
use crate::shard::slices::Slices;
use crate::shard::{Link, Shard};
use crate::store::{At, Due};
use crate::time::{Mono, Now, Span};
use crate::wire::resp::ArgvBuf;

/// Keys freed in one turn: about 0.2 ms.
const FREE_PER_TURN: usize = 2_000;
/// Keys looked at for expiry in one turn while clients are being served: about 30 µs of their time.
const BUSY_EXPIRY: usize = 64;
/// Keys looked at for expiry in one turn when nobody else wants the shard.
const IDLE_EXPIRY: usize = 512;
/// Regions of 512 KB given back to the allocator in one round: up to 80 MB a second.
const GIVE_BACK_PER_ROUND: usize = 16;
/// Time between rounds of upkeep.
const ROUND: Span = Span::ms(100);

/// The state of background work.
pub(crate) struct Upkeep {
    next_round: Mono,
    freed: u64,
    /// Whether clients were served since the last turn of background work.
    busy: bool,
    slices: Slices,
    /// Keys whose time is over may be left from this round.
    expiring: bool,
}

impl Upkeep {
    pub(crate) fn new(now: Now) -> Self {
        Self {
            next_round: now.mono + ROUND,
            freed: 0,
            busy: false,
            slices: Slices::new(now.mono),
            expiring: false,
        }
    }

    /// Counts from here what is freed.
    pub(crate) fn reset(&mut self) {
        self.freed = 0;
    }

    pub(crate) fn deadline(&self) -> Mono {
        self.next_round
    }

    /// Keys freed so far.
    pub(crate) fn freed(&self) -> u64 {
        self.freed
    }

    /// Whether there is more to do before the next deadline.
    pub(crate) fn has_work(&self) -> bool {
        self.expiring
    }

    /// A client was served.
    pub(crate) fn served(&mut self, now: Now) {
        self.busy = true;
        self.slices.served(now.mono);
    }

    /// A turn took so much CPU time.
    pub(crate) fn turned(&mut self, cpu: Span) {
        self.slices.turned(cpu);
    }
}

impl Shard {
    /// A deadline has come, or there is background work.
    pub(crate) fn ticked(&mut self, now: Now, out: &mut Actions) {
        self.woken |= self.data.holds.end_due(now.mono);
        self.end_waits(now, out);
        self.upkeep.freed += self.data.store.free(FREE_PER_TURN);
        let busy = core::mem::take(&mut self.upkeep.busy);
        if self.data.exports.has_work()
            && let Some(budget) = self.upkeep.slices.next(now.mono)
        {
            self.with_exports(now, out, |exports, s| exports.advance(budget, s));
        }
        if self.data.exports.deadline().is_some_and(|at| at <= now.mono) {
            self.with_exports(now, out, |e, s| e.tick(s));
        }
        self.tick_imports(now, out);
        self.tick_lanes(now, out);
        if self.data.eviction.is_running() {
            self.data.make_room(now, 0);
        }
        if now.mono >= self.upkeep.next_round {
            self.upkeep.next_round = now.mono + ROUND;
            if self.debugging.cron_paused {
                return;
            }
            self.rooms.age();
            self.sample(now);
            self.share_limits(out);
            if self.data.eviction.is_limited() {
                self.data.make_room(now, 0);
            }
            self.upkeep.expiring = true;
            self.data.store.give_back(GIVE_BACK_PER_ROUND);
            self.police_clients(now, out);
            self.with_exports(now, out, |e, s| e.tick(s));
        }
        self.upkeep.expiring &= self.debugging.expires_by_itself;
        if self.upkeep.expiring {
            self.data.scrutiny.laps.start();
            self.upkeep.expiring = !self.expire_some(now, if busy { BUSY_EXPIRY } else { IDLE_EXPIRY });
            let nanos = self.data.scrutiny.laps.lap();
            self.data.scrutiny.expire_nanos += nanos;
            self.data.scrutiny.latency.took(now, EXPIRE_CYCLE, nanos);
        }
    }

    fn tick_imports(&mut self, now: Now, out: &mut Actions) {
        let imports = self.links.values().filter(|link| matches!(link, Link::Import(_)));
        debug_assert_eq!(imports.count(), self.imports, "the links that are imports");
        let due: Vec<_> = self
            .importing()
            .filter(|i| i.import.poll_timeout().is_some_and(|at| at <= now.mono))
            .map(|i| i.job.name)
            .collect();
        for job in due {
            self.tell_import(now, job, import::Input::Ticked, out);
        }
    }

    /// Deletes some keys whose time is over, unless writes to their slots are held. Whether all slots have been looked
    /// through.
    fn expire_some(&mut self, now: Now, budget: usize) -> bool {
        let mut found = Vec::new();
        let mut budget = budget;
        let ended = self.data.store.expire_due(now.wall_ms(), &mut budget, &mut found);
        self.data.totals.expire_limits += u64::from(!ended);
        for Due { db, slot, key } in found {
            self.end_key(&self.data.store.at_in(db, slot, &key));
        }
        ended
    }

    /// Deletes a key whose time is over, unless writes to its slot are held.
    pub(crate) fn end_key(&mut self, at: &At<'_>) {
        let Data { store, effects, stats, exports, holds, .. } = &mut self.data;
        if holds.writes_held(Some(at.slot)) {
            return;
        }
        effects.begin(at.db, exports.follow(Some(at.slot)));
        store.remove(at);
        stats.expired += 1;
        let word: &[u8] = if self.env.config.lazyfree_lazy_expire { b"UNLINK" } else { b"DEL" };
        effects.deleted_by_us(at, word);
        exports.append(effects, ArgvBuf::default().argv());
    }
}
