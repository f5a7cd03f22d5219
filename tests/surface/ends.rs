//! Keys that end while a sequence runs. Two servers never see the same time, so nothing is asked while a key may be ending.

use std::thread;
use std::time::{Duration, Instant};

use super::pair::{Word, name};

/// How far from the end of a key commands are kept.
const MARGIN: Duration = Duration::from_millis(50);
/// What lasts longer outlives any sequence.
const LONG: Duration = Duration::from_secs(600);

/// When keys may end.
#[derive(Default)]
pub struct Ends {
    spans: Vec<(Instant, Instant)>,
    /// A key may be there whose time was over when it was set.
    born_old: bool,
}

impl Ends {
    /// How many are known.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Waits while a key may be ending; returns the time.
    pub fn wait(&self) -> Instant {
        loop {
            let now = Instant::now();
            match self.spans.iter().find(|(from, to)| (*from..*to).contains(&now)) {
                Some((_, to)) => thread::sleep(*to - now),
                None => return now,
            }
        }
    }

    /// Whether one of the first `known` ends may have come since `begun`. What a step itself sets does not end in it.
    pub fn were_close(&self, begun: Instant, known: usize) -> bool {
        let now = Instant::now();
        self.spans[..known].iter().any(|(from, to)| *from < now && begun < *to)
    }

    /// A command that began at `begun` was carried out.
    pub fn note(&mut self, begun: Instant, words: &[Word]) {
        self.born_old |= sets_old(words);
        for after in lifetimes(words) {
            let from = (begun + after).checked_sub(MARGIN).unwrap_or(begun);
            self.spans.push((from, Instant::now() + after + MARGIN));
        }
    }

    /// Whether keys may be there whose time is over.
    pub fn may_be_over(&self) -> bool {
        let now = Instant::now();
        self.born_old || self.spans.iter().any(|(from, _)| *from < now)
    }

    /// All keys whose time is over were deleted.
    pub fn swept(&mut self) {
        self.born_old = false;
    }
}

/// How long the keys last that the command gives an end to, unless they last long.
fn lifetimes(words: &[Word]) -> impl Iterator<Item = Duration> {
    let time = |at: usize, unit_ms: u64| {
        let ms = words.get(at)?.number()?.checked_mul(unit_ms)?;
        Some(Duration::from_millis(ms)).filter(|time| *time < LONG)
    };
    let is =
        |word: &Word, text: &[u8]| matches!(word, Word::Plain(bytes) if bytes.eq_ignore_ascii_case(text));
    let option =
        |text: &[u8], unit_ms: u64| time(words.iter().rposition(|word| is(word, text))? + 1, unit_ms);
    let found = match name(words).as_str() {
        "expire" | "setex" => [time(2, 1000), None],
        "pexpire" | "psetex" => [time(2, 1), None],
        "set" | "getex" | "msetex" => [option(b"ex", 1000), option(b"px", 1)],
        _ => [None, None],
    };
    found.into_iter().flatten()
}

/// Whether the command may set keys whose time is over already. Others delete them.
pub fn sets_old(words: &[Word]) -> bool {
    name(words) == "msetex"
}

/// Whether the command may be a single step of a walk: which keys it meets is each server's own, and it deletes those
/// whose time is over.
pub fn is_step(words: &[Word]) -> bool {
    matches!(name(words).as_str(), "scan" | "clusterscan")
}
