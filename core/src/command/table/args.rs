//! The notation in which the table writes the arguments of a command.
//!
//! Arguments are separated by spaces. `[a]` is optional, `a*` may be repeated, and `TOKEN=a**` is repeated together
//! with its token.
//!
//! | written | means |
//! |---|---|
//! | `value` | a string |
//! | `count:int`, `by:double`, `p:pattern`, `at:time` | an integer, floating point number, glob pattern, Unix time |
//! | `key#0` | a key, found by the first of the key specifications |
//! | `EX=seconds:int` | an integer behind the word EX |
//! | `NX` | the word NX alone; it is an argument called `nx` |
//! | `NODE=node-token:token` | the word NODE alone, with a name that is not its own |
//! | `condition(NX\|XX)` | one of these |
//! | `data{key#0 value}` | all of these, in order |
//! | `addr/ip:port` | an argument shown as `ip:port` |
//! | `GET@6.2.0` | there since that version |

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// What an argument is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One word; its type as COMMAND DOCS names it.
    Word(&'static str),
    /// A key, found by the key specification of this index.
    Key(i64),
    /// Only its token.
    Token,
    /// One of these.
    OneOf(Vec<Arg>),
    /// All of these.
    Block(Vec<Arg>),
}

/// One argument of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arg {
    /// What the documentation calls it.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// How syntax shows it, if not by its name.
    pub display: Option<&'static str>,
    /// The word in front of it.
    pub token: Option<&'static str>,
    /// The version it came with, if later than its command.
    pub since: Option<&'static str>,
    /// Whether it may be left out.
    pub optional: bool,
    /// Whether it may come more than once.
    pub multiple: bool,
    /// Whether the token is repeated with it.
    pub multiple_token: bool,
}

impl Kind {
    /// Its name in COMMAND DOCS.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Word(name) => name,
            Self::Key(_) => "key",
            Self::Token => "pure-token",
            Self::OneOf(_) => "oneof",
            Self::Block(_) => "block",
        }
    }
}

/// Reads the arguments of a command.
///
/// # Panics
/// When `text` breaks the notation: it comes from the table, all of which a test reads.
#[must_use]
pub fn parse(text: &'static str) -> Vec<Arg> {
    let mut notation = Notation { rest: text };
    let args = notation.list(None);
    assert!(notation.rest.is_empty(), "notation of arguments: {:?} of {text:?}", notation.rest);
    args
}

struct Notation {
    rest: &'static str,
}

impl Notation {
    fn eat(&mut self, mark: &str) -> bool {
        let rest = self.rest.strip_prefix(mark);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn word(&mut self, ends: &[char]) -> &'static str {
        let (word, rest) = self.rest.split_at(self.rest.find(ends).unwrap_or(self.rest.len()));
        self.rest = rest;
        word
    }

    /// Arguments up to `end`, which is taken as well.
    fn list(&mut self, end: Option<&str>) -> Vec<Arg> {
        let mut args = Vec::new();
        while !self.rest.is_empty() {
            if end.is_some_and(|end| self.eat(end)) {
                break;
            }
            if !self.eat(" ") && !self.eat("|") {
                args.push(self.arg());
            }
        }
        args
    }

    fn arg(&mut self) -> Arg {
        const ENDS: [char; 13] = ['=', '(', '{', '#', ':', '/', '@', '*', ' ', '|', ']', ')', '}'];
        let optional = self.eat("[");
        let mut word = self.word(&ENDS);
        let mut token = None;
        if self.eat("=") {
            token = Some(word);
            word = self.word(&ENDS);
        }
        assert!(!word.is_empty(), "notation of arguments: a name instead of {:?}", self.rest);
        let kind = if token.is_none() && word.starts_with(|c: char| c.is_ascii_uppercase()) {
            token = Some(word);
            Kind::Token
        } else if self.eat("(") {
            Kind::OneOf(self.list(Some(")")))
        } else if self.eat("{") {
            Kind::Block(self.list(Some("}")))
        } else if self.eat("#") {
            Kind::Key(i64::from(self.word(&ENDS).as_bytes()[0] - b'0'))
        } else if self.eat(":") {
            match self.word(&ENDS) {
                "int" => Kind::Word("integer"),
                "double" => Kind::Word("double"),
                "pattern" => Kind::Word("pattern"),
                "time" => Kind::Word("unix-time"),
                "token" => Kind::Token,
                other => panic!("notation of arguments: the type {other:?}"),
            }
        } else {
            Kind::Word("string")
        };
        let display = self.eat("/").then(|| self.word(&['@', '*', ' ', '|', ']', ')', '}']));
        let since = self.eat("@").then(|| self.word(&['*', ' ', '|', ']', ')', '}']));
        let multiple = self.eat("*");
        let multiple_token = multiple && self.eat("*");
        assert!(!optional || self.eat("]"), "notation of arguments: ] instead of {:?}", self.rest);
        let name = if kind == Kind::Token { word.to_ascii_lowercase() } else { String::from(word) };
        Arg { name, kind, display, token, since, optional, multiple, multiple_token }
    }
}

/// Syntax as people read it: `key value [NX | XX] [EX seconds]`.
pub struct Syntax<'a>(pub &'a [Arg]);

impl fmt::Display for Syntax<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        join(f, self.0, " ")
    }
}

fn join(f: &mut fmt::Formatter<'_>, args: &[Arg], between: &str) -> fmt::Result {
    for (i, arg) in args.iter().enumerate() {
        f.write_str(if i == 0 { "" } else { between })?;
        f.write_str(if arg.optional { "[" } else { "" })?;
        one(f, arg)?;
        f.write_str(if arg.optional { "]" } else { "" })?;
    }
    Ok(())
}

fn one(f: &mut fmt::Formatter<'_>, arg: &Arg) -> fmt::Result {
    let token = |f: &mut fmt::Formatter<'_>| match arg.token {
        Some(token) if arg.kind == Kind::Token => f.write_str(token),
        Some(token) => write!(f, "{token} "),
        None => Ok(()),
    };
    token(f)?;
    value(f, arg)?;
    if arg.multiple {
        f.write_str(" [")?;
        if arg.multiple_token {
            token(f)?;
        }
        value(f, arg)?;
        f.write_str(" ...]")?;
    }
    Ok(())
}

fn value(f: &mut fmt::Formatter<'_>, arg: &Arg) -> fmt::Result {
    match &arg.kind {
        Kind::Token => Ok(()),
        Kind::Word(_) | Kind::Key(_) => f.write_str(arg.display.unwrap_or(&arg.name)),
        Kind::Block(args) => join(f, args, " "),
        Kind::OneOf(args) if arg.optional && arg.token.is_none() => join(f, args, " | "),
        Kind::OneOf(args) => {
            f.write_str("<")?;
            join(f, args, " | ")?;
            f.write_str(">")
        }
    }
}
