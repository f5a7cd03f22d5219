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

/// What became of a migration that was waited for.
pub enum Watched {
    /// It came to the state.
    Reached,
    /// It did not: why.
    Failed(String),
}

impl Watched {
    /// Whether it came to the state.
    pub fn is_reached(&self) -> bool {
        matches!(self, Self::Reached)
    }

    /// In words.
    pub fn told(&self) -> String {
        match self {
            Self::Reached => "finished".to_owned(),
            Self::Failed(how) => how.clone(),
        }
    }
}

/// A cluster of two nodes.
pub struct Pair {
    /// Which server it is.
    pub name: &'static str,
    cluster: Cluster,
    /// The first slot that no measurement has used: each moves slots that have not moved before.
    fresh: u16,
}

impl Pair {
    /// Starts both nodes, each on its cores.
    pub fn start(name: &'static str, program: &Program, cores: &[Vec<usize>; 2]) -> Result<Self, Trouble> {
        let share = |first, last| SlotRange::new(first, last).into_iter().collect::<Vec<_>>();
        let shares = [share(0, SECOND_FROM - 1), share(SECOND_FROM, 16_383)];
        let cluster = Cluster::start(program, &shares, cores)?;
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

    /// Starts to move slots from the first node to the second.
    pub fn begin(&mut self, slots: &Range<u16>) -> Result<(), Trouble> {
        let range = SlotRange::new(slots.start, slots.end - 1).expect("slots in order");
        let target = self.target().id.clone();
        self.source().migrate(&[range], &target)
    }

    /// Waits until the last migration has come to a state, or cannot any more.
    pub fn watch(&mut self, state: &str, limit: Duration) -> Result<Watched, Trouble> {
        let begun = Instant::now();
        loop {
            thread::sleep(LOOK);
            let jobs = self.source().jobs(1)?;
            match jobs.first() {
                Some(job) if job.state == state => return Ok(Watched::Reached),
                Some(job) if job.is_over() => {
                    return Ok(Watched::Failed(format!("ended as {}: {}", job.state, job.message)));
                }
                _ if begun.elapsed() > limit => {
                    let state = jobs.first().map(|job| job.state.as_str()).unwrap_or_default();
                    return Ok(Watched::Failed(format!("after {limit:?} still {state}")));
                }
                _ => {}
            }
        }
    }

    /// Moves slots from the first node to the second, and waits until the first says that it is done; how long that
    /// took.
    pub fn migrate(&mut self, slots: &Range<u16>) -> Result<Duration, Trouble> {
        let begun = Instant::now();
        self.begin(slots)?;
        match self.watch("success", LIMIT)? {
            Watched::Reached => Ok(begun.elapsed()),
            Watched::Failed(how) => Err(format!("{}: the migration {how}", self.name)),
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
