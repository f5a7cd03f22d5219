//! A client's words inside of error lines.
//!
//! An error line is text, but what it repeats of a command need not be: Valkey repeats any bytes. So bytes that are no
//! text travel through [`String`]s as private characters, which [`Reply`](super::Reply) turns back into the bytes.

use alloc::string::String;
use core::char;

/// The private character that stands for byte 0.
const BASE: u32 = 0x10_ff00;
/// How the UTF-8 of all those characters begins.
const MARK: [u8; 2] = [0xf4, 0x8f];

/// A client's word as an error line shows it: up to its first zero byte, as C prints it.
#[must_use]
pub fn quote(word: &[u8]) -> String {
    let word = word.split(|&b| b == 0).next().unwrap_or_default();
    let mut text = String::with_capacity(word.len());
    let private = |bytes: &[u8], text: &mut String| {
        text.extend(bytes.iter().filter_map(|&b| char::from_u32(BASE + u32::from(b))));
    };
    for chunk in word.utf8_chunks() {
        for c in chunk.valid().chars() {
            if u32::from(c) >= BASE {
                private(c.encode_utf8(&mut [0; 4]).as_bytes(), &mut text);
            } else {
                text.push(c);
            }
        }
        private(chunk.invalid(), &mut text);
    }
    text
}

/// The bytes that a text with quoted words stands for, in pieces.
pub(super) fn unquote(text: &str, mut write: impl FnMut(&[u8])) {
    let bytes = text.as_bytes();
    if !bytes.windows(2).any(|pair| pair == MARK) {
        return write(bytes);
    }
    for c in text.chars() {
        match u32::from(c).checked_sub(BASE).and_then(|byte| u8::try_from(byte).ok()) {
            Some(byte) => write(&[byte]),
            None => write(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn any_bytes_come_back_up_to_the_first_zero() {
        let cases: [(&[u8], &[u8]); 6] = [
            (b"plain", b"plain"),
            ("schön".as_bytes(), "schön".as_bytes()),
            (b"\xff\xfe and \x80", b"\xff\xfe and \x80"),
            (b"cut\0here", b"cut"),
            ("\u{10ff41}\u{10ffff}".as_bytes(), "\u{10ff41}\u{10ffff}".as_bytes()),
            (b"", b""),
        ];
        for (word, shown) in cases {
            let mut back = Vec::new();
            unquote(&quote(word), |bytes| back.extend_from_slice(bytes));
            assert_eq!(back, shown, "{word:?}");
        }
    }
}
