//! What has to hold for any bytes, one function per kind of bytes: shared by the fuzzer (`fuzz/`), which looks for
//! bytes that break them, and by `tests/corpus.rs`, which runs them on every input that was ever worth keeping.

pub(crate) mod bus;
pub(crate) mod config;
pub(crate) mod lanes;
pub(crate) mod nodes_conf;
pub(crate) mod resp;
pub(crate) mod session;
pub(crate) mod syncslots;

use whimbrel_core::rng::Rng;

/// A property: bytes in, a panic if it does not hold.
pub(crate) type Property = fn(&[u8]);

/// All of them, by the name of the fuzzing target and of the folder of its inputs.
pub(crate) const ALL: [(&str, Property); 7] = [
    ("bus", bus::holds),
    ("config", config::holds),
    ("lanes", lanes::holds),
    ("nodes_conf", nodes_conf::holds),
    ("resp", resp::holds),
    ("session", session::holds),
    ("syncslots", syncslots::holds),
];

/// How a stream of bytes comes in pieces.
pub(crate) enum Cuts {
    Whole,
    Bytes,
    Seeded(Rng),
}

impl Cuts {
    /// At places that depend on the bytes only, so that an input means the same every time.
    pub(crate) fn seeded(bytes: &[u8]) -> Self {
        let seed = bytes.iter().fold(bytes.len() as u64, |hash, b| hash.wrapping_mul(31) ^ u64::from(*b));
        Self::Seeded(Rng::new(seed))
    }

    /// The pieces of `bytes`.
    pub(crate) fn pieces<'a>(&mut self, mut bytes: &'a [u8]) -> Vec<&'a [u8]> {
        let mut pieces = Vec::new();
        while !bytes.is_empty() {
            let n = match self {
                Self::Whole => bytes.len(),
                Self::Bytes => 1,
                Self::Seeded(rng) => 1 + rng.index(bytes.len().min(40)),
            };
            let (piece, rest) = bytes.split_at(n);
            pieces.push(piece);
            bytes = rest;
        }
        pieces
    }
}
