//! COMMAND: what the table says, told to clients.

use alloc::format;
use alloc::vec::Vec;

use super::glob;
use super::refused::lines;
use super::table::args::{self, Arg, Kind, Syntax};
use super::table::{
    self, Begin, Command, Find, KeySpec, Upper, access, accesses, all, categories, find, flags, lookup,
};
use crate::wire::resp::{Argv, Reply};

/// COMMAND: an array with an entry for every command.
///
/// An entry is name, arity, flags, first key, last key, step, ACL categories, tips, key specifications and the
/// entries of the subcommands.
pub fn command(_argv: Argv<'_>, reply: &mut Reply<'_>) {
    reply.array(all().count());
    all().for_each(|command| entry(command, reply));
}

/// COMMAND COUNT: how many commands there are, without subcommands.
pub fn count(_argv: Argv<'_>, reply: &mut Reply<'_>) {
    reply.int(all().count() as i64);
}

/// COMMAND INFO [name ...]: the entries of these commands, or of all; null for a name that there is not.
pub fn info(argv: Argv<'_>, reply: &mut Reply<'_>) {
    let names = argv.after(2);
    if names.is_empty() {
        return command(argv, reply);
    }
    reply.array(names.len());
    for name in names.iter() {
        match table::by_full_name(name) {
            Some(command) => entry(command, reply),
            None => reply.null(),
        }
    }
}

/// COMMAND DOCS [name ...]: a map from the name of each of these commands, or of all, to its documentation.
pub fn docs(argv: Argv<'_>, reply: &mut Reply<'_>) {
    let names = argv.after(2);
    let commands: Vec<&Command> = if names.is_empty() {
        all().collect()
    } else {
        names.iter().filter_map(table::by_full_name).collect()
    };
    doc_map(&commands, reply);
}

/// COMMAND LIST [FILTERBY MODULE name | ACLCAT category | PATTERN pattern]: names, those of subcommands too.
pub fn list(argv: Argv<'_>, reply: &mut Reply<'_>) {
    let listed = |wanted: &dyn Fn(&Command) -> bool| -> Vec<&'static str> {
        let whole = all().flat_map(|command| core::iter::once(command).chain(command.subcommands));
        whole.filter(|command| wanted(command)).map(|command| command.name).collect()
    };
    let options = argv.after(2);
    let names = match options.len() {
        0 => listed(&|_| true),
        3 if options[0].eq_ignore_ascii_case(b"filterby") => {
            let by = options.get(2);
            match &options[1].to_ascii_lowercase()[..] {
                b"module" => Vec::new(),
                b"aclcat" => {
                    let is_it = |&&(_, name): &&(u32, &str)| by.eq_ignore_ascii_case(name.as_bytes());
                    let category = categories::NAMES.iter().find(is_it).map_or(0, |&(bit, _)| bit);
                    listed(&|command| command.categories & category != 0)
                }
                b"pattern" => listed(&|command| glob::matches_nocase(by, command.name.as_bytes())),
                _ => return reply.error(lines::SYNTAX),
            }
        }
        _ => return reply.error(lines::SYNTAX),
    };
    reply.array(names.len());
    names.iter().for_each(|name| reply.bulk(name.as_bytes()));
}

/// COMMAND GETKEYS name [argument ...]: the keys of that call.
pub fn getkeys(argv: Argv<'_>, reply: &mut Reply<'_>) {
    keys(argv.after(2), false, reply);
}

/// COMMAND GETKEYSANDFLAGS name [argument ...]: the keys of that call, each with the set of what happens to it.
pub fn getkeysandflags(argv: Argv<'_>, reply: &mut Reply<'_>) {
    keys(argv.after(2), true, reply);
}

/// The HELP of a container: how its subcommands are called, each with its summary.
pub fn help(container: &str, reply: &mut Reply<'_>) {
    let Some(container) = find(container.as_bytes()) else {
        debug_assert!(false, "{container} is no command");
        return reply.array(0);
    };
    reply.array(1 + 2 * container.subcommands.len());
    reply.simple(&format!("{} <subcommand> [<argument> ...], with one of these:", Upper(container.name)));
    for sub in container.subcommands {
        let arguments = args::parse(sub.args);
        let space = if arguments.is_empty() { "" } else { " " };
        reply.simple(&format!("{}{space}{}", Upper(sub.last_name()), Syntax(&arguments)));
        reply.simple(&format!("    {}", sub.summary));
    }
}

fn keys(call: Argv<'_>, with_flags: bool, reply: &mut Reply<'_>) {
    let Some(command) = lookup(call) else { return reply.error("ERR Invalid command specified") };
    if !command.has_keys() {
        return reply.error("ERR The command has no key arguments");
    }
    if !command.takes(call.len()) {
        return reply.error("ERR Invalid number of arguments specified for command");
    }
    let keys = accesses(command, call).unwrap_or_default();
    if keys.is_empty() && !command.is(flags::NO_MANDATORY_KEYS) {
        return reply.error("ERR Invalid arguments specified for command");
    }
    reply.array(keys.len());
    for (index, access) in keys {
        if with_flags {
            reply.array(2);
        }
        reply.bulk(call.get(index));
        if with_flags {
            names(access.into(), access::NAMES.map(|(bit, name)| (bit.into(), name)), "", reply);
        }
    }
}

/// The set of the names whose bits are in `bits`.
fn names<const N: usize>(bits: u32, names: [(u32, &str); N], prefix: &str, reply: &mut Reply<'_>) {
    let present = names.iter().filter(|(bit, _)| bits & bit != 0);
    reply.set(present.clone().count());
    for (_, name) in present {
        reply.simple(&format!("{prefix}{name}"));
    }
}

fn entry(command: &Command, reply: &mut Reply<'_>) {
    let (first, last, step) = command.range();
    reply.array(10);
    reply.bulk(command.name.as_bytes());
    reply.int(command.arity.into());
    names(command.flags, flags::NAMES, "", reply);
    reply.int(first.into());
    reply.int(last.into());
    reply.int(step.into());
    names(command.categories, categories::NAMES, "@", reply);
    let tips = command.tips.split_ascii_whitespace();
    reply.set(tips.clone().count());
    tips.for_each(|tip| reply.bulk(tip.as_bytes()));
    reply.set(command.keys.len());
    command.keys.iter().for_each(|spec| key_spec(spec, reply));
    if command.subcommands.is_empty() {
        return reply.set(0);
    }
    reply.array(command.subcommands.len());
    command.subcommands.iter().for_each(|sub| entry(sub, reply));
}

fn key_spec(spec: &KeySpec, reply: &mut Reply<'_>) {
    let noted = !spec.note.is_empty();
    reply.map(3 + usize::from(noted));
    if noted {
        text_field("notes", spec.note, reply);
    }
    reply.bulk(b"flags");
    names(spec.access.into(), access::NAMES.map(|(bit, name)| (bit.into(), name)), "", reply);
    reply.bulk(b"begin_search");
    match spec.begin {
        Begin::Index(at) => rule("index", &[("index", at)], reply),
        Begin::Keyword(word, from) => {
            reply.map(2);
            text_field("type", "keyword", reply);
            reply.bulk(b"spec");
            reply.map(2);
            text_field("keyword", word, reply);
            reply.bulk(b"startfrom");
            reply.int(from.into());
        }
    }
    reply.bulk(b"find_keys");
    match spec.find {
        Find::Range { last, step, limit } => {
            rule("range", &[("lastkey", last), ("keystep", step), ("limit", limit)], reply);
        }
        Find::Counted { count_at, first, step } => {
            rule("keynum", &[("keynumidx", count_at), ("firstkey", first), ("keystep", step)], reply);
        }
    }
}

fn rule(kind: &str, numbers: &[(&str, i32)], reply: &mut Reply<'_>) {
    reply.map(2);
    text_field("type", kind, reply);
    reply.bulk(b"spec");
    reply.map(numbers.len());
    for &(name, n) in numbers {
        reply.bulk(name.as_bytes());
        reply.int(n.into());
    }
}

fn text_field(name: &str, text: &str, reply: &mut Reply<'_>) {
    reply.bulk(name.as_bytes());
    reply.bulk(text.as_bytes());
}

fn doc_map(commands: &[&Command], reply: &mut Reply<'_>) {
    reply.map(commands.len());
    for command in commands {
        reply.bulk(command.name.as_bytes());
        doc(command, reply);
    }
}

fn doc(command: &Command, reply: &mut Reply<'_>) {
    let arguments = args::parse(command.args);
    let doc_flags = [(1, "deprecated"), (2, "syscmd")];
    let bits = u32::from(command.deprecated.is_some()) | u32::from(command.syscmd) << 1;
    let optional = [bits != 0, !arguments.is_empty(), !command.subcommands.is_empty()];
    let deprecated = 2 * usize::from(command.deprecated.is_some());
    reply.map(4 + deprecated + optional.iter().filter(|&&there| there).count());
    text_field("summary", command.summary, reply);
    text_field("since", command.since, reply);
    text_field("group", command.group.name(), reply);
    text_field("complexity", command.complexity, reply);
    if bits != 0 {
        reply.bulk(b"doc_flags");
        names(bits, doc_flags, "", reply);
    }
    if let Some((since, instead)) = command.deprecated {
        text_field("deprecated_since", since, reply);
        text_field("replaced_by", instead, reply);
    }
    if !arguments.is_empty() {
        reply.bulk(b"arguments");
        argument_list(&arguments, reply);
    }
    if !command.subcommands.is_empty() {
        reply.bulk(b"subcommands");
        doc_map(&command.subcommands.iter().collect::<Vec<_>>(), reply);
    }
}

fn argument_list(arguments: &[Arg], reply: &mut Reply<'_>) {
    reply.array(arguments.len());
    arguments.iter().for_each(|argument| self::argument(argument, reply));
}

fn argument(argument: &Arg, reply: &mut Reply<'_>) {
    let options = [(1, "optional"), (2, "multiple"), (4, "multiple_token")];
    let bits = u32::from(argument.optional)
        | u32::from(argument.multiple) << 1
        | u32::from(argument.multiple_token) << 2;
    let is_key = matches!(argument.kind, Kind::Key(_));
    let optional = [is_key, argument.token.is_some(), argument.since.is_some(), bits != 0];
    reply.map(3 + optional.iter().filter(|&&there| there).count());
    text_field("name", &argument.name, reply);
    text_field("type", argument.kind.name(), reply);
    match &argument.kind {
        Kind::OneOf(_) | Kind::Block(_) => {}
        _ => text_field("display_text", argument.display.unwrap_or(&argument.name), reply),
    }
    if let Kind::Key(spec) = argument.kind {
        reply.bulk(b"key_spec_index");
        reply.int(spec);
    }
    if let Some(token) = argument.token {
        text_field("token", token, reply);
    }
    if let Some(since) = argument.since {
        text_field("since", since, reply);
    }
    if bits != 0 {
        reply.bulk(b"flags");
        names(bits, options, "", reply);
    }
    if let Kind::OneOf(inner) | Kind::Block(inner) = &argument.kind {
        reply.bulk(b"arguments");
        argument_list(inner, reply);
    }
}

#[cfg(test)]
mod tests;
