//! Which part of a node carries a command out.

use crate::command::table::Id;

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
pub(crate) fn home(id: Id) -> Home {
    match id {
        Id::Auth
        | Id::Hello
        | Id::Ping
        | Id::Echo
        | Id::Select
        | Id::Quit
        | Id::Reset
        | Id::Multi
        | Id::Exec
        | Id::Discard
        | Id::Watch
        | Id::Unwatch
        | Id::Asking
        | Id::Readonly
        | Id::Readwrite
        | Id::Time
        | Id::ClientId
        | Id::ClientGetname
        | Id::ClientSetname
        | Id::ClientSetinfo
        | Id::ClientReply
        | Id::ClientNoTouch
        | Id::ClientNoEvict
        | Id::ClientCapa
        | Id::ClientGetredir
        | Id::ClientInfo
        | Id::ClientHelp
        | Id::Command
        | Id::CommandCount
        | Id::CommandDocs
        | Id::CommandGetkeys
        | Id::CommandGetkeysandflags
        | Id::CommandHelp
        | Id::CommandInfo
        | Id::CommandList
        | Id::ConfigHelp
        | Id::ClusterHelp => Home::Session,
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
        | Id::ClusterSlaves
        | Id::ConfigGet
        | Id::Role
        | Id::Lastsave => Home::View,
        Id::Info
        | Id::ClientList
        | Id::ClientKill
        | Id::ClientPause
        | Id::ClientUnpause
        | Id::ClientUnblock
        | Id::Flushall
        | Id::Flushdb
        | Id::Swapdb
        | Id::Debug
        | Id::ConfigResetstat
        | Id::ClusterFlushslot
        | Id::ClusterGetslotmigrations
        | Id::ClusterSlotStats
        | Id::Clusterscan
        | Id::ClientCaching => Home::Whole,
        Id::ConfigSet
        | Id::ConfigRewrite
        | Id::Shutdown
        | Id::ClusterAddslots
        | Id::ClusterAddslotsrange
        | Id::ClusterBumpepoch
        | Id::ClusterCountFailureReports
        | Id::ClusterCancelslotmigrations
        | Id::ClusterDelslots
        | Id::ClusterDelslotsrange
        | Id::ClusterFailover
        | Id::ClusterFlushslots
        | Id::ClusterForget
        | Id::ClusterMeet
        | Id::ClusterMigrateslots
        | Id::ClusterReplicate
        | Id::ClusterReset
        | Id::ClusterSaveconfig
        | Id::ClusterSetConfigEpoch
        | Id::ClusterSetslot
        | Id::ClusterSyncslots => Home::Node,
        _ => Home::Data,
    }
}
