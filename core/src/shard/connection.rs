//! Commands about the connection itself: who the client is, which protocol it speaks, its transaction.

use alloc::format;
use alloc::string::ToString;

use crate::command::introspect;
use crate::command::table::{Command, Id};
use crate::config::Config;
use crate::link::Outbox;
use crate::shard::data::Data;
use crate::shard::listing;
use crate::shard::serve::{Env, reply};
use crate::shard::session::{Client, Replies};
use crate::shard::transaction::Transaction;
use crate::time::Now;
use crate::wire::resp::number::integer;
use crate::wire::resp::{Argv, Proto, Reply};

/// Whether the client stays connected.
pub(crate) enum After {
    /// It does.
    Stay,
    /// It is sent what it is owed, then the link is closed.
    Leave,
}

const WRONG_PASSWORD: &str = "WRONGPASS invalid username-password pair or user is disabled.";
const NO_PASSWORD_SET: &str = "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?";

/// Runs a command about the connection.
pub(crate) fn run(
    now: Now,
    command: &'static Command,
    argv: Argv<'_>,
    client: &mut Client,
    outbox: &mut Outbox,
    data: &mut Data,
    env: &Env,
) -> After {
    match command.id {
        Id::Auth => auth(argv, client, outbox, &env.config),
        Id::Hello => hello(argv, client, outbox, &env.config),
        Id::Ping => ping(argv, &mut reply(client, outbox)),
        Id::Echo => reply(client, outbox).bulk(argv.get(1)),
        Id::Select => select(argv, client, outbox, &env.config),
        Id::Quit => {
            reply(client, outbox).ok();
            return After::Leave;
        }
        Id::Reset => {
            client.transaction.discard(data.effects.watched());
            client.reset(env.config.requirepass.is_empty());
            reply(client, outbox).simple("RESET");
        }
        Id::Multi => {
            if client.transaction.is_open() {
                client.transaction.refuse();
                reply(client, outbox).error("ERR Command 'multi' not allowed inside a transaction");
            } else {
                client.transaction.open();
                reply(client, outbox).ok();
            }
        }
        Id::Discard => {
            if client.transaction.is_open() {
                client.transaction.discard(data.effects.watched());
                reply(client, outbox).ok();
            } else {
                reply(client, outbox).error("ERR DISCARD without MULTI");
            }
        }
        Id::Watch => watch(now, argv, client, outbox, data),
        Id::Unwatch => {
            if matches!(client.transaction, Transaction::Watching(_)) {
                client.transaction.unwatch(data.effects.watched());
            }
            reply(client, outbox).ok();
        }
        Id::Asking => {
            if env.config.cluster_enabled {
                client.asking = true;
                reply(client, outbox).ok();
            } else {
                reply(client, outbox).error("ERR This instance has cluster support disabled");
            }
        }
        Id::Readonly | Id::Readwrite => {
            client.readonly = command.id == Id::Readonly;
            reply(client, outbox).ok();
        }
        Id::Time => {
            let mut reply = reply(client, outbox);
            reply.array(2);
            reply.bulk(now.wall.as_secs().to_string().as_bytes());
            reply.bulk((now.wall.0 % 1_000_000).to_string().as_bytes());
        }
        _ => about_client(now, command, argv, client, outbox),
    }
    After::Stay
}

/// What a client says and asks about itself, and what it asks about commands.
fn about_client(
    now: Now,
    command: &'static Command,
    argv: Argv<'_>,
    client: &mut Client,
    outbox: &mut Outbox,
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
            client.capa_redirect |= argv.iter().skip(2).any(|w| w.eq_ignore_ascii_case(b"redirect"));
            reply(client, outbox).ok();
        }
        Id::ClientGetredir => reply(client, outbox).int(-1),
        Id::ClientInfo => {
            let line = listing::line(now, client, outbox.len());
            reply(client, outbox).verbatim("txt", &line);
        }
        _ => about_commands(command, argv, &mut reply(client, outbox)),
    }
}

/// What a client asks about commands.
fn about_commands(command: &'static Command, argv: Argv<'_>, reply: &mut Reply<'_>) {
    match command.id {
        Id::Command => introspect::command(argv, reply),
        Id::CommandCount => introspect::count(argv, reply),
        Id::CommandDocs => introspect::docs(argv, reply),
        Id::CommandGetkeys => introspect::getkeys(argv, reply),
        Id::CommandGetkeysandflags => introspect::getkeysandflags(argv, reply),
        Id::CommandInfo => introspect::info(argv, reply),
        Id::CommandList => introspect::list(argv, reply),
        // Every other command that is at home here is the HELP of a container.
        _ => {
            let container = command.name.split('|').next().unwrap_or_default();
            introspect::help(container, reply);
        }
    }
}

fn ping(argv: Argv<'_>, reply: &mut Reply<'_>) {
    match argv.len() {
        1 => reply.simple("PONG"),
        2 => reply.bulk(argv.get(1)),
        _ => reply.error("ERR wrong number of arguments for 'ping' command"),
    }
}

/// Whether `password` opens the door for `user`; there is one user, `default`.
fn lets_in(config: &Config, user: &[u8], password: &[u8]) -> bool {
    user == b"default" && (config.requirepass.is_empty() || same(config.requirepass.as_bytes(), password))
}

/// Comparison in a time that does not depend on where the texts differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |d, (x, y)| d | (x ^ y)) == 0
}

fn auth(argv: Argv<'_>, client: &mut Client, outbox: &mut Outbox, config: &Config) {
    let (user, password): (&[u8], _) = match argv.len() {
        2 if config.requirepass.is_empty() => {
            reply(client, outbox).error(NO_PASSWORD_SET);
            return;
        }
        2 => (b"default", argv.get(1)),
        3 => (argv.get(1), argv.get(2)),
        _ => {
            reply(client, outbox).error("ERR syntax error");
            return;
        }
    };
    if lets_in(config, user, password) {
        client.authenticated = true;
        reply(client, outbox).ok();
    } else {
        reply(client, outbox).error(WRONG_PASSWORD);
    }
}

fn hello(argv: Argv<'_>, client: &mut Client, outbox: &mut Outbox, config: &Config) {
    let mut proto = client.proto;
    let mut authenticated = client.authenticated;
    let mut name = None;
    let error = 'parse: {
        let mut next = 1;
        if let Some(version) = argv.opt(1) {
            proto = match integer(version) {
                Some(2) => Proto::Resp2,
                Some(3) => Proto::Resp3,
                Some(_) => break 'parse Some("NOPROTO unsupported protocol version".to_string()),
                None => {
                    break 'parse Some("ERR Protocol version is not an integer or out of range".to_string());
                }
            };
            next = 2;
        }
        while let Some(option) = argv.opt(next) {
            if option.eq_ignore_ascii_case(b"auth") && argv.len() > next + 2 {
                if !lets_in(config, argv.get(next + 1), argv.get(next + 2)) {
                    break 'parse Some(WRONG_PASSWORD.to_string());
                }
                authenticated = true;
                next += 3;
            } else if option.eq_ignore_ascii_case(b"setname") && argv.len() > next + 1 {
                if !is_plain(argv.get(next + 1)) {
                    break 'parse Some(BAD_NAME.to_string());
                }
                name = Some(argv.get(next + 1));
                next += 2;
            } else {
                let option = alloc::string::String::from_utf8_lossy(option).into_owned();
                break 'parse Some(format!("ERR Syntax error in HELLO option '{option}'"));
            }
        }
        if !authenticated {
            break 'parse Some("NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time".to_string());
        }
        None
    };
    if let Some(error) = error {
        reply(client, outbox).error(&error);
        return;
    }
    client.proto = proto;
    client.authenticated = authenticated;
    if let Some(name) = name {
        client.name = name.into();
    }
    let (id, proto) = (client.id.0 as i64, client.proto);
    introduce(id, proto, config, &mut reply(client, outbox));
}

/// What HELLO answers.
fn introduce(client: i64, proto: Proto, config: &Config, reply: &mut Reply<'_>) {
    let zone = &config.availability_zone;
    reply.map(7 + usize::from(!zone.is_empty()));
    reply.bulk(b"server");
    reply.bulk(b"valkey");
    reply.bulk(b"version");
    reply.bulk(crate::VALKEY_VERSION.as_bytes());
    reply.bulk(b"proto");
    reply.int(proto.version());
    reply.bulk(b"id");
    reply.int(client);
    reply.bulk(b"mode");
    reply.bulk(if config.cluster_enabled { b"cluster" } else { b"standalone" });
    reply.bulk(b"role");
    reply.bulk(b"master");
    reply.bulk(b"modules");
    reply.array(0);
    if !zone.is_empty() {
        reply.bulk(b"availability_zone");
        reply.bulk(zone.as_bytes());
    }
}

fn select(argv: Argv<'_>, client: &mut Client, outbox: &mut Outbox, config: &Config) {
    match integer(argv.get(1)) {
        None => reply(client, outbox).error("ERR value is not an integer or out of range"),
        Some(db) if (0..i64::from(config.databases_in_use())).contains(&db) => {
            client.db = db as u32;
            reply(client, outbox).ok();
        }
        Some(_) => reply(client, outbox).error("ERR DB index is out of range"),
    }
}

fn watch(now: Now, argv: Argv<'_>, client: &mut Client, outbox: &mut Outbox, data: &mut Data) {
    if client.transaction.is_open() {
        client.transaction.refuse();
        reply(client, outbox).error("ERR Command 'watch' not allowed inside a transaction");
        return;
    }
    for key in argv.iter().skip(1) {
        let at = data.store.at(client.db, key);
        let expired = data.store.get(&at).is_some_and(|e| e.is_expired(now.wall_ms()));
        client.transaction.watch(client.db, key, expired, data.effects.watched());
    }
    reply(client, outbox).ok();
}

const BAD_NAME: &str = "ERR Client names cannot contain spaces, newlines or special characters.";

/// Printable ASCII without spaces, as names of clients have to be.
fn is_plain(name: &[u8]) -> bool {
    name.iter().all(|b| (b'!'..=b'~').contains(b))
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
        client.name = argv.get(2).into();
        reply(client, outbox).ok();
    } else {
        reply(client, outbox).error(BAD_NAME);
    }
}

fn set_info(argv: Argv<'_>, client: &mut Client, outbox: &mut Outbox) {
    let (option, value) = (argv.get(2), argv.get(3));
    let shown = alloc::string::String::from_utf8_lossy(option).into_owned();
    let field = if option.eq_ignore_ascii_case(b"lib-name") {
        &mut client.lib_name
    } else if option.eq_ignore_ascii_case(b"lib-ver") {
        &mut client.lib_ver
    } else {
        reply(client, outbox).error(&format!("ERR Unrecognized option '{shown}'"));
        return;
    };
    if is_plain(value) {
        *field = value.into();
        reply(client, outbox).ok();
    } else {
        let error = format!("ERR {shown} cannot contain spaces, newlines or special characters.");
        reply(client, outbox).error(&error);
    }
}

fn set_replies(argv: Argv<'_>, client: &mut Client, outbox: &mut Outbox) {
    let word = argv.get(2);
    if word.eq_ignore_ascii_case(b"on") {
        client.replies = Replies::On;
        reply(client, outbox).ok();
    } else if word.eq_ignore_ascii_case(b"off") {
        client.replies = Replies::Off;
    } else if word.eq_ignore_ascii_case(b"skip") {
        if client.replies != Replies::Off {
            client.replies = Replies::SkipNext;
        }
    } else {
        reply(client, outbox).error("ERR syntax error");
    }
}

fn on_off(word: &[u8], client: &Client, outbox: &mut Outbox) -> Option<bool> {
    if word.eq_ignore_ascii_case(b"on") {
        Some(true)
    } else if word.eq_ignore_ascii_case(b"off") {
        Some(false)
    } else {
        reply(client, outbox).error("ERR syntax error");
        None
    }
}
