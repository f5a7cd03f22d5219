//! What may differ in two replies to the same command, and why.

use super::pair::{Word, name};
use super::value::Value;
use crate::peer::shards;

/// How a reply is compared.
enum Allowance {
    /// Byte for byte.
    Exact,
    /// Numbers so close: two servers run a command at two moments.
    Near(i64),
    /// Any number: ids and clocks are each server's own, not every command is built, and in Valkey a queued command
    /// shares its arguments with the keys.
    AnyNumber,
    /// In any order: hash tables have their own.
    AnyOrder,
    /// Names that are all in the other list: not every command is built.
    Fewer,
    /// As many, whichever they are: which of the keys come first is each server's own.
    AnyKeys,
    /// A step of a walk over the cluster: keys in any order, and only the node that gave a cursor reads its ends.
    Walk,
    /// A list of times.
    AnyNumbers,
    /// Settings in any order, without those that say where this server runs and what is not built.
    AnyPairs,
    /// Clients are each server's own; none is none.
    List,
    /// How many clients are gone is a matter of the moment; none is none.
    Gone,
    /// What INFO tells is each server's own, and not every command is built.
    Own,
    /// These fields of HELLO are each server's own: its version, the id of the client, and its modules.
    Hello,
    /// Fields `name=value` of a client: addresses, ids, times and memory are each server's own, and `shard` is ours.
    Client,
    /// Node ids, ports and times of the only node.
    Cluster,
    /// What helps people is said in our own words.
    Help,
    /// How a value is kept in memory is each server's own.
    Kept,
    /// CPU time is each server's own, and so is an order by it; Valkey counts the replies of a transaction several times.
    SlotStats,
}

fn allowance(words: &[Word]) -> Allowance {
    match name(words).as_str() {
        // After CLIENT PAUSE Valkey goes on with its next timer only.
        "ttl" | "expiretime" | "object idletime" => Allowance::Near(2),
        "pttl" | "pexpiretime" => Allowance::Near(1500),
        "object refcount" | "memory usage" | "client id" | "lastsave" | "command count" => {
            Allowance::AnyNumber
        }
        "time" => Allowance::AnyNumbers,
        "keys" => Allowance::AnyOrder,
        "command list" => Allowance::Fewer,
        "clusterscan" => Allowance::Walk,
        "randomkey" | "scan" | "cluster getkeysinslot" => Allowance::AnyKeys,
        "config get" => Allowance::AnyPairs,
        "hello" => Allowance::Hello,
        // How large tables are is each server's own, and the doctor speaks in our own words.
        "info" | "command" | "debug htstats" | "latency doctor" | "memory malloc-stats" => Allowance::Own,
        // What was slow is a matter of the moment.
        "slowlog get" | "slowlog len" | "commandlog get" | "commandlog len" => Allowance::Own,
        "latency histogram" | "latency latest" | "latency history" => Allowance::Own,
        "client help" | "cluster help" | "command help" | "config help" | "object help" => Allowance::Help,
        "debug object" | "debug sdslen" => Allowance::Kept,
        "cluster slot-stats" => Allowance::SlotStats,
        "client list" => Allowance::List,
        "client kill" => Allowance::Gone,
        "client info" => Allowance::Client,
        "cluster nodes" | "cluster slots" | "cluster shards" | "cluster myid" | "cluster myshardid" => {
            Allowance::Cluster
        }
        _ => Allowance::Exact,
    }
}

/// Makes the two replies equal where only what is allowed to differ does.
pub fn fit(words: &[Word], ours: &mut Value, theirs: &mut Value) {
    if name(words) == "debug reload" {
        // It wants files, which are not built.
        *ours = theirs.clone();
    }
    if ours.is_error() || theirs.is_error() {
        return;
    }
    match allowance(words) {
        Allowance::Exact => {}
        Allowance::Own => *ours = theirs.clone(),
        Allowance::List => {
            if [&*ours, &*theirs].map(|v| v.text().is_some_and(|t| !t.is_empty())) == [true; 2] {
                *ours = theirs.clone();
            }
        }
        Allowance::Gone => {
            if let (Some(1..), Some(1..)) = (ours.number(), theirs.number()) {
                *ours = theirs.clone();
            }
        }
        Allowance::Near(most) => {
            if let (Some(o), Some(t)) = (ours.number(), theirs.number())
                && o.min(t) >= 0
                && (o - t).abs() <= most
            {
                *ours = theirs.clone();
            }
        }
        Allowance::AnyNumber => {
            if ours.number().is_some() && theirs.number().is_some() {
                *ours = theirs.clone();
            }
        }
        Allowance::AnyNumbers => each(ours, theirs, |o, t| {
            let is_number = |v: &Value| v.text().is_some_and(|t| t.iter().all(u8::is_ascii_digit));
            if is_number(o) && is_number(t) {
                *o = t.clone();
            }
        }),
        Allowance::AnyOrder => {
            for value in [ours, theirs] {
                if let Some(list) = value.list() {
                    list.sort();
                }
            }
        }
        Allowance::Fewer => {
            if let (Some(o), Some(t)) = (ours.list(), theirs.list())
                && o.iter().all(|name| t.contains(name))
            {
                o.clone_from(t);
            }
        }
        Allowance::AnyKeys => any_keys(ours, theirs),
        Allowance::Walk => {
            let [whole_ours, whole_theirs] = [&*ours, &*theirs].map(is_whole_step);
            if whole_ours && whole_theirs {
                for value in [ours, theirs] {
                    value.list().and_then(|l| l[1].list()).into_iter().for_each(|keys| keys.sort());
                }
            } else {
                any_keys(ours, theirs);
            }
        }
        Allowance::AnyPairs => {
            for value in [ours, theirs] {
                if let Some(list) = value.list() {
                    let mut pairs: Vec<_> = list.chunks(2).map(<[Value]>::to_vec).collect();
                    pairs.retain(|pair| pair[0].text().is_none_or(|name| !OWN_SETTINGS.contains(&name)));
                    pairs.sort();
                    *list = pairs.concat();
                }
            }
        }
        Allowance::Hello => hello(ours, theirs),
        Allowance::Client => {
            let [o, t] = [&*ours, &*theirs].map(|v| v.text().map(client_fields));
            if o.is_some() && o == t {
                *ours = theirs.clone();
            }
        }
        Allowance::Help => {
            let is_text = |v: &mut Value| {
                v.list().is_some_and(|l| l.len() > 2 && l.iter().all(|v| matches!(v, Value::Line(b'+', _))))
            };
            if is_text(ours) && is_text(theirs) {
                *ours = theirs.clone();
            }
        }
        Allowance::Kept => {
            let [o, t] = [&*ours, &*theirs].map(|v| v.text().map(kept_as));
            if o.is_some() && o == t {
                *ours = theirs.clone();
            }
        }
        Allowance::SlotStats if is_by_keys(words) => each(ours, theirs, slot_stats),
        Allowance::SlotStats => any_keys(ours, theirs),
        Allowance::Cluster => {
            mask(ours);
            mask(theirs);
        }
    }
}

/// Whether SLOT-STATS is asked for slots in an order that only keys decide.
fn is_by_keys(words: &[Word]) -> bool {
    let is = |at: usize, name: &[u8]| matches!(words.get(at), Some(Word::Plain(w)) if w.eq_ignore_ascii_case(name));
    is(2, b"slotsrange") || is(3, b"key-count")
}

/// Whether Valkey 9.1 does not see the keys or the slot of the command when it looks for its slot. In a transaction about another slot
/// it runs all the same, with keys in the wrong place: all are filed under the slot of the transaction.
pub fn has_no_place(words: &[Word]) -> bool {
    matches!(
        name(words).as_str(),
        "msetex"
            | "debug object"
            | "debug sdslen"
            | "debug listpack"
            | "debug quicklist"
            | "debug htstats-key"
            | "debug digest-value"
            | "debug populate"
            | "cluster flushslot"
    )
}

fn each(ours: &mut Value, theirs: &mut Value, f: impl Fn(&mut Value, &mut Value)) {
    if let (Some(o), Some(t)) = (ours.list(), theirs.list()) {
        o.iter_mut().zip(t).for_each(|(o, t)| f(o, t));
    }
}

/// Whether a step of CLUSTERSCAN came to the end of what it walks.
fn is_whole_step(value: &Value) -> bool {
    matches!(value, Value::List(_, list) if list[0].text().is_some_and(|c| c == b"0" || c.starts_with(b"0-")))
}

fn any_keys(ours: &mut Value, theirs: &mut Value) {
    let (Value::List(a, o), Value::List(b, t)) = (&mut *ours, &mut *theirs) else {
        if ours.text().is_some() && theirs.text().is_some() {
            *ours = theirs.clone();
        }
        return;
    };
    // A single step of a walk stops where it likes.
    let is_step = |list: &[Value]| matches!(list, [Value::Bulk(..), Value::List(..)]);
    if a == b && (o.len() == t.len() || is_step(o) && is_step(t)) {
        *o = t.clone();
    }
}

/// Settings that differ from server to server.
const OWN_SETTINGS: [&[u8]; 6] = [b"shards", b"port", b"dir", b"logfile", b"pidfile", b"cluster-config-file"];

/// The same for the replies of a whole pipeline.
pub fn fit_all(ours: &mut [Value], theirs: &mut [Value]) {
    for (ours, theirs) in ours.iter_mut().zip(theirs) {
        if let (Value::List(_, ours), Value::List(_, theirs)) = (&mut *ours, &mut *theirs) {
            fit_all(ours, theirs);
        }
        let is_hello =
            |v: &mut Value| v.list().is_some_and(|l| l.first().is_some_and(|n| n.text() == Some(b"server")));
        if is_hello(ours) && is_hello(theirs) {
            hello(ours, theirs);
        }
    }
}

fn hello(ours: &mut Value, theirs: &mut Value) {
    for value in [ours, theirs] {
        for pair in value.list().into_iter().flat_map(|list| list.chunks_mut(2)) {
            let own = pair[0].text().is_some_and(|n| matches!(n, b"version" | b"id" | b"modules"));
            if let (true, [_, value]) = (own, pair) {
                *value = Value::Null(b'$');
            }
        }
    }
}

/// The names of all fields, and the values of those that do not depend on the server.
fn client_fields(line: &[u8]) -> Vec<String> {
    let told = [
        "name", "flags", "capa", "db", "sub", "psub", "ssub", "multi", "watch", "cmd", "user", "redir",
        "resp", "lib-name", "lib-ver",
    ];
    let line = String::from_utf8_lossy(line);
    // After FLUSHDB Valkey goes on to watch what has changed already. What changed in another shard than that of the connection
    // shows at EXEC; in Valkey both fields tell before.
    let flags = line.split(' ').find_map(|field| field.strip_prefix("flags="));
    let several = shards().is_some();
    let unsure = several || flags.is_some_and(|flags| flags.contains('d'));
    let field = |field: &str| match field.split_once('=') {
        Some(("watch", _)) if unsure => "watch".to_owned(),
        Some(("flags", "N" | "d")) if several => "flags=N".to_owned(),
        Some(("flags", flags)) if several => format!("flags={}", flags.replace('d', "")),
        Some((name, _)) if !told.contains(&name) => name.to_owned(),
        _ => field.to_owned(),
    };
    // Only our own lines end with the shard of the connection.
    line.split(' ').map(field).filter(|field| field != "shard").collect()
}

/// What DEBUG says of a value that does not depend on the server: the names, and how it is encoded and how long it is.
fn kept_as(text: &[u8]) -> Vec<String> {
    let told = ["encoding", "key_sds_len", "val_sds_len"];
    let text = String::from_utf8_lossy(text).into_owned();
    let field = |field: &str| match field.split_once(':') {
        // Whether a short string lies in its entry depends on what the entry was before, in Valkey.
        Some(("encoding", "embstr" | "raw")) => "encoding:string".to_owned(),
        Some((name, _)) if !told.contains(&name) => name.to_owned(),
        _ => field.to_owned(),
    };
    text.split(' ').map(field).collect()
}

/// The row of a slot: its CPU time is near nothing for both.
fn slot_stats(ours: &mut Value, theirs: &mut Value) {
    let (Some([_, o]), Some([_, t])) =
        (ours.list().map(Vec::as_mut_slice), theirs.list().map(Vec::as_mut_slice))
    else {
        return;
    };
    if let (Some(o), Some(t)) = (o.list(), t.list()) {
        for (o, t) in o.chunks_mut(2).zip(t.chunks(2)) {
            let own = |name: &[u8]| matches!(name, b"cpu-usec" | b"network-bytes-in" | b"network-bytes-out");
            if o[0] == t[0] && o[0].text().is_some_and(own) && o[1].number().is_some() {
                o[1] = t[1].clone();
            }
        }
    }
}

/// Replaces node ids, the port and clocks.
fn mask(value: &mut Value) {
    match value {
        Value::Line(b':', number) if number.len() > 3 && number != b"16383" => *number = b"n".to_vec(),
        Value::List(_, list) => list.iter_mut().for_each(mask),
        Value::Bulk(_, text) => {
            let shown = String::from_utf8_lossy(text).into_owned();
            let word = |word: &str| -> String {
                if word.trim_start_matches("txt:").len() == 40 {
                    "<id>".into()
                } else if word.starts_with("127.0.0.1:") || word.starts_with(':') {
                    "<address>".into()
                } else {
                    word.into()
                }
            };
            *text = shown.split(' ').map(word).collect::<Vec<_>>().join(" ").into_bytes();
        }
        _ => {}
    }
}
