//! CLIENT TRACKING: clients that keep values of their own hear which keys have changed.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::command::options::is;
use crate::command::refused::lines;
use crate::ids::{ClientId, LinkId};
use crate::rng::Rng;
use crate::wire::resp::number::integer;
use crate::wire::resp::{Argv, Proto, Reply, quote};

const OTHER_MODE: &str = "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a different mode.";
const OTHER_CHOICE: &str = "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with a different mode.";
const NOT_TRACKING: &str = "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled";

/// How a client that tracks does so.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tracker {
    /// It hears of all keys with its prefixes instead of those that it read.
    pub(crate) bcast: bool,
    optin: bool,
    optout: bool,
    /// It does not hear of its own changes.
    pub(crate) noloop: bool,
    /// CLIENT CACHING came: the next command is the exception.
    caching: bool,
    /// The client that hears for it is gone.
    pub(crate) broken: bool,
    /// Who hears for it.
    pub(crate) redirect: Option<(ClientId, LinkId)>,
    prefixes: BTreeSet<Box<[u8]>>,
}

/// What siblings have to know of a client that tracks, or does so no longer.
#[derive(Debug)]
pub(crate) struct Tracks {
    on: bool,
    noloop: bool,
    prefixes: Vec<Box<[u8]>>,
}

impl Tracks {
    /// Of a client, by what it has set.
    pub(crate) fn of(tracker: Option<&Tracker>) -> Self {
        Self {
            on: tracker.is_some(),
            noloop: tracker.is_some_and(|tracker| tracker.noloop),
            prefixes: tracker.into_iter().flat_map(|tracker| tracker.prefixes.iter().cloned()).collect(),
        }
    }
}

impl Tracker {
    /// Whether the keys of a command that is read now are remembered.
    fn remembers(&self) -> bool {
        let wanted = if self.caching { !self.optout } else { !self.optin };
        wanted && !self.bcast
    }

    /// A command ended: what CLIENT CACHING said was about it.
    pub(crate) fn forget_exception(&mut self) {
        self.caching = false;
    }

    /// The id that CLIENT GETREDIR shows.
    pub(crate) fn redirect_id(&self) -> i64 {
        self.redirect.map_or(0, |(id, _)| id.0 as i64)
    }
}

/// CLIENT CACHING.
///
/// # Errors
/// The error line.
pub(crate) fn caching(tracker: Option<&mut Tracker>, word: &[u8]) -> Result<(), &'static str> {
    let Some(tracker) = tracker else { return Err(NOT_TRACKING) };
    let (fits, error) = match () {
        () if is(word, b"yes") => {
            (tracker.optin, "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.")
        }
        () if is(word, b"no") => {
            (tracker.optout, "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.")
        }
        () => return Err(lines::SYNTAX),
    };
    tracker.caching |= fits;
    if fits { Ok(()) } else { Err(error) }
}

/// CLIENT TRACKINGINFO.
pub(crate) fn describe(tracker: Option<&Tracker>, reply: &mut Reply<'_>) {
    let off = Tracker::default();
    let on = tracker.is_some();
    let tracker = tracker.unwrap_or(&off);
    let flags: Vec<&str> = [
        (true, if on { "on" } else { "off" }),
        (tracker.bcast, "bcast"),
        (tracker.optin, "optin"),
        (tracker.optin && tracker.caching, "caching-yes"),
        (tracker.optout, "optout"),
        (tracker.optout && tracker.caching, "caching-no"),
        (tracker.noloop, "noloop"),
        (tracker.broken, "broken_redirect"),
    ]
    .into_iter()
    .filter_map(|(is_set, flag)| is_set.then_some(flag))
    .collect();
    reply.map(3);
    reply.bulk(b"flags");
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.bulk(flag.as_bytes()));
    reply.bulk(b"redirect");
    reply.int(if on { tracker.redirect_id() } else { -1 });
    reply.bulk(b"prefixes");
    reply.array(tracker.prefixes.len());
    tracker.prefixes.iter().for_each(|prefix| reply.bulk(prefix));
}

/// Keys of a prefix that were changed, and who wants to hear of them.
#[derive(Debug, Default)]
struct Broadcast {
    clients: BTreeSet<LinkId>,
    /// With the client that changed each last.
    keys: BTreeMap<Box<[u8]>, Option<LinkId>>,
}

/// What is to be told to one client.
#[derive(Debug)]
pub(crate) struct Notice {
    pub(crate) to: LinkId,
    /// Who changed it.
    pub(crate) by: Option<LinkId>,
    pub(crate) what: Gone,
}

/// Keys that are no longer what they were.
#[derive(Clone, Debug)]
pub(crate) enum Gone {
    /// This one.
    Key(Arc<[u8]>),
    /// These, of a prefix.
    Keys(Arc<[Box<[u8]>]>),
    /// All.
    All,
}

impl Gone {
    /// Writes the message, to a client that understands it.
    pub(crate) fn tell_to(&self, reply: &mut Reply<'_>) {
        if reply.proto() == Proto::Resp2 {
            return;
        }
        reply.push(2);
        reply.bulk(b"invalidate");
        match self {
            Self::Key(key) => {
                reply.array(1);
                reply.bulk(key);
            }
            Self::Keys(keys) => {
                reply.array(keys.len());
                keys.iter().for_each(|key| reply.bulk(key));
            }
            Self::All => reply.null(),
        }
    }
}

/// A key and the clients that read it.
type Readers = (Arc<[u8]>, SmallVec<[LinkId; 2]>);

/// Which clients read which keys.
#[derive(Debug, Default)]
struct Table {
    index: HashMap<Arc<[u8]>, usize, foldhash::fast::FixedState>,
    keys: Vec<Readers>,
    items: usize,
}

impl Table {
    fn add(&mut self, key: &[u8], link: LinkId) {
        let at = self.index.get(key).copied().unwrap_or_else(|| {
            let key: Arc<[u8]> = key.into();
            self.index.insert(key.clone(), self.keys.len());
            self.keys.push((key, SmallVec::new()));
            self.keys.len() - 1
        });
        let links = &mut self.keys[at].1;
        if !links.contains(&link) {
            links.push(link);
            self.items += 1;
        }
    }

    fn remove(&mut self, key: &[u8]) -> Option<Readers> {
        let at = self.index.remove(key)?;
        let removed = self.keys.swap_remove(at);
        if let Some((moved, _)) = self.keys.get(at) {
            self.index.insert(moved.clone(), at);
        }
        self.items -= removed.1.len();
        Some(removed)
    }
}

/// All that is known about clients that track.
#[derive(Debug, Default)]
pub(crate) struct Tracking {
    links: BTreeSet<LinkId>,
    /// Clients of siblings that do not hear of their own changes.
    noloop: BTreeSet<LinkId>,
    table: Table,
    prefixes: BTreeMap<Box<[u8]>, Broadcast>,
    notices: Vec<Notice>,
    /// What clients hear for others, with their links, when their EXEC is over.
    kept_back: Vec<(Notice, LinkId)>,
}

impl Tracking {
    /// Clients that track.
    pub(crate) fn clients(&self) -> usize {
        self.links.len()
    }

    /// Keys that somebody read, how often one of them was read by a client, and prefixes.
    pub(crate) fn totals(&self) -> [usize; 3] {
        [self.table.keys.len(), self.table.items, self.prefixes.len()]
    }

    /// Keeps what a client hears for another until it is not in the middle of an EXEC.
    pub(crate) fn keep_back(&mut self, notice: Notice, listener: LinkId) {
        self.kept_back.push((notice, listener));
    }

    pub(crate) fn take_kept_back(&mut self) -> Vec<(Notice, LinkId)> {
        core::mem::take(&mut self.kept_back)
    }

    /// Whether a client wants to hear of whole prefixes.
    pub(crate) fn has_prefixes(&self) -> bool {
        !self.prefixes.is_empty()
    }

    /// CLIENT TRACKING; `find` finds a client by its number.
    ///
    /// # Errors
    /// The error line.
    pub(crate) fn set(
        &mut self,
        argv: Argv<'_>,
        link: LinkId,
        tracker: &mut Option<Box<Tracker>>,
        find: impl Fn(u64) -> Option<LinkId>,
    ) -> Result<(), String> {
        let asked = parse(argv, find)?;
        if is(argv.get(2), b"off") {
            self.forget(link, tracker);
            return Ok(());
        }
        if !is(argv.get(2), b"on") {
            return Err(lines::SYNTAX.into());
        }
        let Asked { tracker: mut new, prefixes } = asked;
        if !new.bcast && !prefixes.is_empty() {
            return Err("ERR PREFIX option requires BCAST mode to be enabled".into());
        }
        let old = tracker.as_deref();
        if old.is_some_and(|old| old.bcast != new.bcast) {
            return Err(OTHER_MODE.into());
        }
        if new.bcast && (new.optin || new.optout) {
            return Err("ERR OPTIN and OPTOUT are not compatible with BCAST".into());
        }
        if new.optin && new.optout {
            return Err("ERR You can't specify both OPTIN mode and OPTOUT mode".into());
        }
        if old.is_some_and(|old| (new.optin && old.optout) || (new.optout && old.optin)) {
            return Err(OTHER_CHOICE.into());
        }
        if let Some(old) = old {
            new.prefixes.clone_from(&old.prefixes);
            new.caching = old.caching;
        }
        if new.bcast {
            check(&new.prefixes, &prefixes)?;
            let everything: [&[u8]; 1] = [b""];
            let wanted = if prefixes.is_empty() { &everything[..] } else { &prefixes };
            for prefix in wanted {
                new.prefixes.insert((*prefix).into());
                self.prefixes.entry((*prefix).into()).or_default().clients.insert(link);
            }
        }
        self.links.insert(link);
        *tracker = Some(Box::new(new));
        Ok(())
    }

    /// A client tracks no longer, because it said so or because it is gone. What it read stays until it changes.
    pub(crate) fn forget(&mut self, link: LinkId, tracker: &mut Option<Box<Tracker>>) {
        let Some(tracker) = tracker.take() else { return };
        self.links.remove(&link);
        for prefix in tracker.prefixes {
            if let Some(broadcast) = self.prefixes.get_mut(&prefix) {
                broadcast.clients.remove(&link);
                if broadcast.clients.is_empty() {
                    self.prefixes.remove(&prefix);
                }
            }
        }
    }

    /// A client of a sibling tracks from now on, or does so no longer.
    pub(crate) fn note_guest(&mut self, link: LinkId, tracks: &Tracks) {
        self.links.remove(&link);
        self.noloop.remove(&link);
        self.prefixes.retain(|_, broadcast| {
            broadcast.clients.remove(&link);
            !broadcast.clients.is_empty()
        });
        if tracks.on {
            self.links.insert(link);
        }
        if tracks.noloop {
            self.noloop.insert(link);
        }
        for prefix in &tracks.prefixes {
            self.prefixes.entry(prefix.clone()).or_default().clients.insert(link);
        }
    }

    /// Clients of siblings that do not hear of their own changes.
    pub(crate) fn guests_without_loop(&self) -> BTreeSet<LinkId> {
        self.noloop.clone()
    }

    /// A client that tracks read these keys.
    pub(crate) fn read<'k>(&mut self, link: LinkId, tracker: &Tracker, keys: impl Iterator<Item = &'k [u8]>) {
        if tracker.remembers() {
            keys.for_each(|key| self.table.add(key, link));
        }
    }

    /// A key was changed.
    pub(crate) fn changed(&mut self, key: &[u8], by: Option<LinkId>) {
        for (prefix, broadcast) in &mut self.prefixes {
            if key.starts_with(prefix) {
                broadcast.keys.insert(key.into(), by);
            }
        }
        self.invalidate(key, by);
    }

    fn invalidate(&mut self, key: &[u8], by: Option<LinkId>) {
        let Some((key, links)) = self.table.remove(key) else { return };
        let told = links.into_iter().map(|to| Notice { to, by, what: Gone::Key(key.clone()) });
        self.notices.extend(told);
    }

    /// Keys that are read and for which `gone` is true went without being named one by one.
    pub(crate) fn vanished(&mut self, gone: impl Fn(&[u8]) -> bool) {
        let keys: Vec<Arc<[u8]>> =
            self.table.keys.iter().filter(|(key, _)| gone(key)).map(|(key, _)| key.clone()).collect();
        keys.iter().for_each(|key| self.invalidate(key, None));
    }

    /// A database was emptied, or all were.
    pub(crate) fn flushed(&mut self, by: Option<LinkId>) {
        self.notices.extend(self.links.iter().map(|to| Notice { to: *to, by, what: Gone::All }));
        self.table = Table::default();
    }

    /// Forgets any keys above the limit, 0 being none; whoever read them is told that they changed.
    pub(crate) fn limit(&mut self, max_keys: u64, rng: &mut Rng) {
        let max_keys = usize::try_from(max_keys).unwrap_or(usize::MAX);
        while max_keys > 0 && self.table.keys.len() > max_keys {
            let any = self.table.keys[rng.index(self.table.keys.len())].0.clone();
            self.invalidate(&any, None);
        }
    }

    /// Whether somebody has to be told something.
    pub(crate) fn has_notices(&self) -> bool {
        !self.notices.is_empty() || self.prefixes.values().any(|broadcast| !broadcast.keys.is_empty())
    }

    /// This cannot be told now.
    pub(crate) fn postpone(&mut self, notice: Notice) {
        self.notices.push(notice);
    }

    /// What is to be told to `link` and not yet about prefixes.
    pub(crate) fn take_own(&mut self, link: LinkId) -> Vec<Notice> {
        if self.notices.iter().all(|notice| notice.to != link) {
            return Vec::new();
        }
        let (own, others) = core::mem::take(&mut self.notices).into_iter().partition(|n| n.to == link);
        self.notices = others;
        own
    }

    /// Everything that is to be told. `noloop` says which clients do not want to hear of their own changes.
    pub(crate) fn take(&mut self, noloop: impl Fn(LinkId) -> bool) -> Vec<Notice> {
        let mut notices = core::mem::take(&mut self.notices);
        for broadcast in self.prefixes.values_mut() {
            if broadcast.keys.is_empty() {
                continue;
            }
            let keys = core::mem::take(&mut broadcast.keys);
            let all: Arc<[Box<[u8]>]> = keys.keys().cloned().collect();
            for to in &broadcast.clients {
                let keys = if noloop(*to) {
                    keys.iter().filter(|(_, by)| **by != Some(*to)).map(|(key, _)| key.clone()).collect()
                } else {
                    all.clone()
                };
                if !keys.is_empty() {
                    notices.push(Notice { to: *to, by: None, what: Gone::Keys(keys) });
                }
            }
        }
        notices
    }
}

/// What CLIENT TRACKING asks for.
struct Asked<'a> {
    tracker: Tracker,
    prefixes: Vec<&'a [u8]>,
}

/// The number of the client that is to hear for the one that gives this command.
pub(crate) fn listener(argv: Argv<'_>) -> Option<ClientId> {
    let mut words = argv.after(3).iter();
    while let Some(word) = words.next() {
        if is(word, b"redirect") {
            return words.next().and_then(integer).and_then(|id| u64::try_from(id).ok()).map(ClientId);
        } else if is(word, b"prefix") {
            words.next();
        }
    }
    None
}

fn parse(argv: Argv<'_>, find: impl Fn(u64) -> Option<LinkId>) -> Result<Asked<'_>, String> {
    let mut asked = Asked { tracker: Tracker::default(), prefixes: Vec::new() };
    let mut next = 3;
    while let Some(option) = argv.opt(next) {
        let value = argv.opt(next + 1);
        next += 1;
        match (option, value) {
            (_, Some(id)) if is(option, b"redirect") => {
                if asked.tracker.redirect.is_some() {
                    return Err("ERR A client can only redirect to a single other client".into());
                }
                let id = integer(id).ok_or(lines::NOT_AN_INTEGER)?;
                let found = u64::try_from(id).ok().and_then(|id| Some((ClientId(id), find(id)?)));
                let found = found.ok_or("ERR The client ID you want redirect to does not exist")?;
                asked.tracker.redirect = Some(found);
                next += 1;
            }
            (_, Some(prefix)) if is(option, b"prefix") => {
                asked.prefixes.push(prefix);
                next += 1;
            }
            _ if is(option, b"bcast") => asked.tracker.bcast = true,
            _ if is(option, b"optin") => asked.tracker.optin = true,
            _ if is(option, b"optout") => asked.tracker.optout = true,
            _ if is(option, b"noloop") => asked.tracker.noloop = true,
            _ => return Err(lines::SYNTAX.into()),
        }
    }
    Ok(asked)
}

/// Whether new prefixes are apart from old ones and from each other.
fn check(old: &BTreeSet<Box<[u8]>>, new: &[&[u8]]) -> Result<(), String> {
    let overlap = |a: &[u8], b: &[u8]| a.starts_with(b) || b.starts_with(a);
    for (at, prefix) in new.iter().enumerate() {
        let known = old.iter().find(|known| overlap(known, prefix)).map(|known| ("an existing", &**known));
        let given = new[at + 1..].iter().find(|other| overlap(other, prefix));
        if let Some((which, other)) = known.or(given.map(|other| ("another provided", *other))) {
            return Err(format!(
                "ERR Prefix '{}' overlaps with {which} prefix '{}'. Prefixes for a single client must not overlap.",
                quote(prefix),
                quote(other)
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
