//! Pauses before a connection beside a server's first one is tried again, and what requests that wait for one are told.
//!
//! The first connection speaks for the server, and has its own times (`group`). The others may be refused while that one stands: by a
//! limit on connections, by an old server, by something before it that closes what it does not understand. Invariant: after
//! a connection that was never open, none of its kind is begun before the pause is over, which grows with every further one.

use std::time::Duration;

use super::Engine;
use super::link::Stage;
use crate::net::Moment;
use crate::protocol::errors;
use crate::proxy::engine::{FlightKey, LinkError};

/// When a kind of connection is tried again.
#[derive(Debug, Default)]
pub struct Pause {
    until: Moment,
    length: Duration,
    /// Why it is not there.
    reason: Option<String>,
}

impl Engine {
    /// Whether a connection that is not a server's first one may be begun now.
    pub(super) fn may_open(&self, server: usize, resp3: bool) -> bool {
        self.now >= self.servers[server].pauses[usize::from(resp3)].until
    }

    /// A connection that is not the server's first one was given up.
    pub(super) fn pause_after(&mut self, server: usize, resp3: bool, was: Stage, reason: &LinkError) {
        if was == Stage::Open || matches!(reason, LinkError::Moved) {
            return;
        }
        let (times, told) = (&self.settings.health, reason.to_string());
        let coin = self.coin.toss();
        let it = &mut self.servers[server];
        let pause = &mut it.pauses[usize::from(resp3)];
        pause.length = (pause.length * 2).clamp(times.backoff_min, times.backoff_max);
        pause.until = self.now + pause.length.mul_f64(1.0 - (coin % 256) as f64 / 1024.0);
        if pause.reason.as_ref() != Some(&told) {
            let what = if resp3 { "a connection that speaks RESP3" } else { "a further connection" };
            tracing::warn!(shard = %self.shards[it.shard].config.name, server = it.addr, "{what} was refused: {told}");
            pause.reason = Some(told);
        }
    }

    /// One is open: the next may be begun at once.
    pub(super) fn end_pause(&mut self, server: usize, resp3: bool) {
        self.servers[server].pauses[usize::from(resp3)] = Pause::default();
    }

    /// What a client reads whose request waited until its deadline.
    pub(super) fn not_sent(&self, key: FlightKey) -> String {
        let record = &self.records[key];
        let Some(leader) = self.shards[record.shard].leader else {
            let members = self.shards[record.shard].servers.iter();
            let troubles = members.filter_map(|server| self.trouble(*server, self.servers[*server].trouble.as_ref()));
            return errors::not_sent(&troubles.collect::<Vec<_>>().join(", "));
        };
        let resp3 = record.resp3 && !self.servers[leader].resp2_only;
        let reason = self.servers[leader].pauses[usize::from(resp3)].reason.as_ref();
        errors::not_sent(&self.trouble(leader, reason).unwrap_or_default())
    }

    fn trouble(&self, server: usize, reason: Option<&String>) -> Option<String> {
        reason.map(|reason| format!("{}: {reason}", self.servers[server].addr))
    }
}
