//! Where clients are that have moved, for those who name them by their numbers.
//!
//! A stand-in remains where a client was until every shard has heard of its new home. So whoever asks all shards comes to
//! the old home while the stand-in is there, or to the new one when the session is. What the stand-in is told it passes on
//! to the last home that it has heard of: there is the client, or its socket will come, or there is a stand-in that has
//! heard of a later one. For if that is gone too, every shard has heard of the later one, and so has this.

use alloc::vec::Vec;

use crate::action::{Action, Actions, Ending};
use crate::ids::{ClientId, LinkId, ShardIndex};
use crate::shard::errand::Errand;
use crate::shard::gather::Part;
use crate::shard::session::Client;
use crate::shard::settle::Moves;
use crate::shard::whole::Request;
use crate::shard::{Link, Shard};
use crate::time::Now;

/// What stands for a client that was at home here.
#[derive(Debug)]
struct StandIn {
    client: ClientId,
    link: LinkId,
    /// How many siblings have not told that they know the client's new home.
    untold: u16,
    /// All have, when so many questions had been asked here.
    asked: Option<u64>,
    /// The latest home that this shard has heard of …
    there: ShardIndex,
    /// … which was so many moves.
    moves: Moves,
}

/// The client whose link was known by a name is at home there after so many moves, or gone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settled {
    from: LinkId,
    client: ClientId,
    there: ShardIndex,
    moves: Moves,
}

/// The stand-ins of a shard: few, and seldom any.
#[derive(Debug, Default)]
pub(crate) struct StandIns(Vec<StandIn>);

impl StandIns {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The latest home of a client that was at home here, as far as is known here.
    fn home_of(&self, client: ClientId) -> Option<ShardIndex> {
        self.0.iter().find(|stand_in| stand_in.client == client).map(|stand_in| stand_in.there)
    }

    /// A client that may have been at home here has its home there.
    fn note_home(&mut self, client: ClientId, there: ShardIndex, moves: Moves) {
        for stand_in in self.0.iter_mut().filter(|s| s.client == client && s.moves < moves) {
            (stand_in.there, stand_in.moves) = (there, moves);
        }
    }

    fn remove(&mut self, link: LinkId) -> Option<StandIn> {
        let at = self.0.iter().position(|stand_in| stand_in.link == link)?;
        Some(self.0.swap_remove(at))
    }
}

impl Request<'_> {
    /// Whether this only stands in, where it was, for who gives the command: that is neither killed nor listed.
    pub(crate) fn is_stood_in_for_by(&self, client: &Client) -> bool {
        client.id == self.client && client.waiting.is_moving()
    }
}

/// Where a client is that somebody looks for.
pub(crate) enum Sought {
    /// At home here, on this link; or nowhere.
    Found(Option<LinkId>),
    /// Who asks is answered later, by its new home.
    Later,
}

impl Shard {
    /// A client that was at home here on this link is at home there.
    pub(super) fn stand_in_for(&mut self, client: ClientId, link: LinkId, there: ShardIndex, moves: Moves) {
        self.stand_ins.note_home(client, there, moves);
        let untold = self.env.shards.count() - 1;
        self.stand_ins.0.push(StandIn { client, link, untold, asked: None, there, moves });
    }

    /// A client that was known by this name is at home here, or is gone: tells all siblings so.
    pub(super) fn tell_settled(&mut self, from: LinkId, client: ClientId, moves: Moves, out: &mut Actions) {
        let settled = Settled { from, client, there: self.env.index, moves };
        self.stand_ins.note_home(client, settled.there, moves);
        self.siblings().for_each(|sibling| out.pass(sibling, Errand::Settled(settled)));
    }

    /// Its old home hears so from every sibling, behind all that the sibling asked it before.
    pub(super) fn hear_settled(&mut self, settled: Settled, out: &mut Actions) {
        let Settled { from, client, there, moves } = settled;
        self.stand_ins.note_home(client, there, moves);
        if !self.is_home_of(from) {
            out.pass(from.shard(), Errand::Settled(settled));
            return;
        }
        let asked = self.gatherings.asked();
        if let Some(stand_in) = self.stand_ins.0.iter_mut().find(|stand_in| stand_in.link == from) {
            stand_in.untold -= 1;
            stand_in.asked = (stand_in.untold == 0).then_some(asked);
        }
    }

    /// Drops stand-ins that nobody will ask for any more: this shard asks itself last, when all siblings have answered.
    pub(super) fn drop_stand_ins(&mut self, out: &mut Actions) {
        let oldest = self.gatherings.oldest();
        let is_done = |s: &mut StandIn| s.asked.is_some_and(|asked| oldest.is_none_or(|o| o >= asked));
        let done: Vec<LinkId> = self.stand_ins.0.extract_if(.., is_done).map(|s| s.link).collect();
        for link in &done {
            if let Some(Link::Client(stand_in)) = self.links.remove(link) {
                self.data.footprint.clients -= stand_in.client.share.total;
            }
        }
        if !done.is_empty() {
            self.share_clients(out);
        }
    }

    /// A stand-in is closed: so is the client, wherever it is.
    pub(super) fn stand_in_closed(&mut self, now: Now, link: LinkId, out: &mut Actions) {
        if let Some(StandIn { client, there, .. }) = self.stand_ins.remove(link) {
            self.expel_at(now, there, client, out);
        }
    }

    fn expel_at(&mut self, now: Now, there: ShardIndex, client: ClientId, out: &mut Actions) {
        if there == self.env.index {
            self.expel(now, client, out);
        } else {
            out.pass(there, Errand::Expel(client));
        }
    }

    /// A client that has moved here, or moves, is to be closed.
    pub(super) fn expel(&mut self, now: Now, id: ClientId, out: &mut Actions) {
        // It may be the link of a migration by now.
        let is_it = |link: LinkId, l: &Link| match l {
            Link::Client(session) => session.client.id == id && !session.client.waiting.is_moving(),
            Link::Import(importing) => importing.client.id == id,
            Link::Lane => self.landings.iter().any(|lane| lane.client.link == link && lane.client.id == id),
            Link::Export => false,
        };
        let found = self.links.iter().find(|(link, l)| is_it(**link, l)).map(|(link, _)| *link);
        if let Some(link) = found {
            out.push(Action::Close { link, ending: Ending::Abrupt });
            self.closed(now, link, out);
        } else if let Some(settling) = self.settlers.values_mut().find(|settling| settling.client() == id) {
            settling.expel();
        } else if let Some(there) = self.stand_ins.home_of(id).filter(|there| *there != self.env.index) {
            out.pass(there, Errand::Expel(id));
        }
    }

    /// The link of a client that is at home here, where it stays from now on.
    pub(crate) fn keep_here(&mut self, id: ClientId) -> Option<LinkId> {
        self.links.iter_mut().find_map(|(link, l)| match l {
            Link::Client(session) if session.client.id == id && !session.client.waiting.is_moving() => {
                session.client.is_known_by_link = true;
                Some(*link)
            }
            _ => None,
        })
    }

    /// Looks for a client that is to hear for another, whose link is `asker`; from now on it stays where it is.
    pub(crate) fn seek(&mut self, id: ClientId, asker: LinkId, out: &mut Actions) -> Sought {
        let found = self.keep_here(id);
        if found.is_some() {
            return Sought::Found(found);
        }
        if let Some(settling) = self.settlers.values_mut().find(|settling| settling.client() == id) {
            settling.is_sought_by(asker);
            return Sought::Later;
        }
        match self.stand_ins.home_of(id).filter(|there| *there != self.env.index) {
            Some(there) => {
                out.pass(there, Errand::Seek { client: id, asker });
                Sought::Later
            }
            None => Sought::Found(None),
        }
    }

    /// Looks for a client, if there is one to be looked for, for one of a sibling.
    pub(super) fn seek_for(&mut self, now: Now, id: Option<ClientId>, asker: LinkId, out: &mut Actions) {
        let sought = id.map_or(Sought::Found(None), |id| self.seek(id, asker, out));
        if let Sought::Found(found) = sought {
            self.answer_seeker(now, asker, found, out);
        }
    }

    /// Who looked for a client is told its link.
    pub(super) fn answer_seeker(
        &mut self,
        now: Now,
        asker: LinkId,
        found: Option<LinkId>,
        out: &mut Actions,
    ) {
        if self.is_home_of(asker) {
            self.take_part(now, asker, Part::Found(found), out);
        } else {
            out.pass(asker.shard(), Errand::Part { link: asker, part: Part::Found(found) });
        }
    }
}
