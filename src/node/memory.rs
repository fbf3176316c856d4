//! The memory limit of a node (`--max-memory`), as its replicas share it.
//!
//! What counts is what the node can know exactly and at once: the bytes that the keyspaces of all its replicas account for,
//! and the entries that its leaders proposed and have not applied. The process's real memory is more than that (the log's
//! window, buffers, copies that a snapshot holds), and too noisy to decide by.
//!
//! A shard's leader decides, by the memory of its own node, before anything is proposed: apply never looks at memory
//! (DESIGN.md, R6), so replicas that follow take every entry, whatever their nodes' limits are.
//!
//! A command is taken while no more than the limit is used, however much it adds: one command may go over it.

use std::cell::Cell;
use std::rc::Rc;

use crate::keyspace::{put_rejected, record_slot};
use crate::protocol::command::{Flag, resolve};
use crate::protocol::frame::RequestHead;
use crate::protocol::request::{Args, Span, parse_array};
use crate::protocol::{split, transaction};

/// The memory of a node. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Memory(Rc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    limit_bytes: Cell<u64>,
    data_bytes: Cell<u64>,
    in_flight_bytes: Cell<u64>,
}

impl Memory {
    /// Nothing is used. `limit_bytes`: zero is no limit.
    pub fn new(limit_bytes: u64) -> Self {
        let memory = Self::default();
        memory.limit(limit_bytes);
        memory
    }

    /// Sets another limit; zero is none.
    pub fn limit(&self, limit_bytes: u64) {
        self.0.limit_bytes.set(limit_bytes);
    }

    /// The limit; zero: none.
    pub fn limit_bytes(&self) -> u64 {
        self.0.limit_bytes.get()
    }

    /// What counts as used.
    pub fn used_bytes(&self) -> u64 {
        self.0.data_bytes.get() + self.0.in_flight_bytes.get()
    }

    /// Whether more is used than may be.
    pub fn is_full(&self) -> bool {
        let limit = self.limit_bytes();
        limit > 0 && self.used_bytes() > limit
    }

    /// A keyspace that had `before` bytes has `after`.
    pub fn account(&self, before: u64, after: u64) {
        self.0.data_bytes.set(self.0.data_bytes.get() - before + after);
    }

    /// Counts an entry as used for as long as what this returns lives.
    pub fn carry(&self, bytes: usize) -> InFlight {
        let bytes = bytes as u64;
        self.0.in_flight_bytes.set(self.0.in_flight_bytes.get() + bytes);
        InFlight { memory: self.clone(), bytes }
    }
}

/// An entry that is proposed and not yet applied.
#[derive(Debug)]
pub struct InFlight {
    memory: Memory,
    bytes: u64,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let total = &self.memory.0.in_flight_bytes;
        total.set(total.get() - self.bytes);
    }
}

/// Whether a request is one that is refused while memory is full. `spans` is room to work in.
pub fn adds(request: &[u8], spans: &mut Vec<Span>) -> bool {
    spans.clear();
    parse_array(request, spans).is_ok()
        && resolve(Args::new(request, spans)).is_ok_and(|spec| spec.flags.has(Flag::DenyOom))
}

/// Whether a split command is of such requests; its parts are all alike.
pub fn split_adds(body: &[u8], spans: &mut Vec<Span>) -> bool {
    let mut rest = body;
    split::next_part(&mut rest, spans).is_some_and(|part| adds(part.request, spans))
}

/// The parts of a write that has a name, each with the slot that its answer belongs to: what rejects it in the log.
pub fn rejected_parts(head: &RequestHead, body: &[u8], spans: &mut Vec<Span>) -> Vec<u8> {
    let mut parts = Vec::new();
    if head.split {
        let mut rest = body;
        while let Some(part) = split::next_part(&mut rest, spans) {
            let slot = record_slot(Args::new(part.request, spans));
            slot.into_iter().for_each(|slot| put_rejected(&mut parts, part.ordinal, slot));
        }
    } else {
        head.slot.into_iter().for_each(|slot| put_rejected(&mut parts, 0, slot));
    }
    parts
}

/// Whether a transaction has such a request.
pub fn transaction_adds(body: &[u8], spans: &mut Vec<Span>) -> bool {
    let Ok(transaction) = transaction::split(body, spans) else { return false };
    let mut rest = transaction.requests();
    while let Some(request) = transaction::next_request(&mut rest, spans) {
        if resolve(Args::new(request, spans)).is_ok_and(|spec| spec.flags.has(Flag::DenyOom)) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_and_what_is_on_its_way_to_become_data_count_until_they_are_gone() {
        let memory = Memory::new(100);
        memory.account(0, 60);
        assert!(!memory.is_full());
        let (one, other) = (memory.carry(30), memory.carry(11));
        assert_eq!((memory.used_bytes(), memory.is_full()), (101, true));
        drop(one);
        memory.account(60, 89);
        assert_eq!((memory.used_bytes(), memory.is_full()), (100, false), "the limit itself may be used");
        drop(other);
        memory.account(89, 0);
        assert_eq!(memory.used_bytes(), 0);
    }

    #[test]
    fn without_a_limit_it_is_never_full() {
        let memory = Memory::new(0);
        memory.account(0, u64::MAX / 2);
        assert!(!memory.is_full());
        memory.limit(1);
        assert!(memory.is_full());
    }

    #[test]
    fn commands_that_may_add_are_known_by_their_flag() {
        let mut spans = Vec::new();
        for (request, expected) in [
            (&b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n"[..], true),
            (b"*3\r\n$6\r\nappend\r\n$1\r\nk\r\n$1\r\nv\r\n", true),
            (b"*2\r\n$3\r\nDEL\r\n$1\r\nk\r\n", false),
            (b"*3\r\n$6\r\nEXPIRE\r\n$1\r\nk\r\n$1\r\n1\r\n", false),
            (b"*1\r\n$8\r\nFLUSHALL\r\n", false),
            (b"*1\r\n$7\r\nUNKNOWN\r\n", false),
            (b"*1\r\n$3\r\nSE", false),
        ] {
            assert_eq!(adds(request, &mut spans), expected, "{}", request.escape_ascii());
            let queued = [b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", request].concat();
            let mut body = Vec::new();
            transaction::put(&mut body, std::iter::empty(), &queued);
            assert_eq!(transaction_adds(&body, &mut spans), expected, "{}", queued.escape_ascii());
        }
    }
}
