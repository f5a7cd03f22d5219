use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::*;
use crate::command::table::lookup;
use crate::time::Wall;
use crate::wire::resp::ArgvBuf;

fn user(rules: &str) -> User {
    let mut user = User::new(b"u", false);
    rules.split(' ').for_each(|rule| user.apply(rule.as_bytes()).unwrap_or_else(|e| panic!("{rule}: {e}")));
    user
}

/// What the user may not do with a command, as its administrator is told.
fn verdict(user: &User, line: &str) -> String {
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    let call = ArgvBuf::of(&words);
    let command = lookup(call.argv()).unwrap_or_else(|| panic!("{line}"));
    match user.check(command, call.argv(), Place { db: 0, databases: 16 }) {
        Ok(()) => "OK".into(),
        Err(denied) => denied.message(b"u", command, call.argv(), true),
    }
}

#[test]
fn rules_are_written_as_valkey_writes_them() {
    let empty = "off resetchannels -@all";
    let rows = [
        ("off", empty),
        ("on nopass ~* &* +@all", "on nopass ~* &* +@all"),
        ("allkeys allchannels allcommands skip-sanitize-payload", "off skip-sanitize-payload ~* &* +@all"),
        ("+GET +Set -get", "off resetchannels -@all +set -get"),
        ("+config|get +config", "off resetchannels -@all +config"),
        ("+config -config|SET", "off resetchannels -@all +config -config|set"),
        ("+@read -@dangerous +keys", "off resetchannels -@all +@read -@dangerous +keys"),
        ("+@READ -@read", "off resetchannels -@all -@read"),
        ("+select|0 +lpush +xinfo|stream", "off resetchannels -@all +select|0 +lpush +xinfo|stream"),
        ("+@all -get", "off resetchannels +@all -get"),
        ("~a %r~b %RW~c %W~b ~a", "off ~a ~b ~c resetchannels -@all"),
        ("%R~x %w~y", "off %R~x %W~y resetchannels -@all"),
        ("&news &news &a*", "off resetchannels &news &a* -@all"),
        ("db=3,1,3", "off resetchannels db=1,3 -@all"),
        ("resetdbs", "off resetchannels resetdbs -@all"),
        ("on +@all ~* reset", empty),
        ("+get +@all nocommands", empty),
    ];
    for (rules, described) in rows {
        assert_eq!(user(rules).describe(), described, "{rules}");
        assert_eq!(user(&user(rules).describe()).describe(), described, "again: {rules}");
    }
    let mut with_more = user("+get ~a");
    with_more.apply(b"(+set %W~b &c)").unwrap();
    let described = "off ~a resetchannels -@all +get (%W~b resetchannels &c -@all +set)";
    assert_eq!(with_more.describe(), described);
    with_more.apply(b"clearselectors").unwrap();
    assert_eq!(with_more.others().len(), 0);
}

#[test]
fn passwords_open_the_door_as_long_as_they_are_there() {
    let hash = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"; // of "secret"
    let mut users = Users::default();
    let log_in = |users: &Users, password: &[u8]| users.log_in(b"ann", password).is_some();
    let rows: [(&[&str], &[&str], &[&str]); 7] = [
        (&["on", ">secret", ">other"], &["secret", "other"], &["", "third"]),
        (&["<other"], &["secret"], &["other"]),
        (&["off"], &[], &["secret"]),
        (&["on", "resetpass"], &[], &["secret", ""]),
        (&[&format!("#{hash}")], &["secret"], &["x"]),
        (&[&format!("!{hash}")], &[], &["secret"]),
        (&["nopass"], &["", "anything"], &[]),
    ];
    for (rules, right, wrong) in rows {
        let words: Vec<&[u8]> = rules.iter().map(|rule| rule.as_bytes()).collect();
        users.set(b"ann", &words).unwrap();
        right.iter().for_each(|p| assert!(log_in(&users, p.as_bytes()), "{rules:?}: {p}"));
        wrong.iter().for_each(|p| assert!(!log_in(&users, p.as_bytes()), "{rules:?}: {p}"));
    }
    assert!(users.log_in(b"bob", b"").is_none());
    users.require("key");
    assert!(users.log_in(b"default", b"key").is_some() && users.log_in(b"default", b"").is_none());
    users.require("");
    assert!(users.default_user().is_open());
}

#[test]
fn one_selector_has_to_allow_all_of_a_command() {
    let no = |what: &str| format!("User u has no permissions to {what}");
    let mut two = user("+get ~a*");
    two.apply(b"(+set %W~b*)").unwrap();
    let rows: Vec<(&User, &str, String)> = [
        (user("+@all ~*"), "get x", "OK".into()),
        (user("+@all ~* -@dangerous"), "flushall", no("run the 'flushall' command")),
        (user("+config|get"), "config get x", "OK".into()),
        (user("+config|get"), "config set x y", no("run the 'config|set' command")),
        (user("+config -config|set"), "config set x y", no("run the 'config|set' command")),
        (user("+select|1"), "select 1", "OK".into()),
        (user("+select|1"), "select 2", no("run the 'select' command")),
        (user("+select|1 -select"), "select 1", no("run the 'select' command")),
        (user("-@all"), "auth x", "OK".into()),
        (user("+@string ~a*"), "mset a1 x b1 y", no("access the 'b1' key")),
        (user("+@all %R~*"), "set a x", no("access the 'a' key")),
        (user("+@all %W~*"), "set a x", "OK".into()),
        (user("+@all %W~*"), "set a x get", no("access the 'a' key")),
        (user("+@all %W~*"), "get a", no("access the 'a' key")),
        (user("+@all %R~a %W~b"), "copy a b", "OK".into()),
        (user("+@all %R~a %W~b"), "copy b a", no("access the 'b' key")),
        (user("+@all ~* db=1"), "get a", no("access database get")),
        (user("+@all ~* db=1"), "ping", "OK".into()),
        (user("+@all ~* db=1"), "select 1", "OK".into()),
        (user("+@all ~* db=1"), "select 2", no("access database 2")),
        (user("+@all ~* db=0"), "move a 3", no("access database 3")),
        (user("+@all ~* db=0"), "flushall", no("access database flushall")),
        (user("+@all ~* db=0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15"), "flushall", "OK".into()),
        (two.clone(), "get a1", "OK".into()),
        (two.clone(), "set b1 x", "OK".into()),
        (two.clone(), "set a1 x", no("access the 'a1' key")),
        (two, "del a1", no("run the 'del' command")),
    ]
    .map(|(user, line, told)| (&*alloc::boxed::Box::leak(alloc::boxed::Box::new(user)), line, told))
    .into();
    for (user, line, told) in rows {
        assert_eq!(verdict(user, line), told, "{}: {line}", user.describe());
    }
}

#[test]
fn what_is_no_rule_changes_nothing_and_is_told() {
    let rows: [(&[&str], &str); 18] = [
        (&["+nosuch"], "Error in ACL SETUSER modifier '+nosuch': Unknown command or category name in ACL"),
        (&["+@nosuch"], "Error in ACL SETUSER modifier '+@nosuch': Unknown command or category name in ACL"),
        (
            &["-select|1"],
            "Error in ACL SETUSER modifier '-select|1': Unknown command or category name in ACL",
        ),
        (
            &["+config|nosuch"],
            "Error in ACL SETUSER modifier '+config|nosuch': Unknown command or category name in ACL",
        ),
        (
            &["+config|get|x"],
            "Error in ACL SETUSER modifier '+config|get|x': Allowing first-arg of a subcommand is not supported",
        ),
        (&["+select|"], "Error in ACL SETUSER modifier '+select|': Syntax error"),
        (&["fnord"], "Error in ACL SETUSER modifier 'fnord': Syntax error"),
        (&["%~x"], "Error in ACL SETUSER modifier '%~x': Syntax error"),
        (&["%RR~x"], "Error in ACL SETUSER modifier '%RR~x': Syntax error"),
        (&["~a b"], "Error in ACL SETUSER modifier '~a b': Syntax error"),
        (
            &["#abc"],
            "Error in ACL SETUSER modifier '#abc': The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters",
        ),
        (
            &["<x"],
            "Error in ACL SETUSER modifier '<x': The password you are trying to remove from the user does not exist",
        ),
        (
            &["allkeys", "~x"],
            "Error in ACL SETUSER modifier '~x': Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. Try 'resetkeys' to start with an empty list of patterns",
        ),
        (
            &["&*", "&x"],
            "Error in ACL SETUSER modifier '&x': Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect. Try 'resetchannels' to start with an empty list of channels",
        ),
        (&["db="], "Error in ACL SETUSER modifier 'db=': Syntax error"),
        (&["db=1,x"], "Error in ACL SETUSER modifier 'db=1,x': Syntax error"),
        (&["db=-1"], "Error in ACL SETUSER modifier 'db=-1': The provided database ID is out of range"),
        (&["on", "(+get", "~a"], "Unmatched parenthesis in acl selector starting at '(+get'."),
    ];
    for (rules, told) in rows {
        let mut users = Users::default();
        users.set(b"ann", &[b"on"]).unwrap();
        let before = users.clone();
        let words: Vec<&[u8]> = rules.iter().map(|rule| rule.as_bytes()).collect();
        assert_eq!(users.set(b"ann", &words).unwrap_err().to_string(), told);
        assert_eq!(users, before, "{rules:?}");
    }
}

#[test]
fn a_selector_may_come_in_several_words() {
    let mut users = Users::default();
    users.set(b"ann", &[b"(+get", b"~a", b")", b"+set"]).unwrap();
    let ann = users.get(b"ann").unwrap().describe();
    assert_eq!(ann, "off resetchannels -@all +set (~a resetchannels -@all +get)");
}

#[test]
fn files_are_loaded_whole_or_not_at_all() {
    let users = Users::default();
    let good = users.load("f", "user ann on >x +get ~a\r\n\nuser bob off\n").unwrap();
    assert_eq!(
        good.iter().map(|user| user.name().to_vec()).collect::<Vec<_>>(),
        [b"ann".as_slice(), b"bob", b"default"]
    );
    let text: String = good.lines().map(|line| line + "\n").collect();
    assert_eq!(users.load("f", &text).unwrap(), good);
    let bad = "user ann +nosuch fnord fnord\nann on\nuser bob\nuser bob\nuser carl (+get";
    assert_eq!(
        users.load("f", bad).unwrap_err().to_string(),
        "f:1: Error in applying operation '+nosuch': Unknown command or category name in ACL. f:1: Syntax error. \
         f:2 should start with user keyword followed by the username. WARNING: Duplicate user 'bob' found on line 4. \
         f:5: Unmatched parenthesis in selector definition.WARNING: ACL errors detected, no change to the previously \
         active ACL rules was performed"
    );
}

#[test]
fn the_log_groups_the_same_refusals_of_a_minute() {
    let mut log = Log::default();
    let mut refuse = |secs: u64, denied, object: &[u8], most| {
        let kind = (Reason::Denied(denied), Context::Toplevel);
        log.add(Wall(secs * 1_000_000), kind, (b"ann", object), || format!("at {secs}"), most);
        log.iter().map(|e| (e.id, e.count, e.client.clone())).collect::<Vec<_>>()
    };
    refuse(1000, Denied::Command, b"get", 3);
    refuse(1001, Denied::Key(1), b"k", 3);
    let twice = refuse(1050, Denied::Command, b"get", 3);
    assert_eq!(twice, [(0, 2, "at 1050".into()), (1, 1, "at 1001".into())]);
    let later = refuse(1111, Denied::Command, b"get", 3);
    assert_eq!(later[0], (2, 1, "at 1111".into()));
    assert_eq!(refuse(1112, Denied::Command, b"set", 2).len(), 2);
    assert_eq!(refuse(1113, Denied::Command, b"set", 0).len(), 0);
    assert_eq!((log.commands, log.keys, log.auth), (5, 1, 0));
}
