//! Every command of the table, alone and in transactions, with one shard and with several: the replies are the same, and
//! so are the keys afterwards. What is not compared here says why, and where it is.

use super::*;
use crate::command::table::{self, Id};
use crate::shard::home::{Home, home};

/// How the replies to lines of a command are compared.
enum Told {
    /// They are the same.
    Same(&'static [&'static str]),
    /// Their lines are the same, in any order.
    AnyOrder(&'static [&'static str]),
    /// They are the same but for numbers: ids, sizes, counts of what shards do.
    ButNumbers(&'static [&'static str]),
    /// The same fields come in the same order.
    Fields(&'static [&'static str]),
    /// They are not compared.
    Not,
}

use Told::{AnyOrder, ButNumbers, Fields, Not, Same};

#[rustfmt::skip]
fn lines(id: Id) -> Told {
    match id {
        Id::AclCat => Same(&["ACL CAT", "ACL CAT string", "ACL CAT nope"]),
        Id::AclDeluser => Same(&["ACL DELUSER nobody", "ACL DELUSER default"]),
        Id::AclDryrun => Same(&["ACL DRYRUN default GET a", "ACL DRYRUN nobody GET a"]),
        Id::AclGenpass => Same(&["ACL GENPASS x", "ACL GENPASS 0"]),
        Id::AclGetuser => Same(&["ACL GETUSER default", "ACL GETUSER nobody"]),
        Id::AclHelp => Same(&["ACL HELP"]),
        Id::AclList => Same(&["ACL LIST"]),
        Id::AclLoad => Same(&["ACL LOAD"]),
        Id::AclLog => Same(&["ACL LOG", "ACL LOG RESET", "ACL LOG 5", "ACL LOG x"]),
        Id::AclSave => Same(&["ACL SAVE"]),
        Id::AclSetuser => Same(&["ACL SETUSER u on nopass ~a* +get", "ACL SETUSER u nonsense"]),
        Id::AclUsers => Same(&["ACL USERS"]),
        Id::AclWhoami => Same(&["ACL WHOAMI"]),
        Id::Append => Same(&["APPEND a x", "APPEND new x"]),
        Id::Asking => Same(&["ASKING"]),
        Id::Auth => Same(&["AUTH x", "AUTH default x", "AUTH nobody x"]),
        Id::ClientCaching => Same(&["CLIENT CACHING yes", "CLIENT CACHING x"]),
        Id::ClientCapa => Same(&["CLIENT CAPA redirect"]),
        Id::ClientGetname => Same(&["CLIENT GETNAME"]),
        Id::ClientGetredir => Same(&["CLIENT GETREDIR"]),
        Id::ClientHelp => Same(&["CLIENT HELP"]),
        Id::ClientId => ButNumbers(&["CLIENT ID"]),
        Id::ClientImportSource => Same(&["CLIENT IMPORT-SOURCE on", "CLIENT IMPORT-SOURCE off"]),
        Id::ClientInfo => ButNumbers(&["CLIENT INFO"]),
        Id::ClientKill => Same(&[
            "CLIENT KILL ID 99999", "CLIENT KILL TYPE normal", "CLIENT KILL USER nobody", "CLIENT KILL USER default",
            "CLIENT KILL 1.2.3.4:5", "CLIENT KILL /unixsocket:0", "CLIENT KILL SKIPME no", "CLIENT KILL TYPE nope",
            "CLIENT KILL NAME other", "CLIENT KILL MAXAGE 1000", "CLIENT KILL FLAGS N", "CLIENT KILL DB 0",
        ]),
        Id::ClientList => ButNumbers(&[
            "CLIENT LIST NAME other", "CLIENT LIST ID 99999", "CLIENT LIST TYPE replica", "CLIENT LIST USER nobody",
            "CLIENT LIST FLAGS x", "CLIENT LIST nope",
        ]),
        Id::ClientNoEvict => Same(&["CLIENT NO-EVICT on", "CLIENT NO-EVICT x"]),
        Id::ClientNoTouch => Same(&["CLIENT NO-TOUCH on", "CLIENT NO-TOUCH off"]),
        Id::ClientPause => Same(&["CLIENT PAUSE 0", "CLIENT PAUSE 0 WRITE", "CLIENT PAUSE -1", "CLIENT PAUSE 5 nope"]),
        Id::ClientReply => Same(&["CLIENT REPLY ON", "CLIENT REPLY OFF", "CLIENT REPLY SKIP", "CLIENT REPLY nope"]),
        Id::ClientSetinfo => Same(&["CLIENT SETINFO lib-name me", "CLIENT SETINFO nope me"]),
        Id::ClientSetname => Same(&["CLIENT SETNAME me", "CLIENT SETNAME \"a b\""]),
        Id::ClientTracking => Same(&[
            "CLIENT TRACKING on", "CLIENT TRACKING off", "CLIENT TRACKING on BCAST PREFIX a", "CLIENT TRACKING nope",
            "CLIENT TRACKING on REDIRECT 99999", "CLIENT TRACKING on OPTIN OPTOUT",
        ]),
        Id::ClientTrackinginfo => Same(&["CLIENT TRACKINGINFO"]),
        Id::ClientUnblock => Same(&["CLIENT UNBLOCK 99999", "CLIENT UNBLOCK x", "CLIENT UNBLOCK 1 nope"]),
        Id::ClientUnpause => Same(&["CLIENT UNPAUSE"]),
        Id::ClusterAddslots => Same(&["CLUSTER ADDSLOTS 5", "CLUSTER ADDSLOTS x"]),
        Id::ClusterAddslotsrange => Same(&["CLUSTER ADDSLOTSRANGE 5 6", "CLUSTER ADDSLOTSRANGE 6 5"]),
        Id::ClusterBumpepoch => Same(&["CLUSTER BUMPEPOCH"]),
        Id::ClusterCancelslotmigrations => Same(&["CLUSTER CANCELSLOTMIGRATIONS"]),
        Id::ClusterCountFailureReports => Same(&["CLUSTER COUNT-FAILURE-REPORTS nobody"]),
        Id::ClusterCountkeysinslot => Same(&[
            "CLUSTER COUNTKEYSINSLOT 15495", "CLUSTER COUNTKEYSINSLOT 3300", "CLUSTER COUNTKEYSINSLOT 99999",
            "CLUSTER COUNTKEYSINSLOT x",
        ]),
        Id::ClusterDelslots => Same(&["CLUSTER DELSLOTS 5", "CLUSTER DELSLOTS 15495", "CLUSTER DELSLOTS x"]),
        Id::ClusterDelslotsrange => Same(&["CLUSTER DELSLOTSRANGE 3000 4000", "CLUSTER DELSLOTSRANGE 6 5"]),
        Id::ClusterFailover => Same(&["CLUSTER FAILOVER"]),
        Id::ClusterFlushslot => Same(&[
            "CLUSTER FLUSHSLOT 15495", "CLUSTER FLUSHSLOT 3300 SYNC", "CLUSTER FLUSHSLOT 3300 nope", "CLUSTER FLUSHSLOT x",
        ]),
        Id::ClusterFlushslots => Same(&["CLUSTER FLUSHSLOTS"]),
        Id::ClusterForget => Same(&["CLUSTER FORGET nobody"]),
        Id::ClusterGetkeysinslot => Same(&[
            "CLUSTER GETKEYSINSLOT 15495 10", "CLUSTER GETKEYSINSLOT 3300 1", "CLUSTER GETKEYSINSLOT 99999 1",
            "CLUSTER GETKEYSINSLOT 5 x",
        ]),
        Id::ClusterGetslotmigrations => Same(&["CLUSTER GETSLOTMIGRATIONS"]),
        Id::ClusterHelp => Same(&["CLUSTER HELP"]),
        Id::ClusterInfo => Same(&["CLUSTER INFO"]),
        Id::ClusterKeyslot => Same(&["CLUSTER KEYSLOT a"]),
        Id::ClusterLinks => Same(&["CLUSTER LINKS"]),
        Id::ClusterMeet => Same(&["CLUSTER MEET x 5", "CLUSTER MEET 127.0.0.1 99999"]),
        Id::ClusterMigrateslots => Same(&["CLUSTER MIGRATESLOTS SLOTSRANGE 0 5 NODE nobody"]),
        Id::ClusterMyid => Same(&["CLUSTER MYID"]),
        Id::ClusterMyshardid => Same(&["CLUSTER MYSHARDID"]),
        Id::ClusterNodes => Same(&["CLUSTER NODES"]),
        Id::ClusterReplicas => Same(&["CLUSTER REPLICAS nobody"]),
        Id::ClusterReplicate => Same(&["CLUSTER REPLICATE nobody"]),
        Id::ClusterReset => Same(&["CLUSTER RESET", "CLUSTER RESET nope"]),
        Id::ClusterSaveconfig => Same(&["CLUSTER SAVECONFIG"]),
        Id::ClusterSetConfigEpoch => Same(&["CLUSTER SET-CONFIG-EPOCH 5", "CLUSTER SET-CONFIG-EPOCH x"]),
        Id::ClusterSetslot => Same(&[
            "CLUSTER SETSLOT 5 STABLE", "CLUSTER SETSLOT 15495 NODE nobody", "CLUSTER SETSLOT 15495 MIGRATING nobody",
        ]),
        Id::ClusterShards => Same(&["CLUSTER SHARDS"]),
        Id::ClusterSlaves => Same(&["CLUSTER SLAVES nobody"]),
        Id::ClusterSlotStats => Same(&[
            "CLUSTER SLOT-STATS SLOTSRANGE 3300 3300", "CLUSTER SLOT-STATS ORDERBY key-count LIMIT 3",
            "CLUSTER SLOT-STATS ORDERBY nope", "CLUSTER SLOT-STATS SLOTSRANGE 0 16383",
        ]),
        Id::ClusterSlots => Same(&["CLUSTER SLOTS"]),
        Id::ClusterSyncslots => Same(&["CLUSTER SYNCSLOTS nope"]),
        Id::Clusterscan => AnyOrder(&[
            "CLUSTERSCAN 0", "CLUSTERSCAN 0 SLOT 3300", "CLUSTERSCAN 0-{06S}-0 COUNT 100000", "CLUSTERSCAN nope",
            "CLUSTERSCAN 0-{06S}-0 COUNT 100000 MATCH d*", "CLUSTERSCAN 0-{a}-0 SLOT 15495 COUNT 100",
            "CLUSTERSCAN 0-{a}-0 MATCH {a}* COUNT 100", "CLUSTERSCAN 0-{a}-0 SLOT 3", "CLUSTERSCAN 0-{a}-0 COUNT 0",
        ]),
        Id::Command => Same(&["COMMAND"]),
        Id::CommandCount => Same(&["COMMAND COUNT"]),
        Id::CommandDocs => Same(&["COMMAND DOCS get"]),
        Id::CommandGetkeys => Same(&["COMMAND GETKEYS MSET a 1 b 2"]),
        Id::CommandGetkeysandflags => Same(&["COMMAND GETKEYSANDFLAGS GET a"]),
        Id::CommandHelp => Same(&["COMMAND HELP"]),
        Id::CommandInfo => Same(&["COMMAND INFO get"]),
        Id::CommandList => Same(&["COMMAND LIST"]),
        Id::CommandlogGet => Same(&["COMMANDLOG GET 5 slow", "COMMANDLOG GET x slow", "COMMANDLOG GET 5 nope"]),
        Id::CommandlogHelp => Same(&["COMMANDLOG HELP"]),
        Id::CommandlogLen => Same(&["COMMANDLOG LEN slow", "COMMANDLOG LEN nope"]),
        Id::CommandlogReset => Same(&["COMMANDLOG RESET slow", "COMMANDLOG RESET nope"]),
        Id::ConfigGet => Same(&["CONFIG GET max*", "CONFIG GET nope"]),
        Id::ConfigHelp => Same(&["CONFIG HELP"]),
        Id::ConfigResetstat => Same(&["CONFIG RESETSTAT"]),
        Id::ConfigRewrite => Same(&["CONFIG REWRITE"]),
        Id::ConfigSet => Same(&["CONFIG SET maxmemory-samples 7", "CONFIG SET nope 1", "CONFIG SET hz x"]),
        Id::Container => Not, // it is no command
        Id::Copy => Same(&["COPY a {a}2", "COPY a b", "COPY a {a}2 DB 1"]),
        Id::Dbsize => Same(&["DBSIZE"]),
        Id::Debug => Same(&[
            "DEBUG CHANGE-REPL-ID", "DEBUG CLIENT-EVICTION", "DEBUG CLIENT-ENFORCE-REPLY-LIST 1",
            "DEBUG CLOSE-CLUSTER-LINK-ON-PACKET-DROP 1", "DEBUG CLUSTERLINK KILL ALL nobody", "DEBUG DICT-RESIZING 1",
            "DEBUG DIGEST", "DEBUG DIGEST-VALUE a b c d none", "DEBUG DIGEST-VALUE", "DEBUG DISABLE-CLUSTER-RANDOM-PING 1",
            "DEBUG DISABLE-CLUSTER-RECONNECTION 0", "DEBUG DROP-CLUSTER-PACKET-FILTER 1", "DEBUG ERROR text", "DEBUG HELP",
            "DEBUG HTSTATS 0", "DEBUG HTSTATS 99", "DEBUG HTSTATS x", "DEBUG HTSTATS-KEY a", "DEBUG HTSTATS-KEY d full",
            "DEBUG HTSTATS-KEY none", "DEBUG LEAK x", "DEBUG LISTPACK a", "DEBUG LISTPACK d", "DEBUG LOG x", "DEBUG nope",
            "DEBUG OBJECT a", "DEBUG OBJECT d fast", "DEBUG OBJECT none", "DEBUG PAUSE-CRON 1", "DEBUG POPULATE 20",
            "DEBUG POPULATE 20 p 5", "DEBUG POPULATE x", "DEBUG PROTOCOL map", "DEBUG QUICKLIST a", "DEBUG QUICKLIST d",
            "DEBUG QUICKLIST-PACKED-THRESHOLD 100", "DEBUG REPLICATE x", "DEBUG RELOAD", "DEBUG REPLYBUFFER RESIZING 0",
            "DEBUG SDSLEN a", "DEBUG SDSLEN d", "DEBUG SET-ACTIVE-EXPIRE 0", "DEBUG SLEEP 0.01",
            "DEBUG SLOTMIGRATION PREVENT-PAUSE 1", "DEBUG SLOTMIGRATION PREVENT-FAILOVER 1", "DEBUG STRINGMATCH-TEST",
            "DEBUG STRUCTSIZE",
        ]),
        Id::Decr => Same(&["DECR b", "DECR a"]),
        Id::Decrby => Same(&["DECRBY b 5", "DECRBY b x"]),
        Id::Del => Same(&["DEL a", "DEL a {a}1", "DEL a b"]),
        Id::Delifeq => Same(&["DELIFEQ b 2", "DELIFEQ b 3"]),
        Id::Discard => Same(&["DISCARD"]),
        Id::Echo => Same(&["ECHO x"]),
        Id::Exec => Same(&["EXEC"]),
        Id::Exists => Same(&["EXISTS a {a}1 {a}9", "EXISTS a b"]),
        Id::Expire => Same(&["EXPIRE a 100", "EXPIRE none 100", "EXPIRE d -1"]),
        Id::Expireat => Same(&["EXPIREAT a 1900000000", "EXPIREAT a x"]),
        Id::Expiretime => Same(&["EXPIRETIME t", "EXPIRETIME a"]),
        Id::Flushall => Same(&["FLUSHALL", "FLUSHALL ASYNC", "FLUSHALL nope"]),
        Id::Flushdb => Same(&["FLUSHDB", "FLUSHDB SYNC", "FLUSHDB nope"]),
        Id::Get => Same(&["GET a", "GET d", "GET none"]),
        Id::Getdel => Same(&["GETDEL a", "GETDEL none"]),
        Id::Getex => Same(&["GETEX a EX 100", "GETEX t PERSIST"]),
        Id::Getrange => Same(&["GETRANGE c 0 1", "GETRANGE none 0 1"]),
        Id::Getset => Same(&["GETSET a 7"]),
        Id::Hello => ButNumbers(&["HELLO", "HELLO 3", "HELLO 9", "HELLO 2 SETNAME me"]),
        Id::Incr => Same(&["INCR b", "INCR new"]),
        Id::Incrby => Same(&["INCRBY b 5"]),
        Id::Incrbyfloat => Same(&["INCRBYFLOAT b 1.5"]),
        Id::Info => Fields(&["INFO", "INFO everything", "INFO keyspace", "INFO nope"]),
        Id::Keys => AnyOrder(&["KEYS *", "KEYS {a}*", "KEYS a", "KEYS nope"]),
        Id::Lastsave => Same(&["LASTSAVE"]),
        Id::LatencyDoctor => Same(&["LATENCY DOCTOR"]),
        Id::LatencyGraph => Same(&["LATENCY GRAPH command", "LATENCY GRAPH"]),
        Id::LatencyHelp => Same(&["LATENCY HELP"]),
        Id::LatencyHistogram => Same(&["LATENCY HISTOGRAM get", "LATENCY HISTOGRAM set mset", "LATENCY HISTOGRAM nope"]),
        Id::LatencyHistory => Same(&["LATENCY HISTORY command"]),
        Id::LatencyLatest => Same(&["LATENCY LATEST"]),
        Id::LatencyReset => Same(&["LATENCY RESET", "LATENCY RESET command"]),
        Id::Lcs => Same(&["LCS c {c}1", "LCS a b"]),
        Id::Lolwut => Same(&["LOLWUT"]),
        Id::MemoryDoctor => Not, // tables take more with more shards
        Id::MemoryHelp => Same(&["MEMORY HELP"]),
        Id::MemoryMallocStats => Same(&["MEMORY MALLOC-STATS"]),
        Id::MemoryPurge => Same(&["MEMORY PURGE"]),
        Id::MemoryStats => Fields(&["MEMORY STATS"]),
        Id::MemoryUsage => Same(&["MEMORY USAGE a", "MEMORY USAGE d SAMPLES 5", "MEMORY USAGE none"]),
        Id::Mget => Same(&["MGET a {a}1 {a}9", "MGET a b"]),
        Id::Monitor => AnyOrder(&["MONITOR"]),
        Id::Move => Same(&["MOVE a 1", "MOVE none 0"]),
        Id::Mset => Same(&["MSET a 1 {a}5 2", "MSET a 1 b 2", "MSET a"]),
        Id::Msetex => Same(&["MSETEX 2 a 1 {a}5 2 EX 100", "MSETEX 2 a 1 b 2", "MSETEX 1 a 1 XX KEEPTTL"]),
        Id::Msetnx => Same(&["MSETNX n 1 {n}5 2", "MSETNX a 1 {a}5 2", "MSETNX a 1 b 2"]),
        Id::Multi => Same(&["MULTI"]),
        Id::ObjectEncoding => Same(&["OBJECT ENCODING a", "OBJECT ENCODING none"]),
        Id::ObjectFreq => Same(&["OBJECT FREQ a"]),
        Id::ObjectHelp => Same(&["OBJECT HELP"]),
        Id::ObjectIdletime => Same(&["OBJECT IDLETIME a", "OBJECT IDLETIME d"]),
        Id::ObjectRefcount => Same(&["OBJECT REFCOUNT a"]),
        Id::Persist => Same(&["PERSIST t", "PERSIST a"]),
        Id::Pexpire => Same(&["PEXPIRE a 100000", "PEXPIRE t 5 GT"]),
        Id::Pexpireat => Same(&["PEXPIREAT a 1900000000000"]),
        Id::Pexpiretime => Same(&["PEXPIRETIME t"]),
        Id::Ping => Same(&["PING", "PING x"]),
        Id::Psetex => Same(&["PSETEX a 100000 v", "PSETEX a 0 v"]),
        Id::Pttl => Same(&["PTTL t", "PTTL none"]),
        Id::Quit => Same(&["QUIT"]),
        Id::Randomkey => Not, // which key it is is left to chance: a_random_key_is_one_of_any_shard
        Id::Readonly => Same(&["READONLY"]),
        Id::Readwrite => Same(&["READWRITE"]),
        Id::Rename => Same(&["RENAME a {a}7", "RENAME a b", "RENAME none {none}1"]),
        Id::Renamenx => Same(&["RENAMENX a {a}1", "RENAMENX a {a}7"]),
        Id::Reset => Same(&["RESET"]),
        Id::Role => Same(&["ROLE"]),
        // A whole walk goes from shard to shard: a_walk_meets_all_keys_of_all_shards.
        Id::Scan => AnyOrder(&[
            "SCAN 0 MATCH {a}* COUNT 100", "SCAN 0 MATCH a", "SCAN x", "SCAN 0 COUNT x", "SCAN 0 TYPE nope",
        ]),
        Id::Select => Same(&["SELECT 0", "SELECT 1", "SELECT 99", "SELECT x"]),
        Id::Set => Same(&["SET a 1", "SET new 1 EX 100", "SET a 1 NX GET", "SET b 9 IFEQ 2"]),
        Id::Setex => Same(&["SETEX a 100 v"]),
        Id::Setnx => Same(&["SETNX a v", "SETNX new v"]),
        Id::Setrange => Same(&["SETRANGE a 5 v"]),
        Id::Shutdown => Same(&["SHUTDOWN ABORT", "SHUTDOWN nope"]),
        Id::SlowlogGet => Same(&["SLOWLOG GET", "SLOWLOG GET x"]),
        Id::SlowlogHelp => Same(&["SLOWLOG HELP"]),
        Id::SlowlogLen => Same(&["SLOWLOG LEN"]),
        Id::SlowlogReset => Same(&["SLOWLOG RESET"]),
        Id::Strlen => Same(&["STRLEN a", "STRLEN none"]),
        Id::Substr => Same(&["SUBSTR c 0 1"]),
        Id::Swapdb => Same(&["SWAPDB 0 1"]),
        Id::Time => Same(&["TIME"]),
        Id::Touch => Same(&["TOUCH a {a}1", "TOUCH a b"]),
        Id::Ttl => Same(&["TTL t", "TTL a"]),
        Id::Type => Same(&["TYPE a", "TYPE none"]),
        Id::Unlink => Same(&["UNLINK a {a}1", "UNLINK a b"]),
        Id::Unwatch => Same(&["UNWATCH"]),
        Id::Wait => Same(&["WAIT 0 0", "WAIT x 0"]),
        Id::Waitaof => Same(&["WAITAOF 0 0 0", "WAITAOF 1 0 0"]),
        Id::Watch => Same(&["WATCH a", "WATCH a {a}1", "WATCH a b"]),
    }
}

/// A pipeline with `line` in it.
const SCRIPTS: [&str; 6] = [
    "{line}\r\nGET b\r\n",
    "GET a\r\nSET d 5\r\n{line}\r\nGET c\r\nGET d\r\n",
    "MULTI\r\n{line}\r\nEXEC\r\nGET a\r\n",
    "MULTI\r\nGET a\r\n{line}\r\nSET {a}z 1\r\nEXEC\r\nGET b\r\n",
    "WATCH b\r\nMULTI\r\nSET d 7\r\n{line}\r\nEXEC\r\nGET d\r\n",
    "SELECT 1\r\nSET a 1\r\n{line}\r\nSELECT 0\r\nGET a\r\n",
];

/// Numbers of shards that are compared.
const SHARDS: [u16; 3] = [1, 2, 5];

fn fresh() -> [Process; SHARDS.len()] {
    SHARDS.map(|shards| Process::with(shards, 5, "cluster-databases 2\n"))
}

/// Whether the node and the settings are what they were after a command.
fn is_tame(id: Id) -> bool {
    let of_node = |id: Id| {
        let command =
            table::all().flat_map(|c| core::iter::once(c).chain(c.subcommands)).find(|c| c.id == id);
        command.is_none_or(|command| home(command) == Home::Node)
    };
    !matches!(id, Id::Debug | Id::ClusterFlushslot) && !of_node(id)
}

/// What a client is told, and what is there afterwards; `n` is different each time.
fn told(process: &mut Process, n: u64, script: &str) -> [String; 2] {
    let shards = process.shards.len() as u16;
    let other = process.connect(0, 3 * n);
    for db in [1, 0] {
        let keys = process.ask(other, &format!("SELECT {db}\r\nKEYS *\r\n"));
        for key in keys.split("\r\n").filter(|key| !key.is_empty() && !key.starts_with(['+', '*', '$'])) {
            process.ask(other, &format!("DEL {key}\r\n"));
        }
    }
    process.ask(other, "CLIENT SETNAME other\r\nSET t 1 EX 1000\r\n");
    process.ask(other, "SET c hello\r\nSET {c}1 help\r\nSET b 2\r\nSET d 1\r\nMSET a v {a}1 w {a}2 w\r\n");
    process.ask(other, "SET d0 x\r\nSET d1 x\r\nSET d2 x\r\n");
    process.pass(Span::secs(3));
    let client = process.connect(shards - 1, 3 * n + 1);
    let said = process.ask(client, script);
    process.pass(Span::ms(100));
    let said = said + &process.said(client);
    let admin = process.connect(0, 3 * n + 2);
    let after = process
        .ask(admin, "DBSIZE\r\nDEBUG DIGEST\r\nSELECT 1\r\nDBSIZE\r\nCONFIG GET maxmemory-samples\r\n");
    for link in [client, other, admin] {
        process.step(Whose::Shard(link.shard().0.into()), Input::Closed { link });
    }
    process.settle();
    let is_quiet = |s: &Shard| {
        s.guests.is_empty() && s.frozen.is_none() && s.gatherings.oldest().is_none() && s.links.len() <= 1
    };
    assert!(process.shards.iter().all(is_quiet), "{script}");
    [said, after]
}

fn without_numbers(text: &str) -> String {
    let mut masked = String::new();
    for c in text.chars() {
        match c {
            '0'..='9' if masked.ends_with('#') => {}
            '0'..='9' => masked.push('#'),
            c => masked.push(c),
        }
    }
    masked
}

/// What has to be the same.
fn seen(how: &Told, said: &str) -> Vec<String> {
    let lines = said.split("\r\n").map(String::from);
    match how {
        Same(_) | Not => lines.collect(),
        AnyOrder(_) => {
            let mut lines: Vec<String> = lines.collect();
            lines.sort();
            lines
        }
        ButNumbers(_) => lines.map(|line| without_numbers(&line)).collect(),
        Fields(_) => lines
            .filter(|line| !line.starts_with('$') && line.parse::<f64>().is_err())
            .map(|line| without_numbers(line.split(':').next().unwrap_or_default()))
            .collect(),
    }
}

/// A word is missing, or there is one more. Not where that makes a command about addresses, or about a time that is
/// over before long.
fn wrong(line: &str) -> Vec<String> {
    let shorter = line.rsplit_once(' ').map(|(line, _)| String::from(line));
    let all = shorter.into_iter().chain([format!("{line} more")]);
    all.filter(|line| !["CLIENT LIST", "PEXPIRE t 5"].contains(&line.as_str())).collect()
}

#[test]
fn every_command_is_answered_alike_by_any_number_of_shards() {
    let mut different = String::new();
    let (mut processes, mut n) = (fresh(), 10_000);
    for id in Id::ALL {
        let how = lines(*id);
        let (Same(lines) | AnyOrder(lines) | ButNumbers(lines) | Fields(lines)) = how else { continue };
        assert!(!lines.is_empty(), "{id:?}");
        let as_it_is = lines.iter().flat_map(|line| SCRIPTS.map(|script| script.replace("{line}", line)));
        let wrong = lines.iter().flat_map(|line| wrong(line)).map(|line| SCRIPTS[0].replace("{line}", &line));
        for script in as_it_is.chain(wrong) {
            n += 1;
            let [alone, several @ ..] = &mut processes;
            let [said_alone, after_alone] = told(alone, n, &script);
            let seen_alone = seen(&how, &said_alone);
            for process in several {
                let [said, after] = told(process, n, &script);
                let shards = process.shards.len();
                if seen(&how, &said) != seen_alone {
                    different += &format!("{shards} shards: {script:?}\n  {said:?}\n  {said_alone:?}\n");
                } else if after != after_alone {
                    different +=
                        &format!("{shards} shards, afterwards: {script:?}\n  {after:?}\n  {after_alone:?}\n");
                }
            }
        }
        if !is_tame(*id) {
            processes = fresh();
        }
    }
    assert!(different.is_empty(), "{different}");
}
