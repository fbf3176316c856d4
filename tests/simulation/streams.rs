//! Connections between clients, proxies and nodes: bytes in order, cut anywhere, late, or never.
//!
//! What was sent arrives in order or not at all, as TCP has it: a lost packet is a delay, a partition holds everything back
//! until it ends, and an end that is closed answers with a reset. A connection that breaks keeps some of what was under
//! way, up to any byte; one that its sender gave up may still bring its bytes long after.

use std::collections::VecDeque;

use super::world::{Due, World};

/// One who has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    Node(usize),
    Proxy(usize),
    Client(usize),
}

pub type StreamId = u64;

/// What comes out at an end.
#[derive(Clone, Debug)]
pub enum Parcel {
    Bytes(Vec<u8>),
    Closed,
}

/// How much may be under way before a sender's socket takes no more.
const WINDOW_BYTES: usize = 64 * 1024;
/// How long the network takes to send a lost packet again.
const RESEND_US: u64 = 200_000;

/// A connection. The end with number 0 opened it.
pub struct Stream {
    ends: [Host; 2],
    open: [bool; 2],
    /// The way towards each end.
    ways: [Way; 2],
}

#[derive(Default)]
struct Way {
    last_arrival_us: u64,
    /// What arrives later than this is lost.
    cut_us: Option<u64>,
    /// Whether the one parcel of which a part arrives has arrived.
    truncated: bool,
    under_way_bytes: usize,
    frozen_until_us: u64,
    held: VecDeque<Parcel>,
}

impl Way {
    fn holds(&self) -> bool {
        self.frozen_until_us > 0 || !self.held.is_empty()
    }
}

/// A client, its connection, and what came.
pub type ForClient = (usize, StreamId, Parcel);

impl World {
    pub fn open_stream(&mut self, from: Host, to: Host) -> StreamId {
        self.next_stream += 1;
        let stream = Stream { ends: [from, to], open: [true; 2], ways: Default::default() };
        self.streams.insert(self.next_stream, stream);
        self.next_stream
    }

    /// How many bytes an end's socket takes now.
    pub fn room(&self, id: StreamId, end: usize) -> usize {
        let under_way = self.streams.get(&id).map_or(0, |stream| stream.ways[1 - end].under_way_bytes);
        WINDOW_BYTES.saturating_sub(under_way)
    }

    /// Bytes leave an end.
    pub fn send_bytes(&mut self, id: StreamId, end: usize, mut bytes: Vec<u8>) {
        if bytes.len() > 1 && self.random.per_mille(100) {
            let rest = bytes.split_off(1 + self.random.below(bytes.len() - 1));
            self.dispatch(id, end, Parcel::Bytes(bytes));
            bytes = rest;
        }
        if !bytes.is_empty() {
            self.dispatch(id, end, Parcel::Bytes(bytes));
        }
    }

    /// An end closes the connection: what it sent still arrives.
    pub fn close_end(&mut self, id: StreamId, end: usize) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if std::mem::take(&mut stream.open[end]) {
            self.dispatch(id, end, Parcel::Closed);
        }
    }

    fn dispatch(&mut self, id: StreamId, end: usize, parcel: Parcel) {
        let mut delay = self.delay();
        if self.random.per_mille(self.weather.loss_per_mille) {
            delay += RESEND_US;
        }
        let now_us = self.now_us;
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let way = &mut stream.ways[1 - end];
        if let Parcel::Bytes(bytes) = &parcel {
            way.under_way_bytes += bytes.len();
        }
        let arrival_us = (now_us + delay).max(way.last_arrival_us);
        way.last_arrival_us = arrival_us;
        self.schedule(arrival_us - now_us, Due::Parcel { stream: id, end: 1 - end, parcel });
    }

    /// A parcel comes to an end. Returns what clients are to get.
    pub fn carry(&mut self, id: StreamId, end: usize, parcel: Parcel) -> Option<ForClient> {
        let stream = self.streams.get_mut(&id)?;
        if self.blocks.contains_key(&(stream.ends[1 - end], stream.ends[end])) || stream.ways[end].holds() {
            stream.ways[end].held.push_back(parcel);
            return None;
        }
        self.come_in(id, end, parcel)
    }

    /// What a way held back comes out, unless there is still a reason to hold it.
    pub fn thaw(&mut self, id: StreamId, end: usize) -> Vec<ForClient> {
        let now_us = self.now_us;
        let Some(stream) = self.streams.get_mut(&id) else { return Vec::new() };
        let blocked = self.blocks.contains_key(&(stream.ends[1 - end], stream.ends[end]));
        let way = &mut stream.ways[end];
        if blocked || way.frozen_until_us > now_us {
            return Vec::new();
        }
        way.frozen_until_us = 0;
        let held = std::mem::take(&mut way.held);
        held.into_iter().filter_map(|parcel| self.come_in(id, end, parcel)).collect()
    }

    fn come_in(&mut self, id: StreamId, end: usize, parcel: Parcel) -> Option<ForClient> {
        let now_us = self.now_us;
        let stream = self.streams.get_mut(&id)?;
        let (to, other_is_open) = (stream.ends[end], stream.open[1 - end]);
        let way = &mut stream.ways[end];
        if let Parcel::Bytes(bytes) = &parcel {
            way.under_way_bytes -= bytes.len();
        }
        let parcel = match parcel {
            Parcel::Bytes(mut bytes) if way.cut_us.is_some_and(|cut| now_us > cut) => {
                if std::mem::replace(&mut way.truncated, true) {
                    return None;
                }
                bytes.truncate(self.random.below(bytes.len()));
                Parcel::Bytes(bytes)
            }
            parcel => parcel,
        };
        let closes = matches!(parcel, Parcel::Closed);
        if !stream.open[end] {
            if closes || !other_is_open {
                self.streams.remove(&id);
            } else if !self.is_off(to) {
                // A reset.
                self.dispatch(id, end, Parcel::Closed);
            }
            return None;
        }
        if closes {
            stream.open[end] = false;
        }
        match to {
            Host::Node(node) => self.node_gets(node, id, parcel),
            Host::Proxy(proxy) => self.proxy_gets(proxy, id, parcel),
            Host::Client(client) => return Some((client, id, parcel)),
        }
        None
    }

    /// What was held back between two hosts goes on its way.
    pub fn release(&mut self, from: Host, to: Host) {
        let between = |stream: &Stream, end: usize| stream.ends[end] == to && stream.ends[1 - end] == from;
        let found = |(id, stream): (&StreamId, &Stream)| {
            (0..2).find(|end| between(stream, *end) && !stream.ways[*end].held.is_empty()).map(|end| (*id, end))
        };
        let waiting: Vec<(StreamId, usize)> = self.streams.iter().filter_map(found).collect();
        for (id, end) in waiting {
            let delay = self.delay();
            self.schedule(delay, Due::Thaw { stream: id, end });
        }
    }

    /// The process at a host ends, and its connections with it. Without a word if the machine is gone as well.
    pub fn end_streams_of(&mut self, host: Host) {
        let own = |(id, stream): (&StreamId, &Stream)| {
            (0..2).find(|end| stream.ends[*end] == host && stream.open[*end]).map(|end| (*id, end))
        };
        let ends: Vec<(StreamId, usize)> = self.streams.iter().filter_map(own).collect();
        let silent = self.is_off(host);
        for (id, end) in ends {
            if silent {
                self.streams.get_mut(&id).expect("just found").open[end] = false;
            } else {
                self.close_end(id, end);
            }
        }
    }

    /// The connections between two hosts break in the middle. `late`: who opened them hears it first, and what is under way
    /// comes long after that.
    pub fn break_streams(&mut self, one: Host, other: Host, late: bool) {
        let between = |stream: &Stream| stream.ends == [one, other] || stream.ends == [other, one];
        let found = |(id, stream): (&StreamId, &Stream)| (between(stream) && stream.open == [true; 2]).then_some(*id);
        let broken: Vec<StreamId> = self.streams.iter().filter_map(found).collect();
        for id in broken {
            let now_us = self.now_us;
            for end in 0..2 {
                let mut heard = self.random.within(100, 20_000);
                let cut = now_us + self.random.within(0, heard);
                if late && end == 1 {
                    heard = self.random.within(50_000, 3_000_000);
                    self.schedule(heard, Due::Thaw { stream: id, end });
                }
                let way = &mut self.streams.get_mut(&id).expect("just found").ways[end];
                if late && end == 1 {
                    way.frozen_until_us = now_us + heard;
                } else {
                    way.cut_us = Some(cut);
                }
                self.schedule(heard + 1, Due::Parcel { stream: id, end, parcel: Parcel::Closed });
            }
        }
    }
}
