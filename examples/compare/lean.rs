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
/// Connections made at most to find one that comes to a certain shard.
const TRIES: usize = 1000;

/// Where batches of commands come from.
pub trait Batches {
    /// The next one for a connection; [`None`] when there are no more.
    fn next(&mut self, link: usize) -> Option<Rc<Vec<u8>>>;
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
    fn next(&mut self, _link: usize) -> Option<Rc<Vec<u8>>> {
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
        let connect = |_| connect(port);
        let streams = (0..connections).map(connect).collect::<io::Result<_>>();
        Self::with(streams.map_err(|e| format!("connecting to port {port}: {e}"))?)
    }

    /// Connects so many times, as often to each of so many shards; the shard that each connection came to.
    pub fn open_at_shards(port: u16, connections: usize, shards: u16) -> Result<(Self, Vec<usize>), Trouble> {
        let (mut streams, mut came_to) = (Vec::new(), Vec::new());
        for at in 0..connections {
            let wanted = at % usize::from(shards);
            // The kernel spreads connections by their ports.
            let found = std::iter::repeat_with(|| {
                let mut stream = connect(port)?;
                let shard = shard_of(&mut stream)?;
                Ok::<_, io::Error>((stream, shard))
            });
            let mut found =
                found.take(TRIES).skip_while(|found| matches!(found, Ok((_, at)) if *at != wanted));
            let Some(found) = found.next() else {
                return Err(format!("no connection came to shard {wanted} of port {port}"));
            };
            let (stream, shard) = found.map_err(|e| format!("connecting to port {port}: {e}"))?;
            streams.push(stream);
            came_to.push(shard);
        }
        Ok((Self::with(streams)?, came_to))
    }

    fn with(streams: Vec<std::net::TcpStream>) -> Result<Self, Trouble> {
        let trouble = |e: io::Error| format!("taking connections in: {e}");
        let poll = Poll::new().map_err(trouble)?;
        let mut links = Vec::with_capacity(streams.len());
        for (token, stream) in streams.into_iter().enumerate() {
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
        for (at, link) in self.links.iter_mut().enumerate() {
            idle += usize::from(!link.next(batches.next(at), replies)?);
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
                    let next = if ending { None } else { batches.next(event.token().0) };
                    idle += usize::from(!link.next(next, replies)?);
                }
            }
            ending = ending || over(&mut self.score)?;
        }
        Ok(())
    }
}

fn connect(port: u16) -> io::Result<std::net::TcpStream> {
    let stream = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The shard that a connection came to: the last thing that CLIENT INFO tells.
fn shard_of(stream: &mut std::net::TcpStream) -> io::Result<usize> {
    stream.write_all(b"CLIENT INFO\r\n")?;
    let mut reply = Vec::new();
    while !reply.ends_with(b"\n\r\n") {
        let mut some = [0; 1024];
        match stream.read(&mut some)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            len => reply.extend_from_slice(&some[..len]),
        }
    }
    let text = String::from_utf8_lossy(&reply);
    let shard = text.split_whitespace().find_map(|field| field.strip_prefix("shard="));
    let shard = shard.and_then(|shard| shard.parse().ok());
    shard.ok_or_else(|| io::Error::other(format!("no shard in {text}")))
}

impl Link {
    /// Sends the next batch; whether there is one.
    fn next(&mut self, batch: Option<Rc<Vec<u8>>>, replies: usize) -> Result<bool, Trouble> {
        let Some(batch) = batch else { return Ok(false) };
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
