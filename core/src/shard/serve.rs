//! A client's bytes turned into commands: each is admitted or refused, queued, held, or run.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;

use crate::action::Ending;
use crate::cluster::View;
use crate::command;
use crate::command::clusterscan::{Ground, clusterscan};
use crate::command::context::{Caller, Cx};
use crate::command::refused::Refused;
use crate::command::table::{self, Command, Id, Refusal, flags};
use crate::config::Config;
use crate::ids::{ShardIndex, Shards};
use crate::link::Outbox;
use crate::mail::Asked;
use crate::migration::log::JobLog;
use crate::shard::data::Data;
use crate::shard::eviction::{OUT_OF_MEMORY, Room, needs_memory};
use crate::shard::home::{Home, home};
use crate::shard::route::{Place, Route, elsewhere, place, route_begun, stopped_by_hold, whither};
use crate::shard::session::{Client, Queued, Replies, Session, Waiting};
use crate::shard::transaction::{Exec, Transaction};
use crate::shard::upcoming::Upcoming;
use crate::shard::{ahead, connection, debug, freeze, gather, limits, reads, users};
use crate::slots::Slot;
use crate::time::Now;
use crate::wire::resp::{Argv, ArgvBuf, Limits, Reply, Wrong};

/// What all commands of a step see and none changes.
#[derive(Debug)]
pub(crate) struct Env {
    /// Which shard this is …
    pub(crate) index: ShardIndex,
    /// … of how many.
    pub(crate) shards: Shards,
    pub(crate) config: Arc<Config>,
    pub(crate) view: Arc<View>,
    pub(crate) jobs: Arc<JobLog>,
    pub(crate) started: Now,
    /// What cursors of CLUSTERSCAN name this shard by: positions mean something only where they were given.
    pub(crate) fingerprint: [u8; 6],
}

impl Env {
    /// Where this shard walks for CLUSTERSCAN.
    pub(crate) fn ground(&self) -> Ground<'_> {
        let Self { view, fingerprint: node, shards, index, .. } = self;
        Ground { view, node, shards: *shards, index: *index }
    }
}

/// Why serving a client stopped.
#[derive(Debug)]
pub(crate) enum Served {
    /// Everything that came is done.
    Idle,
    /// Its next command is for this shard; so many bytes of the input are not looked at.
    Elsewhere(ShardIndex, usize),
    /// Its next command waits for a hold.
    Held,
    /// Its command is for the node; serving goes on after the answer.
    Ask(Box<Asked>),
    /// Its command is about the whole shard; serving goes on after it.
    Whole(&'static Command, ArgvBuf),
    /// All shards were stopped for its command, which is done; serving goes on.
    Thaw,
    /// It was answered so much that the limits of buffers have to be looked at; serving goes on if it may.
    Crowded,
    /// The link has to be closed.
    Close(Ending),
}

/// What became of one command.
enum Ran {
    Done,
    Held,
    Ask,
    Whole,
    Close,
}

/// Begins the error for a command of a transaction that was allowed when it was queued and is not any more.
const RULES_CHANGED: &str = "ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command is no longer allowed for the following reason:";

impl Session {
    /// Runs what waits and then what `input` brings, until something has to be waited for.
    pub(crate) fn serve(&mut self, now: Now, input: &[u8], data: &mut Data, env: &Env) -> Served {
        data.scrutiny.laps.start();
        let Some(limits) = self.limits(env) else {
            data.totals.query_limit_disconnections += 1;
            tracing::warn!("Closing client id={} that reached max query buffer length", self.client.id);
            return Served::Close(Ending::Abrupt);
        };
        let mut upcoming = Upcoming::new(input);
        loop {
            if let Some(queued) = self.client.backlog.pop_front() {
                if let Some(served) = self.serve_queued(now, queued, data, env) {
                    self.reader.keep(upcoming.rest());
                    return served;
                }
                continue;
            }
            self.end_exec(now, data);
            if let Some(served) = self.interrupted() {
                self.reader.keep(upcoming.rest());
                return served;
            }
            let Self { reader, outbox, client } = self;
            let limits = Limits { authenticated: client.authenticated, ..limits };
            if upcoming.is_empty() && reader.is_clear() {
                upcoming.look(&limits, client.db, &data.store, |c, argv| Some(place(env, c, argv)));
                // The look was for all of them: it is not part of what the first takes.
                data.scrutiny.laps.start();
            }
            let unseen = upcoming.rest().len();
            let (command, argv, place, alone) = match upcoming.take() {
                Some(call) => (call.command, upcoming.argv(&call), call.place, false),
                None => {
                    let argv = match reader.next(&limits, upcoming.input()) {
                        Ok(Some(argv)) => argv,
                        Ok(None) => return Served::Idle,
                        Err(wrong) => return misbehaved(wrong, client, outbox, data),
                    };
                    let Some(command) = look_up(argv, client, outbox, data) else { continue };
                    (command, argv, place(env, command, argv), true)
                }
            };
            if let Some(there) = elsewhere(now, command, argv, place, client, data, env) {
                if !alone {
                    return Served::Elsewhere(there, unseen);
                }
                self.client.backlog.push_front(Queued { command, words: argv.into() });
                self.reader.keep(upcoming.rest());
                return Served::Elsewhere(there, 0);
            }
            let ran = admit(now, command, argv, place, client, outbox, data, env);
            let words = if matches!(ran, Ran::Done) { None } else { Some(ArgvBuf::from(argv)) };
            if data.usage.has_counted() {
                if alone && reader.last_was_inline() {
                    data.usage.was_line();
                }
                data.usage.forget_counted();
            }
            let Some(words) = words else {
                if client.authenticated != limits.authenticated {
                    upcoming.forget();
                }
                continue;
            };
            self.reader.keep(upcoming.rest());
            if let Some(served) = self.stopped(ran, command, || words, data, env) {
                return served;
            }
            upcoming = Upcoming::new(&[]);
        }
    }

    /// What has to be done between two commands, if anything.
    #[inline]
    fn interrupted(&self) -> Option<Served> {
        match () {
            () if self.client.frozen => Some(Served::Thaw),
            () if self.outbox.len() > self.client.alarm => Some(Served::Crowded),
            () => None,
        }
    }

    /// The limits of what the client sends; `None` when it has sent more already.
    fn limits(&self, env: &Env) -> Option<Limits> {
        // What waits for EXEC came through the query buffer too.
        let max_query =
            limits::of_query(&self.client, &env.config).checked_sub(self.client.transaction.bytes())?;
        Some(Limits {
            max_bulk: env.config.proto_max_bulk_len as usize,
            max_query,
            authenticated: self.client.authenticated,
            ..Limits::default()
        })
    }

    /// Runs a command that waited; why serving stops with it, if it does.
    fn serve_queued(&mut self, now: Now, queued: Queued, data: &mut Data, env: &Env) -> Option<Served> {
        let (command, argv) = (queued.command, queued.words.argv());
        if let Some(there) =
            elsewhere(now, command, argv, place(env, command, argv), &mut self.client, data, env)
        {
            self.client.backlog.push_front(queued);
            return Some(Served::Elsewhere(there, 0));
        }
        let ran = self.run_queued(now, &queued, data, env);
        self.stopped(ran, command, || queued.words, data, env)
    }

    fn run_queued(&mut self, now: Now, queued: &Queued, data: &mut Data, env: &Env) -> Ran {
        let Self { client, outbox, .. } = self;
        let argv = queued.words.argv();
        if client.transaction.is_running() {
            if client.restricted
                && let Err(denied) = users::check(now, queued.command, argv, client, data, env)
            {
                let why = denied.overtaken();
                reply(client, outbox).error(&format!("NOPERM {RULES_CHANGED} {why}"));
                return Ran::Done;
            }
            let slot = match route_begun(env, &data.store, client, queued.command, argv) {
                Route::Here(slot) => slot,
                Route::Refused(error) => {
                    data.tally.rejected(queued.command, &error);
                    reply(client, outbox).error(&error);
                    return Ran::Done;
                }
            };
            return run(now, queued.command, slot, argv, client, outbox, data, env);
        }
        let place = place(env, queued.command, argv);
        admit(now, queued.command, argv, place, client, outbox, data, env)
    }

    /// The reason to stop serving that an outcome means, if any.
    fn stopped(
        &mut self,
        ran: Ran,
        command: &'static Command,
        words: impl FnOnce() -> ArgvBuf,
        data: &mut Data,
        env: &Env,
    ) -> Option<Served> {
        match ran {
            Ran::Done => None,
            Ran::Close => Some(Served::Close(Ending::Flushed)),
            Ran::Held => {
                self.client.backlog.push_front(Queued { command, words: words() });
                self.client.waiting = Waiting::Hold;
                self.client.waited = true;
                Some(Served::Held)
            }
            Ran::Whole => Some(Served::Whole(command, words())),
            Ran::Ask => Some(Served::Ask(self.client.ask(command, words(), data, env))),
        }
    }

    /// The last command of an EXEC is done, wherever it was carried out.
    fn end_exec(&mut self, now: Now, data: &mut Data) {
        if self.client.transaction.is_running() && self.client.backlog.is_empty() {
            self.client.transaction = Transaction::None;
            self.client.asking = false;
            self.client.commands += 1;
            if self.client.frozen {
                // The reply may have begun in another shard.
                self.client.exec_begun.1 = self.outbox.end();
            }
            data.executed(now, &mut self.client, &mut self.outbox);
        }
    }
}

/// The client sent what is no command: what it is told, and how its link ends.
fn misbehaved(wrong: Wrong, client: &mut Client, outbox: &mut Outbox, data: &mut Data) -> Served {
    if wrong == Wrong::QueryBufferLimit {
        data.totals.query_limit_disconnections += 1;
    }
    if wrong.has_reply() {
        data.tally.error("ERR");
        begin_reply(client);
        reply(client, outbox).error_args(format_args!("ERR {wrong}"));
    }
    tracing::debug!("Protocol error ({wrong}) from client {}", client.id);
    Served::Close(if wrong.has_reply() { Ending::Flushed } else { Ending::Abrupt })
}

/// A reply writer for the client, silent when it asked for silence.
pub(crate) fn reply<'o>(client: &Client, outbox: &'o mut Outbox) -> Reply<'o> {
    let muted = matches!(client.replies, Replies::Off | Replies::Skipping);
    Reply::new(outbox, client.proto).mute(muted)
}

/// Finds the command; unknown names and wrong word counts are answered here.
fn look_up(
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
    begin_reply(client);
    reply(client, outbox).error(error);
}

fn begin_reply(client: &mut Client) {
    client.replies = match client.replies {
        Replies::SkipNext => Replies::Skipping,
        Replies::Skipping => Replies::On,
        other => other,
    };
}

/// Checks, in Valkey's order, whether a command may run now, and runs, queues or refuses it.
fn admit(
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
        return if stopped_by_hold(command, slot, client, data) { Ran::Held } else { Ran::Whole };
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
        begin_reply(client);
        reply(client, outbox).simple("QUEUED");
        return Ran::Done;
    }
    if client.monitors && command.flags & (flags::WRITE | flags::READONLY) != 0 {
        refuse(Some(command), client, outbox, data, "ERR Replica can't interact with the keyspace");
        return Ran::Done;
    }
    if stopped_by_hold(command, slot, client, data) {
        return Ran::Held;
    }
    client.waited = false;
    begin_reply(client);
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

/// Begins an EXEC that was admitted, and notes where.
fn begin_exec(
    now: Now,
    slot: Option<Slot>,
    client: &mut Client,
    outbox: &mut Outbox,
    data: &mut Data,
) -> Ran {
    client.exec_begun = (data.scrutiny.laps.mark(), outbox.end());
    client.exec_slot = slot;
    let ran = exec(now, client, outbox, data);
    data.usage.ran(slot, 0, outbox.end() - client.exec_begun.1);
    if !client.transaction.is_running() {
        data.executed(now, client, outbox);
    }
    client.asking &= client.transaction.is_running();
    ran
}

/// Begins an EXEC: its commands go to the backlog and are run one after another, nothing between them.
fn exec(now: Now, client: &mut Client, outbox: &mut Outbox, data: &mut Data) -> Ran {
    if !client.transaction.is_open() {
        client.commands += 1;
        reply(client, outbox).error("ERR EXEC without MULTI");
        return Ran::Done;
    }
    match client.transaction.exec(now, &data.store, data.effects.watched()) {
        Exec::Refused => {
            reply(client, outbox).error("EXECABORT Transaction discarded because of previous errors.");
        }
        Exec::Changed => reply(client, outbox).null_array(),
        Exec::Run(queue) => {
            reply(client, outbox).array(queue.len());
            for queued in queue.into_iter().rev() {
                client.backlog.push_front(queued);
            }
            if !client.backlog.is_empty() {
                return Ran::Done;
            }
            client.transaction = Transaction::None;
        }
    }
    client.commands += 1;
    Ran::Done
}

/// Runs a command that was admitted.
fn run(
    now: Now,
    command: &'static Command,
    slot: Option<Slot>,
    argv: Argv<'_>,
    client: &mut Client,
    outbox: &mut Outbox,
    data: &mut Data,
    env: &Env,
) -> Ran {
    client.last_command = Some(command);
    let begun = outbox.end();
    let ran = match home(command) {
        _ if gather::is_gathered(command, argv, env) => Ran::Whole,
        Home::Data => {
            run_data(now, command, slot, argv, client, outbox, data, env);
            Ran::Done
        }
        Home::Session => match connection::run(now, command, argv, client, outbox, data, env) {
            connection::After::Stay => Ran::Done,
            connection::After::Leave => Ran::Close,
        },
        Home::View => {
            reads::run(command, argv, client, outbox, data, env);
            Ran::Done
        }
        Home::Whole => Ran::Whole,
        Home::Node => Ran::Ask,
    };
    if matches!(ran, Ran::Done | Ran::Close) {
        client.commands += 1;
        let nanos = data.ran(now, command, argv, client, outbox, begun);
        let cpu = if client.transaction.is_running() { 0 } else { nanos };
        data.usage.ran(slot, cpu, outbox.end() - begun);
    }
    // ASKING is for the next command, and for a whole transaction that begins with it.
    if command.id != Id::Asking && !client.transaction.is_open() && !client.transaction.is_running() {
        client.asking = false;
    }
    ran
}

fn run_data(
    now: Now,
    command: &'static Command,
    slot: Option<Slot>,
    argv: Argv<'_>,
    client: &mut Client,
    outbox: &mut Outbox,
    data: &mut Data,
    env: &Env,
) {
    // A walk over all keys may find expired ones in any slot.
    let followed = data.exports.follow(slot);
    let held = data.holds.writes_held(slot);
    let slot = slot.unwrap_or_default();
    let Data { store, effects, stats, rng, exports, .. } = data;
    if followed && command.is(flags::WRITE) {
        ahead::emit(exports, store, client.db, slot, command, argv);
    }
    effects.begin(client.db, followed);
    let caller = if held { Caller::ClientWhileHeld } else { Caller::Client };
    let mut cx = Cx {
        now,
        db: client.db,
        slot,
        caller,
        store,
        reply: reply(client, outbox),
        effects,
        stats,
        config: &env.config,
        rng,
        no_touch: client.no_touch,
    };
    match command.id {
        Id::Clusterscan | Id::Scan => scan(command, &mut cx, argv, env),
        id => {
            command::run(id, &mut cx, argv);
        }
    }
    if !effects.records().is_empty() {
        exports.append(effects, argv);
    }
}

/// Commands whose cursors know more than a position in one shard.
fn scan(command: &Command, cx: &mut Cx<'_>, argv: Argv<'_>, env: &Env) {
    let outcome = if command.id == Id::Scan {
        command::scan::scan_part(cx, argv, env.shards, env.index)
    } else if env.config.cluster_enabled {
        clusterscan(cx, argv, &env.ground())
    } else {
        Err(Refused::Text(reads::NO_CLUSTER))
    };
    if let Err(refused) = outcome {
        refused.reply(&mut cx.reply);
    }
}

/// The error for a command that exists in Valkey and is not built here.
#[must_use]
pub(crate) fn not_built(what: &str) -> String {
    format!("ERR {what} is not available in Whimbrel yet")
}
