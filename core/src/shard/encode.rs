//! Keys and writes in the words of a slot migration stream: plain commands that every Valkey knows.

use alloc::vec::Vec;

use crate::link::Outbox;
use crate::store::{Entry, View};
use crate::wire::resp::Argv;
use crate::wire::resp::number::{INTEGER_LEN, decimal};

/// Values at least this long are shared with the stream instead of being copied into it.
const SHARE: usize = 16 * 1024;

/// What a header takes at most: a marker, a number, two line ends.
const HEADER: usize = 24;

/// The commands that make a key from nothing: its value, then its expiry.
pub(crate) fn entry(out: &mut Outbox, entry: &Entry) {
    match entry.view() {
        View::Shared(bytes) if bytes.len() >= SHARE => {
            let key = entry.key();
            out.extend(3 * HEADER + key.len(), |out| {
                header(out, b'*', 3);
                bulk(out, b"SET");
                bulk(out, key);
                header(out, b'$', bytes.len());
            });
            out.push(bytes.clone());
            out.write(b"\r\n");
        }
        view => words(out, &[b"SET", entry.key(), view.as_slice()]),
    }
    if let Some(ms) = entry.expiry_ms() {
        words(out, &[b"PEXPIREAT", entry.key(), decimal(ms as i64, &mut [0; INTEGER_LEN])]);
    }
}

/// A command as it was given.
#[inline]
pub(crate) fn command(out: &mut Outbox, argv: Argv<'_>) {
    match argv.wire() {
        Some(bytes) => out.write(bytes),
        None => array(out, argv.iter()),
    }
}

/// A command of these words.
pub(crate) fn words(out: &mut Outbox, words: &[&[u8]]) {
    array(out, words.iter().copied());
}

fn array<'a>(out: &mut Outbox, words: impl ExactSizeIterator<Item = &'a [u8]> + Clone) {
    let about = words.clone().map(|word| word.len() + HEADER).sum::<usize>() + HEADER;
    out.extend(about, |out| {
        header(out, b'*', words.len());
        words.for_each(|word| bulk(out, word));
    });
}

/// Made from its end, and copied at once.
#[inline]
fn header(out: &mut Vec<u8>, kind: u8, n: usize) {
    let mut room = [0; HEADER];
    let mut at = HEADER - 2;
    room[at..].copy_from_slice(b"\r\n");
    let mut left = n;
    loop {
        at -= 1;
        room[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    at -= 1;
    room[at] = kind;
    out.extend_from_slice(&room[at..]);
}

#[inline]
fn bulk(out: &mut Vec<u8>, word: &[u8]) {
    header(out, b'$', word.len());
    out.extend_from_slice(word);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::resp::{ArgvBuf, encode_command};

    #[test]
    fn commands_are_what_everybody_writes() {
        let long = [b'x'; 100_000];
        for len in [0, 1, 9, 10, 99, 100, 12_345, 100_000] {
            let words: [&[u8]; 3] = [b"SET", b"", &long[..len]];
            let (mut out, mut expected) = (Outbox::default(), Vec::new());
            out.write(b"+");
            super::words(&mut out, &words);
            command(&mut out, ArgvBuf::of(&words).argv());
            encode_command(&mut expected, &words);
            let sent: Vec<u8> = out.chunks().flatten().copied().collect();
            assert_eq!(sent, [b"+", &expected[..], &expected].concat(), "{len}");
            assert_eq!(out.len(), sent.len());
        }
    }
}
