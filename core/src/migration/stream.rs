//! The source's bytes at the target: commands for the slots, and words between the machines, in one sequence.

use alloc::vec::Vec;

use super::LIMITS;
use super::failure::Failure;
use super::import::{Read, Rejected};
use crate::time::Now;
use crate::wire::resp::{Argv, Reader, number};
use crate::wire::syncslots::{self, Control, Heard, Word};

/// What a machine at the end of a stream makes of it.
pub(crate) trait Rules {
    /// What the machine wants done.
    type Action;

    /// Whether the source's bytes are still wanted.
    fn is_reading(&self) -> bool;
    /// Whether commands may come.
    fn accepts_data(&self) -> bool;
    /// Bytes came.
    fn heard(&mut self, now: Now);
    /// How many commands were handed out whose outcome is not known.
    fn unapplied(&mut self) -> &mut usize;
    /// A command was applied: whatever waited for that goes on.
    fn go_on(&mut self, out: &mut Vec<Self::Action>);
    /// A message of the source; true if it ended the snapshot.
    fn message(&mut self, now: Now, control: Control, out: &mut Vec<Self::Action>) -> bool;
    /// The stream cannot be followed any further.
    fn fail(&mut self, failure: Failure, out: &mut Vec<Self::Action>);
}

/// The end of a stream, with the machine that it is for.
#[derive(Debug)]
pub(crate) struct Stream<R> {
    // Two parts, because a command is lent out of the first while the second moves on.
    reader: Reader,
    pub(super) rules: R,
    /// The database that the stream is in.
    db: u32,
    databases: u32,
}

impl<R: Rules> Stream<R> {
    /// `reader` has what came already; `databases` is how many there are to SELECT.
    pub(super) fn new(reader: Reader, rules: R, databases: u32) -> Self {
        Self { reader, rules, db: 0, databases }
    }

    /// Takes the next thing out of the source's bytes and advances `input` behind it.
    pub(crate) fn read<'a, 'i: 'a>(
        &'a mut self,
        now: Now,
        input: &mut &'i [u8],
        out: &mut Vec<R::Action>,
    ) -> Read<'a> {
        let Self { reader, rules, db, databases } = self;
        if !rules.is_reading() {
            *input = &[];
            return Read::Starved;
        }
        if !input.is_empty() {
            rules.heard(now);
        }
        let Ok(next) = reader.next(&LIMITS, input) else {
            *input = &[];
            rules.fail(Failure::CommandFailed, out);
            return Read::Starved;
        };
        let Some(argv) = next else { return Read::Starved };
        match sort(argv, *databases) {
            Sorted::Data if rules.accepts_data() => {
                *rules.unapplied() += 1;
                return Read::Apply { db: *db, argv };
            }
            Sorted::Select(chosen) if rules.accepts_data() => *db = chosen,
            Sorted::Data | Sorted::Select(_) => rules.fail(Failure::UnexpectedTransition, out),
            Sorted::Message(Word::Control(control)) => {
                if rules.message(now, control, out) {
                    // A 9.1 source believes the link in database 0 from here on, whatever the snapshot selected.
                    *db = 0;
                }
            }
            Sorted::Message(Word::Capa) => {}
            Sorted::Message(Word::Unknown) => rules.fail(Failure::UnknownSubcommand, out),
            Sorted::Message(Word::Establish | Word::Finish | Word::Lane) | Sorted::Wrong => {
                rules.fail(Failure::CommandFailed, out);
            }
        }
        Read::Heard
    }

    /// Whether commands for the slots may follow, and nothing unfinished lies before them: such a command at the front
    /// of the source's bytes may be applied without asking [`read`](Self::read) for it.
    #[inline]
    pub(crate) fn takes_commands(&self) -> bool {
        self.rules.is_reading() && self.rules.accepts_data() && self.reader.is_clear()
    }

    /// A command was taken from the front of the source's bytes, to be applied to the database that is answered. Its
    /// outcome goes to [`applied`](Self::applied).
    ///
    /// # Panics
    /// In debug builds, when the stream does not [take](Self::takes_commands) commands now.
    #[inline]
    pub(crate) fn taken(&mut self, now: Now) -> u32 {
        debug_assert!(self.takes_commands(), "a command out of order");
        self.rules.heard(now);
        *self.rules.unapplied() += 1;
        self.db
    }

    /// The database that the stream is in.
    pub(crate) fn db(&self) -> u32 {
        self.db
    }

    /// Tells the outcome of a command that [`read`](Self::read) handed out or that was [taken](Self::taken).
    ///
    /// # Panics
    /// When no outcome is awaited: a bug of the caller.
    pub(crate) fn applied(&mut self, result: Result<(), Rejected>, out: &mut Vec<R::Action>) {
        let rules = &mut self.rules;
        let unapplied = rules.unapplied();
        assert!(*unapplied > 0, "an outcome without a command");
        *unapplied -= 1;
        match result {
            _ if !rules.is_reading() => {}
            Ok(()) => rules.go_on(out),
            Err(Rejected::Oom) => rules.fail(Failure::OutOfMemory, out),
            Err(Rejected::Error) => rules.fail(Failure::CommandFailed, out),
        }
    }

    /// Gives the machine something else than bytes. What is unfinished goes when nothing is read any more.
    pub(super) fn tell<T>(&mut self, f: impl FnOnce(&mut R) -> T) -> T {
        let told = f(&mut self.rules);
        if !self.rules.is_reading() {
            self.reader = Reader::default();
        }
        told
    }

    /// Where the bytes are kept that are no whole command.
    pub(super) fn reader(&mut self) -> &mut Reader {
        &mut self.reader
    }

    /// Bytes of memory asked for to keep what came and is not applied.
    pub(super) fn memory(&self) -> usize {
        self.reader.memory()
    }
}

/// What a command of the source is to us.
enum Sorted {
    Data,
    Select(u32),
    Message(Word),
    Wrong,
}

fn sort(argv: Argv<'_>, databases: u32) -> Sorted {
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
