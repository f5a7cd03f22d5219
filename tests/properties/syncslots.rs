//! The two ends of a slot migration: any bytes on either link, and the two of them together with anything that may
//! happen to them in any order.

use std::fmt::{Debug, Display};
use std::sync::Arc;

use whimbrel_core::ids::{JobName, NodeId};
use whimbrel_core::migration::edges::Edges;
use whimbrel_core::migration::export::{self, Credentials, Export};
use whimbrel_core::migration::failure::Failure;
use whimbrel_core::migration::import::{self, Import, Read, Rejected};
use whimbrel_core::migration::job::{Job, Outcome, Settlement, Timing};
use whimbrel_core::slots::SlotRange;
use whimbrel_core::time::{Mono, Now, Span, Wall};
use whimbrel_core::wire::resp::{Limits, Reader};
use whimbrel_core::wire::syncslots::{self, Establish, Finish, Heard, Lane, Word};

use super::Cuts;

pub(super) const START: Now = Now { mono: Mono(1_000_000_000), wall: Wall(5_000_000_000) };

/// The first byte chooses: bytes for the source's end, bytes for the target's, or what happens to both.
pub(crate) fn holds(input: &[u8]) {
    let Some((&choice, rest)) = input.split_first() else { return };
    words(rest);
    match choice & 3 {
        0 => same_in_pieces(rest, |cuts| fed_export(rest, choice & 4 != 0, cuts)),
        1 => same_in_pieces(rest, |cuts| fed_import(rest, choice & 4 != 0, cuts)),
        _ => Story::new(choice).run(rest),
    }
}

pub(super) fn job() -> Arc<Job> {
    Arc::new(Job {
        name: JobName::from_bytes([b'j'; 40]),
        source: NodeId::from_bytes([b'a'; 40]),
        target: NodeId::from_bytes([b'b'; 40]),
        ranges: [(0, 3), (5, 5)].into_iter().filter_map(|(a, b)| SlotRange::new(a, b)).collect(),
    })
}

/// What can be read can be written and read again.
fn words(stream: &[u8]) {
    let (mut reader, mut input) = (Reader::default(), stream);
    while let Ok(Some(argv)) = reader.next(&Limits::UNLIMITED, &mut input) {
        let words: Vec<&[u8]> = argv.after(3).iter().collect();
        match syncslots::heard(argv.name(), argv.opt(1), argv.opt(2)) {
            Heard::Sync(Word::Establish) => {
                if let Ok(Establish { source: Some(source), name, ranges }) = Establish::parse(&words) {
                    let bytes = syncslots::establish(&source, &name, &ranges);
                    let again = Establish { source: Some(source), name, ranges };
                    assert_eq!(parsed(&bytes, |words| Establish::parse(words).ok()), Some(again));
                }
            }
            Heard::Sync(Word::Lane) => {
                if let Ok(lane) = Lane::parse(&words) {
                    assert_eq!(parsed(&lane.bytes(), |words| Lane::parse(words).ok()), Some(lane));
                }
            }
            Heard::Sync(Word::Finish) => {
                if let Ok(finish) = Finish::parse(&words) {
                    let state = |words: &[&[u8]]| {
                        Finish::parse(words).map(|f| (f.success(), f.name, f.message.to_vec())).ok()
                    };
                    let same = Some((finish.success(), finish.name, finish.message.to_vec()));
                    assert_eq!(parsed(&finish.bytes(), state), same);
                }
            }
            _ => {}
        }
    }
}

fn parsed<T>(bytes: &[u8], read: impl Fn(&[&[u8]]) -> Option<T>) -> Option<T> {
    let mut reader = Reader::default();
    let argv = reader.next(&Limits::UNLIMITED, &mut &*bytes).ok()??;
    read(&argv.after(3).iter().collect::<Vec<_>>())
}

pub(super) fn same_in_pieces(stream: &[u8], run: impl Fn(&mut Cuts) -> Vec<String>) {
    let whole = run(&mut Cuts::Whole);
    assert_eq!(whole, run(&mut Cuts::Bytes), "the pieces make a difference");
    assert_eq!(whole, run(&mut Cuts::seeded(stream)), "the pieces make a difference");
}

/// What the source's end does when the target says this.
fn fed_export(stream: &[u8], streaming: bool, cuts: &mut Cuts) -> Vec<String> {
    let credentials = (!streaming).then(|| Credentials { user: None, password: (*b"secret").into() });
    let mut out = Vec::new();
    let mut export = Export::new(job(), credentials, Timing::default(), START, &mut out);
    let mut tell = |input: export::Input<'_>, out: &mut Vec<export::Action>| export.handle(START, input, out);
    tell(export::Input::Connected, &mut out);
    if streaming {
        tell(export::Input::Filled { bytes: b"+OK\r\n" }, &mut out);
        tell(export::Input::Pending { bytes: 0 }, &mut out);
        tell(export::Input::SnapshotWritten, &mut out);
        tell(export::Input::Pending { bytes: 0 }, &mut out);
    }
    for piece in cuts.pieces(stream) {
        tell(export::Input::Filled { bytes: piece }, &mut out);
    }
    trace(&export::EDGES, &out, |a| if let export::Action::Entered(s) = a { Some(*s) } else { None });
    out.iter().map(|action| format!("{action:?}")).collect()
}

/// What the target's end does when the source says this. Commands succeed; every fifth does not, if that is wanted.
fn fed_import(stream: &[u8], rejects: bool, cuts: &mut Cuts) -> Vec<String> {
    let mut out = Vec::new();
    let import = Import::new(job(), Timing::default(), 16, START, &mut out);
    let read =
        |import: &mut Import, piece: &mut &[u8], out: &mut Vec<_>| seen(import.read(START, piece, out));
    fed(import, out, stream, rejects, cuts, read, Import::applied)
}

/// What is to be applied of what was read, in words; nothing at all when all is read.
pub(super) fn seen(read: Read<'_>) -> Option<Option<String>> {
    match read {
        Read::Apply { db, argv } => Some(Some(format!("{db} {argv:?}"))),
        Read::Heard => Some(None),
        Read::Starved => None,
    }
}

/// The same for any machine that reads a stream.
pub(super) fn fed<M, A: Debug>(
    mut machine: M,
    mut out: Vec<A>,
    stream: &[u8],
    rejects: bool,
    cuts: &mut Cuts,
    read: impl Fn(&mut M, &mut &[u8], &mut Vec<A>) -> Option<Option<String>>,
    tell: impl Fn(&mut M, Result<(), Rejected>, &mut Vec<A>),
) -> Vec<String> {
    let (mut said, mut applied) = (Vec::new(), 0);
    for mut piece in cuts.pieces(stream) {
        while let Some(read) = read(&mut machine, &mut piece, &mut out) {
            said.extend(out.drain(..).map(|action| format!("{action:?}")));
            if let Some(read) = read {
                said.push(read);
                applied += 1;
                let result = if rejects && applied % 5 == 0 { Err(Rejected::Error) } else { Ok(()) };
                tell(&mut machine, result, &mut out);
                said.extend(out.drain(..).map(|action| format!("{action:?}")));
            }
        }
        assert!(piece.is_empty(), "bytes were left");
        said.extend(out.drain(..).map(|action| format!("{action:?}")));
    }
    said
}

/// Every state that is entered may follow the one before.
pub(super) fn trace<S: Copy + PartialEq + Display, A>(
    edges: &Edges<S>,
    out: &[A],
    entered: impl Fn(&A) -> Option<S>,
) {
    let states: Vec<S> = out.iter().filter_map(entered).collect();
    states.windows(2).for_each(|pair| edges.check(pair[0], pair[1]));
}

/// One end of a story: what it did, and what that asks its caller to answer.
pub(super) struct Told<S: 'static, A> {
    pub(super) out: Vec<A>,
    state: Option<S>,
    pub(super) ended: bool,
}

impl<S: Copy + PartialEq + Display, A: Debug> Told<S, A> {
    pub(super) fn new() -> Self {
        Self { out: Vec::new(), state: None, ended: false }
    }

    pub(super) fn take(&mut self) -> Vec<A> {
        assert!(!self.ended || self.out.is_empty(), "after the end: {:?}", self.out);
        std::mem::take(&mut self.out)
    }

    pub(super) fn enter(&mut self, edges: &Edges<S>, state: S) {
        if let Some(from) = self.state.replace(state) {
            edges.check(from, state);
        }
    }
}

#[derive(PartialEq, Clone, Copy)]
pub(super) enum Link {
    None,
    Opening,
    Open,
    Gone,
}

/// What somebody else says on a link: whether to the source, and what. `another` is one of the things.
pub(super) fn foreign(script: &mut impl Iterator<Item = u8>, another: &[u8]) -> (bool, Vec<u8>) {
    let (which, n) = (script.next().unwrap_or(0), script.next().unwrap_or(0) % 16);
    let bytes = match which % 9 {
        word @ 0..=5 => syncslots::Control::ALL[usize::from(word)].bytes().to_vec(),
        6 => another.to_vec(),
        7 => syncslots::command(&[b"SET", b"x", b"y"]).to_vec(),
        _ => script.take(n.into()).collect(),
    };
    (which & 128 != 0, bytes)
}

/// The target as a server with sessions: it agrees to everything until the word that `begins` a stream. Then it answers with
/// the reader and the words behind that one; what the stream begins with is left in `input`.
pub(super) fn greet(
    greeting: &mut Option<Reader>,
    input: &mut &[u8],
    begins: Word,
    to_source: &mut Vec<u8>,
) -> Option<(Reader, Vec<Vec<u8>>)> {
    let mut reader = greeting.take()?;
    while let Ok(Some(argv)) = reader.next(&Limits::UNLIMITED, input) {
        if syncslots::heard(argv.name(), argv.opt(1), argv.opt(2)) == Heard::Sync(begins) {
            let words = argv.after(3).iter().map(<[u8]>::to_vec).collect();
            return Some((reader, words));
        }
        to_source.extend_from_slice(b"+OK\r\n");
    }
    *greeting = Some(reader);
    *input = &[];
    None
}

/// Two ends, the bytes between them, and an owner of each that answers what it is asked, late and in any order.
struct Story {
    now: Now,
    export: Export,
    source: Told<export::State, export::Action>,
    link: Link,
    to_target: Vec<u8>,
    to_source: Vec<u8>,
    snapshot: bool,
    /// The hold that was asked for: its end, and whether it is in force.
    hold: Option<(Mono, bool)>,
    granted: bool,
    settled: bool,
    /// Commands that were queued for the target.
    streamed: usize,
    /// What the target reads before it agreed.
    greeting: Option<Reader>,
    import: Option<Import>,
    target: Told<import::State, import::Action>,
    linked: bool,
    claiming: bool,
    withdrawing: bool,
    cleaning: bool,
    received: usize,
    unapplied: usize,
    /// Somebody else wrote on the link: then nothing is promised about keys.
    disturbed: bool,
}

impl Story {
    fn new(choice: u8) -> Self {
        let credentials =
            (choice & 4 != 0).then(|| Credentials { user: None, password: (*b"secret").into() });
        let max_failover_repl_bytes = if choice & 8 != 0 { Some(100) } else { Some(0) };
        let timing = Timing { max_failover_repl_bytes, ..Timing::default() };
        let mut source = Told::new();
        let export = Export::new(job(), credentials, timing, START, &mut source.out);
        let mut story = Self {
            now: START,
            export,
            source,
            link: Link::None,
            to_target: Vec::new(),
            to_source: Vec::new(),
            snapshot: false,
            hold: None,
            granted: false,
            settled: false,
            streamed: 0,
            greeting: Some(Reader::default()),
            import: None,
            target: Told::new(),
            linked: false,
            claiming: false,
            withdrawing: false,
            cleaning: false,
            received: 0,
            unapplied: 0,
            disturbed: false,
        };
        story.source_did();
        story
    }

    /// Each byte is one thing that happens, some with the next byte as how much of it.
    fn run(&mut self, script: &[u8]) {
        let mut script = script.iter().copied();
        while let Some(what) = script.next() {
            self.happen(what % 32, &mut script);
            self.source_did();
            self.target_did();
        }
        // Left alone, both ends come to an end or wait for an answer that the owner owes.
        if !self.export.state().is_finished() && self.link != Link::Opening && !self.snapshot {
            self.pass(200_000_000);
            self.source_did();
            assert!(self.export.state().is_finished(), "an export in {} for ever", self.export.state());
        }
    }

    fn happen(&mut self, what: u8, script: &mut impl Iterator<Item = u8>) {
        match what {
            0..=5 => self.carry_to_target(1 << (what * 3)),
            6..=9 => self.carry_to_source(1 << ((what - 6) * 4)),
            10 if self.link == Link::Opening => {
                self.link = Link::Open;
                self.tell_source(export::Input::Connected);
            }
            11 if self.link == Link::Opening => {
                self.link = Link::Gone;
                self.tell_source(export::Input::ConnectFailed { reason: "Connection refused" });
            }
            12 | 13 if self.snapshot => {
                self.stream();
                if what == 13 {
                    self.snapshot = false;
                    self.tell_source(export::Input::SnapshotWritten);
                }
            }
            14 if self.export.is_streaming() && !self.is_held() => self.stream(),
            15 => {
                if let Some((until, false)) = self.hold {
                    self.hold = Some((until, true));
                    self.tell_source(export::Input::WritesHeld);
                }
            }
            16 => self.pass(1 << script.next().unwrap_or(0).min(26)),
            17 if self.claiming => {
                (self.claiming, self.withdrawing) = (false, false);
                self.tell_target(import::Input::TakenOver);
            }
            18 if self.withdrawing => {
                (self.claiming, self.withdrawing) = (false, false);
                self.tell_target(import::Input::Withdrawn);
            }
            19 if self.cleaning => {
                self.cleaning = false;
                self.tell_target(import::Input::Cleaned);
            }
            20 | 21 if self.unapplied > 0 => self.applied(what == 20),
            22 => self.break_link(),
            23 => self.tell_source(export::Input::PausePrevented(script.next().unwrap_or(0) & 1 != 0)),
            24 => self.bus(script.next().unwrap_or(0)),
            25 => self.tell_source(export::Input::Cancelled),
            26 => self.tell_source(export::Input::Stopped(Failure::DataFlushed)),
            27 => self.tell_target(import::Input::Stopped(Failure::DataFlushed)),
            28 => {
                (self.claiming, self.withdrawing) = (false, false);
                self.tell_target(import::Input::Demoted);
            }
            29 => self.tell_target(import::Input::Promoted(Failure::FailoverOccurred)),
            30 => self.tell_target(import::Input::Finished {
                failure: (script.next().unwrap_or(0) & 1 != 0).then(|| "because".into()),
            }),
            31 => self.disturb(script),
            _ => {}
        }
    }

    fn is_held(&self) -> bool {
        self.hold.is_some_and(|(until, in_force)| in_force && self.now.mono < until)
    }

    fn stream(&mut self) {
        self.streamed += 1;
        let command = syncslots::command(&[b"SET", b"key", self.streamed.to_string().as_bytes()]);
        if let Some(select) = self.export.select(self.streamed as u32 / 4 % 3) {
            self.to_target.extend_from_slice(&select);
        }
        self.to_target.extend_from_slice(&command);
        self.pending();
    }

    fn pending(&mut self) {
        if self.link == Link::Open {
            self.tell_source(export::Input::Pending { bytes: self.to_target.len() as u64 });
        }
    }

    fn pass(&mut self, us: u64) {
        (self.now.mono, self.now.wall.0) = (self.now.mono + Span(us), self.now.wall.0 + us);
        self.tell_source(export::Input::Ticked);
        self.tell_target(import::Input::Ticked);
        let next = [self.export.poll_timeout(), self.import.as_ref().and_then(Import::poll_timeout)];
        for next in next.into_iter().flatten() {
            assert!(next > self.now.mono, "the time that was asked for is not in the future");
        }
    }

    fn bus(&mut self, choice: u8) {
        let settlement = match choice & 3 {
            0 => Settlement::OwnedByTarget,
            1 => Settlement::OwnedBySource,
            _ => Settlement::OwnedByOther,
        };
        if choice & 4 != 0 {
            self.tell_target(import::Input::Settled(settlement));
        } else {
            self.settled |= settlement == Settlement::OwnedByTarget;
            self.tell_source(export::Input::Settled(settlement));
        }
    }

    fn disturb(&mut self, script: &mut impl Iterator<Item = u8>) {
        let (to_source, bytes) = foreign(script, &syncslots::command(&[b"CLUSTER", b"SYNCSLOTS", b"CAPA"]));
        self.disturbed = true;
        if to_source {
            self.to_source.extend_from_slice(&bytes);
        } else {
            self.to_target.extend_from_slice(&bytes);
            self.pending();
        }
    }

    fn break_link(&mut self) {
        if self.link == Link::Open {
            self.link = Link::Gone;
            self.tell_source(export::Input::Closed);
        }
        if std::mem::take(&mut self.linked) {
            self.tell_target(import::Input::Closed);
        }
        self.greeting = None;
        (self.to_target, self.to_source) = (Vec::new(), Vec::new());
    }

    fn carry_to_source(&mut self, n: usize) {
        let bytes: Vec<u8> = self.to_source.drain(..n.min(self.to_source.len())).collect();
        if self.link == Link::Open && !bytes.is_empty() {
            self.tell_source(export::Input::Filled { bytes: &bytes });
        }
    }

    fn carry_to_target(&mut self, n: usize) {
        if self.link != Link::Open {
            return;
        }
        let bytes: Vec<u8> = self.to_target.drain(..n.min(self.to_target.len())).collect();
        self.pending();
        let mut rest = &bytes[..];
        if let Some((reader, _)) = greet(&mut self.greeting, &mut rest, Word::Establish, &mut self.to_source)
        {
            let mut import = Import::new(job(), Timing::default(), 16, self.now, &mut self.target.out);
            import.adopt(reader);
            (self.import, self.linked) = (Some(import), true);
            self.target_did();
        }
        while let Some(import) = &mut self.import {
            match import.read(self.now, &mut rest, &mut self.target.out) {
                Read::Apply { .. } => {
                    self.received += 1;
                    self.unapplied += 1;
                }
                Read::Heard => {}
                Read::Starved => break,
            }
            self.target_did();
        }
        self.target_did();
    }

    fn applied(&mut self, well: bool) {
        self.unapplied -= 1;
        if let Some(import) = &mut self.import {
            import.applied(if well { Ok(()) } else { Err(Rejected::Oom) }, &mut self.target.out);
        }
        self.disturbed |= !well;
    }

    fn tell_source(&mut self, input: export::Input<'_>) {
        self.export.handle(self.now, input, &mut self.source.out);
    }

    fn tell_target(&mut self, input: import::Input) {
        if let Some(import) = &mut self.import {
            import.handle(self.now, input, &mut self.target.out);
        }
    }

    fn source_did(&mut self) {
        loop {
            let did = self.source.take();
            if did.is_empty() {
                return;
            }
            for action in did {
                self.source_wants(action);
            }
        }
    }

    fn source_wants(&mut self, action: export::Action) {
        use export::Action;
        assert!(!self.source.ended, "after the end: {action:?}");
        match action {
            Action::Connect => self.link = Link::Opening,
            Action::Send(bytes) => {
                assert!(self.link == Link::Open, "sent without a link");
                self.to_target.extend_from_slice(&bytes);
                self.pending();
            }
            Action::ForkSnapshot => self.snapshot = true,
            Action::Pause { until } => {
                assert!(self.hold.is_none() && until > self.now.mono);
                self.hold = Some((until, false));
            }
            Action::ExtendPause { until } => {
                let (old, in_force) = self.hold.expect("a hold to extend");
                assert!(in_force && until >= old);
                self.hold = Some((until, true));
            }
            Action::Resume => assert!(self.hold.take().is_some(), "nothing was held"),
            Action::Granted => {
                assert!(self.is_held(), "granted while writes go on");
                self.granted = true;
            }
            Action::DropSlots => assert!(self.settled, "keys are dropped and nobody owns them"),
            Action::Close => {
                self.link = Link::Gone;
                self.to_target.clear();
            }
            Action::Entered(state) => self.source.enter(&export::EDGES, state),
            Action::Ended { outcome } => {
                assert!(self.hold.is_none() && self.link == Link::Gone && self.export.state().is_finished());
                assert_eq!(outcome == Outcome::Success, self.export.state() == export::State::Success);
                (self.source.ended, self.snapshot) = (true, false);
            }
        }
    }

    fn target_did(&mut self) {
        for action in self.target.take() {
            self.target_wants(action);
        }
    }

    fn target_wants(&mut self, action: import::Action) {
        use import::Action;
        assert!(!self.target.ended, "after the end: {action:?}");
        match action {
            Action::Send(bytes) => {
                assert!(self.linked, "sent without a link");
                self.to_source.extend_from_slice(&bytes);
            }
            Action::AssignSlots => {
                assert_eq!(self.unapplied, 0, "claimed before everything is applied");
                if !self.disturbed {
                    assert!(self.granted, "claimed without a grant");
                    assert_eq!(self.received, self.streamed, "claimed before everything is here");
                }
                self.claiming = true;
            }
            Action::Withdraw => {
                assert!(self.claiming, "nothing to withdraw");
                self.withdrawing = true;
            }
            Action::DropSlots => {
                assert!(!self.claiming, "keys are dropped while the slots may be ours");
                self.cleaning = true;
            }
            Action::Unhide => {}
            Action::Close => self.linked = false,
            Action::Entered(state) => self.target.enter(&import::EDGES, state),
            Action::Ended { .. } => {
                assert!(!self.linked, "ended with a link");
                self.target.ended = true;
            }
        }
    }
}
