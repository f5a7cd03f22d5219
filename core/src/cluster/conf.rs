//! nodes.conf: the text of CLUSTER NODES with more fields in the address column, and the epochs.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::fmt::Write as _;
use core::str::FromStr;

use super::Cluster;
use super::config::{Announced, BUS_PORT_OFFSET};
use super::epochs::Epochs;
use super::node_table::{Address, Health, Node, NodeIx, Role, Stage};
use super::ownership::Reason;
use super::partings::{Parting, Partings};
use super::render::line;
use super::takeover::Takings;
use super::view::{Row, View};
use crate::ids::{NodeId, ShardId};
use crate::slots::{Slot, SlotRange, SlotSet};
use crate::wire::bus::IpText;

/// Why a nodes.conf cannot be believed. The process must not start with a guess.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Corrupt {
    /// The line, from 1; 0: the file as a whole.
    pub line: usize,
    /// What is wrong.
    pub why: String,
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "corrupted cluster config file: {}", self.why),
            line => write!(f, "corrupted cluster config file, line {line}: {}", self.why),
        }
    }
}

impl core::error::Error for Corrupt {}

/// Whether a text can stand in a field of the address column.
#[must_use]
pub(super) fn is_aux_text(text: &str) -> bool {
    let forbidden = "!#$%&()*+;<>?@[]^{|}~,\"'\\";
    !text.chars().any(|c| forbidden.contains(c) || c.is_whitespace() || c.is_control())
}

/// The variable that says which slots were taken over from a node that has not been heard without them since. Others
/// skip what they do not know.
const TAKEN: &str = "takenOver";

/// The variable that says which slots an export may have granted.
const PARTING: &str = "mayBeGranted";

/// The variable that says which slots their owners no longer announce. The epoch in an owner's line is of a claim without
/// them: who forgot that would tell their next owner, whose epoch may be lower, that it has lost them.
const UNANNOUNCED: &str = "unannounced";

/// The content of nodes.conf. Nodes in handshake are not in it.
#[must_use]
pub(super) fn write(view: &View, takings: &Takings, partings: &Partings, unannounced: &SlotSet) -> String {
    let mut text = String::new();
    for row in view.rows.iter().filter(|row| !row.handshake) {
        text.push_str(&line(view, row, &place(row, view.tls_cluster)));
        text.push('\n');
    }
    let _ = write!(text, "vars currentEpoch {} lastVoteEpoch {}", view.current_epoch, view.last_vote_epoch);
    for (source, slots) in takings.to_save().filter(|(source, _)| view.find(*source).is_some()) {
        let _ = write!(text, " {TAKEN} {source}");
        for range in slots.0 {
            let _ = write!(text, ",{range}");
        }
    }
    let mine = view.myself().slots.to_set();
    for parting in partings.to_save().filter(|parting| view.find(parting.target).is_some()) {
        let slots: SlotSet = parting.slots.iter().filter(|slot| mine.contains(*slot)).collect();
        if slots.is_empty() {
            continue;
        }
        let _ = write!(text, " {PARTING} {},{},{}", parting.target, parting.epoch, parting.least_epoch);
        for range in slots.to_ranges().0 {
            let _ = write!(text, ",{range}");
        }
    }
    for (at, range) in unannounced.to_ranges().0.iter().enumerate() {
        let before = if at == 0 { format!(" {UNANNOUNCED} ") } else { ",".into() };
        let _ = write!(text, "{before}{range}");
    }
    text.push('\n');
    text
}

/// The address column: `ip:port@cport,hostname,name=value…`. The port that is not in front has a field of its own.
fn place(row: &Row, tls_cluster: bool) -> String {
    let told = &row.announced;
    let (main, other) = match tls_cluster {
        true => (row.tls_port, ("tcp-port", row.port)),
        false => (row.port, ("tls-port", row.tls_port)),
    };
    let mut text = format!("{}:{main}@{},{}", row.ip, row.bus_port, told.hostname);
    let fields = [
        ("availability-zone", told.zone.clone()),
        ("client-tls-port", port_text(told.client_tls_port)),
        ("client-tcp-port", port_text(told.client_port)),
        ("client-ipv6", told.client_ipv6.clone()),
        ("client-ipv4", told.client_ipv4.clone()),
        (other.0, other.1.to_string()),
        ("nodename", told.nodename.clone()),
        ("shard-id", row.shard.to_string()),
    ];
    for (name, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
        let _ = write!(text, ",{name}={value}");
    }
    text
}

fn port_text(port: u16) -> String {
    if port == 0 { String::new() } else { port.to_string() }
}

/// A nodes.conf as read.
#[derive(Debug, Default)]
pub(super) struct Saved {
    nodes: Vec<SavedNode>,
    epochs: Epochs,
    takings: Vec<(NodeId, SlotSet)>,
    partings: Vec<Parting>,
    unannounced: SlotSet,
}

/// A line about a node as read.
#[derive(Debug)]
struct SavedNode {
    line: usize,
    id: NodeId,
    place: Place,
    flags: Flags,
    primary: Option<NodeId>,
    pinged: bool,
    ponged: bool,
    config_epoch: u64,
    slots: SlotSet,
    migrating: Vec<(Slot, NodeId)>,
    importing: Vec<(Slot, NodeId)>,
}

#[derive(Debug, Default)]
struct Place {
    ip: IpText,
    port: u16,
    bus_port: u16,
    tcp_port: Option<u16>,
    tls_port: Option<u16>,
    shard: Option<ShardId>,
    announced: Announced,
}

#[derive(Debug, Default)]
struct Flags {
    myself: bool,
    primary: bool,
    replica: bool,
    suspected: bool,
    failed: bool,
    handshake: bool,
    noaddr: bool,
    nofailover: bool,
}

/// Reads a nodes.conf of this program, of Valkey or of Redis 7.0.
pub(super) fn parse(bytes: &[u8]) -> Result<Saved, Corrupt> {
    let text = core::str::from_utf8(bytes).map_err(|_| Corrupt { line: 0, why: "not UTF-8 text".into() })?;
    let mut saved = Saved::default();
    for (number, content) in text.lines().enumerate() {
        let number = number + 1;
        let at = |why: String| Corrupt { line: number, why };
        let words: Vec<&str> = content.split_ascii_whitespace().collect();
        match words.first() {
            None => {}
            Some(&"vars") => parse_vars(&words[1..], &mut saved).map_err(at)?,
            Some(_) => {
                let node = parse_node(number, &words).map_err(at)?;
                if saved.nodes.iter().any(|other| other.id == node.id) {
                    return Err(at(format!("node {} appears twice", node.id)));
                }
                saved.nodes.push(node);
            }
        }
    }
    let mut myselves = saved.nodes.iter().filter(|node| node.flags.myself);
    let Some(me) = myselves.next() else {
        return Err(Corrupt { line: 0, why: "no line about this node itself".into() });
    };
    if let Some(second) = myselves.next() {
        return Err(Corrupt { line: second.line, why: "a second line about this node itself".into() });
    }
    if me.flags.replica {
        let why = "this node was a replica, which is not available yet".into();
        return Err(Corrupt { line: me.line, why });
    }
    Ok(saved)
}

fn parse_vars(words: &[&str], saved: &mut Saved) -> Result<(), String> {
    for pair in words.chunks(2) {
        let &[name, value] = pair else { return Err(format!("variable '{}' without a value", pair[0])) };
        match name {
            "currentEpoch" => saved.epochs.current = number(value)?,
            "lastVoteEpoch" => saved.epochs.last_vote = number(value)?,
            TAKEN => saved.takings.push(parse_taken(value)?),
            PARTING => saved.partings.push(parse_parting(value)?),
            UNANNOUNCED => saved.unannounced = parse_ranges(value.split(','))?,
            _ => tracing::info!(name, "unknown variable in the cluster config file"),
        }
    }
    Ok(())
}

/// `id,n-n,n-n…`
fn parse_taken(text: &str) -> Result<(NodeId, SlotSet), String> {
    let mut words = text.split(',');
    let source = node_id(words.next().unwrap_or_default())?;
    Ok((source, parse_ranges(words)?))
}

/// `id,n,n,n-n,n-n…`
fn parse_parting(text: &str) -> Result<Parting, String> {
    let mut words = text.split(',');
    let target = node_id(words.next().unwrap_or_default())?;
    let epoch = number(words.next().unwrap_or_default())?;
    let least_epoch = number(words.next().unwrap_or_default())?;
    Ok(Parting { target, slots: parse_ranges(words)?, epoch, least_epoch })
}

fn parse_ranges<'a>(words: impl Iterator<Item = &'a str>) -> Result<SlotSet, String> {
    let mut slots = SlotSet::new();
    for word in words {
        for slot in parse_range(word)?.iter() {
            slots.insert(slot);
        }
    }
    Ok(slots)
}

fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("'{text}' is no number that can stand here"))
}

fn node_id(text: &str) -> Result<NodeId, String> {
    NodeId::parse(text.as_bytes()).ok_or_else(|| format!("'{text}' is no node id"))
}

fn parse_node(line: usize, words: &[&str]) -> Result<SavedNode, String> {
    let &[id, place, flags, primary, ping, pong, epoch, _link, ref slots @ ..] = words else {
        return Err(format!("{} columns instead of at least 8", words.len()));
    };
    let mut node = SavedNode {
        line,
        id: node_id(id)?,
        place: parse_place(place)?,
        flags: parse_flags(flags)?,
        primary: if primary == "-" { None } else { Some(node_id(primary)?) },
        pinged: number::<u64>(ping)? != 0,
        ponged: number::<u64>(pong)? != 0,
        config_epoch: number(epoch)?,
        slots: SlotSet::new(),
        migrating: Vec::new(),
        importing: Vec::new(),
    };
    for word in slots {
        parse_slots(word, &mut node)?;
    }
    Ok(node)
}

/// `ip:port@cport`, then a host name that may be empty, then named fields. Redis 7.0 ends after the host name,
/// older servers before it.
fn parse_place(text: &str) -> Result<Place, String> {
    let mut fields = text.split(',');
    let address = fields.next().unwrap_or_default();
    let (front, bus_port) = match address.split_once('@') {
        Some((front, bus_port)) => (front, Some(number::<u16>(bus_port)?)),
        None => (address, None),
    };
    let (ip, port) = front.rsplit_once(':').ok_or_else(|| format!("no port in '{text}'"))?;
    let port = number::<u16>(port)?;
    let bus_port = match bus_port {
        Some(bus_port) => bus_port,
        None => port.checked_add(BUS_PORT_OFFSET).ok_or_else(|| format!("no bus port in '{text}'"))?,
    };
    let ip = IpText::new(ip.as_bytes()).ok_or_else(|| format!("'{ip}' is no address"))?;
    let mut place = Place { ip, port, bus_port, ..Place::default() };
    if let Some(hostname) = fields.next() {
        place.announced.hostname = aux_text(hostname)?;
    }
    for field in fields {
        let (name, value) = field.split_once('=').ok_or_else(|| format!("'{field}' is no named field"))?;
        let told = &mut place.announced;
        match name {
            "shard-id" => {
                let shard = ShardId::parse(value.as_bytes());
                place.shard = Some(shard.ok_or_else(|| format!("'{value}' is no shard id"))?);
            }
            "nodename" => told.nodename = aux_text(value)?,
            "tcp-port" => place.tcp_port = Some(number(value)?),
            "tls-port" => place.tls_port = Some(number(value)?),
            "client-ipv4" => told.client_ipv4 = aux_text(value)?,
            "client-ipv6" => told.client_ipv6 = aux_text(value)?,
            "client-tcp-port" => told.client_port = number(value)?,
            "client-tls-port" => told.client_tls_port = number(value)?,
            "availability-zone" => told.zone = aux_text(value)?,
            _ => return Err(format!("unknown field '{name}'")),
        }
    }
    Ok(place)
}

fn aux_text(text: &str) -> Result<String, String> {
    if is_aux_text(text) { Ok(text.into()) } else { Err(format!("'{text}' has a character that cannot be")) }
}

fn parse_flags(text: &str) -> Result<Flags, String> {
    let mut flags = Flags::default();
    for word in text.split(',') {
        match word {
            "myself" => flags.myself = true,
            "master" | "primary" => flags.primary = true,
            "slave" | "replica" => flags.replica = true,
            "fail?" => flags.suspected = true,
            "fail" => flags.failed = true,
            "handshake" => flags.handshake = true,
            "noaddr" => flags.noaddr = true,
            "nofailover" => flags.nofailover = true,
            "noflags" => {}
            _ => return Err(format!("unknown flag '{word}'")),
        }
    }
    Ok(flags)
}

/// `n`, `a-b`, `[n->-id]` or `[n-<-id]`.
fn parse_slots(word: &str, node: &mut SavedNode) -> Result<(), String> {
    let wrong = || format!("'{word}' is no slot, range or open slot");
    let slot = |text: &str| text.parse().ok().and_then(Slot::new).ok_or_else(wrong);
    if let Some(open) = word.strip_prefix('[') {
        let open = open.strip_suffix(']').ok_or_else(wrong)?;
        if let Some((number, to)) = open.split_once("->-") {
            node.migrating.push((slot(number)?, node_id(to)?));
        } else {
            let (number, from) = open.split_once("-<-").ok_or_else(wrong)?;
            node.importing.push((slot(number)?, node_id(from)?));
        }
        return Ok(());
    }
    for slot in parse_range(word)?.iter() {
        node.slots.insert(slot);
    }
    Ok(())
}

/// `n` or `a-b`.
fn parse_range(word: &str) -> Result<SlotRange, String> {
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    let range = match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) => SlotRange::new(first, last),
        _ => None,
    };
    range.ok_or_else(|| format!("'{word}' is no slot, range or open slot"))
}

impl Cluster {
    /// Takes the knowledge of a nodes.conf into a machine that knows only itself.
    pub(super) fn restore(&mut self, saved: Saved) {
        let mut rows: BTreeMap<NodeId, NodeIx> = BTreeMap::new();
        // This node first: until it has its name again, it has one drawn by lot, which could be another's.
        let (myself, others): (Vec<_>, Vec<_>) = saved.nodes.iter().partition(|node| node.flags.myself);
        for node in myself.into_iter().chain(others.into_iter().filter(|node| !node.flags.handshake)) {
            if let Some(ix) = self.restore_node(node) {
                rows.insert(node.id, ix);
            }
        }
        let mut taken = SlotSet::new();
        for node in &saved.nodes {
            let Some(&ix) = rows.get(&node.id) else { continue };
            if node.flags.replica {
                let of = node.primary.and_then(|id| rows.get(&id)).copied().filter(|&of| of != ix);
                self.nodes[ix].role = Role::Replica { of };
                if let Some(of) = of {
                    self.nodes[of].migrate_to = true;
                }
            }
            // A slot that two lines claim stays with the first.
            let slots = node.slots.iter().filter(|&slot| taken.insert(slot)).collect();
            self.assign(&slots, Some(ix), Reason::Loaded);
            let row = |id: &NodeId| rows.get(id).copied();
            for (slot, to) in node.migrating.iter().filter_map(|(slot, id)| Some((*slot, row(id)?))) {
                self.open.set_migrating(slot, Some(to));
            }
            for (slot, from) in node.importing.iter().filter_map(|(slot, id)| Some((*slot, row(id)?))) {
                self.open.set_importing(slot, Some(from));
            }
        }
        for ix in self.nodes.others() {
            // A replica cannot be in another shard than its primary.
            if let Role::Replica { of: Some(of) } = self.nodes[ix].role {
                self.nodes[ix].shard = self.nodes[of].shard;
            }
        }
        for slot in saved.unannounced.iter() {
            let mine = self.slots.is_mine(slot);
            self.slots.mark_announced(slot, mine);
        }
        self.epochs = saved.epochs;
        self.takings = Takings::restore(saved.takings);
        self.partings = Partings::restore(saved.partings);
        self.epochs.current = self.epochs.current.max(self.nodes.highest_epoch());
        self.take_ownership_as_told();
        self.todo.save_durably();
    }

    fn restore_node(&mut self, saved: &SavedNode) -> Option<NodeIx> {
        let now = self.now.mono;
        let place = &saved.place;
        let shard = place.shard.unwrap_or_else(|| ShardId::random(&mut self.rng));
        let mut node = Node::new(saved.id, shard, Stage::Member, now);
        let tls = self.config.tls_cluster;
        let other = if tls { place.tcp_port } else { place.tls_port };
        node.address = Address::told(place.ip, tls, place.port, other.unwrap_or(0), place.bus_port);
        node.announced = place.announced.clone();
        node.role = if saved.flags.primary { Role::Primary } else { Role::Unknown };
        node.noaddr = saved.flags.noaddr;
        node.nofailover = saved.flags.nofailover;
        node.health = match (saved.flags.failed || saved.flags.noaddr, saved.flags.suspected) {
            (true, _) => Health::Failed { since: now },
            (false, true) => Health::Suspected,
            (false, false) => Health::Up,
        };
        node.config_epoch = if saved.flags.replica { 0 } else { saved.config_epoch };
        node.ping_sent = saved.pinged.then_some(now);
        node.pong_received = saved.ponged.then_some(now);
        if saved.flags.myself {
            node.role = Role::Primary;
            node.health = Health::Up;
            self.nodes.rename(NodeIx::MYSELF, saved.id);
            *self.nodes.myself_mut() = node;
            return Some(NodeIx::MYSELF);
        }
        self.nodes.insert(node)
    }
}
