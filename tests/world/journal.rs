//! What a run leaves behind: a hash of everything that happened, its last lines, and what was reached.
//!
//! One journal per thread, so that clients, machines and checks write to it without carrying it around, and so that
//! it is still there after a panic.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// Lines that a failure shows.
const KEPT: usize = 60;

/// The record of the run on this thread.
#[derive(Default)]
pub struct Journal {
    hash: u64,
    now: u64,
    lines: VecDeque<String>,
    verbose: bool,
    /// By where their text lies, which is found sooner than the text.
    marks: HashMap<*const str, (&'static str, u64)>,
}

thread_local! {
    static JOURNAL: RefCell<Journal> = RefCell::default();
}

fn with<R>(f: impl FnOnce(&mut Journal) -> R) -> R {
    JOURNAL.with(|journal| f(&mut journal.borrow_mut()))
}

/// Begins a run. A verbose one prints its lines as they come.
pub fn begin(verbose: bool) {
    with(|j| *j = Journal { hash: 0xcbf2_9ce4_8422_2325, verbose, ..Journal::default() });
}

/// It is later now, in microseconds.
pub fn tick(now: u64) {
    with(|j| j.now = now);
}

/// The time of the run, in microseconds.
pub fn now() -> u64 {
    with(|j| j.now)
}

/// Whether details that are too many for the last lines are wanted.
pub fn is_verbose() -> bool {
    with(|j| j.verbose)
}

/// Takes an event into the hash.
pub fn mix(words: &[u64]) {
    with(|j| {
        for word in words {
            j.hash = (j.hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29);
        }
    });
}

/// Takes bytes that travelled into the hash: their number, and what they begin and end with.
pub fn mix_bytes(bytes: &[u8]) {
    let word = |bytes: &[u8]| bytes.iter().fold(0u64, |sum, b| (sum << 7) ^ (sum >> 57) ^ u64::from(*b));
    let (head, tail) = (&bytes[..bytes.len().min(24)], &bytes[bytes.len().saturating_sub(24)..]);
    mix(&[bytes.len() as u64, word(head), word(tail)]);
}

/// Notes something that a person wants to read.
pub fn line(text: impl FnOnce() -> String) {
    let text = text();
    with(|j| {
        let line = format!("{:>11.6}  {text}", j.now as f64 / 1e6);
        mix_line(&mut j.hash, &line);
        if j.verbose {
            println!("{line}");
        }
        if j.lines.len() == KEPT {
            j.lines.pop_front();
        }
        j.lines.push_back(line);
    });
}

fn mix_line(hash: &mut u64, line: &str) {
    for byte in line.bytes() {
        *hash = (*hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
}

/// Notes a detail, for a verbose run only.
pub fn detail(text: impl FnOnce() -> String) {
    if is_verbose() {
        let text = text();
        with(|j| println!("{:>11.6}      {text}", j.now as f64 / 1e6));
    }
}

/// Something that some seed has to reach was reached.
pub fn mark(what: &'static str) {
    with(|j| j.marks.entry(what).or_insert((what, 0)).1 += 1);
}

/// The hash of the run so far.
pub fn hash() -> u64 {
    with(|j| j.hash)
}

/// What the run reached.
pub fn marks() -> BTreeMap<&'static str, u64> {
    with(|j| {
        let mut marks = BTreeMap::new();
        j.marks.values().for_each(|(what, n)| *marks.entry(*what).or_default() += n);
        marks
    })
}

/// The last lines of the run.
pub fn last_lines() -> String {
    with(|j| j.lines.iter().fold(String::new(), |text, line| text + line + "\n"))
}

/// Ends the run: an invariant does not hold.
#[track_caller]
pub fn violated(invariant: &str, what: impl AsRef<str>) -> ! {
    panic!("{invariant} is violated at {:.6} s: {}", now() as f64 / 1e6, what.as_ref());
}
