//! DEBUG words that disturb the cluster bus.

use alloc::format;

use crate::action::Actions;
use crate::cluster::Fault;
use crate::command::options::is;
use crate::command::refused::lines;
use crate::ids::NodeId;
use crate::mail::Fact;
use crate::shard::debug::is_set;
use crate::shard::env::Env;
use crate::wire::resp::number::integer;
use crate::wire::resp::quote;
use crate::wire::resp::{Argv, Reply};

/// Passes a fault on to the node; whether the words were about one.
pub(super) fn said(env: &Env, argv: Argv<'_>, reply: &mut Reply<'_>, out: &mut Actions) -> bool {
    let word = argv.get(1);
    let fault = match argv.len() {
        3 if is(word, b"drop-cluster-packet-filter") => match integer(argv.get(2)) {
            Some(kind) => Fault::Drop(kind),
            None => {
                reply.error(lines::NOT_AN_INTEGER);
                return true;
            }
        },
        3 if is(word, b"close-cluster-link-on-packet-drop") => Fault::CloseOnDrop(is_set(argv.get(2))),
        3 if is(word, b"disable-cluster-random-ping") => Fault::NoRandomPings(is_set(argv.get(2))),
        3 if is(word, b"disable-cluster-reconnection") => Fault::NoReconnection(is_set(argv.get(2))),
        5 if is(word, b"clusterlink") && is(argv.get(2), b"kill") => match kill(env, argv) {
            Ok(fault) => fault,
            Err(error) => {
                reply.error(&error);
                return true;
            }
        },
        _ => return false,
    };
    out.report(Fact::Disturbed(fault));
    reply.ok();
    true
}

fn kill(env: &Env, argv: Argv<'_>) -> Result<Fault, alloc::string::String> {
    if !env.config.cluster_enabled {
        return Err("ERR Debug option only available for cluster mode enabled setup!".into());
    }
    let (direction, name) = (argv.get(3), argv.get(4));
    let node = NodeId::parse(name).filter(|id| env.view.find(*id).is_some());
    let node = node.ok_or_else(|| format!("ERR Unknown node {}", quote(name)))?;
    if node == env.view.myself().id {
        return Err("ERR Cannot free cluster link(s) to myself".into());
    }
    let (to, from) = match direction {
        _ if is(direction, b"to") => (true, false),
        _ if is(direction, b"from") => (false, true),
        _ if is(direction, b"all") => (true, true),
        _ => return Err(format!("ERR Unknown direction {}", quote(direction))),
    };
    Ok(Fault::Kill { node, to, from })
}
