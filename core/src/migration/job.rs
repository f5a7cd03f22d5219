//! What both ends of a migration share: the job, its limits in time, how it ends.

use core::fmt;

use super::failure::Failure;
use crate::ids::{JobName, NodeId};
use crate::slots::SlotRanges;
use crate::time::Span;

/// One migration: some slots from one node to another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Job {
    /// Drawn at random by the source.
    pub name: JobName,
    /// The owner of the slots when the job began.
    pub source: NodeId,
    /// Who shall own them.
    pub target: NodeId,
    /// What moves, in the order of the request.
    pub ranges: SlotRanges,
}

/// Which end of the migration this node is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// The source.
    Export,
    /// The target, or a replica that follows one.
    Import,
}

/// The word in `operation` of CLUSTER GETSLOTMIGRATIONS.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Export => "EXPORT",
            Self::Import => "IMPORT",
        })
    }
}

/// How a job ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The target owns the slots.
    Success,
    /// The slots stay where they were, as far as this end knows.
    Failed(Failure),
    /// The operator cancelled the export.
    Cancelled,
}

/// Who owns all slots of a job, as the cluster bus tells it now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Settlement {
    /// Every slot belongs to the target.
    OwnedByTarget,
    /// Every slot still belongs to the source.
    OwnedBySource,
    /// Neither: a third node, nobody, or some here and some there.
    OwnedByOther,
}

/// The limits of a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// `repl-timeout`: a peer that gives no sign of life for this long fails the job.
    pub repl_timeout: Span,
    /// How often an end says that it is alive.
    pub ack_period: Span,
    /// How long the source may hold writes before the target asks to take over: twice
    /// `cluster-manual-failover-timeout`.
    pub pause_limit: Span,
    /// How long the source holds writes at least after it let the target take over, so that the news can arrive; and
    /// after each sign of life of a target that has not yet.
    pub grant_extension: Span,
    /// `slot-migration-max-failover-repl-bytes`: the source holds writes as soon as no more than this waits to be
    /// sent, in bytes; `None` (-1) for whatever waits.
    pub max_failover_repl_bytes: Option<u64>,
}

/// The values of Valkey's default configuration.
impl Default for Timing {
    fn default() -> Self {
        Self {
            repl_timeout: Span::secs(60),
            ack_period: Span::secs(1),
            pause_limit: Span::secs(10),
            grant_extension: Span::ms(2000),
            max_failover_repl_bytes: Some(0),
        }
    }
}
