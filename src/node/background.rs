//! Work that must not take anything from the requests: on a thread of its own with a low priority, and not faster than the
//! disk can bear beside the log.

use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::net::{Clock, Moment};

/// What background threads yield to others: at this niceness a thread gets about a tenth of a core that is wanted by one
/// of normal priority, and all of one that is not.
const NICENESS: i32 = 10;
/// States are written to disk no faster than this, so that the syncs of the log wait behind little.
const DISK_BYTES_PER_SECOND: u64 = 64 << 20;

/// Does work on a thread that yields to the others. The receiver fails if the work panics.
pub fn spawn<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> oneshot::Receiver<T> {
    let (done, receiver) = oneshot::channel();
    let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
        yield_to_others();
        // Nobody may be waiting any more.
        drop(done.send(work()));
    });
    thread.expect("the operating system starts a thread");
    receiver
}

/// A limit to what goes to the disk in the background.
pub struct Pace {
    clock: Clock,
    began: Moment,
    bytes: u64,
}

impl Pace {
    /// Begins now.
    pub fn new(clock: Clock) -> Self {
        Self { began: clock.now(), clock, bytes: 0 }
    }

    /// Waits until so many more bytes may be written.
    pub fn wait_for(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        let due = Duration::from_micros(self.bytes.saturating_mul(1_000_000) / DISK_BYTES_PER_SECOND);
        let ahead = due.saturating_sub(self.clock.now().since(self.began));
        if ahead > Duration::from_millis(1) {
            thread::sleep(ahead);
        }
    }
}

/// Only the calling thread: on Linux each thread has a priority of its own.
fn yield_to_others() {
    // SAFETY: the call touches no memory of ours.
    let failed = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICENESS) } != 0;
    if failed {
        tracing::warn!("background work runs with the priority of requests: {}", std::io::Error::last_os_error());
    }
}
