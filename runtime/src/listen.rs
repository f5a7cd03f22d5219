//! Where clients and other nodes knock: the listening sockets.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use nix::errno::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use whimbrel_core::config::{BUS_OFFSET, Config, Permissions};
use whimbrel_core::input::Origin;

use crate::failure::words;
use crate::links::Stream;
use crate::machine::Which;

/// Connections taken from one listener per turn, so that a storm of them does not stop everything else.
const ACCEPTS: usize = 256;

/// How long a listener is left alone when the process has no file descriptor left.
const RETRY: Duration = Duration::from_millis(100);

/// Tokens that listeners may take: all addresses of `bind` twice, for clients and for the bus, and a Unix socket.
const TOKENS: usize = 64;

enum Socketed {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

/// One listening socket.
struct Listener {
    socket: Socketed,
    which: Which,
    token: Token,
    /// Connections may be waiting of which the kernel will not speak again.
    pending: bool,
}

/// All of them, and the settings that they follow.
pub struct Listeners {
    list: Vec<Listener>,
    port: u16,
    bind: Vec<String>,
    bus_port: u16,
    first_token: usize,
    /// Threads that take in clients; the others have sockets of their own at the same addresses.
    threads: usize,
    /// Sockets for the other threads that they do not have yet, by thread from the second on.
    for_others: Vec<Vec<TcpListener>>,
    /// Second handles of what the other threads have, to close them from here.
    lent: Vec<Socket>,
    /// Set while the process has no file descriptor left.
    stalled: Option<Instant>,
}

/// A port that could not be listened at: what to say, in the words tools know.
pub type Trouble = String;

impl Listeners {
    /// Listens at all places that the configuration names, with a socket for each of its shards.
    ///
    /// # Errors
    /// When an address cannot be had: the line to say so with.
    pub fn open(config: &Config, registry: &Registry, first_token: usize) -> Result<Self, Trouble> {
        let mut listeners = Self::none(first_token);
        (listeners.port, listeners.bind) = (config.port, config.bind.clone());
        (listeners.bus_port, listeners.threads) = (config.bus_port(), config.shards.into());
        check_bus_port(config)?;
        if config.port != 0 {
            listeners.tcp(config, config.port, Which::Shard, registry)?;
        }
        if !config.unixsocket.is_empty() {
            let path = Path::new(&config.dir).join(&config.unixsocket);
            let socket = unix(&path, config)
                .map_err(|e| format!("Failed opening Unix socket: bind: {}", words(&e)))?;
            listeners.add(Socketed::Unix(socket, path), Which::Shard, registry).map_err(|e| words(&e))?;
        }
        if config.cluster_enabled {
            listeners.tcp(config, config.bus_port(), Which::Node, registry)?;
        }
        if listeners.list.is_empty() {
            return Err("Configured to not listen anywhere, exiting.".to_owned());
        }
        Ok(listeners)
    }

    /// Listens nowhere, until it [takes over](Self::take_over) what the first thread has opened.
    #[must_use]
    pub fn none(first_token: usize) -> Self {
        Self {
            list: Vec::new(),
            port: 0,
            bind: Vec::new(),
            bus_port: 0,
            first_token,
            threads: 1,
            for_others: Vec::new(),
            lent: Vec::new(),
            stalled: None,
        }
    }

    /// What the first thread has opened for others since it was asked last, by thread.
    pub fn for_others(&mut self) -> impl Iterator<Item = (usize, Vec<TcpListener>)> + use<> {
        std::mem::take(&mut self.for_others).into_iter().enumerate().map(|(n, sockets)| (n + 1, sockets))
    }

    /// Takes in clients at these sockets, and at no others.
    pub fn take_over(&mut self, sockets: Vec<TcpListener>, registry: &Registry) {
        self.close(registry, |_| true);
        for socket in sockets {
            if let Err(e) = self.add(Socketed::Tcp(socket), Which::Shard, registry) {
                tracing::warn!("Not listening on all threads: {}", words(&e));
            }
        }
    }

    /// Takes in nobody any more. What the Unix socket leaves in its folder goes later.
    pub(crate) fn close_all(&mut self, registry: &Registry) {
        self.close(registry, |l| matches!(l.socket, Socketed::Tcp(_)));
        self.close_lent();
    }

    fn close_lent(&mut self) {
        self.for_others = (1..self.threads).map(|_| Vec::new()).collect();
        for socket in self.lent.drain(..) {
            // The other handle is in use still, but nobody knocks there from now on.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Listens elsewhere, where that is asked for: clients at another port or other addresses, and the bus at another
    /// port. When that cannot be, everything stays as it was, and the client that asked is told this.
    pub(crate) fn move_to(&mut self, config: &Config, registry: &Registry) -> Result<(), &'static str> {
        let port_moves = config.port != self.port;
        let bus_moves = config.cluster_enabled && config.bus_port() != self.bus_port;
        if !port_moves && !bus_moves && config.bind == self.bind {
            return Ok(());
        }
        let moves = |l: &Listener| match (&l.socket, l.which) {
            (Socketed::Unix(..), _) => false,
            (_, Which::Shard) => true,
            (_, Which::Node) => bus_moves,
        };
        // An address cannot be had together with one that contains it, so the old ones have to go first.
        self.close(registry, moves);
        self.close_lent();
        let mut old = config.clone();
        (old.port, old.bind) = (self.port, self.bind.clone());
        if self.reopen(config, bus_moves, registry).is_ok() {
            (self.port, self.bind, self.bus_port) = (config.port, config.bind.clone(), config.bus_port());
            return Ok(());
        }
        tracing::warn!("Not listening where it was asked for: listening as before.");
        self.close(registry, moves);
        self.close_lent();
        if let Err(trouble) = self.reopen(&old, bus_moves, registry) {
            tracing::error!("{trouble}");
        }
        Err(if port_moves {
            "Unable to listen on this port. Check server logs."
        } else {
            "Failed to bind to specified addresses."
        })
    }

    fn reopen(&mut self, config: &Config, bus: bool, registry: &Registry) -> Result<(), Trouble> {
        check_bus_port(config)?;
        if config.port != 0 {
            self.tcp(config, config.port, Which::Shard, registry)?;
        }
        if bus {
            self.tcp(config, config.bus_port(), Which::Node, registry)?;
        }
        Ok(())
    }

    fn close(&mut self, registry: &Registry, which: impl Fn(&Listener) -> bool) {
        for mut gone in self.list.extract_if(.., |listener| which(listener)) {
            if let Socketed::Tcp(socket) = &mut gone.socket {
                let _ = registry.deregister(socket);
            }
        }
    }

    fn tcp(&mut self, config: &Config, port: u16, which: Which, registry: &Registry) -> Result<(), Trouble> {
        let what = if which == Which::Node { "cluster bus" } else { "tcp" };
        let failed = || format!("Failed listening on port {port} ({what}), aborting.");
        let mut bound = false;
        for name in &config.bind {
            let (optional, address) = address(name);
            let count = if which == Which::Shard { self.threads } else { 1 };
            let made = address.and_then(|ip| tcp(SocketAddr::new(ip, port), config.tcp_backlog, count));
            match made.and_then(|sockets| self.share_out(sockets, which, registry)) {
                Ok(()) => bound = true,
                Err(e) if optional && !is_taken(&e) => {
                    tracing::debug!("Not listening at {name}:{port}: {}", words(&e));
                }
                Err(e) => {
                    tracing::warn!(
                        "Warning: Could not create server TCP listening socket {name}:{port}: bind: {}",
                        words(&e)
                    );
                    return Err(failed());
                }
            }
        }
        if bound || config.bind.is_empty() { Ok(()) } else { Err(failed()) }
    }

    /// Keeps the first of these sockets, and has the others for other threads.
    fn share_out(&mut self, sockets: Vec<Socket>, which: Which, registry: &Registry) -> io::Result<()> {
        let mut sockets = sockets.into_iter();
        if let Some(first) = sockets.next() {
            self.add(Socketed::Tcp(TcpListener::from_std(first.into())), which, registry)?;
        }
        for (n, socket) in sockets.enumerate() {
            self.lent.push(socket.try_clone()?);
            self.for_others.resize_with(self.for_others.len().max(n + 1), Vec::new);
            self.for_others[n].push(TcpListener::from_std(socket.into()));
        }
        Ok(())
    }

    fn add(&mut self, mut socket: Socketed, which: Which, registry: &Registry) -> io::Result<()> {
        let is_free = |token: &Token| self.list.iter().all(|l| l.token != *token);
        let mut tokens = (self.first_token..self.first_token + TOKENS).map(Token);
        let token = tokens.find(is_free).ok_or_else(|| io::Error::other("Too many listeners"))?;
        match &mut socket {
            Socketed::Tcp(socket) => registry.register(socket, token, Interest::READABLE),
            Socketed::Unix(socket, _) => registry.register(socket, token, Interest::READABLE),
        }?;
        self.list.push(Listener { socket, which, token, pending: false });
        Ok(())
    }

    /// Whether an event with this token is about a listener.
    pub(crate) fn has(&self, token: Token) -> bool {
        (self.first_token..self.first_token + TOKENS).contains(&token.0)
    }

    /// The first token that none of them takes.
    pub(crate) fn end(&self) -> usize {
        self.first_token + TOKENS
    }

    /// Somebody knocked, perhaps where nobody listens any more.
    pub(crate) fn note(&mut self, token: Token) {
        if let Some(listener) = self.list.iter_mut().find(|l| l.token == token) {
            listener.pending = true;
        }
    }

    /// When to accept again although nobody knocks; `None` when there is no reason to.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        if !self.list.iter().any(|l| l.pending) {
            return None;
        }
        Some(self.stalled.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now())))
    }

    /// Takes in who knocked, up to a limit per call; whom they want, their socket and where they come from.
    pub(crate) fn accept(&mut self, arrived: &mut Vec<(Which, Stream, Origin)>) {
        if self.stalled.is_some_and(|until| until > Instant::now()) {
            return;
        }
        self.stalled = None;
        for listener in self.list.iter_mut().filter(|l| l.pending) {
            let mut left = ACCEPTS;
            while left > 0 {
                left -= 1;
                match listener.accept() {
                    Ok((stream, origin)) => arrived.push((listener.which, stream, origin)),
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                        listener.pending = false;
                        break;
                    }
                    // It was closed from another thread.
                    Err(e) if e.kind() == io::ErrorKind::InvalidInput => {
                        listener.pending = false;
                        break;
                    }
                    Err(e) if no_descriptor(&e) => {
                        tracing::warn!("Error accepting a client connection: {}", words(&e));
                        self.stalled = Some(Instant::now() + RETRY);
                        return;
                    }
                    // One that is gone again already.
                    Err(_) => {}
                }
            }
        }
    }

    /// What to say when they are open: the kinds of listeners for clients.
    pub fn kinds(&self) -> impl Iterator<Item = &'static str> {
        let clients = || self.list.iter().filter(|l| l.which == Which::Shard);
        let tcp = clients().any(|l| matches!(l.socket, Socketed::Tcp(_))).then_some("tcp");
        let unix = clients().any(|l| matches!(l.socket, Socketed::Unix(..))).then_some("unix");
        tcp.into_iter().chain(unix)
    }
}

/// The bus listens above the clients' port, if it is not told where.
fn check_bus_port(config: &Config) -> Result<(), Trouble> {
    if config.cluster_enabled && config.cluster_port == 0 && config.port > u16::MAX - BUS_OFFSET {
        return Err(format!(
            "Cluster port number too high: the cluster bus port, the client port plus {BUS_OFFSET}, cannot be above \
             65535. Choose a lower port, or set cluster-port."
        ));
    }
    Ok(())
}

impl Drop for Listeners {
    fn drop(&mut self) {
        for listener in &self.list {
            if let Socketed::Unix(_, path) = &listener.socket {
                let _ = fs::remove_file(path);
            }
        }
    }
}

impl Listener {
    fn accept(&self) -> io::Result<(Stream, Origin)> {
        match &self.socket {
            Socketed::Tcp(socket) => {
                let (stream, peer) = socket.accept()?;
                let local = stream.local_addr()?;
                stream.set_nodelay(true)?;
                Ok((Stream::Tcp(stream), Origin::Tcp { peer: unmapped(peer), local: unmapped(local) }))
            }
            Socketed::Unix(socket, _) => {
                let (stream, _) = socket.accept()?;
                Ok((Stream::Unix(stream), Origin::Unix))
            }
        }
    }
}

/// An IPv4 address that came by an IPv6 socket, as IPv4.
pub(crate) fn unmapped(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Reads an entry of `bind`: whether it may fail, and the address.
fn address(name: &str) -> (bool, io::Result<IpAddr>) {
    let (optional, name) = name.strip_prefix('-').map_or((false, name), |rest| (true, rest));
    let ip = match name {
        "*" => Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        "::*" => Ok(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        name => name.parse().or_else(|_| resolve(name)),
    };
    (optional, ip)
}

fn resolve(name: &str) -> io::Result<IpAddr> {
    use std::net::ToSocketAddrs;
    let mut found = (name, 0).to_socket_addrs()?;
    found.next().map(|a| a.ip()).ok_or_else(|| io::Error::other("Name or service not known"))
}

/// So many sockets that listen at one address: the kernel spreads clients over them.
///
/// The first is bound as if it were the only one, which fails where somebody listens already. From then on, and not
/// before, the address may be shared.
fn tcp(address: SocketAddr, backlog: u32, count: usize) -> io::Result<Vec<Socket>> {
    let mut sockets: Vec<Socket> = Vec::with_capacity(count);
    for _ in 0..count {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            // IPv4 has listeners of its own.
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        if !sockets.is_empty() {
            socket.set_reuse_port(true)?;
        }
        socket.bind(&address.into())?;
        if count > 1 {
            socket.set_reuse_port(true)?;
        }
        sockets.push(socket);
    }
    for socket in &sockets {
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    }
    Ok(sockets)
}

fn unix(path: &Path, config: &Config) -> io::Result<UnixListener> {
    // What a process that died has left would be in the way.
    let _ = fs::remove_file(path);
    let socket = UnixListener::bind(path)?;
    SockRef::from(&socket).listen(i32::try_from(config.tcp_backlog).unwrap_or(i32::MAX))?;
    if let Permissions(mode @ 1..) = config.unixsocketperm {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    Ok(socket)
}

/// Whether an address is in use, which is an error even for an optional one.
fn is_taken(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrInUse
}

fn no_descriptor(error: &io::Error) -> bool {
    let out_of = [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM];
    error.raw_os_error().is_some_and(|code| out_of.iter().any(|e| *e as i32 == code))
}
