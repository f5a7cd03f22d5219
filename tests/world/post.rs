//! Mail between the machines of a process: at once within a thread, sooner or later between threads.
//!
//! As the drivers have it. The node and the first shard share a thread, which delivers what they send each other in the
//! order in which it was sent. From each thread to each other one there is a ring, which keeps its order too. A thread takes
//! everything out of its rings before it hears of anything else, or when it is woken for it; that may take a while.

use std::collections::VecDeque;

use whimbrel_core::action::Letter;
use whimbrel_core::ids::LinkId;
use whimbrel_core::input::Input;
use whimbrel_core::mail::{Mail, Order};

use super::journal::mark;
use super::process::Which;
use super::{Event, World};

/// Nothing that happens at one time sends threads so often to their rings.
const MANY_LOOKS: u32 = 1_000_000;

/// What goes from thread to thread.
enum Parcel {
    Mail(Which, Mail),
    /// A link that is at home there from now on. It had this name.
    Link(Which, LinkId),
}

/// What is in a ring, with the time at which it was sent.
type Ring = VecDeque<(u64, Parcel)>;

/// The mail of a thread.
#[derive(Default)]
struct Thread {
    /// What it delivers next.
    local: VecDeque<Parcel>,
    /// The rings that end here, by the thread where they begin.
    rings: Vec<Ring>,
    /// How much is in them.
    waiting: usize,
    /// Whether it will look into them.
    looks: bool,
}

/// The mail of a process that is under way.
pub struct Post {
    threads: Vec<Thread>,
    /// The newest view that a shard has, and since when.
    newest: (u64, u64),
}

impl Post {
    /// That of a process with so many threads.
    pub fn new(threads: usize) -> Self {
        let rings = || (0..threads).map(|_| Ring::new()).collect();
        let thread = |_| Thread { rings: rings(), ..Thread::default() };
        Self { threads: (0..threads).map(thread).collect(), newest: (0, 0) }
    }

    fn next(&mut self, thread: usize) -> Option<Parcel> {
        self.threads[thread].local.pop_front()
    }

    /// Whether there is something in rings that end at a thread.
    fn waits_for(&self, thread: usize) -> bool {
        self.threads[thread].waiting > 0
    }

    /// A view was delivered to a shard.
    pub fn note_view(&mut self, version: u64, now: u64) {
        if version > self.newest.0 {
            self.newest = (version, now);
        } else if version == self.newest.0 && now > self.newest.1 {
            mark("a view reached shards at different times");
        }
    }
}

impl World {
    /// A machine sends a letter.
    pub fn post(&mut self, p: usize, from: Which, letter: Letter) {
        let Letter { to, mail } = letter;
        if matches!(mail, Mail::Fact(_)) {
            // What a shard says is so when it says it.
            self.overhear(p, Which::of(to), &mail);
        }
        let (to, now) = (Which::of(to), self.now);
        let thread = to.thread();
        let of = &mut self.processes[p].post.threads[thread];
        if from.thread() == thread {
            of.local.push_back(Parcel::Mail(to, mail));
            return;
        }
        let ring = &of.rings[from.thread()];
        if ring.front().is_some_and(|(since, _)| *since < now) && matches!(mail, Mail::Pass(_)) {
            mark("something was forwarded while the ring was late");
        }
        self.send(p, from, thread, Parcel::Mail(to, mail));
    }

    /// A machine sends a link to another thread, behind its mail.
    pub fn post_link(&mut self, p: usize, from: Which, link: LinkId, to: Which) {
        self.send(p, from, to.thread(), Parcel::Link(to, link));
    }

    /// Puts something into a ring, and has the thread where it ends look into it, sooner or later.
    fn send(&mut self, p: usize, from: Which, thread: usize, parcel: Parcel) {
        let (of, now) = (&mut self.processes[p].post.threads[thread], self.now);
        of.rings[from.thread()].push_back((now, parcel));
        of.waiting += 1;
        if !std::mem::replace(&mut of.looks, true) {
            let most = if self.rng.one_in(4) { self.plan.lateness } else { self.plan.lateness.min(30) };
            let at = now + self.rng.below(most.max(1));
            let life = self.processes[p].life;
            self.at(at, Event::Rung { process: p, life, thread });
        }
    }

    /// A thread of a process looks into its rings.
    pub fn rung(&mut self, p: usize, life: u32, thread: usize) {
        let process = &mut self.processes[p];
        if process.life != life || !process.is_up() {
            return;
        }
        if process.frozen_until > self.now {
            let at = process.frozen_until;
            return self.at(at, Event::Rung { process: p, life, thread });
        }
        process.post.threads[thread].looks = false;
        if self.look(p, thread) {
            self.after_turn(p);
        }
    }

    /// A thread takes everything out of its rings and does what follows. False when the process ended.
    pub fn look(&mut self, p: usize, thread: usize) -> bool {
        if !self.processes[p].post.waits_for(thread) {
            return self.processes[p].is_up();
        }
        loop {
            let of = &mut self.processes[p].post.threads[thread];
            let count = of.rings.iter().filter(|ring| !ring.is_empty()).count() as u64;
            let chosen = if count > 1 { self.rng.below(count) as usize } else { 0 };
            let full = of.rings.iter_mut().filter(|ring| !ring.is_empty()).nth(chosen);
            let Some((since, parcel)) = full.and_then(VecDeque::pop_front) else { break };
            of.waiting -= 1;
            if since < self.now && matches!(parcel, Parcel::Mail(_, Mail::Pass(_))) {
                mark("what shards sent each other came late");
            }
            self.processes[p].post.threads[thread].local.push_back(parcel);
        }
        self.carry_mail(p, thread)
    }

    /// Everything under way within a process arrives. False when the process ended.
    pub fn hurry(&mut self, p: usize) -> bool {
        let threads = usize::from(self.processes[p].config.shards);
        let mut looks = 0;
        while let Some(thread) = (0..threads).find(|t| self.processes[p].post.waits_for(*t)) {
            looks += 1;
            assert!(
                looks < MANY_LOOKS,
                "what the shards of process {p} send each other goes round and round"
            );
            if !self.look(p, thread) {
                return false;
            }
        }
        self.processes[p].is_up()
    }

    /// Delivers a thread's next letter, if there is one.
    pub fn deliver(&mut self, p: usize, thread: usize) -> bool {
        let (to, mail) = match self.processes[p].post.next(thread) {
            None => return false,
            Some(Parcel::Link(to, link)) => {
                self.adopt(p, to, link);
                return true;
            }
            Some(Parcel::Mail(to, mail)) => (to, mail),
        };
        if !matches!(mail, Mail::Fact(_)) {
            self.overhear(p, to, &mail);
        }
        if let Mail::Order(Order::Publish(view)) = &mail {
            let now = self.now;
            self.processes[p].post.note_view(view.version, now);
        }
        let taking = self.before_take_over(p, &mail);
        self.step(p, to, Input::Mailed(mail));
        if let Some((job, before)) = taking {
            self.check_decided(p, &job, &before);
        }
        true
    }
}
