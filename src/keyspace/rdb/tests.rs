//! Values of real servers, values of ours there and back, and bytes that are no values.

use proptest::prelude::*;

use super::super::record::ExpireAt;
use super::super::value::{Collection, End, Hash, List, Set, SortedSet, StreamPlace, Text, Value};
use super::samples::SAMPLES;
use super::*;

const STRING_BYTES_MAX: usize = 1024 * 1024;

fn load(payload: &[u8]) -> Result<Value, RdbError> {
    unseal(payload).and_then(|object| decode(object, STRING_BYTES_MAX))
}

fn sealed(object: &[u8], version: u16) -> Vec<u8> {
    let mut payload = object.to_vec();
    seal(&mut payload, version);
    payload
}

fn word(bytes: &[u8]) -> String {
    match bytes {
        [first, rest @ ..] if bytes.len() > 20 && rest.iter().all(|byte| byte == first) => {
            format!("{}*{}", char::from(*first), bytes.len())
        }
        _ => bytes.escape_ascii().to_string(),
    }
}

/// A value in one line; long strings of one letter as `x*100`.
fn describe(value: &Value) -> String {
    let mut words: Vec<String> = match value {
        Value::String(text) => return format!("string {}", text.with_bytes(word)),
        Value::List(list) => return format!("list {}", list.iter().map(word).collect::<Vec<_>>().join(" ")),
        Value::Set(set) => set.iter().map(word).collect(),
        Value::Hash(hash) => hash
            .iter()
            .map(|field| {
                let expiry = field.expire_at.map_or(String::new(), |at| format!("@{at}"));
                format!("{}={}{expiry}", word(field.name), word(field.value))
            })
            .collect(),
        Value::SortedSet(set) => set.iter().map(|(member, score)| format!("{}={score}", word(member))).collect(),
    };
    words.sort();
    format!("{} {}", value.type_name(), words.join(" "))
}

/// Everything of a value that replicas compare.
fn stream(value: &Value) -> (u8, Vec<u8>) {
    let mut bytes = Vec::new();
    assert_eq!(value.write_stream(StreamPlace::default(), usize::MAX / 2, &mut bytes), None);
    (value.stream_form(), bytes)
}

#[test]
fn values_of_real_servers_are_read() {
    for (server, expected, payload) in SAMPLES {
        let value = load(payload).unwrap_or_else(|error| panic!("{server}, {expected}: {error}"));
        assert_eq!(describe(&value), *expected, "{server}");
        let back = load(&dump(&value, 0)).unwrap();
        assert_eq!(stream(&back), stream(&value), "{server}, {expected}");
    }
}

#[test]
fn no_part_of_a_value_is_one_and_no_other_value_has_its_checksum() {
    for (_, _, payload) in SAMPLES {
        for end in 0..payload.len() {
            assert_eq!(load(&payload[..end]).err(), Some(RdbError::Footer));
        }
        for at in 0..payload.len() {
            let mut damaged = payload.to_vec();
            damaged[at] ^= 1 << (at % 8);
            assert_eq!(load(&damaged).err(), Some(RdbError::Footer));
        }
    }
}

#[test]
fn an_object_that_was_cut_before_it_was_sealed_is_none() {
    for (server, expected, payload) in SAMPLES {
        let object = unseal(payload).unwrap();
        for end in 0..object.len() {
            let cut = decode(&object[..end], STRING_BYTES_MAX);
            assert!(cut.is_err(), "{server}, {expected}, first {end} of {} bytes", object.len());
        }
        assert!(decode(&[object, b"\0"].concat(), STRING_BYTES_MAX).is_err());
    }
}

#[test]
fn bytes_that_changed_before_they_were_sealed_give_a_value_or_an_error() {
    for (_, _, payload) in SAMPLES {
        let object = unseal(payload).unwrap();
        for at in 0..object.len() {
            for change in [1, 0x10, 0x80, 0xff] {
                let mut damaged = object.to_vec();
                damaged[at] ^= change;
                if let Ok(value) = decode(&damaged, STRING_BYTES_MAX) {
                    // Whatever it is, it is a whole value.
                    let back = load(&dump(&value, 0)).map(|back| describe(&back));
                    assert!(value.is_gone(0) || back == Ok(describe(&value)));
                }
            }
        }
    }
}

#[test]
fn versions_are_those_of_redis_up_to_7_2_and_of_valkey_9() {
    for (version, known) in [(0, true), (11, true), (12, false), (79, false), (80, true), (81, false)] {
        let expected = if known { Ok("string a".to_owned()) } else { Err(RdbError::Footer) };
        assert_eq!(load(&sealed(b"\0\x01a", version)).map(|value| describe(&value)), expected, "{version}");
    }
    assert_eq!(dump(&Value::String(Text::encode(b"a")), 0), sealed(b"\0\x01a", 8));
}

#[test]
fn contradictions_are_refused() {
    let cases: &[(&str, &[u8])] = &[
        ("no form", b""),
        ("unknown form", b"\x06\x01a"),
        ("stream", b"\x0f\x01a"),
        ("empty list", b"\x01\0"),
        ("length of unknown form", b"\0\x82\0\0\0\0"),
        ("count without items", b"\x01\x81\xff\xff\xff\xff\xff\xff\xff\xff"),
        ("pairs past all numbers", b"\x04\x81\xff\xff\xff\xff\xff\xff\xff\xff\x01a"),
        ("member twice", b"\x02\x02\x01a\x01a"),
        ("member twice, as number and as text", b"\x02\x02\xc0\x07\x017"),
        ("field twice", b"\x04\x02\x01a\x01b\x01a\x01c"),
        ("score that is none", b"\x05\x01\x01a\0\0\0\0\0\0\xf8\x7f"),
        ("text score that is none", b"\x03\x01\x01a\xfd"),
        ("text score that is not a number", b"\x03\x01\x01a\x03abc"),
        ("expiry below zero", b"\x16\x01\x01a\x01b\xfe\xff\xff\xff\xff\xff\xff\xff"),
        ("intset out of order", b"\x0b\x0c\x02\0\0\0\x02\0\0\0\x02\0\x01\0"),
        ("intset of odd width", b"\x0b\x0b\x03\0\0\0\x01\0\0\0\x01\0\0"),
        ("empty intset", b"\x0b\x08\x02\0\0\0\0\0\0\0"),
        ("empty listpack", b"\x14\x07\x07\0\0\0\0\0\xff"),
        ("listpack with half a pair", b"\x10\x09\x09\0\0\0\x01\0\x0c\x01\xff"),
        ("listpack with a wrong count", b"\x14\x09\x09\0\0\0\x02\0\x0c\x01\xff"),
        ("listpack with a wrong length behind", b"\x14\x09\x09\0\0\0\x01\0\x0c\x02\xff"),
        ("listpack with member twice", b"\x14\x0b\x0b\0\0\0\x02\0\x0c\x01\x0c\x01\xff"),
        ("ziplist with a wrong last", b"\x0a\x0f\x0f\0\0\0\x0a\0\0\0\x02\0\0\xf3\x02\xf6\xff"),
        ("ziplist with a wrong length before", b"\x0a\x0f\x0f\0\0\0\x0c\0\0\0\x02\0\0\xf3\x03\xf6\xff"),
        ("ziplist with a wrong count", b"\x0a\x0f\x0f\0\0\0\x0c\0\0\0\x03\0\0\xf3\x02\xf6\xff"),
        ("zipmap without value", b"\x09\x06\x01\x03foo\xff"),
        ("node of unknown kind", b"\x12\x01\x03\x01a"),
        ("list of empty nodes", b"\x12\x01\x02\x07\x07\0\0\0\0\0\xff"),
    ];
    for (case, object) in cases {
        assert!(matches!(decode(object, STRING_BYTES_MAX), Err(RdbError::Malformed(_))), "{case}");
    }
}

#[test]
fn strings_have_a_longest_whatever_they_claim() {
    assert_eq!(decode(b"\0\x03abc", 2).err(), Some(RdbError::TooLarge));
    assert_eq!(decode(b"\0\xc3\x05\x14\0a\xe0\x0a\0", 19).err(), Some(RdbError::TooLarge));
    // A claim alone takes no memory: 2^32 - 1 bytes out of one.
    let claim = b"\0\xc3\x01\x80\xff\xff\xff\xff\0";
    assert_eq!(decode(claim, usize::MAX).err(), Some(RdbError::TooLarge));
    let claim = b"\0\xc3\x02\x80\x0f\xff\xff\xff\0a";
    assert!(matches!(decode(claim, usize::MAX), Err(RdbError::Malformed(_))));
}

#[test]
fn fields_that_are_expired_are_not_dumped() {
    let mut hash = Hash::default();
    for (name, at) in [("a", 0), ("b", 100), ("c", 200)] {
        hash.put(name.as_bytes(), b"v", ExpireAt::new(at));
    }
    let value = hash.into_value();
    let seen = |now_ms| {
        let payload = dump(&value, now_ms);
        (payload[0], describe(&load(&payload).unwrap()))
    };
    assert_eq!(seen(0), (22, "hash a=v b=v@100 c=v@200".to_owned()));
    assert_eq!(seen(100), (22, "hash a=v c=v@200".to_owned()));
    assert_eq!(seen(200), (4, "hash a=v".to_owned()));
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => prop::collection::vec(any::<u8>(), 0..24),
        3 => any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        2 => any::<i16>().prop_map(|number| number.to_string().into_bytes()),
        1 => (60_usize..70, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
        1 => (16_380_usize..16_390, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
    ]
}

fn score() -> impl Strategy<Value = f64> {
    any::<f64>().prop_filter("a score is a number", |score| !score.is_nan())
}

fn values() -> impl Strategy<Value = Value> {
    let many = || prop::collection::vec(bytes(), 1..40);
    let list = many().prop_map(|all| {
        let mut list = List::default();
        all.iter().for_each(|element| list.push(End::Right, element));
        list.into_value()
    });
    let set = many().prop_map(|all| {
        let mut set = Set::default();
        for member in &all {
            set.insert(member);
        }
        set.into_value()
    });
    let hash = prop::collection::vec((bytes(), bytes(), prop::option::of(1_u64..1 << 62)), 1..40).prop_map(|all| {
        let mut hash = Hash::default();
        for (name, value, at) in &all {
            hash.put(name, value, at.and_then(ExpireAt::new));
        }
        hash.into_value()
    });
    let sorted = prop::collection::vec((bytes(), score()), 1..40).prop_map(|all| {
        let mut set = SortedSet::default();
        for (member, score) in &all {
            set.put(member, *score);
        }
        set.into_value()
    });
    prop_oneof![bytes().prop_map(|bytes| Value::String(Text::encode(&bytes))), list, set, hash, sorted]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_value_comes_back(value in values()) {
        let back = load(&dump(&value, 0)).unwrap();
        prop_assert_eq!(describe(&back), describe(&value));
        // The items, byte for byte; an encoding may have had a history.
        prop_assert_eq!(stream(&back).1, stream(&value).1);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(object in prop::collection::vec(any::<u8>(), 0..200), form in 0_u8..24) {
        let _ = load(&object);
        let _ = decode(&[&[form], &object[..]].concat(), STRING_BYTES_MAX);
    }
}
