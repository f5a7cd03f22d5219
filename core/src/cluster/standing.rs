//! Whether this node believes that its cluster can serve.

use super::Cluster;
use super::node_table::{Health, NodeIx};
use crate::slots::SLOTS;
use crate::time::{Mono, Span};
use crate::wire::bus::State;

/// For so long after its start a primary neither serves nor votes: it may have been replaced while it was away.
const START_DELAY: Span = Span::ms(2000);
/// Bounds of the delay before a primary that was in a minority serves again.
const REJOIN_LEAST: Span = Span::ms(500);
const REJOIN_MOST: Span = Span::ms(5000);

/// Why the cluster does not serve.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// This node started a moment ago.
    Starting,
    /// A slot has no owner, or its owner failed.
    NotCovered,
    /// This node reaches no majority of the primaries.
    Minority,
    /// It reaches a majority again since a moment.
    Rejoining,
}

/// State of the cluster as seen from here.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) state: State,
    pub(super) why: Option<Why>,
    started: Mono,
    minority: Option<Mono>,
}

impl Standing {
    pub(super) fn new(now: Mono) -> Self {
        Self { state: State::Fail, why: Some(Why::Starting), started: now, minority: None }
    }

    /// Whether the node is up for so short a time that it may neither serve nor vote.
    pub(super) fn is_starting(&self, now: Mono) -> bool {
        now.since(self.started) < START_DELAY
    }
}

impl Cluster {
    /// How many primaries own slots: those whose majority decides, failed ones included.
    pub(super) fn size(&self) -> usize {
        self.slots.owners().filter(|&(ix, _)| self.nodes[ix].is_primary()).count()
    }

    /// How many of them make a majority.
    pub(super) fn quorum(&self) -> usize {
        self.size() / 2 + 1
    }

    /// Whether the node's word counts in votes and failure reports.
    pub(super) fn is_voter(&self, node: NodeIx) -> bool {
        self.nodes[node].is_primary() && self.slots.count(node) > 0
    }

    /// Decides anew whether the cluster serves.
    pub(super) fn update_state(&mut self) {
        let now = self.now.mono;
        self.todo.state = false;
        let (state, why) = self.judge_state();
        if why == Some(Why::Minority) {
            self.standing.minority = Some(now);
        }
        let (state, why) = match state {
            State::Ok if self.standing.state == State::Fail && self.is_rejoining() => {
                (State::Fail, Some(Why::Rejoining))
            }
            other => (other, why),
        };
        if state != self.standing.state {
            tracing::info!(?state, ?why, "cluster state changed");
        }
        if (state, why) != (self.standing.state, self.standing.why) {
            (self.standing.state, self.standing.why) = (state, why);
            self.changed();
        }
    }

    fn judge_state(&self) -> (State, Option<Why>) {
        if self.standing.state == State::Fail && self.standing.is_starting(self.now.mono) {
            return (State::Fail, Some(Why::Starting));
        }
        if self.in_minority() {
            return (State::Fail, Some(Why::Minority));
        }
        let failed_owner = || self.slots.owners().any(|(ix, _)| self.nodes[ix].failed());
        if self.config.require_full_coverage && (self.slots.assigned() < SLOTS || failed_owner()) {
            return (State::Fail, Some(Why::NotCovered));
        }
        (State::Ok, None)
    }

    fn in_minority(&self) -> bool {
        let reachable = |&(ix, _): &(NodeIx, usize)| {
            let node = &self.nodes[ix];
            node.is_primary() && node.health == Health::Up
        };
        self.slots.owners().filter(reachable).count() < self.quorum()
    }

    fn is_rejoining(&self) -> bool {
        let delay = self.config.timeout().clamp(REJOIN_LEAST, REJOIN_MOST);
        self.standing.minority.is_some_and(|at| self.now.mono.since(at) < delay)
    }
}
