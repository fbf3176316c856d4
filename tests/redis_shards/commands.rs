//! What clients may ask, and what they read.

use super::ground::{Proxy, Server, file};

#[test]
fn a_proxy_over_three_servers_looks_like_one_redis() {
    let servers = [Server::start(&[]), Server::start(&[]), Server::start(&[])];
    let proxy = Proxy::start(&file(1, "", &[&[&servers[0]], &[&servers[1]], &[&servers[2]]]), &[]);
    let mut client = proxy.client();
    let pairs: Vec<String> = (0..60).map(|i| format!("key:{i} v{i}")).collect();
    assert_eq!(client.ask(&format!("MSET {}", pairs.join(" "))), "+OK");
    let keys: Vec<String> = (0..60).map(|i| format!("key:{i}")).collect();
    let values: Vec<String> = (0..60).map(|i| format!("${} v{i}", 1 + i.to_string().len())).collect();
    assert_eq!(client.ask(&format!("MGET {}", keys.join(" "))), format!("*60 {}", values.join(" ")));
    let sizes: Vec<u64> = servers.iter().map(|s| s.client().ask("DBSIZE")[1..].parse().unwrap()).collect();
    assert!(sizes.iter().all(|size| *size > 5) && sizes.iter().sum::<u64>() == 60, "{sizes:?}");
    assert_eq!(client.ask("DBSIZE"), ":60");
    assert!(client.ask("KEYS *").starts_with("*60 "));
    assert_eq!(client.ask(&format!("DEL {} none", keys[..10].join(" "))), ":10");
    assert_eq!(client.ask(&format!("EXISTS {}", keys.join(" "))), ":50");
    assert_eq!(client.ask(&format!("UNLINK {}", keys[10..12].join(" "))), ":2");
    let (mut cursor, mut found) = ("0".to_owned(), 0);
    loop {
        let page = client.ask(&format!("SCAN {cursor} COUNT 7"));
        let words: Vec<&str> = page.split(' ').collect();
        found += words[3].trim_start_matches('*').parse::<usize>().unwrap();
        cursor = words[2].to_owned();
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(found, 48);
    assert_eq!(client.ask("FLUSHALL"), "+OK");
    assert_eq!((client.ask("DBSIZE"), client.ask("RANDOMKEY")), (":0".to_owned(), "$-1".to_owned()));
    let info = proxy.info();
    assert!(info.contains("shards_promise:replication_is_asynchronous"), "{info}");
}

#[test]
fn transactions_watches_and_waits_are_those_of_the_servers() {
    let servers = [Server::start(&[]), Server::start(&[])];
    let proxy = Proxy::start(&file(1, "", &[&[&servers[0]], &[&servers[1]]]), &[]);
    let (mut client, mut other) = (proxy.client(), proxy.client());
    for line in ["MULTI", "SET {t}a 1", "PING", "INCR {t}a"] {
        client.ask(line);
    }
    assert_eq!(client.ask("EXEC"), "*3 +OK +PONG :2");
    assert_eq!(client.ask("WATCH {t}a"), "+OK");
    assert_eq!(other.ask("SET {t}a 7"), "+OK");
    assert_eq!([client.ask("MULTI"), client.ask("SET {t}a 8"), client.ask("EXEC")], ["+OK", "+QUEUED", "*-1"]);
    assert_eq!(client.ask("GET {t}a"), "$1 7");
    client.send("BLPOP q 0");
    assert_eq!(other.ask("GET {t}a"), "$1 7");
    assert_eq!(other.ask("RPUSH q v"), ":1");
    assert_eq!(client.reply(), "*2 $1 q $1 v");
    assert_eq!(client.ask("BLPOP q 0.05"), "*-1");
    let id = &client.ask("CLIENT ID")[1..];
    client.send("BLPOP q 0");
    super::ground::until("the wait can be ended", || other.ask(&format!("CLIENT UNBLOCK {id} ERROR")) == ":1");
    assert!(client.reply().starts_with("-UNBLOCKED"), "by the server, which alone knows what was popped");
    // What a script or a module of the server knows goes there by its key.
    assert_eq!(client.ask("EVAL return(redis.call('get',KEYS[1])) 1 {t}a"), "$1 7");
    assert_eq!(client.ask("PFADD h a b"), ":1");
    assert!(client.ask("XADD s 1-1 f v").ends_with("1-1"));
    assert!(client.ask("HELLO 3").starts_with("%7"));
    client.ask("HSET h2 f v");
    assert_eq!((client.ask("HGETALL h2"), client.ask("GET none")), ("%1 $1 f $1 v".to_owned(), "_".to_owned()));
}

#[test]
fn a_proxy_logs_in_where_the_file_says_how() {
    let server = Server::start(&["--requirepass", "top-secret"]);
    let text = file(1, "", &[&[&server]]);
    let proxy = Proxy::start(&format!("{text}password = \"top-secret\"\n"), &[]);
    assert_eq!(proxy.client().ask("SET k v"), "+OK");
    let without = Proxy::start(&text, &["--deadline-ms", "500"]);
    assert!(without.client().ask("SET k v").starts_with("-UNAVAILABLE"), "it waits for a leader in vain");
    // Put right while it runs.
    without.edit(&format!("{}password = \"top-secret\"\n", text.replace("version = 1", "version = 2")));
    super::ground::until("the edit is followed", || without.client().ask("SET k v") == "+OK");
}

#[test]
fn what_the_table_does_not_know_is_asked_of_the_servers() {
    let servers = [Server::start(&[]), Server::start(&[])];
    let proxy = Proxy::start(&file(1, "", &[&[&servers[0]], &[&servers[1]]]), &[]);
    let mut client = proxy.client();
    for (line, expected) in [
        ("RESTORE-ASKING k 0 nonsense", "-ERR DUMP payload version or checksum are wrong"),
        ("MIGRATE h 1 k 0 1", "-ERR the keys of 'migrate' cannot be told"),
        ("MONITOR", "-ERR 'monitor' is not for clients of a proxy"),
        ("REPLICAOF h 1", "-ERR 'replicaof' is not for clients of a proxy"),
        ("ACL WHOAMI", "-ERR 'acl' is not for clients of a proxy"),
        ("NOSUCH", "-ERR unknown command 'NOSUCH'"),
        ("SUBSCRIBE c", "-ERR pub/sub is not for shards of Redis servers"),
    ] {
        for _ in 0..2 {
            let reply = client.ask(line);
            assert!(reply.starts_with(expected), "{line}: {reply}");
        }
    }
    let alone = Server::start(&[]);
    let proxy = Proxy::start(&file(1, "", &[&[&alone]]), &[]);
    assert!(proxy.client().ask("MIGRATE 127.0.0.1 1 k 0 10").starts_with("+NOKEY"), "one shard has all keys");
}

#[test]
fn a_guarded_transaction_ends_where_its_slots_go_elsewhere() {
    let servers = [Server::start(&[]), Server::start(&[])];
    let proxy = Proxy::start(&file(1, "", &[&[&servers[0]], &[&servers[1]]]), &[]);
    let mut client = proxy.client();
    let keys: Vec<String> = (0..20).map(|i| format!("key:{i}")).collect();
    let mut clients: Vec<_> = keys.iter().map(|key| (proxy.client(), key)).collect();
    for (client, key) in &mut clients {
        assert_eq!([client.ask(&format!("WATCH {key}")), client.ask("MULTI")], ["+OK", "+OK"]);
        assert_eq!(client.ask(&format!("SET {key} watched")), "+QUEUED");
    }
    // All slots go to the first server.
    let weightless = format!("{}weight = 0\n", file(2, "remap = true", &[&[&servers[0]], &[&servers[1]]]));
    proxy.edit(&weightless);
    let all_there = || {
        let replies: Vec<String> = keys.iter().map(|key| client.ask(&format!("SET {key} plain"))).collect();
        replies.iter().all(|reply| reply == "+OK") && servers[0].client().ask("DBSIZE") == ":20"
    };
    super::ground::until("the edit is followed", all_there);
    let before: u64 = servers[1].client().ask("DBSIZE")[1..].parse().unwrap();
    let ended = clients.iter_mut().filter_map(|(client, key)| (client.ask("EXEC") == "*-1").then_some(key)).count();
    assert_eq!(ended, 20, "those of the other server have moved, the others were changed");
    assert!(keys.iter().all(|key| client.ask(&format!("GET {key}")) == "$5 plain"));
    assert_eq!(servers[1].client().ask("DBSIZE"), format!(":{before}"));
}
