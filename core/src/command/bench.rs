//! For tests: a database on which lines of words are run as commands.

use alloc::string::String;
use alloc::vec::Vec;
use alloc::{format, vec};

use super::context::{Caller, Cx, KeyStats};
use super::effects::{Effects, Followed};
use super::table;
use crate::config::Config;
use crate::link::Outbox;
use crate::rng::Rng;
use crate::slots::Slot;
use crate::store::{Layout, Store, StoreConfig};
use crate::time::{Now, Span, Wall};
use crate::wire::resp::{Argv, ArgvBuf, Limits, Proto, Reader, Reply, Value};

/// All that a command needs, and what the last one did.
pub(crate) struct Bench {
    pub(crate) now: Now,
    pub(crate) db: u32,
    pub(crate) caller: Caller,
    pub(crate) proto: Proto,
    pub(crate) store: Store,
    pub(crate) effects: Effects,
    pub(crate) stats: KeyStats,
    pub(crate) config: Config,
    pub(crate) rng: Rng,
    pub(crate) no_touch: bool,
    /// Whether somebody follows the writes.
    pub(crate) followed: Followed,
    last: ArgvBuf,
}

impl Bench {
    pub(crate) fn new(proto: Proto, layout: Layout) -> Self {
        Self {
            now: Now { wall: Wall(1_700_000_000_000_000), ..Now::default() },
            db: 0,
            caller: Caller::Client,
            proto,
            store: Store::new(StoreConfig { databases: 16, layout, seed: 1 }),
            effects: Effects::default(),
            stats: KeyStats::default(),
            config: Config::default(),
            rng: Rng::new(1),
            no_touch: false,
            followed: Followed::Keys,
            last: ArgvBuf::default(),
        }
    }

    /// Lets time go by.
    pub(crate) fn sleep_ms(&mut self, ms: u64) {
        self.now.wall = Wall(self.now.wall.0 + Span::ms(ms).0);
        self.now.mono = self.now.mono + Span::ms(ms);
    }

    /// Runs a line of words, quoted as in inline commands; the reply, escaped.
    pub(crate) fn run(&mut self, line: &str) -> String {
        let words = inline(format!("{line}\r\n").as_bytes());
        format!("{}", self.run_argv(words.argv()).escape_ascii())
    }

    /// Runs a line of words; the reply.
    pub(crate) fn ask(&mut self, line: &str) -> Value {
        let words = inline(format!("{line}\r\n").as_bytes());
        let bytes = self.run_argv(words.argv());
        let (value, len) = Value::parse(&bytes).expect("a reply").expect("a whole reply");
        assert_eq!(len, bytes.len(), "{line} has one reply");
        value
    }

    /// Runs a command; the bytes of its reply.
    pub(crate) fn run_argv(&mut self, argv: Argv<'_>) -> Vec<u8> {
        self.last = argv.into();
        self.store.access_mut().set_time(self.now.wall_ms());
        let mut out = Outbox::default();
        let command = table::resolve(argv);
        let key = command.as_ref().ok().and_then(|command| table::keys_of(command, argv).next());
        let slot = match key {
            Some(key) if self.store.layout() == Layout::Cluster => Slot::of(argv.get(key)),
            _ => Slot::default(),
        };
        self.effects.begin(self.db, self.followed);
        let mut cx = Cx {
            now: self.now,
            db: self.db,
            slot,
            caller: self.caller,
            store: &mut self.store,
            reply: Reply::new(&mut out, self.proto),
            effects: &mut self.effects,
            stats: &mut self.stats,
            config: &self.config,
            rng: &mut self.rng,
            no_touch: self.no_touch,
        };
        match command {
            Ok(command) => assert!(super::run(command.id, &mut cx, argv), "{argv:?} is no data command"),
            Err(refusal) => refusal.reply(&mut cx.reply),
        }
        out.chunks().flatten().copied().collect()
    }

    /// What others have to repeat of the last command: each a line of escaped words.
    pub(crate) fn fed(&self) -> Vec<String> {
        let line = |argv: Argv<'_>| {
            let words = argv.iter().map(|word| match word {
                b"" => "\"\"".into(),
                _ => format!("{}", word.escape_ascii()),
            });
            words.collect::<Vec<String>>().join(" ")
        };
        let forms = self.effects.records().iter().map(|record| match &record.rewritten {
            None => line(self.last.argv()),
            Some(range) => line(inline(&self.effects.bytes()[range.clone()]).argv()),
        });
        forms.collect()
    }
}

/// The first command in `bytes`.
fn inline(bytes: &[u8]) -> ArgvBuf {
    let mut reader = Reader::default();
    let mut rest = bytes;
    let argv = reader.next(&Limits::default(), &mut rest).expect("a command").expect("a whole command");
    argv.into()
}

/// Escaped text with the times near `now_ms` as `{now+N}`, N rounded to 100 ms: the form of recorded dialogues.
pub(crate) fn with_relative_times(text: &str, now_ms: u64) -> String {
    let mut parts = vec![String::new()];
    for c in text.chars() {
        let digits = parts.last().is_some_and(|part| part.starts_with(|c: char| c.is_ascii_digit()));
        if c.is_ascii_digit() != digits {
            parts.push(String::new());
        }
        parts.last_mut().expect("a part").push(c);
    }
    let relative = |part: String| match part.parse::<i64>() {
        Ok(ms) if part.len() == 13 && ms.abs_diff(now_ms as i64) < 100_000_000 => {
            let away = (ms - now_ms as i64 + 50).div_euclid(100) * 100;
            format!("{{now{away:+}}}")
        }
        _ => part,
    };
    parts.into_iter().map(relative).collect()
}
