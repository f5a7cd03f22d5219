//! The whole store against plain maps.

use super::*;

#[test]
fn a_store_moves_between_threads() {
    fn is_send<T: Send>() {}
    is_send::<Store>();
    is_send::<Detached>();
    is_send::<Cursor>();
}

#[test]
fn a_slot_grows_and_shrinks_back_to_nothing() {
    let mut store = Store::new(StoreConfig { databases: 1, layout: Layout::Standalone, seed: 1 });
    for n in 0..100_000u32 {
        let key = n.to_be_bytes();
        assert!(store.insert(&store.at(0, &key), Value::Str(&key), None, Encoding::Raw).is_none());
    }
    assert_eq!(store.len(0), 100_000);
    for n in 0..100_000u32 {
        let key = n.to_be_bytes();
        let at = store.at(0, &key);
        assert_eq!(store.get(&at).and_then(Entry::string), Some(&key[..]));
        assert_eq!(store.remove(&at).map(|e| e.key().to_vec()), Some(key.to_vec()));
    }
    assert!(store.is_empty());
    let tables = store.used_memory();
    let empty = Store::new(StoreConfig { databases: 1, layout: Layout::Standalone, seed: 1 });
    assert_eq!(empty.used_memory(), 0);
    assert!(store.detach_all().is_empty());
    assert_eq!(store.used_memory(), 0, "{tables}");
}
