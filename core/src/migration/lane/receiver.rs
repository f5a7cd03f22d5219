//! The target's end of a lane: hands out the commands of one shard of the source, and says when the snapshot and the writes
//! behind it have come.

use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use crate::migration::LIMITS;
use crate::migration::edges::Edges;
use crate::migration::failure::Failure;
use crate::migration::import::{Read, Rejected, Sorted, sort};
use crate::migration::job::Timing;
use crate::time::{Mono, Now};
use crate::wire::resp::Reader;
use crate::wire::syncslots::{Control, Word};

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
    // Two parts, because a command is lent out of the first while the second moves on.
    reader: Reader,
    course: Course,
    /// The database that the stream is in.
    db: u32,
    databases: u32,
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
        Self { reader, course, db: 0, databases }
    }

    /// Takes in what happened and appends what is to be done.
    pub fn handle(&mut self, now: Now, input: Input, out: &mut Vec<Action>) {
        self.course.handle(now, input, out);
        if !self.is_reading() {
            self.reader = Reader::default();
        }
    }

    /// Takes the next thing out of the source's bytes, as [`Import::read`](crate::migration::import::Import::read) does.
    pub fn read<'a, 'i: 'a>(&'a mut self, now: Now, input: &mut &'i [u8], out: &mut Vec<Action>) -> Read<'a> {
        let Self { reader, course, db, databases } = self;
        if course.state == Ended {
            *input = &[];
            return Read::Starved;
        }
        if !input.is_empty() {
            course.heard_at = now.mono;
        }
        let Ok(next) = reader.next(&LIMITS, input) else {
            *input = &[];
            course.fail(Failure::CommandFailed, out);
            return Read::Starved;
        };
        let Some(argv) = next else { return Read::Starved };
        match sort(argv, *databases) {
            Sorted::Data if course.accepts_data() => {
                course.unapplied += 1;
                return Read::Apply { db: *db, argv };
            }
            Sorted::Select(chosen) if course.accepts_data() => *db = chosen,
            Sorted::Data | Sorted::Select(_) => course.fail(Failure::UnexpectedTransition, out),
            Sorted::Message(Word::Control(Control::Ack) | Word::Capa) => {}
            Sorted::Message(Word::Control(Control::SnapshotEof)) if course.state == ReceivingSnapshot => {
                *db = 0;
                course.enter(ReceivingStream, out);
                out.push(Action::Arrived);
            }
            Sorted::Message(Word::Control(Control::Paused)) if course.accepts_end() => {
                course.is_last = true;
                course.end_when_applied(out);
            }
            Sorted::Message(Word::Control(_)) => course.fail(Failure::UnexpectedTransition, out),
            Sorted::Message(Word::Unknown) => course.fail(Failure::UnknownSubcommand, out),
            Sorted::Message(Word::Establish | Word::Finish | Word::Lane) | Sorted::Wrong => {
                course.fail(Failure::CommandFailed, out);
            }
        }
        Read::Heard
    }

    /// Whether a command for the slots at the front of the source's bytes may be applied without asking
    /// [`read`](Self::read) for it.
    #[must_use]
    #[inline]
    pub fn takes_commands(&self) -> bool {
        self.course.accepts_data() && self.reader.is_clear()
    }

    /// A command was taken from the front of the source's bytes, to be applied to the database that is answered.
    #[inline]
    pub fn taken(&mut self, now: Now) -> u32 {
        debug_assert!(self.takes_commands(), "a command out of order");
        self.course.heard_at = now.mono;
        self.course.unapplied += 1;
        self.db
    }

    /// The database that the stream is in.
    #[must_use]
    pub fn db(&self) -> u32 {
        self.db
    }

    /// Tells the outcome of a command that was handed out.
    ///
    /// # Panics
    /// When no outcome is awaited: a bug of the caller.
    pub fn applied(&mut self, result: Result<(), Rejected>, out: &mut Vec<Action>) {
        self.course.applied(result, out);
    }

    /// Bytes of memory asked for to keep what came and is not applied.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.reader.memory()
    }

    /// When [`Input::Ticked`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Mono> {
        self.course.poll_timeout()
    }

    /// Where the lane is.
    #[must_use]
    pub fn state(&self) -> State {
        self.course.state
    }

    /// Whether the source's bytes are still wanted.
    #[must_use]
    pub fn is_reading(&self) -> bool {
        self.course.state != Ended
    }

    /// Other limits from now on (CONFIG SET).
    pub fn set_timing(&mut self, timing: Timing) {
        self.course.timing = timing;
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

    fn applied(&mut self, result: Result<(), Rejected>, out: &mut Vec<Action>) {
        assert!(self.unapplied > 0, "an outcome without a command");
        self.unapplied -= 1;
        match result {
            _ if self.state == Ended => {}
            Ok(()) => self.end_when_applied(out),
            Err(Rejected::Oom) => self.fail(Failure::OutOfMemory, out),
            Err(Rejected::Error) => self.fail(Failure::CommandFailed, out),
        }
    }

    fn end_when_applied(&mut self, out: &mut Vec<Action>) {
        if self.is_last && self.unapplied == 0 && self.state == ReceivingStream {
            self.enter(Paused, out);
            out.push(Action::Paused);
        }
    }

    /// Whether commands may come.
    fn accepts_data(&self) -> bool {
        matches!(self.state, ReceivingSnapshot | ReceivingStream) && !self.is_last
    }

    /// Whether the source may say that nothing follows.
    fn accepts_end(&self) -> bool {
        self.state == ReceivingStream && !self.is_last
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

    fn fail(&mut self, failure: Failure, out: &mut Vec<Action>) {
        self.enter(Ended, out);
        out.push(Action::Close);
        out.push(Action::Failed(failure));
    }

    fn enter(&mut self, state: State, out: &mut Vec<Action>) {
        EDGES.check(self.state, state);
        self.state = state;
        out.push(Action::Entered(state));
    }
}

#[cfg(test)]
mod tests;
