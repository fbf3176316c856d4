//! Files whose shards are groups of Redis or Valkey servers: who they are, and which slots each group has.
//!
//! Such a file needs no node and no catalog, and nobody agrees on it: each proxy follows its own copy. So what a file means
//! follows from the file alone: slots are divided by weight in the order of the file, whatever was before.
//!
//! Invariant: a group is named by its shard's name. Its servers may change; slots are re-mapped only where another
//! name gets them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::parse::{Reader, Section, Seen, shown};
use super::{Place, SHARDS_MAX};
use crate::topology::assignment::apportion;
use crate::topology::{HostPort, SLOT_COUNT, ShardName};

/// The most servers of a group, and the most sentinels.
pub const SERVERS_MAX: usize = 16;
const ROOT_KEYS: [&str; 6] = ["version", "base", "shard", "remap", "node", "catalog"];
const SHARD_KEYS: [&str; 10] = [
    "name",
    "kind",
    "servers",
    "weight",
    "username",
    "password",
    "sentinels",
    "sentinel_master",
    "sentinel_username",
    "sentinel_password",
];
const KIND: &str = "redis";

/// A valid file of Redis shards.
#[derive(Clone, Debug)]
pub struct RedisConfig {
    /// The file's text.
    pub text: Arc<str>,
    /// Raised with every edit; at least 1.
    pub version: u64,
    /// The version that the edit was made from, where the file says so; lower than `version`.
    pub base: Option<u64>,
    /// Whether the edit may give slots to other groups than before, whose servers do not have their keys.
    pub remap: bool,
    /// The shards in the order of the file; at least one, names unique, one weight not 0.
    pub shards: Vec<RedisShard>,
    /// Where the file says that its shards are of this kind.
    pub kind_place: Place,
}

/// A `[[shard]]` that is a group of Redis servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisShard {
    /// Its label, and what it is known by.
    pub name: ShardName,
    /// Its servers, one of which leads; at least one, each in one group only.
    pub servers: Vec<HostPort>,
    /// Its share of the slots.
    pub weight: u32,
    /// How to log in at the servers, if that is needed.
    pub login: Option<Login>,
    /// Who else says which server leads.
    pub sentinels: Option<Sentinels>,
}

/// The sentinels of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentinels {
    /// Where they are; at least one.
    pub addrs: Vec<HostPort>,
    /// What they call the group.
    pub master: String,
    /// How to log in at them, if that is needed.
    pub login: Option<Login>,
}

/// How to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// As whom; as the default user where it is not given.
    pub username: Option<String>,
    /// The password for that.
    pub password: Secret,
}

impl Login {
    /// The words of the request.
    pub fn words(&self) -> Vec<&str> {
        ["AUTH"].into_iter().chain(self.username.as_deref()).chain([self.password.reveal()]).collect()
    }
}

/// A text that is not to be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A run of slots of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotRun {
    /// The first slot.
    pub first: u16,
    /// The last slot, included.
    pub last: u16,
    /// The shard's place in the file.
    pub shard: usize,
}

/// Slots that another group gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remapped {
    /// Who had them.
    pub from: ShardName,
    /// Who gets them.
    pub to: ShardName,
    /// How many.
    pub slots: u32,
}

impl fmt::Display for Remapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.slots == 1 { "" } else { "s" };
        write!(f, "{} slot{plural} from {} to {}", self.slots, self.from, self.to)
    }
}

impl RedisConfig {
    /// Which shard has which slots: in order, without gaps.
    pub fn slots(&self) -> Vec<SlotRun> {
        let weights: Vec<u32> = self.shards.iter().map(|shard| shard.weight).collect();
        let (mut first, mut runs) = (0, Vec::new());
        for (shard, count) in apportion(SLOT_COUNT as u32, &weights).into_iter().enumerate() {
            if count > 0 {
                runs.push(SlotRun { first: first as u16, last: (first + count - 1) as u16, shard });
                first += count;
            }
        }
        runs
    }

    /// What `later` gives to other groups than this file does, most first. Empty: each slot stays where it is.
    pub fn remapped_by(&self, later: &Self) -> Vec<Remapped> {
        let (mine, theirs) = (self.slots(), later.slots());
        let mut counts: BTreeMap<(&ShardName, &ShardName), u32> = BTreeMap::new();
        for before in &mine {
            for after in &theirs {
                let (first, last) = (before.first.max(after.first), before.last.min(after.last));
                let (from, to) = (&self.shards[before.shard].name, &later.shards[after.shard].name);
                if first <= last && from != to {
                    *counts.entry((from, to)).or_default() += u32::from(last - first) + 1;
                }
            }
        }
        let each = counts.into_iter().map(|((from, to), slots)| Remapped { from: from.clone(), to: to.clone(), slots });
        let mut remapped: Vec<_> = each.collect();
        remapped.sort_by_key(|remapped| std::cmp::Reverse(remapped.slots));
        remapped
    }

    /// Whether both files mean the same; versions, comments and the permission to re-map do not count.
    pub fn same_meaning(&self, other: &Self) -> bool {
        self.shards == other.shards
    }

    /// Why this file may not follow `current`, if it may not; one that means the same may. With it, what it re-maps.
    ///
    /// # Errors
    /// The reason, for people.
    pub fn may_follow(&self, current: &Self) -> Result<Vec<Remapped>, String> {
        if self.version < current.version {
            return Err(format!("version {} is older than version {}, which is in use", self.version, current.version));
        }
        if self.same_meaning(current) {
            return Ok(Vec::new());
        }
        if self.version == current.version {
            return Err(format!("version {} is in use with another meaning: raise the version", self.version));
        }
        if let Some(base) = self.base.filter(|base| *base != current.version) {
            return Err(format!("it was made from version {base}, and version {} is in use", current.version));
        }
        let remapped = current.remapped_by(self);
        if remapped.is_empty() || self.remap {
            return Ok(remapped);
        }
        Err(format!(
            "it would re-map {}; their keys would not be found there, since no data is moved: write `remap = true` if \
             that is what you want",
            listed(&remapped)
        ))
    }
}

/// What is re-mapped, on one line.
pub fn listed(remapped: &[Remapped]) -> String {
    const SHOWN_MAX: usize = 8;
    let mut shown: Vec<String> = remapped.iter().take(SHOWN_MAX).map(ToString::to_string).collect();
    if remapped.len() > SHOWN_MAX {
        let rest: u32 = remapped[SHOWN_MAX..].iter().map(|remapped| remapped.slots).sum();
        shown.push(format!("{rest} slots more"));
    }
    shown.join(", ")
}

impl Reader<'_> {
    /// Where the file says that its shards are groups of Redis servers; none where it does not.
    pub(super) fn redis_place(&mut self, root: &DeTable<'_>) -> Option<Place> {
        let items = root.get("shard").and_then(|value| value.get_ref().as_array())?;
        let (mut redis_start, mut first_is_redis) = (None, None);
        for item in items.iter() {
            let Some(table) = item.get_ref().as_table() else { continue };
            let kind = table.get("kind");
            if let Some(value) = kind.filter(|value| value.get_ref().as_str() != Some(KIND)) {
                let rule = "`kind` is \"redis\", or left out for a shard on Pontoon's own nodes";
                self.broken(value.span().start, rule);
            }
            let is_redis = kind.is_some();
            if *first_is_redis.get_or_insert(is_redis) != is_redis {
                let start = kind.map_or(item.span().start, |kind| kind.span().start);
                let (this, others) =
                    if is_redis { ("of Redis servers", "on nodes") } else { ("on nodes", "of Redis servers") };
                let rule = format!(
                    "the shards of a file are of one kind: this one is {this}, the first of the file is {others}"
                );
                self.broken(start, rule);
            }
            redis_start = redis_start.or(kind.map(|kind| kind.span().start));
        }
        first_is_redis.filter(|is_redis| *is_redis)?;
        redis_start.map(|start| Place::of(self.text, start))
    }

    pub(super) fn redis_config(&mut self, root: &DeTable<'_>, text: &str, kind_place: Place) -> Option<RedisConfig> {
        let root = Section { what: "the file", known: &ROOT_KEYS, start: 0, table: root };
        self.unknown_keys(&root);
        for (key, what) in [("node", "[[node]]"), ("catalog", "[catalog]")] {
            if let Some(value) = root.get(key) {
                let rule = format!("a file of Redis shards has no {what}: its servers are in each shard's `servers`");
                self.broken(value.span().start, rule);
            }
        }
        let version = self.version(&root);
        let base = self.base(&root, version);
        let remap = root.get("remap").and_then(|value| self.boolean(value, "remap")).unwrap_or(false);
        let shards = self.redis_shards(&root);
        Some(RedisConfig { text: text.into(), version: version?, base, remap, shards, kind_place })
    }

    fn boolean(&mut self, value: &Spanned<DeValue<'_>>, key: &str) -> Option<bool> {
        let boolean = value.get_ref().as_bool();
        if boolean.is_none() {
            self.wrong_type(value, key, "true or false");
        }
        boolean
    }

    fn redis_shards(&mut self, root: &Section<'_>) -> Vec<RedisShard> {
        let (mut names, mut addresses, mut shards) = (Seen::default(), Seen::default(), Vec::new());
        let sections = self.sections(root, "shard", &SHARD_KEYS, SHARDS_MAX);
        for section in &sections {
            self.unknown_keys(section);
            let name = self.name(section, "shard", &mut names);
            let servers = match section.get("servers") {
                Some(value) => self.servers(value, "servers", name.unwrap_or("?"), &mut addresses),
                None => {
                    self.missing(section, "servers");
                    Vec::new()
                }
            };
            let weight = self.weight(section);
            let login = self.login(section, "username", "password");
            let sentinels = self.sentinels(section, name.unwrap_or("?"));
            if let (Some(name), Some(weight)) = (name, weight) {
                let name = ShardName::new(name);
                shards.push(RedisShard { name, servers, weight, login, sentinels });
            }
        }
        let all_read = !sections.is_empty() && shards.len() == sections.len();
        if all_read && shards.iter().all(|shard| shard.weight == 0) {
            self.weightless(&sections);
        }
        shards
    }

    fn servers(&mut self, value: &Spanned<DeValue<'_>>, key: &str, owner: &str, seen: &mut Seen) -> Vec<HostPort> {
        let Some(items) = value.get_ref().as_array() else {
            self.wrong_type(value, key, "an array of addresses, `[\"host:port\", ...]`");
            return Vec::new();
        };
        if items.is_empty() {
            self.broken(value.span().start, format!("`{key}` needs at least one address"));
        }
        if let Some(item) = items.get(SERVERS_MAX) {
            self.broken(item.span().start, format!("there may be at most {SERVERS_MAX} `{key}`"));
        }
        let mut addresses = Vec::new();
        for item in items.iter().take(SERVERS_MAX) {
            let Some(word) = self.word(item, key) else { continue };
            match HostPort::from_str(word.text) {
                Ok(address) => {
                    if let Some((other, start)) = seen.insert(address.to_string(), owner, word.start) {
                        let line = self.line(start);
                        let rule =
                            format!("address `{address}` is in `{key}` of shard `{other}` already (line {line})");
                        self.broken(word.start, rule);
                    }
                    addresses.push(address);
                }
                Err(reason) => self.broken(word.start, format!("address `{}`: {reason}", shown(word.text))),
            }
        }
        addresses
    }

    fn login(&mut self, section: &Section<'_>, user_key: &str, password_key: &str) -> Option<Login> {
        let mut text = |key| section.get(key).and_then(|value| self.word(value, key)).map(|word| word.text.to_owned());
        let (username, password) = (text(user_key), text(password_key));
        if let (Some(value), None) = (section.get(user_key), section.get(password_key)) {
            self.broken(value.span().start, format!("a `{user_key}` needs a `{password_key}`"));
        }
        password.map(|password| Login { username, password: Secret(password) })
    }

    fn sentinels(&mut self, section: &Section<'_>, shard: &str) -> Option<Sentinels> {
        let named = section.get("sentinel_master");
        let Some(value) = section.get("sentinels") else {
            if let Some(value) = named {
                self.broken(value.span().start, "`sentinel_master` is what `sentinels` call the group: there are none");
            }
            for key in ["sentinel_username", "sentinel_password"] {
                if let Some(value) = section.get(key) {
                    self.broken(value.span().start, format!("`{key}` is for `sentinels`: there are none"));
                }
            }
            return None;
        };
        let login = self.login(section, "sentinel_username", "sentinel_password");
        // One sentinel watches many groups.
        let addrs = self.servers(value, "sentinels", shard, &mut Seen::default());
        let master = named.and_then(|value| self.word(value, "sentinel_master")).map(|word| word.text.to_owned());
        Some(Sentinels { addrs, master: master.unwrap_or_else(|| shard.to_owned()), login })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ShardsConfig, ShardsFile};
    use super::*;

    fn shard(name: &str, weight: u32) -> String {
        let port = 7000 + u32::from(name.as_bytes()[0]);
        format!("[[shard]]\nname = \"{name}\"\nkind = \"redis\"\nservers = [\"h:{port}\"]\nweight = {weight}\n")
    }

    fn file(head: &str, shards: &[(&str, u32)]) -> RedisConfig {
        let shards: String = shards.iter().map(|(name, weight)| shard(name, *weight)).collect();
        redis(&format!("{head}\n{shards}"))
    }

    fn redis(text: &str) -> RedisConfig {
        match ShardsFile::parse(text, "f").unwrap() {
            ShardsFile::Redis(config) => config,
            ShardsFile::Cluster(_) => panic!("no file of Redis shards:\n{text}"),
        }
    }

    fn error(text: &str) -> String {
        ShardsFile::parse(text, "f").map_or_else(|error| error.to_string(), |_| "valid".to_owned())
    }

    #[test]
    fn a_full_file_is_read_with_all_its_values() {
        let config = redis(
            "version = 3\nbase = 2\nremap = true\n[[shard]]\nname = \"r1\"\nkind = \"redis\"\n\
             servers = [\"127.0.0.1:7101\", \"[::1]:7102\"]\nweight = 3\nusername = \"u\"\npassword = \"top secret\"\n\
             sentinels = [\"s1:26379\", \"s2:26379\"]\nsentinel_master = \"mymaster\"\n\
             sentinel_username = \"v\"\nsentinel_password = \"also secret\"\n\
             [[shard]]\nname = \"r2\"\nkind = \"redis\"\nservers = [\"h:1\"]\nsentinels = [\"s1:26379\"]\n",
        );
        assert_eq!((config.version, config.base, config.remap), (3, Some(2), true));
        let (first, second) = (&config.shards[0], &config.shards[1]);
        assert_eq!((first.servers.len(), first.weight, second.weight), (2, 3, 1));
        assert_eq!(first.sentinels.as_ref().unwrap().master, "mymaster");
        assert_eq!(second.sentinels.as_ref().unwrap().master, "r2");
        let of = |login: &Option<Login>| login.as_ref().map(|login| login.words().join(" "));
        assert_eq!(of(&first.login).unwrap(), "AUTH u top secret");
        assert_eq!(of(&first.sentinels.as_ref().unwrap().login).unwrap(), "AUTH v also secret");
        assert!(second.login.is_none() && second.sentinels.as_ref().unwrap().login.is_none());
        assert!(!format!("{first:?}").contains(" secret"));
        let runs = config.slots();
        assert_eq!(runs[0], SlotRun { first: 0, last: 12287, shard: 0 });
        assert_eq!(runs[1], SlotRun { first: 12288, last: 16383, shard: 1 });
    }

    #[test]
    fn broken_files_get_their_error_at_its_place() {
        let good = shard("a", 1);
        let node = "[[node]]\nname = \"n\"\naddr = \"h:1\"\n";
        let on_nodes = "[[shard]]\nname = \"z\"\nnodes = [\"n\"]\n";
        for (text, expected) in [
            (
                format!("version = 1\n{good}{on_nodes}"),
                "7:1: the shards of a file are of one kind: this one is on nodes, the first of the file is of Redis servers",
            ),
            (
                format!("version = 1\n{node}{on_nodes}{good}"),
                "10:8: the shards of a file are of one kind: this one is of Redis servers, the first of the file is on nodes",
            ),
            (
                format!("version = 1\n{good}{node}"),
                "7:1: a file of Redis shards has no [[node]]: its servers are in each shard's `servers`",
            ),
            (
                good.replace("\"redis\"", "\"memcached\""),
                "1:1: `version` is missing: start with `version = 1` and raise it with every edit",
            ),
            (
                format!("version = 1\n{}", good.replace("\"redis\"", "\"memcached\"")),
                "4:8: `kind` is \"redis\", or left out for a shard on Pontoon's own nodes",
            ),
            (format!("version = 1\n{good}").replace("servers", "nodes"), "2:1: [[shard]] has no `servers`"),
            (
                format!("version = 1\n{good}{}", good.replace("\"a\"", "\"b\"")),
                "10:12: address `h:7097` is in `servers` of shard `a` already (line 5)",
            ),
            (format!("version = 1\nremap = 1\n{good}"), "2:9: `remap` is true or false, not an integer"),
            (format!("version = 1\n{good}username = \"u\"\n"), "7:12: a `username` needs a `password`"),
            (
                format!("version = 1\n{good}sentinel_master = \"m\"\n"),
                "7:19: `sentinel_master` is what `sentinels` call the group: there are none",
            ),
            (
                format!("version = 1\n{good}sentinel_password = \"p\"\n"),
                "7:21: `sentinel_password` is for `sentinels`: there are none",
            ),
            (
                format!("version = 1\n{good}sentinels = [\"s:1\"]\nsentinel_username = \"u\"\n"),
                "8:21: a `sentinel_username` needs a `sentinel_password`",
            ),
            (format!("version = 1\n{good}sentinels = []\n"), "7:13: `sentinels` needs at least one address"),
            (format!("version = 1\n{}", shard("a", 0)), "6:10: every shard has weight 0: no shard would own the slots"),
        ] {
            assert_eq!(error(&text), format!("f:{expected}"), "{text}");
        }
    }

    #[test]
    fn who_needs_nodes_is_told_that_there_are_none() {
        let told = ShardsConfig::parse(&format!("version = 1\n{}", shard("a", 1)), "f").unwrap_err().to_string();
        assert!(told.starts_with("f:4:8: the shards of this file are groups of Redis servers"), "{told}");
    }

    #[test]
    fn an_edit_that_re_maps_slots_says_so_and_needs_leave() {
        let two = file("version = 1", &[("a", 1), ("b", 1)]);
        let three = |head| file(head, &[("a", 1), ("b", 1), ("c", 1)]);
        let refused = three("version = 2").may_follow(&two).unwrap_err();
        assert!(refused.starts_with("it would re-map 5461 slots from b to c, 2730 slots from a to b;"), "{refused}");
        let remapped = three("version = 2\nremap = true").may_follow(&two).unwrap();
        assert_eq!(listed(&remapped), "5461 slots from b to c, 2730 slots from a to b");
        for (head, reason) in [
            ("version = 1\nremap = true", "version 1 is in use with another meaning: raise the version"),
            ("version = 4\nbase = 3\nremap = true", "it was made from version 3, and version 1 is in use"),
        ] {
            assert_eq!(three(head).may_follow(&two).unwrap_err(), reason);
        }
        assert!(two.may_follow(&file("version = 2", &[("a", 1), ("b", 1)])).unwrap_err().contains("is older"));
        assert_eq!(file("version = 2", &[("a", 2), ("b", 2)]).may_follow(&two), Ok(vec![]), "the same shares");
    }

    #[test]
    fn servers_come_and_go_without_leave() {
        let text = "version = 1\n".to_owned() + &shard("a", 1) + &shard("b", 1);
        let more = text.replace("version = 1", "version = 2").replace("\"h:7097\"", "\"h:1\", \"h:2\"");
        assert_eq!(redis(&more).may_follow(&redis(&text)), Ok(vec![]));
    }
}
