//! The commands Whimbrel has: how each is called, what it may do, where its keys are, and what is told about it.
//!
//! Everything else is derived from here: dispatch matches on [`Id`], routing asks [`keys_of`], ACL reads the
//! categories, and [COMMAND](super::introspect) prints it all. The facts agree with Valkey 9.1.0, a test compares them.

use core::fmt;

use self::categories as acl;
use crate::wire::resp::{Argv, Reply, quote};

pub mod args;
mod cluster;
mod connection;
mod generic;
mod id;
mod index;
mod keys;
mod operator;
mod server;
mod specs;
mod string;
mod transactions;
mod users;

pub use id::Id;
pub use index::find;
pub use keys::{Keys, Misfit, accesses, keys_of};
pub use specs::{Begin, Find, KeySpec, access};

/// What a command may do and when it may run; a set of bits.
pub mod flags {
    /// May change the keyspace.
    pub const WRITE: u32 = 1 << 0;
    /// Reads the keyspace and does not change it.
    pub const READONLY: u32 = 1 << 1;
    /// May need memory: refused over `maxmemory`.
    pub const DENYOOM: u32 = 1 << 2;
    /// For administrators.
    pub const ADMIN: u32 = 1 << 3;
    /// About channels.
    pub const PUBSUB: u32 = 1 << 4;
    /// Not from scripts.
    pub const NOSCRIPT: u32 = 1 << 5;
    /// May wait.
    pub const BLOCKING: u32 = 1 << 6;
    /// Also while the dataset is loaded.
    pub const LOADING: u32 = 1 << 7;
    /// Also on a replica whose data is stale.
    pub const STALE: u32 = 1 << 8;
    /// Not shown to MONITOR.
    pub const SKIP_MONITOR: u32 = 1 << 9;
    /// Not entered into the command log.
    pub const SKIP_COMMANDLOG: u32 = 1 << 10;
    /// Runs as if ASKING had come before it.
    pub const ASKING: u32 = 1 << 11;
    /// Takes constant or logarithmic time.
    pub const FAST: u32 = 1 << 12;
    /// Also before authentication.
    pub const NO_AUTH: u32 = 1 << 13;
    /// Its keys may be left out.
    pub const NO_MANDATORY_KEYS: u32 = 1 << 14;
    /// Not while a dataset is loaded beside the one that serves.
    pub const NO_ASYNC_LOADING: u32 = 1 << 15;
    /// Not in a transaction.
    pub const NO_MULTI: u32 = 1 << 16;
    /// First, last and step do not say where its keys are.
    pub const MOVABLEKEYS: u32 = 1 << 17;
    /// Also while a script is busy.
    pub const ALLOW_BUSY: u32 = 1 << 18;

    /// The names that COMMAND shows, in its order.
    pub const NAMES: [(u32, &str); 19] = [
        (WRITE, "write"),
        (READONLY, "readonly"),
        (DENYOOM, "denyoom"),
        (ADMIN, "admin"),
        (PUBSUB, "pubsub"),
        (NOSCRIPT, "noscript"),
        (BLOCKING, "blocking"),
        (LOADING, "loading"),
        (STALE, "stale"),
        (SKIP_MONITOR, "skip_monitor"),
        (SKIP_COMMANDLOG, "skip_commandlog"),
        (ASKING, "asking"),
        (FAST, "fast"),
        (NO_AUTH, "no_auth"),
        (NO_MANDATORY_KEYS, "no_mandatory_keys"),
        (NO_ASYNC_LOADING, "no_async_loading"),
        (NO_MULTI, "no_multi"),
        (MOVABLEKEYS, "movablekeys"),
        (ALLOW_BUSY, "allow_busy"),
    ];
}

/// The categories of ACL rules (`+@read`); a set of bits.
pub mod categories {
    /// About keys of any type.
    pub const KEYSPACE: u32 = 1 << 0;
    /// Follows from the flag of that name, as do `WRITE`, `ADMIN`, `PUBSUB`, `FAST`, `SLOW` and `BLOCKING`.
    pub const READ: u32 = 1 << 1;
    /// May change the keyspace.
    pub const WRITE: u32 = 1 << 2;
    /// About sets.
    pub const SET: u32 = 1 << 3;
    /// About sorted sets.
    pub const SORTEDSET: u32 = 1 << 4;
    /// About lists.
    pub const LIST: u32 = 1 << 5;
    /// About hashes.
    pub const HASH: u32 = 1 << 6;
    /// About strings.
    pub const STRING: u32 = 1 << 7;
    /// About strings as bits.
    pub const BITMAP: u32 = 1 << 8;
    /// About HyperLogLogs.
    pub const HYPERLOGLOG: u32 = 1 << 9;
    /// About places.
    pub const GEO: u32 = 1 << 10;
    /// About streams.
    pub const STREAM: u32 = 1 << 11;
    /// About channels.
    pub const PUBSUB: u32 = 1 << 12;
    /// For administrators.
    pub const ADMIN: u32 = 1 << 13;
    /// Takes constant or logarithmic time.
    pub const FAST: u32 = 1 << 14;
    /// Everything that is not fast.
    pub const SLOW: u32 = 1 << 15;
    /// May wait.
    pub const BLOCKING: u32 = 1 << 16;
    /// Can harm whoever uses it without thinking.
    pub const DANGEROUS: u32 = 1 << 17;
    /// About the connection it came on.
    pub const CONNECTION: u32 = 1 << 18;
    /// About transactions.
    pub const TRANSACTION: u32 = 1 << 19;
    /// About scripts.
    pub const SCRIPTING: u32 = 1 << 20;

    /// The names that ACL rules use, in the order of COMMAND.
    pub const NAMES: [(u32, &str); 21] = [
        (KEYSPACE, "keyspace"),
        (READ, "read"),
        (WRITE, "write"),
        (SET, "set"),
        (SORTEDSET, "sortedset"),
        (LIST, "list"),
        (HASH, "hash"),
        (STRING, "string"),
        (BITMAP, "bitmap"),
        (HYPERLOGLOG, "hyperloglog"),
        (GEO, "geo"),
        (STREAM, "stream"),
        (PUBSUB, "pubsub"),
        (ADMIN, "admin"),
        (FAST, "fast"),
        (SLOW, "slow"),
        (BLOCKING, "blocking"),
        (DANGEROUS, "dangerous"),
        (CONNECTION, "connection"),
        (TRANSACTION, "transaction"),
        (SCRIPTING, "scripting"),
    ];

    /// The category of that name, in any case.
    #[must_use]
    pub fn find(name: &[u8]) -> Option<u32> {
        let known = NAMES.iter().find(|(_, known)| known.as_bytes().eq_ignore_ascii_case(name));
        known.map(|(category, _)| *category)
    }
}

/// The chapter of the documentation a command belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Keys of any type.
    Generic,
    /// Strings.
    String,
    /// The connection itself.
    Connection,
    /// MULTI and its kin.
    Transactions,
    /// The server itself.
    Server,
    /// The cluster.
    Cluster,
}

impl Group {
    /// Its name in COMMAND DOCS.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Generic => "generic",
            Self::String => "string",
            Self::Connection => "connection",
            Self::Transactions => "transactions",
            Self::Server => "server",
            Self::Cluster => "cluster",
        }
    }
}

/// One command, or one subcommand of a container such as CLIENT.
#[derive(Debug)]
pub struct Command {
    /// What dispatch matches on.
    pub id: Id,
    /// In lower case; of a subcommand the full name, such as `client|list`.
    pub name: &'static str,
    /// Arguments with the name(s); negative: at least that many.
    pub arity: i16,
    /// A set of [`flags`].
    pub flags: u32,
    /// A set of [`categories`].
    pub categories: u32,
    /// Where the keys are.
    pub keys: &'static [KeySpec],
    /// Of a container.
    pub subcommands: &'static [Command],
    /// The chapter it belongs to.
    pub group: Group,
    /// The version of Valkey or Redis that had it first.
    pub since: &'static str,
    /// One line on what it does.
    pub summary: &'static str,
    /// How long it takes.
    pub complexity: &'static str,
    /// The arguments in the notation of [`args`].
    pub args: &'static str,
    /// Hints to clients, separated by spaces.
    pub tips: &'static str,
    /// The version that deprecated it and what to use instead.
    pub deprecated: Option<(&'static str, &'static str)>,
    /// For the system itself, not for users.
    pub syscmd: bool,
}

impl Command {
    /// A command of constant time without keys, arguments, tips and subcommands; `explicit` are the categories
    /// that do not follow from its flags.
    const fn new(
        group: Group,
        explicit: u32,
        id: Id,
        name: &'static str,
        arity: i16,
        flags: u32,
        since: &'static str,
    ) -> Self {
        Self {
            id,
            name,
            arity,
            flags,
            categories: explicit | implied(flags),
            keys: &[],
            subcommands: &[],
            group,
            since,
            summary: "",
            complexity: "O(1)",
            args: "",
            tips: "",
            deprecated: None,
            syscmd: false,
        }
    }

    const fn about(self, summary: &'static str) -> Self {
        Self { summary, ..self }
    }

    const fn cost(self, complexity: &'static str) -> Self {
        Self { complexity, ..self }
    }

    /// Replaces the categories that its group has by default.
    const fn acl(self, explicit: u32) -> Self {
        Self { categories: explicit | implied(self.flags), ..self }
    }

    const fn keys(self, keys: &'static [KeySpec]) -> Self {
        Self { keys, ..self }
    }

    const fn args(self, args: &'static str) -> Self {
        Self { args, ..self }
    }

    const fn tips(self, tips: &'static str) -> Self {
        Self { tips, ..self }
    }

    const fn subcommands(self, subcommands: &'static [Self]) -> Self {
        Self { subcommands, ..self }
    }

    const fn deprecated(self, since: &'static str, instead: &'static str) -> Self {
        Self { deprecated: Some((since, instead)), ..self }
    }

    const fn syscmd(self) -> Self {
        Self { syscmd: true, ..self }
    }

    /// Whether it has all the `flags`.
    #[inline]
    #[must_use]
    pub fn is(&self, flags: u32) -> bool {
        self.flags & flags == flags
    }

    /// Whether it may be called with so many arguments, the name(s) counted.
    #[inline]
    #[must_use]
    pub fn takes(&self, args: usize) -> bool {
        if self.arity >= 0 {
            args == self.arity as usize
        } else {
            args >= usize::from(self.arity.unsigned_abs())
        }
    }

    /// The name behind the container's: `list` of `client|list`.
    #[must_use]
    pub fn last_name(&self) -> &'static str {
        self.name.split_once('|').map_or(self.name, |(_, sub)| sub)
    }

    /// The subcommand of that name, in any case.
    #[must_use]
    pub fn find_sub(&self, name: &[u8]) -> Option<&'static Self> {
        self.subcommands.iter().find(|sub| sub.last_name().as_bytes().eq_ignore_ascii_case(name))
    }
}

/// The categories that follow from flags.
const fn implied(flags: u32) -> u32 {
    const RULES: [(u32, u32); 6] = [
        (flags::WRITE, acl::WRITE),
        (flags::READONLY, acl::READ),
        (flags::ADMIN, acl::ADMIN | acl::DANGEROUS),
        (flags::PUBSUB, acl::PUBSUB),
        (flags::BLOCKING, acl::BLOCKING),
        (flags::FAST, acl::FAST),
    ];
    let mut categories = if flags & flags::FAST == 0 { acl::SLOW } else { 0 };
    let mut i = 0;
    while i < RULES.len() {
        if flags & RULES[i].0 != 0 {
            categories |= RULES[i].1;
        }
        i += 1;
    }
    categories
}

/// All commands by group; subcommands are found in their containers.
pub static GROUPS: [&[Command]; 7] = [
    string::COMMANDS,
    generic::COMMANDS,
    connection::COMMANDS,
    transactions::COMMANDS,
    server::COMMANDS,
    operator::COMMANDS,
    cluster::COMMANDS,
];

/// All commands without subcommands.
pub fn all() -> impl Iterator<Item = &'static Command> + Clone {
    GROUPS.iter().copied().flatten()
}

/// The command or subcommand that `argv` names, whatever else it says; the container itself if it says no more.
#[must_use]
pub fn lookup(argv: Argv<'_>) -> Option<&'static Command> {
    let command = find(argv.name())?;
    match argv.opt(1) {
        Some(name) if !command.subcommands.is_empty() => command.find_sub(name),
        _ => Some(command),
    }
}

/// The command or subcommand of that full name, such as `client|list`, in any case.
#[must_use]
pub fn by_full_name(name: &[u8]) -> Option<&'static Command> {
    let mut parts = name.splitn(2, |&b| b == b'|');
    let command = find(parts.next()?)?;
    parts.next().map_or(Some(command), |sub| command.find_sub(sub))
}

/// Which command `argv` calls, its subcommand being looked up and its arguments counted.
///
/// # Errors
/// What the client is told when there is no such command or it is not called like that.
#[inline]
pub fn resolve(argv: Argv<'_>) -> Result<&'static Command, Refusal<'_>> {
    let Some(mut command) = find(argv.name()) else { return Err(Refusal::UnknownCommand(argv)) };
    if !command.subcommands.is_empty()
        && let Some(name) = argv.opt(1)
    {
        command = command.find_sub(name).ok_or(Refusal::UnknownSubcommand(command, name))?;
    }
    if !command.takes(argv.len()) {
        return Err(Refusal::WrongArity(command));
    }
    Ok(command)
}

/// Why a line of arguments calls no command. `Display` is the whole error line.
#[derive(Clone, Copy, Debug)]
pub enum Refusal<'a> {
    /// There is no command of this name.
    UnknownCommand(Argv<'a>),
    /// The container has no subcommand of this name.
    UnknownSubcommand(&'static Command, &'a [u8]),
    /// There are too many or too few arguments.
    WrongArity(&'static Command),
}

/// How much of what a client sent is shown to it again, in bytes.
const SHOWN: usize = 128;

impl Refusal<'_> {
    /// Writes the error.
    pub fn reply(&self, reply: &mut Reply<'_>) {
        reply.error_args(format_args!("{self}"));
    }
}

impl fmt::Display for Refusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::UnknownCommand(argv) => {
                let (name, _) = shown(argv.name(), SHOWN);
                write!(f, "ERR unknown command '{name}', with args beginning with: ")?;
                let mut left = SHOWN;
                for arg in argv.after(1).iter() {
                    if left == 0 {
                        break;
                    }
                    let (text, len) = shown(arg, left);
                    write!(f, "'{text}' ")?;
                    left = left.saturating_sub(len + 3);
                }
                Ok(())
            }
            Self::UnknownSubcommand(container, name) => {
                let (name, _) = shown(name, SHOWN);
                write!(f, "ERR unknown subcommand '{name}'. Try {} HELP.", Upper(container.name))
            }
            Self::WrongArity(command) => {
                write!(f, "ERR wrong number of arguments for '{}' command", command.name)
            }
        }
    }
}

/// What of `text` is shown, and how many bytes that is: a C string's end and `most` bound it.
fn shown(text: &[u8], most: usize) -> (alloc::string::String, usize) {
    let text = text.split(|&b| b == 0).next().unwrap_or_default();
    let text = &text[..text.len().min(most)];
    (quote(text), text.len())
}

/// An ASCII name in upper case.
pub(super) struct Upper(pub(super) &'static str);

impl fmt::Display for Upper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| fmt::Write::write_char(f, c.to_ascii_uppercase()))
    }
}

#[cfg(test)]
mod tests;
