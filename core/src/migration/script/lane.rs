//! Both ends of a lane in scripts.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{End, START, command, failed, job, sent};
use crate::ids::ShardIndex;
use crate::migration::export::Credentials;
use crate::migration::import::{Read, Rejected};
use crate::migration::job::Timing;
use crate::migration::lane::{Receiver, Sender, receiver, sender};
use crate::time::{Mono, Now};
use crate::wire::resp::Reader;

/// The source's end of the lane of shard 1 for [`job`], with the default limits. `begin-auth` gives it a password.
pub(in crate::migration) struct SenderEnd(pub(in crate::migration) Sender);

impl SenderEnd {
    fn new(credentials: Option<Credentials>, now: Now, said: &mut Vec<String>) -> Self {
        let mut out = Vec::new();
        let sender = Sender::new(job().name, ShardIndex(1), credentials, Timing::default(), now, &mut out);
        out.iter().for_each(|action| say_sent(action, said));
        Self(sender)
    }

    fn input(&mut self, now: Now, input: sender::Input<'_>, said: &mut Vec<String>) {
        let mut out = Vec::new();
        self.0.handle(now, input, &mut out);
        out.iter().for_each(|action| say_sent(action, said));
    }
}

fn sender_input<'a>(word: &str, rest: &'a str) -> Option<sender::Input<'a>> {
    Some(match word {
        "connected" => sender::Input::Connected,
        "connect-failed" => sender::Input::ConnectFailed { reason: rest },
        "closed" => sender::Input::Closed,
        "pending" => sender::Input::Pending { bytes: rest.parse().expect("bytes") },
        "ticked" => sender::Input::Ticked,
        _ => return None,
    })
}

impl End for SenderEnd {
    fn begin(said: &mut Vec<String>) -> Self {
        Self::new(None, START, said)
    }

    fn feed(&mut self, now: Now, bytes: &[u8], said: &mut Vec<String>) {
        self.input(now, sender::Input::Filled { bytes }, said);
    }

    fn tell(&mut self, now: Now, word: &str, rest: &str, said: &mut Vec<String>) -> bool {
        if word == "begin-auth" {
            let user = (!rest.is_empty()).then(|| rest.as_bytes().into());
            *self = Self::new(Some(Credentials { user, password: b"pw"[..].into() }), now, said);
            return true;
        }
        let Some(input) = sender_input(word, rest) else { return false };
        self.input(now, input, said);
        true
    }

    fn accepts(&self, word: &str, _: &str) -> bool {
        let connecting = self.0.state() == sender::State::Connecting;
        match word {
            _ if self.0.state() == sender::State::Lost => true,
            "connected" | "connect-failed" => connecting,
            "<" | "closed" => !connecting,
            _ => true,
        }
    }

    fn deadline(&self) -> Option<Mono> {
        self.0.poll_timeout()
    }

    fn tick(&mut self, now: Now, said: &mut Vec<String>) {
        self.input(now, sender::Input::Ticked, said);
    }
}

fn say_sent(action: &sender::Action, said: &mut Vec<String>) {
    use sender::Action;
    said.push(match action {
        Action::Connect => "connect".into(),
        Action::Greet(bytes) | Action::Send(bytes) => return sent(bytes, said),
        Action::Open => "open".into(),
        Action::Close => "close".into(),
        Action::Entered(state) => format!("enter {state}"),
        Action::Failed(failure) => failed(failure),
    });
}

/// The target's end of a lane, with the default limits and 16 databases. Commands are applied at once and succeed, unless
/// `reject-next` or `apply-late` said otherwise.
pub(in crate::migration) struct ReceiverEnd {
    pub(in crate::migration) receiver: Receiver,
    next: Result<(), Rejected>,
    late: bool,
}

impl ReceiverEnd {
    fn step(&mut self, said: &mut Vec<String>, f: impl FnOnce(&mut Receiver, &mut Vec<receiver::Action>)) {
        let mut out = Vec::new();
        f(&mut self.receiver, &mut out);
        out.iter().for_each(|action| say_received(action, said));
    }
}

fn receiver_input(word: &str) -> Option<receiver::Input> {
    Some(match word {
        "closed" => receiver::Input::Closed,
        "over" => receiver::Input::Over,
        "ticked" => receiver::Input::Ticked,
        _ => return None,
    })
}

impl End for ReceiverEnd {
    fn begin(said: &mut Vec<String>) -> Self {
        let mut out = Vec::new();
        let receiver = Receiver::new(Reader::default(), Timing::default(), 16, START, &mut out);
        out.iter().for_each(|action| say_received(action, said));
        Self { receiver, next: Ok(()), late: false }
    }

    fn feed(&mut self, now: Now, mut bytes: &[u8], said: &mut Vec<String>) {
        loop {
            let mut out = Vec::new();
            let mut apply = None;
            let read = self.receiver.read(now, &mut bytes, &mut out);
            let starved = matches!(read, Read::Starved);
            if let Read::Apply { db, argv } = read {
                apply = Some(format!("apply {db} {}", command(argv.iter())));
            }
            out.iter().for_each(|action| say_received(action, said));
            if let Some(apply) = apply {
                said.push(apply);
                if !self.late {
                    let result = core::mem::replace(&mut self.next, Ok(()));
                    self.step(said, |receiver, out| receiver.applied(result, out));
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
            "reject-next" if rest == "oom" => self.next = Err(Rejected::Oom),
            "reject-next" => self.next = Err(Rejected::Error),
            "apply-late" => self.late = true,
            "applied" => self.step(said, |receiver, out| receiver.applied(Ok(()), out)),
            _ => {
                let Some(input) = receiver_input(word) else { return false };
                self.step(said, |receiver, out| receiver.handle(now, input, out));
            }
        }
        true
    }

    fn accepts(&self, _: &str, _: &str) -> bool {
        true
    }

    fn deadline(&self) -> Option<Mono> {
        self.receiver.poll_timeout()
    }

    fn tick(&mut self, now: Now, said: &mut Vec<String>) {
        self.step(said, |receiver, out| receiver.handle(now, receiver::Input::Ticked, out));
    }
}

fn say_received(action: &receiver::Action, said: &mut Vec<String>) {
    use receiver::Action;
    said.push(match action {
        Action::Send(bytes) => return sent(bytes, said),
        Action::Arrived => "arrived".into(),
        Action::Paused => "paused".into(),
        Action::Close => "close".into(),
        Action::Entered(state) => format!("enter {state}"),
        Action::Failed(failure) => failed(failure),
    });
}
