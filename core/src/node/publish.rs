//! What shards know of the control plane: an immutable view and the job log, published on change.

use alloc::sync::Arc;

use crate::action::Actions;
use crate::cluster::{Cluster, View};
use crate::mail::Order;
use crate::node::Node;
use crate::time::{Mono, Now, Span};

/// How old the volatile parts of a published view (ping times, message counts) may be.
const REFRESH: Span = Span::ms(100);

/// What was published last.
#[derive(Debug)]
pub(super) struct Published {
    view: Arc<View>,
    version: u64,
    at: Mono,
    jobs_version: u64,
}

impl Published {
    pub(super) fn new(cluster: Option<&Cluster>, now: Now) -> Self {
        let view = cluster.map_or_else(|| View::alone(now), Cluster::view);
        Self { view, version: cluster.map_or(0, Cluster::version), at: now.mono, jobs_version: 0 }
    }

    pub(super) fn view(&self) -> Arc<View> {
        self.view.clone()
    }
}

impl Node {
    /// Publishes a new view when something changed that matters at once, or when the old one is stale.
    pub(super) fn publish(&mut self, now: Now, out: &mut Actions) {
        let Some(cluster) = &self.cluster else { return };
        let changed = cluster.version() != self.published.version;
        if changed || now.mono.since(self.published.at) >= REFRESH {
            self.publish_at_once(now, out);
        }
        self.publish_jobs(out);
    }

    /// Publishes the view as it is now, but slots gained are shown as before until the gain is durable.
    pub(super) fn publish_at_once(&mut self, now: Now, out: &mut Actions) {
        let Some(cluster) = &self.cluster else { return };
        let undurable = self.waiting.undurable();
        self.published.view = match undurable.is_empty() {
            true => cluster.view(),
            false => cluster.view_without(&undurable, &self.published.view),
        };
        self.published.version = cluster.version();
        self.published.at = now.mono;
        self.deliver(Order::Publish(self.published.view()), out);
    }

    /// Publishes the job log when it changed.
    pub(super) fn publish_jobs(&mut self, out: &mut Actions) {
        if self.jobs.version() != self.published.jobs_version {
            self.published.jobs_version = self.jobs.version();
            self.deliver(Order::PublishJobs(self.jobs.log()), out);
        }
    }
}
