//! Commands that arrived whole, written as every client library writes them: read in one pass, without state.

use smallvec::Array;
use smallvec::SmallVec;

use super::argv::Span;
use super::limits::Limits;

/// Reads the command that begins at index `from` of `input`, and appends its arguments, whose places are counted from
/// the beginning of `input`. The index behind the command.
///
/// `None`, and no argument is appended: what is there is unfinished, unusual or wrong, and for a
/// [`Reader`](super::Reader) to look at.
pub(crate) fn command<A: Array<Item = Span>>(
    input: &[u8],
    from: usize,
    limits: &Limits,
    spans: &mut SmallVec<A>,
) -> Option<usize> {
    let before = spans.len();
    let end = arguments(input, from, limits, spans);
    if end.is_none() {
        spans.truncate(before);
    }
    end
}

fn arguments<A: Array<Item = Span>>(
    input: &[u8],
    from: usize,
    limits: &Limits,
    spans: &mut SmallVec<A>,
) -> Option<usize> {
    let (count, mut at) = line(input, from, b'*')?;
    if count == 0 || limits.count(i64::from(count)).is_err() {
        return None;
    }
    for _ in 0..count {
        let (len, start) = line(input, at, b'$')?;
        if limits.bulk(i64::from(len)).is_err() {
            return None;
        }
        let end = start + len as usize;
        if input.get(end..end + 2)? != b"\r\n" {
            return None;
        }
        spans.push(Span { start: start as u32, end: u32::try_from(end).ok()? });
        at = end + 2;
    }
    Some(at)
}

/// Bytes looked at behind the first digit: longer numbers are unusual, and could overflow.
const MORE: usize = 8;

/// Reads a line of a marker and a number without leading zeros; the number and the index behind the line.
#[inline]
fn line(input: &[u8], from: usize, marker: u8) -> Option<(u32, usize)> {
    let [first, digit, rest @ ..] = input.get(from..)? else { return None };
    let mut n = u32::from(digit.wrapping_sub(b'0'));
    if *first != marker || n > 9 {
        return None;
    }
    let leading_zero = n == 0;
    for (i, &byte) in rest.iter().take(MORE).enumerate() {
        let digit = u32::from(byte.wrapping_sub(b'0'));
        if digit > 9 {
            let ends = byte == b'\r' && rest.get(i + 1) == Some(&b'\n') && !(leading_zero && i > 0);
            return ends.then_some((n, from + i + 4));
        }
        n = n * 10 + digit;
    }
    None
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;
    use crate::rng::Rng;
    use crate::wire::resp::{Argv, Reader, encode_command};

    fn plain(input: &[u8], from: usize, limits: &Limits) -> Option<(Vec<Vec<u8>>, usize)> {
        let mut spans: SmallVec<[Span; 2]> = SmallVec::new();
        let end = command(input, from, limits, &mut spans);
        assert!(end.is_some() || spans.is_empty(), "arguments of no command");
        end.map(|end| (Argv::new(input, &spans).iter().map(<[u8]>::to_vec).collect(), end))
    }

    #[test]
    fn what_is_plain() {
        let strict = Limits { max_bulk: 5, authenticated: false, ..Limits::default() };
        for (input, end) in [
            (&b"*1\r\n$4\r\nPING\r\n"[..], Some(14)),
            (b"*1\r\n$4\r\nPING\r\n*1\r\n", Some(14)),
            (b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n", Some(19)),
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
            let words: Vec<Vec<u8>> =
                (0..=rng.index(4)).map(|_| vec![b'$'; [0, 1, 3, 9, 10, 99, 100][rng.index(7)]]).collect();
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
