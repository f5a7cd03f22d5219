//! Which part of a node carries a command out.

use crate::command::table::{Command, Group, Id, flags};

/// Where a command is at home.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Home {
    /// Works on keys of one slot.
    Data,
    /// Works on the client that gave it.
    Session,
    /// Reads the published view, the configuration, or counts.
    View,
    /// Works on the shard as a whole: all keys, all clients, all jobs.
    Whole,
    /// Changes what only the node may change.
    Node,
}

/// The home of a command.
#[inline]
pub(crate) fn home(command: &Command) -> Home {
    match command.group {
        Group::String => Home::Data,
        // WAIT and WAITAOF.
        Group::Generic if command.is(flags::BLOCKING) => Home::Whole,
        Group::Generic => Home::Data,
        Group::Transactions => Home::Session,
        Group::Connection => connection(command.id),
        Group::Server => server(command.id),
        Group::Cluster => cluster(command.id),
    }
}

fn connection(id: Id) -> Home {
    match id {
        Id::ClientList
        | Id::ClientKill
        | Id::ClientPause
        | Id::ClientUnpause
        | Id::ClientUnblock
        | Id::ClientTracking => Home::Whole,
        _ => Home::Session,
    }
}

fn server(id: Id) -> Home {
    match id {
        Id::Dbsize | Id::MemoryUsage => Home::Data,
        Id::ConfigGet | Id::Role | Id::Lastsave => Home::View,
        Id::ConfigSet | Id::ConfigRewrite | Id::Shutdown => Home::Node,
        Id::AclSetuser | Id::AclDeluser | Id::AclLoad | Id::AclSave => Home::Node,
        Id::Info | Id::Flushall | Id::Flushdb | Id::Swapdb | Id::Debug | Id::ConfigResetstat => Home::Whole,
        Id::MemoryDoctor | Id::MemoryMallocStats | Id::MemoryPurge | Id::MemoryStats => Home::Whole,
        Id::AclLog | Id::Monitor => Home::Whole,
        Id::SlowlogGet | Id::SlowlogLen | Id::SlowlogReset => Home::Whole,
        Id::CommandlogGet | Id::CommandlogLen | Id::CommandlogReset => Home::Whole,
        Id::LatencyLatest | Id::LatencyHistory | Id::LatencyGraph => Home::Whole,
        Id::LatencyDoctor | Id::LatencyHistogram | Id::LatencyReset => Home::Whole,
        _ => Home::Session,
    }
}

fn cluster(id: Id) -> Home {
    match id {
        Id::Asking | Id::Readonly | Id::Readwrite | Id::ClusterHelp => Home::Session,
        Id::ClusterNodes
        | Id::ClusterSlots
        | Id::ClusterShards
        | Id::ClusterInfo
        | Id::ClusterMyid
        | Id::ClusterMyshardid
        | Id::ClusterLinks
        | Id::ClusterKeyslot
        | Id::ClusterCountkeysinslot
        | Id::ClusterGetkeysinslot
        | Id::ClusterReplicas
        | Id::ClusterSlaves => Home::View,
        Id::Clusterscan => Home::Data,
        Id::ClusterFlushslot | Id::ClusterGetslotmigrations | Id::ClusterSlotStats => Home::Whole,
        _ => Home::Node,
    }
}
