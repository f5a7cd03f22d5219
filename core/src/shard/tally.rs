//! What became of commands: how often each was called, refused or failed, how long it took, and the errors clients got.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::command::table::{Command, Id};
use crate::shard::histogram::Histogram;

/// Most error codes that are told apart: clients' own words must not make the list grow for ever.
const CODES: usize = 128;

/// What became of the calls of one command.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls {
    /// Known since its first call.
    command: Option<&'static Command>,
    /// It ran, well or not.
    pub(crate) run: u64,
    /// It was not let run.
    pub(crate) rejected: u64,
    /// It ran and its reply was an error.
    pub(crate) failed: u64,
    /// Time that its calls took together.
    nanos: u64,
    /// The time of each call, unless nobody wants to know.
    pub(crate) histogram: Option<Box<Histogram>>,
}

impl Calls {
    /// Time that its calls took together, in microseconds.
    pub(crate) fn usec(&self) -> u64 {
        self.nanos / 1000
    }

    /// Whether there is anything to tell.
    pub(crate) fn is_used(&self) -> bool {
        self.run + self.rejected + self.failed > 0
    }
}

/// Counts for the sections Commandstats and Errorstats of INFO.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    calls: Box<[Calls]>,
    errors: Vec<(Box<str>, u64)>,
    total_errors: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            calls: Id::ALL.iter().map(|_| Calls::default()).collect(),
            errors: Vec::new(),
            total_errors: 0,
        }
    }
}

impl Tally {
    /// A command ran and took so long; `reply` is the beginning of its reply. The time of single calls is kept if
    /// `tracked`.
    #[inline]
    pub(crate) fn ran(&mut self, command: &'static Command, nanos: u64, tracked: bool, reply: &[u8]) {
        let calls = self.calls_of(command);
        calls.run += 1;
        calls.nanos += nanos;
        if tracked {
            calls.histogram.get_or_insert_with(Histogram::new).record(nanos);
        }
        if let [b'-', line @ ..] = reply {
            calls.failed += 1;
            let end = line.iter().position(|b| b" \r\n".contains(b)).unwrap_or(line.len());
            self.error(core::str::from_utf8(&line[..end]).unwrap_or_default());
        }
    }

    /// A command was not let run, and answered with `error`.
    pub(crate) fn rejected(&mut self, command: &'static Command, error: &str) {
        self.calls_of(command).rejected += 1;
        self.error(error);
    }

    /// A client got an error, whose first word is its code.
    pub(crate) fn error(&mut self, error: &str) {
        self.total_errors += 1;
        let code = error.split(' ').next().unwrap_or_default();
        if let Some((_, count)) = self.errors.iter_mut().find(|(known, _)| **known == *code) {
            *count += 1;
        } else if self.errors.len() < CODES {
            self.errors.push((code.into(), 1));
        }
    }

    /// The same without the times of single calls, which are most of its memory.
    pub(crate) fn without_times(&self) -> Self {
        let calls = self.calls.iter().map(|calls| Calls { histogram: None, ..*calls }).collect();
        Self { calls, errors: self.errors.clone(), total_errors: self.total_errors }
    }

    /// Adds what a sibling counted.
    pub(crate) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.calls.iter_mut().zip(&other.calls) {
            mine.command = mine.command.or(theirs.command);
            mine.run += theirs.run;
            mine.rejected += theirs.rejected;
            mine.failed += theirs.failed;
            mine.nanos += theirs.nanos;
            if let Some(histogram) = &theirs.histogram {
                mine.histogram.get_or_insert_with(Histogram::new).add(histogram);
            }
        }
        for (code, count) in &other.errors {
            match self.errors.iter_mut().find(|(known, _)| known == code) {
                Some((_, known)) => *known += count,
                None => self.errors.push((code.clone(), *count)),
            }
        }
        self.total_errors += other.total_errors;
    }

    /// Errors that clients got.
    pub(crate) fn total_errors(&self) -> u64 {
        self.total_errors
    }

    /// How often each code was answered, in the order of the codes.
    pub(crate) fn errors(&self) -> Vec<(&str, u64)> {
        let mut errors: Vec<(&str, u64)> = self.errors.iter().map(|(code, n)| (&**code, *n)).collect();
        errors.sort_unstable();
        errors
    }

    /// The commands that were called, by their full names.
    pub(crate) fn commands(&self) -> impl Iterator<Item = (&'static str, &Calls)> {
        self.calls.iter().filter_map(|calls| calls.command.map(|command| (command.name, calls)))
    }

    /// What became of the calls of a command.
    pub(crate) fn calls(&self, id: Id) -> &Calls {
        &self.calls[id as usize]
    }

    #[inline]
    fn calls_of(&mut self, command: &'static Command) -> &mut Calls {
        let calls = &mut self.calls[command.id as usize];
        calls.command = Some(command);
        calls
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::table::resolve;
    use crate::wire::resp::ArgvBuf;

    fn command(words: &[&[u8]]) -> &'static Command {
        resolve(ArgvBuf::of(words).argv()).expect("a command")
    }

    #[test]
    fn calls_refusals_and_failures_are_told_apart() {
        let mut tally = Tally::default();
        let (get, pause) = (command(&[b"GET", b"k"]), command(&[b"CLIENT", b"PAUSE", b"1"]));
        tally.ran(get, 1_900, false, b"$1\r\nv\r\n");
        tally.ran(get, 1_200, false, b"-WRONGTYPE Operation against a key\r\n");
        tally.rejected(get, "MOVED 7 127.0.0.1:7000");
        tally.rejected(pause, "NOAUTH Authentication required.");
        let seen: Vec<_> = tally.commands().map(|(name, c)| (name, c.run, c.rejected, c.failed)).collect();
        assert_eq!(seen, [("client|pause", 0, 1, 0), ("get", 2, 1, 1)]);
        assert_eq!(tally.errors(), [("MOVED", 1), ("NOAUTH", 1), ("WRONGTYPE", 1)]);
        assert_eq!(tally.total_errors(), 3);
        assert_eq!((tally.calls(Id::Get).usec(), tally.calls(Id::ClientPause).usec()), (3, 0));
    }

    #[test]
    fn single_calls_are_kept_if_wanted() {
        let mut tally = Tally::default();
        let get = command(&[b"GET", b"k"]);
        tally.ran(get, 5_000, false, b"");
        assert!(tally.calls(Id::Get).histogram.is_none());
        tally.ran(get, 5_000, true, b"");
        tally.ran(get, 5_000, false, b"");
        assert_eq!(tally.calls(Id::Get).histogram.as_ref().map(|h| h.total()), Some(1));
    }

    #[test]
    fn a_code_without_words_is_a_code() {
        let mut tally = Tally::default();
        let get = command(&[b"GET", b"k"]);
        tally.ran(get, 0, false, b"-OOPS\r\n");
        tally.ran(get, 0, false, b"");
        assert_eq!(tally.errors(), [("OOPS", 1)]);
    }

    #[test]
    fn the_list_of_codes_ends() {
        let mut tally = Tally::default();
        for n in 0..1000 {
            tally.error(&alloc::format!("E{n} x"));
            tally.error("E0 again");
        }
        assert_eq!(tally.errors().len(), CODES);
        assert_eq!(tally.total_errors(), 2000);
        assert!(tally.errors().contains(&("E0", 1001)));
    }
}
