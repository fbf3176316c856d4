//! Transactions on both sides: the same commands between MULTI and EXEC, some of them after a WATCH and another client's
//! command.
//!
//! Where a watched key was changed neither side may go through. Ours may abort where Redis does not for two reasons only: a
//! watched key that is absent shares its version with its slot, and bits that are set to what they are count as a change.

use pontoon::protocol::command::resolve;
use pontoon::protocol::reply_scan::{array_elements, is_null};
use pontoon::protocol::request::{Args, parse_array, write_array};

use super::compare::Comparison;
use super::generate::{Command, Generator, Mix};
use super::redis_server::{Connection, RedisServer};
use super::replay::{self, Replay};

const QUEUED: usize = 6;
const WATCHED: usize = 3;

/// Compares the replies to this many transactions.
pub fn run(mix: &'static Mix, seed: u64, transactions: usize) {
    println!("PONTOON_SEED={seed}");
    let server = RedisServer::start();
    let mut connections = [server.connect(2), server.connect(3)];
    let mut other = server.connect(2);
    let comparison = Comparison::with(&mut other);
    let (mut replay, mut generator) = (Replay::new(), Generator::new(mix, seed, replay::wall_ms()));
    let (mut done, mut aborted, mut aborted_by_us_alone) = (0, 0, 0);
    for _ in 0..transactions {
        let resp3 = generator.flip();
        let connection = &mut connections[usize::from(resp3)];
        let watches = if generator.flip() { WATCHED } else { 0 };
        let watched: Vec<Vec<u8>> = (0..watches).map(|_| generator.key()).collect();
        if !watched.is_empty() {
            connection.exchange(&[[&[b"WATCH".to_vec()], &watched[..]].concat()]);
        }
        let absent = watched.iter().any(|key| replay.is_absent(key));
        let versions: Vec<u64> = watched.iter().map(|key| replay.version_of(key)).collect();
        let between: Vec<Command> = (0..usize::from(generator.flip())).map(|_| generator.command()).collect();
        other.exchange(&between);
        between.iter().for_each(|command| drop(replay.run(command, false, false)));
        let commands: Vec<Command> = (0..QUEUED).map(|_| generator.command()).filter(can_be_queued).collect();
        let watched: Vec<(&[u8], u64)> = watched.iter().map(Vec::as_slice).zip(versions).collect();
        let ours = replay.exec(&watched, &commands, resp3);
        let theirs = exec(connection, &commands);
        if is_null(&ours) == is_null(&theirs) {
            aborted += usize::from(is_null(&ours));
            done += usize::from(!is_null(&ours));
            check_replies(&comparison, &commands, &ours, &theirs, seed);
            continue;
        }
        let rewrote = between.iter().any(may_write_what_is_there);
        assert!(
            is_null(&ours) && (absent || rewrote),
            "seed {seed}: {between:?} between, watched {watched:?}\nours   {ours:?}\ntheirs {theirs:?}"
        );
        aborted_by_us_alone += 1;
        let flush = vec![b"FLUSHALL".to_vec()];
        other.exchange(std::slice::from_ref(&flush));
        replay.run(&flush, false, false);
    }
    println!("{done} transactions done, {aborted} aborted by both, {aborted_by_us_alone} by us alone");
    assert!(done > transactions / 4 && aborted > transactions / 200, "the commands do not meet");
    assert!(aborted_by_us_alone < transactions / 20, "an absent key aborts too often");
}

/// Whether a command raises a key's version though Redis may see no change.
fn may_write_what_is_there(command: &Command) -> bool {
    [&b"SETBIT"[..], b"BITFIELD"].iter().any(|name| command[0].eq_ignore_ascii_case(name))
}

/// Whether both sides queue it. Redis holds on to queued values, which OBJECT and MEMORY show.
fn can_be_queued(command: &Command) -> bool {
    // The look at all keys that comes before DBSIZE may be outside, with commands of others between.
    if [&b"OBJECT"[..], b"MEMORY", b"DBSIZE"].iter().any(|shows| command[0].eq_ignore_ascii_case(shows)) {
        return false;
    }
    let (mut request, mut spans) = (Vec::new(), Vec::new());
    write_array(&mut request, command.iter().map(Vec::as_slice));
    parse_array(&request, &mut spans).is_ok() && resolve(Args::new(&request, &spans)).is_ok()
}

fn exec(connection: &mut Connection, commands: &[Command]) -> Vec<u8> {
    let mut lines = vec![vec![b"MULTI".to_vec()]];
    lines.extend_from_slice(commands);
    lines.push(vec![b"EXEC".to_vec()]);
    let mut replies = connection.exchange(&lines);
    replies.pop().expect("a reply to each")
}

fn check_replies(comparison: &Comparison, commands: &[Command], ours: &[u8], theirs: &[u8], seed: u64) {
    let (mut our_spans, mut their_spans) = (Vec::new(), Vec::new());
    let our_count = array_elements(ours, &mut our_spans).expect("a well-formed reply");
    let their_count = array_elements(theirs, &mut their_spans).expect("a well-formed reply");
    assert_eq!(our_count, their_count, "seed {seed}: {commands:?}");
    for ((command, our), their) in commands.iter().zip(&our_spans).zip(&their_spans) {
        let (our, their) =
            (&ours[our.start as usize..our.end as usize], &theirs[their.start as usize..their.end as usize]);
        assert!(
            comparison.same(command, our, their),
            "seed {seed}: {:?} in {commands:?}\nours   {:?}\ntheirs {:?}",
            command,
            String::from_utf8_lossy(our),
            String::from_utf8_lossy(their)
        );
    }
}
