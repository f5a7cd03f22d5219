//! One set of permissions: commands, keys, channels and databases.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use super::commands::Commands;
use super::denied::Denied;
use crate::command::glob;
use crate::command::options::is;
use crate::command::table::access::{ACCESS, DELETE, INSERT, UPDATE};
use crate::command::table::{Command, Id, accesses, categories, flags};
use crate::wire::resp::Argv;
use crate::wire::resp::number::integer;

/// Why a rule is not one, in Valkey's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wrong {
    /// No such command or category.
    Unknown,
    /// Not a rule, or a pattern with a space in it.
    Syntax,
    /// A key pattern where all keys are allowed already.
    AfterAllKeys,
    /// A channel pattern where all channels are allowed already.
    AfterAllChannels,
    /// A password to remove that the user does not have.
    NoSuchPassword,
    /// Not a SHA-256 in hexadecimal.
    BadHash,
    /// `+config|get|x`.
    FirstWordOfSubcommand,
    /// Not the number of a database.
    NoSuchDatabase,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "Unknown command or category name in ACL",
            Self::Syntax => "Syntax error",
            Self::AfterAllKeys => {
                "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any \
                 effect. Try 'resetkeys' to start with an empty list of patterns"
            }
            Self::AfterAllChannels => {
                "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any \
                 effect. Try 'resetchannels' to start with an empty list of channels"
            }
            Self::NoSuchPassword => "The password you are trying to remove from the user does not exist",
            Self::BadHash => {
                "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
            }
            Self::FirstWordOfSubcommand => "Allowing first-arg of a subcommand is not supported",
            Self::NoSuchDatabase => "The provided database ID is out of range",
        })
    }
}

/// What may be done with the keys of a pattern.
const READ: u8 = 1;
const WRITE: u8 = 2;

#[derive(Clone, PartialEq, Eq, Debug)]
struct KeyPattern {
    may: u8,
    pattern: Box<[u8]>,
}

/// What of a kind is allowed: everything, or what is named.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Only<T> {
    All,
    These(T),
}

impl<T: Default> Only<T> {
    const fn is_all(&self) -> bool {
        matches!(self, Self::All)
    }

    /// What is named, nothing at first; `None` when everything is allowed.
    const fn these(&mut self) -> Option<&mut T> {
        match self {
            Self::All => None,
            Self::These(these) => Some(these),
        }
    }
}

/// A set of permissions; a command needs one selector that allows all of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Selector {
    commands: Commands,
    keys: Only<Vec<KeyPattern>>,
    channels: Only<Vec<Box<[u8]>>>,
    databases: Only<BTreeSet<u32>>,
}

impl Selector {
    /// No commands and no keys; channels as `acl-pubsub-default` has it, and every database.
    pub(super) fn new(all_channels: bool) -> Self {
        Self {
            commands: Commands::default(),
            keys: Only::These(Vec::new()),
            channels: if all_channels { Only::All } else { Only::These(Vec::new()) },
            databases: Only::All,
        }
    }

    /// Whether nothing is forbidden.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.commands.is_all() && self.keys.is_all() && self.channels.is_all() && self.databases.is_all()
    }

    /// Follows one rule.
    pub(super) fn apply(&mut self, rule: &[u8]) -> Result<(), Wrong> {
        match rule.to_ascii_lowercase().as_slice() {
            b"allkeys" | b"~*" => self.keys = Only::All,
            b"resetkeys" => self.keys = Only::These(Vec::new()),
            b"allchannels" | b"&*" => self.channels = Only::All,
            b"resetchannels" => self.channels = Only::These(Vec::new()),
            b"alldbs" => self.databases = Only::All,
            b"resetdbs" => self.databases = Only::These(BTreeSet::new()),
            b"allcommands" => self.commands = Commands::all(true),
            b"nocommands" => self.commands = Commands::all(false),
            [b'd', b'b', b'=', list @ ..] => self.databases = Only::These(databases(list)?),
            [b'~' | b'%', ..] => self.add_keys(rule)?,
            [b'&', ..] => self.add_channels(&rule[1..])?,
            [sign @ (b'+' | b'-'), ..] => self.commands.apply(*sign == b'+', &rule[1..])?,
            _ => return Err(Wrong::Syntax),
        }
        Ok(())
    }

    fn add_keys(&mut self, rule: &[u8]) -> Result<(), Wrong> {
        let patterns = self.keys.these().ok_or(Wrong::AfterAllKeys)?;
        let (may, pattern) = match rule.split_first() {
            Some((b'%', rest)) => {
                let end = rest
                    .iter()
                    .position(|b| !b.eq_ignore_ascii_case(&b'r') && !b.eq_ignore_ascii_case(&b'w'));
                let end = end.unwrap_or(rest.len());
                let may = permissions(&rest[..end]).ok_or(Wrong::Syntax)?;
                match rest.get(end) {
                    Some(b'~') => (may, &rest[end + 1..]),
                    Some(_) => return Err(Wrong::Syntax),
                    None => (may, &rest[end..]),
                }
            }
            Some((_, pattern)) => (READ | WRITE, pattern),
            None => return Err(Wrong::Syntax),
        };
        if has_spaces(pattern) {
            return Err(Wrong::Syntax);
        }
        match patterns.iter_mut().find(|known| *known.pattern == *pattern) {
            Some(known) => known.may |= may,
            None => patterns.push(KeyPattern { may, pattern: pattern.into() }),
        }
        Ok(())
    }

    fn add_channels(&mut self, pattern: &[u8]) -> Result<(), Wrong> {
        let patterns = self.channels.these().ok_or(Wrong::AfterAllChannels)?;
        if has_spaces(pattern) {
            return Err(Wrong::Syntax);
        }
        if !patterns.iter().any(|known| **known == *pattern) {
            patterns.push(pattern.into());
        }
        Ok(())
    }

    /// Whether a command may be run.
    ///
    /// # Errors
    /// What is not allowed.
    pub(super) fn check(
        &self,
        command: &'static Command,
        argv: Argv<'_>,
        place: Place,
    ) -> Result<(), Denied> {
        if let Only::These(allowed) = &self.databases {
            check_databases(allowed, command, argv, place)?;
        }
        if !command.is(flags::NO_AUTH) && !self.commands.allow(command, argv) {
            return Err(Denied::Command);
        }
        if let Only::These(patterns) = &self.keys {
            for (at, access) in accesses(command, argv).unwrap_or_default() {
                let wanted = wanted(access);
                let key = argv.get(at);
                let allows = |p: &KeyPattern| p.may & wanted == wanted && glob::matches(&p.pattern, key);
                if !patterns.iter().any(allows) {
                    return Err(Denied::Key(at));
                }
            }
        }
        Ok(())
    }

    /// The fields of ACL GETUSER.
    #[must_use]
    pub fn fields(&self) -> [(&'static str, String); 4] {
        let channels = match &self.channels {
            Only::All => "&*".to_owned(),
            Only::These(patterns) => joined(patterns.iter().map(|p| text(b"&", p))),
        };
        let databases = match &self.databases {
            Only::All => "alldbs".to_owned(),
            Only::These(allowed) => databases_text(allowed),
        };
        [
            ("commands", self.commands.describe()),
            ("keys", self.keys_text()),
            ("channels", channels),
            ("databases", databases),
        ]
    }

    /// The rules that make this selector again.
    pub(super) fn describe(&self) -> String {
        let [(_, commands), (_, keys), (_, channels), (_, databases)] = self.fields();
        let channels = match &self.channels {
            Only::All => channels,
            Only::These(_) if channels.is_empty() => "resetchannels".to_owned(),
            Only::These(_) => "resetchannels ".to_owned() + &channels,
        };
        // Every database is what older versions know.
        let databases = match &self.databases {
            Only::All => String::new(),
            Only::These(_) if databases.is_empty() => "resetdbs".to_owned(),
            Only::These(_) => databases,
        };
        joined([keys, channels, databases, commands].into_iter().filter(|part| !part.is_empty()))
    }

    fn keys_text(&self) -> String {
        match &self.keys {
            Only::All => "~*".to_owned(),
            Only::These(patterns) => joined(patterns.iter().map(|p| match p.may {
                READ => text(b"%R~", &p.pattern),
                WRITE => text(b"%W~", &p.pattern),
                _ => text(b"~", &p.pattern),
            })),
        }
    }
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(" ")
}

fn text(sign: &[u8], pattern: &[u8]) -> String {
    String::from_utf8_lossy(&[sign, pattern].concat()).into_owned()
}

/// `R`, `W` or both, in any order and case.
fn permissions(letters: &[u8]) -> Option<u8> {
    let mut may = 0;
    for letter in letters {
        let bit = if letter.eq_ignore_ascii_case(&b'r') { READ } else { WRITE };
        if may & bit != 0 {
            return None;
        }
        may |= bit;
    }
    (may != 0).then_some(may)
}

/// What a pattern must permit for an access.
const fn wanted(access: u16) -> u8 {
    let reads = if access & ACCESS != 0 { READ } else { 0 };
    let writes = if access & (INSERT | DELETE | UPDATE) != 0 { WRITE } else { 0 };
    reads | writes
}

/// Spaces and zero bytes would not survive being written to a file.
pub(super) fn has_spaces(text: &[u8]) -> bool {
    text.iter().any(|b| matches!(b, b' ' | b'\t'..=b'\r' | 0))
}

fn databases(list: &[u8]) -> Result<BTreeSet<u32>, Wrong> {
    let number = |word: &[u8]| {
        let text = core::str::from_utf8(word).ok().filter(|t| !t.is_empty()).ok_or(Wrong::Syntax)?;
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Wrong::Syntax);
        }
        text.parse::<i32>().ok().and_then(|n| u32::try_from(n).ok()).ok_or(Wrong::NoSuchDatabase)
    };
    list.split(|b| *b == b',').map(number).collect()
}

fn databases_text(allowed: &BTreeSet<u32>) -> String {
    if allowed.is_empty() {
        return String::new();
    }
    let numbers: Vec<String> = allowed.iter().map(ToString::to_string).collect();
    "db=".to_owned() + &numbers.join(",")
}

/// Where a command is to run.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The client's database.
    pub db: u32,
    /// How many there are.
    pub databases: u32,
}

/// The databases a command names are checked, or all for one that is about all, and the client's for one about keys.
/// Valkey forgets the client's own database where another is named (MOVE, COPY).
fn check_databases(
    allowed: &BTreeSet<u32>,
    command: &Command,
    argv: Argv<'_>,
    place: Place,
) -> Result<(), Denied> {
    let check = |db: u32, at: usize| if allowed.contains(&db) { Ok(()) } else { Err(Denied::Database(at)) };
    let named = |at: usize, blamed: usize| {
        let db = integer(argv.get(at)).and_then(|n| u32::try_from(n).ok());
        // What is no database is for the command to say.
        db.filter(|db| *db < place.databases).map_or(Ok(()), |db| check(db, blamed))
    };
    let about_keys = categories::KEYSPACE | categories::READ | categories::WRITE;
    match command.id {
        Id::Select => named(1, 1),
        Id::Swapdb => named(1, 1).and(named(2, 2)),
        Id::Move => check(place.db, 0).and(named(2, 2)),
        Id::Copy => {
            let option = (3..argv.len().saturating_sub(1)).find(|i| is(argv.get(*i), b"db"));
            check(place.db, 0).and(option.map_or(Ok(()), |at| named(at + 1, 0)))
        }
        Id::Flushall | Id::ClusterMigrateslots | Id::ClusterCancelslotmigrations => {
            (0..place.databases).try_for_each(|db| check(db, 0))
        }
        _ if command.categories & about_keys != 0 || command.has_keys() => check(place.db, 0),
        _ => Ok(()),
    }
}
