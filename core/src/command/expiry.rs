//! Commands about the time at which a key ends.

use smallvec::SmallVec;

use super::context::Cx;
use super::options::is;
use super::refused::{NOT_AN_INTEGER, Outcome, Refused};
use crate::store::{At, Entry};
use crate::wire::resp::Argv;
use crate::wire::resp::number::{INTEGER_LEN, decimal, integer};

const NX_AND_OTHERS: Refused<'static> =
    Refused::Text("ERR NX and XX, GT or LT options at the same time are not compatible");
const GT_AND_LT: Refused<'static> =
    Refused::Text("ERR GT and LT options at the same time are not compatible");

/// How a command of the family counts time.
#[derive(Clone, Copy)]
struct Form {
    name: &'static str,
    /// Milliseconds of its unit.
    unit_ms: i64,
    /// From now on, not from the Unix epoch.
    relative: bool,
}

/// EXPIRE key seconds [NX | XX | GT | LT]
pub(super) fn expire<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    set(cx, argv, Form { name: "expire", unit_ms: 1000, relative: true })
}

/// PEXPIRE key milliseconds [NX | XX | GT | LT]
pub(super) fn pexpire<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    set(cx, argv, Form { name: "pexpire", unit_ms: 1, relative: true })
}

/// EXPIREAT key seconds [NX | XX | GT | LT]
pub(super) fn expireat<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    set(cx, argv, Form { name: "expireat", unit_ms: 1000, relative: false })
}

/// PEXPIREAT key milliseconds [NX | XX | GT | LT]
pub(super) fn pexpireat<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    set(cx, argv, Form { name: "pexpireat", unit_ms: 1, relative: false })
}

/// When to change an expiry; no option: always.
#[derive(Clone, Copy, Default)]
struct Conditions {
    /// Only where there is none.
    nx: bool,
    /// Only where there is one.
    xx: bool,
    /// Only to a later one; none is the latest of all.
    gt: bool,
    /// Only to an earlier one.
    lt: bool,
}

impl Conditions {
    fn read<'a>(argv: Argv<'a>) -> Result<Self, Refused<'a>> {
        let mut conditions = Self::default();
        for word in argv.after(3).iter() {
            let flag = if is(word, b"NX") {
                &mut conditions.nx
            } else if is(word, b"XX") {
                &mut conditions.xx
            } else if is(word, b"GT") {
                &mut conditions.gt
            } else if is(word, b"LT") {
                &mut conditions.lt
            } else {
                return Err(Refused::UnsupportedOption(word));
            };
            *flag = true;
        }
        let Self { nx, xx, gt, lt } = conditions;
        if nx && (xx || gt || lt) {
            return Err(NX_AND_OTHERS);
        }
        if gt && lt { Err(GT_AND_LT) } else { Ok(conditions) }
    }

    fn allow(self, before: Option<i64>, after: i64) -> bool {
        let Self { nx, xx, gt, lt } = self;
        match before {
            None => !xx && !gt,
            Some(before) => !nx && (!gt || after > before) && (!lt || after < before),
        }
    }
}

fn set<'a>(cx: &mut Cx<'_>, argv: Argv<'a>, form: Form) -> Outcome<'a> {
    let conditions = Conditions::read(argv)?;
    let given = integer(argv.get(2)).ok_or(NOT_AN_INTEGER)?;
    let base = if form.relative { cx.now.wall_ms() as i64 } else { 0 };
    let deadline = given.checked_mul(form.unit_ms).and_then(|ms| ms.checked_add(base));
    let deadline = deadline.ok_or(Refused::ExpireTime(form.name))?;
    let at = cx.at(argv.get(1));
    let allowed =
        cx.look(&at).is_some_and(|entry| conditions.allow(entry.expiry_ms().map(|ms| ms as i64), deadline));
    cx.reply.int(i64::from(allowed));
    if !allowed {
        return Ok(());
    }
    if cx.is_past(deadline) {
        cx.delete_as_past(&at);
        return Ok(());
    }
    // Below zero only in the stream of a migration: over at any time.
    cx.store.set_expiry(&at, Some(deadline.max(0) as u64));
    cx.changed(&at);
    if cx.effects.is_followed() {
        let mut room = [0; INTEGER_LEN];
        let mut words: SmallVec<[&[u8]; 8]> = argv.iter().collect();
        words[0] = b"PEXPIREAT";
        words[2] = decimal(deadline, &mut room);
        cx.rewrite(&words);
    }
    Ok(())
}

/// PERSIST key
pub(super) fn persist<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    let at = cx.at(argv.get(1));
    let volatile = cx.look(&at).is_some_and(|entry| entry.expiry_ms().is_some());
    if volatile {
        cx.store.set_expiry(&at, None);
        cx.changed(&at);
    }
    cx.reply.int(i64::from(volatile));
    Ok(())
}

/// Whether a key is there and has an expiry.
pub(super) fn is_volatile(cx: &mut Cx<'_>, at: &At<'_>) -> bool {
    cx.peek(at).is_some_and(|entry| entry.expiry_ms().is_some())
}

/// TTL key
pub(super) fn ttl<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    tell(cx, argv, 1000, true)
}

/// PTTL key
pub(super) fn pttl<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    tell(cx, argv, 1, true)
}

/// EXPIRETIME key
pub(super) fn expiretime<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    tell(cx, argv, 1000, false)
}

/// PEXPIRETIME key
pub(super) fn pexpiretime<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    tell(cx, argv, 1, false)
}

/// Replies the expiry, -1 for none, -2 for no key.
fn tell<'a>(cx: &mut Cx<'_>, argv: Argv<'a>, unit_ms: u64, relative: bool) -> Outcome<'a> {
    let base = if relative { cx.now.wall_ms() } else { 0 };
    let at = cx.at(argv.get(1));
    let answer = match cx.ask(&at).map(Entry::expiry_ms) {
        None => -2,
        Some(None) => -1,
        Some(Some(ms)) => ((ms.saturating_sub(base) + unit_ms / 2) / unit_ms) as i64,
    };
    cx.reply.int(answer);
    Ok(())
}
