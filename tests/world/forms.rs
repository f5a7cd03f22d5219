//! The many ways to say the same: every write of the workload in all commands that mean it, so that each has to reach
//! the target of a migration in a form that means it there.

use whimbrel_core::rng::Rng;

use super::history::{Kind, TOKEN, What};
use super::plan::DATABASES;
use super::resp::command;

/// A write to be put into commands.
pub struct Draft<'a> {
    pub kind: Kind,
    pub what: What,
    pub name: &'a [u8],
    pub second: &'a [u8],
    pub db: u32,
    pub value: &'a [u8],
    pub id: u64,
}

/// The commands of a write: one, or a transaction from MULTI to EXEC.
pub fn commands(draft: &Draft<'_>, plain: bool, rng: &mut Rng) -> Vec<Vec<u8>> {
    let Draft { name, second, value, .. } = *draft;
    match (draft.kind, draft.what) {
        (Kind::Pair, _) => pair(draft, rng),
        // Only where the time of the value before is over: at the target it has to be gone too.
        (Kind::Expiring, What::Set { ttl: None }) => vec![command(&[b"SET", name, value, b"NX"])],
        (_, What::Set { ttl: None }) if plain => vec![command(&[b"SET", name, value])],
        (_, What::Set { ttl: None }) => register(draft, rng),
        (_, What::Set { ttl: Some(ttl) }) => {
            let ms = (ttl / 1000).to_string();
            let ms = ms.as_bytes();
            match rng.below(if plain { 1 } else { 5 }) {
                0 => vec![command(&[b"SET", name, value, b"PX", ms])],
                1 => vec![command(&[b"PSETEX", name, ms, value])],
                2 => transaction(&[&[b"SET", name, value], &[b"PEXPIRE", name, ms]]),
                3 => transaction(&[&[b"SET", name, value], &[b"GETEX", name, b"PX", ms]]),
                _ => transaction(&[&[b"SET", second, value, b"PX", ms], &[b"RENAME", second, name]]),
            }
        }
        (_, What::Delete) => match rng.below(if plain { 1 } else { 5 }) {
            0 => vec![command(&[b"DEL", name])],
            1 => vec![command(&[b"UNLINK", name, second])],
            2 => vec![command(&[b"GETDEL", name])],
            3 => vec![command(&[b"PEXPIRE", name, b"-1"])],
            _ => transaction(&[&[b"SET", name, value], &[b"RENAME", name, second]]),
        },
        (_, What::Append) => {
            let token = format!("{:0width$};", draft.id, width = TOKEN - 1);
            match rng.below(if plain { 1 } else { 3 }) {
                // The last reply of a transaction says how long the list is.
                0 => transaction(&[&[b"TOUCH", name], &[b"APPEND", name, token.as_bytes()]]),
                _ => vec![command(&[b"APPEND", name, token.as_bytes()])],
            }
        }
        (_, What::Increment) => match rng.below(if plain { 1 } else { 7 }) {
            0 => vec![command(&[b"INCR", name])],
            1 => vec![command(&[b"INCRBY", name, b"1"])],
            2 => vec![command(&[b"DECRBY", name, b"-1"])],
            3 => vec![command(&[b"INCRBYFLOAT", name, b"1"])],
            // With commands that others than the shard answer: the node, and the view.
            4 => transaction(&[&[b"CONFIG", b"SET", b"hz", b"12"], &[b"INCR", name]]),
            5 => transaction(&[&[b"CLUSTER", b"SLOTS"], &[b"CLUSTER", b"INFO"], &[b"INCR", name]]),
            _ => transaction(&[&[b"INCRBY", name, b"3"], &[b"DECR", name], &[b"DECR", name]]),
        },
    }
}

fn pair(draft: &Draft<'_>, rng: &mut Rng) -> Vec<Vec<u8>> {
    let Draft { name, second, value, .. } = *draft;
    match rng.below(4) {
        0 => vec![command(&[b"MSET", name, value, second, value])],
        1 => transaction(&[&[b"SET", name, value], &[b"SET", second, value]]),
        2 => transaction(&[&[b"SET", name, value], &[b"COPY", name, second, b"REPLACE"]]),
        _ => transaction(&[&[b"DEL", name, second], &[b"MSETNX", second, value, name, value]]),
    }
}

/// A register's new value, by way of other keys and other databases too.
fn register(draft: &Draft<'_>, rng: &mut Rng) -> Vec<Vec<u8>> {
    let Draft { name, second, value, .. } = *draft;
    let (here, there) = (draft.db.to_string(), ((draft.db + 1) % DATABASES).to_string());
    let (here, there) = (here.as_bytes(), there.as_bytes());
    let (head, tail) = value.split_at(value.len() / 2);
    let at = head.len().to_string();
    let hole = vec![b'-'; head.len()];
    match rng.below(10) {
        0 => vec![command(&[b"SET", name, value, b"KEEPTTL"])],
        1 => vec![command(&[b"GETSET", name, value])],
        2 => transaction(&[&[b"SET", second, value], &[b"RENAME", second, name]]),
        3 => transaction(&[&[b"SET", second, value], &[b"COPY", second, name, b"REPLACE"]]),
        4 => transaction(&[
            &[b"SELECT", there],
            &[b"SET", second, value],
            &[b"COPY", second, name, b"DB", here, b"REPLACE"],
            &[b"SELECT", here],
        ]),
        5 => transaction(&[
            &[b"DEL", name],
            &[b"SELECT", there],
            &[b"SET", name, value],
            &[b"MOVE", name, here],
            &[b"SELECT", here],
        ]),
        6 => transaction(&[&[b"SET", name, value, b"PX", b"100000"], &[b"PERSIST", name]]),
        7 => transaction(&[&[b"SET", name, head], &[b"APPEND", name, tail]]),
        8 => transaction(&[
            &[b"SET", name, &hole],
            &[b"SETRANGE", name, at.as_bytes(), tail],
            &[b"SETRANGE", name, b"0", head],
        ]),
        _ => transaction(&[&[b"UNLINK", name], &[b"SETNX", name, value]]),
    }
}

fn transaction(commands: &[&[&[u8]]]) -> Vec<Vec<u8>> {
    let words = commands.iter().map(|words| command(words));
    std::iter::once(command(&[b"MULTI"])).chain(words).chain([command(&[b"EXEC"])]).collect()
}
