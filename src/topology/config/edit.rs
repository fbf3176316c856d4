//! Edits of a `shards.toml` that leave comments, order and form of everything else as they are.
//!
//! Invariants: a text comes out only when it is valid; it says what the old one said, but for the edit and the version. Comments
//! that stand directly above a removed table go with it; those that an empty line parts from it stay.

use toml_edit::{Array, ArrayOfTables, Decor, DocumentMut, Item, Table, Value};

use super::{CATALOG_NAME, ConfigError, NodeConfig, ShardConfig, ShardsConfig};
use crate::topology::{HostPort, NodeName, ShardName};

/// What is to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// A shard more.
    AddShard(ShardConfig),
    /// A shard less: its slots go to the others.
    RemoveShard(ShardName),
    /// Another share of the slots.
    SetWeight(ShardName, u32),
    /// Other replicas of a shard; of the catalog, with the name `catalog`.
    SetNodes(ShardName, Vec<NodeName>),
    /// A node more; no shard uses it by that.
    AddNode(NodeConfig),
    /// A node less. Each replica on it goes to the node that has the fewest, in a zone of its own if there is one.
    RemoveNode {
        /// The node.
        name: NodeName,
        /// Whether a shard for whose replica no node is free may have one less.
        shrink: bool,
    },
    /// One node in the place of another, wherever that is named.
    ReplaceNode {
        /// The node that goes.
        old: NodeName,
        /// The node that comes.
        new: NodeName,
        /// Where it is reached, if the file does not have it yet.
        addr: Option<HostPort>,
        /// Its zone, if the file does not have it yet; else that of the old one.
        zone: Option<String>,
    },
}

/// Why a file cannot be edited in this way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// What is to be changed is not there.
    #[error("there is no {0} `{1}` in the file")]
    Missing(&'static str, String),
    /// What is to be added is there.
    #[error("there is a {0} `{1}` in the file already")]
    Exists(&'static str, String),
    /// The node that comes is new, and nobody said where it is.
    #[error("node `{0}` is not in the file: give its address, too")]
    NoAddress(NodeName),
    /// The node that comes has its place in the file, with another address.
    #[error("node `{0}` is in the file already, with address {1}")]
    OtherAddress(NodeName, HostPort),
    /// A replica has nowhere to go.
    #[error("{0}: no other node is free for its replica on `{1}`; add a node first, or let it have one replica less")]
    NoNodeFree(String, NodeName),
    /// The file has its tables in a form that is not edited in place.
    #[error("`{0}` is not written as tables of its own ([[{0}]]): edit the file by hand")]
    Form(&'static str),
    /// What comes out breaks a rule.
    #[error("the edited file would not be valid: {0}")]
    Invalid(ConfigError),
}

/// Makes an edit and gives the file this version; where the file names its `base`, that becomes `base`.
///
/// # Errors
/// [`EditError`]; the file is as good as before.
pub fn edited(file: &ShardsConfig, edit: &Edit, version: u64, base: u64) -> Result<String, EditError> {
    let text = file.text.strip_prefix('\u{feff}').unwrap_or(&file.text);
    let parsed = text.parse::<DocumentMut>();
    let mut document = Document(parsed.map_err(|error| EditError::Invalid(reason(error.message())))?);
    document.make(file, edit)?;
    document.set_number("version", version);
    if file.base.is_some() {
        document.set_number("base", base);
    }
    let mut out = document.0.to_string();
    if text.contains("\r\n") {
        out = out.replace("\r\n", "\n").replace('\n', "\r\n");
    }
    if text.len() < file.text.len() {
        out.insert(0, '\u{feff}');
    }
    ShardsConfig::parse(&out, "the edited file").map_err(EditError::Invalid)?;
    Ok(out)
}

fn reason(message: &str) -> ConfigError {
    ConfigError::unreadable("the file", message)
}

struct Document(DocumentMut);

impl Document {
    fn make(&mut self, file: &ShardsConfig, edit: &Edit) -> Result<(), EditError> {
        match edit {
            Edit::AddShard(shard) => {
                absent("shard", shard.name.as_str(), file.shard(&shard.name).is_some())?;
                self.add_shard(shard)
            }
            Edit::RemoveShard(name) => self.remove("shard", name.as_str()),
            Edit::SetWeight(name, weight) => {
                set(self.table("shard", name.as_str())?, "weight", i64::from(*weight).into());
                Ok(())
            }
            Edit::SetNodes(name, nodes) => self.set_nodes(name.as_str(), nodes),
            Edit::AddNode(node) => {
                absent("node", node.name.as_str(), file.node(&node.name).is_some())?;
                self.add_node(node)
            }
            Edit::RemoveNode { name, shrink } => {
                for (shard, nodes) in moved_off(file, name, *shrink)? {
                    self.set_nodes(shard.as_str(), &nodes)?;
                }
                self.remove("node", name.as_str())
            }
            Edit::ReplaceNode { old, new, addr, zone } => {
                self.replace(file, old, new, addr.as_ref(), zone.as_ref())?;
                for (shard, nodes) in lists(file) {
                    if nodes.contains(old) {
                        let mut nodes: Vec<_> = nodes.iter().filter(|node| *node != new).cloned().collect();
                        nodes.iter_mut().filter(|node| *node == old).for_each(|node| *node = new.clone());
                        self.set_nodes(shard.as_str(), &nodes)?;
                    }
                }
                Ok(())
            }
        }
    }

    fn set_number(&mut self, key: &str, number: u64) {
        set(self.0.as_table_mut(), key, i64::try_from(number).unwrap_or(i64::MAX).into());
    }

    fn tables(&mut self, kind: &'static str) -> Result<&mut ArrayOfTables, EditError> {
        let tables = self.0.get_mut(kind).and_then(Item::as_array_of_tables_mut);
        tables.ok_or(EditError::Form(kind))
    }

    fn table(&mut self, kind: &'static str, name: &str) -> Result<&mut Table, EditError> {
        let named = |table: &&mut Table| is_named(table, name);
        let table = self.tables(kind)?.iter_mut().find(named);
        table.ok_or_else(|| EditError::Missing(kind, name.to_owned()))
    }

    fn add_shard(&mut self, shard: &ShardConfig) -> Result<(), EditError> {
        let tables = self.tables("shard")?;
        let mut table = Table::new();
        set(&mut table, "name", shard.name.as_str().into());
        set(&mut table, "nodes", Value::Array(shard.nodes.iter().map(NodeName::as_str).collect()));
        if shard.weight != 1 {
            set(&mut table, "weight", i64::from(shard.weight).into());
        }
        tables.push(table);
        Ok(())
    }

    fn add_node(&mut self, node: &NodeConfig) -> Result<(), EditError> {
        let tables = self.tables("node")?;
        let mut table = Table::new();
        set(&mut table, "name", node.name.as_str().into());
        set(&mut table, "addr", node.addr.to_string().into());
        if let Some(zone) = &node.zone {
            set(&mut table, "zone", zone.as_str().into());
        }
        if let Some(host) = &node.host {
            set(&mut table, "host", host.as_str().into());
        }
        if node.weight != 1 {
            set(&mut table, "weight", i64::from(node.weight).into());
        }
        tables.push(table);
        Ok(())
    }

    fn set_nodes(&mut self, shard: &str, nodes: &[NodeName]) -> Result<(), EditError> {
        let is_catalog = shard == CATALOG_NAME;
        if is_catalog && !self.0.contains_key(CATALOG_NAME) {
            self.0.insert(CATALOG_NAME, Item::Table(Table::new()));
        }
        let table: &mut dyn toml_edit::TableLike = if is_catalog {
            let catalog = self.0.get_mut(CATALOG_NAME).and_then(Item::as_table_like_mut);
            catalog.ok_or(EditError::Form(CATALOG_NAME))?
        } else {
            self.table("shard", shard)?
        };
        match table.get_mut("nodes").and_then(Item::as_array_mut) {
            Some(array) => set_members(array, nodes),
            None => {
                let array = nodes.iter().map(NodeName::as_str).collect();
                table.insert("nodes", Item::Value(Value::Array(array)));
            }
        }
        Ok(())
    }

    fn replace(
        &mut self,
        file: &ShardsConfig,
        old: &NodeName,
        new: &NodeName,
        addr: Option<&HostPort>,
        zone: Option<&String>,
    ) -> Result<(), EditError> {
        if let Some(there) = file.node(new) {
            if let Some(other) = addr.filter(|addr| **addr != there.addr) {
                return Err(EditError::OtherAddress(new.clone(), other.clone()));
            }
            return self.remove("node", old.as_str());
        }
        let table = self.table("node", old.as_str())?;
        let addr = addr.ok_or_else(|| EditError::NoAddress(new.clone()))?;
        set(table, "name", new.as_str().into());
        set(table, "addr", addr.to_string().into());
        // It runs elsewhere.
        table.remove("host");
        if let Some(zone) = zone {
            set(table, "zone", zone.as_str().into());
        }
        Ok(())
    }

    /// Removes a table; what stands above it and belongs to more than it goes to the table that follows.
    fn remove(&mut self, kind: &'static str, name: &str) -> Result<(), EditError> {
        let tables = self.tables(kind)?;
        let index = tables.iter().position(|table| is_named(table, name));
        let index = index.ok_or_else(|| EditError::Missing(kind, name.to_owned()))?;
        let removed = tables.remove(index);
        let above = removed.decor().prefix().and_then(|prefix| prefix.as_str()).unwrap_or_default();
        // The comment that ends with the header is the table's own; an empty line parts it from the rest.
        let kept = above.rfind("\n\n").or_else(|| above.rfind("\n\r\n")).map_or("", |end| &above[..=end]);
        if !kept.trim().is_empty() {
            self.prepend_after(removed.position(), kept);
        }
        Ok(())
    }

    /// Puts a text above the first table that stands behind this position.
    fn prepend_after(&mut self, position: Option<isize>, text: &str) {
        let mut tables: Vec<&mut Table> = Vec::new();
        for (_, item) in self.0.iter_mut() {
            match item {
                Item::Table(table) => tables.push(table),
                Item::ArrayOfTables(array) => tables.extend(array.iter_mut()),
                Item::None | Item::Value(_) => {}
            }
        }
        let next = tables.into_iter().filter(|table| table.position() > position).min_by_key(|table| table.position());
        match next {
            Some(table) => {
                let joined = joined(text, table.decor());
                table.decor_mut().set_prefix(joined);
            }
            None => {
                let trailing = format!("{text}{}", self.0.trailing().as_str().unwrap_or_default());
                self.0.set_trailing(trailing);
            }
        }
    }
}

fn joined(text: &str, decor: &Decor) -> String {
    format!("{text}{}", decor.prefix().and_then(|prefix| prefix.as_str()).unwrap_or("\n"))
}

fn absent(kind: &'static str, name: &str, is_there: bool) -> Result<(), EditError> {
    if is_there { Err(EditError::Exists(kind, name.to_owned())) } else { Ok(()) }
}

fn is_named(table: &Table, name: &str) -> bool {
    table.get("name").and_then(Item::as_str) == Some(name)
}

/// Sets a value and keeps the spaces and the comment around the one that was there.
fn set(table: &mut Table, key: &str, mut value: Value) {
    match table.get_mut(key).and_then(Item::as_value_mut) {
        Some(there) => {
            *value.decor_mut() = there.decor().clone();
            *there = value;
        }
        None => {
            table.insert(key, Item::Value(value));
        }
    }
}

/// Makes these the elements: those that stay keep what stands around them, a new one in the place of one that goes takes that over.
fn set_members(array: &mut Array, nodes: &[NodeName]) {
    let old: Vec<Value> = array.iter().cloned().collect();
    array.clear();
    for (place, node) in nodes.iter().enumerate() {
        let mut value = Value::from(node.as_str());
        let same = old.iter().position(|value| value.as_str() == Some(node.as_str()));
        let model = match (same, old.get(place)) {
            // The first one has no space before it, all others have.
            (Some(found), _) if (found == 0) == (place == 0) => old.get(found),
            (_, Some(there)) => Some(there),
            (_, None) => old.last().filter(|_| old.len() > 1),
        };
        match model {
            Some(model) => *value.decor_mut() = model.decor().clone(),
            None => *value.decor_mut() = Decor::new(if place == 0 { "" } else { " " }, ""),
        }
        array.push_formatted(value);
    }
}

/// All lists of nodes in the file, the catalog's last.
fn lists(file: &ShardsConfig) -> Vec<(ShardName, &Vec<NodeName>)> {
    let shards = file.shards.iter().map(|shard| (shard.name.clone(), &shard.nodes));
    let catalog = file.catalog_nodes.iter().map(|nodes| (ShardName::new(CATALOG_NAME), nodes));
    shards.chain(catalog).collect()
}

/// The lists that name a node, with another in its place.
fn moved_off(file: &ShardsConfig, name: &NodeName, shrink: bool) -> Result<Vec<(ShardName, Vec<NodeName>)>, EditError> {
    let mut now: Vec<(ShardName, Vec<NodeName>)> =
        lists(file).into_iter().map(|(shard, nodes)| (shard, nodes.clone())).collect();
    let mut changed = Vec::new();
    for i in 0..now.len() {
        let (shard, nodes) = now[i].clone();
        let Some(place) = nodes.iter().position(|node| node == name) else { continue };
        let zone = |node: &NodeName| file.node(node).and_then(|config| config.zone.as_ref());
        let crowded = |node: &NodeName| {
            zone(node).is_some() && nodes.iter().any(|other| other != name && zone(other) == zone(node))
        };
        let held = |node: &NodeName| now.iter().filter(|(_, nodes)| nodes.contains(node)).count();
        let free = file.nodes.iter().map(|config| &config.name).filter(|node| !nodes.contains(node));
        let mut nodes = nodes.clone();
        match free.min_by_key(|node| (crowded(node), held(node))) {
            Some(next) => nodes[place] = next.clone(),
            None if shrink && nodes.len() > 1 => drop(nodes.remove(place)),
            None => {
                let what =
                    if shard.as_str() == CATALOG_NAME { "the catalog".into() } else { format!("shard `{shard}`") };
                return Err(EditError::NoNodeFree(what, name.clone()));
            }
        }
        now[i].1 = nodes.clone();
        changed.push((shard, nodes));
    }
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"# A cluster.

version = 7 # raise me
# base = 6

# The nodes:

# the old machine
[[node]]
name = "n1"
addr = "h1:1" # host:port
zone = "a"

[[node]]
name   = 'n2'
addr = "h2:1"
zone = "b"
[[node]]
name = "n3"
addr = "h3:1"

# Shards
[[shard]]
name = "a"
nodes = ["n1", "n2"] # two
weight=3

[[shard]]
name = "b"
nodes = [
  "n2", # first
  "n3",
]

# The end.
"#;

    fn make(text: &str, edit: &Edit) -> Result<String, String> {
        let file = ShardsConfig::parse(text, "f").unwrap();
        let made = edited(&file, edit, file.version + 1, file.version).map_err(|error| error.to_string())?;
        assert!(made.contains("version = 8"), "{made}");
        Ok(made)
    }

    /// The edited file, compared with the old one where some parts of its text are replaced.
    fn expect(edit: &Edit, replaced: &[(&str, &str)]) {
        let mut expected = FILE.replace("version = 7", "version = 8");
        for (old, new) in replaced {
            assert!(expected.contains(old), "{old}");
            expected = expected.replace(old, new);
        }
        assert_eq!(make(FILE, edit).unwrap(), expected);
    }

    fn node(name: &str) -> NodeName {
        NodeName::new(name)
    }

    fn shard(name: &str) -> ShardName {
        ShardName::new(name)
    }

    #[test]
    fn shards_come_and_go() {
        let c = ShardConfig { name: shard("c"), nodes: vec![node("n1"), node("n3")], weight: 1 };
        let text = "[[shard]]\nname = \"c\"\nnodes = [\"n1\", \"n3\"]\n";
        expect(&Edit::AddShard(c.clone()), &[("]\n\n# The end.", &format!("]\n\n{text}\n# The end."))]);
        let heavy = ShardConfig { weight: 5, ..c };
        expect(&Edit::AddShard(heavy), &[("]\n\n# The end.", &format!("]\n\n{text}weight = 5\n\n# The end."))]);
        let a = "# Shards\n[[shard]]\nname = \"a\"\nnodes = [\"n1\", \"n2\"] # two\nweight=3\n\n";
        expect(&Edit::RemoveShard(shard("a")), &[(a, "")]);
        let b = "\n[[shard]]\nname = \"b\"\nnodes = [\n  \"n2\", # first\n  \"n3\",\n]\n";
        expect(&Edit::RemoveShard(shard("b")), &[(b, "")]);
    }

    #[test]
    fn values_keep_what_stands_around_them() {
        expect(&Edit::SetWeight(shard("a"), 0), &[("weight=3", "weight=0")]);
        expect(&Edit::SetWeight(shard("b"), 2), &[("]\n\n# The end", "]\nweight = 2\n\n# The end")]);
        expect(
            &Edit::SetNodes(shard("a"), vec![node("n2"), node("n3"), node("n1")]),
            &[("[\"n1\", \"n2\"]", "[\"n2\", \"n3\", \"n1\"]")],
        );
        expect(&Edit::SetNodes(shard("b"), vec![node("n1"), node("n3")]), &[("\"n2\", # first", "\"n1\", # first")]);
        let catalog = "]\n\n[catalog]\nnodes = [\"n3\"]\n\n# The end.";
        expect(&Edit::SetNodes(shard("catalog"), vec![node("n3")]), &[("]\n\n# The end.", catalog)]);
    }

    #[test]
    fn nodes_come_and_go() {
        let n4 = NodeConfig {
            name: node("n4"),
            addr: "h4:1".parse().unwrap(),
            zone: Some("c".to_owned()),
            host: None,
            weight: 1,
        };
        let text = "addr = \"h3:1\"\n\n[[node]]\nname = \"n4\"\naddr = \"h4:1\"\nzone = \"c\"\n";
        expect(&Edit::AddNode(n4), &[("addr = \"h3:1\"\n", text)]);
        // What belongs to all nodes stays above the first, what belongs to the one goes.
        let n1 = "# the old machine\n[[node]]\nname = \"n1\"\naddr = \"h1:1\" # host:port\nzone = \"a\"\n\n";
        let replaced = Edit::ReplaceNode { old: node("n1"), new: node("n3"), addr: None, zone: None };
        expect(&replaced, &[(n1, ""), ("[\"n1\", \"n2\"]", "[\"n3\", \"n2\"]")]);
        let addr = Some("h9:1".parse().unwrap());
        let fresh = Edit::ReplaceNode { old: node("n2"), new: node("n9"), addr, zone: None };
        expect(
            &fresh,
            &[
                ("'n2'\naddr = \"h2:1\"", "\"n9\"\naddr = \"h9:1\""),
                ("\"n1\", \"n2\"", "\"n1\", \"n9\""),
                ("\"n2\", #", "\"n9\", #"),
            ],
        );
    }

    #[test]
    fn replicas_of_a_node_that_goes_find_a_place_or_say_that_there_is_none() {
        let n1 = "# the old machine\n[[node]]\nname = \"n1\"\naddr = \"h1:1\" # host:port\nzone = \"a\"\n\n";
        let gone = Edit::RemoveNode { name: node("n1"), shrink: false };
        expect(&gone, &[(n1, ""), ("[\"n1\", \"n2\"]", "[\"n3\", \"n2\"]")]);
        let two = make(FILE, &gone).unwrap();
        let file = ShardsConfig::parse(&two, "f").unwrap();
        let next = |shrink| edited(&file, &Edit::RemoveNode { name: node("n2"), shrink }, 9, 8);
        let error = next(false).unwrap_err();
        assert!(error.to_string().starts_with("shard `a`: no other node is free"), "{error}");
        let one = ShardsConfig::parse(&next(true).unwrap(), "f").unwrap();
        assert!(one.shards.iter().all(|shard| shard.nodes == [node("n3")]));
        let last = edited(&one, &Edit::RemoveNode { name: node("n3"), shrink: true }, 10, 9);
        assert!(matches!(last, Err(EditError::NoNodeFree(..))), "{last:?}");
    }

    #[test]
    fn what_cannot_be_done_is_said() {
        let fails = |edit: Edit, reason: &str| assert_eq!(make(FILE, &edit).unwrap_err(), reason);
        fails(Edit::RemoveShard(shard("x")), "there is no shard `x` in the file");
        fails(Edit::SetWeight(shard("x"), 1), "there is no shard `x` in the file");
        let a = ShardConfig { name: shard("a"), nodes: vec![], weight: 1 };
        fails(Edit::AddShard(a), "there is a shard `a` in the file already");
        let new = Edit::ReplaceNode { old: node("n1"), new: node("n8"), addr: None, zone: None };
        fails(new, "node `n8` is not in the file: give its address, too");
        fails(
            Edit::SetNodes(shard("a"), vec![node("n7")]),
            "the edited file would not be valid: the edited file:25:10: there is no node `n7`; the nearest is `n1`",
        );
        let inline =
            "version = 7\nnode = [{name = \"n\", addr = \"h:1\"}]\nshard = [{name = \"a\", nodes = [\"n\"]}]\n";
        let error = make(inline, &Edit::SetWeight(shard("a"), 2)).unwrap_err();
        assert!(error.starts_with("`shard` is not written as tables"), "{error}");
    }

    #[test]
    fn line_ends_byte_order_mark_and_base_are_kept() {
        let text = format!("\u{feff}{}", FILE.replace("# base", "base").replace('\n', "\r\n"));
        let made = make(&text, &Edit::SetWeight(shard("a"), 9)).unwrap();
        let expected = text.replace("version = 7", "version = 8").replace("base = 6", "base = 7");
        assert_eq!(made, expected.replace("weight=3", "weight=9"));
    }
}
