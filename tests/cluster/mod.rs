//! Clusters of real processes on loopback: Whimbrel, Valkey and Redis nodes, formed, watched and asked.

#![allow(dead_code, unreachable_pub)] // every test file includes it and uses its own part

pub mod cli;
pub mod jobs;
pub mod load;
pub mod router;
pub mod toll;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::ops::Range;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

pub use crate::peer::program;
use crate::peer::{self, Client, Folder, Reply, Server};

/// How long anything that is awaited may take, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Which program a node runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The program of the package that names this test.
    Whimbrel,
    /// `valkey-server` 9.1
    Valkey,
    /// `redis-server` 7.0
    Redis,
}

impl Kind {
    /// The path of its program; `None` means: skip the test.
    pub fn program(self) -> Option<PathBuf> {
        match self {
            Self::Whimbrel => Some(program()),
            Self::Valkey => peer::tool("valkey-server"),
            Self::Redis => peer::tool("redis-server"),
        }
    }

    /// What every node of a test is told.
    fn arguments(self) -> Vec<&'static str> {
        let mut all = vec!["--bind", "127.0.0.1", "--save", "", "--cluster-enabled", "yes"];
        all.extend(["--cluster-node-timeout", "5000", "--cluster-allow-replica-migration", "no"]);
        all.extend(["--enable-debug-command", "yes"]);
        if self != Self::Redis {
            all.extend(["--cluster-databases", "16"]);
        }
        all
    }
}

/// Waits until `check` gives a value; panics after [`PATIENCE`] with what `check` objected to last.
pub fn eventually<T, E: Debug>(what: &str, mut check: impl FnMut() -> Result<T, E>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        match check() {
            Ok(value) => return value,
            Err(why) if Instant::now() > end => panic!("waited in vain: {what}: {why:#?}"),
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// `Ok` when the two are equal, for [`eventually`].
pub fn same<T: PartialEq + Debug>(found: T, expected: T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{found:?} is not {expected:?}")) }
}

/// One node: a process that is killed when dropped.
pub struct Node {
    /// Which program it runs.
    pub kind: Kind,
    /// Its process.
    pub server: Server,
}

impl Node {
    /// Starts a node that knows no other; `None` means: skip the test.
    pub fn start(kind: Kind, more: &[&str]) -> Option<Self> {
        let arguments = [kind.arguments().as_slice(), more].concat();
        Some(Self { kind, server: Server::start(&kind.program()?, &arguments) })
    }

    /// Starts a node with a configuration file, as CONFIG REWRITE needs it.
    pub fn start_with_file(kind: Kind, more: &[&str]) -> Option<Self> {
        let program = kind.program()?;
        let (folder, port) = (Folder::new(), peer::free_port());
        let mut text = format!("port {port}\ndir {}\n", folder.path().display());
        for pair in kind.arguments().chunks(2).chain(more.chunks(2)) {
            text.push_str(&format!("{} \"{}\"\n", pair[0].trim_start_matches("--"), pair[1]));
        }
        let file = folder.path().join("node.conf");
        std::fs::write(&file, text).expect("a configuration file");
        Some(Self { kind, server: Server::start_in(&program, folder, port, vec![file.into()]) })
    }

    /// The port for clients.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// `127.0.0.1:port`
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    /// One command on a connection of its own.
    pub fn ask(&self, words: &[&str]) -> Reply {
        self.server.ask(words)
    }

    /// The same with a command written as one line, words separated by blanks.
    pub fn run(&self, line: &str) -> Reply {
        self.ask(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs a command that has to answer `OK`.
    pub fn ok(&self, line: &str) {
        let reply = self.run(line);
        assert!(reply.is("OK"), "{:?} {}: {line:.200}: {reply:?}", self.kind, self.address());
    }

    /// Its node id.
    pub fn id(&self) -> String {
        self.run("CLUSTER MYID").text().to_owned()
    }

    /// A field of CLUSTER INFO or of INFO; empty when there is none.
    pub fn info(&self, name: &str) -> String {
        let section = if name.starts_with("cluster_") { "CLUSTER INFO" } else { "INFO everything" };
        let text = self.run(section);
        let line = text.text().lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_default().trim_end().to_owned()
    }

    /// The lines of CLUSTER NODES.
    pub fn nodes(&self) -> Vec<Line> {
        self.run("CLUSTER NODES").text().lines().map(Line::parse).collect()
    }

    /// Its line about the node with this id.
    pub fn line_about(&self, id: &str) -> Option<Line> {
        self.nodes().into_iter().find(|line| line.id == id)
    }

    /// Keys in a database.
    pub fn dbsize(&self, db: u32) -> i64 {
        let mut client = self.client(db);
        client.ask(&["DBSIZE"]).number()
    }

    /// A connection with this database selected.
    pub fn client(&self, db: u32) -> Client {
        let mut client = self.server.client();
        if db > 0 {
            let reply = client.ask(&["SELECT", &db.to_string()]);
            assert!(reply.is("OK"), "SELECT {db}: {reply:?}");
        }
        client
    }
}

/// A line of CLUSTER NODES.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// The node's id.
    pub id: String,
    /// `ip:port@bus-port` and what may follow
    pub address: String,
    /// Its flags without `myself`.
    pub flags: BTreeSet<String>,
    /// Whether the link to it stands.
    pub connected: bool,
    /// Its configuration epoch.
    pub epoch: u64,
    /// Its slots.
    pub slots: BTreeSet<u16>,
    /// Marks of slots that are moved by hand.
    pub marks: Vec<String>,
}

impl Line {
    /// The port for clients.
    pub fn port(&self) -> u16 {
        let port =
            self.address.split('@').next().and_then(|a| a.rsplit(':').next()).and_then(|p| p.parse().ok());
        port.unwrap_or_else(|| panic!("a port in {}", self.address))
    }

    fn parse(line: &str) -> Self {
        let words: Vec<&str> = line.split(' ').collect();
        assert!(words.len() >= 8, "a line of CLUSTER NODES: {line}");
        let (mut slots, mut marks) = (BTreeSet::new(), Vec::new());
        for word in &words[8..] {
            if word.starts_with('[') {
                marks.push((*word).to_owned());
                continue;
            }
            let (first, last) = word.split_once('-').unwrap_or((word, word));
            let number = |text: &str| text.parse::<u16>().expect("a slot number");
            slots.extend(number(first)..=number(last));
        }
        Self {
            id: words[0].to_owned(),
            address: words[1].to_owned(),
            flags: words[2].split(',').filter(|f| *f != "myself").map(ToOwned::to_owned).collect(),
            connected: words[7] == "connected",
            epoch: words[6].parse().expect("an epoch"),
            slots,
            marks,
        }
    }
}

/// Several nodes that know each other.
pub struct Cluster {
    /// In the order in which they were asked for.
    pub nodes: Vec<Node>,
}

impl Cluster {
    /// Starts nodes and makes a cluster of them; the slots are shared evenly by the first `owners`.
    pub fn form(kinds: &[Kind], owners: usize, more: &[&str]) -> Option<Self> {
        let nodes: Option<Vec<Node>> = kinds.iter().map(|kind| Node::start(*kind, more)).collect();
        let cluster = Self { nodes: nodes? };
        for (at, node) in cluster.nodes.iter().enumerate() {
            node.ok(&format!("CLUSTER SET-CONFIG-EPOCH {}", at + 1));
            if at < owners {
                let slots: Vec<u16> = (0..16384).filter(|s| usize::from(*s) * owners / 16384 == at).collect();
                node.ok(&format!("CLUSTER ADDSLOTSRANGE {} {}", slots[0], slots[slots.len() - 1]));
            }
            for other in &cluster.nodes[..at] {
                node.ok(&format!("CLUSTER MEET 127.0.0.1 {}", other.port()));
            }
        }
        cluster.await_agreement();
        Some(cluster)
    }

    /// Waits until all nodes know all nodes, see the same owners of all slots, and say that the cluster is ok.
    pub fn await_agreement(&self) {
        eventually("all nodes agree", || self.agreement());
    }

    /// What the nodes see in common, or where they differ.
    pub fn agreement(&self) -> Result<BTreeMap<String, BTreeSet<u16>>, String> {
        let mut common = None;
        for node in &self.nodes {
            let lines = node.nodes();
            same(lines.len(), self.nodes.len())
                .map_err(|e| format!("{}: nodes known: {e}", node.address()))?;
            let primary = BTreeSet::from(["master".to_owned()]);
            if let Some(line) = lines.iter().find(|l| !l.connected || l.flags != primary) {
                return Err(format!("{}: {} {:?}", node.address(), line.id, line.flags));
            }
            let state = node.info("cluster_state");
            same(state.as_str(), "ok").map_err(|e| format!("{}: state: {e}", node.address()))?;
            let view: BTreeMap<_, _> = lines.into_iter().map(|l| (l.id, l.slots)).collect();
            match &common {
                None => common = Some(view),
                Some(other) if *other == view => {}
                Some(_) => {
                    return Err(format!(
                        "{} sees other owners than {}",
                        node.address(),
                        self.nodes[0].address()
                    ));
                }
            }
        }
        common.ok_or_else(|| "no nodes".to_owned())
    }

    /// The nodes but one.
    pub fn others(&self, at: usize) -> impl Iterator<Item = &Node> {
        self.nodes.iter().enumerate().filter(move |(other, _)| *other != at).map(|(_, node)| node)
    }

    /// Waits until all others call this node failed, and themselves without it.
    pub fn await_failed(&self, at: usize, id: &str) {
        eventually("all others call it failed", || {
            self.others(at).try_for_each(|node| {
                let flags = node.line_about(id).expect("its line").flags;
                let state = node.info("cluster_state");
                if flags.contains("fail") && state == "fail" {
                    Ok(())
                } else {
                    Err((node.address(), flags, state))
                }
            })
        });
    }

    /// Has all nodes forget one that is no longer among them.
    pub fn forget(&self, id: &str) {
        for node in &self.nodes {
            // A node that is told to forget passes it on to others that know how; those answer that it is gone.
            let reply = node.run(&format!("CLUSTER FORGET {id}"));
            assert!(reply.is("OK") || reply == Reply::Error(format!("ERR Unknown node {id}")), "{reply:?}");
        }
    }

    /// Kills and starts one node after the other; each is who it was.
    pub fn restart(&mut self, nodes: Range<usize>) {
        for at in nodes {
            let id = self.nodes[at].id();
            self.nodes[at].server.restart();
            assert_eq!(self.nodes[at].id(), id);
            self.await_agreement();
        }
    }

    /// The place of the node that owns a slot, by its own word.
    pub fn owner(&self, slot: u16) -> usize {
        let owns = |node: &Node| node.line_about(&node.id()).is_some_and(|line| line.slots.contains(&slot));
        let mut owners = (0..self.nodes.len()).filter(|at| owns(&self.nodes[*at]));
        let owner = owners.next().unwrap_or_else(|| panic!("slot {slot} has no owner"));
        assert_eq!(owners.next(), None, "slot {slot} has two owners");
        owner
    }

    /// Waits until all nodes agree and this one owns these slots.
    pub fn await_owner(&self, at: usize, slots: impl IntoIterator<Item = u16>) {
        let slots: Vec<u16> = slots.into_iter().collect();
        let id = self.nodes[at].id();
        eventually("the slots have their new owner", || {
            let view = self.agreement()?;
            let missing: Vec<_> = slots.iter().filter(|s| !view[&id].contains(s)).collect();
            if missing.is_empty() { Ok(()) } else { Err(format!("not owned: {missing:.5?}")) }
        });
    }
}

/// A short text whose slot is `slot`, to be used as a hash tag.
pub fn tag(slot: u16) -> String {
    use whimbrel_core::slots::Slot;
    (0u32..).map(|n| format!("{n:x}")).find(|t| Slot::of(t.as_bytes()).number() == slot).expect("one of many")
}
