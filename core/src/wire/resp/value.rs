//! Replies as whoever sent the command reads them.

use alloc::string::String;
use alloc::vec::Vec;

use nom::Parser;
use nom::bytes::streaming::{tag, take, take_till};
use nom::character::streaming::crlf;
use nom::error::{Error, ErrorKind};
use nom::number::streaming::u8 as byte;
use nom::sequence::terminated;
use nom::{Err, IResult};

use super::number::{self, INTEGER_LEN};
use super::reply::{Proto, Reply};
use crate::link::Outbox;

/// Deepest nesting that is followed; Valkey's own replies stay below ten.
const DEPTH: usize = 64;

/// One reply.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `+`: a status.
    Simple(String),
    /// `-`: an error, its code first; also `!`.
    Error(String),
    /// `:`
    Int(i64),
    /// `$`: a string of bytes.
    Bulk(Vec<u8>),
    /// `_`, `$-1` or `*-1`.
    Null,
    /// `*`
    Array(Vec<Value>),
    /// `%`, in the order sent.
    Map(Vec<(Value, Value)>),
    /// `~`, in the order sent.
    Set(Vec<Value>),
    /// `,`
    Double(f64),
    /// `#`
    Bool(bool),
    /// `>`: a message that answers no command.
    Push(Vec<Value>),
    /// `=`: the format of three letters, and the text.
    Verbatim(String, Vec<u8>),
    /// `(`: decimal digits.
    Big(String),
}

/// Bytes that are no reply. The link that brought them is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadReply;

impl core::fmt::Display for BadReply {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("bytes that are no RESP reply")
    }
}

impl core::error::Error for BadReply {}

impl Value {
    /// The first reply of `bytes` and how many bytes it took; `None` while its end is not there. An attribute in
    /// front of a reply is dropped.
    ///
    /// Starts anew every time: a caller that expects replies of many megabytes should wait for more of them.
    ///
    /// ```
    /// use whimbrel_core::wire::resp::Value;
    /// assert_eq!(Value::parse(b":7\r\n+O"), Ok(Some((Value::Int(7), 4))));
    /// assert_eq!(Value::parse(b"+O"), Ok(None));
    /// ```
    ///
    /// # Errors
    /// [`BadReply`], when no continuation could make a reply of it.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, BadReply> {
        match value(bytes, DEPTH) {
            Ok((rest, value)) => Ok(Some((value, bytes.len() - rest.len()))),
            Err(Err::Incomplete(_)) => Ok(None),
            Err(_) => Err(BadReply),
        }
    }

    /// The bytes of a bulk string, status or verbatim text.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Simple(text) => Some(text.as_bytes()),
            Self::Bulk(bytes) | Self::Verbatim(_, bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The number, of an integer.
    #[must_use]
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(n) => Some(*n),
            _ => None,
        }
    }

    /// The text, of an error.
    #[must_use]
    pub fn as_error(&self) -> Option<&str> {
        match self {
            Self::Error(text) => Some(text),
            _ => None,
        }
    }

    /// The elements of an array, set or push.
    #[must_use]
    pub fn elements(&self) -> Option<&[Self]> {
        match self {
            Self::Array(elements) | Self::Set(elements) | Self::Push(elements) => Some(elements),
            _ => None,
        }
    }

    /// The value behind `key`, in a map or in the flat array that RESP2 sends instead.
    #[must_use]
    pub fn field(&self, key: &str) -> Option<&Self> {
        let is_key = |value: &Self| value.as_bytes() == Some(key.as_bytes());
        match self {
            Self::Map(pairs) => pairs.iter().find(|(k, _)| is_key(k)).map(|(_, v)| v),
            Self::Array(flat) => flat.chunks_exact(2).find(|pair| is_key(&pair[0])).map(|pair| &pair[1]),
            _ => None,
        }
    }
}

/// Appends the command made of `args` to `out`.
///
/// ```
/// let mut out = Vec::new();
/// whimbrel_core::wire::resp::encode_command(&mut out, &[b"GET", b"k"]);
/// assert_eq!(out, b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
/// ```
pub fn encode_command(out: &mut Vec<u8>, args: &[&[u8]]) {
    let header = |out: &mut Vec<u8>, marker, n: usize| {
        out.push(marker);
        out.extend_from_slice(number::decimal(n as i64, &mut [0; INTEGER_LEN]));
        out.extend_from_slice(b"\r\n");
    };
    header(out, b'*', args.len());
    for arg in args {
        header(out, b'$', arg.len());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

/// Writes the command made of `args` to a link.
pub fn send_command(out: &mut Outbox, args: &[&[u8]]) {
    let mut writer = Reply::new(out, Proto::Resp2);
    writer.array(args.len());
    args.iter().for_each(|arg| writer.bulk(arg));
}

fn value(input: &[u8], depth: usize) -> IResult<&[u8], Value> {
    let (rest, marker) = byte(input)?;
    if depth == 0 {
        return bad(input);
    }
    match marker {
        b'+' => text(rest).map(|(rest, text)| (rest, Value::Simple(text))),
        b'-' => text(rest).map(|(rest, text)| (rest, Value::Error(text))),
        b':' => integer(rest).map(|(rest, n)| (rest, Value::Int(n))),
        b'$' => {
            sized(rest).map(|(rest, bytes)| (rest, bytes.map_or(Value::Null, |b| Value::Bulk(b.to_vec()))))
        }
        b'!' => match sized(rest)? {
            (rest, Some(bytes)) => Ok((rest, Value::Error(String::from_utf8_lossy(bytes).into_owned()))),
            _ => bad(input),
        },
        b'=' => match sized(rest)? {
            (rest, Some([a, b, c, b':', text @ ..])) => {
                let format = String::from_utf8_lossy(&[*a, *b, *c]).into_owned();
                Ok((rest, Value::Verbatim(format, text.to_vec())))
            }
            _ => bad(input),
        },
        b'_' => crlf(rest).map(|(rest, _)| (rest, Value::Null)),
        b'#' => match terminated(byte, crlf).parse(rest)? {
            (rest, b't') => Ok((rest, Value::Bool(true))),
            (rest, b'f') => Ok((rest, Value::Bool(false))),
            _ => bad(input),
        },
        b',' => {
            let (rest, text) = text(rest)?;
            text.parse().map_or(bad(input), |d| Ok((rest, Value::Double(d))))
        }
        b'(' => match text(rest)? {
            (rest, digits) if is_big(&digits) => Ok((rest, Value::Big(digits))),
            _ => bad(input),
        },
        b'*' => {
            let (rest, n) = integer(rest)?;
            if n == -1 {
                return Ok((rest, Value::Null));
            }
            elements(rest, n, depth).map(|(rest, list)| (rest, Value::Array(list)))
        }
        b'~' => counted(rest, depth).map(|(rest, list)| (rest, Value::Set(list))),
        b'>' => counted(rest, depth).map(|(rest, list)| (rest, Value::Push(list))),
        b'%' => pairs(rest, depth).map(|(rest, pairs)| (rest, Value::Map(pairs))),
        b'|' => {
            let (rest, _) = pairs(rest, depth)?;
            value(rest, depth - 1)
        }
        _ => bad(input),
    }
}

fn bad<T>(input: &[u8]) -> IResult<&[u8], T> {
    Err(Err::Failure(Error::new(input, ErrorKind::Verify)))
}

fn is_big(digits: &str) -> bool {
    let digits = digits.strip_prefix('-').unwrap_or(digits);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

fn line(input: &[u8]) -> IResult<&[u8], &[u8]> {
    terminated(take_till(|b| b == b'\r'), crlf).parse(input)
}

fn text(input: &[u8]) -> IResult<&[u8], String> {
    line(input).map(|(rest, line)| (rest, String::from_utf8_lossy(line).into_owned()))
}

fn integer(input: &[u8]) -> IResult<&[u8], i64> {
    let (rest, line) = line(input)?;
    number::integer(line).map_or(bad(input), |n| Ok((rest, n)))
}

/// A length and that many bytes; `None` for the length -1.
fn sized(input: &[u8]) -> IResult<&[u8], Option<&[u8]>> {
    let (rest, n) = integer(input)?;
    if n == -1 {
        return Ok((rest, None));
    }
    let Ok(n) = usize::try_from(n) else { return bad(input) };
    let (rest, bytes) = terminated(take(n), tag("\r\n")).parse(rest)?;
    Ok((rest, Some(bytes)))
}

fn counted(input: &[u8], depth: usize) -> IResult<&[u8], Vec<Value>> {
    let (rest, n) = integer(input)?;
    elements(rest, n, depth)
}

fn elements(mut input: &[u8], n: i64, depth: usize) -> IResult<&[u8], Vec<Value>> {
    if n < 0 {
        return bad(input);
    }
    // Not allocated ahead: the count is only a claim.
    let mut list = Vec::new();
    for _ in 0..n {
        let (rest, element) = value(input, depth - 1)?;
        list.push(element);
        input = rest;
    }
    Ok((input, list))
}

fn pairs(input: &[u8], depth: usize) -> IResult<&[u8], Vec<(Value, Value)>> {
    let (mut input, n) = integer(input)?;
    if n < 0 {
        return bad(input);
    }
    let mut list = Vec::new();
    for _ in 0..n {
        let (rest, key) = value(input, depth - 1)?;
        let (rest, val) = value(rest, depth - 1)?;
        list.push((key, val));
        input = rest;
    }
    Ok((input, list))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use alloc::vec;

    fn bulk(text: &str) -> Value {
        Value::Bulk(text.as_bytes().to_vec())
    }

    #[test]
    fn every_kind_of_reply() {
        let rows: [(&[u8], Value); 26] = [
            (b"+OK\r\n", Value::Simple("OK".into())),
            (b"-ERR x y\r\n", Value::Error("ERR x y".into())),
            (b"!5\r\nERR x\r\n", Value::Error("ERR x".into())),
            (b":-7\r\n", Value::Int(-7)),
            (b"$0\r\n\r\n", bulk("")),
            (b"$4\r\na\r\nb\r\n", bulk("a\r\nb")),
            (b"$-1\r\n", Value::Null),
            (b"*-1\r\n", Value::Null),
            (b"_\r\n", Value::Null),
            (b"*0\r\n", Value::Array(vec![])),
            (b"*2\r\n:1\r\n*1\r\n_\r\n", Value::Array(vec![Value::Int(1), Value::Array(vec![Value::Null])])),
            (b"%1\r\n+a\r\n:1\r\n", Value::Map(vec![(Value::Simple("a".into()), Value::Int(1))])),
            (b"~1\r\n:1\r\n", Value::Set(vec![Value::Int(1)])),
            (b">1\r\n$1\r\nx\r\n", Value::Push(vec![bulk("x")])),
            (b",1.5\r\n", Value::Double(1.5)),
            (b",inf\r\n", Value::Double(f64::INFINITY)),
            (b",-inf\r\n", Value::Double(f64::NEG_INFINITY)),
            (b",1e+20\r\n", Value::Double(1e20)),
            (b"#t\r\n", Value::Bool(true)),
            (b"#f\r\n", Value::Bool(false)),
            (b"=5\r\ntxt:a\r\n", Value::Verbatim("txt".into(), b"a".to_vec())),
            (b"=4\r\ntxt:\r\n", Value::Verbatim("txt".into(), vec![])),
            (b"(-123456789012345678901\r\n", Value::Big("-123456789012345678901".into())),
            (b"|1\r\n+ttl\r\n:3\r\n:7\r\n", Value::Int(7)),
            (b"*1\r\n|0\r\n#t\r\n", Value::Array(vec![Value::Bool(true)])),
            (b"+\r\n", Value::Simple("".into())),
        ];
        for (bytes, expected) in rows {
            let mut stream = bytes.to_vec();
            stream.extend_from_slice(b"+next\r\n");
            assert_eq!(Value::parse(&stream), Ok(Some((expected, bytes.len()))), "{}", bytes.escape_ascii());
            for cut in 0..bytes.len() {
                assert_eq!(Value::parse(&bytes[..cut]), Ok(None), "{} cut at {cut}", bytes.escape_ascii());
            }
        }
    }

    #[test]
    fn what_is_no_reply() {
        for bytes in [
            &b"x\r\n"[..],
            b"PING\r\n",
            b":a\r\n",
            b":01\r\n",
            b"$-2\r\n",
            b"$1\r\nabc",
            b"*-2\r\n",
            b"%-1\r\n",
            b"~-1\r\n",
            b"!-1\r\n",
            b"#x\r\n",
            b",x\r\n",
            b"(12x\r\n",
            b"(-\r\n",
            b"_x\r\n",
            b"=3\r\ntxt\r\n",
            b"=5\r\ntxt-a\r\n",
            b"+a\rb",
            b"*1\r\n?",
        ] {
            assert_eq!(Value::parse(bytes), Err(BadReply), "{}", bytes.escape_ascii());
        }
        assert_eq!(Value::parse(&b"*1\r\n".repeat(DEPTH - 1)), Ok(None));
        assert_eq!(Value::parse(&b"*1\r\n".repeat(DEPTH + 1)), Err(BadReply), "nested too deep");
    }

    #[test]
    fn garbage_never_panics() {
        for seed in 0..5000 {
            let mut rng = Rng::new(seed);
            let alphabet = b"*$%~>|+-:_#,(=!\r\n\r\n0129tfx";
            let bytes: Vec<u8> = (0..rng.index(40)).map(|_| alphabet[rng.index(alphabet.len())]).collect();
            if let Ok(Some((_, used))) = Value::parse(&bytes) {
                assert!(used > 0 && used <= bytes.len(), "seed {seed}");
            }
        }
    }

    #[test]
    fn fields_of_maps_in_both_versions() {
        for bytes in
            [&b"%2\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n:2\r\n"[..], b"*4\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n:2\r\n"]
        {
            let (map, _) = Value::parse(bytes).expect("well-formed").expect("whole");
            assert_eq!((map.field("b").and_then(Value::as_int), map.field("c")), (Some(2), None));
        }
    }

    #[test]
    fn commands_are_the_same_in_memory_and_on_a_link() {
        let args: [&[u8]; 3] = [b"SET", b"", b"a\r\nb"];
        let (mut bytes, mut out) = (Vec::new(), Outbox::default());
        encode_command(&mut bytes, &args);
        send_command(&mut out, &args);
        assert_eq!(bytes, b"*3\r\n$3\r\nSET\r\n$0\r\n\r\n$4\r\na\r\nb\r\n");
        assert_eq!(out.chunks().flatten().copied().collect::<Vec<_>>(), bytes);
    }
}
