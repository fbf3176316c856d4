//! Commands that Redis servers know and Pontoon's shards do not: routed where shards are groups of such servers.
//!
//! Only where their keys are counts, and whether they write. `COMMAND` does not tell of them.

use super::*;

const fn foreign(name: &'static str, arity: i8) -> CommandSpec {
    command(Foreign, name, arity).one_shard()
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
const STREAMS: &[KeySpec] = &[key(1, &[Ro]).at(KeyPlace::Streams)];

/// By name.
#[rustfmt::skip]
pub(in crate::protocol::command) static FOREIGN: &[CommandSpec] = &[
    write("eval", -3).keys(COUNTED), read("eval_ro", -3).keys(COUNTED),
    write("evalsha", -3).keys(COUNTED), read("evalsha_ro", -3).keys(COUNTED),
    write("fcall", -3).keys(COUNTED), read("fcall_ro", -3).keys(COUNTED),
    write("geoadd", -5).keys(ANY), read("geodist", -4).keys(ANY), read("geohash", -2).keys(ANY),
    read("geopos", -2).keys(ANY), write("georadius", -6).keys(ANY), read("georadius_ro", -6).keys(ANY),
    write("georadiusbymember", -5).keys(ANY), read("georadiusbymember_ro", -5).keys(ANY),
    read("geosearch", -7).keys(ANY), write("geosearchstore", -8).keys(TWO),
    write("pfadd", -2).keys(ANY), read("pfcount", -2).keys(ALL), write("pfmerge", -2).keys(ALL),
    command(Foreign, "script", -2).subcommands(&[
        command(Foreign, "script|exists", -3).flags(&[Read]).one_shard(),
        command(Foreign, "script|flush", -2).flags(&[Write]).every_shard(Merge::AllOk),
        command(Foreign, "script|load", 3).flags(&[Write]).every_shard(Merge::AnyOne),
    ]),
    write("xack", -4).keys(ANY), write("xadd", -5).keys(ANY), write("xautoclaim", -6).keys(ANY),
    write("xclaim", -6).keys(ANY), write("xdel", -3).keys(ANY), write("xgroup", -3).keys(SECOND),
    read("xinfo", -3).keys(SECOND), read("xlen", 2).keys(ANY), read("xpending", -3).keys(ANY),
    read("xrange", -4).keys(ANY), read("xread", -4).keys(STREAMS), write("xreadgroup", -7).keys(STREAMS),
    read("xrevrange", -4).keys(ANY), write("xsetid", -3).keys(ANY), write("xtrim", -4).keys(ANY),
];

/// A command of a module, whose names have a dot: the key comes first.
pub(in crate::protocol::command) static OF_MODULE: CommandSpec = write("module", -2).keys(ANY);

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
}
