//! Commands answered from the published view, the configuration and counts.

use alloc::string::ToString;
use alloc::vec::Vec;

use crate::cluster::View;
use crate::cluster::render::{self, Asker};
use crate::command::refused::{lines, not_built};
use crate::command::table::{Command, Id};
use crate::link::Outbox;
use crate::shard::data::Data;
use crate::shard::env::Env;
use crate::shard::route::asker;
use crate::shard::session::Client;
use crate::slots::Slot;
use crate::wire::resp::number::integer;
use crate::wire::resp::{Argv, Reply};

/// Answers a command from what is published.
pub(crate) fn run(
    command: &'static Command,
    argv: Argv<'_>,
    client: &mut Client,
    outbox: &mut Outbox,
    data: &mut Data,
    env: &Env,
) {
    let db = client.db;
    let (view, asker) = (&*env.view, asker(client));
    let mut reply = client.reply(outbox);
    if command.name.starts_with("cluster") && !env.config.cluster_enabled {
        reply.error(lines::NO_CLUSTER);
        return;
    }
    match command.id {
        Id::ConfigGet => config_get(argv, env, &mut reply),
        Id::Role => {
            reply.array(3);
            reply.bulk(b"master");
            reply.int(0);
            reply.array(0);
        }
        Id::Lastsave => reply.int(env.started.wall.as_secs() as i64),
        Id::ClusterKeyslot => reply.int(i64::from(Slot::of(argv.get(2)).number())),
        Id::ClusterCountkeysinslot => count_keys(argv, db, data, &mut reply),
        Id::ClusterGetkeysinslot => get_keys(argv, db, data, &mut reply),
        Id::ClusterNodes => reply.verbatim("txt", &render::nodes(view, asker)),
        Id::ClusterInfo => reply.verbatim("txt", &render::info(view)),
        Id::ClusterSlots => render::slots(view, asker, &mut reply),
        Id::ClusterShards => render::shards(view, asker, &mut reply),
        Id::ClusterLinks => render::links(view, &mut reply),
        Id::ClusterMyid => reply.bulk(view.myself().id.as_bytes()),
        Id::ClusterMyshardid => reply.bulk(view.myself().shard.as_bytes()),
        Id::ClusterReplicas | Id::ClusterSlaves => replicas(argv, view, asker, &mut reply),
        _ => reply.error(&not_built(command.name)),
    }
}

fn config_get(argv: Argv<'_>, env: &Env, reply: &mut Reply<'_>) {
    let patterns: Vec<&[u8]> = argv.after(2).iter().collect();
    let found = env.config.matching(&patterns);
    reply.map(found.len());
    for (name, value) in found {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
}

fn replicas(argv: Argv<'_>, view: &View, asker: Asker, reply: &mut Reply<'_>) {
    match render::replicas(view, argv.get(2), asker) {
        Ok(lines) => {
            reply.array(lines.len());
            lines.iter().for_each(|line| reply.bulk(line.as_bytes()));
        }
        Err(refused) => reply.error(&refused.to_string()),
    }
}

fn slot_argument(word: &[u8]) -> Option<Result<Slot, ()>> {
    let number = integer(word)?;
    Some(u16::try_from(number).ok().and_then(Slot::new).ok_or(()))
}

fn count_keys(argv: Argv<'_>, db: u32, data: &Data, reply: &mut Reply<'_>) {
    match slot_argument(argv.get(2)) {
        None => reply.error(lines::NOT_AN_INTEGER),
        Some(Err(())) => reply.error("ERR Invalid slot"),
        Some(Ok(slot)) => reply.int(data.store.slot_len(db, slot) as i64),
    }
}

fn get_keys(argv: Argv<'_>, db: u32, data: &Data, reply: &mut Reply<'_>) {
    let (Some(slot), Some(max)) = (slot_argument(argv.get(2)), integer(argv.get(3))) else {
        reply.error(lines::NOT_AN_INTEGER);
        return;
    };
    let (Ok(slot), Ok(max)) = (slot, usize::try_from(max)) else {
        reply.error("ERR Invalid slot or number of keys");
        return;
    };
    let count = data.store.slot_len(db, slot).min(max as u64) as usize;
    reply.array(count);
    data.store.keys_in_slot(db, slot, count, &mut |entry| reply.bulk(entry.key()));
}
