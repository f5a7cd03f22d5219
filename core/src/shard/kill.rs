//! CLIENT KILL: closes the clients that a filter takes.

use alloc::string::String;
use alloc::vec::Vec;

use crate::action::{Action, Actions, Ending};
use crate::ids::LinkId;
use crate::shard::filter::Filter;
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
        let (killed, caller) = match self.kill_matching(now, request, out) {
            Ok(killed) => killed,
            Err(error) => {
                reply.error(&error);
                return Caller::Stays;
            }
        };
        let killed = killed as u64 + request.counted_by_siblings();
        if request.argv.len() > 3 {
            reply.int(killed as i64);
        } else if killed == 0 {
            reply.error("ERR No such client");
        } else {
            reply.ok();
        }
        caller
    }

    /// Closes the clients of this shard that a filter takes: how many, and whether who asked for it is one of them.
    pub(crate) fn kill_matching(
        &mut self,
        now: Now,
        request: &Request<'_>,
        out: &mut Actions,
    ) -> Result<(usize, Caller), String> {
        let old_form = request.argv.len() == 3;
        let filter = if old_form {
            Filter::address(request.argv.get(2))
        } else {
            Filter::parse(request.argv, &self.env.config)?
        };
        let spare_me = filter.skip_me.unwrap_or(!old_form);
        let watches = self.data.effects.watches();
        let hit: Vec<LinkId> = self
            .links
            .iter()
            .filter(|(link, l)| {
                !(spare_me && **link == request.link)
                    && match l {
                        Link::Client(session) => {
                            filter.matches(&session.client, &session.client.flags(watches), now)
                        }
                        Link::Import(importing) => filter.matches(&importing.client, b"i", now),
                        Link::Export => self
                            .data
                            .exports
                            .iter()
                            .any(|e| e.link == **link && filter.matches(&e.client, b"E", now)),
                    }
            })
            .map(|(link, _)| *link)
            .collect();
        let killed = hit.len();
        let mut caller = Caller::Stays;
        for link in hit {
            if link == request.link {
                caller = Caller::Killed;
            } else {
                out.push(Action::Close { link, ending: Ending::Abrupt });
                self.closed(now, link, out);
            }
        }
        Ok((killed, caller))
    }
}
