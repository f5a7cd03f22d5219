//! Blocking clients: one connection, and a router that follows redirects.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use whimbrel_core::slots::{SLOTS, Slot};
use whimbrel_core::wire::resp::{Value, encode_command};

/// How long one reply may take, and how long a command may be redirected.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection to one node.
pub struct Connection {
    stream: TcpStream,
    unsent: Vec<u8>,
    unread: Vec<u8>,
    /// How much of `unread` has been read.
    taken: usize,
}

impl Connection {
    /// Connects to a port on loopback.
    pub fn open(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, unsent: Vec::new(), unread: Vec::new(), taken: 0 })
    }

    /// One command, one reply.
    pub fn ask<W: AsRef<[u8]>>(&mut self, words: &[W]) -> io::Result<Value> {
        self.queue(words);
        self.send()?;
        self.receive()
    }

    /// A command given as words with blanks between.
    pub fn ask_line(&mut self, line: &str) -> io::Result<Value> {
        self.ask(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// Adds a command to those that [`send`](Self::send) sends.
    pub fn queue<W: AsRef<[u8]>>(&mut self, words: &[W]) {
        // Commands of the shows have few words; longer ones pay for a list.
        match words {
            [a, b, c] => encode_command(&mut self.unsent, &[a.as_ref(), b.as_ref(), c.as_ref()]),
            words => {
                let words: Vec<&[u8]> = words.iter().map(AsRef::as_ref).collect();
                encode_command(&mut self.unsent, &words);
            }
        }
    }

    /// Sends what is queued.
    pub fn send(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.unsent)?;
        self.unsent.clear();
        Ok(())
    }

    /// Reads the next reply.
    pub fn receive(&mut self) -> io::Result<Value> {
        loop {
            match Value::parse(&self.unread[self.taken..]) {
                Ok(Some((value, len))) => {
                    self.taken += len;
                    if self.taken == self.unread.len() {
                        self.unread.clear();
                        self.taken = 0;
                    }
                    return Ok(value);
                }
                Ok(None) => self.read_more()?,
                Err(e) => return Err(io::Error::new(io::ErrorKind::InvalidData, e.to_string())),
            }
        }
    }

    fn read_more(&mut self) -> io::Result<()> {
        self.unread.drain(..self.taken);
        self.taken = 0;
        let mut part = [0; 16 * 1024];
        match self.stream.read(&mut part)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            n => {
                self.unread.extend_from_slice(&part[..n]);
                Ok(())
            }
        }
    }
}

/// A client of the whole cluster with one connection per node, which learns the owners of slots from redirects.
pub struct Router {
    owners: Vec<u16>,
    connections: HashMap<u16, Connection>,
    /// Redirects followed so far.
    pub redirects: u64,
}

impl Router {
    /// A client that knows one node, by its port.
    pub fn new(entry: u16) -> Self {
        Self { owners: vec![entry; SLOTS], connections: HashMap::new(), redirects: 0 }
    }

    /// Runs a command about a key of `slot`. A reply that is an error of another kind than a redirect is returned.
    pub fn ask<W: AsRef<[u8]>>(&mut self, slot: Slot, words: &[W]) -> io::Result<Value> {
        let end = Instant::now() + PATIENCE;
        let mut port = self.owners[slot.index()];
        let mut asking = false;
        loop {
            let connection = self.connection(port)?;
            if asking {
                connection.ask(&["ASKING"])?;
            }
            let reply = connection.ask(words)?;
            let Some(error) = reply.as_error() else { return Ok(reply) };
            let mut parts = error.split(' ');
            match parts.next() {
                Some(kind @ ("MOVED" | "ASK")) => {
                    let to = parts.nth(1).and_then(|address| address.rsplit(':').next());
                    port = to.and_then(|port| port.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
                    asking = kind == "ASK";
                    self.redirects += 1;
                    if !asking {
                        self.owners[slot.index()] = port;
                    }
                }
                Some("TRYAGAIN" | "CLUSTERDOWN" | "LOADING") => thread::sleep(Duration::from_millis(1)),
                _ => return Ok(reply),
            }
            if Instant::now() > end {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("redirected without end: {reply:?}"),
                ));
            }
        }
    }

    fn connection(&mut self, port: u16) -> io::Result<&mut Connection> {
        Ok(match self.connections.entry(port) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(new) => new.insert(Connection::open(port)?),
        })
    }
}
