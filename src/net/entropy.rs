//! The randomness seam: ids and seeds come from a handle, so that a simulation can replay them.

use std::sync::{Arc, Mutex};

/// A source of random numbers. Cheap to clone; clones share the source.
#[derive(Clone)]
pub struct Entropy(Arc<Mutex<State>>);

enum State {
    System,
    Seeded(u64),
}

impl Entropy {
    /// The operating system's randomness.
    pub fn system() -> Self {
        Self(Arc::new(Mutex::new(State::System)))
    }

    /// A sequence that is the same for the same seed (SplitMix64, Steele et al. 2014).
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State::Seeded(seed))))
    }

    /// 64 random bits.
    #[allow(clippy::disallowed_methods, reason = "this is the seam")]
    pub fn next(&self) -> u64 {
        match &mut *self.0.lock().expect("no panic while holding the lock") {
            State::System => {
                let mut bytes = [0; 8];
                getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
                u64::from_le_bytes(bytes)
            }
            State::Seeded(state) => {
                *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut z = *state;
                z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                z ^ (z >> 31)
            }
        }
    }

    /// 128 random bits.
    pub fn next_u128(&self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }
}

impl std::fmt::Debug for Entropy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entropy")
    }
}
