//! Entries of all shapes, under an allocator that counts.

use alloc::vec::Vec;
use core::cell::Cell;
use std::alloc::{GlobalAlloc, Layout, System};

use super::*;
use crate::rng::Rng;

std::thread_local! {
    /// Allocations and bytes that this thread has made and not given back.
    static LIVE: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

/// The system's allocator, counting per thread since tests run in parallel.
struct Counting;

fn count(allocations: isize, bytes: isize) {
    // A thread that ends frees what it has after its thread locals are gone.
    let _ = LIVE.try_with(|live| live.set((live.get().0 + allocations, live.get().1 + bytes)));
}

// SAFETY: passes every call on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as isize);
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(-1, -(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Allocations and bytes that `run` made and did not give back.
pub(in crate::store) fn kept<R>(run: impl FnOnce() -> R) -> (R, (isize, isize)) {
    let before = LIVE.get();
    let out = run();
    let after = LIVE.get();
    (out, (after.0 - before.0, after.1 - before.1))
}

const LENGTHS: [usize; 9] = [0, 1, 44, 255, 256, 300, INLINE_MAX - 1, INLINE_MAX, INLINE_MAX + 1];

#[test]
fn entries_of_all_shapes_say_what_they_were_made_of() {
    for key_len in [0, 1, 16, 255, 256, 70_000] {
        for value_len in LENGTHS {
            for expiry_ms in [None, Some(0), Some(u64::MAX)] {
                let (key, value) = (alloc::vec![b'k'; key_len], alloc::vec![b'v'; value_len]);
                let ((), left) = kept(|| {
                    let slab = Slab::new();
                    let traits = Traits { expiry_ms, encoding: Encoding::Raw, clock: 0xab12_3456 };
                    let entry = Entry::new(&slab, &key, Value::Str(&value), traits);
                    assert_eq!(entry.key(), key);
                    assert_eq!(entry.string(), Some(&value[..]));
                    assert_eq!(entry.expiry_ms(), expiry_ms);
                    assert_eq!(entry.clock(), 0x12_3456);
                    entry.set_clock(0xff00_0001);
                    assert_eq!((entry.clock(), entry.encoding()), (1, Encoding::Raw));
                    assert_eq!(matches!(entry.view(), View::Shared(_)), value_len > INLINE_MAX);
                });
                assert_eq!(left, (0, 0), "{key_len} {value_len} {expiry_ms:?}");
            }
        }
    }
}

const TRAITS: Traits = Traits { expiry_ms: Some(1), encoding: Encoding::Raw, clock: 9 };

#[test]
fn memory_is_what_the_slab_was_asked_for() {
    for value_len in LENGTHS {
        let slab = Slab::new();
        let value = alloc::vec![b'v'; value_len];
        let (entry, (_, bytes)) = kept(|| Entry::new(&slab, b"key", Value::Str(&value), TRAITS));
        let figures = slab.figures();
        assert_eq!(figures.entries + figures.objects, entry.memory() as u64);
        // An entry by itself is exact; the header of a shared chunk is not visible from here.
        let known = figures.objects + figures.asked - Slab::new().figures().asked;
        let hidden = bytes - known as isize;
        assert!(
            hidden == 0 || (value_len > INLINE_MAX && (0..64).contains(&hidden)),
            "{value_len}: {hidden}"
        );
    }
}

#[test]
fn small_entries_are_thin() {
    assert_eq!(size_of::<Option<Entry>>(), 8);
    let traits = Traits { expiry_ms: None, ..TRAITS };
    let entry = Entry::new(&Slab::new(), &[b'k'; 16], Value::Str(&[b'v'; 16]), traits);
    assert_eq!(entry.memory(), 6 + 16 + 16 + 2);
}

#[test]
fn a_long_value_is_never_copied_by_moves() {
    let slab = Slab::new();
    let bytes = Bytes::from(alloc::vec![7; INLINE_MAX + 1]);
    let place = bytes.as_ptr();
    let mut entry = Entry::new(&slab, b"a", Value::Shared(bytes), Traits { expiry_ms: None, ..TRAITS });
    entry.set_expiry(&slab, Some(5));
    let mut entry = entry.with_key(&slab, b"another");
    entry.set_expiry(&slab, None);
    assert_eq!((entry.key(), entry.clock(), entry.expiry_ms()), (&b"another"[..], 9, None));
    let copy = entry.copied(&slab, b"a third", 7);
    assert_eq!((copy.key(), copy.clock(), copy.encoding()), (&b"a third"[..], 7, Encoding::Raw));
    for entry in [entry, copy] {
        assert!(matches!(entry.view(), View::Shared(b) if b.as_ptr() == place));
    }
}

#[test]
fn values_that_fit_the_block_are_written_in_place() {
    let slab = Slab::new();
    let mut entry = Entry::new(&slab, b"akey", Value::Str(b"one"), TRAITS);
    let block = entry.start;
    // With its expiry the entry takes 21 bytes of 24, without it 13 of 16.
    for (value, clock) in [(&b"two"[..], 3), (b"eleven", 4), (b"", 5), (b"four", 6)] {
        entry.assign(&slab, Value::Str(value), Traits { clock, encoding: Encoding::Embstr, ..TRAITS });
        assert_eq!((entry.start, entry.key(), entry.string()), (block, &b"akey"[..], Some(value)));
        assert_eq!((entry.clock(), entry.expiry_ms(), entry.encoding()), (clock, Some(1), Encoding::Embstr));
    }
    // The expiry goes, the value grows by as much, and the key moves.
    entry.assign(&slab, Value::Str(b"fourteen chars"), Traits { expiry_ms: None, ..TRAITS });
    assert_eq!((entry.start, entry.key(), entry.expiry_ms()), (block, &b"akey"[..], None));
    assert_eq!((entry.string(), entry.clock()), (Some(&b"fourteen chars"[..]), 9));
    entry.assign(&slab, Value::Str(b"short"), TRAITS);
    assert_eq!((entry.start, entry.key(), entry.string()), (block, &b"akey"[..], Some(&b"short"[..])));
    entry.set_value(&slab, Value::Str(b"seven!!"), Encoding::Raw);
    assert_ne!(entry.start, block);
    assert_eq!(
        (entry.key(), entry.string(), entry.expiry_ms()),
        (&b"akey"[..], Some(&b"seven!!"[..]), Some(1))
    );
}

#[test]
fn edits_do_what_they_do_to_a_plain_string_and_leak_nothing() {
    let rounds = if cfg!(miri) { 2 } else { 60 };
    for seed in 0..rounds {
        let ((), left) = kept(|| edit_at_random(seed));
        assert_eq!(left, (0, 0), "seed {seed}");
    }
}

fn edit_at_random(seed: u64) {
    let mut rng = Rng::new(seed);
    let mut key = alloc::vec![b'k'; rng.index(400)];
    let mut model: (Vec<u8>, Option<u64>) = (Vec::new(), None);
    let slab = Slab::new();
    let mut entry = Entry::new(&slab, &key, Value::Str(b""), Traits { expiry_ms: None, ..TRAITS });
    let mut held = Vec::new();
    for n in 0..100u64 {
        let len = [3, 300, 9000, 20_000][rng.index(4)];
        let patch = alloc::vec![n as u8; rng.index(len)];
        match rng.below(8) {
            0 => {
                entry.set_value(&slab, Value::Str(&patch), Encoding::Raw);
                model.0 = patch;
            }
            1 => {
                model.1 = (!rng.one_in(3)).then_some(n);
                entry.set_expiry(&slab, model.1);
            }
            2 => {
                entry.append(&slab, &patch);
                model.0.extend_from_slice(&patch);
            }
            3 => {
                let offset = rng.index(model.0.len() + 100);
                entry.write_range(&slab, offset, &patch);
                model.0.resize(model.0.len().max(offset + patch.len()), 0);
                model.0[offset..offset + patch.len()].copy_from_slice(&patch);
            }
            4 => {
                model = (patch.clone(), (!rng.one_in(2)).then_some(n));
                let traits = Traits { expiry_ms: model.1, encoding: Encoding::Embstr, clock: 1 };
                entry.assign(&slab, Value::Shared(patch.into()), traits);
            }
            5 => entry = entry.copied(&slab, &key, 2),
            6 => {
                key = alloc::vec![n as u8; rng.index(400)];
                entry = entry.with_key(&slab, &key);
            }
            _ => {
                if let View::Shared(bytes) = entry.view() {
                    held.push((bytes.clone(), model.0.clone()));
                }
            }
        }
        assert_eq!(entry.key(), key, "seed {seed}");
        assert!(entry.string() == Some(&model.0[..]), "seed {seed}");
        assert_eq!(entry.expiry_ms(), model.1, "seed {seed}");
        let figures = slab.figures();
        assert_eq!(figures.entries + figures.objects, entry.memory() as u64, "seed {seed}");
        if held.len() > 4 {
            let (bytes, then) = held.swap_remove(0);
            assert!(bytes == then, "seed {seed}: a chunk held by others has changed");
        }
    }
}
