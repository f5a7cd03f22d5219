//! Random sequences of commands on a few keys, so that they meet.
//!
//! A command is made from a line such as `SET $k $v [NX|XX] [EX $t|KEEPTTL]`: `$` and a letter stand for an argument of
//! a kind, `[…|…]` for one of these or nothing, `(…|…)` for one of these, and `+` behind either for several of them.
//! Options that follow one another come in any order. Now and then a line is spoilt, for the sake of errors.

use std::ops::Range;
use std::time::Duration;

use whimbrel_core::rng::Rng;

use super::pair::{CONNECTIONS, Step, Word};

/// Lines for both modes, each with its weight.
const BOTH: &[(&str, u32)] = &[
    ("GET $k", 12),
    ("SET $k $v", 14),
    ("SET $k $v [NX|XX|IFEQ $v] [GET] [EX $t|PX $T|EXAT $a|PXAT $A|KEEPTTL]", 20),
    ("SET $k $v PX $q", 3),
    ("SETNX $k $v", 3),
    ("SETEX $k $t $v", 3),
    ("PSETEX $k $T $v", 2),
    ("PSETEX $k $q $v", 1),
    ("GETSET $k $v", 3),
    ("GETDEL $k", 3),
    ("GETEX $k [EX $t|PX $T|EXAT $a|PXAT $A|PERSIST]", 8),
    ("GETEX $k PX $q", 1),
    ("DELIFEQ $k $v", 3),
    ("APPEND $k $v", 5),
    ("STRLEN $k", 3),
    ("GETRANGE $k $o $o", 5),
    ("SUBSTR $k $o $o", 2),
    ("SETRANGE $k $o $v", 5),
    ("INCR $k", 5),
    ("DECR $k", 3),
    ("INCRBY $k $i", 5),
    ("DECRBY $k $i", 5),
    ("INCRBYFLOAT $k $f", 10),
    ("MGET $k+", 5),
    ("MSET ($k $v)+", 5),
    ("MSETNX ($k $v)+", 4),
    ("LCS $k $k [LEN] [IDX] [MINMATCHLEN $i] [WITHMATCHLEN]", 4),
    ("DEL $k+", 5),
    ("UNLINK $k+", 3),
    ("EXISTS $k+", 4),
    ("TOUCH $k+", 2),
    ("TYPE $k", 3),
    ("RENAME $k $k", 4),
    ("RENAMENX $k $k", 4),
    ("COPY $k $k [DB $b] [REPLACE]", 6),
    ("MOVE $k $b", 4),
    ("KEYS $p", 3),
    ("DBSIZE", 3),
    ("SCAN $c [MATCH $p] [COUNT $i] [TYPE (string|hash|$w)]", 4),
    ("EXPIRE $k $t [NX|XX|GT|LT] [XX]", 6),
    ("PEXPIRE $k $T [NX|XX|GT|LT] [GT]", 5),
    ("PEXPIRE $k $q", 2),
    ("EXPIREAT $k $a [NX|XX|GT|LT]", 4),
    ("PEXPIREAT $k $A [NX|XX|GT|LT]", 4),
    ("PERSIST $k", 4),
    ("TTL $k", 5),
    ("PTTL $k", 4),
    ("EXPIRETIME $k", 3),
    ("PEXPIRETIME $k", 3),
    ("OBJECT (ENCODING|REFCOUNT|FREQ|IDLETIME|$w) $k", 6),
    ("OBJECT $w", 1),
    ("MEMORY USAGE $k [SAMPLES ($i|$w)|$w $i]", 2),
    ("MEMORY (PURGE|MALLOC-STATS $w|$w)", 1),
    ("MULTI", 14),
    ("EXEC", 14),
    ("DISCARD", 4),
    ("WATCH $k+", 8),
    ("UNWATCH", 2),
    ("SELECT $b", 8),
    ("SELECT 0", 4),
    ("PING [$v]", 3),
    ("ECHO $v", 2),
    ("TIME", 1),
    ("LASTSAVE", 1),
    ("ROLE", 1),
    ("HELLO [2|3|$i] [AUTH default $v|AUTH $w $v] [SETNAME $w]", 4),
    ("AUTH $w", 1),
    ("AUTH (default|$w) $v", 1),
    ("RESET", 1),
    ("QUIT", 1),
    ("ASKING", 1),
    ("READONLY", 1),
    ("READWRITE", 1),
    ("CLIENT ID", 1),
    ("CLIENT GETNAME", 2),
    ("CLIENT SETNAME $w", 2),
    ("CLIENT SETINFO (LIB-NAME|LIB-VER|$w) $w", 2),
    ("CLIENT INFO", 2),
    ("CLIENT GETREDIR", 1),
    ("CLIENT NO-TOUCH (ON|OFF|$w)", 1),
    ("CLIENT NO-EVICT (ON|OFF|$w)", 1),
    ("CLIENT REPLY (ON|$w)", 1),
    ("CLIENT CACHING (YES|NO|$w)", 1),
    ("CLIENT CAPA $w", 1),
    ("CLIENT TRACKINGINFO", 1),
    ("CLIENT TRACKING (OFF|NONE|ON BCAST OPTIN|ON OPTIN OPTOUT|ON PREFIX a|ON REDIRECT 99999999)", 2),
    ("CLIENT TRACKING ON BCAST PREFIX ($w PREFIX abc PREFIX ab|abc PREFIX abcd)", 1),
    ("CLIENT IMPORT-SOURCE (ON|OFF|$w)", 1),
    ("WAIT (0|-1|abc) (0|10|-1|$w)", 2),
    ("WAITAOF (0|1|2|-1|$w) (0|-1|abc) (0|-1|$w)", 2),
    ("SLOWLOG GET (0|-2|abc|5 $w)", 1),
    ("COMMANDLOG (GET (0|-1|-2|$w)|LEN|RESET|$w) (large-request|LARGE-REPLY|$w)", 3),
    ("LATENCY (HISTORY|GRAPH|RESET|HISTOGRAM) nothing", 1),
    ("LATENCY (LATEST|RESET|DOCTOR $w|$w)", 1),
    ("CLIENT UNBLOCK $i [TIMEOUT|ERROR|$w]", 1),
    ("CLIENT UNPAUSE", 1),
    ("CLIENT PAUSE (0|1|-1|abc|0 (ALL|WRITE|$w))", 1),
    ("CLIENT KILL (127.0.0.1:1|$w|ID 99999999|ID $w|TYPE $w|SKIPME $w|MAXAGE (99999|abc|-1)|USER $w)", 2),
    (
        "CLIENT LIST ID 99999999 [NOT-ID $i] [TYPE $w|USER $w|NAME nobody|LIB-NAME $w] [DB $i] [IDLE $i|MAXAGE (0|99999|abc|-1)] [FLAGS $w|NOT-CAPA $w]",
        3,
    ),
    (
        "CLIENT (LIST|KILL) (ID $w|TYPE master|ID 99999999 $w|NOT-ID $w|NOT-DB $w|NOT-FLAGS $w ID 99999999|$w)",
        2,
    ),
    ("CLIENT $w [$w]", 1),
    ("COMMAND COUNT $w", 1),
    ("COMMAND GETKEYS $x", 4),
    ("COMMAND GETKEYSANDFLAGS $x", 3),
    ("COMMAND LIST FILTERBY (PATTERN $p|ACLCAT nosuch|MODULE $w|$w $w)", 1),
    ("COMMAND $w", 1),
    ("CONFIG GET (maxmemory|timeout|hz|save|tcp-*|databases|$w)+", 3),
    ("CONFIG SET (hz|proto-max-bulk-len|databases|tcp-keepalive|$w) $w", 2),
    // Fewer clients than the comparison needs would only keep itself out.
    ("CONFIG SET (port (-1|abc|65536)|bind 203.0.113.1|maxclients (abc|-1|0|9999))", 1),
    ("CONFIG SET (hz|$w) $i", 2),
    // After fewer seconds one of the connections of a busy machine may be closed for being idle.
    ("CONFIG SET timeout (0|300|86400|-1|abc|2147483647|2147483648)", 1),
    ("CONFIG SET (maxmemory-samples|maxmemory-policy|maxmemory-eviction-tenacity) ($i|$w)", 2),
    ("CONFIG SET (hz $i|timeout (0|300|-1|1.5)|lfu-decay-time $w|loglevel (debug|$w))+", 1),
    ("CONFIG $w", 1),
    ("DEBUG DIGEST", 1),
    ("DEBUG SLEEP (0|0.001|abc)", 1),
    ("DEBUG PROTOCOL (string|integer|double|bignum|null|array|set|map|verbatim|true|false|$w)", 3),
    ("DEBUG ERROR $v", 1),
    ("DEBUG POPULATE $c [$w [$c]]", 1),
    ("DEBUG OBJECT $k [fast]", 2),
    ("DEBUG (SDSLEN|LISTPACK|QUICKLIST|HTSTATS-KEY) $k", 1),
    ("DEBUG DIGEST-VALUE $k+", 2),
    ("DEBUG HTSTATS ($w|99|-1)", 1),
    ("DEBUG RELOAD $w", 1),
    ("DEBUG REPLYBUFFER (PEAK-RESET-TIME (NEVER|RESET|$i|$w)|RESIZING 1|$w $w)", 1),
    ("DEBUG QUICKLIST-PACKED-THRESHOLD (0|1kb|5gb|$w)", 1),
    (
        "DEBUG (DICT-RESIZING 1|HASHTABLE-CAN-ABORT-SHRINK 1|CLIENT-ENFORCE-REPLY-LIST 0|SET-DISABLE-DENY-SCRIPTS 0)",
        1,
    ),
    ("DEBUG (SET-SKIP-CHECKSUM-VALIDATION 0|PAUSE-CRON 0|LEAK $v|LOG $v)", 1),
    (
        "DEBUG (DROP-CLUSTER-PACKET-FILTER $w|DROP-CLUSTER-PACKET-FILTER -1|CLUSTERLINK KILL ALL $w|JMAP|$w)",
        1,
    ),
    ("(CLIENT|CLUSTER|COMMAND|CONFIG|OBJECT) HELP", 1),
    ("FLUSHDB [ASYNC|SYNC|$w]", 1),
    ("FLUSHALL [ASYNC|SYNC|$w]", 1),
    ("SWAPDB $b $b", 2),
    ("INFO $w", 1),
    ("SHUTDOWN (ABORT|$w|SAVE NOSAVE)", 1),
    ("$w $v", 1),
    ("$w", 1),
];

/// Lines for servers without cluster. A cluster of Valkey 9.1 stores the keys of MSETEX wherever it is asked to.
const STANDALONE: &[(&str, u32)] = &[
    ("MSETEX $n ($k $v)+ [NX|XX] [EX $t|PX $T|EXAT $a|PXAT $A|KEEPTTL]", 6),
    ("MSETEX $n ($k $v)+ $w", 1),
    ("MSETEX 1 $k $v PX $q", 2),
];

/// Lines for clusters.
const CLUSTER: &[(&str, u32)] = &[
    ("MSETEX 2 a $v {a}1 $v [NX|XX] [EX $t|PX $T|EXAT $a|PXAT $A|KEEPTTL]", 4),
    ("CLUSTER KEYSLOT $k", 4),
    ("CLUSTER COUNTKEYSINSLOT $s", 4),
    ("CLUSTER GETKEYSINSLOT $s $i", 6),
    ("CLUSTER SLOT-STATS SLOTSRANGE $s $s [$w]", 4),
    ("CLUSTER SLOT-STATS ORDERBY (KEY-COUNT|CPU-USEC|NETWORK-BYTES-IN|$w) [LIMIT $s] [ASC|DESC]", 5),
    ("CLUSTER (LINKS|SAVECONFIG|INFO)", 1),
    ("CONFIG SET (cluster-slot-stats-enabled|cluster-allow-reads-when-down) (yes|no|$w)", 1),
    ("CLUSTER SLOT-STATS $w $w", 2),
    ("CLUSTERSCAN (0|$w|0-{06S}-0) [MATCH $p] [COUNT $i] [TYPE (string|hash|$w)] [SLOT $s]", 4),
    ("CLUSTER (MYID|MYSHARDID|NODES|SLOTS|SHARDS)", 2),
    ("CLUSTER (REPLICAS|SLAVES|COUNT-FAILURE-REPORTS) $w", 2),
    ("CLUSTER (ADDSLOTS|DELSLOTS) (99999|abc|-1)+", 1),
    ("CLUSTER (ADDSLOTSRANGE|DELSLOTSRANGE) 5 3", 1),
    ("CLUSTER ADDSLOTS $s+", 1),
    ("CLUSTER SETSLOT $s (STABLE|NODE $w|MIGRATING $w|IMPORTING $w|$w)", 2),
    ("CLUSTER FLUSHSLOT $s [SYNC|ASYNC|$w]", 1),
    ("CLUSTER (FORGET|REPLICATE|SET-CONFIG-EPOCH) $w", 1),
    ("CLUSTER (MIGRATESLOTS SLOTSRANGE $s $s NODE $w|CANCELSLOTMIGRATIONS|GETSLOTMIGRATIONS)", 2),
    ("CLUSTER MEET (127.0.0.1|$w) (abc|99999|-1)", 1),
    ("CLUSTER $w [$w]", 1),
];

const NUMBERS: &[&str] = &[
    "0",
    "1",
    "2",
    "3",
    "5",
    "7",
    "10",
    "-1",
    "-2",
    "-10",
    "100",
    "9223372036854775807",
    "-9223372036854775808",
    "4294967296",
    "2147483648",
    "-2147483649",
];
const JUNK: &[&[u8]] = &[
    b"",
    b"abc",
    b"-1",
    b"1",
    b"01",
    b"+1",
    b" 1",
    b"1 ",
    b"1.5",
    b"nan",
    b"99999999999999999999",
    b"-",
    b"a b",
    b"a\r\nb",
    b"\0",
    b"nx\0",
    b"\xff\xfe",
    b"*",
    b"16384",
    b"help2",
];
/// Lengths of values that are neither short nor long. In between how they are kept depends in Valkey, with one of the keys,
/// on whether there was ever an expiry.
const LENGTHS: &[Range<usize>] = &[30..49, 60..86, 94..101, 114..130];
const FLOATS: &[&str] = &[
    "0.1",
    "1.5",
    "-1.5",
    "3.0e3",
    "1e-7",
    "inf",
    "-inf",
    "nan",
    "1e400",
    "0x10",
    "1e20",
    ".5",
    "5.",
    "1e308",
    "1.7976931348623157e308",
    "3.3333333333333333333",
    "-0",
    "123456789.123456789",
];
const PATTERNS: &[&str] =
    &["*", "a", "k*", "*1", "[a-k]*", "?", "{a}*", "{a}1", "", "[^a]", "\\a", "nothing*", "{b}*", "a*b*c"];

/// Makes sequences from a seed.
pub struct Generator {
    rng: Rng,
    cluster: bool,
    /// The version that connections begin with.
    proto: u8,
    /// Keys end and time passes. Only in some sequences: waiting takes most of their time.
    timed: bool,
    lines: Vec<(&'static str, u32)>,
}

impl Generator {
    /// The same seed makes the same sequences.
    pub fn new(seed: u64, cluster: bool, proto: u8) -> Self {
        let more = if cluster { CLUSTER } else { STANDALONE };
        let timed = seed.is_multiple_of(4);
        let mut lines = [BOTH, more].concat();
        lines.retain(|(line, _)| timed || !line.contains("$q"));
        // How a short string is kept follows in Valkey from the name it had when it was set, here from the one it has.
        let renames = |line: &str| ["RENAME", "COPY", "MOVE"].iter().any(|word| line.starts_with(word));
        let [named, renamed] = [!seed.is_multiple_of(2), seed.is_multiple_of(2)];
        lines.retain(|(line, _)| !(named && renames(line) || renamed && line.starts_with("OBJECT")));
        Self { rng: Rng::new(seed), cluster, proto, timed, lines }
    }

    /// A sequence of so many steps.
    pub fn sequence(&mut self, steps: usize) -> Vec<Step> {
        let mut sequence = Vec::new();
        for at in 0..CONNECTIONS {
            if self.proto == 3 {
                sequence.push(Step::Ask(at, ["HELLO", "3"].map(plain).to_vec()));
            }
        }
        while sequence.len() < steps {
            let at = [0, 0, 0, 0, 0, 1, 1, 2][self.rng.index(8)];
            match self.rng.below(200) {
                0 if self.timed => {
                    sequence.push(Step::Sleep(Duration::from_millis(20 + self.rng.below(200))));
                }
                1..3 => sequence.push(Step::Walk(
                    at,
                    1,
                    self.make("SCAN 0 [MATCH $p] [COUNT $c] [TYPE (string|list)]"),
                )),
                3..5 => sequence.push(Step::Raw(at, self.raw())),
                _ => sequence.push(Step::Ask(at, self.command())),
            }
        }
        sequence
    }

    fn command(&mut self) -> Vec<Word> {
        let line = self.line();
        let mut words = self.make(line);
        // A long pause, a server that ends or one that listens nowhere (9.1 does not mind) would stop the search; a missing
        // slot or another node would make the rest of it say little.
        let fragile = [
            "CLIENT PAUSE",
            "CLIENT TRACKING",
            "WAIT",
            "CONFIG SET (port",
            "CONFIG SET timeout",
            "CONFIG SET (hz $i|timeout",
            "DEBUG SLEEP",
            // A real one keeps values in another form.
            "DEBUG RELOAD",
            "DEBUG (SET-SKIP-CHECKSUM-VALIDATION",
            "SHUTDOWN",
            "CLUSTER MEET",
            "CLUSTER (ADDSLOTS",
            "MSETEX 2 a",
        ];
        if self.rng.one_in(14) && !fragile.iter().any(|begin| line.starts_with(begin)) {
            self.spoil(&mut words);
        }
        if self.rng.one_in(5) {
            for word in words.iter_mut().take(2) {
                if let Word::Plain(bytes) = word {
                    bytes.make_ascii_lowercase();
                }
            }
        }
        words
    }

    fn line(&mut self) -> &'static str {
        let total: u32 = self.lines.iter().map(|(_, weight)| weight).sum();
        let mut drawn = self.rng.below(total.into()) as u32;
        for (line, weight) in &self.lines {
            if drawn < *weight {
                return line;
            }
            drawn -= weight;
        }
        unreachable!("a number below the sum of the weights")
    }

    /// Makes a command wrong, perhaps.
    fn spoil(&mut self, words: &mut Vec<Word>) {
        let at = 1 + self.rng.index(words.len());
        match self.rng.below(4) {
            0 if words.len() > 1 => {
                words.pop();
            }
            1 => words.push(self.junk()),
            2 if at < words.len() => words[at] = self.junk(),
            _ if at < words.len() => words.insert(at, words[at].clone()),
            _ => {}
        }
    }

    fn junk(&mut self) -> Word {
        Word::Plain(JUNK[self.rng.index(JUNK.len())].to_vec())
    }

    /// A command from a line.
    fn make(&mut self, line: &str) -> Vec<Word> {
        let mut words = Vec::new();
        let mut rest = line;
        while !rest.trim_start().is_empty() {
            rest = rest.trim_start();
            if rest.starts_with('[') {
                let mut options = Vec::new();
                while rest.starts_with('[') {
                    let (inner, after) = group(rest, '[', ']');
                    options.push(inner);
                    rest = after.trim_start();
                }
                while !options.is_empty() {
                    let option = options.swap_remove(self.rng.index(options.len()));
                    if self.rng.one_in(2) {
                        words.extend(self.one_of(option));
                    }
                }
                continue;
            }
            let (inner, after) = match rest.starts_with('(') {
                true => group(rest, '(', ')'),
                false => rest.split_at(rest.find([' ', '+']).unwrap_or(rest.len())),
            };
            let (times, after) = match after.strip_prefix('+') {
                Some(after) => (1 + self.rng.below(3), after),
                None => (1, after),
            };
            for _ in 0..times {
                words.extend(self.one_of(inner));
            }
            rest = after;
        }
        words
    }

    /// One of the alternatives of a group, or the one argument that it is.
    fn one_of(&mut self, group: &str) -> Vec<Word> {
        let alternatives = alternatives(group);
        let chosen = alternatives[self.rng.index(alternatives.len())];
        match chosen.strip_prefix('$') {
            Some("x") => {
                let line = self.line();
                if line.contains("$x") { vec![plain("GET")] } else { self.make(line) }
            }
            Some(kind) if kind.len() == 1 => vec![self.argument(kind)],
            _ if chosen.contains(['$', ' ', '(']) => self.make(chosen),
            _ => vec![plain(chosen)],
        }
    }

    fn argument(&mut self, kind: &str) -> Word {
        if self.rng.one_in(40) {
            return self.junk();
        }
        if kind == "f" && self.rng.one_in(2) {
            return plain(&float(&mut self.rng));
        }
        let rng = &mut self.rng;
        let mut pick = |list: &[&str]| plain(list[rng.index(list.len())]);
        match kind {
            "k" => self.key(),
            "v" => self.value(),
            "n" => pick(&["1", "2", "2", "3"]),
            "i" => pick(NUMBERS),
            "f" => pick(FLOATS),
            "o" => pick(&[
                "0",
                "1",
                "2",
                "3",
                "5",
                "-1",
                "-2",
                "-3",
                "-100",
                "100",
                "300",
                "-9223372036854775808",
            ]),
            "b" => pick(&["0", "0", "1", "1", "2", "15", "16", "-1"]),
            "s" => pick(&["0", "1", "5", "15495", "15495", "3300", "16383", "16384", "-1"]),
            "c" => pick(&["0", "1", "2", "3", "10", "1000"]),
            "p" => pick(PATTERNS),
            "w" => self.junk(),
            "q" => Word::Soon(100 + self.rng.below(8) * 20),
            // Far apart: two servers must agree on which is later.
            "t" => plain(&(1000 + self.rng.below(1_000_000)).to_string()),
            "T" => plain(&(1_000_000 + self.rng.below(1_000_000) * 1000).to_string()),
            "a" => Word::AtSecs(self.when() / 1000),
            "A" => Word::AtMs(self.when()),
            other => panic!("a kind of argument: {other}"),
        }
    }

    /// Milliseconds from now to a point in time, now and then in the past.
    fn when(&mut self) -> i64 {
        let far = 1_000_000 + self.rng.below(1_000_000) as i64 * 1000;
        if self.rng.one_in(5) { -far } else { far }
    }

    fn key(&mut self) -> Word {
        let keys: &[&[u8]] = if self.cluster {
            &[
                b"a",
                b"{a}1",
                b"{a}2",
                b"k{a}",
                b"{a}\xff",
                b"{a}long key that does not fit where short ones do ......",
                b"b",
                b"k1",
                b"{}a",
            ]
        } else {
            &[
                b"a",
                b"b",
                b"k1",
                b"k2",
                b"",
                b"\xff\0",
                b"long key that does not fit where short ones do ......",
                b"{a}1",
            ]
        };
        Word::Plain(keys[self.rng.index(keys.len())].to_vec())
    }

    fn value(&mut self) -> Word {
        match self.rng.below(10) {
            0..4 => plain(NUMBERS[self.rng.index(NUMBERS.len())]),
            4 => plain(FLOATS[self.rng.index(FLOATS.len())]),
            5 => {
                let fits = LENGTHS[self.rng.index(LENGTHS.len())].clone();
                plain(&"x".repeat(fits.start + self.rng.index(fits.len())))
            }
            6 => plain(&"abcde".repeat(self.rng.index(6))),
            7 => self.junk(),
            _ => plain(["v", "w", "hello", "world", "ohello"][self.rng.index(5)]),
        }
    }

    /// Bytes with mistakes of every kind in them, or none.
    fn raw(&mut self) -> Vec<u8> {
        let whole: &[&[u8]] = &[
            b"PING\r\n",
            b"SET a inline\nGET a\r\n",
            b"SET a \"q\\x41\\n\" \r\n",
            b"GET 'a'\r\n",
            b"\r\n",
            b"  PING  \r\n",
            b"*1\r\n$4\r\nPING\r\n",
            b"*0\r\n",
            b"*-1\r\n",
            b"*-5\r\n",
            b"PING a b c\r\n",
            b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n",
            b"\"a\"b\r\n",
            b"MULTI\r\n",
            b"EXEC\r\n",
            b"HELLO 3\r\n",
            b"CLIENT REPLY OFF\r\n",
            b"CLIENT REPLY SKIP\r\n",
            b"CLIENT REPLY ON\r\n",
            b"GET nothing\r\n",
            b"foo bar\r\n",
            b"SELECT 99\r\n",
            b"*1\r\n$0\r\n\r\n",
            b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$2\r\n\r\n\r\n",
            b"RESET\r\n",
        ];
        let broken: &[&[u8]] = &[
            b"*1\r\n+PING\r\n",
            b"*x\r\n",
            b"*3000000000\r\n",
            b"*1\r\n$-1\r\n",
            b"*1\r\n$x\r\n",
            b"*1\r\n$04\r\nPING\r\n",
            b"*01\r\n",
            b"*1\r\n$4\r\nPINGxx",
            b"GET \"a\r\n",
            b"GET 'a\r\n",
            b"*1\r\n$99999999999\r\n",
            b"POST / HTTP/1.1\r\n",
            b"Host: x\r\n",
            b"*1\r\n$4\nPING\r\n",
            b"*\r\n",
            b"*1\r\n:1\r\n",
            b"*1\r\n$600000000\r\n",
            b"*+1\r\n",
            b"* 1\r\n",
        ];
        let mut bytes = Vec::new();
        for _ in 0..1 + self.rng.below(6) {
            let next = whole[self.rng.index(whole.len())];
            // For Valkey an empty request is the one that is not answered after SKIP.
            let is_empty = matches!(next, b"\r\n" | b"*0\r\n" | b"*-1\r\n" | b"*-5\r\n");
            if !(is_empty && bytes.ends_with(b"SKIP\r\n")) {
                bytes.extend_from_slice(next);
            }
        }
        if self.rng.one_in(3) {
            bytes.extend_from_slice(broken[self.rng.index(broken.len())]);
        }
        bytes
    }
}

/// A number of some digits on either side of the point, and perhaps an exponent.
fn float(rng: &mut Rng) -> String {
    let mut digits = |most: usize| {
        (0..rng.index(most)).map(|_| char::from(b'0' + rng.below(10) as u8)).collect::<String>()
    };
    let (whole, rest) = (digits(20), digits(20));
    let mut text = format!("{}{whole}.{rest}", ["", "-"][rng.index(2)]);
    if rng.one_in(4) {
        text.push_str(&format!("e{}", rng.below(60) as i64 - 30));
    }
    text
}

fn plain(text: &str) -> Word {
    Word::Plain(text.as_bytes().to_vec())
}

/// The inside of the group that `text` begins with, and what follows it.
fn group(text: &str, open: char, close: char) -> (&str, &str) {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        if c == open {
            depth += 1;
        } else if c == close {
            depth -= 1;
            if depth == 0 {
                return (&text[1..at], &text[at + 1..]);
            }
        }
    }
    panic!("a group that ends: {text}")
}

/// The alternatives of a group that are not within another group.
fn alternatives(group: &str) -> Vec<&str> {
    let (mut found, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '|' if depth == 0 => {
                found.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    found.push(&group[start..]);
    found
}
