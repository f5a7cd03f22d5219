//! Reading configuration: files, standard input and the command line, which are one text in Valkey.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use super::{Config, NOT_YET, lookup};
use crate::wire::resp::words;

/// Files that include each other deeper than this include themselves.
const INCLUDE_DEPTH: usize = 16;

/// Lines of old files that mean nothing any more, and are accepted with their one value.
const FORGOTTEN: [&str; 4] =
    ["list-max-ziplist-entries", "list-max-ziplist-value", "lua-replicate-commands", "io-threads-do-reads"];

/// Why a process cannot start with a configuration, in the shape that Valkey prints on standard error.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fatal {
    /// Number of the line, from 1, and its text; `None` when no single line is to blame.
    pub line: Option<(usize, String)>,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n*** FATAL CONFIG FILE ERROR (Version {}) ***", env!("CARGO_PKG_VERSION"))?;
        if let Some((number, text)) = &self.line {
            writeln!(f, "Reading the configuration file, at line {number}\n>>> '{text}'")?;
        }
        f.write_str(&self.reason)
    }
}

impl core::error::Error for Fatal {}

/// The arguments of the program, sorted: `[file] [--name value …]… [-]`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CommandLine {
    /// Path of the configuration file.
    pub file: Option<String>,
    /// Whether more configuration comes from standard input (`-` as first or last argument).
    pub stdin: bool,
    /// The options as lines of a configuration file.
    pub options: String,
}

impl CommandLine {
    /// Sorts arguments (without the program's name).
    ///
    /// ```
    /// use whimbrel_core::config::CommandLine;
    /// let line = CommandLine::parse(&["a.conf", "--port", "7000", "--bind", "127.0.0.1", "::1", "-"]);
    /// assert_eq!(line.file.as_deref(), Some("a.conf"));
    /// assert!(line.stdin);
    /// assert_eq!(line.options, "port \"7000\" \nbind \"127.0.0.1\" \"::1\" ");
    /// ```
    #[must_use]
    pub fn parse<A: AsRef<str>>(arguments: &[A]) -> Self {
        let arguments: Vec<&str> = arguments.iter().map(AsRef::as_ref).collect();
        let mut line = Self::default();
        let mut first = 0;
        if let Some(path) = arguments.first().filter(|a| !a.starts_with('-')) {
            line.file = Some((*path).to_owned());
            first = 1;
        }
        // An option may be followed by values only when its name stood alone.
        let mut named = true;
        for (at, &argument) in arguments.iter().enumerate().skip(first) {
            let last = at + 1 == arguments.len();
            if argument == "-" && (at == 0 || last) {
                line.stdin = true;
            } else if let Some(option) = argument.strip_prefix("--").filter(|_| named) {
                if !line.options.is_empty() {
                    line.options.push('\n');
                }
                line.options.push_str(option);
                line.options.push(' ');
                named = words(argument.as_bytes()).is_some_and(|w| w.len() != 1);
                // `--save` may come without a value, and then means none.
                let bare = last || arguments[at + 1].starts_with("--");
                if bare && argument.eq_ignore_ascii_case("--save") {
                    line.options.push_str("\"\"");
                    named = true;
                }
            } else {
                quote(&mut line.options, argument);
                line.options.push(' ');
                named = true;
            }
        }
        line
    }
}

/// Appends `text` in double quotes, so that [`words`] reads it back.
pub(super) fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            ' '..='~' => out.push(c),
            // Valkey escapes every byte it cannot print.
            other => {
                let mut utf8 = [0; 4];
                for byte in other.encode_utf8(&mut utf8).bytes() {
                    out.push_str(&format!("\\x{byte:02x}"));
                }
            }
        }
    }
    out.push('"');
}

struct Loading<'a> {
    config: Config,
    /// Where each setting got its value last.
    set_at: BTreeMap<&'static str, (usize, String)>,
    /// The `user` lines, with their numbers: they count after everything else is known.
    users: Vec<(usize, String, Vec<String>)>,
    include: &'a mut dyn FnMut(&str) -> Result<String, String>,
}

impl Config {
    /// Reads the text of configuration files, standard input and options, in this order, one after the other.
    /// `include` gives the text of an included file (of all files, when the path is a pattern), or says why not.
    ///
    /// # Errors
    /// With the line that is to blame, when it is not understood, or when it asks for what is not built.
    pub fn load(text: &str, include: &mut dyn FnMut(&str) -> Result<String, String>) -> Result<Self, Fatal> {
        let mut loading =
            Loading { config: Self::default(), set_at: BTreeMap::new(), users: Vec::new(), include };
        loading.lines(text, 0)?;
        loading.finish()
    }
}

impl Loading<'_> {
    fn lines(&mut self, text: &str, depth: usize) -> Result<(), Fatal> {
        for (at, line) in text.split('\n').enumerate() {
            let line = line.trim_matches([' ', '\t', '\r', '\n']);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let blame = |reason: String| Fatal { line: Some((at + 1, line.to_owned())), reason };
            let words = words(line.as_bytes())
                .ok_or_else(|| blame("Unbalanced quotes in configuration line".to_owned()))?;
            let words: Vec<String> = words
                .into_iter()
                .map(String::from_utf8)
                .collect::<Result<_, _>>()
                .map_err(|_| blame("argument must be UTF-8".to_owned()))?;
            let [name, arguments @ ..] = words.as_slice() else { continue };
            if name.eq_ignore_ascii_case("include")
                && let [path] = arguments
            {
                if depth == INCLUDE_DEPTH {
                    return Err(blame("include nested too deeply".to_owned()));
                }
                let text = (self.include)(path).map_err(|reason| Fatal { line: None, reason })?;
                self.lines(&text, depth + 1)?;
                continue;
            }
            if name.eq_ignore_ascii_case("user") && !arguments.is_empty() {
                self.users.push((at + 1, line.to_owned(), arguments.to_vec()));
                continue;
            }
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            if let Some(set) = self.directive(name, &arguments).map_err(&blame)? {
                self.set_at.insert(set, (at + 1, line.to_owned()));
            }
        }
        Ok(())
    }

    /// Follows one line; the name of the setting it was about, if any.
    fn directive(&mut self, name: &str, arguments: &[&str]) -> Result<Option<&'static str>, String> {
        let Some((setting, _)) = lookup(name) else {
            return other_directive(&name.to_ascii_lowercase(), arguments).map(|()| None);
        };
        let split;
        let words = match arguments {
            // One argument may hold them all, as CONFIG SET and `--name "a b"` have it.
            [one] if setting.takes_words() && !one.is_empty() => {
                split = words(one.as_bytes()).ok_or("wrong number of arguments")?;
                split.iter().map(|w| core::str::from_utf8(w).unwrap_or_default()).collect::<Vec<_>>()
            }
            _ => arguments.to_vec(),
        };
        let old = self.config.value(setting).into_owned();
        let new = setting.canonical(&words, &old, true)?;
        self.config.put(setting, new);
        Ok(Some(setting.name))
    }

    fn finish(mut self) -> Result<Config, Fatal> {
        self.make_users()?;
        for (name, (number, text)) in self.set_at {
            let (setting, _) = lookup(name).expect("a name that was looked up before");
            if !setting.accepts(&self.config.value(setting)) {
                let reason = format!("'{name}' with this value is {NOT_YET}");
                return Err(Fatal { line: Some((number, text)), reason });
            }
        }
        Ok(self.config)
    }
}

impl Loading<'_> {
    /// Makes the users of the `user` lines.
    fn make_users(&mut self) -> Result<(), Fatal> {
        if !self.users.is_empty() && !self.config.aclfile.is_empty() {
            let reason = "Configuring Whimbrel with users defined in the configuration file and at the same time \
                          setting an ACL file path is invalid. Please define either an ACL file or declare users \
                          directly in the configuration file, but not both."
                .to_owned();
            return Err(Fatal { line: None, reason });
        }
        let users = core::mem::take(&mut self.users);
        for (at, (number, line, words)) in users.iter().enumerate() {
            let blame = |reason: String| Fatal { line: Some((*number, line.clone())), reason };
            let [name, rules @ ..] = words.as_slice() else { continue };
            if users[..at].iter().any(|(_, _, earlier)| earlier[0] == *name) {
                let twice = "Duplicate user found. A user can only be defined once in config files";
                return Err(blame(format!("Error in user declaration '{name}': {twice}")));
            }
            let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
            self.config.users_mut().configure(name, &rules).map_err(blame)?;
        }
        Ok(())
    }
}

fn other_directive(name: &str, arguments: &[&str]) -> Result<(), String> {
    let not_yet = || Err(format!("'{name}' is {NOT_YET}"));
    match (name, arguments) {
        (name, [_]) if FORGOTTEN.contains(&name) => Ok(()),
        ("rename-command", [_, _]) | ("loadmodule", [_, ..]) => not_yet(),
        ("sentinel", [_, ..]) => Err("sentinel directive while not in sentinel mode".to_string()),
        (module, [_, ..]) if module.contains('.') => not_yet(),
        (module, []) if module.contains('.') => Err("Module config specified without value".to_string()),
        _ => Err("Bad directive or wrong number of arguments".to_string()),
    }
}
