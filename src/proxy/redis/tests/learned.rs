//! Commands that only the servers can describe.

use super::*;

fn world() -> World {
    let mut world = World::new();
    for addr in ["h:1", "h:2", "h:3", "h:4"] {
        world.server(addr).describes = vec![
            ("json.get", "+readonly", [1, 1, 1]),
            ("json.mget", "+readonly", [1, -2, 1]),
            ("ts.add", "+write", [1, 1, 1]),
            ("x.moving", "+write\r\n+movablekeys", [1, 1, 1]),
            ("ft.search", "+readonly", [0, 0, 0]),
            ("x.wait", "+write\r\n+blocking", [1, 1, 1]),
            ("monitor", "+admin", [0, 0, 0]),
            ("waitaof", "+noscript", [0, 0, 0]),
        ];
    }
    world
}

#[test]
fn what_a_server_says_of_its_commands_is_asked_once() {
    let (a, b) = keys();
    let mut world = world();
    let client = world.client();
    let lines = format!("SET {a} 1\nJSON.GET {a}\nts.add {b} 1 2\nGET {a}\nJson.Get {b}\nJSON.MGET {a} x{a} $");
    let heard = world.asks(client, &lines);
    assert!(heard.starts_with("+OK -ERR unknown command -ERR unknown command $1 1 "), "in order: {heard}");
    let asked: usize = ["h:1", "h:2", "h:3", "h:4"].iter().map(|addr| world.server(addr).described).sum();
    assert_eq!(asked, 3);
    let (first, second) = (world.done("h:1"), world.done("h:3"));
    assert!(first.contains(&format!("JSON.GET {a}")) && second.contains(&format!("ts.add {b} 1 2")));
    assert!(second.contains(&format!("Json.Get {b}")), "each where its key is");
    let heard = world.asks(client, &format!("JSON.MGET {a} {b} $"));
    assert!(heard.starts_with("-CROSSSLOT"), "all keys count: {heard}");
    // A read is one: after a break it is asked again.
    world.server("h:1").frozen = true;
    world.send(client, &format!("JSON.GET {a}"));
    world.server("h:1").frozen = false;
    world.break_server("h:1");
    world.pass(500);
    assert_eq!(world.heard(client), "-ERR unknown command");
}

#[test]
fn what_cannot_be_placed_is_refused() {
    let (a, _) = keys();
    let mut world = world();
    let client = world.client();
    for (line, expected) in [
        (format!("X.MOVING {a} 2"), "-ERR the keys of 'x.moving' cannot be told"),
        ("FT.SEARCH index *".to_owned(), "-ERR 'ft.search' names no keys"),
        ("MONITOR".to_owned(), "-ERR 'monitor' is not for clients of a proxy"),
        ("WAITAOF 1 0 0".to_owned(), "-ERR 'waitaof' is not for clients of a proxy"),
        ("NOSUCH x".to_owned(), "-ERR unknown command 'NOSUCH', with args beginning with: 'x'"),
    ] {
        for _ in 0..2 {
            let heard = world.asks(client, &line);
            assert!(heard.starts_with(expected), "{line}: {heard}");
        }
    }
    assert!(world.servers.values().all(|server| server.done.is_empty()));
    let heard = world.asks(client, &format!("MULTI\nX.MOVING {a} 2\nEXEC"));
    assert!(heard.starts_with("+OK -ERR the keys of") && heard.contains("-EXECABORT"), "{heard}");
}

#[test]
fn where_one_shard_has_all_it_is_for_that_one() {
    let file = "version = 1\n[[shard]]\nname = 'a'\nkind = 'redis'\nservers = ['h:1']\n";
    let mut world = World::with(file, WorkerLimits::default());
    let client = world.client();
    world.server("h:1").describes = vec![("ft.search", "+readonly", [0, 0, 0]), ("x.y", "+movablekeys", [1, 1, 1])];
    assert_eq!(world.asks(client, "FT.SEARCH index *\nX.Y a b"), "-ERR unknown command -ERR unknown command");
    assert_eq!(world.done("h:1"), ["FT.SEARCH index *", "X.Y a b"]);
}

#[test]
fn who_waits_for_a_description_is_not_forgotten() {
    let (a, _) = keys();
    let mut world = world();
    let (client, other) = (world.client(), world.client());
    world.server("h:1").frozen = true;
    world.send(client, &format!("JSON.GET {a}\nPING"));
    world.send(other, &format!("JSON.GET {a}"));
    assert_eq!(world.heard(client), "");
    world.server("h:1").frozen = false;
    world.break_server("h:1");
    world.pass(500);
    assert_eq!(world.heard(client), "-ERR unknown command +PONG");
    assert_eq!(world.heard(other), "-ERR unknown command");
}

#[test]
fn who_cannot_be_asked_is_waited_for() {
    let (a, _) = keys();
    let mut world = world();
    let client = world.client();
    for addr in ["h:1", "h:2", "h:3", "h:4"] {
        world.server(addr).dead = true;
        world.break_server(addr);
    }
    world.send(client, &format!("JSON.GET {a}\nPING"));
    world.pass(3_000);
    assert_eq!(world.heard(client), "");
    world.server("h:1").dead = false;
    world.pass(1_500);
    assert_eq!(world.heard(client), "-ERR unknown command +PONG");
    world.server("h:1").dead = true;
    world.break_server("h:1");
    world.send(client, &format!("TS.ADD {a} 1 2\nPING"));
    world.pass(10_100);
    let heard = world.heard(client);
    assert!(heard.starts_with("-UNAVAILABLE this request was not sent") && heard.ends_with("+PONG"), "{heard}");
}
