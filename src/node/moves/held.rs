//! Requests for slots that are being decided about elsewhere: they wait here until it is known who serves them.
//!
//! Invariant: each ticket that comes in goes out once, with what became of its slot.

use crate::net::Moment;
use crate::node::answers::Ticket;
use crate::topology::Slot;

/// Requests that may wait in one shard.
const HELD_MAX: usize = 200_000;

/// A request that waits.
#[derive(Clone, Copy, Debug)]
pub struct HeldRequest {
    /// Whom to answer.
    pub ticket: Ticket,
    /// The slot that it needs.
    pub slot: Slot,
    /// When the answer is of no use any more.
    pub deadline: Moment,
}

/// The requests that wait in one shard.
#[derive(Debug, Default)]
pub struct Held {
    requests: Vec<HeldRequest>,
}

impl Held {
    /// Takes a request. `false`: too many wait.
    pub fn hold(&mut self, request: HeldRequest) -> bool {
        let has_room = self.requests.len() < HELD_MAX;
        if has_room {
            self.requests.push(request);
        }
        has_room
    }

    /// How many wait.
    pub const fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether none waits.
    pub const fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Takes out, in the order in which they came, those whose slot this says something about, with what it says.
    pub fn release<T>(&mut self, mut fate: impl FnMut(Slot) -> Option<T>) -> Vec<(HeldRequest, T)> {
        let mut released = Vec::new();
        self.requests.retain(|request| match fate(request.slot) {
            Some(fate) => {
                released.push((*request, fate));
                false
            }
            None => true,
        });
        released
    }

    /// Takes out those whose deadline has passed.
    pub fn expired(&mut self, now: Moment) -> Vec<HeldRequest> {
        self.requests.extract_if(.., |request| request.deadline <= now).collect()
    }

    /// Takes out all.
    pub fn take(&mut self) -> Vec<HeldRequest> {
        std::mem::take(&mut self.requests)
    }
}
