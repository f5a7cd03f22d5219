//! The source's end of a lane: connects, says which job and shard it is, and lets the stream of that shard flow.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use crate::ids::{JobName, ShardIndex};
use crate::migration::LIMITS;
use crate::migration::edges::Edges;
use crate::migration::export::Credentials;
use crate::migration::export::answer::{ANSWER_LIMIT, Answer, Line};
use crate::migration::failure::Failure;
use crate::migration::job::Timing;
use crate::time::{Mono, Now};
use crate::wire::resp::Reader;
use crate::wire::syncslots::{self, Control, Heard, Lane, Word};

/// What happened to the source's end of a lane. After the end it ignores everything.
#[derive(Debug)]
pub enum Input<'a> {
    /// The link asked for with [`Action::Connect`] is open.
    Connected,
    /// There is no link.
    ConnectFailed {
        /// What the operating system said.
        reason: &'a str,
    },
    /// The target sent bytes.
    Filled {
        /// The bytes, lent.
        bytes: &'a [u8],
    },
    /// The link ended.
    Closed,
    /// How many bytes of the stream the link has not sent.
    Pending {
        /// All of them.
        bytes: u64,
    },
    /// The time of `poll_timeout` has come.
    Ticked,
}

/// What the source's end of a lane wants done, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Open a link to the target's data port.
    Connect,
    /// Send these bytes in front of the stream, of which nothing may be sent yet.
    Greet(Bytes),
    /// From now on the stream flows, from its beginning.
    Open,
    /// Queue these bytes in the stream.
    Send(Bytes),
    /// End the link or the attempt to open it. Nothing about it may be told afterwards.
    Close,
    /// The lane is in this state now.
    Entered(State),
    /// The lane is of no more use, and by that the job, unless it has granted its slots.
    Failed(Failure),
}

/// Where a lane is, at the source.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum State {
    /// The link is being opened.
    Connecting,
    /// The answer to AUTH is awaited.
    ReadingAuthResponse,
    /// The answer to LANE is awaited.
    ReadingLaneResponse,
    /// The stream flows.
    Streaming,
    /// There is no link any more.
    Lost,
}

use State::{Connecting, Lost, ReadingAuthResponse, ReadingLaneResponse, Streaming};

/// Every legal transition.
pub const EDGES: Edges<State> = Edges(&[
    (Connecting, &[ReadingAuthResponse, ReadingLaneResponse, Lost]),
    (ReadingAuthResponse, &[ReadingLaneResponse, Lost]),
    (ReadingLaneResponse, &[Streaming, Lost]),
    (Streaming, &[Lost]),
    (Lost, &[]),
]);

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Connecting => "connecting",
            ReadingAuthResponse => "reading-auth-response",
            ReadingLaneResponse => "reading-lane-response",
            Streaming => "streaming",
            Lost => "lost",
        })
    }
}

/// The source's end of one lane.
#[derive(Debug)]
pub struct Sender {
    lane: Lane,
    credentials: Option<Credentials>,
    timing: Timing,
    state: State,
    line: Line,
    reader: Reader,
    /// When the target's last byte came, or this began.
    heard_at: Mono,
    ack_due: Mono,
    /// Unsent bytes of the stream: what we were told last plus what we had sent since.
    pending: u64,
}

type Verdict = Result<(), Failure>;

impl Sender {
    /// Begins the lane of a job for a shard of the source; the first action is [`Action::Connect`].
    #[must_use]
    pub fn new(
        job: JobName,
        shard: ShardIndex,
        credentials: Option<Credentials>,
        timing: Timing,
        now: Now,
        out: &mut Vec<Action>,
    ) -> Self {
        out.extend([Action::Entered(Connecting), Action::Connect]);
        Self {
            lane: Lane { name: job, shard },
            credentials,
            timing,
            state: Connecting,
            line: Line::default(),
            reader: Reader::default(),
            heard_at: now.mono,
            ack_due: now.mono,
            pending: 0,
        }
    }

    /// Takes in what happened and appends what is to be done.
    pub fn handle(&mut self, now: Now, input: Input<'_>, out: &mut Vec<Action>) {
        if self.state == Lost {
            return;
        }
        let verdict = match input {
            Input::Connected => {
                self.connected(out);
                Ok(())
            }
            Input::ConnectFailed { reason } => {
                return self.lose(Failure::ConnectFailed(reason.into()), false, out);
            }
            Input::Filled { bytes } => self.filled(now, bytes, out),
            Input::Closed => return self.lose(self.lost(), false, out),
            Input::Pending { bytes } => {
                self.pending = bytes;
                Ok(())
            }
            Input::Ticked => self.ticked(now, out),
        };
        if let Err(failure) = verdict {
            self.lose(failure, true, out);
        }
    }

    /// When [`Input::Ticked`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Mono> {
        let silence = (self.state != Lost).then(|| self.silence_ends());
        let ack = (self.state == Streaming).then_some(self.ack_due);
        [silence, ack].into_iter().flatten().min()
    }

    /// Where the lane is.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Other limits from now on (CONFIG SET).
    pub fn set_timing(&mut self, timing: Timing) {
        self.timing = timing;
    }

    fn connected(&mut self, out: &mut Vec<Action>) {
        match self.credentials.take() {
            Some(Credentials { user, password }) => {
                out.push(Action::Greet(syncslots::auth(user.as_deref(), &password)));
                self.enter(ReadingAuthResponse, out);
            }
            None => self.say_lane(out),
        }
    }

    fn say_lane(&mut self, out: &mut Vec<Action>) {
        out.push(Action::Greet(self.lane.bytes()));
        self.enter(ReadingLaneResponse, out);
    }

    fn lost(&self) -> Failure {
        match self.state {
            Connecting => Failure::ConnectFailed("the link ended".into()),
            ReadingAuthResponse => Failure::AuthNotAnswered,
            _ => Failure::ConnectionLostToTarget,
        }
    }

    fn filled(&mut self, now: Now, mut bytes: &[u8], out: &mut Vec<Action>) -> Verdict {
        while !bytes.is_empty() {
            self.heard_at = now.mono;
            match self.state {
                ReadingAuthResponse => match self.answer(&mut bytes) {
                    Answer::Unfinished => {}
                    Answer::Refused(line) => {
                        let line: Box<str> = line.trim_end().into();
                        return Err(Failure::AuthRefused(line));
                    }
                    Answer::TooLong => return Err(Failure::AuthNotAnswered),
                    Answer::Agreed => self.say_lane(out),
                },
                ReadingLaneResponse => match self.answer(&mut bytes) {
                    Answer::Unfinished => {}
                    Answer::Refused(line) => return Err(Failure::HandshakeRefused(line)),
                    Answer::TooLong => return Err(Failure::AnswerTooLong),
                    Answer::Agreed => {
                        self.ack_due = now.mono + self.timing.ack_period;
                        self.enter(Streaming, out);
                        out.push(Action::Open);
                    }
                },
                Streaming => self.next_message(&mut bytes)?,
                Connecting | Lost => return Ok(()),
            }
        }
        Ok(())
    }

    fn answer(&mut self, bytes: &mut &[u8]) -> Answer {
        let answer = self.line.take(bytes, ANSWER_LIMIT);
        if matches!(answer, Answer::Agreed) {
            self.line = Line::default();
        }
        answer
    }

    /// The target says that it lives, and nothing else.
    fn next_message(&mut self, bytes: &mut &[u8]) -> Verdict {
        let Ok(argv) = self.reader.next(&LIMITS, bytes) else { return Err(Failure::CommandFailed) };
        let Some(argv) = argv else { return Ok(()) };
        match syncslots::heard(argv.name(), argv.opt(1), argv.opt(2)) {
            Heard::Sync(Word::Control(Control::Ack) | Word::Capa) => Ok(()),
            Heard::Sync(Word::Control(_)) => Err(Failure::UnexpectedTransition),
            Heard::Sync(Word::Unknown) => Err(Failure::UnknownSubcommand),
            _ => Err(Failure::CommandFailed),
        }
    }

    fn ticked(&mut self, now: Now, out: &mut Vec<Action>) -> Verdict {
        if self.silence_ends() <= now.mono {
            return Err(Failure::TimedOut);
        }
        if self.state == Streaming && self.ack_due <= now.mono {
            self.ack_due = now.mono + self.timing.ack_period;
            // Bytes on their way say the same.
            if self.pending == 0 {
                let ack = Control::Ack.bytes();
                self.pending += ack.len() as u64;
                out.push(Action::Send(ack));
            }
        }
        Ok(())
    }

    fn silence_ends(&self) -> Mono {
        self.heard_at + self.timing.repl_timeout
    }

    fn lose(&mut self, failure: Failure, linked: bool, out: &mut Vec<Action>) {
        self.enter(Lost, out);
        if linked {
            out.push(Action::Close);
        }
        self.reader = Reader::default();
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
