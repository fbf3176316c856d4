//! The 64-bit floating point numbers of scores, read as `strtod` reads them and written as Redis 7.2 writes them.
//!
//! Texts are compared by clients and kept by replicas, so reading is exact and rounded once, to the nearest, ties to
//! even, and writing gives digits that read back as the same number ([`Digits`]).

use std::io::Write;

use super::digits::Digits;

/// The integers that are written as such; larger ones get an exponent.
const INTEGER_MAX: f64 = (1_u64 << 62) as f64;
/// As many digits as tell any number from all others.
const DIGITS_MAX: usize = 17;
/// Room for any number in scientific notation.
const TEXT_BYTES_MAX: usize = 32;

/// Reads a number that fills `text` (Redis's `string2d`): no blank in front; no number is what is too large or too close
/// to zero, or not a number.
pub fn parse_double(text: &[u8]) -> Option<f64> {
    let scanned = scan(text)?;
    let whole = scanned.length == text.len() && !scanned.out_of_range;
    whole.then_some(scanned.value)
}

/// Reads a bound of a range of scores, where Redis asks `strtod` alone: up to a zero byte, blanks in front, nothing at
/// all (which is zero), and numbers that are too large (which are infinite) will do.
pub fn parse_bound(text: &[u8]) -> Option<f64> {
    scan_c_string(text).map(|scanned| scanned.value)
}

/// Reads what SORT sorts by: as [`parse_bound`], but no number is what is too large or too close to zero.
pub fn parse_weight(text: &[u8]) -> Option<f64> {
    scan_c_string(text).filter(|scanned| !scanned.out_of_range).map(|scanned| scanned.value)
}

/// The number that all of a text is, up to a zero byte and behind blanks; nothing at all is zero.
fn scan_c_string(text: &[u8]) -> Option<Scanned> {
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    let text = &text[..end];
    if text.is_empty() {
        return Some(Scanned { value: 0.0, length: 0, out_of_range: false });
    }
    let blanks = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t'..=b'\r')).count();
    let scanned = scan(&text[blanks..])?;
    (scanned.length == text.len() - blanks).then_some(scanned)
}

/// Appends the number as Redis prints it.
pub fn format_double(number: f64, out: &mut Vec<u8>) {
    if write_special(number, out) {
        return;
    }
    if number.abs() <= INTEGER_MAX && number.trunc() == number {
        write!(out, "{}", number as i64).expect("a Vec takes all bytes");
        return;
    }
    let digits = Digits::of(number.abs());
    let (zeros, digits) = (digits.power, digits.as_slice());
    let power = zeros + digits.len() as i32 - 1;
    if number < 0.0 {
        out.push(b'-');
    }
    if zeros >= 0 && power.abs() < digits.len() as i32 + 7 {
        out.extend_from_slice(digits);
        out.resize(out.len() + zeros as usize, b'0');
    } else if zeros < 0 && (zeros > -7 || power.abs() < 4) {
        write_fixed(digits, power, out);
    } else {
        write_scientific(digits, power, 1, out);
    }
}

/// Appends the number as `%.17g` prints it, which is how ZSCAN tells scores.
pub fn format_double_in_full(number: f64, out: &mut Vec<u8>) {
    if write_special(number, out) {
        return;
    }
    let mut text = [0; TEXT_BYTES_MAX];
    let (digits, power) = scientific(&mut text, number.abs());
    let kept = digits.iter().rposition(|digit| *digit != b'0').map_or(1, |last| last + 1);
    if number < 0.0 {
        out.push(b'-');
    }
    if (-4..DIGITS_MAX as i32).contains(&power) {
        write_fixed(&digits[..kept], power, out);
    } else {
        write_scientific(&digits[..kept], power, 2, out);
    }
}

/// Appends what is not written in digits, and zero.
fn write_special(number: f64, out: &mut Vec<u8>) -> bool {
    let text: &[u8] = match number {
        0.0 if number.is_sign_negative() => b"-0",
        0.0 => b"0",
        f64::INFINITY => b"inf",
        f64::NEG_INFINITY => b"-inf",
        _ if number.is_nan() => b"nan",
        _ => return false,
    };
    out.extend_from_slice(text);
    true
}

/// The first [`DIGITS_MAX`] digits of a number, and the power of ten of the first one.
fn scientific(text: &mut [u8; TEXT_BYTES_MAX], number: f64) -> (&[u8], i32) {
    let mut room = &mut text[..];
    write!(room, "{number:.*e}", DIGITS_MAX - 1).expect("there is room for any number");
    let length = TEXT_BYTES_MAX - room.len();
    let letter = text[..length].iter().position(|byte| *byte == b'e').expect("it has an exponent");
    let power = text[letter + 1..length].iter().filter(|byte| byte.is_ascii_digit());
    let power = power.fold(0, |power, digit| power * 10 + i32::from(digit - b'0'));
    let power = if text[letter + 1] == b'-' { -power } else { power };
    // The point goes: the first digit moves to its place.
    let start = usize::from(letter > 1);
    text[start] = text[0];
    (&text[start..letter], power)
}

/// Appends digits with a point among, behind or before them.
fn write_fixed(digits: &[u8], power: i32, out: &mut Vec<u8>) {
    let Ok(power) = usize::try_from(power) else {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + power.unsigned_abs() as usize - 1, b'0');
        out.extend_from_slice(digits);
        return;
    };
    let whole = power + 1;
    if let Some((before, behind)) = digits.split_at_checked(whole).filter(|(_, behind)| !behind.is_empty()) {
        out.extend_from_slice(before);
        out.push(b'.');
        out.extend_from_slice(behind);
    } else {
        out.extend_from_slice(digits);
        out.resize(out.len() + whole - digits.len(), b'0');
    }
}

/// Appends digits with an exponent, which has at least so many digits.
fn write_scientific(digits: &[u8], power: i32, power_digits_min: usize, out: &mut Vec<u8>) {
    out.push(digits[0]);
    if digits.len() > 1 {
        out.push(b'.');
        out.extend_from_slice(&digits[1..]);
    }
    let sign = if power < 0 { '-' } else { '+' };
    write!(out, "e{sign}{:0power_digits_min$}", power.unsigned_abs()).expect("a Vec takes all bytes");
}

/// A number at the start of a text.
struct Scanned {
    value: f64,
    /// How many bytes it takes.
    length: usize,
    /// Whether it is too large, or so small that it became zero.
    out_of_range: bool,
}

/// Reads the longest number that `text` begins with, in any form but `nan`.
fn scan(text: &[u8]) -> Option<Scanned> {
    let negative = text.first() == Some(&b'-');
    let sign = usize::from(negative || text.first() == Some(&b'+'));
    let rest = &text[sign..];
    let is = |word: &[u8]| rest.len() >= word.len() && rest[..word.len()].eq_ignore_ascii_case(word);
    let infinite = |length| Scanned { value: f64::INFINITY, length, out_of_range: false };
    let scanned = if is(b"infinity") {
        infinite(8)
    } else if is(b"inf") {
        infinite(3)
    } else if let Some(hexadecimal) = scan_hexadecimal(rest) {
        hexadecimal
    } else {
        scan_decimal(rest)?
    };
    let value = if negative { -scanned.value } else { scanned.value };
    Some(Scanned { value, length: sign + scanned.length, ..scanned })
}

/// How many bytes are digits with at most one point, how many of them come before the point and behind it.
fn mantissa(text: &[u8], is_digit: fn(&u8) -> bool) -> (usize, usize, usize) {
    let whole = text.iter().take_while(|byte| is_digit(byte)).count();
    let fraction = match text.get(whole) {
        Some(b'.') => text[whole + 1..].iter().take_while(|byte| is_digit(byte)).count(),
        _ => 0,
    };
    let point = usize::from(text.get(whole) == Some(&b'.'));
    (whole + point + fraction, whole, fraction)
}

/// How many bytes at the start of `text` are an exponent, and which.
fn exponent(text: &[u8], letter: u8) -> (usize, i64) {
    const FAR: i64 = 1_000_000;
    if !text.first().is_some_and(|first| first.eq_ignore_ascii_case(&letter)) {
        return (0, 0);
    }
    let sign = usize::from(matches!(text.get(1), Some(b'-' | b'+')));
    let digits = text[1 + sign..].iter().take_while(|byte| byte.is_ascii_digit());
    let count = digits.clone().count();
    if count == 0 {
        return (0, 0);
    }
    let size = digits.fold(0, |number, digit| (number * 10 + i64::from(digit - b'0')).min(FAR));
    (1 + sign + count, if text[1] == b'-' { -size } else { size })
}

fn scan_decimal(text: &[u8]) -> Option<Scanned> {
    let (length, whole, fraction) = mantissa(text, u8::is_ascii_digit);
    if whole + fraction == 0 {
        return None;
    }
    let is_zero = text[..length].iter().all(|byte| matches!(byte, b'0' | b'.'));
    let length = length + exponent(&text[length..], b'e').0;
    let value: f64 = std::str::from_utf8(&text[..length]).ok()?.parse().ok()?;
    let out_of_range = value.is_infinite() || value == 0.0 && !is_zero;
    Some(Scanned { value, length, out_of_range })
}

fn scan_hexadecimal(text: &[u8]) -> Option<Scanned> {
    const DIGITS_KEPT: usize = 30;
    let [b'0', b'x' | b'X', digits @ ..] = text else { return None };
    let (length, whole, fraction) = mantissa(digits, u8::is_ascii_hexdigit);
    if whole + fraction == 0 {
        return None;
    }
    let (exponent_length, exponent) = exponent(&digits[length..], b'p');
    let value = |digit: &u8| char::from(*digit).to_digit(16).map_or(0, u128::from);
    let significant = digits[..length].iter().filter(|byte| **byte != b'.').skip_while(|byte| **byte == b'0');
    let kept = significant.clone().take(DIGITS_KEPT).fold(0, |bits, digit| bits << 4 | value(digit));
    let dropped = significant.skip(DIGITS_KEPT);
    let power = exponent - fraction as i64 * 4 + dropped.clone().count() as i64 * 4;
    let rounded = round(kept, power, dropped.clone().any(|digit| *digit != b'0'));
    let out_of_range = rounded.is_infinite() || rounded == 0.0 && kept != 0;
    Some(Scanned { value: rounded, length: 2 + length + exponent_length, out_of_range })
}

/// The number nearest to `bits`, or a little more if `more`, times two to the `power`.
fn round(bits: u128, power: i64, more: bool) -> f64 {
    const MANTISSA_BITS: i64 = 53;
    const POWER_MIN: i64 = -1074;
    const POWER_MAX: i64 = 971;
    let size = i64::from(u128::BITS - bits.leading_zeros());
    // The power of two that the last bit of the result stands for.
    let last = (power + size - MANTISSA_BITS).max(POWER_MIN);
    let mut mantissa = if last <= power {
        bits.checked_shl((power - last) as u32).unwrap_or(0)
    } else {
        let drop = (last - power).min(i64::from(u32::MAX)) as u32;
        let kept = bits.checked_shr(drop).unwrap_or(0);
        let dropped = bits - kept.checked_shl(drop).unwrap_or(0);
        let half = 1_u128.checked_shl(drop - 1).unwrap_or(u128::MAX);
        kept + u128::from(dropped > half || dropped == half && (more || kept & 1 == 1))
    };
    let mut last = last;
    if mantissa >> MANTISSA_BITS == 1 {
        (mantissa, last) = (mantissa >> 1, last + 1);
    }
    if mantissa == 0 {
        return 0.0;
    }
    if last > POWER_MAX {
        return f64::INFINITY;
    }
    // Where the first of 53 bits is not set, the exponent's field is zero.
    const IMPLICIT: u64 = 1 << (MANTISSA_BITS - 1);
    let mantissa = mantissa as u64;
    let field = if mantissa & IMPLICIT == 0 { 0 } else { (last - POWER_MIN + 1) as u64 };
    f64::from_bits(field << (MANTISSA_BITS - 1) | mantissa & (IMPLICIT - 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(number: f64) -> String {
        let mut out = Vec::new();
        format_double(number, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_are_written_as_redis_does() {
        for (number, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (3.0, "3"),
            (-17.0, "-17"),
            (1.5, "1.5"),
            (0.1, "0.1"),
            (0.30000000000000004, "0.30000000000000004"),
            (1e-5, "0.00001"),
            (1e-6, "0.000001"),
            (1e-7, "1e-7"),
            (1.5e-7, "1.5e-7"),
            (0.00123456789012, "0.00123456789012"),
            (0.000123456789012, "1.23456789012e-4"),
            (4611686018427387904.0, "4611686018427387904"),
            (9223372036854775808.0, "9223372036854776000"),
            (1e19, "1e+19"),
            (1e100, "1e+100"),
            (-1.7976931348623157e308, "-1.7976931348623157e+308"),
            (5e-324, "5e-324"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(written(number), text);
        }
    }

    #[test]
    fn numbers_in_full_are_those_of_printf() {
        for (number, text) in [
            (1.1, "1.1000000000000001"),
            (0.5, "0.5"),
            (-3.0, "-3"),
            (100.0, "100"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (0.0001, "0.0001"),
            (0.00001, "1.0000000000000001e-05"),
            (1.5e300, "1.5000000000000001e+300"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            let mut out = Vec::new();
            format_double_in_full(number, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }

    #[test]
    fn scores_are_read_as_redis_does() {
        for (text, number) in [
            ("1", Some(1.0)),
            ("+.5", Some(0.5)),
            ("-1.", Some(-1.0)),
            ("1e3", Some(1000.0)),
            ("inf", Some(f64::INFINITY)),
            ("+INF", Some(f64::INFINITY)),
            ("-Infinity", Some(f64::NEG_INFINITY)),
            ("0x1A", Some(26.0)),
            ("-0x.8p1", Some(-1.0)),
            ("0x1.fffffffffffff8p0", Some(2.0)),
            ("0x1p-1074", Some(5e-324)),
            ("0x1p-1075", None),
            ("0x1.8p-1075", Some(5e-324)),
            ("0x1p1024", None),
            ("1e-320", Some(1e-320)),
            ("1e400", None),
            ("1e-400", None),
            ("0e-400", Some(0.0)),
            ("nan", None),
            ("", None),
            (" 1", None),
            ("1 ", None),
            ("1\0", None),
            ("1e", None),
            (".", None),
            ("-", None),
            ("0x", None),
            ("infinit", None),
            ("1_0", None),
        ] {
            assert_eq!(parse_double(text.as_bytes()), number, "{text:?}");
        }
        assert!(parse_double(b"-0").is_some_and(|zero| zero.is_sign_negative()));
    }

    #[test]
    fn bounds_are_read_as_redis_does() {
        for (text, number) in [
            ("", Some(0.0)),
            ("  7", Some(7.0)),
            ("1e400", Some(f64::INFINITY)),
            ("1e-400", Some(0.0)),
            ("5\0x", Some(5.0)),
            ("5x", None),
            (" ", None),
            ("nan", None),
        ] {
            assert_eq!(parse_bound(text.as_bytes()), number, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(bits: u64) {
            let number = f64::from_bits(bits);
            prop_assume!(!number.is_nan());
            let mut in_full = Vec::new();
            format_double_in_full(number, &mut in_full);
            prop_assert_eq!(parse_double(written(number).as_bytes()).map(f64::to_bits), Some(bits));
            prop_assert_eq!(parse_double(&in_full).map(f64::to_bits), Some(bits));
        }

        #[test]
        fn hexadecimal_digits_read_back(bits: u64) {
            let number = f64::from_bits(bits & !(1 << 63));
            prop_assume!(number.is_finite());
            let (field, fraction) = (bits << 1 >> 53, bits & ((1 << 52) - 1));
            let text = if field == 0 {
                format!("0x{fraction:x}p-1074")
            } else {
                format!("0x{:x}p{}", fraction | 1 << 52, field as i64 - 1075)
            };
            prop_assert_eq!(parse_double(text.as_bytes()).map(f64::to_bits), Some(number.to_bits()), "{}", text);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[-+]?(0x)?[0-9a-fA-F.]{0,40}([eEpP][-+]?[0-9]{0,6})?") {
            let _ = (parse_double(text.as_bytes()), parse_bound(text.as_bytes()));
        }
    }
}
