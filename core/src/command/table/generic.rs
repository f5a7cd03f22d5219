//! Commands on keys of any type.

use super::access::{ACCESS, DELETE, INSERT, OW, RM, RO, RW, UPDATE};
use super::flags::{BLOCKING, DENYOOM, FAST, LOADING, READONLY, STALE, WRITE};
use super::{Command, Group, Id, KeySpec, acl};

const fn generic(id: Id, name: &'static str, arity: i16, flags: u32, since: &'static str) -> Command {
    Command::new(Group::Generic, acl::KEYSPACE, id, name, arity, flags, since)
}

pub(super) const COMMANDS: &[Command] = &[
    generic(Id::Copy, "copy", -3, WRITE | DENYOOM, "6.2.0")
        .about("Gives another key a copy of a value.")
        .cost("O(1) for a string, O(N) for a value of N elements")
        .keys(&[KeySpec::one(1, RO | ACCESS), KeySpec::one(2, OW | UPDATE)])
        .args("source#0 destination#1 [DB=destination-db:int] [REPLACE]"),
    generic(Id::Del, "del", -2, WRITE, "1.0.0")
        .about("Removes keys.")
        .cost("O(N) with N being the number of keys and of the elements in their values")
        .keys(&[KeySpec::rest(1, 1, RM | DELETE)])
        .args("key#0*")
        .tips("request_policy:multi_shard response_policy:agg_sum"),
    generic(Id::Exists, "exists", -2, READONLY | FAST, "1.0.0")
        .about("Counts how many of the keys are there.")
        .cost("O(N) with N being the number of keys")
        .keys(&[KeySpec::rest(1, 1, RO)])
        .args("key#0*")
        .tips("request_policy:multi_shard response_policy:agg_sum"),
    generic(Id::Expire, "expire", -3, WRITE | FAST, "1.0.0")
        .about("Sets the time to live of a key in seconds.")
        .keys(&[KeySpec::one(1, RW | UPDATE)])
        .args("key#0 seconds:int [condition(NX|XX|GT|LT)@7.0.0]"),
    generic(Id::Expireat, "expireat", -3, WRITE | FAST, "1.2.0")
        .about("Sets the second at which a key expires.")
        .keys(&[KeySpec::one(1, RW | UPDATE)])
        .args("key#0 unix-time-seconds:time [condition(NX|XX|GT|LT)@7.0.0]"),
    generic(Id::Expiretime, "expiretime", 2, READONLY | FAST, "7.0.0")
        .about("Tells the second at which a key expires.")
        .keys(&[KeySpec::one(1, RO | ACCESS)])
        .args("key#0"),
    generic(Id::Keys, "keys", 2, READONLY, "1.0.0")
        .about("Lists the names of all keys that match a pattern.")
        .cost("O(N) with N being the number of keys in the database")
        .acl(acl::KEYSPACE | acl::DANGEROUS)
        .args("pattern:pattern")
        .tips("request_policy:all_shards nondeterministic_output_order"),
    generic(Id::Move, "move", 3, WRITE | FAST, "1.0.0")
        .about("Moves a key to another database.")
        .keys(&[KeySpec::one(1, RW | ACCESS | UPDATE)])
        .args("key#0 db:int"),
    generic(Id::Container, "object", -2, 0, "2.2.3")
        .about("Groups the commands that look inside stored values.")
        .cost("Depends on the subcommand")
        .acl(0)
        .subcommands(OBJECT),
    generic(Id::Persist, "persist", 2, WRITE | FAST, "2.2.0")
        .about("Lifts the time to live of a key.")
        .keys(&[KeySpec::one(1, RW | UPDATE)])
        .args("key#0"),
    generic(Id::Pexpire, "pexpire", -3, WRITE | FAST, "2.6.0")
        .about("Sets the time to live of a key in milliseconds.")
        .keys(&[KeySpec::one(1, RW | UPDATE)])
        .args("key#0 milliseconds:int [condition(NX|XX|GT|LT)@7.0.0]"),
    generic(Id::Pexpireat, "pexpireat", -3, WRITE | FAST, "2.6.0")
        .about("Sets the millisecond at which a key expires.")
        .keys(&[KeySpec::one(1, RW | UPDATE)])
        .args("key#0 unix-time-milliseconds:time [condition(NX|XX|GT|LT)@7.0.0]"),
    generic(Id::Pexpiretime, "pexpiretime", 2, READONLY | FAST, "7.0.0")
        .about("Tells the millisecond at which a key expires.")
        .keys(&[KeySpec::one(1, RO | ACCESS)])
        .args("key#0"),
    generic(Id::Pttl, "pttl", 2, READONLY | FAST, "2.6.0")
        .about("Tells the time to live of a key in milliseconds.")
        .keys(&[KeySpec::one(1, RO | ACCESS)])
        .args("key#0")
        .tips("nondeterministic_output"),
    generic(Id::Randomkey, "randomkey", 1, READONLY, "1.0.0")
        .about("Picks the name of some key.")
        .tips("request_policy:all_shards response_policy:special nondeterministic_output"),
    generic(Id::Rename, "rename", 3, WRITE, "1.0.0")
        .about("Gives a key another name, replacing what had it.")
        .keys(&[KeySpec::one(1, RW | ACCESS | DELETE), KeySpec::one(2, OW | UPDATE)])
        .args("key#0 newkey#1"),
    generic(Id::Renamenx, "renamenx", 3, WRITE | FAST, "1.0.0")
        .about("Gives a key another name, but only if that is free.")
        .keys(&[KeySpec::one(1, RW | ACCESS | DELETE), KeySpec::one(2, OW | INSERT)])
        .args("key#0 newkey#1"),
    generic(Id::Scan, "scan", -2, READONLY, "2.8.0")
        .about("Walks over the names of all keys, a few at each call.")
        .cost("O(1) for every call, O(N) for a whole walk over N keys")
        .args("cursor:int [MATCH=pattern:pattern] [COUNT=count:int] [TYPE=type@6.0.0]")
        .tips("nondeterministic_output request_policy:special response_policy:special"),
    generic(Id::Touch, "touch", -2, READONLY | FAST, "3.2.1")
        .about("Counts how many of the keys are there and marks them as used.")
        .cost("O(N) with N being the number of keys")
        .keys(&[KeySpec::rest(1, 1, RO)])
        .args("key#0*")
        .tips("request_policy:multi_shard response_policy:agg_sum"),
    generic(Id::Ttl, "ttl", 2, READONLY | FAST, "1.0.0")
        .about("Tells the time to live of a key in seconds.")
        .keys(&[KeySpec::one(1, RO | ACCESS)])
        .args("key#0")
        .tips("nondeterministic_output"),
    generic(Id::Type, "type", 2, READONLY | FAST, "1.0.0")
        .about("Tells the type of the value in a key.")
        .keys(&[KeySpec::one(1, RO)])
        .args("key#0"),
    generic(Id::Unlink, "unlink", -2, WRITE | FAST, "4.0.0")
        .about("Removes keys and frees their memory later.")
        .cost("O(1) for every key, and O(N) later to free N elements")
        .keys(&[KeySpec::rest(1, 1, RM | DELETE)])
        .args("key#0*")
        .tips("request_policy:multi_shard response_policy:agg_sum"),
    generic(Id::Wait, "wait", 3, BLOCKING, "3.0.0")
        .about("Waits until replicas have the writes of the connection.")
        .acl(acl::CONNECTION)
        .args("numreplicas:int timeout:int")
        .tips("request_policy:all_shards response_policy:agg_min"),
    generic(Id::Waitaof, "waitaof", 4, BLOCKING, "7.2.0")
        .about("Waits until the writes of the connection are in append-only files, here and at replicas.")
        .acl(acl::CONNECTION)
        .args("numlocal:int numreplicas:int timeout:int")
        .tips("request_policy:all_shards response_policy:agg_min"),
];

/// Of OBJECT.
const OBJECT: &[Command] = &[
    generic(Id::ObjectEncoding, "object|encoding", 3, READONLY, "2.2.3")
        .about("Tells how a value is held in memory.")
        .keys(&[KeySpec::one(2, RO)])
        .args("key#0")
        .tips("nondeterministic_output"),
    generic(Id::ObjectFreq, "object|freq", 3, READONLY, "4.0.0")
        .about("Tells how often a key is used, on a logarithmic scale.")
        .keys(&[KeySpec::one(2, RO)])
        .args("key#0")
        .tips("nondeterministic_output"),
    generic(Id::ObjectHelp, "object|help", 2, LOADING | STALE, "6.2.0").about("Lists the subcommands."),
    generic(Id::ObjectIdletime, "object|idletime", 3, READONLY, "2.2.3")
        .about("Tells for how many seconds a key was not used.")
        .keys(&[KeySpec::one(2, RO)])
        .args("key#0")
        .tips("nondeterministic_output"),
    generic(Id::ObjectRefcount, "object|refcount", 3, READONLY, "2.2.3")
        .about("Tells how many references a value has.")
        .keys(&[KeySpec::one(2, RO)])
        .args("key#0")
        .tips("nondeterministic_output"),
];
