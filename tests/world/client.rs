//! A cluster client: knows or tries who owns a slot, follows redirections, and says honestly what it does not know.

use std::collections::BTreeMap;

use super::journal::{detail, line, mark, violated};
use super::process::Process;
use super::resp::{Reply, command};
use super::tasks::{Answer, ConnId, Ctx};

/// Tries after which a client gives an operation up, knowing that it was not executed.
const TRIES: usize = 60;

/// What became of an operation.
pub enum Fate {
    /// Executed and answered.
    Answered(Answer),
    /// Not executed.
    Never,
    /// Sent on a connection that broke.
    Unknown,
}

/// One client with a connection to each process it has talked to.
pub struct Client {
    pub ctx: Ctx,
    pub number: usize,
    conns: Vec<Option<(ConnId, u32)>>,
    owners: BTreeMap<u16, usize>,
    /// Whether it asks CLUSTER SLOTS, or only learns from redirections.
    asks: bool,
}

impl Client {
    pub fn new(ctx: Ctx, number: usize) -> Self {
        let conns = vec![None; ctx.0.plan.processes];
        let asks = ctx.one_in(2);
        Self { ctx, number, conns, owners: BTreeMap::new(), asks }
    }

    /// Runs commands about keys of one slot, in one database, as one pipeline. Several of them are a transaction, the
    /// last being EXEC.
    pub async fn run(&mut self, slot: u16, db: u32, commands: &[Vec<u8>]) -> Fate {
        let mut asking = false;
        for tries in 0..TRIES {
            let p = self.owner(slot).await;
            let Some((conn, at)) = self.conn(p).await else {
                self.owners.remove(&slot);
                if self.ctx.0.quiet.get() && tries > TRIES / 2 {
                    return Fate::Never;
                }
                let us = 20_000 + self.ctx.below(100_000);
                self.ctx.sleep(us).await;
                continue;
            };
            let mut bytes = Vec::new();
            let mut extra = 0;
            if at != db {
                bytes.extend(command(&[b"SELECT", db.to_string().as_bytes()]));
                extra += 1;
            }
            if std::mem::take(&mut asking) {
                bytes.extend(command(&[b"ASKING"]));
                extra += 1;
            }
            let shards = u64::from(self.ctx.0.plan.shards);
            if shards > 1 && self.ctx.one_in(8) {
                let shard = self.ctx.below(shards).to_string();
                bytes.extend(command(&[b"DEBUG", b"MOVE-CLIENT", shard.as_bytes()]));
                extra += 1;
            }
            bytes.extend(commands.concat());
            let Some(mut answer) = self.ctx.call(conn, bytes, commands.len() + extra).await else {
                self.conns[p] = None;
                return Fate::Unknown;
            };
            self.conns[p] = Some((conn, db));
            answer.replies.drain(..extra);
            let refusal = answer.replies.iter().find_map(Reply::error).map(str::to_owned);
            let Some(refusal) = refusal else { return Fate::Answered(answer) };
            detail(|| format!("client {} at {p}, slot {slot}: {refusal}", self.number));
            if commands.len() > 1 && answer.replies.last().and_then(Reply::error).is_none() {
                // EXEC ran what had been queued, and a command in it failed: no command of ours may.
                violated("INV-LIN", format!("a transaction was half refused: {refusal}"));
            }
            self.refused(slot, &refusal, tries).await;
        }
        Fate::Never
    }

    /// Sends commands to the owner of a slot, if it is known, without following redirections.
    pub async fn send_once(&mut self, slot: u16, db: u32, commands: &[Vec<u8>]) -> Option<Answer> {
        let p = self.owner(slot).await;
        let answer = self.send_to(p, db, commands).await?;
        if let Some(error) = answer.replies.iter().find_map(Reply::error).map(str::to_owned) {
            self.refused(slot, &error, 0).await;
        }
        Some(answer)
    }

    /// Sends commands to a process.
    pub async fn send_to(&mut self, p: usize, db: u32, commands: &[Vec<u8>]) -> Option<Answer> {
        let (conn, at) = self.conn(p).await?;
        let mut bytes = Vec::new();
        if at != db {
            bytes.extend(command(&[b"SELECT", db.to_string().as_bytes()]));
        }
        bytes.extend(commands.concat());
        let extra = usize::from(at != db);
        let Some(mut answer) = self.ctx.call(conn, bytes, commands.len() + extra).await else {
            self.conns[p] = None;
            return None;
        };
        self.conns[p] = Some((conn, db));
        answer.replies.drain(..extra);
        Some(answer)
    }

    /// Sends commands about several databases to the owner of a slot in one go, without following redirections; `to` is
    /// the shard where the client is to have its home before.
    pub async fn send_much(
        &mut self,
        slot: u16,
        to: Option<u16>,
        commands: &[(u32, Vec<u8>)],
    ) -> Option<Answer> {
        let p = self.owner(slot).await;
        let (conn, mut db) = self.conn(p).await?;
        let (mut bytes, mut asked) = (Vec::new(), Vec::new());
        if let Some(shard) = to {
            bytes.extend(command(&[b"DEBUG", b"MOVE-CLIENT", shard.to_string().as_bytes()]));
            asked.push(false);
        }
        for (of, words) in commands {
            if std::mem::replace(&mut db, *of) != *of {
                bytes.extend(command(&[b"SELECT", of.to_string().as_bytes()]));
                asked.push(false);
            }
            bytes.extend_from_slice(words);
            asked.push(true);
        }
        let Some(mut answer) = self.ctx.call(conn, bytes, asked.len()).await else {
            self.conns[p] = None;
            return None;
        };
        self.conns[p] = Some((conn, db));
        let mut asked = asked.into_iter();
        answer.replies.retain(|_| asked.next() == Some(true));
        if let Some(error) = answer.replies.iter().find_map(Reply::error).map(str::to_owned) {
            self.refused(slot, &error, 0).await;
        }
        Some(answer)
    }

    /// Learns from an error, and waits where that helps.
    async fn refused(&mut self, slot: u16, refusal: &str, tries: usize) {
        let mut words = refusal.split(' ');
        let us = match words.next() {
            Some("MOVED") => {
                mark("a request was redirected");
                let to = words.nth(1).and_then(|w| w.parse().ok()).and_then(Process::at);
                let Some(to) = to else { violated("INV-OWN", format!("nobody can follow {refusal:?}")) };
                self.owners.insert(slot, to);
                if tries < 3 { 0 } else { 2_000 + self.ctx.below(4_000) }
            }
            Some("CLUSTERDOWN") => {
                mark("a request found the cluster down");
                if self.ctx.0.formed.get() && self.ctx.0.plan.is_calm() {
                    violated("LIV-OWN", format!("slot {slot} in a run without faults: {refusal}"));
                }
                self.owners.remove(&slot);
                50_000 + self.ctx.below(100_000)
            }
            Some("TRYAGAIN" | "LOADING" | "EXECABORT") => 10_000 + self.ctx.below(20_000),
            _ => violated("INV-LIN", format!("no command of a client may fail like this: {refusal}")),
        };
        if us > 0 {
            self.ctx.sleep(us).await;
        }
    }

    /// The owner of a slot may be another one by now.
    pub fn forget_owner(&mut self, slot: u16) {
        self.owners.remove(&slot);
    }

    async fn owner(&mut self, slot: u16) -> usize {
        if let Some(owner) = self.owners.get(&slot) {
            return *owner;
        }
        if self.asks {
            self.learn().await;
        }
        let random = self.ctx.below(self.ctx.0.plan.processes as u64) as usize;
        *self.owners.entry(slot).or_insert(random)
    }

    /// Asks somebody for the owners of all slots.
    async fn learn(&mut self) {
        let p = self.ctx.below(self.ctx.0.plan.processes as u64) as usize;
        let Some((conn, _)) = self.conn(p).await else { return };
        let Some(answer) = self.ctx.call(conn, command(&[b"CLUSTER", b"SLOTS"]), 1).await else {
            self.conns[p] = None;
            return;
        };
        mark("a client read the slot table");
        let slots = self.ctx.0.plan.slots.clone();
        for range in answer.replies[0].items() {
            let [first, last, owner, ..] = range.items() else { continue };
            let (Some(first), Some(last)) = (first.int(), last.int()) else { continue };
            let ip = owner.items().first().map(Reply::text).unwrap_or_default();
            let Some(p) = format!("{ip}:6379").parse().ok().and_then(Process::at) else { continue };
            for slot in slots.iter().filter(|s| (first..=last).contains(&i64::from(**s))) {
                self.owners.insert(*slot, p);
            }
        }
    }

    async fn conn(&mut self, p: usize) -> Option<(ConnId, u32)> {
        if self.conns[p].is_none() {
            self.conns[p] = self.ctx.connect(p).await.map(|conn| (conn, 0));
        }
        self.conns[p]
    }

    /// Says something to whoever follows the run.
    pub fn say(&self, text: impl FnOnce() -> String) {
        line(|| format!("client {}: {}", self.number, text()));
    }
}
