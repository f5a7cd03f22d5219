//! The users of this shard's clients: who each client is, what it is refused, and the subcommands of ACL that only read.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use sha2::{Digest, Sha256};

use crate::acl::{self, Context, Denied, Place, Reason, Selector, Users};
use crate::action::{Action, Actions, Ending};
use crate::command::options::is;
use crate::command::refused::lines;
use crate::command::table::{self, Command, Id, categories};
use crate::link::Outbox;
use crate::shard::data::Data;
use crate::shard::env::Env;
use crate::shard::gather::Part;
use crate::shard::session::{Client, Waiting};
use crate::shard::{Link, Shard, listing};
use crate::time::Now;
use crate::wire::resp::number::integer;
use crate::wire::resp::{Argv, Reply, quote};

/// Most bits of ACL GENPASS, and how many there are when nobody says.
const GENPASS_BITS: (i64, i64) = (4096, 256);
/// Entries of ACL LOG when nobody says how many.
const LOGGED: usize = 10;

/// What passwords are made of: bytes that nobody outside of the process knows.
pub(crate) struct Secret {
    bytes: [u8; 32],
    used: u64,
}

impl Secret {
    /// As hard to guess as the seed of the shard.
    pub(crate) fn of(seed: u64) -> Self {
        Self::new(Sha256::digest(seed.to_le_bytes()).into())
    }

    /// From the operating system's random bytes.
    pub(crate) fn new(bytes: [u8; 32]) -> Self {
        Self { bytes, used: 0 }
    }

    fn next(&mut self) -> impl Iterator<Item = u8> + use<> {
        self.used += 1;
        Sha256::new().chain_update(self.bytes).chain_update(self.used.to_le_bytes()).finalize().into_iter()
    }
}

/// Notes that a client was refused something.
pub(crate) fn note(
    now: Now,
    (reason, context): (Reason, Context),
    (user, object): (&[u8], &[u8]),
    client: &Client,
    data: &mut Data,
    env: &Env,
) {
    let watches = data.effects.watches();
    let line = || listing::line(now, client, &Outbox::default(), 0, watches);
    data.refusals.add(now.wall, (reason, context), (user, object), line, env.config.acllog_max_len);
}

/// Whether the client's user may give a command; if not, that is noted.
pub(crate) fn check(
    now: Now,
    command: &'static Command,
    argv: Argv<'_>,
    client: &Client,
    data: &mut Data,
    env: &Env,
) -> Result<(), Denied> {
    let place =
        Place { db: client.transaction.db().unwrap_or(client.db), databases: env.config.databases_in_use() };
    let Err(denied) = client.user.check(command, argv, place) else { return Ok(()) };
    let in_multi = client.transaction.is_open() || client.transaction.is_running();
    let context = if in_multi { Context::Multi } else { Context::Toplevel };
    let object = match denied {
        Denied::Command | Denied::Database(0) => command.name.as_bytes(),
        Denied::Key(at) | Denied::Database(at) => argv.get(at),
    };
    note(now, (Reason::Denied(denied), context), (client.user.name(), object), client, data, env);
    Err(denied)
}

impl Client {
    /// Lets the client be the user whose password it knows; otherwise that is noted.
    pub(crate) fn log_in(
        &mut self,
        now: Now,
        name: &[u8],
        password: &[u8],
        word: &[u8],
        data: &mut Data,
        env: &Env,
    ) -> bool {
        let Some(user) = env.config.users.log_in(name, password) else {
            let context = if self.transaction.is_open() { Context::Multi } else { Context::Toplevel };
            note(now, (Reason::Auth, context), (name, word), self, data, env);
            return false;
        };
        self.be(user.clone());
        self.authenticated = true;
        true
    }
}

impl Shard {
    /// Where passwords of ACL GENPASS come from; without it they can be guessed by whoever knows the seed.
    pub fn set_secret(&mut self, bytes: [u8; 32]) {
        self.data.secret = Secret::new(bytes);
    }

    /// Other users are in force: clients go on as the user of the same name, and those whose user is gone are
    /// disconnected.
    pub(crate) fn users_changed(&mut self, now: Now, out: &mut Actions) {
        let mut gone = Vec::new();
        for (link, entry) in &mut self.links {
            let Link::Client(session) = entry else { continue };
            let client = &mut session.client;
            match self.env.config.users.get(client.user.name()) {
                Some(user) if Arc::ptr_eq(user, &client.user) => {}
                Some(user) => client.be(user.clone()),
                // It is told what its command did first.
                None if client.waiting == Waiting::Answer => client.leaving = true,
                None => gone.push(*link),
            }
        }
        for link in gone {
            out.push(Action::Close { link, ending: Ending::Abrupt });
            self.closed(now, link, out);
        }
    }
}

/// Runs a subcommand of ACL that changes no user.
pub(crate) fn run(
    command: &'static Command,
    argv: Argv<'_>,
    client: &Client,
    outbox: &mut Outbox,
    data: &mut Data,
    env: &Env,
) {
    let users = &env.config.users;
    let mut reply = client.reply(outbox);
    match command.id {
        Id::AclWhoami => reply.bulk(client.user.name()),
        Id::AclUsers => {
            reply.array(users.iter().len());
            users.iter().for_each(|user| reply.bulk(user.name()));
        }
        Id::AclList => {
            reply.array(users.iter().len());
            users.lines().for_each(|line| reply.bulk(line.as_bytes()));
        }
        Id::AclGetuser => get_user(argv.get(2), users, &mut reply),
        Id::AclCat => cat(argv, &mut reply),
        Id::AclGenpass => generate(argv, &mut data.secret, &mut reply),
        _ => dry_run(argv, client, env, &mut reply),
    }
}

fn get_user(name: &[u8], users: &Users, reply: &mut Reply<'_>) {
    let Some(user) = users.get(name) else { return reply.null() };
    reply.map(7);
    reply.bulk(b"flags");
    let flags = user.flags();
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.bulk(flag.as_bytes()));
    reply.bulk(b"passwords");
    reply.array(user.passwords().len());
    user.passwords().for_each(|hash| reply.bulk(hash));
    fields(user.root(), reply);
    reply.bulk(b"selectors");
    reply.array(user.others().len());
    for selector in user.others() {
        reply.map(4);
        fields(selector, reply);
    }
}

fn fields(selector: &Selector, reply: &mut Reply<'_>) {
    for (name, value) in selector.fields() {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
}

fn cat(argv: Argv<'_>, reply: &mut Reply<'_>) {
    let Some(name) = argv.opt(2).filter(|_| argv.len() == 3) else {
        if argv.len() > 3 {
            return syntax(argv, reply);
        }
        reply.array(categories::NAMES.len());
        return categories::NAMES.iter().for_each(|(_, name)| reply.bulk(name.as_bytes()));
    };
    let Some(category) = categories::find(name) else {
        return reply.error(&format!("ERR Unknown category '{}'", quote(&name[..name.len().min(128)])));
    };
    let everything = table::all().flat_map(|command| core::iter::once(command).chain(command.subcommands));
    let names: Vec<&str> =
        everything.filter(|command| command.categories & category != 0).map(|command| command.name).collect();
    reply.array(names.len());
    names.iter().for_each(|name| reply.bulk(name.as_bytes()));
}

fn generate(argv: Argv<'_>, secret: &mut Secret, reply: &mut Reply<'_>) {
    let (most, usual) = GENPASS_BITS;
    let bits = match argv.opt(2) {
        _ if argv.len() > 3 => return syntax(argv, reply),
        None => usual,
        Some(word) => match integer(word) {
            Some(bits) => bits,
            None => return reply.error(lines::NOT_AN_INTEGER),
        },
    };
    if !(1..=most).contains(&bits) {
        return reply.error(&format!(
            "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to {most}"
        ));
    }
    let digits = usize::try_from(bits).unwrap_or_default().div_ceil(4);
    let mut hex = String::new();
    while hex.len() < digits {
        hex.extend(secret.next().map(|byte| format!("{byte:02x}")));
    }
    reply.bulk(&hex.as_bytes()[..digits]);
}

/// What ACL LOG shows of this shard, the newest first; ACL LOG RESET forgets it.
pub(crate) fn refused(argv: Argv<'_>, data: &mut Data, env: &Env) -> Vec<acl::Entry> {
    if argv.len() == 3 && is(argv.get(2), b"reset") {
        data.refusals.clear();
    }
    let (shards, index) = (u64::from(env.shards.count()), u64::from(env.index.0));
    let of_process = |entry: &acl::Entry| acl::Entry { id: entry.id * shards + index, ..entry.clone() };
    data.refusals.iter().map(of_process).collect()
}

/// With what was refused by siblings.
pub(crate) fn with(mut entries: Vec<acl::Entry>, others: &[Part]) -> Vec<acl::Entry> {
    for part in others {
        if let Part::Refused(theirs) = part {
            entries.extend_from_slice(theirs);
        }
    }
    if !others.is_empty() {
        entries = acl::Entry::grouped(entries);
    }
    entries
}

/// ACL LOG of these entries.
pub(crate) fn show_log(now: Now, argv: Argv<'_>, entries: Vec<acl::Entry>, reply: &mut Reply<'_>) {
    let count = match argv.opt(2) {
        _ if argv.len() > 3 => return syntax(argv, reply),
        None => LOGGED,
        Some(word) if is(word, b"reset") => return reply.ok(),
        Some(word) => match integer(word) {
            Some(count) => usize::try_from(count).unwrap_or_default(),
            None => return reply.error(lines::NOT_AN_INTEGER),
        },
    };
    reply.array(entries.len().min(count));
    for entry in entries.iter().take(count) {
        reply.map(10);
        let age = now.wall.as_ms().saturating_sub(entry.updated.as_ms()) as f64 / 1000.0;
        field(reply, "count").int(entry.count as i64);
        field(reply, "reason").bulk(entry.reason.name().as_bytes());
        field(reply, "context").bulk(entry.context.name().as_bytes());
        field(reply, "object").bulk(&entry.object);
        field(reply, "username").bulk(&entry.user);
        field(reply, "age-seconds").double(age);
        field(reply, "client-info").bulk(entry.client.as_bytes());
        field(reply, "entry-id").int(entry.id as i64);
        field(reply, "timestamp-created").int(entry.created.as_ms() as i64);
        field(reply, "timestamp-last-updated").int(entry.updated.as_ms() as i64);
    }
}

fn field<'a, 'o>(reply: &'a mut Reply<'o>, name: &str) -> &'a mut Reply<'o> {
    reply.bulk(name.as_bytes());
    reply
}

fn dry_run(argv: Argv<'_>, client: &Client, env: &Env, reply: &mut Reply<'_>) {
    let Some(user) = env.config.users.get(argv.get(2)) else {
        return reply.error(&format!("ERR User '{}' not found", quote(argv.get(2))));
    };
    let call = argv.after(3);
    let Some(command) = table::lookup(call) else {
        return reply.error(&format!("ERR Command '{}' not found", quote(call.name())));
    };
    if !command.takes(call.len()) {
        return reply.error(&format!("ERR wrong number of arguments for '{}' command", command.name));
    }
    let place = Place { db: client.db, databases: env.config.databases_in_use() };
    match user.check(command, call, place) {
        Ok(()) => reply.ok(),
        Err(denied) => reply.bulk(denied.message(user.name(), command, call, true).as_bytes()),
    }
}

fn syntax(argv: Argv<'_>, reply: &mut Reply<'_>) {
    let sub = quote(argv.get(1)).to_string();
    reply.error(&format!("ERR unknown subcommand or wrong number of arguments for '{sub}'. Try ACL HELP."));
}
