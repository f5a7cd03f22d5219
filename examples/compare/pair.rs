//! Two nodes of one server: slots move from the first to the second.

use std::time::{Duration, Instant};
use std::{ops::Range, thread};

use whimbrel_core::slots::SlotRange;

use crate::common::Trouble;
use crate::common::cluster::{Cluster, Node};
use crate::common::process::Program;

/// Slots of the second node from the start: it has to be a primary with slots, as in life.
const SECOND_FROM: u16 = 16_000;
/// How often a migration is asked whether it is over.
pub const LOOK: Duration = Duration::from_millis(20);
/// How long one may take.
const LIMIT: Duration = Duration::from_secs(120);

/// A cluster of two nodes, each on a core of its own.
pub struct Pair {
    /// Which server it is.
    pub name: &'static str,
    cluster: Cluster,
    /// The first slot that no measurement has used: each moves slots that have not moved before.
    fresh: u16,
}

impl Pair {
    /// Starts both nodes.
    pub fn start(name: &'static str, program: &Program, cores: [Option<usize>; 2]) -> Result<Self, Trouble> {
        let share = |first, last| SlotRange::new(first, last).into_iter().collect::<Vec<_>>();
        let shares = [share(0, SECOND_FROM - 1), share(SECOND_FROM, 16_383)];
        let cluster = Cluster::start(program, &shares, &cores)?;
        Ok(Self { name, cluster, fresh: 0 })
    }

    /// The node that slots leave.
    pub fn source(&mut self) -> &mut Node {
        &mut self.cluster.nodes[0]
    }

    /// The node that they come to.
    pub fn target(&mut self) -> &mut Node {
        &mut self.cluster.nodes[1]
    }

    /// Slots of the first node that no measurement has used.
    pub fn fresh_slots(&mut self, count: u16) -> Range<u16> {
        let first = self.fresh;
        self.fresh += count;
        assert!(self.fresh <= SECOND_FROM, "more rounds than slots");
        first..self.fresh
    }

    /// Moves slots from the first node to the second, and waits until the first says that it is done; how long that
    /// took.
    pub fn migrate(&mut self, slots: &Range<u16>) -> Result<Duration, Trouble> {
        let range = SlotRange::new(slots.start, slots.end - 1).expect("slots in order");
        let target = self.target().id.clone();
        let begun = Instant::now();
        self.source().migrate(&[range], &target)?;
        loop {
            thread::sleep(LOOK);
            let jobs = self.source().jobs(1)?;
            match jobs.first() {
                Some(job) if job.state == "success" => return Ok(begun.elapsed()),
                Some(job) if job.is_over() => {
                    return Err(format!(
                        "{}: the migration ended as {}: {}",
                        self.name, job.state, job.message
                    ));
                }
                _ if begun.elapsed() > LIMIT => {
                    return Err(format!(
                        "{}: the migration is not over after {LIMIT:?}: {jobs:?}",
                        self.name
                    ));
                }
                _ => {}
            }
        }
    }

    /// Deletes all keys, waits until their memory is free, and until both nodes agree about the slots.
    pub fn clear(&mut self) -> Result<(), Trouble> {
        self.cluster.await_agreement()?;
        for node in &mut self.cluster.nodes {
            node.ask("FLUSHALL SYNC")?;
            let end = Instant::now() + LIMIT;
            while node.info("memory", "lazyfree_pending_objects")?.is_some_and(|left| left != "0") {
                if Instant::now() > end {
                    return Err(format!("{}: keys are not freed after {LIMIT:?}", self.name));
                }
                thread::sleep(LOOK);
            }
        }
        Ok(())
    }
}
