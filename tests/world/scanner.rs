//! A client that walks through all keys of the cluster with CLUSTERSCAN, from owner to owner, while slots move
//! (INV-ONCE).

use std::collections::{BTreeMap, BTreeSet};

use whimbrel_core::slots::Slot;

use super::client::Client;
use super::history::Kind;
use super::journal::{detail, line, mark, violated};
use super::plan::DATABASES;
use super::resp::{Reply, command};
use super::tasks::Ctx;

/// Calls after which a walk is given up.
const MOST_CALLS: u32 = 3_000;

/// Walks again and again.
pub async fn walk_always(ctx: Ctx) {
    while !ctx.0.formed.get() {
        ctx.sleep(50_000).await;
    }
    let mut client = Client::new(ctx.clone(), ctx.0.plan.clients);
    while !ctx.0.stopping.get() {
        ctx.sleep(20_000 + ctx.below(300_000)).await;
        let db = ctx.below(u64::from(DATABASES)) as u32;
        walk(&mut client, db).await;
    }
}

/// What a walk has found so far.
#[derive(Default)]
struct Walk {
    /// Names by slot; a name that came twice is in `twice`.
    found: BTreeMap<u16, BTreeSet<Vec<u8>>>,
    twice: BTreeSet<Vec<u8>>,
    begun: u64,
    /// Where a slot is being walked: its number and the process.
    within: Option<(u16, usize)>,
    moved: bool,
}

impl Walk {
    /// The next call goes to process `p` with a cursor in `slot`: what another process told of the slot is void,
    /// because a walk within a slot begins anew where it moved to.
    fn goes_on(&mut self, slot: u16, p: usize) {
        if self.within.is_some_and(|(at, q)| at == slot && q != p) {
            for name in self.found.remove(&slot).unwrap_or_default() {
                self.moved = true;
                self.twice.remove(&name);
            }
        }
        self.within = Some((slot, p));
    }

    fn found(&mut self, name: &[u8]) {
        let slot = Slot::of(name).number();
        if !self.found.entry(slot).or_default().insert(name.to_vec()) {
            self.twice.insert(name.to_vec());
        }
    }
}

/// The slot of a cursor; `None` at the end of a walk.
fn slot_of(cursor: &str) -> Option<u16> {
    (cursor != "0").then(|| Slot::of(cursor.as_bytes()).number())
}

async fn walk(client: &mut Client, db: u32) {
    let ctx = client.ctx.clone();
    let begun = ctx.now();
    let lasting = ctx.0.history.borrow().lasting(begun);
    let count = (1 + ctx.below(4)).to_string();
    let mut walk = Walk { begun, ..Walk::default() };
    let mut cursor = String::from("0");
    let mut slot = 0;
    for _ in 0..MOST_CALLS {
        let request = command(&[b"CLUSTERSCAN", cursor.as_bytes(), b"COUNT", count.as_bytes()]);
        let Some(answer) = client.send_once(slot, db, &[request]).await else {
            client.forget_owner(slot);
            if ctx.0.stopping.get() {
                return;
            }
            ctx.sleep(20_000 + ctx.below(50_000)).await;
            continue;
        };
        if answer.replies[0].error().is_some() {
            if ctx.0.stopping.get() {
                return;
            }
            continue; // the client has learned where to go, or has waited
        }
        let [next, keys] = answer.replies[0].items() else { panic!("a scan: {:?}", answer.replies) };
        if cursor != "0" {
            walk.goes_on(slot, answer.process);
        }
        keys.items().iter().filter_map(Reply::bulk).for_each(|name| walk.found(name));
        detail(|| format!("walk in db {db}: {cursor} at {} gives {keys:?} and {next:?}", answer.process));
        cursor = next.text();
        match slot_of(&cursor) {
            Some(next) => slot = next,
            None => return judge(&ctx, db, &walk, &lasting),
        }
        // The process may have begun this slot in the same reply.
        walk.within = Some((slot, answer.process));
        // It dwells where slots move.
        let hot = ctx.0.hot.borrow().contains(&slot);
        if hot || ctx.one_in(3) {
            ctx.sleep(ctx.below(if hot { 400_000 } else { 30_000 })).await;
        }
    }
    line(|| format!("a walk was given up after {MOST_CALLS} calls at {cursor}"));
}

/// INV-ONCE: every key that was there all the time was met, and once.
fn judge(ctx: &Ctx, db: u32, walk: &Walk, lasting: &[(usize, u32)]) {
    let history = ctx.0.history.borrow();
    mark("a walk through the cluster ended");
    if walk.moved {
        mark("a slot moved during a walk through it");
    }
    for &(key, generation) in lasting {
        let k = &history.keys[key];
        if k.db != db || history.generation(key) != generation || history.is_tainted(k.slot) {
            continue;
        }
        let names: &[&[u8]] = if k.kind == Kind::Pair { &[&k.name, &k.second] } else { &[&k.name] };
        for &name in names {
            let text = k.text();
            // R8: a source that has let go may be walked, and not know what its target has accepted.
            let old = ctx.0.was_let_go(k.slot, walk.begun);
            if !old && !walk.found.get(&k.slot).is_some_and(|found| found.contains(name)) {
                violated("INV-ONCE", format!("{text} was there all the time, and a walk did not meet it"));
            }
            if walk.twice.contains(name) {
                violated("INV-ONCE", format!("{text} was met twice in one walk"));
            }
        }
    }
}
