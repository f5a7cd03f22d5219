//! Commands that arrived whole, written as every client library writes them: read in one pass, without state.

use super::argv::Span;
use super::limits::Limits;

/// A command and where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plain {
    /// How many arguments it has.
    pub(crate) count: usize,
    /// The index behind it.
    pub(crate) end: usize,
}

/// Reads the command that begins at index `from` of `input`. The places of its arguments, counted from the beginning
/// of `input`, are the first of `room` then.
///
/// `None`: what is there is unfinished, unusual or wrong, and for a [`Reader`](super::Reader) to look at. As is a
/// command with more arguments than there is room for.
pub(crate) fn command(input: &[u8], from: usize, limits: &Limits, room: &mut [Span]) -> Option<Plain> {
    let (count, mut at) = line(input, from, b'*')?;
    if count == 0 || limits.count(i64::from(count)).is_err() {
        return None;
    }
    let spans = room.get_mut(..count as usize)?;
    for span in spans {
        let (len, start) = line(input, at, b'$')?;
        let end = start + len as usize;
        if limits.bulk(i64::from(len)).is_err() || input.get(end..end + 2)? != b"\r\n" {
            return None;
        }
        *span = Span { start: start as u32, end: u32::try_from(end).ok()? };
        at = end + 2;
    }
    Some(Plain { count: count as usize, end: at })
}

/// Reads a line of a marker and a number without leading zeros; the number and the index behind the line.
#[inline]
fn line(input: &[u8], from: usize, marker: u8) -> Option<(u32, usize)> {
    let digit = |byte: u8| u32::from(byte - b'0');
    match input.get(from..)? {
        // Nearly all counts and lengths have one digit or two.
        [first, a @ b'0'..=b'9', b'\r', b'\n', ..] if *first == marker => Some((digit(*a), from + 4)),
        [first, a @ b'1'..=b'9', b @ b'0'..=b'9', b'\r', b'\n', ..] if *first == marker => {
            Some((10 * digit(*a) + digit(*b), from + 5))
        }
        [first, b'1'..=b'9', ..] if *first == marker => long(input, from + 1),
        _ => None,
    }
}

/// Most digits that are read here: they cannot overflow.
const DIGITS: usize = 9;

/// Reads a number that begins at index `from` with something else than zero, and the end of its line.
fn long(input: &[u8], from: usize) -> Option<(u32, usize)> {
    let rest = &input[from..];
    let digits = rest.iter().take(DIGITS).take_while(|byte| byte.is_ascii_digit()).count();
    if rest.get(digits..digits + 2)? != b"\r\n" {
        return None;
    }
    let n = rest[..digits].iter().fold(0, |n, byte| 10 * n + u32::from(byte - b'0'));
    Some((n, from + digits + 2))
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;
    use crate::rng::Rng;
    use crate::wire::resp::{Argv, Reader, encode_command};

    fn plain(input: &[u8], from: usize, limits: &Limits) -> Option<(Vec<Vec<u8>>, usize)> {
        let mut spans = [Span::default(); 4];
        let Plain { count, end } = command(input, from, limits, &mut spans)?;
        Some((Argv::new(input, &spans[..count]).iter().map(<[u8]>::to_vec).collect(), end))
    }

    #[test]
    fn what_is_plain() {
        let strict = Limits { max_bulk: 5, authenticated: false, ..Limits::default() };
        for (input, end) in [
            (&b"*1\r\n$4\r\nPING\r\n"[..], Some(14)),
            (b"*1\r\n$4\r\nPING\r\n*1\r\n", Some(14)),
            (b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n", Some(19)),
            (b"*5\r\n$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n", None),
            (b"*1\r\n$00\r\n\r\n", None),
            (b"*1\r\n$4\r\nPING\r", None),
            (b"*1\r\n$4\r\nPING\n\n", None),
            (b"*1\r\n$5\r\nPING\r\n", None),
            (b"*1\r\n$04\r\nPING\r\n", None),
            (b"*01\r\n$4\r\nPING\r\n", None),
            (b"*+1\r\n$4\r\nPING\r\n", None),
            (b"*1 \r\n$4\r\nPING\r\n", None),
            (b"*\r\n$4\r\nPING\r\n", None),
            (b"*1\r\n:4\r\nPING\r\n", None),
            (b"*0\r\n", None),
            (b"*-1\r\n", None),
            (b"*1\r\n$-1\r\n", None),
            (b"*1\r\n$6\r\nPINGED\r\n", None),
            (b"*11\r\n$4\r\nPING\r\n", None),
            (b"*1\r\n$4294967296\r\nPING\r\n", None),
            (b"*4294967296\r\n$4\r\nPING\r\n", None),
            (b"PING\r\n", None),
            (b"*", None),
            (b"", None),
        ] {
            assert_eq!(plain(input, 0, &strict).map(|(_, end)| end), end, "{}", input.escape_ascii());
        }
    }

    /// What is found here, a reader finds too; and what is written as clients do it and is whole, is found here.
    #[test]
    fn agrees_with_the_reader() {
        for seed in 0..3_000 {
            let mut rng = Rng::new(seed);
            let mut input = vec![b'?'; rng.index(3)];
            let from = input.len();
            let words: Vec<Vec<u8>> = (0..=rng.index(4))
                .map(|_| vec![b'$'; [0, 1, 3, 9, 10, 99, 100, 1234][rng.index(8)]])
                .collect();
            let lent: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
            encode_command(&mut input, &lent);
            let whole = input.len();
            input.truncate(whole - if rng.one_in(4) { rng.index(whole - from) } else { 0 });
            if rng.one_in(2) {
                let (at, byte) = (from + rng.index(input.len() - from), b"0129\r\n*$-x"[rng.index(10)]);
                input[at] = byte;
            } else {
                let expected = (input.len() == whole).then_some((words, whole));
                assert_eq!(plain(&input, from, &Limits::default()), expected, "seed {seed}");
            }
            if let Some((words, end)) = plain(&input, from, &Limits::default()) {
                let (mut reader, mut rest) = (Reader::default(), &input[from..]);
                let argv = reader.next(&Limits::default(), &mut rest).expect("no error").expect("a command");
                assert!(argv.iter().eq(words.iter().map(Vec::as_slice)), "seed {seed}");
                assert_eq!(input.len() - rest.len(), end, "seed {seed}");
            }
        }
    }
}
