//! The operator: forms the cluster, moves slots, cancels, and says when it is done.

use whimbrel_core::slots::SLOTS;

use super::admin;
use super::journal::{line, mark, violated};
use super::resp::{Reply, command};
use super::tasks::{ConnId, Ctx};

/// The operator's connections.
pub struct Console {
    pub ctx: Ctx,
    conns: Vec<Option<ConnId>>,
}

impl Console {
    /// Gives a command to a process and waits for its answer, over a new connection when the old one broke.
    pub async fn tell(&mut self, p: usize, words: &[&str]) -> Option<Reply> {
        let words: Vec<&[u8]> = words.iter().map(|w| w.as_bytes()).collect();
        self.tell_all(p, &[command(&words)]).await?.pop()
    }

    /// Gives several commands in one go; their answers.
    pub async fn tell_all(&mut self, p: usize, commands: &[Vec<u8>]) -> Option<Vec<Reply>> {
        if self.conns[p].is_none() {
            self.conns[p] = self.ctx.connect(p).await;
        }
        let answer = self.ctx.call(self.conns[p]?, commands.concat(), commands.len()).await;
        if answer.is_none() {
            self.conns[p] = None;
        }
        Some(answer?.replies)
    }

    /// The same for a command that has to succeed.
    async fn must(&mut self, p: usize, words: &[&str]) -> Reply {
        match self.tell(p, words).await {
            Some(Reply::Error(error)) => panic!("{words:?} at process {p}: {error}"),
            Some(reply) => reply,
            None => panic!("{words:?} at process {p}: no answer while nothing fails"),
        }
    }
}

/// Slots `first..=last` and who was given them last.
#[derive(Clone, Debug)]
pub struct Move {
    pub first: u16,
    pub last: u16,
    pub from: usize,
    pub to: usize,
}

/// Forms the cluster and leaves.
pub async fn form_only(ctx: Ctx) {
    let mut console = Console { conns: vec![None; ctx.0.plan.processes], ctx: ctx.clone() };
    form(&mut console).await;
    ctx.0.formed.set(true);
}

/// The operator of a run.
pub async fn form_and_migrate(ctx: Ctx) {
    let mut console = Console { conns: vec![None; ctx.0.plan.processes], ctx: ctx.clone() };
    form(&mut console).await;
    ctx.0.formed.set(true);
    line(|| "the cluster is formed".into());
    ctx.sleep(700_000).await;
    let mut last: Option<Move> = None;
    for number in 0..ctx.0.plan.migrations {
        last = migrate(&mut console, number, last).await;
        let plan = &ctx.0.plan;
        if plan.flushes && ctx.one_in(2) {
            ctx.sleep(ctx.below(5_000)).await;
            let hot = ctx.0.hot.borrow().clone();
            let slot = (!hot.is_empty() && ctx.one_in(2)).then(|| *ctx.pick(&hot));
            let somebody = ctx.below(plan.processes as u64) as usize;
            let p = last.as_ref().map_or(somebody, |m| if ctx.one_in(2) { m.from } else { m.to });
            if ctx.one_in(2) {
                ctx.flush(p, slot);
            } else {
                admin::flush(&mut console, p, slot).await;
            }
        }
        admin::meddle(&mut console, last.as_ref()).await;
        if plan.cancels && ctx.one_in(if plan.batchers > 0 { 2 } else { 3 }) {
            ctx.sleep(ctx.below(60_000)).await;
            if let Some(m) = &last {
                let p = if ctx.one_in(3) { m.to } else { m.from };
                let reply = console.tell(p, &["CLUSTER", "CANCELSLOTMIGRATIONS"]).await;
                line(|| format!("operator: cancel at {p}: {reply:?}"));
            }
        }
        let pause = if plan.overlap { ctx.below(80_000) } else { 300_000 + ctx.below(500_000) };
        ctx.sleep(pause).await;
        if !plan.overlap {
            wait_for_jobs(&mut console).await;
        }
    }
    wait_for_jobs(&mut console).await;
    ctx.0.quiet.set(true);
    line(|| "operator: done".into());
}

async fn form(console: &mut Console) {
    let ctx = console.ctx.clone();
    let n = ctx.0.plan.processes;
    let mut ids = Vec::new();
    for p in 0..n {
        ids.push(console.must(p, &["CLUSTER", "MYID"]).await.text());
        if ctx.0.plan.set_epochs {
            console.must(p, &["CLUSTER", "SET-CONFIG-EPOCH", &(p + 1).to_string()]).await;
        }
        let (first, last) = (p * SLOTS / n, (p + 1) * SLOTS / n - 1);
        console.must(p, &["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]).await;
    }
    *ctx.0.node_ids.borrow_mut() = ids;
    for p in 1..n {
        let ip = super::process::Process::ip(p).to_string();
        console.must(0, &["CLUSTER", "MEET", &ip, "6379"]).await;
    }
    for round in 0.. {
        ctx.sleep(200_000).await;
        let mut formed = true;
        for p in 0..n {
            let info = console.must(p, &["CLUSTER", "INFO"]).await.text();
            let known = format!("cluster_known_nodes:{n}\r\n");
            formed &= info.contains("cluster_state:ok") && info.contains(&known);
            formed &= info.contains(&format!("cluster_size:{n}\r\n"));
        }
        if formed {
            return;
        }
        if round > 150 {
            violated("LIV-CONV", "the cluster does not form within 30 seconds");
        }
    }
}

/// The owner of a slot as one process sees it, and the range around the slot that it owns.
async fn owner(console: &mut Console, slot: u16) -> Option<(usize, u16, u16)> {
    let p = console.ctx.below(console.ctx.0.plan.processes as u64) as usize;
    let table = console.tell(p, &["CLUSTER", "SLOTS"]).await?;
    for range in table.items() {
        let [Reply::Int(first), Reply::Int(last), owner, ..] = range.items() else { continue };
        if (*first..=*last).contains(&i64::from(slot)) {
            let ip = owner.items().first().map(Reply::text).unwrap_or_default();
            let p = format!("{ip}:6379").parse().ok().and_then(super::process::Process::at)?;
            return Some((p, *first as u16, *last as u16));
        }
    }
    None
}

/// Chooses slots around one that is in use, and asks their owner to move them. Several jobs share one request.
async fn migrate(console: &mut Console, number: usize, last: Option<Move>) -> Option<Move> {
    let ctx = console.ctx.clone();
    let plan = ctx.0.plan.clone();
    let mut moves: Vec<Move> = Vec::new();
    let wanted = if plan.several_jobs { 1 + ctx.below(3) } else { 1 };
    for _ in 0..wanted {
        let slot = plan.large.filter(|_| ctx.one_in(2)).unwrap_or(*ctx.pick(&plan.slots));
        let Some((from, first, end)) = owner(console, slot).await else { continue };
        let way_back = last.as_ref().filter(|_| plan.both_ways).map(|m| m.to);
        // One request goes to one source; with both ways open it is the target of the one before.
        let source = moves.first().map(|m| m.from).or(way_back.filter(|_| number % 2 == 1));
        if source.is_some_and(|s| s != from) {
            continue;
        }
        let width = [0, 3, 40, 700][ctx.below(4) as usize];
        let lower = first.max(slot.saturating_sub(ctx.below(width + 1) as u16));
        let upper = end.min(slot + ctx.below(width + 1) as u16);
        if moves.iter().any(|m| m.first <= upper && lower <= m.last) {
            continue;
        }
        let back = last.as_ref().filter(|m| plan.both_ways && m.from != from).map(|m| m.from);
        let to = back.unwrap_or((from + 1 + ctx.below(plan.processes as u64 - 1) as usize) % plan.processes);
        moves.push(Move { first: lower, last: upper, from, to });
    }
    let source = moves.first()?.from;
    let ids = ctx.0.node_ids.borrow().clone();
    let mut words: Vec<String> = vec!["CLUSTER".into(), "MIGRATESLOTS".into()];
    for m in &moves {
        words.extend(["SLOTSRANGE".into(), m.first.to_string(), m.last.to_string()]);
        words.extend(["NODE".into(), ids[m.to].clone()]);
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let reply = console.tell(source, &words).await;
    line(|| format!("operator: request {number} at {source}: {moves:?}: {reply:?}"));
    match &reply {
        Some(Reply::Simple(_)) => {
            mark("a migration was asked for");
            let used =
                |m: &Move| plan.slots.iter().filter(|s| (m.first..=m.last).contains(s)).copied().collect();
            let hot: Vec<u16> = moves.iter().flat_map(|m| -> Vec<u16> { used(m) }).collect();
            *ctx.0.hot.borrow_mut() = hot;
            if moves.len() > 1 {
                mark("several jobs in one request");
            }
            moves.pop()
        }
        Some(Reply::Error(error)) => {
            let known = [
                "already being migrated",
                "not owned",
                "not served",
                "not the owner",
                "in progress",
                "migrat",
                "span multiple",
            ];
            // Whoever was asked for the owner may not have heard of the last migration yet.
            assert!(known.iter().any(|k| error.contains(k)) || !plan.is_calm(), "MIGRATESLOTS: {error}");
            last
        }
        _ => last,
    }
}

/// Waits until no process has a running job, if all of them can be asked.
async fn wait_for_jobs(console: &mut Console) {
    let ctx = console.ctx.clone();
    // Longer than any job can take: a pause of ten seconds, a silence of six, a restart.
    for _ in 0..300 {
        let mut running = 0;
        for p in 0..ctx.0.plan.processes {
            let Some(reply) = console.tell(p, &["CLUSTER", "GETSLOTMIGRATIONS"]).await else {
                running += 1;
                continue;
            };
            for row in reply.items() {
                let at = row.items().iter().position(|r| r.bulk() == Some(b"state"));
                let state = at.map(|at| row.items()[at + 1].text()).unwrap_or_default();
                running += usize::from(!["success", "failed", "cancelled"].contains(&state.as_str()));
            }
        }
        if running == 0 {
            ctx.0.hot.borrow_mut().clear();
            return;
        }
        ctx.sleep(100_000).await;
    }
    violated("LIV-JOB", "a job does not end within 30 seconds");
}
