//! Whole numbers of any size, with the few operations that reading and writing floats takes.

/// Decimal digits that one step takes.
const STEP_DIGITS: usize = 9;
const STEP: u32 = 1_000_000_000;

/// A whole number: limbs of 32 bits, lowest first, no zeros on top.
#[derive(Clone, Debug)]
pub(super) struct Natural(Vec<u32>);

impl Natural {
    /// Reads decimal digits; there is nothing else in `digits`.
    pub(super) fn from_decimal(digits: impl Iterator<Item = u8>) -> Self {
        let mut number = Self(Vec::new());
        let (mut step, mut scale) = (0, 1);
        for digit in digits {
            (step, scale) = (step * 10 + u32::from(digit - b'0'), scale * 10);
            if scale == STEP {
                number.multiply_add(scale, step);
                (step, scale) = (0, 1);
            }
        }
        number.multiply_add(scale, step);
        number
    }

    /// `mantissa` times two to the `exponent`.
    pub(super) fn of_binary(mantissa: u64, exponent: u32) -> Self {
        let mut number = Self(vec![mantissa as u32, (mantissa >> 32) as u32]);
        number.shift_left(exponent as usize);
        number
    }

    pub(super) fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    /// How many bits it takes.
    pub(super) fn bits(&self) -> usize {
        self.0.last().map_or(0, |top| self.0.len() * 32 - top.leading_zeros() as usize)
    }

    pub(super) fn shift_left(&mut self, bits: usize) {
        let (limbs, bits) = (bits / 32, bits % 32);
        let mut carry = 0_u64;
        for limb in &mut self.0 {
            carry |= u64::from(*limb) << bits;
            *limb = carry as u32;
            carry >>= 32;
        }
        self.0.push(carry as u32);
        self.0.splice(0..0, std::iter::repeat_n(0, limbs));
        self.trim();
    }

    /// Multiplies by ten to the `power`.
    pub(super) fn multiply_by_ten_to(&mut self, power: usize) {
        (0..power / STEP_DIGITS).for_each(|_| self.multiply_add(STEP, 0));
        self.multiply_add(10_u32.pow((power % STEP_DIGITS) as u32), 0);
    }

    /// Divides by ten to the `power`, downwards. Whether something was left over.
    pub(super) fn divide_by_ten_to(&mut self, power: usize) -> bool {
        let mut left_over = self.divide(10_u32.pow((power % STEP_DIGITS) as u32)) > 0;
        (0..power / STEP_DIGITS).for_each(|_| left_over |= self.divide(STEP) > 0);
        left_over
    }

    /// Its highest 128 bits, how many bits were below them, and whether one of those was set.
    pub(super) fn top(&self) -> (u128, usize, bool) {
        let below = self.0.len().saturating_sub(4);
        let top = self.0[below..].iter().rev().fold(0, |top, limb| top << 32 | u128::from(*limb));
        (top, below * 32, self.0[..below].iter().any(|limb| *limb != 0))
    }

    /// Appends it in decimal.
    pub(super) fn write_decimal(mut self, out: &mut Vec<u8>) {
        let mut steps = Vec::new();
        while !self.is_zero() {
            steps.push(self.divide(STEP));
        }
        let highest = steps.pop().unwrap_or(0);
        out.extend_from_slice(highest.to_string().as_bytes());
        steps.iter().rev().for_each(|step| out.extend_from_slice(format!("{step:09}").as_bytes()));
    }

    fn multiply_add(&mut self, factor: u32, addend: u32) {
        let mut carry = u64::from(addend);
        for limb in &mut self.0 {
            carry += u64::from(*limb) * u64::from(factor);
            *limb = carry as u32;
            carry >>= 32;
        }
        self.0.push(carry as u32);
        self.trim();
    }

    /// Divides in place and returns the rest.
    fn divide(&mut self, divisor: u32) -> u32 {
        let mut rest = 0_u64;
        for limb in self.0.iter_mut().rev() {
            rest = rest << 32 | u64::from(*limb);
            *limb = (rest / u64::from(divisor)) as u32;
            rest %= u64::from(divisor);
        }
        self.trim();
        rest as u32
    }

    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_reads_back() {
        for text in ["0", "7", "1000000000", "123456789012345678901234567890", "1000000000000000000000000001"] {
            let mut out = Vec::new();
            Natural::from_decimal(text.bytes()).write_decimal(&mut out);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }

    #[test]
    fn powers_of_two_and_ten() {
        let mut number = Natural::of_binary(5, 100);
        assert_eq!(number.bits(), 103);
        number.multiply_by_ten_to(20);
        assert!(!number.divide_by_ten_to(20));
        assert_eq!(number.top(), (5 << 100, 0, false));
        assert!(number.divide_by_ten_to(1_000));
        assert!(number.is_zero());
    }
}
