//! Bus messages as they leave a process, and the nodes.conf that must stand behind them.

use whimbrel_core::slots::{BITMAP_LEN, SlotRange, SlotSet};

use super::World;
use super::journal::{self, violated};
use super::net::Class;
use super::process::Which;

/// Offsets in a message of the bus: its length, type, epochs and slots.
const LENGTH: usize = 4;
const KIND: usize = 12;
const CURRENT_EPOCH: usize = 16;
const CONFIG_EPOCH: usize = 24;
const SLOTS: usize = 80;
/// Bytes of a header.
const HEADER: usize = 2256;

/// What a nodes.conf says about the node itself.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Saved {
    pub current_epoch: u64,
    pub last_vote_epoch: u64,
    pub config_epoch: u64,
    pub slots: SlotSet,
}

impl Saved {
    /// Reads a nodes.conf.
    pub fn parse(bytes: &[u8]) -> Self {
        let text = std::str::from_utf8(bytes).expect("nodes.conf is text");
        let mut saved = Self::default();
        for line in text.lines() {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            if words[0] == "vars" {
                for pair in words[1..].chunks(2) {
                    match pair[0] {
                        "currentEpoch" => saved.current_epoch = pair[1].parse().expect("an epoch"),
                        "lastVoteEpoch" => saved.last_vote_epoch = pair[1].parse().expect("an epoch"),
                        _ => {}
                    }
                }
            } else if words[2].split(',').any(|flag| flag == "myself") {
                saved.config_epoch = words[6].parse().expect("an epoch");
                for word in words[8..].iter().filter(|word| !word.starts_with('[')) {
                    let (first, last) = word.split_once('-').unwrap_or((word, word));
                    let [first, last] = [first, last].map(|number| number.parse().expect("a slot"));
                    saved.slots.insert_range(SlotRange::new(first, last).expect("a range"));
                }
            }
        }
        saved
    }
}

impl World {
    /// Bytes leave a process: on the bus nothing may be said that its disk could forget.
    pub fn tap(&mut self, p: usize, which: Which, c: usize, end: usize, bytes: &[u8]) {
        match self.conns[c].class {
            Class::Bus if which == Which::Node => {}
            Class::Migration if end == 0 => return self.tap_stream(c, bytes),
            _ => return,
        }
        let mut heard = std::mem::take(&mut self.conns[c].tapped[end]);
        heard.extend_from_slice(bytes);
        let mut at = 0;
        while heard.len() - at >= 16 {
            let number = |from: usize, len: usize| {
                heard[at + from..at + from + len].iter().fold(0u64, |n, b| (n << 8) | u64::from(*b))
            };
            let total = number(LENGTH, 4) as usize;
            if heard.len() - at < total {
                break;
            }
            let kind = number(KIND, 2);
            // PING, PONG and MEET tell of the sender; light headers do not.
            if kind <= 2 && total >= HEADER {
                let epochs = (number(CURRENT_EPOCH, 8), number(CONFIG_EPOCH, 8));
                let slots: &[u8; BITMAP_LEN] =
                    heard[at + SLOTS..at + SLOTS + BITMAP_LEN].try_into().expect("slots");
                self.check_said(p, epochs, slots);
            }
            at += total;
        }
        heard.drain(..at);
        self.conns[c].tapped[end] = heard;
    }

    /// The stream of a migration: what it shows of the snapshot's order. The first byte of `tapped` says how far the
    /// stream is, that of the other end that it is the stream of a lane.
    fn tap_stream(&mut self, c: usize, bytes: &[u8]) {
        let mut two = false;
        let [snapshot, lane] = &mut self.conns[c].tapped;
        let was_running = snapshot.is_empty();
        for line in bytes.split(|byte| *byte == b'\n') {
            match line.strip_suffix(b"\r").unwrap_or(line) {
                b"LANE" => {
                    journal::mark("a job used several links");
                    lane.push(1);
                }
                b"MSET" | b"COPY" | b"RENAME" => two = true,
                b"SNAPSHOT-EOF" if snapshot.is_empty() => snapshot.push(1),
                _ => {}
            }
        }
        if was_running && two {
            journal::mark("a write of two keys went into a running snapshot");
        }
    }

    /// INV-PERSIST: own slots and the epoch they are claimed with are durable before they are told. A message may have
    /// been written before the newest change, so any content that was durable lately may stand behind it.
    fn check_said(&self, p: usize, (current, config): (u64, u64), slots: &[u8; BITMAP_LEN]) {
        // Both have a bit for each slot.
        let covers =
            |saved: &Saved| slots.iter().zip(saved.slots.as_bitmap()).all(|(told, kept)| told & !kept == 0);
        let known = |saved: &Saved| saved.config_epoch >= config && covers(saved);
        if !self.watch.durable(p).any(known) {
            let told = SlotSet::from_bitmap(slots);
            violated(
                "INV-PERSIST",
                format!(
                    "process {p} tells epochs {current} and {config} and {told:?}, which its disk could forget"
                ),
            );
        }
        if slots.iter().any(|bits| *bits != 0) {
            journal::mark("a claim was checked against the disk");
        }
    }
}
