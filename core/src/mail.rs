//! Messages between the machines of one process: orders to a shard, facts to the node, and what shards have for each other.
//!
//! The driver carries them in order between any two machines, and delivers everything that is posted before it sends any
//! byte that was appended to an outbox afterwards: a grant is known to the node before the target can hear of it. Where
//! machines run on different threads, mail is delivered when the other thread would find it before anything that it
//! reads from then on: it takes in mail between reading bytes and hearing them.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::net::SocketAddr;

use bytes::Bytes;

use crate::cluster::takeover::Confirmed;
use crate::cluster::{Fault, View};
use crate::config::Config;
use crate::ids::{JobName, LinkId};
use crate::migration::export::Credentials;
use crate::migration::failure::Failure;
use crate::migration::job::{Job, Outcome, Settlement, Timing};
use crate::migration::log::{JobLog, Stage};
use crate::shard::errand::Errand;
use crate::time::Span;
use crate::wire::resp::{ArgvBuf, Proto};

/// A message between machines of one process.
#[derive(Debug)]
pub enum Mail {
    /// Node → shard.
    Order(Order),
    /// Shard → node.
    Fact(Fact),
    /// Shard → shard.
    Pass(Pass),
}

/// What shards of one process send each other; nobody else looks into it.
#[derive(Debug)]
pub struct Pass(pub(crate) Errand);

/// What the node tells a shard.
#[derive(Clone, Debug)]
pub enum Order {
    /// From now on route and answer by this view.
    Publish(Arc<View>),
    /// The jobs of the node, running and ended.
    PublishJobs(Arc<JobLog>),
    /// From now on this configuration is in force, and these timeouts of slot migrations.
    Configure(Arc<Config>, Timing),
    /// Report when everything ordered before this is obeyed.
    Mark(u64),
    /// The reply to a command that the shard had passed on.
    Answer {
        /// The client's link.
        link: LinkId,
        /// The reply in the client's protocol version.
        reply: Bytes,
    },
    /// Move slots away: open a link to the target and run the source's side.
    StartExport {
        /// What moves where.
        job: Arc<Job>,
        /// Data address of the target; `None` when the node is not known any more.
        to: Option<SocketAddr>,
        /// What to authenticate with, if anything.
        credentials: Option<Credentials>,
        /// Timeouts in force.
        timing: Timing,
    },
    /// End an export.
    StopExport {
        /// Which.
        job: JobName,
        /// Why; `None` when the operator cancelled it.
        failure: Option<Failure>,
    },
    /// The client on this link is the source of an accepted migration: run the target's side on it.
    StartImport {
        /// The link that carried ESTABLISH.
        link: LinkId,
        /// What moves here.
        job: Arc<Job>,
        /// Timeouts in force.
        timing: Timing,
        /// What is left of these slots and has to go first.
        left: Option<Confirmed>,
    },
    /// End an import.
    StopImport {
        /// Which.
        job: JobName,
        /// Why.
        failure: Failure,
    },
    /// The bus says who owns the slots of a job.
    Settled {
        /// Which.
        job: JobName,
        /// Who owns them.
        settlement: Settlement,
    },
    /// The slots of an import are ours, durably.
    TakenOver {
        /// Which.
        job: JobName,
    },
    /// The take-over of an import's slots was withdrawn before it began.
    Withdrawn {
        /// Which.
        job: JobName,
    },
    /// Delete all keys of these slots.
    Drop(Confirmed),
    /// A failed import may delete its keys, where the node confirms that the slots are not ours.
    CleanUp {
        /// Which.
        job: JobName,
        /// What to delete; `None` when every slot has become ours by another way.
        confirmed: Option<Confirmed>,
    },
}

impl Order {
    /// The job that the order is about, if it names one.
    #[must_use]
    pub fn job(&self) -> Option<JobName> {
        match self {
            Self::StartExport { job, .. } | Self::StartImport { job, .. } => Some(job.name),
            Self::StopExport { job, .. }
            | Self::StopImport { job, .. }
            | Self::Settled { job, .. }
            | Self::TakenOver { job }
            | Self::Withdrawn { job }
            | Self::CleanUp { job, .. } => Some(*job),
            Self::Publish(_)
            | Self::PublishJobs(_)
            | Self::Configure(..)
            | Self::Mark(_)
            | Self::Answer { .. }
            | Self::Drop(_) => None,
        }
    }
}

/// What a shard tells the node.
#[derive(Clone, Debug)]
pub enum Fact {
    /// A client gave a command that only the node can carry out.
    Asked(Box<Asked>),
    /// Everything ordered before this mark is obeyed.
    Passed(u64),
    /// DEBUG wants the cluster bus to misbehave.
    Disturbed(Fault),
    /// A job entered a state.
    Entered {
        /// Which.
        job: JobName,
        /// Which.
        stage: Stage,
    },
    /// An export is about to grant its slots: accept the target's claim whatever its epoch.
    Granted {
        /// Which.
        job: JobName,
    },
    /// An import holds everything and was granted the slots: take them over.
    TakeOver {
        /// Which.
        job: JobName,
    },
    /// An import failed after it asked to take its slots over: do not, if that is not too late.
    Withdraw {
        /// Which.
        job: JobName,
    },
    /// An import failed; its keys must go.
    CleanUp {
        /// Which.
        job: JobName,
    },
    /// A job ended.
    Ended {
        /// Which.
        job: JobName,
        /// How.
        outcome: Outcome,
        /// How long writes to its slots were held for the hand-over, if they were.
        pause: Option<Span>,
    },
}

/// A command for the node, with what the node has to know of the keyspace to decide.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The client's link, to answer to.
    pub link: LinkId,
    /// The client's protocol version, to answer in.
    pub proto: Proto,
    /// The command.
    pub argv: ArgvBuf,
    /// Whether the client is on the same machine.
    pub local: bool,
    /// Keys in all databases, of all shards where the command depends on it.
    pub keys: u64,
    /// Keys in the slot that the command names, if it names one.
    pub keys_in_slot: u64,
}

impl From<Order> for Mail {
    fn from(order: Order) -> Self {
        Self::Order(order)
    }
}

impl From<Fact> for Mail {
    fn from(fact: Fact) -> Self {
        Self::Fact(fact)
    }
}
