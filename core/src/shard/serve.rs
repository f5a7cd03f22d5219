//! A client's bytes turned into commands, one after another, until something has to be waited for.

use alloc::boxed::Box;
use alloc::format;

use crate::action::Ending;
use crate::command::table::Command;
use crate::link::Outbox;
use crate::mail::Asked;
use crate::shard::admit::{admit, look_up};
use crate::shard::data::Data;
use crate::shard::env::Env;
use crate::shard::route::{Route, Way, elsewhere, place, route_begun};
use crate::shard::run::{Ran, run};
use crate::shard::session::{Client, Queued, Session, Waiting};
use crate::shard::transaction::Transaction;
use crate::shard::upcoming::Upcoming;
use crate::shard::{limits, users};
use crate::time::Now;
use crate::wire::resp::{ArgvBuf, Limits, Wrong};

/// Why serving a client stopped.
#[derive(Debug)]
pub(crate) enum Served {
    /// Everything that came is done.
    Idle,
    /// Its next command is for another shard; so many bytes of the input are not looked at.
    Elsewhere(Way, usize),
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
                upcoming.look(&limits, client.db, &data.store, env.here(), |c, a| Some(place(env, c, a)));
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
            if let Some(way) = elsewhere(now, command, argv, place, client, data, env) {
                if !alone {
                    return Served::Elsewhere(way, unseen);
                }
                let words = argv.into();
                let is_line = reader.last_was_inline();
                self.client.backlog.push_front(Queued { command, words, is_line });
                self.reader.keep(upcoming.rest());
                return Served::Elsewhere(way, 0);
            }
            let ran = admit(now, command, argv, place, client, outbox, data, env);
            let words = if matches!(ran, Ran::Done) { None } else { Some(ArgvBuf::from(argv)) };
            let is_line = alone && reader.last_was_inline();
            data.usage.has_come(is_line);
            let Some(words) = words else {
                if client.authenticated != limits.authenticated {
                    upcoming.forget();
                }
                continue;
            };
            self.reader.keep(upcoming.rest());
            if let Some(served) = self.stopped(ran, command, is_line, || words, data, env) {
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
            () if self.client.leaving => Some(Served::Close(Ending::Flushed)),
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
        if let Some(way) =
            elsewhere(now, command, argv, place(env, command, argv), &mut self.client, data, env)
        {
            self.client.backlog.push_front(queued);
            return Some(Served::Elsewhere(way, 0));
        }
        let ran = self.run_queued(now, &queued, data, env);
        data.usage.has_come(queued.is_line);
        self.stopped(ran, command, queued.is_line, || queued.words, data, env)
    }

    fn run_queued(&mut self, now: Now, queued: &Queued, data: &mut Data, env: &Env) -> Ran {
        let Self { client, outbox, .. } = self;
        let argv = queued.words.argv();
        if client.transaction.is_running() {
            if client.restricted
                && let Err(denied) = users::check(now, queued.command, argv, client, data, env)
            {
                let why = denied.overtaken();
                client.reply(outbox).error(&format!("NOPERM {RULES_CHANGED} {why}"));
                return Ran::Done;
            }
            let slot = match route_begun(env, &data.store, client, queued.command, argv) {
                Route::Here(slot) => slot,
                Route::Refused(error) => {
                    data.tally.rejected(queued.command, &error);
                    client.reply(outbox).error(&error);
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
        is_line: bool,
        words: impl FnOnce() -> ArgvBuf,
        data: &mut Data,
        env: &Env,
    ) -> Option<Served> {
        match ran {
            Ran::Done => None,
            Ran::Close => Some(Served::Close(Ending::Flushed)),
            Ran::Held(hold) => {
                self.client.backlog.push_front(Queued { command, words: words(), is_line });
                self.client.waiting = Waiting::Hold;
                self.client.waited = Some(hold);
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
        client.begin_reply();
        client.reply(outbox).error_args(format_args!("ERR {wrong}"));
    }
    tracing::debug!("Protocol error ({wrong}) from client {}", client.id);
    Served::Close(if wrong.has_reply() { Ending::Flushed } else { Ending::Abrupt })
}
