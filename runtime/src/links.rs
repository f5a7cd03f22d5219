//! The sockets of all links, by slot of a table and by the names the machines know.

use std::collections::HashMap;
use std::io::{self, IoSlice, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use whimbrel_core::action::{MIGRATION_BUFFER, Purpose};
use whimbrel_core::ids::{LinkId, ShardIndex};

use crate::machine::Which;

/// Size of the one buffer that all links are read into.
pub(crate) const SCRATCH: usize = 64 * 1024;

/// A link's number holds its slot in this many low bits, so that its socket is found without a search.
const SLOT_BITS: u32 = 24;

/// A connected socket.
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(stream) => stream,
            Self::Unix(stream) => stream,
        }
    }

    /// Reads what is there into `buffer`.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }

    /// Sends slices in one call, as far as there is room.
    pub(crate) fn send(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        // The usual reply is one slice, for which the kernel has a shorter way.
        match self {
            Self::Tcp(stream) if slices.len() == 1 => stream.write(&slices[0]),
            Self::Tcp(stream) => stream.write_vectored(slices),
            Self::Unix(stream) => stream.write_vectored(slices),
        }
    }

    /// Sets the socket up for a purpose.
    pub(crate) fn tune(&self, purpose: Purpose) {
        if let (Self::Tcp(stream), Purpose::Migration) = (self, purpose) {
            // A kernel that refuses costs speed, not correctness.
            let socket = SockRef::from(stream);
            let _ = socket.set_send_buffer_size(MIGRATION_BUFFER);
            let _ = socket.set_recv_buffer_size(MIGRATION_BUFFER);
        }
    }

    /// Probes an idle peer every `seconds`; 0: never.
    pub(crate) fn keep_alive(&self, seconds: u32) {
        if let Self::Tcp(stream) = self
            && seconds > 0
        {
            // Three probes in the time that one would have taken, then the peer is gone.
            let interval = Duration::from_secs((seconds / 3).max(1).into());
            let idle = Duration::from_secs(seconds.into());
            let probes = TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(3);
            let _ = SockRef::from(stream).set_tcp_keepalive(&probes);
        }
    }
}

/// What a socket is busy with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// It is being connected.
    Connecting,
    /// Bytes go both ways.
    Open,
    /// It is sent what its outbox holds, then closed.
    Closing,
}

/// One link.
pub(crate) struct Conn {
    pub(crate) stream: Stream,
    pub(crate) which: Which,
    pub(crate) link: LinkId,
    pub(crate) phase: Phase,
    /// In the list of links to flush.
    pub(crate) dirty: bool,
    /// In the list of links to read on.
    pub(crate) unread: bool,
    /// The kernel took no more bytes; it will say when it does again.
    pub(crate) full: bool,
    /// The kernel is asked to say so.
    told_when_writable: bool,
    /// The machine wants nothing from it for now.
    pub(crate) paused: bool,
    /// The peer has sent its last byte: reading goes on to the end of the stream, however short the reads.
    pub(crate) ending: bool,
    /// How many bytes are read at a time into the buffer that all links share.
    pub(crate) share: usize,
    /// What was read from it before it went to another thread, and is to be heard there.
    pub(crate) unheard: Vec<u8>,
}

struct Slot {
    /// Conns this slot has held; makes numbers of links unique.
    held: u64,
    conn: Option<Conn>,
}

/// All links of the process.
pub(crate) struct Links {
    registry: Registry,
    shard: ShardIndex,
    /// Token of slot 0.
    first_token: usize,
    slots: Vec<Slot>,
    free: Vec<usize>,
    dialed: HashMap<(Which, LinkId), usize>,
    /// Slots with bytes to send.
    pub(crate) dirty: Vec<usize>,
    /// Slots with bytes to read of which the kernel will not speak again.
    pub(crate) unread: Vec<usize>,
}

impl Links {
    /// No links; their tokens will begin at `first_token`, and those of the data plane are links of this shard.
    pub(crate) fn new(registry: Registry, first_token: usize, shard: ShardIndex) -> Self {
        Self {
            registry,
            shard,
            first_token,
            slots: Vec::new(),
            free: Vec::new(),
            dialed: HashMap::new(),
            dirty: Vec::new(),
            unread: Vec::new(),
        }
    }

    /// The slot that an event is about.
    pub(crate) fn slot_of_token(&self, token: Token) -> usize {
        token.0 - self.first_token
    }

    /// The link in a slot, if there is one.
    pub(crate) fn get(&mut self, slot: usize) -> Option<&mut Conn> {
        self.slots.get_mut(slot)?.conn.as_mut()
    }

    /// The slot of a link, if it still exists.
    pub(crate) fn find(&self, which: Which, link: LinkId) -> Option<usize> {
        if link.is_dialed() {
            return self.dialed.get(&(which, link)).copied();
        }
        let slot = link.number() as usize & ((1 << SLOT_BITS) - 1);
        let conn = self.slots.get(slot)?.conn.as_ref()?;
        (conn.link == link && conn.which == which).then_some(slot)
    }

    /// Takes in an accepted socket; its name.
    pub(crate) fn accept(&mut self, which: Which, stream: Stream) -> io::Result<LinkId> {
        let slot = self.free_slot()?;
        let link = LinkId::accepted((self.slots[slot].held << SLOT_BITS) | slot as u64).of(self.shard);
        self.occupy(slot, which, link, stream, Phase::Open)?;
        Ok(link)
    }

    /// Begins to connect.
    pub(crate) fn connect(
        &mut self,
        which: Which,
        link: LinkId,
        to: SocketAddr,
        from: Option<IpAddr>,
        purpose: Purpose,
    ) -> io::Result<()> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if let Some(from) = from {
            socket.bind(&SocketAddr::new(from, 0).into())?;
        }
        if purpose == Purpose::Migration {
            // Before the handshake, which fixes the scale of the window.
            let _ = socket.set_send_buffer_size(MIGRATION_BUFFER);
            let _ = socket.set_recv_buffer_size(MIGRATION_BUFFER);
        }
        match socket.connect(&to.into()) {
            Ok(()) => {}
            Err(e) if e.raw_os_error() == Some(nix::errno::Errno::EINPROGRESS as i32) => {}
            Err(e) => return Err(e),
        }
        let slot = self.free_slot()?;
        let stream = Stream::Tcp(TcpStream::from_std(socket.into()));
        self.occupy(slot, which, link, stream, Phase::Connecting)?;
        self.dialed.insert((which, link), slot);
        Ok(())
    }

    /// Forgets the link in a slot and closes its socket.
    pub(crate) fn remove(&mut self, slot: usize) {
        let Some(mut conn) = self.slots[slot].conn.take() else { return };
        let _ = self.registry.deregister(conn.stream.source());
        self.dialed.remove(&(conn.which, conn.link));
        self.free.push(slot);
    }

    /// Takes out a link that another thread will have.
    pub(crate) fn give(&mut self, slot: usize) -> Option<Conn> {
        let mut conn = self.slots.get_mut(slot)?.conn.take()?;
        let _ = self.registry.deregister(conn.stream.source());
        self.free.push(slot);
        Some(conn)
    }

    /// Takes in a link that another thread had; its name here.
    pub(crate) fn adopt(&mut self, conn: Conn) -> io::Result<LinkId> {
        let link = self.accept(conn.which, conn.stream)?;
        if let Some(slot) = self.find(conn.which, link)
            && let Some(adopted) = self.get(slot)
        {
            (adopted.paused, adopted.ending, adopted.share) = (conn.paused, conn.ending, conn.share);
            // What the kernel had announced there it may not announce again.
            self.mark_unread(slot);
        }
        Ok(link)
    }

    /// Puts a link on the list of those with bytes to send.
    pub(crate) fn mark_dirty(&mut self, slot: usize) {
        if let Some(conn) = self.get(slot)
            && !conn.dirty
        {
            conn.dirty = true;
            self.dirty.push(slot);
        }
    }

    /// Puts a link on the list of those with bytes to read, once.
    pub(crate) fn mark_unread(&mut self, slot: usize) {
        if let Some(conn) = self.get(slot)
            && !conn.unread
        {
            conn.unread = true;
            self.unread.push(slot);
        }
    }

    /// The kernel took no more: it is asked to say when it does.
    pub(crate) fn mark_full(&mut self, slot: usize) {
        let token = Token(self.first_token + slot);
        let Some(conn) = self.slots.get_mut(slot).and_then(|s| s.conn.as_mut()) else { return };
        conn.full = true;
        if !conn.told_when_writable {
            let both = Interest::READABLE | Interest::WRITABLE;
            // Once is enough: events come on change only, and a socket that is never full has none.
            conn.told_when_writable = self.registry.reregister(conn.stream.source(), token, both).is_ok();
        }
    }

    /// Slots that hold a link.
    pub(crate) fn occupied(&self) -> impl Iterator<Item = usize> {
        self.slots.iter().enumerate().filter(|(_, s)| s.conn.is_some()).map(|(at, _)| at)
    }

    fn free_slot(&mut self) -> io::Result<usize> {
        if let Some(slot) = self.free.pop() {
            return Ok(slot);
        }
        if self.slots.len() >> SLOT_BITS != 0 {
            return Err(io::Error::other("too many links"));
        }
        self.slots.push(Slot { held: 0, conn: None });
        Ok(self.slots.len() - 1)
    }

    fn occupy(
        &mut self,
        slot: usize,
        which: Which,
        link: LinkId,
        mut stream: Stream,
        phase: Phase,
    ) -> io::Result<()> {
        // A connection that is being made says by becoming writable that it is done.
        let told_when_writable = phase == Phase::Connecting;
        let interest =
            if told_when_writable { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        let token = Token(self.first_token + slot);
        if let Err(e) = self.registry.register(stream.source(), token, interest) {
            self.free.push(slot);
            return Err(e);
        }
        let held = &mut self.slots[slot];
        held.held += 1;
        held.conn = Some(Conn {
            stream,
            which,
            link,
            phase,
            dirty: false,
            unread: false,
            full: false,
            told_when_writable,
            paused: false,
            ending: false,
            share: SCRATCH,
            unheard: Vec::new(),
        });
        Ok(())
    }
}
