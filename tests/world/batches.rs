//! Clients that say much at once: pipelines of writes with values of all sizes, mostly about slots that move, so long
//! that a source reads them into memory that its stream is sent from.

use whimbrel_core::ids::Shards;
use whimbrel_core::slots::Slot;

use super::client::Client;
use super::history::{End, Kind, Op, What};
use super::journal::{detail, mark};
use super::resp::{Reply, command};
use super::tasks::Ctx;
use super::workload::value;

/// So many pipelines are enough for a client.
const MOST: u32 = 10;
/// Bytes of a pipeline: at least, and how much more at most.
const BYTES: (u64, u64) = (20_000, 230_000);
/// Between two looks whether a slot moves, in microseconds: at least, and how much more at most.
const LOOK: (u64, u64) = (500, 6_000);
/// Most begin when a job has come to follow writes only, one in so many looks at a job otherwise.
const OTHERWISE: u64 = 20;
/// A time to live that nobody lives to see the end of, in milliseconds.
const FOR_EVER: &[u8] = b"100000000";

/// A client that says much at once.
pub struct Batcher {
    /// The keys that it writes so.
    keys: Vec<Place>,
    counters: Vec<Place>,
    left: u32,
}

/// A key, and where it is.
#[derive(Clone)]
struct Place {
    key: usize,
    slot: u16,
    db: u32,
    name: Vec<u8>,
}

impl Batcher {
    /// For a client that writes these keys.
    pub fn new(ctx: &Ctx, keys: Vec<(usize, Kind)>) -> Self {
        let history = ctx.0.history.borrow();
        let place = |key: usize| {
            let k = &history.keys[key];
            Place { key, slot: k.slot, db: k.db, name: k.name.clone() }
        };
        let counters = (0..history.keys.len()).filter(|at| history.keys[*at].kind == Kind::Counter);
        let keys = keys.into_iter().map(|(key, _)| place(key)).collect();
        Self { keys, counters: counters.map(place).collect(), left: MOST }
    }

    /// Says much while slots move, unless it has said enough; whether it is to be asked again at once.
    pub async fn say_much(&mut self, client: &mut Client) -> bool {
        let ctx = client.ctx.clone();
        if self.left == 0 || ctx.0.hot.borrow().is_empty() {
            return false;
        }
        let moving: Vec<u16> = ctx.0.plan.slots.iter().copied().filter(|s| ctx.0.is_moving(*s)).collect();
        let followed: Vec<u16> = moving.iter().copied().filter(|slot| ctx.0.is_followed(*slot)).collect();
        let is_time = !followed.is_empty() || (!moving.is_empty() && ctx.one_in(OTHERWISE));
        if !is_time {
            ctx.sleep(LOOK.0 + ctx.below(LOOK.1)).await;
            return !ctx.one_in(4);
        }
        self.left -= 1;
        let moving = if followed.is_empty() { &moving } else { &followed };
        // Now and then about a slot that rests, for as long: nobody follows that.
        let slot = if ctx.one_in(6) { *ctx.pick(&ctx.0.plan.slots) } else { *ctx.pick(moving) };
        let bytes = self.say(client, slot).await;
        if !ctx.one_in(3) {
            // The link has to take it, or the job need not end.
            ctx.sleep(ctx.below(2_000 * bytes / ctx.0.plan.migration_rate)).await;
        }
        true
    }

    /// One pipeline, about a slot; how many bytes it has.
    async fn say(&self, client: &mut Client, slot: u16) -> u64 {
        let ctx = client.ctx.clone();
        let near: Vec<Place> = self.keys.iter().filter(|place| place.slot == slot).cloned().collect();
        let counter = self.counters.iter().find(|place| place.slot == slot);
        let (mut commands, mut ops, mut bytes) = (Vec::new(), Vec::new(), 0);
        let most = BYTES.0 + ctx.below(BYTES.1);
        let mut place = ctx.pick(&near);
        while bytes < most {
            // Neighbours are in one database most of the time.
            if ctx.one_in(8) {
                place = ctx.pick(if ctx.one_in(8) { &self.keys } else { &near });
            }
            let (of, op, words) = self.next(&ctx, place, counter);
            bytes += words.len() as u64;
            commands.push((of, words));
            ops.push(op);
        }
        let shards = ctx.0.plan.shards;
        let home = Slot::new(slot).map(|slot| Shards::new(shards).of(slot).0);
        let home = home.filter(|_| shards > 1 && ctx.one_in(3));
        let answer = client.send_much(slot, home, &commands).await;
        let now = ctx.now();
        let mut refused = 0;
        for (at, op) in ops.iter().enumerate() {
            let end = match answer.as_ref().map(|answer| &answer.replies[at]) {
                None => End::Unknown,
                Some(Reply::Error(_)) => End::Never,
                Some(Reply::Int(n)) => End::Done(*n),
                Some(_) => End::Done(0),
            };
            refused += usize::from(end == End::Never);
            op.iter().for_each(|op| ctx.0.history.borrow_mut().end(op, end, now));
        }
        if refused > 0 && refused < ops.len() {
            mark("a long pipeline was cut by a hand-over");
        }
        detail(|| {
            let (n, known) = (ops.len(), answer.is_some());
            format!("client {}: {n} commands about slot {slot}, {refused} refused, {known}", client.number)
        });
        bytes
    }

    /// The next command: its database, the operation if it is one, and its words.
    fn next(&self, ctx: &Ctx, place: &Place, counter: Option<&Place>) -> (u32, Option<Op>, Vec<u8>) {
        let begin = |key: usize, what| ctx.0.history.borrow_mut().begin(key, what, ctx.now());
        let name = &place.name[..];
        match ctx.below(40) {
            0 => (place.db, None, command(&[b"GET", name])),
            1 => {
                let op = begin(place.key, What::Delete);
                (place.db, Some(op), command(&[b"DEL", name]))
            }
            // Not as it came: with the time at which it is over.
            2 => {
                let op = begin(place.key, What::Set { ttl: None });
                let words = command(&[b"SET", name, &value(op.id, 200), b"PX", FOR_EVER]);
                (place.db, Some(op), words)
            }
            3 if counter.is_some() => {
                let counter = counter.expect("it is some");
                (counter.db, Some(begin(counter.key, What::Increment)), command(&[b"INCR", &counter.name]))
            }
            n => {
                let op = begin(place.key, What::Set { ttl: None });
                let padding = match n {
                    4 if ctx.one_in(4) => 33_000 + ctx.below(60_000),
                    4..=7 => 700 + ctx.below(8_000),
                    _ => 100 + ctx.below(600),
                };
                let words = command(&[b"SET", name, &value(op.id, padding as usize)]);
                (place.db, Some(op), words)
            }
        }
    }
}
