//! Who may do what: users, their passwords, and the rules of ACL.
//!
//! A [`User`] has [`Selector`]s, each a set of commands, key patterns, channel patterns and databases; a command may
//! run if one selector allows all of it. Rules are read and written in the words of Valkey (`+@read`, `%R~cache:*`), so
//! that its ACL files and `user` lines work here.
//!
//! ```
//! use whimbrel_core::acl::Users;
//! let mut users = Users::default();
//! users.set(b"ann", &[b"on", b">secret", b"~a:*", b"+get"]).unwrap();
//! assert!(users.log_in(b"ann", b"secret").is_some());
//! assert!(users.log_in(b"ann", b"guess").is_none());
//! ```

mod commands;
mod denied;
mod known;
mod log;
mod password;
mod selector;
mod user;
mod users;

#[cfg(test)]
mod tests;

pub use denied::Denied;
pub use log::{Context, Entry, Log, Reason};
pub use selector::{Place, Selector, Wrong};
pub use user::User;
pub use users::{DEFAULT, Invalid, Users};
