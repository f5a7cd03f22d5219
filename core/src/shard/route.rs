//! Whose command is it: the slot of its keys, and the redirection when another node owns it.

use alloc::format;
use alloc::string::String;
use core::net::IpAddr;

use crate::cluster::render::{Asker, Family};
use crate::cluster::{Row, View};
use crate::command::scan;
use crate::command::table::{Command, Id, flags, keys_of};
use crate::ids::{HoldId, ShardIndex, Shards};
use crate::shard::data::Data;
use crate::shard::env::Env;
use crate::shard::hold::Kind;
use crate::shard::parts::part_of;
use crate::shard::session::Client;
use crate::shard::transaction::Transaction;
use crate::shard::{debug, freeze, settle, slot_stats};
use crate::slots::Slot;
use crate::store::Store;
use crate::time::Now;
use crate::wire::bus::State;
use crate::wire::resp::Argv;

/// Where a command has to run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// Here; the slot of its keys if it has any.
    Here(Option<Slot>),
    /// Elsewhere or nowhere: the error to answer with.
    Refused(String),
}

/// The slot of a command's keys outside cluster mode: all keys live together.
pub(crate) const STANDALONE: Slot = match Slot::new(0) {
    Some(slot) => slot,
    None => unreachable!(),
};

/// The slot of a command's keys, as far as their names decide it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// All its keys lie here; nowhere if it has none.
    One(Option<Slot>),
    /// Its keys lie in different slots.
    Several,
}

/// Finds the slot of a command's keys.
#[inline]
pub(crate) fn place(env: &Env, command: &'static Command, argv: Argv<'_>) -> Place {
    if command.keys.is_empty() {
        Place::One(None)
    } else if !env.config.cluster_enabled {
        Place::One(Some(STANDALONE))
    } else {
        place_in_cluster(command, argv)
    }
}

/// The same in cluster mode.
#[inline]
pub(crate) fn place_in_cluster(command: &'static Command, argv: Argv<'_>) -> Place {
    match command.sole_key() {
        Some(index) => Place::One(argv.opt(index).map(Slot::of)),
        None => place_of_all(command, argv),
    }
}

fn place_of_all(command: &'static Command, argv: Argv<'_>) -> Place {
    let mut found = None;
    for index in keys_of(command, argv) {
        let slot = Slot::of(argv.get(index));
        match found {
            None => found = Some(slot),
            Some(first) if first != slot => return Place::Several,
            Some(_) => {}
        }
    }
    Place::One(found)
}

/// How a session gets to the shard where its next command has to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// It goes there and comes back.
    Visit(ShardIndex),
    /// Its home is there from now on.
    Move(ShardIndex),
}

/// The shard where a client's next command has to run, if that is not this one: commands with keys where their slot is,
/// a transaction where its keys are, all others where the client is at home.
#[inline]
pub(crate) fn elsewhere(
    now: Now,
    command: &'static Command,
    argv: Argv<'_>,
    place: Place,
    client: &mut Client,
    data: &mut Data,
    env: &Env,
) -> Option<Way> {
    if env.shards == Shards::ONE || (client.transaction.is_running() && !client.frozen) {
        return None;
    }
    let home = client.link.shard();
    if freeze::is_due(command, client, env) {
        let stays = stopped_by_hold(command, client.transaction.slot(env), client, data).is_some();
        return (!stays && home != env.index).then_some(Way::Visit(home));
    }
    let there = match place {
        Place::One(Some(_)) if command.id == Id::Clusterscan && part_of(command, argv).is_some() => home,
        Place::One(Some(slot)) => env.shards.of(slot),
        Place::One(None) if command.id == Id::Exec => {
            let goal = client.transaction.slot(env).map_or(home, |slot| env.shards.of(slot));
            let watches = data.effects.watched();
            client.transaction.look_after_watched(now, goal, &data.store, watches).unwrap_or(goal)
        }
        Place::One(None) => shard_named(command, argv, env).unwrap_or(home),
        Place::Several => return None,
    };
    if there != env.index {
        return Some(Way::Visit(there));
    }
    let is_keyless = matches!(place, Place::One(None));
    let home = if is_keyless { settle::home_for(command, argv, client, env) } else { None };
    home.filter(|home| *home != env.index && client.may_move()).map(Way::Move)
}

/// The slot that a command without keys names as an argument, if what it does is about keys there.
pub(crate) fn slot_named(command: &'static Command, argv: Argv<'_>) -> Option<Slot> {
    match command.id {
        Id::ClusterCountkeysinslot | Id::ClusterGetkeysinslot | Id::ClusterFlushslot | Id::ClusterSetslot => {
            argv.opt(2).and_then(slot_stats::slot)
        }
        Id::Debug => argv.opt(2).filter(|_| debug::is_about_key(argv.get(1))).map(Slot::of),
        _ => None,
    }
}

/// The shard that a command without keys is about, if it is about one.
pub(crate) fn shard_named(command: &'static Command, argv: Argv<'_>, env: &Env) -> Option<ShardIndex> {
    if command.id == Id::Scan {
        return scan::shard_of(argv, env.shards);
    }
    slot_named(command, argv).map(|slot| env.shards.of(slot))
}

/// Decides where a client's command with keys in `place` runs, in the order of checks of Valkey.
#[inline]
pub(crate) fn route(
    env: &Env,
    store: &Store,
    client: &Client,
    command: &'static Command,
    argv: Argv<'_>,
    place: Place,
) -> Route {
    let slot = match place {
        Place::One(Some(slot)) => slot,
        Place::One(None) => return Route::Here(None),
        Place::Several => {
            return Route::Refused("CROSSSLOT Keys in request don't hash to the same slot".into());
        }
    };
    let view = &env.view;
    let simple = view.is_mine(slot) && view.state == State::Ok && view.migrating_to(slot).is_none();
    if simple || !env.config.cluster_enabled {
        return Route::Here(Some(slot));
    }
    route_slot(env, store, client, command, argv, slot)
}

/// Where a command of an EXEC that has begun runs: what EXEC was admitted for stays admitted, whatever its commands
/// did to keys of a slot that is moved by hand. Unless the slot was lost while the EXEC waited for the node.
pub(crate) fn route_begun(
    env: &Env,
    store: &Store,
    client: &Client,
    command: &'static Command,
    argv: Argv<'_>,
) -> Route {
    let place = place(env, command, argv);
    if env.config.cluster_enabled
        && let Place::One(Some(slot)) = place
    {
        let asked = client.asking && env.view.importing_from(slot).is_some();
        if asked || env.view.is_mine(slot) {
            return Route::Here(Some(slot));
        }
    }
    route(env, store, client, command, argv, place)
}

/// The slots that are not simply served: unowned, of others, being moved by hand, or the cluster is down.
fn route_slot(
    env: &Env,
    store: &Store,
    client: &Client,
    command: &'static Command,
    argv: Argv<'_>,
    slot: Slot,
) -> Route {
    let (config, view) = (&env.config, &env.view);
    let Some(owner) = view.owner(slot) else {
        return Route::Refused("CLUSTERDOWN Hash slot not served".into());
    };
    if view.state != State::Ok {
        if !config.cluster_allow_reads_when_down {
            return Route::Refused("CLUSTERDOWN The cluster is down".into());
        }
        if command.is(flags::WRITE) {
            return Route::Refused("CLUSTERDOWN The cluster is down and only accepts read commands".into());
        }
    }
    let mine = view.is_mine(slot);
    if let Some(target) = view.migrating_to(slot).filter(|_| mine) {
        match count_missing(store, client, command, argv) {
            Missing::None => {}
            Missing::Some => return try_again(),
            Missing::All => return redirect("ASK", slot, view, view.find(target), client),
        }
    }
    if view.importing_from(slot).is_some() && client.asking {
        let several = keys_of(command, argv).nth(1).is_some();
        if several && !matches!(count_missing(store, client, command, argv), Missing::None) {
            return try_again();
        }
        return Route::Here(Some(slot));
    }
    if mine { Route::Here(Some(slot)) } else { redirect("MOVED", slot, view, Some(owner), client) }
}

/// Where the command runs; for EXEC, where all its commands run.
pub(crate) fn whither(
    command: &'static Command,
    argv: Argv<'_>,
    own: Place,
    client: &Client,
    data: &Data,
    env: &Env,
) -> Route {
    if command.id == Id::Exec
        && let Transaction::Open { queue, refused: false, .. } = &client.transaction
        && !client.transaction.is_overtaken(data.effects.watches())
    {
        let mut common = None;
        for queued in queue {
            let argv = queued.words.argv();
            match route(env, &data.store, client, queued.command, argv, place(env, queued.command, argv)) {
                Route::Here(Some(slot)) if common.is_some_and(|c| c != slot) => {
                    return Route::Refused("CROSSSLOT Keys in request don't hash to the same slot".into());
                }
                Route::Here(slot) => common = common.or(slot),
                refused @ Route::Refused(_) => return refused,
            }
        }
        return Route::Here(common);
    }
    route(env, &data.store, client, command, argv, own)
}

/// The hold that a command, or any command of the transaction that it runs, has to wait for.
pub(crate) fn stopped_by_hold(
    command: &'static Command,
    slot: Option<Slot>,
    client: &Client,
    data: &Data,
) -> Option<HoldId> {
    let may_write = |c: &Command| c.is(flags::WRITE) || c.id == Id::ClusterSetslot;
    let mut kind = Kind { slot, writes: may_write(command), link: client.link, waited: client.waited };
    if command.id == Id::Exec
        && let Transaction::Open { queue, .. } = &client.transaction
    {
        for write in queue.iter().filter(|q| may_write(q.command)) {
            kind.writes = true;
            // A write without keys may touch any slot, whatever slot the others are about.
            kind.slot = kind.slot.filter(|_| write.command.has_keys());
        }
    }
    data.holds.stop(&kind)
}

fn redirect(word: &str, slot: Slot, view: &View, to: Option<&Row>, client: &Client) -> Route {
    let asker = asker(client);
    let ip = to.and_then(|row| row.endpoint(view.endpoint_type, asker)).unwrap_or_default();
    let port = to.map_or(0, |row| row.client_port(asker));
    Route::Refused(format!("{word} {slot} {ip}:{port}"))
}

/// How the client came, which decides the addresses it is told.
pub(crate) fn asker(client: &Client) -> Asker {
    let family = match client.origin.peer_ip().map(|ip| ip.to_canonical()) {
        Some(IpAddr::V4(_)) => Family::V4,
        Some(IpAddr::V6(_)) => Family::V6,
        None => Family::Other,
    };
    Asker { tls: false, family }
}

enum Missing {
    None,
    Some,
    All,
}

fn count_missing(store: &Store, client: &Client, command: &'static Command, argv: Argv<'_>) -> Missing {
    let (mut there, mut gone) = (0, 0);
    for index in keys_of(command, argv) {
        match store.get(&store.at(client.db, argv.get(index))) {
            Some(_) => there += 1,
            None => gone += 1,
        }
    }
    match (there, gone) {
        (_, 0) => Missing::None,
        (0, _) => Missing::All,
        _ => Missing::Some,
    }
}

fn try_again() -> Route {
    Route::Refused("TRYAGAIN Multiple keys request during rehashing of slot".into())
}
