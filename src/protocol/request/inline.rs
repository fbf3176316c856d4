//! Inline requests, as a person types them into telnet: words, quotes and escapes on one line.
//!
//! The rules are Redis's (`sdssplitargs`): double quotes know `\n \r \t \b \a \xHH` and `\` before anything else,
//! single quotes know `\'`, a closing quote must be followed by a blank or the end of the line.

/// A quote that is not closed, or closed in the middle of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UnbalancedQuotes;

/// The words of a line, unescaped.
pub(super) fn split(line: &[u8]) -> Result<Vec<Vec<u8>>, UnbalancedQuotes> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        let blanks = rest.iter().take_while(|b| is_blank(**b)).count();
        rest = &rest[blanks..];
        if rest.is_empty() {
            return Ok(words);
        }
        let (word, after) = first_word(rest)?;
        words.push(word);
        rest = after;
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// One word that starts at the first byte, and what follows it. Quotes may open in the middle of a word, and end it.
fn first_word(text: &[u8]) -> Result<(Vec<u8>, &[u8]), UnbalancedQuotes> {
    let mut word = Vec::new();
    let mut at = 0;
    loop {
        match text.get(at) {
            None => return Ok((word, &[])),
            Some(b' ' | b'\n' | b'\r' | b'\t') => return Ok((word, &text[at..])),
            Some(b'"') => return finish(word, double_quoted, &text[at + 1..]),
            Some(b'\'') => return finish(word, single_quoted, &text[at + 1..]),
            Some(&byte) => word.push(byte),
        }
        at += 1;
    }
}

type Quoted = fn(&[u8], &mut Vec<u8>) -> Option<usize>;

/// Ends a word by its quoted part; a blank or nothing must follow.
fn finish(mut word: Vec<u8>, quoted: Quoted, text: &[u8]) -> Result<(Vec<u8>, &[u8]), UnbalancedQuotes> {
    let end = quoted(text, &mut word).ok_or(UnbalancedQuotes)?;
    let rest = &text[end..];
    if rest.first().is_none_or(|b| is_blank(*b)) { Ok((word, rest)) } else { Err(UnbalancedQuotes) }
}

/// Appends the text up to the closing quote; says how far that was, the quote included.
fn double_quoted(text: &[u8], word: &mut Vec<u8>) -> Option<usize> {
    let mut at = 0;
    loop {
        match text[at..] {
            [] => return None,
            [b'"', ..] => return Some(at + 1),
            [b'\\', b'x', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                word.push(hex(high) << 4 | hex(low));
                at += 4;
            }
            [b'\\', escaped, ..] => {
                word.push(unescape(escaped));
                at += 2;
            }
            [byte, ..] => {
                word.push(byte);
                at += 1;
            }
        }
    }
}

/// As [`double_quoted`], where only `\'` is an escape.
fn single_quoted(text: &[u8], word: &mut Vec<u8>) -> Option<usize> {
    let mut at = 0;
    loop {
        match text[at..] {
            [] => return None,
            [b'\'', ..] => return Some(at + 1),
            [b'\\', b'\'', ..] => {
                word.push(b'\'');
                at += 2;
            }
            [byte, ..] => {
                word.push(byte);
                at += 1;
            }
        }
    }
}

fn unescape(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => other,
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_redis_does() {
        let cases: &[(&[u8], &[&[u8]])] = &[
            (b"", &[]),
            (b"  \t ", &[]),
            (b"PING", &[b"PING"]),
            (b" set  a\tb ", &[b"set", b"a", b"b"]),
            (b"set k \"a b\"", &[b"set", b"k", b"a b"]),
            (b"set k ''", &[b"set", b"k", b""]),
            (b"\"\\x41\\x7a\\n\\r\\t\\b\\a\\q\\\\\\\"\"", &[b"Az\n\r\t\x08\x07q\\\""]),
            (b"\"\\x4\"", &[b"x4"]),
            (b"\"\\xg1\"", &[b"xg1"]),
            (b"'a\\'b\\n'", &[b"a'b\\n"]),
            (b"ab\"cd\" e", &[b"abcd", b"e"]),
            (b"a\\n", &[b"a\\n"]),
            (b"a\x0bb", &[b"a\x0bb"]),
            (b"\x0ba", &[b"a"]),
            (b"'it\"s'", &[b"it\"s"]),
        ];
        for (line, words) in cases {
            assert_eq!(split(line).unwrap(), *words, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn quotes_must_balance_and_end_the_word() {
        for line in ["\"", "'", "\"a", "'a", "\"a\"b", "'a'b", "\"a\\\"", "'a\\'", "set k \"\"\"\"", "\"\\"] {
            assert_eq!(split(line.as_bytes()), Err(UnbalancedQuotes), "{line}");
        }
    }
}
