//! The answers of CLUSTER NODES, INFO, SLOTS, SHARDS, LINKS and REPLICAS.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write as _;

use super::config::EndpointType;
use super::operator::shown;
use super::refused::Refused;
use super::view::{Health, Row, View, ViewRole};
use crate::ids::{NodeId, ShardId};
use crate::slots::SlotRanges;
use crate::wire::bus::{Kind, State};
use crate::wire::resp::Reply;

/// The address family by which a client came.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Family {
    /// IPv4.
    #[default]
    V4,
    /// IPv6.
    V6,
    /// Neither: a Unix socket, or nobody in particular.
    Other,
}

/// Who asks: ports and addresses depend on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Asker {
    /// Whether it speaks TLS.
    pub tls: bool,
    /// How it came.
    pub family: Family,
}

impl Row {
    /// The address a client is told.
    #[must_use]
    pub fn client_ip(&self, asker: Asker) -> &str {
        let announced = match asker.family {
            Family::V4 => self.announced.client_ipv4.as_str(),
            Family::V6 => self.announced.client_ipv6.as_str(),
            Family::Other => "",
        };
        if announced.is_empty() { self.ip.as_str() } else { announced }
    }

    /// The port a client is told.
    #[must_use]
    pub fn client_port(&self, asker: Asker) -> u16 {
        let (announced, own) = match asker.tls {
            true => (self.announced.client_tls_port, self.tls_port),
            false => (self.announced.client_port, self.port),
        };
        if announced == 0 { own } else { announced }
    }

    /// The endpoint of redirections and CLUSTER SLOTS; `None`: the client shall use the address it has.
    #[must_use]
    pub fn endpoint(&self, kind: EndpointType, asker: Asker) -> Option<&str> {
        match kind {
            EndpointType::Ip => Some(self.client_ip(asker)),
            EndpointType::Hostname if self.announced.hostname.is_empty() => Some("?"),
            EndpointType::Hostname => Some(&self.announced.hostname),
            EndpointType::Unknown => None,
        }
    }

    /// The flags column: comma-separated words in fixed order.
    fn flag_words(&self) -> String {
        let words = [
            (self.myself, "myself"),
            (self.role == ViewRole::Primary, "master"),
            (self.is_replica(), "slave"),
            (self.health == Health::Suspected, "fail?"),
            (self.health == Health::Failed, "fail"),
            (self.handshake, "handshake"),
            (self.noaddr, "noaddr"),
            (self.nofailover, "nofailover"),
        ];
        let set: Vec<&str> = words.into_iter().filter(|(set, _)| *set).map(|(_, word)| word).collect();
        if set.is_empty() { "noflags".into() } else { set.join(",") }
    }
}

/// One line about a node, without its end: `place` is the address column.
pub(super) fn line(view: &View, row: &Row, place: &str) -> String {
    let mut line = format!("{} {place} {} ", row.id, row.flag_words());
    match row.role {
        ViewRole::Replica(Some(primary)) => line.push_str(primary.as_str()),
        _ => line.push('-'),
    }
    let (ping, pong) = if row.myself { (0, 0) } else { (row.ping_sent_ms, row.pong_received_ms) };
    let link = if row.connected { "connected" } else { "disconnected" };
    let _ = write!(line, " {ping} {pong} {} {link}", row.config_epoch);
    for range in &row.slots.0 {
        let _ = match range.first == range.last {
            true => write!(line, " {}", range.first),
            false => write!(line, " {range}"),
        };
    }
    if row.myself {
        open_slots(view, &mut line);
    }
    line
}

/// ` [93->-<id>]` and ` [77-<-<id>]`, ascending by slot.
fn open_slots(view: &View, line: &mut String) {
    let mut marks: Vec<_> = view.migrating.iter().map(|&(slot, node)| (slot, "->-", node)).collect();
    marks.extend(view.importing.iter().map(|&(slot, node)| (slot, "-<-", node)));
    marks.sort_unstable();
    for (slot, arrow, node) in marks {
        let _ = write!(line, " [{slot}{arrow}{node}]");
    }
}

/// The line of CLUSTER NODES and CLUSTER REPLICAS about a node, without its end.
#[must_use]
pub fn node_line(view: &View, row: &Row, asker: Asker) -> String {
    let hostname = &row.announced.hostname;
    let comma = if hostname.is_empty() { "" } else { "," };
    let (ip, port) = (row.client_ip(asker), row.client_port(asker));
    line(view, row, &format!("{ip}:{port}@{}{comma}{hostname}", row.bus_port))
}

/// The text of CLUSTER NODES.
#[must_use]
pub fn nodes(view: &View, asker: Asker) -> String {
    let mut text = String::new();
    for row in &view.rows {
        text.push_str(&node_line(view, row, asker));
        text.push('\n');
    }
    text
}

/// The lines of CLUSTER REPLICAS about the primary named `id`.
///
/// # Errors
/// [`Refused::UnknownNode`], [`Refused::NotAPrimary`].
pub fn replicas(view: &View, id: &[u8], asker: Asker) -> Result<Vec<String>, Refused> {
    let row = NodeId::parse(id).and_then(|id| view.find(id));
    let row = row.ok_or_else(|| Refused::UnknownNode(shown(id)))?;
    if row.is_replica() {
        return Err(Refused::NotAPrimary);
    }
    Ok(view.replicas(row.id).map(|replica| node_line(view, replica, asker)).collect())
}

/// The text of CLUSTER INFO.
#[must_use]
pub fn info(view: &View) -> String {
    let mut text = String::new();
    let mut put = |key: &str, value: u64| {
        let _ = write!(text, "{key}:{value}\r\n");
    };
    let slots = |health| -> u64 {
        view.rows.iter().filter(|row| row.health == health).map(|row| row.slot_count as u64).sum()
    };
    let nodes = |health, voters: bool| {
        let counts = |row: &&Row| row.health == health && !row.handshake && (!voters || row.is_voter());
        view.rows.iter().filter(counts).count() as u64
    };
    let (ok, suspected, failed) = (slots(Health::Up), slots(Health::Suspected), slots(Health::Failed));
    put("cluster_slots_assigned", ok + suspected + failed);
    put("cluster_slots_ok", ok);
    put("cluster_slots_pfail", suspected);
    put("cluster_slots_fail", failed);
    put("cluster_nodes_pfail", nodes(Health::Suspected, false));
    put("cluster_nodes_fail", nodes(Health::Failed, false));
    put("cluster_voting_nodes_pfail", nodes(Health::Suspected, true));
    put("cluster_voting_nodes_fail", nodes(Health::Failed, true));
    put("cluster_known_nodes", view.rows.len() as u64);
    put("cluster_size", view.size as u64);
    put("cluster_current_epoch", view.current_epoch);
    put("cluster_my_epoch", view.myself().config_epoch);
    let stats = &view.stats;
    for (counts, direction) in [(&stats.sent, "sent"), (&stats.received, "received")] {
        for kind in Kind::ALL {
            let count = counts[kind as usize];
            if count > 0 {
                put(&format!("cluster_stats_messages_{}_{direction}", kind.stats_name()), count);
            }
        }
        put(&format!("cluster_stats_messages_{direction}"), counts.iter().sum());
    }
    put("cluster_stats_bytes_sent", stats.bytes_sent);
    put("cluster_stats_bytes_received", stats.bytes_received);
    put("cluster_stats_pubsub_bytes_sent", stats.pubsub_bytes_sent);
    put("cluster_stats_pubsub_bytes_received", stats.pubsub_bytes_received);
    put("cluster_stats_module_bytes_sent", stats.module_bytes_sent);
    put("cluster_stats_module_bytes_received", stats.module_bytes_received);
    put("total_cluster_links_buffer_limit_exceeded", view.links_over_limit);
    let state = match view.state {
        State::Ok => "ok",
        State::Fail => "fail",
    };
    format!("cluster_state:{state}\r\n{text}")
}

/// The answer of CLUSTER SLOTS.
pub fn slots(view: &View, asker: Asker, reply: &mut Reply<'_>) {
    let runs: Vec<_> = view.runs().collect();
    reply.array(runs.len());
    for (range, owner) in runs {
        let ready = |row: &&Row| row.health != Health::Failed && row.offset != 0;
        let replicas: Vec<&Row> = view.replicas(owner.id).filter(ready).collect();
        reply.array(3 + replicas.len());
        reply.int(i64::from(range.first.number()));
        reply.int(i64::from(range.last.number()));
        for row in core::iter::once(owner).chain(replicas) {
            slots_node(view, row, asker, reply);
        }
    }
}

fn slots_node(view: &View, row: &Row, asker: Asker, reply: &mut Reply<'_>) {
    let kind = view.endpoint_type;
    reply.array(4);
    match row.endpoint(kind, asker) {
        Some(endpoint) => reply.bulk(endpoint.as_bytes()),
        None => reply.null(),
    }
    reply.int(i64::from(row.client_port(asker)));
    reply.bulk(row.id.as_bytes());
    let ip = (kind != EndpointType::Ip).then(|| row.client_ip(asker));
    let hostname =
        Some(row.announced.hostname.as_str()).filter(|h| kind != EndpointType::Hostname && !h.is_empty());
    let zone = Some(row.announced.zone.as_str()).filter(|zone| !zone.is_empty());
    let entries = [("ip", ip), ("hostname", hostname), ("availability-zone", zone)];
    reply.map(entries.iter().filter(|(_, value)| value.is_some()).count());
    for (key, value) in entries {
        if let Some(value) = value {
            reply.bulk(key.as_bytes());
            reply.bulk(value.as_bytes());
        }
    }
}

/// Shards with their members, primaries first.
fn shards_of(view: &View) -> Vec<(ShardId, Vec<&Row>)> {
    let mut shards: Vec<(ShardId, Vec<&Row>)> = Vec::new();
    for row in view.rows.iter().filter(|row| !row.handshake) {
        match shards.iter_mut().find(|(id, _)| *id == row.shard) {
            Some((_, members)) => members.push(row),
            None => shards.push((row.shard, [row].into())),
        }
    }
    for (_, members) in &mut shards {
        members.sort_by_key(|row| row.is_replica());
    }
    shards
}

/// The answer of CLUSTER SHARDS.
pub fn shards(view: &View, asker: Asker, reply: &mut Reply<'_>) {
    let shards = shards_of(view);
    reply.array(shards.len());
    for (id, members) in shards {
        let none = SlotRanges::default();
        let ranges = members.iter().find(|row| row.slot_count > 0).map_or(&none, |row| &row.slots);
        reply.map(3);
        reply.bulk(b"slots");
        reply.array(ranges.0.len() * 2);
        for range in &ranges.0 {
            reply.int(i64::from(range.first.number()));
            reply.int(i64::from(range.last.number()));
        }
        reply.bulk(b"nodes");
        reply.array(members.len());
        for row in members {
            shards_node(view, row, asker, reply);
        }
        reply.bulk(b"id");
        reply.bulk(id.as_bytes());
    }
}

fn shards_node(view: &View, row: &Row, asker: Asker, reply: &mut Reply<'_>) {
    let port = row.client_port(Asker { tls: false, ..asker });
    let tls_port = row.client_port(Asker { tls: true, ..asker });
    let (hostname, zone) = (&row.announced.hostname, &row.announced.zone);
    let present = [port != 0, tls_port != 0, !hostname.is_empty(), !zone.is_empty()];
    reply.map(6 + present.into_iter().filter(|&p| p).count());
    let mut text = |key: &str, value: &str| {
        reply.bulk(key.as_bytes());
        reply.bulk(value.as_bytes());
    };
    text("id", row.id.as_str());
    for (key, port) in [("port", port), ("tls-port", tls_port)] {
        if port != 0 {
            reply.bulk(key.as_bytes());
            reply.int(i64::from(port));
        }
    }
    let mut text = |key: &str, value: &str| {
        reply.bulk(key.as_bytes());
        reply.bulk(value.as_bytes());
    };
    text("ip", row.client_ip(asker));
    text("endpoint", row.endpoint(view.endpoint_type, asker).unwrap_or_default());
    if !hostname.is_empty() {
        text("hostname", hostname);
    }
    text("role", if row.is_replica() { "replica" } else { "master" });
    reply.bulk(b"replication-offset");
    reply.int(row.offset as i64);
    reply.bulk(b"health");
    reply.bulk(match row.health {
        Health::Failed => b"fail",
        _ if row.is_replica() && row.offset == 0 => b"loading",
        _ => b"online",
    });
    if !zone.is_empty() {
        reply.bulk(b"availability-zone");
        reply.bulk(zone.as_bytes());
    }
}

/// The answer of CLUSTER LINKS.
pub fn links(view: &View, reply: &mut Reply<'_>) {
    reply.array(view.links.len());
    for link in &view.links {
        reply.map(6);
        reply.bulk(b"direction");
        reply.bulk(if link.outgoing { b"to" } else { b"from" });
        reply.bulk(b"node");
        reply.bulk(link.node.as_bytes());
        reply.bulk(b"create-time");
        reply.int(link.created_ms as i64);
        reply.bulk(b"events");
        reply.bulk(if link.outbox > 0 { b"rw" } else { b"r" });
        for key in ["send-buffer-allocated", "send-buffer-used"] {
            reply.bulk(key.as_bytes());
            reply.int(link.outbox as i64);
        }
    }
}
