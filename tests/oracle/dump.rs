//! DUMP and RESTORE between the keyspace and a real server: values of every type move there and back unchanged, and
//! what one refuses the other refuses too.

use std::collections::BTreeSet;

use pontoon::protocol::reply_scan::{array_elements, is_error};
use rand::prelude::*;
use rand::rngs::StdRng;

use crate::redis_server::{Connection, RedisServer};
use crate::replay::Replay;
use crate::setting;

type Command = Vec<Vec<u8>>;

const VALUES: usize = 400;
const REFUSALS: usize = 4_000;
const KEY: &[u8] = b"k";
const BACK: &[u8] = b"back";

fn command(words: &[&[u8]]) -> Command {
    words.iter().map(|word| word.to_vec()).collect()
}

fn seeded() -> StdRng {
    let seed: u64 = setting("PONTOON_SEED").unwrap_or_else(rand::random);
    println!("PONTOON_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// The bytes of a bulk reply.
fn bulk(reply: &[u8]) -> &[u8] {
    let start = reply.iter().position(|&byte| byte == b'\n').expect("a reply has a line") + 1;
    &reply[start..reply.len() - 2]
}

fn one(connection: &mut Connection, command: Command) -> Vec<u8> {
    connection.exchange(&[command]).remove(0)
}

fn element(random: &mut StdRng) -> Vec<u8> {
    match random.random_range(0..8) {
        0 => random.random_range(-10_i64..300).to_string().into_bytes(),
        1 => (random.random::<i64>() >> random.random_range(0..63)).to_string().into_bytes(),
        2 => vec![b'a' + random.random_range(0..26); random.random_range(1..100)],
        3 => vec![b'a' + random.random_range(0..26); random.random_range(1..20_000)],
        4 => b"0123456789 abc".repeat(random.random_range(1..20)),
        _ => (0..random.random_range(0..30)).map(|_| random.random()).collect(),
    }
}

/// Commands that make a value, and one that reads all of it.
fn value(random: &mut StdRng) -> (Command, Command) {
    let size = *[1, 3, 20, 127, 128, 129, 600].choose(random).expect("there are sizes");
    let integers = random.random_bool(0.3);
    let mut elements: Vec<Vec<u8>> = (0..size)
        .map(|_| if integers { (random.random::<i64>() >> 40).to_string().into_bytes() } else { element(random) })
        .collect();
    let whole: [&[u8]; 4] = [KEY, b"0", b"-1", b"WITHSCORES"];
    let (name, reader) = match random.random_range(0..5) {
        0 => {
            elements.truncate(1);
            ("SET", command(&[b"GET", KEY]))
        }
        1 => ("RPUSH", command(&[&[&b"LRANGE"[..]], &whole[..3]].concat())),
        2 => ("SADD", command(&[b"SMEMBERS", KEY])),
        3 => {
            elements = elements.into_iter().flat_map(|name| [name, element(random)]).collect();
            ("HSET", command(&[b"HGETALL", KEY]))
        }
        _ => {
            let mut score = || match random.random_range(0..6) {
                0 => "inf".into(),
                1 => "-inf".into(),
                2 => random.random_range(-5..500).to_string().into_bytes(),
                _ => (random.random::<f64>() * 1e6).to_string().into_bytes(),
            };
            elements = elements.into_iter().flat_map(|member| [score(), member]).collect();
            ("ZADD", command(&[&[&b"ZRANGE"[..]], &whole[..]].concat()))
        }
    };
    let maker = [vec![name.as_bytes().to_vec(), KEY.to_vec()], elements].concat();
    (maker, reader)
}

/// A reply for comparison: sets and hashes have no order, a hash's fields have their values.
fn content(reader: &Command, reply: &[u8]) -> BTreeSet<(usize, Vec<u8>)> {
    let mut spans = Vec::new();
    let Ok(Some(_)) = array_elements(reply, &mut spans) else { return [(0, reply.to_vec())].into() };
    let parts: Vec<&[u8]> = spans.iter().map(|span| &reply[span.start as usize..span.end as usize]).collect();
    match reader[0].as_slice() {
        b"SMEMBERS" => parts.iter().map(|part| (0, part.to_vec())).collect(),
        b"HGETALL" => parts.chunks(2).map(|pair| (0, pair.concat())).collect(),
        _ => parts.iter().enumerate().map(|(at, part)| (at, part.to_vec())).collect(),
    }
}

#[test]
fn values_move_to_and_from_a_real_server() {
    let mut random = seeded();
    let server = RedisServer::start();
    let mut theirs = server.connect(2);
    let mut ours = Replay::new();
    for _ in 0..VALUES {
        let (maker, reader) = value(&mut random);
        theirs.exchange(&[command(&[b"DEL", KEY]), maker]);
        let payload = one(&mut theirs, command(&[b"DUMP", KEY]));
        let restored = ours.run(&command(&[b"RESTORE", KEY, b"0", bulk(&payload), b"REPLACE"]), false, false);
        assert_eq!(restored, b"+OK\r\n", "{}", payload.escape_ascii());
        let dumped = ours.run(&command(&[b"DUMP", KEY]), false, random.random());
        let back = one(&mut theirs, command(&[b"RESTORE", BACK, b"0", bulk(&dumped), b"REPLACE"]));
        assert_eq!(back, b"+OK\r\n", "{}", dumped.escape_ascii());
        let mut reader_of_back = reader.clone();
        reader_of_back[1] = BACK.to_vec();
        let contents = theirs.exchange(&[reader.clone(), reader_of_back]);
        assert_eq!(content(&reader, &contents[0]), content(&reader, &contents[1]));
        // Redis 7.0 knows no other encoding of lists and fewer of sets.
        if !matches!(reader[0].as_slice(), b"LRANGE" | b"SMEMBERS") {
            // What was made may have had a longer element once, which Redis never forgets; what is restored has not.
            let restore = command(&[b"RESTORE", KEY, b"0", bulk(&payload), b"REPLACE"]);
            assert_eq!(one(&mut theirs, restore), b"+OK\r\n");
            let encoding = command(&[b"OBJECT", b"ENCODING", KEY]);
            let encodings = [ours.run(&encoding, false, false), one(&mut theirs, encoding)];
            assert_eq!(encodings[0], encodings[1], "{:?}", reader);
        }
    }
}

#[test]
fn what_a_real_server_refuses_is_refused() {
    let mut random = seeded();
    let server = RedisServer::start();
    let mut theirs = server.connect(2);
    let mut ours = Replay::new();
    let makers: [&[&[u8]]; 5] = [
        &[b"SET", KEY, b"value"],
        &[b"RPUSH", KEY, b"a", b"12"],
        &[b"SADD", KEY, b"1", b"2"],
        &[b"HSET", KEY, b"f", b"v"],
        &[b"ZADD", KEY, b"1.5", b"m"],
    ];
    let mut payloads: Vec<Vec<u8>> = vec![Vec::new(), b"short".to_vec(), vec![7; 10]];
    for maker in makers {
        let replies = theirs.exchange(&[command(&[b"DEL", KEY]), command(maker), command(&[b"DUMP", KEY])]);
        payloads.push(bulk(&replies[2]).to_vec());
    }
    one(&mut theirs, command(&[b"DEL", KEY]));
    let mut refused = 0;
    for _ in 0..REFUSALS {
        let mut payload = payloads.choose(&mut random).expect("there are payloads").clone();
        if random.random_bool(0.1) && !payload.is_empty() {
            let at = random.random_range(0..payload.len());
            payload[at] ^= 1 << random.random_range(0..8);
        }
        let ttl = ["0", "0", "0", "100000000", "-1", "x", "1.5", ""].choose(&mut random).expect("there are times");
        let name = if random.random_bool(0.95) { &b"RESTORE"[..] } else { b"DUMP" };
        let mut words = command(&[name, [KEY, BACK][usize::from(random.random::<bool>())], ttl.as_bytes(), &payload]);
        for _ in 0..random.random_range(0..4) {
            let options = ["REPLACE", "replace", "ABSTTL", "IDLETIME", "FREQ", "5", "0", "255", "256", "-1", "x"];
            words.push(options.choose(&mut random).expect("there are options").as_bytes().to_vec());
        }
        words.truncate(if random.random_bool(0.05) { random.random_range(1..5) } else { usize::MAX });
        if random.random_bool(0.1) {
            words = command(&[b"DEL", KEY]);
        }
        let replies = [ours.run(&words, false, random.random()), one(&mut theirs, words.clone())];
        let same = replies[0] == replies[1] || words[0] == b"DUMP" && !is_error(&replies[0]) && !is_error(&replies[1]);
        assert!(
            same,
            "{:?}: ours {}, theirs {}",
            words.iter().map(|word| word.escape_ascii().to_string()).collect::<Vec<_>>(),
            replies[0].escape_ascii(),
            replies[1].escape_ascii()
        );
        refused += usize::from(is_error(&replies[0]));
    }
    assert!((REFUSALS / 10..REFUSALS).contains(&refused), "{refused} refusals: the mix shows nothing");
}
