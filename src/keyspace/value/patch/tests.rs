//! Patches of random values: whatever was done to a copy, what is made of the original is the copy.

use super::super::{Collection, End, Text};
use super::super::{FieldExpiry, Hash, List, Patcher, Patching, Set, SortedSet, StreamPlace, ValueBuilder};
use super::*;
use crate::keyspace::random::Random;
use crate::keyspace::record::ExpireAt;

fn stream(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    assert_eq!(value.write_stream(StreamPlace::default(), usize::MAX / 2, &mut out), None);
    out
}

/// The same value without anything in common with it in memory.
fn apart(value: &Value) -> Value {
    let mut builder = ValueBuilder::new(value.stream_form(), value.stream_size()).unwrap();
    assert_eq!(builder.push(&stream(value)), Ok(&[][..]));
    builder.finish().unwrap()
}

/// Makes `new` of `base`, in pieces; how many bytes the patch has.
fn patch(new: &Value, base: &Value, room: usize, visits_max: usize) -> usize {
    let mut patcher = Patcher::new(base.clone(), new.stream_form(), new.stream_size());
    let (mut place, mut bytes, mut pieces) = (Some(PatchPlace::default()), 0, 0);
    while let Some(from) = place {
        let (mut piece, mut visits) = (Vec::new(), visits_max);
        place = new.write_patch(base, from, room, &mut visits, &mut piece);
        assert!(!piece.is_empty() && piece.len() <= room + 3 * HEADER_BYTES, "{} of {room}", piece.len());
        bytes += piece.len();
        assert_eq!(patcher.push(&piece), Ok(&[][..]));
        pieces += 1;
        if pieces % 16 == 5 && !patcher.is_complete() && patcher.so_far().0.stream_size() > 0 {
            // Another goes on with what this one has.
            let (value, rest) = patcher.so_far();
            let (value, rest) = (apart(value), rest.to_vec());
            patcher = Patcher::resume(value, patcher.place()).unwrap();
            assert_eq!(patcher.push(&rest), Ok(&[][..]));
        }
    }
    assert!(patcher.is_complete());
    let back = patcher.finish().unwrap();
    assert_eq!((back.stream_form(), back.heap_bytes()), (new.stream_form(), new.heap_bytes()));
    assert!(stream(&back) == stream(new), "it is another");
    assert_eq!(back.next_field_expiry(), new.next_field_expiry());
    bytes
}

struct Changer(Random);

impl Changer {
    fn draw(&mut self, below: usize) -> usize {
        (self.0.next() % below.max(1) as u64) as usize
    }

    fn item(&mut self) -> Vec<u8> {
        let number = self.draw(9000);
        let tail = if self.draw(20) == 0 { self.draw(700) } else { 0 };
        [format!("item:{number}").into_bytes(), vec![b'x'; tail]].concat()
    }

    fn change(&mut self, value: &mut Value) {
        match value {
            Value::String(text) => self.change_string(text),
            Value::List(_) => self.change_list(List::of_mut(value).unwrap()),
            Value::Set(_) => {
                let set = Set::of_mut(value).unwrap();
                let item = self.item();
                if self.draw(9) > 0 {
                    set.insert(&item)
                } else {
                    set.remove(&item)
                };
                if self.draw(300) == 0 {
                    let (from, count) = (self.draw(set.len()), self.draw(100));
                    set.remove_ranks(&(from..(from + count).min(set.len())).collect::<Vec<_>>());
                }
            }
            Value::Hash(_) => {
                let hash = Hash::of_mut(value).unwrap();
                let (name, content) = (self.item(), self.item());
                match self.draw(9) {
                    0 => {
                        hash.remove(&name);
                    }
                    1 => {
                        let expiry = ExpireAt::new(self.draw(5) as u64);
                        hash.set(&name, &content, FieldExpiry::Is(expiry), 0);
                    }
                    _ => {
                        hash.put(&name, &content, None);
                    }
                }
            }
            Value::SortedSet(_) => {
                let set = SortedSet::of_mut(value).unwrap();
                let item = self.item();
                if self.draw(9) > 0 {
                    set.put(&item, self.draw(50) as f64 - 7.5);
                } else {
                    set.remove(&item);
                }
            }
        }
    }

    fn change_string(&mut self, text: &mut Text) {
        let at = self.draw(text.len());
        let more = vec![b'a' + self.draw(20) as u8; self.draw(300)];
        match self.draw(3) {
            0 => text.edit(|bytes| bytes.extend_from_slice(&more)),
            1 => text.edit(|bytes| bytes[at] ^= 1),
            _ => text.edit(|bytes| {
                let end = (at + more.len()).min(bytes.len());
                bytes[at..end].copy_from_slice(&more[..end - at]);
            }),
        }
    }

    fn change_list(&mut self, list: &mut List) {
        let (at, item) = (self.draw(list.len() + 1), self.item());
        match self.draw(8) {
            0..2 => list.push(End::Left, &item),
            2..4 => list.push(End::Right, &item),
            4 => list.remove_at_end(End::Left, 1),
            5 => list.remove_at_end(End::Right, 1),
            6 if at < list.len() => list.replace(at, &item),
            _ => list.insert(at, &item),
        }
    }
}

fn examples(changer: &mut Changer) -> Vec<Value> {
    let mut values = vec![Value::String(Text::raw((0..20_000).map(|n| (n / 100) as u8).collect()))];
    values.extend([
        List::default().into_value(),
        Set::default().into_value(),
        Hash::default().into_value(),
        SortedSet::default().into_value(),
    ]);
    for value in &mut values[1..] {
        while value.stream_size() < 1500 {
            changer.change(value);
        }
    }
    values
}

#[test]
fn a_patch_makes_the_later_of_the_earlier_however_it_is_cut() {
    for seed in 0..6 {
        let mut changer = Changer(Random::new(seed));
        for base in examples(&mut changer) {
            let mut new = base.clone();
            for changes in [0, 1, 3, 30, 300] {
                (0..changes).for_each(|_| changer.change(&mut new));
                let (room, visits) = (40 + changer.draw(3000), 20 + changer.draw(3000));
                patch(&new, &base, room, visits);
                // As after a snapshot: nothing is shared.
                patch(&apart(&new), &base, room, visits);
            }
        }
    }
}

#[test]
fn few_changes_of_a_large_value_are_a_small_patch() {
    let mut changer = Changer(Random::new(7));
    for mut base in examples(&mut changer) {
        while base.stream_size() < 2500 {
            changer.change(&mut base);
        }
        let whole = stream(&base).len();
        assert_eq!(patch(&base, &base, 4096, 16_384), HEADER_BYTES, "nothing has changed");
        let mut new = base.clone();
        match &mut new {
            Value::Set(_) => assert!(Set::of_mut(&mut new).unwrap().insert(b"one more")),
            Value::List(_) => {
                let list = List::of_mut(&mut new).unwrap();
                list.remove_at_end(End::Left, 1);
                list.push(End::Right, b"one more");
                list.replace(700, b"another");
            }
            Value::String(text) => text.edit(|bytes| bytes[777] ^= 1),
            other => changer.change(other),
        }
        let bytes = patch(&new, &base, 4096, 16_384);
        assert!(bytes < 2000 && bytes * 10 < whole, "{bytes} of {whole} for a {}", new.type_name());
        let longer = patch(&apart(&new), &base, 4096, 16_384);
        assert!(longer <= whole + 3000, "{longer} of {whole}");
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let mut set = Set::default();
    (0..10).for_each(|n| assert!(set.insert(format!("m{n}").as_bytes())));
    let set = set.into_value();
    let operation = |keep: u64, drop: u32, insert: u32| {
        [&keep.to_le_bytes()[..], &drop.to_le_bytes(), &insert.to_le_bytes()].concat()
    };
    let push = |bytes: &[u8]| {
        let mut patcher = Patcher::new(set.clone(), set.stream_form(), 10);
        patcher.push(bytes).map(<[u8]>::len).map(|left| (left, patcher.finish().is_ok()))
    };
    assert_eq!(push(&operation(0, 0, END)), Ok((0, true)));
    assert_eq!(push(&[operation(10, 0, END), b"more".to_vec()].concat()), Ok((4, true)));
    assert_eq!(push(&[operation(3, 1, 0), operation(0, 0, END)].concat()), Ok((0, false)), "too short");
    assert!(push(&operation(11, 0, 0)).is_err() && push(&operation(u64::MAX, 1, 0)).is_err());
    assert!(push(&operation(5, 6, 0)).is_err());
    let present = [operation(0, 0, 1), b"\x02\0\0\0m0".to_vec()].concat();
    assert!(push(&present).is_err(), "it is there, or has no place there");
    assert!(Patcher::resume(set.clone(), Patching { form: 0x22, size: 10, at: 11, left: 0 }).is_err());
}
