//! MONITOR: the line that clients get who watch all commands.

use alloc::format;
use alloc::vec::Vec;

use crate::command::table::{Command, flags};
use crate::input::Origin;
use crate::shard::redact::{REDACTED, is_secret};
use crate::shard::session::Client;
use crate::time::Now;
use crate::wire::resp::Argv;

/// Whether a command is shown.
pub(crate) fn is_shown(command: &Command) -> bool {
    command.flags & (flags::SKIP_MONITOR | flags::ADMIN) == 0
}

/// Appends the line of a command that `client` gave: when, where, who, and its words in quotes.
pub(crate) fn describe(now: Now, command: &Command, argv: Argv<'_>, client: &Client, out: &mut Vec<u8>) {
    let (secs, micros) = (now.wall.as_secs(), now.wall.0 % 1_000_000);
    let unix = if matches!(client.origin, Origin::Unix) { "unix:" } else { "" };
    let who = client.peer();
    out.extend_from_slice(format!("+{secs}.{micros:06} [{} {unix}{who}]", client.db).as_bytes());
    for (at, word) in argv.iter().enumerate() {
        out.push(b' ');
        quoted(if is_secret(command, argv, at) { REDACTED } else { word }, out);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends a word in quotes, with everything that is not printable escaped.
fn quoted(word: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in word {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            7 => out.extend_from_slice(b"\\a"),
            8 => out.extend_from_slice(b"\\b"),
            b' '..=b'~' => out.push(*byte),
            _ => out.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::table::resolve;
    use crate::ids::{ClientId, LinkId};
    use crate::shard::session::Session;
    use crate::time::{Mono, Wall};
    use crate::wire::resp::ArgvBuf;
    use alloc::string::String;

    #[test]
    fn a_line_has_time_place_and_words() {
        let now = Now { mono: Mono(0), wall: Wall(1_700_000_000_000_042) };
        let user = crate::acl::Users::default().default_user().clone();
        let mut client = Session::new(ClientId(1), LinkId::accepted(1), Origin::Unix, user, now).client;
        client.db = 3;
        for (words, shown) in [
            (
                &[&b"set"[..], b"k", b"a \"\\\n\r\t\x07\x08\x00\xff"][..],
                r#""set" "k" "a \"\\\n\r\t\a\b\x00\xff""#,
            ),
            (&[b"AUTH", b"u", b"p"], r#""AUTH" "(redacted)" "(redacted)""#),
        ] {
            let owned = ArgvBuf::of(words);
            let mut out = Vec::new();
            describe(now, resolve(owned.argv()).unwrap(), owned.argv(), &client, &mut out);
            let expected = format!("+1700000000.000042 [3 unix:/unixsocket:0] {shown}\r\n");
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn commands_of_administrators_are_not_shown() {
        for (words, shown) in
            [(&[&b"GET"[..], b"k"][..], true), (&[b"PING"], true), (&[b"CONFIG", b"GET", b"x"], false)]
        {
            assert_eq!(is_shown(resolve(ArgvBuf::of(words).argv()).unwrap()), shown);
        }
    }
}
