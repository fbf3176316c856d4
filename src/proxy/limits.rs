//! What one proxy worker allows: every queue and wait has its bound here (DESIGN.md, section 12).

use std::time::Duration;

/// Bounds on one worker. Past one of them a client's socket is not read, unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerLimits {
    /// Requests of one client that are not answered yet.
    pub pipeline_depth_max: u32,
    /// Bytes of those requests.
    pub in_flight_bytes_max: usize,
    /// Bytes of replies that one client has not read.
    pub output_bytes_max: usize,
    /// Bytes of replies past which a client is disconnected that reads nothing for [`Self::unread_max`].
    pub output_bytes_hard_max: usize,
    /// How long a client past the hard limit may read nothing.
    pub unread_max: Duration,
    /// Client connections of one worker; more are answered with an error and closed.
    pub connections_max: usize,
    /// Requests that wait for a node, of all clients. Past it a client that has a waiting request is not read.
    pub waiting_requests_max: usize,
    /// Bytes of those requests, with the same effect.
    pub waiting_bytes_max: usize,
    /// Bytes that one client may watch and queue in a transaction; past it the transaction is broken.
    pub transaction_bytes_max: usize,
    /// The same of all clients together.
    pub transactions_bytes_max: usize,
    /// Bytes that one node connection may have to send; more requests wait.
    pub link_bytes_max: usize,
    /// How long a request may wait for its answer.
    pub request_deadline: Duration,
    /// The longest reply that is taken from a node.
    pub reply_bytes_max: usize,
}

impl Default for WorkerLimits {
    fn default() -> Self {
        Self {
            pipeline_depth_max: 1024,
            in_flight_bytes_max: 64 * 1024 * 1024,
            output_bytes_max: 1024 * 1024,
            output_bytes_hard_max: 256 * 1024 * 1024,
            unread_max: Duration::from_secs(60),
            connections_max: 50_000,
            waiting_requests_max: 65_536,
            waiting_bytes_max: 256 * 1024 * 1024,
            transaction_bytes_max: 64 * 1024 * 1024,
            transactions_bytes_max: 256 * 1024 * 1024,
            link_bytes_max: 64 * 1024 * 1024,
            request_deadline: Duration::from_secs(10),
            reply_bytes_max: 1024 * 1024 * 1024,
        }
    }
}
