//! Keys and writes in the words of a slot migration stream: plain commands that every Valkey knows.

use crate::link::Outbox;
use crate::store::{Entry, View};
use crate::wire::resp::Argv;
use crate::wire::resp::number::{INTEGER_LEN, decimal};

/// Values at least this long are shared with the stream instead of being copied into it.
const SHARE: usize = 16 * 1024;

/// The commands that make a key from nothing: its value, then its expiry.
pub(crate) fn entry(out: &mut Outbox, entry: &Entry) {
    match entry.view() {
        View::Inline(bytes) => words(out, &[b"SET", entry.key(), bytes]),
        View::Shared(bytes) => {
            header(out, b'*', 3);
            bulk(out, b"SET");
            bulk(out, entry.key());
            header(out, b'$', bytes.len());
            if bytes.len() >= SHARE {
                out.push(bytes.clone());
            } else {
                out.write(bytes);
            }
            out.write(b"\r\n");
        }
    }
    if let Some(ms) = entry.expiry_ms() {
        words(out, &[b"PEXPIREAT", entry.key(), decimal(ms as i64, &mut [0; INTEGER_LEN])]);
    }
}

/// A command as it was given.
pub(crate) fn command(out: &mut Outbox, argv: Argv<'_>) {
    header(out, b'*', argv.len());
    for word in argv.iter() {
        bulk(out, word);
    }
}

/// A command of these words.
pub(crate) fn words(out: &mut Outbox, words: &[&[u8]]) {
    header(out, b'*', words.len());
    for word in words {
        bulk(out, word);
    }
}

fn header(out: &mut Outbox, kind: u8, n: usize) {
    out.write(&[kind]);
    out.write(decimal(n as i64, &mut [0; INTEGER_LEN]));
    out.write(b"\r\n");
}

fn bulk(out: &mut Outbox, word: &[u8]) {
    header(out, b'$', word.len());
    out.write(word);
    out.write(b"\r\n");
}
