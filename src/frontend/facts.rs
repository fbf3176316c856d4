//! What the holder of connections tells about its process; what it does not know stays zero or empty.

use std::time::Duration;

/// One client's end of a connection.
#[derive(Clone, Debug, Default)]
pub struct Seat {
    /// `ip:port` of the client.
    pub address: String,
    /// `ip:port` that it connected to.
    pub local_address: String,
    /// The socket's number.
    pub descriptor: i32,
    /// Bytes that came and are not yet a whole request.
    pub input_bytes: usize,
    /// Bytes of replies that are not sent yet.
    pub output_bytes: usize,
    /// Whether it waits for an answer to a blocking command.
    pub is_blocked: bool,
}

/// A connection as `CLIENT LIST` and `CLIENT KILL` see it; made by [`Session::view`](super::Session::view).
#[derive(Clone, Debug)]
pub struct ClientView {
    /// Its id.
    pub id: u64,
    /// `ip:port` of the client.
    pub address: String,
    /// `ip:port` that it connected to.
    pub local_address: String,
    /// Whether it waits for an answer to a blocking command.
    pub is_blocked: bool,
    /// Its line in `CLIENT LIST`.
    pub line: String,
}

/// The numbers of a process.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The product's version.
    pub version: String,
    /// `proxy`, `node` or `dev`.
    pub process: String,
    /// 40 hexadecimal digits drawn at the start.
    pub run_id: String,
    /// The process's number.
    pub process_id: u32,
    /// Where clients connect.
    pub port: u16,
    /// How long it has been running.
    pub uptime: Duration,
    /// The path of the binary.
    pub executable: String,
    /// The path of `shards.toml`.
    pub config_file: String,
    /// Connections now.
    pub clients: u64,
    /// Connections at most.
    pub clients_max: u64,
    /// Requests that wait for a leader or for room.
    pub requests_waiting: u64,
    /// Connections that are not read: they wait for a pause to end, or for room.
    pub clients_held: u64,
    /// Connections that wait for an answer to a blocking command.
    pub clients_blocked: u64,
    /// Bytes of the data, as far as known.
    pub data_bytes: u64,
    /// Bytes that count against the limit of memory; none where nothing does, and real memory is told instead.
    pub accounted_bytes: Option<u64>,
    /// The limit; zero: none.
    pub memory_limit_bytes: u64,
    /// Resident memory of the process.
    pub resident_bytes: u64,
    /// Its peak.
    pub resident_bytes_peak: u64,
    /// Memory of the machine.
    pub system_bytes: u64,
    /// Connections since the start.
    pub connections_received: u64,
    /// Connections refused since the start.
    pub connections_rejected: u64,
    /// Requests answered since the start.
    pub commands_processed: u64,
    /// Requests in the last second.
    pub commands_per_second: u64,
    /// Bytes from clients since the start.
    pub input_bytes: u64,
    /// Bytes to clients since the start.
    pub output_bytes: u64,
    /// Keys that expired, as far as known.
    pub expired_keys: u64,
    /// Reads that found their key.
    pub keyspace_hits: u64,
    /// Reads that did not.
    pub keyspace_misses: u64,
    /// Seconds of processor time in the kernel.
    pub system_seconds: f64,
    /// Seconds of processor time outside of it.
    pub user_seconds: f64,
    /// Keys, as far as known.
    pub keys: u64,
    /// Keys that expire, as far as known.
    pub keys_expiring: u64,
    /// Besides its leader, on how many replicas an answered write is at least: a majority less one.
    pub replicas_acknowledging: u32,
    /// Unix time in seconds of the last snapshot.
    pub last_save: u64,
    /// Calls of each command since the start.
    pub commands: Vec<CommandCount>,
    /// Error replies by their code.
    pub errors: Vec<(String, u64)>,
    /// The lines of the section `pontoon`.
    pub pontoon: Vec<(String, String)>,
}

/// How often a command was called.
#[derive(Clone, Debug, Default)]
pub struct CommandCount {
    /// Its name in the table.
    pub name: &'static str,
    /// Calls that were carried out.
    pub calls: u64,
    /// Microseconds that these took.
    pub microseconds: u64,
    /// Calls that were refused before.
    pub rejected: u64,
    /// Calls that were answered by an error.
    pub failed: u64,
}
