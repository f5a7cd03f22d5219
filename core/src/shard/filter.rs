//! The filters of CLIENT LIST and CLIENT KILL.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::command::options::is;
use crate::command::refused::lines;
use crate::config::Config;
use crate::input::Origin;
use crate::shard::session::Client;
use crate::time::Now;
use crate::wire::resp::Argv;
use crate::wire::resp::number::integer;
use crate::wire::resp::quote;

const NO_ID: &str = "ERR client-id should be greater than 0";
/// The letters that `flags=` of a client may have; not all can appear here.
const FLAGS: &[u8] = b"bcdeirtuxABEIMNOPRSTU";
/// The letters that `capa=` of a client may have.
const CAPABILITIES: &[u8] = b"r";

/// Which kind of client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Type {
    Normal,
    /// Replicas, primaries and subscribers, of which this shard has none.
    Other,
}

/// What a client has to be, or must not be.
#[derive(Debug, Default)]
struct Terms {
    ids: Vec<u64>,
    address: Option<Vec<u8>>,
    local_address: Option<Vec<u8>>,
    ip: Option<Vec<u8>>,
    user: Option<Vec<u8>>,
    flags: Option<Vec<u8>>,
    name: Option<Vec<u8>>,
    lib_name: Option<Vec<u8>>,
    lib_ver: Option<Vec<u8>>,
    kind: Option<Type>,
    db: Option<u32>,
    capabilities: Option<Vec<u8>>,
}

/// Which clients are meant.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    is: Terms,
    is_not: Terms,
    age_secs: Option<u64>,
    idle_secs: Option<u64>,
    /// SKIPME: whether the client that asks is left out.
    pub(crate) skip_me: Option<bool>,
}

impl Filter {
    /// CLIENT KILL address
    pub(crate) fn address(address: &[u8]) -> Self {
        let is = Terms { address: Some(address.to_vec()), ..Terms::default() };
        Self { is, ..Self::default() }
    }

    /// Reads the options behind the subcommand.
    ///
    /// # Errors
    /// The error line.
    pub(crate) fn parse(argv: Argv<'_>, config: &Config) -> Result<Self, String> {
        let mut filter = Self::default();
        let mut next = 2;
        while let Some(option) = argv.opt(next) {
            let negated = option.get(..4).is_some_and(|begin| begin.eq_ignore_ascii_case(b"not-"));
            let word = if negated { &option[4..] } else { option };
            let terms = if negated { &mut filter.is_not } else { &mut filter.is };
            if is(word, b"id") && argv.len() > 3 {
                next = terms.read_ids(argv, next + 1)?;
                continue;
            }
            let Some(value) = argv.opt(next + 1) else { return Err(lines::SYNTAX.into()) };
            next += 2;
            if is(option, b"skipme") {
                filter.skip_me = Some(match () {
                    () if is(value, b"yes") => true,
                    () if is(value, b"no") => false,
                    () => return Err(lines::SYNTAX.into()),
                });
            } else if is(option, b"maxage") {
                filter.age_secs = Some(seconds(value, "maxage")?);
            } else if is(option, b"idle") {
                filter.idle_secs = Some(seconds(value, "idle")?);
            } else {
                terms.read(word, value, negated, config)?;
            }
        }
        Ok(filter)
    }

    /// Whether it takes a client that has these flags.
    pub(crate) fn matches(&self, client: &Client, flags: &[u8], now: Now) -> bool {
        let about = About::new(client, flags);
        self.is.all(&about)
            && !self.is_not.any(&about)
            && self.age_secs.is_none_or(|age| now.mono.since(client.opened).as_ms() / 1000 >= age)
            && self.idle_secs.is_none_or(|idle| now.mono.since(client.last_active).as_ms() / 1000 >= idle)
    }
}

fn seconds(value: &[u8], name: &str) -> Result<u64, String> {
    match integer(value).map(u64::try_from) {
        None => Err(format!("ERR {name} is not an integer or out of range")),
        Some(Ok(secs)) if secs > 0 => Ok(secs),
        Some(_) => Err(format!("ERR {name} should be greater than 0")),
    }
}

/// A client as filters see it.
struct About<'a> {
    client: &'a Client,
    flags: &'a [u8],
    address: String,
    local_address: String,
    ip: String,
}

impl<'a> About<'a> {
    fn new(client: &'a Client, flags: &'a [u8]) -> Self {
        let ip = match client.origin {
            Origin::Tcp { peer, .. } => format!("{}", peer.ip()),
            Origin::Unix => "/unixsocket".into(),
        };
        Self { client, flags, address: client.peer(), local_address: client.local(), ip }
    }
}

impl Terms {
    /// The numbers from a place on, if any, are ids; where they end.
    fn read_ids(&mut self, argv: Argv<'_>, from: usize) -> Result<usize, String> {
        let mut next = from;
        while let Some(id) = argv.opt(next).and_then(integer) {
            self.ids.push(u64::try_from(id).ok().filter(|id| *id > 0).ok_or(NO_ID)?);
            next += 1;
        }
        Ok(next)
    }

    fn read(&mut self, word: &[u8], value: &[u8], negated: bool, config: &Config) -> Result<(), String> {
        let texts: [(&[u8], &mut Option<Vec<u8>>); 6] = [
            (b"addr", &mut self.address),
            (b"laddr", &mut self.local_address),
            (b"ip", &mut self.ip),
            (b"name", &mut self.name),
            (b"lib-name", &mut self.lib_name),
            (b"lib-ver", &mut self.lib_ver),
        ];
        if let Some((_, text)) = texts.into_iter().find(|(name, _)| is(word, name)) {
            *text = Some(value.to_vec());
        } else if is(word, b"user") {
            if config.users.get(value).is_none() {
                return Err(format!("ERR No such user '{}'", quote(value)));
            }
            self.user = Some(value.to_vec());
        } else if is(word, b"type") {
            let others: [&[u8]; 5] = [b"master", b"primary", b"slave", b"replica", b"pubsub"];
            self.kind = Some(match () {
                () if is(value, b"normal") => Type::Normal,
                () if others.iter().any(|name| is(value, name)) => Type::Other,
                () => return Err(format!("ERR Unknown client type '{}'", quote(value))),
            });
        } else if is(word, b"db") {
            self.db =
                Some(database(value, if negated { "NOT-DB" } else { "DB" }, config.databases_in_use())?);
        } else if is(word, b"flags") {
            self.flags =
                Some(letters(value, FLAGS, "flags", if negated { "NOT-FLAGS" } else { "provided" })?);
        } else if is(word, b"capa") {
            let name = if negated { "NOT-CAPA" } else { "provided" };
            self.capabilities = Some(letters(value, CAPABILITIES, "capa", name)?);
        } else {
            return Err(lines::SYNTAX.into());
        }
        Ok(())
    }

    /// For every term whether it is given, and then whether the client is like that.
    fn each(&self, about: &About<'_>) -> [Option<bool>; 12] {
        let client = about.client;
        let named = |own: &[u8], wanted: &Vec<u8>| !own.is_empty() && own == wanted.as_slice();
        // The two ends of a slot migration are of types of their own, which have no name here.
        let moves_slots = about.flags.iter().any(|flag| b"iE".contains(flag));
        [
            (!self.ids.is_empty()).then(|| self.ids.contains(&client.id.0)),
            self.address.as_ref().map(|a| a == about.address.as_bytes()),
            self.local_address.as_ref().map(|a| a == about.local_address.as_bytes()),
            self.ip.as_ref().map(|ip| ip == about.ip.as_bytes()),
            self.user.as_ref().map(|user| client.user.name() == user.as_slice()),
            self.flags.as_ref().map(|flags| flags.iter().all(|f| about.flags.contains(f))),
            self.name.as_ref().map(|name| named(&client.name, name)),
            self.lib_name.as_ref().map(|name| named(&client.lib_name, name)),
            self.lib_ver.as_ref().map(|ver| named(&client.lib_ver, ver)),
            self.kind.map(|kind| kind == Type::Normal && !moves_slots),
            self.db.map(|db| db == client.db),
            self.capabilities.as_ref().map(|all| all.is_empty() || client.capa_redirect),
        ]
    }

    fn all(&self, about: &About<'_>) -> bool {
        self.each(about).iter().all(|term| *term != Some(false))
    }

    fn any(&self, about: &About<'_>) -> bool {
        self.each(about).contains(&Some(true))
    }
}

fn database(value: &[u8], name: &str, databases: u32) -> Result<u32, String> {
    let number = integer(value).and_then(|n| i32::try_from(n).ok());
    let number = number.ok_or_else(|| format!("ERR {name} is not an integer or out of range"))?;
    let db = u32::try_from(number).ok().filter(|db| *db < databases);
    db.ok_or_else(|| format!("ERR {name} number should be between 0 and {}", databases - 1))
}

fn letters(value: &[u8], known: &[u8], what: &str, filter: &str) -> Result<Vec<u8>, String> {
    let shown = value.split(|&b| b == 0).next().unwrap_or_default();
    if shown.iter().all(|letter| known.contains(letter)) {
        Ok(shown.to_vec())
    } else {
        Err(format!("ERR Unknown {what} found in the {filter} filter: {}", quote(value)))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::ids::{ClientId, LinkId};
    use crate::shard::session::Session;
    use crate::time::{Mono, Wall};
    use crate::wire::resp::ArgvBuf;

    fn now(secs: u64) -> Now {
        Now { mono: Mono(secs * 1_000_000), wall: Wall(secs * 1_000_000) }
    }

    fn parse(line: &str) -> Result<Filter, String> {
        let words: Vec<&[u8]> = line.split(' ').map(|w| if w == "''" { b"" } else { w.as_bytes() }).collect();
        Filter::parse(ArgvBuf::of(&words).argv(), &Config::default())
    }

    #[test]
    fn terms_take_and_leave_out() {
        let user = Config::default().users.default_user().clone();
        let mut client = Session::new(ClientId(7), LinkId::accepted(1), Origin::Unix, user, now(10)).client;
        client.name = Bytes::from_static(b"worker");
        client.db = 3;
        for (line, taken) in [
            ("CLIENT LIST", true),
            ("CLIENT LIST ID 1 7 9", true),
            ("CLIENT LIST ID 1 9", false),
            ("CLIENT LIST NOT-ID 1 9", true),
            ("CLIENT LIST NOT-ID 7", false),
            ("CLIENT LIST ID 7 NOT-ID", true),
            ("CLIENT LIST ID NAME worker", true),
            ("CLIENT LIST NAME worker DB 3 USER default", true),
            ("CLIENT LIST NAME worker DB 2", false),
            ("CLIENT LIST NOT-NAME worker", false),
            ("CLIENT LIST NOT-LIB-NAME ''", true),
            ("CLIENT LIST LIB-NAME ''", false),
            ("CLIENT LIST TYPE normal FLAGS U", true),
            ("CLIENT LIST TYPE pubsub", false),
            ("CLIENT LIST NOT-TYPE pubsub", true),
            ("CLIENT LIST FLAGS Ux", false),
            ("CLIENT LIST CAPA r", false),
            ("CLIENT LIST NOT-CAPA r", true),
            ("CLIENT LIST MAXAGE 10 IDLE 10", true),
            ("CLIENT LIST MAXAGE 11", false),
            ("CLIENT LIST NOT-USER default", false),
            ("CLIENT LIST IP /unixsocket ADDR /unixsocket:0 NOT-LADDR x", true),
        ] {
            assert_eq!(parse(line).unwrap().matches(&client, b"U", now(20)), taken, "{line}");
        }
    }

    #[test]
    fn the_ends_of_a_migration_are_no_normal_clients() {
        let user = Config::default().users.default_user().clone();
        let client = Session::new(ClientId(7), LinkId::accepted(1), Origin::Unix, user, now(10)).client;
        for flags in [&b"i"[..], b"E"] {
            assert!(!parse("CLIENT KILL TYPE normal").unwrap().matches(&client, flags, now(20)));
            assert!(parse("CLIENT KILL NOT-TYPE normal").unwrap().matches(&client, flags, now(20)));
        }
    }

    /// As a Valkey 9.1 answers.
    #[test]
    fn errors_are_valkeys() {
        for (line, error) in [
            ("CLIENT LIST ID", lines::SYNTAX),
            ("CLIENT LIST ID x", lines::SYNTAX),
            ("CLIENT LIST ID 5 x", lines::SYNTAX),
            ("CLIENT LIST ID 0", NO_ID),
            ("CLIENT LIST NOT-ID 5 -1", NO_ID),
            ("CLIENT LIST NOT-MAXAGE 5", lines::SYNTAX),
            ("CLIENT LIST MAXAGE 0", "ERR maxage should be greater than 0"),
            ("CLIENT LIST IDLE x", "ERR idle is not an integer or out of range"),
            ("CLIENT LIST DB x", "ERR DB is not an integer or out of range"),
            ("CLIENT LIST NOT-DB 16", "ERR NOT-DB number should be between 0 and 15"),
            ("CLIENT LIST USER nobody", "ERR No such user 'nobody'"),
            ("CLIENT LIST TYPE odd", "ERR Unknown client type 'odd'"),
            ("CLIENT LIST FLAGS NZ", "ERR Unknown flags found in the provided filter: NZ"),
            ("CLIENT LIST NOT-CAPA x", "ERR Unknown capa found in the NOT-CAPA filter: x"),
            ("CLIENT LIST SKIPME maybe", lines::SYNTAX),
        ] {
            assert_eq!(parse(line).unwrap_err(), error, "{line}");
        }
    }
}
