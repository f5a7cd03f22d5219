//! Thin entries: a key, its value and its expiry behind one pointer of eight bytes. With [`super::slab`], where they
//! lie, the only unsafe code there is.
//!
//! An entry is one block of its store's slab, in one of two shapes:
//!
//! ```text
//! inline  [meta u32][klen u8|u32][vlen u8|u32][expiry u64]?[key][value]
//! object  [meta u32][klen u32][Object][expiry u64]?[key]
//! ```
//!
//! `meta` is eight flag bits below 24 bits of access clock. Lengths are one byte each when both fit, else four each.
//! Nothing outside this file sees an address; what it hands out are ordinary references bound to the entry.

#![allow(unsafe_code)]

use core::fmt;
use core::mem::{align_of, size_of};
use core::ptr::{self, NonNull};
use core::slice;

use bytes::Bytes;

use super::slab::{self, Slab};
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

const _: () = assert!(OBJECT_AT.is_multiple_of(align_of::<Object>()) && slab::UNIT >= align_of::<Object>());

/// A key with its value and expiry.
pub struct Entry {
    /// Memory from a slab for `shape().size()` bytes, fully initialized as the module says; owned.
    start: NonNull<u8>,
}

// SAFETY: an entry owns its memory alone, and what lies in it (bytes, `Object`) is Send. The slab that the memory
// goes back to moves with the entry, because entries never leave their store: its public functions lend entries, none
// gives one away. An entry is not Sync: `set_clock` writes through a shared reference.
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

    /// The shape of an entry that holds its value itself.
    fn inline(key_len: usize, value_len: usize, traits: Traits) -> Self {
        let wide = key_len > 0xff || value_len > 0xff;
        Self::new(traits.meta(if wide { WIDE } else { 0 }) as u8, key_len, value_len)
    }

    fn value(&self) -> usize {
        self.key + self.key_len
    }

    fn size(&self) -> usize {
        self.value() + self.value_len
    }
}

/// Writes everything but key and value.
///
/// # Safety
/// `start` must be memory of an entry with room for `shape`, and be written to by nobody else.
unsafe fn write_head(start: NonNull<u8>, shape: &Shape, traits: Traits) {
    let wide_len = |n: usize| u32::try_from(n).expect("keys are shorter than 4 GiB");
    // SAFETY: every write lies inside the memory, at the offsets of `shape`, and is either unaligned or at an offset
    // that is a multiple of 4 in memory aligned to `slab::UNIT`.
    unsafe {
        start.cast::<u32>().write(traits.meta(shape.flags));
        if shape.flags & WIDE != 0 {
            start.add(META).cast::<u32>().write(wide_len(shape.key_len));
            if shape.flags & OBJECT == 0 {
                start.add(META + 4).cast::<u32>().write(wide_len(shape.value_len));
            }
        } else {
            start.add(META).write(shape.key_len as u8);
            start.add(META + 1).write(shape.value_len as u8);
        }
        if let Some(ms) = traits.expiry_ms {
            start.add(shape.expiry).cast::<u64>().write_unaligned(ms);
        }
    }
}

/// What an entry holds besides key and value.
#[derive(Clone, Copy)]
pub(super) struct Traits {
    /// When the key expires.
    pub(super) expiry_ms: Option<u64>,
    /// How a string says it is encoded.
    pub(super) encoding: Encoding,
    /// The access clock, of which the low 24 bits count.
    pub(super) clock: u32,
}

impl Traits {
    fn meta(&self, flags: u8) -> u32 {
        let expires = if self.expiry_ms.is_some() { EXPIRES } else { 0 };
        u32::from(flags | ((self.encoding as u8) << ENCODING_SHIFT) | expires) | (self.clock << 8)
    }
}

impl Entry {
    /// Builds an entry.
    pub(super) fn new(slab: &Slab, key: &[u8], value: Value<'_>, traits: Traits) -> Self {
        match value {
            Value::Str(bytes) if bytes.len() <= INLINE_MAX => Self::inline(slab, key, [bytes, &[]], traits),
            Value::Shared(bytes) if bytes.len() <= INLINE_MAX => {
                Self::inline(slab, key, [&bytes, &[]], traits)
            }
            Value::Str(bytes) => {
                Self::boxed(slab, key, Object::string(Bytes::copy_from_slice(bytes)), traits)
            }
            Value::Shared(bytes) => Self::boxed(slab, key, Object::string(bytes), traits),
        }
    }

    /// An entry whose value is the two parts in a row.
    fn inline(slab: &Slab, key: &[u8], value: [&[u8]; 2], traits: Traits) -> Self {
        let value_len = value[0].len() + value[1].len();
        let shape = Shape::inline(key.len(), value_len, traits);
        let start = slab.allocate(shape.size());
        // SAFETY: new memory of this size, which neither key nor value can overlap.
        unsafe {
            write_head(start, &shape, traits);
            let at = start.add(shape.key).as_ptr();
            ptr::copy_nonoverlapping(key.as_ptr(), at, key.len());
            let at = at.add(key.len());
            ptr::copy_nonoverlapping(value[0].as_ptr(), at, value[0].len());
            ptr::copy_nonoverlapping(value[1].as_ptr(), at.add(value[0].len()), value[1].len());
        }
        Self { start }
    }

    fn boxed(slab: &Slab, key: &[u8], object: Object, traits: Traits) -> Self {
        let shape = Shape::new(traits.meta(WIDE | OBJECT) as u8, key.len(), 0);
        let start = slab.allocate(shape.size());
        // SAFETY: new memory of this size, with room and alignment for an `Object` at `OBJECT_AT`.
        unsafe {
            slab::book_object(start, shape.size(), 0, object.memory());
            write_head(start, &shape, traits);
            start.add(OBJECT_AT).cast::<Object>().write(object);
            ptr::copy_nonoverlapping(key.as_ptr(), start.add(shape.key).as_ptr(), key.len());
        }
        Self { start }
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

    /// The last byte of the entry's own memory, for which its first line had to be read too: of no use but to have both
    /// near.
    #[inline]
    pub(super) fn peek_end(&self) -> u8 {
        match self.view() {
            View::Inline(value) => value.last().copied().unwrap_or_default(),
            View::Shared(_) => self.key().last().copied().unwrap_or_default(),
        }
    }

    /// The first byte of the entry: of no use but to have its first line near, where the key begins.
    #[inline]
    pub(super) fn peek_start(&self) -> u8 {
        self.flags()
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

    /// Bytes of this entry and of all it holds. Constant time.
    #[must_use]
    pub fn memory(&self) -> usize {
        slab::footprint(self.shape().size()) + self.object().map_or(0, Object::memory)
    }

    fn traits(&self) -> Traits {
        Traits { expiry_ms: self.expiry_ms(), encoding: self.encoding(), clock: self.clock() }
    }

    fn set_encoding(&mut self, encoding: Encoding) {
        let flags = (self.flags() & !ENCODING) | ((encoding as u8) << ENCODING_SHIFT);
        self.set_meta((self.meta() & !0xff) | u32::from(flags));
    }

    /// Runs an edit of the object, and books what it now holds.
    fn edit_object(&mut self, edit: impl FnOnce(&mut Object)) {
        let (start, size) = (self.start, self.shape().size());
        let Some(object) = self.object_mut() else { return };
        let before = object.memory();
        edit(object);
        let now = object.memory();
        // SAFETY: the memory is this entry's, which lives.
        unsafe { slab::book_object(start, size, before, now) }
    }

    /// Replaces the value and keeps the expiry. A string that fits the same block is written in place.
    pub(super) fn set_value(&mut self, slab: &Slab, value: Value<'_>, encoding: Encoding) {
        let traits = Traits { encoding, ..self.traits() };
        self.assign(slab, value, traits);
    }

    /// Replaces everything but the key. A string that fits the same block is written in place.
    pub(super) fn assign(&mut self, slab: &Slab, value: Value<'_>, traits: Traits) {
        let (old, bytes) = (self.shape(), value.as_slice());
        let new = Shape::inline(old.key_len, bytes.len(), traits);
        if old.flags & OBJECT != 0
            || slab::room(new.size()) != slab::room(old.size())
            || bytes.len() > INLINE_MAX
        {
            *self = Self::new(slab, self.key(), value, traits);
            return;
        }
        // SAFETY: the block has room for the new shape, and releasing it later asks for no more than the same room.
        // The key moves first, before anything is written where it was. `bytes` cannot borrow from an entry that is
        // borrowed exclusively here.
        unsafe {
            let (from, to) = (self.start.add(old.key).as_ptr(), self.start.add(new.key).as_ptr());
            if from != to {
                ptr::copy(from, to, old.key_len);
            }
            write_head(self.start, &new, traits);
            ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.add(new.value()).as_ptr(), bytes.len());
        }
    }

    /// Sets or clears the expiry and keeps the value.
    pub(super) fn set_expiry(&mut self, slab: &Slab, expiry_ms: Option<u64>) {
        let shape = self.shape();
        match expiry_ms {
            Some(ms) if shape.flags & EXPIRES != 0 => {
                // SAFETY: eight bytes for the expiry lie there.
                unsafe { self.start.add(shape.expiry).cast::<u64>().write_unaligned(ms) };
            }
            None if shape.flags & EXPIRES == 0 => {}
            _ => {
                let traits = Traits { expiry_ms, ..self.traits() };
                *self = self.rebuild(slab, None, traits);
            }
        }
    }

    /// The same value under another key (RENAME); a long value is not copied.
    pub(super) fn with_key(mut self, slab: &Slab, key: &[u8]) -> Self {
        let traits = self.traits();
        self.rebuild(slab, Some(key), traits)
    }

    /// The same under another key (COPY); a long value is shared.
    pub(super) fn copied(&self, slab: &Slab, key: &[u8], clock: u32) -> Self {
        let traits = Traits { clock, ..self.traits() };
        match self.view() {
            View::Inline(bytes) => Self::inline(slab, key, [bytes, &[]], traits),
            View::Shared(bytes) => Self::new(slab, key, Value::Shared(bytes.clone()), traits),
        }
    }

    /// Moves the value to a new block with another key or another need of room for an expiry. The entry left behind
    /// has no value worth looking at.
    fn rebuild(&mut self, slab: &Slab, key: Option<&[u8]>, traits: Traits) -> Self {
        let mut moved = None;
        self.edit_object(|object| moved = Some(core::mem::take(object)));
        match moved {
            Some(object) => Self::boxed(slab, key.unwrap_or(self.key()), object, traits),
            None => Self::inline(slab, key.unwrap_or(self.key()), [self.view().as_slice(), &[]], traits),
        }
    }

    /// Adds bytes at the end of a string.
    pub(super) fn append(&mut self, slab: &Slab, tail: &[u8]) {
        if self.object().is_some() {
            self.edit_object(|object| object.edit(|buf| buf.extend_from_slice(tail)));
            self.set_encoding(Encoding::Raw);
            return;
        }
        let traits = Traits { encoding: Encoding::Raw, ..self.traits() };
        let head = self.view().as_slice();
        *self = if head.len() + tail.len() <= INLINE_MAX {
            Self::inline(slab, self.key(), [head, tail], traits)
        } else {
            let mut buf = bytes::BytesMut::with_capacity(head.len() + tail.len());
            buf.extend_from_slice(head);
            buf.extend_from_slice(tail);
            Self::boxed(slab, self.key(), Object::string(buf.freeze()), traits)
        };
    }

    /// Writes bytes at `offset` of a string, which grows by zeros as needed.
    pub(super) fn write_range(&mut self, slab: &Slab, offset: usize, patch: &[u8]) {
        let end = offset + patch.len();
        if self.object().is_some() {
            self.edit_object(|object| {
                object.edit(|buf| {
                    if buf.len() < end {
                        buf.resize(end, 0);
                    }
                    buf[offset..end].copy_from_slice(patch);
                });
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
        let traits = Traits { encoding: Encoding::Raw, ..self.traits() };
        *self = Self::new(slab, self.key(), Value::Shared(buf.freeze()), traits);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let size = self.shape().size();
        // SAFETY: the entry owns its memory, which has room for its shape (the shape may have changed since, the room
        // has not), and the object in it; nobody can reach either any more.
        unsafe {
            if let Some(object) = self.object() {
                slab::book_object(self.start, size, object.memory(), 0);
                self.start.add(OBJECT_AT).cast::<Object>().drop_in_place();
            }
            slab::release(self.start, size);
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
mod tests;
