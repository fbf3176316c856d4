//! A random world: shards with replicas that are restored from snapshots, moves between them in all stages, messages that
//! come twice, late or never; beside it one keyspace that never moved anything.

use std::collections::BTreeMap;

use super::super::super::random::Random;
use super::super::super::snapshot::Loader;
use super::*;
use crate::keyspace::Served;
use crate::protocol::coverage::{self, SlotRuns};
use crate::protocol::identity::CancelHow;
use crate::topology::LogIndex;

/// Few slots, so that moves meet.
pub const TAGS: u64 = 6;
const SESSIONS: u64 = 3;

pub struct World {
    random: Random,
    /// Each shard by its id: two replicas that apply the same.
    shards: BTreeMap<ShardId, [Keyspace; 2]>,
    /// One that never moved anything.
    reference: Keyspace,
    time: u64,
    /// Messages on their way: the target, and the step for its log.
    messages: Vec<(ShardId, Vec<u8>)>,
    /// Readers of leaders, as long as they lead.
    readers: BTreeMap<(ShardId, u64), ExportReader>,
    sequences: [u64; SESSIONS as usize],
    /// The highest `low` that each session sent.
    lows: [u64; SESSIONS as usize],
    /// Blocking commands that were sent.
    blocks: u64,
    /// Named writes that were executed: what was answered, and the entry.
    answered: Vec<(WriteId, Vec<String>, String)>,
    /// Who owned each slot under which epoch.
    owners: BTreeMap<(Slot, Epoch), ShardId>,
    /// What blocked clients got, and what they would have got had nothing moved.
    served: Vec<Served>,
    expected: Vec<Served>,
    pub finished: u64,
    pub undone: u64,
}

pub fn tag_slot(tag: u64) -> Slot {
    Slot::of_key(tag.to_string().as_bytes())
}

impl World {
    pub fn new(seed: u64, shard_count: u64) -> Self {
        let mut world = Self {
            random: Random::new(seed),
            shards: BTreeMap::new(),
            reference: Keyspace::new(SEED),
            time: 1_000_000,
            messages: Vec::new(),
            readers: BTreeMap::new(),
            sequences: [1; SESSIONS as usize],
            lows: [0; SESSIONS as usize],
            blocks: 0,
            answered: Vec::new(),
            owners: BTreeMap::new(),
            served: Vec::new(),
            expected: Vec::new(),
            finished: 0,
            undone: 0,
        };
        for shard in 1..=shard_count {
            let mut keyspace = [Keyspace::new(SEED), Keyspace::new(SEED)];
            for tag in (0..TAGS).filter(|tag| tag % shard_count + 1 == shard) {
                keyspace.iter_mut().for_each(|replica| replica.own(tag_slot(tag), Epoch(1)));
            }
            world.shards.insert(ShardId(shard), keyspace);
        }
        (0..TAGS).for_each(|tag| world.reference.own(tag_slot(tag), Epoch(1)));
        world.audit();
        world
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.random.next() % below
    }

    fn any_shard(&mut self) -> ShardId {
        let count = self.shards.len() as u64;
        ShardId(self.draw(count) + 1)
    }

    /// The state of a shard's leader.
    fn leader(&self, shard: ShardId) -> &Keyspace {
        &self.shards[&shard][0]
    }

    /// Applies an entry at both replicas, which do the same.
    fn apply(&mut self, shard: ShardId, entry: &[u8]) -> (Applied, String) {
        let finishes = self.is_finish(shard, entry);
        let replicas = self.shards.get_mut(&shard).unwrap();
        let results = replicas.each_mut().map(|replica| {
            let mut out = Vec::new();
            let applied = replica.apply(&Entry::decode(entry).unwrap(), &mut out).unwrap();
            (applied, String::from_utf8_lossy(&out).into_owned())
        });
        assert_eq!(results[0], results[1]);
        let [one, other] = replicas.each_mut().map(Keyspace::take_served);
        assert_eq!(one, other);
        self.served.extend(one);
        if let Some((id, slots)) = finishes {
            assert_eq!(self.leader(shard).import_state(id, slots), ImportState::Taken, "all of it came");
        }
        let [result, _] = results;
        result
    }

    /// Whether this is the last entry of an import that has all the others.
    fn is_finish(&self, shard: ShardId, entry: &[u8]) -> Option<(MoveId, Vec<SlotEpoch>)> {
        let Ok(Entry::Move { step: Step::ImportFinish { id, sequence, .. }, .. }) = Entry::decode(entry) else {
            return None;
        };
        let import = self.leader(shard).imports().find(|import| import.id == id && import.next == sequence)?;
        Some((id, import.slots().collect()))
    }

    fn log(&mut self, shard: ShardId, step: Step<'_>) {
        let (mut bytes, time) = (Vec::new(), LogTime(self.time));
        Entry::Move { time, step }.encode(&mut bytes);
        self.apply(shard, &bytes);
    }

    /// One random event.
    pub fn step(&mut self) {
        self.time += self.random.next() % 20;
        match self.draw(100) {
            0..38 => self.command(),
            38..42 => self.block(),
            42..44 => self.cancel(),
            44 => self.flush(),
            45..48 => self.sweep(),
            48..52 => self.ask_again(),
            52..58 => self.start_export(),
            58..76 => self.drive(),
            76..90 => self.deliver(),
            90..93 => self.restore(),
            93..95 => self.change_leader(),
            95..97 => self.undo(),
            _ => self.refuse(),
        }
        self.audit();
    }

    fn owner(&self, slot: Slot) -> Option<ShardId> {
        self.shards.iter().find(|(_, replicas)| replicas[0].owns(slot).is_some()).map(|(shard, _)| *shard)
    }

    /// A random command over keys of one slot, which the reference gets as well if somebody serves the slot.
    fn command(&mut self) {
        let tag = self.draw(TAGS);
        let words = self.words(tag);
        let Some(shard) = self.owner(tag_slot(tag)) else {
            // Frozen: nobody answers.
            let shard = self.any_shard();
            let result = self.write(shard, None, &words);
            assert_eq!(result.0, Applied::NotOwner(tag_slot(tag)));
            return;
        };
        let session = self.draw(SESSIONS);
        let sequence = self.sequences[session as usize];
        self.sequences[session as usize] += 1;
        let low = sequence.saturating_sub(self.draw(40));
        self.lows[session as usize] = self.lows[session as usize].max(low);
        let id = WriteId { session: SessionId(u128::from(session)), sequence };
        let identity = Identity { id, low, born: LogTime(self.time) };
        let expected = self.write_reference(&words);
        let (applied, reply) = self.write(shard, Some(identity), &words);
        assert_eq!((applied, &reply), (Applied::Reply, &expected), "{words:?}");
        self.answered.push((id, words, reply));
    }

    fn entry(&self, shard: Option<ShardId>, identity: Option<Identity>, words: &[String]) -> Vec<u8> {
        let (mut request, mut entry, time) = (Vec::new(), Vec::new(), LogTime(self.time));
        write_array(&mut request, words.iter().map(String::as_bytes));
        let seen = shard.map_or(0, |shard| self.leader(shard).ownership());
        // Random choices are those of the entry.
        let seed = self.time;
        Entry::Write { time, seed, resp3: false, identity, seen, request: &request }.encode(&mut entry);
        entry
    }

    fn write(&mut self, shard: ShardId, identity: Option<Identity>, words: &[String]) -> (Applied, String) {
        let entry = self.entry(Some(shard), identity, words);
        self.apply(shard, &entry)
    }

    fn write_reference(&mut self, words: &[String]) -> String {
        let (entry, mut out) = (self.entry(None, None, words), Vec::new());
        let applied = self.apply_reference(&entry, &mut out);
        assert_eq!(applied, Applied::Reply);
        String::from_utf8_lossy(&out).into_owned()
    }

    fn apply_reference(&mut self, entry: &[u8], out: &mut Vec<u8>) -> Applied {
        let applied = self.reference.apply(&Entry::decode(entry).unwrap(), out).unwrap();
        self.expected.extend(self.reference.take_served());
        applied
    }

    /// The entry at whoever serves the slot, and at the reference; none serves it, and then it is refused.
    fn apply_both(&mut self, slot: Slot, entry: impl Fn(&Keyspace) -> Vec<u8>) {
        let Some(shard) = self.owner(slot) else {
            let shard = self.any_shard();
            let entry = entry(self.leader(shard));
            assert_eq!(self.apply(shard, &entry).0, Applied::NotOwner(slot));
            return;
        };
        let (at_owner, at_reference, mut out) = (entry(self.leader(shard)), entry(&self.reference), Vec::new());
        let (applied, reply) = self.apply(shard, &at_owner);
        assert_eq!(applied, self.apply_reference(&at_reference, &mut out));
        assert_eq!(reply.as_bytes(), out);
    }

    fn block(&mut self) {
        let (tag, key) = (self.draw(TAGS), self.draw(7));
        let line = match self.draw(3) {
            0 => format!("BLPOP {{{tag}}}{key} {{{tag}}}{} 0", self.draw(7)),
            1 => format!("BLMOVE {{{tag}}}{key} {{{tag}}}{} LEFT RIGHT 0", self.draw(7)),
            _ => format!("BZPOPMIN {{{tag}}}{key} 0"),
        };
        self.blocks += 1;
        let (sequence, time, mut request) = (self.blocks, LogTime(self.time), Vec::new());
        write_array(&mut request, line.split(' ').map(str::as_bytes).collect::<Vec<_>>().into_iter());
        let identity = Identity { id: WriteId { session: SessionId(77), sequence }, low: 0, born: time };
        self.apply_both(tag_slot(tag), |keyspace| {
            let (mut entry, seen) = (Vec::new(), keyspace.ownership());
            Entry::Block { time, seed: 0, resp3: false, identity, seen, request: &request }.encode(&mut entry);
            entry
        });
    }

    /// Somebody waits no longer; those who did not wait are remembered as gone.
    fn cancel(&mut self) {
        let (tag, time) = (self.draw(TAGS), LogTime(self.time));
        let waiting: Vec<WriteId> =
            self.reference.waiters().filter(|(_, slot)| *slot == tag_slot(tag)).map(|w| w.0).collect();
        if waiting.is_empty() {
            return;
        }
        let id = waiting[self.draw(waiting.len() as u64) as usize];
        let (identity, how) = (Identity { id, low: 0, born: time }, CancelHow::Timeout);
        self.apply_both(tag_slot(tag), |_| {
            let mut entry = Vec::new();
            Entry::Cancel { time, how, resp3: false, slot: tag_slot(tag), identity }.encode(&mut entry);
            entry
        });
    }

    /// FLUSHALL of what a shard owns.
    fn flush(&mut self) {
        let shard = self.any_shard();
        let owned = SlotRuns::of(self.leader(shard).owned().iter());
        for wanted in [SlotRuns::all(), owned.clone()] {
            let (mut body, mut entry, time, seen) = (Vec::new(), Vec::new(), LogTime(self.time), u64::MAX);
            coverage::put(&mut body, &wanted);
            body.extend_from_slice(b"*1\r\n$8\r\nFLUSHALL\r\n");
            Entry::Cover { time, seed: 0, resp3: false, identity: None, seen, body: &body }.encode(&mut entry);
            if wanted == owned {
                self.apply_reference(&entry, &mut Vec::new());
            } else {
                self.apply(shard, &entry);
            }
        }
    }

    fn words(&mut self, tag: u64) -> Vec<String> {
        let key = format!("{{{tag}}}{}", self.draw(7));
        let other = format!("{{{tag}}}{}", self.draw(7));
        let item = format!("i{}", self.draw(30));
        let number = self.draw(50).to_string();
        let length = self.draw(600) as usize;
        let text = match self.draw(6) {
            0 => "x".repeat(length * 10),
            _ => format!("v{number}"),
        };
        let line = match self.draw(38) {
            0..4 => format!("SET {key} {text}"),
            4 => format!("SET {key} {text} PX {}", self.draw(2000) + 1),
            5 => format!("INCR {key}"),
            6 => format!("APPEND {key} {text}"),
            7 => format!("SETRANGE {key} {} yy", self.draw(3000)),
            8..10 => format!("DEL {key} {other}"),
            10 => format!("RENAME {key} {other}"),
            11 => format!("COPY {key} {other} REPLACE"),
            12 => format!("PEXPIRE {key} {}", self.draw(2000)),
            13 => format!("PERSIST {key}"),
            14..16 => format!("RPUSH {key} {text} {item} {number}"),
            16 => format!("LPOP {key} 2"),
            17 => format!("LTRIM {key} 0 20"),
            18..20 => format!("SADD {key} {item} {number} {text}"),
            20 => format!("SREM {key} {item}"),
            21 => format!("SPOP {key}"),
            22 => format!("SUNIONSTORE {key} {key} {other}"),
            23..25 => format!("HSET {key} {item} {text} f{number} {number}"),
            25 => format!("HDEL {key} {item}"),
            26 => format!("HPEXPIRE {key} {} FIELDS 1 {item}", self.draw(2000)),
            27..29 => format!("ZADD {key} {number} {item} 1.5 {text}"),
            29 => format!("ZPOPMIN {key}"),
            30 => format!("ZINCRBY {key} 1 {item}"),
            31 => format!("GETDEL {key}"),
            32 => format!("SETBIT {key} {number} 1"),
            // Large ones, of which only what changes is sent.
            33 => self.many(&format!("SADD {key}"), |item| format!(" {item}")),
            34 => self.many(&format!("RPUSH {key}"), |item| format!(" {item}")),
            35 => self.many(&format!("HSET {key}"), |item| format!(" {item} {item}v")),
            36 => self.many(&format!("ZADD {key}"), |item| format!(" {} {item}", item.len())),
            _ => format!("GET {key}"),
        };
        line.split(' ').map(str::to_owned).collect()
    }

    fn many(&mut self, command: &str, argument: impl Fn(&str) -> String) -> String {
        let (first, count) = (self.draw(200), 30 + self.draw(60));
        (first..first + count).fold(command.to_owned(), |line, number| line + &argument(&format!("member:{number}")))
    }

    fn sweep(&mut self) {
        let tag = self.draw(TAGS);
        let (slot, mut entry) = (tag_slot(tag), Vec::new());
        Entry::Sweep { time: LogTime(self.time), slot, keys_max: 3 }.encode(&mut entry);
        // What is frozen is not swept; and then the reference is not, so that versions stay in step.
        if let Some(shard) = self.owner(slot) {
            self.apply(shard, &entry);
            self.apply_reference(&entry, &mut Vec::new());
        }
    }

    /// A write that was answered comes again, somewhere.
    fn ask_again(&mut self) {
        if self.answered.is_empty() {
            return;
        }
        let recent = self.answered.len().min(60) as u64;
        let at = self.answered.len() - 1 - self.draw(recent) as usize;
        let shard = self.any_shard();
        self.ask_for(at, shard);
    }

    fn ask_for(&mut self, at: usize, shard: ShardId) {
        let (id, words, reply) = self.answered[at].clone();
        let identity = Identity { id, low: 0, born: LogTime(self.time) };
        let (applied, again) = self.write(shard, Some(identity), &words);
        match applied {
            Applied::NotOwner(slot) => assert_eq!(self.leader(shard).owns(slot), None),
            Applied::Repeated => assert_eq!(again, reply, "{words:?}"),
            other => {
                assert_eq!(other, Applied::Forgotten, "{words:?}");
                assert!(id.sequence < self.lows[id.session.0 as usize], "nobody said that {id:?} is answered");
            }
        }
    }

    fn start_export(&mut self) {
        let (from, to) = (self.any_shard(), self.any_shard());
        let count = self.draw(3) + 1;
        let slots: Vec<Slot> = (0..count).map(|_| tag_slot(self.draw(TAGS))).collect();
        if from == to || self.leader(from).exports().count() > 2 {
            return;
        }
        let bytes = SlotList::encode(slots);
        self.log(from, Step::ExportStart { to, revision: Revision(1), slots: SlotList::decode(&bytes).unwrap() });
    }

    /// A leader does what there is to do for one of its exports.
    fn drive(&mut self) {
        let from = self.any_shard();
        let exports: Vec<(u64, ShardId, Phase, u32)> =
            self.leader(from).exports().map(|export| (export.number, export.to, export.phase, export.round)).collect();
        if exports.is_empty() {
            return;
        }
        let (number, to, phase, round) = exports[self.draw(exports.len() as u64) as usize];
        let (id, slots) = (MoveId { source: from, number }, slots_of(self.leader(from), number));
        match self.leader(to).import_state(id, slots.iter().copied()) {
            ImportState::Taken => {
                self.log(from, Step::ExportEnd { number, how: ExportEndHow::Gone });
                self.finished += 1;
                // Nothing that was answered there is executed again here.
                let is_moved = |words: &[String]| slots.iter().any(|at| at.slot == Slot::of_key(words[1].as_bytes()));
                let recent = self.answered.len().saturating_sub(200)..self.answered.len();
                let moved: Vec<usize> = recent.filter(|at| is_moved(&self.answered[*at].1)).collect();
                moved.into_iter().for_each(|at| self.ask_for(at, to));
            }
            ImportState::Refused => {
                self.log(from, Step::ExportEnd { number, how: ExportEndHow::UndoRefused });
                self.undone += 1;
            }
            ImportState::Unknown => {
                let slots = SlotEpochs::encode(slots);
                self.send(to, Step::ImportStart { id, slots: SlotEpochs::decode(&slots).unwrap() });
            }
            ImportState::Importing { next, cursor } => self.send_piece((from, to), (id, phase, round), (next, &cursor)),
        }
    }

    fn send_piece(
        &mut self,
        (from, to): (ShardId, ShardId),
        (id, phase, round): (MoveId, Phase, u32),
        (sequence, cursor): (u64, &[u8]),
    ) {
        let number = id.number;
        // The next piece is always read from where the target is: what is on its way may be lost.
        let reader = ExportReader::resume(cursor).unwrap();
        let known = self.readers.entry((from, number)).or_insert_with(|| reader.clone());
        let mut reader = if known.cursor() == cursor { known.clone() } else { reader };
        let room = 50 + self.random.next() as usize % 3000;
        let piece = self.leader(from).read_export(number, &mut reader, room).unwrap();
        self.readers.insert((from, number), reader);
        match piece.next {
            Next::Finish(seals) => {
                let (log_time, seals) = (self.leader(from).log_time(), Seals::encode(seals));
                let seals = Seals::decode(&seals).unwrap();
                self.send(to, Step::ImportFinish { id, sequence, log_time, seals, body: &piece.body });
            }
            Next::RoundDone if piece.body.is_empty() && phase == Phase::Copying => {
                let round = round + 1;
                let is_last = self.draw(3) == 0;
                self.log(
                    from,
                    if is_last { Step::Freeze { number, round } } else { Step::ExportRound { number, round } },
                );
            }
            _ => self.send(to, Step::ImportPiece { id, sequence, cursor: &piece.cursor, body: &piece.body }),
        }
    }

    fn send(&mut self, to: ShardId, step: Step<'_>) {
        let mut entry = Vec::new();
        Entry::Move { time: LogTime(self.time), step }.encode(&mut entry);
        match self.draw(10) {
            0 => {}
            1 => self.messages.extend([(to, entry.clone()), (to, entry)]),
            2..6 => self.messages.push((to, entry)),
            _ => drop(self.apply(to, &entry)),
        }
    }

    /// Some message arrives, or is lost.
    fn deliver(&mut self) {
        if self.messages.is_empty() {
            return;
        }
        let at = self.draw(self.messages.len() as u64) as usize;
        let (to, entry) = if self.draw(4) == 0 { self.messages[at].clone() } else { self.messages.swap_remove(at) };
        if self.draw(6) > 0 {
            self.apply(to, &entry);
        }
        if self.messages.len() > 30 {
            self.messages.remove(0);
        }
    }

    /// A replica goes on from a snapshot, and is equal to the other.
    fn restore(&mut self) {
        let (shard, piece_bytes) = (self.any_shard(), 1000 + self.random.next() as usize % 5000);
        let replicas = self.shards.get_mut(&shard).unwrap();
        let mut loader = Loader::new();
        replicas[0].freeze().pieces(piece_bytes).for_each(|piece| loader.push(&piece).unwrap());
        replicas[1] = loader.finish().unwrap();
        self.compare(shard);
    }

    fn change_leader(&mut self) {
        let shard = self.any_shard();
        self.shards.get_mut(&shard).unwrap().swap(0, 1);
        self.readers.retain(|(source, _), _| *source != shard);
    }

    fn undo(&mut self) {
        let from = self.any_shard();
        let Some(number) = self.leader(from).exports().next().map(|export| export.number) else { return };
        // Of no effect on one that is frozen.
        self.log(from, Step::ExportEnd { number, how: ExportEndHow::Undo });
    }

    /// Somebody wants some attempts to be refused: those that run, or some of old.
    fn refuse(&mut self) {
        let shard = self.any_shard();
        let sources: Vec<ShardId> = self.shards.keys().copied().collect();
        let from = sources[self.draw(sources.len() as u64) as usize];
        let Some(export) = self.leader(from).exports().find(|export| export.to == shard) else { return };
        let slots = SlotEpochs::encode(export.slots().collect::<Vec<_>>());
        self.log(shard, Step::ImportRefuse { slots: SlotEpochs::decode(&slots).unwrap() });
    }

    /// Nobody owns a slot under an epoch that another had.
    fn audit(&mut self) {
        for (shard, replicas) in &self.shards {
            for slot in replicas[0].owned().iter() {
                let epoch = replicas[0].owns(slot).unwrap();
                assert_eq!(*self.owners.entry((slot, epoch)).or_insert(*shard), *shard, "slot {slot} under {epoch}");
            }
        }
        for tag in 0..TAGS {
            let slot = tag_slot(tag);
            let holders = self.shards.values().filter(|replicas| replicas[0].owns(slot).is_some()).count();
            assert!(holders <= 1, "slot {slot} has {holders} owners");
        }
    }

    fn compare(&self, shard: ShardId) {
        let [one, other] = &self.shards[&shard];
        assert_eq!(one.freeze().digest(LogIndex(1)), other.freeze().digest(LogIndex(1)));
        assert_eq!((one.next_expiry(), one.usage()), (other.next_expiry(), other.usage()));
    }

    /// Ends all moves, and compares what came of it with what never moved.
    pub fn settle(&mut self) {
        self.messages.clear();
        assert_eq!(self.served, self.expected, "who waited got the same");
        let steps_max = 20_000;
        for step in 0.. {
            if self.shards.values().all(|replicas| replicas[0].exports().count() == 0) {
                break;
            }
            assert!(step < steps_max, "moves come to an end");
            self.drive();
            self.deliver();
            self.audit();
        }
        for shard in self.shards.keys() {
            self.compare(*shard);
        }
        for tag in 0..TAGS {
            let slot = tag_slot(tag);
            let owner = self.owner(slot).expect("every slot has an owner in the end");
            let (moved, stayed) = (self.leader(owner).slot_digest(slot), self.reference.slot_digest(slot));
            assert_eq!(moved, stayed, "slot {slot} is what it was");
        }
        let usage = self.shards.values().map(|replicas| replicas[0].usage());
        let sum = usage.fold((0, 0, 0), |sum, part| (sum.0 + part.keys, sum.1 + part.bytes, sum.2 + part.expires));
        let stayed = self.reference.usage();
        assert_eq!(sum, (stayed.keys, stayed.bytes, stayed.expires));
    }
}
