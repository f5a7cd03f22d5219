//! What clients do: closed loops of reads and writes on keys in moving and in resting slots.

use super::batches::Batcher;
use super::client::{Client, Fate};
use super::forms::{self, Draft};
use super::history::{End, Kind, Seen, TOKEN, What};
use super::journal::{detail, mark, violated};
use super::resp::{self, Reply, command};
use super::tasks::{Answer, Ctx, Held};

/// A client at work, from the forming of the cluster until the end.
pub async fn work(ctx: Ctx, number: usize) {
    while !ctx.0.formed.get() {
        ctx.sleep(50_000).await;
    }
    let mut client = Client::new(ctx.clone(), number);
    let kinds: Vec<(usize, Kind, bool)> = {
        let history = ctx.0.history.borrow();
        let mine = |writer: Option<usize>| writer.is_none_or(|w| w == number);
        history.keys.iter().enumerate().map(|(at, key)| (at, key.kind, mine(key.writer))).collect()
    };
    let all: Vec<(usize, Kind)> = kinds.iter().map(|k| (k.0, k.1)).collect();
    let mine = kinds.iter().filter(|k| k.2).map(|k| (k.0, k.1));
    let (batched, writable): (Vec<_>, Vec<(usize, Kind)>) = mine.partition(|k| k.1 == Kind::Batched);
    let mut batcher = ctx.0.plan.batches(number).then(|| Batcher::new(&ctx, batched));
    // Everything bulky is there before the first slot moves.
    for (key, kind) in writable.iter().filter(|k| k.1 == Kind::Bulk) {
        write(&mut client, *key, *kind).await;
    }
    let floods = ctx.0.plan.flood && number == 0;
    while !ctx.0.stopping.get() {
        let hot = ctx.0.hot.borrow().clone();
        let think = if hot.is_empty() { ctx.0.plan.think } else { ctx.0.plan.think / 3 };
        if let Some(batcher) = &mut batcher
            && batcher.say_much(&mut client).await
        {
            continue;
        }
        if !floods || hot.is_empty() {
            ctx.sleep(think / 4 + ctx.below(think * 3 / 2)).await;
        }
        let slots = ctx.0.history.borrow().keys.iter().map(|k| k.slot).collect::<Vec<u16>>();
        let warm = !hot.is_empty() && !ctx.one_in(3);
        let choose = |list: &[(usize, Kind)]| {
            let near: Vec<_> = list.iter().filter(|(key, _)| hot.contains(&slots[*key])).copied().collect();
            let from = if warm && !near.is_empty() { &near } else { list };
            let first = *ctx.pick(from);
            // There are many bulky keys; only whoever floods prefers them.
            let is_one_of_many = matches!(first.1, Kind::Bulk | Kind::Batched);
            if is_one_of_many && !floods && !ctx.one_in(4) { *ctx.pick(from) } else { first }
        };
        if ctx.one_in(3) && !floods {
            let (key, kind) = choose(&all);
            read(&mut client, key, kind).await;
        } else {
            let (key, kind) = choose(&writable);
            match ctx.below(4) {
                0 if kind == Kind::Counter && ctx.0.plan.forms => burst(&mut client, key).await,
                1 if kind == Kind::Counter && ctx.0.plan.forms => count_by_watch(&mut client, key).await,
                _ => write(&mut client, key, kind).await,
            }
        }
    }
}

/// The value of a register: the number of the operation, then padding.
pub fn value(id: u64, padding: usize) -> Vec<u8> {
    let mut text = format!("v{id}:").into_bytes();
    text.resize(text.len() + padding, filling(id));
    text
}

/// What the values of neighbours are not filled with.
fn filling(id: u64) -> u8 {
    b'a' + (id % 26) as u8
}

fn parse_value(bytes: &[u8]) -> u64 {
    let (text, padding) = bytes.split_at(bytes.iter().position(|b| *b == b':').unwrap_or(0));
    let text = text.strip_prefix(b"v").and_then(|text| std::str::from_utf8(text).ok());
    let number: Option<u64> = text.and_then(|text| text.parse().ok());
    number.filter(|id| padding[1..].iter().all(|b| *b == filling(*id))).unwrap_or_else(|| {
        violated("INV-LIN", format!("{:?} was never written", String::from_utf8_lossy(bytes)))
    })
}

async fn write(client: &mut Client, key: usize, kind: Kind) {
    let ctx = client.ctx.clone();
    let plan = &ctx.0.plan;
    let what = match kind {
        Kind::Register if plan.deletes && ctx.one_in(4) => What::Delete,
        Kind::Register | Kind::Bulk | Kind::Batched | Kind::Pair => What::Set { ttl: None },
        Kind::Expiring if ctx.one_in(3) => What::Set { ttl: None },
        Kind::Expiring => What::Set { ttl: Some((50 + ctx.below(900)) * 1000) },
        Kind::List => What::Append,
        Kind::Counter => What::Increment,
    };
    let op = ctx.0.history.borrow_mut().begin(key, what, ctx.now());
    let padding = if kind == Kind::Bulk { 1000 + ctx.below(7000) as usize } else { 0 };
    let (slot, db, name, second) = {
        let history = ctx.0.history.borrow();
        let k = &history.keys[key];
        (k.slot, k.db, k.name.clone(), k.second.clone())
    };
    let text = value(op.id, padding);
    let draft = Draft { kind, what, name: &name, second: &second, db, value: &text, id: op.id };
    let commands = forms::commands(&draft, !plan.forms, &mut ctx.0.rng.borrow_mut());
    if kind == Kind::Pair {
        mark(if commands.len() > 1 { "a transaction was sent" } else { "a write of two keys was sent" });
    }
    let invoke = ctx.now();
    let waits = commands.iter().any(|command| resp::name(command) == b"CONFIG");
    let fate = client.run(slot, db, &commands).await;
    if waits {
        // Everything at a process waits while a transaction waits for its node, which waits for no disk to change a
        // setting (seed 20194): a client that lost its answer knows that it is over soon.
        let all = (0..plan.processes).map(|p| (p, invoke, ctx.now() + 1_000_000));
        match &fate {
            Fate::Answered(answer) => ctx.0.orders.borrow_mut().push((answer.process, invoke, ctx.now())),
            Fate::Never | Fate::Unknown => ctx.0.orders.borrow_mut().extend(all),
        }
    }
    let end = match fate {
        Fate::Never => End::Never,
        Fate::Unknown => {
            mark("a write whose fate nobody knows");
            client.say(|| format!("does not know the fate of operation {} on key {key}", op.id));
            End::Unknown
        }
        Fate::Answered(answer) if kind == Kind::Expiring && answer.replies[0] == Reply::Bulk(None) => {
            note_hold(&ctx, slot, &answer);
            End::Never
        }
        Fate::Answered(answer) if lost_half_way(&ctx, slot, &answer) => End::Unknown,
        Fate::Answered(answer) => {
            note_hold(&ctx, slot, &answer);
            mark(if what == (What::Set { ttl: None }) && kind == Kind::Expiring {
                "a value was written where the one before had expired"
            } else {
                "a write was acknowledged"
            });
            End::Done(number(answer.replies.last()))
        }
    };
    detail(|| {
        format!("client {}: operation {} {what:?} on key {key} slot {slot}: {end:?}", client.number, op.id)
    });
    let tainted = ctx.0.history.borrow().is_tainted(slot);
    if end == End::Never && kind != Kind::Expiring && plan.is_calm() && !tainted {
        violated("LIV-OWN", format!("slot {slot}: a write found no server in a run without faults"));
    }
    ctx.0.history.borrow_mut().end(&op, end, ctx.now());
}

/// Whether a transaction lost its slot while it waited for its node. No hand-over comes in between, but a source whose
/// grant has expired serves a slot that may be the target's, until it hears of that.
fn lost_half_way(ctx: &Ctx, slot: u16, answer: &Answer) -> bool {
    let Some(Reply::Array(Some(list))) = answer.replies.last() else { return false };
    let lost = list.iter().any(|reply| reply.error().is_some()) && ctx.0.history.borrow().is_tainted(slot);
    if lost {
        mark("a transaction lost its slot half way");
    }
    lost
}

/// The number that a write was answered with, in its last reply.
fn number(reply: Option<&Reply>) -> i64 {
    match reply {
        Some(Reply::Int(n)) => *n,
        Some(Reply::Array(Some(list))) => {
            if let Some(error) = list.iter().find_map(Reply::error) {
                violated("INV-LIN", format!("a command of a transaction failed: {error}"));
            }
            number(list.last())
        }
        Some(reply @ Reply::Bulk(Some(_))) => reply.text().parse().unwrap_or(0),
        Some(Reply::Array(None)) => violated("INV-LIN", "a transaction that watches nothing was discarded"),
        _ => 0,
    }
}

/// Several increments in one go: some may be executed, held, or redirected.
async fn burst(client: &mut Client, key: usize) {
    let ctx = client.ctx.clone();
    let (slot, db, name) = {
        let history = ctx.0.history.borrow();
        let k = &history.keys[key];
        (k.slot, k.db, k.name.clone())
    };
    let ops: Vec<_> =
        (0..5).map(|_| ctx.0.history.borrow_mut().begin(key, What::Increment, ctx.now())).collect();
    let answer = client.send_once(slot, db, &vec![command(&[b"INCR", &name]); ops.len()]).await;
    let mut refused = 0;
    for (at, op) in ops.iter().enumerate() {
        let end = match answer.as_ref().map(|a| &a.replies[at]) {
            None => End::Unknown,
            Some(Reply::Int(n)) => End::Done(*n),
            Some(_) => End::Never,
        };
        refused += usize::from(end == End::Never);
        ctx.0.history.borrow_mut().end(op, end, ctx.now());
    }
    if refused > 0 {
        mark(if refused < ops.len() {
            "a burst of writes was cut by a hand-over"
        } else {
            "a burst was redirected"
        });
    }
}

/// An increment by WATCH, GET and a transaction that counts only if nobody else wrote meanwhile.
async fn count_by_watch(client: &mut Client, key: usize) {
    let ctx = client.ctx.clone();
    let (slot, db, name) = {
        let history = ctx.0.history.borrow();
        let k = &history.keys[key];
        (k.slot, k.db, k.name.clone())
    };
    let watch = [command(&[b"WATCH", &name]), command(&[b"GET", &name])];
    let Some(answer) = client.send_once(slot, db, &watch).await else { return };
    let [Reply::Simple(_), Reply::Bulk(old)] = answer.replies.as_slice() else {
        // The slot moved between the two; the watch must not meet a later transaction.
        client.send_to(answer.process, db, &[command(&[b"UNWATCH"])]).await;
        return;
    };
    let old: i64 = old.as_ref().map_or(0, |b| String::from_utf8_lossy(b).parse().expect("a counter"));
    ctx.sleep(ctx.below(20_000)).await;
    let op = ctx.0.history.borrow_mut().begin(key, What::Increment, ctx.now());
    let new = (old + 1).to_string();
    let set = [command(&[b"MULTI"]), command(&[b"SET", &name, new.as_bytes()]), command(&[b"EXEC"])];
    // On the same connection, or the watch is gone.
    let end = match client.send_to(answer.process, db, &set).await {
        Some(answer) => match &answer.replies[2] {
            Reply::Array(Some(_)) => {
                mark("a watched key was unchanged");
                End::Done(old + 1)
            }
            Reply::Array(None) => {
                mark("a watched key had changed");
                End::Never
            }
            _ => End::Never,
        },
        None => End::Unknown,
    };
    ctx.0.history.borrow_mut().end(&op, end, ctx.now());
}

async fn read(client: &mut Client, key: usize, kind: Kind) {
    let ctx = client.ctx.clone();
    let invoke = ctx.now();
    let (slot, db, generation, request) = {
        let history = ctx.0.history.borrow();
        let k = &history.keys[key];
        (k.slot, k.db, history.generation(key), read_command(kind, &k.name, &k.second))
    };
    let Fate::Answered(answer) = client.run(slot, db, &[request]).await else { return };
    let seen = understand(kind, &answer.replies[0]);
    detail(|| {
        format!("client {}: read key {key} slot {slot} at {}: {seen:?}", client.number, answer.process)
    });
    if kind == Kind::Expiring && seen == Seen::Value(None) && ctx.0.is_moving(slot) {
        mark("a key was found expired while its slot moved");
    }
    let mut history = ctx.0.history.borrow_mut();
    if ctx.0.was_granted(answer.process, slot, invoke) {
        // R8: a source reads on while it holds writes, and its target may already have accepted newer ones.
        if let Err(why) = history.would_read(key, generation, invoke, ctx.now(), &seen) {
            mark("R8 an old value was read at a source that had let go");
            client.say(|| format!("known hole: R8 {}: {why}", history.keys[key].text()));
        }
    } else if let Err(why) = history.read(key, generation, invoke, ctx.now(), &seen) {
        let text = history.keys[key].text();
        violated("INV-LIN", format!("{text}, read at process {} since {invoke}: {why}", answer.process));
    }
}

/// The command that reads a key.
pub fn read_command(kind: Kind, name: &[u8], second: &[u8]) -> Vec<u8> {
    match kind {
        Kind::Pair => command(&[b"MGET", name, second]),
        _ => command(&[b"GET", name]),
    }
}

/// What the reply to a read says.
pub fn understand(kind: Kind, reply: &Reply) -> Seen {
    match kind {
        Kind::Pair => {
            let both: Vec<Option<u64>> = reply.items().iter().map(|r| r.bulk().map(parse_value)).collect();
            let &[first, second] = both.as_slice() else { panic!("two values: {reply:?}") };
            if first != second {
                violated("INV-LIN", format!("half of a transaction was read: {first:?} and {second:?}"));
            }
            Seen::Value(first)
        }
        Kind::Register | Kind::Bulk | Kind::Batched | Kind::Expiring => {
            Seen::Value(reply.bulk().map(parse_value))
        }
        Kind::Counter => {
            let text = reply.bulk().map(|b| String::from_utf8_lossy(b).into_owned());
            Seen::Number(text.map_or(0, |t| t.parse().unwrap_or_else(|_| panic!("a number: {t:?}"))))
        }
        Kind::List => {
            let bytes = reply.bulk().unwrap_or_default();
            let token = |piece: &[u8]| {
                let text = std::str::from_utf8(piece).ok().and_then(|t| t.strip_suffix(';'));
                text.and_then(|t| t.parse().ok()).unwrap_or_else(|| {
                    violated("INV-LIN", format!("no token: {:?}", String::from_utf8_lossy(piece)))
                })
            };
            Seen::Tokens(bytes.chunks(TOKEN).map(token).collect())
        }
    }
}

/// Remembers a write that was not answered at once.
fn note_hold(ctx: &Ctx, slot: u16, answer: &Answer) {
    if answer.answered > answer.delivered {
        let held = Held { process: answer.process, slot, since: answer.delivered, until: answer.answered };
        ctx.0.held.borrow_mut().push(held);
    }
}
