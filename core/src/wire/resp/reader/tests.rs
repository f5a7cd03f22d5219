use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::rng::Rng;
use crate::wire::resp::encode_command;

type Command = Vec<Vec<u8>>;

fn owned(argv: Argv<'_>) -> Command {
    argv.iter().map(<[u8]>::to_vec).collect()
}

/// All commands of `pieces`, and what was wrong behind them.
fn read<'a>(limits: &Limits, pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Command>, Option<Wrong>) {
    let mut reader = Reader::default();
    let mut commands = Vec::new();
    for mut piece in pieces {
        loop {
            match reader.next(limits, &mut piece) {
                Ok(Some(argv)) => commands.push(owned(argv)),
                Ok(None) => break,
                Err(wrong) => {
                    assert_eq!(
                        reader.next(limits, &mut &b"PING\r\n"[..]).err(),
                        Some(wrong),
                        "a lost link stays lost"
                    );
                    return (commands, Some(wrong));
                }
            }
        }
        assert!(piece.is_empty(), "None is only for input that is used up");
    }
    (commands, None)
}

/// Cuts `bytes` at random places.
fn pieces<'a>(rng: &mut Rng, mut bytes: &'a [u8], longest: usize) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    while !bytes.is_empty() {
        let (piece, rest) = bytes.split_at((1 + rng.index(longest)).min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

/// Whole, byte by byte and cut at seeded places: always the same.
fn read_in_every_way(limits: &Limits, bytes: &[u8]) -> (Vec<Command>, Option<Wrong>) {
    let whole = read(limits, [bytes]);
    assert_eq!(
        read(limits, bytes.chunks(1)),
        whole,
        "byte by byte: {}",
        bytes[..bytes.len().min(80)].escape_ascii()
    );
    for seed in 0..8 {
        let mut rng = Rng::new(seed);
        let longest = [3, 9, 40, 70_000][rng.index(4)];
        assert_eq!(read(limits, pieces(&mut rng, bytes, longest)), whole, "cut with seed {seed}");
    }
    whole
}

fn command(words: &[&str]) -> Command {
    words.iter().map(|w| w.as_bytes().to_vec()).collect()
}

#[test]
fn streams_of_commands() {
    let rows: [(&[u8], &[&[&str]]); 13] = [
        (b"", &[]),
        (b"*1\r\n$4\r\nPING\r\n", &[&["PING"]]),
        (b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n", &[&["GET", ""]]),
        (b"*2\r\n$4\r\nECHO\r\n$4\r\n\r\n\r\n\r\n", &[&["ECHO", "\r\n\r\n"]]),
        (b"PING\r\nPING\nget  a\r\n", &[&["PING"], &["PING"], &["get", "a"]]),
        (b"\r\n\n\r\nPING\r\n", &[&["PING"]]),
        (b"  \r\n*0\r\n*-1\r\n*-9223372036854775808\r\nPING\r\n", &[&["PING"]]),
        (b"*1\r\n$4\r\nPING\r\nPING\r\n*1\r\n$4\r\nQUIT\r\n", &[&["PING"], &["PING"], &["QUIT"]]),
        (b"set k \"a\\nb\"\r\n*1\r\n$1\r\nx\r\n", &[&["set", "k", "a\nb"], &["x"]]),
        (b"*1\r\n$4\r\nPI", &[]),
        (b"*1\r\n$0\r\n\r\n", &[&[""]]),
        (b"\"\"\r\n", &[&[""]]),
        (
            b"*10\r\n$1\r\n0\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n$1\r\n4\r\n$1\r\n5\r\n$1\r\n6\r\n$1\r\n7\r\n$1\r\n8\r\n$1\r\n9\r\n",
            &[&["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]],
        ),
    ];
    for (bytes, expected) in rows {
        let expected: Vec<Command> = expected.iter().map(|words| command(words)).collect();
        assert_eq!(
            read_in_every_way(&Limits::default(), bytes),
            (expected, None),
            "{}",
            bytes.escape_ascii()
        );
    }
}

#[test]
fn protocol_errors() {
    let anonymous = Limits { authenticated: false, ..Limits::default() };
    let free = Limits::default();
    let rows: [(&Limits, &[u8], &str); 41] = [
        (&free, b"*a\r\n", "invalid multibulk length"),
        (&free, b"*\r\n", "invalid multibulk length"),
        (&free, b"*01\r\n$4\r\nPING\r\n", "invalid multibulk length"),
        (&free, b"*+1\r\n", "invalid multibulk length"),
        (&free, b"* 1\r\n", "invalid multibulk length"),
        (&free, b"*1 \r\n", "invalid multibulk length"),
        (&free, b"*-0\r\n", "invalid multibulk length"),
        (&free, b"*2147483648\r\n", "invalid multibulk length"),
        (&free, b"*9223372036854775808\r\n", "invalid multibulk length"),
        (&free, b"*1\n\r\n", "invalid multibulk length"),
        (&free, b"*1\r\n$04\r\nPING\r\n", "invalid bulk length"),
        (&free, b"*1\r\n$+4\r\nPING\r\n", "invalid bulk length"),
        (&free, b"*1\r\n$ 4\r\nPING\r\n", "invalid bulk length"),
        (&free, b"*1\r\n$4 \r\nPING\r\n", "invalid bulk length"),
        (&free, b"*1\r\n$-1\r\n", "invalid bulk length"),
        (&free, b"*1\r\n$-0\r\n", "invalid bulk length"),
        (&free, b"*1\r\n$\r\n", "invalid bulk length"),
        (&free, b"*1\r\n$x\r\n", "invalid bulk length"),
        (&free, b"*1\r\n$536870913\r\n", "invalid bulk length"),
        (&free, b"*1\r\n$99999999999999999999\r\n", "invalid bulk length"),
        (&free, b"*1\r\n+4\r\n", "expected '$', got '+'"),
        (&free, b"*1\r\nPING\r\n", "expected '$', got 'P'"),
        (&free, b"*1\r\n4\r\n", "expected '$', got '4'"),
        (&free, b"*1\r\n\r\n", "expected '$', got '\r'"),
        (&free, b"*1\r\n$4\r\nPINGxx", "invalid CRLF in request"),
        (&free, b"*1\r\n$4\r\nPING\n\n", "invalid CRLF in request"),
        (&free, b"*1\r\n$4\r\nPING\rx", "invalid CRLF in request"),
        (&free, b"*1\r\n$4\r\nPINGPING\r\n", "invalid CRLF in request"),
        (&free, b"*1\rx", "invalid CRLF in request"),
        (&free, b"*1\r\r\n", "invalid CRLF in request"),
        (&free, b"*1\r\n$4\rPING\r\n", "invalid CRLF in request"),
        (&free, b"set k \"v\r\n", "unbalanced quotes in request"),
        (&free, b"'\n", "unbalanced quotes in request"),
        (&anonymous, b"*11\r\n", "unauthenticated multibulk length"),
        (&anonymous, b"*10\r\n$16385\r\n", "unauthenticated bulk length"),
        (&anonymous, b"*2147483648\r\n", "invalid multibulk length"),
        (&anonymous, b"*1\r\n$536870913\r\n", "invalid bulk length"),
        (&free, b"POST / HTTP/1.1\r\n", "cross"),
        (&free, b"post\n", "cross"),
        (&free, b"Host: localhost\r\n", "cross"),
        (&free, b"*1\r\n$5\r\nhOsT:\r\n", "cross"),
    ];
    for (limits, bytes, expected) in rows {
        let mut stream = b"PING\r\n".to_vec();
        stream.extend_from_slice(bytes);
        let (commands, wrong) = read_in_every_way(limits, &stream);
        assert_eq!(commands, [command(&["PING"])], "{}", bytes.escape_ascii());
        let wrong = wrong.unwrap_or_else(|| panic!("no error: {}", bytes.escape_ascii()));
        if expected == "cross" {
            assert_eq!((wrong, wrong.has_reply()), (Wrong::CrossProtocol, false));
        } else {
            assert!(wrong.has_reply());
            assert_eq!(wrong.to_string(), format!("Protocol error: {expected}"), "{}", bytes.escape_ascii());
        }
    }
}

#[test]
fn lines_are_bounded_at_65536_bytes() {
    let line = |prefix: &[u8], len: usize, end: &[u8]| {
        let mut bytes = prefix.to_vec();
        bytes.resize(prefix.len() + len, b'1');
        bytes.extend_from_slice(end);
        bytes
    };
    let free = Limits::default();
    let wrong = |bytes: &[u8]| read_in_every_way(&free, bytes).1;
    let (commands, none) = read_in_every_way(&free, &line(b"", 65536, b"\n"));
    assert_eq!((commands.len(), commands[0][0].len(), none), (1, 65536, None));
    assert_eq!(wrong(&line(b"", 65536, b"")), None);
    assert_eq!(wrong(&line(b"", 65537, b"")), Some(Wrong::TooBigInline));
    assert_eq!(wrong(&line(b"", 65537, b"\n")), Some(Wrong::TooBigInline));
    assert_eq!(wrong(&line(b"*", 65535, b"")), None);
    assert_eq!(wrong(&line(b"*", 65535, b"\r\n")), Some(Wrong::MultibulkLength));
    assert_eq!(wrong(&line(b"*", 65536, b"")), Some(Wrong::TooBigMbulkCount));
    assert_eq!(wrong(&line(b"*", 65536, b"\r\n")), Some(Wrong::TooBigMbulkCount));
    assert_eq!(wrong(&line(b"*1\r\n$", 65535, b"")), None);
    assert_eq!(wrong(&line(b"*1\r\n$", 65535, b"\r\n")), Some(Wrong::BulkLength));
    assert_eq!(wrong(&line(b"*1\r\n$", 65536, b"")), Some(Wrong::TooBigBulkCount));
    assert_eq!(wrong(&line(b"*1\r\n$", 65536, b"\r\n")), Some(Wrong::TooBigBulkCount));
}

#[test]
fn anonymous_clients_may_send_what_an_auth_needs() {
    let anonymous = Limits { authenticated: false, ..Limits::default() };
    let (long, words) = ("x".repeat(16384), vec![&b"x"[..]; 10]);
    let mut bytes = Vec::new();
    encode_command(&mut bytes, &words);
    encode_command(&mut bytes, &[b"AUTH", long.as_bytes()]);
    let (commands, wrong) = read(&anonymous, [&bytes[..]]);
    assert_eq!((commands.len(), wrong), (2, None));
}

/// A random command with sizes around every threshold.
fn random_command(rng: &mut Rng) -> Command {
    let args = 1 + if rng.one_in(10) { rng.index(40) } else { rng.index(4) };
    (0..args)
        .map(|i| {
            let len = match rng.index(20) {
                0 => 32_000 + rng.index(2000),
                1..4 => rng.index(600),
                _ => rng.index(12),
            };
            let mut arg: Vec<u8> = (0..len).map(|_| b"\r\n$*1ab\""[rng.index(8)]).collect();
            if i == 0 {
                arg.push(b'!');
            }
            arg
        })
        .collect()
}

#[test]
fn random_streams_are_the_same_however_they_arrive() {
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let mut bytes = Vec::new();
        let mut expected = Vec::new();
        for _ in 0..1 + rng.index(20) {
            match rng.index(6) {
                0 => bytes.extend_from_slice(b"*0\r\n"),
                1 => {
                    bytes.extend_from_slice(b"  get \"a\\x41\" 'b c' \r\n");
                    expected.push(command(&["get", "aA", "b c"]));
                }
                _ => {
                    let args = random_command(&mut rng);
                    encode_command(&mut bytes, &args.iter().map(Vec::as_slice).collect::<Vec<_>>());
                    expected.push(args);
                }
            }
        }
        assert_eq!(read_in_every_way(&Limits::default(), &bytes), (expected, None), "seed {seed}");
    }
}

/// A link whose session sometimes cannot go on, and whose driver uses the inbox when it is offered.
#[test]
fn keeping_and_reading_into_the_inbox_change_nothing() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        for _ in 0..1 + rng.index(12) {
            let mut args = random_command(&mut rng);
            if rng.one_in(3) {
                args.push((0..100_000 + rng.index(500_000)).map(|i| i as u8).collect());
            }
            encode_command(&mut bytes, &args.iter().map(Vec::as_slice).collect::<Vec<_>>());
            expected.push(args);
        }
        let limits = Limits::default();
        let (mut reader, mut commands) = (Reader::default(), Vec::new());
        let mut wire = &bytes[..];
        let mut used_inbox = false;
        loop {
            let mut input = &b""[..];
            match reader.inbox() {
                Some(room) if !rng.one_in(4) => {
                    assert!(!room.is_empty() && room.len() <= STEP);
                    let n = (1 + rng.index(room.len())).min(wire.len());
                    room[..n].copy_from_slice(&wire[..n]);
                    reader.inbox_filled(n);
                    wire = &wire[n..];
                    used_inbox = true;
                }
                _ => (input, wire) = wire.split_at((1 + rng.index(20_000)).min(wire.len())),
            }
            while let Some(argv) = reader.next(&limits, &mut input).expect("a well-formed stream") {
                commands.push(owned(argv));
                if rng.one_in(3) {
                    reader.keep(input);
                    input = &[];
                    if rng.one_in(2) {
                        break;
                    }
                }
            }
            if wire.is_empty() && reader.pending() == 0 {
                break;
            }
        }
        assert!(commands == expected, "seed {seed}");
        assert!(used_inbox || bytes.len() < 1_000_000, "seed {seed}: the inbox was never offered");
        assert!(reader.next(&limits, &mut &b""[..]).is_ok_and(|none| none.is_none()));
        assert_eq!(reader.memory(), 0, "seed {seed}: an idle reader owns no memory");
    }
}

#[test]
fn garbage_never_panics_and_never_loops() {
    let alphabet = b"*$$\r\r\n\n0129-+\"'\\x aP\0\xff";
    for seed in 0..3000 {
        let mut rng = Rng::new(seed);
        let mut bytes = Vec::new();
        for _ in 0..rng.index(40) {
            match rng.index(5) {
                0 => bytes.extend_from_slice(b"*1\r\n"),
                1 => bytes.extend_from_slice(b"$1\r\n"),
                _ => bytes.push(alphabet[rng.index(alphabet.len())]),
            }
        }
        let whole = read(&Limits::default(), [&bytes[..]]);
        assert_eq!(read(&Limits::default(), bytes.chunks(1)), whole, "seed {seed}");
        assert!(whole.0.len() <= bytes.len());
    }
}

/// No byte is looked at more than a few times, however small the pieces.
#[test]
fn reading_costs_as_much_as_there_is_to_read() {
    let mut bytes = Vec::new();
    let many = vec![&b"0123456789"[..]; 5000];
    encode_command(&mut bytes, &many);
    encode_command(&mut bytes, &[b"SET", b"k", &vec![b'\r'; 64 * 1024 * 1024]]);
    bytes.extend_from_slice(&[b'w'; 60_000]);
    bytes.extend_from_slice(b"\r\n*");
    bytes.extend_from_slice(&[b'1'; 60_000]);
    for size in [1, 2, 7, 1000, 16 * 1024, usize::MAX] {
        let (mut reader, limits) = (Reader::default(), Limits::default());
        let mut found = 0;
        for mut piece in bytes.chunks(size.min(bytes.len())) {
            while reader.next(&limits, &mut piece).expect("well-formed so far").is_some() {
                found += 1;
            }
        }
        assert_eq!(found, 3);
        // Payloads are not looked at, lines at most three times.
        let lines = 5000 * 8 + 60_000 * 2 + 100;
        assert!(
            reader.parse.inspected <= 3 * lines,
            "{} bytes inspected in pieces of {size}",
            reader.parse.inspected
        );
        assert!(
            reader.tail.moved <= 2 * bytes.len() as u64,
            "{} bytes moved in pieces of {size}",
            reader.tail.moved
        );
    }
}

#[test]
fn memory_follows_what_arrived_and_not_what_is_announced() {
    let mut reader = Reader::default();
    let mut input = &b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\n"[..];
    assert!(reader.next(&Limits::default(), &mut input).is_ok_and(|none| none.is_none()));
    assert!(reader.memory() < 2048, "{}", reader.memory());
    let n = reader.inbox().map_or(0, |room| room.len());
    assert_eq!(n, STEP);
    assert!(reader.memory() < STEP + 2048, "one step is lent, and nothing beyond it: {}", reader.memory());
    let mut kept = reader.pending();
    for _ in 0..100 {
        let n = reader.inbox().map_or(0, |room| room.len());
        reader.inbox_filled(n);
        kept += n;
        assert!(reader.memory() <= 2 * kept + 2 * STEP);
    }
    assert_eq!(reader.pending(), kept);
}

#[test]
fn an_unfinished_command_is_bounded() {
    let limits = Limits { max_query: 100_000, ..Limits::default() };
    let mut small = b"*1000\r\n".to_vec();
    for _ in 0..100 {
        small.extend_from_slice(b"$1000\r\n");
        small.resize(small.len() + 1000, b'x');
        small.extend_from_slice(b"\r\n");
    }
    assert_eq!(read(&limits, small.chunks(999)).1, Some(Wrong::QueryBufferLimit));
    let mut big = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$200000\r\n".to_vec();
    big.resize(150_000, b'x');
    assert_eq!(read(&limits, big.chunks(999)).1, None, "large arguments do not count");
    assert!(!Wrong::QueryBufferLimit.has_reply());
    assert_eq!(
        read(&Limits::UNLIMITED, [&b"*2\r\n$4294967295\r\n"[..]]).1,
        Some(Wrong::QueryBufferLimit),
        "beyond what a span can address"
    );
}

#[test]
fn what_arrived_whole_is_not_copied() {
    let bytes = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n".to_vec();
    let mut reader = Reader::default();
    let mut input = &bytes[..];
    let argv = reader.next(&Limits::default(), &mut input).expect("well-formed").expect("complete");
    assert!(bytes.as_ptr_range().contains(&argv.get(1).as_ptr()));
    assert_eq!(reader.memory(), 0);
}

#[test]
fn inline_commands_are_told_apart() {
    let mut reader = Reader::default();
    let mut input = &b"PING\r\n*1\r\n$4\r\nPING\r\n"[..];
    let mut seen = String::new();
    while reader.next(&Limits::default(), &mut input).expect("well-formed").is_some() {
        seen.push(if reader.last_was_inline() { 'i' } else { 'a' });
    }
    assert_eq!(seen, "ia");
}

#[test]
fn a_line_of_words_is_refused_at_its_first_byte_where_only_arrays_may_come() {
    let limits = Limits { arrays_only: true, ..Limits::default() };
    for before in ["", "*1\r\n$4\r\nPING\r\n", "*0\r\n"] {
        let bytes = [before, "P"].concat();
        let mut reader = Reader::default();
        let mut input = bytes.as_bytes();
        while let Ok(argv) = reader.next(&limits, &mut input) {
            assert_eq!(argv.expect("the line is refused before more is awaited").name(), b"PING");
        }
        assert_eq!(reader.next(&limits, &mut &b"*"[..]).map(|_| ()), Err(Wrong::Inline), "{before:?}");
    }
}
