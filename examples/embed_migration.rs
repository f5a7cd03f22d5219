//! Two stores that have nothing to do with Valkey, and a slot that moves from one to the other while a client writes.
//!
//! This is what a database of your own needs to take part in atomic slot migrations, as source and as target, with
//! another one of its kind or with Valkey 9.1: `Export` and `Import` say what is to be done, the database does it. No
//! socket, no thread and no clock here: the link is two byte queues, and a turn of the loop is a millisecond.
//!
//! `cargo run --example embed_migration`

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use whimbrel_core::ids::{JobName, NodeId};
use whimbrel_core::migration::export::{self, Export};
use whimbrel_core::migration::import::{self, Import, Read};
use whimbrel_core::migration::job::{Job, Outcome, Settlement, Timing};
use whimbrel_core::migration::request::{Ground, check_establish};
use whimbrel_core::rng::Rng;
use whimbrel_core::slots::{Slot, SlotRange, SlotRanges};
use whimbrel_core::time::{Mono, Now, Wall};
use whimbrel_core::wire::resp::{Limits, Reader};
use whimbrel_core::wire::syncslots::command;

type Store = BTreeMap<Vec<u8>, Vec<u8>>;

const SOURCE: NodeId = NodeId::from_bytes([b'a'; 40]);
const TARGET: NodeId = NodeId::from_bytes([b'b'; 40]);
/// The hash tag of keys in slot 0, which moves.
const MOVES: &str = "{06S}";
/// The hash tag of keys in slot 1, which stays.
const STAYS: &str = "{Qi}";
/// Bytes that the link carries to the target in a millisecond.
const BANDWIDTH: usize = 600;
/// Keys of the snapshot that are encoded in one turn.
const SLICE: usize = 5;

/// The clocks at a turn of the loop.
fn clock(turn: u64) -> Now {
    Now { mono: Mono(turn * 1000), wall: Wall(1_700_000_000_000_000 + turn * 1000) }
}

/// The database that gives a slot away.
struct Source {
    store: Store,
    owns_slot: bool,
    export: Export,
    to_do: Vec<export::Action>,
    /// Unsent bytes: snapshot, stream and messages in one order.
    outbox: VecDeque<u8>,
    /// The last key that the snapshot has passed, while it is being written.
    snapshot: Option<Option<Vec<u8>>>,
    /// Writes of the client that wait, while they are held.
    held: Option<Vec<(Vec<u8>, Vec<u8>)>>,
    linked: bool,
    outcome: Option<Outcome>,
}

impl Source {
    fn tell(&mut self, now: Now, input: export::Input<'_>) {
        self.export.handle(now, input, &mut self.to_do);
    }

    /// A write of the client; false if it has to wait.
    fn write(&mut self, key: &[u8], value: &[u8]) -> bool {
        let moving = self.export.job().ranges.contains(Slot::of(key));
        if let Some(held) = self.held.as_mut().filter(|_| moving) {
            held.push((key.to_vec(), value.to_vec()));
            return false;
        }
        self.store.insert(key.to_vec(), value.to_vec());
        // The snapshot will meet what it has not passed; what it has passed must follow it in the stream.
        let passed = self.snapshot.as_ref().is_none_or(|last| last.as_deref() >= Some(key));
        if moving && passed && self.export.is_streaming() {
            self.stream(key, value);
        }
        true
    }

    fn stream(&mut self, key: &[u8], value: &[u8]) {
        self.outbox.extend(self.export.select(0).unwrap_or_default());
        self.outbox.extend(command(&[b"SET", key, value]));
    }

    /// Encodes a few more keys of the snapshot.
    fn go_on_with_snapshot(&mut self, now: Now) {
        let Some(last) = self.snapshot.take() else { return };
        let ranges = self.export.job().ranges.clone();
        let ahead = self.store.iter().filter(|(key, _)| ranges.contains(Slot::of(key)));
        let ahead = ahead.filter(|(key, _)| last.as_ref().is_none_or(|last| *key > last));
        let slice: Vec<_> = ahead.take(SLICE).map(|(key, value)| (key.clone(), value.clone())).collect();
        match slice.last() {
            None => self.tell(now, export::Input::SnapshotWritten),
            Some((key, _)) => {
                self.snapshot = Some(Some(key.clone()));
                slice.iter().for_each(|(key, value)| self.stream(key, value));
            }
        }
    }

    /// Does what the export wants done; the writes that need no longer be held come back.
    fn obey(&mut self, now: Now, log: &mut Log) -> Vec<(Vec<u8>, Vec<u8>)> {
        use export::{Action, Input};
        let mut released = Vec::new();
        loop {
            for action in std::mem::take(&mut self.to_do) {
                match action {
                    Action::Connect => self.tell(now, Input::Connected),
                    Action::Send(bytes) => self.outbox.extend(bytes),
                    Action::ForkSnapshot => self.snapshot = Some(None),
                    Action::Pause { .. } => {
                        // Nothing runs between this line and the next, so every earlier write is in the outbox.
                        self.held = Some(Vec::new());
                        self.tell(now, Input::WritesHeld);
                    }
                    Action::Resume => released = self.held.take().unwrap_or_default(),
                    Action::DropSlots => {
                        let ranges = self.export.job().ranges.clone();
                        self.store.retain(|key, _| !ranges.contains(Slot::of(key)));
                    }
                    Action::Close => self.linked = false,
                    Action::Entered(state) => log.line(now, "source", &state.to_string()),
                    Action::Ended { outcome } => self.outcome = Some(outcome),
                    // This store ends no hold by itself, and believes whoever claims the slot.
                    Action::ExtendPause { .. } | Action::Granted => {}
                }
            }
            if self.linked {
                let bytes = self.outbox.len() as u64;
                self.tell(now, Input::Pending { bytes });
            }
            if self.to_do.is_empty() {
                return released;
            }
        }
    }
}

/// The database that gets the slot.
struct Target {
    store: Store,
    /// Reads what comes before a migration begins.
    session: Reader,
    import: Option<Import>,
    to_do: Vec<import::Action>,
    outbox: VecDeque<u8>,
    owns_slot: bool,
    linked: bool,
    outcome: Option<Outcome>,
}

impl Target {
    fn read(&mut self, now: Now, mut bytes: &[u8]) {
        if self.import.is_none() {
            self.establish(now, &mut bytes);
        }
        let Some(import) = &mut self.import else { return };
        loop {
            match import.read(now, &mut bytes, &mut self.to_do) {
                Read::Apply { db, argv } => {
                    assert_eq!((db, argv.name(), argv.len()), (0, &b"SET"[..], 3));
                    self.store.insert(argv.get(1).to_vec(), argv.get(2).to_vec());
                    import.applied(Ok(()), &mut self.to_do);
                }
                Read::Heard => {}
                Read::Starved => return,
            }
        }
    }

    /// Awaits CLUSTER SYNCSLOTS ESTABLISH and looks whether this node agrees.
    fn establish(&mut self, now: Now, bytes: &mut &[u8]) {
        let argv = self.session.next(&Limits::default(), bytes).expect("a command");
        let Some(argv) = argv else { return };
        let words: Vec<&[u8]> = argv.iter().skip(3).collect();
        let ground = Ground {
            me: TARGET,
            is_primary: true,
            importing_by_hand: false,
            migrating_by_hand: false,
            owner_of: &|_| Some(SOURCE),
            knows: &|id| [SOURCE, TARGET].contains(id),
            is_moving: &|_| false,
        };
        match check_establish(&words, &ground) {
            Err(refused) => self.outbox.extend(format!("-{refused}\r\n").into_bytes()),
            Ok(offer) => {
                let job =
                    Job { name: offer.name, source: offer.source, target: TARGET, ranges: offer.ranges };
                let mut import = Import::new(Arc::new(job), Timing::default(), 1, now, &mut self.to_do);
                import.adopt(std::mem::take(&mut self.session));
                self.import = Some(import);
            }
        }
    }

    fn obey(&mut self, now: Now, log: &mut Log) {
        use import::{Action, Input};
        while !self.to_do.is_empty() {
            for action in std::mem::take(&mut self.to_do) {
                let import = self.import.as_mut().expect("actions come from an import");
                match action {
                    Action::Send(bytes) => self.outbox.extend(bytes),
                    Action::AssignSlots => {
                        // A real node makes this durable before it tells anybody.
                        self.owns_slot = true;
                        import.handle(now, Input::TakenOver, &mut self.to_do);
                    }
                    Action::DropSlots => {
                        let ranges = import.job().ranges.clone();
                        self.store.retain(|key, _| !ranges.contains(Slot::of(key)));
                        import.handle(now, Input::Cleaned, &mut self.to_do);
                    }
                    Action::Close => self.linked = false,
                    Action::Entered(state) => log.line(now, "target", &state.to_string()),
                    Action::Ended { outcome } => self.outcome = Some(outcome),
                    // A claim is never under way here, and nothing was hidden.
                    Action::Withdraw | Action::Unhide => {}
                }
            }
        }
    }
}

/// Prints the dialogue: every message, and how many commands came between.
#[derive(Default)]
struct Log {
    readers: [Reader; 2],
    commands: [usize; 2],
}

impl Log {
    fn line(&self, now: Now, who: &str, what: &str) {
        println!("{:>3} ms  {who:<16} {what}", now.mono.0 / 1000);
    }

    fn bytes(&mut self, now: Now, side: usize, mut bytes: &[u8]) {
        let who = ["source -> target", "target -> source"][side];
        if let Some(answer) = bytes.strip_prefix(b"+OK\r\n") {
            self.line(now, who, "+OK");
            bytes = answer;
        }
        while let Ok(Some(argv)) = self.readers[side].next(&Limits::default(), &mut bytes) {
            if argv.name() != b"CLUSTER" {
                self.commands[side] += 1;
                continue;
            }
            let words: Vec<_> = argv.iter().map(|word| String::from_utf8_lossy(word)).collect();
            let text = words.join(" ");
            let between = std::mem::take(&mut self.commands[side]);
            if between > 0 {
                println!("        {who:<16} ... {between} commands ...");
            }
            println!("{:>3} ms  {who:<16} {text}", now.mono.0 / 1000);
        }
    }
}

/// Which way a write of the client went.
enum Went {
    ToSource,
    /// To the source, which holds it until the slot is handed over, or stays.
    Held,
    ToTarget,
}

/// The two databases and what lies between them.
struct World {
    source: Source,
    target: Target,
    /// The turn in which the target took the slot over.
    taken_over: Option<u64>,
    log: Log,
}

impl World {
    /// A source that has everything, with an export of `ranges` that begins now, and an empty target.
    fn new(store: Store, ranges: SlotRanges, rng: &mut Rng) -> Self {
        let job = Arc::new(Job { name: JobName::random(rng), source: SOURCE, target: TARGET, ranges });
        let mut to_do = Vec::new();
        let source = Source {
            store,
            owns_slot: true,
            export: Export::new(job, None, Timing::default(), clock(0), &mut to_do),
            to_do,
            outbox: VecDeque::new(),
            snapshot: None,
            held: None,
            linked: true,
            outcome: None,
        };
        let target = Target {
            store: Store::new(),
            session: Reader::default(),
            import: None,
            to_do: Vec::new(),
            outbox: VecDeque::new(),
            owns_slot: false,
            linked: true,
            outcome: None,
        };
        Self { source, target, taken_over: None, log: Log::default() }
    }

    /// A write of the client, sent to where the client believes the slot to be.
    fn write(&mut self, key: &[u8], value: &[u8]) -> Went {
        if !self.source.owns_slot && self.source.export.job().ranges.contains(Slot::of(key)) {
            self.target.store.insert(key.to_vec(), value.to_vec());
            return Went::ToTarget;
        }
        if self.source.write(key, value) { Went::ToSource } else { Went::Held }
    }

    /// A millisecond passes.
    fn turn(&mut self, turn: u64) {
        let now = clock(turn);
        self.source.go_on_with_snapshot(now);
        let mut released = self.source.obey(now, &mut self.log);
        self.carry(now);
        // The cluster bus: two milliseconds later the source hears of the new owner.
        if self.target.owns_slot && *self.taken_over.get_or_insert(turn) + 2 == turn {
            self.source.owns_slot = false;
            self.source.tell(now, export::Input::Settled(Settlement::OwnedByTarget));
        }
        self.tick(now);
        released.extend(self.source.obey(now, &mut self.log));
        // What was held goes where the slot is now.
        for (key, value) in released {
            let owner = if self.source.owns_slot { &mut self.source.store } else { &mut self.target.store };
            owner.insert(key, value);
        }
    }

    /// The link, which carries so many bytes to the target and any number back.
    fn carry(&mut self, now: Now) {
        let Self { source, target, log, .. } = self;
        let sent = source.outbox.len().min(if source.linked { BANDWIDTH } else { 0 });
        let bytes: Vec<u8> = source.outbox.drain(..sent).collect();
        log.bytes(now, 0, &bytes);
        if target.linked {
            target.read(now, &bytes);
        }
        target.obey(now, log);
        let bytes: Vec<u8> = target.outbox.drain(..).collect();
        log.bytes(now, 1, &bytes);
        if source.linked && !bytes.is_empty() {
            source.tell(now, export::Input::Filled { bytes: &bytes });
        }
        if source.linked && !target.linked {
            source.linked = false;
            source.tell(now, export::Input::Closed);
        }
    }

    /// Tells both ends the time when they asked for it.
    fn tick(&mut self, now: Now) {
        let Self { source, target, .. } = self;
        if source.export.poll_timeout().is_some_and(|due| due <= now.mono) {
            source.tell(now, export::Input::Ticked);
        }
        if let Some(import) = &mut target.import
            && import.poll_timeout().is_some_and(|due| due <= now.mono)
        {
            import.handle(now, import::Input::Ticked, &mut target.to_do);
        }
    }
}

fn main() {
    let mut rng = Rng::new(7);
    let mut expected = Store::new();
    for n in 0..300 {
        expected.insert(format!("{MOVES}{n}").into_bytes(), b"old".to_vec());
        expected.insert(format!("{STAYS}{n}").into_bytes(), b"old".to_vec());
    }
    let ranges = [SlotRange::one(Slot::of(MOVES.as_bytes()))].into_iter().collect();
    let mut world = World::new(expected.clone(), ranges, &mut rng);

    let (mut writes, mut waited, mut moved) = (0, 0, 0);
    for turn in 0.. {
        // The client writes every millisecond, now to this slot and now to the other.
        let tag = if rng.one_in(2) { MOVES } else { STAYS };
        let key = format!("{tag}{}", rng.below(300)).into_bytes();
        let value = format!("written in turn {turn}").into_bytes();
        writes += 1;
        match world.write(&key, &value) {
            Went::ToSource => {}
            Went::Held => waited += 1,
            Went::ToTarget => moved += 1,
        }
        expected.insert(key, value);
        world.turn(turn);
        if world.source.outcome.is_some() && turn > 250 {
            break;
        }
        assert!(turn < 5000, "the migration does not end");
    }

    let World { source, target, .. } = world;
    assert_eq!(source.outcome, Some(Outcome::Success));
    assert_eq!(target.outcome, Some(Outcome::Success));
    let (moving, staying): (Store, Store) =
        expected.into_iter().partition(|(key, _)| source.export.job().ranges.contains(Slot::of(key)));
    assert!(target.store == moving, "the target has every key of the slot with its last value");
    assert!(source.store == staying, "the source has what stayed, and nothing else");
    let pause = source.export.paused_for().expect("writes were held once");
    println!(
        "\n{writes} writes: {waited} waited, writes to the slot were held for {} ms; {moved} went to the new owner.\n\
         {} keys moved, {} stayed, every one with the last value written.",
        pause.as_ms(),
        target.store.len(),
        source.store.len()
    );
}
