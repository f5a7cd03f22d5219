//! All shards of a process stopped for one client: its FLUSHALL, or its EXEC with commands about more than one shard,
//! happens as if there were one shard.
//!
//! The first shard keeps who may: one client at a time, the others wait in line, so no two can wait for each other. Each
//! shard begins a hold on everything, which does not hold the client whose hold it is; when all have done so, the client's
//! command goes on, and its session goes from shard to shard as ever. What ends a freeze comes to each shard from the
//! first one too, so it cannot be overtaken by the beginning of the next.
//!
//! A command that has to wait for a hold of other reasons waits before it freezes anything. Where such a hold is found
//! only then, the freeze ends, and the session waits in the shard that has the hold.

use alloc::collections::VecDeque;

use hashbrown::HashMap;

use crate::action::Actions;
use crate::command::table::{Command, Id};
use crate::ids::{LinkId, ShardIndex};
use crate::shard::env::Env;
use crate::shard::errand::Errand;
use crate::shard::hold::{Class, Reason, Scope};
use crate::shard::home::{Home, home};
use crate::shard::parts::part_of;
use crate::shard::route::{Place, Way, place, shard_named};
use crate::shard::session::{Client, Queued, Waiting};
use crate::shard::transaction::Transaction;
use crate::shard::visit::{Unread, session_of};
use crate::shard::{Link, Shard};
use crate::time::Now;
use crate::wire::resp::ArgvBuf;

/// The shard that keeps who may freeze the process.
const KEEPER: ShardIndex = ShardIndex(0);

/// What shards say to each other about it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Freeze {
    /// To the keeper: a client wants it.
    Want(LinkId),
    /// From the keeper: begin to hold.
    Begin(LinkId),
    /// To the client's home: the hold has begun. Whether another hold there stops a write without keys.
    Begun(LinkId, Option<ShardIndex>),
    /// To the keeper: it is over, or not wanted any more.
    Over(LinkId),
    /// From the keeper: end the hold.
    End(LinkId),
}

/// Who has frozen the process, and who is next.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    current: Option<LinkId>,
    waiting: VecDeque<LinkId>,
}

/// A command that waits until all shards have stopped.
#[derive(Debug)]
pub(crate) struct Freezing {
    command: &'static Command,
    words: ArgvBuf,
    begun: u16,
    /// A shard where it has to wait for another hold.
    stopped: Option<ShardIndex>,
}

/// Those of the clients that are at home here, by their links.
pub(crate) type Freezings = HashMap<LinkId, Freezing, foldhash::fast::FixedState>;

/// Whether all shards have to be stopped before a command of the client may run.
pub(crate) fn is_due(command: &Command, client: &Client, env: &Env) -> bool {
    if client.frozen {
        return false;
    }
    match command.id {
        Id::Flushall | Id::Flushdb => !client.transaction.is_open(),
        Id::Exec => is_spread(client, env),
        _ => false,
    }
}

/// Whether an EXEC is about more than the shard where its keys are.
fn is_spread(client: &Client, env: &Env) -> bool {
    let Transaction::Open { queue, watched, refused: false, overtaken: false, .. } = &client.transaction
    else {
        return false;
    };
    let goal = client.transaction.slot(env).map_or(client.link.shard(), |slot| env.shards.of(slot));
    let spread = |queued: &Queued| {
        let argv = queued.words.argv();
        let keyless = || place(env, queued.command, argv) == Place::One(None);
        part_of(queued.command, argv).is_some()
            || keyless()
                && (matches!(home(queued.command), Home::Whole | Home::Node)
                    || shard_named(queued.command, argv, env).is_some())
    };
    watched.iter().any(|key| key.shard() != goal) || queue.iter().any(spread)
}

impl Shard {
    /// A client's command wants all shards stopped.
    pub(crate) fn ask_to_freeze(
        &mut self,
        now: Now,
        link: LinkId,
        command: &'static Command,
        words: ArgvBuf,
        out: &mut Actions,
    ) {
        self.freezings.insert(link, Freezing { command, words, begun: 0, stopped: None });
        self.inform(now, KEEPER, Freeze::Want(link), out);
    }

    /// Lets all shards go on, if a client has stopped them.
    pub(crate) fn thaw(&mut self, now: Now, link: LinkId, out: &mut Actions) {
        if let Some(session) = session_of(&mut self.links, &mut self.guests, link)
            && core::mem::take(&mut session.client.frozen)
        {
            self.inform(now, KEEPER, Freeze::Over(link), out);
        }
    }

    /// A client is gone: it wants nothing of siblings any more.
    pub(crate) fn leave_siblings(&mut self, now: Now, client: &Client, out: &mut Actions) {
        let link = client.link;
        if self.gatherings.forget(link).is_some_and(|command| command.id == Id::Monitor) {
            self.data.scrutiny.never_watched(link);
        }
        if self.freezings.remove(&link).is_some() || client.frozen {
            self.inform(now, KEEPER, Freeze::Over(link), out);
        }
    }

    fn inform(&mut self, now: Now, shard: ShardIndex, word: Freeze, out: &mut Actions) {
        if shard == self.env.index {
            self.hear_of_freeze(now, word, out);
        } else {
            out.pass(shard, Errand::Freeze(word));
        }
    }

    /// Does what one of these words says.
    pub(crate) fn hear_of_freeze(&mut self, now: Now, word: Freeze, out: &mut Actions) {
        match word {
            Freeze::Want(link) => {
                self.keeper.waiting.push_back(link);
                self.freeze_for_next(now, out);
            }
            // Its next wish may have come before this, by another shard: that one stands.
            Freeze::Over(link) if self.keeper.current == Some(link) => {
                self.keeper.current = None;
                self.env.shards.iter().for_each(|shard| self.inform(now, shard, Freeze::End(link), out));
                self.freeze_for_next(now, out);
            }
            Freeze::Over(link) => self.keeper.waiting.retain(|waiting| *waiting != link),
            Freeze::Begin(link) => {
                let stopped = self.data.holds.stop_frozen(link).then_some(self.env.index);
                let hold = self.data.holds.begin(Scope::All, Class::All, Reason::Exec(link), None);
                self.frozen = Some((link, hold));
                self.inform(now, link.shard(), Freeze::Begun(link, stopped), out);
            }
            Freeze::Begun(link, stopped) => self.begun(now, link, stopped, out),
            Freeze::End(link) => {
                if let Some((_, hold)) = self.frozen.take_if(|(owner, _)| *owner == link) {
                    self.woken |= self.data.holds.end(hold);
                    self.with_exports(now, out, |e, s| e.transaction_ended(s));
                }
            }
        }
    }

    fn freeze_for_next(&mut self, now: Now, out: &mut Actions) {
        if self.keeper.current.is_none()
            && let Some(link) = self.keeper.waiting.pop_front()
        {
            self.keeper.current = Some(link);
            self.env.shards.iter().for_each(|shard| self.inform(now, shard, Freeze::Begin(link), out));
        }
    }

    /// One more shard has stopped for a client of ours; after the last its command goes on.
    fn begun(&mut self, now: Now, link: LinkId, stopped: Option<ShardIndex>, out: &mut Actions) {
        let Some(freezing) = self.freezings.get_mut(&link) else { return };
        freezing.begun += 1;
        freezing.stopped = freezing.stopped.or(stopped);
        if freezing.begun < self.env.shards.count() {
            return;
        }
        let Some(Freezing { command, words, stopped, .. }) = self.freezings.remove(&link) else { return };
        let Some(Link::Client(session)) = self.links.get_mut(&link) else { return };
        session.client.backlog.push_front(Queued { command, words, is_line: false });
        let stopped = stopped.filter(|_| is_write_anywhere(&session.client));
        match stopped {
            None => {
                session.client.frozen = true;
                self.resume(now, link, out);
            }
            Some(there) => {
                self.inform(now, KEEPER, Freeze::Over(link), out);
                if there == self.env.index {
                    self.resume(now, link, out);
                } else if let Some(Link::Client(session)) = self.links.get_mut(&link) {
                    session.client.waiting = Waiting::Nothing;
                    self.travel(link, Way::Visit(there), Unread::NOTHING, 0, out);
                }
            }
        }
    }
}

/// Whether the command that waits in front may write to any slot.
fn is_write_anywhere(client: &Client) -> bool {
    use crate::command::table::flags::WRITE;
    let keyless = |command: &Command| command.is(WRITE) && !command.has_keys();
    match (&client.transaction, client.backlog.front()) {
        (Transaction::Open { queue, .. }, _) => queue.iter().any(|queued| keyless(queued.command)),
        (_, first) => first.is_some_and(|queued| keyless(queued.command)),
    }
}
