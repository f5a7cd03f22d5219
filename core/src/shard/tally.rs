//! What became of commands: how often each was called, refused or failed, and the errors clients got.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::command::table::{Command, Id};

/// Most error codes that are told apart: clients' own words must not make the list grow for ever.
const CODES: usize = 128;

/// What became of the calls of one command.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Calls {
    /// Known since its first call.
    command: Option<&'static Command>,
    /// It ran, well or not.
    pub(crate) run: u64,
    /// It was not let run.
    pub(crate) rejected: u64,
    /// It ran and its reply was an error.
    pub(crate) failed: u64,
}

/// Counts for the sections Commandstats and Errorstats of INFO.
#[derive(Debug)]
pub(crate) struct Tally {
    calls: Box<[Calls]>,
    errors: Vec<(Box<str>, u64)>,
    total_errors: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            calls: alloc::vec![Calls::default(); Id::ALL.len()].into(),
            errors: Vec::new(),
            total_errors: 0,
        }
    }
}

impl Tally {
    /// A command is about to run.
    #[inline]
    pub(crate) fn called(&mut self, command: &'static Command) {
        let calls = self.calls_of(command);
        calls.run += 1;
    }

    /// A command was not let run, and answered with `error`.
    pub(crate) fn rejected(&mut self, command: &'static Command, error: &str) {
        self.calls_of(command).rejected += 1;
        self.error(error);
    }

    /// A command ran and this is the beginning of its reply.
    #[inline]
    pub(crate) fn replied(&mut self, command: &'static Command, reply: &[u8]) {
        if let [b'-', line @ ..] = reply {
            self.calls_of(command).failed += 1;
            let end = line.iter().position(|b| b" \r\n".contains(b)).unwrap_or(line.len());
            self.error(core::str::from_utf8(&line[..end]).unwrap_or_default());
        }
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
        tally.called(get);
        tally.replied(get, b"$1\r\nv\r\n");
        tally.called(get);
        tally.replied(get, b"-WRONGTYPE Operation against a key\r\n");
        tally.rejected(get, "MOVED 7 127.0.0.1:7000");
        tally.rejected(pause, "NOAUTH Authentication required.");
        let seen: Vec<_> = tally.commands().map(|(name, c)| (name, c.run, c.rejected, c.failed)).collect();
        assert_eq!(seen, [("client|pause", 0, 1, 0), ("get", 2, 1, 1)]);
        assert_eq!(tally.errors(), [("MOVED", 1), ("NOAUTH", 1), ("WRONGTYPE", 1)]);
        assert_eq!(tally.total_errors(), 3);
    }

    #[test]
    fn a_code_without_words_is_a_code() {
        let mut tally = Tally::default();
        let get = command(&[b"GET", b"k"]);
        tally.replied(get, b"-OOPS\r\n");
        tally.replied(get, b"");
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
