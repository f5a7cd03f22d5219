//! Commands that get and set several strings.

use smallvec::SmallVec;

use super::context::{Cx, bulk};
use super::options::{Clock, Command, Condition, Options, Ttl};
use super::refused::{Outcome, Refused, SYNTAX};
use super::string::store;
use crate::store::Kind;
use crate::wire::resp::Argv;
use crate::wire::resp::number::{INTEGER_LEN, decimal, integer};

const NUMKEYS: Refused<'static> = Refused::Text("ERR invalid numkeys value or out of range");

/// MGET key [key …]
pub(super) fn mget<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    cx.reply.array(argv.len() - 1);
    for key in argv.after(1).iter() {
        let at = cx.at(key);
        match cx.read_to_reply(&at) {
            (Some(entry), reply) if entry.kind() == Kind::String => bulk(reply, entry),
            (_, reply) => reply.null(),
        }
    }
    Ok(())
}

/// MSET key value [key value …]
pub(super) fn mset<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    let pairs = pairs(argv, "mset")?;
    set_all(cx, pairs, None, false);
    cx.reply.ok();
    Ok(())
}

/// MSETNX key value [key value …]
pub(super) fn msetnx<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    let pairs = pairs(argv, "msetnx")?;
    let free = all_are(cx, pairs.clone(), false);
    if free {
        set_all(cx, pairs, None, false);
    }
    cx.reply.int(i64::from(free));
    Ok(())
}

/// MSETEX numkeys key value [key value …] [NX | XX] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL]
pub(super) fn msetex<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    let count = integer(argv.get(1)).filter(|n| (1..=i64::from(i32::MAX)).contains(n)).ok_or(NUMKEYS)?;
    let end = 2 + 2 * count as usize;
    if argv.len() < end {
        return Err(SYNTAX);
    }
    let options = Options::read(Command::MSetEx, argv, end)?;
    let deadline_ms = options.deadline_ms(Command::MSetEx, cx.now)?;
    let pairs = Pairs { argv, from: 2, end };
    let met = match options.condition {
        Condition::Missing => all_are(cx, pairs.clone(), false),
        Condition::Present => all_are(cx, pairs.clone(), true),
        Condition::Always | Condition::Equal(_) => true,
    };
    if met {
        set_all(cx, pairs, deadline_ms, options.ttl == Ttl::Keep);
        rewrite_with_deadline(cx, argv, end, deadline_ms);
    }
    cx.reply.int(i64::from(met));
    Ok(())
}

/// What others repeat of an MSETEX with an expiry: it must mean the same whenever they do.
fn rewrite_with_deadline(cx: &mut Cx<'_>, argv: Argv<'_>, options: usize, deadline_ms: Option<u64>) {
    let (Some(ms), true) = (deadline_ms, cx.effects.is_followed()) else { return };
    let mut room = [0; INTEGER_LEN];
    let deadline = decimal(ms as i64, &mut room);
    let mut words: SmallVec<[&[u8]; 16]> = argv.iter().collect();
    for i in options..words.len() {
        if Clock::of(words[i]).is_some() && i + 1 < words.len() {
            words[i] = b"PXAT";
            words[i + 1] = deadline;
        }
    }
    cx.rewrite(&words);
}

/// Keys and values in turn.
#[derive(Clone)]
struct Pairs<'a> {
    argv: Argv<'a>,
    from: usize,
    end: usize,
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.from == self.end {
            return None;
        }
        self.from += 2;
        Some((self.argv.get(self.from - 2), self.argv.get(self.from - 1)))
    }
}

/// All arguments as pairs.
fn pairs<'a>(argv: Argv<'a>, name: &'static str) -> Result<Pairs<'a>, Refused<'a>> {
    if argv.len().is_multiple_of(2) {
        Err(Refused::Arity(name))
    } else {
        Ok(Pairs { argv, from: 1, end: argv.len() })
    }
}

/// Whether all keys are there, or all are missing.
fn all_are(cx: &mut Cx<'_>, mut pairs: Pairs<'_>, there: bool) -> bool {
    pairs.all(|(key, _)| {
        let at = cx.at(key);
        cx.look(&at).is_some() == there
    })
}

fn set_all(cx: &mut Cx<'_>, pairs: Pairs<'_>, deadline_ms: Option<u64>, keep_ttl: bool) {
    for (key, value) in pairs {
        let at = cx.at(key);
        cx.is_gone(&at);
        store(cx, &at, value, deadline_ms, keep_ttl);
    }
}
