//! `COMMAND`: the command table, for clients that route, complete and check by it.

use super::{Call, help};
use crate::protocol::command::{Category, CommandId, CommandSpec, KeyFlag, KeyPlace, KeySpec, all, flags, lookup_full};
use crate::protocol::errors;
use crate::protocol::glob;
use crate::protocol::reply::ReplyWriter;
use crate::protocol::request::Args;

impl Call<'_, '_> {
    pub(super) fn command(&mut self) {
        match self.spec.own_name() {
            "command" => self.command_info_of_all(),
            "count" => self.reply.integer(all().len() as i64),
            "docs" => self.command_docs(),
            "getkeys" => self.command_get_keys(false),
            "getkeysandflags" => self.command_get_keys(true),
            "help" => self.help(help::COMMAND),
            "info" if self.args.len() == 2 => self.command_info_of_all(),
            "info" => self.command_info(),
            "list" => self.command_list(),
            _ => self.subcommand_syntax(),
        }
    }

    fn command_info_of_all(&mut self) {
        self.reply.array(all().len());
        all().for_each(|spec| write_info(&mut self.reply, spec));
    }

    fn command_info(&mut self) {
        let names = self.args.from(2);
        self.reply.array(names.len());
        for name in names {
            match lookup_full(name) {
                Some(spec) => write_info(&mut self.reply, spec),
                None => self.reply.null(),
            }
        }
    }

    fn command_docs(&mut self) {
        let chosen: Vec<_> = match self.args.len() {
            2 => all().collect(),
            _ => self.args.from(2).filter_map(lookup_full).collect(),
        };
        self.reply.map(chosen.len());
        for spec in chosen {
            self.reply.bulk(spec.name.as_bytes());
            write_docs(&mut self.reply, spec);
        }
    }

    fn command_list(&mut self) {
        let args = self.args;
        let wanted: Box<dyn Fn(&CommandSpec) -> bool + '_> = match args.len() {
            2 => Box::new(|_| true),
            5 if args.is(2, "filterby") && args.is(3, "module") => Box::new(|_| false),
            5 if args.is(2, "filterby") && args.is(3, "aclcat") => {
                let category = Category::named(args.get(4));
                Box::new(move |spec| category.is_some_and(|category| spec.categories.has(category)))
            }
            5 if args.is(2, "filterby") && args.is(3, "pattern") => {
                Box::new(move |spec| glob::matches_nocase(args.get(4), spec.name.as_bytes()))
            }
            _ => return self.reply.error(errors::SYNTAX),
        };
        let with_subcommands = all().flat_map(|spec| std::iter::once(spec).chain(spec.subcommands));
        let names: Vec<_> = with_subcommands.filter(|spec| wanted(spec)).map(|spec| spec.name).collect();
        self.reply.array(names.len());
        names.iter().for_each(|name| self.reply.bulk(name.as_bytes()));
    }

    fn command_get_keys(&mut self, with_flags: bool) {
        let request = self.args;
        let count = request.len() - 2;
        let named = crate::protocol::command::lookup(request.get(2)).and_then(|spec| match count {
            1 => Some(spec),
            _ => spec.subcommand(request.get(3)),
        });
        let Some(spec) = named else { return self.reply.error("ERR Invalid command specified") };
        if spec.keys.is_empty() {
            return self.reply.error("ERR The command has no key arguments");
        }
        if !spec.accepts(count) {
            return self.reply.error("ERR Invalid number of arguments specified for command");
        }
        let inner = request.tail(2);
        let mut positions = spec.key_positions(inner);
        let mut keys = Vec::new();
        while let Some((position, flags)) = positions.next_with_flags() {
            keys.push((inner.get(position), exact_flags(spec, request, flags)));
        }
        if keys.is_empty() {
            return self.reply.error("ERR Invalid arguments specified for command");
        }
        self.reply.array(keys.len());
        for (key, flags) in keys {
            if with_flags {
                self.reply.array(2);
            }
            self.reply.bulk(key);
            if with_flags {
                write_set(&mut self.reply, flags.names());
            }
        }
    }
}

/// What a request does to its key, where the table says that it depends.
fn exact_flags(spec: &CommandSpec, request: Args<'_>, flags: flags::KeyFlags) -> flags::KeyFlags {
    use KeyFlag::{Access, Ow, Ro, Rw, Update};
    // The request follows `COMMAND GETKEYSANDFLAGS`: its key is at 3.
    let has = |from: usize, word: &str| (from..request.len()).any(|at| request.is(at, word));
    match spec.id {
        CommandId::Set if has(5, "get") => flags::KeyFlags::of(&[Rw, Access, Update]),
        CommandId::Set => flags::KeyFlags::of(&[Ow, Update]),
        CommandId::BitField if !has(4, "set") && !has(4, "incrby") => flags::KeyFlags::of(&[Ro, Access]),
        CommandId::BitField => flags::KeyFlags::of(&[Rw, Access, Update]),
        _ => flags,
    }
}

fn write_info(reply: &mut ReplyWriter<'_>, spec: &CommandSpec) {
    let (first, last, step) = spec.key_range();
    reply.array(10);
    reply.bulk(spec.name.as_bytes());
    reply.integer(i64::from(spec.arity));
    write_set(reply, spec.flags.names());
    reply.integer(first);
    reply.integer(last);
    reply.integer(step);
    write_set(reply, spec.categories.names().map(|name| format!("@{name}")));
    reply.set(spec.tips.len());
    spec.tips.iter().for_each(|tip| reply.bulk(tip.as_bytes()));
    reply.set(spec.keys.len());
    spec.keys.iter().for_each(|keys| write_key_spec(reply, keys));
    if spec.subcommands.is_empty() {
        return reply.set(0);
    }
    reply.array(spec.subcommands.len());
    spec.subcommands.iter().for_each(|subcommand| write_info(reply, subcommand));
}

fn write_key_spec(reply: &mut ReplyWriter<'_>, keys: &KeySpec) {
    reply.map(if keys.note.is_some() { 4 } else { 3 });
    if let Some(note) = keys.note {
        reply.bulk(b"notes");
        reply.bulk(note.as_bytes());
    }
    reply.bulk(b"flags");
    write_set(reply, keys.flags.names());
    let (search, find): (Search<'_>, Search<'_>) = match keys.place {
        KeyPlace::Run { first, last, step } => (
            ("index", &[("index", first.into())]),
            ("range", &[("lastkey", last.into()), ("keystep", step.into()), ("limit", 0)]),
        ),
        KeyPlace::Counted { number } => {
            (("index", &[("index", number.into())]), ("keynum", &[("keynumidx", 0), ("firstkey", 1), ("keystep", 1)]))
        }
        _ => (("unknown", &[]), ("unknown", &[])),
    };
    reply.bulk(b"begin_search");
    write_search(reply, search);
    reply.bulk(b"find_keys");
    write_search(reply, find);
}

/// A way to find keys, and its numbers.
type Search<'a> = (&'a str, &'a [(&'a str, i64)]);

fn write_search(reply: &mut ReplyWriter<'_>, (kind, numbers): Search<'_>) {
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(kind.as_bytes());
    reply.bulk(b"spec");
    reply.map(numbers.len());
    for (name, number) in numbers {
        reply.bulk(name.as_bytes());
        reply.integer(*number);
    }
}

fn write_docs(reply: &mut ReplyWriter<'_>, spec: &CommandSpec) {
    let mut texts = vec![
        ("summary", spec.summary),
        ("since", spec.since),
        ("group", spec.group.name()),
        ("complexity", spec.complexity),
    ];
    if let Some((since, replaced_by)) = spec.deprecated {
        texts.extend([("deprecated_since", since), ("replaced_by", replaced_by)]);
    }
    texts.retain(|(_, text)| !text.is_empty());
    let deprecated = spec.deprecated.is_some();
    let has_subcommands = !spec.subcommands.is_empty();
    reply.map(texts.len() + usize::from(deprecated) + usize::from(has_subcommands));
    for (name, text) in texts {
        if name == "deprecated_since" {
            reply.bulk(b"doc_flags");
            write_set(reply, ["deprecated"].into_iter());
        }
        reply.bulk(name.as_bytes());
        reply.bulk(text.as_bytes());
    }
    if has_subcommands {
        reply.bulk(b"subcommands");
        reply.map(spec.subcommands.len());
        for subcommand in spec.subcommands {
            reply.bulk(subcommand.name.as_bytes());
            write_docs(reply, subcommand);
        }
    }
}

/// A set of words, each as a simple string.
fn write_set(reply: &mut ReplyWriter<'_>, words: impl Iterator<Item = impl AsRef<str>>) {
    let words: Vec<_> = words.collect();
    reply.set(words.len());
    words.iter().for_each(|word| reply.simple(word.as_ref()));
}
