//! The source's end of a slot migration.
//!
//! Created when the operator asks for the migration, it opens the link, introduces itself, has the snapshot and the
//! stream of writes sent, has writes held when the target has caught up, lets the target take over, and waits for
//! the news that it did.
//!
//! The bytes of snapshot and stream do not pass through this machine. It says when they may flow
//! ([`Export::is_streaming`]) and what must stand before a command ([`Export::select`]).

pub(super) mod answer;
mod boundary;
mod phase;
mod state;

use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;

pub use self::boundary::{Action, Credentials, Input};
pub use self::state::{EDGES, State};
use super::LIMITS;
use super::failure::Failure;
use super::job::{Job, Outcome, Settlement, Timing};
use super::lane::Lanes;
use crate::time::{Mono, Now, Span, Wall};
use crate::wire::resp::Reader;
use crate::wire::syncslots::{self, Control, Heard, Word};
use answer::{ANSWER_LIMIT, Answer, Line};
use phase::{Hold, Phase};

/// The source's end of one migration.
#[derive(Debug)]
pub struct Export {
    job: Arc<Job>,
    credentials: Option<Credentials>,
    timing: Timing,
    phase: Phase,
    link: Link,
    reader: Reader,
    /// The target's last ACK, or the start of the job.
    heard_at: Now,
    ack_due: Mono,
    /// Unsent bytes of the link: what we were told last plus what we had sent since.
    pending: u64,
    lanes: Option<Offer>,
    /// Unsent bytes of lanes.
    lanes_pending: u64,
    /// The database that commands on the link go to, when it is known.
    selected: Option<u32>,
    pause_prevented: bool,
    paused_for: Option<Span>,
}

/// Lanes that the target may agree to.
#[derive(Clone, Copy, Debug)]
struct Offer {
    lanes: Lanes,
    agreed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Link {
    Opening,
    Open,
    Gone,
}

/// How a turn of the machine ends when the job does.
type Verdict = Result<(), Failure>;

impl Export {
    /// Begins the job; the first action is [`Action::Connect`].
    #[must_use]
    pub fn new(
        job: Arc<Job>,
        credentials: Option<Credentials>,
        timing: Timing,
        now: Now,
        out: &mut Vec<Action>,
    ) -> Self {
        out.push(Action::Entered(State::Connecting));
        out.push(Action::Connect);
        Self {
            job,
            credentials,
            timing,
            phase: Phase::Connecting,
            link: Link::Opening,
            reader: Reader::default(),
            heard_at: now,
            ack_due: now.mono,
            pending: 0,
            lanes: None,
            lanes_pending: 0,
            selected: None,
            pause_prevented: false,
            paused_for: None,
        }
    }

    /// The target is to be asked whether it takes lanes; to be called before the link is open. Whether it does is known
    /// from [`Action::ForkSnapshot`] on: see [`lanes`](Self::lanes).
    pub fn offer(&mut self, lanes: Option<Lanes>) {
        self.lanes = lanes.map(|lanes| Offer { lanes, agreed: false });
    }

    /// The lanes that the target agreed to. Then `SnapshotWritten` is about the first link alone, `WritesHeld` about all,
    /// and what is unsent elsewhere is told with `LanesPending`. What breaks a lane is told with `Stopped`.
    #[must_use]
    pub fn lanes(&self) -> Option<Lanes> {
        self.lanes.filter(|offer| offer.agreed).map(|offer| offer.lanes)
    }

    /// Takes in what happened and appends what is to be done.
    ///
    /// # Panics
    /// On an input that cannot happen in this state, such as `SnapshotWritten` without `ForkSnapshot`: a bug of the
    /// caller, which would otherwise cost data.
    pub fn handle(&mut self, now: Now, input: Input<'_>, out: &mut Vec<Action>) {
        if self.state().is_finished() {
            return;
        }
        assert!(self.can_happen(&input), "{input:?} in state {}", self.state());
        let verdict = match input {
            Input::Connected => self.connected(out),
            Input::ConnectFailed { reason } => {
                self.link = Link::Gone;
                Err(Failure::ConnectFailed(reason.into()))
            }
            Input::Filled { bytes } => self.filled(now, bytes, out),
            Input::Closed => self.closed(),
            Input::Pending { bytes } => self.pending_changed(now, bytes, out),
            Input::LanesPending { bytes } => {
                self.lanes_pending = bytes;
                self.try_pause(now, out);
                Ok(())
            }
            Input::SnapshotWritten => self.snapshot_written(now, out),
            Input::WritesHeld => self.writes_held(now, out),
            Input::PausePrevented(prevented) => {
                self.pause_prevented = prevented;
                self.try_pause(now, out);
                Ok(())
            }
            Input::Settled(Settlement::OwnedByTarget) => {
                self.end(now, State::Success, Outcome::Success, out);
                Ok(())
            }
            Input::Settled(Settlement::OwnedBySource) => Ok(()),
            Input::Settled(Settlement::OwnedByOther) => Err(Failure::SlotsNotMine),
            // The target may own the slots already: only who hears of it, or the time, may end the hold.
            Input::Stopped(_) | Input::Cancelled if matches!(self.phase, Phase::FailoverGranted(_)) => Ok(()),
            Input::Stopped(failure) => Err(failure),
            Input::Cancelled => {
                self.end(now, State::Cancelled, Outcome::Cancelled, out);
                Ok(())
            }
            Input::Ticked => self.ticked(now, out),
        };
        if let Err(failure) = verdict {
            self.end(now, State::Failed, Outcome::Failed(failure), out);
        }
    }

    /// When [`Input::Ticked`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Mono> {
        let ack = self.phase.sends_acks().then_some(self.ack_due);
        [self.silence_ends(), self.phase.hold().map(|hold| hold.until), ack].into_iter().flatten().min()
    }

    /// Where the export is.
    #[must_use]
    pub fn state(&self) -> State {
        self.phase.state()
    }

    /// The job.
    #[must_use]
    pub fn job(&self) -> &Arc<Job> {
        &self.job
    }

    /// When the target last sent ACK; the start of the job before the first one.
    #[must_use]
    pub fn last_ack(&self) -> Wall {
        self.heard_at.wall
    }

    /// Bytes that the link and lanes have not sent, `remaining_repl_size`; 0 without a link.
    #[must_use]
    pub fn pending(&self) -> u64 {
        if self.link == Link::Open { self.pending + self.lanes_pending } else { 0 }
    }

    /// How long writes were held, once they are no longer.
    #[must_use]
    pub fn paused_for(&self) -> Option<Span> {
        self.paused_for
    }

    /// Whether writes to the slots are to be queued on the link: from the start of the snapshot on, while there is a
    /// link.
    #[must_use]
    pub fn is_streaming(&self) -> bool {
        self.phase.streams() && self.link == Link::Open
    }

    /// Whether the pause waits for unsent bytes to go: the time to slow down writes to the slots that outrun the link.
    #[must_use]
    pub fn wants_lag_shrunk(&self) -> bool {
        matches!(self.phase, Phase::WaitingToPause { asked: None }) && !self.pause_prevented
    }

    /// Whether writes need not be on their way at once: the hand-over does not wait for them.
    #[must_use]
    pub fn may_gather(&self) -> bool {
        matches!(self.phase, Phase::Snapshotting | Phase::Replicating)
            || matches!(self.phase, Phase::WaitingToPause { asked: None }) && self.pause_prevented
    }

    /// What must stand before a command for database `db` on the link: nothing when the link is in it already.
    ///
    /// After the snapshot the database counts as unknown. A 9.1 target stays in the database of the snapshot's last
    /// SELECT where a 9.1 source believes it in 0; a SELECT of its own is right for both.
    #[inline]
    #[must_use]
    pub fn select(&mut self, db: u32) -> Option<Bytes> {
        if self.selected.replace(db) == Some(db) { None } else { Some(syncslots::select(db)) }
    }

    /// Other limits from now on (CONFIG SET). A hold that was asked for keeps its end.
    pub fn set_timing(&mut self, timing: Timing) {
        self.timing = timing;
    }

    /// Whether the input may be told in this state.
    pub(in crate::migration) fn can_happen(&self, input: &Input<'_>) -> bool {
        match input {
            Input::Connected | Input::ConnectFailed { .. } => self.link == Link::Opening,
            Input::Filled { .. } | Input::Closed => self.link == Link::Open,
            Input::LanesPending { .. } => self.lanes().is_some(),
            Input::SnapshotWritten => matches!(self.phase, Phase::Snapshotting),
            Input::WritesHeld => matches!(self.phase, Phase::WaitingToPause { asked: Some(_) }),
            _ => true,
        }
    }

    fn connected(&mut self, out: &mut Vec<Action>) -> Verdict {
        self.link = Link::Open;
        match self.credentials.take() {
            Some(Credentials { user, password }) => {
                self.enter(Phase::SendingAuthCommand, out);
                self.send(syncslots::auth(user.as_deref(), &password), out);
                self.enter(Phase::ReadingAuthResponse(Line::default()), out);
            }
            None => self.send_establish(out),
        }
        Ok(())
    }

    fn send_establish(&mut self, out: &mut Vec<Action>) {
        self.enter(Phase::SendingEstablishCommand, out);
        if let Some(Offer { lanes, .. }) = self.lanes {
            self.send(syncslots::capa_lanes(lanes.source()), out);
        }
        let Job { source, name, ranges, .. } = &*self.job;
        self.send(syncslots::establish(source, name, ranges), out);
        self.enter(Phase::ReadingEstablishResponse(Line::default()), out);
    }

    fn filled(&mut self, now: Now, mut bytes: &[u8], out: &mut Vec<Action>) -> Verdict {
        while !bytes.is_empty() {
            match &mut self.phase {
                Phase::ReadingAuthResponse(line) => match line.take(&mut bytes, ANSWER_LIMIT) {
                    Answer::Unfinished => {}
                    Answer::Refused(line) => return Err(Failure::AuthRefused(line.trim_end().into())),
                    Answer::TooLong => return Err(Failure::AuthNotAnswered),
                    Answer::Agreed => self.send_establish(out),
                },
                Phase::ReadingEstablishResponse(line)
                    if self.lanes.is_some()
                        && line.is_empty()
                        && (bytes.first() == Some(&b'*') || !self.reader.is_clear()) =>
                {
                    self.next_capability(&mut bytes)?;
                }
                Phase::ReadingEstablishResponse(line) => match line.take(&mut bytes, ANSWER_LIMIT) {
                    Answer::Unfinished => {}
                    Answer::Refused(line) => return Err(Failure::HandshakeRefused(line)),
                    Answer::TooLong => return Err(Failure::AnswerTooLong),
                    Answer::Agreed => self.established(now, out),
                },
                // A finished export reads no more.
                Phase::Finished(_) => return Ok(()),
                _ => self.next_message(now, &mut bytes, out)?,
            }
        }
        Ok(())
    }

    /// What the target says in front of the answer to ESTABLISH: that it takes what was offered.
    fn next_capability(&mut self, bytes: &mut &[u8]) -> Verdict {
        let Ok(argv) = self.reader.next(&LIMITS, bytes) else {
            return Err(Failure::CommandFailed);
        };
        let Some(argv) = argv else { return Ok(()) };
        match syncslots::heard(argv.name(), argv.opt(1), argv.opt(2)) {
            Heard::Sync(Word::Capa) => {
                let agreed = syncslots::lanes(argv.iter().skip(3));
                for offer in self.lanes.iter_mut().filter(|offer| agreed == Some(offer.lanes.source())) {
                    offer.agreed = true;
                }
                Ok(())
            }
            _ => Err(Failure::UnexpectedTransition),
        }
    }

    fn established(&mut self, now: Now, out: &mut Vec<Action>) {
        self.enter(Phase::WaitingToSnapshot, out);
        self.send_ack(now, out);
    }

    fn next_message(&mut self, now: Now, bytes: &mut &[u8], out: &mut Vec<Action>) -> Verdict {
        let Ok(argv) = self.reader.next(&LIMITS, bytes) else {
            return Err(Failure::CommandFailed);
        };
        let Some(argv) = argv else { return Ok(()) };
        let heard = syncslots::heard(argv.name(), argv.opt(1), argv.opt(2));
        match heard {
            Heard::Sync(Word::Control(Control::Ack)) => {
                self.heard_at = now;
                Ok(())
            }
            Heard::Sync(Word::Control(Control::RequestPause)) => self.pause_requested(now, out),
            Heard::Sync(Word::Control(Control::RequestFailover)) => self.failover_requested(now, out),
            Heard::Sync(Word::Control(_)) => Err(Failure::UnexpectedTransition),
            Heard::Sync(Word::Capa) => Ok(()),
            Heard::Sync(Word::Unknown) => Err(Failure::UnknownSubcommand),
            // The link is no client's: we execute nothing and answer nothing.
            Heard::Sync(Word::Establish | Word::Finish | Word::Lane) | Heard::Bare | Heard::Other => {
                Err(Failure::CommandFailed)
            }
        }
    }

    fn closed(&mut self) -> Verdict {
        self.link = Link::Gone;
        match self.phase {
            // The target closes the link when it has taken over. Whether it did, the bus will tell.
            Phase::FailoverGranted(_) => Ok(()),
            Phase::ReadingAuthResponse(_) => Err(Failure::AuthNotAnswered),
            _ => Err(Failure::ConnectionLostToTarget),
        }
    }

    fn pending_changed(&mut self, now: Now, bytes: u64, out: &mut Vec<Action>) -> Verdict {
        self.pending = bytes;
        match self.phase {
            Phase::WaitingToSnapshot if bytes == 0 => {
                self.enter(Phase::Snapshotting, out);
                out.push(Action::ForkSnapshot);
            }
            _ => self.try_pause(now, out),
        }
        Ok(())
    }

    fn snapshot_written(&mut self, now: Now, out: &mut Vec<Action>) -> Verdict {
        self.enter(Phase::Replicating, out);
        self.send(Control::SnapshotEof.bytes(), out);
        self.selected = None;
        self.ack_due = now.mono + self.timing.ack_period;
        Ok(())
    }

    /// The target asks for the pause when it has read the whole snapshot. Sooner is a lie: with writes held and the
    /// slots handed over then, keys would be missing.
    fn pause_requested(&mut self, now: Now, out: &mut Vec<Action>) -> Verdict {
        if !matches!(self.phase, Phase::Replicating) {
            return Err(Failure::UnexpectedTransition);
        }
        self.enter(Phase::WaitingToPause { asked: None }, out);
        self.try_pause(now, out);
        Ok(())
    }

    fn try_pause(&mut self, now: Now, out: &mut Vec<Action>) {
        let Phase::WaitingToPause { asked: asked @ None } = &mut self.phase else { return };
        let short =
            self.timing.max_failover_repl_bytes.is_none_or(|most| self.pending + self.lanes_pending <= most);
        if short && !self.pause_prevented {
            let until = now.mono + self.timing.pause_limit;
            *asked = Some(Hold { since: now.mono, until });
            out.push(Action::Pause { until });
        }
    }

    fn writes_held(&mut self, now: Now, out: &mut Vec<Action>) -> Verdict {
        let Phase::WaitingToPause { asked: Some(hold) } = self.phase else { return Ok(()) };
        if now.mono >= hold.until {
            return Err(Failure::PauseEndedBeforeRequest);
        }
        self.enter(Phase::FailoverPaused(hold), out);
        self.send(Control::Paused.bytes(), out);
        Ok(())
    }

    fn failover_requested(&mut self, now: Now, out: &mut Vec<Action>) -> Verdict {
        let Phase::FailoverPaused(hold) = self.phase else { return Err(Failure::UnexpectedTransition) };
        if now.mono >= hold.until {
            return Err(Failure::UnpausedBeforeFailover);
        }
        let until = hold.until.max(now.mono + self.timing.grant_extension);
        if until > hold.until {
            out.push(Action::ExtendPause { until });
        }
        out.push(Action::Granted);
        self.enter(Phase::FailoverGranted(Hold { until, ..hold }), out);
        self.send(Control::FailoverGranted.bytes(), out);
        Ok(())
    }

    fn ticked(&mut self, now: Now, out: &mut Vec<Action>) -> Verdict {
        if self.silence_ends().is_some_and(|end| end <= now.mono) {
            return Err(Failure::TimedOut);
        }
        if let Some(hold) = self.phase.hold().filter(|hold| hold.until <= now.mono) {
            match self.phase {
                Phase::FailoverGranted(_) => self.hold_on(now, hold, out)?,
                _ => return Err(Failure::PauseEndedBeforeRequest),
            }
        }
        if self.phase.sends_acks() && self.ack_due <= now.mono {
            if self.pending == 0 {
                self.send_ack(now, out);
            } else {
                // Bytes on their way say the same.
                self.ack_due = now.mono + self.timing.ack_period;
            }
        }
        Ok(())
    }

    /// The hold after the grant is over, and the bus has not told of a take-over. As long as the target says on the
    /// link that it lives, it has not made up its mind: its disk is slow, or the grant waits there unread. To go on
    /// then would lose whatever is written until it does.
    fn hold_on(&mut self, now: Now, hold: Hold, out: &mut Vec<Action>) -> Verdict {
        let limit = hold.since + self.timing.pause_limit + self.timing.repl_timeout;
        let until = (self.heard_at.mono + self.timing.grant_extension).min(limit);
        if self.link != Link::Open || until <= now.mono {
            return Err(Failure::UnpausedAfterGrant);
        }
        out.push(Action::ExtendPause { until });
        self.phase = Phase::FailoverGranted(Hold { until, ..hold });
        Ok(())
    }

    /// When the target's silence fails the job. After the grant the hold is the only limit.
    fn silence_ends(&self) -> Option<Mono> {
        let counts = !matches!(self.phase, Phase::FailoverGranted(_) | Phase::Finished(_));
        counts.then_some(self.heard_at.mono + self.timing.repl_timeout)
    }

    fn send_ack(&mut self, now: Now, out: &mut Vec<Action>) {
        self.ack_due = now.mono + self.timing.ack_period;
        self.send(Control::Ack.bytes(), out);
    }

    fn send(&mut self, bytes: Bytes, out: &mut Vec<Action>) {
        self.pending += bytes.len() as u64;
        out.push(Action::Send(bytes));
    }

    fn enter(&mut self, phase: Phase, out: &mut Vec<Action>) {
        let from = self.state();
        self.phase = phase;
        EDGES.check(from, self.state());
        out.push(Action::Entered(self.state()));
    }

    fn end(&mut self, now: Now, state: State, outcome: Outcome, out: &mut Vec<Action>) {
        let hold = self.phase.hold();
        self.enter(Phase::Finished(state), out);
        // First the link: a grant that has not left must not leave once writes go on.
        if self.link != Link::Gone {
            out.push(Action::Close);
        }
        self.link = Link::Gone;
        if let Some(hold) = hold {
            self.paused_for = Some(now.mono.since(hold.since));
            out.push(Action::Resume);
        }
        if state == State::Success {
            out.push(Action::DropSlots);
        }
        self.reader = Reader::default();
        out.push(Action::Ended { outcome });
    }
}

#[cfg(test)]
mod tests;
