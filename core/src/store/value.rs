//! What a key can hold, as it is put in and as it is looked at.

use alloc::boxed::Box;

use bytes::{Bytes, BytesMut};

/// Strings longer than this are kept out of line as a shared chunk, which replies and snapshots can hold without
/// copying; shorter ones live in the entry itself.
pub const INLINE_MAX: usize = 16 * 1024;

/// The longest string that `OBJECT ENCODING` may call `embstr`, under the shortest key; Valkey's measure is the whole
/// entry.
pub const EMBSTR_MAX: usize = 113;

/// The type of a value, as `TYPE` names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A string of bytes.
    String,
}

impl Kind {
    /// The name that `TYPE` answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::String => "string",
        }
    }
}

/// How a string says it is encoded (`OBJECT ENCODING`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoding {
    /// Canonical decimal text of an `i64`.
    Int,
    /// Up to [`EMBSTR_MAX`] bytes.
    Embstr,
    /// Longer, or edited in place (APPEND, SETRANGE, SETBIT).
    Raw,
}

impl Encoding {
    /// The encoding of a string that is set whole.
    #[must_use]
    pub fn of(value: &[u8]) -> Self {
        if is_integer(value) {
            Self::Int
        } else if value.len() <= EMBSTR_MAX {
            Self::Embstr
        } else {
            Self::Raw
        }
    }

    /// The name that `OBJECT ENCODING` answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Int => "int",
            Self::Embstr => "embstr",
            Self::Raw => "raw",
        }
    }
}

/// Whether `text` is what printing some `i64` gives.
fn is_integer(text: &[u8]) -> bool {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    if digits.is_empty() || digits.len() > 19 || !digits.iter().all(u8::is_ascii_digit) {
        return false;
    }
    if digits[0] == b'0' {
        return digits.len() == 1 && !negative;
    }
    // Nineteen digits fit u64, so only the bound of i64 is left to check.
    let size = digits.iter().fold(0u64, |n, d| n * 10 + u64::from(d - b'0'));
    size <= i64::MAX as u64 + u64::from(negative)
}

/// A value on its way into the store.
#[derive(Debug)]
pub enum Value<'a> {
    /// A string to be copied.
    Str(&'a [u8]),
    /// A string that may be kept as it is when it is long.
    Shared(Bytes),
}

impl Value<'_> {
    /// The bytes of the string.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Str(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Str(bytes)
    }
}

impl From<Bytes> for Value<'_> {
    fn from(bytes: Bytes) -> Self {
        Self::Shared(bytes)
    }
}

/// A value looked at in the store.
#[derive(Clone, Copy, Debug)]
pub enum View<'a> {
    /// A string that lies in its entry.
    Inline(&'a [u8]),
    /// A long string: clone the chunk instead of copying the bytes.
    Shared(&'a Bytes),
}

impl<'a> View<'a> {
    /// The bytes of the string.
    #[must_use]
    pub fn as_slice(self) -> &'a [u8] {
        match self {
            Self::Inline(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

/// A value that does not lie in its entry: long strings, and the place for every other type.
#[derive(Debug)]
pub(super) enum Object {
    /// A string longer than [`INLINE_MAX`], or one that was once.
    Str(Box<LongString>),
}

/// A string in a chunk of its own, shared with replies and snapshots until it is edited.
#[derive(Default, Debug)]
pub(super) struct LongString {
    bytes: Bytes,
    /// Room of the chunk behind the string, left by the last edit.
    spare: usize,
}

impl LongString {
    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl Default for Object {
    fn default() -> Self {
        Self::Str(Box::default())
    }
}

impl Object {
    pub(super) fn string(bytes: Bytes) -> Self {
        Self::Str(Box::new(LongString { bytes, spare: 0 }))
    }

    /// Bytes on the heap besides the object itself. Constant time.
    pub(super) fn memory(&self) -> usize {
        match self {
            Self::Str(string) => size_of::<LongString>() + string.bytes.len() + string.spare,
        }
    }

    /// Edits a string, without copying it unless a reply or a snapshot still holds the chunk.
    pub(super) fn edit<R>(&mut self, edit: impl FnOnce(&mut BytesMut) -> R) -> R {
        match self {
            Self::Str(string) => {
                let mut buf = match core::mem::take(&mut string.bytes).try_into_mut() {
                    Ok(own) => own,
                    Err(shared) => BytesMut::from(&shared[..]),
                };
                let out = edit(&mut buf);
                string.spare = buf.capacity() - buf.len();
                string.bytes = buf.freeze();
                out
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_of_whole_strings() {
        for (text, encoding) in [
            ("0", Encoding::Int),
            ("-0", Encoding::Embstr),
            ("00", Encoding::Embstr),
            ("-1", Encoding::Int),
            ("+1", Encoding::Embstr),
            ("", Encoding::Embstr),
            ("-", Encoding::Embstr),
            ("1 ", Encoding::Embstr),
            ("9223372036854775807", Encoding::Int),
            ("9223372036854775808", Encoding::Embstr),
            ("-9223372036854775808", Encoding::Int),
            ("-9223372036854775809", Encoding::Embstr),
            ("99999999999999999999", Encoding::Embstr),
        ] {
            assert_eq!(Encoding::of(text.as_bytes()), encoding, "{text}");
        }
        assert_eq!(Encoding::of(&[b'1'; EMBSTR_MAX]), Encoding::Embstr);
        assert_eq!(Encoding::of(&[b'1'; EMBSTR_MAX + 1]), Encoding::Raw);
    }

    #[test]
    fn editing_copies_only_what_somebody_else_holds() {
        let mut object = Object::string(Bytes::from(alloc::vec![7u8; 100]));
        let bytes = |object: &Object| match object {
            Object::Str(string) => Bytes::clone(string.bytes()),
        };
        let held = bytes(&object);
        object.edit(|b| b[0] = 1);
        assert_eq!(held[0], 7);
        let place = bytes(&object).as_ptr();
        object.edit(|b| b[0] = 2);
        assert_eq!((bytes(&object).as_ptr(), bytes(&object)[0]), (place, 2));
    }

    #[test]
    fn appending_bit_by_bit_seldom_moves_a_long_string() {
        let mut object = Object::string(Bytes::from(alloc::vec![7u8; INLINE_MAX]));
        let mut places = alloc::collections::BTreeSet::new();
        for _ in 0..INLINE_MAX / 64 {
            object.edit(|b| b.extend_from_slice(&[7; 64]));
            let Object::Str(string) = &object;
            places.insert(string.bytes().as_ptr());
        }
        assert!(places.len() <= 3, "{} places", places.len());
        assert!(object.memory() >= 2 * INLINE_MAX);
    }
}
