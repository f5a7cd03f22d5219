//! Limits of clients: of the replies that wait for one, of what all of them take together, of the time that one may be
//! idle.

use alloc::vec::Vec;

use crate::action::{Action, Actions, Ending};
use crate::config::{ClientsLimit, Config, OutputLimit};
use crate::ids::LinkId;
use crate::shard::footprint::Footprint;
use crate::shard::session::{Client, Session, Waiting};
use crate::shard::{Link, Shard, listing};
use crate::time::{Mono, Now, Span};

/// Replies that Valkey keeps in a buffer of fixed size do not count against its limits.
const UNCOUNTED: u64 = 16 * 1024;
/// The most that may wait for a client that has not said its password.
const ANONYMOUS: u64 = 1024;
/// The most that such a client may send without completing a command.
const ANONYMOUS_QUERY: usize = 1024 * 1024;
/// The least of `maxmemory-clients`: with less nobody could say anything any more.
const LEAST_OF_CLIENTS: u64 = 128 * 1024;
/// How much longer replies get before the limits are looked at again.
const STEP: usize = 64 * 1024;
/// Seconds for which the largest buffers are remembered.
const SECONDS: usize = 8;

/// Whether a link that has `pending` unsent bytes is over its `client-output-buffer-limit`: over the hard limit now,
/// or over the soft one for longer than its time. `floor` raises both, as the backlog size does for replicas.
pub(crate) fn over(
    pending: u64,
    limit: &OutputLimit,
    floor: u64,
    over_soft_since: &mut Option<Mono>,
    now: Mono,
) -> bool {
    let raised = |bytes: u64| if bytes == 0 { 0 } else { bytes.max(floor) };
    let (hard, soft) = (raised(limit.hard), raised(limit.soft));
    if hard > 0 && pending >= hard {
        return true;
    }
    if soft == 0 || pending < soft {
        *over_soft_since = None;
        return false;
    }
    let since = *over_soft_since.get_or_insert(now);
    now.since(since) > Span::secs(limit.soft_seconds)
}

/// Whether a client is over the limits of its replies.
fn is_over(session: &mut Session, config: &Config, now: Mono) -> bool {
    let unsent = session.outbox.len() as u64;
    if unsent <= UNCOUNTED {
        session.client.over_soft_since = None;
        return false;
    }
    let counted = unsent - UNCOUNTED;
    let limit = config.client_output_buffer_limit.normal;
    let anonymous = !session.client.authenticated && counted > ANONYMOUS;
    anonymous || over(counted, &limit, 0, &mut session.client.over_soft_since, now)
}

/// How much a client may have sent that is not run (`client-query-buffer-limit`).
pub(crate) fn of_query(client: &Client, config: &Config) -> usize {
    let limit = config.client_query_buffer_limit as usize;
    if client.authenticated { limit } else { limit.min(ANONYMOUS_QUERY) }
}

/// The length of a client's replies at which the limits have to be looked at again.
pub(crate) fn alarm(session: &Session, config: &Config, footprint: &Footprint) -> usize {
    let hard = config.client_output_buffer_limit.normal.hard;
    let own = match hard {
        _ if !session.client.authenticated => UNCOUNTED + ANONYMOUS,
        0 => u64::MAX,
        hard => UNCOUNTED + hard - 1,
    };
    let unsent = session.outbox.len();
    let shared = match of_clients(config) {
        None => u64::MAX,
        Some(limit) => unsent as u64 + limit.saturating_sub(footprint.clients),
    };
    usize::try_from(own.min(shared)).unwrap_or(usize::MAX).max(unsent + STEP.min(unsent))
}

/// How much all clients together may take (`maxmemory-clients`).
pub(crate) fn of_clients(config: &Config) -> Option<u64> {
    let limit = match config.maxmemory_clients {
        ClientsLimit::Bytes(0) => return None,
        ClientsLimit::Bytes(bytes) => bytes,
        ClientsLimit::Percent(_) if config.maxmemory == 0 => return None,
        ClientsLimit::Percent(percent) => {
            u64::try_from(u128::from(config.maxmemory) * u128::from(percent) / 100).unwrap_or(u64::MAX)
        }
    };
    Some(limit.max(LEAST_OF_CLIENTS))
}

/// The largest buffers of any client in each of the last seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Largest {
    input: [u64; SECONDS],
    output: [u64; SECONDS],
}

impl Largest {
    /// The largest input and output buffer of the last seconds.
    pub(crate) fn recent(&self) -> (u64, u64) {
        let most = |sizes: &[u64]| sizes.iter().copied().max().unwrap_or(0);
        (most(&self.input), most(&self.output))
    }

    /// Begins a look at all clients: the place of the next second is made free.
    fn begin(&mut self, now: Now) -> usize {
        let second = now.wall.as_secs() as usize % SECONDS;
        let next = (second + 1) % SECONDS;
        (self.input[next], self.output[next]) = (0, 0);
        second
    }

    fn see(&mut self, second: usize, input: usize, output: usize) {
        self.input[second] = self.input[second].max(input as u64);
        self.output[second] = self.output[second].max(output as u64);
    }
}

impl Shard {
    /// A client has been answered much in one turn: closes it, or others, if that is too much.
    pub(crate) fn uncrowd(&mut self, now: Now, link: LinkId, out: &mut Actions) {
        self.reckon(link);
        let Some(Link::Client(session)) = self.links.get_mut(&link) else { return };
        if is_over(session, &self.env.config, now.mono) {
            self.close_slow(now, link, out);
        } else {
            self.evict_clients(now, out);
        }
    }

    /// Closes the largest clients while all of them take more than `maxmemory-clients`.
    pub(crate) fn evict_clients(&mut self, now: Now, out: &mut Actions) {
        let limit = of_clients(&self.env.config).map(|limit| self.share_of_clients(limit));
        let Some(limit) = limit.filter(|&limit| self.data.footprint.clients > limit) else { return };
        let may_go =
            |client: &Client| !(client.no_evict || client.is_executing() || client.waiting.is_moving());
        let mut all: Vec<(u64, LinkId)> = self
            .links
            .iter()
            .filter_map(|(link, l)| match l {
                Link::Client(session) if may_go(&session.client) => Some((session.client.share.total, *link)),
                _ => None,
            })
            .collect();
        // The largest is last; of equals the one that came first.
        all.sort_unstable_by_key(|&(size, link)| (size, core::cmp::Reverse(link)));
        while self.data.footprint.clients > limit {
            let Some((_, link)) = all.pop() else {
                tracing::warn!("Over client maxmemory after evicting all evictable clients");
                return;
            };
            tracing::info!("Evicting client: {}", self.describe(now, link));
            self.data.totals.evicted_clients += 1;
            out.push(Action::Close { link, ending: Ending::Abrupt });
            self.closed(now, link, out);
        }
    }

    /// Closes clients that are idle too long or do not read what they asked for, and notes how large buffers are.
    pub(crate) fn police_clients(&mut self, now: Now, out: &mut Actions) {
        let config = &self.env.config;
        let timeout = Span::secs(u64::from(config.timeout));
        let second = self.largest.begin(now);
        let (mut slow, mut idle): (Vec<LinkId>, Vec<LinkId>) = Default::default();
        for (link, l) in &mut self.links {
            let Link::Client(session) = l else { continue };
            if session.client.gone {
                continue;
            }
            // What was said to it unasked was not counted yet.
            self.data.footprint.reckon(session);
            let share = session.client.share;
            self.largest.see(second, share.unread + share.spare + share.words, session.outbox.queued().0);
            if now.wall.as_secs().is_multiple_of(5) {
                session.client.peak_unsent = 0;
            }
            session.client.peak_unsent = session.client.peak_unsent.max(share.unsent);
            if is_over(session, config, now.mono) {
                slow.push(*link);
            } else if timeout > Span::ZERO
                && matches!(session.client.waiting, Waiting::Nothing | Waiting::Closing)
                && now.mono.since(session.client.last_active) > timeout
            {
                tracing::debug!("Closing idle client");
                idle.push(*link);
            }
        }
        for link in slow {
            self.close_slow(now, link, out);
        }
        for link in idle {
            out.push(Action::Close { link, ending: Ending::Abrupt });
            self.closed(now, link, out);
        }
    }

    fn close_slow(&mut self, now: Now, link: LinkId, out: &mut Actions) {
        let line = self.describe(now, link);
        tracing::warn!("Client {line} closed for overcoming of output buffer limits.");
        self.data.totals.output_limit_disconnections += 1;
        out.push(Action::Close { link, ending: Ending::Abrupt });
        self.closed(now, link, out);
    }

    /// A client as CLIENT LIST shows it.
    fn describe(&self, now: Now, link: LinkId) -> alloc::string::String {
        match self.links.get(&link) {
            Some(Link::Client(session)) => {
                listing::line(now, &session.client, &session.outbox, 0, self.data.effects.watches())
            }
            _ => alloc::string::String::new(),
        }
    }
}
