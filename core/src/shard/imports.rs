//! The target's side of slot migrations in a shard: the source's stream applied to hidden slots.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::action::{Action, Actions, Ending, Purpose};
use crate::cluster::takeover::Confirmed;
use crate::config::Config;
use crate::ids::{JobName, LinkId, ShardIndex, Shards};
use crate::link::Outbox;
use crate::mail::Fact;
use crate::migration::failure::Failure;
use crate::migration::import::{self, Import, Rejected};
use crate::migration::job::{Job, Timing};
use crate::migration::lane::Lanes;
use crate::migration::log::Stage;
use crate::shard::data::Data;
use crate::shard::errand::Errand;
use crate::shard::intake::Intake;
use crate::shard::session::{Client, Session};
use crate::shard::sheaf::Sheaf;
use crate::shard::upcoming::Upcoming;
use crate::shard::{Link, Shard};
use crate::store::Store;
use crate::time::{Mono, Now};

/// The link of an import is left alone while siblings have more than this to apply …
const UNAPPLIED_MOST: usize = 1024 * 1024;
/// … until it is less than this.
const UNAPPLIED_FEW: usize = 256 * 1024;

/// One import job with its link.
#[derive(Debug)]
pub(crate) struct Importing {
    pub(crate) import: Import,
    pub(crate) job: Arc<Job>,
    pub(crate) outbox: Outbox,
    /// The client this link was before ESTABLISH, for CLIENT LIST.
    pub(crate) client: Client,
    intake: Intake,
    /// The siblings that have slots of the job.
    pub(crate) siblings: Vec<ShardIndex>,
    reading_paused: bool,
    /// Siblings that have not cleaned up.
    uncleaned: usize,
    actions: Vec<import::Action>,
}

/// What became of an import after an input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum After {
    /// It goes on.
    Goes,
    /// The link is closed, the job is not ended yet (it cleans up).
    Unlinked,
    /// It ended.
    Ended,
}

impl Importing {
    /// Makes the client that sent ESTABLISH an import link: its slots are hidden from now on.
    pub(crate) fn start(
        session: Session,
        job: Arc<Job>,
        timing: Timing,
        lanes: Option<Lanes>,
        shards: Shards,
        now: Now,
        store: &mut Store,
        out: &mut Actions,
    ) -> (Box<Self>, After) {
        let home = session.client.link.shard();
        let siblings: BTreeSet<_> = job.ranges.slots().map(|slot| shards.of(slot)).collect();
        let siblings: Vec<_> = siblings.into_iter().filter(|sibling| *sibling != home).collect();
        // What lanes bring does not come here.
        let main = lanes.and_then(|lanes| Some(lanes.slots(&job.ranges, lanes.main(&job.ranges)?)));
        let intake = match main {
            Some(slots) => Intake::new(job.name, slots, home, shards, []),
            None => Intake::new(job.name, job.ranges.to_set(), home, shards, siblings.iter().copied()),
        };
        let mut actions = Vec::new();
        let databases = store.databases();
        let mut import = Import::with_lanes(job.clone(), timing, databases, lanes, now, &mut actions);
        import.adopt(session.reader);
        for slot in job.ranges.slots() {
            store.hide(slot);
        }
        out.push(Action::Tune { link: session.client.link, purpose: Purpose::Migration });
        let mut importing = Box::new(Self {
            import,
            intake,
            siblings,
            reading_paused: false,
            uncleaned: 0,
            job,
            outbox: session.outbox,
            client: session.client,
            actions,
        });
        let after = importing.carry_out(store, out);
        (importing, after)
    }

    /// Bytes of memory that the link takes.
    pub(crate) fn memory(&self) -> u64 {
        (size_of::<Self>() + self.outbox.memory() + self.import.memory()) as u64
    }

    /// Bytes from the source: every complete command is applied.
    pub(crate) fn filled(
        &mut self,
        now: Now,
        bytes: &[u8],
        data: &mut Data,
        config: &Config,
        out: &mut Actions,
    ) -> After {
        self.client.last_active = now.mono;
        self.client.bytes_in += bytes.len() as u64;
        data.totals.import_bytes += bytes.len() as u64;
        let mut upcoming = Upcoming::new(bytes);
        loop {
            let Self { intake, import, actions, .. } = self;
            if intake.take_in(now, import.stream(), actions, &mut upcoming, data, config, out) {
                break;
            }
            let after = self.carry_out(&mut data.store, out);
            if after != After::Goes {
                return after;
            }
        }
        self.client.last_command = self.intake.last_command.or(self.client.last_command);
        self.intake.pass_on(out);
        if self.intake.unapplied() > UNAPPLIED_MOST && !self.reading_paused {
            self.reading_paused = true;
            out.push(Action::PauseReading { link: self.client.link });
        }
        self.carry_out(&mut data.store, out)
    }

    /// A sibling has applied commands.
    fn part_applied(&mut self, applied: Applied, store: &mut Store, out: &mut Actions) -> After {
        let Applied { shard, sheaf, failed, .. } = applied;
        for _ in 0..sheaf.commands() {
            let result = failed.map_or(Ok(()), Err);
            self.import.applied(result, &mut self.actions);
        }
        self.intake.part_applied(shard, sheaf);
        if self.reading_paused && self.intake.unapplied() < UNAPPLIED_FEW && self.import.is_reading() {
            self.reading_paused = false;
            out.push(Action::ResumeReading { link: self.client.link });
        }
        self.carry_out(store, out)
    }

    /// Whether nothing that comes on this link is for siblings.
    #[cfg(test)]
    pub(crate) fn has_no_parts(&self) -> bool {
        self.intake.has_no_parts()
    }

    /// Gives the machine an input.
    pub(crate) fn tell(
        &mut self,
        now: Now,
        input: import::Input,
        store: &mut Store,
        out: &mut Actions,
    ) -> After {
        self.import.handle(now, input, &mut self.actions);
        self.carry_out(store, out)
    }

    fn carry_out(&mut self, store: &mut Store, out: &mut Actions) -> After {
        let name = self.job.name;
        let link = self.client.link;
        let mut after = After::Goes;
        for action in self.actions.drain(..) {
            match action {
                import::Action::Send(bytes) => {
                    self.outbox.push(bytes);
                    out.push(Action::Flush { link });
                }
                import::Action::AssignSlots => out.report(Fact::TakeOver { job: name }),
                import::Action::Withdraw => out.report(Fact::Withdraw { job: name }),
                import::Action::Unhide => self.job.ranges.slots().for_each(|slot| store.unhide(slot)),
                import::Action::DropSlots => out.report(Fact::CleanUp { job: name }),
                import::Action::Close => {
                    out.push(Action::Close { link, ending: Ending::Abrupt });
                    after = After::Unlinked;
                }
                import::Action::Entered(state) => {
                    out.report(Fact::Entered { job: name, stage: Stage::Import(state) });
                }
                import::Action::Ended { outcome } => {
                    self.job.ranges.slots().for_each(|slot| store.unhide(slot));
                    out.report(Fact::Ended { job: name, outcome, pause: None });
                    return After::Ended;
                }
            }
        }
        after
    }
}

/// What a sibling has done of a batch.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) job: JobName,
    pub(crate) shard: ShardIndex,
    pub(crate) sheaf: Sheaf,
    pub(crate) failed: Option<Rejected>,
}

/// The input that ends an import for `failure`.
pub(crate) fn stopped(failure: &Failure) -> import::Input {
    import::Input::Stopped(failure.clone())
}

impl Shard {
    /// A link of an import has heard something: what became of the import.
    pub(super) fn after_import(&mut self, now: Now, link: LinkId, after: After, out: &mut Actions) {
        if after == After::Goes {
            return;
        }
        let Some(Link::Import(mut importing)) = self.unlink(link, out) else { return };
        self.imports -= 1;
        self.data.footprint.leave(&mut importing.client);
        let name = importing.job.name;
        if after == After::Unlinked {
            self.unlinked.insert(name, importing);
        }
        self.end_lanes(now, name, out);
    }

    /// Gives the import `name` an input, wherever it is.
    pub(crate) fn tell_import(
        &mut self,
        now: Now,
        name: JobName,
        input: import::Input,
        out: &mut Actions,
    ) -> Option<After> {
        self.with_import(now, name, out, |importing, store, out| importing.tell(now, input, store, out))
    }

    fn with_import(
        &mut self,
        now: Now,
        name: JobName,
        out: &mut Actions,
        f: impl FnOnce(&mut Importing, &mut Store, &mut Actions) -> After,
    ) -> Option<After> {
        let linked = self.links.iter_mut().find_map(|(link, l)| match l {
            Link::Import(importing) if importing.job.name == name => Some((Some(*link), importing)),
            _ => None,
        });
        let (link, importing) = match linked {
            Some((link, importing)) => (link, importing),
            None => (None, self.unlinked.get_mut(&name)?),
        };
        let after = f(importing, &mut self.data.store, out);
        match link {
            Some(link) => self.after_import(now, link, after, out),
            None if after == After::Ended => {
                self.unlinked.remove(&name);
            }
            None => {}
        }
        Some(after)
    }

    /// A sibling has applied commands of an import.
    pub(crate) fn part_applied(&mut self, now: Now, applied: Applied, out: &mut Actions) {
        self.with_import(now, applied.job, out, |importing, store, out| {
            importing.part_applied(applied, store, out)
        });
    }

    /// The keys of a failed import go, here and at the siblings; the job ends when all of them are gone.
    pub(crate) fn clean_up(
        &mut self,
        now: Now,
        job: JobName,
        confirmed: Option<Confirmed>,
        out: &mut Actions,
    ) {
        self.end_lanes(now, job, out);
        if let Some(confirmed) = &confirmed {
            self.drop_slots(confirmed);
        }
        self.with_import(now, job, out, |importing, store, out| {
            for sibling in &importing.siblings {
                out.pass(*sibling, Errand::Uproot { job, confirmed: confirmed.clone() });
            }
            importing.uncleaned = importing.siblings.len();
            match importing.uncleaned {
                0 => importing.tell(now, import::Input::Cleaned, store, out),
                _ => After::Goes,
            }
        });
    }

    /// A sibling has nothing of an import any more.
    pub(crate) fn part_cleaned(&mut self, now: Now, job: JobName, out: &mut Actions) {
        self.with_import(now, job, out, |importing, store, out| {
            importing.uncleaned = importing.uncleaned.saturating_sub(1);
            match importing.uncleaned {
                0 => importing.tell(now, import::Input::Cleaned, store, out),
                _ => After::Goes,
            }
        });
    }

    /// All unfinished imports.
    pub(crate) fn importing(&self) -> impl Iterator<Item = &Importing> {
        let linked = self.links.values().filter_map(|link| match link {
            Link::Import(importing) => Some(&**importing),
            _ => None,
        });
        let linked = linked.take(self.imports);
        linked.chain(self.unlinked.values().map(|i| &**i))
    }

    /// When the next timer of an import runs out.
    pub(super) fn imports_deadline(&self) -> Option<Mono> {
        self.importing().filter_map(|i| i.import.poll_timeout()).min()
    }
}
