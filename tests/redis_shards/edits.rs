//! Files that are edited while a proxy follows them.

use super::ground::{Proxy, Server, file, until};

#[test]
fn an_edit_that_re_maps_slots_needs_leave() {
    let servers = [Server::start(&[]), Server::start(&[])];
    let proxy = Proxy::start(&file(1, "", &[&[&servers[0]]]), &[]);
    let mut client = proxy.client();
    (0..20).for_each(|i| assert_eq!(client.ask(&format!("SET key:{i} 1")), "+OK"));
    let two: [&[&Server]; 2] = [&[&servers[0]], &[&servers[1]]];
    proxy.edit(&file(2, "", &two));
    until("the edit is refused", || {
        proxy.info().contains("config_refused:version 2 is refused: it would re-map 8192 slots")
    });
    assert!(proxy.info().contains("config_version:1"));
    (20..40).for_each(|i| assert_eq!(client.ask(&format!("SET key:{i} 1")), "+OK"));
    assert_eq!(servers[1].client().ask("DBSIZE"), ":0");
    proxy.edit(&file(2, "remap = true", &two));
    until("the edit is followed", || proxy.info().contains("config_version:2"));
    let info = proxy.info();
    assert!(
        info.contains("config_remapped:version 2: 8192 slots from r1 to r2") && !info.contains("config_refused"),
        "{info}"
    );
    until("the other server has keys", || {
        (0..40).for_each(|i| assert_eq!(client.ask(&format!("SET key:{i} 2")), "+OK"));
        servers[1].client().ask("DBSIZE") != ":0"
    });
}

#[test]
fn servers_of_a_group_come_and_go_without_an_error() {
    let one = Server::start(&[]);
    let proxy = Proxy::start(&file(1, "", &[&[&one]]), &[]);
    let mut client = proxy.client();
    assert_eq!(client.ask("SET k 1"), "+OK");
    let two = one.replica();
    proxy.edit(&file(2, "", &[&[&one, &two]]));
    until("the edit is followed", || proxy.info().contains("config_version:2"));
    assert_eq!(one.client().ask("FAILOVER"), "+OK");
    until("the other leads", || two.client().ask("ROLE").contains("master"));
    assert_eq!(client.ask("SET k 2"), "+OK");
    proxy.edit(&file(3, "", &[&[&two]]));
    until("the edit is followed", || proxy.info().contains("config_version:3"));
    drop(one);
    (0..100).for_each(|i| assert_eq!(client.ask(&format!("SET k {i}")), "+OK"));
    for (text, reason) in [
        ("version = 4\n[[shard", "not TOML"),
        (
            "version = 4\n[[node]]\nname = \"n\"\naddr = \"h:1\"\n[[shard]]\nname = \"a\"\nnodes = [\"n\"]\n",
            "no groups of Redis servers",
        ),
        (&file(2, "", &[&[&two]]), "version 2 is older than version 3"),
    ] {
        proxy.edit(text);
        until("the edit is refused", || proxy.info().contains(reason));
        assert_eq!(client.ask("GET k"), "$2 99");
    }
}
