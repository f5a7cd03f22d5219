//! A cluster client: sends each command to the owner of its slot and goes where it is sent.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use whimbrel_core::slots::Slot;

use super::PATIENCE;
use crate::peer::{Client, Reply, encode};

/// A blocking cluster client with one connection per node.
pub struct Router {
    entry: u16,
    owners: HashMap<u16, u16>,
    connections: HashMap<u16, (Client, u32)>,
    /// How many redirections it has followed.
    pub redirections: u64,
}

impl Router {
    /// A client that knows one node.
    pub fn new(entry: u16) -> Self {
        Self { entry, owners: HashMap::new(), connections: HashMap::new(), redirections: 0 }
    }

    /// Runs a command whose first argument is its key, in a database. An error means that a connection broke and nobody
    /// knows whether the command was executed.
    pub fn ask(&mut self, db: u32, words: &[&str]) -> io::Result<Reply> {
        let slot = Slot::of(words[1].as_bytes()).number();
        let end = Instant::now() + PATIENCE;
        let mut port = *self.owners.get(&slot).unwrap_or(&self.entry);
        let mut asking = false;
        loop {
            let reply = self.ask_at(port, db, asking, words)?;
            asking = false;
            let Reply::Error(text) = &reply else { return Ok(reply) };
            let mut parts = text.split(' ');
            match parts.next() {
                Some(kind @ ("MOVED" | "ASK")) => {
                    self.redirections += 1;
                    let to = parts.nth(1).and_then(|a| a.rsplit(':').next()).and_then(|p| p.parse().ok());
                    port = to.unwrap_or_else(|| panic!("an address in {text}"));
                    if kind == "ASK" {
                        asking = true;
                    } else {
                        self.owners.insert(slot, port);
                    }
                }
                Some("CLUSTERDOWN" | "TRYAGAIN" | "LOADING") => thread::sleep(Duration::from_millis(20)),
                _ => return Ok(reply),
            }
            assert!(Instant::now() < end, "{words:.60?}: no end of redirections: {reply:?}");
        }
    }

    fn ask_at(&mut self, port: u16, db: u32, asking: bool, words: &[&str]) -> io::Result<Reply> {
        let (client, selected) = match self.connections.entry(port) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert((Client::connect(port)?, 0)),
        };
        let result = (|| {
            if *selected != db {
                let reply = client.try_ask(&["SELECT", &db.to_string()])?;
                assert!(reply.is("OK"), "SELECT {db}: {reply:?}");
                *selected = db;
            }
            if asking {
                client.send(&encode(&["ASKING"]))?;
            }
            client.send(&encode(words))?;
            if asking {
                client.read()?;
            }
            client.read()
        })();
        if result.is_err() {
            self.connections.remove(&port);
            self.owners.retain(|_, owner| *owner != port);
        }
        result
    }
}
