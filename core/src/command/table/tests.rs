use alloc::format;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::wire::resp::ArgvBuf;

fn everything() -> Vec<&'static Command> {
    all().flat_map(|c| core::iter::once(c).chain(c.subcommands)).collect()
}

#[test]
fn every_id_belongs_to_one_command() {
    let mut ids: Vec<Id> = everything().iter().map(|c| c.id).filter(|&id| id != Id::Container).collect();
    ids.sort_unstable();
    assert_eq!(ids, Id::ALL[1..]);
}

#[test]
fn every_name_is_found_in_any_case() {
    for command in all() {
        let upper = command.name.to_uppercase();
        assert!(core::ptr::eq(find(upper.as_bytes()).expect(command.name), command), "{}", command.name);
        assert!(find(format!("{}x", command.name).as_bytes()).is_none());
        for sub in command.subcommands {
            let upper = sub.last_name().to_uppercase();
            assert!(core::ptr::eq(command.find_sub(upper.as_bytes()).expect(sub.name), sub));
            assert_eq!(sub.name, format!("{}|{}", command.name, sub.last_name()));
        }
    }
    for missing in [&b""[..], b"ge", b"get\0", b"client|list", &[b'g'; 4000], b"\xff"] {
        assert!(find(missing).is_none());
    }
}

#[test]
fn what_is_told_is_complete() {
    for command in everything() {
        assert!(command.summary.ends_with('.') && command.summary.len() < 100, "{}", command.name);
        assert!(command.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-' || b == b'|'));
        let keys = args::parse(command.args).iter().any(|a| format!("{a:?}").contains("Key("));
        assert!(!keys || !command.keys.is_empty(), "{} has keys that no specification finds", command.name);
        assert_eq!(command.id == Id::Container, command.arity == -2 && command.has_only_subcommands());
    }
}

impl Command {
    fn has_only_subcommands(&self) -> bool {
        !self.subcommands.is_empty() && self.name != "command"
    }
}

#[test]
fn refusals_have_the_words_of_valkey() {
    let long = "x".repeat(200);
    let rows: [(&[&str], &str); 14] = [
        (&["foo", "bar", "baz"], "ERR unknown command 'foo', with args beginning with: 'bar' 'baz' "),
        (&["FOO"], "ERR unknown command 'FOO', with args beginning with: "),
        (&["get"], "ERR wrong number of arguments for 'get' command"),
        (&["GET", "a", "b"], "ERR wrong number of arguments for 'get' command"),
        (&["config"], "ERR wrong number of arguments for 'config' command"),
        (&["config", "get"], "ERR wrong number of arguments for 'config|get' command"),
        (&["config", "bogus"], "ERR unknown subcommand 'bogus'. Try CONFIG HELP."),
        (
            &["client", "MAINT_NOTIFICATIONS", "ON"],
            "ERR unknown subcommand 'MAINT_NOTIFICATIONS'. Try CLIENT HELP.",
        ),
        (&["client", "id", "x"], "ERR wrong number of arguments for 'client|id' command"),
        (&["command", "x"], "ERR unknown subcommand 'x'. Try COMMAND HELP."),
        (&["a\0b", "c\0d"], "ERR unknown command 'a', with args beginning with: 'c' "),
        (&["", ""], "ERR unknown command '', with args beginning with: '' "),
        (&[&long], &format!("ERR unknown command '{}', with args beginning with: ", &long[..128])),
        (
            &["f", &long[..100], &long, "never"],
            &format!(
                "ERR unknown command 'f', with args beginning with: '{}' '{}' ",
                &long[..100],
                &long[..25]
            ),
        ),
    ];
    for (args, expected) in rows {
        let owned = ArgvBuf::of(&args.iter().map(|a| a.as_bytes()).collect::<Vec<_>>());
        let refusal = resolve(owned.argv()).map(|c| c.name).expect_err(expected);
        assert_eq!(refusal.to_string(), expected);
    }
}

#[test]
fn calls_are_resolved() {
    let rows: [(&[&str], Id); 7] = [
        (&["GET", "k"], Id::Get),
        (&["mget", "a", "b", "c"], Id::Mget),
        (&["Client", "LIST"], Id::ClientList),
        (&["client", "no-evict", "on"], Id::ClientNoEvict),
        (&["command"], Id::Command),
        (&["COMMAND", "docs"], Id::CommandDocs),
        (&["cluster", "set-config-epoch", "1"], Id::ClusterSetConfigEpoch),
    ];
    for (args, expected) in rows {
        let owned = ArgvBuf::of(&args.iter().map(|a| a.as_bytes()).collect::<Vec<_>>());
        assert_eq!(resolve(owned.argv()).map(|c| c.id).expect("a call"), expected);
    }
}

#[test]
fn the_notation_of_arguments() {
    let rows = [
        ("", ""),
        ("key#0 value", "key value"),
        ("key#0*", "key [key ...]"),
        ("cursor:int [MATCH=pattern:pattern] [COUNT=count:int]", "cursor [MATCH pattern] [COUNT count]"),
        ("data{key#0 value}*", "key value [key value ...]"),
        ("key#0 [condition(NX@2.6.12|XX)] [GET@6.2.0]", "key [NX | XX] [GET]"),
        ("mode(YES|NO)", "<YES | NO>"),
        ("[TYPE=t(A|B@1.0.0)@2.8.12] [ID=client-id:int*]", "[TYPE <A | B>] [ID client-id [client-id ...]]"),
        ("[PREFIX=prefix**]", "[PREFIX prefix [PREFIX prefix ...]]"),
        (
            "f(old/ip:port|new([A=a/ip:port@1.0.0]|[B])*)",
            "<ip:port | <[A ip:port] | [B]> [<[A ip:port] | [B]> ...]>",
        ),
        ("g{FROM=from-token:token range{a:int b:int}* TO=to}", "FROM a b [a b ...] TO to"),
    ];
    for (text, expected) in rows {
        assert_eq!(args::Syntax(&args::parse(text)).to_string(), expected, "{text}");
    }
    let set = args::parse("[EX=seconds:int@2.6.12*]");
    assert_eq!(
        set,
        vec![args::Arg {
            name: "seconds".into(),
            kind: args::Kind::Word("integer"),
            display: None,
            token: Some("EX"),
            since: Some("2.6.12"),
            optional: true,
            multiple: true,
            multiple_token: false,
        }]
    );
}
