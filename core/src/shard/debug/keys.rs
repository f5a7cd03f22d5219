//! DEBUG words about keys and how they are kept.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt::Write as _;

use crate::command::object::encoding_name;
use crate::command::options::is;
use crate::command::refused::{lines, not_built};
use crate::shard::Shard;
use crate::shard::debug::digest::{Digest, by_database, dataset, hex};
use crate::shard::gather::Part;
use crate::shard::session::Session;
use crate::shard::whole::Request;
use crate::store::{Access, At, Encoding, Entry, Store, Value};
use crate::time::Now;
use crate::wire::resp::number::integer;
use crate::wire::resp::{Argv, Reply};

const NO_KEY: &str = "ERR no such key";
const NO_TABLE: &str = "ERR The value stored at the specified key is not represented using an hash table";
const NOT_POSITIVE: &str = "ERR value is out of range, must be positive";

/// Longest name that DEBUG POPULATE gives.
const POPULATED_NAME: usize = 127;

impl Shard {
    /// Words about keys and databases; whether it was one.
    pub(super) fn about_keys(&mut self, now: Now, request: &Request<'_>, reply: &mut Reply<'_>) -> bool {
        let argv = request.argv;
        let word = argv.get(1);
        let databases = self.env.config.databases_in_use();
        match argv.len() {
            2 if is(word, b"digest") => {
                let own = by_database(&self.data.store, databases);
                let others = request.parts.iter().filter_map(|part| match part {
                    Part::Digests(digests) => Some(digests),
                    _ => None,
                });
                let shards: Vec<&Vec<Option<Digest>>> = others.chain([&own]).collect();
                reply.simple(&hex(&dataset(&shards)));
            }
            2.. if is(word, b"digest-value") => self.digest_values(request, reply),
            3..=5 if is(word, b"populate") => self.populate(now, request, reply),
            2 if is(word, b"structsize") => {
                let bits = usize::BITS;
                let (entry, session) = (size_of::<Entry>(), size_of::<Session>());
                reply.bulk(format!("bits:{bits} entry:{entry} session:{session} ").as_bytes());
            }
            2 if is(word, b"client-eviction") => match self.env.config.get("maxmemory-clients").as_deref() {
                None | Some("0") => reply.error("ERR maxmemory-clients is disabled."),
                Some(_) => reply.error(&not_built("'DEBUG CLIENT-EVICTION'")),
            },
            3.. if is(word, b"htstats") => {
                let all = request.parts.iter().filter_map(|part| match part {
                    Part::Tables(entries) => Some(*entries),
                    _ => None,
                });
                match database(argv, databases) {
                    Ok(db) => tables(all.chain([entries(&self.data.store, db)]), reply),
                    Err(error) => reply.error(error),
                }
            }
            3 | 4 if is(word, b"object") => self.of_key(request, reply, |entry, reply| {
                let fast = argv.opt(3).is_some_and(|w| is(w, b"fast"));
                reply.simple(&object(entry, self.data.store.access(), fast));
            }),
            3 if is(word, b"sdslen") => self.of_key(request, reply, lengths),
            3.. if is(word, b"htstats-key") => self.looked_up(now, request, reply, NO_TABLE),
            3 if is(word, b"listpack") => {
                self.looked_up(now, request, reply, "ERR Not a listpack encoded object.");
            }
            3 | 4 if is(word, b"quicklist") => {
                self.looked_up(now, request, reply, "ERR Not a quicklist encoded object.");
            }
            _ => return false,
        }
        true
    }

    /// Answers about the key in the third word, expired or not.
    fn of_key(&self, request: &Request<'_>, reply: &mut Reply<'_>, f: impl FnOnce(&Entry, &mut Reply<'_>)) {
        match self.data.store.get(&self.data.store.at(request.db, request.argv.get(2))) {
            Some(entry) => f(entry, reply),
            None => reply.error(NO_KEY),
        }
    }

    /// Looks a key up as commands do; none is kept in the way that was asked for, since all are strings.
    fn looked_up(&mut self, now: Now, request: &Request<'_>, reply: &mut Reply<'_>, otherwise: &str) {
        let at = self.data.store.at(request.db, request.argv.get(2));
        self.end_if_over(now, &at);
        let found = self.data.store.get(&at).is_some_and(|entry| !entry.is_expired(now.wall_ms()));
        self.data.stats.count(found);
        reply.error(if found { otherwise } else { NO_KEY });
    }

    fn end_if_over(&mut self, now: Now, at: &At<'_>) {
        if self.data.store.get(at).is_some_and(|entry| entry.is_expired(now.wall_ms())) {
            self.end_key(at);
        }
    }

    fn digest_values(&self, request: &Request<'_>, reply: &mut Reply<'_>) {
        let mut digests = self.values(request);
        for part in request.parts {
            let Part::Digests(others) = part else { continue };
            digests.iter_mut().zip(others).for_each(|(own, other)| *own = own.or(*other));
        }
        reply.array(digests.len());
        digests.into_iter().for_each(|digest| reply.simple(&hex(&digest.unwrap_or_default())));
    }

    /// Fingerprints of the values of the keys that are here, expired or not.
    pub(crate) fn values(&self, request: &Request<'_>) -> Vec<Option<Digest>> {
        let of_key = |key| {
            let entry = self.data.store.get(&self.data.store.at(request.db, key))?;
            let mut digest = Digest::default();
            digest.mix_value(entry);
            Some(digest)
        };
        request.argv.after(2).iter().map(of_key).collect()
    }

    /// Makes keys that nobody else is told of. Slots are not looked at.
    fn populate(&mut self, now: Now, request: &Request<'_>, reply: &mut Reply<'_>) {
        let argv = request.argv;
        let positive = |word: &[u8]| integer(word).and_then(|n| u64::try_from(n).ok());
        let (Some(count), Some(size)) = (positive(argv.get(2)), argv.opt(4).map_or(Some(0), positive)) else {
            return reply.error(NOT_POSITIVE);
        };
        if count > u64::from(u32::MAX) {
            return reply.error("ERR OOM in dbExpand");
        }
        // As in Valkey a name ends before the first zero byte, and after so many bytes.
        let prefix = argv.opt(3).unwrap_or(b"key").split(|byte| *byte == 0).next().unwrap_or_default();
        let mut key = prefix.to_vec();
        for n in 0..count {
            key.truncate(prefix.len());
            key.extend_from_slice(format!(":{n}").as_bytes());
            key.truncate(POPULATED_NAME);
            let at = self.data.store.at(request.db, &key);
            if self.env.shards.of(at.slot) != self.env.index {
                continue;
            }
            self.end_if_over(now, &at);
            if self.data.store.get(&at).is_some() {
                continue;
            }
            let text = format!("value:{n}");
            let mut value = text.into_bytes();
            if size > 0 {
                let mut padded = vec![0; size as usize];
                let shown = value.len().min(padded.len());
                padded[..shown].copy_from_slice(&value[..shown]);
                value = padded;
            }
            self.data.store.set(&at, Value::Str(&value), None, Encoding::of(&value));
            self.data.effects.watched().touch_where(|db, watched| db == request.db && watched == key);
        }
        reply.ok();
    }
}

fn object(entry: &Entry, access: &Access, fast: bool) -> String {
    let mut text = format!("Value at:0x0 refcount:1 encoding:{}", encoding_name(entry));
    if !fast {
        let _ = write!(text, " serializedlength:{}", serialized(entry));
    }
    let stamp = entry.clock();
    let _ = match access.frequency(stamp) {
        Some(frequency) => write!(text, " lfu_freq:{frequency} lfu_access_time_minutes:{}", stamp >> 8),
        None => write!(text, " lru:{stamp} lru_seconds_idle:{}", access.idle_secs(stamp)),
    };
    text
}

/// Bytes of the value in an RDB file that is not compressed.
fn serialized(entry: &Entry) -> usize {
    let value = entry.string().unwrap_or_default();
    if value.len() <= 11
        && let Some(n) = integer(value)
    {
        match n {
            -128..=127 => return 2,
            -32_768..=32_767 => return 3,
            -2_147_483_648..=2_147_483_647 => return 5,
            _ => {}
        }
    }
    value.len()
        + match value.len() {
            0..64 => 1,
            64..16_384 => 2,
            _ => 5,
        }
}

fn lengths(entry: &Entry, reply: &mut Reply<'_>) {
    if entry.encoding() == Encoding::Int {
        return reply.error("ERR Not an sds encoded string.");
    }
    let (key, value) = (entry.key().len(), entry.string().map_or(0, <[u8]>::len));
    reply.simple(&format!(
        "key_sds_len:{key} key_sds_avail:0 obj_alloc:{} val_sds_len:{value} val_sds_avail:0 val_alloc:0",
        entry.memory()
    ));
}

/// The database that DEBUG HTSTATS is about.
fn database(argv: Argv<'_>, databases: u32) -> Result<u32, &'static str> {
    let db = argv.opt(2).and_then(integer).ok_or(lines::NOT_AN_INTEGER)?;
    u32::try_from(db).ok().filter(|db| *db < databases).ok_or("ERR Out of range database")
}

/// Keys of a database, and those with an expiry.
fn entries(store: &Store, db: u32) -> [u64; 2] {
    [store.len(db), store.expires(db)]
}

/// The part of a shard in DEBUG HTSTATS.
pub(crate) fn entries_named(store: &Store, argv: Argv<'_>, databases: u32) -> [u64; 2] {
    database(argv, databases).map_or([0, 0], |db| entries(store, db))
}

/// DEBUG HTSTATS: in Valkey's shape, with the figures there are.
fn tables(shards: impl Iterator<Item = [u64; 2]>, reply: &mut Reply<'_>) {
    let all = shards.fold([0, 0], |[keys, expires], [k, e]| [keys + k, expires + e]);
    let mut text = String::new();
    for (name, entries) in ["Dictionary", "Expires"].into_iter().zip(all) {
        let _ = writeln!(text, "[{name} HT]");
        if entries > 0 {
            let _ = write!(
                text,
                "Hash table 0 stats (main hash table):\n table size: {entries}\n number of entries: {entries}\n \
                 rehashing index: -1\n"
            );
        }
    }
    reply.verbatim("txt", &text);
}
