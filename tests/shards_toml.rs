//! Hostile and broken `shards.toml` files: each gets one error, at the exact line and column, that says the rule.

use pontoon::topology::config::{FILE_BYTES_MAX, REPLICAS_MAX};
use pontoon::topology::{NodeName, ShardsConfig};
use proptest::prelude::*;

const VERSION: &str = "version = 1\n";
const NODE: &str = "[[node]]\nname = \"n1\"\naddr = \"h:1\"\n";
const SHARD: &str = "[[shard]]\nname = \"a\"\nnodes = [\"n1\"]\n";

/// What is wrong, the file (`$V`, `$N` and `$S` stand for the valid lines above), and the error.
const BROKEN: &[(&str, &str, &str)] = &[
    ("empty", "", "1:1: `version` is missing: start with `version = 1` and raise it with every edit"),
    (
        "only a comment",
        "# nothing here\n",
        "1:1: `version` is missing: start with `version = 1` and raise it with every edit",
    ),
    (
        "only a byte order mark",
        "\u{feff}",
        "1:1: `version` is missing: start with `version = 1` and raise it with every edit",
    ),
    (
        "byte order mark and an error in the first line",
        "\u{feff}versoin = 1\n$N\n$S\n",
        "1:1: unknown key `versoin` in the file; the nearest known key is `version`",
    ),
    (
        "CRLF and an error in the third line",
        "version = 1\r\n[[node]]\r\nnme = \"n1\"\r\naddr = \"h:1\"\r\n[[shard]]\r\nname = \"a\"\r\nnodes = [\"n1\"]\r\n",
        "3:1: unknown key `nme` in [[node]]; the nearest known key is `name`",
    ),
    ("no version", "$N\n$S\n", "1:1: `version` is missing: start with `version = 1` and raise it with every edit"),
    ("version is a string", "version = \"1\"\n$N\n$S\n", "1:11: `version` is an integer, not a string"),
    ("version is a float", "version = 1.0\n$N\n$S\n", "1:11: `version` is an integer, not a float"),
    ("version is zero", "version = 0\n$N\n$S\n", "1:11: `version` is an integer from 1 to 9223372036854775807"),
    ("version is negative", "version = -3\n$N\n$S\n", "1:11: `version` is an integer from 1 to 9223372036854775807"),
    (
        "version is beyond TOML integers",
        "version = 9223372036854775808\n$N\n$S\n",
        "1:11: `version` is an integer from 1 to 9223372036854775807",
    ),
    (
        "version is absurdly long",
        "version = 999999999999999999999999999999999999999999999999999999999999\n$N\n$S\n",
        "1:11: `version` is an integer from 1 to 9223372036854775807",
    ),
    ("version is a boolean", "version = true\n$N\n$S\n", "1:11: `version` is an integer, not a boolean"),
    ("version is a date", "version = 2026-01-01\n$N\n$S\n", "1:11: `version` is an integer, not a date or time"),
    ("version twice", "$V\nversion = 1\n$N\n$S\n", "2:1: not TOML: duplicate key"),
    (
        "version without a value",
        "version =\n$N\n$S\n",
        "1:10: not TOML: string values must be quoted, expected literal string",
    ),
    ("version without an equals sign", "version 1\n$N\n$S\n", "1:9: not TOML: key with no value, expected `=`"),
    (
        "base is not below version",
        "$V\nbase = 1\n$N\n$S\n",
        "2:8: `base` is the version that the edit was made from: it is below `version`",
    ),
    ("base is a string", "version = 2\nbase = \"1\"\n$N\n$S\n", "2:8: `base` is an integer, not a string"),
    ("base is zero", "version = 2\nbase = 0\n$N\n$S\n", "2:8: `base` is an integer from 1 to 9223372036854775807"),
    (
        "unknown top key",
        "$V\nnodes = []\n$N\n$S\n",
        "2:1: unknown key `nodes` in the file; the nearest known key is `node`",
    ),
    (
        "unknown top key in another case",
        "Version = 1\n$N\n$S\n",
        "1:1: unknown key `Version` in the file; the nearest known key is `version`",
    ),
    (
        "unknown table",
        "$V\n$N\n$S\n[limts]\nx = 1\n",
        "8:2: unknown key `limts` in the file; the nearest known key is `base`",
    ),
    ("no node", "$V\n$S\n", "1:1: at least one [[node]] is needed"),
    ("no shard", "$V\n$N\n", "1:1: at least one [[shard]] is needed"),
    ("node is an empty array", "$V\nnode = []\n$S\n", "2:8: at least one [[node]] is needed"),
    (
        "node is a table",
        "$V\n[node]\nname = \"n1\"\naddr = \"h:1\"\n$S\n",
        "2:1: `node` is an array of tables, [[node]], not a table",
    ),
    ("node is a string", "$V\nnode = \"n1\"\n$S\n", "2:8: `node` is an array of tables, [[node]], not a string"),
    (
        "node is an array of strings",
        "$V\nnode = [\"n1\"]\n$S\n",
        "2:9: `node` is an array of tables, [[node]], not a string",
    ),
    (
        "shard is a table",
        "$V\n$N\n[shard]\nname = \"a\"\nnodes = [\"n1\"]\n",
        "5:1: `shard` is an array of tables, [[shard]], not a table",
    ),
    ("node without a name", "$V\n[[node]]\naddr = \"h:1\"\n$S\n", "2:1: [[node]] has no `name`"),
    ("node without an address", "$V\n[[node]]\nname = \"n1\"\n$S\n", "2:1: [[node]] has no `addr`"),
    (
        "node with an empty name",
        "$V\n[[node]]\nname = \"\"\naddr = \"h:1\"\n$S\n",
        "3:8: node ``: a name may not be empty",
    ),
    (
        "node name with a space",
        "$V\n[[node]]\nname = \"n 1\"\naddr = \"h:1\"\n$S\n",
        "3:8: node `n 1`: a name has only the characters A-Z a-z 0-9 `_` `.` `-`",
    ),
    (
        "node name that is not ASCII",
        "$V\n[[node]]\nname = \"nö1\"\naddr = \"h:1\"\n$S\n",
        "3:8: node `nö1`: a name has only the characters A-Z a-z 0-9 `_` `.` `-`",
    ),
    (
        "node name of 65 characters",
        "$V\n[[node]]\nname = \"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn\"\naddr = \"h:1\"\n$S\n",
        "3:8: node `nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn…`: a name has at most 64 characters",
    ),
    (
        "node name with a line break",
        "$V\n[[node]]\nname = \"n\\n1\"\naddr = \"h:1\"\n$S\n",
        "3:8: node `n\\n1`: a name has only the characters A-Z a-z 0-9 `_` `.` `-`",
    ),
    (
        "node name is an integer",
        "$V\n[[node]]\nname = 1\naddr = \"h:1\"\n$S\n",
        "3:8: `name` is a string, not an integer",
    ),
    (
        "node name twice",
        "$V\n$N\n[[node]]\nname = \"n1\"\naddr = \"h:2\"\n$S\n",
        "6:8: there is a node `n1` already (line 3)",
    ),
    (
        "unknown node key",
        "$V\n[[node]]\nname = \"n1\"\naddress = \"h:1\"\n$S\n",
        "4:1: unknown key `address` in [[node]]; the nearest known key is `addr`",
    ),
    (
        "unknown node key far from all",
        "$V\n$N\nqqqq = 1\n$S\n",
        "5:1: unknown key `qqqq` in [[node]]; the nearest known key is `name`",
    ),
    (
        "node key twice",
        "$V\n[[node]]\nname = \"n1\"\nname = \"n1\"\naddr = \"h:1\"\n$S\n",
        "4:1: not TOML: duplicate key",
    ),
    (
        "address without a port",
        "$V\n[[node]]\nname = \"n1\"\naddr = \"h\"\n$S\n",
        "4:8: address `h`: an address is `host:port`, like `10.0.0.1:7001`, `db1.example.org:7001` or `[::1]:7001`",
    ),
    (
        "address without a host",
        "$V\n[[node]]\nname = \"n1\"\naddr = \":7001\"\n$S\n",
        "4:8: address `:7001`: an address is `host:port`, like `10.0.0.1:7001`, `db1.example.org:7001` or `[::1]:7001`",
    ),
    (
        "port 0",
        "$V\n[[node]]\nname = \"n1\"\naddr = \"h:0\"\n$S\n",
        "4:8: address `h:0`: a port is a number from 1 to 65535",
    ),
    (
        "port beyond 65535",
        "$V\n[[node]]\nname = \"n1\"\naddr = \"h:65536\"\n$S\n",
        "4:8: address `h:65536`: a port is a number from 1 to 65535",
    ),
    (
        "port that is no number",
        "$V\n[[node]]\nname = \"n1\"\naddr = \"h:redis\"\n$S\n",
        "4:8: address `h:redis`: a port is a number from 1 to 65535",
    ),
    (
        "IPv6 without brackets",
        "$V\n[[node]]\nname = \"n1\"\naddr = \"::1:7001\"\n$S\n",
        "4:8: address `::1:7001`: an IPv6 address is written in brackets, like `[::1]:7001`",
    ),
    (
        "IPv6 that is none",
        "$V\n[[node]]\nname = \"n1\"\naddr = \"[::g]:7001\"\n$S\n",
        "4:8: address `[::g]:7001`: what is in brackets is not an IPv6 address",
    ),
    (
        "IPv6 without a port",
        "$V\n[[node]]\nname = \"n1\"\naddr = \"[::1]\"\n$S\n",
        "4:8: address `[::1]`: an address is `host:port`, like `10.0.0.1:7001`, `db1.example.org:7001` or `[::1]:7001`",
    ),
    (
        "IPv4 that is none",
        "$V\n[[node]]\nname = \"n1\"\naddr = \"10.0.0.300:7001\"\n$S\n",
        "4:8: address `10.0.0.300:7001`: the host is not an IPv4 address",
    ),
    (
        "address of everybody",
        "$V\n[[node]]\nname = \"n1\"\naddr = \"0.0.0.0:7001\"\n$S\n",
        "4:8: address `0.0.0.0:7001`: `0.0.0.0` and `[::]` are not addresses that others can connect to",
    ),
    (
        "address with a scheme",
        "$V\n[[node]]\nname = \"n1\"\naddr = \"redis://h:7001\"\n$S\n",
        "4:8: address `redis://h:7001`: an address is `host:port`, like `10.0.0.1:7001`, `db1.example.org:7001` or `[::1]:7001`",
    ),
    (
        "address is an integer",
        "$V\n[[node]]\nname = \"n1\"\naddr = 7001\n$S\n",
        "4:8: `addr` is a string, not an integer",
    ),
    (
        "address twice",
        "$V\n$N\n[[node]]\nname = \"n2\"\naddr = \"h:1\"\n$S\n",
        "7:8: address `h:1` is that of node `n1` already (line 4)",
    ),
    (
        "address twice in two spellings",
        "$V\n[[node]]\nname = \"n1\"\naddr = \"[::1]:1\"\n[[node]]\nname = \"n2\"\naddr = \"[0::0:1]:1\"\n$S\n",
        "7:8: address `[::1]:1` is that of node `n1` already (line 4)",
    ),
    ("zone is an integer", "$V\n$N\nzone = 1\n$S\n", "5:8: `zone` is a string, not an integer"),
    (
        "zone with a slash",
        "$V\n$N\nzone = \"a/b\"\n$S\n",
        "5:8: zone `a/b`: a name has only the characters A-Z a-z 0-9 `_` `.` `-`",
    ),
    ("shard without a name", "$V\n$N\n[[shard]]\nnodes = [\"n1\"]\n", "5:1: [[shard]] has no `name`"),
    ("shard without nodes", "$V\n$N\n[[shard]]\nname = \"a\"\n", "5:1: [[shard]] has no `nodes`"),
    (
        "shard called catalog",
        "$V\n$N\n[[shard]]\nname = \"catalog\"\nnodes = [\"n1\"]\n",
        "6:8: a shard may not be called `catalog`: the catalog's own group has that name",
    ),
    ("shard name twice", "$V\n$N\n$S\n$S\n", "9:8: there is a shard `a` already (line 6)"),
    (
        "shard with no nodes in the list",
        "$V\n$N\n[[shard]]\nname = \"a\"\nnodes = []\n",
        "7:9: `nodes` needs at least one node",
    ),
    (
        "shard nodes is a string",
        "$V\n$N\n[[shard]]\nname = \"a\"\nnodes = \"n1\"\n",
        "7:9: `nodes` is an array of node names, not a string",
    ),
    (
        "shard nodes holds an integer",
        "$V\n$N\n[[shard]]\nname = \"a\"\nnodes = [\"n1\", 2]\n",
        "7:16: `nodes` is an array of node names, not an integer",
    ),
    (
        "shard on an unknown node",
        "$V\n$N\n[[shard]]\nname = \"a\"\nnodes = [\"n1\",\n  \"n2\"]\n",
        "8:3: there is no node `n2`; the nearest is `n1`",
    ),
    (
        "shard on a node twice",
        "$V\n$N\n[[shard]]\nname = \"a\"\nnodes = [\"n1\", \"n1\"]\n",
        "7:16: node `n1` is in `nodes` twice",
    ),
    (
        "unknown shard key",
        "$V\n$N\n$S\nwieght = 1\n",
        "8:1: unknown key `wieght` in [[shard]]; the nearest known key is `weight`",
    ),
    ("weight is negative", "$V\n$N\n$S\nweight = -1\n", "8:10: `weight` is an integer from 0 to 1000000"),
    ("weight is too large", "$V\n$N\n$S\nweight = 1000001\n", "8:10: `weight` is an integer from 0 to 1000000"),
    ("weight is a float", "$V\n$N\n$S\nweight = 0.5\n", "8:10: `weight` is an integer, not a float"),
    ("weight is a string", "$V\n$N\n$S\nweight = \"1\"\n", "8:10: `weight` is an integer, not a string"),
    (
        "all weights are zero",
        "$V\n$N\n$S\nweight = 0\n[[shard]]\nname = \"b\"\nnodes = [\"n1\"]\nweight = 0\n",
        "8:10: every shard has weight 0: no shard would own the slots",
    ),
    ("catalog is a string", "$V\ncatalog = \"n1\"\n$N\n$S\n", "2:11: `catalog` is a table, `[catalog]`, not a string"),
    ("catalog without nodes", "$V\n$N\n$S\n[catalog]\n", "8:1: [catalog] has no `nodes`"),
    (
        "catalog on an unknown node",
        "$V\n$N\n$S\n[catalog]\nnodes = [\"n7\"]\n",
        "9:10: there is no node `n7`; the nearest is `n1`",
    ),
    (
        "catalog with no nodes in the list",
        "$V\n$N\n$S\n[catalog]\nnodes = []\n",
        "9:9: `nodes` needs at least one node",
    ),
    ("balance is no table", "balance = true\n$V\n$N\n$S\n", "1:11: `balance` is a table, `[balance]`, not a boolean"),
    ("balance.auto is a word", "$V\n$N\n$S\n[balance]\nauto = \"yes\"\n", "9:8: `auto` is a boolean, not a string"),
    (
        "balance.weigh is no weight",
        "$V\n$N\n$S\n[balance]\nweigh = \"keys\"\n",
        "9:9: `weigh` is `leaders` (how many) or `writes` (what is written to them), not `keys`",
    ),
    (
        "balance with an unknown key",
        "$V\n$N\n$S\n[balance]\nwigh = \"writes\"\n",
        "9:1: unknown key `wigh` in [balance]; the nearest known key is `weigh`",
    ),
    (
        "host of a node is no name",
        "$V\n[[node]]\nname = \"n1\"\naddr = \"h:1\"\nhost = \"a b\"\n$S\n",
        "5:8: host `a b`: a name has only the characters A-Z a-z 0-9 `_` `.` `-`",
    ),
    (
        "weight of a node is out of range",
        "$V\n[[node]]\nname = \"n1\"\naddr = \"h:1\"\nweight = 1001\n$S\n",
        "5:10: `weight` is an integer from 0 to 1000",
    ),
    (
        "catalog with an unknown key",
        "$V\n$N\n$S\n[catalog]\nnodes = [\"n1\"]\nnode = 1\n",
        "10:1: unknown key `node` in [catalog]; the nearest known key is `nodes`",
    ),
    (
        "catalog table twice",
        "$V\n$N\n$S\n[catalog]\nnodes = [\"n1\"]\n[catalog]\nnodes = [\"n1\"]\n",
        "10:2: not TOML: duplicate key",
    ),
    (
        "half a line, as an editor may leave it",
        "$V\n$N\n[[shard]]\nname = \"a",
        "6:10: not TOML: invalid basic string, expected `\"`",
    ),
    (
        "half a list",
        "$V\n$N\n[[shard]]\nname = \"a\"\nnodes = [\"n1\",",
        "7:15: not TOML: unclosed array, expected `]`",
    ),
    ("half a header", "$V\n$N\n[[sha", "5:6: not TOML: unclosed array table, expected `]]`"),
    (
        "a tab and a syntax error after it",
        "$V\n\tnode = [\t}\n",
        "2:11: not TOML: missing inline table opening, expected `{`",
    ),
    (
        "a control character",
        "$V\n# \u{1}\n$N\n$S\n",
        "2:3: not TOML: invalid comment character, expected printable characters",
    ),
    ("a NUL", "$V\n\0", "2:1: not TOML: invalid unquoted key, expected letters, numbers, `-`, `_`"),
    (
        "a bad escape",
        "$V\n[[node]]\nname = \"\\q\"\naddr = \"h:1\"\n$S\n",
        "3:10: not TOML: missing escaped value, expected `b`, `e`, `f`, `n`, `r`, `\\`, `\"`, `x`, `u`, `U`",
    ),
    (
        "a key with a line break",
        "$V\n\"a\\nb\" = 1\n$N\n$S\n",
        "2:1: unknown key `a\\nb` in the file; the nearest known key is `base`",
    ),
    (
        "two errors: the first by place is told",
        "$V\n[[node]]\nname = \"n1\"\naddr = \"h:0\"\n[[shard]]\nnodes = [\"n9\"]\n",
        "4:8: address `h:0`: a port is a number from 1 to 65535",
    ),
];

fn file(short: &str) -> String {
    short.replace("$V\n", VERSION).replace("$N\n", NODE).replace("$S\n", SHARD)
}

fn error(text: &str) -> String {
    match ShardsConfig::parse(text, "f") {
        Ok(_) => "valid".to_owned(),
        Err(error) => error.to_string(),
    }
}

fn valid(text: &str) -> ShardsConfig {
    ShardsConfig::parse(text, "f").unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[test]
fn each_broken_file_gets_its_error_at_its_place() {
    assert!(BROKEN.len() >= 60, "{} cases", BROKEN.len());
    for (what, short, expected) in BROKEN {
        assert_eq!(error(&file(short)), format!("f:{expected}"), "{what}");
    }
}

#[test]
fn limits_are_told_with_their_number() {
    let nodes: String = (1..=10).map(|i| format!("[[node]]\nname = \"n{i}\"\naddr = \"h:{i}\"\n")).collect();
    let members: Vec<String> = (1..=10).map(|i| format!("\"n{i}\"")).collect();
    let shard = |count: usize| format!("[[shard]]\nname = \"a\"\nnodes = [{}]\n", members[..count].join(", "));
    valid(&format!("{VERSION}{nodes}{}", shard(REPLICAS_MAX)));
    let text = format!("{VERSION}{nodes}{}", shard(10));
    assert_eq!(error(&text), "f:34:64: there may be at most 9 `nodes`");
    let many: String = (0..=1024).map(|i| format!("[[node]]\nname = \"n{i}\"\naddr = \"h:{}\"\n", i + 1)).collect();
    assert_eq!(error(&format!("{VERSION}{many}{SHARD}")), "f:3074:1: there may be at most 1024 [[node]]");
}

#[test]
fn large_deep_and_binary_files_cost_nothing_much() {
    let large = format!("{VERSION}{}", "# padding\n".repeat(FILE_BYTES_MAX / 10));
    assert_eq!(error(&large), "f:1:1: the file has more than 1048576 bytes");
    let huge = vec![b'\n'; 10 << 20];
    assert_eq!(
        ShardsConfig::parse_bytes(&huge, "f").unwrap_err().to_string(),
        "f:1:1: the file has more than 1048576 bytes"
    );
    let deep = format!("{VERSION}x = {}", "[".repeat(500_000));
    assert!(error(&deep).starts_with("f:2:"), "{}", error(&deep));
    let deep = format!("{VERSION}x{} = 1", ".x".repeat(400_000));
    assert!(error(&deep).starts_with("f:"), "a long dotted key");
    let bytes = [VERSION.as_bytes(), b"# caf\xc3\xa9 \xff\n"].concat();
    assert_eq!(ShardsConfig::parse_bytes(&bytes, "f").unwrap_err().to_string(), "f:2:8: the file is not UTF-8 text");
    let utf16: Vec<u8> = VERSION.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(ShardsConfig::parse_bytes(&utf16, "f").is_err());
}

#[test]
fn a_valid_file_may_have_a_byte_order_mark_crlf_and_tables_in_any_order() {
    let plain = file("$V\n$N\n$S\n");
    for text in [
        format!("\u{feff}{plain}"),
        plain.replace('\n', "\r\n"),
        file("$S\n$N\n").replace("[[shard]]", "version = 1\n[[shard]]"),
        "version = 0x1\nnode = [{ name = \"n1\", addr = \"H:1\" }]\nshard = [{ name = 'a', nodes = [\n'n1', # one\n] }]"
            .to_owned(),
        plain.trim_end().to_owned(),
    ] {
        let config = valid(&text);
        assert_eq!((config.version, config.nodes.len(), config.shards.len()), (1, 1, 1), "{text}");
        assert!(config.same_meaning(&valid(&plain)), "{text}");
    }
}

#[test]
fn a_full_file_is_read_with_all_its_values() {
    let config = valid(
        "version = 1_000\nbase = 999\n\
         [[node]]\nname = \"n1\"\naddr = \"[::1]:7001\"\nzone = \"eu-1a\"\n\
         [[node]]\nname = \"n.2\"\naddr = \"db2.example.org:7001\"\n\
         [[shard]]\nname = \"a\"\nnodes = [\"n.2\", \"n1\"]\nweight = 0\n\
         [[shard]]\nname = \"b\"\nnodes = [\"n1\"]\n\
         [catalog]\nnodes = [\"n.2\"]\n",
    );
    assert_eq!((config.version, config.base), (1000, Some(999)));
    assert_eq!(config.nodes[0].addr.to_string(), "[::1]:7001");
    assert_eq!(config.nodes[0].zone.as_deref(), Some("eu-1a"));
    assert_eq!(config.shards[0].nodes, [NodeName::new("n.2"), NodeName::new("n1")]);
    assert_eq!((config.shards[0].weight, config.shards[1].weight), (0, 1));
    assert_eq!(config.catalog_members(), [NodeName::new("n.2")]);
}

#[test]
fn the_catalog_is_on_the_first_three_nodes_or_on_one() {
    let with_nodes = |count: usize| {
        let nodes: String = (1..=count).map(|i| format!("[[node]]\nname = \"n{i}\"\naddr = \"h:{i}\"\n")).collect();
        valid(&format!("{VERSION}{nodes}{SHARD}")).catalog_members().len()
    };
    assert_eq!([with_nodes(1), with_nodes(2), with_nodes(3), with_nodes(5)], [1, 1, 3, 3]);
}

#[test]
fn order_comments_and_spelling_have_no_meaning_and_all_else_has() {
    let two = |a: &str, b: &str, shard: &str| {
        let node = |n: &str| format!("[[node]]\nname = \"{n}\"\naddr = \"{n}:1\"\n");
        valid(&format!("{VERSION}{}{}{shard}", node(a), node(b)))
    };
    let shard = "[[shard]]\nname = \"a\"\nnodes = [\"n1\", \"n2\"]\n";
    let base = two("n1", "n2", shard);
    assert!(base.same_meaning(&two("n2", "n1", "# hello\n[[shard]]\nnodes = ['n2', 'n1']\nname = 'a'\nweight = 1\n")));
    assert!(base.same_meaning(&two("n1", "n2", &format!("{shard}[catalog]\nnodes = ['n1']\n"))));
    for (other, difference) in [
        (two("n1", "n2", &format!("{shard}weight = 2\n")), "shard `a` differs"),
        (two("n1", "n2", SHARD), "shard `a` differs"),
        (two("n1", "n2", &format!("{shard}[[shard]]\nname = \"b\"\nnodes = [\"n1\"]\n")), "shard `b` differs"),
        (two("n1", "n2", &format!("{shard}[catalog]\nnodes = ['n2']\n")), "the nodes of the catalog differ"),
        (valid(&format!("{VERSION}{NODE}{SHARD}")), "node `n1` differs"),
    ] {
        assert_eq!(base.difference(&other).as_deref(), Some(difference));
        assert!(!other.same_meaning(&base), "{difference}");
    }
}

proptest! {
    /// Whatever an editor, a disk or somebody else makes of a file: an answer, and a place that is in the file.
    #[test]
    fn no_damage_to_a_file_is_more_than_an_error(
        edits in prop::collection::vec((any::<prop::sample::Index>(), "[\\PC\n\t\"\\[\\]{}=.,#]{0,4}", 0_usize..4), 1..6),
    ) {
        let mut text: Vec<char> = format!("{VERSION}{NODE}zone = 'z'\n{SHARD}weight = 1\n[catalog]\nnodes = ['n1']\n").chars().collect();
        for (at, inserted, removed) in edits {
            let at = at.index(text.len() + 1);
            let end = (at + removed).min(text.len());
            text.splice(at..end, inserted.chars());
        }
        let text: String = text.into_iter().collect();
        if let Err(error) = ShardsConfig::parse(&text, "f") {
            let place = error.place.expect("a place");
            prop_assert!(place.line >= 1 && place.line <= text.split('\n').count(), "{}", error);
            let line = text.split('\n').nth(place.line - 1).unwrap();
            prop_assert!(place.column >= 1 && place.column <= line.chars().count() + 1, "{}", error);
            prop_assert!(!error.rule.contains('\n'), "{}", error);
        }
    }
}

#[test]
fn a_file_says_where_leaders_are_to_be() {
    use pontoon::topology::balance::Weigh;
    let parse = |text: &str| ShardsConfig::parse(text, "f").unwrap();
    let plain = parse(&format!("{VERSION}{NODE}{SHARD}"));
    assert!(plain.balance.auto && plain.balance.weigh == Weigh::Leaders);
    assert_eq!((plain.nodes[0].host.as_deref(), plain.nodes[0].weight), (None, 1));
    let told = parse(&format!(
        "{VERSION}{NODE}host = \"box-3\"\nweight = 0\n{SHARD}[balance]\nauto = false\nweigh = \"writes\"\n"
    ));
    assert!(!told.balance.auto && told.balance.weigh == Weigh::Writes);
    assert_eq!((told.nodes[0].host.as_deref(), told.nodes[0].weight), (Some("box-3"), 0));
    assert_eq!(plain.difference(&told).as_deref(), Some("node `n1` differs"));
    let off = parse(&format!("{VERSION}{NODE}{SHARD}[balance]\nauto = false\n"));
    assert_eq!(plain.difference(&off).as_deref(), Some("[balance] differs"));
}
