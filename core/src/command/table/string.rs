//! Commands on strings.

use super::access::{ACCESS, DELETE, INSERT, OW, RM, RO, RW, UPDATE, VARIABLE_FLAGS};
use super::flags::{DENYOOM, FAST, MOVABLEKEYS, READONLY, WRITE};
use super::{Command, Group, Id, KeySpec, acl};

const fn string(id: Id, name: &'static str, arity: i16, flags: u32, since: &'static str) -> Command {
    Command::new(Group::String, acl::STRING, id, name, arity, flags, since)
}

pub(super) const COMMANDS: &[Command] = &[
    string(Id::Append, "append", 3, WRITE | DENYOOM | FAST, "2.0.0")
        .about("Adds bytes to the end of a string and makes the key if there is none.")
        .cost("O(1) on average, as the memory of a growing string is doubled")
        .keys(&[KeySpec::one(1, RW | INSERT)])
        .args("key#0 value"),
    string(Id::Decr, "decr", 2, WRITE | DENYOOM | FAST, "1.0.0")
        .about("Takes one off the number in a key.")
        .keys(&[KeySpec::one(1, RW | ACCESS | UPDATE)])
        .args("key#0"),
    string(Id::Decrby, "decrby", 3, WRITE | DENYOOM | FAST, "1.0.0")
        .about("Takes an amount off the number in a key.")
        .keys(&[KeySpec::one(1, RW | ACCESS | UPDATE)])
        .args("key#0 decrement:int"),
    string(Id::Delifeq, "delifeq", 3, WRITE | FAST, "9.0.0")
        .about("Removes a key only while its string equals the given one.")
        .keys(&[KeySpec::one(1, RM | DELETE)])
        .args("key#0 value"),
    string(Id::Get, "get", 2, READONLY | FAST, "1.0.0")
        .about("Reads the string in a key.")
        .keys(&[KeySpec::one(1, RO | ACCESS)])
        .args("key#0"),
    string(Id::Getdel, "getdel", 2, WRITE | FAST, "6.2.0")
        .about("Reads the string in a key and removes the key.")
        .keys(&[KeySpec::one(1, RW | ACCESS | DELETE)])
        .args("key#0"),
    string(Id::Getex, "getex", -2, WRITE | FAST, "6.2.0")
        .about("Reads the string in a key and sets or lifts its time to live.")
        .keys(&[KeySpec::one(1, RW | ACCESS | UPDATE).note("written only to change its time to live")])
        .args(
            "key#0 [expiration(EX=seconds:int|PX=milliseconds:int|EXAT=unix-time-seconds:time|\
             PXAT=unix-time-milliseconds:time|PERSIST)]",
        ),
    string(Id::Getrange, "getrange", 4, READONLY, "2.4.0")
        .about("Reads a part of a string.")
        .cost("O(N) with N being the bytes returned")
        .keys(&[KeySpec::one(1, RO | ACCESS)])
        .args("key#0 start:int end:int"),
    string(Id::Getset, "getset", 3, WRITE | DENYOOM | FAST, "1.0.0")
        .about("Stores a string and returns the one it replaced.")
        .keys(&[KeySpec::one(1, RW | ACCESS | UPDATE)])
        .args("key#0 value"),
    string(Id::Incr, "incr", 2, WRITE | DENYOOM | FAST, "1.0.0")
        .about("Adds one to the number in a key.")
        .keys(&[KeySpec::one(1, RW | ACCESS | UPDATE)])
        .args("key#0"),
    string(Id::Incrby, "incrby", 3, WRITE | DENYOOM | FAST, "1.0.0")
        .about("Adds an amount to the number in a key.")
        .keys(&[KeySpec::one(1, RW | ACCESS | UPDATE)])
        .args("key#0 increment:int"),
    string(Id::Incrbyfloat, "incrbyfloat", 3, WRITE | DENYOOM | FAST, "2.6.0")
        .about("Adds a decimal fraction to the number in a key.")
        .keys(&[KeySpec::one(1, RW | ACCESS | UPDATE)])
        .args("key#0 increment:double"),
    string(Id::Lcs, "lcs", -3, READONLY, "7.0.0")
        .about("Finds the longest subsequence that two strings share.")
        .cost("O(N*M) with N and M being the lengths of the strings")
        .keys(&[KeySpec::range(1, 1, 1, RO | ACCESS)])
        .args("key1#0 key2#0 [LEN] [IDX] [MINMATCHLEN=min-match-len:int] [WITHMATCHLEN]"),
    string(Id::Mget, "mget", -2, READONLY | FAST, "1.0.0")
        .about("Reads the strings in several keys.")
        .cost("O(N) with N being the number of keys")
        .keys(&[KeySpec::rest(1, 1, RO | ACCESS)])
        .args("key#0*")
        .tips("request_policy:multi_shard"),
    string(Id::Mset, "mset", -3, WRITE | DENYOOM, "1.0.1")
        .about("Stores strings in several keys in one step.")
        .cost("O(N) with N being the number of keys")
        .keys(&[KeySpec::rest(1, 2, OW | UPDATE)])
        .args("data{key#0 value}*")
        .tips("request_policy:multi_shard response_policy:all_succeeded"),
    string(Id::Msetex, "msetex", -4, WRITE | DENYOOM | MOVABLEKEYS, "9.1.0")
        .about(
            "Stores strings in several keys in one step, on a condition and with a time to live if \
             wanted.",
        )
        .cost("O(N) with N being the number of keys")
        .keys(&[KeySpec::counted(1, 2, OW | UPDATE)])
        .args(
            "numkeys:int data{key#0 value}* [condition(NX|XX)] [expiration(EX=seconds:int|\
             PX=milliseconds:int|EXAT=unix-time-seconds:time|PXAT=unix-time-milliseconds:time|\
             KEEPTTL)]",
        )
        .tips("request_policy:multi_shard response_policy:all_succeeded"),
    string(Id::Msetnx, "msetnx", -3, WRITE | DENYOOM, "1.0.1")
        .about("Stores strings in several keys in one step, but only if none of the keys is there.")
        .cost("O(N) with N being the number of keys")
        .keys(&[KeySpec::rest(1, 2, OW | INSERT)])
        .args("data{key#0 value}*"),
    string(Id::Psetex, "psetex", 4, WRITE | DENYOOM, "2.6.0")
        .about("Stores a string with a time to live in milliseconds.")
        .keys(&[KeySpec::one(1, OW | UPDATE)])
        .args("key#0 milliseconds:int value"),
    string(Id::Set, "set", -3, WRITE | DENYOOM, "1.0.0")
        .about("Stores a string, on a condition and with a time to live if wanted.")
        .keys(&[KeySpec::one(1, RW | ACCESS | UPDATE | VARIABLE_FLAGS).note("read only for GET and IFEQ")])
        .args(
            "key#0 value [condition(NX@2.6.12|XX@2.6.12|IFEQ=comparison-value@8.1.0)] [GET@6.2.0] \
             [expiration(EX=seconds:int@2.6.12|PX=milliseconds:int@2.6.12|\
             EXAT=unix-time-seconds:time@6.2.0|PXAT=unix-time-milliseconds:time@6.2.0|KEEPTTL@6.0.0)]",
        ),
    string(Id::Setex, "setex", 4, WRITE | DENYOOM, "2.0.0")
        .about("Stores a string with a time to live in seconds.")
        .keys(&[KeySpec::one(1, OW | UPDATE)])
        .args("key#0 seconds:int value"),
    string(Id::Setnx, "setnx", 3, WRITE | DENYOOM | FAST, "1.0.0")
        .about("Stores a string only if the key is not there.")
        .keys(&[KeySpec::one(1, OW | INSERT)])
        .args("key#0 value"),
    string(Id::Setrange, "setrange", 4, WRITE | DENYOOM, "2.2.0")
        .about("Overwrites a part of a string, and fills the gap before it with zero bytes.")
        .cost("O(N) with N being the bytes written")
        .keys(&[KeySpec::one(1, RW | UPDATE)])
        .args("key#0 offset:int value"),
    string(Id::Strlen, "strlen", 2, READONLY | FAST, "2.2.0")
        .about("Tells the length of a string in bytes.")
        .keys(&[KeySpec::one(1, RO)])
        .args("key#0"),
    string(Id::Substr, "substr", 4, READONLY, "1.0.0")
        .about("Reads a part of a string, by the old name of GETRANGE.")
        .cost("O(N) with N being the bytes returned")
        .keys(&[KeySpec::one(1, RO | ACCESS)])
        .args("key#0 start:int end:int"),
];
