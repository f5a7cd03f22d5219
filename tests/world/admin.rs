//! What an operator does besides moving slots, while slots move.

use super::history::Happened;
use super::journal::{line, mark};
use super::operator::{Console, Move};
use super::process::Process;
use super::resp::{Reply, command};

/// Settings that may be changed at any time, in every run.
const SETTINGS: &[(&str, &[&str])] = &[
    ("cluster-node-timeout", &["1000", "2000", "3000"]),
    ("repl-timeout", &["4", "6", "8"]),
    ("cluster-manual-failover-timeout", &["3000", "5000"]),
    ("slot-migration-max-failover-repl-bytes", &["0", "20000"]),
    ("cluster-slot-migration-log-max-len", &["3", "1000"]),
    ("cluster-require-full-coverage", &["yes", "no"]),
    ("lazyfree-lazy-user-flush", &["yes", "no"]),
    ("hz", &["10", "100"]),
];

/// Settings under which a migration may fail.
const TIGHT: &[(&str, &[&str])] = &[
    ("client-output-buffer-limit", &["replica 60000 0 0", "replica 0 0 0"]),
    ("slot-migration-max-failover-repl-bytes", &["-1", "0"]),
    ("cluster-manual-failover-timeout", &["500", "5000"]),
];

/// Does some of what the plan allows.
pub async fn meddle(console: &mut Console, last: Option<&Move>) {
    let plan = console.ctx.0.plan.clone();
    let ctx = console.ctx.clone();
    let p = ctx.below(plan.processes as u64) as usize;
    if plan.settings && ctx.one_in(2) {
        configure(console, p).await;
    }
    if plan.seconds
        && ctx.one_in(2)
        && let Some(m) = last
    {
        second(console, m).await;
    }
    if plan.bumps && ctx.one_in(2) {
        let reply = console.tell(p, &["CLUSTER", "BUMPEPOCH"]).await;
        line(|| format!("operator: BUMPEPOCH at {p}: {reply:?}"));
    }
    if plan.forgets && ctx.one_in(2) {
        forget(console, p).await;
    }
    if plan.slot_edits && ctx.one_in(2) {
        edit_slots(console, p).await;
    }
    if plan.client_orders {
        order_clients(console, p).await;
    }
}

async fn configure(console: &mut Console, p: usize) {
    let ctx = console.ctx.clone();
    let tight = !ctx.0.plan.is_calm() && ctx.one_in(3);
    let (name, values) = *ctx.pick(if tight { TIGHT } else { SETTINGS });
    let value = *ctx.pick(values);
    let reply = console.tell(p, &["CONFIG", "SET", name, value]).await;
    line(|| format!("operator: CONFIG SET {name} {value} at {p}: {reply:?}"));
    match reply {
        Some(Reply::Error(error)) => panic!("CONFIG SET {name} {value}: {error}"),
        Some(_) => mark("the configuration was changed"),
        None => {}
    }
}

/// Asks for slots that move already: at their source, and at their target.
async fn second(console: &mut Console, m: &Move) {
    let ctx = console.ctx.clone();
    ctx.sleep(ctx.below(30_000)).await;
    let n = ctx.0.plan.processes;
    let at = if ctx.one_in(3) { m.to } else { m.from };
    let to = (at + 1 + ctx.below(n as u64 - 1) as usize) % n;
    let id = ctx.0.node_ids.borrow()[to].clone();
    let (first, last) = (m.first.to_string(), m.last.to_string());
    let words = ["CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", &first, &last, "NODE", &id];
    let reply = console.tell(at, &words).await;
    line(|| format!("operator: a second request at {at} to {to}: {reply:?}"));
    mark(match reply {
        Some(Reply::Simple(_)) => "slots were to move on before anybody waited for them",
        _ => "a second request for moving slots was refused",
    });
}

/// A node forgets another; they meet again by hand, or by what a third one tells before.
async fn forget(console: &mut Console, p: usize) {
    let ctx = console.ctx.clone();
    let n = ctx.0.plan.processes;
    let other = (p + 1 + ctx.below(n as u64 - 1) as usize) % n;
    let id = ctx.0.node_ids.borrow()[other].clone();
    let reply = console.tell(p, &["CLUSTER", "FORGET", &id]).await;
    line(|| format!("operator: {p} forgets {other}: {reply:?}"));
    if matches!(reply, Some(Reply::Simple(_))) {
        mark("a node forgot another");
    }
    ctx.sleep(ctx.below(600_000)).await;
    // A third node tells of it too, unless it has forgotten it as well.
    let ip = Process::ip(other).to_string();
    for _ in 0..100 {
        let reply = console.tell(p, &["CLUSTER", "MEET", &ip, "6379"]).await;
        line(|| format!("operator: {p} meets {other}: {reply:?}"));
        if reply.is_some() {
            return;
        }
        ctx.sleep(200_000).await;
    }
}

/// Takes a slot from a node's table, which may be its own, and gives it back where it was its own.
async fn edit_slots(console: &mut Console, p: usize) {
    let ctx = console.ctx.clone();
    let slot = *ctx.pick(&ctx.0.plan.slots);
    let mine = ctx.owned(p).await.contains(&slot);
    let number = slot.to_string();
    if !mine && ctx.0.history.borrow().is_tainted(slot) {
        // A slot whose owner forgot it (R15) is covered by the tables of the others only.
        return;
    }
    if mine {
        ctx.0.edited.borrow_mut().push((p, slot));
    }
    ctx.0.deleted.borrow_mut().push((p, slot, ctx.now()));
    let since = ctx.now();
    ctx.0.deleting.set(Some((p, slot)));
    let reply = console.tell(p, &["CLUSTER", "DELSLOTS", &number]).await;
    ctx.0.deleting.set(None);
    // It may have come to the process while the order was on its way.
    let mine = mine || ctx.0.edited.borrow().contains(&(p, slot));
    line(|| format!("operator: DELSLOTS {slot} at {p} (its own: {mine}): {reply:?}"));
    if mine && !matches!(reply, Some(Reply::Error(_))) {
        mark("a slot was taken from its owner");
        if ctx.0.was_granted(p, slot, since) {
            line(|| format!("known hole: DELSLOTS at {p}, which had granted slot {slot}"));
            mark("DELSLOTS at a source that has granted the slot");
            ctx.0.left_copies.borrow_mut().push((p, slot));
            // The target has it, or will: given back here it would have two owners until they hear of each other (seed
            // 405138). If it becomes nobody's in the end, see `World::repair`.
            return;
        }
        if !give_back(console, p, slot).await {
            // Its keys are still there, and it may be nobody's for ever: see `World::repair`. Or another had claimed it too
            // (R3, seed 503826), or claims it again because it has not heard that it lost it (seed 2787578): then they are
            // a copy.
            ctx.0.left_copies.borrow_mut().push((p, slot));
            return;
        }
    }
    ctx.0.edited.borrow_mut().retain(|edited| *edited != (p, slot));
}

/// Gives a slot back to the node it was taken from. False when the node believes by now that another one owns it: that
/// one does, or the node believed an older claim of who had it before.
async fn give_back(console: &mut Console, p: usize, slot: u16) -> bool {
    let (ctx, number) = (console.ctx.clone(), slot.to_string());
    ctx.sleep(ctx.below(400_000)).await;
    for _ in 0..200 {
        match console.tell(p, &["CLUSTER", "ADDSLOTS", &number]).await {
            None => ctx.sleep(100_000).await,
            Some(reply) => {
                line(|| format!("operator: ADDSLOTS {slot} at {p}: {reply:?}"));
                return reply.error().is_none_or(|error| !error.contains("already busy"));
            }
        }
    }
    true
}

/// CLIENT KILL, CLIENT PAUSE, and a transaction that waits for the node's disk.
async fn order_clients(console: &mut Console, p: usize) {
    let ctx = console.ctx.clone();
    let since = ctx.now();
    let ms = 1 + ctx.below(150);
    match ctx.below(4) {
        0 => {
            let skip = if ctx.one_in(2) { "yes" } else { "no" };
            let reply = console.tell(p, &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", skip]).await;
            line(|| format!("operator: CLIENT KILL at {p}: {reply:?}"));
            mark("all clients of a node were killed");
            return;
        }
        1 | 2 => {
            // Noted before it is sent: whoever waits for it may be judged at any time.
            let class = if ctx.one_in(2) { "WRITE" } else { "ALL" };
            let reply = console.tell(p, &["CLIENT", "PAUSE", &ms.to_string(), class]).await;
            line(|| format!("operator: CLIENT PAUSE {ms} {class} at {p}: {reply:?}"));
            mark("clients were paused");
        }
        _ => {
            let words: [&[&[u8]]; 4] = [&[b"MULTI"], &[b"CLUSTER", b"SAVECONFIG"], &[b"DBSIZE"], &[b"EXEC"]];
            let commands: Vec<_> = words.iter().map(|words| command(words)).collect();
            let replies = console.tell_all(p, &commands).await;
            line(|| format!("operator: a transaction that saves at {p}: {replies:?}"));
            mark("a transaction waited for the node");
        }
    }
    // From its sending until it is over for certain, also if its answer was lost.
    let lost = 2 * ctx.0.plan.disk.1 + 20_000_000 * u64::from(ctx.0.plan.faults.any());
    ctx.0.orders.borrow_mut().push((p, since, ctx.now() + 200_000 + ms * 2_000 + lost));
}

/// FLUSHALL or CLUSTER FLUSHSLOT over the network, alone or in a transaction. It may wait for a pause, and then run
/// where the slots are no more (R18).
pub async fn flush(console: &mut Console, p: usize, slot: Option<u16>) {
    let ctx = console.ctx.clone();
    let number = slot.unwrap_or(0).to_string();
    let flush = match slot {
        Some(_) => command(&[b"CLUSTER", b"FLUSHSLOT", number.as_bytes()]),
        None if ctx.one_in(2) => command(&[b"FLUSHALL"]),
        None => command(&[b"FLUSHALL", b"ASYNC"]),
    };
    let whole = ctx.one_in(2);
    let commands = match whole {
        true => vec![command(&[b"MULTI"]), command(&[b"CLUSTER", b"MYID"]), flush, command(&[b"EXEC"])],
        false => vec![flush],
    };
    // What another node owns when this is sent may be this one's when it is carried out.
    let slots: Vec<u16> = slot.map_or_else(|| ctx.0.plan.slots.clone(), |slot| vec![slot]);
    let (begun, before) = (ctx.now(), ctx.owned(p).await);
    ctx.0.history.borrow_mut().begin_flush(&slots);
    let replies = console.tell_all(p, &commands).await;
    let after = ctx.owned(p).await;
    line(|| format!("operator: a flush of {slot:?} at {p} in a transaction ({whole}): {replies:?}"));
    let told = match replies.as_deref().map(|r| r.last()) {
        Some(Some(Reply::Error(_))) => Happened::Never,
        Some(Some(Reply::Array(Some(list)))) if list.iter().any(|r| r.error().is_some()) => Happened::Never,
        Some(Some(Reply::Simple(_) | Reply::Array(Some(_)))) => Happened::Surely,
        _ => Happened::Perhaps,
    };
    mark(match (told, whole) {
        (Happened::Surely, true) => "a flush in a transaction over the network",
        (Happened::Surely, false) => "a flush over the network",
        _ => "a flush over the network that was refused or lost",
    });
    let happened = |slot: u16| {
        let all_along = before.contains(&slot) && after.contains(&slot) && !ctx.0.was_let_go(slot, begun);
        let never = !before.contains(&slot) && !after.contains(&slot) && !ctx.0.was_let_go(slot, begun);
        match told {
            Happened::Surely if never => Happened::Never,
            Happened::Surely if !all_along => Happened::Perhaps,
            told => told,
        }
    };
    ctx.0.history.borrow_mut().end_flush(&slots, begun, ctx.now(), happened);
}
