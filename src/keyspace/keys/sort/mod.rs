//! SORT and SORT_RO: the elements of a list, a set or a sorted set in another order, or what other keys say of them.
//!
//! Other keys are looked at by log time, be it ahead of them or not: they are no arguments, so nobody asked whether one of
//! them is about to expire. Where Redis leaves the order of equals open, it is that of the key.

mod options;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::cmp::Ordering;

use options::{Get, Options, Pattern};

use super::super::call::{CommandError, CommandResult, ReadCall, WriteCall};
use super::super::record::Record;
use super::super::store::Keyspace;
use super::super::value::{Collection, End, List, Value};
use crate::protocol::errors;
use crate::protocol::numbers::parse_weight;
use crate::protocol::reply::ReplyWriter;

/// What all that SORT returns or stores may take: an element may stand for a large value many times.
const RESULT_BYTES_MAX: usize = 512 * 1024 * 1024;
/// What each result costs beside its bytes.
const RESULT_FRAME_BYTES: usize = 32;

pub fn sort(call: &mut WriteCall<'_>) -> CommandResult {
    let options = Options::parse(call.args, true)?;
    let WriteCall { keyspace, args, reply, .. } = call;
    let record = keyspace.peek(args.get(1));
    record.into_iter().for_each(|record| record.touch(keyspace.log_time.get()));
    let results = Sorter::new(keyspace, &options).run(record)?;
    let Some(target) = options.store else {
        write_results(reply, &results);
        return Ok(());
    };
    let mut list = List::default();
    results.iter().for_each(|result| list.push(End::Right, result.as_deref().unwrap_or_default()));
    list.settle_encoding();
    let (target, count) = (args.get(target), list.len());
    if count == 0 {
        keyspace.remove(target);
    } else {
        keyspace.put(target, list.into_value(), None);
    }
    reply.integer(count as i64);
    Ok(())
}

pub fn sort_ro(call: &mut ReadCall<'_>) -> CommandResult {
    let options = Options::parse(call.args, false)?;
    let record = call.find(call.args.get(1));
    let results = Sorter::new(call.keyspace, &options).run(record)?;
    write_results(&mut call.reply, &results);
    Ok(())
}

fn write_results(reply: &mut ReplyWriter<'_>, results: &[Option<Cow<'_, [u8]>>]) {
    reply.array(results.len());
    for result in results {
        match result {
            Some(bytes) => reply.bulk(bytes),
            None => reply.null(),
        }
    }
}

/// What an element is sorted by.
#[derive(Debug)]
enum Weight<'a> {
    Number(f64),
    /// What another key holds, if it is there.
    Bytes(Option<Cow<'a, [u8]>>),
    /// Its own bytes.
    Itself,
}

#[derive(Debug)]
struct Sorter<'a, 'o> {
    keyspace: &'a Keyspace,
    options: &'o Options<'o>,
    /// Room for the names of other keys.
    name: Vec<u8>,
}

impl<'a, 'o> Sorter<'a, 'o> {
    const fn new(keyspace: &'a Keyspace, options: &'o Options<'o>) -> Self {
        Self { keyspace, options, name: Vec::new() }
    }

    /// What is returned or stored; none where Redis has a null.
    fn run(mut self, record: Option<&'a Record>) -> Result<Vec<Option<Cow<'a, [u8]>>>, CommandError> {
        let value = record.map(|record| &record.value);
        let is_set = matches!(value, Some(Value::Set(_)));
        let elements = if self.options.unsorted && !(is_set && self.options.store.is_some()) {
            self.elements_as_they_are(value)?
        } else {
            // A set has no order that could be stored, so it is sorted after all.
            self.sorted(value, self.options.unsorted)?
        };
        if self.options.get.is_empty() {
            return Ok(elements.into_iter().map(|element| Some(Cow::Borrowed(element))).collect());
        }
        let (mut results, mut bytes) = (Vec::new(), 0);
        for element in elements {
            for get in &self.options.get {
                let result = match get {
                    Get::Element => Some(Cow::Borrowed(element)),
                    Get::Of(pattern) => self.look_up(pattern, element),
                    Get::Nothing => None,
                };
                bytes += RESULT_FRAME_BYTES + result.as_ref().map_or(0, |result| result.len());
                if bytes > RESULT_BYTES_MAX {
                    return Err(errors::too_large("the result of SORT", RESULT_BYTES_MAX).into());
                }
                results.push(result);
            }
        }
        Ok(results)
    }

    /// The wanted elements in the order of the key.
    fn elements_as_they_are(&self, value: Option<&'a Value>) -> Result<Vec<&'a [u8]>, CommandError> {
        let count = match value {
            None => 0,
            Some(Value::List(list)) => list.len(),
            Some(Value::Set(set)) => set.len(),
            Some(Value::SortedSet(set)) => set.len(),
            Some(Value::String(_) | Value::Hash(_)) => return Err(errors::WRONG_TYPE.into()),
        };
        let range = self.options.range(count);
        // Only the range is visited; turned around it is as far from the end.
        let turned = count - range.end..count - range.start;
        Ok(match value {
            Some(Value::List(list)) if self.options.descending => list.range(turned).rev().collect(),
            Some(Value::List(list)) => list.range(range).collect(),
            Some(Value::SortedSet(set)) if self.options.descending => set.range(turned).rev().map(|m| m.0).collect(),
            Some(Value::SortedSet(set)) => set.range(range).map(|member| member.0).collect(),
            Some(Value::Set(set)) => set.in_order().skip(range.start).take(range.len()).collect(),
            _ => Vec::new(),
        })
    }

    /// The wanted elements in the wanted order; `plain`: by their own bytes, whatever the options say.
    fn sorted(&mut self, value: Option<&'a Value>, plain: bool) -> Result<Vec<&'a [u8]>, CommandError> {
        let elements: Vec<&[u8]> = match value {
            None => Vec::new(),
            Some(Value::List(list)) => list.iter().collect(),
            Some(Value::Set(set)) => set.iter().collect(),
            Some(Value::SortedSet(set)) => set.iter().map(|member| member.0).collect(),
            Some(Value::String(_) | Value::Hash(_)) => return Err(errors::WRONG_TYPE.into()),
        };
        let mut weighed = Vec::with_capacity(elements.len());
        for element in elements {
            weighed.push((if plain { Weight::Itself } else { self.weight(element)? }, element));
        }
        let descending = self.options.descending;
        weighed.sort_by(|a, b| if descending { compare(b, a) } else { compare(a, b) });
        let range = self.options.range(weighed.len());
        Ok(weighed[range].iter().map(|(_, element)| *element).collect())
    }

    fn weight(&mut self, element: &'a [u8]) -> Result<Weight<'a>, CommandError> {
        let other = match &self.options.by {
            Some(pattern) => self.look_up(pattern, element),
            None if self.options.alpha => return Ok(Weight::Itself),
            None => Some(Cow::Borrowed(element)),
        };
        if self.options.alpha {
            return Ok(Weight::Bytes(other));
        }
        let number = other.map_or(Some(0.0), |text| parse_weight(&text));
        number.map(Weight::Number).ok_or_else(|| errors::SORT_SCORES.into())
    }

    /// What the key that a pattern names for an element holds.
    fn look_up(&mut self, pattern: &Pattern<'_>, element: &[u8]) -> Option<Cow<'a, [u8]>> {
        let now_ms = self.keyspace.log_time.get();
        let record = self.keyspace.peek(pattern.key(element, &mut self.name))?;
        if record.is_expired(now_ms) {
            return None;
        }
        match (&record.value, pattern.field) {
            (Value::String(text), None) => Some(text.as_bytes()),
            (Value::Hash(hash), Some(name)) => {
                let field = hash.get(name).filter(|field| !field.is_expired(now_ms))?;
                Some(Cow::Borrowed(field.value))
            }
            _ => None,
        }
    }
}

fn compare((weight, element): &(Weight<'_>, &[u8]), (other, other_element): &(Weight<'_>, &[u8])) -> Ordering {
    match (weight, other) {
        (Weight::Number(number), Weight::Number(other)) => {
            let ordering = number.partial_cmp(other).expect("a weight is a number");
            ordering.then_with(|| element.cmp(other_element))
        }
        // A missing one is before all others.
        (Weight::Bytes(bytes), Weight::Bytes(other)) => bytes.cmp(other),
        _ => element.cmp(other_element),
    }
}
