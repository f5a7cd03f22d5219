//! What shards tell the node.

use crate::action::Actions;
use crate::cluster::takeover;
use crate::mail::{Fact, Order};
use crate::node::Node;
use crate::time::Now;

impl Node {
    /// Takes in a fact.
    pub(super) fn hear(&mut self, now: Now, fact: Fact, out: &mut Actions) {
        match fact {
            Fact::Passed(mark) => self.passed(mark, out),
            Fact::Asked(asked) => self.asked(now, &asked, out),
            Fact::Disturbed(fault) => {
                if let Some(cluster) = &mut self.cluster {
                    cluster.disturb(now, fault, &mut self.actions);
                    self.carry_out(now, out);
                }
            }
            Fact::Entered { job, stage } => self.jobs.entered(job, stage, now),
            Fact::Granted { job } => {
                if let (Some(running), Some(cluster)) = (self.jobs.find(job), &mut self.cluster) {
                    running.granted = true;
                    takeover::grant(cluster, job, running.job.target, &running.job.ranges);
                }
            }
            Fact::TakeOver { job } => self.take_over(now, job, out),
            Fact::Withdraw { job } => {
                // A take-over that has begun cannot be withdrawn: its order is on the way.
                if self.jobs.find(job).is_some_and(|running| !running.taking_over) {
                    self.post(Order::Withdrawn { job }, out);
                }
            }
            Fact::CleanUp { job } => self.clean_up(job, out),
            Fact::Ended { job, outcome, pause } => {
                if let Some(cluster) = &mut self.cluster {
                    takeover::ungrant(cluster, now, job, &mut self.actions);
                    self.carry_out(now, out);
                }
                self.jobs.ended(job, &outcome, pause);
            }
        }
    }
}
