//! Commands about the cluster.

use super::access::NOT_KEY;
use super::flags::{ADMIN, FAST, LOADING, NO_ASYNC_LOADING, NOSCRIPT, READONLY, STALE, WRITE};
use super::{Command, Group, Id, KeySpec, acl};

const fn cluster(id: Id, name: &'static str, arity: i16, flags: u32, since: &'static str) -> Command {
    Command::new(Group::Cluster, 0, id, name, arity, flags, since)
}

pub(super) const COMMANDS: &[Command] = &[
    cluster(Id::Asking, "asking", 1, FAST, "3.0.0")
        .about("Lets the next command use a slot that is on its way to this node.")
        .acl(acl::CONNECTION),
    cluster(Id::Container, "cluster", -2, 0, "3.0.0")
        .about("Groups the commands about the cluster.")
        .cost("Depends on the subcommand")
        .subcommands(CLUSTER),
    cluster(Id::Clusterscan, "clusterscan", -2, READONLY, "9.1.0")
        .about("Walks over the names of the keys of the whole cluster, a few at each call.")
        .cost("O(N) with N being the number of keys returned")
        .acl(acl::KEYSPACE)
        .keys(&[KeySpec::one(1, NOT_KEY)])
        .args("cursor [MATCH=match-pattern:pattern] [COUNT=count:int] [TYPE=type] [SLOT=slot:int]")
        .tips("nondeterministic_output request_policy:special response_policy:special"),
    cluster(Id::Readonly, "readonly", 1, LOADING | STALE | FAST, "3.0.0")
        .about("Lets this replica serve the reads of the connection.")
        .acl(acl::CONNECTION),
    cluster(Id::Readwrite, "readwrite", 1, LOADING | STALE | FAST, "3.0.0")
        .about("Sends the reads of the connection to the primary again.")
        .acl(acl::CONNECTION),
];

/// Of CLUSTER.
const CLUSTER: &[Command] = &[
    cluster(Id::ClusterAddslots, "cluster|addslots", -3, ADMIN | STALE | NO_ASYNC_LOADING, "3.0.0")
        .about("Takes slots for this node.")
        .cost("O(N) with N being the number of slots")
        .args("slot:int*"),
    cluster(Id::ClusterAddslotsrange, "cluster|addslotsrange", -4, ADMIN | STALE | NO_ASYNC_LOADING, "7.0.0")
        .about("Takes ranges of slots for this node.")
        .cost("O(N) with N being the number of slots")
        .args("range{start-slot:int end-slot:int}*"),
    cluster(Id::ClusterBumpepoch, "cluster|bumpepoch", 2, ADMIN | STALE | NO_ASYNC_LOADING, "3.0.0")
        .about("Raises the configuration epoch of this node.")
        .tips("nondeterministic_output"),
    cluster(
        Id::ClusterCancelslotmigrations,
        "cluster|cancelslotmigrations",
        2,
        ADMIN | STALE | NO_ASYNC_LOADING,
        "9.0.0",
    )
    .about("Ends all slot migrations that this node is part of.")
    .cost("O(N) with N being the number of migrations"),
    cluster(Id::ClusterCountFailureReports, "cluster|count-failure-reports", 3, ADMIN | STALE, "3.0.0")
        .about("Counts the reports that a node has failed.")
        .cost("O(N) with N being the number of reports")
        .args("node-id")
        .tips("nondeterministic_output"),
    cluster(Id::ClusterCountkeysinslot, "cluster|countkeysinslot", 3, STALE, "3.0.0")
        .about("Counts the keys in a slot.")
        .args("slot:int"),
    cluster(Id::ClusterDelslots, "cluster|delslots", -3, ADMIN | STALE | NO_ASYNC_LOADING, "3.0.0")
        .about("Makes this node forget who has certain slots.")
        .cost("O(N) with N being the number of slots")
        .args("slot:int*"),
    cluster(Id::ClusterDelslotsrange, "cluster|delslotsrange", -4, ADMIN | STALE | NO_ASYNC_LOADING, "7.0.0")
        .about("Makes this node forget who has certain ranges of slots.")
        .cost("O(N) with N being the number of slots")
        .args("range{start-slot:int end-slot:int}*"),
    cluster(Id::ClusterFailover, "cluster|failover", -2, ADMIN | STALE | NO_ASYNC_LOADING, "3.0.0")
        .about("Makes this replica the primary of its shard.")
        .args("[options(FORCE|TAKEOVER)]"),
    cluster(Id::ClusterFlushslot, "cluster|flushslot", -3, WRITE | ADMIN | NO_ASYNC_LOADING, "9.0.0")
        .about("Removes all keys in a slot.")
        .cost("O(N) with N being the number of keys in the slot")
        .acl(acl::KEYSPACE)
        .args("slot:int [flush-type(ASYNC|SYNC)]"),
    cluster(Id::ClusterFlushslots, "cluster|flushslots", 2, ADMIN | STALE | NO_ASYNC_LOADING, "3.0.0")
        .about("Makes this node forget who has any slot."),
    cluster(Id::ClusterForget, "cluster|forget", 3, ADMIN | STALE | NO_ASYNC_LOADING, "3.0.0")
        .about("Removes a node from those this one knows.")
        .args("node-id"),
    cluster(Id::ClusterGetkeysinslot, "cluster|getkeysinslot", 4, STALE, "3.0.0")
        .about("Lists the names of some keys in a slot.")
        .cost("O(N) with N being the number of keys asked for")
        .args("slot:int count:int")
        .tips("nondeterministic_output"),
    cluster(
        Id::ClusterGetslotmigrations,
        "cluster|getslotmigrations",
        2,
        ADMIN | STALE | NO_ASYNC_LOADING,
        "9.0.0",
    )
    .about("Describes the slot migrations of this node, present and past.")
    .cost("O(N) with N being the number of migrations"),
    cluster(Id::ClusterHelp, "cluster|help", 2, LOADING | STALE, "5.0.0").about("Lists the subcommands."),
    cluster(Id::ClusterInfo, "cluster|info", 2, LOADING | STALE, "3.0.0")
        .about("Reports the state of the cluster as this node sees it.")
        .tips("nondeterministic_output"),
    cluster(Id::ClusterKeyslot, "cluster|keyslot", 3, STALE, "3.0.0")
        .about("Tells the slot of a key.")
        .cost("O(N) with N being the length of the key")
        .args("key"),
    cluster(Id::ClusterLinks, "cluster|links", 2, STALE, "7.0.0")
        .about("Describes the links of the cluster bus.")
        .cost("O(N) with N being the number of nodes")
        .tips("nondeterministic_output"),
    cluster(Id::ClusterMeet, "cluster|meet", -4, ADMIN | STALE | NO_ASYNC_LOADING, "3.0.0")
        .about("Brings this node together with another one.")
        .args("ip port:int [cluster-bus-port:int@4.0.0]"),
    cluster(Id::ClusterMigrateslots, "cluster|migrateslots", -4, ADMIN | STALE | NO_ASYNC_LOADING, "9.0.0")
        .about("Moves ranges of slots to other nodes, keys and all.")
        .cost("O(N) with N being the number of slots")
        .args(
            "migration-group{SLOTSRANGE=slotsrange-token:token range{start-slot:int end-slot:int}* \
             NODE=node-token:token node-id}*",
        ),
    cluster(Id::ClusterMyid, "cluster|myid", 2, LOADING | STALE, "3.0.0").about("Tells the id of this node."),
    cluster(Id::ClusterMyshardid, "cluster|myshardid", 2, LOADING | STALE, "7.2.0")
        .about("Tells the id of the shard of this node.")
        .tips("nondeterministic_output"),
    cluster(Id::ClusterNodes, "cluster|nodes", 2, LOADING | STALE, "3.0.0")
        .about("Lists the nodes of the cluster as this one knows them.")
        .cost("O(N) with N being the number of nodes")
        .tips("nondeterministic_output"),
    cluster(Id::ClusterReplicas, "cluster|replicas", 3, ADMIN | STALE, "5.0.0")
        .about("Lists the replicas of a primary.")
        .cost("O(N) with N being the number of replicas")
        .args("node-id")
        .tips("nondeterministic_output"),
    cluster(Id::ClusterReplicate, "cluster|replicate", -3, ADMIN | STALE | NO_ASYNC_LOADING, "3.0.0")
        .about("Makes this node the replica of a primary, or of none.")
        .args("args(node-id|no-one{NO ONE}@9.0.0)"),
    cluster(Id::ClusterReset, "cluster|reset", -2, ADMIN | NOSCRIPT | STALE, "3.0.0")
        .about("Makes this node leave its cluster.")
        .cost("O(N) with N being the number of nodes, and of keys if they are removed")
        .args("[reset-type(HARD|SOFT)]"),
    cluster(Id::ClusterSaveconfig, "cluster|saveconfig", 2, ADMIN | STALE | NO_ASYNC_LOADING, "3.0.0")
        .about("Writes what this node knows of the cluster to its file."),
    cluster(
        Id::ClusterSetConfigEpoch,
        "cluster|set-config-epoch",
        3,
        ADMIN | STALE | NO_ASYNC_LOADING,
        "3.0.0",
    )
    .about("Sets the configuration epoch of a new node.")
    .args("config-epoch:int"),
    cluster(Id::ClusterSetslot, "cluster|setslot", -4, ADMIN | STALE | NO_ASYNC_LOADING, "3.0.0")
        .about("Says whose a slot is, or between whom it moves.")
        .args(
            "slot:int subcommand(IMPORTING=importing/node-id|MIGRATING=migrating/node-id|\
             NODE=node/node-id|STABLE) [TIMEOUT=timeout:int@8.0.0]",
        ),
    cluster(Id::ClusterShards, "cluster|shards", 2, LOADING | STALE, "7.0.0")
        .about("Lists the shards with their slots and nodes.")
        .cost("O(N) with N being the number of nodes")
        .tips("nondeterministic_output"),
    cluster(Id::ClusterSlaves, "cluster|slaves", 3, ADMIN | STALE, "3.0.0")
        .about("Lists the replicas of a primary, by an old name.")
        .cost("O(N) with N being the number of replicas")
        .args("node-id")
        .tips("nondeterministic_output")
        .deprecated("5.0.0", "`CLUSTER REPLICAS`"),
    cluster(Id::ClusterSlotStats, "cluster|slot-stats", -4, LOADING | STALE, "8.0.0")
        .about("Reports the use of slots.")
        .cost("O(N) with N being the number of slots, O(N log N) with ORDERBY")
        .args(
            "filter(SLOTSRANGE=slotsrange{start-slot:int end-slot:int}|ORDERBY=orderby{metric \
             [LIMIT=limit:int] [order(ASC|DESC)]})",
        )
        .tips("nondeterministic_output request_policy:all_shards"),
    cluster(Id::ClusterSlots, "cluster|slots", 2, LOADING | STALE, "3.0.0")
        .about("Lists which nodes have which slots.")
        .cost("O(N) with N being the number of nodes")
        .tips("nondeterministic_output"),
    cluster(Id::ClusterSyncslots, "cluster|syncslots", -3, ADMIN | STALE | NO_ASYNC_LOADING, "9.0.0")
        .about("Carries what two nodes say to each other in a slot migration.")
        .cost("Depends on the subcommand")
        .syscmd(),
];
