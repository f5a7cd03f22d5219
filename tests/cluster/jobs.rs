//! Slot migrations as CLUSTER GETSLOTMIGRATIONS shows them.

use std::collections::BTreeMap;

use super::{Node, eventually};

/// One job.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Job(BTreeMap<String, String>);

impl Job {
    /// A field of it; panics when there is none.
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).unwrap_or_else(|| panic!("no field {name} in {self:?}"))
    }

    /// The fields it has.
    pub fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    /// Its state.
    pub fn state(&self) -> &str {
        self.get("state")
    }

    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        ["success", "failed", "cancelled"].contains(&self.state())
    }
}

impl Node {
    /// All jobs the node knows, the newest first.
    pub fn jobs(&self) -> Vec<Job> {
        let reply = self.run("CLUSTER GETSLOTMIGRATIONS");
        let job = |fields: &[crate::peer::Reply]| {
            Job(fields.chunks(2).map(|pair| (pair[0].to_string(), pair[1].to_string())).collect())
        };
        reply.list().iter().map(|fields| job(fields.list())).collect()
    }

    /// Starts to move slots to another node: `ranges` as in `0 99 200 299`.
    pub fn migrate(&self, ranges: &str, target: &Node) {
        self.ok(&format!("CLUSTER MIGRATESLOTS SLOTSRANGE {ranges} NODE {}", target.id()));
    }

    /// Waits until the newest job is one that `is_right` takes.
    pub fn await_job(&self, what: &str, is_right: impl Fn(&Job) -> bool) -> Job {
        eventually(what, || match self.jobs().into_iter().next() {
            Some(job) if is_right(&job) => Ok(job),
            other => Err(other),
        })
    }

    /// Waits until no job of this node runs any more.
    pub fn await_jobs_over(&self) -> Vec<Job> {
        eventually("all jobs are over", || {
            let jobs = self.jobs();
            if jobs.iter().all(Job::is_over) { Ok(jobs) } else { Err(jobs) }
        })
    }

    /// Waits until the newest job is over, with this result.
    pub fn await_outcome(&self, state: &str) -> Job {
        let job = self.await_job("the job is over", Job::is_over);
        assert_eq!(job.state(), state, "{job:#?}");
        job
    }
}
