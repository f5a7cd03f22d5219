//! A load that costs its maker little: commands are encoded before, replies are only counted.
//!
//! One thread, one batch of pipelined commands under way per connection; the next is sent when the last byte of its
//! replies is here. All replies must have the same length, as `+OK` and values of one size have.

use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::common::Trouble;
use crate::common::figures::us;

/// Without any reply for so long, the server is given up.
const PATIENCE: Duration = Duration::from_secs(60);
const READ: usize = 256 * 1024;

/// Where batches of commands come from.
pub trait Batches {
    /// The next one; [`None`] when there are no more.
    fn next(&mut self) -> Option<Rc<Vec<u8>>>;
    /// Bytes of all replies to a batch, and what the first of them is.
    fn replies(&self) -> (usize, u8);
}

/// Batches made before, again and again.
pub struct Ring {
    /// At least one.
    pub batches: Vec<Rc<Vec<u8>>>,
    /// See [`Batches::replies`].
    pub replies: (usize, u8),
    /// Which is next.
    pub at: usize,
}

impl Batches for Ring {
    fn next(&mut self) -> Option<Rc<Vec<u8>>> {
        self.at = (self.at + 1) % self.batches.len();
        Some(self.batches[self.at].clone())
    }

    fn replies(&self) -> (usize, u8) {
        self.replies
    }
}

/// Connections to one server.
pub struct Lean {
    poll: Poll,
    links: Vec<Link>,
    buffer: Vec<u8>,
    /// What was done; the caller may set it back.
    pub score: Score,
}

/// What was done.
#[derive(Default)]
pub struct Score {
    /// Batches whose replies are here.
    pub batches: u64,
    /// How long each took from its sending, in microseconds.
    pub waits: Vec<u32>,
}

struct Link {
    stream: TcpStream,
    batch: Rc<Vec<u8>>,
    sent: usize,
    /// Whether the first byte of the replies is here.
    answered: bool,
    missing: usize,
    begun: Instant,
}

impl Lean {
    /// Connects so many times.
    pub fn open(port: u16, connections: usize) -> Result<Self, Trouble> {
        let trouble = |e: io::Error| format!("connecting to port {port}: {e}");
        let poll = Poll::new().map_err(trouble)?;
        let mut links = Vec::with_capacity(connections);
        for token in 0..connections {
            let stream = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(trouble)?;
            stream.set_nodelay(true).map_err(trouble)?;
            stream.set_nonblocking(true).map_err(trouble)?;
            let mut stream = TcpStream::from_std(stream);
            let both = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut stream, Token(token), both).map_err(trouble)?;
            let begun = Instant::now();
            links.push(Link { stream, batch: Rc::default(), sent: 0, answered: true, missing: 0, begun });
        }
        Ok(Self { poll, links, buffer: vec![0; READ], score: Score::default() })
    }

    /// Sends batches until there are no more or `over` says so, and waits for the replies to all. `over` sees the
    /// score often.
    pub fn run(
        &mut self,
        batches: &mut dyn Batches,
        over: &mut dyn FnMut(&mut Score) -> Result<bool, Trouble>,
    ) -> Result<(), Trouble> {
        let (replies, first) = batches.replies();
        let mut events = Events::with_capacity(256);
        let mut idle = 0;
        for link in &mut self.links {
            idle += usize::from(!link.next(batches, replies)?);
        }
        let mut ending = false;
        while idle < self.links.len() {
            self.poll.poll(&mut events, Some(PATIENCE)).map_err(|e| format!("waiting for replies: {e}"))?;
            if events.is_empty() {
                return Err(format!("no reply for {PATIENCE:?}: are replies not {replies} bytes per batch?"));
            }
            for event in &events {
                let link = &mut self.links[event.token().0];
                if event.is_writable() {
                    link.send()?;
                }
                if link.missing > 0 && link.receive(&mut self.buffer, first)? {
                    self.score.batches += 1;
                    self.score.waits.push(us(link.begun.elapsed()));
                    idle += usize::from(ending || !link.next(batches, replies)?);
                }
            }
            ending = ending || over(&mut self.score)?;
        }
        Ok(())
    }
}

impl Link {
    /// Sends the next batch; whether there is one.
    fn next(&mut self, batches: &mut dyn Batches, replies: usize) -> Result<bool, Trouble> {
        let Some(batch) = batches.next() else { return Ok(false) };
        (self.batch, self.sent, self.answered, self.missing) = (batch, 0, false, replies);
        self.begun = Instant::now();
        self.send().map(|()| true)
    }

    fn send(&mut self) -> Result<(), Trouble> {
        while self.sent < self.batch.len() {
            match self.stream.write(&self.batch[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(format!("sending commands: {e}")),
            }
        }
        Ok(())
    }

    /// Reads what is here; whether that was the last of the replies.
    fn receive(&mut self, buffer: &mut [u8], first: u8) -> Result<bool, Trouble> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Err("the server closed a connection".into()),
                Ok(n) => {
                    let wrong = !self.answered && buffer[0] != first;
                    if wrong || n > self.missing {
                        let text = String::from_utf8_lossy(&buffer[..n.min(100)]);
                        return Err(format!("a reply that was not expected: {text}"));
                    }
                    self.missing -= n;
                    self.answered = true;
                    if self.missing == 0 {
                        return Ok(true);
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) => return Err(format!("reading replies: {e}")),
            }
        }
    }
}
