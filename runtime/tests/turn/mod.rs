//! The event loop with machines made for the test, over real sockets. Every driver includes this file as its own test.

mod long;
mod mail;

use std::collections::{HashMap, VecDeque};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mio::{Poll, Waker};
use whimbrel_core::action::{Action, Actions, Ending, File, Purpose};
use whimbrel_core::config::{Config, Permissions};
use whimbrel_core::ids::{LinkId, Ticket};
use whimbrel_core::input::{Input, Progress};
use whimbrel_core::link::Outbox;
use whimbrel_core::time::{Mono, Now};
use whimbrel_runtime::clock::Clock;
use whimbrel_runtime::files::{Locked, Places};
use whimbrel_runtime::listen::Listeners;
use whimbrel_runtime::machine::{Machine, Machines};
use whimbrel_runtime::mesh::Mesh;
use whimbrel_runtime::start::Prepare;
use whimbrel_runtime::turn::{FIRST, Parts, WAKER};

/// What a machine made for a test works with.
#[derive(Default)]
pub(super) struct Hands {
    pub(super) outboxes: HashMap<LinkId, Outbox>,
    inbox: Vec<u8>,
    deadline: Option<Mono>,
}

type Act = dyn FnMut(&mut Hands, Now, Input<'_>, &mut Actions) -> Progress + Send;

struct Puppet {
    hands: Hands,
    act: Box<Act>,
}

impl Machine for Puppet {
    fn handle(&mut self, now: Now, input: Input<'_>, out: &mut Actions) -> Progress {
        if let Input::Opened { link, .. } | Input::Connected { link, .. } = input {
            self.hands.outboxes.insert(link, Outbox::default());
        }
        let closed = if let Input::Closed { link } = input { Some(link) } else { None };
        let progress = (self.act)(&mut self.hands, now, input, out);
        if let Some(link) = closed {
            self.hands.outboxes.remove(&link);
        }
        progress
    }

    fn poll_timeout(&self) -> Option<Mono> {
        self.hands.deadline
    }

    fn inbox(&mut self, _: LinkId) -> Option<&mut [u8]> {
        (!self.hands.inbox.is_empty()).then_some(&mut self.hands.inbox)
    }

    fn outbox(&mut self, link: LinkId) -> Option<&mut Outbox> {
        self.hands.outboxes.get_mut(&link)
    }

    fn put_off_end(&mut self, _link: LinkId) -> bool {
        false
    }
}

pub(super) fn puppet(
    act: impl FnMut(&mut Hands, Now, Input<'_>, &mut Actions) -> Progress + Send + 'static,
) -> Box<dyn Machine> {
    Box::new(Puppet { hands: Hands::default(), act: Box::new(act) })
}

fn idle() -> Box<dyn Machine> {
    puppet(|_, _, _, _| Progress::Idle)
}

/// An event loop on a thread, ended by `stop` when its node exits on that.
pub(super) struct Running {
    pub(super) config: Config,
    folder: PathBuf,
    thread: Option<JoinHandle<i32>>,
    others: Vec<JoinHandle<i32>>,
    stop: Arc<AtomicBool>,
    waker: Arc<Waker>,
}

pub(super) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn folder() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("whimbrel-turn-{}-{n}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// A shard under test beside a node that ends the process when it is told to.
fn run(shard: Box<dyn Machine>) -> Running {
    run_both(node(), shard)
}

/// A node that ends the process when it is told to.
pub(super) fn node() -> Box<dyn Machine> {
    puppet(|_, _, input, out| {
        if let Input::Terminated { .. } = input {
            out.push(Action::Exit { code: 7, reason: "bye".into() });
        }
        Progress::Idle
    })
}

fn run_both(node: Box<dyn Machine>, shard: Box<dyn Machine>) -> Running {
    run_all(node, vec![shard])
}

/// A thread for each shard, the node on the first.
pub(super) fn run_all(node: Box<dyn Machine>, shards: Vec<Box<dyn Machine>>) -> Running {
    let folder = folder();
    let mut config = Config::default();
    config.port = free_port();
    config.bind = vec!["127.0.0.1".into()];
    config.dir = folder.display().to_string();
    config.unixsocket = "sock".into();
    config.unixsocketperm = Permissions(0o700);
    config.cluster_config_file = "nodes.conf".into();
    config.shards = shards.len() as u16;
    let polls: Vec<Poll> = shards.iter().map(|_| Poll::new().unwrap()).collect();
    let wakers = polls.iter().map(|poll| Arc::new(Waker::new(poll.registry(), WAKER).unwrap()));
    let wakers: Vec<_> = wakers.collect();
    let mut listeners = Listeners::open(&config, polls[0].registry(), FIRST).unwrap();
    let mut for_others = listeners.for_others().map(|(_, sockets)| sockets);
    let (locked, _) = Locked::take(&folder.join("nodes.conf")).unwrap();
    let places = Places { nodes_conf: Some(locked), config: Some(folder.join("a.conf")), users: None };
    let stop = Arc::new(AtomicBool::new(false));
    let (waker, clock) = (wakers[0].clone(), Clock::start());
    let mut first = Some((node, listeners, places, stop.clone()));
    let mut threads = VecDeque::new();
    for ((poll, mesh), shard) in polls.into_iter().zip(Mesh::of(wakers.clone())).zip(shards) {
        let waker = wakers[usize::from(mesh.index().0)].clone();
        let (node, listeners, places, stop) = match first.take() {
            Some((node, listeners, places, stop)) => (Some(node), listeners, places, stop),
            None => {
                let mut listeners = Listeners::none(FIRST);
                listeners.take_over(for_others.next().unwrap(), poll.registry());
                (None, listeners, Places::default(), Arc::default())
            }
        };
        let machines = Machines { node, shard };
        let parts = Parts { machines, mesh, listeners, signals: None, stop, clock, poll };
        let (settings, prepare) = (config.clone(), Prepare { parts, places, waker });
        threads.push_back(thread::spawn(move || super::run(prepare, &settings)));
    }
    Running { config, folder, thread: threads.pop_front(), others: threads.into(), stop, waker }
}

impl Running {
    pub(super) fn client(&self) -> TcpStream {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.config.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    pub(super) fn end(&mut self) -> i32 {
        self.stop.store(true, Ordering::Release);
        self.waker.wake().unwrap();
        let code = self.thread.take().unwrap().join().unwrap();
        self.others.drain(..).for_each(|other| assert_eq!(other.join().unwrap(), code));
        code
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.thread.is_some() && !thread::panicking() {
            self.end();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Bytes that are not the same everywhere.
fn noise(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * i / 7 + i / 251) as u8).collect()
}

fn echo() -> Box<dyn Machine> {
    puppet(|hands, _, input, out| {
        if let Input::Filled { link, bytes } = input {
            hands.outboxes.get_mut(&link).unwrap().write(bytes);
            out.push(Action::Flush { link });
        }
        Progress::Idle
    })
}

#[test]
fn bytes_come_back_whole_whatever_the_sockets_hold() {
    let server = run(echo());
    let clients: Vec<_> = (0..3)
        .map(|n| {
            let mut out = server.client();
            let mut back = out.try_clone().unwrap();
            thread::spawn(move || {
                let sent = noise(5_000_000 + n);
                let expected = sent.clone();
                // Nobody reads for a while, so that every buffer on the way is full.
                let writer = thread::spawn(move || out.write_all(&sent).unwrap());
                thread::sleep(Duration::from_millis(100));
                let mut got = vec![0; expected.len()];
                back.read_exact(&mut got).unwrap();
                assert!(got == expected, "client {n}");
                writer.join().unwrap();
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
}

#[test]
fn what_is_handled_together_is_sent_together() {
    let (tell, told) = mpsc::channel();
    let server = run(puppet(move |hands, _, input, out| {
        match input {
            Input::Filled { link, bytes } => {
                for byte in bytes {
                    hands.outboxes.get_mut(&link).unwrap().push(vec![*byte].into());
                }
                out.push(Action::Flush { link });
                out.push(Action::Flush { link });
            }
            Input::Drained { .. } => tell.send(()).unwrap(),
            _ => {}
        }
        Progress::Idle
    }));
    let mut client = server.client();
    client.write_all(&noise(50)).unwrap();
    client.read_exact(&mut [0; 50]).unwrap();
    told.recv().unwrap();
    drop(server);
    assert_eq!(told.iter().count(), 0, "one send for fifty replies");
}

#[test]
fn a_half_closed_client_gets_its_replies() {
    for _ in 0..50 {
        let server = run(echo());
        let mut client = server.client();
        client.write_all(b"hello").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut got = Vec::new();
        client.read_to_end(&mut got).unwrap();
        assert_eq!(got, b"hello");
    }
}

#[test]
fn a_flushed_close_sends_everything_first() {
    let (tell, told) = mpsc::channel();
    let server = run(puppet(move |hands, _, input, out| {
        match input {
            Input::Opened { link, .. } => {
                hands.outboxes.get_mut(&link).unwrap().push(noise(8_000_000).into());
                out.push(Action::Close { link, ending: Ending::Flushed });
            }
            Input::Filled { .. } => panic!("nothing is read from a link that is closed"),
            Input::Closed { .. } => tell.send(()).unwrap(),
            _ => {}
        }
        Progress::Idle
    }));
    let mut client = server.client();
    client.write_all(b"not heard").unwrap();
    let mut got = Vec::new();
    client.read_to_end(&mut got).unwrap();
    assert!(got == noise(8_000_000));
    told.recv().unwrap();
}

#[test]
fn an_abrupt_close_says_nothing() {
    let server = run(puppet(|hands, _, input, out| {
        match input {
            Input::Filled { link, .. } => {
                hands.outboxes.get_mut(&link).unwrap().write(b"never");
                out.push(Action::Flush { link });
                out.push(Action::Close { link, ending: Ending::Abrupt });
            }
            Input::Closed { .. } => panic!("the machine has forgotten it"),
            _ => {}
        }
        Progress::Idle
    }));
    let mut client = server.client();
    client.write_all(b"x").unwrap();
    let mut got = Vec::new();
    let _ = client.read_to_end(&mut got);
    assert_eq!(got, b"");
}

/// A machine that connects to an address when a client says so, and reports what it sees.
fn dialer(to: SocketAddr, tell: Sender<String>) -> Box<dyn Machine> {
    let mut dialed = 0;
    puppet(move |hands, _, input, out| {
        match input {
            Input::Filled { link, bytes } if link.is_dialed() => {
                tell.send(format!("heard {}", String::from_utf8_lossy(bytes))).unwrap();
            }
            Input::Filled { .. } => {
                dialed += 1;
                let link = LinkId::dialed(dialed);
                out.push(Action::Connect { link, to, purpose: Purpose::Migration });
            }
            Input::Connected { link, local } => {
                assert!(local.port() != 0);
                hands.outboxes.get_mut(&link).unwrap().write(b"hello");
                out.push(Action::Flush { link });
            }
            Input::ConnectFailed { link, reason } => {
                assert!(link.is_dialed());
                tell.send(reason.to_owned()).unwrap();
            }
            Input::Closed { link } if link.is_dialed() => tell.send("closed".into()).unwrap(),
            _ => {}
        }
        Progress::Idle
    })
}

#[test]
fn links_are_made_on_request() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (tell, told) = mpsc::channel();
    let server = run(dialer(listener.local_addr().unwrap(), tell));
    let mut client = server.client();
    for _ in 0..2 {
        client.write_all(b"go").unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        let mut got = [0; 5];
        peer.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"hello");
        peer.write_all(b"you").unwrap();
        drop(peer);
        assert_eq!((told.recv().unwrap(), told.recv().unwrap()), ("heard you".into(), "closed".into()));
    }
}

#[test]
fn a_link_that_cannot_be_made_says_why() {
    let (tell, told) = mpsc::channel();
    let server = run(dialer(SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())), tell));
    let mut client = server.client();
    client.write_all(b"go").unwrap();
    assert_eq!(told.recv().unwrap(), "Connection refused");
}

#[test]
fn a_paused_link_waits_and_loses_nothing() {
    let (tell, told) = mpsc::channel();
    let mut paused = None;
    let server = run(puppet(move |hands, now, input, out| {
        match input {
            Input::Filled { link, bytes } => {
                assert_eq!(paused, None, "nothing is read from a paused link");
                tell.send(bytes.len()).unwrap();
                if bytes.starts_with(b"pause") {
                    paused = Some(link);
                    hands.deadline = Some(Mono(now.mono.0 + 100_000));
                    out.push(Action::PauseReading { link });
                }
            }
            Input::Ticked => {
                hands.deadline = None;
                if let Some(link) = paused.take() {
                    out.push(Action::ResumeReading { link });
                }
            }
            _ => {}
        }
        Progress::Idle
    }));
    let mut client = server.client();
    client.write_all(b"pause").unwrap();
    assert_eq!(told.recv().unwrap(), 5);
    let start = Instant::now();
    // Both before and after the pause has begun, and nothing behind it.
    client.write_all(b"one").unwrap();
    thread::sleep(Duration::from_millis(20));
    client.write_all(b"two").unwrap();
    assert_eq!(told.recv().unwrap(), 6);
    assert!(start.elapsed() >= Duration::from_millis(90), "{:?}", start.elapsed());
}

#[test]
fn large_values_are_read_straight_into_the_machine() {
    let (tell, told) = mpsc::channel();
    let mut missing = 0;
    let server = run(puppet(move |hands, _, input, _| {
        match input {
            Input::Filled { bytes, .. } if missing == 0 => {
                missing = 3_000_000 - (bytes.len() - 1);
                tell.send(bytes[1..].to_vec()).unwrap();
                hands.inbox = vec![0; missing];
            }
            Input::Filled { bytes, .. } => tell.send(bytes.to_vec()).unwrap(),
            Input::InboxFilled { len, .. } => {
                tell.send(hands.inbox[..len].to_vec()).unwrap();
                missing -= len;
                hands.inbox = vec![0; missing];
            }
            _ => {}
        }
        Progress::Idle
    }));
    let mut client = server.client();
    let sent = noise(3_000_000);
    client.write_all(b"!").unwrap();
    client.write_all(&sent).unwrap();
    let mut got = Vec::new();
    while got.len() < sent.len() {
        got.extend(told.recv().unwrap());
    }
    assert!(got == sent);
    client.write_all(b"!tail").unwrap();
    assert_eq!(told.recv().unwrap(), b"tail", "the next value goes the usual way");
}

#[test]
fn announced_work_goes_on_without_waiting() {
    let (tell, told) = mpsc::channel();
    let mut left = 0;
    let server = run(puppet(move |_, _, input, _| {
        match input {
            Input::Filled { .. } => left = 1000,
            Input::Ticked if left == 1 => {
                left = 0;
                tell.send(()).unwrap();
            }
            Input::Ticked if left > 0 => left -= 1,
            _ => {}
        }
        if left > 0 { Progress::More } else { Progress::Idle }
    }));
    let mut client = server.client();
    client.write_all(b"go").unwrap();
    told.recv_timeout(Duration::from_millis(900)).expect("a thousand slices in a moment");
}

/// A machine that saves what a client says, and tells the client when it is durable.
fn saver(file: File) -> Box<dyn Machine> {
    let mut tickets = 0;
    let mut waiting = HashMap::new();
    puppet(move |hands, _, input, out| {
        match input {
            Input::Filled { link, bytes } => {
                for byte in bytes {
                    tickets += 1;
                    let ticket = Ticket(tickets);
                    waiting.insert(ticket, link);
                    let outbox = hands.outboxes.get_mut(&link).unwrap();
                    outbox.hold(ticket);
                    outbox.write(&[*byte]);
                    let bytes = vec![*byte; 3].into();
                    out.push(Action::Persist { ticket, file, bytes, fsync: true });
                }
                out.push(Action::Flush { link });
            }
            Input::Done { ticket, result } => {
                assert_eq!(result, Ok(()));
                let link = waiting.remove(&ticket).unwrap();
                hands.outboxes.get_mut(&link).unwrap().release(ticket);
                out.push(Action::Flush { link });
            }
            _ => {}
        }
        Progress::Idle
    })
}

#[test]
fn files_are_replaced_before_their_tickets_are_done() {
    let server = run(saver(File::NodesConf));
    let path = server.folder.join("nodes.conf");
    let mut client = server.client();
    client.write_all(b"abcdef").unwrap();
    for expected in b"abcdef" {
        let mut got = [0];
        client.read_exact(&mut got).unwrap();
        assert_eq!(got[0], *expected, "in order");
        assert!(std::fs::read(&path).unwrap()[0] >= *expected, "on disk first");
    }
    let again = Locked::take(&path).map(|_| ()).unwrap_err();
    assert!(again.contains("already used by a different cluster node"), "{again}");
    let names: Vec<_> = std::fs::read_dir(&server.folder).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!names.iter().any(|n| n.to_string_lossy().ends_with(".tmp")), "{names:?}");
    drop(server);
    Locked::take(&path).map(|_| ()).expect_err("the folder is gone");
}

#[test]
fn files_are_written_while_there_is_always_something_else_to_do() {
    const FILES: u64 = 20;
    let (tell, told) = mpsc::channel();
    let mut begun = false;
    let server = run(puppet(move |_, _, input, out| {
        let mut write = |n| {
            let (ticket, bytes) = (Ticket(n), b"x".to_vec().into());
            out.push(Action::Persist { ticket, file: File::NodesConf, bytes, fsync: false });
        };
        match input {
            Input::Filled { .. } => (begun, _) = (true, write(1)),
            Input::Done { ticket: Ticket(FILES), .. } => tell.send(()).unwrap(),
            Input::Done { ticket, .. } => write(ticket.0 + 1),
            _ => {}
        }
        if begun { Progress::More } else { Progress::Idle }
    }));
    server.client().write_all(b"x").unwrap();
    told.recv_timeout(Duration::from_secs(6)).expect("each file in a moment");
}

#[test]
fn a_file_that_cannot_be_written_is_reported() {
    let (tell, told) = mpsc::channel();
    let mut server = run(puppet(move |_, _, input, out| {
        match input {
            Input::Filled { .. } => {
                let bytes = b"x".to_vec().into();
                out.push(Action::Persist { ticket: Ticket(1), file: File::NodesConf, bytes, fsync: true });
            }
            Input::Done { result, .. } => tell.send(result.map_err(str::to_owned)).unwrap(),
            _ => {}
        }
        Progress::Idle
    }));
    std::fs::remove_dir_all(&server.folder).unwrap();
    server.client().write_all(b"x").unwrap();
    assert_eq!(told.recv().unwrap(), Err("No such file or directory".into()));
    assert_eq!(server.end(), 7);
}

#[test]
fn the_unix_socket_is_there_while_the_server_is() {
    let server = run(echo());
    let path = server.folder.join("sock");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(b"hi").unwrap();
    let mut got = [0; 2];
    client.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"hi");
    let mut server = server;
    server.end();
    assert!(!path.exists());
}

#[test]
fn the_end_waits_for_what_is_on_its_way() {
    let mut server = run(puppet(|hands, _, input, out| {
        if let Input::Filled { link, .. } = input {
            hands.outboxes.get_mut(&link).unwrap().push(noise(6_000_000).into());
            out.push(Action::Flush { link });
            out.push(Action::Exit { code: 3, reason: "the end".into() });
        }
        Progress::Idle
    }));
    let mut client = server.client();
    client.write_all(b"x").unwrap();
    let mut got = Vec::new();
    client.read_to_end(&mut got).unwrap();
    assert!(got == noise(6_000_000));
    assert_eq!(server.thread.take().unwrap().join().unwrap(), 3);
}

#[test]
fn the_second_request_to_end_is_obeyed_at_once() {
    let mut server = run_both(idle(), idle());
    assert_eq!(server.client().write(b"x").unwrap(), 1);
    server.stop.store(true, Ordering::Release);
    server.waker.wake().unwrap();
    thread::sleep(Duration::from_millis(50));
    assert!(!server.thread.as_ref().unwrap().is_finished(), "the node has not agreed");
    assert_eq!(server.end(), 1);
}

#[test]
fn the_process_is_looked_at_once_a_second() {
    let (tell, told): (_, Receiver<whimbrel_core::input::Vitals>) = mpsc::channel();
    let server = run(puppet(move |_, _, input, _| {
        if let Input::Observed(vitals) = input {
            let _ = tell.send(vitals);
        }
        Progress::Idle
    }));
    let first = told.recv().unwrap();
    server.client().write_all(b"a turn or two").unwrap();
    let start = Instant::now();
    let second = told.recv_timeout(Duration::from_secs(5)).unwrap();
    assert!(start.elapsed() > Duration::from_millis(500));
    assert!(first.rss > 1 << 20 && first.total_system_memory > first.rss, "{first:?}");
    assert!(second.turns > first.turns && second.cpu_user_us >= first.cpu_user_us, "{second:?}");
}

#[test]
fn a_port_in_use_is_said_in_one_line() {
    let server = run(idle());
    let poll = Poll::new().unwrap();
    let mut config = server.config.clone();
    config.unixsocket.clear();
    let trouble = Listeners::open(&config, poll.registry(), FIRST).map(|_| ()).unwrap_err();
    assert_eq!(trouble, format!("Failed listening on port {} (tcp), aborting.", config.port));
    config.bind = vec!["-192.0.2.1".into(), "-::1".into()];
    config.port = free_port();
    let open = Listeners::open(&config, poll.registry(), FIRST);
    assert!(
        open.map_or_else(|t| t.contains("Failed listening"), |l| l.kinds().count() == 1),
        "one of two is enough"
    );
}
