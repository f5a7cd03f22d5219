//! Fingerprints of keys and values.

use alloc::format;
use alloc::string::String;

use sha1::{Digest as _, Sha1};

use crate::store::{Entry, Store};

/// The fingerprint of Valkey's DEBUG DIGEST. The order of keys does not matter, the order of a value's parts does.
#[derive(Default, PartialEq, Eq, Debug)]
pub(super) struct Digest([u8; 20]);

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
    pub(super) fn mix_value(&mut self, entry: &Entry) {
        const STRING: u32 = 0;
        self.mix(&STRING.to_be_bytes());
        self.mix(entry.string().unwrap_or_default());
        if entry.expiry_ms().is_some() {
            self.xor(b"!!expire!!");
        }
    }
}

/// The fingerprint of all keys.
pub(super) fn dataset(store: &Store, databases: u32) -> Digest {
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
}
