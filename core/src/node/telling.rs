//! What shards are told when: at once, or when what was saved before it is durable.
//!
//! One queue has everything that waits, in the order in which it was decided; a save that is durable lets go of all
//! that waited for it or for an earlier one, in that order. Only news of losses pass it, see [`Node::post_news`], and
//! settings, which are saved elsewhere if at all.

use alloc::collections::VecDeque;

use crate::action::Actions;
use crate::ids::{JobName, Shards, Ticket};
use crate::mail::Order;
use crate::node::Node;
use crate::slots::{SlotRanges, SlotSet};
use crate::time::Now;

/// Something that waits until a save is durable.
#[derive(Debug)]
enum Told {
    /// An order to shards.
    Order(Order),
    /// Slots that this node gained: shards see them from then on.
    Gained(SlotRanges),
}

/// Everything that waits, in order. Its tickets do not fall.
#[derive(Debug, Default)]
pub(super) struct Waiting(VecDeque<(Ticket, Told)>);

impl Waiting {
    /// Slots gained that could still be forgotten in a crash: nobody may serve them yet.
    pub(super) fn undurable(&self) -> SlotSet {
        let gained = self.0.iter().filter_map(|(_, told)| match told {
            Told::Gained(slots) => Some(slots),
            Told::Order(_) => None,
        });
        gained.flat_map(SlotRanges::slots).collect()
    }

    /// Whether an order about the job waits; `None`: about any job.
    fn concerns(&self, job: Option<JobName>) -> bool {
        self.0.iter().any(|(_, told)| match told {
            Told::Order(order) => order.job().is_some_and(|of| job.is_none_or(|job| job == of)),
            Told::Gained(_) => false,
        })
    }

    fn pop_durable(&mut self, ticket: Ticket) -> Option<Told> {
        let durable = self.0.front().is_some_and(|(wanted, _)| *wanted <= ticket);
        if durable { self.0.pop_front().map(|(_, told)| told) } else { None }
    }
}

impl Node {
    /// Hands an order to the shards that it concerns.
    pub(super) fn deliver(&mut self, order: Order, out: &mut Actions) {
        let shard = match &order {
            // What is settled ends holds, and hides nothing more, in every shard that has slots of the job.
            Order::Publish(_)
            | Order::PublishJobs(_)
            | Order::Configure(..)
            | Order::Drop(_)
            | Order::Settled { .. }
            | Order::TakenOver { .. } => {
                Shards::new(self.config.shards).iter().for_each(|shard| out.order(shard, order.clone()));
                return;
            }
            Order::Answer { link, reply } => {
                self.answer(*link, reply.clone(), out);
                return;
            }
            // What is said of a job that has ended is not heard anyway.
            _ => order.job().and_then(|job| self.jobs.home(job)).unwrap_or_default(),
        };
        out.order(shard, order);
    }

    /// Posts an order as soon as everything that was saved before it is durable.
    pub(super) fn post(&mut self, order: Order, out: &mut Actions) {
        match self.saving {
            Some(ticket) => self.waiting.0.push_back((ticket, Told::Order(order))),
            None => self.deliver(order, out),
        }
    }

    /// Posts an order about slots that are ours no more: at once, because until it is obeyed they are served by the
    /// old view. It waits only where it would pass an order about the same job; and nothing is deleted while orders
    /// about jobs wait, which may be about the same slots.
    pub(super) fn post_news(&mut self, order: Order, out: &mut Actions) {
        let passes = match &order {
            Order::Drop(_) => !self.waiting.concerns(None),
            _ => !self.waiting.concerns(order.job()),
        };
        if passes { self.deliver(order, out) } else { self.post(order, out) }
    }

    /// This node gained slots: its shards hear of it when that is durable.
    pub(super) fn gained(&mut self, slots: SlotRanges) {
        if let Some(ticket) = self.saving {
            self.waiting.0.push_back((ticket, Told::Gained(slots)));
        }
    }

    /// Everything up to `ticket` is durable.
    pub(super) fn tell_what_waited(&mut self, now: Now, ticket: Ticket, out: &mut Actions) {
        while let Some(told) = self.waiting.pop_durable(ticket) {
            match told {
                Told::Order(order) => self.deliver(order, out),
                Told::Gained(_) => {
                    self.publish_at_once(now, out);
                    self.settle_jobs(out);
                }
            }
        }
    }
}
