//! The configuration: every setting of Valkey 9.1 by name, read from files and command lines, shown by CONFIG GET,
//! changed by CONFIG SET, written back by CONFIG REWRITE.
//!
//! ```
//! use whimbrel_core::config::Config;
//! let mut config = Config::load("port 7000\ncluster-enabled yes", &mut |_| Err("no files".into())).unwrap();
//! assert_eq!((config.port, config.bus_port(), config.cluster_enabled), (7000, 17000, true));
//! config.set(&[(b"repl-backlog-size", b"2mb")], false).unwrap();
//! assert_eq!(config.get("repl-backlog-size").as_deref(), Some("2097152"));
//! let refused = config.set(&[(b"hz", b"fast")], false).unwrap_err();
//! assert!(refused.to_string().ends_with("argument couldn't be parsed into an integer"));
//! ```

mod fields;
mod file;
mod rewrite;
mod setting;
mod table;
mod values;

#[cfg(test)]
mod tests;

use alloc::borrow::{Cow, ToOwned};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

pub use fields::{
    Allowed, BUS_OFFSET, ClientsLimit, Config, EndpointType, Loglevel, OutputLimit, OutputLimits,
    Permissions, Policy, SaveBehavior,
};
pub use file::{CommandLine, Fatal};
use setting::{Setting, Support};
use table::SETTINGS;
pub(crate) use values::memory;

use crate::acl::Users;
use crate::command::glob;
use crate::wire::resp::quote;

/// Why CONFIG SET changed nothing: the text of its error reply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ERR {}", self.0)
    }
}

impl Refused {
    fn value(name: &str, why: &str) -> Self {
        Self(format!("CONFIG SET failed (possibly related to argument '{name}') - {why}"))
    }
}

/// Most rounds of periodic work per second.
const MAX_HZ: u64 = 500;
/// Fewest bytes of a replication backlog.
const MIN_BACKLOG: u64 = 16 * 1024;

/// Addresses that nobody can listen at.
const NOWHERE: &str = "Failed to bind to specified addresses.";
const NOT_YET: &str = "not available in Whimbrel yet";

/// A setting under the name it was asked for, in lower case.
fn lookup(name: &str) -> Option<(&'static Setting, &'static str)> {
    let name = name.to_ascii_lowercase();
    if let Ok(at) = SETTINGS.binary_search_by(|s| s.name.cmp(&name)) {
        return Some((&SETTINGS[at], SETTINGS[at].name));
    }
    SETTINGS.iter().find_map(|s| s.alias.filter(|a| *a == name).map(|a| (s, a)))
}

impl Config {
    /// The value of a setting by its name or alias, in any case, as CONFIG GET shows it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        lookup(name).map(|(setting, _)| self.value(setting).into_owned())
    }

    /// The reply of CONFIG GET: names and values, sorted by name. A pattern without `[`, `*` or `?` is a name and comes back
    /// as it was written; hidden settings are found by name only; an alias is listed under its own name.
    #[must_use]
    pub fn matching(&self, patterns: &[&[u8]]) -> Vec<(String, String)> {
        let mut found: Vec<(String, String)> = Vec::new();
        for pattern in patterns {
            if !pattern.iter().any(|b| b"[*?".contains(b)) {
                let Ok(name) = core::str::from_utf8(pattern) else { continue };
                found.extend(self.get(name).map(|value| (name.to_owned(), value)));
                continue;
            }
            for setting in SETTINGS.iter().filter(|s| !s.hidden) {
                let names = [Some(setting.name), setting.alias].into_iter().flatten();
                for name in names.filter(|n| glob::matches_nocase(pattern, n.as_bytes())) {
                    found.push((name.to_owned(), self.value(setting).into_owned()));
                }
            }
        }
        found.sort();
        found.dedup();
        found
    }

    /// CONFIG SET: all pairs of name and value, or none. `local` is whether the client is on the same machine.
    ///
    /// # Errors
    /// With the text of the error reply, when a name is unknown, may not be set or is set twice, or a value is not
    /// one of its setting or is not built yet.
    pub fn set(&mut self, pairs: &[(&[u8], &[u8])], local: bool) -> Result<(), Refused> {
        let mut found: Vec<(&Setting, &str)> = Vec::new();
        for (name, _) in pairs {
            let typed = String::from_utf8_lossy(name);
            let Some((setting, known)) = lookup(&typed) else {
                return Err(Refused(format!(
                    "Unknown option or number of arguments for CONFIG SET - '{}'",
                    quote(name)
                )));
            };
            if let Some(why) = self.locked(setting, local) {
                return Err(Refused::value(&typed, why));
            }
            if found.iter().any(|(_, other)| *other == known) {
                return Err(Refused::value(&typed, "duplicate parameter"));
            }
            found.push((setting, known));
        }
        let mut next = self.clone();
        for (&(setting, name), (_, value)) in found.iter().zip(pairs) {
            next.change(setting, value).map_err(|why| Refused::value(name, &why))?;
        }
        *self = next;
        Ok(())
    }

    /// The users, to change them.
    pub fn users_mut(&mut self) -> &mut Users {
        Arc::make_mut(&mut self.users)
    }

    /// Whether values of this setting must be kept out of logs (SLOWLOG, MONITOR).
    #[must_use]
    pub fn is_sensitive(name: &str) -> bool {
        lookup(name).is_some_and(|(setting, _)| setting.sensitive)
    }

    /// Names of settings that have another value than their default, which Whimbrel does not act on.
    #[must_use]
    pub fn ignored(&self) -> Vec<&'static str> {
        let ignored = |name: &&str| lookup(name).is_some_and(|(s, _)| !matches!(s.support, Support::Built));
        self.others.keys().copied().filter(|name| ignored(name)).collect()
    }

    fn value(&self, setting: &Setting) -> Cow<'_, str> {
        match self.others.get(setting.name) {
            Some(text) => Cow::Borrowed(text),
            None => self.field(setting.name).map_or(Cow::Borrowed(setting.default), Cow::Owned),
        }
    }

    fn put(&mut self, setting: &Setting, mut value: String) {
        // Two numbers that are brought into their range instead of being refused.
        let bounds = match setting.name {
            "hz" => Some((1, MAX_HZ)),
            "repl-backlog-size" => Some((MIN_BACKLOG, u64::MAX)),
            _ => None,
        };
        if let (Some((low, high)), Ok(n)) = (bounds, value.parse::<u64>()) {
            value = n.clamp(low, high).to_string();
        }
        if self.set_field(setting.name, &value) {
            match setting.name {
                "requirepass" => self.users_mut().require(&value),
                "acl-pubsub-default" => self.users_mut().default_channels(value == "allchannels"),
                _ => {}
            }
            return;
        }
        if value == setting.default {
            self.others.remove(setting.name);
        } else {
            self.others.insert(setting.name, value);
        }
    }

    /// Why a setting cannot be changed now, if so.
    fn locked(&self, setting: &Setting, local: bool) -> Option<&'static str> {
        if setting.immutable {
            return Some("can't set immutable config");
        }
        let allowed = match self.enable_protected_configs {
            Allowed::No => false,
            Allowed::Yes => true,
            Allowed::Local => local,
        };
        (setting.protected && !allowed).then_some("can't set protected config")
    }

    fn change(&mut self, setting: &Setting, value: &[u8]) -> Result<(), String> {
        let text = &*String::from_utf8_lossy(value);
        if setting.is_free_text() && core::str::from_utf8(value).is_err() {
            let is_bind = matches!(setting.kind, setting::Kind::Bind);
            return Err(if is_bind { NOWHERE } else { "argument must be UTF-8" }.to_string());
        }
        let words: Vec<&str> =
            if setting.takes_words() && !text.is_empty() { text.split(' ').collect() } else { [text].into() };
        let old = self.value(setting).into_owned();
        let new = setting.canonical(&words, &old, false)?;
        if new != old && (setting.at_start || !setting.accepts(&new)) {
            return Err(NOT_YET.to_owned());
        }
        if new != old {
            self.put(setting, new);
        }
        Ok(())
    }
}
