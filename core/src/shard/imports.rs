//! The target's side of slot migrations in a shard: the source's stream applied to hidden slots.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::action::{Action, Actions, Ending, Purpose};
use crate::command;
use crate::command::context::{Caller, Cx};
use crate::command::table::{self, Command, flags};
use crate::config::Config;
use crate::ids::{JobName, LinkId};
use crate::link::Outbox;
use crate::mail::Fact;
use crate::migration::LIMITS;
use crate::migration::failure::Failure;
use crate::migration::import::{self, Import, Read, Rejected};
use crate::migration::job::{Job, Timing};
use crate::migration::log::Stage;
use crate::shard::data::Data;
use crate::shard::eviction::Room;
use crate::shard::home::{Home, home};
use crate::shard::route::{Place, place_in_cluster};
use crate::shard::session::{Client, Session};
use crate::shard::upcoming::Upcoming;
use crate::shard::{Link, Shard};
use crate::slots::SlotSet;
use crate::store::Store;
use crate::time::{Mono, Now};
use crate::wire::resp::{Argv, Proto, Reply};

/// One import job with its link.
#[derive(Debug)]
pub(crate) struct Importing {
    pub(crate) import: Import,
    pub(crate) job: Arc<Job>,
    pub(crate) outbox: Outbox,
    /// The client this link was before ESTABLISH, for CLIENT LIST.
    pub(crate) client: Client,
    slots: SlotSet,
    actions: Vec<import::Action>,
    /// Replies of applied commands, looked at for errors and forgotten.
    replies: Outbox,
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
        now: Now,
        store: &mut Store,
        out: &mut Actions,
    ) -> (Box<Self>, After) {
        let mut actions = Vec::new();
        let mut import = Import::new(job.clone(), timing, store.databases(), now, &mut actions);
        import.adopt(session.reader);
        for slot in job.ranges.slots() {
            store.hide(slot);
        }
        out.push(Action::Tune { link: session.client.link, purpose: Purpose::Migration });
        let mut importing = Box::new(Self {
            import,
            slots: job.ranges.to_set(),
            job,
            outbox: session.outbox,
            client: session.client,
            actions,
            replies: Outbox::default(),
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
            if !self.import.takes_commands() {
                upcoming.forget();
            } else if upcoming.is_empty() {
                upcoming.look(&LIMITS, self.import.db(), &data.store, place);
            }
            let result = if let Some(call) = upcoming.take() {
                let db = self.import.taken(now);
                let write =
                    Write { db, command: call.command, argv: upcoming.argv(&call), place: call.place };
                Some(write.apply(now, &self.slots, &mut self.replies, data, config))
            } else {
                match self.import.read(now, upcoming.input(), &mut self.actions) {
                    Read::Starved => break,
                    Read::Heard => None,
                    Read::Apply { db, argv } => Some(match Write::found(db, argv) {
                        Some(write) => write.apply(now, &self.slots, &mut self.replies, data, config),
                        None => Err(Rejected::Error),
                    }),
                }
            };
            if let Some(result) = result {
                let result = result.map(|command| self.client.last_command = Some(command));
                self.import.applied(result, &mut self.actions);
            }
            if !self.actions.is_empty() {
                let after = self.carry_out(&mut data.store, out);
                if after != After::Goes {
                    return after;
                }
            }
        }
        self.carry_out(&mut data.store, out)
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
                import::Action::Unhide => self.slots.iter().for_each(|slot| store.unhide(slot)),
                import::Action::DropSlots => out.report(Fact::CleanUp { job: name }),
                import::Action::Close => {
                    out.push(Action::Close { link, ending: Ending::Abrupt });
                    after = After::Unlinked;
                }
                import::Action::Entered(state) => {
                    out.report(Fact::Entered { job: name, stage: Stage::Import(state) });
                }
                import::Action::Ended { outcome } => {
                    for slot in self.slots.iter() {
                        store.unhide(slot);
                    }
                    out.report(Fact::Ended { job: name, outcome, pause: None });
                    return After::Ended;
                }
            }
        }
        after
    }
}

/// Where a command of the stream has its keys; nothing if it is none of keys.
fn place(command: &'static Command, argv: Argv<'_>) -> Option<Place> {
    (home(command) == Home::Data).then(|| place_in_cluster(command, argv))
}

/// One command of the stream.
struct Write<'a> {
    db: u32,
    command: &'static Command,
    argv: Argv<'a>,
    place: Place,
}

impl<'a> Write<'a> {
    /// The write that a command is, if it is one of keys.
    fn found(db: u32, argv: Argv<'a>) -> Option<Self> {
        let command = table::resolve(argv).ok()?;
        Some(Self { db, command, argv, place: place(command, argv)? })
    }

    /// Applies it. All its keys have to be in one slot of the job: a stream must not reach others.
    fn apply(
        self,
        now: Now,
        slots: &SlotSet,
        replies: &mut Outbox,
        data: &mut Data,
        config: &Config,
    ) -> Result<&'static Command, Rejected> {
        let Self { db, command, argv, place } = self;
        let limited = data.eviction.is_limited();
        if limited && data.make_room(now, 0) == Room::None && command.is(flags::DENYOOM) {
            return Err(Rejected::Oom);
        }
        let Place::One(Some(slot)) = place else { return Err(Rejected::Error) };
        if !slots.contains(slot) {
            return Err(Rejected::Error);
        }
        data.effects.begin(db, false);
        let Data { store, effects, stats, rng, .. } = data;
        let mut cx = Cx {
            now,
            db,
            slot,
            caller: Caller::Import,
            store,
            reply: Reply::new(replies, Proto::Resp2),
            effects,
            stats,
            config,
            rng,
            no_touch: false,
        };
        command::run(command.id, &mut cx, argv);
        let failed = replies.chunks().next().is_some_and(|reply| reply.first() == Some(&b'-'));
        replies.clear();
        if failed { Err(Rejected::Error) } else { Ok(command) }
    }
}

/// The input that ends an import for `failure`.
pub(crate) fn stopped(failure: &Failure) -> import::Input {
    import::Input::Stopped(failure.clone())
}

impl Shard {
    /// A link of an import has heard something: what became of the import.
    pub(super) fn after_import(&mut self, link: LinkId, after: After) {
        match after {
            After::Goes => {}
            After::Unlinked => {
                if let Some(Link::Import(mut importing)) = self.links.remove(&link) {
                    self.imports -= 1;
                    self.data.footprint.leave(&mut importing.client);
                    self.unlinked.insert(importing.job.name, importing);
                }
            }
            After::Ended => {
                if let Some(Link::Import(mut importing)) = self.links.remove(&link) {
                    self.imports -= 1;
                    self.data.footprint.leave(&mut importing.client);
                }
            }
        }
    }

    /// Gives the import `name` an input, wherever it is.
    pub(crate) fn tell_import(
        &mut self,
        now: Now,
        name: JobName,
        input: import::Input,
        out: &mut Actions,
    ) -> Option<After> {
        let linked = self.links.iter_mut().find_map(|(link, l)| match l {
            Link::Import(importing) if importing.job.name == name => Some((Some(*link), importing)),
            _ => None,
        });
        let (link, importing) = match linked {
            Some((link, importing)) => (link, importing),
            None => (None, self.unlinked.get_mut(&name)?),
        };
        let after = importing.tell(now, input, &mut self.data.store, out);
        match link {
            Some(link) => self.after_import(link, after),
            None if after == After::Ended => {
                self.unlinked.remove(&name);
            }
            None => {}
        }
        Some(after)
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
