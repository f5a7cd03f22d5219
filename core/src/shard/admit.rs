//! Whether a client's command may run now: Valkey's checks in Valkey's order. What is not refused is queued, held, or run.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::ToString;

use crate::command::table::{self, Command, Id, Refusal, flags};
use crate::ids::Shards;
use crate::link::Outbox;
use crate::shard::data::Data;
use crate::shard::env::Env;
use crate::shard::eviction::{OUT_OF_MEMORY, Room, needs_memory};
use crate::shard::route::{Place, Route, stopped_by_hold, whither};
use crate::shard::run::{Ran, begin_exec, run};
use crate::shard::session::Client;
use crate::shard::{debug, freeze, users};
use crate::time::Now;
use crate::wire::resp::Argv;

/// Finds the command; unknown names and wrong word counts are answered here.
pub(super) fn look_up(
    argv: Argv<'_>,
    client: &mut Client,
    outbox: &mut Outbox,
    data: &mut Data,
) -> Option<&'static Command> {
    match table::resolve(argv) {
        Ok(command) => Some(command),
        Err(refusal) => {
            let command = match refusal {
                Refusal::WrongArity(command) => Some(command),
                Refusal::UnknownCommand(_) | Refusal::UnknownSubcommand(..) => None,
            };
            refuse(command, client, outbox, data, &refusal.to_string());
            None
        }
    }
}

/// Checks, in Valkey's order, whether a command may run now, and runs, queues or refuses it.
pub(super) fn admit(
    now: Now,
    command: &'static Command,
    argv: Argv<'_>,
    place: Place,
    client: &mut Client,
    outbox: &mut Outbox,
    data: &mut Data,
    env: &Env,
) -> Ran {
    if let Some(error) = forbidden(command, client, env) {
        refuse(Some(command), client, outbox, data, &error);
        return Ran::Done;
    }
    if client.restricted
        && let Err(denied) = users::check(now, command, argv, client, data, env)
    {
        let error = format!("NOPERM {}", denied.message(client.user.name(), command, argv, false));
        refuse(Some(command), client, outbox, data, &error);
        return Ran::Done;
    }
    if env.shards != Shards::ONE && freeze::is_due(command, client, env) {
        let slot = client.transaction.slot(env);
        return stopped_by_hold(command, slot, client, data).map_or(Ran::Whole, Ran::Held);
    }
    let slot = match whither(command, argv, place, client, data, env) {
        Route::Here(slot) => slot,
        Route::Refused(error) => {
            if command.id == Id::Exec {
                client.transaction.discard(data.effects.watched());
            } else {
                client.transaction.refuse();
            }
            turn_away(Some(command), client, outbox, data, &error);
            return Ran::Done;
        }
    };
    if data.eviction.is_limited() && lacks_room(now, command, client, outbox, data) {
        refuse(Some(command), client, outbox, data, OUT_OF_MEMORY);
        return Ran::Done;
    }
    if client.transaction.is_open() && !ends_multi(command.id) {
        data.usage.came(slot, argv, false);
        client.transaction.queue(command, argv.into());
        client.begin_reply();
        client.reply(outbox).simple("QUEUED");
        return Ran::Done;
    }
    if client.monitors && command.flags & (flags::WRITE | flags::READONLY) != 0 {
        refuse(Some(command), client, outbox, data, "ERR Replica can't interact with the keyspace");
        return Ran::Done;
    }
    if let Some(hold) = stopped_by_hold(command, slot, client, data) {
        return Ran::Held(hold);
    }
    client.waited = None;
    client.begin_reply();
    data.usage.came(slot, argv, command.id == Id::Exec);
    if command.id == Id::Exec {
        client.last_command = Some(command);
        return begin_exec(now, slot, client, outbox, data);
    }
    run(now, command, slot, argv, client, outbox, data, env)
}

/// Why a client may not give a command now, wherever its keys are.
fn forbidden(command: &'static Command, client: &Client, env: &Env) -> Option<Cow<'static, str>> {
    if command.id == Id::Debug && !debug::is_allowed(&env.config, &client.origin) {
        Some(debug::FORBIDDEN.into())
    } else if !client.authenticated
        && !command.is(flags::NO_AUTH)
        && !env.config.users.default_user().is_open()
    {
        Some("NOAUTH Authentication required.".into())
    } else if client.transaction.is_open() && command.is(flags::NO_MULTI) {
        Some(format!("ERR Command '{}' not allowed inside a transaction", command.name).into())
    } else {
        None
    }
}

/// Makes room for what the command may need; whether there is none.
fn lacks_room(now: Now, command: &Command, client: &Client, outbox: &Outbox, data: &mut Data) -> bool {
    let unsent = outbox.len().saturating_sub(client.share.unsent) as u64;
    data.make_room(now, unsent) == Room::None && needs_memory(command, client)
}

/// Commands that run at once between MULTI and EXEC.
fn ends_multi(id: Id) -> bool {
    matches!(id, Id::Exec | Id::Discard | Id::Quit | Id::Reset)
}

/// Answers a command that may not run: a transaction that was being queued is spoilt, and ends with a refused EXEC.
fn refuse(
    command: Option<&'static Command>,
    client: &mut Client,
    outbox: &mut Outbox,
    data: &mut Data,
    error: &str,
) {
    if command.is_some_and(|command| command.id == Id::Exec) {
        client.transaction.discard(data.effects.watched());
        let why = error.strip_prefix("ERR ").unwrap_or(error);
        turn_away(
            command,
            client,
            outbox,
            data,
            &format!("EXECABORT Transaction discarded because of: {why}"),
        );
    } else {
        client.transaction.refuse();
        turn_away(command, client, outbox, data, error);
    }
}

/// Answers and counts a command that does not run.
fn turn_away(
    command: Option<&'static Command>,
    client: &mut Client,
    outbox: &mut Outbox,
    data: &mut Data,
    error: &str,
) {
    if !client.transaction.is_open() {
        if let Some(tracker) = &mut client.tracker {
            tracker.forget_exception();
        }
        client.asking = false;
    }
    match command {
        Some(command) => data.tally.rejected(command, error),
        None => data.tally.error(error),
    }
    client.begin_reply();
    client.reply(outbox).error(error);
}
