//! What a server says of a command (`COMMAND INFO`): whether it writes, and where its keys are. Pure.
//!
//! Servers from 7.0 on describe keys exactly, older ones by a range; a command whose keys only its own code can find is marked
//! as such. Invariant: [`Layout::keys`] is none unless what the server said tells every key of every request.

use crate::protocol::command::{Flag, KeyPlace};
use crate::protocol::numbers::parse_i64;
use crate::protocol::reply_scan::{array_elements, integer, is_null};
use crate::protocol::request::Span;

/// A command as a server describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// What is said of it, as far as that counts here.
    pub flags: Vec<Flag>,
    /// Whether it is about subscriptions, which change what a connection is.
    pub is_pubsub: bool,
    /// Where its keys are, if that can be told.
    pub keys: Option<Vec<KeyPlace>>,
    /// Whether it has subcommands, each with a layout of its own.
    pub is_container: bool,
}

impl Layout {
    /// Reads the reply to `COMMAND INFO` of one name: none if the server does not know it.
    ///
    /// # Errors
    /// The reply is of no such kind.
    pub fn parse(reply: &[u8]) -> Result<Option<Self>, ()> {
        let [answer] = elements(reply).ok_or(())?[..] else { return Err(()) };
        match elements(answer) {
            _ if is_null(answer) => Ok(None),
            Some(fields) if fields.len() >= 6 => Self::of_fields(&fields).map(Some).ok_or(()),
            _ => Err(()),
        }
    }

    fn of_fields(fields: &[&[u8]]) -> Option<Self> {
        let words = elements(fields[2])?;
        let words: Vec<&[u8]> = words.into_iter().filter_map(text).collect();
        let has = |word: &[u8]| words.contains(&word);
        let described = fields.get(8).and_then(|field| elements(field)).unwrap_or_default();
        let keys = if described.is_empty() {
            let range: Vec<i64> = fields[3..6].iter().filter_map(|field| integer(field)).collect();
            key_range(&range).filter(|_| !has(b"movablekeys"))
        } else {
            described.into_iter().map(key_spec).collect()
        };
        Some(Self {
            flags: words.iter().filter_map(|word| Flag::named(word)).collect(),
            is_pubsub: has(b"pubsub"),
            keys,
            is_container: fields.get(9).and_then(|field| elements(field)).is_some_and(|names| !names.is_empty()),
        })
    }
}

/// First key, last key and step, as all servers tell it.
fn key_range(range: &[i64]) -> Option<Vec<KeyPlace>> {
    match *range {
        [0, ..] => Some(Vec::new()),
        [first, last, step] => {
            let last = if last < 0 { last } else { last - first };
            Some(vec![run(first, last, step)?])
        }
        _ => None,
    }
}

fn run(first: i64, last: i64, step: i64) -> Option<KeyPlace> {
    let step = u8::try_from(step).ok().filter(|step| *step > 0)?;
    Some(KeyPlace::Run { first: first.try_into().ok().filter(|first| *first > 0)?, last: last.try_into().ok()?, step })
}

/// One run of keys, as servers describe it from 7.0 on.
fn key_spec(spec: &[u8]) -> Option<KeyPlace> {
    let spec = elements(spec)?;
    let incomplete = elements(value(&spec, b"flags")?)?.into_iter().any(|flag| text(flag) == Some(&b"incomplete"[..]));
    let (begin, find) = (elements(value(&spec, b"begin_search")?)?, elements(value(&spec, b"find_keys")?)?);
    let kind = |part: &[&'_ [u8]]| value(part, b"type").and_then(text).map(<[u8]>::to_vec);
    let (begin_at, found) = (elements(value(&begin, b"spec")?)?, elements(value(&find, b"spec")?)?);
    let number = |part: &[&[u8]], name: &[u8]| value(part, name).and_then(integer);
    if incomplete || kind(&begin)?.as_slice() != b"index" {
        return None;
    }
    let index = number(&begin_at, b"index")?;
    match kind(&find)?.as_slice() {
        b"range" if number(&found, b"limit")? <= 1 => {
            run(index, number(&found, b"lastkey")?, number(&found, b"keystep")?)
        }
        b"keynum" => {
            let numbers = [b"keynumidx".as_slice(), b"firstkey", b"keystep"].map(|name| number(&found, name));
            let number = index.try_into().ok()?;
            (numbers == [Some(0), Some(1), Some(1)]).then_some(KeyPlace::Counted { number })
        }
        _ => None,
    }
}

/// What stands behind a word in an array of pairs.
fn value<'a>(pairs: &[&'a [u8]], name: &[u8]) -> Option<&'a [u8]> {
    pairs.chunks_exact(2).find(|pair| text(pair[0]) == Some(name)).map(|pair| pair[1])
}

fn elements(reply: &[u8]) -> Option<Vec<&[u8]>> {
    let mut spans: Vec<Span> = Vec::new();
    array_elements(reply, &mut spans).ok()?;
    Some(spans.iter().map(|span| &reply[span.start as usize..span.end as usize]).collect())
}

/// The bytes of a string, simple or not.
fn text(reply: &[u8]) -> Option<&[u8]> {
    let end = memchr::memchr(b'\r', reply)?;
    match reply.first()? {
        b'+' => reply.get(1..end),
        b'$' => reply.get(end + 2..)?.get(..usize::try_from(parse_i64(reply.get(1..end)?)?).ok()?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reply from its words: `[` and `]` for arrays, numbers, `-` for null, `+` before simple strings.
    fn reply(line: &str) -> Vec<u8> {
        fn put(words: &mut std::str::SplitWhitespace<'_>, out: &mut Vec<u8>) -> bool {
            match words.next() {
                None | Some("]") => return false,
                Some("[") => {
                    let (mut inner, mut count) = (Vec::new(), 0);
                    while put(words, &mut inner) {
                        count += 1;
                    }
                    out.extend(format!("*{count}\r\n").bytes());
                    out.extend(inner);
                }
                Some("-") => out.extend(b"*-1\r\n"),
                Some(word) if word.parse::<i64>().is_ok() => out.extend(format!(":{word}\r\n").bytes()),
                Some(word) if word.starts_with('+') => out.extend(format!("{word}\r\n").bytes()),
                Some(word) => out.extend(format!("${}\r\n{word}\r\n", word.len()).bytes()),
            }
            true
        }
        let mut out = Vec::new();
        put(&mut line.split_whitespace(), &mut out);
        out
    }

    fn keys(line: &str) -> Option<Vec<KeyPlace>> {
        Layout::parse(&reply(line)).unwrap().unwrap().keys
    }

    #[test]
    fn ranges_are_read_of_servers_of_old() {
        let layout = Layout::parse(&reply("[ [ json.mget -3 [ +readonly ] 1 -2 1 ] ]")).unwrap().unwrap();
        assert_eq!(layout.keys, Some(vec![KeyPlace::Run { first: 1, last: -2, step: 1 }]));
        assert_eq!((layout.flags, layout.is_pubsub, layout.is_container), (vec![Flag::Read], false, false));
        assert_eq!(keys("[ [ rename 3 [ +write ] 1 2 1 ] ]"), Some(vec![KeyPlace::Run { first: 1, last: 1, step: 1 }]));
        assert_eq!(keys("[ [ ft.search -3 [ +readonly ] 0 0 0 ] ]"), Some(vec![]));
        assert_eq!(keys("[ [ migrate -6 [ +write +movablekeys ] 3 3 1 ] ]"), None, "not all of them");
        assert_eq!(Layout::parse(&reply("[ - ]")), Ok(None));
        for bad in ["[ [ x ] ]", "+OK", "[ ]", "7", "[ - - ]"] {
            assert!(!matches!(Layout::parse(&reply(bad)), Ok(Some(_))), "{bad}");
        }
        assert!(Layout::parse(b"-ERR unknown command\r\n").is_err());
    }

    #[test]
    fn descriptions_are_read_of_servers_of_today() {
        let of =
            |specs: &str| keys(&format!("[ [ cms.merge -4 [ +write +movablekeys ] 1 1 1 [ ] [ ] [ {specs} ] [ ] ] ]"));
        let at = |index: u8| format!("begin_search [ type index spec [ index {index} ] ]");
        let range =
            |last: i8, limit: u8| format!("find_keys [ type range spec [ lastkey {last} keystep 1 limit {limit} ] ]");
        let one = format!("[ flags [ +RW +access ] {} {} ]", at(1), range(0, 0));
        let first = KeyPlace::Run { first: 1, last: 0, step: 1 };
        assert_eq!(of(&one), Some(vec![first]));
        let counted = format!(
            "[ notes why flags [ +RO ] {} find_keys [ type keynum spec [ keynumidx 0 firstkey 1 keystep 1 ] ] ]",
            at(2)
        );
        assert_eq!(of(&format!("{one} {counted}")), Some(vec![first, KeyPlace::Counted { number: 2 }]));
        for unclear in [
            format!("[ flags [ +RW +incomplete ] {} {} ]", at(1), range(0, 0)),
            format!("[ flags [ +RW ] {} {} ]", at(1), range(-1, 2)),
            format!("[ flags [ ] begin_search [ type keyword spec [ keyword KEYS startfrom -2 ] ] {} ]", range(-1, 0)),
            format!("[ flags [ ] begin_search [ type unknown spec [ ] ] {} ]", range(-1, 0)),
            format!("[ flags [ ] {} find_keys [ type unknown spec [ ] ] ]", at(1)),
        ] {
            assert_eq!(of(&format!("{one} {unclear}")), None, "{unclear}");
        }
        let container = Layout::parse(&reply("[ [ x -2 [ ] 0 0 0 [ ] [ ] [ ] [ [ x|y ] ] ] ]")).unwrap().unwrap();
        assert!(container.is_container);
    }
}
