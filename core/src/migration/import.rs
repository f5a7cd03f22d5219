//! The target's end of a slot migration.
//!
//! Created when the source's ESTABLISH was agreed to, it takes the source's bytes, hands out the commands that have
//! to be applied ([`Import::read`]), and speaks for the target: asks for the pause, asks to take over, has the slots
//! claimed, and has everything deleted again when the job fails.
//!
//! The same machine follows an import of somebody else: on a replica of the target, and after a restart
//! ([`Import::follow`]).

mod boundary;
mod course;
mod state;

use alloc::sync::Arc;
use alloc::vec::Vec;

pub use self::boundary::{Action, Input, Read, Rejected};
use self::course::Course;
pub use self::state::{EDGES, State};
use super::job::{Job, Timing};
use super::lane::Lanes;
use super::stream::{Rules, Stream};
use crate::time::{Mono, Now, Wall};
use crate::wire::resp::Reader;

/// The target's end of one migration.
#[derive(Debug)]
pub struct Import {
    stream: Stream<Course>,
}

impl Import {
    /// Begins the job with the answer to ESTABLISH. `databases` is how many there are to SELECT.
    #[must_use]
    pub fn new(job: Arc<Job>, timing: Timing, databases: u32, now: Now, out: &mut Vec<Action>) -> Self {
        Self::with_lanes(job, timing, databases, None, now, out)
    }

    /// The same, agreeing to `lanes` if there are some. Each has to be [received](super::lane::Receiver), and to be told
    /// with [`Input::LaneArrived`] and [`Input::LanePaused`].
    #[must_use]
    pub fn with_lanes(
        job: Arc<Job>,
        timing: Timing,
        databases: u32,
        lanes: Option<Lanes>,
        now: Now,
        out: &mut Vec<Action>,
    ) -> Self {
        let course = Course::receive(job, timing, lanes, now, out);
        Self { stream: Stream::new(Reader::default(), course, databases) }
    }

    /// Follows an import that happens elsewhere or happened earlier: no link, no limits in time.
    #[must_use]
    pub fn follow(job: Arc<Job>, now: Now, out: &mut Vec<Action>) -> Self {
        let course = Course::follow(job, now, out);
        Self { stream: Stream::new(Reader::default(), course, 0) }
    }

    /// Takes in what happened and appends what is to be done.
    ///
    /// # Panics
    /// On an input that cannot happen in this state, such as `TakenOver` without `AssignSlots`: a bug of the caller.
    pub fn handle(&mut self, now: Now, input: Input, out: &mut Vec<Action>) {
        self.stream.tell(|course| course.handle(now, input, out));
    }

    #[cfg(test)]
    pub(in crate::migration) fn can_happen(&self, input: &Input) -> bool {
        self.stream.rules.can_happen(input)
    }

    /// Takes the next thing out of the source's bytes and advances `input` behind it. To be called until it answers
    /// [`Read::Starved`], which leaves `input` empty.
    pub fn read<'a, 'i: 'a>(&'a mut self, now: Now, input: &mut &'i [u8], out: &mut Vec<Action>) -> Read<'a> {
        self.stream.read(now, input, out)
    }

    /// The stream, to take commands from without asking [`read`](Self::read) for each.
    pub(crate) fn stream(&mut self) -> &mut Stream<impl Rules<Action = Action> + use<>> {
        &mut self.stream
    }

    /// Tells the outcome of a command that [`read`](Self::read) handed out. Outcomes may come late, but in the order
    /// of the commands; the job waits for all of them where it has to.
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

    /// Goes on with the reader of the session that ESTABLISH came through, and with what it holds behind it.
    ///
    /// # Panics
    /// After the first [`read`](Self::read) that left something unfinished.
    pub fn adopt(&mut self, reader: Reader) {
        let nothing = core::mem::replace(self.stream.reader(), reader);
        assert_eq!(nothing.pending(), 0, "bytes of the source would be lost");
    }

    /// While a large argument is incomplete: its own memory, to read from the socket into. See
    /// [`Reader::inbox`](crate::wire::resp::Reader::inbox).
    pub fn inbox(&mut self) -> Option<&mut [u8]> {
        self.stream.reader().inbox()
    }

    /// The first `n` bytes of [`inbox`](Self::inbox) are now what followed; [`read`](Self::read) with no input goes
    /// on.
    pub fn inbox_filled(&mut self, now: Now, n: usize) {
        self.stream.reader().inbox_filled(n);
        self.stream.rules.heard(now);
    }

    /// Keeps input that cannot be read now, for a later [`read`](Self::read).
    pub fn keep(&mut self, rest: &[u8]) {
        self.stream.reader().keep(rest);
    }

    /// When [`Input::Ticked`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Mono> {
        self.stream.rules.poll_timeout()
    }

    /// Where the import is.
    #[must_use]
    pub fn state(&self) -> State {
        self.stream.rules.state()
    }

    /// The job.
    #[must_use]
    pub fn job(&self) -> &Arc<Job> {
        self.stream.rules.job()
    }

    /// When the source last sent ACK; the start of the job before the first one.
    #[must_use]
    pub fn last_ack(&self) -> Wall {
        self.stream.rules.last_ack()
    }

    /// Whether the source's bytes are still wanted.
    #[must_use]
    pub fn is_reading(&self) -> bool {
        self.stream.rules.is_reading()
    }

    /// Other limits from now on (CONFIG SET).
    pub fn set_timing(&mut self, timing: Timing) {
        self.stream.rules.set_timing(timing);
    }
}

#[cfg(test)]
mod tests;
