//! What a client says about itself and asks about itself: CLIENT ID, SETNAME, SETINFO, REPLY and their kin.

use alloc::format;

use bytes::Bytes;

use crate::command::effects::Watched;
use crate::command::options::is;
use crate::command::refused::{lines, not_built};
use crate::command::table::{Command, Id};
use crate::link::Outbox;
use crate::shard::listing;
use crate::shard::session::{Client, Replies};
use crate::shard::tracking;
use crate::time::Now;
use crate::wire::resp::Argv;
use crate::wire::resp::quote;

/// Runs a subcommand of CLIENT that is about the client itself.
pub(crate) fn run(
    now: Now,
    command: &'static Command,
    argv: Argv<'_>,
    client: &mut Client,
    outbox: &mut Outbox,
    watches: &Watched,
) {
    match command.id {
        Id::ClientId => client.reply(outbox).int(client.id.0 as i64),
        Id::ClientGetname => name(client, outbox),
        Id::ClientSetname => set_name(argv, client, outbox),
        Id::ClientSetinfo => set_info(argv, client, outbox),
        Id::ClientReply => set_replies(argv, client, outbox),
        Id::ClientNoTouch => {
            if let Some(on) = on_off(argv.get(2), client, outbox) {
                client.no_touch = on;
                client.reply(outbox).ok();
            }
        }
        Id::ClientNoEvict => {
            if let Some(on) = on_off(argv.get(2), client, outbox) {
                client.no_evict = on;
                client.reply(outbox).ok();
            }
        }
        Id::ClientCapa => {
            client.capa_redirect |= argv.iter().skip(2).any(|w| is(w, b"redirect"));
            client.reply(outbox).ok();
        }
        Id::ClientCaching => match tracking::caching(client.tracker.as_deref_mut(), argv.get(2)) {
            Ok(()) => client.reply(outbox).ok(),
            Err(error) => client.reply(outbox).error(error),
        },
        Id::ClientGetredir => {
            let id = client.tracker.as_ref().map_or(-1, |tracker| tracker.redirect_id());
            client.reply(outbox).int(id);
        }
        Id::ClientTrackinginfo => {
            tracking::describe(client.tracker.as_deref(), &mut client.reply(outbox));
        }
        // Only servers in import mode have import sources, and that mode is not built.
        Id::ClientImportSource if is(argv.get(2), b"off") => client.reply(outbox).ok(),
        Id::ClientImportSource => client.reply(outbox).error("ERR Server is not in import mode"),
        Id::ClientInfo => {
            let words = argv.iter().map(<[u8]>::len).sum();
            let line = listing::line(now, client, outbox, words, watches);
            client.reply(outbox).verbatim("txt", &format!("{line}\n"));
        }
        _ => client.reply(outbox).error(&not_built(&format!("'{}'", command.name.replace('|', " ")))),
    }
}

/// The error for a name that is not plain.
pub(crate) const BAD_NAME: &str = "ERR Client names cannot contain spaces, newlines or special characters.";

/// Printable ASCII without spaces, as names of clients have to be; nothing behind a zero byte is looked at.
pub(crate) fn is_plain(name: &[u8]) -> bool {
    name.iter().take_while(|b| **b != 0).all(|b| (b'!'..=b'~').contains(b))
}

fn name(client: &Client, outbox: &mut Outbox) {
    let mut reply = client.reply(outbox);
    if client.name.is_empty() {
        reply.null();
    } else {
        reply.bulk(&client.name);
    }
}

fn set_name(argv: Argv<'_>, client: &mut Client, outbox: &mut Outbox) {
    if is_plain(argv.get(2)) {
        client.name = Bytes::copy_from_slice(argv.get(2));
        client.reply(outbox).ok();
    } else {
        client.reply(outbox).error(BAD_NAME);
    }
}

fn set_info(argv: Argv<'_>, client: &mut Client, outbox: &mut Outbox) {
    let (option, value) = (argv.get(2), argv.get(3));
    let shown = quote(option);
    let field = if is(option, b"lib-name") {
        &mut client.lib_name
    } else if is(option, b"lib-ver") {
        &mut client.lib_ver
    } else {
        client.reply(outbox).error(&format!("ERR Unrecognized option '{shown}'"));
        return;
    };
    if is_plain(value) {
        *field = Bytes::copy_from_slice(value);
        client.reply(outbox).ok();
    } else {
        let error = format!("ERR {shown} cannot contain spaces, newlines or special characters.");
        client.reply(outbox).error(&error);
    }
}

fn set_replies(argv: Argv<'_>, client: &mut Client, outbox: &mut Outbox) {
    let word = argv.get(2);
    if is(word, b"on") {
        client.replies = Replies::On;
        client.reply(outbox).ok();
    } else if is(word, b"off") {
        client.replies = Replies::Off;
    } else if is(word, b"skip") {
        if client.replies != Replies::Off {
            client.replies = Replies::SkipNext;
        }
    } else {
        client.reply(outbox).error(lines::SYNTAX);
    }
}

fn on_off(word: &[u8], client: &Client, outbox: &mut Outbox) -> Option<bool> {
    if is(word, b"on") {
        Some(true)
    } else if is(word, b"off") {
        Some(false)
    } else {
        client.reply(outbox).error(lines::SYNTAX);
        None
    }
}
