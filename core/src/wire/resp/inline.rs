//! Inline commands: one line of words, as typed into telnet.

use alloc::vec::Vec;

use nom::branch::alt;
use nom::bytes::complete::{tag, take, take_while_m_n};
use nom::combinator::{map, value, verify};
use nom::sequence::preceded;
use nom::{IResult, Parser};
use smallvec::SmallVec;

use super::argv::Span;
use super::limits::Wrong;

/// Splits `line` (without its newline) into words, decoded into `words`, with one span each.
///
/// Words are parted by white space. A part of a word may be quoted: in double quotes `\n \r \t \b \a`, `\xHH` and a
/// backslash before any other byte are escapes, in single quotes only `\'`.
pub(super) fn split(line: &[u8], words: &mut Vec<u8>, spans: &mut SmallVec<[Span; 8]>) -> Result<(), Wrong> {
    words.clear();
    // Valkey reads the line as a C string: a NUL ends it.
    let mut rest = line.split(|&b| b == 0).next().unwrap_or_default();
    loop {
        let blanks = rest.iter().take_while(|&&b| b.is_ascii_whitespace() || b == 0x0b).count();
        rest = &rest[blanks..];
        if rest.is_empty() {
            return Ok(());
        }
        let start = words.len() as u32;
        rest = word(rest, words)?;
        spans.push(Span { start, end: words.len() as u32 });
    }
}

/// The words of a line; `None` when a quote is not closed.
pub(crate) fn words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (mut decoded, mut spans) = (Vec::new(), SmallVec::new());
    split(line, &mut decoded, &mut spans).ok()?;
    Some(spans.iter().map(|s| decoded[s.start as usize..s.end as usize].to_vec()).collect())
}

/// Decodes one word into `out`; what is behind it.
fn word<'a>(mut rest: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], Wrong> {
    while let Some((&first, behind)) = rest.split_first() {
        rest = match first {
            b' ' | b'\n' | b'\r' | b'\t' => break,
            b'"' => quoted(behind, b'"', double_quoted, out)?,
            b'\'' => quoted(behind, b'\'', single_quoted, out)?,
            _ => {
                out.push(first);
                behind
            }
        };
    }
    Ok(rest)
}

/// Decodes up to and including the closing `quote`; what is behind it.
fn quoted<'a>(
    mut rest: &'a [u8],
    quote: u8,
    byte: fn(&[u8]) -> IResult<&[u8], u8>,
    out: &mut Vec<u8>,
) -> Result<&'a [u8], Wrong> {
    loop {
        if let Some(behind) = rest.strip_prefix(&[quote]) {
            return Ok(behind);
        }
        let (behind, decoded) = byte(rest).map_err(|_| Wrong::UnbalancedQuotes)?;
        out.push(decoded);
        rest = behind;
    }
}

fn any(input: &[u8]) -> IResult<&[u8], u8> {
    map(take(1usize), |b: &[u8]| b[0]).parse(input)
}

fn single_quoted(input: &[u8]) -> IResult<&[u8], u8> {
    alt((value(b'\'', tag("\\'")), any)).parse(input)
}

fn double_quoted(input: &[u8]) -> IResult<&[u8], u8> {
    let hex = preceded(tag("\\x"), take_while_m_n(2, 2, |b: u8| b.is_ascii_hexdigit()));
    let hex = map(hex, |digits: &[u8]| digits.iter().fold(0, |n, &d| n * 16 + hex_digit(d)));
    let escaped = map(preceded(tag("\\"), any), |b| match b {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    });
    alt((hex, escaped, verify(any, |&b| b != b'\\'))).parse(input)
}

fn hex_digit(digit: u8) -> u8 {
    char::from(digit).to_digit(16).unwrap_or(0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn words(line: &[u8]) -> Result<Vec<Vec<u8>>, Wrong> {
        let (mut words, mut spans) = (Vec::new(), SmallVec::new());
        split(line, &mut words, &mut spans)?;
        Ok(spans.iter().map(|s| words[s.start as usize..s.end as usize].to_vec()).collect())
    }

    #[test]
    fn lines_split_into_words() {
        let rows: [(&[u8], &[&[u8]]); 16] = [
            (b"", &[]),
            (b" \t ", &[]),
            (b"PING", &[b"PING"]),
            (b"  SET  k\tv ", &[b"SET", b"k", b"v"]),
            (br#"set k "a b""#, &[b"set", b"k", b"a b"]),
            (br#""\n\r\t\a\b\\\"\q""#, &[b"\n\r\t\x07\x08\\\"q"]),
            (br#""\x41\xff\x0""#, &[b"A\xffx0"]),
            (br#"'a\'b' '\n' '\\ '"#, &[b"a'b", b"\\n", b"\\\\ "]),
            (br#""" ''"#, &[b"", b""]),
            (br#""a"b"#, &[b"ab"]),
            (br#"a"b c"'d e'f"#, &[b"ab cd ef"]),
            (b"a\x0bb \x0b\x0cc", &[b"a\x0bb", b"c"]),
            (b"a b\0c d", &[b"a", b"b"]),
            (b"a\\n", &[b"a\\n"]),
            (b"\xff\x80 \xfe", &[b"\xff\x80", b"\xfe"]),
            (br#""it's" '"'"#, &[b"it's", b"\""]),
        ];
        for (line, expected) in rows {
            let expected: Vec<Vec<u8>> = expected.iter().map(|w| w.to_vec()).collect();
            assert_eq!(words(line), Ok(expected), "{}", line.escape_ascii());
        }
    }

    #[test]
    fn quotes_have_to_end() {
        for line in
            [&br#"""#[..], b"'", br#"get "a"#, br#"get 'a"#, br#""a\""#, br#""a\"#, b"\"a\0\"", br#"a""#]
        {
            assert_eq!(words(line), Err(Wrong::UnbalancedQuotes), "{}", line.escape_ascii());
        }
        for line in [&br"'a\"[..], br"'\\'"] {
            assert_eq!(words(line), Err(Wrong::UnbalancedQuotes), "a backslash escapes the quote behind it");
        }
        assert_eq!(words(b"ok"), Ok(vec![b"ok".to_vec()]));
    }
}
