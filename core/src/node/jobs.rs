//! The table of slot migrations: which run, how they are settled by the bus, and the log of those that ended.

use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::action::Actions;
use crate::cluster::{View, takeover};
use crate::ids::{JobName, LinkId, NodeId, ShardIndex, Shards};
use crate::mail::Order;
use crate::migration::failure::Failure;
use crate::migration::job::{Job, Operation, Outcome, Settlement};
use crate::migration::log::{JobLog, JobRow, Stage};
use crate::migration::{export, import};
use crate::node::{Node, settings};
use crate::slots::Slot;
use crate::time::{Now, Span};

/// A job that has not ended.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) job: Arc<Job>,
    pub(super) operation: Operation,
    /// The shard that has its link.
    home: ShardIndex,
    /// What the shard was told last of its slots' owners.
    told: Settlement,
    /// The slots are being taken over: their change of owner is our own doing.
    pub(super) taking_over: bool,
    /// The slots were granted to the target: what becomes of them is not ours to say.
    pub(super) granted: bool,
}

/// All jobs the node knows.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    running: Vec<Running>,
    log: Arc<JobLog>,
    version: u64,
}

impl Jobs {
    pub(super) fn log(&self) -> Arc<JobLog> {
        self.log.clone()
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn find(&mut self, name: JobName) -> Option<&mut Running> {
        self.running.iter_mut().find(|r| r.job.name == name)
    }

    /// Whether an unfinished job of this kind moves `slot`.
    pub(super) fn moves(&self, operation: Operation, slot: Slot) -> bool {
        self.running.iter().any(|r| r.operation == operation && r.job.ranges.contains(slot))
    }

    pub(super) fn any(&self, operation: Operation) -> bool {
        self.running.iter().any(|r| r.operation == operation)
    }

    /// The exports that can still be stopped: those that have granted nothing.
    pub(super) fn stoppable(&self) -> Vec<JobName> {
        let exports = self.running.iter().filter(|r| r.operation == Operation::Export && !r.granted);
        exports.map(|r| r.job.name).collect()
    }

    /// The shard that runs an unfinished job.
    pub(super) fn home(&self, name: JobName) -> Option<ShardIndex> {
        self.running.iter().find(|r| r.job.name == name).map(|r| r.home)
    }

    /// Adds the jobs of one request, in its order, each with the shard that runs it.
    fn add(&mut self, jobs: &[(Arc<Job>, ShardIndex)], stage: Stage, now: Now) {
        self.edit(|log| {
            log.start(jobs.iter().map(|(job, _)| JobRow::new(job.clone(), stage, now.wall)).collect());
        });
        for (job, home) in jobs {
            let running = Running {
                job: job.clone(),
                operation: stage.operation(),
                home: *home,
                told: Settlement::OwnedBySource,
                taking_over: false,
                granted: false,
            };
            self.running.push(running);
        }
    }

    pub(super) fn entered(&mut self, name: JobName, stage: Stage, now: Now) {
        self.edit(|log| {
            if let Some(row) = log.find(&name) {
                // The first one is where the row began.
                if row.stage != stage {
                    tracing::info!("Slot migration {name} state transition: {} -> {stage}", row.stage);
                }
                row.enter(stage, now.wall);
            }
        });
    }

    pub(super) fn ended(&mut self, name: JobName, outcome: &Outcome, pause: Option<Span>) {
        self.running.retain(|r| r.job.name != name);
        self.edit(|log| {
            if let Some(row) = log.find(&name) {
                if let Outcome::Failed(failure) = outcome {
                    row.message = failure.to_string();
                }
                row.pause = pause;
                tracing::info!(
                    "Slot migration {name} ({} {}) finished. State: {}, Message: {}",
                    row.stage.operation(),
                    row.job.ranges,
                    row.stage,
                    row.message
                );
            }
        });
    }

    pub(super) fn trim(&mut self, most: u64) {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        if self.log.iter().len() > most && self.log.iter().any(|row| row.stage.is_finished()) {
            self.edit(|log| log.trim(most));
        }
    }

    fn edit(&mut self, change: impl FnOnce(&mut JobLog)) {
        change(Arc::make_mut(&mut self.log));
        self.version += 1;
    }
}

impl Node {
    /// Starts the source's side of migrations.
    pub(super) fn start_exports(&mut self, now: Now, jobs: Vec<Arc<Job>>, out: &mut Actions) {
        let shards = Shards::new(self.config.shards);
        let home = |job: &Job| job.ranges.slots().next().map(|slot| shards.of(slot)).unwrap_or_default();
        let jobs: Vec<_> = jobs.into_iter().map(|job| (job.clone(), home(&job))).collect();
        self.jobs.add(&jobs, Stage::Export(export::State::Connecting), now);
        if let Some(cluster) = &mut self.cluster {
            let leaving = jobs.iter().map(|(job, _)| (job.name, job.target, &job.ranges));
            takeover::leave(cluster, now, leaving, &mut self.actions);
            self.carry_out(now, out);
        }
        for (job, _) in jobs {
            let to = self.data_address(job.target);
            let credentials = settings::credentials(&self.config);
            let timing = settings::of_migrations(&self.config);
            self.post(Order::StartExport { job, to, credentials, timing }, out);
        }
    }

    /// Where a node's clients connect to, as the bus knows it.
    fn data_address(&self, id: NodeId) -> Option<SocketAddr> {
        let view = self.published.view();
        let row = view.find(id)?;
        let ip = row.ip.as_str().parse().ok()?;
        Some(SocketAddr::new(ip, row.port))
    }

    /// Starts the target's side of a migration on the link that asked for it.
    pub(super) fn start_import(&mut self, now: Now, job: Job, link: LinkId, out: &mut Actions) {
        let job = Arc::new(job);
        tracing::info!(
            "New slot import job created: {{name: {}, operation: import, source_node_id: {}, slots: {}}}.",
            job.name,
            job.source,
            job.ranges
        );
        self.jobs.add(&[(job.clone(), link.shard())], Stage::Import(import::State::WaitingForAck), now);
        let timing = settings::of_migrations(&self.config);
        // The slots have to be empty: what a slot left here that was lost without a claim would come back with it.
        let left = self.cluster.as_ref().and_then(|c| takeover::confirm_failed_import(c, &job.ranges));
        self.post(Order::StartImport { link, job, timing, left }, out);
    }

    /// Takes the slots of an import over; the shard hears of it when that is durable.
    pub(super) fn take_over(&mut self, now: Now, name: JobName, out: &mut Actions) {
        let (Some(running), Some(cluster)) = (self.jobs.find(name), &mut self.cluster) else { return };
        let job = running.job.clone();
        if settlement(&cluster.view(), &job) == Settlement::OwnedByOther {
            let failure = Failure::SlotsNotOwnedBySource;
            self.post(Order::StopImport { job: name, failure }, out);
            return;
        }
        running.taking_over = true;
        takeover::take_over(cluster, now, name, &job.ranges, &mut self.actions);
        self.carry_out(now, out);
        self.post(Order::TakenOver { job: name }, out);
    }

    /// The failed import's keys may go, where the slots are not ours.
    pub(super) fn clean_up(&mut self, name: JobName, out: &mut Actions) {
        let (Some(running), Some(cluster)) = (self.jobs.find(name), &self.cluster) else { return };
        let confirmed = takeover::confirm_failed_import(cluster, &running.job.ranges);
        self.post(Order::CleanUp { job: name, confirmed }, out);
    }

    /// Owners changed: tells the shard of every job whose slots are settled differently now.
    pub(super) fn settle_jobs(&mut self, out: &mut Actions) {
        let view = self.published.view();
        let mut news = Vec::new();
        for running in &mut self.jobs.running {
            let settlement = settlement(&view, &running.job);
            if settlement != running.told && !running.taking_over {
                running.told = settlement;
                news.push(Order::Settled { job: running.job.name, settlement });
            }
        }
        for order in news {
            self.post_news(order, out);
        }
    }
}

/// Who owns the slots of a job in our view.
fn settlement(view: &View, job: &Job) -> Settlement {
    let all = |owner| job.ranges.slots().all(|slot| view.owner(slot).is_some_and(|row| row.id == owner));
    if all(job.target) {
        Settlement::OwnedByTarget
    } else if all(job.source) {
        Settlement::OwnedBySource
    } else {
        Settlement::OwnedByOther
    }
}
