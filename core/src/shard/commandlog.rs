//! SLOWLOG and COMMANDLOG: the last commands that took long, were large, or had a large reply.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Reverse;

use crate::command::options::is;
use crate::command::table::{Command, Id, flags};
use crate::config::Config;
use crate::ids::{ShardIndex, Shards};
use crate::shard::debug::wrong_use;
use crate::shard::gather::Part;
use crate::shard::redact::{REDACTED, is_secret};
use crate::shard::session::Client;
use crate::time::{Now, Wall};
use crate::wire::resp::number::integer;
use crate::wire::resp::{Argv, Reply};

/// Most words of a command that are kept; the last says how many more there were.
const WORDS: usize = 32;
/// Most bytes of a word that are kept.
const WORD_BYTES: usize = 128;
/// Entries that SLOWLOG GET shows unless told otherwise.
const SHOWN: i64 = 10;

const BAD_COUNT: &str = "ERR count should be greater than or equal to -1";
const BAD_TYPE: &str = "ERR type should be one of the following: slow, large-request, large-reply";

/// What a log is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Commands that took long, in microseconds.
    Slow,
    /// Long commands, in bytes on the wire.
    LargeRequest,
    /// Commands with long replies, in bytes on the wire.
    LargeReply,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Slow, Self::LargeRequest, Self::LargeReply];

    fn read(word: &[u8]) -> Option<Self> {
        match () {
            () if is(word, b"slow") => Some(Self::Slow),
            () if is(word, b"large-request") => Some(Self::LargeRequest),
            () if is(word, b"large-reply") => Some(Self::LargeReply),
            () => None,
        }
    }

    /// From which value on a command is logged, if at all, and how many entries are kept.
    fn limits(self, config: &Config) -> (Option<u64>, u64) {
        let (threshold, len) = match self {
            Self::Slow => (config.commandlog_execution_slower_than, config.commandlog_slow_execution_max_len),
            Self::LargeRequest => {
                (config.commandlog_request_larger_than, config.commandlog_large_request_max_len)
            }
            Self::LargeReply => (config.commandlog_reply_larger_than, config.commandlog_large_reply_max_len),
        };
        (u64::try_from(threshold).ok().filter(|_| len > 0), len)
    }
}

/// One command that was logged.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    id: u64,
    time_secs: u64,
    value: u64,
    words: Vec<Box<[u8]>>,
    peer: String,
    name: Box<[u8]>,
}

impl Entry {
    fn reply(&self, reply: &mut Reply<'_>) {
        reply.array(6);
        reply.int(self.id as i64);
        reply.int(self.time_secs as i64);
        reply.int(self.value as i64);
        reply.array(self.words.len());
        self.words.iter().for_each(|word| reply.bulk(word));
        reply.bulk(self.peer.as_bytes());
        reply.bulk(&self.name);
    }
}

/// One log, the newest entry first.
#[derive(Debug, Default)]
struct Log {
    threshold: Option<u64>,
    max_len: u64,
    entries: VecDeque<Entry>,
    next_id: u64,
}

/// The three logs.
#[derive(Debug, Default)]
pub(crate) struct CommandLogs {
    logs: [Log; 3],
    /// The beginning of the process, which shard this is, and of how many, if there are siblings.
    ids: Option<(Wall, ShardIndex, Shards)>,
}

impl CommandLogs {
    /// Takes over the settings. A log that became too long is cut when a command is looked at.
    pub(crate) fn configure(&mut self, config: &Config) {
        for kind in Kind::ALL {
            let log = &mut self.logs[kind as usize];
            (log.threshold, log.max_len) = kind.limits(config);
        }
    }

    /// From now on entries have ids that no sibling gives and that grow with time over all of them.
    pub(crate) fn share_ids(&mut self, started: Wall, index: ShardIndex, shards: Shards) {
        self.ids = Some((started, index, shards));
    }

    /// From which value on commands are logged.
    pub(crate) fn threshold(&self, kind: Kind) -> Option<u64> {
        self.logs[kind as usize].threshold
    }

    /// Looks at a command that ran; `values` by [`Kind`].
    pub(crate) fn look(
        &mut self,
        now: Now,
        command: &'static Command,
        argv: Argv<'_>,
        client: &Client,
        values: [u64; 3],
    ) {
        if command.is(flags::SKIP_COMMANDLOG) {
            return;
        }
        for (log, value) in self.logs.iter_mut().zip(values) {
            let Some(threshold) = log.threshold else { continue };
            if value >= threshold {
                if let Some((started, index, shards)) = self.ids {
                    let shards = u64::from(shards.count());
                    let micros = now.wall.0.saturating_sub(started.0);
                    log.next_id = log.next_id.max(micros * shards + u64::from(index.0));
                }
                let entry = Entry {
                    id: log.next_id,
                    time_secs: now.wall.as_secs(),
                    value,
                    words: words(command, argv),
                    peer: client.peer(),
                    name: client.name.to_vec().into(),
                };
                log.next_id += self.ids.map_or(1, |(_, _, shards)| shards.count().into());
                log.entries.push_front(entry);
            }
            log.entries.truncate(usize::try_from(log.max_len).unwrap_or(usize::MAX));
        }
    }

    /// SLOWLOG and COMMANDLOG with their subcommands; `others` are the parts of siblings.
    pub(crate) fn run(&mut self, id: Id, argv: Argv<'_>, others: &[Part], reply: &mut Reply<'_>) {
        let kind = match id {
            Id::SlowlogGet | Id::SlowlogLen | Id::SlowlogReset => Ok(Kind::Slow),
            _ => Kind::read(argv.get(argv.len() - 1)).ok_or(BAD_TYPE),
        };
        if id == Id::SlowlogGet && argv.len() > 3 {
            return reply.error(&wrong_use(argv, "SLOWLOG"));
        }
        if matches!(id, Id::SlowlogGet | Id::CommandlogGet) {
            let count = argv.opt(2).map_or(Some(SHOWN), integer).filter(|count| *count >= -1);
            let Some(count) = count else { return reply.error(BAD_COUNT) };
            return match kind {
                Ok(kind) => self.get(kind, count, others, reply),
                Err(error) => reply.error(error),
            };
        }
        let log = match kind {
            Ok(kind) => &mut self.logs[kind as usize],
            Err(error) => return reply.error(error),
        };
        match id {
            Id::SlowlogLen | Id::CommandlogLen => {
                let others: u64 = others.iter().map(Part::count).sum();
                let len = log.entries.len() as u64;
                reply.int(if others == 0 { len } else { (len + others).min(log.max_len) } as i64);
            }
            _ => {
                log.entries.clear();
                reply.ok();
            }
        }
    }

    /// The newest entries of all shards.
    fn get(&self, kind: Kind, count: i64, others: &[Part], reply: &mut Reply<'_>) {
        let log = &self.logs[kind as usize];
        let mut count = usize::try_from(count).unwrap_or(usize::MAX);
        let mut entries: Vec<&Entry> = log.entries.iter().collect();
        if !others.is_empty() {
            entries.extend(others.iter().flat_map(|part| match part {
                Part::Logged(entries) => entries.as_slice(),
                _ => &[],
            }));
            entries.sort_by_key(|entry| Reverse(entry.id));
            count = count.min(usize::try_from(log.max_len).unwrap_or(usize::MAX));
        }
        entries.truncate(count);
        reply.array(entries.len());
        entries.iter().for_each(|entry| entry.reply(reply));
    }

    /// The entries that a sibling may want to show.
    pub(crate) fn newest(&self, id: Id, argv: Argv<'_>) -> Vec<Entry> {
        let count = argv.opt(2).map_or(Some(SHOWN), integer).unwrap_or_default();
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        self.log(id, argv).map_or(Vec::new(), |log| log.entries.iter().take(count).cloned().collect())
    }

    /// How many entries there are in this shard.
    pub(crate) fn len(&self, id: Id, argv: Argv<'_>) -> usize {
        self.log(id, argv).map_or(0, |log| log.entries.len())
    }

    fn log(&self, id: Id, argv: Argv<'_>) -> Option<&Log> {
        let kind = match id {
            Id::SlowlogGet | Id::SlowlogLen => Some(Kind::Slow),
            _ => Kind::read(argv.get(argv.len() - 1)),
        };
        kind.map(|kind| &self.logs[kind as usize])
    }
}

/// The words of a command as they are kept: not too many, not too long, and no secrets.
fn words(command: &Command, argv: Argv<'_>) -> Vec<Box<[u8]>> {
    let cut = argv.len() > WORDS;
    let kept = if cut { WORDS - 1 } else { argv.len() };
    let mut words: Vec<Box<[u8]>> = Vec::with_capacity(kept + usize::from(cut));
    for (at, word) in argv.iter().enumerate().take(kept) {
        words.push(if is_secret(command, argv, at) {
            REDACTED.into()
        } else if let Some((head, rest)) =
            word.split_at_checked(WORD_BYTES).filter(|(_, rest)| !rest.is_empty())
        {
            let mut word = head.to_vec();
            word.extend_from_slice(format!("... ({} more bytes)", rest.len()).as_bytes());
            word.into()
        } else {
            word.into()
        });
    }
    if cut {
        words.push(format!("... ({} more arguments)", argv.len() - kept).into_bytes().into());
    }
    words
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::command::table::resolve;
    use crate::ids::{ClientId, LinkId};
    use crate::input::Origin;
    use crate::link::Outbox;
    use crate::shard::session::Session;
    use crate::time::{Mono, Wall};
    use crate::wire::resp::{ArgvBuf, Proto};

    const NOW: Now = Now { mono: Mono(0), wall: Wall(1_700_000_000_000_000) };

    struct Bench {
        logs: CommandLogs,
        client: Client,
    }

    impl Bench {
        fn new(settings: &[(&str, &str)]) -> Self {
            let mut config = Config::default();
            let pairs: Vec<_> = settings.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
            config.set(&pairs, true).expect("settings");
            let mut logs = CommandLogs::default();
            logs.configure(&config);
            let user = crate::acl::Users::default().default_user().clone();
            let client = Session::new(ClientId(1), LinkId::accepted(1), Origin::Unix, user, NOW).client;
            Self { logs, client }
        }

        fn ran(&mut self, line: &str, values: [u64; 3]) {
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            let owned = ArgvBuf::of(&words);
            let command = resolve(owned.argv()).expect("a command");
            self.logs.look(NOW, command, owned.argv(), &self.client, values);
        }

        fn ask(&mut self, line: &str) -> String {
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            let owned = ArgvBuf::of(&words);
            let mut out = Outbox::default();
            let id = resolve(owned.argv()).expect("a command").id;
            self.logs.run(id, owned.argv(), &[], &mut Reply::new(&mut out, Proto::Resp2));
            let bytes: Vec<u8> = out.chunks().flatten().copied().collect();
            String::from_utf8(bytes).unwrap().replace("\r\n", " ")
        }
    }

    #[test]
    fn each_log_takes_what_reaches_its_threshold() {
        let mut bench = Bench::new(&[
            ("slowlog-log-slower-than", "100"),
            ("commandlog-request-larger-than", "50"),
            ("commandlog-reply-larger-than", "-1"),
        ]);
        bench.client.name = Bytes::from_static(b"worker");
        bench.ran("GET k", [99, 49, 1_000_000]);
        bench.ran("GET k", [100, 50, 1_000_000]);
        bench.ran("SET k v", [101, 20, 5]);
        let mut len = |kind: &str| bench.ask(&format!("COMMANDLOG LEN {kind}"));
        assert_eq!([len("slow"), len("LARGE-REQUEST"), len("large-reply")], [":2 ", ":1 ", ":0 "]);
        assert_eq!(
            bench.ask("SLOWLOG GET 1"),
            "*1 *6 :1 :1700000000 :101 *3 $3 SET $1 k $1 v $13 /unixsocket:0 $6 worker "
        );
        assert_eq!(
            bench.ask("COMMANDLOG GET -1 large-request"),
            "*1 *6 :0 :1700000000 :50 *2 $3 GET $1 k $13 /unixsocket:0 $6 worker "
        );
        assert_eq!(bench.ask("SLOWLOG RESET"), "+OK ");
        assert_eq!([bench.ask("SLOWLOG LEN"), bench.ask("COMMANDLOG LEN large-request")], [":0 ", ":1 "]);
        bench.ran("GET k", [100, 0, 0]);
        assert!(bench.ask("SLOWLOG GET").starts_with("*1 *6 :2 "), "numbers go on after a reset");
    }

    #[test]
    fn a_log_has_the_length_that_is_set() {
        let mut bench = Bench::new(&[("slowlog-log-slower-than", "0"), ("slowlog-max-len", "3")]);
        for n in 0..5 {
            bench.ran("GET k", [n, 0, 0]);
        }
        assert_eq!(bench.ask("SLOWLOG LEN"), ":3 ");
        assert!(bench.ask("SLOWLOG GET 1").starts_with("*1 *6 :4 :1700000000 :4 "));
        let mut off = Bench::new(&[("slowlog-log-slower-than", "0"), ("slowlog-max-len", "0")]);
        off.ran("GET k", [5, 0, 0]);
        assert_eq!((off.ask("SLOWLOG LEN"), off.logs.threshold(Kind::Slow)), (":0 ".into(), None));
    }

    #[test]
    fn long_commands_are_cut_and_secrets_left_out() {
        let mut bench = Bench::new(&[("slowlog-log-slower-than", "0")]);
        bench.ran(&format!("MGET {}", "k ".repeat(31).trim_end()), [0; 3]);
        assert!(!bench.ask("SLOWLOG GET 1").contains("more"), "32 words are kept as they are");
        bench.ran(&format!("MGET {}", "k ".repeat(32).trim_end()), [0; 3]);
        let said = bench.ask("SLOWLOG GET 1");
        assert!(said.contains("*32 $4 MGET ") && said.contains("$22 ... (2 more arguments) "), "{said}");
        bench.ran(&format!("SET {} {}", "k".repeat(128), "v".repeat(300)), [0; 3]);
        let said = bench.ask("SLOWLOG GET 1");
        let (key, value) = ("k".repeat(128), "v".repeat(128));
        assert!(said.contains(&format!("$128 {key} $148 {value}... (172 more bytes) ")), "{said}");
        bench.ran("CONFIG SET requirepass secret", [0; 3]);
        assert!(bench.ask("SLOWLOG GET 1").contains("$11 requirepass $10 (redacted) "));
    }

    #[test]
    fn errors_are_valkeys() {
        let mut bench = Bench::new(&[]);
        for (line, error) in [
            ("SLOWLOG GET x", BAD_COUNT),
            ("SLOWLOG GET -2", BAD_COUNT),
            (
                "SLOWLOG GET 1 2",
                "ERR unknown subcommand or wrong number of arguments for 'GET'. Try SLOWLOG HELP.",
            ),
            ("COMMANDLOG GET x nosuch", BAD_COUNT),
            ("COMMANDLOG GET 1 nosuch", BAD_TYPE),
            ("COMMANDLOG LEN nosuch", BAD_TYPE),
            ("COMMANDLOG RESET nosuch", BAD_TYPE),
        ] {
            assert_eq!(bench.ask(line), format!("-{error} "), "{line}");
        }
    }
}
