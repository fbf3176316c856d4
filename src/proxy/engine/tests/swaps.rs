//! Many clients, nodes that answer in any order, refuse and break: no reply ever reaches another client, and each
//! client's replies keep the order of its requests.

use super::*;

/// Draws, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % limit
    }
}

/// What a client waits for: the text that names client and request.
type Expected = BTreeMap<u32, Vec<String>>;

fn story(seed: u64, clients: usize, steps: usize) {
    let mut dice = Dice(seed);
    let mut w = World::new();
    let keys: Vec<_> = (0..clients).map(|_| w.client()).collect();
    let mut expected = Expected::new();
    let mut sent = 0;
    for _ in 0..steps {
        match dice.below(20) {
            0..=8 => {
                let client = keys[dice.below(clients)];
                let level = [ReadLevel::Any, ReadLevel::Session, ReadLevel::Strong][dice.below(3)];
                w.send(client, &["CLIENT", "READS", level.name()]);
                expected.entry(client).or_default().push("OK".to_owned());
                sent += 1;
                let unique = format!("c{client}r{sent}");
                let (a, b) = (key_of(0, dice.below(5)), key_of(1, dice.below(5)));
                match dice.below(4) {
                    0 => w.send(client, &["SET", &a, &unique]),
                    1 => w.send(client, &["GETSET", &b, &unique]),
                    2 => w.send(client, &["GETRANGE", &a, &unique, "1"]),
                    _ => w.send(client, &["MSET", &a, &unique, &b, &unique]),
                }
                expected.entry(client).or_default().push(unique);
            }
            9..=16 => {
                let node = dice.below(3);
                let count = w.nodes[node].got.len();
                if count > 0 {
                    let got = w.nodes[node].got.remove(dice.below(count));
                    answer(&mut w, node, &got, &mut dice);
                }
            }
            17 => {
                let (shard, node) = (dice.below(2), dice.below(3));
                w.elect(shard, node);
            }
            18 if dice.below(8) == 0 => {
                let node = dice.below(3);
                w.cut(node);
                w.nodes[node].connected = true;
            }
            _ => {
                w.tick(20);
                (0..3).for_each(|n| w.push_status(n));
                w.turn();
            }
        }
    }
    for _ in 0..400 {
        w.tick(20);
        for node in 0..3 {
            w.push_status(node);
            while !w.nodes[node].got.is_empty() {
                let got = w.nodes[node].got.remove(0);
                let reply = echo(&got);
                w.reply(node, &got, 20, &reply);
            }
        }
    }
    for client in keys {
        check(&w.read(client), &expected.remove(&client).unwrap_or_default(), seed);
    }
    w.nothing_left();
}

/// A node answers with the unique text of the request, or refuses it.
fn answer(w: &mut World, node: usize, got: &Got, dice: &mut Dice) {
    let needs_leader = got.head.write || got.head.after_writes;
    let leads = w.leaders[got.head.shard.0 as usize - 1].0 == node;
    if needs_leader && !leads {
        // As a node does (R1): all later frames of the generation are refused too.
        w.refuse(node, got, RefusalReason::NotLeader, None);
        let later: Vec<_> = w.nodes[node]
            .got
            .extract_if(.., |g| {
                let same = |g: &Got| (g.head.client, g.head.shard, g.head.generation);
                same(g) == same(got)
            })
            .collect();
        later.iter().for_each(|g| w.refuse(node, g, RefusalReason::Superseded, None));
        return;
    }
    if got.head.write && dice.below(12) == 0 {
        return w.refuse(node, got, RefusalReason::Unknown, None);
    }
    let reply = echo(got);
    w.reply(node, got, 20, &reply);
}

fn echo(got: &Got) -> String {
    let text = String::from_utf8(got.body.clone()).unwrap();
    let words: Vec<_> = text.split("\r\n").collect();
    if words[2] == "MSET" { "+OK\r\n".to_owned() } else { format!("+{}\r\n", words[6]) }
}

fn check(output: &str, expected: &[String], seed: u64) {
    let lines: Vec<_> = output.split_terminator("\r\n").collect();
    assert_eq!(lines.len(), expected.len(), "seed {seed}: every request has one answer");
    for (line, expected) in lines.iter().zip(expected) {
        let failed = line.starts_with("-TIMEOUT") || line.starts_with("-UNAVAILABLE");
        assert!(failed || *line == "+OK" || *line == format!("+{expected}"), "seed {seed}: {line} for {expected}");
    }
}

#[test]
fn no_reply_reaches_another_client_or_another_request() {
    (1..=40).for_each(|seed| story(seed, 8, 400));
}

#[test]
fn two_hundred_clients_at_once() {
    story(4711, 200, 6_000);
}
