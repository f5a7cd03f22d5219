//! The target's end of a lane: hands out the commands of one shard of the source, and says when the snapshot and the writes
//! behind it have come.

use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use crate::migration::edges::Edges;
use crate::migration::failure::Failure;
use crate::migration::import::{Read, Rejected};
use crate::migration::job::Timing;
use crate::migration::stream::{Rules, Stream};
use crate::time::{Mono, Now};
use crate::wire::resp::Reader;
use crate::wire::syncslots::Control;

/// What happened to the target's end of a lane, besides the source's bytes, which [`read`](Receiver::read) takes. After
/// the end it ignores everything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Input {
    /// The link ended.
    Closed,
    /// The job is over, or about to be cleaned up.
    Over,
    /// The time of `poll_timeout` has come.
    Ticked,
}

/// What the target's end of a lane wants done, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Queue these bytes on the link.
    Send(Bytes),
    /// The snapshot has come: [`LaneArrived`](crate::migration::import::Input::LaneArrived) of the import.
    Arrived,
    /// Everything has come and is applied, and the source holds its writes:
    /// [`LanePaused`](crate::migration::import::Input::LanePaused) of the import.
    Paused,
    /// End the link. Nothing about it may be told afterwards.
    Close,
    /// The lane is in this state now.
    Entered(State),
    /// The import has to end for this, unless it takes over already.
    Failed(Failure),
}

/// Where a lane is, at the target.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum State {
    /// The snapshot comes in.
    ReceivingSnapshot,
    /// The stream of writes comes in.
    ReceivingStream,
    /// The source holds its writes, and all earlier ones are applied.
    Paused,
    /// There is no link any more.
    Ended,
}

use State::{Ended, Paused, ReceivingSnapshot, ReceivingStream};

/// Every legal transition.
pub const EDGES: Edges<State> = Edges(&[
    (ReceivingSnapshot, &[ReceivingStream, Ended]),
    (ReceivingStream, &[Paused, Ended]),
    (Paused, &[Ended]),
    (Ended, &[]),
]);

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            ReceivingSnapshot => "receiving-snapshot",
            ReceivingStream => "receiving-stream",
            Paused => "paused",
            Ended => "ended",
        })
    }
}

/// The target's end of one lane.
#[derive(Debug)]
pub struct Receiver {
    stream: Stream<Course>,
}

#[derive(Debug)]
struct Course {
    state: State,
    timing: Timing,
    /// When the source's last byte came.
    heard_at: Mono,
    ack_due: Mono,
    /// Commands that were handed out and whose outcome is not known.
    unapplied: usize,
    /// The source said PAUSED, but earlier commands are still being applied.
    is_last: bool,
}

impl Receiver {
    /// Begins with the answer to LANE. `reader` is that of the session that it came through.
    #[must_use]
    pub fn new(reader: Reader, timing: Timing, databases: u32, now: Now, out: &mut Vec<Action>) -> Self {
        out.extend([Action::Entered(ReceivingSnapshot), Action::Send(Bytes::from_static(b"+OK\r\n"))]);
        let course = Course {
            state: ReceivingSnapshot,
            timing,
            heard_at: now.mono,
            ack_due: now.mono + timing.ack_period,
            unapplied: 0,
            is_last: false,
        };
        Self { stream: Stream::new(reader, course, databases) }
    }

    /// Takes in what happened and appends what is to be done.
    pub fn handle(&mut self, now: Now, input: Input, out: &mut Vec<Action>) {
        self.stream.tell(|course| course.handle(now, input, out));
    }

    /// Takes the next thing out of the source's bytes, as [`Import::read`](crate::migration::import::Import::read) does.
    pub fn read<'a, 'i: 'a>(&'a mut self, now: Now, input: &mut &'i [u8], out: &mut Vec<Action>) -> Read<'a> {
        self.stream.read(now, input, out)
    }

    /// The stream, to take commands from without asking [`read`](Self::read) for each.
    pub(crate) fn stream(&mut self) -> &mut Stream<impl Rules<Action = Action> + use<>> {
        &mut self.stream
    }

    /// Tells the outcome of a command that was handed out.
    ///
    /// # Panics
    /// When no outcome is awaited: a bug of the caller.
    pub fn applied(&mut self, result: Result<(), Rejected>, out: &mut Vec<Action>) {
        self.stream.applied(result, out);
    }

    /// Bytes of memory asked for to keep what came and is not applied.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.stream.memory()
    }

    /// When [`Input::Ticked`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Mono> {
        self.stream.rules.poll_timeout()
    }

    /// Where the lane is.
    #[must_use]
    pub fn state(&self) -> State {
        self.stream.rules.state
    }

    /// Whether the source's bytes are still wanted.
    #[must_use]
    pub fn is_reading(&self) -> bool {
        self.stream.rules.is_reading()
    }

    /// Other limits from now on (CONFIG SET).
    pub fn set_timing(&mut self, timing: Timing) {
        self.stream.rules.timing = timing;
    }
}

impl Course {
    fn handle(&mut self, now: Now, input: Input, out: &mut Vec<Action>) {
        match (input, self.state) {
            (_, Ended) => {}
            // The job has all of this lane. If it is not over, the source will say so on its first link.
            (Input::Closed, Paused) => self.enter(Ended, out),
            (Input::Closed, _) => {
                self.enter(Ended, out);
                out.push(Action::Failed(Failure::ConnectionLostToSource));
            }
            (Input::Over, _) => {
                self.enter(Ended, out);
                out.push(Action::Close);
            }
            (Input::Ticked, _) => {
                if self.silence_ends().is_some_and(|end| end <= now.mono) {
                    self.fail(Failure::TimedOut, out);
                } else if self.ack_due <= now.mono {
                    self.ack_due = now.mono + self.timing.ack_period;
                    out.push(Action::Send(Control::Ack.bytes()));
                }
            }
        }
    }

    fn poll_timeout(&self) -> Option<Mono> {
        let ack = (self.state != Ended).then_some(self.ack_due);
        [self.silence_ends(), ack].into_iter().flatten().min()
    }

    /// When the source's silence fails the job; not once all is there.
    fn silence_ends(&self) -> Option<Mono> {
        let counts = matches!(self.state, ReceivingSnapshot | ReceivingStream);
        counts.then_some(self.heard_at + self.timing.repl_timeout)
    }

    fn enter(&mut self, state: State, out: &mut Vec<Action>) {
        EDGES.check(self.state, state);
        self.state = state;
        out.push(Action::Entered(state));
    }
}

impl Rules for Course {
    type Action = Action;

    fn is_reading(&self) -> bool {
        self.state != Ended
    }

    /// Whether commands may come.
    fn accepts_data(&self) -> bool {
        matches!(self.state, ReceivingSnapshot | ReceivingStream) && !self.is_last
    }

    fn heard(&mut self, now: Now) {
        self.heard_at = now.mono;
    }

    fn unapplied(&mut self) -> &mut usize {
        &mut self.unapplied
    }

    fn go_on(&mut self, out: &mut Vec<Action>) {
        if self.is_last && self.unapplied == 0 && self.state == ReceivingStream {
            self.enter(Paused, out);
            out.push(Action::Paused);
        }
    }

    fn message(&mut self, _: Now, control: Control, out: &mut Vec<Action>) -> bool {
        match (control, self.state) {
            (Control::Ack, _) => {}
            (Control::SnapshotEof, ReceivingSnapshot) => {
                self.enter(ReceivingStream, out);
                out.push(Action::Arrived);
                return true;
            }
            (Control::Paused, ReceivingStream) if !self.is_last => {
                self.is_last = true;
                self.go_on(out);
            }
            _ => self.fail(Failure::UnexpectedTransition, out),
        }
        false
    }

    fn fail(&mut self, failure: Failure, out: &mut Vec<Action>) {
        self.enter(Ended, out);
        out.push(Action::Close);
        out.push(Action::Failed(failure));
    }
}

#[cfg(test)]
mod tests;
