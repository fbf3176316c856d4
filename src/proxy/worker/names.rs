//! Looking up names: by the C library, which keeps its thread waiting, so on threads of their own, a few at once.
//!
//! A name server that does not answer holds a thread for many seconds while its node is tried again and again. So a name has one
//! thread at most, which is waited for, and what is asked for a node takes the place of what was asked for it before. A thread that
//! is held for long counts to the few no more: names that hang delay themselves, not those of other nodes.

use std::collections::VecDeque;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use super::{Mail, Postbox};
use crate::control::routing::NodeIndex;
use crate::net::Moment;

/// Threads of one worker that look up names, without those that are held.
const THREADS_MAX: usize = 8;
/// A thread that has been at it for so long is held: name servers that are well answer sooner.
const HELD_AFTER: Duration = Duration::from_secs(1);
/// Threads with those that are held: names that hang are as many as there are nodes, at most; this is for when they change all the time.
const THREADS_IN_ALL_MAX: usize = 256;

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
    running: Vec<Running>,
    waiting: VecDeque<LookUp>,
}

#[derive(Debug)]
struct Running {
    attempt: u64,
    name: String,
    since: Moment,
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

    /// What is to be begun now; it counts as running until [`Self::ended`]. To be asked again while some [wait](Self::is_waiting).
    pub fn next(&mut self, now: Moment) -> Option<LookUp> {
        let not_held = self.running.iter().filter(|running| now.since(running.since) < HELD_AFTER).count();
        if not_held >= THREADS_MAX || self.running.len() >= THREADS_IN_ALL_MAX {
            return None;
        }
        let is_running = |name: &str| self.running.iter().any(|running| running.name == name);
        let at = self.waiting.iter().position(|waiting| !is_running(&waiting.name))?;
        let look_up = self.waiting.remove(at)?;
        self.running.push(Running { attempt: look_up.attempt, name: look_up.name.clone(), since: now });
        Some(look_up)
    }

    /// Whether some are to be begun later.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The thread of this attempt has ended, or could not be had.
    pub fn ended(&mut self, attempt: u64) {
        self.running.retain(|running| running.attempt != attempt);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn look_up(node: u32, attempt: u64) -> LookUp {
        LookUp { node: NodeIndex(node), attempt, name: format!("node-{node}:1") }
    }

    fn at(elapsed: Duration) -> Moment {
        Moment::at(elapsed)
    }

    #[test]
    fn a_name_that_is_tried_again_waits_for_its_own_thread() {
        let (mut names, now) = (Names::default(), at(SECOND));
        names.want(look_up(1, 1));
        assert_eq!(names.next(now), Some(look_up(1, 1)));
        names.want(look_up(1, 2));
        names.want(look_up(1, 3));
        names.want(look_up(2, 4));
        assert_eq!(names.next(now), Some(look_up(2, 4)), "others do not wait for it");
        assert_eq!(names.next(now), None);
        assert!(names.is_waiting());
        names.ended(1);
        assert_eq!(names.next(now), Some(look_up(1, 3)), "the newest alone");
        assert_eq!(names.next(now), None);
        assert!(!names.is_waiting());
    }

    #[test]
    fn a_node_that_has_another_name_now_does_not_wait_for_the_old_one() {
        let (mut names, now) = (Names::default(), at(SECOND));
        names.want(look_up(1, 1));
        names.next(now).unwrap();
        let renamed = || LookUp { name: "elsewhere:1".to_owned(), ..look_up(1, 2) };
        names.want(renamed());
        assert_eq!(names.next(now), Some(renamed()));
        names.ended(1);
        names.want(LookUp { attempt: 3, ..renamed() });
        assert_eq!(names.next(now), None, "the end of the old one is not that of the new one");
    }

    #[test]
    fn threads_are_few_and_what_is_given_up_takes_none() {
        let (mut names, now) = (Names::default(), at(SECOND));
        (0..100).for_each(|node| names.want(look_up(node, node.into())));
        assert_eq!(std::iter::from_fn(|| names.next(now)).count(), THREADS_MAX);
        names.forget(NodeIndex(THREADS_MAX as u32));
        names.ended(0);
        assert_eq!(names.next(now).map(|next| next.node), Some(NodeIndex(THREADS_MAX as u32 + 1)));
        assert_eq!(names.next(now), None);
    }

    #[test]
    fn names_that_hang_delay_no_others_and_take_threads_within_bounds() {
        let mut names = Names::default();
        (0..1000).for_each(|node| names.want(look_up(node, node.into())));
        let begun = |names: &mut Names, now| std::iter::from_fn(|| names.next(at(now))).count();
        assert_eq!(begun(&mut names, SECOND), THREADS_MAX);
        assert_eq!(begun(&mut names, SECOND + HELD_AFTER / 2), 0);
        assert_eq!(begun(&mut names, SECOND + HELD_AFTER), THREADS_MAX);
        let later = (2..1000).map(|rounds| begun(&mut names, SECOND + HELD_AFTER * rounds)).sum::<usize>();
        assert_eq!(later, THREADS_IN_ALL_MAX - 2 * THREADS_MAX);
        names.ended(5);
        assert_eq!(begun(&mut names, SECOND * 5000), 1);
    }
}
