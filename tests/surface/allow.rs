//! What may differ in two replies to the same command, and why.

use super::pair::{Word, name};
use super::value::Value;

/// How a reply is compared.
enum Allowance {
    /// Byte for byte.
    Exact,
    /// Numbers so close: two servers run a command at two moments.
    Near(i64),
    /// Any number: ids and clocks are each server's own.
    AnyNumber,
    /// In any order: hash tables have their own.
    AnyOrder,
    /// As many, whichever they are: which of the keys come first is each server's own.
    AnyKeys,
    /// A list of times.
    AnyNumbers,
    /// Pairs of name and value in any order.
    AnyPairs,
    /// These fields of HELLO are each server's own: its version, the id of the client, and its modules.
    Hello,
    /// Fields `name=value` of a client: addresses, ids, times and memory are each server's own.
    Client,
    /// Node ids, ports and times of the only node.
    Cluster,
}

fn allowance(words: &[Word]) -> Allowance {
    match name(words).as_str() {
        "ttl" | "expiretime" | "object idletime" => Allowance::Near(1),
        "pttl" | "pexpiretime" => Allowance::Near(200),
        "client id" | "lastsave" => Allowance::AnyNumber,
        "time" => Allowance::AnyNumbers,
        "keys" | "command list" => Allowance::AnyOrder,
        "randomkey" | "scan" | "cluster getkeysinslot" => Allowance::AnyKeys,
        "config get" => Allowance::AnyPairs,
        "hello" => Allowance::Hello,
        "client info" => Allowance::Client,
        "cluster nodes" | "cluster slots" | "cluster shards" | "cluster myid" | "cluster myshardid" => {
            Allowance::Cluster
        }
        _ => Allowance::Exact,
    }
}

/// Makes the two replies equal where only what is allowed to differ does.
pub fn fit(words: &[Word], ours: &mut Value, theirs: &mut Value) {
    if ours.is_error() || theirs.is_error() {
        return;
    }
    match allowance(words) {
        Allowance::Exact => {}
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
        Allowance::AnyKeys => any_keys(ours, theirs),
        Allowance::AnyPairs => {
            for value in [ours, theirs] {
                if let Some(list) = value.list() {
                    let mut pairs: Vec<_> = list.chunks(2).map(<[Value]>::to_vec).collect();
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
        Allowance::Cluster => {
            mask(ours);
            mask(theirs);
        }
    }
}

fn each(ours: &mut Value, theirs: &mut Value, f: impl Fn(&mut Value, &mut Value)) {
    if let (Some(o), Some(t)) = (ours.list(), theirs.list()) {
        o.iter_mut().zip(t).for_each(|(o, t)| f(o, t));
    }
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
        "resp", "lib-name", "lib-ver", "tot-cmds",
    ];
    let line = String::from_utf8_lossy(line);
    let field = |field: &str| {
        let name = field.split('=').next().unwrap_or_default();
        if told.contains(&name) { field.to_owned() } else { name.to_owned() }
    };
    line.split(' ').map(field).collect()
}

/// Replaces node ids, the port and clocks.
fn mask(value: &mut Value) {
    match value {
        Value::Line(b':', number) if number.len() > 3 && number != b"16383" => *number = b"n".to_vec(),
        Value::List(_, list) => list.iter_mut().for_each(mask),
        Value::Bulk(_, text) => {
            let shown = String::from_utf8_lossy(text).into_owned();
            let word = |word: &str| -> String {
                if word.len() == 40 {
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
