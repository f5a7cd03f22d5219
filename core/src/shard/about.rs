//! What a client says about itself and asks about itself: CLIENT ID, SETNAME, SETINFO, REPLY and their kin.

use alloc::format;

use bytes::Bytes;

use crate::command::effects::Watched;
use crate::command::options::is;
use crate::command::table::{Command, Id};
use crate::link::Outbox;
use crate::shard::listing;
use crate::shard::serve::{not_built, reply};
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
        Id::ClientId => reply(client, outbox).int(client.id.0 as i64),
        Id::ClientGetname => name(client, outbox),
        Id::ClientSetname => set_name(argv, client, outbox),
        Id::ClientSetinfo => set_info(argv, client, outbox),
        Id::ClientReply => set_replies(argv, client, outbox),
        Id::ClientNoTouch => {
            if let Some(on) = on_off(argv.get(2), client, outbox) {
                client.no_touch = on;
                reply(client, outbox).ok();
            }
        }
        Id::ClientNoEvict => {
            if let Some(on) = on_off(argv.get(2), client, outbox) {
                client.no_evict = on;
                reply(client, outbox).ok();
            }
        }
        Id::ClientCapa => {
            client.capa_redirect |= argv.iter().skip(2).any(|w| is(w, b"redirect"));
            reply(client, outbox).ok();
        }
        Id::ClientCaching => match tracking::caching(client.tracker.as_deref_mut(), argv.get(2)) {
            Ok(()) => reply(client, outbox).ok(),
            Err(error) => reply(client, outbox).error(error),
        },
        Id::ClientGetredir => {
            let id = client.tracker.as_ref().map_or(-1, |tracker| tracker.redirect_id());
            reply(client, outbox).int(id);
        }
        Id::ClientTrackinginfo => {
            tracking::describe(client.tracker.as_deref(), &mut reply(client, outbox));
        }
        // Only servers in import mode have import sources, and that mode is not built.
        Id::ClientImportSource if is(argv.get(2), b"off") => reply(client, outbox).ok(),
        Id::ClientImportSource => reply(client, outbox).error("ERR Server is not in import mode"),
        Id::ClientInfo => {
            let words = argv.iter().map(<[u8]>::len).sum();
            let line = listing::line(now, client, outbox, words, watches);
            reply(client, outbox).verbatim("txt", &format!("{line}\n"));
        }
        _ => reply(client, outbox).error(&not_built(&format!("'{}'", command.name.replace('|', " ")))),
    }
}

/// The error for a name that is not plain.
pub(crate) const BAD_NAME: &str = "ERR Client names cannot contain spaces, newlines or special characters.";

/// Printable ASCII without spaces, as names of clients have to be; nothing behind a zero byte is looked at.
pub(crate) fn is_plain(name: &[u8]) -> bool {
    name.iter().take_while(|b| **b != 0).all(|b| (b'!'..=b'~').contains(b))
}

fn name(client: &Client, outbox: &mut Outbox) {
    let mut reply = reply(client, outbox);
    if client.name.is_empty() {
        reply.null();
    } else {
        reply.bulk(&client.name);
    }
}

fn set_name(argv: Argv<'_>, client: &mut Client, outbox: &mut Outbox) {
    if is_plain(argv.get(2)) {
        client.name = Bytes::copy_from_slice(argv.get(2));
        reply(client, outbox).ok();
    } else {
        reply(client, outbox).error(BAD_NAME);
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
        reply(client, outbox).error(&format!("ERR Unrecognized option '{shown}'"));
        return;
    };
    if is_plain(value) {
        *field = Bytes::copy_from_slice(value);
        reply(client, outbox).ok();
    } else {
        let error = format!("ERR {shown} cannot contain spaces, newlines or special characters.");
        reply(client, outbox).error(&error);
    }
}

fn set_replies(argv: Argv<'_>, client: &mut Client, outbox: &mut Outbox) {
    let word = argv.get(2);
    if is(word, b"on") {
        client.replies = Replies::On;
        reply(client, outbox).ok();
    } else if is(word, b"off") {
        client.replies = Replies::Off;
    } else if is(word, b"skip") {
        if client.replies != Replies::Off {
            client.replies = Replies::SkipNext;
        }
    } else {
        reply(client, outbox).error("ERR syntax error");
    }
}

fn on_off(word: &[u8], client: &Client, outbox: &mut Outbox) -> Option<bool> {
    if is(word, b"on") {
        Some(true)
    } else if is(word, b"off") {
        Some(false)
    } else {
        reply(client, outbox).error("ERR syntax error");
        None
    }
}
