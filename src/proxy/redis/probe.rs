//! Connections on which nothing comes any more, though nobody has closed them.
//!
//! A server's first connection is asked for its role all the time (`group`). The one that speaks RESP3 is asked for a sign of life when
//! it is quiet: it is given up when its server answers on the first and not here, since then it is the connection that is dead. Those of
//! clients' own cannot be asked while their clients wait: the sockets have keepalive for them.

use std::time::Duration;

use super::Engine;
use super::link::{Due, Link, Stage, Use};
use crate::protocol::request::write_array;
use crate::proxy::engine::LinkError;

/// A connection on which nothing was heard for so long, though something is due, is given up.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// A connection that is quiet for so long is asked for a sign of life.
const QUIET: Duration = Duration::from_secs(1);

impl Engine {
    /// Gives up connections of which nothing is to be hoped.
    pub(super) fn give_up_stuck(&mut self) {
        let stuck = self.links.iter().filter(|(_, link)| self.is_stuck(link)).map(|(key, _)| key);
        for key in stuck.collect::<Vec<_>>() {
            self.give_up_link(key, &LinkError::Silent);
        }
    }

    fn is_stuck(&self, link: &Link) -> bool {
        let connect_max = self.settings.health.connect_max;
        match link.stage {
            Stage::Opening | Stage::Greeting => self.now.since(link.began) >= connect_max,
            // A client of its own may wait for days.
            Stage::Open if matches!(link.usage, Use::Own(_)) => false,
            Stage::Open => !link.due.is_empty() && self.now.since(link.heard) >= SILENCE_MAX && self.is_overdue(link),
            Stage::Closed => false,
        }
    }

    fn is_overdue(&self, link: &Link) -> bool {
        link.due.iter().any(|e| matches!(e.due, Due::Role(asked) if self.now.since(asked) >= SILENCE_MAX))
    }

    /// Looks after the connection of a server that speaks RESP3.
    pub(super) fn probe_second(&mut self, server: usize) {
        let [first, second] = self.servers[server].lanes;
        let (Some(first), Some(link)) = (self.links.get(first), self.links.get(second)) else { return };
        if link.stage != Stage::Open {
            return;
        }
        let asked = link.due.iter().find_map(|e| if let Due::Alive(asked) = e.due { Some(asked) } else { None });
        let patience = self.settings.health.silence_max;
        match asked {
            None if self.now.since(link.heard) >= QUIET => {
                let (mut request, now) = (Vec::new(), self.now);
                write_array(&mut request, std::iter::once(&b"PING"[..]));
                self.links[second].put(&request, Due::Alive(now), 1);
                self.mark_link(second);
            }
            Some(asked) => {
                let is_quiet = self.now.since(asked.max(link.heard)) >= patience;
                if is_quiet && first.heard.since(asked) >= patience / 2 {
                    self.give_up_link(second, &LinkError::Silent);
                }
            }
            None => {}
        }
    }
}
