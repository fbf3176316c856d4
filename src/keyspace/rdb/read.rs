//! Objects into values.

use super::super::record::ExpireAt;
use super::super::value::{Collection, End, Hash, List, Set, SortedSet, Text, Value};
use super::element::{Element, score_of_text};
use super::input::Input;
use super::intset::intset;
use super::listpack::Listpack;
use super::ziplist::Ziplist;
use super::zipmap::Zipmap;
use super::{EXPANDED_BYTES_MAX, RdbError, form};

const TWICE: RdbError = RdbError::Malformed("an item that is there twice");
/// A list's node is one element.
const NODE_PLAIN: u64 = 1;
/// A list's node is a listpack.
const NODE_PACKED: u64 = 2;
/// The lengths of a score's text that are no lengths.
const SCORE_LOWEST: u8 = 255;
const SCORE_HIGHEST: u8 = 254;
const SCORE_NONE: u8 = 253;
/// A field's expiry that is none.
const NO_EXPIRY: i64 = -1;

/// The value that an object without its footer is. No string in it may be longer than `string_bytes_max`.
///
/// # Errors
/// It is no object of a known form, not whole, or followed by more.
pub fn decode(object: &[u8], string_bytes_max: usize) -> Result<Value, RdbError> {
    let mut input = Input::new(object, string_bytes_max, EXPANDED_BYTES_MAX);
    let value = value(&mut input)?;
    if input.is_empty() { Ok(value) } else { Err(RdbError::Malformed("bytes behind its end")) }
}

fn value(input: &mut Input<'_>) -> Result<Value, RdbError> {
    let value = match input.byte()? {
        form::STRING => return Ok(Value::String(input.string()?.with_bytes(Text::encode))),
        form::LIST => list(strings(input, 1)?)?.into_value(),
        form::LIST_ZIPLIST => list(Ziplist::new(&input.packed()?)?)?.into_value(),
        form::LIST_QUICKLIST => quicklist(input, false)?.into_value(),
        form::LIST_QUICKLIST_2 => quicklist(input, true)?.into_value(),
        form::SET => set(strings(input, 1)?)?.into_value(),
        form::SET_INTSET => set(intset(&input.packed()?)?)?.into_value(),
        form::SET_LISTPACK => set(Listpack::new(&input.packed()?)?)?.into_value(),
        form::HASH => hash(strings(input, 2)?)?.into_value(),
        form::HASH_ZIPMAP => hash(Zipmap::new(&input.packed()?)?)?.into_value(),
        form::HASH_ZIPLIST => hash(Ziplist::new(&input.packed()?)?)?.into_value(),
        form::HASH_LISTPACK => hash(Listpack::new(&input.packed()?)?)?.into_value(),
        form::HASH_WITH_EXPIRIES => hash_with_expiries(input)?.into_value(),
        form::SORTED_SET => sorted_set(input, binary_score)?.into_value(),
        form::SORTED_SET_TEXT => sorted_set(input, text_score)?.into_value(),
        form::SORTED_SET_ZIPLIST => sorted_set_of_pairs(Ziplist::new(&input.packed()?)?)?.into_value(),
        form::SORTED_SET_LISTPACK => sorted_set_of_pairs(Listpack::new(&input.packed()?)?)?.into_value(),
        _ => return Err(RdbError::Malformed("an object of unknown form")),
    };
    Ok(value)
}

/// So many times as many strings as the count before them says.
fn strings<'a, 'b>(
    input: &'b mut Input<'a>,
    per_item: u64,
) -> Result<impl Iterator<Item = Result<Element<'a>, RdbError>> + use<'a, 'b>, RdbError> {
    let count = input.count()?.saturating_mul(per_item);
    Ok((0..count).map(move |_| input.string()))
}

/// A collection, unless it is empty.
fn filled<C: Collection>(collection: C) -> Result<C, RdbError> {
    if collection.is_empty() { Err(RdbError::Malformed("a collection without items")) } else { Ok(collection) }
}

fn append<'a>(list: &mut List, elements: impl Iterator<Item = Result<Element<'a>, RdbError>>) -> Result<(), RdbError> {
    for element in elements {
        element?.with_bytes(|bytes| list.push(End::Right, bytes));
    }
    Ok(())
}

fn list<'a>(elements: impl Iterator<Item = Result<Element<'a>, RdbError>>) -> Result<List, RdbError> {
    let mut list = List::default();
    append(&mut list, elements)?;
    list.settle_encoding();
    filled(list)
}

/// A list in nodes, in ziplists or, from Redis 7 on, in listpacks and large elements alone.
fn quicklist(input: &mut Input<'_>, has_kinds: bool) -> Result<List, RdbError> {
    let mut list = List::default();
    for _ in 0..input.count()? {
        if !has_kinds {
            append(&mut list, Ziplist::new(&input.packed()?)?)?;
            continue;
        }
        match input.length()? {
            NODE_PACKED => append(&mut list, Listpack::new(&input.packed()?)?)?,
            NODE_PLAIN => input.string()?.with_bytes(|bytes| list.push(End::Right, bytes)),
            _ => return Err(RdbError::Malformed("a node of unknown kind")),
        }
    }
    list.settle_encoding();
    filled(list)
}

fn set<'a>(members: impl Iterator<Item = Result<Element<'a>, RdbError>>) -> Result<Set, RdbError> {
    let mut set = Set::default();
    for member in members {
        if !member?.with_bytes(|bytes| set.insert(bytes)) {
            return Err(TWICE);
        }
    }
    filled(set)
}

/// The next two strings, if any is left.
fn pair<'a>(
    strings: &mut impl Iterator<Item = Result<Element<'a>, RdbError>>,
) -> Result<Option<(Element<'a>, Element<'a>)>, RdbError> {
    let Some(first) = strings.next() else { return Ok(None) };
    let second = strings.next().ok_or(RdbError::Malformed("half a pair"))?;
    Ok(Some((first?, second?)))
}

fn hash<'a>(mut strings: impl Iterator<Item = Result<Element<'a>, RdbError>>) -> Result<Hash, RdbError> {
    let mut hash = Hash::default();
    while let Some((name, value)) = pair(&mut strings)? {
        if !name.with_bytes(|name| value.with_bytes(|value| hash.put(name, value, None))) {
            return Err(TWICE);
        }
    }
    filled(hash)
}

/// Names, values and expiries in turn, as Valkey has them.
fn hash_with_expiries(input: &mut Input<'_>) -> Result<Hash, RdbError> {
    let mut hash = Hash::default();
    for _ in 0..input.count()? {
        let (name, value) = (input.string()?, input.string()?);
        let expire_at = match i64::from_le_bytes(input.chunk()?) {
            NO_EXPIRY => None,
            // The beginning of time is as long gone as the moment after it.
            ms => ExpireAt::new(u64::try_from(ms).map_err(|_| RdbError::Malformed("an expiry that is none"))?.max(1)),
        };
        if !name.with_bytes(|name| value.with_bytes(|value| hash.put(name, value, expire_at))) {
            return Err(TWICE);
        }
    }
    filled(hash)
}

fn sorted_set(
    input: &mut Input<'_>,
    score: impl Fn(&mut Input<'_>) -> Result<f64, RdbError>,
) -> Result<SortedSet, RdbError> {
    let mut set = SortedSet::default();
    for _ in 0..input.count()? {
        let member = input.string()?;
        put(&mut set, &member, score(input)?)?;
    }
    filled(set)
}

fn sorted_set_of_pairs<'a>(
    mut strings: impl Iterator<Item = Result<Element<'a>, RdbError>>,
) -> Result<SortedSet, RdbError> {
    let mut set = SortedSet::default();
    while let Some((member, score)) = pair(&mut strings)? {
        put(&mut set, &member, score.score()?)?;
    }
    filled(set)
}

fn put(set: &mut SortedSet, member: &Element<'_>, score: f64) -> Result<(), RdbError> {
    if member.with_bytes(|bytes| set.put(bytes, score)) { Ok(()) } else { Err(TWICE) }
}

fn binary_score(input: &mut Input<'_>) -> Result<f64, RdbError> {
    let score = f64::from_le_bytes(input.chunk()?);
    if score.is_nan() { Err(RdbError::Malformed("a score that is no number")) } else { Ok(score) }
}

fn text_score(input: &mut Input<'_>) -> Result<f64, RdbError> {
    match input.byte()? {
        SCORE_LOWEST => Ok(f64::NEG_INFINITY),
        SCORE_HIGHEST => Ok(f64::INFINITY),
        SCORE_NONE => Err(RdbError::Malformed("a score that is no number")),
        length => score_of_text(input.bytes(u64::from(length))?),
    }
}
