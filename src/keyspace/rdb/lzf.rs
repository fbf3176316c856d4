//! LZF, read only: literal runs, and references to what came before.

/// Below it the first byte of a command is the length of a literal run, less one.
const LITERALS_END: u8 = 1 << 5;
/// A length of this in a reference's three bits goes on in the next byte.
const LONG: usize = 7;
/// A reference is to at least this many bytes and one.
const REFERENCE_BYTES_MIN: usize = 2;
/// What a command of three bytes comes to at most.
const COMMAND_BYTES: usize = 3;
const COMMAND_EXPANDED_BYTES_MAX: usize = LONG + u8::MAX as usize + REFERENCE_BYTES_MIN;

/// The `length` bytes that were compressed; none: they are not what these bytes come to.
pub fn expand(compressed: &[u8], length: usize) -> Option<Vec<u8>> {
    // Not more than these bytes can come to, whatever was claimed.
    let possible = (compressed.len() / COMMAND_BYTES + 1).saturating_mul(COMMAND_EXPANDED_BYTES_MAX);
    if length > possible {
        return None;
    }
    let mut out = Vec::with_capacity(length);
    let mut input = compressed.iter();
    while let Some(&command) = input.next() {
        if command < LITERALS_END {
            let (run, rest) = input.as_slice().split_at_checked(usize::from(command) + 1)?;
            out.extend_from_slice(run);
            input = rest.iter();
        } else {
            let mut count = usize::from(command >> 5);
            if count == LONG {
                count += usize::from(*input.next()?);
            }
            let back = (usize::from(command & 0x1f) << 8 | usize::from(*input.next()?)) + 1;
            copy_back(&mut out, back, count + REFERENCE_BYTES_MIN, length)?;
        }
        if out.len() > length {
            return None;
        }
    }
    (out.len() == length).then_some(out)
}

/// Appends `count` bytes from `back` bytes before the end on; they may reach into what is being written.
fn copy_back(out: &mut Vec<u8>, back: usize, count: usize, length: usize) -> Option<()> {
    let start = out.len().checked_sub(back)?;
    if out.len() + count > length {
        return None;
    }
    if back >= count {
        out.extend_from_within(start..start + count);
    } else {
        (start..start + count).for_each(|at| out.push(out[at]));
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_references_come_out() {
        assert_eq!(expand(b"\x02abc", 3).unwrap(), b"abc");
        assert_eq!(expand(b"\x02abc\x20\x02", 6).unwrap(), b"abcabc");
        assert_eq!(expand(b"\x00a\xe0\x0a\x00", 20).unwrap(), [b'a'; 20]);
        assert_eq!(expand(b"", 0).unwrap(), b"");
    }

    #[test]
    fn what_does_not_fit_is_nothing() {
        for (bytes, length) in [
            (&b"\x02ab"[..], 3),
            (b"\x02abc", 4),
            (b"\x02abc", 2),
            (b"\x02abc\x20", 6),
            (b"\x02abc\x20\x03", 6),
            (b"\x02abc\xe0\x01", 13),
            (b"\x02abc\x20\x02", 5),
            (b"", 1),
            (b"\x00a", usize::MAX),
        ] {
            assert_eq!(expand(bytes, length), None, "{}", bytes.escape_ascii());
        }
    }
}
