//! What clients hear without having asked in this moment: the lines of MONITOR and invalidations of CLIENT TRACKING.

use alloc::vec::Vec;

use crate::action::{Action, Actions};
use crate::ids::LinkId;
use crate::shard::session::{Client, Session};
use crate::shard::tracking::{Gone, Notice};
use crate::shard::whole::Request;
use crate::shard::{Link, Shard};
use crate::slots::Slot;
use crate::wire::resp::Reply;

impl Shard {
    /// CLIENT TRACKING.
    pub(crate) fn track(&mut self, request: &Request<'_>, reply: &mut Reply<'_>) {
        let ids: Vec<(u64, LinkId)> = self
            .links
            .iter()
            .filter_map(|(link, l)| match l {
                Link::Client(session) => Some((session.client.id.0, *link)),
                _ => None,
            })
            .collect();
        let Some(Link::Client(session)) = self.links.get_mut(&request.link) else { return };
        let find = |id: u64| ids.iter().find(|(known, _)| *known == id).map(|(_, link)| *link);
        let tracking = &mut self.data.scrutiny.tracking;
        match tracking.set(request.argv, request.link, &mut session.client.tracker, find) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(&error),
        }
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
        if self.data.scrutiny.tracking.clients() == 0 {
            return;
        }
        self.data.note_changes(None);
        if !self.data.scrutiny.tracking.has_notices() {
            return;
        }
        let links = &self.links;
        let noloop = |link: LinkId| match links.get(&link) {
            Some(Link::Client(session)) => session.client.tracker.as_ref().is_some_and(|t| t.noloop),
            _ => false,
        };
        for notice in self.data.scrutiny.tracking.take(noloop) {
            if self.is_in_transaction(&notice) {
                self.data.scrutiny.tracking.postpone(notice);
            } else {
                self.tell(&notice, out);
            }
        }
    }

    /// Whether who would hear of it is in the middle of an EXEC: nothing may come between the replies to its commands.
    fn is_in_transaction(&self, notice: &Notice) -> bool {
        let session = |link: LinkId| match self.links.get(&link) {
            Some(Link::Client(session)) => Some(&session.client),
            _ => None,
        };
        let redirect = session(notice.to).and_then(|client| client.tracker.as_ref()?.redirect);
        let listener = redirect.map_or(notice.to, |(_, other)| other);
        session(listener).is_some_and(|client| client.transaction.is_running())
    }

    fn show_lines(&mut self, out: &mut Actions) {
        let lines = core::mem::take(&mut self.data.scrutiny.lines);
        for link in self.data.scrutiny.monitors() {
            if let Some(Link::Client(session)) = self.links.get_mut(link) {
                session.outbox.write(&lines);
                session.client.bytes_out += lines.len() as u64;
                self.data.totals.bytes_out += lines.len() as u64;
                out.push(Action::Flush { link: *link });
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
        let Some((id, other)) = tracker.redirect else { return self.push(notice.to, &notice.what, out) };
        if self.links.contains_key(&other) {
            return self.push(other, &notice.what, out);
        }
        let Some(Link::Client(session)) = self.links.get_mut(&notice.to) else { return };
        if let Some(tracker) = &mut session.client.tracker {
            tracker.broken = true;
        }
        let Session { client, outbox, .. } = &mut **session;
        let mut reply = Reply::new(outbox, client.proto);
        if client.proto.version() > 2 {
            reply.push(2);
            reply.bulk(b"tracking-redir-broken");
            reply.int(id.0 as i64);
            out.push(Action::Flush { link: notice.to });
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
