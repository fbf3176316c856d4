//! Commands that Redis servers know and Pontoon's shards do not: routed where shards are groups of such servers.
//!
//! Only where their keys are counts, and whether they write. `COMMAND` does not tell of them.

use super::*;

const fn foreign(name: &'static str, arity: i8) -> CommandSpec {
    command(Foreign, name, arity).one_shard()
}

/// What makes a connection one that hears messages, or is about those: the holder of the connection says what becomes of it.
const fn pubsub(name: &'static str, arity: i8) -> CommandSpec {
    command(Foreign, name, arity).flags(&[NoMulti])
}

const fn write(name: &'static str, arity: i8) -> CommandSpec {
    foreign(name, arity).flags(&[Write])
}

const fn read(name: &'static str, arity: i8) -> CommandSpec {
    foreign(name, arity).flags(&[Read])
}

const ANY: &[KeySpec] = &[key(1, &[Rw])];
const ALL: &[KeySpec] = &[key(1, &[Rw]).through(-1, 1)];
const TWO: &[KeySpec] = &[key(1, &[Rw]).through(1, 1)];
const SECOND: &[KeySpec] = &[key(2, &[Rw])];
const COUNTED: &[KeySpec] = &[counted_keys(2, &[Rw])];
const GEORADIUS: &[KeySpec] = &[key(1, &[Ro]), key(1, &[Ow]).at(KeyPlace::GeoStore { options: 6 })];
const BY_MEMBER: &[KeySpec] = &[key(1, &[Ro]), key(1, &[Ow]).at(KeyPlace::GeoStore { options: 5 })];
const STREAMS: &[KeySpec] = &[key(1, &[Ro]).at(KeyPlace::Streams)];

/// By name.
#[rustfmt::skip]
pub(in crate::protocol::command) static FOREIGN: &[CommandSpec] = &[
    write("eval", -3).keys(COUNTED), read("eval_ro", -3).keys(COUNTED),
    write("evalsha", -3).keys(COUNTED), read("evalsha_ro", -3).keys(COUNTED),
    write("fcall", -3).keys(COUNTED), read("fcall_ro", -3).keys(COUNTED),
    write("geoadd", -5).keys(ANY), read("geodist", -4).keys(ANY), read("geohash", -2).keys(ANY),
    read("geopos", -2).keys(ANY), write("georadius", -6).keys(GEORADIUS), read("georadius_ro", -6).keys(ANY),
    write("georadiusbymember", -5).keys(BY_MEMBER), read("georadiusbymember_ro", -5).keys(ANY),
    read("geosearch", -7).keys(ANY), write("geosearchstore", -8).keys(TWO),
    write("pfadd", -2).keys(ANY), read("pfcount", -2).keys(ALL), write("pfmerge", -2).keys(ALL),
    pubsub("psubscribe", -2), pubsub("publish", 3), pubsub("pubsub", -2), pubsub("punsubscribe", -1),
    command(Foreign, "script", -2).subcommands(&[
        command(Foreign, "script|exists", -3).flags(&[Read]).one_shard(),
        command(Foreign, "script|flush", -2).flags(&[Write]).every_shard(Merge::AllOk),
        command(Foreign, "script|load", 3).flags(&[Write]).every_shard(Merge::AnyOne),
    ]),
    pubsub("spublish", 3), pubsub("ssubscribe", -2), pubsub("subscribe", -2), pubsub("sunsubscribe", -1),
    pubsub("unsubscribe", -1),
    write("xack", -4).keys(ANY), write("xadd", -5).keys(ANY), write("xautoclaim", -6).keys(ANY),
    write("xclaim", -6).keys(ANY), write("xdel", -3).keys(ANY), write("xgroup", -3).keys(SECOND),
    read("xinfo", -3).keys(SECOND), read("xlen", 2).keys(ANY), read("xpending", -3).keys(ANY),
    read("xrange", -4).keys(ANY), read("xread", -4).keys(STREAMS), write("xreadgroup", -7).keys(STREAMS),
    read("xrevrange", -4).keys(ANY), write("xsetid", -3).keys(ANY), write("xtrim", -4).keys(ANY),
];

impl CommandSpec {
    /// A command that a server described, whose requests it judges by itself.
    pub fn learned(name: std::string::String, flags: &[Flag], places: &[KeyPlace]) -> Self {
        let keys: Vec<KeySpec> = places.iter().map(|place| key(1, &[Rw]).at(*place)).collect();
        foreign(std::string::String::leak(name), -1).flags(flags).keys(Vec::leak(keys))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_order_and_none_is_ours() {
        assert!(FOREIGN.is_sorted_by_key(|spec| spec.name));
        for spec in FOREIGN {
            assert!(crate::protocol::command::lookup(spec.name.as_bytes()).is_none(), "{}", spec.name);
        }
    }

    /// The positions of the keys in a request.
    fn positions(line: &str) -> Vec<usize> {
        use crate::protocol::request::{parse_array, write_array};
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let (mut bytes, mut spans) = (Vec::new(), Vec::new());
        write_array(&mut bytes, words.into_iter());
        parse_array(&bytes, &mut spans).unwrap();
        let args = crate::protocol::request::Args::new(&bytes, &spans);
        crate::protocol::command::resolve_with_foreign(args).unwrap().key_positions(args).collect()
    }

    #[test]
    fn all_keys_are_found() {
        for (line, expected) in [
            ("GEORADIUS k 1 2 3 km STORE t", &[1, 7][..]),
            ("georadius store 1 2 3 km COUNT 3 any Store s storedist t", &[1, 12]),
            ("GEORADIUS k 1 2 3 km ASC STORE", &[1]),
            ("GEORADIUS_RO k 1 2 3 km", &[1]),
            ("GEORADIUSBYMEMBER k store 3 km STOREDIST t", &[1, 6]),
            ("GEORADIUSBYMEMBER k store 3 km", &[1]),
            ("GEOSEARCHSTORE t k FROMMEMBER m BYRADIUS 1 km", &[1, 2]),
            ("SORT k BY w* GET # STORE t", &[1, 1, 7]),
            ("EVAL return 2 a b c", &[3, 4]),
            ("XREADGROUP GROUP streams c STREAMS a b 0 0", &[5, 6]),
            ("PFMERGE t a b", &[1, 2, 3]),
        ] {
            let mut found = positions(line);
            found.dedup();
            let mut expected = expected.to_vec();
            expected.dedup();
            assert_eq!(found, expected, "{line}");
        }
    }
}
