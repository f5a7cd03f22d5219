//! LCS: the longest common subsequence of two strings.

use alloc::vec;
use alloc::vec::Vec;

use super::context::Cx;
use super::options::is;
use super::refused::{NOT_AN_INTEGER, Outcome, Refused, SYNTAX};
use crate::wire::resp::Argv;
use crate::wire::resp::number::integer;

const NOT_STRINGS: Refused<'static> = Refused::Text("ERR The specified keys must contain string values");
const AMBIGUOUS: Refused<'static> =
    Refused::Text("ERR If you want both the length and indexes, please just use IDX.");
const STRING_TOO_LONG: Refused<'static> = Refused::Text("ERR String too long for LCS");
const TABLE_TOO_BIG: Refused<'static> =
    Refused::Text("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len");

#[derive(Default)]
struct Options {
    idx: bool,
    len: bool,
    with_match_len: bool,
    min_match_len: i64,
}

/// LCS key1 key2 [LEN] [IDX] [MINMATCHLEN n] [WITHMATCHLEN]
pub(super) fn lcs<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    let (at_a, at_b) = (cx.at(argv.get(1)), cx.at(argv.get(2)));
    let (there_a, there_b) = (cx.read(&at_a).is_some(), cx.read(&at_b).is_some());
    let value = |at, there| match cx.store.get(at) {
        Some(entry) if there => entry.string().ok_or(NOT_STRINGS),
        _ => Ok(&b""[..]),
    };
    let (a, b) = (value(&at_a, there_a)?, value(&at_b, there_b)?);
    let options = options(argv)?;
    let limit = u32::MAX as usize - 1;
    if a.len() >= limit || b.len() >= limit {
        return Err(STRING_TOO_LONG);
    }
    let table_bytes = (a.len() as u128 + 1) * (b.len() as u128 + 1) * size_of::<u32>() as u128;
    if table_bytes > u128::from(cx.config.proto_max_bulk_len) {
        return Err(TABLE_TOO_BIG);
    }
    let table = Table::new(a, b);
    let reply = &mut cx.reply;
    if options.idx {
        let shortest = options.min_match_len;
        let matches: Vec<Match> = table.matches().into_iter().filter(|m| m.len as i64 >= shortest).collect();
        reply.map(2);
        reply.bulk(b"matches");
        reply.array(matches.len());
        for found in matches {
            reply.array(2 + usize::from(options.with_match_len));
            for start in [found.a, found.b] {
                reply.array(2);
                reply.int(start as i64);
                reply.int((start + found.len) as i64 - 1);
            }
            if options.with_match_len {
                reply.int(found.len as i64);
            }
        }
        reply.bulk(b"len");
        reply.int(table.len());
    } else if options.len {
        reply.int(table.len());
    } else {
        let parts = table.matches();
        let text: Vec<u8> = parts.iter().rev().flat_map(|m| &a[m.a..m.a + m.len]).copied().collect();
        reply.bulk(&text);
    }
    Ok(())
}

fn options<'a>(argv: Argv<'a>) -> Result<Options, Refused<'a>> {
    let mut options = Options::default();
    let mut words = argv.after(3).iter();
    while let Some(word) = words.next() {
        if is(word, b"IDX") {
            options.idx = true;
        } else if is(word, b"LEN") {
            options.len = true;
        } else if is(word, b"WITHMATCHLEN") {
            options.with_match_len = true;
        } else if is(word, b"MINMATCHLEN") {
            options.min_match_len = integer(words.next().ok_or(SYNTAX)?).ok_or(NOT_AN_INTEGER)?;
        } else {
            return Err(SYNTAX);
        }
    }
    if options.len && options.idx { Err(AMBIGUOUS) } else { Ok(options) }
}

/// A run of bytes that both strings have.
struct Match {
    /// Where it begins in the first string.
    a: usize,
    /// Where it begins in the second string.
    b: usize,
    len: usize,
}

/// For each pair of beginnings of the two strings, the length of their longest common subsequence.
struct Table<'s> {
    a: &'s [u8],
    b: &'s [u8],
    cells: Vec<u32>,
}

impl<'s> Table<'s> {
    fn new(a: &'s [u8], b: &'s [u8]) -> Self {
        let width = b.len() + 1;
        let mut cells = vec![0u32; (a.len() + 1) * width];
        for (i, byte) in a.iter().enumerate() {
            let (above, row) = cells[i * width..][..2 * width].split_at_mut(width);
            for (j, other) in b.iter().enumerate() {
                row[j + 1] = if byte == other { above[j] + 1 } else { above[j + 1].max(row[j]) };
            }
        }
        Self { a, b, cells }
    }

    fn at(&self, i: usize, j: usize) -> u32 {
        self.cells[i * (self.b.len() + 1) + j]
    }

    fn len(&self) -> i64 {
        i64::from(self.at(self.a.len(), self.b.len()))
    }

    /// The matches of one longest subsequence, from the last to the first: of several, the one that Valkey finds,
    /// which goes back in the second string where it can.
    fn matches(&self) -> Vec<Match> {
        let mut found: Vec<Match> = Vec::new();
        let (mut i, mut j) = (self.a.len(), self.b.len());
        while i > 0 && j > 0 {
            if self.a[i - 1] == self.b[j - 1] {
                match found.last_mut() {
                    Some(run) if run.a == i && run.b == j => {
                        (run.a, run.b, run.len) = (i - 1, j - 1, run.len + 1);
                    }
                    _ => found.push(Match { a: i - 1, b: j - 1, len: 1 }),
                }
                (i, j) = (i - 1, j - 1);
            } else if self.at(i - 1, j) > self.at(i, j - 1) {
                i -= 1;
            } else {
                j -= 1;
            }
        }
        found
    }
}
