//! A cluster of real nodes on this machine, made and asked over its data ports.

use std::collections::BTreeSet;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use whimbrel_core::slots::SlotRange;
use whimbrel_core::wire::resp::Value;

use super::Trouble;
use super::client::Connection;
use super::process::{Process, Program};

/// How long nodes may take to agree about the cluster.
const AGREE: Duration = Duration::from_secs(40);

/// One node.
pub struct Node {
    process: Process,
    control: Connection,
    /// Its name in the cluster, 40 hex digits.
    pub id: String,
}

/// Nodes that know each other and share all slots.
pub struct Cluster {
    /// In the order of their shares.
    pub nodes: Vec<Node>,
}

/// A slot migration as CLUSTER GETSLOTMIGRATIONS shows it.
#[derive(Clone, Debug)]
pub struct Job {
    /// `EXPORT` or `IMPORT`.
    pub operation: String,
    /// How far it is.
    pub state: String,
    /// Why it failed.
    pub message: String,
}

impl Job {
    /// Whether it has ended, well or not.
    pub fn is_over(&self) -> bool {
        ["success", "failed", "cancelled"].contains(&self.state.as_str())
    }
}

impl Node {
    fn start(program: &Program, cores: &[usize]) -> Result<Self, Trouble> {
        let process = Process::start(program, cores)?;
        let control = process.connect()?;
        let mut node = Self { process, control, id: String::new() };
        node.id = node.text("CLUSTER MYID")?;
        Ok(node)
    }

    /// Where it serves clients.
    pub fn port(&self) -> u16 {
        self.process.port
    }

    /// A new connection to it.
    pub fn connect(&self) -> Result<Connection, Trouble> {
        self.process.connect()
    }

    /// One command on the connection that the show keeps for itself; errors of the node are troubles.
    pub fn ask(&mut self, line: &str) -> Result<Value, Trouble> {
        let reply = self.control.ask_line(line);
        self.judge(line, reply)
    }

    /// Several commands at once.
    pub fn ask_all(&mut self, lines: &[String]) -> Result<Vec<Value>, Trouble> {
        lines.iter().for_each(|line| self.control.queue(&line.split_whitespace().collect::<Vec<_>>()));
        if let Err(e) = self.control.send() {
            return Err(self.process.trouble(&format!("{e}")));
        }
        lines
            .iter()
            .map(|line| {
                let reply = self.control.receive();
                self.judge(line, reply)
            })
            .collect()
    }

    /// One command whose reply is text.
    pub fn text(&mut self, line: &str) -> Result<String, Trouble> {
        let reply = self.ask(line)?;
        let bytes = reply.as_bytes().ok_or_else(|| self.process.trouble(&format!("{line}: {reply:?}")))?;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    /// A field of INFO.
    pub fn info(&mut self, section: &str, field: &str) -> Result<Option<String>, Trouble> {
        let text = self.text(&format!("INFO {section}"))?;
        let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        Ok(value.map(str::to_owned))
    }

    /// The operating system's number of the server itself.
    pub fn server_pid(&mut self) -> Result<u32, Trouble> {
        let pid = self.info("server", "process_id")?.and_then(|pid| pid.parse().ok());
        pid.ok_or_else(|| self.process.trouble("INFO does not tell its process_id"))
    }

    /// How many keys it serves.
    pub fn keys(&mut self) -> Result<u64, Trouble> {
        let reply = self.ask("DBSIZE")?;
        Ok(reply.as_int().unwrap_or_default() as u64)
    }

    /// Its newest `n` slot migrations, the newest first.
    pub fn jobs(&mut self, n: usize) -> Result<Vec<Job>, Trouble> {
        let reply = self.ask("CLUSTER GETSLOTMIGRATIONS")?;
        let text = |job: &Value, name: &str| {
            let bytes = job.field(name).and_then(Value::as_bytes).unwrap_or_default();
            String::from_utf8_lossy(bytes).into_owned()
        };
        let job = |job| Job {
            operation: text(job, "operation"),
            state: text(job, "state"),
            message: text(job, "message"),
        };
        Ok(reply.elements().unwrap_or_default().iter().take(n).map(job).collect())
    }

    /// How long its last job held writes to the moving slots, in milliseconds; only Whimbrel says.
    pub fn last_pause_ms(&mut self) -> Result<Option<f64>, Trouble> {
        Ok(self.info("stats", "slot_migration_last_pause_ms")?.and_then(|ms| ms.parse().ok()))
    }

    /// Starts to move slots to the node `target`.
    pub fn migrate(&mut self, slots: &[SlotRange], target: &str) -> Result<(), Trouble> {
        self.ask(&format!("CLUSTER MIGRATESLOTS SLOTSRANGE{} NODE {target}", list(slots))).map(drop)
    }

    fn judge(&self, line: &str, reply: io::Result<Value>) -> Result<Value, Trouble> {
        let line: String = line.chars().take(80).collect();
        match reply {
            Ok(Value::Error(error)) => Err(self.process.trouble(&format!("{line}: {error}"))),
            Ok(reply) => Ok(reply),
            Err(e) => Err(self.process.trouble(&format!("{line}: {e}"))),
        }
    }

    /// What it believes about the cluster: each node's name with its slots.
    fn belief(&mut self) -> Result<BTreeSet<String>, Trouble> {
        let text = self.text("CLUSTER NODES")?;
        let of = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            format!("{} {}", words[0], words.get(8..).unwrap_or_default().join(" "))
        };
        Ok(text.lines().map(of).collect())
    }
}

impl Cluster {
    /// Starts one node per share of the slots, on these cores, and waits until all agree that the cluster serves.
    pub fn start(
        program: &Program,
        shares: &[Vec<SlotRange>],
        cores: &[Vec<usize>],
    ) -> Result<Self, Trouble> {
        let cores = |i: usize| cores.get(i).map_or(&[][..], Vec::as_slice);
        let nodes = (0..shares.len()).map(|i| Node::start(program, cores(i)));
        let mut cluster = Self { nodes: nodes.collect::<Result<_, _>>()? };
        for (at, share) in shares.iter().enumerate() {
            cluster.nodes[at].ask(&format!("CLUSTER SET-CONFIG-EPOCH {}", at + 1))?;
            if !share.is_empty() {
                cluster.nodes[at].ask(&format!("CLUSTER ADDSLOTSRANGE{}", list(share)))?;
            }
        }
        let ports: Vec<u16> = cluster.nodes.iter().map(Node::port).collect();
        for port in &ports[1..] {
            cluster.nodes[0].ask(&format!("CLUSTER MEET 127.0.0.1 {port}"))?;
        }
        cluster.await_agreement()?;
        Ok(cluster)
    }

    /// Waits until all nodes say that the cluster serves and believe the same about all slots.
    pub fn await_agreement(&mut self) -> Result<(), Trouble> {
        let end = Instant::now() + AGREE;
        while !self.agrees()? {
            if Instant::now() > end {
                let text = self.nodes[0].text("CLUSTER NODES")?;
                return Err(format!(
                    "the nodes do not agree after {} s; the first one says:\n{text}",
                    AGREE.as_secs()
                ));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn agrees(&mut self) -> Result<bool, Trouble> {
        let count = self.nodes.len();
        let first = self.nodes[0].belief()?;
        for node in &mut self.nodes {
            let serves = node.text("CLUSTER INFO")?.contains("cluster_state:ok");
            if !serves || node.belief()? != first {
                return Ok(false);
            }
        }
        Ok(first.len() == count)
    }
}

/// ` 0 99 200 299`: ranges as CLUSTER commands take them.
fn list(slots: &[SlotRange]) -> String {
    slots.iter().map(|range| format!(" {} {}", range.first, range.last)).collect()
}
