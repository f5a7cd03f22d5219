//! One simulated process: a node and its shards, the mail between them, a disk, and what an onlooker knows of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use whimbrel_core::action::{Actions, To};
use whimbrel_core::cluster::View;
use whimbrel_core::config::Config;
use whimbrel_core::ids::{JobName, LinkId, ShardIndex, Shards};
use whimbrel_core::input::{Input, Progress};
use whimbrel_core::link::Outbox;
use whimbrel_core::mail::Mail;
use whimbrel_core::migration::job::Job;
use whimbrel_core::migration::log::{JobLog, Stage};
use whimbrel_core::migration::{export, import};
use whimbrel_core::node::Node;
use whimbrel_core::shard::Shard;
use whimbrel_core::slots::{Slot, SlotRanges, SlotSet};
use whimbrel_core::time::{Mono, Now};
use whimbrel_core::wire::bus::State;

use super::disk::Disk;
use super::lent::Places;
use super::post::Post;

/// The port for clients of every process; the bus is 10000 above.
pub const PORT: u16 = 6379;
pub const BUS_PORT: u16 = 16379;

/// Which machine of a process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Which {
    Node,
    Shard(u16),
}

impl Which {
    pub fn of(to: To) -> Self {
        match to {
            To::Node => Self::Node,
            To::Shard(ShardIndex(n)) => Self::Shard(n),
        }
    }

    /// The node is beside the first shard.
    pub fn thread(self) -> usize {
        match self {
            Self::Node => 0,
            Self::Shard(n) => usize::from(n),
        }
    }

    /// The machines of a thread.
    pub fn of_thread(thread: usize) -> impl Iterator<Item = Self> {
        std::iter::once(Self::Shard(thread as u16)).chain((thread == 0).then_some(Self::Node))
    }

    /// For the journal.
    pub fn number(self) -> u64 {
        match self {
            Self::Node => 0,
            Self::Shard(n) => u64::from(n) + 1,
        }
    }
}

/// The machines of a life.
pub struct Machines {
    pub node: Node,
    pub shards: Vec<Shard>,
}

impl Machines {
    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = Which> + use<> {
        (0..self.shards.len() as u16).map(Which::Shard).chain([Which::Node])
    }

    pub fn handle(&mut self, which: Which, now: Now, input: Input<'_>, out: &mut Actions) -> Progress {
        match which {
            Which::Node => self.node.handle(now, input, out),
            Which::Shard(n) => self.shards[usize::from(n)].handle(now, input, out),
        }
    }

    pub fn poll_timeout(&self, which: Which) -> Option<Mono> {
        match which {
            Which::Node => self.node.poll_timeout(),
            Which::Shard(n) => self.shards[usize::from(n)].poll_timeout(),
        }
    }

    pub fn outbox(&mut self, which: Which, link: LinkId) -> Option<&mut Outbox> {
        match which {
            Which::Node => self.node.outbox(link),
            Which::Shard(n) => self.shards[usize::from(n)].outbox(link),
        }
    }

    pub fn inbox(&mut self, which: Which, link: LinkId) -> Option<&mut [u8]> {
        match which {
            Which::Node => self.node.inbox(link),
            Which::Shard(n) => self.shards[usize::from(n)].inbox(link),
        }
    }
}

/// A job as the shard of this process last said.
#[derive(Clone, Debug)]
pub struct Seen {
    pub job: Arc<Job>,
    pub stage: Stage,
    /// The node was told that the target may take over, and not yet that the job ended.
    pub granted: bool,
    /// Memory was lent to clients meanwhile.
    pub lent: bool,
}

impl Seen {
    /// Whether the source holds writes of the slots.
    pub fn is_paused(&self) -> bool {
        use export::State::{FailoverGranted, FailoverPaused};
        matches!(self.stage, Stage::Export(FailoverPaused | FailoverGranted))
    }

    /// Whether the keys that came in must not be seen.
    pub fn is_hidden(&self) -> bool {
        matches!(self.stage, Stage::Import(state) if !state.is_finished())
    }

    /// Whether the claim is being made.
    pub fn is_taking_over(&self) -> bool {
        matches!(self.stage, Stage::Import(import::State::FailoverGranted))
    }
}

/// One simulated process.
pub struct Process {
    pub index: usize,
    pub config: Arc<Config>,
    pub machines: Option<Machines>,
    /// Counts its lives.
    pub life: u32,
    /// Slots that it believed to own when this life began, and has not served since: nothing is in them.
    pub unserved: SlotSet,
    pub disk: Disk,
    /// How much its wall clock is ahead of the slowest, in microseconds.
    pub ahead: u64,
    /// How much faster its monotonic clock runs than the world, in parts of a million.
    pub rate: i64,
    /// Connections by machine and link: number and end.
    pub links: BTreeMap<(Which, LinkId), (usize, usize)>,
    pub next_accepted: u64,
    /// Connections under way between threads, by the names of their links: number, end, and whether nobody reads.
    pub moving: BTreeMap<LinkId, (usize, usize, bool)>,
    pub actions: Actions,
    pub post: Post,
    pub dirty: BTreeSet<(Which, LinkId)>,
    /// Links that end when their outbox is sent.
    pub closing: BTreeSet<(Which, LinkId)>,
    /// Links that ended so; their machines are yet to be told.
    pub late: VecDeque<(Which, LinkId)>,
    /// Machines with work left that needs no input.
    pub more: BTreeSet<Which>,
    /// When it is woken next.
    pub wake_at: u64,
    /// It stands still until then.
    pub frozen_until: u64,
    /// The newest that a shard routes by.
    pub view: Option<Arc<View>>,
    /// What each shard routes by.
    pub views: Vec<Arc<View>>,
    pub jobs: Arc<JobLog>,
    pub seen: BTreeMap<JobName, Seen>,
    /// Counts what an onlooker heard: while it stands still, who serves what does not change.
    pub stamp: u64,
    /// Wake-ups in a row at the same time.
    pub spins: u32,
    pub exit: Option<(i32, String)>,
    pub lent: Places,
}

impl Process {
    pub fn new(index: usize, config: Arc<Config>) -> Self {
        Self {
            index,
            machines: None,
            life: 0,
            unserved: SlotSet::new(),
            disk: Disk::default(),
            ahead: 0,
            rate: 0,
            links: BTreeMap::new(),
            next_accepted: 0,
            moving: BTreeMap::new(),
            actions: Actions::default(),
            post: Post::new(config.shards.into()),
            config,
            dirty: BTreeSet::new(),
            closing: BTreeSet::new(),
            late: VecDeque::new(),
            more: BTreeSet::new(),
            wake_at: u64::MAX,
            frozen_until: 0,
            view: None,
            views: Vec::new(),
            jobs: Arc::default(),
            seen: BTreeMap::new(),
            stamp: 0,
            spins: 0,
            exit: None,
            lent: Places::new(),
        }
    }

    pub fn ip(index: usize) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 0, 0, index as u8 + 1))
    }

    /// The process with this address.
    pub fn at(address: SocketAddr) -> Option<usize> {
        match address.ip() {
            IpAddr::V4(ip) if ip.octets()[..3] == [10, 0, 0] => Some(usize::from(ip.octets()[3]) - 1),
            _ => None,
        }
    }

    /// Its monotonic clock at a time of the world, in microseconds.
    pub fn local(&self, world: u64) -> u64 {
        let ahead = match (world as i64).checked_mul(self.rate) {
            Some(product) if world >> 62 == 0 => product / 1_000_000,
            _ => (world as i128 * i128::from(self.rate) / 1_000_000) as i64,
        };
        world.saturating_add_signed(ahead)
    }

    /// The earliest time of the world at which its monotonic clock shows at least `local`.
    pub fn world(&self, local: u64) -> u64 {
        if self.rate == 0 || local >> 50 != 0 {
            return local;
        }
        let mut world = (u128::from(local) * 1_000_000 / (1_000_000 + self.rate) as u128) as u64;
        while self.local(world) < local {
            world += 1;
        }
        world
    }

    /// What `us` microseconds of its monotonic clock last at most in the world, and a little more.
    pub fn stretched(&self, us: u64) -> u64 {
        us + us * self.rate.unsigned_abs() * 2 / 1_000_000 + 2
    }

    pub fn is_up(&self) -> bool {
        self.machines.is_some()
    }

    /// Whether a machine has something to do that needs no input.
    pub fn is_due(&self, which: Which, now: u64) -> bool {
        let Some(machines) = &self.machines else { return false };
        self.more.contains(&which) || machines.poll_timeout(which).is_some_and(|at| self.world(at.0) <= now)
    }

    /// What the shard of a slot routes by.
    fn view_of(&self, slot: Slot) -> Option<&Arc<View>> {
        self.views.get(usize::from(Shards::new(self.config.shards).of(slot).0))
    }

    /// Whether the shard would carry out reads of this slot's keys.
    pub fn owns(&self, slot: Slot) -> bool {
        self.machines.is_some()
            && self.view_of(slot).is_some_and(|view| view.state == State::Ok && view.is_mine(slot))
    }

    /// The slots that shards take for this process's own.
    pub fn own_slots(&self) -> SlotRanges {
        let Some(first) = self.views.first() else { return SlotRanges::default() };
        let same = |view: &Arc<View>| Arc::ptr_eq(view, first) || view.myself().slots == first.myself().slots;
        if self.views.iter().all(same) {
            return first.myself().slots.clone();
        }
        let mine = |slot: &Slot| self.view_of(*slot).is_some_and(|view| view.is_mine(*slot));
        Slot::all().filter(mine).collect::<SlotSet>().to_ranges()
    }

    /// Changes whenever what a shard routes by changes.
    pub fn version(&self) -> u64 {
        self.views.iter().map(|view| view.version).sum()
    }

    /// Whether the shard would carry out writes of this slot's keys.
    pub fn serves(&self, slot: Slot) -> bool {
        self.owns(slot) && !self.holds(slot)
    }

    /// Whether the hand-over of a job holds writes of this slot.
    pub fn holds(&self, slot: Slot) -> bool {
        self.seen.values().any(|seen| seen.is_paused() && seen.job.ranges.contains(slot))
    }

    /// Whether an import hides this slot.
    pub fn hides(&self, slot: Slot) -> bool {
        self.seen.values().any(|seen| seen.is_hidden() && seen.job.ranges.contains(slot))
    }

    /// What a mailed message tells an onlooker.
    pub fn overhear(&mut self, to: Which, mail: &Mail) {
        use whimbrel_core::mail::{Fact, Order};
        let heard = !matches!(mail, Mail::Pass(_) | Mail::Order(Order::Answer { .. } | Order::Mark(_)));
        self.stamp += u64::from(heard);
        match mail {
            Mail::Order(Order::Publish(view)) => {
                if let Some(old) = self.views.get_mut(to.thread()) {
                    *old = view.clone();
                }
                if self.view.as_ref().is_none_or(|newest| newest.version <= view.version) {
                    self.view = Some(view.clone());
                }
            }
            Mail::Order(Order::PublishJobs(log)) => self.jobs = log.clone(),
            Mail::Order(Order::StartExport { job, .. }) => {
                let stage = Stage::Export(export::State::Connecting);
                self.seen.insert(job.name, Seen { job: job.clone(), stage, granted: false, lent: false });
            }
            Mail::Order(Order::StartImport { job, .. }) => {
                let stage = Stage::Import(import::State::WaitingForAck);
                self.seen.insert(job.name, Seen { job: job.clone(), stage, granted: false, lent: false });
            }
            Mail::Fact(Fact::Entered { job, stage }) => {
                if let Some(seen) = self.seen.get_mut(job) {
                    seen.stage = *stage;
                }
            }
            Mail::Fact(Fact::Granted { job }) => {
                if let Some(seen) = self.seen.get_mut(job) {
                    seen.granted = true;
                }
            }
            Mail::Fact(Fact::Ended { job, .. }) => {
                self.seen.remove(job);
            }
            _ => {}
        }
    }
}
