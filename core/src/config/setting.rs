//! What one setting is: its name, the shape of its value, and what Whimbrel does with it.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::values;

/// The shape of a value. Numbers carry their lowest and highest value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// `yes` or `no`.
    Bool,
    /// Any text; empty means not set.
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Some of these words; the first stands for none.
    Words(&'static [&'static str]),
    /// A signed integer.
    Int(i128, i128),
    /// An unsigned integer: a negative one counts as 2^64 less, as in C.
    Uint(i128, i128),
    /// An octal number up to this one.
    Octal(i128),
    /// A size in bytes with an optional unit, unsigned.
    Memory(i128, i128),
    /// The same in a signed field.
    LongMemory(i128, i128),
    /// The same, where negative numbers mean something.
    SignedMemory(i128, i128),
    /// A size in bytes or a percentage of `maxmemory`.
    MemoryOrPercent,
    /// Addresses to listen at.
    Bind,
    /// Limits of output buffers per class of client.
    OutputLimits,
    /// The working folder.
    Dir,
    /// Percentiles of INFO latencystats.
    Percentiles,
    /// Classes of keyspace events.
    Events,
    /// Three scores for the kernel's OOM killer.
    OomScores,
    /// Host and port of a primary.
    Primary,
    /// Pairs of seconds and changes after which to save.
    SaveRules,
}

/// What Whimbrel does with a setting.
#[derive(Clone, Copy, Debug)]
pub(super) enum Support {
    /// What Valkey does.
    Built,
    /// Nothing, which harms nobody: any value is accepted, and named at start when it is not the default.
    Ignored,
    /// Nothing, and values with a word that is not listed promise something that would not be kept: they are refused.
    Only(&'static [&'static str]),
}

/// One row of the table.
#[derive(Debug)]
pub(super) struct Setting {
    pub(super) name: &'static str,
    pub(super) alias: Option<&'static str>,
    pub(super) kind: Kind,
    /// Its default, as CONFIG GET shows it.
    pub(super) default: &'static str,
    pub(super) support: Support,
    /// Read from the file and the command line only.
    pub(super) immutable: bool,
    /// As `immutable`, but only in Whimbrel, until the drivers can change it.
    pub(super) at_start: bool,
    /// Changed only where `enable-protected-configs` allows it.
    pub(super) protected: bool,
    /// CONFIG GET shows it by its exact name only.
    pub(super) hidden: bool,
    /// Its value must not get into logs.
    pub(super) sensitive: bool,
}

/// A row with no flags.
pub(super) const fn row(name: &'static str, kind: Kind, default: &'static str, support: Support) -> Setting {
    Setting {
        name,
        alias: None,
        kind,
        default,
        support,
        immutable: false,
        at_start: false,
        protected: false,
        hidden: false,
        sensitive: false,
    }
}

impl Setting {
    pub(super) const fn or(mut self, alias: &'static str) -> Self {
        self.alias = Some(alias);
        self
    }

    pub(super) const fn immutable(mut self) -> Self {
        self.immutable = true;
        self
    }

    pub(super) const fn at_start(mut self) -> Self {
        self.at_start = true;
        self
    }

    pub(super) const fn protected(mut self) -> Self {
        self.protected = true;
        self
    }

    pub(super) const fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    pub(super) const fn sensitive(mut self) -> Self {
        self.sensitive = true;
        self
    }

    /// Whether its value is a list of words.
    pub(super) fn takes_words(&self) -> bool {
        use Kind::*;
        matches!(self.kind, Words(_) | Bind | OutputLimits | Percentiles | OomScores | Primary | SaveRules)
    }

    /// Whether any text is a value.
    pub(super) fn is_free_text(&self) -> bool {
        use Kind::*;
        matches!(self.kind, Text | Dir | Bind | Primary)
    }

    /// Whether Whimbrel can live with this value, given as CONFIG GET shows it.
    pub(super) fn accepts(&self, value: &str) -> bool {
        match self.support {
            Support::Built | Support::Ignored => true,
            Support::Only(words) => {
                value == self.default || value.split_whitespace().all(|word| words.contains(&word))
            }
        }
    }

    /// Reads a value; returns it as CONFIG GET shows it. `old` is the value so far, and `adding` whether a rule
    /// is added to it (a line of the file) or takes its place.
    pub(super) fn canonical(&self, words: &[&str], old: &str, adding: bool) -> Result<String, String> {
        let one = || match words {
            [one] => Ok(*one),
            _ => Err("wrong number of arguments".to_owned()),
        };
        match self.kind {
            Kind::Bool => match one()? {
                yes if yes.eq_ignore_ascii_case("yes") => Ok("yes".to_owned()),
                no if no.eq_ignore_ascii_case("no") => Ok("no".to_owned()),
                _ => Err("argument must be 'yes' or 'no'".to_owned()),
            },
            Kind::Text => {
                let text = one()?;
                values::check_text(self.name, text)?;
                Ok(text.to_owned())
            }
            Kind::Word(known) => {
                let word = one()?;
                let found = known.iter().find(|k| k.eq_ignore_ascii_case(word));
                found.map(|k| (*k).to_owned()).ok_or_else(|| not_one_of(known))
            }
            Kind::Words(known) => some_of(known, words),
            Kind::Bind => values::bind(words),
            Kind::OutputLimits => values::output_limits(words, old),
            Kind::Dir => match one()? {
                "" => Err("dir can't be empty".to_owned()),
                path => Ok(path.to_owned()),
            },
            Kind::Percentiles => values::percentiles(words),
            Kind::Events => values::events(one()?),
            Kind::OomScores => values::oom_scores(words),
            Kind::Primary => values::primary(words),
            Kind::SaveRules => values::save_rules(words, if adding { old } else { "" }),
            _ => self.number(one()?),
        }
    }

    fn number(&self, text: &str) -> Result<String, String> {
        use Kind::*;
        let parsed = match self.kind {
            Octal(_) => values::octal(text).ok_or("argument couldn't be parsed as an octal number"),
            MemoryOrPercent => values::memory(text)
                .map(|n| i128::from(n as i64))
                .or_else(|| values::percent(text).map(|n| -n))
                .ok_or("argument must be a memory or percent value"),
            SignedMemory(..) => values::memory(text)
                .map(|n| i128::from(n as i64))
                .or_else(|| values::integer(text))
                .ok_or("argument must be a memory value"),
            // The C field is signed: what does not fit is a negative number there.
            LongMemory(..) => {
                values::memory(text).map(|n| i128::from(n as i64)).ok_or("argument must be a memory value")
            }
            Memory(..) => values::memory(text).map(i128::from).ok_or("argument must be a memory value"),
            _ => values::integer(text).ok_or("argument couldn't be parsed into an integer"),
        };
        let n = parsed.map_err(ToString::to_string)?;
        let (checked, low, high) = match self.kind {
            MemoryOrPercent if n < -100 => {
                return Err("percentage argument must be less or equal to 100".to_owned());
            }
            MemoryOrPercent => return Ok(if n < 0 { format!("{}%", -n) } else { n.to_string() }),
            Octal(high) => {
                if (0..=high).contains(&n) {
                    return Ok(format!("{n:o}"));
                }
                return Err(format!("argument must be between 0 and {high:o} inclusive"));
            }
            Uint(low, high) => (i128::from(n as i64 as u64), low, high),
            Int(low, high) | Memory(low, high) | LongMemory(low, high) | SignedMemory(low, high) => {
                (n, low, high)
            }
            _ => unreachable!("{}: not a number", self.name),
        };
        if checked < low || checked > high {
            return Err(format!("argument must be between {low} and {high} inclusive"));
        }
        Ok(n.to_string())
    }
}

fn not_one_of(known: &[&str]) -> String {
    format!("argument(s) must be one of the following: {}", known.join(", "))
}

/// Words of a set, in the order of the set; its first word stands for the empty set.
fn some_of(known: &'static [&'static str], words: &[&str]) -> Result<String, String> {
    if words.is_empty() || !words.iter().all(|w| known.iter().any(|k| k.eq_ignore_ascii_case(w))) {
        return Err(not_one_of(known));
    }
    let given = |k: &&&str| words.iter().any(|w| w.eq_ignore_ascii_case(k));
    let found: Vec<&str> = known[1..].iter().filter(given).copied().collect();
    if found.contains(&"save") && found.contains(&"nosave") {
        return Err("shutdown options SAVE and NOSAVE can't be used simultaneously".to_owned());
    }
    Ok(if found.is_empty() { known[0].to_owned() } else { found.join(" ") })
}
