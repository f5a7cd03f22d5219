//! WAIT and WAITAOF: without replicas nobody acknowledges anything, so who waits for it waits until the time is over.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::action::{Action, Actions};
use crate::command::options::is;
use crate::command::refused::lines;
use crate::command::table::{Command, Id};
use crate::ids::LinkId;
use crate::shard::session::{Session, Unanswered, Waiting};
use crate::shard::whole::{Caller, Request};
use crate::shard::{Link, Shard};
use crate::time::{Mono, Now, Span};
use crate::wire::resp::number::integer;
use crate::wire::resp::{Argv, ArgvBuf, Reply};

const NO_AOF: &str = "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.";

/// The clients that wait, and until when; `None` is for ever.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    list: Vec<(LinkId, Option<Mono>)>,
}

impl Waits {
    /// When the first has waited long enough.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        self.list.iter().filter_map(|(_, until)| *until).min()
    }

    /// Clients that will not wait for ever.
    pub(crate) fn with_deadline(&self) -> usize {
        self.list.iter().filter(|(_, until)| until.is_some()).count()
    }

    /// A client waits no longer; whether it did.
    pub(crate) fn forget(&mut self, link: LinkId) -> bool {
        let before = self.list.len();
        self.list.retain(|(waiting, _)| *waiting != link);
        self.list.len() != before
    }
}

/// A time to wait in milliseconds.
pub(crate) fn timeout_ms(now: Now, word: &[u8]) -> Result<u64, &'static str> {
    match integer(word) {
        None => Err("ERR timeout is not an integer or out of range"),
        Some(ms) if ms < 0 => Err("ERR timeout is negative"),
        Some(ms) if ms > i64::MAX - now.wall_ms() as i64 => Err("ERR timeout is out of range"),
        Some(ms) => Ok(ms as u64),
    }
}

/// Until when to wait; 0 is for ever.
fn timeout(now: Now, word: &[u8]) -> Result<Option<Mono>, &'static str> {
    let ms = timeout_ms(now, word)?;
    Ok((ms > 0).then(|| now.mono + Span::ms(ms)))
}

/// How many replicas are to acknowledge, and until when to wait for them.
fn parse(now: Now, id: Id, argv: Argv<'_>) -> Result<(i64, Option<Mono>), &'static str> {
    if id == Id::Wait {
        let replicas = integer(argv.get(1)).ok_or(lines::NOT_AN_INTEGER)?;
        return Ok((replicas, timeout(now, argv.get(2))?));
    }
    let local = integer(argv.get(1)).ok_or(lines::NOT_AN_INTEGER)?;
    if !(0..=1).contains(&local) {
        return Err("ERR value is out of range, value must between 0 and 1");
    }
    let replicas = integer(argv.get(2)).filter(|n| *n >= 0);
    let replicas = replicas.ok_or("ERR value is out of range, must be positive")?;
    let until = timeout(now, argv.get(3))?;
    if local > 0 { Err(NO_AOF) } else { Ok((replicas, until)) }
}

/// Nobody acknowledged.
fn nobody(id: Id, reply: &mut Reply<'_>) {
    if id == Id::Waitaof {
        reply.array(2);
        reply.int(0);
    }
    reply.int(0);
}

impl Shard {
    /// WAIT and WAITAOF.
    pub(crate) fn wait(&mut self, now: Now, id: Id, request: &Request<'_>, reply: &mut Reply<'_>) -> Caller {
        let Some(Link::Client(session)) = self.links.get(&request.link) else { return Caller::Stays };
        match parse(now, id, request.argv) {
            Err(error) => reply.error(error),
            Ok((replicas, until)) if replicas > 0 && !session.client.transaction.is_running() => {
                self.waits.list.push((request.link, until));
                return Caller::Waits;
            }
            Ok(_) => nobody(id, reply),
        }
        Caller::Stays
    }

    /// A client waits from now on.
    pub(crate) fn begin_wait(&mut self, link: LinkId, command: &'static Command, words: &ArgvBuf) {
        if let Some(Link::Client(session)) = self.links.get_mut(&link) {
            session.client.waiting = Waiting::Replicas;
            let unanswered = Unanswered { command, words: words.clone(), mark: 0 };
            session.client.unanswered = Some(Box::new(unanswered));
        }
    }

    /// Answers those whose time is over.
    pub(crate) fn end_waits(&mut self, now: Now, out: &mut Actions) {
        let due = |until: &Option<Mono>| until.is_some_and(|until| until <= now.mono);
        let gone: Vec<LinkId> =
            self.waits.list.iter().filter(|(_, until)| due(until)).map(|(link, _)| *link).collect();
        for link in gone {
            self.end_wait(now, link, None, out);
        }
    }

    /// CLIENT UNBLOCK id [TIMEOUT | ERROR]
    ///
    /// # Errors
    /// The error line. Otherwise whether a client of this shard waited.
    pub(crate) fn unblock(
        &mut self,
        now: Now,
        argv: Argv<'_>,
        out: &mut Actions,
    ) -> Result<bool, &'static str> {
        let reason = argv.opt(3).filter(|_| argv.len() == 4);
        if reason.is_some_and(|r| !is(r, b"timeout") && !is(r, b"error")) {
            return Err("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
        }
        let id = integer(argv.get(2)).ok_or(lines::NOT_AN_INTEGER)?;
        let named = |link: &LinkId| match self.links.get(link) {
            Some(Link::Client(session)) => session.client.id.0 as i64 == id,
            _ => false,
        };
        let Some(link) = self.waits.list.iter().map(|(link, _)| *link).find(named) else {
            return Ok(false);
        };
        let error = reason.is_some_and(|r| is(r, b"error"));
        let error = error.then_some("UNBLOCKED client unblocked via CLIENT UNBLOCK");
        self.end_wait(now, link, error, out);
        Ok(true)
    }

    fn end_wait(&mut self, now: Now, link: LinkId, error: Option<&str>, out: &mut Actions) {
        self.waits.forget(link);
        let Some(Link::Client(session)) = self.links.get_mut(&link) else { return };
        let Session { client, outbox, .. } = &mut **session;
        let Some(mut unanswered) = client.unanswered.take() else { return };
        let laps = &mut self.data.scrutiny.laps;
        laps.start();
        // The time that it waited is not the command's.
        unanswered.mark = laps.mark();
        let begun = outbox.end();
        let mut reply = client.reply(outbox);
        match error {
            Some(error) => reply.error(error),
            None => nobody(unanswered.command.id, &mut reply),
        }
        client.commands += 1;
        self.data.answered(now, &unanswered, client, outbox, begun);
        let sent = outbox.end() - begun;
        client.bytes_out += sent;
        self.data.totals.bytes_out += sent;
        out.push(Action::Flush { link });
        self.resume(now, link, out);
    }
}
