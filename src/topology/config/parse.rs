//! From the text of `shards.toml` to [`ShardsFile`]; what only a file of Redis shards has is read in `redis`.
//!
//! The text is parsed once, into values that know their place. Every broken rule is collected with its place, and the
//! first by place is the error, so that an operator who reads the file from the top meets it first. Broken TOML goes
//! before broken rules: what follows it cannot be trusted.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::nearest::nearest;
use super::{
    CATALOG_NAME, ConfigError, FILE_BYTES_MAX, NODES_MAX, NodeConfig, Place, REPLICAS_MAX, SHARDS_MAX, ShardConfig,
    ShardsConfig, ShardsFile, WEIGHT_MAX, check_name,
};
use crate::topology::{HostPort, NodeName, ShardName};

const ROOT_KEYS: [&str; 6] = ["version", "base", "node", "shard", "catalog", "balance"];
const NODE_KEYS: [&str; 5] = ["name", "addr", "zone", "host", "weight"];
const SHARD_KEYS: [&str; 4] = ["name", "nodes", "weight", "kind"];
const CATALOG_KEYS: [&str; 1] = ["nodes"];
/// TOML's own integers end here.
const VERSION_MAX: u64 = i64::MAX as u64;

pub fn parse(text: &str, file: &str) -> Result<ShardsFile, ConfigError> {
    if text.len() > FILE_BYTES_MAX {
        return Err(ConfigError::too_large(file));
    }
    // A byte order mark is no part of the text; dropping it moves offsets, not places.
    let bare = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (document, syntax) = DeTable::parse_recoverable(bare);
    let syntax = syntax.iter().min_by_key(|e| e.span().map_or(0, |s| s.start));
    if let Some(error) = syntax {
        let place = Place::of(bare, error.span().map_or(0, |s| s.start));
        return Err(ConfigError::at(file, place, format!("not TOML: {}", error.message())));
    }
    let mut reader = Reader { text: bare, broken: Vec::new() };
    let config = reader.file(document.get_ref(), text);
    match (reader.broken.into_iter().min_by_key(|(offset, _)| *offset), config) {
        (Some((offset, rule)), _) => Err(ConfigError::at(file, Place::of(bare, offset), rule)),
        (None, Some(config)) => Ok(config),
        (None, None) => unreachable!("a value is missing only where a rule was broken"),
    }
}

/// A table of the document and how messages call it.
pub(super) struct Section<'a> {
    pub(super) what: &'static str,
    pub(super) known: &'static [&'static str],
    pub(super) start: usize,
    pub(super) table: &'a DeTable<'a>,
}

impl<'a> Section<'a> {
    pub(super) fn get(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table.get(key)
    }

    pub(super) fn unknown_keys(&self) -> impl Iterator<Item = &'a Spanned<Cow<'a, str>>> {
        let known = self.known;
        self.table.keys().filter(move |key| !known.contains(&&**key.get_ref()))
    }

    /// The known key that an unknown one most likely means.
    fn meant(&self, key: &str) -> &'static str {
        nearest(key, self.known.iter().copied()).expect("every section has a key")
    }

    /// Whether an unknown key, which is a broken rule already, explains why this key is missing.
    fn misspells(&self, missing: &str) -> bool {
        self.unknown_keys().any(|key| self.meant(key.get_ref()) == missing)
    }
}

pub(super) struct Reader<'t> {
    pub(super) text: &'t str,
    /// Broken rules and the offsets of their places.
    broken: Vec<(usize, String)>,
}

/// A text value and the offset of its place.
pub(super) struct Word<'a> {
    pub(super) text: &'a str,
    pub(super) start: usize,
}

impl Reader<'_> {
    fn file(&mut self, root: &DeTable<'_>, text: &str) -> Option<ShardsFile> {
        match self.redis_place(root) {
            Some(place) => self.redis_config(root, text, place).map(ShardsFile::Redis),
            None => self.config(root, text).map(ShardsFile::Cluster),
        }
    }

    fn config(&mut self, root: &DeTable<'_>, text: &str) -> Option<ShardsConfig> {
        let root = Section { what: "the file", known: &ROOT_KEYS, start: 0, table: root };
        self.unknown_keys(&root);
        let version = self.version(&root);
        let base = self.base(&root, version);
        let (nodes, names) = self.nodes(&root);
        let shards = self.shards(&root, &names);
        let catalog_nodes = self.catalog_nodes(&root, &names);
        let balance = self.balance(&root);
        Some(ShardsConfig { text: text.into(), version: version?, base, nodes, shards, catalog_nodes, balance })
    }

    pub(super) fn version(&mut self, root: &Section<'_>) -> Option<u64> {
        let Some(value) = root.get("version") else {
            if !root.misspells("version") {
                self.broken(0, "`version` is missing: start with `version = 1` and raise it with every edit");
            }
            return None;
        };
        self.integer(value, "version", 1..=VERSION_MAX)
    }

    pub(super) fn base(&mut self, root: &Section<'_>, version: Option<u64>) -> Option<u64> {
        let value = root.get("base")?;
        let base = self.integer(value, "base", 1..=VERSION_MAX)?;
        if version.is_some_and(|version| base >= version) {
            self.broken(value.span().start, "`base` is the version that the edit was made from: it is below `version`");
        }
        Some(base)
    }

    /// The valid nodes, and the names of all: a shard may name a node whose address is what is broken.
    fn nodes<'a>(&mut self, root: &Section<'a>) -> (Vec<NodeConfig>, Vec<&'a str>) {
        let (mut seen_names, mut seen_addresses) = (Seen::default(), Seen::default());
        let (mut nodes, mut names) = (Vec::new(), Vec::new());
        for section in self.sections(root, "node", &NODE_KEYS, NODES_MAX) {
            self.unknown_keys(&section);
            let name = self.name(&section, "node", &mut seen_names);
            let addr = self.address(&section, name, &mut seen_addresses);
            let zone = section.get("zone").and_then(|value| self.zone(value));
            let host = section.get("host").and_then(|value| self.host(value));
            let weight = self.node_weight(&section);
            names.extend(name);
            if let (Some(name), Some(addr)) = (name, addr) {
                nodes.push(NodeConfig { name: NodeName::new(name), addr, zone, host, weight });
            }
        }
        (nodes, names)
    }

    fn address(&mut self, section: &Section<'_>, name: Option<&str>, seen: &mut Seen) -> Option<HostPort> {
        let word = self.required_word(section, "addr")?;
        let addr = match HostPort::from_str(word.text) {
            Ok(addr) => addr,
            Err(reason) => {
                self.broken(word.start, format!("address `{}`: {reason}", shown(word.text)));
                return None;
            }
        };
        let owner = name.unwrap_or("?");
        if let Some((other, start)) = seen.insert(addr.to_string(), owner, word.start) {
            let line = self.line(start);
            self.broken(word.start, format!("address `{addr}` is that of node `{other}` already (line {line})"));
        }
        Some(addr)
    }

    fn zone(&mut self, value: &Spanned<DeValue<'_>>) -> Option<String> {
        let word = self.word(value, "zone")?;
        if let Err(rule) = check_name(word.text) {
            self.broken(word.start, format!("zone `{}`: {rule}", shown(word.text)));
        }
        Some(word.text.to_owned())
    }

    fn shards(&mut self, root: &Section<'_>, known: &[&str]) -> Vec<ShardConfig> {
        let mut names = Seen::default();
        let mut shards = Vec::new();
        let sections = self.sections(root, "shard", &SHARD_KEYS, SHARDS_MAX);
        for section in &sections {
            self.unknown_keys(section);
            let name = self.name(section, "shard", &mut names);
            let nodes = match section.get("nodes") {
                Some(value) => self.members(value, known),
                None => {
                    self.missing(section, "nodes");
                    Vec::new()
                }
            };
            let weight = self.weight(section);
            if let (Some(name), Some(weight)) = (name, weight) {
                shards.push(ShardConfig { name: ShardName::new(name), nodes, weight });
            }
        }
        let all_read = !sections.is_empty() && shards.len() == sections.len();
        if all_read && shards.iter().all(|s| s.weight == 0) {
            self.weightless(&sections);
        }
        shards
    }

    pub(super) fn weight(&mut self, section: &Section<'_>) -> Option<u32> {
        match section.get("weight") {
            Some(value) => self.integer(value, "weight", 0..=u64::from(WEIGHT_MAX)).map(|weight| weight as u32),
            None => Some(1),
        }
    }

    /// No shard has a weight.
    pub(super) fn weightless(&mut self, sections: &[Section<'_>]) {
        if let Some(value) = sections.iter().find_map(|section| section.get("weight")) {
            self.broken(value.span().start, "every shard has weight 0: no shard would own the slots");
        }
    }

    fn catalog_nodes(&mut self, root: &Section<'_>, known: &[&str]) -> Option<Vec<NodeName>> {
        let value = root.get("catalog")?;
        let Some(table) = value.get_ref().as_table() else {
            self.wrong_type(value, "catalog", "a table, `[catalog]`");
            return None;
        };
        let section = Section { what: "[catalog]", known: &CATALOG_KEYS, start: value.span().start, table };
        self.unknown_keys(&section);
        match section.get("nodes") {
            Some(nodes) => Some(self.members(nodes, known)),
            None => {
                self.missing(&section, "nodes");
                None
            }
        }
    }

    /// The tables of `[[node]]` or `[[shard]]`, of which there is at least one.
    pub(super) fn sections<'a>(
        &mut self,
        root: &Section<'a>,
        key: &'static str,
        known: &'static [&'static str],
        count_max: usize,
    ) -> Vec<Section<'a>> {
        let what = if key == "node" { "[[node]]" } else { "[[shard]]" };
        let Some(value) = root.get(key) else {
            if !root.misspells(key) {
                self.broken(0, format!("at least one {what} is needed"));
            }
            return Vec::new();
        };
        let Some(items) = value.get_ref().as_array() else {
            self.wrong_type(value, key, &format!("an array of tables, {what}"));
            return Vec::new();
        };
        if items.is_empty() {
            self.broken(value.span().start, format!("at least one {what} is needed"));
        }
        if let Some(item) = items.get(count_max) {
            self.broken(item.span().start, format!("there may be at most {count_max} {what}"));
        }
        let mut sections = Vec::new();
        for item in items.iter().take(count_max) {
            match item.get_ref().as_table() {
                Some(table) => sections.push(Section { what, known, start: item.span().start, table }),
                None => self.wrong_type(item, key, &format!("an array of tables, {what}")),
            }
        }
        sections
    }

    /// The nodes of a shard or of the catalog.
    fn members(&mut self, value: &Spanned<DeValue<'_>>, known: &[&str]) -> Vec<NodeName> {
        let Some(items) = value.get_ref().as_array() else {
            self.wrong_type(value, "nodes", "an array of node names");
            return Vec::new();
        };
        if items.is_empty() {
            self.broken(value.span().start, "`nodes` needs at least one node");
        }
        if let Some(item) = items.get(REPLICAS_MAX) {
            self.broken(item.span().start, format!("there may be at most {REPLICAS_MAX} `nodes`"));
        }
        let mut members = BTreeSet::new();
        let mut in_order = Vec::new();
        for item in items.iter().take(REPLICAS_MAX) {
            let Some(word) = self.word(item, "nodes") else { continue };
            if !known.contains(&word.text) {
                let hint = nearest(word.text, known.iter().copied()).map(|n| format!("; the nearest is `{n}`"));
                let hint = hint.unwrap_or_default();
                self.broken(word.start, format!("there is no node `{}`{hint}", shown(word.text)));
            } else if !members.insert(word.text.to_owned()) {
                self.broken(word.start, format!("node `{}` is in `nodes` twice", word.text));
            }
            in_order.push(NodeName::new(word.text));
        }
        in_order
    }

    pub(super) fn name<'a>(&mut self, section: &Section<'a>, what: &'static str, seen: &mut Seen) -> Option<&'a str> {
        let word = self.required_word(section, "name")?;
        if let Err(rule) = check_name(word.text) {
            self.broken(word.start, format!("{what} `{}`: {rule}", shown(word.text)));
        } else if what == "shard" && word.text == CATALOG_NAME {
            self.broken(word.start, "a shard may not be called `catalog`: the catalog's own group has that name");
        } else if let Some((_, start)) = seen.insert(word.text.to_owned(), "", word.start) {
            let line = self.line(start);
            self.broken(word.start, format!("there is a {what} `{}` already (line {line})", word.text));
        }
        Some(word.text)
    }

    pub(super) fn unknown_keys(&mut self, section: &Section<'_>) {
        for key in section.unknown_keys() {
            let (word, meant) = (shown(key.get_ref()), section.meant(key.get_ref()));
            let rule = format!("unknown key `{word}` in {}; the nearest known key is `{meant}`", section.what);
            self.broken(key.span().start, rule);
        }
    }

    pub(super) fn required_word<'a>(&mut self, section: &Section<'a>, key: &'static str) -> Option<Word<'a>> {
        match section.get(key) {
            Some(value) => self.word(value, key),
            None => {
                self.missing(section, key);
                None
            }
        }
    }

    pub(super) fn word<'a>(&mut self, value: &'a Spanned<DeValue<'a>>, key: &str) -> Option<Word<'a>> {
        match value.get_ref() {
            DeValue::String(text) => Some(Word { text, start: value.span().start }),
            _ => {
                let wanted = if key == "nodes" { "an array of node names" } else { "a string" };
                self.wrong_type(value, key, wanted);
                None
            }
        }
    }

    pub(super) fn integer(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        key: &str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Option<u64> {
        let DeValue::Integer(digits) = value.get_ref() else {
            self.wrong_type(value, key, "an integer");
            return None;
        };
        let number = i128::from_str_radix(digits.as_str(), digits.radix()).ok().and_then(|n| u64::try_from(n).ok());
        let number = number.filter(|n| range.contains(n));
        if number.is_none() {
            let rule = format!("`{key}` is an integer from {} to {}", range.start(), range.end());
            self.broken(value.span().start, rule);
        }
        number
    }

    pub(super) fn missing(&mut self, section: &Section<'_>, key: &str) {
        if !section.misspells(key) {
            self.broken(section.start, format!("{} has no `{key}`", section.what));
        }
    }

    pub(super) fn wrong_type(&mut self, value: &Spanned<DeValue<'_>>, key: &str, wanted: &str) {
        let rule = format!("`{key}` is {wanted}, not {}", kind(value.get_ref()));
        self.broken(value.span().start, rule);
    }

    pub(super) fn broken(&mut self, offset: usize, rule: impl Into<String>) {
        self.broken.push((offset, rule.into()));
    }

    pub(super) fn line(&self, offset: usize) -> usize {
        Place::of(self.text, offset).line
    }
}

/// What was defined before, by whom, and where.
#[derive(Default)]
pub(super) struct Seen(HashMap<String, (String, usize)>);

impl Seen {
    /// The earlier definition, if there is one.
    pub(super) fn insert(&mut self, key: String, owner: &str, start: usize) -> Option<(String, usize)> {
        match self.0.entry(key) {
            std::collections::hash_map::Entry::Occupied(entry) => Some(entry.get().clone()),
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert((owner.to_owned(), start));
                None
            }
        }
    }
}

const fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// A word of the file as a message may carry it: short and on one line.
pub(super) fn shown(word: &str) -> String {
    const CHARACTERS_MAX: usize = 64;
    let mut shown: String = word.chars().take(CHARACTERS_MAX).flat_map(char::escape_debug).collect();
    if word.chars().nth(CHARACTERS_MAX).is_some() {
        shown.push('…');
    }
    shown
}
