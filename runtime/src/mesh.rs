//! What the threads of a process send to each other: a ring from each to each, and a bell that wakes who sleeps.
//!
//! Mail of a turn is handed over in one go, and its receiver is woken once, if it sleeps. A ring has room for so much;
//! what finds no room waits with its sender, in order, and meanwhile the sender must neither read nor write sockets:
//! what it would write may be later than the mail. It goes on to take in mail, so that nobody waits for each other in
//! a circle.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering, fence};

use mio::Waker;
use mio::net::TcpListener;
use rtrb::{Consumer, Producer, RingBuffer};
use whimbrel_core::action::To;
use whimbrel_core::ids::{LinkId, ShardIndex};
use whimbrel_core::mail::Mail;

use crate::links::Conn;
use crate::machine::Which;

/// Rooms of all rings that end at a thread, together.
const ROOMS: usize = 8192;
/// Rooms of one ring, at least and at most.
const ROOMS_OF_ONE: (usize, usize) = (128, 1024);

/// The exit status while the process has not ended: no status is that large.
const RUNNING: i64 = i64::MAX;

/// What is sent from thread to thread.
pub(crate) enum Carried {
    /// Mail for a machine there.
    Mail(Which, Mail),
    /// Where clients knock from now on.
    Listeners(Vec<TcpListener>),
    /// A link that is at home there from now on. It had this name.
    Link(LinkId, Box<Conn>),
}

/// What all threads of a process see of one of them. Its own cache lines: others look often.
#[repr(align(128))]
struct Bell {
    /// Something is in a ring, or the process ends.
    rung: AtomicBool,
    /// It waits for the kernel, and hears nothing else than its waker.
    asleep: AtomicBool,
    waker: Arc<Waker>,
}

impl Bell {
    /// To be called after what it is rung for.
    fn ring(&self) {
        self.rung.store(true, Ordering::Release);
        // Either we see that it sleeps, or it sees before it sleeps that the bell was rung.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed) {
            let _ = self.waker.wake();
        }
    }
}

/// What a thread has done for the end, told to the others.
#[derive(Default)]
#[repr(align(128))]
struct Ledger {
    /// It starts nothing new: from now on it sends only because of what it takes.
    leaving: AtomicBool,
    /// What it has sent, counted before anybody can take it.
    sent: AtomicU64,
    /// What it has taken, counted when all that it led to is sent.
    taken: AtomicU64,
}

/// What the threads share.
struct Shared {
    bells: Vec<Bell>,
    ledgers: Vec<Ledger>,
    exit: AtomicI64,
}

/// A ring, at its sender.
struct Outgoing {
    ring: Producer<Carried>,
    /// What has found no room yet, or is not handed over yet.
    waiting: VecDeque<Carried>,
    /// The receiver shall ring when it has made room.
    full: Arc<AtomicBool>,
}

/// A ring, at its receiver.
struct Incoming {
    ring: Consumer<Carried>,
    full: Arc<AtomicBool>,
}

/// One thread's ends of all rings.
pub struct Mesh {
    index: usize,
    /// By index of the thread; none to itself.
    outgoing: Vec<Option<Outgoing>>,
    incoming: Vec<Option<Incoming>>,
    /// Something waits to be handed over.
    waiting: bool,
    /// Something found no room when it was last tried.
    blocked: bool,
    /// How much was sent and taken so far.
    sent: u64,
    taken: u64,
    shared: Arc<Shared>,
}

impl Mesh {
    /// The ends of threads that are woken so, one for each.
    #[must_use]
    pub fn of(wakers: Vec<Arc<Waker>>) -> Vec<Self> {
        let count = wakers.len();
        let bell = |waker| Bell { rung: AtomicBool::new(false), asleep: AtomicBool::new(false), waker };
        let bells = wakers.into_iter().map(bell).collect();
        let ledgers = (0..count).map(|_| Ledger::default()).collect();
        let shared = Arc::new(Shared { bells, ledgers, exit: AtomicI64::new(RUNNING) });
        let mut ends: Vec<Self> = (0..count)
            .map(|index| Self {
                index,
                outgoing: (0..count).map(|_| None).collect(),
                incoming: (0..count).map(|_| None).collect(),
                waiting: false,
                blocked: false,
                sent: 0,
                taken: 0,
                shared: shared.clone(),
            })
            .collect();
        let rooms = (ROOMS / count.max(1)).clamp(ROOMS_OF_ONE.0, ROOMS_OF_ONE.1);
        for from in 0..count {
            for to in (0..count).filter(|to| *to != from) {
                let (sender, receiver) = RingBuffer::new(rooms);
                let full = Arc::new(AtomicBool::new(false));
                ends[from].outgoing[to] =
                    Some(Outgoing { ring: sender, waiting: VecDeque::new(), full: full.clone() });
                ends[to].incoming[from] = Some(Incoming { ring: receiver, full });
            }
        }
        ends
    }

    /// Which thread it is; its shard has the same index.
    #[must_use]
    pub fn index(&self) -> ShardIndex {
        ShardIndex(u16::try_from(self.index).unwrap_or(u16::MAX))
    }

    /// How many threads there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shared.bells.len()
    }

    /// Where a machine is: the thread, `None` for this one, and which it is there.
    pub(crate) fn place(&self, to: To) -> (Option<usize>, Which) {
        let (thread, which) = match to {
            // The node is beside the first shard.
            To::Node => (0, Which::Node),
            To::Shard(shard) => (usize::from(shard.0), Which::Shard),
        };
        ((thread != self.index).then_some(thread), which)
    }

    /// Sends something to another thread, with the next handing over.
    pub(crate) fn send(&mut self, thread: usize, carried: Carried) {
        if let Some(Some(outgoing)) = self.outgoing.get_mut(thread) {
            outgoing.waiting.push_back(carried);
            self.waiting = true;
            self.sent += 1;
        }
    }

    /// Hands over what was sent, as far as there is room.
    pub(crate) fn hand_over(&mut self) {
        if !self.waiting {
            return;
        }
        self.blocked = false;
        self.shared.ledgers[self.index].sent.store(self.sent, Ordering::SeqCst);
        for (thread, outgoing) in self.outgoing.iter_mut().enumerate() {
            let Some(outgoing) = outgoing else { continue };
            if !outgoing.waiting.is_empty() {
                if outgoing.push() {
                    self.shared.bells[thread].ring();
                }
                self.blocked |= !outgoing.waiting.is_empty();
            }
        }
        self.waiting = self.blocked;
    }

    /// Whether something could not be handed over: until it is, sockets have to wait.
    #[inline]
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Whether others have rung.
    #[inline]
    pub(crate) fn has_news(&self) -> bool {
        self.shared.bells[self.index].rung.load(Ordering::Acquire)
    }

    /// Takes what others have handed over.
    pub(crate) fn take(&mut self, mut each: impl FnMut(Carried)) {
        if !self.shared.bells[self.index].rung.swap(false, Ordering::AcqRel) {
            return;
        }
        for (thread, incoming) in self.incoming.iter_mut().enumerate() {
            let Some(Incoming { ring, full }) = incoming else { continue };
            let Ok(some) = ring.read_chunk(ring.slots()) else { continue };
            if some.is_empty() {
                continue;
            }
            self.taken += some.len() as u64;
            some.into_iter().for_each(&mut each);
            // Either we see that its sender waits, or it sees the room.
            fence(Ordering::SeqCst);
            if full.load(Ordering::Relaxed) && full.swap(false, Ordering::Relaxed) {
                self.shared.bells[thread].ring();
            }
        }
    }

    /// About to wait for the kernel: from now on others wake this thread. `false` when they have rung already.
    #[must_use]
    pub(crate) fn fall_asleep(&self) -> bool {
        let bell = &self.shared.bells[self.index];
        bell.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        !bell.rung.load(Ordering::Relaxed)
    }

    /// Waiting is over.
    pub(crate) fn wake(&self) {
        self.shared.bells[self.index].asleep.store(false, Ordering::Relaxed);
    }

    /// Ends all threads with this exit status, unless they are to end already.
    pub(crate) fn end(&self, code: i32) {
        let exit = &self.shared.exit;
        if exit.compare_exchange(RUNNING, code.into(), Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            self.shared.bells.iter().for_each(Bell::ring);
        }
    }

    /// Whether nothing is under way between the threads any more, and nothing will be: all are leaving, and have done all
    /// that they were sent. To be asked by a thread that is leaving, has done what it took, and handed over what that led to.
    pub(crate) fn is_still(&self) -> bool {
        let (mine, all) = (&self.shared.ledgers[self.index], &self.shared.ledgers);
        mine.taken.store(self.taken, Ordering::SeqCst);
        mine.leaving.store(true, Ordering::SeqCst);
        // In this order: everything taken had been sent before, so that sums are equal only if nothing is on its way.
        all.iter().all(|ledger| ledger.leaving.load(Ordering::SeqCst)) && {
            let taken: u64 = all.iter().map(|ledger| ledger.taken.load(Ordering::SeqCst)).sum();
            taken == all.iter().map(|ledger| ledger.sent.load(Ordering::SeqCst)).sum()
        }
    }

    /// The exit status, when the threads are to end.
    #[inline]
    pub(crate) fn exit(&self) -> Option<i32> {
        i32::try_from(self.shared.exit.load(Ordering::Acquire)).ok()
    }
}

impl Drop for Mesh {
    /// A thread that is gone, whyever, takes the others with it.
    fn drop(&mut self) {
        self.end(1);
    }
}

impl Outgoing {
    /// Moves what waits into the ring; whether any did.
    fn push(&mut self) -> bool {
        let before = self.waiting.len();
        self.fill();
        if !self.waiting.is_empty() {
            self.full.store(true, Ordering::Relaxed);
            // There may be room since.
            fence(Ordering::SeqCst);
            self.fill();
        }
        self.waiting.len() < before
    }

    fn fill(&mut self) {
        let rooms = self.ring.slots().min(self.waiting.len());
        if let Ok(chunk) = self.ring.write_chunk_uninit(rooms) {
            chunk.fill_from_iter(self.waiting.drain(..rooms));
        }
    }
}
