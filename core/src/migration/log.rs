//! The rows of CLUSTER GETSLOTMIGRATIONS: running jobs and the ended ones that are remembered.

use alloc::collections::VecDeque;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use super::job::{Job, Operation};
use super::{export, import};
use crate::ids::JobName;
use crate::time::{Span, Wall};
use crate::wire::resp::Reply;

/// How far the job of a row is, at this node's end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// The job moves slots away.
    Export(export::State),
    /// The job brings slots here, or to our primary.
    Import(import::State),
}

impl Stage {
    /// Which end this is.
    #[must_use]
    pub const fn operation(self) -> Operation {
        match self {
            Self::Export(_) => Operation::Export,
            Self::Import(_) => Operation::Import,
        }
    }

    /// Whether the job is over.
    #[must_use]
    pub const fn is_finished(self) -> bool {
        match self {
            Self::Export(state) => state.is_finished(),
            Self::Import(state) => state.is_finished(),
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Export(state) => state.fmt(f),
            Self::Import(state) => state.fmt(f),
        }
    }
}

/// One job as clients see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JobRow {
    /// The job. Of a followed one only name and ranges are known.
    pub job: Arc<Job>,
    /// Whether the job is followed instead of done here: on a replica, after a restart, after a demotion.
    pub is_followed: bool,
    /// When it began here.
    pub create_time: Wall,
    /// When it came to its stage.
    pub last_update: Wall,
    /// When the other end last sent ACK.
    pub last_ack: Wall,
    /// How far it is.
    pub stage: Stage,
    /// Why it failed; empty while it has not.
    pub message: String,
    /// Bytes that an export has not sent yet.
    pub remaining_repl_size: u64,
    /// How long writes were held, once they are no longer.
    pub pause: Option<Span>,
}

impl JobRow {
    /// The row of a job that begins now.
    #[must_use]
    pub fn new(job: Arc<Job>, stage: Stage, now: Wall) -> Self {
        Self {
            job,
            is_followed: stage == Stage::Import(import::State::OccurringOnPrimary),
            create_time: now,
            last_update: now,
            last_ack: now,
            stage,
            message: String::new(),
            remaining_repl_size: 0,
            pause: None,
        }
    }

    /// The job came to `stage`. One that is followed once stays so.
    pub fn enter(&mut self, stage: Stage, now: Wall) {
        self.stage = stage;
        self.last_update = now;
        self.is_followed |= stage == Stage::Import(import::State::OccurringOnPrimary);
    }

    /// Writes the row as a map: Valkey's pairs in Valkey's order, and `pause_ms` behind them, which clients of
    /// Valkey skip, because they look values up by name.
    pub fn reply(&self, reply: &mut Reply<'_>) {
        let seconds = |reply: &mut Reply<'_>, key: &str, time: Wall| {
            reply.bulk(key.as_bytes());
            reply.int(time.as_secs() as i64);
        };
        let text = |reply: &mut Reply<'_>, key: &str, value: &[u8]| {
            reply.bulk(key.as_bytes());
            reply.bulk(value);
        };
        reply.map(if self.is_followed { 11 } else { 13 });
        text(reply, "name", self.job.name.as_bytes());
        text(reply, "operation", self.stage.operation().to_string().as_bytes());
        text(reply, "slot_ranges", self.job.ranges.to_string().as_bytes());
        if !self.is_followed {
            text(reply, "target_node", self.job.target.as_bytes());
            text(reply, "source_node", self.job.source.as_bytes());
        }
        seconds(reply, "create_time", self.create_time);
        seconds(reply, "last_update_time", self.last_update);
        seconds(reply, "last_ack_time", self.last_ack);
        text(reply, "state", self.stage.to_string().as_bytes());
        text(reply, "message", self.message.as_bytes());
        // What a fork would have copied: there is none.
        reply.bulk(b"cow_size");
        reply.int(0);
        reply.bulk(b"remaining_repl_size");
        reply.int(self.remaining_repl_size as i64);
        reply.bulk(b"pause_ms");
        reply.int(self.pause.unwrap_or_default().as_ms() as i64);
    }
}

/// The rows, newest first. Copies of a log share the rows that neither changes, so that it costs little to change one
/// that somebody still looks at.
#[derive(Clone, Debug, Default)]
pub struct JobLog {
    rows: VecDeque<Arc<JobRow>>,
}

impl JobLog {
    /// Adds the jobs of one request, in its order, in front of all older ones.
    pub fn start(&mut self, jobs: Vec<JobRow>) {
        jobs.into_iter().rev().for_each(|row| self.rows.push_front(Arc::new(row)));
    }

    /// Adds a job that a snapshot file told of, behind all others.
    pub fn restore(&mut self, row: JobRow) {
        self.rows.push_back(Arc::new(row));
    }

    /// The rows, newest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &JobRow> + DoubleEndedIterator {
        self.rows.iter().map(|row| &**row)
    }

    /// The newest row of this name, to be changed.
    #[must_use]
    pub fn find(&mut self, name: &JobName) -> Option<&mut JobRow> {
        self.rows.iter_mut().find(|row| row.job.name == *name).map(Arc::make_mut)
    }

    /// Forgets the oldest finished jobs until no more than `most` rows are left, or no finished one is. Running jobs
    /// are never forgotten.
    pub fn trim(&mut self, most: usize) {
        let mut excess = self.rows.len().saturating_sub(most);
        if excess == 0 {
            return;
        }
        let kept: Vec<Arc<JobRow>> = core::mem::take(&mut self.rows)
            .into_iter()
            .rev()
            .filter(|row| {
                let forget = excess > 0 && row.stage.is_finished();
                excess -= usize::from(forget);
                !forget
            })
            .collect();
        self.rows = kept.into_iter().rev().collect();
    }

    /// Forgets everything, because another keyspace is being loaded.
    pub fn clear(&mut self) {
        self.rows.clear();
    }

    /// Answers CLUSTER GETSLOTMIGRATIONS.
    pub fn reply(&self, reply: &mut Reply<'_>) {
        reply.array(self.rows.len());
        self.rows.iter().for_each(|row| row.reply(reply));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::NodeId;
    use crate::link::Outbox;
    use crate::slots::{Slot, SlotRange};
    use crate::wire::resp::Proto;

    fn job(name: &[u8; 40], source: &[u8; 40], target: &[u8; 40]) -> Arc<Job> {
        Arc::new(Job {
            name: JobName::from_bytes(*name),
            source: NodeId::from_bytes(*source),
            target: NodeId::from_bytes(*target),
            ranges: [SlotRange::one(Slot::default())].into_iter().collect(),
        })
    }

    fn rendered(log: &JobLog, proto: Proto) -> Vec<u8> {
        let mut out = Outbox::default();
        log.reply(&mut Reply::new(&mut out, proto));
        out.chunks().flatten().copied().collect()
    }

    /// The recorded reply with our pair behind the others.
    fn with_pause(recorded: &[u8], header: &str, ours: &str, pause_ms: u64) -> Vec<u8> {
        let text = core::str::from_utf8(recorded).expect("the recording is text");
        assert!(text.contains(header));
        alloc::format!("{}$8\r\npause_ms\r\n:{pause_ms}\r\n", text.replacen(header, ours, 1)).into_bytes()
    }

    macro_rules! recorded {
        ($name:literal) => {
            include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/syncslots/", $name))
        };
    }

    #[test]
    fn a_row_is_what_valkey_answers_and_the_length_of_the_pause() {
        let job = job(
            b"243f6bdbcee04915aab3c7d5db19d0f1f70c794a",
            b"b000e3ebb875ea1ed5666c1b5ab7d9044a4c65ef",
            b"b860f339e9b7847caa6e311df3fd7bdf1629819a",
        );
        let at = |secs: u64| Wall(secs * 1_000_000 + 999_999);
        let mut row = JobRow::new(job.clone(), Stage::Export(export::State::Connecting), at(1_795_257_782));
        row.last_ack = at(1_795_257_783);
        row.enter(Stage::Export(export::State::Success), at(1_795_257_784));
        row.pause = Some(Span::ms(7));
        let mut log = JobLog::default();
        log.start(alloc::vec![row]);
        let valkey = recorded!("getslotmigrations-source-resp3.bin");
        assert_eq!(rendered(&log, Proto::Resp3), with_pause(valkey, "%12\r\n", "%13\r\n", 7));

        let stage = Stage::Import(import::State::OccurringOnPrimary);
        let mut row = JobRow::new(job, stage, at(1_795_257_782));
        row.enter(Stage::Import(import::State::Success), at(1_795_257_784));
        let mut log = JobLog::default();
        log.start(alloc::vec![row]);
        let valkey = recorded!("getslotmigrations-replica-resp2.bin");
        assert_eq!(rendered(&log, Proto::Resp2), with_pause(valkey, "*20\r\n", "*22\r\n", 0));
    }

    fn row(name: u8, state: export::State) -> JobRow {
        JobRow::new(job(&[name; 40], &[b'a'; 40], &[b'b'; 40]), Stage::Export(state), Wall(0))
    }

    fn names(log: &JobLog) -> String {
        log.iter().map(|row| char::from(row.job.name.as_bytes()[0])).collect()
    }

    #[test]
    fn the_newest_request_comes_first_and_keeps_its_order() {
        use export::State::Connecting;
        let mut log = JobLog::default();
        log.start(alloc::vec![row(b'1', Connecting), row(b'2', Connecting)]);
        log.restore(row(b'0', Connecting));
        log.start(alloc::vec![row(b'3', Connecting)]);
        assert_eq!(names(&log), "3120");
        let name = JobName::from_bytes([b'1'; 40]);
        assert_eq!(log.find(&name).map(|row| row.job.name), Some(name));
        assert!(log.find(&JobName::from_bytes([b'9'; 40])).is_none());
    }

    #[test]
    fn a_change_copies_only_the_row_that_changes() {
        let mut log = JobLog::default();
        for name in b'1'..=b'9' {
            log.start(alloc::vec![row(name, export::State::Connecting)]);
        }
        let published = log.clone();
        let stage = Stage::Export(export::State::Success);
        log.find(&JobName::from_bytes([b'4'; 40])).expect("a row").enter(stage, Wall(1));
        let shared = log.iter().zip(published.iter()).filter(|(a, b)| core::ptr::eq(*a, *b)).count();
        assert_eq!(shared, 8);
        assert!(published.iter().all(|row| row.stage != stage), "who looks at the old one sees the old one");
    }

    #[test]
    fn only_the_oldest_finished_jobs_are_forgotten() {
        use export::State::{Cancelled, Failed, Replicating, Success};
        let full = || {
            let mut log = JobLog::default();
            for row in [row(b'1', Success), row(b'2', Replicating), row(b'3', Failed), row(b'4', Cancelled)] {
                log.start(alloc::vec![row]);
            }
            log
        };
        for (most, left) in [(9, "4321"), (4, "4321"), (3, "432"), (2, "42"), (1, "2"), (0, "2")] {
            let mut log = full();
            log.trim(most);
            assert_eq!(names(&log), left, "at most {most}");
        }
    }
}
