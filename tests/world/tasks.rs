//! Clients and operators as async functions over virtual time.
//!
//! A task asks the world for one thing at a time (to sleep, to connect, to send) and is polled again when that has
//! happened. There is no waker and no thread: the world knows which task waits for what.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use whimbrel_core::ids::JobName;
use whimbrel_core::rng::Rng;
use whimbrel_core::slots::{Slot, SlotRanges};

use super::history::History;
use super::plan::Plan;
use super::resp::Reply;

/// A connection of a task, see [`Ctx::connect`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnId(pub usize);

/// What a task asks the world for.
pub enum Request {
    Sleep {
        until: u64,
        token: u64,
    },
    Connect {
        process: usize,
        token: u64,
    },
    Send {
        conn: ConnId,
        bytes: Vec<u8>,
        replies: usize,
        token: u64,
    },
    /// To delete all keys of a slot, or of all slots, at the process that owns them, at this instant.
    Flush {
        process: usize,
        slot: Option<u16>,
    },
    /// Which slots in use a process believes to be its own; answered at this instant.
    Owned {
        process: usize,
        token: u64,
    },
}

/// Replies to what was sent in one go.
#[derive(Clone, Debug)]
pub struct Answer {
    pub replies: Vec<Reply>,
    /// Which process answered.
    pub process: usize,
    /// When the last byte of the request reached the process.
    pub delivered: u64,
    /// When the last byte of the reply left it.
    pub answered: u64,
}

/// What became of a request.
pub enum Outcome {
    Woken,
    Connected(ConnId),
    Answered(Answer),
    Slots(Vec<u16>),
    /// The connection could not be made, or is gone.
    Gone,
}

/// A job at its source: when it did what.
#[derive(Clone, Debug)]
pub struct Export {
    pub process: usize,
    pub job: JobName,
    pub slots: SlotRanges,
    pub since: u64,
    /// Its snapshot is written.
    pub written: bool,
    /// When it began to wait to pause.
    pub asked: Option<u64>,
    pub paused: Option<u64>,
    pub granted: Option<u64>,
    pub until: u64,
}

/// An order of a client that everything at a process may have waited for: process, since, until.
pub type Order = (usize, u64, u64);

/// A write that was not answered at once.
#[derive(Clone, Debug)]
pub struct Held {
    pub process: usize,
    pub slot: u16,
    pub since: u64,
    pub until: u64,
}

/// What all tasks of a run share with the world.
pub struct Shared {
    pub now: Cell<u64>,
    pub plan: Plan,
    pub rng: RefCell<Rng>,
    pub history: RefCell<History>,
    /// No more work is to be begun.
    pub stopping: Cell<bool>,
    /// The cluster is formed and serves.
    pub formed: Cell<bool>,
    /// Migrations and faults have ended.
    pub quiet: Cell<bool>,
    /// Slots in use that a migration was asked for lately.
    pub hot: RefCell<Vec<u16>>,
    /// All jobs so far, at their sources.
    pub exports: RefCell<Vec<Export>>,
    pub held: RefCell<Vec<Held>>,
    /// Slots that an operator took from their owner's table and has not given back: process and slot. The keys are still
    /// there, unless another process owns the slot.
    pub edited: RefCell<Vec<(usize, u16)>>,
    /// Every slot that was to be taken from a table, with the process and the time.
    pub deleted: RefCell<Vec<(usize, u16, u64)>>,
    /// The slot that an operator is about to take from a process's table, whosever it is.
    pub deleting: Cell<Option<(usize, u16)>>,
    /// Copies of slots that a source keeps, because it was told to delete a slot that it had granted: process and slot.
    pub left_copies: RefCell<Vec<(usize, u16)>>,
    /// When everything at a process may have waited by order of a client.
    pub orders: RefCell<Vec<Order>>,
    /// Names of the nodes, once known.
    pub node_ids: RefCell<Vec<String>>,
    requests: RefCell<VecDeque<Request>>,
    outcomes: RefCell<BTreeMap<u64, Outcome>>,
    waiting: RefCell<BTreeMap<u64, usize>>,
    running: Cell<usize>,
    next_token: Cell<u64>,
}

impl Shared {
    pub fn new(plan: Plan, seed: u64) -> Rc<Self> {
        let history = RefCell::new(History::new(&plan));
        Rc::new(Self {
            now: Cell::new(0),
            plan,
            rng: RefCell::new(Rng::new(seed)),
            history,
            stopping: Cell::new(false),
            formed: Cell::new(false),
            quiet: Cell::new(false),
            hot: RefCell::default(),
            exports: RefCell::default(),
            held: RefCell::default(),
            edited: RefCell::default(),
            deleted: RefCell::default(),
            deleting: Cell::default(),
            left_copies: RefCell::default(),
            orders: RefCell::default(),
            node_ids: RefCell::default(),
            requests: RefCell::default(),
            outcomes: RefCell::default(),
            waiting: RefCell::default(),
            running: Cell::new(0),
            next_token: Cell::new(0),
        })
    }

    /// Whether a source held this slot for a granted target at some time from `since` on.
    pub fn was_granted(&self, process: usize, slot: u16, since: u64) -> bool {
        let covers = |ranges: &SlotRanges| Slot::new(slot).is_some_and(|slot| ranges.contains(slot));
        let exports = self.exports.borrow();
        exports
            .iter()
            .any(|e| e.process == process && e.granted.is_some() && e.until >= since && covers(&e.slots))
    }

    /// Whether a job that moved this slot had been granted, and ended after `since` or has not ended.
    pub fn was_let_go(&self, slot: u16, since: u64) -> bool {
        (0..self.plan.processes).any(|p| self.was_granted(p, slot, since))
    }

    /// Whether a source has a job for this slot now.
    pub fn is_moving(&self, slot: u16) -> bool {
        let covers = |ranges: &SlotRanges| Slot::new(slot).is_some_and(|slot| ranges.contains(slot));
        self.exports.borrow().iter().any(|e| e.until == u64::MAX && covers(&e.slots))
    }

    /// Whether a source has a job for this slot that only follows its writes now.
    pub fn is_followed(&self, slot: u16) -> bool {
        let covers = |ranges: &SlotRanges| Slot::new(slot).is_some_and(|slot| ranges.contains(slot));
        let follows = |e: &Export| e.until == u64::MAX && e.written && e.paused.is_none();
        self.exports.borrow().iter().any(|e| follows(e) && covers(&e.slots))
    }

    /// The next thing a task asked for.
    pub fn request(&self) -> Option<Request> {
        self.requests.borrow_mut().pop_front()
    }

    /// Tells what became of a request; the task to poll.
    pub fn fulfil(&self, token: u64, outcome: Outcome) -> Option<usize> {
        let task = self.waiting.borrow_mut().remove(&token)?;
        self.outcomes.borrow_mut().insert(token, outcome);
        Some(task)
    }
}

/// What a task sees of the world.
#[derive(Clone)]
pub struct Ctx(pub Rc<Shared>);

struct Wait {
    shared: Rc<Shared>,
    token: u64,
}

impl Future for Wait {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Outcome> {
        match self.shared.outcomes.borrow_mut().remove(&self.token) {
            Some(outcome) => Poll::Ready(outcome),
            None => Poll::Pending,
        }
    }
}

impl Ctx {
    fn ask(&self, request: impl FnOnce(u64) -> Request) -> Wait {
        let shared = &self.0;
        let token = shared.next_token.get();
        shared.next_token.set(token + 1);
        shared.waiting.borrow_mut().insert(token, shared.running.get());
        shared.requests.borrow_mut().push_back(request(token));
        Wait { shared: shared.clone(), token }
    }

    /// Virtual time in microseconds.
    pub fn now(&self) -> u64 {
        self.0.now.get()
    }

    /// A number below `n`.
    pub fn below(&self, n: u64) -> u64 {
        self.0.rng.borrow_mut().below(n)
    }

    /// True once in `n` times.
    pub fn one_in(&self, n: u64) -> bool {
        self.0.rng.borrow_mut().one_in(n)
    }

    /// One element of a list that is not empty.
    pub fn pick<'a, T>(&self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len() as u64) as usize]
    }

    pub async fn sleep(&self, us: u64) {
        let until = self.now() + us;
        self.ask(|token| Request::Sleep { until, token }).await;
    }

    /// Has all keys of a slot, or of all slots, deleted at a process.
    pub fn flush(&self, process: usize, slot: Option<u16>) {
        self.0.requests.borrow_mut().push_back(Request::Flush { process, slot });
    }

    /// The slots in use that a process believes to be its own.
    pub async fn owned(&self, process: usize) -> Vec<u16> {
        match self.ask(|token| Request::Owned { process, token }).await {
            Outcome::Slots(slots) => slots,
            _ => Vec::new(),
        }
    }

    /// Connects to the data port of a process.
    pub async fn connect(&self, process: usize) -> Option<ConnId> {
        match self.ask(|token| Request::Connect { process, token }).await {
            Outcome::Connected(conn) => Some(conn),
            _ => None,
        }
    }

    /// Sends bytes and waits for so many replies. `None`: the connection is gone, and nobody knows what was done.
    pub async fn call(&self, conn: ConnId, bytes: Vec<u8>, replies: usize) -> Option<Answer> {
        match self.ask(|token| Request::Send { conn, bytes, replies, token }).await {
            Outcome::Answered(answer) => Some(answer),
            _ => None,
        }
    }
}

/// The tasks of a run.
#[derive(Default)]
pub struct Tasks(Vec<Option<Pin<Box<dyn Future<Output = ()>>>>>);

impl Tasks {
    /// Adds a task; it begins when it is polled.
    pub fn add(&mut self, task: impl Future<Output = ()> + 'static) -> usize {
        self.0.push(Some(Box::pin(task)));
        self.0.len() - 1
    }

    /// Lets a task go on until it waits again.
    pub fn poll(&mut self, shared: &Shared, id: usize) {
        let Some(task) = &mut self.0[id] else { return };
        shared.running.set(id);
        if task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            self.0[id] = None;
        }
    }

    /// Whether a task has ended.
    pub fn has_ended(&self, id: usize) -> bool {
        self.0[id].is_none()
    }
}
