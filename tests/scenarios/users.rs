//! ACL against a real Valkey: the same rules, refusals, logs and files.

use std::fs;

use crate::cluster::program;
use crate::peer::{Client, Folder, Reply, Server};

/// What both servers are told, by clients `a` and `b`; the replies have to be equal.
const DIALOGUE: &str = include_str!("../fixtures/users/dialogue.txt");

struct Pair {
    servers: [Server; 2],
}

impl Pair {
    fn start(arguments: &[&str]) -> Option<Self> {
        let all = [&["--bind", "127.0.0.1", "--save", ""], arguments].concat();
        let theirs = Server::start_peer("valkey-server", &all)?;
        Some(Self { servers: [Server::start(&program(), &all), theirs] })
    }

    fn clients(&self) -> [Client; 2] {
        [self.servers[0].client(), self.servers[1].client()]
    }
}

/// A reply without what differs between any two servers.
fn comparable(words: &[&str], reply: &Reply) -> String {
    match (words[0], words.get(1).copied()) {
        // The commands of a category differ, as long as not all are built; passwords differ always.
        ("ACL", Some("GENPASS")) => format!("{} digits", reply.text().len()),
        ("ACL", Some("LOG")) if words.len() == 2 => {
            let told = |entry: &Reply| {
                let fields: Vec<&Reply> = entry.list().iter().collect();
                let same = fields.chunks(2).filter(|f| {
                    ["count", "reason", "context", "object", "username", "entry-id"].contains(&f[0].text())
                });
                same.map(|f| format!("{}={}", f[0], f[1])).collect::<Vec<_>>().join(" ")
            };
            reply.list().iter().map(told).collect::<Vec<_>>().join("\n")
        }
        _ => format!("{reply:?}"),
    }
}

#[test]
fn rules_and_refusals_are_valkeys() {
    let Some(pair) = Pair::start(&["--cluster-enabled", "no"]) else { return };
    let (mut a, mut b) = (pair.clients(), pair.clients());
    let mut different = Vec::new();
    let mut lines = 0;
    for line in DIALOGUE.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (who, line) = line.split_once(": ").expect("a client and what it says");
        let words: Vec<&str> = line.split(' ').collect();
        let clients = if who == "a" { &mut a } else { &mut b };
        let [ours, theirs] = clients.each_mut().map(|client| match client.try_ask(&words) {
            Ok(reply) => comparable(&words, &reply),
            Err(_) => "disconnected".into(),
        });
        if ours != theirs {
            different.push(format!("{who}: {line}\n  ours:   {ours}\n  theirs: {theirs}"));
        }
        if line == "reconnect" {
            *clients = pair.clients();
        }
        lines += 1;
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
    assert!(lines > 80, "{lines} lines");
}

#[test]
fn a_rule_about_any_command_of_valkey_is_taken() {
    let Some(pair) = Pair::start(&[]) else { return };
    let [mut ours, mut theirs] = pair.clients();
    let names = theirs.ask(&["COMMAND", "LIST"]);
    for name in names.list() {
        let rule = format!("+{}", name.text());
        assert_eq!(ours.ask(&["ACL", "SETUSER", "u", &rule]).text(), "OK", "{rule}");
    }
    assert!(names.list().len() > 300);
}

#[test]
fn users_live_in_their_file() {
    let folder = Folder::new();
    let path = folder.path().join("users.acl");
    let file = "user ann on nopass +@all ~*\nuser bob on >secret ~b:* +get (%W~w:* +set)\n";
    fs::write(&path, file).expect("a file");
    let acl = path.display().to_string();
    let Some(pair) = Pair::start(&["--aclfile", &acl]) else { return };
    let mut lists = Vec::new();
    for server in &pair.servers {
        fs::write(&path, file).expect("a file");
        let mut admin = server.client();
        let mut bob = server.client();
        assert_eq!(bob.ask(&["AUTH", "bob", "secret"]).text(), "OK");
        assert_eq!(bob.ask(&["SET", "w:1", "x"]).text(), "OK");
        assert!(bob.ask(&["SET", "b:1", "x"]).text().starts_with("NOPERM"));
        assert_eq!(admin.ask(&["ACL", "SETUSER", "carl", "on", ">x"]).text(), "OK");
        assert_eq!(admin.ask(&["ACL", "SAVE"]).text(), "OK");
        let saved = fs::read_to_string(&path).expect("the saved file");
        let mut lines: Vec<&str> = saved.lines().collect();
        lines.sort_unstable();
        lists.push(lines.join("\n"));
        // A file with a mistake changes nothing.
        fs::write(&path, "user dora on\nuser bob fnord\n").expect("a file");
        let refused = admin.ask(&["ACL", "LOAD"]);
        lists.push(refused.text().to_owned());
        assert_eq!(bob.ask(&["GET", "b:1"]), Reply::Null);
        // Who is gone from the file is disconnected; the default user stays.
        fs::write(&path, "user dora on nopass\n").expect("a file");
        assert_eq!(admin.ask(&["ACL", "LOAD"]).text(), "OK");
        assert!(bob.try_ask(&["PING"]).is_err(), "bob is gone");
        lists.push(format!("{:?}", admin.ask(&["ACL", "LIST"])));
    }
    assert_eq!(lists[..3], lists[3..], "ours, theirs");
}
