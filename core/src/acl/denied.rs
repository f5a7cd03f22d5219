//! What a user may not do.

use alloc::format;
use alloc::string::String;

use crate::command::table::Command;
use crate::wire::resp::{Argv, quote};

/// What of a command is not allowed. The order tells which is reported when several selectors refuse.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Denied {
    /// A database, named by this argument; 0 when the command names none.
    Database(usize),
    /// The command itself.
    Command,
    /// The key that is this argument.
    Key(usize),
}

impl Denied {
    /// The text of the error, without its code. Names of keys and databases are only told `in_full`, to administrators.
    #[must_use]
    pub fn message(self, user: &[u8], command: &Command, argv: Argv<'_>, in_full: bool) -> String {
        let user = quote(user);
        match self {
            Self::Command => format!("User {user} has no permissions to run the '{}' command", command.name),
            Self::Key(at) if in_full => {
                format!("User {user} has no permissions to access the '{}' key", quote(argv.get(at)))
            }
            Self::Key(_) => "No permissions to access a key".into(),
            Self::Database(at) if in_full => {
                format!("User {user} has no permissions to access database {}", quote(argv.get(at)))
            }
            Self::Database(_) => "No permissions to access database".into(),
        }
    }

    /// Why a command that had been queued does not run.
    #[must_use]
    pub fn overtaken(self) -> &'static str {
        match self {
            Self::Command => "no permission to execute the command or subcommand",
            Self::Key(_) => "no permission to touch the specified keys",
            Self::Database(_) => "no permission",
        }
    }
}
