//! Operators' commands on a file of Redis shards.

use std::process::Output;

use super::ground::{Proxy, Server, file, pontoon};

fn told(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{} {} {}", output.status.code().unwrap(), out.trim(), err.trim())
}

#[test]
fn commands_know_such_files_or_say_why_not() {
    let leader = Server::start(&[]);
    let (replica, lonely) = (leader.replica(), Server::start(&[]));
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str, text: &str| {
        let path = home.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let now = path("now.toml", &file(1, "", &[&[&leader, &replica]]));
    let later = path("later.toml", &file(2, "", &[&[&leader, &replica], &[&lonely]]));
    let allowed = path("allowed.toml", &file(2, "remap = true", &[&[&leader, &replica], &[&lonely]]));

    let check = told(&pontoon(&["check", &allowed]));
    assert!(
        check.contains("valid, version 2: 2 shards of 3 Redis servers; slots: r1 0-8191, r2 8192-16383"),
        "{check}"
    );
    assert!(check.contains("remap = true: this edit may give slots to other servers"), "{check}");
    let json: serde_json::Value = serde_json::from_slice(&pontoon(&["check", &now, "--json"]).stdout).unwrap();
    assert_eq!((&json["kind"], &json["shards"][0]["last_slot"]), (&"redis".into(), &16383.into()));

    let plan = told(&pontoon(&["plan", &later, "--config", &now]));
    assert!(
        plan.starts_with("1 ") && plan.contains("would be refused: it would re-map 8192 slots from r1 to r2"),
        "{plan}"
    );
    let plan = told(&pontoon(&["plan", &allowed, "--config", &now]));
    assert!(plan.starts_with("0 ") && plan.contains("re-maps 8192 slots from r1 to r2"), "{plan}");
    assert!(told(&pontoon(&["plan", &now])).contains("nothing to compare it with"));

    let status = told(&pontoon(&["status", "--config", &later]));
    let leads = status.lines().find(|line| line.contains(&leader.addr())).unwrap();
    assert!(
        leads.contains("leader") && status.contains("replica") && status.contains("replicate asynchronously"),
        "{status}"
    );
    let json: serde_json::Value =
        serde_json::from_slice(&pontoon(&["status", "--config", &now, "--json"]).stdout).unwrap();
    assert_eq!(json["shards"][0]["leader"], leader.addr());
    let place = told(&pontoon(&["where", "k", "--config", &now]));
    assert!(place.contains(&format!("shard r1, led by {}", leader.addr())), "{place}");

    for arguments in [
        &["init", "--config", &now][..],
        &["node", "--config", &now, "--name", "n1", "--data", "/nonexistent"],
        &["evict-leaders", "n1", "--config", &now],
        &["verify", "--config", &now],
        &["reshard", "--config", &now, "remove-shard", "r1"],
    ] {
        let refused = told(&pontoon(arguments));
        assert!(
            !refused.starts_with('0') && refused.contains("now.toml:5:8: the shards of this file are groups of Redis"),
            "{refused}"
        );
    }
    let mixed = path("mixed.toml", &(file(1, "", &[&[&leader]]) + "[[shard]]\nname = \"z\"\nnodes = [\"n\"]\n"));
    let refused = told(&pontoon(&["check", &mixed]));
    assert!(refused.contains("mixed.toml:7:1: the shards of a file are of one kind"), "{refused}");
    assert!(Proxy::start(&file(1, "", &[&[&leader]]), &[]).info().contains("shards_kind:redis"));
}
