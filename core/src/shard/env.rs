//! What the commands of a step see of their surroundings.

use alloc::sync::Arc;

use crate::cluster::View;
use crate::command::clusterscan::Ground;
use crate::config::Config;
use crate::ids::{ShardIndex, Shards};
use crate::migration::log::JobLog;
use crate::slots::Slot;
use crate::time::Now;

/// What all commands of a step see and none changes.
#[derive(Debug)]
pub(crate) struct Env {
    /// Which shard this is …
    pub(crate) index: ShardIndex,
    /// … of how many.
    pub(crate) shards: Shards,
    pub(crate) config: Arc<Config>,
    pub(crate) view: Arc<View>,
    pub(crate) jobs: Arc<JobLog>,
    pub(crate) started: Now,
    /// What cursors of CLUSTERSCAN name this shard by: positions mean something only where they were given.
    pub(crate) fingerprint: [u8; 6],
}

impl Env {
    /// Whether commands about a slot are run in this shard.
    #[inline]
    pub(crate) fn here(&self) -> impl Fn(Slot) -> bool + use<'_> {
        |slot| self.shards == Shards::ONE || self.shards.of(slot) == self.index
    }

    /// Where this shard walks for CLUSTERSCAN.
    pub(crate) fn ground(&self) -> Ground<'_> {
        let Self { view, fingerprint: node, shards, index, .. } = self;
        Ground { view, node, shards: *shards, index: *index }
    }
}
