//! Suspecting a node, agreeing that it failed, and taking that back.

use super::Cluster;
use super::node_table::{Health, NodeIx, Report};
use crate::time::{Mono, Span};
use crate::wire::bus::Body;

impl Cluster {
    /// How long another primary's report counts.
    fn report_lifetime(&self) -> Span {
        Span(self.config.timeout().0.saturating_mul(2))
    }

    /// `from`, whose word counts, cannot reach `about`.
    pub(super) fn add_report(&mut self, about: NodeIx, from: NodeIx) {
        let at = self.now.mono;
        let reports = &mut self.nodes[about].reports;
        match reports.iter_mut().find(|report| report.from == from) {
            Some(report) => report.at = at,
            None => {
                reports.push(Report { from, at });
                let (about, from) = (self.nodes[about].id, self.nodes[from].id);
                tracing::debug!(%about, %from, "reported as not reachable");
            }
        }
    }

    /// `from` reaches `about` again.
    pub(super) fn remove_report(&mut self, about: NodeIx, from: NodeIx) {
        self.nodes[about].reports.retain(|report| report.from != from);
    }

    /// How many other primaries reported lately that they cannot reach the node.
    pub(super) fn count_reports(&mut self, about: NodeIx) -> usize {
        let (now, lifetime) = (self.now.mono, self.report_lifetime());
        let node = &mut self.nodes[about];
        node.expire_reports(now, lifetime);
        node.reports.len()
    }

    /// Declares a suspected node failed when a majority of the voters, with this node if it is one, says so.
    pub(super) fn fail_if_agreed(&mut self, node: NodeIx) {
        if !self.nodes[node].suspected() {
            return;
        }
        let mine = usize::from(self.is_voter(NodeIx::MYSELF));
        let votes = self.count_reports(node) + mine;
        if votes < self.quorum() {
            return;
        }
        let id = self.nodes[node].id;
        tracing::warn!(node = %id, votes, "declared failed: a majority cannot reach it");
        self.set_failed(node);
        self.broadcast(&Body::Fail(id));
    }

    /// The node failed, by agreement.
    pub(super) fn set_failed(&mut self, node: NodeIx) {
        self.nodes[node].health = Health::Failed { since: self.now.mono };
        self.todo.save();
        self.todo.state = true;
        self.changed();
    }

    /// A FAIL message named the node.
    pub(super) fn told_failed(&mut self, node: NodeIx, by: NodeIx) {
        if node == NodeIx::MYSELF || self.nodes[node].failed() {
            return;
        }
        let (id, by) = (self.nodes[node].id, self.nodes[by].id);
        tracing::warn!(node = %id, %by, "declared failed by another node");
        self.set_failed(node);
    }

    /// The node answered a ping.
    pub(super) fn answered(&mut self, node: NodeIx) {
        let now = self.now.mono;
        let owns = self.slots.count(node) > 0;
        let patience = self.report_lifetime();
        let row = &mut self.nodes[node];
        row.pong_received = Some(now);
        row.ping_sent = None;
        let recovered = match row.health {
            Health::Up => return,
            Health::Suspected => true,
            // A failed primary that still owns slots may be about to be replaced; nobody did when this is over.
            Health::Failed { since } => !row.is_primary() || !owns || now.since(since) > patience,
        };
        if recovered {
            tracing::info!(node = %row.id, was = ?row.health, "reachable again");
            row.health = Health::Up;
            self.todo.save();
            self.todo.state = true;
            self.changed();
        }
    }

    /// The periodic look at one node: ping it if it is time, renew a dead link, suspect it if it is silent.
    pub(super) fn watch(&mut self, ix: NodeIx) {
        let (now, timeout) = (self.now.mono, self.config.timeout());
        let half = Span(timeout.0 / 2);
        let older = |at: Option<Mono>, than: Span| at.is_none_or(|at| now.since(at) > than);
        let node = &self.nodes[ix];
        if let Some(link) = node.outbound.any() {
            let aged = self.links.get(link).is_some_and(|l| now.since(l.created) > timeout);
            if aged && node.ping_sent.is_some_and(|at| now.since(at) > half) && older(node.heard, half) {
                self.close(link);
            }
        }
        let interval = match self.config.ping_interval_ms {
            0 => half,
            ms => Span::ms(ms),
        };
        let node = &self.nodes[ix];
        let Some(ping_sent) = node.ping_sent else {
            if older(node.pong_received, interval) {
                match node.outbound.up() {
                    Some(_) => self.send_ping(ix),
                    // A connection that hangs must be noticed like an answer that does not come.
                    None => self.nodes[ix].ping_sent = Some(now),
                }
            }
            return;
        };
        let silent = now.since(ping_sent) > timeout && older(node.heard, timeout);
        if silent && node.health == Health::Up {
            tracing::info!(node = %node.id, "does not answer");
            self.nodes[ix].health = Health::Suspected;
            self.todo.state = true;
            self.changed();
            if self.is_voter(NodeIx::MYSELF) {
                self.fail_if_agreed(ix);
            }
        }
    }
}
