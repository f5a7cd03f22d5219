//! A toll house in front of a node's client port: other connections pass, those of slot migrations pass as far as
//! the test wants, so that a job can be looked at in any of its states.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use super::{Cluster, Node, eventually};

/// What passes in one direction of migration links.
#[derive(Default)]
struct Rule {
    /// Bytes that may still pass; `None`: all.
    allowance: Option<usize>,
    /// Nothing passes from the read on that brings this word.
    stop_at: Option<&'static str>,
    /// Links are closed.
    cut: bool,
}

/// One direction.
#[derive(Default)]
pub struct Gate {
    rule: Mutex<Rule>,
    changed: Condvar,
}

impl Gate {
    /// Lets no more than this many bytes pass.
    pub fn allow(&self, bytes: usize) {
        self.change(|rule| rule.allowance = Some(bytes));
    }

    /// Lets everything pass until a message with this word comes.
    pub fn stop_at(&self, word: &'static str) {
        self.change(|rule| rule.stop_at = Some(word));
    }

    /// Lets everything pass.
    pub fn open(&self) {
        self.change(|rule| *rule = Rule::default());
    }

    fn change(&self, change: impl FnOnce(&mut Rule)) {
        change(&mut self.rule.lock().expect("a rule"));
        self.changed.notify_all();
    }

    /// Waits until some of `bytes` may pass: how many; `None` when the link is cut.
    fn pass(&self, bytes: &[u8]) -> Option<usize> {
        let mut rule = self.rule.lock().expect("a rule");
        loop {
            if rule.cut {
                return None;
            }
            let stops = |word: &str| bytes.windows(word.len()).any(|w| w == word.as_bytes());
            if rule.stop_at.is_some_and(stops) {
                rule.allowance = Some(0);
            }
            match &mut rule.allowance {
                None => return Some(bytes.len()),
                Some(left) if *left > 0 => {
                    let count = bytes.len().min(*left);
                    *left -= count;
                    return Some(count);
                }
                Some(_) => rule = self.changed.wait(rule).expect("a rule"),
            }
        }
    }
}

#[derive(Default)]
struct Shared {
    to_target: Gate,
    to_source: Gate,
    closed: AtomicBool,
}

/// The toll house; ends when dropped.
pub struct Toll {
    port: u16,
    shared: Arc<Shared>,
}

impl Toll {
    /// Builds it in front of a node, whose announced port it becomes.
    pub fn build(cluster: &Cluster, at: usize) -> Self {
        let node = &cluster.nodes[at];
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let toll = Self { port, shared: Arc::default() };
        let (shared, to) = (toll.shared.clone(), node.port());
        thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.closed.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(stream), shared) = (stream, shared.clone()) else { continue };
                thread::spawn(move || serve(stream, to, &shared));
            }
        });
        node.ok(&format!("CONFIG SET cluster-announce-port {port}"));
        let id = node.id();
        eventually("the new port is known to all", || {
            let knows = |other: &Node| {
                let address = format!(":{port}@");
                other.line_about(&id).is_some_and(|line| line.address.contains(&address))
            };
            if cluster.nodes.iter().all(knows) { Ok(()) } else { Err("not to all") }
        });
        toll
    }

    /// What a source sends to the node it stands in front of.
    pub fn to_target(&self) -> &Gate {
        &self.shared.to_target
    }

    /// What the node sends to a source.
    pub fn to_source(&self) -> &Gate {
        &self.shared.to_source
    }

    /// Lets everything pass in both directions.
    pub fn open(&self) {
        self.to_target().open();
        self.to_source().open();
    }

    /// Whether [`cut`](Self::cut) was called and [`open`](Self::open) was not.
    pub fn is_cut(&self) -> bool {
        self.to_target().rule.lock().expect("a rule").cut
    }

    /// Closes all migration links.
    pub fn cut(&self) {
        self.to_target().change(|rule| rule.cut = true);
        self.to_source().change(|rule| rule.cut = true);
    }
}

impl Drop for Toll {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Relaxed);
        self.cut();
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

fn serve(mut client: TcpStream, to: u16, shared: &Arc<Shared>) {
    let Ok(mut node) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)) else { return };
    let _ = (client.set_nodelay(true), node.set_nodelay(true));
    // Only a source begins with AUTH or ESTABLISH in this form.
    let mut first = [0; 4096];
    let Ok(count @ 1..) = client.read(&mut first) else { return };
    let head = &first[..count];
    let is_migration = head.windows(9).any(|w| w == b"SYNCSLOTS") || head.windows(4).any(|w| w == b"AUTH");
    if node.write_all(head).is_err() {
        return;
    }
    let (Ok(mut answers), Ok(mut to_client)) = (node.try_clone(), client.try_clone()) else { return };
    let back = shared.clone();
    thread::spawn(move || carry(&mut answers, &mut to_client, is_migration.then_some(&back.to_source)));
    carry(&mut client, &mut node, is_migration.then_some(&shared.to_target));
}

fn carry(from: &mut TcpStream, to: &mut TcpStream, gate: Option<&Gate>) {
    let mut buffer = vec![0; 64 * 1024];
    'reading: while let Ok(count @ 1..) = from.read(&mut buffer) {
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            let Some(pass) = gate.map_or(Some(rest.len()), |gate| gate.pass(rest)) else { break 'reading };
            if to.write_all(&rest[..pass]).is_err() {
                break 'reading;
            }
            rest = &rest[pass..];
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
