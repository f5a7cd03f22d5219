//! The course of an import: its states, timers and endings.

use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;

use super::{Action, EDGES, Input, State};
use crate::migration::failure::Failure;
use crate::migration::job::{Job, Outcome, Settlement, Timing};
use crate::migration::lane::Lanes;
use crate::migration::stream::Rules;
use crate::time::{Mono, Now, Wall};
use crate::wire::syncslots::{self, Control};

/// Everything of an import but the bytes on their way in.
#[derive(Debug)]
pub(super) struct Course {
    job: Arc<Job>,
    timing: Timing,
    phase: Phase,
    linked: bool,
    /// When the source's last byte came.
    heard_at: Mono,
    last_ack: Wall,
    ack_due: Mono,
    /// Commands that were handed out and whose outcome is not known.
    unapplied: usize,
    lanes: Awaited,
}

/// What has not come on lanes.
#[derive(Debug, Default)]
struct Awaited {
    /// So many snapshots.
    snapshots: usize,
    /// So many ends of the stream.
    pauses: usize,
}

/// What only the present state needs.
#[derive(Debug)]
enum Phase {
    WaitingForAck,
    /// `ended`: on this link, but not yet on all lanes.
    ReceivingSnapshot {
        ended: bool,
    },
    /// `paused`: the source said it, but earlier commands are still being applied, or come on lanes.
    WaitingForPaused {
        paused: bool,
    },
    FailoverRequested,
    /// `withdrawn`: the job failed for this reason; the answer to [`Action::Withdraw`] is awaited.
    FailoverGranted {
        withdrawn: Option<Failure>,
    },
    CleaningUp(Failure),
    OccurringOnPrimary,
    Finished(State),
}

impl Course {
    pub(super) fn receive(
        job: Arc<Job>,
        timing: Timing,
        lanes: Option<Lanes>,
        now: Now,
        out: &mut Vec<Action>,
    ) -> Self {
        out.push(Action::Entered(State::WaitingForAck));
        let mut awaited = Awaited::default();
        if let Some(lanes) = lanes {
            out.push(Action::Send(syncslots::capa_lanes(lanes.source())));
            let count = lanes.all(&job.ranges).len();
            awaited = Awaited { snapshots: count, pauses: count };
        }
        // Nothing more before the first ACK: a 9.1 source throws away what it reads together with this line.
        out.push(Action::Send(Bytes::from_static(b"+OK\r\n")));
        Self { lanes: awaited, ..Self::begin(job, timing, Phase::WaitingForAck, now) }
    }

    pub(super) fn follow(job: Arc<Job>, now: Now, out: &mut Vec<Action>) -> Self {
        out.push(Action::Entered(State::OccurringOnPrimary));
        Self::begin(job, Timing::default(), Phase::OccurringOnPrimary, now)
    }

    fn begin(job: Arc<Job>, timing: Timing, phase: Phase, now: Now) -> Self {
        let linked = matches!(phase, Phase::WaitingForAck);
        Self {
            job,
            timing,
            phase,
            linked,
            heard_at: now.mono,
            last_ack: now.wall,
            ack_due: now.mono,
            unapplied: 0,
            lanes: Awaited::default(),
        }
    }

    pub(super) fn handle(&mut self, now: Now, input: Input, out: &mut Vec<Action>) {
        if self.state().is_finished() {
            return;
        }
        assert!(self.can_happen(&input), "{input:?} in state {}", self.state());
        match input {
            Input::Closed => {
                self.linked = false;
                self.fail(Failure::ConnectionLostToSource, out);
            }
            Input::LaneArrived => {
                self.lanes.snapshots -= 1;
                self.go_on(out);
            }
            Input::LanePaused => {
                self.lanes.pauses -= 1;
                self.go_on(out);
            }
            Input::TakenOver => self.end(State::Success, Outcome::Success, out),
            Input::Withdrawn => {
                if let Phase::FailoverGranted { withdrawn: Some(failure) } = &mut self.phase {
                    let failure = failure.clone();
                    self.clean_up(failure, out);
                }
            }
            Input::Settled(settlement) => self.settled(settlement, out),
            Input::Stopped(failure) => match self.phase {
                // A replica deletes nothing by itself.
                Phase::OccurringOnPrimary => self.end(State::Failed, Outcome::Failed(failure), out),
                _ => self.fail(failure, out),
            },
            Input::Cleaned => {
                if let Phase::CleaningUp(failure) = &self.phase {
                    let outcome = Outcome::Failed(failure.clone());
                    self.end(State::Failed, outcome, out);
                }
            }
            Input::Demoted => {
                if !matches!(self.phase, Phase::OccurringOnPrimary) {
                    self.enter(Phase::OccurringOnPrimary, out);
                    self.close(out);
                }
            }
            Input::Promoted(failure) => {
                if matches!(self.phase, Phase::OccurringOnPrimary) {
                    self.clean_up(failure, out);
                }
            }
            Input::Finished { failure } => {
                if matches!(self.phase, Phase::OccurringOnPrimary) {
                    match failure {
                        None => self.end(State::Success, Outcome::Success, out),
                        Some(text) => {
                            let outcome = Outcome::Failed(Failure::ToldByPrimary(text));
                            self.end(State::Failed, outcome, out);
                        }
                    }
                }
            }
            Input::Ticked => self.ticked(now, out),
        }
    }

    /// Whether the input may be told in this state.
    pub(super) fn can_happen(&self, input: &Input) -> bool {
        match input {
            Input::Closed => self.linked,
            Input::LaneArrived => self.lanes.snapshots > 0,
            // A lane arrives before it is paused.
            Input::LanePaused => self.lanes.pauses > self.lanes.snapshots,
            Input::TakenOver => matches!(self.phase, Phase::FailoverGranted { .. }),
            Input::Withdrawn => matches!(self.phase, Phase::FailoverGranted { withdrawn: Some(_) }),
            // The cleaning may end after a demotion that was told meanwhile.
            Input::Cleaned => matches!(self.phase, Phase::CleaningUp(_) | Phase::OccurringOnPrimary),
            _ => true,
        }
    }

    fn settled(&mut self, settlement: Settlement, out: &mut Vec<Action>) {
        match (settlement, &self.phase) {
            // Until TakenOver the view may show our own claim.
            (Settlement::OwnedByTarget, Phase::FailoverGranted { .. }) | (Settlement::OwnedBySource, _) => {}
            (_, Phase::OccurringOnPrimary | Phase::CleaningUp(_)) => {}
            _ => self.fail(Failure::SlotsNotOwnedBySource, out),
        }
    }

    fn ticked(&mut self, now: Now, out: &mut Vec<Action>) {
        if self.silence_ends().is_some_and(|end| end <= now.mono) {
            self.fail(Failure::TimedOut, out);
        } else if self.sends_acks() && self.ack_due <= now.mono {
            self.ack_due = now.mono + self.timing.ack_period;
            out.push(Action::Send(Control::Ack.bytes()));
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Mono> {
        let ack = self.sends_acks().then_some(self.ack_due);
        self.silence_ends().into_iter().chain(ack).min()
    }

    /// When the source's silence fails the job. After the grant it has nothing more to say, and waits as long as it
    /// hears from us.
    fn silence_ends(&self) -> Option<Mono> {
        let counts = self.is_reading() && !matches!(self.phase, Phase::FailoverGranted { .. });
        counts.then_some(self.heard_at + self.timing.repl_timeout)
    }

    fn sends_acks(&self) -> bool {
        self.is_reading() && !matches!(self.phase, Phase::WaitingForAck)
    }

    fn clean_up(&mut self, failure: Failure, out: &mut Vec<Action>) {
        self.enter(Phase::CleaningUp(failure), out);
        self.close(out);
        out.push(Action::DropSlots);
    }

    fn end(&mut self, state: State, outcome: Outcome, out: &mut Vec<Action>) {
        self.enter(Phase::Finished(state), out);
        out.push(Action::Unhide);
        self.close(out);
        out.push(Action::Ended { outcome });
    }

    fn close(&mut self, out: &mut Vec<Action>) {
        if core::mem::take(&mut self.linked) {
            out.push(Action::Close);
        }
    }

    fn enter(&mut self, phase: Phase, out: &mut Vec<Action>) {
        let from = self.state();
        self.phase = phase;
        EDGES.check(from, self.state());
        out.push(Action::Entered(self.state()));
    }

    pub(super) fn state(&self) -> State {
        match self.phase {
            Phase::WaitingForAck => State::WaitingForAck,
            Phase::ReceivingSnapshot { .. } => State::ReceivingSnapshot,
            Phase::WaitingForPaused { .. } => State::WaitingForPaused,
            Phase::FailoverRequested => State::FailoverRequested,
            Phase::FailoverGranted { .. } => State::FailoverGranted,
            Phase::CleaningUp(_) => State::CleaningUp,
            Phase::OccurringOnPrimary => State::OccurringOnPrimary,
            Phase::Finished(state) => state,
        }
    }

    pub(super) fn job(&self) -> &Arc<Job> {
        &self.job
    }

    pub(super) fn last_ack(&self) -> Wall {
        self.last_ack
    }

    pub(super) fn set_timing(&mut self, timing: Timing) {
        self.timing = timing;
    }
}

impl Rules for Course {
    type Action = Action;

    /// Whether there is a link and the job has not failed.
    fn is_reading(&self) -> bool {
        self.linked && !matches!(self.phase, Phase::FailoverGranted { withdrawn: Some(_) })
    }

    /// Whether commands may come. Behind PAUSED nothing may: the source holds its writes, and behind its grant the slots may be
    /// ours already, and have newer values. A 9.1 source would rather end its process than say more.
    fn accepts_data(&self) -> bool {
        matches!(
            self.phase,
            Phase::WaitingForAck
                | Phase::ReceivingSnapshot { .. }
                | Phase::WaitingForPaused { paused: false }
        )
    }

    fn heard(&mut self, now: Now) {
        self.heard_at = now.mono;
    }

    fn unapplied(&mut self) -> &mut usize {
        &mut self.unapplied
    }

    /// The source's word that nothing precedes any more counts when everything that preceded has come, on lanes too, and
    /// is applied.
    fn go_on(&mut self, out: &mut Vec<Action>) {
        match self.phase {
            Phase::ReceivingSnapshot { ended: true } if self.lanes.snapshots == 0 => {
                self.enter(Phase::WaitingForPaused { paused: false }, out);
                out.push(Action::Send(Control::RequestPause.bytes()));
            }
            Phase::WaitingForPaused { paused: true } if self.unapplied == 0 && self.lanes.pauses == 0 => {
                self.enter(Phase::FailoverRequested, out);
                out.push(Action::Send(Control::RequestFailover.bytes()));
            }
            _ => {}
        }
    }

    /// A message of the source; true if it ended the snapshot.
    fn message(&mut self, now: Now, control: Control, out: &mut Vec<Action>) -> bool {
        match (control, &mut self.phase) {
            (Control::Ack, phase) => {
                self.last_ack = now.wall;
                if matches!(phase, Phase::WaitingForAck) {
                    self.ack_due = now.mono + self.timing.ack_period;
                    self.enter(Phase::ReceivingSnapshot { ended: false }, out);
                }
            }
            (Control::SnapshotEof, Phase::ReceivingSnapshot { ended: ended @ false }) => {
                *ended = true;
                self.go_on(out);
                return true;
            }
            (Control::Paused, Phase::WaitingForPaused { paused: paused @ false }) => {
                *paused = true;
                self.go_on(out);
            }
            (Control::FailoverGranted, Phase::FailoverRequested) => {
                self.enter(Phase::FailoverGranted { withdrawn: None }, out);
                out.push(Action::AssignSlots);
            }
            _ => self.fail(Failure::UnexpectedTransition, out),
        }
        false
    }

    /// Gives the job up. Once the claim was asked for, whether the slots are ours is not for this machine to say: it
    /// asks for the claim to be withdrawn and waits for the answer.
    fn fail(&mut self, failure: Failure, out: &mut Vec<Action>) {
        match &mut self.phase {
            Phase::FailoverGranted { withdrawn: withdrawn @ None } => {
                *withdrawn = Some(failure);
                out.push(Action::Withdraw);
            }
            Phase::FailoverGranted { .. }
            | Phase::CleaningUp(_)
            | Phase::OccurringOnPrimary
            | Phase::Finished(_) => {}
            _ => self.clean_up(failure, out),
        }
    }
}
