//! Imports in scripts.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{End, START, command, job, outcome, sent, settlement};
use crate::ids::Shards;
use crate::migration::failure::Failure;
use crate::migration::import::{Action, Import, Input, Read, Rejected};
use crate::migration::job::Timing;
use crate::migration::lane::Lanes;
use crate::time::{Mono, Now};

/// An import of [`job`] with the default limits and 16 databases. Commands are applied at once and succeed, unless
/// `reject-next` or `apply-late` said otherwise. `follow` makes it one that is followed.
pub(in crate::migration) struct ImportEnd {
    pub(in crate::migration) import: Import,
    next: Result<(), Rejected>,
    late: bool,
}

impl ImportEnd {
    fn input(&mut self, now: Now, input: Input, said: &mut Vec<String>) {
        let mut out = Vec::new();
        self.import.handle(now, input, &mut out);
        out.iter().for_each(|action| describe(action, said));
    }

    fn applied(&mut self, result: Result<(), Rejected>, said: &mut Vec<String>) {
        let mut out = Vec::new();
        self.import.applied(result, &mut out);
        out.iter().for_each(|action| describe(action, said));
    }
}

/// The input that a word of a script stands for.
pub(in crate::migration) fn input(word: &str, rest: &str) -> Option<Input> {
    Some(match (word, rest) {
        ("closed", _) => Input::Closed,
        ("lane-arrived", _) => Input::LaneArrived,
        ("lane-paused", _) => Input::LanePaused,
        ("taken-over", _) => Input::TakenOver,
        ("withdrawn", _) => Input::Withdrawn,
        ("settled", _) => Input::Settled(settlement(rest)),
        ("flushed", _) => Input::Stopped(Failure::DataFlushed),
        ("resynced", _) => Input::Stopped(Failure::FullResync),
        ("cleaned", _) => Input::Cleaned,
        ("demoted", _) => Input::Demoted,
        ("promoted", _) => Input::Promoted(Failure::FailoverOccurred),
        ("restarted", _) => Input::Promoted(Failure::ProcessRestarted),
        ("finished", "") => Input::Finished { failure: None },
        ("finished", text) => Input::Finished { failure: Some(text.into()) },
        ("ticked", _) => Input::Ticked,
        _ => return None,
    })
}

impl End for ImportEnd {
    fn begin(said: &mut Vec<String>) -> Self {
        let mut out = Vec::new();
        let import = Import::new(job(), Timing::default(), 16, START, &mut out);
        out.iter().for_each(|action| describe(action, said));
        Self { import, next: Ok(()), late: false }
    }

    fn feed(&mut self, now: Now, mut bytes: &[u8], said: &mut Vec<String>) {
        loop {
            let mut out = Vec::new();
            let mut apply = None;
            let starved = match self.import.read(now, &mut bytes, &mut out) {
                Read::Apply { db, argv } => {
                    apply = Some(format!("apply {db} {}", command(argv.iter())));
                    false
                }
                Read::Heard => false,
                Read::Starved => true,
            };
            out.iter().for_each(|action| describe(action, said));
            if let Some(apply) = apply {
                said.push(apply);
                if !self.late {
                    let result = core::mem::replace(&mut self.next, Ok(()));
                    self.applied(result, said);
                }
            }
            if starved {
                assert!(bytes.is_empty(), "bytes were left");
                return;
            }
        }
    }

    fn tell(&mut self, now: Now, word: &str, rest: &str, said: &mut Vec<String>) -> bool {
        match word {
            "follow" => {
                let mut out = Vec::new();
                self.import = Import::follow(job(), now, &mut out);
                out.iter().for_each(|action| describe(action, said));
            }
            "with-lanes" => {
                let lanes = Lanes::of(&job().ranges, Shards::new(rest.parse().expect("a number")));
                let mut out = Vec::new();
                self.import = Import::with_lanes(job(), Timing::default(), 16, lanes, now, &mut out);
                out.iter().for_each(|action| describe(action, said));
            }
            "reject-next" if rest == "oom" => self.next = Err(Rejected::Oom),
            "reject-next" => self.next = Err(Rejected::Error),
            "apply-late" => self.late = true,
            "applied" => self.applied(Ok(()), said),
            _ => {
                let Some(input) = input(word, rest) else { return false };
                self.input(now, input, said);
            }
        }
        true
    }

    fn accepts(&self, word: &str, rest: &str) -> bool {
        // Bytes of a link that is gone are not read, so that a caller may finish what it holds.
        self.import.state().is_finished()
            || input(word, rest).is_none_or(|input| self.import.can_happen(&input))
    }

    fn deadline(&self) -> Option<Mono> {
        self.import.poll_timeout()
    }

    fn tick(&mut self, now: Now, said: &mut Vec<String>) {
        self.input(now, Input::Ticked, said);
    }
}

fn describe(action: &Action, said: &mut Vec<String>) {
    said.push(match action {
        Action::Send(bytes) => return sent(bytes, said),
        Action::AssignSlots => "assign-slots".into(),
        Action::Withdraw => "withdraw".into(),
        Action::DropSlots => "drop-slots".into(),
        Action::Unhide => "unhide".into(),
        Action::Close => "close".into(),
        Action::Entered(state) => format!("enter {state}"),
        Action::Ended { outcome: how } => outcome(how),
    });
}
