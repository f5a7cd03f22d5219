//! Commands about the keys of all shards: DBSIZE, KEYS, RANDOMKEY and wide steps of CLUSTERSCAN. Each shard walks over its own.

use alloc::vec::Vec;

use crate::action::Actions;
use crate::command::clusterscan::{self, Stretch};
use crate::command::context::{Caller, Cx};
use crate::command::scan;
use crate::command::table::{Command, Id};
use crate::link::Outbox;
use crate::shard::Shard;
use crate::shard::env::Env;
use crate::shard::gather::Part;
use crate::shard::whole::Request;
use crate::slots::Slot;
use crate::time::Now;
use crate::wire::resp::{ArgvBuf, Proto, Reply};

impl Shard {
    /// Answers a command about keys of all shards, of which this is the last.
    pub(crate) fn answer_about_keys(
        &mut self,
        now: Now,
        command: &'static Command,
        request: &Request<'_>,
        reply: &mut Reply<'_>,
        out: &mut Actions,
    ) {
        let own = self.part(now, command, request, out);
        let all = || request.parts.iter().chain([&own]);
        match command.id {
            Id::Dbsize => reply.int(all().map(Part::count).sum::<u64>() as i64),
            Id::Keys => {
                let found = |part: &Part| if let Part::Keys(count, _) = part { *count } else { 0 };
                reply.array(all().map(found).sum());
                for part in all() {
                    if let Part::Keys(_, keys) = part {
                        keys.chunks().for_each(|chunk| reply.raw(chunk));
                    }
                }
            }
            Id::Clusterscan => {
                let stretches = all().filter_map(|part| match part {
                    Part::Stretch(stretch) => stretch.as_ref(),
                    _ => None,
                });
                let all: Vec<&Stretch> = stretches.collect();
                clusterscan::answer(&all, &self.env.fingerprint, reply);
            }
            _ => self.reply_draw(all(), reply),
        }
    }

    /// The keys of this shard that match the pattern of KEYS.
    pub(super) fn matching(&mut self, now: Now, request: &Request<'_>) -> Part {
        let (count, keys) = self.walk(now, request.db, |cx, _| scan::matching(cx, request.argv.get(1)));
        Part::Keys(count, keys)
    }

    /// How far a step of CLUSTERSCAN comes in this shard.
    pub(super) fn stretch(&mut self, now: Now, request: &Request<'_>) -> Part {
        let part = |cx: &mut Cx<'_>, env: &Env| clusterscan::part(cx, request.argv, &env.ground());
        Part::Stretch(self.walk(now, request.db, part))
    }

    /// A key of this shard, drawn.
    pub(super) fn draw(&mut self, now: Now, db: u32) -> Part {
        let key = self.walk(now, db, |cx, _| scan::draw(cx));
        // Counted after the draw, which may have deleted keys whose time is over.
        Part::Draw(self.data.store.len(db), key)
    }

    /// A key drawn from all: from a shard as often as it has keys.
    fn reply_draw<'p>(&mut self, all: impl Iterator<Item = &'p Part> + Clone, reply: &mut Reply<'_>) {
        let drawn = all.filter_map(|part| match part {
            Part::Draw(count, Some(key)) => Some((*count, key)),
            _ => None,
        });
        let mut n = self.data.rng.below(drawn.clone().map(|(count, _)| count).sum::<u64>().max(1));
        for (count, key) in drawn {
            if n < count {
                return reply.bulk(key);
            }
            n -= count;
        }
        reply.null();
    }

    /// Walks the keys of this shard for a command that names none.
    fn walk<T>(&mut self, now: Now, db: u32, f: impl FnOnce(&mut Cx<'_>, &Env) -> T) -> T {
        let data = &mut self.data;
        let followed = data.exports.follow(None);
        let held = data.holds.writes_held(None);
        data.effects.begin(db, followed);
        let mut unread = Outbox::default();
        let mut cx = Cx {
            now,
            db,
            slot: Slot::default(),
            caller: if held { Caller::ClientWhileHeld } else { Caller::Client },
            store: &mut data.store,
            reply: Reply::new(&mut unread, Proto::default()),
            effects: &mut data.effects,
            stats: &mut data.stats,
            config: &self.env.config,
            rng: &mut data.rng,
            no_touch: true,
        };
        let result = f(&mut cx, &self.env);
        if !data.effects.records().is_empty() {
            data.exports.append(&data.effects, ArgvBuf::default().argv());
        }
        result
    }
}
