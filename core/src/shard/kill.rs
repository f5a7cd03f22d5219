//! CLIENT KILL: closes the clients that a filter takes.

use alloc::string::String;
use alloc::vec::Vec;

use crate::action::{Action, Actions, Ending};
use crate::ids::{ClientId, LinkId};
use crate::shard::filter::Filter;
use crate::shard::gather::Part;
use crate::shard::session::Client;
use crate::shard::whole::{Caller, Request};
use crate::shard::{Link, Shard};
use crate::time::Now;
use crate::wire::resp::Reply;

impl Shard {
    /// CLIENT KILL.
    pub(crate) fn kill_clients(
        &mut self,
        now: Now,
        request: &Request<'_>,
        reply: &mut Reply<'_>,
        out: &mut Actions,
    ) -> Caller {
        let (mut killed, caller) = match self.kill_matching(now, request, out) {
            Ok(killed) => killed,
            Err(error) => {
                reply.error(&error);
                return Caller::Stays;
            }
        };
        for part in request.parts {
            if let Part::Killed(others) = part {
                killed.extend_from_slice(others);
            }
        }
        // Of a client that moves between shards there is one in both.
        killed.sort_unstable();
        killed.dedup();
        let killed = killed.len();
        if request.argv.len() > 3 {
            reply.int(killed as i64);
        } else if killed == 0 {
            reply.error("ERR No such client");
        } else {
            reply.ok();
        }
        caller
    }

    /// Closes the clients of this shard that a filter takes: which, and whether who asked for it is one of them.
    pub(crate) fn kill_matching(
        &mut self,
        now: Now,
        request: &Request<'_>,
        out: &mut Actions,
    ) -> Result<(Vec<ClientId>, Caller), String> {
        let old_form = request.argv.len() == 3;
        let filter = if old_form {
            Filter::address(request.argv.get(2))
        } else {
            Filter::parse(request.argv, &self.env.config)?
        };
        let spare_me = filter.skip_me.unwrap_or(!old_form);
        let watches = self.data.effects.watches();
        let matches = |client: &Client, flags: &[u8]| filter.matches(client, flags, now).then_some(client.id);
        let hit: Vec<(LinkId, ClientId)> = self
            .links
            .iter()
            .filter(|(link, _)| !(spare_me && **link == request.link))
            .filter_map(|(link, l)| {
                let id = match l {
                    // Who is gone only ends its EXEC.
                    Link::Client(session) if session.client.gone => None,
                    Link::Client(session) if request.is_stood_in_for_by(&session.client) => None,
                    Link::Client(session) => matches(&session.client, &session.client.flags(watches)),
                    Link::Import(importing) => matches(&importing.client, b"i"),
                    Link::Lane => {
                        let lane = self.landings.iter().find(|lane| lane.client.link == *link);
                        lane.and_then(|lane| matches(&lane.client, b"i"))
                    }
                    Link::Export => {
                        let client = self.data.exports.clients().find(|client| client.link == *link);
                        client.and_then(|client| matches(client, b"E"))
                    }
                };
                Some((*link, id?))
            })
            .collect();
        let killed = hit.iter().map(|(_, id)| *id).collect();
        let mut caller = Caller::Stays;
        for (link, _) in hit {
            if link == request.link {
                caller = self.killed_itself(link);
            } else if self.links.contains_key(&link) {
                // With one that moved and came back its stand-in is closed, and the other way round.
                out.push(Action::Close { link, ending: Ending::Abrupt });
                self.closed(now, link, out);
            }
        }
        Ok((killed, caller))
    }

    /// What becomes of a client that closes itself: its EXEC comes to its end before.
    fn killed_itself(&mut self, link: LinkId) -> Caller {
        match self.links.get_mut(&link) {
            Some(Link::Client(session)) if session.client.is_executing() => {
                session.client.leaving = true;
                Caller::Stays
            }
            _ => Caller::Killed,
        }
    }
}
