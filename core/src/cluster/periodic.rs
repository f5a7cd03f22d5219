//! What happens ten times a second.

use super::Cluster;
use super::node_table::NodeIx;
use crate::time::Span;
use crate::wire::bus::State;

/// How often the machine looks at its nodes.
const TICK: Span = Span::ms(100);
/// Every so many ticks one node is pinged that need not be.
const RANDOM_PING_TICKS: u64 = 10;
/// Of so many nodes drawn by lot, the one heard of longest ago is pinged.
const RANDOM_PING_DRAWS: usize = 5;

impl Cluster {
    /// The periodic look at everything.
    pub(super) fn tick(&mut self) {
        if self.now.mono < self.next_tick {
            return;
        }
        self.next_tick = self.now.mono + TICK;
        self.ticks += 1;
        self.expire_handshakes();
        self.suspected = self.nodes.iter().filter(|(_, node)| node.suspected()).count();
        for ix in self.nodes.others() {
            self.close_clogged(ix);
            self.repair_membership(ix);
        }
        if !self.faults.no_reconnection {
            self.reconnect();
        }
        if self.ticks.is_multiple_of(RANDOM_PING_TICKS) && !self.faults.no_random_pings {
            self.ping_somebody();
        }
        for ix in self.nodes.others() {
            if !self.nodes[ix].noaddr && !self.nodes[ix].in_handshake() {
                self.watch(ix);
            }
        }
        if self.standing.state == State::Fail {
            self.todo.state = true;
        }
    }

    /// Opens missing links, at most so many at once that a large cluster is retried evenly over time.
    fn reconnect(&mut self) {
        let half_ms = (self.config.node_timeout_ms / 2).max(1);
        let mut budget = self.nodes.len() as u64 * TICK.as_ms() / half_ms * 10;
        let patience = Span(self.config.timeout().0 / 20);
        for ix in self.nodes.others() {
            let node = &self.nodes[ix];
            if node.noaddr || node.outbound.any().is_some() {
                continue;
            }
            let lately = node.connect_tried.is_some_and(|at| self.now.mono.since(at) < patience);
            if budget == 0 && node.inbound.is_none() && lately {
                continue;
            }
            budget = budget.saturating_sub(1);
            self.connect(ix);
        }
    }

    /// Pings the node heard of longest ago among some drawn by lot.
    fn ping_somebody(&mut self) {
        let others = self.nodes.others();
        let mut oldest: Option<NodeIx> = None;
        for _ in 0..RANDOM_PING_DRAWS {
            let Some(&ix) = others.get(self.rng.index(others.len())) else { return };
            let node = &self.nodes[ix];
            if node.in_handshake() || node.outbound.up().is_none() || node.ping_sent.is_some() {
                continue;
            }
            if oldest.is_none_or(|old| node.pong_received < self.nodes[old].pong_received) {
                oldest = Some(ix);
            }
        }
        if let Some(ix) = oldest {
            self.send_ping(ix);
        }
    }
}
