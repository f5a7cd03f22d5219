//! Words of commands that must not be shown to anybody: passwords, and settings that are secrets.

use crate::command::options::is;
use crate::command::table::{Command, Id};
use crate::config::Config;
use crate::wire::resp::Argv;

/// What is shown instead.
pub(crate) const REDACTED: &[u8] = b"(redacted)";

/// Whether argument `at` of a command is a secret.
pub(crate) fn is_secret(command: &Command, argv: Argv<'_>, at: usize) -> bool {
    match command.id {
        Id::Auth => at > 0 && argv.len() <= 3,
        Id::AclSetuser | Id::AclDeluser | Id::AclGetuser => at >= 2,
        Id::Hello => at >= 3 && behind_auth(argv, at),
        Id::ConfigSet => {
            at >= 3 && at % 2 == 1 && core::str::from_utf8(argv.get(at - 1)).is_ok_and(Config::is_sensitive)
        }
        _ => false,
    }
}

/// Whether argument `at` of a HELLO is the user or the password of its option AUTH.
fn behind_auth(argv: Argv<'_>, at: usize) -> bool {
    let mut next = 2;
    while let Some(option) = argv.opt(next) {
        if is(option, b"auth") && argv.len() > next + 2 {
            if (next + 1..=next + 2).contains(&at) {
                return true;
            }
            next += 3;
        } else {
            next += 2;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::table::resolve;
    use crate::wire::resp::ArgvBuf;
    use alloc::string::String;
    use alloc::vec::Vec;

    #[test]
    fn secrets_are_found_where_they_are() {
        for (line, shown) in [
            ("AUTH pw", "AUTH *"),
            ("AUTH user pw", "AUTH * *"),
            ("HELLO 3 AUTH user pw SETNAME n", "HELLO 3 AUTH * * SETNAME n"),
            ("HELLO 3 SETNAME auth AUTH u p", "HELLO 3 SETNAME auth AUTH * *"),
            ("HELLO 3 SETNAME n", "HELLO 3 SETNAME n"),
            ("CONFIG SET requirepass pw maxclients 5", "CONFIG SET requirepass * maxclients 5"),
            ("CONFIG SET maxclients 5 masterauth x", "CONFIG SET maxclients 5 masterauth *"),
            ("CONFIG SET requirepass a b", "CONFIG SET requirepass * b"),
            ("ACL SETUSER ann >pw", "ACL SETUSER * *"),
            ("ACL GENPASS 5", "ACL GENPASS 5"),
            ("SET auth pw", "SET auth pw"),
        ] {
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            let owned = ArgvBuf::of(&words);
            let argv = owned.argv();
            let command = resolve(argv).expect(line);
            let seen: Vec<&str> = (0..argv.len())
                .map(|at| if is_secret(command, argv, at) { "*" } else { line.split(' ').nth(at).unwrap() })
                .collect();
            assert_eq!(seen.join(" "), String::from(shown));
        }
    }
}
