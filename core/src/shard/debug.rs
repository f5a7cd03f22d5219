//! DEBUG: what helps to test a node. Only where `enable-debug-command` allows it.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use sha1::{Digest as _, Sha1};

use crate::action::{Action, Actions};
use crate::command::options::is;
use crate::config::{Allowed, Config};
use crate::ids::JobName;
use crate::input::Origin;
use crate::mail::{Fact, Mail};
use crate::migration::export;
use crate::shard::Shard;
use crate::shard::whole::Request;
use crate::store::{Entry, Store};
use crate::time::{Now, Span};
use crate::wire::resp::quote;
use crate::wire::resp::{Argv, Reply};

/// The answer where DEBUG is not allowed.
pub(crate) const FORBIDDEN: &str = "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a local connection, otherwise you need to set this option in the configuration file, and then restart the server.";

const HELP: [&str; 17] = [
    "DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "DIGEST",
    "    A fingerprint of all keys and their values, the same on every node that holds the same.",
    "DIGEST-VALUE <key> [<key> ...]",
    "    A fingerprint of the value of each key.",
    "SET-ACTIVE-EXPIRE <0|1>",
    "    With 0, keys past their time are deleted only when somebody looks at them.",
    "SLEEP <seconds>",
    "    The process hangs for so long. Fractions are allowed.",
    "SLOTMIGRATION PREVENT-PAUSE <0|1>",
    "    With 1, migrations from this node do not come to their pause.",
    "SLOTMIGRATION PREVENT-FAILOVER <0|1>",
    "    With 1, migrations to this node do not take their slots over.",
    "ERROR <text>",
    "    An error reply with this text.",
    "HELP",
    "    Print this help.",
];

/// What DEBUG has changed about a shard.
#[derive(Debug)]
pub(crate) struct Debugging {
    /// Keys past their time are deleted without being looked at.
    pub(crate) expires_by_itself: bool,
    /// Exports do not pause.
    pub(crate) pause_prevented: bool,
    take_over_prevented: bool,
    /// Imports whose take-over is held back.
    held_back: Vec<JobName>,
}

impl Default for Debugging {
    fn default() -> Self {
        Self {
            expires_by_itself: true,
            pause_prevented: false,
            take_over_prevented: false,
            held_back: Vec::new(),
        }
    }
}

impl Debugging {
    /// Takes take-overs out of the mail while they are prevented.
    pub(crate) fn hold_back(&mut self, out: &mut Actions) {
        if !self.take_over_prevented && self.held_back.is_empty() {
            return;
        }
        let Self { take_over_prevented, held_back, .. } = self;
        out.mail.retain(|mail| match mail {
            Mail::Fact(Fact::TakeOver { job }) if *take_over_prevented => {
                held_back.push(*job);
                false
            }
            Mail::Fact(Fact::Withdraw { job } | Fact::Ended { job, .. }) => {
                held_back.retain(|held| held != job);
                true
            }
            _ => true,
        });
    }
}

/// Whether a client may use DEBUG.
pub(crate) fn is_allowed(config: &Config, origin: &Origin) -> bool {
    match config.enable_debug_command {
        Allowed::No => false,
        Allowed::Yes => true,
        Allowed::Local => origin.peer_ip().is_none_or(|ip| ip.to_canonical().is_loopback()),
    }
}

impl Shard {
    /// DEBUG.
    pub(crate) fn debug(
        &mut self,
        now: Now,
        request: &Request<'_>,
        reply: &mut Reply<'_>,
        out: &mut Actions,
    ) {
        let argv = request.argv;
        let word = argv.get(1);
        match argv.len() {
            2 if is(word, b"help") => {
                reply.array(HELP.len());
                HELP.iter().for_each(|line| reply.simple(line));
            }
            2 if is(word, b"digest") => {
                let databases = self.env.config.databases_in_use();
                reply.simple(&hex(&dataset(&self.data.store, databases)));
            }
            2.. if is(word, b"digest-value") => self.digest_values(now, request, reply),
            3 if is(word, b"sleep") => {
                out.push(Action::Sleep { time: seconds(argv.get(2)) });
                reply.ok();
            }
            3 if is(word, b"set-active-expire") => {
                self.debugging.expires_by_itself = is_set(argv.get(2));
                reply.ok();
            }
            3 if is(word, b"error") => {
                let text = quote(argv.get(2));
                reply.error(&text);
            }
            4 if is(word, b"slotmigration") && is(argv.get(2), b"prevent-pause") => {
                self.prevent_pause(now, is_set(argv.get(3)), out);
                reply.ok();
            }
            4 if is(word, b"slotmigration") && is(argv.get(2), b"prevent-failover") => {
                self.prevent_take_over(is_set(argv.get(3)), out);
                reply.ok();
            }
            _ => reply.error(&wrong_use(argv, "DEBUG")),
        }
    }

    fn digest_values(&mut self, now: Now, request: &Request<'_>, reply: &mut Reply<'_>) {
        let keys = request.argv.after(2);
        reply.array(keys.len());
        for key in keys.iter() {
            let at = self.data.store.at(request.db, key);
            let entry = self.data.store.get(&at).filter(|entry| !entry.is_expired(now.wall_ms()));
            let mut digest = Digest::default();
            if let Some(entry) = entry {
                digest.mix_value(entry);
            }
            reply.simple(&hex(&digest));
        }
    }

    fn prevent_pause(&mut self, now: Now, prevented: bool, out: &mut Actions) {
        self.debugging.pause_prevented = prevented;
        for (name, _) in self.job_names() {
            self.with_exports(now, out, |exports, s| {
                exports.tell_job(name, export::Input::PausePrevented(prevented), s);
            });
        }
    }

    fn prevent_take_over(&mut self, prevented: bool, out: &mut Actions) {
        self.debugging.take_over_prevented = prevented;
        if !prevented {
            let held_back = core::mem::take(&mut self.debugging.held_back);
            held_back.into_iter().for_each(|job| out.post(Fact::TakeOver { job }));
        }
    }
}

/// The error for a container's words that mean nothing together.
pub(crate) fn wrong_use(argv: Argv<'_>, container: &str) -> String {
    let word = quote(&argv.get(1)[..argv.get(1).len().min(128)]);
    format!("ERR unknown subcommand or wrong number of arguments for '{word}'. Try {container} HELP.")
}

/// As C's `atoi` sees it: whatever does not begin with a number other than zero is off.
fn is_set(word: &[u8]) -> bool {
    let digits = word.strip_prefix(b"-").unwrap_or(word);
    digits.iter().take_while(|b| b.is_ascii_digit()).any(|&b| b != b'0')
}

/// A time in seconds, of which fractions count; what is none counts as zero.
fn seconds(word: &[u8]) -> Span {
    let secs: f64 = core::str::from_utf8(word).ok().and_then(|text| text.parse().ok()).unwrap_or(0.0);
    // The cast takes whatever is negative or no number for zero.
    Span((secs * 1e6) as u64)
}

/// The fingerprint of Valkey's DEBUG DIGEST. The order of keys does not matter, the order of a value's parts does.
#[derive(Default, PartialEq, Eq, Debug)]
struct Digest([u8; 20]);

impl Digest {
    /// Adds a part in no order.
    fn xor(&mut self, part: &[u8]) {
        let hash = Sha1::digest(part);
        self.0.iter_mut().zip(hash).for_each(|(byte, hash)| *byte ^= hash);
    }

    /// Adds the next part.
    fn mix(&mut self, part: &[u8]) {
        self.xor(part);
        self.0 = Sha1::digest(self.0).into();
    }

    /// Adds type, value and whether the key ends.
    fn mix_value(&mut self, entry: &Entry) {
        const STRING: u32 = 0;
        self.mix(&STRING.to_be_bytes());
        self.mix(entry.string().unwrap_or_default());
        if entry.expiry_ms().is_some() {
            self.xor(b"!!expire!!");
        }
    }
}

fn dataset(store: &Store, databases: u32) -> Digest {
    let mut whole = Digest::default();
    for db in (0..databases).filter(|db| store.len(*db) > 0) {
        whole.mix(&db.to_be_bytes());
        store.for_each(db, &mut |entry| {
            let mut digest = Digest::default();
            digest.mix(entry.key());
            digest.mix_value(entry);
            whole.xor(&digest.0);
        });
    }
    whole
}

fn hex(digest: &Digest) -> String {
    digest.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Encoding, Layout, StoreConfig, Value};

    /// Taken down from a Valkey 9.1: `SET a 1`, `SET b hello`, `PEXPIREAT a 99999999999999`.
    #[test]
    fn the_digest_is_valkeys() {
        let mut store = Store::new(StoreConfig { databases: 2, layout: Layout::Standalone, seed: 7 });
        assert_eq!(hex(&dataset(&store, 2)), "0".repeat(40));
        for (key, value, expiry) in [("a", "1", Some(99_999_999_999_999)), ("b", "hello", None)] {
            let at = store.at(0, key.as_bytes());
            store.set(&at, Value::Str(value.as_bytes()), expiry, Encoding::of(value.as_bytes()));
        }
        assert_eq!(hex(&dataset(&store, 2)), "bd6c42b827c67d2717e11feac6ed92c703682f4f");
        for (key, expected) in [
            ("a", "5279988c5d1911f474bcbbf2f0a87012d40f8459"),
            ("b", "36b23a1456b2dce2c3ed252c456761301dba8060"),
        ] {
            let mut digest = Digest::default();
            digest.mix_value(store.get(&store.at(0, key.as_bytes())).unwrap());
            assert_eq!(hex(&digest), expected, "{key}");
        }
    }

    #[test]
    fn switches_and_times_are_read_as_c_reads_them() {
        for (word, on) in [("0", false), ("1", true), ("-2", true), ("x", false), ("", false), ("007", true)]
        {
            assert_eq!(is_set(word.as_bytes()), on, "{word}");
        }
        for (word, micros) in [("0.25", 250_000), ("2", 2_000_000), ("x", 0), ("-1", 0), ("nan", 0)] {
            assert_eq!(seconds(word.as_bytes()), Span(micros), "{word}");
        }
    }
}
