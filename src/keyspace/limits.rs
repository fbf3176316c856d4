//! Limits that decide replies. Part of the state, never of a process: they change through the log only (DESIGN.md, R6).

/// What a data shard's apply refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest key.
    pub key_bytes_max: u32,
    /// The longest value.
    pub value_bytes_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { key_bytes_max: 64 * 1024, value_bytes_max: 64 * 1024 * 1024 }
    }
}
