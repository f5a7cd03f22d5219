//! Passwords are kept as the hexadecimal text of their SHA-256, as in Valkey's files.

use sha2::{Digest, Sha256};

/// The hash of a password, in lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Hash([u8; 64]);

impl Hash {
    /// Of a password in clear.
    pub(super) fn of(password: &[u8]) -> Self {
        let mut hex = [0; 64];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(Sha256::digest(password)) {
            let digits = b"0123456789abcdef";
            pair.copy_from_slice(&[digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]);
        }
        Self(hex)
    }

    /// A hash that somebody else made; `None` if it cannot be one.
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        let hex: [u8; 64] = text.try_into().ok()?;
        hex.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')).then_some(Self(hex))
    }

    /// Comparison in a time that does not depend on where the hashes differ.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).fold(0, |differing, (a, b)| differing | (a ^ b)) == 0
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
