use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use serde_json::{Value as Json, json};

use super::*;
use crate::link::Outbox;
use crate::wire::resp::{ArgvBuf, Proto, Value};

const RECORDED: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/commands/commands.json"));

type Answer = fn(Argv<'_>, &mut Reply<'_>);

fn bytes(answer: Answer, proto: Proto, call: &[&str]) -> Vec<u8> {
    let argv = ArgvBuf::of(&call.iter().map(|a| a.as_bytes()).collect::<Vec<_>>());
    let mut out = Outbox::default();
    answer(argv.argv(), &mut Reply::new(&mut out, proto));
    out.chunks().flatten().copied().collect()
}

fn value(answer: Answer, proto: Proto, call: &[&str]) -> Value {
    let bytes = bytes(answer, proto, call);
    let (value, used) = Value::parse(&bytes).expect("a well-formed reply").expect("a whole reply");
    assert_eq!(used, bytes.len(), "nothing behind the reply");
    value
}

fn text(value: &Value) -> String {
    String::from_utf8_lossy(value.as_bytes().unwrap_or_else(|| panic!("{value:?} is no text"))).into_owned()
}

/// Lists of texts, sets of statuses, maps by name, numbers: as the recording has them.
fn json(value: &Value) -> Json {
    match value {
        Value::Int(n) => json!(n),
        Value::Simple(_) | Value::Bulk(_) => json!(text(value)),
        Value::Array(list) | Value::Set(list) => list.iter().map(json).collect(),
        Value::Map(pairs) => {
            pairs.iter().map(|(k, v)| (text(k), json(v))).collect::<serde_json::Map<_, _>>().into()
        }
        other => panic!("{other:?} in the reply"),
    }
}

/// An entry of COMMAND with the names that the recording gives its elements.
fn entry_json(entry: &Value) -> Json {
    let e = entry.elements().expect("an entry is an array");
    assert_eq!(e.len(), 10);
    let mut subcommands: Vec<Json> = e[9].elements().expect("a list").iter().map(entry_json).collect();
    subcommands.sort_by_key(|sub| sub["name"].to_string());
    let mut specs = json(&e[8]);
    for spec in specs.as_array_mut().expect("a list") {
        spec.as_object_mut().expect("a map").remove("notes");
    }
    json!({
        "name": json(&e[0]), "arity": json(&e[1]), "flags": json(&e[2]), "first_key": json(&e[3]),
        "last_key": json(&e[4]), "step": json(&e[5]), "acl_categories": json(&e[6]), "tips": json(&e[7]),
        "key_specs": specs, "subcommands": subcommands,
    })
}

/// The recording of one command, reduced to what COMMAND shows.
fn recorded_entry(command: &Json) -> Json {
    let mut entry = command.clone();
    let fields = entry.as_object_mut().expect("a command");
    for docs_only in ["since", "group", "arguments", "doc_flags", "deprecated_since", "replaced_by"] {
        fields.remove(docs_only);
    }
    let subcommands = fields.remove("subcommands").unwrap_or(json!([]));
    let subcommands: Vec<Json> = subcommands.as_array().expect("a list").iter().map(recorded_entry).collect();
    fields.insert("subcommands".into(), subcommands.into());
    entry
}

fn recorded() -> Vec<Json> {
    serde_json::from_str(RECORDED).expect("the recording is JSON")
}

#[test]
fn command_says_what_valkey_says() {
    let ours = value(command, Proto::Resp3, &["COMMAND"]);
    let mut ours: Vec<Json> = ours.elements().expect("an array").iter().map(entry_json).collect();
    ours.sort_by_key(|entry| entry["name"].to_string());
    let theirs = recorded();
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(*ours, recorded_entry(theirs), "{}", theirs["name"]);
    }
}

#[test]
fn docs_say_what_valkey_says_in_our_words() {
    fn strip(doc: &mut Json, name: &str) {
        let fields = doc.as_object_mut().expect("a map");
        let summary = fields.remove("summary").expect("a summary");
        assert!(summary.as_str().is_some_and(|s| s.len() > 10), "{name}");
        assert!(fields.remove("complexity").expect("a complexity").is_string());
        if let Some(subcommands) = fields.get_mut("subcommands") {
            for (name, sub) in subcommands.as_object_mut().expect("a map") {
                strip(sub, name);
            }
        }
    }
    fn recorded_doc(command: &Json) -> Json {
        let mut doc = serde_json::Map::new();
        for field in ["since", "group", "arguments", "doc_flags", "deprecated_since", "replaced_by"] {
            if let Some(value) = command.get(field) {
                doc.insert(field.into(), value.clone());
            }
        }
        if let Some(subcommands) = command.get("subcommands").and_then(Json::as_array) {
            let by_name =
                subcommands.iter().map(|sub| (sub["name"].as_str().unwrap_or("").into(), recorded_doc(sub)));
            doc.insert("subcommands".into(), by_name.collect::<serde_json::Map<_, _>>().into());
        }
        doc.into()
    }
    let mut ours = json(&value(docs, Proto::Resp3, &["COMMAND", "DOCS"]));
    assert_eq!(ours.as_object().map(serde_json::Map::len), Some(recorded().len()));
    for theirs in recorded() {
        let name = theirs["name"].as_str().expect("a name");
        strip(&mut ours[name], name);
        assert_eq!(ours[name], recorded_doc(&theirs), "{name}");
    }
}

/// RESP2 has the same elements, with maps as flat arrays.
#[test]
fn both_versions_say_the_same() {
    fn flat(value: Value) -> Value {
        match value {
            Value::Map(pairs) => {
                Value::Array(pairs.into_iter().flat_map(|(k, v)| [flat(k), flat(v)]).collect())
            }
            Value::Array(list) | Value::Set(list) => Value::Array(list.into_iter().map(flat).collect()),
            other => other,
        }
    }
    for answer in [command as Answer, docs, info] {
        let call = ["COMMAND", "X"];
        assert_eq!(flat(value(answer, Proto::Resp3, &call)), value(answer, Proto::Resp2, &call));
    }
}

#[test]
fn the_bytes_of_an_entry() {
    let get = |map2: &str, map3: &str, map1: &str, set: char| {
        let rule = |kind: &str, n: usize, spec: &str| {
            alloc::format!(
                "{map2}$4\r\ntype\r\n${}\r\n{kind}\r\n$4\r\nspec\r\n{}",
                kind.len(),
                match n {
                    1 => alloc::format!("{map1}{spec}"),
                    _ => alloc::format!("{map3}{spec}"),
                }
            )
        };
        alloc::format!(
            "*2\r\n*10\r\n$3\r\nget\r\n:2\r\n{set}2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n{set}3\r\n+@read\r\n+@string\r\n+@fast\r\n\
             {set}0\r\n{set}1\r\n{map3}$5\r\nflags\r\n{set}2\r\n+RO\r\n+access\r\n$12\r\nbegin_search\r\n{}$9\r\nfind_keys\r\n{}{set}0\r\n",
            rule("index", 1, "$5\r\nindex\r\n:1\r\n"),
            rule("range", 3, "$7\r\nlastkey\r\n:0\r\n$7\r\nkeystep\r\n:1\r\n$5\r\nlimit\r\n:0\r\n"),
        )
    };
    let call = ["command", "info", "GET", "nope"];
    let resp2 = get("*4\r\n", "*6\r\n", "*2\r\n", '*') + "$-1\r\n";
    let resp3 = get("%2\r\n", "%3\r\n", "%1\r\n", '~') + "_\r\n";
    assert_eq!(String::from_utf8_lossy(&bytes(info, Proto::Resp2, &call)), resp2);
    assert_eq!(String::from_utf8_lossy(&bytes(info, Proto::Resp3, &call)), resp3);
}

#[test]
fn names_of_subcommands_are_understood() {
    let known =
        |name| value(info, Proto::Resp2, &["COMMAND", "INFO", name]).elements().map(|e| e[0] != Value::Null);
    for (name, expected) in [
        ("client|list", true),
        ("CLIENT|List", true),
        ("client", true),
        ("client|", false),
        ("client|nope", false),
        ("get|x", false),
        ("client|list|x", false),
        ("", false),
    ] {
        assert_eq!(known(name), Some(expected), "{name}");
    }
    let documented = value(docs, Proto::Resp3, &["COMMAND", "DOCS", "get", "nope", "config|set"]);
    let Value::Map(pairs) = documented else { panic!("{documented:?} is no map") };
    assert_eq!(pairs.iter().map(|(name, _)| text(name)).collect::<Vec<_>>(), ["get", "config|set"]);
}

#[test]
fn lists() {
    let listed = |options: &[&str]| {
        let reply = value(list, Proto::Resp2, &[&["COMMAND", "LIST"], options].concat());
        match reply {
            Value::Error(text) => vec![text],
            other => other.elements().expect("an array").iter().map(text).collect(),
        }
    };
    let whole = listed(&[]);
    assert_eq!(whole.len(), table_size());
    assert!(whole.contains(&"get".into()) && whole.contains(&"client|list".into()));
    assert_eq!(
        listed(&["FILTERBY", "ACLCAT", "Transaction"]),
        ["discard", "exec", "multi", "unwatch", "watch"]
    );
    assert_eq!(listed(&["filterby", "aclcat", "nope"]), [""; 0]);
    assert_eq!(listed(&["filterby", "MODULE", "any"]), [""; 0]);
    assert_eq!(listed(&["filterby", "pattern", "SET*"]), ["set", "setex", "setnx", "setrange"]);
    assert_eq!(
        listed(&["filterby", "pattern", "config|*t"]),
        ["config|get", "config|resetstat", "config|set"]
    );
    for wrong in [&["filterby"][..], &["filterby", "aclcat"], &["x", "aclcat", "y"], &["filterby", "x", "y"]]
    {
        assert_eq!(listed(wrong), ["ERR syntax error"], "{wrong:?}");
    }
}

fn table_size() -> usize {
    let whole = recorded();
    whole.len() + whole.iter().filter_map(|c| c["subcommands"].as_array()).map(Vec::len).sum::<usize>()
}

#[test]
fn counts() {
    assert_eq!(value(count, Proto::Resp2, &["COMMAND", "COUNT"]), Value::Int(recorded().len() as i64));
}

#[test]
fn keys_of_calls() {
    let invalid = "ERR Invalid arguments specified for command";
    let rows: [(&[&str], &[&str]); 17] = [
        (&["GET", "a"], &["a:RO access"]),
        (&["mset", "a", "1", "b", "2"], &["a:OW update", "b:OW update"]),
        (&["del", "a", "b", "a"], &["a:RM delete", "b:RM delete", "a:RM delete"]),
        (&["rename", "a", "b"], &["a:RW access delete", "b:OW update"]),
        (&["copy", "a", "b", "DB", "1"], &["a:RO access", "b:OW update"]),
        (&["object", "encoding", "a"], &["a:RO"]),
        (&["msetex", "2", "a", "1", "b", "2", "NX"], &["a:OW update", "b:OW update"]),
        (&["set", "get", "x"], &["get:OW update"]),
        (&["set", "a", "get"], &["a:OW update"]),
        (&["set", "a", "1", "nx", "Get"], &["a:RW access update"]),
        (&["msetex", "0", "a", "1"], &[invalid]),
        (&["msetex", "x", "a", "1"], &[invalid]),
        (&["msetex", "9223372036854775807", "a", "1"], &[invalid]),
        (&["nope", "a"], &["ERR Invalid command specified"]),
        (&["object", "nope", "a"], &["ERR Invalid command specified"]),
        (&["clusterscan", "0"], &["ERR The command has no key arguments"]),
        (&["get", "a", "b"], &["ERR Invalid number of arguments specified for command"]),
    ];
    for (call, expected) in rows {
        let with_flags =
            value(getkeysandflags, Proto::Resp3, &[&["COMMAND", "GETKEYSANDFLAGS"], call].concat());
        let plain = value(getkeys, Proto::Resp3, &[&["COMMAND", "GETKEYS"], call].concat());
        if let Value::Error(error) = &plain {
            assert_eq!((&[&error[..]][..], &plain), (expected, &with_flags));
            continue;
        }
        let found: Vec<String> = with_flags
            .elements()
            .expect("an array")
            .iter()
            .map(|pair| {
                let pair = pair.elements().expect("a pair");
                let flags: Vec<String> = pair[1].elements().expect("a set").iter().map(text).collect();
                alloc::format!("{}:{}", text(&pair[0]), flags.join(" "))
            })
            .collect();
        assert_eq!(found, expected, "{call:?}");
        let keys: Vec<String> = plain.elements().expect("an array").iter().map(text).collect();
        assert_eq!(keys, expected.iter().map(|e| e.split(':').next().unwrap_or("")).collect::<Vec<_>>());
    }
}

#[test]
fn help_tells_every_subcommand() {
    for container in ["client", "cluster", "command", "config", "object"] {
        let mut out = Outbox::default();
        help(container, &mut Reply::new(&mut out, Proto::Resp2));
        let bytes: Vec<u8> = out.chunks().flatten().copied().collect();
        let (reply, _) = Value::parse(&bytes).expect("well-formed").expect("whole");
        let lines: Vec<String> = reply.elements().expect("an array").iter().map(text).collect();
        assert!(lines[0].starts_with(&container.to_uppercase()), "{}", lines[0]);
        for sub in find(container.as_bytes()).expect("a command").subcommands {
            let name = sub.last_name().to_uppercase();
            assert!(lines.iter().any(|l| l.split(' ').next() == Some(&name)), "{container} {name}");
        }
    }
    let mut out = Outbox::default();
    help("config", &mut Reply::new(&mut out, Proto::Resp2));
    let bytes: Vec<u8> = out.chunks().flatten().copied().collect();
    assert!(
        String::from_utf8_lossy(&bytes)
            .contains("+SET parameter value [parameter value ...]\r\n+    Changes")
    );
}
