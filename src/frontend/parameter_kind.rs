//! What a parameter may be, and how a value of each kind is written when it is kept.

use crate::protocol::numbers::parse_i64;

/// What a parameter may be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// Only whoever starts the process sets it.
    Fixed,
    /// As fixed; Redis lets it be set only where its own configuration allows that.
    Protected,
    /// Where the process listens: what it is now, and nothing else.
    Address,
    /// The port on which it listens: what it is now, and nothing else.
    Listening,
    /// Anything.
    Text,
    /// `yes` or `no`.
    Switch,
    /// An integer from a range.
    Number(i64, i64),
    /// A number of bytes, at least so many.
    Bytes(u64),
    /// A number of bytes, or so many of a hundred parts.
    BytesOrPercent,
    /// One of these words.
    Words(&'static [&'static str]),
    /// Pairs of seconds and changes.
    SavePoints,
    /// Letters for classes of events.
    Events,
    /// A hard limit, a soft one and seconds for some of three classes of clients.
    OutputLimits,
    /// Numbers from 0 to 100.
    Percentiles,
}

/// Why a value is not one for a parameter.
pub(super) struct Unfit(pub(super) String);

impl Kind {
    /// The value as it is kept and told, where the parameter is `present` until now.
    pub(super) fn fit(self, value: &[u8], present: &str) -> Result<String, Unfit> {
        let text = String::from_utf8_lossy(value).into_owned();
        match self {
            Self::Fixed => unfit("can't set immutable config"),
            Self::Protected => unfit("can't set protected config"),
            Self::Address if text == present => Ok(text),
            Self::Address => unfit("Failed to bind to specified addresses."),
            Self::Listening => {
                let port = Self::Number(0, u16::MAX.into()).fit(value, present)?;
                if port == present { Ok(port) } else { unfit("Unable to listen on this port. Check server logs.") }
            }
            Self::Text => Ok(text),
            Self::Switch => match text.to_ascii_lowercase().as_str() {
                word @ ("yes" | "no") => Ok(word.into()),
                _ => unfit("argument must be 'yes' or 'no'"),
            },
            Self::Number(low, high) => match parse_i64(value) {
                None => unfit("argument couldn't be parsed into an integer"),
                Some(number) if (low..=high).contains(&number) => Ok(number.to_string()),
                Some(_) => Err(Unfit(format!("argument must be between {low} and {high} inclusive"))),
            },
            Self::Bytes(low) => match parse_bytes(&text) {
                None => unfit("argument must be a memory value"),
                Some(bytes) if bytes >= low => Ok(bytes.to_string()),
                Some(_) => Err(Unfit(format!("argument must be between {low} and {} inclusive", i64::MAX))),
            },
            Self::BytesOrPercent => bytes_or_percent(&text),
            Self::Words(words) => match words.iter().find(|word| word.eq_ignore_ascii_case(&text)) {
                Some(word) => Ok((*word).into()),
                None => Err(Unfit(format!("argument(s) must be one of the following: {}", words.join(", ")))),
            },
            Self::SavePoints => save_points(&text),
            Self::Events => events(&text),
            Self::OutputLimits => output_limits(&text, present),
            Self::Percentiles => percentiles(&text),
        }
    }
}

fn unfit<T>(reason: &str) -> Result<T, Unfit> {
    Err(Unfit(reason.into()))
}

/// A number of bytes with a unit: `k` is 1000, `kb` is 1024.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

fn bytes_or_percent(text: &str) -> Result<String, Unfit> {
    if let Some(bytes) = parse_bytes(text) {
        return Ok(bytes.to_string());
    }
    match text.strip_suffix('%').and_then(|number| number.parse::<u64>().ok()) {
        Some(0..=100) => Ok(text.into()),
        Some(_) => unfit("percentage argument must be less or equal to 100"),
        None => unfit("argument must be a memory or percent value"),
    }
}

fn save_points(text: &str) -> Result<String, Unfit> {
    let numbers: Option<Vec<i64>> = text.split_whitespace().map(|word| parse_i64(word.as_bytes())).collect();
    let is_fit = |numbers: &[i64]| matches!(numbers, [seconds, changes] if *seconds >= 1 && *changes >= 0);
    match numbers {
        Some(numbers) if numbers.chunks(2).all(is_fit) => {
            Ok(numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(" "))
        }
        _ => unfit("Invalid save parameters"),
    }
}

/// Written in Redis's order, with `A` for all that it stands for.
fn events(text: &str) -> Result<String, Unfit> {
    const ALL: &str = "g$lshzxetd";
    if !text.chars().all(|letter| ALL.contains(letter) || "AKEmn".contains(letter)) {
        return unfit("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.");
    }
    let is_all = text.contains('A') || ALL.chars().all(|letter| text.contains(letter));
    let classes = if is_all { "A".to_owned() } else { chosen(&format!("{ALL}n"), text) };
    Ok(classes + &chosen("KEm", text))
}

fn chosen(letters: &str, text: &str) -> String {
    letters.chars().filter(|letter| text.contains(*letter)).collect()
}

/// The classes that are not named keep their limits.
fn output_limits(text: &str, present: &str) -> Result<String, Unfit> {
    let words: Vec<&str> = text.split_whitespace().collect();
    if !words.len().is_multiple_of(4) {
        return unfit("Wrong number of arguments in buffer limit configuration.");
    }
    let mut limits: Vec<String> = present.split_whitespace().map(str::to_owned).collect();
    for group in words.chunks(4) {
        let class = match group[0].to_ascii_lowercase().as_str() {
            "normal" => 0,
            "slave" | "replica" => 1,
            "pubsub" => 2,
            _ => return unfit("Invalid client class specified in buffer limit configuration."),
        };
        let (hard, soft) = (parse_bytes(group[1]), parse_bytes(group[2]));
        let (Some(hard), Some(soft), Ok(seconds)) = (hard, soft, group[3].parse::<u32>()) else {
            return unfit("Error in hard, soft or soft_seconds setting in buffer limit configuration.");
        };
        for (place, number) in [hard, soft, seconds.into()].iter().enumerate() {
            limits[class * 4 + 1 + place] = number.to_string();
        }
    }
    Ok(limits.join(" "))
}

fn percentiles(text: &str) -> Result<String, Unfit> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let is_fit = |word: &&str| word.parse::<f64>().is_ok_and(|number| (0.0..=100.0).contains(&number));
    if words.iter().all(is_fit) {
        Ok(words.join(" "))
    } else {
        unfit("The percentiles should contain numbers between 0.0 and 100.0")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_kept_as_redis_tells_them() {
        let limits = "normal 0 0 0 slave 1 2 3 pubsub 4 5 6";
        for (kind, value, present, expected) in [
            (Kind::Bytes(0), "10m", "", Ok("10000000")),
            (
                Kind::Bytes(1 << 20),
                "1kb",
                "",
                Err("argument must be between 1048576 and 9223372036854775807 inclusive"),
            ),
            (Kind::BytesOrPercent, "20%", "", Ok("20%")),
            (Kind::BytesOrPercent, "200%", "", Err("percentage argument must be less or equal to 100")),
            (Kind::BytesOrPercent, "many", "", Err("argument must be a memory or percent value")),
            (Kind::SavePoints, " 3600 1  300 100 ", "", Ok("3600 1 300 100")),
            (Kind::SavePoints, "", "", Ok("")),
            (Kind::SavePoints, "0 1", "", Err("Invalid save parameters")),
            (Kind::SavePoints, "1", "", Err("Invalid save parameters")),
            (Kind::Events, "lKE", "", Ok("lKE")),
            (Kind::Events, "EKA", "", Ok("AKE")),
            (Kind::Events, "Kdtexzhsl$g", "", Ok("AK")),
            (Kind::Events, "nx", "", Ok("xn")),
            (Kind::Events, "Q", "", Err("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")),
            (Kind::OutputLimits, "replica 1k 2 3 PUBSUB 0 0 0", limits, Ok("normal 0 0 0 slave 1000 2 3 pubsub 0 0 0")),
            (Kind::OutputLimits, "normal 1 2", limits, Err("Wrong number of arguments in buffer limit configuration.")),
            (
                Kind::OutputLimits,
                "master 1 2 3",
                limits,
                Err("Invalid client class specified in buffer limit configuration."),
            ),
            (
                Kind::OutputLimits,
                "normal x 2 3",
                limits,
                Err("Error in hard, soft or soft_seconds setting in buffer limit configuration."),
            ),
            (Kind::Percentiles, "50 99.9", "", Ok("50 99.9")),
            (Kind::Percentiles, "101", "", Err("The percentiles should contain numbers between 0.0 and 100.0")),
            (Kind::Listening, "6379", "6379", Ok("6379")),
            (Kind::Listening, "7000", "6379", Err("Unable to listen on this port. Check server logs.")),
            (Kind::Listening, "70000", "6379", Err("argument must be between 0 and 65535 inclusive")),
            (Kind::Address, "0.0.0.0", "127.0.0.1", Err("Failed to bind to specified addresses.")),
        ] {
            let heard = kind.fit(value.as_bytes(), present).map_err(|unfit| unfit.0);
            assert_eq!(heard, expected.map(str::to_owned).map_err(str::to_owned), "{kind:?} {value}");
        }
    }
}
