//! What the shell of a worker drives: one of two engines, by the same calls.
//!
//! The shell knows sockets and nothing of shards; an engine decides and has no sockets. A "node" of the shell is a connection that the
//! engine asked for: to a Pontoon node, or to a Redis server, of which there may be several.

use std::net::SocketAddr;
use std::sync::Arc;

use super::engine::{LinkError, Order, Settings, Shared};
use super::outbox::Outbox;
use crate::control::routing::NodeIndex;
use crate::frontend::{ClientView, Session};
use crate::net::Moment;
use crate::protocol::identity::CancelHow;
use crate::topology::{LogTime, NodeName, RedisConfig};

/// Where an engine begins, and what it follows later.
#[derive(Clone, Debug)]
pub enum Course {
    /// Nodes to begin with: name, address, zone. The catalog is learned from them.
    Seeds(Vec<(NodeName, String, Option<String>)>),
    /// A file of Redis shards.
    Redis(Arc<RedisConfig>),
}

/// The calls. [`engine`](super::engine) says what they mean.
pub trait Core: Sized + 'static {
    fn make(settings: Settings, shared: Shared, now: Moment) -> Self;
    fn set_course(&mut self, course: Course);
    fn at(&mut self, now: Moment);
    fn tick(&mut self, now: Moment, wall: LogTime);
    fn settle(&mut self);
    fn is_unsettled(&self) -> bool;
    fn is_waiting(&self) -> bool;
    fn has_orders(&self) -> bool;
    fn take_orders(&mut self) -> Vec<Order>;
    fn client_count(&self) -> usize;
    fn client_opened(&mut self, session: Session, address: Option<SocketAddr>, local: Option<SocketAddr>) -> u32;
    fn client_data(&mut self, key: u32, bytes: &[u8]);
    fn wants_input(&self, key: u32) -> bool;
    fn client_ended(&mut self, key: u32);
    fn client_broke(&mut self, key: u32);
    fn client_output(&self, key: u32) -> Option<&Outbox>;
    fn client_sent(&mut self, key: u32, count: usize);
    fn dirty_clients(&mut self) -> Vec<u32>;
    fn reuse_dirty_clients(&mut self, list: Vec<u32>);
    fn node_connected(&mut self, node: NodeIndex);
    fn node_lost(&mut self, node: NodeIndex, reason: &LinkError);
    fn node_data(&mut self, node: NodeIndex, bytes: &[u8]);
    fn node_output(&self, node: NodeIndex) -> &Outbox;
    fn node_sent(&mut self, node: NodeIndex, count: usize);
    fn has_dirty_nodes(&self) -> bool;
    fn dirty_nodes(&mut self) -> Vec<NodeIndex>;
    fn reuse_dirty_nodes(&mut self, list: Vec<NodeIndex>);
    fn views(&self) -> Vec<ClientView>;
    fn take_views(&mut self, key: u32, id: u64, views: Vec<ClientView>);
    fn kill(&mut self, ids: &[u64]);
    fn pause(&mut self, until: Moment, writes_only: bool);
    fn unblock(&mut self, id: u64, how: CancelHow);
    fn drain(&mut self);
    fn is_drained(&self) -> bool;
}

macro_rules! drive {
    ($engine:ty, $course:expr) => {
        impl Core for $engine {
            fn make(settings: Settings, shared: Shared, now: Moment) -> Self {
                <$engine>::new(settings, shared, now)
            }
            fn set_course(&mut self, course: Course) {
                let set: fn(&mut Self, Course) = $course;
                set(self, course);
            }
            drive!(@ $engine,
                ref mut at(now: Moment), tick(now: Moment, wall: LogTime), settle(), client_data(key: u32, bytes: &[u8]),
                client_ended(key: u32), client_broke(key: u32), client_sent(key: u32, count: usize),
                reuse_dirty_clients(list: Vec<u32>), node_connected(node: NodeIndex),
                node_lost(node: NodeIndex, reason: &LinkError), node_data(node: NodeIndex, bytes: &[u8]),
                node_sent(node: NodeIndex, count: usize), reuse_dirty_nodes(list: Vec<NodeIndex>),
                take_views(key: u32, id: u64, views: Vec<ClientView>), kill(ids: &[u64]),
                pause(until: Moment, writes_only: bool), unblock(id: u64, how: CancelHow), drain()
            );
            #[inline]
            fn is_unsettled(&self) -> bool {
                <$engine>::is_unsettled(self)
            }
            fn is_waiting(&self) -> bool {
                <$engine>::is_waiting(self)
            }
            #[inline]
            fn has_orders(&self) -> bool {
                <$engine>::has_orders(self)
            }
            fn take_orders(&mut self) -> Vec<Order> {
                <$engine>::take_orders(self)
            }
            fn client_count(&self) -> usize {
                <$engine>::client_count(self)
            }
            fn client_opened(&mut self, session: Session, address: Option<SocketAddr>, local: Option<SocketAddr>) -> u32 {
                <$engine>::client_opened(self, session, address, local)
            }
            #[inline]
            fn wants_input(&self, key: u32) -> bool {
                <$engine>::wants_input(self, key)
            }
            #[inline]
            fn client_output(&self, key: u32) -> Option<&Outbox> {
                <$engine>::client_output(self, key)
            }
            fn dirty_clients(&mut self) -> Vec<u32> {
                <$engine>::dirty_clients(self)
            }
            #[inline]
            fn node_output(&self, node: NodeIndex) -> &Outbox {
                <$engine>::node_output(self, node)
            }
            fn has_dirty_nodes(&self) -> bool {
                <$engine>::has_dirty_nodes(self)
            }
            fn dirty_nodes(&mut self) -> Vec<NodeIndex> {
                <$engine>::dirty_nodes(self)
            }
            fn views(&self) -> Vec<ClientView> {
                <$engine>::views(self)
            }
            fn is_drained(&self) -> bool {
                <$engine>::is_drained(self)
            }
        }
    };
    (@ $engine:ty, ref mut $($name:ident($($arg:ident: $type:ty),*)),*) => {
        $(#[inline]
        fn $name(&mut self, $($arg: $type),*) {
            <$engine>::$name(self, $($arg),*);
        })*
    };
}

drive!(super::engine::Engine, |engine, course| {
    if let Course::Seeds(nodes) = course {
        engine.seed_nodes(nodes);
    }
});
drive!(super::redis::Engine, |engine, course| {
    if let Course::Redis(config) = course {
        engine.follow(&config);
    }
});
