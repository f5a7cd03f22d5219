//! Commands about the connection itself: who the client is, which protocol it speaks, its transaction.

use alloc::format;
use alloc::string::{String, ToString};

use bytes::Bytes;

use crate::acl::DEFAULT;
use crate::command::introspect;
use crate::command::options::is;
use crate::command::refused::lines;
use crate::command::table::{Command, Id};
use crate::config::Config;
use crate::link::Outbox;
use crate::shard::data::Data;
use crate::shard::env::Env;
use crate::shard::run::Ran;
use crate::shard::session::Client;
use crate::shard::{about, transaction, users};
use crate::time::Now;
use crate::wire::resp::number::integer;
use crate::wire::resp::quote;
use crate::wire::resp::{Argv, Proto, Reply};

const WRONG_PASSWORD: &str = "WRONGPASS invalid username-password pair or user is disabled.";
const HELLO_UNAUTHENTICATED: &str = "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time";
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
) -> Ran {
    match command.id {
        Id::Auth => auth(now, argv, client, outbox, data, env),
        Id::Hello => hello(now, argv, client, outbox, data, env),
        Id::Ping => ping(argv, &mut client.reply(outbox)),
        Id::Echo => client.reply(outbox).bulk(argv.get(1)),
        Id::Select => select(argv, client, outbox, &env.config),
        Id::Quit => {
            client.reply(outbox).ok();
            return Ran::Close;
        }
        Id::Reset => reset(client, outbox, data, env),
        Id::Multi | Id::Discard | Id::Watch | Id::Unwatch => {
            transaction::run(now, command.id, argv, client, outbox, data);
        }
        Id::Asking | Id::ClusterHelp if !env.config.cluster_enabled => {
            client.reply(outbox).error(lines::NO_CLUSTER);
        }
        Id::Asking => {
            client.asking = true;
            client.reply(outbox).ok();
        }
        Id::Readonly | Id::Readwrite => {
            client.readonly = command.id == Id::Readonly;
            client.reply(outbox).ok();
        }
        Id::Lolwut => lolwut(argv, &mut client.reply(outbox)),
        Id::Time => time(now, &mut client.reply(outbox)),
        Id::Command
        | Id::CommandCount
        | Id::CommandDocs
        | Id::CommandGetkeys
        | Id::CommandGetkeysandflags
        | Id::CommandInfo
        | Id::CommandList => introspection(command.id, argv, &mut client.reply(outbox)),
        _ if command.last_name() == "help" => {
            let container = command.name.split('|').next().unwrap_or_default();
            introspect::help(container, &mut client.reply(outbox));
        }
        _ if command.name.starts_with("acl|") => users::run(command, argv, client, outbox, data, env),
        _ => about::run(now, command, argv, client, outbox, data.effects.watches()),
    }
    Ran::Done
}

fn reset(client: &mut Client, outbox: &mut Outbox, data: &mut Data, env: &Env) {
    client.transaction.discard(data.effects.watched());
    data.scrutiny.forget(client);
    data.effects.watched().note(data.scrutiny.tracking.clients() > 0);
    client.reset(env.config.users.default_user());
    client.reply(outbox).simple("RESET");
}

fn introspection(id: Id, argv: Argv<'_>, reply: &mut Reply<'_>) {
    match id {
        Id::Command => introspect::command(argv, reply),
        Id::CommandCount => introspect::count(argv, reply),
        Id::CommandDocs => introspect::docs(argv, reply),
        Id::CommandGetkeys => introspect::getkeys(argv, reply),
        Id::CommandGetkeysandflags => introspect::getkeysandflags(argv, reply),
        Id::CommandInfo => introspect::info(argv, reply),
        _ => introspect::list(argv, reply),
    }
}

fn time(now: Now, reply: &mut Reply<'_>) {
    reply.array(2);
    reply.bulk(now.wall.as_secs().to_string().as_bytes());
    reply.bulk((now.wall.0 % 1_000_000).to_string().as_bytes());
}

/// A bird with a long bill.
const BIRD: &str = "       __\n ____ /o )___\n      \\__)   \\__\n         \\ ~~~~  /\n          `--|-|-'\n             ^ ^\n";

fn lolwut(argv: Argv<'_>, reply: &mut Reply<'_>) {
    if argv.len() > 2 && is(argv.get(1), b"version") && integer(argv.get(2)).is_none() {
        return reply.error(lines::NOT_AN_INTEGER);
    }
    let versions =
        format!("\nWhimbrel {}, Valkey ver. {}\n", env!("CARGO_PKG_VERSION"), crate::VALKEY_VERSION);
    reply.verbatim("txt", &format!("{BIRD}{versions}"));
}

fn ping(argv: Argv<'_>, reply: &mut Reply<'_>) {
    match argv.len() {
        1 => reply.simple("PONG"),
        2 => reply.bulk(argv.get(1)),
        _ => reply.error("ERR wrong number of arguments for 'ping' command"),
    }
}

fn auth(now: Now, argv: Argv<'_>, client: &mut Client, outbox: &mut Outbox, data: &mut Data, env: &Env) {
    let (user, password): (&[u8], _) = match argv.len() {
        2 if env.config.users.default_user().has_no_password() => {
            client.reply(outbox).error(NO_PASSWORD_SET);
            return;
        }
        2 => (DEFAULT, argv.get(1)),
        3 => (argv.get(1), argv.get(2)),
        _ => {
            client.reply(outbox).error(lines::SYNTAX);
            return;
        }
    };
    if client.log_in(now, user, password, argv.name(), data, env) {
        client.reply(outbox).ok();
    } else {
        client.reply(outbox).error(WRONG_PASSWORD);
    }
}

/// What HELLO asks for, once all of it is known to be right.
struct Greeting<'a> {
    proto: Proto,
    credentials: Option<(&'a [u8], &'a [u8])>,
    name: Option<&'a [u8]>,
}

impl<'a> Greeting<'a> {
    fn parse(argv: Argv<'a>, client: &Client) -> Result<Self, String> {
        let mut asked = Self { proto: client.proto, credentials: None, name: None };
        let mut next = 1;
        if let Some(version) = argv.opt(1) {
            asked.proto = match integer(version) {
                Some(2) => Proto::Resp2,
                Some(3) => Proto::Resp3,
                Some(_) => return Err("NOPROTO unsupported protocol version".into()),
                None => return Err("ERR Protocol version is not an integer or out of range".into()),
            };
            next = 2;
        }
        while let Some(option) = argv.opt(next) {
            let is = |word: &[u8], values| is(option, word) && argv.len() > next + values;
            if is(b"auth", 2) {
                asked.credentials = Some((argv.get(next + 1), argv.get(next + 2)));
                next += 3;
            } else if is(b"setname", 1) {
                let name = argv.get(next + 1);
                asked.name = Some(name).filter(|name| about::is_plain(name));
                if asked.name.is_none() {
                    return Err(about::BAD_NAME.into());
                }
                next += 2;
            } else {
                return Err(format!("ERR Syntax error in HELLO option '{}'", quote(option)));
            }
        }
        Ok(asked)
    }
}

fn hello(now: Now, argv: Argv<'_>, client: &mut Client, outbox: &mut Outbox, data: &mut Data, env: &Env) {
    let asked = match Greeting::parse(argv, client) {
        Ok(asked) => asked,
        Err(error) => {
            client.reply(outbox).error(&error);
            return;
        }
    };
    if let Some((user, password)) = asked.credentials
        && !client.log_in(now, user, password, argv.name(), data, env)
    {
        client.reply(outbox).error(WRONG_PASSWORD);
        return;
    }
    if !client.authenticated && !env.config.users.default_user().is_open() {
        client.reply(outbox).error(HELLO_UNAUTHENTICATED);
        return;
    }
    client.proto = asked.proto;
    if let Some(name) = asked.name {
        client.name = Bytes::copy_from_slice(name);
    }
    introduce(client, outbox, &env.config);
}

/// Tells the client who it talks to.
fn introduce(client: &Client, outbox: &mut Outbox, config: &Config) {
    let zone = &config.availability_zone;
    let mode: &[u8] = if config.cluster_enabled { b"cluster" } else { b"standalone" };
    let mut reply = client.reply(outbox);
    reply.map(7 + usize::from(!zone.is_empty()));
    reply.bulk(b"server");
    reply.bulk(b"valkey");
    reply.bulk(b"version");
    reply.bulk(crate::VALKEY_VERSION.as_bytes());
    reply.bulk(b"proto");
    reply.int(client.proto.version());
    reply.bulk(b"id");
    reply.int(client.id.0 as i64);
    reply.bulk(b"mode");
    reply.bulk(mode);
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
        None => client.reply(outbox).error(lines::NOT_AN_INTEGER),
        Some(db) if (0..i64::from(config.databases_in_use())).contains(&db) => {
            client.db = db as u32;
            client.reply(outbox).ok();
        }
        Some(_) => client.reply(outbox).error(lines::DB_INDEX),
    }
}
