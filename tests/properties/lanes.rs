//! The two ends of a lane, a further link of a slot migration: any bytes at either, and the two of them together with
//! anything that may happen to them in any order.

use std::collections::VecDeque;

use whimbrel_core::ids::ShardIndex;
use whimbrel_core::migration::export::Credentials;
use whimbrel_core::migration::failure::Failure;
use whimbrel_core::migration::import::{Read, Rejected};
use whimbrel_core::migration::job::Timing;
use whimbrel_core::migration::lane::{Receiver, Sender, receiver, sender};
use whimbrel_core::time::{Now, Span};
use whimbrel_core::wire::resp::Reader;
use whimbrel_core::wire::syncslots::{self, Control, Lane, Word};

use super::Cuts;
use super::syncslots::{Link, START, Told, fed, foreign, greet, job, same_in_pieces, seen, trace};

const SHARD: ShardIndex = ShardIndex(1);

/// The first byte chooses: bytes for the source's end, bytes for the target's, or what happens to both.
pub(crate) fn holds(input: &[u8]) {
    let Some((&choice, rest)) = input.split_first() else { return };
    match choice & 3 {
        0 => same_in_pieces(rest, |cuts| fed_sender(rest, choice & 4 != 0, cuts)),
        1 => same_in_pieces(rest, |cuts| fed_receiver(rest, choice & 4 != 0, cuts)),
        _ => Story::new(choice & 4 != 0).run(rest),
    }
}

fn sender(with_password: bool, out: &mut Vec<sender::Action>) -> Sender {
    let credentials = with_password.then(|| Credentials { user: None, password: (*b"secret").into() });
    Sender::new(job().name, SHARD, credentials, Timing::default(), START, out)
}

/// What the source's end does when the target says this.
fn fed_sender(stream: &[u8], streaming: bool, cuts: &mut Cuts) -> Vec<String> {
    let mut out = Vec::new();
    let mut sender = sender(!streaming, &mut out);
    sender.handle(START, sender::Input::Connected, &mut out);
    if streaming {
        sender.handle(START, sender::Input::Filled { bytes: b"+OK\r\n" }, &mut out);
    }
    for bytes in cuts.pieces(stream) {
        sender.handle(START, sender::Input::Filled { bytes }, &mut out);
    }
    trace(&sender::EDGES, &out, |a| if let sender::Action::Entered(s) = a { Some(*s) } else { None });
    out.iter().map(|action| format!("{action:?}")).collect()
}

/// What the target's end does when the source says this. Commands succeed; every fifth does not, if that is wanted.
fn fed_receiver(stream: &[u8], rejects: bool, cuts: &mut Cuts) -> Vec<String> {
    let mut out = Vec::new();
    let receiver = Receiver::new(Reader::default(), Timing::default(), 16, START, &mut out);
    let read =
        |receiver: &mut Receiver, piece: &mut &[u8], out: &mut Vec<_>| seen(receiver.read(START, piece, out));
    fed(receiver, out, stream, rejects, cuts, read, Receiver::applied)
}

/// Two ends, the bytes between them, and an owner of each that does what it is asked, late and in any order.
struct Story {
    now: Now,
    sender: Sender,
    source: Told<sender::State, sender::Action>,
    link: Link,
    /// What the source has for the stream as long as it may not flow; nothing afterwards.
    waiting: Option<Vec<u8>>,
    to_target: Vec<u8>,
    to_source: Vec<u8>,
    /// The words that ended something: of the snapshot, then of the stream.
    ends: usize,
    selected: Option<u32>,
    /// Databases of commands that were queued for the target and have not come.
    streamed: VecDeque<u32>,
    count: u32,
    /// What the target reads before it knows that this is a lane.
    greeting: Option<Reader>,
    receiver: Option<Receiver>,
    target: Told<receiver::State, receiver::Action>,
    linked: bool,
    unapplied: usize,
    arrived: bool,
    paused: bool,
    /// Something happened that may break a lane: then nothing is promised about keys.
    disturbed: bool,
}

impl Story {
    fn new(with_password: bool) -> Self {
        let mut source = Told::new();
        let mut story = Self {
            now: START,
            sender: sender(with_password, &mut source.out),
            source,
            link: Link::None,
            waiting: Some(Vec::new()),
            to_target: Vec::new(),
            to_source: Vec::new(),
            ends: 0,
            selected: None,
            streamed: VecDeque::new(),
            count: 0,
            greeting: Some(Reader::default()),
            receiver: None,
            target: Told::new(),
            linked: false,
            unapplied: 0,
            arrived: false,
            paused: false,
            disturbed: false,
        };
        story.source_did();
        story
    }

    /// Each byte is one thing that happens, some with the next bytes as how much of it.
    fn run(&mut self, script: &[u8]) {
        let mut script = script.iter().copied();
        while let Some(what) = script.next() {
            self.happen(what % 24, &mut script);
            self.source_did();
            self.target_did();
        }
        // Left alone, an end gives up, or has all that it needs.
        self.pass(200_000_000);
        assert_eq!(self.sender.state(), sender::State::Lost, "a lane for ever");
        let at = self.receiver.as_ref().map(Receiver::state);
        let is_over = at.is_none_or(|at| matches!(at, receiver::State::Paused | receiver::State::Ended));
        assert!(is_over, "a lane in {at:?} for ever");
    }

    fn happen(&mut self, what: u8, script: &mut impl Iterator<Item = u8>) {
        match what {
            0..=5 => self.carry_to_target(1 << (what * 3)),
            6..=9 => self.carry_to_source(1 << ((what - 6) * 4)),
            10 if self.link == Link::Opening => {
                self.link = Link::Open;
                self.tell_source(sender::Input::Connected);
            }
            11 if self.link == Link::Opening => {
                (self.link, self.disturbed) = (Link::Gone, true);
                self.tell_source(sender::Input::ConnectFailed { reason: "Connection refused" });
            }
            12 | 13 if self.ends < 2 => self.stream(),
            14 if self.ends < 2 => {
                self.queue(&[Control::SnapshotEof, Control::Paused][self.ends].bytes());
                (self.ends, self.selected) = (self.ends + 1, None);
            }
            15 => self.pass(1 << script.next().unwrap_or(0).min(26)),
            16..=18 if self.unapplied > 0 => self.applied(what != 18),
            19 => self.break_link(),
            20 => {
                self.disturbed = true;
                self.tell_target(receiver::Input::Over);
            }
            21 => self.disturb(script),
            22 => {
                let repl_timeout = Span(1 << script.next().unwrap_or(0).min(26));
                let timing = Timing { repl_timeout, ..Timing::default() };
                self.sender.set_timing(timing);
                self.receiver.iter_mut().for_each(|receiver| receiver.set_timing(timing));
            }
            _ => {}
        }
    }

    /// Queues a command of the stream, and the database before it where that is another one.
    fn stream(&mut self) {
        let db = self.count / 4 % 3;
        self.count += 1;
        if self.selected.replace(db) != Some(db) {
            self.queue(&syncslots::select(db));
        }
        self.queue(&syncslots::command(&[b"SET", b"key", self.count.to_string().as_bytes()]));
        self.streamed.push_back(db);
    }

    fn queue(&mut self, bytes: &[u8]) {
        self.waiting.as_mut().unwrap_or(&mut self.to_target).extend_from_slice(bytes);
        self.pending();
    }

    fn pending(&mut self) {
        let bytes = self.waiting.as_ref().unwrap_or(&self.to_target).len() as u64;
        self.tell_source(sender::Input::Pending { bytes });
    }

    fn pass(&mut self, us: u64) {
        (self.now.mono, self.now.wall.0) = (self.now.mono + Span(us), self.now.wall.0 + us);
        self.tell_source(sender::Input::Ticked);
        self.tell_target(receiver::Input::Ticked);
        let next = [self.sender.poll_timeout(), self.receiver.as_ref().and_then(Receiver::poll_timeout)];
        for next in next.into_iter().flatten() {
            assert!(next > self.now.mono, "the time that was asked for is not in the future");
        }
        self.source_did();
        self.target_did();
    }

    fn disturb(&mut self, script: &mut impl Iterator<Item = u8>) {
        let (to_source, bytes) = foreign(script, b"-ERR no\r\n");
        self.disturbed = true;
        let way = if to_source { &mut self.to_source } else { &mut self.to_target };
        way.extend_from_slice(&bytes);
    }

    fn break_link(&mut self) {
        self.disturbed = true;
        if self.link == Link::Open {
            self.link = Link::Gone;
            self.tell_source(sender::Input::Closed);
        }
        if std::mem::take(&mut self.linked) {
            self.tell_target(receiver::Input::Closed);
        }
        self.greeting = None;
        (self.to_target, self.to_source) = (Vec::new(), Vec::new());
    }

    fn carry_to_source(&mut self, n: usize) {
        let bytes: Vec<u8> = self.to_source.drain(..n.min(self.to_source.len())).collect();
        if self.link == Link::Open && !bytes.is_empty() {
            self.tell_source(sender::Input::Filled { bytes: &bytes });
        }
    }

    fn carry_to_target(&mut self, n: usize) {
        if self.link != Link::Open {
            return;
        }
        let bytes: Vec<u8> = self.to_target.drain(..n.min(self.to_target.len())).collect();
        self.pending();
        let mut rest = &bytes[..];
        if let Some((reader, words)) = greet(&mut self.greeting, &mut rest, Word::Lane, &mut self.to_source) {
            let lane = Lane::parse(&words.iter().map(Vec::as_slice).collect::<Vec<_>>());
            assert!(self.disturbed || lane == Ok(Lane { name: job().name, shard: SHARD }));
            let out = &mut self.target.out;
            self.receiver = Some(Receiver::new(reader, Timing::default(), 16, self.now, out));
            self.linked = true;
            self.target_did();
        }
        while let Some(receiver) = &mut self.receiver {
            match receiver.read(self.now, &mut rest, &mut self.target.out) {
                Read::Apply { db, .. } => {
                    self.unapplied += 1;
                    let meant = self.streamed.pop_front();
                    assert!(self.disturbed || meant == Some(db), "a write in database {db}, not {meant:?}");
                }
                Read::Heard => {}
                Read::Starved => break,
            }
            self.target_did();
        }
        assert!(rest.is_empty() || self.receiver.is_none(), "bytes were left");
        self.target_did();
    }

    fn applied(&mut self, well: bool) {
        self.unapplied -= 1;
        self.disturbed |= !well;
        if let Some(receiver) = &mut self.receiver {
            receiver.applied(if well { Ok(()) } else { Err(Rejected::Oom) }, &mut self.target.out);
        }
    }

    fn tell_source(&mut self, input: sender::Input<'_>) {
        self.sender.handle(self.now, input, &mut self.source.out);
    }

    fn tell_target(&mut self, input: receiver::Input) {
        if let Some(receiver) = &mut self.receiver {
            receiver.handle(self.now, input, &mut self.target.out);
        }
    }

    /// An end was told of the end of the job or of the link, or of a silence that was too long; never without a cause.
    fn failed(&mut self, failure: &Failure) {
        assert!(self.disturbed || *failure == Failure::TimedOut, "for no reason: {failure}");
        self.disturbed = true;
    }

    fn source_did(&mut self) {
        for action in self.source.take() {
            self.source_wants(action);
        }
        self.source.ended = self.sender.state() == sender::State::Lost;
    }

    fn source_wants(&mut self, action: sender::Action) {
        use sender::Action;
        match action {
            Action::Connect => self.link = Link::Opening,
            Action::Greet(bytes) => {
                assert!(self.link == Link::Open && self.waiting.is_some(), "a greeting in the stream");
                self.to_target.extend_from_slice(&bytes);
            }
            Action::Open => {
                let stream = self.waiting.take().expect("it flows already");
                self.to_target.extend_from_slice(&stream);
            }
            Action::Send(bytes) => {
                assert!(self.link == Link::Open && self.waiting.is_none(), "sent without a stream");
                self.to_target.extend_from_slice(&bytes);
            }
            Action::Close => {
                assert!(matches!(self.link, Link::Opening | Link::Open), "closed twice");
                self.link = Link::Gone;
                self.to_target.clear();
            }
            Action::Entered(state) => self.source.enter(&sender::EDGES, state),
            Action::Failed(failure) => {
                assert!(self.link == Link::Gone, "failed with a link");
                self.failed(&failure);
            }
        }
    }

    fn target_did(&mut self) {
        for action in self.target.take() {
            self.target_wants(action);
        }
        self.target.ended = self.receiver.as_ref().is_some_and(|receiver| !receiver.is_reading());
    }

    fn target_wants(&mut self, action: receiver::Action) {
        use receiver::Action;
        match action {
            Action::Send(bytes) => {
                assert!(self.linked, "sent without a link");
                self.to_source.extend_from_slice(&bytes);
            }
            Action::Arrived => assert!(!std::mem::replace(&mut self.arrived, true), "arrived twice"),
            Action::Paused => {
                assert!(self.arrived && !std::mem::replace(&mut self.paused, true), "paused out of order");
                assert_eq!(self.unapplied, 0, "paused before everything is applied");
                assert!(self.disturbed || (self.ends == 2 && self.streamed.is_empty()), "not all is here");
            }
            Action::Close => assert!(std::mem::take(&mut self.linked), "closed twice"),
            Action::Entered(state) => self.target.enter(&receiver::EDGES, state),
            Action::Failed(failure) => {
                assert!(!self.linked, "failed with a link");
                assert!(!self.paused || failure != Failure::TimedOut, "nothing more is awaited");
                self.failed(&failure);
            }
        }
    }
}
