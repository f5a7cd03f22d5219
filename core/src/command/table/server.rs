//! Commands about the server.

use super::flags::{ADMIN, ALLOW_BUSY, FAST, LOADING, NO_MULTI, NOSCRIPT, READONLY, STALE, WRITE};
use super::specs::KeySpec;
use super::{Command, Group, Id, access, acl};

const fn server(id: Id, name: &'static str, arity: i16, flags: u32, since: &'static str) -> Command {
    Command::new(Group::Server, 0, id, name, arity, flags, since)
}

pub(super) const COMMANDS: &[Command] = &[
    server(Id::Container, "acl", -2, 0, "6.0.0")
        .about("Groups the commands about users and what they may do.")
        .cost("Depends on the subcommand")
        .subcommands(super::users::ACL),
    server(Id::Command, "command", -1, LOADING | STALE, "2.8.13")
        .about("Describes all commands.")
        .cost("O(N) with N being the number of commands")
        .acl(acl::CONNECTION)
        .tips("nondeterministic_output_order")
        .subcommands(COMMAND),
    server(Id::Container, "config", -2, 0, "2.0.0")
        .about("Groups the commands about the configuration.")
        .cost("Depends on the subcommand")
        .subcommands(CONFIG),
    server(Id::Dbsize, "dbsize", 1, READONLY | FAST, "1.0.0")
        .about("Counts the keys of the database.")
        .acl(acl::KEYSPACE)
        .tips("request_policy:all_shards response_policy:agg_sum"),
    server(Id::Debug, "debug", -2, ADMIN | NOSCRIPT | LOADING | STALE, "1.0.0")
        .about("Groups what helps to test the server.")
        .cost("Depends on the subcommand")
        .syscmd(),
    server(Id::Flushall, "flushall", -1, WRITE, "1.0.0")
        .about("Removes all keys of all databases.")
        .cost("O(N) with N being the number of keys in all databases")
        .acl(acl::KEYSPACE | acl::DANGEROUS)
        .args("[flush-type(ASYNC@4.0.0|SYNC@6.2.0)]")
        .tips("request_policy:all_shards response_policy:all_succeeded"),
    server(Id::Flushdb, "flushdb", -1, WRITE, "1.0.0")
        .about("Removes all keys of the database.")
        .cost("O(N) with N being the number of keys in the database")
        .acl(acl::KEYSPACE | acl::DANGEROUS)
        .args("[flush-type(ASYNC@4.0.0|SYNC@6.2.0)]")
        .tips("request_policy:all_shards response_policy:all_succeeded"),
    server(Id::Info, "info", -1, LOADING | STALE, "1.0.0")
        .about("Reports the state of the server and its counters.")
        .acl(acl::DANGEROUS)
        .args("[section*]")
        .tips("nondeterministic_output request_policy:all_shards response_policy:special"),
    server(Id::Lastsave, "lastsave", 1, LOADING | STALE | FAST, "1.0.0")
        .about("Tells when the dataset was last saved, as a Unix time.")
        .acl(acl::ADMIN | acl::DANGEROUS)
        .tips("nondeterministic_output"),
    server(Id::Container, "memory", -2, 0, "4.0.0")
        .about("Groups what tells about the use of memory.")
        .cost("Depends on the subcommand")
        .subcommands(MEMORY),
    server(Id::Role, "role", 1, NOSCRIPT | LOADING | STALE | FAST, "2.8.12")
        .about("Tells the part of the server in replication.")
        .acl(acl::ADMIN | acl::DANGEROUS),
    server(Id::Shutdown, "shutdown", -1, ADMIN | NOSCRIPT | LOADING | STALE | NO_MULTI | ALLOW_BUSY, "1.0.0")
        .about("Ends the server, after saving if that is wanted.")
        .cost("O(N) with N being the number of keys if they are saved, otherwise O(1)")
        .args(
            "[abort-selector(save-selector-block{[save-selector(NOSAVE|SAVE)] [NOW@7.0.0] \
             [FORCE@7.0.0] [SAFE@9.0.0] [FAILOVER@9.0.0]}|ABORT@7.0.0)]",
        ),
    server(Id::Swapdb, "swapdb", 3, WRITE | FAST, "4.0.0")
        .about("Exchanges two databases.")
        .cost("O(N) with N being the number of clients that watch or wait for keys")
        .acl(acl::KEYSPACE | acl::DANGEROUS)
        .args("index1:int index2:int"),
    server(Id::Time, "time", 1, LOADING | STALE | FAST, "2.6.0")
        .about("Tells the time of the server.")
        .tips("nondeterministic_output"),
];

/// Of COMMAND.
const COMMAND: &[Command] = &[
    server(Id::CommandCount, "command|count", 2, LOADING | STALE, "2.8.13")
        .about("Counts the commands.")
        .acl(acl::CONNECTION),
    server(Id::CommandDocs, "command|docs", -2, LOADING | STALE, "7.0.0")
        .about("Documents commands for people.")
        .cost("O(N) with N being the number of names given")
        .acl(acl::CONNECTION)
        .args("[command-name*]")
        .tips("nondeterministic_output_order"),
    server(Id::CommandGetkeys, "command|getkeys", -3, LOADING | STALE, "2.8.13")
        .about("Finds the keys in a full command line.")
        .cost("O(N) with N being the number of arguments given")
        .acl(acl::CONNECTION)
        .args("command [arg*]"),
    server(Id::CommandGetkeysandflags, "command|getkeysandflags", -3, LOADING | STALE, "7.0.0")
        .about("Finds the keys in a full command line and what would happen to them.")
        .cost("O(N) with N being the number of arguments given")
        .acl(acl::CONNECTION)
        .args("command [arg*]"),
    server(Id::CommandHelp, "command|help", 2, LOADING | STALE, "5.0.0")
        .about("Lists the subcommands.")
        .acl(acl::CONNECTION),
    server(Id::CommandInfo, "command|info", -2, LOADING | STALE, "2.8.13")
        .about("Describes some commands, or all.")
        .cost("O(N) with N being the number of names given")
        .acl(acl::CONNECTION)
        .args("[command-name*]")
        .tips("nondeterministic_output_order"),
    server(Id::CommandList, "command|list", -2, LOADING | STALE, "7.0.0")
        .about("Lists the names of commands.")
        .cost("O(N) with N being the number of commands")
        .acl(acl::CONNECTION)
        .args("[FILTERBY=filterby(MODULE=module-name|ACLCAT=category|PATTERN=pattern:pattern)]")
        .tips("nondeterministic_output_order"),
];

/// Of CONFIG.
const CONFIG: &[Command] = &[
    server(Id::ConfigGet, "config|get", -3, ADMIN | NOSCRIPT | LOADING | STALE, "2.0.0")
        .about("Reads the parameters whose names match.")
        .cost("O(N) with N being the number of parameters")
        .args("parameter*"),
    server(Id::ConfigHelp, "config|help", 2, LOADING | STALE, "5.0.0").about("Lists the subcommands."),
    server(Id::ConfigResetstat, "config|resetstat", 2, ADMIN | NOSCRIPT | LOADING | STALE, "2.0.0")
        .about("Starts the counters of INFO anew.")
        .tips("request_policy:all_nodes response_policy:all_succeeded"),
    server(Id::ConfigRewrite, "config|rewrite", 2, ADMIN | NOSCRIPT | LOADING | STALE, "2.8.0")
        .about("Writes the present parameters to the configuration file.")
        .tips("request_policy:all_nodes response_policy:all_succeeded"),
    server(Id::ConfigSet, "config|set", -4, ADMIN | NOSCRIPT | LOADING | STALE, "2.0.0")
        .about("Changes parameters while the server runs.")
        .cost("O(N) with N being the number of parameters")
        .args("data{parameter value}*")
        .tips("request_policy:all_nodes response_policy:all_succeeded"),
];

/// Of MEMORY.
const MEMORY: &[Command] = &[
    server(Id::MemoryDoctor, "memory|doctor", 2, 0, "4.0.0")
        .about("Says in words what is odd about the use of memory.")
        .tips("nondeterministic_output request_policy:all_shards response_policy:special"),
    server(Id::MemoryHelp, "memory|help", 2, LOADING | STALE, "4.0.0").about("Lists the subcommands."),
    server(Id::MemoryMallocStats, "memory|malloc-stats", 2, LOADING, "4.0.0")
        .about("Tells what the allocator counts.")
        .cost("Depends on how much memory there is")
        .tips("nondeterministic_output request_policy:all_shards response_policy:special"),
    server(Id::MemoryPurge, "memory|purge", 2, LOADING, "4.0.0")
        .about("Gives memory back that is kept for later.")
        .cost("Depends on how much memory there is")
        .tips("request_policy:all_shards response_policy:all_succeeded"),
    server(Id::MemoryStats, "memory|stats", 2, 0, "4.0.0")
        .about("Counts the use of memory by what it is used for.")
        .tips("nondeterministic_output request_policy:all_shards response_policy:special"),
    server(Id::MemoryUsage, "memory|usage", -3, READONLY, "4.0.0")
        .about("Tells how much memory a key takes.")
        .cost("O(N) with N being the number of samples")
        .keys(&[KeySpec::one(2, access::RO)])
        .args("key#0 [SAMPLES=count:int]"),
];
