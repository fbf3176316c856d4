//! The digits that Redis writes a 64-bit floating point number with: those of the Grisu2 algorithm (Loitsch: Printing
//! Floating-Point Numbers Quickly and Accurately with Integers, 2010).
//!
//! They always read back as the same number. For one number in a thousand they are not the fewest that do, or not the
//! nearest; clients compare them with Redis's, and so they are these here too.

/// Mantissas of every eighth power of ten from 10^-348 on, to 64 bits.
#[rustfmt::skip]
const POWERS: [u64; 87] = [
    0xfa8f_d5a0_081c_0288, 0xbaae_e17f_a23e_bf76, 0x8b16_fb20_3055_ac76, 0xcf42_894a_5dce_35ea,
    0x9a6b_b0aa_5565_3b2d, 0xe61a_cf03_3d1a_45df, 0xab70_fe17_c79a_c6ca, 0xff77_b1fc_bebc_dc4f,
    0xbe56_91ef_416b_d60c, 0x8dd0_1fad_907f_fc3c, 0xd351_5c28_3155_9a83, 0x9d71_ac8f_ada6_c9b5,
    0xea9c_2277_23ee_8bcb, 0xaecc_4991_4078_536d, 0x823c_1279_5db6_ce57, 0xc210_9436_4dfb_5637,
    0x9096_ea6f_3848_984f, 0xd774_85cb_2582_3ac7, 0xa086_cfcd_97bf_97f4, 0xef34_0a98_172a_ace5,
    0xb238_67fb_2a35_b28e, 0x84c8_d4df_d2c6_3f3b, 0xc5dd_4427_1ad3_cdba, 0x936b_9fce_bb25_c996,
    0xdbac_6c24_7d62_a584, 0xa3ab_6658_0d5f_daf6, 0xf3e2_f893_dec3_f126, 0xb5b5_ada8_aaff_80b8,
    0x8762_5f05_6c7c_4a8b, 0xc9bc_ff60_34c1_3053, 0x964e_858c_91ba_2655, 0xdff9_7724_7029_7ebd,
    0xa6df_bd9f_b8e5_b88f, 0xf8a9_5fcf_8874_7d94, 0xb944_7093_8fa8_9bcf, 0x8a08_f0f8_bf0f_156b,
    0xcdb0_2555_6531_31b6, 0x993f_e2c6_d07b_7fac, 0xe45c_10c4_2a2b_3b06, 0xaa24_2499_6973_92d3,
    0xfd87_b5f2_8300_ca0e, 0xbce5_0864_9211_1aeb, 0x8cbc_cc09_6f50_88cc, 0xd1b7_1758_e219_652c,
    0x9c40_0000_0000_0000, 0xe8d4_a510_0000_0000, 0xad78_ebc5_ac62_0000, 0x813f_3978_f894_0984,
    0xc097_ce7b_c907_15b3, 0x8f7e_32ce_7bea_5c70, 0xd5d2_38a4_abe9_8068, 0x9f4f_2726_179a_2245,
    0xed63_a231_d4c4_fb27, 0xb0de_6538_8cc8_ada8, 0x83c7_088e_1aab_65db, 0xc45d_1df9_4271_1d9a,
    0x924d_692c_a61b_e758, 0xda01_ee64_1a70_8dea, 0xa26d_a399_9aef_774a, 0xf209_787b_b47d_6b85,
    0xb454_e4a1_79dd_1877, 0x865b_8692_5b9b_c5c2, 0xc835_53c5_c896_5d3d, 0x952a_b45c_fa97_a0b3,
    0xde46_9fbd_99a0_5fe3, 0xa59b_c234_db39_8c25, 0xf6c6_9a72_a398_9f5c, 0xb7dc_bf53_54e9_bece,
    0x88fc_f317_f222_41e2, 0xcc20_ce9b_d35c_78a5, 0x9816_5af3_7b21_53df, 0xe2a0_b5dc_971f_303a,
    0xa8d9_d153_5ce3_b396, 0xfb9b_7cd9_a4a7_443c, 0xbb76_4c4c_a7a4_4410, 0x8bab_8eef_b640_9c1a,
    0xd01f_ef10_a657_842c, 0x9b10_a4e5_e991_3129, 0xe710_9bfb_a19c_0c9d, 0xac28_20d9_623b_f429,
    0x8044_4b5e_7aa7_cf85, 0xbf21_e440_03ac_dd2d, 0x8e67_9c2f_5e44_ff8f, 0xd433_179d_9c8c_b841,
    0x9e19_db92_b4e3_1ba9, 0xeb96_bf6e_badf_77d9, 0xaf87_023b_9bf0_ee6b,
];
const POWER_FIRST: i32 = -348;
const POWER_STEP: i32 = 8;
/// Between which exponents a scaled number lies.
const EXPONENTS: std::ops::RangeInclusive<i32> = -60..=-32;
/// More digits than any number gets.
const DIGITS_MAX: usize = 18;
const HIDDEN_BIT: u64 = 1 << 52;

/// The digits of a number, and the power of ten of the last one.
#[derive(Clone, Copy, Debug)]
pub struct Digits {
    digits: [u8; DIGITS_MAX],
    length: usize,
    /// The power of ten that the last digit stands for.
    pub power: i32,
}

impl Digits {
    /// The digits of a number that is finite and above zero.
    pub fn of(number: f64) -> Self {
        let bits = number.to_bits();
        let (fraction, field) = (bits & (HIDDEN_BIT - 1), (bits >> 52) as i32 & 0x7ff);
        let (fraction, exponent) = if field == 0 { (fraction, -1074) } else { (fraction | HIDDEN_BIT, field - 1075) };
        // Half way to the neighbours; below a power of two the neighbour is nearer.
        let upper = Float { fraction: fraction * 2 + 1, exponent: exponent - 1 }.normal();
        let nearer = u32::from(fraction == HIDDEN_BIT);
        let lower = ((fraction << (1 + nearer)) - 1) << (exponent - 1 - nearer as i32 - upper.exponent);
        let lower = Float { fraction: lower, exponent: upper.exponent };
        let exact = Float { fraction, exponent }.normal();
        let (scale, power) = scale_for(upper.exponent);
        let (mut upper, mut lower) = (upper.times(scale), lower.times(scale));
        // Scaling is off by less than one on either side.
        lower.fraction += 1;
        upper.fraction -= 1;
        let mut digits = Self { digits: [0; DIGITS_MAX], length: 0, power: -power };
        digits.generate(exact.times(scale), upper, lower);
        digits
    }

    /// As text.
    pub fn as_slice(&self) -> &[u8] {
        &self.digits[..self.length]
    }

    fn push(&mut self, digit: u64) {
        if digit > 0 || self.length > 0 {
            self.digits[self.length] = b'0' + digit as u8;
            self.length += 1;
        }
    }

    /// Digits of the upper bound, as many as it takes to be above the lower one.
    fn generate(&mut self, exact: Float, upper: Float, lower: Float) {
        let one = 1_u64 << -upper.exponent;
        let mut distance = upper.fraction - exact.fraction;
        let mut width = upper.fraction - lower.fraction;
        let mut whole = upper.fraction >> -upper.exponent;
        let mut rest = upper.fraction & (one - 1);
        let mut unit = 1_000_000_000_u64;
        for left in (0..10).rev() {
            self.push(whole / unit);
            whole %= unit;
            let remainder = (whole << -upper.exponent) + rest;
            if remainder <= width {
                self.power += left;
                return self.approach(distance, width, remainder, unit << -upper.exponent);
            }
            unit /= 10;
        }
        loop {
            (rest, width, distance) = (rest * 10, width.wrapping_mul(10), distance.wrapping_mul(10));
            self.power -= 1;
            self.push(rest >> -upper.exponent);
            rest &= one - 1;
            if rest < width {
                return self.approach(distance, width, rest, one);
            }
        }
    }

    /// Lowers the last digit while that comes nearer to the exact number.
    fn approach(&mut self, distance: u64, width: u64, remainder: u64, unit: u64) {
        let mut remainder = remainder;
        while remainder < distance
            && width - remainder >= unit
            && (remainder.wrapping_add(unit) < distance
                || distance - remainder > remainder.wrapping_add(unit).wrapping_sub(distance))
        {
            self.digits[self.length - 1] -= 1;
            remainder += unit;
        }
    }
}

/// `fraction` times two to the `exponent`.
#[derive(Clone, Copy, Debug)]
struct Float {
    fraction: u64,
    exponent: i32,
}

impl Float {
    /// With its highest bit set.
    const fn normal(self) -> Self {
        let shift = self.fraction.leading_zeros();
        Self { fraction: self.fraction << shift, exponent: self.exponent - shift as i32 }
    }

    const fn times(self, other: Self) -> Self {
        let product = self.fraction as u128 * other.fraction as u128 + (1 << 63);
        Self { fraction: (product >> 64) as u64, exponent: self.exponent + other.exponent + 64 }
    }
}

/// A power of ten that brings a number with this exponent into [`EXPONENTS`], and which.
fn scale_for(exponent: i32) -> (Float, i32) {
    /// The logarithm of two to the base ten.
    const LOG: f64 = 0.301_029_995_663_981_14;
    let near = (-f64::from(exponent + POWERS.len() as i32) * LOG) as i32;
    let mut place = ((near - POWER_FIRST) / POWER_STEP) as usize;
    loop {
        let power = POWER_FIRST + place as i32 * POWER_STEP;
        // 1741647 / 2^19 is the logarithm of ten to the base two.
        let scale = Float { fraction: POWERS[place], exponent: ((power * 1_741_647) >> 19) - 63 };
        match exponent + scale.exponent + 64 {
            scaled if scaled < *EXPONENTS.start() => place += 1,
            scaled if scaled > *EXPONENTS.end() => place -= 1,
            _ => return (scale, power),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_redis() {
        for (number, text, power) in [
            (1.0, "1", 0),
            (0.1, "1", -1),
            (1.5, "15", -1),
            (5e-324, "5", -324),
            (f64::MAX, "17976931348623157", 292),
            (f64::MIN_POSITIVE, "22250738585072014", -324),
            (9_223_372_036_854_775_808.0, "9223372036854776", 3),
            // As redis-server 7.2.6 answered: neither the fewest nor the nearest.
            (1.4e23, "14000000000000001", 7),
            (1e23, "9999999999999999", 7),
            (7e22, "70000000000000004", 6),
            (244.7790255843192, "24477902558431921", -14),
        ] {
            let digits = Digits::of(number);
            let found = (std::str::from_utf8(digits.as_slice()).unwrap(), digits.power);
            assert_eq!(found, (text, power), "{number:e}");
        }
    }
}
