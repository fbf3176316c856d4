//! Finding the parts of a RESP2 or RESP3 reply without decoding it: its end, its elements, its number.
//!
//! Nesting costs no stack and no memory: the end is found by counting the values that are still to come. Streamed
//! values (`$?`, `*?`) are refused; no node sends them.

use super::numbers::parse_i64;
use super::request::Span;

/// Bytes that are no RESP value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a reply: byte {at} is not what a RESP value has there")]
pub struct BadReply {
    /// Where reading stopped.
    pub at: usize,
}

/// Where the value that `bytes` starts with ends, or `None` when not all of it is there.
pub fn reply_end(bytes: &[u8]) -> Result<Option<usize>, BadReply> {
    ReplyScan::default().end(bytes)
}

/// How far a value was looked through of which not all has come: one that comes in many pieces is read once.
#[derive(Clone, Copy, Debug)]
pub struct ReplyScan {
    /// The start of the first part that is not read yet.
    at: usize,
    /// Values that are to come from there on.
    missing: u64,
    /// Looking again is of no use before there are so many bytes.
    wanted: usize,
}

impl Default for ReplyScan {
    fn default() -> Self {
        Self { at: 0, missing: 1, wanted: 1 }
    }
}

impl ReplyScan {
    /// Where the value that `bytes` starts with ends, or `None` when not all of it is there. Until then `bytes` is to start
    /// with the same value; afterwards the next one may be looked for.
    #[inline]
    pub fn end(&mut self, bytes: &[u8]) -> Result<Option<usize>, BadReply> {
        if bytes.len() < self.wanted {
            return Ok(None);
        }
        let end = self.go_on(bytes)?;
        if end.is_some() {
            *self = Self::default();
        }
        Ok(end)
    }

    /// How long the value is at least, as far as it is known.
    pub const fn bytes_min(&self) -> usize {
        self.wanted
    }

    fn cut(&mut self, wanted: usize) -> Result<Option<usize>, BadReply> {
        self.wanted = wanted;
        Ok(None)
    }

    fn go_on(&mut self, bytes: &[u8]) -> Result<Option<usize>, BadReply> {
        // A line that holds a number; texts may be longer.
        const LENGTH_LINE_BYTES_MAX: usize = 32;
        while self.missing > 0 {
            let at = self.at;
            let Some(&kind) = bytes.get(at) else { return self.cut(at + 1) };
            if !is_sized(kind) && !is_line(kind) {
                return Err(BadReply { at });
            }
            let Some(line_end) = find_line_end(bytes, at)? else {
                let overdue = is_sized(kind) && bytes.len() - at > LENGTH_LINE_BYTES_MAX;
                return if overdue { Err(BadReply { at }) } else { self.cut(bytes.len() + 1) };
            };
            let line = &bytes[at + 1..line_end];
            let value_start = line_end + 2;
            match kind {
                b'$' | b'=' | b'!' => match length(line, at)? {
                    None => self.at = value_start,
                    Some(length) => {
                        let end = usize::try_from(length).ok().and_then(|length| value_start.checked_add(length));
                        let end = end.filter(|end| *end < usize::MAX - 2).ok_or(BadReply { at })?;
                        match bytes.get(end..end + 2) {
                            Some(b"\r\n") => self.at = end + 2,
                            Some(_) => return Err(BadReply { at: end }),
                            None => return self.cut(end + 2),
                        }
                    }
                },
                kind if is_line(kind) => self.at = value_start,
                _ => {
                    let entries = length(line, at)?.unwrap_or(0);
                    let values = match kind {
                        b'%' => entries.checked_mul(2),
                        // Attributes come before the value that they are of.
                        b'|' => entries.checked_mul(2).and_then(|values| values.checked_add(1)),
                        _ => Some(entries),
                    };
                    self.missing = values.and_then(|values| self.missing.checked_add(values)).ok_or(BadReply { at })?;
                    self.at = value_start;
                }
            }
            self.missing -= 1;
        }
        Ok(Some(self.at))
    }
}

/// The elements of an array or a set that is all of `reply`; `None` for a null array. Replaces `spans`.
pub fn array_elements(reply: &[u8], spans: &mut Vec<Span>) -> Result<Option<usize>, BadReply> {
    spans.clear();
    let at_end = BadReply { at: reply.len() };
    if !matches!(reply.first(), Some(b'*' | b'~')) {
        return if reply == b"_\r\n" { Ok(None) } else { Err(BadReply { at: 0 }) };
    }
    let line_end = find_line_end(reply, 0)?.ok_or(at_end)?;
    let Some(count) = length(&reply[1..line_end], 0)? else { return Ok(None) };
    let mut at = line_end + 2;
    for _ in 0..count {
        let length = reply_end(&reply[at..]).map_err(|bad| BadReply { at: at + bad.at })?.ok_or(at_end)?;
        let span = (u32::try_from(at), u32::try_from(at + length));
        let (Ok(start), Ok(end)) = span else { return Err(BadReply { at }) };
        spans.push(Span { start, end });
        at += length;
    }
    if at == reply.len() { Ok(Some(spans.len())) } else { Err(BadReply { at }) }
}

/// The number of an integer reply.
pub fn integer(reply: &[u8]) -> Option<i64> {
    parse_i64(reply.strip_prefix(b":")?.strip_suffix(b"\r\n")?)
}

/// Whether the reply is an error.
pub fn is_error(reply: &[u8]) -> bool {
    matches!(reply.first(), Some(b'-' | b'!'))
}

/// Whether the reply is a null of any kind.
pub fn is_null(reply: &[u8]) -> bool {
    matches!(reply, b"$-1\r\n" | b"*-1\r\n" | b"_\r\n")
}

fn is_line(kind: u8) -> bool {
    matches!(kind, b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(')
}

fn is_sized(kind: u8) -> bool {
    matches!(kind, b'$' | b'=' | b'!' | b'*' | b'~' | b'>' | b'%' | b'|')
}

/// Where the CR of the line that starts at `at` is, if all of the line is there.
fn find_line_end(bytes: &[u8], at: usize) -> Result<Option<usize>, BadReply> {
    let Some(cr) = memchr::memchr(b'\r', &bytes[at..]).map(|cr| at + cr) else { return Ok(None) };
    match bytes.get(cr + 1) {
        Some(b'\n') => Ok(Some(cr)),
        Some(_) => Err(BadReply { at: cr + 1 }),
        None => Ok(None),
    }
}

/// A length; `None` for the -1 of a null.
fn length(line: &[u8], at: usize) -> Result<Option<u64>, BadReply> {
    match parse_i64(line) {
        Some(-1) => Ok(None),
        Some(length) => u64::try_from(length).map(Some).map_err(|_| BadReply { at }),
        None => Err(BadReply { at }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REPLIES: &[&str] = &[
        "+OK\r\n",
        "-ERR no\r\n",
        ":-12\r\n",
        "$0\r\n\r\n",
        "$5\r\na\r\nb\n\r\n",
        "$-1\r\n",
        "*-1\r\n",
        "*0\r\n",
        "_\r\n",
        "#t\r\n",
        ",1.5\r\n",
        "(123\r\n",
        "=7\r\ntxt:abc\r\n",
        "!3\r\nERR\r\n",
        "*3\r\n:1\r\n*1\r\n$1\r\na\r\n_\r\n",
        "%1\r\n+a\r\n~2\r\n:1\r\n:2\r\n",
        ">2\r\n+a\r\n+b\r\n",
        "|1\r\n+a\r\n+b\r\n:7\r\n",
    ];

    #[test]
    fn the_end_is_found_at_every_cut() {
        for reply in REPLIES {
            let bytes = reply.as_bytes();
            for cut in 0..bytes.len() {
                assert_eq!(reply_end(&bytes[..cut]), Ok(None), "{reply:?} cut at {cut}");
            }
            assert_eq!(reply_end(bytes), Ok(Some(bytes.len())), "{reply:?}");
            assert_eq!(reply_end(&[bytes, b"+next\r\n"].concat()), Ok(Some(bytes.len())), "{reply:?}");
        }
    }

    #[test]
    fn a_value_that_comes_in_pieces_ends_where_it_would() {
        for reply in REPLIES {
            let bytes = [reply.as_bytes(), b"+next\r\n"].concat();
            for step in 1..reply.len() {
                let mut scan = ReplyScan::default();
                let ends: Vec<_> = (0..=bytes.len()).step_by(step).map(|cut| scan.end(&bytes[..cut])).collect();
                let first = ends.iter().find(|end| **end != Ok(None)).unwrap_or(&Ok(None));
                let come = (0..=bytes.len()).step_by(step).any(|cut| cut >= reply.len());
                assert_eq!(*first, Ok(come.then_some(reply.len())), "{reply:?} in pieces of {step}");
            }
        }
        let (mut scan, large) = (ReplyScan::default(), b"$1000000\r\nab");
        assert_eq!((scan.end(large), scan.bytes_min()), (Ok(None), 1_000_012));
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        for bad in ["\r\n", "x\r\n", "$a\r\n", "$-2\r\n", "*?\r\n", "$1\r\nabc", "+a\rb", "$00\r\n"] {
            assert!(reply_end(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(reply_end(format!("${}", "1".repeat(40)).as_bytes()).is_err());
        // Depth is not a matter of stack, nor a claimed length of memory.
        assert_eq!(reply_end("*1\r\n".repeat(100_000).as_bytes()), Ok(None));
        assert_eq!(reply_end(b"*9000000000000000000\r\n"), Ok(None));
    }

    #[test]
    fn arrays_are_split_into_their_elements() {
        let elements = |reply: &str| {
            let mut spans = Vec::new();
            array_elements(reply.as_bytes(), &mut spans).map(|count| {
                let texts = spans.iter().map(|span| reply[span.start as usize..span.end as usize].to_owned());
                (count, texts.collect::<Vec<_>>())
            })
        };
        assert_eq!(
            elements("*3\r\n$1\r\na\r\n*1\r\n:1\r\n_\r\n").unwrap(),
            (Some(3), vec!["$1\r\na\r\n".into(), "*1\r\n:1\r\n".into(), "_\r\n".into()])
        );
        assert_eq!(elements("~0\r\n").unwrap(), (Some(0), vec![]));
        assert_eq!(elements("*-1\r\n").unwrap(), (None, vec![]));
        assert_eq!(elements("_\r\n").unwrap(), (None, vec![]));
        for bad in ["", "*", "+OK\r\n", "*1\r\n", "*1\r\n:1\r\nx", "*1\r\n:1"] {
            assert!(elements(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn integers_are_read() {
        assert_eq!(integer(b":42\r\n"), Some(42));
        assert_eq!(integer(b"+42\r\n"), None);
        assert_eq!(integer(b":x\r\n"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(prop::sample::select(b"*$+-:%|_!0129\r\na".to_vec()), 0..80)) {
            if let Ok(Some(end)) = reply_end(&bytes) {
                prop_assert!(end <= bytes.len());
            }
            let _ = array_elements(&bytes, &mut Vec::new());
        }
    }
}
