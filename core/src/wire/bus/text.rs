//! Short texts in fixed fields.

use core::fmt;
use core::net::IpAddr;

/// Bytes of an address field, its last one always NUL.
pub(super) const IP_FIELD: usize = 46;

/// An address as text: empty, an IPv4 or IPv6 literal, or what `cluster-announce-ip` says.
///
/// At most 45 printable characters that nodes.conf can carry in its address column.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpText {
    len: u8,
    bytes: [u8; IP_FIELD],
}

impl IpText {
    /// No address.
    pub const EMPTY: Self = Self { len: 0, bytes: [0; IP_FIELD] };

    /// Takes `text` if it is short enough and no character of it has a meaning in nodes.conf.
    #[must_use]
    pub fn new(text: &[u8]) -> Option<Self> {
        let plain = |b: &u8| b.is_ascii_graphic() && !b",@\"'\\".contains(b);
        if text.len() >= IP_FIELD || !text.iter().all(plain) {
            return None;
        }
        let mut bytes = [0; IP_FIELD];
        bytes[..text.len()].copy_from_slice(text);
        Some(Self { len: text.len() as u8, bytes })
    }

    /// Reads a field that ends with its first NUL.
    pub(super) fn from_field(field: &[u8]) -> Option<Self> {
        let end = field.iter().position(|&b| b == 0)?;
        Self::new(&field[..end])
    }

    /// The field: the text and NULs.
    pub(super) fn as_field(&self) -> &[u8; IP_FIELD] {
        &self.bytes
    }

    /// The literal of `ip`; an IPv4 address inside IPv6 is written as IPv4.
    #[must_use]
    pub fn from_ip(ip: IpAddr) -> Self {
        let text = alloc::format!("{}", ip.to_canonical());
        Self::new(text.as_bytes()).unwrap_or(Self::EMPTY)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }

    /// Whether there is no text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The address that the text is a literal of.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.as_str().parse().ok()
    }
}

impl Default for IpText {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl fmt::Display for IpText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for IpText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}
