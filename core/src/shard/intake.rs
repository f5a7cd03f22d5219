//! The stream of a migration as it comes on a link: its commands are applied here, or go to the siblings that have their slots.

use alloc::vec::Vec;

use crate::action::Actions;
use crate::command::table::Command;
use crate::config::Config;
use crate::ids::{JobName, ShardIndex, Shards};
use crate::link::Outbox;
use crate::migration::LIMITS;
use crate::migration::import::{Read, Rejected};
use crate::migration::stream::{Rules, Stream};
use crate::shard::data::Data;
use crate::shard::graft::Batch;
use crate::shard::route::Place;
use crate::shard::sheaf::Sheaf;
use crate::shard::upcoming::Upcoming;
use crate::shard::write::{Write, place};
use crate::slots::SlotSet;
use crate::time::Now;

/// Where the commands of a stream go.
#[derive(Debug)]
pub(crate) struct Intake {
    job: JobName,
    /// What the stream may be about.
    slots: SlotSet,
    /// The shard with the link …
    here: ShardIndex,
    /// … of how many.
    shards: Shards,
    /// The siblings that have slots of it, and what they are to apply next.
    parts: Vec<Batch>,
    /// Bytes that siblings have not applied.
    unapplied: usize,
    /// The last command that was applied here.
    pub(crate) last_command: Option<&'static Command>,
    /// Replies of applied commands, looked at for errors and forgotten.
    replies: Outbox,
}

impl Intake {
    /// For a stream about these slots, of which `siblings` have some.
    pub(crate) fn new(
        job: JobName,
        slots: SlotSet,
        here: ShardIndex,
        shards: Shards,
        siblings: impl IntoIterator<Item = ShardIndex>,
    ) -> Self {
        let parts = siblings.into_iter().map(Batch::new).collect();
        let (last_command, replies) = (None, Outbox::default());
        Self { job, slots, here, shards, parts, unapplied: 0, last_command, replies }
    }

    /// Applies what came until all of it is used, or the machine wants something done; whether it is used.
    pub(crate) fn take_in<R: Rules>(
        &mut self,
        now: Now,
        stream: &mut Stream<R>,
        actions: &mut Vec<R::Action>,
        upcoming: &mut Upcoming<'_>,
        data: &mut Data,
        config: &Config,
        out: &mut Actions,
    ) -> bool {
        let Self { job, slots, here, shards, parts, unapplied, last_command, replies } = self;
        while actions.is_empty() {
            if !stream.takes_commands() {
                upcoming.forget();
            } else if upcoming.is_empty() {
                upcoming.locate(&LIMITS, |_| false, place);
                upcoming.fetch(stream.db(), &data.store, |slot| shards.of(slot) == *here);
            }
            if let Some(call) = upcoming.next()
                && let Some(part) = part_of(parts, *shards, call.place, slots)
            {
                let there = part.shard;
                let run = upcoming.take_while(|call| is_for(there, *shards, call.place, slots));
                for _ in run.calls {
                    stream.taken(now);
                }
                *unapplied += part.add(stream.db(), &run, *job, out);
                continue;
            }
            let write = if let Some(call) = upcoming.take() {
                let db = stream.taken(now);
                Some(Write { db, command: call.command, argv: upcoming.argv(&call), place: call.place })
            } else {
                match stream.read(now, upcoming.input(), actions) {
                    Read::Starved => return true,
                    Read::Heard => continue,
                    Read::Apply { db, argv } => Write::found(db, argv),
                }
            };
            let result = match write {
                None => Err(Rejected::Error),
                Some(write) => match part_of(parts, *shards, write.place, slots) {
                    Some(part) => {
                        *unapplied += part.add_one(&write, *job, out);
                        continue;
                    }
                    None => write.apply(now, slots, replies, data, config),
                },
            };
            let result = result.map(|command| *last_command = Some(command));
            stream.applied(result, actions);
        }
        false
    }

    /// What is for siblings goes there.
    pub(crate) fn pass_on(&mut self, out: &mut Actions) {
        self.parts.iter_mut().for_each(|part| part.pass_on(self.job, out));
    }

    /// A sibling has applied what it was sent.
    pub(crate) fn part_applied(&mut self, shard: ShardIndex, sheaf: Sheaf) {
        self.unapplied -= sheaf.len();
        if let Some(part) = self.parts.iter_mut().find(|part| part.shard == shard) {
            part.take_back(sheaf);
        }
    }

    /// Whether nothing is for siblings.
    #[cfg(test)]
    pub(crate) fn has_no_parts(&self) -> bool {
        self.parts.is_empty()
    }

    /// Bytes that siblings have not applied.
    pub(crate) fn unapplied(&self) -> usize {
        self.unapplied
    }
}

/// The sibling that has to apply a write, if it is not for this shard.
fn part_of<'p>(
    parts: &'p mut [Batch],
    shards: Shards,
    place: Place,
    slots: &SlotSet,
) -> Option<&'p mut Batch> {
    parts.iter_mut().find(|part| is_for(part.shard, shards, place, slots))
}

/// Whether a write to slots of the job is for a shard.
#[inline]
fn is_for(shard: ShardIndex, shards: Shards, place: Place, slots: &SlotSet) -> bool {
    matches!(place, Place::One(Some(slot)) if shards.of(slot) == shard && slots.contains(slot))
}
