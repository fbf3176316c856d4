//! Slots that wander between shards at random, under clients that pipeline: refusals with and without hints, requests that are
//! held, undone attempts, replicas that lag, leaders that change, connections that break and frames that arrive after all.
//!
//! Every write appends a token of its own, so that a key's value is its history. In the end: every request is answered once,
//! in its place; each token is there once, in the order in which its client sent them; and what a client reads of a key only
//! ever grows and has all that it wrote before, and, unless a leader or a connection was lost, nothing that it wrote later.

use std::collections::BTreeSet;

use super::moves::slot_of;
use super::*;
use crate::protocol::request::{Span, parse_array};
use crate::protocol::split::next_part;
use crate::topology::{Epoch, SlotRange, Whereabouts};

struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % limit
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

/// A shard's state at one position of its log.
#[derive(Clone, Default)]
struct State {
    owned: BTreeMap<Slot, u64>,
    frozen: BTreeMap<Slot, (usize, u64)>,
    gone: BTreeMap<Slot, Whereabouts>,
    values: BTreeMap<String, Vec<String>>,
}

/// What a node was sent over one connection, and which generations it refuses.
#[derive(Default)]
struct Connection {
    node: usize,
    waiting: Vec<Got>,
    refused: BTreeMap<(u64, ShardId), u32>,
    live: bool,
}

struct Cluster {
    shards: [Vec<State>; 2],
    applied: [[usize; 3]; 2],
    records: BTreeMap<(u128, u64), String>,
    connections: Vec<Connection>,
    held: Vec<(usize, Got, Slot)>,
    /// Whether replicas look at the epochs that proxies know.
    minds_epochs: bool,
}

#[derive(Clone, Debug)]
enum Asked {
    Append(String, String),
    MSet(Vec<String>, String),
    MSetNx(Vec<String>, String),
    Get(Vec<String>),
}

fn words(request: &[u8], spans: &mut Vec<Span>) -> Vec<String> {
    parse_array(request, spans).unwrap();
    spans.iter().map(|s| String::from_utf8(request[s.start as usize..s.end as usize].to_vec()).unwrap()).collect()
}

/// The keys of a request and the token that they get.
fn keys_of(words: &[String]) -> (Vec<String>, Option<String>) {
    match words[0].as_str() {
        "APPEND" => (vec![words[1].clone()], Some(words[2].clone())),
        "MSET" | "MSETNX" => (words[1..].iter().step_by(2).cloned().collect(), Some(words[2].clone())),
        _ => (words[1..].to_vec(), None),
    }
}

impl Cluster {
    fn new(w: &World, keys: &[String], minds_epochs: bool) -> Self {
        let mut shards = [vec![State::default()], vec![State::default()]];
        for key in keys {
            let slot = slot_of(key);
            let owner = w.engine.routing().owner(slot).unwrap();
            shards[owner.at()][0].owned.insert(slot, w.engine.routing().epoch(slot).0);
        }
        let connections = (0..3).map(|node| Connection { node, live: true, ..Connection::default() }).collect();
        let (records, held) = Default::default();
        Self { shards, applied: [[1; 3]; 2], records, connections, held, minds_epochs }
    }

    fn newest(&self, shard: usize) -> &State {
        self.shards[shard].last().unwrap()
    }

    fn log(&mut self, shard: usize, change: impl FnOnce(&mut State)) {
        let mut state = self.newest(shard).clone();
        change(&mut state);
        self.shards[shard].push(state);
    }

    fn live(&self, node: usize) -> usize {
        self.connections.iter().position(|c| c.node == node && c.live).unwrap()
    }

    /// Frames that the nodes got since.
    fn receive(&mut self, w: &mut World) {
        for node in 0..3 {
            let at = self.live(node);
            self.connections[at].waiting.append(&mut w.nodes[node].got);
        }
    }

    fn refuse(&mut self, w: &mut World, at: usize, got: &Got, reason: RefusalReason, moved: Option<Whereabouts>) {
        if std::env::var("TRACE").is_ok() && got.head.client == 4 {
            eprintln!("REFUSE {at} {} {reason:?} {moved:?}", got.head.id);
        }
        let refused = self.connections[at].refused.entry((got.head.client, got.head.shard)).or_default();
        *refused = (*refused).max(got.head.generation + 1);
        if self.connections[at].live {
            let refusal = Refusal { id: got.head.id, reason, leader: None, moved };
            w.feed(self.connections[at].node, |out| refusal.put(out));
            w.turn();
        }
    }

    fn answer(&mut self, w: &mut World, at: usize, got: &Got, index: usize, reply: &str) {
        if self.connections[at].live {
            w.reply(self.connections[at].node, got, index as u64, reply);
        }
    }

    /// The node of a connection looks at the next request that came over it.
    fn step(&mut self, w: &mut World, at: usize, dice: &mut Dice) {
        if self.connections[at].waiting.is_empty() {
            return;
        }
        let got = self.connections[at].waiting.remove(0);
        if !self.connections[at].live && got.body.windows(6).any(|word| word == b"MSETNX") {
            // Should its client be told that its keys have parted, nothing would keep a frame that comes very late from finding
            // them together again.
            return;
        }
        let refused = self.connections[at].refused.get(&(got.head.client, got.head.shard));
        if std::env::var("TRACE").is_ok() && got.head.client == 4 {
            eprintln!(
                "STEP conn {at} node {} live {} {:?} gen {} refused {refused:?} shard {} leaders {:?} id {} name {:?} epoch {:?} {}",
                self.connections[at].node,
                self.connections[at].live,
                got.head.slot,
                got.head.generation,
                got.head.shard,
                w.leaders,
                got.head.id,
                got.head.identity.map(|i| i.id.sequence),
                got.head.epoch,
                String::from_utf8_lossy(&got.body).replace("\r\n", " ")
            );
        }
        if refused.is_some_and(|refused| got.head.generation < *refused) {
            return self.refuse(w, at, &got, RefusalReason::Superseded, None);
        }
        let shard = got.head.shard.0 as usize - 1;
        let leads = w.leaders[shard].0 == self.connections[at].node;
        if (got.head.write || got.head.after_writes) && !leads {
            return self.refuse(w, at, &got, RefusalReason::NotLeader, None);
        }
        if got.head.write { self.write(w, at, &got, shard, dice) } else { self.read(w, at, &got, shard, dice) }
    }

    fn elsewhere(&mut self, w: &mut World, at: usize, got: &Got, slot: Slot, state: &State, dice: &mut Dice) {
        let shard = got.head.shard.0 as usize - 1;
        if let Some(epoch) = state.owned.get(&slot) {
            let here = Whereabouts { slot, owner: got.head.shard, epoch: Epoch(*epoch) };
            return self.refuse(w, at, got, RefusalReason::NotOwner, Some(here));
        }
        if state.frozen.contains_key(&slot) {
            if w.leaders[shard].0 != self.connections[at].node {
                return self.refuse(w, at, got, RefusalReason::NotLeader, None);
            }
            let refused = self.connections[at].refused.entry((got.head.client, got.head.shard)).or_default();
            *refused = (*refused).max(got.head.generation + 1);
            return self.held.push((at, got.clone(), slot));
        }
        // A shard that had a slot knows where it went; where a read is told nothing, it is asked again.
        let known = state.gone.get(&slot).copied().filter(|_| got.head.write || dice.below(8) > 0);
        self.refuse(w, at, got, RefusalReason::NotOwner, known);
    }

    fn write(&mut self, w: &mut World, at: usize, got: &Got, shard: usize, dice: &mut Dice) {
        let identity = got.head.identity.unwrap();
        let mut spans = Vec::new();
        let mut pieces = Vec::new();
        if got.head.split {
            let mut rest = &got.body[..];
            while let Some(part) = next_part(&mut rest, &mut spans) {
                pieces.push((identity.id.sequence + u64::from(part.ordinal), words(part.request, &mut Vec::new())));
            }
        } else {
            pieces.push((identity.id.sequence, words(&got.body, &mut spans)));
        }
        if dice.below(40) == 0 {
            return self.refuse(w, at, got, RefusalReason::Unknown, None);
        }
        let state = self.newest(shard).clone();
        let foreign = |slot: &Slot| !state.owned.contains_key(slot);
        let slots_of = |words: &[String]| keys_of(words).0.iter().map(|key| slot_of(key)).collect::<Vec<_>>();
        if got.head.split
            && let Some(slot) = pieces.iter().flat_map(|(_, words)| slots_of(words)).find(foreign)
        {
            return self.elsewhere(w, at, got, slot, &state, dice);
        }
        let mut reply = String::new();
        for (sequence, words) in &pieces {
            let slots = slots_of(words);
            if foreign(&slots[0]) {
                return self.elsewhere(w, at, got, slots[0], &state, dice);
            }
            if let Some(known) = self.records.get(&(identity.id.session.0, *sequence)) {
                reply.push_str(known);
                continue;
            }
            if let Some(slot) = slots.into_iter().find(foreign) {
                return self.elsewhere(w, at, got, slot, &state, dice);
            }
            let (keys, token) = keys_of(words);
            self.log(shard, |state| {
                keys.iter().for_each(|key| state.values.entry(key.clone()).or_default().push(token.clone().unwrap()));
            });
            let one = match words[0].as_str() {
                "MSET" => "+OK\r\n".to_owned(),
                "MSETNX" => ":1\r\n".to_owned(),
                _ => format!(":{}\r\n", self.newest(shard).values[&keys[0]].len()),
            };
            self.records.insert((identity.id.session.0, *sequence), one.clone());
            reply.push_str(&one);
        }
        if dice.below(20) == 0 {
            return self.refuse(w, at, got, RefusalReason::Unknown, None);
        }
        let index = self.shards[shard].len();
        self.answer(w, at, got, index, &reply);
    }

    fn read(&mut self, w: &mut World, at: usize, got: &Got, shard: usize, dice: &mut Dice) {
        let node = self.connections[at].node;
        let newest = self.shards[shard].len();
        let leads = w.leaders[shard].0 == node;
        if leads || got.head.level == ReadLevel::Strong {
            self.applied[shard][node] = newest;
        }
        let applied = self.applied[shard][node];
        if (applied as u64) < got.head.floor.0 {
            return self.refuse(w, at, got, RefusalReason::Behind, None);
        }
        let state = self.shards[shard][applied - 1].clone();
        let (keys, _) = keys_of(&words(&got.body, &mut Vec::new()));
        if self.minds_epochs {
            let slot = slot_of(&keys[0]);
            let known = state.owned.get(&slot).copied().or_else(|| state.gone.get(&slot).map(|gone| gone.epoch.0));
            if !state.frozen.contains_key(&slot) && known.is_none_or(|known| known < got.head.epoch.0) {
                return self.refuse(w, at, got, RefusalReason::Behind, None);
            }
        }
        if let Some(slot) = keys.iter().map(|key| slot_of(key)).find(|slot| !state.owned.contains_key(slot)) {
            return self.elsewhere(w, at, got, slot, &state, dice);
        }
        let value = |key: &String| {
            let value = state.values.get(key).map(|tokens| tokens.join(",")).unwrap_or_default();
            format!("${}\r\n{value}\r\n", value.len())
        };
        let values: String = keys.iter().map(value).collect();
        let is_array = String::from_utf8_lossy(&got.body).contains("MGET");
        let reply = if is_array { format!("*{}\r\n{values}", keys.len()) } else { values };
        self.answer(w, at, got, applied, &reply);
    }

    /// Some slots are frozen, those that are get a new owner, or stay after all.
    fn wander(&mut self, w: &mut World, shard: usize, dice: &mut Dice) {
        let frozen = self.newest(shard).frozen.clone();
        if frozen.is_empty() {
            let owned: Vec<_> = self.newest(shard).owned.clone().into_iter().collect();
            let moving: BTreeMap<_, _> = owned.into_iter().filter(|_| dice.below(3) == 0).collect();
            return self.log(shard, |state| {
                for (slot, epoch) in moving {
                    state.owned.remove(&slot);
                    state.frozen.insert(slot, (1 - shard, epoch + 1));
                }
            });
        }
        let undone = dice.below(4) == 0;
        let values: BTreeMap<_, _> = self.newest(shard).values.clone();
        let values: BTreeMap<_, _> = values.into_iter().filter(|(key, _)| frozen.contains_key(&slot_of(key))).collect();
        if undone {
            self.log(shard, |state| {
                for (slot, (_, epoch)) in &frozen {
                    state.frozen.remove(slot);
                    state.owned.insert(*slot, epoch + 1);
                }
            });
        } else {
            self.log(1 - shard, |state| {
                for (slot, (_, epoch)) in &frozen {
                    state.gone.remove(slot);
                    state.owned.insert(*slot, *epoch);
                }
                state.values.extend(values);
            });
            self.log(shard, |state| {
                for (slot, (to, epoch)) in &frozen {
                    state.frozen.remove(slot);
                    let gone = Whereabouts { slot: *slot, owner: ShardId(*to as u64 + 1), epoch: Epoch(*epoch) };
                    state.gone.insert(*slot, gone);
                }
                state.values.retain(|key, _| !frozen.contains_key(&slot_of(key)));
            });
        }
        let (released, held) = std::mem::take(&mut self.held).into_iter().partition::<Vec<_>, _>(|(_, got, slot)| {
            got.head.shard.0 as usize - 1 == shard && frozen.contains_key(slot)
        });
        self.held = held;
        for (at, got, slot) in released {
            let state = self.newest(shard).clone();
            self.elsewhere(w, at, &got, slot, &state, dice);
        }
    }

    fn elect(&mut self, w: &mut World, dice: &mut Dice) {
        let (shard, node) = (dice.below(2), dice.below(3));
        self.applied[shard][node] = self.shards[shard].len();
        w.elect(shard, node);
        let (lost, held): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.held).into_iter().partition(|(_, got, _)| got.head.shard.0 as usize - 1 == shard);
        self.held = held;
        for (at, got, _) in lost {
            self.refuse(w, at, &got, RefusalReason::NotLeader, None);
        }
    }

    fn cut(&mut self, w: &mut World, dice: &mut Dice) {
        let node = dice.below(3);
        let at = self.live(node);
        self.connections[at].live = false;
        self.connections.push(Connection { node, live: true, ..Connection::default() });
        w.cut(node);
        w.nodes[node].connected = true;
    }

    /// A catalog that is right but for what was not reported yet.
    fn tell_catalog(&self, w: &mut World, dice: &mut Dice) {
        let mut known: BTreeMap<Slot, (u64, u64)> = BTreeMap::new();
        for (shard, states) in self.shards.iter().enumerate() {
            let state = &states[states.len() - 1 - dice.below(states.len().min(20))];
            for (slot, epoch) in &state.owned {
                let entry = known.entry(*slot).or_default();
                *entry = (*entry).max((*epoch, shard as u64 + 1));
            }
        }
        let founded = |slot: Slot| (1, if slot.index() < 8192 { 1 } else { 2 });
        let all = Slot::all().map(|slot| known.get(&slot).copied().unwrap_or_else(|| founded(slot)));
        let mut slots: Vec<SlotRange> = Vec::new();
        for (number, (epoch, owner)) in (0_u16..).zip(all) {
            let (owner, epoch) = (ShardId(owner), Epoch(epoch));
            match slots.last_mut() {
                Some(last) if (last.owner, last.epoch) == (owner, epoch) => last.last = number,
                _ => slots.push(SlotRange { first: number, last: number, owner, epoch }),
            }
        }
        w.change_catalog(|catalog| catalog.slots = slots);
    }
}

fn send(w: &mut World, client: u32, asked: &Asked) {
    let mut line: Vec<&str> = Vec::new();
    match asked {
        Asked::Append(key, token) => line.extend(["APPEND", key, token]),
        Asked::MSet(keys, token) | Asked::MSetNx(keys, token) => {
            line.push(if matches!(asked, Asked::MSet(..)) { "MSET" } else { "MSETNX" });
            keys.iter().for_each(|key| line.extend([key.as_str(), token.as_str()]));
        }
        Asked::Get(keys) => {
            line.push(if keys.len() == 1 { "GET" } else { "MGET" });
            line.extend(keys.iter().map(String::as_str));
        }
    }
    w.send(client, &line);
}

fn ask(dice: &mut Dice, keys: &[String], token: String) -> Asked {
    let some = |dice: &mut Dice| {
        let count = 2 + dice.below(3);
        (0..count).map(|_| dice.pick(keys)).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    };
    match dice.below(10) {
        0..=4 => Asked::Append(dice.pick(keys), token),
        5 => Asked::MSet(some(dice), token),
        6 => Asked::MSetNx(some(dice), token),
        7 | 8 => Asked::Get(vec![dice.pick(keys)]),
        _ => Asked::Get(some(dice)),
    }
}

fn story(seed: u64, clients: usize, steps: usize) {
    let mut dice = Dice(seed);
    let mut w = World::new();
    let keys: Vec<_> = (0..12).map(|n| key_of(n % 2, n)).collect();
    let mut cluster = Cluster::new(&w, &keys, seed.is_multiple_of(2));
    let sockets: Vec<_> = (0..clients).map(|_| w.client()).collect();
    let mut asked: BTreeMap<u32, Vec<Asked>> = BTreeMap::new();
    let (mut tokens, calm) = (0, seed.is_multiple_of(3));
    for _ in 0..steps {
        match dice.below(40) {
            0..=13 => {
                let client = dice.pick(&sockets);
                tokens += 1;
                let request = ask(&mut dice, &keys, format!("c{client}t{tokens}"));
                send(&mut w, client, &request);
                asked.entry(client).or_default().push(request);
            }
            14..=31 => {
                let at = dice.below(cluster.connections.len());
                cluster.step(&mut w, at, &mut dice);
            }
            32..=33 => {
                let shard = dice.below(2);
                cluster.wander(&mut w, shard, &mut dice);
            }
            34 if !calm && dice.below(3) == 0 => cluster.elect(&mut w, &mut dice),
            35 if !calm && dice.below(8) == 0 => cluster.cut(&mut w, &mut dice),
            36 if dice.below(4) == 0 => cluster.tell_catalog(&mut w, &mut dice),
            37 => {
                let (shard, node) = (dice.below(2), dice.below(3));
                let lag = dice.below(12);
                let applied = &mut cluster.applied[shard][node];
                *applied = (*applied).max(cluster.shards[shard].len().saturating_sub(lag).max(1));
            }
            _ => {
                w.tick(2);
                for node in 0..3 {
                    let mut status = w.status(node, 10);
                    for (shard, replica) in status.replicas.iter_mut().enumerate() {
                        replica.applied = LogIndex(cluster.applied[shard][node] as u64);
                    }
                    w.feed(node, |out| status.put(out));
                }
                w.turn();
            }
        }
        cluster.receive(&mut w);
    }
    for _ in 0..400 {
        w.tick(10);
        (0..3).for_each(|node| w.push_status(node));
        w.turn();
        cluster.receive(&mut w);
        if let Some(shard) = (0..2).find(|shard| !cluster.newest(*shard).frozen.is_empty()) {
            cluster.wander(&mut w, shard, &mut dice);
        }
        for at in 0..cluster.connections.len() {
            let mut count = 0;
            while !cluster.connections[at].waiting.is_empty() {
                count += 1;
                assert!(count < 20_000, "seed {seed}: requests go round and round");
                cluster.step(&mut w, at, &mut dice);
                cluster.receive(&mut w);
            }
        }
    }
    let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
    (0..2).for_each(|shard| values.extend(cluster.newest(shard).values.clone()));
    for client in sockets {
        check(&w.read(client), &asked.remove(&client).unwrap_or_default(), &values, calm, seed);
    }
    w.nothing_left();
    assert_eq!(w.engine.names.span(), 0, "seed {seed}");
}

/// Cuts the next line off.
fn line<'a>(output: &mut &'a str) -> &'a str {
    let (line, rest) = output.split_once("\r\n").unwrap_or((output, ""));
    *output = rest;
    line
}

fn check(output: &str, asked: &[Asked], values: &BTreeMap<String, Vec<String>>, calm: bool, seed: u64) {
    let mut rest = output;
    let mut written: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    let all_own: BTreeSet<&str> = asked
        .iter()
        .filter_map(|asked| match asked {
            Asked::Append(_, token) | Asked::MSet(_, token) | Asked::MSetNx(_, token) => Some(token.as_str()),
            Asked::Get(..) => None,
        })
        .collect();
    for request in asked {
        assert!(!rest.is_empty(), "seed {seed}: {request:?} has no answer");
        match request {
            Asked::Append(key, token) => {
                let answer = line(&mut rest);
                assert!(answer.starts_with(':'), "seed {seed}: {answer} to {request:?}");
                written.entry(key).or_default().push(token);
            }
            Asked::MSet(keys, token) | Asked::MSetNx(keys, token) => {
                let answer = line(&mut rest);
                if matches!(request, Asked::MSetNx(..)) && answer.starts_with("-CROSSSLOT") {
                    for key in keys {
                        let found = values.get(key).is_some_and(|tokens| tokens.contains(token));
                        assert!(!found, "seed {seed}: {request:?} was refused and is there");
                    }
                    continue;
                }
                assert!(answer == "+OK" || answer == ":1", "seed {seed}: {answer} to {request:?}");
                keys.iter().for_each(|key| written.entry(key).or_default().push(token));
            }
            Asked::Get(keys) => {
                if keys.len() > 1 {
                    assert_eq!(line(&mut rest), format!("*{}", keys.len()), "seed {seed}: {request:?}");
                }
                for key in keys {
                    let length = line(&mut rest);
                    assert!(length.starts_with('$'), "seed {seed}: {length} to {request:?}");
                    let value = line(&mut rest);
                    let before = seen.insert(key, value).unwrap_or_default();
                    assert!(value.starts_with(before), "seed {seed}: {request:?}: {value} after {before}");
                    let own: Vec<_> = value.split(',').filter(|token| all_own.contains(token)).collect();
                    let expected = written.get(key.as_str()).cloned().unwrap_or_default();
                    assert!(own.starts_with(&expected), "seed {seed}: {request:?}: {own:?} instead of {expected:?}");
                    // A read that is asked for again may show what was sent behind it, and taken.
                    assert!(!calm || own == expected, "seed {seed}: {request:?}: {own:?} instead of {expected:?}");
                }
            }
        }
    }
    assert_eq!(rest, "", "seed {seed}: more answers than requests");
    for (key, expected) in written {
        let found = values.get(key).map(Vec::as_slice).unwrap_or_default();
        let own: Vec<_> = found.iter().map(String::as_str).filter(|token| all_own.contains(token)).collect();
        assert_eq!(own, expected, "seed {seed}: of {key}");
    }
}

#[test]
fn requests_follow_wandering_slots_in_order_and_once() {
    (1..=60).for_each(|seed| story(seed, 5, 1_500));
}
