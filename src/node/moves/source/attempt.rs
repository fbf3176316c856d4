//! One attempt to bring slots to another shard, as the source's leader drives it.
//!
//! Invariants:
//! - What was sent and not confirmed is kept, and sent again with the same bytes.
//! - Pieces go out in sequence from where the target stands; what the target says of an earlier place is ignored as old.
//! - An attempt that is frozen ends only by what the target, or the catalog's record of the slots, says.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::pace::Rounds;
use super::super::{After, Cut, Deed, End, ExportView, PIECE_BYTES, SlotUsage, State, Step, encoded};
use super::contact::Contact;
use super::{Around, LOG_AGAIN, usage_of};
use crate::net::Moment;
use crate::protocol::moves::{ImportState, MoveBody};
use crate::topology::{MoveId, ReplicaId, ShardId, Slot, SlotEpoch, Whereabouts};

/// What may have changed so that the rest is sent while requests wait.
const FREEZE_BYTES_MAX: u64 = if cfg!(feature = "failpoints") { 16 } else { 64 * 1024 };
/// How soon the target must have answered lately before requests are made to wait for it.
const FREEZE_ANSWER_MAX: Duration = Duration::from_millis(100);
/// How long after a question it is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(150);
/// How long the target must say that it has never heard of a frozen attempt until that is believed: two questions' time.
const DOUBT_MIN: Duration = Duration::from_millis(250);
/// How long nothing may be confirmed before the target is asked what it has.
const CONFIRM_MAX: Duration = Duration::from_millis(300);
/// Pieces without data that are read in one go.
const EMPTY_PIECES_MAX: usize = 64;
/// A copy of which nothing was confirmed for so long stands still.
const STANDSTILL: Duration = Duration::from_secs(1);

/// See the module.
pub struct Attempt<R> {
    me: (ShardId, ReplicaId),
    view: ExportView,
    usage: SlotUsage,
    /// Where reading goes on; none: it is not known where the target stands.
    reader: Option<R>,
    /// The sequence of the next piece that is read.
    sequence: u64,
    /// The sequence that the target waits for.
    next: u64,
    unconfirmed: VecDeque<Sent>,
    unconfirmed_bytes: usize,
    /// The round that was read to its end.
    round_read: Option<u32>,
    finish_read: bool,
    /// The target's leader has never heard of it.
    unknown: bool,
    /// Since when that is said of one that is frozen: it may be an old answer, so it is asked again before anything is ended.
    doubted: Option<Moment>,
    /// Whether it could be frozen, but others are.
    waits_for_turn: bool,
    fate: Option<Fate>,
    /// When the target was last asked, and whether it has answered since.
    asked: Option<Moment>,
    answered: bool,
    /// Whether the last question told a leader what to do.
    told: bool,
    /// How long it took to answer the last time.
    answer_took: Option<Duration>,
    /// When something last went on.
    moved: Moment,
    /// What was proposed last, and when.
    logged: Option<(Step, Moment)>,
    /// Whether what is not confirmed is to be sent again when the target says where it stands.
    resend: bool,
    rounds: Rounds,
    /// Bytes sent that nobody has counted yet.
    sent_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Taken,
    Refused,
}

struct Sent {
    sequence: u64,
    cursor: Vec<u8>,
    message: Vec<u8>,
    at: Moment,
    /// Whether it was sent again: then nobody knows which of them was confirmed.
    again: bool,
}

impl<R: Default> Attempt<R> {
    pub fn new<S: State<Reader = R>>(view: ExportView, around: &Around<'_, S>) -> Self {
        let usage = usage_of(around.state, view.slots.iter().map(|s| s.slot));
        Self {
            me: around.me,
            view,
            usage,
            reader: None,
            sequence: 0,
            next: 0,
            unconfirmed: VecDeque::new(),
            unconfirmed_bytes: 0,
            round_read: None,
            finish_read: false,
            unknown: false,
            doubted: None,
            waits_for_turn: false,
            fate: None,
            asked: None,
            answered: false,
            told: false,
            answer_took: None,
            moved: around.now,
            logged: None,
            resend: false,
            rounds: Rounds::default(),
            sent_bytes: 0,
        }
    }

    pub const fn to(&self) -> ShardId {
        self.view.to
    }

    pub const fn is_frozen(&self) -> bool {
        self.view.frozen
    }

    pub const fn usage(&self) -> SlotUsage {
        self.usage
    }

    pub const fn moved_at(&self) -> Moment {
        self.moved
    }

    pub fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        self.view.slots.iter().map(|s| s.slot)
    }

    pub fn has(&self, slot: Slot) -> bool {
        self.view.slots.binary_search_by_key(&slot, |s| s.slot).is_ok()
    }

    pub fn is_taken(&self) -> bool {
        self.fate == Some(Fate::Taken)
    }

    pub const fn slows(&self) -> bool {
        self.rounds.slows() && !self.view.frozen
    }

    /// Whether a write may be taken now. Nobody waits for a copy that stands still.
    pub fn admit(&mut self, bytes: usize, now: Moment) -> bool {
        now.since(self.moved) > STANDSTILL || self.rounds.admit(bytes, now)
    }

    pub const fn take_sent(&mut self) -> u64 {
        std::mem::replace(&mut self.sent_bytes, 0)
    }

    /// Where a slot of it has gone, once that is known.
    pub fn taken(&self, slot: Slot) -> Option<Whereabouts> {
        let at = self.view.slots.binary_search_by_key(&slot, |s| s.slot).ok().filter(|_| self.is_taken())?;
        Some(Whereabouts { slot, owner: self.view.to, epoch: self.view.slots[at].epoch })
    }

    /// Takes the export as it is now.
    pub fn follow(&mut self, view: ExportView, now: Moment) {
        if view != self.view {
            (self.view, self.moved, self.waits_for_turn) = (view, now, false);
        }
    }

    const fn id(&self) -> MoveId {
        MoveId { source: self.me.0, number: self.view.number }
    }

    fn message(&self, body: MoveBody<'_>) -> Vec<u8> {
        encoded(self.view.to, self.me, self.id(), body)
    }

    /// Does what there is to do. Returns whether requests wait from now on.
    pub fn work<S: State<Reader = R>>(
        &mut self,
        around: &Around<'_, S>,
        contact: &mut Contact,
        may_freeze: bool,
        bytes: &mut usize,
        deeds: &mut Vec<Deed>,
    ) -> bool {
        if let Some(how) = self.end(around) {
            if how == End::Undo {
                self.refuse(around, contact, deeds);
            }
            self.log(Step::ExportEnd { number: self.view.number, how }, around.now, deeds);
            return false;
        }
        if self.reader.is_none() {
            self.ask(around, contact, deeds);
            return false;
        }
        if self.doubted.is_some() {
            self.ask(around, contact, deeds);
        }
        self.find_what_was_lost(around, contact, deeds);
        self.read(around, contact, bytes, deeds);
        self.end_round(around, contact, may_freeze, deeds)
    }

    /// How it ends, once that is certain.
    fn end<S: State<Reader = R>>(&self, around: &Around<'_, S>) -> Option<End> {
        match self.fate {
            Some(Fate::Taken) if self.view.frozen => return Some(End::Gone),
            Some(Fate::Taken) => return None,
            Some(Fate::Refused) => return Some(End::UndoRefused),
            None => {}
        }
        // A catalog from before the export says nothing about it.
        let catalog = around.catalog;
        if catalog.revision < self.view.revision {
            return None;
        }
        if catalog.shard(self.view.to).is_none() {
            let is_past = |s: &SlotEpoch| {
                let range = catalog.range_of(s.slot);
                range.epoch >= s.epoch && range.owner != self.me.0
            };
            let has_gone = self.view.slots.iter().any(is_past);
            return match (has_gone, self.view.frozen) {
                (false, _) => Some(End::UndoRefused),
                (true, true) => Some(End::Gone),
                (true, false) => None,
            };
        }
        let is_unwanted = |s: &SlotEpoch| catalog.target(s.slot) != self.view.to;
        (!self.view.frozen && self.view.slots.iter().any(is_unwanted)).then_some(End::Undo)
    }

    fn refuse<S: State<Reader = R>>(&self, around: &Around<'_, S>, contact: &mut Contact, deeds: &mut Vec<Deed>) {
        if self.is_logged_lately(around.now) {
            return;
        }
        let message = self.message(MoveBody::Refuse { slots: self.view.slots.clone() });
        let to = contact.to(self.view.to, around.catalog);
        deeds.extend(to.into_iter().map(|to| Deed::Send { to, message: message.clone() }));
    }

    fn is_logged_lately(&self, now: Moment) -> bool {
        self.logged.as_ref().is_some_and(|(_, at)| now.since(*at) < LOG_AGAIN)
    }

    /// Whether the round that is to begin was proposed a moment ago, and if so whether it is the last.
    fn logged_lately(&self, next: u32, now: Moment) -> Option<bool> {
        match self.logged.as_ref()? {
            (Step::ExportRound { round, .. }, at) if *round == next && now.since(*at) < LOG_AGAIN => Some(false),
            (Step::Freeze { round, .. }, at) if *round == next && now.since(*at) < LOG_AGAIN => Some(true),
            _ => None,
        }
    }

    fn log(&mut self, step: Step, now: Moment, deeds: &mut Vec<Deed>) -> bool {
        if self.logged.as_ref().is_some_and(|(before, at)| *before == step && now.since(*at) < LOG_AGAIN) {
            return false;
        }
        self.logged = Some((step.clone(), now));
        deeds.push(Deed::Log(step));
        true
    }

    /// Asks the target what it has, or tells it to begin, once in a while.
    fn ask<S: State<Reader = R>>(&mut self, around: &Around<'_, S>, contact: &mut Contact, deeds: &mut Vec<Deed>) {
        if self.asked.is_some_and(|asked| around.now.since(asked) < ASK_AGAIN) {
            return;
        }
        self.asked = Some(around.now);
        self.answered = false;
        contact.asks(around.now);
        let slots = self.view.slots.clone();
        let leader = contact.leader(self.view.to, around.catalog);
        let body = match leader {
            Some(_) if self.reader.is_none() && !self.view.frozen => MoveBody::Start { slots },
            Some(_) if self.unknown && self.view.frozen => MoveBody::Refuse { slots },
            _ => MoveBody::Ask { slots },
        };
        self.told = !matches!(body, MoveBody::Ask { .. });
        let message = self.message(body);
        let to = contact.to(self.view.to, around.catalog);
        deeds.extend(to.into_iter().map(|to| Deed::Send { to, message: message.clone() }));
    }

    /// Takes what the target says.
    pub fn hear<S: State<Reader = R>>(
        &mut self,
        leads: bool,
        state: &ImportState,
        around: &Around<'_, S>,
        contact: &mut Contact,
        deeds: &mut Vec<Deed>,
    ) {
        if leads && !self.answered {
            self.answered = true;
            self.answer_took = self.asked.map(|asked| around.now.since(asked));
        }
        match state {
            ImportState::Taken => self.settle(Fate::Taken, around.now),
            ImportState::Refused => self.settle(Fate::Refused, around.now),
            ImportState::Unknown if leads && self.fate.is_none() => {
                if self.view.frozen && !self.is_doubted_enough(around.now) {
                    return;
                }
                // One who leads has applied all that was decided before.
                (self.reader, self.unknown) = (None, true);
                self.forget_unconfirmed();
                if !self.told {
                    self.asked = None;
                    self.ask(around, contact, deeds);
                }
            }
            ImportState::Unknown => {}
            ImportState::Importing { next, cursor } => {
                (self.unknown, self.doubted) = (false, None);
                self.hear_importing(*next, cursor, around, contact);
                if std::mem::take(&mut self.resend) {
                    self.send_again(around, contact, deeds);
                }
            }
        }
    }

    /// Whether it was said for long enough that the target has never heard of the attempt: messages may be late, so an answer may be
    /// from before the import began. One that is frozen is asked about again; what is said then is no older than the question.
    fn is_doubted_enough(&mut self, now: Moment) -> bool {
        now.since(*self.doubted.get_or_insert(now)) >= DOUBT_MIN
    }

    fn settle(&mut self, fate: Fate, now: Moment) {
        if self.fate.is_none() {
            (self.fate, self.moved) = (Some(fate), now);
        }
        self.forget_unconfirmed();
    }

    fn forget_unconfirmed(&mut self) {
        self.unconfirmed.clear();
        self.unconfirmed_bytes = 0;
    }

    fn hear_importing<S: State<Reader = R>>(
        &mut self,
        next: u64,
        cursor: &[u8],
        around: &Around<'_, S>,
        contact: &mut Contact,
    ) {
        if self.reader.is_some() && next < self.next {
            return;
        }
        if self.reader.is_none() || next > self.sequence {
            return self.go_on_at(next, cursor, around);
        }
        let mut last = None;
        while self.unconfirmed.front().is_some_and(|sent| sent.sequence < next) {
            last = self.unconfirmed.pop_front();
        }
        let Some(last) = last else { return };
        self.unconfirmed_bytes = self.unconfirmed.iter().map(|sent| sent.message.len()).sum();
        (self.next, self.moved) = (next, around.now);
        let took = around.now.since(last.at);
        self.answer_took = Some(took);
        if !last.again && contact.confirmed(took, around.now) {
            around.bucket.give_way();
        }
        if last.cursor != cursor {
            // It took what an earlier leader of this shard had sent, which was cut elsewhere.
            self.go_on_at(next, cursor, around);
        }
    }

    fn go_on_at<S: State<Reader = R>>(&mut self, next: u64, cursor: &[u8], around: &Around<'_, S>) {
        self.reader = if next == 0 { Some(R::default()) } else { around.state.resume(cursor) };
        // A cursor that makes no sense: the target has to refuse, and all begins anew.
        self.unknown = self.reader.is_none();
        (self.sequence, self.next, self.moved) = (next, next, around.now);
        (self.round_read, self.finish_read) = (None, false);
        self.forget_unconfirmed();
    }

    fn find_what_was_lost<S: State<Reader = R>>(
        &mut self,
        around: &Around<'_, S>,
        contact: &mut Contact,
        deeds: &mut Vec<Deed>,
    ) {
        let Some(first) = self.unconfirmed.front() else { return };
        let since = self.moved.max(first.at);
        if around.now.since(since) >= CONFIRM_MAX {
            self.resend = true;
            self.ask(around, contact, deeds);
        }
    }

    fn send_again<S: State<Reader = R>>(
        &mut self,
        around: &Around<'_, S>,
        contact: &mut Contact,
        deeds: &mut Vec<Deed>,
    ) {
        let Some(to) = contact.leader(self.view.to, around.catalog) else { return };
        for sent in &mut self.unconfirmed {
            (sent.at, sent.again) = (around.now, true);
            deeds.push(Deed::Send { to, message: sent.message.clone() });
        }
    }

    /// Reads and sends as much as may be on its way.
    fn read<S: State<Reader = R>>(
        &mut self,
        around: &Around<'_, S>,
        contact: &mut Contact,
        bytes: &mut usize,
        deeds: &mut Vec<Deed>,
    ) {
        let Some(to) = contact.leader(self.view.to, around.catalog) else {
            return self.ask(around, contact, deeds);
        };
        let (mut empty, on_way_max) = (0, contact.on_way_bytes_max());
        while self.unconfirmed_bytes < on_way_max && !self.finish_read && self.round_read != Some(self.view.round) {
            if *bytes == 0 || empty >= EMPTY_PIECES_MAX || !self.view.frozen && !around.bucket.has(around.now) {
                return;
            }
            let Some(reader) = self.reader.as_mut() else { return };
            let Some(cut) = around.state.read(self.view.number, reader, PIECE_BYTES) else { return };
            let has_body = !cut.body.is_empty();
            match self.message_of(&cut) {
                Some(message) => {
                    *bytes = bytes.saturating_sub(message.len());
                    around.bucket.take(message.len(), around.now);
                    self.send(to, cut.cursor, message, around.now, deeds);
                }
                None => empty += usize::from(!has_body),
            }
        }
    }

    /// The message that a piece makes, if it makes one.
    fn message_of(&mut self, cut: &Cut) -> Option<Vec<u8>> {
        let (urgent, sequence) = (self.view.frozen, self.sequence);
        match &cut.after {
            After::Finish { seals, log_time } => {
                self.finish_read = true;
                Some(self.message(MoveBody::Finish { sequence, log_time: *log_time, seals, body: &cut.body }))
            }
            after => {
                if *after == After::RoundDone {
                    self.round_read = Some(self.view.round);
                }
                let piece = MoveBody::Piece { urgent, sequence, cursor: &cut.cursor, body: &cut.body };
                (!cut.body.is_empty()).then(|| self.message(piece))
            }
        }
    }

    fn send(&mut self, to: ReplicaId, cursor: Vec<u8>, message: Vec<u8>, now: Moment, deeds: &mut Vec<Deed>) {
        if self.unconfirmed.is_empty() {
            self.moved = now;
        }
        self.sent_bytes += message.len() as u64;
        self.unconfirmed_bytes += message.len();
        deeds.push(Deed::Send { to, message: message.clone() });
        self.unconfirmed.push_back(Sent { sequence: self.sequence, cursor, message, at: now, again: false });
        self.sequence += 1;
    }

    /// When the target has all of a round: begins the next, or the last. Returns whether requests wait from now on.
    fn end_round<S: State<Reader = R>>(
        &mut self,
        around: &Around<'_, S>,
        contact: &mut Contact,
        may_freeze: bool,
        deeds: &mut Vec<Deed>,
    ) -> bool {
        let is_read = self.round_read == Some(self.view.round) && self.unconfirmed.is_empty();
        if self.view.frozen || !is_read {
            return false;
        }
        let (number, round) = (self.view.number, self.view.round + 1);
        if let Some(freezes) = self.logged_lately(round, around.now) {
            return freezes;
        }
        let changed = around.state.changed(number);
        if changed.bytes > FREEZE_BYTES_MAX {
            if self.log(Step::ExportRound { number, round }, around.now, deeds) {
                self.rounds.ended(changed.bytes, changed.keys, around.now);
            }
            return false;
        }
        if self.answer_took.is_none_or(|took| took > FREEZE_ANSWER_MAX) {
            self.ask(around, contact, deeds);
            return false;
        }
        self.waits_for_turn = !may_freeze;
        if may_freeze {
            self.log(Step::Freeze { number, round }, around.now, deeds);
        }
        may_freeze
    }

    /// Whether it is its target that holds it up: then it does not take the place of one to another shard. What waits for its share of
    /// the bytes that may be sent is held up by nobody.
    pub fn stands_still(&self, now: Moment) -> bool {
        let is_read = self.finish_read || self.round_read == Some(self.view.round);
        let waits_for_target = !self.unconfirmed.is_empty() || self.reader.is_none() || is_read;
        now.since(self.moved) > STANDSTILL
            && waits_for_target
            && self.fate.is_none()
            && !self.waits_for_turn
            && !self.rounds.slows()
    }

    /// Why it does not go on, and since when, for people.
    pub fn stall<S: State<Reader = R>>(
        &self,
        around: &Around<'_, S>,
        contact: Option<&Contact>,
    ) -> Option<(&'static str, Moment)> {
        let was_heard = contact.is_some_and(|contact| contact.was_heard_since(self.moved));
        let has_leader = contact.is_some_and(Contact::has_leader);
        let reason = if self.logged.as_ref().is_some_and(|(_, at)| *at >= self.moved) {
            "this shard does not commit the next step: it has no majority"
        } else if self.waits_for_turn {
            "it is copied, and waits until requests wait for fewer others"
        } else if self.slows() {
            "writes outrun the copy; they are slowed until it has caught up"
        } else if !was_heard {
            "no replica of the other shard answers"
        } else if !has_leader {
            "the other shard has no leader"
        } else if self.unconfirmed.is_empty() && self.reader.is_some() {
            if around.bucket.has(around.now) {
                "the other shard answers too slowly for requests to wait for it"
            } else {
                "the limit of bytes per second is used up"
            }
        } else {
            "the other shard does not commit what it is sent: it has no majority, or is busy"
        };
        Some((reason, self.moved))
    }
}
