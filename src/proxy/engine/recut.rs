//! Requests over several slots are cut again when their slots part.
//!
//! A write keeps the names that its slots have had since it was first handed over: the piece for a slot that was applied at
//! the old owner is answered there, or at the new one, from its record, whatever other pieces it came with (R10). A read
//! is cut like a new one, and its replies are put together in the order of its keys.

use bytes::Bytes;

use super::Engine;
use super::flight::{FlightKey, Purpose, State};
use super::scatter::{Cut, Scatter};
use crate::control::routing::ShardIndex;
use crate::protocol::command::{Merge, Route, resolve};
use crate::protocol::request::{Args, parse_array};
use crate::protocol::split::{next_part, put_ordinal};
use crate::proxy::metrics::CommandClass;
use crate::proxy::outbox::COPY_BYTES_MAX;
use crate::topology::Slot;

/// What one shard gets of a request.
#[derive(Debug)]
struct Piece {
    shard: ShardIndex,
    /// The slot of its first key.
    slot: Slot,
    /// Whether it has keys of more slots.
    many: bool,
    /// How many names it has.
    parts: u32,
    body: Vec<u8>,
}

impl Engine {
    /// Cuts a waiting request by the shards of its keys. What is for its line's shard takes its place there, the rest goes to
    /// the ends of other lines, which are added to `lines`.
    pub(super) fn cut_again(&mut self, key: FlightKey, lines: &mut Vec<ShardIndex>) {
        let Some((merge, mut pieces, part_of_key)) = self.pieces_of(key) else { return };
        if let Purpose::Part(whole) = self.flights[key].purpose {
            let first = pieces.remove(0);
            let known = self.scatter_of(whole).parts.len();
            let index = self.index_of_part(whole, key);
            renumber(&mut self.scatter_of(whole).part_of_key, index, known, &part_of_key);
            pieces.into_iter().for_each(|piece| self.add_piece(key, whole, piece, merge, lines));
            self.shrink(key, first, merge, lines);
            return;
        }
        let write = self.flights[key].write;
        let mut scatter = Scatter::new(merge, write, 0, 0);
        scatter.part_of_key = part_of_key;
        self.flights[key].scatter = Some(Box::new(scatter));
        pieces.into_iter().for_each(|piece| self.add_piece(key, key, piece, merge, lines));
        self.leave_line(key);
        if self.flights[key].holds {
            self.release(key);
        }
        let whole = &mut self.flights[key];
        (whole.state, whole.identity, whole.split, whole.many) = (State::Scattered, None, None, false);
    }

    /// A part of `key` becomes one of its own.
    fn add_piece(&mut self, key: FlightKey, whole: FlightKey, piece: Piece, merge: Merge, lines: &mut Vec<ShardIndex>) {
        let flight = &self.flights[key];
        let (client_key, from, cost_bytes) = (flight.client, flight.shard, piece.body.len());
        let part_key = self.flights.claim(client_key, flight.born, flight.deadline);
        let flight = &self.flights[key];
        let (write, resp3, level, identity) = (flight.write, flight.resp3, flight.level, flight.identity);
        let (hands, maybe_taken, refused) = (flight.hands, flight.maybe_taken, flight.refused);
        let part = &mut self.flights[part_key];
        (part.purpose, part.class, part.cost_bytes) = (Purpose::Part(whole), CommandClass::Multi, cost_bytes);
        (part.write, part.resp3, part.level, part.identity) = (write, resp3, level, identity);
        (part.hands, part.maybe_taken, part.refused) = (hands, maybe_taken, refused);
        part.shard = piece.shard;
        self.fill(part_key, piece, merge);
        if self.flights[key].holds {
            self.hold(part_key);
        }
        let scatter = self.scatter_of(whole);
        scatter.parts.push(part_key);
        scatter.missing += 1;
        self.waiting += 1;
        self.waiting_bytes += cost_bytes;
        let to = self.flights[part_key].shard;
        let client = &mut self.clients[client_key as usize];
        client.waiting += 1;
        let at = client.line_at(to);
        if to == from {
            client.lines[at].insert_before(&mut self.flights, part_key, key);
        } else {
            client.lines[at].put(&mut self.flights, part_key);
            lines.push(to);
            self.stats.reroutes.add(1);
        }
    }

    /// Of a part nothing but this piece is left.
    fn shrink(&mut self, key: FlightKey, piece: Piece, merge: Merge, lines: &mut Vec<ShardIndex>) {
        let (shard, cost_bytes) = (piece.shard, piece.body.len());
        self.waiting_bytes = self.waiting_bytes + cost_bytes - self.flights[key].cost_bytes;
        self.flights[key].cost_bytes = cost_bytes;
        self.fill(key, piece, merge);
        self.move_to(key, shard, lines);
    }

    fn fill(&mut self, key: FlightKey, piece: Piece, merge: Merge) {
        let flight = &mut self.flights[key];
        (flight.slot, flight.many, flight.parts) = (Some(piece.slot), piece.many, piece.parts);
        let is_named = flight.identity.is_some();
        flight.recut = is_named;
        flight.split = (flight.write && (is_named || piece.parts > 1)).then_some(merge);
        flight.large = None;
        if piece.body.len() > COPY_BYTES_MAX {
            flight.large = Some(Bytes::from(piece.body));
        } else {
            flight.bytes = piece.body;
        }
    }

    fn scatter_of(&mut self, whole: FlightKey) -> &mut Scatter {
        self.flights[whole].scatter.as_mut().expect("parts are missing, so it is scattered")
    }

    fn index_of_part(&self, whole: FlightKey, part: FlightKey) -> usize {
        let parts = self.flights[whole].scatter.as_ref().map(|scatter| &scatter.parts);
        parts.and_then(|parts| parts.iter().position(|key| *key == part)).unwrap_or_default()
    }

    /// What each shard gets of a request, and for reads to which of these each key goes.
    fn pieces_of(&self, key: FlightKey) -> Option<(Merge, Vec<Piece>, Vec<u16>)> {
        let flight = &self.flights[key];
        let mut spans = Vec::new();
        if let Some(merge) = flight.split {
            return Some((merge, self.pieces_of_split(key), Vec::new()));
        }
        parse_array(flight.body(), &mut spans).ok()?;
        let args = Args::new(flight.body(), &spans);
        let spec = resolve(args).ok()?;
        let Route::Split(merge) = spec.route else { return None };
        let cut = Cut::new(args, spec.key_step(), |slot| self.routing.owner(slot))?;
        let pieces = cut.parts.iter().enumerate().map(|(index, part)| {
            let mut body = Vec::new();
            cut.write_part(args, index, &mut body);
            Piece { shard: part.shard, slot: part.slot, many: part.many, parts: 0, body }
        });
        let pieces = pieces.collect();
        Some((merge, pieces, if merge == Merge::Interleave { cut.part_of_key } else { Vec::new() }))
    }

    fn pieces_of_split(&self, key: FlightKey) -> Vec<Piece> {
        let flight = &self.flights[key];
        let is_named = flight.identity.is_some();
        let mut pieces: Vec<Piece> = Vec::new();
        let (mut rest, mut spans) = (flight.body(), Vec::new());
        while let Some(part) = next_part(&mut rest, &mut spans) {
            let args = Args::new(part.request, &spans);
            let slot = Slot::of_key(args.get(1));
            let shard = self.routing.owner(slot).unwrap_or(flight.shard);
            let known = pieces.iter().position(|piece| piece.shard == shard);
            let at = known.unwrap_or_else(|| {
                pieces.push(Piece { shard, slot, many: false, parts: 0, body: Vec::new() });
                pieces.len() - 1
            });
            let piece = &mut pieces[at];
            piece.many |= piece.slot != slot;
            // Under a name that it has already its number stays; otherwise it gets one of the new name's.
            put_ordinal(&mut piece.body, if is_named { part.ordinal } else { piece.parts });
            piece.body.extend_from_slice(part.request);
            piece.parts += 1;
        }
        for piece in pieces.iter_mut().filter(|piece| !is_named && piece.parts == 1) {
            piece.body.drain(..size_of::<u32>());
            piece.parts = 0;
        }
        pieces
    }
}

/// The keys of part `part` go to the parts that it was cut into: the first of them keeps its number, the others come after
/// the `known` ones.
fn renumber(part_of_key: &mut [u16], part: usize, known: usize, cut: &[u16]) {
    let keys = part_of_key.iter_mut().filter(|of| usize::from(**of) == part);
    for (of, piece) in keys.zip(cut) {
        if *piece > 0 {
            *of = (known + usize::from(*piece) - 1) as u16;
        }
    }
}
