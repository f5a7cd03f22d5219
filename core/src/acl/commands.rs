//! Which commands a selector allows: the rules as they were given, and what follows from them.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::known::KNOWN;
use super::selector::Wrong;
use crate::command::table::{self, Command, Id, categories};
use crate::wire::resp::Argv;

/// One bit for every [`Id`].
type Bits = [u64; 4];

/// The commands that may be run.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Commands {
    /// Begun with `+@all`: what is not mentioned is allowed, also what later versions bring.
    future: bool,
    /// What was added and taken away since then, in order, without what a later rule made pointless.
    rules: Vec<Rule>,
    allowed: Bits,
    /// Words that are allowed behind a command that is not.
    first_words: Vec<(Id, Box<[u8]>)>,
}

/// `+get`, `-@dangerous`, `+config|get`, `+select|0`.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Rule {
    allow: bool,
    /// In lower case, behind the sign.
    what: String,
}

/// What a rule is about.
enum Target {
    Category(u32),
    /// A command or subcommand that is here.
    Command(&'static Command),
    /// One that Valkey has and Whimbrel has not: the rule is kept and means nothing.
    Absent,
    /// A command, if this is its first argument.
    FirstWord(&'static Command, Box<[u8]>),
}

impl Commands {
    /// `+@all` or `-@all`.
    pub(super) fn all(allow: bool) -> Self {
        Self { future: allow, allowed: [if allow { u64::MAX } else { 0 }; 4], ..Self::default() }
    }

    /// Whether everything is allowed without looking.
    pub(super) fn is_all(&self) -> bool {
        self.future && self.rules.iter().all(|rule| rule.allow)
    }

    /// Follows `+what` or `-what`.
    pub(super) fn apply(&mut self, allow: bool, what: &[u8]) -> Result<(), Wrong> {
        if what.eq_ignore_ascii_case(b"@all") {
            *self = Self::all(allow);
            return Ok(());
        }
        let target = Target::find(allow, what)?;
        let mut text = String::from_utf8_lossy(what).to_ascii_lowercase();
        if let Target::Command(command) = &target {
            text = command.name.to_owned();
        }
        self.retain(&text);
        self.rules.push(Rule { allow, what: text });
        self.follow(allow, &target);
        Ok(())
    }

    /// Forgets the rules that a new one about `what` replaces: the same, and those about its subcommands.
    fn retain(&mut self, what: &str) {
        self.rules.retain(|old| {
            old.what.strip_prefix(what).is_none_or(|rest| !(rest.is_empty() || rest.starts_with('|')))
        });
    }

    fn follow(&mut self, allow: bool, target: &Target) {
        match target {
            Target::Absent => {}
            Target::Command(command) => self.change(command, allow),
            Target::Category(category) => {
                for command in table::all() {
                    if command.categories & category != 0 {
                        self.change(command, allow);
                    }
                    for sub in command.subcommands.iter().filter(|sub| sub.categories & category != 0) {
                        self.change(sub, allow);
                    }
                }
            }
            Target::FirstWord(command, word) => {
                let known = |(id, w): &(Id, Box<[u8]>)| *id == command.id && w.eq_ignore_ascii_case(word);
                if !self.first_words.iter().any(known) {
                    self.first_words.push((command.id, word.clone()));
                }
            }
        }
    }

    fn change(&mut self, command: &Command, allow: bool) {
        for sub in command.subcommands {
            self.set(sub.id, allow);
        }
        if command.subcommands.is_empty() {
            self.set(command.id, allow);
            self.first_words.retain(|(id, _)| *id != command.id);
        }
    }

    fn set(&mut self, id: Id, allow: bool) {
        let bit = 1 << (id as usize % 64);
        let word = &mut self.allowed[id as usize / 64];
        *word = if allow { *word | bit } else { *word & !bit };
    }

    /// Whether a command may be run with these words.
    pub(super) fn allow(&self, command: &Command, argv: Argv<'_>) -> bool {
        self.allowed[command.id as usize / 64] >> (command.id as usize % 64) & 1 == 1
            || argv.opt(1).is_some_and(|first| {
                self.first_words.iter().any(|(id, w)| *id == command.id && w.eq_ignore_ascii_case(first))
            })
    }

    /// The rules that make this again.
    pub(super) fn describe(&self) -> String {
        let mut text = (if self.future { "+@all" } else { "-@all" }).to_owned();
        for rule in &self.rules {
            text.push_str(if rule.allow { " +" } else { " -" });
            text.push_str(&rule.what);
        }
        text
    }
}

impl Target {
    fn find(allow: bool, what: &[u8]) -> Result<Self, Wrong> {
        if let Some(name) = what.strip_prefix(b"@") {
            return categories::find(name).map(Self::Category).ok_or(Wrong::Unknown);
        }
        if let Some(target) = Self::named(what) {
            return Ok(target);
        }
        let Some(bar) = what.iter().rposition(|b| *b == b'|').filter(|_| allow) else {
            return Err(Wrong::Unknown);
        };
        let (name, word) = (&what[..bar], &what[bar + 1..]);
        match Self::named(name).ok_or(Wrong::Unknown)? {
            Self::Command(command) if command.name.contains('|') => Err(Wrong::FirstWordOfSubcommand),
            _ if word.is_empty() => Err(Wrong::Syntax),
            Self::Command(command) if command.subcommands.is_empty() => {
                Ok(Self::FirstWord(command, word.into()))
            }
            Self::Absent if name.contains(&b'|') => Err(Wrong::FirstWordOfSubcommand),
            Self::Absent if !is_container(name) => Ok(Self::Absent),
            _ => Err(Wrong::Unknown),
        }
    }

    /// A command by its full name.
    fn named(name: &[u8]) -> Option<Self> {
        let absent = || KNOWN.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(name));
        table::by_full_name(name).map(Self::Command).or_else(|| absent().then_some(Self::Absent))
    }
}

/// Whether an absent command has subcommands.
fn is_container(name: &[u8]) -> bool {
    KNOWN.iter().any(|known| {
        known.split_once('|').is_some_and(|(first, _)| first.as_bytes().eq_ignore_ascii_case(name))
    })
}
