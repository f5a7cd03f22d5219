//! Fingerprints of keys and values.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use sha1::{Digest as _, Sha1};

use crate::store::{Entry, Store};

/// The fingerprint of Valkey's DEBUG DIGEST. The order of keys does not matter, the order of a value's parts does.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Digest([u8; 20]);

impl Digest {
    /// Adds a part in no order.
    fn xor(&mut self, part: &[u8]) {
        self.add(&Self(Sha1::digest(part).into()));
    }

    /// Adds what has a fingerprint, in no order.
    fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(byte, other)| *byte ^= other);
    }

    /// Adds the next part.
    fn mix(&mut self, part: &[u8]) {
        self.xor(part);
        self.0 = Sha1::digest(self.0).into();
    }

    /// Adds type, value and whether the key ends.
    pub(super) fn mix_value(&mut self, entry: &Entry) {
        const STRING: u32 = 0;
        self.mix(&STRING.to_be_bytes());
        self.mix(entry.string().unwrap_or_default());
        if entry.expiry_ms().is_some() {
            self.xor(b"!!expire!!");
        }
    }
}

/// The fingerprints of all keys of each database that has some, in no order.
pub(crate) fn by_database(store: &Store, databases: u32) -> Vec<Option<Digest>> {
    let of = |db| {
        let mut keys = Digest::default();
        store.for_each(db, &mut |entry| {
            let mut digest = Digest::default();
            digest.mix(entry.key());
            digest.mix_value(entry);
            keys.xor(&digest.0);
        });
        keys
    };
    (0..databases).map(|db| (store.len(db) > 0).then(|| of(db))).collect()
}

/// The fingerprint of the keys of all shards.
pub(super) fn dataset(shards: &[&Vec<Option<Digest>>]) -> Digest {
    let mut whole = Digest::default();
    let databases = shards.first().map_or(0, |databases| databases.len());
    for db in 0..databases {
        let mut filled = shards.iter().filter_map(|databases| databases[db].as_ref()).peekable();
        if filled.peek().is_some() {
            whole.mix(&(db as u32).to_be_bytes());
        }
        filled.for_each(|keys| whole.add(keys));
    }
    whole
}

/// A fingerprint as it is shown.
pub(super) fn hex(digest: &Digest) -> String {
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
        assert_eq!(hex(&dataset(&[&by_database(&store, 2)])), "0".repeat(40));
        for (key, value, expiry) in [("a", "1", Some(99_999_999_999_999)), ("b", "hello", None)] {
            let at = store.at(0, key.as_bytes());
            store.set(&at, Value::Str(value.as_bytes()), expiry, Encoding::of(value.as_bytes()));
        }
        assert_eq!(hex(&dataset(&[&by_database(&store, 2)])), "bd6c42b827c67d2717e11feac6ed92c703682f4f");
        for (key, expected) in [
            ("a", "5279988c5d1911f474bcbbf2f0a87012d40f8459"),
            ("b", "36b23a1456b2dce2c3ed252c456761301dba8060"),
        ] {
            let mut digest = Digest::default();
            digest.mix_value(store.get(&store.at(0, key.as_bytes())).unwrap());
            assert_eq!(hex(&digest), expected, "{key}");
        }
    }
}
