//! Exports in scripts.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{End, START, job, outcome, sent, settlement, time};
use crate::ids::Shards;
use crate::migration::export::{Action, Credentials, Export, Input};
use crate::migration::failure::Failure;
use crate::migration::job::Timing;
use crate::migration::lane::Lanes;
use crate::time::{Mono, Now};

/// An export of [`job`] with the default limits. It begins with `begin` or `begin auth`.
pub(in crate::migration) struct ExportEnd(pub(in crate::migration) Export);

impl ExportEnd {
    fn new(credentials: Option<Credentials>, said: &mut Vec<String>) -> Self {
        let mut out = Vec::new();
        let export = Export::new(job(), credentials, Timing::default(), START, &mut out);
        out.iter().for_each(|action| describe(action, said));
        Self(export)
    }

    fn input(&mut self, now: Now, input: Input<'_>, said: &mut Vec<String>) {
        let mut out = Vec::new();
        self.0.handle(now, input, &mut out);
        out.iter().for_each(|action| describe(action, said));
    }
}

/// The input that a word of a script stands for.
pub(in crate::migration) fn input<'a>(word: &str, rest: &'a str) -> Option<Input<'a>> {
    Some(match word {
        "connected" => Input::Connected,
        "connect-failed" => Input::ConnectFailed { reason: rest },
        "closed" => Input::Closed,
        "pending" => Input::Pending { bytes: rest.parse().expect("bytes") },
        "lanes-pending" => Input::LanesPending { bytes: rest.parse().expect("bytes") },
        "written" => Input::SnapshotWritten,
        "held" => Input::WritesHeld,
        "prevented" => Input::PausePrevented(true),
        "allowed" => Input::PausePrevented(false),
        "settled" => Input::Settled(settlement(rest)),
        "flushed" => Input::Stopped(Failure::DataFlushed),
        "stopped" => Input::Stopped(Failure::ToldByPrimary(rest.into())),
        "cancelled" => Input::Cancelled,
        "ticked" => Input::Ticked,
        _ => return None,
    })
}

impl End for ExportEnd {
    fn begin(said: &mut Vec<String>) -> Self {
        Self::new(None, said)
    }

    fn feed(&mut self, now: Now, bytes: &[u8], said: &mut Vec<String>) {
        self.input(now, Input::Filled { bytes }, said);
    }

    fn tell(&mut self, now: Now, word: &str, rest: &str, said: &mut Vec<String>) -> bool {
        let user = match (word, rest) {
            ("begin-auth", "") => None,
            ("begin-auth", user) => Some(user.as_bytes().into()),
            ("offer-lanes", shards) => {
                let shards = Shards::new(shards.parse().expect("a number"));
                self.0.offer(Lanes::of(&job().ranges, shards));
                return true;
            }
            ("no-limit", _) => {
                self.0.set_timing(Timing { max_failover_repl_bytes: None, ..Timing::default() });
                return true;
            }
            ("limit", bytes) => {
                let bytes = bytes.parse().expect("bytes");
                self.0.set_timing(Timing { max_failover_repl_bytes: Some(bytes), ..Timing::default() });
                return true;
            }
            _ => {
                let Some(input) = input(word, rest) else { return false };
                self.input(now, input, said);
                return true;
            }
        };
        let password = b"pw"[..].into();
        *self = Self::new(Some(Credentials { user, password }), said);
        true
    }

    fn accepts(&self, word: &str, rest: &str) -> bool {
        let input = if word == "<" { Some(Input::Filled { bytes: &[] }) } else { input(word, rest) };
        self.0.state().is_finished() || input.is_none_or(|input| self.0.can_happen(&input))
    }

    fn deadline(&self) -> Option<Mono> {
        self.0.poll_timeout()
    }

    fn tick(&mut self, now: Now, said: &mut Vec<String>) {
        self.input(now, Input::Ticked, said);
    }
}

fn describe(action: &Action, said: &mut Vec<String>) {
    said.push(match action {
        Action::Connect => "connect".into(),
        Action::Send(bytes) => return sent(bytes, said),
        Action::ForkSnapshot => "fork-snapshot".into(),
        Action::Pause { until } => format!("pause until {}", time(*until)),
        Action::ExtendPause { until } => format!("extend-pause until {}", time(*until)),
        Action::Resume => "resume".into(),
        Action::Granted => "granted".into(),
        Action::DropSlots => "drop-slots".into(),
        Action::Close => "close".into(),
        Action::Entered(state) => format!("enter {state}"),
        Action::Ended { outcome: how } => outcome(how),
    });
}
