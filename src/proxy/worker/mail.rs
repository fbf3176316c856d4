//! What a worker is told by the rest of its process, and how it hears of it while it waits for sockets.

use std::sync::{Arc, mpsc};

use crate::control::routing::NodeIndex;
use crate::frontend::ClientView;
use crate::net::Moment;
use crate::net::readiness::Bell;
use crate::protocol::identity::CancelHow;
use crate::proxy::core::Course;

/// What a worker is told.
#[derive(Debug)]
pub enum Mail {
    /// Where to begin, or what to follow now.
    Course(Course),
    /// Tell the worker with this number your connections, for its client (place and id).
    ListViews(usize, u32, u64),
    /// The connections of another worker, for a client (place and id).
    Views(u32, u64, Vec<ClientView>),
    /// Where a name leads to, for this attempt to connect.
    Resolved(NodeIndex, u64, std::io::Result<Vec<std::net::SocketAddr>>),
    /// Close the clients with these ids.
    Kill(Vec<u64>),
    /// Take no requests until then, or only reads.
    Pause(Moment, bool),
    /// End the wait of the client with this id.
    Unblock(u64, CancelHow),
    /// Stop accepting, answer what was asked, close.
    Drain,
    /// End now.
    Stop,
}

/// Where letters to one worker are posted.
#[derive(Clone, Debug)]
pub struct Postbox {
    letters: mpsc::Sender<Mail>,
    bell: Arc<Bell>,
}

/// Where they arrive.
#[derive(Debug)]
pub struct Inbox {
    pub(super) letters: mpsc::Receiver<Mail>,
    pub(super) bell: Arc<Bell>,
}

/// A worker that can be written to.
///
/// # Errors
/// The system has no descriptor to give.
pub fn postbox() -> std::io::Result<(Postbox, Inbox)> {
    let (sender, receiver) = mpsc::channel();
    let bell = Arc::new(Bell::new()?);
    Ok((Postbox { letters: sender, bell: bell.clone() }, Inbox { letters: receiver, bell }))
}

impl Postbox {
    /// Posts a letter; returns whether there still is a worker to read it.
    pub fn send(&self, letter: Mail) -> bool {
        let posted = self.letters.send(letter).is_ok();
        self.bell.ring();
        posted
    }
}
