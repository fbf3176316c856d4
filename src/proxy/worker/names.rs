//! Looking up names: by the C library, which keeps its thread waiting, so on threads of their own, a few at once.
//!
//! A name server that does not answer holds a thread for many seconds while its node is tried again and again. So a node has one
//! thread at most, which is waited for, and what is asked for meanwhile takes the place of what was asked for before.

use std::collections::VecDeque;
use std::net::{SocketAddr, ToSocketAddrs};

use super::{Mail, Postbox};
use crate::control::routing::NodeIndex;

/// Threads of one worker that look up names.
const THREADS_MAX: usize = 8;

/// A name to look up.
#[derive(Debug, PartialEq, Eq)]
pub struct LookUp {
    /// For which node.
    pub node: NodeIndex,
    /// For which attempt to connect to it.
    pub attempt: u64,
    /// The name, with a port.
    pub name: String,
}

impl LookUp {
    /// Has a thread do it, which posts [`Mail::Resolved`].
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn begin(self, home: Postbox) -> std::io::Result<()> {
        let look_up = move || {
            let found: std::io::Result<Vec<SocketAddr>> = self.name.to_socket_addrs().map(Iterator::collect);
            home.send(Mail::Resolved(self.node, self.attempt, found));
        };
        std::thread::Builder::new().name("pontoon-names".to_owned()).spawn(look_up).map(drop)
    }
}

/// Which names are being looked up, and which wait for that.
#[derive(Debug, Default)]
pub struct Names {
    running: Vec<NodeIndex>,
    waiting: VecDeque<LookUp>,
}

impl Names {
    /// Wants a name looked up, whatever was wanted for its node before.
    pub fn want(&mut self, look_up: LookUp) {
        self.forget(look_up.node);
        self.waiting.push_back(look_up);
    }

    /// Nothing is wanted for this node any more.
    pub fn forget(&mut self, node: NodeIndex) {
        self.waiting.retain(|waiting| waiting.node != node);
    }

    /// What is to be begun now; it counts as running until [`Self::ended`].
    pub fn next(&mut self) -> Option<LookUp> {
        if self.running.len() >= THREADS_MAX {
            return None;
        }
        let at = self.waiting.iter().position(|waiting| !self.running.contains(&waiting.node))?;
        let look_up = self.waiting.remove(at)?;
        self.running.push(look_up.node);
        Some(look_up)
    }

    /// The thread of this node has ended, or could not be had.
    pub fn ended(&mut self, node: NodeIndex) {
        self.running.retain(|running| *running != node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look_up(node: u32, attempt: u64) -> LookUp {
        LookUp { node: NodeIndex(node), attempt, name: "name:1".to_owned() }
    }

    #[test]
    fn a_node_that_is_tried_again_waits_for_its_own_thread() {
        let mut names = Names::default();
        names.want(look_up(1, 1));
        assert_eq!(names.next(), Some(look_up(1, 1)));
        names.want(look_up(1, 2));
        names.want(look_up(1, 3));
        names.want(look_up(2, 4));
        assert_eq!(names.next(), Some(look_up(2, 4)), "others do not wait for it");
        assert_eq!(names.next(), None);
        names.ended(NodeIndex(1));
        assert_eq!(names.next(), Some(look_up(1, 3)), "the newest alone");
        assert_eq!(names.next(), None);
    }

    #[test]
    fn threads_are_few_and_what_is_given_up_takes_none() {
        let mut names = Names::default();
        (0..100).for_each(|node| names.want(look_up(node, node.into())));
        assert_eq!(std::iter::from_fn(|| names.next()).count(), THREADS_MAX);
        names.forget(NodeIndex(THREADS_MAX as u32));
        names.ended(NodeIndex(0));
        assert_eq!(names.next().map(|next| next.node), Some(NodeIndex(THREADS_MAX as u32 + 1)));
        assert_eq!(names.next(), None);
    }
}
