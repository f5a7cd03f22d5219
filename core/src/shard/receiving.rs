//! Lanes of imports: further links of their sources, each of which ends in the shard that has its slots, wherever the first
//! link of the job is.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::action::{Action, Actions, Ending, Purpose};
use crate::config::Config;
use crate::ids::{JobName, LinkId, ShardIndex, Shards};
use crate::link::Outbox;
use crate::migration::import;
use crate::migration::job::{Job, Timing};
use crate::migration::lane::{Lanes, Receiver, receiver};
use crate::migration::request::Refused;
use crate::shard::data::Data;
use crate::shard::env::Env;
use crate::shard::errand::Errand;
use crate::shard::footprint::Share;
use crate::shard::intake::Intake;
use crate::shard::session::{Client, Session};
use crate::shard::upcoming::Upcoming;
use crate::shard::whole::Request;
use crate::shard::{Link, Shard};
use crate::time::{Mono, Now};
use crate::wire::resp::Argv;
use crate::wire::syncslots::{self, Word};

/// What was agreed to about the lanes of one import, some of which may end in this shard.
#[derive(Debug)]
struct Agreed {
    job: Arc<Job>,
    lanes: Lanes,
    /// The shard with the first link.
    home: ShardIndex,
    timing: Timing,
    /// Those that have come.
    come: Vec<ShardIndex>,
}

/// The lanes that end in a shard.
#[derive(Debug, Default)]
pub(crate) struct Landings {
    agreed: Vec<Agreed>,
    list: Vec<Receiving>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Receiving {
    receiver: Receiver,
    job: JobName,
    home: ShardIndex,
    pub(crate) outbox: Outbox,
    /// The client this link was before LANE, for CLIENT LIST.
    pub(crate) client: Client,
    intake: Intake,
    actions: Vec<receiver::Action>,
}

/// The shard where the link of a source ends that says this, if that matters: LANE, or ESTABLISH behind an offer of lanes.
pub(crate) fn home_of_stream(argv: Argv<'_>, offered: Option<Shards>, env: &Env) -> Option<ShardIndex> {
    let words = || argv.iter().skip(3).collect::<Vec<_>>();
    match Word::of(argv.opt(2)?) {
        Word::Lane => {
            let lane = syncslots::Lane::parse(&words()).ok()?;
            Some(ShardIndex(lane.shard.0 % env.shards.count()))
        }
        Word::Establish => {
            offered?;
            let job = syncslots::Establish::parse(&words()).ok()?;
            Lanes::agreed(&job.ranges, offered, env.shards).map(|(_, first)| first)
        }
        _ => None,
    }
}

impl Receiving {
    /// Bytes of memory that the link takes.
    fn memory(&self) -> u64 {
        (size_of::<Self>() + self.outbox.memory() + self.receiver.memory()) as u64
    }

    /// Bytes from the source: every complete command is applied.
    fn filled(
        &mut self,
        now: Now,
        bytes: &[u8],
        data: &mut Data,
        config: &Config,
        out: &mut Actions,
        told: &mut Vec<Errand>,
    ) {
        self.client.last_active = now.mono;
        self.client.bytes_in += bytes.len() as u64;
        data.totals.import_bytes += bytes.len() as u64;
        let mut upcoming = Upcoming::new(bytes);
        loop {
            let Self { intake, receiver, actions, .. } = self;
            let is_used = intake.take_in(now, receiver.stream(), actions, &mut upcoming, data, config, out);
            self.carry_out(out, told);
            if is_used || !self.receiver.is_reading() {
                break;
            }
        }
        self.client.last_command = self.intake.last_command.or(self.client.last_command);
    }

    fn tell(&mut self, now: Now, input: receiver::Input, out: &mut Actions, told: &mut Vec<Errand>) {
        self.receiver.handle(now, input, &mut self.actions);
        self.carry_out(out, told);
    }

    /// Does what the machine wants; `told` is for the shard with the first link.
    fn carry_out(&mut self, out: &mut Actions, told: &mut Vec<Errand>) {
        let (job, link) = (self.job, self.client.link);
        let landed = |input| Errand::Landed { job, input };
        for action in self.actions.drain(..) {
            match action {
                receiver::Action::Send(bytes) => {
                    self.outbox.push(bytes);
                    out.push(Action::Flush { link });
                }
                receiver::Action::Arrived => told.push(landed(import::Input::LaneArrived)),
                receiver::Action::Paused => told.push(landed(import::Input::LanePaused)),
                receiver::Action::Close => out.push(Action::Close { link, ending: Ending::Abrupt }),
                receiver::Action::Entered(state) => {
                    tracing::debug!("Slot migration {job}: lane {link} is {state}");
                }
                receiver::Action::Failed(failure) => told.push(Errand::Stop { job, failure }),
            }
        }
    }
}

impl Landings {
    /// Those that are linked.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Receiving> {
        self.list.iter()
    }

    /// The same, to be changed.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Receiving> {
        self.list.iter_mut()
    }

    /// The outbox of a lane.
    pub(crate) fn outbox(&mut self, link: LinkId) -> Option<&mut Outbox> {
        self.find(link).map(|lane| &mut lane.outbox)
    }

    /// When the next timer of a lane runs out.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        self.list.iter().filter_map(|lane| lane.receiver.poll_timeout()).min()
    }

    /// An import that has its first link in the shard `home` agreed to lanes.
    pub(crate) fn expect(&mut self, job: Arc<Job>, lanes: Lanes, home: ShardIndex, timing: Timing) {
        self.agreed.push(Agreed { job, lanes, home, timing, come: Vec::new() });
    }

    /// Whether there is none, and none is expected.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.agreed.is_empty() && self.list.is_empty()
    }

    fn find(&mut self, link: LinkId) -> Option<&mut Receiving> {
        self.list.iter_mut().find(|lane| lane.client.link == link)
    }
}

impl Shard {
    /// CLUSTER SYNCSLOTS LANE: the client becomes a lane of an import; whether it did.
    pub(crate) fn start_lane(
        &mut self,
        now: Now,
        link: LinkId,
        words: &[&[u8]],
        out: &mut Actions,
    ) -> Result<(), Refused> {
        let syncslots::Lane { name, shard: lane } = syncslots::Lane::parse(words)?;
        let (here, shards) = (self.env.index, self.env.shards);
        let agreed = self.landings.agreed.iter_mut().find(|agreed| agreed.job.name == name);
        let agreed = agreed.ok_or(Refused::NoSuchJob)?;
        let Agreed { job, lanes, home, timing, come } = agreed;
        let (home, timing) = (*home, *timing);
        let is_one = lanes.all(&job.ranges).contains(&lane) && lanes.end(lane, shards) == here;
        if !is_one || come.contains(&lane) {
            return Err(Refused::NoSuchLane);
        }
        let idle = |session: &Session| !session.client.is_executing() && link.shard() == here;
        if !matches!(self.links.get(&link), Some(Link::Client(session)) if idle(session)) {
            return Err(Refused::NoSuchLane);
        }
        come.push(lane);
        let intake = Intake::new(name, lanes.slots(&job.ranges, lane), here, shards, []);
        let Some(session) = self.take_session(now, link, out) else { return Err(Refused::NoSuchLane) };
        out.push(Action::Tune { link, purpose: Purpose::Migration });
        let Session { reader, outbox, client } = *session;
        let mut actions = Vec::new();
        let receiver = Receiver::new(reader, timing, self.data.store.databases(), now, &mut actions);
        self.links.insert(link, Link::Lane);
        let lane = Receiving { receiver, job: name, home, outbox, client, intake, actions };
        self.landings.list.push(lane);
        // The answer goes. What the source sent behind LANE, if it did not wait for that, is in the reader.
        self.lane_filled(now, link, &[], out);
        Ok(())
    }

    /// Whether siblings may still tell of a job that LANE has named. Its link may have come here faster than what the first
    /// link's shard has sent: they went different ways. What a sibling is asked it answers behind all that it said before.
    pub(crate) fn may_hear_of_job(&self, request: &Request<'_>) -> bool {
        let Some(Link::Client(session)) = self.links.get(&request.link) else { return false };
        request.parts.is_empty() && self.env.shards != Shards::ONE && !session.client.is_executing()
    }

    /// Bytes have come on a lane.
    pub(crate) fn lane_filled(&mut self, now: Now, link: LinkId, bytes: &[u8], out: &mut Actions) {
        let Self { landings, data, env, .. } = self;
        let mut told = Vec::new();
        if let Some(lane) = landings.find(link) {
            lane.filled(now, bytes, data, &env.config, out, &mut told);
        }
        self.after_lane(now, link, told, out);
    }

    /// A lane is gone.
    pub(crate) fn lane_closed(&mut self, now: Now, link: LinkId, out: &mut Actions) {
        self.tell_lane(now, link, receiver::Input::Closed, out);
    }

    fn tell_lane(&mut self, now: Now, link: LinkId, input: receiver::Input, out: &mut Actions) {
        let mut told = Vec::new();
        if let Some(lane) = self.landings.find(link) {
            lane.tell(now, input, out, &mut told);
        }
        self.after_lane(now, link, told, out);
    }

    /// Forgets a lane that has ended, and tells the shard with the first link what it has to know.
    fn after_lane(&mut self, now: Now, link: LinkId, told: Vec<Errand>, out: &mut Actions) {
        let at = self.landings.list.iter().position(|lane| lane.client.link == link);
        let Some(at) = at else { return };
        let lane = &mut self.landings.list[at];
        let home = lane.home;
        if lane.receiver.is_reading() {
            self.reckon(link);
        } else {
            let mut lane = self.landings.list.swap_remove(at);
            self.data.footprint.leave(&mut lane.client);
            self.unlink(link, out);
        }
        for errand in told {
            if home == self.env.index {
                self.run_errand(now, errand, out);
            } else {
                out.pass(home, errand);
            }
        }
    }

    /// An import is over or about to be: nothing of its lanes is applied any more, and none is let in.
    pub(crate) fn end_lanes(&mut self, now: Now, job: JobName, out: &mut Actions) {
        self.landings.agreed.retain(|agreed| agreed.job.name != job);
        let of_job = self.landings.iter().filter(|lane| lane.job == job);
        for link in of_job.map(|lane| lane.client.link).collect::<Vec<_>>() {
            self.tell_lane(now, link, receiver::Input::Over, out);
        }
    }

    /// Runs the timers of lanes.
    pub(crate) fn tick_lanes(&mut self, now: Now, out: &mut Actions) {
        let is_due = |lane: &&Receiving| lane.receiver.poll_timeout().is_some_and(|at| at <= now.mono);
        let due = self.landings.iter().filter(is_due).map(|lane| lane.client.link);
        for link in due.collect::<Vec<_>>() {
            self.tell_lane(now, link, receiver::Input::Ticked, out);
        }
    }

    /// Looks at what a lane takes.
    pub(crate) fn reckon_lane(&mut self, link: LinkId) {
        let Some(lane) = self.landings.find(link) else { return };
        let share = Share { total: lane.memory(), ..Share::default() };
        let before = core::mem::replace(&mut lane.client.share, share);
        let imports = &mut self.data.footprint.imports;
        *imports = *imports + share.total - before.total;
    }
}
