//! Scripts: what happens to one machine, line by line, and exactly what it answers to each line; then silence.
//!
//! ```text
//! connected         => enter sending-establish-command, send [CLUSTER SYNCSLOTS ESTABLISH ...], ...
//! < "+OK\r\n"       => enter waiting-to-snapshot, send ACK
//! wait 1.5          =>
//! ```
//! A line is an input, `=>` and the actions, separated by commas; a line that begins with `,` goes on with the
//! actions of the one before. `<` means bytes from the peer: `"text"` as it stands, `[SET k v]` a command as a RESP
//! array, a word in capitals a message without arguments. `wait` lets seconds pass and tells the machine the time
//! whenever it asked for it; `jump` tells it once, at the end. Ids of forty equal letters are written as `a*40`.
//!
//! Each script runs with the bytes of a line whole, byte by byte, and cut at seeded places.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use super::failure::Failure;
use super::job::{Job, Outcome, Settlement};
use crate::ids::{JobName, NodeId};
use crate::rng::Rng;
use crate::slots::SlotRange;
use crate::time::{Mono, Now, Span, Wall};
use crate::wire::resp::{Limits, Reader};
use crate::wire::syncslots::{self, Control};

mod export;
mod import;
mod lane;

pub(super) use export::ExportEnd;
pub(super) use import::ImportEnd;
pub(super) use lane::{ReceiverEnd, SenderEnd};

/// A machine that a script can drive.
pub(super) trait End {
    /// A new one, and what it wants done first.
    fn begin(said: &mut Vec<String>) -> Self;
    /// Bytes arrived.
    fn feed(&mut self, now: Now, bytes: &[u8], said: &mut Vec<String>);
    /// Anything else happened; false when there is no such input.
    fn tell(&mut self, now: Now, word: &str, rest: &str, said: &mut Vec<String>) -> bool;
    /// When the machine wants to be told the time.
    fn deadline(&self) -> Option<Mono>;
    /// Whether the input of a script's line can happen to it now.
    fn accepts(&self, word: &str, rest: &str) -> bool;
    /// The time that was asked for has come.
    fn tick(&mut self, now: Now, said: &mut Vec<String>);
}

/// How the bytes of a line arrive.
#[derive(Debug)]
pub(super) enum Cuts {
    Whole,
    Bytes,
    Seeded(Rng),
}

impl Cuts {
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let seeded = (0..5).map(|seed| Self::Seeded(Rng::new(seed)));
        [Self::Whole, Self::Bytes].into_iter().chain(seeded)
    }

    /// How many of `left` bytes come next.
    pub(super) fn next(&mut self, left: usize) -> usize {
        match self {
            Self::Whole => left,
            Self::Bytes => 1,
            Self::Seeded(rng) => 1 + rng.index(left.min(40)),
        }
    }
}

/// One machine and its clock, which begins at 1000 s (mono) and 5000 s (wall).
pub(super) struct Stand<E> {
    pub(super) end: E,
    pub(super) now: Now,
    pub(super) said: Vec<String>,
    cuts: Cuts,
}

pub(super) const START: Now = Now { mono: Mono(1_000_000_000), wall: Wall(5_000_000_000) };

impl<E: End> Stand<E> {
    pub(super) fn new(cuts: Cuts) -> Self {
        let mut said = Vec::new();
        let end = E::begin(&mut said);
        Self { end, now: START, said, cuts }
    }

    pub(super) fn pass(&mut self, span: Span) {
        self.now = Now { mono: self.now.mono + span, wall: Wall(self.now.wall.0 + span.0) };
    }

    /// Lets time pass and keeps every appointment on the way.
    pub(super) fn wait(&mut self, span: Span) {
        let until = self.now.mono + span;
        while let Some(due) = self.end.deadline().filter(|due| *due <= until) {
            self.pass(due.since(self.now.mono));
            self.end.tick(self.now, &mut self.said);
            assert!(self.end.deadline() != Some(due), "an appointment that is never over");
        }
        self.pass(until.since(self.now.mono));
    }

    /// Does what the left side of a line says.
    pub(super) fn step(&mut self, input: &str) {
        let (word, rest) = input.split_once(' ').unwrap_or((input, ""));
        match word {
            "<" => {
                let mut bytes = &encode(rest)[..];
                while !bytes.is_empty() {
                    let (now, later) = bytes.split_at(self.cuts.next(bytes.len()));
                    self.end.feed(self.now, now, &mut self.said);
                    bytes = later;
                }
            }
            "wait" => self.wait(seconds(rest)),
            "jump" => {
                self.pass(seconds(rest));
                self.end.tick(self.now, &mut self.said);
            }
            _ => assert!(
                self.end.tell(self.now, word, rest, &mut self.said),
                "no such input in a script: {input}"
            ),
        }
    }
}

/// Runs a script three ways.
pub(super) fn run<E: End>(script: &str) {
    for cuts in Cuts::all() {
        let way = format!("{cuts:?}");
        let mut stand = Stand::<E>::new(cuts);
        for (input, answer) in lines(script) {
            if input != "new" {
                stand.step(&input);
            }
            let said = core::mem::take(&mut stand.said);
            assert!(said == answer, "at: {input}\nway: {way}\nsaid:   {said:#?}\nscript: {answer:#?}");
        }
    }
}

/// The lines of a script: inputs and the actions they lead to.
fn lines(script: &str) -> Vec<(String, Vec<String>)> {
    let mut lines: Vec<(String, Vec<String>)> = Vec::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let actions = |text: &str| -> Vec<String> {
            text.split(", ").map(str::trim).filter(|a| !a.is_empty()).map(ToString::to_string).collect()
        };
        if let Some(more) = line.strip_prefix(',') {
            lines.last_mut().expect("a line to go on with").1.extend(actions(more));
        } else {
            let (input, answer) = line.split_once("=>").unwrap_or_else(|| panic!("no => in: {line}"));
            lines.push((input.trim().to_string(), actions(answer)));
        }
    }
    lines
}

pub(super) fn seconds(text: &str) -> Span {
    let seconds: f64 = text.parse().unwrap_or_else(|_| panic!("no number of seconds: {text}"));
    Span((seconds * 1e6) as u64)
}

/// The bytes that the text behind `<` stands for.
pub(super) fn encode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (token, behind) = match rest.as_bytes()[0] {
            b'"' => rest[1..].split_once('"').expect("a closing quote"),
            b'[' => rest[1..].split_once(']').expect("a closing bracket"),
            _ => rest.split_once(' ').unwrap_or((rest, "")),
        };
        match rest.as_bytes()[0] {
            b'"' => bytes.extend(token.replace("\\r", "\r").replace("\\n", "\n").into_bytes()),
            b'[' => {
                let words: Vec<String> = token.split(' ').map(expand).collect();
                let words: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
                bytes.extend_from_slice(&syncslots::command(&words));
            }
            _ => {
                let control = Control::ALL.into_iter().find(|c| c.as_str() == token);
                bytes.extend_from_slice(&control.unwrap_or_else(|| panic!("no message {token}")).bytes());
            }
        }
        rest = behind.trim_start();
    }
    bytes
}

fn expand(word: &str) -> String {
    word.strip_suffix("*40").map_or_else(|| word.to_string(), |letter| letter.repeat(40))
}

/// Bytes to the peer in the words of a script, one action per command or line.
pub(super) fn sent(mut bytes: &[u8], said: &mut Vec<String>) {
    if bytes.first() != Some(&b'*') {
        said.push(format!("send \"{}\"", bytes.escape_ascii()));
        return;
    }
    let mut reader = Reader::default();
    while let Some(argv) = reader.next(&Limits::UNLIMITED, &mut bytes).expect("we send commands") {
        said.push(format!("send {}", command(argv.iter())));
    }
    assert_eq!(reader.pending(), 0, "half a command was sent");
}

/// A command in the words of a script.
pub(super) fn command<'a>(words: impl Iterator<Item = &'a [u8]>) -> String {
    let words: Vec<String> = words.map(shorten).collect();
    match &words[..] {
        [cluster, syncslots, word] if cluster == "CLUSTER" && syncslots == "SYNCSLOTS" => word.clone(),
        words => format!("[{}]", words.join(" ")),
    }
}

fn shorten(word: &[u8]) -> String {
    match word {
        [first, ..] if word.len() == 40 && word.iter().all(|b| b == first) => {
            format!("{}*40", char::from(*first))
        }
        word => word.escape_ascii().to_string(),
    }
}

/// Seconds since the start of the script.
pub(super) fn time(at: Mono) -> String {
    let since = at.since(START.mono).0;
    let mut text = format!("{}.{:06}", since / 1_000_000, since % 1_000_000);
    while text.ends_with('0') && !text.ends_with(".0") {
        text.pop();
    }
    text
}

pub(super) fn failed(failure: &Failure) -> String {
    format!("failed: {}", failure.to_string().escape_debug())
}

pub(super) fn outcome(outcome: &Outcome) -> String {
    let mut text = String::from("ended ");
    match outcome {
        Outcome::Success => text.push_str("success"),
        Outcome::Cancelled => text.push_str("cancelled"),
        Outcome::Failed(failure) => text.push_str(&failed(failure)),
    }
    text
}

pub(super) fn settlement(word: &str) -> Settlement {
    match word {
        "target" => Settlement::OwnedByTarget,
        "source" => Settlement::OwnedBySource,
        "other" => Settlement::OwnedByOther,
        _ => panic!("settled in whose favour? {word}"),
    }
}

/// Slots 0-3 and 5 from `s*40` to `t*40`, named `j*40`.
pub(super) fn job() -> Arc<Job> {
    Arc::new(Job {
        name: JobName::from_bytes([b'j'; 40]),
        source: NodeId::from_bytes([b's'; 40]),
        target: NodeId::from_bytes([b't'; 40]),
        ranges: vec![SlotRange::new(0, 3), SlotRange::new(5, 5)].into_iter().flatten().collect(),
    })
}

/// Runs the lines of a script without looking at the answers: to come into a situation.
pub(super) fn lead_to<E: End>(inputs: &[&str]) -> Stand<E> {
    let mut stand = Stand::new(Cuts::Whole);
    inputs.iter().for_each(|input| stand.step(input));
    stand.said.clear();
    stand
}
