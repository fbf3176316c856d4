//! Random numbers that only spread load: fast, seeded, of no cryptographic worth.

/// xorshift64* (Vigna 2016).
#[derive(Debug)]
pub struct Coin(u64);

impl Coin {
    /// A sequence that is the same for the same seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// 64 random bits.
    pub const fn toss(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}
