//! CLIENT LIST and CLIENT INFO: one line per client.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Reverse;

use bytes::Bytes;

use crate::command::effects::Watched;
use crate::ids::ClientId;
use crate::link::Outbox;
use crate::shard::filter::Filter;
use crate::shard::gather::Part;
use crate::shard::session::Client;
use crate::shard::settle::Moves;
use crate::shard::whole::Request;
use crate::shard::{Link, Shard};
use crate::time::Now;
use crate::wire::resp::Reply;

/// The line of a client that moved so often.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    client: ClientId,
    moves: Moves,
    text: String,
}

impl Row {
    fn of(client: &Client, text: String) -> Self {
        Self { client: client.id, moves: client.moves, text }
    }
}

/// The line of a client, without newline. `words` is the length of the command that it is giving.
pub(crate) fn line(now: Now, client: &Client, outbox: &Outbox, words: usize, watches: &Watched) -> String {
    let flags = client.flags(watches);
    let watching = if client.transaction.is_overtaken(watches) { 0 } else { client.transaction.watching() };
    row(now, client, outbox, words, &flags, watching)
}

/// The line of a link of a slot migration, which has flags of its own.
pub(crate) fn describe(now: Now, client: &Client, outbox: &Outbox, flags: &[u8]) -> String {
    row(now, client, outbox, 0, flags, 0)
}

fn row(now: Now, client: &Client, outbox: &Outbox, words: usize, flags: &[u8], watching: usize) -> String {
    let text = |bytes: &[u8]| {
        String::from_utf8_lossy(bytes.split(|b| *b == 0).next().unwrap_or_default()).into_owned()
    };
    let (peer, local) = (client.peer(), client.local());
    let command = match client.last_command {
        None => "NULL",
        Some(_) if client.transaction.is_running() => "exec",
        Some(command) => command.name,
    };
    let share = client.share;
    let (queued, chunks) = outbox.queued();
    let queued_memory = queued + chunks * size_of::<Bytes>();
    // What was not reckoned yet: what it is given in this turn.
    let total = share.total + outbox.len().saturating_sub(share.unsent) as u64 + words as u64;
    format!(
        "id={} addr={peer} laddr={local} fd=-1 name={} age={} idle={} flags={} capa={} db={} sub=0 psub=0 ssub=0 \
         multi={} watch={} qbuf={} qbuf-free={} argv-mem={} multi-mem={} rbs={} rbp={} obl={} oll={chunks} \
         omem={queued_memory} tot-mem={total} events=r cmd={command} user={} redir={} resp={} lib-name={} lib-ver={} tot-net-in={} \
         tot-net-out={} tot-cmds={} shard={}",
        client.id,
        text(&client.name),
        now.mono.since(client.opened).as_ms() / 1000,
        now.mono.since(client.last_active).as_ms() / 1000,
        text(flags),
        if client.capa_redirect { "r" } else { "" },
        client.db,
        if client.had_transaction { client.transaction.queued() as i64 } else { -1 },
        watching,
        share.unread,
        share.spare,
        share.words + words,
        client.transaction.bytes(),
        outbox.buffer(),
        client.peak_unsent,
        outbox.len() - queued,
        text(client.user.name()),
        client.tracker.as_ref().map_or(-1, |tracker| tracker.redirect_id()),
        client.proto.version(),
        text(&client.lib_name),
        text(&client.lib_ver),
        client.bytes_in,
        client.bytes_out,
        client.commands,
        client.link.shard().0,
    )
}

impl Shard {
    /// CLIENT LIST.
    pub(crate) fn list_clients(&mut self, now: Now, request: &Request<'_>, reply: &mut Reply<'_>) {
        let mut rows = match self.client_rows(now, request) {
            Ok(rows) => rows,
            Err(error) => return reply.error(&error),
        };
        for part in request.parts {
            if let Part::Clients(others) = part {
                rows.extend_from_slice(others);
            }
        }
        // Of a client that moves between shards there is one in both: the last stands.
        rows.sort_by_key(|row| (row.client, Reverse(row.moves)));
        rows.dedup_by_key(|row| row.client);
        let mut text = String::new();
        for row in rows {
            text.push_str(&row.text);
            text.push('\n');
        }
        reply.verbatim("txt", &text);
    }

    /// The lines of the clients of this shard that a filter takes.
    pub(crate) fn client_rows(&self, now: Now, request: &Request<'_>) -> Result<Vec<Row>, String> {
        let filter = Filter::parse(request.argv, &self.env.config)?;
        let mut rows: Vec<Row> = Vec::new();
        let watches = self.data.effects.watches();
        let spared = filter.skip_me.filter(|skip| *skip).map(|_| request.link);
        for (name, link) in self.links.iter().filter(|(link, _)| spared != Some(**link)) {
            match link {
                Link::Client(session) if request.is_stood_in_for_by(&session.client) => {}
                Link::Client(session)
                    if filter.matches(&session.client, &session.client.flags(watches), now) =>
                {
                    let mine =
                        if *name == request.link { request.argv.iter().map(<[u8]>::len).sum() } else { 0 };
                    let row = line(now, &session.client, &session.outbox, mine, watches);
                    rows.push(Row::of(&session.client, row));
                }
                Link::Import(importing) if filter.matches(&importing.client, b"i", now) => {
                    let row = describe(now, &importing.client, &importing.outbox, b"i");
                    rows.push(Row::of(&importing.client, row));
                }
                _ => {}
            }
        }
        for lane in self.landings.iter().filter(|lane| filter.matches(&lane.client, b"i", now)) {
            rows.push(Row::of(&lane.client, describe(now, &lane.client, &lane.outbox, b"i")));
        }
        let first = self.data.exports.iter().map(|e| (&e.client, &e.feed));
        let lanes = self.data.exports.lanes().map(|(lane, branch)| (&lane.client, &branch.feed));
        for (client, feed) in first.chain(lanes).filter(|(client, _)| filter.matches(client, b"E", now)) {
            let row = describe(now, client, &feed.outbox, b"E");
            rows.push(Row::of(client, row.replacen("user=default", "user=(superuser)", 1)));
        }
        Ok(rows)
    }
}
