//! Which slots a request is about. Known without looking for those with one slot, which are nearly all; the others are
//! read again when slots move, and only then.

use super::flight::Flight;
use crate::protocol::command::{Route, resolve};
use crate::protocol::request::{Args, Span, parse_array};
use crate::protocol::{split, transaction};
use crate::topology::Slot;

/// Replaces `slots` by the slots of a request that is not answered yet, first the one that its record belongs to. One may
/// be there several times.
pub fn slots_of(flight: &Flight, spans: &mut Vec<Span>, slots: &mut Vec<Slot>) {
    slots.clear();
    if !flight.many {
        return slots.extend(flight.slot);
    }
    let body = flight.body();
    if flight.transaction {
        let Ok(sent) = transaction::split(body, spans) else { return };
        slots.extend(sent.watched().map(|(key, _)| Slot::of_key(key)));
        let mut rest = sent.requests();
        let mut is_about_all = false;
        while let Some(request) = transaction::next_request(&mut rest, spans) {
            let args = Args::new(request, spans);
            add_keys(args, slots);
            is_about_all |= resolve(args).is_ok_and(|spec| matches!(spec.route, Route::EveryShard(_)));
        }
        slots.extend(Slot::all().filter(|_| is_about_all));
    } else if flight.split.is_some() {
        let mut rest = body;
        while let Some(part) = split::next_part(&mut rest, spans) {
            add_keys(Args::new(part.request, spans), slots);
        }
    } else if parse_array(body, spans).is_ok() {
        add_keys(Args::new(body, spans), slots);
    }
}

fn add_keys(args: Args<'_>, slots: &mut Vec<Slot>) {
    if let Ok(spec) = resolve(args) {
        slots.extend(spec.key_positions(args).map(|position| Slot::of_key(args.get(position))));
    }
}
