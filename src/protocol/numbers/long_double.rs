//! The 80-bit floating point numbers that Redis on x86-64 counts INCRBYFLOAT with, in software.
//!
//! Every replica and every machine must compute the same bits, and clients compare the digits with Redis's. So reading
//! (`strtold`), adding and writing (`%.17Lf` without the zeros at its end) are exact and rounded once, to the nearest,
//! ties to even, with a mantissa of 64 bits.

use super::natural::Natural;

/// The exponent of the last bit of the smallest number.
const EXPONENT_MIN: i32 = -16445;
/// The exponent of the last bit of the largest numbers.
const EXPONENT_MAX: i32 = 16320;
/// A longer text is no number for Redis.
const TEXT_BYTES_MAX: usize = 5 * 1024 - 1;
/// Digits behind the point.
const FRACTION_DIGITS: usize = 17;

/// A number of the x87 extended format: a sign, and 64 bits times a power of two, or infinity. Never NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongDouble {
    negative: bool,
    magnitude: Magnitude,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Magnitude {
    /// `mantissa` times two to the `exponent`.
    Finite {
        mantissa: u64,
        exponent: i32,
    },
    Infinite,
}

use Magnitude::{Finite, Infinite};

impl LongDouble {
    /// Zero.
    pub const ZERO: Self = Self { negative: false, magnitude: Finite { mantissa: 0, exponent: 0 } };

    /// Whether it is not infinity.
    pub const fn is_finite(self) -> bool {
        matches!(self.magnitude, Finite { .. })
    }

    /// The sum, unless it is not a finite number.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        let (Finite { .. }, Finite { .. }) = (self.magnitude, other.magnitude) else { return None };
        let (mut large, mut small) = (self.normal(), other.normal());
        if (small.1, small.0) > (large.1, large.0) {
            (large, small) = (small, large);
            return add(other.negative, large, self.negative != other.negative, small);
        }
        add(self.negative, large, self.negative != other.negative, small)
    }

    /// A thousand times the number, rounded up to an integer; what is out of range becomes the end of the range.
    pub fn thousandfold(self) -> i64 {
        let end = if self.negative { i64::MIN } else { i64::MAX };
        let Finite { mantissa, exponent } = self.magnitude else { return end };
        let product = round(self.negative, u128::from(mantissa) * 1000, i64::from(exponent), false);
        let Some(Self { magnitude: Finite { mantissa, exponent }, .. }) = product else { return end };
        let magnitude = if exponent >= 0 {
            u128::from(mantissa).checked_shl(exponent as u32).filter(|wide| wide >> exponent == u128::from(mantissa))
        } else {
            let shift = exponent.unsigned_abs();
            let whole = mantissa.checked_shr(shift).unwrap_or(0);
            let more = whole.checked_shl(shift).unwrap_or(0) != mantissa;
            Some(u128::from(whole) + u128::from(more && !self.negative))
        };
        let Some(magnitude) = magnitude.and_then(|wide| i64::try_from(wide).ok()) else { return end };
        if self.negative { -magnitude } else { magnitude }
    }

    /// Mantissa with its highest bit set, and its exponent; zero is below everything.
    fn normal(self) -> (u64, i32) {
        match self.magnitude {
            Finite { mantissa: 0, .. } | Infinite => (0, i32::MIN),
            Finite { mantissa, exponent } => {
                let shift = mantissa.leading_zeros();
                (mantissa << shift, exponent - shift as i32)
            }
        }
    }
}

/// Adds two normal magnitudes, or subtracts the smaller.
fn add(negative: bool, large: (u64, i32), subtract: bool, small: (u64, i32)) -> Option<LongDouble> {
    if large.0 == 0 {
        return Some(LongDouble { negative: negative && !subtract, ..LongDouble::ZERO });
    }
    // The sum gets 63 bits below the mantissa and one above; what is lost below those counts as "a little more".
    const BELOW_BITS: u32 = 63;
    let shift = u32::try_from(i64::from(large.1) - i64::from(small.1)).unwrap_or(u32::MAX);
    let aligned = u128::from(small.0) << BELOW_BITS;
    let addend = aligned.checked_shr(shift).unwrap_or(0);
    let lost = addend.checked_shl(shift).unwrap_or(0) != aligned;
    let total = u128::from(large.0) << BELOW_BITS;
    let total = if subtract { total - addend - u128::from(lost) } else { total + addend };
    if total == 0 && !lost {
        return Some(LongDouble::ZERO);
    }
    round(negative, total, i64::from(large.1) - i64::from(BELOW_BITS), lost)
}

/// Rounds `bits` times two to the `exponent`, and a little more if `more`, to a number; `None` if it is too large.
fn round(negative: bool, bits: u128, exponent: i64, more: bool) -> Option<LongDouble> {
    let excess = i64::from(u128::BITS - bits.leading_zeros()) - 64;
    let drop = excess.max(i64::from(EXPONENT_MIN) - exponent);
    let (mut mantissa, mut exponent) = if drop <= 0 {
        // All of it fits.
        (bits, exponent)
    } else {
        let kept = bits.checked_shr(drop as u32).unwrap_or(0);
        let dropped = bits - kept.checked_shl(drop as u32).unwrap_or(0);
        let half = 1_u128.checked_shl(drop as u32 - 1).unwrap_or(u128::MAX);
        let up = dropped > half || dropped == half && (more || kept & 1 == 1);
        (kept + u128::from(up), exponent + drop)
    };
    if mantissa >> 64 == 1 {
        (mantissa, exponent) = (mantissa >> 1, exponent + 1);
    }
    // A short mantissa may have an exponent that only looks too large.
    while exponent > i64::from(EXPONENT_MAX) && mantissa != 0 && mantissa >> 63 == 0 {
        (mantissa, exponent) = (mantissa << 1, exponent - 1);
    }
    let magnitude = Finite { mantissa: mantissa as u64, exponent: exponent as i32 };
    (exponent <= i64::from(EXPONENT_MAX)).then_some(LongDouble { negative, magnitude })
}

/// Reads a number as `strtold` does, all of the text: decimal, hexadecimal, `inf`. No number: what is too large, too
/// close to zero, or not a number.
pub fn parse_float(text: &[u8]) -> Option<LongDouble> {
    if text.len() > TEXT_BYTES_MAX {
        return None;
    }
    let (negative, magnitude) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    match magnitude {
        [b'0', b'x' | b'X', digits @ ..] => parse_hexadecimal(negative, digits),
        word if word.eq_ignore_ascii_case(b"inf") || word.eq_ignore_ascii_case(b"infinity") => {
            Some(LongDouble { negative, magnitude: Infinite })
        }
        digits => parse_decimal(negative, digits),
    }
}

/// Digits with a point somewhere, and an exponent: the digits, how many are behind the point, the exponent.
struct Literal<'a> {
    whole: &'a [u8],
    fraction: &'a [u8],
    exponent: i64,
}

impl<'a> Literal<'a> {
    fn parse(text: &'a [u8], is_digit: fn(&u8) -> bool, exponent_letter: u8) -> Option<Self> {
        let run = |text: &[u8]| text.iter().take_while(|b| is_digit(b)).count();
        let (whole, rest) = text.split_at(run(text));
        let (fraction, rest) = match rest {
            [b'.', rest @ ..] => rest.split_at(run(rest)),
            rest => (&[][..], rest),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let exponent = match rest {
            [] => 0,
            [letter, exponent @ ..] if letter.eq_ignore_ascii_case(&exponent_letter) => parse_exponent(exponent)?,
            _ => return None,
        };
        Some(Self { whole, fraction, exponent })
    }

    /// The digits without zeros in front.
    fn digits(&self) -> impl Iterator<Item = u8> + Clone + use<'a> {
        self.whole.iter().chain(self.fraction).copied().skip_while(|b| *b == b'0')
    }
}

/// An exponent; one that is far out of range stays far out of range.
fn parse_exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    const FAR: i64 = 1_000_000;
    let magnitude = digits.iter().fold(0, |number, digit| (number * 10 + i64::from(digit - b'0')).min(FAR));
    Some(if negative { -magnitude } else { magnitude })
}

fn parse_decimal(negative: bool, text: &[u8]) -> Option<LongDouble> {
    // No number of this format has more digits before its point, or as many zeros after it.
    const MAGNITUDE_MAX: i64 = 4_940;
    const MAGNITUDE_MIN: i64 = -4_960;
    let literal = Literal::parse(text, u8::is_ascii_digit, b'e')?;
    let count = literal.digits().count();
    if count == 0 {
        return Some(LongDouble { negative, ..LongDouble::ZERO });
    }
    let power = literal.exponent - literal.fraction.len() as i64;
    let magnitude = count as i64 + power;
    if !(MAGNITUDE_MIN..=MAGNITUDE_MAX).contains(&magnitude) {
        return None;
    }
    let mut number = Natural::from_decimal(literal.digits());
    let (mut scale, mut more) = (0, false);
    if power >= 0 {
        number.multiply_by_ten_to(power as usize);
    } else {
        // Enough bits before the division that its result has more than a mantissa: ten takes 3.33 bits.
        const RESULT_BITS: usize = 72;
        let divisor_bits = power.unsigned_abs() as usize * 10 / 3 + 1;
        scale = (divisor_bits + RESULT_BITS).saturating_sub(number.bits());
        number.shift_left(scale);
        more = number.divide_by_ten_to(power.unsigned_abs() as usize);
    }
    let (top, below, rest) = number.top();
    nonzero(round(negative, top, below as i64 - scale as i64, more || rest))
}

fn parse_hexadecimal(negative: bool, text: &[u8]) -> Option<LongDouble> {
    const DIGITS_MAX: usize = 30;
    let literal = Literal::parse(text, u8::is_ascii_hexdigit, b'p')?;
    let value = |digit: u8| char::from(digit).to_digit(16).map_or(0, u128::from);
    let kept = literal.digits().take(DIGITS_MAX).fold(0, |bits, digit| bits << 4 | value(digit));
    if kept == 0 {
        return Some(LongDouble { negative, ..LongDouble::ZERO });
    }
    let dropped = literal.digits().skip(DIGITS_MAX);
    let dropped_bits = dropped.clone().count() as i64 * 4;
    let exponent = literal.exponent - literal.fraction.len() as i64 * 4 + dropped_bits;
    nonzero(round(negative, kept, exponent, dropped.clone().any(|digit| digit != b'0')))
}

/// What is not zero but rounds to it is out of range.
fn nonzero(number: Option<LongDouble>) -> Option<LongDouble> {
    number.filter(|number| !matches!(number.magnitude, Finite { mantissa: 0, .. }))
}

/// Appends the number as Redis prints it: never an exponent, at most 17 digits behind the point, no zeros at its end.
pub fn format_float(number: LongDouble, out: &mut Vec<u8>) {
    let start = out.len();
    if number.negative {
        out.push(b'-');
    }
    match number.magnitude {
        Infinite => out.extend_from_slice(b"inf"),
        Finite { mantissa, exponent: exponent @ 0.. } => {
            Natural::of_binary(mantissa, exponent as u32).write_decimal(out);
        }
        Finite { mantissa, exponent } => write_with_fraction(mantissa, exponent.unsigned_abs(), out),
    }
    if out[start..] == *b"-0" {
        out.remove(start);
    }
}

/// Appends `mantissa` divided by two to the `places`, rounded to [`FRACTION_DIGITS`].
fn write_with_fraction(mantissa: u64, places: u32, out: &mut Vec<u8>) {
    const SCALE: u128 = 10_u128.pow(FRACTION_DIGITS as u32);
    let whole = mantissa.checked_shr(places).unwrap_or(0);
    let fraction = mantissa - whole.checked_shl(places).unwrap_or(0);
    // Below 2^121, so that more than 121 places leave less than a half.
    let scaled = u128::from(fraction) * SCALE;
    let kept = scaled.checked_shr(places).unwrap_or(0);
    let dropped = scaled - kept.checked_shl(places).unwrap_or(0);
    let half = 1_u128.checked_shl(places - 1).unwrap_or(u128::MAX);
    let up = dropped > half || dropped == half && kept & 1 == 1;
    let digits = u128::from(whole) * SCALE + kept + u128::from(up);
    let text = format!("{}.{:017}", digits / SCALE, digits % SCALE);
    out.extend_from_slice(text.trim_end_matches('0').trim_end_matches('.').as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn seconds_become_milliseconds() {
        for (text, milliseconds) in [
            ("0", 0),
            ("1", 1000),
            ("0.001", 1),
            ("0.0001", 1),
            ("-0.0001", 0),
            ("-1", -1000),
            ("1.5", 1500),
            ("1e3", 1_000_000),
            ("0x10", 16_000),
            ("9223372036854775", 9_223_372_036_854_775_000),
            ("9223372036854776", i64::MAX),
            ("1e4000", i64::MAX),
            ("inf", i64::MAX),
            ("-inf", i64::MIN),
        ] {
            assert_eq!(parse_float(text.as_bytes()).unwrap().thousandfold(), milliseconds, "{text}");
        }
    }

    fn sum(a: &str, b: &str) -> String {
        let (Some(a), Some(b)) = (parse_float(a.as_bytes()), parse_float(b.as_bytes())) else {
            return "not a float".into();
        };
        let Some(total) = a.checked_add(b) else { return "not finite".into() };
        let mut out = Vec::new();
        format_float(total, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn sums_have_the_digits_of_redis() {
        for (a, b, expected) in [
            ("0", "0", "0"),
            ("-0", "-0", "0"),
            ("10.50", "0.1", "10.6"),
            ("5.0e3", "2.0e2", "5200"),
            ("3", "1.1", "4.1"),
            ("0.1", "0.2", "0.3"),
            ("1", "-1", "0"),
            ("1e20", "1", "100000000000000000000"),
            ("0x1.8p1", "+.5", "3.5"),
            ("1.", "1", "2"),
            ("inf", "1", "not finite"),
            ("1", "-Infinity", "not finite"),
            ("nan", "1", "not a float"),
            ("", "1", "not a float"),
            (" 1", "1", "not a float"),
            ("1 ", "1", "not a float"),
            (".", "1", "not a float"),
            ("1e", "1", "not a float"),
            ("0x", "1", "not a float"),
            ("1e5000", "1", "not a float"),
            ("1e-5000", "1", "not a float"),
            ("1e4932", "1e4932", "not finite"),
            ("1.5\0", "1", "not a float"),
            // As redis-server 7.2.6 answered.
            ("-54335349840", "74.0", "-54335349766"),
            ("+14614.2", "0xd30f991af32fe94p16384", "not a float"),
            ("64.399937783e-8", "9.178848678e24", "9178848678000000000065536"),
            ("59.50921941e-1203", "nan", "not a float"),
            ("+89.410682045e-50", "44.989166042e-53", "0"),
            ("+0x1fb384dfe04d9ba0bep-16500", "7400309237", "7400309237"),
            ("-0", "0.5", "0.5"),
            ("0xe.19856f8ep3", "+10.9929", "123.79043854498267174"),
            (
                "5e-18",
                "-0x300e34a6ba11894fddf13dc64ea0b6949e54a1.19fcfe696739cbp81",
                "-2591146943171043893657691133787176414154929229241013291186329382551552",
            ),
            ("0x14c5ea415a82cf949c6p16320", "-42.322444510e-23", "not a float"),
            (
                "34689768052629",
                "0xe0480280d722e41.dabp163",
                "11809788219204414369471865518989391260522657942485662041791449268224",
            ),
            ("0xff06758ep-16510", "33.260873517e39", "not a float"),
            ("0x61b98746c9540981c.1b9194d3f41dp-187", "-35573500647013851067609", "-35573500647013851068416"),
            ("0x3p-16510", "-37.426181526e-1", "not a float"),
            (
                "-0x2229e4e84d8804049ca.f036a145p137",
                "44.488555645e-785",
                "-1756763759036251265015933240358099790254052185178999592706899968",
            ),
            ("0x7461e9919b844f7c29c93ap-16446", "0.1", "0.1"),
            ("5e-4951", "383.1", "383.10000000000000001"),
            (
                "-0x404505b55d70a4744d7a4976b94b9978f4a611.0p67",
                "95567507313624",
                "-211511899798069641136834663973950184713871382070059710847675006976",
            ),
            ("1.8e-4951", "-969552008", "not a float"),
            ("+0x1d33ff7076915ddd.5af8p48", "+0x60e038ccd2e24e22p16383", "not a float"),
            ("1.9e-4951", "4", "4"),
            ("+0x40651p-16446", "-6.1", "-6.1"),
            ("0x1p-16445", "0", "0"),
            ("0xfb98f50d9b99a.119c4c31b7p-115", "0.0", "0"),
            ("0x1a244010ebd1.e725a0c87c93079p-136", "+18.888487074e-49", "0"),
            ("1.9e-4951", "78.566818489e60", "78566818489000000000432954350687792437083889401941839484813312"),
        ] {
            assert_eq!(sum(a, b), expected, "{a:?} + {b:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[-+]?(0x)?[0-9a-fA-F.]{0,40}([eEpP][-+]?[0-9]{0,6})?") {
            if let Some(number) = parse_float(text.as_bytes()) {
                format_float(number, &mut Vec::new());
            }
        }

        #[test]
        fn the_order_of_a_sum_does_not_matter(a in "-?[0-9]{1,25}(\\.[0-9]{1,25})?(e-?[0-9]{1,3})?", b in "-?[0-9]{1,25}(\\.[0-9]{1,25})?(e-?[0-9]{1,3})?") {
            prop_assert_eq!(sum(&a, &b), sum(&b, &a));
        }
    }
}
