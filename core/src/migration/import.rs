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
use super::LIMITS;
use super::failure::Failure;
use super::job::{Job, Timing};
use super::lane::Lanes;
use crate::time::{Mono, Now, Wall};
use crate::wire::resp::{Argv, Reader, number};
use crate::wire::syncslots::{self, Heard, Word};

/// The target's end of one migration.
#[derive(Debug)]
pub struct Import {
    // Two parts, because a command is lent out of the first while the second moves on.
    reader: Reader,
    course: Course,
    /// The database that the stream is in.
    db: u32,
    databases: u32,
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
        Self { reader: Reader::default(), course, db: 0, databases }
    }

    /// Follows an import that happens elsewhere or happened earlier: no link, no limits in time.
    #[must_use]
    pub fn follow(job: Arc<Job>, now: Now, out: &mut Vec<Action>) -> Self {
        let course = Course::follow(job, now, out);
        Self { reader: Reader::default(), course, db: 0, databases: 0 }
    }

    /// Takes in what happened and appends what is to be done.
    ///
    /// # Panics
    /// On an input that cannot happen in this state, such as `TakenOver` without `AssignSlots`: a bug of the caller.
    pub fn handle(&mut self, now: Now, input: Input, out: &mut Vec<Action>) {
        self.course.handle(now, input, out);
        if !self.course.is_reading() {
            self.reader = Reader::default();
        }
    }

    #[cfg(test)]
    pub(in crate::migration) fn can_happen(&self, input: &Input) -> bool {
        self.course.can_happen(input)
    }

    /// Takes the next thing out of the source's bytes and advances `input` behind it. To be called until it answers
    /// [`Read::Starved`], which leaves `input` empty.
    pub fn read<'a, 'i: 'a>(&'a mut self, now: Now, input: &mut &'i [u8], out: &mut Vec<Action>) -> Read<'a> {
        let Self { reader, course, db, databases } = self;
        if !course.is_reading() {
            *input = &[];
            return Read::Starved;
        }
        if !input.is_empty() {
            course.heard(now);
        }
        let Ok(next) = reader.next(&LIMITS, input) else {
            *input = &[];
            course.fail(Failure::CommandFailed, out);
            return Read::Starved;
        };
        let Some(argv) = next else { return Read::Starved };
        match sort(argv, *databases) {
            Sorted::Data if course.accepts_data() => {
                course.handed_out();
                return Read::Apply { db: *db, argv };
            }
            Sorted::Select(chosen) if course.accepts_data() => *db = chosen,
            Sorted::Data | Sorted::Select(_) => course.fail(Failure::UnexpectedTransition, out),
            Sorted::Message(Word::Control(control)) => {
                if course.message(now, control, out) {
                    // A 9.1 source believes the link in database 0 from here on, whatever the snapshot selected.
                    *db = 0;
                }
            }
            Sorted::Message(Word::Capa) => {}
            Sorted::Message(Word::Unknown) => course.fail(Failure::UnknownSubcommand, out),
            Sorted::Message(Word::Establish | Word::Finish | Word::Lane) | Sorted::Wrong => {
                course.fail(Failure::CommandFailed, out);
            }
        }
        Read::Heard
    }

    /// Whether commands for the slots may follow, and nothing unfinished lies before them: such a command at the front
    /// of the source's bytes may be applied without asking [`read`](Self::read) for it.
    #[must_use]
    #[inline]
    pub fn takes_commands(&self) -> bool {
        self.course.is_reading() && self.course.accepts_data() && self.reader.is_clear()
    }

    /// A command was taken from the front of the source's bytes, to be applied to the database that is answered. Its
    /// outcome goes to [`applied`](Self::applied).
    ///
    /// # Panics
    /// In debug builds, when the import does not [take](Self::takes_commands) commands now.
    #[inline]
    pub fn taken(&mut self, now: Now) -> u32 {
        debug_assert!(self.takes_commands(), "a command out of order");
        self.course.heard(now);
        self.course.handed_out();
        self.db
    }

    /// The database that the stream is in.
    #[must_use]
    pub fn db(&self) -> u32 {
        self.db
    }

    /// Tells the outcome of a command that [`read`](Self::read) handed out. Outcomes may come late, but in the order
    /// of the commands; the job waits for all of them where it has to.
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

    /// Goes on with the reader of the session that ESTABLISH came through, and with what it holds behind it.
    ///
    /// # Panics
    /// After the first [`read`](Self::read) that left something unfinished.
    pub fn adopt(&mut self, reader: Reader) {
        assert_eq!(self.reader.pending(), 0, "bytes of the source would be lost");
        self.reader = reader;
    }

    /// While a large argument is incomplete: its own memory, to read from the socket into. See
    /// [`Reader::inbox`](crate::wire::resp::Reader::inbox).
    pub fn inbox(&mut self) -> Option<&mut [u8]> {
        self.reader.inbox()
    }

    /// The first `n` bytes of [`inbox`](Self::inbox) are now what followed; [`read`](Self::read) with no input goes
    /// on.
    pub fn inbox_filled(&mut self, now: Now, n: usize) {
        self.reader.inbox_filled(n);
        self.course.heard(now);
    }

    /// Keeps input that cannot be read now, for a later [`read`](Self::read).
    pub fn keep(&mut self, rest: &[u8]) {
        self.reader.keep(rest);
    }

    /// When [`Input::Ticked`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Mono> {
        self.course.poll_timeout()
    }

    /// Where the import is.
    #[must_use]
    pub fn state(&self) -> State {
        self.course.state()
    }

    /// The job.
    #[must_use]
    pub fn job(&self) -> &Arc<Job> {
        self.course.job()
    }

    /// When the source last sent ACK; the start of the job before the first one.
    #[must_use]
    pub fn last_ack(&self) -> Wall {
        self.course.last_ack()
    }

    /// Whether the source's bytes are still wanted.
    #[must_use]
    pub fn is_reading(&self) -> bool {
        self.course.is_reading()
    }

    /// Other limits from now on (CONFIG SET).
    pub fn set_timing(&mut self, timing: Timing) {
        self.course.set_timing(timing);
    }
}

/// What a command of the source is to us.
pub(super) enum Sorted {
    Data,
    Select(u32),
    Message(Word),
    Wrong,
}

pub(super) fn sort(argv: Argv<'_>, databases: u32) -> Sorted {
    if argv.name().eq_ignore_ascii_case(b"SELECT") {
        let db = argv.opt(1).filter(|_| argv.len() == 2).and_then(number::integer);
        return match db.and_then(|db| u32::try_from(db).ok()) {
            Some(db) if db < databases => Sorted::Select(db),
            _ => Sorted::Wrong,
        };
    }
    match syncslots::heard(argv.name(), argv.opt(1), argv.opt(2)) {
        Heard::Sync(word) => Sorted::Message(word),
        Heard::Bare => Sorted::Wrong,
        Heard::Other => Sorted::Data,
    }
}

#[cfg(test)]
mod tests;
