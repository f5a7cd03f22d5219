//! Thin entries: a key, its value and its expiry behind one pointer of eight bytes. The only unsafe code there is.
//!
//! An entry is one allocation, in one of two shapes:
//!
//! ```text
//! inline  [meta u32][klen u8|u32][vlen u8|u32][expiry u64]?[key][value]      aligned to 4
//! object  [meta u32][klen u32][Object][expiry u64]?[key]                     aligned like Object
//! ```
//!
//! `meta` is eight flag bits below 24 bits of access clock. Lengths are one byte each when both fit, else four each.
//! Nothing outside this file sees an address; what it hands out are ordinary references bound to the entry.

#![allow(unsafe_code)]

use alloc::alloc::{alloc, dealloc, handle_alloc_error};
use core::alloc::Layout;
use core::fmt;
use core::mem::{align_of, size_of};
use core::ptr::{self, NonNull};
use core::slice;

use bytes::Bytes;

use super::value::{Encoding, INLINE_MAX, Kind, Object, Value, View};

#[cfg(test)]
pub(super) use tests::kept;

/// Both lengths take four bytes.
const WIDE: u8 = 1;
/// An expiry lies before the key.
const EXPIRES: u8 = 1 << 1;
/// The value is an [`Object`].
const OBJECT: u8 = 1 << 2;
/// Two bits of [`Encoding`]. The three bits above them are free for further kinds of inline values.
const ENCODING: u8 = 0b11 << 3;
const ENCODING_SHIFT: u8 = 3;

const META: usize = size_of::<u32>();
/// Where the object of an object entry lies: after `meta` and a length of four bytes.
const OBJECT_AT: usize = 8;
const CLOCK_MASK: u32 = 0x00ff_ffff;

const _: () = assert!(OBJECT_AT.is_multiple_of(align_of::<Object>()) && align_of::<Object>() >= 4);

/// A key with its value and expiry.
pub struct Entry {
    /// One allocation of `shape().layout()`, fully initialized as the module says; owned.
    start: NonNull<u8>,
}

// SAFETY: an entry owns its allocation alone, and what lies in it (bytes, `Object`) is Send. It is not Sync:
// `set_clock` writes through a shared reference.
unsafe impl Send for Entry where Object: Send {}

/// Where the parts of an entry lie, computed from its flags and lengths.
#[derive(Clone, Copy)]
struct Shape {
    flags: u8,
    expiry: usize,
    key: usize,
    key_len: usize,
    value_len: usize,
}

impl Shape {
    fn new(flags: u8, key_len: usize, value_len: usize) -> Self {
        let expiry = if flags & OBJECT != 0 {
            OBJECT_AT + size_of::<Object>()
        } else if flags & WIDE != 0 {
            META + 8
        } else {
            META + 2
        };
        let key = expiry + if flags & EXPIRES != 0 { 8 } else { 0 };
        Self { flags, expiry, key, key_len, value_len }
    }

    fn value(&self) -> usize {
        self.key + self.key_len
    }

    fn size(&self) -> usize {
        self.value() + self.value_len
    }

    fn layout(&self) -> Layout {
        let align = if self.flags & OBJECT != 0 { align_of::<Object>() } else { align_of::<u32>() };
        Layout::from_size_align(self.size(), align).expect("an entry smaller than the address space")
    }
}

impl Entry {
    /// Builds an entry. `clock` counts only in its low 24 bits.
    #[must_use]
    pub fn new(key: &[u8], value: Value<'_>, expiry_ms: Option<u64>, encoding: Encoding, clock: u32) -> Self {
        match value {
            Value::Str(bytes) if bytes.len() <= INLINE_MAX => {
                Self::inline(key, [bytes, &[]], expiry_ms, encoding, clock)
            }
            Value::Shared(bytes) if bytes.len() <= INLINE_MAX => {
                Self::inline(key, [&bytes, &[]], expiry_ms, encoding, clock)
            }
            Value::Str(bytes) => {
                Self::boxed(key, Object::string(Bytes::copy_from_slice(bytes)), expiry_ms, encoding, clock)
            }
            Value::Shared(bytes) => Self::boxed(key, Object::string(bytes), expiry_ms, encoding, clock),
        }
    }

    /// An entry whose value is the two parts in a row.
    fn inline(key: &[u8], value: [&[u8]; 2], expiry_ms: Option<u64>, encoding: Encoding, clock: u32) -> Self {
        let value_len = value[0].len() + value[1].len();
        let wide = key.len() > 0xff || value_len > 0xff;
        let flags = if wide { WIDE } else { 0 };
        let (entry, shape) = Self::allocate(flags, key, value_len, expiry_ms, encoding, clock);
        // SAFETY: `allocate` made room for `value_len` bytes at `shape.value()`, and the parts cannot overlap memory
        // that was just allocated.
        unsafe {
            let at = entry.add(shape.value());
            ptr::copy_nonoverlapping(value[0].as_ptr(), at.as_ptr(), value[0].len());
            ptr::copy_nonoverlapping(value[1].as_ptr(), at.add(value[0].len()).as_ptr(), value[1].len());
        }
        Self { start: entry }
    }

    fn boxed(key: &[u8], object: Object, expiry_ms: Option<u64>, encoding: Encoding, clock: u32) -> Self {
        let (start, _) = Self::allocate(WIDE | OBJECT, key, 0, expiry_ms, encoding, clock);
        // SAFETY: object entries have room and alignment for an `Object` at `OBJECT_AT`.
        unsafe { start.add(OBJECT_AT).cast::<Object>().write(object) };
        Self { start }
    }

    /// Allocates an entry and writes everything but its value.
    fn allocate(
        flags: u8,
        key: &[u8],
        value_len: usize,
        expiry_ms: Option<u64>,
        encoding: Encoding,
        clock: u32,
    ) -> (NonNull<u8>, Shape) {
        let flags =
            flags | ((encoding as u8) << ENCODING_SHIFT) | if expiry_ms.is_some() { EXPIRES } else { 0 };
        let shape = Shape::new(flags, key.len(), value_len);
        let layout = shape.layout();
        let wide_len = |n: usize| u32::try_from(n).expect("keys are shorter than 4 GiB");
        // SAFETY: the layout is never empty; every write below lies inside it, at the offsets of `shape`, and is
        // either unaligned or at an offset that is a multiple of 4 in memory aligned to 4.
        unsafe {
            let Some(start) = NonNull::new(alloc(layout)) else { handle_alloc_error(layout) };
            start.cast::<u32>().write(u32::from(flags) | (clock << 8));
            if flags & WIDE != 0 {
                start.add(META).cast::<u32>().write(wide_len(key.len()));
                if flags & OBJECT == 0 {
                    start.add(META + 4).cast::<u32>().write(wide_len(value_len));
                }
            } else {
                start.add(META).write(key.len() as u8);
                start.add(META + 1).write(value_len as u8);
            }
            if let Some(ms) = expiry_ms {
                start.add(shape.expiry).cast::<u64>().write_unaligned(ms);
            }
            ptr::copy_nonoverlapping(key.as_ptr(), start.add(shape.key).as_ptr(), key.len());
            (start, shape)
        }
    }

    fn meta(&self) -> u32 {
        // SAFETY: every entry starts with its `meta`, aligned.
        unsafe { self.start.cast::<u32>().read() }
    }

    fn set_meta(&self, meta: u32) {
        // SAFETY: as in `meta`; no reference to it is ever handed out, and the entry is not Sync.
        unsafe { self.start.cast::<u32>().write(meta) }
    }

    fn flags(&self) -> u8 {
        self.meta() as u8
    }

    fn shape(&self) -> Shape {
        let flags = self.flags();
        // SAFETY: `allocate` wrote the lengths at these offsets with these widths.
        unsafe {
            if flags & WIDE == 0 {
                let (key, value) = (self.start.add(META).read(), self.start.add(META + 1).read());
                Shape::new(flags, usize::from(key), usize::from(value))
            } else {
                let key = self.start.add(META).cast::<u32>().read() as usize;
                let value = if flags & OBJECT != 0 {
                    0
                } else {
                    self.start.add(META + 4).cast::<u32>().read() as usize
                };
                Shape::new(flags, key, value)
            }
        }
    }

    fn object(&self) -> Option<&Object> {
        // SAFETY: object entries hold an initialized `Object` there; the reference borrows the entry.
        (self.flags() & OBJECT != 0).then(|| unsafe { self.start.add(OBJECT_AT).cast::<Object>().as_ref() })
    }

    fn object_mut(&mut self) -> Option<&mut Object> {
        // SAFETY: as in `object`, and the entry is borrowed exclusively.
        (self.flags() & OBJECT != 0).then(|| unsafe { self.start.add(OBJECT_AT).cast::<Object>().as_mut() })
    }

    /// # Safety
    /// `len` initialized bytes must lie at the offset, written to only through `&mut self`.
    unsafe fn bytes(&self, offset: usize, len: usize) -> &[u8] {
        // SAFETY: the caller's promise; the slice borrows the entry.
        unsafe { slice::from_raw_parts(self.start.add(offset).as_ptr(), len) }
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        let shape = self.shape();
        // SAFETY: `key_len` initialized bytes lie there, and are written to only while building the entry.
        unsafe { self.bytes(shape.key, shape.key_len) }
    }

    /// The type of the value.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.object() {
            None | Some(Object::Str(_)) => Kind::String,
        }
    }

    /// The value.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        match self.object() {
            Some(Object::Str(string)) => View::Shared(string.bytes()),
            None => {
                let shape = self.shape();
                // SAFETY: `value_len` initialized bytes lie there; writing to them borrows the entry exclusively.
                View::Inline(unsafe { self.bytes(shape.value(), shape.value_len) })
            }
        }
    }

    /// The bytes of a string; nothing for a value of another type.
    #[must_use]
    pub fn string(&self) -> Option<&[u8]> {
        Some(self.view().as_slice())
    }

    /// When the key expires, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn expiry_ms(&self) -> Option<u64> {
        if self.flags() & EXPIRES == 0 {
            return None;
        }
        let shape = self.shape();
        // SAFETY: entries with `EXPIRES` hold eight initialized bytes there.
        Some(unsafe { self.start.add(shape.expiry).cast::<u64>().read_unaligned() })
    }

    /// Whether the key's time is over: only after the millisecond of its expiry, as in Valkey.
    #[must_use]
    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.expiry_ms().is_some_and(|at| now_ms > at)
    }

    /// How a string says it is encoded.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        match (self.flags() & ENCODING) >> ENCODING_SHIFT {
            0 => Encoding::Int,
            1 => Encoding::Embstr,
            _ => Encoding::Raw,
        }
    }

    /// The 24 bits of access clock; what they mean is the eviction policy's choice.
    #[must_use]
    pub fn clock(&self) -> u32 {
        self.meta() >> 8
    }

    /// Notes an access. `clock` counts only in its low 24 bits.
    pub fn set_clock(&self, clock: u32) {
        self.set_meta(u32::from(self.flags()) | ((clock & CLOCK_MASK) << 8));
    }

    /// Bytes asked of the allocator for this entry and all it holds. Constant time.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.shape().size() + self.object().map_or(0, Object::memory)
    }

    fn set_encoding(&mut self, encoding: Encoding) {
        let flags = (self.flags() & !ENCODING) | ((encoding as u8) << ENCODING_SHIFT);
        self.set_meta((self.meta() & !0xff) | u32::from(flags));
    }

    /// Replaces the value and keeps the expiry. A string of the same length is written in place.
    pub(super) fn set_value(&mut self, value: Value<'_>, encoding: Encoding) {
        let shape = self.shape();
        let bytes = value.as_slice();
        if shape.flags & OBJECT == 0 && bytes.len() == shape.value_len {
            // SAFETY: `value_len` bytes lie there, and `bytes` cannot borrow from an entry that is borrowed
            // exclusively here.
            unsafe {
                let at = self.start.add(shape.value());
                ptr::copy_nonoverlapping(bytes.as_ptr(), at.as_ptr(), bytes.len());
            }
            self.set_encoding(encoding);
        } else {
            *self = Self::new(self.key(), value, self.expiry_ms(), encoding, self.clock());
        }
    }

    /// Replaces everything but the key. A string of the same length and with the same need of room is written in
    /// place.
    pub(super) fn assign(
        &mut self,
        value: Value<'_>,
        expiry_ms: Option<u64>,
        encoding: Encoding,
        clock: u32,
    ) {
        let shape = self.shape();
        let same = shape.flags & OBJECT == 0
            && value.as_slice().len() == shape.value_len
            && expiry_ms.is_some() == (shape.flags & EXPIRES != 0);
        if same {
            self.set_value(value, encoding);
            self.set_expiry(expiry_ms);
            self.set_clock(clock);
        } else {
            *self = Self::new(self.key(), value, expiry_ms, encoding, clock);
        }
    }

    /// Sets or clears the expiry and keeps the value.
    pub(super) fn set_expiry(&mut self, expiry_ms: Option<u64>) {
        let shape = self.shape();
        match expiry_ms {
            Some(ms) if shape.flags & EXPIRES != 0 => {
                // SAFETY: eight bytes for the expiry lie there.
                unsafe { self.start.add(shape.expiry).cast::<u64>().write_unaligned(ms) };
            }
            None if shape.flags & EXPIRES == 0 => {}
            _ => *self = self.rebuild(None, expiry_ms),
        }
    }

    /// The same value under another key (RENAME); a long value is not copied.
    #[must_use]
    pub fn with_key(mut self, key: &[u8]) -> Self {
        let expiry_ms = self.expiry_ms();
        self.rebuild(Some(key), expiry_ms)
    }

    /// Moves the value to a new allocation with another key or another need of room for an expiry. The entry left
    /// behind has no value worth looking at.
    fn rebuild(&mut self, key: Option<&[u8]>, expiry_ms: Option<u64>) -> Self {
        let (encoding, clock) = (self.encoding(), self.clock());
        if let Some(object) = self.object_mut() {
            let object = core::mem::take(object);
            return Self::boxed(key.unwrap_or(self.key()), object, expiry_ms, encoding, clock);
        }
        let value = [self.view().as_slice(), &[]];
        Self::inline(key.unwrap_or(self.key()), value, expiry_ms, encoding, clock)
    }

    /// Adds bytes at the end of a string.
    pub(super) fn append(&mut self, tail: &[u8]) {
        let (expiry_ms, clock) = (self.expiry_ms(), self.clock());
        if let Some(object) = self.object_mut() {
            object.edit(|buf| buf.extend_from_slice(tail));
            self.set_encoding(Encoding::Raw);
            return;
        }
        let head = self.view().as_slice();
        *self = if head.len() + tail.len() <= INLINE_MAX {
            Self::inline(self.key(), [head, tail], expiry_ms, Encoding::Raw, clock)
        } else {
            let mut buf = bytes::BytesMut::with_capacity(head.len() + tail.len());
            buf.extend_from_slice(head);
            buf.extend_from_slice(tail);
            Self::boxed(self.key(), Object::string(buf.freeze()), expiry_ms, Encoding::Raw, clock)
        };
    }

    /// Writes bytes at `offset` of a string, which grows by zeros as needed.
    pub(super) fn write_range(&mut self, offset: usize, patch: &[u8]) {
        let end = offset + patch.len();
        if let Some(object) = self.object_mut() {
            object.edit(|buf| {
                if buf.len() < end {
                    buf.resize(end, 0);
                }
                buf[offset..end].copy_from_slice(patch);
            });
            self.set_encoding(Encoding::Raw);
            return;
        }
        let shape = self.shape();
        if end <= shape.value_len {
            // SAFETY: `offset..end` lies inside the value, and the entry is borrowed exclusively.
            unsafe {
                let at = self.start.add(shape.value() + offset);
                ptr::copy_nonoverlapping(patch.as_ptr(), at.as_ptr(), patch.len());
            }
            self.set_encoding(Encoding::Raw);
            return;
        }
        let mut buf = bytes::BytesMut::zeroed(end);
        buf[..shape.value_len].copy_from_slice(self.view().as_slice());
        buf[offset..].copy_from_slice(patch);
        *self =
            Self::new(self.key(), Value::Shared(buf.freeze()), self.expiry_ms(), Encoding::Raw, self.clock());
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let layout = self.shape().layout();
        // SAFETY: the entry owns its allocation, made with this very layout (flags and lengths never change during
        // its life, the encoding does not count), and the object in it, which nobody can reach any more.
        unsafe {
            if self.flags() & OBJECT != 0 {
                self.start.add(OBJECT_AT).cast::<Object>().drop_in_place();
            }
            dealloc(self.start.as_ptr(), layout);
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("key", &self.key().escape_ascii())
            .field("len", &self.view().as_slice().len())
            .field("expiry_ms", &self.expiry_ms())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;
    use core::cell::Cell;
    use std::alloc::{GlobalAlloc, System};

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
                        let entry =
                            Entry::new(&key, Value::Str(&value), expiry_ms, Encoding::Raw, 0xab12_3456);
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

    #[test]
    fn memory_is_what_the_allocator_was_asked_for() {
        for value_len in LENGTHS {
            let value = alloc::vec![b'v'; value_len];
            let make = || Entry::new(b"key", Value::Str(&value), Some(1), Encoding::Raw, 0);
            let (entry, (_, bytes)) = kept(make);
            // An inline entry is exact; the header of a shared chunk is not visible from here.
            let hidden = bytes - entry.memory() as isize;
            assert!(
                hidden == 0 || (value_len > INLINE_MAX && (0..64).contains(&hidden)),
                "{value_len}: {hidden}"
            );
        }
    }

    #[test]
    fn small_entries_are_thin() {
        assert_eq!(size_of::<Option<Entry>>(), 8);
        let entry = Entry::new(&[b'k'; 16], Value::Str(&[b'v'; 16]), None, Encoding::Embstr, 0);
        assert_eq!(entry.memory(), 6 + 16 + 16);
    }

    #[test]
    fn a_long_value_is_never_copied_by_moves() {
        let bytes = Bytes::from(alloc::vec![7; INLINE_MAX + 1]);
        let place = bytes.as_ptr();
        let mut entry = Entry::new(b"a", Value::Shared(bytes), None, Encoding::Raw, 9);
        entry.set_expiry(Some(5));
        let mut entry = entry.with_key(b"another");
        entry.set_expiry(None);
        assert_eq!((entry.key(), entry.clock(), entry.expiry_ms()), (&b"another"[..], 9, None));
        assert!(matches!(entry.view(), View::Shared(b) if b.as_ptr() == place));
    }

    #[test]
    fn values_of_equal_size_are_written_in_place() {
        let mut entry = Entry::new(b"a", Value::Str(b"one"), Some(1), Encoding::Embstr, 0);
        let place = entry.key().as_ptr();
        entry.assign(Value::Str(b"two"), Some(2), Encoding::Raw, 3);
        assert_eq!(entry.key().as_ptr(), place);
        assert_eq!((entry.string(), entry.expiry_ms(), entry.clock()), (Some(&b"two"[..]), Some(2), 3));
        assert_eq!(entry.encoding(), Encoding::Raw);
        entry.assign(Value::Str(b"six"), None, Encoding::Embstr, 4);
        assert_eq!((entry.string(), entry.expiry_ms(), entry.clock()), (Some(&b"six"[..]), None, 4));
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
        let mut entry = Entry::new(&key, Value::Str(b""), None, Encoding::Raw, 0);
        let mut held = Vec::new();
        for n in 0..100u64 {
            let len = [3, 300, 9000, 20_000][rng.index(4)];
            let patch = alloc::vec![n as u8; rng.index(len)];
            match rng.below(7) {
                0 => {
                    entry.set_value(Value::Str(&patch), Encoding::Raw);
                    model.0 = patch;
                }
                1 => {
                    model.1 = (!rng.one_in(3)).then_some(n);
                    entry.set_expiry(model.1);
                }
                2 => {
                    entry.append(&patch);
                    model.0.extend_from_slice(&patch);
                }
                3 => {
                    let offset = rng.index(model.0.len() + 100);
                    entry.write_range(offset, &patch);
                    model.0.resize(model.0.len().max(offset + patch.len()), 0);
                    model.0[offset..offset + patch.len()].copy_from_slice(&patch);
                }
                4 => {
                    model = (patch.clone(), (!rng.one_in(2)).then_some(n));
                    entry.assign(Value::Shared(patch.into()), model.1, Encoding::Embstr, 1);
                }
                5 => {
                    key = alloc::vec![n as u8; rng.index(400)];
                    entry = entry.with_key(&key);
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
            if held.len() > 4 {
                let (bytes, then) = held.swap_remove(0);
                assert!(bytes == then, "seed {seed}: a chunk held by others has changed");
            }
        }
    }
}
