//! One command of the stream of a slot migration, applied to slots that nobody is served from.

use crate::command;
use crate::command::context::{Caller, Cx};
use crate::command::effects::Followed;
use crate::command::table::{self, Command, flags};
use crate::config::Config;
use crate::link::Outbox;
use crate::migration::import::Rejected;
use crate::shard::data::Data;
use crate::shard::eviction::Room;
use crate::shard::home::{Home, home};
use crate::shard::route::{Place, place_in_cluster};
use crate::slots::SlotSet;
use crate::time::Now;
use crate::wire::resp::{Argv, Proto, Reply};

/// Where a command of the stream has its keys; nothing if it is none of keys.
pub(super) fn place(command: &'static Command, argv: Argv<'_>) -> Option<Place> {
    (home(command) == Home::Data).then(|| place_in_cluster(command, argv))
}

/// One command of the stream.
pub(super) struct Write<'a> {
    pub(super) db: u32,
    pub(super) command: &'static Command,
    pub(super) argv: Argv<'a>,
    pub(super) place: Place,
}

impl<'a> Write<'a> {
    /// The write that a command is, if it is one of keys.
    pub(super) fn found(db: u32, argv: Argv<'a>) -> Option<Self> {
        let command = table::resolve(argv).ok()?;
        Some(Self { db, command, argv, place: place(command, argv)? })
    }

    /// Applies it. All its keys have to be in one slot of the job: a stream must not reach others.
    pub(super) fn apply(
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
        data.effects.begin(db, Followed::Nothing);
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
