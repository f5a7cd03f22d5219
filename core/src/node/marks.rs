//! Answers of a process with several shards: given when every shard obeys what was ordered before them.
//!
//! A client that has its answer may ask any shard next. So behind the orders of a step a mark is sent to all shards, and
//! when each has said that it passed it, the clients are answered. One shard obeys its orders before it gives the answer.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::action::Actions;
use crate::ids::{LinkId, Shards};
use crate::mail::Order;
use crate::node::Node;

/// Answers that wait.
#[derive(Debug, Default)]
pub(super) struct Marks {
    last: u64,
    /// Of this step.
    answers: Vec<(LinkId, Bytes)>,
    sent: VecDeque<Mark>,
}

#[derive(Debug)]
struct Mark {
    number: u64,
    passed: u16,
    answers: Vec<(LinkId, Bytes)>,
}

impl Node {
    /// Answers a client as soon as all shards obey.
    pub(super) fn answer(&mut self, link: LinkId, reply: Bytes, out: &mut Actions) {
        if self.config.shards > 1 {
            self.marks.answers.push((link, reply));
        } else {
            out.order(link.shard(), Order::Answer { link, reply });
        }
    }

    /// The step's orders have all been given.
    pub(super) fn mark(&mut self, out: &mut Actions) {
        if self.marks.answers.is_empty() {
            return;
        }
        let Marks { last, answers, sent } = &mut self.marks;
        *last += 1;
        sent.push_back(Mark { number: *last, passed: 0, answers: core::mem::take(answers) });
        Shards::new(self.config.shards).iter().for_each(|shard| out.order(shard, Order::Mark(*last)));
    }

    /// A shard has passed a mark.
    pub(super) fn passed(&mut self, number: u64, out: &mut Actions) {
        let shards = self.config.shards;
        let Some(mark) = self.marks.sent.iter_mut().find(|mark| mark.number == number) else { return };
        mark.passed += 1;
        // Each shard passes them in order, so they are done in order.
        while let Some(mark) = self.marks.sent.pop_front_if(|mark| mark.passed == shards) {
            for (link, reply) in mark.answers {
                out.order(link.shard(), Order::Answer { link, reply });
            }
        }
    }
}
