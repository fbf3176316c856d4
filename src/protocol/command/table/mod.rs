//! The rows of the command table, and the notation that they are written in.
//!
//! What a row says of a command is what Redis 7.2's `COMMAND INFO` says, or Valkey 9.1's where only that has it: clients
//! and proxies read it to route.

mod blocking;
mod connection;
pub(super) mod foreign;
mod hashes;
mod keys;
mod lists;
mod server;
mod sets;
mod sorted_sets;
mod strings;
mod transactions;

use super::CommandId::*;
use super::flags::Category::{
    Bitmap, Connection, Dangerous, Hash, Keyspace, List, Set as SetCategory, Slow, SortedSet, String, Transaction,
};
use super::flags::Flag::*;
use super::flags::KeyFlag::*;
use super::flags::{Categories, Category, Flag, Flags, KeyFlag, KeyFlags};
use super::{CommandId, CommandSpec, Group, KeyPlace, KeySpec, Merge, Route};

/// All commands.
pub(super) static COMMANDS: [&CommandSpec; COUNT] = collect();

const TABLES: &[&[CommandSpec]] = &[
    strings::STRINGS,
    lists::LISTS,
    sets::SETS,
    hashes::HASHES,
    sorted_sets::SORTED_SETS,
    blocking::BLOCKING,
    keys::KEYS,
    connection::CONNECTION,
    server::SERVER,
    transactions::TRANSACTIONS,
];
const COUNT: usize = {
    let (mut count, mut table) = (0, 0);
    while table < TABLES.len() {
        count += TABLES[table].len();
        table += 1;
    }
    count
};

const fn collect() -> [&'static CommandSpec; COUNT] {
    let mut all = [&TABLES[0][0]; COUNT];
    let (mut table, mut row, mut at) = (0, 0, 0);
    while table < TABLES.len() {
        if row == TABLES[table].len() {
            (table, row) = (table + 1, 0);
        } else {
            all[at] = &TABLES[table][row];
            (row, at) = (row + 1, at + 1);
        }
    }
    all
}

/// A command that the holder of the connection answers, until the row says otherwise.
const fn command(id: CommandId, name: &'static str, arity: i8) -> CommandSpec {
    CommandSpec {
        id,
        name,
        arity,
        flags: Flags::of(&[]),
        keys: &[],
        route: Route::Connection,
        categories: Categories::of(&[Slow]),
        tips: &[],
        group: Group::Generic,
        since: "",
        complexity: "",
        summary: "",
        deprecated: None,
        subcommands: &[],
    }
}

impl CommandSpec {
    const fn flags(mut self, flags: &[Flag]) -> Self {
        self.flags = Flags::of(flags);
        self.categories = Categories::implied_by(self.flags);
        self
    }

    const fn keys(mut self, keys: &'static [KeySpec]) -> Self {
        self.keys = keys;
        self
    }

    const fn one_shard(mut self) -> Self {
        self.route = Route::OneShard;
        self
    }

    const fn split(mut self, merge: Merge) -> Self {
        self.route = Route::Split(merge);
        self
    }

    const fn every_shard(mut self, merge: Merge) -> Self {
        self.route = Route::EveryShard(merge);
        self
    }

    const fn cursor(mut self) -> Self {
        self.route = Route::Cursor;
        self
    }

    /// Adds to the categories that follow from the flags.
    const fn categories(mut self, categories: &[Category]) -> Self {
        self.categories = self.categories.and(Categories::of(categories));
        self
    }

    const fn tips(mut self, tips: &'static [&'static str]) -> Self {
        self.tips = tips;
        self
    }

    const fn docs(
        mut self,
        group: Group,
        since: &'static str,
        complexity: &'static str,
        summary: &'static str,
    ) -> Self {
        self.group = group;
        self.since = since;
        self.complexity = complexity;
        self.summary = summary;
        self
    }

    const fn deprecated(mut self, since: &'static str, replaced_by: &'static str) -> Self {
        self.deprecated = Some((since, replaced_by));
        self
    }

    const fn subcommands(mut self, subcommands: &'static [CommandSpec]) -> Self {
        self.subcommands = subcommands;
        self
    }
}

/// One key, at this position.
const fn key(first: u8, flags: &[KeyFlag]) -> KeySpec {
    KeySpec { place: KeyPlace::Run { first, last: 0, step: 1 }, flags: KeyFlags::of(flags), note: None }
}

/// As many keys as the argument at this position says, behind it.
const fn counted_keys(number: u8, flags: &[KeyFlag]) -> KeySpec {
    KeySpec { place: KeyPlace::Counted { number }, flags: KeyFlags::of(flags), note: None }
}

impl KeySpec {
    /// Several keys: up to `last` (relative to the first, or from the end if negative), one in every `step` arguments.
    const fn through(mut self, last: i8, step: u8) -> Self {
        let KeyPlace::Run { first, .. } = self.place else { panic!("only a run has a last key") };
        self.place = KeyPlace::Run { first, last, step };
        self
    }

    /// Keys in a place that cannot be told from their number or position.
    const fn at(mut self, place: KeyPlace) -> Self {
        self.place = place;
        self
    }

    const fn note(mut self, note: &'static str) -> Self {
        self.note = Some(note);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What redis-server 7.2.6 says in `COMMAND INFO`: name, arity, flags, range of keys, categories, tips, runs of keys.
    const REDIS: &str = include_str!("redis_7_2.txt");
    /// What valkey-server 9.1.2 says of the commands on expiring fields, which Redis 7.2 does not have.
    const VALKEY: &str = include_str!("valkey_9_1.txt");
    /// Pontoon's own.
    const NOT_REDIS: [&str; 1] = ["client|reads"];

    fn row(spec: &CommandSpec) -> std::string::String {
        let joined = |words: Vec<&str>, separator: &str| {
            if words.is_empty() { "-".to_owned() } else { words.join(separator) }
        };
        let runs = spec.keys.iter().map(|keys| {
            let place = match keys.place {
                KeyPlace::Run { first, last, step } => format!("{first}..{last}/{step}"),
                KeyPlace::Counted { number } => format!("{number}#"),
                _ => "?".to_owned(),
            };
            format!("{place}:{}", joined(keys.flags.names().collect(), ","))
        });
        let runs: Vec<_> = runs.collect();
        let categories: Vec<_> = spec.categories.names().map(|name| format!("@{name}")).collect();
        let (first, last, step) = spec.key_range();
        format!(
            "{} {} {} {first},{last},{step} {} {} {}",
            spec.name,
            spec.arity,
            joined(spec.flags.names().collect(), ","),
            categories.join(","),
            joined(spec.tips.to_vec(), ","),
            joined(runs.iter().map(|run| run.as_str()).collect(), ";"),
        )
    }

    #[test]
    fn every_row_is_what_redis_says() {
        let specs = COMMANDS.iter().flat_map(|spec| std::iter::once(*spec).chain(spec.subcommands));
        let mut checked = 0;
        for spec in specs.filter(|spec| !NOT_REDIS.contains(&spec.name)) {
            let expected = REDIS.lines().chain(VALKEY.lines()).find(|line| line.split(' ').next() == Some(spec.name));
            assert_eq!(Some(row(spec).as_str()), expected);
            checked += 1;
        }
        assert_eq!(checked, REDIS.lines().count() + VALKEY.lines().count());
    }

    #[test]
    fn every_row_is_documented_and_routed() {
        for spec in COMMANDS {
            for spec in std::iter::once(spec).chain(spec.subcommands) {
                assert!(!spec.summary.is_empty() && !spec.since.is_empty(), "{}", spec.name);
                let to_one_shard = matches!(spec.route, Route::OneShard | Route::Split(_));
                assert_eq!(to_one_shard, !spec.keys.is_empty(), "{}", spec.name);
            }
        }
    }
}
