//! The tool that operators use: `valkey-cli --cluster`.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::Node;
use crate::peer::{Folder, tool};

/// How long one call may take.
const LIMIT: Duration = Duration::from_secs(60);

/// The option that has slots moved by atomic migrations instead of key by key.
pub const ATOMIC: &str = "--cluster-use-atomic-slot-migration";

/// An installed valkey-cli.
pub struct Cli(PathBuf);

/// What a call printed, and whether it said that all went well.
#[derive(Debug)]
pub struct Said {
    /// Standard output and standard error.
    pub text: String,
    /// Whether its exit status was 0.
    pub success: bool,
}

impl Cli {
    /// The tool; `None` means: skip the test.
    pub fn find() -> Option<Self> {
        tool("valkey-cli").map(Self)
    }

    /// redis-cli, which does the same for Redis; `None` means: skip the test.
    pub fn find_redis() -> Option<Self> {
        tool("redis-cli").map(Self)
    }

    /// Runs `valkey-cli <line>` to its end, words separated by blanks.
    pub fn run(&self, line: &str) -> Said {
        let folder = Folder::new();
        let path = folder.path().join("said");
        let out = File::create(&path).expect("a file for what it says");
        let mut child = Command::new(&self.0)
            .args(line.split_whitespace())
            .stdin(Stdio::null())
            .stderr(out.try_clone().expect("a second handle"))
            .stdout(out)
            .spawn()
            .expect("valkey-cli starts");
        let end = Instant::now() + LIMIT;
        loop {
            if let Some(status) = child.try_wait().expect("a process to ask about") {
                let text = fs::read_to_string(path).unwrap_or_default();
                return Said { text, success: status.success() };
            }
            if Instant::now() > end {
                let _ = child.kill();
                let _ = child.wait();
                panic!("valkey-cli {line}: no end:\n{}", fs::read_to_string(path).unwrap_or_default());
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Runs `valkey-cli --cluster <line>`, which has to succeed without a word of error.
    pub fn cluster(&self, line: &str) -> String {
        let said = self.run(&format!("--cluster {line}"));
        // Functions do not exist yet, which the tool takes for an old server.
        let normal = |line: &&str| !line.contains("Failed retrieving Functions");
        let complaint = said.text.lines().filter(normal).find(|l| l.contains("[ERR]") || l.contains("ERR "));
        assert!(said.success && complaint.is_none(), "valkey-cli --cluster {line}:\n{}", said.text);
        said.text
    }

    /// `--cluster create` of primaries only.
    pub fn create(&self, nodes: &[Node]) -> String {
        let addresses: Vec<String> = nodes.iter().map(Node::address).collect();
        let text = self.cluster(&format!("create {} --cluster-yes", addresses.join(" ")));
        assert!(text.contains("[OK] All nodes agree about slots configuration."), "{text}");
        assert!(text.contains("[OK] All 16384 slots covered."), "{text}");
        text
    }

    /// `--cluster reshard` of so many slots from one node to another, told to `entry`.
    pub fn reshard(&self, entry: &Node, from: &str, to: &str, count: usize, more: &str) -> String {
        self.cluster(&format!(
            "reshard {} --cluster-from {from} --cluster-to {to} --cluster-slots {count} --cluster-yes {more}",
            entry.address()
        ))
    }

    /// `--cluster check`, which has to find nothing.
    pub fn check(&self, node: &Node) -> String {
        let text = self.cluster(&format!("check {}", node.address()));
        assert!(text.contains("[OK] All nodes agree about slots configuration."), "{text}");
        assert!(text.contains("[OK] All 16384 slots covered."), "{text}");
        assert!(!text.contains("[WARNING]"), "{text}");
        text
    }
}
