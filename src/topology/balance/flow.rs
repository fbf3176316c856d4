//! The cheapest maximum flow through a small network: what it is used for is in the [module](super).
//!
//! Primal-dual: the distances from the source by cost, then as much flow as goes along shortest paths, until none is left. Costs
//! are not negative, and few different ones, so there are few distances, whatever the flow.

use std::collections::VecDeque;

/// Farther than any path.
const FAR: i64 = i64::MAX;

/// A place of the network.
pub type Vertex = usize;
/// A way from one to another.
pub type Way = usize;

#[derive(Clone, Copy, Debug)]
struct Edge {
    to: Vertex,
    room: u64,
    cost: i64,
}

/// A network. Each way has a twin back, which is the next by number and undoes it.
#[derive(Clone, Debug)]
pub struct Network {
    edges: Vec<Edge>,
    out: Vec<Vec<Way>>,
}

impl Network {
    /// Without ways.
    pub fn new(vertices: usize) -> Self {
        Self { edges: Vec::new(), out: vec![Vec::new(); vertices] }
    }

    /// Adds a way that takes so much at this cost for each unit.
    pub fn add(&mut self, from: Vertex, to: Vertex, room: u64, cost: i64) -> Way {
        let way = self.edges.len();
        self.edges.push(Edge { to, room, cost });
        self.edges.push(Edge { to: from, room: 0, cost: -cost });
        self.out[from].push(way);
        self.out[to].push(way + 1);
        way
    }

    /// What flows along a way.
    pub fn flow(&self, way: Way) -> u64 {
        self.edges[way ^ 1].room
    }

    /// Sends as much as it can, at the least cost. Returns how much that is.
    pub fn fill(&mut self, source: Vertex, sink: Vertex) -> u64 {
        let mut sent = 0;
        loop {
            let distances = self.distances(source);
            if distances[sink] == FAR {
                return sent;
            }
            let is_shortest =
                |edge: &Edge, from: Vertex| distances[from] != FAR && distances[from] + edge.cost == distances[edge.to];
            loop {
                let levels = self.levels(source, is_shortest);
                if levels[sink] == usize::MAX {
                    break;
                }
                let mut next = vec![0; self.out.len()];
                let mut push =
                    Push { network: self, levels: &levels, next: &mut next, is_shortest: &is_shortest, sink };
                sent += push.from(source, u64::MAX);
            }
        }
    }

    /// What can be reached from here over ways that have room left.
    pub fn reached(&self, from: Vertex) -> Vec<bool> {
        self.levels(from, |_, _| true).iter().map(|level| *level != usize::MAX).collect()
    }

    fn distances(&self, source: Vertex) -> Vec<i64> {
        let (mut distances, mut waits) = (vec![FAR; self.out.len()], vec![false; self.out.len()]);
        distances[source] = 0;
        let mut queue = VecDeque::from([source]);
        while let Some(vertex) = queue.pop_front() {
            waits[vertex] = false;
            for way in &self.out[vertex] {
                let edge = self.edges[*way];
                let distance = distances[vertex] + edge.cost;
                if edge.room > 0 && distance < distances[edge.to] {
                    distances[edge.to] = distance;
                    if !std::mem::replace(&mut waits[edge.to], true) {
                        queue.push_back(edge.to);
                    }
                }
            }
        }
        distances
    }

    /// How many ways of this kind lead from the source to each vertex at least.
    fn levels(&self, source: Vertex, fits: impl Fn(&Edge, Vertex) -> bool) -> Vec<usize> {
        let mut levels = vec![usize::MAX; self.out.len()];
        levels[source] = 0;
        let mut queue = VecDeque::from([source]);
        while let Some(vertex) = queue.pop_front() {
            for way in &self.out[vertex] {
                let edge = &self.edges[*way];
                if edge.room > 0 && levels[edge.to] == usize::MAX && fits(edge, vertex) {
                    levels[edge.to] = levels[vertex] + 1;
                    queue.push_back(edge.to);
                }
            }
        }
        levels
    }
}

/// One filling of all shortest paths of one length.
struct Push<'a, F> {
    network: &'a mut Network,
    levels: &'a [usize],
    next: &'a mut [usize],
    is_shortest: &'a F,
    sink: Vertex,
}

impl<F: Fn(&Edge, Vertex) -> bool> Push<'_, F> {
    /// Sends up to `limit` from a vertex to the sink. As deep as the path is long, which is twice the number of hosts at most.
    fn from(&mut self, vertex: Vertex, limit: u64) -> u64 {
        if vertex == self.sink {
            return limit;
        }
        let mut sent = 0;
        while self.next[vertex] < self.network.out[vertex].len() && sent < limit {
            let way = self.network.out[vertex][self.next[vertex]];
            let edge = self.network.edges[way];
            let goes_on = edge.room > 0 && self.levels[edge.to] == self.levels[vertex] + 1;
            if goes_on && (self.is_shortest)(&edge, vertex) {
                let went = self.from(edge.to, edge.room.min(limit - sent));
                self.network.edges[way].room -= went;
                self.network.edges[way ^ 1].room += went;
                sent += went;
                if sent == limit {
                    return sent;
                }
            }
            self.next[vertex] += 1;
        }
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cheap_ways_are_taken_first_and_undone_where_that_lets_more_through() {
        // 0 -> {1, 2} -> {3, 4} -> 5: 1 can go to both, 2 to 3 alone.
        let mut network = Network::new(6);
        network.add(0, 1, 1, 0);
        network.add(0, 2, 1, 0);
        let cheap = network.add(1, 3, 1, 1);
        let dear = network.add(1, 4, 1, 5);
        let only = network.add(2, 3, 1, 1);
        network.add(3, 5, 1, 0);
        network.add(4, 5, 1, 0);
        assert_eq!(network.fill(0, 5), 2);
        assert_eq!((network.flow(cheap), network.flow(dear), network.flow(only)), (0, 1, 1));
        assert_eq!(network.reached(0), [true, false, false, false, false, false]);
    }
}
