//! Commands for operators: what was slow, what was large, what hung.

use super::flags::{ADMIN, FAST, LOADING, NOSCRIPT, READONLY, STALE};
use super::{Command, Group, Id, acl};

const fn operator(id: Id, name: &'static str, arity: i16, flags: u32, since: &'static str) -> Command {
    Command::new(Group::Server, 0, id, name, arity, flags, since)
}

pub(super) const COMMANDS: &[Command] = &[
    operator(Id::Container, "commandlog", -2, 0, "8.1.0")
        .about("Groups the commands about commands that were slow or large.")
        .cost("Depends on the subcommand")
        .subcommands(COMMANDLOG),
    operator(Id::Container, "latency", -2, 0, "2.8.13")
        .about("Groups the commands about what took long.")
        .cost("Depends on the subcommand")
        .subcommands(LATENCY),
    operator(Id::Lolwut, "lolwut", -1, READONLY | FAST, "5.0.0")
        .about("Shows a picture and the version.")
        .acl(acl::READ)
        .args("[VERSION=version:int]"),
    operator(Id::Monitor, "monitor", 1, ADMIN | NOSCRIPT | LOADING | STALE, "1.0.0")
        .about("Shows all commands that clients give from now on."),
    operator(Id::Container, "slowlog", -2, 0, "2.2.12")
        .about("Groups the commands about slow commands.")
        .cost("Depends on the subcommand")
        .subcommands(SLOWLOG),
];

/// Of COMMANDLOG.
const COMMANDLOG: &[Command] = &[
    operator(Id::CommandlogGet, "commandlog|get", 4, ADMIN | LOADING | STALE, "8.1.0")
        .about("Shows the latest entries of a log; a count of -1 means all.")
        .cost("O(N) with N being the number of entries shown")
        .args("count:int type(SLOW|LARGE-REQUEST|LARGE-REPLY)")
        .tips("request_policy:all_nodes nondeterministic_output"),
    operator(Id::CommandlogHelp, "commandlog|help", 2, LOADING | STALE, "8.1.0")
        .about("Lists the subcommands."),
    operator(Id::CommandlogLen, "commandlog|len", 3, ADMIN | LOADING | STALE, "8.1.0")
        .about("Counts the entries of a log.")
        .args("type(SLOW|LARGE-REQUEST|LARGE-REPLY)")
        .tips("request_policy:all_nodes response_policy:agg_sum nondeterministic_output"),
    operator(Id::CommandlogReset, "commandlog|reset", 3, ADMIN | LOADING | STALE, "8.1.0")
        .about("Forgets the entries of a log.")
        .cost("O(N) with N being the number of entries")
        .args("type(SLOW|LARGE-REQUEST|LARGE-REPLY)")
        .tips("request_policy:all_nodes response_policy:all_succeeded"),
];

/// Of LATENCY.
const LATENCY: &[Command] = &[
    operator(Id::LatencyDoctor, "latency|doctor", 2, ADMIN | NOSCRIPT | LOADING | STALE, "2.8.13")
        .about("Explains in words what took long.")
        .tips("nondeterministic_output request_policy:all_nodes response_policy:special"),
    operator(Id::LatencyGraph, "latency|graph", 3, ADMIN | NOSCRIPT | LOADING | STALE, "2.8.13")
        .about("Draws how long an event took over time.")
        .args("event")
        .tips("nondeterministic_output request_policy:all_nodes response_policy:special"),
    operator(Id::LatencyHelp, "latency|help", 2, LOADING | STALE, "2.8.13").about("Lists the subcommands."),
    operator(Id::LatencyHistogram, "latency|histogram", -2, ADMIN | NOSCRIPT | LOADING | STALE, "7.0.0")
        .about("Shows how many calls of commands took how long.")
        .cost("O(N) with N being the number of commands shown")
        .args("[command*]")
        .tips("nondeterministic_output request_policy:all_nodes response_policy:special"),
    operator(Id::LatencyHistory, "latency|history", 3, ADMIN | NOSCRIPT | LOADING | STALE, "2.8.13")
        .about("Shows when an event took how long.")
        .args("event")
        .tips("nondeterministic_output request_policy:all_nodes response_policy:special"),
    operator(Id::LatencyLatest, "latency|latest", 2, ADMIN | NOSCRIPT | LOADING | STALE, "2.8.13")
        .about("Shows the last time that each event took long.")
        .tips("nondeterministic_output request_policy:all_nodes response_policy:special"),
    operator(Id::LatencyReset, "latency|reset", -2, ADMIN | NOSCRIPT | LOADING | STALE, "2.8.13")
        .about("Forgets some events, or all.")
        .args("[event*]")
        .tips("request_policy:all_nodes response_policy:agg_sum"),
];

/// Of SLOWLOG.
const SLOWLOG: &[Command] = &[
    operator(Id::SlowlogGet, "slowlog|get", -2, ADMIN | LOADING | STALE, "2.2.12")
        .about("Shows the latest slow commands: 10, as many as said, or all with -1.")
        .cost("O(N) with N being the number of entries shown")
        .args("[count:int]")
        .tips("request_policy:all_nodes nondeterministic_output"),
    operator(Id::SlowlogHelp, "slowlog|help", 2, LOADING | STALE, "6.2.0").about("Lists the subcommands."),
    operator(Id::SlowlogLen, "slowlog|len", 2, ADMIN | LOADING | STALE, "2.2.12")
        .about("Counts the slow commands that are remembered.")
        .tips("request_policy:all_nodes response_policy:agg_sum nondeterministic_output"),
    operator(Id::SlowlogReset, "slowlog|reset", 2, ADMIN | LOADING | STALE, "2.2.12")
        .about("Forgets all slow commands.")
        .cost("O(N) with N being the number of entries")
        .tips("request_policy:all_nodes response_policy:all_succeeded"),
];
