//! Where clients and other nodes knock: the listening sockets.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use nix::errno::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use whimbrel_core::config::{BUS_OFFSET, Config, Permissions};
use whimbrel_core::input::Origin;

use crate::links::Stream;
use crate::machine::Which;

/// Connections taken from one listener per turn, so that a storm of them does not stop everything else.
const ACCEPTS: usize = 256;

/// How long a listener is left alone when the process has no file descriptor left.
const RETRY: Duration = Duration::from_millis(100);

enum Socketed {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

/// One listening socket.
struct Listener {
    socket: Socketed,
    which: Which,
    /// Connections may be waiting of which the kernel will not speak again.
    pending: bool,
}

/// All of them; the token of each is its place in the list behind `first_token`.
pub(crate) struct Listeners {
    list: Vec<Listener>,
    first_token: usize,
    /// Set while the process has no file descriptor left.
    stalled: Option<Instant>,
}

/// A port that could not be listened at: what to say, in the words tools know.
pub(crate) type Trouble = String;

impl Listeners {
    /// Listens at all places that the configuration names.
    pub(crate) fn open(config: &Config, registry: &Registry, first_token: usize) -> Result<Self, Trouble> {
        let mut listeners = Self { list: Vec::new(), first_token, stalled: None };
        if config.cluster_enabled && config.cluster_port == 0 && config.port > u16::MAX - BUS_OFFSET {
            return Err(format!(
                "Cluster port number too high: the cluster bus port, the client port plus {BUS_OFFSET}, cannot be above 65535"
            ));
        }
        if config.port != 0 {
            listeners.tcp(config, config.port, Which::Shard, "tcp")?;
        }
        if !config.unixsocket.is_empty() {
            let path = Path::new(&config.dir).join(&config.unixsocket);
            let socket = unix(&path, config)
                .map_err(|e| format!("Failed opening Unix socket: bind: {}", words(&e)))?;
            listeners.list.push(Listener {
                socket: Socketed::Unix(socket, path),
                which: Which::Shard,
                pending: false,
            });
        }
        if config.cluster_enabled {
            listeners.tcp(config, config.bus_port(), Which::Node, "cluster bus")?;
        }
        if listeners.list.is_empty() {
            return Err("Configured to not listen anywhere, exiting.".to_owned());
        }
        for (at, listener) in listeners.list.iter_mut().enumerate() {
            let token = Token(first_token + at);
            match &mut listener.socket {
                Socketed::Tcp(socket) => registry.register(socket, token, Interest::READABLE),
                Socketed::Unix(socket, _) => registry.register(socket, token, Interest::READABLE),
            }
            .map_err(|e| words(&e))?;
        }
        Ok(listeners)
    }

    fn tcp(&mut self, config: &Config, port: u16, which: Which, what: &str) -> Result<(), Trouble> {
        let mut bound = false;
        for name in &config.bind {
            let (optional, address) = address(name);
            let made = address.and_then(|ip| tcp(SocketAddr::new(ip, port), config.tcp_backlog));
            match made {
                Ok(socket) => {
                    bound = true;
                    self.list.push(Listener { socket: Socketed::Tcp(socket), which, pending: false });
                }
                Err(e) if optional && !is_taken(&e) => {
                    tracing::debug!("Not listening at {name}:{port}: {}", words(&e));
                }
                Err(e) => {
                    tracing::warn!(
                        "Warning: Could not create server TCP listening socket {name}:{port}: bind: {}",
                        words(&e)
                    );
                    return Err(format!("Failed listening on port {port} ({what}), aborting."));
                }
            }
        }
        if bound || config.bind.is_empty() {
            return Ok(());
        }
        Err(format!("Failed listening on port {port} ({what}), aborting."))
    }

    /// Whether an event with this token is about a listener.
    pub(crate) fn has(&self, token: Token) -> bool {
        (self.first_token..self.first_token + self.list.len()).contains(&token.0)
    }

    /// How many tokens they take.
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// Somebody knocked.
    pub(crate) fn note(&mut self, token: Token) {
        self.list[token.0 - self.first_token].pending = true;
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
    pub(crate) fn kinds(&self) -> impl Iterator<Item = &'static str> {
        let clients = || self.list.iter().filter(|l| l.which == Which::Shard);
        let tcp = clients().any(|l| matches!(l.socket, Socketed::Tcp(_))).then_some("tcp");
        let unix = clients().any(|l| matches!(l.socket, Socketed::Unix(..))).then_some("unix");
        tcp.into_iter().chain(unix)
    }
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

/// The words of the operating system for what went wrong, without its number.
pub(crate) fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.find(" (os error").map_or(text.clone(), |at| text[..at].to_owned())
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

fn tcp(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // IPv4 has listeners of its own.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(TcpListener::from_std(socket.into()))
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
