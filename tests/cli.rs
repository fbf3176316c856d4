//! What an operator types, as processes: output, exit codes and errors.

#![allow(clippy::disallowed_methods, reason = "an editor writes here, not Pontoon")]

mod fake_cluster;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};

use fake_cluster::FakeCluster;
use serde_json::{Value, json};

const PONTOON: &str = env!("CARGO_BIN_EXE_pontoon");

fn pontoon(arguments: &[&str]) -> Output {
    Command::new(PONTOON).args(arguments).env_clear().output().unwrap()
}

fn out(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap().trim_end()
}

fn err(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap().trim_end()
}

fn json_of(output: &Output) -> Value {
    serde_json::from_str(out(output)).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// A file of these nodes, with a shard on all of them and one on the last alone.
fn file(version: u64, nodes: &[SocketAddr]) -> String {
    let mut text = format!("version = {version}\n");
    for (i, addr) in nodes.iter().enumerate() {
        text += &format!("[[node]]\nname = \"n{}\"\naddr = \"{addr}\"\n", i + 1);
    }
    let all: Vec<String> = (1..=nodes.len()).map(|i| format!("\"n{i}\"")).collect();
    text + &format!(
        "[[shard]]\nname = \"a\"\nnodes = [{}]\n[[shard]]\nname = \"b\"\nnodes = [\"n{}\"]\n",
        all.join(", "),
        nodes.len()
    )
}

/// A cluster of the file with version 5, and that file.
fn founded() -> (FakeCluster, Home) {
    let (cluster, nodes) = FakeCluster::start(3);
    let home = Home::with(&file(5, &nodes));
    assert_eq!(pontoon(&["init", "--config", &home.config()]).status.code(), Some(0));
    (cluster, home)
}

struct Home(tempfile::TempDir);

impl Home {
    fn with(text: &str) -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        std::fs::write(home.path("shards.toml"), text).unwrap();
        home
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn config(&self) -> String {
        self.path("shards.toml")
    }
}

#[test]
fn the_example_at_the_top_of_the_repository_is_valid() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("shards.toml");
    let checked = pontoon(&["check", example.to_str().unwrap()]);
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    assert!(out(&checked).ends_with("valid, version 1: 3 nodes, 2 shards, catalog on n1, n2, n3"), "{checked:?}");
}

#[test]
fn check_prints_the_place_and_the_rule_and_fails() {
    let home = Home::with("version = 1\nnods = 1\n[[shard]]\nname = \"a\"\nnodes = [\"n1\"]\n");
    let config = home.config();
    let rule = "unknown key `nods` in the file; the nearest known key is `node`";
    let checked = pontoon(&["check", &config]);
    assert_eq!((checked.status.code(), out(&checked)), (Some(1), ""));
    assert_eq!(err(&checked), format!("{config}:2:1: {rule}"));
    let checked = pontoon(&["check", &config, "--json"]);
    assert_eq!(checked.status.code(), Some(1));
    assert_eq!(json_of(&checked), json!({"valid": false, "file": config, "line": 2, "column": 1, "rule": rule}));
    let checked = pontoon(&["check", &home.path("none")]);
    assert_eq!(err(&checked), format!("{}: cannot be read: there is no such file", home.path("none")));
}

#[test]
fn a_wrong_command_line_is_another_exit_code() {
    for arguments in [&[][..], &["dance"], &["check", "--no-such-flag"], &["where"], &["check", "--log-format", "xml"]]
    {
        assert_eq!(pontoon(arguments).status.code(), Some(2), "{arguments:?}");
    }
    assert_eq!(pontoon(&["--help"]).status.code(), Some(0));
    assert_eq!(pontoon(&["check", "--log-level", "pontoon=loud"]).status.code(), Some(1));
}

#[test]
fn a_cluster_is_created_once_and_shown() {
    let (cluster, nodes) = FakeCluster::start(3);
    let home = Home::with(&file(5, &nodes));
    let config = home.config();
    let nothing = pontoon(&["where", "k", "--config", &config]);
    assert_eq!(err(&nothing), "there is no cluster yet: `pontoon init` creates it");
    let created = pontoon(&["init", "--config", &config, "--json"]);
    assert_eq!(created.status.code(), Some(0), "{created:?}");
    assert_eq!((json_of(&created)["version"].clone(), json_of(&created)["shards"].clone()), (json!(5), json!(2)));
    let catalog = cluster.0.lock().unwrap().catalog.clone().unwrap();
    assert_eq!(catalog.cluster.to_string(), json_of(&created)["cluster"]);
    assert!(catalog.nodes.values().all(|node| node.incarnation.is_some()));

    let again = pontoon(&["init", "--config", &config]);
    assert_eq!(again.status.code(), Some(1));
    let expected = format!("node `n1` belongs to cluster {} already: a cluster is created only once", catalog.cluster);
    assert_eq!(err(&again), expected);

    let status = pontoon(&["status", "--config", &config, "--json"]);
    assert_eq!(status.status.code(), Some(0));
    let status = json_of(&status);
    assert_eq!((&status["version"], &status["revision"]), (&json!(5), &json!(1)));
    assert_eq!(status["shards"][0]["leader"], "n1");
    assert_eq!(status["shards"][1]["replicas"][0]["node"], "n3");
    assert_eq!(status["shards"][1]["slots"], 8192);
    let place = json_of(&pontoon(&["where", "{123456789}x", "--config", &config, "--json"]));
    assert_eq!((&place["slot"], &place["shard"], &place["leader"]), (&json!(14630), &json!("b"), &json!("n3")));
}

#[test]
fn a_node_that_only_the_catalog_knows_is_shown_and_a_dead_one_is_dead() {
    let (_cluster, mut nodes) = FakeCluster::start(3);
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let home = Home::with(&file(1, &nodes));
    assert_eq!(pontoon(&["init", "--config", &home.config()]).status.code(), Some(0));
    // The operator's copy of the file is an old one: one node is missing, one is somewhere else.
    nodes.truncate(2);
    nodes[1] = dead;
    let old = Home::with(&file(1, &nodes));
    let status = json_of(&pontoon(&["status", "--config", &old.config(), "--json"]));
    let alive: Vec<_> =
        status["nodes"].as_array().unwrap().iter().map(|n| (n["name"].clone(), n["alive"].clone())).collect();
    assert_eq!(alive, ["n1", "n2", "n3"].map(|name| (json!(name), json!(true))));
}

#[test]
fn init_names_the_node_that_is_dead_or_another_one() {
    let (cluster, mut nodes) = FakeCluster::start(2);
    nodes.push(cluster.node("n9"));
    let home = Home::with(&file(1, &nodes));
    let refused = pontoon(&["init", "--config", &home.config()]);
    assert_eq!(refused.status.code(), Some(1));
    let expected = format!(
        "all nodes must run before the cluster is created: node `n3` at {} refused: this is node `n9`",
        nodes[2]
    );
    assert_eq!(err(&refused), expected);
    nodes[2] = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let home = Home::with(&file(1, &nodes));
    let refused = pontoon(&["init", "--config", &home.config()]);
    let expected =
        format!("all nodes must run before the cluster is created: node `n3` at {}: connection refused", nodes[2]);
    assert_eq!(err(&refused), expected);
    assert_eq!(cluster.version(), 0, "nothing was created");
}

#[test]
fn status_of_a_hanging_node_is_bounded() {
    // The operating system accepts the connection; nobody ever answers.
    let hanging = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let home = Home::with(&file(1, &[hanging.local_addr().unwrap()]));
    let status = pontoon(&["status", "--config", &home.config(), "--json"]);
    assert_eq!(status.status.code(), Some(1));
    assert_eq!(json_of(&status)["nodes"][0]["problem"], "no answer within 1 s");
    assert_eq!(err(&status), "no node answered");
}

#[test]
fn a_plan_tells_what_a_file_would_change_and_refusals() {
    let (cluster, home) = founded();
    let config = home.config();
    let text = std::fs::read_to_string(&config).unwrap();
    let next = home.path("next.toml");
    std::fs::write(&next, text.replace("version = 5", "version = 6") + "[[shard]]\nname = \"c\"\nnodes = [\"n1\"]\n")
        .unwrap();
    let planned = pontoon(&["plan", &next]);
    assert_eq!(planned.status.code(), Some(0), "{planned:?}");
    assert!(out(&planned).starts_with("version 5 -> 6\nshard a: slots 8192 -> "), "{planned:?}");
    let planned = json_of(&pontoon(&["plan", &next, "--json", "--config", &config]));
    assert_eq!((&planned["version"], &planned["outcome"]["outcome"]), (&json!(6), &json!("accepted")));
    assert_eq!(planned["moves"].as_array().unwrap().len(), 2);
    std::fs::write(&next, text.replace("version = 5", "version = 4")).unwrap();
    let refused = pontoon(&["plan", &next]);
    assert_eq!((refused.status.code(), out(&refused)), (Some(1), ""));
    assert_eq!(err(&refused), "version 4 would be refused: version 4 is older than the accepted 5");
    assert_eq!(cluster.0.lock().unwrap().proposals, 0);
}

#[test]
fn reshard_edits_the_file_when_the_cluster_accepts_it() {
    let (cluster, home) = founded();
    let config = home.config();
    let before = std::fs::read_to_string(&config).unwrap();
    let add = ["reshard", "add-shard", "c", "--nodes", "n1,n2", "--config", &config];
    let asked = pontoon(&add);
    assert_eq!(asked.status.code(), Some(1));
    assert!(err(&asked).contains("`--yes` makes the edit"), "{asked:?}");
    let dry = pontoon(&[&add[..], &["--dry-run"]].concat());
    assert_eq!(dry.status.code(), Some(0), "{dry:?}");
    assert!(out(&dry).starts_with("- version = 5\n+ version = 6\n"), "{dry:?}");
    assert_eq!((std::fs::read_to_string(&config).unwrap(), cluster.0.lock().unwrap().proposals), (before.clone(), 0));
    let made = pontoon(&[&add[..], &["--yes"]].concat());
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    let added = "\n[[shard]]\nname = \"c\"\nnodes = [\"n1\", \"n2\"]\n";
    let after = before.replace("version = 5", "version = 6") + added;
    assert_eq!(std::fs::read_to_string(&config).unwrap(), after);
    assert_eq!(out(&pontoon(&["reshard", "show", "--config", &config])), after.trim_end());

    let again = pontoon(&[&add[..], &["--yes"]].concat());
    assert_eq!((again.status.code(), err(&again)), (Some(1), "there is a shard `c` in the file already"));
    std::fs::write(&config, &before).unwrap();
    let stale = pontoon(&["reshard", "set-weight", "a", "3", "--yes", "--config", &config]);
    assert!(err(&stale).starts_with("the file has version 5, and the cluster has accepted 6"), "{stale:?}");
    assert_eq!(std::fs::read_to_string(&config).unwrap(), before);
}

#[test]
fn reshard_without_a_cluster_edits_only_when_told_to() {
    let home = Home::with(&file(5, &["127.0.0.1:9".parse().unwrap()]));
    let config = home.config();
    let edit = ["reshard", "set-weight", "a", "3", "--yes", "--config", &config];
    let silent = pontoon(&edit);
    assert_eq!(silent.status.code(), Some(1));
    assert!(err(&silent).ends_with("`--offline` edits the file all the same"), "{silent:?}");
    let made = pontoon(&[&edit[..], &["--offline", "--json"]].concat());
    assert_eq!(json_of(&made)["version"], 6, "{made:?}");
    assert!(std::fs::read_to_string(&config).unwrap().contains("weight = 3"));
}

#[test]
fn leaders_that_do_not_leave_are_named_with_what_hinders() {
    let (cluster, home) = founded();
    let config = home.config();
    let evict = |node: &str, more: &[&str]| {
        pontoon(&[&["evict-leaders", node, "--timeout-ms", "100", "--config", &config], more].concat())
    };
    let stuck = evict("n3", &[]);
    assert_eq!((stuck.status.code(), err(&stuck)), (Some(1), "node n3 leads shard b still: it has no other replica"));
    assert!(cluster.0.lock().unwrap().catalog.as_ref().unwrap().nodes.values().any(|node| node.evicted));
    let done = evict("n2", &[]);
    assert_eq!((done.status.code(), out(&done)), (Some(0), "node n2 leads no shard, and will not until `--undo`"));
    for node in ["n2", "n3"] {
        assert_eq!(out(&evict(node, &["--undo"])), format!("node {node} may lead again"));
    }
    let unknown = evict("n9", &[]);
    assert_eq!(err(&unknown), "refused: the accepted shards.toml has no node `n9`");
    let status = pontoon(&["status", "--watch", "--until-settled", "--config", &config]);
    assert_eq!(out(&status), "version 5: nothing is on its way");
}
