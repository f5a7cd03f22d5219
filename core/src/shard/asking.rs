//! Commands that only the node can carry out: passed on with what it has to know of the keyspace, and answered when it has.

use alloc::boxed::Box;

use bytes::Bytes;

use crate::action::Actions;
use crate::command::table::{Command, Id};
use crate::ids::LinkId;
use crate::mail::{Asked, Fact};
use crate::shard::data::Data;
use crate::shard::env::Env;
use crate::shard::errand::Errand;
use crate::shard::session::{Client, Session, Unanswered, Waiting};
use crate::shard::slot_stats;
use crate::shard::visit::session_of;
use crate::shard::{Link, Shard};
use crate::store::Store;
use crate::time::Now;
use crate::wire::resp::ArgvBuf;
use crate::wire::syncslots::{self, Word};

impl Client {
    /// Its command is for the node: it waits for the answer.
    pub(crate) fn ask(
        &mut self,
        command: &'static Command,
        words: ArgvBuf,
        data: &mut Data,
        env: &Env,
    ) -> Box<Asked> {
        self.waiting = Waiting::Answer;
        let argv = words.argv();
        if command.id == Id::ClusterSyncslots && Word::of(argv.get(2)) == Word::Capa {
            self.lanes = syncslots::lanes(argv.iter().skip(3)).or(self.lanes);
        }
        let mark = data.scrutiny.laps.mark();
        self.unanswered = Some(Box::new(Unanswered { command, words: words.clone(), mark }));
        Box::new(asked(self, words, &data.store, env))
    }
}

/// A command for the node, with the counts it may need.
fn asked(client: &Client, argv: ArgvBuf, store: &Store, env: &Env) -> Asked {
    let words = argv.argv();
    let named = words.opt(2).and_then(slot_stats::slot);
    let keys = (0..env.config.databases_in_use()).map(|db| store.len(db)).sum();
    let keys_in_slot = named.map_or(0, |slot| store.slot_len_all(slot));
    let local = client.origin.peer_ip().is_none_or(|ip| ip.to_canonical().is_loopback());
    Asked { link: client.link, proto: client.proto, local, argv, keys, keys_in_slot }
}

impl Shard {
    /// Passes a command on to the node, which has to know how many keys siblings have.
    pub(super) fn ask_node(
        &mut self,
        link: LinkId,
        command: &'static Command,
        words: &ArgvBuf,
        keys: u64,
        out: &mut Actions,
    ) {
        let Some(Link::Client(session)) = self.links.get_mut(&link) else { return };
        let mut asked = session.client.ask(command, words.clone(), &mut self.data, &self.env);
        asked.keys += keys;
        out.report(Fact::Asked(asked));
    }

    /// The node has answered. A client that is away hears it where it is.
    pub(crate) fn answered(&mut self, now: Now, link: LinkId, reply: Bytes, out: &mut Actions) {
        let Some(session) = session_of(&mut self.links, &mut self.guests, link) else { return };
        if let Some(there) = session.client.waiting.away() {
            out.pass(there, Errand::Answer { link, reply });
            return;
        }
        if session.client.waiting != Waiting::Answer {
            return;
        }
        let begun = session.outbox.end();
        if !session.client.reply(&mut session.outbox).is_muted() {
            self.data.totals.bytes_out += reply.len() as u64;
            session.client.bytes_out += reply.len() as u64;
            session.outbox.write(&reply);
        }
        let Session { client, outbox, .. } = session;
        if let Some(unanswered) = client.unanswered.take() {
            self.data.answered(now, &unanswered, client, outbox, begun);
        }
        session.client.commands += 1;
        session.client.fall_silent();
        self.resume(now, link, out);
    }
}
