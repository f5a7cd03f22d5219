//! One stream out of the feeds of several shards, in an order that no client can contradict: whoever has the stream up to
//! some byte, and of a client's writes a later one, has the earlier ones, whatever shards they were made on.
//!
//! Every shard counts the records of its feeds; that count is its *position*. A session that goes from shard to shard takes
//! along how far all of them were ([`Seen`]). The shard it comes to marks its feed: what follows comes [`After`] that. The
//! sequencer holds back what is behind a mark until the stream has what the mark names. Nothing here depends on when a batch
//! arrives: rings keep no order among each other.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use smallvec::SmallVec;

use crate::ids::ShardIndex;
use crate::link::Outbox;
use crate::wire::syncslots;

/// How far the feeds of all shards are, as far as it is known somewhere. Nothing while there was no feed.
#[derive(Clone, Default, Debug)]
pub(crate) struct Seen(SmallVec<[u64; 8]>);

/// A point in the feeds of a shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct After {
    shard: ShardIndex,
    position: u64,
}

/// What a shard wrote for a stream and has not passed on.
#[derive(Default, Debug)]
pub(crate) struct Batch {
    outbox: Outbox,
    marks: VecDeque<Mark>,
    /// Bytes that left the front.
    taken: u64,
    /// The database that it ends in; each batch names its first.
    db: Option<u32>,
}

/// A place in a batch.
#[derive(Debug)]
struct Mark {
    /// Bytes of the batch before it.
    at: u64,
    /// The position of the shard there.
    position: u64,
    after: After,
    /// The database there.
    db: Option<u32>,
}

/// Merges the feeds of all shards that have a part in a stream.
#[derive(Debug)]
pub(crate) struct Sequencer {
    queues: Vec<Queue>,
}

/// What came from one shard.
#[derive(Debug)]
struct Queue {
    shard: ShardIndex,
    /// Everything up to this position is in the stream.
    reached: u64,
    /// Batches, and the positions behind them.
    waiting: VecDeque<(Batch, u64)>,
    /// The shard was asked how far it is.
    asked: bool,
}

/// A stretch of a feed whose turn has come.
pub(crate) struct Stretch<'a> {
    /// Whose it is.
    pub(crate) shard: ShardIndex,
    /// The database that its first command expects, unless it says so itself …
    pub(crate) from: Option<u32>,
    /// … and the one it ends in.
    pub(crate) to: Option<u32>,
    outbox: &'a mut Outbox,
    len: usize,
}

impl Seen {
    /// The feeds of `shard` are at `position`.
    pub(crate) fn note(&mut self, shard: ShardIndex, position: u64) {
        let index = usize::from(shard.0);
        if position > 0 && self.0.len() <= index {
            self.0.resize(index + 1, 0);
        }
        if let Some(known) = self.0.get_mut(index) {
            *known = position.max(*known);
        }
    }

    /// Takes over what another knows better, and says what that is.
    pub(crate) fn learn(&mut self, other: &Self, mut f: impl FnMut(After)) {
        for (n, &position) in other.0.iter().enumerate() {
            if self.0.get(n).is_none_or(|known| *known < position) && position > 0 {
                let shard = ShardIndex(n as u16);
                self.note(shard, position);
                f(After { shard, position });
            }
        }
    }
}

impl Batch {
    /// Appends one record of a database.
    pub(crate) fn append(&mut self, db: u32, f: impl FnOnce(&mut Outbox)) {
        if self.db.replace(db) != Some(db) {
            self.outbox.push(syncslots::select(db));
        }
        f(&mut self.outbox);
    }

    /// What is appended from now on, behind `position` of this shard, comes after something else.
    pub(crate) fn mark(&mut self, position: u64, after: After) {
        let mark = Mark { at: self.end(), position, after, db: self.db };
        match self.marks.back_mut() {
            Some(last) if last.at == mark.at && last.after.shard == after.shard => *last = mark,
            _ => self.marks.push_back(mark),
        }
    }

    /// Bytes of it.
    pub(crate) fn len(&self) -> usize {
        self.outbox.len()
    }

    /// Whether there is nothing to pass on. A mark alone is nothing: it is about what follows.
    pub(crate) fn is_empty(&self) -> bool {
        self.outbox.is_empty()
    }

    /// The batch, and an empty one in its place, which keeps the marks that are about what follows.
    pub(crate) fn take(&mut self) -> Self {
        let end = self.end();
        let first = self.marks.iter().position(|mark| mark.at == end).unwrap_or(self.marks.len());
        let mut marks = self.marks.split_off(first);
        marks.iter_mut().for_each(|mark| (mark.at, mark.db) = (0, None));
        core::mem::replace(self, Self { marks, ..Self::default() })
    }

    fn end(&self) -> u64 {
        self.taken + self.outbox.len() as u64
    }
}

impl Stretch<'_> {
    /// Moves it to the end of the stream; how long it was.
    pub(crate) fn move_to(self, stream: &mut Outbox) -> usize {
        stream.append_first(self.len, self.outbox);
        self.len
    }
}

impl Sequencer {
    /// For the feeds of these shards.
    pub(crate) fn new(shards: impl IntoIterator<Item = ShardIndex>) -> Self {
        let queue = |shard| Queue { shard, reached: 0, waiting: VecDeque::new(), asked: false };
        Self { queues: shards.into_iter().map(queue).collect() }
    }

    /// A shard passed on a batch; it has nothing more up to `position`.
    pub(crate) fn add(&mut self, shard: ShardIndex, batch: Batch, position: u64) {
        if let Some(queue) = self.queues.iter_mut().find(|queue| queue.shard == shard) {
            queue.asked = false;
            match queue.waiting.back_mut() {
                Some(last) if batch.is_empty() => last.1 = position,
                _ => queue.waiting.push_back((batch, position)),
            }
        }
    }

    /// Hands over everything whose turn has come, in order.
    pub(crate) fn merge(&mut self, mut f: impl FnMut(Stretch<'_>)) {
        let mut moved = true;
        while core::mem::take(&mut moved) {
            for n in 0..self.queues.len() {
                moved |= self.merge_queue(n, &mut f);
            }
        }
    }

    /// Whether anything of the shard's queue went on.
    fn merge_queue(&mut self, n: usize, f: &mut impl FnMut(Stretch<'_>)) -> bool {
        let mut moved = false;
        while let Some((batch, _)) = self.queues[n].waiting.front() {
            let blocked = batch.marks.iter().position(|mark| !self.has(mark.after));
            let queue = &mut self.queues[n];
            let Some((batch, position)) = queue.waiting.front_mut() else { break };
            let from = batch.marks.front().filter(|mark| mark.at == batch.taken).map(|mark| mark.db);
            let from = from.flatten();
            batch.marks.drain(..blocked.unwrap_or(batch.marks.len()));
            let (until, position, to) = match batch.marks.front() {
                Some(mark) => (mark.at, mark.position, mark.db),
                None => (batch.end(), *position, batch.db),
            };
            let len = (until - batch.taken) as usize;
            moved |= len > 0 || position > queue.reached;
            queue.reached = position.max(queue.reached);
            batch.taken = until;
            if len > 0 {
                f(Stretch { shard: queue.shard, from, to, outbox: &mut batch.outbox, len });
            }
            if blocked.is_some() {
                break;
            }
            queue.waiting.pop_front();
            moved = true;
        }
        moved
    }

    /// Whether the stream has everything of a shard up to a position. What has no part in it is nothing to wait for.
    fn has(&self, after: After) -> bool {
        self.queues
            .iter()
            .find(|queue| queue.shard == after.shard)
            .is_none_or(|queue| queue.reached >= after.position)
    }

    /// The shards that have to say how far they are, because something waits for that and nothing of theirs is here. Each
    /// is named once until it [`add`](Self::add)s something.
    pub(crate) fn ask(&mut self) -> SmallVec<[ShardIndex; 4]> {
        let wanted: SmallVec<[After; 4]> = self
            .queues
            .iter()
            .filter_map(|queue| queue.waiting.front().and_then(|(batch, _)| batch.marks.front()))
            .map(|mark| mark.after)
            .collect();
        let silent = |queue: &&mut Queue| {
            queue.waiting.is_empty() && !queue.asked && wanted.iter().any(|after| after.shard == queue.shard)
        };
        let mut asked = SmallVec::new();
        for queue in self.queues.iter_mut().filter(silent) {
            queue.asked = true;
            asked.push(queue.shard);
        }
        asked
    }

    /// Bytes that wait for their turn.
    pub(crate) fn len(&self) -> usize {
        self.queues.iter().flat_map(|queue| &queue.waiting).map(|(batch, _)| batch.len()).sum()
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.queues.iter().all(|queue| queue.waiting.is_empty())
    }

    /// Nothing is sent any more.
    pub(crate) fn clear(&mut self) {
        self.queues.iter_mut().for_each(|queue| queue.waiting.clear());
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;
    use alloc::format;
    use alloc::string::String;
    use alloc::vec;

    use super::*;
    use crate::rng::Rng;
    use crate::shard::encode;
    use crate::wire::resp::{Limits, Reader};

    struct Shard {
        seen: Seen,
        position: u64,
        batch: Batch,
        /// Batches on their way.
        ring: VecDeque<(Batch, u64)>,
    }

    /// Where a client is, and what lies before its next write: a position of every shard.
    struct Client {
        at: usize,
        knows: Vec<u64>,
    }

    /// Shards with clients that go from one to the other, and the one stream that is made of what they write.
    struct Run {
        rng: Rng,
        shards: Vec<Shard>,
        clients: Vec<Client>,
        sequencer: Sequencer,
        /// The shards with a part in the stream.
        parts: usize,
        stream: Outbox,
        db: Option<u32>,
        /// What has to be before the record with this name, and how many of a shard's records are there.
        needs: BTreeMap<String, (usize, Vec<u64>)>,
        reached: Vec<u64>,
        reader_db: Option<u32>,
        asked: Vec<usize>,
        written: usize,
    }

    impl Run {
        fn new(seed: u64) -> Self {
            let mut rng = Rng::new(seed);
            let count = 2 + rng.below(4) as usize;
            // Sometimes one shard has no slots of the job.
            let parts = count - rng.below(2) as usize;
            let shard = |_| Shard {
                seen: Seen::default(),
                position: 0,
                batch: Batch::default(),
                ring: VecDeque::new(),
            };
            Self {
                shards: (0..count).map(shard).collect(),
                clients: (0..4).map(|n| Client { at: n % count, knows: vec![0; count] }).collect(),
                sequencer: Sequencer::new((0..parts as u16).map(ShardIndex)),
                parts,
                stream: Outbox::default(),
                db: None,
                needs: BTreeMap::new(),
                reached: vec![0; count],
                reader_db: None,
                asked: Vec::new(),
                written: 0,
                rng,
            }
        }

        fn write(&mut self) {
            let n = self.rng.index(self.clients.len());
            let client = &mut self.clients[n];
            if client.at >= self.parts {
                return;
            }
            let shard = &mut self.shards[client.at];
            let (name, db) = (format!("{}", self.written), self.rng.below(3) as u32);
            self.written += 1;
            shard.batch.append(db, |out| {
                encode::words(out, &[b"SET", name.as_bytes(), format!("{db}").as_bytes()]);
            });
            // Whoever comes to a shard sees all that was written there.
            client.knows[client.at] = shard.position;
            self.needs.insert(name, (client.at, client.knows.clone()));
            shard.position += 1;
            client.knows[client.at] = shard.position;
        }

        fn travel(&mut self) {
            let to = self.rng.index(self.shards.len());
            let n = self.rng.index(self.clients.len());
            let from = core::mem::replace(&mut self.clients[n].at, to);
            if from == to {
                return;
            }
            let here = &mut self.shards[from];
            here.seen.note(ShardIndex(from as u16), here.position);
            let (seen, position) = (here.seen.clone(), here.position);
            self.clients[n].knows[from] = position;
            let there = &mut self.shards[to];
            there.seen.note(ShardIndex(to as u16), there.position);
            let Shard { batch, position, .. } = there;
            there.seen.learn(&seen, |after| batch.mark(*position, after));
        }

        fn pass_on(&mut self, n: usize) {
            let shard = &mut self.shards[n];
            shard.ring.push_back((shard.batch.take(), shard.position));
        }

        fn deliver(&mut self) {
            let n = self.rng.index(self.parts);
            if let Some((batch, position)) = self.shards[n].ring.pop_front() {
                self.sequencer.add(ShardIndex(n as u16), batch, position);
            }
            let (stream, db) = (&mut self.stream, &mut self.db);
            self.sequencer.merge(|stretch| {
                if let Some(from) = stretch.from
                    && *db != Some(from)
                {
                    stream.push(syncslots::select(from));
                }
                *db = stretch.to;
                stretch.move_to(stream);
            });
            self.asked.extend(self.sequencer.ask().iter().map(|shard| usize::from(shard.0)));
        }

        /// Reads the stream as its target would.
        fn read(&mut self, seed: u64) {
            let bytes: Vec<u8> = self.stream.chunks().flatten().copied().collect();
            self.stream.advance(bytes.len());
            let (mut reader, mut rest) = (Reader::default(), &bytes[..]);
            while let Ok(Some(argv)) = reader.next(&Limits::UNLIMITED, &mut rest) {
                let word = |n| String::from_utf8(argv.iter().nth(n).expect("a word").to_vec()).expect("text");
                if argv.name() == b"SELECT" {
                    self.reader_db = word(1).parse().ok();
                    continue;
                }
                assert_eq!(self.reader_db, word(2).parse().ok(), "seed {seed}: another database");
                let (shard, needs) = self.needs.remove(&word(1)).expect("each record once");
                for (n, need) in needs.iter().enumerate().take(self.parts) {
                    assert!(
                        self.reached[n] >= *need,
                        "INV-CAUSAL, seed {seed}: a write on {shard} comes before number {need} of {n}, which it follows"
                    );
                }
                assert_eq!(self.reached[shard], needs[shard], "seed {seed}: those of one shard are in order");
                self.reached[shard] += 1;
            }
        }
    }

    #[test]
    fn whoever_has_a_write_has_what_its_client_knew() {
        let mut waited = 0;
        for seed in 0..400 {
            let mut run = Run::new(seed);
            for _ in 0..600 {
                match run.rng.below(8) {
                    0..3 => run.write(),
                    3 | 4 => run.travel(),
                    5 => {
                        let n = run.rng.index(run.parts);
                        run.pass_on(n);
                    }
                    6 => run.deliver(),
                    _ => {
                        while let Some(n) = run.asked.pop() {
                            run.pass_on(n);
                        }
                    }
                }
                waited += u64::from(!run.sequencer.is_empty());
                run.read(seed);
            }
            (0..run.parts).for_each(|n| run.pass_on(n));
            while run.shards.iter().any(|shard| !shard.ring.is_empty()) {
                run.deliver();
                run.read(seed);
            }
            assert!(
                run.written > 50 && run.needs.is_empty(),
                "seed {seed}: {} records are missing",
                run.needs.len()
            );
            assert!(run.sequencer.is_empty(), "seed {seed}");
        }
        assert!(waited > 1000, "something had to wait");
    }

    #[test]
    fn a_shard_that_has_nothing_to_send_is_asked_once_how_far_it_is() {
        let (here, there) = (ShardIndex(0), ShardIndex(1));
        let mut sequencer = Sequencer::new([here, there]);
        let mut seen = Seen::default();
        seen.note(there, 3);
        let mut batch = Batch::default();
        Seen::default().learn(&seen, |after| batch.mark(0, after));
        batch.append(0, |out| out.write(b"x"));
        sequencer.add(here, batch, 1);
        let mut stream = Outbox::default();
        let mut merge = |sequencer: &mut Sequencer| {
            sequencer.merge(|stretch| assert!(stretch.move_to(&mut stream) > 0));
            stream.len()
        };
        assert_eq!(merge(&mut sequencer), 0);
        assert_eq!(sequencer.ask().to_vec(), [there]);
        assert_eq!(sequencer.ask().to_vec(), []);
        sequencer.add(there, Batch::default(), 2);
        assert_eq!(merge(&mut sequencer), 0, "it is not far enough");
        assert_eq!(sequencer.ask().to_vec(), [there]);
        sequencer.add(there, Batch::default(), 3);
        assert!(merge(&mut sequencer) > 0);
        assert!(sequencer.is_empty());
    }
}
