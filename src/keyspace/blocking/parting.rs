//! Blocked clients whose slots go elsewhere (DESIGN.md, section 10; the rules are told in [`moves`](super::super::moves)).

use std::sync::Arc;

use super::super::store::Keyspace;
use super::waiting::Waiter;
use super::{Blocking, commands};
use crate::protocol::command::{CommandSpec, resolve};
use crate::protocol::request::{Args, parse_array};
use crate::topology::{Slot, WriteId};

impl Waiter {
    /// The client whose request this is.
    pub fn new(id: WriteId, resp3: bool, spec: &CommandSpec, args: Args<'_>, request: &[u8]) -> Self {
        let (awaited, keys) = (commands::awaited(spec.id), commands::awaited_keys(spec, args));
        Self { id, awaited, resp3, keys, request: request.into() }
    }

    /// The client whose request this is, as another replica or shard has it.
    ///
    /// # Errors
    /// It is none that blocks.
    pub fn of(id: WriteId, resp3: bool, request: &[u8]) -> Result<Self, &'static str> {
        let mut spans = Vec::new();
        parse_array(request, &mut spans).map_err(|_| "a blocked client without a request")?;
        let args = Args::new(request, &spans);
        let spec = resolve(args).ok().filter(|spec| spec.is_blocking()).ok_or("a request that does not block")?;
        Ok(Self::new(id, resp3, spec, args, request))
    }

    /// The first slot of its request, be it waited for or only put into, that is none of these.
    fn slot_outside(&self, slots: &[Slot]) -> Option<Slot> {
        let mut spans = Vec::new();
        parse_array(&self.request, &mut spans).ok()?;
        let args = Args::new(&self.request, &spans);
        let mut of_keys = resolve(args).ok()?.key_positions(args).map(|position| Slot::of_key(args.get(position)));
        of_keys.find(|slot| !slots.contains(slot))
    }
}

impl Blocking {
    /// All who wait, from the first after the one of this name on.
    pub fn waiters_after(&self, id: Option<WriteId>) -> impl Iterator<Item = &Arc<Waiter>> {
        self.waiting.after(id)
    }

    /// Takes over who waited for slots that come, in their order.
    pub fn take_over(&mut self, waiters: Vec<Arc<Waiter>>) {
        for waiter in waiters {
            if !self.waiting.contains(waiter.id) {
                Arc::make_mut(&mut self.waiting).add(waiter);
            }
        }
    }
}

impl Keyspace {
    /// Blocked clients that were let go unanswered since the last call, each with a slot that is not here any more: they are
    /// to ask its owner under the same name.
    pub fn take_parted(&mut self) -> Vec<(WriteId, Slot)> {
        std::mem::take(&mut self.blocking.parted)
    }

    /// Lets those go who wait for keys of these slots, which are about to leave together, and of others.
    pub(in super::super) fn let_go_of_parted(&mut self, slots: &[Slot]) {
        self.let_go_of(slots, |waiter| waiter.slot_outside(slots).is_some());
    }

    /// Lets all go who wait for keys of these slots.
    pub(in super::super) fn let_go_of_waiters(&mut self, slots: &[Slot]) {
        self.let_go_of(slots, |_| true);
    }

    fn let_go_of(&mut self, slots: &[Slot], which: impl Fn(&Waiter) -> bool) {
        if self.blocking.waiting.is_empty() {
            return;
        }
        for slot in slots {
            for id in self.blocking.waiting.names_of_slot(*slot) {
                if self.blocking.waiting.find(id).is_some_and(&which) {
                    self.let_go(id, *slot);
                }
            }
        }
    }

    pub(super) fn let_go(&mut self, id: WriteId, slot: Slot) {
        if Arc::make_mut(&mut self.blocking.waiting).remove(id).is_some() {
            self.blocking.parted.push((id, slot));
        }
    }
}
