//! Keys that go all at once, or change their place: FLUSHALL, FLUSHDB, CLUSTER FLUSHSLOT and SWAPDB.

use alloc::vec::Vec;

use crate::action::Actions;
use crate::command::flush;
use crate::command::options::is;
use crate::command::refused::lines;
use crate::command::table::Id;
use crate::ids::JobName;
use crate::migration::failure::Failure;
use crate::migration::import;
use crate::shard::Shard;
use crate::shard::data::Data;
use crate::shard::debug::wrong_use;
use crate::shard::errand::Errand;
use crate::shard::graft::Graft;
use crate::shard::imports::Importing;
use crate::shard::slot_stats::{self, NO_SLOT};
use crate::shard::whole::Request;
use crate::slots::{Slot, SlotSet};
use crate::time::Now;
use crate::wire::resp::number::integer;
use crate::wire::resp::{Argv, Reply};

/// Whether an import was granted its slots and is taking them over.
fn is_granted(importing: &Importing) -> bool {
    importing.import.state() == import::State::FailoverGranted
}

impl Shard {
    /// FLUSHALL and FLUSHDB.
    pub(crate) fn flush(
        &mut self,
        now: Now,
        id: Id,
        request: &Request<'_>,
        reply: &mut Reply<'_>,
        out: &mut Actions,
    ) {
        if let Err(refused) = flush::is_lazy(&self.env.config, request.argv) {
            refused.reply(reply);
            return;
        }
        let all = id == Id::Flushall;
        let spared = self.spared();
        // A job whose slots hold no key in what is flushed loses nothing and goes on.
        let dbs = if all { 0..self.env.config.databases_in_use() } else { request.db..request.db + 1 };
        let store = &self.data.store;
        let hit: Vec<_> = self
            .job_names()
            .into_iter()
            .filter(|(_, ranges)| !ranges.slots().any(|slot| spared.contains(slot)))
            .filter(|(_, ranges)| dbs.clone().any(|db| ranges.slots().any(|s| store.slot_len(db, s) > 0)))
            .map(|(name, _)| name)
            .collect();
        for name in hit {
            self.stop_job(now, name, &Failure::DataFlushed, out);
        }
        let store = &self.data.store;
        let is_hit =
            |graft: &Graft| dbs.clone().any(|db| graft.slots.iter().any(|s| store.slot_len(db, s) > 0));
        self.stop_grafts(is_hit, out);
        self.data.scrutiny.tracking.flushed(Some(request.link));
        let Data { store, effects, .. } = &mut self.data;
        flush::flush(store, effects, (!all).then_some(request.db), &spared);
        reply.ok();
    }

    /// The slots that a flush leaves alone: those of imports that are taking them over, and all that imports of siblings
    /// bring. Whether they are ours already is not known here, and the source may be gone: a client of this node cannot see
    /// these keys, so it cannot mean them either. To it the take-over comes after its command.
    fn spared(&self) -> SlotSet {
        let granted = self.importing().filter(|i| is_granted(i)).flat_map(|i| i.job.ranges.slots());
        // What becomes of an import of a sibling is said there: if it fails, its keys go as those of every failed import.
        granted.chain(self.grafts.iter().flat_map(|graft| graft.slots.iter())).collect()
    }

    /// Whether an import is one of those.
    pub(crate) fn is_taking_over(&self, job: JobName) -> bool {
        self.importing().any(|i| i.job.name == job && is_granted(i))
    }

    /// Imports of siblings have lost what they brought here, unless they are taking over.
    fn stop_grafts(&self, is_hit: impl Fn(&Graft) -> bool, out: &mut Actions) {
        for graft in self.grafts.iter().filter(|graft| is_hit(graft)) {
            out.pass(graft.home, Errand::Stop { job: graft.name(), failure: Failure::DataFlushed });
        }
    }

    /// SWAPDB.
    pub(crate) fn swap(&mut self, now: Now, argv: Argv<'_>, reply: &mut Reply<'_>) {
        if self.env.config.cluster_enabled {
            reply.error("ERR SWAPDB is not allowed in cluster mode");
            return;
        }
        let databases = i64::from(self.env.config.databases_in_use());
        let (first, second) = match (integer(argv.get(1)), integer(argv.get(2))) {
            (None, _) => return reply.error("ERR invalid first DB index"),
            (_, None) => return reply.error("ERR invalid second DB index"),
            (Some(first), Some(second)) => (first, second),
        };
        let known = |db: i64| (0..databases).contains(&db);
        if !known(first) || !known(second) {
            return reply.error(lines::DB_INDEX);
        }
        let (a, b) = (first as u32, second as u32);
        if a != b {
            self.data.store.swap(a, b);
            let Data { store, effects, .. } = &mut self.data;
            let is_old = |db: u32, key: &[u8]| Some(store.get(&store.at(db, key))?.is_expired(now.wall_ms()));
            let is_in = |db: u32, key: &[u8]| is_old(db, key) == Some(false);
            // What is in neither does not change.
            let changes = |db: u32, key: &[u8]| (db == a || db == b) && (is_in(a, key) || is_in(b, key));
            effects.watched().touch_where(changes);
            // The watched one has been exchanged already.
            effects.watched().end_where(|db, key| {
                let other = if db == a { b } else { a };
                (db == a || db == b) && is_old(other, key) == Some(true)
            });
        }
        reply.ok();
    }

    /// CLUSTER FLUSHSLOT.
    pub(crate) fn flush_slot(&mut self, now: Now, argv: Argv<'_>, reply: &mut Reply<'_>, out: &mut Actions) {
        if !self.env.config.cluster_enabled {
            reply.error(lines::NO_CLUSTER);
            return;
        }
        let known = |w: &[u8]| is(w, b"sync") || is(w, b"async");
        if argv.len() > 4 {
            reply.error(&wrong_use(argv, "CLUSTER"));
            return;
        }
        let Some(slot) = slot_stats::slot(argv.get(2)) else {
            reply.error(NO_SLOT);
            return;
        };
        if argv.opt(3).is_some_and(|w| !known(w)) {
            reply.error(lines::SYNTAX);
            return;
        }
        if self.spared().contains(slot) {
            self.stop_grafts(|graft| graft.slots.contains(slot), out);
            reply.ok();
            return;
        }
        // What an import brought belongs to another node's clients: it would be missing after the take-over.
        let imports = self.importing().filter(|i| i.job.ranges.contains(slot)).map(|i| i.job.name);
        for name in imports.collect::<Vec<_>>() {
            self.stop_job(now, name, &Failure::DataFlushed, out);
        }
        if self.data.exports.follow(Some(slot)).is_any() {
            // The target has to hear of it, or the keys would come back with the slot.
            for db in 0..self.env.config.databases_in_use() {
                let mut keys: Vec<Vec<u8>> = Vec::new();
                self.data.store.keys_in_slot(db, slot, usize::MAX, &mut |e| keys.push(e.key().to_vec()));
                for key in keys {
                    let at = self.data.store.at_in(db, slot, &key);
                    self.data.exports.append_unlink(&at);
                }
            }
        }
        let Data { store, effects, scrutiny, .. } = &mut self.data;
        if scrutiny.tracking.clients() > 0 {
            for db in 0..store.databases() {
                store.keys_in_slot(db, slot, usize::MAX, &mut |e| scrutiny.tracking.changed(e.key(), None));
            }
        }
        let was_there = |db: u32, key: &[u8]| store.get(&store.at_in(db, slot, key)).is_some();
        effects.watched().end_where(|db, key| Slot::of(key) == slot && was_there(db, key));
        store.detach(slot);
        reply.ok();
    }
}
