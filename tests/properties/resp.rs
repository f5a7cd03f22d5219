//! RESP: commands and replies out of any bytes.

use whimbrel_core::wire::resp::{Limits, Reader, Value, Wrong, encode_command};

use super::Cuts;

type Command = Vec<Vec<u8>>;

/// What a reader made of a stream.
#[derive(Debug, PartialEq)]
struct Taken {
    commands: Vec<Command>,
    wrong: Option<Wrong>,
    /// Bytes behind the last command; nothing after an error.
    unfinished: usize,
}

/// The first byte chooses the limits, the rest is the stream.
pub(crate) fn holds(input: &[u8]) {
    let Some((&choice, stream)) = input.split_first() else { return };
    let limits = limits(choice);
    let whole = take(&limits, stream, &mut Cuts::Whole, false);
    let bytes = take(&limits, stream, &mut Cuts::Bytes, false);
    let cut = take(&limits, stream, &mut Cuts::seeded(stream), choice & 8 != 0);
    for pieces in [bytes, cut] {
        if pieces.wrong == Some(Wrong::QueryBufferLimit) && whole.wrong != pieces.wrong {
            // Only what waits for its end counts against this limit.
            assert!(whole.commands.starts_with(&pieces.commands), "{whole:?} {pieces:?}");
        } else {
            assert_eq!(whole, pieces, "the pieces make a difference");
        }
    }
    for command in &whole.commands {
        assert!(!command.is_empty() && command.len() <= limits.max_multibulk.max(limits.inline));
        round_trip(command);
    }
    replies(stream);
}

fn limits(choice: u8) -> Limits {
    let small = Limits { max_bulk: 64, max_multibulk: 16, inline: 48, max_query: 100, ..Limits::default() };
    match choice & 7 {
        0 => Limits::UNLIMITED,
        1 => Limits { arrays_only: true, ..Limits::UNLIMITED },
        2 => Limits { authenticated: false, ..Limits::default() },
        3 => small,
        4 => Limits { max_query: usize::MAX, ..small },
        5 => Limits { max_bulk: 1 << 20, ..Limits::UNLIMITED },
        _ => Limits::default(),
    }
}

fn take(limits: &Limits, stream: &[u8], cuts: &mut Cuts, through_inbox: bool) -> Taken {
    let mut reader = Reader::default();
    let mut taken = Taken { commands: Vec::new(), wrong: None, unfinished: 0 };
    let mut fed = 0;
    for piece in cuts.pieces(stream) {
        let mut input = piece;
        if through_inbox && let Some(inbox) = reader.inbox() {
            let n = inbox.len().min(input.len());
            inbox[..n].copy_from_slice(&input[..n]);
            reader.inbox_filled(n);
            input = &input[n..];
        }
        fed += piece.len();
        loop {
            match reader.next(limits, &mut input) {
                Ok(Some(argv)) => taken.commands.push(argv.iter().map(<[u8]>::to_vec).collect()),
                Ok(None) => break,
                Err(wrong) => {
                    assert_eq!(
                        reader.next(limits, &mut &b"PING\r\n"[..]).err(),
                        Some(wrong),
                        "it stays wrong"
                    );
                    return Taken { wrong: Some(wrong), ..taken };
                }
            }
        }
        assert!(input.is_empty(), "bytes were left");
        // A length is only a claim: memory follows what arrived, and one step ahead of it when it is read in place.
        let ahead = if through_inbox { 256 * 1024 } else { 0 };
        assert!(reader.memory() <= 8 * fed + 2048 + ahead, "{} bytes for {fed}", reader.memory());
        assert!(reader.pending() > 0 || reader.memory() == 0, "an idle reader keeps memory");
    }
    taken.unfinished = reader.pending();
    taken
}

fn round_trip(command: &Command) {
    let mut bytes = Vec::new();
    encode_command(&mut bytes, &command.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let again = take(&Limits::UNLIMITED, &bytes, &mut Cuts::Whole, false);
    let expected = Taken { commands: vec![command.clone()], wrong: None, unfinished: 0 };
    assert_eq!(again, expected, "a command does not survive being written");
}

fn replies(mut stream: &[u8]) {
    while let Ok(Some((value, used))) = Value::parse(stream) {
        assert!(used > 0 && used <= stream.len());
        assert!(Value::parse(&stream[..used - 1]) == Ok(None), "a reply before its end");
        let mut bytes = Vec::new();
        if write(&value, &mut bytes) {
            assert_eq!(Value::parse(&bytes), Ok(Some((value, bytes.len()))), "{}", bytes.escape_ascii());
        }
        stream = &stream[used..];
    }
}

/// Writes a reply as RESP3; false when it holds what is not equal to itself or was not text.
fn write(value: &Value, out: &mut Vec<u8>) -> bool {
    let line = |out: &mut Vec<u8>, marker: char, text: &str| {
        out.extend_from_slice(format!("{marker}{text}\r\n").as_bytes());
    };
    let blob = |out: &mut Vec<u8>, marker: char, bytes: &[u8]| {
        out.extend_from_slice(format!("{marker}{}\r\n", bytes.len()).as_bytes());
        out.extend_from_slice(bytes);
        out.extend_from_slice(b"\r\n");
    };
    let all = |out: &mut Vec<u8>, marker: char, list: &[Value]| {
        out.extend_from_slice(format!("{marker}{}\r\n", list.len()).as_bytes());
        list.iter().all(|v| write(v, out))
    };
    match value {
        Value::Simple(text) => line(out, '+', text),
        Value::Error(text) => blob(out, '!', text.as_bytes()),
        Value::Int(n) => line(out, ':', &n.to_string()),
        Value::Bulk(bytes) => blob(out, '$', bytes),
        Value::Null => line(out, '_', ""),
        Value::Array(list) => return all(out, '*', list),
        Value::Set(list) => return all(out, '~', list),
        Value::Push(list) => return all(out, '>', list),
        Value::Map(pairs) => {
            out.extend_from_slice(format!("%{}\r\n", pairs.len()).as_bytes());
            return pairs.iter().all(|(k, v)| write(k, out) && write(v, out));
        }
        Value::Double(d) => {
            line(out, ',', &d.to_string());
            return !d.is_nan();
        }
        Value::Bool(b) => line(out, '#', if *b { "t" } else { "f" }),
        Value::Verbatim(format, text) => {
            blob(out, '=', &[format.as_bytes(), b":", text].concat());
            return format.len() == 3;
        }
        Value::Big(digits) => line(out, '(', digits),
    }
    true
}
