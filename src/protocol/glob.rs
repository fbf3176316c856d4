//! Glob patterns as Redis matches them (`stringmatchlen`), oddities included.
//!
//! `*`, `?`, `[abc]`, `[^a-c]`, `\` before any byte. An unclosed class ends with the pattern, a reversed range is turned
//! around, no pattern but `*` and the empty one matches the empty text. Work is
//! bounded by pattern times text (one star at a time is tried again, which for globs is enough).

/// Redis matches a star by recursion, and with more of them nothing.
const STARS_MAX: usize = 1000;

/// Whether `pattern` matches all of `text`.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    matches_with::<false>(pattern, text)
}

/// As [`matches()`], where ASCII letters match in either case.
pub fn matches_nocase(pattern: &[u8], text: &[u8]) -> bool {
    matches_with::<true>(pattern, text)
}

fn matches_with<const NOCASE: bool>(pattern: &[u8], text: &[u8]) -> bool {
    if text.is_empty() {
        return pattern.is_empty() || pattern == b"*";
    }
    let (mut rest, mut unread) = (pattern, text);
    let mut stars = 0;
    // What follows the last star, and the text that it was last tried on.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        if unread.is_empty() {
            return rest.iter().all(|byte| *byte == b'*');
        }
        if let [b'*', after @ ..] = rest {
            if after.is_empty() {
                return true;
            }
            // A run of stars is one.
            stars += usize::from(after[0] != b'*');
            if stars > STARS_MAX {
                return false;
            }
            retry = Some((after, unread));
            rest = after;
            continue;
        }
        if let Some(after) = match_one::<NOCASE>(rest, unread[0]) {
            (rest, unread) = (after, &unread[1..]);
            continue;
        }
        let Some((after, tried)) = retry else { return false };
        (rest, unread) = (after, &tried[1..]);
        retry = Some((after, unread));
    }
}

/// The pattern behind its first element, if that matches the byte.
fn match_one<const NOCASE: bool>(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    let (literal, after) = match pattern {
        [] => return None,
        [b'?', after @ ..] => return Some(after),
        [b'[', class @ ..] => return match_class::<NOCASE>(class, byte),
        [b'\\', escaped, after @ ..] => (escaped, after),
        [literal, after @ ..] => (literal, after),
    };
    (fold::<NOCASE>(*literal) == fold::<NOCASE>(byte)).then_some(after)
}

/// A class from behind its opening bracket.
fn match_class<const NOCASE: bool>(class: &[u8], byte: u8) -> Option<&[u8]> {
    let (negated, mut rest) = match class {
        [b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut found = false;
    loop {
        rest = match rest {
            [] => break,
            [b'\\', escaped, after @ ..] => {
                // Escaped bytes keep their case, as in Redis.
                found |= *escaped == byte;
                after
            }
            [b']', after @ ..] => {
                rest = after;
                break;
            }
            [low, b'-', high, after @ ..] => {
                let (low, high) = if low <= high { (*low, *high) } else { (*high, *low) };
                found |= (fold::<NOCASE>(low)..=fold::<NOCASE>(high)).contains(&fold::<NOCASE>(byte));
                after
            }
            [literal, after @ ..] => {
                found |= fold::<NOCASE>(*literal) == fold::<NOCASE>(byte);
                after
            }
        };
    }
    (found != negated).then_some(rest)
}

fn fold<const NOCASE: bool>(byte: u8) -> u8 {
    if NOCASE { byte.to_ascii_lowercase() } else { byte }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_pattern_of_too_many_stars_matches_nothing() {
        let text = [b'a'; 5000];
        assert!(matches(&b"*?".repeat(STARS_MAX), &text));
        assert!(!matches(&b"*?".repeat(STARS_MAX + 1), &text));
        assert!(matches(&b"*".repeat(STARS_MAX * 2), &text));
    }

    #[test]
    fn patterns_match_as_in_redis() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("**", "", false),
            ("*", "anything", true),
            ("**a**", "bab", true),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("?", "", false),
            ("h*llo", "heeeello", true),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("[a-", "a", true),
            ("[a-", "-", true),
            ("[a", "a", true),
            ("[^a", "b", true),
            ("[]", "a", false),
            ("[]a]", "a]", false),
            ("[^]", "a", true),
            ("[\\]]", "]", true),
            ("[\\a-z]", "-", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("a\\", "a\\", true),
            ("a[", "a", false),
            ("a[", "a[", false),
            ("[^", "a", true),
            ("a*b*c", "aXbYcZc", true),
            ("a*b*c", "aXbYcZ", false),
            ("*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
            ("foo", "FOO", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern:?} on {text:?}");
        }
        assert!(matches_nocase(b"F[A-C]o*", b"fbOO"));
        assert!(!matches_nocase(b"F[A-C]o*", b"fdOO"));
    }

    #[test]
    fn an_abusive_pattern_ends() {
        let pattern = "a*".repeat(500) + "b";
        assert!(!matches(pattern.as_bytes(), "a".repeat(50_000).as_bytes()));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(pattern in "[ab*?\\[\\]^\\\\-]{0,12}", text in "[ab\\]^-]{0,12}") {
            let _ = matches(pattern.as_bytes(), text.as_bytes());
        }

        #[test]
        fn an_escaped_text_matches_itself_alone(text in prop::collection::vec(any::<u8>(), 0..20), other in prop::collection::vec(any::<u8>(), 0..20)) {
            let pattern: Vec<u8> = text.iter().flat_map(|b| [b'\\', *b]).collect();
            prop_assert!(matches(&pattern, &text));
            prop_assert_eq!(matches(&pattern, &other), text == other);
        }
    }
}
