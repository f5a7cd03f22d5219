//! One node that has all slots, on a core of its own.

use whimbrel_core::slots::SlotRange;

use crate::Plan;
use crate::common::Trouble;
use crate::common::cluster::{Cluster, Node};
use crate::common::process::Program;
use crate::usage;

/// A running node.
pub struct Single {
    /// Which server it is.
    pub name: &'static str,
    /// The server's own process.
    pub pid: u32,
    cluster: Cluster,
}

impl Single {
    /// Starts one.
    pub fn start(plan: &Plan, name: &'static str, program: &Program) -> Result<Self, Trouble> {
        let mut cluster =
            Cluster::start(program, &[SlotRange::new(0, 16_383).into_iter().collect()], &plan.cores()[..1])?;
        let pid = cluster.nodes[0].server_pid()?;
        Ok(Self { name, pid, cluster })
    }

    /// One of each server.
    pub fn both(plan: &Plan) -> Result<Vec<Self>, Trouble> {
        plan.programs().iter().map(|(name, program)| Self::start(plan, name, program)).collect()
    }

    /// The node.
    pub fn node(&mut self) -> &mut Node {
        &mut self.cluster.nodes[0]
    }

    /// CPU time it has used, in nanoseconds.
    pub fn cpu_ns(&self) -> Result<u64, Trouble> {
        usage::cpu_ns(self.pid)
    }
}
