//! The links of a shard: what comes on each and to whom it goes, from when it is opened to when it is gone.

use alloc::boxed::Box;
use alloc::string::String;

use crate::action::{Action, Actions, Ending};
use crate::config::Config;
use crate::ids::{ClientId, LinkId};
use crate::input::Origin;
use crate::migration::import;
use crate::shard::Shard;
use crate::shard::errand::Errand;
use crate::shard::imports::{After, Importing};
use crate::shard::lent;
use crate::shard::session::{Session, Waiting};
use crate::shard::visit::Unread;
use crate::time::Now;

/// A waiting client may have this much unread before its socket is left alone.
const UNREAD_LIMIT: usize = 1024 * 1024;

/// What a link of the shard is.
#[derive(Debug)]
pub(crate) enum Link {
    /// A client.
    Client(Box<Session>),
    /// The source of a migration to us.
    Import(Box<Importing>),
    /// A further link of such a source.
    Lane,
    /// The target of a migration from us, or of a lane of one; the job owns its outbox.
    Export,
}

impl Shard {
    /// A client has come, and is let in or not.
    pub(super) fn opened(&mut self, now: Now, link: LinkId, origin: Origin, out: &mut Actions) {
        let id = self.next_id();
        let user = self.env.config.users.default_user().clone();
        let mut session = Box::new(Session::new(id, link, origin, user, now));
        let refusal = refusal(&self.env.config, &origin, self.let_in() + self.shares.let_in());
        if let Some(error) = refusal {
            self.data.totals.rejected_connections += 1;
            session.outbox.write(error.as_bytes());
            self.links.insert(link, Link::Client(session));
            out.push(Action::Close { link, ending: Ending::Flushed });
            return;
        }
        self.data.totals.connections += 1;
        self.links.insert(link, Link::Client(session));
        self.reckon(link);
        self.share_clients(out);
    }

    /// The number of the next client: no other of the process has it.
    pub(super) fn next_id(&mut self) -> ClientId {
        let (shards, index) = (u64::from(self.env.shards.count()), u64::from(self.env.index.0));
        let id = ClientId(self.next_client * shards + index);
        self.next_client += 1;
        id
    }

    /// Bytes have come on a link.
    pub(super) fn filled(&mut self, now: Now, link: LinkId, bytes: &[u8], out: &mut Actions) {
        self.data.totals.bytes_in += bytes.len() as u64;
        self.data.totals.reads += 1;
        match self.links.get_mut(&link) {
            Some(Link::Client(session)) => {
                session.client.last_active = now.mono;
                session.client.bytes_in += bytes.len() as u64;
                if session.client.waiting != Waiting::Nothing {
                    session.reader.keep(bytes);
                    if session.reader.pending() > UNREAD_LIMIT && !session.client.reading_paused {
                        session.client.reading_paused = true;
                        out.push(Action::PauseReading { link });
                    }
                    self.reckon(link);
                    return;
                }
                let streamed = self.data.exports.streamed();
                self.serve(now, link, Unread::Lent(bytes), out);
                if let Some(streamed) = streamed
                    && let Some(Link::Client(session)) = self.links.get_mut(&link)
                {
                    let followed = self.data.exports.streamed().map_or(0, |now| now.saturating_sub(streamed));
                    session.client.feeds_stream = lent::is_worth_it(bytes.len(), followed as usize);
                }
            }
            Some(Link::Import(importing)) => {
                let env = &self.env;
                let after = importing.filled(now, bytes, &mut self.data, &env.config, out);
                self.reckon(link);
                self.after_import(now, link, after, out);
            }
            Some(Link::Lane) => self.lane_filled(now, link, bytes, out),
            Some(Link::Export) => self.with_exports(now, out, |e, s| e.filled(link, bytes, s)),
            None => {}
        }
    }

    /// Bytes have come on a link, in the memory that [`inbox`](Shard::inbox) has lent.
    pub(super) fn inbox_filled(&mut self, now: Now, link: LinkId, len: usize, out: &mut Actions) {
        if self.lent_to.take() == Some(link)
            && let Some(buffer) = self.buffers.take()
        {
            self.data.exports.lend(Some(buffer.clone()));
            self.filled(now, link, &buffer[..len], out);
            self.data.exports.lend(None);
            self.buffers.give_back(buffer);
            return;
        }
        if let Some(Link::Client(session)) = self.links.get_mut(&link) {
            session.reader.inbox_filled(len);
        }
        self.filled(now, link, &[], out);
    }

    /// Takes a client out of the shard's clients; its link is no client's any more, and not closed.
    pub(crate) fn take_session(&mut self, now: Now, link: LinkId, out: &mut Actions) -> Option<Box<Session>> {
        let Some(Link::Client(mut session)) = self.links.remove(&link) else { return None };
        self.data.footprint.clients -= core::mem::take(&mut session.client.share).total;
        session.client.transaction.discard(self.data.effects.watched());
        self.forget_watcher(&mut session.client);
        let Session { client, outbox, .. } = &mut *session;
        if let Some(unanswered) = client.unanswered.take() {
            let begun = outbox.end();
            self.data.answered(now, &unanswered, client, outbox, begun);
        }
        self.end_exec_hold(now, link, out);
        self.leave_siblings(now, &session.client, out);
        if session.client.reading_paused {
            out.push(Action::ResumeReading { link });
        }
        Some(session)
    }

    /// Bytes have gone on a link.
    pub(super) fn drained(&mut self, now: Now, link: LinkId, out: &mut Actions) {
        self.data.totals.writes += 1;
        match self.links.get_mut(&link) {
            Some(Link::Client(session)) => {
                // Who takes what it asked for is not idle.
                session.client.last_active = now.mono;
                self.rooms.take_back(&mut session.outbox);
                self.reckon(link);
            }
            Some(Link::Export) => self.with_exports(now, out, |e, s| e.drained(link, s)),
            _ => {}
        }
    }

    /// A link is gone, with what belongs to it. Of an EXEC that has begun, others shall see all or nothing.
    pub(crate) fn closed(&mut self, now: Now, link: LinkId, out: &mut Actions) {
        if let Some(Link::Client(session)) = self.links.get_mut(&link)
            && session.client.is_executing()
        {
            session.client.gone = true;
            return;
        }
        match self.unlink(link, out) {
            Some(Link::Client(mut session)) => {
                self.data.footprint.clients -= session.client.share.total;
                match session.client.waiting {
                    Waiting::Away(there) => out.pass(there, Errand::Left { link }),
                    Waiting::Moving => self.stand_in_closed(now, link, out),
                    _ => {}
                }
                session.client.transaction.discard(self.data.effects.watched());
                self.forget_watcher(&mut session.client);
                self.leave_siblings(now, &session.client, out);
                self.holds_end_for(now, link, out);
                self.share_clients(out);
            }
            Some(Link::Import(mut importing)) => {
                self.data.footprint.leave(&mut importing.client);
                self.imports -= 1;
                let name = importing.job.name;
                let after = importing.tell(now, import::Input::Closed, &mut self.data.store, out);
                if after != After::Ended {
                    self.unlinked.insert(name, importing);
                }
                self.end_lanes(now, name, out);
            }
            Some(Link::Lane) => self.lane_closed(now, link, out),
            Some(Link::Export) => {
                self.with_exports(now, out, |e, s| e.closed(link, s));
            }
            None => self.lost(now, link, out),
        }
    }
}

/// What a client from outside gets while nothing protects the data.
const PROTECTED: &str = "-DENIED Whimbrel is running in protected mode because protected mode is enabled and no \
    password is set for the default user. In this mode connections are only accepted from the loopback interface. To \
    connect from elsewhere, set a password with requirepass, or turn the mode off with CONFIG SET protected-mode no \
    when the network is safe.\r\n";

/// Why a new client is not let in, as the error line it gets.
fn refusal(config: &Config, origin: &Origin, connected: usize) -> Option<String> {
    if connected as u64 >= u64::from(config.maxclients) {
        return Some("-ERR max number of clients reached\r\n".into());
    }
    let outside = origin.peer_ip().is_some_and(|ip| !ip.to_canonical().is_loopback());
    if config.protected_mode && config.users.default_user().has_no_password() && outside {
        return Some(PROTECTED.into());
    }
    None
}
