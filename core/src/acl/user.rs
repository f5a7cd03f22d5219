//! A user: how it proves who it is, and what it may do.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::denied::Denied;
use super::password::Hash;
use super::selector::{Place, Selector, Wrong};
use crate::command::options::is;
use crate::command::table::Command;
use crate::wire::resp::{Argv, words};

/// One user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    name: Box<[u8]>,
    enabled: bool,
    /// Any password will do.
    nopass: bool,
    /// RESTORE trusts what it is given.
    skips_sanitizing: bool,
    passwords: Vec<Hash>,
    root: Selector,
    others: Vec<Selector>,
    /// `acl-pubsub-default allchannels` was in force when it was made.
    all_channels: bool,
}

impl User {
    /// A user that may not do anything.
    #[must_use]
    pub fn new(name: &[u8], all_channels: bool) -> Self {
        Self {
            name: name.into(),
            enabled: false,
            nopass: false,
            skips_sanitizing: false,
            passwords: Vec::new(),
            root: Selector::new(all_channels),
            others: Vec::new(),
            all_channels,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Whether anybody is let in under this name.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.enabled && self.nopass
    }

    /// Whether every password is right.
    #[must_use]
    pub fn has_no_password(&self) -> bool {
        self.nopass
    }

    /// Whether it may do everything.
    #[must_use]
    pub fn may_everything(&self) -> bool {
        self.root.is_open()
    }

    /// Follows one rule.
    ///
    /// # Errors
    /// When it is none; the user is then as before, but for rules followed earlier.
    pub fn apply(&mut self, rule: &[u8]) -> Result<(), Wrong> {
        match rule {
            [] => {}
            [b'>', password @ ..] => self.add_password(Hash::of(password)),
            [b'#', hash @ ..] => self.add_password(Hash::read(hash).ok_or(Wrong::BadHash)?),
            [b'<', password @ ..] => self.remove_password(&Hash::of(password))?,
            [b'!', hash @ ..] => self.remove_password(&Hash::read(hash).ok_or(Wrong::BadHash)?)?,
            [b'(', rules @ .., b')'] => {
                let mut selector = Selector::new(self.all_channels);
                for rule in words(rules).ok_or(Wrong::Syntax)? {
                    selector.apply(&rule)?;
                }
                self.others.push(selector);
            }
            word if is(word, b"on") || is(word, b"off") => self.enabled = is(word, b"on"),
            word if is(word, b"skip-sanitize-payload") => self.skips_sanitizing = true,
            word if is(word, b"sanitize-payload") => self.skips_sanitizing = false,
            word if is(word, b"nopass") || is(word, b"resetpass") => {
                self.nopass = is(word, b"nopass");
                self.passwords.clear();
            }
            word if is(word, b"clearselectors") => self.others.clear(),
            word if is(word, b"reset") => *self = Self::new(&self.name, self.all_channels),
            rule => self.root.apply(rule)?,
        }
        Ok(())
    }

    fn add_password(&mut self, hash: Hash) {
        if !self.passwords.contains(&hash) {
            self.passwords.push(hash);
        }
        self.nopass = false;
    }

    fn remove_password(&mut self, hash: &Hash) -> Result<(), Wrong> {
        let at = self.passwords.iter().position(|known| known == hash).ok_or(Wrong::NoSuchPassword)?;
        self.passwords.remove(at);
        Ok(())
    }

    /// Whether `password` opens the door.
    pub(super) fn lets_in(&self, password: &[u8]) -> bool {
        let given = Hash::of(password);
        self.enabled
            && (self.nopass || self.passwords.iter().fold(false, |found, known| found | known.is(&given)))
    }

    /// Whether it may run a command.
    ///
    /// # Errors
    /// What it may not.
    pub fn check(&self, command: &'static Command, argv: Argv<'_>, place: Place) -> Result<(), Denied> {
        let mut worst = match self.root.check(command, argv, place) {
            Ok(()) => return Ok(()),
            Err(denied) => denied,
        };
        for selector in &self.others {
            match selector.check(command, argv, place) {
                Ok(()) => return Ok(()),
                Err(denied) => worst = worst.max(denied),
            }
        }
        Err(worst)
    }

    /// The flags of ACL GETUSER. What is usual is not said, so that older versions can read it (as Valkey 9.1.2 does).
    #[must_use]
    pub fn flags(&self) -> Vec<&'static str> {
        let mut flags = Vec::from([if self.enabled { "on" } else { "off" }]);
        if self.nopass {
            flags.push("nopass");
        }
        if self.skips_sanitizing {
            flags.push("skip-sanitize-payload");
        }
        flags
    }

    /// The hashes of its passwords.
    #[must_use]
    pub fn passwords(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.passwords.iter().map(Hash::as_bytes)
    }

    /// The selector that every user has.
    #[must_use]
    pub fn root(&self) -> &Selector {
        &self.root
    }

    /// The selectors in brackets.
    #[must_use]
    pub fn others(&self) -> &[Selector] {
        &self.others
    }

    /// The rules that make this user again.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut text = self.flags().join(" ");
        for hash in self.passwords() {
            text.push_str(" #");
            text.push_str(core::str::from_utf8(hash).unwrap_or_default());
        }
        text.push(' ');
        text.push_str(&self.root.describe());
        for selector in &self.others {
            text.push_str(&(" (".to_owned() + &selector.describe() + ")"));
        }
        text
    }
}
