//! One turn of the event loop: reads, lets the machines work, and sends. Waiting is the driver's.

mod read;
mod send;

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;
use smallvec::SmallVec;
use whimbrel_core::action::{Action, Actions, Ending, Letter, To};
use whimbrel_core::config::Config;
use whimbrel_core::ids::{LinkId, Ticket};
use whimbrel_core::input::{Input, Progress};
use whimbrel_core::mail::{Mail, Order};
use whimbrel_core::time::{Mono, Now};

use crate::clock::Clock;
use crate::descriptors;
use crate::failure::{StartError, words};
use crate::files::{Disk, Ended, Job, Outcome, Work};
use crate::links::{Links, Phase, SCRATCH};
use crate::listen::Listeners;
use crate::machine::{Machine, Machines, Which};
use crate::mesh::{Carried, Mesh};
use crate::meter::{LongTurn, Meter};
use crate::vitals;

/// Whoever has something for the loop that is not in a socket wakes it with this.
pub const WAKER: Token = Token(0);
const SIGNALS: Token = Token(1);
/// Tokens of listeners, then of links, begin here.
pub const FIRST: usize = 2;

/// Events taken from the kernel at a time.
pub const EVENTS: usize = 1024;
/// Time between two looks at the process, in microseconds.
const OBSERVE_US: u64 = 1_000_000;

/// An input whose cause arose while actions were carried out, when no machine may be called.
enum Late {
    ConnectFailed { link: LinkId, reason: String },
    Closed { link: LinkId },
    Done { ticket: Ticket, result: Result<(), String> },
}

/// What was read from a link and not heard.
struct Unheard {
    link: LinkId,
    bytes: Vec<u8>,
    /// So many of them, from the first.
    len: usize,
}

/// The event loop but for its waiting, and everything it drives.
pub struct Turn<D> {
    /// What to wait for, for at most [`patience`](Self::patience); then comes [`take`](Self::take).
    pub poll: Poll,
    /// Where the results of requests come from.
    pub disk: D,
    machines: Machines,
    mesh: Mesh,
    links: Links,
    listeners: Listeners,
    /// Absent when embedded: signals are the program's.
    signals: Option<Signals>,
    /// Set by whoever embeds us, with a wake-up, to ask for the end.
    stop: Arc<AtomicBool>,
    keepalive: u32,
    source: Option<IpAddr>,
    clock: Clock,
    now: Now,
    actions: Actions,
    /// For the machines of this thread, and links that come to it, in order.
    mail: VecDeque<Carried>,
    /// Links that leave with the mail of this step, by the thread they go to.
    leaving: Vec<(Option<usize>, Carried)>,
    late: VecDeque<(Which, Late)>,
    /// How long to hang, once the mail is handed over (DEBUG SLEEP).
    nap: Duration,
    /// Machines with work left that needs no input.
    more: [bool; 2],
    /// Requests to the disk without a result so far.
    saving: usize,
    scratch: Vec<u8>,
    /// Bytes of links that were read, and are heard when what else is here is done.
    unheard: Vec<Unheard>,
    observed: Mono,
    meter: Meter,
    /// When the last turn was over.
    ended: Mono,
    asked_to_stop: bool,
    exit: Option<i32>,
}

/// What a turn is made of.
pub struct Parts {
    /// Where all sockets are registered.
    pub poll: Poll,
    /// Who decides.
    pub machines: Machines,
    /// The way to the machines of other threads.
    pub mesh: Mesh,
    /// Where others knock.
    pub listeners: Listeners,
    /// Signals to hear, if they are ours.
    pub signals: Option<Signals>,
    /// Set, with a wake-up, to ask for the end.
    pub stop: Arc<AtomicBool>,
    /// The time.
    pub clock: Clock,
}

/// The exit status of a loop that has ended so.
#[must_use]
pub fn status(ended: io::Result<i32>) -> i32 {
    ended.unwrap_or_else(|e| {
        tracing::error!("The event loop failed: {}", words(&e));
        1
    })
}

impl<D: Disk> Turn<D> {
    /// A loop that has not turned yet.
    ///
    /// # Errors
    /// When the operating system refuses to tell of events.
    pub fn new(parts: Parts, disk: D, config: &Config) -> Result<Self, StartError> {
        let refused = |e| StartError::because("Creating the event loop", &e);
        let Parts { poll, machines, mesh, listeners, mut signals, stop, clock } = parts;
        if let Some(signals) = &mut signals {
            poll.registry().register(signals, SIGNALS, Interest::READABLE).map_err(refused)?;
        }
        let registry = poll.registry().try_clone().map_err(refused)?;
        let links = Links::new(registry, listeners.end(), mesh.index());
        let mut turn = Self {
            poll,
            machines,
            mesh,
            links,
            listeners,
            disk,
            signals,
            stop,
            keepalive: 0,
            source: None,
            now: clock.now(),
            clock,
            actions: Actions::default(),
            mail: VecDeque::new(),
            leaving: Vec::new(),
            late: VecDeque::new(),
            nap: Duration::ZERO,
            more: [false; 2],
            saving: 0,
            scratch: vec![0; SCRATCH],
            unheard: Vec::new(),
            observed: Mono(0),
            meter: Meter::new(),
            ended: Mono(0),
            asked_to_stop: false,
            exit: None,
        };
        turn.configure(config);
        Ok(turn)
    }

    /// Lets the node save who it is. Nobody may meet a node that could forget: nothing else is to be done
    /// [while that lasts](Self::is_saving).
    pub fn settle_in(&mut self) {
        if self.machines.node.is_some() {
            self.step(Which::Node, Input::Ticked);
            self.settle();
        }
    }

    /// Whether the disk has results to come.
    #[must_use]
    pub fn is_saving(&self) -> bool {
        self.saving > 0
    }

    /// Passes on what the disk has said.
    pub fn take_result(&mut self, ended: &Ended) {
        self.saving -= 1;
        let ticket = ended.ticket;
        let input = match &ended.outcome {
            Outcome::Replaced(result) => {
                Input::Done { ticket, result: result.as_ref().copied().map_err(String::as_str) }
            }
            Outcome::Read(result) => {
                Input::Read { ticket, result: result.as_deref().map_err(String::as_str) }
            }
        };
        self.step(ended.which, input);
        self.settle();
    }

    /// Begins to serve; the exit status if a machine has asked for the end already.
    pub fn begin(&mut self) -> Option<i32> {
        if self.machines.node.is_some() {
            for kind in self.listeners.kinds() {
                tracing::info!("Ready to accept connections {kind}");
            }
        }
        self.observe();
        self.ended = self.clock.mono();
        self.exit
    }

    /// Does one turn with what the kernel had to say; the exit status when a machine asks for the end.
    pub fn take(&mut self, events: &Events) -> Option<i32> {
        self.mesh.wake();
        self.now = self.clock.now();
        self.meter.begin(self.now.mono);
        self.take_mail();
        // Before new events: what is found unread now waits until replies to it are sent.
        self.read_unread();
        self.hear(events);
        self.accept();
        self.tick();
        self.settle();
        self.flush();
        self.ended = self.clock.mono();
        if let Some(LongTurn { took, cpu }) = self.meter.end(self.ended) {
            self.step(Which::Shard, Input::Turned { took, cpu });
        }
        if let Some(code) = self.exit {
            self.mesh.end(code);
        }
        let exit = self.mesh.exit();
        if exit.is_some() {
            self.listeners.close_all(self.poll.registry());
            self.say_farewell();
        }
        exit
    }

    /// How long to wait for events after the last turn: not at all while there is work.
    #[must_use]
    pub fn patience(&self) -> Duration {
        let unserved = !self.links.dirty.is_empty() || !self.links.unread.is_empty();
        let busy = self.more.contains(&true)
            || (unserved && !self.mesh.is_blocked())
            || !self.mail.is_empty()
            || !self.late.is_empty();
        if busy {
            return Duration::ZERO;
        }
        let observe = Mono(self.observed.0 + OBSERVE_US);
        let timers = self.machines.all().filter_map(|(_, machine)| machine.poll_timeout());
        let next = timers.min().map_or(observe, |timer| timer.min(observe));
        let timer = Duration::from_micros(next.since(self.ended).0);
        self.listeners.deadline().map_or(timer, |accept| accept.min(timer))
    }

    /// About to wait: from now on other threads wake this one. `false` when they have something for it already.
    #[must_use]
    pub fn fall_asleep(&self) -> bool {
        self.mesh.fall_asleep()
    }

    /// Takes in what other threads have handed over.
    fn take_mail(&mut self) {
        if !self.mesh.has_news() {
            return;
        }
        let mail = &mut self.mail;
        self.mesh.take(|carried| mail.push_back(carried));
        self.settle();
    }

    /// Goes through what the kernel had to say.
    fn hear(&mut self, events: &Events) {
        for event in events {
            match event.token() {
                WAKER => {
                    self.take_results();
                    if self.stop.load(Ordering::Acquire) {
                        self.terminate("a request of the embedding program");
                    }
                }
                SIGNALS => self.take_signals(),
                token if self.listeners.has(token) => self.listeners.note(token),
                token => {
                    let slot = self.links.slot_of_token(token);
                    let Some(conn) = self.links.get(slot) else { continue };
                    if conn.phase == Phase::Connecting {
                        if event.is_writable() || event.is_error() || event.is_read_closed() {
                            self.connected(slot);
                        }
                        continue;
                    }
                    if event.is_writable() && conn.full {
                        conn.full = false;
                        self.links.mark_dirty(slot);
                    }
                    if event.is_readable() || event.is_read_closed() || event.is_error() {
                        let Some(conn) = self.links.get(slot) else { continue };
                        conn.ending |= event.is_read_closed() || event.is_error();
                        // What had its share in this turn has the next one in the next.
                        if !conn.unread {
                            self.read(slot);
                            self.send_large(slot);
                        }
                    }
                }
            }
        }
    }

    fn take_results(&mut self) {
        while let Some(ended) = self.disk.result() {
            self.take_result(&ended);
        }
    }

    fn take_signals(&mut self) {
        let caught: Vec<i32> = self.signals.as_mut().map(|s| s.pending().collect()).unwrap_or_default();
        for signal in caught {
            match signal {
                SIGTERM => self.terminate("SIGTERM"),
                SIGINT => self.terminate("SIGINT"),
                _ => {}
            }
        }
    }

    /// Passes on that somebody wants the process to end; the second time it ends at once.
    fn terminate(&mut self, signal: &str) {
        if self.asked_to_stop {
            tracing::warn!("You insist... exiting now.");
            self.exit.get_or_insert(1);
            return;
        }
        self.asked_to_stop = true;
        self.step(Which::Node, Input::Terminated { signal });
    }

    /// Timers that are due, and work that was announced.
    fn tick(&mut self) {
        let now = self.now.mono;
        let timer = |(which, machine): (_, &dyn Machine)| (which, machine.poll_timeout());
        let timers: SmallVec<[_; 2]> = self.machines.all().map(timer).collect();
        for (which, timer) in timers {
            let due = timer.is_some_and(|at| at <= now);
            if due || std::mem::take(&mut self.more[which as usize]) {
                self.step(which, Input::Ticked);
            }
        }
        if now.since(self.observed).0 >= OBSERVE_US {
            self.observe();
        }
    }

    fn observe(&mut self) {
        self.observed = self.now.mono;
        let mut vitals = vitals::observe();
        vitals.turns = self.meter.turns;
        vitals.turns_us = self.meter.turns_us;
        self.step(Which::Shard, Input::Observed(vitals));
    }

    /// Delivers mail and late inputs until there are none, and hands over what is for other threads.
    fn settle(&mut self) {
        loop {
            if let Some((which, late)) = self.late.pop_front() {
                match late {
                    Late::ConnectFailed { link, reason } => {
                        self.step(which, Input::ConnectFailed { link, reason: &reason });
                    }
                    Late::Closed { link } => self.step(which, Input::Closed { link }),
                    Late::Done { ticket, result } => {
                        let result = result.as_ref().copied().map_err(String::as_str);
                        self.step(which, Input::Done { ticket, result });
                    }
                }
            } else if let Some(carried) = self.mail.pop_front() {
                self.receive(carried);
            } else {
                break;
            }
        }
        self.mesh.hand_over();
        // Who was asked to sleep at the same time has the mail that says so.
        std::thread::sleep(std::mem::take(&mut self.nap));
    }

    /// Takes in what was sent to this thread.
    fn receive(&mut self, carried: Carried) {
        match carried {
            Carried::Mail(to, mail) => {
                if let Mail::Order(Order::Configure(config, _)) = &mail {
                    self.configure(config);
                }
                self.step(to, Input::Mailed(mail));
            }
            Carried::Listeners(sockets) => self.listeners.take_over(sockets, self.poll.registry()),
            Carried::Link(from, conn) => self.adopt(from, *conn),
        }
    }

    /// Gives a machine one input and carries out what it wants.
    fn step(&mut self, which: Which, input: Input<'_>) {
        let progress = self.machines.get(which).handle(self.now, input, &mut self.actions);
        self.more[which as usize] = progress == Progress::More;
        let mut actions = std::mem::take(&mut self.actions);
        for action in actions.list.drain(..) {
            self.carry_out(which, action);
        }
        for Letter { to, mail } in actions.mail.drain(..) {
            match self.mesh.place(to) {
                (None, which) => self.mail.push_back(Carried::Mail(which, mail)),
                (Some(thread), which) => self.mesh.send(thread, Carried::Mail(which, mail)),
            }
        }
        for (thread, carried) in self.leaving.drain(..) {
            match thread {
                None => self.mail.push_back(carried),
                Some(thread) => self.mesh.send(thread, carried),
            }
        }
        self.actions = actions;
    }

    /// Does one thing. No machine is called here: what it leads to is told later.
    fn carry_out(&mut self, which: Which, action: Action) {
        match action {
            Action::Flush { link } => {
                if let Some(slot) = self.links.find(which, link) {
                    self.links.mark_dirty(slot);
                }
            }
            Action::Connect { link, to, purpose } => {
                if let Err(e) = self.links.connect(which, link, to, self.source, purpose) {
                    self.late.push_back((which, Late::ConnectFailed { link, reason: words(&e) }));
                }
            }
            Action::Close { link, ending } => {
                let Some(slot) = self.links.find(which, link) else { return };
                match (ending, self.links.get(slot)) {
                    (Ending::Flushed, Some(conn)) if conn.phase != Phase::Connecting => {
                        conn.phase = Phase::Closing;
                        self.links.mark_dirty(slot);
                    }
                    _ => self.links.remove(slot),
                }
            }
            Action::Move { link, to } => {
                let slot = self.links.find(which, link);
                if let Some(mut conn) = slot.and_then(|slot| self.links.give(slot)) {
                    let (thread, _) = self.mesh.place(To::Shard(to));
                    if let Some(unheard) = self.unheard.iter_mut().find(|unheard| unheard.link == link) {
                        conn.unheard = unheard.bytes[..std::mem::take(&mut unheard.len)].to_vec();
                    }
                    self.leaving.push((thread, Carried::Link(link, Box::new(conn))));
                }
            }
            Action::PauseReading { link } => self.pause(which, link, true),
            Action::ResumeReading { link } => self.pause(which, link, false),
            Action::Tune { link, purpose } => {
                if let Some(conn) = self.links.find(which, link).and_then(|slot| self.links.get(slot)) {
                    conn.stream.tune(purpose);
                }
            }
            Action::Persist { ticket, file, bytes, fsync } => {
                self.ask(Job { which, ticket, file, work: Work::Replace { bytes, fsync } });
            }
            Action::Read { ticket, file } => self.ask(Job { which, ticket, file, work: Work::Read }),
            Action::Listen { ticket, config } => {
                let result = self.listen(&config);
                self.late.push_back((which, Late::Done { ticket, result }));
            }
            Action::Sleep { time } => self.nap += Duration::from_micros(time.0),
            Action::Abort { reason } => {
                tracing::error!("{reason}");
                std::process::abort();
            }
            Action::Exit { code, reason } => {
                tracing::warn!("{reason}");
                self.exit.get_or_insert(code);
            }
        }
    }

    fn ask(&mut self, job: Job) {
        self.saving += 1;
        self.disk.ask(job);
    }

    fn pause(&mut self, which: Which, link: LinkId, paused: bool) {
        let Some(slot) = self.links.find(which, link) else { return };
        let Some(conn) = self.links.get(slot) else { return };
        let resumed = conn.paused && !paused;
        conn.paused = paused;
        if resumed {
            // The kernel announced only once what came meanwhile.
            self.links.mark_unread(slot);
        }
    }

    /// Listens where the settings say and makes room for their clients, or leaves all as it is and says why.
    fn listen(&mut self, config: &Config) -> Result<(), String> {
        if let Err(fewer) = descriptors::reserve(config.maxclients, config.shards) {
            return Err(format!(
                "The operating system is not able to handle the specified number of clients, try with {fewer}"
            ));
        }
        let moved = self.listeners.move_to(config, self.poll.registry()).map_err(str::to_owned);
        for (thread, sockets) in self.listeners.for_others() {
            self.mesh.send(thread, Carried::Listeners(sockets));
        }
        moved
    }

    /// Takes over the settings that the driver itself acts on.
    fn configure(&mut self, config: &Config) {
        self.keepalive = config.tcp_keepalive;
        self.source = config.bind_source_addr.parse().ok();
        crate::logging::set_level(config.loglevel);
    }
}
