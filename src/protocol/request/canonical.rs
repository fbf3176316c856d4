//! Requests in their one canonical form: a RESP array of byte strings, every line ended by CR LF, nothing after it.
//!
//! This is what proxies send to nodes and what the log keeps. [`parse_array`] is strict, so that equal requests have
//! equal bytes.

use std::io::Write;

use super::Span;

/// Bytes that are not one canonical request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a request: byte {at} is not what a RESP array of byte strings has there")]
pub struct Malformed {
    /// Where reading stopped.
    pub at: usize,
}

/// Reads exactly one canonical request that fills `bytes`, and replaces `spans` by where its arguments lie.
pub fn parse_array(bytes: &[u8], spans: &mut Vec<Span>) -> Result<(), Malformed> {
    let end = parse_first(bytes, spans)?;
    if end == bytes.len() { Ok(()) } else { Err(Malformed { at: end }) }
}

/// Reads the canonical request that `bytes` starts with, and replaces `spans` by where its arguments lie. Returns where
/// it ends.
pub fn parse_first(bytes: &[u8], spans: &mut Vec<Span>) -> Result<usize, Malformed> {
    spans.clear();
    if u32::try_from(bytes.len()).is_err() {
        return Err(Malformed { at: u32::MAX as usize });
    }
    let (count, mut at) = length_line(bytes, 0, b'*')?;
    if count == 0 {
        return Err(Malformed { at: 0 });
    }
    for _ in 0..count {
        let (length, start) = length_line(bytes, at, b'$')?;
        let end = start.saturating_add(length);
        if bytes.get(end..).and_then(|rest| rest.get(..2)) != Some(b"\r\n") {
            return Err(Malformed { at: end.min(bytes.len()) });
        }
        spans.push(Span { start: start as u32, end: end as u32 });
        at = end + 2;
    }
    Ok(at)
}

/// The second argument of what may be a canonical request, which is not read to its end: nearly always its key.
pub fn second_argument(bytes: &[u8]) -> Option<&[u8]> {
    let (_, at) = length_line(bytes, 0, b'*').ok()?;
    let (length, start) = length_line(bytes, at, b'$').ok()?;
    let (length, start) = length_line(bytes, start.checked_add(length)?.checked_add(2)?, b'$').ok()?;
    bytes.get(start..)?.get(..length)
}

/// Appends the canonical form of a request to `out`.
pub fn write_array<'a>(out: &mut Vec<u8>, args: impl ExactSizeIterator<Item = &'a [u8]>) {
    write!(out, "*{}\r\n", args.len()).expect("a Vec takes all bytes");
    for arg in args {
        write!(out, "${}\r\n", arg.len()).expect("a Vec takes all bytes");
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

/// The number in the line that `kind` opens at `at`, and where the next line starts.
fn length_line(bytes: &[u8], at: usize, kind: u8) -> Result<(usize, usize), Malformed> {
    const DIGITS_MAX: usize = 10;
    if bytes.get(at) != Some(&kind) {
        return Err(Malformed { at });
    }
    let digits = bytes[at + 1..].iter().take(DIGITS_MAX + 1).take_while(|b| b.is_ascii_digit()).count();
    let end = at + 1 + digits;
    let leading_zero = digits > 1 && bytes[at + 1] == b'0';
    if digits == 0 || digits > DIGITS_MAX || leading_zero || bytes.get(end..end + 2) != Some(b"\r\n") {
        return Err(Malformed { at: end });
    }
    let number = bytes[at + 1..end].iter().fold(0, |number, digit| number * 10 + usize::from(digit - b'0'));
    Ok((number, end + 2))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Args;
    use super::*;

    #[test]
    fn only_the_canonical_form_is_read() {
        let mut spans = Vec::new();
        assert_eq!(parse_array(b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n", &mut spans), Ok(()));
        assert_eq!(spans, [Span { start: 8, end: 11 }, Span { start: 17, end: 17 }]);
        for bad in [
            "",
            "*",
            "*0\r\n",
            "*-1\r\n",
            "*1\r\n",
            "*1\r\n$1\r\na",
            "*1\r\n$1\r\na\r\nx",
            "*01\r\n$1\r\na\r\n",
            "*1\r\n$01\r\na\r\n",
            "*1\r\n$1\r\nab\r\n",
            "*1\n$1\na\n",
            "*1\r\n:1\r\n",
            "*1\r\n$-1\r\n",
            "*1\r\n$99999999999\r\na\r\n",
            "*9999999999\r\n$1\r\na\r\n",
            "PING\r\n",
        ] {
            assert!(parse_array(bad.as_bytes(), &mut spans).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(args in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..20)) {
            let (mut out, mut spans) = (Vec::new(), Vec::new());
            write_array(&mut out, args.iter().map(Vec::as_slice));
            parse_array(&out, &mut spans).unwrap();
            prop_assert!(Args::new(&out, &spans).from(0).eq(args.iter().map(Vec::as_slice)));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(prop::sample::select(b"*$0129-\r\nax".to_vec()), 0..60)) {
            let _ = parse_array(&bytes, &mut Vec::new());
        }
    }
}
