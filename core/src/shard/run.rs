//! Commands that were admitted are run, each where it is at home.

use crate::command;
use crate::command::clusterscan::clusterscan;
use crate::command::context::{Caller, Cx};
use crate::command::effects::Followed;
use crate::command::refused::{Refused, lines};
use crate::command::table::{Command, Id, flags};
use crate::ids::HoldId;
use crate::link::Outbox;
use crate::shard::data::Data;
use crate::shard::env::Env;
use crate::shard::home::{Home, home};
use crate::shard::session::Client;
use crate::shard::transaction::{Exec, Transaction};
use crate::shard::{ahead, connection, gather, published};
use crate::slots::Slot;
use crate::time::Now;
use crate::wire::resp::Argv;
use crate::wire::syncslots::Word;

/// What became of a command.
pub(super) enum Ran {
    /// It is replied to, or will be by those whose part it is.
    Done,
    /// It waits for a hold.
    Held(HoldId),
    /// It is for the node.
    Ask,
    /// It is about the whole shard, or all of them.
    Whole,
    /// It is replied to, and the client's link has to be closed.
    Close,
}

/// Runs a command that was admitted.
pub(super) fn run(
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
        _ if gather::is_gathered(command, argv, env) || is_lane(command, argv, env) => Ran::Whole,
        Home::Data => {
            run_data(now, command, slot, argv, client, outbox, data, env);
            Ran::Done
        }
        Home::Session => connection::run(now, command, argv, client, outbox, data, env),
        Home::View => {
            published::run(command, argv, client, outbox, data, env);
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

/// CLUSTER SYNCSLOTS LANE is carried out by the shard that has the lane's slots; the node has no part in it.
pub(super) fn is_lane(command: &Command, argv: Argv<'_>, env: &Env) -> bool {
    command.id == Id::ClusterSyncslots && env.config.cluster_enabled && Word::of(argv.get(2)) == Word::Lane
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
    // A walk may find expired keys in any slot, whatever slot its cursor names.
    let touched = slot.filter(|_| command.id != Id::Clusterscan);
    let followed = data.exports.follow(touched);
    let held = data.holds.writes_held(touched);
    let slot = slot.unwrap_or_default();
    let Data { store, effects, stats, rng, exports, .. } = data;
    if followed == Followed::Keys && command.is(flags::WRITE) {
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
        reply: client.reply(outbox),
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
        Err(Refused::Text(lines::NO_CLUSTER))
    };
    if let Err(refused) = outcome {
        refused.reply(&mut cx.reply);
    }
}

/// Begins an EXEC that was admitted, and notes where.
pub(super) fn begin_exec(
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
        client.reply(outbox).error("ERR EXEC without MULTI");
        return Ran::Done;
    }
    match client.transaction.exec(now, &data.store, data.effects.watched()) {
        Exec::Refused => {
            client.reply(outbox).error("EXECABORT Transaction discarded because of previous errors.");
        }
        Exec::Changed => client.reply(outbox).null_array(),
        Exec::Run(queue) => {
            client.reply(outbox).array(queue.len());
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
