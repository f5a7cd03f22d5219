//! All users of a process.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use super::selector::{Wrong, has_spaces};
use super::user::User;
use crate::wire::resp::quote;

/// The user that every client is at first.
pub const DEFAULT: &[u8] = b"default";

/// Why users cannot be made as somebody wants them: the text of the error, without its code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invalid(String);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The users by name. There is always the default user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Users {
    by_name: BTreeMap<Box<[u8]>, Arc<User>>,
    /// What `acl-pubsub-default` says of the channels of new users.
    all_channels: bool,
}

impl Default for Users {
    /// The default user alone, which may do everything without a password.
    fn default() -> Self {
        let mut users = Self { by_name: BTreeMap::new(), all_channels: false };
        users.ensure_default();
        users
    }
}

impl Users {
    fn ensure_default(&mut self) {
        let open: [&[u8]; 5] = [b"+@all", b"~*", b"&*", b"on", b"nopass"];
        if !self.by_name.contains_key(DEFAULT) {
            let mut user = User::new(DEFAULT, self.all_channels);
            open.iter().for_each(|rule| user.apply(rule).expect("a rule"));
            self.by_name.insert(DEFAULT.into(), Arc::new(user));
        }
    }

    /// The user of that name.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&Arc<User>> {
        self.by_name.get(name)
    }

    /// The default user.
    ///
    /// # Panics
    /// Never: it cannot be removed.
    #[must_use]
    pub fn default_user(&self) -> &Arc<User> {
        self.get(DEFAULT).expect("the default user is always there")
    }

    /// All users in the order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<User>> {
        self.by_name.values()
    }

    /// The user that a client may be from now on, if the password is right.
    #[must_use]
    pub fn log_in(&self, name: &[u8], password: &[u8]) -> Option<&Arc<User>> {
        self.get(name).filter(|user| user.lets_in(password))
    }

    /// What `acl-pubsub-default` says, for users made from now on.
    pub fn default_channels(&mut self, all: bool) {
        self.all_channels = all;
    }

    /// ACL SETUSER: makes or changes a user, following all rules or none.
    ///
    /// # Errors
    /// With the first rule that is none.
    pub fn set(&mut self, name: &[u8], rules: &[&[u8]]) -> Result<(), Invalid> {
        if has_spaces(name) {
            return Err(Invalid("Usernames can't contain spaces or null characters".into()));
        }
        let rules = merged(rules).map_err(|rule| {
            Invalid(format!("Unmatched parenthesis in acl selector starting at '{}'.", quote(rule)))
        })?;
        let mut user = match self.get(name) {
            Some(user) => User::clone(user),
            None => User::new(name, self.all_channels),
        };
        for rule in &rules {
            user.apply(rule).map_err(|wrong| {
                Invalid(format!("Error in ACL SETUSER modifier '{}': {wrong}", quote(rule)))
            })?;
        }
        self.by_name.insert(name.into(), Arc::new(user));
        Ok(())
    }

    /// ACL DELUSER: how many of them there were.
    ///
    /// # Errors
    /// When the default user is among them.
    pub fn remove(&mut self, names: &[&[u8]]) -> Result<usize, Invalid> {
        if names.contains(&DEFAULT) {
            return Err(Invalid("The 'default' user cannot be removed".into()));
        }
        Ok(names.iter().filter(|name| self.by_name.remove(**name).is_some()).count())
    }

    /// `requirepass`: the one password of the default user, or none when it is empty.
    pub fn require(&mut self, password: &str) {
        let mut user = User::clone(self.default_user());
        let rule =
            if password.is_empty() { Vec::from(b"nopass") } else { [b">", password.as_bytes()].concat() };
        for rule in [b"resetpass".as_slice(), &rule] {
            user.apply(rule).expect("a rule");
        }
        self.by_name.insert(DEFAULT.into(), Arc::new(user));
    }

    /// A `user` line of the configuration: replaces the default user, or adds one.
    ///
    /// # Errors
    /// In the words of Valkey's log.
    pub fn configure(&mut self, name: &str, rules: &[&str]) -> Result<(), String> {
        if has_spaces(name.as_bytes()) {
            return Err("Spaces not allowed in ACL usernames".into());
        }
        let mut user = User::new(name.as_bytes(), self.all_channels);
        let words: Vec<&[u8]> = rules.iter().map(|rule| rule.as_bytes()).collect();
        let rules = merged(&words).map_err(|rule| {
            format!("Unmatched parenthesis in acl selector starting at '{}'.", quote(rule))
        })?;
        for rule in &rules {
            user.apply(rule).map_err(|wrong| {
                format!("Error loading ACL rule '{}' for the user named '{name}': {wrong}", quote(rule))
            })?;
        }
        self.by_name.insert(name.as_bytes().into(), Arc::new(user));
        Ok(())
    }

    /// The users of an ACL file in the place of all there are.
    ///
    /// # Errors
    /// With all that is wrong with the file, in one line; `path` is what it is called there.
    pub fn load(&self, path: &str, text: &str) -> Result<Self, Invalid> {
        let mut loaded = Self { by_name: BTreeMap::new(), all_channels: self.all_channels };
        let mut errors = String::new();
        for (at, line) in text.split('\n').enumerate() {
            let line = line.trim_matches([' ', '\t', '\r', '\n']);
            if !line.is_empty() {
                loaded.line(line, &format!("{path}:{}", at + 1), at + 1, &mut errors);
            }
        }
        if errors.is_empty() {
            loaded.ensure_default();
            return Ok(loaded);
        }
        errors.push_str(
            "WARNING: ACL errors detected, no change to the previously active ACL rules was performed",
        );
        Err(Invalid(errors))
    }

    fn line(&mut self, line: &str, place: &str, number: usize, errors: &mut String) {
        let words: Vec<&str> = line.split(' ').collect();
        let ["user", name, rules @ ..] = words.as_slice() else {
            errors.push_str(&format!("{place} should start with user keyword followed by the username. "));
            return;
        };
        if has_spaces(name.as_bytes()) {
            errors.push_str(&format!("'{place}: username '{name}' contains invalid characters. "));
            return;
        }
        if self.by_name.contains_key(name.as_bytes()) {
            errors.push_str(&format!("WARNING: Duplicate user '{name}' found on line {number}. "));
            return;
        }
        let rules: Vec<&[u8]> = rules.iter().map(|rule| rule.as_bytes()).collect();
        let Ok(rules) = merged(&rules) else {
            errors.push_str(&format!("{place}: Unmatched parenthesis in selector definition."));
            return;
        };
        let mut user = User::new(name.as_bytes(), self.all_channels);
        let mut told = false;
        for rule in &rules {
            match user.apply(rule.trim_ascii()) {
                Ok(()) => {}
                Err(Wrong::Unknown) => errors.push_str(&format!(
                    "{place}: Error in applying operation '{}': {}. ",
                    quote(rule),
                    Wrong::Unknown
                )),
                // One wrong rule may make others wrong.
                Err(wrong) if !told => {
                    errors.push_str(&format!("{place}: {wrong}. "));
                    told = true;
                }
                Err(_) => {}
            }
        }
        self.by_name.insert(name.as_bytes().into(), Arc::new(user));
    }

    /// The `user` lines that make these users again, as in an ACL file.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.iter().map(|user| format!("user {} {}", String::from_utf8_lossy(user.name()), user.describe()))
    }
}

/// Rules in which a selector is one word, although it came in several; the word that opens it when nothing closes it.
fn merged<'a>(rules: &[&'a [u8]]) -> Result<Vec<Vec<u8>>, &'a [u8]> {
    let mut merged: Vec<Vec<u8>> = Vec::new();
    let mut open: Option<&[u8]> = None;
    for rule in rules {
        match merged.last_mut() {
            Some(selector) if open.is_some() => {
                selector.push(b' ');
                selector.extend_from_slice(rule);
            }
            _ => merged.push(rule.to_vec()),
        }
        if open.is_some() {
            open = open.filter(|_| !rule.ends_with(b")"));
        } else if rule.starts_with(b"(") && !rule.ends_with(b")") {
            open = Some(rule);
        }
    }
    open.map_or(Ok(merged), Err)
}
