//! DEBUG: what helps to test a node. Only where `enable-debug-command` allows it.

pub(crate) mod digest;
mod faults;
pub(crate) mod keys;
mod protocol;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::action::{Action, Actions};
use crate::command::glob;
use crate::command::options::is;
use crate::command::refused::{lines, not_built};
use crate::config::{Allowed, Config};
use crate::ids::JobName;
use crate::input::Origin;
use crate::mail::{Fact, Mail};
use crate::migration::export;
use crate::rng::Rng;
use crate::shard::Shard;
use crate::shard::settle;
use crate::shard::whole::Request;
use crate::time::{Now, Span};
use crate::wire::resp::number::integer;
use crate::wire::resp::quote;
use crate::wire::resp::{Argv, Reply};

/// The answer where DEBUG is not allowed.
pub(crate) const FORBIDDEN: &str = "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a local connection, otherwise you need to set this option in the configuration file, and then restart the server.";

const HELP: [&str; 77] = [
    "DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "ASSERT",
    "    The process ends as after a failed assertion.",
    "CHANGE-REPL-ID",
    "    Another replication id.",
    "CLIENT-EVICTION",
    "    Clients by the memory they take, where maxmemory-clients is set.",
    "CLIENT-ENFORCE-REPLY-LIST <0|1>",
    "    Accepted: replies are kept in one way only.",
    "CLOSE-CLUSTER-LINK-ON-PACKET-DROP <0|1>",
    "    With 1, a link of the bus is closed with each packet that is dropped.",
    "CLUSTERLINK KILL <TO|FROM|ALL> <node-id>",
    "    Close the links to or from a node.",
    "DICT-RESIZING <0|1>",
    "    Accepted: tables grow and shrink in small steps.",
    "DIGEST",
    "    A fingerprint of all keys and their values, the same on every node that holds the same.",
    "DIGEST-VALUE <key> [<key> ...]",
    "    A fingerprint of the value of each key.",
    "DISABLE-CLUSTER-RANDOM-PING <0|1>",
    "    With 1, no node is pinged that need not be.",
    "DISABLE-CLUSTER-RECONNECTION <0|1>",
    "    With 1, missing links of the bus are not opened.",
    "DROP-CLUSTER-PACKET-FILTER <type>",
    "    Packets of this type are dropped when they arrive; -1: none, -2: all.",
    "ERROR <text>",
    "    An error reply with this text.",
    "HASHTABLE-CAN-ABORT-SHRINK <0|1>",
    "    Accepted: tables grow and shrink in small steps.",
    "HTSTATS <dbid> [full]",
    "    Figures about the tables of a database.",
    "HTSTATS-KEY <key> [full]",
    "    The same of a value that is kept in a hash table.",
    "LEAK <text>",
    "    Lose some memory.",
    "LISTPACK <key>",
    "    How a value in a listpack is kept.",
    "LOG <message>",
    "    Write a line to the log.",
    "OBJECT <key> [fast]",
    "    How a value is kept.",
    "OOM",
    "    The process ends as when there is no memory.",
    "PANIC",
    "    The process ends as after a panic.",
    "PAUSE-CRON <0|1>",
    "    With 1, nothing is done that is done from time to time.",
    "POPULATE <count> [<prefix>] [<size>]",
    "    Make keys `<prefix>:<n>`, wherever their slots are, and tell nobody of them.",
    "PROTOCOL <type>",
    "    A reply of a type: string, integer, double, bignum, null, array, set, map, attrib, push, verbatim, true, false.",
    "QUICKLIST <key> [<0|1>]",
    "    How a value in a quicklist is kept.",
    "QUICKLIST-PACKED-THRESHOLD <size>",
    "    Accepted: there are no lists yet.",
    "REPLICATE <word> [<word> ...]",
    "    Tell replicas something; there are none.",
    "REPLYBUFFER PEAK-RESET-TIME <NEVER|RESET|milliseconds>, REPLYBUFFER RESIZING <0|1>",
    "    Accepted: buffers of replies have no peak.",
    "SDSLEN <key>",
    "    Lengths of a key and its string.",
    "SEGFAULT",
    "    The process ends as after a bad access.",
    "SET-ACTIVE-EXPIRE <0|1>",
    "    With 0, keys past their time are deleted only when somebody looks at them.",
    "SLEEP <seconds>",
    "    The process hangs for so long. Fractions are allowed.",
    "SLOTMIGRATION PREVENT-PAUSE <0|1>",
    "    With 1, migrations from this node do not come to their pause.",
    "SLOTMIGRATION PREVENT-FAILOVER <0|1>",
    "    With 1, migrations to this node do not take their slots over.",
    "STRINGMATCH-TEST",
    "    Match random texts with random patterns.",
    "STRUCTSIZE",
    "    Sizes of some types.",
    "HELP",
    "    Print this help.",
];

/// Words of Valkey that need what is not built. `AOF-FLUSH-SLEEP` and others that slow something down are among them:
/// whoever relies on them shall not be told otherwise.
const NOT_BUILT: [&[u8]; 8] = [
    b"aof-flush-sleep",
    b"config-rewrite-force-all",
    b"crash-and-recover",
    b"delay-rdb-client-free-seconds",
    b"force-free-primary-async",
    b"loadaof",
    b"pause-after-fork",
    b"restart",
];

/// What DEBUG RELOAD may be told.
const RELOAD: [&[u8]; 3] = [b"merge", b"noflush", b"nosave"];
/// Patterns tried by DEBUG STRINGMATCH-TEST: some milliseconds.
const MATCHES: usize = 10_000;

/// Switches that tune what is not there or works without: accepted and forgotten.
const ACCEPTED: [&[u8]; 5] = [
    b"client-enforce-reply-list",
    b"dict-resizing",
    b"hashtable-can-abort-shrink",
    b"set-disable-deny-scripts",
    b"set-skip-checksum-validation",
];

/// What DEBUG has changed about a shard.
#[derive(Debug)]
pub(crate) struct Debugging {
    /// Keys past their time are deleted without being looked at.
    pub(crate) expires_by_itself: bool,
    /// Nothing is done that is done from time to time.
    pub(crate) cron_paused: bool,
    /// The replication id, where it is no longer the first one.
    pub(crate) replication_id: Option<[u8; 40]>,
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
            cron_paused: false,
            replication_id: None,
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
        out.mail.retain(|letter| match &letter.mail {
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
    /// Sleeps with the siblings that are being asked to by DEBUG SLEEP.
    pub(crate) fn sleep_too(&self, argv: Argv<'_>, out: &mut Actions) {
        if argv.len() == 3 && is(argv.get(1), b"sleep") {
            out.push(Action::Sleep { time: seconds(argv.get(2)) });
        }
    }

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
            3 if is(word, b"sleep") => {
                // With siblings this shard has slept when it asked them to.
                if request.parts.is_empty() {
                    out.push(Action::Sleep { time: seconds(argv.get(2)) });
                }
                reply.ok();
            }
            3 if is(word, b"error") => {
                // Only a line's end would end the line.
                let text: Vec<u8> =
                    argv.get(2).iter().map(|b| if b"\r\n".contains(b) { b' ' } else { *b }).collect();
                reply.raw(b"-");
                reply.raw(&text);
                reply.raw(b"\r\n");
            }
            3 if is(word, b"log") => {
                tracing::warn!("DEBUG LOG: {}", String::from_utf8_lossy(argv.get(2)));
                reply.ok();
            }
            3 if is(word, b"leak") => {
                core::mem::forget(argv.get(2).to_vec());
                reply.ok();
            }
            3 if is(word, b"protocol") => protocol::show(argv.get(2), reply),
            2.. if is(word, b"assert") => crash("DEBUG ASSERT", out),
            2.. if is(word, b"panic") => crash("DEBUG PANIC called", out),
            2.. if is(word, b"segfault") => crash("DEBUG SEGFAULT called", out),
            2.. if is(word, b"oom") => crash("DEBUG OOM: out of memory", out),
            3 if is(word, b"move-client") => match settle::named_by_debug(argv, &self.env) {
                Some(shard) if shard == self.env.index => reply.ok(),
                Some(_) => reply.error("ERR This client cannot move now"),
                None => reply.error("ERR There is no such shard"),
            },
            3.. if is(word, b"replicate") => reply.ok(),
            2 if is(word, b"stringmatch-test") => self.match_random_texts(reply),
            _ if self.switched(now, argv, reply, out) => {}
            _ if self.about_keys(now, request, reply) => {}
            _ if faults::said(&self.env, argv, reply, out) => {}
            2.. if is(word, b"reload") && argv.after(2).iter().any(|w| !RELOAD.iter().any(|o| is(w, o))) => {
                reply.error("ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.");
            }
            2.. if is(word, b"reload") || NOT_BUILT.iter().any(|w| is(word, w)) => {
                let word = String::from_utf8_lossy(word).to_ascii_uppercase();
                reply.error(&not_built(&format!("'DEBUG {word}'")));
            }
            _ => reply.error(&wrong_use(argv, "DEBUG")),
        }
    }

    /// Words that switch something on or off; whether it was one.
    fn switched(&mut self, now: Now, argv: Argv<'_>, reply: &mut Reply<'_>, out: &mut Actions) -> bool {
        let word = argv.get(1);
        match argv.len() {
            3 if is(word, b"set-active-expire") => self.debugging.expires_by_itself = is_set(argv.get(2)),
            3 if is(word, b"pause-cron") => self.debugging.cron_paused = is_set(argv.get(2)),
            2 if is(word, b"change-repl-id") => {
                // All shards come to the same, however often it was asked for.
                let before = self.debugging.replication_id.unwrap_or(self.run_id);
                let seed = before.iter().fold(0, |seed: u64, &b| seed.rotate_left(7) ^ u64::from(b));
                let mut id = [0; 40];
                Rng::new(seed).hex(&mut id);
                self.debugging.replication_id = Some(id);
            }
            4 if is(word, b"slotmigration") && is(argv.get(2), b"prevent-pause") => {
                self.prevent_pause(now, is_set(argv.get(3)), out);
            }
            4 if is(word, b"slotmigration") && is(argv.get(2), b"prevent-failover") => {
                self.prevent_take_over(is_set(argv.get(3)), out);
            }
            3 if is(word, b"quicklist-packed-threshold") => {
                let most = (1 << 32) - (1 << 20);
                if memory(argv.get(2)).is_none_or(|bytes| bytes > most) {
                    reply.error("ERR argument must be a memory value bigger than 1 and smaller than 4gb");
                    return true;
                }
            }
            4 if is(word, b"replybuffer") && is(argv.get(2), b"peak-reset-time") => {
                let known = [&b"never"[..], b"reset"].iter().any(|w| is(argv.get(3), w));
                if !known && integer(argv.get(3)).is_none() {
                    reply.error(lines::NOT_AN_INTEGER);
                    return true;
                }
            }
            4 if is(word, b"replybuffer") && is(argv.get(2), b"resizing") => {}
            3 if ACCEPTED.iter().any(|w| is(word, w)) => {}
            _ => return false,
        }
        reply.ok();
        true
    }

    fn match_random_texts(&mut self, reply: &mut Reply<'_>) {
        for _ in 0..MATCHES {
            let mut bytes = [0; 64];
            bytes.iter_mut().for_each(|b| *b = self.data.rng.bits() as u8);
            let (pattern, text) = bytes.split_at(self.data.rng.index(33));
            let _ = glob::matches(pattern, &text[..text.len().min(32)]);
        }
        reply.simple("Apparently the server did not crash: test passed");
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
            held_back.into_iter().for_each(|job| out.report(Fact::TakeOver { job }));
        }
    }
}

/// The error for a container's words that mean nothing together.
pub(crate) fn wrong_use(argv: Argv<'_>, container: &str) -> String {
    let word = quote(&argv.get(1)[..argv.get(1).len().min(128)]);
    format!("ERR unknown subcommand or wrong number of arguments for '{word}'. Try {container} HELP.")
}

/// Whether a word of DEBUG is about the key that follows it.
pub(crate) fn is_about_key(word: &[u8]) -> bool {
    let known: [&[u8]; 5] = [b"object", b"sdslen", b"htstats-key", b"listpack", b"quicklist"];
    known.iter().any(|w| is(word, w))
}

/// Whether an error reply is what DEBUG was asked for.
pub(crate) fn is_error(argv: Argv<'_>) -> bool {
    argv.len() == 3 && is(argv.get(1), b"error")
}

/// Ends the process at once, as a bug would.
fn crash(reason: &str, out: &mut Actions) {
    out.push(Action::Abort { reason: reason.into() });
}

/// A size as settings have it.
fn memory(word: &[u8]) -> Option<u64> {
    // C reads up to the first zero byte.
    let word = word.split(|&b| b == 0).next().unwrap_or_default();
    crate::config::memory(core::str::from_utf8(word).ok()?)
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

#[cfg(test)]
mod tests {
    use super::*;

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
