//! The differential oracle: the same random commands go to a real `redis-server` and to the keyspace, and every reply
//! is compared byte for byte.
//!
//! A run for each type, on a server of its own. The seed is printed; `PONTOON_SEED` sets it, `PONTOON_COMMANDS` how many
//! commands a run takes, `PONTOON_REDIS_SERVER` which server it is, and `PONTOON_VALKEY_SERVER` where a valkey-server 9.1
//! is, which the fields that expire are compared with if there is one. Every difference that is allowed is a
//! [`compare::Rule`]. After a difference both sides are emptied, so that one mistake does not hide the next.

mod compare;
mod dump;
mod generate;
mod redis_server;
mod replay;
mod transactions;

use std::collections::BTreeMap;

use compare::{Comparison, leaves_other_data};
use generate::{Generator, Mix};
use redis_server::RedisServer;
use replay::Replay;

const BATCH_COMMANDS: usize = 400;
/// How many differences are shown.
const SHOWN_MAX: usize = 40;

#[test]
fn strings_bits_and_keys() {
    run(&generate::STRINGS, 120_000);
}

#[test]
fn lists() {
    run(&generate::LISTS, 20_000);
}

#[test]
fn hashes() {
    run(&generate::HASHES, 60_000);
}

#[test]
fn fields_that_expire() {
    let Some(server) = RedisServer::start_valkey() else {
        println!("no valkey-server in the PATH, and none in PONTOON_VALKEY_SERVER: nothing is compared");
        return;
    };
    run_beside(&server, &generate::FIELD_EXPIRIES, 60_000);
}

#[test]
fn transactions_with_and_without_watched_keys() {
    let seed = setting("PONTOON_SEED").unwrap_or_else(rand::random);
    transactions::run(&generate::STRINGS, seed, setting("PONTOON_COMMANDS").unwrap_or(6_000));
}

#[test]
fn sets() {
    run(&generate::SETS, 60_000);
}

#[test]
fn all_types_on_the_same_keys() {
    run(&generate::MIXED, 60_000);
}

#[test]
fn sort() {
    run(&generate::SORT, 30_000);
}

#[test]
fn sorted_sets_and_keys() {
    run(&generate::SORTED_SETS, 40_000);
}

/// A number that the environment sets.
fn setting<T: std::str::FromStr<Err: std::fmt::Debug>>(name: &str) -> Option<T> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// Compares the replies to this many commands with those of Redis.
fn run(mix: &'static Mix, commands: usize) {
    run_beside(&RedisServer::start(), mix, commands);
}

/// Compares the replies to this many commands with those of a server.
fn run_beside(server: &RedisServer, mix: &'static Mix, commands: usize) {
    let commands = setting("PONTOON_COMMANDS").unwrap_or(commands);
    let seed = setting("PONTOON_SEED").unwrap_or_else(rand::random);
    println!("PONTOON_SEED={seed}");
    let mut connections = [server.connect(2), server.connect(3)];
    let comparison = Comparison::with(&mut connections[0]);
    let mut replay = Replay::new();
    let mut generator = Generator::new(mix, seed, replay::wall_ms());
    let (mut done, mut differences) = (0, BTreeMap::<String, Vec<String>>::new());
    // All since both sides were last emptied.
    let mut history: Vec<Vec<Vec<u8>>> = Vec::new();
    while done < commands {
        let resp3 = generator.flip();
        let batch: Vec<Vec<Vec<u8>>> = (0..BATCH_COMMANDS).map(|_| generator.command()).collect();
        let theirs = connections[usize::from(resp3)].exchange(&batch);
        let mut apart = false;
        for (command, theirs) in batch.iter().zip(&theirs) {
            history.push(command.clone());
            let ours = replay.run(command, resp3, generator.flip());
            if comparison.same(command, &ours, theirs) {
                apart = leaves_other_data(command, &ours, theirs);
            } else {
                apart = true;
                let shown = describe(&history, &ours, theirs, resp3);
                let name = String::from_utf8_lossy(&command[0]).to_uppercase();
                differences.entry(name).or_default().push(shown);
            }
            if apart {
                break;
            }
        }
        if apart {
            let flush = vec![b"FLUSHALL".to_vec()];
            connections[0].exchange(std::slice::from_ref(&flush));
            replay.run(&flush, false, false);
            history.clear();
        }
        done += batch.len();
    }
    let shown: Vec<&str> = differences.values().flat_map(|all| all.iter().take(3)).map(String::as_str).collect();
    let total: usize = differences.values().map(Vec::len).sum();
    assert!(total == 0, "{total} differences, seed {seed}:\n{}", shown[..shown.len().min(SHOWN_MAX)].join("\n"));
    println!("{done} commands, no difference");
}

/// A difference, with the commands before it that touched the same keys.
fn describe(history: &[Vec<Vec<u8>>], ours: &[u8], theirs: &[u8], resp3: bool) -> String {
    let (last, before) = history.split_last().expect("there is a last command");
    let related = |command: &&Vec<Vec<u8>>| command[1..].iter().any(|arg| !arg.is_empty() && last[1..].contains(arg));
    let mut lines: Vec<String> = before.iter().filter(related).map(|command| show(command)).collect();
    let lines = lines.split_off(lines.len().saturating_sub(10));
    format!(
        "after\n    {}\n  {} (RESP{})\n    ours:   {}\n    theirs: {}",
        lines.join("\n    "),
        show(last),
        if resp3 { 3 } else { 2 },
        ours.escape_ascii(),
        theirs.escape_ascii()
    )
}

fn show(command: &[Vec<u8>]) -> String {
    let word = |arg: &Vec<u8>| format!("'{}'", arg[..arg.len().min(100)].escape_ascii());
    command.iter().map(word).collect::<Vec<_>>().join(" ")
}
