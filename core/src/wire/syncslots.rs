//! The messages of a slot migration: sub-commands of `CLUSTER SYNCSLOTS`, as RESP arrays in both directions.

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;

use super::resp::{encode_command, number};
use super::slotsrange::{Malformed, is_keyword, read_ranges};
use crate::ids::{ID_LEN, JobName, NodeId, ShardIndex, Shards};
use crate::slots::{SLOTS, SlotRanges};

/// A message without arguments.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Control {
    /// Both ways: I am alive. The first one tells the target to expect the snapshot.
    Ack,
    /// Source to target: the snapshot is complete.
    SnapshotEof,
    /// Target to source: the snapshot is read; pause writes when the rest is short.
    RequestPause,
    /// Source to target: writes are paused, all earlier ones precede this in the stream.
    Paused,
    /// Target to source: everything is applied; may I take over?
    RequestFailover,
    /// Source to target: you may.
    FailoverGranted,
}

macro_rules! frame {
    ($len:literal, $word:literal) => {
        concat!("*3\r\n$7\r\nCLUSTER\r\n$9\r\nSYNCSLOTS\r\n$", $len, "\r\n", $word, "\r\n")
    };
}

impl Control {
    /// All of them, in the order of a migration.
    pub const ALL: [Self; 6] = [
        Self::Ack,
        Self::SnapshotEof,
        Self::RequestPause,
        Self::Paused,
        Self::RequestFailover,
        Self::FailoverGranted,
    ];

    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ack => "ACK",
            Self::SnapshotEof => "SNAPSHOT-EOF",
            Self::RequestPause => "REQUEST-PAUSE",
            Self::Paused => "PAUSED",
            Self::RequestFailover => "REQUEST-FAILOVER",
            Self::FailoverGranted => "FAILOVER-GRANTED",
        }
    }

    /// The whole message.
    #[must_use]
    pub const fn bytes(self) -> Bytes {
        Bytes::from_static(
            match self {
                Self::Ack => frame!(3, "ACK"),
                Self::SnapshotEof => frame!(12, "SNAPSHOT-EOF"),
                Self::RequestPause => frame!(13, "REQUEST-PAUSE"),
                Self::Paused => frame!(6, "PAUSED"),
                Self::RequestFailover => frame!(16, "REQUEST-FAILOVER"),
                Self::FailoverGranted => frame!(16, "FAILOVER-GRANTED"),
            }
            .as_bytes(),
        )
    }
}

/// Which sub-command of SYNCSLOTS a word is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Word {
    /// Starts a job; [`Establish`] reads the rest.
    Establish,
    /// Ends a job on a replica; [`Finish`] reads the rest.
    Finish,
    /// A message without arguments; extra words behind it mean nothing.
    Control(Control),
    /// A further link of a job; [`Lane`] reads the rest. Only said to who agreed to lanes.
    Lane,
    /// Capabilities; unknown ones are ignored, whoever sends them, without a reply. [`lanes`] finds ours.
    Capa,
    /// Something else.
    Unknown,
}

impl Word {
    /// Reads the word behind `CLUSTER SYNCSLOTS`, in any case.
    #[must_use]
    pub fn of(word: &[u8]) -> Self {
        if let Some(control) = Control::ALL.into_iter().find(|c| is_keyword(word, c.as_str())) {
            return Self::Control(control);
        }
        match word {
            _ if is_keyword(word, "ESTABLISH") => Self::Establish,
            _ if is_keyword(word, "FINISH") => Self::Finish,
            _ if is_keyword(word, "CAPA") => Self::Capa,
            _ if is_keyword(word, "LANE") => Self::Lane,
            _ => Self::Unknown,
        }
    }
}

/// What a command on a migration link is to the machine at its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard {
    /// A sub-command of SYNCSLOTS.
    Sync(Word),
    /// `CLUSTER SYNCSLOTS` and nothing behind it.
    Bare,
    /// Any other command.
    Other,
}

/// Sorts a command by its first three words.
#[must_use]
pub fn heard(first: &[u8], second: Option<&[u8]>, third: Option<&[u8]>) -> Heard {
    let sync = first.eq_ignore_ascii_case(b"CLUSTER")
        && second.is_some_and(|word| word.eq_ignore_ascii_case(b"SYNCSLOTS"));
    match third {
        _ if !sync => Heard::Other,
        Some(word) => Heard::Sync(Word::of(word)),
        None => Heard::Bare,
    }
}

/// The words behind `CLUSTER SYNCSLOTS ESTABLISH`, in any order, read without asking who owns what.
///
/// This is how a replica reads what its primary relays, and a loader the AOF: the job is a fact there, whatever the
/// local slot table says. A target reads it with `migration::request::check_establish` instead.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Establish {
    /// Who sends the slots. Replicas and loaders have no use for it, so it may be absent.
    pub source: Option<NodeId>,
    /// The job's name, any 40 bytes.
    pub name: JobName,
    /// What moves.
    pub ranges: SlotRanges,
}

impl Establish {
    /// Reads the words.
    ///
    /// # Errors
    /// [`Malformed::Syntax`] for a missing, double or unknown word or an id that has not 40 bytes, else what is
    /// wrong with the ranges.
    pub fn parse(mut words: &[&[u8]]) -> Result<Self, Malformed> {
        let (mut source, mut name, mut ranges) = (None, None, None);
        while let [word, rest @ ..] = words {
            words = rest;
            if is_keyword(word, "SOURCE") && source.is_none() {
                source = Some(NodeId::from_bytes(take_id(&mut words)?));
            } else if is_keyword(word, "NAME") && name.is_none() {
                name = Some(JobName::from_bytes(take_id(&mut words)?));
            } else if is_keyword(word, "SLOTSRANGE") && ranges.is_none() {
                ranges = Some(read_ranges::<Malformed>(&mut words, |_| Ok(()))?);
            } else {
                return Err(Malformed::Syntax);
            }
        }
        Ok(Self { source, name: name.ok_or(Malformed::Syntax)?, ranges: ranges.ok_or(Malformed::Syntax)? })
    }
}

/// Takes a value of exactly 40 bytes from the front of `words`.
///
/// # Errors
/// [`Malformed::Syntax`] when it is missing or of another length.
pub fn take_id(words: &mut &[&[u8]]) -> Result<[u8; ID_LEN], Malformed> {
    let [value, rest @ ..] = *words else { return Err(Malformed::Syntax) };
    *words = rest;
    (*value).try_into().map_err(|_| Malformed::Syntax)
}

/// The words behind `CLUSTER SYNCSLOTS FINISH`, in any order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Finish<'a> {
    /// `SUCCESS` or `FAILED` by custom; [`Self::success`] reads it.
    pub state: &'a [u8],
    /// Which job.
    pub name: JobName,
    /// Why, when it failed.
    pub message: &'a [u8],
}

impl<'a> Finish<'a> {
    /// Reads the words.
    ///
    /// # Errors
    /// [`Malformed::Syntax`] for a missing, double or unknown word or a name that has not 40 bytes.
    pub fn parse(mut words: &[&'a [u8]]) -> Result<Self, Malformed> {
        let (mut state, mut name, mut message) = (None, None, None);
        while let [word, rest @ ..] = words {
            words = rest;
            if is_keyword(word, "NAME") && name.is_none() {
                name = Some(JobName::from_bytes(take_id(&mut words)?));
                continue;
            }
            let text = match word {
                _ if is_keyword(word, "STATE") => &mut state,
                _ if is_keyword(word, "MESSAGE") => &mut message,
                _ => return Err(Malformed::Syntax),
            };
            let ([value, rest @ ..], None) = (words, &text) else { return Err(Malformed::Syntax) };
            *text = Some(*value);
            words = rest;
        }
        Ok(Self {
            state: state.ok_or(Malformed::Syntax)?,
            name: name.ok_or(Malformed::Syntax)?,
            message: message.unwrap_or_default(),
        })
    }

    /// Whether the job succeeded; `None` for a word that is neither `SUCCESS` nor `FAILED`.
    #[must_use]
    pub fn success(&self) -> Option<bool> {
        match self.state {
            word if is_keyword(word, "SUCCESS") => Some(true),
            word if is_keyword(word, "FAILED") => Some(false),
            _ => None,
        }
    }

    /// The message on the wire: always with STATE, NAME and MESSAGE, which is empty on success.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        let words: [&[u8]; 9] = [
            b"CLUSTER",
            b"SYNCSLOTS",
            b"FINISH",
            b"STATE",
            self.state,
            b"NAME",
            self.name.as_bytes(),
            b"MESSAGE",
            self.message,
        ];
        command(&words)
    }
}

/// The words behind `CLUSTER SYNCSLOTS LANE`, in any order: this link brings the slots of a job that are on one shard of
/// the source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lane {
    /// Which job.
    pub name: JobName,
    /// Which shard of the source.
    pub shard: ShardIndex,
}

impl Lane {
    /// Reads the words.
    ///
    /// # Errors
    /// [`Malformed::Syntax`] for a missing, double or unknown word, a name that has not 40 bytes, or no number.
    pub fn parse(mut words: &[&[u8]]) -> Result<Self, Malformed> {
        let (mut name, mut shard) = (None, None);
        while let [word, rest @ ..] = words {
            words = rest;
            if is_keyword(word, "NAME") && name.is_none() {
                name = Some(JobName::from_bytes(take_id(&mut words)?));
            } else if is_keyword(word, "SHARD") && shard.is_none() {
                let [value, rest @ ..] = words else { return Err(Malformed::Syntax) };
                let number = number::integer(value).and_then(|n| u16::try_from(n).ok());
                shard = Some(ShardIndex(number.ok_or(Malformed::Syntax)?));
                words = rest;
            } else {
                return Err(Malformed::Syntax);
            }
        }
        Ok(Self { name: name.ok_or(Malformed::Syntax)?, shard: shard.ok_or(Malformed::Syntax)? })
    }

    /// The message on the wire.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        let shard = self.shard.0.to_string();
        let name = self.name.as_bytes();
        command(&[b"CLUSTER", b"SYNCSLOTS", b"LANE", b"NAME", name, b"SHARD", shard.as_bytes()])
    }
}

/// `CLUSTER SYNCSLOTS CAPA lanes <shards>`: a source with so many shards can send what each of them has over a link of its
/// own; or a target agrees to that.
#[must_use]
pub fn capa_lanes(shards: Shards) -> Bytes {
    command(&[b"CLUSTER", b"SYNCSLOTS", b"CAPA", b"lanes", shards.count().to_string().as_bytes()])
}

/// The shards that the words behind `CLUSTER SYNCSLOTS CAPA` name, if lanes are among the capabilities.
#[must_use]
pub fn lanes<'a>(mut words: impl Iterator<Item = &'a [u8]>) -> Option<Shards> {
    words.find(|word| is_keyword(word, "lanes"))?;
    let shards = number::integer(words.next()?).and_then(|n| u16::try_from(n).ok())?;
    (2..=SLOTS as u16).contains(&shards).then(|| Shards::new(shards))
}

/// `CLUSTER SYNCSLOTS ESTABLISH SOURCE <source> NAME <name> SLOTSRANGE <start> <end> ...`
#[must_use]
pub fn establish(source: &NodeId, name: &JobName, ranges: &SlotRanges) -> Bytes {
    let numbers: Vec<String> =
        ranges.0.iter().flat_map(|r| [r.first.to_string(), r.last.to_string()]).collect();
    let mut words: Vec<&[u8]> = vec![
        b"CLUSTER",
        b"SYNCSLOTS",
        b"ESTABLISH",
        b"SOURCE",
        source.as_bytes(),
        b"NAME",
        name.as_bytes(),
        b"SLOTSRANGE",
    ];
    words.extend(numbers.iter().map(String::as_bytes));
    command(&words)
}

/// `AUTH [user] password`.
#[must_use]
pub fn auth(user: Option<&[u8]>, password: &[u8]) -> Bytes {
    match user {
        Some(user) => command(&[b"AUTH", user, password]),
        None => command(&[b"AUTH", password]),
    }
}

/// `SELECT db`.
#[must_use]
pub fn select(db: u32) -> Bytes {
    command(&[b"SELECT", db.to_string().as_bytes()])
}

/// A command as a RESP array of bulk strings.
#[must_use]
pub fn command(words: &[&[u8]]) -> Bytes {
    let mut bytes = Vec::with_capacity(16 + words.iter().map(|w| w.len() + 16).sum::<usize>());
    encode_command(&mut bytes, words);
    Bytes::from(bytes)
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;
    use crate::slots::SlotRange;

    const ID: &str = "2dc65fcb03ae8b8c994e54c10f3f83ccf9ebd917";
    const NAME: &str = "f4345860167f654ba69635746ca47ce46e1798ba";

    fn words(text: &str) -> Vec<&[u8]> {
        text.split(' ').filter(|w| !w.is_empty()).map(str::as_bytes).collect()
    }

    #[test]
    fn the_written_out_messages_are_what_the_encoder_makes() {
        for control in Control::ALL {
            let words: [&[u8]; 3] = [b"CLUSTER", b"SYNCSLOTS", control.as_str().as_bytes()];
            assert_eq!(control.bytes(), command(&words), "{control:?}");
            assert_eq!(Word::of(control.as_str().as_bytes()), Word::Control(control));
            assert_eq!(Word::of(control.as_str().to_lowercase().as_bytes()), Word::Control(control));
        }
    }

    #[test]
    fn establish_is_byte_for_byte_what_valkey_sends() {
        let recorded = include_bytes!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tests/fixtures/syncslots/success-empty-ranges.s2t.bin"
        ));
        let source = NodeId::from_bytes(*recorded[65..105].as_array().expect("40 bytes"));
        let name = JobName::from_bytes(*recorded[122..162].as_array().expect("40 bytes"));
        let ranges =
            [(0, 3), (5, 5)].map(|(a, b)| SlotRange::new(a, b).expect("slots")).into_iter().collect();
        let ours = establish(&source, &name, &ranges);
        assert_eq!(ours, recorded[..ours.len()]);
    }

    #[test]
    fn establish_takes_its_parts_in_any_order_and_each_once() {
        let whole = [
            format!("SOURCE {ID} NAME {NAME} SLOTSRANGE 0 3 5 5"),
            format!("slotsrange 0 3 5 5 name {NAME} source {ID}"),
        ];
        for text in &whole {
            let read = Establish::parse(&words(text)).expect("well-formed");
            assert_eq!(read.source.map(|s| s.to_string()).as_deref(), Some(ID));
            assert_eq!((read.name.as_str(), read.ranges.to_string().as_str()), (NAME, "0-3 5-5"));
        }
        let lenient = Establish::parse(&words(&format!("NAME {NAME} SLOTSRANGE 0 3")));
        assert_eq!(lenient.expect("replicas need no source").source, None);
        for text in [
            format!("SOURCE {ID} NAME {NAME}"),
            format!("SOURCE {ID} SLOTSRANGE 0 3"),
            format!("SOURCE {ID} NAME {NAME} NAME {NAME} SLOTSRANGE 0 3"),
            format!("SOURCE {ID} NAME {NAME} SLOTSRANGE 0 3 SLOTSRANGE 4 5"),
            format!("SOURCE {ID} SOURCE {ID} NAME {NAME} SLOTSRANGE 0 3"),
            format!("SOURCE {ID} NAME {NAME}0 SLOTSRANGE 0 3"),
            format!("SOURCE NAME {NAME} SLOTSRANGE 0 3"),
            format!("SOURCE {ID} NAME {NAME} SLOTSRANGE 0 3 EXTRA 1"),
            format!("SOURCE {ID} SLOTSRANGE 0 3 NAME"),
        ] {
            assert_eq!(Establish::parse(&words(&text)), Err(Malformed::Syntax), "{text}");
        }
    }

    #[test]
    fn finish_reads_what_it_writes() {
        let name = JobName::parse(NAME.as_bytes()).expect("a name");
        let finish = Finish { state: b"FAILED", name, message: b"Data was flushed" };
        assert_eq!(
            finish.bytes(),
            [
                &b"*9\r\n$7\r\nCLUSTER\r\n$9\r\nSYNCSLOTS\r\n$6\r\nFINISH\r\n$5\r\nSTATE\r\n$6\r\nFAILED\r\n"
                    [..],
                b"$4\r\nNAME\r\n$40\r\n",
                NAME.as_bytes(),
                b"\r\n$7\r\nMESSAGE\r\n$16\r\nData was flushed\r\n"
            ]
            .concat()
        );
        let list: [&[u8]; 6] = [b"STATE", finish.state, b"NAME", name.as_bytes(), b"MESSAGE", finish.message];
        assert_eq!(Finish::parse(&list), Ok(finish));
        for (state, success) in [("SUCCESS", Some(true)), ("failed", Some(false)), ("DONE", None)] {
            let text = format!("name {NAME} state {state}");
            assert_eq!(Finish::parse(&words(&text)).expect("no message is fine").success(), success);
        }
        for text in [
            format!("STATE SUCCESS NAME {NAME}0"),
            format!("STATE SUCCESS STATE SUCCESS NAME {NAME}"),
            format!("NAME {NAME}"),
            format!("NAME {NAME} STATE"),
            format!("NAME {NAME} NAME {NAME} STATE SUCCESS"),
            format!("NAME {NAME} STATE SUCCESS OTHER 1"),
            "STATE SUCCESS".to_string(),
        ] {
            assert_eq!(Finish::parse(&words(&text)), Err(Malformed::Syntax), "{text}");
        }
    }

    #[test]
    fn a_lane_is_named_and_agreed_to_in_its_own_words() {
        let name = JobName::parse(NAME.as_bytes()).expect("a name");
        let lane = Lane { name, shard: ShardIndex(11) };
        let said = format!(
            "*7\r\n$7\r\nCLUSTER\r\n$9\r\nSYNCSLOTS\r\n$4\r\nLANE\r\n$4\r\nNAME\r\n$40\r\n{NAME}\r\n$5\r\nSHARD\r\n$2\r\n11\r\n"
        );
        assert_eq!(lane.bytes(), said);
        for text in [format!("NAME {NAME} SHARD 11"), format!("shard 11 name {NAME}")] {
            assert_eq!(Lane::parse(&words(&text)), Ok(lane));
        }
        for text in [
            String::new(),
            format!("NAME {NAME}"),
            format!("NAME {NAME} SHARD"),
            format!("NAME {NAME}0 SHARD 1"),
            format!("NAME {NAME} SHARD -1"),
            format!("NAME {NAME} SHARD 65536"),
            format!("NAME {NAME} SHARD 1 SHARD 1"),
            format!("NAME {NAME} SHARD 1 MORE"),
        ] {
            assert_eq!(Lane::parse(&words(&text)), Err(Malformed::Syntax), "{text}");
        }
        assert_eq!(
            capa_lanes(Shards::new(8)),
            &b"*5\r\n$7\r\nCLUSTER\r\n$9\r\nSYNCSLOTS\r\n$4\r\nCAPA\r\n$5\r\nlanes\r\n$1\r\n8\r\n"[..]
        );
        for (text, shards) in [
            ("lanes 8", Some(8)),
            ("other LANES 2", Some(2)),
            ("lanes 1", None),
            ("lanes 0", None),
            ("lanes 65536", None),
            ("lanes", None),
            ("other 8", None),
        ] {
            assert_eq!(lanes(words(text).into_iter()).map(Shards::count), shards, "{text}");
        }
    }

    #[test]
    fn only_cluster_syncslots_is_a_message() {
        let sort = |text: &str| {
            let w = words(text);
            heard(w[0], w.get(1).copied(), w.get(2).copied())
        };
        assert_eq!(sort("cluster syncslots ack"), Heard::Sync(Word::Control(Control::Ack)));
        assert_eq!(sort("CLUSTER SYNCSLOTS CAPA ctx1"), Heard::Sync(Word::Capa));
        assert_eq!(sort("CLUSTER SYNCSLOTS LANE NAME x SHARD 1"), Heard::Sync(Word::Lane));
        assert_eq!(sort("CLUSTER SYNCSLOTS NONSENSE"), Heard::Sync(Word::Unknown));
        assert_eq!(sort("CLUSTER SYNCSLOTS"), Heard::Bare);
        assert_eq!(sort("CLUSTER MYID"), Heard::Other);
        assert_eq!(sort("SET a b"), Heard::Other);
    }

    #[test]
    fn auth_and_select_are_plain_commands() {
        assert_eq!(auth(None, b"pw"), &b"*2\r\n$4\r\nAUTH\r\n$2\r\npw\r\n"[..]);
        assert_eq!(auth(Some(b"me"), b"pw"), &b"*3\r\n$4\r\nAUTH\r\n$2\r\nme\r\n$2\r\npw\r\n"[..]);
        assert_eq!(select(15), &b"*2\r\n$6\r\nSELECT\r\n$2\r\n15\r\n"[..]);
    }
}
