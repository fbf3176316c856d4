//! What one request may be at most.

/// Bounds on one client's request. Memory follows the bytes received; these bound how many are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Arguments of one request, the command's name included.
    pub args_max: u32,
    /// One argument (`proto-max-bulk-len`).
    pub bulk_bytes_max: u32,
    /// One request with all that frames it.
    pub request_bytes_max: u32,
    /// An inline request, and the line that holds a length.
    pub line_bytes_max: u32,
}

impl Default for Limits {
    /// Somewhat more than a value may have (64 MiB), so that a value that is a little too large gets its own error and
    /// keeps its connection.
    fn default() -> Self {
        Self {
            args_max: 1024 * 1024,
            bulk_bytes_max: 80 * 1024 * 1024,
            request_bytes_max: 256 * 1024 * 1024,
            line_bytes_max: 64 * 1024,
        }
    }
}
