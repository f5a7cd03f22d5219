//! Real migrations between two Valkey 9.1, recorded on the wire, with our machine in the place of either.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use std::fs;

use serde_json::Value;

use super::export::{self, Credentials, Export};
use super::failure::Failure;
use super::import::{self, Import, Read, Rejected};
use super::job::{Job, Outcome, Settlement, Timing};
use super::request::{Ground, check_establish};
use super::script::{Cuts, START};
use crate::ids::NodeId;
use crate::time::Now;
use crate::wire::resp::{ArgvBuf, Limits, Reader};
use crate::wire::syncslots::{self, Control, Establish, Heard, Word};

/// What ended a recorded migration, besides what is on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Turn {
    /// The target took over.
    Success,
    /// The target refused AUTH or ESTABLISH.
    Refused,
    /// The operator cancelled it on the source.
    Cancelled,
    /// The network did.
    Cut,
    /// A FLUSHDB on the source.
    FlushedSource,
    /// A FLUSHDB on the target.
    FlushedTarget,
    /// The target ran out of memory.
    Oom,
    /// The target was kept from taking over until the source gave up.
    Unpaused,
}

const RECORDED: [(&str, Turn); 17] = [
    ("success-empty-ranges", Turn::Success),
    ("success-all-types", Turn::Success),
    ("multidb-select-after-snapshot", Turn::Success),
    ("flushslot-on-source", Turn::Success),
    ("auth-success", Turn::Success),
    ("auth-user-success", Turn::Success),
    ("auth-missing", Turn::Refused),
    ("auth-nopass-target", Turn::Refused),
    ("auth-wrongpass", Turn::Refused),
    ("establish-refused-setslot", Turn::Refused),
    ("cancel-while-snapshotting", Turn::Cancelled),
    ("cancel-while-streaming", Turn::Cancelled),
    ("connection-loss", Turn::Cut),
    ("flushdb-on-source", Turn::FlushedSource),
    ("flushdb-on-target", Turn::FlushedTarget),
    ("oom-on-target", Turn::Oom),
    ("pause-timeout-after-grant", Turn::Unpaused),
];

/// One command of a recording.
struct Command {
    bytes: Vec<u8>,
    words: ArgvBuf,
    heard: Heard,
}

impl Command {
    fn is(&self, control: Control) -> bool {
        self.heard == Heard::Sync(Word::Control(control))
    }
}

struct Recording {
    name: &'static str,
    turn: Turn,
    /// Everything the source sent.
    source: Vec<Command>,
    /// The answers of the target, then its messages.
    target: Vec<Vec<u8>>,
    /// The rows of both nodes at the end, where they were recorded.
    rows: Value,
}

fn recordings() -> impl Iterator<Item = Recording> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/syncslots/");
    RECORDED.into_iter().map(move |(name, turn)| {
        let read = |kind: &str| fs::read(format!("{folder}{name}.{kind}")).expect("a recording");
        let answers = read("t2s.bin");
        let lines = answers.split_inclusive(|&b| b == b'\n').take_while(|line| line[0] != b'*');
        let mut target: Vec<Vec<u8>> = lines.map(<[u8]>::to_vec).collect();
        let messages = &answers[target.iter().map(Vec::len).sum::<usize>()..];
        target.extend(commands(messages).into_iter().map(|command| command.bytes));
        let meta: Value = serde_json::from_slice(&read("json")).expect("the notes of a recording");
        let rows = meta["extra"]["final"].clone();
        Recording { name, turn, source: commands(&read("s2t.bin")), target, rows }
    })
}

fn commands(mut bytes: &[u8]) -> Vec<Command> {
    let (mut reader, mut list) = (Reader::default(), Vec::new());
    loop {
        let before = bytes;
        let Some(argv) = reader.next(&Limits::UNLIMITED, &mut bytes).expect("recorded commands") else {
            break;
        };
        list.push(Command {
            words: argv.into(),
            heard: syncslots::heard(argv.name(), argv.opt(1), argv.opt(2)),
            bytes: before[..before.len() - bytes.len()].to_vec(),
        });
    }
    assert_eq!(reader.pending(), 0);
    list
}

impl Recording {
    fn establish(&self) -> Option<(Vec<Vec<u8>>, Establish)> {
        let command = self.source.iter().find(|c| c.heard == Heard::Sync(Word::Establish))?;
        let words: Vec<Vec<u8>> = command.words.argv().iter().skip(3).map(<[u8]>::to_vec).collect();
        let lent: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let establish = Establish::parse(&lent).expect("what Valkey sends");
        Some((words, establish))
    }

    fn job(&self) -> Arc<Job> {
        let Some((_, Establish { source, name, ranges })) = self.establish() else {
            return super::script::job();
        };
        let source = source.expect("Valkey names itself");
        Arc::new(Job { name, source, target: NodeId::from_bytes([b't'; 40]), ranges })
    }

    /// What the source sent without its signs of life; the first one is a step of the dialogue and stays.
    fn without_acks(&self) -> Vec<u8> {
        let first = self.source.iter().position(|c| c.is(Control::Ack));
        let keep = |(i, c): &(usize, &Command)| !c.is(Control::Ack) || Some(*i) == first;
        self.source.iter().enumerate().filter(keep).flat_map(|(_, c)| c.bytes.clone()).collect()
    }

    /// The bytes of keys before and behind the end of the snapshot.
    fn data(&self) -> (Vec<u8>, Vec<u8>) {
        let end = self.source.iter().position(|c| c.is(Control::SnapshotEof)).unwrap_or(self.source.len());
        let bytes = |list: &[Command]| -> Vec<u8> {
            let data = list.iter().filter(|c| c.heard == Heard::Other && c.words.argv().name() != b"AUTH");
            data.flat_map(|c| c.bytes.clone()).collect()
        };
        (bytes(&self.source[..end]), bytes(&self.source[end..]))
    }

    /// What a node's row said at the end: state and message.
    fn row(&self, node: &str) -> (String, String) {
        let row = &self.rows[node];
        let text = |key: &str| row[key].as_str().map(ToString::to_string);
        match (text("state"), text("message")) {
            (Some(state), Some(message)) => (state, message),
            _ => ("success".into(), String::new()),
        }
    }
}

fn told(outcome: Option<&Outcome>) -> (String, String) {
    match outcome.expect("the job ended") {
        Outcome::Success => ("success".into(), String::new()),
        Outcome::Cancelled => ("cancelled".into(), String::new()),
        Outcome::Failed(failure) => ("failed".into(), failure.to_string()),
    }
}

/// Our source, speaking to a recorded target.
struct Source {
    export: Export,
    wire: Vec<u8>,
    snapshot: Vec<u8>,
    live: Vec<u8>,
    ended: Option<Outcome>,
    dropped: bool,
    closed: bool,
}

impl Source {
    /// Carries out what the export wants, and what that leads to.
    fn carry_out(&mut self, actions: Vec<export::Action>) {
        use export::{Action, Input};
        for action in actions {
            match action {
                Action::Connect => self.tell(START, Input::Connected),
                Action::Send(bytes) => {
                    self.wire.extend_from_slice(&bytes);
                    if bytes == Control::SnapshotEof.bytes() {
                        self.wire.append(&mut self.live);
                    }
                }
                Action::ForkSnapshot if !self.snapshot.is_empty() || self.export.job().ranges.0.len() > 1 => {
                    self.wire.append(&mut self.snapshot);
                    self.tell(START, Input::SnapshotWritten);
                }
                // A recording that ends during the snapshot has none of it.
                Action::ForkSnapshot => {}
                Action::Pause { .. } => self.tell(START, Input::WritesHeld),
                Action::DropSlots => self.dropped = true,
                Action::Close => self.closed = true,
                Action::Ended { outcome } => self.ended = Some(outcome),
                Action::ExtendPause { .. } | Action::Resume | Action::Granted | Action::Entered(_) => {}
            }
        }
    }

    fn tell(&mut self, now: Now, input: export::Input<'_>) {
        let mut actions = Vec::new();
        self.export.handle(now, input, &mut actions);
        self.carry_out(actions);
    }

    /// Everything is written to the socket whenever it can be.
    fn flush(&mut self) {
        if !self.export.state().is_finished() {
            self.tell(START, export::Input::Pending { bytes: 0 });
        }
    }
}

fn play_source(recording: &Recording, mut cuts: Cuts) {
    use export::Input;
    let name = recording.name;
    let credentials = recording.source.iter().find(|c| c.words.argv().name() == b"AUTH").map(|auth| {
        let words: Vec<&[u8]> = auth.words.argv().iter().skip(1).collect();
        let (password, user) = words.split_last().expect("a password");
        Credentials { user: user.first().map(|&user| user.into()), password: (*password).into() }
    });
    let mut actions = Vec::new();
    let export = Export::new(recording.job(), credentials, Timing::default(), START, &mut actions);
    let (snapshot, live) = recording.data();
    let mut source =
        Source { export, wire: Vec::new(), snapshot, live, ended: None, dropped: false, closed: false };
    if matches!(
        recording.turn,
        Turn::Cancelled | Turn::Cut | Turn::FlushedSource | Turn::FlushedTarget | Turn::Oom
    ) {
        source.tell(START, Input::PausePrevented(true));
    }
    source.carry_out(actions);
    for bytes in &recording.target {
        source.flush();
        let mut bytes = &bytes[..];
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(cuts.next(bytes.len()));
            source.tell(START, Input::Filled { bytes: now });
            bytes = later;
        }
        source.flush();
    }
    match recording.turn {
        Turn::Success => {
            source.tell(START, Input::Closed);
            source.tell(START, Input::Settled(Settlement::OwnedByTarget));
        }
        Turn::Refused => {}
        Turn::Cancelled => source.tell(START, Input::Cancelled),
        Turn::Cut | Turn::FlushedTarget | Turn::Oom => source.tell(START, Input::Closed),
        Turn::FlushedSource => source.tell(START, Input::Stopped(Failure::DataFlushed)),
        Turn::Unpaused => {
            let later = Now { mono: START.mono + Timing::default().pause_limit, ..START };
            source.tell(later, Input::Ticked);
        }
    }
    assert_eq!(told(source.ended.as_ref()), recording.row("A"), "{name}");
    assert_eq!(source.dropped, recording.turn == Turn::Success, "{name}");
    let closes =
        matches!(recording.turn, Turn::Refused | Turn::Cancelled | Turn::FlushedSource | Turn::Unpaused);
    assert_eq!(source.closed, closes, "{name}");
    assert!(source.wire == recording.without_acks(), "{name}: {}", source.wire.escape_ascii());
}

#[test]
fn our_source_sends_what_a_real_one_sent() {
    for recording in recordings() {
        Cuts::all().for_each(|cuts| play_source(&recording, cuts));
    }
}

/// Our target, listening to a recorded source.
struct Target {
    import: Import,
    wire: Vec<u8>,
    applied: Vec<(u32, ArgvBuf)>,
    ended: Option<Outcome>,
    takes_over: bool,
}

impl Target {
    fn carry_out(&mut self, actions: Vec<import::Action>) {
        use import::{Action, Input};
        for action in actions {
            match action {
                Action::Send(bytes) => self.wire.extend_from_slice(&bytes),
                Action::AssignSlots if self.takes_over => self.tell(Input::TakenOver),
                Action::Withdraw => self.tell(Input::Withdrawn),
                Action::DropSlots => self.tell(Input::Cleaned),
                Action::Ended { outcome } => self.ended = Some(outcome),
                Action::AssignSlots | Action::Unhide | Action::Close | Action::Entered(_) => {}
            }
        }
    }

    fn tell(&mut self, input: import::Input) {
        let mut actions = Vec::new();
        self.import.handle(START, input, &mut actions);
        self.carry_out(actions);
    }

    fn feed(&mut self, mut bytes: &[u8], out_of_memory: bool) {
        loop {
            let mut actions = Vec::new();
            match self.import.read(START, &mut bytes, &mut actions) {
                Read::Apply { db, argv } => {
                    let too_big = out_of_memory && argv.len() > 1 && argv.get(1) == b"{06S}big";
                    self.applied.push((db, argv.into()));
                    let result = if too_big { Err(Rejected::Oom) } else { Ok(()) };
                    self.import.applied(result, &mut actions);
                }
                Read::Heard => {}
                Read::Starved => return self.carry_out(actions),
            }
            self.carry_out(actions);
        }
    }
}

fn play_target(recording: &Recording, mut cuts: Cuts) {
    use import::Input;
    let name = recording.name;
    let established = recording.source.iter().position(|c| c.heard == Heard::Sync(Word::Establish));
    let established = established.expect("an ESTABLISH that was agreed to");
    let mut actions = Vec::new();
    let import = Import::new(recording.job(), Timing::default(), 16, START, &mut actions);
    let takes_over = recording.turn != Turn::Unpaused;
    let mut target = Target { import, wire: Vec::new(), applied: Vec::new(), ended: None, takes_over };
    target.carry_out(actions);
    let stream: Vec<u8> = recording.source[established + 1..].iter().flat_map(|c| c.bytes.clone()).collect();
    let mut bytes = &stream[..];
    while !bytes.is_empty() {
        let (now, later) = bytes.split_at(cuts.next(bytes.len()));
        target.feed(now, recording.turn == Turn::Oom);
        bytes = later;
    }
    match recording.turn {
        Turn::Success | Turn::Oom | Turn::Refused => {}
        Turn::FlushedTarget => target.tell(Input::Stopped(Failure::DataFlushed)),
        Turn::Cancelled | Turn::Cut | Turn::FlushedSource | Turn::Unpaused => target.tell(Input::Closed),
    }
    assert_eq!(told(target.ended.as_ref()), recording.row("B"), "{name}");
    // The answer to AUTH is the session's.
    let skipped = usize::from(recording.source[0].words.argv().name() == b"AUTH");
    let acks = Control::Ack.bytes();
    let expected: Vec<u8> =
        recording.target[skipped..].iter().filter(|m| **m != acks).flatten().copied().collect();
    assert!(target.wire == expected, "{name}: {}", target.wire.escape_ascii());

    let (snapshot, live) = recording.data();
    let mut expected = Vec::new();
    for part in [snapshot, live] {
        // The stream behind the snapshot begins in database 0 again.
        let mut db = 0;
        for command in commands(&part) {
            let argv = command.words.argv();
            if argv.name() == b"SELECT" {
                db = core::str::from_utf8(argv.get(1)).expect("text").parse().expect("a database");
            } else {
                expected.push((db, command.words));
            }
        }
    }
    assert!(target.applied == expected, "{name}: {:?}", target.applied);
}

#[test]
fn our_target_sends_and_applies_what_a_real_one_did() {
    for recording in recordings().filter(|recording| recording.turn != Turn::Refused) {
        Cuts::all().for_each(|cuts| play_target(&recording, cuts));
    }
}

#[test]
fn the_live_write_of_a_source_that_forgot_its_database_goes_to_database_0() {
    let recording = recordings().find(|r| r.name == "multidb-select-after-snapshot").expect("the recording");
    let live = recording.data().1;
    assert!(!commands(&live).iter().any(|c| c.words.argv().name() == b"SELECT"));
    let mut actions = Vec::new();
    let import = Import::new(recording.job(), Timing::default(), 16, START, &mut actions);
    let mut target = Target { import, wire: Vec::new(), applied: Vec::new(), ended: None, takes_over: true };
    recording.source.iter().skip(1).for_each(|command| target.feed(&command.bytes, false));
    let dbs: Vec<u32> = target.applied.iter().map(|(db, _)| *db).collect();
    assert_eq!(dbs, [0, 3, 3, 0]);
}

#[test]
fn a_refused_establish_gets_the_recorded_answer() {
    let recording = recordings().find(|r| r.name == "establish-refused-setslot").expect("the recording");
    let (words, establish) = recording.establish().expect("an ESTABLISH");
    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    let source = establish.source.expect("a source");
    let mut ground = Ground {
        me: NodeId::from_bytes([b't'; 40]),
        is_primary: true,
        importing_by_hand: true,
        migrating_by_hand: false,
        owner_of: &|_| Some(source),
        knows: &|id| *id == source,
        is_moving: &|_| false,
    };
    let refused = check_establish(&words, &ground).expect_err("a slot is open");
    assert_eq!(vec![format!("-{refused}\r\n").into_bytes()], recording.target);
    ground.importing_by_hand = false;
    let offer = check_establish(&words, &ground).expect("nothing else is wrong");
    assert_eq!((offer.source, offer.name, offer.ranges), (source, establish.name, establish.ranges));
}
