//! The clients that a shard serves, at home or visiting: each is served until it has to wait, woken, and ended.

use crate::action::{Action, Actions, Ending};
use crate::command::table::Command;
use crate::ids::LinkId;
use crate::link::Outbox;
use crate::mail::Fact;
use crate::shard::gather::Part;
use crate::shard::hold::{Class, Reason, Scope};
use crate::shard::serve::Served;
use crate::shard::session::Waiting;
use crate::shard::visit::{Unread, session_of};
use crate::shard::{Link, Shard, limits, whole};
use crate::time::Now;
use crate::wire::resp::{ArgvBuf, Reply};

/// Replies of so many bytes go on their way when their session leaves. Fewer wait for it to be back, or to wait where it
/// is: of a pipeline over two shards every other command is elsewhere, and a packet for each reply would cost more than
/// all the rest.
const WORTH_SENDING: usize = 16 * 1024;

impl Shard {
    /// Serves a client, and looks at what it takes after that.
    pub(super) fn serve(&mut self, now: Now, link: LinkId, unread: Unread<'_>, out: &mut Actions) {
        self.upkeep.served(now);
        self.serve_all(now, link, unread, out);
        self.reckon(link);
    }

    /// Serves a client until it has to wait; commands about the whole shard are run in between.
    pub(super) fn serve_all(&mut self, now: Now, link: LinkId, mut unread: Unread<'_>, out: &mut Actions) {
        loop {
            let Some(session) = session_of(&mut self.links, &mut self.guests, link) else { return };
            self.rooms.lend(&mut session.outbox);
            let at_home = link.shard() == self.env.index;
            if at_home {
                session.client.alarm = limits::alarm(session, &self.env.config, &self.data.footprint);
            }
            let unsent = session.outbox.len();
            let served = session.serve(now, unread.bytes(), &mut self.data, &self.env);
            self.data.totals.bytes_out += session.outbox.len().saturating_sub(unsent) as u64;
            session.client.bytes_out += session.outbox.len().saturating_sub(unsent) as u64;
            let executing = session.client.transaction.is_running();
            let offered = core::mem::replace(&mut unread, Unread::NOTHING);
            match served {
                Served::Elsewhere(way, rest) => {
                    if at_home && session.outbox.len() >= WORTH_SENDING {
                        out.push(Action::Flush { link });
                    }
                    self.travel(link, way, offered, rest, out);
                    return;
                }
                Served::Idle if !at_home => {
                    self.send_home(link, None, out);
                    return;
                }
                Served::Idle => {
                    if !session.outbox.is_empty() {
                        out.push(Action::Flush { link });
                    } else {
                        self.rooms.take_back(&mut session.outbox);
                    }
                    return;
                }
                Served::Thaw => self.thaw(now, link, out),
                Served::Held => {
                    self.send_replies(link, out);
                    self.thaw(now, link, out);
                    self.data.holds.wait(link);
                    return;
                }
                Served::Ask(asked) => {
                    self.send_replies(link, out);
                    if executing && self.exec_hold.is_none() && self.frozen.is_none() {
                        let id = self.data.holds.begin(Scope::All, Class::All, Reason::Exec(link), None);
                        self.exec_hold = Some((link, id));
                    }
                    out.report(Fact::Asked(asked));
                    return;
                }
                Served::Whole(command, words) => match self.run_or_gather(now, link, command, words, out) {
                    whole::Caller::Stays => {}
                    whole::Caller::Left => return,
                    whole::Caller::Waits | whole::Caller::Again => {
                        self.send_replies(link, out);
                        return;
                    }
                    whole::Caller::Killed => {
                        self.finish(now, link, Ending::Flushed, out);
                        return;
                    }
                },
                Served::Crowded => self.uncrowd(now, link, out),
                Served::Close(ending) => {
                    self.finish(now, link, ending, out);
                    return;
                }
            }
        }
    }

    /// Runs a command about the whole shard for a client; the reply goes to its outbox. `parts` are what siblings did.
    pub(super) fn run_for(
        &mut self,
        now: Now,
        link: LinkId,
        command: &'static Command,
        words: &ArgvBuf,
        parts: &[Part],
        out: &mut Actions,
    ) -> whole::Caller {
        let Some(session) = session_of(&mut self.links, &mut self.guests, link) else {
            return whole::Caller::Stays;
        };
        let (client, db, proto) = (session.client.id, session.client.db, session.client.proto);
        self.data.scrutiny.laps.start();
        let request = whole::Request { link, client, db, argv: words.argv(), parts };
        let mut scratch = Outbox::default();
        let caller = self.run_whole(now, command, &request, &mut Reply::new(&mut scratch, proto), out);
        if caller == whole::Caller::Waits {
            self.begin_wait(link, command, words);
            return caller;
        }
        if matches!(caller, whole::Caller::Again | whole::Caller::Left) {
            return caller;
        }
        if let Some(session) = session_of(&mut self.links, &mut self.guests, link) {
            session.client.commands += 1;
            if session.client.reply(&mut session.outbox).is_muted() {
                scratch.clear();
            }
            let begun = scratch.end() - scratch.len() as u64;
            self.data.ran(now, command, words.argv(), &mut session.client, &mut scratch, begun);
            if !scratch.is_empty() {
                self.data.totals.bytes_out += scratch.len() as u64;
                session.client.bytes_out += scratch.len() as u64;
                scratch.chunks().for_each(|chunk| session.outbox.write(chunk));
            }
            session.client.fall_silent();
        }
        caller
    }

    /// Ends a client's link from our side.
    pub(super) fn finish(&mut self, now: Now, link: LinkId, ending: Ending, out: &mut Actions) {
        if !self.is_home_of(link) {
            self.send_home(link, Some(ending), out);
            return;
        }
        self.thaw(now, link, out);
        out.push(Action::Close { link, ending });
        let Some(Link::Client(session)) = self.links.get_mut(&link) else { return };
        session.client.transaction.discard(self.data.effects.watched());
        if ending == Ending::Abrupt || session.client.gone {
            self.closed(now, link, out);
        } else {
            // Its outbox is needed until the driver has sent it; nothing it says is heard any more.
            session.client.waiting = Waiting::Closing;
        }
    }

    /// Clients that waited for a hold try again, in the order in which they began to wait.
    pub(super) fn wake(&mut self, now: Now, out: &mut Actions) {
        while core::mem::take(&mut self.woken) {
            for link in self.data.holds.wake() {
                if let Some(session) = session_of(&mut self.links, &mut self.guests, link)
                    && session.client.waiting == Waiting::Hold
                {
                    self.resume(now, link, out);
                }
            }
        }
    }

    /// A client that waited goes on.
    pub(super) fn resume(&mut self, now: Now, link: LinkId, out: &mut Actions) {
        self.go_on(now, link, Unread::NOTHING, out);
    }

    /// The same, beginning with what was read and not looked at.
    pub(super) fn go_on(&mut self, now: Now, link: LinkId, unread: Unread<'_>, out: &mut Actions) {
        let Some(session) = session_of(&mut self.links, &mut self.guests, link) else { return };
        session.client.waiting = Waiting::Nothing;
        self.serve(now, link, unread, out);
        let Some(session) = session_of(&mut self.links, &mut self.guests, link) else {
            // A visitor has gone home.
            self.end_exec_hold(now, link, out);
            return;
        };
        if session.client.gone && !session.client.is_executing() {
            self.closed(now, link, out);
        } else if !session.client.transaction.is_running() {
            if session.client.waiting == Waiting::Nothing && session.client.reading_paused {
                session.client.reading_paused = false;
                out.push(Action::ResumeReading { link });
            }
            self.end_exec_hold(now, link, out);
        }
    }

    /// A client that may wait here is gone.
    pub(super) fn holds_end_for(&mut self, now: Now, link: LinkId, out: &mut Actions) {
        self.data.holds.forget(link);
        self.waits.forget(link);
        self.end_exec_hold(now, link, out);
    }

    pub(super) fn end_exec_hold(&mut self, now: Now, link: LinkId, out: &mut Actions) {
        if let Some((owner, id)) = self.exec_hold
            && owner == link
        {
            self.exec_hold = None;
            self.woken |= self.data.holds.end(id);
            self.with_exports(now, out, |e, s| e.transaction_ended(s));
        }
    }
}
