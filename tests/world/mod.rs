//! A whole cluster in one test: real machines, and around them a network, disks, clocks, clients and an operator
//! that are functions of a seed.

pub mod admin;
pub mod batches;
pub mod client;
pub mod copies;
pub mod disk;
pub mod forms;
pub mod held;
pub mod history;
pub mod journal;
pub mod lent;
pub mod life;
pub mod links;
pub mod mischief;
pub mod moving;
pub mod net;
pub mod operator;
pub mod owners;
pub mod plan;
pub mod post;
pub mod process;
pub mod resp;
pub mod scanner;
pub mod stories;
pub mod tap;
pub mod tasks;
pub mod verdict;
pub mod watch;
pub mod workload;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::sync::Arc;

use whimbrel_core::config::Config;
use whimbrel_core::ids::NodeId;
use whimbrel_core::rng::Rng;
use whimbrel_core::time::{Mono, Now, Wall};

use net::{Conn, Cuts};
use plan::Plan;
use process::Process;
use tasks::{Ctx, Outcome, Request, Shared, Tasks};
use watch::Watch;

/// The wall clock at the start of every run, in microseconds.
const EPOCH: u64 = 1_800_000_000_000_000;

/// Something that will happen.
#[derive(Debug)]
pub enum Event {
    /// A task has slept enough.
    Slept { token: u64 },
    /// The first packet of a connection reaches the host that is called.
    Called { conn: usize },
    /// The answer to it reaches the caller.
    CallAnswered { conn: usize },
    /// The call failed.
    CallFailed { conn: usize, reason: &'static str },
    /// Bytes from this end reach the other.
    Arrived { conn: usize, from: usize },
    /// The sender at this end learns that there is room.
    Room { conn: usize, end: usize },
    /// This end learns that the connection is gone.
    Gone { conn: usize, end: usize },
    /// A process has something to do.
    Woken { process: usize, life: u32 },
    /// A thread of a process looks into its rings.
    Rung { process: usize, life: u32, thread: usize },
    /// The disk has finished its first write.
    Written { process: usize, life: u32 },
    /// A process comes back.
    Restarted { process: usize },
    /// Something goes wrong.
    Mischief,
    /// This connection is reset at last: one of its ends had not heard that the other is gone.
    GivenUp { conn: usize },
    /// Something goes wrong at an end of a migration, right when it is in some state.
    Struck { process: usize, life: u32 },
    /// Invariants that cost more are looked at, and whether the run is over.
    Looked,
}

struct Scheduled {
    at: u64,
    order: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// The simulated world.
pub struct World {
    pub plan: Plan,
    pub shared: Rc<Shared>,
    pub now: u64,
    order: u64,
    queue: BinaryHeap<Reverse<Scheduled>>,
    pub rng: Rng,
    pub processes: Vec<Process>,
    pub conns: Vec<Conn>,
    pub callers: Vec<links::Caller>,
    pub cuts: Cuts,
    tasks: Tasks,
    ready: Vec<usize>,
    pub watch: Watch,
    pub quiet_since: Option<u64>,
    /// Since when every process serves, once there are no more faults.
    pub serving_since: Option<u64>,
    workers: Vec<usize>,
    over: bool,
}

impl World {
    /// The world of a plan, before anything has happened.
    pub fn new(plan: Plan) -> Self {
        let mut rng = Rng::new(plan.seed);
        let shared = Shared::new(plan.clone(), rng.bits());
        let processes: Vec<Process> = (0..plan.processes)
            .map(|index| {
                let text = plan.config(index, &Process::ip(index).to_string());
                let config = Config::load(&text, &mut |_| Err("no files".into())).expect("the configuration");
                Process::new(index, Arc::new(config))
            })
            .collect();
        let watch = Watch::new(processes.len());
        let mut world = Self {
            shared,
            now: 0,
            order: 0,
            queue: BinaryHeap::new(),
            rng,
            processes,
            conns: Vec::new(),
            callers: Vec::new(),
            cuts: Cuts::default(),
            tasks: Tasks::default(),
            ready: Vec::new(),
            watch,
            quiet_since: None,
            serving_since: None,
            workers: Vec::new(),
            over: false,
            plan,
        };
        for process in 0..world.processes.len() {
            world.boot(process);
        }
        world
    }

    /// A handle for tasks of this world.
    pub fn ctx(&self) -> Ctx {
        Ctx(self.shared.clone())
    }

    /// Adds a task that begins at once.
    pub fn spawn(&mut self, task: impl Future<Output = ()> + 'static) -> usize {
        let id = self.tasks.add(task);
        self.ready.push(id);
        id
    }

    /// The clocks of a process.
    pub fn clock(&self, p: usize) -> Now {
        let process = &self.processes[p];
        Now { mono: Mono(process.local(self.now)), wall: Wall(EPOCH + self.now + process.ahead) }
    }

    /// Something will happen in so many microseconds.
    pub fn after(&mut self, us: u64, event: Event) {
        self.at(self.now + us, event);
    }

    /// Something will happen at a time.
    pub fn at(&mut self, at: u64, event: Event) {
        self.order += 1;
        self.queue.push(Reverse(Scheduled { at: at.max(self.now), order: self.order, event }));
    }

    /// Runs the operator and the clients of the plan until everything is judged.
    pub fn run(&mut self) {
        let ctx = self.ctx();
        self.spawn(operator::form_and_migrate(ctx));
        for number in 0..self.plan.clients {
            let id = self.spawn(workload::work(self.ctx(), number));
            self.workers.push(id);
        }
        if self.plan.scans {
            let id = self.spawn(scanner::walk_always(self.ctx()));
            self.workers.push(id);
        }
        self.after(0, Event::Looked);
        if self.plan.faults.any() {
            self.after(0, Event::Mischief);
        }
        while !self.over {
            self.step_once();
        }
    }

    /// Forms a cluster, for a story that then goes its own way.
    pub fn formed(plan: Plan) -> Self {
        let mut world = Self::new(plan);
        world.spawn(operator::form_only(world.ctx()));
        let formed = |w: &Self| w.shared.formed.get();
        assert!(world.run_until(40_000_000, formed), "the cluster does not form");
        world
    }

    /// Runs until something is the case, for so many microseconds at most; whether it came true.
    pub fn run_until(&mut self, us: u64, mut wanted: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now + us;
        while !wanted(self) {
            if self.now > end {
                return false;
            }
            self.step_once();
        }
        true
    }

    /// The name of a process in its cluster.
    pub fn node_id(&self, process: usize) -> NodeId {
        NodeId::parse(self.shared.node_ids.borrow()[process].as_bytes()).expect("CLUSTER MYID is a name")
    }

    /// Gives a command over the network, in its own time and on its own connection.
    pub fn tell(&mut self, process: usize, words: &[&str]) {
        let bytes = resp::command(&words.iter().map(|w| w.as_bytes()).collect::<Vec<_>>());
        let ctx = self.ctx();
        let text = words.join(" ");
        self.spawn(async move {
            let Some(conn) = ctx.connect(process).await else { return };
            let answer = ctx.call(conn, bytes, 1).await;
            journal::line(|| format!("{text} at {process}: {:?}", answer.map(|a| a.replies)));
        });
    }

    /// Lets one thing happen.
    pub fn step_once(&mut self) {
        self.run_tasks();
        let Some(Reverse(Scheduled { at, event, .. })) = self.queue.pop() else {
            panic!("nothing happens any more");
        };
        self.now = at;
        self.shared.now.set(at);
        journal::tick(at);
        self.happen(event);
        self.run_tasks();
    }

    /// Whether all clients have ended.
    pub fn workers_are_done(&self) -> bool {
        self.workers.iter().all(|&id| self.tasks.has_ended(id))
    }

    /// Ends the run.
    pub fn end(&mut self) {
        self.over = true;
    }

    fn run_tasks(&mut self) {
        loop {
            while let Some(request) = self.shared.request() {
                self.grant(request);
            }
            if self.ready.is_empty() {
                return;
            }
            let id = self.ready.remove(0);
            self.tasks.poll(&self.shared, id);
        }
    }

    /// Tells a task what became of its request.
    pub fn fulfil(&mut self, token: u64, outcome: Outcome) {
        if let Some(id) = self.shared.fulfil(token, outcome) {
            self.ready.push(id);
        }
    }

    fn grant(&mut self, request: Request) {
        match request {
            Request::Sleep { until, token } => self.at(until, Event::Slept { token }),
            Request::Connect { process, token } => self.call_from_task(process, token),
            Request::Flush { process, slot } => self.flush_keys(process, slot),
            Request::Owned { process, token } => {
                let slots = self.has_keys_of(process);
                self.fulfil(token, Outcome::Slots(slots));
            }
            Request::Send { conn, bytes, replies, token } => self.send_from_task(conn, bytes, replies, token),
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Slept { token } => self.fulfil(token, Outcome::Woken),
            Event::Called { conn } => self.called(conn),
            Event::CallAnswered { conn } => self.call_answered(conn),
            Event::CallFailed { conn, reason } => self.call_failed(conn, reason),
            Event::Arrived { conn, from } => self.arrived(conn, from),
            Event::Room { conn, end } => self.room(conn, end),
            Event::Gone { conn, end } => self.gone(conn, end),
            Event::Woken { process, life } => self.woken(process, life),
            Event::Rung { process, life, thread } => self.rung(process, life, thread),
            Event::Written { process, life } => self.written(process, life),
            Event::Restarted { process } => self.restarted(process),
            Event::Mischief => self.mischief(),
            Event::GivenUp { conn } => self.reset(conn, 1_000),
            Event::Struck { process, life } => self.strike(process, life),
            Event::Looked => self.looked(),
        }
    }
}
