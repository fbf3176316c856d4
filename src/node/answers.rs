//! Where an answer goes: the engine knows tickets, the shell knows sockets.

use crate::net::Moment;
use crate::protocol::frame::RefusalReason;
use crate::topology::{LogIndex, ReplicaId, ShardId, Whereabouts};

/// Names one request of one connection until it is answered. Opaque to the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// The connection's place in the shell's table.
    pub connection: u32,
    /// Which of the connections that had this place; answers to an earlier one are dropped.
    pub connection_generation: u32,
    /// The id of the request on its connection.
    pub id: u64,
    /// The client that the request came from (R1).
    pub client: u64,
    /// The generation of (client, shard) (R1).
    pub generation: u32,
    /// The shard that was asked.
    pub shard: ShardId,
}

/// Takes answers from the engine. Each ticket gets exactly one, unless its connection is gone.
pub trait Answers {
    /// The request was executed at `index`; `reply` is RESP, or JSON for the catalog's own requests.
    fn reply(&mut self, ticket: Ticket, index: LogIndex, reply: &[u8]);
    /// The request was not executed, or nobody knows whether it was.
    fn refuse(&mut self, ticket: Ticket, reason: RefusalReason, leader: Option<ReplicaId>);
    /// The shard does not own a slot of the request, which was not executed; `moved` says where it is, if that is known.
    fn redirect(&mut self, ticket: Ticket, moved: Option<Whereabouts>);
    /// The request will be refused, but not yet: until then its connection takes nothing that its client sent behind it (R1).
    fn hold_line(&mut self, ticket: Ticket);
    /// Whether somebody would still take the answer: the connection is open, and its other end gives signs of life.
    fn is_awaited(&self, ticket: Ticket, now: Moment) -> bool;
}
