//! A keyspace from the pieces of a snapshot, with everything checked.

use std::collections::VecDeque;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::super::blocking::BlockedLoader;
use super::super::error::SnapshotError;
use super::super::moves::{Aside, MovesLoader};
use super::super::record::{ExpireAt, Position, Record};
use super::super::slot_data::SlotData;
use super::super::store::Keyspace;
use super::super::value::ValueBuilder;
use super::{
    CHECKSUM_BYTES, KIND_BLOCKED, KIND_END, KIND_HEADER, KIND_KEYS, KIND_MOVES, KIND_SLOT, KIND_VALUE, MAGIC,
    PAYLOAD_BYTES_MAX, RECORD_HEAD_BYTES, SNAPSHOT_FORMAT_VERSION,
};
use crate::topology::{Epoch, LogTime, Slot};

/// Takes the bytes of a snapshot in order, cut anywhere, and gives the keyspace.
#[derive(Debug, Default)]
pub struct Loader {
    /// Bytes of a record that is not all there yet.
    rest: Vec<u8>,
    /// Where `rest` begins in the stream.
    offset: u64,
    checksum: u64,
    stage: Stage,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Header,
    Slots(Box<Loading>),
    Ended(Box<Keyspace>),
}

/// The state between header and end.
#[derive(Debug)]
struct Loading {
    keyspace: Keyspace,
    slots_missing: u32,
    slot: Option<LoadingSlot>,
    /// Blocked clients and moves, until the first slot.
    before: Option<(BlockedLoader, MovesLoader)>,
    /// Data aside that is to come.
    aside: VecDeque<Aside>,
}

#[derive(Debug)]
struct LoadingSlot {
    slot: Slot,
    aside: Option<Aside>,
    data: SlotData,
    keys_missing: u64,
    unfinished: Option<Unfinished>,
}

/// A key whose value is not all there yet.
#[derive(Debug)]
struct Unfinished {
    position: Position,
    key: Vec<u8>,
    version: u64,
    expire_at: Option<ExpireAt>,
    value: ValueBuilder,
}

/// What is wrong with a record; the caller knows where it is.
type Fault = &'static str;

enum LoadFault {
    Version(u16),
    Record(Fault),
    Slot(Slot, Fault),
}

impl From<Fault> for LoadFault {
    fn from(what: Fault) -> Self {
        Self::Record(what)
    }
}

impl Loader {
    /// A loader at the beginning of a snapshot.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes. After an error the loader is of no more use.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), SnapshotError> {
        self.rest.extend_from_slice(piece);
        let rest = std::mem::take(&mut self.rest);
        let mut taken = 0;
        while let Some(length) = self.record_length(&rest[taken..])? {
            self.record(&rest[taken..taken + length])?;
            taken += length;
            self.offset += length as u64;
        }
        self.rest = rest;
        self.rest.drain(..taken);
        Ok(())
    }

    /// The keyspace, if all of it is there.
    pub fn finish(self) -> Result<Keyspace, SnapshotError> {
        match self.stage {
            Stage::Ended(keyspace) if self.rest.is_empty() => Ok(*keyspace),
            _ => Err(SnapshotError::Incomplete(self.offset + self.rest.len() as u64)),
        }
    }

    /// How long the first record is; none: not all of it is there.
    fn record_length(&self, bytes: &[u8]) -> Result<Option<usize>, SnapshotError> {
        let Some(head) = bytes.first_chunk::<RECORD_HEAD_BYTES>() else { return Ok(None) };
        let payload = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if payload > PAYLOAD_BYTES_MAX || !(KIND_HEADER..=KIND_MOVES).contains(&head[0]) {
            return Err(self.damaged("not the head of a record"));
        }
        let length = RECORD_HEAD_BYTES + payload + CHECKSUM_BYTES;
        Ok((bytes.len() >= length).then_some(length))
    }

    fn record(&mut self, record: &[u8]) -> Result<(), SnapshotError> {
        let (body, checksum) = record.split_at(record.len() - CHECKSUM_BYTES);
        self.checksum = xxh3_64_with_seed(body, self.checksum);
        if checksum != self.checksum.to_le_bytes() {
            return Err(self.damaged("wrong checksum"));
        }
        let mut payload = Payload(&body[RECORD_HEAD_BYTES..]);
        let result = self.take_record(body[0], &mut payload).and_then(|()| payload.end());
        result.map_err(|fault| match fault {
            LoadFault::Version(version) => SnapshotError::Version(version),
            LoadFault::Record(what) => self.damaged(what),
            LoadFault::Slot(slot, what) => SnapshotError::Slot { slot, what },
        })
    }

    fn take_record(&mut self, kind: u8, payload: &mut Payload<'_>) -> Result<(), LoadFault> {
        match (&mut self.stage, kind) {
            (Stage::Header, KIND_HEADER) => self.stage = Stage::Slots(Box::new(header(payload)?)),
            (Stage::Slots(loading), KIND_BLOCKED) => loading.blocked(payload)?,
            (Stage::Slots(loading), KIND_MOVES) => loading.moves(payload)?,
            (Stage::Slots(loading), KIND_SLOT) => loading.begin_slot(payload)?,
            (Stage::Slots(loading), KIND_KEYS) => loading.keys(payload)?,
            (Stage::Slots(loading), KIND_VALUE) => loading.value_rest(payload)?,
            (Stage::Slots(loading), KIND_END) => {
                let keyspace = loading.end(payload.u64()?)?;
                self.stage = Stage::Ended(Box::new(keyspace));
            }
            _ => return Err("a record that cannot come here".into()),
        }
        Ok(())
    }

    const fn damaged(&self, what: Fault) -> SnapshotError {
        SnapshotError::Damaged { what, offset: self.offset }
    }
}

fn header(payload: &mut Payload<'_>) -> Result<Loading, LoadFault> {
    if payload.array()? != MAGIC {
        return Err("not a snapshot of a shard".into());
    }
    let version = u16::from_le_bytes(payload.array()?);
    if version != SNAPSHOT_FORMAT_VERSION {
        return Err(LoadFault::Version(version));
    }
    let mut keyspace = Keyspace::new(payload.u64()?);
    keyspace.log_time = LogTime(payload.u64()?);
    keyspace.limits.key_bytes_max = payload.u32()?;
    keyspace.limits.value_bytes_max = payload.u32()?;
    let (slots_missing, before) = (payload.u32()?, Some((BlockedLoader::default(), MovesLoader::default())));
    Ok(Loading { keyspace, slots_missing, slot: None, before, aside: VecDeque::new() })
}

impl Loading {
    fn blocked(&mut self, payload: &mut Payload<'_>) -> Result<(), LoadFault> {
        let (blocked, _) = self.before.as_mut().ok_or("blocked clients after a slot")?;
        Ok(blocked.push(std::mem::take(&mut payload.0))?)
    }

    fn moves(&mut self, payload: &mut Payload<'_>) -> Result<(), LoadFault> {
        let (_, moves) = self.before.as_mut().ok_or("moves after a slot")?;
        Ok(moves.push(std::mem::take(&mut payload.0))?)
    }

    fn end_before(&mut self) -> Result<(), LoadFault> {
        if let Some((blocked, moves)) = self.before.take() {
            (self.keyspace.blocking, self.keyspace.remembered) = blocked.finish()?;
            self.keyspace.moves = moves.finish()?;
            self.aside = self.keyspace.moves.aside().into_iter().map(|(aside, _)| aside).collect();
        }
        Ok(())
    }

    fn begin_slot(&mut self, payload: &mut Payload<'_>) -> Result<(), LoadFault> {
        self.end_before()?;
        self.end_slot()?;
        let slot = Slot::new(u16::from_le_bytes(payload.array()?)).ok_or("no such slot")?;
        self.slots_missing = self.slots_missing.checked_sub(1).ok_or("more slots than announced")?;
        let (epoch, version, last_removal) = (Epoch(payload.u64()?), payload.u64()?, payload.u64()?);
        if last_removal > version {
            return Err(LoadFault::Slot(slot, "the last removal is newer than the slot"));
        }
        let (keys_missing, [is_aside]) = (payload.u64()?, payload.array()?);
        let aside = if is_aside == 1 { self.aside.pop_front() } else { None };
        let follows = match aside {
            Some(aside) => aside.slot() == slot,
            None => is_aside == 0 && self.keyspace.owned().next_in(slot.index()).is_none(),
        };
        if !follows {
            return Err(LoadFault::Slot(slot, "does not follow the slot before it"));
        }
        let data = SlotData::with_versions(epoch, version, last_removal);
        self.slot = Some(LoadingSlot { slot, aside, data, keys_missing, unfinished: None });
        Ok(())
    }

    fn end_slot(&mut self) -> Result<(), LoadFault> {
        let Some(mut loading) = self.slot.take() else { return Ok(()) };
        loading.data.fit();
        if loading.keys_missing > 0 || loading.unfinished.is_some() {
            return Err(LoadFault::Slot(loading.slot, "fewer keys than announced"));
        }
        match loading.aside {
            Some(aside) => self.keyspace.moves.put_aside(aside, loading.data),
            None => self.keyspace.install(loading.slot, loading.data),
        }
        Ok(())
    }

    fn keys(&mut self, payload: &mut Payload<'_>) -> Result<(), LoadFault> {
        let seed = self.keyspace.seed;
        let loading = self.slot.as_mut().filter(|slot| slot.unfinished.is_none()).ok_or("keys without a slot")?;
        while !payload.0.is_empty() {
            loading.keys_missing = loading.keys_missing.checked_sub(1).ok_or("more keys than announced")?;
            let unfinished = key(payload, seed)?;
            if Slot::of_key(&unfinished.key) != loading.slot {
                return Err(LoadFault::Slot(loading.slot, "a key of another slot"));
            }
            loading.add(unfinished)?;
        }
        Ok(())
    }

    fn value_rest(&mut self, payload: &mut Payload<'_>) -> Result<(), LoadFault> {
        let loading = self.slot.as_mut().ok_or("a value without a slot")?;
        let mut unfinished = loading.unfinished.take().ok_or("more of a value than announced")?;
        payload.0 = unfinished.value.push(payload.0)?;
        loading.add(unfinished)
    }

    fn end(&mut self, keys: u64) -> Result<Keyspace, LoadFault> {
        self.end_before()?;
        self.end_slot()?;
        if self.slots_missing > 0 || !self.aside.is_empty() || self.keyspace.usage().keys != keys {
            return Err("fewer slots or keys than announced".into());
        }
        Ok(std::mem::replace(&mut self.keyspace, Keyspace::new(0)))
    }
}

impl LoadingSlot {
    /// Adds a key whose value is all there, or waits for the rest of it.
    fn add(&mut self, unfinished: Unfinished) -> Result<(), LoadFault> {
        if !unfinished.value.is_complete() {
            self.unfinished = Some(unfinished);
            return Ok(());
        }
        let Unfinished { position, key, version, expire_at, value } = unfinished;
        let fault = |what| LoadFault::Slot(self.slot, what);
        // A slot that is on its way here gets its version last.
        if version > self.data.version() && !matches!(self.aside, Some(Aside::Staged(..))) {
            return Err(fault("a key is newer than the slot"));
        }
        if self.data.records().last().is_some_and(|last| last.order(position, &key).is_ge()) {
            return Err(fault("keys out of order"));
        }
        let value = value.finish().map_err(fault)?;
        self.data.load(Record::new(position, &key, value, expire_at, version));
        Ok(())
    }
}

fn key(payload: &mut Payload<'_>, seed: u64) -> Result<Unfinished, LoadFault> {
    let [form] = payload.array()?;
    let (version, expire_at) = (payload.u64()?, ExpireAt::new(payload.u64()?));
    let length = payload.u32()? as usize;
    let key = payload.bytes(length)?.to_vec();
    let mut value = ValueBuilder::new(form, payload.u64()?)?;
    payload.0 = value.push(payload.0)?;
    Ok(Unfinished { position: Position::of_key(&key, seed), key, version, expire_at, value })
}

/// The bytes of a record that are not read yet.
struct Payload<'a>(&'a [u8]);

impl<'a> Payload<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], LoadFault> {
        let (head, rest) = self.0.split_at_checked(count).ok_or("a record shorter than its kind needs")?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], LoadFault> {
        let (head, rest) = self.0.split_first_chunk().ok_or("a record shorter than its kind needs")?;
        self.0 = rest;
        Ok(*head)
    }

    fn u32(&mut self) -> Result<u32, LoadFault> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, LoadFault> {
        self.array().map(u64::from_le_bytes)
    }

    fn end(&self) -> Result<(), LoadFault> {
        if self.0.is_empty() { Ok(()) } else { Err("a record longer than its kind needs".into()) }
    }
}
