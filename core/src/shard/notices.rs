//! What clients hear without having asked in this moment: the lines of MONITOR and invalidations of CLIENT TRACKING.

use bytes::Bytes;

use crate::action::{Action, Actions};
use crate::ids::LinkId;
use crate::shard::errand::Errand;
use crate::shard::gather::Part;
use crate::shard::session::{Client, Session};
use crate::shard::tracking::{self, Gone, Notice, Tracks};
use crate::shard::whole::{Caller, Request};
use crate::shard::{Link, Shard};
use crate::slots::Slot;
use crate::wire::resp::Reply;

impl Shard {
    /// CLIENT TRACKING. Where there are siblings they are asked for the client that is to hear, then told what the client
    /// tracks, and then it is answered.
    pub(crate) fn track(&mut self, request: &Request<'_>, reply: &mut Reply<'_>) -> Caller {
        if request.parts.iter().any(|part| matches!(part, Part::Done)) {
            reply.ok();
            return Caller::Stays;
        }
        let found = |part: &Part| if let Part::Found(link) = part { *link } else { None };
        let sibling = request.parts.iter().find_map(found);
        let listener = tracking::listener(request.argv).and_then(|id| self.keep_here(id)).or(sibling);
        let Some(Link::Client(session)) = self.links.get_mut(&request.link) else { return Caller::Stays };
        let tracking = &mut self.data.scrutiny.tracking;
        let set = tracking.set(request.argv, request.link, &mut session.client.tracker, |_| listener);
        // What it read is remembered for its link, even when it tracks no longer.
        let remembers = session.client.tracker.as_ref().is_some_and(|tracker| !tracker.bcast);
        session.client.is_known_by_link |= remembers;
        self.watchers_changed();
        match set {
            Ok(()) if !request.parts.is_empty() => return Caller::Again,
            Ok(()) => reply.ok(),
            Err(error) => reply.error(&error),
        }
        Caller::Stays
    }

    /// A client of a sibling tracks from now on, or watches no longer.
    pub(crate) fn note_guest(&mut self, link: LinkId, tracks: &Tracks) {
        self.data.scrutiny.tracking.note_guest(link, tracks);
        self.watchers_changed();
    }

    /// A client is gone: it watches nothing any more.
    pub(crate) fn forget_watcher(&mut self, client: &mut Client) {
        if client.monitors || client.tracker.is_some() {
            self.data.scrutiny.forget(client);
            self.watchers_changed();
        }
    }

    fn watchers_changed(&mut self) {
        self.data.scrutiny.focus();
        let tracked = self.data.scrutiny.tracking.clients() > 0;
        self.data.effects.watched().note(tracked);
    }

    /// All keys of these slots go at once.
    pub(crate) fn keys_vanish(&mut self, gone: impl Fn(Slot) -> bool) {
        let tracking = &mut self.data.scrutiny.tracking;
        if tracking.clients() == 0 {
            return;
        }
        tracking.vanished(|key| gone(Slot::of(key)));
        if !tracking.has_prefixes() {
            return;
        }
        let store = &self.data.store;
        for db in 0..store.databases() {
            for slot in Slot::all().filter(|slot| gone(*slot)) {
                store.keys_in_slot(db, slot, usize::MAX, &mut |entry| tracking.changed(entry.key(), None));
            }
        }
    }

    /// Sends what a step had to tell to clients that watch.
    pub(crate) fn tell_watchers(&mut self, out: &mut Actions) {
        if !self.data.scrutiny.lines.is_empty() {
            self.show_lines(out);
        }
        for (notice, listener) in self.data.scrutiny.tracking.take_kept_back() {
            self.push_for(notice.to, listener, &notice.what, out);
        }
        if self.data.scrutiny.tracking.clients() == 0 {
            return;
        }
        self.data.note_changes(None);
        if !self.data.scrutiny.tracking.has_notices() {
            return;
        }
        let links = &self.links;
        let guests = self.data.scrutiny.tracking.guests_without_loop();
        let noloop = |link: LinkId| match links.get(&link) {
            Some(Link::Client(session)) => session.client.tracker.as_ref().is_some_and(|t| t.noloop),
            _ => guests.contains(&link),
        };
        for notice in self.data.scrutiny.tracking.take(noloop) {
            if !self.is_home_of(notice.to) {
                // Of a flush its own shard tells it.
                if !matches!(notice.what, Gone::All) {
                    out.pass(notice.to.shard(), Errand::Notice(notice));
                }
            } else if self.is_in_transaction(&notice) {
                self.data.scrutiny.tracking.postpone(notice);
            } else {
                self.tell(&notice, out);
            }
        }
    }

    /// Whether who would hear of it is in the middle of an EXEC: nothing may come between the replies to its commands.
    fn is_in_transaction(&self, notice: &Notice) -> bool {
        let redirect = match self.links.get(&notice.to) {
            Some(Link::Client(session)) => session.client.tracker.as_ref().and_then(|t| t.redirect),
            _ => None,
        };
        self.is_executing(redirect.map_or(notice.to, |(_, other)| other))
    }

    /// Whether a client of ours is in the middle of an EXEC, here or elsewhere.
    fn is_executing(&self, link: LinkId) -> bool {
        matches!(self.links.get(&link), Some(Link::Client(session)) if session.client.is_executing())
    }

    /// MONITOR, once siblings show their commands too.
    pub(crate) fn monitor(&mut self, link: LinkId, reply: &mut Reply<'_>) {
        let Some(Link::Client(session)) = self.links.get_mut(&link) else { return };
        if !core::mem::replace(&mut session.client.monitors, true) {
            self.data.scrutiny.watch(link);
            reply.ok();
        }
    }

    /// Tells siblings which clients watch no longer.
    pub(crate) fn tell_forgotten(&mut self, out: &mut Actions) {
        for link in self.data.scrutiny.take_forgotten() {
            self.siblings().for_each(|sibling| out.pass(sibling, Errand::Forget(link)));
        }
    }

    /// A client of ours is shown commands that ran on a sibling.
    pub(crate) fn shown(&mut self, link: LinkId, lines: &[u8], out: &mut Actions) {
        if let Some(Link::Client(session)) = self.links.get_mut(&link)
            && session.client.monitors
        {
            session.outbox.write(lines);
            session.client.bytes_out += lines.len() as u64;
            self.data.totals.bytes_out += lines.len() as u64;
            out.push(Action::Flush { link });
        }
    }

    fn show_lines(&mut self, out: &mut Actions) {
        let lines = core::mem::take(&mut self.data.scrutiny.lines);
        let lines = Bytes::from(lines);
        for link in self.data.scrutiny.monitors().to_vec() {
            if self.is_home_of(link) {
                self.shown(link, &lines, out);
            } else {
                out.pass(link.shard(), Errand::Shown { link, lines: lines.clone() });
            }
        }
    }

    /// Tells one client, or the one that hears for it, what is gone.
    fn tell(&mut self, notice: &Notice, out: &mut Actions) {
        let Some(Link::Client(session)) = self.links.get_mut(&notice.to) else { return };
        let Some(tracker) = &mut session.client.tracker else { return };
        let own = tracker.noloop && notice.by == Some(notice.to);
        // It may have gone over to prefixes since it read the key.
        let overtaken = tracker.bcast && matches!(notice.what, Gone::Key(_));
        if overtaken || (own && !matches!(notice.what, Gone::All)) {
            return;
        }
        let Some((_, other)) = tracker.redirect else { return self.push(notice.to, &notice.what, out) };
        if self.is_home_of(other) {
            self.push_for(notice.to, other, &notice.what, out);
        } else {
            out.pass(other.shard(), Errand::Push { link: other, by: notice.to, what: notice.what.clone() });
        }
    }

    /// Tells a client of ours what it hears for another.
    pub(crate) fn push_for(&mut self, by: LinkId, link: LinkId, what: &Gone, out: &mut Actions) {
        if self.is_executing(link) {
            let notice = Notice { to: by, by: None, what: what.clone() };
            self.data.scrutiny.tracking.keep_back(notice, link);
        } else if self.links.contains_key(&link) {
            self.push(link, what, out);
        } else if self.is_home_of(by) {
            self.listener_is_gone(by, out);
        } else {
            out.pass(by.shard(), Errand::Unheard(by));
        }
    }

    /// The client that hears for one of ours is gone.
    pub(crate) fn listener_is_gone(&mut self, link: LinkId, out: &mut Actions) {
        let Some(Link::Client(session)) = self.links.get_mut(&link) else { return };
        let Some(tracker) = &mut session.client.tracker else { return };
        tracker.broken = true;
        let id = tracker.redirect_id();
        let Session { client, outbox, .. } = &mut **session;
        let mut reply = Reply::new(outbox, client.proto);
        if client.proto.version() > 2 {
            reply.push(2);
            reply.bulk(b"tracking-redir-broken");
            reply.int(id);
            out.push(Action::Flush { link });
        }
    }

    fn push(&mut self, link: LinkId, what: &Gone, out: &mut Actions) {
        let Some(Link::Client(session)) = self.links.get_mut(&link) else { return };
        let Session { client, outbox, .. } = &mut **session;
        let begun = outbox.end();
        what.tell_to(&mut Reply::new(outbox, client.proto));
        let sent = outbox.end() - begun;
        if sent > 0 {
            client.bytes_out += sent;
            self.data.totals.bytes_out += sent;
            out.push(Action::Flush { link });
        }
    }
}
