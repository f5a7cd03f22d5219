//! What the node tells the shard to do.

use alloc::sync::Arc;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::action::Actions;
use crate::cluster::takeover::Confirmed;
use crate::config::Config;
use crate::ids::{JobName, LinkId};
use crate::input::Origin;
use crate::mail::{Fact, Order};
use crate::migration::failure::Failure;
use crate::migration::job::{Job, Outcome, Settlement, Timing};
use crate::migration::lane::Lanes;
use crate::migration::log::Stage;
use crate::migration::{export, import};
use crate::shard::errand::Errand;
use crate::shard::imports::Importing;
use crate::shard::session::{Client, Session};
use crate::shard::{Link, Shard};
use crate::slots::{Slot, SlotSet};
use crate::time::Now;

impl Shard {
    /// Carries out an order.
    pub(crate) fn obey(&mut self, now: Now, order: Order, out: &mut Actions) {
        match order {
            Order::Publish(view) => {
                self.data.usage.moved(&self.env.view, &view);
                self.env.view = view;
            }
            Order::PublishJobs(jobs) => self.env.jobs = jobs,
            Order::Configure(config, timing) => self.configure(now, config, timing, out),
            Order::Mark(mark) => out.report(Fact::Passed(mark)),
            Order::Answer { link, reply } => self.answered(now, link, reply, out),
            Order::StartExport { job, to, credentials, timing } => {
                let client = self.exporting_client(now, to);
                let (name, prevented) = (job.name, self.debugging.pause_prevented);
                self.with_exports(now, out, |e, s| {
                    e.start(job, client, to, credentials, timing, s);
                    if prevented {
                        e.tell_job(name, export::Input::PausePrevented(true), s);
                    }
                });
            }
            Order::StopExport { job, failure } => {
                let input = failure.map_or(export::Input::Cancelled, export::Input::Stopped);
                self.with_exports(now, out, |e, s| e.tell_job(job, input, s));
            }
            Order::StartImport { link, job, timing, left } => {
                left.iter().for_each(|left| self.drop_slots(left));
                self.start_import(now, link, job, timing, left, out);
            }
            Order::StopImport { job, failure } => {
                self.tell_import(now, job, import::Input::Stopped(failure), out);
            }
            Order::Settled { job, settlement } => self.settled(now, job, settlement, out),
            Order::TakenOver { job } => {
                self.end_lanes(now, job, out);
                self.end_graft(job);
                self.tell_import(now, job, import::Input::TakenOver, out);
            }
            Order::Withdrawn { job } => {
                self.tell_import(now, job, import::Input::Withdrawn, out);
            }
            Order::Drop(confirmed) => self.drop_slots_but_grafts(&confirmed),
            Order::CleanUp { job, confirmed } => {
                self.clean_up(now, job, confirmed, out);
            }
        }
    }

    fn configure(&mut self, now: Now, config: Arc<Config>, timing: Timing, out: &mut Actions) {
        self.configured += 1;
        self.data.configure(&config);
        let users_changed = self.env.config.users != config.users;
        self.env.config = config;
        self.share_memory();
        self.data.exports.set_timing(timing);
        if users_changed {
            self.users_changed(now, out);
        }
    }

    /// What CLIENT LIST shows of a link to the target of an export, and that link.
    pub(crate) fn exporting_client(&mut self, now: Now, to: Option<SocketAddr>) -> Client {
        self.next_link += 1;
        let link = LinkId::dialed(self.next_link).of(self.env.index);
        self.links.insert(link, Link::Export);
        let nowhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        let user = self.env.config.users.default_user().clone();
        let origin = Origin::Tcp { peer: to.unwrap_or(nowhere), local: nowhere };
        Session::new(self.next_id(), link, origin, user, now).client
    }

    /// The client that announced a migration to us becomes its source.
    fn start_import(
        &mut self,
        now: Now,
        link: LinkId,
        job: Arc<Job>,
        timing: Timing,
        left: Option<Confirmed>,
        out: &mut Actions,
    ) {
        let Some(session) = self.take_session(now, link, out) else {
            // The source left while the node was deciding. Nothing came in, so nothing has to go.
            let stage = Stage::Import(import::State::Failed);
            out.report(Fact::Entered { job: job.name, stage });
            let outcome = Outcome::Failed(Failure::ConnectionLostToSource);
            out.report(Fact::Ended { job: job.name, outcome, pause: None });
            return;
        };
        let lanes = self.lanes_for(&session.client, &job);
        let store = &mut self.data.store;
        let (shards, home) = (self.env.shards, self.env.index);
        let (importing, after) = Importing::start(*session, job, timing, lanes, shards, now, store, out);
        let lanes = lanes.map(|lanes| (lanes, timing));
        for sibling in &importing.siblings {
            let (job, left) = (importing.job.clone(), left.clone());
            out.pass(*sibling, Errand::Graft { home, job, left, lanes });
        }
        if let Some((lanes, timing)) = lanes {
            self.landings.expect(importing.job.clone(), lanes, home, timing);
        }
        self.links.insert(link, Link::Import(importing));
        self.imports += 1;
        self.after_import(now, link, after, out);
        // What the source sent behind ESTABLISH waits in the reader.
        self.filled(now, link, &[], out);
    }

    /// The lanes of an import, if its source offered some, they fit, and this is where its first link belongs.
    fn lanes_for(&self, source: &Client, job: &Job) -> Option<Lanes> {
        let (lanes, first) = Lanes::agreed(&job.ranges, source.lanes, self.env.shards)?;
        (first == self.env.index).then_some(lanes)
    }

    fn settled(&mut self, now: Now, job: JobName, settlement: Settlement, out: &mut Actions) {
        self.with_exports(now, out, |e, s| {
            e.tell_job(job, export::Input::Settled(settlement), s);
            if settlement == Settlement::OwnedByTarget {
                e.end_branch(job, s);
            }
        });
        self.tell_import(now, job, import::Input::Settled(settlement), out);
    }

    /// Deletes the keys of slots that are confirmed to be no longer ours to keep: their tables are detached at once
    /// and freed in slices.
    pub(crate) fn drop_slots(&mut self, confirmed: &Confirmed) {
        self.detach(|slot| confirmed.slots().contains(slot), confirmed);
    }

    /// The same when the node says so by itself. It may say it before an import of these slots began whose first commands
    /// came by way of a sibling and were faster: what they brought stays. What was there before is gone since then.
    fn drop_slots_but_grafts(&mut self, confirmed: &Confirmed) {
        let grafted: SlotSet = self.grafts.iter().flat_map(|graft| graft.slots.iter()).collect();
        self.detach(|slot| confirmed.slots().contains(slot) && !grafted.contains(slot), confirmed);
    }

    fn detach(&mut self, goes: impl Fn(Slot) -> bool, confirmed: &Confirmed) {
        self.keys_vanish(&goes);
        // What becomes of a key is not seen here any more, also of one that was missing.
        self.data.effects.watched().touch_where(|_, key| goes(Slot::of(key)));
        for slot in confirmed.slots().slots().filter(|slot| goes(*slot)) {
            self.data.store.detach(slot);
        }
    }
}
