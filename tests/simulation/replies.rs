//! Replies as clients read them, out of bytes that come in any pieces.

use super::checkers::history::Reply;

/// A reply to a request: a value, or an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Value(Reply),
    Error(String),
}

/// The first whole reply, and how many bytes it took.
pub fn parse(bytes: &[u8]) -> Option<(Answer, usize)> {
    let (line, mut used) = line(bytes)?;
    let (kind, rest) = line.split_at(1);
    let value = match kind {
        "+" => Reply::text(rest),
        ":" => Reply::Number(rest.parse().expect("a number")),
        "-" => return Some((Answer::Error(rest.to_owned()), used)),
        "$" | "*" if rest == "-1" => Reply::Nil,
        "$" => {
            let length: usize = rest.parse().expect("a length");
            let text = bytes.get(used..used + length + 2)?;
            used += length + 2;
            Reply::Text(text[..length].to_vec())
        }
        "*" => {
            let mut list = Vec::new();
            for _ in 0..rest.parse().expect("a count") {
                let (item, more) = parse(&bytes[used..])?;
                used += more;
                list.push(match item {
                    Answer::Value(value) => value,
                    Answer::Error(text) => panic!("an error within a reply: {text}"),
                });
            }
            Reply::List(list)
        }
        _ => panic!("this is no reply: {line:?}"),
    };
    Some((Answer::Value(value), used))
}

fn line(bytes: &[u8]) -> Option<(&str, usize)> {
    let end = bytes.windows(2).position(|two| two == b"\r\n")?;
    Some((std::str::from_utf8(&bytes[..end]).expect("text"), end + 2))
}
