//! Files that are edited while clients ask.

use super::*;

#[test]
fn servers_that_go_answer_what_they_have() {
    let (a, b) = keys();
    let mut world = World::new();
    let client = world.client();
    world.server("h:1").frozen = true;
    world.send(client, &format!("INCR {a}\nSET {b} 1"));
    world.fail_over("h:1", "h:2");
    world.engine.follow(&config(&FILE.replace("['h:1', 'h:2']", "['h:2']").replace("version = 1", "version = 2")));
    world.turn();
    world.server("h:1").replica = false;
    world.thaw("h:1");
    world.pass(300);
    assert_eq!(world.heard(client), ":1 +OK");
    assert!(world.sockets.values().all(|socket| socket.addr != "h:1"), "then its connections are closed");
    assert_eq!(world.asks(client, &format!("SET {a} 5\nGET {a}")), "+OK $1 5");
    assert_eq!(world.done("h:2").len(), 2);
}

#[test]
fn a_shard_more_takes_its_slots_at_once() {
    let mut world = World::new();
    let more = format!("{FILE}[[shard]]\nname = 'c'\nkind = 'redis'\nservers = ['h:7']\n")
        .replace("version = 1", "version = 2");
    world.servers.insert("h:7".to_owned(), Server::default());
    world.engine.follow(&config(&more));
    world.pass(50);
    let client = world.client();
    let key = (0..).map(|i| format!("k{i}")).find(|k| Slot::of_key(k.as_bytes()).number() > 11_000).unwrap();
    assert_eq!(world.asks(client, &format!("SET {key} 1")), "+OK");
    assert_eq!(world.done("h:7").len(), 1);
    // What waits for a shard that is taken away goes to the next owner of its slot.
    world.server("h:7").dead = true;
    world.break_server("h:7");
    world.send(client, &format!("SET {key} 2"));
    world.engine.follow(&config(&FILE.replace("version = 1", "version = 3")));
    world.pass(50);
    assert_eq!(world.heard(client), "+OK");
    assert_eq!(world.done("h:3"), [format!("SET {key} 2")]);
}
